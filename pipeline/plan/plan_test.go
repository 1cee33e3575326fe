package plan_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/internal/golden"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/plan"
)

const quickLaunch = `pack:
  name: quick-launch
  version: 0.1.0
  enabled: true
providers:
  targets:
    - id: openai-primary
      provider: openai
      model: gpt-5.4-mini
      base_url: https://api.openai.com
      secret_key_ref:
        env: OPENAI_API_KEY
policies:
  chain:
    - prompt-injection
    - audit-logger
policy:
  prompt-injection:
    threshold: 0.8
    action: block
  audit-logger:
    retention_days: 30
`

func TestQuickLaunchBuilds(t *testing.T) {
	p := kindtest.Plan(t, quickLaunch)
	if p.Info.Pack != "quick-launch" || p.Info.Version != "0.1.0" || len(p.Policies) != 2 {
		t.Fatalf("%+v", p.Info)
	}
	if p.Info.Require.AuditRetentionDays != 30 {
		t.Errorf("requirements %+v", p.Info.Require)
	}
	for c, want := range map[pipeline.Class]bool{pipeline.InputText: true, pipeline.InputTool: true, pipeline.OutputText: false, pipeline.OutputTool: false} {
		if got := p.Classes[c] != nil; got != want {
			t.Errorf("%s: policies look %t, want %t", c, got, want)
		}
	}
	if p.Classes[pipeline.InputText] != p.Classes[pipeline.InputTool] {
		t.Error("equal rules are not shared")
	}
	if s := p.Classes[pipeline.InputText].Spec.Scorers; len(s) != 1 || s[0].Threshold != 800 || s[0].Action != pipeline.Block {
		t.Errorf("scorers %+v", s)
	}
	if at := p.Info.Policies[0]; at.Line != 15 || at.File != "policy-config.yaml" {
		t.Errorf("prompt-injection stands at %s:%d", at.File, at.Line)
	}
}

func TestDigestNamesWhatIsEnforced(t *testing.T) {
	base := kindtest.Plan(t, quickLaunch).Info.Digest
	if len(base) != 64 {
		t.Fatalf("digest %q", base)
	}
	same := map[string]string{
		"another target":     strings.Replace(quickLaunch, "gpt-5.4-mini", "other", 1),
		"a default spelled":  strings.Replace(quickLaunch, "retention_days: 30", "retention_days: 30\n    immutable: true", 1),
		"another pack name":  strings.Replace(quickLaunch, "quick-launch", "slow-launch", 1),
		"comments and order": "# hello\n" + quickLaunch,
	}
	for name, y := range same {
		if got := kindtest.Plan(t, y).Info.Digest; got != base {
			t.Errorf("%s changes the digest", name)
		}
	}
	other := map[string]string{
		"threshold": strings.Replace(quickLaunch, "0.8", "0.81", 1),
		"action":    strings.Replace(quickLaunch, "action: block", "action: log", 1),
		"retention": strings.Replace(quickLaunch, "days: 30", "days: 31", 1),
		"chain":     strings.Replace(quickLaunch, "    - audit-logger\n", "    - audit-logger\n    - pii-detector\n", 1),
		"condition": strings.Replace(quickLaunch, "- prompt-injection\n", "- prompt-injection: {when: {path: /v1}}\n", 1),
	}
	for name, y := range other {
		if got := kindtest.Plan(t, y).Info.Digest; got == base {
			t.Errorf("a change of the %s keeps the digest", name)
		}
	}
}

func TestStageLimitsWherePoliciesLook(t *testing.T) {
	p := kindtest.Plan(t, "policies:\n  chain:\n    - pii-detector: {stage: pre-response}\n")
	if p.Classes[pipeline.InputText] != nil || p.Classes[pipeline.OutputText] == nil {
		t.Error("stage pre-response does not leave the answer alone")
	}
}

