package dialect

import (
	"bytes"
	"unicode/utf8"

	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// Place tells where a span of tool-call arguments lies in their own JSON.
type Place uint8

// The places.
const (
	// InLiteral: inside one string literal, quotes not touched. What is put
	// there is escaped twice: for the literal and for the string around it all.
	InLiteral Place = iota
	// Outside: between literals: numbers, keywords, punctuation. What is put
	// there brings its own quotes; see ScalarSpan.
	Outside
	// Crossing: a quote that begins or ends a literal is part of the span, or
	// the span reaches back before what is still known.
	Crossing
)

// ArgsView turns the text of tool-call arguments, as decoded from the JSON
// around it, into a second view in which the escapes of the arguments' own
// string literals are decoded too, so that "\u0061" or a cut "\u00" + "61"
// cannot hide text. Everything else stays as it is. It maps offsets back and
// knows the literals. Arguments that are no JSON pass as they are.
//
// All offsets are channel offsets: bytes since Reset. The zero value is ready.
// How the text was cut never shows. Memory: 24 bytes for each escape and 8 for
// each quote not yet forgotten.
type ArgsView struct {
	src, view int64 // bytes taken and given
	carry     [12]byte
	n         uint8 // bytes of an escape in carry that are not yet given
	state     uint8
	escapes   []escape
	quotes    []int64 // offsets in the text of quotes that begin or end a literal
	shift     int64   // src minus view before the first escape that is kept
	known     int64   // literals and escapes before this offset of the text are forgotten
	inside    bool    // known lies inside a literal
}

// escape is one escape: n view bytes at view stand for len bytes at src.
type escape struct {
	view, src int64
	n, len    uint8
}

const (
	outOfLiteral uint8 = iota
	inLiteral
	inEscape // carry begins with a backslash inside a literal
)

// Reset makes v ready for other arguments and keeps its memory.
func (v *ArgsView) Reset() {
	*v = ArgsView{escapes: v.escapes[:0], quotes: v.quotes[:0]}
}

// Feed takes the next piece of the text and appends what it adds to the view.
// An escape that the piece cuts is given when it is complete.
// Allocates: never, once v and dst have grown. text: valid during the call only.
func (v *ArgsView) Feed(dst, text []byte) []byte {
	for p := 0; p < len(text); {
		rest := text[p:]
		switch v.state {
		case outOfLiteral:
			i := bytes.IndexByte(rest, '"')
			if i < 0 {
				return v.give(dst, rest)
			}
			dst = v.give(dst, rest[:i+1])
			v.quotes = append(v.quotes, v.src-1)
			v.state = inLiteral
			p += i + 1
		case inLiteral:
			i := 0
			for i < len(rest) && rest[i] != '"' && rest[i] != '\\' {
				i++
			}
			dst = v.give(dst, rest[:i])
			p += i
			if i == len(rest) {
				break
			}
			if rest[i] == '"' {
				dst = v.give(dst, rest[i:i+1])
				v.quotes = append(v.quotes, v.src-1)
				v.state = outOfLiteral
			} else {
				v.carry[0], v.n, v.state = '\\', 1, inEscape
			}
			p++
		case inEscape:
			var took bool
			if dst, took = v.step(dst, rest[0]); took {
				p++
			}
		}
	}
	return dst
}

// End says that no more text comes and appends what an incomplete escape held back.
func (v *ArgsView) End(dst []byte) []byte {
	if v.state == inEscape {
		v.state = inLiteral
		dst = v.flush(dst)
	}
	return dst
}

// give passes text on unchanged.
func (v *ArgsView) give(dst, text []byte) []byte {
	v.src += int64(len(text))
	v.view += int64(len(text))
	return append(dst, text...)
}

// step takes one byte inside an escape. It does not take the byte (took is
// false) when the byte shows that the escape before it is over.
func (v *ArgsView) step(dst []byte, c byte) (out []byte, took bool) {
	n := v.n
	if n >= 6 { // a high surrogate waits for its other half
		switch {
		case n == 6 && c == '\\', n == 7 && c == 'u', n > 7 && isHex(c):
			v.carry[n] = c
			if v.n++; v.n < 12 {
				return dst, true
			}
			if r, ok := jsonwalk.JoinSurrogates(v.carry[:6], v.carry[6:12]); ok {
				v.state = inLiteral
				return v.decoded(dst, r, 12), true
			}
			dst = v.decoded(dst, utf8.RuneError, 6)
			return v.hex(dst), true
		}
		// The high half stands alone; what came after it begins anew.
		dst = v.decoded(dst, utf8.RuneError, 6)
		if v.n == 0 {
			v.state = inLiteral
		}
		return dst, false
	}
	switch {
	case n == 1 && c == 'u', n > 1 && isHex(c):
		v.carry[n] = c
		if v.n++; v.n == 6 {
			return v.hex(dst), true
		}
		return dst, true
	case n == 1:
		r := rune(c)
		switch c {
		case 'b':
			r = '\b'
		case 'f':
			r = '\f'
		case 'n':
			r = '\n'
		case 'r':
			r = '\r'
		case 't':
			r = '\t'
		case '"', '\\', '/':
		default:
			// No escape of JSON: the backslash stays, the byte is read again.
			v.state = inLiteral
			return v.flush(dst), false
		}
		v.carry[1], v.n, v.state = c, 2, inLiteral
		return v.decoded(dst, r, 2), true
	}
	v.state = inLiteral
	return v.flush(dst), false
}

// hex ends a \u escape of 6 bytes in carry, unless it is a high surrogate.
func (v *ArgsView) hex(dst []byte) []byte {
	r := rune(0)
	for _, c := range v.carry[2:6] {
		r = r<<4 | hexValue(c)
	}
	if r&^0x3FF == 0xD800 {
		return dst
	}
	if r&^0x3FF == 0xDC00 {
		r = utf8.RuneError
	}
	v.state = inLiteral
	return v.decoded(dst, r, 6)
}

// decoded gives r for the first size bytes of carry; the rest of carry stays.
func (v *ArgsView) decoded(dst []byte, r rune, size uint8) []byte {
	before := len(dst)
	dst = utf8.AppendRune(dst, r)
	width := uint8(len(dst) - before)
	v.escapes = append(v.escapes, escape{view: v.view, src: v.src, n: width, len: size})
	v.view += int64(width)
	v.src += int64(size)
	v.n = uint8(copy(v.carry[:], v.carry[size:v.n]))
	return dst
}

// flush gives the bytes in carry as they are.
func (v *ArgsView) flush(dst []byte) []byte {
	if v.n > 6 { // a lone high half and the beginning of another escape
		dst = v.decoded(dst, utf8.RuneError, 6)
	} else if v.n == 6 {
		return v.decoded(dst, utf8.RuneError, 6)
	}
	dst = v.give(dst, v.carry[:v.n])
	v.n = 0
	return dst
}

func isHex(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 6 }

func hexValue(c byte) rune {
	if c <= '9' {
		return rune(c - '0')
	}
	return rune(c|0x20-'a') + 10
}

// Len gives the bytes of text taken into account and of view given; the text
// of an escape that is not complete does not count.
func (v *ArgsView) Len() (text, view int64) { return v.src, v.view }

// TextSpan maps a span of the view to the text, widened to whole escapes.
func (v *ArgsView) TextSpan(start, end int64) (textStart, textEnd int64) {
	textStart, _ = v.unit(start)
	if end <= start {
		return textStart, textStart
	}
	_, textEnd = v.unit(end - 1)
	return textStart, textEnd
}

// unit gives the bytes of the text that one byte of the view stands for.
func (v *ArgsView) unit(at int64) (start, end int64) {
	shift := v.shift
	lo, hi := 0, len(v.escapes) // the last escape that begins at or before at
	for lo < hi {
		mid := (lo + hi) / 2
		if v.escapes[mid].view <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo > 0 {
		e := &v.escapes[lo-1]
		if at < e.view+int64(e.n) {
			return e.src, e.src + int64(e.len)
		}
		shift = e.src + int64(e.len) - e.view - int64(e.n)
	}
	return at + shift, at + shift + 1
}

// ViewOffset maps an offset of the text to the view: how much of the view
// stands for text before it. Inside an escape it is the escape's start.
func (v *ArgsView) ViewOffset(text int64) int64 {
	shift := v.shift
	for i := len(v.escapes) - 1; i >= 0; i-- {
		e := &v.escapes[i]
		if e.src >= text {
			continue
		}
		if text < e.src+int64(e.len) {
			return e.view
		}
		shift = e.src + int64(e.len) - e.view - int64(e.n)
		break
	}
	return min(text-shift, v.view)
}

// Place tells where the span of the text lies in the arguments' JSON.
func (v *ArgsView) Place(start, end int64) Place {
	if start < v.known {
		return Crossing
	}
	inside := v.inside
	for _, q := range v.quotes {
		if q >= end {
			break
		}
		if q >= start {
			return Crossing
		}
		inside = !inside
	}
	if inside {
		return InLiteral
	}
	return Outside
}

// Forget drops what is known about the text before the offset; spans that
// begin there can no longer be asked about. Allocates: never.
func (v *ArgsView) Forget(text int64) {
	if text <= v.known {
		return
	}
	v.known = text
	k := 0
	for k < len(v.escapes) && v.escapes[k].src+int64(v.escapes[k].len) <= text {
		e := &v.escapes[k]
		v.shift = e.src + int64(e.len) - e.view - int64(e.n)
		k++
	}
	v.escapes = append(v.escapes[:0], v.escapes[k:]...)
	k = 0
	for k < len(v.quotes) && v.quotes[k] < text {
		v.inside = !v.inside
		k++
	}
	v.quotes = append(v.quotes[:0], v.quotes[k:]...)
}

// AppendArgsEdit appends what stands for text at the place in the arguments'
// own JSON: escaped inside a literal, a quoted string elsewhere. It is text of
// the channel; on the wire it is escaped once more, as all of the channel.
// Allocates: never, but for dst's growth.
func AppendArgsEdit(dst []byte, at Place, text []byte) []byte {
	if at == InLiteral {
		return jsonwalk.AppendEscaped(dst, text)
	}
	return append(jsonwalk.AppendEscaped(append(dst, '"'), text), '"')
}

// ScalarSpan widens the span [start, end) of text to the whole number or
// keyword it is part of, so that a quoted marker in its place is one JSON value.
func ScalarSpan(text []byte, start, end int) (int, int) {
	for start > 0 && scalarByte(text[start-1]) {
		start--
	}
	for end < len(text) && scalarByte(text[end]) {
		end++
	}
	return start, end
}

func scalarByte(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 26 || c == '-' || c == '+' || c == '.'
}
