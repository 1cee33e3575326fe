package scan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of a Decoder.
const (
	// MaxDecoded is how many bytes are decoded of one text, over all tokens and both levels: what is decoded is no
	// longer than what it was, so that no text of half that size comes to it.
	MaxDecoded = 128 << 20
	maxDepth   = 2       // a decoded text is looked at once more
	maxBuffer  = 1 << 20 // bytes of a buffer that Reset keeps

	minBase64 = 16 // characters of a token: 12 decoded bytes
	minHex    = 16 // digits
	minEscape = 3  // escapes or entities of one run
	maxPlain  = 32 // bytes between two of them
)

// Token is one run of text that looks encoded, with what it says.
type Token struct {
	Start, End int    // raw span in the text given to Reset
	Form       string // "base64", "hex", "percent", "entity", "escape", "tags" or "rot13"; of the outer level
	Depth      int    // 1 or 2
	Text       []byte // decoded; valid until the next call of Next
}

// Decoder iterates over the tokens of a finished text that look encoded. It is for input channels, whose whole
// text is at hand. Its buffers grow to what a text needs and are kept by Reset, unless they are unusually large.
type Decoder struct {
	// Max is used in place of MaxDecoded if it is not 0.
	Max int
	// Tags asks for the stretches of text with tag characters (U+E0020 to U+E007E), which show nothing and carry
	// ASCII: they are given with what stands around them, and a space between what shows and what does not. So a
	// token holds text that is no secret of the tags: who edits its span edits that too.
	Tags bool
	// Rot13 asks for the stretches of text whose letters are rather those of English in rot13. Digits and signs are
	// the same in it, so that only rules over letters should read it.
	Rot13 bool

	level [maxDepth]struct {
		text       []byte
		pos        int
		signs      [len(signs)]int // where the next of each of them is at or behind pos, if it is not in front of it
		start, end int             // span in the outer text of what this level was decoded from
		form       string
	}
	depth int // levels in use
	left  int
	cut   bool // left was used up
	buf   [maxDepth][]byte
	tags  int // the search for tag characters goes on here
	rot   int // the search for rot13 goes on here
}

// Reset starts a text. p: must stay unchanged until the last call of Next.
func (d *Decoder) Reset(p []byte) {
	d.level[0].text, d.level[0].pos, d.level[0].signs = p, 0, noSigns
	if d.depth, d.left, d.cut = 1, MaxDecoded, false; d.Max > 0 {
		d.left = d.Max
	}
	for i := range d.buf {
		if cap(d.buf[i]) > maxBuffer {
			d.buf[i] = nil
		}
	}
	d.tags, d.rot = len(p), len(p)
	if d.Tags {
		d.tags = 0
	}
	if d.Rot13 {
		d.rot = 0
	}
}

// Cut tells whether the tokens of the text took more than MaxDecoded: what looks encoded behind that was not read.
func (d *Decoder) Cut() bool { return d.cut }

