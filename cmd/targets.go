package cmd

import (
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/provider"
	"github.com/keeptrusts/kt/upstream/provider/all"
)

// providerIDs are the names that targets may use, aliases included.
func providerIDs() []string {
	var out []string
	for _, r := range all.Rows() {
		out = append(out, r.ID)
		for _, alias := range r.Aliases {
			out = append(out, config.CanonicalProvider(alias))
		}
	}
	return out
}

// usualKey is where the key of a provider is looked for without secret_key_ref.
func usualKey(id string) config.Usual {
	row, err := all.Lookup(id)
	if err != nil {
		return config.Usual{} // the loader has refused the name already
	}
	return config.Usual{Env: row.KeyEnv, Optional: row.KeyOptional}
}

// secrets is where secret_key_ref.store looks: a folder with one file per secret.
func (a *app) secrets() config.SecretStore {
	dir := a.env.Getenv("KEEPTRUSTS_SECRETS_DIR")
	if dir == "" {
		dir = filepath.Join(a.dataDir(), "secrets")
	}
	return config.FileStore{Dir: a.path(dir)}
}

// dataDir is where audit records and secrets live unless told otherwise.
func (a *app) dataDir() string {
	if d := a.env.Getenv("KEEPTRUSTS_DATA_DIR"); d != "" {
		return d
	}
	return "keeptrusts-data"
}

// override is the emergency setting that sends all targets elsewhere.
type override struct{ url, key, header, prefix string }

// targets turns the configured targets into those of the pool, in order. A
// target that cannot be used is left out, with a warning that says why.
func (a *app) targets(cfg *config.Config, o override) ([]*upstream.Target, diag.List, error) {
	var out []*upstream.Target
	var list diag.List
	if o.header != "" {
		if err := config.CheckKeyHeader(o.header); err != nil {
			return nil, nil, fail(ExitUsage, fmt.Errorf("%s: --upstream-api-key-header (KEEPTRUSTS_UPSTREAM_API_KEY_HEADER): %w; %s", diag.HeaderRefused, err, config.KeyHeaders))
		}
	}
	configured := cfg.Providers.InOrder()
	if len(configured) == 0 && o.url != "" { // nothing but the override
		u, err := upstream.Override(&upstream.Target{ID: "upstream", BaseURL: o.url}, o.url, o.key)
		if err != nil {
			return nil, list, fail(ExitStart, fmt.Errorf("--upstream: %w", err))
		}
		if u.Provider, err = all.Lookup("openai"); err != nil {
			return nil, list, fail(ExitStart, err)
		}
		if o.header != "" {
			r := *u.Provider
			r.AuthHeader, r.AuthPrefix = o.header, o.prefix
			u.Provider = &r
		}
		if err := u.Check(); err != nil {
			return nil, list, fail(ExitStart, fmt.Errorf("--upstream: %w", err))
		}
		return []*upstream.Target{u}, list, nil
	}
	var ws []float64
	for _, t := range configured {
		ws = append(ws, t.Weight)
	}
	shares := weights(ws)
	for i, t := range configured {
		if faults := leftOut(t, o.url != ""); len(faults) > 0 {
			list = append(list, faults...)
			continue
		}
		row, err := all.Lookup(t.Provider)
		if err != nil {
			return nil, list, fail(ExitUsage, fmt.Errorf("target %s: %w", t.ID, err))
		}
		u := poolTarget(t, row)
		u.Weight = shares[i]
		u.ContextWindow = cfg.Providers.Fallback.ContextWindow == t.ID
		secret, more := config.Resolve(t, usualKey(t.Provider), a.env.Getenv, a.secrets())
		base := u.BaseURL
		switch {
		case o.url != "":
			base = o.url // Override decides whether it may go there
		case base == "":
			base = row.BaseURL
		}
		unused := func(err error) {
			list = append(list, t.Value.Diag(diag.BadBaseURL, diag.Warning, fmt.Sprintf("%v; the target is not used", err), ""))
		}
		if !secret.Empty() {
			if u.Key, err = upstream.NewKey(secret.Reveal(), base); err != nil {
				if o.url != "" {
					return nil, list, fail(ExitStart, fmt.Errorf("--upstream: %w", err))
				}
				unused(fmt.Errorf("target %s: %w", t.ID, err))
				continue
			}
		}
		if o.url != "" {
			if o.header != "" {
				r := *u.Provider
				r.AuthHeader, r.AuthPrefix = o.header, o.prefix
				if o.prefix != "" {
					r.AuthPrefix += " "
				}
				u.Provider = &r
			}
			if u, err = upstream.Override(u, o.url, o.key); err != nil {
				return nil, list, fail(ExitStart, fmt.Errorf("--upstream: %w", err))
			}
			if o.key != "" {
				more = nil // the target's own key is not needed
			}
		}
		list = append(list, more...)
		if len(more) > 0 {
			continue // its key is missing
		}
		if err := u.Check(); err != nil {
			unused(err)
			continue
		}
		out = append(out, u)
	}
	return out, list, nil
}

