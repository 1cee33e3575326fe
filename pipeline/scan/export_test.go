package scan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keeptrusts/kt/internal/invariant"
)

// Rounds is how many rounds a test runs, or how long its texts are: all, or less with -short. Under the race detector,
// where a round takes ten times as long, few: what runs one goroutine races with nothing, however often it does so.
func Rounds(all, short, race int) int {
	switch {
	case invariant.Race:
		return race
	case testing.Short():
		return short
	}
	return all
}

// An Oracle is the oracle for tests outside the package.
type Oracle struct{ t *plainTables }

// NewOracle builds the oracle of rules as tb runs them: Build may hold for more rules than were asked for.
func NewOracle(rules []Rule, tb *Tables) (*Oracle, error) {
	rules = append([]Rule(nil), rules...)
	for i := range rules {
		rules[i].Span = tb.Rule(i).Span
	}
	t, err := plainBuild(rules, Options{})
	return &Oracle{t}, err
}

// Compare feeds text to tb and to the oracle and says what differs.
func (o *Oracle) Compare(t *testing.T, tb *Tables, text string, cuts []int, mask uint64, slack int) (gaveUp bool, problem string) {
	t.Helper()
	return compare(t, tb, o.t, text, cuts, mask, slack)
}

// comparePairs compares the tables of rules with the oracle on texts that are cut at every pair of bytes.
func comparePairs(t *testing.T, rules []Rule, texts ...string) {
	t.Helper()
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOracle(rules, tb)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		for j := range len(text) {
			for i := range j {
				if _, problem := o.Compare(t, tb, text, []int{i, j}, ^uint64(0), 0); problem != "" {
					t.Fatal(problem)
				}
			}
		}
	}
}

// FeedCut gives the matches in text that is fed in pieces, and the hold-back after each; ok is false if the channel
// was given up.
func FeedCut(t *testing.T, tb *Tables, text string, cuts []int) (all []Match, hold []int64, ok bool) {
	t.Helper()
	var s State
	s.Reset(^uint64(0))
	ev := drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(&s, w, n, end, out) }, text, cuts, 0)
	for _, e := range ev {
		all, hold = append(all, e.m...), append(hold, e.hold)
	}
	return all, hold, ev != nil
}

// Explain lists the sizes of the tables.
func Explain(t *Tables) string {
	var b strings.Builder
	for i := range t.groups {
		g := &t.groups[i]
		fmt.Fprintf(&b, "group %d view %d literal %v filter %d: %d states %d classes %d bytes; reverse %d states %d bytes; %d rules\n",
			i, g.view, g.literal, g.filter, len(g.live), g.ncls, 4*len(g.next), len(g.rnext)/max(1, int(g.rncls)), 4*len(g.rnext), len(g.rules))
		for _, r := range g.rules {
			fmt.Fprintf(&b, "\t%s %b\n", t.rules[r].id, t.rules[r].flags)
		}
	}
	for _, u := range t.bundle {
		fmt.Fprintf(&b, "bundle view %d: %d rules %d states %d classes %d bytes\n", u.view, len(u.rules), len(u.joint.info), u.joint.ncls, 4*len(u.joint.next))
	}
	n := 0
	for i := range t.anch {
		n += 2*len(t.anch[i].next) + 2*len(t.anch[i].info) + 256
	}
	fmt.Fprintf(&b, "anchored: %d, %d bytes; %d literals; lists %d bytes\n", len(t.anch), n, len(t.lits), 2*len(t.lists))
	return b.String()
}

// Wide are options with which tables have entries of four bytes, as large ones have.
var Wide = Options{wide: true}

// Shrink makes a failing case smaller for a minute or two: rules, text, cuts, and patterns.
func Shrink(rules []Rule, text string, cuts []int, fails func(rules []Rule, text string, cuts []int) bool) {
	until := time.Now().Add(100 * time.Second)
	some := false // something became smaller
	try := func(less []Rule, short string, few []int) bool {
		if time.Now().After(until) || len(less) == 0 || !fails(less, short, few) {
			return false
		}
		rules, text, cuts, some = less, short, few, true
		return true
	}
	parts := func(n func() int, try func(i, k int) bool) { // from half of n on
		for k := max(1, n()/2); k > 0; k /= 2 {
			for i := 0; i+k <= n(); {
				if !try(i, k) {
					i += k
				}
			}
		}
	}
	for again := true; again; again = some {
		some = false
		parts(func() int { return len(rules) }, func(i, k int) bool { return try(slices.Delete(slices.Clone(rules), i, i+k), text, cuts) })
		parts(func() int { return len(text) }, func(i, k int) bool {
			var few []int
			for _, x := range cuts {
				if x = max(min(x, i), x-k); len(few) == 0 || few[len(few)-1] < x {
					few = append(few, x)
				}
			}
			return try(rules, text[:i]+text[i+k:], few)
		})
		parts(func() int { return len(cuts) }, func(i, k int) bool { return try(rules, text, slices.Delete(slices.Clone(cuts), i, i+k)) })
		for j := range rules {
			parts(func() int { return len(rules[j].Pattern) }, func(i, k int) bool {
				less := slices.Clone(rules)
				less[j].Pattern = less[j].Pattern[:i] + less[j].Pattern[i+k:]
				return try(less, text, cuts)
			})
		}
	}
}

// WithFilterStates calls f while filters have at most n states: with few, rules are told by their first bytes.
func WithFilterStates(n int, f func()) {
	old := filterStates
	filterStates = n
	f()
	filterStates = old
}
