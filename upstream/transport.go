package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/upstream/provider"
)

// Defaults of Timeouts and Limits.
const (
	DefaultConnect      = 3 * time.Second
	DefaultFirstByte    = 30 * time.Second
	DefaultWholeAnswer  = 5 * time.Minute
	DefaultBetweenBytes = 60 * time.Second
	DefaultTotal        = 10 * time.Minute

	DefaultMaxHeader = 64 << 10
	DefaultMaxBody   = 32 << 20
	DefaultMaxStream = 256 << 20
	DefaultMaxEvent  = 4 << 20
)

// TransportOptions of NewTransport. The zero value is for production.
type TransportOptions struct {
	RootCAs  *x509.CertPool // nil: the system's
	Resolver *net.Resolver  // nil: the system's
	// Dial replaces the TCP dial of tests; the address check does not run then.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxIdlePerTarget is the number of idle connections kept for each target; 0: 64.
	MaxIdlePerTarget int
	// IdleTimeout closes an idle connection; 0: 60 s.
	IdleTimeout time.Duration
	// UserAgent is sent with each request; empty: "kt".
	UserAgent string
}

// HTTP is the Transport over sockets: HTTP/1.1, no redirects, no proxy of the
// environment, TLS 1.2 and later, connected addresses checked. Each target has
// a list of idle connections of its own, so that neither a connection nor what
// was permitted for it ever serves another target.
//
// A request runs in the goroutine of its caller: what net/http would hand to two
// goroutines of a connection costs more than all else on the way of a small
// request (docs/ARCHITECTURE.md).
type HTTP struct {
	opt    TransportOptions
	mu     sync.Mutex
	pool   map[*Target]*route
	dials  int // that run
	none   *sync.Cond
	closed bool
}

// beginDial counts a dial; false: the transport is closed.
func (h *HTTP) beginDial() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.dials++
	return true
}

func (h *HTTP) endDial() {
	h.mu.Lock()
	if h.dials--; h.dials == 0 {
		h.none.Broadcast()
	}
	h.mu.Unlock()
}

// route is what one target needs per request, worked out once.
type route struct {
	base     *url.URL
	row      *provider.Row
	dial     *dialer
	idle     list
	timeouts Timeouts
	limits   Limits
	err      error  // the target can never be asked
	fields   []byte // header lines of each request
	own      map[string]bool

	mu    sync.Mutex
	heads map[headKey][]byte
}

// headKey is what the beginning of a request depends on.
type headKey struct{ method, path, model string }

// maxHeads and maxHeadKey (bytes) bound what a route remembers, as clients choose
// models, of any length.
const (
	maxHeads   = 64
	maxHeadKey = 256
)

// head gives the beginning of a request: its first line and the header lines
// that are the same for all.
func (r *route) head(t *Target, k headKey) ([]byte, error) {
	r.mu.Lock()
	h := r.heads[k]
	r.mu.Unlock()
	if h != nil {
		return h, nil
	}
	u, err := t.endpoint(r.base, k.path, k.model)
	if err != nil {
		return nil, err
	}
	if origin(u) != origin(r.base) {
		return nil, errors.New("build request: the path changes the host")
	}
	uri := u.RequestURI()
	if k.method != http.MethodPost && k.method != http.MethodGet {
		return nil, errors.New("build request: the method is not GET or POST") // the answer to a HEAD has another form
	}
	if !isValue(u.Host) || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }) || !strings.HasPrefix(uri, "/") {
		return nil, errors.New("build request: the path holds a character that a request line must not hold")
	}
	h = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", k.method, uri, strings.TrimSuffix(u.Host, ":"))
	h = append(h, r.fields...)
	if len(k.path)+len(k.model) > maxHeadKey {
		return h, nil
	}
	r.mu.Lock()
	if len(r.heads) >= maxHeads {
		clear(r.heads)
	}
	r.heads[k] = h
	r.mu.Unlock()
	return h, nil
}

