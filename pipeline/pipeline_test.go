package pipeline

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMarkerForms(t *testing.T) {
	for _, c := range []struct {
		m     Marker
		value string
		want  string
	}{
		{Marker{Text: "[REDACTED:EMAIL]"}, "a@b.co", "[REDACTED:EMAIL]"},
		{Marker{Text: "[REDACTED:EMAIL]", PreserveLength: true}, "a@b.co", "[REDAC"},
		{Marker{Text: "[X]", PreserveLength: true}, "a@b.co", "[X]***"},
		{Marker{Format: Asterisks}, "a", "***"},
		{Marker{Format: Asterisks}, "äöüß", "****"},
		{Marker{Format: Asterisks, PreserveLength: true}, "a", "*"},
		{Marker{Format: Partial}, "4111 1111 1111 1111", "**** **** **** 1111"},
		{Marker{Format: Partial}, "1234", "****"},
		{Marker{Format: Partial}, "jo.doe@example.org", "**.***@******e.org"},
		{Marker{Format: Partial, Text: "<mail>", Custom: true}, "jo@example.org", "<mail>"},
	} {
		got := string(c.m.Append(nil, []byte(c.value)))
		if got != c.want {
			t.Errorf("%+v of %q is %q, want %q", c.m, c.value, got, c.want)
		}
	}
}

func finding(start, end int64, a Action, policy uint8) Finding {
	return Finding{Start: start, End: end, Action: a, Policy: policy, Entity: FirstEntity}
}

func TestFindingsKeepTheOrder(t *testing.T) {
	var f Findings
	for _, g := range []Finding{finding(5, 9, Warn, 0), finding(2, 9, Block, 1), finding(1, 9, Warn, 1), finding(0, 12, Log, 0)} {
		f.Add(g, Block)
	}
	want := []Finding{finding(2, 9, Block, 1), finding(1, 9, Warn, 1), finding(5, 9, Warn, 0), finding(0, 12, Log, 0)}
	if !reflect.DeepEqual(f.List, want) {
		t.Errorf("%+v", f.List)
	}
}

func TestFindingsAreBoundedByTheStrictestAction(t *testing.T) {
	for over, want := range map[Action]Action{Redact: Block, Block: Block, Log: Log} {
		var f Findings
		m := Marker{Text: "x"}
		for i := range int64(MaxFindings + 10) {
			f.AddRedaction(finding(i, i+1, Redact, 0), over, &m, []byte("v"))
		}
		if len(f.List) != MaxFindings+1 || !f.Over {
			t.Fatalf("%d findings, over %t", len(f.List), f.Over)
		}
		if last := f.List[MaxFindings]; last.Entity != OverEntity || last.Action != want {
			t.Errorf("over %s gives %+v", over, last)
		}
	}
}

type fixed struct{ info Info }

func (c *fixed) Info() *Info                 { return &c.info }
func (c *fixed) Scans(Class, Mask) bool      { return false }
func (c *fixed) Session(Class, Mask) Session { return NoSession{} }

func chainOf(policies ...PolicyInfo) *fixed {
	c := &fixed{}
	c.info.Policies = policies
	c.info.Entities = append(FixedEntities(), EntityInfo{Name: "E", Reason: "kind.e"})
	return c
}

