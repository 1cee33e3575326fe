package config

import (
	"slices"
	"strings"

	"github.com/keeptrusts/kt/schemas"
)

// Built says what this version implements. What is documented and not in it is
// refused by name. Later work adds an entry here and nothing else in this
// package.
type Built struct {
	Kinds      []string // policy kinds
	Strategies []string // canonical names of routing strategies
	Features   []string // the Feature constants
	Paths      []string // of requests that run through the chain
}

// Features of the providers section and of the chain that can be switched.
const (
	FeatureProbe          = "providers.fallback.probe"
	FeatureMinHold        = "providers.fallback.min_hold_ms"
	FeatureContextWindow  = "providers.fallback.context_window"
	FeatureCircuitBreaker = "providers.circuit_breaker"
	FeatureRetry          = "providers.retry"
	FeatureModelGroups    = "providers.model_groups"
	FeatureHealthMonitor  = "health_monitor"
	FeatureTargetLimits   = "providers.targets.limits"
)

// DefaultBuilt is what this version implements.
func DefaultBuilt() Built {
	return Built{
		Kinds: []string{"audit-logger", "case-privacy", "dlp-filter", "dual-use-filter", "entity-list-filter", "itar-ear-filter",
			"legal-privilege", "mnpi-filter", "pii-detector", "prompt-injection", "safety-filter", "student-privacy"},
		Strategies: Strategies(),
		Features: []string{FeatureProbe, FeatureMinHold, FeatureContextWindow, FeatureCircuitBreaker, FeatureRetry, FeatureModelGroups,
			FeatureHealthMonitor, FeatureTargetLimits},
		Paths: []string{"/v1/chat/completions"},
	}
}

// AllBuilt switches everything on that has a schema; for tests of what is to
// come.
func AllBuilt() Built {
	return Built{
		Kinds:      schemas.Kinds(),
		Strategies: Strategies(),
		Features: []string{FeatureProbe, FeatureMinHold, FeatureContextWindow, FeatureCircuitBreaker, FeatureRetry,
			FeatureModelGroups, FeatureHealthMonitor, FeatureTargetLimits},
		Paths: DefaultBuilt().Paths,
	}
}

// Kind tells whether a policy kind is implemented.
func (b Built) Kind(name string) bool { return slices.Contains(b.Kinds, name) }

func (b Built) strategy(name string) bool { return slices.Contains(b.Strategies, name) }
func (b Built) feature(name string) bool  { return slices.Contains(b.Features, name) }

// DocumentedKinds are the names of all documented policy kinds, built or not,
// sorted.
func DocumentedKinds() []string {
	return []string{
		"agent-firewall", "audit-logger", "bias-monitor", "bot-detector", "case-privacy", "citation-verifier", "cjis-mode",
		"code-sanitizer", "content-extractor", "data-routing-policy", "dlp-filter", "document-analyzer", "dual-use-filter",
		"embedding-detector", "entity-list-filter", "eu-ai-act", "external-moderation", "financial-compliance", "flagged-review",
		"gdpr-compliance", "healthcare-compliance", "hipaa-phi-detector", "human-oversight", "itar-ear-filter", "language-validator",
		"legal-privilege", "mnpi-filter", "pii-detector", "prompt-injection", "quality-scorer", "rbac", "request-rewriter",
		"response-rewriter", "safety-filter", "student-privacy", "tool-budget", "tool-security", "tool-validation", "upl-filter",
	}
}

// OtherPaths are those of the APIs that a gateway knows and does not serve: it
// answers them with 501 and passes nothing on.
func OtherPaths() []string {
	return []string{
		"/v1/responses", "/v1/messages", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/audio/", "/v1/images/",
		"/v1/files", "/v1/uploads", "/v1/batches", "/v1/fine_tuning", "/v1/vector_stores", "/v1/realtime", "/v1/assistants", "/v1/threads",
		"/v1/conversations", "/v1/containers", "/v1/evals", "/v1/videos", "/v1/organization",
	}
}

