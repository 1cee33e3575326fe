package piidetector_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/piidetector"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

func TestConformance(t *testing.T) {
	kindtest.Run(t, piidetector.Kind{}, "testdata/cases.txtar")
}

// Texts of an office and of a clinic.
func TestEverydayTextsAreDecidedAsTheyAreMarked(t *testing.T) {
	kindtest.Texts(t, "pii-detector", "testdata/everyday.texts")
}

func TestMetadataOffHidesTypes(t *testing.T) {
	ch := kindtest.Chain(t, "policies:\n  chain: [pii-detector]\npolicy:\n  pii-detector:\n    redaction:\n      include_metadata: false\n")
	n := 0
	for _, e := range ch.Info().Entities[4:] {
		n++
		if e.Name != "PII" || !e.Hidden {
			t.Errorf("entity %+v shows its type", e)
		}
	}
	if n != 1 {
		t.Errorf("%d entities, want one generic", n)
	}
}

func TestFaultsOfRedaction(t *testing.T) {
	for _, k := range []struct {
		params string
		code   pipeline.FaultCode
		paths  []string
	}{
		{`{"action":"block","redaction":{"marker_format":"partial"}}`, pipeline.FaultNoEffect, []string{"redaction/marker_format"}},
		{`{"action":"block","redaction":{"preserve_length":true,"custom_markers":{"EMAIL":"x"}}}`, pipeline.FaultNoEffect, []string{"redaction/preserve_length", "redaction/custom_markers"}},
		{`{"action":"block","redaction":{"include_metadata":false}}`, pipeline.FaultNoEffect, nil},
		{`{"redaction":{"marker_format":"partial","preserve_length":true}}`, pipeline.FaultNoEffect, nil},
		{`{"redaction":{"custom_markers":{"EMAIL":"a","email":"b"}}}`, pipeline.FaultConflict, []string{"redaction/custom_markers/email"}},
		{`{"redaction":{"custom_markers":{"SSN":"a","us_ssn":"b","EMAIL":"c"}}}`, pipeline.FaultConflict, []string{"redaction/custom_markers/us_ssn"}},
		{`{"redaction":{"custom_markers":{"EMAIL":"a","email":"a"}}}`, pipeline.FaultConflict, nil},
	} {
		var given map[string]any
		p := piidetector.Kind{}.Params()
		if err := errors.Join(json.Unmarshal([]byte(k.params), &given), json.Unmarshal([]byte(k.params), p)); err != nil {
			t.Fatal(err)
		}
		d := &pipeline.Declaration{Has: func(path string) bool {
			var v any = given
			for w := range strings.SplitSeq(path, "/") {
				m, _ := v.(map[string]any)
				if v = m[w]; v == nil {
					return false
				}
			}
			return true
		}}
		piidetector.Kind{}.Declare(p, d)
		var got []string
		for _, f := range d.Faults {
			if f.Code == k.code {
				got = append(got, f.Path)
			}
		}
		if !slices.Equal(got, k.paths) {
			t.Errorf("%s: faults at %q, want %q", k.params, got, k.paths)
		}
	}
}
