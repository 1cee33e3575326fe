package scan

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// quick is one piece on the quick path: its text, and the starts that are to be run.
type quick struct {
	b      []byte
	before int // the byte in front of b, -1 = none
	starts [16]int32
	n      int // of starts
	wait   [maxWait]waiting
	nw     int // of wait
	behind [maxWait]waiting
	nb     int                // of behind
	back   int                // starts from here on that may begin a word are run again,
	unseen bool               // as some of them were not to the end of the last piece
	thread bool               // and one of them had a thread
	lead   lead               // what is known already
	old    []uint16           // starts that were live at the end of the last piece
	told   [maxHeld]heldStart // starts that are live at the end of this one, in the states there
	nt     int                // of told
	from   int                // the state of no thread that goes on changed from here on
	over   *[256]uint8        // a set of bytes, and
	stayed int                // how many of them follow the last piece
}

const (
	maxWait = 4                          // threads of each sort
	_       = uint(maxSlots - 5*maxWait) // all have room in the slots: one takes three halves, of a look-behind two
)

// waiting is a thread that is alive at the end of the piece: of a triggered rule, of a phrase (slotText), or of a
// look-behind, in which no word begins.
type waiting struct {
	rule, state uint16
	x           int32 // where its word begins
}

// later notes a thread that is alive; false says that there is no room.
func (q *quick) later(rule, state uint16, x int) bool {
	if q.nw == len(q.wait) {
		return false
	}
	q.wait[q.nw] = waiting{rule, state, int32(x)}
	q.nw++
	return true
}

// begun is later for a thread that begins.
func (q *quick) begun(rule, state uint16, x int) bool {
	q.from = len(q.b)
	return q.later(rule, state, x)
}

// stays is that of the automaton for the bytes from n on. Threads of a piece most often stay over the same ones.
func (q *quick) stays(a *anchored, state uint16, n int) int {
	if state != a.loop {
		return a.stays(state, q.b[n:])
	}
	if q.over != a.over {
		q.over, q.stayed = a.over, within(a.over, q.b[n:])
	}
	return q.stayed
}

// heir is that of the automaton.
func (q *quick) heir(a *anchored, r *rule, x, n int, state uint16) (to int, at uint16, ok bool) {
	to, at, ok = a.heir(r, q.b, q.before, x, n, state, q.from)
	if at != state {
		q.from = len(q.b)
	}
	return to, at, ok
}

// add notes a start; false says that there is no room.
func (q *quick) add(x int) bool {
	if q.n == len(q.starts) {
		return false
	}
	q.starts[q.n] = int32(x)
	q.n++
	return true
}

// quick scans a short piece in which nothing ends and nothing is under way but what the tables know, which is
// what most pieces of a stream are. It does what block does, without its bookkeeping. With ok false it has done
// nothing.
func (t *Tables) quick(s *State, b []byte, n int, tw *twin) (free int, ok bool) {
	if s.flags&stateBusy != 0 {
		return 0, false
	}
	if tw == nil && t.calm(s) {
		return t.brief(s, b, n, n, s.st[0], s.st[1])
	}
	before := s.st
	if free, ok = t.quickly(s, b, n, n, tw, noLead); !ok {
		s.st = before
	}
	return free, ok
}

// brief is quick for a piece that may go the shortest way, the first two tables of which were stepped to s0 and s1 at index i.
func (t *Tables) brief(s *State, b []byte, n, i int, s0, s1 uint32) (free int, ok bool) {
	before, to := s.st, noLead
	s.st[0], s.st[1] = s0, s1
	one := t.glide.n == 1
	if s.flags&stateFront != 0 || s.n != [3]uint8{} {
		if one {
			free, ok = t.keen(s, b, n, n, to)
		}
	} else if free, i, ok = t.glides(s, b, n, i, &to); !ok && to.rule != leadWord && one && t.stopped(s) {
		free, ok = t.keen(s, b, n, i, to)
	}
	if ok {
		return free, true
	}
	if free, ok = t.quickly(s, b, n, i, nil, to); !ok {
		s.st = before
	}
	return free, ok
}

