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

// module collects compiled packs and the Go test that runs on them, in a
// module of their own outside this repository.
type module struct {
	dir     string
	imports strings.Builder
	list    strings.Builder
	n       int
}

func (m *module) add(t testing.TB, name, yaml string, p *plan.Plan, e *plan.Engine) {
	t.Helper()
	files, err := gen.Pack(p, e, name)
	if err != nil {
		t.Fatalf("%s: %v", yaml, err)
	}
	if _, err := gen.Write(filepath.Join(m.dir, name), files); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&m.imports, "\t%q\n", "difftest/"+name)
	fmt.Fprintf(&m.list, "\t{Name: %q, Config: %q, Open: %s.Chain},\n", name, yaml, name)
	m.n++
}

// run writes the module with the given test functions and runs it.
func (m *module) run(t testing.TB, funcs string, args ...string) string {
	t.Helper()
	src := "package difftest\n\nimport (\n\t\"testing\"\n\n\t\"github.com/keeptrusts/kt/pipeline/difftest\"\n" + m.imports.String() +
		")\n\nvar packs = []difftest.Pack{\n" + m.list.String() + "}\n\n" + funcs
	if err := os.WriteFile(filepath.Join(m.dir, "equal_test.go"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := gen.WriteModule(m.dir, "difftest", root); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append([]string{"test", "-count=1"}, args...)...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go test in the packs' module: %v\n%s", err, out)
	}
	return string(out)
}

// TestCompiledIsInterpretedIsReference generates random packs, compiles them
// into one test binary and runs the comparison there, after the stored cases.
func TestCompiledIsInterpretedIsReference(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles 50 packages")
	}
	pairs := 40
	if *long {
		pairs = 2000
	}
	failures, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(failures, 0o755); err != nil {
		t.Fatal(err)
	}
	m := &module{dir: t.TempDir()}
	tables := t.TempDir()
	for i, d := range Draw(t, packs, 1, tables) {
		m.add(t, fmt.Sprintf("pack%02d", i), d.Config, d.Plan, d.Engine)
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
		replays += fmt.Sprintf("\tt.Run(%q, func(t *testing.T) { difftest.Replay(t, packs[%d], %q, []byte(%q)) })\n", filepath.Base(name), m.n, tables, archive)
		m.add(t, fmt.Sprintf("stored%d", i), yaml, p, e)
	}
	out := m.run(t, fmt.Sprintf("func TestEqual(t *testing.T) {\n%s\tdifftest.Run(t, packs[:%d], difftest.Options{Pairs: %d, Seed: 2, Failures: %q, Tables: %q})\n}\n", replays, packs, pairs, failures, tables), "-v", "-run", "TestEqual$")
	for line := range strings.Lines(out) {
		if strings.Contains(line, " with findings") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// BenchmarkAssemblies prints compiled and interpreted chains side by side, for
// one pack with both detectors: go test -bench Assemblies -benchtime 1x.
func BenchmarkAssemblies(b *testing.B) {
	yaml := "policies:\n  chain: [prompt-injection, pii-detector, audit-logger]\n"
	p := kindtest.Plan(b, yaml)
	e, diags := p.Engine()
	if e == nil {
		b.Fatal(diags.Text())
	}
	m := &module{dir: b.TempDir()}
	m.add(b, "both", yaml, p, e)
	b.Log(m.run(b, "func BenchmarkBoth(b *testing.B) { difftest.Bench(b, packs) }\n", "-run", "xxx", "-bench", ".", "-benchtime", "300ms"))
}
