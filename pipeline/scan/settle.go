package scan

import (
	"cmp"
	"slices"
)

// settle computes the hold-back at the end of the block, gives out the matches that are final, and packs the
// rest into the state. n is the number of raw bytes that the views have read.
func (f *feed) settle(out *Matches, n int) (free int) {
	t, s := f.t, f.s
	all := len(f.v[0].b)
	hold := all
	if n < all && t.norms {
		hold = n
	}
	if w := f.w; w != nil {
		f.resolveAll()
		f.runAll()
	}
	s.flags &^= stateFront
	if len(t.bundle) > 0 {
		hold = f.bundles(hold)
	}
	if len(t.fuzzy) == 0 {
		s.note = 0
		if s.flags&stateFront != 0 {
			s.note = uint16(min(all-f.frontAt, maxDist)) // beyond it the channel is given up
		}
	}
	if !f.end {
		if w := f.w; w != nil {
			for i := range w.th[:w.nth] {
				if th := &w.th[i]; th.s >= 0 {
					hold = min(hold, f.v[t.rules[th.rule].view].rawAt(th.s))
				}
			}
		}
		for g := range t.groups {
			if t.groups[g].literal {
				hold = f.holdLiteral(g, hold)
			}
		}
	}
	hold = min(hold, f.lost)
	for i := range t.fuzzy {
		hold = f.fuzzy(&t.fuzzy[i], hold)
	}
	s.n, s.rescan = [3]uint8{}, 0
	w := f.w
	if w == nil {
		return hold
	}
	// Give out.
	limit := f.base + int64(hold)
	if !f.end {
		limit = min(limit, f.base+int64(all)-1) // an end here of a rule that is not held for shows a byte later
	}
	limit = min(limit, f.late-1)
	lost := min(f.lost, f.forgot)
	done, given := w.done[:w.nd], f.given
	if len(done) > 1 {
		slices.SortFunc(done, func(a, b doneMatch) int {
			if a.End != b.End {
				return cmp.Compare(a.End, b.End)
			}
			if a.Start != b.Start {
				return cmp.Compare(a.Start, b.Start)
			}
			return cmp.Compare(a.Rule, b.Rule)
		})
	}
	if t.self {
		done = f.leftmost(done)
	}
	// Those that end together go together, so that one offset says what was given out.
	i := 0
	for i < len(done) && done[i].End <= limit {
		k, count := i, 0
		for ; k < len(done) && done[k].End == done[i].End; k++ {
			if s.mask>>t.rules[done[k].Rule].policy&1 != 0 {
				count++
			}
		}
		if count > MatchCap {
			s.flags |= stateOver
		} else if count > MatchCap-out.n {
			break
		}
		for ; i < k; i++ {
			f.guardGiven(&done[i])
			if m := done[i]; s.mask>>t.rules[m.Rule].policy&1 != 0 && !out.Full() {
				out.add(m.Match)
			}
		}
		f.given = done[i-1].End
	}
	if i < len(done) && done[i].End <= limit {
		out.full = true
	}
	hold = min(hold, lost)
	done = done[i:]
	for _, m := range done {
		if t.rules[m.Rule].flags&flagHold != 0 {
			hold = min(hold, int(m.Start-f.base))
		}
	}
	hold = f.save(done, all, hold)
	switch {
	case !f.end || lost == all:
	case out.Full() || f.given > given || all-int(s.rescan) > f.began: // each call comes further than the last one
		out.full = true // and there is more
	default: // the channel is given up: nothing waits any more
		s.flags |= stateOver
		s.n, s.rescan, s.live, hold = [3]uint8{}, 0, [2]mark{noMark, noMark}, all
	}
	return hold
}

// leftmost leaves out of done, sorted, what overlaps an earlier match of a phrase that may overlap itself.
func (f *feed) leftmost(done []doneMatch) []doneMatch {
	kept := done[:0]
	for _, m := range done {
		if f.t.rules[m.Rule].flags&flagSelf != 0 {
			end := 0
			if g := f.guardOf(uint16(m.Rule)); g != nil {
				end = g.e
			}
			for i := len(kept) - 1; i >= 0; i-- {
				if kept[i].Rule == m.Rule {
					end = kept[i].e
					break
				}
			}
			if m.s < end {
				continue
			}
		}
		kept = append(kept, m)
	}
	return kept
}

