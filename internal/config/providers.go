package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keeptrusts/kt/internal/diag"
)

// Providers says where requests go.
type Providers struct {
	Targets        []Target
	Routing        Routing
	Fallback       Fallback
	CircuitBreaker CircuitBreaker
	Retry          Retry
	HealthMonitor  HealthMonitor
	ModelGroups    []ModelGroup
	Value          Value
}

// InOrder are the enabled targets by priority, equal ones in the order of the
// file.
func (p Providers) InOrder() []Target {
	var out []Target
	for _, t := range p.Targets {
		if t.Enabled {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b Target) int { return a.Priority - b.Priority })
	return out
}

// Target is one configured endpoint. Optional strings are "" when absent.
type Target struct {
	ID              string
	Provider        string // canonical id
	Mode            string // chat, completion or embedding
	Model           string
	BaseURL         string // without a trailing slash or /v1; "" is the provider's own
	ConfiguredURL   string // base_url as written, for gateways whose address is the contract
	SecretRef       SecretRef
	APIKeyHeader    string
	APIKeyPrefix    *string // nil: the provider's own; "" is none
	Format          string  // provider_type or format
	PathTemplate    string
	AzureAPIVersion string
	AzureDeployment string
	Weight          float64
	Priority        int
	Enabled         bool
	Limits          Limits
	Pricing         *Pricing
	Timeouts        Timeouts
	AllowPrivate    bool
	UnsafeAllowHTTP bool
	Headers         map[string]string // canonical lower-case names
	DataPolicy      DataPolicy
	Value           Value
}

// SecretRef says where a key is; at most one field is set.
type SecretRef struct{ Env, Store string }

// Limits of a target; 0 is none.
type Limits struct {
	MaxConcurrency    int   `json:"max_concurrency"`
	RequestsPerMinute int   `json:"requests_per_minute"`
	TokensPerMinute   int64 `json:"tokens_per_minute"`
}

// Pricing in US dollars per 1000 tokens.
type Pricing struct {
	InputPer1K  float64 `json:"input_per_1k"`
	OutputPer1K float64 `json:"output_per_1k"`
}

// Timeouts of a target.
type Timeouts struct{ Connect, FirstByte, BetweenBytes, Total time.Duration }

// DataPolicy is what the provider of a target promises.
type DataPolicy struct {
	ZeroDataRetention bool
	TrainingOptOut    bool
	RetentionDays     *int   // nil: not declared
	DataCollection    string // "", allow or deny
	Declared          bool
}

// Routing is how a target is chosen.
type Routing struct {
	Strategy       string // canonical name
	Window         time.Duration
	MinSampleCount int
	MaxLatency     time.Duration // 0 is none
	StickyBy       string
	Value          Value
}

// Fallback is what happens when a target fails.
type Fallback struct {
	Enabled       bool
	Triggers      []string // canonical names; nil: every fault of the target
	MaxAttempts   int      // further targets after the first
	ContextWindow string   // "" aborts, otherwise a target's id
	MinHold       time.Duration
	Probe         Probe
	Value         Value
}

// Probe is concurrent fallback probing.
type Probe struct {
	Enabled       bool
	Auto          bool          // start after the target's own 95th percentile
	After         time.Duration // otherwise after this
	MaxParallel   int
	BudgetPercent float64
	PerRequest    int
}

// CircuitBreaker takes failing targets out.
type CircuitBreaker struct {
	Enabled             bool
	FailureThreshold    int
	Cooldown            time.Duration
	HalfOpenMaxRequests int
}

// Retry tries again on one target.
type Retry struct {
	MaxAttempts    int
	InitialBackoff time.Duration
	MaxBackoff     time.Duration
}

// HealthMonitor looks after targets without traffic.
type HealthMonitor struct {
	Enabled            bool
	Interval, Timeout  time.Duration
	UnhealthyThreshold int
	HealthyThreshold   int
	Method             string
}

