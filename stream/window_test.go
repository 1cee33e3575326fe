package stream_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect/openai"
	"github.com/keeptrusts/kt/stream/sse"
)

var chat = openai.New()

const head = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m-1","choices":[`

// event frames the JSON of choices as one event.
func event(choices string) string { return "data: " + head + choices + "]}\n\n" }

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func content(choice int, text string) string {
	return event(fmt.Sprintf(`{"index":%d,"delta":{"content":%s},"finish_reason":null}`, choice, quote(text)))
}

func field(choice int, name, text string) string {
	return event(fmt.Sprintf(`{"index":%d,"delta":{%q:%s},"finish_reason":null}`, choice, name, quote(text)))
}

func toolArgs(choice, call int, text string) string {
	return event(fmt.Sprintf(`{"index":%d,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]},"finish_reason":null}`, choice, call, quote(text)))
}

func role(choice int) string {
	return event(fmt.Sprintf(`{"index":%d,"delta":{"role":"assistant","content":""},"finish_reason":null}`, choice))
}

func finish(choice int, reason string) string {
	return event(fmt.Sprintf(`{"index":%d,"delta":{},"finish_reason":%q}`, choice, reason))
}

const done = "data: [DONE]\n\n"

// answer is what a client made of a stream.
type answer struct {
	content, reasoning, refusal map[int]string
	args                        map[[2]int]string
	finish                      map[int]string
	done                        bool
	failed                      string // code of an error event
	reason                      string // reason code of the keeptrusts object
	frames                      []string
}

// events gives the payloads of a stream.
func events(t testing.TB, out []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		var f sse.Framer
		defer f.Close()
		for len(out) > 0 {
			ev, n, ok, err := f.Next(out)
			if err != nil {
				t.Fatal(err)
			}
			if out = out[n:]; ok && !yield(string(ev.Data)) {
				return
			}
		}
		if f.Incomplete() {
			t.Fatal("half an event at the end")
		}
	}
}

func read(t testing.TB, out []byte) *answer {
	t.Helper()
	a := &answer{content: map[int]string{}, reasoning: map[int]string{}, refusal: map[int]string{}, args: map[[2]int]string{}, finish: map[int]string{}}
	for data := range events(t, out) {
		if a.done || a.failed != "" {
			t.Fatalf("an event after the end: %s", data)
		}
		if data == "[DONE]" {
			a.done = true
			continue
		}
		a.frames = append(a.frames, data)
		var c struct {
			Choices []struct {
				Index int
				Delta struct {
					Content, Reasoning, Refusal string
					ToolCalls                   []struct {
						Index    int
						Function struct{ Arguments string }
					} `json:"tool_calls"`
				}
				Finish *string `json:"finish_reason"`
			}
			Error *struct{ Code string }
			KT    *struct {
				Reason string `json:"reason_code"`
			} `json:"keeptrusts"`
		}
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("the client gets what is no JSON: %v: %s", err, data)
		}
		if c.Error != nil {
			a.failed = c.Error.Code
		}
		if c.KT != nil {
			a.reason = c.KT.Reason
		}
		for _, ch := range c.Choices {
			if a.finish[ch.Index] != "" {
				t.Fatalf("choice %d goes on after its end: %s", ch.Index, data)
			}
			a.content[ch.Index] += ch.Delta.Content
			a.reasoning[ch.Index] += ch.Delta.Reasoning
			a.refusal[ch.Index] += ch.Delta.Refusal
			for _, tc := range ch.Delta.ToolCalls {
				a.args[[2]int{ch.Index, tc.Index}] += tc.Function.Arguments
			}
			if ch.Finish != nil {
				a.finish[ch.Index] = *ch.Finish
			}
		}
	}
	return a
}

type run struct {
	out      []byte
	err      error
	report   stream.Report
	decision pipeline.Decision
	counts   []pipeline.Count
}

// relay sends reads through a window; every read is overwritten afterwards.
func relay(c pipeline.Chain, opt stream.Options, reads ...[]byte) run {
	var x pipeline.Exchange
	var scratch pipeline.Findings
	x.Begin(c, &pipeline.Facts{}, &scratch)
	opt.Dialect, opt.Exchange, opt.RequestID = chat, &x, "req-1"
	var w stream.Window
	w.Reset(opt)
	defer w.Close()
	var r run
	for _, p := range reads {
		own := bytes.Clone(p)
		r.err = w.Write(own)
		for i := range own {
			own[i] = 0xDB
		}
		r.out = append(r.out, w.Out()...)
		w.Sent()
	}
	if !w.Done() {
		r.err = w.Finish(stream.EndNone, nil)
		r.out = append(r.out, w.Out()...)
		w.Sent()
	}
	r.report = *w.Report()
	r.decision = x.Decide()
	r.counts = slices.Clone(x.Counts())
	return r
}

// reads cuts a stream into upstream reads at random.
func reads(r *rand.Rand, s string) [][]byte {
	var out [][]byte
	size := 1 + r.IntN(2000)
	for len(s) > 0 {
		n := 1 + r.IntN(min(len(s), size))
		out = append(out, []byte(s[:n]))
		s = s[n:]
	}
	return out
}

// deltas cuts a text into pieces at random, also inside of characters when the
// pieces are written with escapes.
func deltas(r *rand.Rand, s string, most int) []string {
	var out []string
	for len(s) > 0 {
		n := 1 + r.IntN(min(len(s), most))
		for n < len(s) && s[n]&0xC0 == 0x80 {
			n++
		}
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

func TestCleanFramesLeaveByteForByteAndInOrder(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Block}, word{text: "mail", action: pipeline.Redact, repl: "[X]"})
	in := role(0) + content(0, "se") + content(0, "cond ma") + content(0, "n \u00e9\n") + finish(0, "stop") +
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n" + done
	for cut := 1; cut <= len(in); cut++ {
		var parts [][]byte
		for p := range slices.Chunk([]byte(in), cut) {
			parts = append(parts, p)
		}
		got := relay(c, stream.Options{}, parts...)
		if string(got.out) != in {
			t.Fatalf("reads of %d: got\n%s\nwant\n%s", cut, got.out, in)
		}
		if got.report.End != stream.EndDone || got.report.Edited != 0 || got.report.Usage.Total != 3 || got.report.Usage.Estimated {
			t.Fatalf("report %+v", got.report)
		}
	}
}

