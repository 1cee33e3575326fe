package scan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// scripts are letters that have case, by script.
var scripts = [][]rune{
	[]rune("aàáâãäåæbcçdðéêëfghiìíîïjkłmnñoòóôõöøœpqrsśštuùúûüvwxyýÿzžßſ"),
	[]rune("абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґђѓљњћќџѕјҺӏԁ"),
	[]rune("αάβγδεέζηήθιίκλμνξοόπρσςτυύφχψωώϊϋΐµϐϵϰϱᾳ"),
	[]rune("աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ"),
	[]rune("აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"),
}

// title puts the first letter of each word in title case, the others in lower case.
func title(s string) string {
	first := true
	return strings.Map(func(r rune) rune {
		was := first
		if first = r == ' '; was {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, s)
}

// inCases are the ways to write a term in other cases. The last takes any letter of the same fold for each.
func inCases(r *rand.Rand, s string) []string {
	return []string{s, strings.ToUpper(s), strings.ToLower(s), title(s), strings.Map(func(c rune) rune {
		f := c
		for range r.IntN(4) {
			f = unicode.SimpleFold(f)
		}
		if isMark(f) { // a mark is dropped where a letter is not
			return c
		}
		return f
	}, s)}
}

func randomTerm(r *rand.Rand, letters []rune) string {
	var b strings.Builder
	for k := range 1 + r.IntN(3) {
		if k > 0 {
			b.WriteByte(' ')
		}
		for range 1 + r.IntN(8) {
			b.WriteRune(unicode.To(r.IntN(3), letters[r.IntN(len(letters))]))
		}
	}
	return b.String()
}

// TestTermsAreFoundInAnyCase looks for terms of each script as they are, near matches and patterns.
func TestTermsAreFoundInAnyCase(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	n := Rounds(60, 20, 4)
	for script, letters := range scripts {
		for i := range n {
			term := randomTerm(r, letters)
			rules := []Rule{
				{ID: "phrase", Phrase: term, Fold: true, View: Normalised},
				{ID: "allow", Phrase: term, Fold: true, View: Normalised, Allow: []string{"something else"}},
				{ID: "pattern", Pattern: strings.ReplaceAll(term, " ", `\s`), Fold: true, View: Normalised},
				{ID: "raw", Phrase: term, Fold: true, Span: true},
				{ID: "near", Phrase: term, Fold: true, View: Normalised, Distance: 1 + i%4, Half: true},
			}
			for _, rule := range rules {
				tb, pt := builtTwice(t, []Rule{rule})
				for _, text := range inCases(r, term) {
					text = ". " + text + " ."
					cuts := cutsOf(r, len(text), 1+r.IntN(9))
					if rule.View == Normalised && !found(t, tb, text, 1+r.IntN(len(text))) {
						t.Errorf("script %d: %s %q is not found in %q", script, rule.ID, term, text)
					}
					if gaveUp, problem := compare(t, tb, pt, text, cuts, 1, 0); gaveUp || problem != "" {
						t.Fatalf("gave up: %v\n%s", gaveUp, problem)
					}
				}
			}
		}
	}
}

// mixedLists are terms and texts of letters that the normalised view maps in one case only.
func mixedLists(r *rand.Rand) (rules []Rule, text string) {
	letters := [][]rune{[]rune("мМгГrRнНhтТ"), []rune("ηΗnhωΩwιΙi\u0345"), []rune("мm\u0301г"), []rune("ӀӏlIзвв Β")}[r.IntN(4)]
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteRune(letters[r.IntN(len(letters))])
		}
		return b.String()
	}
	for i := range 1 + r.IntN(12) {
		x := Rule{ID: fmt.Sprint(i), Policy: uint8(i % 3), Fold: r.IntN(5) > 0, View: View(min(1, r.IntN(6))), Span: true}
		w := word(1+r.IntN(4)) + " " + word(1+r.IntN(6)) + word(r.IntN(12))
		if r.IntN(2) == 0 {
			w = word(2 + r.IntN(6))
		}
		if len(fuzzyWords(phraseWords(w))) == 0 || utf8.RuneCountInString(normaliseTerm(w, true, true)) < 2 {
			w = "мир"
		}
		switch r.IntN(6) {
		case 0:
			x.Distance, x.Half = 1+r.IntN(4), r.IntN(2) == 0
		case 1:
			x.Pattern = strings.ReplaceAll(w, " ", `[мιη ]?`) + `[а-яΑ-Ω]`
		case 2:
			x.Allow = []string{word(3), w}
		}
		if r.IntN(4) == 0 {
			x.Cap = 14 + r.IntN(30)
		}
		if x.Pattern == "" {
			x.Phrase = w
		}
		if _, err := compileRule(x); err != nil {
			continue
		}
		rules = append(rules, x)
	}
	var b strings.Builder
	for range 20 {
		w := word(1 + r.IntN(5))
		if len(rules) > 0 && r.IntN(2) == 0 {
			w = rules[r.IntN(len(rules))].Phrase
			w = inCases(r, w)[r.IntN(5)]
			if r.IntN(4) == 0 {
				w = string([]rune(w)[:r.IntN(1+utf8.RuneCountInString(w))])
			}
		}
		b.WriteString(w)
		b.WriteString([]string{" ", "", "\u0301", " \u200b", "x", "\xd0", "  "}[r.IntN(7)])
	}
	return rules, b.String()
}

