package scan

import "bytes"

// A list of numbers that are the codes of characters: "69 67 6e 6f 72 65 20 61", "0x69, 0x67", "105 103 110",
// "01101001 01100111", "151 147". Words have blanks between them, so a list is found by the number of a blank, which is
// searched for as fast as memory is read, and read from there to both sides.

// codeBase is one way to write the codes.
type codeBase struct {
	blank      string // a blank in it
	base       int
	least, max int // digits of a number
}

var codeBases = [...]codeBase{
	{"20", 16, 2, 64}, // several characters may stand together
	{"32", 10, 2, 3},
	{"0100000", 2, 7, 8},
	{"40", 8, 2, 3},
}

const (
	minCodes   = 10 // characters of a list
	minNumbers = 4  // of which there are as many as this
	maxApart   = 4  // bytes between two numbers
)

// codes is the search for lists of one base in a text.
type codes struct {
	pos int // up to here all was read
}

// next decodes the next list into out; ok is false if there is none.
func (s *codes) next(b *codeBase, p, out []byte) (text []byte, start, end int, ok bool) {
	var few [8]byte // what a number says that is only looked at
	for s.pos < len(p) {
		k := bytes.Index(p[s.pos:], []byte(b.blank))
		if k < 0 {
			break
		}
		at, from := s.pos+k, s.pos
		s.pos = at + 1
		// To the left, number by number.
		start = numberStart(p, at, from)
		if _, _, ok := b.number(few[:0], p, start, from); !ok {
			continue
		}
		for {
			k := start
			for k > from && start-k < maxApart && parting(p[k-1]) {
				k--
			}
			before := numberStart(p, k, from)
			if k == start || before == k {
				break
			}
			if _, to, ok := b.number(few[:0], p, before, from); !ok || to != k {
				break
			}
			start = before
		}
		// And from there to the right.
		n := 0
		text, end = out[:0], start
		for k := start; ; n++ {
			var ok bool
			to := 0
			if text, to, ok = b.number(text, p, k, from); !ok {
				break
			}
			end = to
			for k = to; k < len(p) && k-to < maxApart && parting(p[k]); {
				k++
			}
			if k == to {
				break
			}
		}
		s.pos = max(s.pos, end)
		if n >= minNumbers && len(text) >= minCodes && textual(text) {
			return text, start, end, true
		}
	}
	s.pos = len(p)
	return out[:0], 0, 0, false
}

// parting tells whether c may stand between two numbers.
func parting(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ';', ':', '-', '_', '/', '|', '.', '"', '\'', '(', ')', '[', ']':
		return true
	}
	return false
}

func letterOrDigit(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 26 }

// numberStart is where the digits and letters begin, not in front of from, that end at or hold i.
func numberStart(p []byte, i, from int) int {
	for from = max(from, i-64); i > from && (letterOrDigit(p[i-1]) || p[i-1] == '+'); {
		i--
	}
	return i
}

// number reads what begins at i: ok is false if it is no number of the base. Digits stand alone, or behind 0x, x, 0b, 0o or U+.
func (b *codeBase) number(out, p []byte, i, from int) (text []byte, end int, ok bool) {
	if i > from && letterOrDigit(p[i-1]) {
		return out, i, false
	}
	if i+2 < len(p) {
		switch c := p[i+1] | 0x20; {
		case p[i] == '0' && (b.base == 16 && c == 'x' || b.base == 2 && c == 'b' || b.base == 8 && c == 'o'), b.base == 16 && p[i]|0x20 == 'u' && p[i+1] == '+':
			i += 2
		}
	}
	end = i
	for end < len(p) && end-i <= b.max {
		if v := hexValue(p[end]); v < 0 || v >= b.base {
			break
		}
		end++
	}
	n := end - i
	if n < b.least || n > b.max || end < len(p) && letterOrDigit(p[end]) {
		return out, end, false
	}
	if b.base == 16 {
		if n%2 != 0 {
			return out, end, false
		}
		if n == 4 && p[i] == '0' && p[i+1] == '0' { // of UTF-16
			i += 2
		}
		return appendHex(out, p[i:end], len(out)+n), end, true
	}
	v := 0
	for _, c := range p[i:end] {
		v = v*b.base + int(c-'0')
	}
	if v >= 0x7F || v < 0x20 && v != '\n' && v != '\t' && v != '\r' {
		return out, end, false
	}
	return append(out, byte(v)), end, true
}
