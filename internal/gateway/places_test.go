package gateway_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect/openai"
)

// place is where a stream may hold text; two of one group are never in one stream.
type place struct {
	group, where string // where: delta, choice, top
	open, close  string
	args         bool
	so           bool // each event has all of the text so far
}

var places = []place{
	{"content", "delta", `"content":`, ``, false, false},
	{"content", "delta", `"content":[{"type":"text","text":`, `}]`, false, false},
	{"reasoning", "delta", `"reasoning":`, ``, false, false},
	{"reasoning_content", "delta", `"reasoning_content":`, ``, false, false},
	{"refusal", "delta", `"refusal":`, ``, false, false},
	{"unknown", "delta", `"x_new":`, ``, false, false},
	{"object", "delta", `"x_obj":{"a":`, `}`, false, false},
	{"array", "delta", `"x_two":["fix",`, `]`, false, false},
	{"calls", "delta", `"tool_calls":[{"index":0,"function":{"arguments":`, `}}]`, true, false},
	{"calls", "delta", `"tool_calls":[{"index":1,"function":{"arguments":`, `}}]`, true, false},
	{"calls", "delta", `"tool_calls":[{"function":{"arguments":`, `}}]`, true, false},
	{"calls", "delta", `"tool_calls":[{"index":2,"custom":{"input":`, `}}]`, false, false},
	{"old call", "delta", `"function_call":{"arguments":`, `}`, true, false},
	{"details", "delta", `"reasoning_details":[{"type":"reasoning.text","text":`, `}]`, false, false},
	{"annotations", "delta", `"annotations":[{"type":"url_citation","url_citation":{"title":`, `}}]`, false, false},
	{"audio", "delta", `"audio":{"transcript":`, `}`, false, false},
	{"text", "choice", `"text":`, ``, false, false},
	{"choice", "choice", `"x_c":{"b":[`, `]}`, false, false},
	{"message", "choice", `"message":{"role":"assistant","content":`, `}`, false, true},
	{"message", "choice", `"message":{"role":"assistant","content":`, `}`, false, false},
	{"top", "top", `"x_top":{"z":{"q":`, `}}`, false, false},
	{"usage", "top", `"usage":{"prompt_tokens":1,"completion_tokens":2,"x_note":`, `}`, false, false},
}

// jsonString writes s as a JSON string; one character in escapes is an escape, none when 0.
func jsonString(r *rand.Rand, s string, escapes int) string {
	var b strings.Builder
	for _, c := range s {
		if escapes > 0 && c < 0x10000 && r.IntN(escapes) == 0 {
			fmt.Fprintf(&b, `\u%04x`, c)
			continue
		}
		q := quote(string(c))
		b.WriteString(q[1 : len(q)-1])
	}
	return `"` + b.String() + `"`
}

// flow is a text of a stream that is still to come.
type flow struct {
	place
	pieces []string
	sofar  string
}

func newFlow(r *rand.Rand, p place, text string) *flow {
	if p.args {
		text = `{"a":1,"l":[` + jsonString(r, text, r.IntN(3)*2) + `,2]}`
	}
	f := &flow{place: p}
	most := []int{1, 2, 5, 30}[r.IntN(4)]
	for rest := []rune(text); len(rest) > 0; {
		k := min(len(rest), 1+r.IntN(most))
		f.pieces = append(f.pieces, string(rest[:k]))
		rest = rest[k:]
	}
	return f
}

