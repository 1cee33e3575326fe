package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

const csvHead = "metric_name,timestamp,metric_value,check\n"

func TestSecondsOfASaturatedGeneratorAreLeftOut(t *testing.T) {
	r := &result{scenario: scenario{name: "x", limits: limits{ttft: 100, whole: .9}}}
	r.samples = []sample{{at: time.UnixMilli(2_900), core: .95}, {at: time.UnixMilli(1_600), core: .5}}
	err := r.read(strings.NewReader(csvHead +
		"kt_ttft,1100,20\nkt_inter_token,1200,4\nkt_ttft,2500,900\nkt_stream_ok,3100,1\nkt_ttft,3200,30\nhttp_reqs,3300,1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.seconds) != 3 || r.invalid() != 1 || !r.seconds[1].invalid {
		t.Fatalf("%+v", r.seconds)
	}
	r.judge()
	if len(r.broken) != 0 || quantile(r.ttft, .99) != 30 {
		t.Errorf("broken %q, ttft %v: the slow second must not count", r.broken, r.ttft)
	}
}

func TestAScenarioBreaksItsThresholds(t *testing.T) {
	r := &result{scenario: scenario{name: "x", limits: limits{ttft: 100, gap: 50, whole: .999, checks: .999, rss: 64, slowShare: .01, leavesNoReq: true}}}
	r.samples = []sample{{at: time.UnixMilli(1_000), rss: 65}}
	r.before, r.after = share{}, share{requests: 100, fast: 90, inFlight: 1}
	if err := r.read(strings.NewReader(csvHead + "kt_ttft,1000,101\nkt_inter_token,1000,51\nkt_stream_ok,1000,0\nchecks,1000,0\n")); err != nil {
		t.Fatal(err)
	}
	if r.judge(); len(r.broken) != 7 {
		t.Errorf("%d broken: %q", len(r.broken), r.broken)
	}
}

func TestAStreamlessScenarioIsNotWhole(t *testing.T) {
	r := &result{scenario: scenario{limits: limits{whole: .999}}}
	if err := r.read(strings.NewReader(csvHead + "checks,1000,1\n")); err != nil {
		t.Fatal(err)
	}
	if r.judge(); len(r.broken) != 1 {
		t.Errorf("broken %q: no stream ended, and that passed", r.broken)
	}
}

func TestNothingMeasuredIsAnError(t *testing.T) {
	if err := new(result).read(strings.NewReader(csvHead)); err == nil {
		t.Error("no samples, and no error")
	}
}

func TestTheGatewaysOwnShareIsRead(t *testing.T) {
	got := parseShare(strings.NewReader(`keeptrusts_gateway_added_latency_seconds_bucket{stream="false",le="0.005"} 9
keeptrusts_gateway_added_latency_seconds_bucket{stream="true",le="0.005"} 1
keeptrusts_gateway_added_latency_seconds_bucket{stream="true",le="0.01"} 2
keeptrusts_gateway_added_latency_seconds_count{stream="false"} 10
keeptrusts_gateway_added_latency_seconds_count{stream="true"} 2
keeptrusts_gateway_requests_in_flight 3
`))
	if want := (share{requests: 12, fast: 10, inFlight: 3}); got != want {
		t.Errorf("%+v; want %+v", got, want)
	}
}

func TestCPUTimeIsReadBehindAnyName(t *testing.T) {
	if v := parseStat([]byte("7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0")); v != 2 {
		t.Errorf("%v s; want 2", v)
	}
	if v := parseStat([]byte("garbage")); v != 0 {
		t.Errorf("%v", v)
	}
}

func TestTheReportNeedsNothingFromElsewhere(t *testing.T) {
	r := &result{scenario: scenario{name: "<steady>", limits: limits{}}}
	if err := r.read(strings.NewReader(csvHead + "kt_ttft,1000,20\nkt_inter_token,2500,4\n")); err != nil {
		t.Fatal(err)
	}
	page := report(&bed{}, "short", []*result{r})
	for _, bad := range []string{"http://", "https://", "<script", "<steady>", "NaN"} {
		if strings.Contains(page, bad) {
			t.Errorf("the report holds %q", bad)
		}
	}
	if strings.Count(page, "<svg") != 5 {
		t.Errorf("%d plots", strings.Count(page, "<svg"))
	}
}

func TestAxesAreRound(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, .7: .8, 3: 4, 120: 200, 1000: 1000} {
		if got := nice(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("nice(%v) = %v; want %v", v, got, want)
		}
	}
}

func TestAnUnknownProfileIsRefused(t *testing.T) {
	if _, _, err := scenarios("huge"); err == nil {
		t.Error("no error")
	}
}
