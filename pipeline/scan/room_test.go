package scan

import (
	"fmt"
	"strings"
	"testing"
)

// With more threads than a call has room for at the end of a text no match is missed without a word.
func TestThreadsThatFindNoRoomAtTheEndComeLater(t *testing.T) {
	for _, group := range []int{0, 1} {
		var rules []Rule
		for i := range 2 * maxThreads {
			rules = append(rules, Rule{ID: fmt.Sprint(i), Pattern: fmt.Sprintf(`abc[a-z ]{0,200}(%d!)`, i), Group: group, Span: true})
		}
		tb, pt := builtTwice(t, rules)
		for _, text := range []string{"x abc yabcz ", "abc", "abc abc  "} {
			for _, i := range []int{0, 47, 48, 95} {
				text := fmt.Sprint(text, i, "!")
				for cut := range len(text) {
					gaveUp, problem := compareAsFar(t, tb, pt, text, []int{cut}, ^uint64(0), 0, false)
					if problem != "" {
						t.Fatalf("%.2000s", problem)
					}
					if n, keep := endOf(tb, text); gaveUp && (n != len(text) || keep != n) {
						t.Errorf("group %d, %q: of a channel that is given up %d bytes are fed and %d free", group, text, n, keep)
					}
					if gaveUp && group == 0 { // of look-behinds too many at once are given up
						t.Errorf("group %d, %q cut at %d: given up", group, text, cut)
					}
				}
			}
		}
	}
}

// endOf feeds a text at once and gives how much of it was fed, and is free at its end.
func endOf(tb *Tables, text string) (n, keep int) {
	var s State
	s.Reset(^uint64(0))
	var out Matches
	for more := true; more; {
		fed, k := tb.Feed(&s, []byte(text), n, true, &out)
		n, keep, more = n+fed, k, out.Full()
		out.Clear()
	}
	return n, keep
}

// Matches that wait behind a long thread, more than a call has room for, come one and all when it is over, be it in the text or
// with its end, whether those of the rule that has most of them count or not.
func TestMatchesThatFindNoRoomComeLater(t *testing.T) {
	rules := []Rule{
		{ID: "any", Pattern: `[^\n]`, Span: true, Policy: 1},
		{ID: "two", Pattern: `aa`, Span: true},
		{ID: "phrase", Phrase: "-a-", Span: true},
		{ID: "long", Pattern: `ab[^\n!]{3,}!`, Cap: 5000, Span: true},
	}
	for _, short := range []int{0, 1} { // the last rules only: their matches are fewer
		tb, pt := builtTwice(t, rules[short:])
		for _, end := range []string{"", "\naa", "! aab"} {
			for _, n := range []int{90, 400}[:Rounds(2, 1, 1)] {
				text := "x ab" + strings.Repeat("api aa-a-", n) + end
				var cuts []int
				for i := 7; i < len(text); i += 1 + i%31 {
					cuts = append(cuts, i)
				}
				for _, mask := range []uint64{3, 1} {
					for _, c := range [][]int{cuts, nil} {
						gaveUp, problem := compare(t, tb, pt, text, c, mask, 0)
						if problem != "" {
							t.Fatalf("%.3000s", problem)
						}
						if gaveUp {
							t.Errorf("%d rules, %d times, %q at the end, %d cuts, mask %d: given up", len(rules)-short, n, end, len(c), mask)
						}
					}
				}
			}
		}
	}
}
