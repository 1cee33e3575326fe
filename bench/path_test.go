package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/golden"
	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/compiled/quickstart"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/plan"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
	"github.com/keeptrusts/kt/stream/sse"
)

// The whole path in process: bytes of the provider's stream in, bytes for the
// client out, through framer, strict parse, policies and window. Every event
// arrives alone, as it does from a provider that is slower than we are.
//
// What a run must give (findings, verdict, digest of the bytes out) stands in
// testdata/digests.txt; a benchmark whose answer differs fails.

// The chains, by name.
const (
	noPolicy = "none"      // audit-logger alone: nothing is scanned
	quick    = "quick"     // the documented quick start
	quickPII = "quick+pii" // the quick start and pii-detector with redaction

	quickCompiled = "quick-compiled" // the quick start as it is compiled into kt
)

var chainNames = []string{noPolicy, quick, quickPII}

const packHead = `pack:
  name: quick-launch
  version: 0.1.0
  enabled: true
providers:
  targets:
    - id: openai-primary
      provider: openai
      model: gpt-5.4-mini
      base_url: https://api.openai.com
      secret_key_ref:
        env: OPENAI_API_KEY
policies:
  chain:
`

var packs = map[string]string{
	noPolicy: packHead + "    - audit-logger\npolicy:\n  audit-logger:\n    retention_days: 30\n",
	quick: packHead + "    - prompt-injection\n    - audit-logger\n" +
		"policy:\n  prompt-injection:\n    threshold: 0.8\n    action: block\n  audit-logger:\n    retention_days: 30\n",
	quickPII: packHead + "    - prompt-injection\n    - pii-detector\n    - audit-logger\n" +
		"policy:\n  prompt-injection:\n    threshold: 0.8\n    action: block\n  pii-detector:\n    action: redact\n  audit-logger:\n    retention_days: 30\n",
}

// chains are built when they are asked for, once each.
var chains = func() map[string]func() (pipeline.Chain, error) {
	out := map[string]func() (pipeline.Chain, error){}
	for name, text := range packs {
		out[name] = sync.OnceValues(func() (pipeline.Chain, error) { return interpret(name, text) })
	}
	out[quickCompiled] = sync.OnceValues(quickstart.Chain)
	return out
}()

