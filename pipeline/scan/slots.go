package scan

import "slices"

// load unpacks the slots; the view is read up to n raw bytes.
func (f *feed) load(n int) {
	w := f.work()
	h := f.s.slots[:]
	for k, count := range f.s.n {
		for ; count > 0; count-- {
			sl := slot{h[0], h[1], h[2], noOffset}
			if k == 2 {
				sl.e = h[3]
			}
			h = h[2+k:]
			if k > 0 {
				f.loadOne(sl, n)
				continue
			}
			th := thread{rule: sl.rule, q: sl.q, s: -1, best: -1, x: unknown}
			th.pos = f.position(f.t.rules[th.rule].view, n)
			w.th[w.nth] = th
			w.nth++
		}
	}
	f.s.n = [3]uint8{}
}

func (f *feed) loadOne(sl slot, n int) {
	w := f.w
	ru := &f.t.rules[sl.rule]
	v := &f.v[ru.view]
	switch sl.q {
	case slotDone:
		m := doneMatch{Match{Start: f.s.at - int64(sl.s&offsetBits), End: f.s.at - int64(sl.e&offsetBits), Rule: uint32(sl.rule)}, 0, 0, unknown}
		if ru.flags&flagHold == 0 {
			m.End = f.s.at - int64(sl.s&offsetBits)
			m.Start = max(0, m.End-int64(ru.cap))
		} else {
			m.s = v.index(n-int(sl.s&offsetBits), int(sl.s>>14))
			m.e = v.index(n-int(sl.e&offsetBits), 0) - int(sl.e>>14)
		}
		w.done[w.nd] = m
		w.nd++
	case slotMark:
		f.given = f.s.at - int64(sl.s&offsetBits)
	case slotGuard:
		w.gd[w.ngd] = guard{rule: sl.rule, e: v.index(n-int(sl.s&offsetBits), int(sl.s>>14))}
		w.ngd++
	default:
		th := thread{rule: sl.rule, q: sl.q, best: -1, x: unknown}
		th.s = v.index(n-int(sl.s&offsetBits), int(sl.s>>14))
		th.seen = sl.e != noOffset
		if th.seen && sl.e != noMatch {
			th.best = v.index(n-int(sl.e&offsetBits), int(sl.e>>14))
		}
		th.pos = f.position(ru.view, n)
		th.last = th.pos
		if th.q != slotText && th.pos-th.s > int(ru.cap) { // the quick path left it to find the next start
			th.q, th.cut = anchorDead, th.q
		}
		w.th[w.nth] = th
		w.nth++
	}
}

// position is the index up to which a view was read when n raw bytes were fed.
func (f *feed) position(view View, n int) int {
	if view == Normalised {
		return f.v[1].index(n-int(f.s.flags/stateCarry&3), 0)
	}
	return n
}

// Values in place of an offset: no word ended; words ended that are no matches.
const (
	noOffset = 0xFFFF
	noMatch  = 0xFFFE
)

// index is the index of the byte of a view that is sub bytes after the first one whose rune does not begin
// in front of the raw offset off.
func (v *stream) index(off, sub int) int {
	if v.at == nil {
		return off
	}
	i, _ := slices.BinarySearch(v.at, uint32(max(off, 0)))
	return i + sub
}

// offset packs index i as a distance from the end of n raw bytes.
func (f *feed) offset(v *stream, i, n int) uint16 {
	raw, sub := v.rawAt(i), 0
	if v.at != nil {
		for k := i; k > 0 && k <= len(v.at) && k < len(v.at) && v.at[k-1] == v.at[k]; k-- {
			sub++
		}
	}
	d := n - raw
	if d > maxDist || d < 0 {
		f.s.flags |= stateOver
		d = 0
	}
	return uint16(d | sub<<14)
}