// ModelGroup is a stable name over several targets.
type ModelGroup struct {
	Name          string
	Aliases       []string
	Strategy      string // canonical, "" is that of providers.routing
	Members       []Member
	FallbackGroup string
	Value         Value
}

// Member is a target of a group.
type Member struct {
	Target string
	Weight float64
}

func (c *checker) text(v Value) string { s, _ := v.Text(); return s }

func (c *checker) flag(v Value, def bool) bool {
	if b, ok := v.Bool(); ok {
		return b
	}
	return def
}

func (c *checker) int(v Value, def int) int {
	if i, ok := v.Int(); ok && i >= 0 && i <= 1<<40 {
		return int(i)
	}
	return def
}

func (c *checker) float(v Value, def float64) float64 {
	if f, ok := v.Float(); ok {
		return f
	}
	return def
}

func (c *checker) millis(v Value, def time.Duration) time.Duration {
	if i, ok := v.Int(); ok && i >= 0 && i <= int64(24*time.Hour/time.Millisecond) {
		return time.Duration(i) * time.Millisecond
	}
	return def
}

// duration reads whole seconds or a text such as 5m.
func (c *checker) duration(v Value, def time.Duration) time.Duration {
	const most = 24 * time.Hour
	d := def
	switch v.Kind() {
	case Number:
		i, ok := v.Int()
		if !ok {
			return def // a wrong type, said by the schema
		}
		if i < 0 || i > int64(most/time.Second) {
			d = -1
		} else {
			d = time.Duration(i) * time.Second
		}
	case String:
		var err error
		if d, err = time.ParseDuration(v.n.text); err != nil {
			d = -1
		}
	default:
		return def
	}
	if d <= 0 || d > most {
		c.err(v, diag.BadDuration, fmt.Sprintf("%s must be a duration above 0 and at most 24h; got %s", lastName(strings.Split(v.ptr, "/")), v.show()), "such as 500ms, 30s or 5m, or whole seconds")
		return def
	}
	return d
}

// notBuilt refuses a documented setting that this version lacks.
func (c *checker) notBuilt(v Value, feature string) bool {
	if !v.Exists() || c.built.feature(feature) {
		return false
	}
	if c.seen[v.ptr] {
		return true
	}
	c.seen[v.ptr] = true
	c.add(v.KeyDiag(diag.NotBuiltYet, diag.Error, fmt.Sprintf("%s is documented but not built yet in this version", feature), "remove it; it would not be enforced"))
	return true
}

// both refuses two spellings of one setting.
func (c *checker) both(a, b Value, aName, bName string) bool {
	if !a.Exists() || !b.Exists() {
		return false
	}
	c.add(b.KeyDiag(diag.BothOfPair, diag.Error, fmt.Sprintf("%s and %s are two spellings of one setting", aName, bName), "keep "+aName))
	return true
}

func first(vs ...Value) Value {
	for _, v := range vs {
		if v.Exists() {
			return v
		}
	}
	return Value{}
}

