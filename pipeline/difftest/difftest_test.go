package difftest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/gen"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/plan"
)

var long = flag.Bool("difftest.long", false, "2,000 pairs for each of the 50 packs instead of a few")

const packs = 50

// TestCompiledIsInterpretedIsReference generates random packs, compiles them
// into one test binary in a module of their own, and runs the comparison there.
func TestCompiledIsInterpretedIsReference(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles 50 packages")
	}
	pairs := 40
	if *long {
		pairs = 2000
	}
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	failures, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(failures, 0o755); err != nil {
		t.Fatal(err)
	}
	var test strings.Builder
	test.WriteString("package difftest\n\nimport (\n\t\"os\"\n\t\"testing\"\n\n\t\"github.com/keeptrusts/kt/pipeline/difftest\"\n")
	var list strings.Builder
	add := func(name, yaml string, p *plan.Plan, e *plan.Engine) {
		files, err := gen.Pack(p, e, name)
		if err != nil {
			t.Fatalf("%s: %v", yaml, err)
		}
		if _, err := gen.Write(filepath.Join(dir, name), files); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&test, "\t%q\n", "difftest/"+name)
		fmt.Fprintf(&list, "\t{Name: %q, Config: %q, Open: %s.Chain},\n", name, yaml, name)
	}
	for i, d := range Draw(t, packs, 1) {
		add(fmt.Sprintf("pack%02d", i), d.Config, d.Plan, d.Engine)
	}
	stored, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	replays := ""
	for i, name := range stored {
		archive, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		yaml := ConfigOf(archive)
		p := kindtest.Plan(t, yaml)
		e, diags := p.Engine()
		if e == nil {
			t.Fatalf("%s:\n%s", name, diags.Text())
		}
		add(fmt.Sprintf("stored%d", i), yaml, p, e)
		replays += fmt.Sprintf("\tt.Run(%q, func(t *testing.T) { difftest.Replay(t, packs[%d], []byte(%q)) })\n", filepath.Base(name), packs+i, archive)
	}
	fmt.Fprintf(&test, ")\n\nvar packs = []difftest.Pack{\n%s}\n\nfunc TestEqual(t *testing.T) {\n%s\tdifftest.Run(t, packs[:%d], difftest.Options{Pairs: %d, Seed: 2, Failures: os.Getenv(\"FAILURES\")})\n}\n", list.String(), replays, packs, pairs)
	if err := os.WriteFile(filepath.Join(dir, "equal_test.go"), []byte(test.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := gen.WriteModule(dir, "difftest", root); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-count=1", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "FAILURES="+failures, "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go test in the packs' module: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}
