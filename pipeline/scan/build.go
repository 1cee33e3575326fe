package scan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Tables are the compiled form of rules. They never change after Build or Load and may be shared.
type Tables struct {
	rules  []rule
	groups []group // those that read the raw view first
	nraw   int
	lits   []lit
	lists  []uint16 // lists of numbers, each after its length
	anch   []anchored
	bundle []*bundle
	fuzzy  []fuzzySet
	next   [maxGroups][]uint16    // of each group,
	wide   [maxGroups][]uint32    // or this
	last   [maxGroups]uint32      // the last row of each
	column [maxGroups][256]uint32 // where the entry of a byte stands in the first row of each
	norms  bool                   // some rule reads the normalised view
	self   bool                   // the matches of some phrase may overlap
	marks  bool                   // each view has one bundle at the most
	sole   [2]*bundle             // the bundle of each view, if it has just one
	glide  glide
}

// rule is what the engine knows of a rule.
type rule struct {
	id        string
	policy    uint8
	view      View
	flags     ruleFlags
	negation  Negation
	cap       int32
	near      int32 // starts at most this far back are live under the cap, whatever the state
	reach     int32 // bytes of its longest word in its view, under the cap
	group     int16 // -1: none
	anchor    int32 // index of its anchored automaton, -1: none
	behind    int32 // the same of its look-behind
	validator Validator
	check     func(w []byte, a, b int) bool // of the validator
	tallied   bool                          // the validator is Entropy: it goes on from one end of a word to the next
	allow     []string
	phrase    string // of a phrase whose beginning only is in the literal group: what the text is compared with
}

// begins is the automaton that a trigger of the rule begins.
func (r *rule) begins() int32 {
	if r.flags&flagBehind != 0 {
		return r.behind
	}
	return r.anchor
}

type ruleFlags uint8

const (
	flagHold      ruleFlags = 1 << iota // exact spans, held for
	flagEndFilter                       // an end filter finds its words
	flagBehind                          // a look-behind of more than one byte
	flagFold                            // its allow-list is in lower case
	flagLiteral                         // a phrase
	flagCheck                           // has a validator or an allow-list
	flagBundle                          // one of the bundle
	flagSelf                            // a phrase whose matches may overlap beside letters beyond ASCII
)

// group is one automaton that is stepped for every byte of its view.
type group struct {
	view    View
	literal bool
	filter  filterKind
	prefix  uint8 // bytes that a prefix filter knows
	whole   bool  // no word of it is shorter
	ncls    uint32
	near    int32    // of a literal group: starts at most this far back can still fit every cap
	next    []uint16 // by row+column: a row, with accept if something is told: land, listOf and tells say more
	wide    []uint32 // the same, if a table of the set has too many states or ways for next
	acc     []uint32 // by state: offset of its list, 0 = none; literal groups and filters have none
	ways    []way    // of a literal group: an entry of next with accept is the number of one
	live    []uint8  // by state: 0 = nothing is under way; literal: symbols of the longest live prefix
	rncls   uint32
	rnext   []uint32 // end filter, reverse: 0 = dead, rncls = at the end; begins: a word may begin here
	rules   []uint16 // of the local numbers in its lists
	cls     [256]uint8
	rcls    [256]uint8
	stop    [256]uint8 // end filter: 1 = a byte that stands in no word
	stops   bool       // white space is among them, so that looking for one is quick
}

// way is a way to a state of a literal group on which something is told.
type way struct {
	to   uint32 // a row
	list uint32 // its offset
}

const (
	rowEntries = 8 // a row is the number of a state times this, which leaves room for
	accept     = 1 // something is told
	tellShift  = 1 // of what a filter tells
	toldBits   = accept | (toldFront|toldEnd)<<tellShift
	_          = uint(rowEntries - 1 - toldBits)

	begins = 1 << 31 // of an entry of a reverse table: a word may begin here
)

// land gives the state to which an entry of next leads.
func (g *group) land(v uint32) uint32 {
	if v&accept != 0 && g.literal {
		return g.ways[v/rowEntries].to
	}
	return v &^ toldBits
}

// lit is one literal of a literal group: a phrase or a trigger.
type lit struct {
	rule    uint16
	syms    uint8 // runes, a run of gap characters counting as one
	trigger bool
	now     bool       // its end does not depend on what follows
	head    bool       // the beginning of a phrase
	rest    string     // of one: what must follow
	after   *afterSets // of a trigger: bytes that may follow it; many share theirs
	front   uint16     // of a trigger: a run that is in this state in front of it
	state   uint16     // is in this one behind it; front is noFront if there are more
}

// noFront is no state.
const noFront = 0xFFFF

type afterSets [afterBytes]byteSet

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) has(c byte) bool { return s[c>>6]>>(c&63)&1 == 1 }
func (s *byteSet) add(c byte)      { s[c>>6] |= 1 << (c & 63) }

// afterBytes is how many bytes behind a trigger are looked at before its rule is run.
const afterBytes = 6

