package scan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of a Decoder.
const (
	// MaxDecoded is how many bytes are decoded of one text, over all tokens and both levels: what is decoded is seldom
	// longer than what it was, so that no usual text of half that size comes to it.
	MaxDecoded = 128 << 20
	maxDepth   = 2       // a decoded text is looked at once more, one of escapes twice: they are how strings are written
	maxBuffer  = 1 << 20 // bytes of a buffer that Reset keeps

	minBase64 = 16 // characters of a token's first line: 12 decoded bytes
	minHex    = 16 // digits
	minEscape = 3  // escapes or entities of one run, if none of them stands for a letter or a blank
	maxPlain  = 96 // bytes between two of them, and of what is read in front of the first and behind the last
	maxWrap   = 16 // bytes between two lines of an encoded text
)

// Token is one run of text that looks encoded, with what it says.
type Token struct {
	Start, End int    // raw span in the text given to Reset
	Form       string // "base64", "base32", "hex", "percent", "entity", "escape", "codes", "tags", "plain", "spelled" or "rot13"; of the outer level
	Depth      int    // 1 or 2, within escapes also 3
	Text       []byte // decoded; valid until the next call of Next
}

// Decoder iterates over the tokens of a finished text that look encoded. It is for input channels, whose whole
// text is at hand. Its buffers grow to what a text needs and are kept by Reset, unless they are unusually large.
type Decoder struct {
	// Max is used in place of MaxDecoded if it is not 0.
	Max int
	// Tags asks for what is not encoded but does not stand there as it is read. Stretches of text with tag
	// characters (U+E0020 to U+E007E, or variation selectors that stand for bytes) show nothing and carry ASCII: they
	// are given with what stands around them, and a space between what shows and what does not. So a token holds
	// text that is no secret of the tags: who edits its span edits that too. Form plain are stretches without the
	// marks between words and letters (strip.go), form spelled those whose letters stand alone.
	Tags bool
	// Rot13 asks for the stretches of text whose letters are rather those of English in rot13. Digits and signs are
	// the same in it, so that only rules over letters should read it.
	Rot13 bool

	level [maxDepth + 1]struct {
		text       []byte
		pos        int
		run        int             // end of the last run of base64 characters
		signs      [len(signs)]int // where the next of each of them is at or behind pos, if it is not in front of it
		start, end int             // span in the outer text of what this level was decoded from
		form       string
	}
	depth int // levels in use
	left  int
	cut   bool // left was used up
	last  int  // where the last escape of a token ends, 0 if it has none
	buf   [maxDepth + 1][]byte
	over  int    // of the escapes that were given last: what is read over them next, layerPlain, layerRot13 or layerNone
	layer []byte // the text of that
	codes [len(codeBases)]codes
	tags  int // the search for tag characters goes on here
	plain int // and so on
	spell int
	rot   int // the search for rot13 goes on here
}

// Reset starts a text. p: must stay unchanged until the last call of Next.
func (d *Decoder) Reset(p []byte) {
	d.level[0].text, d.level[0].pos, d.level[0].run, d.level[0].signs = p, 0, 0, noSigns
	if d.depth, d.left, d.cut = 1, MaxDecoded, false; d.Max > 0 {
		d.left = d.Max
	}
	for i := range d.buf {
		if cap(d.buf[i]) > maxBuffer {
			d.buf[i] = nil
		}
	}
	d.codes, d.over = [len(codeBases)]codes{}, layerNone
	if cap(d.layer) > maxBuffer {
		d.layer = nil
	}
	d.tags, d.plain, d.spell, d.rot = len(p), len(p), len(p), len(p)
	if d.Tags {
		d.tags, d.plain = 0, 0 // and spell where the search for plain ones comes by
	}
	if d.Rot13 {
		d.rot = 0
	}
}

// Cut tells whether the tokens of the text took more than MaxDecoded: what looks encoded behind that was not read.
func (d *Decoder) Cut() bool { return d.cut }

