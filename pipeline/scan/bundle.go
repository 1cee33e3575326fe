package scan

import (
	"slices"
	"unicode/utf8"
)

// bundle is a joint automaton of table rules of one view. It is anchored and run from the starts that the
// filters tell.
type bundle struct {
	view  View
	rules []uint16
	joint united
	acc   []uint32 // by state: offset of the list of the rules whose word ended before the last byte
	alive []uint32 // by state: offset of the list of the rules whose words may still end
	first []uint32 // by kind of the byte in front and byte: the row of the state after it
	cut   int      // bytes of a start that such a filter knows
	near  []uint16 // by state: starts at most this far back are live under the cap of a rule
	only  []uint16 // by state: the number of the rule whose word ended + 1, if it is one and judges its words; else 0
	far   int      // no word is longer
	own   []uint32 // by rule: the list of it alone, 0 if no state has it
	bot   uint8    // kind of the text's beginning
	kind  [256]uint8
}

// united is the automaton of a bundle. A run of it is a row at a time, from which the next one is known without a
// multiplication; what is kept is its number.
type united struct {
	next    []uint32 // by state*ncls+class: state*ncls
	info    []uint16 // as of an anchored automaton
	ncls    uint32
	cls     *[256]uint8
	inverse uint64 // 2^40 / ncls, rounded up
	last    uint32 // the last entry of rows in which no word ended: see leaves
	front   uint32 // the first row of sortFront, and
	width   uint32 // the entries of all of them
}

// The states of a bundle stand in the order of their sorts.
const (
	sortFixed = iota // those of every anchored automaton
	sortWords        // only rules of an end filter are alive
	sortFront        // a rule of a prefix filter is
	sortEnd          // a word ended
)

// sort gives the sort of a state; ended says that a word ended in it, and live are the rules whose words may still end.
func (u *bundle) sort(t *Tables, state int, ended bool, live []uint16) uint8 {
	switch {
	case state <= anchorFront:
		return sortFixed
	case ended:
		return sortEnd
	}
	for _, local := range live {
		if t.rules[u.rules[local]].flags&flagEndFilter == 0 {
			return sortFront
		}
	}
	return sortWords
}

// row gives the row of a state. It panics if there is no such state.
func (j *united) row(q uint16) uint32 {
	_ = j.info[q] // it may come from a State, and what reads rows checks nothing
	return uint32(q) * j.ncls
}

// number gives the state of a row.
func (j *united) number(row uint32) uint16 {
	return uint16(uint64(row) * j.inverse >> 40) // exact for rows below 2^24
}

// leaves tells, for last of an automaton, whether row is dead or a word ended in it: all states in which one did are
// behind the others.
func leaves(row, last uint32) bool { return row-1 >= last }

// ended gives the state in which a run is that comes to row at the end of the text: dead, if no word can end any more.
func (j *united) ended(row uint32) uint16 {
	if row == 0 {
		return anchorDead
	}
	if q := j.number(row); j.info[q]&infoDist != infoDist {
		return q
	}
	return anchorDead
}

// liveStart is a start at which the joint automaton is live at the end of the block, in state q.
type liveStart struct {
	s int32
	q uint16
}

const maxLive = 16 // starts of a bundle that are noted; more are looked for again

