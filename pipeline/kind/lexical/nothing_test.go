package lexical_test

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/lexical"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/plan"
)

// A policy that finds nothing says so.
func TestAPolicyThatFindsNothingIsWarnedOf(t *testing.T) {
	for _, k := range []struct {
		kind, params string
		warned       bool
	}{
		{"dlp-filter", "{}", true},
		{"dlp-filter", "{sensitivity_level: standard, action: block}", true},
		{"dlp-filter", "{sensitivity_level: high}", false},
		{"dlp-filter", "{blocked_terms: [bluefin]}", false},
		{"dlp-filter", "{detect_patterns: ['tok_[a-z]{9}']}", false},
		{"case-privacy", "{detect_patterns: []}", true},
		{"case-privacy", "{}", false},
		{"entity-list-filter", "{}", true},
		{"dual-use-filter", "{}", true},
	} {
		p, diags := plan.Build(kindtest.Config(t, "policies:\n  chain: ["+k.kind+"]\npolicy:\n  "+k.kind+": "+k.params+"\n"))
		n := 0
		for _, d := range diags {
			if d.Code == "KT2105" {
				n++
			}
		}
		if p == nil || n > 1 || (n == 1) != k.warned {
			t.Errorf("%s %s: %d warnings\n%s", k.kind, k.params, n, diags.Text())
		}
	}
	for _, k := range lexical.Kinds() { // with its defaults
		d := &pipeline.Declaration{Has: func(string) bool { return false }}
		k.Declare(k.Params(), d)
		warned := false
		for _, f := range d.Faults {
			warned = warned || f.Code == pipeline.FaultNoEffect
		}
		if warned != (len(d.Rules) == 0) {
			t.Errorf("%s: %d rules, warned %v", k.Name(), len(d.Rules), warned)
		}
	}
}
