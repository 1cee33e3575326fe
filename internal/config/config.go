// Package config reads policy-config.yaml into a typed tree whose every value
// knows its place. It is strict: what the schemas do not name is an error, and
// all faults of all files are reported in one run. It knows nothing of
// policies beyond their schemas, nor of providers beyond their names.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
)

// Source is one configuration file; Name is how messages call it.
type Source struct {
	Name string
	Data []byte
}

// Options of Load. The zero value is what kt itself uses.
type Options struct {
	Built     *Built   // what counts as implemented; nil is DefaultBuilt
	Providers []string // known provider ids; nil: any id is accepted
	// CheckTarget says what else is wrong with an enabled target, for a caller
	// that knows the providers; nil: nothing is.
	CheckTarget func(Target) diag.List
}

// Config is a checked configuration. It does not change after Load.
type Config struct {
	Pack      Pack
	Providers Providers
	Chain     []ChainEntry
	Policy    map[string]Value // by kind; a kind without block is absent
	Testing   *Testing         // nil without tests
	Digest    string           // config_version: sha256 of the merged content, whatever its layout
	Files     []string         // names of the sources, in order
	root      Value
}

// Pack names the configuration.
type Pack struct {
	Name        string
	Version     string
	Enabled     bool
	Description string
	Value       Value
}

// ChainEntry is one policy of the chain.
type ChainEntry struct {
	Kind     string
	When     When
	Stage    string // "" or pre-request, post-request, pre-response, post-response
	Parallel bool
	Pos      Pos   // of the kind's name
	Value    Value // the entry: a string, or a map with the kind as its only key
}

// When holds the conditions of a chain entry; all that are given must hold.
type When struct {
	Path   string            // prefix; "" matches every path
	Header map[string]string // lower-case names; all must be equal
	Model  []string          // any; empty matches every model
	Value  Value
}

// Always tells that there is no condition.
func (w When) Always() bool { return w.Path == "" && len(w.Header) == 0 && len(w.Model) == 0 }

// Root is the merged configuration.
func (c *Config) Root() Value { return c.root }

// Entry is the first chain entry of a kind.
func (c *Config) Entry(kind string) (ChainEntry, bool) {
	for _, e := range c.Chain {
		if e.Kind == kind {
			return e, true
		}
	}
	return ChainEntry{}, false
}

// Load reads, merges and checks files; later ones win over earlier ones. The
// Config is nil when the list holds an error. Warnings and notes can come with
// a Config. No diagnostic ever holds a secret that stands in a file.
func Load(files []Source, opt Options) (*Config, diag.List) {
	cfg, whole, list := Examine(files, opt)
	if !whole {
		return nil, list
	}
	return cfg, list
}

// Examine is Load for a caller that looks for further faults. When the list
// holds an error, whole is false, and the Config is what could be made of the
// rest: entries of the chain that name a kind, and their settings without the
// faulty ones. It is nil when the files could not be read, and is good for
// nothing but more diagnostics.
func Examine(files []Source, opt Options) (cfg *Config, whole bool, all diag.List) {
	var parsed []*file
	var merged *node
	usable := len(files) > 0
	names := make([]string, 0, len(files))
	for _, src := range files {
		f, root := parseFile(src)
		parsed = append(parsed, f)
		names = append(names, src.Name)
		if root == nil {
			usable = false
			continue
		}
		merged = merge(merged, root, "")
	}
	shareSecrets(parsed)
	for _, f := range parsed {
		for i := range f.diags {
			f.finish(&f.diags[i])
		}
		all = append(all, f.diags...)
	}
	if len(files) == 0 {
		all = append(all, diag.Diagnostic{Code: diag.EmptyFile, Message: "no configuration file is given", Hint: "--policy-config policy-config.yaml"})
	}
	if !usable {
		all.Sort()
		return nil, false, all
	}
	root := Value{n: fillEmptyBlocks(merged)}
	set, err := loadSchemas()
	if err != nil { // the schemas are embedded and tested: a fault of the program
		all = append(all, diag.Diagnostic{Code: diag.SchemaOther, File: names[0], Message: fmt.Sprintf("schemas of this kt are broken: %v", err)})
		return nil, false, all
	}
	c := &checker{set: set, root: root, opt: opt, built: DefaultBuilt(), seen: map[string]bool{}}
	if opt.Built != nil {
		c.built = *opt.Built
	}
	c.secrets(root, nil)
	if err := c.schema(); err != nil {
		all = append(all, diag.Diagnostic{Code: diag.SchemaOther, File: names[0], Message: "the configuration could not be checked", Hint: scrubText(err.Error())})
	}
	cfg = &Config{Files: names, root: root}
	c.build(cfg)
	all = append(all, c.diags...)
	if len(c.badNames) > 0 && !all.HasErrors() {
		all = append(all, root.Diag(diag.SchemaOther, diag.Error, fmt.Sprintf("%q is not accepted as a name", shorten(c.badNames[0])), ""))
	}
	all.Sort()
	if all.HasErrors() {
		cfg.drop(all, c.built)
		return cfg, false, all
	}
	sum := sha256.Sum256(root.CanonicalJSON())
	cfg.Digest = "sha256:" + hex.EncodeToString(sum[:])
	return cfg, true, all
}

