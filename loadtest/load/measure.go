package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tick is the time between two samples of the processes.
const tick = 500 * time.Millisecond

// saturated is the share of its core above which the generator cannot be believed.
const saturated = .90

// sample is what the processes used up to a moment.
type sample struct {
	at        time.Time
	gateway   float64 // cores
	generator float64 // cores, provider included: they share one
	core      float64 // share of the generator's core that was busy, whoever used it
	rss       float64 // MiB, the gateway's
}

// sampler reads /proc every tick.
type sampler struct {
	done chan struct{}
	wg   sync.WaitGroup
	out  []sample
}

func startSampler(gateway int, generator []int, core string) *sampler {
	s := &sampler{done: make(chan struct{})}
	s.wg.Go(func() {
		t := time.NewTicker(tick)
		defer t.Stop()
		last, g0, k0 := time.Now(), cpuTime(gateway), cpuTimes(generator)
		busy0, all0 := coreTime(core)
		for {
			select {
			case <-s.done:
				return
			case <-t.C:
			}
			now, g, k := time.Now(), cpuTime(gateway), cpuTimes(generator)
			busy, all := coreTime(core)
			span := now.Sub(last).Seconds()
			x := sample{at: now, gateway: (g - g0) / span, generator: (k - k0) / span, rss: rss(gateway)}
			if all > all0 {
				x.core = (busy - busy0) / (all - all0)
			}
			s.out = append(s.out, x)
			last, g0, k0, busy0, all0 = now, g, k, busy, all
		}
	})
	return s
}

func (s *sampler) end() []sample {
	close(s.done)
	s.wg.Wait()
	return s.out
}

// hertz is USER_HZ: what /proc counts CPU time in, per second, on every Linux that Go runs on.
const hertz = 100

// cpuTime gives the seconds of CPU that a process has used; 0 when it is gone.
func cpuTime(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseStat(b)
}

// parseStat reads utime and stime (proc(5), fields 14 and 15).
func parseStat(b []byte) float64 {
	i := bytes.LastIndexByte(b, ')') // the name may hold anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 13 {
		return 0
	}
	u, _ := strconv.ParseFloat(f[11], 64)
	s, _ := strconv.ParseFloat(f[12], 64)
	return (u + s) / hertz
}

func cpuTimes(pids []int) (sum float64) {
	for _, p := range pids {
		sum += cpuTime(p)
	}
	return sum
}

// coreTime gives the busy and the whole time of a core; of all when it is not named.
func coreTime(core string) (busy, all float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 6 || f[0] != "cpu"+core {
			continue
		}
		for i, v := range f[1:9] {
			n, _ := strconv.ParseFloat(v, 64)
			all += n
			if i != 3 && i != 4 { // idle, iowait
				busy += n
			}
		}
	}
	return busy, all
}

func rss(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}

// share is what the gateway says of itself.
type share struct {
	requests, fast, inFlight float64 // counted, and of them those it added at most 5 ms to
}

func (b *bed) ownShare(s scenario) (out share) {
	if s.target == "floor" {
		return out
	}
	resp, err := http.Get(b.urls[s.target] + "/metrics")
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	return parseShare(resp.Body)
}

func parseShare(r io.Reader) (out share) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch {
		case strings.HasPrefix(name, "keeptrusts_gateway_added_latency_seconds_count"):
			out.requests += v
		case strings.HasPrefix(name, "keeptrusts_gateway_added_latency_seconds_bucket") && strings.Contains(name, `le="0.005"`):
			out.fast += v
		case name == "keeptrusts_gateway_requests_in_flight":
			out.inFlight = v
		}
	}
	return out
}

// second is what clients saw in one second.
type second struct {
	ttft, gap    []float64 // ms
	ends, events int       // streams that ended, events with text
	invalid      bool
}

// result is one scenario's.
type result struct {
	scenario
	samples       []sample
	before, after share

	seconds []second
	first   int64 // unix time of seconds[0]
	broken  []string
	ttft    []float64 // of valid seconds, sorted
	gap     []float64
	whole   ratio
	checks  ratio
}

type ratio struct{ good, all float64 }

func (r ratio) value() float64 {
	if r.all == 0 {
		return math.NaN()
	}
	return r.good / r.all
}

