package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/sse"
)

// try is one attempt of a call, from its start to its first content.
type try struct {
	cs       *callState
	s        *state
	at       int // position in cs.attempts
	permit   permit
	lastTry  bool
	probe    bool
	model    string
	body     []byte
	reserved int64 // tokens
	started  time.Time
	ctx      context.Context
	cancel   context.CancelFunc
	due      bool         // the time to probe beside it has come
	phase    atomic.Int32 // running, delivered or abandoned

	// The result; written before phase becomes delivered.
	fail   *Failure // nil: won
	status int
	header http.Header
	src    io.ReadCloser // rest of a stream's body
	read   *buf.Buffer   // the stream's bytes so far, or the whole body
	parsed *scratch      // holds what was read in a whole body; nil: nothing
	gave   time.Time     // when the first content was there
}

const (
	running int32 = iota
	delivered
	abandoned
)

// scratch is what reading the first events needs.
type scratch struct {
	framer sse.Framer
	parser dialect.Scratch
	stream dialect.Stream
	chunk  dialect.Chunk
}

// maxErrorBody is how much of an error's body is read.
const maxErrorBody = 256 << 10

// run sends the request and reads up to the first content.
func (y *try) run() {
	y.fail = y.send()
	y.gave = time.Now()
	if y.fail != nil && y.src != nil {
		_ = y.src.Close()
		y.src = nil
	}
	if y.fail != nil && y.fail.Class != InvalidRequest && y.fail.Class != ContextLength {
		y.drop()
	}
}

// drop frees the bytes read, and what was read in them.
func (y *try) drop() {
	buf.Put(y.read)
	y.read = nil
	if y.parsed != nil {
		y.cs.p.putScratch(y.parsed)
		y.parsed = nil
	}
}

func (y *try) send() *Failure {
	if y.ctx.Err() != nil { // abandoned before it began
		return &Failure{Class: Cancelled, Err: context.Canceled}
	}
	c := &y.cs.c
	resp, err := y.cs.p.opt.Transport.Do(y.ctx, y.s.Target, Request{
		Path: c.Path, Header: c.Header, Body: y.body, Model: y.model, Stream: c.Stream,
	})
	if err != nil {
		return y.failureOf(err)
	}
	y.status, y.header, y.src = resp.Status, resp.Header, resp.Body
	y.s.noteRates(resp.Status, resp.Header, time.Now())
	media := mediaType(resp.Header.Get("Content-Type"))
	isJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	switch {
	case resp.Status < 200 || resp.Status >= 300:
		return y.refused(isJSON)
	case c.Stream && media == "text/event-stream":
		return y.firstEvent()
	case c.Stream && isJSON:
		// A JSON body instead of events is an error object, or not what was asked for.
		return y.whole(true)
	case !c.Stream && isJSON:
		return y.whole(false)
	}
	return &Failure{Class: BadContentType, Status: resp.Status, Err: errors.New("read answer: content type is not what was asked for")}
}

// mediaType gives type and subtype without parameters, in lower case; empty when
// there is none.
func mediaType(v string) string {
	switch v {
	case "application/json", "text/event-stream":
		return v
	}
	m, _, _ := mime.ParseMediaType(v)
	return m
}

func (y *try) failureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	if y.ctx.Err() != nil {
		return &Failure{Class: Cancelled, Err: context.Canceled}
	}
	return classify(err)
}

// readAll reads the whole body, at most limit bytes.
func (y *try) readAll(limit int64) *Failure {
	y.read = buf.Get(4 << 10)
	for {
		buf.Grow(y.read, 1)
		b := y.read.B
		n, err := y.src.Read(b[len(b):cap(b)])
		y.read.B = b[:len(b)+n]
		if int64(len(y.read.B)) > limit {
			return &Failure{Class: TooLarge, Status: y.status, Err: errors.New("read answer: body is larger than the limit")}
		}
		if errors.Is(err, io.EOF) {
			_ = y.src.Close()
			y.src = nil
			return nil
		}
		if err != nil {
			return y.failureOf(err)
		}
	}
}

// whole reads and checks an answer that is not a stream.
func (y *try) whole(onlyError bool) *Failure {
	if f := y.readAll(y.s.Limits.withDefaults().MaxBody); f != nil {
		return f
	}
	if y.cs.c.Opaque {
		if onlyError {
			return &Failure{Class: BadContentType, Status: y.status, Err: errors.New("read answer: JSON instead of an event stream")}
		}
		return nil
	}
	sc := y.cs.p.getScratch()
	defer func() {
		if y.parsed != sc {
			y.cs.p.putScratch(sc)
		}
	}()
	err := y.cs.dialect().ParseResponse(&sc.parser, y.read.B, &sc.chunk)
	switch {
	case err != nil:
		return &Failure{Class: BadEvent, Status: y.status, Err: errors.New("read answer: not valid JSON of this API")}
	case sc.chunk.HasError:
		return y.byError(&sc.chunk, y.read.B, ServerError)
	case onlyError:
		return &Failure{Class: BadContentType, Status: y.status, Err: errors.New("read answer: JSON instead of an event stream")}
	case sc.chunk.Choices == 0 && !sc.chunk.HasText && len(sc.chunk.Finishes) == 0:
		return &Failure{Class: BadEvent, Status: y.status, Err: errors.New("read answer: it has no choice")}
	}
	y.parsed = sc // drop puts it back
	return nil
}

