package gateway

import (
	"errors"
	"testing"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/network"
)

// watchedConn counts how often the watch for a hang-up is ended.
type watchedConn struct {
	network.Conn
	fails error
	ended int
}

func (c *watchedConn) Write(p []byte) (int, error) { return len(p), c.fails }
func (c *watchedConn) AbortBlockingRead()          { c.ended++ }

// Hertz ends its watch itself behind an answer without an error, and waits for it to end: a second call would never return.
func TestTheWatchForAHangUpEndsBeforeTheBufferIsGivenBack(t *testing.T) {
	gone := errors.New("gone")
	for _, c := range []struct {
		name  string
		fails error
		write func(w *writer)
		want  error
		ended int
	}{
		{"whole", nil, func(w *writer) { _ = w.body([]byte("{}")) }, nil, 0},
		{"stream", nil, func(w *writer) { _ = w.event([]byte("a")); w.last = true; _ = w.event([]byte("b")) }, nil, 0},
		{"cut", nil, func(w *writer) { _ = w.event([]byte("a")) }, errCut, 1},
		{"client gone", gone, func(w *writer) { _ = w.body([]byte("{}")) }, gone, 1},
		{"client gone in a stream", gone, func(w *writer) { _ = w.event([]byte("a")); w.last = true; _ = w.event([]byte("b")) }, gone, 1},
	} {
		conn := &watchedConn{fails: c.fails}
		ctx := app.NewContext(0)
		ctx.SetConn(conn)
		var w writer
		w.begin(ctx)
		c.write(&w)
		if err := w.Finalize(); !errors.Is(err, c.want) || conn.ended != c.ended {
			t.Errorf("%s: %v, ended %d times", c.name, err, conn.ended)
		}
	}
}