// save packs threads, waiting matches and guards; n is the number of raw bytes of the block. What does not fit
// is found again by the next call, for which more may have to be held.
func (f *feed) save(done []doneMatch, n, hold int) int {
	s, w := f.s, f.w
	s.flags &^= stateAll
	guards := w.gd[:0]
	var behind [4]guard // of rules with a look-behind, for level 2
	nb := 0
	for _, g := range w.gd[:w.ngd] {
		if f.t.rules[g.rule].flags&flagBehind != 0 {
			if g.e > 0 {
				behind[min(nb, len(behind)-1)] = g
				nb++
			}
			continue
		}
		if g.back > 0 {
			g.e = min(g.e, g.back-1)
		}
		if v := &f.v[f.t.rules[g.rule].view]; g.live && !f.end || g.e > v.index(hold, 0) { // it may end inside a character that became several
			guards = append(guards, g)
		}
	}
	end := f.base + int64(n)
	over := func(d int64) uint16 {
		if d > maxDist || d < 0 {
			s.flags |= stateOver
			return 0
		}
		return uint16(d)
	}
	mark := len(done) > 0 && f.given >= 0
	// level 0: everything goes into the slots; 1: what needs no look-behind is found again; 2: all that began in
	// the held text is.
	again := func(level int, r uint16, x int) bool {
		ru := &f.t.rules[r]
		return ru.flags&flagHold != 0 && (ru.flags&flagBehind == 0 && level > 0 || level > 1 && x >= 0)
	}
	size := func(level int) int {
		k := 3 * (len(guards) + boolInt(mark) + nb*boolInt(level == 2))
		for i := range w.th[:w.nth] {
			if th := &w.th[i]; !again(level, th.rule, th.x) {
				k += 2 + boolInt(th.s >= 0) + boolInt(th.seen)
			}
		}
		for _, m := range done {
			k += boolInt(!again(level, uint16(m.Rule), m.x)) * (3 + boolInt(f.t.rules[m.Rule].flags&flagHold != 0))
		}
		return k
	}
	level := 0
	from := min(n, f.lost, f.forgot)
	if from < n {
		level = 1 + boolInt(f.lostBehind)
	}
	for level < 2 && size(level) > maxSlots {
		level++
		mark = f.given >= 0
	}
	mark = mark || level > 0 && f.given >= 0 // what is found again may have been given out
	if level == 2 {
		if nb > len(behind) {
			s.flags |= stateOver
		}
		guards = append(guards, behind[:min(nb, len(behind))]...)
	}
	w.ngd = len(guards)
	var sl [maxSlots/2 + 1]slot
	var kind [len(sl)]uint8 // what stands in the slot
	ns, used := 0, 0
	put := func(k int, x slot) {
		if used+2+k > maxSlots {
			s.flags |= stateOver
			return
		}
		sl[ns], kind[ns] = x, uint8(k)
		ns, used = ns+1, used+2+k
	}
	if mark {
		put(1, slot{q: slotMark, s: uint16(min(end-f.given, maxDist))})
	}
	for i := range w.th[:w.nth] {
		th := &w.th[i]
		v := &f.v[f.t.rules[th.rule].view]
		if again(level, th.rule, th.x) {
			f.lostBundle = f.lostBundle || f.t.rules[th.rule].flags&flagBundle != 0
			start := th.s
			if th.x >= 0 {
				start = th.x
			}
			from = min(from, v.rawAt(start))
			continue
		}
		switch {
		case th.s < 0:
			put(0, slot{rule: th.rule, q: th.q})
		case !th.seen:
			put(1, slot{rule: th.rule, q: th.q, s: f.offset(v, th.s, n)})
		default:
			e := uint16(noMatch)
			if th.best >= 0 {
				e = f.offset(v, th.best, n)
			}
			put(2, slot{th.rule, th.q, f.offset(v, th.s, n), e})
		}
	}
	for _, m := range done {
		ru := &f.t.rules[m.Rule]
		if again(level, uint16(m.Rule), m.x) {
			from = min(from, int(m.Start-f.base))
			f.lostBundle = f.lostBundle || ru.flags&flagBundle != 0
			if m.x >= 0 {
				from = min(from, f.v[ru.view].rawAt(m.x))
			}
			// It is found again: its guard goes back to where the search for it began.
			for k := range guards {
				if g := &guards[k]; uint32(g.rule) == m.Rule {
					g.e = min(g.e, m.s)
				}
			}
			continue
		}
		if ru.flags&flagHold == 0 {
			put(1, slot{rule: uint16(m.Rule), q: slotDone, s: over(end - m.End)})
		} else {
			v := &f.v[ru.view]
			rest := max(0, v.index(int(m.End-f.base), 0)-m.e) // of a character in which it ends
			put(2, slot{uint16(m.Rule), slotDone, f.offset(v, m.s, n), over(end-m.End) | uint16(rest)<<14})
		}
	}
	for _, g := range guards {
		put(1, slot{rule: g.rule, q: slotGuard, s: f.offset(&f.v[f.t.rules[g.rule].view], g.e, n)})
	}
	used = 0
	for k := range s.n {
		for i, x := range sl[:ns] {
			if kind[i] == uint8(k) {
				used += copy(s.slots[used:], []uint16{x.rule, x.q, x.s, x.e}[:2+k])
				s.n[k]++
			}
		}
	}
	if from < n {
		s.rescan = over(int64(n - from))
		if f.lostBundle {
			s.flags |= stateFront
			if len(f.t.fuzzy) == 0 {
				s.note = max(s.note, s.rescan)
			}
			for k := range s.live {
				if m := &s.live[k]; m.back < s.rescan {
					m.back, m.q = s.rescan, anchorDead
				}
			}
		}
		if level == 2 {
			s.flags |= stateAll
		}
	}
	return min(hold, from)
}
