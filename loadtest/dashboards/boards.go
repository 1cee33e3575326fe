package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keeptrusts/kt/internal/gateway"
)

// board is one dashboard; panel one picture on it.
type board struct {
	uid, title, about string
	rows              []row
}

type row struct {
	title  string
	panels []panel
}

type query struct{ expr, legend string }

type panel struct {
	title, about string // about: empty takes the metric's own help
	unit         string // of Grafana: s, reqps, bytes, percentunit, short, ...
	kind         string // timeseries (default), stat, heatmap, state-timeline
	stack        bool
	warn, alarm  float64 // thresholds; 0: none
	queries      []query
}

// sel is the selector that every dashboard query carries.
const sel = `instance=~"$instance"`

// with puts more matchers behind the instance.
func with(matchers string) string {
	if matchers == "" {
		return "{" + sel + "}"
	}
	return "{" + sel + "," + matchers + "}"
}

// rate is the rate of a counter by labels.
func rate(metric, matchers, by string) string {
	if by == "" {
		return fmt.Sprintf("sum(rate(%s%s[$__rate_interval]))", metric, with(matchers))
	}
	return fmt.Sprintf("sum by (%s) (rate(%s%s[$__rate_interval]))", by, metric, with(matchers))
}

func legend(by string) string {
	var parts []string
	for l := range strings.SplitSeq(by, ", ") {
		parts = append(parts, "{{"+l+"}}")
	}
	return strings.Join(parts, " ")
}

// rates shows a counter per second by labels.
func rates(title, metric, by, unit string) panel {
	return panel{title: title, unit: unit, stack: true, queries: []query{{rate(metric, "", by), legend(by)}}}
}

// quantiles shows the median, p95 and p99 of a histogram.
func quantiles(title, metric, by, unit string) panel {
	p := panel{title: title, unit: unit}
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		labels, l := "le", "p"+strings.TrimPrefix(strings.Replace(q, "0.5", "0.50", 1), "0.")
		if by != "" {
			if q == "0.95" {
				continue
			}
			labels, l = "le, "+by, l+" "+legend(by)
		}
		p.queries = append(p.queries, query{fmt.Sprintf("histogram_quantile(%s, sum by (%s) (rate(%s_bucket%s[$__rate_interval])))", q, labels, metric, with("")), l})
	}
	return p
}

// heat shows a histogram as it is over time.
func heat(title, metric, unit string) panel {
	return panel{title: title, unit: unit, kind: "heatmap", queries: []query{{rate(metric+"_bucket", "", "le"), "{{le}}"}}}
}

func stat(title, unit string, warn, alarm float64, expr string) panel {
	return panel{title: title, unit: unit, kind: "stat", warn: warn, alarm: alarm, queries: []query{{expr, ""}}}
}

// burnPanel shows how fast an objective's budget burns in each window.
func burnPanel(title, prefix string, budget float64) panel {
	p := panel{title: title, about: "1 uses the budget up exactly at the end of the period; pages at 14.4 (1h and 5m) and 6 (6h and 30m), tickets at 3 (1d and 2h) and 1 (3d and 6h).", unit: "short", warn: 1, alarm: 6}
	for _, w := range windows {
		p.queries = append(p.queries, query{fmt.Sprintf("%s%s / %g", prefix, w, round(budget)), w})
	}
	return p
}

