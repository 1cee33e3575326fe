package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkChat is the whole path over loopback sockets, client and provider in
// this process: compare variants, not with other programs.
func BenchmarkChat(b *testing.B) {
	none := strings.Replace(quickstart, "[prompt-injection, audit-logger]", "[audit-logger]", 1)
	none = strings.Replace(none, "  prompt-injection: {threshold: 0.8, action: block}\n", "", 1)
	for _, c := range []struct{ name, yaml string }{{"none", none}, {"quickstart", quickstart}, {"pii", withPII}} {
		b.Run(c.name, func(b *testing.B) {
			up := &canned{body: `{"id":"x","object":"chat.completion","created":1,"model":"gpt-5.4-mini","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("A lock is a chamber with gates. ", 30) + `","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`}
			r := startTargets(b, c.yaml, nil, up.listen(b))
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			body := ask(strings.Repeat("How does a canal lock lift a boat? ", 28))
			req := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			br := bufio.NewReaderSize(conn, 16<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.WriteString(conn, req); err != nil {
					b.Fatal(err)
				}
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(len(up.body)) || resp.StatusCode != 200 {
					b.Fatal(n, err, resp.StatusCode)
				}
			}
		})
	}
}
