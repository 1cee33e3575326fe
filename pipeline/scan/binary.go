package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// tableMagic starts the binary form; the digits are the version of the format.
const tableMagic = "ktscan23"

type writer struct{ b []byte }

func (w *writer) num(v int)      { w.b = binary.AppendUvarint(w.b, uint64(v)) }
func (w *writer) str(s string)   { w.num(len(s)); w.b = append(w.b, s...) }
func (w *writer) bytes(p []byte) { w.num(len(p)); w.b = append(w.b, p...) }
func (w *writer) words(p []uint32) {
	w.num(len(p))
	for _, v := range p {
		w.b = binary.LittleEndian.AppendUint32(w.b, v)
	}
}
func (w *writer) halves(p []uint16) {
	w.num(len(p))
	for _, v := range p {
		w.b = binary.LittleEndian.AppendUint16(w.b, v)
	}
}

func (w *writer) anchored(a *anchored) {
	w.b = append(w.b, a.cls[:]...)
	w.num(int(a.ncls))
	w.halves(a.next)
	w.halves(a.info)
	if w.halves(a.path); len(a.path) > 0 {
		w.b = append(w.b, a.over[:]...)
	}
}

func (r *reader) anchored() (a anchored) {
	a.cls = new([256]uint8)
	copy(a.cls[:], r.raw(256, 1))
	a.ncls = uint32(r.num(257))
	a.next = r.states()
	a.info = r.states()
	if a.path = r.halves(); len(a.path) > 0 {
		a.over = new([256]uint8)
		copy(a.over[:], r.raw(256, 1))
	}
	return a
}

// AppendBinary appends the binary form of t to b. Two builds of the same rules give the same bytes.
func (t *Tables) AppendBinary(b []byte) []byte {
	w := &writer{append(b, tableMagic...)}
	w.num(len(t.rules))
	for i := range t.rules {
		r := &t.rules[i]
		w.str(r.id)
		w.num(int(r.policy))
		w.num(int(r.view))
		w.num(int(r.flags))
		w.num(int(r.negation))
		w.num(int(r.cap))
		w.num(int(r.near) + 1<<20)
		w.num(int(r.reach))
		w.num(int(r.group) + 1)
		w.num(int(r.anchor) + 1)
		w.num(int(r.behind) + 1)
		w.str(r.validator.Name)
		w.num(r.validator.A)
		w.num(r.validator.B)
		w.str(r.phrase)
		w.num(len(r.allow))
		for _, a := range r.allow {
			w.str(a)
		}
	}
	w.num(len(t.groups))
	w.num(t.nraw)
	for i := range t.groups {
		g := &t.groups[i]
		w.num(int(g.view))
		w.num(boolInt(g.literal))
		w.num(int(g.filter))
		w.num(int(g.prefix))
		w.num(boolInt(g.whole))
		w.num(int(g.ncls))
		w.num(int(g.rncls))
		w.b = append(append(w.b, g.cls[:]...), g.rcls[:]...)
		w.halves(g.next)
		w.words(g.wide)
		w.words(g.acc)
		var ways []uint32
		for _, x := range g.ways {
			ways = append(ways, x.to, x.list)
		}
		w.words(ways)
		w.bytes(g.live)
		w.words(g.rnext)
		w.halves(g.rules)
	}
	w.num(len(t.lits))
	for _, l := range t.lits {
		w.num(int(l.rule))
		w.num(int(l.syms))
		w.num(boolInt(l.trigger))
		w.num(boolInt(l.now))
		w.num(boolInt(l.head))
		if !l.trigger {
			continue
		}
		for k := range l.after {
			for _, v := range l.after[k] {
				w.b = binary.LittleEndian.AppendUint64(w.b, v)
			}
		}
		w.num(int(l.front))
		w.num(int(l.state))
	}
	w.halves(t.lists)
	w.num(len(t.anch))
	for i := range t.anch {
		w.anchored(&t.anch[i])
	}
	w.num(len(t.bundle))
	for _, u := range t.bundle {
		w.num(int(u.view))
		w.halves(u.rules)
		w.b = append(w.b, u.joint.cls[:]...)
		w.num(int(u.joint.ncls))
		w.words(u.joint.next)
		w.halves(u.joint.info)
		w.words(u.acc)
		w.words(u.alive)
	}
	w.fuzzy(t)
	return w.b
}

