package config_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/schemas"
)

func load(t testing.TB, opt config.Options, texts ...string) (*config.Config, diag.List) {
	t.Helper()
	var files []config.Source
	for i, s := range texts {
		name := "policy-config.yaml"
		if i > 0 {
			name = "layer" + string(rune('0'+i)) + ".yaml"
		}
		files = append(files, config.Source{Name: name, Data: []byte(s)})
	}
	return config.Load(files, opt)
}

func quickStart(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/quick-launch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestQuickStartLoadsUnchanged(t *testing.T) {
	cfg, diags := load(t, config.Options{}, quickStart(t))
	if len(diags) != 0 {
		t.Fatalf("diagnostics:\n%s", diags.Text())
	}
	if cfg.Pack.Name != "quick-launch" || cfg.Pack.Version != "0.1.0" || !cfg.Pack.Enabled {
		t.Errorf("pack = %+v", cfg.Pack)
	}
	if len(cfg.Providers.Targets) != 1 {
		t.Fatalf("targets = %+v", cfg.Providers.Targets)
	}
	target := cfg.Providers.Targets[0]
	if target.ID != "openai-primary" || target.Provider != "openai" || target.Model != "gpt-5.4-mini" ||
		target.BaseURL != "https://api.openai.com" || target.SecretRef.Env != "OPENAI_API_KEY" || !target.Enabled {
		t.Errorf("target = %+v", target)
	}
	if len(cfg.Chain) != 2 || cfg.Chain[0].Kind != "prompt-injection" || cfg.Chain[1].Kind != "audit-logger" {
		t.Errorf("chain = %+v", cfg.Chain)
	}
	if got := cfg.Chain[0].Pos.String(); got != "policy-config.yaml:15:7" {
		t.Errorf("chain entry at %s", got)
	}
	if f, ok := cfg.Policy["prompt-injection"].Get("threshold").Float(); !ok || f != 0.8 {
		t.Errorf("threshold = %v %v", f, ok)
	}
	if cfg.Digest[:7] != "sha256:" || len(cfg.Digest) != 71 {
		t.Errorf("digest = %s", cfg.Digest)
	}
}

const head = "pack: {name: x, version: 0.1.0}\npolicies: {chain: [prompt-injection, audit-logger]}\n"

// mustLoad loads with everything switched on that has a schema.
func mustLoad(t testing.TB, texts ...string) *config.Config {
	t.Helper()
	built := config.AllBuilt()
	cfg, diags := load(t, config.Options{Built: &built}, texts...)
	if cfg == nil {
		t.Fatalf("not loaded:\n%s", diags.Text())
	}
	return cfg
}

func codes(l diag.List) []string {
	var out []string
	for _, d := range l {
		out = append(out, string(d.Code))
	}
	return out
}

func TestLayersMergeMapsAndReplaceTheRest(t *testing.T) {
	base := `
pack: {name: base, version: 0.1.0, description: kept}
providers:
  targets:
    - {id: a, provider: openai, model: m1, weight: 3, headers: {x-a: "1"}}
    - {id: b, provider: openai, model: m2}
  fallback: {triggers: [timeout, 5xx], max_retries: 2}
policies: {chain: [prompt-injection, audit-logger]}
policy:
  prompt-injection: {threshold: 0.8, detection: {attack_patterns: [one, two]}}
  audit-logger: {retention_days: 30}
`
	over := `
pack: {version: 0.2.0}
providers:
  targets:
    - {id: c, provider: openai, model: m3}
    - {id: a, model: m9, headers: {x-b: "2"}}
  fallback: {triggers: [auth]}
policies: {chain: [audit-logger, prompt-injection]}
policy:
  prompt-injection: {detection: {attack_patterns: [three]}}
`
	cfg := mustLoad(t, base, over)
	if cfg.Pack.Name != "base" || cfg.Pack.Version != "0.2.0" || cfg.Pack.Description != "kept" {
		t.Errorf("pack = %+v", cfg.Pack)
	}
	var ids []string
	for _, target := range cfg.Providers.Targets {
		ids = append(ids, target.ID+"="+target.Model)
	}
	if diff := cmp.Diff([]string{"a=m9", "b=m2", "c=m3"}, ids); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	a := cfg.Providers.Targets[0]
	if a.Weight != 3 || a.Headers["x-a"] != "1" || a.Headers["x-b"] != "2" {
		t.Errorf("target a = %+v", a)
	}
	if diff := cmp.Diff([]string{"auth"}, cfg.Providers.Fallback.Triggers); diff != "" {
		t.Errorf("triggers (-want +got):\n%s", diff)
	}
	if cfg.Providers.Fallback.MaxAttempts != 2 {
		t.Errorf("max attempts = %d", cfg.Providers.Fallback.MaxAttempts)
	}
	if cfg.Chain[0].Kind != "audit-logger" || cfg.Chain[0].Pos.File != "layer1.yaml" {
		t.Errorf("chain[0] = %s at %s", cfg.Chain[0].Kind, cfg.Chain[0].Pos)
	}
	pi := cfg.Policy["prompt-injection"]
	if got := string(pi.JSON()); got != `{"threshold":0.8,"detection":{"attack_patterns":["three"]}}` {
		t.Errorf("prompt-injection = %s", got)
	}
	if p := pi.Get("threshold").Pos(); p.File != "policy-config.yaml" || p.Line != 10 {
		t.Errorf("threshold at %s", p)
	}
	if p := pi.Path("detection", "attack_patterns").Index(0).Pos(); p.File != "layer1.yaml" || p.Line != 10 {
		t.Errorf("pattern at %s", p)
	}
}

func TestLayersLeaveEarlierConfigsAlone(t *testing.T) {
	base := head + "providers: {targets: [{id: a, provider: openai, model: m}]}\n"
	alone := mustLoad(t, base)
	before := string(alone.Root().CanonicalJSON())
	mustLoad(t, base, "providers: {targets: [{id: a, model: n}]}\n")
	if after := string(alone.Root().CanonicalJSON()); after != before {
		t.Errorf("a Config changed: %s", after)
	}
}

func TestDigestFollowsContentNotLayout(t *testing.T) {
	one := mustLoad(t, "pack: {name: x, version: 0.1.0}\npolicies: {chain: [audit-logger]}\npolicy: {audit-logger: {retention_days: 30, immutable: true}}\n")
	same := mustLoad(t, "policy:\n  audit-logger:\n    immutable: true # yes\n    \"retention_days\": 30\npolicies:\n  chain:\n  - audit-logger\npack:\n  version: '0.1.0'\n  name: x\n")
	layered := mustLoad(t, "pack: {name: x, version: 0.0.1}\npolicies: {chain: [audit-logger]}\n", "pack: {version: 0.1.0}\npolicy: {audit-logger: {retention_days: 30, immutable: true}}\n")
	other := mustLoad(t, "pack: {name: x, version: 0.1.0}\npolicies: {chain: [audit-logger]}\npolicy: {audit-logger: {retention_days: 31, immutable: true}}\n")
	if one.Digest != same.Digest || one.Digest != layered.Digest {
		t.Errorf("one content, several digests: %s %s %s", one.Digest, same.Digest, layered.Digest)
	}
	if one.Digest == other.Digest {
		t.Error("two contents, one digest")
	}
}

func TestProviderForms(t *testing.T) {
	for form, want := range map[string][3]string{
		`provider: openai, model: m`:                               {"openai", "chat", "m"},
		`provider: "OpenAI:chat:m"`:                                {"openai", "chat", "m"},
		`provider: "openrouter:chat:openai/gpt-x"`:                 {"openrouter", "chat", "openai/gpt-x"},
		`provider: "openllm:chat:llama3:8b-instruct"`:              {"openllm", "chat", "llama3:8b-instruct"},
		`provider: "voyage:embedding:v-3"`:                         {"voyage", "embedding", "v-3"},
		`provider: azure, model: m`:                                {"azure-openai", "chat", "m"},
		`provider: azure_openai, model: m`:                         {"azure-openai", "chat", "m"},
		`provider: "google:chat:g", model: g`:                      {"google-ai-studio", "chat", "g"},
		`provider: bedrock, model: m, base_url: "https://b.eu/v1"`: {"aws-bedrock", "chat", "m"},
	} {
		cfg := mustLoad(t, head+"providers: {targets: [{id: a, "+form+"}]}\n")
		g := cfg.Providers.Targets[0]
		if got := [3]string{g.Provider, g.Mode, g.Model}; got != want {
			t.Errorf("%s: %v, want %v", form, got, want)
		}
	}
}

func TestBaseURLWithAndWithoutV1IsOne(t *testing.T) {
	for in, want := range map[string]string{
		"https://api.openai.com":                                 "https://api.openai.com",
		"https://api.openai.com/":                                "https://api.openai.com",
		"https://api.openai.com/v1":                              "https://api.openai.com",
		"https://api.openai.com/v1/":                             "https://api.openai.com",
		"https://api.openai.com//":                               "https://api.openai.com",
		"https://gateway.ai.cloudflare.com/v1/acc/gw/openai":     "https://gateway.ai.cloudflare.com/v1/acc/gw/openai",
		"https://w.azuredatabricks.net/serving-endpoints":        "https://w.azuredatabricks.net/serving-endpoints",
		"https://generativelanguage.googleapis.com/v1beta/apiv1": "https://generativelanguage.googleapis.com/v1beta/apiv1",
	} {
		cfg := mustLoad(t, head+"providers: {targets: [{id: a, provider: openai, model: m, base_url: \""+in+"\"}]}\n")
		g := cfg.Providers.Targets[0]
		if g.BaseURL != want || g.ConfiguredURL != in {
			t.Errorf("%s: %s and %s, want %s", in, g.BaseURL, g.ConfiguredURL, want)
		}
	}
}

func TestPlainHTTPAndPrivateAddressesNeedPermission(t *testing.T) {
	for url, want := range map[string]map[string]string{
		"http://localhost:11434/v1":   {"": "KT3005", "allow_private": "", "unsafe_allow_http": "KT3016"},
		"http://127.0.0.1:11434":      {"": "KT3005", "allow_private": "", "unsafe_allow_http": "KT3016"},
		"http://[::1]:8000":           {"": "KT3005", "allow_private": "", "unsafe_allow_http": "KT3016"},
		"http://[::ffff:127.0.0.1]:1": {"": "KT3005", "allow_private": ""},
		"http://models.example.com":   {"": "KT3005", "allow_private": "KT3005", "unsafe_allow_http": ""},
		"http://10.1.2.3":             {"": "KT3005", "allow_private": "KT3005", "unsafe_allow_http": "KT3016"},
		"https://10.1.2.3":            {"": "KT3016", "allow_private": ""},
		"https://169.254.169.254":     {"": "KT3016"},
		"https://localhost":           {"": "KT3016", "allow_private": ""},
		"https://0.0.0.0":             {"": "KT3016"},
		"https://api.example.com":     {"": ""},
	} {
		for permit, code := range want {
			text := head + "providers: {targets: [{id: a, provider: vllm, model: m, base_url: \"" + url + "\""
			if permit != "" {
				text += ", " + permit + ": true"
			}
			_, diags := load(t, config.Options{}, text+"}]}\n")
			if got := strings.Join(codes(diags), " "); got != code {
				t.Errorf("%s with %q: %q, want %q", url, permit, got, code)
			}
		}
	}
}

func TestProvidersAreFullyTyped(t *testing.T) {
	cfg := mustLoad(t, head+`
providers:
  targets:
    - id: a
      provider: openai
      model: m
      secret_key_ref: {store: openai.key}
      api_key_header: x-api-key
      api_key_prefix: ""
      provider_type: anthropic
      path_template: /x/{model}
      weight: 2.5
      priority: 7
      limits: {max_concurrency: 3, requests_per_minute: 60, tokens_per_minute: 90000}
      pricing: {input_per_1k: 0.5, output_per_1k: 1.5}
      timeouts_ms: {connect: 100, first_byte: 200, between_bytes: 300, total: 400}
      headers: {X-Team: blue, OpenAI-Organization: org}
      zdr: true
      data_policy: {training_opt_out: true, retention_days: 0}
      data_collection: deny
    - {id: b, provider: openai, model: n, enabled: false}
    - {id: c, provider: openai, model: o, priority: 1}
  routing: {strategy: least-busy, latency_window: 5m, min_sample_count: 9, max_latency_ms: 5000}
  fallback:
    retry_on: [rate_limit, server_error, 5xx, service-unavailable]
    max_retries: 4
    context_window: c
    min_hold_ms: 250
    probe: {probe_after: 750ms, max_parallel: 3, budget_percent: 5, per_request: 2}
  circuit_breaker: {failure_threshold: 9, recovery_timeout: 45s, half_open_max_requests: 2}
  retry: {max_attempts: 2, initial_backoff_ms: 10, max_backoff_ms: 20}
  model_groups:
    - {name: fast, aliases: [quick], targets: [a, {target: c, weight: 3}], fallback_group: slow, strategy: cost}
    - {name: slow, targets: [b]}
health_monitor: {interval: 10, timeout: 2s, method: completion}
`)
	p := cfg.Providers
	a := p.Targets[0]
	prefix, days := "", 0
	want := config.Target{
		ID: "a", Provider: "openai", Mode: "chat", Model: "m", SecretRef: config.SecretRef{Store: "openai.key"},
		APIKeyHeader: "x-api-key", APIKeyPrefix: &prefix, Format: "anthropic", PathTemplate: "/x/{model}", AzureAPIVersion: "2024-02-01",
		Weight: 2.5, Priority: 7, Enabled: true, Limits: config.Limits{MaxConcurrency: 3, RequestsPerMinute: 60, TokensPerMinute: 90000},
		Pricing:    &config.Pricing{InputPer1K: 0.5, OutputPer1K: 1.5},
		Timeouts:   config.Timeouts{Connect: 100 * time.Millisecond, FirstByte: 200 * time.Millisecond, BetweenBytes: 300 * time.Millisecond, Total: 400 * time.Millisecond},
		Headers:    map[string]string{"x-team": "blue", "openai-organization": "org"},
		DataPolicy: config.DataPolicy{ZeroDataRetention: true, TrainingOptOut: true, RetentionDays: &days, DataCollection: "deny", Declared: true},
	}
	noValue := cmpopts.IgnoreTypes(config.Value{})
	if diff := cmp.Diff(want, a, noValue); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
	if in := p.InOrder(); len(in) != 2 || in[0].ID != "c" || in[1].ID != "a" {
		t.Errorf("in order: %v", in)
	}
	if diff := cmp.Diff(config.Routing{Strategy: "least_busy", Window: 5 * time.Minute, MinSampleCount: 9, MaxLatency: 5 * time.Second, StickyBy: "user"}, p.Routing, noValue); diff != "" {
		t.Errorf("routing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(config.Fallback{
		Enabled: true, Triggers: []string{"rate_limit_exceeded", "5xx", "service_unavailable"}, MaxAttempts: 4, ContextWindow: "c", MinHold: 250 * time.Millisecond,
		Probe: config.Probe{Enabled: true, After: 750 * time.Millisecond, MaxParallel: 3, BudgetPercent: 5, PerRequest: 2},
	}, p.Fallback, noValue); diff != "" {
		t.Errorf("fallback (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(config.CircuitBreaker{Enabled: true, FailureThreshold: 9, Cooldown: 45 * time.Second, HalfOpenMaxRequests: 2}, p.CircuitBreaker); diff != "" {
		t.Errorf("breaker (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(config.Retry{MaxAttempts: 2, InitialBackoff: 10 * time.Millisecond, MaxBackoff: 20 * time.Millisecond}, p.Retry); diff != "" {
		t.Errorf("retry (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(config.HealthMonitor{Enabled: true, Interval: 10 * time.Second, Timeout: 2 * time.Second, UnhealthyThreshold: 3, HealthyThreshold: 2, Method: "completion"}, p.HealthMonitor); diff != "" {
		t.Errorf("health (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]config.ModelGroup{
		{Name: "fast", Aliases: []string{"quick"}, Strategy: "lowest_cost", Members: []config.Member{{Target: "a", Weight: 1}, {Target: "c", Weight: 3}}, FallbackGroup: "slow"},
		{Name: "slow", Members: []config.Member{{Target: "b", Weight: 1}}},
	}, p.ModelGroups, noValue); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestWithoutSectionsTheDefaultsApply(t *testing.T) {
	p := mustLoad(t, quickStart(t)).Providers
	noValue := cmpopts.IgnoreTypes(config.Value{})
	if diff := cmp.Diff(config.Routing{Strategy: "ordered", Window: 5 * time.Minute, MinSampleCount: 5, StickyBy: "user"}, p.Routing, noValue); diff != "" {
		t.Errorf("routing (-want +got):\n%s", diff)
	}
	if p.Fallback.Enabled || p.Fallback.MaxAttempts != 0 || p.CircuitBreaker.Enabled || p.HealthMonitor.Enabled || p.Retry.MaxAttempts != 1 {
		t.Errorf("something is on: %+v", p)
	}
	if diff := cmp.Diff(config.Timeouts{Connect: 5 * time.Second, FirstByte: time.Minute, BetweenBytes: time.Minute, Total: 10 * time.Minute}, p.Targets[0].Timeouts); diff != "" {
		t.Errorf("timeouts (-want +got):\n%s", diff)
	}
}

func TestReferencesAndGroupsAreChecked(t *testing.T) {
	built := config.AllBuilt()
	_, diags := load(t, config.Options{Built: &built, Providers: []string{"openai", "azure-openai"}}, head+`
providers:
  targets:
    - {id: alpha, provider: openai, model: m, weight: 0}
    - {id: beta, provider: opnai, model: m, weight: 0}
  routing: {strategy: weighted}
  fallback: {context_window: alfa, probe: {probe_after: soon}}
  circuit_breaker: {cooldown_seconds: 3, recovery_timeout: 99h}
  retry: {initial_backoff_ms: 500, max_backoff_ms: 100}
  model_groups:
    - {name: a, targets: [betta], fallback_group: b}
    - {name: b, targets: [{target: alpha, weight: 0}], fallback_group: a}
    - {name: a, targets: [alpha], fallback_group: nowhere}
  health_monitor: {interval: -1}
health_monitor: {interval: 0}
`)
	want := []string{"KT3012", "KT3002", "KT3006", "KT3009", "KT1111", "KT1103", "KT3006", "KT3013", "KT3012", "KT3013", "KT3014", "KT3006", "KT1103", "KT1111", "KT3009"}
	got := codes(diags)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s\n%s", diff, diags.Text())
	}
}

func TestChainConditionsAreTyped(t *testing.T) {
	cfg := mustLoad(t, `
pack: {name: x, version: 0.1.0}
providers: {targets: [{id: a, provider: openai, model: m}]}
policies:
  chain:
    - prompt-injection: {when: {path: /v1/chat, header: {X-Env: prod}, model: [m, n]}, stage: pre-request, parallel: true}
    - prompt-injection: {when: {model: [o]}}
    - pii-detector:
    - audit-logger
`)
	e := cfg.Chain[0]
	if e.Kind != "prompt-injection" || e.When.Path != "/v1/chat" || e.When.Header["x-env"] != "prod" || !slices.Equal(e.When.Model, []string{"m", "n"}) ||
		e.Stage != "pre-request" || !e.Parallel || e.When.Always() || e.Pos.Line != 6 || e.Pos.Column != 7 {
		t.Errorf("chain[0] = %+v", e)
	}
	if !cfg.Chain[2].When.Always() || cfg.Chain[2].Kind != "pii-detector" {
		t.Errorf("chain[2] = %+v", cfg.Chain[2])
	}
	if _, ok := cfg.Entry("audit-logger"); !ok {
		t.Error("no entry audit-logger")
	}
	if _, ok := cfg.Entry("rbac"); ok {
		t.Error("an entry rbac")
	}
}

func TestDocumentedKindsAreThirtyNineAndHoldAllSchemas(t *testing.T) {
	kinds := config.DocumentedKinds()
	if len(kinds) != 39 || !slices.IsSorted(kinds) {
		t.Errorf("%d kinds, sorted %v", len(kinds), slices.IsSorted(kinds))
	}
	for _, k := range schemas.Kinds() {
		if !slices.Contains(kinds, k) {
			t.Errorf("%s has a schema and is not documented", k)
		}
	}
	for _, k := range config.DefaultBuilt().Kinds {
		if !slices.Contains(schemas.Kinds(), k) {
			t.Errorf("%s is built and has no schema", k)
		}
	}
}

func TestEverythingBuiltAcceptsTheKindsWithASchema(t *testing.T) {
	var chain strings.Builder
	for _, k := range schemas.Kinds() {
		chain.WriteString("    - " + k + "\n")
	}
	cfg := mustLoad(t, "pack: {name: x, version: 0.1.0}\npolicies:\n  chain:\n"+chain.String())
	if len(cfg.Chain) != len(schemas.Kinds()) {
		t.Errorf("chain has %d entries", len(cfg.Chain))
	}
}

func TestTestingSectionIsTyped(t *testing.T) {
	cfg := mustLoad(t, head+`
testing:
  default_threshold: 0.5
  suites:
    - name: s
      description: d
      target: pii-detector
      assertions: [{type: contains, value: x, weight: 2, mode: audit}]
      cases:
        - name: a
          input:
            messages: [{role: user, content: "hello"}]
            headers: {X-User-Id: u}
            upstream_response: {z: 1, a: 2}
            gateway_name: gw
            team_slugs: [t]
          expected: {verdict: redact, reason_code: pii.detected, output: "", metadata: {n: 1}}
`)
	tt := cfg.Testing
	if tt == nil || *tt.DefaultThreshold != 0.5 || len(tt.Suites) != 1 {
		t.Fatalf("testing = %+v", tt)
	}
	s := tt.Suites[0]
	if s.Name != "s" || s.Description != "d" || s.Target != "pii-detector" || len(s.Assertions) != 1 || s.Assertions[0].Mode != "audit" || s.Assertions[0].Weight != 2 || !s.Assertions[0].Enabled {
		t.Errorf("suite = %+v", s)
	}
	c := s.Cases[0]
	if string(c.Input.Messages) != `[{"role":"user","content":"hello"}]` || string(c.Input.UpstreamResponse) != `{"z":1,"a":2}` ||
		c.Input.ProxyName != "gw" || c.Input.Headers["X-User-Id"] != "u" || c.Input.TeamSlugs[0] != "t" || c.Input.Request != nil {
		t.Errorf("input = %+v", c.Input)
	}
	if c.Expected.Verdict != "redact" || c.Expected.ReasonCode != "pii.detected" || c.Expected.Output == nil || *c.Expected.Output != "" || len(c.Expected.Metadata) != 1 {
		t.Errorf("expected = %+v", c.Expected)
	}
}

func TestMergedFormReadsBackTheSame(t *testing.T) {
	cfg := mustLoad(t, quickStart(t), `
pack: {description: "a: b # \"c\" \u2028 \n d"}
policies: {chain: [pii-detector, {prompt-injection: {when: {header: {X-A: "true"}, model: ["a:b"]}}}]}
policy: {pii-detector: {detect_patterns: ['EMP-\d{6}', "yes", "12", "~", "- a"], redaction: {custom_markers: {}}}, audit-logger: }
`)
	built := config.AllBuilt()
	text := cfg.Root().YAML()
	again, diags := load(t, config.Options{Built: &built}, string(text))
	if again == nil {
		t.Fatalf("refused:\n%s\n%s", text, diags.Text())
	}
	if again.Digest != cfg.Digest {
		t.Errorf("digests differ:\n%s\n%s\n%s", text, cfg.Root().CanonicalJSON(), again.Root().CanonicalJSON())
	}
	want := "pack:\n  name: quick-launch\n  version: \"0.1.0\"\n  enabled: true\n"
	if !strings.HasPrefix(string(text), want) {
		t.Errorf("merged form:\n%s", text)
	}
}

// TestDefaultsAreThoseOfTheSchema compares what an empty section becomes with
// what the schema, and so the documentation, promises.
func TestDefaultsAreThoseOfTheSchema(t *testing.T) {
	p := mustLoad(t, head+`
providers:
  targets: [{id: a, provider: openai, model: m}]
  routing: {}
  fallback: {probe: {}}
  circuit_breaker: {}
  retry: {}
health_monitor: {}
`).Providers
	var doc struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Default    any
				Properties map[string]struct{ Default any }
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(schemas.PolicyConfig(), &doc); err != nil {
		t.Fatal(err)
	}
	def := func(section, key string) any { return doc.Defs[section].Properties[key].Default }
	sub := func(section, key, field string) any {
		return doc.Defs[section].Properties[key].Properties[field].Default
	}
	a := p.Targets[0]
	ms := func(d time.Duration) any { return float64(d.Milliseconds()) }
	dur := func(s any) time.Duration {
		d, err := time.ParseDuration(s.(string))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, pair := range map[string][2]any{
		"weight":                 {a.Weight, def("target", "weight")},
		"priority":               {float64(a.Priority), def("target", "priority")},
		"enabled":                {a.Enabled, def("target", "enabled")},
		"allow_private":          {a.AllowPrivate, def("target", "allow_private")},
		"unsafe_allow_http":      {a.UnsafeAllowHTTP, def("target", "unsafe_allow_http")},
		"azure_api_version":      {a.AzureAPIVersion, def("target", "azure_api_version")},
		"zdr":                    {a.DataPolicy.ZeroDataRetention, def("target", "zdr")},
		"connect":                {ms(a.Timeouts.Connect), sub("target", "timeouts_ms", "connect")},
		"first_byte":             {ms(a.Timeouts.FirstByte), sub("target", "timeouts_ms", "first_byte")},
		"between_bytes":          {ms(a.Timeouts.BetweenBytes), sub("target", "timeouts_ms", "between_bytes")},
		"total":                  {ms(a.Timeouts.Total), sub("target", "timeouts_ms", "total")},
		"strategy":               {p.Routing.Strategy, def("routing", "strategy")},
		"window_seconds":         {p.Routing.Window.Seconds(), def("routing", "window_seconds")},
		"min_sample_count":       {float64(p.Routing.MinSampleCount), def("routing", "min_sample_count")},
		"sticky_by":              {p.Routing.StickyBy, def("routing", "sticky_by")},
		"fallback":               {p.Fallback.Enabled, def("fallback", "enabled")},
		"max_fallback_attempts":  {float64(p.Fallback.MaxAttempts), def("fallback", "max_fallback_attempts")},
		"min_hold_ms":            {ms(p.Fallback.MinHold), def("fallback", "min_hold_ms")},
		"probe":                  {p.Fallback.Probe.Enabled, sub("fallback", "probe", "enabled")},
		"probe_after":            {p.Fallback.Probe.Auto, sub("fallback", "probe", "probe_after") == "auto"},
		"max_parallel":           {float64(p.Fallback.Probe.MaxParallel), sub("fallback", "probe", "max_parallel")},
		"budget_percent":         {p.Fallback.Probe.BudgetPercent, sub("fallback", "probe", "budget_percent")},
		"per_request":            {float64(p.Fallback.Probe.PerRequest), sub("fallback", "probe", "per_request")},
		"breaker":                {p.CircuitBreaker.Enabled, def("circuit_breaker", "enabled")},
		"failure_threshold":      {float64(p.CircuitBreaker.FailureThreshold), def("circuit_breaker", "failure_threshold")},
		"cooldown_seconds":       {p.CircuitBreaker.Cooldown.Seconds(), def("circuit_breaker", "cooldown_seconds")},
		"half_open_max_requests": {float64(p.CircuitBreaker.HalfOpenMaxRequests), def("circuit_breaker", "half_open_max_requests")},
		"max_attempts":           {float64(p.Retry.MaxAttempts), def("retry", "max_attempts")},
		"initial_backoff_ms":     {ms(p.Retry.InitialBackoff), def("retry", "initial_backoff_ms")},
		"max_backoff_ms":         {ms(p.Retry.MaxBackoff), def("retry", "max_backoff_ms")},
		"health_monitor":         {p.HealthMonitor.Enabled, def("health_monitor", "enabled")},
		"interval":               {p.HealthMonitor.Interval, dur(def("health_monitor", "interval"))},
		"timeout":                {p.HealthMonitor.Timeout, dur(def("health_monitor", "timeout"))},
		"unhealthy_threshold":    {float64(p.HealthMonitor.UnhealthyThreshold), def("health_monitor", "unhealthy_threshold")},
		"healthy_threshold":      {float64(p.HealthMonitor.HealthyThreshold), def("health_monitor", "healthy_threshold")},
		"method":                 {p.HealthMonitor.Method, def("health_monitor", "method")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, the schema says %v", name, pair[0], pair[1])
		}
	}
}

func BenchmarkLoadQuickStart(b *testing.B) {
	src := []config.Source{{Name: "policy-config.yaml", Data: []byte(quickStart(b))}}
	b.ReportAllocs()
	for b.Loop() {
		cfg, diags := config.Load(src, config.Options{})
		if cfg == nil || len(diags) != 0 {
			b.Fatal(diags.Text())
		}
	}
}

func TestAKeyGoesIntoNoHeaderOfTheRequestItself(t *testing.T) {
	for name, ok := range map[string]bool{
		"Authorization": true, "api-key": true, "x-api-key": true, "X-Goog-Api-Key": true, "Ocp-Apim-Subscription-Key": true, "x-team-auth": true,
		"X-Auth-Token": true, "cf-aig-authorization": true, "apikey": true,
		"Transfer-Encoding": false, "content-length": false, "Content-Type": false, "Host": false, "Connection": false, "TE": false,
		"Proxy-Authorization": false, "Cookie": false, "X-Forwarded-For": false, "X-Original-URL": false, "x-keeptrusts-id": false,
		"user-agent": false, "Expect": false, "Upgrade": false, "accept-encoding": false, "x-http-method-override": false,
	} {
		_, diags := load(t, config.Options{}, head+"providers:\n  targets:\n    - {id: a, provider: openai, model: m, api_key_header: "+name+"}\n")
		if got := !slices.Contains(codes(diags), string(diag.HeaderRefused)); got != ok || diags.HasErrors() == ok {
			t.Errorf("%s accepted: %t, want %t\n%s", name, got, ok, diags.Text())
		}
		if err := config.CheckKeyHeader(name); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if config.CheckKeyHeader("a b") == nil || config.CheckKeyHeader("") == nil {
		t.Error("no header name is accepted")
	}
}

func TestALayerChangesWhereAKeyComesFrom(t *testing.T) {
	base := head + "providers:\n  targets:\n    - {id: a, provider: openai, model: m, secret_key_ref: {env: A}}\n    - {id: b, provider: openai, model: m, secret_key_ref: {store: b}}\n"
	cfg := mustLoad(t, base, "providers:\n  targets:\n    - {id: a, secret_key_ref: {store: a.key}}\n    - {id: b, secret_key_ref: {env: B}}\n")
	if a, b := cfg.Providers.Targets[0].SecretRef, cfg.Providers.Targets[1].SecretRef; a != (config.SecretRef{Store: "a.key"}) || b != (config.SecretRef{Env: "B"}) {
		t.Errorf("references %+v and %+v", a, b)
	}
}

// TestExamineLeavesWhatIsRight: what is left of a faulty configuration keeps its
// places.
func TestExamineLeavesWhatIsRight(t *testing.T) {
	text := `pack: {name: x, version: 0.1.0}
policies: {chain: [pii-detector, quality-scorer, nothing, audit-logger]}
policy:
  audit-logger: 7
  pii-detector: {acton: block, action: hide, detect_patterns: [a, 7, b], redaction: {preserve_length: maybe, include_metadata: false}}
`
	cfg, whole, list := config.Examine([]config.Source{{Name: "policy-config.yaml", Data: []byte(text)}}, config.Options{})
	if whole || cfg == nil || !list.HasErrors() {
		t.Fatalf("whole %v, config %v", whole, cfg)
	}
	var kinds []string
	for _, e := range cfg.Chain {
		kinds = append(kinds, e.Kind)
	}
	if got := strings.Join(kinds, " "); got != "pii-detector audit-logger" {
		t.Errorf("chain: %s", got)
	}
	if cfg.Policy["audit-logger"].Exists() {
		t.Error("a block that is none is left")
	}
	b := cfg.Policy["pii-detector"]
	if got := string(b.JSON()); got != `{"detect_patterns":["a",null,"b"],"redaction":{"include_metadata":false}}` {
		t.Errorf("block: %s", got)
	}
	if p := b.Get("detect_patterns").Index(2); p.Pointer() != "/policy/pii-detector/detect_patterns/2" || p.Pos().Line != 5 {
		t.Errorf("pattern at %s, %s", p.Pointer(), p.Pos())
	}
	if got, _ := cfg.Root().Path("policy", "audit-logger").Int(); got != 7 {
		t.Error("the tree itself was changed")
	}
	if cfg, whole, _ := config.Examine([]config.Source{{Name: "x", Data: []byte("a: [")}}, config.Options{}); cfg != nil || whole {
		t.Error("a file that is no YAML has a rest")
	}
}

// TestAKeyThatIsNoNameIsNowhere: a text that lost its place may be a secret.
func TestAKeyThatIsNoNameIsNowhere(t *testing.T) {
	_, list := config.Load([]config.Source{{Name: "policy-config.yaml", Data: []byte(head + "\"correct horse: battery\": x\npolicy: {pii-detector: {\"staple horse\": 1}}\n")}}, config.Options{})
	out, err := list.JSON()
	if err != nil || !list.HasErrors() {
		t.Fatal(err, list)
	}
	if strings.Contains(string(out), "horse") {
		t.Errorf("%s", out)
	}
}
