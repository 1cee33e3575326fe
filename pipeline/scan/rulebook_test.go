package scan_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keeptrusts/kt/bench"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
)

var (
	longRun   = flag.Duration("rulebook", 0, "how long the rulebook is compared with the oracle (0: a fixed number of cases)")
	firstSeed = flag.Uint64("rulebookseed", 0, "the first case of the comparison")
)

// material is what texts are glued from.
type material struct {
	near    []string // examples of the rules that are run
	far     []string // examples of others
	english string
	r       *rand.Rand
}

func examples(es []rulebook.Entry) (all []string) {
	for i := range es {
		for _, x := range es[i].Positives {
			all = append(all, x.Text)
		}
		all = append(all, es[i].Negatives...)
		all = append(all, es[i].Phrases...)
	}
	return all
}

var allEntries = rulebook.All()

// chosen are rules of the rulebook for one case.
func chosen(r *rand.Rand) (es []rulebook.Entry, rules []scan.Rule) {
	pools := []func() []rulebook.Entry{
		rulebook.PII, rulebook.Secrets, rulebook.Injection, rulebook.PHI, rulebook.HIPAA, rulebook.All,
		func() []rulebook.Entry { return rulebook.Terms(rulebook.Lists()[r.IntN(len(rulebook.Lists()))]) },
	}
	kind := r.IntN(len(pools) + 2)
	pool := pools[min(kind, len(pools)-2)]() // All more often
	if kind == len(pools) {
		pool = pools[len(pools)-1]()
	}
	n := 5 + r.IntN(36)
	span, turn, caps := r.IntN(3), r.IntN(2) == 0, r.IntN(4) == 0
	seen := map[string]bool{}
	for range 3 * n {
		if len(rules) >= n {
			break
		}
		e := pool[r.IntN(len(pool))]
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		es = append(es, e)
		for _, rule := range e.Rules(uint8(r.IntN(3)), span == 0 || span == 1 && r.IntN(2) == 0) {
			if turn && r.IntN(2) == 0 {
				rule.View = 1 - rule.View
			}
			if caps && r.IntN(3) == 0 {
				rule.Cap = 12 + r.IntN(80)
			}
			rules = append(rules, rule)
		}
	}
	for len(rules) > n {
		i := r.IntN(len(rules))
		rules = slices.Delete(rules, i, i+1)
	}
	return es, rules
}

func (m *material) example() string {
	pool := m.near
	if m.r.IntN(5) == 0 || len(pool) == 0 {
		pool = m.far
	}
	return pool[m.r.IntN(len(pool))]
}

// mutated changes an example: it is cut, one byte is changed, case flipped, invisible or wide characters put in,
// separators doubled.
func (m *material) mutated(s string) string {
	r := m.r
	if s == "" {
		return s
	}
	b := []byte(s)
	i := r.IntN(len(b))
	switch r.IntN(14) {
	case 0:
		return s[:i]
	case 1:
		return s[i:]
	case 2:
		b[i] = byte(r.IntN(256))
	case 3:
		b[i] = "0aA-. _@"[r.IntN(8)]
	case 4:
		return strings.ToUpper(s)
	case 5:
		for k := range b {
			if c := b[k] | 0x20; c >= 'a' && c <= 'z' && r.IntN(3) == 0 {
				b[k] ^= 0x20
			}
		}
	case 6:
		x := []string{"\u200b", "\u00ad", "\u2060", "\u0301", "\ufe0f", "\u202e"}[r.IntN(6)]
		return s[:i] + strings.Repeat(x, 1+r.IntN(3)*r.IntN(30)) + s[i:]
	case 7:
		var w strings.Builder
		for _, c := range s {
			if c > ' ' && c < 127 && r.IntN(3) == 0 {
				c += 0xFEE0
			}
			w.WriteRune(c)
		}
		return w.String()
	case 8:
		var w strings.Builder
		for _, c := range s {
			w.WriteRune(c)
			if strings.ContainsRune(" -./:=_\n", c) && r.IntN(2) == 0 {
				w.WriteString(strings.Repeat(string(c), 1+r.IntN(18)*r.IntN(2)))
			}
		}
		return w.String()
	case 9:
		return s[:i] + s[i:] + s[i:] + s[i:]
	case 10:
		return s[:i] + s + s[i:]
	case 11:
		for k, c := range b {
			if c >= '0' && c <= '9' && r.IntN(4) == 0 {
				b[k] = byte('0' + r.IntN(10))
			}
		}
	case 12:
		return s[:i] + strings.Repeat(s[i:i+1], 1+r.IntN(70)) + s[i:]
	case 13:
		x := []string{"ſ", "K", "é", "日", "🙂", "\xff", "\xe2\x80", "а", "Ａ", "\x00"}[r.IntN(10)]
		return s[:i] + x + s[i:]
	}
	return string(b)
}