// quickly is quick for tables that were stepped up to index i, and came upon what to says.
func (t *Tables) quickly(s *State, b []byte, n, i int, tw *twin, to lead) (free int, ok bool) {
	if to.rule == leadWord || s.rescan > 0 || len(b) > maxDist || s.flags&(3*stateCarry|stateEnded) != 0 || len(t.fuzzy) > 0 {
		return 0, false
	}
	if t.norms && !isASCII(b) {
		return 0, false
	}
	st := &s.st
	var q quick
	q.b, q.before, q.from = b, t.before(s), len(b)
	if q.before == unknownByte {
		return 0, false
	}
	q.back, q.lead = n, to
	if s.n != [3]uint8{} && !t.resume(s, &q, n) {
		return 0, false
	}
	listed := false
	if s.flags&stateFront != 0 && !q.thread {
		q.old, listed = s.lastLives()
	}
	if s.flags&stateFront != 0 && !listed {
		from := n
		for _, u := range t.bundle {
			from = min(from, s.bound(u.view, n, t.marks))
		}
		q.back = min(q.back, max(from, t.frontFrom(s, n)))
		q.unseen = q.unseen || s.note&noteUnseen != 0
	}
	for x := q.back; x < n; x++ {
		if t.begins(&q, x) && !q.add(x) {
			return 0, false
		}
	}
	old := q.n
	if tw != nil && t.twin(st, b, q.before, n, tw) {
		for _, x := range tw.told[:tw.n] {
			if !t.passes(&q, &t.groups[x.group], x.st, int(x.i)) {
				return 0, false
			}
		}
		i = len(b)
	}
	var came lead
	for ; ; to.group = -1 {
		for g := range t.groups {
			if a := st[g]; a&accept != 0 {
				st[g] = t.groups[g].land(a)
				grp := &t.groups[g]
				if grp.filter == noFilter && q.nw == 0 && g != int(to.group) {
					if t.nothing(b, q.before, i, g, a, &came) {
						continue
					}
					if q.lead.rule != leadStart {
						q.lead = came
					}
				}
				if !t.passes(&q, grp, a, i) {
					return 0, false
				}
			}
		}
		if i == len(b) {
			break
		}
		k, _ := t.step(0, len(t.groups), st[:len(t.groups)], b[i:])
		i += k
	}
	now := len(b)
	free = now
	for g := range t.groups {
		if grp := &t.groups[g]; grp.literal {
			if d := int(grp.live[grp.number(st[g])]); d > 0 {
				if d > int(grp.near) || !q.plain(now-d, now) {
					return 0, false
				}
				free = min(free, now-d)
			}
		}
	}
	back, open := [2]uint16{noMark.back, noMark.back}, [2]uint16{} // of the marks
	hits, first := q.n, q.first()
	again := old > 0 || len(q.old) > 0
	var next lives
	for k, u := range t.bundle {
		best, state := now, uint16(anchorDead)
		bound, known := s.bound(u.view, n, t.marks), false
		ran, capped := -1, uint16(anchorDead)
		far := max(bound, now-u.far)
		held := first <= far // for a thread: which of the starts are live can wait
		// In a long piece the word most likely ends: looking for others is cheaper.
		if m := s.live[u.view]; !held && t.marks && int(m.back) <= n && m.q != anchorDead && (now-n <= 8 || n > 32 || again) && !q.thread {
			a, ok := m.q, true
			if i := n + u.joint.stays(a, b[n:]); i < len(b) || u.joint.info[a]&infoAccept != 0 || u.joint.info[a]&infoDist == infoDist {
				a, ok = t.refused(u, u.joint.row(a), b, bound, i, n)
			}
			if !ok {
				return 0, false
			}
			if known, ok = t.fits(u, a, now-bound); !ok {
				return 0, false
			}
			if ran = bound; known {
				best, state = bound, a
			} else {
				capped = a
			}
		}
		for _, e := range q.told[:q.nt] {
			if int(e.u) != k {
				continue
			}
			live, ok := t.fits(u, e.state, now-int(e.x))
			if !ok {
				return 0, false
			}
			if live {
				if int(e.x) < best {
					best, state = int(e.x), e.state
				}
				next.add(u, k, int(e.x), now, e.state, false)
			}
		}
		for j := -len(q.old) / 2; j < hits; j++ {
			var x, since int
			a := uint16(notSeen)
			if j < 0 {
				e := readHeld(q.old[len(q.old)+2*j:], n)
				if int(e.u) != k {
					continue
				}
				if x, a = int(e.x), e.state; a != notSeen {
					since = n
				}
			} else if x = int(q.starts[j]); j < old && !q.unseen {
				since = n
			}
			live, stops, ok := known, false, true
			switch {
			case x == ran:
				a = state
			case q.lead.rule == leadStart && x == int(q.lead.x) && t.groups[q.lead.group].view == u.view:
				a = q.lead.state
				live, ok = t.fits(u, a, now-x)
			default:
				a, live, stops, ok = t.goesOn(u, b, q.before, x, a, n, since, best, state)
			}
			if !ok {
				return 0, false
			}
			if !live {
				continue
			}
			if x < best {
				best, state = x, a
			}
			next.add(u, k, x, now, a, stops)
		}
		if capped != anchorDead {
			if best, state, ok = t.heir(u, b, q.before, bound, capped, best, state); !ok {
				return 0, false
			}
			known = true
		}
		switch {
		case held:
			if far < best {
				best, state = far, anchorDead
			}
		case !known:
			// What a literal is held for needs no second reason, and the next piece can do without the state.
			lo := best
			q.n = hits
			for g := range t.groups {
				if grp := &t.groups[g]; grp.filter != noFilter && grp.view == u.view {
					d := int(grp.live[grp.number(st[g])])
					if d&liveEnd != 0 && !grp.stops {
						if !grp.begun(&q, far) {
							return 0, false
						}
						d &^= liveEnd | liveSure
					}
					if d > 0 {
						lo = min(lo, grp.earliest(b, d, far))
					}
				}
			}
			if lo = max(lo, bound); free <= lo && lo < best && q.n == hits {
				best = lo
			}
			for i := q.n - 1; i >= hits; i-- { // the last one is the earliest
				x := int(q.starts[i])
				if x >= best {
					continue
				}
				a, live, ok := t.open(u, b, q.before, x, n)
				if !ok {
					return 0, false
				}
				if live {
					best, state = x, a
				}
			}
			if best-lo > maxPath/2 && now-lo <= longPath {
				if best, state, ok = t.live(u, b, q.before, lo, n, best, state); !ok {
					return 0, false
				}
				break
			}
			for x := lo; x < best; x++ {
				a, live, ok := t.open(u, b, q.before, x, n)
				if !ok {
					return 0, false
				}
				if live {
					best, state = x, a
				}
			}
		}
		free = min(free, best)
		switch {
		case t.marks:
			back[u.view], open[u.view] = uint16(now-best), state
		case next.unseen: // they stopped for the sake of the first one, of which nothing else may be left
			next.front = max(next.front, now-best)
		}
	}
	free = q.save(s, &next, free)
	for k := range s.live { // half by half: the next call reads halves
		s.live[k].back, s.live[k].q = back[k], open[k]
	}
	s.at += int64(now - n)
	s.held = uint16(now - free)
	if free > 0 {
		t.moveTails(s, b[:free])
	}
	return free, true
}

