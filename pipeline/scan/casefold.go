package scan

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// Terms without regard to case in the normalised view. That view maps look-alikes to ASCII, and of many pairs
// one letter only: Г stays, г is read as r. So a letter of a term stands for what the view has for each letter
// that differs from it by case only: Г for Г, r and R. Where these are one letter, as for é, the term has that
// one. Where they are not, it keeps the letter as it was written, which is called mixed.

// maxForms is the most runes that a letter stands for.
const maxForms = 8

// formOf is the one rune that the normalised view has for r, 0 if it has none or several.
func formOf(r rune) rune {
	if r < utf8.RuneSelf {
		return r
	}
	if ignorable(r) {
		return 0
	}
	if p := foldPages()[r>>8]; p != nil && p[r&255] != 0 {
		if v := p[r&255]; v>>24 == 1 {
			return rune(v & 255)
		}
		return 0
	}
	return r
}

// letterForms appends to buf what a letter of a term stands for in a view.
func letterForms(buf []rune, r rune, view View, fold bool) []rune {
	if !fold {
		return append(buf, r)
	}
	if view == Raw {
		buf = append(buf, r)
		for f := range foldOrbit(r) {
			buf = append(buf, f)
		}
		return buf
	}
	add := func(r rune) {
		f := formOf(r)
		if f == 0 || slices.Contains(buf, f) {
			return
		}
		buf = append(buf, f)
		if low := f | 0x20; f < utf8.RuneSelf && low >= 'a' && low <= 'z' {
			buf = append(buf, f^0x20)
		}
	}
	add(r)
	for f := range foldOrbit(r) {
		add(f)
	}
	return buf
}

// mixedForms gives the ASCII letters and the other runes that a mixed letter stands for; ok is false if r is none.
func mixedForms(r rune) (ascii, other string, ok bool) {
	if r < utf8.RuneSelf {
		return "", "", false
	}
	var buf [maxForms]rune
	for _, f := range letterForms(buf[:0], r, Normalised, true) {
		if f < utf8.RuneSelf {
			ascii += string(f)
		} else {
			other += string(f)
		}
	}
	return ascii, other, ascii != "" && (other != "" || len(ascii) > 2)
}

// normaliseTerm is the normalised form of a term. Without regard to case, mixed letters stay. A mark on one stays
// if one of its forms keeps it; for a term that need not match exactly, if its own does.
func normaliseTerm(s string, fold, fuzzy bool) string {
	if !fold {
		return normaliseString(s)
	}
	var out []byte
	var b [4]byte
	ascii := false
	for _, r := range s {
		_, other, mixed := mixedForms(r)
		if !mixed || ascii && isMark(r) {
			var n int
			n, ascii = normRune(foldPages(), r, ascii, &b)
			out = append(out, b[:n]...)
			continue
		}
		out = utf8.AppendRune(out, r)
		ascii = other == "" || fuzzy && formOf(r) < utf8.RuneSelf
	}
	return string(out)
}

// mixedPattern is the regular expression of a mixed letter and the marks on it; with left and right it is the
// first or the last of a term, where an ASCII letter needs a boundary.
func mixedPattern(ascii, other, marks string, left, right bool) string {
	if !left && !right && marks == "" {
		return "(?-i:[" + ascii + other + "])"
	}
	word := "(?-i:[" + ascii + "])"
	if left {
		word = `\b` + word
	}
	if right {
		word += `\b`
	}
	if other == "" {
		return word
	}
	return "(?:" + word + "|(?-i:[" + other + "])" + marks + ")"
}

// leadingMarks gives the marks that s begins with.
func leadingMarks(s string) string {
	for i, r := range s {
		if !isMark(r) {
			return s[:i]
		}
	}
	return s
}

