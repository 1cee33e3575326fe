// Package ktsse is the k6 module "k6/x/ktsse": it posts a chat completion with
// stream: true, reads the server-sent events as they come, and measures what
// stock k6 cannot see because it waits for the whole body.
//
// Metrics it emits:
//
//	kt_ttft          trend, ms: from the request being sent to the first event with text
//	kt_inter_token   trend, ms: between two successive events with text
//	kt_stream_ok     rate: the stream ended with [DONE] and nothing came after it
//	kt_content_ok    rate: the joined text equals the text expected by the caller (only when given)
//	kt_stream_events counter: events with text
//	kt_stream_bytes  counter: bytes of the body
package ktsse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/metrics"
)

func init() { modules.Register("k6/x/ktsse", new(root)) } // k6 knows no other way to add a module

type root struct{}

// NewModuleInstance implements modules.Module.
func (*root) NewModuleInstance(vu modules.VU) modules.Instance {
	env := vu.InitEnv()
	if env == nil {
		common.Throw(vu.Runtime(), errors.New("k6/x/ktsse must be imported in the init context"))
		return nil
	}
	r := env.Registry
	return &module{
		vu:       vu,
		ttft:     r.MustNewMetric("kt_ttft", metrics.Trend, metrics.Time),
		gap:      r.MustNewMetric("kt_inter_token", metrics.Trend, metrics.Time),
		ok:       r.MustNewMetric("kt_stream_ok", metrics.Rate),
		contentK: r.MustNewMetric("kt_content_ok", metrics.Rate),
		events:   r.MustNewMetric("kt_stream_events", metrics.Counter),
		bytes:    r.MustNewMetric("kt_stream_bytes", metrics.Counter, metrics.Data),
		client: &http.Client{Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 64,
			DisableCompression:  true,
		}},
	}
}

type module struct {
	vu                                     modules.VU
	ttft, gap, ok, contentK, events, bytes *metrics.Metric
	client                                 *http.Client
}

// Exports implements modules.Instance.
func (m *module) Exports() modules.Exports {
	return modules.Exports{Named: map[string]any{"chat": m.chat}}
}

// Params are the options of chat.
type Params struct {
	Headers     map[string]string `js:"headers"`
	TimeoutMS   int               `js:"timeoutMs"`   // whole stream; 0 = 60 s
	ReadDelayMS int               `js:"readDelayMs"` // a slow reader: pause before each read
	AbortAfter  int               `js:"abortAfter"`  // hang up after this many events with text; 0 = never
	Expect      string            `js:"expect"`      // the whole text that must arrive; empty = not checked
}

// Result is what chat returns to the script.
type Result struct {
	Status    int     `js:"status"`
	Complete  bool    `js:"complete"`
	Aborted   bool    `js:"aborted"`
	Events    int     `js:"events"`
	Text      string  `js:"text"`
	Finish    string  `js:"finish"`
	TTFTMs    float64 `js:"ttftMs"`
	Error     string  `js:"error"`
	RequestID string  `js:"requestId"`
}

// chat posts body (a JSON string) to url and reads the stream to its end.
// Transport faults come back in Result.Error; they never throw.
func (m *module) chat(url, body string, params sobek.Value) (*Result, error) {
	state := m.vu.State()
	if state == nil {
		return nil, errors.New("ktsse.chat cannot be called in the init context")
	}
	var p Params
	if params != nil && !sobek.IsUndefined(params) && !sobek.IsNull(params) {
		if err := m.vu.Runtime().ExportTo(params, &p); err != nil {
			return nil, err
		}
	}
	timeout := time.Duration(p.TimeoutMS) * time.Millisecond
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(m.vu.Context(), timeout)
	defer cancel()

	tags := state.Tags.GetCurrentValues()
	push := func(metric *metrics.Metric, v float64) {
		metrics.PushIfNotDone(m.vu.Context(), state.Samples, metrics.Sample{
			TimeSeries: metrics.TimeSeries{Metric: metric, Tags: tags.Tags},
			Time:       time.Now(), Value: v, Metadata: tags.Metadata,
		})
	}
	res := m.read(ctx, url, body, &p, push)
	if res.Aborted {
		return res, nil
	}
	push(m.ok, truth(res.Complete))
	push(m.events, float64(res.Events))
	if p.Expect != "" {
		push(m.contentK, truth(res.Text == p.Expect))
	}
	return res, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *module) read(ctx context.Context, url, body string, p *Params, push func(*metrics.Metric, float64)) *Result {
	res := &Result{}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		res.Error = err.Error()
		return res
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range p.Headers {
		req.Header.Set(k, v)
	}
	start := time.Now()
	resp, err := m.client.Do(req)
	if err != nil {
		res.Error = err.Error()
		return res
	}
	defer resp.Body.Close()
	res.Status, res.RequestID = resp.StatusCode, resp.Header.Get("x-request-id")
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(ct, "text/event-stream") {
		_, _ = io.Copy(io.Discard, resp.Body)
		res.Error = "no event stream: " + resp.Status
		return res
	}
	var text strings.Builder
	var last time.Time
	n := 0
	defer func() { push(m.bytes, float64(n)); res.Text = text.String() }()
	br := bufio.NewReaderSize(resp.Body, 16<<10)
	for {
		if p.ReadDelayMS > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(p.ReadDelayMS) * time.Millisecond):
			}
		}
		line, err := br.ReadBytes('\n')
		n += len(line)
		if data, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data: ")); ok {
			if res.Complete { // something after the terminal event
				res.Complete, res.Error = false, "an event followed [DONE]"
				return res
			}
			if bytes.Equal(data, []byte("[DONE]")) {
				res.Complete = true
				continue
			}
			var c struct {
				Choices []struct {
					Delta  struct{ Content, Reasoning string }
					Finish string `json:"finish_reason"`
				}
				Error json.RawMessage
			}
			if e := json.Unmarshal(data, &c); e != nil {
				res.Error = "event is not JSON"
				return res
			}
			if len(c.Error) > 0 {
				res.Error = "error event"
				return res
			}
			got := false
			for _, ch := range c.Choices {
				got = got || ch.Delta.Content != "" || ch.Delta.Reasoning != ""
				text.WriteString(ch.Delta.Content)
				if ch.Finish != "" {
					res.Finish = ch.Finish
				}
			}
			if got {
				now := time.Now()
				if res.Events == 0 {
					res.TTFTMs = ms(now.Sub(start))
					push(m.ttft, res.TTFTMs)
				} else {
					push(m.gap, ms(now.Sub(last)))
				}
				last = now
				res.Events++
				if p.AbortAfter > 0 && res.Events >= p.AbortAfter {
					res.Aborted = true
					return res
				}
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				res.Complete, res.Error = false, err.Error()
			}
			return res
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