// after gives the bytes that may stand in each of the places behind a literal, as far as no word can have ended
// by then.
func (a *anchored) after(syms []string) *afterSets {
	var sets afterSets
	var states, more []uint16
	seen := make([]bool, len(a.info))
	put := func(q uint16) { // in more, once
		if !seen[q] {
			seen[q] = true
			more = append(more, q)
		}
	}
	turn := func() {
		for _, q := range more {
			seen[q] = false
		}
		states, more = more, states[:0]
	}
	put(anchorBegin)
	for c := range a.ncls {
		put(a.next[anchorFront*a.ncls+c])
	}
	turn()
	for _, sym := range syms {
		for _, s := range states {
			for _, r := range sym {
				q := s
				var enc [utf8.UTFMax]byte
				for _, c := range enc[:utf8.EncodeRune(enc[:], r)] {
					q = a.next[uint32(q)*a.ncls+uint32(a.cls[c])]
				}
				put(q)
			}
		}
		turn()
	}
	may := make([]bool, a.ncls)
	for k := range sets {
		clear(may)
		for _, s := range states {
			for c, q := range a.next[uint32(s)*a.ncls : (uint32(s)+1)*a.ncls-1] {
				if q != anchorDead {
					may[c] = true
					put(q)
				}
			}
		}
		for c, cls := range a.cls {
			if may[cls] {
				sets[k].add(byte(c))
			}
		}
		turn()
		if slices.ContainsFunc(states, func(s uint16) bool { return a.info[s]&infoAccept != 0 }) {
			for k++; k < len(sets); k++ {
				sets[k] = byteSet{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
			}
			break
		}
	}
	return &sets
}

// enters gives the one state in front of a word from which it may begin with syms, written in ASCII, and the one behind
// them: front is noFront if there are more, or if a word ends within. The state in which a text begins does not count.
func (a *anchored) enters(syms []string) (front, state uint16) {
	front = noFront
	fronts := slices.Clone(a.next[anchorFront*a.ncls : (anchorFront+1)*a.ncls-1])
	slices.Sort(fronts)
	for _, f := range slices.Compact(fronts) {
		states := []uint16{f}
		for _, sym := range syms {
			var more []uint16
			for _, s := range states {
				for _, r := range sym {
					if r >= utf8.RuneSelf {
						continue
					}
					q := a.next[uint32(s)*a.ncls+uint32(a.cls[r])]
					if a.info[q]&infoAccept != 0 {
						return noFront, 0
					}
					if !slices.Contains(more, q) {
						more = append(more, q)
					}
				}
			}
			states = more
		}
		switch {
		case !slices.ContainsFunc(states, func(q uint16) bool { return q != anchorDead }):
		case len(states) > 1 || front != noFront:
			return noFront, 0
		default:
			front, state = f, states[0]
		}
	}
	return front, state
}

// begin gives the state of a run of trigger l from x on, at index i: behind the trigger, which ends at e, if that is known.
func (l *lit) begin(a *anchored, b []byte, before, x, e int) (s uint16, i int) {
	if s = a.at(b, x, before); s == l.front {
		return l.state, e
	}
	return s, x
}

// follows tells whether what a trigger begins may go on with b.
func (l *lit) follows(b []byte) bool {
	for k := range l.after[:min(len(b), len(l.after))] {
		if !l.after[k].has(b[k]) {
			return false
		}
	}
	return true
}

// anchored is the exact automaton of one rule.
type anchored struct {
	next []uint16
	info []uint16
	ncls uint32
	cls  *[256]uint8 // many have theirs in common
	head [4]uint64   // bit by byte: a word may begin with it
	sole int16       // the one byte with which a word may begin, -1: there are more
	over *[256]uint8 // 1 for the bytes of a set: many have theirs in common
	path []uint16    // states, each of which goes on to the next one over these bytes, whichever they are; no word ends in them
	pos  []uint8     // by state: its place in path + 1, 0 = it is not there
	loop uint16      // the last state of path, if it goes on to itself, else noLoop
}

const (
	infoAccept = 1 << 15   // a word ended before the last byte
	infoFront  = 1 << 14   // of a joint automaton: a rule of a prefix filter is alive
	infoDist   = 1<<14 - 1 // bytes to the nearest end of a word, the byte that shows it not counted; infoDist: there is none

	// States of every anchored automaton.
	anchorDead  = 0
	anchorBegin = 1 // at the text's beginning
	anchorFront = 2 // before the byte that stands in front
)

const (
	maxGroups       = 7       // table groups in all
	maxEntries      = 1 << 24 // of one table
	relaxStates     = 600
	maxLiteral      = 200 // symbols of a phrase in the literal group
	minTrigger      = 3   // bytes
	jointStates     = 40000
	maxTrigger      = 6           // symbols
	maxTriggerBytes = tailLen - 1 // of one: with the byte in front they are all that is known of released text
	maxTriggers     = 64          // of one rule
	manyNumbers     = 10          // triggers without a letter that a rule has too many of: among numbers they stand everywhere
	maxExpanded     = 400
	maxAnchStates   = 60000
)

type builder struct {
	opt        Options
	steps      int
	forFilters int   // steps at which trying filters ends
	cures      int   // looked for
	cost       []int // steps of each rule alone
	t          *Tables
	rep        *Report
	comp       []*compiled
	trie       [2]*trie
}

// Build compiles rules to tables. An error is a *RuleError, or joins several.
func Build(rules []Rule, opt Options) (*Tables, Report, error) {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&opt.MaxStates, 8192)
	set(&opt.MaxRuleStates, 20000)
	set(&opt.MaxBytes, 64<<20)
	set(&opt.MaxSteps, 2e9)
	set(&opt.joint, jointStates)
	if opt.Memo == nil {
		opt.Memo = &Memo{}
	}
	rep := Report{StateBytes: stateBytes}
	if len(rules) > MaxRules {
		return nil, rep, fmt.Errorf("build tables: %d rules; at most %d", len(rules), MaxRules)
	}
	b := &builder{opt: opt, t: &Tables{lists: []uint16{0}}, rep: &rep}
	var errs []error
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.ID] {
			errs = append(errs, r.fail("", "has the ID of an earlier rule", ""))
			continue
		}
		seen[r.ID] = true
		c, err := compileRule(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.comp = append(b.comp, c)
	}
	if errs != nil {
		return nil, rep, errors.Join(errs...)
	}
	if errs = b.classify(); errs != nil {
		return nil, rep, errors.Join(errs...)
	}
	if err := b.join(); err != nil {
		if err == errSteps {
			err = b.spent()
		}
		return nil, rep, err
	}
	for i := range b.t.groups {
		if n := len(b.t.groups[i].wide); n > maxEntries {
			return nil, rep, fmt.Errorf("build tables: a table of %d entries; at most %d", n, maxEntries)
		}
	}
	if !opt.wide {
		b.t.narrow()
	}
	if !b.t.valid() { // what reads them relies on it
		return nil, rep, errors.New("build tables: the tables lead out of themselves, which is a defect of this program")
	}
	b.t.finish()
	for i := range b.t.groups {
		if g := &b.t.groups[i]; g.stops && b.t.sole[g.view] != nil {
			g.findSure(b.t.sole[g.view])
		}
	}
	rep.Groups = len(b.t.groups)
	rep.TableBytes, rep.MemoryBytes = b.t.bytes(), b.t.memory()
	for i := range rep.Rules {
		rep.LongHold = max(rep.LongHold, rep.Rules[i].LongHold)
	}
	if rep.TableBytes > opt.MaxBytes {
		return nil, rep, b.large(rep.Rules)
	}
	return b.t, rep, nil
}

