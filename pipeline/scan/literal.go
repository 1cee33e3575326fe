package scan

import (
	"cmp"
	"fmt"
	"iter"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// foldOrbit gives the other runes that fold to the same as r.
func foldOrbit(r rune) iter.Seq[rune] {
	return func(yield func(rune) bool) {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if !yield(f) {
				return
			}
		}
	}
}

// trie holds the literals of one view. Its edges are sets of runes, or a run of gap characters.
type trie struct {
	view  View
	roots []trieRoot
	lits  []lit
	last  *trieNode // of the literal that was added last
}

// A trieRoot holds the literals that may begin under the same conditions.
type trieRoot struct {
	key  string
	cond []rightAlt // one of them must hold in front of the literal
	*trieNode
}

// root gives the root of a condition.
func (t *trie) root(cond []rightAlt) *trieNode {
	key := fmt.Sprint(cond)
	for _, r := range t.roots {
		if r.key == key {
			return r.trieNode
		}
	}
	t.roots = append(t.roots, trieRoot{key, cond, &trieNode{}})
	return t.roots[len(t.roots)-1].trieNode
}

type trieNode struct {
	kids  map[string]*trieNode
	order []string
	gap   *trieNode // the node after a run of gap characters, which loops
	ends  []trieEnd
	depth int
	isGap bool
	hold  bool // a literal that is held for may still come after what leads here
	mid   bool // the same inside the rune that leads here: it may also end with it
}

type trieEnd struct {
	lit      int
	boundary bool
	more     bool // white space follows
}

func (b *builder) tr(v View) *trie {
	if b.trie[v] == nil {
		b.trie[v] = &trie{view: v}
	}
	return b.trie[v]
}

const gapSym = "\x00gap"

// add puts a literal into the trie. One of cond holds in front of it.
func (t *trie) add(syms []string, cond []rightAlt, boundRight int, rule int, trigger, hold bool) {
	n := t.root(cond)
	for i, s := range syms {
		var k *trieNode
		if s == gapSym {
			if n.gap == nil {
				n.gap = &trieNode{depth: n.depth + 1, isGap: true}
			}
			k = n.gap
		} else {
			if t.view == Normalised {
				s = onlySeen(s)
			}
			if n.kids == nil {
				n.kids = map[string]*trieNode{}
			}
			rs := []rune(s)
			slices.Sort(rs)
			s = string(slices.Compact(rs))
			if k = n.kids[s]; k == nil {
				k = &trieNode{depth: n.depth + 1}
				n.kids[s] = k
				n.order = append(n.order, s)
			}
		}
		n = k
		n.hold = n.hold || hold && (i < len(syms)-1 || boundRight == 1)
		n.mid = n.mid || hold
	}
	n.ends = append(n.ends, trieEnd{lit: len(t.lits), boundary: boundRight == 1})
	t.lits = append(t.lits, lit{rule: uint16(rule), syms: uint8(len(syms)), trigger: trigger, now: boundRight == 0})
	t.last = n
}

// goesOn says that the literal that was added last counts only where white space follows it.
func (t *trie) goesOn(hold bool) {
	t.last.ends[len(t.last.ends)-1].more = true
	t.last.hold = t.last.hold || hold
	t.lits[len(t.lits)-1].now = false
}

// onlySeen drops the runes that the normalised view never shows, if others are left.
func onlySeen(s string) string {
	out := ""
	for _, r := range s {
		if p := foldPages()[r>>8]; p == nil || p[r&255] == 0 {
			out += string(r)
		}
	}
	if out == "" {
		return s
	}
	return out
}

// phraseSyms are the symbols of a phrase.
func phraseSyms(c *compiled) []string {
	var syms []string
	for i, w := range c.phrase {
		if i > 0 {
			syms = append(syms, gapSym)
		}
		for _, r := range w {
			syms = append(syms, string(letterForms(nil, r, c.View, c.Fold)))
		}
	}
	return syms
}

// long tells whether a phrase, of which syms are the symbols, can only stand in the literal group with its beginning:
// what follows is compared with the text, and its cap looked at.
func (c *compiled) long(syms []string) bool { return len(syms) > maxLiteral || c.max > c.cap }