// finish fills what follows from the automaton.
func (u *bundle) finish(t *Tables) {
	j := &u.joint
	j.inverse = (1<<40 + uint64(j.ncls) - 1) / uint64(j.ncls)
	ids := map[uint32]uint8{}
	var starts []uint32
	id := func(q uint32) uint8 {
		k, ok := ids[q]
		if !ok {
			k = uint8(len(starts))
			ids[q] = k
			starts = append(starts, q)
		}
		return k
	}
	for b := range 256 {
		u.kind[b] = id(j.next[anchorFront*j.ncls+uint32(j.cls[b])])
	}
	u.bot = id(j.row(anchorBegin))
	u.cut = prefixBytes
	for g := range t.groups {
		if grp := &t.groups[g]; grp.view == u.view && grp.prefix > 0 {
			u.cut = min(u.cut, int(grp.prefix))
		}
	}
	for _, r := range u.rules {
		u.far = max(u.far, int(t.rules[r].reach))
	}
	u.first = make([]uint32, len(starts)*256)
	for k, q := range starts {
		for b := range 256 {
			u.first[k*256+b] = j.next[q+uint32(j.cls[b])]
		}
	}
	u.only = make([]uint16, len(u.acc))
	for q, off := range u.acc {
		if l := t.listAt(off); len(l) == 1 && t.rules[u.rules[l[0]]].checked() {
			u.only[q] = u.rules[l[0]] + 1
		}
	}
	u.own = make([]uint32, len(u.rules))
	for _, off := range u.alive {
		if l := t.listAt(off); len(l) == 1 {
			u.own[l[0]] = off
		}
	}
	u.near = make([]uint16, len(u.alive))
	var first [sortEnd + 1]int // state of each sort, or of the next one
	for q, off := range u.alive {
		live := t.listAt(off)
		for _, local := range live {
			u.near[q] = max(u.near[q], uint16(max(0, t.rules[u.rules[local]].near)))
			if t.rules[u.rules[local]].flags&flagEndFilter == 0 {
				j.info[q] |= infoFront
			}
		}
		for k := int(u.sort(t, q, u.acc[q] != 0, live)) + 1; k <= sortEnd; k++ {
			first[k] = q + 1
		}
	}
	j.front, j.width = uint32(first[sortFront])*j.ncls, uint32(first[sortEnd]-first[sortFront])*j.ncls
	j.last = uint32(first[sortEnd])*j.ncls - 1
}

// valid checks that every index that a run follows is in range.
func (j *united) valid() bool {
	if j.ncls < 1 || len(j.next) != len(j.info)*int(j.ncls) || len(j.info) < 3 || len(j.next) > maxEntries || len(j.info) >= notSeen {
		return false
	}
	for _, v := range j.next {
		if int(v) >= len(j.next) || v%j.ncls != 0 {
			return false
		}
	}
	for _, c := range j.cls {
		if uint32(c) >= j.ncls-1 {
			return false
		}
	}
	return true
}

// distances gives the bytes to the nearest end of a word from each state, the byte that shows it not counted.
func (j *united) distances() []uint16 {
	n := uint32(len(j.info))
	dist := make([]uint16, n)
	for i := range dist {
		dist[i] = distNone
	}
	for d, again := uint16(0), true; again; d++ { // breadth first, by distance
		again = false
		for q := range n {
			if dist[q] != distNone {
				continue
			}
			for c, to := range j.next[q*j.ncls : (q+1)*j.ncls] {
				to /= j.ncls
				if d == 0 && j.info[to]&infoAccept != 0 || d > 0 && uint32(c) < j.ncls-1 && dist[to] == d-1 {
					dist[q], again = d, true
					break
				}
			}
		}
	}
	return dist
}

