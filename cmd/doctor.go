package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/upstream"
)

// defaultURL is where a local gateway listens.
const defaultURL = "http://127.0.0.1:41002"

// check is one line of kt doctor.
type check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warn, fail
	Detail string `json:"detail"`
}

func (a *app) doctorCmd() *cobra.Command {
	var files []string
	var gw string
	var asJSON, online bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "check that a gateway can run here: configuration, keys, folders, providers",
		Long: "doctor changes nothing. With --online it also connects to every provider's address; no key and no request\n" +
			"is sent. Exit status: 0 nothing is wrong, 1 something is.",
		Example: "  kt doctor\n  kt doctor --policy-config policy-config.yaml --online\n  kt doctor --json",
		Args:    usageArgs(0, "no arguments (name files with --policy-config)"),
		RunE: func(c *cobra.Command, _ []string) error {
			list := a.doctor(c.Context(), files, gw, online)
			bad := false
			for _, k := range list {
				bad = bad || k.Status == "fail"
			}
			if asJSON {
				if err := a.printJSON(map[string]any{"ok": !bad, "checks": list}); err != nil {
					return err
				}
			} else {
				w := tabwriter.NewWriter(a.env.Stdout, 0, 4, 2, ' ', 0)
				for _, k := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\n", k.Status, k.Name, k.Detail)
				}
				_ = w.Flush() // the terminal went away; nothing else can be said there
			}
			if bad {
				return fail(ExitFound, nil)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&files, "policy-config", nil, "configuration file; repeat to layer files (default "+defaultConfig+")")
	f.StringVar(&gw, "url", defaultURL, "gateway to look for")
	f.BoolVar(&online, "online", false, "connect to every provider's address")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) doctor(ctx context.Context, files []string, gw string, online bool) []check {
	var list []check
	add := func(status, name, format string, args ...any) {
		list = append(list, check{name, status, fmt.Sprintf(format, args...)})
	}
	add("ok", "kt", "%s, %s, %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	s, bad := a.settings()
	for _, b := range bad {
		add("fail", "settings", "%v", b)
	}
	if len(bad) == 0 {
		add("ok", "settings", "KEEPTRUSTS_* variables are readable")
	}
	if s.APIURL != "" || s.APIToken != "" {
		add("warn", "reporting", "KEEPTRUSTS_API_URL or KEEPTRUSTS_API_TOKEN is set, but reporting to a control plane is not built yet")
	}
	if s.UpstreamURL != "" {
		add("warn", "override", "KEEPTRUSTS_UPSTREAM_URL sends every target to %s", shownURL(s.UpstreamURL))
	}
	list = append(list, a.checkConfig(ctx, files, s, online)...)
	list = append(list, a.checkFolder("data folder", a.path(s.DataDir)))
	list = append(list, a.checkGateway(ctx, gw))
	return list
}

// checkConfig loads the configuration as the gateway would.
func (a *app) checkConfig(ctx context.Context, files []string, s *settings, online bool) []check {
	l, err := a.load(files, loadOptions{engine: true})
	if err != nil {
		return []check{{"configuration", "fail", err.Error()}}
	}
	if l.plan == nil || l.list.HasErrors() {
		n := l.list.Count(diag.Error)
		first := l.list.Filter(diag.Error)[0]
		return []check{{"configuration", "fail", fmt.Sprintf("%d errors, the first: %s (kt policy lint shows all)", n, first.Error())}}
	}
	var out []check
	for _, text := range a.strayVariables(l.config) {
		out = append(out, check{"settings", "warn", string(diag.EnvUnknown) + ": " + text})
	}
	out = append(out, check{"configuration", "ok", fmt.Sprintf("%s: pack %s %s, %d policies, %d warnings", fileName(files), l.config.Pack.Name, l.config.Pack.Version, len(l.plan.Policies), l.list.Count(diag.Warning))})
	if !l.config.Pack.Enabled {
		out = append(out, check{"pack", "fail", fmt.Sprintf("%s is switched off (pack.enabled: false): the gateway would not start", l.config.Pack.Name)})
	}
	chain, why, err := a.chain(l, a.openPacks()(), false, "")
	if err != nil {
		return append(out, check{"policies", "fail", err.Error()})
	}
	out = append(out, check{"policies", "ok", fmt.Sprintf("mode=%s: %s", chain.Info().Mode, why)})
	targets, diags, err := a.targets(l.config, override{s.UpstreamURL, s.UpstreamKey, s.UpstreamHeader, s.UpstreamPrefix})
	if err != nil {
		return append(out, check{"targets", "fail", err.Error()})
	}
	for _, d := range diags {
		out = append(out, check{"target", "warn", d.Message})
	}
	status := "ok"
	if len(targets) == 0 {
		status = "fail"
	}
	out = append(out, check{"targets", status, fmt.Sprintf("%d of %d can be asked", len(targets), len(l.config.Providers.Targets))})
	if online {
		for _, t := range targets {
			out = append(out, connect(ctx, t))
		}
	}
	return out
}

// connect opens a connection to a target's address and closes it.
func connect(ctx context.Context, t *upstream.Target) check {
	name := "provider " + t.ID
	base := t.BaseURL
	if base == "" && t.Provider != nil {
		base = t.Provider.BaseURL
	}
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" {
		return check{name, "fail", "it has no address"}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	begin := time.Now()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return check{name, "fail", fmt.Sprintf("%s cannot be reached: %v", u.Host, err)}
	}
	_ = c.Close() // nothing was sent
	return check{name, "ok", fmt.Sprintf("%s answers after %d ms", u.Host, time.Since(begin).Milliseconds())}
}