// classify decides how each rule is run and makes what belongs to one rule alone.
func (b *builder) classify() (errs []error) {
	bytes := 0
	for i, c := range b.comp {
		r := rule{id: c.ID, policy: c.Policy, view: c.View, cap: int32(c.cap), near: int32(c.cap), reach: int32(c.cap), group: -1, anchor: -1, behind: -1,
			validator: c.Validator, allow: slices.Clone(c.Allow), negation: c.Negation}
		if c.hold() {
			r.flags |= flagHold
		}
		if c.max >= 0 {
			r.reach = int32(min(c.cap, c.max))
		}
		if c.Validator.Name != "" || len(c.Allow) > 0 {
			r.flags |= flagCheck
		}
		if c.Fold {
			r.flags |= flagFold
			for k := range r.allow {
				r.allow[k] = strings.ToLower(r.allow[k])
			}
		}
		slices.Sort(r.allow)
		rr := RuleReport{ID: c.ID, Group: -1, Cap: c.cap}
		var err error
		before := b.steps
		switch {
		case c.Distance > 0:
			err = b.addFuzzy(i, c, &r, &rr)
		case c.phrase != nil && r.flags&flagCheck == 0 && b.literalFits(c):
			rr.Class = ClassLiteral
			r.flags |= flagLiteral
			r.phrase = strings.Join(c.phrase, " ")
			if c.self {
				r.flags |= flagSelf
			}
			b.addPhrase(i, c)
		default:
			err = b.classifyPattern(i, c, &r, &rr)
		}
		if b.cost = append(b.cost, b.steps-before); b.steps > b.opt.MaxSteps {
			return append(errs, b.spent())
		}
		if err != nil {
			if errs = append(errs, err); len(errs) == maxFaults {
				break
			}
			continue
		}
		if bytes += rr.Bytes; bytes > b.opt.MaxBytes {
			return append(errs, b.large(append(b.rep.Rules, rr)))
		}
		if r.flags&flagHold != 0 {
			rr.setHold(c)
		}
		b.t.norms = b.t.norms || c.View == Normalised
		b.t.rules = append(b.t.rules, r)
		b.rep.Rules = append(b.rep.Rules, rr)
	}
	return errs
}

func (rr *RuleReport) setHold(c *compiled) {
	rr.Span, rr.LongHold = true, c.cap
	if c.max >= 0 {
		rr.LongHold = min(c.cap, c.max)
	}
	if c.near > 0 {
		rr.LongHold = min(c.cap, c.near)
	}
	rr.LongHold += c.behind
}

func (b *builder) classifyPattern(i int, c *compiled, r *rule, rr *RuleReport) error {
	behind, short := c.leftAlts()
	long := c.parts.left != nil && !short
	var left *syntax.Regexp
	var trig []prefix
	var front []rightAlt // conditions on the byte in front of a long look-behind
	if long {
		left = stripLeading(c.parts.left)
		if trig = prefixes(left, 2); trig == nil {
			if alts, rest := splitFront(left); rest != nil {
				left, front = rest, alts
				trig = prefixes(left, 2)
			}
		}
		if trig == nil {
			return c.fail(clip(c.parts.left.String()), "is a look-behind without a literal to find it by",
				"begin it with at least 2 literal bytes, or look at one character only")
		}
	} else {
		trig = cutInside(prefixes(c.parts.word, minTrigger))
	}
	tryTable := func(limit int, re *syntax.Regexp) (*dfa, bool) {
		n, why := b.wordNFA(c, re, behind)
		if why != "" {
			return nil, false
		}
		a := &auto{}
		a.add(n, 0, r.flags&flagHold != 0)
		f, _, err := b.determinise(a, detMode{limit: limit})
		return f, err == nil
	}
	if r.flags&flagHold == 0 && !long {
		if f, ok := tryTable(relaxStates, c.parts.word); ok {
			rr.Class, rr.States = ClassTable, f.n
			return nil
		}
	}
	if r.flags&flagHold == 0 {
		r.flags |= flagHold // nothing but its text can tell the rule's ends
	}
	// The exact automaton.
	n, why := b.wordNFA(c, c.parts.word, behind)
	if why != "" {
		return b.tooLarge(c, c.parts.word, false, why)
	}
	a := &auto{}
	a.add(n, 0, true)
	m := detMode{anchored: true, word: true, limit: min(b.opt.MaxRuleStates, maxAnchStates)}
	f, _, err := b.determinise(a, m)
	if err == errNothing {
		return c.fail(c.whole(), err.Error(), "no text meets its conditions: ^ or $ in the middle, \\b between two letters; a $ that stands for itself is written \\$")
	}
	if err != nil {
		return b.tooLarge(c, c.parts.word, false, err.Error())
	}
	far := 0
	bounded := c.max >= 0 && c.max <= c.cap // its words are never cut by the cap
	for s, v := range f.dist {
		if v == distNone {
			continue
		}
		far = max(far, int(v))
		if bounded {
			f.dist[s] = 0
		}
	}
	if !bounded {
		r.near = int32(c.cap - far)
	}
	r.anchor = b.anchor(f, rr)
	if long {
		r.flags |= flagBehind
		c := &compiled{Rule: c.Rule, tree: c.tree, parts: parts{right: []rightAlt{{look: anyLook}}}}
		n, why := b.wordNFA(c, left, front)
		if why != "" {
			return b.tooLarge(c, left, true, why)
		}
		a := &auto{}
		a.add(n, 0, false)
		m.word = false
		f, _, err := b.determinise(a, m)
		if err != nil {
			return b.tooLarge(c, left, true, err.Error())
		}
		for i, v := range f.dist {
			if v != distNone {
				f.dist[i] = 0
			}
		}
		r.behind = b.anchor(f, rr)
	}
	triggered := func(trig []prefix) error {
		rr.Class = ClassTriggered
		for _, s := range trig {
			for k, sym := range s.syms {
				if !long {
					break
				}
				// Without case, so that rules share what they begin with; it is not held for.
				for _, r := range sym {
					for f := range foldOrbit(r) {
						s.syms[k] += string(f)
					}
				}
			}
			if !long {
				c.behind = max(c.behind, s.most()-1+boolInt(s.more))
			}
			tr := b.tr(c.View)
			tr.add(s.syms, s.condition(behind), 0, i, true, !long)
			if s.more {
				tr.goesOn(!long)
			}
			a := r.anchor
			if long {
				a = r.behind
			}
			l := &tr.lits[len(tr.lits)-1]
			l.after = b.t.anch[a].after(s.syms)
			l.front, l.state = b.t.anch[a].enters(s.syms)
		}
		return nil
	}
	numbers := 0
	for _, p := range trig {
		numbers += boolInt(p.numeric())
	}
	if trig != nil && (long || numbers < manyNumbers) {
		return triggered(trig)
	}
	rr.Class = ClassTable
	return nil
}

// numeric tells whether a prefix has no letter.
func (p prefix) numeric() bool {
	return !slices.ContainsFunc(p.syms, func(sym string) bool {
		return strings.ContainsFunc(sym, func(r rune) bool { return r >= utf8.RuneSelf || r|0x20 >= 'a' && r|0x20 <= 'z' })
	})
}

