package stream_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
)

// body is an upstream that sends what it is told to; Close ends a read.
type body struct {
	in     chan string
	rest   string
	closed chan struct{}
	once   sync.Once
}

func newBody() *body { return &body{in: make(chan string), closed: make(chan struct{})} }

func (b *body) Read(p []byte) (int, error) {
	if b.rest == "" {
		select {
		case s, ok := <-b.in:
			if !ok {
				return 0, io.EOF
			}
			b.rest = s
		case <-b.closed:
			return 0, errors.New("read on a closed body")
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// client keeps what it gets.
type client struct {
	mu   sync.Mutex
	out  strings.Builder
	n    int
	fail int // fails at this write
	slow time.Duration
}

func (c *client) Write(p []byte) error {
	time.Sleep(c.slow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == c.fail {
		return errors.New("broken pipe")
	}
	c.out.Write(p)
	return nil
}

func (c *client) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func startRelay(ctx context.Context, chain pipeline.Chain, b io.ReadCloser, c *client) (result func() error, w *stream.Window) {
	var x pipeline.Exchange
	x.Begin(chain, &pipeline.Facts{}, &pipeline.Findings{})
	w = new(stream.Window)
	w.Reset(stream.Options{Dialect: chat, Exchange: &x, RequestID: "r"})
	done := make(chan error, 1)
	r := &stream.Relay{Window: w, Body: b, Client: c}
	go func() { done <- r.Run(ctx) }()
	return func() error { return <-done }, w
}

const alive = ": keep-alive\n\n"

func TestOneReadIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{}
		wait, _ := startRelay(t.Context(), newChain(), b, c)
		b.in <- content(0, "a") + content(0, "b") + content(0, "c")
		synctest.Wait()
		if c.n != 1 {
			t.Fatalf("%d writes for one read", c.n)
		}
		b.in <- finish(0, "stop") + done
		if err := wait(); err != nil || c.n != 2 || !strings.HasSuffix(c.String(), done) {
			t.Fatalf("%v, %d writes", err, c.n)
		}
	})
}

// sized is an upstream that brings as much as is asked for, up to what it has
// for each read.
type sized struct {
	has   []int
	text  string
	asked []int
}

func (b *sized) Read(p []byte) (int, error) {
	if b.asked = append(b.asked, len(p)); len(b.has) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.text[:min(b.has[0], len(b.text))])
	b.has, b.text = b.has[1:], b.text[n:]
	return n, nil
}

func (b *sized) Close() error { return nil }

func TestReadsAreLargeOnlyWhileMuchComes(t *testing.T) {
	const small, large, burst = stream.DefaultReadSize, 4 * stream.DefaultReadSize, 16 * stream.DefaultReadSize
	in := strings.Repeat(content(0, "some words"), 1000)
	b := &sized{has: []int{100, small, large, 3000, 500, 100, small, 100, 100}, text: in}
	want := []int{small, small, large, burst, burst, small, small, large, small, small}
	c := &client{}
	wait, _ := startRelay(t.Context(), newChain(), b, c)
	if err := wait(); !errors.Is(err, stream.ErrCut) {
		t.Fatal(err)
	}
	if !slices.Equal(b.asked, want) {
		t.Errorf("asked for %v bytes, want %v", b.asked, want)
	}
	if got := c.String(); !strings.HasPrefix(in, got[:strings.Index(got, "data: {\"error\"")]) {
		t.Error("other bytes out")
	}
}

func TestKeepAliveOnlyAfterTheCommitPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{}
		wait, _ := startRelay(t.Context(), newChain(word{text: "zzz", action: pipeline.Block}), b, c)
		b.in <- role(0)
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if c.String() != "" {
			t.Fatalf("before the commit point: %q", c.String())
		}
		b.in <- content(0, "a")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if want := role(0) + content(0, "a") + alive + alive; c.String() != want {
			t.Fatalf("got %q", c.String())
		}
		b.in <- finish(0, "stop")
		time.Sleep(14 * time.Second)
		b.in <- done
		if err := wait(); err != nil || strings.Count(c.String(), alive) != 2 {
			t.Fatalf("%v %q", err, c.String())
		}
	})
}

func TestSilentUpstreamIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{}
		wait, w := startRelay(t.Context(), newChain(), b, c)
		b.in <- content(0, "a")
		start := time.Now()
		if err := wait(); !errors.Is(err, stream.ErrSilent) {
			t.Fatal(err)
		}
		if d := time.Since(start); d != stream.DefaultBetweenBytes {
			t.Fatalf("after %v", d)
		}
		if a := read(t, []byte(strings.ReplaceAll(c.String(), alive, ""))); a.failed != "timeout" || w.Report().End != stream.EndTimeout {
			t.Fatalf("%+v", a)
		}
	})
}

