package upstream

import (
	"bytes"
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

// HTTP is the Transport over net/http: HTTP/1.1, no redirects, no proxy of the
// environment, TLS 1.2 and later, connected addresses checked. Each target has
// a connection pool of its own, so that neither a connection nor what was
// permitted for it ever serves another target.
type HTTP struct {
	opt    TransportOptions
	mu     sync.Mutex
	pool   map[*Target]*route
	dials  int // that run: net/http leaves them running when their request ends
	idle   *sync.Cond
	closed bool
	agent  []string // User-Agent
}

// Header values that never change; net/http does not write to them.
var (
	identity     = []string{"identity"}
	acceptJSON   = []string{"application/json"}
	acceptStream = []string{"text/event-stream"}
)

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
		h.idle.Broadcast()
	}
	h.mu.Unlock()
}

// route is what one target needs per request, worked out once.
type route struct {
	base      *url.URL
	row       *provider.Row
	rt        *http.Transport
	timeouts  Timeouts
	limits    Limits
	err       error // the target can never be asked
	authName  string
	authValue []string

	mu   sync.Mutex
	urls map[string]*url.URL // by path and model; net/http does not change them
}

// maxURLs bounds what a route remembers, as clients choose models.
const maxURLs = 64

// url gives the URL of one request.
func (r *route) url(t *Target, path, model string) (*url.URL, error) {
	key := path + "\x00" + model
	r.mu.Lock()
	u := r.urls[key]
	r.mu.Unlock()
	if u != nil {
		return u, nil
	}
	u, err := t.endpoint(r.base, path, model)
	if err != nil {
		return nil, err
	}
	if origin(u) != origin(r.base) {
		return nil, errors.New("build request: the path changes the host")
	}
	r.mu.Lock()
	if len(r.urls) >= maxURLs {
		clear(r.urls)
	}
	r.urls[key] = u
	r.mu.Unlock()
	return u, nil
}

// NewTransport gives the net/http transport.
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
	h := &HTTP{opt: opt, pool: make(map[*Target]*route), agent: []string{opt.UserAgent}}
	h.idle = sync.NewCond(&h.mu)
	return h
}