// NewTransport gives the transport over sockets.
func NewTransport(opt TransportOptions) *HTTP {
	if opt.MaxIdlePerTarget == 0 {
		opt.MaxIdlePerTarget = 64
	}
	if opt.IdleTimeout == 0 {
		opt.IdleTimeout = 60 * time.Second
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "kt"
	}
	h := &HTTP{opt: opt, pool: make(map[*Target]*route)}
	h.none = sync.NewCond(&h.mu)
	return h
}

// Close drops all idle connections and waits for dials that run; there are no
// new ones afterwards. Requests that have their connection go on.
func (h *HTTP) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for h.dials > 0 {
		h.none.Wait()
	}
	for _, r := range h.pool {
		r.idle.close()
	}
	clear(h.pool)
}

func (h *HTTP) route(t *Target) *route {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.pool[t]
	if r == nil {
		r = h.newRoute(t)
		h.pool[t] = r
	}
	return r
}

func (h *HTTP) newRoute(t *Target) *route {
	r := &route{
		row: t.row(), timeouts: t.Timeouts.withDefaults(), limits: t.Limits.withDefaults(),
		idle:  list{max: h.opt.MaxIdlePerTarget, keep: h.opt.IdleTimeout, closed: h.closed},
		heads: make(map[headKey][]byte), own: make(map[string]bool),
	}
	if r.base, r.err = t.base(); r.err != nil {
		return r
	}
	var key string
	if key, r.err = t.Key.valueFor(r.base); r.err != nil {
		return r
	}
	authName, prefix := "", ""
	if key != "" {
		authName, prefix = r.row.Auth()
		authName = textproto.CanonicalMIMEHeaderKey(authName)
	}
	r.field("User-Agent", h.opt.UserAgent)
	r.field("Accept-Encoding", "identity")
	for name, values := range t.Header {
		if name = textproto.CanonicalMIMEHeaderKey(name); barred[name] || name == "User-Agent" || name == authName {
			continue
		}
		for _, v := range values {
			r.field(name, v)
		}
	}
	if authName != "" {
		r.field(authName, prefix+key)
	}
	if r.err != nil {
		return r
	}
	var proxy *url.URL
	if t.Proxy != "" {
		if proxy, r.err = url.Parse(t.Proxy); r.err == nil && (proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Hostname() == "") {
			r.err = errors.New("parse proxy: it must be an http or https URL")
		}
		if r.err != nil {
			r.err = errors.New("parse proxy: it must be an http or https URL")
			return r
		}
	}
	r.dial = &dialer{h: h, opt: &h.opt, base: r.base, proxy: proxy, private: t.AllowPrivate, plain: t.UnsafeAllowHTTP, timeout: r.timeouts.Connect}
	return r
}

// field adds a header line to those of each request.
func (r *route) field(name, value string) {
	if !isToken(name) || !isValue(value) {
		r.err = fmt.Errorf("set header %q: its name or value holds a character that a header must not hold", name)
		return
	}
	r.own[name] = true
	r.fields = appendField(r.fields, name, value)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ':', ' ')
	b = append(b, value...)
	return append(b, '\r', '\n')
}

// isValue tells that a header may have the value.
func isValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// sentUp are the client's headers that go on. No credential, no cookie, no
// host, no header that routes is among them.
var sentUp = []string{"Openai-Beta", "Idempotency-Key", "X-Request-Id", "Traceparent", "Tracestate"}

// barred are headers that a target's configured extra headers must not set.
var barred = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "Host": true, "Content-Length": true,
	"Transfer-Encoding": true, "Connection": true, "Te": true, "Trailer": true, "Upgrade": true, "Expect": true,
	"Content-Encoding": true, "Accept-Encoding": true, "Content-Type": true, "Accept": true,
	"Metadata-Flavor": true, "X-Aws-Ec2-Metadata-Token": true, "Keep-Alive": true, "Proxy-Connection": true,
}

