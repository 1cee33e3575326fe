package stream

import (
	"bytes"
	"encoding/base64"
	"slices"
	"unicode/utf8"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// headText is how many bytes of a payload must read like text before all of it is decoded.
const headText = 768

// attached scans a request's payload in base64 if it is text, and tells whether it is: a text file is text that the
// model reads. What is edited is encoded anew, so that the file stays one. The text is at most three quarters of
// what the body may have, so that it needs no bound of its own.
func (s *Scanner) attached(body []byte, p *dialect.Piece) bool {
	raw := body[p.Start:p.End]
	if bytes.IndexByte(raw, '\\') >= 0 || bytes.IndexByte(raw, ' ') >= 0 { // an escaped slash, or white space
		s.tmp = jsonwalk.AppendUnescaped(s.tmp[:0], raw)
		raw = s.tmp
		if bytes.ContainsAny(raw, " \t\r\n") {
			raw = slices.DeleteFunc(raw, func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' })
		}
	}
	s.joined = slices.Grow(s.joined[:0], len(raw)/4*3+3)
	if !declaredText(body[:p.Start]) {
		if s.joined = appendBase64(s.joined[:0], raw[:min(len(raw), headText/3*4)]); !readable(s.joined) {
			return false
		}
		if s.joined = appendBase64(s.joined[:0], raw); !readable(s.joined) {
			return false
		}
	} else {
		s.joined = appendBase64(s.joined[:0], raw)
	}
	e := base64.StdEncoding
	if bytes.ContainsAny(raw, "-_") {
		e = base64.URLEncoding
	}
	if len(raw)%4 != 0 {
		e = e.WithPadding(base64.NoPadding)
	}
	ch := &s.once
	s.open(ch, p)
	s.readsJSON(ch, s.joined)
	s.whole(ch, s.joined)
	if len(ch.edits) > 0 {
		var text []byte
		at := int64(0)
		for i := range ch.edits {
			x := &ch.edits[i]
			text = append(append(text, s.joined[at:x.start]...), x.repl.Of(s.arena)...)
			at = x.end
		}
		s.sp.literal(p.Start, p.End, e.EncodeToString(append(text, s.joined[at:]...)))
	}
	ch.close()
	s.arena = s.arena[:0]
	return true
}

// inRequest tells that a piece is of a request.
func inRequest(p *dialect.Piece) bool { return pipeline.Class(p.Class) <= pipeline.InputTool }

// declaredText tells whether head ends with the beginning of a data URI whose media type is one of text.
func declaredText(head []byte) bool {
	const longest = 1024 // of such a beginning, in bytes of the body
	head = head[max(0, len(head)-longest):]
	at := len(head)
	for quoted := true; quoted; { // the string's own quote is not escaped
		if at = bytes.LastIndexByte(head[:at], '"'); at < 0 {
			return false
		}
		slashes := at
		for slashes > 0 && head[slashes-1] == '\\' {
			slashes--
		}
		quoted = (at-slashes)%2 == 1
	}
	media := bytes.ToLower(jsonwalk.AppendUnescaped(nil, head[at+1:]))
	if !bytes.HasSuffix(media, []byte(",")) {
		return false
	}
	for _, name := range [...]string{"text/", "json", "xml", "csv", "yaml", "javascript", "markdown"} {
		if bytes.Contains(media, []byte(name)) {
			return true
		}
	}
	return false
}

// readable tells whether p reads like text: all but a twentieth of it is UTF-8 without control characters.
func readable(p []byte) bool {
	bad, n := 0, len(p)
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && size == 1 && utf8.FullRune(p):
			bad++
		case r < 0x20 && r != '\n' && r != '\t' && r != '\r', r == 0x7F:
			bad++
		}
		p = p[size:]
	}
	return n > 0 && bad*20 <= n
}

// appendBase64 appends what p says in base64, of either alphabet. Whatever else there is ends a group of characters.
func appendBase64(dst, p []byte) []byte {
	acc, bits := uint(0), uint(0)
	for _, c := range p {
		v := uint(0)
		switch {
		case c >= 'A' && c <= 'Z':
			v = uint(c - 'A')
		case c >= 'a' && c <= 'z':
			v = uint(c-'a') + 26
		case c >= '0' && c <= '9':
			v = uint(c-'0') + 52
		case c == '+' || c == '-':
			v = 62
		case c == '/' || c == '_':
			v = 63
		default:
			acc, bits = 0, 0
			continue
		}
		acc = acc<<6 | v
		if bits += 6; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	return dst
}