// poolTarget is a configured target as the pool wants it, without its key.
func poolTarget(t config.Target, row *provider.Row) *upstream.Target {
	u := &upstream.Target{
		ID: t.ID, Provider: row, BaseURL: t.ConfiguredURL, Model: t.Model,
		AllowPrivate: t.AllowPrivate, UnsafeAllowHTTP: t.UnsafeAllowHTTP,
		PathTemplate: t.PathTemplate, Deployment: t.AzureDeployment, APIVersion: t.AzureAPIVersion,
		Timeouts: upstream.Timeouts{Connect: t.Timeouts.Connect, FirstByte: t.Timeouts.FirstByte, BetweenBytes: t.Timeouts.BetweenBytes, Total: t.Timeouts.Total},
		Limits:   upstream.Limits{Concurrency: t.Limits.MaxConcurrency, RequestsPerMinute: t.Limits.RequestsPerMinute, TokensPerMinute: t.Limits.TokensPerMinute},
	}
	if t.Value.Get("timeouts_ms").Get("first_byte").Exists() {
		// The head of an answer without stream comes when the answer is ready: without a word of
		// the configuration's it has more time than a stream's.
		u.Timeouts.WholeAnswer = t.Timeouts.FirstByte
	}
	for k, v := range t.Headers {
		if u.Header == nil {
			u.Header = http.Header{}
		}
		u.Header.Set(k, v)
	}
	if p := t.Pricing; p != nil {
		given := t.Value.Get("pricing")
		u.Pricing = upstream.Pricing{InputPer1K: micros(p.InputPer1K), OutputPer1K: micros(p.OutputPer1K),
			Free: p.InputPer1K == 0 && p.OutputPer1K == 0 && (given.Get("input_per_1k").Exists() || given.Get("output_per_1k").Exists())}
	}
	if t.APIKeyHeader != "" || t.APIKeyPrefix != nil {
		r := *row
		if t.APIKeyHeader != "" {
			r.AuthHeader, r.AuthPrefix = t.APIKeyHeader, ""
		}
		if t.APIKeyPrefix != nil {
			h, _ := row.Auth()
			if t.APIKeyHeader == "" {
				r.AuthHeader = h
			}
			r.AuthPrefix = *t.APIKeyPrefix
			if r.AuthPrefix != "" {
				r.AuthPrefix += " "
			}
		}
		u.Provider = &r
	}
	return u
}

