package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
)

// Pool is the Router over a list of targets. It may be shared.
type Pool struct {
	opt     Options
	targets []*state
	groups  map[string]*group // by name and alias
	turn    turn
	ejectMu sync.Mutex
	retries budget
	probes  budget
	scratch sync.Pool
	rngMu   sync.Mutex
	rng     *rand.Rand

	requests atomic.Int64
	fellBack atomic.Int64
	probed   atomic.Int64

	stop    context.CancelFunc
	workers sync.WaitGroup
	own     *HTTP // closed with the pool
}

// turn counts for the round robin.
type turn struct{ next atomic.Uint64 }

// New makes a pool. A target that can never be asked (Target.Check) is an error
// of the list, not of the pool: leave it out.
func New(targets []*Target, opt Options) (*Pool, error) {
	if len(targets) == 0 {
		return nil, errors.New("make pool: no target")
	}
	p := &Pool{opt: opt.withDefaults(), groups: make(map[string]*group), rng: newRand(opt.Seed)}
	if p.opt.Transport == nil {
		p.own = NewTransport(TransportOptions{})
		p.opt.Transport = p.own
	}
	byID := make(map[string]*state)
	for i, t := range targets {
		if byID[t.ID] != nil {
			return nil, fmt.Errorf("make pool: two targets have the id %q", t.ID)
		}
		if err := t.Check(); err != nil {
			return nil, fmt.Errorf("make pool: %w", err)
		}
		s := &state{Target: t, index: i, pool: p}
		s.br.opt = &p.opt.Breaker
		s.win.span = max(p.opt.Routing.Window/slots, time.Millisecond)
		s.rpm.perMinute, s.tpm.perMinute = float64(t.Limits.RequestsPerMinute), float64(t.Limits.TokensPerMinute)
		s.remainRequests = -1
		byID[t.ID] = s
		p.targets = append(p.targets, s)
	}
	for _, g := range opt.Groups {
		r := &group{Group: g, turn: new(turn)}
		for _, m := range g.Members {
			s := byID[m.Target]
			if s == nil {
				return nil, fmt.Errorf("make pool: group %q: no target has the id %q", g.Name, m.Target)
			}
			if s.Model == "" {
				return nil, fmt.Errorf("make pool: group %q: target %q has no model to send instead of the group's name", g.Name, m.Target)
			}
			w := m.Weight
			if w == 0 {
				w = s.Weight
			}
			r.members = append(r.members, candidate{s: s, weight: share(w)})
		}
		if len(r.members) == 0 {
			return nil, fmt.Errorf("make pool: group %q has no target", g.Name)
		}
		for _, name := range append([]string{g.Name}, g.Aliases...) {
			if p.groups[name] != nil {
				return nil, fmt.Errorf("make pool: two groups have the name %q", name)
			}
			p.groups[name] = r
		}
	}
	for _, g := range opt.Groups {
		if g.Fallback != "" && p.groups[g.Fallback] == nil {
			return nil, fmt.Errorf("make pool: group %q: no group has the name %q", g.Name, g.Fallback)
		}
	}
	p.retries, p.probes = newBudget(p.opt.Retry.Budget), newBudget(p.opt.Probe.Budget)
	p.scratch.New = func() any { return new(scratch) }
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	if p.opt.Health.Interval > 0 {
		p.workers.Go(func() { p.watch(ctx) })
	}
	return p, nil
}

// Close ends the pool's own work and its idle connections. Answers that are open go on.
func (p *Pool) Close() {
	p.stop()
	p.workers.Wait()
	for _, s := range p.targets {
		s.mu.Lock()
		if s.back != nil {
			s.back.Stop()
		}
		s.mu.Unlock()
	}
	if p.own != nil {
		p.own.Close()
	}
}

var chat = sync.OnceValue(openai.New)

