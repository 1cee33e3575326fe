package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keeptrusts/kt/cmd"
	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/plan"
)

// now is the time in all scripts.
var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// linked stands for a compiled pack of the quick start with today's digest:
// whether the generated one is up to date is for gen's own tests to say. Its
// tables are built once: a linked pack has them in the binary.
var linked = sync.OnceValues(func() (pipeline.Chain, error) {
	raw, err := os.ReadFile("templates/prompt-injection-detection.yaml")
	if err != nil {
		return nil, err
	}
	cfg, list := config.Load([]config.Source{{Name: "quickstart.yaml", Data: raw}}, config.Options{})
	if err := list.Err(); err != nil {
		return nil, err
	}
	p, list := plan.Build(cfg)
	if err := list.Err(); err != nil {
		return nil, err
	}
	c, err := interp.New(p)
	if err != nil {
		return nil, err
	}
	info := *c.Info()
	info.Mode = "compiled"
	return &asCompiled{c, info}, nil
})

type asCompiled struct {
	pipeline.Chain
	info pipeline.Info
}

func (c *asCompiled) Info() *pipeline.Info { return &c.info }

// TestScripts runs kt in this process. In a script, "kt ARGS" must exit with 0,
// "! kt ARGS" with something else, "status N" compares the last exit status, and
// "json" wants one JSON value on stdout.
func TestScripts(t *testing.T) {
	skipUnderRace(t)
	type key struct{}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Values[key{}] = new(int)
			e.Vars = append(e.Vars, "OPENAI_API_KEY=sk-test-not-a-key-0000", "KEEPTRUSTS_DATA_DIR="+e.WorkDir+"/data", "NO_COLOR=1", "REPOSITORY="+repository)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kt": func(ts *testscript.TestScript, neg bool, args []string) {
				var environ []string
				for _, k := range []string{"OPENAI_API_KEY", "KEEPTRUSTS_DATA_DIR", "NO_COLOR", "KEEPTRUSTS_GATEWAY_MAX_CONCURRENCY", "KEEPTRUSTS_API_URL", "KEEPTRUSTS_UPSTREAM_URL", "AZURE_OPENAI_API_KEY", "KEEPTRUSTS_DRAIN_TIMEOUT", "KEEPTRUSTS_LOG_LEVEL",
					"KEEPTRUSTS_GATEWAY_TOKN", "KEEPTRUSTS_FAIL_MODE", "KEEPTRUSTS_COLOUR", "KEEPTRUSTS_GATEWAY_PORT_41002_TCP_ADDR",
					"KEEPTRUSTS_GATEWAY_SERVICE_HOST", "KEEPTRUSTS_GATEWAY_PORT", "KEEPTRUSTS_GATEWAY_URL", "KEEPTRUSTS_OWN_KEY"} {
					if v := ts.Getenv(k); v != "" {
						environ = append(environ, k+"="+v)
					}
				}
				env := &cmd.Env{
					Args: args, Environ: environ, Dir: ts.Getenv("PWD"), Stdin: &bytes.Buffer{}, Stdout: ts.Stdout(), Stderr: ts.Stderr(),
					Now: func() time.Time { return now },
				}
				if env.Dir == "" {
					env.Dir = ts.MkAbs(".")
				}
				code := cmd.Run(context.Background(), env, linked)
				*ts.Value(key{}).(*int) = code
				if (code != 0) != neg {
					ts.Fatalf("exit status %d", code)
				}
			},
			"json": func(ts *testscript.TestScript, _ bool, _ []string) {
				if out := ts.ReadFile("stdout"); !json.Valid([]byte(out)) {
					ts.Fatalf("stdout is not one JSON value:\n%s", out)
				}
			},
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				if got := *ts.Value(key{}).(*int); len(args) != 1 || args[0] != strconv.Itoa(got) {
					ts.Fatalf("exit status %d, want %v", got, args)
				}
			},
		},
	})
}

func TestHelpOfEveryCommandHasAnExampleAndNoSecret(t *testing.T) {
	for _, args := range [][]string{
		{}, {"gateway", "run"}, {"policy", "lint"}, {"policy", "test"}, {"policy", "schema"}, {"init"}, {"mock"}, {"events", "tail"}, {"gen"}, {"build"}, {"doctor"}, {"gateway", "status"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			var out bytes.Buffer
			env := &cmd.Env{Args: append(args, "--help"), Environ: []string{"KEEPTRUSTS_GATEWAY_TOKEN=tok-secret", "KEEPTRUSTS_UPSTREAM_API_KEY=key-secret", "KEEPTRUSTS_UPSTREAM_URL=http://u-secret@h"}, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &out, Now: time.Now}
			if code := cmd.Run(context.Background(), env); code != 0 {
				t.Fatalf("exit status %d", code)
			}
			if !bytes.Contains(out.Bytes(), []byte("Examples:")) {
				t.Errorf("no example:\n%s", out.Bytes())
			}
			if bytes.Contains(out.Bytes(), []byte("-secret")) {
				t.Errorf("help shows a secret:\n%s", out.Bytes())
			}
		})
	}
}

func TestCompletionScriptsAreWritten(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out bytes.Buffer
		env := &cmd.Env{Args: []string{"completion", shell}, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: os.Stderr, Now: time.Now}
		if code := cmd.Run(context.Background(), env); code != 0 || !bytes.Contains(out.Bytes(), []byte("kt")) {
			t.Errorf("%s: exit status %d, %d bytes", shell, code, out.Len())
		}
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputThatIsLostIsAFault(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"providers"}, {"providers", "--json"}, {"policy", "schema"}, {"--help"}} {
		var errs bytes.Buffer
		env := &cmd.Env{Args: args, Stdin: &bytes.Buffer{}, Stdout: full{}, Stderr: &errs, Now: time.Now}
		if code := cmd.Run(context.Background(), env); code == 0 || !bytes.Contains(errs.Bytes(), []byte("no space left")) {
			t.Errorf("%v: exit status %d, %s", args, code, errs.Bytes())
		}
	}
}

// TestAHugeConfigurationIsNotReadWhole names a file of 8 TB, most of it a hole.
func TestAHugeConfigurationIsNotReadWhole(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/big.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(8<<40), f.Close()); err != nil {
		t.Skip(err)
	}
	var out, errs bytes.Buffer
	env := &cmd.Env{Args: []string{"policy", "lint", "--file", "big.yaml"}, Dir: dir, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &errs, Now: time.Now}
	if code := cmd.Run(context.Background(), env); code != cmd.ExitFound || !bytes.Contains(errs.Bytes(), []byte("KT1005: the file has more than 2097152 bytes")) {
		t.Errorf("exit status %d\n%s", code, errs.Bytes())
	}
}

// skipUnderRace skips what takes minutes under the race detector and runs one goroutine: it builds tables again and again.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if invariant.Race {
		t.Skip("builds tables again and again, in one goroutine")
	}
}
