package upstream

import (
	"time"

	"github.com/keeptrusts/kt/stream/jsonwalk"
)

func quote(s string) string { return string(jsonwalk.AppendString(nil, s)) }

// Snapshot is what /keeptrusts/providers/metrics shows.
type Snapshot struct {
	Strategy  string         `json:"strategy"`
	Requests  int64          `json:"requests"`
	Fallbacks int64          `json:"fallbacks"`
	Probes    int64          `json:"probes"`
	Targets   []TargetStatus `json:"targets"`
}

// TargetStatus is one target's figures; those without "total" in the name are of the window.
type TargetStatus struct {
	ID              string           `json:"id"`
	Provider        string           `json:"provider"`
	Model           string           `json:"model,omitempty"`
	Status          string           `json:"status"` // healthy, degraded (half-open, limited) or unhealthy
	Breaker         string           `json:"breaker"`
	EjectedForMs    int64            `json:"ejected_for_ms,omitempty"`
	BlockedForMs    int64            `json:"blocked_for_ms,omitempty"` // the provider's Retry-After
	SlowForMs       int64            `json:"slow_for_ms,omitempty"`    // asked last: it lost races
	Check           string           `json:"check,omitempty"`          // result of the last active check
	InFlight        int              `json:"in_flight"`
	Calls           int64            `json:"calls"`
	Failures        int64            `json:"failures"`
	FailureRate     float64          `json:"failure_rate"`
	FirstContentMs  float64          `json:"first_content_ms"` // streams: mean
	FirstContentP95 float64          `json:"first_content_p95_ms"`
	AnswerMs        float64          `json:"answer_ms"` // calls without stream: mean
	AnswerP95       float64          `json:"answer_p95_ms"`
	TokensPerSecond float64          `json:"tokens_per_second"`
	PromptTokens    int64            `json:"prompt_tokens"`
	Completion      int64            `json:"completion_tokens"`
	CostMicros      int64            `json:"cost_micros"`
	ProbesTotal     int64            `json:"probes_total"`
	WastedTokens    int64            `json:"wasted_tokens_total"`
	WastedMicros    int64            `json:"wasted_micros_total"`
	CallsTotal      int64            `json:"calls_total"`
	Classes         map[string]int64 `json:"classes_total"`
	LastFailure     string           `json:"last_failure,omitempty"`
	LastUsed        *time.Time       `json:"last_used,omitempty"`
}

// Snapshot gives the figures of now.
func (p *Pool) Snapshot() Snapshot {
	out := Snapshot{
		Strategy: p.opt.Routing.Strategy.String(),
		Requests: p.requests.Load(), Fallbacks: p.fellBack.Load(), Probes: p.probed.Load(),
	}
	now := time.Now()
	for _, s := range p.targets {
		out.Targets = append(out.Targets, s.status(now))
	}
	return out
}

func (s *state) status(now time.Time) TargetStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.win.sum(now)
	t := TargetStatus{
		ID: s.ID, Provider: s.row().ID, Model: s.Model, Status: "healthy", Breaker: s.br.state.String(),
		InFlight: s.inflight, Calls: f.calls, Failures: f.failures,
		PromptTokens: f.prompt, Completion: f.complete, CostMicros: f.micros,
		ProbesTotal: s.probes, WastedTokens: s.wasted.prompt + s.wasted.complete, WastedMicros: s.wasted.micros,
		CallsTotal: s.total, Classes: make(map[string]int64),
		EjectedForMs: max(0, s.ejectedUntil.Sub(now).Milliseconds()),
		SlowForMs:    max(0, s.slowUntil.Sub(now).Milliseconds()),
		BlockedForMs: max(0, s.blocked.Sub(now).Milliseconds()),
	}
	switch {
	case s.br.state == Opened && now.Before(s.br.until), s.down, t.EjectedForMs > 0:
		t.Status = "unhealthy"
	case s.br.state != Closed, t.BlockedForMs > 0, t.SlowForMs > 0:
		t.Status = "degraded"
	}
	if f.calls > 0 {
		t.FailureRate = float64(f.failures) / float64(f.calls)
	}
	t.FirstContentMs, t.FirstContentP95 = s.times(&f, streamKind)
	t.AnswerMs, t.AnswerP95 = s.times(&f, wholeKind)
	if f.writing > 0 {
		t.TokensPerSecond = float64(f.tokens) / f.writing.Seconds()
	}
	for c, n := range s.classes {
		if n > 0 {
			t.Classes[ErrorClass(c).String()] = n
		}
	}
	if !s.checked.IsZero() {
		t.Check = s.lastCheck.String()
	}
	if s.lastErr != OK {
		t.LastFailure = s.lastErr.String()
	}
	if !s.last.IsZero() {
		last := s.last.UTC()
		t.LastUsed = &last
	}
	return t
}

// times gives mean and 95th percentile in milliseconds; 0 when unknown.
func (s *state) times(f *figures, kind int) (mean, p95 float64) {
	if f.firsts[kind] > 0 {
		mean = (f.firstSum[kind] / time.Duration(f.firsts[kind])).Seconds() * 1000
	}
	if d, ok := s.first[kind].percentile95(); ok {
		p95 = d.Seconds() * 1000
	}
	return mean, p95
}