// Next gives the next token; ok is false at the end. The tokens of a decoded text follow it, with the span of
// the outer token, and so does what escapes say without marks and in rot13. Behind all of these come those of lists of codes,
// of tag characters, plain, spelled, and those in rot13 last; they are as long as the text that they stand for at most, whatever
// MaxDecoded is, and are not looked at once more.
func (d *Decoder) Next() (t Token, ok bool) {
	if t, ok = d.nextLayer(); ok {
		return t, true
	}
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
		d.last = 0
		form, start, end := d.token(l.text, l.pos)
		l.pos = end
		if form == "" {
			continue
		}
		if d.last > 0 { // what may be base64 behind escapes is read to its end
			l.pos = min(end, nextRun(l.text, d.last, min(len(l.text), end+minBase64-1)))
		}
		out := d.buf[d.depth-1]
		t = Token{Start: start, End: end, Form: form, Depth: d.depth, Text: out}
		if d.depth > 1 {
			t.Start, t.End, t.Form = l.start, l.end, l.form
		}
		d.left = max(0, d.left-len(out))
		if d.depth < maxDepth || d.depth == maxDepth && d.level[1].form == "escape" {
			next := &d.level[d.depth]
			next.text, next.pos, next.run, next.signs = out, 0, 0, noSigns
			next.start, next.end, next.form = t.Start, t.End, t.Form
			d.depth++
		}
		if d.over = layerNone; form == "escape" && t.Depth == 1 {
			d.over = layerPlain
		}
		return t, true
	}
	p := d.level[0].text
	for i := range d.codes {
		if d.codes[i].pos == len(p) {
			continue
		}
		if out, start, end, ok := d.codes[i].next(&codeBases[i], p, d.buf[0]); ok {
			d.buf[0] = out
			return Token{Start: start, End: end, Form: "codes", Depth: 1, Text: out}, true
		}
	}
	if start, end, ok := nextTags(p, d.tags); ok {
		d.tags = end
		d.buf[0] = appendTags(d.buf[0][:0], p[start:end])
		return Token{Start: start, End: end, Form: "tags", Depth: 1, Text: d.buf[0]}, true
	}
	d.tags = len(p)
	if d.plain < len(p) {
		start, end, next, spell, ok := nextPlain(p, d.plain, d.spell)
		if d.spell = spell; ok {
			d.plain = next
			d.buf[0] = appendPlain(d.buf[0][:0], p[start:end])
			return Token{Start: start, End: end, Form: "plain", Depth: 1, Text: d.buf[0]}, true
		}
		d.plain = len(p)
	}
	if out, start, end, ok := nextSpelled(p, d.spell, d.buf[0]); ok {
		d.spell, d.buf[0] = end, out
		return Token{Start: start, End: end, Form: "spelled", Depth: 1, Text: out}, true
	}
	d.spell = len(p)
	if start, end, ok := nextRot13(p, d.rot); ok {
		d.rot = end
		d.buf[0] = appendRot13(d.buf[0][:0], p[start:end])
		return Token{Start: start, End: end, Form: "rot13", Depth: 1, Text: d.buf[0]}, true
	}
	d.rot = len(p)
	return Token{}, false
}

// Layers over escapes.
const (
	layerNone = iota
	layerPlain
	layerRot13
)

// nextLayer gives what the text of the escapes that were given last says without its marks, and in rot13: a string of a
// program may be both.
func (d *Decoder) nextLayer() (t Token, ok bool) {
	for ; d.over != layerNone && !ok; d.over = (d.over + 1) % (layerRot13 + 1) {
		l := &d.level[1]
		t = Token{Start: l.start, End: l.end, Depth: 2}
		switch {
		case d.over == layerPlain && d.Tags:
			if _, _, _, _, ok = nextPlain(l.text, 0, len(l.text)); ok {
				t.Form, d.layer = "plain", appendPlain(d.layer[:0], l.text)
			}
		case d.over == layerRot13 && d.Rot13:
			if _, _, ok = nextRot13(l.text, 0); ok {
				t.Form, d.layer = "rot13", appendRot13(d.layer[:0], l.text)
			}
		}
		t.Text = d.layer
	}
	return t, ok
}

func appendRot13(out, p []byte) []byte {
	for _, c := range p {
		if low := c | 0x20; low >= 'a' && low <= 'z' {
			c += byte(13 - 26*boolInt(low > 'm'))
		}
		out = append(out, c)
	}
	return out
}

// tagAround is how many bytes of other text a token of tag characters has on each side. What is not further apart
// than that belongs to one token.
const tagAround = 256

