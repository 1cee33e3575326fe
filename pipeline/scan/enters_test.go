package scan

import "testing"

// Behind a trigger a run is in one state, whatever its case, if the words of its rule begin at one kind of place.
func TestTriggersLeadToOneState(t *testing.T) {
	for _, c := range []struct {
		pattern, text string // text: what the run has read when it goes on
		group         int
	}{
		{`\bghp_[A-Za-z0-9]{36}\b`, "ghp_", 0},
		{`(?i)\bkey[a-z]{3}\d\b`, "KeY", 0},
		{`(?i)password\s*=\s*(\w{8})`, "PassWo", 1},
		{`\B-ab[a-z]{5}|\b-abc\d`, "", 0}, // two kinds of places
		{`tok[a-z]?_x`, "tok", 0},
		{`abc|abcdef`, "abc", 0},
	} {
		tb, _, err := Build([]Rule{{ID: "x", Pattern: c.pattern, Group: c.group, Span: true}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range tb.lits {
			a := &tb.anch[tb.rules[0].begins()]
			if l.front == noFront {
				if c.text != "" {
					t.Errorf("%s: the state behind its trigger is not known", c.pattern)
				}
				continue
			}
			if c.text == "" {
				t.Errorf("%s: the state behind its trigger is said to be known", c.pattern)
				continue
			}
			if q := a.walk(l.front, []byte(c.text)); q != l.state || q == anchorDead {
				t.Errorf("%s: behind its trigger a run is in state %d, not in %d", c.pattern, q, l.state)
			}
		}
		if len(tb.lits) == 0 {
			t.Errorf("%s: no trigger", c.pattern)
		}
	}
}
