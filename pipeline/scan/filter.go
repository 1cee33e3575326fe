package scan

import (
	"regexp/syntax"
	"slices"
)

// Filters. The joint automata of the table rules are anchored: exact, but run from one start at a time. A filter
// is a small automaton that is stepped for every byte and tells at which starts a run can pay. It may tell too
// many, never too few. There are two forms:
//
//   - A prefix filter knows the first bytes of words, cut after a fixed number. It tells where a word may have begun.
//   - An end filter knows whole words in a wider form (counts dropped). It tells where a word may have ended; its
//     reverse automaton then tells where that word began. It is for rules whose words may begin like any word of a text,
//     as an e-mail address does.
//
// Where one automaton can do both, it does: a table less is a step less for every byte.
type filterKind uint8

const (
	noFilter filterKind = iota
	prefixFilter
	endFilter
	bothFilter
)

// What a filter tells (in the entries of its table) and has under way (group.live).
const (
	toldFront = 1 << iota // the first bytes of a word were read
	toldEnd               // a word may have ended

	liveEnd  = 0x80 // a word of the end filter,
	liveSure = 0x40 // and what began behind the last stop is live in the joint automaton; the rest is the number of first bytes
)

const (
	prefixBytes   = 5     // of a prefix filter, if it stays small
	filterWork    = 16000 // states of a filter, before states that cannot be told apart are merged
	maxEnds       = 2     // end filters of one view, beside the other
	manyRules     = 64    // in one end filter,
	maxTries      = 16    // which are tried in as many portions
	maxIntervals  = 16    // of starts to be run in one block
	commonLetters = "etaoinsr"
)

var filterStates = 6144 // of a filter; tests lower it

// prefixOf cuts the words of n after k bytes, and gives for each instruction how many bytes stand in front. The byte behind
// them must be one that may follow. whole says that no word is shorter.
func prefixOf(n *nfa, k int) (out *nfa, depths []uint16, whole bool) {
	whole = true
	out = &nfa{looks: slices.Clone(n.looks)}
	next := map[[2]byte]uint32{} // looks at that byte, by its range
	type node struct{ pc, depth uint32 }
	ids := map[node]uint32{}
	var visit func(pc, depth uint32) uint32
	visit = func(pc, depth uint32) uint32 {
		at := node{pc, depth}
		id, ok := ids[at]
		if ok {
			return id
		}
		id = uint32(len(out.inst))
		ids[at] = id
		out.inst, depths = append(out.inst, inst{}), append(depths, uint16(depth))
		in := n.inst[pc]
		switch in.op {
		case opMatch:
			whole = whole && depth == uint32(k)
		case opByte:
			if depth < uint32(k) {
				in.out = visit(in.out, depth+1)
				break
			}
			span := [2]byte{in.lo, in.hi}
			look, ok := next[span]
			if !ok {
				look = uint32(len(out.looks))
				next[span] = look
				out.looks = append(out.looks, lookSet{})
				out.looks[look].add(int(in.lo), int(in.hi))
			}
			in = inst{op: opMatch, arg: look}
		case opSplit:
			in.out, in.arg = visit(in.out, depth), visit(in.arg, depth)
		case opEmpty, opBehind:
			in.out = visit(in.out, depth)
		}
		out.inst[id] = in
		return id
	}
	out.start = visit(n.start, 0)
	return out, depths, whole
}

// common tells whether a word of n may begin with k letters that are common in texts.
func (n *nfa) common(k int) bool {
	cur := []uint32{n.start}
	mark := make([]uint32, len(n.inst))
	for gen := range uint32(k) {
		var next []uint32
		var visit func(pc uint32)
		visit = func(pc uint32) {
			if mark[pc] == gen+1 {
				return
			}
			mark[pc] = gen + 1
			switch in := n.inst[pc]; in.op {
			case opByte:
				for _, c := range []byte(commonLetters) {
					if c >= in.lo && c <= in.hi {
						next = append(next, in.out)
						break
					}
				}
			case opSplit:
				visit(in.out)
				visit(in.arg)
			case opEmpty, opBehind:
				visit(in.out)
			}
		}
		for _, pc := range cur {
			visit(pc)
		}
		cur = next
	}
	return len(cur) > 0
}

