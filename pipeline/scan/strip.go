package scan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands between the letters and words of a text and is not read with them: the marks of HTML and Markdown, those at
// the beginnings of the lines of a quotation or a comment, control characters, symbols, and digits in the place of letters.
// Reading every text without them would double the cost, so that only stretches are read that have one of them where it
// may hide a word, with the words around them.

const (
	plainAround  = 96   // bytes of other text on each side of a stretch
	plainNear    = 192  // what is no further apart is one stretch: a long text is read faster than many short ones
	plainLongest = 2048 // bytes from the first sign of a stretch to the last: where in it something stands is known about
	maxTag       = 256  // bytes of a mark of HTML
	maxComment   = 512
	maxMark      = 12 // bytes at the beginning of a line
	maxWord      = 40 // letters of a word with digits
)

// What a byte may be to this view. Of most bytes it takes one look.
const (
	isSign   = 1 << iota // it may hide a word
	isLetter             // of ASCII
	isLeet               // a digit or sign that stands for a letter
	isOther              // a mark that hides no word by itself
	isBorder             // a sign that hides none in front of a letter
)

var leets = [...][2]byte{{'0', 'o'}, {'1', 'i'}, {'3', 'e'}, {'4', 'a'}, {'5', 's'}, {'7', 't'}, {'8', 'b'}, {'$', 's'}, {'@', 'a'}, {'!', 'i'}}

var plainKinds = func() (k [256]uint8) {
	for c := range 0x20 {
		if c != '\t' && c != '\r' {
			k[c] = isSign // the line end for what is behind it
		}
	}
	for _, c := range []byte("<*`~_-+\"']\\|\x7f\xe2\xf0") {
		k[c] |= isSign
	}
	k['['] = isOther
	for _, c := range []byte("-'\"") {
		k[c] |= isBorder
	}
	for _, l := range leets {
		if k[l[0]] |= isLeet; l[0]-'0' < 10 { // other signs stand between letters in addresses
			k[l[0]] |= isSign
		}
	}
	for c := 'a'; c <= 'z'; c++ {
		k[c], k[c-0x20] = isLetter, isLetter
	}
	return k
}()

func letterAt(p []byte, i int) bool {
	return i >= 0 && i < len(p) && plainKinds[p[i]]&isLetter != 0
}

// nextPlain finds the next stretch at or behind i that is read without its marks; the search goes on at next, which is in front of
// the end of one that was cut. spell is where letters that stand alone were seen first, len(p) if nowhere yet; it is told,
// too, as the search for these needs to begin only there.
func nextPlain(p []byte, i, spell int) (start, end, next, spelled int, ok bool) {
	first, last := -1, i
	from := i
	for ; i < len(p) && (first < 0 || i <= last+plainNear && i < first+plainLongest); i += 8 {
		var v uint64
		if i+8 <= len(p) {
			v = binary.LittleEndian.Uint64(p[i:])
		} else {
			for k, c := range p[i:] {
				v |= uint64(c) << (8 * k)
			}
		}
		low := v &^ tops
		l := letters(low) &^ v & tops
		others := ^(l | (zeros(low^' '*ones)|zeros(low^','*ones)|zeros(low^'.'*ones))&^v) & tops
		if spelledOut(l) {
			spell = min(spell, max(0, i-8))
		}
		for ; others != 0; others &= others - 1 {
			k := i + bits.TrailingZeros64(others)/8
			if k >= len(p) {
				break
			}
			kind := plainKinds[p[k]]
			if kind&isSign == 0 || kind&isLeet != 0 && !letterAt(p, k-1) || kind&isBorder != 0 && letterAt(p, k+1) || !hidesHere(p, k) {
				continue
			}
			if first < 0 {
				first = k
			}
			last = k
		}
	}
	if first < 0 {
		return 0, 0, 0, spell, false
	}
	cut := i < len(p) && i <= last+plainNear
	start, end = max(from, first-plainAround), min(len(p), last+plainAround)
	for start > from && start < first && !space(p[start-1]) {
		start++
	}
	for end < len(p) && !space(p[end]) && end < last+2*plainAround {
		end++
	}
	for k := 1; k < utf8.UTFMax && end < len(p) && !utf8.RuneStart(p[end]); k++ {
		end++
	}
	for start < first && !utf8.RuneStart(p[start]) {
		start++
	}
	if next = end; cut && end < len(p) { // what goes on over the end is read whole
		next = end - 2*plainAround
	}
	return start, end, next, spell, true
}

const (
	ones = 0x0101010101010101
	tops = 0x80 * ones
)

// letters has the top bit of each byte set that is a letter in v, whose top bits are 0. The others of its bits say nothing.
func letters(v uint64) uint64 {
	v |= 0x20 * ones
	return (v + (0x80-'a')*ones) &^ (v + (0x7F-'z')*ones)
}