// Do implements Transport.
func (h *HTTP) Do(ctx context.Context, t *Target, q Request) (*Response, error) {
	r := h.route(t)
	if r.err != nil {
		return nil, &Failure{Class: Config, Err: r.err}
	}
	method := q.Method
	if method == "" {
		method = http.MethodPost
	}
	fixed, err := r.head(t, headKey{method, q.Path, q.Model})
	if err != nil {
		return nil, &Failure{Class: Config, Err: err}
	}
	head := buf.Get(len(fixed) + 512)
	defer buf.Put(head)
	head.B = r.request(head.B, fixed, &q)

	now := time.Now()
	a := &attempt{ctx: ctx, began: now, idle: &r.idle, limits: &r.limits, timeouts: &r.timeouts, left: r.limits.MaxBody}
	if d := r.timeouts.Total; d > 0 {
		a.end = now.Add(d)
	}
	first := r.timeouts.FirstByte
	if !q.Stream {
		first = r.timeouts.WholeAnswer
	}
	for {
		if err := ctx.Err(); err != nil { // before a connection is taken: its cut would come behind the request
			return nil, a.failure(ctx, err)
		}
		if a.l = r.idle.take(a.limit(now, first, TimeoutFirstByte)); a.l == nil {
			if a.l, err = r.dial.link(ctx, a.end); err != nil {
				return nil, a.failure(ctx, err)
			}
			// The limit of the header runs from the connection on.
			if err := a.l.nc.SetDeadline(a.limit(time.Now(), first, TimeoutFirstByte)); err != nil {
				a.l.cut()
				return nil, a.failure(ctx, err)
			}
		}
		a.stop = context.AfterFunc(ctx, a.l.end)
		fresh, err := a.exchange(head.B, q.Body)
		if err == nil {
			break
		}
		a.stop()
		a.l.cut()
		a.sent()
		// A kept connection may have been closed in the meantime. Only what cannot have
		// reached the target goes out once more unasked, and a GET, which does nothing
		// (RFC 9110 section 9.2.2): an answer costs money, and a request that ends its
		// target must not go round its connections.
		if f := a.failure(ctx, err); !fresh || !a.l.used || !stale(err) || !a.unsent && method != http.MethodGet || f.Class == Cancelled {
			return nil, f
		}
	}
	w := &a.l.wire
	if q.Stream && w.status == http.StatusOK {
		a.left = r.limits.MaxStream
	}
	if f := w.checkHead(a.left); f != nil {
		_ = a.Close()
		return nil, f
	}
	return &Response{Status: w.status, Header: w.header, Body: a}, nil
}

// request appends the whole head of a request.
func (r *route) request(b, fixed []byte, q *Request) []byte {
	b = append(b, fixed...)
	if q.Stream {
		b = append(b, "Accept: text/event-stream\r\n"...)
	} else {
		b = append(b, "Accept: application/json\r\n"...)
	}
	if len(q.Body) > 0 {
		b = append(b, "Content-Type: application/json\r\n"...)
	}
	if len(q.Body) > 0 || q.Method != http.MethodGet {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(q.Body)), 10)
		b = append(b, '\r', '\n')
	}
	for _, name := range sentUp {
		if v := q.Header[name]; len(v) == 1 && !r.own[name] && isValue(v[0]) {
			b = appendField(b, name, v[0])
		}
	}
	return append(b, '\r', '\n')
}

// checkHead refuses answers whose body cannot be used.
func (c *wire) checkHead(limit int64) *Failure {
	f := &Failure{Status: c.status}
	switch {
	case c.status >= 300 && c.status < 400:
		f.Class, f.Err = Redirect, errors.New("read answer: redirects are not followed")
	case encoded(c.header):
		f.Class, f.Err = Encoded, errors.New("read answer: it has a content encoding that was not asked for")
	case c.length > limit:
		f.Class, f.Err = TooLarge, fmt.Errorf("read answer: %d bytes are more than the limit of %d", c.length, limit)
	default:
		return nil
	}
	return f
}