// firstEvent reads events up to the first one with content, or up to a proper
// end: an answer may be empty.
func (y *try) firstEvent() *Failure {
	sc := y.cs.p.getScratch()
	defer y.cs.p.putScratch(sc)
	limit := y.s.Limits.withDefaults().MaxEvent
	sc.framer.Max = limit
	y.read = buf.Get(4 << 10)
	seen := false
	for {
		buf.Grow(y.read, 512)
		b := y.read.B
		n, err := y.src.Read(b[len(b):cap(b)])
		y.read.B = b[:len(b)+n]
		fresh := y.read.B[len(b):]
		for len(fresh) > 0 {
			ev, k, ok, ferr := sc.framer.Next(fresh)
			if ferr != nil {
				return &Failure{Class: TooLarge, Status: y.status, Err: errors.New("read stream: event is larger than the limit")}
			}
			fresh = fresh[k:]
			if !ok {
				continue
			}
			if y.cs.c.Opaque {
				return nil
			}
			perr := y.cs.dialect().ParseEvent(&sc.parser, &sc.stream, ev.Name, ev.Data, &sc.chunk)
			switch {
			case perr != nil:
				return &Failure{Class: BadEvent, Status: y.status, Err: errors.New("read stream: event is not valid for this API")}
			case sc.chunk.HasError:
				f := y.byError(&sc.chunk, ev.Data, FirstEventError)
				if f.Class == InvalidRequest || f.Class == ContextLength {
					whole := buf.Get(len(ev.Data))
					whole.B = append(whole.B, ev.Data...)
					y.drop()
					y.read = whole
				}
				return f
			case sc.chunk.HasText, len(sc.chunk.Finishes) > 0:
				return nil
			case sc.chunk.Terminal:
				if seen {
					return nil
				}
				return &Failure{Class: BadEvent, Status: y.status, Err: errors.New("read stream: it ends without a choice")}
			}
			seen = seen || sc.chunk.Choices > 0
		}
		if len(y.read.B) > limit+maxErrorBody {
			return &Failure{Class: TooLarge, Status: y.status, Err: errors.New("read stream: no content within the limit")}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return &Failure{Class: Cut, Status: y.status, Err: errors.New("read stream: it ended before its first content")}
		default:
			return y.failureOf(err)
		}
	}
}

// refused reads an error status.
func (y *try) refused(isJSON bool) *Failure {
	f := &Failure{Status: y.status, RetryAfter: RetryAfter(y.header, time.Now())}
	switch s := y.status; {
	case s == 400 || s == 413 || s == 422 || s == 451:
		f.Class = InvalidRequest
	case s == 401 || s == 402 || s == 403 || s == 407:
		f.Class = Auth
	case s == 408:
		f.Class = RequestTimeout
	case s == 429:
		f.Class = RateLimit
	case s == 503 || s == 529:
		f.Class = Overloaded
	case s >= 500, s == 409, s == 423, s == 425:
		f.Class = ServerError
	default:
		f.Class = NotFound
	}
	if f.Class != InvalidRequest {
		return f
	}
	// The status says whose fault it is, whatever the body is. A body that is no
	// JSON of this API (a proxy's page) does not go on: nobody could scan it.
	if !isJSON {
		f.Err = errors.New("read error: its body is not JSON")
		return f
	}
	if bad := y.readAll(maxErrorBody); bad != nil {
		if bad.Class == Cancelled {
			return bad
		}
		y.drop()
		f.Err = bad.Err
		return f
	}
	sc := y.cs.p.getScratch()
	defer y.cs.p.putScratch(sc)
	if err := y.cs.dialect().ParseResponse(&sc.parser, y.read.B, &sc.chunk); err != nil {
		y.drop()
		f.Err = errors.New("read error: its body is not valid JSON")
		return f
	}
	if sc.chunk.HasError && isContextLength(&sc.chunk, y.read.B) {
		f.Class = ContextLength
	}
	return f
}

