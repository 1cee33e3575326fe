// Command dashboards writes what an operator loads into Grafana and Prometheus:
// dashboards, recording rules, alerts, their unit tests and a scrape example. All
// of it is made from the gateway's metric table, and an expression that names a
// metric or a label which is not in the table is an error.
//
//	go run ./loadtest/dashboards          write deploy/grafana and deploy/prometheus
//	go run ./loadtest/dashboards -check   fail when a file there is stale
//
// Exit status: 0 all good; 1 a file is stale; 2 could not run.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	dir := flag.String("deploy", "deploy", "folder to write to")
	check := flag.Bool("check", false, "compare only; exit 1 when a file is stale")
	flag.Parse()
	stale, err := run(*dir, *check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(2)
	}
	if len(stale) > 0 {
		fmt.Fprintf(os.Stderr, "stale (run: go run ./loadtest/dashboards): %s\n", strings.Join(stale, ", "))
		os.Exit(1)
	}
}

// run writes the files, or gives those that are stale.
func run(dir string, check bool) (stale []string, err error) {
	files, err := generate()
	if err != nil {
		return nil, err
	}
	for _, name := range sorted(files) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if check {
			have, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(have, files[name]) {
				stale = append(stale, path)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return nil, err
		}
	}
	return stale, nil
}

// generate gives the content of each file, by its path below deploy/.
func generate() (map[string][]byte, error) {
	t := newTable()
	out := map[string][]byte{}
	for _, b := range boards(t) {
		raw, err := b.json()
		if err != nil {
			return nil, err
		}
		out["grafana/"+b.uid+".json"] = raw
	}
	out["prometheus/recording.yaml"] = rulesYAML(recording(), nil)
	out["prometheus/alerts.yaml"] = rulesYAML(nil, alerts())
	out["prometheus/alerts_test.yaml"] = alertTests(alerts())
	out["prometheus/recording_test.yaml"] = recordingTests()
	out["prometheus/prometheus.yaml"] = []byte(scrapeExample)
	for _, r := range recording() {
		t.use(r.name, r.expr)
	}
	for _, a := range alerts() {
		t.use(a.name, a.expr)
	}
	return out, t.err()
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
