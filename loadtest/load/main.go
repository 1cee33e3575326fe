// Command load drives the gateway with k6 (bin/k6, our SSE module linked in)
// through the scenarios of loadtest/scenarios, and judges what clients saw.
//
//	go run ./loadtest/load -profile short    about two minutes
//	go run ./loadtest/load -profile full     the scenarios at full length, and a soak
//
// It builds bin/kt and bin/k6, starts a provider (kt mock) and gateways on free
// ports of the loopback interface, and pins the gateways to one core, generator
// and provider to another, where there are two and taskset is installed. A floor
// run against the provider alone says what is not the gateway's. Seconds in which
// the generator's core was more than 90 % busy are marked and left out; a
// scenario with fewer valid seconds than invalid ones is not judged.
//
// Results: loadtest/out/summary.txt and loadtest/out/report.html. k6 sends no
// usage report and talks to the loopback interface only.
//
// Exit status: 0 all good; 1 a valid scenario broke a threshold; 2 could not run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	profile := flag.String("profile", "short", "short or full")
	only := flag.String("only", "", "scenarios to run, separated by commas (default: the profile's)")
	out := flag.String("out", "loadtest/out", "folder of the results")
	scale := flag.Float64("scale", 1, "factor on rates and users")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broken, err := run(ctx, *profile, *only, *out, *scale)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	if broken > 0 {
		os.Exit(1)
	}
}

// scenario is one run of k6 and what is asked of it.
type scenario struct {
	name   string
	k6     string // scenario in main.js
	target string // floor, gateway, faults
	limits limits
}

// limits are a scenario's thresholds; zero ones are not checked.
type limits struct {
	ttft, gap   float64 // ms, p99 at the client, the provider's share included
	whole       float64 // smallest share of streams that end well
	checks      float64 // smallest share of checks that hold
	rss         float64 // MiB, the gateway's most
	slowShare   float64 // largest share of requests to which the gateway adds more than 5 ms, by its own histogram
	leavesNoReq bool    // nothing is in flight afterwards
}

// scenarios gives a profile's list and the factor on its durations.
func scenarios(profile string) ([]scenario, float64, error) {
	usual := limits{ttft: 250, gap: 100, whole: .999, checks: .999, rss: 320, leavesNoReq: true}
	with := func(f func(*limits)) limits { l := usual; f(&l); return l }
	list := []scenario{
		{"floor", "steady", "floor", limits{whole: .999, checks: .999}},
		{"smoke", "smoke", "gateway", usual},
		{"steady", "steady", "gateway", with(func(l *limits) { l.slowShare = .01 })},
		{"ramp", "ramp", "gateway", usual},
		{"spike", "spike", "gateway", usual},
		{"slow_readers", "slow_readers", "gateway", with(func(l *limits) { l.gap = 0 })}, // the reader makes the gaps
		{"aborts", "aborts", "gateway", with(func(l *limits) { l.whole = 0 })},
		{"faults", "faults", "faults", with(func(l *limits) { l.ttft = 500 })}, // the time of a fallback comes on top
		{"policy_mix", "policy_mix", "gateway", with(func(l *limits) { l.slowShare = .01 })},
	}
	switch profile {
	case "short":
		return list, .5, nil
	case "full":
		return append(list, scenario{"soak", "soak", "gateway", usual}), 3, nil
	}
	return nil, 0, fmt.Errorf("profile must be short or full; got %q", profile)
}

