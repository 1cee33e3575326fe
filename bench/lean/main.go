// Command lean measures what the gateway costs beside the smallest relays, as
// CPU time of the gateway's process per request, in ratios from interleaved
// runs: every round runs every contender once, in rotating order, and medians
// are compared. The clock is the kernel's sum for the process in nanoseconds,
// so a run may be short; what limits the figures is other work on the machine.
// It also measures memory under slow streams, start to ready,
// and added time to first token.
//
//	lean run    [-kt bin/kt] [-rounds 5] [-only a,b] [-workload chat] [-json FILE]
//	lean memory [-kt bin/kt] [-streams 5000]
//	lean start  [-kt bin/kt]
//	lean ttft   [-kt bin/kt]
//	lean pgo    [-kt bin/kt] [-out cmd/kt/default.pgo]   (a CPU profile of the gateway for the compiler)
//	lean profiled FILE ARGS...                           (kt with a CPU profile; started by pgo)
//	lean relay-hertz|relay-net LISTEN UPSTREAM     (the floors; started by the above)
//
// Everything stays on loopback and ends by itself.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keeptrusts/kt/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lean:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("want one of run, memory, start, ttft, pgo")
	}
	switch args[0] {
	case "relay-hertz":
		return relayHertz(args[1], args[2])
	case "relay-net":
		return relayNet(args[1], args[2])
	case "profiled":
		return profiled(args[1], args[2:])
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	kt := fs.String("kt", "bin/kt", "gateway binary")
	rounds := fs.Int("rounds", 5, "rounds; every contender runs once in each")
	only := fs.String("only", "", "contenders to run, by name, separated by commas (default all that can run)")
	workload := fs.String("workload", "", "only the workloads whose name begins with this")
	streams := fs.Int("streams", 5000, "slow streams at once")
	out := fs.String("json", "", "also write the figures to this file")
	pgo := fs.String("out", "cmd/kt/default.pgo", "where pgo writes the profile")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	bin, err := filepath.Abs(*kt)
	if err != nil {
		return err
	}
	b := &bencher{kt: bin, only: *only, workload: *workload}
	if err := b.begin(); err != nil {
		return err
	}
	defer b.end()
	var res any
	switch args[0] {
	case "run":
		res, err = b.ratios(*rounds)
	case "memory":
		res, err = b.memory(*streams)
	case "start":
		res, err = b.start(*rounds)
	case "ttft":
		res, err = b.ttft(*rounds)
	case "pgo":
		return b.pgo(*rounds, *pgo)
	default:
		err = fmt.Errorf("unknown command %q: want one of run, memory, start, ttft, pgo", args[0])
	}
	if err != nil || *out == "" {
		return err
	}
	raw, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(raw, '\n'), 0o644)
}

const quickStart = `pack:
  name: quick-launch
  version: 0.1.0
  enabled: true
providers:
  targets:
    - id: openai-primary
      provider: openai
      model: gpt-5.4-mini
      base_url: https://api.openai.com
      secret_key_ref:
        env: OPENAI_API_KEY
policies:
  chain:
    - prompt-injection
%s    - audit-logger
policy:
  prompt-injection:
    threshold: 0.8
    action: block
%s  audit-logger:
    retention_days: 30
`

// configs are the gateway's configurations by contender name.
var configs = map[string]string{
	"kt":     fmt.Sprintf(quickStart, "", ""),
	"kt+pii": fmt.Sprintf(quickStart, "    - pii-detector\n", "  pii-detector:\n    action: redact\n"),
	// The large pack: 2,000 own terms and the secret formats beside identifiers and injection.
	"kt-large": fmt.Sprintf(quickStart, "    - pii-detector\n    - dlp-filter\n", "  pii-detector:\n    action: redact\n"+
		"  dlp-filter:\n    action: redact\n    sensitivity_level: high\n    blocked_terms:\n      - \""+strings.Join(bench.Phrases(2000, 7), "\"\n      - \"")+"\"\n"),
	"kt-none": strings.NewReplacer("    - prompt-injection\n", "", "  prompt-injection:\n    threshold: 0.8\n    action: block\n", "").Replace(fmt.Sprintf(quickStart, "", "")),
}

