package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudwego/hertz/pkg/common/hlog"

	"github.com/keeptrusts/kt/internal/audit"
)

const levelInfo = slog.LevelInfo

// requestAttrs are the fields of the access line. None of them is text of a
// message; a client's own words (model, user) are bounded and escaped by slog's
// JSON handler.
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

// bounded makes a client's word fit for a log line: at most 128 bytes, nothing
// that a terminal acts on (slog's JSON leaves the C1 controls as they are).
func bounded(s string) string {
	if len(s) > 128 {
		s = s[:128]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
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
