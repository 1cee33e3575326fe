package scan

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

//go:embed data/fold.txt
var foldData string

// foldTable maps runes to ASCII text: pages of 256 runes, each entry up to three bytes of text with its length
// in the top byte.
type foldTable [0x1100]*[256]uint32

// foldPages is parsed once and never changed.
var foldPages = sync.OnceValue(func() *foldTable {
	var pages foldTable
	for line := range strings.Lines(foldData) {
		line = strings.TrimSuffix(line, "\n")
		i := strings.IndexByte(line, ' ')
		if i <= 0 || line[0] == '#' {
			continue
		}
		cp, err := strconv.ParseUint(line[:i], 16, 21)
		s := line[i+1:]
		if err != nil || cp>>8 >= uint64(len(pages)) || len(s) == 0 || len(s) > 3 {
			panic("scan: bad line in data/fold.txt: " + line)
		}
		if pages[cp>>8] == nil {
			pages[cp>>8] = new([256]uint32)
		}
		v := uint32(len(s)) << 24
		for k := range len(s) {
			v |= uint32(s[k]) << (8 * k)
		}
		pages[cp>>8][cp&255] = v
	}
	return &pages
})

// ignorable tells whether the normalised view drops r: invisible, joining, direction, variation, control, annotation and
// tag characters, but for those of ASCII, and what stands for an object.
// What tag characters spell by themselves is for a Decoder: as letters, one of them inside a word would hide it.
func ignorable(r rune) bool {
	switch {
	case r < 0xAD:
		return r >= 0x80 && r < 0xA0 && r != 0x85
	case r < 0x2000:
		return r == 0xAD || r == 0x34F || r == 0x61C || r == 0x115F || r == 0x1160 || r == 0x17B4 || r == 0x17B5 || r >= 0x180B && r <= 0x180F
	case r < 0xFE00:
		return r >= 0x200B && r <= 0x200F || r >= 0x202A && r <= 0x202E || r >= 0x2060 && r <= 0x206F || r == 0x3164
	case r < 0x10000:
		return r <= 0xFE0F || r == 0xFEFF || r == 0xFFA0 || r >= 0xFFF0 && r != utf8.RuneError
	}
	return r >= 0x13430 && r <= 0x13440 || r >= 0x1BCA0 && r <= 0x1BCA3 || r >= 0x1D173 && r <= 0x1D17A || r >= 0xE0000 && r <= 0xE0FFF
}

// isMark tells whether r is a combining mark, which stands on the character in front of it.
func isMark(r rune) bool {
	switch {
	case r < 0x300, r >= 0x3100 && r < 0xA66F, r >= 0xAC00 && r < 0xFB1E: // by far the most characters
		return false
	}
	return unicode.In(r, unicode.Mn, unicode.Me)
}

// normRune writes what the normalised view has for r into b and gives its length, 0 if r is dropped. ascii
// says whether the character kept before is ASCII: a mark on it is dropped. keptASCII is the same for the next.
func normRune(pages *foldTable, r rune, ascii bool, b *[4]byte) (n int, keptASCII bool) {
	if r < utf8.RuneSelf {
		b[0] = byte(r)
		return 1, true
	}
	if p := pages[r>>8]; p != nil && p[r&255] != 0 { // neither a mark nor ignorable
		v := p[r&255]
		n = int(v >> 24)
		b[0], b[1], b[2] = byte(v), byte(v>>8), byte(v>>16)
		return n, true
	}
	if ignorable(r) || ascii && isMark(r) {
		return 0, ascii
	}
	return utf8.EncodeRune(b[:], r), false
}

// keptASCII tells whether the character that the normalised view kept last of p is ASCII there; before is the same of what stands
// in front of p. What is dropped does not count, nor does a mark: it is dropped behind ASCII and kept behind what is not.
func keptASCII(p []byte, before bool) bool {
	pages := foldPages()
	for len(p) > 0 {
		if p[len(p)-1] < utf8.RuneSelf {
			return true
		}
		r, size := utf8.DecodeLastRune(p)
		switch page := pages[r>>8]; {
		case r == utf8.RuneError && size == 1:
			return false
		case page != nil && page[r&255] != 0:
			return true
		case !ignorable(r) && !isMark(r):
			return false
		}
		p = p[:len(p)-size]
	}
	return before
}

func normaliseString(s string) string {
	var out []byte
	var b [4]byte
	ascii := false
	for _, r := range s {
		var n int
		n, ascii = normRune(foldPages(), r, ascii, &b)
		out = append(out, b[:n]...)
	}
	return string(out)
}

// Normalise appends the normalised view of the whole text p to dst.
func Normalise(dst, p []byte) []byte {
	var b [4]byte
	ascii := false
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			dst, ascii = append(dst, p[0]), false
		} else {
			var n int
			n, ascii = normRune(foldPages(), r, ascii, &b)
			dst = append(dst, b[:n]...)
		}
		p = p[size:]
	}
	return dst
}
