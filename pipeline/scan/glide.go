package scan

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// lead is what the shortest way came upon: a run that is alive at the end of the piece, or a word.
type lead struct {
	x     int32  // where it begins
	rule  uint16 // a triggered one, or
	state uint16 // of the run, or of that of its look-behind
	group int8   // that told of it, -1 = there is no lead
}

// Values of lead.rule that are not rules.
const (
	leadStart = 0xFFFF // the joint automaton
	leadWord  = 0xFFFE // a word ended which takes more than the quick path
	leadNone  = 0xFFFD
)

var noLead = lead{rule: leadNone, group: -1}

// glide is what the shortest way of a piece needs to know of the tables.
type glide struct {
	ok    bool
	n     int // parts
	parts [2]part
	lits  few  // literal groups
	pair  bool // there are two groups, with entries of two bytes,
	two   two  // and this is known of them
}

// two is what the way of most pieces needs to know of two groups, one of literals and one of a filter that has stops. It stands
// together, because most pieces read nothing else.
type two struct {
	ok, norms       bool
	view            uint8 // of the filter
	reach           int   // for how many symbols of a literal a piece may be held, at most eight
	literal, filter lively
	stop            *[256]uint8 // of the filter
}

// lively is what a group knows of what is under way in its states.
type lively []uint8

// of is group.live for a row.
func (l lively) of(row uint32) int { return int(l[row/rowEntries]) }

// findTwo gives what is known of the two groups, if they are such.
func (t *Tables) findTwo() (p two) {
	if !t.glide.pair || t.glide.n != 1 {
		return p
	}
	l, f := &t.groups[0], &t.groups[1]
	if !l.literal || f.filter == noFilter || !f.stops {
		return p
	}
	reach := int(max(0, min(8, l.near)))
	return two{true, t.norms, uint8(f.view), reach, l.live, f.live, &f.stop}
}

// part is the joint automaton of a view, with the filters that tell where it begins.
type part struct {
	u       *bundle
	filters few
}

// few are some groups.
type few struct {
	n    int
	list [maxGroups]struct {
		*group
		at uint8 // its number
	}
}

func (f *few) add(t *Tables, g int) {
	f.list[f.n].group, f.list[f.n].at = &t.groups[g], uint8(g)
	f.n++
}

// glider tells whether pieces can go the shortest way: each view has at most one joint automaton, and beside their filters
// there are literals only.
func (t *Tables) glider() {
	t.glide = glide{}
	if !t.marks || len(t.fuzzy) > 0 || len(t.bundle) == 0 {
		return
	}
	for k, u := range t.bundle {
		t.glide.parts[k].u = u
	}
	t.glide.n = len(t.bundle)
	for g := range t.groups {
		grp := &t.groups[g]
		k := slices.Index(t.bundle, t.sole[grp.view])
		switch {
		case grp.literal:
			t.glide.lits.add(t, g)
		case grp.filter != noFilter && k >= 0:
			t.glide.parts[k].filters.add(t, g)
		default:
			return
		}
	}
	t.glide.ok, t.glide.pair = true, len(t.groups) == 2 && !t.isWide()
	t.glide.two = t.findTwo()
}

// under gives from where on the filters of p may have a start under way at the end of b, and the first one that is live for
// sure; best, if there is none in front of it. Starts in front of bound do not count.
func (p *part) under(st *[maxGroups]uint32, b []byte, before, bound, best int) (lo, sure int) {
	lo, sure = best, best
	far := max(bound, len(b)-p.u.far)
	for i := range p.filters.list[:p.filters.n] {
		grp := &p.filters.list[i]
		d := int(grp.live[grp.number(st[grp.at])])
		if d&liveEnd != 0 && !grp.stops {
			lo = min(lo, grp.firstBegun(b, before, far))
			d &^= liveEnd | liveSure
		}
		if d == 0 {
			continue
		}
		if x, ok := grp.sure(b, d, bound); !ok {
			lo = min(lo, grp.earliest(b, d, far))
		} else {
			sure = min(sure, x)
		}
	}
	return lo, sure
}

