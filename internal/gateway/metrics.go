package gateway

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/upstream"
)

// other is the label value for everything that is not configured: models that
// clients make up must not make series.
const other = "other"

// statuses that the gateway answers with; others count as "other".
var statuses = []int{200, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 499, 500, 501, 502, 503}

var verdicts = []pipeline.Verdict{pipeline.VerdictAllow, pipeline.VerdictRedact, pipeline.VerdictEscalate, pipeline.VerdictBlock}

var actions = []pipeline.Action{pipeline.Allow, pipeline.Log, pipeline.Warn, pipeline.Redact, pipeline.Escalate, pipeline.Block}

// outcomes are how a request can end; others count as "other".
var outcomes = []string{
	"completed", "refused", "blocked", "escalated", "client_abort", "shutdown", "upstream_error", "upstream_refused",
	"upstream_cut", "upstream_bad_event", "upstream_timeout", "internal_error",
}

// skips are the reasons for which a target is not asked; others count as "other".
var skips = []string{
	"breaker_open", "ejected", "unhealthy", "concurrency", "rate_limit", "token_limit", "retry_after", "max_cost",
	"other_model", "max_attempts", "config",
}

// Metrics are the gateway's counters, with the children of every target
// resolved when they are made: a request looks no label up.
type Metrics struct {
	reg     *prometheus.Registry
	targets []*targetMetrics
	byID    map[string]int     // positions in targets
	none    *targetMetrics     // requests that no target answered
	unasked map[string]*series // by configured model: requests for which no target was asked
	series  func(model, provider string) series
	family  *family

	info       *prometheus.GaugeVec
	policies   *prometheus.CounterVec
	decisions  *prometheus.CounterVec
	inflight   prometheus.Gauge
	ends       [stream.EndTimeout + 1]prometheus.Counter
	heldMax    prometheus.Observer
	edited     prometheus.Counter
	scanned    [pipeline.NumClasses]prometheus.Counter
	estimated  prometheus.Counter
	auditLost  prometheus.Counter
	auditWrite prometheus.Observer
	panics     prometheus.Counter
	firstByte  prometheus.Observer
	refused    *prometheus.CounterVec
	added      [2]prometheus.Observer // whole, stream
	addedFirst prometheus.Observer
	scan       [2]prometheus.Observer // input, output
	delays     *spreads
	holds      *spreads
	served     atomic.Int64
}

// series are the children of one model and provider.
type series struct {
	requests [][]prometheus.Counter // status, verdict; family A
	gateway  []prometheus.Counter   // status; family D
	latency  prometheus.Observer
	duration prometheus.Observer
}

type targetMetrics struct {
	series
	tokens    [2]prometheus.Counter // input, output
	gwTokens  [2]prometheus.Counter
	cost      prometheus.Counter
	attempts  [upstream.NumClasses]prometheus.Counter
	fallbacks prometheus.Counter
	probes    prometheus.Counter
	wasted    prometheus.Counter
	breaker   prometheus.Gauge
	changes   [upstream.Opened + 1]prometheus.Counter
	ejected   prometheus.Gauge
	ejections prometheus.Counter
	attempt   prometheus.Observer
	first     prometheus.Observer
	wins      prometheus.Counter
	outcomes  []prometheus.Counter
	skipped   []prometheus.Counter
}

// family makes the collectors of the table's entries.
type family struct {
	reg   *prometheus.Registry
	table map[string]Metric
}

// entry gives the description of a family. Asking for one that is not in the
// table, or of another kind, is a fault of the program: the tests find it.
func (f *family) entry(name string, kind MetricKind) Metric {
	m, ok := f.table[name]
	if !ok || m.Kind != kind {
		panic("metric " + name + " is not in MetricTable as a " + string(kind))
	}
	return m
}

func (f *family) counters(name string) *prometheus.CounterVec {
	m := f.entry(name, CounterKind)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: m.Help}, m.Labels)
	f.reg.MustRegister(v)
	return v
}

func (f *family) gauges(name string) *prometheus.GaugeVec {
	m := f.entry(name, GaugeKind)
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: m.Help}, m.Labels)
	f.reg.MustRegister(v)
	return v
}

func (f *family) histograms(name string) *prometheus.HistogramVec {
	m := f.entry(name, HistogramKind)
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: m.Help, Buckets: m.Buckets}, m.Labels)
	f.reg.MustRegister(v)
	return v
}