// contender is one process under measurement.
type contender struct {
	name string
	cmd  *exec.Cmd
	url  string
	pids []int
	done chan struct{} // closed when the process has ended
	log  bytes.Buffer  // read it after done, or when an error ends the run
}

type bencher struct {
	kt, only, dir string
	workload      string
	profile       string // not empty: gateways run with a CPU profile, in this file
	provider      *http.Server
	upstream      string
	live          []*contender
	client        *http.Client
}

func (b *bencher) begin() error {
	if _, err := os.Stat(b.kt); err != nil {
		return fmt.Errorf("find gateway binary (build it with: make build): %w", err)
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "ktlean"); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.upstream = "http://" + ln.Addr().String()
	b.provider = serveProvider(ln)
	t := transport()
	t.MaxIdleConnsPerHost = 8192
	b.client = &http.Client{Transport: t}
	return nil
}

func (b *bencher) end() {
	for _, c := range b.live {
		c.stop()
	}
	_ = b.provider.Close()
	_ = os.RemoveAll(b.dir)
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// launch starts a contender and waits until it is ready; it returns how long that took.
func (b *bencher) launch(name string) (*contender, time.Duration, error) {
	addr, err := freePort()
	if err != nil {
		return nil, 0, err
	}
	c := &contender{name: name, url: "http://" + addr}
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	switch name {
	case "hertz":
		c.cmd = exec.Command(self, "relay-hertz", addr, b.upstream)
	case "reverseproxy":
		c.cmd = exec.Command(self, "relay-net", addr, b.upstream)
	case "nginx":
		conf, err := b.nginxConf(addr)
		if err != nil {
			return nil, 0, err
		}
		c.cmd = exec.Command("nginx", "-c", conf, "-p", b.dir)
	default:
		text, ok := configs[name]
		if !ok {
			return nil, 0, fmt.Errorf("unknown contender %q", name)
		}
		dir := filepath.Join(b.dir, strings.NewReplacer("+", "-").Replace(name))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, 0, err
		}
		file := filepath.Join(dir, "policy-config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, 0, err
		}
		args := []string{"gateway", "run", "--listen", addr, "--policy-config", file, "--upstream", b.upstream, "--max-concurrency", "20000"}
		c.cmd = exec.Command(b.kt, args...)
		if b.profile != "" {
			c.cmd = exec.Command(self, append([]string{"profiled", b.profile}, args...)...)
		}
		c.cmd.Dir = dir
	}
	c.cmd.Env = append(os.Environ(), "OPENAI_API_KEY=sk-bench-not-a-key", "KEEPTRUSTS_DATA_DIR="+filepath.Join(b.dir, "data-"+strings.ReplaceAll(name, "+", "-")))
	c.cmd.Stderr, c.cmd.Stdout = &c.log, &c.log
	begin := time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("start %s: %w", name, err)
	}
	b.live = append(b.live, c)
	c.done = make(chan struct{})
	go func() { _ = c.cmd.Wait(); close(c.done) }() // ends with the process, which stop ends
	for time.Since(begin) < 60*time.Second {
		select {
		case <-c.done:
			return nil, 0, fmt.Errorf("%s ended at once:\n%s", name, tail(c.log.Bytes()))
		default:
		}
		resp, err := b.client.Get(c.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 300 || name == "nginx" {
				took := time.Since(begin)
				c.pids = append([]int{c.cmd.Process.Pid}, children(c.cmd.Process.Pid)...)
				return c, took, nil
			}
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil, 0, fmt.Errorf("%s was not ready within 60 s:\n%s", name, c.log.Bytes())
}

func (c *contender) stop() {
	if c.done == nil {
		return
	}
	_ = c.cmd.Process.Signal(os.Interrupt)
	select {
	case <-c.done:
	case <-time.After(5 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

func (b *bencher) nginxConf(addr string) (string, error) {
	file := filepath.Join(b.dir, "nginx.conf")
	return file, os.WriteFile(file, fmt.Appendf(nil, `daemon off; worker_processes 2; pid %s/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http { access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
 upstream up { server %s; keepalive 256; }
 server { listen %s; location = /readyz { return 200; }
  location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }
`, b.dir, strings.TrimPrefix(b.upstream, "http://"), addr), 0o644)
}

func children(pid int) []int {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var out []int
	for f := range strings.FieldsSeq(string(raw)) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// cpu is the CPU time used so far by the contender's processes (user and system).
func (c *contender) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range c.pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", c.name, err, c.log.Bytes())
		}
		sum += t
	}
	return sum, nil
}

// rss is the resident memory in bytes.
func (c *contender) rss() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pids[0]))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kb << 10, err
}

