package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// dialer makes the connections of one target. It is the only place of kt that
// dials for a request.
type dialer struct {
	h       *HTTP
	opt     *TransportOptions
	base    *url.URL
	proxy   *url.URL
	private bool // AllowPrivate
	plain   bool // UnsafeAllowHTTP
	timeout time.Duration
}

// link connects, and shakes hands for https, all within the connect limit and
// before end (zero: no such limit). Both take a deep stack, which a goroutine
// keeps as long as its request takes: they run on one of their own.
func (d *dialer) link(ctx context.Context, end time.Time) (l *link, err error) {
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		l, err = d.open(ctx, end)
	}()
	if p := <-done; p != nil {
		panic(p)
	}
	return l, err
}

func (d *dialer) open(ctx context.Context, end time.Time) (*link, error) {
	if !d.h.beginDial() {
		return nil, &Failure{Class: Refused, Err: errors.New("connect: the transport is closed")}
	}
	defer d.h.endDial()
	if d.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, d.timeout, errTimeout[TimeoutConnect])
		defer stop()
	}
	if !end.IsZero() {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, end, errTimeout[TimeoutTotal])
		defer stop()
	}
	if ctx.Err() != nil {
		return nil, d.ended(ctx)
	}
	port := d.base.Port()
	if port == "" {
		port = "80"
		if d.base.Scheme == "https" {
			port = "443"
		}
	}
	conn, err := d.connect(ctx, "tcp", net.JoinHostPort(d.base.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if d.base.Scheme == "https" {
		if conn, err = d.shake(ctx, conn, d.base.Hostname()); err != nil {
			return nil, err
		}
	}
	return newLink(conn), nil
}

func (d *dialer) shake(ctx context.Context, conn net.Conn, name string) (net.Conn, error) {
	c := tls.Client(conn, &tls.Config{
		ServerName: name, RootCAs: d.opt.RootCAs, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	})
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, d.ended(ctx)
		}
		if f := classify(err); f.Class == TLS {
			return nil, f
		}
		if strings.Contains(err.Error(), "protocol version") { // crypto/tls has no type for it
			return nil, &Failure{Class: TLS, Err: errors.New("shake hands: the target does not speak TLS 1.2 or later")}
		}
		return nil, &Failure{Class: TLS, Err: errors.New("shake hands: failed")}
	}
	return c, nil
}

func (d *dialer) ended(ctx context.Context) error {
	var f *Failure
	if errors.As(context.Cause(ctx), &f) {
		return f
	}
	return &Failure{Class: Cancelled, Err: context.Canceled}
}

// connect opens the TCP connection, through the proxy when there is one.
func (d *dialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.proxy == nil {
		return d.tcp(ctx, network, addr, d.check)
	}
	port := d.proxy.Port()
	if port == "" {
		port = "80"
		if d.proxy.Scheme == "https" {
			port = "443"
		}
	}
	// The operator named the proxy; it resolves and connects, so addresses are its to check.
	conn, err := d.tcp(ctx, network, net.JoinHostPort(d.proxy.Hostname(), port), nil)
	if err != nil {
		return nil, err
	}
	if d.proxy.Scheme == "https" {
		if conn, err = d.shake(ctx, conn, d.proxy.Hostname()); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	tunnel, err := d.tunnel(conn, addr)
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, d.ended(ctx)
		}
		return nil, err
	}
	return tunnel, nil
}

// tunnel asks the proxy for a connection (RFC 9110 section 9.3.6).
func (d *dialer) tunnel(conn net.Conn, addr string) (net.Conn, error) {
	head := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if u := d.proxy.User; u != nil {
		pass, _ := u.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pass)) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, &Failure{Class: Refused, Err: errors.New("ask proxy: connection failed")}
	}
	br := bufio.NewReader(io.LimitReader(conn, 16<<10))
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, &Failure{Class: Refused, Err: errors.New("ask proxy: no valid answer")}
	}
	if resp.StatusCode != http.StatusOK || br.Buffered() > 0 {
		return nil, &Failure{Class: Refused, Err: fmt.Errorf("ask proxy: it answered with status %d", resp.StatusCode)}
	}
	return conn, nil
}

func (d *dialer) tcp(ctx context.Context, network, addr string, check func(string) error) (net.Conn, error) {
	dial := d.opt.Dial
	if dial == nil {
		nd := &net.Dialer{Resolver: d.opt.Resolver, KeepAlive: 15 * time.Second}
		if check != nil {
			nd.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error { return check(address) }
		}
		dial = nd.DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, d.ended(ctx)
		}
		var f *Failure
		if errors.As(err, &f) {
			return nil, f
		}
		return nil, classify(err)
	}
	return conn, nil
}

// check is called with the address that is about to be connected to, after the
// name was resolved.
func (d *dialer) check(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &Failure{Class: RefusedAddress, Err: errors.New("check address: not an IP address")}
	}
	kind := addressKind(ap.Addr())
	if d.base.Scheme == "http" && !d.plain && kind != "loopback" {
		return &Failure{Class: RefusedAddress, Err: fmt.Errorf("check address: plain http goes to loopback only and this address is %s; use https, or set unsafe_allow_http: true for this target", orPublic(kind))}
	}
	if kind != "" && !d.private {
		return &Failure{Class: RefusedAddress, Err: fmt.Errorf("check address: %s address; set allow_private: true for this target if that is meant", kind)}
	}
	return nil
}

func orPublic(kind string) string {
	if kind == "" {
		return "public"
	}
	return kind
}

// special are the ranges that no public provider is in (IANA special-purpose
// address registries), most specific first.
var special = []struct {
	prefix netip.Prefix
	kind   string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "cloud metadata"},
	{netip.MustParsePrefix("169.254.170.2/32"), "cloud metadata"},
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "cloud metadata"},
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared (CGNAT)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("100::/64"), "discard"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2001::/23"), "reserved"},
	{netip.MustParsePrefix("5f00::/16"), "reserved"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "private"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// addressKind names the special range that a is in, "" when it is public. IPv4
// addresses inside of IPv6 (mapped, compatible, NAT64 and 6to4) count as what they carry.
func addressKind(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		b := a.As16()
		var in [4]byte
		carries := true
		switch {
		case netip.MustParsePrefix("64:ff9b::/96").Contains(a), netip.MustParsePrefix("64:ff9b:1::/48").Contains(a):
			copy(in[:], b[12:])
		case netip.MustParsePrefix("2002::/16").Contains(a):
			copy(in[:], b[2:6])
		case netip.MustParsePrefix("::/96").Contains(a) && b != [16]byte{} && b != [16]byte{15: 1}:
			copy(in[:], b[12:])
		default:
			carries = false
		}
		if carries {
			return addressKind(netip.AddrFrom4(in))
		}
	}
	for _, s := range special {
		if s.prefix.Contains(a) {
			return s.kind
		}
	}
	return ""
}