// filters makes the filters of the rules of one view: one, and at most ends end filters beside it.
func (b *builder) filters(view View, rules []int, ends int) error {
	var front, wordy []int
	b.forFilters = b.steps + (b.opt.MaxSteps-b.steps)/2
	if p, err := b.endFilter(rules, 8); err == nil { // one table is better than two
		b.addEnd(view, p, endFilter, 0, false)
		return nil
	} else if err != errStates {
		return err
	}
	for _, i := range rules {
		n, err := b.ruleNFA(i, b.comp[i].exact)
		if err != nil {
			return err
		}
		if n.common(prefixBytes) {
			wordy = append(wordy, i)
		} else {
			front = append(front, i)
		}
	}
	if ok, err := b.bothFilter(view, front, wordy); ok || err != nil {
		return err
	}
	wordy, err := b.endFilters(view, wordy, ends)
	if err != nil {
		return err
	}
	if front = append(front, wordy...); len(front) == 0 {
		return nil
	}
	slices.Sort(front)
	k := prefixBytes // a byte less if all words have that many then: it is known where they begin
	short, err := b.shorter(front, k)
	if short && err == nil {
		short, err = b.shorter(front, k-1)
		k -= boolInt(!short)
	}
	if err != nil {
		return err
	}
	for ; ; k-- {
		a := &auto{}
		whole, err := b.addFronts(a, front, k)
		if err != nil {
			return err
		}
		f, _, err := b.determinise(a, detMode{limit: filterWork, early: true})
		if err == errSteps {
			return err
		}
		if err == nil {
			clear(f.dist)
			f.minimise(1, &b.steps)
		}
		if k > 1 && (err != nil || f.n > filterStates) {
			continue
		}
		if err != nil {
			return &BudgetError{Rules: b.names(front), Reason: "the rules begin in too many ways: they need more states than the budget of a table"}
		}
		b.addFilter(view, prefixFilter, k, whole, f, nil)
		return nil
	}
}

// shorter tells whether a word of one of the rules is shorter than k bytes.
func (b *builder) shorter(rules []int, k int) (bool, error) {
	for _, i := range rules {
		n, err := b.ruleNFA(i, b.comp[i].exact)
		if err != nil {
			return false, err
		}
		if _, _, all := prefixOf(n, k); !all {
			return true, nil
		}
	}
	return false, nil
}

// addFronts adds the first k bytes of the words of rules. whole says that no word is shorter.
func (b *builder) addFronts(a *auto, rules []int, k int) (whole bool, err error) {
	whole = true
	for _, i := range rules {
		n, err := b.ruleNFA(i, b.comp[i].exact)
		if err != nil {
			return false, err
		}
		cut, depth, all := prefixOf(n, k)
		whole = whole && all
		a.add(cut, toldFront, true)
		copy(a.attr[len(a.attr)-len(depth):], depth)
	}
	return whole, nil
}

// addWords adds whole words of rules without the counts above a bound.
func (b *builder) addWords(a *auto, rules []int, above int) error {
	for _, i := range rules {
		n, err := b.ruleNFA(i, relax(b.comp[i].exact, above))
		if err != nil {
			return err
		}
		from := len(a.attr)
		a.add(n, toldEnd, true)
		for k := range a.attr[from:] {
			a.attr[from+k] = attrEnd
		}
	}
	return nil
}

// bothFilter makes one filter that knows the first bytes of the words of front and whole words of wordy; false
// says that it would be too large.
func (b *builder) bothFilter(view View, front, wordy []int) (bool, error) {
	if len(front) == 0 || len(wordy) == 0 {
		return false, nil
	}
	for _, above := range []int{8, 4, 1} {
		var best *endPart
		work := 0 // states that the shortest form took
		for _, k := range []int{2, prefixBytes, prefixBytes - 1} {
			if work*3 > filterWork {
				break // the longer ones would most likely be given up
			}
			p, n, err := b.bothPart(front, wordy, above, k)
			if err != nil && err != errStates {
				return false, err
			}
			if err != nil {
				continue
			}
			best = p
			if work = n; k > 2 {
				break
			}
		}
		if best != nil {
			b.addEnd(view, best, bothFilter, best.k, best.whole)
			return true, nil
		}
	}
	return false, nil
}

// bothPart makes a filter of the first k bytes of words and of whole words. A rule of front whose first k bytes are
// those of any word, or that has shorter words, is told by its whole words. n is how many states it took before it was
// minimised.
func (b *builder) bothPart(front, wordy []int, above, k int) (p *endPart, n int, err error) {
	var short []int
	whole := slices.Clone(wordy)
	for _, i := range front {
		n, err := b.ruleNFA(i, b.comp[i].exact)
		if err != nil {
			return nil, 0, err
		}
		if _, _, all := prefixOf(n, k); n.common(k) || !all {
			whole = append(whole, i)
		} else {
			short = append(short, i)
		}
	}
	slices.Sort(whole)
	if p, err = b.endFilter(whole, above); err != nil {
		return nil, 0, err
	}
	a := &auto{}
	if err = b.addWords(a, whole, above); err == nil {
		p.whole, err = b.addFronts(a, short, k)
	}
	if err != nil {
		return nil, 0, err
	}
	f, _, err := b.tried(a, detMode{limit: filterWork, early: true})
	if err != nil {
		return nil, 0, err
	}
	n = f.n
	clear(f.dist)
	if f.minimise(1, &b.steps); f.n > filterStates {
		return nil, 0, errStates
	}
	p.fwd, p.k = f, k
	return p, n, nil
}