func diffMixed(t *testing.T, seed uint64) bool {
	r := rand.New(rand.NewPCG(seed, 13))
	rules, text := mixedLists(r)
	if len(rules) == 0 {
		return true
	}
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for i := range rules {
		rules[i].Span = tb.Rule(i).Span
	}
	if tb, err = Load(tb.AppendBinary(nil)); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	pt, err := plainBuild(rules, Options{})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	gaveUp, problem := compare(t, tb, pt, text, cutsOf(r, len(text), 1+r.IntN(12)), ^uint64(0), r.IntN(3))
	if problem != "" {
		t.Fatalf("seed %d\n%s", seed, problem)
	}
	return !gaveUp
}

func TestMixedLettersEqualTheOracle(t *testing.T) {
	n := Rounds(600, 200, 30)
	over := 0
	for seed := range uint64(n) {
		over += boolInt(!diffMixed(t, seed))
	}
	if t.Logf("gave up %d of %d times", over, n); over*10 > n {
		t.Errorf("gave up %d of %d times", over, n)
	}
}

// Where the view has an ASCII letter, a term is a word of its own; it is found as far as the words of its script
// were before.
func TestMixedLettersKeepWordsWhole(t *testing.T) {
	tb, _ := builtTwice(t, []Rule{{ID: "no", Phrase: "нет", Fold: true, View: Normalised}})
	for text, want := range map[string]bool{
		"нет": true, "НЕТ": true, "Нет": true, "нЕТ": true, "het": true, "интернет-": true,
		"whether": false, "hets": false, "ИНТЕРНЕТА": false,
	} {
		if got := found(t, tb, text, 3); got != want {
			t.Errorf("%q: found %v, want %v", text, got, want)
		}
	}
}

func TestAllowedTermsAreAllowedInAnyCase(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	rules := []Rule{
		{ID: "phrase", Phrase: "Москва", Fold: true, View: Normalised, Allow: []string{"МОСКВА"}},
		{ID: "near", Phrase: "Νίκος", Fold: true, View: Normalised, Distance: 1, Allow: []string{"Νίκη", "Νίκος"}},
		{ID: "pattern", Pattern: `козёл|осёл|гном`, Fold: true, View: Normalised, Allow: []string{"Козёл", "ГНОМ"}},
	}
	tb, _ := builtTwice(t, rules)
	for _, term := range []string{"Москва", "Νίκος", "козёл", "гном"} {
		for _, text := range inCases(r, term) {
			if found(t, tb, text, 2) {
				t.Errorf("%q is found", text)
			}
		}
	}
	if !found(t, tb, "ОСЁЛ", 3) {
		t.Error("the pattern finds nothing")
	}
}

// Terms of any length stand in the literal table, with their beginnings at least, and are found as the oracle finds them.
func TestLongPhrasesEqualTheOracle(t *testing.T) {
	start := strings.Repeat("the party of the first part ", 7) // 42 words: with the longest gaps it is over every cap
	whole := []string{
		start + "shall Keep silent", start + "shall Keep still", start + "shall", start + "may speak", strings.Repeat("confidentiality", 14) + " end",
		"Γγ " + strings.Repeat("ab ", 30) + "г", strings.Repeat("-+", 120),
	}
	var rules []Rule
	for i, p := range whole {
		rules = append(rules, Rule{ID: fmt.Sprint(i), Phrase: p, Fold: true, View: Normalised, Cap: MaxCap})
	}
	tb, rep, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rep.Rules[:6] {
		if r.Class != ClassLiteral {
			t.Errorf("phrase %s is %s", r.ID, r.Class)
		}
	}
	pt, err := plainBuild(rules, Options{MaxRuleStates: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	found := 0
	for range 40 {
		var b strings.Builder
		for range 3 {
			p := whole[r.IntN(len(whole))]
			switch r.IntN(4) {
			case 0:
				p = p[:r.IntN(len(p))]
			case 1:
				p = strings.ToUpper(p)
			case 2:
				p = strings.Replace(p, " ", strings.Repeat(" \n", 1+r.IntN(140)), 1+r.IntN(3))
			}
			b.WriteString(strings.ToValidUTF8(p, "") + []string{" ", "x", ". ", "\u200b"}[r.IntN(4)])
		}
		text := b.String()
		if _, problem := compare(t, tb, pt, text, cutsOf(r, len(text), 1+r.IntN(90)), ^uint64(0), 0); problem != "" {
			t.Fatal(problem)
		}
		all, _, _ := FeedCut(t, tb, text, nil)
		found += len(all)
	}
	if found < 30 {
		t.Errorf("only %d found", found)
	}
}