func (o Options) withDefaults() Options {
	if o.Dialect == nil {
		o.Dialect = chat()
	}
	setD := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	setI := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	setF := func(f *float64, def float64) {
		if *f <= 0 {
			*f = def
		}
	}
	setD(&o.Routing.Window, 5*time.Minute)
	setI(&o.Routing.MinSamples, 5)
	setI(&o.Fallback.MaxAttempts, 4)
	setI(&o.Retry.MaxAttempts, 1)
	setD(&o.Retry.InitialBackoff, 200*time.Millisecond)
	setD(&o.Retry.MaxBackoff, 2*time.Second)
	setF(&o.Retry.Budget, 0.2)
	setI(&o.Probe.MaxParallel, 2)
	setF(&o.Probe.Budget, 0.1)
	setI(&o.Probe.PerRequest, 1)
	setI(&o.Breaker.Failures, 5)
	setD(&o.Breaker.Cooldown, 30*time.Second)
	setI(&o.Breaker.HalfOpenMax, 1)
	setF(&o.Outlier.MinShare, 0.5)
	setI(&o.Outlier.MinCalls, 20)
	setD(&o.Outlier.Eject, 30*time.Second)
	setF(&o.Outlier.MaxEjected, 0.5)
	setD(&o.Health.Timeout, 5*time.Second)
	setI(&o.Health.Unhealthy, 3)
	setI(&o.Health.Healthy, 1)
	return o
}

func (p *Pool) getScratch() *scratch { return p.scratch.Get().(*scratch) }

func (p *Pool) putScratch(s *scratch) {
	s.framer.Close()
	s.stream.Reset()
	s.chunk.Reset()
	p.scratch.Put(s)
}

// Serves implements Router.
func (p *Pool) Serves(model string) bool {
	if p.groups[model] != nil {
		return true
	}
	return slices.ContainsFunc(p.targets, func(s *state) bool { return s.Serves(model) })
}

