package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudwego/hertz/pkg/common/hlog"

	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/upstream"
)

const levelInfo = slog.LevelInfo

// requestAttrs are the fields of the access line. None of them is text of a
// message, and the model is a configured name or a constant (shown). A client's
// own word (its request id) is of a plain form.
func requestAttrs(r *audit.Record) []slog.Attr {
	out := []slog.Attr{
		slog.String("request_id", r.RequestID), slog.String("model", bounded(r.Model)), slog.String("provider", r.Provider),
		slog.String("target", r.Target), slog.Int("status", r.Status), slog.String("outcome", r.Outcome), slog.Bool("stream", r.Stream),
		slog.Float64("latency_ms", float64(r.Latency)/float64(time.Millisecond)),
		slog.Int64("input_tokens", r.InputTokens), slog.Int64("output_tokens", r.OutputTokens),
		slog.String("policy_action", string(r.Verdict)),
	}
	if r.Policy != "" {
		out = append(out, slog.String("policy", r.Policy), slog.String("reason_code", r.Reason), slog.String("phase", r.Phase))
	}
	return out
}

// warnEvery is how often the log warns of one target for one reason.
const warnEvery = time.Minute

// Reasons to warn of a target.
const (
	warnUnreachable = iota
	warnAuth
	warnReasons
)

// warned is when the log warned of a target, by reason, in ns since 1970.
type warned [warnReasons]atomic.Int64

// warn warns of an attempt that got no connection, or whose key was refused,
// once in a while for each target. What it says is configured or a fixed text:
// no address, no key, nothing that anybody sent.
func (g *Gateway) warn(a *upstream.Attempt) {
	why := warnUnreachable
	switch a.Class {
	case upstream.Refused, upstream.TLS, upstream.RefusedAddress, upstream.TimeoutConnect:
	case upstream.Auth:
		why = warnAuth
	default:
		return
	}
	if a.Index < 0 || a.Index >= len(g.warned) {
		return
	}
	at := &g.warned[a.Index][why]
	now, last := g.o.Now().UnixNano(), at.Load()
	if last != 0 && now-last < int64(warnEvery) || !at.CompareAndSwap(last, now) {
		return
	}
	if why == warnAuth {
		g.log.Warn("the provider refuses the key of a target", "provider", providerOf(a.Target), "target", a.Target.ID, "class", a.Class.String(), "status", a.Status)
		return
	}
	cause := "no connection in time"
	var f *upstream.Failure
	if errors.As(a.Err, &f) && f.Err != nil {
		cause = f.Err.Error()
	}
	g.log.Warn("a target cannot be reached", "provider", providerOf(a.Target), "target", a.Target.ID, "class", a.Class.String(), "cause", cause)
}

// maxWord is how many bytes of a configured word a log line has at the most.
const maxWord = 128

// bounded makes a configured word fit for a log line: at most maxWord bytes, nothing
// that a terminal acts on (slog's JSON leaves the C1 controls as they are).
func bounded(s string) string {
	if len(s) > maxWord {
		s = s[:maxWord]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// LogHandler writes JSON lines as slog's own handler does. The gateway writes the
// access line to it by hand, in a fifth of the time.
type LogHandler struct {
	slog.Handler
	w *lines
}

// lines is the writer of whole lines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// NewLogHandler gives a handler that writes to w, one line per call.
func NewLogHandler(w io.Writer, level slog.Leveler) *LogHandler {
	l := &lines{w: w}
	return &LogHandler{Handler: slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}), w: l}
}

