package gateway

import (
	"errors"
	"strconv"

	"github.com/cloudwego/hertz/pkg/app"

	"github.com/keeptrusts/kt/internal/buf"
)

// errCut makes Hertz close the connection of an answer that is not whole,
// instead of writing the end of the chunked body, which would make it look so.
var errCut = errors.New("answer is not whole")

// smallBody is the largest body that is copied behind its head, so that both
// leave in one write.
const smallBody = 64 << 10

// writer writes an answer to the connection while the handler runs: what it was
// given is not read after a call returns, and a client that is gone shows at
// once. It takes the place of Hertz's own writing of the response. Belongs to
// one request; calls may come from different goroutines, one at a time.
type writer struct {
	c       *app.RequestContext
	begun   bool
	chunked bool
	last    bool // the next write is the last: the end goes with it
	whole   bool
	err     error
	wrote   int64 // of the body
	first   func()
}

// begin hangs w into the response. The status and headers are set before.
func (w *writer) begin(c *app.RequestContext) {
	*w = writer{c: c, first: w.first}
	c.Response.HijackWriter(w)
}

// head appends the response's head. length below 0: not known.
func (w *writer) head(b []byte, length int) []byte {
	h := &w.c.Response.Header
	if w.c.Request.Header.ConnectionClose() {
		h.SetConnectionClose(true)
	}
	switch {
	case length >= 0:
		h.SetContentLength(length)
		if !w.c.Request.Header.IsHTTP11() && !h.ConnectionClose() {
			h.Set("Connection", "keep-alive")
		}
	case w.c.Request.Header.IsHTTP11():
		h.SetContentLength(-1)
		w.chunked = true
	default: // HTTP/1.0 knows no chunks: the end of the connection ends the body, and no header says so (RFC 9112, section 6.1)
		h.SetConnectionClose(true)
	}
	w.begun = true
	b = h.AppendBytes(b)
	if w.first != nil {
		w.first()
	}
	return b
}

// body writes a whole answer.
func (w *writer) body(p []byte) error {
	b := buf.Get(1024 + min(len(p), smallBody))
	defer buf.Put(b)
	b.B = w.head(b.B, len(p))
	w.wrote = int64(len(p))
	if len(p) <= smallBody {
		b.B = append(b.B, p...)
		w.send(b.B)
	} else {
		w.send(b.B)
		w.send(p)
	}
	w.whole = w.err == nil
	return w.err
}

// Write implements stream.Client: one piece of a stream, in one write to the connection.
func (w *writer) event(p []byte) error {
	b := buf.Get(len(p) + 512)
	defer buf.Put(b)
	if !w.begun {
		b.B = w.head(b.B, -1)
	}
	if w.chunked {
		b.B = strconv.AppendInt(b.B, int64(len(p)), 16)
		b.B = append(b.B, '\r', '\n')
	}
	b.B = append(b.B, p...)
	if w.chunked {
		b.B = append(b.B, '\r', '\n')
		if w.last {
			b.B = append(b.B, "0\r\n\r\n"...)
		}
	}
	w.send(b.B)
	w.wrote += int64(len(p))
	w.whole = w.last && w.err == nil
	return w.err
}

func (w *writer) send(p []byte) {
	if w.err == nil {
		_, w.err = w.c.GetConn().Write(p)
	}
}

// client is the relay's view of the writer.
type client struct{ w *writer }

func (c client) Write(p []byte) error { return c.w.event(p) }

// Write, Flush and Finalize are network.ExtWriter. Only Finalize is called.
func (w *writer) Write(p []byte) (int, error) { return 0, errCut }

// Flush has nothing to do: every write is sent at once.
func (w *writer) Flush() error { return w.err }

// Finalize is Hertz's end of the response: an answer that is not whole must not look so.
//
// Behind an error Hertz gives the connection's read buffer back at once, while the goroutine that
// watches for a hang-up may still read into it. Only without one does it end that watch first, so here it is ended.
func (w *writer) Finalize() error {
	err := w.err
	if err == nil && !w.whole {
		err = errCut
	}
	if err != nil {
		if c, ok := w.c.GetConn().(watched); ok {
			c.AbortBlockingRead()
		}
	}
	return err
}

// watched is Hertz's connection while a handler runs (server.WithSenseClientDisconnection, no streamed bodies).
// AbortBlockingRead may be called once for each request; Hertz does where Finalize gives no error.
type watched interface{ AbortBlockingRead() }
