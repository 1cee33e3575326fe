package upstream_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/mock"
)

// certFor makes a self-signed certificate.
func certFor(t *testing.T, name string, from, to time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{name}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLSIsStrict is T95.
func TestTLSIsStrict(t *testing.T) {
	now := time.Now()
	good, goodPool := certFor(t, "localhost", now.Add(-time.Hour), now.Add(time.Hour))
	old, oldPool := certFor(t, "localhost", now.Add(-2*time.Hour), now.Add(-time.Hour))
	other, otherPool := certFor(t, "other.example.com", now.Add(-time.Hour), now.Add(time.Hour))
	for _, c := range []struct {
		name  string
		cert  tls.Certificate
		roots *x509.CertPool
		max   uint16
		ok    bool
		says  string
	}{
		{"good", good, goodPool, 0, true, ""},
		{"TLS 1.2", good, goodPool, tls.VersionTLS12, true, ""},
		{"TLS 1.1", good, goodPool, tls.VersionTLS11, false, "TLS 1.2"},
		{"expired", old, oldPool, 0, false, "expired"},
		{"other name", other, otherPool, 0, false, "another name"},
		{"self-signed", good, nil, 0, false, "not trusted"},
	} {
		m := mock.New(nil)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: m, TLSConfig: &tls.Config{Certificates: []tls.Certificate{c.cert}, MinVersion: tls.VersionTLS10, MaxVersion: c.max}}
		srv.ErrorLog = quiet()
		var wg sync.WaitGroup
		wg.Go(func() { _ = srv.ServeTLS(ln, "", "") })
		tr := upstream.NewTransport(upstream.TransportOptions{RootCAs: c.roots})
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		tg := target(t, "a", "https://localhost:"+port, "secret")
		resp, err := tr.Do(background(t), tg, upstream.Request{Path: "/v1/models", Method: "GET"})
		if c.ok && err != nil || !c.ok && (upstream.ClassOf(err) != upstream.TLS || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if !c.ok && m.Count() != 0 {
			t.Errorf("%s: a request was sent", c.name)
		}
		tr.Close()
		_ = srv.Close()
		wg.Wait()
	}
}

// TestProxyOnlyWhenConfigured: the environment does not count, and a configured
// proxy gets a CONNECT with its own credentials and never the key.
func TestProxyOnlyWhenConfigured(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTP_PROXY", "http://"+ln.Addr().String())
	t.Setenv("HTTPS_PROXY", "http://"+ln.Addr().String())
	m := startMock(t, mock.Options{Text: "hello"})
	var mu sync.Mutex
	var heads []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				mu.Lock()
				heads = append(heads, fmt.Sprint(r.Method, " ", r.Host, " ", r.Header))
				mu.Unlock()
				up, err := net.Dial("tcp", r.Host)
				if err != nil {
					return
				}
				defer up.Close()
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				wg.Go(func() { _, _ = io.Copy(up, c); _ = up.Close() })
				_, _ = io.Copy(c, up)
			})
		}
	})
	defer func() { _ = ln.Close(); wg.Wait() }()
	for _, proxied := range []bool{false, true} {
		tg := target(t, "a", m.URL, "secret-key")
		if proxied {
			tg.Proxy = "http://user:pass@" + ln.Addr().String()
		}
		tr := upstream.NewTransport(upstream.TransportOptions{})
		p, err := upstream.New([]*upstream.Target{tg}, upstream.Options{Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.Do(background(t), call("model-a", "x", true))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := answerText(a); text != "hello" || err != nil {
			t.Error(text, err)
		}
		a.Close()
		p.Close()
		tr.Close()
		mu.Lock()
		all := strings.Join(heads, "\n")
		mu.Unlock()
		if !proxied && all != "" {
			t.Errorf("the environment's proxy was used: %s", all)
		}
		if proxied && (!strings.HasPrefix(all, "CONNECT "+m.Addr()) || strings.Contains(all, "secret-key") ||
			!strings.Contains(all, base64.StdEncoding.EncodeToString([]byte("user:pass")))) {
			t.Errorf("the proxy saw %s", all)
		}
	}
}

// TestConnectionsAreUsedAgain: a caller that stops at the end marker still
// leaves the connection for the next request.
func TestConnectionsAreUsedAgain(t *testing.T) {
	m := startMock(t, mock.Options{Text: "hello"})
	p := newPool(t, upstream.Options{}, target(t, "a", m.URL, ""))
	for i := range 20 {
		a, err := p.Do(background(t), call("model-a", "x", i%2 == 0))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := answerText(a); text != "hello" || err != nil {
			t.Fatal(text, err)
		}
		a.Close()
	}
	if n := m.Conns(); n > 3 {
		t.Errorf("%d connections for 20 requests one after the other", n)
	}
}

func TestStallBehindTheEndMarkerCostsNothing(t *testing.T) {
	m := startMock(t, mock.Options{Text: "hello", Fault: mock.StallDone})
	p := newPool(t, upstream.Options{}, target(t, "a", m.URL, ""))
	a, err := p.Do(background(t), call("model-a", "x", true))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := answerText(a); text != "hello" || err != nil {
		t.Fatal(text, err)
	}
	a.Close()
	waitFor(t, func() bool { return m.Records()[0].HungUp })
	if s := p.Snapshot().Targets[0]; s.Classes["ok"] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestRequestBodyIsNotReadAfterClose: the caller may reuse its buffer at once.
func TestRequestBodyIsNotReadAfterClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var wg sync.WaitGroup
	wg.Go(func() { // takes the head, answers early, then reads slowly
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 27\r\n\r\n{\"error\":{\"message\":\"bad\"}}")
				b := make([]byte, 4096)
				for {
					n, err := br.Read(b)
					if strings.Contains(string(b[:n]), "REUSED") {
						t.Error("the buffer was read after Close")
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
	tr := upstream.NewTransport(upstream.TransportOptions{})
	p, err := upstream.New([]*upstream.Target{target(t, "a", "http://"+ln.Addr().String(), "")}, upstream.Options{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		body := []byte(strings.Repeat("x", 4<<20))
		c := call("model-a", "x", false)
		c.Body = func(*upstream.Target, string) ([]byte, error) { return body, nil }
		a, err := p.Do(background(t), c)
		if err == nil {
			a.Close()
		}
		for i := 0; i+6 <= len(body); i += 6 {
			copy(body[i:], "REUSED")
		}
	}
	p.Close()
	tr.Close()
	_ = ln.Close()
	wg.Wait()
}

// TestAbortedStreamsLeaveNothing aborts 500 streams in all phases; goleak looks afterwards.
func TestAbortedStreamsLeaveNothing(t *testing.T) {
	m := startMock(t, mock.Options{Words: 200, Delay: mock.Duration(time.Millisecond)})
	other := startMock(t, mock.Options{Words: 50, First: mock.Duration(5 * time.Millisecond)})
	before := runtime.NumGoroutine()
	p := newPool(t, upstream.Options{Probe: upstream.Probe{Enabled: true, After: time.Millisecond, Budget: 1}}, target(t, "a", m.URL, ""), target(t, "b", other.URL, ""))
	var wg sync.WaitGroup
	sem := make(chan struct{}, 20)
	for i := range 500 {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			ctx, cancel := context.WithCancel(background(t))
			defer cancel()
			time.AfterFunc(time.Duration(i%10)*time.Millisecond, cancel)
			a, err := p.Do(ctx, call("model-a", "x", true))
			if err != nil {
				return
			}
			_, _ = answerText(a)
			a.Close()
		})
	}
	wg.Wait()
	for _, s := range p.Snapshot().Targets {
		if s.InFlight != 0 {
			t.Errorf("%s: %d in flight", s.ID, s.InFlight)
		}
	}
	p.Close()
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+40 }) // the mocks keep a few idle connections
}

// TestRaceOverSockets is T85: a loser that streams on, one that errs, winners
// that die after their first content, and two that win at the same time.
func TestRaceOverSockets(t *testing.T) {
	ms := func(n int) mock.Duration { return mock.Duration(time.Duration(n) * time.Millisecond) }
	for name, c := range map[string]struct{ a, b mock.Options }{
		"both at once":     {mock.Options{Text: "answer of a", First: ms(30), Piece: 1}, mock.Options{Text: "answer of b", First: ms(10), Piece: 1}},
		"loser streams on": {mock.Options{Text: "answer of a " + mock.WordsText(50, 1), First: ms(60), Piece: 1, Delay: ms(1)}, mock.Options{Text: "answer of b", Piece: 1}},
		"loser errs":       {mock.Options{Fault: mock.FirstError, First: ms(60)}, mock.Options{Text: "answer of b"}},
		"winner dies":      {mock.Options{Text: "answer of a", First: ms(40)}, mock.Options{Text: "answer of b", Fault: mock.Cut, After: 1}},
	} {
		for range 10 {
			a, b := startMock(t, c.a), startMock(t, c.b)
			p := newPool(t, upstream.Options{Probe: upstream.Probe{Enabled: true, After: 20 * time.Millisecond, Budget: 1}}, target(t, "a", a.URL, "ka"), target(t, "b", b.URL, "kb"))
			ans, err := p.Do(background(t), call("model-a", "x", true))
			if err != nil {
				t.Fatal(name, err)
			}
			id := ans.Target.ID
			text, err := answerText(ans)
			if err != nil && name != "winner dies" {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil { // nothing was released: go on with the other one
				if rerr := ans.Replace(background(t), upstream.ClassOf(err)); rerr != nil {
					t.Fatal(name, rerr)
				}
				id = ans.Target.ID
				if text, err = answerText(ans); err != nil {
					t.Fatal(name, err)
				}
			}
			if !strings.HasPrefix(text, "answer of "+id) || strings.Count(text, "answer") != 1 {
				t.Errorf("%s: %s said %q", name, id, text)
			}
			ans.Close()
			for _, m := range []*mock.Server{a, b} {
				waitFor(t, func() bool {
					for _, r := range m.Records() {
						if r.Ended.IsZero() {
							return false
						}
					}
					return true
				})
			}
		}
	}
}

// TestFaultMixOverSockets is a smaller T86 with real connections.
func TestFaultMixOverSockets(t *testing.T) {
	words := 12
	faults := []mock.Options{
		{Fault: mock.Status, Status: 500}, {Fault: mock.RST}, {Fault: mock.StallStatus}, {Fault: mock.Cut, After: 3},
		{Fault: mock.FirstError}, {Fault: mock.HTML}, {}, {}, {},
	}
	var targets []*upstream.Target
	byID := map[string]uint64{}
	for i, o := range faults {
		o.Words, o.Seed, o.Piece = words, uint64(i+1), 5
		m := startMock(t, o)
		id := fmt.Sprint("t", i)
		tg := target(t, id, m.URL, "k"+id)
		tg.Model, tg.Timeouts = "m", upstream.Timeouts{FirstByte: 300 * time.Millisecond, WholeAnswer: 300 * time.Millisecond}
		byID[id] = o.Seed
		targets = append(targets, tg)
	}
	p := newPool(t, upstream.Options{Seed: 2, Routing: upstream.Routing{Strategy: upstream.RoundRobin}, Fallback: upstream.Fallback{MaxAttempts: 5},
		Probe: upstream.Probe{Enabled: true, After: 100 * time.Millisecond}}, targets...)
	const n, warmup = 600, 120
	var mu sync.Mutex
	var early, late, wrong int
	var wg sync.WaitGroup
	sem := make(chan struct{}, 8)
	for i := range n {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			a, err := p.Do(background(t), call("m", "x", i%2 == 0))
			var text string
			if err == nil {
				defer a.Close()
				if text, err = answerText(a); err != nil {
					a.Report(upstream.Report{Class: max(upstream.ClassOf(err), upstream.Reset)})
					if err = a.Replace(background(t), upstream.ClassOf(err)); err == nil {
						text, err = answerText(a)
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && text != mock.WordsText(words, byID[a.Target.ID]):
				wrong++
			case err == nil:
			case i < warmup:
				early++
			default:
				late++
				t.Log(err)
			}
		})
	}
	wg.Wait()
	s := p.Snapshot()
	t.Logf("%d requests over %d targets, %d of them faulty: %d failed in warm-up, %d later; %d fallbacks, %d probes", n, len(faults), 6, early, late, s.Fallbacks, s.Probes)
	if wrong != 0 || late > 1 || s.Probes > n/10+3 {
		t.Errorf("%d wrong texts, %d failures after warm-up, %d probes", wrong, late, s.Probes)
	}
}

func TestErrorsHoldNoKeyAndNoText(t *testing.T) {
	for _, f := range mock.Faults() {
		if f == mock.StallAccept || strings.HasPrefix(string(f), "stall") || f == mock.Drip || f == mock.DripStatus || f == mock.Flood1xx {
			continue // covered by the tests of time limits
		}
		m := startMock(t, mock.Options{Text: "canary-answer", Fault: f, Message: "canary-message", Code: "odd", Location: "http://canary-host/"})
		if f == mock.RSTAccept {
			m.SetAccept(f)
		}
		for _, stream := range []bool{true, false} {
			p := newPool(t, upstream.Options{}, target(t, "a", m.URL, "canary-key"))
			a, err := p.Do(background(t), call("model-a", "canary-prompt", stream))
			if err == nil {
				_, err = answerText(a)
				a.Close()
			}
			if err == nil {
				continue
			}
			texts := []string{err.Error()}
			var e *upstream.Error
			if errors.As(err, &e) {
				for _, at := range e.Attempts {
					texts = append(texts, fmt.Sprint(at.Err), fmt.Sprintf("%+v", at.Err))
				}
			}
			for _, s := range texts {
				if strings.Contains(s, "canary") {
					t.Errorf("%s: an error shows what it must not: %s", f, s)
				}
			}
		}
	}
}