// targetFaults says why a target can never be asked, whatever its key: faults
// for lint, and what leaves the target out when the gateway starts. With
// elsewhere its own address does not count.
func targetFaults(t config.Target, elsewhere bool) diag.List {
	row, err := all.Lookup(t.Provider)
	if err != nil {
		return nil // the loader has refused the name
	}
	at := func(key string) config.Value {
		if v := t.Value.Get(key); v.Exists() {
			return v
		}
		return t.Value
	}
	var list diag.List
	fault := func(key string, code diag.Code, hint, format string, args ...any) {
		list = append(list, at(key).Diag(code, diag.Error, fmt.Sprintf("target %s: ", t.ID)+fmt.Sprintf(format, args...), hint))
	}
	if t.Format != "" && provider.Canonical(t.Format) != "openai" {
		key := "format"
		if !t.Value.Get(key).Exists() {
			key = "provider_type"
		}
		fault(key, diag.NotBuiltYet, "remove it, or write openai: every target is asked in that form", "%s %q is not built yet in this version; only openai is", key, t.Format)
	}
	if t.Mode != "chat" { // the pool would ask it for chat completions, as a fallback for any model
		fault("provider", diag.NotBuiltYet, fmt.Sprintf("remove the target, or write %s:chat:MODEL if its model answers chat completions", t.Provider),
			"kind %s is not built yet in this version: only chat completions are served", t.Mode)
	}
	switch {
	case row.Missing != "":
		fault("provider", diag.NotBuiltYet, "kt providers lists what a target can name", "provider %s is not available yet: %s", row.ID, row.Missing)
	case elsewhere:
	case t.BaseURL == "" && row.BaseURL == "" && !t.Value.Get("base_url").Exists():
		hint := row.Quirks
		if !strings.Contains(hint, "https://") {
			hint = "base_url: https://..., the address of your own server"
		}
		fault("provider", diag.BadBaseURL, hint, "provider %s needs base_url", row.ID)
	case t.BaseURL != "" || row.BaseURL != "":
		if err := poolTarget(t, row).Check(); err != nil {
			list = append(list, at("base_url").Diag(diag.BadBaseURL, diag.Error, err.Error(), ""))
		}
	}
	return list
}

// leftOut is targetFaults as a start says them: warnings, since it goes on without the target.
func leftOut(t config.Target, elsewhere bool) diag.List {
	faults := targetFaults(t, elsewhere)
	for i := range faults {
		faults[i].Severity = diag.Warning
		faults[i].Message += "; the target is not used"
	}
	return faults
}

// micros turns US dollars into millionths.
func micros(usd float64) int64 { return int64(math.Round(usd * 1e6)) }

// weights turns shares into the pool's whole numbers. The smallest share counts
// 1000, so that all keep their proportion as far as whole numbers do; 0 is none.
func weights(shares []float64) []int {
	least, most := math.Inf(1), 0.0
	for _, w := range shares {
		if w > 0 {
			least, most = min(least, w), max(most, w)
		}
	}
	const limit = 1e9 // fits into 32 bits
	scale := min(1000/least, limit/most)
	out := make([]int, len(shares))
	for i, w := range shares {
		out[i] = upstream.NoWeight
		if w > 0 {
			out[i] = max(1, int(math.Round(w*scale)))
		}
	}
	return out
}

