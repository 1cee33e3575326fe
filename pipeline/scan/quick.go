package scan

import (
	"encoding/binary"
	"math/bits"
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
	nb     int  // of behind
	back   int  // starts from here on that may begin a word are run again,
	unseen bool // as some of them were not to the end of the last piece
	thread bool // and one of them had a thread
	lead   lead // what is known already
}

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

// add notes a start; false says that there is no room.
func (q *quick) add(x int) bool {
	if q.n == len(q.starts) {
		return false
	}
	q.starts[q.n] = int32(x)
	q.n++
	return true
}

// glide is what the shortest way of a piece needs to know of the tables.
type glide struct {
	ok     bool
	lit    int // literal group, -1 = none
	filter int // the one filter
	u      *bundle
}

// glider tells whether pieces can go the shortest way: there is one joint automaton, one filter for it and at most
// one group of literals, and nothing else.
func (t *Tables) glider() {
	t.glide = glide{lit: -1}
	if len(t.bundle) != 1 || len(t.fuzzy) > 0 || len(t.groups) > 2 {
		return
	}
	t.glide.u = t.bundle[0]
	for g := range t.groups {
		switch grp := &t.groups[g]; {
		case grp.literal && t.glide.lit < 0:
			t.glide.lit = g
		case grp.filter != noFilter && !t.glide.ok && (grp.filter == prefixFilter || grp.stops):
			t.glide.filter, t.glide.ok = g, true
		default:
			t.glide.ok = false
			return
		}
	}
}

// glides scans b, of which b[:n] was fed before, if what is told in it leads to nothing and no thread is under way.
// With ok false it has stepped the tables up to index at, and what they told there is yet to be handled.
func (t *Tables) glides(s *State, b []byte, n int) (free, at int, to lead, ok bool) {
	before := t.before(s)
	if to = noLead; before == unknownByte {
		return 0, n, to, false
	}
	if len(t.groups) == 2 { // by far the most frequent case, without a call
		t0, t1 := t.next[0], t.next[1]
		s0, s1 := s.st[0], s.st[1]
		for i, c := range b[n:] {
			k := t.pack[c]
			s0, s1 = t0[s0+uint32(uint8(k))], t1[s1+uint32(uint8(k>>8))]
			if (s0|s1)&accept == 0 {
				continue
			}
			if at = n + i + 1; s0&accept != 0 && !t.nothing(b, before, at, 0, s0&^accept, &to) || s1&accept != 0 && !t.nothing(b, before, at, 1, s1&^accept, &to) {
				s.st[0], s.st[1] = s0, s1
				return 0, at, to, false
			}
			s0, s1 = s0&^accept, s1&^accept
		}
		s.st[0], s.st[1] = s0, s1
	} else {
		st := s.st[:len(t.groups)]
		for at = n; at < len(b); {
			k, hit := t.step(0, len(t.groups), st, b[at:])
			if at += k; !hit {
				break
			}
			for g := range st {
				if st[g]&accept != 0 && !t.nothing(b, before, at, g, st[g]&^accept, &to) {
					return 0, at, to, false
				}
			}
			for g := range st {
				st[g] &^= accept
			}
		}
	}
	now := len(b)
	at = now
	free = now
	if t.norms {
		if !isASCII(b) {
			return 0, at, to, false
		}
	}
	if t.glide.lit >= 0 {
		grp := &t.groups[t.glide.lit]
		if d := int(grp.live[grp.number(s.st[t.glide.lit])]); d > 0 {
			if d > now || d > int(grp.near) {
				return 0, at, to, false
			}
			if (d > 8 || now < 8 || !plainWord(binary.LittleEndian.Uint64(b[now-8:]))) && !plain(b[now-d:]) {
				return 0, at, to, false
			}
			free = now - d
		}
	}
	u, grp := t.glide.u, &t.groups[t.glide.filter]
	bound, m := 0, s.live[u.view]
	if int(m.back) <= n {
		bound = n - int(m.back)
	}
	best, state := now, uint16(anchorDead)
	// In a long piece the word most likely ends: looking for others is cheaper.
	if bound > 0 || int(m.back) == n {
		if q := m.q; q != anchorDead && (now-n <= 8 || n > 32) {
			if now-bound > int(u.near[q]) { // the rules that are alive only become fewer
				return 0, at, to, false
			}
			if q = u.alone(q, b[n:]); q != anchorDead {
				if now-bound > int(u.near[q]) {
					return 0, at, to, false
				}
				best, state = bound, q
			}
		}
	}
	if d := int(grp.live[grp.number(s.st[t.glide.filter])]); state == anchorDead && d > 0 {
		lo, sure := grp.sure(b, d, bound)
		if !sure {
			lo = grp.earliest(b, d, max(bound, now-u.far))
		}
		if sure || free <= lo {
			best = lo
		}
		for x := lo; x < best; x++ {
			q := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
			if q == anchorDead {
				continue
			}
			if best-x > 3 && now-x <= maxPath {
				x, q = u.search(b, x, best, before)
			} else {
				q = u.alone(q, b[x+1:])
			}
			if q == anchorDead {
				continue
			}
			if now-x > int(u.near[q]) {
				return 0, at, to, false
			}
			best, state = x, q
		}
	}
	free = min(free, best)
	s.live[u.view].back, s.live[u.view].q = uint16(now-best), state
	s.live[1-u.view].back = noMark.back
	s.at += int64(now - n)
	s.held = uint16(now - free)
	if free > 0 {
		t.moveTails(s, b[:free])
	}
	return free, at, to, true
}

