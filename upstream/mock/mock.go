// Package mock is a scripted provider that speaks OpenAI's chat completions
// API, with every fault that a provider, a proxy or a network can show. It is
// for tries, demos and tests; its answers depend on the request, the script and
// the seed only.
package mock

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Record is what a mock saw of one request.
type Record struct {
	Method, Path, Query string
	Model               string // as it came, options included
	KeyHash             string // first 16 hex digits of the SHA-256 of the credential; empty: none came
	Header              http.Header
	Body                []byte
	Fault               Fault // that was played
	Started, Ended      time.Time
	HungUp              bool // the client closed before the answer was complete; seen at Ended
}

// KeyHash is the form in which a Record holds a credential.
func KeyHash(key string) string {
	if key == "" {
		return ""
	}
	h := sha256.Sum256([]byte(key))
	return hex.EncodeToString(h[:8])
}

// Mock is the provider, an http.Handler. Faults that need the connection work
// where the server allows hijacking, as net/http's HTTP/1.1 server does.
type Mock struct {
	script Script

	mu      sync.Mutex
	used    []int // matches of each rule
	rng     *rand.Rand
	records []*Record
	count   int
	serial  int
	done    chan struct{} // closed: stalls end
	once    sync.Once
}

// maxRecords bounds what a long-running mock remembers.
const maxRecords = 10_000

// New makes a mock. A nil script echoes.
func New(s *Script) *Mock {
	m := &Mock{done: make(chan struct{})}
	if s != nil {
		m.script = *s
	}
	m.used = make([]int, len(m.script.Rules))
	m.rng = rand.New(rand.NewPCG(m.script.Default.Seed, 1))
	return m
}

// Stop ends all stalls, so that handlers return.
func (m *Mock) Stop() { m.once.Do(func() { close(m.done) }) }

// SetDefault replaces the options of requests that no rule matches.
func (m *Mock) SetDefault(o Options) {
	m.mu.Lock()
	m.script.Default = o
	m.mu.Unlock()
}

// Count is the number of requests seen.
func (m *Mock) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// Records gives copies of the last 10,000 requests, oldest first. Ended is zero while one runs.
func (m *Mock) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Record, len(m.records))
	for i, r := range m.records {
		out[i] = *r
	}
	return out
}

