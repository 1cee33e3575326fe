package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommittedFilesAreFresh(t *testing.T) {
	stale, err := run("../../deploy", true)
	if err != nil {
		t.Fatal(err)
	}
	if len(stale) > 0 {
		t.Errorf("stale: %v; run: go run ./loadtest/dashboards", stale)
	}
}

func TestGenerationIsDeterministic(t *testing.T) {
	a, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	b, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s differs between two runs", name)
		}
	}
}

func TestCheckFindsAStaleFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := run(dir, false); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "prometheus", "alerts.yaml")
	if err := os.WriteFile(name, []byte("groups: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stale, err := run(dir, true)
	if err != nil || len(stale) != 1 || stale[0] != name {
		t.Errorf("stale %v, %v; want %s", stale, err, name)
	}
}

func TestAnUnknownMetricOrLabelIsAnError(t *testing.T) {
	for _, bad := range []string{
		"rate(keeptrusts_gateway_nothing_total[5m])",
		`keeptrusts_gateway_breaker_state{model="x"}`,
		"sum by (model) (rate(keeptrusts_gateway_probes_total[5m]))",
		"rate(keeptrusts_gateway_hold_seconds[5m])",
	} {
		tb := newTable()
		if tb.use("here", bad); len(tb.faults) != 1 {
			t.Errorf("%s: %v", bad, tb.faults)
		}
	}
	tb := newTable()
	tb.use("here", `sum by (le, stream) (rate(keeptrusts_gateway_added_latency_seconds_bucket{instance="a",le="1"}[5m]))`)
	if len(tb.faults) != 0 {
		t.Error(tb.faults)
	}
}

func TestPanelsDoNotOverlapAndAreDescribed(t *testing.T) {
	for _, b := range boards(newTable()) {
		raw, err := b.json()
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Panels []struct {
				Title, Type, Description string
				ID                       int
				GridPos                  struct{ H, W, X, Y int }
				FieldConfig              struct{ Defaults struct{ Unit string } }
			}
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		taken, ids, titles := map[[2]int]string{}, map[int]bool{}, map[string]bool{}
		for _, p := range v.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", b.uid, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s: panel %q has no description or no unit", b.uid, p.Title)
			}
			if titles[p.Title] {
				t.Errorf("%s: two panels are called %q", b.uid, p.Title)
			}
			titles[p.Title] = true
			g := p.GridPos
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %q and %q overlap, or leave the grid", b.uid, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

func TestEveryAlertSaysWhatToDoAndIsTested(t *testing.T) {
	tests := string(alertTests(alerts()))
	for _, a := range alerts() {
		if a.summary == "" || a.action == "" || a.severity != "page" && a.severity != "ticket" {
			t.Errorf("%s is not described", a.name)
		}
		if strings.Count(tests, a.name+" fires") != 1 || strings.Count(tests, a.name+" stays quiet") != 1 {
			t.Errorf("%s is not tested both ways", a.name)
		}
	}
}
