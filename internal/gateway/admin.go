package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"github.com/bytedance/sonic"
	"github.com/cloudwego/hertz/pkg/app"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/upstream"
)

// json answers with v.
func (g *Gateway) json(c *app.RequestContext, status int, v any) {
	b, err := sonic.ConfigStd.Marshal(v)
	if err != nil {
		g.fail(c, 500, &dialect.Error{Type: "server_error", Code: "internal_error", Message: "The answer could not be written."})
		return
	}
	c.SetStatusCode(status)
	c.Response.Header.Set("Content-Type", "application/json")
	c.Response.Header.Set("Cache-Control", "no-store")
	c.Response.SetBody(append(b, '\n'))
}

type modelEntry struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// owner is the provider of the first target that serves a model.
func (g *Gateway) owner(model string) string {
	for _, t := range g.o.Targets {
		if t.Serves(model) {
			return providerOf(t)
		}
	}
	return "keeptrusts"
}

func (g *Gateway) models(_ context.Context, c *app.RequestContext) {
	list := []modelEntry{}
	for _, name := range g.o.Router.ModelNames() {
		list = append(list, modelEntry{ID: name, Object: "model", OwnedBy: g.owner(name)})
	}
	c.Response.Header.Set("x-request-id", requestID(c))
	g.json(c, 200, map[string]any{"object": "list", "data": list})
}

func (g *Gateway) model(_ context.Context, c *app.RequestContext) {
	id := requestID(c)
	name := strings.TrimPrefix(c.Param("id"), "/")
	if !slices.Contains(g.o.Router.ModelNames(), name) {
		g.fail(c, 404, &dialect.Error{Type: "invalid_request_error", Code: "model_not_found", Message: "No target serves this model.", Param: "model", RequestID: id})
		return
	}
	c.Response.Header.Set("x-request-id", id)
	g.json(c, 200, modelEntry{ID: name, Object: "model", OwnedBy: g.owner(name)})
}

// unbuilt are OpenAI's other paths, documented in docs/http.md: known, and not
// served by this version. They are never passed on without policies.
var unbuilt = []string{
	"/v1/responses", "/v1/messages", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/audio/", "/v1/images/",
	"/v1/files", "/v1/uploads", "/v1/batches", "/v1/fine_tuning", "/v1/vector_stores", "/v1/realtime", "/v1/assistants", "/v1/threads",
	"/v1/conversations", "/v1/containers", "/v1/evals", "/v1/videos", "/v1/organization", "/v1/chat/completions/",
}

// readMethods are those of what can only be read.
const readMethods = "GET, HEAD"

// methods are those of the paths that are served.
var methods = map[string]string{
	"/v1/chat/completions": "POST", "/v1/models": readMethods, "/healthz": readMethods, "/readyz": readMethods, "/health": readMethods, "/metrics": readMethods,
	"/keeptrusts/config": readMethods, "/keeptrusts/providers/metrics": readMethods,
}

func (g *Gateway) unknown(_ context.Context, c *app.RequestContext) {
	path := string(c.Request.URI().PathOriginal()) // as routes are matched: neither decoded nor cleaned
	e := &dialect.Error{Type: "invalid_request_error", Code: "unknown_path", RequestID: requestID(c),
		Message: "There is nothing at this path. Served: POST /v1/chat/completions, GET /v1/models, GET /v1/models/{id}, /healthz, /readyz, /health, /metrics."}
	status := 404
	for _, p := range unbuilt {
		if path == strings.TrimSuffix(p, "/") && p != "/v1/chat/completions/" || strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/") {
			status, e.Code = 501, "not_supported"
			e.Message = "This API is not supported by this version. Served: POST /v1/chat/completions, GET /v1/models, GET /v1/models/{id}."
		}
	}
	if bare := strings.TrimRight(path, "/"); bare != path && methods[bare] != "" {
		status, e.Code = 404, "unknown_path"
		e.Message = "There is nothing at this path, which ends with a slash too many. Served: " + bare + "."
	}
	if allow, ok := methods[path]; ok {
		status, e.Code = 405, "method_not_allowed"
		e.Message = "This path takes " + allow + "."
		c.Response.Header.Set("Allow", allow)
	}
	g.m.refused.WithLabelValues(e.Code).Inc()
	g.fail(c, status, e)
	// What stands in the body was read by nobody's rules.
	c.SetConnectionClose()
}

