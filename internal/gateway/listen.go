package gateway

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
)

// Limits of a connection. The values are those of the design's defaults.
const (
	headTime  = 5 * time.Second  // from a request's first byte awaited to its whole head
	bodyTime  = 30 * time.Second // from there to its whole body, and a second more for each bodyGrant bytes of it
	bodyGrant = 128 << 10        // about what a line of 1 Mbit/s brings in a second
	idleTime  = 60 * time.Second // between two requests of a connection
	writeTime = 30 * time.Second // one write to a client that does not read; up to writeSlack more
	// writeSlack is how long a write's deadline serves the writes that follow it.
	writeSlack = time.Second

	// restPause is how long the rest of a refused request may pause while it is read
	// and dropped, restSize how many bytes of it are.
	restPause = 2 * time.Second
	restSize  = 256 << 20

	defaultMaxConns = 10_000
	acceptPauseMin  = 5 * time.Millisecond
	acceptPauseMax  = time.Second
)

// listener accepts at most max connections at a time and never gives up: an
// error of Accept (no file descriptors left, a connection reset in the queue)
// is waited out. It knows all its connections.
type listener struct {
	net.Listener
	max      int
	paused   func(error)             // told once for each run of failures
	refused  func(status int) []byte // what goes out instead of Hertz's own error answer; nil: that
	head     time.Duration
	body     time.Duration
	accepted atomic.Int64

	mu     sync.Mutex
	cond   sync.Cond
	conns  map[*conn]struct{}
	closed bool
	done   chan struct{}
}

func newListener(ln net.Listener, maxConns int, paused func(error)) *listener {
	l := &listener{Listener: ln, max: maxConns, paused: paused, head: headTime, body: bodyTime, conns: make(map[*conn]struct{}), done: make(chan struct{})}
	l.cond.L = &l.mu
	return l
}

// Accept waits for a connection; the only error is that the listener is closed.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	for len(l.conns) >= l.max && !l.closed {
		l.cond.Wait()
	}
	l.mu.Unlock()
	pause := time.Duration(0)
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			k := &conn{Conn: c, l: l, opened: time.Now()}
			k.idle.Store(true)
			_ = c.SetReadDeadline(time.Now().Add(l.head)) // an error shows at the first read
			l.mu.Lock()
			if l.closed {
				l.mu.Unlock()
				_ = c.Close()
				return nil, net.ErrClosed
			}
			l.conns[k] = struct{}{}
			l.mu.Unlock()
			l.accepted.Add(1)
			return k, nil
		}
		if l.isClosed() || errors.Is(err, net.ErrClosed) {
			return nil, net.ErrClosed
		}
		if pause == 0 {
			l.paused(err)
		}
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.done:
			t.Stop()
			return nil, net.ErrClosed
		}
	}
}

func (l *listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close ends Accept; connections go on.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	l.cond.Broadcast()
	l.mu.Unlock()
	return l.Listener.Close()
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// closeIdle closes connections that wait for a request, or all of them.
func (l *listener) closeIdle(all bool) {
	l.closeThose(func(c *conn) bool { return all || c.idle.Load() })
}

// closeRested closes connections that have waited for another request as long as rest: on one that waits for less, or for its
// first, a request may be on its way.
func (l *listener) closeRested(rest time.Duration) {
	l.closeThose(func(c *conn) bool {
		since := time.Duration(c.rests.Load())
		return c.idle.Load() && since > 0 && time.Since(c.opened)-since >= rest
	})
}

func (l *listener) closeThose(which func(*conn) bool) {
	l.mu.Lock()
	list := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		if which(c) {
			list = append(list, c)
		}
	}
	l.mu.Unlock()
	for _, c := range list {
		_ = c.shut()
	}
}

// conn gives every phase of a connection its deadline. Hertz tells the phase by
// the deadlines it sets: none while a handler runs, one in the past to end its
// watch for a hang-up, one in the future before it reads.
type conn struct {
	net.Conn
	l        *listener
	idle     atomic.Bool   // between two requests
	rests    atomic.Int64  // nanoseconds since opened: since then it is, if it is; 0: it had no request yet
	headDone atomic.Bool   // the end of a head passed by
	handled  atomic.Bool   // a handler has the request: what is written is its answer
	tail     [3]byte       // last bytes read, for a head's end that was cut in two
	bodyEnd  time.Duration // since opened: when a body must be whole
	granted  int           // bytes of it for which no second was added yet
	once     sync.Once
	rest     time.Duration // how long the rest of a refused request is read before the connection is closed; 0: it is not

	opened time.Time
	until  time.Duration // since opened: until then the deadline for writes need not be set
}

var headEnd = []byte("\r\n\r\n")