// Close drops all idle connections and waits for dials that run; there are no
// new ones afterwards. Requests that have their connection go on.
func (h *HTTP) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for h.dials > 0 {
		h.idle.Wait()
	}
	for _, r := range h.pool {
		if r.rt != nil {
			r.rt.CloseIdleConnections()
		}
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
	r := &route{row: t.row(), timeouts: t.Timeouts.withDefaults(), limits: t.Limits.withDefaults(), urls: make(map[string]*url.URL)}
	if r.base, r.err = t.base(); r.err != nil {
		return r
	}
	var value string
	if value, r.err = t.Key.valueFor(r.base); r.err != nil {
		return r
	}
	if value != "" {
		name, prefix := r.row.Auth()
		r.authName, r.authValue = textproto.CanonicalMIMEHeaderKey(name), []string{prefix + value}
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
	d := &dialer{h: h, opt: &h.opt, base: r.base, proxy: proxy, private: t.AllowPrivate, plain: t.UnsafeAllowHTTP, timeout: r.timeouts.Connect, maxHead: r.limits.MaxHeader}
	r.rt = &http.Transport{
		DialContext:            d.dialPlain,
		DialTLSContext:         d.dialTLS,
		DisableCompression:     true,
		MaxIdleConns:           h.opt.MaxIdlePerTarget,
		MaxIdleConnsPerHost:    h.opt.MaxIdlePerTarget,
		IdleConnTimeout:        h.opt.IdleTimeout,
		MaxResponseHeaderBytes: int64(r.limits.MaxHeader),
		WriteBufferSize:        4 << 10,
		ReadBufferSize:         4 << 10,
		Protocols:              onlyHTTP1(),
	}
	return r
}

func onlyHTTP1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
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

// oneWrite is the size in bytes of a body that is copied, so that it leaves with
// its head: with a usual head it fits into the write buffer.
const oneWrite = 3 << 10

// Do implements Transport.
func (h *HTTP) Do(ctx context.Context, t *Target, q Request) (*Response, error) {
	r := h.route(t)
	if r.err != nil {
		return nil, &Failure{Class: Config, Err: r.err}
	}
	u, err := r.url(t, q.Path, q.Model)
	if err != nil {
		return nil, &Failure{Class: Config, Err: err}
	}
	method := q.Method
	if method == "" {
		method = http.MethodPost
	}
	a := &attempt{limits: &r.limits, timeouts: &r.timeouts, stream: q.Stream}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.body.p = q.Body
	a.timer = time.AfterFunc(time.Hour, a.expire)
	a.timer.Stop()
	if d := r.timeouts.Total; d > 0 {
		a.total = time.AfterFunc(d, func() { a.cancel(errTimeout[TimeoutTotal]) })
	}
	req := (&http.Request{
		Method: method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, 12), ContentLength: int64(len(q.Body)),
	}).WithContext(context.WithValue(a.ctx, attemptKey{}, a))
	if len(q.Body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return &reader{b: &a.body}, nil }
		if len(q.Body) <= oneWrite {
			// net/http sends the head on its own before a body of a type that it does
			// not know; head and a small body of a known type leave in one write.
			own := bytes.Clone(q.Body)
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(own)), nil }
		}
		req.Body, _ = req.GetBody()
		req.Header["Content-Type"] = acceptJSON
	}
	for _, name := range sentUp {
		if v := q.Header[name]; len(v) == 1 {
			req.Header[name] = v
		}
	}
	for name, v := range t.Header {
		if name = textproto.CanonicalMIMEHeaderKey(name); !barred[name] {
			req.Header[name] = v
		}
	}
	if r.authName != "" {
		req.Header[r.authName] = r.authValue
	}
	req.Header["Accept-Encoding"] = identity
	req.Header["User-Agent"] = h.agent
	if q.Stream {
		req.Header["Accept"] = acceptStream
	} else {
		req.Header["Accept"] = acceptJSON
	}
	if _, ok := req.Header["Idempotency-Key"]; !ok {
		// net/http then asks again when a kept connection was closed by the
		// target before any byte of an answer; the nil header is not sent.
		req.Header["Idempotency-Key"] = nil
	}
	a.first = r.timeouts.FirstByte
	if !q.Stream {
		a.first = r.timeouts.WholeAnswer
	}
	if a.first > 0 {
		a.arm(a.first, TimeoutFirstByte)
	}
	resp, err := r.rt.RoundTrip(req)
	if err != nil {
		f := a.failure(err)
		a.finish()
		return nil, f
	}
	a.headDone()
	a.src = resp.Body
	a.left = r.limits.MaxBody
	if q.Stream && resp.StatusCode == http.StatusOK {
		a.left = r.limits.MaxStream
	}
	if f := checkHead(resp, a.left); f != nil {
		_ = a.Close()
		return nil, f
	}
	a.length = resp.ContentLength
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: a}, nil
}

// checkHead refuses answers whose body cannot be used.
func checkHead(resp *http.Response, limit int64) *Failure {
	f := &Failure{Status: resp.StatusCode}
	switch {
	case resp.StatusCode < 200:
		f.Class, f.Err = BadResponse, errors.New("read answer: status 101 was not asked for")
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		f.Class, f.Err = Redirect, errors.New("read answer: redirects are not followed")
	case encoded(resp):
		f.Class, f.Err = Encoded, errors.New("read answer: it has a content encoding that was not asked for")
	case resp.ContentLength > limit:
		f.Class, f.Err = TooLarge, fmt.Errorf("read answer: %d bytes are more than the limit of %d", resp.ContentLength, limit)
	default:
		return nil
	}
	return f
}