func interpret(name, text string) (pipeline.Chain, error) {
	cfg, diags := config.Load([]config.Source{{Name: name + ".yaml", Data: []byte(text)}}, config.Options{})
	if err := diags.Err(); err != nil {
		return nil, err
	}
	p, diags := plan.Build(cfg)
	if err := diags.Err(); err != nil {
		return nil, err
	}
	dir := os.Getenv("KT_BENCH_CACHE") // where tables are kept between runs of one test binary; the gate gives each its own
	if dir == "" {
		return interp.New(p)
	}
	e, _, diags, err := p.CachedEngine(dir)
	if err := diags.Err(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return interp.NewWith(p, e), nil
}

// chain gives a chain by name.
func chain(t testing.TB, name string) pipeline.Chain {
	t.Helper()
	c, err := chains[name]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var chat = openai.New()

// path is one way through the gateway's middle with its reusable memory.
type path struct {
	chain   pipeline.Chain
	x       pipeline.Exchange
	scratch pipeline.Findings
	facts   pipeline.Facts
	w       stream.Window
	request dialect.Request
	chunk   dialect.Chunk
	parser  dialect.Scratch
	scanner stream.Scanner
	result  stream.Result
}

func newPath(c pipeline.Chain) *path {
	return &path{chain: c, facts: pipeline.Facts{Model: "gpt-5.4-mini", Path: "/v1/chat/completions", Stream: true}}
}

// stream sends the events through, one write each. take gets what the client gets, after each of them.
func (p *path) stream(events [][]byte, take func(event int, out []byte)) error {
	p.x.Begin(p.chain, &p.facts, &p.scratch)
	p.w.Reset(stream.Options{Dialect: chat, Exchange: &p.x, RequestID: "req-bench", PromptBytes: 1000})
	defer p.w.Close()
	for i, e := range events {
		if err := p.w.Write(e); err != nil {
			return err
		}
		out := p.w.Out()
		take(i, out)
		if out != nil {
			p.w.Sent()
		}
	}
	if end := p.w.Report().End; end != stream.EndDone {
		return fmt.Errorf("the stream ended as %s", end)
	}
	return nil
}

// scan parses and scans a request; the body that goes on is given to take.
func (p *path) scan(body []byte, take func(r *stream.Result)) error {
	p.x.Begin(p.chain, &p.facts, &p.scratch)
	p.request.Reset()
	if err := chat.ParseRequest(&p.parser, body, &p.request); err != nil {
		return err
	}
	p.scanner.ScanRequest(&p.result, body, &p.request, &p.x, false, "")
	take(&p.result)
	p.result.Close()
	return nil
}

// outcome is what one run through the path gave.
type outcome struct {
	out      []byte
	findings int
	verdict  pipeline.Verdict
	held     []int   // bytes of text that wait, after each event
	heldN    []int   // events that wait, after each event
	delay    float64 // events that came before an event could leave, mean
}

func (o *outcome) line(name string) string {
	sum := sha256.Sum256(o.out)
	return fmt.Sprintf("%s findings=%d verdict=%s bytes=%d sha256=%x\n", name, o.findings, o.verdict, len(o.out), sum[:12])
}

// textBytes is the text that an event brings, in decoded bytes.
func textBytes(event []byte) int {
	var e struct {
		Choices []struct {
			Delta struct {
				Content   string
				Reasoning string `json:"reasoning_content"`
				ToolCalls []struct {
					Function struct{ Arguments string }
				} `json:"tool_calls"`
			}
		}
	}
	data := bytes.TrimSuffix(bytes.TrimPrefix(event, []byte("data: ")), []byte("\n\n"))
	if json.Unmarshal(data, &e) != nil {
		return 0 // [DONE]
	}
	n := 0
	for _, c := range e.Choices {
		n += len(c.Delta.Content) + len(c.Delta.Reasoning)
		for _, t := range c.Delta.ToolCalls {
			n += len(t.Function.Arguments)
		}
	}
	return n
}

// outcome runs a stream once and looks at what waits after each event.
func (p *path) outcome(r *Recording) (*outcome, error) {
	o := &outcome{}
	out := 0
	err := p.stream(r.Events, func(i int, b []byte) {
		o.out = append(o.out, b...)
		out += bytes.Count(b, []byte("\n\n"))
		held := 0
		for k := out; k <= i; k++ {
			held += textBytes(r.Events[k])
		}
		o.held, o.heldN = append(o.held, held), append(o.heldN, i+1-out)
	})
	o.findings, o.verdict = p.w.Report().Findings, p.x.Decide().Verdict
	for _, n := range o.heldN {
		o.delay += float64(n) / float64(len(o.heldN)) // the sum of what waits after each event is the sum of all delays
	}
	return o, err
}

// name of a run: recording, delta, chain.
func runName(r *Recording, delta int, chain string) string {
	return fmt.Sprintf("%s/%dB/%s", r.Name, delta, chain)
}

const digestFile = "testdata/digests.txt"

var digests = sync.OnceValues(func() (map[string]string, error) {
	raw, err := os.ReadFile(digestFile)
	out := map[string]string{}
	for l := range strings.Lines(string(raw)) {
		name, _, _ := strings.Cut(l, " ")
		out[name] = l
	}
	return out, err
})

// check compares an outcome with the committed one.
func check(t testing.TB, name string, o *outcome) {
	t.Helper()
	want, err := digests()
	if err != nil {
		t.Fatalf("read %s (write it with: go test ./bench -run Path -update): %v", digestFile, err)
	}
	if got := o.line(name); got != want[name] {
		t.Fatalf("outcome differs\n got: %swant: %s", got, want[name])
	}
}

// requests are the bodies of the request benchmarks.
var requests = map[string][]byte{"1KB": Prompt(1 << 10), "100KB": Prompt(100 << 10)}

// TestPathOutcomes: the outcome of every recording is the committed one; clean
// streams leave byte for byte; no planted value reaches the client.
func TestPathOutcomes(t *testing.T) {
	var all strings.Builder
	for _, delta := range []int{1, 4, 20} {
		for _, r := range Recordings(delta) {
			for _, name := range chainNames {
				p := newPath(chain(t, name))
				o, err := p.outcome(&r)
				if err != nil {
					t.Fatalf("%s: %v", runName(&r, delta, name), err)
				}
				all.WriteString(o.line(runName(&r, delta, name)))
				if name != quickPII || r.Hits == 0 {
					if !bytes.Equal(o.out, r.Bytes()) || o.findings != 0 {
						t.Errorf("%s: the bytes out are not the bytes in, or there are findings: %d", runName(&r, delta, name), o.findings)
					}
					continue
				}
				if o.findings < r.Hits {
					t.Errorf("%s: %d findings, planted were %d", runName(&r, delta, name), o.findings, r.Hits)
				}
				text := clientText(t, o.out)
				for _, v := range values {
					if strings.Contains(text, v) {
						t.Errorf("%s: a planted value reached the client", runName(&r, delta, name))
					}
				}
				if n := strings.Count(text, "[REDACTED:"); n != r.Hits {
					t.Errorf("%s: %d markers, planted were %d", runName(&r, delta, name), n, r.Hits)
				}
			}
		}
	}
	golden.Compare(t, digestFile, []byte(all.String()))
}

// clientText joins all text that a client reads from a stream.
func clientText(t testing.TB, out []byte) string {
	t.Helper()
	var b strings.Builder
	var f sse.Framer
	defer f.Close()
	for len(out) > 0 {
		ev, n, ok, err := f.Next(out)
		if err != nil {
			t.Fatal(err)
		}
		out = out[n:]
		if !ok || string(ev.Data) == "[DONE]" {
			continue
		}
		var c struct {
			Choices []struct {
				Delta struct {
					Content   string
					Reasoning string `json:"reasoning_content"`
					ToolCalls []struct {
						Function struct{ Arguments string }
					} `json:"tool_calls"`
				}
			}
		}
		if err := json.Unmarshal(ev.Data, &c); err != nil {
			t.Fatal(err)
		}
		for _, c := range c.Choices {
			b.WriteString(c.Delta.Content + c.Delta.Reasoning)
			for _, k := range c.Delta.ToolCalls {
				b.WriteString(k.Function.Arguments)
			}
		}
	}
	return b.String()
}

// benchStream measures one recording through one chain, the answer checked in every round.
func benchStream(b *testing.B, name string, r *Recording, c pipeline.Chain) {
	p := newPath(c)
	o, err := p.outcome(r)
	if err != nil {
		b.Fatal(err)
	}
	check(b, name, o)
	at := 0
	take := func(_ int, out []byte) { // what a client's socket costs here: one look at every byte
		if len(o.out)-at < len(out) || !bytes.Equal(out, o.out[at:at+len(out)]) {
			b.Fatalf("other bytes out, after %d", at)
		}
		at += len(out)
	}
	round := func() {
		at = 0
		if err := p.stream(r.Events, take); err != nil || at != len(o.out) || p.w.Report().Findings != o.findings {
			b.Fatalf("%d of %d bytes out, %d findings of %d: %v", at, len(o.out), p.w.Report().Findings, o.findings, err)
		}
	}
	for range 3 { // buffers grow, pools fill
		round()
	}
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(len(r.Events)), "ns/chunk")
	b.ReportMetric(testing.AllocsPerRun(20, round)/float64(len(r.Events)), "allocs/chunk")
	b.ReportMetric(float64(quantile(o.held, .5)), "held-p50")
	b.ReportMetric(float64(quantile(o.held, .99)), "held-p99")
	b.ReportMetric(float64(slices.Max(o.held)), "held-max")
	b.ReportMetric(o.delay, "delay-chunks")
}

// BenchmarkPath: every recording, at several sizes of delta, through every chain.
// ns/chunk and allocs/chunk are for one event; held is decoded text that waits
// after an event, in bytes; delay-chunks is how many events later, on average,
// an event leaves.
func BenchmarkPath(b *testing.B) {
	for _, delta := range []int{1, 4, 20} {
		for _, r := range Recordings(delta) {
			if delta == 1 && r.Name != "clean" && r.Name != "many-hits" {
				continue
			}
			for _, name := range chainNames {
				n := runName(&r, delta, name)
				b.Run(n, func(b *testing.B) { benchStream(b, n, &r, chain(b, name)) })
			}
		}
	}
}

// BenchmarkPathRatio: what policies cost on the whole path, as the ratio to the
// same path without policies, in turns.
func BenchmarkPathRatio(b *testing.B) {
	for _, delta := range []int{1, 4, 20} {
		r := Recordings(delta)[0]
		b.Run(fmt.Sprintf("%s/%dB", r.Name, delta), func(b *testing.B) {
			none, pol := newPath(chain(b, noPolicy)), newPath(chain(b, quickPII))
			n := 0
			take := func(_ int, out []byte) { n += len(out) }
			run := func(p *path) float64 {
				n = 0
				d := timed(func() {
					if err := p.stream(r.Events, take); err != nil || p.w.Report().Findings != 0 {
						b.Fatalf("%d findings: %v", p.w.Report().Findings, err)
					}
				})
				if want := len(r.Bytes()); n != want {
					b.Fatalf("%d bytes out, want %d", n, want)
				}
				return d
			}
			run(none)
			run(pol)
			var x, added ratios
			for b.Loop() {
				base, with := run(none), run(pol)
				x, added = append(x, with/base), append(added, (with-base)/float64(len(r.Events)))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(x.median(), "x-none")
			b.ReportMetric(added.median(), "added-ns/chunk")
		})
	}
}

// benchBody measures a body that nothing is found in through one chain.
func benchBody(b *testing.B, body []byte, run func([]byte, func(*stream.Result)) error) {
	take := func(r *stream.Result) {
		if r.Blocked || r.Edits != 0 || !bytes.Equal(r.Body, body) || r.Report.Findings != 0 {
			b.Fatalf("a clean body was changed: blocked %t, %d edits, %d findings", r.Blocked, r.Edits, r.Report.Findings)
		}
	}
	round := func() {
		if err := run(body, take); err != nil {
			b.Fatal(err)
		}
	}
	for range 3 {
		round()
	}
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(len(body)), "ns/B")
}

// BenchmarkPathRequest: a request of clean text, parsed and scanned: made-up English, and 100 KB of what people put into prompts,
// this repository's own manuals and programs.
func BenchmarkPathRequest(b *testing.B) {
	for _, size := range []string{"1KB", "100KB"} {
		for _, name := range []string{noPolicy, quick, quickCompiled, quickPII} {
			b.Run(size+"/"+name, func(b *testing.B) { benchBody(b, requests[size], newPath(chain(b, name)).scan) })
		}
	}
	for kind, files := range map[string][]string{
		"manuals": {"../docs/ARCHITECTURE.md", "../docs/cli.md", "../docs/d*.md", "../docs/patterns.md", "../docs/routing.md", "../docs/config/*.md",
			"../docs/policies/audit*.md", "../docs/policies/pii*.md", "RESULTS.md"},
		"programs": {"../pipeline/scan/*.go", "../stream/*.go"},
	} {
		body := promptOf(b, files)
		for _, name := range []string{noPolicy, quick, quickCompiled} {
			b.Run(kind+"/"+name, func(b *testing.B) { benchBody(b, body, newPath(chain(b, name)).scan) })
		}
	}
}

// promptOf is a request with 100 KB of files, a fence in front of each; tests are none of them, as these show attacks.
func promptOf(b *testing.B, globs []string) []byte {
	var text []byte
	for _, g := range globs {
		files, err := filepath.Glob(g)
		if err != nil || len(files) == 0 {
			b.Fatalf("%s: %d files, %v", g, len(files), err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			p, err := os.ReadFile(f)
			if err != nil {
				b.Fatal(err)
			}
			text = append(append(text, "```\n"...), p...)
		}
	}
	if len(text) < 80<<10 {
		b.Fatalf("%v: %d bytes", globs, len(text))
	}
	return promptWith(string(text[:runeStart(text, min(len(text), 100<<10))]))
}

// answer is a whole answer of about 1 KB.
var answer = []byte(`{"id":"chatcmpl-9zKtRecorded","object":"chat.completion","created":1763942400,"model":"gpt-5.4-mini-2026-03-05","choices":[{"index":0,"message":{"role":"assistant","content":` +
	quote(english) + `,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":200,"completion_tokens":180,"total_tokens":380}}`)

// answer parses and scans an answer that is no stream.
func (p *path) answer(body []byte, take func(r *stream.Result)) error {
	p.x.Begin(p.chain, &p.facts, &p.scratch)
	p.chunk.Reset()
	if err := chat.ParseResponse(&p.parser, body, &p.chunk); err != nil {
		return err
	}
	p.scanner.ScanResponse(&p.result, body, &p.chunk, &p.x, false, 1000)
	take(&p.result)
	p.result.Close()
	return nil
}

// gateStreams are the streams of the regression gate: recording, delta, chain.
var gateStreams = []struct {
	name  string
	delta int
	chain string
}{
	{"clean", 4, noPolicy},
	{"clean", 4, quick},
	{"clean", 4, quickPII},
	{"clean", 20, quickPII},
	{"late-hit", 4, quickPII},
	{"many-hits", 4, quickPII},
	{"non-english", 20, quickPII},
	{"reasoning", 20, quickPII},
	{"tool-call", 4, quickPII},
}

// BenchmarkGateStream, BenchmarkGateAnswer and BenchmarkGateRequest are what the regression gate runs.
func BenchmarkGateStream(b *testing.B) {
	for _, g := range gateStreams {
		for _, r := range Recordings(g.delta) {
			if r.Name == g.name {
				n := runName(&r, g.delta, g.chain)
				b.Run(n, func(b *testing.B) { benchStream(b, n, &r, chain(b, g.chain)) })
			}
		}
	}
}

// BenchmarkGateAnswer: see BenchmarkGateStream.
func BenchmarkGateAnswer(b *testing.B) {
	for _, name := range []string{quick, quickPII} {
		b.Run("1KB/"+name, func(b *testing.B) { benchBody(b, answer, newPath(chain(b, name)).answer) })
	}
}

// BenchmarkGateRequest: see BenchmarkGateStream.
func BenchmarkGateRequest(b *testing.B) {
	for _, name := range []string{noPolicy, quickCompiled, quickPII} {
		b.Run("1KB/"+name, func(b *testing.B) { benchBody(b, requests["1KB"], newPath(chain(b, name)).scan) })
	}
}

// TestPathAllocatesNothingPerChunk: after warm-up a clean stream costs the same
// few allocations however many events it has.
func TestPathAllocatesNothingPerChunk(t *testing.T) {
	if invariant.Race {
		t.Skip("pools drop buffers at random under the race detector")
	}
	for _, name := range chainNames {
		var per [2]float64
		for i, n := range []int{50, 400} {
			r := Recordings(4)[0]
			events := append(slices.Clone(r.Events[:n]), r.Events[len(r.Events)-2:]...)
			p := newPath(chain(t, name))
			round := func() {
				if err := p.stream(events, func(int, []byte) {}); err != nil {
					t.Fatal(err)
				}
			}
			round()
			per[i] = testing.AllocsPerRun(10, round)
		}
		if per[1] > per[0] {
			t.Errorf("%s: %v allocations for 52 events, %v for 402", name, per[0], per[1])
		}
	}
}