func TestFramesAreFramedAnewWithTheSamePayload(t *testing.T) {
	payload := head + `{"index":0,"delta":{"content":"a\/b\u0041"},"finish_reason":null}]}`
	in := ":hello\r\nid: 7\r\nevent:message\r\ndata:" + payload + "\r\n\r\nretry: 5\n" + finish(0, "stop") + done
	got := relay(newChain(word{text: "zzz", action: pipeline.Block}), stream.Options{}, []byte(in))
	want := "data: " + payload + "\n\n" + finish(0, "stop") + done
	if string(got.out) != want {
		t.Fatalf("got\n%s\nwant\n%s", got.out, want)
	}
}

// A client that takes lines one by one must not see another event than we scanned.
func TestAnEventOfSeveralLinesLeavesInOne(t *testing.T) {
	c := newChain(word{text: "ada@x.org", action: pipeline.Redact, repl: "[MAIL]"})
	in := "data: " + head + "\ndata:\r\ndata: {\"index\":0,\rdata: \"delta\":{\"content\":%s},\"finish_reason\":null}]}\n\n"
	out := "data: " + head + "  {\"index\":0, \"delta\":{\"content\":%s},\"finish_reason\":null}]}\n\n"
	got := relay(c, stream.Options{}, []byte(fmt.Sprintf(in+in+in, `"a"`, `" to ada@"`, `"x.org b"`)+finish(0, "stop")+done))
	if want := fmt.Sprintf(out+out+out, `"a"`, `" to [MAIL]"`, `" b"`) + finish(0, "stop") + done; string(got.out) != want {
		t.Fatalf("got\n%s\nwant\n%s", got.out, want)
	}
}

// Names of events are no part of this API: nobody scans them, and a client may
// take one for a sign that changes the meaning of its payload.
func TestAnEventsNameDoesNotGoOn(t *testing.T) {
	c := newChain(word{text: "ada@x.org", action: pipeline.Redact, repl: "[MAIL]"})
	for _, name := range []string{"ada@x.org", "thread.run.created", "message", " x"} {
		in := "event:" + name + "\n" + content(0, "ada@") + "event:" + name + "\n" + content(0, "y.org") + finish(0, "stop") + done // held, and not
		got := relay(c, stream.Options{}, []byte(in))
		if want := content(0, "ada@") + content(0, "y.org") + finish(0, "stop") + done; string(got.out) != want {
			t.Errorf("%q: got\n%s\nwant\n%s", name, got.out, want)
		}
	}
}

func TestEditsLandOnlyWhereTheTextIs(t *testing.T) {
	c := newChain(word{text: "ada@x.org", action: pipeline.Redact, repl: "[MAIL]"})
	before, mid, after := content(0, "to ad"), content(0, "a@x"), content(0, ".org \u00e9 end")
	got := relay(c, stream.Options{}, []byte(role(0)+content(0, "hello ")+before+mid+after+content(0, "tail")+finish(0, "stop")+done))
	want := role(0) + content(0, "hello ") + content(0, "to [MAIL]") + content(0, "") + content(0, " \u00e9 end") + content(0, "tail") + finish(0, "stop") + done
	if string(got.out) != want {
		t.Fatalf("got\n%s\nwant\n%s", got.out, want)
	}
	if got.report.Edited != 3 || got.decision.Verdict != pipeline.VerdictRedact {
		t.Fatalf("report %+v decision %+v", got.report, got.decision)
	}
}

func TestHeadWaitsForTextOrEnd(t *testing.T) {
	var x pipeline.Exchange
	x.Begin(newChain(word{text: "zzz", action: pipeline.Block}), &pipeline.Facts{}, &pipeline.Findings{})
	var w stream.Window
	w.Reset(stream.Options{Dialect: chat, Exchange: &x})
	defer w.Close()
	for _, in := range []string{role(0), role(1), "data: {\"choices\":[]}\n\n"} {
		if err := w.Write([]byte(in)); err != nil || w.Out() != nil || w.Committed() {
			t.Fatalf("%s: out %q committed %v err %v", in, w.Out(), w.Committed(), err)
		}
	}
	if err := w.Write([]byte(content(0, "a"))); err != nil || !w.Committed() || !bytes.HasPrefix(w.Out(), []byte(role(0))) {
		t.Fatalf("out %q", w.Out())
	}
}

func TestUpstreamErrorBeforeTheCommitPointWritesNothing(t *testing.T) {
	for _, bad := range []string{"data: {\"error\":{\"message\":\"overloaded\"}}\n\n", "event: error\ndata: x\n\n", "data: {\n\n", ""} {
		got := relay(newChain(), stream.Options{}, []byte(role(0)+bad))
		if got.err == nil || len(got.out) != 0 || got.report.Committed {
			t.Fatalf("%q: err %v, out %q", bad, got.err, got.out)
		}
	}
}

// What is held is not released: no byte of it may go out because the stream failed.
func TestAFailureWhileTheFirstTextIsHeldWritesNothing(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"}, word{text: "bomb", action: pipeline.Block, border: true})
	for _, text := range []string{"my secr", "a bomb"} {
		for _, bad := range []string{"data: {\"error\":{\"message\":\"overloaded\"}}\n\n", "data: {\n\n", ""} {
			got := relay(c, stream.Options{}, []byte(role(0)), []byte(content(0, text)), []byte(bad))
			if got.err == nil || len(got.out) != 0 || got.report.Committed || got.report.Findings != 0 {
				t.Errorf("%q, %q: err %v, report %+v, out %q", text, bad, got.err, got.report, got.out)
			}
		}
	}
}

