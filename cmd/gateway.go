package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/internal/gateway"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/upstream"
)

// settings are the process settings; a flag wins over its variable.
type settings struct {
	Listen         string        `env:"GATEWAY_LISTEN" envDefault:"127.0.0.1:41002"`
	DataDir        string        `env:"DATA_DIR" envDefault:"keeptrusts-data"`
	MaxConcurrency int           `env:"GATEWAY_MAX_CONCURRENCY"`
	GatewayToken   string        `env:"GATEWAY_TOKEN"`
	GatewayID      string        `env:"GATEWAY_ID"`
	APIURL         string        `env:"API_URL"`
	APIToken       string        `env:"API_TOKEN"`
	UpstreamURL    string        `env:"UPSTREAM_URL"`
	UpstreamKey    string        `env:"UPSTREAM_API_KEY"`
	UpstreamHeader string        `env:"UPSTREAM_API_KEY_HEADER"`
	UpstreamPrefix string        `env:"UPSTREAM_API_KEY_PREFIX"`
	Drain          time.Duration `env:"DRAIN_TIMEOUT" envDefault:"30s"`
	LogLevel       slog.Level    `env:"LOG_LEVEL" envDefault:"info"`

	files           []string
	failMode        string
	requireCompiled bool
	dryRun          bool
}

// badVariable is a variable whose value cannot be read; its setting has the default.
type badVariable struct {
	name, value string
	form        string // what is accepted
	flag        string // wins over it; empty: there is none
}

func (b badVariable) Error() string {
	return fmt.Sprintf("%s: %s must be %s; got %q", diag.EnvInvalid, b.name, b.form, diag.Word(b.value, 40))
}

// The forms of settings that are not texts.
const (
	drainForm       = "a duration of at least 0, such as 30s or 2m"
	concurrencyForm = "a whole number of at least 0 (0: the default), such as 256"
)