// workload is one shape of traffic.
type workload struct {
	name, shape string
	workers     int
	requests    int // per round
}

var workloads = []workload{
	{"chat 1 KB/1 KB", "chat1k", 8, 12000},
	{"stream 200 events, gap 0", "stream-200-0ms", 8, 1200},
	{"stream 200 events, gap 10 ms", "stream-200-10ms", 64, 128},
}

// Figure is CPU per request of one contender under one workload.
type Figure struct {
	Workload, Contender string
	MicrosPerRequest    float64 // median over the rounds
	RatioToHertz        float64 // median of the rounds' own ratios
}

func (b *bencher) ratios(rounds int) ([]Figure, error) {
	names := []string{"hertz", "reverseproxy", "nginx", "kt-none", "kt", "kt+pii"}
	if b.only != "" {
		names = strings.Split(b.only, ",")
	}
	if _, err := exec.LookPath("nginx"); err != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n == "nginx" })
		fmt.Println("nginx is not installed: left out")
	}
	var cs []*contender
	for _, n := range names {
		c, _, err := b.launch(n)
		if err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	var figures []Figure
	for _, w := range workloads {
		if !strings.HasPrefix(w.name, b.workload) {
			continue
		}
		body := request(w.shape)
		per := map[string][]float64{}
		for _, c := range cs { // warm up, not counted
			if _, err := b.load(c, w, body, w.requests/10+w.workers); err != nil {
				return nil, err
			}
		}
		for r := range rounds {
			for i := range cs {
				c := cs[(i+r)%len(cs)]
				us, err := b.load(c, w, body, w.requests)
				if err != nil {
					return nil, err
				}
				per[c.name] = append(per[c.name], us)
			}
		}
		fmt.Printf("%-30s %14s %10s\n", w.name, "us CPU/request", "x hertz")
		for _, c := range cs {
			f := Figure{Workload: w.name, Contender: c.name, MicrosPerRequest: median(per[c.name])}
			if floor, ok := per["hertz"]; ok {
				rs := make([]float64, rounds)
				for i := range rs {
					rs[i] = per[c.name][i] / floor[i]
				}
				f.RatioToHertz = median(rs)
			}
			figures = append(figures, f)
			fmt.Printf("  %-28s %14.1f %10.2f\n", c.name, f.MicrosPerRequest, f.RatioToHertz)
		}
	}
	return figures, nil
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// load sends n requests and gives the contender's CPU time per request in microseconds.
func (b *bencher) load(c *contender, w workload, body []byte, n int) (float64, error) {
	before, err := c.cpu()
	if err != nil {
		return 0, err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, w.workers)
	for range w.workers {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if _, err := b.one(context.Background(), c, body, strings.HasPrefix(w.shape, "stream")); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, fmt.Errorf("load %s with %s: %w\n%s", c.name, w.name, err, tail(c.log.Bytes()))
	default:
	}
	after, err := c.cpu()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(n) / 1e3, nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// token begins the text of the provider's first event that has some.
var token = []byte(`"content":" the`)

// one sends a request, reads the answer to its end, and checks that it is
// whole. It returns the time to the first token: to the read that brought the
// first event with text (streams) or the first byte (others).
func (b *bencher) one(ctx context.Context, c *contender, body []byte, stream bool) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	begin := time.Now()
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return 0, fmt.Errorf("status %d: %s", resp.StatusCode, msg)
	}
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	var first time.Duration
	var head []byte  // what came before the first token
	var end [32]byte // the last bytes of the body
	total := 0
	for {
		n, err := resp.Body.Read(*p)
		if n > 0 {
			chunk := (*p)[:n]
			if first == 0 {
				head = append(head, chunk...)
				if !stream || bytes.Contains(head, token) {
					first = time.Since(begin)
				}
			}
			total += n
			if n >= len(end) {
				copy(end[:], chunk[n-len(end):])
			} else {
				copy(end[:], end[n:])
				copy(end[len(end)-n:], chunk)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if first == 0 {
		return 0, errors.New("the answer has no token")
	}
	if stream && !bytes.HasSuffix(end[:], []byte("data: [DONE]\n\n")) {
		return 0, errors.New("the stream did not end with [DONE]")
	}
	if !stream && total < 900 {
		return 0, fmt.Errorf("answer has %d bytes", total)
	}
	return first, nil
}

// Memory is the resident size under many slow streams.
type Memory struct {
	Streams   int
	IdleMiB   float64
	LoadedMiB float64
	KiBEach   float64
}

func (b *bencher) memory(streams int) (*Memory, error) {
	first, _, err := b.launch("kt+pii") // builds the tables and keeps them: a start like any later one is measured
	if err != nil {
		return nil, err
	}
	first.stop()
	c, _, err := b.launch("kt+pii")
	if err != nil {
		return nil, err
	}
	idle, err := c.rss()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var failed atomic.Int64
	var why atomic.Value
	body := request("stream-40-1000ms")
	for i := range streams {
		wg.Go(func() {
			if _, err := b.one(ctx, c, body, true); err != nil && ctx.Err() == nil {
				failed.Add(1)
				why.Store(err.Error())
			}
		})
		if i%100 == 99 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	var peak int64
	for range 20 {
		time.Sleep(500 * time.Millisecond)
		now, err := c.rss()
		if err != nil {
			cancel()
			return nil, err
		}
		peak = max(peak, now)
	}
	cancel()
	wg.Wait()
	if n := failed.Load(); n > 0 {
		return nil, fmt.Errorf("%d of %d streams failed: %v\n%s", n, streams, why.Load(), tail(c.log.Bytes()))
	}
	m := &Memory{Streams: streams, IdleMiB: mib(idle), LoadedMiB: mib(peak), KiBEach: float64(peak-idle) / 1024 / float64(streams)}
	fmt.Printf("%d slow streams: %.0f MiB resident (idle %.0f), %.1f KiB a stream\n", m.Streams, m.LoadedMiB, m.IdleMiB, m.KiBEach)
	return m, nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// Start is the time from exec to the first good answer of /readyz: of the first
// start, with an empty data folder, and the median of the later ones.
type Start struct {
	Contender  string
	Millis     float64
	ColdMillis float64
	Mode       string
}

func (b *bencher) start(rounds int) ([]Start, error) {
	names := []string{"kt", "kt+pii", "kt-large"}
	if b.only != "" {
		names = strings.Split(b.only, ",")
	}
	var out []Start
	for _, n := range names {
		var ms []float64
		mode := ""
		for range rounds + 1 {
			c, took, err := b.launch(n)
			if err != nil {
				if n == "kt-large" && len(out) > 0 { // the others stand without it
					fmt.Printf("start to ready: %s could not be measured: %v\n", n, err)
					return out, nil
				}
				return nil, err
			}
			ms = append(ms, float64(took.Microseconds())/1000)
			mode = b.mode(c)
			c.stop()
		}
		s := Start{Contender: n, ColdMillis: ms[0], Millis: median(ms[1:]), Mode: mode}
		out = append(out, s)
		fmt.Printf("start to ready: %-8s %.1f ms, the first time %.1f ms (%s)\n", s.Contender, s.Millis, s.ColdMillis, s.Mode)
	}
	return out, nil
}

// mode reads from /metrics whether the chain runs compiled or interpreted.
func (b *bencher) mode(c *contender) string {
	resp, err := b.client.Get(c.url + "/metrics")
	if err != nil {
		return "unknown"
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	_, rest, ok := strings.Cut(string(text), "keeptrusts_gateway_pipeline_info{")
	if !ok {
		return "unknown"
	}
	_, rest, _ = strings.Cut(rest, `mode="`)
	mode, _, _ := strings.Cut(rest, `"`)
	return mode
}

// TTFT is the time to first token through a contender and directly from the provider, at a rate of streams a
// second that is half of the full load.
type TTFT struct {
	Contender          string
	Rate, Full         int // streams a second
	P50Millis, P99Ms   float64
	AddedP50, AddedP99 float64
}

// full finds the full load: the most streams a second, in steps of a tenth, that the machine carries through c
// with the load generator and the provider on the same cores. Beyond it fewer than 95 in 100 streams begin in
// time, or one in 100 waits for its first byte for longer than 100 ms.
func (b *bencher) full(c *contender, body []byte) (int, error) {
	const second = time.Second
	for carried, rate := 0, 200; ; carried, rate = rate, rate*11/10 {
		begin := time.Now()
		got, err := b.paced(c, body, rate, second)
		if err != nil {
			return 0, err
		}
		late := time.Since(begin) > second+500*time.Millisecond
		if late || len(got)*100 < rate*95 || quantile(got, .99) > 100 {
			return carried, nil
		}
	}
}

// ttft sends streams (one event every 10 ms) at half of the full load and compares the
// time to the first byte with that of the provider itself, taken in turns. With
// PII redaction on, the first byte waits until no rule can touch the first word
// any more: that is until the next event, here 10 ms later.
func (b *bencher) ttft(rounds int) ([]TTFT, error) {
	to := []*contender{{name: "direct", url: b.upstream}}
	for _, name := range []string{"kt", "kt+pii"} {
		c, _, err := b.launch(name)
		if err != nil {
			return nil, err
		}
		to = append(to, c)
	}
	body := request("stream-10-10ms")
	full, err := b.full(to[1], body)
	if err != nil {
		return nil, err
	}
	rate := max(full/2, 1)
	fmt.Printf("full load: %d streams a second; measured at %d\n", full, rate)
	times := map[string][]float64{}
	for range rounds {
		for _, c := range to {
			got, err := b.paced(c, body, rate, 1500*time.Millisecond)
			if err != nil {
				return nil, err
			}
			times[c.name] = append(times[c.name], got...)
		}
	}
	var out []TTFT
	d50, d99 := quantile(times["direct"], .5), quantile(times["direct"], .99)
	for _, c := range to {
		n := c.name
		t := TTFT{Contender: n, Rate: rate, Full: full, P50Millis: quantile(times[n], .5), P99Ms: quantile(times[n], .99)}
		t.AddedP50, t.AddedP99 = t.P50Millis-d50, t.P99Ms-d99
		out = append(out, t)
		fmt.Printf("time to first token: %-8s p50 %.2f ms, p99 %.2f ms; added %.2f / %.2f ms\n", n, t.P50Millis, t.P99Ms, t.AddedP50, t.AddedP99)
	}
	return out, nil
}

// paced starts perSecond requests a second, evenly, for the given time.
func (b *bencher) paced(c *contender, body []byte, perSecond int, d time.Duration) ([]float64, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var out []float64
	var first error
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < d; <-tick.C {
		wg.Go(func() {
			t, err := b.one(context.Background(), c, body, true)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				first = err
				return
			}
			out = append(out, float64(t.Microseconds())/1000)
		})
	}
	wg.Wait()
	if first != nil {
		return nil, fmt.Errorf("%s: %w\n%s", c.name, first, tail(c.log.Bytes()))
	}
	return out, nil
}

func quantile(v []float64, q float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[min(len(v)-1, int(q*float64(len(v))))]
}
