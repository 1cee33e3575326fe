package scan

import "unicode/utf8"

// quick is one piece on the quick path: its text, and the starts that are to be run.
type quick struct {
	b      []byte
	before int // the byte in front of b, -1 = none
	starts [16]int32
	n      int // of starts
	wait   [maxSlots / 3]waiting
	nw     int // of wait
}

// waiting is a thread that is alive at the end of the piece: of a triggered rule, or of a phrase (slotText).
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

// quick scans a short piece in which nothing ends and nothing is under way but what the tables know, which is
// what most pieces of a stream are. It does what block does, without its bookkeeping. With ok false it has done
// nothing.
func (t *Tables) quick(s *State, b []byte, n int) (free int, ok bool) {
	before := s.st
	if free, ok = t.quickly(s, b, n); !ok {
		s.st = before
	}
	return free, ok
}

func (t *Tables) quickly(s *State, b []byte, n int) (free int, ok bool) {
	if s.rescan > 0 || len(b) > maxDist || s.flags&(3*stateCarry|stateEnded) != 0 || len(t.fuzzy) > 0 || t.norms && !isASCII(b) {
		return 0, false
	}
	st := &s.st
	var q quick
	q.b, q.before = b, -1
	if s.ntail[0] > 0 {
		q.before = int(s.tail[0][tailLen-1])
	}
	if t.norms && (s.tail[0][tailLen-1] != s.tail[1][tailLen-1] || (s.ntail[0] > 0) != (s.ntail[1] > 0)) {
		return 0, false // the views differ in front of the piece
	}
	if s.n != [3]uint8{} && !t.resume(s, &q, n) {
		return 0, false
	}
	if s.flags&stateFront != 0 {
		from := n
		for _, u := range t.bundle {
			from = min(from, s.bound(u.view, n, t.marks))
		}
		for x := from; x < n; x++ {
			if t.begins(&q, x) && !q.add(x) {
				return 0, false
			}
		}
	}
	for i := n; i < len(b); {
		k, hit := t.step(0, len(t.groups), st[:len(t.groups)], b[i:])
		i += k
		if !hit {
			break
		}
		for g := range t.groups {
			if st[g]&accept != 0 {
				st[g] &^= accept
				if !t.passes(&q, &t.groups[g], st[g], i) {
					return 0, false
				}
			}
		}
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
	front := uint8(0)
	live := [2]mark{noMark, noMark}
	hits := q.n
	for _, u := range t.bundle {
		best, state := now, uint16(anchorDead)
		for _, x := range q.starts[:hits] {
			x := int(x)
			a, ended := u.from(b, x, q.before)
			if ended || a != anchorDead && now-x > u.near {
				return 0, false
			}
			if a != anchorDead {
				if u.front[a] && now-x > prefixBytes {
					front = stateFront
				}
				if x < best {
					best, state = x, a
				}
			}
		}
		bound, known := s.bound(u.view, n, t.marks), false
		if m := s.live[u.view]; t.marks && int(m.back) <= n {
			// In a long piece the word most likely ends: looking for others is cheaper.
			if m.q != anchorDead && (now-n <= 8 || n > 32) {
				a, ended := u.on(m.q, b[n:])
				if ended {
					return 0, false
				}
				if known = a != anchorDead && now-bound <= u.near; known {
					best, state = bound, a
				}
			}
		}
		if !known {
			q.n = hits
			for g := range t.groups {
				grp := &t.groups[g]
				if grp.filter == noFilter || grp.view != u.view {
					continue
				}
				if d := int(grp.live[grp.number(st[g])]); d > 0 && !t.open(&q, grp, d, max(bound, now-u.far)) {
					return 0, false
				}
			}
			for i := hits; i < q.n; i++ {
				x := int(q.starts[i])
				if x >= best {
					continue
				}
				a, ended := u.from(b, x, q.before)
				if ended || a != anchorDead && now-x > u.near {
					return 0, false
				}
				if a != anchorDead {
					best, state = x, a
				}
			}
		}
		free = min(free, best)
		if t.marks {
			live[u.view] = mark{uint16(now - best), state}
		}
	}
	s.n = [3]uint8{0, uint8(q.nw), 0}
	for i, w := range q.wait[:q.nw] {
		free = min(free, int(w.x))
		s.slots[3*i], s.slots[3*i+1], s.slots[3*i+2] = w.rule, w.state, uint16(now-int(w.x))
	}
	s.live = live
	s.at += int64(now - n)
	s.held = uint16(now - free)
	s.flags = s.flags&^stateFront | front
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

// open notes the starts from lo on that a filter has under way at the end of the piece; d is the live number of
// its state. false says that there is no room.
func (t *Tables) open(q *quick, g *group, d, lo int) bool {
	now := len(q.b)
	if g.filter == prefixFilter {
		for x := now - 1; x >= max(lo, now-d); x-- {
			if t.begins(q, x) && !q.add(x) {
				return false
			}
		}
		return true
	}
	r := g.rncls
	for p := now - 1; p >= lo && r != 0; p-- {
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
	case g.filter == prefixFilter:
		for x := max(0, i-1-int(g.prefix)); x < i-1; x++ {
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
		if l.trigger && i < len(q.b) && !l.after.has(q.b[i]) {
			continue
		}
		e := i - 1
		if l.now {
			e = i
		}
		x := e - int(l.syms)
		if !q.plain(x, e) || !t.dies(q, l, x) {
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
func (q *quick) plain(x, e int) bool {
	if x < 0 {
		return false
	}
	gap := false
	for _, c := range q.b[x:e] {
		again := gap
		if gap = isGap(c); c >= utf8.RuneSelf || gap && again {
			return false
		}
	}
	return true
}

// dies tells whether what a literal begins at x certainly leads to nothing within the piece.
func (t *Tables) dies(q *quick, l *lit, x int) bool {
	r := &t.rules[l.rule]
	b := q.b
	switch {
	case l.trigger && r.flags&flagBehind == 0:
		for _, w := range q.wait[:q.nw] {
			if w.rule == l.rule {
				return false
			}
		}
		state, ok := t.anch[r.anchor].run(t.anch[r.anchor].at(b, x, q.before), b[x:])
		return ok && (state == anchorDead || len(b)-x < int(r.near) && q.later(l.rule, state, x))
	case l.trigger:
		a := &t.anch[r.behind]
		s := a.at(b, x, q.before)
		for i, c := range b[x:] {
			if s = a.next[uint32(s)*a.ncls+uint32(a.cls[c])]; s == anchorDead {
				return true
			}
			if a.info[s]&infoAccept != 0 {
				word := &t.anch[r.anchor]
				if state, ok := word.run(word.at(b, x+i, q.before), b[x+i:]); !ok || state != anchorDead {
					return false // a word may begin here
				}
			}
		}
		return a.info[s]&infoDist == infoDist
	case !l.head:
		return false
	}
	return t.differs(q, l.rule, x)
}

// differs tells whether a phrase is not in the text at x; if it may still come, it is noted.
func (t *Tables) differs(q *quick, rule uint16, x int) bool {
	r, b := &t.rules[rule], q.b
	p := r.phrase
	fold := r.flags&flagFold != 0
	i := x
	for ; i < len(b) && len(p) > 0; i, p = i+1, p[1:] {
		c, w := b[i], p[0]
		if c >= utf8.RuneSelf || w >= utf8.RuneSelf {
			return false // it takes a closer look
		}
		if isGap(c) && w == ' ' {
			if i+1 < len(b) && isGap(b[i+1]) {
				return false
			}
			continue
		}
		if c != w && (!fold || c|0x20 != w|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return true
		}
	}
	return len(p) > 0 && len(b)-x < int(r.cap) && q.later(rule, slotText, x)
}

// resume goes on with the threads of the last piece; n bytes were read.
func (t *Tables) resume(s *State, q *quick, n int) bool {
	if s.n[0] > 0 || s.n[2] > 0 {
		return false
	}
	for h := s.slots[:3*s.n[1]]; len(h) > 0; h = h[3:] {
		if h[1] == slotDone || h[1] == slotGuard || h[1] == slotMark || h[2] > maxDist {
			return false
		}
		x, r := n-int(h[2]), &t.rules[h[0]]
		switch {
		case h[1] == slotText:
			if !t.differs(q, h[0], x) {
				return false
			}
		case r.flags&(flagBehind|flagBundle) != 0:
			return false
		default:
			a := &t.anch[r.anchor]
			state, ok := a.run(h[1], q.b[n:])
			for ok && state == anchorDead && x < n-1 { // then another start may count
				x++
				state, ok = a.run(a.at(q.b, x, q.before), q.b[x:])
			}
			if !ok || state != anchorDead && (len(q.b)-x >= int(r.near) || !q.later(h[0], state, x)) {
				return false
			}
		}
	}
	return true
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

// run goes on from state s over p. ok is false if a word ends on the way.
func (a *anchored) run(s uint16, p []byte) (state uint16, ok bool) {
	for _, c := range p {
		if s = a.next[uint32(s)*a.ncls+uint32(a.cls[c])]; s == anchorDead {
			return anchorDead, true
		}
		if a.info[s]&infoAccept != 0 {
			return s, false
		}
	}
	if a.info[s]&infoDist == infoDist {
		s = anchorDead
	}
	return s, true
}

// from runs the joint automaton from start x of b to its end; before is the byte in front of b. It stops where
// a word ends.
func (u *bundle) from(b []byte, x, before int) (q uint16, ended bool) {
	return u.on(u.first[u.kindAt(b, x, before)<<8|uint32(b[x])], b[x+1:])
}

// on goes on from state q over p.
func (u *bundle) on(q uint16, p []byte) (to uint16, ended bool) {
	next, info, cls, ncls := u.joint.next, u.joint.info, &u.joint.cls, u.joint.ncls
	for _, c := range p {
		if q == anchorDead {
			return q, false
		}
		q = next[uint32(q)*ncls+uint32(cls[c])]
		if info[q]&infoAccept != 0 {
			return q, true
		}
	}
	if info[q]&infoDist == infoDist {
		q = anchorDead
	}
	return q, false
}

// moveTails moves the base over p, which is pure ASCII where that matters.
func (t *Tables) moveTails(s *State, p []byte) {
	moveTail(&s.tail[0], &s.ntail[0], p)
	if !t.norms {
		return
	}
	moveTail(&s.tail[1], &s.ntail[1], p)
	s.flags &^= stateLatin
	if c := p[len(p)-1] | 0x20; c >= 'a' && c <= 'z' {
		s.flags |= stateLatin
	}
}

// number is the number of a state from its row.
func (g *group) number(row uint32) uint32 {
	return uint32(uint64(row) * g.inverse >> 40) // exact for rows below 2^24
}
