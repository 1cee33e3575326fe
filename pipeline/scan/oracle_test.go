package scan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// pool holds rules that are hard for the engine: overlaps, counts, contexts, folds, caps, runes of several bytes.
var pool = []Rule{
	{Pattern: `\b\d(?:[ -]?\d){3,6}\b`, Span: true},
	{Pattern: `\b\d{2,3}[ -]?\d{2}\b`, Span: true},
	{Pattern: `a+b?`, Span: true},
	{Pattern: `(?:ab)+`, Span: true},
	{Pattern: `aa`, Span: true},
	{Pattern: `ab|bcd|cda`, Span: true},
	{Pattern: `a[ab]{3}b`, Span: true},
	{Pattern: `a.{2,4}b`, Span: true},
	{Pattern: `(?s)a.{0,9}c`, Span: true, Cap: 7},
	{Pattern: `[a-c1]+@[a-c]+`, Span: true, Cap: 9},
	{Pattern: `[^a]b`, Span: true},
	{Pattern: `^a|b$`, Span: true},
	{Pattern: `(?m)^b+$`, Span: true},
	{Pattern: `\Ba\B`, Span: true},
	{Pattern: `\bc\w*\b`, Span: true},
	{Pattern: `(?i)k+s`, Span: true},
	{Pattern: `é+a`, Span: true},
	{Pattern: `[à-ï]b`, Span: true},
	{Pattern: `a+`},
	{Pattern: `\bab\b`},
	{Pattern: `b[^b]*b`},
	{Phrase: "ab c", Span: true},
	{Phrase: "ab", Span: true, Fold: true},
	{Phrase: "a b a", Span: true},
	{Phrase: "abc", Fold: true},
	{Phrase: "-"},
	{Phrase: "c a", View: Normalised, Fold: true},
	{Phrase: "éa", View: Normalised},
	{Phrase: "k s", Fold: true, Span: true},
	{Pattern: `abc[ab]{2,4}`, Span: true},
	{Pattern: `abca.*c`, Span: true, Cap: 12},
	{Pattern: `(?i)(?:aab|abb)\s?[0-9a]{2,3}\b`, Span: true},
	{Pattern: `abc[ab ]{0,3}1([bc]{2,3})`, Group: 1, Span: true},
	{Pattern: `(?:^|[^a])(b+)(?:[^b]|$)`, Group: 1, Span: true},
	{Pattern: `\b(a+)(?:b|$)`, Group: 1, Span: true},
	{Pattern: `a[bc]+`, View: Normalised},
	{Pattern: `\b[ab]{2,5}\b`, View: Normalised, Allow: []string{"aba"}},
	{Pattern: `[1 ]{2,7}`, Span: true, Validator: Validator{Name: Luhn, A: 2}},
	{Pattern: `1[ab]*`, Span: true, Allow: []string{"1a", "1b"}},
	{Pattern: `(?:a|b|c| ){4}1`, Span: true},
	{Pattern: `abc[a-c ]*1`, Span: true, Cap: 14},
	{Pattern: `[ab]+c[ab]+`, Span: true, Cap: 8},
	{Pattern: `aabb(.)`, Group: 1, Span: true},
	{Pattern: `abc ?=([^=]+)`, Group: 1, Span: true, Cap: 6},
	{Pattern: `cab.{0,3}`, View: Normalised, Cap: 9},
	{Pattern: `cab.{0,3}`, Cap: 9},
	{Pattern: `abc[ab =]{0,3}([abc=]{2,4})`, Group: 1, Span: true},
	{Pattern: `ab[ab]{0,3}=?(b?c+)\b`, Group: 1, Span: true},
	{Pattern: `(?:^|[ c])ba[ab1]{1,4}([1ab]+)`, Group: 1, Span: true, Cap: 5},
	{Phrase: "abc", Distance: 1},
	{Phrase: "ab c", Distance: 2, Fold: true},
	{Phrase: "aabb cab ab", Distance: 2, View: Normalised, Half: true},
	{Phrase: "éa-KS", Distance: 1, Fold: true, View: Normalised, Cap: 9},
	{Phrase: "a b", Distance: 8, Half: true, Allow: []string{"a  b"}},
	{Phrase: "abc abc", Distance: 1, Cap: 12},
	{Pattern: `(?i)\bcab ?.{0,2}([^c]{1,3})(?:c|$)`, Group: 1, View: Normalised},
}

