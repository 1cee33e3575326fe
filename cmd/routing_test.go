package cmd

import (
	"testing"
	"time"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/upstream"
)

// routed gives the pool's settings and targets of a configuration with two
// targets, a (with the settings in own) and b, and more under providers.
func routed(t *testing.T, own, more string) (upstream.Options, []*upstream.Target) {
	t.Helper()
	yaml := `pack: {name: t, version: 0.1.0}
providers:
  targets:
    - {id: a, provider: openai, model: m, secret_key_ref: {env: K}` + own + `}
    - {id: b, provider: openai, model: m, secret_key_ref: {env: K}}
` + more + `
policies: {chain: [audit-logger]}
`
	cfg, list := config.Load([]config.Source{{Name: "policy-config.yaml", Data: []byte(yaml)}}, config.Options{Providers: providerIDs()})
	if list.HasErrors() {
		t.Fatal(list.Text())
	}
	a := &app{env: &Env{Environ: []string{"K=sk-dummy"}}}
	targets, list, err := a.targets(cfg, override{})
	if err != nil || len(targets) != 2 {
		t.Fatal(err, list.Text())
	}
	o, err := poolOptions(cfg, targets)
	if err != nil {
		t.Fatal(err)
	}
	return o, targets
}

func TestFirstByteIsForCallsWithoutStreamToo(t *testing.T) {
	_, ts := routed(t, ", timeouts_ms: {first_byte: 700}", "")
	if got := ts[0].Timeouts; got.FirstByte != 700*time.Millisecond || got.WholeAnswer != 700*time.Millisecond {
		t.Errorf("%+v", got)
	}
	if got := ts[1].Timeouts; got.FirstByte != time.Minute || got.WholeAnswer != 0 { // 0: the default of 5 minutes
		t.Errorf("%+v", got)
	}
}

func TestMaxFallbackAttemptsAreFurtherTargets(t *testing.T) {
	for more, want := range map[string]int{
		"  fallback: {max_fallback_attempts: 0}": 1,
		"  fallback: {max_fallback_attempts: 1}": 2,
		"  fallback: {max_fallback_attempts: 3}": 4,
		"  fallback: {enabled: true}":            4,
		"":                                       0, // the pool's default
	} {
		if o, _ := routed(t, "", more); o.Fallback.MaxAttempts != want || o.Fallback.Disabled {
			t.Errorf("%q: %+v, want %d targets", more, o.Fallback, want)
		}
	}
}

func TestTheBreakersSwitchIsThatOfEjectionsToo(t *testing.T) {
	if o, _ := routed(t, "", "  circuit_breaker: {enabled: false}"); !o.Breaker.Disabled || !o.Outlier.Disabled {
		t.Errorf("%+v %+v", o.Breaker, o.Outlier)
	}
	for _, more := range []string{"", "  circuit_breaker: {failure_threshold: 3}"} {
		if o, _ := routed(t, "", more); o.Breaker.Disabled || o.Outlier.Disabled {
			t.Errorf("%q: %+v %+v", more, o.Breaker, o.Outlier)
		}
	}
}

func TestAPriceOfZeroIsAPrice(t *testing.T) {
	for own, want := range map[string]bool{"": false, ", pricing: {}": false, ", pricing: {input_per_1k: 0}": true, ", pricing: {input_per_1k: 0, output_per_1k: 0.01}": false} {
		if _, ts := routed(t, own, ""); ts[0].Pricing.Free != want {
			t.Errorf("%q: %+v", own, ts[0].Pricing)
		}
	}
}

func TestAGroupsStrategyIsItsOwn(t *testing.T) {
	o, _ := routed(t, "", "  routing: {strategy: round_robin}\n  model_groups: [{name: x, strategy: ordered, targets: [a, b]}, {name: y, targets: [a]}]")
	if len(o.Groups) != 2 || o.Groups[0].Strategy == nil || *o.Groups[0].Strategy != upstream.Ordered || o.Groups[1].Strategy != nil {
		t.Errorf("%+v", o.Groups)
	}
}

func TestNothingIsNothing(t *testing.T) {
	o, _ := routed(t, "", "  fallback: {triggers: [], probe: {budget_percent: 0}}")
	if o.Fallback.On == nil || len(o.Fallback.On) != 0 || o.Probe.Enabled {
		t.Errorf("%+v %+v", o.Fallback, o.Probe)
	}
	o, _ = routed(t, "", "  fallback: {probe: {budget_percent: 5}}")
	if o.Fallback.On != nil || !o.Probe.Enabled || o.Probe.Budget != 0.05 {
		t.Errorf("%+v %+v", o.Fallback, o.Probe)
	}
}
