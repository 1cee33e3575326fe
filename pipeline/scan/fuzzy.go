package scan

import (
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	maxFuzzyWord  = 48                         // runes of a word of a fuzzy term
	fuzzyGap      = 16                         // characters of no word between two of its words
	maxFuzzyWords = 24                         // words of a fuzzy term
	maxToken      = maxFuzzyWord + MaxDistance // runes of a word of the text that may still be near one
	maxFuzzySets  = 4                          // two views, with and without case
)

// A fuzzySet is the fuzzy terms of one view that ignore case, or that do not. A word of the text is a run of
// ASCII letters, digits and underscores and of characters beyond ASCII. A term matches as many words in a row as
// it has, each within its distance of the term's word in the same place, with 1 to 16 characters between them
// that are part of no word.
//
// Each word of the text is looked at once: the state says up to where that was done (State.note). Where a word
// begins something that may still become a match, or is held for another rule, everything behind it waits: no
// match there could be given out before, and the word that all wait for is the only one that is looked at again.
type fuzzySet struct {
	view  View
	fold  bool
	terms []fuzzyTerm // in the order of the rules; all that the binary form has
	fuzzyIndex
}

// fuzzyTerm is a rule as it was given.
type fuzzyTerm struct {
	rule  uint16
	dist  uint8
	half  bool
	words []string // without case if the set ignores it
}

// reach is the distance at which a word of n runes is compared.
func (t *fuzzyTerm) reach(n int) int {
	if t.half {
		return min(int(t.dist), (n-1)/2)
	}
	return min(int(t.dist), n-1)
}

func tokenByte(c int) bool { return isWord(c) || c >= utf8.RuneSelf }

// tokenTable has 0 for what is part of no word, the small letter for ASCII, 255 for bytes beyond it.
var tokenTable = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf:
			t[c] = 255
		case c >= 'A' && c <= 'Z':
			t[c] = uint8(c | 0x20)
		case isWord(c):
			t[c] = uint8(c)
		}
	}
	return t
}()

// foldRune gives one rune for all that differ by case only (simple folding): the small letter in ASCII.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if r >= 'A' && r <= 'Z' {
			r |= 0x20
		}
		return r
	}
	if r >= 0x2E80 && r < 0xA640 { // East Asian: no case
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < utf8.RuneSelf {
		return foldRune(least)
	}
	return least
}

func foldString(s string) string {
	rs := []rune(s)
	for i, r := range rs {
		rs[i] = foldRune(r)
	}
	return string(rs)
}

// fuzzyWords splits a phrase into the words that are compared.
func fuzzyWords(phrase []string) (words []string) {
	for _, w := range phrase {
		from := -1
		for i, ch := range w + " " {
			switch token := tokenByte(int(ch)); {
			case token && from < 0:
				from = i
			case !token && from >= 0:
				words = append(words, w[from:i])
				from = -1
			}
		}
	}
	return words
}

// Reach gives the least and the greatest distance at which the words of a phrase are compared if it is a fuzzy
// term. fault says why it cannot be one.
func (r *Rule) Reach() (least, most int, fault string) {
	p := r.Phrase
	if r.View == Normalised {
		p = normaliseTerm(p, r.Fold, true)
	}
	words := fuzzyWords(phraseWords(p))
	switch {
	case len(words) == 0:
		return 0, 0, "has no word to compare"
	case len(words) > maxFuzzyWords:
		return 0, 0, "has more than 24 words"
	}
	least = MaxDistance
	t := fuzzyTerm{dist: uint8(r.Distance), half: r.Half}
	for _, w := range words {
		n := utf8.RuneCountInString(w)
		if n > maxFuzzyWord {
			return 0, 0, "has a word of more than 48 characters"
		}
		least, most = min(least, t.reach(n)), max(most, t.reach(n))
	}
	return least, most, ""
}

func (b *builder) addFuzzy(i int, c *compiled, r *rule, rr *RuleReport) error {
	if _, _, fault := c.Reach(); fault != "" {
		return c.fail(c.Phrase, fault, "use a phrase without a distance")
	}
	words := fuzzyWords(c.phrase)
	t := fuzzyTerm{rule: uint16(i), dist: uint8(c.Distance), half: c.Half, words: words}
	c.max = fuzzyGap * (len(words) - 1)
	for k, w := range words {
		if c.Fold {
			words[k] = foldString(w)
		}
		n := utf8.RuneCountInString(w)
		c.max += (n + t.reach(n)) * utf8.UTFMax
	}
	c.near = c.max + utf8.UTFMax - 1 // the beginning of a character behind it
	if c.View == Normalised {
		c.max = -1 // what the view drops may stand anywhere
	}
	set := slices.IndexFunc(b.t.fuzzy, func(f fuzzySet) bool { return f.view == c.View && f.fold == c.Fold })
	if set < 0 {
		set = len(b.t.fuzzy)
		b.t.fuzzy = append(b.t.fuzzy, fuzzySet{view: c.View, fold: c.Fold})
	}
	f := &b.t.fuzzy[set]
	f.terms = append(f.terms, t)
	rr.Class = ClassFuzzy
	r.flags |= flagHold
	return nil
}

