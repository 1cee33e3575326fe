package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keeptrusts/kt/upstream"
)

// script is a server that gives each connection to a function, with its number from 1.
type script struct {
	ln    net.Listener
	conns atomic.Int64
	wg    sync.WaitGroup
	mu    sync.Mutex
	open  []net.Conn
}

func serveScript(t *testing.T, cfg *tls.Config, handle func(n int, c net.Conn, br *bufio.Reader)) *script {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		ln = tls.NewListener(ln, cfg)
	}
	s := &script{ln: ln}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, c)
			s.mu.Unlock()
			n := int(s.conns.Add(1))
			s.wg.Go(func() {
				defer c.Close()
				handle(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		for _, c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *script) url() string { return "http://" + s.ln.Addr().String() }

// take reads one request and gives its body.
func take(br *bufio.Reader) ([]byte, error) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r.Body)
}

func answer(text string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
}

func transportFor(t *testing.T, o upstream.TransportOptions) *upstream.HTTP {
	t.Helper()
	tr := upstream.NewTransport(o)
	t.Cleanup(tr.Close)
	return tr
}

func chatRequest(body string) upstream.Request {
	return upstream.Request{Path: "/v1/chat/completions", Body: []byte(body), Model: "m"}
}

// ask sends a request and reads the whole answer.
func ask(t *testing.T, tr *upstream.HTTP, tg *upstream.Target, q upstream.Request) (string, error) {
	t.Helper()
	resp, err := tr.Do(background(t), tg, q)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return string(b), err
}

// TestClosedIdleConnectionCostsNoRequest: a connection that the target closed
// while it was idle is found out before a request goes to it.
func TestClosedIdleConnectionCostsNoRequest(t *testing.T) {
	s := serveScript(t, nil, func(n int, c net.Conn, br *bufio.Reader) {
		for i := 0; n > 1 || i < 1; i++ {
			if _, err := take(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer(fmt.Sprintf("connection %d", n)))
		}
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	for i := range 4 {
		if got, err := ask(t, tr, tg, chatRequest("{}")); got != fmt.Sprintf("connection %d", min(i+1, 2)) || err != nil {
			t.Fatal(got, err)
		}
		time.Sleep(20 * time.Millisecond) // the end of the connection comes
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestNoRequestIsSentTwice: a target that read a request, or may have read a part
// of it, is not asked again behind the caller's back when the kept connection
// ends without an answer. A GET asks for nothing to be done, so it may be repeated.
func TestNoRequestIsSentTwice(t *testing.T) {
	cert, roots := certFor(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	large := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		body   string
		get    bool
		end    func(net.Conn, *bufio.Reader)
		secure bool
	}{
		"closed behind the request":      {body: "{}", end: func(_ net.Conn, br *bufio.Reader) { _, _ = take(br) }},
		"closed behind the request, TLS": {body: "{}", end: func(_ net.Conn, br *bufio.Reader) { _, _ = take(br) }, secure: true},
		"closed behind a large request":  {body: large, end: func(_ net.Conn, br *bufio.Reader) { _, _ = take(br) }},
		"closed within a large request":  {body: large, end: func(_ net.Conn, br *bufio.Reader) { _, _ = br.Discard(8 << 10) }},
		"a byte, then closed": {body: "{}", end: func(c net.Conn, br *bufio.Reader) {
			_, _ = take(br)
			_, _ = io.WriteString(c, "H")
		}},
		"GET": {get: true, end: func(_ net.Conn, br *bufio.Reader) { _, _ = take(br) }},
	} {
		var cfg *tls.Config
		scheme := "http"
		if c.secure {
			cfg, scheme = &tls.Config{Certificates: []tls.Certificate{cert}}, "https"
		}
		var reached atomic.Int64 // requests of which something came, but for those that open the connections
		var warm sync.WaitGroup
		const kept = 3
		warm.Add(kept)
		s := serveScript(t, cfg, func(_ int, conn net.Conn, br *bufio.Reader) {
			if _, err := take(br); err != nil {
				return
			}
			if reached.Load() == 0 { // the first ones wait for each other
				warm.Done()
				warm.Wait()
			}
			_, _ = io.WriteString(conn, answer("ok"))
			if _, err := br.Peek(1); err == nil {
				reached.Add(1)
				c.end(conn, br)
			}
		})
		_, port, _ := net.SplitHostPort(s.ln.Addr().String())
		tr, tg := transportFor(t, upstream.TransportOptions{RootCAs: roots}), target(t, "a", scheme+"://localhost:"+port, "")
		var wg sync.WaitGroup
		for range kept {
			wg.Go(func() {
				if got, err := ask(t, tr, tg, chatRequest("{}")); got != "ok" || err != nil {
					t.Error(name, got, err)
				}
			})
		}
		wg.Wait()
		q := chatRequest(c.body)
		if c.get {
			q = upstream.Request{Method: http.MethodGet, Path: "/v1/models"}
		}
		got, err := ask(t, tr, tg, q)
		if c.get {
			if got != "ok" || err != nil {
				t.Errorf("%s: %q %v", name, got, err)
			}
			continue
		}
		if class := upstream.ClassOf(err); class != upstream.Reset || reached.Load() != 1 || s.conns.Load() != kept {
			t.Errorf("%s: %v, it came %d times over %d connections", name, err, reached.Load(), s.conns.Load())
		}
	}
}

// unwritable is a connection that fails from its second write on, as a socket
// does once the target's reset has come, though a look at it shows nothing.
type unwritable struct {
	net.Conn
	writes int
}

func (u *unwritable) Write(p []byte) (int, error) {
	if u.writes++; u.writes > 1 {
		return 0, syscall.EPIPE
	}
	return u.Conn.Write(p)
}

func (u *unwritable) Read(p []byte) (int, error) {
	if u.writes > 1 {
		return 0, io.EOF
	}
	return u.Conn.Read(p)
}

// TestARequestThatNeverLeftIsSent: nothing of it was written, so another connection takes it.
func TestARequestThatNeverLeftIsSent(t *testing.T) {
	for _, size := range []int{5, 64 << 10} {
		s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
			for {
				b, err := take(br)
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, answer(fmt.Sprint(len(b))))
			}
		})
		dials := 0
		tr, tg := transportFor(t, upstream.TransportOptions{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if dials++; dials == 1 {
				c = &unwritable{Conn: c}
			}
			return c, err
		}}), target(t, "a", s.url(), "")
		for _, n := range []int{2, size} {
			if got, err := ask(t, tr, tg, chatRequest(strings.Repeat("x", n))); got != fmt.Sprint(n) || err != nil {
				t.Fatal(n, got, err)
			}
		}
		if n := s.conns.Load(); n != 2 {
			t.Errorf("%d bytes: %d connections", size, n)
		}
	}
}

