// Package upstream sends a call to one of several targets: it selects, tries,
// falls back, and hands back the first valid answer. A target is a configured
// endpoint of one provider. Nothing of an answer is interpreted beyond what
// tells a valid one from a failure; policies see the same bytes afterwards.
//
// Cost per call: one write and as few reads as the answer has pieces, in the
// caller's goroutine; one goroutine per attempt when probing is on or the request
// is large; no timer; one parse of the events up to the first one with content.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keeptrusts/kt/upstream/provider"
)

// NoWeight is the weight of a target that the weighted strategies (weighted,
// sticky, least_busy, usage_based) ask only when no other target can be asked.
const NoWeight = -1

// Target is one configured endpoint. It does not change after New.
type Target struct {
	ID       string
	Provider *provider.Row // nil: the row "openai"
	BaseURL  string        // empty: the provider's; with or without a trailing /v1
	Model    string        // sent upstream; empty: the client's model goes on
	Models   []string      // further model names that clients may ask this target for
	Key      Key           // goes only to the origin it was made for

	AllowPrivate    bool // the connected address may be loopback or private; permits plain http to loopback
	UnsafeAllowHTTP bool // plain http to any address
	Proxy           string

	Header       http.Header // sent with each request; never Authorization or the like
	PathTemplate string      // replaces the built path; may hold {model}
	Deployment   string      // azure-openai; empty: Model
	APIVersion   string      // azure-openai; empty: the row's

	Timeouts Timeouts
	Limits   Limits
	Pricing  Pricing
	Weight   int // of weighted strategies; 0 means 1, NoWeight nothing

	ContextWindow bool // asked when another target said that the request is too long for it
}

// Timeouts bound one attempt. Zero fields take the defaults, negative ones switch a limit off.
type Timeouts struct {
	Connect      time.Duration // name, TCP, proxy and TLS; 3 s
	FirstByte    time.Duration // from there to the whole response header of a stream; 30 s
	WholeAnswer  time.Duration // the same for a call without stream, whose header comes when the answer is ready; 5 min
	BetweenBytes time.Duration // longest silence inside the body, up to a 32nd or a second more; 60 s
	Total        time.Duration // the whole attempt; 10 min
}

// Limits bound what a target is asked and what it may send. Zero fields take the default or mean no limit.
type Limits struct {
	MaxHeader int   // bytes of response header; 64 KiB
	MaxBody   int64 // bytes of an answer without stream or of an error body; 32 MiB
	MaxStream int64 // bytes of a stream; 256 MiB
	MaxEvent  int   // bytes of one event; 4 MiB

	Concurrency       int   // attempts in flight; 0: no limit
	RequestsPerMinute int   // 0: no limit
	TokensPerMinute   int64 // 0: no limit
}

// Pricing is in micro units of the account's currency per 1,000 tokens.
type Pricing struct {
	InputPer1K, OutputPer1K int64
	Free                    bool // prices of 0 are known to be so; else they mean that no price is known
}

// Request is one HTTP request to a target.
type Request struct {
	Method string      // empty: POST
	Path   string      // OpenAI's path, such as /v1/chat/completions; the provider's row maps it
	Header http.Header // the client's; only names on the allow-list go on
	Body   []byte      // not read any more after an error or after Response.Body.Close
	Model  string      // model in the body, for paths that hold it
	Stream bool        // an event stream is expected
}

// Response is an answer whose header is read. Body must be closed; closing it
// before its end, and every anomaly, drops the connection.
type Response struct {
	Status int
	Header http.Header // the fields that kt reads: type, encoding, retry-after, request id, rate limits
	Body   io.ReadCloser
}

// Transport sends one request to one target. Cancelling ctx closes the
// connection at once, before and after Do returned. Errors are *Failure.
type Transport interface {
	Do(ctx context.Context, t *Target, r Request) (*Response, error)
}

// ErrorClass says in one word how an attempt ended.
type ErrorClass uint8

// The classes.
const (
	OK             ErrorClass = iota
	Refused                   // connection refused, unreachable, name not found
	TLS                       // handshake or certificate
	RefusedAddress            // the address is private and the target does not allow that
	TimeoutConnect
	TimeoutFirstByte
	TimeoutBetweenBytes
	TimeoutTotal
	Reset          // connection closed or reset before the answer was complete
	BadResponse    // not HTTP, or an answer that HTTP does not allow
	Encoded        // a content encoding that was not asked for
	TooLarge       // past a limit of size
	Redirect       // 3xx: never followed
	BadContentType // e.g. HTML where JSON or an event stream was asked for
	BadEvent       // an event or an answer that is not valid for the dialect
	Cut            // the stream ended without its end marker
	FirstEventError
	MidStreamError
	InvalidRequest // 400, 413, 422 and other 4xx: the client's
	ContextLength  // the request is too long for this model
	Auth           // 401, 403
	NotFound       // 404
	RequestTimeout // 408
	RateLimit      // 429
	ServerError    // 5xx
	Overloaded     // 503, 529
	NoCapacity     // not sent: a limit of ours
	Open           // not sent: the breaker is open
	Lost           // another attempt won
	Cancelled      // the client went away
	Config         // not sent: the request could not be built
	NumClasses
)

var classNames = [NumClasses]string{
	"ok", "connect", "tls", "refused_address", "timeout_connect", "timeout_first_byte", "timeout_between_bytes",
	"timeout_total", "reset", "bad_response", "encoded", "too_large", "redirect", "bad_content_type", "bad_event", "cut",
	"first_event_error", "mid_stream_error", "invalid_request", "context_length", "auth", "not_found", "request_timeout",
	"rate_limit", "server_error", "overloaded", "no_capacity", "breaker_open", "lost", "cancelled", "config",
}

func (c ErrorClass) String() string {
	if c < NumClasses {
		return classNames[c]
	}
	return "class?"
}

// Failure is why an attempt brought no answer. Its text holds no key, no
// request text and nothing that the target sent but a status.
type Failure struct {
	Class      ErrorClass
	Status     int           // of the response, 0 when there was none
	RetryAfter time.Duration // from the response, 0 when it gave none
	Err        error         // nil when the status says it all
}

func (f *Failure) Error() string {
	switch {
	case f.Err != nil && f.Status != 0:
		return fmt.Sprintf("%s (status %d): %v", f.Class, f.Status, f.Err)
	case f.Err != nil:
		return fmt.Sprintf("%s: %v", f.Class, f.Err)
	case f.Status != 0:
		return fmt.Sprintf("%s (status %d)", f.Class, f.Status)
	}
	return f.Class.String()
}

func (f *Failure) Unwrap() error { return f.Err }

// ClassOf gives the class of an error that came out of this package.
func ClassOf(err error) ErrorClass {
	var f *Failure
	switch {
	case err == nil:
		return OK
	case errors.As(err, &f):
		return f.Class
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return BadResponse
}
