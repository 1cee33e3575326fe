package upstream

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/keeptrusts/kt/stream/dialect"
)

// Strategy says in which order targets are asked.
type Strategy uint8

// The strategies.
const (
	Ordered Strategy = iota
	Single           // the first target only
	LowestLatency
	HighestThroughput
	RoundRobin
	LowestCost
	Random
	Weighted
	LeastBusy
	UsageBased
	Sticky
)

// Group is a model name that clients use over several targets.
type Group struct {
	Name     string
	Aliases  []string
	Members  []Member
	Strategy *Strategy // nil: the pool's
	Fallback string    // name of the group to go on with, whatever the strategy; empty for none
}

// Member is a target of a group.
type Member struct {
	Target string // id
	Weight int    // 0: the target's; NoWeight
}

// Routing selects targets.
type Routing struct {
	Strategy   Strategy
	Window     time.Duration // of the measured figures; 5 min
	MinSamples int           // before a target is ranked by its figures; 5
	MaxLatency time.Duration // lowest_latency: targets slower than this go last; 0: no limit
	MaxCost    int64         // lowest_cost: targets dearer than this (micro units per 1,000 tokens, input plus output) are rejected; 0: no limit
}

// Fallback says what goes to the next target. The zero value falls back on every fault of a target.
type Fallback struct {
	Disabled    bool
	On          []ErrorClass // exactly these; nil: every fault of the target
	MaxAttempts int          // targets tried for one request, the first included; 4
	SameModel   bool         // only targets that serve the model asked for; else the others too, with their own model
}

// Retry asks the same target again before the next one, whatever Fallback says. The zero value does not.
type Retry struct {
	MaxAttempts    int           // attempts per target, the first included; 0 and 1: no retry
	InitialBackoff time.Duration // 200 ms
	MaxBackoff     time.Duration // 2 s
	Budget         float64       // share of requests that may ask a target again; 0.2. It never stops a target that was not asked yet.
}

// Probe starts further targets while the first one is still silent; the first
// valid content wins and the others are cancelled. A target that loses five
// times in a row (Breaker.Failures) to attempts that began later is asked last
// for Breaker.Cooldown, so that a slow target does not use up the budget. The
// zero value is off.
type Probe struct {
	Enabled     bool
	After       time.Duration // 0: the target's own p95 of the time to the first content; until it has 20 samples 2 s, or 10 s without stream
	MaxParallel int           // attempts at the same time; 2
	Budget      float64       // share of requests that may start one; 0.1
	PerRequest  int           // probes of one request; 1
}

// Breaker stops asking a target that fails. The zero value is on with the defaults.
type Breaker struct {
	Disabled    bool
	Failures    int           // in a row; 5
	Cooldown    time.Duration // 30 s
	HalfOpenMax int           // attempts at the same time while half-open; 1
}

// Outlier ejects targets most of whose attempts fail, even if never enough in a
// row to open the breaker. The zero value is on with the defaults; one target of
// one is never ejected.
type Outlier struct {
	Disabled   bool
	MinShare   float64       // failures of the target's attempts in the window; 0.5
	MinCalls   int           // attempts in the window before a target is judged; 20
	Eject      time.Duration // first ejection, doubled each time up to 5 min; anew after Routing.Window without one; 30 s
	MaxEjected float64       // share of targets that may be ejected; 0.5
}

// ActiveHealth asks targets for a sign of life. The zero value is off.
type ActiveHealth struct {
	Interval  time.Duration // 0: off. Each round begins up to 20 % later.
	Timeout   time.Duration // 5 s
	Unhealthy int           // failures in a row that eject a target; 3
	Healthy   int           // successes in a row that bring it back; 1
	Complete  bool          // ask for a completion of one token instead of the list of models: it costs
}

// Options of a pool. The zero value is ready to use.
type Options struct {
	Transport Transport       // nil: NewTransport
	Dialect   dialect.Dialect // reads events and answers; nil: chat completions
	Routing   Routing
	Groups    []Group
	Fallback  Fallback
	Retry     Retry
	Probe     Probe
	Breaker   Breaker
	Outlier   Outlier
	Health    ActiveHealth
	Hooks     Hooks
	Seed      uint64 // of random choices and jitter; 0: random
}