// liveRules gives, for each state of an anchored automaton, the rules whose words may still end.
func liveRules(f *dfa) [][]uint16 {
	most := uint16(0)
	for _, l := range f.acc {
		for _, r := range l {
			most = max(most, r+1)
		}
	}
	words := (int(most) + 63) / 64
	set := make([]uint64, f.n*words)
	own := make([]uint64, f.n*words)
	for s, l := range f.acc {
		for _, r := range l {
			own[s*words+int(r)/64] |= 1 << (r % 64)
		}
	}
	from := make([][]uint32, f.n)
	for s := range f.n {
		to := slices.Clone(f.next[s*f.ncls : (s+1)*f.ncls])
		slices.Sort(to)
		for _, q := range slices.Compact(to) {
			from[q] = append(from[q], uint32(s))
		}
	}
	queue := make([]uint32, f.n)
	queued := make([]bool, f.n)
	for s := range queue {
		queue[s], queued[s] = uint32(s), true
	}
	for len(queue) > 0 {
		q := int(queue[len(queue)-1])
		queue, queued[q] = queue[:len(queue)-1], false
		for _, p := range from[q] {
			grew := false
			for k := range words {
				v := set[int(p)*words+k] | set[q*words+k] | own[q*words+k]
				grew = grew || v != set[int(p)*words+k]
				set[int(p)*words+k] = v
			}
			if grew && !queued[p] {
				queue, queued[p] = append(queue, p), true
			}
		}
	}
	out := make([][]uint16, f.n)
	for s := range f.n {
		for r := range most {
			if set[s*words+int(r)/64]>>(r%64)&1 == 1 {
				out[s] = append(out[s], r)
			}
		}
	}
	return out
}

// bundles runs the joint automata from the starts that the filters told, handles the words that they find, and
// gives the least of hold and the earliest start that is live.
func (f *feed) bundles(hold int) int {
	for view := range f.iv {
		sortIntervals(f.iv[view][:f.niv[view]])
	}
	told, n := &f.iv, f.niv
	if !f.t.marks { // a bundle uses the intervals for what is open: the others of its view need a copy
		all := f.iv
		told = &all
	}
	for _, u := range f.t.bundle {
		hold = f.bundle(u, told[u.view][:n[u.view]], hold)
	}
	return hold
}

func sortIntervals(iv []interval) {
	for i := 1; i < len(iv); i++ {
		for k := i; k > 0 && iv[k].from < iv[k-1].from; k-- {
			iv[k], iv[k-1] = iv[k-1], iv[k]
		}
	}
}

// trace remembers the states of a run of the joint automaton. A run that comes to the same state at the same place
// goes on alike.
type trace struct {
	from   int // the row after byte i stands in q[i-from]
	n      int
	first  int // the first byte after which a word had ended,
	accept int // and the last; -1 = none
	list   uint32
	q      [maxTrace]uint32
}

const maxTrace = 768 // bytes

// ends notes that a word ended after byte i; list stands for all that did.
func (t *trace) ends(i int, list uint32) {
	if t.first < 0 {
		t.first = i
	}
	t.accept, t.list = i, list
}

// manyLists stands for the lists of rules of a run in which more than one kind of word ended.
const manyLists = ^uint32(0)

// joint runs the joint automaton from start s, after whose first byte it is in row q, to the end of the text. to
// is the state there, dead if the words that began at s are over; list is that of the rules whose word ended, 0 for
// none. Allocates: never.
func (f *feed) joint(u *bundle, q uint32, s int) (to uint16, list uint32) {
	b := f.v[u.view].b
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	i := s + 1
	n := min(len(b), s+u.far+1)
	f.ended = 0
	old, own := &f.trace[f.traced], &f.trace[1-f.traced]
	if f.traceOf != u || n-old.from > maxTrace {
		old = nil
	}
	if n-i > maxTrace {
		own = nil
	} else {
		own.from, own.n, own.first, own.accept, own.list = i, n-i, -1, -1, 0
	}
	for ; i < n; i++ {
		if q = entry(next, q, cls[b[i]]); leaves(q, last) {
			if q == 0 {
				return anchorDead, list
			}
			list, f.ended = bothLists(list, u.acc[u.joint.number(q)]), i
			if own != nil {
				own.ends(i, list)
			}
		}
		if own != nil {
			own.q[i-own.from] = q
		}
		if old != nil && uint(i-old.from) < uint(old.n) && old.q[i-old.from] == q {
			return f.along(u, old, i, n, list)
		}
	}
	if own != nil && own.n > 0 {
		f.traced, f.traceOf = 1-f.traced, u
	}
	return f.over(u, q, n, list)
}

