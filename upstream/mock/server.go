package mock

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a mock on a port of its own.
type Server struct {
	*Mock
	URL string // http://127.0.0.1:PORT

	http *http.Server
	ln   *listener
	wg   sync.WaitGroup
}

// Listen starts a server on addr; empty: a free port of 127.0.0.1. Close stops it.
func Listen(addr string, s *Script) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start mock: %w", err)
	}
	srv := &Server{Mock: New(s), URL: "http://" + ln.Addr().String()}
	srv.ln = &listener{Listener: ln, m: srv.Mock, live: make(map[net.Conn]bool)}
	srv.http = &http.Server{Handler: srv.Mock, ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil}
	srv.wg.Go(func() {
		if err := srv.http.Serve(srv.ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			srv.ln.failed = err
		}
	})
	return srv, nil
}

// Addr is host and port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Refuse closes the port: connections are refused from now on. Those that are
// open go on.
func (s *Server) Refuse() { _ = s.ln.Close() }

// SetAccept plays a fault of the connection (RSTAccept, StallAccept) on each new one; None ends that.
func (s *Server) SetAccept(f Fault) {
	s.ln.mu.Lock()
	s.ln.fault = f
	s.ln.mu.Unlock()
}

// CloseConns resets the connections that are open; new ones are accepted.
func (s *Server) CloseConns() {
	s.ln.mu.Lock()
	defer s.ln.mu.Unlock()
	for c := range s.ln.live {
		reset(c)
	}
	clear(s.ln.live)
}

// Conns is the number of connections accepted so far.
func (s *Server) Conns() int {
	s.ln.mu.Lock()
	defer s.ln.mu.Unlock()
	return s.ln.accepted
}

// Close stops the server and closes its connections.
func (s *Server) Close() {
	s.Stop()
	_ = s.http.Close()
	s.ln.closeStalled()
	s.wg.Wait()
}

type listener struct {
	net.Listener
	m *Mock

	mu       sync.Mutex
	fault    Fault
	accepted int
	live     map[net.Conn]bool // open ones
	failed   error
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		l.accepted++
		f := l.fault
		if f != RSTAccept {
			l.live[c] = true
		}
		l.mu.Unlock()
		switch f {
		case RSTAccept:
			reset(c)
		case StallAccept:
		default:
			return &tracked{Conn: c, l: l}, nil
		}
	}
}

// tracked is a connection that its listener knows.
type tracked struct {
	net.Conn
	l *listener
}

func (t *tracked) Close() error {
	t.l.mu.Lock()
	delete(t.l.live, t.Conn)
	t.l.mu.Unlock()
	return t.Conn.Close()
}

func (l *listener) closeStalled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.live {
		_ = c.Close()
	}
}
