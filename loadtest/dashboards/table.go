package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/gateway"
)

// table is the gateway's metric table, and what was used of it.
type table struct {
	metrics map[string]gateway.Metric // by the names that expressions use: histograms as _bucket, _sum, _count
	records map[string]bool
	used    map[string]bool
	faults  []error
}

func newTable() *table {
	t := &table{metrics: map[string]gateway.Metric{}, records: map[string]bool{}, used: map[string]bool{}}
	for _, m := range gateway.MetricTable() {
		if m.Kind != gateway.HistogramKind {
			t.metrics[m.Name] = m
			continue
		}
		for _, s := range []string{"_bucket", "_sum", "_count"} {
			t.metrics[m.Name+s] = m
		}
	}
	for _, name := range gateway.RuntimeMetrics() {
		t.metrics[name] = gateway.Metric{Name: name, Help: "Of the Go runtime or the process: " + strings.ReplaceAll(name, "_", " ") + "."}
	}
	for _, r := range recording() {
		t.records[r.name] = true
	}
	return t
}

var (
	nameIn  = regexp.MustCompile(`\b(?:keeptrusts|go|process)[_:][a-zA-Z0-9_:]+`)
	selIn   = regexp.MustCompile(`\b((?:keeptrusts|go|process)[_:][a-zA-Z0-9_:]+)\{([^}]*)\}`)
	labelIn = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)"`)
	byIn    = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// use checks the names and labels of an expression against the table.
func (t *table) use(where, expr string) {
	labels := []string{"instance", "job", "le"}
	for _, name := range nameIn.FindAllString(expr, -1) {
		if t.records[name] {
			continue
		}
		m, ok := t.metrics[name]
		if !ok {
			t.faults = append(t.faults, fmt.Errorf("%s: no metric %s in the table", where, name))
			continue
		}
		t.used[m.Name] = true
		labels = append(labels, m.Labels...)
	}
	for _, sel := range selIn.FindAllStringSubmatch(expr, -1) {
		own := append([]string{"instance", "job"}, t.metrics[sel[1]].Labels...)
		if strings.HasSuffix(sel[1], "_bucket") {
			own = append(own, "le")
		}
		for _, l := range labelIn.FindAllStringSubmatch(sel[2], -1) {
			if !slices.Contains(own, l[1]) {
				t.faults = append(t.faults, fmt.Errorf("%s: %s has no label %s", where, sel[1], l[1]))
			}
		}
	}
	for _, by := range byIn.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(by[1], ",") {
			if l = strings.TrimSpace(l); l != "" && !slices.Contains(labels, l) {
				t.faults = append(t.faults, fmt.Errorf("%s: no label %s in %s", where, l, expr))
			}
		}
	}
}

// err gives all faults, and the families of the gateway that nothing shows.
func (t *table) err() error {
	for _, m := range gateway.MetricTable() {
		if !t.used[m.Name] {
			t.faults = append(t.faults, fmt.Errorf("no panel and no rule uses %s", m.Name))
		}
	}
	return errors.Join(t.faults...)
}

// help describes a panel by the metric that its first expression names.
func (t *table) help(expr string) string {
	for _, name := range nameIn.FindAllString(expr, -1) {
		if m, ok := t.metrics[name]; ok {
			return m.Help
		}
		for _, r := range recording() {
			if r.name == name {
				return r.help
			}
		}
	}
	return ""
}
