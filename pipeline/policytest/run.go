package policytest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
)

// Options of Run. The zero value runs every case once.
type Options struct {
	Run *regexp.Regexp // cases whose name (with "suite/" before it) matches; nil: all
	// AllSplits replays each case with every text cut in two at every position
	// (at most MaxSplits of them, evenly spread) and cut into single characters.
	// Texts of requests are cut for the sessions, texts of answers are streamed.
	AllSplits bool
	FailOpen  bool
}

// MaxSplits bounds the replays of one text: longer texts are cut at every n-th position.
const MaxSplits = 1024

// Report is the documented output.
type Report struct {
	OK       bool     `json:"ok"`
	Results  []Result `json:"results"`
	Coverage Coverage `json:"coverage"`
}

// Result is the outcome of one case.
type Result struct {
	Name       string  `json:"name"`
	Verdict    string  `json:"verdict"`
	ReasonCode string  `json:"reason_code"`
	Passed     bool    `json:"passed"`
	Details    Details `json:"details"`
	Suite      string  `json:"suite,omitempty"`
	File       string  `json:"file,omitempty"`
	Line       int     `json:"line,omitempty"` // where the case begins
}

// Details say how a result came about.
type Details struct {
	PolicyResults []PolicyResult     `json:"policy_results"`
	QualityScores map[string]float64 `json:"quality_scores"`     // by assertion, null without any
	Failures      []string           `json:"failures,omitempty"` // one sentence for each thing that differs
	Notes         []string           `json:"notes,omitempty"`    // assertions in audit mode
	Output        *string            `json:"output,omitempty"`
	Splits        int                `json:"splits,omitempty"` // replays done
}

// PolicyResult is what one policy of the chain did.
type PolicyResult struct {
	Name     string         `json:"name"`
	Result   string         `json:"result"` // pass, or the strictest action taken; inactive by its conditions
	Phase    string         `json:"phase,omitempty"`
	Entities map[string]int `json:"entities_found,omitempty"`
}

// Coverage tells what the cases reached.
type Coverage struct {
	Policies []PolicyCoverage `json:"policies"`
}

// PolicyCoverage is how often a policy of the chain found something.
type PolicyCoverage struct {
	Name     string   `json:"name"`
	Cases    int      `json:"cases"`     // in which it found something
	Found    []string `json:"found"`     // entities
	NotFound []string `json:"not_found"` // entities that no case has
}

// Run runs the cases against the chain.
func Run(c pipeline.Chain, cases []Case, o Options) *Report {
	r := &Report{OK: true, Results: []Result{}}
	seen := make([]map[string]bool, len(c.Info().Policies))
	hits := make([]int, len(seen))
	for i := range cases {
		full := cases[i].Name
		if cases[i].Suite != "" {
			full = cases[i].Suite + "/" + full
		}
		if o.Run != nil && !o.Run.MatchString(full) {
			continue
		}
		res, counts := runCase(c, &cases[i], o)
		r.OK = r.OK && res.Passed
		r.Results = append(r.Results, res)
		had := map[uint8]bool{}
		for _, n := range counts {
			e := c.Info().Entities[n.Entity]
			if n.Entity < pipeline.FirstEntity || int(e.Policy) >= len(seen) {
				continue
			}
			if seen[e.Policy] == nil {
				seen[e.Policy] = map[string]bool{}
			}
			seen[e.Policy][e.Name] = true
			if !had[e.Policy] {
				had[e.Policy] = true
				hits[e.Policy]++
			}
		}
	}
	for p, info := range c.Info().Policies {
		pc := PolicyCoverage{Name: info.Kind, Cases: hits[p], Found: []string{}, NotFound: []string{}}
		for k, e := range c.Info().Entities {
			if k < pipeline.FirstEntity || int(e.Policy) != p {
				continue
			}
			if seen[p][e.Name] {
				pc.Found = append(pc.Found, e.Name)
			} else {
				pc.NotFound = append(pc.NotFound, e.Name)
			}
		}
		r.Coverage.Policies = append(r.Coverage.Policies, pc)
	}
	return r
}

var chat = openai.New()

// outcome is what a run of a case gave.
type outcome struct {
	decision pipeline.Decision
	counts   []pipeline.Count
	output   string
	end      string // how the answer's first choice ended; empty without an answer
}

