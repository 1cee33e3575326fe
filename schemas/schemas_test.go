package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keeptrusts/kt/schemas"
)

func parse(t *testing.T, name string, data []byte) map[string]any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return doc.(map[string]any)
}

func all(t *testing.T) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{"policy-config": parse(t, "policy-config", schemas.PolicyConfig())}
	for _, k := range schemas.Kinds() {
		data, ok := schemas.Kind(k)
		if !ok {
			t.Fatalf("no schema for %s", k)
		}
		out["policy/"+k] = parse(t, k, data)
	}
	return out
}

func TestIDsAndTitlesFollowTheFileNames(t *testing.T) {
	for name, doc := range all(t) {
		if want := schemas.Base + name + ".schema.json"; doc["$id"] != want {
			t.Errorf("%s: $id %v, want %s", name, doc["$id"], want)
		}
		if doc["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: $schema %v", name, doc["$schema"])
		}
		if kind, ok := strings.CutPrefix(name, "policy/"); ok && doc["title"] != kind {
			t.Errorf("%s: title %v", name, doc["title"])
		}
	}
}

// TestEveryPropertyIsDescribedAndClosed walks all schemas: a property without
// description, an object that accepts any key, and a default that its own
// schema refuses are faults.
func TestEveryPropertyIsDescribedAndClosed(t *testing.T) {
	open := []string{"targeting", "messages/items", "request", "upstream_response", "metadata", "config"}
	for name, doc := range all(t) {
		properties := 0
		var walk func(path string, s map[string]any)
		walk = func(path string, s map[string]any) {
			props, _ := s["properties"].(map[string]any)
			_, closed := s["additionalProperties"]
			types := fmt.Sprint(s["type"])
			if strings.Contains(types, "object") && !closed && !slices.ContainsFunc(open, func(o string) bool { return strings.HasSuffix(path, "/"+o) }) {
				t.Errorf("%s%s accepts any key", name, path)
			}
			for k, v := range props {
				properties++
				p := v.(map[string]any)
				if _, ref := p["$ref"]; !ref {
					if d, _ := p["description"].(string); !strings.HasSuffix(d, ".") {
						t.Errorf("%s%s/%s: description %q", name, path, k, d)
					}
				}
				checkDefault(t, name+path+"/"+k, p)
				walk(path+"/"+k, p)
			}
			for _, k := range []string{"items", "additionalProperties"} {
				if sub, ok := s[k].(map[string]any); ok {
					walk(path+"/"+k, sub)
				}
			}
			defs, _ := s["$defs"].(map[string]any)
			for k, v := range defs {
				walk(path+"/$defs/"+k, v.(map[string]any))
			}
		}
		walk("", doc)
		if properties == 0 {
			t.Errorf("%s has no properties", name)
		}
	}
}

func checkDefault(t *testing.T, where string, s map[string]any) {
	t.Helper()
	def, ok := s["default"]
	if !ok {
		return
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///s.json", s); err != nil {
		t.Fatal(err)
	}
	sch, err := c.Compile("mem:///s.json")
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if err := sch.Validate(def); err != nil {
		t.Errorf("%s: default %v: %v", where, def, err)
	}
}

func TestKindsNameTheirPhases(t *testing.T) {
	for name, doc := range all(t) {
		if !strings.HasPrefix(name, "policy/") {
			continue
		}
		phases, _ := doc["x-kt-phases"].([]any)
		if len(phases) == 0 {
			t.Errorf("%s has no x-kt-phases", name)
		}
		for _, p := range phases {
			if !slices.Contains([]any{"input", "tool", "output"}, p) {
				t.Errorf("%s: phase %v", name, p)
			}
		}
	}
}

func TestBundleStandsAlone(t *testing.T) {
	data, err := schemas.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	doc := parse(t, "bundle", data)
	if err := c.AddResource(doc["$id"].(string), doc); err != nil {
		t.Fatal(err)
	}
	sch, err := c.Compile(doc["$id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	file := func(threshold string) any {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"pack":{"name":"x","version":"0.1.0"},"policies":{"chain":["prompt-injection"]},"policy":{"prompt-injection":{"threshold":` + threshold + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := sch.Validate(file("0.8")); err != nil {
		t.Errorf("a good file is refused: %v", err)
	}
	if err := sch.Validate(file("1.8")); err == nil {
		t.Error("the kinds' schemas are not in force")
	}
}

func TestUnknownNamesAreNotFound(t *testing.T) {
	for _, name := range []string{"", "nope", "../policy-config", "..\\x", "audit-logger/../pii-detector"} {
		if _, ok := schemas.Kind(name); ok {
			t.Errorf("Kind(%q) is found", name)
		}
		if _, ok := schemas.Wire(name); ok {
			t.Errorf("Wire(%q) is found", name)
		}
	}
	for _, w := range schemas.WireFormats() {
		if data, ok := schemas.Wire(w); !ok || !json.Valid(data) {
			t.Errorf("Wire(%q) is not there or no JSON", w)
		}
	}
}
