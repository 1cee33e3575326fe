package scan

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var (
	mixedRun  = flag.Duration("mixed", 0, "how long random rules of all sorts are compared with the oracle (0: a fixed number of cases)")
	mixedSeed = flag.Uint64("mixedseed", 0, "the first case of that comparison")
)

// mixed is a case of rules of all sorts: patterns as people and nobody would write them, hard ones, phrases.
type mixed struct {
	*patternMaker
	rules  []Rule
	parsed []*syntax.Regexp // of the patterns
	words  []string         // the phrases
	states int              // of a filter
	opt    Options
}

// rule makes a rule; fuzzy says that it may be a fuzzy term.
func (m *mixed) rule(fuzzy bool) (x Rule) {
	r := m.r
	switch k := r.IntN(10); {
	case k < 6:
		x = Rule{Pattern: m.pattern(), Cap: MaxCap, Fold: r.IntN(8) == 0}
		switch r.IntN(6) {
		case 0, 1:
			x.Cap = 1 + r.IntN(30)
		case 2:
			x.Cap = 0
		case 3:
			m.behind(&x)
		}
	case k < 8:
		if x = pool[r.IntN(len(pool))]; x.Distance > 0 && !fuzzy {
			return m.rule(fuzzy)
		}
	default:
		var w []string
		for range 1 + r.IntN(4) {
			w = append(w, fewWords[r.IntN(len(fewWords))])
		}
		x = Rule{Phrase: strings.TrimSpace(strings.Join(w, m.one(" ", "", " ", "-"))), Fold: r.IntN(2) == 0}
		if fuzzy && r.IntN(2) == 0 {
			x.Distance = 1 + r.IntN(2)
		}
		if r.IntN(4) == 0 {
			x.Cap = 1 + r.IntN(40)
		}
	}
	x.Policy, x.Span = uint8(r.IntN(3)), r.IntN(5) > 0
	if r.IntN(3) == 0 {
		x.View = Normalised
	}
	if r.IntN(8) == 0 && x.Pattern != "" {
		x.Allow = []string{"tok", "abc", "a", "key12"}
	}
	return x
}

// check makes a validator that random words pass, and fail, now and then.
func check(r *rand.Rand) Validator {
	switch r.IntN(4) {
	case 0:
		return Validator{Name: Luhn, A: 1}
	case 1:
		return Validator{Name: Mixed, B: r.IntN(2)}
	}
	return Validator{Name: Entropy, A: 250 * (1 + r.IntN(12))}
}

func newMixed(seed uint64) *mixed {
	r := rand.New(rand.NewPCG(seed, 41))
	m := &mixed{patternMaker: &patternMaker{r: r}, states: []int{6144, 1000, 100}[r.IntN(3)]}
	m.opt.wide = seed%5 == 4
	if seed%4 >= 2 {
		m.opt.joint = 1
	}
	fuzzy := r.IntN(8) == 0
	var checks *rand.Rand // of its own: the rules of a seed stay what they were
	if seed%3 == 1 {
		checks = rand.New(rand.NewPCG(seed, 43))
	}
	for range 1 + r.IntN(7) {
		x := m.rule(fuzzy)
		if checks != nil && x.Pattern != "" && checks.IntN(2) == 0 {
			x.Validator = check(checks)
		}
		x.ID = fmt.Sprint(len(m.rules))
		if _, _, err := Build([]Rule{x}, Options{MaxRuleStates: 3000, MaxSteps: 4e7}); err != nil {
			continue
		}
		m.rules = append(m.rules, x)
		if x.Phrase != "" {
			m.words = append(m.words, x.Phrase)
			continue
		}
		full := x.Pattern
		if x.Fold {
			full = "(?i)" + full
		}
		if re, err := syntax.Parse(full, syntax.Perl); err == nil {
			m.parsed = append(m.parsed, re)
		}
	}
	return m
}

// build gives the tables and the oracle of rules, nil if there are none.
func (m *mixed) build(rules []Rule) (tb *Tables, o *Oracle) {
	var err error
	if WithFilterStates(m.states, func() { tb, _, err = Build(rules, m.opt) }); err != nil || len(rules) == 0 {
		return nil, nil
	}
	if o, err = NewOracle(rules, tb); err != nil {
		return nil, nil
	}
	return tb, o
}