func (c *checker) providers(root Value) Providers {
	v := root.Get("providers")
	p := Providers{Value: v}
	ids := map[string]Value{}
	list := v.Get("targets")
	for i := range list.Len() {
		before := len(c.diags)
		t := c.target(list.Index(i))
		if t.ID != "" {
			if before, dup := ids[t.ID]; dup {
				c.err(t.Value.Get("id"), diag.DuplicateTarget, fmt.Sprintf("two targets have the id %s", shorten(t.ID)), fmt.Sprintf("the first one is at %s", before.Get("id").Pos()))
			} else {
				ids[t.ID] = t.Value
			}
		}
		if c.opt.CheckTarget != nil && t.Enabled && t.ID != "" { // else it is said
			for _, d := range c.opt.CheckTarget(t) {
				if !slices.ContainsFunc(c.diags[before:], func(said diag.Diagnostic) bool { return said.Pointer == d.Pointer && said.Severity == diag.Error }) {
					c.add(d)
				}
			}
		}
		p.Targets = append(p.Targets, t)
	}
	if len(p.Targets) == 0 && (!list.Exists() || list.Kind() == List) {
		at := first(list, v, root.Get("pack"), root)
		c.add(at.Diag(diag.NoTargets, diag.Warning, "no target is configured; kt gateway run will refuse to start", "add providers.targets, or give --upstream"))
	}
	p.Routing = c.routing(v)
	p.Fallback = c.fallback(v, ids)
	p.CircuitBreaker = c.breaker(v.Get("circuit_breaker"))
	p.Retry = c.retry(v.Get("retry"))
	inner, outer := v.Get("health_monitor"), root.Get("health_monitor")
	c.both(outer, inner, "health_monitor", "providers.health_monitor")
	p.HealthMonitor = c.health(first(outer, inner))
	p.ModelGroups = c.groups(v.Get("model_groups"), ids)
	if p.Routing.Strategy == "weighted" && len(p.Targets) > 0 {
		sum := 0.0
		for _, t := range p.Targets {
			if t.Enabled {
				sum += t.Weight
			}
		}
		if sum <= 0 {
			c.err(list, diag.WeightZero, "the strategy is weighted and the weights of all enabled targets add up to 0", "give at least one target a weight above 0")
		}
	}
	return p
}

var modes = []string{"chat", "completion", "embedding"}

func (c *checker) target(v Value) Target {
	t := Target{
		ID: c.text(v.Get("id")), Mode: "chat", Model: c.text(v.Get("model")), Value: v,
		SecretRef:    SecretRef{Env: c.text(v.Path("secret_key_ref", "env")), Store: c.text(v.Path("secret_key_ref", "store"))},
		APIKeyHeader: c.text(v.Get("api_key_header")), PathTemplate: c.text(v.Get("path_template")),
		AzureAPIVersion: c.text(v.Get("azure_api_version")), AzureDeployment: c.text(v.Get("azure_deployment")),
		Weight: c.float(v.Get("weight"), 1), Priority: c.int(v.Get("priority"), 0), Enabled: c.flag(v.Get("enabled"), true),
		AllowPrivate: c.flag(v.Get("allow_private"), false), UnsafeAllowHTTP: c.flag(v.Get("unsafe_allow_http"), false),
	}
	if kh := v.Get("api_key_header"); t.APIKeyHeader != "" && headerName.MatchString(t.APIKeyHeader) { // else the schema says it
		if err := CheckKeyHeader(t.APIKeyHeader); err != nil {
			c.err(kh, diag.HeaderRefused, "api_key_header: "+err.Error(), KeyHeaders)
		}
	}
	if p, ok := v.Get("api_key_prefix").Text(); ok {
		t.APIKeyPrefix = &p
	}
	if t.AzureAPIVersion == "" {
		t.AzureAPIVersion = "2024-02-01"
	}
	c.provider(v, &t)
	format, ptype := v.Get("format"), v.Get("provider_type")
	if c.text(format) != c.text(ptype) {
		c.both(format, ptype, "format", "provider_type")
	}
	t.Format = c.text(first(format, ptype))
	c.baseURL(v.Get("base_url"), &t)
	tm := v.Get("timeouts_ms")
	t.Timeouts = Timeouts{
		Connect:      c.millis(tm.Get("connect"), 5*time.Second),
		FirstByte:    c.millis(tm.Get("first_byte"), 60*time.Second),
		BetweenBytes: c.millis(tm.Get("between_bytes"), 60*time.Second),
		Total:        c.millis(tm.Get("total"), 10*time.Minute),
	}
	if lim := v.Get("limits"); !c.notBuilt(lim, FeatureTargetLimits) {
		t.Limits = Limits{c.int(lim.Get("max_concurrency"), 0), c.int(lim.Get("requests_per_minute"), 0), int64(c.int(lim.Get("tokens_per_minute"), 0))}
	}
	if pr := v.Get("pricing"); pr.Exists() {
		t.Pricing = &Pricing{c.float(pr.Get("input_per_1k"), 0), c.float(pr.Get("output_per_1k"), 0)}
	}
	c.dataPolicy(v, &t)
	c.headers(v.Get("headers"), &t)
	return t
}

