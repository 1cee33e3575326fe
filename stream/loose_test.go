package stream_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/stream"
)

// outside are places for text that stand outside of a delta, or in it whole: V is the value.
var outside = []string{
	`{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"text":V,"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{},"text":V,"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"thinking":V,"finish_reason":null}]}`,
	`{"id":"c","thinking":V,"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}`,
	`{"id":"c","thinking":{"deep":["same",{"er":V}]},"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"message":{"role":"assistant","content":V},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":"x","annotations":[{"text":V}]},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"object":V}`,
	`{"id":"c","choices":[{"index":0,"delta":{"role":V},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"function_call":{"name":V}},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"message":V}`,
}

// pieced are the places of outside that hold pieces of a text and nothing else.
const pieced = 2

func at(place, value string) string {
	return "data: " + strings.ReplaceAll(place, "V", quote(value)) + "\n\n"
}

// valuesAt gives the values that frames of the place have there.
func valuesAt(t testing.TB, place string, out []byte) (values []string) {
	t.Helper()
	before, _, _ := strings.Cut(place, "V")
	for data := range events(t, out) {
		if data == "[DONE]" {
			continue
		}
		if !json.Valid([]byte(data)) {
			t.Fatalf("no JSON: %s", data)
		}
		// An edit before the place (content "x" has none) does not move it.
		rest, ok := strings.CutPrefix(data, before)
		if !ok {
			continue
		}
		var v string
		if err := json.NewDecoder(strings.NewReader(rest)).Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		values = append(values, v)
	}
	return values
}

const plantedText = "card 4111 1111 1111 1111 of ada.lovelace@example.org end"

func TestTextOutsideOfTheDeltaIsOneText(t *testing.T) {
	card := word{text: "4111 1111 1111 1111", action: pipeline.Redact, repl: "[CARD]"}
	mail := word{text: "ada.lovelace@example.org", action: pipeline.Redact, repl: "[MAIL]"}
	for _, place := range outside {
		for size := 1; size <= len(plantedText); size++ {
			var in, all string
			var so []string
			for i := 0; i < len(plantedText); i += size {
				so = append(so, plantedText[i:min(i+size, len(plantedText))])
			}
			if !slices.Contains(outside[:pieced], place) && ambiguous(so) {
				continue
			}
			for i := range so {
				in += at(place, so[i])
				all += so[i]
			}
			in += finish(0, "stop") + done
			got := strings.Join(valuesAt(t, place, relay(newChain(card, mail), stream.Options{}, alone(in)...).out), "")
			if want := "card [CARD] of [MAIL] end"; got != want {
				t.Errorf("%s in pieces of %d: %q", place, size, got)
			}
			card.action = pipeline.Block
			res := relay(newChain(card, mail), stream.Options{}, alone(in)...)
			card.action = pipeline.Redact
			a := read(t, res.out)
			if got := strings.Join(valuesAt(t, place, res.out), ""); got != "card " || a.finish[0] != "content_filter" {
				t.Errorf("%s in pieces of %d, blocked: %q %v", place, size, got, a.finish)
			}
		}
	}
}

// ambiguous tells that values may be something else than the pieces of a text: a
// constant, or the text so far.
func ambiguous(values []string) bool {
	equal := 0
	for i := 1; i < len(values); i++ {
		if values[i] == values[i-1] {
			if equal++; equal == i || equal >= 8 {
				return true
			}
			continue
		}
		equal = 0
		if len(values[i-1]) >= 8 && strings.HasPrefix(values[i], values[i-1]) {
			return true
		}
	}
	return false
}

