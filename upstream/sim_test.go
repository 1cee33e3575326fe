package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/mock"
)

// sim is a Transport for synctest: targets that answer after a time, or fail.
type sim struct {
	behave func(t *upstream.Target, rng *rand.Rand) act

	mu       sync.Mutex
	rng      *rand.Rand
	started  map[string]int
	live     int
	maxLive  int
	onStart  func(t *upstream.Target)
	canceled int
}

// act is what one attempt meets.
type act struct {
	wait  time.Duration       // until the header, or the failure
	fail  upstream.ErrorClass // OK: a stream follows
	first time.Duration       // until the first content
	text  string              // streamed word by word
	gap   time.Duration       // between words
	cut   int                 // words before the connection breaks; 0: never
	retry time.Duration       // Retry-After with RateLimit
}

func newSim(seed uint64, behave func(*upstream.Target, *rand.Rand) act) *sim {
	return &sim{behave: behave, rng: rand.New(rand.NewPCG(seed, 9)), started: map[string]int{}}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var statusOf = map[upstream.ErrorClass]int{upstream.RateLimit: 429, upstream.ServerError: 500, upstream.Overloaded: 503, upstream.Auth: 401, upstream.InvalidRequest: 400}

func (s *sim) Do(ctx context.Context, t *upstream.Target, r upstream.Request) (*upstream.Response, error) {
	s.mu.Lock()
	a := s.behave(t, s.rng)
	s.started[t.ID]++
	s.live++
	s.maxLive = max(s.maxLive, s.live)
	if s.onStart != nil && ctx.Err() == nil {
		s.onStart(t)
	}
	s.mu.Unlock()
	if err := pause(ctx, a.wait); err != nil {
		s.ended(true)
		return nil, &upstream.Failure{Class: upstream.Cancelled, Err: err}
	}
	if code := statusOf[a.fail]; code != 0 {
		h := http.Header{"Content-Type": {"application/json"}}
		if a.retry > 0 {
			h.Set("Retry-After", fmt.Sprint(int(a.retry.Seconds())))
		}
		return &upstream.Response{Status: code, Header: h, Body: &simBody{s: s, ctx: ctx, rest: `{"error":{"message":"no","type":"x","code":"x"}}`}}, nil
	}
	if a.fail != upstream.OK {
		s.ended(false)
		return nil, &upstream.Failure{Class: a.fail}
	}
	return &upstream.Response{Status: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: &simBody{s: s, ctx: ctx, act: a, words: strings.SplitAfter(a.text, " "), stream: true}}, nil
}

func (s *sim) ended(canceled bool) {
	s.mu.Lock()
	s.live--
	if canceled {
		s.canceled++
	}
	s.mu.Unlock()
}

type simBody struct {
	s      *sim
	ctx    context.Context
	act    act
	words  []string
	rest   string
	stream bool
	n      int
	closed bool
}

func (b *simBody) Read(p []byte) (int, error) {
	if b.rest == "" {
		if !b.stream || b.n > len(b.words) {
			return 0, io.EOF
		}
		d := b.act.gap
		if b.n == 0 {
			d = b.act.first
		}
		if err := pause(b.ctx, d); err != nil {
			return 0, &upstream.Failure{Class: upstream.Cancelled, Err: err}
		}
		switch {
		case b.act.cut > 0 && b.n >= b.act.cut:
			return 0, &upstream.Failure{Class: upstream.Reset}
		case b.n == len(b.words):
			b.rest = "data: [DONE]\n\n"
		default:
			b.rest = fmt.Sprintf("data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", b.words[b.n])
		}
		b.n++
	}
	k := copy(p, b.rest)
	b.rest = b.rest[k:]
	return k, nil
}

func (b *simBody) Close() error {
	if !b.closed {
		b.closed = true
		b.s.ended(b.ctx.Err() != nil)
	}
	return nil
}

func simTargets(n int) []*upstream.Target {
	out := make([]*upstream.Target, n)
	for i := range out {
		out[i] = &upstream.Target{ID: fmt.Sprint("t", i), Model: "m", BaseURL: "https://example.com", Pricing: upstream.Pricing{InputPer1K: int64(100 * (i + 1)), OutputPer1K: 1000}}
	}
	return out
}

func simCall() upstream.Call {
	return upstream.Call{Path: "/v1/chat/completions", Model: "m", Stream: true, PromptTokens: 100,
		Body: func(*upstream.Target, string) ([]byte, error) { return []byte("{}"), nil }}
}

// TestOneWinnerWithinTheBudgets is T85 as a property: whatever the targets do,
// one answer is delivered whole and unmixed, attempts and probes stay within
// their limits, nothing is asked after the commit, and nothing is left running.
func TestOneWinnerWithinTheBudgets(t *testing.T) {
	outcomes := map[string]int{}
	defer func() { t.Logf("outcomes: %v", outcomes) }()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(rt, "targets")
		seed := rapid.Uint64().Draw(rt, "seed")
		opt := upstream.Options{
			Routing:  upstream.Routing{Strategy: upstream.Strategy(rapid.IntRange(0, 10).Draw(rt, "strategy"))},
			Fallback: upstream.Fallback{MaxAttempts: rapid.IntRange(1, 5).Draw(rt, "attempts")},
			Probe: upstream.Probe{
				Enabled: rapid.Bool().Draw(rt, "probe"), After: time.Duration(rapid.IntRange(0, 50).Draw(rt, "after")) * time.Millisecond,
				MaxParallel: rapid.IntRange(1, 4).Draw(rt, "parallel"), PerRequest: rapid.IntRange(1, 3).Draw(rt, "per request"),
			},
			Seed: 1,
		}
		abort := time.Duration(rapid.IntRange(0, 200).Draw(rt, "client leaves after ms")) * time.Millisecond
		replaceAt := rapid.IntRange(0, 4).Draw(rt, "commit after words")
		var bad string
		synctest.Test(t, func(t *testing.T) {
			s := newSim(seed, func(t *upstream.Target, rng *rand.Rand) act {
				a := act{wait: time.Duration(rng.IntN(30)) * time.Millisecond, first: time.Duration(rng.IntN(40)) * time.Millisecond, gap: time.Duration(rng.IntN(3)) * time.Millisecond,
					text: t.ID + " " + mock.WordsText(6, uint64(len(t.ID)))}
				switch rng.IntN(6) {
				case 0:
					a.fail = []upstream.ErrorClass{upstream.Refused, upstream.ServerError, upstream.RateLimit, upstream.Auth, upstream.TimeoutFirstByte}[rng.IntN(5)]
				case 1:
					a.cut = 1 + rng.IntN(6)
				case 2:
					a.wait = time.Second
				}
				return a
			})
			opt.Transport = s
			p, err := upstream.New(simTargets(n), opt)
			if err != nil {
				bad = err.Error()
				return
			}
			defer p.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if abort > 150*time.Millisecond {
				time.AfterFunc(abort, cancel)
			}
			committed := false
			s.onStart = func(*upstream.Target) {
				if committed {
					bad = "a target was asked after the commit"
				}
			}
			check := func(as []upstream.Attempt) {
				probes, wins := 0, 0
				for _, a := range as {
					if a.Probe {
						probes++
					}
					if a.Class == upstream.OK {
						wins++
					}
					if a.Class >= upstream.NumClasses {
						bad = "an attempt has no class"
					}
				}
				if len(as) > opt.Fallback.MaxAttempts || probes > opt.Probe.PerRequest || wins > 1 || probes > 0 && !opt.Probe.Enabled {
					bad = fmt.Sprintf("%d attempts, %d probes, %d winners", len(as), probes, wins)
				}
			}
			a, err := p.Do(ctx, simCall())
			var e *upstream.Error
			if err != nil {
				if !errors.As(err, &e) {
					bad = "wrong type of error: " + err.Error()
					return
				}
				check(e.Attempts)
				outcomes[e.Code]++
			} else {
				check(a.Attempts)
				if len(a.Attempts) > 1 {
					outcomes["fell back or probed"]++
				}
				got, words := "", 0
				raw := make([]byte, 64)
				var stream strings.Builder
				for {
					k, err := a.Body.Read(raw)
					stream.Write(raw[:k])
					words = strings.Count(stream.String(), "\n\n")
					if words > replaceAt && !committed {
						a.Commit()
						s.mu.Lock()
						committed = true
						s.mu.Unlock()
					}
					if err == nil {
						continue
					}
					if errors.Is(err, io.EOF) {
						got = stream.String()
						break
					}
					before := len(a.Attempts)
					rerr := a.Replace(ctx, upstream.ClassOf(err))
					switch {
					case rerr == nil:
						outcomes["replaced"]++
					case committed:
						outcomes["cut after commit"]++
					default:
						outcomes["not replaced"]++
					}
					if committed {
						if !errors.Is(rerr, upstream.ErrCommitted) || len(a.Attempts) != before {
							bad = "replaced after the commit"
						}
						break
					}
					check(a.Attempts)
					if rerr != nil {
						break
					}
					stream.Reset()
				}
				id := a.Target.ID
				if got != "" {
					outcomes["whole"]++
					for _, w := range strings.SplitAfter(id+" "+mock.WordsText(6, uint64(len(id))), " ") {
						i := strings.Index(got, fmt.Sprintf("%q", w))
						if i < 0 {
							bad = fmt.Sprintf("answer of %s lacks %q", id, w)
							break
						}
						got = got[i+len(w):]
					}
					for _, other := range simTargets(n) {
						if other.ID != id && strings.Contains(stream.String(), fmt.Sprintf("%q", other.ID+" ")) {
							bad = "two answers are mixed"
						}
					}
				}
				a.Close()
			}
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.live != 0 {
				bad = fmt.Sprintf("%d attempts still run", s.live)
			}
			for _, st := range p.Snapshot().Targets {
				if st.InFlight != 0 {
					bad = fmt.Sprintf("%s: %d in flight", st.ID, st.InFlight)
				}
			}
		})
		if bad != "" {
			rt.Fatal(bad)
		}
	})
}