// Next gives the next token; ok is false at the end. The tokens of a decoded text follow it, with the span of
// the outer token. Those of tag characters come behind all of these, and those in rot13 last; both are as long as
// the text that they stand for at most, whatever MaxDecoded is, and are not looked at once more.
func (d *Decoder) Next() (t Token, ok bool) {
	for d.depth > 0 {
		l := &d.level[d.depth-1]
		sign := len(l.text)
		for i, at := range l.signs {
			if at < l.pos {
				at = nextSign(l.text, l.pos, signs[i])
				l.signs[i] = at
			}
			sign = min(sign, at)
		}
		if l.pos = nextRun(l.text, l.pos, sign); l.pos >= len(l.text) {
			d.depth--
			continue
		}
		form, start, end := d.token(l.text, l.pos)
		l.pos = end
		if form == "" {
			continue
		}
		out := d.buf[d.depth-1]
		t = Token{Start: start, End: end, Form: form, Depth: d.depth, Text: out}
		if d.depth > 1 {
			t.Start, t.End, t.Form = l.start, l.end, l.form
		}
		d.left = max(0, d.left-len(out))
		if d.depth < maxDepth {
			next := &d.level[d.depth]
			next.text, next.pos, next.signs, next.start, next.end, next.form = out, 0, noSigns, start, end, form
			d.depth++
		}
		return t, true
	}
	p := d.level[0].text
	if start, end, ok := nextTags(p, d.tags); ok {
		d.tags = end
		d.buf[0] = appendTags(d.buf[0][:0], p[start:end])
		return Token{Start: start, End: end, Form: "tags", Depth: 1, Text: d.buf[0]}, true
	}
	d.tags = len(p)
	if start, end, ok := nextRot13(p, d.rot); ok {
		d.rot = end
		out := d.buf[0][:0]
		for _, c := range p[start:end] {
			if low := c | 0x20; low >= 'a' && low <= 'z' {
				c += byte(13 - 26*boolInt(low > 'm'))
			}
			out = append(out, c)
		}
		d.buf[0] = out
		return Token{Start: start, End: end, Form: "rot13", Depth: 1, Text: out}, true
	}
	d.rot = len(p)
	return Token{}, false
}

// tagAround is how many bytes of other text a token of tag characters has on each side. What is not further apart
// than that belongs to one token.
const tagAround = 256

// tag gives the ASCII character that p begins with as a tag character.
func tag(p []byte) (c byte, ok bool) {
	if len(p) < 4 || p[0] != 0xF3 || p[1] != 0xA0 || p[2]|1 != 0x81 {
		return 0, false
	}
	c = p[2]&1<<6 | p[3]&0x3F
	return c, c >= 0x20 && c < 0x7F
}

// nextTags finds the next stretch with tag characters at or behind i.
func nextTags(p []byte, i int) (start, end int, ok bool) {
	first, last := -1, i
	for i < len(p) {
		k := bytes.Index(p[i:], []byte{0xF3, 0xA0})
		if k < 0 || first >= 0 && i+k > last+2*tagAround {
			break
		}
		at := i + k
		i = at + 2
		if _, ok := tag(p[at:]); ok {
			if i = at + 4; first < 0 {
				first, start = at, max(start, last, at-tagAround)
			}
			last = i
		}
	}
	if first < 0 {
		return 0, 0, false
	}
	for end = min(len(p), last+tagAround); end < len(p) && !utf8.RuneStart(p[end]); end++ {
	}
	for start < first && !utf8.RuneStart(p[start]) {
		start++
	}
	return start, end, true
}

// appendTags appends p with tag characters as what they carry.
func appendTags(out, p []byte) []byte {
	shown, hidden := false, false // what the text before ends with
	for len(p) > 0 {
		if c, ok := tag(p); ok {
			if shown {
				out = append(out, ' ')
			}
			out = append(out, c)
			shown, hidden = false, true
			p = p[4:]
			continue
		}
		r, size := utf8.DecodeRune(p)
		if !ignorable(r) {
			if hidden {
				out = append(out, ' ')
			}
			shown, hidden = true, false
		}
		out = append(out, p[:size]...)
		p = p[size:]
	}
	return out
}

// rotWeights are by byte, for letters, 10 times the logarithm of how much more often the letter stands in English in rot13
// than in English. A letter of English has -7.8 on average, one of rot13 as much above.
var rotWeights = func() (w [256]int8) {
	for i, v := range [26]int8{-2, 16, -4, -38, -7, 11, 15, -8, -20, 28, -16, -7, -35, 2, -16, 4, 38, 7, -11, -15, 8, 20, -28, 16, 7, 35} {
		w['a'+i], w['A'+i] = v, v
	}
	return w
}()

const (
	rotSure   = 60  // from this sum of weights on a stretch is read: up to 5 % of English text, and each word or two of rot13
	rotAround = 128 // bytes between two stretches that are read as one, and at least what is read on each side
)