// seenForms gives a pattern of the normalised view what that view has for its letters.
func seenForms(re *syntax.Regexp) *syntax.Regexp {
	switch re.Op {
	case syntax.OpLiteral:
		return seenLiteral(re)
	case syntax.OpCharClass:
		return seenClass(re)
	}
	for i, s := range re.Sub {
		re.Sub[i] = seenForms(s)
	}
	if re.Op != syntax.OpConcat {
		return re
	}
	var flat []*syntax.Regexp
	for _, s := range re.Sub {
		if s.Op == syntax.OpConcat {
			flat = append(flat, s.Sub...)
		} else {
			flat = append(flat, s)
		}
	}
	re.Sub = flat
	return re
}

func seenLiteral(re *syntax.Regexp) *syntax.Regexp {
	var subs []*syntax.Regexp
	var plain []rune
	end := func() {
		if len(plain) > 0 {
			subs = append(subs, &syntax.Regexp{Op: syntax.OpLiteral, Flags: re.Flags, Rune: plain})
		}
		plain = nil
	}
	var b [4]byte
	for _, r := range re.Rune {
		ascii, other, mixed := mixedForms(r)
		switch {
		case mixed && re.Flags&syntax.FoldCase != 0:
			end()
			subs = append(subs, classOf([]rune(ascii+other)))
		case r < utf8.RuneSelf || ignorable(r):
			plain = append(plain, r)
		default:
			n, _ := normRune(foldPages(), r, false, &b)
			plain = append(plain, []rune(string(b[:n]))...)
		}
	}
	end()
	if len(subs) == 1 {
		return subs[0]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: subs}
}

// wideClass is how many runes a class has that is taken as it is: it is said by what it is not, or by a script.
const wideClass = 1 << 12

// seenClass adds the forms of a class's letters. Those in both cases stand for both cases of their forms.
func seenClass(re *syntax.Regexp) *syntax.Regexp {
	n := rune(0)
	for i := 0; i < len(re.Rune); i += 2 {
		n += re.Rune[i+1] - re.Rune[i] + 1
	}
	if n > wideClass {
		return re
	}
	var more []rune
	for i := 0; i < len(re.Rune); i += 2 {
		for r := max(re.Rune[i], utf8.RuneSelf); r <= re.Rune[i+1]; r++ {
			f := formOf(r)
			if f == 0 || f == r {
				continue
			}
			more = append(more, f)
			pair, both := false, true
			for x := range foldOrbit(r) {
				pair, both = true, both && inClass(re.Rune, x)
			}
			if pair && both {
				more = letterForms(more, f, Normalised, true)
			}
		}
	}
	more = slices.DeleteFunc(more, func(f rune) bool { return inClass(re.Rune, f) })
	if more == nil {
		return re
	}
	all := classOf(more)
	all.Rune = append(all.Rune, re.Rune...)
	return all
}

// classOf is the class of some runes.
func classOf(rs []rune) *syntax.Regexp {
	rs = slices.Clone(rs)
	slices.Sort(rs)
	re := &syntax.Regexp{Op: syntax.OpCharClass}
	for _, r := range slices.Compact(rs) {
		re.Rune = append(re.Rune, r, r)
	}
	return re
}

// NormalisePattern is the normalised form of a pattern's text, in which mixed letters stay: the pattern stands for
// their forms. A mark is dropped behind an ASCII letter only, as other characters are part of the pattern's form.
func NormalisePattern(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	var b [4]byte
	ascii := false
	for _, r := range s {
		if r < utf8.RuneSelf { // stands for itself
			out.WriteByte(byte(r))
			ascii = r|0x20 >= 'a' && r|0x20 <= 'z'
			continue
		}
		if _, _, mixed := mixedForms(r); mixed && !(ascii && isMark(r)) {
			out.WriteRune(r)
			ascii = false
			continue
		}
		var n int
		if n, ascii = normRune(foldPages(), r, ascii, &b); n > 0 {
			ascii = ascii && b[n-1]|0x20 >= 'a' && b[n-1]|0x20 <= 'z'
		}
		out.Write(b[:n])
	}
	return out.String()
}
