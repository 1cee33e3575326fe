package scan

import (
	"cmp"
	"math/bits"
	"slices"
	"unicode/utf8"
	"unsafe"
)

// The index of a fuzzySet. What it does for a word of the text, and where the methods come from:
//
//   - Words within up to 3 edits are found by what two near words have in common: if the distance of two words is
//     at most d, deleting at most d runes of each can make them equal, and the same holds for their beginnings of
//     equal length (Mor and Fraenkel, "A hash code method for detecting and correcting spelling errors", 1982;
//     with the cut, Garbe's SymSpell, 2012). So the words that remain of each listed word are kept as hashes, and
//     so many hashes of the text's word are looked up as can be made of it, however long the list is.
//   - For more edits (words of 9 letters and more, if half is not to be reached) the letters are compared first:
//     each edit changes at most one letter on either side. That goes over the words of about the same length.
//   - What remains is compared by Myers's bit-parallel edit matrix ("A fast bit-vector algorithm for approximate
//     string matching based on dynamic programming", 1999), in the form that Hyyrö gave it (2003).
//   - Whether a word that is not complete may still become a near one is asked of a trie of the first words,
//     walked with the states of an automaton with k errors (Wu and Manber, "Fast text searching allowing errors",
//     1992).
//
// All of it follows from the terms and is made by finish, after Build and after Load.
type fuzzyIndex struct {
	// The words of all terms, each once for each distance, in order: text, then distance.
	runes []rune
	at    []uint32 // by word: its runes are runes[at[i]:at[i+1]]
	reach []uint8
	sig   []uint64

	// The terms as a trie over words. nodes[0] is the root; the children of a node follow each other in the
	// order of their words.
	nodes  []fuzzyNode
	rules  []uint16 // in the order of the terms' words, so that those behind a node stand together
	starts []uint32 // by word: child of the root, 0 = none

	deleted  []deletions
	far      []farWord                // words with more than maxNear edits, by length
	farFirst [maxFuzzyWord + 2]uint32 // by length: the first in far

	letters  []letterNode // the trie of the first words; nodes[0] is the root
	most     int          // greatest distance
	leastCap int          // of the rules

	mixed   []mixedRune // in order
	classOf [utf8.RuneSelf]rune
}

type fuzzyNode struct {
	word        uint32
	first, kids uint32
	lo, hi      uint32 // rules behind the node; those that end at it come first
	own         uint32
}

type farWord struct {
	sig   uint64
	word  uint32
	reach uint8
}

// deletions is what is left of words when up to dist of their first cut runes are deleted.
type deletions struct {
	dist    int
	cut     int    // runes that count
	least   int    // runes of the shortest that is left
	lens    uint64 // a bit for each length of a text's word that may be near
	shift   uint8  // 64 - log2 of the bits
	wide    uint8  // 64 - log2 of the buckets
	bits    []uint64
	bucket  []uint32 // the entries of a bucket begin here
	entries []uint32 // word, and above it some bits of the hash
}

const (
	maxNear  = 3  // edits that deletions serve
	fewKids  = 24 // so many words are compared one by one
	tagShift = 20
	tagMask  = 1<<tagShift - 1 // more words than MaxRules*maxFuzzyWords do not exist
	hashMul  = 0x9E3779B97F4A7C15
	hashMix  = 0xD6E8FEB86659FD93

	maxVariants = 1 + 16 + 16*15/2 // see cuts
)

// cuts is how many runes of a word count, by distance: 57, 137 and 130 look-ups at most.
var cuts = [maxNear + 1]int{maxToken, maxToken, 16, 9}

// powers of hashMix.
var powers = func() (p [maxToken + 1]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * hashMix
	}
	return p
}()

// signature has a bit for each rune modulo 32, and another for the second of its kind.
func signature(rs []rune) (s uint64) {
	for _, r := range rs {
		b := uint64(1) << (uint32(r) & 31)
		s |= b | s&b<<32
	}
	return s
}

// farther tells from signatures that more than d edits are needed.
func farther(a, b uint64, d int) bool {
	return bits.OnesCount64(a&^b) > d || bits.OnesCount64(b&^a) > d
}