func TestTheHeadWaitsForTheFirstReleasedText(t *testing.T) {
	var x pipeline.Exchange
	x.Begin(newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"}), &pipeline.Facts{}, &pipeline.Findings{})
	var w stream.Window
	w.Reset(stream.Options{Dialect: chat, Exchange: &x})
	defer w.Close()
	for _, in := range []string{role(0), content(0, "secr"), role(1)} {
		if err := w.Write([]byte(in)); err != nil || w.Out() != nil || w.Committed() {
			t.Fatalf("%s: out %q committed %v err %v", in, w.Out(), w.Committed(), err)
		}
	}
	if err := w.Write([]byte(content(0, "atary"))); err != nil || string(w.Out()) != role(0)+content(0, "secr")+role(1)+content(0, "atary") {
		t.Fatalf("out %q", w.Out())
	}
}

// However much of it there is: text that waits from the start is no long head.
func TestMuchHeldTextDoesNotLetTheHeadGo(t *testing.T) {
	long := strings.Repeat("x", 8000)
	c := newChain(word{text: long + "!", action: pipeline.Redact, repl: "[X]"})
	parts := []string{role(0)}
	for range 7500 {
		parts = append(parts, content(0, "x"))
	}
	got := relay(c, stream.Options{}, []byte(strings.Join(parts, "")))
	if got.report.Committed || len(got.out) != 0 || got.report.End != stream.EndCut {
		t.Fatalf("%d bytes out, %+v", len(got.out), got.report)
	}
}

func TestFailureAfterTheCommitPointIsOneErrorEvent(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	for _, k := range []struct {
		bad string
		end stream.End
	}{
		{"data: {\"error\":{\"message\":\"overloaded\"}}\n\n" + content(0, "more"), stream.EndUpstreamError},
		{"event: error\ndata: whatever\n\n", stream.EndUpstreamError},
		{"data: {\"choices\":\n\n", stream.EndBadEvent},
		{"data: {\"choices\":[{\"index\":1000000000,\"delta\":{\"content\":\"x\"}}]}\n\n", stream.EndBadEvent},
		{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\",\"content\":\"y\"}}]}\n\n", stream.EndBadEvent},
		{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\"}}]}\n\n", stream.EndBadEvent},
		{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n" + content(0, "x"), stream.EndBadEvent},
		{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n" + finish(0, "stop"), stream.EndBadEvent},
		{"data: {\"cho", stream.EndCut},
		{"", stream.EndCut},
	} {
		got := relay(c, stream.Options{}, []byte(role(0)+content(0, "a secre")+content(0, "t b secr")+k.bad))
		a := read(t, got.out)
		if got.report.End != k.end || a.failed != k.end.String() || a.done || got.err == nil {
			t.Fatalf("%q: end %v, event %q, err %v\n%s", k.bad, got.report.End, a.failed, got.err, got.out)
		}
		if want := "a [X] b secr"; a.content[0] != want {
			t.Fatalf("%q: text %q, want %q", k.bad, a.content[0], want)
		}
	}
}

func TestNothingFollowsTheEnd(t *testing.T) {
	in := content(0, "a") + finish(0, "stop") + "data: [DONE]xyz\n\n"
	got := relay(newChain(), stream.Options{}, []byte(in+content(0, "evil")), []byte(content(0, "more")+done))
	if want := content(0, "a") + finish(0, "stop") + done; string(got.out) != want {
		t.Fatalf("got\n%s\nwant\n%s", got.out, want)
	}
}

func TestClosedWithoutMarkIsAnEndWhenAllChoicesFinished(t *testing.T) {
	in := content(0, "a") + content(1, "b") + finish(0, "stop") + finish(1, "length")
	got := relay(newChain(), stream.Options{}, []byte(in))
	if string(got.out) != in+done || got.report.End != stream.EndDone || !got.report.Usage.Estimated {
		t.Fatalf("%s\n%+v", got.out, got.report)
	}
}

func TestStreamedBlockIsAContentFilterEndAtEveryCut(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Block}, word{text: "mail", action: pipeline.Redact, repl: "[M]"})
	const text = "my mail and the secret is out, mail me"
	for i := range text {
		for j := i; j <= len(text); j++ {
			in := role(0)
			for _, p := range []string{text[:i], text[i:j], text[j:]} {
				if p != "" {
					in += content(0, p)
				}
			}
			got := relay(c, stream.Options{}, []byte(in+finish(0, "stop")+done))
			a := read(t, got.out)
			if a.content[0] != "my [M] and the " || a.finish[0] != "content_filter" || !a.done || a.reason != "fake.found" {
				t.Fatalf("cut at %d and %d: %+v", i, j, a)
			}
			if got.report.End != stream.EndBlocked || got.decision.Verdict != pipeline.VerdictBlock {
				t.Fatalf("end %v, decision %+v", got.report.End, got.decision)
			}
		}
	}
}

func TestBlockEndsEveryOpenChoice(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Block}, word{text: "mail", action: pipeline.Redact, repl: "[M]"})
	in := role(0) + role(1) + role(2) + content(1, "one") + content(2, "two") + finish(2, "stop") + content(1, " mai") + content(0, "a sec") + content(1, "l") + content(0, "ret b") + content(1, "late")
	a := read(t, relay(c, stream.Options{}, []byte(in)).out)
	if a.content[0] != "a " || a.content[1] != "one [M]" || a.content[2] != "two" {
		t.Fatalf("%+v", a)
	}
	if a.finish[0] != "content_filter" || a.finish[1] != "content_filter" || a.finish[2] != "stop" || !a.done {
		t.Fatalf("%+v", a)
	}
}

// A client that joins the pieces of a message wants its role once: clients refuse a message without one, and some append a second one.
func TestABlockedChoiceHasItsRoleOnce(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Block})
	both := func(choice int, text string) string {
		return event(fmt.Sprintf(`{"index":%d,"delta":{"role":"assistant","content":%s},"finish_reason":null}`, choice, quote(text)))
	}
	for name, in := range map[string]string{
		"alone":                    role(0) + content(0, "a secret"),
		"with the finding":         both(0, "secret"),
		"with its first half":      both(0, "sec") + both(0, "ret"),
		"with text before it":      both(0, "a sec") + both(0, "ret"),
		"in every event":           both(0, "one ") + both(0, "two ") + both(0, "secr") + both(0, "et"),
		"of the other choice":      both(0, "secret") + both(1, "late"),
		"of both":                  role(0) + role(1) + content(0, "secret"),
		"of both in one event":     event(`{"index":1,"delta":{"role":"assistant","content":"ok"}},{"index":0,"delta":{"role":"assistant","content":"secret"}}`),
		"never":                    content(0, "secret"),
		"behind the text it names": event(`{"index":0,"delta":{"content":"sec","role":"assistant"}}`) + content(0, "ret"),
	} {
		in += finish(0, "stop") + done
		for _, size := range []int{1, 50, len(in)} {
			var cut [][]byte
			for rest := in; rest != ""; rest = rest[min(size, len(rest)):] {
				cut = append(cut, []byte(rest[:min(size, len(rest))]))
			}
			out := relay(c, stream.Options{}, cut...).out
			seen, roles := map[int]bool{}, map[int]int{}
			for data := range events(t, out) {
				var e struct {
					Choices []struct {
						Index int
						Delta struct{ Role string }
					}
				}
				_ = json.Unmarshal([]byte(data), &e) // the end mark is no JSON
				for _, x := range e.Choices {
					seen[x.Index] = true
					if x.Delta.Role != "" {
						roles[x.Index]++
					}
				}
			}
			if !seen[0] {
				t.Errorf("%s, reads of %d: no choice", name, size)
			}
			for choice := range seen {
				if n := roles[choice]; n == 0 || n > 1 && name != "in every event" {
					t.Errorf("%s, reads of %d: choice %d has %d roles:\n%s", name, size, choice, n, out)
				}
			}
		}
	}
}