func (m *mixed) glue(n int) string {
	r := m.r
	var b strings.Builder
	for b.Len() < n {
		switch k := r.IntN(6); {
		case k == 0:
			b.WriteString(randomText(r, 1+r.IntN(12), r.IntN(2) == 0))
		case k == 1 && len(m.words) > 0:
			w := m.words[r.IntN(len(m.words))]
			switch r.IntN(8) {
			case 0, 1:
				w = w[:r.IntN(len(w)+1)]
			case 2, 3:
				w = strings.ToUpper(w)
			case 4:
				w = strings.ReplaceAll(w, " ", m.one("  ", "\n", "\u00a0", "\u200b ", "-"))
			}
			b.WriteString(w)
		case len(m.parsed) > 0:
			b.WriteString(m.text(m.parsed, 1+r.IntN(30)))
		default:
			b.WriteString(randomText(r, 5, false))
		}
		if r.IntN(12) == 0 {
			b.WriteString(strings.Repeat(m.one(" ", "a", "1", "ab", "\u200b", "tok"), r.IntN(30)))
		}
	}
	text := b.String()
	if r.IntN(3) == 0 { // pure ASCII takes another way
		text = strings.Map(func(c rune) rune {
			if c >= utf8.RuneSelf {
				return -1
			}
			return c
		}, text)
	}
	return text[:min(len(text), 700)] // inside a rune, too
}

// mixedCase compares one case with the oracle, on a few texts. No match may depend on cuts, and nothing be released that may
// become part of one.
func mixedCase(t *testing.T, seed uint64) (ran, over int) {
	m := newMixed(seed)
	tb, o := m.build(m.rules)
	if tb == nil {
		return 0, 0
	}
	r := m.r
	if r.IntN(4) == 0 {
		var err error
		if tb, err = Load(tb.AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		size := 10 + r.IntN(120)
		if r.IntN(6) == 0 {
			size *= 5
		}
		text := m.glue(size)
		for range 4 {
			cuts, mask, slack := cutsOf(r, len(text), 1+r.IntN(30)), ^uint64(0), r.IntN(3)
			if r.IntN(4) == 0 {
				mask = 5
			}
			gaveUp, problem := compareAsFar(t, tb, o.t, text, cuts, mask, slack, false)
			ran++
			over += boolInt(gaveUp)
			if problem != "" {
				t.Fatalf("seed %d\n%s", seed, m.shrink(t, text, cuts, mask, slack))
			}
		}
	}
	return ran, over
}

// A channel that ended and goes on gives for the text behind its end what it would give for that text alone.
func TestATextBehindAnEndIsScannedAsAnother(t *testing.T) {
	for i := range uint64(Rounds(12, 6, 3)) {
		seed := *mixedSeed + i
		m := newMixed(seed)
		tb, _ := m.build(m.rules)
		if tb == nil {
			continue
		}
		for range 6 {
			first, text := m.glue(1+m.r.IntN(60)), m.glue(1+m.r.IntN(120))
			cuts := cutsOf(m.r, len(text), 1+m.r.IntN(20))
			var alone, s State
			alone.Reset(^uint64(0))
			s.Reset(^uint64(0))
			feed := func(s *State) []event {
				return drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(s, w, n, end, out) }, text, cuts, 0)
			}
			want := feed(&alone)
			if drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(&s, w, n, end, out) }, first, nil, 0) == nil {
				continue
			}
			got := feed(&s)
			if got == nil || want == nil {
				continue
			}
			for i, e := range got {
				for k := range e.m {
					e.m[k].Start = max(0, e.m[k].Start-int64(len(first))) // that of a rule that is not held for is a cap in front of its end
					e.m[k].End -= int64(len(first))
				}
				slices.SortFunc(e.m, func(a, b Match) int {
					return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rule, b.Rule))
				})
				if !slices.Equal(e.m, want[i].m) || e.hold != want[i].hold {
					t.Fatalf("seed %d: %q behind %q, cuts %v, piece %d: %v is held from %d on; alone %v from %d on\n%+v", seed, text, first, cuts, i, e.m, e.hold, want[i].m, want[i].hold, m.rules)
				}
			}
		}
	}
}

// shrink makes a failing case smaller.
func (m *mixed) shrink(t *testing.T, text string, cuts []int, mask uint64, slack int) (problem string) {
	fails := func(rules []Rule, text string, cuts []int) bool {
		tb, o := m.build(rules)
		if tb == nil {
			return false
		}
		_, p := compareAsFar(t, tb, o.t, text, cuts, mask, slack, false)
		if p != "" {
			problem = p
		}
		return p != ""
	}
	if !fails(m.rules, text, cuts) {
		return fmt.Sprintf("%+v\n  text %q\n  cuts %v: only as it was loaded", m.rules, text, cuts)
	}
	Shrink(m.rules, text, cuts, fails)
	return problem
}

