package promptinjection_test

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline/kind/promptinjection"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

func TestConformance(t *testing.T) {
	kindtest.Run(t, promptinjection.Kind{}, "testdata/cases.txtar")
}

func TestMessageAndLevelReachTheChain(t *testing.T) {
	ch := kindtest.Chain(t, "policies:\n  chain: [prompt-injection]\npolicy:\n  prompt-injection:\n    response:\n      message: Refused.\n      log_level: error\n")
	p := ch.Info().Policies[0]
	if p.Message != "Refused." || p.LogLevel != "error" {
		t.Errorf("message %q, level %q", p.Message, p.LogLevel)
	}
}
