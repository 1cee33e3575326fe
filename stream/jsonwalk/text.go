package jsonwalk

import (
	"bytes"
	"unicode/utf8"
)

// AppendUnescaped appends the text of raw, the content of a string that Walk
// let pass. A lone surrogate escape becomes U+FFFD.
// Allocates: never, but for dst's growth.
func AppendUnescaped(dst, raw []byte) []byte {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		r, n := Unescape(raw[i:])
		dst = utf8.AppendRune(dst, r)
		raw = raw[i+n:]
	}
}

// Unescape reads the escape at the start of raw: its character and its length.
// A surrogate pair is one escape of 12 bytes; a lone half gives U+FFFD. Bytes
// that are no escape count as themselves.
func Unescape(raw []byte) (rune, int) {
	if len(raw) < 2 {
		return utf8.RuneError, len(raw)
	}
	switch c := raw[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return rune(c), 2
	}
	u := hex4(raw, 2)
	if u < 0 {
		return utf8.RuneError, 2
	}
	if u&^0x7FF != 0xD800 {
		return rune(u), 6
	}
	if len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' {
		if r, ok := JoinSurrogates(raw[:6], raw[6:12]); ok {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}

// JoinSurrogates gives the character of two \u escapes of 6 bytes each, the
// last of one piece (TrailingHigh) and the first of the next (LeadingLow).
func JoinSurrogates(high, low []byte) (rune, bool) {
	if len(high) != 6 || len(low) != 6 {
		return 0, false
	}
	h, l := hex4(high, 2), hex4(low, 2)
	if h < 0 || l < 0 || h&^0x3FF != 0xD800 || l&^0x3FF != 0xDC00 {
		return 0, false
	}
	return rune((h-0xD800)<<10|(l-0xDC00)) + 0x10000, true
}

// Mapper maps spans of a string's text to its raw content, in one pass for all
// spans of an increasing order. The zero value maps the empty string.
type Mapper struct {
	raw      []byte
	at, text int // raw[at:] begins with the unit that begins at text
}

// Reset makes m map the text of raw, which it keeps until the next Reset.
func (m *Mapper) Reset(raw []byte) { *m = Mapper{raw: raw} }

// Span maps [start, end) of the text to raw, widened to whole escapes. start is
// not before the end of the last span. Offsets past the text map to the end of raw.
// Allocates: never.
func (m *Mapper) Span(start, end int) (rawStart, rawEnd int) {
	rawStart, rawEnd = m.unit(start)
	if end <= start {
		return rawStart, rawStart
	}
	if end-1 > start {
		_, rawEnd = m.unit(end - 1)
	}
	return rawStart, rawEnd
}

// unit gives the bytes of raw that stand for the text's byte at the offset: one byte or one escape.
func (m *Mapper) unit(text int) (start, end int) {
	for {
		n := bytes.IndexByte(m.raw[m.at:], '\\')
		if n < 0 {
			n = len(m.raw) - m.at
		}
		if text-m.text < n {
			m.at += text - m.text
			m.text = text
			return m.at, m.at + 1
		}
		m.at, m.text = m.at+n, m.text+n
		if m.at == len(m.raw) {
			return m.at, m.at
		}
		r, size := Unescape(m.raw[m.at:])
		if text-m.text < utf8.RuneLen(r) {
			return m.at, m.at + size
		}
		m.at, m.text = m.at+size, m.text+utf8.RuneLen(r)
	}
}

// RawOffset maps an offset of the text of raw to raw. An offset inside an
// escape's character gives the escape's start. Offsets past the text give len(raw).
// Allocates: never.
func RawOffset(raw []byte, text int) int {
	m := Mapper{raw: raw}
	start, _ := m.unit(text)
	return start
}

// RawSpan maps one span; see Mapper.Span.
// Allocates: never.
func RawSpan(raw []byte, start, end int) (rawStart, rawEnd int) {
	m := Mapper{raw: raw}
	return m.Span(start, end)
}

const hexDigits = "0123456789abcdef"

// AppendEscaped appends text as the content of a JSON string, without quotes.
// Only what must be escaped is; bytes that are no UTF-8 become U+FFFD.
// Allocates: never, but for dst's growth.
func AppendEscaped(dst, text []byte) []byte {
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x80 {
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, text[from:i]...)
				dst = append(dst, "�"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, text[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(dst, text[from:]...)
}

// AppendString appends text as a JSON string with its quotes.
func AppendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, []byte(text))
	return append(dst, '"')
}

// Edit replaces src[Start:End] by New.
type Edit struct {
	Start, End int
	New        []byte
}

// Splice appends src with the edits made; every other byte stays as it is.
// Edits are in order and do not overlap; Splice panics when they are not.
// Allocates: never, but for dst's growth.
func Splice(dst, src []byte, edits []Edit) []byte {
	at := 0
	for i := range edits {
		e := &edits[i]
		dst = append(dst, src[at:e.Start]...)
		dst = append(dst, e.New...)
		at = e.End
		_ = src[e.Start:e.End] // panics when End is before Start
	}
	return append(dst, src[at:]...)
}

// Int reads a number's bytes as an int64, exactly: ok is false for fractions,
// exponents and numbers out of range. -0 is 0.
func Int(raw []byte) (n int64, ok bool) {
	neg := len(raw) > 0 && raw[0] == '-'
	if neg {
		raw = raw[1:]
	}
	if len(raw) == 0 || len(raw) > 19 {
		return 0, false
	}
	var u uint64
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0, false
		}
		u = 10*u + uint64(c-'0')
	}
	if u > 1<<63-1 {
		return 0, false
	}
	if neg {
		return -int64(u), true
	}
	return int64(u), true
}
