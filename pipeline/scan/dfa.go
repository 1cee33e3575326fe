package scan

import (
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
	dist   []int32   // by (pc, kind before): bytes to a match at least; <0: none can be reached
	reads  [][]uint8 // memo by pc of a byte instruction: the classes that it reads
	ofKind [][]uint8 // by next kind: the classes whose bytes are of it
	steps  *int
}

func newDet(a *auto, steps *int) *det {
	d := &det{a: a, k: a.kinds(), steps: steps}
	d.cls, d.rep = a.classes(d.k)
	d.clos = make([][]uint32, len(a.inst)*d.k.n*d.k.nn)
	d.mark = make([]uint32, len(a.inst))
	d.reads = make([][]uint8, len(a.inst))
	d.ofKind = make([][]uint8, d.k.nn)
	for c, b := range d.rep {
		kn := d.k.nextOf[b]
		d.ofKind[kn] = append(d.ofKind[kn], uint8(c))
	}
	d.distances()
	return d
}

// readBy lists the classes that a byte instruction reads.
func (d *det) readBy(pc uint32) []uint8 {
	if d.reads[pc] == nil {
		in, l := &d.a.inst[pc], []uint8{}
		for c, b := range d.rep {
			if byte(b) >= in.lo && byte(b) <= in.hi {
				l = append(l, uint8(c))
			}
		}
		d.reads[pc] = l
	}
	return d.reads[pc]
}

// moves is what a set of instructions comes to, by class: the instructions that follow, and the rules whose word
// ended.
type moves struct {
	out [][]uint32
	acc [][]uint16
}

