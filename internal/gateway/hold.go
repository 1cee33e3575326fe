package gateway

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/sse"
)

// holdLimit is how many bytes of a stream min_hold_ms keeps back at the most;
// past it the stream goes on at once.
const holdLimit = 64 << 10

// hold keeps the beginning of a stream back for a known time
// (providers.fallback.min_hold_ms), so that an upstream that fails in it can
// still be replaced: until the time is over nothing reaches the window, so
// nothing is released. A failure in that time (of the connection, an error event,
// an event that is not valid, an end without the end marker) drops what came
// before it; the stream's proper end lets all of it go on.
//
// It costs one goroutine a stream, which ends when the body does; Close waits for
// it. What is kept is parsed once more than without it.
type hold struct {
	body  io.ReadCloser
	until *time.Timer
	parts chan part
	taken chan struct{} // a part was used up: its buffer may be read into again
	done  chan struct{} // closed by Close
	once  sync.Once
	wg    sync.WaitGroup

	kept *buf.Buffer // what was held; then what is left of it
	at   int
	over bool  // the time is over
	err  error // behind what is kept

	look look
}

// look reads what is kept, to see whether it fails.
type look struct {
	d       dialect.Dialect
	framer  sse.Framer
	scratch dialect.Scratch
	stream  dialect.Stream
	chunk   dialect.Chunk
	at      int  // read up to there
	event   int  // where the event that is read begins
	done    bool // the end marker came
}

// fails tells whether an event of kept ends the stream before its end, and where
// that event begins.
func (l *look) fails(kept []byte) (at int, failed bool) {
	for l.at < len(kept) && !l.done {
		ev, n, ok, err := l.framer.Next(kept[l.at:])
		l.at += n
		switch {
		case err != nil:
			return l.event, true
		case !ok:
			continue
		case l.d.ParseEvent(&l.scratch, &l.stream, ev.Name, ev.Data, &l.chunk) != nil:
			return l.event, true
		case l.chunk.Terminal:
			l.done = true
		case l.chunk.HasError:
			return l.event, true
		}
		l.event = l.at
	}
	return 0, false
}

// ended tells that the stream may end here.
func (l *look) ended() bool { return l.done || l.stream.AllFinished() }

type part struct {
	b   []byte
	err error
}

func newHold(body io.ReadCloser, d time.Duration, api dialect.Dialect) *hold {
	h := &hold{look: look{d: api}, body: body, until: time.NewTimer(d), parts: make(chan part), taken: make(chan struct{}), done: make(chan struct{}), kept: buf.Get(4 << 10)}
	h.wg.Go(h.pump)
	return h
}

func (h *hold) pump() {
	b := buf.Get(4 << 10)
	defer buf.Put(b)
	space := b.B[:cap(b.B)]
	for {
		n, err := h.body.Read(space)
		select {
		case h.parts <- part{space[:n], err}:
		case <-h.done:
			return
		}
		select { // the last part too is read before its buffer goes back
		case <-h.taken:
		case <-h.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read gives nothing before the time is over, the body has ended, or holdLimit
// bytes are kept.
func (h *hold) Read(p []byte) (int, error) {
	for {
		if h.over && h.at < len(h.kept.B) {
			n := copy(p, h.kept.B[h.at:])
			h.at += n
			return n, nil
		}
		if h.over && h.err != nil {
			return 0, h.err
		}
		var part part
		if h.over {
			h.kept.B, h.at = h.kept.B[:0], 0
			part = <-h.parts
		} else {
			select {
			case part = <-h.parts:
			case <-h.until.C:
				h.over = true
				continue
			}
		}
		buf.Grow(h.kept, len(part.b))
		h.kept.B = append(h.kept.B, part.b...)
		h.taken <- struct{}{}
		if h.over {
			h.err = part.err
			continue
		}
		at, failed := h.look.fails(h.kept.B)
		switch {
		case failed: // in time: of what came only the event counts that says so
			h.kept.B, h.err, h.over = h.kept.B[:copy(h.kept.B, h.kept.B[at:])], io.EOF, true
		case part.err == nil:
			h.over = len(h.kept.B) >= holdLimit
		case errors.Is(part.err, io.EOF) && h.look.ended():
			h.err, h.over = part.err, true
		default: // it failed in time: nothing of it counts
			h.kept.B, h.err, h.over = h.kept.B[:0], part.err, true
		}
	}
}

// Close closes the body and may be called while Read waits.
func (h *hold) Close() error {
	var err error
	h.once.Do(func() { err = h.body.Close() })
	return err
}

// end waits for the goroutine; Read and Close are over.
func (h *hold) end() {
	close(h.done)
	_ = h.Close() // closed already, but for a relay that never ran
	h.wg.Wait()
	h.until.Stop()
	h.look.framer.Close()
	buf.Put(h.kept)
}
