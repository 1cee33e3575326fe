package gateway

import "github.com/keeptrusts/kt/stream"

// MetricKind is what Prometheus calls a metric's type.
type MetricKind string

// The kinds.
const (
	CounterKind   MetricKind = "counter"
	GaugeKind     MetricKind = "gauge"
	HistogramKind MetricKind = "histogram"
)

// Metric describes one family that /metrics lists. What it may hold is bounded:
// labels take configured names (targets, models, policies), words of this
// program, or "other", never what a client or a provider made up.
type Metric struct {
	Name    string
	Kind    MetricKind
	Help    string
	Labels  []string
	Buckets []float64 // of a histogram: upper bounds, classic
}

// The objectives that alerts and dashboards speak of; the buckets of the
// histograms concerned have a bound at each of them.
const (
	AvailabilityObjective = 0.999 // share of requests that do not end in a 5xx status
	LatencyObjective      = 0.99  // share of requests to which the gateway adds less than AddedLatencyBound
	AddedLatencyBound     = 0.005 // seconds
)

// addedBuckets are of time that the gateway itself takes, in seconds.
var addedBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1}

// latencyBuckets are of whole answers, in seconds: a short one to a long stream.
var latencyBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// firstBuckets are of the time to the first token, in seconds.
var firstBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 30}

// spreadBuckets are the bounds of a stream.Spread in seconds.
func spreadBuckets() []float64 {
	var out []float64
	for _, d := range stream.SpreadBounds() {
		out = append(out, d.Seconds())
	}
	return out
}