func boards(t *table) []board {
	gw := "keeptrusts_gateway_"
	failed := `(sum(rate(` + gw + `requests_total` + with(`status=~"5.."`) + `[$__rate_interval])) or vector(0))`
	share := func(metric, matchers string) string {
		return fmt.Sprintf("(%s or vector(0)) / %s", rate(metric, matchers, ""), rate(metric, "", ""))
	}
	p99 := func(metric string) string {
		return fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(%s_bucket%s[$__rate_interval])))", metric, with(""))
	}
	availBudget, slowBudget := 1-gateway.AvailabilityObjective, 1-gateway.LatencyObjective
	out := []board{
		{uid: "overview", title: "kt overview", about: "What the gateways do: load, decisions, time, resources.", rows: []row{
			{"Now", []panel{
				stat("Requests", "reqps", 0, 0, rate(gw+"requests_total", "", "")),
				stat("Failed (5xx)", "percentunit", .0005, availBudget, failed+" / "+rate(gw+"requests_total", "", "")),
				stat("Blocked", "percentunit", 0, 0, share(gw+"decisions_total", `verdict="block"`)),
				stat("Added latency p99", "s", .001, gateway.AddedLatencyBound, p99(gw+"added_latency_seconds")),
				stat("In flight", "short", 0, 0, "sum("+gw+"requests_in_flight"+with("")+")"),
				{title: "Policy chains in use", unit: "short", kind: "stat", about: "One line for each mode, pack and digest. More than one digest for long is a roll-out that stopped.",
					queries: []query{{"count by (pack, mode, digest) (" + gw + "pipeline_info" + with("") + ")", "{{pack}} {{mode}} {{digest}}"}}},
			}},
			{"Requests", []panel{
				rates("Requests by status", gw+"requests_total", "status", "reqps"),
				rates("Requests by outcome", gw+"outcomes_total", "outcome", "reqps"),
				rates("Decisions", gw+"decisions_total", "verdict", "reqps"),
				rates("How streams ended", gw+"stream_ends_total", "end", "reqps"),
				rates("Refused before any policy", gw+"refused_total", "code", "reqps"),
				rates("Tokens", gw+"tokens_total", "direction", "short"),
			}},
			{"Time", []panel{
				quantiles("Time to first token of streams (provider included)", gw+"time_to_first_token_seconds", "", "s"),
				quantiles("Whole answer (provider included)", gw+"request_duration_seconds", "", "s"),
				quantiles("Added by the gateway", gw+"added_latency_seconds", "", "s"),
			}},
			{"Resources", []panel{
				{title: "Memory", about: "Resident memory of the process, what the Go runtime has mapped, live objects, and the size at which the next collection ends.", unit: "bytes", queries: []query{
					{"process_resident_memory_bytes" + with(""), "resident {{instance}}"},
					{"go_memory_classes_total_bytes" + with(""), "runtime {{instance}}"},
					{"go_memory_classes_heap_objects_bytes" + with(""), "objects {{instance}}"},
					{"go_gc_heap_goal_bytes" + with(""), "goal {{instance}}"},
				}},
				{title: "CPU", about: "Cores used by the process, and of them by the garbage collector.", unit: "short", queries: []query{
					{"rate(process_cpu_seconds_total" + with("") + "[$__rate_interval])", "all {{instance}}"},
					{"rate(go_cpu_classes_gc_total_cpu_seconds_total" + with("") + "[$__rate_interval])", "collector {{instance}}"},
				}},
				{title: "Connections, requests, goroutines", unit: "short", queries: []query{
					{"sum(" + gw + "connections" + with("") + ")", "connections"},
					{"sum(" + gw + "requests_in_flight" + with("") + ")", "requests in flight"},
					{"sum(go_goroutines" + with("") + ")", "goroutines"},
				}},
				{title: "New connections", unit: "cps", queries: []query{{rate(gw+"connections_accepted_total", "", ""), "accepted"}}},
				{title: "File descriptors used", unit: "percentunit", warn: .6, alarm: .8, about: "Share of the limit.", queries: []query{
					{"process_open_fds" + with("") + " / process_max_fds" + with(""), "{{instance}}"}}},
				{title: "Faults of the program", unit: "short", alarm: 1, queries: []query{{"sum(increase(" + gw + "panics_total" + with("") + "[$__range]))", "panics"}}},
			}},
			{"Audit log", []panel{
				{title: "Records", unit: "wps", queries: []query{{rate(gw+"audit_records_total", "", ""), "written"}, {rate(gw+"audit_failures_total", "", ""), "failed"}, {rate(gw+"audit_reopened_total", "", ""), "begun anew"}}},
				{title: "Bytes written", unit: "Bps", queries: []query{{rate(gw+"audit_written_bytes_total", "", ""), "bytes"}}},
				{title: "Behind the disk", unit: "s", warn: .1, alarm: 1, queries: []query{{"max by (instance) (" + gw + "audit_lag_seconds" + with("") + ")", "{{instance}}"}}},
			}},
		}},
		{uid: "latency-slo", title: "kt latency and SLO", rows: []row{
			{"Objectives", []panel{
				{title: "Availability budget left (3 days)", kind: "stat", unit: "percentunit", about: fmt.Sprintf("Objective: %g %% of requests do not end in a 5xx status. Below 0 the budget of the last three days is overspent.", 100*gateway.AvailabilityObjective),
					queries: []query{{fmt.Sprintf("1 - keeptrusts:availability_errors:ratio_rate3d / %g", round(availBudget)), ""}}},
				{title: "Added latency budget left (3 days)", kind: "stat", unit: "percentunit", about: fmt.Sprintf("Objective: the gateway adds less than %g ms to %g %% of requests.", 1000*gateway.AddedLatencyBound, 100*gateway.LatencyObjective),
					queries: []query{{fmt.Sprintf("1 - keeptrusts:slow_requests:ratio_rate3d / %g", round(slowBudget)), ""}}},
				stat("Added latency p99", "s", .001, gateway.AddedLatencyBound, "keeptrusts:added_latency_seconds:p99_rate5m"),
				stat("Added to the first token p99", "s", .001, gateway.AddedLatencyBound, "keeptrusts:added_first_token_seconds:p99_rate5m"),
				stat("Added to each token p99", "s", .001, .025, "keeptrusts:added_token_delay_seconds:p99_rate5m"),
			}},
			{"Burn rates", []panel{
				burnPanel("Burn rate of availability", "keeptrusts:availability_errors:ratio_rate", availBudget),
				burnPanel("Burn rate of added latency", "keeptrusts:slow_requests:ratio_rate", slowBudget),
			}},
			{"What the gateway adds", []panel{
				quantiles("Requests, all of the gateway's own time", gw+"added_latency_seconds", "stream", "s"),
				quantiles("First token of streams", gw+"added_first_token_seconds", "", "s"),
				quantiles("Each token of streams", gw+"added_token_delay_seconds", "", "s"),
				heat("Added latency", gw+"added_latency_seconds", "s"),
				heat("Delay of each token", gw+"added_token_delay_seconds", "s"),
				quantiles("Scanning", gw+"scan_seconds", "phase", "s"),
				quantiles("Held for a policy", gw+"hold_seconds", "", "s"),
				{title: "Share of events that were held", unit: "percentunit", about: "Of all stream events, those that waited for a policy to see more text.", queries: []query{
					{rate(gw+"hold_seconds_count", "", "") + " / " + rate(gw+"added_token_delay_seconds_count", "", ""), "held"}}},
				quantiles("Most bytes held by a stream", gw+"stream_held_bytes", "", "bytes"),
				quantiles("Waiting for the audit log", gw+"audit_write_seconds", "", "s"),
			}},
			{"What clients see", []panel{
				quantiles("Time to first token", gw+"time_to_first_token_seconds", "target", "s"),
				quantiles("First byte of any answer", gw+"first_byte_seconds", "", "s"),
				heat("Whole answers", "keeptrusts_llm_latency_seconds", "s"),
			}},
		}},
		{uid: "policies", title: "kt policies", about: "What the policy chain decided, why, and what it cost.", rows: []row{
			{"Decisions", []panel{
				rates("By verdict", gw+"decisions_total", "verdict", "reqps"),
				{title: "By policy", unit: "reqps", stack: true, queries: []query{{rate(gw+"decisions_total", `verdict!="allow"`, "policy, verdict"), legend("policy, verdict")}}},
				{title: "By reason (ten most frequent)", unit: "reqps", queries: []query{{"topk(10, " + rate(gw+"decisions_total", `verdict!="allow"`, "reason") + ")", "{{reason}}"}}},
				rates("By phase", gw+"decisions_total", "phase", "reqps"),
				{title: "Share blocked, redacted, escalated", unit: "percentunit", about: "Of all decisions.", queries: []query{
					{share(gw+"decisions_total", `verdict="block"`), "blocked"}, {share(gw+"decisions_total", `verdict="redact"`), "redacted"}, {share(gw+"decisions_total", `verdict="escalate"`), "escalated"}}},
				{title: "Decisions that no finding made", unit: "short", alarm: 1, about: "A policy that failed, a match that a gap cut, too much held text, too many findings: all fail closed.", queries: []query{
					{"sum by (reason) (increase(" + gw + "decisions_total" + with(`reason=~"policy_error|split_match|window_overflow|finding_limit"`) + "[$__range])) or vector(0)", "{{reason}}"}}},
			}},
			{"Work", []panel{
				{title: "What each policy did", unit: "reqps", stack: true, queries: []query{{rate(gw+"policy_evaluations_total", "", "policy, result"), legend("policy, result")}}},
				rates("Text scanned", gw+"scanned_bytes_total", "class", "Bps"),
				{title: "Events and bodies changed", unit: "short", queries: []query{{rate(gw+"edited_frames_total", "", ""), "changed"}}},
				quantiles("Scanning", gw+"scan_seconds", "phase", "s"),
				{title: "Scanning speed", unit: "Bps", about: "Bytes of text per second of scanning time.", queries: []query{{rate(gw+"scanned_bytes_total", "", "") + " / " + rate(gw+"scan_seconds_sum", "", ""), "all phases"}}},
				quantiles("Held for a policy", gw+"hold_seconds", "", "s"),
			}},
		}},
		{uid: "providers", title: "kt providers", about: "Targets: load, failures, speed, fallbacks, tokens and cost.", rows: []row{
			{"Requests", []panel{
				rates("By provider and model", "keeptrusts_llm_requests_total", "provider, model", "reqps"),
				rates("By target and outcome", gw+"outcomes_total", "target, outcome", "reqps"),
				quantiles("Time to first token", gw+"time_to_first_token_seconds", "target", "s"),
				quantiles("Whole answer", "keeptrusts_llm_latency_seconds", "provider, model", "s"),
			}},
			{"Calls to targets", []panel{
				rates("By how they ended", gw+"upstream_attempts_total", "target, class", "reqps"),
				{title: "Share that failed by the target's fault", unit: "percentunit", warn: .05, alarm: .2, about: "Five minutes. Refused requests, lost races and clients that went away do not count.", queries: []query{{"keeptrusts:target_failures:ratio_rate5m", "{{target}}"}}},
				quantiles("Time to first content, or to the failure", gw+"upstream_attempt_seconds", "target", "s"),
				rates("Fallbacks to", gw+"fallbacks_total", "target", "reqps"),
				rates("Not asked, by reason", gw+"targets_skipped_total", "target, reason", "reqps"),
				{title: "Breaker", kind: "state-timeline", unit: "short", queries: []query{{"max by (target) (" + gw + "breaker_state" + with("") + ")", "{{target}}"}}},
				rates("Breaker changes", gw+"breaker_changes_total", "target, state", "short"),
				{title: "Ejected", kind: "state-timeline", unit: "short", queries: []query{{"max by (target) (" + gw + "target_ejected" + with("") + ")", "{{target}}"}}},
				rates("Ejections", gw+"ejections_total", "target", "short"),
			}},
			{"Races", []panel{
				rates("Probes", gw+"probes_total", "target", "reqps"),
				rates("Probes that won", gw+"probe_wins_total", "target", "reqps"),
				rates("Tokens of calls that lost", gw+"wasted_tokens_total", "target", "short"),
			}},
			{"Tokens and cost", []panel{
				rates("Tokens", "keeptrusts_llm_tokens_total", "model, direction", "short"),
				{title: "Cost per hour", unit: "currencyUSD", queries: []query{{"3600 * " + rate("keeptrusts_llm_cost_total", "", "model, provider"), legend("provider, model")}}},
				{title: "Answers whose tokens were estimated", unit: "reqps", queries: []query{{rate(gw+"estimated_usage_total", "", ""), "estimated"}}},
			}},
		}},
	}
	for i := range out {
		if out[i].about == "" {
			out[i].about = fmt.Sprintf("Objectives: availability %g %%, added latency below %g ms for %g %% of requests.", 100*gateway.AvailabilityObjective, 1000*gateway.AddedLatencyBound, 100*gateway.LatencyObjective)
		}
		for _, r := range out[i].rows {
			for k := range r.panels {
				p := &r.panels[k]
				for _, q := range p.queries {
					t.use(out[i].uid+" / "+p.title, q.expr)
				}
				if p.about == "" {
					p.about = t.help(p.queries[0].expr)
				}
			}
		}
	}
	return out
}

