// Package providertest is the conformance suite of a provider: it replays
// transcripts, cut in many ways, and checks what a caller gets.
//
// A transcript is a txtar archive. Its comment says what it shows. Files:
//
//	request   the body that the client sent
//	response  status line, headers, an empty line, the body
//	want      one "key: value" per line:
//	          path, query   of the request as the provider saw it
//	          auth          the header with the key, as "Name: prefix{key}"
//	          class         of the attempt: ok, rate_limit ...
//	          status        of the answer
//	          text, reasoning, refusal, tool (name and arguments), finish, usage (prompt/completion)
//	          end           of the stream: done, error, cut
//
// The response's headers get Transfer-Encoding: chunked; after the last byte of
// the file the connection ends the body, or, with "end: cut", just closes.
package providertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
	"github.com/keeptrusts/kt/stream/sse"
	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/provider"
)

const key = "sk-providertest-canary"

// Run replays the transcripts that match glob against the provider. basePath is
// what the provider's base URL has behind the host.
func Run(t *testing.T, row *provider.Row, basePath, glob string) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcript matches %s: %v", glob, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tr := transcript{row: row, basePath: basePath, want: map[string]string{}}
			for _, x := range ar.Files {
				switch x.Name {
				case "request":
					tr.request = x.Data
				case "response":
					tr.response = string(x.Data)
				case "want":
					for line := range strings.Lines(string(x.Data)) {
						k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
						if !ok {
							t.Fatalf("want: no key in %q", line)
						}
						tr.want[k] = strings.TrimPrefix(v, " ")
					}
				default:
					t.Fatalf("unknown file %s", x.Name)
				}
			}
			for _, piece := range []int{1 << 20, 1, 3, 7, 64} {
				tr.replay(t, piece)
			}
		})
	}
}

type transcript struct {
	row      *provider.Row
	basePath string
	request  []byte
	response string
	want     map[string]string
}

// served is what the server saw.
type served struct {
	path, query string
	header      http.Header
	body        []byte
}

// serve answers one request with the transcript in pieces of n bytes.
func (tr *transcript) serve(ln net.Listener, n int, saw *served) {
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	saw.path, saw.query, saw.header = r.URL.Path, r.URL.RawQuery, r.Header
	saw.body, _ = io.ReadAll(r.Body)
	head, body, _ := strings.Cut(tr.response, "\n\n")
	out := strings.ReplaceAll(head, "\n", "\r\n") + "\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := io.WriteString(conn, out); err != nil {
		return
	}
	for len(body) > 0 {
		k := min(n, len(body))
		if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", k, body[:k]); err != nil {
			return
		}
		body = body[k:]
	}
	if tr.want["end"] != "cut" {
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}
}

func (tr *transcript) replay(t *testing.T, piece int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var saw served
	var wg sync.WaitGroup
	wg.Go(func() { tr.serve(ln, piece, &saw) })
	defer func() { _ = ln.Close(); wg.Wait() }()

	base := "http://" + ln.Addr().String() + tr.basePath
	k, err := upstream.NewKey(key, base)
	if err != nil {
		t.Fatal(err)
	}
	d := openai.New()
	var sc dialect.Scratch
	var req dialect.Request
	if err := d.ParseRequest(&sc, tr.request, &req); err != nil {
		t.Fatalf("request: %v", err)
	}
	model := string(req.Model.Of(tr.request))
	tg := &upstream.Target{ID: "t", Provider: tr.row, BaseURL: base, Model: model, Key: k, AllowPrivate: true}
	ht := upstream.NewTransport(upstream.TransportOptions{})
	defer ht.Close()
	p, err := upstream.New([]*upstream.Target{tg}, upstream.Options{Transport: ht})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, err := p.Do(ctx, upstream.Call{Path: "/v1/chat/completions", Model: model, Stream: req.Stream,
		Body: func(*upstream.Target, string) ([]byte, error) { return tr.request, nil }})
	got := map[string]string{}
	if err != nil {
		var e *upstream.Error
		if !errors.As(err, &e) || len(e.Attempts) != 1 {
			t.Fatalf("pieces of %d: %v", piece, err)
		}
		got["class"], got["status"] = e.Attempts[0].Class.String(), strconv.Itoa(e.Status)
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v %v", e, e.Attempts[0].Err)} {
			if strings.Contains(text, key) {
				t.Errorf("an error shows the key: %s", text)
			}
			if strings.Contains(text, "secret-text") {
				t.Errorf("an error shows what the provider said: %s", text)
			}
		}
	} else {
		got["class"], got["status"] = a.Attempts[0].Class.String(), strconv.Itoa(a.Status)
		read(a, d, got)
		_ = a.Close()
	}
	wg.Wait()
	got["path"], got["query"] = saw.path, saw.query
	if name, v, ok := strings.Cut(tr.want["auth"], ": "); ok {
		if saw.header.Get(name) == strings.ReplaceAll(v, "{key}", key) {
			got["auth"] = tr.want["auth"]
		}
	}
	if string(saw.body) != string(tr.request) {
		t.Errorf("pieces of %d: the request's bytes were changed", piece)
	}
	for k, v := range tr.want {
		if got[k] != v {
			t.Errorf("pieces of %d: %s is %q, want %q", piece, k, got[k], v)
		}
	}
}

// read takes an answer apart as a client would.
func read(a *upstream.Answer, d *openai.Chat, got map[string]string) {
	var sc dialect.Scratch
	var c dialect.Chunk
	take := func(raw []byte) {
		for i := range c.Pieces {
			p := &c.Pieces[i]
			var text string
			if json.Unmarshal([]byte(`"`+string(raw[p.Start:p.End])+`"`), &text) != nil {
				text = "not a JSON string"
			}
			switch p.Key.Field {
			case dialect.Content:
				got["text"] += text
			case dialect.Reasoning:
				got["reasoning"] += text
			case dialect.Refusal:
				got["refusal"] += text
			case dialect.ToolName:
				got["tool"] += text + " "
			case dialect.ToolArgs:
				got["tool"] += text
			}
		}
		for _, f := range c.Finishes {
			got["finish"] = string(f.Reason.Of(raw))
		}
		if c.HasUsage {
			got["usage"] = fmt.Sprintf("%d/%d", c.Usage.Prompt, c.Usage.Completion)
		}
	}
	if !a.Stream {
		if err := d.ParseResponse(&sc, a.Whole, &c); err != nil || !json.Valid(a.Whole) {
			got["end"] = "bad"
			return
		}
		take(a.Whole)
		return
	}
	var f sse.Framer
	defer f.Close()
	var st dialect.Stream
	b := make([]byte, 4096)
	for {
		n, err := a.Body.Read(b)
		for src := b[:n]; len(src) > 0; {
			ev, k, ok, ferr := f.Next(src)
			if ferr != nil {
				got["end"] = "bad"
				return
			}
			if src = src[k:]; !ok {
				continue
			}
			if perr := d.ParseEvent(&sc, &st, ev.Name, ev.Data, &c); perr != nil {
				got["end"] = "bad"
				return
			}
			switch {
			case c.HasError:
				got["end"] = "error"
				return
			case c.Terminal:
				got["end"] = "done"
				return
			}
			take(ev.Data)
		}
		if err != nil {
			got["end"] = "cut"
			return
		}
	}
}