// nextRot13 finds the next stretch at or behind i whose letters are rather those of rot13.
func nextRot13(p []byte, i int) (start, end int, ok bool) {
	from, first, last, sum := i, -1, i, 0
	for len(p)-i >= rotBlock {
		s, ok := noRot13((*[rotBlock]byte)(p[i:]), sum)
		if !ok {
			break
		}
		i, sum = i+rotBlock, s
	}
	for ; i < len(p) && (first < 0 || i-last <= rotAround); i++ {
		sum = max(0, sum+int(rotWeights[p[i]])) // without a branch: it could not be predicted
		if sum >= rotSure {
			if first < 0 {
				first = i
			}
			sum, last = min(sum, 2*rotSure), i+1
		}
	}
	if first < 0 {
		return 0, 0, false
	}
	// The sum grew from some place before first; what is before that is other text.
	start, end = max(from, first-rotAround), min(len(p), last+rotAround/2)
	for start > from && !isGap(p[start]) && first-start < 2*rotAround {
		start--
	}
	for end < len(p) && !isGap(p[end]) && end-last < rotAround {
		end++
	}
	return start, end, true
}

// rotBlock is how many bytes are looked at together.
const rotBlock = 128

// noRot13 tells whether the sum of weights stays below rotSure in p, of which sum stands in front and end behind. Each
// step of a sum waits for the one before it, so that four quarters take the time of one: each begins at 0, and what
// the one before it ends with is run on from there until it is 0, too.
func noRot13(p *[rotBlock]byte, sum int) (end int, ok bool) {
	const n = rotBlock / 4
	w := &rotWeights
	a, b, c, d, most := sum, 0, 0, 0, 0
	for i := range n {
		a = max(0, a+int(w[p[i]]))
		b = max(0, b+int(w[p[n+i]]))
		c = max(0, c+int(w[p[2*n+i]]))
		d = max(0, d+int(w[p[3*n+i]]))
		most = max(most, a, b, c, d)
	}
	ends := [...]int{a, b, c, d}
	for k := 1; k < len(ends); k++ {
		s, i := ends[k-1], k*n
		for ; s > 0 && i < (k+1)*n; i++ {
			s = max(0, s+int(w[p[i]]))
			most = max(most, s)
		}
		ends[k] = max(ends[k], s) // s is above 0 if it went through the whole quarter: then it is the sum
	}
	return ends[3], most < rotSure
}

// signs are the characters that escapes begin with. Each is looked for by itself and only once up to where it
// stands: a text full of one of them would else be searched for the others again and again.
var signs = [...]byte{'%', '&', '\\'}

var noSigns = [len(signs)]int{-1, -1, -1}

// nextSign is where c stands next at or behind i, len(p) without one.
func nextSign(p []byte, i int, c byte) int {
	if k := bytes.IndexByte(p[i:], c); k >= 0 {
		return i + k
	}
	return len(p)
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
// The beginning of the word that an escape stands in is part of the token.
func (d *Decoder) token(p []byte, i int) (form string, start, end int) {
	out := d.buf[d.depth-1][:0]
	start = i
	defer func() {
		d.buf[d.depth-1] = out
		d.cut = d.cut || len(out) >= d.left
	}()
	c := p[i]
	if c == '%' || c == '&' || c == '\\' {
		for start > 0 && i-start < maxPlain && i-start < d.left && !space(p[start-1]) {
			start--
		}
		out = append(out, p[start:i]...)
	}
	switch {
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
			return "", i, i + 1
		}
		if textual(out) {
			return "percent", start, end
		}
		return "", i, last
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
			return "entity", start, end
		}
		return "", i, i + 1
	case c == '\\':
		n, last := 0, i
		end = i
		for end < len(p) && end-last <= maxPlain && len(out) < d.left {
			if r, k := escape(p[end:]); k > 0 {
				out = utf8.AppendRune(out, r)
				n++
				end += k
				last = end
				continue
			}
			if p[end] == '\n' {
				break
			}
			if p[end] == '\\' && end+1 < len(p) && p[end+1] == '\\' {
				end++ // an escape of an escape
				continue
			}
			out = append(out, p[end])
			end++
		}
		if n >= minEscape {
			return "escape", start, end
		}
		return "", i, i + 1
	case c == '0' && i+1 < len(p) && p[i+1]|0x20 == 'x':
		return "", i, i + 2
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
				return "hex", start, run
			}
			out = out[:0]
		}
		if run-i >= minBase64 {
			if out = decodeBase64(out, p[i:run], d.left); textual(out) {
				return "base64", start, end
			}
		}
		return "", i, end
	}
	return "", i, i + 1
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