// zeros has the top bit of each byte set that is 0 in v, whose top bits are 0.
func zeros(v uint64) uint64 { return tops - v }

// hidesHere tells whether the sign at i stands where it may hide a word.
func hidesHere(p []byte, i int) bool {
	before, behind := letterAt(p, i-1), letterAt(p, i+1)
	switch c := p[i]; c {
	case '<':
		return behind || i+1 < len(p) && (p[i+1] == '/' || p[i+1] == '!' || p[i+1] == '\\' && i+2 < len(p) && p[i+2] == '/')
	case '*', '`', '~':
		return before || behind
	case '_': // at the beginning or the end of a word, not within one
		return before != behind && !(i+1 < len(p) && (letterOrDigit(p[i+1]) && !behind || p[i+1] == c)) && !(i > 0 && (letterOrDigit(p[i-1]) && !before || p[i-1] == c))
	case '-':
		return before && i+1 < len(p) && (p[i+1] == '\n' || p[i+1] == '\r')
	case '"', '\'':
		return joint(p[i:]) > 0
	case ']':
		return i+1 < len(p) && p[i+1] == '('
	case '\\':
		return before && i+1 < len(p) && escapedSign(p[i+1])
	case '+':
		return before && behind
	case '|':
		return before && behind || letterAt(p, i-2) && letterAt(p, i+2) && p[i-1] == ' ' && p[i+1] == ' '
	case '\n':
		return lineMark(p, i) > 0 && (before || i > 0 && (p[i-1] == ',' || p[i-1] == '\r' && letterAt(p, i-2)))
	case 0xE2, 0xF0:
		n := symbol(p[i:])
		return n > 0 && (before || letterAt(p, i+n) || letterAt(p, i-2) && p[i-1] == ' ' && i+n < len(p) && p[i+n] == ' ' && letterAt(p, i+n+1))
	default:
		return c < 0x20 || c == 0x7F || before && behind
	}
}

// escapedSign tells whether Markdown lets a backslash stand in front of c.
func escapedSign(c byte) bool {
	return c == ' ' || c == '_' || c == '*' || c == '-' || c == '.' || c == '!' || c == '`' || c == '~'
}

// joint is the length of the end of a string of a program at the beginning of p and of the beginning of the next one
// that it is put together with; 0 if it is none.
func joint(p []byte) int {
	plus := false
	for i := 1; i < len(p) && i < maxMark; i++ {
		switch c := p[i]; {
		case c == p[0]:
			if plus {
				return i + 1
			}
			return 0
		case c == '+' && !plus || c == '\n':
			plus = true
		case !space(c):
			return 0
		}
	}
	return 0
}

// lineMark is the length of a line end at i and of what marks the next line as one of a quotation, a comment, a list or a
// diff; 0 if nothing does.
func lineMark(p []byte, i int) int {
	k, marks := i+1, 0
	for ; k < len(p) && k-i < maxMark; k++ {
		switch c := p[k]; c {
		case '>', '#', '/', '*', '+', '-', '|', ';', '%':
			marks++
			continue
		case ' ', '\t':
			continue
		}
		break
	}
	if digits := k; marks == 0 {
		for k < len(p) && k-digits < 3 && p[k]-'0' < 10 {
			k++
		}
		if k == digits || k == len(p) || p[k] != '.' && p[k] != ')' {
			return 0
		}
		for k++; k < len(p) && (p[k] == ' ' || p[k] == '\t'); k++ {
		}
	}
	if !letterAt(p, k) {
		return 0
	}
	return k - i
}

// symbol is the length of a symbol at the beginning of p, an emoji or an arrow, with what belongs to it and shows
// nothing; 0 if there is none. Letters in circles and the like are none.
func symbol(p []byte) int {
	r, n := utf8.DecodeRune(p)
	switch {
	case r >= 0x2190 && r <= 0x2BFF, r >= 0x1F000 && r <= 0x1FFFF:
	default:
		return 0
	}
	if page := foldPages()[r>>8]; page != nil && page[r&255] != 0 || !unicode.IsSymbol(r) {
		return 0
	}
	for n < len(p) {
		r, k := utf8.DecodeRune(p[n:])
		if !ignorable(r) {
			break
		}
		n += k
	}
	return n
}

