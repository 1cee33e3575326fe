package scan

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
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
	rounds := Rounds(20_000, 20_000, 2000)
	found, none, ended := 0, 0, 0
	for _, p := range patterns {
		tb, _, err := Build([]Rule{{ID: "k", Pattern: p, Span: true, Cap: 90}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ru := &tb.rules[0]
		a := &tb.anch[ru.anchor]
		step := func(q uint16, c byte) uint16 { return a.next[uint32(q)*a.ncls+uint32(a.cls[c])] }
		for range rounds {
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
			for y := x + 1; y < n; y++ { // over the cap, too: a word may have ended
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
	if found < rounds/20 || none < rounds/20 || ended < rounds/400 {
		t.Errorf("%d found, %d without one, %d in which a word ended: too few of a kind", found, none, ended)
	}
}

// What a run takes at once along a path is what it comes to byte by byte.
func TestPathsAreWhatStepsComeTo(t *testing.T) {
	r := rand.New(rand.NewPCG(20, 27))
	took, runs := 0, 0
	for _, p := range []string{
		`\bkey-[a-z0-9_-]{20,}\b`,
		`\bkey-[a-z0-9]{36}\b`,
		`\bkey-[a-z0-9]{5,9}(?:\.[a-z0-9]{12}){2}`,
		`\bkey[a-z-]{3,}\.[a-z]{2}\b`,
		`\bkey-(?:[a-c]{12}|[x-z0-9]{30})+;`,
		`\bkey-[A-Za-z0-9_-]{300}`,
		`\bkey-[a-z0-9]{12}(?:[a-wyz0-9]{1,40}x)+;`, // the last state of the path goes on to itself over some of the set
	} {
		tb, _, err := Build([]Rule{{ID: "k", Pattern: p, Span: true, Cap: 400}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ru := &tb.rules[0]
		a := &tb.anch[ru.anchor]
		if len(a.path) == 0 {
			t.Fatalf("%s has no path", p)
		}
		plain := *a
		plain.pos = nil
		text := func() []byte {
			b := make([]byte, 1+r.IntN(120))
			for i := range b {
				if b[i] = "abcxyz0189"[r.IntN(10)]; r.IntN(40) == 0 {
					b[i] = "-. A;"[r.IntN(5)]
				}
			}
			return b
		}
		for range Rounds(5_000, 5_000, 1_500) {
			b := text()
			s := a.path[r.IntN(len(a.path))]
			to, n := a.along(s, b)
			q := s
			for _, c := range b[:n] {
				if q = a.next[uint32(q)*a.ncls+uint32(a.cls[c])]; a.info[q]&infoAccept != 0 || q == anchorDead {
					t.Fatalf("%s from %d over %q: a word ends in state %d, or it is dead", p, s, b[:n], q)
				}
			}
			if q != to || n < len(b) && a.over[b[n]] != 0 && (q != a.path[len(a.path)-1] || a.loop != noLoop) {
				t.Fatalf("%s from %d over %q: state %d after %d bytes, want %d", p, s, b, to, n, q)
			}
			if a.leadsOn(s, len(b)) && a.loop != noLoop && n == len(b) && to != a.loop {
				t.Fatalf("%s from %d: %d bytes do not lead to the last state", p, s, len(b))
			}
			if b = append([]byte("key-"), b...); n > 0 {
				took++
			}
			x, seen, ok := a.run(ru, a.at(b, 0, -1), b, 0, 0)
			y, seen2, ok2 := plain.run(ru, a.at(b, 0, -1), b, 0, 0)
			if x != y || seen != seen2 || ok != ok2 {
				t.Fatalf("%s on %q: state %d, %v, %v; byte by byte %d, %v, %v", p, b, x, seen, ok, y, seen2, ok2)
			}
			if x != anchorDead {
				runs++
			}
		}
	}
	if took < 5_000 || runs < 1_000 {
		t.Errorf("%d paths were taken, %d runs were alive: too few", took, runs)
	}
}

// The states of a joint automaton stand in the order of their sorts, and its rows say which is which.
func TestStatesOfABundleAreSorted(t *testing.T) {
	tb, _, err := Build(reference(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sorts [sortEnd + 1]int
	for _, u := range tb.bundle {
		j, last := &u.joint, uint8(0)
		for q := range j.info {
			row := j.row(uint16(q))
			sort := u.sort(tb, q, u.acc[q] != 0, tb.listAt(u.alive[q]))
			if sort < last || j.number(row) != uint16(q) {
				t.Fatalf("state %d is of sort %d behind %d; its row is that of %d", q, sort, last, j.number(row))
			}
			if leaves(row, j.last) != (q == anchorDead || sort == sortEnd) || (row-j.front < j.width) != (sort == sortFront) {
				t.Fatalf("state %d of sort %d: leaves %v, front %v", q, sort, leaves(row, j.last), row-j.front < j.width)
			}
			last = sort
			sorts[sort]++
		}
	}
	if min(sorts[sortWords], sorts[sortFront], sorts[sortEnd]) == 0 {
		t.Errorf("states of each sort: %v", sorts)
	}
}

// The check number of an IBAN is that of the whole number modulo 97 (ISO 7064).
func TestIBANsAreCheckedAsOneNumber(t *testing.T) {
	r := rand.New(rand.NewPCG(13616, 1))
	good := 0
	for range 20_000 {
		k := 4 * r.IntN(len(ibanLengths)/4)
		var w []byte
		w = append(w, ibanLengths[k:k+2]...)
		for range 10*int(ibanLengths[k+2]-'0') + int(ibanLengths[k+3]-'0') - 2 {
			w = append(w, "0123456789012345678901234567ABCXYZabz"[r.IntN(37)])
		}
		number := func(w []byte) *big.Int {
			s := ""
			for _, c := range slices.Concat(w[4:], w[:4]) {
				if c = upper(c); isUpper(c) {
					s += strconv.Itoa(int(c-'A') + 10)
				} else {
					s += string(c)
				}
			}
			n, ok := new(big.Int).SetString(s, 10)
			if !ok {
				t.Fatalf("%q is no number", s)
			}
			return n.Mod(n, big.NewInt(97))
		}
		if r.IntN(2) == 0 { // so that the number is 1 modulo 97
			w[2], w[3] = '0', '0'
			c := 98 - number(w).Int64()
			w[2], w[3] = byte('0'+c/10), byte('0'+c%10)
		}
		want := number(w).Int64() == 1
		if spaced := bytes.Join([][]byte{w[:4], w[4:8], w[8:]}, []byte(" ")); iban(w) != want || iban(spaced) != want {
			t.Fatalf("%q: %v, spaced %v; want %v", w, iban(w), iban(spaced), want)
		}
		good += boolInt(want)
	}
	if good < 5_000 || good > 15_000 {
		t.Errorf("%d of 20,000 are right", good)
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

// What begins behind a word that the cap ends is found, if it ended before the piece did.
func TestAWordInOneThatTheCapEndsIsFound(t *testing.T) {
	for _, pattern := range []string{`token_(?:日本)+}|oke`, `token_(?:abc)+}|oke`, `token_[a-c]+}|oken_a`} {
		rules := []Rule{{ID: "a", Pattern: pattern, Cap: 24, Span: true}}
		comparePairs(t, rules, "token_日本日本日本日 ", "token_abcabcabcabcabcabcabc} ", "xtoken_abcabcabcabcabca token_abc} ")
	}
}

// Where the last state of a path goes on to itself over more bytes than those of the path's set, a later run comes to it over these
// only: over others it may be on a way of its own, on which a word ends.
func TestRunsMeetOverBytesOfThePath(t *testing.T) {
	r := rand.New(rand.NewPCG(93647, 7))
	for _, pattern := range []string{`日本|token_[^d](c){0,21}_0?|tok[\S]+1`, `token_x_|tok\S+1`, `tok-{2}[a-c]{4}|tok[\w-]+!`, `tok_[a-f0-9]{6,}=|tok[!-~]+!`} {
		for _, longest := range []int{0, 12, 25} {
			tb, pt := builtTwice(t, []Rule{{ID: "a", Pattern: pattern, Cap: longest, Span: true}})
			for range Rounds(400, 200, 40) {
				var b strings.Builder
				for range 2 + r.IntN(12) {
					b.WriteString([]string{"tok", "tok", "token_", "x_", "-", "--", "_", "a", "ab1", "c", "0", " ", "!", "="}[r.IntN(14)])
				}
				text := b.String()
				if gaveUp, problem := compare(t, tb, pt, text, cutsOf(r, len(text), 1+r.IntN(2*len(text))), 1, 0); gaveUp || problem != "" {
					t.Fatal(gaveUp, problem)
				}
			}
		}
	}
}