// token is one word of the text.
type token struct {
	r           [maxToken]rune // without case if the set ignores it
	c           [maxToken]rune // their classes, if the set has mixed letters
	classes     bool           // it has
	n           int
	sig         uint64
	start, end  int
	open        bool // may go on after the held text
	tooLarge    bool // has more runes than any term could match
	after       gapKind
	next        int        // after a gap: where the next word begins
	ahead       bool       // the token behind it is read
	eq, hashing bool       // near has its letters; its hashes
	looked      [64]uint32 // words that it was compared with in this place, plus one: several entries lead to one
}

// gapKind says what stands after a word.
type gapKind uint8

const (
	gapUnknown gapKind = iota
	gapNone            // nothing that a term goes on after
	gapOpen            // it may still become a gap with a word behind it
	gapWord            // a gap, then a word
)

// read reads the token at index s of v, up to which nothing is part of it.
func (k *token) read(v *stream, s int, set *fuzzySet, end bool) {
	fold := set.fold
	k.n, k.sig, k.start, k.tooLarge, k.after = 0, 0, s, false, gapUnknown
	k.ahead, k.eq, k.hashing = false, false, false
	i := s
	for b := v.b; i < len(b); {
		low := tokenTable[b[i]]
		if low == 0 {
			break
		}
		r, size := rune(low), 1
		if low == 255 {
			if r, size = utf8.DecodeRune(b[i:]); r == utf8.RuneError && !end && !utf8.FullRune(b[i:]) {
				i = len(b) // a cut rune
				break
			}
			if fold {
				r = foldRune(r)
			}
		} else if !fold {
			r = rune(b[i])
		}
		i += size
		if k.n == maxToken {
			k.tooLarge = true
			for i < len(b) && tokenTable[b[i]] != 0 {
				i++
			}
			break
		}
		k.r[k.n] = r
		k.n++
	}
	k.end = i
	k.open = i == len(v.b) && !end
	set.classify(k)
}

// gap looks at what stands after the token.
func (k *token) gap(v *stream, end bool) gapKind {
	if k.after == gapUnknown {
		i := k.end
		most := min(len(v.b), k.end+fuzzyGap+1)
		for i < most && tokenTable[v.b[i]] == 0 {
			i++
		}
		k.next = i
		switch {
		case i-k.end > fuzzyGap:
			k.after = gapNone
		case i < len(v.b):
			k.after = gapWord
		case end:
			k.after = gapNone
		default:
			k.after = gapOpen
		}
	}
	return k.after
}

// fuzzyWork is the scratch of a call that compares words. Pooled.
type fuzzyWork struct {
	tok [maxFuzzyWords]token // by their place in the term
	near
	first uint32 // word of the terms that are followed
	start int    // index where the match that is looked for begins
	add   bool   // matches are added
	found bool   // there are some
}

var fuzzyPool = sync.Pool{New: func() any { return new(fuzzyWork) }}

// fuzzy looks at the words of the held and the new text that were not decided yet, adds the matches, and gives
// the least of hold and the earliest start that may still become a match. It does so for all sets at once, when
// it is called for the first.
func (f *feed) fuzzy(set *fuzzySet, hold int) int {
	if set != &f.t.fuzzy[0] {
		return hold
	}
	from := 0
	if f.s.rescan == 0 { // else matches are to be found again
		from = max(0, int(int16(f.s.note-uint16(f.base))))
	}
	w := fuzzyPool.Get().(*fuzzyWork)
	next := len(f.v[0].b)
	for i := range f.t.fuzzy {
		set := &f.t.fuzzy[i]
		v := &f.v[set.view]
		var to int
		to, hold = f.fuzzySet(set, w, v.index(from, 0), hold)
		next = min(next, v.rawAt(to))
	}
	fuzzyPool.Put(w)
	f.s.note = uint16(f.base + int64(next))
	return hold
}