// endPart is an end filter in the making.
type endPart struct {
	rules    []int
	fwd, rev *dfa
	k        int  // with the first k bytes of other words,
	whole    bool // none of which is shorter
}

// endFilter makes an end filter of rules without the counts above a bound.
func (b *builder) endFilter(rules []int, above int) (*endPart, error) {
	return b.endFilterIn(rules, above, filterStates)
}

// endFilterIn makes one of at most limit states.
func (b *builder) endFilterIn(rules []int, above, limit int) (*endPart, error) {
	a := &auto{}
	if err := b.addWords(a, rules, above); err != nil {
		return nil, err
	}
	f, r, err := b.tried(a, detMode{limit: limit, reverse: true, early: true})
	return &endPart{rules: rules, fwd: f, rev: r}, err
}

// tried is determinise within what the filters may take of the work of the build. What takes more is as if it had too
// many states: the rules can do without it.
func (b *builder) tried(a *auto, m detMode) (fwd, rev *dfa, err error) {
	budget := b.opt.MaxSteps
	b.opt.MaxSteps = b.forFilters
	fwd, rev, err = b.determinise(a, m)
	if b.opt.MaxSteps = budget; err == errSteps {
		err = errStates
	}
	return fwd, rev, err
}

// endFilters makes end filters of rules, most at the most, and gives the rules that found no place in one.
func (b *builder) endFilters(view View, rules []int, most int) (rest []int, err error) {
	if len(rules) == 0 || most == 0 {
		return rules, nil
	}
	for _, above := range []int{8, 4, 1} {
		limit := filterStates
		if above == 1 && len(rules) > manyRules {
			limit *= 6 // several tables and what they leave would cost more than one that is large
		}
		p, err := b.endFilterIn(rules, above, limit)
		if err == nil {
			b.addEnd(view, p, endFilter, 0, false)
			return nil, nil
		}
		if err != errStates {
			return nil, err
		}
	}
	// One after the other, into the first that has room; if they are many, some at a time: each try takes a while.
	parts := make([]*endPart, most)
	some := 1
	if len(rules) > manyRules {
		some = (len(rules) + maxTries - 1) / maxTries
	}
next:
	for ; len(rules) > 0; rules = rules[min(some, len(rules)):] {
		few := rules[:min(some, len(rules))]
		for k, p := range parts {
			var old []int
			if p != nil {
				old = p.rules
			}
			p, err := b.endFilter(append(slices.Clone(old), few...), 1)
			if err == nil {
				parts[k] = p
				continue next
			}
			if err != errStates {
				return nil, err
			}
		}
		rest = append(rest, few...)
	}
	for _, p := range parts {
		if p != nil {
			b.addEnd(view, p, endFilter, 0, false)
		}
	}
	return rest, nil
}

func (b *builder) addEnd(view View, p *endPart, kind filterKind, k int, whole bool) {
	clear(p.fwd.dist)
	p.fwd.minimise(1, &b.steps)
	p.rev.minimise(2, &b.steps)
	for _, i := range p.rules {
		b.t.rules[i].flags |= flagEndFilter
	}
	b.addFilter(view, kind, k, whole, p.fwd, p.rev)
}

func (b *builder) addFilter(view View, kind filterKind, k int, whole bool, fwd, rev *dfa) {
	g := group{view: view, filter: kind, prefix: uint8(k), whole: whole}
	b.t.setForward(&g, fwd, nil)
	if rev != nil {
		b.t.setReverse(&g, rev)
	}
	b.t.groups = append(b.t.groups, g)
}

// ruleNFA compiles a word of rule i with its look-behind of one byte.
func (b *builder) ruleNFA(i int, word *syntax.Regexp) (*nfa, error) {
	c := b.comp[i]
	behind, _ := c.leftAlts()
	n, why := b.wordNFA(c, word, behind)
	if why != "" {
		return nil, b.tooLarge(c, word, false, why)
	}
	return n, nil
}

// findStops finds the bytes that stand in no word of an end filter: its reverse automaton goes nowhere from there.
func (g *group) findStops() {
	if g.rncls == 0 {
		return
	}
	n := int(g.rncls)
	over := make([]bool, len(g.rnext)/n) // by state: nothing comes after it
	for s := range over {
		over[s] = slices.Max(g.rnext[s*n:(s+1)*n]) == 0
	}
	var goes [256]bool // by class
	for i, to := range g.rnext {
		if to != 0 && !over[int(to&^begins)/n] {
			goes[i%n] = true
		}
	}
	for b, c := range g.rcls {
		g.stop[b] = uint8(boolInt(!goes[c]))
	}
	g.stops = g.stop[' ']&g.stop['\n'] != 0
}