func TestLosersAreCancelledWhenTheWinnerIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{wait: 10 * time.Millisecond, first: time.Hour, text: "late"}
			}
			return act{wait: 5 * time.Millisecond, first: 20 * time.Millisecond, gap: time.Second, text: "good answer"}
		})
		var wasted int64
		p := newPool(t, upstream.Options{Transport: s, Probe: upstream.Probe{Enabled: true, After: 100 * time.Millisecond},
			Hooks: upstream.Hooks{Wasted: func(_ int, prompt, _, _ int64) { wasted += prompt }}}, simTargets(2)...)
		began := time.Now()
		a, err := p.Do(t.Context(), simCall())
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 125*time.Millisecond {
			t.Errorf("first content after %v", d)
		}
		synctest.Wait()
		s.mu.Lock()
		if s.live != 1 || s.canceled != 1 {
			t.Errorf("%d run, %d cancelled, without any time having passed", s.live, s.canceled)
		}
		s.mu.Unlock()
		lost := a.Attempts[0]
		if got := classes(a.Attempts); got != "t0:lost t1:ok" || lost.PromptTokens != 100 || lost.CostMicros != 10 || wasted != 100 || !a.Attempts[1].Probe {
			t.Errorf("%s %+v wasted %d", got, lost, wasted)
		}
		a.Close()
		if sn := p.Snapshot(); sn.Targets[0].WastedTokens != 100 || sn.Targets[0].Breaker != "closed" || sn.Probes != 1 {
			t.Errorf("%+v", sn)
		}
	})
}