// bound is the least start in the n held bytes that needs a look.
func (s *State) bound(view View, n int, marks bool) int {
	if m := s.live[view]; marks && int(m.back) <= n {
		return n - int(m.back)
	}
	return 0
}

// looks tells whether p is pure ASCII, and whether no two bytes that may be white space stand side by side in it.
func looks(p []byte) (ascii, single bool) {
	const ones = 0x0101010101010101
	var high, pair, last uint64
	look := func(v uint64) {
		gap := ^(v&(0x7F*ones) + 0x5F*ones) & (0x80 * ones) // bytes up to the space
		high |= v
		pair |= gap & (gap<<8 | last)
		last = gap >> 56
	}
	i := 0
	for ; i+8 <= len(p); i += 8 {
		look(binary.LittleEndian.Uint64(p[i:]))
	}
	switch {
	case i == len(p):
	case len(p) > 8:
		last = 0
		look(binary.LittleEndian.Uint64(p[len(p)-8:]))
	default:
		var end [8]byte
		copy(end[copy(end[:], p[i:]):], "xxxxxxxx")
		look(binary.LittleEndian.Uint64(end[:]))
	}
	return high&(0x80*ones) == 0, pair == 0
}

// earliest gives an index from lo on in front of which no word begins that a filter has under way at the end of
// the piece; d is the live number of its state. A filter without stops (begun) serves for first bytes only.
func (g *group) earliest(b []byte, d, lo int) int {
	now := len(b)
	x := max(lo, now-d&^(liveEnd|liveSure))
	if d&liveEnd == 0 {
		return x
	}
	p := now
	for p-lo >= 8 { // without a jump for each byte
		c, stop := (*[8]byte)(b[p-8:p]), &g.stop
		m := uint(stop[c[0]]) | uint(stop[c[1]])<<1 | uint(stop[c[2]])<<2 | uint(stop[c[3]])<<3 |
			uint(stop[c[4]])<<4 | uint(stop[c[5]])<<5 | uint(stop[c[6]])<<6 | uint(stop[c[7]])<<7
		if m != 0 {
			return min(x, p-8+bits.Len(m))
		}
		p -= 8
	}
	for p > lo && g.stop[b[p-1]] == 0 {
		p--
	}
	return min(x, p)
}