// along goes on from where a run met an older one after byte i, up to byte n.
func (f *feed) along(u *bundle, old *trace, i, n int, list uint32) (to uint16, both uint32) {
	b := f.v[u.view].b
	if old.accept > i { // a word of the older one ends from here on: it is one of both
		f.ended = old.accept
		if old.first > i {
			list = bothLists(list, old.list)
		} else {
			list = manyLists
		}
	}
	q := old.q[min(old.n, n-old.from)-1]
	for i = old.from + old.n; i < n; i++ { // the older one was shorter
		if q = entry(u.joint.next, q, u.joint.cls[b[i]]); q == 0 {
			return anchorDead, list
		}
		old.q[old.n] = q
		old.n++
		if leaves(q, u.joint.last) {
			more := u.acc[u.joint.number(q)]
			list, f.ended = bothLists(list, more), i
			old.ends(i, bothLists(old.list, more))
		}
	}
	return f.over(u, q, n, list)
}

// over gives what joint does for a run that is in row q in front of byte n, its last.
func (f *feed) over(u *bundle, q uint32, n int, list uint32) (to uint16, both uint32) {
	if n < len(f.v[u.view].b) {
		return anchorDead, list
	}
	if f.end {
		if q = u.joint.next[q+u.joint.ncls-1]; q != 0 && leaves(q, u.joint.last) {
			list, f.ended = bothLists(list, u.acc[u.joint.number(q)]), n
		}
		return anchorDead, list
	}
	return u.joint.ended(q), list
}

func bothLists(a, b uint32) uint32 {
	if a == 0 || a == b {
		return b
	}
	return manyLists
}

// firstAt is the row after the first byte of a word that begins at s.
func (f *feed) firstAt(u *bundle, s int) uint32 {
	v := &f.v[u.view]
	return u.first[u.kindAt(v.b, s, v.byteAt(-1))<<8|uint32(v.b[s])]
}

// liveAt is the state at the end of the text of a run from s.
func (f *feed) liveAt(u *bundle, s int) uint16 {
	first := f.firstAt(u, s)
	if first == 0 {
		return anchorDead
	}
	q, _ := f.joint(u, first, s)
	return q
}

// meets gives the state at the end of the text of a run from s, for starts s one after the other behind the bound:
// most meet the run from there, which is in state q at the end. It keeps the states of that run in a trace. ok is
// false if it takes too long to find out.
func (f *feed) meets(u *bundle, s int, q uint16) (to uint16, ok bool) {
	v := &f.v[u.view]
	b, bound, tr := v.b, int(f.bound[u.view]), &f.trace[0]
	next, cls := u.joint.next, u.joint.cls
	if s == bound+1 {
		f.traced, f.traceOf = 1, nil
		tr.q[0], tr.n = f.firstAt(u, bound), 1
	}
	if len(b)-s > u.far {
		return anchorDead, true
	}
	p := f.firstAt(u, s)
	for i := s; p != 0; p = entry(next, p, cls[b[i]]) {
		for tr.n <= i-bound && tr.n < maxTrace {
			tr.q[tr.n] = entry(next, tr.q[tr.n-1], cls[b[bound+tr.n]])
			tr.n++
		}
		if i-bound >= tr.n || i-s > longMeet {
			return 0, false
		}
		if tr.q[i-bound] == p {
			return q, true
		}
		if i++; i == len(b) {
			return u.joint.ended(p), true
		}
	}
	return anchorDead, true
}

const longMeet = 64 // bytes

