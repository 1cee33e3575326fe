package scan

// lives are starts whose first bytes were told and that are live at the end of a piece.
type lives struct {
	list   [maxList]heldStart
	n      int  // more than there is room for: the list is not whole
	front  int  // the first one, from the end
	unseen bool // not all were run to the end
}

// heldStart is a start that is live at the end of a piece.
type heldStart struct {
	x     int32  // where it stands
	state uint16 // of the joint automaton; notSeen: it is run from its beginning
	u     uint8  // the bundle
}

const (
	notSeen    = 0xFFFF
	maxList    = (maxSlots - 1) / 2
	maxBundles = 1 << 2 // that a list knows
	maxHeld    = 8      // starts that are told in one piece and are live at its end
)

// lastLives gives the starts that the last piece left in the slots, two halves each. ok is false if it left none there.
func (s *State) lastLives() (list []uint16, ok bool) {
	if s.note&noteList == 0 {
		return nil, false
	}
	h := s.slots[2*s.n[0]+3*s.n[1]:]
	return h[1 : 1+2*h[0]], true
}

// readHeld reads a start of lastLives, n being the bytes that were held.
func readHeld(h []uint16, n int) heldStart {
	return heldStart{int32(n - int(h[0]&maxNote)), h[1], uint8(h[0] >> 14)}
}

// add adds the live start x of bundle k, in state a at the end of the piece, or where it stops to be run, if its first
// bytes were told; else they are yet to be. Of one that stops, a word may have ended that is shorter than these.
func (l *lives) add(u *bundle, k, x, now int, a uint16, stops bool) {
	if u.joint.info[a]&infoFront == 0 || now-x <= u.cut && !stops {
		return
	}
	if stops {
		l.unseen, a = true, notSeen
	}
	l.front = max(l.front, now-x)
	if l.n++; k >= maxBundles {
		l.n = len(l.list) + 1
	} else if l.n <= len(l.list) {
		l.list[l.n-1] = heldStart{int32(x), a, uint8(k)}
	}
}

// save leaves the starts to the next piece, in the slots from h on if there is room.
func (l *lives) save(s *State, h []uint16, now int) {
	s.flags &^= stateFront
	s.note = uint16(l.front)
	if l.front == 0 {
		return
	}
	s.flags |= stateFront
	if l.unseen {
		s.note |= noteUnseen
	}
	if l.n > len(l.list) || len(h) < 1+2*l.n {
		return
	}
	s.note |= noteList
	h[0] = uint16(l.n)
	for k, x := range l.list[:l.n] {
		h[1+2*k], h[2+2*k] = uint16(now-int(x.x))|uint16(x.u)<<14, x.state
	}
}

// goesOn runs start x to the end of b, and tells whether it is live there: from state a at index n, or from its beginning
// if that is notSeen. Words that end in front of since were seen. Behind a start that is live at best, in that state,
// it may stop.
func (t *Tables) goesOn(u *bundle, b []byte, before, x int, a uint16, n, since, best int, state uint16) (to uint16, live, stops, ok bool) {
	var row uint32
	if a != notSeen {
		row = u.joint.row(a)
	} else {
		row, n = u.first[u.kindAt(b, x, before)<<8|uint32(b[x])], x+1
	}
	if x > best && t.lone(u.alive[state]) {
		return t.covered(u, row, b, x, n, since, u.alive[state])
	}
	if to, ok = t.refused(u, row, b, x, n, since); ok {
		live, ok = t.fits(u, to, len(b)-x)
	}
	return to, live, false, ok
}