// checkFolder looks whether records can be written, without leaving anything.
func (a *app) checkFolder(name, dir string) check {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		parent := filepath.Dir(dir)
		if p, err := os.Stat(parent); err != nil || !p.IsDir() {
			return check{name, "fail", fmt.Sprintf("%s does not exist, nor does %s (KEEPTRUSTS_DATA_DIR)", dir, parent)}
		}
		return check{name, "ok", dir + " will be made at the start"}
	}
	if err != nil {
		return check{name, "fail", err.Error()}
	}
	if !info.IsDir() {
		return check{name, "fail", dir + " is not a folder"}
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return check{name, "fail", fmt.Sprintf("%s cannot be written: %v", dir, err)}
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	if info.Mode().Perm()&0o022 != 0 {
		return check{name, "warn", fmt.Sprintf("%s can be written by others (mode %#o)", dir, info.Mode().Perm())}
	}
	return check{name, "ok", dir + " can be written"}
}

func (a *app) checkGateway(ctx context.Context, base string) check {
	var h health
	if err := a.ask(ctx, base+"/healthz", "", &h); err != nil {
		return check{"gateway", "ok", "none runs at " + shownURL(base)}
	}
	status := "ok"
	if len(h.Warnings) > 0 {
		status = "warn"
	}
	return check{"gateway", status, fmt.Sprintf("%s: %s, kt %s, pack %s, mode=%s, up %d s %s", shownURL(base), h.Status, h.Version, h.Pack, h.Mode, h.Uptime, strings.Join(h.Warnings, "; "))}
}

// shownURL is an address as it may be shown: without user, password and query.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "an address that cannot be read (want http://host:port)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).Redacted()
}

// health is what /healthz says.
type health struct {
	Status    string   `json:"status"`
	Version   string   `json:"version"`
	Uptime    int64    `json:"uptime_seconds"`
	Pack      string   `json:"pack"`
	PackVer   string   `json:"pack_version"`
	Digest    string   `json:"policy_digest"`
	Mode      string   `json:"mode"`
	Config    string   `json:"config_version"`
	Overrides []string `json:"overrides"`
	Warnings  []string `json:"warnings"`
}

// ask reads a JSON answer of a gateway.
func (a *app) ask(ctx context.Context, address, token string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || req.URL.Host == "" {
		return fmt.Errorf("ask gateway: --url is %s", shownURL(address))
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its own text quotes the address as it is
		}
		return fmt.Errorf("ask gateway at %s: %w", shownURL(address), err)
	}
	defer func() { _ = resp.Body.Close() }() // read only
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("ask gateway: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return errors.New("ask gateway: it wants its token (--api-token or KEEPTRUSTS_GATEWAY_TOKEN)")
	default:
		return fmt.Errorf("ask gateway: %s answers %s", shownURL(address), resp.Status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("ask gateway: %s is no gateway of this kind", shownURL(address))
	}
	return nil
}
