package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
)

// link is one connection to a target. It serves one request at a time and
// belongs to it; between two requests it lies in its route's list, without a
// goroutine or a buffer.
type link struct {
	nc    net.Conn
	raw   syscall.RawConn // nil: cannot be looked at
	wire  wire            // the answer that it brings
	used  bool            // it served a request before
	since time.Time       // in the list since

	end   func()             // cut, as a value
	look  func(uintptr) bool // peek, as a value
	still bool               // what it found
}

func newLink(nc net.Conn) *link {
	l := &link{nc: nc}
	l.end, l.look = l.cut, l.peek
	if s, ok := bare(nc).(syscall.Conn); ok {
		l.raw, _ = s.SyscallConn() // its error: it cannot be looked at
	}
	return l
}

// bare is the connection under all TLS.
func bare(c net.Conn) net.Conn {
	for {
		t, ok := c.(*tls.Conn)
		if !ok {
			return c
		}
		c = t.NetConn()
	}
}

// cut ends the connection at once, and any Read or Write that waits; TLS's
// goodbye could wait seconds for a peer that does not read. It may be called
// from any goroutine, more than once.
func (l *link) cut() { _ = bare(l.nc).Close() }

// close ends a connection that nobody uses, with TLS's goodbye.
func (l *link) close() { _ = l.nc.Close() }

// list is the idle connections of one target, the newest last.
type list struct {
	max  int
	keep time.Duration

	mu     sync.Mutex
	links  []*link
	sweep  *time.Timer // runs while there are links
	closed bool
}

// take gives the newest idle connection that still seems good; nil: there is none.
// deadline is set on it.
func (s *list) take(deadline time.Time) *link {
	for {
		s.mu.Lock()
		n := len(s.links)
		if n == 0 {
			s.mu.Unlock()
			return nil
		}
		l := s.links[n-1]
		s.links[n-1] = nil
		s.links = s.links[:n-1]
		s.mu.Unlock()
		if l.ready(deadline) {
			return l
		}
		l.cut()
	}
}

// ready tells that an idle connection is open and that nothing was sent on it:
// what comes unasked belongs to no request. deadline is set on it.
func (l *link) ready(deadline time.Time) bool {
	if l.nc.SetDeadline(deadline) != nil { // an expired deadline would hide what there is to read
		return false
	}
	still, seen := l.quiet()
	if seen && !still {
		return false
	}
	if _, ok := l.nc.(*tls.Conn); !ok && seen {
		return true
	}
	// A record may have come in the same packet as the end of the last answer and
	// wait within the TLS connection. With an expired deadline Read gives what is
	// there and does not look at the socket. Where nobody looked, Read does.
	at := time.Unix(1, 0)
	if !seen {
		at = time.Now().Add(lookTime)
	}
	var b [1]byte
	if l.nc.SetReadDeadline(at) != nil {
		return false
	}
	if n, err := l.nc.Read(b[:]); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	return l.nc.SetReadDeadline(deadline) == nil
}

// lookTime is how long a connection that cannot be looked at is read before it
// serves again. What waits in it is there at once.
const lookTime = time.Millisecond

// put keeps a connection for the next request.
func (s *list) put(l *link, now time.Time) {
	l.used, l.since = true, now
	s.mu.Lock()
	if s.closed || len(s.links) >= s.max {
		s.mu.Unlock()
		l.close()
		return
	}
	s.links = append(s.links, l)
	if len(s.links) == 1 {
		if s.sweep == nil {
			s.sweep = time.AfterFunc(s.keep, s.expire)
		} else {
			s.sweep.Reset(s.keep)
		}
	}
	s.mu.Unlock()
}