// fromLoopback tells whether the client is on this machine and meant it: a
// foreign name in Host is how a web page reaches a local server (rebinding).
func fromLoopback(c *app.RequestContext) bool {
	addr, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || !addr.AddrPort().Addr().Unmap().IsLoopback() {
		return false
	}
	return loopbackHost(string(c.Host()))
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// adminOnly lets a request through that carries the token, or, where none is
// configured, one from this machine.
func (g *Gateway) adminOnly(next app.HandlerFunc) app.HandlerFunc {
	return func(ctx context.Context, c *app.RequestContext) {
		id := requestID(c)
		if g.o.AdminToken == "" {
			if !fromLoopback(c) {
				g.fail(c, 403, &dialect.Error{Type: "authentication_error", Code: "loopback_only", RequestID: id,
					Message: "Inspection is open on this machine only until the gateway has a token (--api-token)."})
				return
			}
			next(ctx, c)
			return
		}
		token, ok := bearer(c)
		sum := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(sum[:], g.admin[:]) != 1 || !ok {
			c.Response.Header.Set("WWW-Authenticate", "Bearer")
			g.fail(c, 401, &dialect.Error{Type: "authentication_error", Code: "invalid_token", RequestID: id, Message: "Inspection needs the gateway's token."})
			return
		}
		next(ctx, c)
	}
}

// bearer is the token of the one Authorization header. The scheme's case does not
// matter (RFC 9110, section 11.1). Of two headers, neither counts.
func bearer(c *app.RequestContext) (token string, ok bool) {
	const scheme = "Bearer "
	all := c.Request.Header.GetAll("Authorization")
	if len(all) != 1 || len(all[0]) < len(scheme) || !strings.EqualFold(all[0][:len(scheme)], scheme) {
		return "", false
	}
	return all[0][len(scheme):], true
}

func (g *Gateway) config(_ context.Context, c *app.RequestContext) {
	g.json(c, 200, map[string]any{
		"pack":           map[string]string{"name": g.info.Pack, "version": g.info.Version},
		"policies":       map[string]any{"chain": g.kinds()},
		"policy_digest":  g.info.Digest,
		"mode":           g.info.Mode,
		"config_version": g.o.ConfigVersion,
		"overrides":      emptyNotNull(g.o.Overrides),
		"config":         sonic.NoCopyRawMessage(orNull(g.o.Config)),
	})
}

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return []byte("null")
	}
	return b
}

func emptyNotNull(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (g *Gateway) kinds() []string {
	out := []string{}
	for i := range g.info.Policies {
		out = append(out, g.info.Policies[i].Kind)
	}
	return out
}

func (g *Gateway) providers(_ context.Context, c *app.RequestContext) {
	g.json(c, 200, g.o.Router.Snapshot())
}

// usable tells whether any target may be asked: its breaker is not open, no check
// says that it is down, and it is not ejected. One that is only limited counts.
func (g *Gateway) usable() bool {
	return slices.ContainsFunc(g.o.Router.Snapshot().Targets, func(t upstream.TargetStatus) bool { return t.Status != "unhealthy" })
}

func (g *Gateway) readyz(_ context.Context, c *app.RequestContext) {
	switch {
	case g.draining.Load() || g.ended.Load():
		g.json(c, 503, map[string]string{"status": "draining"})
	case !g.usable():
		g.json(c, 503, map[string]string{"status": "no_usable_target"})
	default:
		g.json(c, 200, map[string]string{"status": "ready"})
	}
}

func (g *Gateway) healthz(_ context.Context, c *app.RequestContext) {
	status := "ok"
	if g.draining.Load() {
		status = "draining"
	}
	g.json(c, 200, map[string]any{
		"status": status, "version": g.o.Version, "uptime_seconds": int64(g.o.Now().Sub(g.started).Seconds()),
		"pack": g.info.Pack, "pack_version": g.info.Version, "policy_digest": g.info.Digest, "mode": g.info.Mode,
		"config_version": g.o.ConfigVersion, "overrides": emptyNotNull(g.o.Overrides), "warnings": emptyNotNull(g.o.Warnings),
	})
}

func (g *Gateway) health(_ context.Context, c *app.RequestContext) {
	providers, bad := map[string]string{}, 0
	for _, t := range g.o.Router.Snapshot().Targets {
		providers[t.ID] = "reachable"
		if t.Status == "unhealthy" {
			providers[t.ID] = "unreachable"
			bad++
		}
	}
	status := "healthy"
	switch {
	case bad == len(providers):
		status = "unhealthy"
	case bad > 0 || len(g.o.Unavailable) > 0:
		status = "degraded"
	}
	for id := range g.o.Unavailable {
		providers[id] = "unreachable"
	}
	g.json(c, 200, map[string]any{
		"status": status, "uptime_seconds": int64(g.o.Now().Sub(g.started).Seconds()), "version": g.o.Version,
		"providers": providers, "policies_loaded": len(g.info.Policies), "requests_processed": g.m.served.Load(),
		"in_flight": g.inflight.Load(), "goroutines": runtime.NumGoroutine(),
		"cache": map[string]any{"entries": 0, "hit_rate_pct": 0},
	})
}

// maxScrapes is how many requests for /metrics are answered at once; the next
// one gets 503. Each gathers every series, and anybody who reaches the port may ask.
const maxScrapes = 4

// newScrape makes the handler of /metrics: one for the gateway, since it is what
// counts the requests.
func newScrape(m *Metrics) http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes})
}

func (g *Gateway) metrics(ctx context.Context, c *app.RequestContext) {
	r := &http.Request{
		Method: string(c.Method()), URL: &url.URL{Path: "/metrics", RawQuery: string(c.Request.URI().QueryString())},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
	}
	for _, name := range [...]string{"Accept", "Accept-Encoding"} {
		if v := c.GetHeader(name); len(v) > 0 {
			r.Header.Set(name, string(v))
		}
	}
	g.scrape.ServeHTTP(&netHTTP{c: c, header: http.Header{}}, r.WithContext(ctx))
}

// netHTTP is net/http's view of a response. The body is kept until its end, so
// that its length is known to HEAD, too (Hertz's own adaptor says 0 there).
type netHTTP struct {
	c      *app.RequestContext
	header http.Header
	begun  bool
}

// Header implements http.ResponseWriter.
func (w *netHTTP) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *netHTTP) WriteHeader(status int) {
	if w.begun {
		return
	}
	w.begun = true
	w.c.SetStatusCode(status)
	for name, all := range w.header {
		for _, v := range all {
			w.c.Response.Header.Add(name, v)
		}
	}
}

// Write implements http.ResponseWriter.
func (w *netHTTP) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.c.Response.AppendBody(p)
	return len(p), nil
}