// placesStream is a stream of one choice with the planted value in one place, and other texts in others.
func placesStream(r *rand.Rand) (sse string, alone bool) {
	words := []string{"w ", "mail ", "x@", ".com ", "jane", "{", "}", "[1,2", "\\", "\"", "é", "😀", "\n", "4111 1111 ", ": "}
	var flows []*flow
	used := map[string]bool{}
	at := 0
	for i := range max(1, r.IntN(5)-1) {
		if at++; i == 0 || r.IntN(2) == 0 { // else the next one, which is of the same kind more often
			at = r.IntN(len(places))
		}
		p := places[at%len(places)]
		if used[p.group] {
			continue
		}
		used[p.group] = true
		text := ""
		for range 1 + r.IntN(40) {
			text += words[r.IntN(len(words))]
		}
		if i == 0 {
			text += " " + planted + []string{"", " after", "\n", "\"x"}[r.IntN(4)]
		}
		flows = append(flows, newFlow(r, p, text))
	}
	alone = len(flows) == 1
	var b strings.Builder
	for len(flows) > 0 {
		members := map[string][]string{}
		for k := range 1 + r.IntN(2) { // texts of one event
			if k >= len(flows) {
				break
			}
			f := flows[k]
			if f.sofar += f.pieces[0]; !f.so {
				f.sofar = f.pieces[0]
			}
			f.pieces = f.pieces[1:]
			members[f.where] = append(members[f.where], f.open+jsonString(r, f.sofar, r.IntN(3)*2)+f.close)
		}
		choice := append(members["choice"], `"index":0`, `"delta":{`+strings.Join(members["delta"], ",")+`}`)
		r.Shuffle(len(choice), func(i, j int) { choice[i], choice[j] = choice[j], choice[i] })
		top := append(members["top"], `"id":"c"`, `"choices":[{`+strings.Join(choice, ",")+`}]`)
		r.Shuffle(len(top), func(i, j int) { top[i], top[j] = top[j], top[i] })
		b.WriteString("data: {" + strings.Join(top, ",") + "}\n\n")
		left := flows[:0]
		for _, f := range flows {
			if len(f.pieces) > 0 {
				left = append(left, f)
			}
		}
		if flows = left; r.IntN(3) == 0 {
			r.Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
		}
	}
	return b.String() + "data: " + finishChunk(0, "stop") + "\n\ndata: [DONE]\n\n", alone
}

// through gives what the client gets of a stream that comes in reads of at most so many bytes.
func through(c pipeline.Chain, sse string, r *rand.Rand, most int) (string, pipeline.Decision) {
	var x pipeline.Exchange
	x.Begin(c, &pipeline.Facts{}, &pipeline.Findings{})
	var w stream.Window
	w.Reset(stream.Options{Dialect: openai.New(), Exchange: &x, RequestID: "r"})
	defer w.Close()
	var out strings.Builder
	for rest := sse; len(rest) > 0 && !w.Done(); {
		k := min(len(rest), 1+r.IntN(most))
		_ = w.Write([]byte(rest[:k])) // how it ended shows in what came out
		rest = rest[k:]
		out.Write(w.Out())
		w.Sent()
	}
	return out.String(), x.Decide()
}

// TestTextsInTurnsHideNothing is T51 over all places of T50: a value whose pieces come in any place of a stream, in turns with
// the texts of other places, is found however the stream is cut. With other texts in between, its beginning may have
// left when one of them ended it; the rest never follows.
func TestTextsInTurnsHideNothing(t *testing.T) {
	chains := map[string]pipeline.Chain{"redact": chainOf(t, withPII), "block": chainOf(t, blockPII)}
	n := uint64(800)
	if testing.Short() {
		n = 200
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(seed, 51))
		sse, alone := placesStream(r)
		for name, c := range chains {
			out, d := through(c, sse, r, 1<<20)
			if cut, e := through(c, sse, r, 40); cut != out || d.Verdict != e.Verdict {
				t.Fatalf("%s, seed %d: the outcome depends on the cut\n%s\n%s\n%s", name, seed, sse, out, cut)
			}
			var payloads []string
			for line := range strings.Lines(out) {
				if p, ok := strings.CutPrefix(line, "data: "); ok {
					if p = strings.TrimSuffix(p, "\n"); p != "[DONE]" && !json.Valid([]byte(p)) {
						t.Fatalf("%s, seed %d: no JSON: %s", name, seed, p)
					}
					payloads = append(payloads, p)
				}
			}
			got := texts(t, payloads...)
			if k := leaks(got, planted); d.Verdict == pipeline.VerdictAllow || alone && k != "" || strings.Contains(got, planted) {
				t.Fatalf("%s, seed %d: %s, the client got %q\n%s\n%s", name, seed, d.Verdict, k, sse, out)
			}
		}
	}
}