// settings reads the variables; those that cannot be read are listed.
func (a *app) settings() (*settings, []badVariable) {
	s := &settings{}
	vars := map[string]string{}
	for _, kv := range a.env.Environ {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	var bad []badVariable
	for name, b := range map[string]badVariable{
		"DRAIN_TIMEOUT":           {form: drainForm, flag: "drain-timeout"},
		"GATEWAY_MAX_CONCURRENCY": {form: concurrencyForm, flag: "max-concurrency"},
		"LOG_LEVEL":               {form: "debug, info, warn or error"},
	} {
		b.name = "KEEPTRUSTS_" + name
		b.value = vars[b.name]
		if b.value == "" {
			continue
		}
		var err error
		switch name {
		case "DRAIN_TIMEOUT":
			var d time.Duration
			if d, err = time.ParseDuration(b.value); err == nil && d < 0 {
				err = strconv.ErrRange
			}
		case "GATEWAY_MAX_CONCURRENCY":
			_, err = strconv.ParseUint(b.value, 10, 31)
		case "LOG_LEVEL":
			var l slog.Level
			err = l.UnmarshalText([]byte(b.value))
		}
		if err != nil {
			bad = append(bad, b)
			delete(vars, b.name)
		}
	}
	slices.SortFunc(bad, func(a, b badVariable) int { return strings.Compare(a.name, b.name) })
	if err := env.ParseWithOptions(s, env.Options{Prefix: "KEEPTRUSTS_", Environment: vars}); err != nil {
		bad = append(bad, badVariable{name: "KEEPTRUSTS_*", form: "settings of kt gateway run --help"}) // all that can fail was looked at
	}
	return s, bad
}

func (a *app) gatewayCmd() *cobra.Command {
	c := &cobra.Command{Use: "gateway", Aliases: []string{"proxy"}, Short: "run the gateway, or ask one that runs", RunE: group}
	c.AddCommand(a.gatewayRunCmd(), a.gatewayStatusCmd())
	return c
}

func (a *app) gatewayRunCmd() *cobra.Command {
	s, bad := a.settings()
	c := &cobra.Command{
		Use:   "run",
		Short: "serve the OpenAI API with the policy chain in front of the configured providers",
		Long: "run serves until SIGTERM or Ctrl-C, then lets answers in flight finish; a second signal ends at once. SIGHUP is ignored:\n" +
			"the configuration is read at the start.\n" +
			"Exit status: 0 ended well, 2 invalid configuration, 3 could not start, 4 streams were cut.",
		Example: "  kt gateway run --policy-config policy-config.yaml\n" +
			"  kt gateway run --listen 0.0.0.0:41002 --policy-config base.yaml --policy-config prod.yaml\n" +
			"  kt gateway run --upstream http://127.0.0.1:41003     (debug: all targets are sent there)",
		Args: usageArgs(0, "no arguments (name files with --policy-config)"),
		RunE: func(c *cobra.Command, _ []string) error {
			for _, b := range bad {
				if b.flag == "" || !c.Flags().Changed(b.flag) {
					return fail(ExitUsage, b)
				}
			}
			if s.MaxConcurrency < 0 {
				return fail(ExitUsage, fmt.Errorf("--max-concurrency must be %s; got %d", concurrencyForm, s.MaxConcurrency))
			}
			if s.Drain < 0 {
				return fail(ExitUsage, fmt.Errorf("--drain-timeout must be %s; got %s", drainForm, s.Drain))
			}
			return a.runGateway(c.Context(), s)
		},
	}
	f := c.Flags()
	f.StringVar(&s.Listen, "listen", s.Listen, "host:port to serve on (KEEPTRUSTS_GATEWAY_LISTEN)")
	f.StringArrayVar(&s.files, "policy-config", nil, "configuration file; repeat to layer files, later ones win (default "+defaultConfig+")")
	f.StringVar(&s.failMode, "fail-mode", "block", "what happens when a policy itself fails: block, or allow (unsafe)")
	f.IntVar(&s.MaxConcurrency, "max-concurrency", s.MaxConcurrency, "requests to models at once (KEEPTRUSTS_GATEWAY_MAX_CONCURRENCY; default "+strconv.Itoa(gateway.DefaultMaxConcurrency)+")")
	f.StringVar(&s.GatewayToken, "api-token", s.GatewayToken, "token of the inspection endpoints /keeptrusts/* (KEEPTRUSTS_GATEWAY_TOKEN)")
	f.StringVar(&s.UpstreamURL, "upstream", s.UpstreamURL, "debug: base URL that replaces that of every target (KEEPTRUSTS_UPSTREAM_URL)")
	f.StringVar(&s.UpstreamKey, "upstream-api-key", s.UpstreamKey, "debug: its key (KEEPTRUSTS_UPSTREAM_API_KEY)")
	f.StringVar(&s.UpstreamHeader, "upstream-api-key-header", s.UpstreamHeader, "debug: header of its key (KEEPTRUSTS_UPSTREAM_API_KEY_HEADER; default Authorization)")
	f.StringVar(&s.UpstreamPrefix, "upstream-api-key-prefix", s.UpstreamPrefix, "debug: what stands before its key in a header of its own (KEEPTRUSTS_UPSTREAM_API_KEY_PREFIX; default Bearer for Authorization)")
	f.BoolVar(&s.requireCompiled, "require-compiled", false, "refuse to start unless the pack is compiled into this binary")
	f.DurationVar(&s.Drain, "drain-timeout", s.Drain, "how long a shutdown waits for answers in flight (KEEPTRUSTS_DRAIN_TIMEOUT)")
	f.BoolVar(&s.dryRun, "dry-run", false, "load and build everything, then exit without serving")
	for _, name := range []string{"api-token", "upstream-api-key", "upstream"} {
		f.Lookup(name).DefValue = "" // a secret from the environment must not show in --help
	}
	return c
}

// openedPack is a compiled pack, or why it cannot be opened.
type openedPack struct {
	chain pipeline.Chain
	err   error
}

// openPacks opens the compiled packs beside what is done until they are asked for: that and reading the configuration take
// the most time of a start, and need nothing of each other.
func (a *app) openPacks() (packs func() []openedPack) {
	done := make(chan []openedPack, 1)
	go func() {
		var out []openedPack
		for _, open := range a.packs {
			c, err := open()
			out = append(out, openedPack{c, err})
		}
		done <- out
	}()
	return func() []openedPack { return <-done }
}

// chain gives the compiled pack with the plan's digest, or the plan
// interpreted; why says what decided, for the log. cache is where tables are
// kept between starts, empty for nowhere.
func (a *app) chain(l *loaded, packs []openedPack, requireCompiled bool, cache string) (c pipeline.Chain, why string, err error) {
	var others []string
	for _, p := range packs {
		if p.err != nil {
			others = append(others, fmt.Sprintf("one that cannot be opened: %v", p.err))
			continue
		}
		info := p.chain.Info()
		if info.Digest == l.plan.Info.Digest {
			return p.chain, "the pack is compiled into this binary", nil
		}
		others = append(others, fmt.Sprintf("%s %.12s", info.Pack, info.Digest))
	}
	why = "no pack is compiled into this binary"
	if len(others) > 0 {
		why = "the configuration's policies differ from the compiled packs (" + strings.Join(others, ", ") + ")"
	}
	if requireCompiled {
		return nil, "", fail(ExitStart, fmt.Errorf("%s: --require-compiled is set, and %s; the plan's digest is %.12s (regenerate with go generate, or kt build --policy-config FILE -o kt)", diag.RunNotCompiled, why, l.plan.Info.Digest))
	}
	e, list := l.engine, diag.List(nil)
	switch {
	case e != nil:
	case cache == "":
		e, list = l.plan.Engine()
	default:
		var cacheErr error
		// A folder that cannot be written costs some time at the next start, no more.
		if e, _, list, cacheErr = l.plan.CachedEngine(cache); cacheErr != nil {
			why += "; " + cacheErr.Error()
		}
	}
	if e == nil {
		return nil, "", fail(ExitUsage, list.Err())
	}
	return interp.NewWith(l.plan, e), why, nil
}

func (a *app) runGateway(ctx context.Context, s *settings) error {
	if s.failMode != "block" && s.failMode != "allow" {
		return fail(ExitUsage, fmt.Errorf("--fail-mode must be block or allow; got %q", s.failMode))
	}
	if err := checkListen(s.Listen); err != nil {
		return fail(ExitUsage, err)
	}
	if s.UpstreamURL != "" {
		u, err := url.Parse(s.UpstreamURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" { // not shown: it may hold a key
			return fail(ExitUsage, fmt.Errorf("%s: --upstream (KEEPTRUSTS_UPSTREAM_URL) must be an address with http:// or https:// and a host, such as http://127.0.0.1:41003", diag.BadBaseURL))
		}
	}
	defer tuneMemory(a.env.Getenv)()
	log := slog.New(gateway.NewLogHandler(a.env.Stderr, s.LogLevel))
	gateway.QuietHertz(log)
	packs := a.openPacks()
	l, err := a.load(s.files, loadOptions{})
	if err != nil {
		return err
	}
	if l.plan == nil {
		a.print(l.list)
		return fail(ExitUsage, fmt.Errorf("%s is not valid", fileName(s.files)))
	}
	if !l.config.Pack.Enabled {
		return fail(ExitUsage, fmt.Errorf("%s: pack %s is switched off (pack.enabled: false)", diag.PackOff, l.config.Pack.Name))
	}
	targets, list, err := a.targets(l.config, override{s.UpstreamURL, s.UpstreamKey, s.UpstreamHeader, s.UpstreamPrefix})
	if err != nil {
		return err
	}
	list.Sort()
	a.print(append(l.list.Filter(diag.Warning), list...))
	if len(targets) == 0 {
		return fail(ExitStart, fmt.Errorf("%s: no target is usable; see the warnings above", diag.RunNoTarget))
	}
	// Last, as building tables can take seconds.
	chain, why, err := a.chain(l, packs(), s.requireCompiled, filepath.Join(a.path(s.DataDir), "cache"))
	if err != nil {
		return err
	}
	o := a.gatewayOptions(s, l, chain, targets, list, log)
	popt, err := poolOptions(l.config, targets)
	if err != nil {
		return fail(ExitUsage, err)
	}
	for _, g := range l.config.Providers.ModelGroups {
		if !slices.ContainsFunc(popt.Groups, func(u upstream.Group) bool { return u.Name == g.Name }) {
			log.Warn("no target of the model group is usable: the group is left out", "group", g.Name)
		}
	}
	o.MinHold = l.config.Providers.Fallback.MinHold
	o.Metrics = gateway.NewMetrics(targets)
	popt.Hooks = o.Metrics.Hooks()
	if s.dryRun {
		if addr, err := net.ResolveTCPAddr("tcp", s.Listen); err == nil {
			warnOpen(&o, addr)
		}
		fmt.Fprintf(a.env.Stdout, "OK: %s would be served with %d targets, mode=%s digest=%.12s\n", fileName(s.files), len(targets), chain.Info().Mode, chain.Info().Digest)
		return nil
	}
	return a.serve(ctx, s, o, popt, why)
}

// gatewayOptions fills what the gateway says of itself.
func (a *app) gatewayOptions(s *settings, l *loaded, chain pipeline.Chain, targets []*upstream.Target, unavailable diag.List, log *slog.Logger) gateway.Options {
	o := gateway.Options{
		Chain: chain, Targets: targets, Log: log, FailOpen: s.failMode == "allow", Version: version(), GatewayID: s.GatewayID,
		ConfigVersion: l.config.Digest, Config: maskedConfig(l.config), AdminToken: s.GatewayToken, MaxConcurrency: s.MaxConcurrency,
		Unavailable: map[string]string{}, StickyBy: l.config.Providers.Routing.StickyBy,
	}
	if o.AdminToken == "" {
		o.AdminToken = s.APIToken
	}
	for _, t := range l.config.Providers.Targets {
		if slices.ContainsFunc(targets, func(u *upstream.Target) bool { return u.ID == t.ID }) {
			continue
		}
		o.Unavailable[t.ID] = "disabled"
		for _, d := range unavailable {
			if strings.HasPrefix(d.Pointer+"/", t.Value.Pointer()+"/") {
				o.Unavailable[t.ID] = d.Message
			}
		}
	}
	warn := func(code diag.Code, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		o.Warnings = append(o.Warnings, string(code)+": "+text)
		log.Warn(text, "code", string(code))
	}
	if s.UpstreamURL != "" {
		o.Overrides = append(o.Overrides, "upstream")
		warn(diag.RunOverride, "debug override in force: every target is sent to %s", shownURL(s.UpstreamURL))
	}
	if o.FailOpen {
		o.Overrides = append(o.Overrides, "unsafe_fail_mode_allow")
		warn(diag.RunFailOpen, "unsafe: --fail-mode allow lets text pass when a policy fails")
	}
	for _, t := range targets {
		if t.AllowPrivate && s.UpstreamURL == "" {
			o.Overrides = append(o.Overrides, "allow_private:"+t.ID)
		}
		if t.UnsafeAllowHTTP {
			o.Overrides = append(o.Overrides, "unsafe_allow_http:"+t.ID)
		}
	}
	for _, text := range a.strayVariables(l.config) {
		warn(diag.EnvUnknown, "%s", text)
	}
	if s.APIURL != "" || s.APIToken != "" {
		warn(diag.RunNoReporting, "KEEPTRUSTS_API_URL or KEEPTRUSTS_API_TOKEN is set, but reporting to a control plane is not built yet: no event leaves this gateway")
	}
	return o
}

// checkListen refuses a --listen that the net package would complete by
// itself: with all addresses, or with any free port.
func checkListen(s string) error {
	bad := func(what string) error {
		return fmt.Errorf("%s: --listen (KEEPTRUSTS_GATEWAY_LISTEN) %s; want host:port, such as 127.0.0.1:41002", diag.RunListen, what)
	}
	if s == "" {
		return bad("is empty")
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return bad(fmt.Sprintf("%q is not an address with a port", s))
	}
	if port == "" {
		return bad(fmt.Sprintf("%q has no port", s))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return bad(fmt.Sprintf("%q has a port that is not a number from 0 to 65535", s))
	}
	return nil
}

// warnOpen warns of an address that others than this machine may reach. It
// looks at the address that was taken, not at the one that was asked for: a
// name can stand for any.
func warnOpen(o *gateway.Options, addr net.Addr) {
	if t, ok := addr.(*net.TCPAddr); ok && t.IP.IsLoopback() {
		return
	}
	text := fmt.Sprintf("listening on %s without client authentication: whoever can reach this address can use the providers' keys", addr)
	o.Warnings = append(o.Warnings, string(diag.RunOpenListen)+": "+text)
	o.Log.Warn(text, "code", string(diag.RunOpenListen))
}

func (a *app) serve(ctx context.Context, s *settings, o gateway.Options, popt upstream.Options, why string) error {
	info := o.Chain.Info()
	dir := filepath.Join(a.path(s.DataDir), "audit")
	records, err := audit.Open(audit.Options{
		Dir: dir, RetentionDays: info.Require.AuditRetentionDays, Immutable: info.Require.AuditImmutable, Now: a.env.Now,
		Failed: func(err error) { o.Log.Error("audit log", "error", err.Error()) },
	})
	if errors.Is(err, audit.ErrInUse) {
		return fail(ExitStart, fmt.Errorf("%s: %w: %s (give each gateway a folder of its own with KEEPTRUSTS_DATA_DIR)", diag.RunDataDir, err, dir))
	}
	if err != nil {
		return fail(ExitStart, fmt.Errorf("%s: open audit log (set KEEPTRUSTS_DATA_DIR to a folder that can be written): %w", diag.RunDataDir, err))
	}
	o.Audit = records
	defer func() {
		if err := records.Close(); err != nil {
			o.Log.Error("audit log", "error", err.Error())
		}
	}()
	pool, err := upstream.New(o.Targets, popt)
	if err != nil {
		return fail(ExitStart, err)
	}
	defer pool.Close()
	o.Router = pool
	ln, err := net.Listen("tcp", s.Listen)
	if err != nil {
		hint := "the host must be an address of this machine, such as 127.0.0.1:41002"
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "another process listens there; end it, or give --listen another port"
		}
		return fail(ExitStart, fmt.Errorf("%s: listen on %s: %w (%s)", diag.RunListen, s.Listen, err, hint))
	}
	warnOpen(&o, ln.Addr())
	g, err := gateway.New(ln, o)
	if err != nil {
		return fail(ExitStart, err)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	defer ignoreHangup(o.Log)()
	g.Start()
	o.Log.Info("serving", "address", g.Addr().String(), "pack", info.Pack, "version", info.Version, "mode", info.Mode, "digest", info.Digest,
		"why", why, "config_version", o.ConfigVersion, "targets", len(o.Targets), "audit", dir)
	select {
	case <-ctx.Done():
	case sig := <-signals:
		o.Log.Info("draining", "signal", sig.String(), "timeout", s.Drain.String())
	}
	dctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	go func() { // ends with dctx, at the latest when serve returns
		select {
		case <-signals:
			cancel()
		case <-dctx.Done():
		}
	}()
	if cut := g.Drain(dctx); cut > 0 {
		return fail(ExitCut, fmt.Errorf("%d answers in flight were cut", cut))
	}
	o.Log.Info("ended")
	return nil
}

// ignoreHangup keeps SIGHUP from ending the process, until stop is called: who
// sends it wants the configuration to be read again, or closed a terminal.
func ignoreHangup(log *slog.Logger) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-hangups:
				log.Warn("SIGHUP is ignored: the configuration is read at the start only; SIGTERM ends the gateway and lets answers finish")
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		close(done)
		wg.Wait()
	}
}

// maskedConfig is the running configuration for /keeptrusts/config. Secrets
// never stand in it: the loader refuses them, and references stay references.
func maskedConfig(c *config.Config) []byte {
	b, err := json.Marshal(c.Root().Any())
	if err != nil {
		return []byte("{}") // values come from checked YAML: this cannot fail
	}
	return b
}