func (f *family) counterFunc(name string, read func() float64) {
	m := f.entry(name, CounterKind)
	f.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: m.Help}, read))
}

func (f *family) gaugeFunc(name string, read func() float64) {
	m := f.entry(name, GaugeKind)
	f.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: m.Help}, read))
}

func (f *family) spreads(name string) *spreads {
	m := f.entry(name, HistogramKind)
	s := &spreads{desc: prometheus.NewDesc(name, m.Help, nil, nil), bounds: m.Buckets}
	f.reg.MustRegister(s)
	return s
}

// spreads is a histogram to which whole streams are added at once.
type spreads struct {
	desc   *prometheus.Desc
	bounds []float64
	mu     sync.Mutex
	n      [len(stream.Spread{}.N)]uint64
	sum    time.Duration
}

// add takes one stream's figures.
func (s *spreads) add(r *stream.Spread) {
	s.mu.Lock()
	for i, n := range r.N {
		s.n[i] += uint64(n)
	}
	s.sum += r.Sum
	s.mu.Unlock()
}

// Describe implements prometheus.Collector.
func (s *spreads) Describe(ch chan<- *prometheus.Desc) { ch <- s.desc }

// Collect implements prometheus.Collector.
func (s *spreads) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total, buckets := uint64(0), make(map[float64]uint64, len(s.bounds))
	for i, n := range s.n {
		total += n
		if i < len(s.bounds) {
			buckets[s.bounds[i]] = total
		}
	}
	ch <- prometheus.MustNewConstHistogram(s.desc, total, s.sum.Seconds(), buckets)
}

