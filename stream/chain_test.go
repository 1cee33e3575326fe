package stream_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/stream"
)

const piiPack = `policies:
  chain:
    - prompt-injection
    - pii-detector
policy:
  prompt-injection: {threshold: 0.8, action: block}
  pii-detector: {action: redact}
`

const prose = "A canal lock lifts a boat by letting water in at the upper gate while the lower gate stays shut. " +
	"In 1793 the engineers counted 29 such steps on this hill; today about 340 boats pass in a busy week. "

// mixed gives text with planted addresses and card numbers, and fragments of them.
func mixed(r *rand.Rand, n int) string {
	parts := []string{"ada.lovelace@example.org", "4111 1111 1111 1111", "5555-5555-5555-4444", "123-45-6789", "ada@", "@example.", "4111 1111", "12", " ", "a.b-c", "\n", "é", "😀", "1 ", "192.168.10.20", "GB82 WEST 1234 5698 7654 32", ". "}
	var b strings.Builder
	for b.Len() < n {
		if r.IntN(3) == 0 {
			k := r.IntN(len(prose) - 20)
			b.WriteString(prose[k : k+r.IntN(20)])
		} else {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		if r.IntN(2) == 0 {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// FuzzRealChainAnyCutGivesTheOutcomeOfTheWhole: text and arguments, with a real chain.
func FuzzRealChainAnyCutGivesTheOutcomeOfTheWhole(f *testing.F) {
	c := kindtest.Chain(f, piiPack)
	for i := range uint64(120) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 21))
		text := mixed(r, 1+r.IntN(150))
		args := `{"q":` + quote(mixed(r, 1+r.IntN(60))) + fmt.Sprintf(`,"n":%d,"b":[true,%d]}`, r.Uint64(), r.IntN(1e9))
		stream1 := func(most int) string {
			in := role(0)
			for _, p := range deltas(r, text, most) {
				in += content(0, p)
			}
			for _, p := range deltas(r, args, most) {
				in += toolArgs(0, 0, p)
			}
			return in + finish(0, "stop") + done
		}
		whole := relay(c, stream.Options{MaxHeld: 1 << 20}, []byte(stream1(1<<20)))
		want := read(t, whole.out)
		in := stream1(1 + r.IntN(12))
		cut := relay(c, stream.Options{MaxHeld: 1 << 20}, reads(r, in)...)
		got := read(t, cut.out)
		k := [2]int{0, 0}
		if got.content[0] != want.content[0] || got.args[k] != want.args[k] || got.finish[0] != want.finish[0] || cut.decision.Reason != whole.decision.Reason {
			t.Fatalf("text %q args %s\ngot  %q %s %s\nwant %q %s %s", text, args, got.content[0], got.args[k], got.finish[0], want.content[0], want.args[k], want.finish[0])
		}
		if cut.decision.Verdict == pipeline.VerdictAllow && string(cut.out) != in {
			t.Fatal("a clean stream changed")
		}
		// The same as an answer without stream.
		body, blocked, d, _ := scanResponse(t, c, `{"choices":[{"index":0,"message":{"content":`+quote(text)+`},"finish_reason":"stop"}]}`)
		if blocked || whole.decision.Verdict == pipeline.VerdictAllow && d.Verdict != pipeline.VerdictAllow {
			t.Fatalf("blocked %v, verdict %v", blocked, d.Verdict)
		}
		if !strings.Contains(body, quote(want.content[0])) {
			t.Fatalf("the whole answer has another text:\n%s\n%q", body, want.content[0])
		}
	})
}

func TestARealSessionGoesOnAfterAnEnd(t *testing.T) {
	c := kindtest.Chain(t, piiPack)
	in := role(0) + content(0, "write to ada@exa") + toolArgs(0, 0, "{}") + content(0, "x, or to grace@example.org now") + finish(0, "stop") + done
	a := read(t, relay(c, stream.Options{}, []byte(in)).out)
	if !strings.HasPrefix(a.content[0], "write to ada@exax, or to [") || strings.Contains(a.content[0], "grace") || a.finish[0] != "stop" {
		t.Fatalf("%+v", a)
	}
	in = role(0) + content(0, "write to ada@exa") + toolArgs(0, 0, "{}") + content(0, "mple.org now") + finish(0, "stop") + done
	a = read(t, relay(c, stream.Options{}, []byte(in)).out)
	if a.content[0] != "write to ada@exa" || a.reason != "split_match" {
		t.Fatalf("an address over a gap: %+v", a)
	}
}

