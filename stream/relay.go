package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/stream/sse"
)

// Client is the writing side of a relay.
type Client interface {
	// Write sends p and flushes it: p is not read after it returns. The first
	// call begins the answer (status and header); it comes at the commit point.
	Write(p []byte) error
}

// Defaults of a relay.
const (
	DefaultKeepAlive    = 15 * time.Second // silence towards the client after which a comment is sent
	DefaultBetweenBytes = 60 * time.Second // silence of upstream after which the stream is given up
	DefaultReadSize     = 1 << 10          // bytes of one upstream read: an event or three
)

// burstRead is the size in bytes of an upstream read that follows one that filled at least half of its buffer: where
// much is there at once, fewer reads and writes move it. Most streams never come to it, and a slow client makes a stream
// keep three such buffers (read, out, written) at the most.
const burstRead = 16 << 10

// slowRead is how many bytes a read brings at least while reads stay larger than usual.
const slowRead = 2 << 10

// Errors of a relay, besides those of a Window.
var (
	ErrClientGone = errors.New("the client went away")
	ErrSilent     = errors.New("upstream was silent for too long")
)

// Relay moves a stream from an upstream body through a Window to a client.
// Zero durations take the defaults, negative ones switch the thing off.
type Relay struct {
	Window       *Window // reset
	Body         io.ReadCloser
	Client       Client
	KeepAlive    time.Duration
	BetweenBytes time.Duration
	ReadSize     int
	// EndOf, when not nil, says how a stream ended from which reading failed with
	// err; without it that is EndUpstreamError.
	EndOf func(err error) End
	// BeforeEnd, when not nil, is called once, before the last bytes go to the
	// client, while nothing is written to it: the place for the terminal record. It is not called when nothing was
	// committed or when the client went away: then Run's return is the place.
	BeforeEnd func(*Report)
}

// pulse is the one timer of a relay: it keeps the client's connection alive and
// bounds the silence of upstream. Its times are since began: that reads one
// clock instead of two.
type pulse struct {
	r     *Relay
	began time.Time
	// read is when the last bytes came from upstream, or were asked for, times
	// two; plus one while that is waited for: only then does silence count. Or silent.
	read atomic.Int64
	gone atomic.Bool // err is set

	mu        lock
	timer     *time.Timer
	wrote     time.Duration // last bytes to the client
	committed bool
	stopped   bool
	err       error // of a write
	idle      sync.WaitGroup
}

// silent is pulse.read once upstream was given up.
const silent = -1

// lock is a mutex that testing/synctest counts as blocked while it waits: the
// timer's goroutine may wait for a write to a slow client.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

var keepAlive = sse.AppendComment(nil, []byte("keep-alive"))

// Run relays until the end. It closes the body. An error says why the answer
// is not whole: those of the Window, ErrClientGone, ErrSilent, or what reading
// gave. While the window is not committed, nothing was written and the caller
// may still answer in another way. ctx ends it like a client that goes away.
//
// One goroutine (the caller's) and one timer; no read from upstream happens
// while a write to the client blocks, so that a slow client slows upstream down.
func (r *Relay) Run(ctx context.Context) error {
	p := &pulse{r: r, mu: make(lock, 1), began: time.Now()}
	p.start()
	closeBody := r.closing(ctx)
	err := r.loop(ctx, p)
	p.stop()
	closeBody()
	return err
}

// closing has the body closed when ctx ends, or by the function that it gives.
//
//go:noinline
func (r *Relay) closing(ctx context.Context) (now func()) {
	closeBody := sync.OnceFunc(func() { r.Body.Close() })
	stop := context.AfterFunc(ctx, closeBody)
	return func() {
		stop()
		closeBody()
	}
}

func (r *Relay) loop(ctx context.Context, p *pulse) error {
	w := r.Window
	usual := orDefault(r.ReadSize, DefaultReadSize)
	size := usual
	b := buf.Get(size)
	defer func() { buf.Put(b) }()
	givenUp := false
	now := time.Duration(0) // the clock is read twice for each upstream read, and once more for each write
	for {
		asked := now
		p.ask(asked)
		n, err := r.Body.Read(b.B[:size])
		came, silent, gone := p.got()
		givenUp = givenUp || silent // it may have brought bytes at that moment
		rep := w.Report()
		rep.Waited += came - asked
		w.now, w.fresh = came, 0
		if ctx.Err() != nil || gone {
			w.over(EndClientGone, ErrClientGone)
			return ErrClientGone
		}
		if n > 0 {
			_ = w.Write(b.B[:n]) // kept by the window, read below
		}
		if err != nil && !w.Done() {
			r.ended(err, givenUp)
		}
		now = time.Since(p.began)
		rep.Worked += now - came
		rep.Delays.Add(now-came, w.fresh)
		if w.Done() && w.Committed() && r.BeforeEnd != nil {
			if err := p.ending(); err != nil {
				return r.left(err)
			}
			r.BeforeEnd(w.Report())
		}
		if out := w.Out(); out != nil {
			wrote, err := p.write(out)
			if err != nil {
				return r.left(err)
			}
			rep.Wrote += wrote - now
			now = wrote
			w.Sent()
		}
		if w.Done() {
			return w.err
		}
		if next := nextRead(usual, size, n); next != size {
			buf.Put(b)
			size = next
			b = buf.Get(size)
		}
	}
}