// tag gives the ASCII character that p begins with as a tag character, or as a variation selector: of the 256 of these
// the last 240, from U+E0100 on, stand for the bytes from 16 on where text is hidden behind an emoji.
func tag(p []byte) (c byte, ok bool) {
	if len(p) < 4 || p[0] != 0xF3 || p[1] != 0xA0 {
		return 0, false
	}
	switch p[2] {
	case 0x80, 0x81:
		c = p[2]&1<<6 | p[3]&0x3F
	case 0x84, 0x85:
		c = p[2]&1<<6 | p[3]&0x3F + 16
	}
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
		most = max(most, max(max(a, b), max(c, d))) // not one after the other
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
// run may begin at i. Of sixteen bytes it looks for a blank in the last eight, together, or else goes back from the last one.
func nextRun(p []byte, i, sign int) int {
	const least = min(minBase64, minHex)
	for i+least <= sign {
		blanks := binary.LittleEndian.Uint64(p[i+least-8:]) ^ ' '*ones
		if blanks = ^(blanks&^tops + ^uint64(tops) | blanks) & tops; blanks != 0 {
			i += least - bits.LeadingZeros64(blanks)/8
			continue
		}
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
// What stands around escapes is part of the token: they may be letters of words in it.
func (d *Decoder) token(p []byte, i int) (form string, start, end int) {
	out := d.buf[d.depth-1][:0]
	start = i
	defer func() {
		d.buf[d.depth-1] = out
		d.cut = d.cut || len(out) >= d.left
	}()
	c := p[i]
	if c == '%' || c == '&' || c == '\\' {
		read := entity
		switch c {
		case '%':
			read = percent
		case '\\':
			read = escape
		}
		r, k := read(p[i:])
		if k == 0 {
			return "", i, i + 1
		}
		start = wordsBefore(p, i, min(maxPlain, d.left))
		out = append(out, p[start:i]...)
		for c == '\\' && len(out) > 0 && out[len(out)-1] == c { // an escape of an escape
			out = out[:len(out)-1]
		}
		n, telling, last := 0, false, i
		for end = i; ; {
			if k > 0 {
				if c == '%' && k == len("%41") { // a byte, not a character
					out = append(out, byte(r))
				} else {
					out = utf8.AppendRune(out, r)
				}
				n++
				telling = telling || hides(r) || c == '\\' && r != '/' // of escapes, all but that one may be part of what rules look for
				end += k
				last = end
			} else {
				if c != '\\' || end+1 >= len(p) || p[end] != c || p[end+1] != c {
					out = append(out, p[end])
				}
				end++
			}
			if end >= len(p) || end-last > maxPlain || len(out) >= d.left || p[end] == '\n' {
				break
			}
			if k = 0; p[end] == c {
				if r, k = read(p[end:]); k == 0 && c == '&' {
					break
				}
			}
		}
		if n < minEscape && !telling {
			return "", i, i + 1
		}
		d.last = last
		switch {
		case c == '&':
			return "entity", start, end
		case c == '\\':
			return "escape", start, end
		case textual(out):
			return "percent", start, end
		}
		return "", i, last
	}
	switch {
	case c == '0' && i+1 < len(p) && p[i+1]|0x20 == 'x':
		return "", i, i + 2
	case base64Value(c) < 0:
		return "", i, i + 1
	}
	hex := i
	for hex < len(p) && hexValue(p[hex]) >= 0 {
		hex++
	}
	l := &d.level[d.depth-1]
	if i >= l.run { // else i lies in it
		l.run = base64End(p, hex)
	}
	run := l.run
	end = run
	for end < len(p) && p[end] == '=' && end < run+2 {
		end++
	}
	if hex == run && run-i >= minHex && (run-i)%2 == 0 {
		out = appendHex(out, p[i:run], d.left)
		ok := textual(out)
		if !ok {
			out, ok = narrow(out)
		}
		if ok {
			out, end = d.hexLines(out, p, run)
			return "hex", start, end
		}
		out = out[:0]
	}
	if run-i < minBase64 {
		return "", i, end
	}
	var acc bits64
	out, failed := acc.text(out, p[i:run], d.left)
	ok := failed < 0 && textual(out)
	if !ok && failed < 0 {
		out, ok = narrow(out)
	}
	if ok {
		if end == run {
			out, end = d.base64Lines(out, p, i, run, acc)
		}
		return "base64", start, end
	}
	if out, ok = appendBase32(out[:0], p[i:run], d.left); ok && textual(out) {
		return "base32", start, end
	}
	out = out[:0]
	// It may be part of a path or a name: what is behind the next sign in it is looked at by itself.
	if failed >= 0 {
		for k := i + failed; k < run-minBase64; k++ {
			if base64Values[p[k]] >= 62 {
				return "", i, k + 1
			}
		}
	}
	return "", i, end
}

// hides tells whether an escape that stands for r may hide a word: r is a letter, a blank or shows nothing.
func hides(r rune) bool {
	low := r | 0x20
	return low >= 'a' && low <= 'z' || r == ' ' || r == '\n' || r == '\t' || r == '\r' || r == 0xA0 || ignorable(r)
}

// wordsBefore is where the text of at most n bytes in front of i begins, at the beginning of a word of its line.
func wordsBefore(p []byte, i, n int) int {
	from := max(0, i-n)
	if k := bytes.LastIndexByte(p[from:i], '\n'); k >= 0 {
		return from + k + 1
	}
	for k := from; k < i && from > 0; k++ {
		if space(p[k]) {
			return k + 1
		}
	}
	for from < i && !utf8.RuneStart(p[from]) {
		from++
	}
	return from
}

// wrap is the length of what may stand between two lines of an encoded text at the beginning of p: white space, the marks
// of quotations and comments, and what a program has between the pieces of a string.
func wrap(p []byte) int {
	i := 0
	for i < len(p) && i < maxWrap {
		next := byte(0)
		if i+1 < len(p) {
			next = p[i+1]
		}
		switch c := p[i]; c {
		case ' ', '\t', '\r', '\n', '>', '|', '#', '*', '"', '\'', ',':
			i++
		case '\\':
			switch next {
			case 'n', 'r', 't':
				i += 2
			case '/', '\n', '\r':
				i++
			default:
				return i
			}
		case '+':
			if i == 0 || !space(next) && next != '"' && next != '\'' {
				return i
			}
			i++
		default:
			return i
		}
	}
	return i
}

// hexLines goes on with the lines of digits behind end.
func (d *Decoder) hexLines(out, p []byte, end int) ([]byte, int) {
	for len(out) < d.left {
		k := end + wrap(p[end:])
		to := k
		for to < len(p) && hexValue(p[to]) >= 0 {
			to++
		}
		if k == end || to == k || (to-k)%2 != 0 || to < len(p) && base64Value(p[to]) >= 0 {
			break
		}
		n := len(out)
		if out = appendHex(out, p[k:to], d.left); !textual(out[n:]) {
			out = out[:n]
			break
		}
		end = to
	}
	return out, end
}

// base64Lines goes on with the lines behind p[i:end], which out is the text of. Where that ends within three bytes it
// may also be a text of its own: then it is given once more, alone.
func (d *Decoder) base64Lines(out, p []byte, i, end int, acc bits64) ([]byte, int) {
	first, lines, full := len(out), end, end
	for end == full && len(out) < d.left {
		k := end + wrap(p[end:])
		to := base64End(p, k)
		if k == end || to < k+2 {
			break
		}
		n, was, failed := len(out), acc, 0
		half := n - cutRune(out)
		if out, failed = acc.text(out, p[k:to], d.left); failed >= 0 || !textual(out[half:]) && len(out) > n {
			out, acc = out[:n], was
			break
		}
		full = to
		for end = to; end < len(p) && p[end] == '=' && end < to+2; end++ {
		}
	}
	if end > lines && (lines-i)%4 != 0 {
		alone := first
		out = append(out, '\n')
		out = append(out, out[:alone]...)
		out = out[:min(len(out), d.left)]
	}
	return out, end
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

// percent reads a percent escape at the beginning of p: a byte, or a character as in %u0041. n is its length, 0 if there
// is none.
func percent(p []byte) (r rune, n int) {
	if len(p) < 3 {
		return 0, 0
	}
	if hi, lo := hexValue(p[1]), hexValue(p[2]); hi >= 0 && lo >= 0 {
		return rune(hi<<4 | lo), 3
	}
	if p[1]|0x20 == 'u' && len(p) >= 6 {
		if r = hexRune(p[2:6]); r >= 0 {
			return r, 6
		}
	}
	return 0, 0
}

// bareEntities is how many of the entities HTML also reads without a semicolon.
const bareEntities = 6

// entities are the named ones that stand for ASCII, blanks and what shows nothing; the others do not hide letters.
var entities = [...]struct {
	name string
	r    rune
}{{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"nbsp;", ' '}, {"shy;", 0xAD}, {"apos;", '\''}, {"colon;", ':'}, {"comma;", ','}, {"period;", '.'},
	{"excl;", '!'}, {"num;", '#'}, {"equals;", '='}, {"commat;", '@'}, {"lowbar;", '_'}, {"Tab;", '\t'}, {"NewLine;", '\n'},
	{"ensp;", ' '}, {"emsp;", ' '}, {"thinsp;", ' '}, {"hairsp;", ' '}, {"numsp;", ' '}, {"puncsp;", ' '}, {"NonBreakingSpace;", ' '},
	{"zwnj;", 0x200C}, {"zwj;", 0x200D}, {"lrm;", 0x200E}, {"rlm;", 0x200F}, {"ZeroWidthSpace;", 0x200B}, {"NoBreak;", 0x2060}, {"hyphen;", '-'}, {"dash;", '-'}}

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
	for i < len(p) && i < start+16 && v <= utf8.MaxRune {
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

// escape reads an escape of a programming language at the beginning of p: \x41, \x{41}, \u0041, \u{41}, \U00000041, \101, or one
// of a single letter or sign as JSON has them; n is its length, 0 if there is none. Of half a surrogate pair it is U+FFFD.
func escape(p []byte) (r rune, n int) {
	if len(p) < 2 || p[0] != '\\' {
		return 0, 0
	}
	switch p[1] {
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case '"', '/':
		return rune(p[1]), 2
	case '0', '1':
		if len(p) >= 4 {
			v := rune(0)
			for _, c := range p[1:4] {
				if c < '0' || c > '7' {
					return 0, 0
				}
				v = v<<3 | rune(c-'0')
			}
			if v >= ' ' && v < 0x7F {
				return v, 4
			}
		}
		return 0, 0
	}
	if len(p) < 4 {
		return 0, 0
	}
	i, digits := 2, 2
	switch p[1] {
	case 'x', 'u':
		if p[1] == 'u' {
			digits = 4
		}
		if p[2] == '{' {
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

// base64End is where the run of base64 characters that p[i] may belong to ends.
func base64End(p []byte, i int) int {
	for i < len(p) && base64Values[p[i]] >= 0 {
		i++
	}
	return i
}

// bits64 is what is left of base64 characters that are no whole byte yet.
type bits64 struct{ acc, bits uint }

// text appends what src says as long as it is UTF-8, in pieces, so that what is none ends soon. failed is where in src
// it is none, -1 if nowhere.
func (b *bits64) text(dst, src []byte, max int) (out []byte, failed int) {
	good := len(dst) - cutRune(dst)
	first := good
	for at, size := 0, 16; at < len(src); size *= 2 {
		to := min(len(src), at+size)
		for _, c := range src[at:to] {
			b.acc = b.acc<<6 | uint(base64Values[c])
			if b.bits += 6; b.bits >= 8 {
				b.bits -= 8
				if len(dst) == max {
					return dst, -1
				}
				dst = append(dst, byte(b.acc>>b.bits))
				b.acc &= 1<<b.bits - 1
			}
		}
		for good < len(dst) {
			r, n := utf8.DecodeRune(dst[good:])
			if r == utf8.RuneError && n == 1 {
				if !utf8.FullRune(dst[good:]) {
					break
				}
				return dst, min((good-first)*4/3, len(src)-1)
			}
			good += n
		}
		at = to
	}
	return dst, -1
}

// cutRune is the length of the character at the end of p that is not complete, 0 if there is none.
func cutRune(p []byte) int {
	for k := 1; k <= min(len(p), utf8.UTFMax-1); k++ {
		if c := p[len(p)-k:]; utf8.RuneStart(c[0]) {
			return k * boolInt(!utf8.FullRune(c))
		}
	}
	return 0
}

// narrow makes UTF-16 of ASCII characters, of either order, ASCII in place.
func narrow(p []byte) ([]byte, bool) {
	if len(p) < 8 {
		return p, false
	}
	odd := boolInt(p[1] == 0) // where the zeros are: 1 for the usual order
	for i := 1 - odd; i+odd < len(p) && i+1-odd < len(p); i += 2 {
		if p[i] == 0 || p[i] >= utf8.RuneSelf || p[i^1] != 0 {
			return p, false
		}
	}
	n := 0
	for i := 1 - odd; i < len(p); i += 2 {
		p[n] = p[i]
		n++
	}
	return p[:n], textual(p[:n])
}

func appendHex(dst, src []byte, max int) []byte {
	for k := 0; k < len(src) && len(dst) < max; k += 2 {
		dst = append(dst, byte(hexValue(src[k])<<4|hexValue(src[k+1])))
	}
	return dst
}

// appendBase32 appends what p says in base32; ok is false if p has other characters.
func appendBase32(dst, p []byte, max int) (out []byte, ok bool) {
	acc, bits := 0, 0
	for _, c := range p {
		switch {
		case c >= 'A' && c <= 'Z':
			acc = acc<<5 | int(c-'A')
		case c >= '2' && c <= '7':
			acc = acc<<5 | int(c-'2') + 26
		default:
			return dst, false
		}
		if bits += 5; bits >= 8 {
			bits -= 8
			if len(dst) == max {
				break
			}
			dst = append(dst, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	return dst, true
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
