package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/schemas"
)

// schemaSet is the compiled schema with its parsed documents, which give
// ranges, accepted values and known keys for messages.
type schemaSet struct {
	compiled *jsonschema.Schema
	docs     map[string]any // by $id
}

// loadSchemas compiles the embedded schemas once; the result never changes.
var loadSchemas = sync.OnceValues(func() (*schemaSet, error) {
	set := &schemaSet{docs: map[string]any{}}
	c := jsonschema.NewCompiler()
	add := func(id string, data []byte) error {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("read schema %s: %w", id, err)
		}
		set.docs[id] = doc
		if err := c.AddResource(id, doc); err != nil {
			return fmt.Errorf("add schema %s: %w", id, err)
		}
		return nil
	}
	root := schemas.Base + "policy-config.schema.json"
	if err := add(root, schemas.PolicyConfig()); err != nil {
		return nil, err
	}
	for _, k := range schemas.Kinds() {
		data, _ := schemas.Kind(k)
		if err := add(schemas.Base+"policy/"+k+".schema.json", data); err != nil {
			return nil, err
		}
	}
	var err error
	if set.compiled, err = c.Compile(root); err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return set, nil
})

// at is the schema of the value at a path, nil when the path leaves it. A
// union of types is one schema, so that there is at most one.
func (s *schemaSet) at(path []string) map[string]any {
	id := schemas.Base + "policy-config.schema.json"
	cur, _ := s.docs[id].(map[string]any)
	root := cur
	deref := func() {
		for cur != nil {
			ref, ok := cur["$ref"].(string)
			if !ok {
				return
			}
			if name, ok := strings.CutPrefix(ref, "#/$defs/"); ok {
				defs, _ := root["$defs"].(map[string]any)
				cur, _ = defs[name].(map[string]any)
				continue
			}
			cur, _ = s.docs[schemas.Base+ref].(map[string]any)
			root = cur
		}
	}
	deref()
	for _, p := range path {
		if cur == nil {
			return nil
		}
		props, _ := cur["properties"].(map[string]any)
		next, ok := props[p].(map[string]any)
		if !ok {
			if _, err := strconv.Atoi(p); err == nil && cur["items"] != nil {
				next, ok = cur["items"].(map[string]any)
			}
		}
		if !ok {
			next, _ = cur["additionalProperties"].(map[string]any)
		}
		cur = next
		deref()
	}
	return cur
}

