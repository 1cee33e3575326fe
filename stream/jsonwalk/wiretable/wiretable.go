// Package wiretable compiles a wire schema (JSON Schema 2020-12 with the x-kt-
// keywords) to a field table of jsonwalk, and writes such a table as Go source.
// It is used by the generator and by tests, never at run time.
//
// Keywords: x-kt-text is the class of a string and is required wherever a
// string is allowed; x-kt-reason says why a string is opaque; x-kt-enum lists
// the known values of an enum (others are allowed, and are text); x-kt-tag
// names what the dialect does with a value; x-kt-slot numbers an array whose
// positions its texts carry; x-kt-count bounds an array's elements; x-kt-emit
// gives a leaf for values that are no strings; x-kt-quiet gives none for a string.
package wiretable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// Table is a compiled schema with the tag names it uses.
type Table struct {
	Nodes  []jsonwalk.Node
	Fields []jsonwalk.Field
	Root   jsonwalk.NodeID
	Tags   []string // the names given to Compile
}

type object struct {
	Schema      string            `json:"$schema"`
	ID          string            `json:"$id"`
	Ref         string            `json:"$ref"`
	Defs        map[string]object `json:"$defs"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Type        types             `json:"type"`
	Properties  map[string]object `json:"properties"`
	Required    []string          `json:"required"`
	Items       *object           `json:"items"`
	Additional  *object           `json:"additionalProperties"`

	Text   string   `json:"x-kt-text"`
	Reason string   `json:"x-kt-reason"`
	Enum   []string `json:"x-kt-enum"`
	Tag    string   `json:"x-kt-tag"`
	Slot   uint8    `json:"x-kt-slot"`
	Emit   bool     `json:"x-kt-emit"`
	Quiet  bool     `json:"x-kt-quiet"`
	Count  bool     `json:"x-kt-count"`
}

// types reads the type keyword: one name or a list of names.
type types jsonwalk.Kinds

var typeNames = map[string]jsonwalk.Kinds{
	"null": jsonwalk.Null, "boolean": jsonwalk.Bool, "number": jsonwalk.Number, "integer": jsonwalk.Number,
	"string": jsonwalk.String, "array": jsonwalk.Array, "object": jsonwalk.Object,
}

func (t *types) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		names = make([]string, 1)
		if err := json.Unmarshal(b, &names[0]); err != nil {
			return fmt.Errorf("read type: %w", err)
		}
	}
	for _, n := range names {
		k, ok := typeNames[n]
		if !ok {
			return fmt.Errorf("read type: %q is no JSON type", n)
		}
		*t |= types(k)
	}
	return nil
}

var classes = map[string]jsonwalk.Text{"scan": jsonwalk.Scan, "opaque": jsonwalk.Opaque, "enum": jsonwalk.Enum, "id": jsonwalk.ID}

type compiler struct {
	defs  map[string]object
	tags  []string
	nodes []jsonwalk.Node
	below [][]jsonwalk.Field // fields by node
	refs  map[string]jsonwalk.NodeID
}

// Compile reads a schema. tags are the names that x-kt-tag may have; a node's
// Tag is the name's position plus one. An unclassified string, an unknown
// keyword and an unknown tag are errors.
func Compile(schema []byte, tags []string) (*Table, error) {
	dec := json.NewDecoder(bytes.NewReader(schema))
	dec.DisallowUnknownFields()
	var root object
	if err := dec.Decode(&root); err != nil {
		return nil, fmt.Errorf("read wire schema: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("read wire schema: something follows the schema")
	}
	c := &compiler{defs: root.Defs, tags: tags, refs: map[string]jsonwalk.NodeID{}}
	c.add(jsonwalk.Node{Name: "*", Kinds: jsonwalk.Any})
	id, err := c.compile(&root, "")
	if err != nil {
		return nil, fmt.Errorf("compile wire schema: %w", err)
	}
	t := &Table{Nodes: c.nodes, Root: id, Tags: tags}
	for i := range t.Nodes {
		if len(c.below[i]) > 0 {
			t.Nodes[i].First, t.Nodes[i].Num = uint16(len(t.Fields)), uint16(len(c.below[i]))
			t.Fields = append(t.Fields, c.below[i]...)
		}
	}
	if _, err := jsonwalk.NewTable(t.Nodes, t.Fields, t.Root); err != nil {
		return nil, fmt.Errorf("compile wire schema: %w", err)
	}
	return t, nil
}

func (c *compiler) add(n jsonwalk.Node) jsonwalk.NodeID {
	c.nodes = append(c.nodes, n)
	c.below = append(c.below, nil)
	return jsonwalk.NodeID(len(c.nodes) - 1)
}

func (c *compiler) compile(o *object, path string) (jsonwalk.NodeID, error) {
	if o.Ref != "" {
		name := strings.TrimPrefix(o.Ref, "#/$defs/")
		if id, ok := c.refs[name]; ok {
			return id, nil
		}
		def, ok := c.defs[name]
		if !ok {
			return 0, fmt.Errorf("%s: %s is not defined", path, o.Ref)
		}
		c.refs[name] = jsonwalk.NodeID(len(c.nodes)) // the node that compile adds next
		return c.compile(&def, name)
	}
	n := jsonwalk.Node{
		Name: path, Kinds: jsonwalk.Kinds(o.Type), Reason: o.Reason, Enum: o.Enum,
		Slot: o.Slot, Emit: o.Emit, Quiet: o.Quiet, Count: o.Count,
	}
	if n.Name == "" {
		n.Name = "."
	}
	if n.Kinds == 0 {
		return 0, fmt.Errorf("%s: no type", n.Name)
	}
	class, classified := classes[o.Text]
	switch {
	case n.Kinds&jsonwalk.String != 0 && !classified:
		return 0, fmt.Errorf("%s: a string needs x-kt-text: scan, opaque, enum or id; got %q", n.Name, o.Text)
	case n.Kinds&jsonwalk.String == 0 && o.Text != "":
		return 0, fmt.Errorf("%s: x-kt-text on a value that is no string", n.Name)
	}
	n.Text = class
	if o.Tag != "" {
		i := slices.Index(c.tags, o.Tag)
		if i < 0 {
			return 0, fmt.Errorf("%s: unknown x-kt-tag %q; known: %s", n.Name, o.Tag, strings.Join(c.tags, ", "))
		}
		n.Tag = uint8(i + 1)
	}
	id := c.add(n)
	for _, key := range slices.Sorted(maps.Keys(o.Properties)) {
		p := o.Properties[key]
		child, err := c.compile(&p, strings.TrimPrefix(path+"."+key, "."))
		if err != nil {
			return 0, err
		}
		c.below[id] = append(c.below[id], jsonwalk.Field{Key: key, Node: child})
	}
	for _, key := range o.Required {
		if _, ok := o.Properties[key]; !ok {
			return 0, fmt.Errorf("%s: required key %s is not among the properties", n.Name, key)
		}
	}
	var err error
	if o.Items != nil {
		if c.nodes[id].Elem, err = c.compile(o.Items, path+"[]"); err != nil {
			return 0, err
		}
	}
	if o.Additional != nil {
		if c.nodes[id].Extra, err = c.compile(o.Additional, path+".*"); err != nil {
			return 0, err
		}
	}
	return id, nil
}

// AppendGo appends the table as Go source: two functions <name>Nodes and
// <name>Fields and a constant <name>Root. The file needs to import jsonwalk;
// tags are written as the constants tag<Name>, which the package has.
func (t *Table) AppendGo(dst []byte, name string) []byte {
	b := bytes.NewBuffer(dst)
	fmt.Fprintf(b, "const %sRoot jsonwalk.NodeID = %d\n\n", name, t.Root)
	fmt.Fprintf(b, "func %sNodes() []jsonwalk.Node {\n\treturn []jsonwalk.Node{\n", name)
	for i := range t.Nodes {
		n := &t.Nodes[i]
		fmt.Fprintf(b, "\t\t%d: {Name: %q, Kinds: %s, Text: jsonwalk.%s", i, n.Name, kindsGo(n.Kinds), textGo[n.Text])
		if n.Reason != "" {
			fmt.Fprintf(b, ", Reason: %q", n.Reason)
		}
		if len(n.Enum) > 0 {
			fmt.Fprintf(b, ", Enum: %#v", n.Enum)
		}
		number(b, "First", int(n.First))
		number(b, "Num", int(n.Num))
		number(b, "Elem", int(n.Elem))
		number(b, "Extra", int(n.Extra))
		number(b, "Slot", int(n.Slot))
		if n.Tag > 0 {
			fmt.Fprintf(b, ", Tag: %s", TagName(t.Tags[n.Tag-1]))
		}
		flag(b, "Emit", n.Emit)
		flag(b, "Quiet", n.Quiet)
		flag(b, "Count", n.Count)
		b.WriteString("},\n")
	}
	fmt.Fprintf(b, "\t}\n}\n\nfunc %sFields() []jsonwalk.Field {\n\treturn []jsonwalk.Field{\n", name)
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Num == 0 {
			continue
		}
		fmt.Fprintf(b, "\t\t// %s\n", strings.NewReplacer("\n", " ", "\r", " ").Replace(n.Name))
		for _, f := range t.Fields[n.First : n.First+n.Num] {
			fmt.Fprintf(b, "\t\t{Key: %q, Node: %d},\n", f.Key, f.Node)
		}
	}
	b.WriteString("\t}\n}\n")
	return b.Bytes()
}

// TagName is the Go constant of a tag: tagOldToolName for old_tool_name.
func TagName(tag string) string {
	var b strings.Builder
	b.WriteString("tag")
	for part := range strings.SplitSeq(tag, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

var textGo = [...]string{jsonwalk.Scan: "Scan", jsonwalk.Opaque: "Opaque", jsonwalk.Enum: "Enum", jsonwalk.ID: "ID"}

func kindsGo(k jsonwalk.Kinds) string {
	if k == jsonwalk.Any {
		return "jsonwalk.Any"
	}
	var parts []string
	for i, name := range []string{"Null", "Bool", "Number", "String", "Array", "Object"} {
		if k&(1<<i) != 0 {
			parts = append(parts, "jsonwalk."+name)
		}
	}
	return strings.Join(parts, " | ")
}

func number(b *bytes.Buffer, name string, v int) {
	if v != 0 {
		b.WriteString(", " + name + ": " + strconv.Itoa(v))
	}
}

func flag(b *bytes.Buffer, name string, v bool) {
	if v {
		b.WriteString(", " + name + ": true")
	}
}