// bundle handles one bundle. Words that may have ended, and those whose first bytes were told, began at the
// starts in iv, sorted.
func (f *feed) bundle(u *bundle, iv []interval, hold int) int {
	v := &f.v[u.view]
	n := len(v.b)
	var buf [maxLive]liveStart
	lives := buf[:0]
	many := false
	s := 0
	openS, openQ := int(f.bound[u.view]), f.open(u)
	own, from := f.threadOf(u)
	wants := false // a thread: it has none yet
	if own == 0 && openQ != anchorDead && f.sole(u, openS, openQ) {
		own, from, wants = u.alive[openQ], openS, true
	}
	for _, x := range iv {
		for s = max(s, int(x.from)); s <= int(x.to) && s < n; s++ {
			first := f.firstAt(u, s)
			if first == 0 {
				continue
			}
			if own != 0 && s > from && !f.end {
				if to, ok := f.until(u, first, s, own); ok {
					if u.joint.info[to]&infoFront != 0 && n-s > u.cut {
						f.s.flags |= stateFront
						f.frontAt = min(f.frontAt, v.rawAt(s))
					}
					if wants {
						f.work()
						r := u.rules[f.t.listAt(own)[0]]
						if th := f.newThread(f.begin(&f.t.rules[r], r, from, s)); th != nil {
							f.run(th, n)
						}
						wants = false
					}
					continue
				}
			}
			q, list := f.joint(u, first, s)
			if list != 0 {
				if list == manyLists {
					f.words(u, s, lives, many)
				} else {
					last := 0
					if q == anchorDead && v.at == nil {
						last = f.ended
					}
					f.wordsOf(u, list, s, last, lives, many)
				}
				if l, at := f.threadOf(u); l != 0 || !wants {
					own, from, wants = l, at, false
				}
			}
			if q == anchorDead {
				continue
			}
			if u.joint.info[q]&infoFront != 0 && !f.end && n-s > u.cut { // else its first bytes are yet to be told
				f.s.flags |= stateFront
				f.frontAt = min(f.frontAt, v.rawAt(s))
			}
			if len(lives) == maxLive {
				many = true
				continue
			}
			lives = append(lives, liveStart{int32(s), q})
		}
	}
	if f.end {
		return hold
	}
	// The earliest start that is live.
	special := false
	if w := f.w; w != nil {
		// Rules with a thread or a guard have starts that do not count.
		for i := range w.th[:w.nth] {
			special = special || f.t.rules[w.th[i].rule].flags&flagBundle != 0
		}
		for i := range w.gd[:w.ngd] {
			special = special || f.t.rules[w.gd[i].rule].flags&flagBundle != 0
		}
	}
	counts := func(s int, q uint16) bool {
		return q != anchorDead && (!special && n-s <= int(u.near[q]) || f.counts(u, s, q))
	}
	best, state := n, uint16(anchorDead)
	for _, x := range lives {
		if counts(int(x.s), x.q) {
			best, state = int(x.s), x.q
			break
		}
	}
	if many && best == n {
		for s := int(lives[len(lives)-1].s) + 1; s < n; s++ {
			if q := f.liveAt(u, s); counts(s, q) {
				best, state = s, q
				break
			}
		}
	}
	searched := false // all starts up to best were tried
	// The start that was live before, or those that the filters have under way.
	if q := openQ; q != anchorDead && openS <= best {
		s := openS
		switch {
		case counts(s, q):
			best, state = s, q
		case special && f.taken(u, q):
		default: // the cap ended it
			for s++; s < best; s++ {
				to, ok := f.meets(u, s, q)
				if !ok {
					break
				}
				if counts(s, to) {
					best, state = s, to
				}
			}
			searched = s >= best
		}
	}
	if !searched && (state == anchorDead || best > int(f.bound[u.view])) {
		f.niv[u.view] = 0
		for g := range f.t.groups {
			if grp := &f.t.groups[g]; grp.filter != noFilter && grp.view == u.view {
				d := int(grp.live[grp.number(f.s.st[g])])
				if d&liveEnd != 0 {
					f.reverse(grp, n, max(int(f.bound[u.view]), n-u.far))
				}
				if d &^= liveEnd | liveSure; d > 0 {
					f.try(u.view, n-d, n-1)
				}
			}
		}
		open := f.iv[u.view][:f.niv[u.view]]
		sortIntervals(open)
		s = 0
	search:
		for _, x := range open {
			for s = max(s, int(x.from)); s <= int(x.to) && s < best; s++ {
				if own != 0 && s > from {
					if _, ok := f.until(u, f.firstAt(u, s), s, own); ok {
						continue
					}
				}
				if q := f.liveAt(u, s); counts(s, q) {
					best, state = s, q
					break search
				}
			}
		}
	}
	if f.t.marks && v.at == nil {
		f.s.live[u.view] = mark{uint16(min(n-best, maxDist)), state}
		if n-best > maxDist {
			f.s.live[u.view] = noMark
		}
	}
	if best < n {
		return min(hold, v.rawAt(best))
	}
	return hold
}

