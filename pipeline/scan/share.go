package scan

import (
	"encoding/binary"
	"slices"
)

// stock is the large parts of tables, by their length: those to which nothing is written once they are built or read, so
// that several tables may have one.
type stock struct {
	words  map[int][][]uint32
	halves map[int][][]uint16
}

// least is how many entries a part must have to be worth a look.
const least = 64

func stockOf(ts []*Tables) *stock {
	p := &stock{map[int][][]uint32{}, map[int][][]uint16{}}
	for _, t := range ts {
		t.each(func(w *[]uint32) { p.words[len(*w)] = append(p.words[len(*w)], *w) },
			func(h *[]uint16) { p.halves[len(*h)] = append(p.halves[len(*h)], *h) })
	}
	return p
}

// each calls f and g with the parts of t that other tables may have too.
func (t *Tables) each(f func(*[]uint32), g func(*[]uint16)) {
	for i := range t.groups {
		g(&t.groups[i].next)
		f(&t.groups[i].wide)
		f(&t.groups[i].rnext)
	}
	for _, u := range t.bundle {
		f(&u.joint.next)
	}
	for i := range t.anch {
		g(&t.anch[i].next)
		g(&t.anch[i].info)
	}
}

// Share makes one of the parts that t and others have in common, and gives the bytes that this saves. Classes of text for
// which most of the rules are the same have their largest tables in common. It must be called before t is used.
func (t *Tables) Share(others ...*Tables) (saved int) {
	known := stockOf(others)
	t.each(func(w *[]uint32) { saved += 4 * share(w, known.words) }, func(h *[]uint16) { saved += 2 * share(h, known.halves) })
	for k := range t.groups {
		t.next[k], t.wide[k] = t.groups[k].next, t.groups[k].wide
	}
	return saved
}

// share makes part the one of known that is the same, and gives how many entries that saves.
func share[T comparable](part *[]T, known map[int][][]T) int {
	for _, k := range known[len(*part)] {
		if len(k) >= least && slices.Equal(k, *part) {
			*part = k
			return len(k)
		}
	}
	return 0
}

// wordsLike gives the part with the entries in b, four bytes each, nil if there is none.
func (p *stock) wordsLike(b []byte) []uint32 {
	if p == nil || len(b) < 4*least {
		return nil
	}
next:
	for _, k := range p.words[len(b)/4] {
		for i, v := range k {
			if binary.LittleEndian.Uint32(b[4*i:]) != v {
				continue next
			}
		}
		return k
	}
	return nil
}

// halvesLike is wordsLike for entries of two bytes.
func (p *stock) halvesLike(b []byte) []uint16 {
	if p == nil || len(b) < 2*least {
		return nil
	}
next:
	for _, k := range p.halves[len(b)/2] {
		for i, v := range k {
			if binary.LittleEndian.Uint16(b[2*i:]) != v {
				continue next
			}
		}
		return k
	}
	return nil
}
