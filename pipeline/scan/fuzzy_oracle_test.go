package scan

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/invariant"
)

// fuzzyList is a list of terms with shared words, and a text of words at and beyond their distances.
func fuzzyList(r *rand.Rand) (rules []Rule, text string) {
	letters := []rune([]string{"abcde", "abcdefghijklmnop", "aábßkKſсе", "漢字仮名a", "aA_0é", "мmМГгrнhηη"}[r.IntN(6)])
	rand := func(n int) []rune {
		w := make([]rune, n)
		for i := range w {
			w[i] = letters[r.IntN(len(letters))]
		}
		return w
	}
	longest := []int{4, 9, 14, 24, maxFuzzyWord}[r.IntN(5)]
	if slices.Contains(letters, 'ß') {
		longest = min(longest, maxFuzzyWord/2) // it is two letters in the normalised view
	}
	var words [][]rune
	for range 1 + r.IntN(60) {
		n := 1 + r.IntN(longest)
		w := rand(n)
		if len(words) > 0 && r.IntN(3) == 0 { // a beginning that is shared
			o := words[r.IntN(len(words))]
			k := r.IntN(len(o) + 1)
			w = append(slices.Clone(o[:k]), w...)
			w = w[:min(len(w), longest)]
		}
		words = append(words, w)
	}
	gaps := []string{" ", " ", " ", "-", ", ", "  ", "\n", ".", strings.Repeat(" ", 16)}
	dist, half, fold := r.IntN(MaxDistance+1), r.IntN(2) == 0, r.IntN(2) == 0
	same := r.IntN(2) == 0 // all rules are alike, as in a list
	view := View(r.IntN(2))
	shared := r.IntN(3) == 0 // many terms begin with one word
	for i := range 1 + r.IntN(90) {
		if !same {
			dist, half, fold, view = r.IntN(MaxDistance+1), r.IntN(2) == 0, r.IntN(2) == 0, View(r.IntN(2))
		}
		x := Rule{ID: fmt.Sprint(i), Policy: uint8(i % 3), Distance: max(1, dist), Half: half, Fold: fold, View: view, Span: true}
		if r.IntN(8) == 0 {
			x.Cap = 20 + r.IntN(60)
		}
		for k := 1 + r.IntN(1+r.IntN(4)); k > 0; k-- {
			w := string(words[r.IntN(len(words))])
			if shared && x.Phrase == "" && k > 1 {
				w = string(words[0])
			}
			if limit := cmp.Or(x.Cap, 450); len(x.Phrase)+len(w)+8 > limit {
				break
			}
			if x.Phrase != "" {
				x.Phrase += []string{" ", " ", "-", ", "}[r.IntN(4)]
			}
			x.Phrase += w
		}
		if x.Phrase == "" || r.IntN(10) == 0 {
			x.Phrase = "ab" // the same term again
		}
		if r.IntN(10) == 0 {
			x.Allow = []string{string(words[r.IntN(len(words))]), x.Phrase}
		}
		rules = append(rules, x)
	}
	var b strings.Builder
	for range 5 + r.IntN(25) {
		phrase := rules[r.IntN(len(rules))].Phrase
		if r.IntN(4) == 0 {
			phrase = string(words[r.IntN(len(words))])
		}
		for i, w := range fuzzyWords(phraseWords(phrase)) {
			if i > 0 && r.IntN(12) == 0 {
				break
			}
			rs := []rune(w)
			for k := r.IntN(1 + r.IntN(dist+3)); k > 0; k-- {
				at := r.IntN(len(rs) + 1)
				switch {
				case r.IntN(3) == 0:
					rs = slices.Insert(rs, at, letters[r.IntN(len(letters))])
				case at == len(rs):
				case r.IntN(2) == 0:
					rs[at] = letters[r.IntN(len(letters))]
				default:
					rs = slices.Delete(rs, at, at+1)
				}
			}
			for _, c := range rs {
				switch r.IntN(40) {
				case 0:
					b.WriteRune('\u200b')
				case 1:
					if c >= 'a' && c <= 'z' {
						c += 'ａ' - 'a'
					}
				case 2:
					c = []rune(strings.ToUpper(string(c)))[0]
				case 3:
					b.WriteString("½") // two words in the normalised view
				}
				b.WriteRune(c)
			}
			if r.IntN(60) == 0 {
				b.WriteString("\xe2\x82")
			}
			if r.IntN(60) == 0 {
				b.WriteString(string(rand(60)))
			}
			b.WriteString(gaps[r.IntN(len(gaps))])
		}
		if r.IntN(30) == 0 {
			b.WriteString("\xf0\x9f")
		}
	}
	return rules, b.String()
}

