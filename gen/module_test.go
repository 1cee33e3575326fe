package gen_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keeptrusts/kt/gen"
	"github.com/keeptrusts/kt/pipeline/plan"
)

// A module outside this repository compiles its own kt on the first try, and
// that kt refuses with --require-compiled once the policies have changed.
func TestForeignModuleCompilesItsPack(t *testing.T) {
	if testing.Short() {
		t.Skip("builds kt")
	}
	config, err := os.ReadFile("../pipeline/compiled/quickstart/policy-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "my gateway")
	if err := gen.InitModule(gen.ModuleOptions{Dir: dir, Replace: "..", Config: config, Test: []byte("{}\n")}); err != nil {
		t.Fatal(err)
	}
	run := func(want int, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "OPENAI_API_KEY=unused", "KEEPTRUSTS_DATA_DIR="+filepath.Join(dir, "data"))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Fatalf("%s %v: %v, want exit status %d\n%s", name, args, err, want, out)
		}
		return string(out)
	}
	kt := filepath.Join(dir, "kt")
	run(0, "go", "generate", "./...")
	run(0, "go", "build", "-o", kt, ".")
	if out := run(0, kt, "version"); !strings.Contains(out, "compiled pack: quick-launch 0.1.0") {
		t.Errorf("kt version:\n%s", out)
	}
	gateway := []string{"gateway", "run", "--dry-run", "--require-compiled", "--listen", "127.0.0.1:0", "--policy-config", "policy-config.yaml"}
	if out := run(0, kt, gateway...); !strings.Contains(out, "mode=compiled") {
		t.Errorf("kt gateway run:\n%s", out)
	}
	changed := bytes.Replace(config, []byte("threshold: 0.8"), []byte("threshold: 0.7"), 1)
	if err := os.WriteFile(filepath.Join(dir, "policy-config.yaml"), changed, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(3, kt, gateway...); !strings.Contains(out, "KT6003") {
		t.Errorf("kt gateway run with changed policies:\n%s", out)
	}
	run(0, "go", "generate", "./...")
	run(0, "go", "build", "-o", kt, ".")
	run(0, kt, gateway...)
}

func TestBuildMakesABinaryInOneStep(t *testing.T) {
	if testing.Short() {
		t.Skip("builds kt")
	}
	out := filepath.Join(t.TempDir(), "kt")
	res, err := gen.Build(gen.BuildOptions{Config: []string{"../pipeline/compiled/quickstart/policy-config.yaml"}, Out: out, Replace: ".."})
	if err != nil || res.Diags.HasErrors() {
		t.Fatal(err, res.Diags.Text())
	}
	text, err := exec.Command(out, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "compiled pack: quick-launch 0.1.0") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestInitModuleOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "main.go")
	if err := os.WriteFile(name, []byte("package main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := gen.InitModule(gen.ModuleOptions{Dir: dir, Replace: "..", Config: []byte("pack: {}\n")})
	if err == nil || !strings.Contains(err.Error(), "the file is there already") {
		t.Errorf("init over a main.go: %v", err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "package main\n" {
		t.Errorf("main.go was changed: %q %v", b, err)
	}
	if err := gen.InitModule(gen.ModuleOptions{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("init without a version: %v", err)
	}
}

// The pack with every kind stays readable, is generated quickly and compiles
// quickly; the figures are printed, and only the number of lines is judged.
func TestLargestPack(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a package")
	}
	chain := strings.Join(plan.Kinds(), ", ")
	yaml := "policies:\n  chain: [" + chain + "]\npolicy:\n  dlp-filter: {blocked_terms: [bluefin], sensitivity_level: high}\n  entity-list-filter: {blocked_entities: [Acme Shell Ltd]}\n  dual-use-filter: {blocked_terms: [gas centrifuge]}\n"
	start := time.Now()
	out := pack(t, yaml, "largest")
	generated := time.Since(start)
	lines := bytes.Count(out[0].Data, []byte("\n"))
	if lines > 40*len(plan.Kinds()) {
		t.Errorf("%d lines for %d policies, want at most 40 for each", lines, len(plan.Kinds()))
	}
	clean(t, out[0].Data)
	dir := t.TempDir()
	if _, err := gen.Write(filepath.Join(dir, "largest"), out); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if err := gen.WriteModule(dir, "largest", root); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) time.Duration {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS="+os.Getenv("GOFLAGS")+" -mod=mod", "GOPROXY=off")
		start := time.Now()
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, text)
		}
		return time.Since(start)
	}
	run("build", "github.com/keeptrusts/kt/pipeline/...") // what the pack needs is compiled already
	compiled := run("build", "./largest")
	run("vet", "./largest")
	t.Logf("%d policies, %d bytes of tables, %d lines: generated in %v, compiled in %v", len(plan.Kinds()), len(out[1].Data), lines, generated.Round(time.Millisecond), compiled.Round(time.Millisecond))
}
