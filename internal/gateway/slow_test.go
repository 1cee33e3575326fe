package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/upstream"
)

// flood answers every request with a stream of events, as fast as they are taken.
type flood struct {
	events, word int
	sent         atomic.Int64 // bytes
}

func (f *flood) listen(t *testing.T) []*upstream.Target {
	t.Helper()
	return serve(t, "flood", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		event := `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5.4-mini","choices":[{"index":0,"delta":{"content":"` +
			strings.Repeat("word ", f.word) + `"},"finish_reason":null}]}` + "\n\n"
		for range f.events {
			n, err := io.WriteString(w, event)
			if f.sent.Add(int64(n)); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-5.4-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	})
}

// A client that reads slowly holds the provider back: what it does not read waits in the provider, not in the gateway's memory,
// and arrives whole once it reads.
func TestASlowClientHoldsTheProviderBack(t *testing.T) {
	f := &flood{events: 16 << 10, word: 400} // 34 MB
	chain := withPII
	if invariant.Race {
		chain = quickstart // scans no answers: there it takes half a minute
	}
	r := startTargets(t, chain, nil, f.listen(t))
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	body := ask("go on", `"stream":true`)
	if _, err := fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 1024)
	if _, err := io.ReadFull(c, head); err != nil || !strings.HasPrefix(string(head), "HTTP/1.1 200") {
		t.Fatalf("%v %q", err, head)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	last := int64(-1)
	for range 200 { // until it no longer sends
		if now := f.sent.Load(); now == last {
			break
		} else {
			last = now
		}
		time.Sleep(250 * time.Millisecond)
	}
	total := int64(f.events * (5*f.word + 100))
	if last >= total*2/3 {
		t.Fatalf("the provider sent %d bytes of %d to a client that does not read", last, total)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 4<<20 {
		t.Errorf("%d bytes more are in use while the client does not read", grown)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(string(head)), c)), nil)
	if err != nil {
		t.Fatal(err)
	}
	words, done := 0, false
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words += strings.Count(lines.Text(), "word ")
		done = done || lines.Text() == "data: [DONE]"
	}
	if want := f.events * f.word; words != want || !done || lines.Err() != nil {
		t.Errorf("%d words of %d, done %t, %v", words, want, done, lines.Err())
	}
}

// A compressed body is refused, whatever it holds: it is neither unpacked nor sent on.
func TestCompressedBodiesAreRefused(t *testing.T) {
	r := start(t, quickstart, nil)
	for _, encoding := range []string{"gzip", "br", "zstd", "deflate", "x-gzip", "identity, gzip"} {
		got := r.post(t, ask("x"), "Content-Encoding", encoding, "X-Request-Id", "z")
		if got.status != 415 || !strings.Contains(got.body, `"code":"unsupported_content_encoding"`) {
			t.Errorf("%s: %d %s", encoding, got.status, got.body)
		}
	}
	if n := r.mock.Count(); n != 0 {
		t.Errorf("%d went on", n)
	}
	if got := r.post(t, ask("x"), "Content-Encoding", "Identity"); got.status != 200 {
		t.Errorf("identity: %d %s", got.status, got.body)
	}
}
