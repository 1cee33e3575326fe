package stream_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/stream"
)

// alone cuts a stream into reads of one event each.
func alone(in string) [][]byte {
	var out [][]byte
	for e := range strings.SplitAfterSeq(in, "\n\n") {
		if e != "" {
			out = append(out, []byte(e))
		}
	}
	return out
}

// sameAsAlone compares a stream whose events came together with the same one
// whose events came one by one: bytes, decision, counts and report, but for how
// much waited.
func sameAsAlone(t *testing.T, c pipeline.Chain, opt stream.Options, in string, together ...[]byte) {
	t.Helper()
	plain := func(r run) run {
		r.report.HeldMax, r.report.HeldMaxN, r.report.Delay = 0, 0, 0 // what waits is looked at when a read was taken through
		r.report.BytesIn = 0                                          // a blocked stream is not read to its end
		clear(r.report.Channels[:])                                   // a text outside of the delta that comes again is scanned again behind a run
		return r
	}
	want, got := plain(relay(c, opt, alone(in)...)), plain(relay(c, opt, together...))
	if string(got.out) != string(want.out) {
		t.Fatalf("%q: together\n%s\nalone\n%s", in, got.out, want.out)
	}
	if fmt.Sprint(got.err) != fmt.Sprint(want.err) {
		t.Fatalf("%q: together %v, alone %v", in, got.err, want.err)
	}
	got.err, want.err = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: together\n%+v\nalone\n%+v", in, got, want)
	}
}

// runEvents gives a stream in which many events are like the one before, with
// all that may come between them.
func runEvents(r *rand.Rand, texts func() string) string {
	var b strings.Builder
	form, end, tail, choice := `"content":%s`, `"finish_reason":null}`, "", 0
	b.WriteString(role(0))
	for range 3 + r.IntN(30) {
		switch r.IntN(24) {
		case 0:
			form = []string{`"content":%s`, `"reasoning":%s`, `"odd":%s`, `"content":%s,"odd":"same"`, `"tool_calls":[{"index":0,"function":{"arguments":%s}}]`}[r.IntN(5)]
		case 1:
			end = []string{`"finish_reason":null}`, `"logprobs":null}`, `"obfuscation":"%"}`, `"hint":"a secret"}`, `"logprobs":{"content":[{"token":"x"}]}}`}[r.IntN(5)]
			tail = []string{"", "", `,"obfuscation":"%"`, `,"obfuscation":"%","padding":"%"`, `,"thinking":"~"`, `,"vendor":"same"`}[r.IntN(6)]
		case 4:
			choice = r.IntN(2)
		case 2:
			b.WriteString([]string{": ping\n\n", "id: 7\n\n", "\n", "event: message\n", "retry: 10\n\n", "data: {\"choices\":[]}\n\n", role(1)}[r.IntN(7)])
		case 3:
			if r.IntN(8) == 0 {
				b.WriteString([]string{finish(0, "length"), "data: {\n\n", "data: {\"error\":{\"message\":\"x\"}}\n\n", event(`{"index":0,"delta":{"content":"\ud83d"},"finish_reason":null}`)}[r.IntN(4)])
			}
		}
		text := quote(texts())
		switch r.IntN(4) {
		case 0:
			text = `"` + escapes(r, texts()) + `"`
		case 1:
			text = quote("just a word and more of it ")
		}
		e := event(fmt.Sprintf(`{"index":%d,"delta":{`, choice) + fmt.Sprintf(form, text) + `},` + end)
		e = strings.TrimSuffix(e, "}\n\n") + tail + "}\n\n"
		e = strings.ReplaceAll(e, `"~"`, quote(texts()))
		e = strings.ReplaceAll(e, `"%"`, `"`+strings.Repeat("aB3", r.IntN(4))+`"`)
		switch r.IntN(30) {
		case 0:
			e = strings.ReplaceAll(e, "\n", "\r\n") // an event that goes on in another form
		case 1:
			e = strings.Replace(e, "data: ", "data:", 1)
		}
		b.WriteString(e)
	}
	if r.IntN(4) > 0 {
		b.WriteString(finish(0, "stop") + finish(1, "stop") + done)
	}
	return b.String()
}

// FuzzEventsTogetherGiveWhatTheyGiveAlone, with made-up chains and a real one.
func FuzzEventsTogetherGiveWhatTheyGiveAlone(f *testing.F) {
	pii := kindtest.Chain(f, piiPack)
	for i := range uint64(400) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 11))
		fake := someWords(r)
		if r.IntN(3) > 0 {
			for i := range fake.words {
				if fake.words[i].action.Terminal() {
					fake.words[i].action, fake.words[i].repl = pipeline.Redact, "[T]"
				}
			}
			fake = newChain(fake.words...)
		}
		fake.classes[pipeline.OutputText] = r.IntN(4) > 0
		opt := stream.Options{}
		if r.IntN(4) == 0 {
			opt.MaxHeld, opt.MaxMemory = 1+r.IntN(40), 200+r.IntN(4000)
		}
		if r.IntN(6) == 0 {
			opt.MaxEvent = 200 + r.IntN(300)
		}
		in := runEvents(r, func() string { return randomText(r, 1+r.IntN(6)) })
		sameAsAlone(t, fake, opt, in, []byte(in))
		sameAsAlone(t, fake, opt, in, reads(r, in)...)
		in = runEvents(r, func() string { return mixed(r, 1+r.IntN(10)) })
		sameAsAlone(t, pii, opt, in, []byte(in))
		sameAsAlone(t, pii, opt, in, reads(r, in)...)
	})
}

