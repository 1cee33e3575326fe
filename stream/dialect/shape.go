package dialect

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// shape is the last event that was parsed, when the next one is likely to
// differ from it in nothing but the text that it brings. Where that holds, all
// that parsing would tell is known, but for that text: the strings in question
// are read strictly, all other bytes are compared. Anything else is parsed.
type shape struct {
	known        bool
	single       bool // one piece with text varies, and at most one without
	text, opaque int8 // positions of the last pieces with text and without that vary; -1: there is none
	data         []byte
	pieces       []Piece
	rest         Chunk // without its slices
}

// Limits of a shape: what is larger is parsed each time.
const (
	maxShape       = 1 << 10 // bytes
	maxShapePieces = 16
)

// varies tells whether a piece may differ from event to event: the next piece of
// a text, or a payload that is recorded and not scanned. Both are whole strings.
func varies(p *Piece) bool {
	return p.Flags&^Escaped == 0 || p.Flags&^Repeat == Whole|Opaque
}

// Learn keeps the shape of an event that was parsed without an error.
// Allocates: never, once st has grown. data: valid during the call only.
func (st *Stream) Learn(data []byte, c *Chunk) {
	s := &st.shape
	s.known = false
	if len(data) > maxShape || len(c.Pieces) > maxShapePieces || len(c.Finishes)+len(c.Logprobs) > 0 || c.HasError || c.HasUsage || c.Terminal || c.Named {
		return
	}
	s.text, s.opaque = -1, -1
	texts, opaques := 0, 0
	for i := range c.Pieces {
		p := &c.Pieces[i]
		switch {
		case varies(p):
			// Not a part of a string, and not empty: HasText would be another.
			if p.Start >= p.End || data[p.Start-1] != '"' || data[p.End] != '"' {
				return
			}
			if p.Flags&Opaque == 0 {
				s.text = int8(i)
				texts++
				continue
			}
			if slices.ContainsFunc(c.Pieces, func(x Piece) bool { return x.Key == p.Key && !varies(&x) }) {
				return // which of the two is a repeat depends on the other
			}
			s.opaque = int8(i)
			opaques++
		case !p.Has(Repeat): // it may be new next time: only then is it known as a repeat
			return
		}
	}
	if texts+opaques == 0 {
		return
	}
	s.single = texts == 1 && opaques <= 1
	s.data = append(s.data[:0], data...)
	s.pieces = append(s.pieces[:0], c.Pieces...)
	s.rest = *c
	s.rest.Pieces, s.rest.Finishes, s.rest.Logprobs = nil, nil, nil
	s.known = true
}

// Same fills out as parsing data would, when it has the shape of the last event.
// false: it must be parsed, and out holds nothing of use.
// Allocates: never, once out has grown. data: valid during the call only.
func (st *Stream) Same(w *jsonwalk.Walker, data []byte, out *Chunk) bool {
	s := &st.shape
	if !s.known {
		return false
	}
	pieces := append(out.Pieces[:0], s.pieces...)
	at, was := 0, 0 // in data and in the shape: what is before is alike
	for i := range pieces {
		p := &pieces[i]
		if !varies(p) {
			p.Start += int32(at - was)
			p.End += int32(at - was)
			continue
		}
		fixed := s.data[was:p.Start]
		if !bytes.HasPrefix(data[at:], fixed) {
			return false
		}
		at += len(fixed)
		was = int(p.End)
		end, flags := w.Text(data, at)
		if end <= at || flags&^jsonwalk.Escaped != 0 { // not valid, empty, or half a surrogate pair
			return false
		}
		p.Start, p.End = int32(at), int32(end)
		if p.Flags&Opaque != 0 {
			if !Base64Only(data[at:end]) {
				return false
			}
		} else if p.Flags &^= Escaped; flags != 0 {
			p.Flags |= Escaped
		}
		at = end
	}
	if !bytes.Equal(data[at:], s.data[was:]) {
		return false
	}
	for i := range pieces {
		p := &pieces[i]
		if p.Flags&Opaque == 0 {
			continue
		}
		if p.Flags &^= Repeat; st.Repeated(p.Key, data[p.Start:p.End]) {
			p.Flags |= Repeat
		}
	}
	rest := s.rest
	rest.Pieces, rest.Finishes, rest.Logprobs = pieces, out.Finishes[:0], out.Logprobs[:0]
	*out = rest
	return true
}

