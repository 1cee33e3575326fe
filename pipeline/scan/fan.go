package scan

import (
	"math/bits"
	"slices"
)

// A fan finds what a set of instructions comes to, by class. Classes that the set cannot tell apart are seen once, and
// what they come to has one number however often it is met.
type fan struct {
	lists
	ids     map[classSet]uint32
	sets    []classSet
	members [][]uint16 // of each set: its classes
	to      [][]uint32 // by set: what its arcs lead to; emptied by split
	used    []uint32   // sets with arcs
	block   []uint32   // by class
	moved   []uint32   // by block: the part of it that is in the set at hand
	listOf  []uint32   // by block: its list + 1
	buf     []uint32
}

// An arc leads from an instruction to what follows it, for the classes of a set.
type arc struct {
	set uint32
	to  uint32
}

// arcs are those of one instruction.
type arcs struct {
	list []arc
	work int // steps that they stand for
	made bool
}

// isRule, beside a number, says that it is no instruction but a rule. A list has its instructions first.
const isRule = 1 << 31

// classSet is a set of classes, the text's end included.
type classSet [5]uint64

func (s *classSet) add(c int)      { s[c>>6] |= 1 << (c & 63) }
func (s *classSet) has(c int) bool { return s[c>>6]>>(c&63)&1 == 1 }

func (s classSet) and(t classSet) classSet {
	for k, v := range t {
		s[k] &= v
	}
	return s
}

func (s classSet) without(t classSet) classSet {
	for k, v := range t {
		s[k] &^= v
	}
	return s
}

func (s classSet) len() (n int) {
	for _, v := range s {
		n += bits.OnesCount64(v)
	}
	return n
}

func newFan(ncls int) *fan {
	p := &fan{ids: map[classSet]uint32{}, block: make([]uint32, ncls)}
	p.lists.init()
	return p
}

// set gives the number of a set.
func (p *fan) set(s classSet) uint32 {
	id, ok := p.ids[s]
	if !ok {
		id = uint32(len(p.sets))
		p.ids[s] = id
		var l []uint16
		for c := range p.block {
			if s.has(c) {
				l = append(l, uint16(c))
			}
		}
		p.sets, p.members, p.to = append(p.sets, s), append(p.members, l), append(p.to, nil)
	}
	return id
}

// add adds the arcs of one instruction.
func (p *fan) add(l []arc) {
	for _, e := range l {
		if len(p.to[e.set]) == 0 {
			p.used = append(p.used, e.set)
		}
		p.to[e.set] = append(p.to[e.set], e.to)
	}
}

// split puts in out, for each class, the list of what the added arcs lead to, and forgets them.
func (p *fan) split(out []uint32) {
	clear(p.block)
	p.moved = append(p.moved[:0], 0)
	for _, s := range p.used {
		old := uint32(len(p.moved))
		for _, c := range p.members[s] {
			b := p.block[c]
			if p.moved[b] < old {
				p.moved[b] = uint32(len(p.moved))
				p.moved = append(p.moved, 0)
			}
			p.block[c] = p.moved[b]
		}
	}
	p.listOf = append(p.listOf[:0], p.moved...)
	clear(p.listOf)
	p.listOf[0] = 1 // of classes in no set: the empty list
	for c, b := range p.block {
		if p.listOf[b] == 0 {
			l := p.buf[:0]
			for _, s := range p.used {
				if p.sets[s].has(c) {
					l = append(l, p.to[s]...)
				}
			}
			slices.Sort(l)
			p.buf = l
			p.listOf[b] = p.id(slices.Compact(l)) + 1
		}
		out[c] = p.listOf[b] - 1
	}
	for _, s := range p.used {
		p.to[s] = p.to[s][:0]
	}
	p.used = p.used[:0]
}

// lists numbers lists of numbers. The empty one is 0.
type lists struct {
	data []uint32
	from []uint32 // of each list, and the end of the last one
	hash []uint32
	slot []uint32 // hash table of list + 1; a power of two
}

func (l *lists) init() {
	l.from, l.slot = []uint32{0}, make([]uint32, 1<<6)
	l.id(nil)
}

func (l *lists) at(id uint32) []uint32 { return l.data[l.from[id]:l.from[id+1]:l.from[id+1]] }

// id gives the number of the list x, which is copied if it is new.
func (l *lists) id(x []uint32) uint32 {
	h := uint64(len(x))
	for _, v := range x {
		h = (h ^ uint64(v)) * 0x9FB21C651E98DF25
		h ^= h >> 32
	}
	mask := uint32(len(l.slot) - 1)
	i := uint32(h) & mask
	for ; l.slot[i] != 0; i = (i + 1) & mask {
		if id := l.slot[i] - 1; l.hash[id] == uint32(h) && slices.Equal(l.at(id), x) {
			return id
		}
	}
	id := uint32(len(l.hash))
	l.slot[i] = id + 1
	l.hash = append(l.hash, uint32(h))
	l.data = append(l.data, x...)
	l.from = append(l.from, uint32(len(l.data)))
	if 2*len(l.hash) > len(l.slot) {
		l.slot = make([]uint32, 2*len(l.slot))
		mask = uint32(len(l.slot) - 1)
		for id, h := range l.hash {
			i := h & mask
			for l.slot[i] != 0 {
				i = (i + 1) & mask
			}
			l.slot[i] = uint32(id) + 1
		}
	}
	return id
}

// parts gives the instructions and the rules of a list.
func (l *lists) parts(id uint32) (pcs, rules []uint32) {
	x := l.at(id)
	k := len(x)
	for k > 0 && x[k-1]&isRule != 0 {
		k--
	}
	return x[:k:k], x[k:]
}
