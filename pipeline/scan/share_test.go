package scan

import (
	"slices"
	"testing"
	"unsafe"
)

// Tables that have rules in common share what is the same, built or read from a file, and find what they found.
func TestTablesShareWhatIsTheSame(t *testing.T) {
	common := []Rule{
		{ID: "card", Pattern: `\b4\d{3}(?:[ -]?\d{4}){3}\b`, Span: true},
		{ID: "mail", Pattern: `\b[a-z]+@[a-z]+\.[a-z]{2,}\b`, Span: true},
		{ID: "key", Pattern: `\bghp_[A-Za-z0-9]{36}\b`, Span: true},
	}
	more := append(slices.Clone(common), Rule{ID: "term", Phrase: "ignore all that", Fold: true, Span: true, View: Normalised})
	build := func(rules []Rule) *Tables {
		tb, _, err := Build(rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return tb
	}
	const text = "4111 1111 1111 1111 or a@b.com, ghp_0123456789abcdefghijABCDEFGHIJ012345 and ignore all that."
	a, b := build(common), build(more)
	find := func(tb *Tables) []Match {
		got, _, _ := FeedCut(t, tb, text, []int{20})
		return got
	}
	want := find(b)
	if len(want) != 4 {
		t.Fatalf("%d matches, want 4", len(want))
	}
	file, least := b.AppendBinary(nil), 4*len(a.bundle[0].joint.next)
	saved := b.Share(a)
	if saved < least || saved > b.bytes() {
		t.Errorf("%d bytes shared, want at least the joint automaton's %d and at most all %d", saved, least, b.bytes())
	}
	loaded, err := Load(file, a)
	if err != nil {
		t.Fatal(err)
	}
	other := build([]Rule{{ID: "other", Pattern: `\b5\d{3}(?:[ -]?\d{4}){4}\b`, Span: true}})
	if saved := other.Share(a, b); saved > other.bytes()/2 {
		t.Errorf("%d bytes shared with tables of other rules", saved)
	}
	for _, tb := range []*Tables{b, loaded} {
		if unsafe.SliceData(tb.bundle[0].joint.next) != unsafe.SliceData(a.bundle[0].joint.next) {
			t.Error("the joint automaton is not shared")
		}
		for g := range tb.groups {
			if unsafe.SliceData(tb.next[g]) != unsafe.SliceData(tb.groups[g].next) {
				t.Errorf("group %d is stepped over another table than its own", g)
			}
		}
		if got := find(tb); !slices.Equal(got, want) {
			t.Errorf("matches %v, want %v", got, want)
		}
		if !slices.Equal(tb.AppendBinary(nil), file) {
			t.Error("the file is another one")
		}
	}
}