// ModelNames implements Router.
func (p *Pool) ModelNames() []string {
	var names []string
	for name := range p.groups {
		names = append(names, name)
	}
	for _, s := range p.targets {
		if s.Model != "" {
			names = append(names, s.Model)
		}
		names = append(names, s.Models...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// callState is one call: which targets were asked and what may still be asked.
// It belongs to the goroutine that called Do, then to the answer's owner.
type callState struct {
	p        *Pool
	c        Call
	began    time.Time
	order    []candidate
	how      Strategy
	attempts []Attempt
	rejected []Rejected
	live     []*try
	room     struct { // of attempts and live, for the usual call
		attempts [1]Attempt
		live     [1]*try
	}
	results chan *try // nil: attempts run in the caller's goroutine
	wg      sync.WaitGroup

	probes     int
	retried    int  // attempts that asked the same target once more
	onlyLonger bool // only ContextWindow targets are of use
	refusedAny bool // some candidate was not admitted for a limit
	wait       time.Duration
	lastTried  bool
	committed  bool
}

func (cs *callState) dialect() dialect.Dialect {
	if cs.c.Dialect != nil {
		return cs.c.Dialect
	}
	return cs.p.opt.Dialect
}

// Do implements Router.
func (p *Pool) Do(ctx context.Context, c Call) (*Answer, error) {
	now := time.Now()
	cs := new(callState)
	cs.p, cs.c, cs.began = p, c, now
	cs.attempts, cs.live = cs.room.attempts[:0], cs.room.live[:0]
	var found bool
	cs.order, cs.rejected, cs.how, found = p.plan(&cs.c, now)
	if !found {
		return nil, &Error{Status: http.StatusNotFound, Code: "model_not_found"}
	}
	p.requests.Add(1)
	p.retries.request()
	p.probes.request()
	if p.opt.Probe.Enabled && len(cs.order) > 1 && !p.opt.Fallback.Disabled {
		cs.results = make(chan *try, p.opt.Fallback.MaxAttempts*p.opt.Retry.MaxAttempts+1)
	}
	y, err := cs.run(ctx)
	if err != nil {
		return nil, err
	}
	a := &Answer{cs: cs}
	a.take(y)
	return a, nil
}

// run asks targets until one answers.
func (cs *callState) run(ctx context.Context) (*try, *Error) {
	for {
		if len(cs.live) == 0 && !cs.start(ctx, false) {
			return nil, cs.exhausted(ctx)
		}
		y := cs.next(ctx)
		if y == nil {
			if ctx.Err() != nil {
				cs.abandon(Cancelled)
				return nil, cs.exhausted(ctx)
			}
			cs.start(ctx, true) // the attempts that run are silent for too long
			continue
		}
		cs.live = slices.DeleteFunc(cs.live, func(x *try) bool { return x == y })
		if y.fail == nil {
			cs.won(y)
			return y, nil
		}
		cs.record(y, y.fail.Class)
		switch class := y.fail.Class; {
		case class == Cancelled || ctx.Err() != nil:
			y.drop()
			cs.abandon(Cancelled)
			return nil, cs.exhausted(ctx)
		case class == InvalidRequest, class == ContextLength && !cs.wantLonger():
			// The client's own fault: every target would say so.
			cs.abandon(Lost)
			return y, nil
		case class == ContextLength:
			y.drop()
			cs.onlyLonger = true
		case cs.again(ctx, y): // a layer of its own: no matter what falls back
		case !cs.fallsBack(class):
			cs.abandon(Lost)
			return nil, cs.exhausted(ctx)
		case len(cs.live) > 0:
			cs.start(ctx, true)
		}
		if len(cs.live) == 0 && cs.results != nil && y.fail.Class.Fault() {
			// One fallback, and beside it as many probes as are allowed.
			if !cs.start(ctx, false) {
				return nil, cs.exhausted(ctx)
			}
			for cs.start(ctx, true) {
			}
		}
	}
}

// wantLonger tells whether a target for longer requests is left and may be asked.
func (cs *callState) wantLonger() bool {
	if cs.p.opt.Fallback.Disabled || cs.asked() >= cs.p.opt.Fallback.MaxAttempts {
		return false
	}
	for _, s := range cs.p.targets {
		if !s.ContextWindow {
			continue
		}
		i := slices.IndexFunc(cs.order, func(m candidate) bool { return m.s == s })
		if i < 0 {
			cs.order = append(cs.order, candidate{s: s, weight: 1})
			return true
		}
		if !cs.order[i].tried {
			return true
		}
	}
	return false
}

func (cs *callState) fallsBack(class ErrorClass) bool {
	f := &cs.p.opt.Fallback
	switch {
	case f.Disabled:
		return false
	case f.On != nil:
		return slices.Contains(f.On, class)
	}
	return class.Fault() || class == Config
}

// start starts the next candidate that is admitted. false: none was.
func (cs *callState) start(ctx context.Context, probe bool) bool {
	p, now := cs.p, time.Now()
	asked := cs.asked()
	if probe {
		if cs.results == nil || len(cs.live) >= p.opt.Probe.MaxParallel || cs.probes >= p.opt.Probe.PerRequest {
			return false
		}
	}
	if asked > 0 {
		if p.opt.Fallback.Disabled {
			return false
		}
		if asked >= p.opt.Fallback.MaxAttempts {
			if !probe {
				cs.rejectRest(maxAttempts)
			}
			return false
		}
	}
	tokens := cs.tokens()
	for pass := 0; pass < 2; pass++ {
		lastTry := pass == 1
		if lastTry && (probe || cs.lastTried || asked > 0) {
			break
		}
		for i := range cs.order {
			m := &cs.order[i]
			if m.tried || cs.onlyLonger && !m.s.ContextWindow {
				continue
			}
			if probe && !p.probes.enough() {
				return false
			}
			pm, why, wait := m.s.admit(now, tokens, lastTry)
			if why == admitted {
				m.tried = true
				cs.count(probe, asked)
				cs.lastTried = cs.lastTried || lastTry
				if cs.launch(ctx, m.s, pm, lastTry, probe, tokens, now) {
					return true
				}
				asked = cs.asked()
				continue
			}
			cs.reject(m.s, why)
			if why.limited() {
				cs.refusedAny = true
				if cs.wait == 0 || wait < cs.wait {
					cs.wait = wait
				}
			}
		}
	}
	return false
}

// count notes the start of one more attempt; a probe takes from its budget. A
// target that this request has not asked yet costs no budget: MaxAttempts bounds
// those, breakers and ejections spare targets that fail.
func (cs *callState) count(probe bool, asked int) {
	switch {
	case probe:
		cs.probes++
		cs.p.probed.Add(1)
		cs.p.probes.take()
	case asked > 0:
		cs.p.fellBack.Add(1)
	}
}

func (b *budget) enough() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.have >= 1
}

// asked is the number of attempts, those that ask a target once more aside.
func (cs *callState) asked() int { return len(cs.attempts) - cs.retried }

func (cs *callState) tokens() int64 {
	n := cs.c.PromptTokens
	if n < 0 {
		n = 0
	}
	if cs.c.MaxTokens > 0 {
		n += cs.c.MaxTokens
	}
	return n
}

func (cs *callState) reject(s *state, why reason) {
	for i := range cs.rejected {
		if cs.rejected[i].Target == s.Target {
			cs.rejected[i].Reason, cs.rejected[i].Own = why.String(), why.own()
			return
		}
	}
	cs.rejected = append(cs.rejected, Rejected{Target: s.Target, Reason: why.String(), Own: why.own()})
}

func (cs *callState) rejectRest(why reason) {
	for i := range cs.order {
		if m := &cs.order[i]; !m.tried && !slices.ContainsFunc(cs.rejected, func(r Rejected) bool { return r.Target == m.s.Target }) {
			cs.reject(m.s, why)
		}
	}
}

// launch starts an attempt that was admitted.
func (cs *callState) launch(ctx context.Context, s *state, pm permit, lastTry, probe bool, tokens int64, now time.Time) bool {
	y := &try{cs: cs, s: s, at: len(cs.attempts), permit: pm, lastTry: lastTry, probe: probe, started: now, reserved: tokens}
	y.model = s.modelFor(cs.c.Model)
	var err error
	if y.body, err = cs.c.Body(s.Target, y.model); err != nil {
		cs.attempts = append(cs.attempts, Attempt{Target: s.Target, Index: s.index, Model: y.model, Class: Config,
			Started: now.Sub(cs.began), Err: fmt.Errorf("build request body: %w", err)})
		s.ended(now, pm, lastTry, Config, Report{}, 0, tokens)
		return false
	}
	cs.rejected = slices.DeleteFunc(cs.rejected, func(r Rejected) bool { return r.Target == s.Target })
	cs.attempts = append(cs.attempts, Attempt{Target: s.Target, Index: s.index, Model: y.model, Class: NumClasses, Started: now.Sub(cs.began), Probe: probe})
	if n := len(cs.attempts); n > 1 && !probe {
		if h := cs.p.opt.Hooks.Fall; h != nil && cs.attempts[n-2].Index != s.index {
			h(cs.attempts[n-2].Index, s.index, cs.attempts[n-2].Class)
		}
	}
	if probe {
		s.mu.Lock()
		s.probes++
		s.mu.Unlock()
		if h := cs.p.opt.Hooks.Probe; h != nil {
			h(s.index)
		}
	}
	y.ctx, y.cancel = ctx, func() {}
	if cs.results != nil {
		y.ctx, y.cancel = context.WithCancel(ctx)
	}
	cs.live = append(cs.live, y)
	if cs.results != nil {
		cs.wg.Go(func() {
			y.run()
			if y.phase.CompareAndSwap(running, delivered) {
				cs.results <- y
				return
			}
			y.discard()
		})
	}
	return true
}

// discard ends an attempt whose result nobody wants.
func (y *try) discard() {
	if y.src != nil {
		_ = y.src.Close()
		y.src = nil
	}
	y.drop()
}

// next waits for an attempt's result; nil when it is time for a probe or ctx ended.
func (cs *callState) next(ctx context.Context) *try {
	if cs.results == nil {
		y := cs.live[0]
		y.run()
		return y
	}
	var due <-chan time.Time
	if d, ok := cs.probeAfter(); ok {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	select {
	case y := <-cs.results:
		return y
	case <-due:
	case <-ctx.Done():
	}
	return nil
}

// probeAfterUnknown is used while a target has too few samples for its own p95.
var probeAfterUnknown = [2]time.Duration{wholeKind: 10 * time.Second, streamKind: 2 * time.Second}

// probeAfter is how long to wait before the next probe; false: none may start.
func (cs *callState) probeAfter() (time.Duration, bool) {
	o := &cs.p.opt.Probe
	if len(cs.live) >= o.MaxParallel || cs.probes >= o.PerRequest || cs.asked() >= cs.p.opt.Fallback.MaxAttempts || cs.onlyLonger ||
		!slices.ContainsFunc(cs.order, func(m candidate) bool { return !m.tried }) {
		return 0, false
	}
	y := cs.live[len(cs.live)-1] // the newest: the others were waited for before
	after := o.After
	if after <= 0 {
		y.s.mu.Lock()
		p95, ok := y.s.first[kindOf(cs.c.Stream)].percentile95()
		y.s.mu.Unlock()
		if after = p95; !ok {
			after = probeAfterUnknown[kindOf(cs.c.Stream)]
		}
	}
	// Once it is due and was not possible, it is not tried again for this one.
	if rest := after - time.Since(y.started); rest > 0 {
		return rest, true
	}
	if y.due {
		return 0, false
	}
	y.due = true
	return 0, true
}

// again asks the same target once more, after a pause. It says false when the
// next target is to be asked.
func (cs *callState) again(ctx context.Context, y *try) bool {
	o := &cs.p.opt.Retry
	if y.fail.Class != Reset && y.fail.Class != Refused && y.fail.Class != ServerError && y.fail.Class != Overloaded && y.fail.Class != TimeoutConnect {
		return false
	}
	n := 0
	for i := range cs.attempts {
		if cs.attempts[i].Target == y.s.Target {
			n++
		}
	}
	if n >= o.MaxAttempts || len(cs.live) > 0 {
		return false
	}
	limit := min(o.InitialBackoff<<min(n-1, 20), o.MaxBackoff)
	pause := time.Duration(cs.p.random() * float64(limit)) // full jitter
	if y.fail.RetryAfter > o.MaxBackoff {
		return false
	}
	pause = max(pause, y.fail.RetryAfter)
	if !cs.p.retries.take() {
		return false
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	now, tokens := time.Now(), cs.tokens()
	pm, why, _ := y.s.admit(now, tokens, false)
	if why != admitted {
		return false
	}
	if !cs.launch(ctx, y.s, pm, false, false, tokens, now) {
		return false
	}
	cs.retried++
	return true
}

// record notes how an attempt ended and gives back what it reserved.
func (cs *callState) record(y *try, class ErrorClass) {
	now := time.Now()
	a := &cs.attempts[y.at]
	a.Class, a.Status, a.Duration = class, y.status, now.Sub(y.started)
	if y.fail != nil {
		a.Err, a.Status = y.fail, max(y.fail.Status, y.status)
	}
	y.cancel()
	y.s.ended(now, y.permit, y.lastTry, class, Report{PromptTokens: a.PromptTokens, CompletionTokens: a.CompletionTokens}, 0, y.reserved)
	if h := cs.p.opt.Hooks.Attempt; h != nil {
		h(y.s.index, class, a.Duration)
	}
}

// won makes y the winner: all others are cancelled at once.
func (cs *callState) won(y *try) {
	for _, x := range cs.live {
		if x.started.Before(y.started) {
			x.s.lostRace(time.Now())
		}
	}
	y.s.wonRace()
	cs.abandon(Lost)
	d := y.gave.Sub(y.started)
	a := &cs.attempts[y.at]
	a.Class, a.Status, a.Duration = OK, y.status, d
	y.s.gotFirst(y.gave, d, kindOf(cs.c.Stream))
}

// abandon cancels the attempts that run. It does not wait for them: settle does.
func (cs *callState) abandon(class ErrorClass) {
	coming := 0 // results that are on their way
	for _, y := range cs.live {
		y.cancel()
		if cs.results != nil && !y.phase.CompareAndSwap(running, abandoned) {
			coming++
		}
	}
	for ; coming > 0; coming-- {
		(<-cs.results).discard()
	}
	for _, y := range cs.live {
		now := time.Now()
		a := &cs.attempts[y.at]
		a.Class, a.Duration = class, now.Sub(y.started)
		if class == Lost {
			// The prompt was sent; what the target wrote is not known.
			a.PromptTokens = cs.promptTokens(y)
			a.CostMicros = y.s.Pricing.Cost(a.PromptTokens, 0)
			if h := cs.p.opt.Hooks.Wasted; h != nil {
				h(y.s.index, a.PromptTokens, 0, a.CostMicros)
			}
			y.s.mu.Lock()
			y.s.wasted.prompt += a.PromptTokens
			y.s.wasted.micros += a.CostMicros
			y.s.mu.Unlock()
			if i := slices.IndexFunc(cs.order, func(m candidate) bool { return m.s == y.s }); i >= 0 {
				cs.order[i].tried = false // it did not fail: Replace may come back to it
			}
		}
		y.s.ended(now, y.permit, y.lastTry, class, Report{PromptTokens: a.PromptTokens}, 0, y.reserved)
		if h := cs.p.opt.Hooks.Attempt; h != nil {
			h(y.s.index, class, a.Duration)
		}
	}
	cs.live = cs.live[:0]
}

func (cs *callState) promptTokens(y *try) int64 {
	if cs.c.PromptTokens > 0 {
		return cs.c.PromptTokens
	}
	return int64(len(y.body)+3) / 4
}

// exhausted says why there is no answer, once nothing runs any more.
func (cs *callState) exhausted(ctx context.Context) *Error {
	cs.wg.Wait()
	e := &Error{Status: http.StatusBadGateway, Code: "upstream_error", Attempts: cs.attempts, Rejected: cs.rejected}
	if ctx.Err() != nil {
		e.Status, e.Code, e.cause = 499, "client_closed_request", context.Cause(ctx)
		return e
	}
	limited := len(cs.attempts) > 0
	for i := range cs.attempts {
		a := &cs.attempts[i]
		if a.Class != RateLimit {
			limited = false
			break
		}
		var f *Failure
		if errors.As(a.Err, &f) && f.RetryAfter > 0 && (e.RetryAfter == 0 || f.RetryAfter < e.RetryAfter) {
			e.RetryAfter = f.RetryAfter
		}
	}
	switch {
	case limited:
		e.Status, e.Code = http.StatusTooManyRequests, "rate_limit_exceeded"
		e.RetryAfter = min(e.RetryAfter, maxBlock) // when it is asked again, and what those are told who come meanwhile
	case len(cs.attempts) > 0:
		e.RetryAfter = 0
	case cs.refusedAny:
		e.Status, e.Code, e.RetryAfter = http.StatusTooManyRequests, "rate_limit_exceeded", cs.wait
	default:
		e.Status, e.Code = http.StatusServiceUnavailable, "no_target_available"
	}
	if e.Status == http.StatusTooManyRequests {
		e.RetryAfter = max(e.RetryAfter, time.Second)
	}
	return e
}

// Error names the class of each attempt.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("ask upstream: ")
	b.WriteString(e.Code)
	for i := range e.Attempts {
		fmt.Fprintf(&b, "; %s: %s", e.Attempts[i].Target.ID, e.Attempts[i].Class)
		if s := e.Attempts[i].Status; s != 0 {
			fmt.Fprintf(&b, " (%d)", s)
		}
	}
	for _, r := range e.Rejected {
		fmt.Fprintf(&b, "; %s: not asked, %s", r.Target.ID, r.Reason)
	}
	return b.String()
}

// Unwrap gives the cause when the client went away.
func (e *Error) Unwrap() error { return e.cause }

// ErrCommitted refuses to replace an answer of which something was released.
var ErrCommitted = errors.New("replace answer: part of it was released")

// take makes y the answer.
func (a *Answer) take(y *try) {
	cs := a.cs
	a.Status, a.Target, a.Index, a.Model = y.status, y.s.Target, y.s.index, y.model
	if y.fail == nil {
		a.Status = http.StatusOK // of another 2xx clients would make something else: 204 and 205 have no body
	}
	a.Attempts, a.Rejected, a.Routed = cs.attempts, cs.rejected, cs.how
	a.Header = allowed(y.header)
	a.Stream = y.fail == nil && cs.c.Stream
	a.Whole, a.Parsed = nil, nil
	if y.parsed != nil {
		a.Parsed = &y.parsed.chunk
	}
	if !a.Stream {
		if y.read == nil {
			y.read = buf.Get(0)
		}
		a.Whole = y.read.B
	}
	a.b = &body{y: y, stream: a.Stream, relay: y.fail != nil}
	a.Body = a.b
}

// Commit says that bytes of the answer were released: it cannot be replaced any more.
func (a *Answer) Commit() { a.cs.committed = true }

// Replace gives up an answer of which nothing was released and goes on with the
// next target, under the same rules as in Do. why is what was wrong with it; a
// failure that was reported before Close counts instead.
// On success the fields of a are those of the new answer; else the error is
// *Error or ErrCommitted and only Close may be called.
func (a *Answer) Replace(ctx context.Context, why ErrorClass) error {
	if a.cs.committed {
		return ErrCommitted
	}
	cs := a.cs
	why = a.b.giveUp(why)
	at := &cs.attempts[a.b.y.at]
	at.Class, at.Err = why, &Failure{Class: why, Status: a.b.y.status}
	a.Attempts = cs.attempts
	if !cs.fallsBack(why) {
		return cs.exhausted(ctx)
	}
	y, err := cs.run(ctx)
	if err != nil {
		a.Attempts, a.Rejected = cs.attempts, cs.rejected
		return err
	}
	a.take(y)
	return nil
}

// Report says what was learned from the answer; call it once, before Close.
// Without it an answer read to its end counts as good.
func (a *Answer) Report(r Report) { a.b.report(r) }

// Failed gives the class with which reading the answer failed, OK while it has not.
func (a *Answer) Failed() ErrorClass {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if a.b.ended == nil || errors.Is(a.b.ended, io.EOF) {
		return OK
	}
	return ClassOf(a.b.ended)
}

// Close ends the answer: Body.Close under another name.
func (a *Answer) Close() error { return a.b.Close() }

// body reads a winner's answer.
type body struct {
	y      *try
	stream bool
	relay  bool
	off    int
	mu     sync.Mutex // Close may come while Read waits
	closed bool
	busy   bool // a Read waits
	ended  error
	told   bool
	said   Report
	tail   [24]byte // last bytes given out, for doneMark
	tailN  int
}

// doneMark ends a stream of chat completions. Who read it needs no more, but
// only a body that is read to its end leaves a connection for the next request.
var doneMark = []byte("[DONE]")

// giveUp closes the body with why, and gives the class that counted.
func (b *body) giveUp(why ErrorClass) ErrorClass {
	b.mu.Lock()
	closed, said := b.closed, b.said.Class
	if !closed {
		b.told, b.said = true, Report{Class: why}
	}
	b.mu.Unlock()
	if closed && said != OK {
		why = said
	}
	_ = b.Close()
	return why
}

// remember keeps the last bytes given out.
func (b *body) remember(p []byte) {
	if n := len(b.tail); len(p) >= n {
		b.tailN = copy(b.tail[:], p[len(p)-n:])
		return
	}
	keep := min(b.tailN, len(b.tail)-len(p))
	copy(b.tail[:], b.tail[b.tailN-keep:b.tailN])
	b.tailN = keep + copy(b.tail[keep:], p)
}

// drainTime is how long Close waits for the end of a body behind its end marker.
const drainTime = 20 * time.Millisecond

// drain reads what is behind the end marker: nothing, from a good target.
func (b *body) drain() {
	src := b.y.src
	t := time.AfterFunc(drainTime, func() { _ = src.Close() })
	defer t.Stop()
	var rest [64]byte
	for range 4 {
		if _, err := src.Read(rest[:]); err != nil {
			b.ended = err
			return
		}
	}
}

func (b *body) report(r Report) {
	b.mu.Lock()
	b.told, b.said = true, r
	b.mu.Unlock()
}

// Read gives the bytes that were read before the answer won, then the rest.
func (b *body) Read(p []byte) (int, error) {
	n, src, err := b.kept(p)
	if src == nil {
		return n, err
	}
	n, err = src.Read(p)
	b.came(p[:n], err)
	return n, err
}

// kept gives what was read before the body was handed out, else the source to read from.
//
//go:noinline
func (b *body) kept(p []byte) (n int, src io.Reader, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, nil, errReadAfterClose
	}
	if r := b.y.read; r != nil && b.off < len(r.B) {
		n = copy(p, r.B[b.off:])
		b.remember(p[:n])
		if b.off += n; b.off == len(r.B) && b.stream {
			b.y.drop()
			b.off = 0
		}
		return n, nil, nil
	}
	if b.y.src == nil {
		return 0, nil, io.EOF
	}
	b.busy = true
	return 0, b.y.src, nil
}

// came notes what the source gave.
//
//go:noinline
func (b *body) came(p []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = false
	b.remember(p)
	if err != nil {
		b.ended = err
	}
}

// Close ends the attempt and notes how it went. The request body given by
// Call.Body is not read after it. It may be called while Read waits.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	y := b.y
	complete := b.stream && bytes.Contains(b.tail[:b.tailN], doneMark)
	if complete && b.ended == nil && !b.busy && y.src != nil {
		b.drain()
	}
	if y.src != nil {
		_ = y.src.Close()
	}
	y.cancel()
	y.cs.wg.Wait()
	y.drop()
	if b.relay {
		return nil // counted when it came
	}
	class := b.said.Class
	switch {
	case b.stream && !complete && class != Cancelled && b.ended != nil && !errors.Is(b.ended, io.EOF):
		class = ClassOf(b.ended) // the transport knows best
		b.said.Class = class
	case class != OK || !b.stream || complete:
	case b.ended == nil && !b.told:
		class = Cancelled // closed before its end: by the client, or by a policy
	}
	now := time.Now()
	writing := now.Sub(y.gave)
	if !b.stream {
		writing = y.gave.Sub(y.started) // all of it was there at once
	}
	if h := y.cs.p.opt.Hooks.Attempt; h != nil {
		h(y.s.index, class, y.gave.Sub(y.started))
	}
	y.s.ended(now, y.permit, y.lastTry, class, b.said, writing, y.reserved)
	return nil
}

// allowed gives the headers of an answer that may go to the client.
func allowed(h http.Header) http.Header {
	var out http.Header
	for name, v := range h {
		if (name == "X-Request-Id" || name == "Retry-After" || strings.HasPrefix(name, "X-Ratelimit-")) && len(v) == 1 && len(v[0]) <= 256 && printable(v[0]) {
			if out == nil {
				out = make(http.Header, 2)
			}
			out[name] = v
		}
	}
	return out
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
