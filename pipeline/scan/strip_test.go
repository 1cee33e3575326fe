package scan

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestPlainIsReadByteByByte compares appendPlain, which copies and looks back, with its definition.
func TestPlainIsReadByteByByte(t *testing.T) {
	def := func(p []byte) (out []byte) {
		for i := 0; i < len(p); {
			c := p[i]
			if plainKinds[c]&(isLetter|isLeet) != 0 && (i == 0 || plainKinds[p[i-1]]&(isLetter|isLeet) == 0) {
				if n := leetWord(p[i:]); n > 0 {
					out = appendLeet(out, p[i:i+n])
					i += n
					continue
				}
			}
			n, blank := 0, false
			if plainKinds[c] != 0 {
				n, blank = plainMark(p, i, len(out) > 0 && plainKinds[out[len(out)-1]]&isLetter != 0)
			}
			if n == 0 {
				out = append(out, c)
				i++
				continue
			}
			if blank {
				out = append(out, ' ')
			}
			i += n
		}
		return out
	}
	parts := []string{"ignore", "p1ease", "4", "l33t", "a1", "utf8", "x!", "!!", "$", "@b", "0_o", "1l", "abcdefghijklmnopqrstuvwxyz0123456789abcdefghij", " ", ", ", ". ",
		"<b>", "</b>", "<!-- c -->", "<i", "**", "`", "~", "_", "-\n", "-\r\n", "\n> ", "\n- ", "\n1. ", "\n", "\" +\n\"", "' '", "[a](b)", "[", "]", `\_`, `\`, "+", " | ",
		"\x1b[31m", "\x1b", "\v", "\x00", "\x7f", "\u00e9", "\u2192", "\U0001F600", "\xe2", "\u200b"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		var b strings.Builder
		for range 1 + r.IntN(12) {
			if r.IntN(8) == 0 {
				b.WriteByte(byte(r.IntN(256)))
			} else {
				b.WriteString(parts[r.IntN(len(parts))])
			}
		}
		if got, want := appendPlain([]byte("."), []byte(b.String())), append([]byte("."), def([]byte(b.String()))...); string(got) != string(want) {
			t.Fatalf("%q:\n got %q\nwant %q", b.String(), got, want)
		}
	}
}