// spent is the error of a build that took all the work that it may: it names the rules that took most.
func (b *builder) spent() error {
	e := &BudgetError{Reason: fmt.Sprintf("the rules need more work than the budget of the build, %d million steps", b.opt.MaxSteps/1e6)}
	order := make([]int, len(b.cost))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(b.cost[k], b.cost[i]) })
	e.Rules = b.names(order)
	return e
}

// large is the error of tables that are too large: it names the rules whose own are the largest.
func (b *builder) large(rules []RuleReport) error {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(x, y RuleReport) int { return cmp.Compare(y.Bytes, x.Bytes) })
	e := &BudgetError{Reason: fmt.Sprintf("the tables of the rules are larger than the budget, %d MiB", b.opt.MaxBytes>>20)}
	for _, r := range rules[:min(len(rules), maxNamed)] {
		e.Rules = append(e.Rules, r.ID)
	}
	return e
}

// names gives the IDs of the first of rules.
func (b *builder) names(rules []int) (ids []string) {
	for _, i := range rules[:min(len(rules), maxNamed)] {
		ids = append(ids, b.comp[i].ID)
	}
	return ids
}

const (
	maxNamed  = 5  // rules of an error
	maxFaults = 50 // refused rules after which no more are tried
)

// anchor stores an anchored automaton and gives its index.
func (b *builder) anchor(f *dfa, rr *RuleReport) int32 {
	f.minimise(3, &b.steps)
	an := anchored{cls: &f.cls, ncls: uint32(f.ncls)}
	for s := range f.n {
		v := min(f.dist[s], infoDist) // distNone stays infoDist
		if len(f.acc[s]) > 0 {
			v |= infoAccept
		}
		an.info = append(an.info, v)
	}
	for _, s := range f.next {
		an.next = append(an.next, uint16(s))
	}
	an.findPath()
	b.t.anch = append(b.t.anch, an)
	rr.States += f.n
	rr.Bytes += 2*len(an.next) + 2*len(an.info) + 256
	return int32(len(b.t.anch) - 1)
}

// splitFront takes the first element of a look-behind as conditions on one byte; rest is nil if it is not one.
func splitFront(re *syntax.Regexp) (front []rightAlt, rest *syntax.Regexp) {
	if re.Op != syntax.OpConcat || len(re.Sub) < 2 {
		return nil, nil
	}
	alts, ok := contextAlts(re.Sub[0], true)
	if !ok {
		return nil, nil
	}
	return alts, &syntax.Regexp{Op: syntax.OpConcat, Sub: re.Sub[1:]}
}

// wordNFA compiles a word with its look-ahead and its look-behind of one byte.
func (b *builder) wordNFA(c *compiled, word *syntax.Regexp, behind []rightAlt) (*nfa, string) {
	n, why := compileNFA(word, c.parts.right, false, 4*b.opt.MaxRuleStates)
	if why != "" || behind == nil {
		return n, why
	}
	k := &compiler{nfa: *n, max: 8 * b.opt.MaxRuleStates}
	entry := ^uint32(0)
	for _, alt := range behind {
		e := n.start
		for _, op := range alt.empty {
			e = k.emit(inst{op: opEmpty, arg: uint32(op), out: e})
		}
		if alt.look != anyLook {
			k.looks = append(k.looks, alt.look)
			e = k.emit(inst{op: opBehind, arg: uint32(len(k.looks) - 1), out: e})
		}
		if entry == ^uint32(0) {
			entry = e
		} else {
			entry = k.emit(inst{op: opSplit, out: e, arg: entry})
		}
	}
	k.start = entry
	if k.err != "" {
		return nil, k.err
	}
	out := k.nfa
	return &out, ""
}

// leftAlts reads the look-behind as conditions on one byte; short is false if it is longer.
func (c *compiled) leftAlts() (alts []rightAlt, short bool) {
	if c.parts.left == nil {
		return nil, true
	}
	return contextAlts(c.parts.left, true)
}

// stripLeading drops what may be empty at the beginning of a look-behind: it constrains nothing.
func stripLeading(re *syntax.Regexp) *syntax.Regexp {
	if re.Op != syntax.OpConcat {
		return re
	}
	subs := re.Sub
	for len(subs) > 1 {
		s := subs[0]
		for s.Op == syntax.OpCapture {
			s = s.Sub[0]
		}
		if s.Op == syntax.OpConcat {
			subs = append(slices.Clone(s.Sub), subs[1:]...)
			continue
		}
		if s.Op == syntax.OpStar || s.Op == syntax.OpQuest || s.Op == syntax.OpRepeat && s.Min == 0 || s.Op == syntax.OpEmptyMatch {
			subs = subs[1:]
			continue
		}
		break
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: subs}
}

// relax replaces the counted repeats above a bound by uncounted ones: a wider language with fewer states.
func relax(re *syntax.Regexp, above int) *syntax.Regexp {
	c := *re
	c.Sub = nil
	for _, s := range re.Sub {
		c.Sub = append(c.Sub, relax(s, above))
	}
	if re.Op == syntax.OpRepeat && (re.Max > above || re.Min > above) {
		c.Op = syntax.OpPlus
		if re.Min == 0 {
			c.Op = syntax.OpStar
		}
	}
	return &c
}

// A prefix is a literal that a word begins with, rune by rune, each with its case folds.
type prefix struct {
	ops  []syntax.EmptyOp // what must hold in front of it
	syms []string         // each the runes that may stand there
	done bool             // nothing may be appended
	more bool             // white space follows: its last symbol is the first of a run of it
}

// condition gives what must hold in front of the prefix of a word: one of the look-behinds, if there are any, and its own
// conditions.
func (p prefix) condition(behind []rightAlt) (cond []rightAlt) {
	if behind == nil {
		behind = []rightAlt{{look: anyLook}}
	}
	for _, alt := range behind {
		cond = append(cond, rightAlt{empty: append(slices.Clone(alt.empty), p.ops...), look: alt.look})
	}
	return cond
}

func (p prefix) bytes() int {
	n := 0
	for _, s := range p.syms {
		r, _ := utf8.DecodeRuneInString(s)
		n += utf8.RuneLen(r)
	}
	return n
}

// most is how many bytes the prefix may have.
func (p prefix) most() int {
	n := 0
	for _, s := range p.syms {
		size := 0
		for _, r := range s {
			size = max(size, utf8.RuneLen(r))
		}
		n += size
	}
	return n
}