// expire closes connections that were idle for too long, and those that the
// target has closed.
func (s *list) expire() {
	var dead []*link
	s.mu.Lock()
	kept, now := s.links[:0], time.Now()
	for _, l := range s.links {
		if now.Sub(l.since) >= s.keep || !l.ready(time.Time{}) {
			dead = append(dead, l)
			continue
		}
		kept = append(kept, l)
	}
	clear(s.links[len(kept):])
	s.links = kept
	if len(kept) > 0 && !s.closed {
		s.sweep.Reset(max(s.keep/8, s.keep-now.Sub(kept[0].since)))
	}
	s.mu.Unlock()
	for _, l := range dead {
		l.close()
	}
}

func (s *list) close() {
	s.mu.Lock()
	links := s.links
	s.links, s.closed = nil, true
	if s.sweep != nil {
		s.sweep.Stop()
	}
	s.mu.Unlock()
	for _, l := range links {
		l.close()
	}
}

const (
	// oneWrite is the size in bytes of a request body that is copied behind its
	// head, so that both leave in one write.
	oneWrite = 64 << 10
	// headRead is how many bytes of an answer are asked for first.
	headRead = 4 << 10
)

// send writes the request. A large body is written by a goroutine of its own,
// since a target may answer before it has read all of it; finish waits for it.
func (a *attempt) send(head, body []byte) error {
	if len(body) <= oneWrite {
		b := buf.Get(len(head) + len(body))
		b.B = append(append(b.B, head...), body...)
		n, err := a.l.nc.Write(b.B)
		a.unsent = n == 0
		buf.Put(b)
		return err
	}
	b := buf.Get(len(head))
	b.B = append(b.B, head...)
	nc, wrote := a.l.nc, make(chan error, 1)
	a.wrote = wrote
	go func() {
		parts := net.Buffers{b.B, body}
		n, err := parts.WriteTo(nc)
		a.unsent = n == 0 // read once wrote was received from
		buf.Put(b)
		wrote <- err
	}()
	return nil
}

// sent waits for the goroutine of send, when there is one; the connection was
// cut or the request is whole. It tells whether all of the request went out.
func (a *attempt) sent() bool {
	if a.wrote == nil {
		return true
	}
	err := <-a.wrote
	a.wrote = nil
	return err == nil
}

// lateWriter is how long a whole answer waits for the word that its request went out: the server has read it most
// likely, but on a busy machine the goroutine that wrote it may not have run since.
const lateWriter = 2 * time.Millisecond

// sentAll tells whether all of the request went out.
func (a *attempt) sentAll() bool {
	if a.wrote == nil {
		return true
	}
	late := time.NewTimer(lateWriter)
	defer late.Stop()
	select {
	case err := <-a.wrote:
		a.wrote = nil
		return err == nil
	case <-late.C:
		return false
	}
}

// exchange sends the request and reads the head of the answer. fresh tells that
// not one byte of an answer came.
func (a *attempt) exchange(head, body []byte) (fresh bool, err error) {
	w := &a.l.wire
	w.begin(a.limits.MaxHeader)
	sendErr := a.send(head, body)
	var e net.Error
	if errors.As(sendErr, &e) && e.Timeout() {
		return false, sendErr
	}
	// After another failed write the target may have said why.
	b := buf.Get(headRead)
	space := b.B[:cap(b.B)]
	for fresh = true; ; {
		n, rerr := a.l.nc.Read(space)
		if n > 0 {
			fresh = false
			body, err := w.decode(space[:n])
			if err != nil && w.st == wireHead {
				buf.Put(b)
				return false, err
			}
			if w.st != wireHead {
				w.extra = w.extra || sendErr != nil // never used again
				if a.bad = err; body == 0 {
					buf.Put(b)
					return false, nil
				}
				a.ahead, a.rest = b, space[:body]
				return false, nil
			}
		}
		if rerr != nil {
			buf.Put(b)
			if errors.Is(rerr, io.EOF) && !fresh {
				rerr = io.ErrUnexpectedEOF
			}
			return fresh, rerr
		}
	}
}