// open is the state at the end of the text of the start that was live before, dead if there is none.
func (f *feed) open(u *bundle) uint16 {
	q, v := f.openQ[u.view], &f.v[u.view]
	if q == anchorDead || !f.t.marks { // or the text is not ASCII
		return anchorDead
	}
	return u.alone(u.joint.row(q), v.b[f.old:])
}

// sole tells whether start s, which is live in state q at the end of the text, is so for one rule, under its cap.
func (f *feed) sole(u *bundle, s int, q uint16) bool {
	list := f.t.listAt(u.alive[q])
	if len(list) != 1 || f.w != nil && (f.find(u.rules[list[0]]) != nil || f.guardOf(u.rules[list[0]]) != nil) {
		return false
	}
	return len(f.v[u.view].b)-s+int(u.joint.info[q]&infoDist) <= int(f.t.rules[u.rules[list[0]]].cap)
}

// threadOf gives the list of the one rule of the bundle that has a thread, and where that begins; 0 if none or more
// have.
func (f *feed) threadOf(u *bundle) (list uint32, from int) {
	if f.w == nil {
		return 0, 0
	}
	for i := range f.w.th[:f.w.nth] {
		if th := &f.w.th[i]; f.t.rules[th.rule].flags&flagBundle != 0 && th.s >= 0 {
			if list != 0 {
				return 0, 0
			}
			if k := slices.Index(u.rules, th.rule); k >= 0 {
				list, from = u.own[k], th.s
			}
		}
	}
	return list, from
}

// until runs the joint automaton from start s, after whose first byte it is in row q, until its words can only be
// those of one list. ok is false if one ends before, or if it takes long.
func (f *feed) until(u *bundle, q uint32, s int, list uint32) (to uint16, ok bool) {
	b := f.v[u.view].b
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	for _, c := range b[s+1 : min(len(b), s+1+shortWay)] {
		if to = u.joint.number(q); u.alive[to] == list {
			return to, true
		}
		if q = entry(next, q, cls[c]); leaves(q, last) {
			break
		}
	}
	return anchorDead, false
}

const shortWay = 12 // bytes

// taken tells whether all rules whose words may still end in state q have a thread.
func (f *feed) taken(u *bundle, q uint16) bool {
	f.work()
	for _, local := range f.t.listAt(u.alive[q]) {
		if f.find(u.rules[local]) == nil {
			return false
		}
	}
	return true
}

// counts tells whether a word of a rule may begin at s, at which the joint automaton is live in state q, that
// would be a match.
func (f *feed) counts(u *bundle, s int, q uint16) bool {
	f.work()
	v := &f.v[u.view]
	alive := f.t.listAt(u.alive[q])
	for _, local := range alive {
		r := u.rules[local]
		if f.find(r) != nil {
			continue // its own start is held already, and no earlier one can win
		}
		if g := f.guardOf(r); g != nil && s < g.e {
			continue
		}
		if len(alive) == 1 { // the joint automaton is the rule's own from here on
			return len(v.b)-s+int(u.joint.info[q]&infoDist) <= int(f.t.rules[r].cap)
		}
		if len(v.b)-s > int(f.t.rules[r].reach) {
			continue
		}
		th := f.begin(&f.t.rules[r], r, s, s)
		f.advance(&th, len(v.b))
		if f.alive(&th, &f.t.rules[r], v) {
			return true
		}
	}
	return false
}

