package scan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keeptrusts/kt/pipeline/scan"
)

var demoRules = []scan.Rule{
	{ID: "email", Pattern: `\b[a-zA-Z0-9._%+-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+\b`, Span: true},
	{ID: "ssn", Pattern: `\b\d{3}-\d{2}-\d{4}\b`, Validator: scan.Validator{Name: scan.SSN}, Span: true},
	{ID: "card", Pattern: `\b\d(?:[ -]?\d){12,18}\b`, Validator: scan.Validator{Name: scan.Card}, Span: true},
	{ID: "ignore", Phrase: "ignore previous instructions", Fold: true, View: scan.Normalised, Policy: 1},
	{ID: "key", Pattern: `(?i)api[_-]?key["' :=]{1,4}([a-z0-9]{8,12})(?:["'\s]|$)`, Group: 1, Span: true},
	{ID: "warn", Pattern: `foo+`, Policy: 2},
	{ID: "allow", Pattern: `\bx[0-9]+\b`, Allow: []string{"x12"}, Span: true},
	{ID: "überall", Phrase: "Überall", Fold: true, Span: true},
}

const demoText = `Mail bob.smith@example.co.uk now. SSN 123-45-6789, not 000-12-3456. Card 4111 1111 1111 1111!
ＩＧＮＯＲＥ pre` + "\u200b" + `vious  instructions; api_key = "abcd12345" fooooo x12 x123 ÜBERALL überall fo foo`

// run feeds text in the pieces that cut says and gives the matches; it drops what keep allows.
func run(t *testing.T, tb *scan.Tables, text string, cuts []int) []scan.Match {
	t.Helper()
	var s scan.State
	s.Reset(^uint64(0))
	var out scan.Matches
	var got []scan.Match
	rel := 0 // released
	at := 0  // fed
	cuts = append(cuts, len(text))
	for i, c := range cuts {
		end := i == len(cuts)-1
		for {
			win := []byte(text[rel:c])
			fed, keep := tb.Feed(&s, win, at-rel, end, &out)
			clear(win)
			at += fed
			if keep < 0 || rel+keep > at {
				t.Fatalf("keep %d of %d fed bytes", keep, at-rel)
			}
			full := out.Full()
			for k := range out.Len() {
				m := out.At(k)
				if tb.Rule(int(m.Rule)).Span && m.Start < int64(rel) {
					t.Fatalf("match %v of %s starts before the released offset %d", m, tb.Rule(int(m.Rule)).ID, rel)
				}
				got = append(got, m)
			}
			rel += keep
			out.Clear()
			if !full {
				break
			}
		}
		if at != c {
			t.Fatalf("fed %d of %d bytes", at, c)
		}
	}
	if rel != len(text) {
		t.Fatalf("held %d bytes after the end", len(text)-rel)
	}
	return got
}

func show(tb *scan.Tables, text string, ms []scan.Match) []string {
	var s []string
	for _, m := range ms {
		s = append(s, fmt.Sprintf("%s %q", tb.Rule(int(m.Rule)).ID, text[m.Start:m.End]))
	}
	return s
}

func TestFindsTheDocumentedMatches(t *testing.T) {
	tb, _, err := scan.Build(demoRules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := show(tb, demoText, run(t, tb, demoText, nil))
	foo := func(i int) string { return fmt.Sprintf("warn %q", demoText[:i]) }
	want := []string{
		`email "bob.smith@example.co.uk"`, `ssn "123-45-6789"`, `card "4111 1111 1111 1111"`,
		"ignore \"ＩＧＮＯＲＥ pre\\u200bvious  instructions\"", `key "abcd12345"`,
		foo(len("Mail bob.smith@example.co.uk now. SSN 123-45-6789, not 000-12-3456. Card 4111 1111 1111 1111!\nＩＧＮＯＲＥ pre\u200bvious  instructions; api_key = \"abcd12345\" foo")),
		`allow "x123"`, `überall "ÜBERALL"`, `überall "überall"`, foo(len(demoText)),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAnySplitGivesTheSameMatches(t *testing.T) {
	tb, _, err := scan.Build(demoRules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := run(t, tb, demoText, nil)
	var single []int
	for i := range len(demoText) {
		single = append(single, i)
		if got := run(t, tb, demoText, []int{i}); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: got %v want %v", i, got, want)
		}
	}
	if got := run(t, tb, demoText, single); !slices.Equal(got, want) {
		t.Fatalf("single bytes: got %v want %v", got, want)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var cuts []int
		for i := 0; i < len(demoText); i += 1 + r.IntN(30) {
			cuts = append(cuts, i)
		}
		if got := run(t, tb, demoText, cuts); !slices.Equal(got, want) {
			t.Fatalf("cuts %v: got %v want %v", cuts, got, want)
		}
	}
}

// TestTheCapCostsNoStates: what builds with the default cap builds with the largest, and what is refused is refused
// for the same reason. So a pattern of the configuration can have the largest.
func TestTheCapCostsNoStates(t *testing.T) {
	for _, p := range []string{
		`tok_[a-z0-9]+`, `[a-z]+END`, `(?s)a.*b.*c`, `[a-z]{50,400}[0-9]{20,300}z`, `ab.*c[a-z]{20,30}d`,
		`(?i)[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}`, `\b(?:\d[ -]?){13,19}\b`, `-----BEGIN[^-]+-----END`, `(?:ab|cd){1,120}`,
	} {
		for _, span := range []bool{false, true} {
			for _, view := range []scan.View{scan.Raw, scan.Normalised} {
				r := scan.Rule{ID: "r", Pattern: p, Span: span, View: view}
				_, _, usual := scan.Build([]scan.Rule{r}, scan.Options{})
				r.Cap = scan.MaxCap
				_, _, largest := scan.Build([]scan.Rule{r}, scan.Options{})
				if fmt.Sprint(usual) != fmt.Sprint(largest) {
					t.Errorf("%s: with the default cap %v, with the largest %v", p, usual, largest)
				}
			}
		}
	}
}

// TestLongest says how long a match could be without a cap.
func TestLongest(t *testing.T) {
	for p, want := range map[string]int{`abc`: 3, `a{1,400}`: 400, `tok_[a-z]+`: -1, `é{2}`: 4, `a*`: 0, `(`: 0, `(?:abcdefghi){1,900}`: 8100, `a+b|c`: -1} {
		if got := (scan.Rule{Pattern: p, Cap: scan.MaxCap}).Longest(); got != want {
			t.Errorf("%s: %d, want %d", p, got, want)
		}
	}
}

func TestBinaryFormGivesTheSameMatches(t *testing.T) {
	tb, _, err := scan.Build(demoRules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := tb.AppendBinary(nil)
	tb2, err := scan.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := run(t, tb2, demoText, nil), run(t, tb, demoText, nil); !slices.Equal(got, want) {
		t.Errorf("got %v want %v", got, want)
	}
	if !slices.Equal(tb2.AppendBinary(nil), b) {
		t.Error("the binary form changed in a round trip")
	}
}