// exchange is a case made ready: its request and its answer.
type exchange struct {
	chain    pipeline.Chain
	failOpen bool
	body     []byte
	request  dialect.Request
	facts    pipeline.Facts
	answer   []byte   // a whole answer
	events   [][]byte // an answer in chunks
	scratch  dialect.Scratch
}

func runCase(c pipeline.Chain, tc *Case, o Options) (Result, []pipeline.Count) {
	r := Result{Name: tc.Name, Suite: tc.Suite, File: tc.File, Line: tc.Line, Details: Details{PolicyResults: []PolicyResult{}}}
	x, err := prepare(c, tc, o)
	if err != nil {
		r.Details.Failures = append(r.Details.Failures, err.Error())
		return r, nil
	}
	got, x0, err := x.run(x.events)
	if err != nil {
		r.Details.Failures = append(r.Details.Failures, err.Error())
		return r, nil
	}
	r.Verdict, r.ReasonCode = string(got.decision.Verdict), got.decision.Reason
	r.Details.Output = &got.output
	r.Details.PolicyResults = policyResults(c.Info(), x0.Mask, got.counts)
	r.compare(tc, &got, c.Info())
	if o.AllSplits {
		n, differs := x.splits(&got)
		r.Details.Splits = n
		r.Details.Failures = append(r.Details.Failures, differs...)
	}
	r.Passed = len(r.Details.Failures) == 0
	return r, got.counts
}

func (r *Result) failf(format string, args ...any) {
	r.Details.Failures = append(r.Details.Failures, fmt.Sprintf(format, args...))
}

func (r *Result) compare(tc *Case, got *outcome, info *pipeline.Info) {
	e := &tc.Expected
	if e.Verdict != "" && e.Verdict != r.Verdict {
		r.failf("verdict is %s, expected %s", r.Verdict, e.Verdict)
	}
	if e.ReasonCode != "" && e.ReasonCode != r.ReasonCode {
		r.failf("reason_code is %s, expected %s%s", r.ReasonCode, e.ReasonCode, unknownReason(info, e.ReasonCode))
	}
	if e.Output != nil && *e.Output != got.output {
		r.failf("output is %q, expected %q", got.output, *e.Output)
	}
	facts := map[string]any{
		"policy": got.decision.Kind, "entity": got.decision.Entity, "action": got.decision.Action.String(),
		"phase": got.decision.Phase.String(), "verdict": r.Verdict, "reason_code": r.ReasonCode, "finish_reason": got.end,
	}
	for k, want := range e.Metadata {
		have, ok := facts[k]
		if !ok {
			r.failf("metadata.%s: there is no such fact; want one of action, entity, finish_reason, phase, policy, reason_code, verdict", k)
		} else if !reflect.DeepEqual(have, want) {
			r.failf("metadata.%s is %v, expected %v", k, have, want)
		}
	}
	for i := range tc.Assertions {
		a := &tc.Assertions[i]
		if !a.on() {
			continue
		}
		points, ok, err := a.judge(got.output)
		if r.Details.QualityScores == nil {
			r.Details.QualityScores = map[string]float64{}
		}
		r.Details.QualityScores[a.label()] = points
		say := a.failure(points, got.output)
		if err != nil {
			say = fmt.Sprintf("assertion %s: %v", a.label(), err)
		}
		switch {
		case ok, a.Mode == "shadow":
		case a.Mode == "audit":
			r.Details.Notes = append(r.Details.Notes, say)
		default:
			r.Details.Failures = append(r.Details.Failures, say)
		}
	}
}