const alphabet = "aaaabbbbcccc11  -@=\n"

func randomText(r *rand.Rand, n int, ascii bool) string {
	var b strings.Builder
	for b.Len() < n {
		switch k := r.IntN(40); {
		case k < 34 || ascii:
			b.WriteByte(alphabet[r.IntN(len(alphabet))])
		case k == 34:
			b.WriteString([]string{"é", "à", "ï", "ａ", "Ｂ", "ﬀ", "\u200b", "\u0301", "\u200d", "ſ", "K", "日", "🙂"}[r.IntN(13)])
		case k == 35:
			b.WriteString([]string{"abc", "ab c", "aabb", "K s", "abca", "a  b\na", "c\u00ada", "e\u0301a"}[r.IntN(8)])
		case k == 36:
			b.WriteString(strings.Repeat(" ", r.IntN(20)))
		case k == 37:
			b.WriteString([]string{"k", "s", "A", "B", "C"}[r.IntN(5)])
		default:
			b.WriteByte("ab"[r.IntN(2)])
		}
	}
	return b.String()
}

func pick(r *rand.Rand, n int) []Rule {
	var rules []Rule
	for i := range n {
		x := pool[r.IntN(len(pool))]
		x.ID = fmt.Sprint(i, x.Pattern, x.Phrase)
		x.Policy = uint8(i % 3)
		rules = append(rules, x)
	}
	return rules
}

type event struct {
	m    []Match
	hold int64 // channel offset of the hold-back
}

type feeder func(win []byte, n int, end bool, out *Matches) (int, int)

// drive feeds text in pieces, keeps what must be kept, and gives what came out of each piece. slack keeps more.
func drive(t *testing.T, f feeder, text string, cuts []int, slack int) []event {
	t.Helper()
	var out Matches
	var ev []event
	rel, at := 0, 0
	for i, c := range append(slices.Clone(cuts), len(text)) {
		e := event{}
		for {
			win := []byte(text[rel:c])
			fed, keep := f(win, at-rel, i == len(cuts), &out)
			for k := range win {
				win[k] = '#'
			}
			at += fed
			full := out.Full()
			for k := range out.Len() {
				e.m = append(e.m, out.At(k))
			}
			if out.Overflow {
				return nil // the engine gave up and said so
			}
			out.Clear()
			e.hold = int64(rel + keep)
			rel += max(0, keep-slack)
			if !full {
				break
			}
		}
		if at != c {
			t.Fatalf("fed %d of %d", at, c)
		}
		ev = append(ev, e)
	}
	return ev
}

func cutsOf(r *rand.Rand, n, piece int) []int {
	var cuts []int
	for i := r.IntN(piece + 1); i < n; i += 1 + r.IntN(piece) {
		cuts = append(cuts, i)
	}
	return cuts
}

