package lexical_test

import (
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/lexical"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/plan"
)

// What the built-in list leaves out is noted where the policy's own markers do not bring it back, and max_distance with
// its default is no setting without effect.
func TestNotesOfLists(t *testing.T) {
	for params, want := range map[string]string{
		"legal-privilege: {}": "KT2108",
		"legal-privilege: {privilege_markers: [Legal Advice]}":                        "KT2108",
		"legal-privilege: {privilege_markers: [Legal Advice, work, attorney-client]}": "",
		"entity-list-filter: {blocked_entities: [x], max_distance: 1}":                "",
		"entity-list-filter: {blocked_entities: [x], max_distance: 2}":                "KT2109",
		"safety-filter: {fuzzy_matching: false, max_distance: 1, max_age: 0}":         "",
		"itar-ear-filter: {fuzzy_matching: false, max_distance: 0}":                   "KT2109",
	} {
		kind, _, _ := strings.Cut(params, ":")
		p, diags := plan.Build(kindtest.Config(t, "policies: {chain: ["+kind+"]}\npolicy:\n  "+params+"\n"))
		var codes []string
		for _, d := range diags {
			codes = append(codes, string(d.Code))
		}
		if p == nil || strings.Join(codes, " ") != want {
			t.Errorf("%s: %q, want %q\n%s", params, codes, want, diags.Text())
		}
	}
}

// The name of a category where a pattern belongs finds the word itself, and lint says so.
func TestNamesOfCategoriesAreWarnedOf(t *testing.T) {
	for params, want := range map[string]string{
		"mnpi-filter: {detect_patterns: [earnings_preview, '(?i)tender offer draft', falcon]}": "detect_patterns/0",
		"safety-filter: {block_if: [vape shop, self_harm, '[a-z]_[a-z]', A_B]}":                "block_if/1",
		"mnpi-filter: {detect_patterns: ['project_[a-z]+']}":                                   "",
	} {
		kind, _, _ := strings.Cut(params, ":")
		p, diags := plan.Build(kindtest.Config(t, "policies: {chain: ["+kind+"]}\npolicy:\n  "+params+"\n"))
		var at []string
		for _, d := range diags {
			if d.Code == "KT2102" {
				at = append(at, strings.TrimPrefix(d.Pointer, "/policy/"+kind+"/"))
			}
		}
		if p == nil || strings.Join(at, " ") != want {
			t.Errorf("%s: warned at %q, want %q\n%s", params, at, want, diags.Text())
		}
	}
}

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
