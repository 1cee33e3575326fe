// Package gateway serves HTTP and joins the parts: a request is read strictly,
// its text goes through the policy chain, a record is kept, a target is asked,
// and the answer's text goes through the chain on its way back. It gets a chain
// and a router, never a configuration file.
//
// Only this package knows the HTTP server (Hertz) and the Prometheus client.
package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/config"
	"github.com/cloudwego/hertz/pkg/network/standard"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
	"github.com/keeptrusts/kt/upstream"
)

const (
	// DefaultMaxBody is the largest request body in bytes.
	DefaultMaxBody = 32 << 20
	// DefaultMaxConcurrency is how many requests to models may run at once.
	DefaultMaxConcurrency = 10_000
	// DefaultDrain is how long a shutdown waits for answers that run.
	DefaultDrain = 30 * time.Second

	maxHeaderBytes = 32 << 10
	// readTime is what Hertz is told; conn sets the real deadlines.
	readTime = headTime + bodyTime
)

// Router is what the gateway needs of an upstream pool.
type Router interface {
	upstream.Router
	Snapshot() upstream.Snapshot
}

// Options of a gateway.
type Options struct {
	Chain    pipeline.Chain
	Router   Router
	Targets  []*upstream.Target // in the router's order; for /v1/models and metrics
	Metrics  *Metrics           // over the same targets; nil: made here
	Audit    *audit.Log         // nil: no records are kept
	Log      *slog.Logger       // nil: slog.Default
	FailOpen bool               // a policy that fails lets text pass

	Version       string // of kt
	GatewayID     string
	ConfigVersion string
	Config        []byte            // JSON for /keeptrusts/config, secrets masked
	Overrides     []string          // relaxations and debug overrides in force
	Warnings      []string          // for /healthz
	Unavailable   map[string]string // id and reason of targets that are configured and cannot be asked

	AdminToken     string        // of /keeptrusts/*; empty: loopback only
	MaxBody        int           // bytes; 0: DefaultMaxBody
	MaxConcurrency int           // 0: DefaultMaxConcurrency
	MaxConns       int           // 0: 10,000
	StickyBy       string        // what the sticky strategy keeps together: user (default) or conversation
	KeepAlive      time.Duration // silence after which a stream gets a comment; 0: 15 s
	MinHold        time.Duration // the beginning of a stream is kept back this long; 0: not at all
	Now            func() time.Time
	Memory         func() Memory // nil: ReadMemory
}

// Gateway is a running server.
type Gateway struct {
	o        Options
	log      *slog.Logger
	info     *pipeline.Info
	counters [][]prometheus.Counter // of policies
	decided  map[decisionKey]prometheus.Counter
	levels   []slog.Level                // of a finding's line, by policy
	looks    [][pipeline.NumClasses]bool // by policy: the classes of text that it reads
	dialect  dialect.Dialect
	admin    [sha256.Size]byte
	started  time.Time
	static   staticHeaders
	names    map[string]bool // of models, as the configuration has them
	m        *Metrics
	scrape   http.Handler // of /metrics
	warned   []warned     // by target

	ln     *listener
	server *server.Hertz
	wg     sync.WaitGroup // the accept loop
	ended  atomic.Bool

	pressure pressure
	calls    sync.Pool    // of *call
	scanners sync.Pool    // of *stream.Scanner
	inflight atomic.Int64 // requests to models
	active   sync.WaitGroup
	mu       sync.Mutex // of draining and active.Add, cutting and asking
	draining atomic.Bool
	cutting  atomic.Bool
	asking   map[*call]context.CancelFunc // ends their calls to targets
	cut      atomic.Int64
}

// staticHeaders are the same on every answer.
type staticHeaders struct{ digest, mode string }

