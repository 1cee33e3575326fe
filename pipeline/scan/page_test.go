package scan

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tables of docs/patterns.md are true of patterns and terms as policies declare them.
func TestPatternsPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/patterns.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	kind, n := "", 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "| pattern |") || strings.HasPrefix(line, "| term |") {
			kind = strings.Fields(line)[1]
		}
		m := quoted.FindAllStringSubmatch(line, -1)
		if !strings.HasPrefix(line, "| `") || len(m) < 2 {
			continue
		}
		n++
		var want []string
		for _, x := range m[2:] {
			want = append(want, x[1])
		}
		what, text := strings.ReplaceAll(m[0][1], `\|`, "|"), m[1][1]
		rule := Rule{ID: "a", Pattern: what, Cap: MaxCap, Span: true}
		if kind == "term" {
			rule = Rule{ID: "a", Phrase: what, Fold: true, View: Normalised}
		}
		tb, _, err := Build([]Rule{rule}, Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, piece := range []int{1, len(text)} {
			var got []string
			for _, m := range feedAll(t, tb, text, piece) {
				got = append(got, text[m.Start:m.End])
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s in %q, pieces of %d: %q, the page says %q", what, text, piece, got, want)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d lines", n)
	}
}