// request is what the mock reads of a body.
type request struct {
	Model    string `json:"model"`
	Stream   bool   `json:"stream"`
	N        int    `json:"n"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// lastUser gives the text of the last user message.
func (r *request) lastUser() string {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if r.Messages[i].Role != "user" {
			continue
		}
		var text string
		if json.Unmarshal(r.Messages[i].Content, &text) == nil {
			return text
		}
		var parts []struct {
			Text string `json:"text"`
		}
		if json.Unmarshal(r.Messages[i].Content, &parts) == nil {
			var joined strings.Builder
			for _, p := range parts {
				joined.WriteString(p.Text)
			}
			return joined.String()
		}
	}
	return ""
}

// ServeHTTP plays the script.
func (m *Mock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	if err != nil {
		return
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key == "" {
		key = r.Header.Get("Api-Key") + r.Header.Get("X-Api-Key")
	}
	rec := &Record{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, KeyHash: KeyHash(key),
		Header: r.Header.Clone(), Body: body, Started: time.Now(),
	}
	var req request
	isChat := strings.HasSuffix(r.URL.Path, "/chat/completions")
	var badBody error
	if isChat {
		badBody = json.Unmarshal(body, &req)
	}
	rec.Model = req.Model
	opt := m.choose(r, &req)
	name, opt, badModel := ParseModel(req.Model, opt)
	m.mu.Lock()
	if opt.Rate > 0 && m.rng.Float64() >= opt.Rate {
		opt.Fault = None
	}
	rec.Fault = opt.Fault
	m.count++
	m.serial++
	a := &answer{m: m, w: w, r: r, opt: opt, req: &req, model: name, id: fmt.Sprintf("chatcmpl-mock-%d", m.serial)}
	if m.records = append(m.records, rec); len(m.records) > maxRecords {
		m.records = append(m.records[:0], m.records[1:]...)
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		rec.Ended = time.Now()
		rec.HungUp = a.hungUp || r.Context().Err() != nil
		m.mu.Unlock()
	}()
	a.rc = http.NewResponseController(w)
	a.ctx = r.Context()
	for _, h := range opt.Headers {
		w.Header().Add(h[0], h[1])
	}
	w.Header().Set("X-Request-Id", "req-"+a.id)
	switch {
	case m.script.Key != "" && key != m.script.Key:
		a.error(http.StatusUnauthorized, "invalid_api_key", "wrong key")
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/models"):
		a.models()
	case !isChat || r.Method != http.MethodPost:
		a.error(http.StatusNotFound, "not_found", "no such path")
	case badBody != nil:
		a.error(http.StatusBadRequest, "invalid_request_error", "body is not JSON")
	case badModel != nil:
		a.error(http.StatusBadRequest, "invalid_request_error", badModel.Error())
	default:
		a.play()
	}
}

// choose gives the options of the first rule that matches.
func (m *Mock) choose(r *http.Request, req *request) Options {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.script.Rules {
		u := &m.script.Rules[i]
		switch {
		case u.Model != "" && u.Model != req.Model,
			u.Path != "" && u.Path != r.URL.Path,
			u.Contains != "" && !strings.Contains(req.lastUser(), u.Contains),
			u.Header[0] != "" && r.Header.Get(u.Header[0]) != u.Header[1],
			u.Times > 0 && m.used[i] >= u.Times:
			continue
		}
		m.used[i]++
		return u.Options
	}
	return m.script.Default
}

// answer plays one answer.
type answer struct {
	m      *Mock
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	ctx    context.Context
	opt    Options
	req    *request
	model  string
	id     string
	conn   net.Conn // after hijack
	hungUp bool
	buf    []byte
	texts  int // events with text so far
}

// pause waits; false: the client hung up or the mock was stopped.
func (a *answer) pause(d time.Duration) bool {
	if d <= 0 {
		return a.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		a.hungUp = true
		return false
	case <-a.m.done:
		return false
	}
}

// stall says nothing more until the client hangs up.
func (a *answer) stall() {
	if a.conn != nil {
		a.watchConn()
		return
	}
	select {
	case <-a.ctx.Done():
		a.hungUp = true
	case <-a.m.done:
	}
}

// watchConn waits until the hijacked connection is closed by the client.
func (a *answer) watchConn() {
	stop := make(chan struct{})
	defer close(stop)
	conn := a.conn
	go func() {
		select {
		case <-a.m.done:
			_ = conn.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	var b [512]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			a.hungUp = !errors.Is(err, net.ErrClosed) && !isTimeout(err)
			return
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// hijack takes the connection over; the caller closes it.
func (a *answer) hijack() bool {
	conn, _, err := a.rc.Hijack()
	if err != nil {
		a.error(http.StatusNotImplemented, "mock", "this server cannot play connection faults")
		return false
	}
	a.conn = conn
	return true
}

// raw writes to the hijacked connection.
func (a *answer) raw(s string) bool {
	if _, err := io.WriteString(a.conn, s); err != nil {
		a.hungUp = true
		return false
	}
	return true
}

func reset(c net.Conn) {
	if t, ok := c.(*tracked); ok {
		c = t.Conn
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (a *answer) play() {
	switch a.opt.Fault {
	case CloseEarly, RST, GarbageStatus, HTTP09, StallStatus, StallHeaders, HugeHeader, ManyHeaders, Flood1xx, DripStatus,
		TwoLengths, LengthAndTE, ShortLength, ExtraBytes:
		if a.hijack() {
			a.wire()
			_ = a.conn.Close()
		}
		return
	case Status:
		a.status(false)
		return
	case StatusHTML:
		a.status(true)
		return
	case JSONError:
		a.error(http.StatusOK, a.code("server_error"), a.message("something failed"))
		return
	case Redirect:
		a.w.Header().Set("Location", a.opt.Location)
		a.w.WriteHeader(http.StatusTemporaryRedirect)
		return
	case HTML:
		a.w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(a.w, "<html><body>maintenance</body></html>")
		return
	case EvilHeader:
		h := a.w.Header()
		h.Set("Set-Cookie", "session=1")
		h.Set("Server", "evil")
		h.Set("X-Kt-Policy", "off")
		h.Set("X-Keeptrusts-Decision", "allow")
		h.Set("X-Ratelimit-Remaining-Requests", "7")
	}
	if !a.pause(time.Duration(a.opt.First)) {
		return
	}
	stream := a.req.Stream
	if a.opt.Fault == OtherForm {
		stream = !stream
	}
	if stream {
		a.stream()
	} else {
		a.whole()
	}
}

func (a *answer) code(def string) string {
	if a.opt.Code != "" {
		return a.opt.Code
	}
	return def
}

func (a *answer) message(def string) string {
	if a.opt.Message != "" {
		return a.opt.Message
	}
	return def
}

func (a *answer) status(html bool) {
	code := a.opt.Status
	if code == 0 {
		code = http.StatusInternalServerError
	}
	if a.opt.Retry > 0 {
		a.w.Header().Set("Retry-After", strconv.Itoa(a.opt.Retry))
	}
	if html {
		a.w.Header().Set("Content-Type", "text/html")
		a.w.WriteHeader(code)
		_, _ = io.WriteString(a.w, "<html><body>error</body></html>")
		return
	}
	a.error(code, a.code("mock_error"), a.message("scripted error"))
}

func (a *answer) error(status int, code, message string) {
	a.w.Header().Set("Content-Type", "application/json")
	a.w.WriteHeader(status)
	_, _ = a.w.Write(errorObject(code, message))
}

func errorObject(code, message string) []byte {
	b, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": code, "code": code, "param": nil}})
	return b
}

func (a *answer) models() {
	names := a.m.script.Models
	if len(names) == 0 {
		names = []string{"mock"}
	}
	list := make([]map[string]any, len(names))
	for i, n := range names {
		list[i] = map[string]any{"id": n, "object": "model", "created": 0, "owned_by": "mock"}
	}
	a.w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(a.w).Encode(map[string]any{"object": "list", "data": list})
}

// text gives the answer's text of one choice.
func (a *answer) text(choice int) string {
	switch {
	case a.opt.Refusal != "":
		return ""
	case a.opt.Text != "":
		return a.opt.Text
	case a.opt.Words > 0:
		return WordsText(a.opt.Words, a.opt.Seed+uint64(choice))
	case len(a.opt.Tools) > 0:
		return ""
	}
	return a.req.lastUser()
}

func (a *answer) choices() int { return min(max(a.req.N, 1), 128) }

func (a *answer) finish() string {
	switch {
	case a.opt.Finish != "":
		return a.opt.Finish
	case len(a.opt.Tools) > 0:
		return "tool_calls"
	}
	return "stop"
}

// usage counts four characters as a token.
func (a *answer) usage() map[string]any {
	prompt, out := 0, 0
	for i := range a.req.Messages {
		prompt += len(a.req.Messages[i].Content)
	}
	for i := range a.choices() {
		out += len(a.text(i)) + len(a.opt.Reasoning) + len(a.opt.Refusal)
	}
	for _, t := range a.opt.Tools {
		out += len(t.Arguments)
	}
	prompt, out = (prompt+3)/4, (out+3)/4
	return map[string]any{"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out}
}

func (a *answer) toolCalls() []map[string]any {
	calls := make([]map[string]any, len(a.opt.Tools))
	for i, t := range a.opt.Tools {
		calls[i] = map[string]any{"id": fmt.Sprintf("call_%d", i), "type": "function", "function": map[string]any{"name": t.Name, "arguments": t.Arguments}}
	}
	return calls
}

// completion is the answer of a call without stream.
func (a *answer) completion() []byte {
	choices := make([]map[string]any, a.choices())
	for i := range choices {
		msg := map[string]any{"role": "assistant", "content": a.text(i)}
		if a.opt.Refusal != "" {
			msg["content"], msg["refusal"] = nil, a.opt.Refusal
		}
		if a.opt.Reasoning != "" {
			msg["reasoning_content"] = a.opt.Reasoning
		}
		if len(a.opt.Tools) > 0 {
			msg["tool_calls"] = a.toolCalls()
		}
		choices[i] = map[string]any{"index": i, "message": msg, "logprobs": nil, "finish_reason": a.finish()}
	}
	out := map[string]any{"id": a.id, "object": "chat.completion", "created": 1700000000, "model": a.model, "choices": choices}
	if !a.opt.NoUsage {
		out["usage"] = a.usage()
	}
	b, _ := json.Marshal(out)
	return b
}

func (a *answer) whole() {
	b := a.completion()
	switch a.opt.Fault {
	case BadJSON, FirstBadJSON:
		b = b[:len(b)-2]
	case DupKey:
		b = append([]byte(`{"id":"x",`), b[1:]...)
	case BadUTF8:
		b = bytes.Replace(b, []byte(`"role"`), []byte("\"r\xffle\""), 1)
	case FirstError, MidError, NamedError:
		b = errorObject(a.code("server_error"), a.message("scripted error"))
	}
	h := a.w.Header()
	if h.Set("Content-Type", "application/json"); a.opt.Fault == NoType {
		h["Content-Type"] = nil
	}
	if a.opt.Fault == Gzip {
		b = compress(b)
		h.Set("Content-Encoding", "gzip")
	}
	switch a.opt.Fault {
	case StallFirst:
		_ = a.rc.Flush()
		a.stall()
	case StallMid:
		_, _ = a.w.Write(b[:len(b)/2])
		_ = a.rc.Flush()
		a.stall()
	case Cut, CutEvent, RoleThenCut:
		_, _ = a.w.Write(b[:len(b)/2])
		_ = a.rc.Flush()
		panic(http.ErrAbortHandler)
	case Drip:
		for i := range b {
			if !a.write(b[i : i+1]) {
				return
			}
		}
	default:
		_, _ = a.w.Write(b)
	}
}

func compress(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(b)
	_ = w.Close()
	return z.Bytes()
}

// write sends p as the fault says, then flushes.
func (a *answer) write(p []byte) bool {
	if a.opt.Fault == Drip || a.opt.Fault == OneByte {
		for i := range p {
			if _, err := a.w.Write(p[i : i+1]); err != nil || a.rc.Flush() != nil {
				a.hungUp = true
				return false
			}
			if a.opt.Fault == Drip && !a.pause(time.Duration(a.opt.Delay)) {
				return false
			}
		}
		return true
	}
	if _, err := a.w.Write(p); err != nil || a.rc.Flush() != nil {
		a.hungUp = true
		return false
	}
	return true
}

// event sends one event.
func (a *answer) event(data []byte) bool {
	a.buf = append(append(append(a.buf[:0], "data: "...), data...), "\n\n"...)
	return a.write(a.buf)
}

// chunk sends one chunk for a choice; finish "" is null.
func (a *answer) chunk(choice int, delta any, finish string) bool {
	return a.event(a.chunkData(choice, delta, finish))
}

func (a *answer) chunkData(choice int, delta any, finish string) []byte {
	c := map[string]any{"index": choice, "delta": delta, "logprobs": nil, "finish_reason": nil}
	if finish != "" {
		c["finish_reason"] = finish
	}
	out := map[string]any{"id": a.id, "object": "chat.completion.chunk", "created": 1700000000, "model": a.model, "choices": []any{c}}
	b, _ := json.Marshal(out)
	return b
}

func (a *answer) stream() {
	h := a.w.Header()
	if h.Set("Content-Type", "text/event-stream"); a.opt.Fault == NoType {
		h["Content-Type"] = nil
	}
	h.Set("Cache-Control", "no-cache")
	switch a.opt.Fault {
	case Gzip:
		h.Set("Content-Encoding", "gzip")
		_, _ = a.w.Write(compress([]byte("data: [DONE]\n\n")))
		return
	case StallFirst:
		a.w.WriteHeader(http.StatusOK)
		_ = a.rc.Flush()
		a.stall()
		return
	case FirstError:
		a.event(errorObject(a.code("server_error"), a.message("scripted error")))
		return
	case FirstBadJSON:
		a.event([]byte(`{"choices":[`))
		return
	case HugeEvent:
		a.write([]byte("data: "))
		junk := bytes.Repeat([]byte("a"), 64<<10)
		for a.write(junk) {
			if a.ctx.Err() != nil {
				return
			}
		}
		return
	}
	for c := range a.choices() {
		if !a.chunk(c, map[string]any{"role": "assistant", "content": ""}, "") {
			return
		}
	}
	if a.opt.Fault == RoleThenCut {
		panic(http.ErrAbortHandler)
	}
	if !a.pieces("reasoning_content", func(int) string { return a.opt.Reasoning }) ||
		!a.pieces("refusal", func(int) string { return a.opt.Refusal }) ||
		!a.pieces("content", a.text) || !a.toolStream() {
		return
	}
	if !a.fault(true) {
		return
	}
	for c := range a.choices() {
		if !a.chunk(c, map[string]any{}, a.finish()) {
			return
		}
	}
	if (a.req.StreamOptions.IncludeUsage || a.opt.Usage) && !a.opt.NoUsage {
		b, _ := json.Marshal(map[string]any{"id": a.id, "object": "chat.completion.chunk", "created": 1700000000, "model": a.model, "choices": []any{}, "usage": a.usage()})
		if !a.event(b) {
			return
		}
	}
	if a.opt.Fault == NoDone {
		return
	}
	if !a.event([]byte("[DONE]")) {
		return
	}
	switch a.opt.Fault {
	case StallDone:
		a.stall()
	case AfterDone:
		a.chunk(0, map[string]any{"content": "after the end"}, "")
	}
}

// fault plays what goes wrong in mid-stream; false: the answer ends here. With
// atEnd it plays even when fewer than After events came.
func (a *answer) fault(atEnd bool) bool {
	if !atEnd && a.texts < max(a.opt.After, 1) {
		return true
	}
	half := a.chunkData(0, map[string]any{"content": "half of an event"}, "")
	switch a.opt.Fault {
	case MidError:
		a.event(errorObject(a.code("server_error"), a.message("scripted error")))
		return false
	case NamedError:
		a.write([]byte("event: error\ndata: " + string(errorObject(a.code("server_error"), a.message("scripted error"))) + "\n\n"))
		return false
	case StallMid:
		a.write([]byte("data: " + string(half[:len(half)/2])))
		a.stall()
		return false
	case CutEvent:
		a.write([]byte("data: " + string(half[:len(half)/2])))
		panic(http.ErrAbortHandler)
	case Cut:
		panic(http.ErrAbortHandler)
	case BadJSON:
		a.event([]byte(`{"choices":[`))
		a.opt.Fault = None
	case DupKey:
		a.event(append([]byte(`{"id":"x",`), half[1:]...))
		a.opt.Fault = None
	case BadUTF8:
		a.event(bytes.Replace(half, []byte("half"), []byte("h\xfflf"), 1))
		a.opt.Fault = None
	}
	return true
}

// pieces streams one field of all choices, interleaved.
func (a *answer) pieces(field string, text func(choice int) string) bool {
	rest := make([]string, a.choices())
	for c := range rest {
		rest[c] = text(c)
	}
	for {
		sent := false
		for c := range rest {
			if rest[c] == "" {
				continue
			}
			if !a.fault(false) {
				return false
			}
			if a.texts > 0 && !a.pause(time.Duration(a.opt.Delay)) {
				return false
			}
			var p string
			p, rest[c] = cut(rest[c], a.opt.Piece)
			if !a.chunk(c, map[string]any{field: p}, "") {
				return false
			}
			a.texts++
			sent = true
		}
		if !sent {
			return true
		}
	}
}

// cut splits off the first n characters; 0 means 4.
func cut(s string, n int) (string, string) {
	if n <= 0 {
		n = 4
	}
	i := 0
	for ; n > 0 && i < len(s); n-- {
		_, k := utf8.DecodeRuneInString(s[i:])
		i += k
	}
	return s[:i], s[i:]
}

func (a *answer) toolStream() bool {
	for i, t := range a.opt.Tools {
		first := map[string]any{"index": i, "id": fmt.Sprintf("call_%d", i), "type": "function", "function": map[string]any{"name": t.Name, "arguments": ""}}
		if !a.chunk(0, map[string]any{"tool_calls": []any{first}}, "") {
			return false
		}
		a.texts++
		for rest := t.Arguments; rest != ""; {
			var p string
			if p, rest = cut(rest, a.opt.Piece); !a.pause(time.Duration(a.opt.Delay)) || !a.fault(false) {
				return false
			}
			d := map[string]any{"index": i, "function": map[string]any{"arguments": p}}
			if !a.chunk(0, map[string]any{"tool_calls": []any{d}}, "") {
				return false
			}
			a.texts++
		}
	}
	return true
}

// wire plays the faults below HTTP on the hijacked connection.
func (a *answer) wire() {
	body := string(a.completion())
	head := func(extra string) string {
		return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + extra + "\r\n"
	}
	length := func(n int) string { return "Content-Length: " + strconv.Itoa(n) + "\r\n" }
	switch a.opt.Fault {
	case RST:
		reset(a.conn)
	case GarbageStatus:
		a.raw("HTTZ/9 nonsense\r\n\r\n")
	case HTTP09:
		a.raw(body)
	case StallStatus:
		a.stall()
	case StallHeaders:
		if a.raw("HTTP/1.1 200 OK\r\nContent-Type: appl") {
			a.stall()
		}
	case HugeHeader:
		a.raw("HTTP/1.1 200 OK\r\nX-Big: ")
		part := strings.Repeat("b", 64<<10)
		for range 160 {
			if !a.raw(part) {
				return
			}
		}
		a.raw("\r\n" + length(len(body)) + "\r\n" + body)
	case ManyHeaders:
		a.raw("HTTP/1.1 200 OK\r\n")
		for i := range 1000 {
			if !a.raw(strings.Repeat("X-H"+strconv.Itoa(i)+": v\r\n", 100)) {
				return
			}
		}
		a.raw(length(len(body)) + "\r\n" + body)
	case Flood1xx:
		for a.raw(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 100)) {
			select {
			case <-a.m.done:
				return
			default:
			}
		}
	case DripStatus:
		for _, c := range head(length(len(body))) + body {
			if !a.raw(string(c)) {
				return
			}
			select {
			case <-time.After(time.Duration(a.opt.Delay)):
			case <-a.m.done:
				return
			}
		}
	case TwoLengths:
		a.raw(head(length(len(body))+length(5)) + body)
	case LengthAndTE:
		a.raw(head(length(5)+"Transfer-Encoding: chunked\r\n") + strconv.FormatInt(int64(len(body)), 16) + "\r\n" + body + "\r\n0\r\n\r\n")
		a.watchConn()
	case ShortLength:
		a.raw(head(length(len(body)+100)) + body)
	case ExtraBytes:
		poison := strings.ReplaceAll(body, "chatcmpl-mock", "chatcmpl-poison")
		a.raw(head(length(len(body))) + body + head(length(len(poison))) + poison)
		a.watchConn()
	}
}
