// Command promqlcheck reads every PromQL expression of the dashboards and rule
// files under deploy/, parses each with Prometheus' own parser, and, with
// -prometheus URL, runs each against a live server and fails on empty answers.
//
// It is a module of its own so that Prometheus' dependencies stay out of kt's.
//
// Exit status: 0 all good; 1 an expression does not parse or answers nothing; 2 could not run.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// expr is one expression; alert: its value is compared, so that it is empty while all is well.
type expr struct {
	where, text string
	alert       bool
}

func main() {
	dir := flag.String("deploy", "../../deploy", "folder with grafana/*.json and prometheus/*.yaml")
	live := flag.String("prometheus", "", "base URL of a Prometheus server to run the expressions against")
	skip := flag.String("may-be-empty", "", "file with lines \"file / panel title | reason\": what may answer nothing under load, and why")
	flag.Parse()
	bad, err := run(*dir, *live, *skip)
	if err != nil {
		fmt.Fprintln(os.Stderr, "promqlcheck:", err)
		os.Exit(2)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

func run(dir, live, skip string) (bad int, err error) {
	exprs, err := collect(dir)
	if err != nil {
		return 0, err
	}
	if len(exprs) == 0 {
		return 0, fmt.Errorf("no expressions under %s", dir)
	}
	mayBeEmpty := map[string]bool{}
	if skip != "" {
		raw, err := os.ReadFile(skip)
		if err != nil {
			return 0, err
		}
		for l := range strings.Lines(string(raw)) {
			if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
				continue
			}
			where, reason, ok := strings.Cut(l, "|")
			if !ok || strings.TrimSpace(reason) == "" {
				return 0, fmt.Errorf("%s: %q gives no reason", skip, l)
			}
			mayBeEmpty[strings.TrimSpace(where)] = true
		}
	}
	p := parser.NewParser(parser.Options{})
	empty, ran, used := 0, 0, map[string]bool{}
	for _, e := range exprs {
		tree, err := p.ParseExpr(e.text)
		if err != nil {
			bad++
			fmt.Printf("FAIL %s: does not parse: %v\n  %s\n", e.where, err, e.text)
			continue
		}
		if live == "" {
			continue
		}
		parts := []string{e.text}
		if e.alert {
			parts = operands(tree)
		}
		for _, text := range parts {
			n, err := query(live, text)
			switch {
			case err != nil:
				bad++
				fmt.Printf("FAIL %s: %v\n  %s\n", e.where, err, text)
			case n == 0 && mayBeEmpty[e.where]:
				empty++
				used[e.where] = true
			case n == 0:
				bad++
				fmt.Printf("FAIL %s: answers nothing\n  %s\n", e.where, text)
			}
			ran++
		}
	}
	fmt.Printf("promqlcheck: %d expressions, %d bad", len(exprs), bad)
	if live != "" {
		fmt.Printf(", %d queries run, %d empty as allowed", ran, empty)
		for where := range mayBeEmpty {
			if !used[where] {
				fmt.Printf("\nnote: %s may be empty, and is not", where)
			}
		}
	}
	fmt.Println()
	return bad, nil
}

// collect finds the expressions in dashboards ("expr" anywhere) and rule files.
func collect(dir string) ([]expr, error) {
	var out []expr
	dashboards, _ := filepath.Glob(filepath.Join(dir, "grafana", "*.json"))
	for _, f := range dashboards {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		walk(v, filepath.Base(f), &out)
	}
	rules, _ := filepath.Glob(filepath.Join(dir, "prometheus", "*.yaml"))
	for _, f := range rules {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var doc struct {
			Groups []struct {
				Rules []struct{ Record, Alert, Expr string }
			}
		}
		if err := yaml.Unmarshal(raw, &doc); err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		for _, g := range doc.Groups {
			for _, r := range g.Rules {
				out = append(out, expr{filepath.Base(f) + " / " + r.Record + r.Alert, strings.TrimSpace(r.Expr), r.Alert != ""})
			}
		}
	}
	if len(dashboards) == 0 || len(rules) == 0 {
		return nil, errors.New("no dashboards or no rules in " + dir)
	}
	return out, nil
}

func walk(v any, where string, out *[]expr) {
	switch v := v.(type) {
	case map[string]any:
		if t, ok := v["title"].(string); ok && v["fieldConfig"] != nil { // of a panel
			where += " / " + t
		}
		if s, ok := v["expr"].(string); ok {
			// Grafana's variables have no meaning to Prometheus; their usual values do.
			s = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$interval", "1m", "$instance", ".*").Replace(s)
			*out = append(*out, expr{where: where, text: s})
		}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			walk(v[k], where, out)
		}
	case []any:
		for _, e := range v {
			walk(e, where, out)
		}
	}
}

// operands gives what an alert compares: without the comparisons, which filter.
func operands(e parser.Expr) []string {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return operands(e.Expr)
	case *parser.BinaryExpr:
		if e.Op.IsComparisonOperator() && !e.ReturnBool {
			return operands(e.LHS)
		}
		if e.Op == parser.LAND {
			return append(operands(e.LHS), operands(e.RHS)...)
		}
	}
	return []string{e.String()}
}

func query(base, text string) (results int, err error) {
	c := http.Client{Timeout: 10 * time.Second}
	resp, err := c.Get(base + "/api/v1/query?query=" + url.QueryEscape(text))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var ans struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&ans); err != nil {
		return 0, err
	}
	if ans.Status != "success" {
		return 0, errors.New(ans.Error)
	}
	return len(ans.Data.Result), nil
}
