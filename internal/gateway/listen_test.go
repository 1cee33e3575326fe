package gateway

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// flaky fails some Accepts first.
type flaky struct {
	net.Listener
	fails int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.fails > 0 {
		f.fails--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestAcceptWaitsOutErrorsAndEndsOnlyWhenClosed(t *testing.T) {
	told := 0
	l := newListener(&flaky{listen(t), 4}, 10, func(error) { told++ })
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if l.count() != 1 {
		t.Errorf("%d connections", l.count())
	}
	_ = c.Close()
	_ = c.Close()
	if l.count() != 0 {
		t.Errorf("%d connections after close", l.count())
	}
	done := make(chan error)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	_ = l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after close: %v", err) // Hertz looks for the word
	}
}

func TestTheConnectionCapHoldsNewOnesBack(t *testing.T) {
	l := newListener(listen(t), 1, func(error) {})
	defer l.Close()
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			second <- c
		}
	}()
	select {
	case <-second:
		t.Fatal("a second connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = (<-second).Close()
}

func TestASlowHeadAndASlowBodyAreCutOff(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		head, body time.Duration
	}{
		{"nothing", "", 30 * time.Millisecond, time.Hour},
		{"part of a head", "POST / HTTP/1.1\r\nHost: x\r\n", 30 * time.Millisecond, time.Hour},
		{"part of a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", time.Hour, 30 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newListener(listen(t), 1, func(error) {})
			defer l.Close()
			l.head, l.body = c.head, c.body
			dialled, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer dialled.Close()
			if c.head == time.Hour {
				_, _ = io.WriteString(dialled, c.sent)
			}
			k, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			if c.head != time.Hour {
				_, _ = io.WriteString(dialled, c.sent)
			}
			// The deadline is one for the whole phase: bytes that drip in do not move it.
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
						if c.sent != "" {
							_, _ = io.WriteString(dialled, "x")
						}
					}
				}
			}()
			_, err = io.Copy(io.Discard, k)
			close(stop)
			<-done
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("read ended with %v", err)
			}
		})
	}
}

// A large body over a slow line has its time, as long as it comes.
func TestABodyThatComesHasMoreTime(t *testing.T) {
	l := newListener(listen(t), 1, func(error) {})
	defer l.Close()
	l.body = 50 * time.Millisecond
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	k, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	const head, size = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 524288\r\n\r\n", 512 << 10
	go func() {
		_, _ = io.WriteString(dialled, head+strings.Repeat("x", size/2))
		time.Sleep(4 * l.body)
		_, _ = io.WriteString(dialled, strings.Repeat("x", size/2))
	}()
	if n, err := io.ReadFull(k, make([]byte, len(head)+size)); err != nil {
		t.Errorf("cut off after %d bytes: %v", n, err)
	}
}

func TestTheEndOfAHeadIsSeenWhereverItIsCut(t *testing.T) {
	const head = "POST /v1/x HTTP/1.1\r\nHost: x\r\n\r\n"
	for step := 1; step <= len(head); step++ {
		var c conn
		for i := 0; i < len(head); i += step {
			part := head[i:min(i+step, len(head))]
			if got, want := c.ends([]byte(part)), i+len(part) == len(head); got != want {
				t.Fatalf("pieces of %d: at %d got %v", step, i, got)
			}
		}
	}
}

func TestOnlyConnectionsThatRestAreClosed(t *testing.T) {
	l := newListener(listen(t), 10, func(error) {})
	t.Cleanup(func() { _ = l.Close(); l.closeIdle(true) })
	var clients [3]net.Conn
	var conns [3]net.Conn
	for i := range clients {
		var err error
		if clients[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
		if conns[i], err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	await := func(c net.Conn) { _ = c.SetReadDeadline(time.Now().Add(idleTime)) } // as Hertz does behind an answer
	await(conns[1])
	await(conns[2])
	if _, err := clients[2].Write([]byte("GET ")); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[2].Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if l.closeRested(time.Hour); l.count() != 3 {
		t.Errorf("%d connections, 3 have not rested for an hour", l.count())
	}
	l.closeRested(0) // the first has had no request yet, the third is in one
	if l.count() != 2 {
		t.Errorf("%d connections are left, want 2", l.count())
	}
	if _, err := clients[1].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the one that rested: %v", err)
	}
}