// fuzzySet looks at the words from index i on, and gives where the first begins that is not decided.
func (f *feed) fuzzySet(set *fuzzySet, w *fuzzyWork, i, hold int) (to, least int) {
	v := &f.v[set.view]
	b := v.b
	if i < len(b) && tokenByte(v.byteAt(i-1)) {
		for i < len(b) && tokenTable[b[i]] != 0 {
			i++ // the rest of a word
		}
	}
	k := &w.tok[0]
	for i < len(b) {
		if tokenTable[b[i]] == 0 {
			i++
			continue
		}
		raw := v.rawAt(i)
		if raw >= hold {
			break // nothing that begins here can be given out yet; a later call looks at it
		}
		k.read(v, i, set, f.end)
		if !k.tooLarge {
			w.start, w.add, w.found = i, false, false
			if f.fuzzyWord(set, w, 0, 0) {
				hold = min(hold, raw)
				break
			}
			if w.found {
				w.add = true
				f.fuzzyWord(set, w, 0, 0)
				if f.plenty() {
					return k.end, min(hold, v.rawAt(k.end))
				}
			}
		}
		i = k.end
	}
	return i, hold
}

// plenty tells that more matches wait than can be given out at once: the next call goes on.
func (f *feed) plenty() bool {
	if f.w == nil || f.w.nd < maxDone/2 {
		return false
	}
	n := 0
	for i := range f.w.done[:f.w.nd] {
		n += int(f.s.mask >> f.t.rules[f.w.done[i].Rule].policy & 1)
	}
	return n > 2*MatchCap
}

// fuzzyWord looks for the words of the terms behind node that token depth is near to, and follows them. live
// tells that one of them may still become a match; nothing was added then.
func (f *feed) fuzzyWord(set *fuzzySet, w *fuzzyWork, depth int, node uint32) (live bool) {
	k := &w.tok[depth]
	if k.tooLarge {
		return false
	}
	nd := &set.nodes[node]
	if k.open {
		return f.fuzzyOpen(set, w, k, node)
	}
	if nd.kids <= fewKids {
		for c := nd.first; c < nd.first+nd.kids; c++ {
			if set.near(&w.near, k, set.nodes[c].word) && f.fuzzyNode(set, w, depth, c) {
				return true
			}
		}
		return false
	}
	clear(k.looked[:])
	for x := range set.deleted {
		d := &set.deleted[x]
		if d.lens>>uint(k.n)&1 == 0 {
			continue
		}
		n := w.variants(d, k)
		for h := 0; h < n; h++ {
			g := w.hash[h]
			if d.bits[g>>d.shift>>6]>>(g>>d.shift&63)&1 == 0 {
				continue
			}
			for _, e := range d.entries[d.bucket[g>>d.wide]:d.bucket[g>>d.wide+1]] {
				if (e^uint32(g))>>tagShift == 0 && f.fuzzyOne(set, w, depth, node, e&tagMask) {
					return true
				}
			}
			w.variants(d, k) // what was looked at may have used the scratch
		}
	}
	if lo, hi := max(k.n-set.most, 0), min(k.n+set.most, maxFuzzyWord); len(set.far) > 0 && lo <= hi {
		sig := k.signature()
		far := set.far[set.farFirst[lo]:set.farFirst[hi+1]]
		for i := range far {
			if q := &far[i]; !farther(sig, q.sig, int(q.reach)) && f.fuzzyOne(set, w, depth, node, q.word) {
				return true
			}
		}
	}
	return false
}

// fuzzyOne follows the terms behind node that go on with a word, if the token at depth is near to it.
func (f *feed) fuzzyOne(set *fuzzySet, w *fuzzyWork, depth int, node, id uint32) (live bool) {
	k := &w.tok[depth]
	if k.looked[id%64] == id+1 {
		return false
	}
	k.looked[id%64] = id + 1
	c := set.kid(node, id)
	return c != 0 && set.near(&w.near, k, id) && f.fuzzyNode(set, w, depth, c)
}

// fuzzyNode follows a term or several up to node, whose word the token at depth is near to.
func (f *feed) fuzzyNode(set *fuzzySet, w *fuzzyWork, depth int, node uint32) (live bool) {
	k := &w.tok[depth]
	nd := &set.nodes[node]
	v := &f.v[set.view]
	if depth == 0 {
		w.first = nd.word
	}
	if nd.own > 0 {
		w.found = true
		if w.add {
			for _, r := range set.rules[nd.lo : nd.lo+nd.own] {
				f.fuzzyMatch(set, w, r, depth)
			}
		}
	}
	if nd.kids == 0 {
		return false
	}
	switch k.gap(v, f.end) {
	case gapOpen:
		return f.viable(set, set.rules[nd.lo+nd.own:nd.hi], w.start, 1)
	case gapWord:
		if !k.ahead {
			w.tok[depth+1].read(v, k.next, set, f.end)
			k.ahead = true
		}
		return f.fuzzyWord(set, w, depth+1, node)
	}
	return false
}