// appendPlain appends p without its marks. What is letters, blanks, commas and full stops is copied eight bytes at a time;
// whether a word has digits in the place of letters is asked at the first of them.
func appendPlain(out, p []byte) []byte {
	out = slices.Grow(out, len(p)+8) // it gets no longer; eight bytes are written whatever counts of them
	read := 0                        // in front of it is what was asked for or was no letter to copy
	for i := 0; i < len(p); {
		if i+8 <= len(p) {
			v := binary.LittleEndian.Uint64(p[i:])
			if n := bits.TrailingZeros64(unplain(v)) / 8; n > 0 {
				binary.LittleEndian.PutUint64(out[len(out):len(out)+8], v)
				out, i = out[:len(out)+n], i+n
				continue
			}
		}
		c := p[i]
		kind := plainKinds[c]
		if kind == 0 {
			out = append(out, c)
			i++
			continue
		}
		if kind&isLeet != 0 {
			word := i
			for word > read && plainKinds[p[word-1]]&(isLetter|isLeet) != 0 {
				word--
			}
			read = i + 1
			if word == 0 || plainKinds[p[word-1]]&(isLetter|isLeet) == 0 {
				if n := leetWord(p[word:]); n > 0 {
					out = appendLeet(out[:len(out)-(i-word)], p[word:word+n])
					i = word + n
					read = i
					continue
				}
			}
		}
		n, blank := plainMark(p, i, len(out) > 0 && plainKinds[out[len(out)-1]]&isLetter != 0)
		if n == 0 {
			out = append(out, c)
			i++
			continue
		}
		if blank {
			out = append(out, ' ')
		}
		i += n
		read = i
	}
	return out
}

// unplain has the top bit of each of eight bytes set that may be more to appendPlain than a byte to copy.
func unplain(v uint64) uint64 {
	low := v &^ tops
	return ^((letters(low) | zeros(low^' '*ones) | zeros(low^','*ones) | zeros(low^'.'*ones)) &^ v) & tops
}

// plainMark is the length of the mark that begins at i, 0 if there is none; blank tells whether it parts words. letter tells
// that a letter stands in front of it.
func plainMark(p []byte, i int, letter bool) (n int, blank bool) {
	switch c := p[i]; c {
	case '<':
		if bytes.HasPrefix(p[i:], []byte("<!--")) {
			if k := bytes.Index(p[i:min(len(p), i+maxComment)], []byte("-->")); k >= 0 {
				return k + len("-->"), false
			}
			return 0, false
		}
		tag := i + 1
		if tag+1 < len(p) && p[tag] == '\\' { // as some write the end of a tag in JSON
			tag++
		}
		if tag == len(p) || p[tag] != '/' && !letterAt(p, i+1) {
			return 0, false
		}
		for k := tag; k < len(p) && k < i+maxTag && p[k] != '<'; k++ {
			if p[k] == '>' {
				return k + 1 - i, partsWords(p[tag:k])
			}
		}
	case '*', '`', '~':
		return 1, false
	case '_':
		if !(i > 0 && letterOrDigit(p[i-1])) || !(i+1 < len(p) && letterOrDigit(p[i+1])) {
			return 1, false
		}
	case '-':
		if letter && i+1 < len(p) && (p[i+1] == '\n' || p[i+1] == '\r' && i+2 < len(p) && p[i+2] == '\n') {
			for n = 1; p[i+n] != '\n'; n++ {
			}
			return n + 1, false
		}
	case '"', '\'':
		return joint(p[i:]), false
	case '[':
		return 1, false
	case ']':
		if i+1 < len(p) && p[i+1] == '(' {
			if k := bytes.IndexByte(p[i:min(len(p), i+maxTag)], ')'); k > 0 {
				return k + 1, false
			}
		}
		return 1, false
	case '\\':
		switch {
		case i+1 == len(p):
		case escapedSign(p[i+1]), p[i+1] == '"', p[i+1] == '\'':
			return 1, false
		case p[i+1] == 'n', p[i+1] == 't', p[i+1] == 'r': // as in the strings of programs
			return 2, true
		}
	case '+':
		return boolInt(letter && letterAt(p, i+1)), true
	case '|':
		return 1, true
	case '\n':
		return lineMark(p, i), true
	case 0xE2, 0xF0:
		n = symbol(p[i:])
		return n, !letter || !letterAt(p, i+n)
	case 0x1B: // it may begin the colour of a terminal
		if i+1 < len(p) && p[i+1] == '[' {
			for k := i + 2; k < len(p) && k < i+maxMark; k++ {
				if letterAt(p, k) {
					return k + 1 - i, false
				}
			}
		}
		return 1, false
	case '\v', '\f':
		return 1, true
	default:
		if c < 0x20 || c == 0x7F {
			return 1, false
		}
	}
	return 0, false
}

