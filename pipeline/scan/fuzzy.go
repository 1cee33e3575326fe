package scan

import (
	"cmp"
	"math/bits"
	"slices"
	"unicode"
	"unicode/utf8"
)

// maxFuzzyWord bounds the words of a fuzzy term, in runes.
const maxFuzzyWord = 48

// A fuzzySet is the fuzzy terms of one view. A word of the text is a run of ASCII letters, digits and
// underscores and of characters beyond ASCII. A term matches as many words in a row as it has, each within its
// distance of the term's word in the same place, with 1 to 16 gap characters between them.
type fuzzySet struct {
	view  View
	terms []fuzzyTerm // by length of the first word
	first [maxFuzzyWord + 2]uint16
	most  int // greatest distance
}

type fuzzyTerm struct {
	rule  uint16
	dist  uint8
	fold  bool
	words []fuzzyWord
}

type fuzzyWord struct {
	r    []rune
	mask uint64 // a bit for each rune, modulo 64
	dist int    // less than the word is long
}

func (f *fuzzySet) bytes() int {
	n := 64
	for _, t := range f.terms {
		n += 40
		for _, w := range t.words {
			n += 40 + 4*len(w.r)
		}
	}
	return n
}

func tokenByte(c int) bool { return isWord(c) || c >= utf8.RuneSelf }

func runeMask(rs []rune) uint64 {
	var m uint64
	for _, r := range rs {
		m |= 1 << (uint32(r) & 63)
	}
	return m
}

func newFuzzyTerm(rule uint16, dist int, fold bool, words [][]rune) fuzzyTerm {
	t := fuzzyTerm{rule: rule, dist: uint8(dist), fold: fold}
	for _, w := range words {
		if fold {
			w = slices.Clone(w)
			for i, r := range w {
				w[i] = unicode.ToLower(r)
			}
		}
		t.words = append(t.words, fuzzyWord{r: w, mask: runeMask(w), dist: min(dist, len(w)-1)})
	}
	return t
}

func (b *builder) addFuzzy(i int, c *compiled, r *rule, rr *RuleReport) error {
	var words [][]rune
	for _, w := range c.phrase {
		var cur []rune
		for _, ch := range w + " " {
			if tokenByte(int(ch)) {
				cur = append(cur, ch)
			} else if cur != nil {
				words = append(words, cur)
				cur = nil
			}
		}
	}
	for _, w := range words {
		if len(w) > maxFuzzyWord {
			return c.fail(string(w), "is a word of more than 48 characters in a fuzzy term", "use a phrase without a distance")
		}
	}
	if len(words) == 0 || len(words) > 16 {
		return c.fail(c.Phrase, "has no word, or more than 16, to compare", "")
	}
	var set *fuzzySet
	for k := range b.t.fuzzy {
		if b.t.fuzzy[k].view == c.View {
			set = &b.t.fuzzy[k]
		}
	}
	if set == nil {
		b.t.fuzzy = append(b.t.fuzzy, fuzzySet{view: c.View})
		set = &b.t.fuzzy[len(b.t.fuzzy)-1]
	}
	set.terms = append(set.terms, newFuzzyTerm(uint16(i), c.Distance, c.Fold, words))
	rr.Class = ClassFuzzy
	r.flags |= flagHold
	return nil
}

// finish sorts the terms and fills what follows from them.
func (f *fuzzySet) finish() {
	slices.SortStableFunc(f.terms, func(a, b fuzzyTerm) int { return cmp.Compare(len(a.words[0].r), len(b.words[0].r)) })
	f.most = 0
	k := 0
	for n := range f.first {
		for k < len(f.terms) && len(f.terms[k].words[0].r) < n {
			k++
		}
		f.first[n] = uint16(k)
	}
	for _, t := range f.terms {
		f.most = max(f.most, int(t.dist))
	}
}

// token is one word of the text.
type token struct {
	r, low         [maxFuzzyWord + MaxDistance + 1]rune
	n              int
	mask, lowMask  uint64
	start, end     int
	open, tooLarge bool // may go on after the held text; has more runes than any term could match
}

// read reads the token at index s of v.
func (k *token) read(v *stream, s int, end bool) {
	k.n, k.mask, k.lowMask, k.start, k.tooLarge = 0, 0, 0, s, false
	i := s
	for i < len(v.b) && tokenByte(int(v.b[i])) {
		r, size := rune(v.b[i]), 1
		if r >= utf8.RuneSelf {
			if r, size = utf8.DecodeRune(v.b[i:]); r == utf8.RuneError && !utf8.FullRune(v.b[i:]) {
				i = len(v.b) // a cut rune
				break
			}
		}
		i += size
		if k.n == len(k.r) {
			k.tooLarge = true
			continue
		}
		low := unicode.ToLower(r)
		k.r[k.n], k.low[k.n] = r, low
		k.n++
		k.mask |= 1 << (uint32(r) & 63)
		k.lowMask |= 1 << (uint32(low) & 63)
	}
	k.end = i
	k.open = i == len(v.b) && !end
}

