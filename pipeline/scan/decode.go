package scan

import (
	"bytes"
	"unicode/utf8"
)

// Limits of a Decoder.
const (
	MaxDecoded = 1 << 20 // decoded bytes of one text, over all tokens and both levels
	maxDepth   = 2       // a decoded text is looked at once more

	minBase64 = 16 // characters of a token: 12 decoded bytes
	minHex    = 16 // digits
	minEscape = 3  // percent escapes or entities of one run
	maxPlain  = 32 // bytes between two of them
)

// Token is one run of text that looks encoded, with what it says.
type Token struct {
	Start, End int    // raw span in the text given to Reset
	Form       string // "base64", "hex", "percent", "entity" or "rot13"; of the outer level
	Depth      int    // 1 or 2
	Text       []byte // decoded; valid until the next call of Next
}

// Decoder iterates over the tokens of a finished text that look encoded. It is for input channels, whose whole
// text is at hand. Its buffers grow to what a text needs and are kept by Reset.
type Decoder struct {
	// Rot13 asks for the whole text in rot13 as the last token. Digits and signs are the same in it, so that only
	// rules over letters should read it.
	Rot13 bool

	level [maxDepth]struct {
		text       []byte
		pos        int
		sign       int // of the next % or & at or behind pos, if it is not in front of it
		start, end int // span in the outer text of what this level was decoded from
		form       string
	}
	depth int // levels in use
	left  int
	buf   [maxDepth][]byte
	rot   bool // the whole text in rot13 is still to come
}

// Reset starts a text. p: must stay unchanged until the last call of Next.
func (d *Decoder) Reset(p []byte) {
	d.level[0].text, d.level[0].pos, d.level[0].sign = p, 0, -1
	d.depth, d.left = 1, MaxDecoded
	d.rot = d.Rot13
}

// Next gives the next token; ok is false at the end. The tokens of a decoded text follow it, with the span of
// the outer token. The last token is the whole text in rot13.
func (d *Decoder) Next() (t Token, ok bool) {
	for d.depth > 0 {
		l := &d.level[d.depth-1]
		if l.sign < l.pos {
			l.sign = nextSign(l.text, l.pos)
		}
		if l.pos = nextRun(l.text, l.pos, l.sign); l.pos >= len(l.text) {
			d.depth--
			continue
		}
		start := l.pos
		form, end := d.token(l.text, start)
		l.pos = end
		if form == "" {
			continue
		}
		out := d.buf[d.depth-1]
		t = Token{Start: start, End: end, Form: form, Depth: d.depth, Text: out}
		if d.depth > 1 {
			t.Start, t.End, t.Form = l.start, l.end, l.form
		}
		d.left -= len(out)
		if d.depth < maxDepth {
			next := &d.level[d.depth]
			next.text, next.pos, next.sign, next.start, next.end, next.form = out, 0, -1, start, end, form
			d.depth++
		}
		return t, true
	}
	if p := d.level[0].text; d.rot && len(p) <= d.left {
		d.rot = false
		out := d.buf[0][:0]
		letters := false
		for _, c := range p {
			switch {
			case c >= 'a' && c <= 'z':
				c, letters = 'a'+(c-'a'+13)%26, true
			case c >= 'A' && c <= 'Z':
				c, letters = 'A'+(c-'A'+13)%26, true
			}
			out = append(out, c)
		}
		d.buf[0] = out
		if letters {
			return Token{Start: 0, End: len(p), Form: "rot13", Depth: 1, Text: out}, true
		}
	}
	return Token{}, false
}

// nextSign is where the next % or & stands at or behind i, len(p) without one.
func nextSign(p []byte, i int) int {
	n := len(p)
	for _, c := range []byte{'%', '&'} {
		if k := bytes.IndexByte(p[i:n], c); k >= 0 {
			n = i + k
		}
	}
	return n
}

// nextRun is the least of sign and where the next run of base64 characters begins that is as long as a token; a
// run may begin at i. It looks at one character in sixteen, and goes back from those that may be part of a run.
func nextRun(p []byte, i, sign int) int {
	const least = min(minBase64, minHex)
	for i+least <= sign {
		k := i + least - 1
		for k >= i && base64Values[p[k]] >= 0 {
			k--
		}
		if k < i {
			return i
		}
		i = k + 1
	}
	return sign
}