// unknownReason says so of a reason code that no outcome of the chain can have.
func unknownReason(info *pipeline.Info, code string) string {
	known := []string{passedReason}
	for _, e := range info.Entities {
		known = append(known, e.Reason)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if slices.Contains(known, code) {
		return ""
	}
	if near := diag.Nearest(code, known); near != "" {
		return "; no policy of the chain gives this reason: did you mean " + near + "?"
	}
	return "; no policy of the chain gives this reason: there are " + strings.Join(known, ", ")
}

// passedReason is that of an exchange in which nothing was found.
const passedReason = "all_policies_passed"

func policyResults(info *pipeline.Info, mask pipeline.Mask, counts []pipeline.Count) []PolicyResult {
	out := []PolicyResult{}
	for p := range info.Policies {
		r := PolicyResult{Name: info.Policies[p].Kind, Result: "pass"}
		if !mask.Has(p) {
			r.Result = "inactive"
		}
		strictest := pipeline.Allow
		for _, n := range counts {
			e := info.Entities[n.Entity]
			if n.Entity < pipeline.FirstEntity || int(e.Policy) != p {
				continue
			}
			if r.Entities == nil {
				r.Entities = map[string]int{}
			}
			r.Entities[e.Name] += n.N
			if n.Action > strictest {
				strictest, r.Result, r.Phase = n.Action, n.Action.String(), n.Phase.String()
			}
		}
		out = append(out, r)
	}
	return out
}

// prepare makes the request and the answer of a case.
func prepare(c pipeline.Chain, tc *Case, o Options) (*exchange, error) {
	x := &exchange{chain: c, failOpen: o.FailOpen}
	body := map[string]json.RawMessage{}
	if tc.Input.Request != nil {
		if err := json.Unmarshal(tc.Input.Request, &body); err != nil {
			return nil, fmt.Errorf("input.request must be an object: %w", err)
		}
		if body == nil {
			return nil, errors.New("input.request must be an object; it is null")
		}
	}
	if tc.Input.Messages != nil {
		body["messages"] = tc.Input.Messages
	}
	if body["model"] == nil {
		body["model"] = json.RawMessage(`"test-model"`)
	}
	streamed, err := x.response(tc.Input.UpstreamResponse, string(body["stream"]) == "true")
	if err != nil {
		return nil, err
	}
	if streamed {
		body["stream"] = json.RawMessage("true")
	}
	if x.body, err = json.Marshal(body); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if err := chat.ParseRequest(&x.scratch, x.body, &x.request); err != nil {
		return nil, fmt.Errorf("input is no valid request: %w", err)
	}
	header := func(name string) string {
		for k, v := range tc.Input.Headers {
			if strings.EqualFold(k, name) {
				return v
			}
		}
		return ""
	}
	var model string
	_ = json.Unmarshal(body["model"], &model) // a string: the parser said so
	x.facts = pipeline.Facts{
		Model: model, Path: "/v1/chat/completions", Stream: x.request.Stream, BodyBytes: len(x.body), Messages: x.request.Messages,
		User: header("X-User-Id"), Team: header("X-Team-Id"), Agent: header("X-Keeptrusts-Agent-Id"),
		Conversation: header("X-Conversation-ID"), Header: header,
	}
	if x.facts.Team == "" && len(tc.Input.TeamSlugs) > 0 {
		x.facts.Team = tc.Input.TeamSlugs[0]
	}
	x.facts.Tools = toolNames(body["tools"])
	return x, nil
}

func toolNames(tools json.RawMessage) (out []string) {
	var list []struct{ Function struct{ Name string } }
	if json.Unmarshal(tools, &list) != nil { // absent: no tools; malformed: the parser said so
		return nil
	}
	for _, t := range list {
		out = append(out, t.Function.Name)
	}
	return out
}

const chunkHead = `{"id":"chatcmpl-test","object":"chat.completion.chunk","created":0,"model":"test-model","choices":[`

func chunk(choice int, delta, finish string) []byte {
	return fmt.Appendf(nil, `%s{"index":%d,"delta":%s,"finish_reason":%s}]}`, chunkHead, choice, delta, finish)
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always has a JSON form
	return string(b)
}

// response reads upstream_response and tells whether the answer is a stream.
func (x *exchange) response(raw json.RawMessage, stream bool) (bool, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return stream, nil
	}
	switch raw[0] {
	case '"':
		x.answer = fmt.Appendf(nil, `{"id":"chatcmpl-test","object":"chat.completion","created":0,"model":"test-model","choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}]}`, raw)
	case '{':
		x.answer = raw
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return false, fmt.Errorf("read input.upstream_response: %w", err)
		}
		return true, x.chunks(list)
	default:
		return false, errors.New("input.upstream_response must be a text, an answer object or a list of chunks")
	}
	if stream {
		texts, err := readAnswer(x.answer)
		if err != nil {
			return false, err
		}
		x.answer, x.events = nil, texts.events(whole)
	}
	return stream, nil
}

