package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestRememberedHeadsAreSmall: clients choose models, and a name may be as long
// as a request's body.
func TestRememberedHeadsAreSmall(t *testing.T) {
	h := NewTransport(TransportOptions{})
	defer h.Close()
	tg := &Target{ID: "a", BaseURL: "https://api.example.com", PathTemplate: "/m/{model}{path}"}
	r := h.route(tg)
	if r.err != nil {
		t.Fatal(r.err)
	}
	for i := range 3 * maxHeads {
		for _, n := range []int{1, 100, 1 << 16} {
			model := strings.Repeat(string(rune('a'+i%26)), n+i)
			head, err := r.head(tg, headKey{"POST", "/v1/chat/completions", model})
			if err != nil || !strings.HasPrefix(string(head), "POST /m/"+model+"/chat/completions HTTP/1.1\r\n") {
				t.Fatal(err)
			}
		}
	}
	held := 0
	for k, head := range r.heads {
		held += len(k.model) + len(k.path) + len(head)
	}
	if len(r.heads) == 0 || len(r.heads) > maxHeads || held > maxHeads*2<<10 {
		t.Errorf("%d heads hold %d bytes", len(r.heads), held)
	}
}

// TestIdleConnectionsHoldNoAnswer: what an answer left behind does not wait with its connection.
func TestIdleConnectionsHoldNoAnswer(t *testing.T) {
	for _, l := range idleAfter(t, "HTTP/1.1 200 OK\r\nX-Long: "+strings.Repeat("x", 20<<10)+"\r\nX-Request-Id: y\r\nContent-Length: 2\r\n\r\nhi") {
		if cap(l.wire.line) > len(l.wire.space) || l.wire.header != nil {
			t.Errorf("an idle connection holds %d bytes and %v", cap(l.wire.line), l.wire.header)
		}
	}
}

// idleAfter gives the idle connections of a route that served one answer.
func idleAfter(t *testing.T, said string) []*link {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		r, err := http.ReadRequest(bufio.NewReader(there))
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(there, said)
		}
	})
	h := NewTransport(TransportOptions{Dial: func(context.Context, string, string) (net.Conn, error) { return here, nil }})
	t.Cleanup(h.Close)
	tg := &Target{ID: "a", BaseURL: "http://localhost", AllowPrivate: true}
	resp, err := h.Do(t.Context(), tg, Request{Path: "/v1/chat/completions", Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("X-Request-Id") != "y" {
		t.Errorf("header %v", resp.Header)
	}
	links := h.route(tg).idle.links
	if len(links) != 1 {
		t.Fatalf("%d idle connections", len(links))
	}
	return links
}