// New makes a gateway on a listener, which it owns from then on. Nothing is
// served before Start.
func New(ln net.Listener, o Options) (*Gateway, error) {
	if o.Chain == nil || o.Router == nil {
		return nil, errors.New("make gateway: a chain and a router are needed")
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.MaxConcurrency <= 0 {
		o.MaxConcurrency = DefaultMaxConcurrency
	}
	if o.MaxConns <= 0 {
		o.MaxConns = connsFor(openFiles())
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(o.Targets)
	}
	g := &Gateway{
		o: o, log: o.Log, info: o.Chain.Info(), dialect: openai.New(), started: o.Now(), m: o.Metrics,
		admin: sha256.Sum256([]byte(o.AdminToken)), scrape: newScrape(o.Metrics),
	}
	g.static = staticHeaders{digest: g.info.Digest, mode: g.info.Mode}
	g.counters, g.decided = g.m.policyCounters(g.info), g.m.decisionCounters(g.info)
	for i := range g.info.Policies {
		level := levelInfo
		_ = level.UnmarshalText([]byte(g.info.Policies[i].LogLevel)) // empty and unknown words: info
		g.levels = append(g.levels, level)
		var looks [pipeline.NumClasses]bool
		for c := range looks {
			looks[c] = o.Chain.Scans(pipeline.Class(c), 1<<i)
		}
		g.looks = append(g.looks, looks)
	}
	if g.pressure.read = o.Memory; g.pressure.read == nil {
		g.pressure.read = ReadMemory
	}
	g.asking = make(map[*call]context.CancelFunc)
	g.names = make(map[string]bool)
	for _, name := range o.Router.ModelNames() {
		g.names[name] = true
	}
	g.m.serve(o.Router.ModelNames())
	g.warned = make([]warned, len(o.Targets))
	g.calls.New = func() any { return &call{g: g} }
	g.scanners.New = func() any { return new(stream.Scanner) }
	g.ln = newListener(ln, o.MaxConns, func(err error) { g.log.Warn("accepting connections is paused", "error", err.Error()) })
	g.ln.refused = g.refusal
	g.m.chain(g.info)
	g.m.watch(g)
	g.routes()
	return g, nil
}

// connsFor is how many client connections to accept when so many files may be
// open (0: not known): each may need a second one to a target, and some are
// kept back for the audit log and the rest.
func connsFor(files uint64) int {
	const kept = 64
	if files == 0 || files >= 2*defaultMaxConns+kept {
		return defaultMaxConns
	}
	return int(max(files, kept+16)-kept) / 2
}

func (g *Gateway) routes() {
	g.server = server.New(
		server.WithListener(g.ln),
		server.WithTransport(standard.NewTransporter),
		server.WithSenseClientDisconnection(true),
		server.WithStreamBody(false),
		server.WithMaxRequestBodySize(g.o.MaxBody),
		server.WithMaxHeaderBytes(maxHeaderBytes),
		server.WithReadTimeout(readTime),
		server.WithIdleTimeout(idleTime),
		server.WithKeepAliveTimeout(idleTime),
		server.WithDisablePreParseMultipartForm(true),
		server.WithDisablePrintRoute(true),
		server.WithRedirectTrailingSlash(false),
		server.WithUseRawPath(true), // a path that only becomes a route when it is decoded or cleaned is none
		server.WithUnescapePathValues(true),
		server.WithDisableDefaultContentType(true),
		config.Option{F: func(o *config.Options) { o.NoDefaultServerHeader = true }},
	)
	h := g.server
	h.Use(g.guard)
	h.POST("/v1/chat/completions", g.chat)
	for path, handler := range map[string]app.HandlerFunc{
		"/v1/models":                    g.models,
		"/v1/models/*id":                g.model,
		"/healthz":                      g.healthz,
		"/readyz":                       g.readyz,
		"/health":                       g.health,
		"/metrics":                      g.metrics,
		"/keeptrusts/config":            g.adminOnly(g.config),
		"/keeptrusts/providers/metrics": g.adminOnly(g.providers),
	} {
		h.GET(path, handler)
		h.HEAD(path, handler) // Hertz leaves the body out
	}
	h.NoRoute(g.unknown)
	h.NoMethod(g.unknown)
}

// Addr is where the gateway listens.
func (g *Gateway) Addr() net.Addr { return g.ln.Addr() }

// Start serves until Drain.
func (g *Gateway) Start() {
	g.wg.Go(func() {
		if err := g.server.Run(); err != nil && !g.draining.Load() {
			g.log.Error("the server ended", "error", err.Error())
		}
		g.ended.Store(true)
	})
}

// Times of a shutdown.
const (
	cutTime    = time.Second            // for the last words to clients whose answers are cut
	lingerTime = 250 * time.Millisecond // for answers that are being written when no request to a model is left
)

// Drain ends the gateway: no new connections, and requests that come on open ones
// are told so. Requests to models that run go on until ctx ends and are cut then:
// a stream ends with an error event. It gives how many were cut.
// Nothing of the gateway runs afterwards.
func (g *Gateway) Drain(ctx context.Context) (cut int) {
	g.mu.Lock()
	first := !g.draining.Swap(true)
	g.mu.Unlock()
	if !first {
		return int(g.cut.Load())
	}
	_ = g.ln.Close() // closing twice is no matter
	done := make(chan struct{})
	go func() {
		g.active.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		g.cutAll()
		select {
		case <-done:
		case <-time.After(cutTime):
		}
		g.ln.closeIdle(true) // cancels the handlers that are left
		<-done
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if g.ln.closeIdle(false); g.ln.count() == 0 || time.Since(began) > lingerTime {
			break
		}
	}
	g.ln.closeIdle(true)
	g.wg.Wait()
	for i := 0; g.ln.count() > 0 && i < 200; i++ { // connections close themselves once their handler is done
		time.Sleep(5 * time.Millisecond)
	}
	_ = g.server.Close() // the listener is closed already
	return int(g.cut.Load())
}

// cutAll ends the calls to targets that run.
func (g *Gateway) cutAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut.Store(g.inflight.Load())
	g.cutting.Store(true)
	for _, cancel := range g.asking {
		cancel()
	}
}

