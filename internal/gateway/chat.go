package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudwego/hertz/pkg/app"

	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
	"github.com/keeptrusts/kt/upstream"
)

// call is one request on its way. It is pooled: what it holds keeps its memory.
type call struct {
	g   *Gateway
	c   *app.RequestContext
	ctx context.Context // ends when the client is gone
	// asking is ctx for calls to targets: a shutdown at its deadline ends it, too.
	asking context.Context
	w      *writer // outlives the call: Hertz asks it once more after the handler

	began    time.Time
	now      time.Time // the latest that was read
	id       string
	body     []byte
	facts    pipeline.Facts
	req      dialect.Request
	scratch  dialect.Scratch
	chunk    dialect.Chunk
	window   stream.Window
	exchange pipeline.Exchange
	found    pipeline.Findings
	rec      audit.Record
	times    times
	up       http.Header // for the targets
	ids      [1]string   // its X-Request-Id

	sent        stream.Result // the request as it goes on
	spliced     []*buf.Buffer // copies with another model
	splicedFor  []string
	promptBytes int64
	target      int  // that answered; -1: none
	asked       int  // the last one that was asked when none answered; -1: none
	ended       bool // the terminal record is written
	decided     bool // so is the decision record
	streamed    bool // a stream was relayed
}

// reset lets go of everything that belongs to the request that ended.
//
//go:noinline
func (q *call) reset() {
	q.sent.Close()
	for _, b := range q.spliced {
		buf.Put(b)
	}
	q.window.Close()
	q.scratch.Shrink()
	rec := &q.rec
	*rec = audit.Record{Attempts: rec.Attempts[:0], Rejected: rec.Rejected[:0], Ran: rec.Ran[:0]}
	q.c, q.ctx, q.asking, q.body, q.facts, q.w = nil, nil, nil, nil, pipeline.Facts{}, nil
	q.spliced, q.splicedFor = q.spliced[:0], q.splicedFor[:0]
	q.times = times{}
	clear(q.up) // no attempt runs any more: closing an answer waits for them
	q.ids[0] = ""
	q.id, q.promptBytes, q.target, q.asked, q.ended, q.decided, q.streamed = "", 0, -1, -1, false, false, false
}

// requestID is the client's when it is of a plain form, else a new one. It goes
// into the answer's header, and stays the same for one request.
func requestID(c *app.RequestContext) string {
	if id := c.Response.Header.Peek("x-request-id"); len(id) > 0 {
		return string(id)
	}
	id := string(c.GetHeader("X-Request-Id"))
	if !plainID(id) {
		id = newRequestID()
	}
	c.Response.Header.Set("x-request-id", id)
	return id
}

func newRequestID() string {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand since Go 1.24)
	return "req_" + hex.EncodeToString(raw[:])
}

func plainID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// identity gives a header that says who asks, where that may be believed.
func identity(c *app.RequestContext, name string) string {
	v := string(c.GetHeader(name))
	if len(v) > 256 || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return ""
	}
	return v
}

// chat serves POST /v1/chat/completions.
//
// A stream keeps its goroutine's stack as long as it lasts. What is done before
// it waits, and on rare ways, has frames of its own (noinline, here and in what
// it calls), so that 8 KiB do where 16 would be taken.
func (g *Gateway) chat(ctx context.Context, c *app.RequestContext) {
	if !g.enter() {
		g.leaving(c)
		return
	}
	defer g.active.Done()
	q := g.calls.Get().(*call)
	defer q.leave()
	if q.enter(ctx, c) && q.read() && q.scanRequest() {
		q.ask()
	}
}

// leaving tells the client that the gateway shuts down.
//
//go:noinline
func (g *Gateway) leaving(c *app.RequestContext) {
	e := draining(requestID(c))
	g.refused(&e, 503)
	c.Response.Header.Set("Retry-After", "1")
	g.fail(c, 503, &e)
	c.SetConnectionClose()
}

func draining(id string) dialect.Error {
	return dialect.Error{Type: "server_error", Code: "draining", Message: "The gateway is shutting down.", RequestID: id}
}

// enter begins a call. false: there are too many or too little memory, and the client was told.
//
//go:noinline
func (q *call) enter(ctx context.Context, c *app.RequestContext) bool {
	g := q.g
	running := g.inflight.Add(1)
	g.m.inflight.Inc()
	q.reset()
	q.c, q.ctx, q.w, q.began, q.id = c, ctx, &writer{}, g.o.Now(), requestID(c)
	q.now = q.began
	c.Response.Header.Set("x-keeptrusts-policy-digest", g.static.digest)
	c.Response.Header.Set("x-keeptrusts-policy-mode", g.static.mode)
	q.begin()
	if running > int64(g.o.MaxConcurrency) {
		c.Response.Header.Set("Retry-After", "1")
		q.refuse(503, &dialect.Error{Type: "server_error", Code: "overloaded", Message: "The gateway answers too many requests at once."})
		return false
	}
	if running > 1 && g.pressure.level.Load() == memoryOut { // without others it is not requests that take the memory
		c.Response.Header.Set("Retry-After", "5")
		q.refuse(503, &dialect.Error{Type: "server_error", Code: "overloaded", Message: "The gateway is short of memory."})
		return false
	}
	return true
}