// moves finds what kernel comes to behind a byte of kind k, and puts it in to. Words that now tells of are not noted.
func (d *det) moves(to *moves, kernel []uint32, k uint8, now func(uint16) bool) {
	if to.out == nil {
		to.out, to.acc = make([][]uint32, len(d.rep)+1), make([][]uint16, len(d.rep)+1)
	}
	for c := range to.out {
		to.out[c], to.acc[c] = to.out[c][:0], to.acc[c][:0]
	}
	for kn := range d.k.nn {
		for _, u := range kernel {
			for _, x := range d.closure(u, k, uint8(kn)) {
				in := &d.a.inst[x]
				if in.op != opMatch {
					for _, c := range d.readBy(x) {
						*d.steps++
						if b := d.rep[c]; d.k.nextOf[b] == uint8(kn) && d.live(in.out, d.k.of[b]) {
							to.out[c] = append(to.out[c], in.out)
						}
					}
					continue
				}
				if now != nil && now(d.a.rule[x]) {
					continue
				}
				l := &d.a.looks[in.arg]
				for _, c := range d.ofKind[kn] {
					*d.steps++
					if l.has(byte(d.rep[c])) {
						to.acc[c] = append(to.acc[c], d.a.rule[x])
					}
				}
				if end := len(d.rep); l.eof && d.k.nextOf[256] == uint8(kn) {
					to.acc[end] = append(to.acc[end], d.a.rule[x])
				}
			}
		}
	}
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
	type node struct {
		pc uint32
		k  uint8
	}
	back := make(map[node][]node)
	var queue []node
	kernel := map[uint32]bool{}
	for _, s := range d.a.starts {
		kernel[s.pc] = true
	}
	for _, in := range d.a.inst {
		if in.op == opByte && in.lo <= in.hi {
			kernel[in.out] = true
		}
	}
	pcs := make([]uint32, 0, len(kernel))
	for pc := range kernel {
		pcs = append(pcs, pc)
	}
	slices.Sort(pcs)
	for _, pc := range pcs {
		for kp := range d.k.n {
			u := node{pc, uint8(kp)}
			done := false
			for kn := range d.k.nn {
				for _, x := range d.closure(pc, uint8(kp), uint8(kn)) {
					*d.steps++
					in := &d.a.inst[x]
					if in.op == opMatch {
						l := &d.a.looks[in.arg]
						ok := d.k.nextOf[256] == uint8(kn) && l.eof
						for _, c := range d.ofKind[kn] {
							ok = ok || l.has(byte(d.rep[c]))
						}
						done = done || ok
						continue
					}
					var seen uint64
					for _, c := range d.ofKind[kn] {
						b := d.rep[c]
						if byte(b) < in.lo || byte(b) > in.hi {
							continue
						}
						if kb := d.k.of[b]; seen>>kb&1 == 0 {
							seen |= 1 << kb
							v := node{in.out, kb}
							back[v] = append(back[v], u)
						}
					}
				}
			}
			if done {
				d.dist[int(pc)*d.k.n+kp] = 0
				queue = append(queue, u)
			}
		}
	}
	for i := 0; i < len(queue); i++ {
		v := queue[i]
		dv := d.dist[int(v.pc)*d.k.n+int(v.k)]
		for _, u := range back[v] {
			if p := &d.dist[int(u.pc)*d.k.n+int(u.k)]; *p < 0 {
				*p = dv + 1
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
	attr []uint16   // by state: greatest attr of what is under way; 0: nothing
	dist []uint16   // by state: bytes to the nearest end
	n    int
}

// distNone marks a state from which no end can be reached any more.
const distNone = 1<<16 - 1

type detMode struct {
	anchored bool
	limit    int // states
	// now tells which rules have ends that depend on nothing that follows: they are accepted by the state in which
	// the word ends. nil: none.
	now func(rule uint16) bool
}

// budgetError says why an automaton was given up.
type budgetError string

func (e budgetError) Error() string { return string(e) }

const (
	errStates = budgetError("needs more states than its budget")
	errSteps  = budgetError("needs more work than the budget of the build")
)

// forward makes the automaton that reads a text from its beginning. State 0 is the text's beginning. An
// anchored automaton has 0 = dead, 1 = at the text's beginning, 2 = before the byte that stands in front.
func (d *det) forward(m detMode, maxSteps int) (*dfa, error) {
	ncls := len(d.rep) + 1
	f := &dfa{cls: d.cls, ncls: ncls}
	ids := map[string]uint32{}
	type state struct {
		kernel []uint32
		k      uint8
	}
	var states []state
	var key []byte
	intern := func(kernel []uint32, k uint8, acc []uint16, extra byte) uint32 {
		key = append(key[:0], k, extra, byte(len(acc)), byte(len(acc)>>8))
		for _, r := range acc {
			key = append(key, byte(r), byte(r>>8))
		}
		for _, pc := range kernel {
			key = binary.LittleEndian.AppendUint32(key, pc)
		}
		id, ok := ids[string(key)]
		if !ok {
			id = uint32(len(states))
			ids[string(key)] = id
			states = append(states, state{slices.Clone(kernel), k})
			f.acc = append(f.acc, slices.Clone(acc))
			attr, dist := uint16(0), int32(distNone)
			for _, pc := range kernel {
				a := d.a.attr[pc]
				attr = max(attr&^attrEnd, a&^attrEnd) | (attr|a)&attrEnd
				if v := d.dist[int(pc)*d.k.n+int(k)]; v >= 0 && v < dist {
					dist = v
				}
			}
			f.attr = append(f.attr, attr)
			f.dist = append(f.dist, uint16(dist))
		}
		return id
	}
	var startPCs []uint32
	for _, s := range d.a.starts {
		startPCs = append(startPCs, s.pc)
	}
	slices.Sort(startPCs)
	startPCs = slices.Compact(startPCs)
	if m.anchored {
		intern(nil, 0, nil, 1)            // dead
		intern(startPCs, d.k.bot, nil, 2) // at the text's beginning
		intern(nil, 0, nil, 3)            // before the byte in front
	} else {
		intern(nil, d.k.bot, nil, 0)
	}
	startMoves := make([]moves, d.k.n) // of the starts, by the kind before
	var own moves
	for i := 0; i < len(states); i++ {
		if len(states) > m.limit {
			return nil, errStates
		}
		if *d.steps > maxSteps {
			return nil, errSteps
		}
		st := states[i]
		d.moves(&own, st.kernel, st.k, m.now)
		begin := &startMoves[st.k]
		if !m.anchored && begin.out == nil {
			d.moves(begin, startPCs, st.k, m.now)
		}
		for c := range ncls {
			*d.steps++
			b := -1
			if c < len(d.rep) {
				b = d.rep[c]
			}
			var to uint32
			switch {
			case m.anchored && i == 0:
			case m.anchored && i == 2:
				if b >= 0 {
					to = intern(startPCs, d.k.of[b], nil, 2)
				} else {
					to = 1
				}
			default:
				out, acc := own.out[c], own.acc[c]
				if !m.anchored {
					out = append(out, begin.out[c]...)
					own.out[c] = out
				}
				slices.Sort(out)
				out = slices.Compact(out)
				if m.now != nil {
					for _, pc := range out {
						for _, x := range d.closure(pc, 0, 0) {
							if d.a.inst[x].op == opMatch && m.now(d.a.rule[x]) {
								acc = append(acc, d.a.rule[x])
							}
						}
					}
				}
				slices.Sort(acc)
				acc = slices.Compact(acc)
				kb := uint8(0)
				if b >= 0 {
					kb = d.k.of[b]
				}
				if m.anchored && len(out) == 0 && len(acc) == 0 {
					to = 0
				} else {
					if m.anchored && len(out) == 0 {
						kb = 0
					}
					to = intern(out, kb, acc, 0)
				}
			}
			f.next = append(f.next, to)
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
	into := map[uint32][]uint32{} // byte instructions by the instruction that follows
	holdStart := map[uint32][]uint16{}
	for _, s := range d.a.starts {
		if s.hold {
			holdStart[s.pc] = append(holdStart[s.pc], s.rule)
		}
	}
	isKernel := map[uint32]bool{}
	for x, in := range d.a.inst {
		if in.op == opByte && in.lo <= in.hi && d.a.attr[x] > 0 {
			into[in.out] = append(into[in.out], uint32(x))
			isKernel[in.out] = true
		}
	}
	for pc := range holdStart {
		isKernel[pc] = true
	}
	var nodes []uint32
	for pc := range isKernel {
		nodes = append(nodes, pc)
	}
	slices.Sort(nodes)
	// from lists, for a byte instruction and its context, the nodes whose closure reaches it.
	type ctx struct {
		x      uint32
		kp, kn uint8
	}
	from := map[ctx][]uint32{}
	for _, u := range nodes {
		for kp := range d.k.n {
			for kn := range d.k.nn {
				for _, x := range d.closure(u, uint8(kp), uint8(kn)) {
					if d.a.inst[x].op == opByte {
						*d.steps++
						c := ctx{x, uint8(kp), uint8(kn)}
						from[c] = append(from[c], u)
					}
				}
			}
		}
	}
	ids := map[string]uint32{}
	type state struct {
		insts []uint32
		kn    uint8 // next-kind of the byte that they read
	}
	var states []state
	var key []byte
	intern := func(insts []uint32, kn uint8, starts []uint16, extra byte) uint32 {
		key = append(key[:0], kn, extra, byte(len(starts)), byte(len(starts)>>8))
		for _, r := range starts {
			key = append(key, byte(r), byte(r>>8))
		}
		for _, x := range insts {
			key = binary.LittleEndian.AppendUint32(key, x)
		}
		id, ok := ids[string(key)]
		if !ok {
			id = uint32(len(states))
			ids[string(key)] = id
			states = append(states, state{slices.Clone(insts), kn})
			f.acc = append(f.acc, slices.Clone(starts))
		}
		return id
	}
	intern(nil, 0, nil, 1)
	intern(nil, 0, nil, 2)
	var mark = make([]uint32, len(d.a.inst))
	gen := uint32(0)
	for i := 0; i < len(states); i++ {
		if len(states) > limit {
			return nil, errStates
		}
		if *d.steps > maxSteps {
			return nil, errSteps
		}
		st := states[i]
		for c := range ncls {
			*d.steps++
			b, kp := -1, d.k.bot
			if c < len(d.rep) {
				b = d.rep[c]
				kp = d.k.of[b]
			}
			if i == 0 {
				f.next = append(f.next, 0)
				continue
			}
			var insts []uint32
			var starts []uint16
			gen++
			take := func(v uint32) {
				if b < 0 {
					return
				}
				for _, x := range into[v] {
					*d.steps++
					in := &d.a.inst[x]
					if mark[x] != gen && byte(b) >= in.lo && byte(b) <= in.hi {
						mark[x] = gen
						insts = append(insts, x)
					}
				}
			}
			if i == 1 {
				for _, v := range nodes {
					if d.live(v, kp) {
						take(v)
					}
				}
			} else {
				for _, x := range st.insts {
					for _, u := range from[ctx{x, kp, st.kn}] {
						starts = append(starts, holdStart[u]...)
						take(u)
					}
				}
			}
			slices.Sort(insts)
			slices.Sort(starts)
			starts = slices.Compact(starts)
			kn := uint8(0)
			if b >= 0 && len(insts) > 0 {
				kn = d.k.nextOf[b]
			}
			to := uint32(0)
			if len(insts) > 0 || len(starts) > 0 {
				to = intern(insts, kn, starts, 0)
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
	// Refine until nothing splits. States are told apart by two independent 64-bit hashes of their successors'
	// parts, the same in every run.
	ids := make(map[[2]uint64]uint32, f.n)
	np := make([]uint32, f.n)
	for n := len(first); ; {
		clear(ids)
		for s := range f.n {
			h := [2]uint64{uint64(part[s]) + 1, uint64(part[s]) + 0x9E3779B97F4A7C15}
			for _, t := range f.next[s*f.ncls : (s+1)*f.ncls] {
				h[0] = (h[0] ^ uint64(part[t])) * 0x9FB21C651E98DF25
				h[0] ^= h[0] >> 32
				h[1] = (h[1]+uint64(part[t]))*0xD6E8FEB86659FD93 + 1
				h[1] ^= h[1] >> 29
			}
			id, ok := ids[h]
			if !ok {
				id = uint32(len(ids))
				ids[h] = id
			}
			np[s] = id
		}
		*steps += len(f.next)
		part, np = np, part
		if len(ids) == n {
			break
		}
		n = len(ids)
	}
	// Breadth first from the fixed states.
	num := make([]int, len(ids))
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
	g := &dfa{cls: f.cls, ncls: f.ncls, n: len(order)}
	for _, s := range order {
		for _, t := range f.next[s*f.ncls : (s+1)*f.ncls] {
			g.next = append(g.next, uint32(num[part[t]]))
		}
		g.acc = append(g.acc, f.acc[s])
		g.attr = append(g.attr, f.attr[s])
		g.dist = append(g.dist, f.dist[s])
	}
	*f = *g
	f.mergeColumns()
}

// mergeColumns merges classes that no state tells apart; the last class stays last.
func (f *dfa) mergeColumns() {
	col := map[string]uint8{}
	to := make([]uint8, f.ncls-1)
	var keep []int
	var key []byte
	for c := range f.ncls - 1 {
		key = key[:0]
		for s := range f.n {
			key = binary.LittleEndian.AppendUint32(key, f.next[s*f.ncls+c])
		}
		id, ok := col[string(key)]
		if !ok {
			id = uint8(len(keep))
			col[string(key)] = id
			keep = append(keep, c)
		}
		to[c] = id
	}
	keep = append(keep, f.ncls-1)
	next := make([]uint32, 0, f.n*len(keep))
	for s := range f.n {
		for _, c := range keep {
			next = append(next, f.next[s*f.ncls+c])
		}
	}
	for b := range f.cls {
		f.cls[b] = to[f.cls[b]]
	}
	f.next, f.ncls = next, len(keep)
}