const (
	maxPath  = 64             // bytes from the first start
	longPath = 2 * blockBytes // the same for a longer text
)

// search finds the first start from x on and in front of best that is alive at the end of b. Most runs meet one that is
// dead already and die with it. Without one it gives best.
func (u *bundle) search(b []byte, x, best, before int) (at int, q uint16) {
	next, cls, ncls := u.joint.next, &u.joint.cls, u.joint.ncls
	var dead [maxPath]uint16 // by distance from x: a state that leads to nothing there
	lo := x
	for ; x < best; x++ {
		q = u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
		i := x + 1
		for ; i < len(b) && q != anchorDead; i++ {
			if q = next[uint32(q)*ncls+uint32(cls[b[i]])]; q == dead[i-lo] {
				q = anchorDead
				break
			}
			dead[i-lo] = q
		}
		if u.joint.info[q]&infoDist != infoDist {
			return x, q
		}
	}
	return best, anchorDead
}

// live is search in a longer text: without a live start it gives best and its state. ok is false if a word is seen to have
// ended at index since or later, or if it takes a closer look.
func (t *Tables) live(u *bundle, b []byte, before, lo, since, best int, state uint16) (x int, q uint16, ok bool) {
	next, info, cls, ncls := u.joint.next, u.joint.info, &u.joint.cls, u.joint.ncls
	var dead [longPath]uint16 // by distance from lo: a state that leads to nothing there
	for x = lo; x < best; x++ {
		q = u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
		for i := x + 1; i < len(b) && q != anchorDead; i++ {
			if q = next[uint32(q)*ncls+uint32(cls[b[i]])]; q == dead[i-lo] {
				q = anchorDead
				break
			}
			if dead[i-lo] = q; info[q]&infoAccept != 0 && i >= since {
				return x, q, false
			}
		}
		if info[q]&infoDist == infoDist {
			continue
		}
		live, ok := t.fits(u, q, len(b)-x)
		if !ok || live {
			return x, q, ok
		}
		clear(dead[:]) // its rules' caps ended it
	}
	return best, state, true
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

// nothing tells whether what group k tells at index i is seen to lead to nothing within b; before is the byte in
// front of b. If not, it notes where it leads to.
func (t *Tables) nothing(b []byte, before, i, k int, st uint32, to *lead) bool {
	g := &t.groups[k]
	to.group, to.rule = int8(k), leadNone
	if !g.literal {
		return g.filter != noFilter && t.noWord(b, before, i, g, g.tells(st), to)
	}
	for _, k := range t.listAt(g.acc[g.number(st)]) {
		l := &t.lits[k]
		switch {
		case l.trigger && !l.follows(b[i:]):
		case l.trigger:
			r, e := &t.rules[l.rule], i-1
			if l.now {
				e = i
			}
			x := e - int(l.syms)
			if x < 0 || x == 0 && before == unknownByte || !plain(b[x:e]) {
				return false
			}
			if q, how := t.runs(r, b, before, x); how != runWaits || q != anchorDead {
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

// runs runs a triggered rule from index x of b to its end, or its look-behind if it has one.
func (t *Tables) runs(r *rule, b []byte, before, x int) (state uint16, how int) {
	if r.flags&flagBehind != 0 {
		return t.behind(nil, 0, r, t.anch[r.behind].at(b, x, before), b, before, x)
	}
	a := &t.anch[r.anchor]
	state, seen, ok := a.run(r, a.at(b, x, before), b, x, x)
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
	if what&toldFront != 0 {
		x := e - int(g.prefix)
		if !g.whole || x < 0 || x == 0 && before == unknownByte {
			return false
		}
		if q, ok := u.leads(t, b, x, before); !ok || q != anchorDead {
			to.found(leadStart, x, q, ok)
			return false
		}
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
	return true
}

// quick scans a short piece in which nothing ends and nothing is under way but what the tables know, which is
// what most pieces of a stream are. It does what block does, without its bookkeeping. With ok false it has done
// nothing.
func (t *Tables) quick(s *State, b []byte, n int, tw *twin) (free int, ok bool) {
	if s.flags&stateBusy != 0 {
		return 0, false
	}
	before, i, to := s.st, n, noLead
	if tw == nil && t.calm(s) {
		if free, i, to, ok = t.glides(s, b, n); ok {
			return free, true
		}
	}
	if free, ok = t.quickly(s, b, n, i, tw, to); !ok {
		s.st = before
	}
	return free, ok
}

// calm tells whether a piece may go the shortest way: nothing is under way but what the tables know.
func (t *Tables) calm(s *State) bool {
	return t.glide.ok && s.rescan == 0 && s.n == [3]uint8{} && s.flags&^stateASCII == 0
}

// sameTails tells whether both views are the same in front of the held text.
func sameTails(s *State) bool {
	return s.tail[0][tailLen-1] == s.tail[1][tailLen-1] && (s.ntail[0] > 0) == (s.ntail[1] > 0)
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
	q.b, q.before = b, t.before(s)
	if q.before == unknownByte {
		return 0, false
	}
	q.back, q.lead = n, to
	if s.n != [3]uint8{} && !t.resume(s, &q, n) {
		return 0, false
	}
	if s.flags&stateFront != 0 {
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
			if st[g]&accept != 0 {
				st[g] &^= accept
				grp := &t.groups[g]
				if grp.filter == noFilter && q.nw == 0 && g != int(to.group) {
					if t.nothing(b, q.before, i, g, st[g], &came) {
						continue
					}
					if q.lead.rule != leadStart {
						q.lead = came
					}
				}
				if !t.passes(&q, grp, st[g], i) {
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
	front := 0                                                     // the first start of stateFront, from the end
	back, open := [2]uint16{noMark.back, noMark.back}, [2]uint16{} // of the marks
	hits, unseen, first := q.n, false, q.first()
	for _, u := range t.bundle {
		best, state := now, uint16(anchorDead)
		bound, known := s.bound(u.view, n, t.marks), false
		ran, capped := -1, uint16(anchorDead)
		far := max(bound, now-u.far)
		held := first <= far // for a thread: which of the starts are live can wait
		// In a long piece the word most likely ends: looking for others is cheaper.
		if m := s.live[u.view]; !held && t.marks && int(m.back) <= n && m.q != anchorDead && (now-n <= 8 || n > 32 || old > 0) && !q.thread {
			a, ok := m.q, true
			if i := n + u.joint.stays(a, b[n:]); i < len(b) || u.joint.info[a] >= infoDist {
				a, ok = t.refused(u, a, b, bound, i, n)
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
		for k, x := range q.starts[:hits] {
			x, since := int(x), 0
			if k < old && !q.unseen {
				since = n
			}
			a, live, ok := state, known, true
			switch {
			case x == ran:
			case q.lead.rule == leadStart && x == int(q.lead.x):
				a = q.lead.state
				live, ok = t.fits(u, a, now-x)
			case x > best && t.lone(u.alive[state]):
				a, live, ok = t.covered(u, b, q.before, x, since, u.alive[state])
				unseen = unseen || live
			default:
				a, live, ok = t.open(u, b, q.before, x, since)
			}
			if !ok {
				return 0, false
			}
			if live && u.front[a] && now-x > u.cut {
				front = max(front, now-x)
			}
			if live && x < best {
				best, state = x, a
			}
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
		if t.marks {
			back[u.view], open[u.view] = uint16(now-best), state
		}
	}
	s.n = [3]uint8{uint8(q.nb), uint8(q.nw), 0}
	h := s.slots[:]
	for _, w := range q.behind[:q.nb] {
		h[0], h[1], h = w.rule, w.state, h[2:]
	}
	for _, w := range q.wait[:q.nw] {
		free = min(free, int(w.x))
		h[0], h[1], h[2], h = w.rule, w.state, uint16(now-int(w.x)), h[3:]
	}
	for k := range s.live { // half by half: the next call reads halves
		s.live[k].back, s.live[k].q = back[k], open[k]
	}
	s.at += int64(now - n)
	s.held = uint16(now - free)
	s.flags &^= stateFront
	if front > 0 {
		s.flags |= stateFront
	}
	s.note = uint16(front)
	if unseen {
		s.note |= noteUnseen
	}
	if free > 0 {
		t.moveTails(s, b[:free])
	}
	return free, true
}

const (
	twinBytes = 96 // of a piece that is worth being stepped in two halves
	maxTwin   = 3  // tables; with more, two runs find no room in the registers
	maxTold   = 24 // in one piece
	longWord  = 48 // bytes
)

// tell is what a group tells at index i.
type tell struct {
	i     uint16
	group uint8
	st    uint32
}

// twin is what stepping a long piece has told, and the states at its end.
type twin struct {
	done bool // it was tried,
	ok   bool // and told all
	n    int  // of told
	told [maxTold]tell
	st   [maxGroups]uint32
}

// twin steps the tables over p in two halves side by side: each step of a table waits for the one before it, so
// that two runs take little more time than one. The second run begins as if nothing were under way; what the first
// one comes to is run on until both agree, which in most texts is a word later. It notes in tw what was told and
// does not lead to nothing. With false it has done nothing: much was told. More than maxTwin tables are
// stepped in one run.
func (t *Tables) twin(st *[maxGroups]uint32, b []byte, before, from int, tw *twin) bool {
	groups := len(t.groups)
	switch tw.done = true; {
	case groups == 0:
		return false
	case groups > maxTwin:
		return t.single(st, b, before, from, tw)
	}
	n, told := 0, &tw.told
	p := b[from:]
	h := len(p) / 2
	for h > len(p)/2-16 && p[h-1] != ' ' {
		h--
	}
	s, guess := *st, [maxGroups]uint32{}
	k := t.pack[p[h-1]]
	for g, next := range t.next[:groups] {
		guess[g] = next[k>>(8*g)&255] &^ accept // after the same byte at the text's beginning
	}
	r := guess
	var late [maxTold]tell // of the second half
	nl := 0
	for i := 0; i < h; {
		i += t.pair(&s, &r, p[i:h], p[h+i:])
		if n+groups > maxTold || nl+groups > maxTold {
			return false
		}
		n += t.tells(told[:], n, b, before, from+i, s[:groups])
		nl += t.tells(late[:], nl, b, before, from+h+i, r[:groups])
	}
	for i := 2 * h; i < len(p); {
		k, _ := t.step(0, groups, r[:groups], p[i:])
		i += k
		if nl+groups > maxTold {
			return false
		}
		nl += t.tells(late[:], nl, b, before, from+i, r[:groups])
	}
	i := h
	for s != guess {
		if i == len(p) {
			r = s
			break
		}
		k := t.pack[p[i]]
		i++
		for g, next := range t.next[:groups] {
			c := uint32(k >> (8 * g) & 255)
			s[g], guess[g] = next[s[g]+c], next[guess[g]+c]&^accept
		}
		if n+groups > maxTold {
			return false
		}
		n += t.tells(told[:], n, b, before, from+i, s[:groups])
	}
	for _, x := range late[:nl] {
		if int(x.i) <= from+i {
			continue
		}
		if n == maxTold {
			return false
		}
		told[n] = x
		n++
	}
	*st = r
	tw.n, tw.st, tw.ok = n, r, true
	return true
}

// single is twin in one run.
func (t *Tables) single(st *[maxGroups]uint32, b []byte, before, from int, tw *twin) bool {
	groups, n, s := len(t.groups), 0, *st
	for i := from; i < len(b); {
		k, _ := t.step(0, groups, s[:groups], b[i:])
		i += k
		if n+groups > maxTold {
			return false
		}
		n += t.tells(tw.told[:], n, b, before, i, s[:groups])
	}
	*st = s
	tw.n, tw.st, tw.ok = n, s, true
	return true
}

// tells adds to the n entries of told what states tell at index i that may lead to something, and gives how many. What
// led to something earlier in the piece most likely does so again.
func (t *Tables) tells(told []tell, n int, b []byte, before, i int, st []uint32) (more int) {
	var to lead
	for g, s := range st {
		if s&accept == 0 {
			continue
		}
		s &^= accept
		st[g] = s
		if again(told[:n], uint8(g), s) || !t.nothing(b, before, i, g, s, &to) {
			told[n+more] = tell{uint16(i), uint8(g), s}
			more++
		}
	}
	return more
}

// again tells whether told has the state of the group.
func again(told []tell, group uint8, st uint32) bool {
	for k := range told {
		if told[k].st == st && told[k].group == group {
			return true
		}
	}
	return false
}

// pair steps the tables from the states s over a and from the states r over as many bytes of b, until one of them
// stands on a list.
func (t *Tables) pair(s, r *[maxGroups]uint32, a, b []byte) int {
	pack := &t.pack
	i := 0
	b = b[:len(a)]
	switch len(t.groups) {
	case 1:
		t0 := t.next[0]
		s0, r0 := s[0], r[0]
		for ; i < len(a); i++ {
			s0, r0 = t0[s0+uint32(uint8(pack[a[i]]))], t0[r0+uint32(uint8(pack[b[i]]))]
			if (s0|r0)&accept != 0 {
				i++
				break
			}
		}
		s[0], r[0] = s0, r0
	case 2:
		t0, t1 := t.next[0], t.next[1]
		s0, s1, r0, r1 := s[0], s[1], r[0], r[1]
		for ; i < len(a); i++ {
			k, l := pack[a[i]], pack[b[i]]
			s0, r0 = t0[s0+uint32(uint8(k))], t0[r0+uint32(uint8(l))]
			s1, r1 = t1[s1+uint32(uint8(k>>8))], t1[r1+uint32(uint8(l>>8))]
			if (s0|s1|r0|r1)&accept != 0 {
				i++
				break
			}
		}
		s[0], s[1], r[0], r[1] = s0, s1, r0, r1
	case 3:
		t0, t1, t2 := t.next[0], t.next[1], t.next[2]
		s0, s1, s2, r0, r1, r2 := s[0], s[1], s[2], r[0], r[1], r[2]
		for ; i < len(a); i++ {
			k, l := pack[a[i]], pack[b[i]]
			s0, r0 = t0[s0+uint32(uint8(k))], t0[r0+uint32(uint8(l))]
			s1, r1 = t1[s1+uint32(uint8(k>>8))], t1[r1+uint32(uint8(l>>8))]
			s2, r2 = t2[s2+uint32(uint8(k>>16))], t2[r2+uint32(uint8(l>>16))]
			if (s0|s1|s2|r0|r1|r2)&accept != 0 {
				i++
				break
			}
		}
		s[0], s[1], s[2], r[0], r[1], r[2] = s0, s1, s2, r0, r1, r2
	}
	return i
}

// bound is the least start in the n held bytes that needs a look.
func (s *State) bound(view View, n int, marks bool) int {
	if m := s.live[view]; marks && int(m.back) <= n {
		return n - int(m.back)
	}
	return 0
}

// plainWord is plain for eight bytes; it may say no where white space is not what stands side by side.
func plainWord(v uint64) bool {
	const ones = 0x0101010101010101
	gap := ^(v&(0x7F*ones) + 0x5F*ones) & (0x80 * ones) // bytes up to the space
	return v&(0x80*ones) == 0 && gap&(gap<<8) == 0
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

// sure gives the start of the word at the end of the piece if it is sure to be live: it stands behind a stop, and has
// at most sureBytes letters and nothing else; d is the live number of the filter's state.
func (g *group) sure(b []byte, d, lo int) (x int, ok bool) {
	now := len(b)
	if d&liveSure == 0 || now <= sureBytes {
		return 0, false
	}
	const ones = 0x0101010101010101
	v := binary.LittleEndian.Uint64(b[now-sureBytes-1:])
	low := v&(0x7F*ones) | 0x20*ones
	letters := (low + (0x80-'a')*ones) &^ (low + (0x7F-'z')*ones) &^ v & (0x80 * ones)
	k := bits.LeadingZeros64(^letters&(0x80*ones)) / 8 // of them at the end
	x = now - k
	return x, uint(k-1) < sureBytes && d&^(liveEnd|liveSure) <= k && x >= lo && g.stop[b[x-1]] == 1
}

// begun notes the starts from lo on of the words that an end filter has under way at the end of the piece, the
// last one first. false says that there is no room.
func (g *group) begun(q *quick, lo int) bool {
	r := g.rncls
	for p := len(q.b) - 1; p >= lo && r != 0; p-- {
		v := g.rnext[r+uint32(g.rcls[q.b[p]])]
		if r = v &^ accept; v != r && !q.add(p+1) {
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
		what := g.tells(st)
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
	for _, k := range t.listAt(g.acc[g.number(st)]) {
		l := &t.lits[k]
		if l.trigger && !l.follows(q.b[i:]) {
			continue
		}
		e := i - 1
		if l.now {
			e = i
		}
		x := e - int(l.syms)
		if !q.plain(x, e) || !t.dies(q, l, x, e) {
			return false
		}
	}
	return true
}

// begins tells whether a word of a bundle may begin at x, by one byte.
func (t *Tables) begins(q *quick, x int) bool {
	for _, u := range t.bundle {
		if u.first[u.kindAt(q.b, x, q.before)<<8|uint32(q.b[x])] != anchorDead {
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
func (q *quick) plain(x, e int) bool { return x >= 0 && plain(q.b[x:e]) }

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
			state, how = t.runs(r, b, q.before, x)
		}
		return how == runWaits && (state == anchorDead || len(b)-x < int(r.near) && q.later(l.rule, state, x))
	case l.trigger:
		if q.lead.rule == l.rule && int(q.lead.x) == x {
			return q.looks(l.rule, q.lead.state)
		}
		return t.looking(q, l.rule, t.anch[r.behind].at(b, x, q.before), x)
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
			state, seen, ok := a.run(r, h[1], q.b, x, n+a.stays(h[1], q.b[n:]))
			if seen && state != anchorDead {
				return false
			}
			if ok && state != anchorDead && !a.fits(r, state, len(q.b)-x) { // the cap ended it
				if nc < len(capped) {
					capped[nc], nc = waiting{h[0], state, int32(x)}, nc+1
					continue
				}
				x, state, ok = a.heir(r, q.b, q.before, x, n, state)
			}
			for ok && state == anchorDead && x < n-1 { // then another start may count
				if x++; a.mayBegin(q.b[x]) {
					if state, seen, ok = a.run(r, a.at(q.b, x, q.before), q.b, x, x); seen && state != anchorDead {
						return false
					}
					if ok && state != anchorDead && !a.fits(r, state, len(q.b)-x) {
						x, state, ok = a.heir(r, q.b, q.before, x, n, state)
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
			x, state, ok = t.anch[r.anchor].heir(r, q.b, q.before, x, n, state)
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

// at is the state in front of index x of b; before is the byte in front of b.
func (a *anchored) at(b []byte, x, before int) uint16 {
	if x > 0 {
		before = int(b[x-1])
	}
	if before < 0 {
		return anchorBegin
	}
	return a.next[anchorFront*a.ncls+uint32(a.cls[before])]
}

// heads fills head.
func (a *anchored) heads() {
	var may [256]bool // by class
	front := append([]uint16{anchorBegin}, a.next[anchorFront*a.ncls:(anchorFront+1)*a.ncls]...)
	for _, q := range front {
		for c, to := range a.next[uint32(q)*a.ncls : (uint32(q)+1)*a.ncls] {
			may[c] = may[c] || to != anchorDead
		}
	}
	for b, c := range a.cls {
		if may[c] {
			a.head[b/64] |= 1 << (b % 64)
		}
	}
}

// mayBegin tells whether a word may begin with c.
func (a *anchored) mayBegin(c byte) bool { return a.head[c/64]>>(c%64)&1 == 1 }

// fits tells whether a run in state q, which began that many bytes back, can come to an end under the rule's cap.
func (a *anchored) fits(r *rule, q uint16, back int) bool {
	return back+int(a.info[q]&infoDist) <= int(r.cap)
}

// heir finds the first start behind x and in front of n that is live, where the run from x is in state q at the end of
// b, no word ended in it, and its cap is used up: most runs meet that one. ok is false if a word ended in another.
func (a *anchored) heir(r *rule, b []byte, before, x, n int, q uint16) (to int, state uint16, ok bool) {
	next, info, cls, ncls := a.next, a.info, &a.cls, a.ncls
	old, k := a.at(b, x, before), x // the run from x is in state old in front of index k
	for x = max(x+1, len(b)-int(r.cap)); x < n; x++ {
		if !a.mayBegin(b[x]) {
			continue
		}
		old, k = a.walk(old, b[k:x]), x
		p, o := a.at(b, x, before), old
		for _, c := range b[x:] {
			c := uint32(cls[c])
			if p, o = next[uint32(p)*ncls+c], next[uint32(o)*ncls+c]; p == anchorDead {
				break
			}
			if info[p]&infoAccept != 0 {
				return 0, 0, false
			}
			if p == o {
				p = q
				break
			}
		}
		if info[p]&infoDist != infoDist && a.fits(r, p, len(b)-x) {
			return x, p, true
		}
	}
	return n - 1, anchorDead, true
}

// stays is the number of bytes of p over which state q goes on to itself, 0 if a word ends in it. Each of these steps
// waits for none before it, as those of a run do.
func (a *anchored) stays(q uint16, p []byte) int {
	if a.info[q]&infoAccept != 0 {
		return 0
	}
	row, cls := a.next[uint32(q)*a.ncls:], &a.cls
	for i, c := range p {
		if row[cls[c]] != q {
			return i
		}
	}
	return len(p)
}

// walk goes on from state q over p, whatever ends on the way. It is for runs that go on for long.
func (a *anchored) walk(q uint16, p []byte) uint16 {
	next, cls, ncls := a.next, &a.cls, a.ncls
	for i := 0; i < len(p); i++ {
		to := next[uint32(q)*ncls+uint32(cls[p[i]])]
		if to == q {
			row := next[uint32(q)*ncls:]
			for i++; i < len(p) && row[cls[p[i]]] == q; { // each of these steps waits for none before it
				i++
			}
			i--
		}
		q = to
	}
	return q
}

// longStay is how many bytes must be left for it to pay to ask whether a run stays in its state.
const longStay = 32

// maxRefused is how many words of one run are judged on the quick path.
const maxRefused = 3

// run goes on with the run of r from start x of b, in state s at index i. ok is false if a word ends on the way that r's
// checks do not refuse; seen says that they refused one.
func (a *anchored) run(r *rule, s uint16, b []byte, x, i int) (state uint16, seen, ok bool) {
	refused := 0
	for ; i < len(b); i++ {
		was := s
		if s = a.next[uint32(s)*a.ncls+uint32(a.cls[b[i]])]; s == anchorDead {
			return anchorDead, refused > 0, true
		}
		if s == was && len(b)-i > longStay {
			i += a.stays(s, b[i+1:])
		}
		if a.info[s]&infoAccept != 0 && i > x {
			if refused++; r.flags&flagCheck == 0 || refused > maxRefused || i-x <= int(r.cap) && r.accepts(b[x:i]) {
				return s, true, false
			}
		}
	}
	if a.info[s]&infoDist == infoDist {
		s = anchorDead
	}
	return s, refused > 0, true
}

// leads runs the joint automaton from start x of b to its end; before is the byte in front of b. ok is false if a word
// ended on the way that the checks of its rules do not refuse.
func (u *bundle) leads(t *Tables, b []byte, x, before int) (q uint16, ok bool) {
	next, info, cls, ncls := u.joint.next, u.joint.info, &u.joint.cls, u.joint.ncls
	q = u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
	for i := x + 1; i < len(b) && q != anchorDead; i++ {
		q = next[uint32(q)*ncls+uint32(cls[b[i]])]
		if info[q]&infoAccept != 0 && !u.refuses(t, q, b[x:i]) {
			return q, false
		}
	}
	if info[q]&infoDist == infoDist {
		q = anchorDead
	}
	return q, true
}

// refused goes on from state q of a run from start x, the byte at index i of b being the next, to the end of b. ok is
// false if a word may be a match that is seen to have ended at index since or later.
func (t *Tables) refused(u *bundle, q uint16, b []byte, x, i, since int) (to uint16, ok bool) {
	next, info, cls, ncls := u.joint.next, u.joint.info, &u.joint.cls, u.joint.ncls
	for ; i < len(b); i++ {
		if q == anchorDead {
			return q, true
		}
		q = next[uint32(q)*ncls+uint32(cls[b[i]])]
		if info[q]&infoAccept != 0 && i >= since && !u.refuses(t, q, b[x:i]) {
			return q, false
		}
	}
	if info[q]&infoDist == infoDist {
		q = anchorDead
	}
	return q, true
}

// refuses tells whether the checks of all rules whose words end in state q are against the word w.
func (u *bundle) refuses(t *Tables, q uint16, w []byte) bool {
	if r := u.only[q]; r != nil {
		return len(w) > int(r.cap) || !r.accepts(w)
	}
	for _, local := range t.listAt(u.acc[q]) {
		if r := &t.rules[u.rules[local]]; len(w) <= int(r.cap) && (!r.checked() || r.accepts(w)) {
			return false
		}
	}
	return true
}

// checked tells whether words of the rule are judged by themselves.
func (r *rule) checked() bool { return r.flags&flagCheck != 0 && !r.tallied }

// open is refused from start x of b on, and tells whether x is live at the end.
func (t *Tables) open(u *bundle, b []byte, before, x, since int) (q uint16, live, ok bool) {
	if q, ok = t.refused(u, u.first[u.kindAt(b, x, before)<<8|uint32(b[x])], b, x, x+1, since); ok {
		live, ok = t.fits(u, q, len(b)-x)
	}
	return q, live, ok
}

// covered is open for a start behind one that is live at the end of b, by the one rule of a list: it stops where it
// could come to nothing but a match of that rule, for which the earlier start goes first.
func (t *Tables) covered(u *bundle, b []byte, before, x, since int, list uint32) (q uint16, live, ok bool) {
	next, info, cls, ncls := u.joint.next, u.joint.info, &u.joint.cls, u.joint.ncls
	q = u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
	for i := x + 1; i < len(b) && q != anchorDead; i++ {
		if u.alive[q] == list {
			return q, true, true
		}
		q = next[uint32(q)*ncls+uint32(cls[b[i]])]
		if info[q]&infoAccept != 0 && i >= since && !u.refuses(t, q, b[x:i]) {
			return q, false, false
		}
	}
	return q, info[q]&infoDist != infoDist, true
}

// lone tells whether a list has one rule.
func (t *Tables) lone(list uint32) bool { return t.lists[list] == 1 }

// fits tells whether a start that many bytes back, whose run is in state q, is live under the caps of the rules. ok is
// false if that takes a closer look.
func (t *Tables) fits(u *bundle, q uint16, back int) (live, ok bool) {
	switch {
	case q == anchorDead || back > u.far:
		return false, true
	case back <= int(u.near[q]):
		return true, true
	}
	alive := t.listAt(u.alive[q])
	if len(alive) != 1 {
		return false, false
	}
	return back+int(u.dist[q]) <= int(t.rules[u.rules[alive[0]]].cap), true
}

// reach is how far back a start whose run is in state q, which is not dead, may be live. sure says that it is live no
// farther back.
func (u *bundle) reach(t *Tables, q uint16) (back int, sure bool) {
	alive := t.listAt(u.alive[q])
	if len(alive) != 1 {
		return min(u.far, int(u.near[q])), false
	}
	return min(u.far, max(int(u.near[q]), int(t.rules[u.rules[alive[0]]].cap)-int(u.dist[q]))), true
}

// heir finds the first start behind bound and in front of best that is live, where the run from bound is in state q at
// the end of b and its cap is used up: most runs meet that one. Without one it gives best and its state. Words that ended
// on the way were seen to by whoever was told of them. ok is false if it takes a closer look.
func (t *Tables) heir(u *bundle, b []byte, before, bound int, q uint16, best int, state uint16) (x int, at uint16, ok bool) {
	next, cls, ncls := u.joint.next, &u.joint.cls, u.joint.ncls
	old, k := u.first[u.kindAt(b, bound, before)<<8|uint32(b[bound])], bound // the run from bound is in state old after index k
	far, sure := u.reach(t, q)
	for x = max(bound+1, len(b)-u.far); x < best; x++ {
		p, i, back := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])], x, len(b)-x
		if back > int(u.most[p]) {
			continue
		}
		if i++; i < len(b) {
			if p = next[uint32(p)*ncls+uint32(cls[b[i]])]; back > int(u.most[p]) {
				continue // as most starts at the cap
			}
			old, k = u.joint.walk(old, b[k+1:i+1]), i
			o := old
			for i++; i < len(b) && p != o && p != anchorDead; i++ {
				c := uint32(cls[b[i]])
				p, o = next[uint32(p)*ncls+c], next[uint32(o)*ncls+c]
			}
			if p == o {
				if back <= far {
					return x, q, true
				}
				if p = q; sure {
					continue
				}
			}
		}
		if u.joint.info[p]&infoDist == infoDist {
			continue
		}
		live, ok := t.fits(u, p, back)
		if live || !ok {
			return x, p, ok
		}
	}
	return best, state, true
}

// alone is on where nothing can have ended.
func (u *bundle) alone(q uint16, p []byte) uint16 {
	next, cls, ncls := u.joint.next, &u.joint.cls, u.joint.ncls
	for _, c := range p {
		if q = next[uint32(q)*ncls+uint32(cls[c])]; q == anchorDead {
			return q
		}
	}
	if u.joint.info[q]&infoDist == infoDist {
		q = anchorDead
	}
	return q
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

// number is the number of a state from its row.
func (g *group) number(row uint32) uint32 {
	return uint32(uint64(row) * g.inverse >> 40) // exact for rows below 2^24
}