func TestABlockFoundAtTheEndTakesTheFinishBack(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Block, border: true})
	for _, in := range []string{
		role(0) + content(0, "a secret") + finish(0, "stop") + done,
		role(0) + event(`{"index":0,"delta":{"content":"a secret"},"finish_reason":"stop"}`) + done,
		role(0) + event(`{"index":0,"delta":{"content":"a secret"},"logprobs":null,"finish_reason":"stop"},{"index":1,"delta":{"content":"ok"},"finish_reason":"stop"}`) + done,
	} {
		a := read(t, relay(c, stream.Options{}, []byte(in)).out)
		if a.content[0] != "a " || a.finish[0] != "content_filter" || !a.done {
			t.Fatalf("%s\n%+v", in, a)
		}
		if strings.Contains(in, `"index":1`) && (a.content[1] != "ok" || a.finish[1] != "stop") {
			t.Fatalf("%+v", a)
		}
	}
}

// TestReadsOnForEditsBeforeTheFinding: the finding lies inside a longer text that may still be redacted as a whole.
func TestReadsOnForEditsBeforeTheFinding(t *testing.T) {
	c := newChain(word{text: "xcodey", action: pipeline.Redact, repl: "[LONG]"}, word{text: "code", action: pipeline.Block})
	for _, k := range []struct{ text, want string }{
		{"a xcodey b", "a [LONG]"}, {"a xcodez b", "a x"}, {"a xcode", "a x"},
	} {
		if got := c.outcome(k.text); got.text != k.want || !got.terminal {
			t.Fatalf("the reference says %+v for %q", got, k.text)
		}
		for i := range k.text {
			in := role(0) + content(0, k.text[:i]) + content(0, k.text[i:]) + finish(0, "stop") + done
			if a := read(t, relay(c, stream.Options{}, []byte(in)).out); a.content[0] != k.want || a.finish[0] != "content_filter" {
				t.Fatalf("%q cut at %d: %+v", k.text, i, a)
			}
		}
	}
}

func TestTextOfOtherFieldsIsScanned(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	in := event(`{"index":0,"delta":{"content":"a","note":"my sec"},"hint":"a secret"}`) +
		event(`{"index":0,"delta":{"content":"b","note":"ret"},"finish_reason":"secret"}`) + done
	got := relay(c, stream.Options{}, []byte(in))
	want := event(`{"index":0,"delta":{"content":"a","note":"my [X]"},"hint":"a [X]"}`) +
		event(`{"index":0,"delta":{"content":"b","note":""},"finish_reason":"[X]"}`) + done
	if string(got.out) != want {
		t.Fatalf("got\n%s\nwant\n%s", got.out, want)
	}
	b := newChain(word{text: "secret", action: pipeline.Block})
	a := read(t, relay(b, stream.Options{}, []byte(content(0, "fine")+event(`{"index":0,"delta":{"content":"x"},"hint":"a secret"}`)+done)).out)
	if a.content[0] != "finex" || !strings.Contains(a.frames[1], `"hint":"a "}`) || a.finish[0] != "content_filter" {
		t.Fatalf("%+v", a)
	}
}

func TestRepeatedTextsAreScannedOnce(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	var in string
	for range 5 {
		in += `data: {"id":"secret-1","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}` + "\n\n"
	}
	got := relay(c, stream.Options{}, []byte(in+finish(0, "stop")+done))
	first, _, _ := strings.Cut(string(got.out), "\n\n")
	if id := redactedID.FindString(strings.Split(first, `"`)[3]); id == "" || !strings.HasPrefix(string(got.out), strings.ReplaceAll(in, "secret-1", id)) {
		t.Fatalf("%s", got.out)
	}
	got = relay(c, stream.Options{}, []byte(strings.Repeat(content(0, "a"), 5)+finish(0, "stop")+done))
	if n := got.report.Scanned[pipeline.OutputText]; n > 60 {
		t.Fatalf("%d bytes scanned: id and model again and again", n)
	}
}

func TestLogprobsOfEditedFramesBecomeNull(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	lp := func(text, token string) string {
		return event(fmt.Sprintf(`{"index":0,"delta":{"content":%q},"logprobs":{"content":[{"token":%q,"logprob":-1,"bytes":null,"top_logprobs":[]}]},"finish_reason":null}`, text, token))
	}
	null := func(text string) string {
		return event(fmt.Sprintf(`{"index":0,"delta":{"content":%q},"logprobs":null,"finish_reason":null}`, text))
	}
	got := relay(c, stream.Options{}, []byte(lp("a ", "a ")+lp("sec", "sec")+lp("ret", "ret")+lp(" b", " hidden")+lp("c", "c")+finish(0, "stop")+done))
	want := lp("a ", "a ") + null("[X]") + null("") + null(" b") + lp("c", "c") + finish(0, "stop") + done
	if string(got.out) != want {
		t.Fatalf("got\n%s\nwant\n%s", got.out, want)
	}
}