// keen is quick for one joint automaton, where glides came upon more than it knows of, or with what that left to the
// next piece: starts and threads that are alive. With false it has done nothing.
func (t *Tables) keen(s *State, b []byte, n, i int, to lead) (free int, ok bool) {
	var q quick
	q.b, q.before, q.from, q.lead = b, t.before(s), len(b), noLead
	if q.before == unknownByte || len(b) > maxDist || t.norms && !isASCII(b) {
		return 0, false
	}
	if s.n != [3]uint8{} && (!t.resume(s, &q, n) || q.thread) {
		return 0, false
	}
	var old []uint16
	if s.flags&stateFront != 0 {
		if old, ok = s.lastLives(); !ok {
			return 0, false
		}
	}
	p, now := &t.glide.parts[0], len(b)
	u := p.u
	st := s.st
	for g := range t.groups { // what glides came upon; what it was told of before led to nothing
		if a := st[g]; a&accept != 0 {
			st[g] = t.groups[g].land(a)
			if g > int(to.group) && t.nothing(b, q.before, i, g, a, &to) {
				continue
			}
			if g >= int(to.group) && !t.meets(&q, g, a, i, to) {
				return 0, false
			}
		}
	}
	if t.glide.pair { // most frequent
		s0, s1 := st[0], st[1]
		for {
			if s0, s1, i = t.stepTwo(s0, s1, b, i); (s0|s1)&accept == 0 {
				break
			}
			if s0&accept != 0 {
				if !t.comesUpon(&q, 0, s0, i) {
					return 0, false
				}
				s0 = t.groups[0].land(s0)
			}
			if s1&accept != 0 {
				if !t.comesUpon(&q, 1, s1, i) {
					return 0, false
				}
				s1 = t.groups[1].land(s1)
			}
		}
		st[0], st[1] = s0, s1
	}
	for i < now {
		k, _ := t.step(0, len(t.groups), st[:len(t.groups)], b[i:])
		i += k
		for g := range t.groups {
			if a := st[g]; a&accept != 0 {
				if st[g] = t.groups[g].land(a); !t.comesUpon(&q, g, a, i) {
					return 0, false
				}
			}
		}
	}
	if free, ok = t.literals(&st, b); !ok {
		return 0, false
	}
	bound, m := 0, s.live[u.view]
	if int(m.back) <= n {
		bound = n - int(m.back)
	}
	far := max(bound, now-u.far)
	held := q.first() <= far // for a thread: which of the starts are live can wait
	best, state := now, uint16(anchorDead)
	if a := m.q; !held && a != anchorDead && int(m.back) <= n && (len(old) == 0 || n-int(old[0]&maxNote) != bound) && (now-n <= 8 || n > 32 || len(old) > 0) {
		if a = u.alone(u.joint.row(a), b[n:]); a != anchorDead {
			if now-bound > int(u.near[a]) {
				return 0, false
			}
			best, state = bound, a
		}
	}
	var next lives
	for ; len(old) > 0; old = old[2:] {
		e := readHeld(old, n)
		x, since := int(e.x), n
		if e.state == notSeen {
			since = 0
		}
		a, alive, stops, ok := t.goesOn(u, b, q.before, x, e.state, n, since, best, state)
		if !ok {
			return 0, false
		}
		if alive {
			if x < best {
				best, state = x, a
			}
			next.add(u, 0, x, now, a, stops)
		}
	}
	if q.n > 0 && !t.fronts(&q, u) {
		return 0, false
	}
	for _, e := range q.told[:q.nt] {
		x := int(e.x)
		alive, ok := t.fits(u, e.state, now-x)
		if !ok {
			return 0, false
		}
		if alive {
			if x < best {
				best, state = x, e.state
			}
			next.add(u, 0, x, now, e.state, false)
		}
	}
	if held {
		if far < best {
			best, state = far, anchorDead
		}
	} else if best > bound {
		lo, sure := p.under(&st, b, q.before, bound, best)
		if free <= lo {
			sure = min(sure, lo)
		}
		if sure < best {
			best, state = sure, anchorDead
		}
		if best, state, ok = u.open(b, q.before, lo, best, state); !ok {
			return 0, false
		}
	}
	free = min(free, best)
	s.st = st
	s.live[u.view].back, s.live[u.view].q = uint16(now-best), state
	s.live[1-u.view].back = noMark.back
	free = q.save(s, &next, free)
	s.at += int64(now - n)
	s.held = uint16(now - free)
	if free > 0 {
		t.moveTails(s, b[:free])
	}
	return free, true
}