// drop takes out of a configuration what its errors are about.
func (c *Config) drop(faults diag.List, built Built) {
	c.Chain = slices.DeleteFunc(c.Chain, func(e ChainEntry) bool { return !built.Kind(e.Kind) })
	bad := map[string]bool{}
	for _, d := range faults {
		if d.Severity == diag.Error && d.Code != diag.MissingKey { // a missing key's pointer is that of its map
			bad[d.Pointer] = true
		}
	}
	for kind, block := range c.Policy {
		if bad[block.ptr] {
			delete(c.Policy, kind)
			continue
		}
		block.n = block.n.without(bad, block.ptr)
		c.Policy[kind] = block
	}
}

// without is n, which stands at ptr, without the values at the pointers in bad:
// keys are left out, entries of lists become null, so that the others keep their
// pointers. n does not change.
func (n *node) without(bad map[string]bool, ptr string) *node {
	out := *n
	switch n.kind {
	case Map:
		out.fields, out.index = nil, nil
		for _, f := range n.fields {
			at := ptr + "/" + escapePointer(f.key)
			if bad[at] {
				continue
			}
			f.value = f.value.without(bad, at)
			out.fields = append(out.fields, f)
		}
		out.reindex()
	case List:
		out.items = nil
		for i, item := range n.items {
			at := ptr + "/" + strconv.Itoa(i)
			if bad[at] {
				item = &node{kind: Null, pos: item.pos}
			} else {
				item = item.without(bad, at)
			}
			out.items = append(out.items, item)
		}
	}
	return &out
}

// fillEmptyBlocks makes policy.<kind> without a value an empty block.
func fillEmptyBlocks(root *node) *node {
	policy := root.field("policy")
	if policy == nil || policy.value.kind != Map {
		return root
	}
	out, block := *root, *policy.value
	out.fields, block.fields = slices.Clone(root.fields), slices.Clone(block.fields)
	for i, f := range block.fields {
		if f.value.kind == Null {
			block.fields[i].value = &node{kind: Map, pos: f.pos}
		}
	}
	out.field("policy").value = &block
	return &out
}

// byName are the lists whose entries are merged by a field instead of being
// replaced.
var byName = map[string]string{"/providers/targets": "id", "/consumer_groups": "name"}

// merge lays over on base: maps merge key by key, everything else and
// secret_key_ref replaces.
// Neither is changed.
func merge(base, over *node, ptr string) *node {
	if base == nil {
		return over
	}
	switch {
	case strings.HasSuffix(ptr, "/secret_key_ref"):
		return over // one value in two forms: env of one layer and store of another would be two
	case base.kind == Map && over.kind == Map:
		out := &node{kind: Map, pos: over.pos, fields: append([]field(nil), base.fields...)}
		index := make(map[string]int, len(out.fields))
		for i, f := range out.fields {
			index[f.key] = i
		}
		for _, f := range over.fields {
			i, ok := index[f.key]
			if !ok {
				out.fields = append(out.fields, f)
				continue
			}
			f.value = merge(out.fields[i].value, f.value, ptr+"/"+escapePointer(f.key))
			out.fields[i] = f
		}
		out.reindex()
		return out
	case base.kind == List && over.kind == List && byName[ptr] != "":
		key := byName[ptr]
		out := &node{kind: List, pos: over.pos, items: append([]*node(nil), base.items...)}
		merged := make(map[int]bool)
		for _, item := range over.items {
			i := indexByName(out.items[:len(base.items)], key, item)
			if i < 0 || merged[i] { // a name twice in one file stays twice, and is reported
				out.items = append(out.items, item)
				continue
			}
			merged[i] = true
			out.items[i] = merge(out.items[i], item, ptr+"/*")
		}
		return out
	}
	return over
}

func indexByName(items []*node, key string, item *node) int {
	name := nameOf(item, key)
	if name == "" {
		return -1
	}
	for i, it := range items {
		if nameOf(it, key) == name {
			return i
		}
	}
	return -1
}

func nameOf(n *node, key string) string {
	if n.kind != Map {
		return ""
	}
	if f := n.field(key); f != nil && f.value.kind == String {
		return f.value.text
	}
	return ""
}

// Merged is what the files came to, as one file.
func (c *Config) Merged() []byte { return c.root.YAML() }
