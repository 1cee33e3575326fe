package gen_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/gen"
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