func run(ctx context.Context, profile, only, out string, scale float64) (broken int, err error) {
	list, duration, err := scenarios(profile)
	if err != nil {
		return 0, err
	}
	if only != "" {
		var picked []scenario
		for _, name := range strings.Split(only, ",") {
			n := len(picked)
			for _, s := range list {
				if s.name == name {
					picked = append(picked, s)
				}
			}
			if len(picked) == n {
				return 0, fmt.Errorf("the profile %s has no scenario %q", profile, name)
			}
		}
		list = picked
	}
	if err := build(ctx); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return 0, err
	}
	tmp, err := os.MkdirTemp("", "kt-load-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	b := &bed{tmp: tmp, cores: cores()}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return 0, err
	}
	var results []*result
	for _, s := range list {
		fmt.Printf("%-13s ", s.name)
		r, err := b.play(ctx, s, duration, scale)
		if err != nil {
			return 0, fmt.Errorf("scenario %s: %w", s.name, err)
		}
		results = append(results, r)
		r.judge()
		if len(r.broken) > 0 && r.valid() {
			broken++
		}
		fmt.Println(r.line())
	}
	text := summary(b, profile, results)
	if err := os.WriteFile(filepath.Join(out, "summary.txt"), []byte(text), 0o644); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(out, "report.html"), []byte(report(b, profile, results)), 0o644); err != nil {
		return 0, err
	}
	fmt.Printf("\n%s\nwritten: %s/summary.txt, %s/report.html\n", text, out, out)
	return broken, nil
}

// build makes bin/kt and bin/k6.
func build(ctx context.Context) error {
	for _, b := range []struct{ dir, out, pkg string }{{".", "bin/kt", "./cmd/kt"}, {"loadtest/k6", "../../bin/k6", "."}} {
		c := exec.CommandContext(ctx, "go", "build", "-o", b.out, b.pkg)
		c.Dir = b.dir
		if text, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", b.out, err, text)
		}
	}
	return nil
}

// bed is the processes under and around the test.
type bed struct {
	tmp   string
	cores [2]string // of the gateways, and of generator and provider; empty: not pinned
	procs []*exec.Cmd

	provider string            // base URL
	urls     map[string]string // by scenario.target
	pids     map[string]int    // of the gateways
	mocks    []int
}

// cores gives the cores to pin to.
func cores() (c [2]string) {
	if _, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() >= 2 {
		c = [2]string{"0", "1"}
	}
	return c
}

// pinned makes a command that runs on a core.
func pinned(ctx context.Context, core string, name string, args ...string) *exec.Cmd {
	if core != "" {
		args = append([]string{"-c", core, name}, args...)
		name = "taskset"
	}
	return exec.CommandContext(ctx, name, args...)
}