// leave ends a call. It is deferred.
func (q *call) leave() {
	p := recover()
	q.g.inflight.Add(-1)
	q.g.m.inflight.Dec()
	if p != nil {
		q.g.notAsking(q)
		// What q holds may be in use still: it does not go back.
		q.finish("internal_error", 500)
		panic(p)
	}
	q.g.notAsking(q)
	q.reset()
	q.g.calls.Put(q)
}

// mayCut has a shutdown at its deadline end the calls to targets.
//
//go:noinline
func (q *call) mayCut() {
	ctx, cancel := context.WithCancel(q.ctx)
	q.asking = ctx
	g := q.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking[q] = cancel
	if g.cutting.Load() {
		cancel()
	}
}

// notAsking undoes mayCut.
func (g *Gateway) notAsking(q *call) {
	if q.asking == nil {
		return
	}
	g.mu.Lock()
	cancel := g.asking[q]
	delete(g.asking, q)
	g.mu.Unlock()
	cancel()
}

// begin fills in what is known before the body is read.
//
//go:noinline
func (q *call) begin() {
	g, c, r := q.g, q.c, &q.rec
	r.RequestID, r.Endpoint, r.BytesIn = q.id, "/v1/chat/completions", int64(len(c.Request.Body()))
	r.GatewayID, r.ConfigVersion, r.Overrides = g.o.GatewayID, g.o.ConfigVersion, g.o.Overrides
	r.Verdict = pipeline.VerdictAllow
	q.body = c.Request.Body()
	q.facts = pipeline.Facts{Path: r.Endpoint, BodyBytes: len(q.body), Header: func(name string) string { return string(c.GetHeader(name)) }}
	if fromLoopback(c) { // who else may say who they are needs client keys, which are not built yet
		q.facts.User, q.facts.Team = identity(c, "X-User-Id"), identity(c, "X-Team-Id")
		q.facts.Agent, q.facts.Conversation = identity(c, "X-Keeptrusts-Agent-Id"), identity(c, "X-Conversation-Id")
	}
	r.User, r.Team, r.Agent, r.Conversation = q.facts.User, q.facts.Team, q.facts.Agent, q.facts.Conversation
	q.exchange = pipeline.Exchange{}
	q.w.first = func() { r.FirstByte = g.o.Now().Sub(q.began) }
}

// isUTF8 tells that the parameters of a media type name no other charset than UTF-8.
func isUTF8(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "charset") && !strings.EqualFold(strings.Trim(v, " \t\""), "utf-8") {
			return false
		}
	}
	return true
}

// read parses the body strictly. false: the client was told what is wrong.
func (q *call) read() bool {
	c := q.c
	if t := string(c.GetHeader("Content-Type")); t != "" && t != "application/json" {
		media, params, _ := strings.Cut(t, ";")
		if !strings.EqualFold(strings.TrimSpace(media), "application/json") || !isUTF8(params) {
			q.refuse(415, &dialect.Error{Type: "validation_error", Code: "unsupported_media_type", Message: "The body must be application/json in UTF-8."})
			return false
		}
	}
	if e := string(c.GetHeader("Content-Encoding")); e != "" && !strings.EqualFold(e, "identity") {
		q.refuse(415, &dialect.Error{Type: "validation_error", Code: "unsupported_content_encoding", Message: "The body must not be compressed."})
		return false
	}
	if len(q.body) > q.g.o.MaxBody {
		q.refuse(413, &dialect.Error{Type: "validation_error", Code: "body_too_large", Message: "The body is larger than " + strconv.Itoa(q.g.o.MaxBody) + " bytes."})
		return false
	}
	err := q.g.dialect.ParseRequest(&q.scratch, q.body, &q.req)
	var bad *jsonwalk.Error
	var invalid *dialect.ValidationError
	switch {
	case err == nil:
	case errors.As(err, &invalid):
		q.refuse(422, &dialect.Error{Type: "validation_error", Code: "invalid_request", Param: invalid.Path, Message: invalid.Path + " must be " + invalid.Want + "."})
		return false
	case errors.As(err, &bad):
		q.refuse(400, &dialect.Error{Type: "validation_error", Code: bad.Code.String(), Param: bad.Path, Message: "The body is not acceptable JSON: " + bad.Error() + q.hint(bad) + "."})
		return false
	default:
		q.refuse(422, &dialect.Error{Type: "validation_error", Code: "invalid_request", Message: "The request is not valid: " + err.Error() + "."})
		return false
	}
	if q.req.ModelEscaped {
		q.facts.Model = string(jsonwalk.AppendUnescaped(nil, q.req.Model.Of(q.body)))
	} else {
		q.facts.Model = string(q.req.Model.Of(q.body))
	}
	q.facts.Stream, q.facts.Messages = q.req.Stream, q.req.Messages
	q.rec.Model, q.rec.Stream, q.rec.Unknown = q.g.shown(q.facts.Model), q.req.Stream, q.req.Unknown
	if q.facts.Model == "" {
		q.refuse(422, &dialect.Error{Type: "validation_error", Code: "invalid_request", Param: "model", Message: "model must be the name of a model. GET /v1/models lists those that are served."})
		return false
	}
	if !q.g.o.Router.Serves(q.facts.Model) {
		q.refuse(404, &dialect.Error{Type: "invalid_request_error", Code: "model_not_found", Param: "model", Message: "No target serves this model. GET /v1/models lists those that are served."})
		return false
	}
	return true
}