// TestUnaskedBytesEndTheConnection: what a target says between two requests is
// never the answer to the second.
func TestUnaskedBytesEndTheConnection(t *testing.T) {
	said := make(chan struct{})
	s := serveScript(t, nil, func(n int, c net.Conn, br *bufio.Reader) {
		for i := 0; ; i++ {
			if _, err := take(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer("asked for"))
			if n == 1 && i == 0 {
				time.Sleep(5 * time.Millisecond) // behind the answer's end, in a packet of its own
				_, _ = io.WriteString(c, answer("poison"))
				close(said)
			}
		}
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	for i := range 3 {
		if got, err := ask(t, tr, tg, chatRequest("{}")); got != "asked for" || err != nil {
			t.Fatal(got, err)
		}
		if i == 0 {
			<-said
			time.Sleep(5 * time.Millisecond)
		}
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// opaque is a connection that shows no socket, as all are where kt cannot look into one.
type opaque struct{ net.Conn }

// TestConnectionsThatCannotBeLookedAt are asked, before they serve again, whether
// they were closed or something waits: with and without TLS.
func TestConnectionsThatCannotBeLookedAt(t *testing.T) {
	cert, roots := certFor(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for _, secure := range []bool{false, true} {
		for _, said := range []string{"", answer("poison"), "close"} {
			var cfg *tls.Config
			scheme := "http"
			if secure {
				cfg, scheme = &tls.Config{Certificates: []tls.Certificate{cert}}, "https"
			}
			s := serveScript(t, cfg, func(n int, c net.Conn, br *bufio.Reader) {
				for {
					if _, err := take(br); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer("asked for"))
					if n > 1 || said == "" {
						continue
					}
					if said == "close" {
						return
					}
					time.Sleep(5 * time.Millisecond)
					_, _ = io.WriteString(c, said)
				}
			})
			tr := transportFor(t, upstream.TransportOptions{RootCAs: roots, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				return opaque{c}, err
			}})
			_, port, _ := net.SplitHostPort(s.ln.Addr().String())
			tg := target(t, "a", scheme+"://localhost:"+port, "")
			for range 3 {
				if got, err := ask(t, tr, tg, chatRequest("{}")); got != "asked for" || err != nil {
					t.Fatalf("TLS %v, said %q: %q %v", secure, said, got, err)
				}
				time.Sleep(30 * time.Millisecond)
			}
			want := int64(2)
			if said == "" {
				want = 1
			}
			if n := s.conns.Load(); n != want {
				t.Errorf("TLS %v, said %q: %d connections", secure, said, n)
			}
		}
	}
}

// held is a connection whose writes leave together, at flush.
type held struct {
	net.Conn
	hold bool
	b    []byte
}

func (h *held) Write(p []byte) (int, error) {
	if !h.hold {
		return h.Conn.Write(p)
	}
	h.b = append(h.b, p...)
	return len(p), nil
}

func (h *held) flush() {
	_, _ = h.Conn.Write(h.b)
	h.b, h.hold = nil, false
}

// TestUnaskedRecordsEndTheConnection is the same within TLS: a record that came
// in the packet of the last one waits where no look at the socket finds it.
func TestUnaskedRecordsEndTheConnection(t *testing.T) {
	cert, roots := certFor(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for _, poison := range []string{answer("poison"), "H"} {
		s := serveScript(t, nil, func(n int, c net.Conn, _ *bufio.Reader) {
			h := &held{Conn: c}
			secure := tls.Server(h, &tls.Config{Certificates: []tls.Certificate{cert}})
			br := bufio.NewReader(secure)
			for i := 0; ; i++ {
				if _, err := take(br); err != nil {
					return
				}
				h.hold = true
				_, _ = io.WriteString(secure, answer("asked for"))
				if n == 1 && i == 0 {
					_, _ = io.WriteString(secure, poison)
				}
				h.flush()
			}
		})
		tr := transportFor(t, upstream.TransportOptions{RootCAs: roots})
		_, port, _ := net.SplitHostPort(s.ln.Addr().String())
		tg := target(t, "a", "https://localhost:"+port, "")
		for range 4 {
			if got, err := ask(t, tr, tg, chatRequest("{}")); got != "asked for" || err != nil {
				t.Fatal(got, err)
			}
		}
		if n := s.conns.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	}
}

// TestAnswerBeforeTheWholeRequest: a target may answer while a large request is
// on its way, and need not read the rest.
func TestAnswerBeforeTheWholeRequest(t *testing.T) {
	s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, answer("too much"))
		<-t.Context().Done()
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	body := bytes.Repeat([]byte("x"), 24<<20)
	began := time.Now()
	resp, err := tr.Do(background(t), tg, upstream.Request{Path: "/v1/chat/completions", Body: body})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	clear(body) // the race detector shows a writer that goes on
	if string(got) != "too much" || err != nil || time.Since(began) > 4*time.Second {
		t.Fatalf("%q %v after %v", got, err, time.Since(began))
	}
}

// TestLargeRequestsArriveWhole around the size up to which head and body leave in one write.
func TestLargeRequestsArriveWhole(t *testing.T) {
	s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			b, err := take(br)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, answer(fmt.Sprint(len(b), " ", strings.Count(string(b), "y"))))
		}
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	for _, n := range []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 3 << 20} {
		q := chatRequest(strings.Repeat("y", n))
		if got, err := ask(t, tr, tg, q); got != fmt.Sprint(n, " ", n) || err != nil {
			t.Fatal(n, got, err)
		}
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestCancelWhileTheRequestIsSent ends a write that waits for the target.
func TestCancelWhileTheRequestIsSent(t *testing.T) {
	s := serveScript(t, nil, func(_ int, _ net.Conn, br *bufio.Reader) {
		_, _ = br.ReadByte()
		<-t.Context().Done()
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	ctx, cancel := context.WithCancel(background(t))
	time.AfterFunc(50*time.Millisecond, cancel)
	body := bytes.Repeat([]byte("x"), 24<<20)
	began := time.Now()
	_, err := tr.Do(ctx, tg, upstream.Request{Path: "/v1/chat/completions", Body: body})
	clear(body)
	if upstream.ClassOf(err) != upstream.Cancelled || time.Since(began) > 5*time.Second {
		t.Fatalf("%v after %v", err, time.Since(began))
	}
}

// TestIdleConnectionsAreBounded in number and in time, and closed with the transport.
func TestIdleConnectionsAreBounded(t *testing.T) {
	var open atomic.Int64
	s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		open.Add(1)
		defer open.Add(-1)
		for {
			if _, err := take(br); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
			_, _ = io.WriteString(c, answer("ok"))
		}
	})
	tr, tg := upstream.NewTransport(upstream.TransportOptions{MaxIdlePerTarget: 3, IdleTimeout: 200 * time.Millisecond}), target(t, "a", s.url(), "")
	defer tr.Close()
	burst := func() {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if got, err := ask(t, tr, tg, chatRequest("{}")); got != "ok" || err != nil {
					t.Error(got, err)
				}
			})
		}
		wg.Wait()
	}
	burst()
	waitFor(t, func() bool { return open.Load() <= 3 })
	waitFor(t, func() bool { return open.Load() == 0 })
	burst()
	waitFor(t, func() bool { return open.Load() <= 3 })
	tr.Close()
	waitFor(t, func() bool { return open.Load() == 0 })
	if _, err := ask(t, tr, tg, chatRequest("{}")); upstream.ClassOf(err) != upstream.Refused {
		t.Errorf("after Close: %v", err)
	}
}

