package scan

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
	for g := range groups {
		guess[g] = t.groups[g].land(t.groups[g].at(t.column[g][p[h-1]])) // after the same byte at the text's beginning
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
		for g := range groups {
			c, grp := t.column[g][p[i]], &t.groups[g]
			s[g], guess[g] = grp.at(s[g]+c), grp.land(grp.at(guess[g]+c))
		}
		i++
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
		st[g] = t.groups[g].land(s)
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
	if t.isWide() {
		return pair(t.wide[:len(t.groups)], &t.column, s, r, a, b)
	}
	return pair(t.next[:len(t.groups)], &t.column, s, r, a, b)
}

func pair[E entries](next [][]E, col *[maxGroups][256]uint32, s, r *[maxGroups]uint32, a, b []byte) int {
	i := 0
	b = b[:len(a)]
	switch len(next) {
	case 1:
		t0 := next[0]
		s0, r0 := s[0], r[0]
		for ; i < len(a); i++ {
			s0, r0 = entry(t0, s0, col[0][a[i]]), entry(t0, r0, col[0][b[i]])
			if (s0|r0)&accept != 0 {
				i++
				break
			}
		}
		s[0], r[0] = s0, r0
	case 2:
		t0, t1, c0, c1 := next[0], next[1], &col[0], &col[1]
		s0, s1, r0, r1 := uint(s[0]), uint(s[1]), uint(r[0]), uint(r[1])
		for ; i < len(a); i++ {
			c, d := a[i], b[i]
			s0, r0 = entryAt(t0, s0, c0[c]), entryAt(t0, r0, c0[d])
			s1, r1 = entryAt(t1, s1, c1[c]), entryAt(t1, r1, c1[d])
			if (s0|s1|r0|r1)&accept != 0 {
				i++
				break
			}
		}
		s[0], s[1], r[0], r[1] = uint32(s0), uint32(s1), uint32(r0), uint32(r1)
	case 3:
		t0, t1, t2 := next[0], next[1], next[2]
		s0, s1, s2, r0, r1, r2 := s[0], s[1], s[2], r[0], r[1], r[2]
		for ; i < len(a); i++ {
			c, d := a[i], b[i]
			s0, r0 = entry(t0, s0, col[0][c]), entry(t0, r0, col[0][d])
			s1, r1 = entry(t1, s1, col[1][c]), entry(t1, r1, col[1][d])
			s2, r2 = entry(t2, s2, col[2][c]), entry(t2, r2, col[2][d])
			if (s0|s1|s2|r0|r1|r2)&accept != 0 {
				i++
				break
			}
		}
		s[0], s[1], s[2], r[0], r[1], r[2] = s0, s1, s2, r0, r1, r2
	}
	return i
}