// What the JSON parser takes by default (jsonwalk.Options).
const (
	maxDepth   = 64
	maxKeys    = 65_536
	maxStrings = 131_072
)

// hint says what would have been accepted where the code does not.
//
//go:noinline
func (q *call) hint(e *jsonwalk.Error) string {
	switch e.Code {
	case jsonwalk.TooManyItems:
		return ": at most " + strconv.Itoa(dialect.MaxItems) + " messages and content parts are accepted"
	case jsonwalk.TooManyStrings:
		return ": at most " + strconv.Itoa(maxStrings) + " strings are accepted"
	case jsonwalk.TooManyKeys:
		return ": at most " + strconv.Itoa(maxKeys) + " keys that the API does not know are accepted"
	case jsonwalk.Depth:
		return ": at most " + strconv.Itoa(maxDepth) + " levels are accepted"
	case jsonwalk.CaseVariantKey:
		if known := knownKey(q.body, e.Offset); known != "" {
			return `: write "` + known + `"`
		}
	}
	return ""
}

// knownKey gives the known spelling of the key that begins at an offset of body,
// which is one but for its case. All known keys are of small letters, digits and
// underscores: empty when the key is not.
func knownKey(body []byte, at int) string {
	end := at
	for end < len(body) && body[end] != '"' {
		if body[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(body) {
		return ""
	}
	key := strings.ToLower(likeASCII.Replace(string(jsonwalk.AppendUnescaped(nil, body[at:end]))))
	for i := range len(key) {
		if c := key[i]; c-'a' > 25 && c-'0' > 9 && c != '_' {
			return ""
		}
	}
	return key
}

// likeASCII folds the letters that become ASCII ones in another case.
var likeASCII = strings.NewReplacer("\u017f", "s", "\u212a", "k", "\u0131", "i", "\u0130", "i")

// shown is the model as logs and records name it: a name of the configuration,
// else a constant, since a client can write any text there, and no policy reads it.
func (g *Gateway) shown(model string) string {
	if model == "" || g.names[model] {
		return model
	}
	return other
}

// scanRequest takes the request's text through the chain and writes the
// decision record. false: the client got its answer.
//
//go:noinline
func (q *call) scanRequest() bool {
	g := q.g
	q.exchange.Begin(g.o.Chain, &q.facts, &q.found)
	q.rec.Chain, q.rec.Mask = g.info, q.exchange.Mask
	began := g.o.Now()
	s := g.scanners.Get().(*stream.Scanner)
	s.ScanRequest(&q.sent, q.body, &q.req, &q.exchange, g.o.FailOpen, "")
	g.scanners.Put(s)
	q.now = g.o.Now()
	q.times.scan[0], q.times.looked[0] = q.now.Sub(began), true
	q.scanned(&q.sent.Report)
	for i := range q.req.Pieces {
		if p := &q.req.Pieces[i]; !p.Has(dialect.Opaque) {
			q.promptBytes += int64(p.End - p.Start)
		}
	}
	if !q.decide(q.sent.Blocked) {
		q.c.Response.Header.Set("Retry-After", "5")
		q.refuse(503, &dialect.Error{Type: "server_error", Code: "audit_unavailable", Message: "The audit log cannot be written, and the policy chain asks for it."})
		return false
	}
	if q.sent.Blocked {
		q.blocked()
		return false
	}
	return true
}

//go:noinline
func (q *call) blocked() {
	d := q.exchange.Decide()
	e := stream.BlockError(&d, false, q.id)
	q.answerBlocked(&e)
}

// scanned adds what a scan looked at.
func (q *call) scanned(r *stream.Report) {
	for c := range r.Channels {
		q.rec.Channels[c] += r.Channels[c]
		q.rec.Scanned[c] += r.Scanned[c]
	}
	q.rec.Opaque += r.Opaque
	q.g.m.edited.Add(float64(r.Edited))
}

// decide writes the decision record. false: it could not, and the chain needs it.
func (q *call) decide(blocked bool) bool {
	g := q.g
	if g.o.Audit == nil {
		return true
	}
	r := &q.rec
	q.verdict()
	if req := &g.info.Require; req.AuditRetentionDays > 0 && !req.AuditAll && !blocked && !q.acted() {
		return true // only requests that were acted on are kept; the terminal record decides
	}
	r.Type, r.Time = audit.Decision, q.now
	r.Latency = r.Time.Sub(q.began)
	err := g.o.Audit.Write(r)
	q.now = g.o.Now()
	q.times.audit += q.now.Sub(r.Time)
	if err != nil {
		g.m.auditLost.Inc()
		g.log.Error("an audit record could not be written", "error", err.Error(), "request_id", q.id)
		return g.info.Require.AuditRetentionDays == 0
	}
	q.decided = true
	return true
}

// acted tells that a policy acted on the request: it found something, were it
// only to be logged.
func (q *call) acted() bool {
	return q.exchange.Chain != nil && q.exchange.Decide().Action > pipeline.Allow
}

// verdict puts the decision so far into the record.
func (q *call) verdict() {
	r := &q.rec
	if q.exchange.Chain == nil {
		return
	}
	d := q.exchange.Decide()
	r.Verdict, r.Reason, r.Policy, r.Phase = d.Verdict, d.Reason, d.Kind, ""
	if d.Reason != "all_policies_passed" {
		r.Phase = d.Phase.String()
	}
	r.Counts = q.exchange.Counts()
	r.Ran = q.ran(r.Ran[:0])
}

// ran says where each policy has looked so far. One that reads text has looked
// where text of its classes was scanned; one that reads none takes part in the
// input phase of each request, in the output phase of each answer, and in the
// tool phase where there are tools.
func (q *call) ran(out []audit.Phases) []audit.Phases {
	scanned := &q.rec.Channels
	for i := range q.g.looks {
		p := audit.Phases{pipeline.Input: true, pipeline.Tool: scanned[pipeline.InputTool]+scanned[pipeline.OutputTool] > 0, pipeline.Output: q.times.looked[1]}
		if looks := q.g.looks[i]; slices.Contains(looks[:], true) {
			p = audit.Phases{}
			for c, ok := range looks {
				if ok && scanned[c] > 0 {
					p[pipeline.Class(c).Phase()] = true
				}
			}
		}
		out = append(out, p)
	}
	for _, n := range q.exchange.Counts() {
		if n.Entity >= pipeline.FirstEntity {
			out[q.g.info.Entities[n.Entity].Policy][n.Phase] = true
		}
	}
	return out
}

// finish writes the one terminal record and counts the request. It is called on
// every way out, before the last byte for the client; only the first call counts.
func (q *call) finish(outcome string, status int) {
	if q.ended {
		return
	}
	q.ended = true
	g, r := q.g, &q.rec
	q.verdict()
	r.Type, r.Time, r.Outcome, r.Status = audit.Terminal, g.o.Now(), outcome, status
	r.Latency = r.Time.Sub(q.began)
	r.BytesOut = max(r.BytesOut, q.w.wrote)
	req := &g.info.Require
	if g.o.Audit != nil && (q.acted() || q.decided || req.AuditAll || req.AuditRetentionDays == 0) {
		err := g.o.Audit.Write(r)
		q.times.audit += g.o.Now().Sub(r.Time)
		if err != nil {
			g.m.auditLost.Inc()
			g.log.Error("an audit record could not be written", "error", err.Error(), "request_id", q.id)
		}
	}
	g.m.request(r, q.target, q.asked, &q.times)
	if r.Chain != nil {
		if c := g.decided[decisionKey{r.Verdict, r.Phase, r.Policy, r.Reason}]; c != nil {
			c.Inc()
		}
	}
	q.countPolicies()
	q.log()
}

func (q *call) countPolicies() {
	if q.rec.Chain == nil {
		return
	}
	for p := range q.g.counters {
		if !q.exchange.Mask.Has(p) || p >= len(q.rec.Ran) || !slices.Contains(q.rec.Ran[p][:], true) {
			continue
		}
		strictest := pipeline.Allow
		for _, n := range q.exchange.Counts() {
			if n.Entity >= pipeline.FirstEntity && int(q.g.info.Entities[n.Entity].Policy) == p {
				strictest = max(strictest, n.Action)
			}
		}
		q.g.counters[p][strictest].Inc()
	}
}

// log writes the access line, at the level that the policy which decided asks for.
func (q *call) log() {
	level := levelInfo
	if q.exchange.Chain != nil {
		if d := q.exchange.Decide(); d.Policy >= 0 && d.Policy < len(q.g.levels) {
			level = q.g.levels[d.Policy]
		}
	}
	if !q.g.log.Enabled(q.ctx, level) {
		return
	}
	if h, ok := q.g.log.Handler().(*LogHandler); ok {
		b := buf.Get(1024)
		defer buf.Put(b)
		if b.B, ok = appendAccess(b.B, q.rec.Time, level, &q.rec); ok {
			_, _ = h.w.Write(b.B) // slog drops a line that cannot be written, too
			return
		}
	}
	q.g.log.LogAttrs(q.ctx, level, "request", requestAttrs(&q.rec)...)
}

// refuse answers with an error that is not about a policy.
func (q *call) refuse(status int, e *dialect.Error) {
	e.RequestID = q.id
	if q.exchange.Chain == nil {
		q.g.m.refused.WithLabelValues(e.Code).Inc()
	}
	q.answerError("refused", status, e)
}

func (q *call) answerBlocked(e *dialect.Error) {
	outcome := "blocked"
	if e.Code == "escalation_required" {
		outcome = "escalated"
	}
	q.answerError(outcome, 409, e)
}

func (q *call) answerError(outcome string, status int, e *dialect.Error) {
	body := q.g.dialect.AppendError(nil, e)
	if status == 409 {
		q.c.Response.Header.Set("x-should-retry", "false")
	}
	q.answer(outcome, status, body)
}

// answer writes a whole body, the terminal record first.
func (q *call) answer(outcome string, status int, body []byte) {
	q.c.SetStatusCode(status)
	q.c.Response.Header.Set("Content-Type", "application/json")
	q.lastOne()
	q.w.begin(q.c)
	q.w.first = nil // it is known here
	q.rec.BytesOut = int64(len(body))
	q.rec.FirstByte = q.g.o.Now().Sub(q.began)
	q.finish(outcome, status)
	_ = q.w.body(body) // the client is gone; the connection closes
}

// upHeader is what the router may see of the client's headers. No policy reads
// them, so only values that are no text go on: a W3C trace context, and short
// tokens.
func (q *call) upHeader() http.Header {
	if q.up == nil {
		q.up = make(http.Header, 4)
	}
	for _, name := range [...]string{"Openai-Beta", "Idempotency-Key"} {
		if v := q.c.Request.Header.Peek(name); len(v) > 0 && token.Match(v) {
			q.up[name] = []string{string(v)}
		}
	}
	if v := q.c.Request.Header.Peek("Traceparent"); len(v) > 0 && traceparent.Match(v) {
		q.up["Traceparent"] = []string{string(v)}
	}
	q.ids[0] = q.id
	q.up["X-Request-Id"] = q.ids[:]
	return q.up
}

// The forms of headers that go on.
var (
	token       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._=,:/-]{0,127}$`)
	traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`) // W3C Trace Context, section 3.2
)

