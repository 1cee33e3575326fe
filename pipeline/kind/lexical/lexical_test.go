package lexical_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/lexical"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
	"github.com/keeptrusts/kt/schemas"
)

func TestConformance(t *testing.T) {
	for _, k := range lexical.Kinds() {
		t.Run(k.Name(), func(t *testing.T) { kindtest.Run(t, k, "testdata/"+k.Name()+".txtar") })
	}
}

// The cases with fuzzy_matching.
func TestConformanceFuzzy(t *testing.T) {
	for _, k := range lexical.Kinds() {
		cases := "testdata/" + k.Name() + ".fuzzy.txtar"
		if _, err := os.Stat(cases); err != nil {
			continue
		}
		t.Run(k.Name(), func(t *testing.T) { kindtest.Run(t, k, cases) })
	}
}

// Every built-in list of the rulebook belongs to a kind: each entity of a list is declared by one of them.
func TestEveryListIsUsed(t *testing.T) {
	declared := map[string]bool{}
	for _, k := range lexical.Kinds() {
		for _, set := range []func(any){
			func(any) {},
			func(p any) {
				switch p := p.(type) {
				case *lexical.DLPParams:
					p.SensitivityLevel = "high"
				case *lexical.SafetyParams:
					p.Mode = "automotive"
				case *lexical.CaseParams:
					p.DetectPatterns = []string{"case_number", "docket_number", "party_name"}
				case *lexical.StudentParams:
					p.AgeGate = true
				}
			},
			func(p any) {
				if p, ok := p.(*lexical.SafetyParams); ok {
					p.Mode = "education"
				}
			},
			func(p any) {
				if p, ok := p.(*lexical.SafetyParams); ok {
					p.Mode = "law_enforcement"
				}
			},
		} {
			p := k.Params()
			set(p)
			d := &pipeline.Declaration{Has: func(string) bool { return false }}
			k.Declare(p, d)
			for _, e := range d.Entities {
				declared[e.Name] = true
			}
		}
	}
	for _, list := range rulebook.Lists() {
		for _, e := range rulebook.Terms(list) {
			if !declared[e.Entity] {
				t.Errorf("list %s: no kind declares %s", list, e.Entity)
			}
		}
	}
}

// With restricted the secret formats count as well; with high they do not.
func TestRestrictedFindsSecrets(t *testing.T) {
	count := func(level string) int {
		k := lexical.DLPFilter()
		p := k.Params().(*lexical.DLPParams)
		p.SensitivityLevel = level
		d := &pipeline.Declaration{Has: func(string) bool { return false }}
		k.Declare(p, d)
		return len(d.Rules)
	}
	std, high, restricted := count("standard"), count("high"), count("restricted")
	if std != 0 || high == 0 || restricted-high < len(rulebook.Secrets()) {
		t.Errorf("rules: standard %d, high %d, restricted %d", std, high, restricted)
	}
	if n := len(rulebook.Secrets()); n < 295 || n > 325 {
		t.Errorf("%d formats of secrets; the text of sensitivity_level in the schema says some 310", n)
	}
}

// A short word is never matched by a word that shares half of it or less.
func TestFuzzyDistanceIsBoundedByTheWord(t *testing.T) {
	k := lexical.EntityListFilter()
	p := k.Params().(*lexical.EntityListParams)
	p.BlockedEntities, p.FuzzyMatching, p.MaxDistance = []string{"Abc", "Abcdefghij Klmno", "Xy"}, true, 8
	d := &pipeline.Declaration{Has: func(string) bool { return false }}
	k.Declare(p, d)
	for i, want := range [][2]int{{1, 1}, {2, 4}, {0, 0}} {
		r := &d.Rules[i].Rule
		least, most, fault := r.Reach()
		if fault != "" || least != want[0] || most != want[1] || r.Distance != most || r.Half != (most > 0) {
			t.Errorf("%s: distances %d to %d (%s), want %d to %d: %+v", r.Phrase, least, most, fault, want[0], want[1], r)
		}
	}
	want := `less than max_distance 8 here: "Abc" within 1, "Abcdefghij Klmno" within 2 to 4, "Xy" as written`
	if len(d.Faults) != 1 || !strings.HasSuffix(d.Faults[0].Message, want) {
		t.Errorf("faults %+v, want one that ends with %s", d.Faults, want)
	}
}

// What cannot be a fuzzy term is matched as it is written, and lint says so.
func TestTermsThatCannotBeFuzzyStayExact(t *testing.T) {
	k := lexical.EntityListFilter()
	p := k.Params().(*lexical.EntityListParams)
	p.BlockedEntities = []string{"***", strings.Repeat("ab ", 25), strings.Repeat("x", 49), "Acme"}
	p.FuzzyMatching = true
	d := &pipeline.Declaration{Has: func(string) bool { return false }}
	k.Declare(p, d)
	for i, want := range []int{0, 0, 0, 1} {
		if got := d.Rules[i].Rule.Distance; got != want {
			t.Errorf("%s: distance %d, want %d", d.Rules[i].Rule.Phrase, got, want)
		}
	}
	want := `matched as they are written: "***", "ab ab ab ab ab ab ab ab ab ab ab ab a...", "` + strings.Repeat("x", 37) + `..."`
	if len(d.Faults) != 1 || !strings.HasSuffix(d.Faults[0].Message, want) {
		t.Errorf("faults %+v, want one that ends with %s", d.Faults, want)
	}
	var rules []scan.Rule
	for i := range d.Rules {
		rules = append(rules, d.Rules[i].Rule)
	}
	if _, _, err := scan.Build(rules, scan.Options{}); err != nil {
		t.Error(err)
	}
}

// A term of the longest length that the schema takes can be used, whatever its letters.
func TestLongTermsFit(t *testing.T) {
	c := kindtest.Chain(t, "policies: {chain: [dlp-filter]}\npolicy:\n  dlp-filter: {blocked_terms: ['"+strings.Repeat("é", 512)+"']}\n")
	o := kindtest.Piece(t, c, pipeline.InputText, kindtest.Everything, []byte("x "+strings.Repeat("é", 512)+" y"), nil)
	if o.Text != "x [REDACTED:DLP_TERM] y" {
		t.Error(o)
	}
}

// The field that is not built says so, in the schema and so on the page.
func TestMaxAgeIsRefusedAsTheSchemaSays(t *testing.T) {
	k := lexical.SafetyFilter()
	p := k.Params().(*lexical.SafetyParams)
	p.MaxAge = 13
	d := &pipeline.Declaration{Has: func(path string) bool { return path == "max_age" }}
	k.Declare(p, d)
	if len(d.Faults) != 1 || d.Faults[0].Code != pipeline.FaultNotBuilt {
		t.Errorf("faults %+v", d.Faults)
	}
	raw, _ := schemas.Kind(k.Name())
	var s struct {
		Properties map[string]struct{ Description string }
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if text := s.Properties["max_age"].Description; !strings.HasSuffix(text, "Not built: every value but 0 is refused (KT2003).") {
		t.Errorf("the schema says of max_age: %s", text)
	}
}
