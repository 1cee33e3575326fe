// Package bench measures the whole path over recorded streams: an event stream
// of an OpenAI-compatible provider goes in, the client's bytes come out, with
// policies on. The benchmarks check what was found and a digest of the bytes
// out, so that a fast wrong answer fails.
//
// BenchmarkGate... are in-process and belong to the regression gate (bench/gate).
// bench/lean measures CPU of whole processes beside the smallest relays.
package bench

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Recording is one recorded stream.
type Recording struct {
	Name   string
	Events [][]byte // each one dispatch, framing included; the last is [DONE]
	Text   string   // the joined content of choice 0
	Hits   int      // planted values in Text: e-mail addresses and card numbers
}

// Bytes is the whole stream in one piece.
func (r *Recording) Bytes() []byte {
	var out []byte
	for _, e := range r.Events {
		out = append(out, e...)
	}
	return out
}

const english = "A canal lock lifts a boat by letting water in at the upper gate while the lower gate stays shut. " +
	"The keeper opens two small paddles first, so that the level rises slowly and the ropes do not snap. " +
	"Once both sides are even, the pressure on the upper gate is gone and one person can push it open. " +
	"In 1793 the engineers counted 29 such steps on this hill; today about 340 boats pass in a busy week. " +
	"What looks like wasted water is the price of a level path: roughly 96,000 litres for each boat. " +
	"Some canals pump it back at night (power is cheap then), others store half of it in side ponds. " +
	"If you want to try it, bring gloves, a windlass and some patience - the gates weigh 2.5 tonnes each. " +
	"Ask at the lock house, read the board, and never leave the boat unattended while the water falls. "

const other = "Eine Schleuse hebt das Boot, indem oben Wasser einströmt, während das untere Tor geschlossen bleibt. " +
	"Шлюз поднимает лодку: вода медленно заполняет камеру, пока уровни не сравняются. " +
	"水閘を開ける前に、上下の水位が同じになるまで待ちます。" +
	"Une écluse élève le bateau grâce à l'eau qui entre doucement par la porte supérieure. "

// values are planted hits: made-up addresses of reserved domains and the card industry's public test numbers.
var values = []string{
	"ada.lovelace@example.org", "4111 1111 1111 1111", "grace@example.com", "5555-5555-5555-4444",
}

// Recordings gives the streams for a delta size in bytes (cut at rune borders).
func Recordings(delta int) []Recording {
	base := strings.Repeat(english, 2)
	var many strings.Builder
	for i := range 24 {
		fmt.Fprintf(&many, "Entry %d goes to %s before noon. ", i+1, values[i%len(values)])
	}
	return []Recording{
		content("clean", base, delta, 0),
		content("late-hit", base+"Write to "+values[0]+" for more.", delta, 1),
		content("many-hits", many.String(), delta, 24),
		content("non-english", strings.Repeat(other, 4), delta, 0),
		reasoning(strings.Repeat(english, 4), english, delta),
		toolCall(delta),
	}
}

// cut gives pieces of about n bytes that end at rune borders.
func cut(text string, n int) []string {
	var out []string
	for len(text) > 0 {
		k := min(n, len(text))
		for k < len(text) && !utf8.RuneStart(text[k]) {
			k++
		}
		out = append(out, text[:k])
		text = text[k:]
	}
	return out
}

const head = `data: {"id":"chatcmpl-9zKtRecorded","object":"chat.completion.chunk","created":1763942400,"model":"gpt-5.4-mini-2026-03-05","service_tier":"default","system_fingerprint":"fp_50cad350e4","choices":[{"index":0,"delta":{`

func event(delta, finish string) []byte {
	return []byte(head + delta + `},"logprobs":null,"finish_reason":` + finish + "}]}\n\n")
}

func finish(events [][]byte, reason string) [][]byte {
	return append(events, event("", strconv.Quote(reason)), []byte("data: [DONE]\n\n"))
}

func content(name, text string, delta, hits int) Recording {
	events := [][]byte{event(`"role":"assistant","content":""`, "null")}
	for _, p := range cut(text, delta) {
		events = append(events, event(`"content":`+quote(p), "null"))
	}
	return Recording{Name: name, Events: finish(events, "stop"), Text: text, Hits: hits}
}

func reasoning(thought, answer string, delta int) Recording {
	events := [][]byte{event(`"role":"assistant","content":""`, "null")}
	for _, p := range cut(thought, delta) {
		events = append(events, event(`"reasoning_content":`+quote(p), "null"))
	}
	for _, p := range cut(answer, delta) {
		events = append(events, event(`"content":`+quote(p), "null"))
	}
	return Recording{Name: "reasoning", Events: finish(events, "stop"), Text: answer}
}

func toolCall(delta int) Recording {
	args := `{"query":"opening hours of the lock house","notes":["bring gloves","ask the keeper"],"limit":25,"contact":"` + values[0] + `"}`
	events := [][]byte{event(`"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_Recorded01","type":"function","function":{"name":"search_places","arguments":""}}]`, "null")}
	for _, p := range cut(strings.Repeat(" ", 4)+args, delta) {
		events = append(events, event(`"tool_calls":[{"index":0,"function":{"arguments":`+quote(p)+`}}]`, "null"))
	}
	return Recording{Name: "tool-call", Events: finish(events, "tool_calls"), Hits: 1}
}

// quote writes a JSON string as providers do: UTF-8 as it is, the rest escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Prompt is a chat request of about n bytes of clean text.
func Prompt(n int) []byte {
	return promptWith(strings.Repeat(english, n/len(english)+1)[:n])
}

// promptWith is a request with a text of a user.
func promptWith(text string) []byte {
	return []byte(`{"model":"gpt-5.4-mini","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":` + quote(text) + `}],"temperature":0.2}`)
}