// Hooks are called when something is counted. Nil ones are not called. They
// must not block, nor call the pool: some are called under a target's lock. target is the position in New's list.
type Hooks struct {
	Attempt func(target int, class ErrorClass, took time.Duration)         // an attempt ended; took is until its first content, or its failure before that
	Fall    func(from, to int, class ErrorClass)                           // a fallback started
	Probe   func(target int)                                               // a probe started
	Breaker func(target int, state BreakerState)                           // the breaker changed
	Eject   func(target int, ejected bool)                                 // ejection by outlier detection or active health began, or the last of them ended
	Wasted  func(target int, promptTokens, completionTokens, micros int64) // what a losing attempt cost, estimated
}

// BreakerState of a target.
type BreakerState uint8

// The states.
const (
	Closed BreakerState = iota
	HalfOpen
	Opened
)

func (s BreakerState) String() string {
	return [...]string{"closed", "half_open", "open"}[min(s, 2)]
}

// Call is one client request.
type Call struct {
	Path   string // OpenAI's path, such as /v1/chat/completions
	Model  string // the client's
	Stream bool
	Header http.Header // the client's; only names on the allow-list go on

	// Body gives the request body with model in it; model is the client's when
	// the target has none of its own. It is called once per attempt, never
	// concurrently, and only before Do or Replace return. What it gives must stay
	// unchanged until the Answer is closed, or until Do returned an error.
	Body func(t *Target, model string) ([]byte, error)

	Dialect dialect.Dialect // reads the answer; nil: the pool's
	Opaque  bool            // the answer is not read: its status and content type decide, as for embeddings

	Sticky       string // key of the sticky strategy, such as a user id; empty: none
	PromptTokens int64  // estimate, for limits and cost; 0: body bytes / 4
	MaxTokens    int64  // what the client lets the model write; 0: unknown
}

// Attempt is one request to one target.
type Attempt struct {
	Target   *Target
	Index    int           // position in New's list
	Model    string        // sent
	Class    ErrorClass    // OK for the winner, Lost for an attempt that was cancelled because another won
	Status   int           // 0: no response
	Started  time.Duration // after the call began
	Duration time.Duration // until it failed, lost, or gave its first content
	Probe    bool          // started while another attempt was running
	Err      error         // nil when OK or Lost; its text holds no key and nothing the client sent

	PromptTokens, CompletionTokens, CostMicros int64 // of a lost attempt: estimated waste
}

// Rejected is a target that was not asked.
type Rejected struct {
	Target *Target
	Reason string // breaker_open, ejected, concurrency, rate_limit, token_limit, retry_after, max_cost, other_model, max_attempts
	Own    bool   // it is at a limit of its Limits: concurrency, rate_limit, token_limit
}

// Answer is the first valid answer. Of a stream it is an answer whose first
// event with content has arrived; Body begins with the stream's first byte. Of
// another call Body is complete and valid JSON. Status is 200, or a 4xx that is
// the client's own fault, with the target's error object as Body.
type Answer struct {
	Status   int
	Header   http.Header // x-request-id and rate-limit headers only
	Target   *Target
	Index    int            // position of Target in New's list
	Model    string         // that was sent
	Stream   bool           // Body is an event stream
	Whole    []byte         // the body when Stream is false; valid until Close
	Parsed   *dialect.Chunk // what the call's dialect read in Whole, when it was read; valid until Close
	Attempts []Attempt
	Rejected []Rejected
	Routed   Strategy // strategy that chose the order

	// Body reads the answer. Errors are *Failure. It belongs to one goroutine.
	Body io.ReadCloser

	cs *callState
	b  *body
}

// Report is what the caller learned from an answer.
type Report struct {
	PromptTokens, CompletionTokens int64
	Class                          ErrorClass // OK, or how the answer failed after it had won, e.g. Cut or MidStreamError
}

// Error tells that no target answered.
type Error struct {
	Status     int    // 404, 429, 502, 503; 499 when the client went away
	Code       string // model_not_found, rate_limit_exceeded, upstream_error, no_target_available, client_closed_request
	RetryAfter time.Duration
	Attempts   []Attempt
	Rejected   []Rejected

	cause error
}

// Router is what the gateway needs of a Pool.
type Router interface {
	// Do finds an answer. The error is *Error; its Status is 499 when ctx ended.
	// ctx must live until the answer is closed.
	Do(ctx context.Context, c Call) (*Answer, error)
	// Serves tells whether some target or group serves the model.
	Serves(model string) bool
	// ModelNames gives what clients may ask for, sorted.
	ModelNames() []string
}
