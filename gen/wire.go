package gen

import (
	"encoding/json"
	"fmt"
	"go/format"
	"maps"
	"slices"

	"github.com/keeptrusts/kt/schemas"
	"github.com/keeptrusts/kt/stream/jsonwalk/wiretable"
)

// wireFiles say which Go file the field tables of the wire schemas go to.
var wireFiles = []struct {
	dir, pkg string
	tables   []wireTable
}{
	{"stream/dialect/openai", "openai", []wireTable{
		{"request", "openai-chat-request"}, {"response", "openai-chat-response"}, {"chunk", "openai-chat-chunk"},
	}},
}

type wireTable struct{ name, schema string }

// Wire gives the field tables of all wire formats. A schema that no dialect
// uses, and a string without x-kt-text, are errors.
func Wire() ([]Output, error) {
	unused := map[string]bool{}
	for _, n := range schemas.WireFormats() {
		unused[n] = true
	}
	var out []Output
	for _, f := range wireFiles {
		src := []byte(firstLine + "\n\npackage " + f.pkg + "\n\nimport \"github.com/keeptrusts/kt/stream/jsonwalk\"\n")
		for _, t := range f.tables {
			raw, ok := schemas.Wire(t.schema)
			if !ok {
				return nil, fmt.Errorf("generate %s: schemas/wire has no %s", f.dir, t.schema)
			}
			delete(unused, t.schema)
			table, err := CompileWire(raw)
			if err != nil {
				return nil, fmt.Errorf("generate %s: %s: %w", f.dir, t.schema, err)
			}
			src = table.AppendGo(append(src, '\n'), t.name)
		}
		done, err := format.Source(src)
		if err != nil {
			return nil, fmt.Errorf("generate %s: %w", f.dir, err)
		}
		out = append(out, Output{Path: f.dir + "/zz_wire.go", Data: done})
	}
	if len(unused) > 0 {
		return nil, fmt.Errorf("generate wire tables: no dialect uses %v: add them to wireFiles in gen/wire.go", slices.Sorted(maps.Keys(unused)))
	}
	return out, nil
}

// CompileWire compiles a wire schema with the tags that it names: the dialect has a
// constant for each, so that an unknown one does not compile there.
func CompileWire(raw []byte) (*wiretable.Table, error) {
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	tags := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if tag, ok := v["x-kt-tag"].(string); ok {
				tags[tag] = true
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(doc)
	return wiretable.Compile(raw, slices.Sorted(maps.Keys(tags)))
}