// diff compares the engine with the oracle on random rules, text and cuts; false says that the engine gave up.
func diff(t *testing.T, seed uint64) bool {
	r := rand.New(rand.NewPCG(seed, 7))
	rules := pick(r, 1+r.IntN(6))
	text := randomText(r, 10+r.IntN(120), r.IntN(2) == 0)
	opt := Options{}
	if seed%2 == 1 {
		opt.MaxStates = 12 // a group for each rule that is not held for: not all of them find a place
	}
	if seed%4 >= 2 {
		opt.joint = 1 // tried, as far as rules can be divided
	}
	opt.wide = seed%3 == 2
	tb, _, err := Build(rules, opt)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for i := range rules { // Build may hold for more rules than were asked for
		rules[i].Span = tb.Rule(i).Span
	}
	pt, err := plainBuild(rules, Options{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	cuts := cutsOf(r, len(text), 1+r.IntN(12))
	gaveUp, problem := compare(t, tb, pt, text, cuts, ^uint64(0), r.IntN(3))
	if problem != "" {
		t.Fatalf("seed %d\n%s", seed, problem)
	}
	return !gaveUp
}

// compare feeds text to the engine and to the oracle and says what differs.
func compare(t *testing.T, tb *Tables, pt *plainTables, text string, cuts []int, mask uint64, slack int) (gaveUp bool, problem string) {
	t.Helper()
	return compareAsFar(t, tb, pt, text, cuts, mask, slack, true)
}

// compareAsFar is compare, and with exact false the engine may hold more than the oracle does: of a rule in which conditions
// contradict each other it holds beginnings of words that cannot end.
func compareAsFar(t *testing.T, tb *Tables, pt *plainTables, text string, cuts []int, mask uint64, slack int, exact bool) (gaveUp bool, problem string) {
	t.Helper()
	defer func() {
		if problem != "" && tb.norms && glued(text) {
			problem = ""
		}
	}()
	var s State
	s.Reset(mask)
	var p plainChan
	p.Reset(mask)
	crowded := map[int64]bool{} // more was under way there than a State has room for: the text is held from where it began
	got := drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) {
		fed, keep := tb.Feed(&s, w, n, end, out)
		crowded[s.at] = s.rescan > 0 && s.flags&stateAll != 0
		return fed, keep
	}, text, cuts, slack)
	if got == nil {
		return true, ""
	}
	want := drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return pt.Feed(&p, w, n, end, out) }, text, cuts, 0)
	var gm, wm []Match
	for i := range got {
		gm, wm = append(gm, got[i].m...), append(wm, want[i].m...)
	}
	describe := func() string {
		var b strings.Builder
		for i, x := range pt.spec {
			fmt.Fprintf(&b, "  %d %+v\n", i, x)
		}
		return fmt.Sprintf("%s  text %q\n  cuts %v slack %d mask %x", b.String(), text, cuts, slack, mask)
	}
	if !slices.Equal(gm, wm) {
		return false, fmt.Sprintf("%s\n got  %v\n want %v", describe(), gm, wm)
	}
	found := gm // masked matches, too
	if mask != ^uint64(0) {
		found, _, _ = FeedCut(t, tb, text, cuts)
	}
	for i := range got {
		at := len(text)
		if i < len(cuts) {
			at = cuts[i]
		}
		if got[i].hold < want[i].hold && (!exact || crowded[int64(at)]) {
			continue
		}
		if got[i].hold < want[i].hold && slices.ContainsFunc(found, func(m Match) bool {
			return tb.rules[m.Rule].anchor >= 0 && tb.rules[m.Rule].group < 0 && m.Start <= got[i].hold && got[i].hold < m.End
		}) {
			continue // the beginning of a trigger inside a match of a triggered rule is held for
		}
		if tb.norms && got[i].hold > want[i].hold && !utf8.FullRuneInString(text[got[i].hold:at]) && endsBroken(text[:got[i].hold]) {
			continue // a byte that is no rune, in front of the beginning of one: the reference holds it as the beginning of another
		}
		if got[i].hold > want[i].hold && slices.ContainsFunc(found, func(m Match) bool {
			return tb.rules[m.Rule].phrase != "" && m.Start >= want[i].hold && m.End <= int64(at) && unseen(text[:at], int(m.End))
		}) {
			continue // a phrase without a boundary is over: the reference waits for what follows
		}
		if got[i].hold != want[i].hold {
			return false, fmt.Sprintf("%s\n at %d: hold-back at %d, want %d\n matches %v", describe(), at, got[i].hold, want[i].hold, gm)
		}
	}
	return false, ""
}

// glued tells whether bytes of text that are no runes make one in the normalised view, where nothing is left of what stands
// between them. The reference takes it for a rune of the text, which that view would have as another.
func glued(text string) bool {
	for i := range text {
		if !broken(text[i:]) {
			continue
		}
		for j := i + 1; j < len(text); {
			if broken(text[j:]) {
				if j > i+1 {
					return true
				}
				break
			}
			_, n := utf8.DecodeRuneInString(text[j:])
			if !dropped(text[j : j+n]) {
				break
			}
			j += n
		}
	}
	return false
}

// broken tells whether text begins with a byte that is no part of a rune.
func broken(text string) bool {
	r, n := utf8.DecodeRuneInString(text)
	return r == utf8.RuneError && n == 1
}