// FuzzTextOutsideOfTheDelta: any cut gives the outcome of the whole text, in
// every place, with reads of any size.
func FuzzTextOutsideOfTheDelta(f *testing.F) {
	for i := range uint64(400) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 31))
		var words []word
		for _, w := range someWords(r).words {
			if !w.border { // alone, the piece in which such a word ends has it
				words = append(words, w)
			}
		}
		c := newChain(words...)
		k := r.IntN(len(outside))
		place := outside[k]
		text := randomText(r, 1+r.IntN(80))
		parts := deltas(r, text, 1+r.IntN(20))
		if k >= pieced && ambiguous(parts) {
			t.Skip()
		}
		in := role(0)
		for _, p := range parts {
			e := at(place, p)
			if r.IntN(3) == 0 {
				e = "data: " + strings.ReplaceAll(place, "V", `"`+escapes(r, p)+`"`) + "\n\n"
			}
			in += e
			if r.IntN(8) == 0 {
				in += ": ping\n\n"
			}
		}
		in += finish(0, "stop") + done
		want := c.outcome(text)
		res := relay(c, stream.Options{MaxHeld: 1 << 20}, reads(r, in)...)
		got, a := strings.Join(valuesAt(t, place, res.out), ""), read(t, res.out)
		wantEnd := "stop"
		if want.terminal {
			wantEnd = "content_filter"
		}
		if got != want.text || a.finish[0] != wantEnd || !a.done {
			t.Fatalf("%s: %q in %q, words %v\ngot  %q %s\nwant %q %s", place, text, parts, c.words, got, a.finish[0], want.text, wantEnd)
		}
		if !want.terminal && !want.redacted && strings.ReplaceAll(in, ": ping\n\n", "") != string(res.out) {
			t.Fatalf("a clean stream changed:\n%s\n%s", in, res.out)
		}
	})
}

// FuzzTextSoFar: values that repeat the text so far, as a vendor's message beside
// the delta does. Each that goes out is the beginning of the last.
func FuzzTextSoFar(f *testing.F) {
	for i := range uint64(400) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 33))
		c := someWords(r)
		place := outside[pieced+r.IntN(len(outside)-pieced)]
		text := "a beginning " + randomText(r, 1+r.IntN(80)) // as long as no piece is
		parts := deltas(r, text[12:], 1+r.IntN(12))
		in, so := role(0)+at(place, text[:12]), text[:12]
		for _, p := range parts {
			so += p
			for range 1 + r.IntN(2)*r.IntN(3) {
				in += at(place, so)
			}
		}
		in += finish(0, "stop") + done
		want := c.outcome(text)
		res := relay(c, stream.Options{MaxHeld: 1 << 20}, reads(r, in)...)
		got := valuesAt(t, place, res.out)
		last := ""
		for i, v := range got {
			if !strings.HasPrefix(want.text, v) {
				t.Fatalf("%s: %q in %q, words %v: value %d is\n%q, no beginning of\n%q", place, text, parts, c.words, i, v, want.text)
			}
			last = v
		}
		a := read(t, res.out)
		if want.terminal != (a.finish[0] == "content_filter") || last != want.text && !want.terminal {
			t.Fatalf("%s: %q in %q, words %v: got %q, want %q, end %v", place, text, parts, c.words, last, want.text, a.finish)
		}
		if !want.terminal && !want.redacted && in != string(res.out) {
			t.Fatalf("a clean stream changed:\n%s\n%s", in, res.out)
		}
	})
}

// FuzzRealChainTextOutsideOfTheDelta against the whole text in a delta.
func FuzzRealChainTextOutsideOfTheDelta(f *testing.F) {
	c := kindtest.Chain(f, piiPack)
	for i := range uint64(100) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 35))
		text := mixed(r, 1+r.IntN(120))
		want := read(t, relay(c, stream.Options{MaxHeld: 1 << 20}, []byte(role(0)+content(0, text)+finish(0, "stop")+done)).out).content[0]
		for k, place := range outside {
			parts := deltas(r, text, 1+r.IntN(12))
			in := role(0)
			for _, p := range parts {
				in += at(place, p)
			}
			in += finish(0, "stop") + done
			got := strings.Join(valuesAt(t, place, relay(c, stream.Options{MaxHeld: 1 << 20}, reads(r, in)...).out), "")
			if k < pieced && got != want {
				t.Fatalf("%s: %q in %q\ngot  %q\nwant %q", place, text, parts, got, want)
			}
			if k >= pieced && !ambiguous(parts) {
				for _, v := range []string{"ada.lovelace@", "4111 1111 1111", "5555-5555-5555", "4 1234 5698"} {
					if strings.Contains(got, v) && !strings.Contains(want, v) {
						t.Fatalf("%s: %q in %q\n%q leaked: %q", place, text, parts, v, got)
					}
				}
			}
		}
	})
}

