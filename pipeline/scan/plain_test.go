package scan

import (
	"cmp"
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plainTables are the oracle: one NFA per rule that is run from every start over the held text.
type plainTables struct {
	rules []plainRule
	spec  []Rule
}

// MaxBehind is how much text the oracle keeps for look-behinds.
const MaxBehind = 256

type plainRule struct {
	*compiled
	word  *nfa
	left  *nfa // reversed
	first [256]bool
	dist  [][byteKinds]int
	short []rightAlt // if the look-behind is of one byte: its conditions
	allow map[string]bool
}

// plainChan is what a channel carries between the calls of Feed. The zero plainChan has every policy masked; Reset
// starts a channel.
type plainChan struct {
	mask uint64
	p    *plainState
}

// Reset starts a channel in which the matches of the policies in mask count. Allocates: never.
func (s *plainChan) Reset(mask uint64) {
	s.mask = mask
	if s.p != nil {
		s.p.reset()
	}
}

type plainView struct {
	b   []byte
	at  []int64 // first raw byte of the rune that this byte belongs to
	to  []int64 // the raw byte after it
	off int64   // index of b[0] among the bytes of the view
}

type plainThread struct {
	pc    uint32
	start int64
}

type plainState struct {
	t       *plainTables
	raw     plainView
	norm    plainView
	carry   [4]byte
	ncarry  int
	ascii   bool
	fed     int64
	ended   bool
	next    []int64 // per rule: first start not yet ruled out, in its view
	threads [][]plainThread
	wasEnd  []bool
	pending []Match
	mark    []uint32
	gen     uint32
	l1, l2  []uint32
	t2      []plainThread
}

func (p *plainState) reset() {
	p.raw.clear()
	p.norm.clear()
	p.ncarry, p.ascii, p.fed, p.ended = 0, false, 0, false
	clear(p.next)
	clear(p.wasEnd)
	for i := range p.threads {
		p.threads[i] = p.threads[i][:0]
	}
	p.pending = p.pending[:0]
}

func (v *plainView) clear() {
	v.b, v.at, v.to, v.off = v.b[:0], v.at[:0], v.to[:0], 0
}

func (v *plainView) len() int64 { return v.off + int64(len(v.b)) }
func (v *plainView) byteAt(i int64) int {
	if i < v.off || i >= v.len() {
		return -1
	}
	return int(v.b[i-v.off])
}

func (v *plainView) add(b byte, at, to int64) {
	v.b, v.at, v.to = append(v.b, b), append(v.at, at), append(v.to, to)
}

func (v *plainView) trim(keep int64) {
	if d := keep - v.off; d > 4096 {
		v.b, v.at, v.to = v.b[:copy(v.b, v.b[d:])], v.at[:copy(v.at, v.at[d:])], v.to[:copy(v.to, v.to[d:])]
		v.off = keep
	}
}

// plainBuild compiles rules. An error is a *RuleError, or joins several.
func plainBuild(rules []Rule, opt Options) (*plainTables, error) {
	t := &plainTables{spec: rules}
	var errs []error
	seen := map[string]bool{}
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("build tables: %d rules; at most %d", len(rules), MaxRules)
	}
	for _, r := range rules {
		if seen[r.ID] {
			errs = append(errs, r.fail("", "has the ID of an earlier rule", ""))
		}
		seen[r.ID] = true
		c, err := compileRule(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		limit := opt.MaxRuleStates
		if limit == 0 {
			limit = 20000
		}
		pr := plainRule{compiled: c}
		word, why := compileNFA(c.parts.word, c.parts.right, false, limit)
		if why == "" && c.parts.left != nil {
			pr.left, why = compileNFA(c.parts.left, []rightAlt{{look: anyLook}}, true, limit)
		}
		if why != "" {
			errs = append(errs, r.fail(c.parts.word.String(), why, "lower the bounds of its repeats"))
			continue
		}
		pr.word = word
		pr.dist = word.distances()
		if alts, ok := c.leftAlts(); ok {
			pr.short = alts
		}
		for _, pc := range word.closure(nil, word.start, ^syntax.EmptyOp(0), make([]uint32, len(word.inst)), 1) {
			if in := word.inst[pc]; in.op == opByte {
				for b := int(in.lo); b <= int(in.hi); b++ {
					pr.first[b] = true
				}
			}
		}
		if len(c.Allow) > 0 {
			pr.allow = map[string]bool{}
			for _, a := range c.Allow {
				if c.Fold {
					a = strings.ToLower(a)
				}
				pr.allow[a] = true
			}
		}
		t.rules = append(t.rules, pr)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

// A byte is a word character, a line end or another; -1, the text's border, is a kind of its own.
const byteKinds = 4

func byteKind(c int) int {
	switch {
	case c < 0:
		return 3
	case isWord(c):
		return 0
	case c == '\n':
		return 1
	}
	return 2
}

// distances gives, by instruction and kind of the byte in front, how many bytes are missing to a match at least.
func (n *nfa) distances() [][byteKinds]int {
	const far = 1 << 30
	rep := [byteKinds]int{'a', '\n', '-', -1}
	d := make([][byteKinds][byteKinds]int, len(n.inst)) // by the kind of the byte that follows too
	least := make([][byteKinds]int, len(n.inst))
	for i := range d {
		for k := range byteKinds {
			least[i][k] = far
			for m := range byteKinds {
				d[i][k][m] = far
			}
		}
	}
	reads := make([][byteKinds]bool, len(n.inst)) // a byte of that kind may be read
	for i, in := range n.inst {
		for b := range 256 {
			if in.op == opByte && byte(b) >= in.lo && byte(b) <= in.hi || in.op == opMatch && n.looks[in.arg].has(byte(b)) {
				reads[i][byteKind(b)] = true
			}
		}
		reads[i][byteKind(-1)] = in.op == opMatch && n.looks[in.arg].eof
	}
	for again := true; again; {
		again = false
		for i, in := range n.inst {
			for k := range byteKinds {
				for m := range byteKinds {
					v := far
					switch in.op {
					case opMatch:
						if reads[i][m] {
							v = 0
						}
					case opByte:
						if reads[i][m] && m != byteKind(-1) {
							v = least[in.out][m] + 1
						}
					case opSplit:
						v = min(d[in.out][k][m], d[in.arg][k][m])
					case opEmpty:
						if ops := emptyOps(rep[k], rep[m]); ops&syntax.EmptyOp(in.arg) == syntax.EmptyOp(in.arg) {
							v = d[in.out][k][m]
						}
					}
					if v < d[i][k][m] {
						d[i][k][m], again = v, true
						least[i][k] = min(least[i][k], v)
					}
				}
			}
		}
	}
	return least
}

func (t *plainTables) newState() *plainState {
	p := &plainState{t: t, next: make([]int64, len(t.rules)), threads: make([][]plainThread, len(t.rules)), wasEnd: make([]bool, len(t.rules))}
	n := 0
	for _, r := range t.rules {
		n = max(n, len(r.word.inst))
		if r.left != nil {
			n = max(n, len(r.left.inst))
		}
	}
	p.mark = make([]uint32, n)
	return p
}

// Feed is the plain form of Tables.Feed.
func (t *plainTables) Feed(s *plainChan, win []byte, n int, end bool, out *Matches) (fed, keep int) {
	if s.p == nil || s.p.t != t {
		s.p = t.newState()
	}
	p := s.p
	base := p.fed - int64(n)
	p.take(win[n:], end)
	hold := p.scan(end)
	sure := p.fed // matches that end at or before it are final
	if !end {
		sure--
	}
	sure = min(sure, hold)
	slices.SortFunc(p.pending, func(a, b Match) int {
		return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rule, b.Rule))
	})
	i := 0
	for ; i < len(p.pending) && p.pending[i].End <= sure; i++ {
		m := p.pending[i]
		if s.mask>>t.rules[m.Rule].Policy&1 == 0 {
			continue
		}
		if out.Full() {
			break
		}
		out.add(m)
	}
	p.pending = p.pending[:copy(p.pending, p.pending[i:])]
	for _, m := range p.pending {
		if t.rules[m.Rule].hold() {
			hold = min(hold, m.Start)
		}
	}
	return len(win) - n, int(min(max(hold-base, 0), int64(len(win))))
}

// take appends new raw bytes to the views.
func (p *plainState) take(b []byte, end bool) {
	var buf [4]byte
	for _, c := range b {
		p.raw.add(c, p.fed, p.fed+1)
		p.fed++
		p.carry[p.ncarry] = c
		p.ncarry++
		for p.ncarry > 0 && utf8.FullRune(p.carry[:p.ncarry]) {
			p.normOne(&buf)
		}
	}
	for end && p.ncarry > 0 {
		p.normOne(&buf)
	}
}

func (p *plainState) normOne(buf *[4]byte) {
	at := p.fed - int64(p.ncarry)
	r, size := utf8.DecodeRune(p.carry[:p.ncarry])
	k := 1
	if r == utf8.RuneError && size == 1 {
		buf[0], p.ascii = p.carry[0], false
	} else {
		k, p.ascii = normRune(foldPages(), r, p.ascii, buf)
	}
	for j := range k {
		p.norm.add(buf[j], at, at+int64(size))
	}
	p.ncarry = copy(p.carry[:], p.carry[size:p.ncarry])
}

// scan looks for what can be decided now, adds it to pending and gives the hold-back as a raw offset.
func (p *plainState) scan(end bool) int64 {
	hold, norms := p.fed, false
	lowRaw, lowNorm := p.raw.len(), p.norm.len()
	for i := range p.t.rules {
		r := &p.t.rules[i]
		v, low := &p.raw, &lowRaw
		if r.View == Normalised {
			v, low, norms = &p.norm, &lowNorm, true
		}
		if !r.hold() {
			p.ends(i, v, end)
			continue
		}
		s := p.next[i]
		for s < v.len() {
			if r.Distance > 0 {
				if !r.tokenStart(v, s) {
					s++
					continue
				}
			} else if !r.first[v.b[s-v.off]] || !p.behind(r, v, s) {
				s++
				continue
			}
			var to int64
			var live bool
			if r.Distance > 0 {
				to, live = p.near(r, v, s, end)
			} else {
				to, live = p.longest(r, v, s, end)
			}
			if live {
				hold = min(hold, v.at[s-v.off])
				break
			}
			if to > 0 {
				p.pending = append(p.pending, Match{Start: v.at[s-v.off], End: v.to[to-1-v.off], Rule: uint32(i)})
				s = to
				continue
			}
			s++
		}
		p.next[i] = s
		*low = min(*low, s)
	}
	if norms && !end {
		hold = min(hold, p.fed-int64(p.ncarry))
	}
	p.raw.trim(lowRaw - MaxBehind - 1)
	p.norm.trim(lowNorm - MaxBehind - 1)
	return hold
}

// next byte after position i: -1 is the end of the text, -2 not known yet.
func (v *plainView) after(i int64, end bool) int {
	if i < v.len() {
		return int(v.b[i-v.off])
	}
	if end {
		return -1
	}
	return -2
}

// behind tells whether the left context of r holds at s.
func (p *plainState) behind(r *plainRule, v *plainView, s int64) bool {
	if r.left == nil {
		return true
	}
	if b := v.b[max(0, s-v.off-4) : s-v.off]; len(b) > 0 && r.short != nil {
		if c, size := utf8.DecodeLastRune(b); c == utf8.RuneError && size == 1 {
			// A pattern knows valid UTF-8 only. One byte in front counts as a character beyond ASCII.
			last := int(b[len(b)-1])
			ops := emptyOps(last, v.byteAt(s))
			return slices.ContainsFunc(r.short, func(a rightAlt) bool {
				for _, op := range a.empty {
					if ops&op != op {
						return false
					}
				}
				return a.look.has(byte(last))
			})
		}
	}
	list := p.l1[:0]
	p.gen++
	list = r.left.closure(list, r.left.start, emptyOps(v.byteAt(s-1), v.byteAt(s)), p.mark, p.gen)
	for i := s - 1; ; i-- {
		for _, pc := range list {
			if r.left.inst[pc].op == opMatch {
				p.l1 = list
				return true
			}
		}
		c := v.byteAt(i)
		if c < 0 || len(list) == 0 {
			p.l1 = list
			return false
		}
		next := p.l2[:0]
		p.gen++
		for _, pc := range list {
			if in := &r.left.inst[pc]; in.op == opByte && byte(c) >= in.lo && byte(c) <= in.hi {
				next = r.left.closure(next, in.out, emptyOps(v.byteAt(i-1), c), p.mark, p.gen)
			}
		}
		p.l1, p.l2 = next, list
		list = next
	}
}

// longest runs the word of r from s. to is the end of its longest word so far, 0 if none; live says that a
// longer one may still come.
func (p *plainState) longest(r *plainRule, v *plainView, s int64, end bool) (to int64, live bool) {
	list := p.l1[:0]
	p.gen++
	ops := emptyOps(v.byteAt(s-1), v.byteAt(s))
	list = r.word.closure(list, r.word.start, ops, p.mark, p.gen)
	for i := s; ; i++ {
		// list holds what is reached before byte i, with the conditions between i-1 and i applied.
		nextByte := v.after(i, end)
		if nextByte == -2 {
			// Undecided: what the conditions would be is open.
			for _, pc := range list {
				need := int64(r.dist[pc][byteKind(v.byteAt(i-1))])
				if i-s+need <= int64(r.cap) {
					live = true
				}
			}
			p.l1 = list
			return to, live
		}
		next := p.l2[:0]
		p.gen++
		for _, pc := range list {
			in := &r.word.inst[pc]
			if in.op == opMatch {
				l := &r.word.looks[in.arg]
				if (nextByte < 0 && l.eof || nextByte >= 0 && l.has(byte(nextByte))) && i > s &&
					i-s <= int64(r.cap) && r.accept(v.b[s-v.off:i-v.off]) {
					to = i
				}
				continue
			}
			if nextByte >= 0 && byte(nextByte) >= in.lo && byte(nextByte) <= in.hi {
				after := v.after(i+1, end)
				if after == -2 {
					next = append(next, in.out)
				} else {
					next = r.word.closure(next, in.out, emptyOps(nextByte, after), p.mark, p.gen)
				}
			}
		}
		p.l1, p.l2 = next, list
		if nextByte < 0 || len(next) == 0 || i+1-s > int64(r.cap) {
			return to, false
		}
		list = next
	}
}

func (r *plainRule) accept(w []byte) bool {
	if r.Validator.Name != "" && !r.Validator.ok(w) {
		return false
	}
	for a := range r.allow {
		same := r.Fold
		rest := []rune(string(w))
		for i, c := range []rune(a) {
			same = same && i < len(rest) && r.standsFor(c, rest[i])
		}
		if string(w) == a || same && len(rest) == utf8.RuneCountInString(a) {
			return false
		}
	}
	return true
}

// ends reports the first of each run of ends of a rule that is not held for.
func (p *plainState) ends(i int, v *plainView, end bool) {
	r := &p.t.rules[i]
	for ; p.next[i] <= v.len(); p.next[i]++ {
		pos := p.next[i]
		nb := v.after(pos, end)
		if nb == -2 {
			return
		}
		if nb < 0 && p.ended {
			return
		}
		// Threads carry instructions whose conditions are still to be applied at pos.
		ts := p.threads[i]
		list := p.l1[:0]
		starts := p.t2[:0]
		ops := emptyOps(v.byteAt(pos-1), nb)
		p.gen++
		if nb >= 0 && r.first[byte(nb)] && p.behind2(r, v, pos) {
			list = r.word.closure(list, r.word.start, ops, p.mark, p.gen)
			for len(starts) < len(list) {
				starts = append(starts, plainThread{start: pos})
			}
		}
		for _, th := range ts {
			list = r.word.closure(list, th.pc, ops, p.mark, p.gen)
			for len(starts) < len(list) {
				starts = append(starts, plainThread{start: th.start})
			}
		}
		ts = ts[:0]
		hit := false
		for k, pc := range list {
			in := &r.word.inst[pc]
			if in.op == opMatch {
				l := &r.word.looks[in.arg]
				if (nb < 0 && l.eof || nb >= 0 && l.has(byte(nb))) && starts[k].start < pos {
					hit = true
				}
				continue
			}
			if nb >= 0 && byte(nb) >= in.lo && byte(nb) <= in.hi {
				ts = append(ts, plainThread{pc: in.out, start: starts[k].start})
			}
		}
		// The latest start first: of two threads in one place it lives longer under the cap.
		slices.SortStableFunc(ts, func(a, b plainThread) int { return cmp.Compare(b.start, a.start) })
		p.threads[i], p.l1, p.t2 = ts, list, starts
		if hit && !p.wasEnd[i] {
			p.pending = append(p.pending, Match{Start: max(0, pos-int64(r.cap)), End: pos, Rule: uint32(i)})
		}
		p.wasEnd[i] = hit
		if nb < 0 {
			p.ended = p.ended || false
			p.next[i]++
			return
		}
	}
}

func (p *plainState) behind2(r *plainRule, v *plainView, s int64) bool {
	if r.left == nil {
		return true
	}
	l1 := p.l1
	p.l1 = nil
	gen := p.gen
	ok := p.behind(r, v, s)
	p.l1 = l1
	p.gen++
	_ = gen
	return ok
}

// tokenStart tells whether a word of the text begins at s.
func (r *plainRule) tokenStart(v *plainView, s int64) bool {
	return tokenByte(v.byteAt(s)) && (s == 0 || !tokenByte(v.byteAt(s-1)))
}

// near compares the words of the text from s on with the words of a fuzzy term, one full edit matrix each. to is
// the end of the match, 0 without one; live says that it may still become one.
func (p *plainState) near(r *plainRule, v *plainView, s int64, end bool) (to int64, live bool) {
	room := int64(r.cap) - (v.len() - s) // bytes that may still follow
	words := strings.FieldsFunc(strings.Join(r.phrase, " "), func(c rune) bool { return !tokenByte(int(c)) })
	i := s
	for k, word := range words {
		if k > 0 {
			gap := i
			for i < v.len() && !tokenByte(v.byteAt(i)) {
				i++
			}
			if i-gap > fuzzyGap {
				return 0, false
			}
			if i == v.len() {
				return 0, !end && room > 0
			}
		}
		w := []rune(word)
		reach := min(r.Distance, len(w)-1)
		if r.Half {
			reach = min(r.Distance, (len(w)-1)/2)
		}
		// The last row of the matrix is the distance of the text's word to each beginning of w.
		row := make([]int, len(w)+1)
		for j := range row {
			row[j] = j
		}
		for i < v.len() && tokenByte(v.byteAt(i)) {
			b := v.b[i-v.off:]
			c, size := utf8.DecodeRune(b)
			if c == utf8.RuneError && !end && !utf8.FullRune(b) {
				i = v.len()
				break
			}
			i += int64(size)
			next := []int{row[0] + 1}
			for j, q := range w {
				d := row[j]
				if !r.standsFor(q, c) {
					d++
				}
				next = append(next, min(d, row[j+1]+1, next[j]+1))
			}
			row = next
		}
		if i == v.len() && !end {
			return 0, slices.Min(row) <= reach && room >= 0
		}
		if row[len(w)] > reach {
			return 0, false
		}
	}
	if i-s > int64(r.cap) || !r.accept(v.b[s-v.off:i-v.off]) {
		return 0, false
	}
	return i, false
}

// standsFor tells whether a letter of the term stands for a rune of the view: without regard to case, for what the
// view has for each letter that differs from it by case only.
func (r *plainRule) standsFor(letter, c rune) bool {
	if letter == c || !r.Fold {
		return letter == c
	}
	for f := unicode.SimpleFold(letter); ; f = unicode.SimpleFold(f) {
		seen := string(f)
		if r.View == Normalised {
			seen = normaliseString(seen)
		}
		if seen == string(c) || r.View == Raw && strings.EqualFold(seen, string(c)) || c < utf8.RuneSelf && strings.EqualFold(seen, string(c)) {
			return true
		}
		if f == letter {
			return false
		}
	}
}
