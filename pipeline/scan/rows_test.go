package scan

import "testing"

// A State whose rows or states are none of the tables' ends in a panic, not in a read behind them.
func TestFeedRefusesTheStateOfOtherTables(t *testing.T) {
	var tb *Tables
	var err error
	WithFilterStates(20, func() {
		tb, _, err = Build([]Rule{
			{ID: "card", Pattern: `\b4\d{3}(?: \d{4}){3}\b`, Span: true},
			{ID: "term", Phrase: "no such thing", Fold: true, Span: true},
		}, Options{})
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tb.groups) < 2 || len(tb.bundle) == 0 {
		t.Fatalf("%d groups and %d bundles", len(tb.groups), len(tb.bundle))
	}
	const held = "4111 1111 1"
	fed := func() *State {
		s := &State{}
		s.Reset(^uint64(0))
		tb.Feed(s, []byte(held), 0, false, new(Matches))
		if int(s.held) != len(held) {
			t.Fatalf("%d bytes held", s.held)
		}
		return s
	}
	try := func(name string, spoil func(*State), pieces ...string) {
		s := fed()
		spoil(s)
		for _, piece := range pieces {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic with %d more bytes", name, len(piece))
					}
				}()
				old := *s
				tb.Feed(&old, []byte(held+piece), len(held), false, new(Matches))
			}()
		}
	}
	const short, long = "1", "11 1111 1111 and more text, so that it is long enough for the other way"
	for g := range tb.groups {
		try("a row behind the last", func(s *State) { s.st[g] = tb.last[g] + 1 }, short, long)
	}
	u := tb.bundle[0]
	try("a live state", func(s *State) {
		s.flags, s.note = s.flags&^stateFront, 0 // what was told of it is lost
		s.live[u.view] = mark{uint16(len(held)), uint16(len(u.joint.info))}
	}, short)
	try("a start", func(s *State) {
		if old, ok := s.lastLives(); !ok || len(old) == 0 {
			t.Fatal("no start in the slots")
		}
		s.live[u.view] = noMark
		h := s.slots[2*s.n[0]+3*s.n[1]:]
		h[2] = uint16(len(u.joint.info))
	}, short)
}