var units = []string{
	"1 2 3 4 5 6 7 8 9 0 ", "4111 1111 1111 1112 ", "+1 (555) 010-99 ", "AB12 CD34 EF56 ", "a@b.c-", "first.last.first.last@sub-domain.",
	"1.2.3.4.5.6.7.8.", "12/12/12-12/12/12 ", "ghp_AKIAsk-xoxb-glpat-eyJ", "ghp_ AKIA sk-live_ xoxb- glpat- eyJ npm_ ",
	`api_key = "secret_token": `, "aB3xK9mQ7zT5vW1yR4nL8pC6", "operation new small keep every operation old good ", ". . . - - _ _ : : ",
	"４１１１ аbс ", "1", "a", "1-", "1.", " ", "\n", "ab", "::", "http://", "://a.", "password=", "token: ", "eyJhbGciOi.", "ignore previous ",
	"ignore  ", "-----BEGIN ", "0", "f", "Z9", "é", "\u200b", "\u0301", "1\u200b", "\xff", "\xe2\x80", "日本", "a\u00ad",
}

// part is one piece of a text.
func (m *material) part() string {
	r := m.r
	switch r.IntN(16) {
	case 0, 1, 2:
		return m.example()
	case 3, 4, 5, 6:
		return m.mutated(m.example())
	case 7:
		return m.mutated(m.mutated(m.example()))
	case 8, 9:
		i := r.IntN(len(m.english) - 200)
		return strings.ToValidUTF8(m.english[i:i+1+r.IntN(160)], "")
	case 10:
		u := units[r.IntN(len(units))]
		return strings.Repeat(u, 1+r.IntN(1+90/len(u)))
	case 11:
		var b strings.Builder
		for range 1 + r.IntN(30) {
			b.WriteByte("0123456789012345678901234567890123456789 -./:"[r.IntN(45)])
		}
		return b.String()
	case 12:
		var b strings.Builder
		for range 1 + r.IntN(60) {
			b.WriteByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"[r.IntN(64)])
		}
		return b.String()
	case 13: // the beginning of an example again and again
		s := m.example()
		return strings.Repeat(s[:r.IntN(min(len(s), 14)+1)], 1+r.IntN(12))
	case 14:
		return []string{" ", "\n", ", ", "\t", "  ", "\r\n", ": ", "=", "\"", "(", "é", "日", "\u200b"}[r.IntN(13)]
	}
	if r.IntN(4) == 0 { // up to the caps
		u := units[r.IntN(len(units))]
		s := m.example()
		k := r.IntN(len(s) + 1)
		return s[:k] + strings.Repeat(u, 1+r.IntN(1+600/len(u))) + s[k:]
	}
	return m.mutated(strings.Join([]string{m.example(), m.example()}, ""))
}

func (m *material) text(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(m.part())
		if m.r.IntN(3) > 0 {
			b.WriteString(" ")
		}
	}
	s := b.String()
	if m.r.IntN(3) == 0 { // pure ASCII takes another way
		s = strings.Map(func(c rune) rune {
			if c >= utf8.RuneSelf {
				return -1
			}
			return c
		}, s)
	}
	return s[:min(len(s), 2*n+100)]
}

// cuts mixes pieces of all sizes, as streams have them.
func (m *material) cuts(n int) (cuts []int) {
	r := m.r
	most := []int{1, 3, 7, 20, 60, 300}[r.IntN(6)]
	mixed := r.IntN(3) == 0
	for i := r.IntN(most + 1); i < n; {
		cuts = append(cuts, i)
		k := most
		if mixed {
			k = []int{1, 3, 7, 20, 60, 300}[r.IntN(6)]
		}
		i += 1 + r.IntN(k)
	}
	return cuts
}

var english = bench.English(64<<10, 9)

// oneCase compares a random part of the rulebook with the oracle on some texts.
func oneCase(t *testing.T, seed uint64, texts, size int) (ran, over int) {
	r := rand.New(rand.NewPCG(seed, 23))
	es, rules := chosen(r)
	m := &material{near: examples(es), far: examples(allEntries), english: english, r: r}
	var tb *scan.Tables
	var err error
	states, opt := []int{6144, 6144, 1000, 100}[seed%4], scan.Options{}
	if seed%5 == 4 {
		opt = scan.Wide
	}
	scan.WithFilterStates(states, func() { tb, _, err = scan.Build(rules, opt) })
	if err != nil {
		return 0, 0 // a cap or a view that does not fit the pattern
	}
	if r.IntN(4) == 0 {
		b := tb.AppendBinary(nil)
		if tb, err = scan.Load(b); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(tb.AppendBinary(nil), b) {
			t.Fatalf("seed %d: a round trip changes the binary form", seed)
		}
	}
	o, err := scan.NewOracle(rules, tb)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	// The reference counts the bytes of every word of such a rule from every start anew: minutes in a long text.
	slow := slices.ContainsFunc(rules, func(r scan.Rule) bool { return r.Validator.Name == scan.Entropy && r.Cap > 1000 })
	for range texts {
		n := 20 + r.IntN(size)
		if r.IntN(8) == 0 && !slow {
			n *= 8
		}
		text := m.text(n)
		cuts := m.cuts(len(text))
		mask := ^uint64(0)
		if r.IntN(4) == 0 {
			mask = 5
		}
		slack := r.IntN(3)
		gaveUp, problem := o.Compare(t, tb, text, cuts, mask, slack)
		ran++
		if gaveUp {
			over++
		}
		if problem != "" {
			t.Fatalf("seed %d\n%s", seed, shrink(t, states, opt, rules, text, cuts, mask, slack, problem))
		}
	}
	return ran, over
}

