package scan

import (
	"fmt"
	"testing"
)

// TestRulesWithoutAPlaceAreHeldFor: more groups than are stepped side by side are no error; some rules are held
// for instead.
func TestRulesWithoutAPlaceAreHeldFor(t *testing.T) {
	rules := []Rule{{ID: "phrase", Phrase: "some words", Fold: true, View: Normalised}, {ID: "raw", Phrase: "other words", Span: true}}
	for i := range 12 {
		rules = append(rules, Rule{ID: fmt.Sprint("open", i), Pattern: fmt.Sprintf(`[a-%c]{2}\d%d`, 'b'+i, i)})
	}
	tb, rep, err := Build(rules, Options{MaxStates: 20})
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for i, r := range rep.Rules {
		if r.Span != tb.Rule(i).Span {
			t.Errorf("%s: the report says %t, the tables %t", r.ID, r.Span, tb.Rule(i).Span)
		}
		if i >= 2 && r.Span {
			held++
		}
	}
	if rep.Groups > maxGroups || held == 0 || held == 12 {
		t.Errorf("%d groups, %d of 12 rules held for", rep.Groups, held)
	}
	text := "xx ab10 some words ab311 lk910 other words ab12"
	want := feedAll(t, tb, text, len(text))
	for i := 1; i < 9; i++ {
		if got := feedAll(t, tb, text, i); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("pieces of %d: %v, want %v", i, got, want)
		}
	}
	if len(want) < 5 {
		t.Errorf("matches %v", want)
	}
}

// A start that both views are told of goes on in each from the state that it has there.
func TestTwoViewsKeepTheirStates(t *testing.T) {
	const front = `\b(?:i\s+am|im|she\s+is|she.s|he\s+is|(?:boy|girl|child),?\s+is)\s+`
	rules := []Rule{
		{ID: "raw", Pattern: front + `(?:[3-9]|five|six)\s+years\b`, Span: true},
		{ID: "short", Pattern: `\b(?:[3-9]|five|six)\s*yo\b`, View: Normalised, Span: true},
		{ID: "normalised", Pattern: front + `in\s+(?:first|second)\s+grade\b`, View: Normalised, Span: true},
	}
	const text = "she is in first grade"
	for _, states := range []int{20, 100, 6144} {
		var tb *Tables
		var err error
		WithFilterStates(states, func() { tb, _, err = Build(rules, Options{}) })
		if err != nil {
			t.Fatal(err)
		}
		if len(tb.bundle) != 2 {
			t.Fatalf("%d bundles", len(tb.bundle))
		}
		for j := range len(text) {
			for i := range j {
				var s State
				var out Matches
				s.Reset(^uint64(0))
				_, a := tb.Feed(&s, []byte(text[:i]), 0, false, &out)
				_, b := tb.Feed(&s, []byte(text[a:j]), i-a, false, &out)
				if a+b > 0 {
					t.Fatalf("with %d states of filters, %q and %q release %d bytes", states, text[:i], text[i:j], a+b)
				}
			}
		}
	}
}

// Text in front of a word is not held for it. What stands in front of a trigger there is known however many bytes its letters
// take and wherever the text was released.
func TestLookBehindsBeyondASCIIDoNotDependOnCuts(t *testing.T) {
	for _, view := range []View{Raw, Normalised} {
		rules := []Rule{
			{ID: "a", Pattern: `(?:^|[ (,;:])(?:рнокпп|іпн)[ :]{0,4}(\d{4})\b`, Fold: true, Span: true, Group: 1, View: view},
			{ID: "b", Pattern: `\b(?:纳税人识别号|税号)[ :]{0,4}(\d{4})\b`, Span: true, Group: 1, View: view},
			{ID: "c", Pattern: `(?:^|[^a-z])(?:größenwahn)[ :]{0,4}(\d{4})\b`, Span: true, Group: 1, View: view},
		}
		comparePairs(t, rules,
			"4рнокпп 1234 и", "xx рнокпп: 1234.", "рнокпп1234 5", "我纳税人识别号1234,", " 纳税人识别号: 1234 ", "xgrößenwahn 1234 ", "4größenwahn 1234 .")
	}
}
