package scan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline/scan"
)

func TestFuzzyTermsAreFoundWithinTheirDistance(t *testing.T) {
	rules := []scan.Rule{
		{ID: "one", Phrase: "bluefin", Distance: 1, Fold: true},
		{ID: "two", Phrase: "Acme Shell Ltd", Distance: 2, Fold: true, View: scan.Normalised},
		{ID: "exact case", Phrase: "Kestrel", Distance: 1},
		{ID: "allowed", Phrase: "tango", Distance: 2, Fold: true, Allow: []string{"mango"}},
	}
	tb, _, err := scan.Build(rules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := "Project Blufin, bluefinn; xbluefinx blue fin. ACME  shel\nlimtd and ＡＣＭＥ Shell Lt\u200bd. kestrel Kestre1 mango tangos"
	want := []string{`one "Blufin"`, `one "bluefinn"`, `two "ACME  shel\nlimtd"`, `two "ＡＣＭＥ Shell Lt\u200bd"`, `exact case "kestrel"`, `exact case "Kestre1"`, `allowed "tangos"`}
	whole := run(t, tb, text, nil)
	if got := show(tb, text, whole); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for i := range len(text) {
		if got := run(t, tb, text, []int{i}); !slices.Equal(got, whole) {
			t.Fatalf("cut at %d: got %q", i, show(tb, text, got))
		}
	}
	loaded, err := scan.Load(tb.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, loaded, text, nil); !slices.Equal(got, whole) {
		t.Errorf("loaded: got %q", show(tb, text, got))
	}
}

func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := min(diag+1, row[j]+1, row[j+1]+1)
			if a[i] == b[j] {
				d = min(d, diag)
			}
			diag, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

// TestFuzzyTermsEqualAPlainComparison compares single words with the definition, and cuts with the whole.
func TestFuzzyTermsEqualAPlainComparison(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	word := func() string {
		var b strings.Builder
		for range 2 + r.IntN(7) {
			b.WriteByte("abcde"[r.IntN(5)])
		}
		return b.String()
	}
	for range 300 {
		var rules []scan.Rule
		for i := range 1 + r.IntN(8) {
			rules = append(rules, scan.Rule{ID: fmt.Sprint(i), Phrase: word(), Distance: 1 + r.IntN(3)})
		}
		tb, _, err := scan.Build(rules, scan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for range 20 {
			words = append(words, word())
		}
		text := strings.Join(words, " ")
		want := map[scan.Match]bool{}
		at := 0
		for _, w := range words {
			for i, x := range rules {
				if levenshtein(w, x.Phrase) <= min(x.Distance, len(x.Phrase)-1) {
					want[scan.Match{Start: int64(at), End: int64(at + len(w)), Rule: uint32(i)}] = true
				}
			}
			at += len(w) + 1
		}
		whole := run(t, tb, text, nil)
		for _, m := range whole {
			if !want[m] {
				t.Fatalf("unexpected %v in %q", m, text)
			}
		}
		if len(whole) != len(want) {
			t.Fatalf("%d matches, want %d", len(whole), len(want))
		}
		var cuts []int
		for i := 0; i < len(text); i += 1 + r.IntN(9) {
			cuts = append(cuts, i)
		}
		if got := run(t, tb, text, cuts); !slices.Equal(got, whole) {
			t.Fatalf("cuts %v: got %v want %v", cuts, got, whole)
		}
	}
}