// literalFits tells whether a phrase can stand in the literal group: not too long and always within its cap, or with
// its beginning only, and unable to overlap itself, so that every occurrence is a match of its own. One that is held for may
// overlap itself beside letters beyond ASCII, which settle sees to. One that is not must not end twice in a row either.
func (b *builder) literalFits(c *compiled) bool {
	syms := phraseSyms(c)
	if c.long(syms) && !(c.View == Normalised && len(syms) > longHead && (c.max <= c.cap || c.cap == MaxCap)) {
		return false
	}
	mixed := func(r rune) bool {
		_, _, ok := mixedForms(r)
		return ok && c.Fold && c.View == Normalised
	}
	for _, w := range c.phrase {
		if strings.ContainsAny(w, "\t\r\n \x00") {
			return false
		}
		for i, r := range w {
			if mixed(r) && leadingMarks(w[i+utf8.RuneLen(r):]) != "" {
				return false // there are marks on one of its forms only
			}
		}
	}
	letters := []rune(strings.Join(c.phrase, " ")) // of the symbols
	word := func(i int) bool { return isWord(int(letters[i])) }
	always := func(i int) bool { // it is one in all its forms: sſ are not
		return word(i) && !strings.ContainsFunc(syms[i], func(r rune) bool { return !isWord(int(r)) })
	}
	apart := func(k int, word func(int) bool) bool { // a boundary is required where there is none
		return word(0) && word(k-1) || word(len(syms)-1) && word(len(syms)-k)
	}
	if len(syms) == 1 && !always(0) && !c.hold() {
		return false
	}
	for k := 1; k < len(syms); k++ {
		if apart(k, always) { // whichever forms the text has
			continue
		}
		same := true
		for i, s := range syms[k:] {
			if same = s == syms[i] || s != gapSym && syms[i] != gapSym && strings.ContainsAny(s, syms[i]); !same {
				break
			}
		}
		if same && !(c.hold() && apart(k, word)) {
			return false
		}
		c.self = c.self || same
	}
	return true
}

// An edge is a first or a last symbol and whether a boundary must stand beside it.
type edge struct {
	sym   string
	bound bool
}

// edges divides the symbol of a letter at the edge of a phrase: of a mixed one, ASCII letters need a boundary.
func (c *compiled) edges(r rune, sym string) []edge {
	ascii, other, mixed := mixedForms(r)
	switch {
	case !mixed || !c.Fold || c.View == Raw:
		return []edge{{sym, isWord(int(r))}}
	case other == "":
		return []edge{{ascii, true}}
	}
	return []edge{{ascii, true}, {other, false}}
}

func (b *builder) addPhrase(i int, c *compiled) {
	first, _ := utf8.DecodeRuneInString(c.phrase[0])
	last, _ := utf8.DecodeLastRuneInString(c.phrase[len(c.phrase)-1])
	syms := phraseSyms(c)
	n := len(syms) - 1
	ends := c.edges(last, syms[n])
	for _, s := range c.edges(first, syms[0]) {
		cond := []rightAlt{{look: anyLook}}
		if s.bound {
			cond[0].empty = []syntax.EmptyOp{syntax.EmptyWordBoundary}
		}
		if c.long(syms) {
			own := slices.Clone(syms[:longHead+boolInt(syms[longHead-1] == gapSym)])
			own[0] = s.sym
			tr := b.tr(c.View)
			tr.add(own, cond, 0, i, false, true)
			tr.lits[len(tr.lits)-1].head = true
			continue
		}
		for _, e := range ends {
			if n == 0 && e != s {
				continue
			}
			own := slices.Clone(syms)
			own[n], own[0] = e.sym, s.sym
			b.tr(c.View).add(own, cond, boolInt(e.bound), i, false, c.hold())
		}
	}
}

// headSyms is the least number of symbols that a phrase has in the literal group. With fewer, the group tells more often of
// text that turns out to be no phrase; with leastSyms it does in a set that would else be too large for entries of two bytes.
// maxHeads is how many phrases may share the place where they are cut. A phrase that could not stand there whole has longHead symbols at most, one more if the last is a gap.
const (
	headSyms  = 11
	leastSyms = 9
	maxHeads  = 2
	longHead  = 48
)

// cut takes the ends of phrases out of the trie where few are left: what follows is compared with the text
// itself, from the symbol syms on. Only phrases that are held for can be cut, since their text is at hand.
func (t *trie) cut(syms int, held func(rule uint16) bool) {
	var ends func(n *trieNode) []int // of the subtree; nil if it cannot be cut
	ends = func(n *trieNode) []int {
		var all []int
		for _, e := range n.ends {
			if l := &t.lits[e.lit]; l.trigger || !held(l.rule) {
				return nil
			}
			all = append(all, e.lit)
		}
		kids := make([]*trieNode, 0, len(n.order)+1)
		for _, s := range n.order {
			kids = append(kids, n.kids[s])
		}
		if n.gap != nil {
			kids = append(kids, n.gap)
		}
		ok := true
		for _, k := range kids {
			below := ends(k)
			ok = ok && below != nil
			all = append(all, below...)
		}
		if !ok || len(kids) == 0 {
			if len(kids) == 0 {
				return all
			}
			return nil
		}
		// One literal of a rule is enough: what differs between them is compared with the text.
		seen := map[uint16]bool{}
		all = slices.DeleteFunc(all, func(i int) bool {
			again := seen[t.lits[i].rule]
			seen[t.lits[i].rule] = true
			return again
		})
		if len(all) > maxHeads || n.depth < syms || n.isGap {
			return all
		}
		n.kids, n.order, n.gap, n.ends, n.hold = nil, nil, nil, nil, false
		for _, i := range all {
			l := &t.lits[i]
			l.head, l.now, l.syms = true, true, uint8(n.depth)
			n.ends = append(n.ends, trieEnd{lit: i})
		}
		return all
	}
	for _, r := range t.roots {
		ends(r.trieNode)
	}
}