func (c *checker) provider(v Value, t *Target) {
	pv := v.Get("provider")
	s, ok := pv.Text()
	if !ok || s == "" {
		return
	}
	parts := strings.SplitN(s, ":", 3) // the model may hold further colons
	t.Provider = CanonicalProvider(parts[0])
	if parts[0] == "" || strings.ContainsAny(parts[0], " \t/") {
		c.err(pv, diag.ProviderForm, fmt.Sprintf("provider %s is not an id, or <id>:<kind>:<model>", pv.show()), "such as openai, or openai:chat:gpt-5.4-mini")
		return
	}
	switch {
	case len(parts) == 2:
		model := shorten(parts[1])
		if slices.Contains(modes, model) {
			model = "MODEL"
		}
		c.err(pv, diag.ProviderForm, fmt.Sprintf("provider %s has one colon; the form is <id>:<kind>:<model>", pv.show()), fmt.Sprintf("write %s:chat:%s, or the id alone and model:", parts[0], model))
		return
	case len(parts) == 3:
		if !slices.Contains(modes, parts[1]) {
			hint := ""
			if near := diag.Nearest(parts[1], modes); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			c.err(pv, diag.ProviderForm, fmt.Sprintf("the kind of a provider must be one of %s; got %q", strings.Join(modes, ", "), shorten(parts[1])), hint)
		}
		if parts[2] == "" {
			c.err(pv, diag.ProviderForm, "the model behind the second colon is empty", "")
		}
		t.Mode = parts[1]
		if t.Model != "" && t.Model != parts[2] {
			c.err(v.Get("model"), diag.ModelTwice, fmt.Sprintf("provider names the model %s and model names %s", shorten(parts[2]), shorten(t.Model)), "keep one of them")
		}
		t.Model = parts[2]
	case !v.Get("model").Exists():
		c.add(pv.Diag(diag.ModelMissing, diag.Error, fmt.Sprintf("target %s has no model", shorten(t.ID)), fmt.Sprintf("add model:, or write provider: %s:chat:MODEL", parts[0])))
	}
	if c.opt.Providers != nil && !slices.ContainsFunc(c.opt.Providers, func(k string) bool { return CanonicalProvider(k) == t.Provider }) {
		hint := "providers are " + strings.Join(c.opt.Providers, ", ")
		if near := diag.Nearest(parts[0], c.opt.Providers); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		c.err(pv, diag.UnknownProvider, fmt.Sprintf("unknown provider %q", shorten(parts[0])), hint)
	}
}

// NormalizeBaseURL drops a trailing slash and a trailing /v1, so that both
// ways of writing an address give one path.
func NormalizeBaseURL(s string) string {
	s = strings.TrimRight(s, "/")
	s = strings.TrimSuffix(s, "/v1")
	return strings.TrimRight(s, "/")
}

