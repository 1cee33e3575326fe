package scan

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestDecoderPassesOverNothing compares it with one that asks at every position that no token covers.
func TestDecoderPassesOverNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tokens := 0
	for range 4000 {
		var b strings.Builder
		for range 1 + r.IntN(12) {
			text := english(40)[:4+r.IntN(30)]
			switch r.IntN(10) {
			case 0:
				b.WriteString(base64.StdEncoding.EncodeToString(text))
			case 1:
				b.WriteString("0x" + hex.EncodeToString(text))
			case 2:
				b.WriteString(hex.EncodeToString(text))
			case 3:
				fmt.Fprintf(&b, "%%%x%%41%%42", 0x40+r.IntN(40))
			case 4:
				b.WriteString("&lt;&#65;&amp;&"[:1+r.IntN(15)])
			case 5:
				b.WriteString(`\x41\u0042\x4\\u{4f}\`[:1+r.IntN(20)])
			case 6:
				b.WriteString("=%&0x- _/+"[r.IntN(10):])
			default:
				b.Write(text)
			}
			if r.IntN(2) == 0 {
				b.WriteByte(' ')
			}
		}
		p := []byte(b.String())
		var got, want []string
		show := func(form string, start, end int, out []byte) string {
			return fmt.Sprintf("%s %d-%d %q", form, start, end, out)
		}
		var d Decoder
		d.Reset(p)
		for tok, ok := d.Next(); ok; tok, ok = d.Next() {
			if tok.Depth == 1 && tok.Form != "codes" { // lists are looked for by themselves
				got = append(got, show(tok.Form, tok.Start, tok.End, tok.Text))
			}
		}
		var slow Decoder
		slow.Reset(p)
		for i := 0; i < len(p); {
			slow.last = 0
			form, start, end := slow.token(p, i)
			if form != "" {
				want = append(want, show(form, start, end, slow.buf[0]))
				slow.left -= len(slow.buf[0])
			}
			i = end
			for k := slow.last; k > 0 && k < end; k++ { // what may be base64 behind escapes is a token by itself
				if k+minBase64 <= len(p) && base64End(p, k) >= k+minBase64 {
					i = k
					break
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q\n got  %q\n want %q", p, got, want)
		}
		tokens += len(got)
	}
	if tokens < 1000 {
		t.Errorf("only %d tokens", tokens)
	}
}