// fits tells whether r may come next: gap characters stand alone and not at the beginning, so that a prefix
// can be measured backwards.
func (p prefix) fits(r rune) bool {
	gap := func(r rune) bool { return r < utf8.RuneSelf && isGap(byte(r)) }
	return !gap(r) || len(p.syms) > 0 && !gap(rune(p.syms[len(p.syms)-1][0]))
}

// prefixes gives literals of at least least bytes one of which every word of re begins with, or nil.
func prefixes(re *syntax.Regexp, least int) []prefix {
	ps := extend([]prefix{{}}, re)
	for n := maxTrigger; n > 0; n-- {
		cut := cutPrefixes(ps, n)
		for _, p := range cut {
			if p.bytes() < least {
				return nil
			}
		}
		if len(cut) <= maxTriggers {
			return cut
		}
	}
	return nil
}

// cutPrefixes cuts to n symbols and leaves out what another prefix implies, which must then do without conditions that
// are not those of both.
func cutPrefixes(ps []prefix, n int) []prefix {
	var out []prefix
	seen := map[string]int{}
	slices.SortStableFunc(ps, func(a, b prefix) int { return cmp.Compare(len(a.syms), len(b.syms)) })
next:
	for _, p := range ps {
		p.more = p.more && len(p.syms) <= n
		p.syms = p.syms[:min(n, len(p.syms))]
		for k := range len(p.syms) + 1 + boolInt(p.more) {
			key := strings.Join(p.syms[:min(k, len(p.syms))], "\x00")
			if k > len(p.syms) {
				key += runOn
			}
			if i, ok := seen[key]; ok {
				out[i].ops = slices.DeleteFunc(slices.Clone(out[i].ops), func(op syntax.EmptyOp) bool { return !slices.Contains(p.ops, op) })
				continue next
			}
		}
		key := strings.Join(p.syms, "\x00")
		if p.more {
			key += runOn // it implies no longer one
		}
		seen[key] = len(out)
		out = append(out, p)
	}
	return out
}

const runOn = "\x00more"

// cutInside cuts each prefix that has another one inside it where that one ends: a word that begins with the longer
// one is the leftmost, so that it must be told of no later. What ends together is told in the order of its beginnings.
func cutInside(ps []prefix) []prefix {
	for again := true; again; {
		again = false
		for i := range ps {
			for k := range ps {
				if n := ps[k].inside(ps[i]); n > 0 && (n < len(ps[i].syms) || ps[i].more && !ps[k].more) {
					ps[i].syms, ps[i].more, again = ps[i].syms[:n], false, true
				}
			}
		}
	}
	return cutPrefixes(ps, maxTrigger)
}

// inside gives after how many symbols of q, behind the first, an occurrence of p in it is over; 0 if there is none.
func (p prefix) inside(q prefix) int {
	for at := 1; at+len(p.syms) <= len(q.syms); at++ {
		ok := slices.ContainsFunc([]rune(q.syms[at-1]), func(before rune) bool {
			return slices.ContainsFunc([]rune(q.syms[at]), func(first rune) bool {
				ops := emptyOps(int(before), int(first)) // runes beyond ASCII are no word characters, as their bytes
				return !slices.ContainsFunc(p.ops, func(op syntax.EmptyOp) bool { return op&ops == 0 })
			})
		})
		for i, s := range p.syms {
			ok = ok && strings.ContainsAny(s, q.syms[at+i])
		}
		if ok {
			return at + len(p.syms)
		}
	}
	return 0
}

func extend(ps []prefix, re *syntax.Regexp) []prefix {
	stop := func() []prefix {
		for i := range ps {
			ps[i].done = true
		}
		return ps
	}
	open := false
	for i := range ps {
		open = open || !ps[i].done
	}
	if !open {
		return ps
	}
	class := func(alts []string) []prefix {
		n := 0
		for _, p := range ps {
			n += 1 + boolInt(!p.done)*(len(alts)-1)
		}
		if n > maxExpanded {
			return stop()
		}
		var out []prefix
		for _, p := range ps {
			if p.done {
				out = append(out, p)
				continue
			}
			for _, a := range alts {
				size := len(a)
				r, _ := utf8.DecodeRuneInString(a)
				if r < utf8.RuneSelf && isGap(byte(r)) {
					size = 1
				}
				if len(p.syms) >= maxTrigger || p.bytes()+size > maxTriggerBytes || !p.fits(r) {
					return stop()
				}
				out = append(out, prefix{ops: p.ops, syms: append(slices.Clone(p.syms), a)})
			}
		}
		return out
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return ps
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		alts, _ := contextAlts(re, true)
		for i := range ps {
			if p := &ps[i]; !p.done && len(p.syms) == 0 {
				p.ops = append(slices.Clone(p.ops), alts[0].empty...)
			}
		}
		return ps
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			ps = extendRune(ps, r, re.Flags&syntax.FoldCase != 0)
		}
		return ps
	case syntax.OpCharClass:
		var alts []string
		seen := map[rune]bool{}
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i+1]-re.Rune[i] > 12 {
				return stop()
			}
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if seen[r] {
					continue
				}
				seen[r] = true
				s := string(r)
				if r < utf8.RuneSelf && isGap(byte(r)) { // all of them in one place
					for _, g := range "\t\n\r " {
						if g != r && inClass(re.Rune, g) {
							seen[g] = true
							s += string(g)
						}
					}
					alts = append(alts, s)
					continue
				}
				// Runes that fold to each other stand in one place of the trie.
				for f := range foldOrbit(r) {
					if !seen[f] && inClass(re.Rune, f) {
						seen[f] = true
						s += string(f)
					}
				}
				alts = append(alts, s)
			}
		}
		if len(alts) == 0 || len(alts) > 12 {
			return stop()
		}
		return class(alts)
	case syntax.OpCapture:
		return extend(ps, re.Sub[0])
	case syntax.OpConcat:
		for _, s := range re.Sub {
			ps = extend(ps, s)
		}
		return ps
	case syntax.OpPlus:
		ps = extend(ps, re.Sub[0])
		if whiteSpace(re.Sub[0]) {
			return runs(ps)
		}
		return stop2(ps)
	case syntax.OpRepeat:
		if re.Min == 0 {
			return stop()
		}
		for i := 0; i < re.Min && i < maxTrigger; i++ {
			ps = extend(ps, re.Sub[0])
		}
		if re.Min == 1 && re.Max != 1 && whiteSpace(re.Sub[0]) {
			return runs(ps)
		}
		if re.Max != re.Min {
			ps = stop2(ps)
		}
		return ps
	case syntax.OpQuest, syntax.OpAlternate:
		var out []prefix
		for _, s := range re.Sub {
			cp := make([]prefix, len(ps))
			for i, p := range ps {
				cp[i] = prefix{p.ops, slices.Clone(p.syms), p.done, p.more}
			}
			out = append(out, extend(cp, s)...)
		}
		if re.Op == syntax.OpQuest {
			out = append(out, ps...)
		}
		if len(out) > maxExpanded {
			return stop()
		}
		return out
	}
	return stop()
}

