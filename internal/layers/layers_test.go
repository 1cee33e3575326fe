// Package layers checks house.md section 4: which package may import which.
package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/keeptrusts/kt/"

// rule says what the packages that match its pattern may import. A pattern or
// an entry that ends in "/..." covers the folder and all below it; "*" allows
// everything of this module. Test files are not checked.
type rule struct {
	pattern string
	own     string // packages of this module, space separated
	third   string // modules of others, by import path prefix
}

const leaves = "internal/diag internal/buf internal/invariant internal/golden"

// rules is the import table; the first pattern that matches counts. A package
// that is not in it fails the test: add it here with the layer it belongs to.
var rules = []rule{
	{"internal/diag", leaves, ""},
	{"internal/buf", "internal/invariant", ""},
	{"internal/invariant", "", ""},
	{"internal/golden", "", ""},
	{"internal/layers", "", ""},
	{"schemas", "", ""},
	{"internal/config", "schemas internal/diag", "go.yaml.in/yaml/v4 github.com/santhosh-tekuri/jsonschema/v6 golang.org/x/text"},
	{"pipeline/scan", "internal/invariant", ""},
	{"pipeline/rulebook", "pipeline/scan", ""},
	{"pipeline/kind/all", "pipeline pipeline/kind/...", ""},
	{"pipeline/kind/...", "pipeline pipeline/scan pipeline/rulebook", ""},
	{"pipeline/plan", "internal/config pipeline pipeline/scan pipeline/kind/all internal/diag schemas", ""},
	{"pipeline/interp", "pipeline pipeline/plan pipeline/scan", ""},
	{"pipeline/compiled/...", "pipeline pipeline/scan pipeline/kind/...", ""},
	{"pipeline/kindtest", "pipeline/... internal/golden internal/invariant internal/config internal/diag schemas", "golang.org/x/tools/txtar"},
	{"pipeline/difftest", "pipeline/... gen stream/... internal/config internal/diag internal/golden schemas", "golang.org/x/tools/txtar"},
	{"pipeline/policytest", "pipeline/... gen stream/... internal/config internal/diag", ""},
	{"pipeline", "pipeline/scan internal/invariant", ""},
	{"gen", "pipeline/plan pipeline pipeline/scan pipeline/kind/... schemas internal/config internal/diag stream/jsonwalk stream/jsonwalk/wiretable", "github.com/dave/jennifer"},
	{"gen/ktgen", "gen", ""},
	{"stream/sse", leaves, ""},
	{"stream/jsonwalk", leaves, ""},
	{"stream/jsonwalk/wiretable", "stream/jsonwalk", ""},
	{"stream/dialect/...", "stream/sse stream/jsonwalk stream/dialect " + leaves, "github.com/bytedance/sonic"},
	{"stream", "stream/sse stream/jsonwalk stream/dialect pipeline " + leaves, ""},
	{"upstream/mock", "stream/... " + leaves, ""},
	{"upstream/providertest", "upstream upstream/provider/... stream/sse stream/jsonwalk stream/dialect/... upstream/mock " + leaves, "golang.org/x/tools/txtar"},
	{"upstream/provider/...", "upstream/provider/... stream/sse stream/jsonwalk stream/dialect/... " + leaves, "github.com/bytedance/sonic"},
	{"upstream", "upstream/provider/... stream/sse stream/jsonwalk stream/dialect/... " + leaves, ""},
	{"internal/audit", "pipeline " + leaves, "github.com/bytedance/sonic github.com/nats-io/nats.go"},
	{"internal/edge", leaves, ""},
	{"internal/gateway", "pipeline stream/... upstream/... internal/audit internal/edge " + leaves, "github.com/cloudwego/hertz github.com/prometheus github.com/bytedance/sonic"},
	{"cmd/...", "*", "github.com/spf13/cobra github.com/spf13/pflag github.com/caarlos0/env/v11 golang.org/x/term go.opentelemetry.io/otel github.com/prometheus/client_golang"},
	{"bench/...", "*", "github.com/cloudwego/hertz github.com/prometheus"},
	{"examples/...", "*", ""},
	{"loadtest/...", "*", ""},
}

func TestPackagesImportOnlyWhatTheirLayerAllows(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		path := strings.TrimPrefix(p.ImportPath, module)
		r, ok := find(path)
		if !ok {
			t.Errorf("%s is not in the layer table (internal/layers): say there what it may import", path)
			continue
		}
		for _, imp := range p.Imports {
			if !allowed(r, path, imp) {
				t.Errorf("%s (rule %q) must not import %s", path, r.pattern, imp)
			}
		}
	}
	if seen == 0 {
		t.Fatal("go list named no package")
	}
}

func find(path string) (rule, bool) {
	for _, r := range rules {
		if matches(r.pattern, path) {
			return r, true
		}
	}
	return rule{}, false
}

func matches(pattern, path string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == dir || strings.HasPrefix(path, dir+"/")
	}
	return pattern == path
}

func allowed(r rule, path, imp string) bool {
	if own, ok := strings.CutPrefix(imp, module); ok {
		if r.own == "*" || own == path {
			return true
		}
		for p := range strings.FieldsSeq(r.own) {
			if matches(p, own) {
				return true
			}
		}
		return false
	}
	first, _, _ := strings.Cut(imp, "/")
	if !strings.Contains(first, ".") {
		return true // standard library
	}
	for p := range strings.FieldsSeq(r.third) {
		if imp == p || strings.HasPrefix(imp, p+"/") {
			return true
		}
	}
	return false
}