// partsWords tells whether a mark of HTML begins or ends a paragraph, a line, or a cell.
func partsWords(tag []byte) bool {
	if len(tag) > 0 && tag[0] == '/' {
		tag = tag[1:]
	}
	var name [maxMark]byte
	n := 0
	for n < len(tag) && n < len(name) && letterOrDigit(tag[n]) {
		name[n] = tag[n] | 0x20
		n++
	}
	switch string(name[:n]) {
	case "br", "p", "div", "li", "td", "tr", "th", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "dt", "dd", "table", "section", "article", "blockquote", "pre", "option":
		return true
	}
	return false
}

// leetWord is the length of a word at the beginning of p that has digits or signs in the place of letters, 0 if it has none.
func leetWord(p []byte) int {
	n, letters, others := 0, 0, 0
	for n < len(p) && n < maxWord && plainKinds[p[n]]&(isLetter|isLeet) != 0 {
		if plainKinds[p[n]]&isLetter != 0 {
			letters++
		} else {
			others++
		}
		n++
	}
	for n > 0 && p[n-1] == '!' {
		n--
		others--
	}
	if others == 0 || letters == 0 || others > 3*letters || n < len(p) && (letterOrDigit(p[n]) || p[n] == '_') {
		return 0
	}
	return n
}

// appendLeet appends a word with letters in the place of digits and signs. 1 is an i, or an l beside another one, behind a
// vowel and in front of a vowel or an l or at the end, and where it is the second letter in front of a vowel (p1ease).
func appendLeet(out, word []byte) []byte {
	const vowels = "aeou340"
	for i, c := range word {
		if c == '1' {
			before, behind := byte(0), byte(0)
			if i > 0 {
				before = word[i-1] | 0x20
			}
			if i+1 < len(word) {
				behind = word[i+1] | 0x20
			}
			vowel, first := strings.IndexByte(vowels, before) >= 0, strings.IndexByte("pbcf", before) >= 0
			next := strings.IndexByte(vowels, behind) >= 0
			switch {
			case before == '1', behind == '1', vowel && (next || behind == 'l' || behind == 0), before == 'l' && behind == 0, i == 1 && first && next:
				out = append(out, 'l')
				continue
			}
		}
		for _, l := range leets {
			if c == l[0] {
				c = l[1]
				break
			}
		}
		out = append(out, c)
	}
	return out
}

const (
	minSpelled    = 6 // letters of a spelled stretch
	maxSpelledGap = 4 // bytes between two words of it
)

// nextSpelled finds the next stretch of single letters with the same sign or blank between them, and gives it without.
func nextSpelled(p []byte, i int, out []byte) (text []byte, start, end int, ok bool) {
	for from := i; i+8 <= len(p); i += 8 {
		v := binary.LittleEndian.Uint64(p[i:])
		if !spelledOut(letters(v&^tops) &^ v & tops) {
			continue
		}
		for n := 1; n <= 2; n++ {
			for k := max(from, i-8); k < i+8; k++ {
				if text, end, ok = spelled(p, k, n, out); ok {
					return text, k, end, true
				}
			}
		}
	}
	return out[:0], 0, 0, false
}

// spelledOut tells, by the top bits of eight bytes that are letters, whether two stand alone with one byte or two between
// them: so it is in one of the blocks over six such letters or more, wherever these begin. What stands beside the first
// and the last byte is not known: they do not count.
func spelledOut(letters uint64) bool {
	alone := letters &^ (letters<<8 | letters>>8) &^ (0x80<<56 | 0x80)
	return alone&(alone>>16|alone>>24) != 0
}

// spelled reads letters that begin at i with n bytes between each two.
func spelled(p []byte, i, n int, out []byte) (text []byte, end int, ok bool) {
	if !letterAt(p, i) || letterAt(p, i-1) || i+n >= len(p) {
		return out, i, false
	}
	sep := p[i+1 : i+1+n]
	for _, c := range sep {
		if letterOrDigit(c) || c >= utf8.RuneSelf {
			return out, i, false
		}
	}
	for k, at := 1, i; k < 3; k++ { // the first three show what stands between them
		if at += 1 + n; at >= len(p) || !bytes.Equal(p[at-n:at], sep) || !letterAt(p, at) || letterAt(p, at+1) {
			return out, i, false
		}
	}
	text = out[:0]
	letters := 0
	for k := i; ; {
		text = append(text, p[k])
		letters++
		end = k + 1
		if k = end + n; k < len(p) && bytes.Equal(p[end:k], sep) && letterAt(p, k) && !letterAt(p, k+1) {
			continue
		}
		// Another word of it?
		for k = end; k < len(p) && k-end <= maxSpelledGap && !letterOrDigit(p[k]) && p[k] < utf8.RuneSelf; k++ {
		}
		if k == end || k-end > maxSpelledGap || !letterAt(p, k) || letterAt(p, k+1) {
			return text, end, letters >= minSpelled
		}
		text = append(text, ' ')
	}
}
