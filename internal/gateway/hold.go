package gateway

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
)

// holdLimit is how many bytes of a stream min_hold_ms keeps back at the most;
// past it the stream goes on at once.
const holdLimit = 64 << 10

// hold keeps the beginning of a stream back for a known time
// (providers.fallback.min_hold_ms), so that an upstream that fails in it can
// still be replaced: until the time is over nothing reaches the window, so
// nothing is released. A failure in that time drops what came; the stream's end
// lets all of it go on.
//
// It costs one goroutine a stream, which ends when the body does; Close waits for it.
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
}

type part struct {
	b   []byte
	err error
}

func newHold(body io.ReadCloser, d time.Duration) *hold {
	h := &hold{body: body, until: time.NewTimer(d), parts: make(chan part), taken: make(chan struct{}), done: make(chan struct{}), kept: buf.Get(4 << 10)}
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
		if err != nil {
			return
		}
		select {
		case <-h.taken:
		case <-h.done:
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
		switch {
		case part.err == nil:
			h.taken <- struct{}{}
			h.over = h.over || len(h.kept.B) >= holdLimit
		case errors.Is(part.err, io.EOF):
			h.err, h.over = part.err, true
		case h.over:
			h.err = part.err
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
	buf.Put(h.kept)
}