// nextRead is the size of the read that follows one of n bytes, for which there
// was room for size: four times as large while reads fill half of their room, and
// the usual one when little comes, so that a stream that waits holds little.
func nextRead(usual, size, n int) int {
	switch {
	case n >= size/2:
		return max(size, min(4*size, burstRead))
	case n >= slowRead:
		return size
	}
	return usual
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// ended has the window end the answer for the reason that reading ended.
//
//go:noinline
func (r *Relay) ended(err error, givenUp bool) {
	switch w := r.Window; {
	case givenUp:
		_ = w.Finish(EndTimeout, ErrSilent)
	case errors.Is(err, io.EOF):
		_ = w.Finish(EndNone, nil)
	default:
		end := EndUpstreamError
		if r.EndOf != nil {
			end = r.EndOf(err)
		}
		_ = w.Finish(end, fmt.Errorf("read answer: %w", err))
	}
}

// left notes that the client is gone, by the error of a write.
//
//go:noinline
func (r *Relay) left(err error) error {
	r.Window.over(EndClientGone, ErrClientGone)
	return fmt.Errorf("%w: %w", ErrClientGone, err)
}

// next is how long nothing has to be done; 0 when there is nothing to wait for.
func (p *pulse) next(now time.Duration) time.Duration {
	d := time.Duration(0)
	if k := orDefault(p.r.KeepAlive, DefaultKeepAlive); k > 0 && p.committed {
		d = max(k-(now-p.wrote), time.Millisecond)
	} else if k > 0 {
		d = k // a commit may come meanwhile
	}
	if k := orDefault(p.r.BetweenBytes, DefaultBetweenBytes); k > 0 {
		if left := max(k-(now-time.Duration(p.read.Load()>>1)), time.Millisecond); d == 0 || left < d {
			d = left
		}
	}
	return d
}

func (p *pulse) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.next(0); d > 0 {
		p.idle.Add(1)
		p.timer = time.AfterFunc(d, p.fire)
	}
}

// fire runs on the timer's goroutine; stop waits for it.
func (p *pulse) fire() {
	defer p.idle.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	now, read := time.Since(p.began), p.read.Load()
	reading := read&1 != 0
	if k := orDefault(p.r.BetweenBytes, DefaultBetweenBytes); k > 0 && now-time.Duration(read>>1) >= k {
		if reading && p.read.CompareAndSwap(read, silent) {
			p.r.Body.Close() // ends the read
			return
		}
		if !reading {
			p.read.CompareAndSwap(read, int64(now)<<1) // the client is slow, not upstream
		}
	}
	if k := orDefault(p.r.KeepAlive, DefaultKeepAlive); k > 0 && p.committed && reading && p.err == nil && now-p.wrote >= k {
		p.wrote = now
		if p.err = p.r.Client.Write(keepAlive); p.err != nil {
			p.gone.Store(true)
			p.r.Body.Close() // the client is gone: end the read
			return
		}
	}
	p.idle.Add(1)
	p.timer.Reset(p.next(now))
}

// ask notes that a read of upstream begins.
func (p *pulse) ask(now time.Duration) { p.read.Store(int64(now)<<1 | 1) }

// got notes that a read ended, and tells when, and whether upstream was given up
// or the client is gone.
func (p *pulse) got() (now time.Duration, givenUp, gone bool) {
	now = time.Since(p.began)
	return now, p.read.Swap(int64(now)<<1) == silent, p.gone.Load()
}

// write gives out to the client, and when that was done.
func (p *pulse) write(out []byte) (done time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.committed = true
		p.err = p.r.Client.Write(out)
		p.wrote = time.Since(p.began)
	}
	return p.wrote, p.err
}

// ending lets no more comments go out, and waits for one that is on its way: the
// next write is the last one, and BeforeEnd may prepare the client for it.
func (p *pulse) ending() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	return p.err
}

// stop ends the timer and waits for its goroutine.
func (p *pulse) stop() {
	p.mu.Lock()
	p.stopped = true
	if p.timer != nil && p.timer.Stop() {
		p.idle.Done()
	}
	p.mu.Unlock()
	p.idle.Wait()
}