func TestChannelSwitchIsAnEndOfTheEarlierOnes(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	var x pipeline.Exchange
	x.Begin(c, &pipeline.Facts{}, &pipeline.Findings{})
	var w stream.Window
	w.Reset(stream.Options{Dialect: chat, Exchange: &x})
	defer w.Close()
	w.Write([]byte(field(0, "reasoning", "think secr")))
	if w.Out() != nil {
		t.Fatalf("undecided text left: %s", w.Out())
	}
	w.Write([]byte(content(0, "hello")))
	if want := field(0, "reasoning", "think secr") + content(0, "hello"); string(w.Out()) != want {
		t.Fatalf("got %s", w.Out())
	}
}

func TestAMatchOverAGapIsTerminal(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	for _, k := range []struct{ before, after, want string }{
		{"a secr", "et b", "a secr"}, {"a s", "e", "a se"}, {"a secr", "ets", "a secr"}, {"secret", "secret", "[X][X]"}, {"secre", "secret t", "secre[X] t"},
	} {
		for i := 0; i < len(k.after); i++ {
			in := role(0) + content(0, k.before) + toolArgs(0, 0, "{}") + content(0, k.after[:i]) + content(0, k.after[i:]) + finish(0, "stop") + done
			got := relay(c, stream.Options{}, []byte(in))
			a := read(t, got.out)
			split := strings.Contains(k.before+k.after, "secret") && !strings.Contains(k.before, "secret") && !strings.Contains(k.after, "secret")
			if a.content[0] != k.want || (a.reason == "split_match") != split || (a.finish[0] == "content_filter") != split {
				t.Fatalf("%q, %q cut at %d: %+v", k.before, k.after, i, a)
			}
		}
	}
	// Over two gaps, and after finish.
	in := content(0, "a se") + toolArgs(0, 0, "{}") + content(0, "cr") + toolArgs(0, 0, "{}") + content(0, "et b") + done
	if a := read(t, relay(c, stream.Options{}, []byte(in)).out); a.content[0] != "a secr" || a.reason != "split_match" {
		t.Fatalf("%+v", a)
	}
}

// Some servers give every call of an answer index 0. Clients put such calls together by index or by id: what reaches over
// the place is found, and so is what stands alone behind it.
func TestCallsAtOneIndexAreScannedJoinedAndAlone(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"}, word{text: "alone", action: pipeline.Redact, border: true, repl: "[A]"})
	begin := func(id, name, args string) string {
		return event(fmt.Sprintf(`{"index":0,"delta":{"tool_calls":[{"index":0,"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}]},"finish_reason":null}`, id, name, quote(args)))
	}
	for _, k := range []struct{ in, want, reason string }{
		{begin("a", "f", `{"q":"secret"}`) + begin("b", "g", `{"q":"a s\u0065cret"}`) + begin("c", "f", `{"n":1}`), `{"q":"[X]"}{"q":"a [X]"}{"n":1}`, ""},
		{begin("a", "f", "") + toolArgs(0, 0, `{"q":"sec`) + toolArgs(0, 0, `ret"}`) + begin("b", "g", "") + toolArgs(0, 0, `{"q":"secr`) + toolArgs(0, 0, `et"}`), `{"q":"[X]"}{"q":"[X]"}`, ""},
		{begin("a", "f", `{"q":"alone`) + begin("b", "g", `x"}`), `{"q":"[A]x"}`, ""},
		{begin("a", "f", `{"q":"sec`) + begin("b", "g", `ret"}`), `{"q":"sec`, "split_match"},
		{event(`{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"g","arguments":"[\"secret\"]"}}]}}`), `{}["[X]"]`, ""},
	} {
		in := role(0) + k.in + finish(0, "tool_calls") + done
		got := relay(c, stream.Options{}, []byte(in))
		if a := read(t, got.out); a.args[[2]int{0, 0}] != k.want || !strings.Contains(a.reason, k.reason) || a.failed != "" || !a.done {
			t.Errorf("%s\n%+v", k.in, a)
		}
	}
}

// Two calls whose arguments come in turns are scanned as if each came alone, wherever they are cut.
func TestCallsInTurnsAreScannedEachAsOneText(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"}, word{text: "never", action: pipeline.Block})
	one, two := `{"q":"a secret, b","n":[1,{"secret":2}]}`, `{"long":"sec\u0072et and more secret text","x":"secre"}`
	for n := 1; n < len(two); n++ {
		for m := 1; m < len(one); m += 3 {
			in := role(0)
			for i, k := 0, 0; i < len(one) || k < len(two); {
				a, b := min(i+m, len(one)), min(k+n, len(two))
				if i < a {
					in += toolArgs(0, 0, one[i:a])
				}
				if k < b {
					in += toolArgs(0, 1, two[k:b])
				}
				i, k = a, b
			}
			in += finish(0, "tool_calls") + done
			a := read(t, relay(c, stream.Options{}, []byte(in)).out)
			if a.args[[2]int{0, 0}] != strings.ReplaceAll(one, "secret", "[X]") || a.args[[2]int{0, 1}] != `{"long":"[X] and more [X] text","x":"secre"}` || a.finish[0] != "tool_calls" {
				t.Fatalf("pieces of %d and %d: %+v", m, n, a)
			}
		}
	}
	// A call that is whole is over: the next one's events do not wait for it. Text behind calls ends them.
	for in, out := range map[string]bool{
		toolArgs(0, 0, `{"q":"s"}`) + toolArgs(0, 1, `{"q":"x`):                                         true,
		toolArgs(0, 0, `{"q":"s`) + toolArgs(0, 1, `{"q":"x`):                                           false,
		toolArgs(0, 0, `{"q":"s`) + content(0, "x"):                                                     true,
		toolArgs(0, 0, `{"q":"s`) + toolArgs(0, 1, "") + content(0, "x"):                                true,
		toolArgs(0, 0, `{"q":"s`) + toolArgs(0, 1, `{"q":"`+strings.Repeat("x", stream.DefaultMaxHeld)): true,
	} {
		var x pipeline.Exchange
		x.Begin(c, &pipeline.Facts{}, &pipeline.Findings{})
		var w stream.Window
		w.Reset(stream.Options{Dialect: chat, Exchange: &x})
		w.Write([]byte(role(0) + in))
		if got := string(w.Out()) == role(0)+in; got != out {
			t.Errorf("%s: left %v: %s", in, got, w.Out())
		}
		w.Close()
	}
	// Where too much would wait, a match over the gap is a block, as it is for other texts.
	in := toolArgs(0, 0, `{"q":"a secr`) + toolArgs(0, 1, `{"q":"`+strings.Repeat("x", 700)) + toolArgs(0, 0, `et"}`) + finish(0, "stop") + done
	if a := read(t, relay(c, stream.Options{MaxHeld: 600}, []byte(in)).out); a.reason != "split_match" || a.args[[2]int{0, 0}] != `{"q":"a secr` {
		t.Errorf("%+v", a)
	}
	if a := read(t, relay(c, stream.Options{}, []byte(in)).out); a.reason != "" || a.args[[2]int{0, 0}] != `{"q":"a [X]"}` {
		t.Errorf("%+v", a)
	}
}