// guardGiven guards against matches that overlap m, which is given out, of a phrase that may overlap itself, and of a rule
// with a look-behind, should that be found again.
func (f *feed) guardGiven(m *doneMatch) {
	if f.t.rules[m.Rule].flags&(flagSelf|flagBehind) == 0 {
		return
	}
	if g := f.guard(uint16(m.Rule)); g != nil {
		g.e = m.e
	} else {
		f.s.flags |= stateOver
	}
}

// holdLiteral gives the least of hold and the earliest live start of a literal group.
func (f *feed) holdLiteral(g, hold int) int {
	grp := &f.t.groups[g]
	d := grp.live[grp.number(f.s.st[g])]
	v := &f.v[grp.view]
	now := len(v.b)
	if d == 0 {
		return hold
	}
	x, ok := v.back(now, int(d))
	from := max(x, 0) // the first start that counts, if x does not
	if ok && x >= 0 {
		if now-x <= int(grp.near) && !f.covers(grp.view, x) || f.comes(grp.view, x) {
			f.keepGuards(grp.view, x)
			return min(hold, v.rawAt(x))
		}
		from = x + 1
	}
	// There is too long a gap, the cap is used up, it is inside a match, or the literal began in front of the held text.
	for ; from < now; from++ {
		if f.comes(grp.view, from) {
			f.keepGuards(grp.view, from)
			return min(hold, v.rawAt(from))
		}
	}
	return hold
}

// keepGuards keeps the guards against what is under way at index x: a trigger that began inside a match may still
// come.
func (f *feed) keepGuards(view View, x int) {
	w := f.w
	if w == nil {
		return
	}
	for i := range w.gd[:w.ngd] {
		if ru := &f.t.rules[w.gd[i].rule]; ru.group < 0 && ru.view == view && ru.flags&flagBehind == 0 && x < w.gd[i].e {
			w.gd[i].live = true
		}
	}
}

// covers tells whether a rule may be under way at index x that had a match there already: it begins no other one inside it.
func (f *feed) covers(view View, x int) bool {
	w := f.w
	if w == nil {
		return false
	}
	for i := range w.gd[:w.ngd] {
		g := &w.gd[i]
		if ru := &f.t.rules[g.rule]; x < g.e && ru.view == view && ru.anchor >= 0 && ru.flags&flagBehind == 0 {
			th := f.begin(ru, g.rule, x, x)
			if f.advance(&th, len(f.v[view].b)); th.q != anchorDead {
				return true
			}
		}
	}
	return false
}

// comes tells whether the literal that is under way at index x, or what it begins, can still fit the cap of a rule.
func (f *feed) comes(view View, x int) bool {
	v := &f.v[view]
	for k := range f.t.lits {
		l := &f.t.lits[k]
		ru := &f.t.rules[l.rule]
		switch {
		case ru.view != view || ru.flags&(flagHold|flagBehind) != flagHold:
		case !l.trigger:
			if (isWord(int(ru.phrase[0])) || view == Normalised && isWord(v.byteAt(x))) && isWord(v.byteAt(x-1)) == isWord(v.byteAt(x)) {
				continue // the text may have a fold of the letter, which is no word character
			}
			if _, wait := f.phraseAt(ru, x); wait {
				return true
			}
		case k == 0 || f.t.lits[k-1].rule != l.rule:
			if w := f.w; w != nil {
				if g := f.guardOf(l.rule); g != nil && x < g.e {
					continue
				}
			}
			if !f.t.anch[ru.anchor].mayBegin(v.b[x]) {
				continue
			}
			th := f.begin(ru, l.rule, x, x)
			if f.advance(&th, len(v.b)); f.alive(&th, ru, v) {
				return true
			}
		}
	}
	return false
}
