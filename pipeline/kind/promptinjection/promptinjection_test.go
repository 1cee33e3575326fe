package promptinjection_test

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline"
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

func TestTheApplicationsInstructionsAreNotJudged(t *testing.T) {
	ch := kindtest.Chain(t, "policies:\n  chain: [pii-detector, prompt-injection, dlp-filter]\npolicy:\n  dlp-filter: {blocked_terms: [bluefin]}\n")
	if got := pipeline.InstructionsMask(ch.Info(), 0b111); got != 0b101 {
		t.Errorf("system messages are judged by %b", got)
	}
	var x pipeline.Exchange
	x.Begin(ch, &pipeline.Facts{}, &pipeline.Findings{})
	if x.Mask != 0b111 || x.Instructions != 0b101 {
		t.Errorf("masks %b and %b", x.Mask, x.Instructions)
	}
}
