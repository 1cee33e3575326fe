package scan

import "unicode/utf8"

// MaxDecoded bounds the decoded bytes of one text.
const MaxDecoded = 1 << 20

// Token is one run of text that looks encoded, with what it says.
type Token struct {
	Start, End int    // raw span in the text given to the Decoder
	Form       string // "base64"
	Text       []byte // decoded; valid until the next call of Next
}

// Decoder iterates over the tokens of a finished text that look encoded. It is for input channels, whose whole
// text is at hand. It allocates only to grow its buffer, which Reset keeps.
type Decoder struct {
	text []byte
	pos  int
	left int
	buf  []byte
}

// Reset starts a text. p: valid until the next Reset.
func (d *Decoder) Reset(p []byte) {
	d.text, d.pos, d.left = p, 0, MaxDecoded
}

// minBase64 is the least length of a token that is tried as base64: 12 decoded bytes.
const minBase64 = 16

// Next gives the next token; ok is false at the end. p of Reset must still be valid.
func (d *Decoder) Next() (t Token, ok bool) {
	for d.pos < len(d.text) {
		c := d.text[d.pos]
		if base64Value(c) < 0 {
			d.pos++
			continue
		}
		start := d.pos
		for d.pos < len(d.text) && base64Value(d.text[d.pos]) >= 0 {
			d.pos++
		}
		end := d.pos
		for d.pos < len(d.text) && d.text[d.pos] == '=' && d.pos < end+2 {
			d.pos++
		}
		if end-start < minBase64 {
			continue
		}
		if n := min((end-start)*3/4, d.left); cap(d.buf) < n {
			d.buf = make([]byte, 0, n+n/2)
		}
		d.buf = decodeBase64(d.buf[:0], d.text[start:end], d.left)
		if !textual(d.buf) {
			continue
		}
		d.left -= len(d.buf)
		return Token{Start: start, End: d.pos, Form: "base64", Text: d.buf}, true
	}
	return Token{}, false
}

// base64Value is the value of c in the standard and the URL alphabet, -1 if it is in neither.
func base64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return -1
}

func decodeBase64(dst, src []byte, max int) []byte {
	acc, bits := 0, 0
	for _, c := range src {
		acc = acc<<6 | base64Value(c)
		if bits += 6; bits >= 8 {
			bits -= 8
			if len(dst) == max {
				break
			}
			dst = append(dst, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	return dst
}

// textual tells whether p reads like text: nearly all of it printable.
func textual(p []byte) bool {
	bad := 0
	for _, c := range p {
		if c < 0x20 && c != '\n' && c != '\t' && c != '\r' || c == 0x7F {
			bad++
		}
	}
	return len(p) > 0 && bad*20 <= len(p) && validMost(p)
}

// validMost tells whether p is UTF-8 but for a cut rune at its end.
func validMost(p []byte) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 && utf8.FullRune(p) {
			return false
		}
		p = p[n:]
	}
	return true
}