// What ends with a text that went on after a pause is found as in any other text, however it is cut.
func TestAValueAtTheEndOfATextThatWentOnIsFound(t *testing.T) {
	chains := map[string]pipeline.Chain{
		"pii": kindtest.Chain(t, piiPack),
		"dlp": kindtest.Chain(t, "policies:\n  chain: [dlp-filter]\npolicy:\n  dlp-filter: {blocked_terms: [bluefin], action: block}\n"),
	}
	pauses := map[string]string{
		"call": toolArgs(0, 0, `{"a":1}`), "reasoning": field(0, "reasoning_content", "think "), "refusal": field(0, "refusal", "no "), "finish": finish(0, "stop"),
	}
	for name, c := range chains {
		for _, value := range map[string][]string{"pii": {"write to ada@example.org", "ada@example.org"}, "dlp": {"the project is bluefin", "bluefin"}}[name] {
			for pause, event := range pauses {
				for _, last := range []string{finish(0, "stop") + done, done, ""} {
					for size := 1; size <= len(value); size++ {
						in := role(0) + content(0, "Let me look") + event // what comes is no part of its last word
						for k := 0; k < len(value); k += size {
							in += content(0, value[k:min(len(value), k+size)])
						}
						got := relay(c, stream.Options{}, []byte(in+event+last))
						text := string(got.out)
						if pause != "finish" { // behind which no reader expects text
							text = read(t, got.out).content[0]
						}
						if strings.Contains(text, "ada@example") || strings.Contains(text, "bluefin") || got.decision.Verdict == pipeline.VerdictAllow {
							t.Fatalf("%s after %s, pieces of %d, then %q: %v %q", name, pause, size, last, got.decision.Verdict, text)
						}
					}
				}
			}
		}
	}
}

func TestARealChainAllocatesNothingOnThePassPath(t *testing.T) {
	if invariant.Enabled || invariant.Race {
		t.Skip("poisoning and race builds allocate")
	}
	c := kindtest.Chain(t, piiPack)
	var x pipeline.Exchange
	x.Begin(c, &pipeline.Facts{}, &pipeline.Findings{})
	var w stream.Window
	w.Reset(stream.Options{Dialect: chat, Exchange: &x})
	defer w.Close()
	var events [][]byte
	for i := 0; i+4 < len(prose); i += 4 {
		events = append(events, []byte(content(0, prose[i:i+4])))
	}
	k := 0
	one := func() {
		if err := w.Write(events[k%len(events)]); err != nil {
			t.Fatal(err)
		}
		w.Sent()
		k++
	}
	for range 4 * len(events) {
		one()
	}
	if n := testing.AllocsPerRun(10*len(events), one); n > 0 {
		t.Errorf("%v allocations per chunk", n)
	}
}

func TestTokenLikeDeltasHoldLittle(t *testing.T) {
	c := kindtest.Chain(t, piiPack)
	reads := [][]byte{[]byte(role(0))} // each event alone, as a model brings them
	for i := 0; i+4 < len(prose); i += 4 {
		reads = append(reads, []byte(content(0, prose[i:i+4])))
	}
	got := relay(c, stream.Options{}, append(reads, []byte(finish(0, "stop")+done))...)
	mean := float64(got.report.Delay) / float64(got.report.Frames)
	t.Logf("4-byte deltas: mean delay %.2f frames, at most %d frames and %d bytes held", mean, got.report.HeldMaxN, got.report.HeldMax)
	if mean > 3 {
		t.Errorf("a frame waits for %.2f others on average", mean)
	}
}

func BenchmarkWindow(b *testing.B) {
	real := kindtest.Chain(b, piiPack)
	for _, size := range []int{4, 20} {
		for _, k := range []struct {
			name string
			c    pipeline.Chain
		}{{"none", newChain()}, {"pii", real}} {
			b.Run(fmt.Sprintf("%dB/%s", size, k.name), func(b *testing.B) {
				var events [][]byte
				text := strings.Repeat(prose, 2)
				for i := 0; i+size <= len(text); i += size {
					events = append(events, []byte(content(0, text[i:i+size])))
				}
				end := []byte(finish(0, "stop") + done)
				var w stream.Window
				var x pipeline.Exchange
				var f pipeline.Findings
				held, frames, delay := 0, 0, int64(0)
				b.ReportAllocs()
				for b.Loop() {
					x.Begin(k.c, &pipeline.Facts{}, &f)
					w.Reset(stream.Options{Dialect: chat, Exchange: &x})
					for _, e := range events {
						_ = w.Write(e) // checked by the report below
						w.Sent()
					}
					_ = w.Write(end)
					if r := w.Report(); r.End != stream.EndDone || r.Edited != 0 || r.Frames != len(events)+1 {
						b.Fatalf("%+v", r)
					}
					held, frames, delay = max(held, w.Report().HeldMax), frames+w.Report().Frames, delay+w.Report().Delay
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/chunk")
				b.ReportMetric(float64(delay)/float64(frames), "delay-frames")
				b.ReportMetric(float64(held), "held-bytes")
				w.Close()
			})
		}
	}
}