// TestTimeLimitsOfAnAttempt: which limit ends what, over TCP and TLS.
func TestTimeLimitsOfAnAttempt(t *testing.T) {
	cert, roots := certFor(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	stall := func(said string) func(int, net.Conn, *bufio.Reader) {
		return func(_ int, c net.Conn, br *bufio.Reader) {
			_, _ = take(br)
			_, _ = io.WriteString(c, said)
			_, _ = br.ReadByte() // until the other side hangs up
		}
	}
	const ms = time.Millisecond
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		said   string
		limits upstream.Timeouts
		want   upstream.ErrorClass
	}{
		"first byte":               {"", upstream.Timeouts{FirstByte: 60 * ms}, upstream.TimeoutFirstByte},
		"in the head":              {"HTTP/1.1 200 OK\r\nA: ", upstream.Timeouts{FirstByte: 60 * ms}, upstream.TimeoutFirstByte},
		"total, in the head":       {"", upstream.Timeouts{Total: 60 * ms}, upstream.TimeoutTotal},
		"between bytes":            {head + "2\r\nhi\r\n", upstream.Timeouts{BetweenBytes: 60 * ms}, upstream.TimeoutBetweenBytes},
		"in a chunk":               {head + "9\r\nhi", upstream.Timeouts{BetweenBytes: 60 * ms}, upstream.TimeoutBetweenBytes},
		"total, in the body":       {head + "2\r\nhi\r\n", upstream.Timeouts{Total: 60 * ms}, upstream.TimeoutTotal},
		"without limits but total": {head + "2\r\nhi\r\n", upstream.Timeouts{FirstByte: -1, BetweenBytes: -1, Total: 60 * ms}, upstream.TimeoutTotal},
	} {
		for _, secure := range []bool{false, true} {
			var cfg *tls.Config
			if secure {
				cfg = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			s := serveScript(t, cfg, stall(c.said))
			tr := transportFor(t, upstream.TransportOptions{RootCAs: roots})
			_, port, _ := net.SplitHostPort(s.ln.Addr().String())
			base := "http://localhost:" + port
			if secure {
				base = "https://localhost:" + port
			}
			tg := target(t, "a", base, "")
			tg.Timeouts = c.limits
			q := chatRequest("{}")
			q.Stream = true
			began := time.Now()
			_, err := ask(t, tr, tg, q)
			if took := time.Since(began); upstream.ClassOf(err) != c.want || took < 60*ms || took > 5*time.Second {
				t.Errorf("%s, TLS %v: %v after %v", name, secure, err, took)
			}
		}
	}
}

// TestSlowButSteadyAnswersAreWhole: the limit of silence is between bytes, not
// for the whole, and time that the reader takes does not count.
func TestSlowButSteadyAnswersAreWhole(t *testing.T) {
	s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for range 10 {
			time.Sleep(30 * time.Millisecond)
			_, _ = io.WriteString(c, "ab")
		}
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	tg.Timeouts.BetweenBytes = 150 * time.Millisecond
	q := chatRequest("{}")
	q.Stream = true
	resp, err := tr.Do(background(t), tg, q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	one := make([]byte, 1)
	if _, err := resp.Body.Read(one); err != nil {
		t.Fatal(err)
	}
	time.Sleep(250 * time.Millisecond)
	rest, err := io.ReadAll(resp.Body)
	if got := string(one) + string(rest); got != strings.Repeat("ab", 10) || err != nil {
		t.Fatalf("%q %v", got, err)
	}
}

// TestAnswersInEveryFraming reads one text in each way that a body can end.
func TestAnswersInEveryFraming(t *testing.T) {
	text := strings.Repeat("framing ", 3000)
	chunked := func(n int) string {
		var b strings.Builder
		b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for rest := text; rest != ""; {
			k := min(n, len(rest))
			fmt.Fprintf(&b, "%X;a=b\r\n%s\r\n", k, rest[:k])
			rest = rest[k:]
		}
		return b.String() + "0\r\nTrailer: x\r\n\r\n"
	}
	for name, c := range map[string]struct {
		said  string
		again bool
		cut   bool
	}{
		"length":         {answer(text), true, false},
		"chunked":        {chunked(1000), true, false},
		"small chunks":   {chunked(1), true, false},
		"interim":        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + answer(text), true, false},
		"says close":     {strings.Replace(answer(text), "\r\n", "\r\nConnection: close\r\n", 1), false, false},
		"HTTP/1.0":       {strings.Replace(answer(text), "HTTP/1.1", "HTTP/1.0", 1), false, false},
		"until the end":  {"HTTP/1.1 200 OK\r\n\r\n" + text, false, false},
		"length, cut":    {strings.TrimSuffix(answer(text), "g "), false, true},
		"chunked, cut":   {strings.TrimSuffix(chunked(1000), "\r\n"), false, true},
		"no chunk's end": {strings.TrimSuffix(chunked(1000), "0\r\nTrailer: x\r\n\r\n"), false, true},
	} {
		for _, piece := range []int{1 << 20, 777, 5} {
			s := serveScript(t, nil, func(_ int, conn net.Conn, br *bufio.Reader) {
				for {
					if _, err := take(br); err != nil {
						return
					}
					for said := c.said; said != ""; {
						k := min(piece, len(said))
						_, _ = io.WriteString(conn, said[:k])
						said = said[k:]
					}
					if !c.again {
						return
					}
				}
			})
			tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
			for range 3 {
				got, err := ask(t, tr, tg, chatRequest("{}"))
				if c.cut && upstream.ClassOf(err) != upstream.Reset || !c.cut && (err != nil || got != text) {
					t.Fatalf("%s in pieces of %d: %d bytes, %v", name, piece, len(got), err)
				}
			}
			if n := s.conns.Load(); c.again && n != 1 || !c.again && n != 3 {
				t.Errorf("%s: %d connections for 3 requests", name, n)
			}
		}
	}
}

// TestHeadersCannotBeSplit: a value with a line break goes nowhere.
func TestHeadersCannotBeSplit(t *testing.T) {
	heads := make(chan http.Header, 1)
	s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		heads <- r.Header
		_, _ = io.WriteString(c, answer("ok"))
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	q := chatRequest("{}")
	q.Header = http.Header{"X-Request-Id": {"a\r\nX-Evil: 1"}, "Traceparent": {"00-1-2-03"}}
	if got, err := ask(t, tr, tg, q); got != "ok" || err != nil {
		t.Fatal(got, err)
	}
	if h := <-heads; h.Get("X-Evil") != "" || h.Get("X-Request-Id") != "" || h.Get("Traceparent") == "" {
		t.Errorf("sent %v", h)
	}
	bad := target(t, "b", s.url(), "")
	bad.Header = http.Header{"X-Team": {"a\r\nX-Evil: 1"}}
	if _, err := ask(t, tr, bad, chatRequest("{}")); upstream.ClassOf(err) != upstream.Config || strings.Contains(err.Error(), "Evil") {
		t.Errorf("a header with a line break: %v", err)
	}
	for _, method := range []string{"GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nPOST", "HEAD", "CONNECT", "post"} {
		q = chatRequest("{}")
		q.Method = method
		if _, err := ask(t, tr, tg, q); upstream.ClassOf(err) != upstream.Config {
			t.Errorf("method %q: %v", method, err)
		}
	}
}

// TestNothingIsSentForAnEndedContext over a connection that waits for a request.
func TestNothingIsSentForAnEndedContext(t *testing.T) {
	var came atomic.Int64
	s := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			if _, err := br.Peek(1); err != nil {
				return
			}
			came.Add(1)
			if _, err := take(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer("ok"))
		}
	})
	tr, tg := transportFor(t, upstream.TransportOptions{}), target(t, "a", s.url(), "")
	ended, cancel := context.WithCancel(background(t))
	cancel()
	for range 50 {
		if got, err := ask(t, tr, tg, chatRequest("{}")); got != "ok" || err != nil {
			t.Fatal(got, err)
		}
		if _, err := tr.Do(ended, tg, chatRequest("{}")); upstream.ClassOf(err) != upstream.Cancelled {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond)
	if n := came.Load(); n != 50 || s.conns.Load() != 1 {
		t.Errorf("%d requests came over %d connections", n, s.conns.Load())
	}
}