// comesUpon sees to what group g tells at index i: starts are noted, to be run together. False says that this takes more
// than the quick path.
func (t *Tables) comesUpon(q *quick, g int, st uint32, i int) bool {
	grp, to := &t.groups[g], noLead
	if grp.filter == noFilter {
		return t.passes(q, grp, st, i)
	}
	what := tells(st)
	if what&toldEnd != 0 && !t.noWord(q.b, q.before, i, grp, toldEnd, &to) {
		return false
	}
	if what&toldFront == 0 {
		return true
	}
	x := i - 1 - int(grp.prefix)
	return grp.whole && x >= 0 && q.add(x)
}

// fronts runs the starts that were noted, two side by side: each step of a run waits for the one before it. Those that
// are live at the end of the piece are added to told. False says that a word ended which takes more than the quick path,
// or that there is no room.
func (t *Tables) fronts(q *quick, u *bundle) bool {
	next, cls, front, width := u.joint.next, u.joint.cls, u.joint.front, u.joint.width
	b, x := q.b, int(q.starts[0])
	a, i := u.first[u.kindAt(b, x, q.before)<<8|uint32(b[x])], x+1
	for _, y := range q.starts[1:q.n] {
		y := int(y)
		c, j := u.first[u.kindAt(b, y, q.before)<<8|uint32(b[y])], y+1
		for i < len(b) && j < len(b) && a >= front && c >= front {
			a, c = entry(next, a, cls[b[i]]), entry(next, c, cls[b[j]])
			if (a-front >= width || c-front >= width) && (!u.passable(t, a, b[x:i]) || !u.passable(t, c, b[y:j])) {
				return false
			}
			i, j = i+1, j+1
		}
		if a < front || i == len(b) { // the other one goes on
			x, i, a, y, j, c = y, j, c, x, i, a
		}
		if !t.frontEnds(q, u, c, y, j) {
			return false
		}
	}
	return t.frontEnds(q, u, a, x, i)
}

// frontEnds goes on with the run of fronts from start x, in row a in front of index i, to the end of the piece.
func (t *Tables) frontEnds(q *quick, u *bundle, a uint32, x, i int) bool {
	next, cls, front, width, b := u.joint.next, u.joint.cls, u.joint.front, u.joint.width, q.b
	for ; i < len(b) && a >= front; i++ {
		if a = entry(next, a, cls[b[i]]); a-front >= width && !u.passable(t, a, b[x:i]) {
			return false
		}
	}
	if a < front {
		return true
	}
	to := u.joint.ended(a)
	return to == anchorDead || q.lives(x, to, 0)
}

// passable tells whether no word ended in row q, or the checks of its rules are against the word w.
func (u *bundle) passable(t *Tables, q uint32, w []byte) bool {
	return q <= u.joint.last || u.refuses(t, u.joint.number(q), w)
}

// lives notes a start of bundle k that is live at the end of the piece, in the order of the text. False says that there is
// no room.
func (q *quick) lives(x int, state uint16, k int) bool {
	i := q.nt
	if i == len(q.told) {
		return false
	}
	for q.nt++; i > 0 && int(q.told[i-1].x) > x; i-- {
		q.told[i] = q.told[i-1]
	}
	q.told[i] = heldStart{int32(x), state, uint8(k)}
	return true
}

// meets is comesUpon where that leads to what to says.
func (t *Tables) meets(q *quick, g int, st uint32, i int, to lead) bool {
	switch {
	case to.rule == leadWord:
		return false
	case t.groups[g].filter == noFilter:
		q.lead = to
		return t.passes(q, &t.groups[g], st, i)
	}
	return to.rule == leadStart && q.lives(int(to.x), to.state, 0)
}

// save leaves the threads and the starts that are alive to the next piece. It gives the least of free and where they
// began.
func (q *quick) save(s *State, next *lives, free int) int {
	now, h := len(q.b), s.slots[:]
	s.n = [3]uint8{uint8(q.nb), uint8(q.nw), 0}
	for _, w := range q.behind[:q.nb] {
		h[0], h[1], h = w.rule, w.state, h[2:]
	}
	for _, w := range q.wait[:q.nw] {
		free = min(free, int(w.x))
		h[0], h[1], h[2], h = w.rule, w.state, uint16(now-int(w.x)), h[3:]
	}
	if next.save(s, h, now); next.front == 0 && q.nw > 0 && q.from < now {
		s.note = uint16(min(now-q.from, maxNote))
	}
	return free
}