// near tells whether the token is within the word's distance, or, if it is open, may become so.
func (k *token) near(w *fuzzyWord, fold bool) bool {
	if k.tooLarge {
		return false
	}
	t, mask := k.r[:k.n], k.mask
	if fold {
		t, mask = k.low[:k.n], k.lowMask
	}
	if len(t)-len(w.r) > w.dist || bits.OnesCount64(mask&^w.mask) > w.dist {
		return false
	}
	if k.open {
		if len(t) <= w.dist {
			return true
		}
	} else if len(w.r)-len(t) > w.dist || bits.OnesCount64(w.mask&^mask) > w.dist {
		return false
	}
	// One row of the edit matrix at a time: row[j] is the distance of what was read to the first j runes of w.
	var row [maxFuzzyWord + 1]uint8
	for j := range len(w.r) + 1 {
		row[j] = uint8(j)
	}
	for i, r := range t {
		diag := row[0]
		row[0] = uint8(i + 1)
		least := row[0]
		for j, q := range w.r {
			d := diag
			if q != r {
				d = min(diag, row[j], row[j+1]) + 1
			}
			diag, row[j+1] = row[j+1], d
			least = min(least, d)
		}
		if int(least) > w.dist {
			return false
		}
	}
	if k.open {
		return true // the least of the last row is within the distance
	}
	return int(row[len(w.r)]) <= w.dist
}

// fuzzy looks at every word of the held and the new text, adds the matches, and gives the least of hold and the
// earliest start that may still become a match.
func (f *feed) fuzzy(set *fuzzySet, hold int) int {
	v := &f.v[set.view]
	var blocked [16]uint16
	nb, blockAll := 0, false
	var k, k2 token
	for s := 0; s < len(v.b); {
		if !tokenByte(int(v.b[s])) {
			s++
			continue
		}
		k.read(v, s, f.end)
		if s == 0 && tokenByte(v.byteAt(-1)) {
			s = k.end
			continue // the rest of a word
		}
		lo, hi := max(k.n-set.most, 0), k.n+set.most
		if k.open {
			hi = maxFuzzyWord
		}
		if lo <= maxFuzzyWord && !k.tooLarge {
			for i := set.first[lo]; i < set.first[min(hi, maxFuzzyWord)+1]; i++ {
				t := &set.terms[i]
				if !k.near(&t.words[0], t.fold) || blockAll || slices.Contains(blocked[:nb], t.rule) {
					continue
				}
				if w := f.w; w != nil {
					if g := f.guardOf(t.rule); g != nil && s < g.e {
						continue
					}
				}
				e, live := f.fuzzyTerm(t, v, &k, &k2)
				ru := &f.t.rules[t.rule]
				if live && f.readUpTo(v)-v.rawAt(s) < int(ru.cap) {
					hold = min(hold, v.rawAt(s))
					if nb < len(blocked) {
						blocked[nb] = t.rule
						nb++
					} else {
						blockAll = true
					}
				} else if e > 0 && v.rawTo(e)-v.rawAt(s) <= int(ru.cap) && (ru.flags&flagCheck == 0 || ru.accepts(v.b[s:e])) {
					f.match(&thread{rule: t.rule, s: s, best: e, x: unknown}, ru)
				}
			}
		}
		s = k.end
	}
	return hold
}

// fuzzyTerm compares a term with the words from the one in k on, whose first word is near. e is the end of the
// match, 0 without one; live says that it may still become one.
func (f *feed) fuzzyTerm(t *fuzzyTerm, v *stream, k, k2 *token) (e int, live bool) {
	e, live = k.end, k.open
	for i := 1; i < len(t.words); i++ {
		if live {
			return 0, true
		}
		gap := e
		for gap < len(v.b) && isGap(v.b[gap]) {
			gap++
		}
		if gap-e > maxGap {
			return 0, false
		}
		if gap == len(v.b) {
			return 0, !f.end
		}
		if gap == e || !tokenByte(int(v.b[gap])) {
			return 0, false
		}
		k2.read(v, gap, f.end)
		if !k2.near(&t.words[i], t.fold) {
			return 0, false
		}
		e, live = k2.end, k2.open
	}
	if live {
		return 0, true
	}
	return e, false
}

func (w *writer) fuzzy(t *Tables) {
	w.num(len(t.fuzzy))
	for i := range t.fuzzy {
		f := &t.fuzzy[i]
		w.num(int(f.view))
		w.num(len(f.terms))
		for _, x := range f.terms {
			w.num(int(x.rule))
			w.num(int(x.dist))
			w.num(boolInt(x.fold))
			w.num(len(x.words))
			for _, y := range x.words {
				w.str(string(y.r))
			}
		}
	}
}

func (r *reader) fuzzy(t *Tables) {
	for n := r.num(2); n > 0 && !r.bad; n-- {
		f := fuzzySet{view: View(r.num(int(Normalised)))}
		for k := r.num(MaxRules); k > 0 && !r.bad; k-- {
			rule, dist, fold := r.num(max(len(t.rules)-1, 0)), r.num(MaxDistance), r.num(1) == 1
			var words [][]rune
			for m := r.num(16); m > 0 && !r.bad; m-- {
				w := []rune(r.str())
				if len(w) == 0 || len(w) > maxFuzzyWord {
					r.bad = true
				}
				words = append(words, w)
			}
			if len(words) == 0 || len(t.rules) == 0 || r.bad || t.rules[rule].view != f.view {
				r.bad = true
				return
			}
			f.terms = append(f.terms, newFuzzyTerm(uint16(rule), dist, fold, words))
		}
		t.fuzzy = append(t.fuzzy, f)
	}
}
