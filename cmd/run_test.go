package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keeptrusts/kt/cmd"
	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/pipeline/compiled/quickstart"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/upstream/mock"
)

// TestMain makes the test binary a kt when it is asked to: process tests start it.
func TestMain(m *testing.M) {
	if os.Getenv("KT_TEST_MAIN") != "" {
		if data := os.Getenv("KEEPTRUSTS_DATA_DIR"); data != "" && os.MkdirAll(data, 0o700) == nil { // the demo's gateways have folders of their own
			_ = os.Symlink(kindtest.TablesDir(), filepath.Join(data, "cache"))
		}
		cmd.Main(quickstart.Chain)
	}
	if sharedCache = kindtest.TablesDir(); sharedCache != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "kt-cmd-test")
	if err != nil {
		panic(err)
	}
	sharedCache = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// sharedCache holds tables for all processes of a test run: the first builds them.
var sharedCache string

// kt prepares a kt process in a folder of its own.
func kt(t *testing.T, dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	var log bytes.Buffer
	c.Dir, c.Stdout, c.Stderr = dir, &log, &log
	c.Env = append(os.Environ(), "KT_TEST_MAIN=1", "KT_TEST_TABLES="+sharedCache, "OPENAI_API_KEY=sk-upstream", "KEEPTRUSTS_DATA_DIR="+filepath.Join(dir, "data"))
	t.Cleanup(func() {
		if c.Process != nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		if t.Failed() {
			t.Logf("kt %v:\n%s", args, log.Bytes())
		}
	})
	return c, &log
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// gateway starts kt gateway run and waits until it is ready.
func gateway(t *testing.T, up string, more ...string) (c *exec.Cmd, log *bytes.Buffer, url, dir string) {
	t.Helper()
	dir = t.TempDir()
	config, err := os.ReadFile("templates/pii-redaction.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	c, log = kt(t, dir, append([]string{"gateway", "run", "--listen", addr, "--policy-config", "policy-config.yaml", "--upstream", up}, more...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	url = "http://" + addr
	for end := time.Now().Add(hang); time.Now().Before(end); {
		if resp, err := http.Get(url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			return c, log, url, dir
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the gateway was not ready")
	return
}

// hang bounds what would else never end. It is no measure: under the race detector tables take minutes to build.
const hang = 6 * time.Minute

func exitStatus(t *testing.T, c *exec.Cmd) int {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case err := <-done:
		c.Process = nil
		var e *exec.ExitError
		if errors.As(err, &e) {
			return e.ExitCode()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0
	case <-time.After(hang):
		t.Fatal("it did not end")
		return -1
	}
}

func upstreamMock(t *testing.T, o mock.Options) *mock.Server {
	t.Helper()
	m, err := mock.Listen("", &mock.Script{Key: "sk-upstream", Default: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func post(t *testing.T, url, body string) *http.Response {
	t.Helper()
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

const streamed = `{"model":"gpt-5.4-mini","stream":true,"messages":[{"role":"user","content":"x"}]}`

func TestGatewayRunServesAndASignalLetsAnswersFinish(t *testing.T) {
	m := upstreamMock(t, mock.Options{Text: "Write to ada@example.org when the long answer is over at last.", Piece: 1, Delay: mock.Duration(10 * time.Millisecond)})
	c, log, url, dir := gateway(t, m.URL, "--api-token", "tok")
	resp := post(t, url, streamed)
	br := bufio.NewReader(resp.Body)
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	env := &cmd.Env{Args: []string{"gateway", "status", "--url", url, "--api-token", "tok"}, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &out, Now: time.Now}
	if code := cmd.Run(context.Background(), env); code != 0 || !strings.Contains(out.String(), "openai-primary") || !strings.Contains(out.String(), "override in force: upstream") {
		t.Errorf("status: exit %d\n%s", code, out.Bytes())
	}
	out.Reset()
	env.Args = []string{"gateway", "status", "--url", url}
	if code := cmd.Run(context.Background(), env); code != cmd.ExitFound || !strings.Contains(out.String(), "it wants its token") {
		t.Errorf("status without token: exit %d\n%s", code, out.Bytes())
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} { // the first is ignored
		if err := c.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	rest, err := io.ReadAll(br)
	if err != nil || !bytes.HasSuffix(rest, []byte("data: [DONE]\n\n")) || bytes.Contains(rest, []byte("ada@")) {
		t.Errorf("the rest of the stream: %v, %q", err, rest)
	}
	if code := exitStatus(t, c); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if !strings.Contains(log.String(), "SIGHUP is ignored") {
		t.Error("the log says nothing of SIGHUP")
	}
	for line := range strings.Lines(log.String()) {
		if strings.HasPrefix(line, "{") && !json.Valid([]byte(line)) {
			t.Errorf("log line %q", line)
		}
	}
	if strings.Contains(log.String(), "ada@") || strings.Contains(log.String(), "sk-upstream") || strings.Contains(log.String(), "tok\"") {
		t.Error("the log holds what it must not")
	}
	events, damaged, err := audit.Read(filepath.Join(dir, "data", "audit"), audit.Filter{Decisions: true})
	if err != nil || damaged != 0 || len(events) != 2 || events[1].Verdict != "redact" || !strings.Contains(string(events[1].Raw), `"overrides":["upstream"]`) {
		t.Errorf("records %v, %d damaged, %v", events, damaged, err)
	}
}

func TestASecondSignalCutsAndSaysSo(t *testing.T) {
	m := upstreamMock(t, mock.Options{Words: 100_000, Delay: mock.Duration(10 * time.Millisecond)})
	c, _, url, dir := gateway(t, m.URL)
	resp := post(t, url, streamed)
	if _, err := resp.Body.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(rest, []byte(`"code":"cut"`)) || bytes.Contains(rest, []byte("[DONE]")) {
		t.Errorf("a stream that was cut: %v, it ends with %q", err, rest[max(0, len(rest)-300):])
	}
	if code := exitStatus(t, c); code != cmd.ExitCut {
		t.Errorf("exit status %d", code)
	}
	events, _, err := audit.Read(filepath.Join(dir, "data", "audit"), audit.Filter{})
	if err != nil || len(events) != 1 || events[0].Type != "terminal" {
		t.Errorf("records %v, %v", events, err)
	}
}

func TestAKilledGatewayLosesNoRecord(t *testing.T) {
	m := upstreamMock(t, mock.Options{Text: "fine"})
	c, _, url, dir := gateway(t, m.URL)
	for range 20 {
		if resp := post(t, url, strings.Replace(streamed, "true", "false", 1)); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	events, damaged, err := audit.Read(filepath.Join(dir, "data", "audit"), audit.Filter{Decisions: true})
	if err != nil || damaged != 0 || len(events) != 40 {
		t.Errorf("%d records, %d damaged, %v; want 40", len(events), damaged, err)
	}
}

func TestStartFailures(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	config, _ := os.ReadFile("templates/pii-redaction.yaml")
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	c, log := kt(t, dir, "gateway", "run", "--listen", ln.Addr().String())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitStatus(t, c); code != cmd.ExitStart || !strings.Contains(log.String(), "listen on") {
		t.Errorf("port in use: exit status %d", code)
	}
	if err := os.WriteFile(filepath.Join(dir, "data-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The pack that is linked: without a folder there is no cache, and tables would be built.
	quick, _ := os.ReadFile("templates/prompt-injection-detection.yaml")
	if err := os.WriteFile(filepath.Join(dir, "quick.yaml"), quick, 0o644); err != nil {
		t.Fatal(err)
	}
	c, log = kt(t, dir, "gateway", "run", "--listen", "127.0.0.1:0", "--policy-config", "quick.yaml")
	c.Env = append(c.Env, "KEEPTRUSTS_DATA_DIR="+filepath.Join(dir, "data-file"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitStatus(t, c); code != cmd.ExitStart || !strings.Contains(log.String(), "KEEPTRUSTS_DATA_DIR") {
		t.Errorf("no data folder: exit status %d", code)
	}
}

func TestWhatIsSwitchedOffOrUnsafeIsSaidOnce(t *testing.T) {
	m := upstreamMock(t, mock.Options{Text: "fine"})
	dir := t.TempDir()
	config, _ := os.ReadFile("templates/pii-redaction.yaml")
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(freeAddr(t))
	c, log := kt(t, dir, "gateway", "run", "--listen", "0.0.0.0:"+port, "--upstream", m.URL, "--fail-mode", "allow")
	c.Env = append(c.Env, "KEEPTRUSTS_API_URL=https://api.example", "KEEPTRUSTS_API_TOKEN=t0k3n-api")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var h struct {
		Warnings, Overrides []string
	}
	for end := time.Now().Add(hang); time.Now().Before(end); {
		if resp, err := http.Get("http://127.0.0.1:" + port + "/healthz"); err == nil {
			err = json.NewDecoder(resp.Body).Decode(&h)
			_ = resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	text := strings.Join(h.Warnings, "\n")
	for _, want := range []string{"debug override", "unsafe", "without client authentication", "KEEPTRUSTS_API_URL"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("healthz says %d times %q: %v", strings.Count(text, want), want, h.Warnings)
		}
	}
	if strings.Join(h.Overrides, " ") != "upstream unsafe_fail_mode_allow" {
		t.Errorf("overrides %v", h.Overrides)
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if code := exitStatus(t, c); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if n := strings.Count(log.String(), "reporting to a control plane is not built yet"); n != 1 || strings.Contains(log.String(), "t0k3n-api") {
		t.Errorf("the log says it %d times", n)
	}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	skipUnderRace(t)
	dir := t.TempDir()
	config, _ := os.ReadFile("templates/pii-redaction.yaml")
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(environ ...string) (int, string) {
		var out bytes.Buffer
		env := &cmd.Env{Args: []string{"doctor", "--url", "http://" + freeAddr(t)}, Environ: environ, Dir: dir, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &out, Now: time.Now}
		return cmd.Run(context.Background(), env), out.String()
	}
	if code, out := run("OPENAI_API_KEY=sk-x"); code != 0 || !strings.Contains(out, "1 of 1 can be asked") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if code, out := run(); code != cmd.ExitFound || !strings.Contains(out, "0 of 1 can be asked") {
		t.Errorf("no key: exit status %d\n%s", code, out)
	}
	if err := os.Remove(filepath.Join(dir, "policy-config.yaml")); err != nil {
		t.Fatal(err)
	}
	if code, _ := run("OPENAI_API_KEY=sk-x"); code != cmd.ExitFound {
		t.Errorf("no configuration: exit status %d", code)
	}
}

func TestTheDemoEndsByItself(t *testing.T) {
	c, log := kt(t, t.TempDir(), "demo")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitStatus(t, c); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	for _, want := range []string{"HTTP 200", "HTTP 409 input_blocked: reason prompt_injection.detected", "[REDACTED:EMAIL]", "[REDACTED:CREDIT_CARD]", "OPENAI_BASE_URL="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(log.String(), "ada.lovelace") || strings.Contains(log.String(), "\x1b[") {
		t.Error("it shows an address, or colour without a terminal")
	}
}

func TestTheFailoverDemoShowsAnUnbrokenAnswerEachTime(t *testing.T) {
	c, log := kt(t, t.TempDir(), "demo", "failover")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitStatus(t, c); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	const said = "The lock fills, the boat rises, and nobody on deck saw which of the three engines pumped the water."
	if n := strings.Count(log.String(), "  < "+said+"\n"); n != 4 {
		t.Errorf("%d whole answers, want 4", n)
	}
	for _, want := range []string{"behind it: first=ok;", "first=lost second=ok(asked beside)", "first=reset ", "first=connect "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestTemplatesAreTheExamples(t *testing.T) {
	for template, example := range map[string]string{"prompt-injection-detection": "quickstart", "pii-redaction": "pii", "failover": "failover"} {
		a, err := os.ReadFile("templates/" + template + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("../examples/" + example + "/policy-config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("templates/%s.yaml and examples/%s differ", template, example)
		}
	}
}

func TestAnAddressInUseSaysWhatToDo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	config, err := os.ReadFile("templates/pii-redaction.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	c, log := kt(t, dir, "gateway", "run", "--listen", ln.Addr().String())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitStatus(t, c); code != cmd.ExitStart {
		t.Errorf("exit status %d", code)
	}
	if !strings.Contains(log.String(), "KT6001: listen on "+ln.Addr().String()) || !strings.Contains(log.String(), "give --listen another port") {
		t.Error("no code or no hint")
	}
}

// TestMockPlaysFaultsOfTheConnection: those that no request can bring about, too.
func TestMockPlaysFaultsOfTheConnection(t *testing.T) {
	addr := freeAddr(t)
	c, log := kt(t, t.TempDir(), "mock", "--listen", addr, "--fault", "rst_accept")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/v1/models")
		if err == nil {
			resp.Body.Close()
			t.Fatal("the connection was served")
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%v: %s", err, log)
		}
	}
}