// Strategies are the canonical names of all routing strategies.
func Strategies() []string {
	return []string{"ordered", "single", "lowest_latency", "highest_throughput", "round_robin", "lowest_cost", "random",
		"weighted", "least_busy", "usage_based", "sticky"}
}

// canonicalStrategy undoes aliases; the result need not be a known strategy.
func canonicalStrategy(s string) string {
	s = strings.ReplaceAll(strings.ToLower(s), "-", "_")
	switch s {
	case "latency":
		return "lowest_latency"
	case "throughput":
		return "highest_throughput"
	case "cost":
		return "lowest_cost"
	case "hash":
		return "sticky"
	}
	return s
}

// Triggers are the canonical names of the faults that can fall back.
func Triggers() []string {
	return []string{"rate_limit_exceeded", "timeout", "5xx", "service_unavailable", "auth", "not_found", "connection"}
}

func canonicalTrigger(s string) string {
	s = strings.ReplaceAll(strings.ToLower(s), "-", "_")
	switch s {
	case "rate_limit":
		return "rate_limit_exceeded"
	case "server_error":
		return "5xx"
	}
	return s
}

// CanonicalProvider gives a provider id in the one spelling that the rest of
// kt uses: lower case, '-' for '_', aliases undone.
func CanonicalProvider(id string) string {
	id = strings.ReplaceAll(strings.ToLower(id), "_", "-")
	switch id {
	case "azure":
		return "azure-openai"
	case "google":
		return "google-ai-studio"
	case "bedrock":
		return "aws-bedrock"
	}
	return id
}

// place says why a documented key is not accepted where it stands.
type place struct {
	pattern string // JSON pointer; * is one key or index
	now     string // where it belongs now, "" when it has no place
	built   bool   // false with now == "": documented but not built yet; true: not supported
	why     string
}

