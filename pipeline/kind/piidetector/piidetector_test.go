package piidetector_test

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline/kind/piidetector"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

func TestConformance(t *testing.T) {
	kindtest.Run(t, piidetector.Kind{}, "testdata/cases.txtar")
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