// ask sends the request on and brings the answer back.
func (q *call) ask() {
	q.mayCut()
	a, err := q.askFirst()
	if err != nil {
		q.noAnswer(err)
		return
	}
	defer func() { _ = a.Close() }() // its error is in the report
	for {
		q.answered(a)
		var again bool
		if a.Stream {
			again = q.relay(a)
		} else {
			again = q.whole(a)
		}
		if !again {
			return
		}
		q.takeBack(a)
		asked := q.g.o.Now()
		err := a.Replace(q.asking, upstream.BadEvent)
		q.waited(asked)
		if err != nil {
			q.noAnswer(err)
			return
		}
	}
}

// waited adds the time of a call to the targets.
func (q *call) waited(since time.Time) {
	q.now = q.g.o.Now()
	d := q.now.Sub(since)
	q.times.target += d
	q.times.first += d
}

// bodyFor gives the request as the target gets it: the scanned bytes, with the
// target's model in them.
func (q *call) bodyFor(_ *upstream.Target, model string) ([]byte, error) {
	if model == q.facts.Model {
		return q.sent.Body, nil
	}
	for i, m := range q.splicedFor {
		if m == model {
			return q.spliced[i].B, nil
		}
	}
	span := q.sent.Model
	b := buf.Get(len(q.sent.Body) + len(model) + 16)
	b.B = append(b.B, q.sent.Body[:span.Start]...)
	b.B = jsonwalk.AppendEscaped(b.B, []byte(model))
	b.B = append(b.B, q.sent.Body[span.End:]...)
	q.spliced, q.splicedFor = append(q.spliced, b), append(q.splicedFor, model)
	return b.B, nil
}