// bareEntities is how many of the entities HTML also reads without a semicolon.
const bareEntities = 5

// entities are the named ones that stand for ASCII; the others do not hide letters.
var entities = [...]struct {
	name string
	r    rune
}{{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"nbsp;", ' '}, {"apos;", '\''}, {"colon;", ':'}, {"comma;", ','}, {"period;", '.'},
	{"excl;", '!'}, {"num;", '#'}, {"equals;", '='}, {"commat;", '@'}, {"lowbar;", '_'}, {"Tab;", '\t'}, {"NewLine;", '\n'}}

// entity reads an HTML character reference at the beginning of p; n is its length, 0 if there is none.
func entity(p []byte) (r rune, n int) {
	if len(p) < 4 || p[0] != '&' {
		return 0, 0
	}
	if p[1] != '#' {
		for i, e := range entities {
			if len(p) > len(e.name) && string(p[1:1+len(e.name)]) == e.name {
				return e.r, 1 + len(e.name)
			}
			if bare := e.name[:len(e.name)-1]; i < bareEntities && len(p) > len(bare) && string(p[1:1+len(bare)]) == bare {
				return e.r, 1 + len(bare)
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
	if i == start || v == 0 || v > utf8.MaxRune {
		return 0, 0
	}
	if i < len(p) && p[i] == ';' { // HTML reads the reference without it, too
		i++
	}
	return rune(v), i
}

// escape reads an escape of a programming language at the beginning of p: \x41, \u0041, \u{41} or \U00000041; n is its
// length, 0 if there is none. Of half a surrogate pair it is U+FFFD.
func escape(p []byte) (r rune, n int) {
	if len(p) < 4 || p[0] != '\\' {
		return 0, 0
	}
	i, digits := 2, 2
	switch p[1] {
	case 'x':
	case 'u':
		if digits = 4; p[2] == '{' {
			i, digits = 3, 0
			for i+digits < len(p) && digits < 6 && hexValue(p[i+digits]) >= 0 {
				digits++
			}
			if digits == 0 || i+digits == len(p) || p[i+digits] != '}' {
				return 0, 0
			}
			return hexRune(p[i : i+digits]), i + digits + 1
		}
	case 'U':
		digits = 8
	default:
		return 0, 0
	}
	if n = i + digits; n > len(p) {
		return 0, 0
	}
	if r = hexRune(p[i:n]); r < 0 {
		return 0, 0
	}
	if utf16.IsSurrogate(r) && len(p) >= n+6 && p[n] == '\\' && p[n+1] == 'u' {
		if both := utf16.DecodeRune(r, hexRune(p[n+2:n+6])); both != utf8.RuneError {
			return both, n + 6
		}
	}
	return r, n
}

// hexRune reads hexadecimal digits, -1 if p is none or more than 31 bits.
func hexRune(p []byte) (r rune) {
	for _, c := range p {
		h := hexValue(c)
		if h < 0 || r >= 1<<27 {
			return -1
		}
		r = r<<4 | rune(h)
	}
	return r
}

// base64Values are the values of the characters of both alphabets, -1 for others.
var base64Values = func() (v [256]int8) {
	for c := range v {
		v[c] = int8(base64Number(byte(c)))
	}
	return v
}()

// base64Value is the value of c in the standard and the URL alphabet, -1 if it is in neither.
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