// TestAConstantBesideTheTextHoldsNothing: vendors' members that are the same in
// every event, that change in every event, and that come once.
func TestAConstantBesideTheTextHoldsNothing(t *testing.T) {
	c := kindtest.Chain(t, piiPack)
	text := strings.Fields(prose)
	for _, k := range []struct {
		name, place string
		delay       float64
	}{
		{"OpenRouter", `{"id":"c","provider":"OpenAI","choices":[{"index":0,"delta":{"role":"assistant","content":V},"finish_reason":null,"native_finish_reason":null}],"system_fingerprint":"fp_1"}`, 2},
		{"Azure", `{"id":"c","choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}},"index":0,"delta":{"content":V}}]}`, 2},
		{"Perplexity", `{"id":"c","citations":["https://a.example.org/x","https://b.example.org/y"],"search_results":[{"title":"A","url":"https://a.example.org/x","snippet":"S"},{"title":"B","url":"https://b.example.org/y","snippet":"` + strings.Repeat("long ", 100) + `"}],"object":"chat.completion.done","choices":[{"index":0,"message":{"role":"assistant","content":SO},"delta":{"role":"assistant","content":V}}]}`, 3},
		{"Mistral", `{"id":"c","choices":[{"index":0,"delta":{"content":V},"finish_reason":null}],"p":PAD}`, 2},
		{"a time in each", `{"id":"c","created_at":TIME,"choices":[{"index":0,"delta":{"content":V},"finish_reason":null}]}`, 3},
	} {
		in, so := "data: {\"choices\":[],\"prompt_filter_results\":[{\"severity\":\"safe\"}]}\n\n"+role(0), ""
		for i, w := range text {
			so += w + " "
			e := strings.NewReplacer("SO", quote(so), "V", quote(w+" "), "PAD", quote("abcdefghijklmnopqrstuvwxyz"[:1+i*7%26]), "TIME", quote(fmt.Sprintf("2025-01-02T03:04:%02d.%06dZ", i%60, i*7919))).Replace(k.place)
			in += "data: " + e + "\n\n"
		}
		in += finish(0, "stop") + done
		got := relay(c, stream.Options{}, alone(in)...)
		if string(got.out) != in {
			t.Errorf("%s: a clean stream changed\n%s", k.name, got.out)
		}
		if mean := float64(got.report.Delay) / float64(got.report.Frames); mean > k.delay {
			t.Errorf("%s: a frame waits for %.2f others on average", k.name, mean)
		} else {
			t.Logf("%s: mean delay %.2f frames, at most %d and %d bytes held", k.name, mean, got.report.HeldMaxN, got.report.HeldMax)
		}
	}
}

// TestWholeValuesOutsideOfTheDeltaAreFoundEachAlone: what follows a value, and is
// none of its text, hides nothing in it.
func TestWholeValuesOutsideOfTheDeltaAreFoundEachAlone(t *testing.T) {
	c := newChain(word{text: "123-45-6789", action: pipeline.Redact, border: true, repl: "[SSN]"})
	for _, place := range outside[pieced:] {
		in := role(0) + at(place, "a 123-45-6789") + at(place, "The next") + at(place, "123-45-6789") + at(place, "123-45-6789") + finish(0, "stop") + done
		got := valuesAt(t, place, relay(c, stream.Options{}, alone(in)...).out)
		if !slices.Equal(got, []string{"a [SSN]", "The next", "[SSN]", "[SSN]"}) {
			t.Errorf("%s: %q", place, got)
		}
	}
}

// TestAPieceThatRepeatsHidesNothing: the first values of a place are alike and
// were taken for a constant.
func TestAPieceThatRepeatsHidesNothing(t *testing.T) {
	for _, action := range []pipeline.Action{pipeline.Redact, pipeline.Block} {
		c := newChain(word{text: "4444 4444 4444 4448", action: action, repl: "[CARD]"})
		for _, place := range outside[pieced:] {
			in := role(0) + at(place, "4444 ") + at(place, "4444 ") + at(place, "4444 ") + at(place, "4448") + at(place, " end") + finish(0, "stop") + done
			if got := strings.Join(valuesAt(t, place, relay(c, stream.Options{}, alone(in)...).out), ""); strings.Contains(got, "4448") {
				t.Errorf("%s: %q", place, got)
			}
		}
	}
}
