package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The provider answers canned bytes; the request's field user says which:
//
//	chat1k              one JSON answer of about 1 KB
//	stream-EVENTS-GAPms an event stream of EVENTS deltas of about 4 bytes of text, GAPms apart (0 = as fast as it goes)
//
// It parses nothing but that field, so that it is never the bottleneck.
func serveProvider(ln net.Listener) *http.Server {
	answer := []byte(`{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("The quick brown fox jumps over the lazy dog near the river bank. ", 12) +
		`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":180,"total_tokens":380}}`)
	words := strings.Fields(strings.Repeat("the gate way reads each word and lets it pass when no rule can touch it any more so that a client sees text at once ", 20))
	event := func(delta, finish string) []byte {
		return []byte(`data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":{` + delta + `},"logprobs":null,"finish_reason":` + finish + "}]}\n\n")
	}
	events := make([][]byte, len(words))
	for i, w := range words {
		events[i] = event(`"content":" `+w+`"`, "null")
	}
	head, tail := event(`"role":"assistant","content":""`, "null"), append(event("", `"stop"`), "data: [DONE]\n\n"...)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		if _, err := readFull(r, body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, rest, _ := bytes.Cut(body, []byte(`"user":"`))
		shape, _, _ := strings.Cut(string(rest[:min(len(rest), 64)]), `"`)
		parts := strings.Split(shape, "-")
		if parts[0] != "stream" {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
			_, _ = w.Write(answer)
			return
		}
		n, _ := strconv.Atoi(parts[1])
		gapMS, _ := strconv.Atoi(strings.TrimSuffix(parts[2], "ms"))
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_, _ = w.Write(head)
		_ = rc.Flush()
		var tick *time.Ticker
		if gapMS > 0 {
			tick = time.NewTicker(time.Duration(gapMS) * time.Millisecond)
			defer tick.Stop()
		}
		for i := range n {
			if tick != nil {
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
			if _, err := w.Write(events[i%len(events)]); err != nil {
				return
			}
			_ = rc.Flush() // every event on its own, as providers do; at gap 0 the reader finds several together
		}
		_, _ = w.Write(tail)
	})
	s := &http.Server{Handler: mux}
	go func() { _ = s.Serve(ln) }() // ends with s.Close, which the caller does
	return s
}

func readFull(r *http.Request, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k, err := r.Body.Read(p[n:])
		n += k
		if err != nil && n < len(p) {
			return n, err
		}
	}
	return n, nil
}

// request is a chat request of about 1 KB for an answer of the provider.
func request(shape string) []byte {
	return fmt.Appendf(nil, `{"model":"gpt-5.4-mini","user":"%s","stream":%t,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"%s"}],"temperature":0.2}`,
		shape, strings.HasPrefix(shape, "stream"), strings.Repeat("Please describe the way from the station to the old town in plain words. ", 11))
}