func (c *checker) baseURL(v Value, t *Target) {
	s, ok := v.Text()
	if !ok || v.n.secret { // the secrets pass names it
		return
	}
	bad := func(msg, hint string) { c.err(v, diag.BadBaseURL, msg, hint) }
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsAny(s, " \t\r\n\\"):
		bad("base_url is not an address", "such as https://api.openai.com/v1")
		return
	case u.Scheme != "https" && u.Scheme != "http":
		bad(fmt.Sprintf("base_url must start with https:// or http://; got %s", v.show()), "")
		return
	case u.Hostname() == "":
		bad("base_url names no host", "")
		return
	case u.User != nil:
		c.err(v, diag.SecretInline, "base_url holds credentials", "remove what stands before @ and use secret_key_ref: {env: NAME}")
		return
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		bad("base_url must not have a query or a fragment", "keys go into secret_key_ref; an API version into azure_api_version")
		return
	case strings.Contains(u.Path, "/../") || strings.HasSuffix(u.Path, "/.."):
		bad("base_url must not lead upwards", "")
		return
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			bad("base_url has a port that does not exist", "")
			return
		}
	}
	t.ConfiguredURL, t.BaseURL = s, NormalizeBaseURL(s)
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	addr, addrErr := netip.ParseAddr(host)
	addr = addr.Unmap()
	loopback := host == "localhost" || strings.HasSuffix(host, ".localhost") || addrErr == nil && addr.IsLoopback()
	private := loopback || addrErr == nil && (addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast())
	switch {
	case u.Scheme == "http" && loopback && !t.AllowPrivate && !t.UnsafeAllowHTTP:
		c.err(v, diag.PlainHTTP, fmt.Sprintf("plain http to %s is not allowed for this target", host), "add allow_private: true; it permits loopback and private addresses, and plain http to loopback")
	case u.Scheme == "http" && !loopback && !t.UnsafeAllowHTTP:
		c.err(v, diag.PlainHTTP, fmt.Sprintf("plain http to %s would send key and prompts in clear text", shorten(host)), "use https, or add unsafe_allow_http: true")
	case private && !t.AllowPrivate:
		c.err(v, diag.EgressRefused, fmt.Sprintf("%s is a private address", shorten(host)), "add allow_private: true to this target")
	}
}

func (c *checker) dataPolicy(v Value, t *Target) {
	dp, zdr := v.Get("data_policy"), v.Get("zdr")
	t.DataPolicy = DataPolicy{
		ZeroDataRetention: c.flag(first(dp.Get("zero_data_retention"), zdr), false),
		TrainingOptOut:    c.flag(dp.Get("training_opt_out"), false),
		DataCollection:    c.text(v.Get("data_collection")),
		Declared:          dp.Exists() || zdr.Exists(),
	}
	if d, ok := dp.Get("retention_days").Int(); ok {
		days := int(d)
		t.DataPolicy.RetentionDays = &days
	}
	if a, okA := zdr.Bool(); okA {
		if b, okB := dp.Get("zero_data_retention").Bool(); okB && a != b {
			c.both(dp.Get("zero_data_retention"), zdr, "data_policy.zero_data_retention", "zdr")
		}
	}
}

// allowedHeader is the list of headers that a target may set. Credentials go
// through secret_key_ref; framing and forwarding headers are the gateway's.
func allowedHeader(name string) bool {
	switch name {
	case "http-referer", "referer", "user-agent", "accept-language", "helicone-cache-enabled":
		return true
	case "x-api-key", "x-goog-api-key", "x-auth-token", "x-http-method-override", "x-original-url", "x-rewrite-url", "x-real-ip":
		return false
	}
	for _, p := range []string{"x-forwarded-", "x-amz-", "x-keeptrusts-"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, p := range []string{"x-", "openai-", "anthropic-", "cf-aig-", "helicone-"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// CheckKeyHeader refuses a header that must not carry a target's key: one that
// frames the request, says what it is, or is written to logs on the way. What
// is accepted is named after keys, or is a header that a target may set.
func CheckKeyHeader(name string) error {
	n := strings.ToLower(name)
	if !headerName.MatchString(n) {
		return fmt.Errorf("%q is not a header name", shorten(name))
	}
	var refused bool
	switch n {
	case "proxy-authorization", "cookie", "user-agent", "referer", "http-referer", "accept-language", "helicone-cache-enabled":
		refused = true
	default:
		refused = !credentialHeader(n) && !allowedHeader(n) && !strings.HasSuffix(n, "-key") && !strings.HasSuffix(n, "-auth")
	}
	if refused {
		return fmt.Errorf("header %s cannot carry a key", shorten(n))
	}
	return nil
}

// KeyHeaders says what CheckKeyHeader accepts.
const KeyHeaders = "accepted are authorization, api-key, names that end in -key, -token, -secret or -auth, and x-*, openai-*, anthropic-*, cf-aig-* and helicone-*"

// headerName is what a header of a target may be called.
var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)

func (c *checker) headers(v Value, t *Target) {
	if v.Len() == 0 {
		return
	}
	t.Headers = make(map[string]string, v.Len())
	for _, k := range v.Keys() {
		hv := v.Get(k)
		if hv.n.secret {
			continue // the secrets pass names it
		}
		name := strings.ToLower(k)
		text := c.text(hv)
		_, twice := t.Headers[name]
		switch {
		case twice:
			c.add(hv.KeyDiag(diag.HeaderRefused, diag.Error, fmt.Sprintf("header %s is set twice, in different case", name), ""))
		case !headerName.MatchString(name):
			c.add(hv.KeyDiag(diag.HeaderRefused, diag.Error, fmt.Sprintf("%q is not a header name", shorten(k)), "letters, digits and hyphens are accepted"))
		case !allowedHeader(name):
			c.add(hv.KeyDiag(diag.HeaderRefused, diag.Error, fmt.Sprintf("header %s cannot be set by a target", shorten(name)), "accepted are x-*, openai-*, anthropic-*, cf-aig-*, helicone-*, http-referer, user-agent and accept-language; keys go into secret_key_ref"))
		case strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f }):
			c.err(hv, diag.HeaderRefused, fmt.Sprintf("the value of header %s holds a character that cannot be sent", name), "")
		default:
			t.Headers[name] = text
		}
	}
}