// late brings bytes with the end of a read that was given up.
type late struct {
	*body
	said bool
}

func (b *late) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && !b.said {
		b.said = true
		return copy(p, ": late"), nil
	}
	return n, err
}

// TestBytesOfTheLastMomentAreStillSilence: who was given up stays so.
func TestBytesOfTheLastMomentAreStillSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{}
		wait, w := startRelay(t.Context(), newChain(), &late{body: b}, c)
		b.in <- content(0, "a")
		if err := wait(); !errors.Is(err, stream.ErrSilent) || w.Report().End != stream.EndTimeout {
			t.Fatal(err, w.Report().End)
		}
	})
}

func TestASlowClientIsNotUpstreamsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{slow: 100 * time.Second}
		wait, _ := startRelay(t.Context(), newChain(), b, c)
		b.in <- content(0, "a")
		b.in <- finish(0, "stop") + done
		if err := wait(); err != nil || strings.Contains(c.String(), alive) {
			t.Fatalf("%v %q", err, c.String())
		}
	})
}

func TestAClientThatGoesAwayEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{fail: 2}
		wait, w := startRelay(t.Context(), newChain(), b, c)
		b.in <- content(0, "a")
		b.in <- content(0, "b")
		if err := wait(); !errors.Is(err, stream.ErrClientGone) || w.Report().End != stream.EndClientGone {
			t.Fatal(err)
		}
		<-b.closed
	})
	synctest.Test(t, func(t *testing.T) { // seen by the keep-alive
		b, c := newBody(), &client{fail: 2}
		wait, _ := startRelay(t.Context(), newChain(), b, c)
		b.in <- content(0, "a")
		if err := wait(); !errors.Is(err, stream.ErrClientGone) {
			t.Fatal(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // told by the context
		ctx, cancel := context.WithCancel(t.Context())
		b, c := newBody(), &client{}
		wait, _ := startRelay(ctx, newChain(), b, c)
		b.in <- content(0, "a")
		synctest.Wait()
		before := time.Now()
		cancel()
		if err := wait(); !errors.Is(err, stream.ErrClientGone) || time.Since(before) != 0 {
			t.Fatalf("%v after %v", err, time.Since(before))
		}
	})
}

func TestBeforeEndComesBeforeTheLastBytes(t *testing.T) {
	b, c := newBody(), &client{}
	var x pipeline.Exchange
	x.Begin(newChain(), &pipeline.Facts{}, &pipeline.Findings{})
	var w stream.Window
	w.Reset(stream.Options{Dialect: chat, Exchange: &x})
	calls := 0
	r := &stream.Relay{Window: &w, Body: b, Client: c, BeforeEnd: func(rep *stream.Report) {
		calls++
		if strings.Contains(c.String(), "[DONE]") || rep.End != stream.EndDone {
			t.Errorf("end %v, the client has %q", rep.End, c.String())
		}
	}}
	go func() { b.in <- content(0, "a") + finish(0, "stop"); b.in <- done }()
	if err := r.Run(t.Context()); err != nil || calls != 1 {
		t.Fatalf("%v, %d calls", err, calls)
	}
}

// A comment that is on its way when the answer ends is written before the end is prepared: the end of a chunked body
// must not go out with it.
func TestBeforeEndWaitsForACommentOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newBody(), &client{slow: 10 * time.Second}
		var x pipeline.Exchange
		x.Begin(newChain(), &pipeline.Facts{}, &pipeline.Findings{})
		var w stream.Window
		w.Reset(stream.Options{Dialect: chat, Exchange: &x})
		before := ""
		r := &stream.Relay{Window: &w, Body: b, Client: c, BetweenBytes: -1, BeforeEnd: func(*stream.Report) {
			before = c.String()
			time.Sleep(time.Minute)
		}}
		first := content(0, "a") + finish(0, "stop")
		go func() {
			b.in <- first
			time.Sleep(30 * time.Second) // written at 10 s; the comment goes out from 25 s to 35 s
			b.in <- done
		}()
		if err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if before != first+alive || c.String() != first+alive+done {
			t.Errorf("before the end %q, then %q", before, c.String())
		}
	})
}

func TestNoGoroutineStaysAfterAThousandAbortedStreams(t *testing.T) {
	before := runtime.NumGoroutine()
	for i := range 1000 {
		ctx, cancel := context.WithCancel(context.Background())
		b, c := newBody(), &client{}
		wait, w := startRelay(ctx, newChain(word{text: "secret", action: pipeline.Redact}), b, c)
		b.in <- role(0) + content(0, "a sec")
		if i%2 == 0 {
			cancel()
		} else {
			close(b.in)
		}
		if err := wait(); err == nil {
			t.Fatal("an aborted stream is no error")
		}
		cancel()
		w.Close()
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