func encoded(resp *http.Response) bool {
	for _, v := range resp.Header["Content-Encoding"] {
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

type attemptKey struct{}

// attempt is one request and then its body.
type attempt struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timeouts *Timeouts
	limits   *Limits
	stream   bool
	body     pinned

	first time.Duration // limit for the header

	mu    sync.Mutex
	head  bool       // the header is there
	class ErrorClass // that the armed timer stands for; OK when disarmed
	timer *time.Timer
	total *time.Timer

	src    io.ReadCloser
	length int64
	left   int64 // bytes that may still come
	err    error // what Read goes on to give
	closed atomic.Bool
	whole  atomic.Bool // read to its end
}

// errTimeout are the causes with which an attempt's context ends.
var errTimeout = map[ErrorClass]error{
	TimeoutConnect:      &Failure{Class: TimeoutConnect},
	TimeoutFirstByte:    &Failure{Class: TimeoutFirstByte},
	TimeoutBetweenBytes: &Failure{Class: TimeoutBetweenBytes},
	TimeoutTotal:        &Failure{Class: TimeoutTotal},
}

func (a *attempt) arm(d time.Duration, c ErrorClass) {
	a.mu.Lock()
	a.class = c
	a.timer.Reset(d)
	a.mu.Unlock()
}

func (a *attempt) disarm() {
	a.mu.Lock()
	a.class = OK
	a.timer.Stop()
	a.mu.Unlock()
}

func (a *attempt) headDone() {
	a.mu.Lock()
	a.head = true
	a.mu.Unlock()
	a.disarm()
}

// dialing stops the header's limit while a connection is made, which has a
// limit of its own, and starts it anew afterwards.
func (a *attempt) dialing(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.head || a.first <= 0:
	case on:
		a.class = OK
		a.timer.Stop()
	default:
		a.class = TimeoutFirstByte
		a.timer.Reset(a.first)
	}
}

func (a *attempt) expire() {
	a.mu.Lock()
	c := a.class
	a.mu.Unlock()
	if c != OK {
		a.cancel(errTimeout[c])
	}
}

// finish gives back what the attempt holds. The request body is not read after it.
func (a *attempt) finish() {
	a.headDone()
	if a.total != nil {
		a.total.Stop()
	}
	a.body.release()
	a.cancel(context.Canceled)
}

// failure says what err means.
func (a *attempt) failure(err error) *Failure {
	var f *Failure
	if cause := context.Cause(a.ctx); cause != nil {
		if errors.As(cause, &f) {
			return &Failure{Class: f.Class}
		}
		return &Failure{Class: Cancelled, Err: context.Canceled}
	}
	if errors.As(err, &f) {
		return f
	}
	return classify(err)
}

// classify maps an error of the network and of net/http. The texts of net/http
// may hold what the target sent, so they do not go on.
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
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed idle connection"):
		return &Failure{Class: Reset, Err: errors.New("read answer: connection closed before it was complete")}
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return &Failure{Class: Refused, Err: errors.New("connect: failed")}
	case errors.As(err, &opErr):
		return &Failure{Class: Reset, Err: errors.New("read answer: connection failed")}
	case strings.Contains(err.Error(), "exceeded") && strings.Contains(err.Error(), "bytes"):
		return &Failure{Class: TooLarge, Err: errors.New("read answer: header is larger than the limit")}
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

// Read reads the body; the silence limit runs while it waits.
func (a *attempt) Read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	if a.closed.Load() {
		return 0, errReadAfterClose
	}
	if d := a.timeouts.BetweenBytes; d > 0 {
		a.arm(d, TimeoutBetweenBytes)
	}
	n, err := a.src.Read(p)
	a.disarm()
	if a.left -= int64(n); a.left < 0 {
		a.err = &Failure{Class: TooLarge, Err: errors.New("read answer: body is larger than the limit")}
		a.cancel(a.err)
		return 0, a.err
	}
	switch {
	case err == nil:
	case err == io.EOF: //nolint:errorlint // net/http gives it bare at the end of a complete body
		a.err = io.EOF
		a.whole.Store(true)
	default:
		a.err = a.failure(err)
		a.cancel(a.err)
	}
	if a.err != nil && n > 0 {
		return n, nil
	}
	return n, a.err
}

// Close ends the attempt. Unless the body was read to its end, the connection is
// dropped. It may be called while Read waits.
func (a *attempt) Close() error {
	if a.closed.Swap(true) {
		return nil
	}
	if !a.whole.Load() {
		a.cancel(context.Canceled)
	}
	_ = a.src.Close()
	a.finish()
	return nil
}

// pinned is a request body that stops giving out the caller's bytes once released.
type pinned struct {
	mu sync.Mutex
	p  []byte
	rl bool
}

func (b *pinned) release() {
	b.mu.Lock()
	b.p, b.rl = nil, true
	b.mu.Unlock()
}

type reader struct {
	b   *pinned
	off int
}

func (r *reader) Read(p []byte) (int, error) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if r.b.rl {
		return 0, net.ErrClosed
	}
	if r.off >= len(r.b.p) {
		return 0, io.EOF
	}
	n := copy(p, r.b.p[r.off:])
	r.off += n
	return n, nil
}

func (r *reader) Close() error { return nil }

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
