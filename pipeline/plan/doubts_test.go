package plan

import (
	"regexp/syntax"
	"testing"

	"github.com/keeptrusts/kt/pipeline/rulebook"
)

// Notes are for what is nearly always wrong: patterns and terms that were written with care have none.
func TestTheRulebookRaisesNoDoubts(t *testing.T) {
	n := 0
	for _, e := range rulebook.All() {
		for _, p := range e.Phrases {
			n++
			if d := termDoubt(p); d != nil {
				t.Errorf("%s: term %q: %s", e.ID, p, d.message)
			}
		}
		for _, p := range e.Patterns {
			n++
			re, err := syntax.Parse(p, syntax.Perl)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range patternDoubts(p, re) {
				t.Errorf("%s: %q: %s", e.ID, p, d.message)
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d looked at", n)
	}
}