// places are documented keys that the schema does not have: older places name
// the new one, sections not built yet say so.
var places = []place{
	{pattern: "/model_groups", now: "providers.model_groups"},
	{pattern: "/provider_routing", now: "providers.routing"},
	{pattern: "/provider_fallback", now: "providers.fallback"},
	{pattern: "/routing", now: "providers.routing"},
	{pattern: "/fallback", now: "providers.fallback"},
	{pattern: "/failover", now: "providers.fallback"},
	{pattern: "/circuit_breaker", now: "providers.circuit_breaker"},
	{pattern: "/targets", now: "providers.targets"},
	{pattern: "/chain", now: "policies.chain"},
	{pattern: "/input_policies", now: "policies.chain"},
	{pattern: "/output_policies", now: "policies.chain"},
	{pattern: "/name", now: "pack.name"},
	{pattern: "/traffic_mirror", now: "providers.mirror, which is not built yet"},
	{pattern: "/gateway", built: true, why: "the gateway's own settings are flags of kt gateway run"},
	{pattern: "/version", built: true, why: "the format has no version; pack.version is the pack's own"},
	{pattern: "/rate_limit_defaults", built: true, why: "limits have no defaults section"},
	{pattern: "/workflow_cache", built: true, why: "it belongs to the hosted service"},
	{pattern: "/engineering_cache", built: true, why: "it belongs to the hosted service"},
	{pattern: "/fabric", built: true, why: "it belongs to the hosted service"},
	{pattern: "/loads", built: true, why: "it sends content to the hosted service"},
	{pattern: "/history", built: true, why: "it sends content to the hosted service"},
	{pattern: "/includes", built: true, why: "files are layered with several --policy-config"},
	{pattern: "/agents"}, {pattern: "/global_rate_limit"}, {pattern: "/ip_rate_limit"}, {pattern: "/user_rate_limit"},
	{pattern: "/token_rate_limit"}, {pattern: "/size_limits"}, {pattern: "/rate_limits"}, {pattern: "/cache"},
	{pattern: "/ip_allowlist"}, {pattern: "/cors"}, {pattern: "/consumer_groups"}, {pattern: "/unified_access"},
	{pattern: "/routes"}, {pattern: "/callbacks"}, {pattern: "/memory"}, {pattern: "/learning"}, {pattern: "/moderation"},
	{pattern: "/model_listing"}, {pattern: "/review"},
	{pattern: "/providers/ab_test"}, {pattern: "/providers/mirror"}, {pattern: "/providers/shared_limits"},
	{pattern: "/providers/logging"}, {pattern: "/providers/context_compression"}, {pattern: "/providers/zero_completion"},
	{pattern: "/providers/failover", now: "providers.fallback"},
	{pattern: "/providers/targets/*/transport"}, {pattern: "/providers/targets/*/ping_interval_secs"},
	{pattern: "/providers/targets/*/max_message_size_bytes"}, {pattern: "/providers/targets/*/idle_timeout_secs"},
	{pattern: "/providers/targets/*/max_price"}, {pattern: "/providers/targets/*/escalation_routing"},
	{pattern: "/providers/targets/*/forward_client_key"},
	{pattern: "/providers/targets/*/cloudflare_account_id_env"}, {pattern: "/providers/targets/*/accountIdEnvar"},
	{pattern: "/providers/targets/*/snowflake_account_identifier_env"}, {pattern: "/providers/targets/*/accountIdentifierEnvar"},
	{pattern: "/providers/targets/*/timeout", now: "timeouts_ms"}, {pattern: "/providers/targets/*/timeout_ms", now: "timeouts_ms.total"},
	{pattern: "/providers/targets/*/timeouts", now: "timeouts_ms"}, {pattern: "/providers/targets/*/url", now: "base_url"},
	{pattern: "/providers/targets/*/api_base", now: "base_url"}, {pattern: "/providers/targets/*/name", now: "id"},
	{pattern: "/providers/targets/*/api_key", now: "secret_key_ref"}, {pattern: "/providers/targets/*/api_key_env", now: "secret_key_ref: {env: NAME}"},
	{pattern: "/providers/targets/*/models", now: "providers.model_groups"},
	{pattern: "/providers/fallback/providers", now: "providers.targets"},
	{pattern: "/policies/policies", now: "policies.chain"}, {pattern: "/policies/input", now: "policies.chain"}, {pattern: "/policies/output", now: "policies.chain"},
	{pattern: "/cors/allowed_origins", now: "cors.allow_origins"},
	{pattern: "/policy/dlp-filter/patterns", now: "detect_patterns"},
	{pattern: "/policy/entity-list-filter/lists", now: "blocked_entities"},
	{pattern: "/policy/itar-ear-filter/categories", now: "blocked_terms"},
	{pattern: "/policy/dual-use-filter/categories", now: "blocked_terms"},
	{pattern: "/policy/prompt-injection/boundary", now: "boundaries"},
	{pattern: "/policy/prompt-injection/message", now: "response.message"},
}

// refusal is a documented field of a kind whose value asks for something that
// is not built yet. Work that builds it removes the line.
type refusal struct {
	pattern string
	value   string // the refused spelling; other values are accepted
	instead string
}

var refusals = []refusal{
	{"/policy/prompt-injection/backend", "external", "use backend: local, or leave it out"},
	{"/policy/audit-logger/hipaa_audit_controls", "true", "leave it out until then"},
	{"/policy/*/streaming_mode", "buffered", "streamed answers are scanned as they flow: leave it out"},
}

func matchPointer(pattern, ptr string) bool {
	p, s := strings.Split(pattern, "/"), strings.Split(ptr, "/")
	if len(p) != len(s) {
		return false
	}
	for i := range p {
		if p[i] != "*" && p[i] != s[i] {
			return false
		}
	}
	return true
}
