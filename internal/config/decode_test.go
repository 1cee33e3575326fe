package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

type upper string

func (u *upper) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("parse upper: empty")
	}
	*u = upper(strings.ToUpper(string(b)))
	return nil
}

type redaction struct {
	MarkerFormat   string            `json:"marker_format"`
	PreserveLength bool              `json:"preserve_length"`
	CustomMarkers  map[string]string `json:"custom_markers"`
}

type params struct {
	Action         upper     `json:"action"`
	PCIMode        bool      `json:"pci_mode"`
	DetectPatterns []string  `json:"detect_patterns"`
	Redaction      redaction `json:"redaction"`
	Optional       *bool     `json:"healthcare_mode"`
}

const piiHead = "pack: {name: x, version: 0.1.0}\nproviders: {targets: [{id: a, provider: openai, model: m}]}\npolicies: {chain: [pii-detector]}\npolicy:\n  pii-detector:\n"

func TestDecodeKeepsDefaultsAndFillsTheRest(t *testing.T) {
	cfg := mustLoad(t, piiHead+"    action: block\n    detect_patterns: ['EMP-\\d{6}']\n    redaction: {preserve_length: true, custom_markers: {email: '[E]'}}\n    healthcare_mode: false\n")
	got := params{PCIMode: true, Redaction: redaction{MarkerFormat: "label"}}
	if diags := cfg.Policy["pii-detector"].Decode(&got); len(diags) != 0 {
		t.Fatal(diags.Text())
	}
	no := false
	want := params{Action: "BLOCK", PCIMode: true, DetectPatterns: []string{`EMP-\d{6}`}, Optional: &no,
		Redaction: redaction{MarkerFormat: "label", PreserveLength: true, CustomMarkers: map[string]string{"email": "[E]"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("params (-want +got):\n%s", diff)
	}
}

func TestDecodeOfAnAbsentBlockChangesNothing(t *testing.T) {
	cfg := mustLoad(t, piiHead)
	got := params{Action: "REDACT"}
	for _, v := range []config.Value{{}, cfg.Policy["rbac"], cfg.Policy["pii-detector"], cfg.Root().Path("a", "b", "c")} {
		if diags := v.Decode(&got); len(diags) != 0 {
			t.Error(diags.Text())
		}
	}
	if got.Action != "REDACT" {
		t.Errorf("params = %+v", got)
	}
}

func TestDecodeNamesThePlaceOfEveryFault(t *testing.T) {
	cfg := mustLoad(t, piiHead+"    action: redact\n    pci_mode: true\n    detect_patterns: [a, b]\n    redaction: {marker_format: label}\n")
	var wrong struct {
		Action         int      `json:"action"`
		PCIMode        string   `json:"pci_mode"`
		DetectPatterns []uint8  `json:"detect_patterns"`
		Redaction      []string `json:"redaction"`
	}
	var got []string
	for _, d := range cfg.Policy["pii-detector"].Decode(&wrong) {
		got = append(got, d.Error())
	}
	want := []string{
		`policy-config.yaml:6:13: error KT1102: action must be a whole number; got "redact"`,
		`policy-config.yaml:7:15: error KT1102: pci_mode must be a string; got true`,
		`policy-config.yaml:8:23: error KT1102: detect_patterns[0] must be a whole number that is not negative; got "a"`,
		`policy-config.yaml:8:26: error KT1102: detect_patterns[1] must be a whole number that is not negative; got "b"`,
		`policy-config.yaml:9:5: error KT1102: redaction must be a list; got a map`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s", diff)
	}
	var few struct {
		Act string `json:"actions"`
	}
	text := cfg.Policy["pii-detector"].Decode(&few).Text()
	if !strings.Contains(text, `6:5: error KT1101: unknown key "action"`) || !strings.Contains(text, "hint: did you mean actions?") {
		t.Errorf("unknown keys:\n%s", text)
	}
}

func TestValuesKnowPointerAndPlace(t *testing.T) {
	cfg := mustLoad(t, piiHead+"    detect_patterns:\n      - a\n      - 'b c'\n    redaction: {custom_markers: {\"a/b~c\": x}}\n")
	pii := cfg.Policy["pii-detector"]
	for _, c := range []struct {
		v          config.Value
		ptr, place string
	}{
		{pii, "/policy/pii-detector", "policy-config.yaml:5:3"},
		{pii.Get("detect_patterns").Index(1), "/policy/pii-detector/detect_patterns/1", "policy-config.yaml:8:9"},
		{pii.At("/redaction/custom_markers/a~1b~0c"), "/policy/pii-detector/redaction/custom_markers/a~1b~0c", "policy-config.yaml:9:43"},
		{pii.At("/detect_patterns/7/x"), "/policy/pii-detector/detect_patterns", "policy-config.yaml:6:5"},
		{pii.At(""), "/policy/pii-detector", "policy-config.yaml:5:3"},
	} {
		if c.v.Pointer() != c.ptr || c.v.Pos().String() != c.place {
			t.Errorf("%s at %s, want %s at %s", c.v.Pointer(), c.v.Pos(), c.ptr, c.place)
		}
	}
	d := pii.Get("detect_patterns").Index(1).Diag("KT2101", 0, "m", "")
	if d.Excerpt != "      - 'b c'" || d.Column != 9 || d.EndColumn != 14 {
		t.Errorf("diagnostic %+v", d)
	}
	if pii.Get("nope").Exists() || pii.Get("nope").Pointer() != "/policy/pii-detector/nope" {
		t.Errorf("absent value %+v", pii.Get("nope"))
	}
}

// TestAnyTextSurvivesTheMergedForm writes random texts into values and keys
// and reads the two printed forms back.
func TestAnyTextSurvivesTheMergedForm(t *testing.T) {
	built := config.AllBuilt()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.StringMatching(`[-?:,\[\]{}#&*!|>'"%@~ a-z0-9.\n]{0,12}`)), 1, 6).Draw(t, "texts")
		markers := map[string]string{}
		for _, s := range texts {
			markers[s] = s
		}
		data, err := json.Marshal(map[string]any{
			"pack":     map[string]any{"name": "x", "version": "0.1.0", "description": texts[0]},
			"policies": map[string]any{"chain": []string{"pii-detector"}},
			"policy":   map[string]any{"pii-detector": map[string]any{"redaction": map[string]any{"custom_markers": markers}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg, diags := config.Load([]config.Source{{Name: "f", Data: data}}, config.Options{Built: &built})
		if cfg == nil {
			for _, d := range diags {
				if d.Severity == diag.Error && d.Code != diag.ControlChar && d.Code != diag.NotUTF8 {
					t.Fatalf("%s\nrefused:\n%s", data, diags.Text())
				}
			}
			return
		}
		if got, _ := cfg.Root().Path("pack", "description").Text(); got != texts[0] {
			t.Fatalf("description %q, want %q", got, texts[0])
		}
		for _, form := range [][]byte{cfg.Root().JSON(), cfg.Root().YAML()} {
			again, more := config.Load([]config.Source{{Name: "again", Data: form}}, config.Options{Built: &built})
			if again == nil {
				t.Fatalf("%s\nrefused:\n%s", form, more.Text())
			}
			if again.Digest != cfg.Digest {
				t.Fatalf("digests differ:\n%s\n%s", form, again.Root().CanonicalJSON())
			}
		}
	})
}

func TestAKeyOfTheTopLevelIsSentThere(t *testing.T) {
	_, list := config.Load([]config.Source{{Name: "p.yaml", Data: []byte("policies:\n  chain: [pii-detector]\n  policy:\n    pii-detector: {action: redact}\n")}}, config.Options{})
	if text := list.Text(); !strings.Contains(text, `p.yaml:3:3: error KT1101: unknown key "policy" in policies`) || !strings.Contains(text, "hint: policy stands at the top level, beside policies") {
		t.Error(text)
	}
}
