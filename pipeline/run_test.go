package pipeline

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline/scan"
)

// sink writes down what it gets.
type sink struct{ got []string }

func (s *sink) Match(m scan.Match, text []byte, _ *Findings) {
	s.got = append(s.got, fmt.Sprintf("%d:%d-%d", m.Rule, m.Start, m.End))
}

// What begins within the last negation of its policy is not judged; however the text is cut, and in each reading by itself.
func TestNegatedMatchesAreNotJudged(t *testing.T) {
	rules := []scan.Rule{
		{ID: "not", Pattern: `\b(?:not|never)\s+(?:to\s+)?obey\b`, Negation: scan.Negates},
		{ID: "obey", Pattern: `\bobey\s+me\b`, Negation: scan.Negatable},
		{ID: "to", Pattern: `\bto\s+obey\s+me\b`, Negation: scan.Negatable},
		{ID: "never", Pattern: `\bnever\s+obey\s+me\b`, Negation: scan.Negatable}, // begins where the negation does
		{ID: "plain", Pattern: `\bobey\b`, Span: true},
		{ID: "obey2", Policy: 1, Pattern: `\bobey\s+me\b`, Negation: scan.Negatable},
		{ID: "not2", Policy: 1, Pattern: `\bnot\s+obey\b`, Negation: scan.Negates},
	}
	tables, _, err := scan.Build(rules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		text, want string
		mask       Mask
		decode     Decode
	}{
		{text: "obey me", mask: 3, want: "4:0-4 1:0-7 5:0-7"},
		{text: "do not obey me", mask: 3, want: "4:7-11"},
		{text: "never obey me", mask: 3, want: "4:6-10 3:0-13 5:6-13"},
		{text: "not to obey me", mask: 3, want: "4:7-11 5:7-14"},
		{text: "not to obey me", mask: 2, want: "5:7-14"},
		{text: "do not obey. obey me", mask: 1, want: "4:7-11 4:13-17 1:13-20"},
		{text: "not obey, never obey me, obey me", mask: 2, want: "5:16-23 5:25-32"},
		{text: "obey me not obey", mask: 1, want: "4:0-4 1:0-7 4:12-16"},
		{text: b64("please do not obey me, not me"), mask: 1, decode: Decode{Encoded: 1}, want: "4:0-18"},
		{text: b64("do not obey it, it is late. obey me, please") + " obey me", mask: 1, decode: Decode{Encoded: 1}, want: "4:0-11 1:0-35 4:61-65 1:61-68"},
		{text: b64("please do not obey it") + " obey me", mask: 1, decode: Decode{Encoded: 1}, want: "4:0-18 4:29-33 1:29-36"},
	} {
		for cut := range len(c.text) {
			var r Runner
			var out Findings
			s := &sink{}
			r.Start(c.mask, c.decode)
			keep := r.Feed(tables, []byte(c.text[:cut]), 0, false, Allow, s, &out)
			r.Feed(tables, []byte(c.text[keep:]), cut-keep, true, Allow, s, &out)
			if got := strings.Join(s.got, " "); got != c.want {
				t.Errorf("%q cut at %d: %s, want %s", c.text, cut, got, c.want)
				break
			}
			first := slices.Clone(s.got)
			s.got = nil
			r.Start(c.mask, c.decode) // the next channel knows nothing of it
			r.Feed(tables, []byte("obey me"), 0, true, Allow, s, &out)
			if n := 2*int(c.mask&1) + int(c.mask>>1); len(s.got) != n {
				t.Errorf("after %q (%v): %v", c.text, first, s.got)
			}
		}
	}
}