// enter counts a request to a model; false while draining.
func (g *Gateway) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining.Load() {
		return false
	}
	g.active.Add(1)
	return true
}

// guard runs before every handler: it closes connections after their answers while the gateway
// drains or memory is short, and turns a fault of the program into an answer.
func (g *Gateway) guard(ctx context.Context, c *app.RequestContext) {
	defer g.caught(c)
	if len(c.Handlers()) == 1 { // only this one: Hertz would answer by itself, in plain text
		g.unreadable(c)
		return
	}
	if g.memory() > memoryAmple || g.draining.Load() {
		c.Response.Header.SetConnectionClose(true)
	}
	c.Next(ctx)
}

// caught answers when the program failed. It is deferred.
func (g *Gateway) caught(c *app.RequestContext) {
	p := recover()
	if p == nil {
		return
	}
	g.m.panics.Inc()
	g.log.Error("a request ended in a fault of the program", "path", route(c), "fault", fmt.Sprintf("%T", p))
	if c.Response.GetHijackWriter() == nil {
		g.fail(c, 500, &dialect.Error{Type: "server_error", Code: "internal_error", Message: "The gateway failed.", RequestID: requestID(c)})
	}
	c.SetConnectionClose()
}

//go:noinline
func (g *Gateway) unreadable(c *app.RequestContext) {
	e := g.unacceptable(400)
	g.fail(c, 400, &e)
	c.SetConnectionClose()
}

// route is the path for logs, bounded and without anything a client makes up.
func route(c *app.RequestContext) string {
	if p := c.FullPath(); p != "" {
		return p
	}
	return other
}

// refusal is the answer to a request that is no acceptable HTTP, with its record.
func (g *Gateway) refusal(status int) []byte {
	e := g.unacceptable(status)
	body := g.dialect.AppendError(nil, &e)
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-request-id: %s\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), e.RequestID, body)
}

// unacceptable counts and records a request that is no acceptable HTTP: one that
// cannot be read, that names no host, or whose target is no path. It gives the error to answer with.
func (g *Gateway) unacceptable(status int) dialect.Error {
	e := dialect.Error{Type: "validation_error", Code: "bad_request", Message: "The request is not acceptable HTTP.", RequestID: newRequestID()}
	switch status {
	case 408:
		e.Code, e.Message = "request_timeout", "The request did not arrive in time."
	case 413:
		e.Code, e.Message = "body_too_large", "The body is larger than "+strconv.Itoa(g.o.MaxBody)+" bytes."
	case 431:
		e.Code, e.Message = "header_too_large", "The headers are larger than "+strconv.Itoa(maxHeaderBytes)+" bytes."
	}
	g.refused(&e, status)
	return e
}

// refused counts and records a request that was not looked at.
func (g *Gateway) refused(e *dialect.Error, status int) {
	g.m.refused.WithLabelValues(e.Code).Inc()
	if g.o.Audit == nil {
		return
	}
	if err := g.o.Audit.Write(&audit.Record{
		Type: audit.Terminal, Time: g.o.Now(), RequestID: e.RequestID, Verdict: pipeline.VerdictAllow, Outcome: "refused", Reason: e.Code, Status: status,
		GatewayID: g.o.GatewayID, ConfigVersion: g.o.ConfigVersion, Overrides: g.o.Overrides,
	}); err != nil {
		g.m.auditLost.Inc()
	}
}

// fail answers with the documented envelope.
func (g *Gateway) fail(c *app.RequestContext, status int, e *dialect.Error) {
	if status == 409 || status == 501 {
		// OpenAI's clients retry these by default and honour this.
		c.Response.Header.Set("x-should-retry", "false")
	}
	c.SetStatusCode(status)
	c.Response.Header.Set("Content-Type", "application/json")
	if e.RequestID != "" {
		c.Response.Header.Set("x-request-id", e.RequestID)
	}
	c.Response.SetBody(g.dialect.AppendError(nil, e))
}
