package lexical_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/lexical"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

// ordinary is text in which words stand that are near built-in phrases.
var ordinary = []string{
	"I have a question about my invoice.",
	"Halves and quarters, trials and tries.",
	"He was born in 1980.",
	"Open port 8080 and hand me the keys.",
	"setting the table, texting a friend",
	"Facing the wind, she kept the setting sun at her back and my wife drove home.",
	"saving the string",
	"An inspiration for every controller.",
	"The topographic and the photographic record, the demographic one too.",
	"Street facing windows; the lighter aircraft; a sealed warranty; facial profiling.",
	"How the log: the force of a connection crossed the threshold.",
	"The woman asked for a refund.",
	"Two women, one table.",
	"Roman numerals on satin, a sari from Marin county.",
	"Martin was rising early to cook rice with soap-free hands.",
	"An octagon of worship, and line by line the land line.",
	"A hand mine, the index idx, rwx and ECC.",
}

// With fuzzy_matching the built-in lists leave ordinary text alone, whatever the distance.
func TestFuzzyBuiltInsLeaveOrdinaryTextAlone(t *testing.T) {
	for _, policy := range []string{
		"safety-filter: {mode: critical_infrastructure", "safety-filter: {mode: automotive", "safety-filter: {mode: education",
		"safety-filter: {mode: law_enforcement", "itar-ear-filter: {action: block", "dlp-filter: {action: block, sensitivity_level: restricted",
	} {
		for _, distance := range []int{1, 2, 4, 8} {
			kind, _, _ := strings.Cut(policy, ":")
			c := kindtest.Chain(t, fmt.Sprintf("policies: {chain: [%s]}\npolicy:\n  %s, fuzzy_matching: true, max_distance: %d}\n", kind, policy, distance))
			for _, text := range ordinary {
				if o := kindtest.Piece(t, c, pipeline.InputText, kindtest.Everything, []byte(text), nil); len(o.Findings) > 0 {
					t.Errorf("%s, distance %d: %q gives %v", policy, distance, text, o.Findings)
				}
			}
		}
	}
}

// Long built-in words and phrases are found misspelt, short ones as written.
func TestFuzzyBuiltIns(t *testing.T) {
	for _, x := range []struct {
		policy, text, want string
	}{
		{"safety-filter: {mode: law_enforcement, fuzzy_matching: true}", "a chokehald", "block"},
		{"safety-filter: {mode: law_enforcement, fuzzy_matching: true}", "a warantless serch", "block"},
		{"safety-filter: {mode: education, fuzzy_matching: true}", "hentai", "block"},
		{"safety-filter: {mode: education, fuzzy_matching: true}", "hentay", "allow"},
		{"safety-filter: {mode: critical_infrastructure, fuzzy_matching: true}", "run havex", "block"},
		{"safety-filter: {mode: critical_infrastructure, fuzzy_matching: true}", "run industroier", "block"},
		{"itar-ear-filter: {fuzzy_matching: true}", "a balistic misssile", "block"},
		{"itar-ear-filter: {fuzzy_matching: true}", "a ballistik misille", "allow"},
		{"itar-ear-filter: {fuzzy_matching: true}", "sarin", "block"},
		{"itar-ear-filter: {fuzzy_matching: true, max_distance: 2}", "cyclotetrametylenetetranitramin", "block"},
		{"itar-ear-filter: {fuzzy_matching: true, max_distance: 2, blocked_terms: [soman]}", "somman", "block"}, // an own term
	} {
		kind, _, _ := strings.Cut(x.policy, ":")
		c := kindtest.Chain(t, fmt.Sprintf("policies: {chain: [%s]}\npolicy:\n  %s\n", kind, x.policy))
		o := kindtest.Piece(t, c, pipeline.InputText, kindtest.Everything, []byte(x.text), nil)
		if got, _, _ := strings.Cut(o.Decision, " "); got != x.want {
			t.Errorf("%s: %q is %s, want %s", x.policy, x.text, got, x.want)
		}
	}
}