// diffFuzzy compares a list with the oracle; false says that the engine gave up.
func diffFuzzy(t *testing.T, seed uint64) bool {
	r := rand.New(rand.NewPCG(seed, 11))
	rules, text := fuzzyList(r)
	tb, rep, err := Build(rules, Options{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if r.IntN(2) == 0 {
		b := tb.AppendBinary(nil)
		if tb, err = Load(b); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !slices.Equal(tb.AppendBinary(nil), b) {
			t.Fatalf("seed %d: a round trip changes the binary form", seed)
		}
	}
	pt, err := plainBuild(rules, Options{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	cuts := cutsOf(r, len(text), 1+r.IntN(40))
	mask := ^uint64(0)
	if r.IntN(4) == 0 {
		mask = 5
	}
	var s State
	s.Reset(mask)
	var p plainChan
	p.Reset(mask)
	got := drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(&s, w, n, end, out) }, text, cuts, r.IntN(3))
	want := drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return pt.Feed(&p, w, n, end, out) }, text, cuts, 0)
	if got == nil {
		return false
	}
	var gm, wm []Match
	for i := range got {
		gm, wm = append(gm, got[i].m...), append(wm, want[i].m...)
	}
	describe := func() string {
		var b strings.Builder
		for i, x := range rules {
			fmt.Fprintf(&b, "  %d %+v\n", i, x)
		}
		return fmt.Sprintf("seed %d\n%s  text %q\n  cuts %v", seed, b.String(), text, cuts)
	}
	if !slices.Equal(gm, wm) {
		t.Fatalf("%s\n got  %v\n want %v", describe(), gm, wm)
	}
	for i := range got {
		if got[i].hold != want[i].hold {
			t.Fatalf("%s\n event %d: hold-back at %d, want %d\n matches %v", describe(), i, got[i].hold, want[i].hold, gm)
		}
	}
	for _, m := range gm {
		if n := int(m.End - m.Start); rules[m.Rule].View == Raw && n > rep.Rules[m.Rule].LongHold {
			t.Fatalf("%s\n a match of %d bytes, the report says at most %d", describe(), n, rep.Rules[m.Rule].LongHold)
		}
	}
	return true
}

func TestFuzzyListsEqualTheOracle(t *testing.T) {
	n := Rounds(800, 100, 16)
	over := 0
	for seed := range uint64(n) {
		if !diffFuzzy(t, seed) {
			over++
		}
	}
	t.Logf("gave up %d of %d times", over, n)
	if over*10 > n {
		t.Errorf("gave up %d of %d times", over, n)
	}
}

// FuzzFuzzyListsEqualTheOracle searches on from the same start.
func FuzzFuzzyListsEqualTheOracle(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { diffFuzzy(t, seed) })
}

func TestFuzzyFeedAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var rules []Rule
	text := ""
	for i := range 500 {
		w := []byte("al ")
		for range 4 + r.IntN(9) {
			w = append(w, byte('a'+r.IntN(26)))
		}
		rules = append(rules, Rule{ID: fmt.Sprint(i), Phrase: string(w[3*r.IntN(2):]), Distance: 1 + i%5, Half: true, Fold: true, View: Normalised})
		w[4], w[5] = 'x', byte('a'+r.IntN(26))
		text += string(w) + " "
	}
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var s State
	var out Matches
	n := 0
	b := []byte(text)
	pass := func() {
		s.Reset(1)
		for at, rel := 0, 0; at < len(b); {
			to := min(at+7, len(b))
			fed, keep := tb.Feed(&s, b[rel:to], at-rel, to == len(b), &out)
			at += fed
			rel += keep
			n += out.Len()
			out.Clear()
		}
	}
	if pass(); n < 100 {
		t.Fatalf("%d matches", n)
	}
	if n := testing.AllocsPerRun(5, pass); n != 0 && !invariant.Race {
		t.Errorf("a text allocates %v times", n)
	}
}

func TestDamagedFuzzyTablesAreRefusedOrHarmless(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 10))
	for seed := range uint64(20) {
		rules, text := fuzzyList(rand.New(rand.NewPCG(seed, 11)))
		tb, _, err := Build(rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := tb.AppendBinary(nil)
		again, _, err := Build(rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(again.AppendBinary(nil), b) {
			t.Fatal("two builds differ")
		}
		w := &writer{}
		w.fuzzy(tb)
		from := len(b) - len(w.b) // the terms stand at the end
		for range 100 {
			c := slices.Clone(b)
			for range 1 + r.IntN(3) {
				c[from+r.IntN(len(c)-from)] = byte(r.IntN(256))
			}
			bad, err := Load(c[:len(c)-r.IntN(2)])
			if err != nil {
				continue
			}
			var s State
			s.Reset(^uint64(0))
			drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return bad.Feed(&s, w, n, end, out) }, text, cutsOf(r, len(text), 30), 0)
		}
	}
}

// Words that many rules match do not overflow, in one call or in pieces.
func TestManyFuzzyMatchesComeInTurn(t *testing.T) {
	var rules []Rule
	for i := range 12 {
		rules = append(rules, Rule{ID: fmt.Sprint(i), Policy: uint8(i % 2), Phrase: "zorblax" + string(rune('a'+i)), Distance: 1, Fold: true})
	}
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const words = 500
	text := strings.Repeat("Zorblax ", words)
	for _, mask := range []uint64{3, 1} {
		var first []Match
		for _, piece := range []int{len(text), 700, 20, 1} {
			var s State
			s.Reset(mask)
			var cuts []int
			for i := piece; i < len(text); i += piece {
				cuts = append(cuts, i)
			}
			ev := drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(&s, w, n, end, out) }, text, cuts, 0)
			var got []Match
			for _, e := range ev {
				got = append(got, e.m...)
			}
			want := words * len(rules)
			if mask == 1 {
				want /= 2
			}
			if len(got) != want {
				t.Fatalf("mask %d, pieces of %d bytes: %d matches, want %d", mask, piece, len(got), want)
			}
			if first == nil {
				first = got
			} else if !slices.Equal(got, first) {
				t.Fatalf("mask %d, pieces of %d bytes: other matches than in one call", mask, piece)
			}
		}
	}
}