func TestSameKindTwiceUnderConditions(t *testing.T) {
	p := kindtest.Plan(t, "policies:\n  chain:\n    - pii-detector: {when: {model: [a]}}\n    - pii-detector: {when: {model: [b], header: {X-Team: legal}}}\n")
	cl := p.Classes[pipeline.OutputText]
	if cl.Spec.Policies != 3 {
		t.Errorf("policies %b", cl.Spec.Policies)
	}
	kindtest.Engine(t, p)
	w := p.Info.Policies[1].When
	if !w.Holds(&pipeline.Facts{Model: "b", Header: func(string) string { return "legal" }}) || w.Holds(&pipeline.Facts{Model: "b"}) {
		t.Errorf("condition %+v", w)
	}
	for i := range cl.Spec.Rules {
		if i > 0 && cl.Spec.Rules[i].Policy < cl.Spec.Rules[i-1].Policy {
			t.Fatal("rules are not ordered by policy")
		}
	}
}

// Each section of testdata/diagnostics.txtar is a configuration with a fault
// of policy semantics; its golden is what is printed.
func TestDiagnostics(t *testing.T) {
	b, err := os.ReadFile("testdata/diagnostics.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse(b).Files {
		t.Run(f.Name, func(t *testing.T) {
			built := config.AllBuilt()
			head := "pack: {name: t, version: 0.1.0}\nproviders: {targets: [{id: t, provider: openai, model: m, secret_key_ref: {env: K}}]}\n"
			cfg, diags := config.Load([]config.Source{{Name: "policy-config.yaml", Data: []byte(head + string(f.Data))}}, config.Options{Built: &built})
			if cfg != nil {
				var more = diags
				var p *plan.Plan
				p, diags = plan.Build(cfg)
				if p != nil && strings.HasPrefix(f.Name, "pattern-") {
					_, engine := p.Engine()
					diags = append(diags, engine...)
				}
				diags = append(diags, more...)
				diags.Sort()
			}
			golden.Compare(t, filepath.Join("testdata", f.Name+".golden"), []byte(diags.Text()))
		})
	}
}

func TestDumpNamesEveryRule(t *testing.T) {
	p := kindtest.Plan(t, quickLaunch)
	d := p.Dump()
	for _, want := range []string{"pack quick-launch 0.1.0", p.Info.Digest, "policy 0 prompt-injection (policy-config.yaml:15)", "input_tool: as input_text", "output_text: no policy looks", "800/1000 within 1024 bytes -> block"} {
		if !strings.Contains(d, want) {
			t.Errorf("the dump does not say %q", want)
		}
	}
	for i := range p.Classes[pipeline.InputText].Spec.Rules {
		if id := p.Classes[pipeline.InputText].Spec.Rules[i].ID; !strings.Contains(d, "  "+id+": ") {
			t.Errorf("the dump does not name %s", id)
		}
	}
}

// TestBuildTakesTheRestOfFaultyConfigurations: lint plans what config.Examine
// leaves, whatever the faults were.
func TestBuildTakesTheRestOfFaultyConfigurations(t *testing.T) {
	paths, err := filepath.Glob("../../internal/config/testdata/bad/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("archives: %v, %v", paths, err)
	}
	for _, path := range paths {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var files []config.Source
		for _, f := range ar.Files {
			if f.Name != "want" {
				files = append(files, config.Source{Name: f.Name, Data: f.Data})
			}
		}
		if cfg, _, _ := config.Examine(files, config.Options{}); cfg != nil {
			plan.Build(cfg)
		}
	}
	// Values that the schema refuses never reach a kind.
	text := `pack: {name: x, version: 0.1.0}
policies: {chain: [entity-list-filter, prompt-injection, safety-filter, pii-detector]}
policy:
  entity-list-filter: {blocked_entities: [7, "", abc], max_distance: 1000000000, fuzzy_matching: true}
  prompt-injection: {threshold: 1.8, detection: 7, response: {action: nothing}}
  safety-filter: {mode: 3, block_if: {a: b}}
  pii-detector: {redaction: {custom_markers: {EMAIL: 7}, marker_format: x}}
`
	cfg, whole, known := config.Examine([]config.Source{{Name: "policy-config.yaml", Data: []byte(text)}}, config.Options{})
	if whole || cfg == nil {
		t.Fatalf("whole %v, config %v", whole, cfg)
	}
	_, list := plan.Build(cfg)
	for _, d := range list.Filter(diag.Error) {
		if !slices.ContainsFunc(known, func(k diag.Diagnostic) bool { return k.Line == d.Line && k.Column == d.Column }) {
			t.Errorf("what is left has a fault of its own: %v", d)
		}
	}
}