// strategy reads a routing strategy by one of its names.
func (c *checker) strategy(v Value) string {
	s, ok := v.Text()
	if !ok || s == "" {
		return ""
	}
	name := canonicalStrategy(s)
	if !slices.Contains(Strategies(), name) {
		switch name {
		case "domain", "domain_based", "tag", "tag_based":
			c.err(v, diag.NotBuiltYet, fmt.Sprintf("routing strategy %s is documented but not built yet in this version", name), "built are "+strings.Join(c.built.Strategies, ", "))
		case "priority":
			c.err(v, diag.OldPlace, "routing strategy priority has another form: strategy ordered, with priority on the targets", "")
		default:
			hint := "strategies are " + strings.Join(Strategies(), ", ")
			if near := diag.Nearest(s, Strategies()); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			c.err(v, diag.UnknownStrategy, fmt.Sprintf("unknown routing strategy %s", v.show()), hint)
		}
		return name
	}
	if !c.built.strategy(name) {
		c.err(v, diag.NotBuiltYet, fmt.Sprintf("routing strategy %s is documented but not built yet in this version", name), "built are "+strings.Join(c.built.Strategies, ", "))
	}
	return name
}

func (c *checker) routing(p Value) Routing {
	v := p.Get("routing")
	a, b, d := v.Get("strategy"), p.Get("strategy"), p.Path("fallback", "strategy")
	c.both(a, b, "providers.routing.strategy", "providers.strategy")
	c.both(a, d, "providers.routing.strategy", "providers.fallback.strategy")
	if !a.Exists() {
		c.both(b, d, "providers.strategy", "providers.fallback.strategy")
	}
	r := Routing{Strategy: "ordered", StickyBy: "user", Value: v}
	if s := c.strategy(first(a, b, d)); s != "" {
		r.Strategy = s
	}
	w, lw := v.Get("window_seconds"), v.Get("latency_window")
	c.both(w, lw, "window_seconds", "latency_window")
	r.Window = c.duration(first(w, lw), 5*time.Minute)
	r.MinSampleCount = c.int(v.Get("min_sample_count"), 5)
	r.MaxLatency = c.millis(v.Get("max_latency_ms"), 0)
	if s := c.text(v.Get("sticky_by")); s != "" {
		r.StickyBy = s
	}
	return r
}