// read takes k6's samples: metric_name,timestamp,metric_value,...
func (r *result) read(f io.Reader) error {
	in := csv.NewReader(f)
	in.ReuseRecord, in.FieldsPerRecord = true, -1
	type row struct {
		metric string
		at     int64
		v      float64
	}
	var rows []row
	for {
		rec, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read k6's samples: %w", err)
		}
		name := rec[0]
		switch name {
		case "kt_ttft", "kt_inter_token", "kt_stream_ok", "checks":
		default:
			continue
		}
		at, err := strconv.ParseInt(rec[1], 10, 64)
		if err != nil {
			return fmt.Errorf("read k6's samples: time %q", rec[1])
		}
		v, err := strconv.ParseFloat(rec[2], 64)
		if err != nil {
			return fmt.Errorf("read k6's samples: value %q", rec[2])
		}
		rows = append(rows, row{strings.Clone(name), at / 1000, v})
	}
	if len(rows) == 0 {
		return errors.New("k6 measured nothing")
	}
	r.first = rows[0].at
	last := r.first
	for _, w := range rows {
		r.first, last = min(r.first, w.at), max(last, w.at)
	}
	r.seconds = make([]second, last-r.first+1)
	for _, s := range r.samples {
		// A sample speaks of the tick before it.
		for _, at := range []int64{s.at.Add(-tick).Unix(), s.at.Unix()} {
			if i := at - r.first; i >= 0 && i < int64(len(r.seconds)) && s.core > saturated {
				r.seconds[i].invalid = true
			}
		}
	}
	for _, w := range rows {
		s := &r.seconds[w.at-r.first]
		switch w.metric {
		case "kt_ttft":
			s.ttft = append(s.ttft, w.v)
			s.events++
		case "kt_inter_token":
			s.gap = append(s.gap, w.v)
			s.events++
		case "kt_stream_ok":
			s.ends++
			r.whole.all++
			r.whole.good += w.v
		case "checks":
			r.checks.all++
			r.checks.good += w.v
		}
	}
	for i := range r.seconds {
		if s := &r.seconds[i]; !s.invalid {
			r.ttft, r.gap = append(r.ttft, s.ttft...), append(r.gap, s.gap...)
		}
	}
	slices.Sort(r.ttft)
	slices.Sort(r.gap)
	return nil
}

// quantile of sorted values; NaN of none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// invalid counts the seconds that do not count.
func (r *result) invalid() (n int) {
	for i := range r.seconds {
		if r.seconds[i].invalid {
			n++
		}
	}
	return n
}

// valid tells that the scenario may be judged.
func (r *result) valid() bool { return 2*r.invalid() <= len(r.seconds) }

// slowShare is the share of requests to which the gateway added more than 5 ms.
func (r *result) slowShare() float64 {
	all := r.after.requests - r.before.requests
	if all <= 0 {
		return math.NaN()
	}
	return 1 - (r.after.fast-r.before.fast)/all
}

// most gives the largest value of a figure.
func (r *result) most(f func(sample) float64) (m float64) {
	for _, s := range r.samples {
		m = max(m, f(s))
	}
	return m
}

// mean gives the average of a figure.
func (r *result) mean(f func(sample) float64) (m float64) {
	for _, s := range r.samples {
		m += f(s) / float64(len(r.samples))
	}
	return m
}

// judge compares with the limits.
func (r *result) judge() {
	l := r.limits
	above := func(what string, got, limit float64) {
		if limit > 0 && got > limit { // NaN, nothing measured, is not above
			r.broken = append(r.broken, fmt.Sprintf("%s %.4g > %g", what, got, limit))
		}
	}
	below := func(what string, got, limit float64) {
		if limit > 0 && !(got >= limit) {
			r.broken = append(r.broken, fmt.Sprintf("%s %.5g < %g", what, got, limit))
		}
	}
	above("time to first token p99 (ms)", quantile(r.ttft, .99), l.ttft)
	above("gap between tokens p99 (ms)", quantile(r.gap, .99), l.gap)
	below("share of whole streams", r.whole.value(), l.whole)
	if r.checks.all > 0 {
		below("share of checks", r.checks.value(), l.checks)
	}
	above("resident memory (MiB)", r.most(func(s sample) float64 { return s.rss }), l.rss)
	above("share of requests with more than 5 ms added", r.slowShare(), l.slowShare)
	if l.leavesNoReq && r.after.inFlight > 0 {
		r.broken = append(r.broken, fmt.Sprintf("%g requests are in flight 3 s after the end", r.after.inFlight))
	}
}