// begun notes the starts from lo on of the words that an end filter has under way at the end of the piece, the
// last one first. false says that there is no room.
func (g *group) begun(q *quick, lo int) bool {
	r := g.rncls
	for p := len(q.b) - 1; p >= lo && r != 0; p-- {
		v := g.rnext[r+uint32(g.rcls[q.b[p]])]
		if r = v &^ begins; v != r && !q.add(p+1) {
			return false
		}
	}
	if r != 0 {
		c := q.before
		if lo > 0 {
			c = int(q.b[lo-1])
		}
		if _, mark := g.back(r, c); mark && !q.add(lo) {
			return false
		}
	}
	return true
}

// passes tells whether what a group tells at index i can be passed over: it notes starts, and sees to it that a
// literal leads to nothing.
func (t *Tables) passes(q *quick, g *group, st uint32, i int) bool {
	switch {
	case g.filter != noFilter:
		what := tells(st)
		var to lead
		if what&toldEnd != 0 && !t.noWord(q.b, q.before, i, g, toldEnd, &to) {
			return false
		}
		if what&toldFront == 0 || q.n > len(q.starts)*3/4 && t.noWord(q.b, q.before, i, g, toldFront, &to) {
			return true
		}
		hi := i - 1
		if g.whole {
			hi = i - int(g.prefix)
			if t.leads(q, t.sole[g.view], hi-1) {
				return true
			}
		}
		for x := max(0, i-1-int(g.prefix)); x < hi; x++ {
			if t.begins(q, x) && !q.add(x) {
				return false
			}
		}
		return true
	case !g.literal:
		return false
	}
	for _, k := range t.listAt(g.listOf(st)) {
		l := &t.lits[k]
		e := i - 1
		if l.now {
			e = i
		}
		if l.trigger && !l.follows(q.b[e:]) {
			continue
		}
		x := e - int(l.syms)
		if !q.plain(x, e) || !t.dies(q, l, x, e) {
			return false
		}
	}
	return true
}

// leads runs start x, which a filter of bundle u told of, to the end of the piece, and notes it if it is live there. False
// says that it must be looked at with the others: a word ended, or there is no room.
func (t *Tables) leads(q *quick, u *bundle, x int) bool {
	if u == nil || x < 0 {
		return false
	}
	a, ok := u.leadsFront(t, q.b, x, q.before)
	return ok && (a == anchorDead || q.lives(x, a, slices.Index(t.bundle, u)))
}

// begins tells whether a word of a bundle may begin at x, by one byte.
func (t *Tables) begins(q *quick, x int) bool {
	for _, u := range t.bundle {
		if u.first[u.kindAt(q.b, x, q.before)<<8|uint32(q.b[x])] != 0 {
			return true
		}
	}
	return false
}

// kindAt is the kind of the byte in front of x; before is the one in front of b.
func (u *bundle) kindAt(b []byte, x, before int) uint32 {
	switch {
	case x > 0:
		return uint32(u.kind[b[x-1]])
	case before >= 0:
		return uint32(u.kind[before])
	}
	return uint32(u.bot)
}

// plain tells whether each byte from x to e is a symbol of its own.
func (q *quick) plain(x, e int) bool { return x >= 0 && plainFrom(q.b, x, e) }

// plainFrom is plain for b[x:e], which most often is short.
func plainFrom(b []byte, x, e int) bool {
	return e-x <= 8 && e >= 8 && plainWord(binary.LittleEndian.Uint64(b[e-8:])) || plain(b[x:e])
}

