package upstream

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

// breaker stops asking a target that fails. Its owner locks. It is closed until
// Failures attempts in a row failed, then open for Cooldown, then half-open:
// HalfOpenMax attempts may run, and when that many succeeded it closes; one
// failure opens it again.
type breaker struct {
	opt    *Breaker
	state  BreakerState
	failed int       // in a row, while closed
	until  time.Time // open until then
	trials int       // half-open: attempts started and not neutral
	good   int       // half-open: attempts that succeeded
	epoch  uint32    // counts changes of state: results of attempts from before one do not count
}

// permit tells how an attempt may run: which epoch its result belongs to.
type permit struct {
	epoch uint32
	trial bool
}

// allow tells whether an attempt may start.
func (b *breaker) allow(now time.Time) (permit, bool) {
	if b.opt.Disabled {
		return permit{}, true
	}
	if b.state == Opened {
		if now.Before(b.until) {
			return permit{}, false
		}
		b.set(HalfOpen)
	}
	if b.state == HalfOpen {
		if b.trials >= b.opt.HalfOpenMax {
			return permit{}, false
		}
		b.trials++
		return permit{b.epoch, true}, true
	}
	return permit{epoch: b.epoch}, true
}

// shut tells that allow would not let an attempt start.
func (b *breaker) shut(now time.Time) bool {
	switch {
	case b.opt.Disabled:
		return false
	case b.state == Opened:
		return now.Before(b.until)
	}
	return b.state == HalfOpen && b.trials >= b.opt.HalfOpenMax
}

func (b *breaker) set(s BreakerState) {
	b.state, b.failed, b.trials, b.good = s, 0, 0, 0
	b.epoch++
}

// ended takes an attempt's result. A last try through an open breaker (lastTry)
// closes it when it succeeds.
func (b *breaker) ended(p permit, ok bool, now time.Time, lastTry bool) {
	if b.opt.Disabled {
		return
	}
	if lastTry && ok && b.state != Closed {
		b.set(Closed)
		return
	}
	if p.epoch != b.epoch || lastTry {
		return
	}
	switch {
	case b.state == Closed && ok:
		b.failed = 0
	case b.state == Closed:
		if b.failed++; b.failed >= b.opt.Failures {
			b.set(Opened)
			b.until = now.Add(b.opt.Cooldown)
		}
	case b.state == HalfOpen && !ok:
		b.set(Opened)
		b.until = now.Add(b.opt.Cooldown)
	case b.state == HalfOpen:
		if b.good++; b.good >= b.opt.HalfOpenMax {
			b.set(Closed)
		}
	}
}

// neutral takes back an attempt that says nothing about the target.
func (b *breaker) neutral(p permit) {
	if p.trial && p.epoch == b.epoch && b.state == HalfOpen {
		b.trials--
	}
}

// bucket is a token bucket: perMinute at most at once, refilled evenly.
type bucket struct {
	perMinute float64 // 0: no limit
	have      float64
	at        time.Time
}

func (b *bucket) refill(now time.Time) {
	if b.at.IsZero() {
		b.have = b.perMinute
	} else {
		b.have = min(b.perMinute, b.have+now.Sub(b.at).Minutes()*b.perMinute)
	}
	b.at = now
}

// take takes n, or as much as the bucket can ever hold.
func (b *bucket) take(n float64, now time.Time) bool {
	if b.perMinute <= 0 {
		return true
	}
	b.refill(now)
	if n = min(n, b.perMinute); b.have < n {
		return false
	}
	b.have -= n
	return true
}

// settle takes or gives back what an estimate was wrong by.
func (b *bucket) settle(n float64, now time.Time) {
	if b.perMinute > 0 {
		b.refill(now)
		b.have = min(b.perMinute, b.have-n)
	}
}

// wait tells how long until n can be taken.
func (b *bucket) wait(n float64) time.Duration {
	if b.perMinute <= 0 {
		return 0
	}
	return time.Duration(max(0, min(n, b.perMinute)-b.have) / b.perMinute * float64(time.Minute))
}

const slots = 10 // of a window

// Kinds of answers: a stream's first content comes early, another answer is one piece.
const (
	wholeKind = iota
	streamKind
)