// shrink makes a failing case smaller.
func shrink(t *testing.T, states int, opt scan.Options, rules []scan.Rule, text string, cuts []int, mask uint64, slack int, problem string) string {
	scan.Shrink(rules, text, cuts, func(rules []scan.Rule, text string, cuts []int) bool {
		var tb *scan.Tables
		var err error
		scan.WithFilterStates(states, func() { tb, _, err = scan.Build(rules, opt) })
		if err != nil {
			return false
		}
		o, err := scan.NewOracle(rules, tb)
		if err != nil {
			return false
		}
		_, p := o.Compare(t, tb, text, cuts, mask, slack)
		if p != "" {
			problem = p
		}
		return p != ""
	})
	return problem
}

// Random parts of the rulebook give what the oracle gives, on texts that come near their examples.
func TestRulebookEqualsTheOracle(t *testing.T) {
	if *longRun > 0 {
		ran, over, cases := 0, 0, 0
		seed := *firstSeed
		for until := time.Now().Add(*longRun); time.Now().Before(until); seed++ {
			n, o := oneCase(t, seed, 12, 500)
			ran, over, cases = ran+n, over+o, cases+1
		}
		t.Logf("%d texts of %d cases from seed %d on; gave up %d times", ran, cases, *firstSeed, over)
		return
	}
	ran, over := 0, 0
	for seed := range uint64(scan.Rounds(16, 5, 3)) {
		n, o := oneCase(t, *firstSeed+seed, 6, 150)
		ran, over = ran+n, over+o
	}
	if over*20 > ran {
		t.Errorf("gave up %d of %d times", over, ran)
	}
}

// FuzzRulebookEqualsTheOracle searches on from the same start.
func FuzzRulebookEqualsTheOracle(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { oneCase(t, seed, 4, 400) })
}

// Whole packs in one table set give the same matches and end at the same hold-back in one call and at any cuts, on
// texts near their examples and on hostile ones; a loaded table set is the one that was built.
func TestWholePacksDoNotDependOnCuts(t *testing.T) {
	for _, pack := range []struct {
		name string
		es   []rulebook.Entry
	}{
		{"pii and secrets", append(rulebook.PII(), rulebook.Secrets()...)},
		{"injection", rulebook.Injection()},
	} {
		var rules []scan.Rule
		for i := range pack.es {
			if i%scan.Rounds(1, 1, 4) > 0 {
				continue
			}
			rules = append(rules, pack.es[i].Rules(0, true)...)
		}
		built, _, err := scan.Build(rules, scan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := built.AppendBinary(nil)
		loaded, err := scan.Load(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(loaded.AppendBinary(nil), b) {
			t.Fatalf("%s: a round trip changes the binary form", pack.name)
		}
		r := rand.New(rand.NewPCG(*firstSeed, 29))
		m := &material{near: examples(pack.es), far: examples(allEntries), english: english, r: r}
		n, over := 0, 0
		check := func(text string, cuts []int) {
			n++
			want, _, ok := scan.FeedCut(t, built, text, nil)
			got, hold, ok2 := scan.FeedCut(t, built, text, cuts)
			again, hold2, _ := scan.FeedCut(t, loaded, text, cuts)
			if !slices.Equal(again, got) || !slices.Equal(hold, hold2) {
				t.Fatalf("%s: %q at %v: the loaded tables give %v, the built ones %v", pack.name, text, cuts, again, got)
			}
			if !ok || !ok2 {
				over++
				return
			}
			if !slices.Equal(got, want) {
				if o, err := scan.NewOracle(rules, built); err == nil {
					if _, p := o.Compare(t, built, text, cuts, ^uint64(0), 0); p != "" {
						t.Log(shrink(t, 4096, scan.Options{}, rules, text, cuts, ^uint64(0), 0, p))
					}
				}
				i := 0
				for i < min(len(got), len(want)) && got[i] == want[i] {
					i++
				}
				t.Fatalf("%s: %q at %v: from match %d on\n cut %v\n one %v", pack.name, text, cuts, i, got[i:min(len(got), i+4)], want[i:min(len(want), i+4)])
			}
		}
		for i, u := range units {
			if i%scan.Rounds(1, 1, 3) > 0 {
				continue
			}
			text := strings.Repeat(u, 1+3000/len(u))
			check(text, m.cuts(len(text)))
			text = m.example() + text + m.example()
			check(text, m.cuts(len(text)))
		}
		texts := scan.Rounds(60, 15, 4)
		until := time.Now().Add(*longRun / 4)
		for i := 0; i < texts || time.Now().Before(until); i++ {
			text := m.text(20 + r.IntN(2000))
			check(text, m.cuts(len(text)))
		}
		t.Logf("%s: %d texts, gave up %d times", pack.name, n, over)
		if over*20 > n {
			t.Errorf("%s: gave up %d of %d times", pack.name, over, n)
		}
	}
}
