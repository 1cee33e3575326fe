package kindtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
)

// Texts holds a kind to the texts of a file, whole and cut at every byte. A line is one text:
//
//	policy {...}   the parameters of the texts below
//	- TEXT         passes
//	+ TEXT         is found; the «marked» spans, when there are some, are all that is found
//
// In a text \n is a line end, \t a tab. There must be at least 30 texts of each sort.
func Texts(t *testing.T, kind, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var ch pipeline.Chain
	pass, found := 0, 0
	for n, line := range strings.Split(string(data), "\n") {
		mark, text, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
			continue
		case mark == "policy":
			ch = Chain(t, fmt.Sprintf("policies: {chain: [%s]}\npolicy:\n  %s: %s\n", kind, kind, text))
			continue
		case mark != "+" && mark != "-" || ch == nil:
			t.Fatalf("%s:%d: not a text below a policy", file, n+1)
		}
		text, want := unmark(text)
		o := Piece(t, ch, pipeline.InputText, Everything, []byte(text), nil)
		switch got := spansOf(o, text); {
		case mark == "-":
			if pass++; len(o.Findings) > 0 {
				t.Errorf("%s:%d: %q must pass\n got %q", file, n+1, text, got)
			}
		case len(o.Findings) == 0:
			t.Errorf("%s:%d: %q is not found", file, n+1, text)
		case len(want) > 0 && !slices.Equal(got, want):
			t.Errorf("%s:%d: in %q\n got %q\nwant %q", file, n+1, text, got, want)
		}
		if mark == "+" {
			found++
		}
		var every []int
		for c := 1; c < len(text); c++ {
			every = append(every, c)
		}
		if cut := Piece(t, ch, pipeline.InputText, Everything, []byte(text), every); cut.String() != o.String() {
			t.Errorf("%s:%d: %q byte by byte\n got %s\nwant %s", file, n+1, text, cut, o)
		}
	}
	if pass < 30 || found < 30 {
		t.Errorf("%s: %d texts that pass and %d that are found; want 30 of each", file, pass, found)
	}
}

// unmark gives a text without its marks, and what they mark.
func unmark(s string) (text string, spans []string) {
	s = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(s)
	for rest := s; ; {
		_, after, ok := strings.Cut(rest, "«")
		if !ok {
			return strings.NewReplacer("«", "", "»", "").Replace(s), spans
		}
		var span string
		span, rest, _ = strings.Cut(after, "»")
		spans = append(spans, span)
	}
}

// spansOf gives the texts of the findings, overlapping ones as one.
func spansOf(o Outcome, text string) []string {
	var at [][2]int
	for _, f := range o.Findings {
		var from, to int
		for _, w := range strings.Fields(f) {
			if k, err := fmt.Sscanf(w, "%d-%d", &from, &to); k == 2 && err == nil {
				at = append(at, [2]int{from, to})
				break
			}
		}
	}
	slices.SortFunc(at, func(a, b [2]int) int { return a[0] - b[0] })
	var out []string
	for i := 0; i < len(at); {
		x := at[i]
		for i++; i < len(at) && at[i][0] < x[1]; i++ {
			x[1] = max(x[1], at[i][1])
		}
		out = append(out, text[x[0]:x[1]])
	}
	return out
}