func kindOf(stream bool) int {
	if stream {
		return streamKind
	}
	return wholeKind
}

// window sums figures over the last Routing.Window, in ten slots.
type window struct {
	span  time.Duration // of one slot
	slot  [slots]figures
	epoch [slots]int64
}

type figures struct {
	calls, failures  int64
	firsts           [2]int64 // answers with a time to first content, by kind
	firstSum         [2]time.Duration
	tokens           int64 // completion tokens of answers with a known duration
	writing          time.Duration
	prompt, complete int64 // tokens used
	micros           int64
}

func (w *window) at(now time.Time) *figures {
	e := now.UnixNano() / int64(w.span)
	i := int(e % slots)
	if w.epoch[i] != e {
		w.epoch[i], w.slot[i] = e, figures{}
	}
	return &w.slot[i]
}

func (w *window) sum(now time.Time) (f figures) {
	e := now.UnixNano() / int64(w.span)
	for i := range w.slot {
		if s := &w.slot[i]; w.epoch[i] > e-slots && w.epoch[i] <= e {
			f.calls += s.calls
			f.failures += s.failures
			for k := range f.firsts {
				f.firsts[k] += s.firsts[k]
				f.firstSum[k] += s.firstSum[k]
			}
			f.tokens += s.tokens
			f.writing += s.writing
			f.prompt += s.prompt
			f.complete += s.complete
			f.micros += s.micros
		}
	}
	return f
}

// firsts keeps the last times to the first content, for their 95th percentile.
type firsts struct {
	ring   [64]time.Duration
	n      int // total, the next position is n % len
	p95    time.Duration
	sorted int // n when p95 was worked out
}

func (f *firsts) add(d time.Duration) {
	f.ring[f.n%len(f.ring)] = d
	f.n++
}

// minFirsts is how many samples a percentile needs.
const minFirsts = 20

func (f *firsts) percentile95() (time.Duration, bool) {
	if f.n < minFirsts {
		return 0, false
	}
	if f.p95 == 0 || f.n-f.sorted >= 16 {
		k := min(f.n, len(f.ring))
		var s [len(f.ring)]time.Duration
		copy(s[:], f.ring[:k])
		slices.Sort(s[:k])
		f.p95, f.sorted = s[(k*95+99)/100-1], f.n
	}
	return f.p95, true
}

// state is what the pool knows of one target.
type state struct {
	*Target
	index int
	pool  *Pool

	mu       sync.Mutex
	br       breaker
	inflight int
	win      window
	first    [2]firsts // by kind
	rpm, tpm bucket
	rates    // what the provider's headers say

	races     int       // lost in a row to attempts that began later
	slowUntil time.Time // asked last until then

	ejectedUntil time.Time // outlier detection
	ejections    int
	back         *time.Timer // ends the ejection for the hook
	down         bool        // active health
	badChecks    int
	goodChecks   int
	lastCheck    ErrorClass
	checked      time.Time

	total   int64
	classes [NumClasses]int64
	probes  int64
	wasted  figures
	last    time.Time
	lastErr ErrorClass
}

// rates is what a provider says about its limits.
type rates struct {
	blocked        time.Time // do not ask before
	tokens         int64     // remaining tokens
	tokensUntil    time.Time // when tokens is out of date; zero: unknown
	remainRequests int64     // for the snapshot, -1 unknown
}

// reason is why a target is not asked.
type reason uint8

const (
	admitted reason = iota
	breakerOpen
	ejected
	unhealthy
	atConcurrency
	atRate
	atTokens
	tokensLeft // the provider's own word
	retryAfter
	tooDear
	otherModel
	maxAttempts
	badConfig
)

var reasonNames = [...]string{"", "breaker_open", "ejected", "unhealthy", "concurrency", "rate_limit", "token_limit", "token_limit", "retry_after", "max_cost", "other_model", "max_attempts", "config"}

func (r reason) String() string { return reasonNames[r] }

// limited tells that waiting helps: the client may be told 429.
func (r reason) limited() bool {
	return r.own() || r == tokensLeft || r == retryAfter
}

// own tells that the limit is one of Limits, not the provider's.
func (r reason) own() bool { return r == atConcurrency || r == atRate || r == atTokens }

