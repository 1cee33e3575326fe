package cmd

import (
	"slices"
	"testing"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/upstream"
)

func TestWeightsKeepTheirShares(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want []int
	}{
		{[]float64{1, 1}, []int{1000, 1000}},
		{[]float64{0.7, 0.3}, []int{2333, 1000}},
		{[]float64{0, 1}, []int{upstream.NoWeight, 1000}},
		{[]float64{0.001, 1}, []int{1000, 1_000_000}},
		{[]float64{0.0001, 1}, []int{1000, 10_000_000}},
		{[]float64{1e-9, 1}, []int{1, 1_000_000_000}},
		{[]float64{1e-300, 1e6}, []int{1, 1_000_000_000}},
		{[]float64{0, 0}, []int{upstream.NoWeight, upstream.NoWeight}},
		{nil, []int{}},
	} {
		if got := weights(c.in); !slices.Equal(got, c.want) {
			t.Errorf("weights(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestAGroupLivesWithoutTheTargetsThatAreLeftOut(t *testing.T) {
	cfg, list := config.Load([]config.Source{{Name: "f.yaml", Data: []byte(`
pack: {name: p, version: 0.1.0}
providers:
  targets:
    - {id: a, provider: openai, model: m}
    - {id: b, provider: openai, model: m}
    - {id: c, provider: openai, model: m}
  model_groups:
    - {name: one, targets: [a, {target: b, weight: 3}], fallback_group: two}
    - {name: two, targets: [b, c], fallback_group: three}
    - {name: three, targets: [a]}
policies: {chain: [audit-logger]}
`)}}, config.Options{})
	if cfg == nil {
		t.Fatal(list.Text())
	}
	targets := []*upstream.Target{{ID: "a", Model: "m"}}
	o, err := poolOptions(cfg, targets)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Groups) != 2 || o.Groups[0].Name != "one" || len(o.Groups[0].Members) != 1 || o.Groups[0].Members[0].Target != "a" || o.Groups[0].Fallback != "three" {
		t.Errorf("groups %+v", o.Groups)
	}
	p, err := upstream.New(targets, o)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}
