package pipeline

import (
	"cmp"
	"slices"
)

// Edit is one united redaction: the text from Start to End is replaced by Text.
type Edit struct {
	Start, End int64
	Text       []byte
}

// AppendEdits appends the united edits of a channel's findings to dst, in the
// order of their starts. Redactions that overlap are one edit under the
// replacement of the one that starts first, then the longest, then by chain
// position, then by rule. Edits that start at cut or behind are left out
// (a terminal finding's start; negative = no cut).
// The texts are valid until f is reset.
func AppendEdits(dst []Edit, f *Findings, cut int64) []Edit {
	first := len(dst)
	var order []int
	for i := range f.List {
		g := &f.List[i]
		if g.Action == Redact && (cut < 0 || g.Start < cut) {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &f.List[i], &f.List[j]
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Rule, b.Rule))
	})
	for _, i := range order {
		g := &f.List[i]
		if n := len(dst); n > first && g.Start < dst[n-1].End {
			dst[n-1].End = max(dst[n-1].End, g.End)
			continue
		}
		dst = append(dst, Edit{Start: g.Start, End: g.End, Text: f.Replacement(i)})
	}
	return dst
}

// ApplyEdits appends text with the edits done to dst; what stands at cut or
// behind is left out unless an edit that starts before it covers it
// (negative = no cut).
func ApplyEdits(dst, text []byte, edits []Edit, cut int64) []byte {
	end := int64(len(text))
	if cut >= 0 {
		end = min(end, cut)
	}
	at := int64(0)
	for _, e := range edits {
		dst = append(dst, text[at:e.Start]...)
		dst = append(dst, e.Text...)
		at = e.End
	}
	if at < end {
		dst = append(dst, text[at:end]...)
	}
	return dst
}