// TestProbesStayWithinTheirShare: the first target never answers in time.
func TestProbesStayWithinTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{wait: 2 * time.Second, text: "slow"}
			}
			return act{wait: time.Millisecond, text: "quick"}
		})
		p := newPool(t, upstream.Options{Transport: s, Probe: upstream.Probe{Enabled: true, After: 10 * time.Millisecond}}, simTargets(3)...)
		const n = 2000
		probed := 0
		for range n {
			a, err := p.Do(t.Context(), simCall())
			if err != nil {
				t.Fatal(err)
			}
			k := 0
			for _, at := range a.Attempts {
				if at.Probe {
					k++
				}
			}
			if k > 1 {
				t.Fatalf("%d probes of one request", k)
			}
			probed += k
			a.Close()
		}
		if probed > n/10+3 || probed < n/10-20 {
			t.Errorf("%d probes in %d requests", probed, n)
		}
	})
}

// All targets but the last fail: each request gets to it, however many there are.
func TestNoBudgetStopsATargetThatWasNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t3" {
				return act{text: "fine"}
			}
			return act{fail: upstream.ServerError}
		})
		p := newPool(t, upstream.Options{Transport: s, Breaker: upstream.Breaker{Disabled: true}, Outlier: upstream.Outlier{Disabled: true}, Fallback: upstream.Fallback{MaxAttempts: 4}}, simTargets(4)...)
		for range 100 {
			a, err := p.Do(t.Context(), simCall())
			if err != nil {
				t.Fatal(err)
			}
			a.Close()
		}
	})
}

func TestTheRetryBudgetBoundsTriesOfTheSameTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(*upstream.Target, *rand.Rand) act { return act{fail: upstream.ServerError} })
		p := newPool(t, upstream.Options{Transport: s, Breaker: upstream.Breaker{Disabled: true}, Outlier: upstream.Outlier{Disabled: true}, Retry: upstream.Retry{MaxAttempts: 3}}, simTargets(2)...)
		const n = 1000
		again := 0
		for range n {
			_, err := p.Do(t.Context(), simCall())
			var e *upstream.Error
			if !errors.As(err, &e) || e.Status != 502 || e.Attempts[len(e.Attempts)-1].Target.ID != "t1" {
				t.Fatal(err)
			}
			again += len(e.Attempts) - 2
		}
		if again > n/5+3 || again < n/5-20 {
			t.Errorf("%d tries of the same target in %d requests", again, n)
		}
	})
}

func TestRetryAsksTheSameTargetAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := newSim(1, func(*upstream.Target, *rand.Rand) act {
			if calls++; calls < 3 {
				return act{fail: upstream.Reset}
			}
			return act{text: "third time"}
		})
		p := newPool(t, upstream.Options{Transport: s, Retry: upstream.Retry{MaxAttempts: 3}}, simTargets(1)...)
		a, err := p.Do(t.Context(), simCall())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if got := classes(a.Attempts); got != "t0:reset t0:reset t0:ok" {
			t.Error(got)
		}
	})
}

// providers.retry is a layer of its own below the fallback.
func TestRetryNeedsNoFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, f := range []upstream.Fallback{{Disabled: true}, {On: []upstream.ErrorClass{upstream.RateLimit}}} {
			calls := 0
			s := newSim(1, func(*upstream.Target, *rand.Rand) act {
				if calls++; calls < 3 {
					return act{fail: upstream.ServerError}
				}
				return act{text: "third time"}
			})
			p := newPool(t, upstream.Options{Transport: s, Retry: upstream.Retry{MaxAttempts: 3}, Fallback: f}, simTargets(2)...)
			a, err := p.Do(t.Context(), simCall())
			if err != nil {
				t.Fatal(err)
			}
			if got := classes(a.Attempts); got != "t0:server_error t0:server_error t0:ok" {
				t.Error(got)
			}
			a.Close()
		}
	})
}

func TestRetriesLeaveRoomForTheFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{fail: upstream.Overloaded}
			}
			return act{text: "fine"}
		})
		p := newPool(t, upstream.Options{Transport: s, Retry: upstream.Retry{MaxAttempts: 3}, Fallback: upstream.Fallback{MaxAttempts: 2}}, simTargets(2)...)
		a, err := p.Do(t.Context(), simCall())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if got := classes(a.Attempts); got != "t0:overloaded t0:overloaded t0:overloaded t1:ok" {
			t.Error(got)
		}
	})
}

// TestAllOpenGivesOneLastTry is T87: a breaker may open for every target.
func TestAllOpenGivesOneLastTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		s := newSim(1, func(*upstream.Target, *rand.Rand) act {
			if broken {
				return act{fail: upstream.Refused}
			}
			return act{text: "back"}
		})
		p := newPool(t, upstream.Options{Transport: s}, simTargets(2)...)
		for range 5 {
			if _, err := p.Do(t.Context(), simCall()); err == nil {
				t.Fatal("an answer of a dead target")
			}
		}
		for _, st := range p.Snapshot().Targets {
			if st.Breaker != "open" || st.Status != "unhealthy" {
				t.Fatalf("%+v", st)
			}
		}
		_, err := p.Do(t.Context(), simCall())
		var e *upstream.Error
		if !errors.As(err, &e) || len(e.Attempts) != 1 {
			t.Fatalf("all open: %v", err)
		}
		broken = false
		a, err := p.Do(t.Context(), simCall())
		if err != nil {
			t.Fatal(err)
		}
		if text, err := answerText(a); text != "back" || err != nil {
			t.Fatal(text, err)
		}
		a.Close()
		if st := p.Snapshot().Targets[0]; st.Breaker != "closed" {
			t.Errorf("a last try that succeeded left the breaker %s", st.Breaker)
		}
	})
}

func TestHalfOpenLetsOneThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{wait: time.Second, fail: upstream.Refused}
			}
			return act{wait: time.Millisecond, text: "fine"}
		})
		p := newPool(t, upstream.Options{Transport: s}, simTargets(2)...)
		do := func() {
			a, err := p.Do(t.Context(), simCall())
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = answerText(a)
			a.Close()
		}
		for range 5 {
			do()
		}
		before := s.started["t0"]
		do()
		if s.started["t0"] != before {
			t.Fatal("an open breaker let an attempt through")
		}
		time.Sleep(30 * time.Second)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(do)
		}
		wg.Wait()
		if n := s.started["t0"] - before; n != 1 {
			t.Errorf("%d attempts while half-open", n)
		}
	})
}

// quantile of the times to first content.
func quantile(d []time.Duration, q float64) time.Duration {
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return d[min(len(d)-1, int(math.Ceil(q*float64(len(d))))-1)]
}

// TestProbingHidesASlowTarget measures the time to the first content with one
// slow target of three, in simulated time: healthy ones take 40 ms and up with a
// tail (log-normal), the slow one needs 5 s more. All figures of the probes are the defaults.
func TestProbingHidesASlowTarget(t *testing.T) {
	const requests = 5000 // a p99 of fewer depends on the order in which goroutines run
	run := func(slow, probe bool, strategy upstream.Strategy) (p50, p99 time.Duration, probes int64) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(7, func(t *upstream.Target, rng *rand.Rand) act {
				d := time.Duration(float64(120*time.Millisecond) * math.Exp(0.6*rng.NormFloat64()))
				if slow && t.ID == "t1" {
					d += 5 * time.Second
				}
				return act{wait: 40*time.Millisecond + d, text: "answer of a target"}
			})
			opt := upstream.Options{Transport: s, Seed: 5, Routing: upstream.Routing{Strategy: strategy},
				Probe: upstream.Probe{Enabled: probe, After: 350 * time.Millisecond}}
			p := newPool(t, opt, simTargets(3)...)
			var took []time.Duration
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range requests {
				time.Sleep(50 * time.Millisecond)
				wg.Go(func() {
					began := time.Now()
					a, err := p.Do(t.Context(), simCall())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					took = append(took, time.Since(began))
					mu.Unlock()
					_, _ = answerText(a)
					a.Close()
				})
			}
			wg.Wait()
			p50, p99, probes = quantile(took, 0.5), quantile(took, 0.99), p.Snapshot().Probes
		})
		return p50, p99, probes
	}
	h50, h99, _ := run(false, false, upstream.RoundRobin)
	s50, s99, _ := run(true, false, upstream.RoundRobin)
	p50, p99, probes := run(true, true, upstream.RoundRobin)
	l50, l99, _ := run(true, false, upstream.LowestLatency)
	t.Logf("time to first content, %d requests (simulated), p50 / p99:", requests)
	t.Logf("  three healthy targets         %v / %v", h50.Round(time.Millisecond), h99.Round(time.Millisecond))
	t.Logf("  one slow, no probing          %v / %v  (%.1fx)", s50.Round(time.Millisecond), s99.Round(time.Millisecond), float64(s99)/float64(h99))
	t.Logf("  one slow, probing after 350ms %v / %v  (%.2fx), %d probes", p50.Round(time.Millisecond), p99.Round(time.Millisecond), float64(p99)/float64(h99), probes)
	t.Logf("  one slow, lowest_latency      %v / %v  (%.2fx)", l50.Round(time.Millisecond), l99.Round(time.Millisecond), float64(l99)/float64(h99))
	if float64(p99) > 1.2*float64(h99) {
		t.Errorf("p99 with probing is %v, more than 1.2 times %v", p99, h99)
	}
	if float64(s99) < 3*float64(h99) {
		t.Errorf("without probing the p99 is only %v: the experiment shows nothing", s99)
	}
	if probes > requests/10+3 {
		t.Errorf("%d probes are more than a tenth of the requests", probes)
	}
}