func (k *token) signature() uint64 {
	if k.sig == 0 {
		k.sig = signature(k.hashed())
	}
	return k.sig
}

// hashed gives the runes that signatures and hashes are made of.
func (k *token) hashed() []rune {
	if k.classes {
		return k.c[:k.n]
	}
	return k.r[:k.n]
}

// mixedRune is a mixed letter of the terms: it is one, or two ASCII letters too.
type mixedRune struct {
	r     rune // least of those that differ from it by case only
	ascii [2]rune
}

// findMixed notes the mixed letters of the terms, and the classes of runes that are equal to one another by way of
// them. Runes that are equal have one class, but not the other way round: signatures and hashes are made of
// classes, which tell too much but never too little, and letters are compared behind them.
func (f *fuzzySet) findMixed() {
	if f.view != Normalised || !f.fold {
		return
	}
	for i := range f.terms {
		for _, w := range f.terms[i].words {
			for _, r := range w {
				ascii, _, ok := mixedForms(r)
				if !ok || slices.ContainsFunc(f.mixed, func(m mixedRune) bool { return m.r == r }) {
					continue
				}
				m := mixedRune{r: r}
				for k, a := range slices.Compact([]rune(foldString(ascii))) {
					m.ascii[k] = a
				}
				f.mixed = append(f.mixed, m)
			}
		}
	}
	slices.SortFunc(f.mixed, func(a, b mixedRune) int { return cmp.Compare(a.r, b.r) })
	for c := range f.classOf {
		f.classOf[c] = rune(c)
	}
	for again := true; again; {
		again = false
		for _, m := range f.mixed {
			for _, a := range m.ascii {
				if a == 0 {
					continue
				}
				if lo := min(f.classOf[a], f.classOf[m.ascii[0]]); f.classOf[a] != lo || f.classOf[m.ascii[0]] != lo {
					f.classOf[a], f.classOf[m.ascii[0]], again = lo, lo, true
				}
			}
		}
	}
}

// class is the class of a rune of a word or a text.
func (x *fuzzyIndex) class(r rune) rune {
	if r < utf8.RuneSelf {
		return x.classOf[r]
	}
	if m := x.mixedOf(r); m != nil {
		return x.classOf[m.ascii[0]]
	}
	return r
}

// classify fills in the classes of a token.
func (x *fuzzyIndex) classify(k *token) {
	if k.classes = len(x.mixed) > 0; k.classes {
		for i, r := range k.r[:k.n] {
			k.c[i] = x.class(r)
		}
	}
}

