package bench

import (
	"strings"
	"testing"
)

// pass is one plain table pass, the measure that the scan figures are given
// in: a dense automaton of at most 256 states and 64 classes of bytes, entries
// premultiplied, accepting states numbered last, one load and one compare for
// each byte. It counts the ends of some common words (Aho-Corasick), so that
// its states and cache lines are used as real text uses them.
type pass struct {
	class  [256]uint8
	next   []uint32 // state (a multiple of stride) + class -> state
	accept uint32   // first accepting state
}

const stride = 64

var passWords = strings.Fields("their water report window between because record harvest without measure engine figure carefully library telescope suddenly people returned signal meeting")

func newPass() *pass {
	p := &pass{}
	p.class['\n'] = 1
	for c := range 26 {
		p.class['a'+c], p.class['A'+c] = uint8(2+c), uint8(2+c)
	}
	for c := range 10 {
		p.class['0'+c] = uint8(28 + c)
	}
	type node struct {
		next   map[uint8]int
		fail   int
		accept bool
	}
	nodes := []node{{next: map[uint8]int{}}}
	for _, w := range passWords {
		at := 0
		for i := range len(w) {
			c := p.class[w[i]]
			to, ok := nodes[at].next[c]
			if !ok {
				to = len(nodes)
				nodes = append(nodes, node{next: map[uint8]int{}})
				nodes[at].next[c] = to
			}
			at = to
		}
		nodes[at].accept = true
	}
	// Failure links, breadth first; then every transition is filled in.
	full := make([][stride]int, len(nodes))
	queue := []int{0}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for c := range stride {
			to, ok := nodes[n].next[uint8(c)]
			switch {
			case !ok && n != 0:
				full[n][c] = full[nodes[n].fail][c]
			case ok:
				full[n][c] = to
				if n != 0 {
					nodes[to].fail = full[nodes[n].fail][c]
					nodes[to].accept = nodes[to].accept || nodes[nodes[to].fail].accept
				}
				queue = append(queue, to)
			}
		}
	}
	number := make([]uint32, len(nodes))
	k := uint32(0)
	for _, accepting := range []bool{false, true} {
		if accepting {
			p.accept = k * stride
		}
		for n := range nodes {
			if nodes[n].accept == accepting {
				number[n] = k
				k++
			}
		}
	}
	p.next = make([]uint32, len(nodes)*stride)
	for n := range nodes {
		for c := range stride {
			p.next[number[n]*stride+uint32(c)] = number[full[n][c]] * stride
		}
	}
	return p
}

// run counts over text in pieces.
func (p *pass) run(text []byte, size int) int {
	count, state := 0, uint32(0)
	for at := 0; at < len(text); at += size {
		var n int
		state, n = p.feed(state, text[at:min(at+size, len(text))])
		count += n
	}
	return count
}

//go:noinline
func (p *pass) feed(s uint32, text []byte) (uint32, int) {
	count := 0
	next, accept := p.next, p.accept
	for _, c := range text {
		s = next[s+uint32(p.class[c])]
		if s >= accept {
			count++
		}
	}
	return s, count
}

// slow counts the same without the automaton.
func (p *pass) slow(text []byte) int {
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, string(text))
	count := 0
	for i := range len(lower) {
		for _, w := range passWords {
			if strings.HasSuffix(lower[:i+1], w) {
				count++
				break
			}
		}
	}
	return count
}

func TestPassCountsEveryWord(t *testing.T) {
	p := newPass()
	text := []byte(English(1<<16, 3))
	if states := len(p.next) / stride; states > 256 || states < 100 {
		t.Fatalf("%d states", states)
	}
	want := p.slow(text)
	for _, size := range []int{1, 20, len(text)} {
		if got := p.run(text, size); got != want || want == 0 {
			t.Errorf("in pieces of %d: %d, want %d", size, got, want)
		}
	}
}