func (c *checker) fallback(p Value, ids map[string]Value) Fallback {
	v := p.Get("fallback")
	f := Fallback{Enabled: c.flag(v.Get("enabled"), v.Exists()), Value: v}
	tr, ro := v.Get("triggers"), v.Get("retry_on")
	c.both(tr, ro, "triggers", "retry_on")
	if list := first(tr, ro); list.Kind() == List {
		f.Triggers = []string{}
		for i := range list.Len() {
			item := list.Index(i)
			s, ok := item.Text()
			if !ok {
				continue
			}
			name := canonicalTrigger(s)
			if !slices.Contains(Triggers(), name) {
				hint := "triggers are " + strings.Join(Triggers(), ", ")
				if near := diag.Nearest(s, Triggers()); near != "" {
					hint = fmt.Sprintf("did you mean %s?", near)
				}
				c.err(item, diag.UnknownTrigger, fmt.Sprintf("unknown fallback trigger %s", item.show()), hint)
				continue
			}
			if !slices.Contains(f.Triggers, name) {
				f.Triggers = append(f.Triggers, name)
			}
		}
	}
	ma, mr := v.Get("max_fallback_attempts"), v.Get("max_retries")
	c.both(ma, mr, "max_fallback_attempts", "max_retries")
	f.MaxAttempts = c.int(first(ma, mr), 3)
	if !f.Enabled {
		f.MaxAttempts = 0
	}
	cw := v.Get("context_window")
	if s := c.text(cw); s != "" && s != "abort" {
		if !c.notBuilt(cw, FeatureContextWindow) {
			c.reference(cw, s, ids)
		}
		f.ContextWindow = s
	}
	if mh := v.Get("min_hold_ms"); c.int(mh, 0) > 0 && !c.notBuilt(mh, FeatureMinHold) {
		f.MinHold = c.millis(mh, 0)
	}
	pr := v.Get("probe")
	f.Probe = Probe{Auto: true, MaxParallel: c.int(pr.Get("max_parallel"), 2), BudgetPercent: c.float(pr.Get("budget_percent"), 10), PerRequest: c.int(pr.Get("per_request"), 1)}
	if pr.Exists() && c.flag(pr.Get("enabled"), true) && !c.notBuilt(pr, FeatureProbe) {
		f.Probe.Enabled = true
		if after := pr.Get("probe_after"); after.Exists() && c.text(after) != "auto" {
			f.Probe.Auto = false
			f.Probe.After = c.duration(after, 0)
		}
	}
	return f
}