// Shape gives the pieces of the last event, when events of its shape bring one
// piece of text each, and which of them that is. What else differs from event to
// event is at most one opaque piece. Valid until the next event is parsed.
func (st *Stream) Shape() (pieces []Piece, text int, ok bool) {
	s := &st.shape
	if st.Done || !s.known || !s.single {
		return nil, 0, false
	}
	return s.pieces, int(s.text), true
}

// Follows tells whether data has the shape of the last event, where Shape gives
// one, and where in data the piece of text stands. It says what Same says, takes
// the place of parsing the event, and leaves st as that would.
// Allocates: never, once st has grown. data: valid during the call only.
func (st *Stream) Follows(w *jsonwalk.Walker, data []byte) (text Span, escaped, ok bool) {
	s := &st.shape
	if st.Done || !s.known || !s.single {
		return Span{}, false, false
	}
	var opaque Span
	at, was := 0, 0 // in data and in the shape: what is before is alike
	for _, i := range [2]int8{min(s.text, s.opaque), max(s.text, s.opaque)} {
		if i < 0 {
			continue
		}
		p := &s.pieces[i]
		fixed := s.data[was:p.Start]
		if !bytes.HasPrefix(data[at:], fixed) {
			return Span{}, false, false
		}
		at += len(fixed)
		was = int(p.End)
		end, flags := w.Text(data, at)
		if end <= at || flags&^jsonwalk.Escaped != 0 { // not valid, empty, or half a surrogate pair
			return Span{}, false, false
		}
		span := Span{Start: int32(at), End: int32(end)}
		if i == s.text {
			text, escaped = span, flags != 0
		} else if opaque = span; !Base64Only(opaque.Of(data)) {
			return Span{}, false, false
		}
		at = end
	}
	if !bytes.Equal(data[at:], s.data[was:]) {
		return Span{}, false, false
	}
	if s.opaque >= 0 {
		st.Repeated(s.pieces[s.opaque].Key, opaque.Of(data))
	}
	return text, escaped, true
}

// Base64Only tells whether raw, the text of a JSON string as it stands, holds nothing but base64, plain or URL-safe; any
// of it may be escaped, as some encoders do with slashes and plus signs. White space may stand around it, and line breaks
// between lines that are all as long, as encoders for mail make them (RFC 2045, section 6.8).
func Base64Only(raw []byte) bool {
	for len(raw) > 0 && blankAt(raw) > 0 {
		raw = raw[blankAt(raw):]
	}
	line, all := 0, -1 // characters of the line, and of each one in front of it
	for i := 0; i < len(raw); {
		if base64Char(raw[i]) {
			line, i = line+1, i+1
			continue
		}
		if c, n := ASCIIAt(raw[i:]); base64Char(c) {
			line, i = line+1, i+n
			continue
		}
		k := i
		for k < len(raw) && blankAt(raw[k:]) > 0 {
			k += blankAt(raw[k:])
		}
		if k == len(raw) && k > i {
			return true
		}
		if raw[i] != '\\' || k == i || line < shortestLine || line%4 != 0 || all >= 0 && line != all {
			return false
		}
		all, line, i = line, 0, k
	}
	return all < 0 || line <= all
}

const shortestLine = 20 // of several lines: words side by side are no base64

// blankAt is the length of the white space that raw begins with, escaped in JSON or not; 0 without any.
func blankAt(raw []byte) int {
	if len(raw) == 0 || raw[0] != ' ' && raw[0] != '\\' {
		return 0
	}
	switch c, n := ASCIIAt(raw); c {
	case ' ', '\n', '\r', '\t':
		return n
	}
	return 0
}

func base64Char(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}

// ASCIIAt gives the ASCII character that the text of a JSON string begins with as it stands, escaped or not, and how
// many bytes it takes there; of any other character a byte that is none of ASCII. raw is valid and not empty.
func ASCIIAt(raw []byte) (c byte, n int) {
	if raw[0] != '\\' {
		return raw[0], 1
	}
	r, n := jsonwalk.Unescape(raw)
	if r >= utf8.RuneSelf {
		return 0xFF, n
	}
	return byte(r), n
}