// literals makes the automaton of a trie.
func (b *builder) literals(t *trie) (*dfa, error) {
	a := &auto{}
	more := lookSet{}
	for _, c := range whites {
		more.add(int(c), int(c))
	}
	a.looks = []lookSet{anyLook, more}
	k := &compiler{max: 1 << 26}
	grow := func(depth int, hold bool) {
		for len(a.attr) < len(k.inst) {
			a.attr = append(a.attr, uint16(boolInt(hold)*depth))
			a.rule = append(a.rule, 0)
		}
	}
	// compile gives the entry of a node; instructions made on the way carry the depth of what they lead to.
	var compile func(n *trieNode) uint32
	compile = func(n *trieNode) uint32 {
		entry := ^uint32(0)
		join := func(e uint32) {
			if entry == ^uint32(0) {
				entry = e
			} else {
				entry = k.emit(inst{op: opSplit, out: e, arg: entry})
				grow(n.depth, n.hold)
			}
		}
		for _, e := range n.ends {
			m := k.emit(inst{op: opMatch, arg: uint32(boolInt(e.more))})
			grow(n.depth, n.hold)
			a.rule[m] = uint16(e.lit)
			if e.boundary {
				m = k.emit(inst{op: opEmpty, arg: wordBoundary, out: m})
				grow(n.depth, n.hold)
			}
			join(m)
		}
		for _, s := range n.order {
			kid := n.kids[s]
			to := compile(kid)
			var cl []rune
			for _, r := range s {
				cl = append(cl, r, r)
			}
			e := k.runes(cl, to)
			grow(kid.depth, kid.mid)
			// The entry itself stands before the symbol.
			a.attr[e] = uint16(boolInt(n.hold) * n.depth)
			join(e)
		}
		if n.gap != nil {
			to := compile(n.gap)
			loop := k.emit(inst{op: opSplit, arg: to})
			grow(n.gap.depth, n.gap.hold)
			k.inst[loop].out = k.runes(gapClass, loop)
			grow(n.gap.depth, n.gap.hold)
			e := k.runes(gapClass, loop)
			grow(n.depth, n.hold)
			join(e)
		}
		return entry
	}
	for _, r := range t.roots {
		if len(r.order) == 0 {
			continue
		}
		top := compile(r.trieNode)
		for _, alt := range r.cond {
			e := top
			for _, op := range alt.empty {
				e = k.emit(inst{op: opEmpty, arg: uint32(op), out: e})
			}
			if alt.look != anyLook {
				a.looks = append(a.looks, alt.look)
				e = k.emit(inst{op: opBehind, arg: uint32(len(a.looks) - 1), out: e})
			}
			grow(0, false)
			a.starts = append(a.starts, autoStart{pc: e})
		}
	}
	a.inst = k.inst
	f, _, err := b.determinise(a, detMode{limit: 1 << 20, now: func(rule uint16) bool { return t.lits[rule].now }, early: true})
	if err != nil {
		return nil, err
	}
	clear(f.dist)
	f.minimise(1, &b.steps)
	return f, nil
}

// literalGroup makes the group of a trie.
func (b *builder) literalGroup(view View, t *trie, memo map[string]uint32) (*group, error) {
	var f *dfa
	for syms := headSyms; ; syms-- {
		t.cut(syms, func(rule uint16) bool { return b.t.rules[rule].flags&flagHold != 0 })
		var err error
		if f, err = b.literals(t); err != nil {
			return nil, err
		}
		if f.n <= maxNarrow || syms == leastSyms {
			break
		}
		if f.n > 2*maxNarrow { // one symbol less is not enough
			syms = leastSyms + 1
		}
	}
	if len(b.t.lits)+len(t.lits) > MaxRules {
		return nil, fmt.Errorf("build tables: %d literals; at most %d", len(b.t.lits)+len(t.lits), MaxRules)
	}
	off := uint16(len(b.t.lits))
	b.t.lits = append(b.t.lits, t.lits...)
	for _, list := range f.list {
		for i := range list {
			list[i] += off
		}
		// What began first is handled first.
		began := func(i uint16) int { return int(b.t.lits[i].syms) + boolInt(!b.t.lits[i].now) }
		slices.SortStableFunc(list, func(i, j uint16) int { return cmp.Compare(began(j), began(i)) })
	}
	g := &group{view: view, literal: true}
	b.t.setForward(g, f, memo)
	return g, nil
}

const wordBoundary = 16 // syntax.EmptyWordBoundary

var gapClass = []rune{'\t', '\n', '\r', '\r', ' ', ' '}

func isGap(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// maxGap is how many gap characters may stand between two words of a phrase.
const maxGap = 256