var errTables = errors.New("damaged tables")

type reader struct {
	b     []byte
	bad   bool
	known *stock // of other tables
}

func (r *reader) num(most int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(most) {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) raw(n, size int) []byte {
	if n > len(r.b)/size {
		r.bad = true
		return nil
	}
	p := r.b[:n*size]
	r.b = r.b[n*size:]
	return p
}

func (r *reader) bytes() []byte { return slices.Clone(r.raw(r.num(math.MaxInt32), 1)) }
func (r *reader) str() string   { return string(r.raw(r.num(math.MaxInt32), 1)) }

// table is words, or the same of other tables.
func (r *reader) table() []uint32 {
	all := r.b
	if known := r.known.wordsLike(r.raw(r.num(math.MaxInt32), 4)); known != nil {
		return known
	}
	r.b = all
	return r.words()
}

// states is halves, or the same of other tables.
func (r *reader) states() []uint16 {
	all := r.b
	if known := r.known.halvesLike(r.raw(r.num(math.MaxInt32), 2)); known != nil {
		return known
	}
	r.b = all
	return r.halves()
}

func (r *reader) words() []uint32 {
	p := r.raw(r.num(math.MaxInt32), 4)
	out := make([]uint32, len(p)/4)
	o := out
	for ; len(o) >= 2 && len(p) >= 8; o, p = o[2:], p[8:] {
		v := binary.LittleEndian.Uint64(p)
		o[0], o[1] = uint32(v), uint32(v>>32)
	}
	for i := range o {
		o[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	return out
}

func (r *reader) halves() []uint16 {
	p := r.raw(r.num(math.MaxInt32), 2)
	out := make([]uint16, len(p)/2)
	o := out
	for ; len(o) >= 4 && len(p) >= 8; o, p = o[4:], p[8:] { // four at once: most of a table file is read here
		v := binary.LittleEndian.Uint64(p)
		o[0], o[1], o[2], o[3] = uint16(v), uint16(v>>16), uint16(v>>32), uint16(v>>48)
	}
	for i := range o {
		o[i] = binary.LittleEndian.Uint16(p[2*i:])
	}
	return out
}

// Load reads what AppendBinary wrote. Every entry is checked to be in range. What others have too is shared with them, as
// Share does. b is not retained.
func Load(b []byte, others ...*Tables) (*Tables, error) {
	if len(b) < len(tableMagic) || string(b[:len(tableMagic)]) != tableMagic {
		return nil, fmt.Errorf("load tables: not a table file of format %s", tableMagic)
	}
	r := &reader{b: b[len(tableMagic):], known: stockOf(others)}
	t := &Tables{}
	n := r.num(MaxRules)
	for i := 0; i < n && !r.bad; i++ {
		var x rule
		x.id = r.str()
		x.policy = uint8(r.num(63))
		x.view = View(r.num(int(Normalised)))
		x.flags = ruleFlags(r.num(255))
		x.negation = Negation(r.num(int(Negates)))
		x.cap = int32(r.num(MaxCap))
		x.near = int32(r.num(1<<21) - 1<<20)
		x.reach = int32(r.num(MaxCap))
		x.group = int16(r.num(maxGroups) - 1)
		x.anchor = int32(r.num(2*MaxRules) - 1)
		x.behind = int32(r.num(2*MaxRules) - 1)
		x.validator.Name = r.str()
		x.validator.A = r.num(math.MaxInt32)
		x.validator.B = r.num(math.MaxInt32)
		x.phrase = r.str()
		for k := r.num(math.MaxInt32); k > 0 && !r.bad; k-- {
			x.allow = append(x.allow, r.str())
		}
		if why := x.validator.check(); why != "" {
			return nil, fmt.Errorf("load tables: rule %s %s", x.id, why)
		}
		t.norms = t.norms || x.view == Normalised
		t.rules = append(t.rules, x)
	}
	n = r.num(maxGroups)
	t.nraw = r.num(n)
	for i := 0; i < n && !r.bad; i++ {
		var g group
		g.view = View(r.num(int(Normalised)))
		g.literal = r.num(1) == 1
		g.filter = filterKind(r.num(int(bothFilter)))
		g.prefix = uint8(r.num(prefixBytes))
		g.whole = r.num(1) == 1
		g.ncls = uint32(r.num(257))
		g.rncls = uint32(r.num(257))
		copy(g.cls[:], r.raw(256, 1))
		copy(g.rcls[:], r.raw(256, 1))
		g.next, g.wide = r.states(), r.table()
		g.acc = r.words()
		ways := r.words()
		for ; len(ways) > 1; ways = ways[2:] {
			g.ways = append(g.ways, way{ways[0], ways[1]})
		}
		g.live = r.bytes()
		g.rnext = r.table()
		g.rules = r.halves()
		t.groups = append(t.groups, g)
	}
	for k := r.num(MaxRules); k > 0 && !r.bad; k-- {
		t.lits = append(t.lits, lit{rule: uint16(r.num(max(len(t.rules)-1, 0))), syms: uint8(r.num(255)), trigger: r.num(1) == 1, now: r.num(1) == 1, head: r.num(1) == 1})
		l := &t.lits[len(t.lits)-1]
		if !l.trigger {
			continue
		}
		l.after = &afterSets{}
		for i := range l.after {
			if p := r.raw(4, 8); p != nil {
				for j := range l.after[i] {
					l.after[i][j] = binary.LittleEndian.Uint64(p[8*j:])
				}
			}
		}
		l.front, l.state = uint16(r.num(noFront)), uint16(r.num(noFront))
	}
	t.lists = r.halves()
	n = r.num(2 * MaxRules)
	for i := 0; i < n && !r.bad; i++ {
		t.anch = append(t.anch, r.anchored())
	}
	n = r.num(MaxRules)
	for i := 0; i < n && !r.bad; i++ {
		u := &bundle{view: View(r.num(1)), rules: r.halves()}
		u.joint.cls = new([256]uint8)
		copy(u.joint.cls[:], r.raw(256, 1))
		u.joint.ncls, u.joint.next, u.joint.info = uint32(r.num(257)), r.table(), r.halves()
		u.acc, u.alive = r.words(), r.words()
		t.bundle = append(t.bundle, u)
	}
	if !r.bad {
		r.fuzzy(t)
	}
	if r.bad || len(r.b) != 0 || !t.valid() {
		return nil, fmt.Errorf("load tables: %w", errTables)
	}
	t.finish()
	return t, nil
}

// greatest is the greatest number of p, 0 if it is empty.
func greatest(p []uint16) (x uint16) {
	var y uint16
	for ; len(p) >= 2; p = p[2:] { // side by side: no comparison waits for another
		x, y = max(x, p[0]), max(y, p[1])
	}
	if len(p) > 0 {
		x = max(x, p[0])
	}
	return max(x, y)
}

func (a *anchored) valid() bool {
	if a.ncls < 1 || len(a.next) != len(a.info)*int(a.ncls) || len(a.info) < 3 || len(a.path) > maxPathStates {
		return false
	}
	for _, s := range a.path {
		if int(s) >= len(a.info) {
			return false
		}
	}
	if int(greatest(a.next)) >= len(a.info) {
		return false
	}
	for _, c := range a.cls {
		if uint32(c) >= a.ncls-1 {
			return false
		}
	}
	return true
}

// validTable checks that the entries of a group's table are in range, those that no class has included.
func validTable[E entries](g *group, next []E) bool {
	states := len(g.live)
	if g.ncls < 1 || states == 0 || len(next) != columns(states, g.ncls) || len(next) > maxEntries {
		return false
	}
	for _, e := range next {
		v := uint32(e)
		switch {
		case v&accept == 0:
		case g.literal:
			if v/rowEntries >= uint32(len(g.ways)) || v%rowEntries != accept {
				return false
			}
			v = g.ways[v/rowEntries].to
		case g.filter != noFilter:
			v &^= toldBits
		default:
			v &^= accept
		}
		if v%rowEntries != 0 || int(v/rowEntries) >= states {
			return false
		}
	}
	return validClasses(&g.cls, g.ncls)
}

// validReverse does so for its reverse table.
func validReverse(g *group) bool {
	for _, v := range g.rnext {
		if v &^= begins; v%g.rncls != 0 || int(v) >= len(g.rnext) {
			return false
		}
	}
	return len(g.rnext) <= maxEntries && validClasses(&g.rcls, g.rncls)
}

// validClasses checks that the last class, the text's end, is that of no byte.
func validClasses(cls *[256]uint8, ncls uint32) bool {
	return !slices.ContainsFunc(cls[:], func(c uint8) bool { return uint32(c) >= ncls-1 })
}

// valid checks that every index that Feed follows is in range.
func (t *Tables) valid() bool {
	list := func(off uint32, most int) bool {
		if int(off) >= len(t.lists) {
			return false
		}
		k := int(t.lists[off])
		if int(off)+1+k > len(t.lists) {
			return false
		}
		for _, x := range t.lists[off+1 : int(off)+1+k] {
			if int(x) >= most {
				return false
			}
		}
		return true
	}
	if len(t.lists) == 0 || t.lists[0] != 0 || len(t.lits) > 0 && len(t.rules) == 0 {
		return false
	}
	for i := range t.groups {
		g := &t.groups[i]
		if (i < t.nraw) != (g.view == Raw) || len(g.ways) > 0 && !g.literal || (len(g.wide) > 0) != (len(t.groups[0].wide) > 0) {
			return false
		}
		if len(g.wide) > 0 && (len(g.next) > 0 || !validTable(g, g.wide)) || len(g.wide) == 0 && !validTable(g, g.next) {
			return false
		}
		if g.filter != noFilter {
			reverse := len(g.rnext) > 0
			if g.literal || len(g.rules) > 0 || reverse != (g.filter != prefixFilter) || len(g.acc) > 0 ||
				reverse && (g.rncls == 0 || len(g.rnext)%int(g.rncls) != 0 || len(g.rnext) < 2*int(g.rncls) || !validReverse(g)) {
				return false
			}
			continue
		}
		if g.literal {
			if len(g.acc) > 0 || len(g.rules) > 0 || len(g.rnext) > 0 {
				return false
			}
			for _, w := range g.ways {
				if !list(w.list, len(t.lits)) {
					return false
				}
			}
			continue
		}
		if len(g.acc) != len(g.live) || len(g.rnext) > 0 {
			return false
		}
		for _, off := range g.acc {
			if !list(off, len(g.rules)) {
				return false
			}
		}
		for i := range columns(len(g.live), g.ncls) {
			if v := g.at(uint32(i)); (v&accept != 0) != (g.acc[g.number(v)] != 0) {
				return false
			}
		}
		for _, r := range g.rules {
			if int(r) >= len(t.rules) || int(t.rules[r].group) != i || t.rules[r].flags&flagHold != 0 {
				return false
			}
		}
		for _, v := range g.live {
			if v != 0 && !g.literal {
				return false
			}
		}
	}
	for _, u := range t.bundle {
		if !u.joint.valid() || len(u.acc) != len(u.joint.info) || len(u.alive) != len(u.acc) {
			return false
		}
		for s, off := range u.acc {
			if !list(off, len(u.rules)) || !list(u.alive[s], len(u.rules)) || (off != 0) != (u.joint.info[s]&infoAccept != 0) {
				return false
			}
		}
		for _, r := range u.rules {
			if int(r) >= len(t.rules) || t.rules[r].flags&(flagBundle|flagHold) != flagBundle|flagHold || t.rules[r].view != u.view {
				return false
			}
		}
		last := uint8(0)
		for s, off := range u.acc {
			sort := u.sort(t, s, off != 0, t.listAt(u.alive[s]))
			if sort < last || s <= anchorFront && off != 0 {
				return false
			}
			last = sort
		}
	}
	for i := range t.anch {
		if !t.anch[i].valid() {
			return false
		}
	}
	for i := range t.rules {
		r := &t.rules[i]
		if int(r.group) >= len(t.groups) || int(r.anchor) >= len(t.anch) || int(r.behind) >= len(t.anch) || r.cap < 1 || r.flags&flagBehind != 0 && r.behind < 0 || r.flags&(flagBundle|flagBehind) != 0 && r.anchor < 0 {
			return false
		}
		if r.group >= 0 && (t.groups[r.group].literal || t.groups[r.group].view != r.view) {
			return false
		}
	}
	for _, l := range t.lits {
		if l.trigger && (t.rules[l.rule].anchor < 0 || int(l.state) >= len(t.anch[t.rules[l.rule].begins()].info)) || l.head && (l.trigger || t.rules[l.rule].phrase == "" || t.rules[l.rule].flags&flagHold == 0) {
			return false
		}
	}
	return true
}