func TestOverflowIsABlock(t *testing.T) {
	long := strings.Repeat("x", 400)
	c := newChain(word{text: long + "!", action: pipeline.Redact, repl: "[X]"}, word{text: "mail", action: pipeline.Redact, repl: "[M]"})
	in := role(0) + content(0, "mail me ")
	for range 400 {
		in += content(0, "x")
	}
	for _, opt := range []stream.Options{{MaxHeld: 300}, {MaxMemory: 4 << 10}} {
		got := relay(c, opt, []byte(in+finish(0, "stop")+done))
		a := read(t, got.out)
		if a.reason != "window_overflow" || a.content[0] != "[M] me " || a.finish[0] != "content_filter" {
			t.Fatalf("%d %d: %q %q", opt.MaxHeld, opt.MaxMemory, a.reason, a.content[0])
		}
		if got.report.HeldMax > 4<<10+1024 {
			t.Fatalf("%d bytes held", got.report.HeldMax)
		}
	}
	one := role(0) + content(0, strings.Repeat("y", 100<<10)+"xx") + content(0, "y") + finish(0, "stop") + done
	if got := relay(c, stream.Options{}, []byte(one)); string(got.out) != one {
		t.Fatalf("one large event alone counts as overflow: %+v", got.report)
	}
}

// A head without text waits for nobody's decision: when it is long it leaves, at any cut.
func TestALongHeadIsNoOverflow(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Block})
	for name, empty := range map[string]string{
		"empty": "data: " + head + `{"index":0,"delta":{"role":"assistant","content":""}}` + "]}\n\n",
		"null":  "data: " + head + `{"index":0,"delta":{"role":"assistant","content":null}}` + "]}\n\n",
		"none":  role(0),
	} {
		long := strings.Repeat(empty, 2*stream.DefaultMaxHeld/len(empty))
		in := long + content(0, "an answer") + finish(0, "stop") + done
		got := relay(c, stream.Options{}, []byte(in))
		if string(got.out) != in || got.report.End != stream.EndDone {
			t.Errorf("%s: %+v", name, got.report)
		}
		one := slices.Collect(slices.Chunk([]byte(in), 333))
		if cut := relay(c, stream.Options{}, one...); string(cut.out) != in || cut.report.HeldMax > stream.DefaultMaxHeld+1024 {
			t.Errorf("%s, in pieces: %+v", name, cut.report)
		}
		a := read(t, relay(c, stream.Options{}, []byte(long+content(0, "a sec")+content(0, "ret")+done)).out)
		if a.reason == "window_overflow" || a.content[0] != "a " || a.finish[0] != "content_filter" {
			t.Errorf("%s: a finding behind the head: %+v", name, a)
		}
	}
}

func TestFindingsOfOneChannelAreBounded(t *testing.T) {
	c := newChain(word{text: "ab", action: pipeline.Redact, repl: "_"})
	text := strings.Repeat("ab", pipeline.MaxFindings)
	a := read(t, relay(c, stream.Options{}, []byte(content(0, text)+finish(0, "stop")+done)).out)
	if a.content[0] != strings.Repeat("_", pipeline.MaxFindings) || a.finish[0] != "stop" {
		t.Fatalf("at the limit: %q %v", a.reason, a.finish)
	}
	for _, n := range []int{1, 7, 100000} {
		in := ""
		for p := range slices.Chunk([]byte(text+"ab cd"), n) {
			in += content(0, string(p))
		}
		a := read(t, relay(c, stream.Options{MaxHeld: 1 << 30}, []byte(in+finish(0, "stop")+done)).out)
		if a.reason != "finding_limit" || a.content[0] != strings.Repeat("_", pipeline.MaxFindings) {
			t.Fatalf("past the limit in pieces of %d: %q %d", n, a.reason, len(a.content[0]))
		}
	}
}

func TestAPanicInAPolicyIsABlock(t *testing.T) {
	c := newChain(word{text: "zzz", action: pipeline.Redact})
	c.panics = true
	in := content(0, "fine ") + content(0, "then panic here") + content(0, "more") + finish(0, "stop") + done
	a := read(t, relay(c, stream.Options{}, []byte(in)).out)
	if a.reason != "policy_error" || a.content[0] != "fine " || a.finish[0] != "content_filter" {
		t.Fatalf("%+v", a)
	}
	if got := relay(c, stream.Options{FailOpen: true}, []byte(in)); string(got.out) != in {
		t.Fatalf("fail open: %s", got.out)
	}
}

func TestSurrogatePairsOverDeltasAreJoined(t *testing.T) {
	c := newChain(word{text: "a😀b", action: pipeline.Redact, repl: "[X]"})
	raw := func(s string) string {
		return event(`{"index":0,"delta":{"content":"` + s + `"},"finish_reason":null}`)
	}
	end := finish(0, "stop") + done
	for _, k := range []struct{ in, want string }{
		{raw(`a\ud83d`) + raw(`\ude00b`), "[X]"}, {raw(`x\ud83d`) + raw(`\ude00y`), "x😀y"}, {raw(`xa\ud83d`) + raw(`\ude00by`), "x[X]y"},
		{raw(`\ud83d`) + raw(`\ude00`) + raw(`\ud83d`) + raw(`\ude01\ud83d`) + raw(`\ude00`), "😀😁😀"},
		{raw(`a\ud83d`) + raw(``) + raw(`\ude00b`), "[X]"},
	} {
		a := read(t, relay(c, stream.Options{}, []byte(k.in+end)).out)
		if a.content[0] != k.want || a.finish[0] != "stop" {
			t.Fatalf("%s: %+v", k.in, a)
		}
	}
}