// plain tells whether each byte of p is a symbol of its own.
func plain(p []byte) bool {
	if ascii, single := looks(p); ascii && single {
		return true
	}
	gap := false
	for _, c := range p {
		again := gap
		if gap = isGap(c); c >= utf8.RuneSelf || gap && again {
			return false
		}
	}
	return true
}

// differ compares p with what should follow. no says that p is something else; open that p is all of it so far, and
// more must come. With neither it takes a closer look, or p has all of it.
func differ(p []byte, rest string, fold bool) (no, open bool) {
	for i := range len(rest) {
		if i == len(p) {
			return false, true
		}
		c, w := p[i], rest[i]
		if c >= utf8.RuneSelf || w >= utf8.RuneSelf {
			return false, false
		}
		if isGap(c) && w == ' ' {
			if i+1 < len(p) && isGap(p[i+1]) {
				return false, false
			}
			continue
		}
		if c != w && (!fold || c|0x20 != w|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return true, false
		}
	}
	return false, false
}

// dies tells whether what a literal from x to e begins certainly leads to nothing within the piece.
func (t *Tables) dies(q *quick, l *lit, x, e int) bool {
	if l.head {
		return t.differs(q, l.rule, x, e, l.rest)
	}
	r := &t.rules[l.rule]
	b := q.b
	switch {
	case l.trigger && r.flags&flagBehind == 0:
		for _, w := range q.wait[:q.nw] {
			if w.rule == l.rule {
				return int(w.x) <= x // what began later counts when that one is over
			}
		}
		state, how := q.lead.state, runWaits
		if q.lead.rule != l.rule || int(q.lead.x) != x {
			state, how = t.runs(l, r, b, q.before, x, e)
		}
		return how == runWaits && (state == anchorDead || len(b)-x < int(r.near) && q.begun(l.rule, state, x))
	case l.trigger:
		if q.lead.rule == l.rule && int(q.lead.x) == x {
			return q.looks(l.rule, q.lead.state)
		}
		s, i := l.begin(&t.anch[r.behind], b, q.before, x, e)
		return t.looking(q, l.rule, s, i)
	}
	return false
}

// behind runs a look-behind from state s at index i of b to its end. The words that begin behind it and are alive go to
// q, if there is one.
func (t *Tables) behind(q *quick, id uint16, r *rule, s uint16, b []byte, before, i int) (state uint16, how int) {
	a, word := &t.anch[r.behind], &t.anch[r.anchor]
	for ; i < len(b); i++ {
		if s = a.next[uint32(s)*a.ncls+uint32(a.cls[b[i]])]; s == anchorDead {
			return s, runWaits
		}
		if a.info[s]&infoAccept == 0 {
			continue
		}
		w, _, ok := word.run(r, word.at(b, i, before), b, i, i)
		switch {
		case !ok:
			return s, runEnds
		case w == anchorDead:
		case q == nil || !word.fits(r, w, len(b)-i) || !q.begins(id, w, i):
			return s, runBegins
		}
	}
	if a.info[s]&infoDist == infoDist {
		s = anchorDead
	}
	return s, runWaits
}

// begins notes the word of a rule with a look-behind that begins at x; false says that there is no room.
func (q *quick) begins(rule, state uint16, x int) bool {
	for _, w := range q.wait[:q.nw] {
		if w.rule == rule && int(w.x) == x {
			return true // another of its look-behinds led there
		}
	}
	return q.later(rule, state, x)
}

// looking is behind, and notes the thread if a word may still begin.
func (t *Tables) looking(q *quick, rule, s uint16, i int) bool {
	s, how := t.behind(q, rule, &t.rules[rule], s, q.b, q.before, i)
	return how == runWaits && (s == anchorDead || q.looks(rule, s))
}

// looks notes the thread of a look-behind that is alive; false says that there is no room.
func (q *quick) looks(rule, s uint16) bool {
	for _, w := range q.behind[:q.nb] {
		if w.rule == rule {
			return false
		}
	}
	if q.nb == len(q.behind) {
		return false
	}
	q.behind[q.nb] = waiting{rule, s, -1}
	q.nb++
	return true
}