// endsBroken tells whether the last that the normalised view has of text is a byte that is no part of a rune.
func endsBroken(text string) bool {
	for {
		r, n := utf8.DecodeLastRuneInString(text)
		if r == utf8.RuneError && n <= 1 {
			return n == 1
		}
		if !dropped(text[len(text)-n:]) {
			return false
		}
		text = text[:len(text)-n]
	}
}

// unseen tells whether the normalised view has nothing yet of what text has from that index on.
func unseen(text string, from int) bool {
	ascii := keptASCII([]byte(text[:from]), false)
	var buf [4]byte
	for rest := text[from:]; rest != "" && utf8.FullRuneInString(rest); {
		r, n := utf8.DecodeRuneInString(rest)
		if k, _ := normRune(foldPages(), r, ascii, &buf); k > 0 {
			return false
		}
		rest = rest[n:]
	}
	return true
}

// dropped tells whether the normalised view has nothing of text.
func dropped(text string) bool {
	var buf [4]byte
	for _, r := range text {
		if n, _ := normRune(foldPages(), r, false, &buf); n > 0 {
			return false
		}
	}
	return true
}

func TestMatchesAndHoldBackEqualTheOracle(t *testing.T) {
	n := Rounds(1500, 500, 60)
	over := 0
	for seed := range uint64(n) {
		if !diff(t, seed) {
			over++
		}
	}
	if over*100 > n {
		t.Errorf("gave up %d of %d times", over, n)
	}
}

// FuzzMatchesAndHoldBackEqualTheOracle searches on from the same start.
func FuzzMatchesAndHoldBackEqualTheOracle(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { diff(t, seed) })
}