func TestToolArgumentsAreScannedInBothViews(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: `[X"]`}, word{text: "4111", action: pipeline.Redact, repl: "[N]"}, word{text: `u00`, action: pipeline.Redact, repl: "[U]"}, word{text: `k":"v`, action: pipeline.Redact, repl: "[KV]"})
	for _, k := range []struct{ in, want string }{
		{`{"q":"a secret b"}`, `{"q":"a [X\"] b"}`},
		{`{"q":"a sec\u0072et b"}`, `{"q":"a [X\"] b"}`},
		{`{"q":"a \u0073ecre\u0074b"}`, `{"q":"a [X\"]b"}`},
		{`{"n":4111,"m":1}`, `{"n":"[N]","m":1}`},
		{`{"n":54111.5}`, `{"n":"[N]"}`},
		{`{"n":[4111]}`, `{"n":["[N]"]}`},
		{`{"secret":true}`, `{"[X\"]":true}`},
		{`{"q":"tab\tsecret\n","k":"x"}`, `{"q":"tab\t[X\"]\n","k":"x"}`},
		{`{"k":"v"}`, `{"[KV]":""}`},
		{`{"q":"\u0041\ud83d\ude00 clean"}`, `{"q":"[U]\ud83d\ude00 clean"}`},
	} {
		want := k.want
		if !json.Valid([]byte(want)) {
			t.Fatalf("bad case %s", want)
		}
		for i := 0; i <= len(k.in); i++ {
			for j := i; j <= len(k.in); j += 1 + len(k.in)/7 {
				in := role(0)
				for _, p := range []string{k.in[:i], k.in[i:j], k.in[j:]} {
					in += toolArgs(0, 0, p)
				}
				got := relay(c, stream.Options{}, []byte(in+finish(0, "tool_calls")+done))
				a := read(t, got.out)
				if a.args[[2]int{0, 0}] != want || a.finish[0] != "tool_calls" {
					t.Fatalf("%s cut at %d and %d: got %s, want %s (%+v)", k.in, i, j, a.args[[2]int{0, 0}], want, a.reason)
				}
			}
		}
	}
}

func TestWithoutPoliciesNothingIsScannedOrHeld(t *testing.T) {
	c := newChain()
	in := content(0, "secret") + toolArgs(0, 0, `{"a":"\u00`) + toolArgs(0, 0, `41"}`) + finish(0, "stop") + done
	got := relay(c, stream.Options{}, []byte(in))
	if string(got.out) != in || got.report.Scanned != [pipeline.NumClasses]int64{} || got.report.Delay != 0 {
		t.Fatalf("%s\n%+v", got.out, got.report)
	}
}

func TestOnlyClassesWithPoliciesAreScanned(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	c.classes[pipeline.OutputTool] = false
	in := content(0, "a secret") + toolArgs(0, 0, `"secret"`) + finish(0, "stop") + done
	a := read(t, relay(c, stream.Options{}, []byte(in)).out)
	if a.content[0] != "a [X]" || a.args[[2]int{0, 0}] != `"secret"` {
		t.Fatalf("%+v", a)
	}
}

func TestTruncatedAtEveryByteGivesTheTextSoFar(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"}, word{text: "bomb", action: pipeline.Block})
	texts := []string{"a se", "cret ", "b bo", "x", " secret"}
	in := role(0)
	for _, p := range texts {
		in += content(0, p)
	}
	in += finish(0, "stop") + done
	for cut := 0; cut <= len(in); cut++ {
		got := relay(c, stream.Options{}, []byte(in[:cut]))
		a := read(t, got.out)
		sofar := ""
		whole := strings.Count(in[:cut], "\n\n") // events that are complete
		for i, p := range texts {
			if i+2 <= whole {
				sofar += p
			}
		}
		want := c.outcome(sofar)
		if !got.report.Committed {
			if want.text = ""; len(got.out) > 0 || whole > 3 { // "a se" is held, and may be replaced
				t.Fatalf("cut at %d: not committed, out %q", cut, got.out)
			}
		}
		if a.content[0] != want.text {
			t.Fatalf("cut at %d: %q, want %q", cut, a.content[0], want.text)
		}
		if whole >= 7 { // the finish came
			if !a.done || a.failed != "" {
				t.Fatalf("cut at %d: not done: %+v", cut, a)
			}
		} else if got.err == nil || got.report.Committed && a.failed == "" {
			t.Fatalf("cut at %d: no error: %v %+v", cut, got.err, a)
		}
	}
}

var vocabulary = []word{
	{text: "secret", action: pipeline.Redact, repl: "[S]"},
	{text: "retire", action: pipeline.Redact, repl: "[R]"},
	{text: "xcretx", action: pipeline.Warn},
	{text: "code red", action: pipeline.Block},
	{text: "e red", action: pipeline.Redact, repl: ""},
	{text: "no code red", action: pipeline.Redact, repl: "[long]"},
	{text: "esc", action: pipeline.Escalate, border: true},
	{text: "é😀", action: pipeline.Redact, repl: "«ü»"},
	{text: "end", action: pipeline.Redact, border: true, repl: "[E]"},
}

func randomText(r *rand.Rand, n int) string {
	filler := []string{"a", " ", "se", "cr", "ret", "code", " red", "no ", "é", "😀", "e", "x", "\n", "\"", "\\", "end", "secret", "es", "c", "hello "}
	var b strings.Builder
	for b.Len() < n {
		if r.IntN(12) == 0 {
			b.WriteString(vocabulary[r.IntN(len(vocabulary))].text)
		} else {
			b.WriteString(filler[r.IntN(len(filler))])
		}
	}
	return b.String()
}

// someWords gives a chain with a part of the vocabulary.
func someWords(r *rand.Rand) *fakeChain {
	var w []word
	for _, v := range vocabulary {
		if r.IntN(2) == 0 && (!v.action.Terminal() || r.IntN(3) == 0) {
			w = append(w, v)
		}
	}
	return newChain(w...)
}