// fuzzyOpen tells whether the open token may become a word behind node.
func (f *feed) fuzzyOpen(set *fuzzySet, w *fuzzyWork, k *token, node uint32) bool {
	v := &f.v[set.view]
	if node == 0 && len(v.b)-w.start <= set.leastCap { // no rule is ruled out
		return set.begins(&w.near, k)
	}
	nd := &set.nodes[node]
	for c := nd.first; c < nd.first+nd.kids; c++ {
		if kid := &set.nodes[c]; set.nearOpen(&w.near, k, kid.word) && f.viable(set, set.rules[kid.lo:kid.hi], w.start, 0) {
			return true
		}
	}
	return false
}

// viable tells whether one of the rules may still match from s on: more more bytes fit its cap, and no match of it
// covers s.
func (f *feed) viable(set *fuzzySet, rules []uint16, s, more int) bool {
	v := &f.v[set.view]
	far := len(v.b) - s + more
	for _, r := range rules {
		if far <= int(f.t.rules[r].cap) && !f.guarded(r, s) {
			return true
		}
	}
	return false
}

func (f *feed) guarded(r uint16, s int) bool {
	if f.w == nil {
		return false
	}
	g := f.guardOf(r)
	return g != nil && s < g.e
}

// fuzzyMatch adds the match of a rule up to the token at depth, unless the rule says no.
func (f *feed) fuzzyMatch(set *fuzzySet, w *fuzzyWork, r uint16, depth int) {
	v := &f.v[set.view]
	ru := &f.t.rules[r]
	s, e := w.start, w.tok[depth].end
	if f.guarded(r, s) || e-s > int(ru.cap) || ru.flags&flagCheck != 0 && !ru.accepts(v.b[s:e]) {
		return
	}
	m := Match{Start: f.base + int64(v.rawAt(s)), End: f.base + int64(v.rawTo(e)), Rule: uint32(r)}
	if w := f.w; w != nil {
		for i := range w.done[:w.nd] {
			if w.done[i].Match == m {
				return // its word was met a second time
			}
		}
	}
	for i := 1; i <= depth; i++ {
		if set.near(&w.near, &w.tok[i], w.first) { // another match of the rule could begin inside
			f.match(&thread{rule: r, s: s, best: e, x: unknown}, ru)
			return
		}
	}
	f.matched(r, s, e, unknown)
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
			w.num(boolInt(f.fold) + 2*boolInt(x.half))
			w.num(len(x.words))
			for _, y := range x.words {
				w.str(y)
			}
		}
	}
}

func (r *reader) fuzzy(t *Tables) {
	for n := r.num(maxFuzzySets); n > 0 && !r.bad; n-- {
		f := fuzzySet{view: View(r.num(int(Normalised)))}
		last := -1
		for k := r.num(len(t.rules)); k > 0 && !r.bad; k-- {
			x := fuzzyTerm{rule: uint16(r.num(max(len(t.rules)-1, 0))), dist: uint8(r.num(MaxDistance))}
			flags := r.num(3)
			fold := flags&1 == 1
			if x.half = flags&2 != 0; last >= 0 && fold != f.fold {
				r.bad = true
			}
			f.fold = fold
			for m := r.num(maxFuzzyWords); m > 0 && !r.bad; m-- {
				w := r.str()
				if n := utf8.RuneCountInString(w); n == 0 || n > maxFuzzyWord || !utf8.ValidString(w) || fold && foldString(w) != w {
					r.bad = true
				}
				for _, ch := range w {
					r.bad = r.bad || !tokenByte(int(ch))
				}
				x.words = append(x.words, w)
			}
			if len(x.words) == 0 || r.bad || int(x.rule) <= last || t.rules[x.rule].view != f.view || t.rules[x.rule].flags&flagHold == 0 {
				r.bad = true
				return
			}
			last = int(x.rule)
			f.terms = append(f.terms, x)
		}
		if len(f.terms) == 0 {
			r.bad = true
		}
		t.fuzzy = append(t.fuzzy, f)
	}
}
