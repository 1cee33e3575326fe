package gateway

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

// buckets of latencies in seconds: a short answer to a long stream.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// Metrics are the gateway's counters, with the children of every target
// resolved when they are made: a request looks no label up.
type Metrics struct {
	reg     *prometheus.Registry
	targets []*targetMetrics
	none    *targetMetrics // requests that no target answered

	info      *prometheus.GaugeVec
	policies  *prometheus.CounterVec
	inflight  prometheus.Gauge
	ends      [stream.EndTimeout + 1]prometheus.Counter
	heldMax   prometheus.Histogram
	edited    prometheus.Counter
	scanned   [pipeline.NumClasses]prometheus.Counter
	estimated prometheus.Counter
	auditLost prometheus.Counter
	panics    prometheus.Counter
	firstByte prometheus.Histogram
	refused   *prometheus.CounterVec
	served    atomic.Int64
}

type targetMetrics struct {
	requests  [][]prometheus.Counter // status, verdict; family A
	gateway   []prometheus.Counter   // status; family D
	tokens    [2]prometheus.Counter  // input, output
	gwTokens  [2]prometheus.Counter
	cost      prometheus.Counter
	latency   prometheus.Observer
	duration  prometheus.Observer
	attempts  [upstream.NumClasses]prometheus.Counter
	fallbacks prometheus.Counter
	probes    prometheus.Counter
	wasted    prometheus.Counter
	breaker   prometheus.Gauge
	ejected   prometheus.Gauge
}