// NewMetrics makes the counters for these targets, in the pool's order.
func NewMetrics(targets []*upstream.Target) *Metrics {
	f := &family{reg: prometheus.NewRegistry(), table: map[string]Metric{}}
	for _, e := range MetricTable() {
		f.table[e.Name] = e
	}
	m := &Metrics{reg: f.reg, family: f, byID: map[string]int{}}
	f.reg.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled(), collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{
			Matcher: regexp.MustCompile("^(" + strings.Join([]string{
				"/memory/classes/total:bytes", "/memory/classes/heap/objects:bytes", "/gc/heap/goal:bytes", "/sched/gomaxprocs:threads", "/cpu/classes/gc/total:cpu-seconds",
			}, "|") + ")$"),
		})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	requests := f.counters("keeptrusts_llm_requests_total")
	tokens := f.counters("keeptrusts_llm_tokens_total")
	cost := f.counters("keeptrusts_llm_cost_total")
	latency := f.histograms("keeptrusts_llm_latency_seconds")
	gwRequests := f.counters("keeptrusts_gateway_requests_total")
	duration := f.histograms("keeptrusts_gateway_request_duration_seconds")
	gwTokens := f.counters("keeptrusts_gateway_tokens_total")
	attempts := f.counters("keeptrusts_gateway_upstream_attempts_total")
	attempt := f.histograms("keeptrusts_gateway_upstream_attempt_seconds")
	first := f.histograms("keeptrusts_gateway_time_to_first_token_seconds")
	fallbacks := f.counters("keeptrusts_gateway_fallbacks_total")
	probes := f.counters("keeptrusts_gateway_probes_total")
	wins := f.counters("keeptrusts_gateway_probe_wins_total")
	wasted := f.counters("keeptrusts_gateway_wasted_tokens_total")
	breaker := f.gauges("keeptrusts_gateway_breaker_state")
	changes := f.counters("keeptrusts_gateway_breaker_changes_total")
	ejected := f.gauges("keeptrusts_gateway_target_ejected")
	ejections := f.counters("keeptrusts_gateway_ejections_total")
	ended := f.counters("keeptrusts_gateway_outcomes_total")
	skipped := f.counters("keeptrusts_gateway_targets_skipped_total")
	m.policies = f.counters("keeptrusts_gateway_policy_evaluations_total")
	m.decisions = f.counters("keeptrusts_gateway_decisions_total")
	m.info = f.gauges("keeptrusts_gateway_pipeline_info")
	ends := f.counters("keeptrusts_gateway_stream_ends_total")
	for i := range m.ends {
		m.ends[i] = newLazy(ends, stream.End(i).String())
	}
	m.heldMax = f.histograms("keeptrusts_gateway_stream_held_bytes").WithLabelValues()
	m.firstByte = f.histograms("keeptrusts_gateway_first_byte_seconds").WithLabelValues()
	m.auditWrite = f.histograms("keeptrusts_gateway_audit_write_seconds").WithLabelValues()
	m.addedFirst = f.histograms("keeptrusts_gateway_added_first_token_seconds").WithLabelValues()
	added, scan := f.histograms("keeptrusts_gateway_added_latency_seconds"), f.histograms("keeptrusts_gateway_scan_seconds")
	m.added = [2]prometheus.Observer{added.WithLabelValues("false"), added.WithLabelValues("true")}
	m.scan = [2]prometheus.Observer{scan.WithLabelValues("input"), scan.WithLabelValues("output")}
	m.delays = f.spreads("keeptrusts_gateway_added_token_delay_seconds")
	m.holds = f.spreads("keeptrusts_gateway_hold_seconds")
	scanned := f.counters("keeptrusts_gateway_scanned_bytes_total")
	for c := range m.scanned {
		m.scanned[c] = scanned.WithLabelValues(pipeline.Class(c).String())
	}
	m.edited = f.counters("keeptrusts_gateway_edited_frames_total").WithLabelValues()
	m.estimated = f.counters("keeptrusts_gateway_estimated_usage_total").WithLabelValues()
	m.auditLost = f.counters("keeptrusts_gateway_audit_failures_total").WithLabelValues()
	m.panics = f.counters("keeptrusts_gateway_panics_total").WithLabelValues()
	m.refused = f.counters("keeptrusts_gateway_refused_total")
	m.inflight = f.gauges("keeptrusts_gateway_requests_in_flight").WithLabelValues()

	m.series = func(model, provider string) series {
		t := series{latency: &lazyObserver{vec: latency, values: []string{model, provider}}, duration: duration.WithLabelValues(provider)}
		for _, s := range append(labels(statuses), other) {
			var row []prometheus.Counter
			for _, v := range verdicts {
				row = append(row, newLazy(requests, model, provider, s, string(v)))
			}
			t.requests = append(t.requests, row)
			t.gateway = append(t.gateway, newLazy(gwRequests, provider, model, s))
		}
		return t
	}
	make1 := func(model, provider, target string) *targetMetrics {
		t := &targetMetrics{series: m.series(model, provider), cost: cost.WithLabelValues(model, provider)}
		t.latency = latency.WithLabelValues(model, provider)
		for i, d := range []string{"input", "output"} {
			t.tokens[i] = tokens.WithLabelValues(model, provider, d)
			t.gwTokens[i] = gwTokens.WithLabelValues(d, model)
		}
		if target == "" {
			for _, o := range append(slices.Clone(outcomes), other) {
				t.outcomes = append(t.outcomes, newLazy(ended, "none", o))
			}
			t.first = first.WithLabelValues("none")
			return t
		}
		for _, o := range append(slices.Clone(outcomes), other) {
			t.outcomes = append(t.outcomes, newLazy(ended, target, o))
		}
		for _, r := range append(slices.Clone(skips), other) {
			t.skipped = append(t.skipped, newLazy(skipped, target, r))
		}
		for st := range t.changes {
			t.changes[st] = changes.WithLabelValues(target, upstream.BreakerState(st).String())
		}
		t.ejections, t.wins = ejections.WithLabelValues(target), wins.WithLabelValues(target)
		t.attempt, t.first = attempt.WithLabelValues(target), first.WithLabelValues(target)
		for c := range t.attempts {
			t.attempts[c] = newLazy(attempts, target, upstream.ErrorClass(c).String())
		}
		t.fallbacks, t.probes, t.wasted = fallbacks.WithLabelValues(target), probes.WithLabelValues(target), wasted.WithLabelValues(target)
		t.breaker, t.ejected = breaker.WithLabelValues(target), ejected.WithLabelValues(target)
		return t
	}
	for _, t := range targets {
		model := t.Model
		if model == "" {
			model = other
		}
		m.byID[t.ID] = len(m.targets)
		m.targets = append(m.targets, make1(model, providerOf(t), t.ID))
	}
	m.none = make1(other, "none", "")
	return m
}

// serve makes the children of the models that clients may ask for.
func (m *Metrics) serve(models []string) {
	m.unasked = make(map[string]*series, len(models))
	for _, name := range models {
		s := m.series(name, "none")
		m.unasked[name] = &s
	}
}

func labels(list []int) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Itoa(s)
	}
	return out
}

func providerOf(t *upstream.Target) string {
	if t.Provider == nil {
		return "openai"
	}
	return t.Provider.ID
}