func encoded(h http.Header) bool {
	for _, v := range h["Content-Encoding"] {
		if v = strings.ToLower(strings.TrimSpace(v)); v != "" && v != "identity" {
			return true
		}
	}
	return false
}

// RetryAfter reads the header of that name (RFC 9110 section 10.2.3), seconds or
// a date; 0 when there is none. At most an hour is believed.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if ms := h.Get("Retry-After-Ms"); ms != "" {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n >= 0 {
			return min(time.Duration(min(n, 1<<31))*time.Millisecond, time.Hour)
		}
	}
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		return min(time.Duration(max(0, min(n, 1<<20)))*time.Second, time.Hour)
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, min(t.Sub(now), time.Hour))
	}
	return 0
}

// attempt is one request and then its body.
type attempt struct {
	ctx      context.Context // of the request: says why the connection was cut
	stop     func() bool     // ends the watch of ctx
	idle     *list
	l        *link
	timeouts *Timeouts
	limits   *Limits
	end      time.Time // of the whole attempt; zero: none
	began    time.Time
	renew    time.Duration // since began: when the deadline of the next read must be set anew
	class    ErrorClass    // that the deadline stands for
	wrote    chan error    // of the goroutine that writes a large body
	unsent   bool          // not one byte of the request went out

	ahead  *buf.Buffer // holds rest
	rest   []byte      // body bytes that came with the head
	bad    error       // what came behind them is not valid
	left   int64       // bytes that may still come
	err    error       // what Read goes on to give
	closed atomic.Bool
	whole  atomic.Bool // read to its end
}

// errTimeout are the causes with which a dial ends.
var errTimeout = map[ErrorClass]error{
	TimeoutConnect: &Failure{Class: TimeoutConnect},
	TimeoutTotal:   &Failure{Class: TimeoutTotal},
}

// classify maps an error of the network. Its text may name addresses, so it does
// not go on.
func classify(err error) *Failure {
	var (
		certErr *tls.CertificateVerificationError
		recErr  tls.RecordHeaderError
		dnsErr  *net.DNSError
		opErr   *net.OpError
	)
	switch {
	case errors.As(err, &certErr):
		return &Failure{Class: TLS, Err: errors.New("verify certificate: " + certReason(certErr.Err))}
	case errors.As(err, &recErr):
		return &Failure{Class: TLS, Err: errors.New("shake hands: the target does not speak TLS 1.2 or later as we do")}
	case errors.As(err, &dnsErr):
		return &Failure{Class: Refused, Err: errors.New("resolve host: not found")}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Failure{Class: Refused, Err: errors.New("connect: refused")}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return &Failure{Class: Reset, Err: errors.New("read answer: connection closed before it was complete")}
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return &Failure{Class: Refused, Err: errors.New("connect: failed")}
	case errors.As(err, &opErr):
		return &Failure{Class: Reset, Err: errors.New("read answer: connection failed")}
	}
	return &Failure{Class: BadResponse, Err: errors.New("read answer: not valid HTTP/1.1")}
}

func certReason(err error) string {
	var (
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host):
		return "it is for another name"
	case errors.As(err, &unknown):
		return "its issuer is not trusted"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet"
	}
	return "it is not valid"
}

var errReadAfterClose = errors.New("read answer: body is closed")

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&t.Connect, DefaultConnect)
	set(&t.FirstByte, DefaultFirstByte)
	set(&t.WholeAnswer, max(DefaultWholeAnswer, t.FirstByte))
	set(&t.BetweenBytes, DefaultBetweenBytes)
	set(&t.Total, DefaultTotal)
	return t
}

func (l Limits) withDefaults() Limits {
	if l.MaxHeader <= 0 {
		l.MaxHeader = DefaultMaxHeader
	}
	if l.MaxBody <= 0 {
		l.MaxBody = DefaultMaxBody
	}
	if l.MaxStream <= 0 {
		l.MaxStream = DefaultMaxStream
	}
	if l.MaxEvent <= 0 {
		l.MaxEvent = DefaultMaxEvent
	}
	return l
}
