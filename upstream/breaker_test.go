package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
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

// wireAnswer takes apart what a connection sends, cut at the given places. It
// gives the body, and whether the connection is bad: past use for this answer
// or, with extra bytes, for another one.
func wireAnswer(sent []byte, cuts []byte) (body []byte, bad bool) {
	c := new(wire)
	c.begin(4096)
	for len(sent) > 0 {
		n := len(sent)
		if len(cuts) > 0 {
			n = min(n, int(cuts[0])+1)
			cuts = cuts[1:]
		}
		part := bytes.Clone(sent[:n])
		k, err := c.decode(part)
		body = append(body, part[:k]...)
		if err != nil || c.extra {
			return body, true
		}
		sent = sent[n:]
	}
	return body, false
}

var wireCases = []struct {
	sent string
	bad  bool
	body string
}{
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, "hi"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nT: v\r\n\r\n", false, "hi"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0003\r\n ho\r\na\r\n0123456789\r\n0\r\n\r\n", false, "hi ho0123456789"},
	{"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", false, ""},
	{"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", false, ""},
	{"HTTP/1.0 200 OK\r\n\r\nuntil the end", false, "until the end"},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", true, "hi"},
	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx", true, ""},
	{"HTTP/1.1 204 No\r\n\r\nx", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", true, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", true, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", true, ""},
	{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", true, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", true, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", true, ""},
	{"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nA: b\r\n folded: x\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\n: b\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nA: b\x1bc\r\n\r\n", true, ""},
	{"HTTP/2.0 200 OK\r\n\r\n", true, ""},
	{"HTTP/1.1 099 x\r\n\r\n", true, ""},
	{"HTTP/1.1 101 Switching\r\n\r\n", true, ""},
	{"HTTP/1.1 103 Early\r\nContent-Length: 2\r\n\r\nhi", true, ""},
	{"HTTP/1.1 2x0 x\r\n\r\n", true, ""},
	{"<html>", true, ""},
	{"HTTP/1.1 200", false, ""}, // the line has no end yet: the time limit of the header decides
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhii\r\n", true, "hi"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;\rx\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\x00\r\n", true, "hi"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: a\rb\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nhi\r\n0\t\r\n\r\n", false, "hi"}, // padding, as some servers write it
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 3\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 ;x\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 x\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000002\r\nhi\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT : v\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\r\n folded\r\n\r\n", true, ""},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\x01\r\n\r\n", true, ""},
}

func TestWireAcceptsOnlyStrictAnswers(t *testing.T) {
	for _, c := range wireCases {
		body, bad := wireAnswer([]byte(c.sent), nil)
		if bad != c.bad || string(body) != c.body {
			t.Errorf("%q: bad %v, body %q", c.sent, bad, body)
		}
	}
}

// TestWireKeepsWhatIsRead: the fields that kt reads, those of the final answer only.
func TestWireKeepsWhatIsRead(t *testing.T) {
	c := new(wire)
	c.begin(4096)
	head := "HTTP/1.1 103 Early\r\nX-Request-Id: early\r\n\r\nHTTP/1.1 429 Slow\r\nCONTENT-TYPE: application/json \r\nx-request-id:a\r\n" +
		"X-RateLimit-Reset-Tokens: 6m0s\r\nretry-after: 1\r\nSet-Cookie: x=y\r\nRetry-After: 2\r\nConnection: keep-alive, Close\r\nContent-Length: 0\r\n\r\n"
	if n, err := c.decode([]byte(head)); n != 0 || err != nil || !c.ended() {
		t.Fatal(n, err, c.st)
	}
	want := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"a"}, "X-Ratelimit-Reset-Tokens": {"6m0s"}, "Retry-After": {"1", "2"}}
	if !reflect.DeepEqual(c.header, want) || c.status != 429 || c.reusable() {
		t.Errorf("status %d, header %v, reusable %v", c.status, c.header, c.reusable())
	}
}