func TestDecisionIsTheFirstTerminalFindingElseTheStrictest(t *testing.T) {
	ch := chainOf(PolicyInfo{Kind: "a", Message: "no."}, PolicyInfo{Kind: "b"})
	for _, c := range []struct {
		name  string
		found []Finding
		want  Verdict
		kind  string
	}{
		{"nothing", nil, VerdictAllow, ""},
		{"redact beats warn", []Finding{finding(0, 1, Warn, 0), finding(1, 2, Redact, 1), finding(2, 3, Warn, 0)}, VerdictRedact, "b"},
		{"first terminal", []Finding{finding(0, 1, Redact, 0), finding(1, 2, Escalate, 1), finding(2, 3, Block, 0)}, VerdictEscalate, "b"},
		{"log allows", []Finding{finding(0, 1, Log, 0)}, VerdictAllow, "a"},
		{"first of the strictest", []Finding{finding(0, 1, Redact, 0), finding(1, 2, Redact, 1)}, VerdictRedact, "a"},
	} {
		var x Exchange
		var scratch Findings
		x.Begin(ch, &Facts{}, &scratch)
		for i := range c.found {
			x.Record(0, OutputText, &c.found[i])
		}
		d := x.Decide()
		if d.Verdict != c.want || d.Kind != c.kind {
			t.Errorf("%s: %s by %q, want %s by %q", c.name, d.Verdict, d.Kind, c.want, c.kind)
		}
		if c.found == nil && (d.Reason != "all_policies_passed" || d.Policy != -1) {
			t.Errorf("%s: %+v", c.name, d)
		}
		n := 0
		for _, k := range x.Counts() {
			n += k.N
		}
		if n != len(c.found) {
			t.Errorf("%s: %d counted, %d found", c.name, n, len(c.found))
		}
	}
}

func TestConditionsMakeTheMask(t *testing.T) {
	ch := chainOf(
		PolicyInfo{Kind: "always"},
		PolicyInfo{Kind: "path", When: &When{PathPrefix: "/v1/chat"}},
		PolicyInfo{Kind: "header", When: &When{Headers: []HeaderIs{{"x-team", "legal"}}}},
		PolicyInfo{Kind: "model", When: &When{Models: []string{"m1", "m2"}}},
	)
	header := func(name string) string {
		if strings.EqualFold(name, "x-team") {
			return "legal"
		}
		return ""
	}
	for _, c := range []struct {
		f    Facts
		want Mask
	}{
		{Facts{}, 1},
		{Facts{Path: "/v1/chat/completions"}, 0b11},
		{Facts{Header: header}, 0b101},
		{Facts{Model: "m2", Path: "/v1/models"}, 0b1001},
	} {
		if got := MaskOf(ch.Info(), &c.f); got != c.want {
			t.Errorf("%+v: mask %b, want %b", c.f, got, c.want)
		}
	}
}

type panics struct{ NoSession }

func (panics) Feed([]byte, int, bool, *Findings) int { panic("a secret value") }

func TestPanicOfAPolicyFailsClosed(t *testing.T) {
	var f Findings
	if keep := Feed(panics{}, []byte("text"), 0, false, 10, false, &f); keep != 0 {
		t.Errorf("keep %d, want the text held", keep)
	}
	if len(f.List) != 1 || f.List[0].Action != Block || f.List[0].Entity != ErrorEntity || f.List[0].Start != 10 {
		t.Errorf("%+v", f.List)
	}
	f.Reset()
	if keep := Feed(panics{}, []byte("text"), 0, false, 10, true, &f); keep != 4 || f.List[0].Action != Warn {
		t.Errorf("fail open: keep %d, %+v", keep, f.List)
	}
}

