package cmd

import (
	"slices"
	"testing"

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