// whiteSpace tells whether re is a class of white space only.
func whiteSpace(re *syntax.Regexp) bool {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op != syntax.OpCharClass || len(re.Rune) == 0 {
		return false
	}
	for i := 0; i+1 < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if !strings.ContainsRune(whites, r) {
				return false
			}
		}
	}
	return true
}

const whites = "\t\n\v\f\r "

// runs goes on behind a run of white space of which ps have the first character: it is the only one, or more of it follows.
func runs(ps []prefix) []prefix {
	out := slices.Clone(ps)
	for _, p := range ps {
		if !p.done {
			p.syms, p.done, p.more = slices.Clone(p.syms), true, true
			out = append(out, p)
		}
	}
	return out
}

func stop2(ps []prefix) []prefix {
	for i := range ps {
		ps[i].done = true
	}
	return ps
}

func extendRune(ps []prefix, r rune, fold bool) []prefix {
	s := string(r)
	if fold {
		for f := range foldOrbit(r) {
			s += string(f)
		}
	}
	for i := range ps {
		if !ps[i].done && len(ps[i].syms) < maxTrigger && ps[i].bytes()+len(string(r)) <= maxTriggerBytes && ps[i].fits(r) {
			ps[i].syms = append(ps[i].syms, s)
		} else {
			ps[i].done = true
		}
	}
	return ps
}

func inClass(cl []rune, r rune) bool {
	for i := 0; i+1 < len(cl); i += 2 {
		if r >= cl[i] && r <= cl[i+1] {
			return true
		}
	}
	return false
}

// list stores a list of numbers and gives its offset, 0 for an empty one.
func (t *Tables) list(memo map[string]uint32, l []uint16) uint32 {
	if len(l) == 0 {
		return 0
	}
	key := fmt.Sprint(l)
	if off, ok := memo[key]; ok {
		return off
	}
	off := uint32(len(t.lists))
	t.lists = append(append(t.lists, uint16(len(l))), l...)
	memo[key] = off
	return off
}

// join puts the rules into the groups that are stepped side by side and makes the joint automata.
func (b *builder) join() error {
	open, err := b.openGroups()
	if err != nil {
		return err
	}
	used := func() (n int) {
		for view := range b.trie {
			n += boolInt(b.trie[view] != nil) + boolInt(len(b.held(View(view))) > 0)
		}
		return n + len(open)
	}
	// Where there is no place for them, rules that need not be held for are: a filter takes any number.
	for used() > maxGroups && len(open) > 0 {
		last := open[len(open)-1]
		open = open[:len(open)-1]
		for _, i := range last.rules {
			b.t.rules[i].flags |= flagHold
			rr := &b.rep.Rules[i]
			if err := b.classifyPattern(i, b.comp[i], &b.t.rules[i], rr); err != nil {
				return err
			}
			rr.setHold(b.comp[i])
		}
	}
	spare := maxGroups - used() // for end filters beside those that know the beginnings of words
	memo := map[string]uint32{}
	for view := Raw; view <= Normalised; view++ {
		if tr := b.trie[view]; tr != nil {
			g, err := b.literalGroup(view, tr, memo)
			if err != nil {
				return err
			}
			b.t.groups = append(b.t.groups, *g)
		}
		if view == Raw {
			for _, o := range open {
				b.addOpen(o, memo)
			}
		}
		if held := b.held(view); len(held) > 0 {
			before := len(b.t.groups)
			if err := b.filters(view, held, min(spare, maxEnds)); err != nil {
				return err
			}
			spare -= max(0, len(b.t.groups)-before-1)
			if err := b.makeBundle(view, held, memo); err != nil {
				return err
			}
		}
		if view == Raw {
			b.t.nraw = len(b.t.groups)
		}
	}
	return nil
}

// held lists the rules of the table class that are held for.
func (b *builder) held(view View) (rules []int) {
	for i := range b.comp {
		if b.rep.Rules[i].Class == ClassTable && b.comp[i].View == view && b.t.rules[i].flags&flagHold != 0 {
			rules = append(rules, i)
		}
	}
	return rules
}

// makeGroup makes the automaton of rules that are not held for.
func (b *builder) makeGroup(rules []int, limit int) (*dfa, error) {
	a := &auto{}
	for local, i := range rules {
		n, err := b.ruleNFA(i, b.comp[i].parts.word)
		if err != nil {
			return nil, err
		}
		a.add(n, uint16(local), false)
	}
	f, _, err := b.determinise(a, detMode{limit: limit})
	return f, err
}

// openGroup is a group of rules that are not held for.
type openGroup struct {
	rules []int
	fwd   *dfa
}

// openGroups puts the rules that are not held for, all of the raw view, into as few groups as the largest first
// in the first with room gives.
func (b *builder) openGroups() (groups []openGroup, err error) {
	var items []openGroup
	for i := range b.comp {
		if b.rep.Rules[i].Class != ClassTable || b.t.rules[i].flags&flagHold != 0 {
			continue
		}
		f, err := b.makeGroup([]int{i}, b.opt.MaxRuleStates)
		if err != nil {
			if err == errSteps {
				return nil, err
			}
			return nil, b.tooLarge(b.comp[i], b.comp[i].parts.word, false, err.Error())
		}
		items = append(items, openGroup{[]int{i}, f})
	}
	slices.SortStableFunc(items, func(a, b openGroup) int { return cmp.Compare(b.fwd.n, a.fwd.n) })
next:
	for _, it := range items {
		for k, g := range groups {
			rules := append(slices.Clone(g.rules), it.rules...)
			f, err := b.makeGroup(rules, b.opt.MaxStates)
			if err == nil {
				groups[k] = openGroup{rules, f}
				continue next
			}
			if err != errStates {
				return nil, err
			}
		}
		groups = append(groups, it)
	}
	return groups, nil
}