// lazy is a child that comes into being when it is first used, so that /metrics
// does not list every combination, and is looked up once.
type lazy struct {
	prometheus.Counter
	vec    *prometheus.CounterVec
	values []string
	child  atomic.Pointer[prometheus.Counter]
}

func newLazy(v *prometheus.CounterVec, values ...string) prometheus.Counter {
	return &lazy{vec: v, values: values}
}

func (l *lazy) get() prometheus.Counter {
	if c := l.child.Load(); c != nil {
		return *c
	}
	c := l.vec.WithLabelValues(l.values...)
	l.child.Store(&c)
	return c
}

// Inc counts one.
func (l *lazy) Inc() { l.get().Inc() }

// Add counts more.
func (l *lazy) Add(v float64) { l.get().Add(v) }

// lazyObserver is lazy for a histogram.
type lazyObserver struct {
	vec    *prometheus.HistogramVec
	values []string
	child  atomic.Pointer[prometheus.Observer]
}

// Observe adds one value.
func (l *lazyObserver) Observe(v float64) {
	o := l.child.Load()
	if o == nil {
		c := l.vec.WithLabelValues(l.values...)
		o = &c
		l.child.Store(o)
	}
	(*o).Observe(v)
}

func (m *Metrics) target(i int) *targetMetrics {
	if i < 0 || i >= len(m.targets) {
		return m.none
	}
	return m.targets[i]
}

// Gatherer gives what /metrics shows.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.reg }

// Hooks are for the pool over the same targets.
func (m *Metrics) Hooks() upstream.Hooks {
	return upstream.Hooks{
		Attempt: func(t int, class upstream.ErrorClass, took time.Duration) {
			m.targets[t].attempts[class].Inc()
			m.targets[t].attempt.Observe(took.Seconds())
		},
		Fall:  func(_, to int, _ upstream.ErrorClass) { m.targets[to].fallbacks.Inc() },
		Probe: func(t int) { m.targets[t].probes.Inc() },
		Breaker: func(t int, s upstream.BreakerState) {
			m.targets[t].breaker.Set(float64(s))
			m.targets[t].changes[s].Inc()
		},
		Eject: func(t int, out bool) {
			v := 0.0
			if out {
				v = 1
				m.targets[t].ejections.Inc()
			}
			m.targets[t].ejected.Set(v)
		},
		Wasted: func(t int, prompt, completion, _ int64) { m.targets[t].wasted.Add(float64(prompt + completion)) },
	}
}

// chain says which chain is in use.
func (m *Metrics) chain(i *pipeline.Info) {
	m.info.Reset()
	m.info.WithLabelValues(i.Mode, i.Digest, i.Pack).Set(1)
}

// policyCounters resolves the children of a chain's policies.
func (m *Metrics) policyCounters(i *pipeline.Info) [][]prometheus.Counter {
	var out [][]prometheus.Counter
	for p := range i.Policies {
		var row []prometheus.Counter
		for _, a := range actions {
			row = append(row, newLazy(m.policies, i.Policies[p].Kind, a.String()))
		}
		out = append(out, row)
	}
	return out
}

// decisionKey is what a decision is counted by.
type decisionKey struct {
	verdict               pipeline.Verdict
	phase, policy, reason string
}

// decisionCounters resolves the children of everything that a chain can decide.
func (m *Metrics) decisionCounters(i *pipeline.Info) map[decisionKey]prometheus.Counter {
	out := map[decisionKey]prometheus.Counter{}
	add := func(k decisionKey) {
		if out[k] == nil {
			out[k] = newLazy(m.decisions, string(k.verdict), cmp.Or(k.phase, "none"), cmp.Or(k.policy, "none"), k.reason)
		}
	}
	add(decisionKey{pipeline.VerdictAllow, "", "", "all_policies_passed"})
	for e := range i.Entities {
		kinds := []string{""}
		if e >= pipeline.FirstEntity {
			kinds[0] = i.Policies[i.Entities[e].Policy].Kind
		} else {
			for p := range i.Policies { // any policy can fail
				kinds = append(kinds, i.Policies[p].Kind)
			}
		}
		for _, kind := range kinds {
			for _, phase := range []pipeline.Phase{pipeline.Input, pipeline.Tool, pipeline.Output} {
				for _, v := range verdicts {
					add(decisionKey{v, phase.String(), kind, i.Entities[e].Reason})
				}
			}
		}
	}
	return out
}

