package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
	"github.com/keeptrusts/kt/stream/sse"
	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/mock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fast are limits short enough for tests of silence.
var fast = upstream.Timeouts{Connect: 2 * time.Second, FirstByte: 150 * time.Millisecond, WholeAnswer: 150 * time.Millisecond, BetweenBytes: 150 * time.Millisecond, Total: 20 * time.Second}

func startMock(t testing.TB, o mock.Options) *mock.Server {
	t.Helper()
	s, err := mock.Listen("", &mock.Script{Default: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func target(t testing.TB, id, url, key string) *upstream.Target {
	t.Helper()
	k, err := upstream.NewKey(key, url)
	if err != nil {
		t.Fatal(err)
	}
	return &upstream.Target{ID: id, BaseURL: url, Model: "model-" + id, Key: k, AllowPrivate: true}
}

func newPool(t testing.TB, opt upstream.Options, targets ...*upstream.Target) *upstream.Pool {
	t.Helper()
	if opt.Transport == nil {
		tr := upstream.NewTransport(upstream.TransportOptions{})
		t.Cleanup(tr.Close)
		opt.Transport = tr
	}
	p, err := upstream.New(targets, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func chatBody(text string, stream bool) func(*upstream.Target, string) ([]byte, error) {
	return func(_ *upstream.Target, model string) ([]byte, error) {
		return json.Marshal(map[string]any{"model": model, "stream": stream, "messages": []any{map[string]any{"role": "user", "content": text}}})
	}
}

func call(model, text string, stream bool) upstream.Call {
	return upstream.Call{Path: "/v1/chat/completions", Model: model, Stream: stream, Body: chatBody(text, stream)}
}

// answerText reads the whole answer as a client would and gives the text of its first choice.
func answerText(a *upstream.Answer) (string, error) {
	d := openai.New()
	var sc dialect.Scratch
	var c dialect.Chunk
	var text strings.Builder
	add := func(raw []byte) {
		for i := range c.Pieces {
			if p := &c.Pieces[i]; p.Key.Field == dialect.Content && p.Key.Choice == 0 {
				var s string
				if err := json.Unmarshal([]byte(`"`+string(raw[p.Start:p.End])+`"`), &s); err == nil {
					text.WriteString(s)
				}
			}
		}
	}
	if !a.Stream {
		b, err := io.ReadAll(a.Body)
		if err != nil {
			return "", err
		}
		if err := d.ParseResponse(&sc, b, &c); err != nil {
			return "", err
		}
		if c.HasError {
			return "", errors.New("error object")
		}
		add(b)
		return text.String(), nil
	}
	var f sse.Framer
	defer f.Close()
	var st dialect.Stream
	var b [777]byte
	for {
		n, err := a.Body.Read(b[:])
		for src := b[:n]; len(src) > 0; {
			ev, k, ok, ferr := f.Next(src)
			if ferr != nil {
				return text.String(), ferr
			}
			src = src[k:]
			if !ok {
				continue
			}
			if perr := d.ParseEvent(&sc, &st, ev.Name, ev.Data, &c); perr != nil {
				return text.String(), perr
			}
			if c.HasError {
				return text.String(), errors.New("error event")
			}
			if c.Terminal {
				return text.String(), nil
			}
			add(ev.Data)
		}
		if errors.Is(err, io.EOF) {
			return text.String(), errors.New("stream without end marker")
		}
		if err != nil {
			return text.String(), err
		}
	}
}

func classes(as []upstream.Attempt) string {
	var s []string
	for _, a := range as {
		s = append(s, a.Target.ID+":"+a.Class.String())
	}
	return strings.Join(s, " ")
}

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