// firstBegun is the first of the starts that begun would note, the end of b if there is none.
func (g *group) firstBegun(b []byte, before, lo int) (x int) {
	x = len(b)
	r := g.rncls
	for p := len(b) - 1; p >= lo && r != 0; p-- {
		v := g.rnext[r+uint32(g.rcls[b[p]])]
		if r = v &^ begins; v != r {
			x = p + 1
		}
	}
	if r != 0 {
		if lo > 0 {
			before = int(b[lo-1])
		}
		if _, mark := g.back(r, before); mark {
			x = lo
		}
	}
	return x
}

// open gives the first start from x on and in front of best that is live at the end of b, else best and its state. ok is false
// if that takes a closer look.
func (u *bundle) open(b []byte, before, x, best int, state uint16) (at int, q uint16, ok bool) {
	for ; x < best; x++ {
		row := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
		if row == 0 {
			continue
		}
		if best-x > 3 && len(b)-x <= maxPath {
			if x, q = u.search(b, x, best, before); x == best {
				break
			}
		} else {
			q = u.alone(row, b[x+1:])
		}
		if q != anchorDead {
			return x, q, len(b)-x <= int(u.near[q])
		}
	}
	return best, state, true
}

// literals gives from where on b is held for literals that are under way at its end. ok is false if that takes a closer look.
func (t *Tables) literals(st *[maxGroups]uint32, b []byte) (free int, ok bool) {
	now := len(b)
	free = now
	for i := range t.glide.lits.list[:t.glide.lits.n] {
		grp := &t.glide.lits.list[i]
		if d := int(grp.live[grp.number(st[grp.at])]); d > 0 {
			if d > now || d > int(grp.near) || !plainFrom(b, now-d, now) {
				return 0, false
			}
			free = min(free, now-d)
		}
	}
	return free, true
}

// stopped tells whether glides came upon something and left it to be handled.
func (t *Tables) stopped(s *State) bool {
	told := uint32(0)
	for _, v := range s.st[:len(t.groups)] {
		told |= v
	}
	return told&accept != 0
}

