package plan_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

// few is a chain whose tables are built quickly.
const few = "policies: {chain: [legal-privilege]}\n"

func TestCachedTablesAreTheBuiltOnes(t *testing.T) {
	p := kindtest.Plan(t, few)
	dir := filepath.Join(t.TempDir(), "data")
	built, hit, diags, err := p.CachedEngine(dir)
	if built == nil || hit || err != nil {
		t.Fatal(hit, diags.Text(), err)
	}
	again, hit, _, err := p.CachedEngine(dir)
	if again == nil || !hit || err != nil {
		t.Fatal(hit, err)
	}
	if !reflect.DeepEqual(built.Reports, again.Reports) {
		t.Error("the reports differ")
	}
	if again.Tables[pipeline.InputText] != again.Tables[pipeline.InputTool] || again.Tables[pipeline.OutputText] != nil {
		t.Error("classes are not shared as in the plan")
	}
	text := []byte("This memo is attorney-client privileged")
	a := kindtest.Piece(t, interp.NewWith(p, built), pipeline.InputText, kindtest.Everything, text, []int{9})
	b := kindtest.Piece(t, interp.NewWith(p, again), pipeline.InputText, kindtest.Everything, text, []int{9})
	if !reflect.DeepEqual(a, b) || len(a.Findings) != 1 {
		t.Errorf("built:\n%s\ncached:\n%s", a, b)
	}
}

func TestDamagedCacheIsBuiltAnew(t *testing.T) {
	p := kindtest.Plan(t, few)
	dir := t.TempDir()
	if _, _, _, err := p.CachedEngine(dir); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "tables-*.bin"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	good, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(names[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for name, b := range map[string][]byte{"empty": nil, "cut": good[:len(good)/2], "flipped": append(append([]byte{}, good[:len(good)-1]...), good[len(good)-1]^1)} {
		if err := os.WriteFile(names[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if e, hit, _, err := p.CachedEngine(dir); e == nil || hit || err != nil {
			t.Errorf("%s: hit %t, %v", name, hit, err)
		}
		if _, hit, _, _ := p.CachedEngine(dir); !hit {
			t.Errorf("%s: not written anew", name)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, _, _, err := p.CachedEngine(file); e == nil || err == nil {
		t.Errorf("a folder that cannot be written: engine %t, error %v", e != nil, err)
	}
}