// builtTwice builds rules as tables and as the reference.
func builtTwice(t *testing.T, rules []Rule) (*Tables, *plainTables) {
	t.Helper()
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	pt, err := plainBuild(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tb, pt
}

// What random parts of the rulebook showed, each with the least that shows it.
func TestRegressionsEqualTheOracle(t *testing.T) {
	for _, c := range []struct {
		name string
		rule Rule
		text string
		cuts []int
	}{
		{"a trigger is not held for where its look-behind fails", Rule{Pattern: `(?:^|[^0-9])(00[1-9]\d+)\b`, Group: 1, Span: true}, "80", []int{2}},
		{"a trigger is not held for where its line does not begin", Rule{Pattern: `(?m)^abc[ab]+`, Span: true}, "ca", []int{2}},
		{"a trigger is held for inside its last rune", Rule{Pattern: `सभ+ा`, Span: true}, "स\xe0\xa4\xad", []int{4, 5}},
		{"a phrase is held for inside its last rune", Rule{Phrase: "स भ", Span: true}, "स \xe0\xa4\xad", []int{5, 6}},
		{"the quick path knows what is in front in the normalised view", Rule{Pattern: `(?:^|:)([0-9]{2}[a-z0-9]+-)`, Group: 1, View: Normalised}, "：12", []int{4, 5}},
		{"the quick path looks past what the normalised view drops", Rule{Pattern: `\b[0-9]{2}[a-z0-9]+-`, View: Normalised}, "a\u200b12", []int{5, 6}},
		{"a phrase is not held for where invisible characters use up its cap", Rule{Phrase: "child grooming", Fold: true, View: Normalised, Cap: 77}, "c" + strings.Repeat("\u2060", 22), []int{30, 67}},
		{"a cut phrase is not held for where its cap is used up", Rule{Phrase: "child grooming", Fold: true, View: Normalised, Cap: 77}, "child grooming"[:11] + strings.Repeat("\u2060", 22), []int{30, 76, 77}},
		{"a trigger is not held for where its cap is used up", Rule{Pattern: `(?i)child\s+[a-z]+x`, View: Normalised, Cap: 40}, "chi" + strings.Repeat("\u2060", 12), []int{33, 35, 36}},
		{"a trigger is not held for where its words are longer than its cap", Rule{Pattern: `(?i)(?:accompanying|next) code`, Span: true, Cap: 12}, "xa", []int{2}},
		{"a start in front of the held text does not count again", Rule{Pattern: `(?i)\b(?:ceramic armor|excellent)`, View: Normalised, Cap: 24}, "Ce" + strings.Repeat("\u202e", 5), []int{14, 17}},
		{"invisible characters behind a word do not count against its cap", Rule{Pattern: `\b\d{2,4}[ .]\d{3}\b`, View: Normalised, Cap: 12}, "12 345" + strings.Repeat("\u00ad", 4), []int{14}},
		{"what was told of two first bytes is known in the next piece", Rule{Pattern: `\b\d{2}\.?(?:0\d|1[0-2]|[24]\d|3[0-2])\.?(?:[0-2]\d|3[01])[- ]?\d{3}[.-]?\d{2}\b`, Span: true}, "1121", []int{3, 4}},
	} {
		c.rule.ID = c.name
		rules := []Rule{c.rule}
		if strings.Contains(c.name, "two first bytes") { // the other rules make the filter that large
			rules = append(rules, Rule{ID: "iban", Pattern: `\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b`, Fold: true, Cap: 48, Span: true},
				Rule{ID: "codice", Pattern: `\b[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-EHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]\b`, Fold: true, Span: true})
		}
		tb, pt := builtTwice(t, rules)
		if gaveUp, problem := compare(t, tb, pt, c.text, c.cuts, 1, 0); gaveUp || problem != "" {
			t.Errorf("%s: %v\n%s", c.name, gaveUp, problem)
		}
	}
}

// A word is found however many invisible characters stand in it, as long as there is room for them: they do not count
// against its cap.
func TestStuffingHidesNothing(t *testing.T) {
	for i, r := range []Rule{
		{Phrase: "thermonuclear device", Fold: true, Span: true},
		{Phrase: "thermonuclear device", Fold: true, Span: true, Cap: 24},
		{Pattern: `(?i)\bthermo[a-z]+ dev[a-z]*\b`, Span: true},
		{Pattern: `(?i)\b[a-z]{3,20} dev[a-z]+`, Cap: 30, Span: true},
		{Phrase: "thermonuclear device", Distance: 2, Fold: true, Span: true},
	} {
		r.ID, r.View = "a", Normalised
		tb, pt := builtTwice(t, []Rule{r})
		for _, n := range []int{30, 170, 200, 600, 5000}[:Rounds(5, 5, 4)] {
			for _, drop := range []string{"\u200b", "\u00ad", "\U000e0101"} {
				n := n / len(drop) * 3
				text := "a thermo" + strings.Repeat(drop, n) + "nuclear de" + strings.Repeat(drop, 7) + "vice. "
				for _, piece := range []int{13, 300, len(text)} {
					var cuts []int
					for at := piece; at < len(text); at += piece {
						cuts = append(cuts, at)
					}
					if _, problem := compare(t, tb, pt, text, cuts, ^uint64(0), 0); problem != "" {
						t.Fatalf("%d: %s", i, problem)
					}
					if all, _, ok := FeedCut(t, tb, text, cuts); ok && len(all) != 1 {
						t.Errorf("%d: %d matches among %d of %+q", i, len(all), n, drop)
					}
				}
			}
		}
	}
}

// Invisible characters without end after the beginning of a match: the text that is held stays small, or the channel
// is given up.
func TestInvisibleTextIsNotHeldWithoutEnd(t *testing.T) {
	for _, r := range []Rule{
		{Phrase: "thermonuclear device", View: Normalised, Fold: true},
		{Pattern: `(?i)foobar\s+[a-z]+x\b`, View: Normalised},
		{Pattern: `(?i)[a-z]+\s+[0-9]+x\b`, View: Normalised},
		{Phrase: "thermonuclear device", View: Normalised, Distance: 2},
	} {
		r.ID = "a"
		tb, _, err := Build([]Rule{r}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, front := range []string{"t", "f", "thermonucle", "foobar ab", "foobar abx", "thermonuclear device"} {
			for _, piece := range []int{29, 300, 100000} {
				text := "x " + front + strings.Repeat("\u200b", Rounds(30000, 30000, 8000)) + "y thermonuclear device foobar abx 7x"
				var s State
				s.Reset(1)
				var out Matches
				n := 0
				for at, rel := 0, 0; at < len(text); {
					to := min(at+piece, len(text))
					fed, keep := tb.Feed(&s, []byte(text[rel:to]), at-rel, to == len(text), &out)
					at, rel, n = at+fed, rel+keep, n+out.Len()
					if at-rel > maxDist {
						t.Fatalf("%+v %q: %d bytes are held", r, front, at-rel)
					}
					if out.Overflow {
						n++
						break
					}
					out.Clear()
				}
				if n == 0 {
					t.Errorf("%+v %q: no match, and the channel is not given up", r, front)
				}
			}
		}
	}
}

// A start of a prefix filter is not forgotten among more live starts than are noted.
func TestStartsAmongManyLiveOnesAreNotForgotten(t *testing.T) {
	rules := []Rule{
		{ID: "card", Pattern: `\b4\d{12}(?:\d{6})?\b`, Validator: Validator{Name: Luhn}},
		{ID: "account", Pattern: `\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b`, Fold: true, Cap: 48, Span: true},
		{ID: "key", Pattern: `[A-Za-z0-9+/]{76}ACDb[A-Za-z0-9+/]{5}[AQgw]==`, Span: true},
	}
	tb, pt := builtTwice(t, rules)
	if gaveUp, problem := compare(t, tb, pt, "862B4Jz5QwJZHw6+4915112345678", []int{23, 26}, 1, 0); gaveUp || problem != "" {
		t.Error(gaveUp, problem)
	}
}

// What a review of the engine showed.
func TestReviewedCasesEqualTheOracle(t *testing.T) {
	open, short := Rule{ID: "open", Pattern: `cab[a-z]`, Cap: 9}, Rule{ID: "short", Pattern: `[bc]1`, Span: true}
	folds := []Rule{{ID: "cap", Phrase: "secret key to", Span: true, Cap: 15}, {ID: "folds", Phrase: "key ſk kk", Fold: true, Span: true}}
	head := []Rule{{ID: "head", Phrase: "ask sksksk sks ok", Fold: true, Span: true}}
	long := "b1caba" + strings.Repeat("z", 91) + "cabzz"
	for _, c := range []struct {
		name  string
		rules []Rule
		text  string
		cuts  []int
	}{
		{"the first end of a piece that was stepped in two halves counts", []Rule{open, short}, long + "\n12", []int{6, len(long)}},
		{"a phrase that begins with a fold beyond ASCII is held for", folds, "x\u212a", []int{4}},
		{"and it is found", folds, "x\u212aey \u017fk kk", []int{4, 8}},
		{"a phrase ends with a fold beyond ASCII where a word begins", head, "ask sksksk sks o\u212aa", nil},
		{"and nowhere else", head, "ask sksksk sks o\u212a.", nil},
		{"nor at the end", head, "ask sksksk sks o\u212a", nil},
		{"a run of ends of a sign counts once", []Rule{{ID: "sign", Phrase: "-"}}, "a ----- b", []int{4, 5}},
		{"and of a letter that needs no boundary", []Rule{{ID: "sign", Phrase: "ſ", Fold: true}}, "ss ſs", []int{1}},
		{"of two triggers of a rule that end together the longer one goes first", []Rule{{ID: "two", Pattern: `a?aab`, Span: true}}, "aaab", nil},
		{"what is found again and waits comes once", []Rule{
			{ID: "behind", Pattern: `ab[ab]{0,3}=?(b?c+)\b`, Group: 1, Span: true},
			{ID: "groups", Pattern: `\b[bc]{2}\d{1,2}(?:[ -]?[abc1]{4}){2,7}(?:[ -]?[abc1]{1,3})?\b`, Cap: 30, Span: true},
			{ID: "long", Pattern: `a[abc1 ]{5,}(?:b|c)1[abc]{12}b`, Cap: 90, Span: true}, short,
		}, "abc abc bc1b1bcaabc abc ", []int{20, 24}},
		{"a word inside a match that waits is not found again", []Rule{
			{ID: "behind", Pattern: `abc[ab =]{0,3}([abc=]{2,4})`, Group: 1, Span: true}, {ID: "open", Phrase: "abc", Fold: true},
			{ID: "long", Pattern: `a[abc1 ]{5,}(?:b|c)1[abc]{12}b`, Cap: 90, Span: true},
		}, "abc abc abcaab", []int{7, 14}},
	} {
		tb, pt := builtTwice(t, c.rules)
		if gaveUp, problem := compare(t, tb, pt, c.text, c.cuts, 1, 0); gaveUp || problem != "" {
			t.Errorf("%s: %v\n%s", c.name, gaveUp, problem)
		}
	}
}