// TestEventsThatComeTogetherAreScannedTogether, and leave together.
func TestEventsThatComeTogetherAreScannedTogether(t *testing.T) {
	for _, end := range []string{"", `,"obfuscation":"aB3"`} {
		in := role(0)
		for range 300 {
			in += strings.TrimSuffix(content(0, " word"), "}\n\n") + end + "}\n\n"
		}
		in += finish(0, "stop") + done
		c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
		if got := relay(c, stream.Options{}, []byte(in)); string(got.out) != in || c.feeds > 20 {
			t.Errorf("%s: %d calls of Feed for 300 events; %d of %d bytes out", end, c.feeds, len(got.out), len(in))
		}
	}
}

// TestABlockMakesTextsBeTakenAlone: what is found behind a blocking finding would else depend on the reads.
func TestABlockMakesTextsBeTakenAlone(t *testing.T) {
	c := newChain(word{text: "stop here", action: pipeline.Block}, word{text: "mail", action: pipeline.Redact, repl: "[M]"})
	in := role(0) + content(0, "a mail ") + content(0, "now stop here") + strings.Repeat(content(0, " mail"), 20) + finish(0, "stop") + done
	sameAsAlone(t, c, stream.Options{}, in, []byte(in))
}

// TestARunEndsWhereSomethingElseGoesOn: what waits, or is looked at beside the text, comes first.
func TestARunEndsWhereSomethingElseGoesOn(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	byByte := func(text string) (in string) {
		for i := range len(text) {
			in += content(0, text[i:i+1])
		}
		return in
	}
	for _, in := range []string{
		byByte("a se") + toolArgs(0, 0, "{}") + byByte("cret b"), // a match over a gap
		byByte("a se") + toolArgs(0, 0, "{}") + byByte("cold b"),
		byByte("a b") + content(1, "a se") + byByte("a secret b") + content(1, "x"), // another choice waits
		byByte("some") + event(`{"index":0,"delta":{"content":"\ud83d"},"finish_reason":null}`) + byByte("more"),
	} {
		sameAsAlone(t, c, stream.Options{}, role(0)+in+finish(0, "stop")+done, []byte(role(0)+in+finish(0, "stop")+done))
	}
	tools := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	tools.classes[pipeline.OutputText] = false
	in := byByte("abc") + toolArgs(1, 0, `{"a":"se`) + byByte("defgh") + toolArgs(1, 0, `t"}`) + byByte("ijkl") + finish(0, "stop") + finish(1, "tool_calls") + done
	sameAsAlone(t, tools, stream.Options{}, in, []byte(in))
}

// TestARunOverflowsWhereItsEventsWould: at every limit, whatever waits when it begins.
func TestARunOverflowsWhereItsEventsWould(t *testing.T) {
	long := strings.Repeat("x", 60)
	c := newChain(word{text: long + "!", action: pipeline.Redact, repl: "[X]"})
	r := rand.New(rand.NewPCG(1, 2))
	in := role(0) + content(0, "hello ") + strings.Repeat(content(0, "x"), 57) + finish(0, "stop") + done
	var opts []stream.Options
	for limit := 1; limit < 120; limit++ {
		opts = append(opts, stream.Options{MaxHeld: limit})
	}
	for limit := 20; limit < 2000; limit += 17 {
		opts = append(opts, stream.Options{MaxMemory: limit})
	}
	blocked := 0
	for _, opt := range opts {
		sameAsAlone(t, c, opt, in, []byte(in))
		sameAsAlone(t, c, opt, in, reads(r, in)...)
		if relay(c, opt, []byte(in)).report.End == stream.EndBlocked {
			blocked++
		}
	}
	if blocked < 60 || blocked > 180 {
		t.Errorf("%d of %d streams overflowed: the limits are not around what waits", blocked, len(opts))
	}
}

// TestAFailureInARunClosesIt: text of events that came together with the one at
// which a policy panics does not go out.
func TestAFailureInARunClosesIt(t *testing.T) {
	c := newChain(word{text: "zzz", action: pipeline.Redact})
	c.panics = true
	in := role(0) + strings.Repeat(content(0, "fine "), 5)
	late := content(0, "then ") + content(0, "a pan") + content(0, "ic, ") + content(0, "and more") + finish(0, "stop") + done
	got := relay(c, stream.Options{}, []byte(in), []byte(late))
	a := read(t, got.out)
	if !strings.HasPrefix(a.content[0], strings.Repeat("fine ", 5)) || strings.Contains(a.content[0], "pan") || a.reason != "policy_error" || a.finish[0] != "content_filter" {
		t.Fatalf("%+v", a)
	}
}

// TestFindingsOfARunAreBounded: past the limit the stream is blocked, whichever way its events come.
func TestFindingsOfARunAreBounded(t *testing.T) {
	c := newChain(word{text: "ab", action: pipeline.Redact, repl: "_"})
	in := role(0) + strings.Repeat(content(0, "ab"), pipeline.MaxFindings) + strings.Repeat(content(0, "ab"), 50) + finish(0, "stop") + done
	a := read(t, relay(c, stream.Options{}, []byte(in)).out)
	if a.reason != "finding_limit" || a.content[0] != strings.Repeat("_", pipeline.MaxFindings) || a.finish[0] != "content_filter" {
		t.Fatalf("%q %d", a.reason, len(a.content[0]))
	}
}