// admit reserves an attempt. lastTry passes the breaker and ejections.
// wait is when a limit lets the next one in.
func (s *state) admit(now time.Time, tokens int64, lastTry bool) (p permit, why reason, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !lastTry {
		switch {
		case now.Before(s.ejectedUntil):
			return p, ejected, 0
		case s.down:
			return p, unhealthy, 0
		}
	}
	switch {
	case now.Before(s.blocked):
		return p, retryAfter, s.blocked.Sub(now)
	case now.Before(s.tokensUntil) && tokens > s.tokens:
		return p, tokensLeft, s.tokensUntil.Sub(now)
	case s.Limits.Concurrency > 0 && s.inflight >= s.Limits.Concurrency:
		return p, atConcurrency, time.Second
	}
	s.rpm.refillIfLimited(now)
	s.tpm.refillIfLimited(now)
	switch {
	case s.rpm.wait(1) > 0:
		return p, atRate, s.rpm.wait(1)
	case s.tpm.wait(float64(tokens)) > 0:
		return p, atTokens, s.tpm.wait(float64(tokens))
	}
	if !lastTry {
		before := s.br.state
		var ok bool
		p, ok = s.br.allow(now)
		s.noteBreaker(before)
		if !ok {
			return p, breakerOpen, max(0, s.br.until.Sub(now))
		}
	}
	s.rpm.take(1, now)
	s.tpm.take(float64(tokens), now)
	if now.Before(s.tokensUntil) {
		s.tokens -= tokens
	}
	s.inflight++
	return p, admitted, 0
}

// out tells that the target would not be asked now.
func (s *state) out(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rpm.refillIfLimited(now)
	return s.down || now.Before(s.ejectedUntil) || now.Before(s.blocked) || s.br.shut(now) ||
		s.Limits.Concurrency > 0 && s.inflight >= s.Limits.Concurrency || s.rpm.wait(1) > 0
}

func (b *bucket) refillIfLimited(now time.Time) {
	if b.perMinute > 0 {
		b.refill(now)
	}
}

func (s *state) noteBreaker(before BreakerState) {
	if h := s.pool.opt.Hooks.Breaker; h != nil && before != s.br.state {
		h(s.index, s.br.state)
	}
}

// faults are the classes that are the target's.
const faults = 1<<Refused | 1<<TLS | 1<<TimeoutConnect | 1<<TimeoutFirstByte | 1<<TimeoutBetweenBytes | 1<<TimeoutTotal |
	1<<Reset | 1<<BadResponse | 1<<Encoded | 1<<TooLarge | 1<<Redirect | 1<<BadContentType | 1<<BadEvent | 1<<Cut |
	1<<FirstEventError | 1<<MidStreamError | 1<<Auth | 1<<NotFound | 1<<RequestTimeout | 1<<RateLimit | 1<<ServerError |
	1<<Overloaded | 1<<RefusedAddress

// Fault tells whether the class is the target's fault: it falls back and counts in the breaker.
func (c ErrorClass) Fault() bool { return faults&(1<<c) != 0 }

// lostRace notes that an attempt that began later had content first. A target
// that loses as often in a row as opens a breaker is asked last for the
// breaker's cooldown; after that one more loss is enough.
func (s *state) lostRace(now time.Time) {
	s.mu.Lock()
	if s.races++; s.races >= s.br.opt.Failures {
		s.races = s.br.opt.Failures - 1
		s.slowUntil = now.Add(s.br.opt.Cooldown)
	}
	s.mu.Unlock()
}

func (s *state) wonRace() {
	s.mu.Lock()
	s.races = 0
	s.mu.Unlock()
}

// slow tells that the target is to be asked last.
func (s *state) slow(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.slowUntil)
}

// gotFirst notes the time to the first content.
func (s *state) gotFirst(now time.Time, d time.Duration, kind int) {
	s.mu.Lock()
	f := s.win.at(now)
	f.firsts[kind]++
	f.firstSum[kind] += d
	s.first[kind].add(d)
	s.mu.Unlock()
}

