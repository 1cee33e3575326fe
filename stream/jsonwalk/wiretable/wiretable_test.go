package wiretable_test

import (
	"go/format"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/stream/jsonwalk"
	"github.com/keeptrusts/kt/stream/jsonwalk/wiretable"
)

const schema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "t", "type": "object", "required": ["items"],
  "properties": {
    "items": {"type": ["array", "null"], "items": {"$ref": "#/$defs/item"}, "x-kt-slot": 1, "x-kt-count": true},
    "map": {"type": "object", "additionalProperties": {"type": "string", "x-kt-text": "scan"}},
    "kind": {"type": "string", "x-kt-text": "enum", "x-kt-enum": ["a"], "x-kt-tag": "kind_of"},
    "pad": {"type": "string", "x-kt-text": "opaque", "x-kt-reason": "padding", "x-kt-quiet": true}
  },
  "$defs": {"item": {"type": "object", "x-kt-emit": true, "properties": {
    "text": {"type": "string", "x-kt-text": "scan"},
    "ref": {"type": "string", "x-kt-text": "id"},
    "more": {"type": "array", "items": {"$ref": "#/$defs/item"}}
  }}}
}`

func TestSchemaBecomesTable(t *testing.T) {
	got, err := wiretable.Compile([]byte(schema), []string{"other", "kind_of"})
	if err != nil {
		t.Fatal(err)
	}
	table, err := jsonwalk.NewTable(got.Nodes, got.Fields, got.Root)
	if err != nil {
		t.Fatal(err)
	}
	src := []byte(`{"items":[{"text":"a","more":[{"ref":"b"}]}],"map":{"k":"v"},"kind":"a","pad":"p"}`)
	var w jsonwalk.Walker
	leaves, err := w.Walk(table, src, jsonwalk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range leaves {
		l := &leaves[i]
		n := &table.Nodes[l.Node]
		b.WriteString(n.Name + " " + l.Kind.String() + " " + n.Text.String() + " " + string(l.Of(src)) + "\n")
		if (n.Tag == 2) != (n.Name == "kind") {
			t.Errorf("%s has tag %d", n.Name, n.Tag)
		}
	}
	const want = `item object scan {"text":"a","more":[{"ref":"b"}]}
item.text string scan a
item object scan {"ref":"b"}
item.ref string id b
map.* key scan k
map.* string scan v
kind string enum a
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestSourceIsFormattedAndTheSameTwice(t *testing.T) {
	var out []string
	for range 2 {
		table, err := wiretable.Compile([]byte(schema), []string{"kind_of"})
		if err != nil {
			t.Fatal(err)
		}
		src := append([]byte("package p\n\n"), table.AppendGo(nil, "doc")...)
		formatted, err := format.Source(src)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		out = append(out, string(formatted))
	}
	if out[0] != out[1] {
		t.Error("two runs differ")
	}
	for _, want := range []string{"Tag: tagKindOf", `Reason: "padding"`, "const docRoot jsonwalk.NodeID = 1", `{Key: "text", Node: `} {
		if !strings.Contains(out[0], want) {
			t.Errorf("%q is not in the source:\n%s", want, out[0])
		}
	}
}

func TestFaultySchemasAreRefused(t *testing.T) {
	for _, c := range []struct{ want, schema string }{
		{"needs x-kt-text", `{"type":"object","properties":{"a":{"type":"string"}}}`},
		{"needs x-kt-text", `{"type":"object","properties":{"a":{"type":["null","string"],"x-kt-text":"text"}}}`},
		{"no string", `{"type":"object","x-kt-text":"scan"}`},
		{"no type", `{"type":"object","properties":{"a":{}}}`},
		{"no JSON type", `{"type":"text"}`},
		{"unknown x-kt-tag", `{"type":"object","x-kt-tag":"x"}`},
		{"unknown field", `{"type":"object","patternProperties":{}}`},
		{"is not defined", `{"type":"array","items":{"$ref":"#/$defs/x"}}`},
		{"opaque string without a reason", `{"type":"string","x-kt-text":"opaque"}`},
		{"enum without values", `{"type":"string","x-kt-text":"enum"}`},
		{"not among the properties", `{"type":"object","required":["a"]}`},
		{"differ only in case", `{"type":"object","properties":{"a":{"type":"null"},"A":{"type":"null"}}}`},
		{"needs escapes", `{"type":"object","properties":{"a\"":{"type":"null"}}}`},
		{"follows the schema", `{"type":"object"}{}`},
	} {
		if _, err := wiretable.Compile([]byte(c.schema), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.schema, err, c.want)
		}
	}
}