// chunks reads a list of chunks; an end that is missing is added.
func (x *exchange) chunks(list []json.RawMessage) error {
	finished := false
	for i, item := range list {
		item = bytes.TrimSpace(item)
		switch {
		case len(item) > 0 && item[0] == '"':
			x.events = append(x.events, chunk(0, fmt.Sprintf(`{"content":%s}`, item), "null"))
		case len(item) > 0 && item[0] == '{':
			var c struct {
				Choices []struct {
					Finish *string `json:"finish_reason"`
				}
			}
			if err := json.Unmarshal(item, &c); err != nil {
				return fmt.Errorf("read input.upstream_response[%d]: %w", i, err)
			}
			for _, ch := range c.Choices {
				finished = finished || ch.Finish != nil
			}
			x.events = append(x.events, item)
		default:
			return fmt.Errorf("input.upstream_response[%d] must be a text or a chunk object", i)
		}
	}
	if !finished {
		x.events = append(x.events, chunk(0, "{}", `"stop"`))
	}
	return nil
}

// begin starts an exchange and scans the request.
func (x *exchange) begin() (e *pipeline.Exchange, res stream.Result) {
	e = new(pipeline.Exchange)
	e.Begin(x.chain, &x.facts, new(pipeline.Findings))
	var s stream.Scanner
	s.ScanRequest(&res, x.body, &x.request, e, x.failOpen, "")
	return e, res
}

// run takes the case through once, with the answer as events when there are any.
func (x *exchange) run(events [][]byte) (outcome, *pipeline.Exchange, error) {
	e, res := x.begin()
	defer res.Close()
	var out outcome
	if !res.Blocked {
		var err error
		switch {
		case events != nil:
			err = x.stream(e, events, &out)
		case x.answer != nil:
			err = x.whole(e, &out)
		default:
			out.output, err = lastMessage(res.Body)
		}
		if err != nil {
			return out, e, err
		}
	}
	out.decision = e.Decide()
	out.counts = slices.Clone(e.Counts())
	return out, e, nil
}

func (x *exchange) whole(e *pipeline.Exchange, out *outcome) error {
	var c dialect.Chunk
	if err := chat.ParseResponse(&x.scratch, x.answer, &c); err != nil {
		return fmt.Errorf("input.upstream_response is no valid answer: %w", err)
	}
	var s stream.Scanner
	var res stream.Result
	s.ScanResponse(&res, x.answer, &c, e, x.failOpen, 0)
	defer res.Close()
	if res.Blocked {
		return nil
	}
	texts, err := readAnswer(res.Body)
	if err != nil {
		return err
	}
	out.output, out.end = texts.first()
	return nil
}

func (x *exchange) stream(e *pipeline.Exchange, events [][]byte, out *outcome) error {
	var w stream.Window
	w.Reset(stream.Options{Dialect: chat, Exchange: e, FailOpen: x.failOpen, RequestID: "req-test"})
	defer w.Close()
	var sent []byte
	var err error
	for _, ev := range append(slices.Clip(events), []byte("[DONE]")) {
		in := append([]byte("data: "), bytes.ReplaceAll(ev, []byte("\n"), []byte("\ndata: "))...)
		if err = w.Write(append(in, "\n\n"...)); err != nil {
			break
		}
		sent = append(sent, w.Out()...)
		w.Sent()
	}
	if err != nil {
		return fmt.Errorf("input.upstream_response is no valid stream: %w", err)
	}
	texts := answerTexts{}
	for block := range bytes.SplitSeq(sent, []byte("\n\n")) {
		data := bytes.TrimPrefix(block, []byte("data: "))
		if len(data) == 0 || string(data) == "[DONE]" {
			continue
		}
		if err := texts.add(bytes.ReplaceAll(data, []byte("\ndata: "), []byte("\n"))); err != nil {
			return err
		}
	}
	out.output, out.end = texts.first()
	return nil
}

// lastMessage is the text of the last message.
func lastMessage(body []byte) (string, error) {
	var r struct {
		Messages []struct{ Content json.RawMessage }
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return "", fmt.Errorf("read the request that goes on: %w", err)
	}
	if len(r.Messages) == 0 {
		return "", nil
	}
	return contentText(r.Messages[len(r.Messages)-1].Content), nil
}

func contentText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct{ Text string }
	if json.Unmarshal(raw, &parts) != nil { // null: no text
		return ""
	}
	for _, p := range parts {
		s += p.Text
	}
	return s
}