func (b *builder) addOpen(o openGroup, memo map[string]uint32) {
	clear(o.fwd.dist)
	clear(o.fwd.attr)
	o.fwd.minimise(1, &b.steps)
	out := group{view: Raw}
	for _, i := range o.rules {
		out.rules = append(out.rules, uint16(i))
		b.t.rules[i].group = int16(len(b.t.groups))
		b.rep.Rules[i].Group = len(b.t.groups)
	}
	b.t.setForward(&out, o.fwd, memo)
	b.t.groups = append(b.t.groups, out)
}

// makeBundle joins rules in one anchored automaton, or in as many as it takes.
func (b *builder) makeBundle(view View, rules []int, memo map[string]uint32) error {
	a := &auto{}
	for local, i := range rules {
		n, err := b.ruleNFA(i, b.comp[i].exact)
		if err != nil {
			return err
		}
		a.add(n, uint16(local), true)
	}
	limit := b.opt.joint
	if len(rules) == 1 {
		limit = maxAnchStates
	}
	f, _, err := b.determinise(a, detMode{anchored: true, limit: limit})
	if err == errStates && len(rules) > 1 {
		if err := b.makeBundle(view, rules[:len(rules)/2], memo); err != nil {
			return err
		}
		return b.makeBundle(view, rules[len(rules)/2:], memo)
	}
	if err != nil {
		if err == errSteps {
			return err
		}
		return b.tooLarge(b.comp[rules[0]], b.comp[rules[0]].exact, false, err.Error())
	}
	for s, v := range f.dist {
		if v != distNone {
			f.dist[s] = 0
		}
	}
	f.minimise(3, &b.steps)
	u := &bundle{view: view, joint: united{cls: &f.cls, ncls: uint32(f.ncls)}}
	for _, i := range rules {
		u.rules = append(u.rules, uint16(i))
		b.t.rules[i].flags |= flagBundle
	}
	live := liveRules(f)
	var sorts []uint8
	for s := range f.n {
		sorts = append(sorts, u.sort(b.t, s, len(f.acc[s]) > 0, live[s]))
	}
	for s, old := range f.sortBy(sorts) {
		u.alive = append(u.alive, b.t.list(memo, live[old]))
		u.acc = append(u.acc, b.t.list(memo, f.acc[s]))
		v := min(f.dist[s], infoDist)
		if u.acc[s] != 0 {
			v |= infoAccept
		}
		u.joint.info = append(u.joint.info, v)
	}
	for _, s := range f.next {
		u.joint.next = append(u.joint.next, s*uint32(f.ncls))
	}
	for q, d := range u.joint.distances() {
		u.joint.info[q] = u.joint.info[q]&infoAccept | min(d, infoDist)
	}
	b.t.bundle = append(b.t.bundle, u)
	return nil
}

// byFrequency are bytes in the order of how often they are read in English text. Classes stand in it.
const byFrequency = " etaoinsrhldcumfpgwybvk,.\n-ETAOINSRHLDCUMFPGWYBVKxjqzXJQZ0123456789'\"()"

// The table of a group stands in columns: the entries of all states for the first rowEntries classes, then those for the
// next ones, and so on. What English text reads of a state are a few bytes mostly, and those of the states that it visits
// stand side by side. With whole rows they would be on more pages than a processor knows at once, and in fewer places of its
// cache.

// entries are those of a table.
type entries interface{ uint16 | uint32 }

// maxNarrow is how many states and ways a table with entries of two bytes has at most.
const maxNarrow = (1 << 16) / rowEntries

// column gives where the entry of class c stands in the first row of a table of so many states.
func column(c uint32, states int) uint32 {
	return c/rowEntries*rowEntries*uint32(states) + c%rowEntries
}

// columns are the entries of a table of so many states and classes.
func columns(states int, ncls uint32) int {
	return states * int((ncls+rowEntries-1)/rowEntries*rowEntries)
}

// number is the number of a state from its row.
func (g *group) number(row uint32) uint32 { return row / rowEntries }

// entry gives the entry for byte c in a row, with every comparison.
func (g *group) entry(row uint32, c byte) uint32 {
	return g.at(row + column(uint32(g.cls[c]), len(g.live)))
}

// at gives the i-th entry of the table.
func (g *group) at(i uint32) uint32 {
	if len(g.wide) > 0 {
		return g.wide[i]
	}
	return uint32(g.next[i])
}

// end gives the entry for the text's end in a row.
func (g *group) end(row uint32) uint32 { return g.at(row + column(g.ncls-1, len(g.live))) }

// order puts the classes in the order of byFrequency.
func (f *dfa) order() {
	place := make([]int, 0, f.ncls)
	seen := make([]bool, f.ncls)
	take := func(c uint8) {
		if !seen[c] {
			seen[c] = true
			place = append(place, int(c))
		}
	}
	for _, c := range []byte(byFrequency) {
		take(f.cls[c])
	}
	for _, c := range f.cls {
		take(c)
	}
	wide := len(place) + 1
	next := make([]uint32, f.n*wide)
	var tell []uint32
	if f.tell != nil {
		tell = make([]uint32, f.n*wide)
	}
	move := func(to, from int) {
		if next[to] = f.next[from]; tell != nil {
			tell[to] = f.tell[from]
		}
	}
	for s := range f.n {
		for i, c := range place {
			move(s*wide+i, s*f.ncls+c)
		}
		move(s*wide+wide-1, s*f.ncls+f.ncls-1)
	}
	var to [256]uint8
	for i, c := range place {
		to[c] = uint8(i)
	}
	for b, c := range f.cls {
		f.cls[b] = to[c]
	}
	f.next, f.tell, f.ncls = next, tell, wide
}

func (t *Tables) setForward(g *group, f *dfa, memo map[string]uint32) {
	f.order()
	g.cls, g.ncls = f.cls, uint32(f.ncls)
	for s := range f.n {
		if g.filter == noFilter && !g.literal {
			g.acc = append(g.acc, t.list(memo, f.acc[s]))
		}
		live := uint8(min(f.attr[s]&^attrEnd, 255))
		if f.attr[s]&attrEnd != 0 {
			live |= liveEnd
		}
		g.live = append(g.live, live)
	}
	g.wide = make([]uint32, columns(f.n, g.ncls))
	ways := map[way]uint32{}
	for i, s := range f.next {
		v := s * rowEntries
		switch {
		case f.tell == nil && len(f.acc[s]) > 0:
			v |= accept
		case f.tell == nil || f.tell[i] == 0:
		case g.literal:
			w := way{v, t.list(memo, f.list[f.tell[i]])}
			if _, ok := ways[w]; !ok {
				ways[w] = uint32(len(g.ways))
				g.ways = append(g.ways, w)
			}
			v = accept | ways[w]*rowEntries
		default:
			for _, what := range f.list[f.tell[i]] {
				v |= accept | uint32(what)<<tellShift
			}
		}
		g.wide[uint32(i)/g.ncls*rowEntries+column(uint32(i)%g.ncls, f.n)] = v
	}
}