// words handles the words that begin at s and have ended.
func (f *feed) words(u *bundle, s int, lives []liveStart, many bool) {
	v := &f.v[u.view]
	b := v.b
	next, cls, last := u.joint.next, u.joint.cls, u.joint.last
	q := u.first[u.kindAt(b, s, v.byteAt(-1))<<8|uint32(b[s])]
	told := ^uint32(0) // the list of rules that s was tried for already: a thread looks at all ends of its start
	n := min(len(b), s+u.far+1)
	i := s + 1
	for ; i < n && q != 0; i++ {
		if q = entry(next, q, cls[b[i]]); q == 0 || !leaves(q, last) {
			continue
		}
		if list := u.acc[u.joint.number(q)]; list != told {
			told = list
			f.wordsOf(u, told, s, 0, lives, many)
		}
	}
	if f.end && q != 0 && i == len(b) {
		if q = next[q+u.joint.ncls-1]; q != 0 && leaves(q, last) {
			f.wordsOf(u, u.acc[u.joint.number(q)], s, 0, lives, many)
		}
	}
}

// wordsOf starts a thread at s for each rule of a list that has none. If last is not 0, the last of its words ended
// there, and all are over.
func (f *feed) wordsOf(u *bundle, off uint32, s, last int, lives []liveStart, many bool) {
	f.work()
	v := &f.v[u.view]
	now := len(v.b)
next:
	for _, local := range f.t.listAt(off) {
		r := u.rules[local]
		if th := f.find(r); th != nil {
			th.last = max(th.last, s)
			continue
		}
		lo := 0
		if g := f.guardOf(r); g != nil {
			if lo = g.e; s < lo {
				continue
			}
		}
		ru := &f.t.rules[r]
		// An earlier start that is still live goes first.
		earlier := func(x int) bool {
			if v.at == nil && !f.t.anch[ru.anchor].reaches(f.front(ru.anchor, v, x), v.b[x:]) {
				return false
			}
			th := f.begin(ru, r, x, s)
			f.advance(&th, now)
			if !f.alive(&th, ru, v) {
				return false
			}
			f.newThread(th)
			return true
		}
		if many {
			// That is one at most as far back as the rule reaches.
			for x := max(lo, now-int(ru.reach)); x < s; x++ {
				if earlier(x) {
					continue next
				}
			}
		}
		for _, l := range lives {
			if x := int(l.s); !many && x >= lo && x < s && slices.Contains(f.t.listAt(u.alive[l.q]), local) && earlier(x) {
				continue next
			}
		}
		if last > 0 && f.whole(r, ru, s, last) {
			continue
		}
		if th := f.newThread(f.begin(ru, r, s, s)); th != nil {
			f.run(th, now)
		}
	}
}

// whole adds the longest word of a rule that begins at s, if that is a match: it ends at e.
func (f *feed) whole(r uint16, ru *rule, s, e int) bool {
	w := f.v[ru.view].b[s:e]
	if len(w) > int(ru.cap) || ru.flags&flagCheck != 0 && (ru.tallied || !ru.accepts(w)) {
		return false
	}
	f.busy = true
	f.match(&thread{rule: r, s: s, best: e, x: unknown}, ru)
	return true
}

// reaches tells whether a run from state s over p is alive at its end.
func (a *anchored) reaches(s uint16, p []byte) bool {
	for _, c := range p {
		if s = a.next[uint32(s)*a.ncls+uint32(a.cls[c])]; s == anchorDead {
			return false
		}
	}
	return a.info[s]&infoDist != infoDist
}

