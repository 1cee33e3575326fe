package all_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/pipeline/kind/all"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/schemas"
)

// Every kind of the list has what a kind needs: a documented name, a schema
// that its parameters match, a page, and cases where it reads text.
func TestEveryKindIsComplete(t *testing.T) {
	var names []string
	for _, k := range all.Kinds() {
		name := k.Name()
		names = append(names, name)
		if !slices.Contains(config.DocumentedKinds(), name) {
			t.Errorf("%s is not a documented kind", name)
		}
		if _, ok := schemas.Kind(name); !ok {
			t.Errorf("%s has no schema", name)
			continue
		}
		kindtest.Params(t, k)
		if found, ok := all.Kind(name); !ok || found.Name() != name {
			t.Errorf("%s is not found by its name", name)
		}
		page, err := os.ReadFile("../../../docs/policies/" + name + ".md")
		if err != nil || !strings.Contains(string(page), "## Configuration") {
			t.Errorf("%s has no page: %v", name, err)
		}
		if !strings.Contains(string(page), "## What it misses") {
			t.Errorf("the page of %s does not say what it misses", name)
		}
		_, err1 := os.Stat("../" + strings.ReplaceAll(name, "-", "") + "/testdata/cases.txtar")
		_, err2 := os.Stat("../lexical/testdata/" + name + ".txtar")
		if err1 != nil && err2 != nil && name != "audit-logger" {
			t.Errorf("%s has no cases", name)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("kinds are not in the order of their names: %v", names)
	}
}
