package openai

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/stream/dialect"
)

// shapePieces are strings to put at the marks of shapeEvents: texts, and what must end a stream.
var shapePieces = []string{
	" hello", "a", "", `\n`, `say \"x\"`, "caf\u00e9", "\u4f60\u597d", `\u00e9`, `\ud83d`, `\ude00`, `\ud83d\ude00`, "aB3", "aB3=", `a\/b`, "data:x;base64,AAAA",
	"\x01", "\xff", `"`, `\`, `\x`, `","role":"x`, `"},"x":"y`, `"}}]}`, "error", "stop", strings.Repeat("long ", 300), "gpt", "chatcmpl-1",
}

// shapeEvents are events with marks (%) in places of every sort.
var shapeEvents = []string{
	`{"id":"%","object":"chat.completion.chunk","created":1,"model":"%","choices":[{"index":0,"delta":{"content":"%"},"logprobs":null,"finish_reason":null}],"obfuscation":"%"}`,
	`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%"},"logprobs":null,"finish_reason":null}],"obfuscation":"%"}`,
	`{"id":"c","object":"%","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%"},"finish_reason":null}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"content":"%"}},{"index":1,"delta":{"content":"%"}}]}`,
	`{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"%","content":null}}],"usage":null}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"%","type":"function","function":{"name":"%","arguments":"%"}}]}}]}`,
	`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"%"}}]}}]}`,
	`{"choices":[{"index":0,"delta":{"role":"assistant","content":"%"},"finish_reason":"%"}]}`,
	`{"choices":[{"index":0,"delta":{"audio":{"id":"%","data":"%","transcript":"%"}}}]}`,
	`{"choices":[{"index":0,"delta":{"odd":"%","content":"%"}}],"odd":{"%":"%"},"more":["%","%"]}`,
	`{"choices":[{"index":0,"delta":{"content":"%"},"logprobs":{"content":[{"token":"%"}]}}]}`,
	`{"choices":[{"index":0,"delta":{"content":"%"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`,
	`{"error":{"message":"%"}}`,
	`{"obfuscation":"%","choices":[{"index":0,"delta":{"content":"%"}}]}`,
}

func fillMarks(event string, next func() string) string {
	var b strings.Builder
	for i, part := range strings.Split(event, "%") {
		if i > 0 {
			b.WriteString(next())
		}
		b.WriteString(part)
	}
	return b.String()
}

// compareShapes parses the events of a stream with and without shapes. It gives how
// many were the same as before but for their texts.
func compareShapes(t *testing.T, events []string) (same int) {
	t.Helper()
	c := New()
	var with, without, counted, followed dialect.Stream
	var ws, wos, cs, fs dialect.Scratch
	var got, want, probe, parsed dialect.Chunk
	for i, e := range events {
		if !counted.Done && counted.Same(&cs.Walker, []byte(e), &probe) {
			same++
		} else {
			_ = c.ParseEvent(&cs, &counted, nil, []byte(e), &probe)
		}
		pieces, at, single := followed.Shape()
		span, escaped, follows := followed.Follows(&fs.Walker, []byte(e))
		if follows && !single {
			t.Fatalf("event %d of %q follows a shape that is none", i, events)
		}
		if !follows {
			_ = c.ParseEvent(&fs, &followed, nil, []byte(e), &parsed)
		}
		gotErr := c.ParseEvent(&ws, &with, nil, []byte(e), &got)
		if !follows && !reflect.DeepEqual(plainChunk(&parsed), plainChunk(&got)) {
			t.Fatalf("event %d of %q, after events that were followed:\n%+v, want\n%+v", i, events, parsed, got)
		}
		if follows {
			// All but the text and what is opaque is as it was: a reader of the text alone misses nothing.
			if gotErr != nil || len(got.Pieces) != len(pieces) || len(got.Finishes)+len(got.Logprobs) > 0 || got.HasUsage || got.HasError || got.Terminal || got.Named || !got.HasText {
				t.Fatalf("event %d of %q follows, but is %+v, %v", i, events, got, gotErr)
			}
			for k := range pieces {
				p, q := &got.Pieces[k], &pieces[k]
				if p.Key != q.Key || p.Class != q.Class || k == at && (p.Start != span.Start || p.End != span.End || p.Has(dialect.Escaped) != escaped) ||
					k != at && !p.Has(dialect.Opaque) && (!p.Has(dialect.Repeat) || p.Flags != q.Flags) {
					t.Fatalf("event %d of %q follows, but piece %d is %+v", i, events, k, p)
				}
			}
		}
		without.Learn(nil, &dialect.Chunk{Terminal: true}) // forgets
		wantErr := c.ParseEvent(&wos, &without, nil, []byte(e), &want)
		if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Fatalf("event %d of %q: %v, without shapes %v", i, events, gotErr, wantErr)
		}
		if gotErr != nil {
			return same
		}
		if a, b := plainChunk(&got), plainChunk(&want); !reflect.DeepEqual(a, b) {
			t.Fatalf("event %d of %q:\n%+v, without shapes\n%+v", i, events, a, b)
		}
		if string(followed.ID) != string(with.ID) || followed.Done != with.Done || followed.Choices() != with.Choices() {
			t.Fatalf("event %d of %q: the stream that was followed differs", i, events)
		}
		if string(with.ID) != string(without.ID) || string(with.Model) != string(without.Model) || with.Done != without.Done || with.Choices() != without.Choices() {
			t.Fatalf("event %d of %q: the streams differ", i, events)
		}
	}
	return same
}

// plainChunk makes nil and empty slices the same.
func plainChunk(c *dialect.Chunk) dialect.Chunk {
	out := *c
	out.Pieces = append([]dialect.Piece{}, c.Pieces...)
	out.Finishes = append([]dialect.Finish{}, c.Finishes...)
	out.Logprobs = append([]dialect.Logprobs{}, c.Logprobs...)
	return out
}

// TestShapesChangeNothing over 40,000 random streams whose events are like the
// one before, or nearly.
func TestShapesChangeNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	n := 40_000
	if testing.Short() {
		n = 8_000
	}
	if invariant.Race { // one goroutine
		n = 1_500
	}
	same := 0
	for range n {
		form := shapeEvents[rng.IntN(len(shapeEvents))]
		var events []string
		for range 2 + rng.IntN(6) {
			if rng.IntN(8) == 0 {
				form = shapeEvents[rng.IntN(len(shapeEvents))]
			}
			plain := rng.IntN(3) > 0
			events = append(events, fillMarks(form, func() string {
				if plain {
					return shapePieces[rng.IntN(2)]
				}
				return shapePieces[rng.IntN(len(shapePieces))]
			}))
		}
		same += compareShapes(t, events)
	}
	if same < n/10 {
		t.Errorf("only %d events had a known shape", same)
	}
	text := fillMarks(shapeEvents[1], func() string { return "abc" })
	if got := compareShapes(t, []string{text, text, strings.ReplaceAll(text, "abc", "other"), strings.ReplaceAll(text, "abc", "x")}); got < 2 {
		t.Errorf("%d events of 4 had a known shape", got)
	}
}

// FuzzShapesChangeNothing is the same for any bytes; events are cut at line breaks.
func FuzzShapesChangeNothing(f *testing.F) {
	for _, e := range shapeEvents {
		a := fillMarks(e, func() string { return "aa" })
		f.Add(a + "\n" + a + "\n" + fillMarks(e, func() string { return "b" }))
	}
	f.Fuzz(func(t *testing.T, events string) { compareShapes(t, strings.Split(events, "\n")) })
}