func FuzzAnyCutGivesTheOutcomeOfTheWholeText(f *testing.F) {
	for i := range uint64(300) {
		f.Add(i, uint8(i*7))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		r := rand.New(rand.NewPCG(seed, uint64(size)))
		c := someWords(r)
		text := randomText(r, 1+int(size)/2)
		want := c.outcome(text)
		in := role(0)
		clean := []string{}
		for _, p := range deltas(r, text, 1+r.IntN(20)) {
			e := content(0, p)
			if r.IntN(3) == 0 {
				e = event(`{"index":0,"delta":{"content":"` + escapes(r, p) + `"},"finish_reason":null}`)
			}
			in += e
			clean = append(clean, e)
			if r.IntN(5) == 0 {
				in += ": ping\n\n"
			}
		}
		in += finish(0, "stop") + done
		got := relay(c, stream.Options{}, reads(r, in)...)
		a := read(t, got.out)
		wantEnd := "stop"
		if want.terminal {
			wantEnd = "content_filter"
		}
		if a.content[0] != want.text || a.finish[0] != wantEnd || !a.done {
			t.Fatalf("text %q words %v\ngot  %q %s\nwant %q %s", text, c.words, a.content[0], a.finish[0], want.text, wantEnd)
		}
		if !want.terminal && !want.redacted {
			if strings.ReplaceAll(in, ": ping\n\n", "") != string(got.out) {
				t.Fatalf("a clean stream changed:\n%s\n%s", in, got.out)
			}
		}
		for _, w := range c.words {
			if w.action >= pipeline.Redact && w.repl == "" && !w.border && strings.Contains(a.content[0], w.text) && !strings.Contains(want.text, w.text) {
				t.Fatalf("%q leaked", w.text)
			}
		}
		_ = clean
	})
}

// escapes writes some characters of a text as escapes.
func escapes(r *rand.Rand, s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c > 0xFFFF && r.IntN(2) == 0:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+c>>10, 0xDC00+c&0x3FF)
		case c < 0x10000 && r.IntN(3) == 0, c == '"', c == '\\', c < 0x20:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func FuzzManyChannelsGiveWhatEachGivesAlone(f *testing.F) {
	for i := range uint64(100) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := someWords(r)
		for i := range c.words { // redactions only: a block of one channel cuts the others
			if c.words[i].action.Terminal() {
				c.words[i].action, c.words[i].repl = pipeline.Redact, "[T]"
			}
		}
		n := 1 + r.IntN(4)
		type lane struct {
			text string
			rest []string
		}
		lanes := make([]lane, n)
		in := ""
		for i := range lanes {
			lanes[i].text = randomText(r, r.IntN(60))
			lanes[i].rest = deltas(r, lanes[i].text, 8)
			in += role(i)
		}
		reason := make([]string, n)
		for i := range reason {
			reason[i] = randomText(r, r.IntN(30))
			for _, p := range deltas(r, reason[i], 6) {
				in += field(i, "reasoning", p)
			}
		}
		open := n
		ended := make([]bool, n)
		for open > 0 {
			i := r.IntN(n)
			if l := &lanes[i]; len(l.rest) > 0 {
				in += content(i, l.rest[0])
				l.rest = l.rest[1:]
			} else if !ended[i] {
				ended[i] = true
				open--
				in += finish(i, "stop")
			}
		}
		a := read(t, relay(c, stream.Options{}, reads(r, in+done)...).out)
		for i := range lanes {
			if want := c.outcome(lanes[i].text).text; a.content[i] != want || a.finish[i] != "stop" {
				t.Fatalf("choice %d: %q, want %q", i, a.content[i], want)
			}
			if want := c.outcome(reason[i]).text; a.reasoning[i] != want {
				t.Fatalf("reasoning %d: %q, want %q", i, a.reasoning[i], want)
			}
		}
	})
}

func TestASecretCutAnywhereNeverLeaks(t *testing.T) {
	const secret = "sk-9f3kZ😀x"
	for _, act := range []pipeline.Action{pipeline.Redact, pipeline.Block} {
		c := newChain(word{text: secret, action: act, repl: "[K]"})
		text := "key " + secret + " end"
		for i := 0; i <= len(text); i++ {
			for j := i; j <= len(text); j++ {
				in := role(0)
				for _, p := range []string{text[:i], text[i:j], text[j:]} {
					if !json.Valid([]byte(quote(p))) || strings.ToValidUTF8(p, "?") != p {
						in = ""
						break
					}
					in += content(0, p)
				}
				if in == "" {
					continue
				}
				a := read(t, relay(c, stream.Options{}, []byte(in+finish(0, "stop")+done)).out)
				if strings.Contains(a.content[0], secret) || strings.Contains(a.content[0], secret[:4]) {
					t.Fatalf("cut at %d, %d: %q", i, j, a.content[0])
				}
			}
		}
	}
}

func TestPassPathAllocatesNothing(t *testing.T) {
	if invariant.Enabled || invariant.Race {
		t.Skip("poisoning and race builds allocate")
	}
	for _, k := range []struct {
		name  string
		chain pipeline.Chain
	}{{"no policy", newChain()}, {"with policy", &quietChain{*newChain(word{text: "secret", action: pipeline.Block})}}} {
		var x pipeline.Exchange
		x.Begin(k.chain, &pipeline.Facts{}, &pipeline.Findings{})
		var w stream.Window
		w.Reset(stream.Options{Dialect: chat, Exchange: &x})
		events := []byte(content(0, "some words \\ and") + content(0, " more\n of them s") + toolArgs(0, 0, `{"a`) + field(0, "reasoning", "hm"))
		one := func() {
			if err := w.Write(events); err != nil {
				t.Fatal(err)
			}
			w.Sent()
		}
		for range 100 {
			one()
		}
		if n := testing.AllocsPerRun(500, one); n > 0 {
			t.Errorf("%s: %v allocations per 4 chunks", k.name, n)
		}
		w.Close()
	}
}

// quietChain keeps the last bytes only, so that what the test allocates is not counted.
type quietChain struct{ fakeChain }

type quietSession struct{}

func (quietSession) Close() {}
func (quietSession) Feed(win []byte, n int, end bool, _ *pipeline.Findings) int {
	if end || len(win) == 0 || win[len(win)-1] != 's' {
		return len(win)
	}
	return len(win) - 1
}
func (c *quietChain) Session(pipeline.Class, pipeline.Mask) pipeline.Session { return quietSession{} }
