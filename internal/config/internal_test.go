package config

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/schemas"
)

// TestKindsWithARequiredFieldNeedABlock gives a kind a required field, since
// none of the present ones has any.
func TestKindsWithARequiredFieldNeedABlock(t *testing.T) {
	set, err := loadSchemas()
	if err != nil {
		t.Fatal(err)
	}
	id := schemas.Base + "policy/audit-logger.schema.json"
	doc := maps.Clone(set.docs[id].(map[string]any))
	doc["required"] = []any{"retention_days"}
	docs := maps.Clone(set.docs)
	docs[id] = doc
	f, root := parseFile(Source{Name: "f", Data: []byte("chain: [prompt-injection, audit-logger]\n")})
	if len(f.diags) > 0 {
		t.Fatal(f.diags.Text())
	}
	c := &checker{set: &schemaSet{compiled: set.compiled, docs: docs}, root: Value{n: root}, built: DefaultBuilt(), seen: map[string]bool{}}
	c.policies(Value{}, c.chain(c.root.Get("chain")))
	if len(c.diags) != 1 || c.diags[0].Code != diag.NeedsBlock || !slices.Equal(c.diags[0].Aliases, []string{"E003"}) || c.diags[0].Column != 27 {
		t.Errorf("diagnostics:\n%s", c.diags.Text())
	}
}

// TestEveryPlaceNamesSomethingTheSchemaLacks: an entry whose key the schema
// has by now is dead and misleading.
func TestEveryPlaceNamesSomethingTheSchemaLacks(t *testing.T) {
	set, err := loadSchemas()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		path := strings.Split(strings.ReplaceAll(p.pattern, "*", "0")[1:], "/")
		if slices.Contains(set.keys(path[:len(path)-1]), path[len(path)-1]) {
			t.Errorf("%s is in the schema", p.pattern)
		}
		if p.now != "" && (p.built || p.why != "") || p.built && p.why == "" {
			t.Errorf("%s says two things, or nothing", p.pattern)
		}
	}
}

// TestEveryRefusalNamesAFieldOfTheSchema: a refusal that matches nothing would
// let its value through.
func TestEveryRefusalNamesAFieldOfTheSchema(t *testing.T) {
	set, err := loadSchemas()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range refusals {
		path := strings.Split(strings.ReplaceAll(r.pattern, "*", "pii-detector")[1:], "/")
		if set.at(path) == nil {
			t.Errorf("%s is not in the schema", r.pattern)
		}
	}
}

// TestEveryRefusalStandsInTheSchema: the pages and editors show the field's
// text, which must not promise what is refused.
func TestEveryRefusalStandsInTheSchema(t *testing.T) {
	set, err := loadSchemas()
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, r := range refusals {
		for _, kind := range schemas.Kinds() {
			path := strings.Split(r.pattern[1:], "/")
			if path[1] != "*" && path[1] != kind {
				continue
			}
			path[1] = kind
			field := set.at(path)
			if field == nil {
				continue
			}
			said++
			if text, _ := field["description"].(string); !strings.HasSuffix(text, " Not built: "+r.value+" is refused (KT2003).") {
				t.Errorf("%s of %s does not say that %s is refused: %s", path[2], kind, r.value, text)
			}
		}
	}
	if said < len(refusals) {
		t.Errorf("%d fields for %d refusals", said, len(refusals))
	}
}

// TestSchemasPassNoPropertyNameThatLoadMisses: names that a propertyNames rule
// refuses are refused with a place.
func TestSchemasPassNoPropertyNameThatLoadMisses(t *testing.T) {
	for name, text := range map[string]string{
		"target header": "pack: {name: x, version: 0.1.0}\npolicies: {chain: [audit-logger]}\nproviders: {targets: [{id: a, provider: openai, model: m, headers: {\"x-a b\": c}}]}\n",
		"when header":   "pack: {name: x, version: 0.1.0}\npolicies: {chain: [{audit-logger: {when: {header: {\"a b\": c}}}}]}\n",
		"empty":         "pack: {name: x, version: 0.1.0}\npolicies: {chain: [{audit-logger: {when: {header: {\"\": c}}}}]}\n",
	} {
		cfg, diags := Load([]Source{{Name: "f", Data: []byte(text)}}, Options{})
		if errs := diags.Filter(diag.Error); cfg != nil || len(errs) != 1 || errs[0].Line < 2 || errs[0].Code == diag.SchemaOther {
			t.Errorf("%s:\n%s", name, diags.Text())
		}
	}
}