// glides scans b, of which b[:n] was fed before, if what is told in it leads to nothing and no thread is under way.
// With ok false it has stepped the tables up to index at, and what they told there is yet to be handled: to says what it leads to.
func (t *Tables) glides(s *State, b []byte, n, from int, to *lead) (free, at int, ok bool) {
	before := t.before(s)
	if before == unknownByte {
		return 0, from, false
	}
	if t.glide.pair { // by far the most frequent case
		s0, s1, told := s.st[0], s.st[1], false
		for at = from; ; told = true {
			if (s0|s1)&accept == 0 {
				if s0, s1, at = t.stepTwo(s0, s1, b, at); (s0|s1)&accept == 0 {
					break
				}
			}
			if s0&accept != 0 && !t.nothing(b, before, at, 0, s0, to) || s1&accept != 0 && !t.nothing(b, before, at, 1, s1, to) {
				s.st[0], s.st[1] = s0, s1
				return 0, at, false
			}
			s0, s1 = t.groups[0].land(s0), t.groups[1].land(s1)
		}
		if told && t.glide.two.ok {
			if free, _, _, _, ok = t.briefTwo(s, b, n, at, s0, s1); ok {
				return free, at, true
			}
		}
		s.st[0], s.st[1] = s0, s1
	} else {
		st := s.st[:len(t.groups)]
		for at = from; at < len(b); {
			k, hit := t.step(0, len(t.groups), st, b[at:])
			if at += k; !hit {
				break
			}
			for g := range st {
				if st[g]&accept != 0 && !t.nothing(b, before, at, g, st[g], to) {
					return 0, at, false
				}
			}
			for g := range st {
				st[g] = t.groups[g].land(st[g])
			}
		}
	}
	now := len(b)
	at = now
	if t.norms && !isASCII(b) {
		return 0, at, false
	}
	if free, ok = t.literals(&s.st, b); !ok {
		return 0, at, false
	}
	last := s.live
	for k := range t.glide.n {
		p := &t.glide.parts[k]
		u := p.u
		bound, m := 0, last[u.view]
		if int(m.back) <= n {
			bound = n - int(m.back)
		}
		best, state := now, uint16(anchorDead)
		// In a long piece the word most likely ends: looking for others is cheaper.
		if bound > 0 || int(m.back) == n {
			if q := m.q; q != anchorDead && (now-n <= 8 || n > 32) {
				if now-bound > int(u.near[q]) { // the rules that are alive only become fewer
					s.live = last
					return 0, at, false
				}
				if q = u.alone(u.joint.row(q), b[n:]); q != anchorDead {
					if now-bound > int(u.near[q]) {
						s.live = last
						return 0, at, false
					}
					best, state = bound, q
				}
			}
		}
		if state == anchorDead {
			lo, sure := p.under(&s.st, b, before, bound, best)
			if best = sure; free <= lo { // what a literal is held for needs no second reason
				best = min(best, lo)
			}
			if lo < best {
				if best, state, ok = u.open(b, before, lo, best, state); !ok {
					s.live = last
					return 0, at, false
				}
			}
		}
		free = min(free, best)
		s.live[u.view].back, s.live[u.view].q = uint16(now-best), state // half by half: the next call reads halves
		if t.glide.n == 1 {
			s.live[1-u.view].back = noMark.back
		}
	}
	s.at += int64(now - n)
	s.held = uint16(now - free)
	if free > 0 {
		t.moveTails(s, b[:free])
	}
	return free, at, true
}

// briefTwo scans b, of which b[:n] was fed before and two groups were stepped to r0 and r1 at index i, if nothing more is told in
// it and its end is as most are: at most eight symbols of a literal are under way, and of what the filter tells of nothing, or
// a word of a few letters that is live for sure. It reads the last eight bytes as one number, and looks at what is under way
// without a jump: nobody can foresee where a text is cut. With ok false it has done nothing, and the groups come to s0 and s1
// at index at.
func (t *Tables) briefTwo(s *State, b []byte, n, i int, r0, r1 uint32) (free, at int, s0, s1 uint32, ok bool) {
	p := &t.glide.two
	s0, s1, at = t.stepTwo(r0, r1, b, i)
	now, view := len(b), p.view&1
	m := s.live[view]
	if (s0|s1)&accept != 0 || m.q != anchorDead && (now-n <= 8 || n > 32) || p.norms && (!isASCII(b) || !sameTails(s)) {
		return 0, at, s0, s1, false
	}
	var v uint64
	switch {
	case now >= 8:
		v = binary.LittleEndian.Uint64(b[now-8:])
	case s.ntail[0] < 8 || now == 0:
		return 0, at, s0, s1, false
	default:
		v = binary.LittleEndian.Uint64(s.tail[0][tailLen-8:])>>uint(8*now) | few8(b)<<uint(64-8*now)
	}
	bound := 0
	if int(m.back) <= n {
		bound = n - int(m.back)
	}
	d := p.literal.of(s0)
	if d > min(p.reach, now) || unlike(v)>>uint(64-8*d) != 0 {
		return 0, at, s0, s1, false
	}
	what, k := p.filter.of(s1), lettersBack(v)
	some := boolInt(what != 0)
	unsure := boolInt(what&liveSure == 0) | boolInt(uint(k-1) >= sureBytes) | boolInt(what&^(liveEnd|liveSure) > k) | boolInt(now-k < bound)
	if some&(unsure|int(1-p.stop[uint8(v>>(uint(56-8*k)&63))])) != 0 {
		return 0, at, s0, s1, false
	}
	best := now - k&-some
	free = min(now-d, best)
	s.st[0], s.st[1] = s0, s1
	s.live[view] = mark{uint16(now - best), anchorDead}
	s.live[view^1].back = noMark.back
	s.at += int64(now - n)
	s.held = uint16(now - free)
	if free > 0 {
		t.moveTails(s, b[:free])
	}
	return free, at, s0, s1, true
}

