// Package schemas embeds the published JSON Schemas (2020-12): the
// configuration file, one schema for each policy kind, and the wire formats.
// They are the one source of names, types, ranges, defaults and descriptions.
package schemas

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// FS holds policy-config.schema.json, policy/<kind>.schema.json and wire/.
//
//go:embed policy-config.schema.json policy wire
var FS embed.FS

// Base is what the $id of every schema starts with.
const Base = "https://keeptrusts.com/schemas/"

const suffix = ".schema.json"

// PolicyConfig is the schema of a whole configuration file. It refers to the
// kinds' schemas by relative $ref; Bundle has them inside.
func PolicyConfig() []byte { return mustRead("policy-config" + suffix) }

// Kind is the schema of one policy kind's block.
func Kind(name string) ([]byte, bool) {
	if strings.ContainsAny(name, "/\\") {
		return nil, false
	}
	b, err := FS.ReadFile("policy/" + name + suffix)
	return b, err == nil
}

// Kinds are the names of all kinds that have a schema, sorted.
func Kinds() []string { return names("policy") }

// WireFormats are the names of all wire schemas, sorted.
func WireFormats() []string { return names("wire") }

// Wire is the schema of one wire format.
func Wire(name string) ([]byte, bool) {
	if strings.ContainsAny(name, "/\\") {
		return nil, false
	}
	b, err := FS.ReadFile("wire/" + name + suffix)
	return b, err == nil
}

func names(dir string) []string {
	entries, err := FS.ReadDir(dir)
	if err != nil {
		return nil // the folder is embedded: cannot happen
	}
	var out []string
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), suffix); ok {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Bundle is PolicyConfig with every kind's schema under $defs, for editors
// that load one file.
func Bundle() ([]byte, error) {
	var doc struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	root := PolicyConfig()
	if err := json.Unmarshal(root, &doc); err != nil {
		return nil, fmt.Errorf("read policy-config schema: %w", err)
	}
	for _, k := range Kinds() {
		b, _ := Kind(k)
		doc.Defs["policy/"+k] = b
	}
	defs, err := json.Marshal(doc.Defs)
	if err != nil {
		return nil, fmt.Errorf("bundle schemas: %w", err)
	}
	// $defs is the last member of the file (tested), so that the order of the
	// other members, which editors show, stays.
	i := bytes.LastIndex(root, []byte("\n  \"$defs\": "))
	if i < 0 {
		return nil, fmt.Errorf("bundle schemas: no $defs in the policy-config schema")
	}
	out := append(slices.Clone(root[:i]), "\n  \"$defs\": "...)
	out = append(append(out, defs...), "\n}\n"...)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "  "); err != nil {
		return nil, fmt.Errorf("bundle schemas: %w", err)
	}
	return pretty.Bytes(), nil
}

func mustRead(name string) []byte {
	b, err := FS.ReadFile(name)
	if err != nil {
		panic("schemas: " + err.Error()) // embedded at build time
	}
	return b
}