// TestPatternsOfOtherLanguagesGetAHint: what RE2 lacks is named.
func TestPatternsOfOtherLanguagesGetAHint(t *testing.T) {
	for pattern, want := range map[string]string{
		`secret(?=x)`: "no look-ahead", `(?<!a)b`: "no look-ahead", `(a)\1`: "no back-references", `x{1,2000}`: "at most 1000", `(abc`: `written \( or`,
		`*abc`: `written \*`, `[[:foo:]]`: "classes are",
	} {
		text := "pack: {name: x, version: 0.1.0}\npolicies: {chain: [dlp-filter]}\npolicy: {dlp-filter: {detect_patterns: ['" + pattern + "']}}\n"
		cfg, list := config.Load([]config.Source{{Name: "policy-config.yaml", Data: []byte(text)}}, config.Options{})
		if cfg == nil {
			t.Fatalf("%s: %s", pattern, list.Text())
		}
		_, list = plan.Build(cfg)
		if errs := list.Filter(diag.Error); len(errs) != 1 || errs[0].Code != diag.BadPattern || !strings.Contains(errs[0].Hint, want) {
			t.Errorf("%s: %s", pattern, list.Text())
		}
	}
}

// Explain says the same twice, in figures that add up, and names what rules of the configuration stand for.
func TestExplainAddsUp(t *testing.T) {
	const text = "policies:\n  chain: [dlp-filter, prompt-injection]\npolicy:\n  dlp-filter: {blocked_terms: [bluefin, 'night  owl'], detect_patterns: ['tok_[a-z]{8}', '[a-z]+@example\\.com']}\n"
	p := kindtest.Plan(t, text)
	e := kindtest.Engine(t, p)
	x := p.Explain(e)
	other := kindtest.Plan(t, text)
	if again := other.Explain(kindtest.Engine(t, other)); again != x {
		t.Errorf("explain differs:\n%s\n%s", x, again)
	}
	golden.Compare(t, "testdata/explain.golden", []byte(noFigures(x)))
	costs := p.Costs(e)
	rules, memory := 0, 0
	for c, cost := range costs.Classes {
		if cost.As != "" {
			if len(cost.Rules) > 0 {
				t.Errorf("%s: rules of %s", cost.Class, cost.As)
			}
			continue
		}
		rules, memory = rules+len(cost.Rules), memory+cost.MemoryBytes-cost.SharedBytes
		own, hold := 0, 0
		for i, r := range cost.Rules {
			own, hold = own+r.Bytes, max(hold, r.LongestHold)
			if spec := p.Classes[c].Spec.Rules[i]; r.Rule != spec.ID || r.Text != "" && r.Text != spec.Pattern+spec.Phrase || (r.Text != "") != strings.HasPrefix(r.Rule, "dlp-filter/") {
				t.Errorf("%s: %q is %q", cost.Class, r.Rule, r.Text)
			}
		}
		if own > cost.MemoryBytes || hold != cost.LongestHold {
			t.Errorf("%s: rules take %d of %d bytes; the longest hold-back is %d, not %d", cost.Class, own, cost.MemoryBytes, hold, cost.LongestHold)
		}
	}
	if rules != costs.Rules || memory != costs.MemoryBytes {
		t.Errorf("%d rules in %d bytes, the sums are %d and %d", costs.Rules, costs.MemoryBytes, rules, memory)
	}
}

// noFigures leaves the lines of the configuration's rules, and numbers of bytes out that change with the rulebook.
func noFigures(x string) string {
	var out []string
	for line := range strings.Lines(x) {
		if strings.HasPrefix(line, "  prompt-injection/") {
			continue
		}
		if !strings.HasPrefix(line, "  dlp-filter/") {
			line = regexp.MustCompile(`[0-9][0-9,]*( rules| bytes of tables| bytes in| of them)|( +)[0-9]+\n`).ReplaceAllString(line, "N$1")
		}
		out = append(out, strings.TrimRight(line, "\n"))
	}
	return strings.Join(out, "\n") + "\n"
}