func (s *schemaSet) keys(path []string) []string {
	sch := s.at(path)
	props, _ := sch["properties"].(map[string]any)
	out := make([]string, 0, len(props))
	for k := range props {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// checker collects faults of the merged tree.
type checker struct {
	set   *schemaSet
	root  Value
	opt   Options
	built Built
	diags diag.List
	seen  map[string]bool // pointers of unknown keys that were reported

	badNames []string // keys that break a propertyNames rule
}

func (c *checker) add(d diag.Diagnostic) {
	if len(c.diags) < maxFaults {
		c.diags = append(c.diags, d)
	}
}

func (c *checker) err(v Value, code diag.Code, message, hint string) {
	c.add(v.Diag(code, diag.Error, message, hint))
}

// schema validates the tree and puts every fault into our words.
func (c *checker) schema() error {
	err := c.set.compiled.Validate(c.root.n.any())
	if err == nil {
		return nil
	}
	var ve *jsonschema.ValidationError
	if !errors.As(err, &ve) {
		return fmt.Errorf("validate configuration: %w", err)
	}
	c.walk(ve)
	return nil
}

func (c *checker) walk(e *jsonschema.ValidationError) {
	if k, ok := e.ErrorKind.(*kind.PropertyNames); ok {
		// The library gives these no usable place; headers and conditions
		// look at names themselves, and Load fails if they missed one.
		c.badNames = append(c.badNames, k.Property)
		return
	}
	if len(e.Causes) == 0 {
		c.leaf(e)
		return
	}
	for _, cause := range e.Causes {
		c.walk(cause)
	}
}

// find steps to the value at a path; ok is false inside a refused value.
func (c *checker) find(path []string) (v Value, ok bool) {
	v = c.root
	for _, p := range path {
		if v.Kind() == Invalid {
			return v, false
		}
		next := v.step(p)
		if !next.Exists() {
			return v, false
		}
		v = next
	}
	return v, v.Kind() != Invalid
}

func (c *checker) leaf(e *jsonschema.ValidationError) {
	path := e.InstanceLocation
	v, ok := c.find(path)
	if !ok {
		return
	}
	name := lastName(path)
	sch := c.set.at(path)
	inPolicy := len(path) > 0 && path[0] == "policy"
	rangeCode := diag.NotInRange
	if inPolicy {
		rangeCode = diag.ParamRange
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, p := range k.Properties {
			c.unknownKey(path, v, p)
		}
	case *kind.FalseSchema:
		if len(path) > 0 {
			if parent, ok := c.find(path[:len(path)-1]); ok {
				c.unknownKey(path[:len(path)-1], parent, path[len(path)-1])
			}
		}
	case *kind.Type:
		c.wrongType(path, v, name, sch)
	case *kind.Required:
		for _, m := range k.Missing {
			msg := fmt.Sprintf("%s needs %s", name, m)
			if len(path) == 0 {
				msg = fmt.Sprintf("the configuration needs %s", m)
			}
			hint := c.describe(append(slices.Clone(path), m))
			if hint != "" {
				hint = m + ": " + hint
			}
			if form := requiredForms[dotted(append(slices.Clone(path), m))]; form != "" {
				hint = "write " + form
			}
			c.add(v.KeyDiag(diag.MissingKey, diag.Error, msg, hint))
		}
	case *kind.Enum:
		set := stringsOf(k.Want)
		hint := ""
		if t, isText := v.Text(); isText && !v.n.secret {
			if near := diag.Nearest(t, set); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
		}
		c.err(v, diag.NotInSet, fmt.Sprintf("%s must be %s; got %s", name, oneOf(set), v.show()), hint)
	case *kind.Minimum, *kind.Maximum, *kind.ExclusiveMinimum, *kind.ExclusiveMaximum:
		c.err(v, rangeCode, fmt.Sprintf("%s must be %s; got %s", name, rangeText(sch), v.show()), c.describe(path))
	case *kind.MinLength:
		c.err(v, diag.WrongLength, tooFew(name, "characters", k.Want, k.Got), c.describe(path))
	case *kind.MaxLength:
		c.err(v, diag.WrongLength, fmt.Sprintf("%s must have at most %d characters; it has %d", name, k.Want, k.Got), "")
	case *kind.MinItems:
		if len(path) == 2 && path[1] == "chain" {
			c.err(v, diag.EmptyChain, "the chain has no policy", "name at least one kind, such as audit-logger")
			return
		}
		hint := c.describe(path)
		if !strings.Contains(hint, " ") { // a word says no more than the name
			hint = ""
		}
		c.err(v, diag.WrongLength, tooFew(name, "entries", k.Want, k.Got), hint)
	case *kind.MaxItems:
		code := diag.WrongLength
		if len(path) == 2 && path[1] == "chain" {
			code = diag.ChainTooLong
		}
		c.err(v, code, fmt.Sprintf("%s must have at most %d entries; it has %d", name, k.Want, k.Got), "")
	case *kind.UniqueItems:
		c.err(v.Index(k.Duplicates[1]), diag.WrongForm, fmt.Sprintf("%s has the same entry twice", name), "")
	case *kind.MinProperties, *kind.MaxProperties:
		c.properties(path, v, name)
	case *kind.Pattern:
		c.pattern(path, v, name)
	default:
		c.err(v, diag.SchemaOther, fmt.Sprintf("%s breaks the schema", name), c.describe(path))
	}
}

// requiredForms show what is asked for where a description would not.
var requiredForms = map[string]string{
	"pack":           "pack: {name: my-pack, version: 0.1.0}",
	"policies":       "policies: {chain: [prompt-injection, audit-logger]}, or other kinds",
	"policies.chain": "chain: [prompt-injection, audit-logger], or other kinds",
	"pack.version":   "version: 0.1.0, a semantic version",
}

func tooFew(name, what string, want, got int) string {
	if want == 1 {
		return name + " must not be empty"
	}
	return fmt.Sprintf("%s must have at least %d %s; it has %d", name, want, what, got)
}

// notAnEntry reports, once, a chain entry that names its kind as a value, as
// other products have it. path is that of the entry.
func (c *checker) notAnEntry(path []string) bool {
	v, _ := c.find(path)
	for _, key := range []string{"kind", "type", "name", "policy"} {
		at := v.Get(key)
		kind, ok := at.Text()
		if !ok || at.n.secret {
			continue
		}
		if !c.seen[v.ptr] {
			c.seen[v.ptr] = true
			hint := "write - KIND, its conditions below the kind, and its settings under policy.KIND"
			if slices.Contains(DocumentedKinds(), kind) {
				hint = strings.ReplaceAll(hint, "KIND", kind)
			}
			c.add(at.KeyDiag(diag.WrongForm, diag.Error, fmt.Sprintf("a chain entry is the kind itself; %q is no part of it", key), hint))
		}
		return true
	}
	return false
}

// besideKind reports, once, conditions that stand beside their kind instead of
// below it. path is that of the entry.
func (c *checker) besideKind(path []string) bool {
	v, _ := c.find(path)
	keys := v.Keys()
	if len(keys) < 2 || !slices.Contains(DocumentedKinds(), keys[0]) {
		return false
	}
	for _, k := range keys[1:] {
		if !slices.Contains(entryKeys, k) {
			return false
		}
	}
	if !c.seen[v.ptr] {
		c.seen[v.ptr] = true
		c.add(v.Get(keys[1]).KeyDiag(diag.WrongForm, diag.Error, fmt.Sprintf("%s stands beside %s; it is written below the kind", strings.Join(keys[1:], ", "), keys[0]),
			fmt.Sprintf("indent it further than %s:, or write {%s: {%s: ...}}", keys[0], keys[0], keys[1])))
	}
	return true
}

// entryKeys are what stands below a kind of the chain.
var entryKeys = []string{"parallel", "stage", "targeting", "when"}

// properties reports a map with too few or too many keys.
func (c *checker) properties(path []string, v Value, name string) {
	switch {
	case name == "secret_key_ref":
		c.err(v, diag.SecretRefForm, "secret_key_ref needs exactly one of env and store", "write secret_key_ref: {env: NAME}")
	case name == "when":
		c.err(v, diag.BadCondition, "when has no condition", "give path, header or model, or leave when out")
	case len(path) == 3 && path[1] == "chain" && (c.notAnEntry(path) || c.besideKind(path)):
	case len(path) == 3 && path[1] == "chain":
		c.err(v, diag.WrongForm, "a chain entry is one kind, or one kind with its conditions", "give every kind its own entry")
	default:
		c.err(v, diag.WrongLength, fmt.Sprintf("%s has the wrong number of keys: %d", name, v.Len()), c.describe(path))
	}
}

func (c *checker) pattern(path []string, v Value, name string) {
	if _, short := c.set.at(path)["minLength"]; short && v.Kind() == String && v.n.text == "" {
		return // said as a length
	}
	switch {
	case len(path) >= 2 && path[len(path)-2] == "secret_key_ref":
		what := "the name of an environment variable"
		if name == "store" {
			what = "the name of a stored secret"
		}
		c.err(v, diag.SecretInline, fmt.Sprintf("%s must be %s; what stands here is not shown, since it may be a secret", name, what),
			"put the secret into an environment variable and name the variable here")
	case name == "version" && len(path) == 2:
		c.err(v, diag.WrongForm, fmt.Sprintf("version must be a semantic version; got %s", v.show()), "such as 0.1.0")
	default:
		c.err(v, diag.WrongForm, fmt.Sprintf("%s does not have the form that is needed there: %s", name, v.show()), c.describe(path))
	}
}

func (c *checker) wrongType(path []string, v Value, name string, sch map[string]any) {
	want := typesOf(sch)
	switch {
	case len(path) == 1 && path[0] == "policies" && v.Kind() == List:
		c.err(v, diag.OldPlace, "a list of policies is an older form; the order now stands in policies.chain", "write policies: {chain: [kind, ...]} and the settings under policy.<kind>")
		return
	case name == "secret_key_ref":
		c.err(v, diag.SecretRefForm, "secret_key_ref must be a map with env or store", "write secret_key_ref: {env: NAME}")
		return
	}
	if len(path) == 4 && path[1] == "chain" && !slices.Contains(DocumentedKinds(), name) && (c.notAnEntry(path[:3]) || slices.Contains(entryKeys, name) && c.besideKind(path[:3])) {
		return
	}
	hint := ""
	switch {
	case len(path) == 2 && path[0] == "pack" && name == "version":
		hint = "write a semantic version, such as 0.1.0"
	case v.Kind() == Number && slices.Equal(want, []string{"a string"}):
		hint = "put it in quotes"
	case v.Kind() == String && slices.Contains(want, "true or false") && slices.Contains([]string{"yes", "no", "on", "off", "y", "n"}, strings.ToLower(v.n.text)):
		hint = "write true or false"
	case v.Kind() == String && (slices.Contains(want, "a number") || slices.Contains(want, "a whole number")):
		if decimal.MatchString(v.n.text) {
			hint = "remove the quotes"
		} else if d, err := time.ParseDuration(v.n.text); err == nil && strings.Contains(dotted(path), "_ms") {
			hint = fmt.Sprintf("it is in milliseconds: %d", d.Milliseconds())
		} else if !v.n.secret {
			hint = c.describe(path)
		}
	case v.Kind() == String && len(want) == 1 && want[0] == "true or false" && (v.n.text == "true" || v.n.text == "false"):
		hint = "remove the quotes"
	case v.Kind() == String && slices.Contains(want, "a list") && slices.Contains(typesOf(c.set.at(append(slices.Clone(path), "0"))), "a string") && !v.n.secret && len(v.n.text) <= 40 && !strings.ContainsAny(v.n.text, "'\n"):
		hint = fmt.Sprintf("write it as a list: ['%s']", v.n.text)
	case (v.Kind() == String || v.Kind() == Map) && slices.Contains(want, "a list"):
		hint = "write it as a list: one entry a line, with a dash before it"
	case v.Kind() == Null && len(path) == 2 && path[1] == "chain":
		hint = requiredForms["policies.chain"]
	}
	if hint == "" {
		hint = c.formOf(path, v, want)
	}
	got := v.Kind().String()
	if v.Kind() == String || v.Kind() == Number {
		got += ", " + v.show()
	}
	c.err(v, diag.WrongType, fmt.Sprintf("%s must be %s; got %s", name, strings.Join(want, " or "), got), hint)
}

// formOf is the hint for a value of the wrong type about which nothing better is
// known: what has no value, the accepted values, the keys of a map, else what it is for.
func (c *checker) formOf(path []string, v Value, want []string) string {
	sch := c.set.at(path)
	if v.Kind() == Null {
		if _, err := strconv.Atoi(path[len(path)-1]); err == nil {
			return "give the entry a value, or remove its dash"
		}
		return "give it a value, or remove the key"
	}
	if set, ok := sch["enum"].([]any); ok {
		return "want " + oneOf(stringsOf(set))
	}
	if keys := c.set.keys(path); len(keys) > 0 && slices.Contains(want, "a map") {
		return "its keys are " + listed(keys)
	}
	if slices.Equal(want, []string{"true or false"}) && v.Kind() != List && v.Kind() != Map {
		return "write true or false, without quotes"
	}
	if slices.Equal(want, []string{"a string"}) && (v.Kind() == Map || v.Kind() == List) {
		return "a text that holds a colon and a space, or begins with [ or {, needs quotes"
	}
	if hint := c.describe(path); strings.Contains(hint, " ") {
		return hint
	}
	return ""
}

// unknownKey says what is known about a key that the schema does not have.
func (c *checker) unknownKey(path []string, v Value, key string) {
	at := v.Get(key)
	if c.seen[at.ptr] || !at.Exists() {
		return
	}
	c.seen[at.ptr] = true
	if len(path) == 4 && path[1] == "chain" && slices.Contains(entryKeys, path[3]) && c.besideKind(path[:3]) {
		return
	}
	if at.n.secret && at.n.kind == String && (at.n.byName || !c.lenient(path)) {
		return // the secrets pass names it
	}
	add := func(code diag.Code, message, hint string, aliases ...string) {
		d := at.KeyDiag(code, diag.Error, message, hint)
		d.Aliases = aliases
		c.add(d)
	}
	if len(path) == 1 && path[0] == "policy" {
		c.unknownKind(at, key)
		return
	}
	for _, p := range places {
		if !matchPointer(p.pattern, at.ptr) {
			continue
		}
		where := dotted(append(slices.Clone(path), key))
		switch {
		case p.now != "":
			add(diag.OldPlace, fmt.Sprintf("%s has another place: %s", where, p.now), "")
		case p.built:
			add(diag.NotSupported, fmt.Sprintf("%s is not supported", where), p.why)
		default:
			add(diag.NotBuiltYet, fmt.Sprintf("%s is documented but not built yet in this version", where), "remove it; it would not be enforced")
		}
		return
	}
	known := c.set.keys(path)
	hint := ""
	if near := diag.Nearest(key, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if len(known) > 0 {
		hint = "known keys: " + strings.Join(known, ", ")
	}
	switch {
	case len(path) == 4 && path[1] == "chain" && slices.Contains(c.set.keys([]string{"policy", path[3]}), key):
		hint = fmt.Sprintf("settings stand under policy.%s, beside policies: policy: {%s: {%s: ...}}", path[3], path[3], key)
	case strings.HasPrefix(key, "//"):
		hint = "comments begin with #"
	case len(path) > 0 && slices.Contains(c.set.keys(nil), key):
		hint = fmt.Sprintf("%s stands at the top level, beside %s", key, path[0])
	}
	where := "at the top level"
	if len(path) > 0 {
		where = "in " + dotted(path)
	}
	var aliases []string
	if len(path) >= 2 && path[0] == "policy" {
		aliases = []string{"E002"}
	}
	quoted := ""
	if plainName.MatchString(key) { // other keys may be text that lost its place
		quoted = fmt.Sprintf(" %q", key)
	} else {
		at.ptr = v.ptr
	}
	add(diag.UnknownKey, fmt.Sprintf("unknown key%s %s", quoted, where), hint, aliases...)
}

// plainName is a key that a message quotes.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,40}$`)

// unknownKind reports a kind, at its key or chain entry, that cannot be used.
func (c *checker) unknownKind(at Value, name string) {
	if slices.Contains(DocumentedKinds(), name) {
		if !slices.Contains(schemas.Kinds(), name) || !c.built.Kind(name) {
			c.add(at.KeyDiag(diag.KindNotBuilt, diag.Error, fmt.Sprintf("policy kind %s is documented but not built yet in this version", name),
				"built are "+strings.Join(c.built.Kinds, ", ")))
		}
		return
	}
	hint := "kinds are " + strings.Join(c.built.Kinds, ", ")
	if near := diag.Nearest(name, DocumentedKinds()); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	d := at.KeyDiag(diag.UnknownKind, diag.Error, fmt.Sprintf("unknown policy kind %q", shorten(name)), hint)
	d.Aliases = []string{"E001"}
	c.add(d)
}

// describe is the schema's description of the value at a path.
func (c *checker) describe(path []string) string {
	sch := c.set.at(path)
	if h, ok := sch["x-kt-hint"].(string); ok {
		return h
	}
	d, _ := sch["description"].(string)
	return d
}

// lenient tells whether a text that looks like a secret is allowed there:
// policies and tests quote such texts on purpose.
func (c *checker) lenient(path []string) bool {
	return len(path) > 0 && (path[0] == "policy" || path[0] == "testing" || path[0] == "policies")
}

func lastName(path []string) string {
	if len(path) == 0 {
		return "the top level"
	}
	last := path[len(path)-1]
	if _, err := strconv.Atoi(last); err == nil && len(path) > 1 {
		return path[len(path)-2] + "[" + last + "]"
	}
	return shorten(last)
}

func dotted(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if _, err := strconv.Atoi(p); err == nil {
			b.WriteString("[" + p + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(shorten(p))
	}
	return b.String()
}

func stringsOf(in []any) []string {
	out := make([]string, 0, len(in))
	for _, v := range in {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func oneOf(set []string) string {
	if len(set) == 1 {
		return set[0]
	}
	return "one of " + strings.Join(set, ", ")
}

func typesOf(sch map[string]any) []string {
	var names []string
	switch t := sch["type"].(type) {
	case string:
		names = []string{t}
	case []any:
		names = stringsOf(t)
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		switch n {
		case "integer":
			out = append(out, "a whole number")
		case "object":
			out = append(out, "a map")
		case "array":
			out = append(out, "a list")
		case "null":
		case "boolean":
			out = append(out, "true or false")
		default:
			out = append(out, "a "+n)
		}
	}
	return out
}

func rangeText(sch map[string]any) string {
	num := func(key string) string {
		v, ok := sch[key]
		if !ok {
			return ""
		}
		if n, ok := v.(json.Number); ok {
			return n.String()
		}
		if r, ok := v.(*big.Rat); ok {
			return r.RatString()
		}
		return fmt.Sprint(v)
	}
	lo, hi := num("minimum"), num("maximum")
	switch {
	case lo != "" && hi != "":
		return "between " + lo + " and " + hi
	case lo != "":
		return "at least " + lo
	}
	return "at most " + hi
}