// TestCancelAndReuseNeverMixAnswers: requests that are cancelled, left in the
// middle or closed from elsewhere, beside others on the same few connections:
// who gets an answer gets its own.
func TestCancelAndReuseNeverMixAnswers(t *testing.T) {
	cert, roots := certFor(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for _, secure := range []bool{false, true} {
		var cfg *tls.Config
		scheme := "http"
		if secure {
			cfg, scheme = &tls.Config{Certificates: []tls.Certificate{cert}}, "https"
		}
		s := serveScript(t, cfg, func(_ int, c net.Conn, br *bufio.Reader) {
			for {
				b, err := take(br)
				if err != nil {
					return
				}
				half := len(b) / 2
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", half, b[:half])
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", len(b)-half, b[half:])
			}
		})
		tr := transportFor(t, upstream.TransportOptions{RootCAs: roots, MaxIdlePerTarget: 4})
		_, port, _ := net.SplitHostPort(s.ln.Addr().String())
		tg := target(t, "a", scheme+"://localhost:"+port, "")
		var wg sync.WaitGroup
		var whole atomic.Int64
		for g := range 6 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 7))
				for i := range 150 {
					ctx, cancel := context.WithCancel(background(t))
					how := rng.IntN(4)
					wait := time.Duration(rng.IntN(600)) * time.Microsecond
					want := fmt.Sprintf("%d of %d ", i, g)
					want = strings.Repeat(want, 1+rng.IntN(40))
					if rng.IntN(10) == 0 {
						want = strings.Repeat(want, 1000) // by a goroutine of its own
					}
					if how == 1 {
						time.AfterFunc(wait, cancel)
					}
					body := []byte(want)
					resp, err := tr.Do(ctx, tg, upstream.Request{Path: "/v1/chat/completions", Body: body})
					if err == nil {
						switch how {
						case 2:
							time.AfterFunc(wait/4, func() { _ = resp.Body.Close() })
						case 3:
							_, _ = resp.Body.Read(make([]byte, 3))
							_ = resp.Body.Close()
						}
						got, rerr := io.ReadAll(resp.Body)
						if rerr == nil && how != 3 {
							whole.Add(1)
							if string(got) != want {
								t.Errorf("got %.40q, want %.40q", got, want)
							}
						}
						_ = resp.Body.Close()
						clear(body)
					}
					if c := upstream.ClassOf(err); err != nil && (how != 1 || c != upstream.Cancelled) {
						t.Errorf("way %d: %v", how, err)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if whole.Load() < 200 {
			t.Errorf("only %d answers were whole", whole.Load())
		}
	}
}