// object is a JSON object; encoding/json writes its keys sorted.
type object = map[string]any

func (b *board) json() ([]byte, error) {
	ds := object{"type": "prometheus", "uid": "${datasource}"}
	var panels []any
	id, y := 0, 0
	next := func() int { id++; return id }
	for _, r := range b.rows {
		panels = append(panels, object{"type": "row", "title": r.title, "id": next(), "collapsed": false, "panels": []any{}, "gridPos": object{"h": 1, "w": 24, "x": 0, "y": y}})
		y++
		x, tallest := 0, 0
		for i := range r.panels {
			p := &r.panels[i]
			w, h := 8, 8
			if p.kind == "stat" {
				w, h = 4, 4
				if n := len(r.panels); n < 6 {
					w = 24 / n
				}
			} else if len(r.panels) == 2 || len(r.panels) == 4 {
				w = 12
			}
			if x+w > 24 {
				x, y, tallest = 0, y+tallest, 0
			}
			panels = append(panels, p.json(next(), ds, object{"h": h, "w": w, "x": x, "y": y}))
			x, tallest = x+w, max(tallest, h)
		}
		y += tallest
	}
	v := object{
		"uid": "kt-" + b.uid, "title": b.title, "description": b.about, "tags": []string{"kt", "generated"}, "schemaVersion": 39, "version": 1,
		"editable": true, "graphTooltip": 1, "refresh": "30s", "time": object{"from": "now-1h", "to": "now"}, "timezone": "", "panels": panels,
		"annotations": object{"list": []any{}},
		"links":       []any{object{"type": "dashboards", "tags": []string{"kt"}, "title": "kt", "asDropdown": true, "includeVars": true, "keepTime": true}},
		"templating": object{"list": []any{
			object{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source", "current": object{}, "hide": 0, "refresh": 1, "regex": ""},
			object{"name": "instance", "type": "query", "datasource": ds, "label": "Gateway", "query": object{"query": "label_values(keeptrusts_gateway_pipeline_info, instance)", "refId": "instance"},
				"definition": "label_values(keeptrusts_gateway_pipeline_info, instance)", "multi": true, "includeAll": true, "allValue": ".*", "refresh": 2, "sort": 1,
				"current": object{"text": "All", "value": "$__all"}, "hide": 0, "regex": ""},
		}},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode dashboard %s: %w", b.uid, err)
	}
	return out.Bytes(), nil
}

func (p *panel) json(id int, ds, grid object) object {
	kind := p.kind
	if kind == "" {
		kind = "timeseries"
	}
	var targets []any
	for i, q := range p.queries {
		t := object{"refId": string(rune('A' + i)), "expr": q.expr, "datasource": ds, "editorMode": "code", "range": true}
		if q.legend != "" {
			t["legendFormat"] = q.legend
		}
		if kind == "stat" {
			t["range"], t["instant"] = false, true
		}
		if kind == "heatmap" {
			t["format"] = "heatmap"
		}
		targets = append(targets, t)
	}
	steps := []any{object{"color": "green", "value": nil}}
	if p.warn > 0 {
		steps = append(steps, object{"color": "orange", "value": p.warn})
	}
	if p.alarm > 0 {
		steps = append(steps, object{"color": "red", "value": p.alarm})
	}
	custom, options := object{}, object{}
	switch kind {
	case "timeseries":
		custom = object{"drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}
		if p.stack {
			custom["stacking"] = object{"mode": "normal", "group": "A"}
		}
		if p.warn > 0 || p.alarm > 0 {
			custom["thresholdsStyle"] = object{"mode": "line"}
		}
		options = object{"legend": object{"displayMode": "table", "placement": "bottom", "calcs": []string{"mean", "max"}, "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	case "stat":
		options = object{"colorMode": "value", "graphMode": "none", "textMode": "auto", "reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}}
	case "heatmap":
		options = object{"calculate": false, "yAxis": object{"unit": p.unit}, "color": object{"mode": "scheme", "scheme": "Oranges", "steps": 64}, "legend": object{"show": true}, "tooltip": object{"mode": "single"}}
	case "state-timeline":
		steps = []any{object{"color": "green", "value": nil}, object{"color": "orange", "value": 1}, object{"color": "red", "value": 2}}
		options = object{"mergeValues": true, "showValue": "never", "legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}}
	}
	defaults := object{"unit": p.unit, "custom": custom, "color": object{"mode": "palette-classic"}, "thresholds": object{"mode": "absolute", "steps": steps}, "min": 0}
	if strings.Contains(p.title, "budget left") {
		delete(defaults, "min")
		defaults["thresholds"] = object{"mode": "absolute", "steps": []any{object{"color": "red", "value": nil}, object{"color": "orange", "value": .1}, object{"color": "green", "value": .5}}}
	}
	if kind == "stat" || kind == "state-timeline" {
		defaults["color"] = object{"mode": "thresholds"}
	}
	return object{
		"id": id, "type": kind, "title": p.title, "description": p.about, "datasource": ds, "gridPos": grid, "targets": targets,
		"fieldConfig": object{"defaults": defaults, "overrides": []any{}}, "options": options,
	}
}