// times are where the time of one request went.
type times struct {
	scan   [2]time.Duration // input, output
	target time.Duration    // in calls to targets, and waiting for their answers
	first  time.Duration    // of it: until the first valid event or the whole answer
	client time.Duration    // in writes of a stream to the client
	audit  time.Duration
	looked [2]bool // scan was done
}

// index gives the position of v, or len(list), which stands for other.
func index[T comparable](list []T, v T) int {
	if i := slices.Index(list, v); i >= 0 {
		return i
	}
	return len(list)
}

// of gives the children for a request: those of the target that answered, else
// of the last one that was asked, else of the model that the client named.
func (m *Metrics) of(model string, target, asked int) *series {
	if target < 0 {
		target = asked
	}
	if target < 0 {
		if s := m.unasked[model]; s != nil {
			return s
		}
	}
	return &m.target(target).series
}

// request counts one finished request. target is the one that answered, asked
// the last one that was asked when none did; -1: none.
func (m *Metrics) request(r *audit.Record, target, asked int, tm *times) {
	m.served.Add(1)
	t, by := m.target(target), m.of(r.Model, target, asked)
	s := index(statuses, r.Status)
	v := max(0, slices.Index(verdicts, r.Verdict))
	by.requests[s][v].Inc()
	by.gateway[s].Inc()
	t.outcomes[index(outcomes, r.Outcome)].Inc()
	t.tokens[0].Add(float64(r.InputTokens))
	t.tokens[1].Add(float64(r.OutputTokens))
	t.gwTokens[0].Add(float64(r.InputTokens))
	t.gwTokens[1].Add(float64(r.OutputTokens))
	t.cost.Add(float64(r.CostMicros) / 1e6)
	by.latency.Observe(r.Latency.Seconds())
	by.duration.Observe(r.Latency.Seconds())
	for c := range r.Scanned {
		if r.Scanned[c] > 0 {
			m.scanned[c].Add(float64(r.Scanned[c]))
		}
	}
	for _, a := range r.Attempts {
		if i, ok := m.byID[a.Target]; ok && target >= 0 && a.Probe && a.Target == r.Target && a.Result != upstream.Lost.String() {
			m.targets[i].wins.Inc()
		}
	}
	for _, x := range r.Rejected {
		if i, ok := m.byID[x.Target]; ok {
			m.targets[i].skipped[index(skips, x.Reason)].Inc()
		}
	}
	streamed := 0
	if r.Stream {
		streamed = 1
	}
	m.added[streamed].Observe(max(0, r.Latency-tm.target-tm.client).Seconds())
	for i, d := range tm.scan {
		if tm.looked[i] {
			m.scan[i].Observe(d.Seconds())
		}
	}
	m.auditWrite.Observe(tm.audit.Seconds())
	if r.FirstByte > 0 {
		m.firstByte.Observe(r.FirstByte.Seconds())
	}
	if r.Estimated {
		m.estimated.Inc()
	}
}

// streamed counts one stream that was relayed. first is when its first byte
// left, 0 when none did.
func (m *Metrics) streamed(r *stream.Report, target int, first, upstreamFirst time.Duration) {
	m.ends[r.End].Inc()
	m.heldMax.Observe(float64(r.HeldMax))
	m.delays.add(&r.Delays)
	m.holds.add(&r.Holds)
	if first > 0 {
		m.target(target).first.Observe(first.Seconds())
		m.addedFirst.Observe(max(0, first-upstreamFirst).Seconds())
	}
}

// watch registers what is read when /metrics is asked.
func (m *Metrics) watch(g *Gateway) {
	f := m.family
	f.gaugeFunc("keeptrusts_gateway_connections", func() float64 { return float64(g.ln.count()) })
	f.counterFunc("keeptrusts_gateway_connections_accepted_total", func() float64 { return float64(g.ln.accepted.Load()) })
	stats := func() (s audit.Stats) {
		if g.o.Audit != nil {
			s = g.o.Audit.Stats()
		}
		return s
	}
	f.counterFunc("keeptrusts_gateway_audit_records_total", func() float64 { return float64(stats().Records) })
	f.counterFunc("keeptrusts_gateway_audit_written_bytes_total", func() float64 { return float64(stats().Bytes) })
	f.counterFunc("keeptrusts_gateway_audit_reopened_total", func() float64 { return float64(stats().Reopened) })
	f.gaugeFunc("keeptrusts_gateway_audit_lag_seconds", func() float64 { return stats().Lag.Seconds() })
}
