package main

import (
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkScan/English-2         	       1	         0.0006 allocs	         2.000 held-p50	     1.63 x-table	      2.8 x-table-hold
BenchmarkPath/clean/4B/quick+pii-2 	 9	 5723641 ns/op	 0.0025 allocs/chunk	 14417 ns/chunk	 25 B/op	 1 allocs/op
PASS
`

func TestParseReadsEveryUnit(t *testing.T) {
	got := parse(output)
	if v := got["BenchmarkScan/English"]["x-table"]; v != 1.63 {
		t.Errorf("x-table %v", v)
	}
	if u := got["BenchmarkPath/clean/4B/quick+pii"]; u["ns/chunk"] != 14417 || u["allocs/op"] != 1 {
		t.Errorf("units %v", u)
	}
}

func TestPageSaysMetMissedAndNotMeasured(t *testing.T) {
	text := page(map[string]*Part{"scan": {Date: "2026-11-24", Bench: map[string]map[string]float64{
		"BenchmarkScan/English": {"x-table": 1.63, "x-table-hold": 4},
		"BenchmarkScan/Regexp":  {"x-regexp": 240},
	}}})
	for _, want := range []string{
		"| at most 2.00x | 1.63x | met |", "| at most 3.50x | 4.00x | **missed** |", "| at least 100x | 240x | met |", "| not measured | - |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if strings.Contains(text, "%!") {
		t.Error("a sentence of the page is taken for a format")
	}
}

func TestNumberKeepsAboutThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1.634: "1.63", 12.34: "12.3", 123.4: "123", 6.5e6: "6.50 M", 0.0006: "0.0006"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
