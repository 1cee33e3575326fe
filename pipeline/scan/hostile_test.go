package scan

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// Near matches again and again take ways of their own: starts that meet older runs, starts that the cap ends one
// after the other, threads that follow older ones, more matches than a state has room for.
func TestRepeatedNearMatchesEqualTheOracle(t *testing.T) {
	rules := []Rule{
		{ID: "mail", Pattern: `\b[A-Za-z0-9][A-Za-z0-9._%+'-]*@(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}\b`, Cap: 120, Span: true},
		{ID: "host", Pattern: `\b[a-z0-9-]{1,20}\.web\.example/[a-f0-9-]{8,20}`, Span: true},
		{ID: "card", Pattern: `\b\d{4}(?:[ -]?\d{4}){2}\b`, Validator: Validator{Name: Luhn}, Span: true},
		{ID: "account", Pattern: `\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b`, Fold: true, Cap: 48, Validator: Validator{Name: IBAN}, Span: true},
		{ID: "number", Pattern: `\b\d{3}-\d{3}-\d{3}\b`, Span: true},
		{ID: "either", Pattern: `\b\d{3}-[0-9-]{15,60}x\b|\b\d{2}-\d{3}\b`, Span: true},
		{ID: "key", Pattern: `\bsk-[A-Za-z0-9_-]{4,}T3Bl[A-Za-z0-9_-]{4,}`, Cap: 50, Validator: Validator{Name: Entropy, A: 2500}, Span: true},
		{ID: "token", Pattern: `\beyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{6,}`, Cap: 90, Span: true},
		{ID: "short", Pattern: `\beyJr[A-Za-z0-9]{6,}={0,2}`, Cap: 40, Validator: Validator{Name: Entropy, A: 1500}, Span: true},
		{ID: "secret", Pattern: `(?i)(?:api_?key|secret)["']?[ \t]{0,3}[:=][ \t]{0,3}["']([^"'\n]{4,})["']`, Group: 1, Validator: Validator{Name: SecretLike, A: 1000}, Span: true},
		{ID: "phrase", Phrase: "old operation", Fold: true, Span: true},
	}
	tb, pt := builtTwice(t, rules)
	units := []string{
		"1.2.3.4.5.6.7.8.", "first.last@sub-domain.", "a@b.cc-d.ee-", "046-4", "046-454-286-", "6-454-28-", "046-45-123-", "AB12 CD34 EF56 ",
		"bf59-acc7-6a37-", "4111 1111 1112 ", "sk-T3Blaaaaaaaaaa-", "sk-aT3BlbkFJ-", "eyJabcdefgh.", "eyJrabcdefgh-", "eyJrabcdefgh-eyJx ",
		`api_key = "secret1": `, "old operation old 12-a@b-", "x.web.example/1234567-",
	}
	matches := []string{
		"DE89 3704 0044 0532 0130 00", "AB12 DE89 3704 0044 0532 0130 00 CD34", "DE89370400440532013000", "1234 5678 9007 ", "4111 1234 5678 9007 ",
		"046-454-286", "046-45 ", " a.b@c-d.ee ", "sk-abcdT3Blwxyz0123 ", "eyJabcdef.eyJabcdef", "eyJr0123456789=", `secret: "a1b2c3d4e5"`,
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, u := range units {
		for range Rounds(60, 10, 3) {
			text := strings.Repeat(u, 1+(60+r.IntN(240))/len(u))
			if r.IntN(3) > 0 { // what began in front of a match, and is none, must not hide it
				k := r.IntN(len(text))
				text = text[:k] + matches[r.IntN(len(matches))] + text[k:]
			}
			if r.IntN(2) == 0 {
				text += units[r.IntN(len(units))]
			}
			cuts := cutsOf(r, len(text), []int{1, 4, 20, 80}[r.IntN(4)])
			if _, problem := compare(t, tb, pt, text, cuts, ^uint64(0), r.IntN(3)); problem != "" {
				t.Fatalf("%q\n%s", u, problem)
			}
		}
	}
}

// While the text is held for one thread, those of others that the cap ended wait, and which starts are live is not
// looked for. When that thread is over, what was left is found, and so are words that end in the meantime.
func TestWhatWaitsForALongThreadIsNotForgotten(t *testing.T) {
	rules := []Rule{
		{ID: "long", Pattern: `eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{6,}\.`, Cap: 400, Span: true},
		{ID: "pat", Pattern: `\bglp-[A-Za-z0-9_-]{9,}\.[0-9a-z]{3}`, Cap: 60, Span: true},
		{ID: "key", Pattern: `\bsk-[A-Za-z0-9_.-]{8,}!`, Cap: 40, Validator: Validator{Name: Entropy, A: 1500}, Span: true},
		{ID: "mail", Pattern: `\b[A-Za-z0-9][A-Za-z0-9._%+'-]*@(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}\b`, Cap: 100, Span: true},
		{ID: "number", Pattern: `\b\d{3}-\d{3}-\d{3}\b`, Span: true},
		{ID: "party", Pattern: `\b[A-Z][A-Za-z.'-]{1,25}(?: [A-Z][A-Za-z.'-]{0,25}){0,3} vs?\.? [A-Z][A-Za-z.-]{1,25}\b`, Cap: 30, Span: true},
		{ID: "secret", Pattern: `(?i)(?:api_?key|secret)["']?[ \t]{0,3}[:=][ \t]{0,3}["']([^"'\n]{4,})["']`, Group: 1, Cap: 60, Validator: Validator{Name: SecretLike, A: 1000}, Span: true},
		{ID: "value", Pattern: `id=[a-z=]{0,9}([0-9]{3,9}[a-z0-9]{0,30};)`, Group: 1, Cap: 25, Validator: Validator{Name: Entropy, A: 2000}, Span: true},
		{ID: "phrase", Phrase: "surface-to-air missile", Fold: true, Span: true},
		{ID: "other", Phrase: "missile seeker", Fold: true, Span: true},
	}
	units := []string{"glp-", "eyJ", "sk-", "glp-eyJabc-sk-", "ghp_AKIAsk-glp-eyJ-", "Ab-", "12-", "046-454-", "SURFACE-TO-AIR ", "MISSILE ", "a.b", `api_key = "`, `secret: "ab`, "id=id=", "id=1234", "id=a123a"}
	ends := []string{`"a1b2c3d4e5"`, `"abcd"`, `"`, ";", "111;", "id=x1234567890;", "glp-abcdefghij.123 ", "sk-a1B2c3D4e5F6! ", "a.b@c-d.ee ", ".abcdef.", "046-454-286 ", " ", "A B v C D ", "surface-to-air missile", ".", "!"}
	for _, states := range []int{filterStates, 1000, 100} {
		var tb *Tables
		var pt *plainTables
		WithFilterStates(states, func() { tb, pt = builtTwice(t, rules) })
		r := rand.New(rand.NewPCG(11, uint64(states)))
		for range Rounds(500, 60, 15) {
			var text strings.Builder
			for range 1 + r.IntN(4) {
				u := units[r.IntN(len(units))]
				text.WriteString(strings.Repeat(u, 1+r.IntN(1+(20+r.IntN(400))/len(u))))
				if r.IntN(3) > 0 {
					text.WriteString(ends[r.IntN(len(ends))])
				}
			}
			cuts := cutsOf(r, text.Len(), []int{1, 4, 20, 80}[r.IntN(4)])
			if _, problem := compare(t, tb, pt, text.String(), cuts, ^uint64(0), r.IntN(3)); problem != "" {
				t.Fatalf("%d %q %v\n%s", states, text.String(), cuts, problem)
			}
		}
	}
}

// A start that comes to nothing goes in front of later ones of its rule while it lives. They are looked at when it is
// over, at their first words too.
func TestStartsBehindALiveOneAreNotForgotten(t *testing.T) {
	account := Rule{ID: "account", Pattern: `\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b`, Cap: 48, Validator: Validator{Name: IBAN}, Span: true}
	long := Rule{ID: "long", Pattern: `\b[A-Z]{2}\d{2}[0-9A-Z ]{11,}\b`, Cap: 34, Validator: Validator{Name: IBAN}, Span: true}
	either := Rule{ID: "either", Pattern: `\b(?:[0-9]{2}-){2}77\b|\b(?:[0-9]{2}-){3}[0-9]+y\b`, Validator: Validator{Name: Luhn}, Span: true}
	digits := Rule{ID: "digits", Pattern: `\b7[0-9-]{4,30}8\b`, Cap: 20, Validator: Validator{Name: Luhn}, Span: true}
	words := Rule{ID: "words", Pattern: `\b(?:[a-z]+-){2}x\b|\b(?:[a-z]+-){3}[a-z]+y\b`, Span: true}
	mail := Rule{ID: "mail", Pattern: `\b[a-z-]{2,19}@[a-z]+\b`, Cap: 12, Allow: []string{"ab@xy"}, Span: true}
	key := Rule{ID: "key", Pattern: `\bsk-(?:[a-z!-]{12,}=|[a-z]{3}!)`, Cap: 30, Span: true}
	open := Rule{ID: "open", Pattern: `\b(?:[a-z]{1,3}-){2}x|\b(?:[a-z]{1,3}-){3}[a-z]+y`, Span: true}
	es := Rule{ID: "es", Pattern: `\bES[0-9 a-z]{20,60}!`, Span: true}
	name := Rule{ID: "name", Phrase: "old one", Span: true}
	groups := []string{
		"AB12 ", "CD34 ", "AB12 CD34 EF56 ", "ES91 2100 0418 4502 0005 1332", "ES91 2100 0418 4502 0005 1332 ", "NO93 8601 1117 947 ", "NO9386011117947 ",
		"1234 ", "old one ", "-", "x", " ",
	}
	parts := []string{"a", "x", "y", "-", "-", "x ", "@", "ab", "12-", "34-", "77", "8", "7", " ", "sk-", "sk-abc!", "abcd-", "old one "}
	const iban = "AB12 ES91 2100 0418 4502 0005 1332 x"
	for i, c := range []struct {
		rules []Rule
		parts []string
		most  int
		texts []string // are cut at any two places
	}{
		{[]Rule{account}, groups, 14, []string{iban, "NO93 8601 1117 947, " + iban}},
		{[]Rule{account, es}, groups, 14, []string{iban, "NO93 8601 1117 947, " + iban}},
		{[]Rule{long}, groups, 14, []string{"NO93 8601 1117 947, " + iban}},
		{[]Rule{account, long, name}, groups, 14, nil},
		{[]Rule{either, digits}, parts, 60, nil},
		{[]Rule{words, mail}, parts, 60, nil},
		{[]Rule{open}, parts, 40, []string{"a-b-x a-b-c-xab ", "a-b-x a-b-c-d-xab ", "a-b-c-xy a-b-c-xa-x"}},
		{[]Rule{open, mail, name}, parts, 40, []string{"a@x old one a-b-c-xab a-b-c-xab@x"}},
		{[]Rule{key, name}, parts, 60, nil},
		{[]Rule{words, key, either, name}, parts, 60, nil},
	} {
		for _, states := range []int{filterStates, 100} { // with few, rules are told by their first bytes
			var tb *Tables
			var pt *plainTables
			WithFilterStates(states, func() { tb, pt = builtTwice(t, c.rules) })
			for _, text := range c.texts {
				for k := 1; k < len(text); k++ {
					for j := k + 1; j < len(text); j++ {
						if _, problem := compare(t, tb, pt, text, []int{k, j}, ^uint64(0), 0); problem != "" {
							t.Fatalf("%d %d %q %d %d\n%s", i, states, text, k, j, problem)
						}
					}
				}
			}
			r := rand.New(rand.NewPCG(5, uint64(i)))
			for range Rounds(1200, 200, 20) {
				var text strings.Builder
				for range 1 + r.IntN(c.most) {
					text.WriteString(c.parts[r.IntN(len(c.parts))])
				}
				cuts := cutsOf(r, text.Len(), []int{1, 4, 20, 80}[r.IntN(4)])
				if _, problem := compare(t, tb, pt, text.String(), cuts, ^uint64(0), r.IntN(3)); problem != "" {
					t.Fatalf("%d %d %q %v\n%s", i, states, text.String(), cuts, problem)
				}
			}
		}
	}
}

// What an alternative asks of the byte in front of it is asked of its literal: no byte is held for a key inside a word.
func TestAlternativesHaveTheirOwnConditions(t *testing.T) {
	for i, pattern := range []string{
		`\bsk-[a-z!-]{12,}=|\bsk-[a-z]{3}!`, `\bsk-[a-z!-]{12,}=|\bya-[a-z]{3}!`, `\bsk-[a-z!-]{12,}=|ya-[a-z]{3}!`,
		`(?:\bsk-[a-z]|ya-|\B77-)[a-z]{2}`, `(?:\b|\B)sk-[a-z]{3}`, `(?:\b|!)sk-[a-z]{3}$`, `(?:sk-|\bsk-a|\Bya-)!*x`, `(?:^ya-|\bsk-)+x`,
	} {
		tb, pt := builtTwice(t, []Rule{{ID: "key", Pattern: pattern, Cap: 30, Span: true}})
		r := rand.New(rand.NewPCG(7, uint64(i)))
		for range 600 {
			var text strings.Builder
			for range 1 + r.IntN(40) {
				text.WriteString([]string{"a", "x", "y", "-", "-", "x ", "ab", "77-", "7", "sk-", " ", "ya-", "sk-abc!", "yaya", "ya-abc", "!", "="}[r.IntN(17)])
			}
			cuts := cutsOf(r, text.Len(), []int{1, 4, 20, 80}[r.IntN(4)])
			if _, problem := compare(t, tb, pt, text.String(), cuts, ^uint64(0), r.IntN(3)); problem != "" {
				t.Fatalf("%s %q %v\n%s", pattern, text.String(), cuts, problem)
			}
		}
	}
}

// A look-behind without end is one thread, however often its trigger comes.
func TestLookBehindsThatGoOnAlikeAreOne(t *testing.T) {
	rules := []Rule{
		{ID: "far", Pattern: `key[^.]*([a-z]{2,}=)`, Group: 1, Span: true},
		{ID: "near", Pattern: `key[^.]{0,9}([a-z]{2,}=)`, Group: 1, Span: true},
		{ID: "mail", Pattern: `\b[a-z]+@[a-z]{2,}\b`, Span: true},
	}
	tb, pt := builtTwice(t, rules)
	r := rand.New(rand.NewPCG(3, 4))
	for range 150 {
		var text strings.Builder
		for range 1 + r.IntN(30) {
			text.WriteString([]string{"key ", "key ", "key", "xxxxx", "ab= ", ".", "a@bb "}[r.IntN(7)])
		}
		cuts := cutsOf(r, text.Len(), []int{1, 4, 20, 80}[r.IntN(4)])
		if _, problem := compare(t, tb, pt, text.String(), cuts, ^uint64(0), r.IntN(3)); problem != "" {
			t.Fatalf("%q %v\n%s", text.String(), cuts, problem)
		}
	}
	var s State
	s.Reset(^uint64(0))
	var out Matches
	for range 200 {
		if tb.Feed(&s, []byte("key "), 0, false, &out); s.n[0] > 6 || s.rescan > 0 || s.held > 0 {
			t.Fatalf("%d look-behinds are carried, %d bytes are held, %d found again", s.n[0], s.held, s.rescan)
		}
	}
}

// Between the words of a phrase up to maxGap white-space characters are passed over, however long its cap by default is.
func TestPhrasesPassOverLongWhiteSpace(t *testing.T) {
	rules := []Rule{
		{ID: "two", Phrase: "red fox", Fold: true, Span: true, View: Normalised},
		{ID: "five", Phrase: "one two three four five", Fold: true, Span: true, View: Normalised},
		{ID: "self", Phrase: "no no no", Span: true}, // may overlap itself
		{ID: "long", Phrase: "surface-to-air missile launcher", Fold: true, Span: true},
		{ID: "short", Phrase: "small cap", Span: true, Cap: 30},
		{ID: "mail", Pattern: `\b[a-z]+@[a-z]+\.[a-z]{2,}\b`, Span: true},
	}
	tb, pt := builtTwice(t, rules)
	gap := func(n int) string { return strings.Repeat(" \n\t \r\n  ", n/8+1)[:n] }
	for n, want := range map[int]int{1: 1, maxGap: 1, maxGap + 1: 0} {
		for _, p := range []string{"red fox", "one two three four five", "no no no", "surface-to-air missile launcher"} {
			text := "a " + strings.ReplaceAll(p, " ", gap(n)) + " b"
			if _, problem := compare(t, tb, pt, text, []int{3, len(text) - 3}, ^uint64(0), 0); problem != "" {
				t.Fatalf("%q with %d: %s", p, n, problem)
			}
			var s State
			s.Reset(^uint64(0))
			var out Matches
			tb.Feed(&s, []byte(text), 0, true, &out)
			if out.Len() != want {
				t.Errorf("%q with %d between its words: %d matches, want %d", p, n, out.Len(), want)
			}
		}
	}
	r := rand.New(rand.NewPCG(21, 1))
	words := []string{"red", "fox", "one", "two", "three", "four", "five", "no", "no", "surface-to-air", "missile", "launcher", "small", "cap", "a@b.cc", "é", "rеd"}
	phrases := [][]string{{"red", "fox"}, {"one", "two", "three", "four", "five"}, {"no", "no", "no"}, {"surface-to-air", "missile", "launcher"}, {"small", "cap"}}
	for range Rounds(400, 60, 15) {
		var text strings.Builder
		for range 1 + r.IntN(4) {
			p := phrases[r.IntN(len(phrases))]
			if r.IntN(3) == 0 {
				p = []string{words[r.IntN(len(words))]}
			}
			for _, w := range p {
				text.WriteString(w)
				text.WriteString(gap([]int{1, 1, 1, 2, 15, 16, 17, 100, 255, 256, 257, 300}[r.IntN(12)]))
			}
		}
		cuts := cutsOf(r, text.Len(), []int{1, 4, 20, 80}[r.IntN(4)])
		if _, problem := compare(t, tb, pt, text.String(), cuts, ^uint64(0), r.IntN(3)); problem != "" {
			t.Fatalf("%q %v\n%s", text.String(), cuts, problem)
		}
	}
}

// What is under way inside a match of its rule comes to nothing: it is held for only if it may be another rule's.
func TestInsideAMatchItsRuleHoldsForNothing(t *testing.T) {
	name := Rule{ID: "name", Pattern: `\bDr\.? [A-Z][a-z]{1,20}(?: [A-Z][a-z]{1,20})?`, Span: true}
	frame := Rule{ID: "frame", Pattern: `--begin [a-z]{4,}(?:--end--)?`, Span: true}
	other := Rule{ID: "other", Pattern: `\bDr\. No[0-9]`, Span: true}
	for _, c := range []struct {
		rules []Rule
		text  string
		keep  int
	}{
		{[]Rule{name}, "Dr Wy Dr.", 9},
		{[]Rule{name, other}, "Dr Wy Dr.", 0},
		{[]Rule{name, other}, "Dr Wy Dr. ", 0},
		{[]Rule{name, other}, "Dr Wy Dr. A", 11},
		{[]Rule{frame}, "--begin text--end---", 19},
		{[]Rule{frame}, "--begin text--end--b", 20},
		{[]Rule{frame, name}, "--begin text--end-- ", 20},
	} {
		tb, _, err := Build(c.rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(c.text) {
			var s State
			var out Matches
			s.Reset(^uint64(0))
			_, free := tb.Feed(&s, []byte(c.text[:cut]), 0, false, &out)
			_, keep := tb.Feed(&s, []byte(c.text[free:]), cut-free, false, &out)
			if free+keep != c.keep {
				t.Errorf("%q cut at %d: held from %d, want %d", c.text, cut, free+keep, c.keep)
			}
		}
	}
}