// Lint says which part of a built-in list is fuzzy, and within how many edits.
func TestFuzzyBuiltInsAreNoted(t *testing.T) {
	for _, x := range []struct {
		on   bool
		mode string
		want string
	}{
		{false, "education", ""},
		{true, "education", `of the 89 built-in phrases and patterns are found as written only; long enough to be found misspelt are "thinspiration" within 1, "pornography" within 1, "pornographic" within 1, "onlyfans" within 1`},
		{true, "automotive", `misspelt are "odometer rollback" within 1, "odometer tampering" within 1`},
	} {
		k := lexical.SafetyFilter()
		p := k.Params().(*lexical.SafetyParams)
		p.FuzzyMatching, p.MaxDistance, p.Mode = x.on, 2, x.mode
		d := &pipeline.Declaration{Has: func(string) bool { return false }}
		k.Declare(p, d)
		if x.want == "" && len(d.Faults) == 0 {
			continue
		}
		if len(d.Faults) != 1 || d.Faults[0].Code != pipeline.FaultPartly || d.Faults[0].Path != "fuzzy_matching" || !strings.HasSuffix(d.Faults[0].Message, x.want) {
			t.Errorf("%s, fuzzy %v: %+v", x.mode, x.on, d.Faults)
		}
	}
}

// Entries of block_if that are plain text are terms, fuzzy as other own terms are; lint names the others.
func TestFuzzyBlockIf(t *testing.T) {
	chain := func(list, fuzzy string) pipeline.Chain {
		return kindtest.Chain(t, "policies: {chain: [safety-filter]}\npolicy:\n  safety-filter: {block_if: ["+list+"]"+fuzzy+"}\n")
	}
	on := ", fuzzy_matching: true, max_distance: 2"
	for _, x := range []struct {
		list, fuzzy, text, want string
	}{
		{"vape shop", on, "the vape shp", "block"},
		{"vape shop", on, "the vape shop", "block"},
		{"vape shop", on, "two vape shops", "block"},
		{"vape shop", on, "vapeshopping in the vape shopping mall", "block"}, // the pattern stays
		{"vape shop", on, "the Vap Shop", "block"},
		{"vape shop", on, "tape shoe", "block"},
		{"vape shop", on, "the shape of a shop", "allow"},
		{"(?i)contraband", on, "CONTREBANT", "block"},
		{"vap[eo] shop", on, "the vape shp", "allow"},
		{"vap[eo] shop", on, "the vapo shop", "block"},
		{"vape shop", "", "the vape shp", "allow"},
		{"vape shop", "", "the Vape Shop", "block"}, // a term, in any case
		{"vape shop", "", "VAPE\nSHOP", "block"},
		{"vape shop", "", "vapeshop", "allow"},
		{"vape shop", ", fuzzy_matching: true, max_distance: 0", "the Vape Shop", "block"},
		{"vap[eo] shop", "", "the Vapo Shop", "allow"}, // a pattern is read as written
	} {
		o := kindtest.Piece(t, chain("'"+x.list+"'", x.fuzzy), pipeline.InputText, kindtest.Everything, []byte(x.text), nil)
		if got, _, _ := strings.Cut(o.Decision, " "); got != x.want {
			t.Errorf("%s%s: %q is %s, want %s", x.list, x.fuzzy, x.text, got, x.want)
		}
	}
	k := lexical.SafetyFilter()
	p := k.Params().(*lexical.SafetyParams)
	p.FuzzyMatching, p.MaxDistance, p.BlockIf = true, 2, []string{"vape shop", "(?i)contraband", "vap[eo] shop", "_", "-"}
	d := &pipeline.Declaration{Has: func(string) bool { return false }}
	k.Declare(p, d)
	var said []string
	for _, f := range d.Faults {
		if f.Code == pipeline.FaultPartly && f.Path == "block_if" {
			said = append(said, f.Message)
		}
	}
	want := []string{`max_distance 2 here: "vape shop" within 1, "_" as written`, `as they are written: "-"`, `as they are written: "vap[eo] shop"`}
	if len(said) != len(want) {
		t.Fatalf("notes %q", said)
	}
	for i := range want {
		if !strings.HasSuffix(said[i], want[i]) {
			t.Errorf("note %q, want one that ends with %q", said[i], want[i])
		}
	}
}
