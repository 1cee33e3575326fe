package scan

import (
	"cmp"
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// An auto is an NFA of one or more rules, with what the automata over it need to know.
type auto struct {
	nfa
	starts []autoStart
	rule   []uint16 // of each match instruction: the rule
	attr   []uint16 // of each instruction that follows a byte: depth (0: not held for)
}

// attrEnd, beside a depth, marks what belongs to whole words in a filter that is both.
const attrEnd = 1 << 15

type autoStart struct {
	pc   uint32
	rule uint16
	hold bool
}

// add appends n as the automaton of one rule.
func (a *auto) add(n *nfa, rule uint16, hold bool) {
	off, loff := uint32(len(a.inst)), uint32(len(a.looks))
	for _, in := range n.inst {
		in.out += off
		switch in.op {
		case opSplit:
			in.arg += off
		case opMatch, opBehind:
			in.arg += loff
		}
		a.inst = append(a.inst, in)
		a.rule = append(a.rule, rule)
		a.attr = append(a.attr, uint16(boolInt(hold)))
	}
	a.looks = append(a.looks, n.looks...)
	a.starts = append(a.starts, autoStart{n.start + off, rule, hold})
}

// The context of a position is the kind of the byte before it and of the byte after it. Kinds are as few as the
// conditions of the automaton need.
type kinds struct {
	of        [256]uint8 // kind of a byte standing before
	n         int        // kinds, the text's beginning included
	bot       uint8      // kind of the text's beginning
	rep       []int      // a byte of each kind, -1 = the text's beginning
	nextOf    [257]uint8 // kind of a byte standing after; 256 = the text's end
	nn        int
	nextRep   []int
	condition bool
}

func (a *auto) kinds() *kinds {
	var ops syntax.EmptyOp
	behind := map[uint32]bool{}
	for _, in := range a.inst {
		if in.op == opEmpty {
			ops |= syntax.EmptyOp(in.arg)
		}
		if in.op == opBehind {
			behind[in.arg] = true
		}
	}
	var sets []uint32
	for s := range behind {
		sets = append(sets, s)
	}
	slices.Sort(sets)
	k := &kinds{condition: ops != 0 || len(sets) > 0}
	word := ops&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
	sig := func(b int) string {
		var s []byte
		s = append(s, byte(boolInt(word && isWord(b))), byte(boolInt(ops&syntax.EmptyBeginLine != 0 && (b < 0 || b == '\n'))),
			byte(boolInt(ops&syntax.EmptyBeginText != 0 && b < 0)))
		for _, l := range sets {
			s = append(s, byte(boolInt(a.behindOK(l, b))))
		}
		return string(s)
	}
	ids := map[string]uint8{}
	id := func(m map[string]uint8, s string, rep *[]int, b int) uint8 {
		v, ok := m[s]
		if !ok {
			v = uint8(len(m))
			m[s] = v
			*rep = append(*rep, b)
		}
		return v
	}
	for b := range 256 {
		k.of[b] = id(ids, sig(b), &k.rep, b)
	}
	k.bot = id(ids, sig(-1), &k.rep, -1)
	k.n = len(ids)
	next := map[string]uint8{}
	for b := range 257 {
		c := b
		if b == 256 {
			c = -1
		}
		s := string([]byte{byte(boolInt(word && isWord(c))), byte(boolInt(ops&syntax.EmptyEndLine != 0 && (c < 0 || c == '\n'))),
			byte(boolInt(ops&syntax.EmptyEndText != 0 && c < 0))})
		k.nextOf[b] = id(next, s, &k.nextRep, c)
	}
	k.nn = len(next)
	return k
}

func (a *auto) behindOK(look uint32, b int) bool {
	l := &a.looks[look]
	return b < 0 && l.eof || b >= 0 && l.has(byte(b))
}

// classes partitions the bytes by what the automaton can tell apart. Class ncls-1 is the text's end.
func (a *auto) classes(k *kinds) (of [256]uint8, rep []int) {
	var cut [257]bool
	for _, in := range a.inst {
		if in.op == opByte && in.lo <= in.hi {
			cut[in.lo] = true
			cut[int(in.hi)+1] = true
		}
	}
	sigs := map[string]uint8{}
	run := 0
	for b := range 256 {
		if cut[b] {
			run++
		}
		s := binary.AppendUvarint(nil, uint64(run))
		s = append(s, k.of[b], k.nextOf[b])
		for i := range a.looks {
			s = append(s, byte(boolInt(a.looks[i].has(byte(b)))))
		}
		v, ok := sigs[string(s)]
		if !ok {
			v = uint8(len(rep))
			sigs[string(s)] = v
			rep = append(rep, b)
		}
		of[b] = v
	}
	return of, rep
}

// det is the work of making an automaton deterministic.
type det struct {
	a      *auto
	k      *kinds
	cls    [256]uint8
	rep    []int
	clos   [][]uint32 // memo of closures by (pc, kind before, kind after)
	mark   []uint32
	gen    uint32
	place  []uint32 // scratch by pc
	dist   []int32  // by (pc, kind before): bytes to a match at least; <0: none can be reached
	spans  map[[2]byte]*span
	ofNext []classSet // by next kind: the classes whose bytes are of it
	ofKind []classSet // the same by kind
	steps  *int
}

// What a state and an instruction cost beside what is counted one by one, so that a step takes about 10 ns.
const (
	stateWork = 300
	instWork  = 100
)

func newDet(a *auto, steps *int) *det {
	*steps += instWork * len(a.inst)
	d := &det{a: a, k: a.kinds(), steps: steps}
	d.cls, d.rep = a.classes(d.k)
	d.clos = make([][]uint32, len(a.inst)*d.k.n*d.k.nn)
	d.mark, d.place = make([]uint32, len(a.inst)), make([]uint32, max(len(a.inst), 1<<16))
	d.spans = map[[2]byte]*span{}
	d.ofNext, d.ofKind = make([]classSet, d.k.nn), make([]classSet, d.k.n)
	for c, b := range d.rep {
		d.ofNext[d.k.nextOf[b]].add(c)
		d.ofKind[d.k.of[b]].add(c)
	}
	d.distances()
	return d
}

// span is what byte instructions of one range read.
type span struct {
	set   classSet
	n     int    // classes
	kinds []bool // by next kind and kind: some byte is of both
}

// span is what a byte instruction reads.
func (d *det) span(in *inst) *span {
	p := d.spans[[2]byte{in.lo, in.hi}]
	if p == nil {
		p = &span{kinds: make([]bool, d.k.nn*d.k.n)}
		for c, b := range d.rep {
			if byte(b) >= in.lo && byte(b) <= in.hi {
				p.set.add(c)
				p.n++
				p.kinds[int(d.k.nextOf[b])*d.k.n+int(d.k.of[b])] = true
			}
		}
		d.spans[[2]byte{in.lo, in.hi}] = p
	}
	return p
}

// seen gives the classes whose bytes are of next kind kn and may follow a word by look.
func (d *det) seen(look *lookSet, kn int) (set classSet) {
	for c, b := range d.rep {
		if int(d.k.nextOf[b]) == kn && look.has(byte(b)) {
			set.add(c)
		}
	}
	return set
}

// arcsOf lists what the instruction pc comes to behind a byte of kind kp. Words that now tells of are not noted.
func (d *det) arcsOf(p *fan, pc uint32, kp uint8, now func(uint16) bool) (out arcs) {
	out.made = true
	var to []uint32
	var sets []classSet
	lead := func(x uint32, set classSet) {
		if set == (classSet{}) {
			return
		}
		i := int(d.place[x&^isRule]) // ranges of one class of characters lead to the same place
		if x&isRule != 0 {
			i = max(slices.Index(to, x), 0)
		}
		if i >= len(to) || to[i] != x {
			i = len(to)
			to, sets = append(to, x), append(sets, classSet{})
			if x&isRule == 0 {
				d.place[x] = uint32(i)
			}
		}
		for k, v := range set {
			sets[i][k] |= v
		}
	}
	for kn := range d.k.nn {
		for _, x := range d.closure(pc, kp, uint8(kn)) {
			in := &d.a.inst[x]
			if in.op != opMatch {
				p := d.span(in)
				out.work += p.n
				set := p.set.and(d.ofNext[kn])
				for k := range d.k.n {
					if !d.live(in.out, uint8(k)) {
						set = set.without(d.ofKind[k])
					}
				}
				lead(in.out, set)
				continue
			}
			if now != nil && now(d.a.rule[x]) {
				continue
			}
			l := &d.a.looks[in.arg]
			out.work += d.ofNext[kn].len()
			set := d.seen(l, kn)
			if l.eof && d.k.nextOf[256] == uint8(kn) {
				set.add(len(d.rep))
			}
			lead(isRule|uint32(d.a.rule[x]), set)
		}
	}
	for i, x := range to {
		out.list = append(out.list, arc{p.set(sets[i]), x})
	}
	return out
}

var emptyList = []uint32{}

// closure lists the byte and match instructions reached from pc between the kinds kp and kn.
func (d *det) closure(pc uint32, kp, kn uint8) []uint32 {
	i := (int(pc)*d.k.n+int(kp))*d.k.nn + int(kn)
	if d.clos[i] == nil {
		d.gen++
		prev := d.k.rep[kp]
		l := d.follow(nil, pc, prev, emptyOps(prev, d.k.nextRep[kn]))
		if l == nil {
			l = emptyList
		}
		d.clos[i] = l
	}
	return d.clos[i]
}

func (d *det) follow(list []uint32, pc uint32, prev int, ops syntax.EmptyOp) []uint32 {
	for d.mark[pc] != d.gen {
		d.mark[pc] = d.gen
		in := &d.a.inst[pc]
		switch in.op {
		case opByte, opMatch:
			return append(list, pc)
		case opSplit:
			list = d.follow(list, in.out, prev, ops)
			pc = in.arg
		case opEmpty:
			if syntax.EmptyOp(in.arg)&^ops != 0 {
				return list
			}
			pc = in.out
		case opBehind:
			if !d.a.behindOK(in.arg, prev) {
				return list
			}
			pc = in.out
		}
	}
	return list
}

// distances finds, for each instruction after each kind of byte, how many bytes a match is away.
func (d *det) distances() {
	n := len(d.a.inst) * d.k.n
	d.dist = make([]int32, n)
	for i := range d.dist {
		d.dist[i] = -1
	}
	// Work backwards from the matches over the edges (pc, kind) -> (out, kind of byte).
	at := func(pc uint32, k int) uint32 { return pc*uint32(d.k.n) + uint32(k) }
	type edge struct{ from, to uint32 }
	var edges []edge
	back := make([]uint32, n+1) // of each node: where the edges that lead to it begin
	var queue []uint32
	kernel := make([]bool, len(d.a.inst))
	for _, s := range d.a.starts {
		kernel[s.pc] = true
	}
	for _, in := range d.a.inst {
		if in.op == opByte && in.lo <= in.hi {
			kernel[in.out] = true
		}
	}
	for pc := range uint32(len(kernel)) {
		if !kernel[pc] {
			continue
		}
		for kp := range d.k.n {
			u := at(pc, kp)
			done := false
			for kn := range d.k.nn {
				for _, x := range d.closure(pc, uint8(kp), uint8(kn)) {
					*d.steps++
					in := &d.a.inst[x]
					if in.op == opMatch {
						l := &d.a.looks[in.arg]
						done = done || d.k.nextOf[256] == uint8(kn) && l.eof || d.seen(l, kn) != classSet{}
						continue
					}
					for kb, is := range d.span(in).kinds[kn*d.k.n : (kn+1)*d.k.n] {
						if is {
							edges = append(edges, edge{u, at(in.out, kb)})
							back[at(in.out, kb)]++
						}
					}
				}
			}
			if done {
				d.dist[u] = 0
				queue = append(queue, u)
			}
		}
	}
	sum := uint32(0)
	for v, k := range back {
		sum += k
		back[v] = sum
	}
	from := make([]uint32, len(edges))
	for _, e := range edges {
		back[e.to]--
		from[back[e.to]] = e.from
	}
	for i := 0; i < len(queue); i++ {
		v := queue[i]
		for _, u := range from[back[v]:back[v+1]] {
			if d.dist[u] < 0 {
				d.dist[u] = d.dist[v] + 1
				queue = append(queue, u)
			}
		}
	}
}

func (d *det) live(pc uint32, k uint8) bool { return d.dist[int(pc)*d.k.n+int(k)] >= 0 }

// dfa is a deterministic automaton. A word that ends before byte i is accepted by the state after byte i, or
// after the text's end, which is the last class: what follows a word may decide.
type dfa struct {
	cls  [256]uint8
	ncls int // the text's end included
	next []uint32
	acc  [][]uint16 // by state: rules, sorted
	tell []uint32   // as next, of one that tells early: which of list is told on the way there
	list [][]uint16 // of rules, sorted; the first one is empty
	attr []uint16   // by state: greatest attr of what is under way; 0: nothing
	dist []uint16   // by state: bytes to the nearest end
	n    int
}

// distNone marks a state from which no end can be reached any more.
const distNone = 1<<16 - 1

type detMode struct {
	anchored bool
	word     bool // an automaton without a word is an error
	reverse  bool // the backward one too, under the same limit
	limit    int  // states
	// now tells which rules have ends that depend on nothing that follows: they are accepted by the state in which
	// the word ends. nil: none.
	now func(rule uint16) bool
	// early is for one that tells which words ended on the way to a state, so that it needs fewer.
	early bool
}

// budgetError says why an automaton was given up.
type budgetError string

func (e budgetError) Error() string { return string(e) }

const (
	errStates = budgetError("needs more states than its budget")
	errSteps  = budgetError("needs more work than the budget of the build")

	errNothing = budgetError("can match nothing")
)

// forward makes the automaton that reads a text from its beginning. State 0 is the text's beginning. An
// anchored automaton has 0 = dead, 1 = at the text's beginning, 2 = before the byte that stands in front.
func (d *det) forward(m detMode, maxSteps int) (*dfa, error) {
	ncls := len(d.rep) + 1
	f := &dfa{cls: d.cls, ncls: ncls}
	w := newFan(ncls)
	type state struct {
		list uint32 // its instructions, and the rules that it accepts
		k    uint8
		mark uint8 // tells special states apart
	}
	ids := map[state]uint32{}
	var states []state
	intern := func(st state) uint32 {
		id, ok := ids[st]
		if !ok {
			id = uint32(len(states))
			ids[st] = id
			states = append(states, st)
			kernel, rules := w.parts(st.list)
			var acc []uint16
			for _, r := range rules {
				acc = append(acc, uint16(r))
			}
			f.acc = append(f.acc, acc)
			attr, dist := uint16(0), int32(distNone)
			for _, pc := range kernel {
				a := d.a.attr[pc]
				attr = max(attr&^attrEnd, a&^attrEnd) | (attr|a)&attrEnd
				if v := d.dist[int(pc)*d.k.n+int(st.k)]; v >= 0 && v < dist {
					dist = v
				}
			}
			f.attr = append(f.attr, attr)
			f.dist = append(f.dist, uint16(dist))
		}
		return id
	}
	known := make([]arcs, len(d.a.inst)*d.k.n) // by (pc, kind before)
	out := make([]uint32, ncls)
	follow := func(pcs []uint32, k uint8) {
		for _, pc := range pcs {
			e := &known[int(pc)*d.k.n+int(k)]
			if !e.made {
				*e = d.arcsOf(w, pc, k, m.now)
			}
			*d.steps += e.work
			w.add(e.list)
		}
		w.split(out)
	}
	var startPCs []uint32
	for _, s := range d.a.starts {
		startPCs = append(startPCs, s.pc)
	}
	slices.Sort(startPCs)
	startPCs = slices.Compact(startPCs)
	begin := w.id(startPCs)
	if m.anchored {
		intern(state{0, 0, 1})           // dead
		intern(state{begin, d.k.bot, 2}) // at the text's beginning
		intern(state{0, 0, 3})           // before the byte in front
	} else {
		intern(state{0, d.k.bot, 0})
	}
	// What a byte adds to what was under way: the words that began in front of it, and its kind.
	type front struct {
		list uint32
		k    uint8
	}
	var fronts []front
	frontIDs := map[front]uint32{}
	frontOf := make([][]uint32, d.k.n) // by the kind before and class
	fronted := func(k uint8) []uint32 {
		if frontOf[k] == nil {
			if !m.anchored {
				follow(startPCs, k)
			}
			for c := range ncls {
				x := front{}
				if !m.anchored {
					pcs, _ := w.parts(out[c])
					x.list = w.id(slices.Clone(pcs))
				}
				if c < len(d.rep) {
					x.k = d.k.of[d.rep[c]]
				}
				id, ok := frontIDs[x]
				if !ok {
					id = uint32(len(fronts))
					frontIDs[x], fronts = id, append(fronts, x)
				}
				frontOf[k] = append(frontOf[k], id)
			}
		}
		return frontOf[k]
	}
	type way struct {
		to   uint32
		list uint32
	}
	lists := map[string]uint32{}
	early := func(rules []uint32) uint32 { // gives the number of a list
		var key []byte
		for _, r := range rules {
			key = binary.LittleEndian.AppendUint16(key, uint16(r))
		}
		id, ok := lists[string(key)]
		if !ok {
			id = uint32(len(f.list))
			var list []uint16
			for _, r := range rules {
				list = append(list, uint16(r))
			}
			lists[string(key)], f.list = id, append(f.list, list)
		}
		return id
	}
	early(nil)
	join := func(own uint32, by front) way {
		pcs, rules := w.parts(own)
		begun := w.at(by.list)
		if m.anchored && len(pcs) == 0 {
			if len(rules) == 0 {
				return way{}
			}
			by.k = 0
		}
		list := uint32(0)
		if len(begun) > 0 || m.now != nil || m.early {
			l := slices.Concat(pcs, begun, rules)
			if m.now != nil {
				for _, pc := range l[:len(pcs)+len(begun)] {
					for _, x := range d.closure(pc, 0, 0) {
						if d.a.inst[x].op == opMatch && m.now(d.a.rule[x]) {
							l = append(l, isRule|uint32(d.a.rule[x]))
						}
					}
				}
			}
			slices.Sort(l)
			if l = slices.Compact(l); m.early {
				n := len(l)
				for n > 0 && l[n-1]&isRule != 0 {
					n--
				}
				l, list = l[:n], early(l[n:])
			}
			own = w.id(l)
		}
		return way{intern(state{own, by.k, 0}), list}
	}
	joined := map[uint64]way{} // by front and what was under way
	for i := 0; i < len(states); i++ {
		if len(states) > m.limit {
			return nil, errStates
		}
		if *d.steps > maxSteps {
			return nil, errSteps
		}
		st := states[i]
		by := fronted(st.k)
		pcs, _ := w.parts(st.list)
		follow(pcs, st.k)
		*d.steps += ncls + stateWork
		if cap(f.next)-len(f.next) < ncls {
			f.next = slices.Grow(f.next, max(ncls, len(f.next)))
		}
		var key uint64 // of the class before
		var same way
		for c := range ncls {
			var to way
			switch {
			case m.anchored && i == 0:
			case m.anchored && i == 2:
				if to.to = 1; c < len(d.rep) {
					to.to = intern(state{begin, d.k.of[d.rep[c]], 2})
				}
			default:
				k := uint64(by[c])<<32 | uint64(out[c])
				if c > 0 && k == key {
					to = same
					break
				}
				var ok bool
				if to, ok = joined[k]; !ok {
					to = join(out[c], fronts[by[c]])
					joined[k] = to
				}
				key, same = k, to
			}
			if f.next = append(f.next, to.to); m.early {
				f.tell = append(f.tell, to.list)
			}
		}
	}
	f.n = len(states)
	return f, nil
}

// backward makes the automaton that reads a text from its end and tells, after the byte in front of a
// position, which rules have a live start at the position. State 0 is dead, state 1 stands at the end.
func (d *det) backward(limit, maxSteps int) (*dfa, error) {
	ncls := len(d.rep) + 1 // the last class is the text's beginning
	f := &dfa{cls: d.cls, ncls: ncls}
	w := newFan(ncls)
	into := make([][]uint32, len(d.a.inst)) // byte instructions by the instruction that follows
	holdStart := map[uint32][]uint16{}
	var nodes []uint32
	for _, s := range d.a.starts {
		if s.hold {
			holdStart[s.pc] = append(holdStart[s.pc], s.rule)
			nodes = append(nodes, s.pc)
		}
	}
	for x, in := range d.a.inst {
		if in.op == opByte && in.lo <= in.hi && d.a.attr[x] > 0 {
			into[in.out] = append(into[in.out], uint32(x))
			nodes = append(nodes, in.out)
		}
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	// from lists, for a byte instruction and its context, the nodes whose closure reaches it.
	from := make([][]uint32, len(d.a.inst)*d.k.n*d.k.nn)
	at := func(x uint32, kp, kn int) int { return (int(x)*d.k.n+kp)*d.k.nn + kn }
	for _, u := range nodes {
		for kp := range d.k.n {
			for kn := range d.k.nn {
				for _, x := range d.closure(u, uint8(kp), uint8(kn)) {
					if d.a.inst[x].op == opByte {
						*d.steps++
						i := at(x, kp, kn)
						from[i] = append(from[i], u)
					}
				}
			}
		}
	}
	front := slices.Clone(d.ofKind) // with the text's beginning
	front[d.k.bot].add(len(d.rep))
	// arcsOf lists what stands before nodes, by the kind of the byte in front of them.
	arcsOf := func(nodes func(kp int) []uint32, starts bool) (out arcs) {
		out.made = true
		for kp := range d.k.n {
			n := d.ofKind[kp].len()
			for _, u := range nodes(kp) {
				if starts {
					for _, r := range holdStart[u] {
						out.list = append(out.list, arc{w.set(front[kp]), isRule | uint32(r)})
					}
				}
				for _, x := range into[u] {
					if set := d.span(&d.a.inst[x]).set.and(d.ofKind[kp]); set != (classSet{}) {
						out.list = append(out.list, arc{w.set(set), x})
					}
				}
				out.work += n * len(into[u])
			}
		}
		return out
	}
	type state struct {
		list uint32 // of byte instructions, and of the rules whose words may begin behind them
		kn   uint8  // next-kind of the byte that they read
		mark uint8  // tells special states apart
	}
	ids := map[state]uint32{}
	var states []state
	intern := func(st state) uint32 {
		id, ok := ids[st]
		if !ok {
			id = uint32(len(states))
			ids[st] = id
			states = append(states, st)
			_, rules := w.parts(st.list)
			var acc []uint16
			for _, r := range rules {
				acc = append(acc, uint16(r))
			}
			f.acc = append(f.acc, acc)
		}
		return id
	}
	intern(state{0, 0, 1})
	intern(state{0, 0, 2})
	known := make([]arcs, len(d.a.inst)*d.k.nn) // by (byte instruction, next-kind)
	out := make([]uint32, ncls)
	for i := 0; i < len(states); i++ {
		if len(states) > limit {
			return nil, errStates
		}
		if *d.steps > maxSteps {
			return nil, errSteps
		}
		st := states[i]
		switch i {
		case 0:
		case 1:
			e := arcsOf(func(kp int) []uint32 {
				return slices.DeleteFunc(slices.Clone(nodes), func(u uint32) bool { return !d.live(u, uint8(kp)) })
			}, false)
			*d.steps += e.work
			w.add(e.list)
		default:
			pcs, _ := w.parts(st.list)
			for _, x := range pcs {
				e := &known[int(x)*d.k.nn+int(st.kn)]
				if !e.made {
					*e = arcsOf(func(kp int) []uint32 { return from[at(x, kp, int(st.kn))] }, true)
				}
				*d.steps += e.work
				w.add(e.list)
			}
		}
		w.split(out)
		*d.steps += ncls + stateWork
		for c := range ncls {
			to := uint32(0)
			if out[c] > 0 {
				kn := uint8(0)
				if pcs, _ := w.parts(out[c]); len(pcs) > 0 {
					kn = d.k.nextOf[d.rep[c]]
				}
				to = intern(state{out[c], kn, 0})
			}
			f.next = append(f.next, to)
		}
	}
	f.n = len(states)
	f.attr = make([]uint16, f.n)
	f.dist = make([]uint16, f.n)
	return f, nil
}

// minimise merges states that cannot be told apart; the first fixed states keep their numbers. States are
// renumbered in breadth-first order, so that the ones near the start stand together.
func (f *dfa) minimise(fixed int, steps *int) {
	f.mergeColumns()
	part := make([]uint32, f.n)
	var key []byte
	first := map[string]uint32{}
	for s := range f.n {
		key = append(key[:0], byte(f.attr[s]), byte(f.attr[s]>>8))
		key = binary.LittleEndian.AppendUint16(key, f.dist[s])
		if s < fixed {
			key = append(key, byte(s+1))
		} else {
			key = append(key, 0)
		}
		for _, r := range f.acc[s] {
			key = append(key, byte(r), byte(r>>8))
		}
		id, ok := first[string(key)]
		if !ok {
			id = uint32(len(first))
			first[string(key)] = id
		}
		part[s] = id
	}
	parts := f.refine(part, len(first), steps)
	// Breadth first from the fixed states.
	num := make([]int, parts)
	for i := range num {
		num[i] = -1
	}
	var order []int // representative states
	visit := func(s int) {
		if p := part[s]; num[p] < 0 {
			num[p] = len(order)
			order = append(order, s)
		}
	}
	for s := range fixed {
		visit(s)
	}
	for i := 0; i < len(order); i++ {
		for _, t := range f.next[order[i]*f.ncls : (order[i]+1)*f.ncls] {
			visit(int(t))
		}
	}
	g := &dfa{cls: f.cls, ncls: f.ncls, n: len(order), list: f.list}
	for _, s := range order {
		for _, t := range f.next[s*f.ncls : (s+1)*f.ncls] {
			g.next = append(g.next, uint32(num[part[t]]))
		}
		if f.tell != nil {
			g.tell = append(g.tell, f.tell[s*f.ncls:(s+1)*f.ncls]...)
		}
		g.acc = append(g.acc, f.acc[s])
		g.attr = append(g.attr, f.attr[s])
		g.dist = append(g.dist, f.dist[s])
	}
	*f = *g
	f.mergeColumns()
}

// sortBy brings the states in the order of their keys. It gives the old numbers in that order.
func (f *dfa) sortBy(key []uint8) (order []int) {
	for s := range f.n {
		order = append(order, s)
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(key[x], key[y]) })
	num := make([]uint32, f.n)
	for i, s := range order {
		num[s] = uint32(i)
	}
	g := *f
	g.next, g.acc, g.attr, g.dist = nil, nil, nil, nil
	for _, s := range order {
		for _, t := range f.next[s*f.ncls : (s+1)*f.ncls] {
			g.next = append(g.next, num[t])
		}
		g.acc, g.attr, g.dist = append(g.acc, f.acc[s]), append(g.attr, f.attr[s]), append(g.dist, f.dist[s])
	}
	*f = g
	return order
}

// refine splits parts, n at first, until the states of each go to the same parts, and gives their number. It goes in
// rounds, each of which tells words apart that are a byte longer. In one, only states are looked at that go to what
// got a new number in the round before; the largest piece of a part keeps its number.
func (f *dfa) refine(part []uint32, n int, steps *int) int {
	from, preds := f.predecessors()
	// The states by part: those of part p are order[begin[p]:begin[p+1]] at first, and size[p] in all.
	begin, size := make([]uint32, n, f.n), make([]uint32, n, f.n)
	order, at := make([]uint32, f.n), make([]uint32, f.n)
	for _, p := range part {
		size[p]++
	}
	sum := uint32(0)
	for p, k := range size {
		begin[p], sum = sum, sum+k
	}
	fill := slices.Clone(begin)
	dirty := make([]uint32, f.n)
	for s, p := range part {
		order[fill[p]], at[s], dirty[s] = uint32(s), fill[p], uint32(s)
		fill[p]++
	}
	met := make([]uint32, n, f.n) // of each part: states that are looked at, which stand in front
	noted := make([]bool, f.n)
	type row struct {
		h [2]uint64
		s uint32
	}
	var rows []row
	var touched, changed, number []uint32
	for {
		*steps += len(dirty) * f.ncls
		touched, changed, number = touched[:0], changed[:0], number[:0]
		for _, s := range dirty {
			noted[s] = false
			p := part[s]
			if met[p] == 0 {
				touched = append(touched, p)
			}
			i, k := at[s], begin[p]+met[p]
			o := order[k]
			order[i], order[k], at[o], at[s] = o, s, i, k
			met[p]++
		}
		for _, p := range touched {
			lo, hi, rest := begin[p], begin[p]+met[p], begin[p]+size[p]
			met[p] = 0
			if size[p] == 1 {
				continue
			}
			rows = rows[:0]
			for _, s := range order[lo:hi] {
				rows = append(rows, row{f.hash(s, part), s})
			}
			var same [2]uint64 // as those that are not looked at
			if hi < rest {
				same = f.hash(order[hi], part)
			}
			slices.SortFunc(rows, func(a, b row) int {
				if x := cmp.Compare(boolInt(a.h == same), boolInt(b.h == same)); x != 0 {
					return x
				}
				return cmp.Or(cmp.Compare(a.h[0], b.h[0]), cmp.Compare(a.h[1], b.h[1]))
			})
			// The pieces, and the largest of them.
			var cuts []uint32
			for i, r := range rows {
				order[lo+uint32(i)], at[r.s] = r.s, lo+uint32(i)
				if i > 0 && r.h != rows[i-1].h {
					cuts = append(cuts, lo+uint32(i))
				}
			}
			if hi < rest && rows[len(rows)-1].h != same {
				cuts = append(cuts, hi)
			}
			if len(cuts) == 0 {
				continue
			}
			cuts = append(cuts, rest)
			most, from := 0, lo
			for i, to := range cuts {
				if i == 0 || to-from > size[p] {
					most, size[p], begin[p] = i, to-from, from
				}
				from = to
			}
			from = lo
			for i, to := range cuts {
				if i != most {
					for _, s := range order[from:to] {
						changed, number = append(changed, s), append(number, uint32(n))
					}
					begin, size, met = append(begin, from), append(size, to-from), append(met, 0)
					n++
				}
				from = to
			}
		}
		if len(changed) == 0 {
			return n
		}
		dirty = dirty[:0]
		for i, s := range changed {
			part[s] = number[i]
		}
		for _, s := range changed {
			for _, q := range preds[from[s]:from[s+1]] {
				if !noted[q] {
					noted[q] = true
					dirty = append(dirty, q)
				}
			}
		}
	}
}

// predecessors lists the states that lead to each: preds[from[s]:from[s+1]].
func (f *dfa) predecessors() (from, preds []uint32) {
	from = make([]uint32, f.n+1)
	last := make([]uint32, f.n) // by state: the state + 1 that was seen last to lead to it
	each := func(do func(s int, t uint32)) {
		clear(last)
		for s := range f.n {
			for _, t := range f.next[s*f.ncls : (s+1)*f.ncls] {
				if last[t] != uint32(s)+1 {
					last[t] = uint32(s) + 1
					do(s, t)
				}
			}
		}
	}
	each(func(_ int, t uint32) { from[t]++ })
	sum := uint32(0)
	for t, k := range from {
		sum += k
		from[t] = sum
	}
	preds = make([]uint32, sum)
	each(func(s int, t uint32) {
		from[t]--
		preds[from[t]] = uint32(s)
	})
	return from, preds
}

// hash tells states of one part apart by the parts that they go to, and by what is told on the way: two independent
// 64-bit hashes, the same in every run.
func (f *dfa) hash(s uint32, part []uint32) (h [2]uint64) {
	h[1] = 0x9E3779B97F4A7C15
	for i := int(s) * f.ncls; i < (int(s)+1)*f.ncls; i++ {
		x := uint64(part[f.next[i]])
		if f.tell != nil {
			x |= uint64(f.tell[i]) << 32
		}
		h[0] = (h[0] ^ x) * 0x9FB21C651E98DF25
		h[0] ^= h[0] >> 32
		h[1] = (h[1]+x)*0xD6E8FEB86659FD93 + 1
		h[1] ^= h[1] >> 29
	}
	return h
}

// mergeColumns merges classes that no state tells apart; the last class stays last.
func (f *dfa) mergeColumns() {
	n := f.ncls - 1
	at := func(i int) uint64 {
		if f.tell == nil {
			return uint64(f.next[i])
		}
		return uint64(f.next[i]) | uint64(f.tell[i])<<32
	}
	hash := make([]uint64, n) // of each column
	for s := range f.n {
		for c := range hash {
			h := (hash[c] ^ at(s*f.ncls+c)) * 0x9FB21C651E98DF25
			hash[c] = h ^ h>>32
		}
	}
	same := func(c, k int) bool {
		for i := 0; i < len(f.next); i += f.ncls {
			if at(i+c) != at(i+k) {
				return false
			}
		}
		return true
	}
	to := make([]uint8, n)
	var keep []int
	for c := range n {
		i := slices.IndexFunc(keep, func(k int) bool { return hash[k] == hash[c] && same(k, c) })
		if i < 0 {
			i = len(keep)
			keep = append(keep, c)
		}
		to[c] = uint8(i)
	}
	if len(keep) == n {
		return
	}
	keep = append(keep, f.ncls-1)
	next := make([]uint32, 0, f.n*len(keep))
	var tell []uint32
	for s := range f.n {
		for _, c := range keep {
			if next = append(next, f.next[s*f.ncls+c]); f.tell != nil {
				tell = append(tell, f.tell[s*f.ncls+c])
			}
		}
	}
	for b := range f.cls {
		f.cls[b] = to[f.cls[b]]
	}
	f.next, f.tell, f.ncls = next, tell, len(keep)
}