// reference reports a target id that no target has.
func (c *checker) reference(v Value, id string, ids map[string]Value) {
	if _, ok := ids[id]; ok || id == "" {
		return
	}
	known := make([]string, 0, len(ids))
	for k := range ids {
		known = append(known, k)
	}
	slices.Sort(known)
	hint := ""
	if near := diag.Nearest(id, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if len(known) > 0 {
		hint = "targets are " + strings.Join(known[:min(len(known), 20)], ", ")
	}
	c.err(v, diag.UnknownTarget, fmt.Sprintf("no target has the id %q", shorten(id)), hint)
}

func (c *checker) breaker(v Value) CircuitBreaker {
	b := CircuitBreaker{FailureThreshold: c.int(v.Get("failure_threshold"), 5), HalfOpenMaxRequests: c.int(v.Get("half_open_max_requests"), 1), Cooldown: 30 * time.Second}
	if !v.Exists() || v.Get("enabled").Exists() && !c.flag(v.Get("enabled"), true) || c.notBuilt(v, FeatureCircuitBreaker) {
		return b
	}
	b.Enabled = true
	cd, rt := v.Get("cooldown_seconds"), v.Get("recovery_timeout")
	c.both(cd, rt, "cooldown_seconds", "recovery_timeout")
	b.Cooldown = c.duration(first(cd, rt), 30*time.Second)
	return b
}

func (c *checker) retry(v Value) Retry {
	r := Retry{MaxAttempts: 1, InitialBackoff: 100 * time.Millisecond, MaxBackoff: 2 * time.Second}
	if !v.Exists() || c.notBuilt(v, FeatureRetry) {
		return r
	}
	r.MaxAttempts = c.int(v.Get("max_attempts"), 1)
	r.InitialBackoff = c.millis(v.Get("initial_backoff_ms"), r.InitialBackoff)
	r.MaxBackoff = c.millis(v.Get("max_backoff_ms"), r.MaxBackoff)
	if r.MaxBackoff < r.InitialBackoff {
		c.err(first(v.Get("max_backoff_ms"), v.Get("initial_backoff_ms")), diag.NotInRange, "max_backoff_ms must not be below initial_backoff_ms", "")
	}
	return r
}

func (c *checker) health(v Value) HealthMonitor {
	h := HealthMonitor{Interval: 30 * time.Second, Timeout: 5 * time.Second, UnhealthyThreshold: c.int(v.Get("unhealthy_threshold"), 3), HealthyThreshold: c.int(v.Get("healthy_threshold"), 2), Method: "models"}
	if m := c.text(v.Get("method")); m != "" {
		h.Method = m
	}
	if !v.Exists() || v.Get("enabled").Exists() && !c.flag(v.Get("enabled"), true) || c.notBuilt(v, FeatureHealthMonitor) {
		return h
	}
	h.Enabled = true
	h.Interval = c.duration(v.Get("interval"), h.Interval)
	h.Timeout = c.duration(v.Get("timeout"), h.Timeout)
	return h
}

func (c *checker) groups(v Value, ids map[string]Value) []ModelGroup {
	if !v.Exists() || c.notBuilt(v, FeatureModelGroups) {
		return nil
	}
	var out []ModelGroup
	names := map[string]int{} // name or alias -> group
	places := map[string]Pos{}
	for i := range v.Len() {
		gv := v.Index(i)
		g := ModelGroup{Name: c.text(gv.Get("name")), Strategy: c.strategy(gv.Get("strategy")), FallbackGroup: c.text(gv.Get("fallback_group")), Value: gv}
		claim := func(nv Value) {
			name := c.text(nv)
			if name == "" {
				return
			}
			if _, dup := names[name]; dup {
				c.err(nv, diag.DuplicateGroup, fmt.Sprintf("two model groups have the name or alias %s", shorten(name)), fmt.Sprintf("the first one is at %s", places[name]))
				return
			}
			names[name], places[name] = i, nv.Pos()
		}
		claim(gv.Get("name"))
		for j := range gv.Get("aliases").Len() {
			a := gv.Get("aliases").Index(j)
			claim(a)
			g.Aliases = append(g.Aliases, c.text(a))
		}
		targets := gv.Get("targets")
		sum := 0.0
		for j := range targets.Len() {
			m := targets.Index(j)
			ref := m
			if m.Kind() == Map {
				ref = m.Get("target")
			}
			member := Member{Target: c.text(ref), Weight: c.float(m.Get("weight"), 1)}
			c.reference(ref, member.Target, ids)
			sum += member.Weight
			g.Members = append(g.Members, member)
		}
		if targets.Len() > 0 && sum <= 0 {
			c.err(targets, diag.WeightZero, fmt.Sprintf("the weights of group %s add up to 0", shorten(g.Name)), "give at least one of its targets a weight above 0, or leave the weights out")
		}
		out = append(out, g)
	}
	for i, g := range out {
		if g.FallbackGroup == "" {
			continue
		}
		at := g.Value.Get("fallback_group")
		next, ok := names[g.FallbackGroup]
		if !ok {
			known := slices.Sorted(maps.Keys(names))
			hint := "model groups are " + listed(known)
			if near := diag.Nearest(g.FallbackGroup, known); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			c.err(at, diag.UnknownTarget, fmt.Sprintf("no model group has the name %q", shorten(g.FallbackGroup)), hint)
			continue
		}
		for steps := 0; ok && steps <= len(out); steps++ {
			if next == i || steps == len(out) {
				c.err(at, diag.GroupCycle, fmt.Sprintf("the fallback groups of %s lead back to themselves", shorten(g.Name)), "")
				break
			}
			next, ok = names[out[next].FallbackGroup]
		}
	}
	return out
}