// NewMetrics makes the counters for these targets, in the pool's order.
func NewMetrics(targets []*upstream.Target) *Metrics {
	m := &Metrics{reg: prometheus.NewRegistry()}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.reg.MustRegister(v)
		return v
	}
	hist := func(name, help string, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.reg.MustRegister(v)
		return v
	}
	one := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		m.reg.MustRegister(v)
		return v
	}
	requests := vec("keeptrusts_llm_requests_total", "Requests to models by status and policy verdict.", "model", "provider", "status", "verdict")
	tokens := vec("keeptrusts_llm_tokens_total", "Tokens of requests and answers, estimated where the answer names none.", "model", "provider", "direction")
	cost := vec("keeptrusts_llm_cost_total", "Cost in the currency of the configured prices.", "model", "provider")
	latency := hist("keeptrusts_llm_latency_seconds", "Time from a request to the end of its answer.", "model", "provider")
	gwRequests := vec("keeptrusts_gateway_requests_total", "Requests by the provider that answered.", "provider", "model", "status")
	duration := hist("keeptrusts_gateway_request_duration_seconds", "Time from a request to the end of its answer.", "provider")
	m.policies = vec("keeptrusts_gateway_policy_evaluations_total", "Requests that a policy looked at, by the strictest thing it did.", "policy", "result")
	gwTokens := vec("keeptrusts_gateway_tokens_total", "Tokens of requests and answers.", "direction", "model")
	attempts := vec("keeptrusts_gateway_upstream_attempts_total", "Calls to a target by how they ended.", "target", "class")
	fallbacks := vec("keeptrusts_gateway_fallbacks_total", "Fallbacks to a target.", "target")
	probes := vec("keeptrusts_gateway_probes_total", "Calls to a target that were started while another one was running.", "target")
	wasted := vec("keeptrusts_gateway_wasted_tokens_total", "Tokens of calls that lost against another one, estimated.", "target")
	breaker := gauge("keeptrusts_gateway_breaker_state", "0 closed, 1 half-open, 2 open.", "target")
	ejected := gauge("keeptrusts_gateway_target_ejected", "1 while a target is not asked because it fails too often.", "target")
	m.info = gauge("keeptrusts_gateway_pipeline_info", "The policy chain in use; always 1.", "mode", "digest", "pack")
	ends := vec("keeptrusts_gateway_stream_ends_total", "Streams by how they ended.", "end")
	for i := range m.ends {
		m.ends[i] = ends.WithLabelValues(stream.End(i).String())
	}
	m.heldMax = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "keeptrusts_gateway_stream_held_bytes", Help: "The most bytes of one stream that waited for a decision at once.",
		Buckets: []float64{0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536},
	})
	m.firstByte = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "keeptrusts_gateway_first_byte_seconds", Help: "Time from a request to the first byte of its answer.", Buckets: buckets,
	})
	m.reg.MustRegister(m.heldMax, m.firstByte)
	scanned := vec("keeptrusts_gateway_scanned_bytes_total", "Bytes of text that policies looked at.", "class")
	for c := range m.scanned {
		m.scanned[c] = scanned.WithLabelValues(pipeline.Class(c).String())
	}
	m.edited = one("keeptrusts_gateway_edited_frames_total", "Stream events and bodies that left with other bytes than they came with.")
	m.estimated = one("keeptrusts_gateway_estimated_usage_total", "Answers whose tokens were estimated.")
	m.auditLost = one("keeptrusts_gateway_audit_failures_total", "Audit records that could not be written.")
	m.panics = one("keeptrusts_gateway_panics_total", "Requests that ended in a fault of the program.")
	m.refused = vec("keeptrusts_gateway_refused_total", "Requests refused before any policy, by code.", "code")
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "keeptrusts_gateway_requests_in_flight", Help: "Requests to models that run."})
	m.reg.MustRegister(g)
	m.inflight = g

	make1 := func(model, provider, target string) *targetMetrics {
		t := &targetMetrics{
			cost: cost.WithLabelValues(model, provider), latency: latency.WithLabelValues(model, provider), duration: duration.WithLabelValues(provider),
		}
		for i, d := range []string{"input", "output"} {
			t.tokens[i] = tokens.WithLabelValues(model, provider, d)
			t.gwTokens[i] = gwTokens.WithLabelValues(d, model)
		}
		for _, s := range append(labels(statuses), other) {
			var row []prometheus.Counter
			for _, v := range verdicts {
				row = append(row, newLazy(requests, model, provider, s, string(v)))
			}
			t.requests = append(t.requests, row)
			t.gateway = append(t.gateway, newLazy(gwRequests, provider, model, s))
		}
		if target == "" {
			return t
		}
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
		m.targets = append(m.targets, make1(model, providerOf(t), t.ID))
	}
	m.none = make1(other, "none", "")
	return m
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
		Attempt: func(t int, class upstream.ErrorClass, _ time.Duration) { m.targets[t].attempts[class].Inc() },
		Fall:    func(_, to int, _ upstream.ErrorClass) { m.targets[to].fallbacks.Inc() },
		Probe:   func(t int) { m.targets[t].probes.Inc() },
		Breaker: func(t int, s upstream.BreakerState) { m.targets[t].breaker.Set(float64(s)) },
		Eject: func(t int, out bool) {
			v := 0.0
			if out {
				v = 1
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

// request counts one finished request.
func (m *Metrics) request(r *audit.Record, target int) {
	m.served.Add(1)
	t := m.target(target)
	s := slices.Index(statuses, r.Status)
	if s < 0 {
		s = len(statuses)
	}
	v := max(0, slices.Index(verdicts, r.Verdict))
	t.requests[s][v].Inc()
	t.gateway[s].Inc()
	t.tokens[0].Add(float64(r.InputTokens))
	t.tokens[1].Add(float64(r.OutputTokens))
	t.gwTokens[0].Add(float64(r.InputTokens))
	t.gwTokens[1].Add(float64(r.OutputTokens))
	t.cost.Add(float64(r.CostMicros) / 1e6)
	t.latency.Observe(r.Latency.Seconds())
	t.duration.Observe(r.Latency.Seconds())
	for c := range r.Scanned {
		if r.Scanned[c] > 0 {
			m.scanned[c].Add(float64(r.Scanned[c]))
		}
	}
	if r.FirstByte > 0 {
		m.firstByte.Observe(r.FirstByte.Seconds())
	}
	if r.Estimated {
		m.estimated.Inc()
	}
}

// watch registers what is read when /metrics is asked.
func (m *Metrics) watch(g *Gateway) {
	m.reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keeptrusts_gateway_connections", Help: "Client connections."}, func() float64 {
			return float64(g.ln.count())
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keeptrusts_gateway_connections_accepted_total", Help: "Client connections accepted."}, func() float64 {
			return float64(g.ln.accepted.Load())
		}),
	)
	if g.o.Audit == nil {
		return
	}
	m.reg.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keeptrusts_gateway_audit_records_total", Help: "Audit records written."}, func() float64 {
			return float64(g.o.Audit.Stats().Records)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keeptrusts_gateway_audit_written_bytes_total", Help: "Bytes of audit records written."}, func() float64 {
			return float64(g.o.Audit.Stats().Bytes)
		}),
	)
}