// attempts puts what was tried into the record.
func (q *call) attempts(list []upstream.Attempt, rejected []upstream.Rejected) {
	r := &q.rec
	r.Attempts, r.Rejected = r.Attempts[:0], r.Rejected[:0]
	for i := range list {
		a := &list[i]
		r.Attempts = append(r.Attempts, audit.Attempt{
			Target: a.Target.ID, Model: q.g.shown(a.Model), Result: a.Class.String(), Status: a.Status, Took: a.Duration, Probe: a.Probe,
		})
	}
	for i := range list {
		q.g.warn(&list[i])
	}
	for _, x := range rejected {
		r.Rejected = append(r.Rejected, audit.Rejected{Target: x.Target.ID, Reason: x.Reason})
	}
}

// attemptEnded puts how the stream ended into the record of the attempt that brought it.
func (q *call) attemptEnded(r *stream.Report, a *upstream.Answer) {
	class := classOf(r.End)
	if class == upstream.OK {
		return
	}
	if c := a.Failed(); c != upstream.OK && class != upstream.Cancelled {
		class = c // the transport knows best
	}
	for i := range q.rec.Attempts {
		if at := &q.rec.Attempts[i]; at.Result == upstream.OK.String() {
			at.Result = class.String()
		}
	}
}

// answered notes who answered.
func (q *call) answered(a *upstream.Answer) {
	q.attempts(a.Attempts, a.Rejected)
	q.target = a.Index
	q.rec.Target, q.rec.Provider, q.rec.TargetModel = a.Target.ID, providerOf(a.Target), q.g.shown(a.Model)
	for name, v := range a.Header {
		q.c.Response.Header.Set(ourName(name), v[0])
	}
}