// ended gives back what admit reserved and notes the result.
func (s *state) ended(now time.Time, p permit, lastTry bool, class ErrorClass, r Report, writing time.Duration, reserved int64) {
	s.mu.Lock()
	s.inflight--
	s.total++
	s.classes[class]++
	s.last = now
	f := s.win.at(now)
	before := s.br.state
	switch {
	case class.Fault():
		f.calls++
		f.failures++
		s.lastErr = class
		s.br.ended(p, false, now, lastTry)
	case class == Lost, class == Cancelled, class == Config:
		s.br.neutral(p)
	default: // OK, and what is the client's fault: the target works
		f.calls++
		s.br.ended(p, true, now, lastTry)
	}
	used := r.PromptTokens + r.CompletionTokens
	f.prompt += r.PromptTokens
	f.complete += r.CompletionTokens
	f.micros += s.Pricing.Cost(r.PromptTokens, r.CompletionTokens)
	if class == OK && r.CompletionTokens > 0 && writing > 0 {
		f.tokens += r.CompletionTokens
		f.writing += writing
	}
	if used > 0 {
		s.tpm.settle(float64(used-reserved), now)
	} else if class.Fault() {
		s.tpm.settle(float64(-reserved), now)
	}
	s.noteBreaker(before)
	judge := !s.pool.opt.Outlier.Disabled && class.Fault()
	s.mu.Unlock()
	if judge {
		s.pool.judge(s, now)
	}
}

// Cost of tokens in micro units.
func (p Pricing) Cost(prompt, completion int64) int64 {
	return mulDiv(prompt, p.InputPer1K) + mulDiv(completion, p.OutputPer1K)
}

// mulDiv is a*b/1000, rounded up, saturated instead of overflowing.
func mulDiv(a, b int64) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= 1000 {
		return 1<<63 - 1
	}
	q, rem := bits.Div64(hi, lo, 1000)
	if rem > 0 {
		q++
	}
	return int64(min(q, 1<<63-1))
}

// maxEject is the longest ejection, unless the first one is longer.
const maxEject = 5 * time.Minute

// judge ejects s when it fails far too often, unless too many are ejected already.
func (p *Pool) judge(s *state, now time.Time) {
	o := &p.opt.Outlier
	p.ejectMu.Lock()
	defer p.ejectMu.Unlock()
	gone := 0
	for _, t := range p.targets {
		t.mu.Lock()
		if t != s && now.Before(t.ejectedUntil) {
			gone++
		}
		t.mu.Unlock()
	}
	if float64(gone+1) > o.MaxEjected*float64(len(p.targets)) {
		return
	}
	s.mu.Lock()
	f := s.win.sum(now)
	eject := !now.Before(s.ejectedUntil) && f.calls >= int64(o.MinCalls) && float64(f.failures) >= o.MinShare*float64(f.calls)
	if eject {
		if now.Sub(s.ejectedUntil) >= p.opt.Routing.Window { // it was well for that long
			s.ejections = 0
		}
		d := min(o.Eject<<min(s.ejections, 10), max(o.Eject, maxEject))
		s.ejectedUntil = now.Add(d)
		s.ejections++
		s.win = window{span: s.win.span} // judged anew when it is back
		if s.back != nil {
			s.back.Stop()
		}
		s.back = time.AfterFunc(d, func() { p.tellOut(s) })
	}
	s.mu.Unlock()
	if eject {
		if h := p.opt.Hooks.Eject; h != nil {
			h(s.index, true)
		}
	}
}

// tellOut tells the hook whether s is out, once that may have changed.
func (p *Pool) tellOut(s *state) {
	p.ejectMu.Lock()
	defer p.ejectMu.Unlock()
	s.mu.Lock()
	out := s.down || time.Now().Before(s.ejectedUntil)
	s.mu.Unlock()
	if h := p.opt.Hooks.Eject; h != nil {
		h(s.index, out)
	}
}

// budget lets a share of events happen: each request puts in share, each event
// takes one. It holds at most 20 and begins with 3, so that few requests can
// use it too.
type budget struct {
	mu    sync.Mutex
	share float64
	have  float64
}

const (
	budgetStart = 3
	budgetMax   = 20
)

func newBudget(share float64) budget { return budget{share: share, have: budgetStart} }

func (b *budget) request() {
	b.mu.Lock()
	b.have = min(budgetMax, b.have+b.share)
	b.mu.Unlock()
}

func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have < 1 {
		return false
	}
	b.have--
	return true
}