const (
	maxPath  = 64             // bytes from the first start
	longPath = 2 * blockBytes // the same for a longer text
)

// search finds the first start from x on and in front of best that is alive at the end of b. Most runs meet one that is
// dead already and die with it. Without one it gives best.
func (u *bundle) search(b []byte, x, best, before int) (at int, q uint16) {
	next, cls := u.joint.next, u.joint.cls
	var dead [maxPath]uint32 // by distance from x: a row that leads to nothing there
	lo := x
	for ; x < best; x++ {
		row := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
		i := x + 1
		for ; i < len(b) && row != 0; i++ {
			if row = entry(next, row, cls[b[i]]); row == dead[i-lo] {
				row = 0
				break
			}
			dead[i-lo] = row
		}
		if q = u.joint.ended(row); q != anchorDead {
			return x, q
		}
	}
	return best, anchorDead
}

// unknownByte stands for the byte in front of a piece where the two views differ in it.
const unknownByte = -2

// before is the byte in front of the held text, -1 if there is none.
func (t *Tables) before(s *State) int {
	switch {
	case t.norms && !sameTails(s):
		return unknownByte
	case s.ntail[0] > 0:
		return int(s.tail[0][tailLen-1])
	}
	return -1
}

// nothing tells whether what group k tells at index i on the way to st is seen to lead to nothing within b; before is the
// byte in front of b. If not, it notes where it leads to.
func (t *Tables) nothing(b []byte, before, i, k int, st uint32, to *lead) bool {
	g := &t.groups[k]
	to.group, to.rule = int8(k), leadNone
	if !g.literal {
		return g.filter != noFilter && t.noWord(b, before, i, g, tells(st), to)
	}
	for _, k := range t.listAt(g.listOf(st)) {
		l := &t.lits[k]
		switch {
		case l.trigger:
			r, e := &t.rules[l.rule], i-1
			if l.now {
				e = i
			}
			if !l.follows(b[e:]) {
				continue
			}
			x := e - int(l.syms)
			if x < 0 || x == 0 && before == unknownByte || !plainFrom(b, x, e) {
				return false
			}
			if q, how := t.runs(l, r, b, before, x, e); how != runWaits || q != anchorDead {
				if how != runBegins {
					to.found(l.rule, x, q, how == runWaits)
				}
				return false
			}
		case l.head:
			if no, _ := differ(b[i:], l.rest, true); !no {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// found notes where something leads to.
func (to *lead) found(rule uint16, x int, state uint16, ok bool) {
	if !ok {
		rule = leadWord
	}
	to.rule, to.x, to.state = rule, int32(x), state
}

// How a run over the rest of a piece ends.
const (
	runWaits  = iota // in its state, dead or not
	runEnds          // a word ended that may be a match
	runBegins        // a word that is alive begins behind a look-behind
)

// runs runs the rule of trigger l, which stands from x to e, to the end of b, or its look-behind if it has one.
func (t *Tables) runs(l *lit, r *rule, b []byte, before, x, e int) (state uint16, how int) {
	a := &t.anch[r.begins()]
	s, i := l.begin(a, b, before, x, e)
	if r.flags&flagBehind != 0 {
		return t.behind(nil, 0, r, s, b, before, i)
	}
	state, seen, ok := a.run(r, s, b, x, i)
	if !ok || seen && state != anchorDead {
		return state, runEnds
	}
	return state, runWaits
}

// noWord tells whether at index i no word begins or ends of those that a filter tells of. If not, it notes where that
// leads to.
func (t *Tables) noWord(b []byte, before, i int, g *group, what uint32, to *lead) bool {
	u, e := t.sole[g.view], i-1
	if u == nil {
		return false
	}
	if what&toldEnd != 0 {
		if !g.stops {
			return false
		}
		x := e
		for x > 0 && e-x <= longWord && g.stop[b[x-1]] == 0 {
			x--
		}
		if x == 0 && (before == unknownByte || before >= 0 && g.stop[before] == 0) || e-x > longWord {
			return false // it may have begun in front, or it takes long to find out
		}
		for ; x < e; x++ {
			if q, ok := u.leads(t, b, x, before); !ok || q != anchorDead {
				to.rule = leadWord
				return false
			}
		}
	}
	if what&toldFront != 0 {
		x := e - int(g.prefix)
		if !g.whole || x < 0 || x == 0 && before == unknownByte {
			return false
		}
		if q, ok := u.leadsFront(t, b, x, before); !ok || q != anchorDead {
			to.found(leadStart, x, q, ok)
			return false
		}
	}
	return true
}

// calm tells whether a piece may go the shortest way: nothing is under way but what the tables know.
func (t *Tables) calm(s *State) bool {
	flags := s.flags &^ stateASCII
	return t.glide.ok && s.rescan == 0 && s.n[2] == 0 && (flags == 0 || flags == stateFront && s.note&noteList != 0)
}

// sameTails tells whether both views are the same in front of the held text.
func sameTails(s *State) bool {
	return s.tail[0][tailLen-1] == s.tail[1][tailLen-1] && (s.ntail[0] > 0) == (s.ntail[1] > 0)
}

// plainWord is plain for eight bytes; it may say no where white space is not what stands side by side.
func plainWord(v uint64) bool { return unlike(v) == 0 }

// few8 reads one to seven bytes as a number.
func few8(p []byte) uint64 {
	n := len(p)
	if n >= 4 {
		return uint64(binary.LittleEndian.Uint32(p)) | uint64(binary.LittleEndian.Uint32(p[n-4:]))<<uint(8*n-32)
	}
	return uint64(p[0]) | uint64(p[n>>1])<<uint(8*(n>>1)) | uint64(p[n-1])<<uint(8*n-8)
}

// unlike has bit 7 of each of eight bytes that may be no symbol of its own.
func unlike(v uint64) uint64 {
	const ones = 0x0101010101010101
	gap := ^(v&(0x7F*ones) + 0x5F*ones) & (0x80 * ones) // bytes up to the space
	return v&(0x80*ones) | gap&(gap<<8)
}

// sure gives the start of the word at the end of the piece if it is sure to be live: it stands behind a stop, and has
// at most sureBytes letters and nothing else; d is the live number of the filter's state.
func (g *group) sure(b []byte, d, lo int) (x int, ok bool) {
	now := len(b)
	if d&liveSure == 0 || now <= sureBytes {
		return 0, false
	}
	k := lettersBack(binary.LittleEndian.Uint64(b[now-sureBytes-1:]))
	x = now - k
	return x, uint(k-1) < sureBytes && d&^(liveEnd|liveSure) <= k && x >= lo && g.stop[b[x-1]] == 1
}

// lettersBack is the number of letters at the end of eight bytes.
func lettersBack(v uint64) int {
	const ones = 0x0101010101010101
	low := v&(0x7F*ones) | 0x20*ones
	letters := (low + (0x80-'a')*ones) &^ (low + (0x7F-'z')*ones) &^ v & (0x80 * ones)
	return bits.LeadingZeros64(^letters&(0x80*ones)) / 8
}

// moveTails moves the base over p, which is pure ASCII where that matters.
func (t *Tables) moveTails(s *State, p []byte) {
	moveTail(&s.tail[0], &s.ntail[0], p)
	if !t.norms {
		return
	}
	moveTail(&s.tail[1], &s.ntail[1], p)
	s.flags &^= stateASCII
	if p[len(p)-1] < utf8.RuneSelf {
		s.flags |= stateASCII
	}
}