// TestWireCountsBytesNotReads: the limit of a head is the same however it arrives.
func TestWireCountsBytesNotReads(t *testing.T) {
	for _, extra := range []int{0, 1} {
		head := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: "
		head += strings.Repeat("x", 4096+extra-len(head)-len("\r\n\r\n")) + "\r\n\r\n"
		if _, bad := wireAnswer([]byte(head), nil); bad != (extra > 0) {
			t.Errorf("%d bytes in one piece: bad %v", len(head), bad)
		}
		if _, bad := wireAnswer([]byte(head), make([]byte, len(head))); bad != (extra > 0) {
			t.Errorf("%d bytes, one at a time: bad %v", len(head), bad)
		}
	}
}

// TestWireEndsWithABodyWhereNoneMayBe: what an answer without a body announces
// could come later and pass for the next answer.
func TestWireEndsWithABodyWhereNoneMayBe(t *testing.T) {
	for field, again := range map[string]bool{"": true, "Content-Length: 0\r\n": true, "Content-Length: 5\r\n": false, "Transfer-Encoding: chunked\r\n": false} {
		c := new(wire)
		c.begin(4096)
		n, err := c.decode([]byte("HTTP/1.1 204 No\r\n" + field + "\r\n"))
		if n != 0 || err != nil || !c.ended() || c.reusable() != again {
			t.Errorf("%q: %v, ended %v, reusable %v", field, err, c.ended(), c.reusable())
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
		if string(whole) != string(cut) {
			t.Fatalf("%q cut at %v: body %q, in one piece %q", sent, cuts, cut, whole)
		}
	})
}

// FuzzWireReadsWhatNetHTTPReads: an answer that kt accepts whole is one that
// net/http accepts too, with the same status and body.
func FuzzWireReadsWhatNetHTTPReads(f *testing.F) {
	for _, c := range wireCases {
		f.Add([]byte(c.sent))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := new(wire)
		c.begin(4096)
		p := bytes.Clone(sent)
		n, err := c.decode(p)
		if err != nil || c.extra || c.st != wireIdle && c.st != wireClose {
			return
		}
		br := bufio.NewReader(bytes.NewReader(sent))
		var resp *http.Response
		for resp == nil || resp.StatusCode < 200 {
			if resp, err = http.ReadResponse(br, &http.Request{Method: http.MethodPost}); err != nil {
				t.Fatalf("%q: net/http: %v", sent, err)
			}
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.status || string(body) != string(p[:n]) {
			t.Fatalf("%q: status %d, body %q; net/http: %d, %q, %v", sent, c.status, p[:n], resp.StatusCode, body, err)
		}
	})
}

func TestWireAllocatesNothingPerRead(t *testing.T) {
	head := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	sent := []byte("5\r\nhello\r\n5\r\nworld\r\n")
	c := new(wire)
	c.begin(4096)
	if _, err := c.decode(head); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(sent))
	if n := testing.AllocsPerRun(1000, func() {
		for cut := range sent {
			copy(p, sent)
			a, err := c.decode(p[:cut])
			b, err2 := c.decode(p[cut:])
			if a+b != 10 || err != nil || err2 != nil || c.st != wireChunkSize {
				t.Fatal(a, b, err, err2)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkWire takes 16 KiB of a body apart that came in chunks of one event each.
func BenchmarkWire(b *testing.B) {
	c := new(wire)
	c.begin(4096)
	if _, err := c.decode([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")); err != nil {
		b.Fatal(err)
	}
	event := strings.Repeat("x", 232)
	sent := []byte(strings.Repeat("e8\r\n"+event+"\r\n", (16<<10)/len(event)))
	p := make([]byte, len(sent))
	for b.Loop() {
		copy(p, sent)
		if n, err := c.decode(p); n != (16<<10)/len(event)*len(event) || err != nil {
			b.Fatal(n, err)
		}
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
