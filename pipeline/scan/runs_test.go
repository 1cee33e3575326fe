package scan

import (
	"math/rand/v2"
	"testing"
)

// Where the cap ends a run that is alive, the start that follows it is the one that trying all of them gives.
func TestTheHeirIsTheFirstStartThatIsLive(t *testing.T) {
	patterns := []string{
		`\bkey-[a-z-]{3,}\.[a-z]{2}\b`,
		`\bkey-[a-z-]{70,}x`,
		`\bkey-(?:[a-c-]{5}[key]?)+z`,
		`\bkey-(?:[a-z-]{3,40}\.a|[a-z.-]{60,}z)`, // a word may end that the old run did not come to
		`\bkey-(?:[abc-]+[key]+)*[.]`,
	}
	r := rand.New(rand.NewPCG(20, 26))
	found, none, ended := 0, 0, 0
	for _, p := range patterns {
		tb, _, err := Build([]Rule{{ID: "k", Pattern: p, Span: true, Cap: 90}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ru := &tb.rules[0]
		a := &tb.anch[ru.anchor]
		step := func(q uint16, c byte) uint16 { return a.next[uint32(q)*a.ncls+uint32(a.cls[c])] }
		for range 20_000 {
			b := make([]byte, 92+r.IntN(60))
			for i := range b {
				b[i] = "abcabc-key"[r.IntN(10)]
			}
			x := 0
			copy(b, "key-")
			for range r.IntN(6) {
				copy(b[r.IntN(len(b)):], "-key-aaa")
			}
			if r.IntN(3) == 0 {
				b[r.IntN(len(b))] = ".xz"[r.IntN(3)]
			}
			n := len(b) - r.IntN(20)
			run := func(x int) (q uint16, words bool) {
				q = a.at(b, x, -1)
				for _, c := range b[x:] {
					if q = step(q, c); q == anchorDead {
						return q, words
					}
					words = words || a.info[q]&infoAccept != 0
				}
				return q, words
			}
			q, words := run(x)
			if words || a.info[q]&infoDist == infoDist || a.fits(ru, q, len(b)-x) {
				continue
			}
			want, state, ok := n-1, uint16(anchorDead), true
			for y := max(x+1, len(b)-int(ru.cap)); y < n; y++ {
				to, words := run(y)
				if words {
					ok = false
					break
				}
				if a.info[to]&infoDist != infoDist && a.fits(ru, to, len(b)-y) {
					want, state = y, to
					break
				}
			}
			from := len(b) - r.IntN(1+a.stayed(q, b))
			at, got, fine := a.heir(ru, b, -1, x, n, q, from)
			if fine != ok || ok && (at != want || got != state) {
				t.Fatalf("%s on %q from %d: start %d in state %d, %v; want %d, %d, %v", p, b, x, at, got, fine, want, state, ok)
			}
			switch {
			case !ok:
				ended++
			case state == anchorDead:
				none++
			default:
				found++
			}
		}
	}
	if found < 1000 || none < 1000 || ended < 50 {
		t.Errorf("%d found, %d without one, %d in which a word ended: too few of a kind", found, none, ended)
	}
}

func TestLettersAndDigitsAreCounted(t *testing.T) {
	r := rand.New(rand.NewPCG(97, 1))
	for range 20_000 {
		w := make([]byte, r.IntN(40))
		want := 0
		for i := range w {
			if w[i] = byte(r.IntN(256)); r.IntN(2) == 0 {
				w[i] = "@AZ[`az{/09: -"[r.IntN(14)]
			}
			switch c := w[i]; {
			case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
				want++
			}
		}
		if got := alnum(w); got != want {
			t.Fatalf("%q has %d letters and digits; want %d", w, got, want)
		}
	}
}