// env is this process's without what would change kt or k6.
func env(more ...string) []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "KEEPTRUSTS_") && !strings.HasPrefix(kv, "K6_") && !strings.HasPrefix(kv, "KT_") {
			out = append(out, kv)
		}
	}
	return append(out, more...)
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// launch starts kt and waits until path answers.
func (b *bed) launch(ctx context.Context, core, name, path string, args ...string) (url string, pid int, err error) {
	addr, err := freeAddr()
	if err != nil {
		return "", 0, err
	}
	kt, err := filepath.Abs("bin/kt")
	if err != nil {
		return "", 0, err
	}
	log, err := os.Create(filepath.Join(b.tmp, name+".log"))
	if err != nil {
		return "", 0, err
	}
	defer log.Close() // the child has its own descriptor
	c := pinned(ctx, core, kt, append(args, "--listen", addr)...)
	c.Dir, c.Stdout, c.Stderr = b.tmp, log, log
	c.Env = env("OPENAI_API_KEY=sk-load", "KEEPTRUSTS_DATA_DIR="+filepath.Join(b.tmp, name), "KEEPTRUSTS_LOG_LEVEL=WARN")
	if err := c.Start(); err != nil {
		return "", 0, fmt.Errorf("start %s: %w", name, err)
	}
	b.procs = append(b.procs, c)
	url = "http://" + addr
	for range 1200 { // half a minute: tables are built first
		if resp, err := http.Get(url + path); err == nil {
			_ = resp.Body.Close()
			return url, c.Process.Pid, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	return "", 0, fmt.Errorf("%s did not become ready:\n%s", name, text)
}

// answer is the provider's: 60 events, 4 ms apart.
var answer = []string{"mock", "--words", "40", "--piece", "4", "--first", "20ms", "--delay", "4ms"}

const faultsConfig = `pack: {name: load-faults, version: 0.1.0, enabled: true}
providers:
  targets:
    - {id: faulty, provider: openai, model: gpt-5.4-mini, base_url: "%s", allow_private: true, secret_key_ref: {env: OPENAI_API_KEY}}
    - {id: well, provider: openai, model: gpt-5.4-mini, base_url: "%s", allow_private: true, secret_key_ref: {env: OPENAI_API_KEY}}
  routing: {strategy: ordered}
  fallback: {enabled: true, max_fallback_attempts: 3, probe: {enabled: true, probe_after: 200ms, budget_percent: 50}}
policies:
  chain: [prompt-injection, pii-detector, audit-logger]
policy:
  prompt-injection: {threshold: 0.8, action: block}
  pii-detector: {action: redact}
  audit-logger: {retention_days: 30}
`

// start brings up the providers and both gateways.
func (b *bed) start(ctx context.Context) error {
	b.urls, b.pids = map[string]string{}, map[string]int{}
	url, pid, err := b.launch(ctx, b.cores[1], "provider", "/v1/models", answer...)
	if err != nil {
		return err
	}
	b.provider, b.urls["floor"], b.mocks = url, url, append(b.mocks, pid)
	faulty, pid, err := b.launch(ctx, b.cores[1], "faulty", "/v1/models", append(answer, "--fault", "status", "--status", "503", "--rate", "0.2")...)
	if err != nil {
		return err
	}
	b.mocks = append(b.mocks, pid)
	// The quick start plus pii-detector, as kt init writes it.
	quick, err := os.ReadFile("cmd/templates/pii-redaction.yaml")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"quick.yaml": string(quick), "faults.yaml": fmt.Sprintf(faultsConfig, faulty, url)} {
		if err := os.WriteFile(filepath.Join(b.tmp, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if b.urls["gateway"], b.pids["gateway"], err = b.launch(ctx, b.cores[0], "gateway", "/readyz", "gateway", "run", "--policy-config", "quick.yaml", "--upstream", url); err != nil {
		return err
	}
	b.urls["faults"], b.pids["faults"], err = b.launch(ctx, b.cores[0], "gateway-faults", "/readyz", "gateway", "run", "--policy-config", "faults.yaml")
	return err
}

// stop ends what start began, by its own process ids.
func (b *bed) stop() {
	for _, c := range b.procs {
		_ = c.Process.Signal(syscall.SIGTERM) // may be gone already
	}
	for _, c := range b.procs {
		done := make(chan struct{})
		go func() { _ = c.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			_ = c.Process.Kill()
			<-done
		}
	}
}

// play runs one scenario.
func (b *bed) play(ctx context.Context, s scenario, duration, scale float64) (*result, error) {
	csvFile := filepath.Join(b.tmp, s.name+".csv")
	c := pinned(ctx, b.cores[1], "bin/k6", "run", "--no-usage-report", "--quiet", "--no-thresholds", "--no-summary", "--address", "", "--no-color",
		"--out", "csv="+csvFile, "loadtest/scenarios/main.js")
	c.Env = env("KT_URL="+b.urls[s.target], "KT_SCENARIO="+s.k6, fmt.Sprintf("KT_TIME=%g", duration), fmt.Sprintf("KT_SCALE=%g", scale),
		"K6_NO_USAGE_REPORT=true", "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_BINARY_PROVISIONING=false", "K6_CSV_TIME_FORMAT=unix_milli", "K6_CSV_SAVE_INTERVAL=1s")
	log, err := os.Create(filepath.Join(b.tmp, s.name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	r := &result{scenario: s, before: b.ownShare(s)}
	if err := c.Start(); err != nil {
		return nil, err
	}
	smp := startSampler(b.pids[s.target], append([]int{c.Process.Pid}, b.mocks...), b.cores[1])
	err = c.Wait()
	r.samples = smp.end()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("k6: %w\n%s", err, text)
	}
	if s.target != "floor" {
		for range 30 { // the last requests end
			if r.after = b.ownShare(s); r.after.inFlight == 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	f, err := os.Open(csvFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return r, r.read(f)
}