// poolOptions turns the providers section into the pool's settings for the
// targets that can be used. A group without any of its targets is left out, and
// who would fall back on it falls back on what it falls back on.
func poolOptions(cfg *config.Config, targets []*upstream.Target) (upstream.Options, error) {
	p := &cfg.Providers
	o := upstream.Options{
		Routing: upstream.Routing{Window: p.Routing.Window, MinSamples: p.Routing.MinSampleCount, MaxLatency: p.Routing.MaxLatency},
		Fallback: upstream.Fallback{
			// Targets are asked in order unless the configuration says otherwise (docs: ordered, "next only on error").
			Disabled: p.Fallback.Value.Exists() && !p.Fallback.Enabled, On: classes(p.Fallback.Triggers),
		},
		Retry:   upstream.Retry{MaxAttempts: p.Retry.MaxAttempts, InitialBackoff: p.Retry.InitialBackoff, MaxBackoff: p.Retry.MaxBackoff},
		Probe:   upstream.Probe{Enabled: p.Fallback.Probe.Enabled && p.Fallback.Probe.BudgetPercent > 0, MaxParallel: p.Fallback.Probe.MaxParallel, Budget: p.Fallback.Probe.BudgetPercent / 100, PerRequest: p.Fallback.Probe.PerRequest},
		Breaker: upstream.Breaker{Disabled: p.Value.Get("circuit_breaker").Exists() && !p.CircuitBreaker.Enabled, Failures: p.CircuitBreaker.FailureThreshold, Cooldown: p.CircuitBreaker.Cooldown, HalfOpenMax: p.CircuitBreaker.HalfOpenMaxRequests},
	}
	if p.Fallback.Enabled {
		o.Fallback.MaxAttempts = p.Fallback.MaxAttempts + 1 // the pool counts the first target, too
	}
	o.Outlier.Disabled = o.Breaker.Disabled // one switch for what takes a target out by its answers
	if !p.Fallback.Probe.Auto {
		o.Probe.After = p.Fallback.Probe.After
	}
	var err error
	if p.Routing.Strategy != "" {
		if o.Routing.Strategy, err = upstream.ParseStrategy(p.Routing.Strategy); err != nil {
			return o, err
		}
	}
	if h := p.HealthMonitor; h.Enabled {
		o.Health = upstream.ActiveHealth{Interval: h.Interval, Timeout: h.Timeout, Unhealthy: h.UnhealthyThreshold, Healthy: h.HealthyThreshold, Complete: h.Method == "completion"}
	}
	gone := map[string]string{} // groups left out: where they fall back
	for _, g := range p.ModelGroups {
		u := upstream.Group{Name: g.Name, Aliases: g.Aliases, Fallback: g.FallbackGroup}
		if g.Strategy != "" {
			s, err := upstream.ParseStrategy(g.Strategy)
			if err != nil {
				return o, err
			}
			u.Strategy = &s
		}
		var ws []float64
		for _, m := range g.Members {
			ws = append(ws, m.Weight)
		}
		for i, w := range weights(ws) {
			id := g.Members[i].Target
			if slices.ContainsFunc(targets, func(t *upstream.Target) bool { return t.ID == id }) {
				u.Members = append(u.Members, upstream.Member{Target: id, Weight: w})
			}
		}
		if len(u.Members) == 0 {
			for _, name := range append([]string{g.Name}, g.Aliases...) {
				gone[name] = g.FallbackGroup
			}
			continue
		}
		o.Groups = append(o.Groups, u)
	}
	for i := range o.Groups {
		g := &o.Groups[i]
		for range len(gone) { // the loader refuses circles
			if next, ok := gone[g.Fallback]; ok {
				g.Fallback = next
			}
		}
	}
	return o, nil
}

// classes are the faults of the documented triggers: exactly those of a list, be it
// empty; nil, every fault of a target, without one.
func classes(triggers []string) []upstream.ErrorClass {
	if triggers == nil {
		return nil
	}
	out := []upstream.ErrorClass{}
	for _, t := range triggers {
		switch t {
		case "rate_limit_exceeded":
			out = append(out, upstream.RateLimit)
		case "timeout":
			out = append(out, upstream.TimeoutConnect, upstream.TimeoutFirstByte, upstream.TimeoutBetweenBytes, upstream.TimeoutTotal, upstream.RequestTimeout)
		case "5xx":
			out = append(out, upstream.ServerError, upstream.Overloaded, upstream.FirstEventError, upstream.MidStreamError)
		case "service_unavailable":
			out = append(out, upstream.Overloaded)
		case "auth":
			out = append(out, upstream.Auth)
		case "not_found":
			out = append(out, upstream.NotFound)
		case "connection":
			out = append(out, upstream.Refused, upstream.Reset, upstream.TLS, upstream.Cut, upstream.BadResponse)
		}
	}
	return out
}