// answerTexts are the texts of an answer, to be streamed in pieces.
type answerTexts []choiceText

type choiceText struct {
	index  int
	finish string
	texts  []fieldText
}

// fieldText is one text of a choice; call is the tool call's index, -1 for none.
type fieldText struct {
	field, text, id, name string
	call                  int
}

type answerJSON struct {
	Choices []struct {
		Index          int
		Message, Delta messageJSON
		Finish         string `json:"finish_reason"`
	}
}

type messageJSON struct {
	Content          json.RawMessage
	Refusal          string
	Reasoning        string
	ReasoningContent string     `json:"reasoning_content"`
	ToolCalls        []callJSON `json:"tool_calls"`
}

type callJSON struct {
	Index    int
	ID       string
	Function struct{ Name, Arguments string }
}

// readAnswer reads a whole answer.
func readAnswer(raw []byte) (answerTexts, error) {
	var a answerJSON
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("input.upstream_response is no answer: %w", err)
	}
	if len(a.Choices) == 0 {
		return nil, errors.New("input.upstream_response has no choices")
	}
	var out answerTexts
	for i := range a.Choices {
		ch := &a.Choices[i]
		for k := range ch.Message.ToolCalls {
			ch.Message.ToolCalls[k].Index = k
		}
		out.message(ch.Index, ch.Message)
		out[out.choice(ch.Index)].finish = ch.Finish
	}
	return out, nil
}

// add takes one chunk of a stream.
func (t *answerTexts) add(raw []byte) error {
	var a answerJSON
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("read what the client gets: %w", err)
	}
	for i := range a.Choices {
		ch := &a.Choices[i]
		t.message(ch.Index, ch.Delta)
		if ch.Finish != "" {
			(*t)[t.choice(ch.Index)].finish = ch.Finish
		}
	}
	return nil
}

func (t *answerTexts) choice(index int) int {
	for i := range *t {
		if (*t)[i].index == index {
			return i
		}
	}
	*t = append(*t, choiceText{index: index})
	return len(*t) - 1
}

func (t *answerTexts) message(choice int, m messageJSON) {
	c := &(*t)[t.choice(choice)]
	c.put(fieldText{field: "reasoning_content", text: m.ReasoningContent, call: -1})
	c.put(fieldText{field: "reasoning", text: m.Reasoning, call: -1})
	c.put(fieldText{field: "content", text: contentText(m.Content), call: -1})
	c.put(fieldText{field: "refusal", text: m.Refusal, call: -1})
	for _, k := range m.ToolCalls {
		c.put(fieldText{field: "arguments", text: k.Function.Arguments, call: k.Index, id: k.ID, name: k.Function.Name})
	}
}

func (c *choiceText) put(f fieldText) {
	for i := range c.texts {
		if g := &c.texts[i]; g.field == f.field && g.call == f.call {
			g.text += f.text
			return
		}
	}
	if f.text != "" || f.name != "" {
		c.texts = append(c.texts, f)
	}
}

// first is the content of the first choice, its tool-call arguments when it has no content.
func (t answerTexts) first() (text, finish string) {
	for _, c := range t {
		if c.index != 0 {
			continue
		}
		for _, f := range c.texts {
			if f.field == "content" {
				return f.text, c.finish
			}
		}
		for _, f := range c.texts {
			if f.call >= 0 {
				text += f.text
			}
		}
		return text, c.finish
	}
	return "", ""
}

func whole(_, _ int, text string) []string { return []string{text} }