func TestOverlappingRedactionsAreOneEdit(t *testing.T) {
	add := func(f *Findings, start, end int64, policy uint8, text string) {
		f.AddRedaction(finding(start, end, Redact, policy), Block, &Marker{Text: text}, nil)
	}
	text := []byte("0123456789abcdef")
	for _, c := range []struct {
		name string
		make func(f *Findings)
		cut  int64
		want string
	}{
		{"apart", func(f *Findings) { add(f, 1, 3, 0, "A"); add(f, 5, 6, 0, "B") }, -1, "0A34B6789abcdef"},
		{"touching stay two", func(f *Findings) { add(f, 1, 3, 0, "A"); add(f, 3, 6, 0, "B") }, -1, "0AB6789abcdef"},
		{"first start wins", func(f *Findings) { add(f, 1, 4, 1, "A"); add(f, 3, 6, 0, "B") }, -1, "0A6789abcdef"},
		{"then the longest", func(f *Findings) { add(f, 1, 4, 0, "A"); add(f, 1, 6, 1, "B") }, -1, "0B6789abcdef"},
		{"then chain position", func(f *Findings) { add(f, 1, 4, 1, "A"); add(f, 1, 4, 0, "B") }, -1, "0B456789abcdef"},
		{"chained overlaps", func(f *Findings) { add(f, 1, 4, 0, "A"); add(f, 3, 8, 0, "B"); add(f, 7, 9, 0, "C") }, -1, "0A9abcdef"},
		{"cut before", func(f *Findings) { add(f, 1, 3, 0, "A"); add(f, 8, 9, 0, "B") }, 6, "0A345"},
		{"cut inside", func(f *Findings) { add(f, 1, 3, 0, "A"); add(f, 5, 9, 0, "B") }, 7, "0A34B"},
	} {
		var f Findings
		c.make(&f)
		if got := string(ApplyEdits(nil, text, AppendEdits(nil, &f, c.cut), c.cut)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUnitedEditsNeverOverlapAndCoverEveryRedaction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f Findings
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			start := rapid.Int64Range(0, 60).Draw(t, "start")
			f.AddRedaction(finding(start, start+rapid.Int64Range(1, 12).Draw(t, "len"), Redact, uint8(rapid.IntRange(0, 3).Draw(t, "policy"))), Block, &Marker{Text: "x"}, nil)
		}
		edits := AppendEdits(nil, &f, -1)
		for i := range edits {
			if i > 0 && edits[i].Start < edits[i-1].End {
				t.Fatalf("edits %+v overlap", edits)
			}
		}
		for _, g := range f.List {
			in := false
			for _, e := range edits {
				in = in || e.Start <= g.Start && g.End <= e.End
			}
			if !in {
				t.Fatalf("no edit of %+v covers %d-%d", edits, g.Start, g.End)
			}
		}
	})
}

func TestScorerCountsEachGroupOnceAndFiresOnce(t *testing.T) {
	s := Scorer{First: 1, Threshold: 700, Groups: []string{"a", "b"}}
	scores := make([]int32, 7)
	for i, c := range []struct {
		group  uint8
		weight int32
		fires  bool
	}{{0, 300, false}, {0, 300, false}, {0, 200, false}, {1, 300, false}, {0, 400, true}, {1, 900, false}} {
		if got := s.Count(scores, c.group, c.weight, int64(1000*i)); got != c.fires {
			t.Errorf("match %d fires %t, want %t (scores %v)", i, got, c.fires, scores)
		}
	}
	if want := []int32{0, 1300, 1, 400, 900, 4000, 5000}; !reflect.DeepEqual(scores, want) {
		t.Errorf("scores %v, want %v", scores, want)
	}
}

// Evidence that stands further apart than Within does not add up; of a group the strongest counts that is near.
func TestScorerAddsUpWhatStandsCloseTogether(t *testing.T) {
	s := Scorer{Threshold: 700, Within: 100, Groups: []string{"a", "b", "c"}}
	scores := make([]int32, s.numbers())
	for i, c := range []struct {
		group  uint8
		weight int32
		at     int64
		sum    int32
		fires  bool
	}{
		{0, 400, 10, 400, false}, {1, 400, 111, 400, false}, {1, 300, 150, 400, false}, {2, 200, 211, 600, false}, {2, 100, 212, 200, false},
		{1, 300, 213, 500, false}, {0, 200, 312, 500, false}, {0, 100, 312, 500, false}, {2, 300, 313, 800, true}, {1, 900, 314, 1400, false},
	} {
		if got := s.Count(scores, c.group, c.weight, c.at); got != c.fires || scores[0] != c.sum {
			t.Errorf("match %d fires %t with %d, want %t with %d", i, got, scores[0], c.fires, c.sum)
		}
	}
}
