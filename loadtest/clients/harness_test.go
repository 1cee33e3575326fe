// Package clients proves that official OpenAI clients work through the gateway
// with nothing changed but the base URL. The provider behind it is scripted
// here; the gateway is the real binary (KT_BIN, default ../../bin/kt).
package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const config = `pack:
  name: clients
  version: 0.1.0
  enabled: true
providers:
  targets:
    - id: scripted
      provider: openai
      model: gpt-5.4-mini
      base_url: https://api.openai.com
      secret_key_ref:
        env: OPENAI_API_KEY
policies:
  chain:
    - prompt-injection
    - pii-detector
    - audit-logger
policy:
  prompt-injection:
    threshold: 0.8
    action: block
`

// hangUps counts the requests whose client went away before the answer was whole.
var hangUps atomic.Int64

// provider answers by what the last message says.
func provider(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer sk-upstream" {
		http.Error(w, `{"error":{"message":"wrong key","type":"invalid_request_error","code":"invalid_api_key"}}`, http.StatusUnauthorized)
		return
	}
	var req struct {
		Stream        bool
		N             int
		Tools         []any
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
		Messages []struct{ Content any }
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || len(req.Messages) == 0 {
		http.Error(w, `{"error":{"message":"bad body","type":"invalid_request_error"}}`, http.StatusBadRequest)
		return
	}
	said := fmt.Sprint(req.Messages[len(req.Messages)-1].Content)
	n := max(req.N, 1)
	w.Header().Set("x-request-id", "req_scripted")
	if strings.Contains(said, "too long") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":{"message":"context length exceeded","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`)
		return
	}
	if !req.Stream {
		w.Header().Set("Content-Type", "application/json")
		var choices []string
		for i := range n {
			msg := fmt.Sprintf(`{"role":"assistant","content":"answer %d: mail bob@example.com","refusal":null}`, i)
			finish := "stop"
			if len(req.Tools) > 0 {
				msg, finish = `{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Ghent\"}"}}]}`, "tool_calls"
			}
			choices = append(choices, fmt.Sprintf(`{"index":%d,"message":%s,"logprobs":null,"finish_reason":%q}`, i, msg, finish))
		}
		fmt.Fprintf(w, `{"id":"chatcmpl-1","object":"chat.completion","created":1763942400,"model":"gpt-5.4-mini","choices":[%s],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}`, strings.Join(choices, ","))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	send := func(choice int, delta, finish string) {
		fmt.Fprintf(w, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763942400,"model":"gpt-5.4-mini","choices":[{"index":%d,"delta":%s,"logprobs":null,"finish_reason":%s}]}`+"\n\n", choice, delta, finish)
		_ = rc.Flush()
	}
	for i := range n {
		send(i, `{"role":"assistant","content":""}`, "null")
	}
	switch {
	case len(req.Tools) > 0:
		send(0, `{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]}`, "null")
		for _, p := range []string{`{\"ci`, `ty\":`, `\"Ghent\"}`} {
			send(0, `{"tool_calls":[{"index":0,"function":{"arguments":"`+p+`"}}]}`, "null")
		}
		send(0, `{}`, `"tool_calls"`)
	case strings.Contains(said, "endless"):
		for i := 0; ; i++ {
			select {
			case <-r.Context().Done():
				hangUps.Add(1)
				return
			case <-time.After(5 * time.Millisecond):
				send(0, fmt.Sprintf(`{"content":"word %d "}`, i), "null")
			}
		}
	default:
		for _, c := range "Write to bob@example.com today." {
			for i := range n {
				send(i, fmt.Sprintf(`{"content":%q}`, string(c)), "null")
			}
		}
		for i := range n {
			send(i, `{}`, `"stop"`)
		}
	}
	if req.StreamOptions.IncludeUsage {
		fmt.Fprint(w, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763942400,"model":"gpt-5.4-mini","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":31,"total_tokens":42}}`+"\n\n")
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// gateway starts the real binary in front of the scripted provider and gives its base URL.
func gateway(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("KT_BIN")
	if bin == "" {
		bin = "../../bin/kt"
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("find the gateway (make build, or set KT_BIN): %v", err)
	}
	up := httptest.NewServer(http.HandlerFunc(provider))
	t.Cleanup(up.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(bin, "gateway", "run", "--listen", addr, "--policy-config", "policy-config.yaml", "--upstream", up.URL)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "OPENAI_API_KEY=sk-upstream", "KEEPTRUSTS_DATA_DIR="+filepath.Join(dir, "data"))
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("gateway's log:\n%s", log.Bytes())
		}
	})
	base := "http://" + addr
	for range 400 {
		if resp, err := http.Get(base + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return base
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("the gateway was not ready within 10 s:\n%s", log.Bytes())
	return ""
}