// events streams the texts; cut gives the pieces of one text by the positions of its choice and its field.
func (t answerTexts) events(cut func(choice, field int, text string) []string) [][]byte {
	var out [][]byte
	for _, c := range t {
		out = append(out, chunk(c.index, `{"role":"assistant","content":""}`, "null"))
	}
	for i, c := range t {
		for k, f := range c.texts {
			if f.call < 0 {
				for _, p := range cut(i, k, f.text) {
					out = append(out, chunk(c.index, fmt.Sprintf(`{%q:%s}`, f.field, quoted(p)), "null"))
				}
				continue
			}
			out = append(out, chunk(c.index, fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":""}}]}`, f.call, quoted(f.id), quoted(f.name)), "null"))
			for _, p := range cut(i, k, f.text) {
				out = append(out, chunk(c.index, fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, f.call, quoted(p)), "null"))
			}
		}
		finish := c.finish
		if finish == "" {
			finish = "stop"
		}
		out = append(out, chunk(c.index, "{}", quoted(finish)))
	}
	return out
}

// splits replays the case and says what differs from the first run.
func (x *exchange) splits(want *outcome) (n int, differs []string) {
	n, differs = x.requestSplits()
	if x.answer == nil && x.events == nil {
		return n, differs
	}
	var texts answerTexts
	if x.answer != nil {
		var err error
		if texts, err = readAnswer(x.answer); err != nil {
			return n, append(differs, err.Error())
		}
	} else {
		for _, ev := range x.events {
			if err := texts.add(ev); err != nil {
				return n, append(differs, err.Error())
			}
		}
	}
	base, _, err := x.run(texts.events(whole))
	if err != nil {
		return n, append(differs, err.Error())
	}
	if base.decision.Verdict != want.decision.Verdict || base.decision.Reason != want.decision.Reason {
		differs = append(differs, fmt.Sprintf("streamed, the verdict is %s (%s)", base.decision.Verdict, base.decision.Reason))
	}
	try := func(where string, cut func(int, int, string) []string) {
		n++
		got, _, err := x.run(texts.events(cut))
		switch {
		case len(differs) >= maxDiffers:
		case err != nil:
			differs = append(differs, fmt.Sprintf("%s: %v", where, err))
		case got.decision.Verdict != base.decision.Verdict || got.decision.Reason != base.decision.Reason:
			differs = append(differs, fmt.Sprintf("%s: the verdict is %s (%s), uncut %s (%s)", where, got.decision.Verdict, got.decision.Reason, base.decision.Verdict, base.decision.Reason))
		case got.output != base.output || got.end != base.end:
			differs = append(differs, fmt.Sprintf("%s: the output differs: %q, uncut %q", where, got.output, base.output))
		}
	}
	for i := range texts {
		for k := range texts[i].texts {
			text := texts[i].texts[k].text
			for _, at := range positions(text) {
				try(fmt.Sprintf("choice %d, %s cut at byte %d", texts[i].index, texts[i].texts[k].field, at), func(a, b int, s string) []string {
					if a == i && b == k {
						return []string{s[:at], s[at:]}
					}
					return []string{s}
				})
			}
		}
	}
	try("cut into characters", func(_, _ int, s string) []string { return strings.Split(s, "") })
	return n, differs
}

// maxDiffers bounds how many differing replays are told.
const maxDiffers = 10

// positions are the places at which a text is cut: between characters.
func positions(s string) []int {
	var all []int
	for i := range s {
		if i > 0 {
			all = append(all, i)
		}
	}
	if len(all) <= MaxSplits {
		return all
	}
	step := (len(all) + MaxSplits - 1) / MaxSplits
	var out []int
	for i := 0; i < len(all); i += step {
		out = append(out, all[i])
	}
	return out
}

// requestSplits feeds each text of the request in two pieces.
func (x *exchange) requestSplits() (n int, differs []string) {
	e := new(pipeline.Exchange)
	e.Begin(x.chain, &x.facts, new(pipeline.Findings))
	for i := range x.request.Pieces {
		p := &x.request.Pieces[i]
		class, mask := pipeline.Class(p.Class), e.Mask
		if p.Instructions() {
			mask = e.Instructions
		}
		if p.Has(dialect.Opaque) || !x.chain.Scans(class, mask) {
			continue
		}
		var text string
		if json.Unmarshal([]byte(`"`+string(x.body[p.Start:p.End])+`"`), &text) != nil {
			continue // the parser let it pass: does not happen
		}
		want := feed(x.chain, class, mask, text)
		for _, at := range positions(text) {
			n++
			if got := feed(x.chain, class, mask, text[:at], text[at:]); !slices.Equal(got, want) && len(differs) < maxDiffers {
				differs = append(differs, fmt.Sprintf("request text %d (%s) cut at byte %d: %d findings, uncut %d, or others", i+1, p.Key.Field, at, len(got), len(want)))
			}
		}
	}
	return n, differs
}

type found struct {
	start, end int64
	entity     uint16
	policy     uint8
	action     pipeline.Action
	repl       string
}

func feed(c pipeline.Chain, class pipeline.Class, m pipeline.Mask, pieces ...string) []found {
	s := c.Session(class, m)
	defer s.Close()
	var f pipeline.Findings
	var win []byte
	base := int64(0)
	for i, p := range pieces {
		n := len(win)
		win = append(win, p...)
		keep := pipeline.Feed(s, win, n, i == len(pieces)-1, base, false, &f)
		win, base = slices.Clone(win[keep:]), base+int64(keep)
	}
	var out []found
	for i := range f.List {
		g := &f.List[i]
		out = append(out, found{g.Start, g.End, g.Entity, g.Policy, g.Action, string(f.Replacement(i))})
	}
	return out
}

// Failed counts the cases that failed.
func (r *Report) Failed() (n int) {
	for i := range r.Results {
		if !r.Results[i].Passed {
			n++
		}
	}
	return n
}

// maxWord and maxLine are how many characters of a name and of an explanation
// the table has: both quote what stands in the files.
const (
	maxWord = 128
	maxLine = 2048
)

// WriteTable writes the results for a person.
func (r *Report) WriteTable(w io.Writer) error {
	var b bytes.Buffer
	for i := range r.Results {
		res := &r.Results[i]
		word := "ok  "
		if !res.Passed {
			word = "FAIL"
		}
		name := res.Name
		if res.Suite != "" {
			name = res.Suite + "/" + name
		}
		fmt.Fprintf(&b, "%s  %-8s %-32s %s", word, res.Verdict, diag.Word(res.ReasonCode, maxWord), diag.Word(name, maxWord))
		if res.Details.Splits > 0 {
			fmt.Fprintf(&b, " (%d splits)", res.Details.Splits)
		}
		b.WriteByte('\n')
		for _, f := range res.Details.Failures {
			fmt.Fprintf(&b, "      %s\n", diag.Word(f, maxLine))
		}
		if !res.Passed {
			res.writeWhy(&b)
		}
		for _, f := range res.Details.Notes {
			fmt.Fprintf(&b, "      note: %s\n", diag.Word(f, maxLine))
		}
	}
	fmt.Fprintf(&b, "%d cases, %d failed\n", len(r.Results), r.Failed())
	for _, p := range r.Coverage.Policies {
		if len(p.Found)+len(p.NotFound) > 0 {
			fmt.Fprintf(&b, "coverage: %s found something in %d cases, %d of %d entities\n", p.Name, p.Cases, len(p.Found), len(p.Found)+len(p.NotFound))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// writeWhy says what a failed case met: where it stands, and what each policy did.
func (r *Result) writeWhy(b *bytes.Buffer) {
	var did []string
	for _, p := range r.Details.PolicyResults {
		s := p.Name + " " + p.Result
		if p.Result == "inactive" {
			s += " (its conditions do not hold)"
		}
		if len(p.Entities) > 0 {
			s += " " + strings.Join(slices.Sorted(maps.Keys(p.Entities)), ", ")
		}
		if p.Phase != "" {
			s += " in the " + p.Phase
		}
		did = append(did, s)
	}
	if len(did) > 0 {
		fmt.Fprintf(b, "      policies: %s\n", diag.Word(strings.Join(did, "; "), maxLine))
	}
	if r.File != "" {
		fmt.Fprintf(b, "      at %s:%d\n", diag.Word(r.File, maxLine), r.Line)
	}
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the results as JUnit XML: a suite for each file or inline suite.
func (r *Report) WriteJUnit(w io.Writer) error {
	out := junitSuites{Tests: len(r.Results), Failures: r.Failed()}
	for i := range r.Results {
		res := &r.Results[i]
		name := res.Suite
		if name == "" {
			name = res.File
		}
		k := slices.IndexFunc(out.Suites, func(s junitSuite) bool { return s.Name == name })
		if k < 0 {
			out.Suites = append(out.Suites, junitSuite{Name: name})
			k = len(out.Suites) - 1
		}
		s := &out.Suites[k]
		c := junitCase{Name: res.Name, Class: name, File: res.File, Line: res.Line}
		s.Tests++
		if !res.Passed {
			s.Failures++
			c.Failure = &junitFailure{Message: "outcome differs", Text: strings.Join(res.Details.Failures, "\n")}
			if len(res.Details.Failures) > 0 {
				c.Failure.Message = res.Details.Failures[0]
			}
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}
