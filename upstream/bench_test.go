package upstream_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/mock"
)

// BenchmarkDo compares a call through the pool with the same call by net/http
// alone, to the same mock on loopback: the difference is ours.
func BenchmarkDo(b *testing.B) {
	m := startMock(b, mock.Options{Text: "hello"})
	body, _ := chatBody("x", false)(nil, "model-a")
	b.Run("pool", func(b *testing.B) {
		p := newPool(b, upstream.Options{}, target(b, "a", m.URL, "k"))
		c := call("model-a", "x", false)
		c.Body = func(*upstream.Target, string) ([]byte, error) { return body, nil }
		b.ReportAllocs()
		for b.Loop() {
			a, err := p.Do(b.Context(), c)
			if err != nil || !strings.Contains(string(a.Whole), "hello") {
				b.Fatal(err)
			}
			a.Close()
		}
	})
	b.Run("net-http", func(b *testing.B) {
		tr := &http.Transport{DisableCompression: true}
		defer tr.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, m.URL+"/v1/chat/completions", strings.NewReader(string(body)))
			resp, err := tr.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if !strings.Contains(string(got), "hello") {
				b.Fatal(string(got))
			}
		}
	})
}
