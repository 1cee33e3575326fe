package scan

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// What a filter is sure of must be so, whatever stands in front; and it must be sure of something.
func TestWordsThatAreSureToBeLiveAre(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pieces := []string{" ", " ", "\n", ".", "-", "@", `"`, "12", "é", "a", "mail", "To", "zebra", "x.y", "abcdefg", "abcdefgh"}
	for name, rules := range map[string][]Rule{
		"any word":  {{ID: "mail", Pattern: `\b[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}\b`, Span: true}},
		"some":      {{ID: "handle", Pattern: `\b[a-mA-M][a-z]{1,12}@[a-z]{2,}\b`, Span: true}},
		"short cap": {{ID: "mail", Pattern: `\b[A-Za-z]+@[a-z]{2,5}\b`, Cap: 7, Span: true}},
		"by front":  {{ID: "quoted", Pattern: `"[a-z]+@[a-z]+"`, Span: true}, {ID: "mail", Pattern: `(?:\b|")[a-z]+@[a-z]{2,}\b`, Span: true}},
	} {
		tb, _, err := Build(rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sure, words := 0, 0
		for range 3000 {
			var text strings.Builder
			for range 1 + r.IntN(8) {
				text.WriteString(pieces[r.IntN(len(pieces))])
			}
			b := []byte(text.String())
			for g := range tb.groups {
				grp := &tb.groups[g]
				u := tb.sole[grp.view]
				if !grp.stops || u == nil {
					continue
				}
				st := uint32(0)
				for _, c := range b {
					st = grp.land(grp.entry(st, byte(c)))
				}
				words++
				x, ok := grp.sure(b, int(grp.live[grp.number(st)]), 0)
				if !ok {
					continue
				}
				sure++
				if q := u.alone(u.first[u.kindAt(b, x, -1)<<8|uint32(b[x])], b[x+1:]); q == anchorDead || len(b)-x > int(u.near[q]) {
					t.Fatalf("%s: %q: the word at %d is not live", name, b, x)
				}
				for k := range x {
					if q := u.alone(u.first[u.kindAt(b, k, -1)<<8|uint32(b[k])], b[k+1:]); q != anchorDead && len(b)-k <= int(u.near[q]) {
						t.Fatalf("%s: %q: an earlier word, at %d, is live", name, b, k)
					}
				}
			}
		}
		if want := name != "short cap"; words == 0 || want != (sure > 0) {
			t.Errorf("%s: sure of %d of %d", name, sure, words)
		}
	}
}