// isWide tells whether the entries of its tables are four bytes wide.
func (t *Tables) isWide() bool { return len(t.wide[0]) > 0 }

// narrow makes the entries of all tables two bytes wide, if that has room for their states and ways.
func (t *Tables) narrow() {
	for i := range t.groups {
		if g := &t.groups[i]; len(g.live) > maxNarrow || len(g.ways) > maxNarrow {
			return
		}
	}
	for i := range t.groups {
		g := &t.groups[i]
		g.next = make([]uint16, len(g.wide))
		for k, v := range g.wide {
			g.next[k] = uint16(v)
		}
		g.wide = nil
	}
}

func (t *Tables) setReverse(g *group, f *dfa) {
	f.order()
	g.rcls, g.rncls = f.cls, uint32(f.ncls)
	for _, s := range f.next {
		v := s * g.rncls
		if len(f.acc[s]) > 0 {
			v |= begins
		}
		g.rnext = append(g.rnext, v)
	}
}

// finish fills what follows from the rest.
func (t *Tables) finish() {
	same := map[afterSets]*afterSets{}
	for i := range t.lits {
		if l := &t.lits[i]; l.after != nil {
			if same[*l.after] == nil {
				same[*l.after] = l.after
			}
			l.after = same[*l.after]
		}
	}
	classes := map[[256]uint8]*[256]uint8{}
	for i := range t.anch {
		a := &t.anch[i]
		if classes[*a.cls] == nil {
			classes[*a.cls] = a.cls
		}
		a.cls = classes[*a.cls]
	}
	for i := range t.rules {
		t.rules[i].check = validators[t.rules[i].validator.Name]
		t.rules[i].tallied = t.rules[i].validator.Name == Entropy
		t.self = t.self || t.rules[i].flags&flagSelf != 0
	}
	for k := range t.groups {
		g := &t.groups[k]
		t.next[k], t.wide[k] = g.next, g.wide
		t.last[k] = uint32(len(g.live)-1) * rowEntries
		for b := range g.cls {
			t.column[k][b] = column(uint32(g.cls[b]), len(g.live))
		}
		g.findStops()
		g.near = MaxCap
		for i := range t.lits {
			switch r := &t.rules[t.lits[i].rule]; {
			case !g.literal || r.view != g.view || r.flags&(flagHold|flagBehind) != flagHold:
			case t.lits[i].trigger:
				g.near = min(g.near, r.near)
			case r.view == Normalised:
				g.near = min(g.near, r.cap-int32(len(r.phrase)))
			}
		}
	}
	for i := range t.lits {
		if l := &t.lits[i]; l.head {
			l.rest = t.rules[l.rule].phrase
			for range l.syms {
				_, n := utf8.DecodeRuneInString(l.rest)
				l.rest = l.rest[n:]
			}
		}
	}
	t.marks = true
	clear(classes)
	for i := range t.anch {
		a := &t.anch[i]
		a.heads()
		if a.setPath(); a.over != nil {
			if classes[*a.over] == nil {
				classes[*a.over] = a.over
			}
			a.over = classes[*a.over]
		}
	}
	seen := [2]bool{}
	for _, u := range t.bundle {
		u.finish(t)
		t.marks = t.marks && !seen[u.view]
		if t.sole[u.view] = u; seen[u.view] {
			t.sole[u.view] = nil
		}
		seen[u.view] = true
	}
	for i := range t.fuzzy {
		t.fuzzy[i].finish(t.rules)
	}
	t.glider()
}

func (t *Tables) bytes() int {
	n := 2*len(t.lists) + 4*len(t.column[0])*len(t.groups) + len(t.lits)*int(unsafe.Sizeof(lit{}))
	seen := map[*afterSets]bool{}
	for i := range t.lits {
		l := &t.lits[i]
		if n += len(l.rest); l.after != nil && !seen[l.after] {
			seen[l.after] = true
			n += int(unsafe.Sizeof(*l.after))
		}
	}
	for i := range t.groups {
		g := &t.groups[i]
		n += 2*len(g.next) + 4*(len(g.wide)+len(g.acc)+2*len(g.ways)+len(g.rnext)) + len(g.live) + int(unsafe.Sizeof(*g))
	}
	classes := map[*[256]uint8]bool{}
	for i := range t.anch {
		a := &t.anch[i]
		n += 2*(len(a.next)+len(a.info)) + len(a.pos) + 2*len(a.path) + int(unsafe.Sizeof(*a))
		for _, c := range []*[256]uint8{a.cls, a.over} {
			if c != nil && !classes[c] {
				classes[c] = true
				n += len(c)
			}
		}
	}
	for _, u := range t.bundle {
		n += 2*(len(u.joint.info)+len(u.rules)+len(u.near)+len(u.only)) + 4*(len(u.joint.next)+len(u.first)+len(u.acc)+len(u.alive)+len(u.own)) + int(unsafe.Sizeof(*u)) + len(u.joint.cls)
	}
	for i := range t.fuzzy {
		n += t.fuzzy[i].bytes()
	}
	return n
}

// memory is what the tables take in memory, the names and texts of their rules too.
func (t *Tables) memory() int {
	n := t.bytes() + int(unsafe.Sizeof(*t)) + int(unsafe.Sizeof(rule{}))*len(t.rules)
	for i := range t.rules {
		r := &t.rules[i]
		n += len(r.id) + len(r.phrase) + int(unsafe.Sizeof(""))*len(r.allow)
		for _, a := range r.allow {
			n += len(a)
		}
	}
	for i := range t.fuzzy {
		n += t.fuzzy[i].memory() - t.fuzzy[i].bytes()
	}
	return n
}

// NumRules is the number of rules. Allocates: never.
func (t *Tables) NumRules() int { return len(t.rules) }

// Rule describes the i-th rule. Allocates: never.
func (t *Tables) Rule(i int) RuleInfo {
	r := &t.rules[i]
	return RuleInfo{ID: r.id, Policy: r.policy, Span: r.flags&flagHold != 0, Cap: int(r.cap), View: r.view}
}

// Negation gives the policy of rule i and what it has to do with negations. Allocates: never.
func (t *Tables) Negation(i uint32) (policy uint8, n Negation) {
	r := &t.rules[i]
	return r.policy, r.negation
}