// appendAccess appends the access line that slog's JSON handler writes for
// requestAttrs. false: a value needs escapes, which are slog's business.
func appendAccess(b []byte, at time.Time, level slog.Level, r *audit.Record) ([]byte, bool) {
	ok := true
	text := func(key, v string) {
		ok = ok && isPlain(v)
		b = append(append(append(b, key...), v...), '"')
	}
	b = append(b, `{"time":"`...)
	b = at.AppendFormat(b, time.RFC3339Nano)
	text(`","level":"`, level.String())
	text(`,"msg":"request","request_id":"`, r.RequestID)
	ok = ok && len(r.Model) <= maxWord
	text(`,"model":"`, r.Model)
	text(`,"provider":"`, r.Provider)
	text(`,"target":"`, r.Target)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	text(`,"outcome":"`, r.Outcome)
	b = strconv.AppendBool(append(b, `,"stream":`...), r.Stream)
	b = append(b, `,"latency_ms":`...)
	ns := int64(r.Latency)
	ok = ok && ns >= 0 && ns < 1<<50 // the float's digits are those of the number
	b = strconv.AppendInt(b, ns/1e6, 10)
	if rest := ns % 1e6; rest != 0 {
		digits := strconv.AppendInt(b, 1e6+rest, 10) // the 1 keeps the zeros in front
		digits[len(b)] = '.'
		for b = digits; b[len(b)-1] == '0'; {
			b = b[:len(b)-1]
		}
		ok = ok && ns >= 1000 // smaller floats are written with an exponent
	}
	b = strconv.AppendInt(append(b, `,"input_tokens":`...), r.InputTokens, 10)
	b = strconv.AppendInt(append(b, `,"output_tokens":`...), r.OutputTokens, 10)
	text(`,"policy_action":"`, string(r.Verdict))
	if r.Policy != "" {
		text(`,"policy":"`, r.Policy)
		text(`,"reason_code":"`, r.Reason)
		text(`,"phase":"`, r.Phase)
	}
	return append(b, '}', '\n'), ok
}

// isPlain tells that JSON writes s as it is.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// QuietHertz sends Hertz's own log lines to l: its warnings and errors as debug
// lines, the rest nowhere. They speak of single connections and may quote what a
// client sent, so their text is left out unless debug is on. Hertz has one
// logger for the whole process, so a program calls this once.
func QuietHertz(l *slog.Logger) {
	hlog.SetLogger(hertzLog{l})
	hlog.SetSystemLogger(hertzLog{l})
}

type hertzLog struct{ l *slog.Logger }

func (h hertzLog) debug(text string) { h.l.Debug("server: " + text) }

func (h hertzLog) Trace(...any)                               {}
func (h hertzLog) Debug(...any)                               {}
func (h hertzLog) Info(...any)                                {}
func (h hertzLog) Notice(...any)                              {}
func (h hertzLog) Warn(v ...any)                              { h.debug(fmt.Sprint(v...)) }
func (h hertzLog) Error(v ...any)                             { h.debug(fmt.Sprint(v...)) }
func (h hertzLog) Fatal(v ...any)                             { h.l.Error("server: " + fmt.Sprint(v...)) }
func (h hertzLog) Tracef(string, ...any)                      {}
func (h hertzLog) Debugf(string, ...any)                      {}
func (h hertzLog) Infof(string, ...any)                       {}
func (h hertzLog) Noticef(string, ...any)                     {}
func (h hertzLog) Warnf(f string, v ...any)                   { h.debug(fmt.Sprintf(f, v...)) }
func (h hertzLog) Errorf(f string, v ...any)                  { h.debug(fmt.Sprintf(f, v...)) }
func (h hertzLog) Fatalf(f string, v ...any)                  { h.l.Error("server: " + fmt.Sprintf(f, v...)) }
func (h hertzLog) CtxTracef(context.Context, string, ...any)  {}
func (h hertzLog) CtxDebugf(context.Context, string, ...any)  {}
func (h hertzLog) CtxInfof(context.Context, string, ...any)   {}
func (h hertzLog) CtxNoticef(context.Context, string, ...any) {}
func (h hertzLog) CtxWarnf(_ context.Context, f string, v ...any) {
	h.debug(fmt.Sprintf(f, v...))
}
func (h hertzLog) CtxErrorf(_ context.Context, f string, v ...any) {
	h.debug(fmt.Sprintf(f, v...))
}
func (h hertzLog) CtxFatalf(_ context.Context, f string, v ...any) {
	h.l.Error("server: " + fmt.Sprintf(f, v...))
}
func (h hertzLog) SetLevel(hlog.Level) {}
func (h hertzLog) SetOutput(io.Writer) {}