// unanswered notes who was asked last when nobody answered.
func (q *call) unanswered(list []upstream.Attempt) {
	q.target = -1
	if len(list) == 0 {
		return
	}
	a := &list[len(list)-1]
	q.asked = a.Index
	q.rec.Target, q.rec.Provider, q.rec.TargetModel = a.Target.ID, providerOf(a.Target), q.g.shown(a.Model)
}

// ourName is under which name a target's header goes on.
func ourName(name string) string {
	if name == "X-Request-Id" {
		return "x-keeptrusts-upstream-request-id"
	}
	return name
}

// takeBack removes the headers of an answer that is given up: the next one has its own.
func (q *call) takeBack(a *upstream.Answer) {
	h := &q.c.Response.Header
	for name := range a.Header {
		h.Del(ourName(name))
	}
	for _, name := range streamHeaders {
		h.Del(name[0])
	}
}

// streamHeaders are those of each stream.
var streamHeaders = [...][2]string{{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}

// noAnswer tells the client that no target answered.
func (q *call) noAnswer(err error) {
	var e *upstream.Error
	if !errors.As(err, &e) {
		e = &upstream.Error{Status: 502, Code: "upstream_error"}
	}
	q.attempts(e.Attempts, e.Rejected)
	q.unanswered(e.Attempts)
	if e.Status == 499 {
		if q.g.cutting.Load() && q.ctx.Err() == nil { // the client is there
			q.c.Response.Header.Set("Retry-After", "1")
			e := draining(q.id)
			q.answerError("shutdown", 503, &e)
			return
		}
		q.gone()
		return
	}
	out := dialect.Error{Type: "upstream_error", Code: e.Code, RequestID: q.id, Message: "No model provider gave an answer."}
	switch e.Status {
	case 429:
		out.Type, out.Message = "rate_limit", "The model providers' rate limits are reached."
		if len(e.Attempts) == 0 {
			out.Message = limitText(e.Rejected)
		}
	case 404:
		out.Type, out.Message, out.Param = "invalid_request_error", "No target serves this model.", "model"
	case 503:
		out.Message = "No model provider can be asked at the moment."
	}
	for i := range e.Attempts {
		sep := "; "
		if i == 0 {
			sep = " "
		}
		out.Message += sep + e.Attempts[i].Target.ID + ": " + e.Attempts[i].Class.String()
	}
	if e.RetryAfter > 0 {
		q.c.Response.Header.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	q.answerError("upstream_error", e.Status, &out)
}

// limitKeys are the configuration's names of a target's limits, by the reason for not asking it.
var limitKeys = map[string]string{"rate_limit": "requests_per_minute", "token_limit": "tokens_per_minute", "concurrency": "max_concurrency"}

// maxNamed is how many targets an error names at the most.
const maxNamed = 8

// limitText says whose limits keep a request from being sent: those of the configuration, by
// name, or those that providers told of.
func limitText(rejected []upstream.Rejected) string {
	var own, others []string
	for _, x := range rejected {
		switch {
		case x.Own:
			own = append(own, limitKeys[x.Reason]+" of target "+x.Target.ID)
		case x.Reason == "retry_after" || x.Reason == "token_limit":
			others = append(others, "target "+x.Target.ID)
		}
	}
	list := func(names []string) string {
		if n := len(names) - maxNamed; n > 0 {
			names = append(names[:maxNamed:maxNamed], strconv.Itoa(n)+" more")
		}
		return strings.Join(names, ", ")
	}
	switch {
	case len(own) == 0 && len(others) == 0:
		return "The limits of all targets are reached."
	case len(own) == 0:
		return "The model providers' rate limits are reached: " + list(others) + "."
	case len(others) == 0:
		return "The gateway's own limit is reached, no provider was asked: " + list(own) + "."
	}
	return "The gateway's own limit is reached: " + list(own) + "; the model provider's: " + list(others) + "."
}

// abort is the outcome of a request whose connection is gone: the client's
// doing, unless a shutdown at its deadline cuts what still runs.
func (g *Gateway) abort() (outcome string, status int) {
	if g.cutting.Load() {
		return "shutdown", 503
	}
	return "client_abort", 499
}

// gone ends a request whose client went away before it got anything.
func (q *call) gone() {
	q.finish(q.g.abort())
	q.w.begin(q.c) // nothing is written; the connection closes
	q.c.Response.Header.SetConnectionClose(true)
}

// usage takes the answer's tokens over.
func (q *call) usage(u *dialect.Usage, a *upstream.Answer) {
	q.rec.InputTokens, q.rec.OutputTokens, q.rec.Estimated = u.Prompt, u.Completion, u.Estimated
	q.rec.CostMicros = a.Target.Pricing.Cost(u.Prompt, u.Completion)
}

// whole brings an answer that is no stream, or the target's refusal. true: the
// answer is not valid and another target may be asked.
func (q *call) whole(a *upstream.Answer) bool {
	g, chunk := q.g, a.Parsed
	if chunk != nil {
		// The target's answer was read by the same dialect already.
	} else if chunk = &q.chunk; g.dialect.ParseResponse(&q.scratch, a.Whole, chunk) != nil {
		if a.Status != 200 { // not in the API's form: nobody could scan it, so it does not go on
			e := dialect.Error{Type: "invalid_request_error", Code: "upstream_refused", RequestID: q.id, Message: "The model provider refused the request."}
			q.answerError("upstream_refused", a.Status, &e)
			return false
		}
		return true
	}
	began := g.o.Now()
	var r stream.Result
	s := g.scanners.Get().(*stream.Scanner)
	s.ScanResponse(&r, a.Whole, chunk, &q.exchange, g.o.FailOpen, q.promptBytes)
	g.scanners.Put(s)
	q.times.scan[1], q.times.looked[1] = q.times.scan[1]+g.o.Now().Sub(began), true
	defer r.Close()
	q.scanned(&r.Report)
	if a.Status == 200 {
		q.usage(&r.Report.Usage, a)
		a.Report(upstream.Report{PromptTokens: r.Report.Usage.Prompt, CompletionTokens: r.Report.Usage.Completion})
	}
	if r.Blocked {
		d := q.exchange.Decide()
		e := stream.BlockError(&d, true, q.id)
		q.answerBlocked(&e)
		return false
	}
	outcome := "completed"
	if a.Status != 200 {
		outcome = "upstream_refused"
	}
	a.Commit()
	q.answer(outcome, a.Status, r.Body)
	return false
}

// askFirst asks the targets.
//
//go:noinline
func (q *call) askFirst() (*upstream.Answer, error) {
	u := upstream.Call{
		Path: "/v1/chat/completions", Model: q.facts.Model, Stream: q.req.Stream, Header: q.upHeader(),
		Body: q.bodyFor, Dialect: q.g.dialect, Sticky: q.facts.User, PromptTokens: (q.promptBytes + 3) / 4, MaxTokens: max(q.req.MaxTokens, 0),
	}
	if q.g.o.StickyBy == "conversation" {
		u.Sticky = q.facts.Conversation
	}
	asked := q.now
	a, err := q.g.o.Router.Do(q.asking, u)
	q.waited(asked)
	return a, err
}

// relayOf is what carries a streamed answer to the client.
//
//go:noinline
func (q *call) relayOf(a *upstream.Answer, body io.ReadCloser) *stream.Relay {
	g := q.g
	return &stream.Relay{
		Window: &q.window, Body: body, Client: client{q.w}, KeepAlive: g.o.KeepAlive,
		BetweenBytes: -1, // the transport bounds it, per target
		EndOf:        endOf,
		BeforeEnd: func(r *stream.Report) {
			q.w.last = true
			if q.rec.FirstByte == 0 { // all of it leaves in one write
				q.rec.FirstByte = g.o.Now().Sub(q.began)
			}
			q.streamDone(r, a, nil)
		},
	}
}

// beginStream writes the head of a streamed answer, which leaves with its first event.
//
//go:noinline
func (q *call) beginStream() {
	g, c := q.g, q.c
	c.SetStatusCode(200)
	h := &c.Response.Header
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	for _, f := range streamHeaders {
		h.Set(f[0], f[1])
	}
	q.window.Reset(stream.Options{Dialect: g.dialect, Exchange: &q.exchange, FailOpen: g.o.FailOpen, RequestID: q.id, PromptBytes: q.promptBytes, Scratch: &q.scratch})
	q.lastOne()
	q.w.begin(c)
}

// lastOne says that the connection takes no further request while the gateway drains.
func (q *call) lastOne() {
	if q.g.draining.Load() {
		q.c.Response.Header.SetConnectionClose(true)
	}
}

// relay brings a stream. true: nothing of it went out and another target may be asked.
func (q *call) relay(a *upstream.Answer) bool {
	g, c := q.g, q.c
	q.beginStream()
	var body io.ReadCloser = &answerBody{a: a, w: &q.window, ctx: q.ctx, asking: q.asking}
	if g.o.MinHold > 0 {
		h := newHold(body, g.o.MinHold, g.dialect)
		defer h.end()
		body = h
	}
	err := q.relayOf(a, body).Run(q.ctx)
	r := q.window.Report()
	if err == nil || r.Committed || errors.Is(err, stream.ErrClientGone) {
		if r.Committed {
			a.Commit()
		}
		q.streamDone(r, a, err)
		return false
	}
	// What was found in it stays on record.
	c.Response.HijackWriter(nil)
	q.scanned(r)
	q.streamTimes(r)
	g.m.streamed(r, q.target, 0, 0)
	return true
}

// endOf says how a stream ended by the transport's word for it.
func endOf(err error) stream.End {
	switch upstream.ClassOf(err) {
	case upstream.TimeoutBetweenBytes, upstream.TimeoutTotal, upstream.TimeoutFirstByte:
		return stream.EndTimeout
	case upstream.Reset, upstream.Cut, upstream.Cancelled: // the last by a shutdown: who is gone reads nothing
		return stream.EndCut
	case upstream.BadResponse, upstream.TooLarge:
		return stream.EndBadEvent
	}
	return stream.EndUpstreamError
}

// streamCounts takes a stream's figures over.
func (q *call) streamCounts(r *stream.Report, a *upstream.Answer) {
	q.scanned(r)
	q.usage(&r.Usage, a)
	q.rec.BytesOut = r.BytesOut
	q.streamTimes(r)
	q.g.m.streamed(r, q.target, q.rec.FirstByte, q.times.first)
}

// streamTimes takes over where the time of a stream went.
func (q *call) streamTimes(r *stream.Report) {
	t := &q.times
	t.target += r.Waited
	t.client += r.Wrote
	t.scan[1], t.looked[1] = t.scan[1]+r.Worked, true
}

// streamDone ends the record of a stream that was relayed; the first call counts.
func (q *call) streamDone(r *stream.Report, a *upstream.Answer, err error) {
	if q.ended {
		return
	}
	q.streamCounts(r, a)
	q.attemptEnded(r, a)
	outcome, status := "completed", 200
	switch r.End {
	case stream.EndDone:
	case stream.EndBlocked:
		outcome = "blocked"
		if d := q.exchange.Decide(); d.Verdict == pipeline.VerdictEscalate {
			outcome = "escalated"
		}
	case stream.EndClientGone:
		outcome, status = q.g.abort()
	default:
		if q.asking.Err() != nil { // it was ended from here
			outcome, status = q.g.abort()
			break
		}
		outcome = "upstream_" + r.End.String()
		if r.End == stream.EndUpstreamError {
			outcome = "upstream_error"
		}
	}
	if err != nil && errors.Is(err, stream.ErrClientGone) {
		outcome, status = q.g.abort()
	}
	q.finish(outcome, status)
}

// answerBody is a stream's body that says how it went when it is closed.
type answerBody struct {
	a           *upstream.Answer
	w           *stream.Window
	ctx, asking context.Context // both: where ctx ends, what it has called may run before asking ends
}

func (b *answerBody) Read(p []byte) (int, error) { return b.a.Body.Read(p) }

// Close may be called while Read waits, when the client is gone: the window is
// not looked at then, nor when a shutdown cut the stream.
func (b *answerBody) Close() error {
	if b.ctx.Err() != nil || b.asking.Err() != nil {
		b.a.Report(upstream.Report{Class: upstream.Cancelled})
		return b.a.Close()
	}
	r := b.w.Report()
	b.a.Report(upstream.Report{PromptTokens: r.Usage.Prompt, CompletionTokens: r.Usage.Completion, Class: classOf(r.End)})
	return b.a.Close()
}

// classOf says how an attempt ended whose stream ended so.
func classOf(end stream.End) upstream.ErrorClass {
	switch end {
	case stream.EndNone, stream.EndClientGone:
		return upstream.Cancelled
	case stream.EndCut:
		return upstream.Cut
	case stream.EndBadEvent:
		return upstream.BadEvent
	case stream.EndUpstreamError:
		return upstream.MidStreamError
	case stream.EndTimeout:
		return upstream.TimeoutBetweenBytes
	}
	return upstream.OK
}