// findSure marks the states of an end filter in which at most sureBytes letters behind a stop are live in the joint
// automaton, whichever they are: it follows both automata from every stop, and no such text leads there with which
// the other one is dead, or so long that a cap may matter.
func (g *group) findSure(u *bundle) {
	type pair struct {
		st uint32 // of the filter
		q  uint16
	}
	unsure := make([]bool, len(g.live))
	seen := map[pair]bool{}
	var level []pair
	visit := func(st uint32, q uint16) {
		p := pair{st &^ toldBits, q}
		if seen[p] {
			return
		}
		seen[p] = true
		level = append(level, p)
		if q == anchorDead || u.joint.info[q]&infoDist == infoDist || u.near[q] <= sureBytes {
			unsure[g.number(p.st)] = true
		}
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	begun := map[pair]bool{} // of states behind stops, and kinds
	for b := range 256 {
		if g.stop[b] == 0 {
			continue
		}
		kind := uint16(u.kind[b])
		for s := range g.live {
			x := pair{g.entry(uint32(s)*rowEntries, byte(b)) &^ toldBits, kind}
			if begun[x] {
				continue
			}
			begun[x] = true
			for _, c := range []byte(letters) {
				visit(g.entry(x.st, c), u.joint.number(u.first[kind<<8|uint16(c)]))
			}
		}
	}
	for range sureBytes - 1 { // one letter more each time
		last := level
		if level = nil; len(seen) > maxSure {
			return
		}
		for _, p := range last {
			for _, c := range []byte(letters) {
				visit(g.entry(p.st, c), u.joint.number(u.joint.next[u.joint.row(p.q)+uint32(u.joint.cls[c])]))
			}
		}
	}
	for p := range seen {
		if s := g.number(p.st); !unsure[s] && g.live[s]&liveEnd != 0 {
			g.live[s] |= liveSure
		}
	}
}

const (
	sureBytes = 7       // of a word that is seen to be live at once: with the stop in front it is read as one number
	maxSure   = 1 << 16 // pairs of states that are looked at for it
)

// An interval of starts that are to be run, both ends included.
type interval struct{ from, to int32 }

// tells is what a filter tells on the way to a state.
func tells(st uint32) uint32 { return st >> tellShift & (toldFront | toldEnd) }

// candidate notes the starts of words that may have ended, or whose first bytes may have been read, in front of
// index e: st is what the filter told.
func (f *feed) candidate(k int, g *group, st uint32, e int) {
	what := tells(st)
	if what&toldFront != 0 {
		hi := e - 1
		if g.whole {
			hi = e - int(g.prefix)
		}
		f.try(g.view, e-int(g.prefix), hi)
	}
	if what&toldEnd == 0 {
		return
	}
	// What ends here and began in front of the last end was live there already, and was noted then.
	stop := max(int(f.told[k]), int(f.bound[g.view]))
	f.told[k] = int32(e)
	f.reverse(g, e, stop)
}

// reverse notes the starts from lo on at which an end filter may be live at index e.
func (f *feed) reverse(g *group, e, lo int) {
	v := &f.v[g.view]
	q, mark := g.rncls, false
	for p := e - 1; p >= lo && q != 0; p-- {
		if q, mark = g.back(q, int(v.b[p])); mark {
			f.try(g.view, p+1, p+1)
		}
	}
	if q != 0 { // the byte in front of lo
		if _, mark = g.back(q, v.byteAt(lo-1)); mark {
			f.try(g.view, lo, lo)
		}
	}
}

// back steps the reverse automaton over c, -1 being the text's beginning. mark tells whether a word may begin
// after c.
func (g *group) back(q uint32, c int) (uint32, bool) {
	k := g.rncls - 1
	if c >= 0 {
		k = uint32(g.rcls[c])
	}
	q = g.rnext[q+k]
	return q &^ begins, q&begins != 0
}

// try notes that the starts from lo to hi are to be run.
func (f *feed) try(view View, lo, hi int) {
	iv := f.iv[view][:f.niv[view]]
	if lo = max(lo, int(f.bound[view])); lo > hi {
		return
	}
	if n := len(iv); n > 0 {
		if last := &iv[n-1]; lo >= int(last.from) && lo <= int(last.to)+1 {
			last.to = max(last.to, int32(hi))
			return
		}
		if n == maxIntervals {
			last := &iv[n-1]
			last.from, last.to = min(last.from, int32(lo)), max(last.to, int32(hi))
			return
		}
	}
	f.iv[view][len(iv)] = interval{int32(lo), int32(hi)}
	f.niv[view]++
}