// Read watches for the end of a head. Hertz reads from one goroutine at a time.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.idle.Store(false)
		switch {
		case c.headDone.Load():
			c.grant(n)
		case c.ends(p[:n]):
			c.headDone.Store(true)
			_ = c.beginBody() // an error shows at the next read
		}
	}
	return n, err
}

// beginBody sets the deadline of a body.
func (c *conn) beginBody() error {
	c.bodyEnd, c.granted = time.Since(c.opened)+c.l.body, 0
	return c.Conn.SetReadDeadline(c.opened.Add(c.bodyEnd))
}

// grant moves the deadline for n bytes of a body that came: a large one over a slow line is no attack.
func (c *conn) grant(n int) {
	if c.granted += n; c.granted >= bodyGrant {
		c.bodyEnd += time.Duration(c.granted/bodyGrant) * time.Second
		c.granted %= bodyGrant
		_ = c.Conn.SetReadDeadline(c.opened.Add(c.bodyEnd)) // an error shows at the next read
	}
}

// ends tells whether the end of a head lies in p or over its beginning.
func (c *conn) ends(p []byte) bool {
	var seam [6]byte
	n := copy(seam[:], c.tail[:])
	n += copy(seam[n:], p)
	found := bytes.Contains(seam[:n], headEnd) || bytes.Contains(p, headEnd)
	if len(p) >= len(c.tail) {
		copy(c.tail[:], p[len(p)-len(c.tail):])
	} else {
		copy(c.tail[:], c.tail[len(p):])
		copy(c.tail[len(c.tail)-len(p):], p)
	}
	return found
}

// SetReadDeadline takes Hertz's word for the phase, not for the time.
func (c *conn) SetReadDeadline(t time.Time) error {
	now := time.Now()
	switch {
	case t.IsZero(): // the handler begins; what is read from here on is the next request
		c.headDone.Store(false)
		c.handled.Store(true)
		c.tail = [3]byte{}
		return c.Conn.SetReadDeadline(t)
	case !t.After(now): // ends the watch
		return c.Conn.SetReadDeadline(t)
	case t.After(now.Add(idleTime - time.Second)): // waits for the next request
		c.rests.Store(int64(now.Sub(c.opened)))
		c.idle.Store(!c.headDone.Load())
		c.handled.Store(false)
		return c.Conn.SetReadDeadline(now.Add(idleTime))
	case c.headDone.Load():
		return c.beginBody()
	}
	return c.Conn.SetReadDeadline(now.Add(c.l.head))
}

// SetDeadline and SetWriteDeadline are the connection's own business.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: every write has its own limit.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Write sends p; writes come one at a time. What Hertz says of its own accord, before any handler, is an
// error answer in one piece: the documented one takes its place.
func (c *conn) Write(p []byte) (int, error) {
	if now := time.Since(c.opened); now >= c.until {
		c.until = now + writeSlack
		if err := c.Conn.SetWriteDeadline(c.opened.Add(c.until + writeTime)); err != nil {
			return 0, err
		}
	}
	if !c.handled.Load() && c.l.refused != nil && len(p) > 12 && bytes.HasPrefix(p, errorLine) {
		status := int(p[9]-'0')*100 + int(p[10]-'0')*10 + int(p[11]-'0')
		if _, err := c.Conn.Write(c.l.refused(status)); err != nil {
			return 0, err
		}
		switch status {
		case 408: // it had its time
		case 413:
			c.rest = c.l.body
		default:
			c.rest = c.l.head
		}
		return len(p), nil
	}
	return c.Conn.Write(p)
}

var errorLine = []byte("HTTP/1.1 4")

// Close is Hertz's. Behind a refusal the rest of the request is read first: a connection that is closed with bytes
// unread is reset, and the reset takes the answer from a client that is still sending (RFC 9112, section 9.6).
func (c *conn) Close() error {
	if rest := c.rest; rest > 0 {
		c.rest = 0
		c.drop(rest)
	}
	return c.shut()
}

// drop ends what goes out and reads what still comes, until the client closes, pauses, or has had its time.
func (c *conn) drop(rest time.Duration) {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	b := buf.Get(dropSize)
	defer buf.Put(b)
	end := time.Now().Add(rest)
	for left := restSize; left > 0; {
		now := time.Now()
		until := now.Add(restPause)
		if until.After(end) {
			until = end
		}
		if !until.After(now) || c.Conn.SetReadDeadline(until) != nil {
			return
		}
		n, err := c.Conn.Read(b.B[:cap(b.B)])
		if left -= n; err != nil {
			return
		}
	}
}

// dropSize is how much of what is dropped is read at once.
const dropSize = 64 << 10

// shut closes the connection at once.
func (c *conn) shut() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		l := c.l
		l.mu.Lock()
		delete(l.conns, c)
		l.cond.Signal()
		l.mu.Unlock()
	})
	return err
}