func (x *fuzzyIndex) mixedOf(r rune) *mixedRune {
	lo, hi := 0, len(x.mixed)
	for lo < hi {
		if m := (lo + hi) / 2; x.mixed[m].r < r {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(x.mixed) && x.mixed[lo].r == r {
		return &x.mixed[lo]
	}
	return nil
}

// same tells whether the token is a word.
func (x *fuzzyIndex) same(word []rune, k *token) bool {
	if len(x.mixed) == 0 {
		return slices.Equal(word, k.r[:k.n])
	}
	if len(word) != k.n {
		return false
	}
	for i, r := range word {
		if q := k.r[i]; q != r {
			if m := x.mixedOf(r); m == nil || q != m.ascii[0] && q != m.ascii[1] {
				return false
			}
		}
	}
	return true
}

// wordSignature is the signature of a word of the terms.
func (x *fuzzyIndex) wordSignature(word []rune) uint64 {
	var k token
	k.n = copy(k.r[:], word)
	x.classify(&k)
	return k.signature()
}

func (x *fuzzyIndex) word(id uint32) []rune { return x.runes[x.at[id]:x.at[id+1]] }

// kid is the child of node for a word, 0 without one.
func (x *fuzzyIndex) kid(node, word uint32) uint32 {
	if node == 0 {
		return x.starts[word]
	}
	nd := &x.nodes[node]
	lo, hi := nd.first, nd.first+nd.kids
	for lo < hi {
		if m := (lo + hi) / 2; x.nodes[m].word < word {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < nd.first+nd.kids && x.nodes[lo].word == word {
		return lo
	}
	return 0
}

// finish makes the index.
func (f *fuzzySet) finish(rules []rule) {
	f.fuzzyIndex = fuzzyIndex{leastCap: MaxCap}
	f.findMixed()
	type key struct {
		text string
		dist int
	}
	var keys []key
	ids := map[key]uint32{}
	for i := range f.terms {
		t := &f.terms[i]
		for _, w := range t.words {
			k := key{w, t.reach(utf8.RuneCountInString(w))}
			if _, ok := ids[k]; !ok {
				ids[k] = 0
				keys = append(keys, k)
			}
		}
		f.leastCap = min(f.leastCap, int(rules[t.rule].cap))
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.dist, b.dist)) })
	for i, k := range keys {
		ids[k] = uint32(i)
		f.at = append(f.at, uint32(len(f.runes)))
		for _, r := range k.text {
			f.runes = append(f.runes, r)
		}
		f.reach = append(f.reach, uint8(k.dist))
		f.sig = append(f.sig, f.wordSignature(f.runes[f.at[i]:]))
		f.most = max(f.most, k.dist)
	}
	f.at = append(f.at, uint32(len(f.runes)))

	type path struct {
		words []uint32
		rule  uint16
	}
	paths := make([]path, len(f.terms))
	for i := range f.terms {
		t := &f.terms[i]
		paths[i].rule = t.rule
		for _, w := range t.words {
			paths[i].words = append(paths[i].words, ids[key{w, t.reach(utf8.RuneCountInString(w))}])
		}
	}
	slices.SortFunc(paths, func(a, b path) int { return cmp.Or(slices.Compare(a.words, b.words), cmp.Compare(a.rule, b.rule)) })
	for _, p := range paths {
		f.rules = append(f.rules, p.rule)
	}
	f.nodes = append(f.nodes, fuzzyNode{hi: uint32(len(paths))})
	f.starts = make([]uint32, len(keys))
	depth := []int{0}
	indexed := make([]bool, len(keys))
	for n := 0; n < len(f.nodes); n++ {
		nd := f.nodes[n]
		d := depth[n]
		i := nd.lo
		for i < nd.hi && len(paths[i].words) == d {
			i++
		}
		nd.own, nd.first = i-nd.lo, uint32(len(f.nodes))
		for i < nd.hi {
			w, from := paths[i].words[d], i
			for i < nd.hi && paths[i].words[d] == w {
				i++
			}
			if n == 0 {
				f.starts[w] = uint32(len(f.nodes))
			}
			f.nodes = append(f.nodes, fuzzyNode{word: w, lo: from, hi: i})
			depth = append(depth, d+1)
			nd.kids++
		}
		f.nodes[n] = nd
		if nd.kids > fewKids {
			for _, c := range f.nodes[nd.first:] {
				indexed[c.word] = true
			}
		}
	}
	f.index(indexed)
	f.trie()
}

// index makes the tables for the words that are looked for among many.
func (x *fuzzyIndex) index(indexed []bool) {
	for dist := range maxNear + 1 {
		d := deletions{dist: dist, cut: cuts[dist], least: maxToken}
		type entry struct {
			hash uint64
			word uint32
		}
		var all []entry
		var w near
		var k token
		for id, in := range indexed {
			if !in || int(x.reach[id]) != dist {
				continue
			}
			word := x.word(uint32(id))
			k.n, k.hashing = copy(k.r[:], word), false
			x.classify(&k)
			d.least = min(d.least, max(min(k.n, d.cut)-dist, 0))
			for n := max(k.n-dist, 1); n <= k.n+dist; n++ {
				d.lens |= 1 << n
			}
			from := len(all)
			for _, h := range w.hash[:w.all(&d, &k, 0)] {
				all = append(all, entry{h, uint32(id)})
			}
			one := all[from:]
			slices.SortFunc(one, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
			all = all[:from+len(slices.Compact(one))]
		}
		if len(all) == 0 {
			continue
		}
		slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
		log := max(6, bits.Len(uint(10*len(all))))
		d.shift = uint8(64 - log)
		d.wide = d.shift + 4
		if log < 10 {
			d.wide = d.shift
		}
		d.bits = make([]uint64, 1<<(log-6))
		d.bucket = make([]uint32, 1<<(64-d.wide)+1)
		for _, e := range all {
			b := e.hash >> d.shift
			d.bits[b>>6] |= 1 << (b & 63)
			d.bucket[e.hash>>d.wide+1]++
			d.entries = append(d.entries, e.word|uint32(e.hash)&^tagMask)
		}
		for i := 1; i < len(d.bucket); i++ {
			d.bucket[i] += d.bucket[i-1]
		}
		x.deleted = append(x.deleted, d)
	}
	for n := range maxFuzzyWord + 1 {
		x.farFirst[n] = uint32(len(x.far))
		for id, in := range indexed {
			if in && x.reach[id] > maxNear && len(x.word(uint32(id))) == n {
				x.far = append(x.far, farWord{x.sig[id], uint32(id), x.reach[id]})
			}
		}
	}
	x.farFirst[maxFuzzyWord+1] = uint32(len(x.far))
}

func (x *fuzzyIndex) bytes() int {
	n := 4*(len(x.runes)+len(x.at)+len(x.starts)) + 16*len(x.far) + len(x.reach) + 8*len(x.sig) + 24*len(x.nodes) + 2*len(x.rules)
	for i := range x.deleted {
		d := &x.deleted[i]
		n += 8*len(d.bits) + 4*(len(d.bucket)+len(d.entries))
	}
	return n + 20*len(x.letters) + 12*len(x.mixed)
}

func (f *fuzzySet) bytes() int {
	n := 256 + f.fuzzyIndex.bytes()
	for i := range f.terms {
		n += 32
		for _, w := range f.terms[i].words {
			n += 16 + len(w)
		}
	}
	return n
}

// memory is what the set takes in memory.
func (f *fuzzySet) memory() int {
	n := int(unsafe.Sizeof(*f)) + f.fuzzyIndex.bytes()
	for i := range f.terms {
		n += int(unsafe.Sizeof(f.terms[i]))
		for _, w := range f.terms[i].words {
			n += int(unsafe.Sizeof(w)) + len(w)
		}
	}
	return n
}

// near is the scratch of comparing one token with words.
type near struct {
	hash      [maxVariants]uint64
	nhash     int
	hashOf    *token
	hashDist  int
	pre, suf  [maxToken + 1]uint64
	eq        [utf8.RuneSelf]uint64 // by rune: a bit for each place of it in the token
	eqOf      *token
	eqASCII   [maxToken]uint8 // those that are set
	neqASCII  int
	beyondAny bool                        // the token has runes beyond ASCII
	sets      [maxFuzzyWord + 2]errorSets // by the depth of the walk
}

// variants fills hash with the hashes of what is left of the token when up to d.dist runes are deleted, and
// gives their number. Those of the same rune in a row are the same.
func (w *near) variants(d *deletions, k *token) int {
	if !k.hashing || w.hashOf != k || w.hashDist != d.dist {
		w.nhash = w.all(d, k, d.least)
		w.hashOf, w.hashDist, k.hashing = k, d.dist, true
	}
	return w.nhash
}

// all computes the hashes of those that have at least so many runes. The hash of s is the sum of
// (s[i]+1)*hashMix^(len(s)-1-i), times hashMul.
func (w *near) all(d *deletions, k *token, least int) int {
	n := min(k.n, d.cut)
	t := k.hashed()[:n]
	pre, suf := &w.pre, &w.suf
	h := uint64(1)
	pre[0] = h
	for i, r := range t {
		h = h*hashMix + uint64(r) + 1
		pre[i+1] = h
	}
	c := 0
	if n >= least {
		w.hash[0] = h * hashMul
		c = 1
	}
	if d.dist == 0 || n-1 < least || n < 2 {
		return c
	}
	h = 0
	suf[n] = 0
	for i := n - 1; i > 0; i-- {
		h += (uint64(t[i]) + 1) * powers[n-1-i]
		suf[i] = h
	}
	for i := range t {
		if i > 0 && t[i] == t[i-1] {
			continue
		}
		w.hash[c] = (pre[i]*powers[n-1-i] + suf[i+1]) * hashMul
		c++
	}
	if d.dist == 1 || n-2 < least || n < 3 {
		return c
	}
	for i := range t {
		left := pre[i] // of t[:i] and t[i+1:j]
		for j := i + 1; j < n; j++ {
			if t[j] != t[j-1] || j == i+1 {
				w.hash[c] = (left*powers[n-1-j] + suf[j+1]) * hashMul
				c++
			}
			left = left*hashMix + uint64(t[j]) + 1
		}
	}
	if d.dist == 2 || n-3 < least || n < 4 {
		return c
	}
	for i := range t {
		l1 := pre[i]
		for j := i + 1; j < n; j++ {
			l2 := l1
			for m := j + 1; m < n; m++ {
				w.hash[c] = (l2*powers[n-1-m] + suf[m+1]) * hashMul
				c++
				l2 = l2*hashMix + uint64(t[m]) + 1
			}
			l1 = l1*hashMix + uint64(t[j]) + 1
		}
	}
	return c
}

// prepare fills eq with the places of the token's runes.
func (w *near) prepare(k *token) {
	for _, c := range w.eqASCII[:w.neqASCII] {
		w.eq[c] = 0
	}
	w.neqASCII, w.beyondAny = 0, false
	for i, r := range k.r[:k.n] {
		if r >= utf8.RuneSelf {
			w.beyondAny = true
			continue
		}
		w.eq[r] |= 1 << i
		w.eqASCII[w.neqASCII] = uint8(r)
		w.neqASCII++
	}
	w.eqOf, k.eq = k, true
}

// places has a bit for each place of letter r of a word in the token.
func (w *near) places(x *fuzzyIndex, k *token, r rune) uint64 {
	if r < utf8.RuneSelf {
		return w.eq[r]
	}
	var m uint64
	if len(x.mixed) > 0 {
		if q := x.mixedOf(r); q != nil {
			m = w.eq[q.ascii[0]] | w.eq[q.ascii[1]]
		}
	}
	if !w.beyondAny {
		return m
	}
	for i, q := range k.r[:k.n] {
		if q == r {
			m |= 1 << i
		}
	}
	return m
}

// near tells whether the token is within the distance of a word.
func (x *fuzzyIndex) near(w *near, k *token, id uint32) bool {
	d := int(x.reach[id])
	m := int(x.at[id+1] - x.at[id])
	if m-k.n > d || k.n-m > d || farther(k.signature(), x.sig[id], d) {
		return false
	}
	if d == 0 {
		return x.same(x.word(id), k)
	}
	return w.distance(x, k, x.word(id), d, false)
}

// nearOpen tells whether the token may become a near one by what follows.
func (x *fuzzyIndex) nearOpen(w *near, k *token, id uint32) bool {
	d := int(x.reach[id])
	if k.n <= d {
		return true
	}
	if m := int(x.at[id+1] - x.at[id]); k.n-m > d || bits.OnesCount64(k.signature()&^x.sig[id]) > d {
		return false
	}
	return w.distance(x, k, x.word(id), d, true)
}

// distance tells whether the distance of the token to the word, or, for an open one, to a beginning of it, is at
// most d. The columns of the edit matrix are vectors of steps: vp has the places of the token where the distance
// grows by one, vn those where it falls.
func (w *near) distance(x *fuzzyIndex, k *token, word []rune, d int, open bool) bool {
	if !k.eq || w.eqOf != k {
		w.prepare(k)
	}
	score := k.n
	last := uint64(1) << (k.n - 1)
	vp, vn := ^uint64(0), uint64(0)
	for _, r := range word {
		eq := w.places(x, k, r)
		xv := eq | vn
		xh := (eq&vp + vp) ^ vp | eq
		hp := vn | ^(xh | vp)
		hn := vp & xh
		if hp&last != 0 {
			score++
		} else if hn&last != 0 {
			score--
			if open && score <= d {
				return true
			}
		}
		hp = hp<<1 | 1
		vp = hn<<1 | ^(xv | hp)
		vn = hp & xv
	}
	return score <= d
}

// letterNode is a beginning of first words.
type letterNode struct {
	r           rune
	first, kids uint32
	has         uint32 // a bit for each rune of a child, modulo 32
	most        uint8  // greatest distance of the words that begin so
}

// trie makes the trie of the first words.
func (x *fuzzyIndex) trie() {
	var ids []uint32
	for id, c := range x.starts {
		if c != 0 {
			ids = append(ids, uint32(id)) // in the order of their text
		}
	}
	type span struct{ lo, hi, depth int }
	spans := []span{{0, len(ids), 0}}
	x.letters = []letterNode{{}}
	for n := 0; n < len(x.letters); n++ {
		s := spans[n]
		nd := x.letters[n]
		nd.first = uint32(len(x.letters))
		i := s.lo
		for ; i < s.hi && len(x.word(ids[i])) == s.depth; i++ {
			nd.most = max(nd.most, x.reach[ids[i]])
		}
		for i < s.hi {
			r, from := x.word(ids[i])[s.depth], i
			for i < s.hi && x.word(ids[i])[s.depth] == r {
				nd.most = max(nd.most, x.reach[ids[i]])
				i++
			}
			x.letters = append(x.letters, letterNode{r: r})
			spans = append(spans, span{from, i, s.depth + 1})
			nd.has |= 1 << (uint32(r) & 31)
			nd.kids++
		}
		x.letters[n] = nd
	}
}

// errorSets are the states of the automaton: bit i of the k-th set says that the first i runes of the token are
// within k edits of what was read. Each set holds those in front of it.
type errorSets [MaxDistance + 1]uint64

// begins tells whether the token may become a word that is near to a first word.
func (x *fuzzyIndex) begins(w *near, k *token) bool {
	if k.n <= int(x.letters[0].most) {
		return true
	}
	at := uint32(0)
	for _, r := range k.r[:k.n] {
		if at = x.letter(at, r); at == 0 {
			break
		}
	}
	if at != 0 {
		return true
	}
	if !k.eq || w.eqOf != k {
		w.prepare(k)
	}
	for d := range w.sets[0] {
		w.sets[0][d] = 2<<d - 1
	}
	return x.walk(w, k, 0, 0)
}

// letter is the child of a node of the trie, 0 without one.
func (x *fuzzyIndex) letter(node uint32, r rune) uint32 {
	nd := &x.letters[node]
	if nd.has>>(uint32(r)&31)&1 == 0 {
		return 0
	}
	lo, hi := nd.first, nd.first+nd.kids
	for lo < hi {
		if m := (lo + hi) / 2; x.letters[m].r < r {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < nd.first+nd.kids && x.letters[lo].r == r {
		return lo
	}
	return 0
}

// walk tells whether the token comes to its end behind a node, whose states are w.sets[depth].
func (x *fuzzyIndex) walk(w *near, k *token, node uint32, depth int) bool {
	nd := &x.letters[node]
	d := int(nd.most)
	s, to := &w.sets[depth], &w.sets[depth+1]
	if (d == 0 || s[d-1] == 0) && len(x.mixed) == 0 { // no error is left: only the token's own runes can follow
		for left := s[d]; left != 0; left &= left - 1 {
			i := bits.TrailingZeros64(left)
			at := node
			for at = x.letter(at, k.r[i]); at != 0 && int(x.letters[at].most) >= d; at = x.letter(at, k.r[i]) {
				if i++; i == k.n {
					return true
				}
			}
		}
		return false
	}
	done := uint64(1) << k.n
	for c := nd.first; c < nd.first+nd.kids; c++ {
		kid := &x.letters[c]
		eq := w.places(x, k, kid.r)
		old := s[0]
		to[0] = old & eq << 1
		for e := 1; e <= int(kid.most); e++ {
			now := s[e]
			to[e] = now&eq<<1 | old | (old|to[e-1])<<1
			old = now
		}
		switch last := to[kid.most]; {
		case last&done != 0:
			return true
		case last != 0 && x.walk(w, k, c, depth+1):
			return true
		}
	}
	return false
}
