package auditlogger_test

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/auditlogger"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

func TestParamsMatchTheSchema(t *testing.T) { kindtest.Params(t, auditlogger.Kind{}) }

func TestRequiresWhatIsConfiguredAndReadsNothing(t *testing.T) {
	ch := kindtest.Chain(t, "policies:\n  chain: [audit-logger]\npolicy:\n  audit-logger:\n    retention_days: 30\n    log_all_access: false\n")
	want := pipeline.Requirements{AuditRetentionDays: 30, AuditImmutable: true}
	if got := ch.Info().Require; got != want {
		t.Errorf("requirements %+v, want %+v", got, want)
	}
	for c := range pipeline.NumClasses {
		if ch.Scans(c, kindtest.Everything) {
			t.Errorf("audit-logger reads %s", c)
		}
		s := ch.Session(c, kindtest.Everything)
		var f pipeline.Findings
		if keep := s.Feed([]byte("anything"), 0, true, &f); keep != 8 || len(f.List) != 0 {
			t.Errorf("%s: keep %d, findings %v", c, keep, f.List)
		}
		s.Close()
	}
}