// TestFaultMix is T86: ten targets with a fault each that does not change, three
// of them healthy, 10,000 requests. The caller releases an answer after its
// second word, as the window would, and replaces one that fails before.
func TestFaultMix(t *testing.T) {
	for _, probe := range []bool{false, true} {
		var warm, failed, mixed, afterCommit, total int
		var snap upstream.Snapshot
		synctest.Test(t, func(t *testing.T) {
			s := newSim(11, func(t *upstream.Target, rng *rand.Rand) act {
				a := act{wait: time.Duration(20+rng.IntN(60)) * time.Millisecond, first: 10 * time.Millisecond, gap: time.Millisecond, text: t.ID + " " + mock.WordsText(20, uint64(t.ID[1]))}
				switch t.ID {
				case "t0", "t1":
					return act{fail: upstream.Refused}
				case "t2", "t3":
					return act{wait: 30 * time.Second, fail: upstream.TimeoutFirstByte}
				case "t4", "t5":
					return act{wait: 5 * time.Millisecond, fail: upstream.ServerError}
				case "t6":
					a.cut = 1 + rng.IntN(15)
				}
				return a
			})
			p := newPool(t, upstream.Options{Transport: s, Seed: 3, Routing: upstream.Routing{Strategy: upstream.RoundRobin},
				Probe: upstream.Probe{Enabled: probe, After: 500 * time.Millisecond}}, simTargets(10)...)
			one := func() (ok, committed, mixedUp bool) {
				a, err := p.Do(t.Context(), simCall())
				if err != nil {
					return false, false, false
				}
				defer a.Close()
				for {
					text, err := readCommitting(a, 2)
					want := a.Target.ID + " " + mock.WordsText(20, uint64(a.Target.ID[1]))
					if !strings.HasPrefix(want, text) {
						return false, false, true
					}
					if err == nil {
						return text == want, true, text != want
					}
					a.Report(upstream.Report{Class: upstream.ClassOf(err)})
					if rerr := a.Replace(t.Context(), upstream.ClassOf(err)); rerr != nil {
						return false, errors.Is(rerr, upstream.ErrCommitted), false
					}
				}
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			warmup := 400
			for i := range 10_000 / shrink {
				time.Sleep(10 * time.Millisecond)
				wg.Go(func() {
					ok, committed, mix := one()
					mu.Lock()
					defer mu.Unlock()
					total++
					switch {
					case mix:
						mixed++
					case ok:
					case i < warmup:
						warm++
					default:
						if failed++; committed {
							afterCommit++
						}
					}
				})
			}
			wg.Wait()
			snap = p.Snapshot()
			synctest.Wait()
			if s.live != 0 {
				t.Errorf("%d attempts still run", s.live)
			}
		})
		rate := 100 * (1 - float64(failed)/float64(total-400))
		t.Logf("probing %v: %d requests, %d failed in warm-up (first 400), then %d failed (%d of them cut after the commit): %.3f %% succeed; %d fallbacks, %d probes",
			probe, total, warm, failed, afterCommit, rate, snap.Fallbacks, snap.Probes)
		if mixed != 0 || rate < 99.9 && shrink == 1 || rate < 99.5 {
			t.Errorf("%d answers mixed up, %.3f %% succeed", mixed, rate)
		}
		if snap.Probes > int64(total)/10+3 {
			t.Errorf("%d probes are over the budget", snap.Probes)
		}
	}
}

// readCommitting reads the answer's text and commits after n words.
func readCommitting(a *upstream.Answer, n int) (string, error) {
	var all strings.Builder
	b := make([]byte, 512)
	for {
		k, err := a.Body.Read(b)
		all.Write(b[:k])
		if strings.Count(all.String(), "\n\n") >= n {
			a.Commit()
		}
		if err == nil {
			continue
		}
		var text strings.Builder
		for _, ev := range strings.Split(all.String(), "\n\n") {
			if _, rest, ok := strings.Cut(ev, `"content":"`); ok {
				w, _, _ := strings.Cut(rest, `"`)
				text.WriteString(w)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return text.String(), err
	}
}

func TestOutlierEjectionLeavesHalfOfTheTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, rng *rand.Rand) act {
			if t.ID != "t3" && rng.IntN(10) < 7 { // fails often, never five times in a row for long
				return act{fail: upstream.ServerError}
			}
			return act{text: "ok"}
		})
		ejected := map[int]bool{}
		p := newPool(t, upstream.Options{Transport: s, Seed: 1, Routing: upstream.Routing{Strategy: upstream.RoundRobin}, Breaker: upstream.Breaker{Disabled: true},
			Hooks: upstream.Hooks{Eject: func(i int, on bool) { ejected[i] = on }}}, simTargets(4)...)
		for range 400 {
			if a, err := p.Do(t.Context(), simCall()); err == nil {
				_, _ = answerText(a)
				a.Close()
			}
			gone := 0
			for _, st := range p.Snapshot().Targets {
				if st.EjectedForMs > 0 {
					gone++
				}
			}
			if gone > 2 {
				t.Fatalf("%d of 4 targets are ejected", gone)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(ejected) != 2 || ejected[3] {
			t.Errorf("ejected %v", ejected)
		}
	})
}

func TestEjectionsAreBoundedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{fail: upstream.ServerError}
			}
			return act{text: "ok"}
		})
		var told []bool // under the pool's own lock
		p := newPool(t, upstream.Options{Transport: s, Breaker: upstream.Breaker{Disabled: true},
			Hooks: upstream.Hooks{Eject: func(_ int, out bool) { told = append(told, out) }}}, simTargets(2)...)
		eject := func() time.Duration {
			for range 20 {
				a, err := p.Do(t.Context(), simCall())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = answerText(a)
				a.Close()
			}
			return time.Duration(p.Snapshot().Targets[0].EjectedForMs) * time.Millisecond
		}
		for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			if got := eject(); got != want {
				t.Errorf("ejected for %v, want %v", got, want)
			}
			time.Sleep(want)
			synctest.Wait()
		}
		if !slices.Equal(told, []bool{true, false, true, false, true, false, true, false, true, false, true, false}) {
			t.Errorf("told %v", told)
		}
		time.Sleep(5 * time.Minute)
		if got := eject(); got != 30*time.Second {
			t.Errorf("after a time without one: ejected for %v", got)
		}
	})
}

func TestRateLimitHeadersAreHonoured(t *testing.T) {
	m := startMock(t, mock.Options{Headers: [][2]string{{"X-Ratelimit-Remaining-Requests", "0"}, {"X-Ratelimit-Reset-Requests", "6m0s"}}})
	other := startMock(t, mock.Options{Text: "other"})
	p := newPool(t, upstream.Options{}, target(t, "a", m.URL, ""), target(t, "b", other.URL, ""))
	for i := range 3 {
		a, err := p.Do(background(t), call("model-a", "x", false))
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && (a.Target.ID != "b" || len(a.Rejected) != 1 || a.Rejected[0].Reason != "retry_after") {
			t.Errorf("request %d went to %s, rejected %v", i, a.Target.ID, a.Rejected)
		}
		a.Close()
	}
	if m.Count() != 1 {
		t.Errorf("a target that said it is exhausted was asked %d times", m.Count())
	}
}

func TestTargetLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(*upstream.Target, *rand.Rand) act { return act{wait: time.Second, text: "ok"} })
		ts := simTargets(1)
		ts[0].Limits = upstream.Limits{Concurrency: 2, RequestsPerMinute: 6, TokensPerMinute: 1000}
		p := newPool(t, upstream.Options{Transport: s}, ts...)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[string]int{}
		ask := func() {
			a, err := p.Do(t.Context(), simCall())
			var e *upstream.Error
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got["ok"]++
				a.Report(upstream.Report{PromptTokens: 100, CompletionTokens: 100})
				_ = a.Close()
			case errors.As(err, &e) && e.Status == 429 && e.RetryAfter > 0:
				got[e.Rejected[0].Reason]++
			default:
				got[err.Error()]++
			}
		}
		for range 5 {
			wg.Go(ask)
		}
		wg.Wait()
		if got["ok"] != 2 || got["concurrency"] != 3 {
			t.Errorf("%v", got)
		}
		clear(got)
		for range 5 {
			ask() // 1 s each
		}
		// 1,000 tokens: 400 used, each further one needs 100 at the start and settles 200.
		if got["ok"] != 4 && got["ok"] != 3 || got["token_limit"]+got["rate_limit"] == 0 {
			t.Errorf("%v", got)
		}
		if s.maxLive != 2 {
			t.Errorf("%d at the same time", s.maxLive)
		}
	})
}

