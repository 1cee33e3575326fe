package all_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/all"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// ownFields are the fields with regular expressions of the configuration.
var ownFields = map[string]string{
	"dlp-filter":       "detect_patterns: [%s]",
	"mnpi-filter":      "detect_patterns: [%s]",
	"pii-detector":     "detect_patterns: [%s]",
	"prompt-injection": "detection: {attack_patterns: [%s]}",
	"safety-filter":    "block_if: [%s]",
}

// TestOwnPatternsFindLongValues: an own pattern finds values of up to the longest match, in every kind that takes any.
func TestOwnPatternsFindLongValues(t *testing.T) {
	body := strings.Repeat("abcd efgh\n", 170)
	words := map[string]string{
		"tok_[a-z0-9]+":     "tok_" + strings.Repeat("a", 700),
		"tik_[a-z0-9]{4,}":  "tik_" + strings.Repeat("a", scan.MaxCap-4),
		"q-[a-z]+END":       "q-" + strings.Repeat("b", 600) + "END",
		"x{900}":            strings.Repeat("x", 900),
		"#BEGIN#[^#]+#END#": "#BEGIN#" + body + "#END#",
	}
	list := "'" + strings.Join(slices.Sorted(maps.Keys(words)), "', '") + "'"
	for kind, field := range ownFields {
		c := kindtest.Chain(t, fmt.Sprintf("policies: {chain: [%s]}\npolicy:\n  %s: {%s}\n", kind, kind, fmt.Sprintf(field, list)))
		for pattern, word := range words {
			o := kindtest.Piece(t, c, pipeline.InputText, kindtest.Everything, []byte("see "+word+" now"), nil)
			found := false
			for _, f := range o.Findings {
				found = found || strings.Contains(f, fmt.Sprintf(" 4-%d", 4+len(word)))
			}
			if !found {
				t.Errorf("%s %s: %.300v", kind, pattern, o)
			}
		}
	}
}

// TestEveryOwnPatternHasTheLargestCap, so that a kind that comes later does not forget it.
func TestEveryOwnPatternHasTheLargestCap(t *testing.T) {
	n := 0
	for _, k := range all.Kinds() {
		field := ownFields[k.Name()]
		if field == "" {
			continue
		}
		p := kindtest.Plan(t, fmt.Sprintf("policies: {chain: [%s]}\npolicy:\n  %s: {%s}\n", k.Name(), k.Name(), fmt.Sprintf(field, `'zq[0-9]zq'`)))
		for _, r := range p.Classes[pipeline.InputText].Spec.Rules {
			if r.Pattern != "zq[0-9]zq" {
				continue
			}
			n++
			if r.Cap != scan.MaxCap {
				t.Errorf("%s: cap %d", r.ID, r.Cap)
			}
		}
	}
	if n != len(ownFields)+1 { // prompt-injection reads it in two views
		t.Errorf("%d patterns were looked at", n)
	}
}