// token reads what begins at i: a token that was decoded into the buffer of the level, or something to step over.
func (d *Decoder) token(p []byte, i int) (form string, end int) {
	out := d.buf[d.depth-1][:0]
	defer func() { d.buf[d.depth-1] = out }()
	switch c := p[i]; {
	case c == '%':
		n, last := 0, i
		end = i
		for end < len(p) && end-last <= maxPlain && len(out) < d.left && !space(p[end]) {
			if p[end] == '%' && end+2 < len(p) && hexValue(p[end+1]) >= 0 && hexValue(p[end+2]) >= 0 {
				out = append(out, byte(hexValue(p[end+1])<<4|hexValue(p[end+2])))
				n++
				end += 3
				last = end
				continue
			}
			out = append(out, p[end])
			end++
		}
		if n < minEscape {
			return "", i + 1
		}
		if textual(out) {
			return "percent", end
		}
		return "", last
	case c == '&':
		n, last := 0, i
		end = i
		for end < len(p) && end-last <= maxPlain && len(out) < d.left {
			if r, k := entity(p[end:]); k > 0 {
				out = utf8.AppendRune(out, r)
				n++
				end += k
				last = end
				continue
			}
			if p[end] == '\n' || p[end] == '&' {
				break
			}
			out = append(out, p[end])
			end++
		}
		if n >= minEscape {
			return "entity", end
		}
		return "", i + 1
	case c == '0' && i+1 < len(p) && p[i+1]|0x20 == 'x':
		return "", i + 2
	case hexValue(c) >= 0 || base64Value(c) >= 0:
		hex := i
		for hex < len(p) && hexValue(p[hex]) >= 0 {
			hex++
		}
		end = hex
		for end < len(p) && base64Value(p[end]) >= 0 {
			end++
		}
		run := end
		for end < len(p) && p[end] == '=' && end < run+2 {
			end++
		}
		if hex == run && run-i >= minHex && (run-i)%2 == 0 {
			for k := i; k < run && len(out) < d.left; k += 2 {
				out = append(out, byte(hexValue(p[k])<<4|hexValue(p[k+1])))
			}
			if textual(out) {
				return "hex", run
			}
			out = out[:0]
		}
		if run-i >= minBase64 {
			if out = decodeBase64(out, p[i:run], d.left); textual(out) {
				return "base64", end
			}
		}
		return "", end
	}
	return "", i + 1
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// entities are the named ones that stand for ASCII; the others do not hide letters.
var entities = [...]struct {
	name string
	r    rune
}{{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}, {"nbsp;", ' '}, {"colon;", ':'}, {"comma;", ','}, {"period;", '.'},
	{"excl;", '!'}, {"num;", '#'}, {"equals;", '='}, {"commat;", '@'}, {"lowbar;", '_'}, {"Tab;", '\t'}, {"NewLine;", '\n'}}

// entity reads an HTML character reference at the beginning of p; n is its length, 0 if there is none.
func entity(p []byte) (r rune, n int) {
	if len(p) < 4 || p[0] != '&' {
		return 0, 0
	}
	if p[1] != '#' {
		for _, e := range entities {
			if len(p) > len(e.name) && string(p[1:1+len(e.name)]) == e.name {
				return e.r, 1 + len(e.name)
			}
		}
		return 0, 0
	}
	i, base := 2, 10
	if p[2]|0x20 == 'x' {
		i, base = 3, 16
	}
	v, start := 0, i
	for i < len(p) && i < start+8 {
		h := hexValue(p[i])
		if h < 0 || h >= base {
			break
		}
		v = v*base + h
		i++
	}
	if i == start || i == len(p) || p[i] != ';' || v == 0 || v > utf8.MaxRune {
		return 0, 0
	}
	return rune(v), i + 1
}

// base64Value is the value of c in the standard and the URL alphabet, -1 if it is in neither.
// base64Values are the values of the characters of both alphabets, -1 for others.
var base64Values = func() (v [256]int8) {
	for c := range v {
		v[c] = int8(base64Number(byte(c)))
	}
	return v
}()

func base64Value(c byte) int { return int(base64Values[c]) }

func base64Number(c byte) int {
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

// textual tells whether p reads like text: nearly all of it printable, and UTF-8 but for a cut rune at its end.
func textual(p []byte) bool {
	bad := 0
	for _, c := range p {
		if c < 0x20 && c != '\n' && c != '\t' && c != '\r' || c == 0x7F {
			bad++
		}
	}
	if len(p) == 0 || bad*20 > len(p) {
		return false
	}
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 && utf8.FullRune(p) {
			return false
		}
		p = p[n:]
	}
	return true
}