func (t *Tables) listAt(off uint32) []uint16 {
	l := t.lists[off:]
	return l[1 : 1+l[0]]
}

// compare compares a phrase with the text from the thread's start on. If the phrase is there, the match is
// added; the thread is dead unless what is missing may still come.
func (f *feed) compare(th *thread, ru *rule) {
	th.q = anchorDead
	to, wait := f.phraseAt(ru, th.s)
	if wait {
		th.q = slotText
	}
	if to > 0 {
		f.matched(th.rule, th.s, to, unknown)
	}
}

// phraseAt tells where the phrase of a rule that begins at index s ends, 0 if it is not there; wait says that it
// may still come.
func (f *feed) phraseAt(ru *rule, s int) (to int, wait bool) {
	v := &f.v[ru.view]
	b, i, p := v.b, s, ru.phrase
	fold := ru.flags&flagFold != 0
	room := func(need int) bool { return !f.end && len(b)-s+need <= int(ru.cap) } // at least need bytes are missing
	for len(p) > 0 {
		if p[0] == ' ' {
			gap := i
			for i < len(b) && isGap(b[i]) {
				i++
			}
			if i-gap > maxGap || i == gap && i < len(b) {
				return 0, false
			}
			if i == len(b) {
				return 0, room(boolInt(i == gap) + ru.leastBytes(p[1:]))
			}
			p = p[1:]
			continue
		}
		if i == len(b) {
			return 0, room(ru.leastBytes(p))
		}
		if c := b[i]; c < utf8.RuneSelf && p[0] < utf8.RuneSelf {
			if c != p[0] && (!fold || c|0x20 != p[0]|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
				return 0, false
			}
			i, p = i+1, p[1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(p)
		if !utf8.FullRune(b[i:]) {
			k := ru.missing(b[i:], r)
			return 0, k > 0 && room(k+ru.leastBytes(p[n:]))
		}
		q, m := utf8.DecodeRune(b[i:])
		if q == utf8.RuneError && m == 1 || !ru.stands(r, q) {
			return 0, false
		}
		i, p = i+m, p[n:]
	}
	if isWord(int(ru.phrase[len(ru.phrase)-1])) || ru.view == Normalised && isWord(int(b[i-1])) {
		if i == len(b) && !f.end {
			return 0, room(0)
		}
		if isWord(int(b[i-1])) == (i < len(b) && isWord(int(b[i]))) {
			return 0, false // the text may have a fold of the letter, which is no word character
		}
	}
	if i-s > int(ru.cap) {
		return 0, false
	}
	return i, false
}

// stands tells whether letter r of a term of the rule stands for q.
func (ru *rule) stands(r, q rune) bool {
	if r == q {
		return true
	}
	var buf [maxForms]rune
	return slices.Contains(letterForms(buf[:0], r, ru.view, ru.flags&flagFold != 0), q)
}

// leastBytes is the length of the shortest text that a part of the rule's phrase matches.
func (ru *rule) leastBytes(p string) int {
	if ru.flags&flagFold == 0 {
		return len(p)
	}
	var buf [maxForms]rune
	n := 0
	for _, r := range p {
		size := utf8.UTFMax
		for _, x := range letterForms(buf[:0], r, ru.view, true) {
			size = min(size, utf8.RuneLen(x))
		}
		n += size
	}
	return n
}

// missing tells how many bytes are missing at least if b is the beginning of the encoding of what letter r of the
// rule's phrase stands for; 0 if it is not.
func (ru *rule) missing(b []byte, r rune) int {
	var buf [maxForms]rune
	least := 0
	for _, r := range letterForms(buf[:0], r, ru.view, ru.flags&flagFold != 0) {
		var enc [utf8.UTFMax]byte
		n := utf8.EncodeRune(enc[:], r)
		if len(b) < n && string(enc[:len(b)]) == string(b) && (least == 0 || n-len(b) < least) {
			least = n - len(b)
		}
	}
	return least
}
