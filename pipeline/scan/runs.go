package scan

import (
	"bytes"
	"slices"
)

// live is search in a longer text: without a live start it gives best and its state. ok is false if a word is seen to have
// ended at index since or later, or if it takes a closer look.
func (t *Tables) live(u *bundle, b []byte, before, lo, since, best int, state uint16) (x int, q uint16, ok bool) {
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	var dead [longPath]uint32 // by distance from lo: a row that leads to nothing there
	for x = lo; x < best; x++ {
		row := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
		for i := x + 1; i < len(b) && row != 0; i++ {
			if row = entry(next, row, cls[b[i]]); row == dead[i-lo] {
				row = 0
				break
			}
			if dead[i-lo] = row; leaves(row, last) && row != 0 && i >= since {
				return x, q, false
			}
		}
		if q = u.joint.ended(row); q == anchorDead {
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
	n := 0
	for b, c := range a.cls {
		if may[c] {
			a.head[b/64] |= 1 << (b % 64)
			a.sole, n = int16(b), n+1
		}
	}
	if n != 1 {
		a.sole = -1
	}
}

// nextHead gives the index from x on at which a word may begin, len(b) if there is none.
func (a *anchored) nextHead(b []byte, x int) int {
	if a.sole >= 0 && x < len(b) {
		if k := bytes.IndexByte(b[x:], byte(a.sole)); k >= 0 {
			return x + k
		}
		return len(b)
	}
	for x < len(b) && !a.mayBegin(b[x]) {
		x++
	}
	return min(x, len(b))
}

// findPath fills path and over: the longest path for the set of bytes over which most states go on.
func (a *anchored) findPath() {
	n, width := len(a.info), int(a.ncls)
	size := make([]int, width) // of each class, in bytes
	for _, c := range a.cls {
		size[c]++
	}
	goes := func(s int, to uint16) (set classSet) {
		for c, x := range a.next[s*width : (s+1)*width-1] {
			if x == to {
				set.add(c)
			}
		}
		return set
	}
	sets := map[classSet]int{} // in how many states each is the largest that leads to one
	var most classSet
	count := make([]int, n) // bytes by state that they lead to
	for s := anchorFront + 1; s < n; s++ {
		best := uint16(anchorDead)
		row := a.next[s*width : (s+1)*width-1]
		for c, to := range row {
			if to == anchorDead || a.info[to]&infoAccept != 0 {
				continue
			}
			if count[to] += size[c]; best == anchorDead || count[to] > count[best] {
				best = to
			}
		}
		enough := best != anchorDead && count[best] >= minPathBytes
		for _, to := range row {
			count[to] = 0
		}
		if !enough {
			continue
		}
		set := goes(s, best)
		if sets[set]++; sets[set] > sets[most] {
			most = set
		}
	}
	if sets[most] == 0 {
		return
	}
	var classes []int
	for c := range width - 1 {
		if most.has(c) {
			classes = append(classes, c)
		}
	}
	next := make([]uint16, n) // over all of the set; 0: not to one state
	for s := anchorFront + 1; s < n; s++ {
		row := a.next[s*width:]
		to := row[classes[0]]
		if slices.ContainsFunc(classes, func(c int) bool { return row[c] != to }) || a.info[to]&infoAccept != 0 {
			continue
		}
		next[s] = to
	}
	var path []uint16
	seen := make([]int, n)    // by state: the last one from which it was met
	inside := make([]bool, n) // another state goes on to it: a path from there is longer
	for s, to := range next {
		inside[to] = inside[to] || int(to) != s
	}
	for s := anchorFront + 1; s < n; s++ {
		if inside[s] {
			continue
		}
		path = path[:0]
		for x := uint16(s); x != anchorDead && len(path) < maxPathStates && seen[x] != s && a.info[x]&infoAccept == 0; x = next[x] {
			seen[x] = s
			path = append(path, x)
		}
		if len(path) > len(a.path) {
			a.path = slices.Clone(path)
		}
	}
	if len(a.path) < 2 && (len(a.path) == 0 || next[a.path[0]] != a.path[0]) {
		a.path = nil
		return
	}
	a.over = new([256]uint8)
	for b, c := range a.cls {
		a.over[b] = uint8(boolInt(most.has(int(c))))
	}
}

// setPath fills what follows from path and over.
func (a *anchored) setPath() {
	a.loop = noLoop
	if len(a.path) == 0 {
		return
	}
	a.pos = make([]uint8, len(a.info))
	for i, s := range a.path {
		a.pos[s] = uint8(i + 1)
	}
	last := a.path[len(a.path)-1]
	row := a.next[uint32(last)*a.ncls:]
	for b, in := range a.over {
		if in != 0 && row[a.cls[b]] != last {
			return
		}
	}
	a.loop = last
}

const (
	noLoop        = 0xFFFF // no state
	minPathBytes  = 8      // of a set of bytes over which a path is worth it
	maxPathStates = 255    // of a path
)

// along goes on from state s, which is on the path, over the bytes of the path's set at the beginning of p. It gives how
// many these are.
func (a *anchored) along(s uint16, p []byte) (to uint16, n int) {
	i, last := int(a.pos[s])-1, len(a.path)-1
	if i == last && a.loop == noLoop {
		return s, 0
	}
	if a.loop == noLoop {
		p = p[:min(len(p), last-i)]
	}
	n = within(a.over, p)
	return a.path[min(i+n, last)], n
}

// mayBegin tells whether a word may begin with c.
func (a *anchored) mayBegin(c byte) bool { return a.head[c/64]>>(c%64)&1 == 1 }

// fits tells whether a run in state q, which began that many bytes back, can come to an end under the rule's cap.
func (a *anchored) fits(r *rule, q uint16, back int) bool {
	return back+int(a.info[q]&infoDist) <= int(r.cap)
}

// heir finds the first start behind x and in front of n that is live, where the run from x is in state q at the end of
// b, no word ended in it, and its cap is used up: most runs meet that one. From index from on q goes on to itself. ok is
// false if a word ended in another run.
func (a *anchored) heir(r *rule, b []byte, before, x, n int, q uint16, from int) (to int, state uint16, ok bool) {
	next, info, cls, ncls := a.next, a.info, a.cls, a.ncls
	old, k := a.at(b, x, before), x                                     // the run from x is in state old in front of index k
	for x = a.nextHead(b[:n], x+1); x < n; x = a.nextHead(b[:n], x+1) { // over the cap, too: a word may have ended within it
		// Most come to the state in which the old one ends. Up to there the runs are side by side, each at its own place.
		p, i := a.at(b, x, before), x
		for end := min(len(b), x+longMeet); i < end && (p != q || i < from && from < end); i++ {
			if p = next[uint32(p)*ncls+uint32(cls[b[i]])]; p == anchorDead {
				break
			}
			if info[p]&infoAccept != 0 {
				return 0, 0, false
			}
			if a.loop == q && i+1 >= from && a.leadsOn(p, len(b)-i-1) {
				p, i = q, len(b)
				break
			}
			if k <= i && from >= end {
				old, k = next[uint32(old)*ncls+uint32(cls[b[k]])], k+1
			}
		}
		if p != anchorDead && (p != q || i < from) {
			if k < i {
				old, k = a.walk(old, b[k:i]), i
			}
			o := old
			for ; i < len(b) && (i < k || p != o); i++ {
				c := uint32(cls[b[i]])
				if p = next[uint32(p)*ncls+c]; p == anchorDead {
					break
				}
				if info[p]&infoAccept != 0 {
					return 0, 0, false
				}
				if i >= k {
					o = next[uint32(o)*ncls+c]
				}
			}
			if p == o {
				p = q
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
	if q == a.loop {
		return within(a.over, p)
	}
	row, cls := a.next[uint32(q)*a.ncls:], a.cls
	for i, c := range p {
		if row[cls[c]] != q {
			return i
		}
	}
	return len(p)
}

// leadsOn tells whether n bytes of the path's set lead from state s to its last state.
func (a *anchored) leadsOn(s uint16, n int) bool {
	i := int(a.pos[s])
	return i > 0 && len(a.path)-i <= n
}

// within is the number of bytes of p in front of the first one that is not of a set.
func within(set *[256]uint8, p []byte) int {
	i := 0
	for ; i+8 <= len(p); i += 8 {
		v := (*[8]byte)(p[i:])
		if set[v[0]]&set[v[1]]&set[v[2]]&set[v[3]]&set[v[4]]&set[v[5]]&set[v[6]]&set[v[7]] == 0 {
			break
		}
	}
	for i < len(p) && set[p[i]] != 0 {
		i++
	}
	return i
}

// stayed is the number of bytes at the end of p over which state q goes on to itself, 0 if a word ends in it. Of the last state of
// the path it counts those of the path's set, as stays does: over others, another state does not lead there.
func (a *anchored) stayed(q uint16, p []byte) int {
	if a.info[q]&infoAccept != 0 {
		return 0
	}
	n := 0
	if q == a.loop {
		for n < len(p) && a.over[p[len(p)-1-n]] != 0 {
			n++
		}
		return n
	}
	row, cls := a.next[uint32(q)*a.ncls:], a.cls
	for n < len(p) && row[cls[p[len(p)-1-n]]] == q {
		n++
	}
	return n
}

// walk goes on from state q over p, whatever ends on the way. It is for runs that go on for long.
func (a *anchored) walk(q uint16, p []byte) uint16 {
	next, cls, ncls := a.next, a.cls, a.ncls
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

// shortPath is how many bytes must be left for it to pay to look for a path.
const shortPath = 4

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
		if a.pos != nil && a.pos[s] != 0 && len(b)-i > shortPath {
			to, n := a.along(s, b[i+1:])
			s, i = to, i+n
			continue
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

// leadsFront is leads for a start that a prefix filter tells of: it is as if it were dead where only rules of an end filter
// are alive.
func (u *bundle) leadsFront(t *Tables, b []byte, x, before int) (q uint16, ok bool) {
	next, cls, front, width := u.joint.next, u.joint.cls, u.joint.front, u.joint.width
	row := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
	for i := x + 1; i < len(b); i++ {
		if row = entry(next, row, cls[b[i]]); row-front < width {
			continue
		}
		if row < front {
			return anchorDead, true
		}
		if q = u.joint.number(row); !u.refuses(t, q, b[x:i]) {
			return q, false
		}
	}
	return u.joint.ended(row), true
}

// leads runs the joint automaton from start x of b to its end; before is the byte in front of b. ok is false if a word
// ended on the way that the checks of its rules do not refuse.
func (u *bundle) leads(t *Tables, b []byte, x, before int) (q uint16, ok bool) {
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	row := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])]
	if row == 0 {
		return anchorDead, true
	}
	for i := x + 1; i < len(b); i++ {
		if row = entry(next, row, cls[b[i]]); !leaves(row, last) {
			continue
		}
		if row == 0 {
			return anchorDead, true
		}
		if q = u.joint.number(row); !u.refuses(t, q, b[x:i]) {
			return q, false
		}
	}
	return u.joint.ended(row), true
}

// refused goes on from row q of a run from start x, the byte at index i of b being the next, to the end of b. ok is
// false if a word may be a match that is seen to have ended at index since or later.
func (t *Tables) refused(u *bundle, q uint32, b []byte, x, i, since int) (to uint16, ok bool) {
	if q == 0 {
		return anchorDead, true
	}
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	for ; i < len(b); i++ {
		if q = entry(next, q, cls[b[i]]); !leaves(q, last) {
			continue
		}
		if q == 0 {
			return anchorDead, true
		}
		if i < since {
			continue
		}
		if to = u.joint.number(q); !u.refuses(t, to, b[x:i]) {
			return to, false
		}
	}
	return u.joint.ended(q), true
}

// refuses tells whether the checks of all rules whose words end in state q are against the word w.
func (u *bundle) refuses(t *Tables, q uint16, w []byte) bool {
	if id := u.only[q]; id > 0 {
		r := &t.rules[id-1]
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

// covered is refused, from state q, for a start behind one that is live at the end of b, by the one rule of a list: it stops where it
// could come to nothing but a match of that rule, for which the earlier start goes first.
func (t *Tables) covered(u *bundle, q uint32, b []byte, x, i, since int, list uint32) (to uint16, live, stops, ok bool) {
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	for ; i < len(b) && q != 0; i++ {
		if to = u.joint.number(q); u.alive[to] == list {
			return to, true, true, true
		}
		q = entry(next, q, cls[b[i]])
		if leaves(q, last) && q != 0 && i >= since && !u.refuses(t, u.joint.number(q), b[x:i]) {
			return to, false, false, false
		}
	}
	to = u.joint.ended(q)
	return to, to != anchorDead, false, true
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
	return back+int(u.joint.info[q]&infoDist) <= int(t.rules[u.rules[alive[0]]].cap), true
}

// reach is how far back a start whose run is in state q, which is not dead, may be live. sure says that it is live no
// farther back.
func (u *bundle) reach(t *Tables, q uint16) (back int, sure bool) {
	alive := t.listAt(u.alive[q])
	if len(alive) != 1 {
		return min(u.far, int(u.near[q])), false
	}
	return min(u.far, max(int(u.near[q]), int(t.rules[u.rules[alive[0]]].cap)-int(u.joint.info[q]&infoDist))), true
}

// heir finds the first start behind bound and in front of best that is live, where the run from bound is in state q at
// the end of b and its cap is used up: most runs meet that one. Without one it gives best and its state. Words that ended
// on the way were seen to by whoever was told of them. ok is false if it takes a closer look.
func (t *Tables) heir(u *bundle, b []byte, before, bound int, q uint16, best int, state uint16) (x int, at uint16, ok bool) {
	next, cls := u.joint.next, u.joint.cls
	old, k := u.first[u.kindAt(b, bound, before)<<8|uint32(b[bound])], bound // the run from bound is in row old after index k
	far, sure := u.reach(t, q)
	for x = max(bound+1, len(b)-u.far); x < best; x++ {
		p, i, back := u.first[u.kindAt(b, x, before)<<8|uint32(b[x])], x, len(b)-x
		if i++; i < len(b) {
			if p = entry(next, p, cls[b[i]]); p == 0 {
				continue // as most starts at the cap
			}
			old, k = u.joint.walk(old, b[k+1:i+1]), i
			o := old
			for i++; i < len(b) && p != o && p != 0; i++ {
				c := cls[b[i]]
				p, o = entry(next, p, c), entry(next, o, c)
			}
			if p == o {
				if back <= far {
					return x, q, true
				}
				if p = u.joint.row(q); sure {
					continue
				}
			}
		}
		to := u.joint.ended(p)
		if to == anchorDead {
			continue
		}
		live, ok := t.fits(u, to, back)
		if live || !ok {
			return x, to, ok
		}
	}
	return best, state, true
}

// alone gives the state behind p of a run that is in row q, whatever ends on the way.
func (u *bundle) alone(q uint32, p []byte) uint16 {
	next, cls := u.joint.next, u.joint.cls
	for _, c := range p {
		if q = entry(next, q, cls[c]); q == 0 {
			return anchorDead
		}
	}
	return u.joint.ended(q)
}

// walk is alone, without a look at the end.
func (j *united) walk(q uint32, p []byte) uint32 {
	for _, c := range p {
		q = entry(j.next, q, j.cls[c])
	}
	return q
}

// stays is that of an anchored automaton.
func (j *united) stays(q uint16, p []byte) int {
	if j.info[q]&infoAccept != 0 {
		return 0
	}
	at := j.row(q)
	row := j.next[at : at+j.ncls]
	for i, c := range p {
		if row[j.cls[c]] != at {
			return i
		}
	}
	return len(p)
}
