package scan

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
)

// TestMatchesEqualRegexp compares each rule with one regexp of its own, leftmost-longest.
func TestMatchesEqualRegexp(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	n := 0
	for _, x := range pool {
		if x.Pattern == "" || !x.Span || x.Group != 0 || x.View != Raw || x.Cap != 0 || x.Validator.Name != "" || x.Allow != nil {
			continue
		}
		n++
		x.ID = "x"
		re := regexp.MustCompile(x.Pattern)
		re.Longest()
		tb, _, err := Build([]Rule{x}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			text := randomText(r, 20+r.IntN(300), false)
			var want []Match
			for _, p := range re.FindAllStringIndex(text, -1) {
				want = append(want, Match{Start: int64(p[0]), End: int64(p[1])})
			}
			if got := feedAll(t, tb, text, 1+r.IntN(40)); !slices.Equal(got, want) {
				t.Fatalf("%s in %q:\n got  %v\n want %v", x.Pattern, text, got, want)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d patterns compared", n)
	}
}