// differs tells whether a phrase that begins at x is not in the text: p is what should follow at index i. If it
// may still come, it is noted.
func (t *Tables) differs(q *quick, rule uint16, x, i int, p string) bool {
	r, b := &t.rules[rule], q.b
	no, open := differ(b[i:], p, r.flags&flagFold != 0)
	return no || open && len(b)-x < int(r.cap) && q.later(rule, slotText, x)
}

// resume goes on with the threads of the last piece; n bytes were read.
func (t *Tables) resume(s *State, q *quick, n int) bool {
	h := s.slots[2*s.n[0]+3*s.n[1]:]
	for range s.n[2] {
		if !t.spare(h) {
			return false
		}
		q.back, q.unseen, q.thread, h = min(q.back, n-int(h[2])), true, true, h[4:]
	}
	if s.flags&stateFront == 0 {
		q.from = n - int(s.note)
	}
	h = s.slots[:2*s.n[0]+3*s.n[1]]
	for range s.n[0] {
		if !t.looking(q, h[0], h[1], n) {
			return false
		}
		h = h[2:]
	}
	var capped [2]waiting
	nc := 0
	for ; len(h) > 0; h = h[3:] {
		if h[1] == slotDone || h[1] == slotGuard || h[1] == slotMark || h[2] > maxDist {
			return false
		}
		x, r := n-int(h[2]), &t.rules[h[0]]
		switch {
		case h[1] == slotText:
			if !t.differs(q, h[0], x, x, r.phrase) {
				return false
			}
		case r.flags&(flagBundle|flagBehind|flagEndFilter) == flagBundle:
			q.back, q.unseen, q.thread = min(q.back, x), true, true
		case r.flags&flagBundle != 0:
			return false
		case r.flags&flagBehind != 0:
			a := &t.anch[r.anchor]
			state, _, ok := a.run(r, h[1], q.b, x, n+a.stays(h[1], q.b[n:]))
			if !ok || state != anchorDead && (!a.fits(r, state, len(q.b)-x) || !q.later(h[0], state, x)) {
				return false
			}
		default:
			a := &t.anch[r.anchor]
			i := n + q.stays(a, h[1], n)
			if i < len(q.b) {
				q.from = len(q.b)
			}
			state, seen, ok := a.run(r, h[1], q.b, x, i)
			if seen && state != anchorDead {
				return false
			}
			if ok && state != anchorDead && !a.fits(r, state, len(q.b)-x) { // the cap ended it
				if nc < len(capped) {
					capped[nc], nc = waiting{h[0], state, int32(x)}, nc+1
					continue
				}
				x, state, ok = q.heir(a, r, x, n, state)
			}
			if state == anchorDead {
				q.from = len(q.b)
			}
			for ok && state == anchorDead && x < n-1 { // then another start may count
				if x++; a.mayBegin(q.b[x]) {
					if state, seen, ok = a.run(r, a.at(q.b, x, q.before), q.b, x, x); seen && state != anchorDead {
						return false
					}
					if ok && state != anchorDead && !a.fits(r, state, len(q.b)-x) {
						x, state, ok = q.heir(a, r, x, n, state)
					}
				}
			}
			if !ok || state != anchorDead && !q.later(h[0], state, x) {
				return false
			}
		}
	}
	if nc == len(capped) && capped[1].x < capped[0].x {
		capped[0], capped[1] = capped[1], capped[0]
	}
	for _, w := range capped[:nc] {
		x, state, ok := int(w.x), w.state, true
		if r := &t.rules[w.rule]; x < q.first() { // else the text is held for another one, and it can wait which start is next
			x, state, ok = q.heir(&t.anch[r.anchor], r, x, n, state)
		}
		if !ok || state != anchorDead && !q.later(w.rule, state, x) {
			return false
		}
	}
	return true
}

// first is where the first thread that waits began, or the end of the piece.
func (q *quick) first() int {
	x := len(q.b)
	for _, w := range q.wait[:q.nw] {
		x = min(x, int(w.x))
	}
	return x
}

// spare tells whether the thread in a slot of four halves can be done without: its start ended no match so far, so
// that it can be found again as any other.
func (t *Tables) spare(h []uint16) bool {
	return t.rules[h[0]].flags&(flagBundle|flagBehind|flagEndFilter) == flagBundle && h[1] < slotText && h[2] <= maxDist && h[3] == noMatch
}