// What random rules of all sorts showed, each with the least that shows it.
func TestFoundByMixedRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		rules  []Rule
		states int // of a filter: with few, rules are told by their first bytes
		joint  int
		text   string
		cuts   []int
	}{
		{"a match that ends inside a character that became several comes once", []Rule{{Pattern: `\pL`, View: Normalised}}, 1000, 0, "Æ", []int{2}},
		{"a word behind the first bytes of a longer one waits for it", []Rule{{Pattern: `\P{L}{2}wo|\W`, Cap: MaxCap, Span: true}, {Pattern: `[^\d]}r`, Span: true}}, filterStates, 1, "3\nwo", []int{3, 4}},
		{"no word begins inside a match that was given out, though all is found again", []Rule{{Pattern: `ok.{0,3}([a-z]{13})`, Group: 1, Cap: MaxCap, Span: true}},
			filterStates, 0, "okktoktoktoktoktoktoktokto", []int{21}},
		{"a match that begins inside a character is found again where it began", []Rule{{Pattern: `\p{Any}[[:alpha:]]\p{^N}`, View: Normalised},
			{Pattern: `(ǆ(\D+))`, Group: 1, Cap: MaxCap, Span: true}}, filterStates, 0, "\nstraßeǆab\x00ǆ/", []int{16}},
	} {
		for i := range c.rules {
			c.rules[i].ID = fmt.Sprint(i)
		}
		m := &mixed{states: c.states, opt: Options{joint: c.joint}}
		tb, o := m.build(c.rules)
		if tb == nil {
			t.Fatalf("%s: no tables", c.name)
		}
		if gaveUp, problem := compare(t, tb, o.t, c.text, c.cuts, ^uint64(0), 0); gaveUp || problem != "" {
			t.Errorf("%s: %v\n%s", c.name, gaveUp, problem)
		}
	}
	mixedCase(t, 93647) // as in TestRunsMeetOverBytesOfThePath
	mixedCase(t, 74393) // look-behinds that find no room at the end once were found again without end
}

// Rules of all sorts, in both views, give the matches of the oracle at any cuts, and release nothing that the oracle holds.
func TestMixedRulesEqualTheOracle(t *testing.T) {
	ran, over := 0, 0
	if *mixedRun > 0 {
		seed := *mixedSeed
		for until := time.Now().Add(*mixedRun); time.Now().Before(until); seed++ {
			n, o := mixedCase(t, seed)
			ran, over = ran+n, over+o
		}
		t.Logf("%d texts of %d cases from seed %d on; gave up %d times", ran, seed-*mixedSeed, *mixedSeed, over)
		return
	}
	for seed := range uint64(Rounds(40, 20, 8)) {
		n, o := mixedCase(t, *mixedSeed+seed)
		ran, over = ran+n, over+o
	}
	if over*20 > ran {
		t.Errorf("gave up %d of %d times", over, ran)
	}
}

// FuzzMixedRulesEqualTheOracle searches on from the same start.
func FuzzMixedRulesEqualTheOracle(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { mixedCase(t, seed) })
}

// Where a letter has a form beyond ASCII, as k and s have, a word begins inside a phrase; the first of two matches that overlap
// counts.
func TestPhrasesThatOverlapBesideLettersBeyondASCII(t *testing.T) {
	texts := []string{
		"k\u212ak", "\u212akk", "k\u212a\u212ak", "s\u017fs", "s\u017f\u017fs", "k \u212a k", "s\u212as\u212as", "sk\u017fks", "o\u212ak", "kk k\u212akk kk",
		"succes\u017fuccess", "success and more and succes\u017fuccess and more and success", "success and more and success and more and success",
	}
	for _, phrase := range []string{"K", "kk", "ss", "k k", "sks", "kk kk", "success", "success and more and success"} {
		for _, rule := range []Rule{{Span: true}, {}, {View: Normalised}} {
			rule.ID, rule.Phrase, rule.Fold = "a", phrase, true
			m := &mixed{states: filterStates}
			tb, o := m.build([]Rule{rule})
			if tb == nil {
				t.Fatalf("%+v is not built", rule)
			}
			for _, text := range texts {
				for cut := range len(text) {
					for _, cuts := range [][]int{{cut}, {cut, min(cut+2, len(text)-1)}} {
						if gaveUp, problem := compareAsFar(t, tb, o.t, text, slices.Compact(cuts), 1, 0, false); gaveUp || problem != "" {
							t.Fatal(gaveUp, problem)
						}
					}
				}
			}
		}
	}
}