// byError gives the class of an error object that came with status 200.
func (y *try) byError(c *dialect.Chunk, raw []byte, unknown ErrorClass) *Failure {
	f := &Failure{Class: unknown, Status: y.status, RetryAfter: RetryAfter(y.header, time.Now())}
	code, typ := c.Failure.Code.Of(raw), c.Failure.Type.Of(raw)
	if isContextLength(c, raw) {
		f.Class = ContextLength
	} else if n, err := strconv.Atoi(string(code)); err == nil {
		f.Class = classOfCode(n, unknown)
	} else if f.Class = classOfWord(code); f.Class == OK {
		if f.Class = classOfWord(typ); f.Class == OK {
			f.Class = unknown
		}
	}
	if f.Class == InvalidRequest || f.Class == ContextLength {
		y.status = http.StatusBadRequest
	}
	return f
}

func classOfCode(n int, unknown ErrorClass) ErrorClass {
	switch {
	case n == 400 || n == 413 || n == 422:
		return InvalidRequest
	case n == 401 || n == 402 || n == 403:
		return Auth
	case n == 404:
		return NotFound
	case n == 408:
		return RequestTimeout
	case n == 429:
		return RateLimit
	case n == 503 || n == 529:
		return Overloaded
	case n >= 500 && n < 600:
		return ServerError
	}
	return unknown
}

// words of error codes and types, in the order in which they are looked for.
var words = []struct {
	word  string
	class ErrorClass
}{
	{"rate_limit", RateLimit}, {"too_many_requests", RateLimit}, {"quota", RateLimit}, {"throttl", RateLimit},
	{"overloaded", Overloaded}, {"unavailable", Overloaded}, {"capacity", Overloaded},
	{"api_key", Auth}, {"authentication", Auth}, {"permission", Auth}, {"unauthorized", Auth}, {"billing", Auth}, {"forbidden", Auth},
	{"model_not_found", NotFound}, {"not_found", NotFound},
	{"timeout", RequestTimeout},
	{"server_error", ServerError}, {"internal", ServerError}, {"api_error", ServerError},
	{"invalid_request", InvalidRequest}, {"invalid_prompt", InvalidRequest}, {"content_filter", InvalidRequest}, {"content_policy", InvalidRequest}, {"bad_request", InvalidRequest},
}

func classOfWord(w []byte) ErrorClass {
	w = bytes.ToLower(w)
	for _, x := range words {
		if bytes.Contains(w, []byte(x.word)) {
			return x.class
		}
	}
	return OK
}

func isContextLength(c *dialect.Chunk, raw []byte) bool {
	if bytes.Contains(bytes.ToLower(c.Failure.Code.Of(raw)), []byte("context_length")) {
		return true
	}
	msg := bytes.ToLower(c.Failure.Message.Of(raw))
	for _, w := range []string{"maximum context length", "context window", "context length", "prompt is too long"} {
		if bytes.Contains(msg, []byte(w)) {
			return true
		}
	}
	return false
}

// maxBlock is how long a target's word keeps us from asking it: one that says
// "in six hours" is asked again each minute.
const maxBlock = time.Minute

// noteRates reads Retry-After and the x-ratelimit headers of OpenAI's form.
func (s *state) noteRates(status int, h http.Header, now time.Time) {
	after := time.Duration(0)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || status == 529 {
		after = RetryAfter(h, now)
	}
	requests, okR := headerInt(h, "X-Ratelimit-Remaining-Requests")
	tokens, okT := headerInt(h, "X-Ratelimit-Remaining-Tokens")
	if after == 0 && !okR && !okT {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if after > 0 {
		s.blocked = now.Add(min(after, maxBlock))
	}
	if okR {
		if s.remainRequests = requests; requests <= 0 {
			if d, ok := resetIn(h.Get("X-Ratelimit-Reset-Requests"), now); ok && now.Add(d).After(s.blocked) {
				s.blocked = now.Add(min(d, maxBlock))
			}
		}
	}
	if okT {
		s.tokensUntil = time.Time{}
		if d, ok := resetIn(h.Get("X-Ratelimit-Reset-Tokens"), now); ok {
			s.tokens, s.tokensUntil = tokens, now.Add(min(d, maxBlock))
		}
	}
}

func headerInt(h http.Header, name string) (int64, bool) {
	v := h[name]
	if len(v) != 1 {
		return 0, false
	}
	n, err := strconv.ParseInt(v[0], 10, 64)
	return n, err == nil
}

// resetIn reads "1s", "6m0s", "20ms", seconds, or a Unix time. More than an
// hour is not believed.
func resetIn(v string, now time.Time) (time.Duration, bool) {
	if v == "" {
		return 0, false
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || f < 0 || f > 1e11 {
			return 0, false
		}
		switch {
		case f > 1e10: // milliseconds since 1970
			d = time.UnixMilli(int64(f)).Sub(now)
		case f > 1e8: // seconds since 1970
			d = time.Unix(int64(f), 0).Sub(now)
		default:
			d = time.Duration(f * float64(time.Second))
		}
	}
	return max(0, min(d, time.Hour)), true
}
