package upstream

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBreakerAgainstItsRules drives a breaker at random and checks each step
// against the rules written over the history of events, not over a state.
func TestBreakerAgainstItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opt := Breaker{Failures: rapid.IntRange(1, 4).Draw(t, "failures"), Cooldown: 10 * time.Second, HalfOpenMax: rapid.IntRange(1, 3).Draw(t, "half-open")}
		b := breaker{opt: &opt}
		now := time.Unix(1000, 0)
		var out []permit // attempts that run
		// The history since the last change of state.
		inRow, granted, good := 0, 0, 0
		opened := now
		state := Closed
		change := func(s BreakerState) {
			state, inRow, granted, good = s, 0, 0, 0
			if s == Opened {
				opened = now
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				want := true
				if state == Opened && now.Sub(opened) >= opt.Cooldown {
					change(HalfOpen)
				}
				switch state {
				case Opened:
					want = false
				case HalfOpen:
					want = granted < opt.HalfOpenMax
				}
				p, ok := b.allow(now)
				if ok != want {
					t.Fatalf("%v: allowed %v, want %v", state, ok, want)
				}
				if ok {
					if state == HalfOpen {
						granted++
					}
					out = append(out, p)
				}
			},
			"end": func(t *rapid.T) {
				if len(out) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				p := out[i]
				out = append(out[:i], out[i+1:]...)
				current := p.epoch == b.epoch
				switch kind := rapid.SampledFrom([]string{"ok", "fail", "neutral"}).Draw(t, "how"); kind {
				case "neutral":
					b.neutral(p)
					if current && state == HalfOpen {
						granted--
					}
				default:
					b.ended(p, kind == "ok", now, false)
					switch {
					case !current:
					case state == Closed && kind == "ok":
						inRow = 0
					case state == Closed:
						if inRow++; inRow == opt.Failures {
							change(Opened)
						}
					case state == HalfOpen && kind == "fail":
						change(Opened)
					case state == HalfOpen:
						if good++; good == opt.HalfOpenMax {
							change(Closed)
						}
					}
				}
			},
			"last try": func(t *rapid.T) {
				ok := rapid.Bool().Draw(t, "ok")
				b.ended(permit{}, ok, now, true)
				if ok && state != Closed {
					change(Closed)
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "s")) * time.Second) },
			"": func(t *rapid.T) {
				if b.state != state {
					t.Fatalf("breaker is %v, want %v", b.state, state)
				}
			},
		})
	})
}

func TestWindowForgets(t *testing.T) {
	w := window{span: time.Second}
	now := time.Unix(5000, 0)
	for i := range 100 {
		w.at(now.Add(time.Duration(i)*500*time.Millisecond)).calls++
	}
	end := now.Add(99 * 500 * time.Millisecond)
	if n := w.sum(end).calls; n != 20 {
		t.Errorf("%d calls in the last 10 s of 2 a second", n)
	}
	if n := w.sum(end.Add(time.Minute)).calls; n != 0 {
		t.Errorf("%d calls after a minute", n)
	}
}

func TestCostSaturates(t *testing.T) {
	p := Pricing{InputPer1K: 1_000_000, OutputPer1K: 1 << 60}
	if c := p.Cost(1500, 0); c != 1_500_000 {
		t.Error(c)
	}
	if c := p.Cost(0, 1<<60); c != 1<<63-1 {
		t.Error(c)
	}
}

// wireAnswer runs what a connection sends through the gate, cut at the given
// places, and gives the bytes that pass and whether it is bad.
func wireAnswer(sent []byte, cuts []byte) (out []byte, bad bool) {
	c := &wireConn{maxHead: 4096, st: wireHead, length: -1}
	for len(sent) > 0 {
		n := len(sent)
		if len(cuts) > 0 {
			n = min(n, int(cuts[0])+1)
			cuts = cuts[1:]
		}
		good, err := c.scan(sent[:n])
		out = append(out, sent[:good]...)
		if err != nil {
			return out, true
		}
		sent = sent[n:]
	}
	return out, false
}

var wireCases = []struct {
	sent  string
	bad   bool
	whole bool // all bytes pass
}{
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, true},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nT: v\r\n\r\n", false, true},
	{"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", false, true},
	{"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", false, true},
	{"HTTP/1.0 200 OK\r\n\r\nuntil the end", false, true},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", true, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", true, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", true, false},
	{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", true, false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", true, false},
	{"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\n: b\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n", true, false},
	{"HTTP/2.0 200 OK\r\n\r\n", true, false},
	{"HTTP/1.1 099 x\r\n\r\n", true, false},
	{"HTTP/1.1 101 Switching\r\n\r\n", true, false},
	{"HTTP/1.1 2x0 x\r\n\r\n", true, false},
	{"<html>", false, true}, // the line has no end yet: net/http waits, and times out
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhii\r\n", true, false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", true, false},
}

func TestWireAcceptsOnlyStrictAnswers(t *testing.T) {
	for _, c := range wireCases {
		out, bad := wireAnswer([]byte(c.sent), nil)
		if bad != c.bad || (string(out) == c.sent) != c.whole {
			t.Errorf("%q: bad %v, passed %q", c.sent, bad, out)
		}
	}
}

// FuzzWireDoesNotDependOnTheCut: the same answers are good and bad, however the
// bytes arrive, and no byte behind an answer passes.
func FuzzWireDoesNotDependOnTheCut(f *testing.F) {
	for _, c := range wireCases {
		f.Add([]byte(c.sent), []byte{0, 1, 2, 0, 5, 0, 0, 0})
		f.Add([]byte(c.sent), make([]byte, len(c.sent)))
	}
	f.Fuzz(func(t *testing.T, sent, cuts []byte) {
		whole, bad := wireAnswer(sent, nil)
		cut, cutBad := wireAnswer(sent, cuts)
		if bad != cutBad {
			t.Fatalf("%q cut at %v: bad %v, in one piece %v", sent, cuts, cutBad, bad)
		}
		if !bad && string(whole) != string(cut) {
			t.Fatalf("%q cut at %v: passed %q, in one piece %q", sent, cuts, cut, whole)
		}
		if len(cut) > len(sent) || string(sent[:len(cut)]) != string(cut) || len(whole) > len(sent) || string(sent[:len(whole)]) != string(whole) {
			t.Fatal("bytes were changed")
		}
	})
}

func TestWireAllocatesNothingPerRead(t *testing.T) {
	sent := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")
	c := &wireConn{maxHead: 4096}
	if n := testing.AllocsPerRun(1000, func() {
		c.st, c.lines, c.chunked, c.length = wireHead, 0, false, -1
		if good, err := c.scan(sent); good != len(sent) || err != nil || c.st != wireIdle {
			t.Fatal(good, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAddressKinds(t *testing.T) {
	for _, pub := range []string{"8.8.8.8", "1.1.1.1", "2606:4700::1111", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "64:ff9b::808:808"} {
		if k := addressKind(mustAddr(pub)); k != "" {
			t.Errorf("%s counts as %s", pub, k)
		}
	}
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