func TestStrategies(t *testing.T) {
	firsts := func(t *testing.T, how upstream.Strategy, n int, prepare func([]*upstream.Target), key func(int) string) map[string]int {
		got := map[string]int{}
		synctest.Test(t, func(t *testing.T) {
			s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
				k := time.Duration(t.ID[1]-'0') + 1
				return act{wait: (4 - k) * 20 * time.Millisecond, gap: k * 10 * time.Millisecond, text: "one two three four"}
			})
			ts := simTargets(3)
			if prepare != nil {
				prepare(ts)
			}
			p := newPool(t, upstream.Options{Transport: s, Seed: 4, Routing: upstream.Routing{Strategy: how}}, ts...)
			for i := range n {
				c := simCall()
				if key != nil {
					c.Sticky = key(i)
				}
				a, err := p.Do(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = answerText(a)
				a.Report(upstream.Report{PromptTokens: 100, CompletionTokens: 100})
				a.Close()
				got[a.Target.ID]++
			}
		})
		return got
	}
	const n = 300
	near := func(got, want int) bool { return got > want*8/10-5 && got < want*12/10+5 }
	if g := firsts(t, upstream.Ordered, n, nil, nil); g["t0"] != n {
		t.Errorf("ordered %v", g)
	}
	if g := firsts(t, upstream.RoundRobin, n, nil, nil); g["t0"] != n/3 || g["t1"] != n/3 {
		t.Errorf("round_robin %v", g)
	}
	if g := firsts(t, upstream.Random, n, nil, nil); !near(g["t0"], n/3) || !near(g["t2"], n/3) {
		t.Errorf("random %v", g)
	}
	if g := firsts(t, upstream.Weighted, n, func(ts []*upstream.Target) { ts[1].Weight = 8 }, nil); !near(g["t1"], n*8/10) {
		t.Errorf("weighted %v", g)
	}
	for _, how := range []upstream.Strategy{upstream.Weighted, upstream.LeastBusy, upstream.UsageBased, upstream.Sticky} {
		g := firsts(t, how, n, func(ts []*upstream.Target) { ts[0].Weight = upstream.NoWeight }, func(i int) string { return fmt.Sprint("user-", i) })
		if g["t0"] != 0 || g["t1"]+g["t2"] != n {
			t.Errorf("%s, t0 without weight: %v", how, g)
		}
		if g := firsts(t, how, 9, func(ts []*upstream.Target) {
			for _, target := range ts {
				target.Weight = upstream.NoWeight
			}
		}, nil); g["t0"]+g["t1"]+g["t2"] != 9 {
			t.Errorf("%s, nobody with weight: %v", how, g)
		}
	}
	if g := firsts(t, upstream.LowestLatency, n, nil, nil); g["t2"] != n-10 {
		t.Errorf("lowest_latency %v", g)
	}
	if g := firsts(t, upstream.HighestThroughput, n, nil, nil); g["t0"] != n-10 {
		t.Errorf("highest_throughput %v", g)
	}
	if g := firsts(t, upstream.LowestCost, n, func(ts []*upstream.Target) { ts[0].Pricing = upstream.Pricing{} }, nil); g["t1"] != n {
		t.Errorf("lowest_cost %v", g)
	}
	if g := firsts(t, upstream.LowestCost, n, func(ts []*upstream.Target) { ts[2].Pricing = upstream.Pricing{Free: true} }, nil); g["t2"] != n {
		t.Errorf("lowest_cost with a free target %v", g)
	}
	if g := firsts(t, upstream.UsageBased, n, func(ts []*upstream.Target) { ts[2].Weight = 2 }, nil); !near(g["t2"], n/2) || !near(g["t0"], n/4) {
		t.Errorf("usage_based %v", g)
	}
	one := firsts(t, upstream.Sticky, n, nil, func(i int) string { return fmt.Sprint("user-", i%30) })
	if len(one) != 3 {
		t.Errorf("sticky used only %v", one)
	}
	if g := firsts(t, upstream.Sticky, 50, nil, func(int) string { return "the same" }); len(g) != 1 {
		t.Errorf("sticky moved %v", g)
	}
	for _, name := range []string{"ordered", "single", "lowest_latency", "highest-throughput", "round-robin", "lowest_cost", "random", "weighted", "least-busy", "usage_based", "sticky", "cost", "latency"} {
		if _, err := upstream.ParseStrategy(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := upstream.ParseStrategy("domain"); err == nil {
		t.Error("domain was accepted")
	}
}

// The share of a target that is out goes to all others.
func TestRoundRobinIsEvenWhenATargetIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t1" {
				return act{fail: upstream.ServerError}
			}
			return act{text: "x"}
		})
		p := newPool(t, upstream.Options{Transport: s, Routing: upstream.Routing{Strategy: upstream.RoundRobin}}, simTargets(4)...)
		got := map[string]int{}
		for i := range 340 {
			a, err := p.Do(t.Context(), simCall())
			if err != nil {
				t.Fatal(err)
			}
			a.Close()
			if i >= 40 {
				got[a.Target.ID]++
			}
		}
		if got["t0"] != 100 || got["t2"] != 100 || got["t3"] != 100 {
			t.Errorf("%v", got)
		}
	})
}

// The figure of an answer without stream is over all the time that it took.
func TestThroughputOfAnswersWithoutStream(t *testing.T) {
	m := startMock(t, mock.Options{Text: "x", First: mock.Duration(50 * time.Millisecond)})
	p := newPool(t, upstream.Options{}, target(t, "a", m.URL, ""))
	a, err := p.Do(background(t), call("model-a", "x", false))
	if err != nil {
		t.Fatal(err)
	}
	a.Report(upstream.Report{PromptTokens: 1, CompletionTokens: 100})
	a.Close()
	if got := p.Snapshot().Targets[0].TokensPerSecond; got < 20 || got > 2000 {
		t.Errorf("%v tokens a second", got)
	}
}

func TestLeastBusySpreadsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(*upstream.Target, *rand.Rand) act { return act{wait: time.Second, text: "x"} })
		p := newPool(t, upstream.Options{Transport: s, Routing: upstream.Routing{Strategy: upstream.LeastBusy}}, simTargets(3)...)
		var wg sync.WaitGroup
		for range 9 {
			wg.Go(func() {
				if a, err := p.Do(t.Context(), simCall()); err == nil {
					a.Close()
				}
			})
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		if s.started["t0"] != 3 || s.started["t1"] != 3 || s.started["t2"] != 3 {
			t.Errorf("%v", s.started)
		}
	})
}

func TestGroupsAndTheirFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{fail: upstream.Refused}
			}
			return act{text: "ok"}
		})
		ts := simTargets(3)
		for i := range ts {
			ts[i].Model = fmt.Sprint("model-", i)
		}
		p := newPool(t, upstream.Options{Transport: s, Groups: []upstream.Group{
			{Name: "fast", Aliases: []string{"quick"}, Members: []upstream.Member{{Target: "t0"}}, Fallback: "safe"},
			{Name: "safe", Members: []upstream.Member{{Target: "t2"}}, Fallback: "fast"},
		}}, ts...)
		for _, name := range []string{"fast", "quick"} {
			c := simCall()
			c.Model = name
			var models []string
			c.Body = func(_ *upstream.Target, model string) ([]byte, error) {
				models = append(models, model)
				return nil, nil
			}
			a, err := p.Do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if a.Target.ID != "t2" || !slices.Equal(models, []string{"model-0", "model-2"}) {
				t.Errorf("%s answered, models %v", a.Target.ID, models)
			}
			a.Close()
		}
		if want := []string{"fast", "model-0", "model-1", "model-2", "quick", "safe"}; !slices.Equal(p.ModelNames(), want) {
			t.Errorf("%v", p.ModelNames())
		}
	})
}

func TestAGroupsOwnStrategyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if down && t.ID != "t2" {
				return act{fail: upstream.Refused}
			}
			return act{text: "ok"}
		})
		ordered, single := upstream.Ordered, upstream.Single
		p := newPool(t, upstream.Options{Transport: s, Routing: upstream.Routing{Strategy: upstream.RoundRobin}, Groups: []upstream.Group{
			{Name: "ordered", Strategy: &ordered, Members: []upstream.Member{{Target: "t0"}, {Target: "t1"}}},
			{Name: "single", Strategy: &single, Members: []upstream.Member{{Target: "t0"}, {Target: "t1"}}, Fallback: "safe"},
			{Name: "safe", Members: []upstream.Member{{Target: "t2"}}},
		}}, simTargets(3)...)
		ask := func(group string) (string, string) {
			c := simCall()
			c.Model = group
			a, err := p.Do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			return a.Target.ID, classes(a.Attempts)
		}
		for range 4 {
			if id, _ := ask("ordered"); id != "t0" {
				t.Errorf("an ordered group asked %s first", id)
			}
		}
		down = true
		if _, got := ask("single"); got != "t0:connect t2:ok" {
			t.Errorf("a single group with a fallback group: %s", got)
		}
	})
}

func TestFallbackListMeansExactlyThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(1, func(t *upstream.Target, _ *rand.Rand) act {
			if t.ID == "t0" {
				return act{fail: upstream.Refused}
			}
			return act{text: "ok"}
		})
		for _, f := range []upstream.Fallback{{On: []upstream.ErrorClass{upstream.RateLimit}}, {Disabled: true}} {
			p := newPool(t, upstream.Options{Transport: s, Fallback: f}, simTargets(2)...)
			if _, err := p.Do(t.Context(), simCall()); err == nil {
				t.Errorf("%+v fell back", f)
			}
		}
	})
}

func TestActiveHealthEjectsAndBringsBack(t *testing.T) {
	m := startMock(t, mock.Options{})
	other := startMock(t, mock.Options{Text: "other"})
	var mu sync.Mutex
	var seen []bool
	p := newPool(t, upstream.Options{Health: upstream.ActiveHealth{Interval: 5 * time.Millisecond, Timeout: time.Second, Unhealthy: 2},
		Hooks: upstream.Hooks{Eject: func(i int, on bool) {
			mu.Lock()
			if i == 0 {
				seen = append(seen, on)
			}
			mu.Unlock()
		}}}, target(t, "a", m.URL, "k"), target(t, "b", other.URL, "k"))
	waitFor(t, func() bool { return p.Snapshot().Targets[0].Check == "ok" })
	m.SetAccept(mock.RSTAccept)
	m.CloseConns()
	waitFor(t, func() bool { return p.Snapshot().Targets[0].Status == "unhealthy" })
	a, err := p.Do(background(t), call("model-a", "x", false))
	if err != nil || a.Target.ID != "b" || a.Rejected[0].Reason != "unhealthy" {
		t.Fatalf("%v %v", a, err)
	}
	a.Close()
	m.SetAccept(mock.None)
	waitFor(t, func() bool { return p.Snapshot().Targets[0].Status == "healthy" })
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen, []bool{true, false}) {
		t.Errorf("%v", seen)
	}
}