// MetricTable lists every family of this package's own; those of the Go runtime
// and of the process (RuntimeMetrics) come on top. The collectors are made from
// it, and so are the dashboards and rules under deploy/ (loadtest/dashboards).
func MetricTable() []Metric {
	spread := spreadBuckets()
	return []Metric{
		// What the provider dashboards of the documented family ask for.
		{"keeptrusts_llm_requests_total", CounterKind, "Requests to models by status and policy verdict.", []string{"model", "provider", "status", "verdict"}, nil},
		{"keeptrusts_llm_tokens_total", CounterKind, "Tokens of requests and answers, estimated where the answer names none.", []string{"model", "provider", "direction"}, nil},
		{"keeptrusts_llm_cost_total", CounterKind, "Cost in the currency of the configured prices.", []string{"model", "provider"}, nil},
		{"keeptrusts_llm_latency_seconds", HistogramKind, "Time from a request to the end of its answer.", []string{"model", "provider"}, latencyBuckets},

		{"keeptrusts_gateway_requests_total", CounterKind, "Requests by the provider that answered.", []string{"provider", "model", "status"}, nil},
		{"keeptrusts_gateway_request_duration_seconds", HistogramKind, "Time from a request to the end of its answer.", []string{"provider"}, latencyBuckets},
		{"keeptrusts_gateway_policy_evaluations_total", CounterKind, "Requests that a policy looked at, by the strictest thing it did.", []string{"policy", "result"}, nil},
		{"keeptrusts_gateway_tokens_total", CounterKind, "Tokens of requests and answers.", []string{"direction", "model"}, nil},

		// Latency that is the gateway's own.
		{"keeptrusts_gateway_added_latency_seconds", HistogramKind, "Time of a request that was spent in the gateway itself: not waiting for a target, not waiting for a slow client.", []string{"stream"}, addedBuckets},
		{"keeptrusts_gateway_added_first_token_seconds", HistogramKind, "Time to the first byte of a stream that a target's first event does not account for.", nil, addedBuckets},
		{"keeptrusts_gateway_added_token_delay_seconds", HistogramKind, "How long each event of a stream was in the gateway, from the read that brought it to the write that took it.", nil, spread},
		{"keeptrusts_gateway_hold_seconds", HistogramKind, "How long those events of a stream waited that had to wait for a policy to see more text.", nil, spread},
		{"keeptrusts_gateway_scan_seconds", HistogramKind, "Time that scanning took, for each request and phase.", []string{"phase"}, addedBuckets},
		{"keeptrusts_gateway_stream_held_bytes", HistogramKind, "The most bytes of one stream that waited for a decision at once.", nil, []float64{0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 1048576, 4194304}},
		{"keeptrusts_gateway_time_to_first_token_seconds", HistogramKind, "Time from a request to the first byte of its stream.", []string{"target"}, firstBuckets},
		{"keeptrusts_gateway_first_byte_seconds", HistogramKind, "Time from a request to the first byte of its answer.", nil, latencyBuckets},

		// What policies decided.
		{"keeptrusts_gateway_decisions_total", CounterKind, "Decisions about requests and answers, by what decided.", []string{"verdict", "phase", "policy", "reason"}, nil},
		{"keeptrusts_gateway_scanned_bytes_total", CounterKind, "Bytes of text that policies looked at.", []string{"class"}, nil},
		{"keeptrusts_gateway_edited_frames_total", CounterKind, "Stream events and bodies that left with other bytes than they came with.", nil, nil},
		{"keeptrusts_gateway_pipeline_info", GaugeKind, "The policy chain in use; always 1.", []string{"mode", "digest", "pack"}, nil},

		// How requests ended.
		{"keeptrusts_gateway_outcomes_total", CounterKind, "Requests by the target that answered and how they ended.", []string{"target", "outcome"}, nil},
		{"keeptrusts_gateway_stream_ends_total", CounterKind, "Streams by how they ended.", []string{"end"}, nil},
		{"keeptrusts_gateway_refused_total", CounterKind, "Requests refused before any policy, by code.", []string{"code"}, nil},
		{"keeptrusts_gateway_estimated_usage_total", CounterKind, "Answers whose tokens were estimated.", nil, nil},
		{"keeptrusts_gateway_panics_total", CounterKind, "Requests that ended in a fault of the program.", nil, nil},
		{"keeptrusts_gateway_requests_in_flight", GaugeKind, "Requests to models that run.", nil, nil},
		{"keeptrusts_gateway_connections", GaugeKind, "Client connections.", nil, nil},
		{"keeptrusts_gateway_connections_accepted_total", CounterKind, "Client connections accepted.", nil, nil},

		// Targets.
		{"keeptrusts_gateway_upstream_attempts_total", CounterKind, "Calls to a target by how they ended.", []string{"target", "class"}, nil},
		{"keeptrusts_gateway_upstream_attempt_seconds", HistogramKind, "Time of calls to a target until their first content, or until they failed.", []string{"target"}, latencyBuckets},
		{"keeptrusts_gateway_targets_skipped_total", CounterKind, "Targets that a request did not ask, by reason.", []string{"target", "reason"}, nil},
		{"keeptrusts_gateway_fallbacks_total", CounterKind, "Fallbacks to a target.", []string{"target"}, nil},
		{"keeptrusts_gateway_probes_total", CounterKind, "Calls to a target that were started while another one was running.", []string{"target"}, nil},
		{"keeptrusts_gateway_probe_wins_total", CounterKind, "Probes of a target that brought the answer.", []string{"target"}, nil},
		{"keeptrusts_gateway_wasted_tokens_total", CounterKind, "Tokens of calls that lost against another one, estimated.", []string{"target"}, nil},
		{"keeptrusts_gateway_breaker_state", GaugeKind, "0 closed, 1 half-open, 2 open.", []string{"target"}, nil},
		{"keeptrusts_gateway_breaker_changes_total", CounterKind, "Changes of a target's breaker, by the state it went to.", []string{"target", "state"}, nil},
		{"keeptrusts_gateway_target_ejected", GaugeKind, "1 while a target is not asked because it fails too often.", []string{"target"}, nil},
		{"keeptrusts_gateway_ejections_total", CounterKind, "Times that a target was ejected.", []string{"target"}, nil},

		// The audit log.
		{"keeptrusts_gateway_audit_records_total", CounterKind, "Audit records written.", nil, nil},
		{"keeptrusts_gateway_audit_written_bytes_total", CounterKind, "Bytes of audit records written.", nil, nil},
		{"keeptrusts_gateway_audit_failures_total", CounterKind, "Audit records that could not be written.", nil, nil},
		{"keeptrusts_gateway_audit_reopened_total", CounterKind, "Times that the audit file in use was found moved or deleted, and a new one was begun.", nil, nil},
		{"keeptrusts_gateway_audit_write_seconds", HistogramKind, "Time that a request waited for its audit records to be written.", nil, addedBuckets},
		{"keeptrusts_gateway_audit_lag_seconds", GaugeKind, "Age of the oldest audit record that the disk does not have yet; 0 when it has all.", nil, nil},
	}
}

// RuntimeMetrics are the families of the Go runtime and of the process, a fixed few.
func RuntimeMetrics() []string {
	return []string{
		"go_cpu_classes_gc_total_cpu_seconds_total", "go_gc_duration_seconds", "go_gc_gogc_percent", "go_gc_gomemlimit_bytes", "go_gc_heap_goal_bytes", "go_goroutines", "go_info",
		"go_memory_classes_heap_objects_bytes", "go_memory_classes_total_bytes", "go_memstats_last_gc_time_seconds", "go_sched_gomaxprocs_threads", "go_threads",
		"process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds",
		"process_network_receive_bytes_total", "process_network_transmit_bytes_total", "process_virtual_memory_bytes", "process_virtual_memory_max_bytes",
	}
}