// stale tells that a kept connection was closed by the target. That alone does
// not say whether the target read the request before.
func stale(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// limit sets the deadline of what comes next: d from now, and not past the
// attempt's own end.
func (a *attempt) limit(now time.Time, d time.Duration, c ErrorClass) time.Time {
	var at time.Time
	if d > 0 {
		at = now.Add(d)
	}
	if !a.end.IsZero() && (at.IsZero() || a.end.Before(at)) {
		at, c = a.end, TimeoutTotal
	}
	a.class = c
	return at
}

// slack is how much longer than asked for a silence may last: the deadline is
// not set anew for reads that begin within it.
func slack(d time.Duration) time.Duration { return min(d/32, time.Second) }

// failure says what err means.
func (a *attempt) failure(ctx context.Context, err error) *Failure {
	var f *Failure
	if cause := context.Cause(ctx); cause != nil {
		if errors.As(cause, &f) {
			return &Failure{Class: f.Class}
		}
		return &Failure{Class: Cancelled, Err: context.Canceled}
	}
	switch {
	case a.closed.Load():
		return &Failure{Class: Cancelled, Err: context.Canceled}
	case errors.As(err, &f):
		return f
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Failure{Class: a.class}
	}
	return classify(err)
}

// Read reads the body.
func (a *attempt) Read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	if a.closed.Load() {
		return 0, errReadAfterClose
	}
	if len(p) == 0 {
		return 0, nil
	}
	w := &a.l.wire
	n := 0
	if a.ahead != nil {
		n = copy(p, a.rest)
		if a.rest = a.rest[n:]; len(a.rest) > 0 {
			return a.count(n)
		}
		buf.Put(a.ahead)
		a.ahead = nil
	}
	for bad := a.bad; ; {
		switch {
		case bad != nil:
			a.fail(bad)
			return n, a.orNil(n)
		case w.ended():
			n, err := a.count(n)
			if err == nil {
				a.err = io.EOF
				a.whole.Store(true) // the connection is Close's from here on
			}
			return n, a.err
		case n > 0:
			return a.count(n)
		}
		if since := time.Since(a.began); since >= a.renew {
			a.prolong(since)
		}
		k, err := a.l.nc.Read(p)
		if k > 0 {
			n, bad = w.decode(p[:k])
		}
		switch {
		case bad != nil || w.ended() || err == nil:
		case errors.Is(err, io.EOF) && w.st == wireClose:
			w.st = wireIdle
		case errors.Is(err, io.EOF):
			bad = io.ErrUnexpectedEOF
		default:
			bad = err
		}
	}
}

// prolong sets the deadline of the reads to come, the attempt being that old.
//
//go:noinline
func (a *attempt) prolong(since time.Duration) {
	d := a.timeouts.BetweenBytes
	if a.renew = since + slack(d); d <= 0 {
		a.renew = math.MaxInt64 // once: nothing but the attempt's own end
	}
	_ = a.l.nc.SetReadDeadline(a.limit(a.began.Add(since), d+slack(d), TimeoutBetweenBytes)) // an error shows at the read
}

// count takes n bytes from what may still come.
func (a *attempt) count(n int) (int, error) {
	if a.left -= int64(n); a.left < 0 {
		a.fail(&Failure{Class: TooLarge, Err: errors.New("read answer: body is larger than the limit")})
		return 0, a.err
	}
	return n, nil
}

// fail ends the connection; err is what Read goes on to give.
func (a *attempt) fail(err error) {
	a.err = a.failure(a.ctx, err)
	a.l.cut()
}

// orNil gives the error behind n bytes: they go first.
func (a *attempt) orNil(n int) error {
	if n > 0 {
		return nil
	}
	return a.err
}

// Close ends the attempt. Unless the body was read to its end, the connection is
// dropped. It may be called while Read waits.
func (a *attempt) Close() error {
	if a.closed.Swap(true) {
		return nil
	}
	// When stop is too late the connection is being cut.
	if a.stop() && a.whole.Load() && a.l.wire.reusable() && a.sentAll() {
		a.l.wire.line, a.l.wire.header = nil, nil // begin makes them anew
		a.idle.put(a.l, time.Now())
		return nil
	}
	a.l.cut()
	a.sent()
	return nil
}
