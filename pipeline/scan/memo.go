package scan

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// A Memo keeps the automata that builds have made, for builds of rules that are partly the same: those of the classes
// of one plan. The zero value is empty. It is not for use by two builds at once, and holds on to memory.
type Memo struct {
	made map[[sha256.Size]byte]*made
}

// made is what determinise gave, and the steps that it took.
type made struct {
	fwd, rev *kept
	err      error
	steps    int
}

// kept is an automaton in half the room.
type kept struct {
	dfa
	next []uint16
}

const maxKept = 1 << 16 // states

func keep(f *dfa) *kept {
	if f == nil {
		return nil
	}
	k := &kept{dfa: *f, next: make([]uint16, len(f.next))}
	for i, s := range f.next {
		k.next[i] = uint16(s)
	}
	k.dfa.next, k.attr, k.dist = nil, slices.Clone(f.attr), slices.Clone(f.dist)
	return k
}

// open gives an automaton that the caller may change, but for the lists in acc. It gives nil for nil.
func (k *kept) open() *dfa {
	if k == nil {
		return nil
	}
	f := k.dfa
	f.next, f.acc = make([]uint32, len(k.next)), slices.Clone(k.acc)
	for i, s := range k.next {
		f.next[i] = uint32(s)
	}
	f.attr, f.dist = slices.Clone(k.attr), slices.Clone(k.dist)
	return &f
}

// determinise makes the automaton of m, or the one that was made of the same before. The caller may change it.
func (b *builder) determinise(a *auto, m detMode) (fwd, rev *dfa, err error) {
	var key [sha256.Size]byte
	if m.now == nil {
		key = a.key(m)
		if x := b.opt.Memo.made[key]; x != nil && b.steps+x.steps <= b.opt.MaxSteps {
			b.steps += x.steps // a budget is kept or not whatever was built before
			return x.fwd.open(), x.rev.open(), x.err
		}
	}
	before := b.steps
	d := newDet(a, &b.steps)
	if m.word && d.dead() {
		err = errNothing
	} else {
		fwd, err = d.forward(m, b.opt.MaxSteps)
	}
	if err == nil && m.reverse {
		if rev, err = d.backward(m.limit, b.opt.MaxSteps); err != nil {
			fwd = nil
		}
	}
	if m.now == nil && err != errSteps && (fwd == nil || fwd.n <= maxKept) && (rev == nil || rev.n <= maxKept) {
		if b.opt.Memo.made == nil {
			b.opt.Memo.made = map[[sha256.Size]byte]*made{}
		}
		b.opt.Memo.made[key] = &made{keep(fwd), keep(rev), err, b.steps - before}
	}
	return fwd, rev, err
}

// dead tells whether no start leads to a match.
func (d *det) dead() bool {
	for _, s := range d.a.starts {
		for k := range d.k.n {
			if d.live(s.pc, uint8(k)) {
				return false
			}
		}
	}
	return true
}

// key stands for an automaton and what is to be made of it.
func (a *auto) key(m detMode) [sha256.Size]byte {
	b := []byte{byte(boolInt(m.anchored)), byte(boolInt(m.word)), byte(boolInt(m.reverse)), byte(boolInt(m.early))}
	b = binary.LittleEndian.AppendUint32(b, uint32(m.limit))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(a.inst)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(a.looks)))
	b = slices.Grow(b, 15*len(a.inst)+33*len(a.looks)+7*len(a.starts))
	for i, in := range a.inst {
		b = append(b, byte(in.op), in.lo, in.hi)
		b = binary.LittleEndian.AppendUint32(b, in.out)
		b = binary.LittleEndian.AppendUint32(b, in.arg)
		b = binary.LittleEndian.AppendUint16(b, a.rule[i])
		b = binary.LittleEndian.AppendUint16(b, a.attr[i])
	}
	for i := range a.looks {
		for _, v := range a.looks[i].set {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		b = append(b, byte(boolInt(a.looks[i].eof)))
	}
	for _, s := range a.starts {
		b = binary.LittleEndian.AppendUint32(b, s.pc)
		b = binary.LittleEndian.AppendUint16(b, s.rule)
		b = append(b, byte(boolInt(s.hold)))
	}
	return sha256.Sum256(b)
}
