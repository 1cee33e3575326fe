package main

import (
	"slices"
	"testing"
)

const table = `,/tmp/old.txt,,/tmp/new.txt,,,
,sec/op,CI,sec/op,CI,vs base,P
GateStream/clean-2,1.00e-07,2%,1.30e-07,2%,+30.00%,p=0.002 n=10
GateStream/noisy-2,1.00e-07,40%,1.30e-07,40%,~,p=0.200 n=10
GateStream/same-2,1.00e-07,2%,1.05e-07,2%,+5.00%,p=0.001 n=10
geomean,1.00e-07,,1.20e-07,,+20.00%,

,/tmp/old.txt,,/tmp/new.txt,,,
,B/op,CI,B/op,CI,vs base,P
GateStream/clean-2,1,0%,9,0%,+800%,p=0.001 n=10
`

func TestJudgeNamesOnlyWhatIsSlowerBeyondNoise(t *testing.T) {
	got, err := judge([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"BenchmarkGateStream/clean"}; !slices.Equal(got, want) {
		t.Fatalf("slower: %q, want %q", got, want)
	}
}

func TestPatternMatchesOneSubBenchmark(t *testing.T) {
	if got, want := pattern("BenchmarkGateStream/4B.x"), `^BenchmarkGateStream$/^4B\.x$`; got != want {
		t.Fatalf("pattern %q, want %q", got, want)
	}
}
