package stream_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/scan"
	"github.com/keeptrusts/kt/stream"
)

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// letterRun is n letters and digits, the same for the same seed.
func letterRun(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 3))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

// pem is a private key of about n bytes, with its line breaks.
func pem(n int) string {
	var b strings.Builder
	b.WriteString("-----BEGIN PRIVATE KEY-----\n")
	for p := range slices.Chunk([]byte(letterRun(1, n-54)), 64) {
		b.Write(append(p, '\n'))
	}
	return b.String() + "-----END PRIVATE KEY-----"
}

// jwt is a token of three parts, 967 characters.
func jwt() string {
	return "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0" + letterRun(2, 557) + "." + letterRun(3, 342)
}

// TestALongSecretIsRedactedInPiecesOfAnySize: what the README promises of every cut, for the longest secrets.
func TestALongSecretIsRedactedInPiecesOfAnySize(t *testing.T) {
	c := kindtest.Chain(t, "policies: {chain: [dlp-filter]}\npolicy:\n  dlp-filter: {sensitivity_level: restricted}\n")
	for name, secret := range map[string]string{"PRIVATE_KEY": pem(1700), "JWT": jwt(), "PRIVATE_KEY ": pem(4100)} {
		text := "key: " + secret + "; end"
		body, blocked, _, _ := scanResponse(t, c, `{"choices":[{"index":0,"message":{"content":`+quote(text)+`},"finish_reason":"stop"}]}`)
		want := "key: [REDACTED:" + strings.TrimSpace(name) + "]; end"
		if blocked || !strings.Contains(body, quote(want)) {
			t.Fatalf("%s: the whole answer gives %v %s", name, blocked, body)
		}
		for _, n := range []int{1, 2, 3, 4, 8, 100} {
			in := role(0)
			for p := range slices.Chunk([]byte(text), n) {
				in += content(0, string(p))
			}
			in += finish(0, "stop") + done
			for _, reads := range [][][]byte{{[]byte(in)}, alone(in)} {
				got := relay(c, stream.Options{}, reads...)
				a := read(t, got.out)
				if a.reason != "" || a.content[0] != want || a.finish[0] != "stop" {
					t.Errorf("%s in pieces of %d, %d reads: %q, %q", name, n, len(reads), a.reason, a.content[0])
				}
				if got.report.HeldMax > 160<<10 {
					t.Errorf("%s in pieces of %d: %d bytes held", name, n, got.report.HeldMax)
				}
			}
		}
	}
}

// TestTheLongestMatchFitsInTokensOfOneByte, whatever the events around the tokens look like: what matches is
// redacted, what nearly does leaves byte for byte.
func TestTheLongestMatchFitsInTokensOfOneByte(t *testing.T) {
	long := letterRun(5, scan.MaxCap)
	c := newChain(word{text: long, action: pipeline.Redact, repl: "[X]"})
	padded := func(i int) string { return fmt.Sprintf(`,"obfuscation":"%s"}`, letterRun(uint64(i), i%23)) }
	for _, k := range []struct {
		name string
		form func(i int, text string) string
		most int // bytes held
	}{
		{"plain", func(_ int, text string) string { return content(0, text) }, 112 << 10},
		{"padded", func(i int, text string) string {
			return strings.TrimSuffix(content(0, text), "}\n\n") + padded(i) + "\n\n"
		}, 320 << 10},
		{"escaped", func(_ int, text string) string {
			return event(fmt.Sprintf(`{"index":0,"delta":{"content":"\u%04x"},"finish_reason":null}`, text[0]))
		}, 160 << 10},
		{"two choices", func(i int, text string) string {
			if i%100 == 50 {
				return content(0, text) + content(1, "x")
			}
			return content(0, text)
		}, 160 << 10},
		{"other lengths", func(i int, text string) string {
			return strings.Replace(content(0, text), "chatcmpl-1", "chatcmpl-"+strings.Repeat("1", i%30), 1)
		}, 4 << 20},
	} {
		for _, last := range []string{long[len(long)-1:], "-"} {
			var b strings.Builder
			b.WriteString(role(0))
			for i := range len(long) - 1 {
				b.WriteString(k.form(i, long[i:i+1]))
			}
			in := b.String() + k.form(0, last) + content(0, " end") + finish(0, "stop") + finish(1, "stop") + done
			got := relay(c, stream.Options{}, []byte(in))
			if a := read(t, got.out); last != "-" && (a.content[0] != "[X] end" || a.reason != "") {
				t.Errorf("%s: %q %q", k.name, a.reason, a.content[0])
			}
			if last == "-" && string(got.out) != in {
				t.Errorf("%s: what nearly matches does not leave as it came", k.name)
			}
			if got.report.HeldMax > k.most {
				t.Errorf("%s: %d bytes held", k.name, got.report.HeldMax)
			}
			if got.report.HeldMaxN < scan.MaxCap-100 {
				t.Errorf("%s: only %d events waited", k.name, got.report.HeldMaxN)
			}
		}
	}
}

// TestWhatAlwaysHoldsALittleDoesNotGrow: an event waits for the next one, and so on for as long as the stream goes.
func TestWhatAlwaysHoldsALittleDoesNotGrow(t *testing.T) {
	c := newChain(word{text: "xxyxxy!", action: pipeline.Redact, repl: "[X]"})
	in := role(0) + strings.Repeat(content(0, "xx")+content(0, "y"), 10000) + finish(0, "stop") + done
	got := relay(c, stream.Options{}, alone(in)...)
	if string(got.out) != in || got.report.HeldMax > 1000 {
		t.Fatalf("%d bytes held, %d of %d out", got.report.HeldMax, len(got.out), len(in))
	}
}

// TestReadingOnCountsText: behind a block that what stands before it still needs, tokens of one byte are read on for.
func TestReadingOnCountsText(t *testing.T) {
	long := strings.Repeat("z", 3000)
	c := newChain(word{text: "a stop", action: pipeline.Block}, word{text: "key stop" + long, action: pipeline.Redact, repl: "[K]"},
		word{text: "stop", action: pipeline.Block})
	for _, n := range []int{1, 3, 8, 4000} {
		in := role(0)
		for p := range slices.Chunk([]byte("my key stop"+long+" end"), n) {
			in += content(0, string(p))
		}
		in += finish(0, "stop") + done
		a := read(t, relay(c, stream.Options{}, []byte(in)).out)
		if a.content[0] != "my [K]" || a.reason != "fake.found" {
			t.Errorf("in pieces of %d: %q %q", n, a.content[0], a.reason)
		}
	}
}
