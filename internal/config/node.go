package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/diag"
)

// Kind is the type of a Value.
type Kind uint8

// The types of values. Invalid stands for something that was refused when the
// file was read; nothing else is said about it.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	List
	Map
	Invalid
)

var kindNames = [...]string{"nothing", "null", "a boolean", "a number", "a string", "a list", "a map", "a refused value"}

func (k Kind) String() string { return kindNames[k] }

// node is one value of a file. Nodes are shared between files after merging
// and never change once Load returned.
type node struct {
	kind   Kind
	text   string // String: the text; Number: JSON spelling; Bool: true or false
	fields []field
	index  map[string]int // of fields, only for long maps
	items  []*node
	pos    Pos
	secret bool // never show the text
	byName bool // since its key says so
}

type field struct {
	key   string
	pos   Pos
	value *node
}

// reindex makes field fast; to be called when all fields are there.
func (n *node) reindex() {
	if len(n.fields) <= 16 {
		return
	}
	n.index = make(map[string]int, len(n.fields))
	for i := range n.fields {
		n.index[n.fields[i].key] = i
	}
}

func (n *node) field(key string) *field {
	if n.index != nil {
		if i, ok := n.index[key]; ok {
			return &n.fields[i]
		}
		return nil
	}
	for i := range n.fields {
		if n.fields[i].key == key {
			return &n.fields[i]
		}
	}
	return nil
}

// Pos is a place in a file: 1-based line and column, columns in characters.
type Pos struct {
	File      string
	Line      int
	Column    int
	EndColumn int // first column behind, 0 when not known
	file      *file
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Diag makes a diagnostic at p.
func (p Pos) Diag(code diag.Code, sev diag.Severity, pointer, message, hint string) diag.Diagnostic {
	d := diag.Diagnostic{
		Code: code, Severity: sev, File: p.File, Line: p.Line, Column: p.Column, EndColumn: p.EndColumn,
		Pointer: pointer, Message: message, Hint: hint,
	}
	if p.file != nil {
		p.file.finish(&d)
	}
	return d
}

// Value is a value of the merged configuration with its place. The zero Value
// is absent: reading it gives nothing and decoding it changes nothing.
type Value struct {
	n      *node
	keyPos Pos
	ptr    string
}

// Exists tells whether the value is in the file.
func (v Value) Exists() bool { return v.n != nil }

// Kind is the value's type, Absent for none.
func (v Value) Kind() Kind {
	if v.n == nil {
		return Absent
	}
	return v.n.kind
}

// Pointer is the JSON pointer of the value in the merged configuration.
func (v Value) Pointer() string { return v.ptr }

// Pos is where the value stands; for lists, maps and empty values the place of
// their key, when they have one.
func (v Value) Pos() Pos {
	if v.n == nil {
		return v.keyPos
	}
	if v.keyPos.Line > 0 && (v.n.kind == List || v.n.kind == Map || v.n.kind == Null) {
		return v.keyPos
	}
	return v.n.pos
}

// KeyPos is where the value's key stands, or the value itself in a list.
func (v Value) KeyPos() Pos {
	if v.keyPos.Line > 0 || v.n == nil {
		return v.keyPos
	}
	return v.n.pos
}

// Get is the value of a key, absent when there is none.
func (v Value) Get(key string) Value {
	if v.Kind() != Map {
		return Value{ptr: v.ptr + "/" + escapePointer(key)}
	}
	f := v.n.field(key)
	if f == nil {
		return Value{ptr: v.ptr + "/" + escapePointer(key)}
	}
	return Value{n: f.value, keyPos: f.pos, ptr: v.ptr + "/" + escapePointer(key)}
}

// Path is Get for each of keys in turn.
func (v Value) Path(keys ...string) Value {
	for _, k := range keys {
		v = v.Get(k)
	}
	return v
}

// Index is item i of a list.
func (v Value) Index(i int) Value {
	ptr := v.ptr + "/" + strconv.Itoa(i)
	if v.Kind() != List || i < 0 || i >= len(v.n.items) {
		return Value{ptr: ptr}
	}
	return Value{n: v.n.items[i], ptr: ptr}
}

// Len is the number of items or keys.
func (v Value) Len() int {
	switch v.Kind() {
	case List:
		return len(v.n.items)
	case Map:
		return len(v.n.fields)
	}
	return 0
}

// Keys are the keys of a map in the order of the file.
func (v Value) Keys() []string {
	if v.Kind() != Map {
		return nil
	}
	out := make([]string, len(v.n.fields))
	for i, f := range v.n.fields {
		out[i] = f.key
	}
	return out
}

// At follows a JSON pointer relative to v as far as values exist, and gives
// the last one: the place to name when something below it is wrong.
func (v Value) At(pointer string) Value {
	if pointer == "" {
		return v
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		next := v.step(unescapePointer(part))
		if !next.Exists() {
			break
		}
		v = next
	}
	return v
}

func (v Value) step(part string) Value {
	if v.Kind() == List {
		i, err := strconv.Atoi(part)
		if err != nil {
			return Value{}
		}
		return v.Index(i)
	}
	return v.Get(part)
}

// Text is a string's text.
func (v Value) Text() (string, bool) {
	if v.Kind() != String {
		return "", false
	}
	return v.n.text, true
}

// Bool is a boolean's value.
func (v Value) Bool() (val, ok bool) {
	if v.Kind() != Bool {
		return false, false
	}
	return v.n.text == "true", true
}

// Float is a number's value.
func (v Value) Float() (float64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.n.text, 64)
	return f, err == nil
}

// Int is a whole number's value.
func (v Value) Int() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	if i, err := strconv.ParseInt(v.n.text, 10, 64); err == nil {
		return i, true
	}
	f, err := strconv.ParseFloat(v.n.text, 64)
	if err != nil || f != float64(int64(f)) || f < -1<<53 || f > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// Diag makes a diagnostic at the value.
func (v Value) Diag(code diag.Code, sev diag.Severity, message, hint string) diag.Diagnostic {
	return v.Pos().Diag(code, sev, v.ptr, message, hint)
}

// KeyDiag makes a diagnostic at the value's key.
func (v Value) KeyDiag(code diag.Code, sev diag.Severity, message, hint string) diag.Diagnostic {
	return v.KeyPos().Diag(code, sev, v.ptr, message, hint)
}

// Any is the value as encoding/json would decode it, numbers as json.Number.
func (v Value) Any() any {
	if v.n == nil {
		return nil
	}
	return v.n.any()
}

func (n *node) any() any {
	switch n.kind {
	case Bool:
		return n.text == "true"
	case Number:
		return json.Number(n.text)
	case String:
		return n.text
	case List:
		out := make([]any, len(n.items))
		for i, c := range n.items {
			out[i] = c.any()
		}
		return out
	case Map:
		out := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			out[f.key] = f.value.any()
		}
		return out
	}
	return nil
}

// JSON is the value as JSON, keys in the order of the file.
func (v Value) JSON() []byte {
	if v.n == nil {
		return []byte("null")
	}
	return v.n.appendJSON(nil, false)
}

// CanonicalJSON is the value as JSON with sorted keys and without spaces.
func (v Value) CanonicalJSON() []byte {
	if v.n == nil {
		return []byte("null")
	}
	return v.n.appendJSON(nil, true)
}

func (n *node) appendJSON(b []byte, sorted bool) []byte {
	switch n.kind {
	case Bool, Number:
		return append(b, n.text...)
	case String:
		return appendJSONString(b, n.text)
	case List:
		b = append(b, '[')
		for i, c := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = c.appendJSON(b, sorted)
		}
		return append(b, ']')
	case Map:
		fields := n.fields
		if sorted {
			fields = slices.Clone(fields)
			slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.key, b.key) })
		}
		b = append(b, '{')
		for i, f := range fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(b, f.key)
			b = append(b, ':')
			b = f.value.appendJSON(b, sorted)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case refusedRune(r):
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

func escapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func unescapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
}

// plainText is a string that YAML reads back as the same string without
// quotes.
var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*$`)

// YAML is the value as YAML in block form: what several layers came to.
func (v Value) YAML() []byte {
	if v.n == nil {
		return []byte("null\n")
	}
	return v.n.appendYAML(nil, 0, false)
}

func appendYAMLString(b []byte, s string) []byte {
	if plainText.MatchString(s) && len(s) <= 200 {
		switch strings.ToLower(s) {
		case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		default:
			return append(b, s...)
		}
	}
	return appendJSONString(b, s)
}

// appendYAML writes n, whose first line stands behind "key:" or "-" when
// inline is set, and ends with a line break.
func (n *node) appendYAML(b []byte, indent int, inline bool) []byte {
	pad := func(b []byte, i int) []byte {
		for range i {
			b = append(b, ' ', ' ')
		}
		return b
	}
	switch {
	case n.kind == Map && len(n.fields) == 0:
		b = append(b, "{}\n"...)
	case n.kind == List && len(n.items) == 0:
		b = append(b, "[]\n"...)
	case n.kind == Map:
		for i, f := range n.fields {
			if i > 0 || !inline {
				b = pad(b, indent)
			}
			b = append(appendYAMLString(b, f.key), ':')
			if (f.value.kind == Map && len(f.value.fields) > 0) || (f.value.kind == List && len(f.value.items) > 0) {
				b = f.value.appendYAML(append(b, '\n'), indent+1, false)
			} else {
				b = f.value.appendYAML(append(b, ' '), indent+1, true)
			}
		}
	case n.kind == List:
		for i, c := range n.items {
			if i > 0 || !inline {
				b = pad(b, indent)
			}
			b = c.appendYAML(append(b, "- "...), indent+1, true)
		}
	case n.kind == String:
		b = append(appendYAMLString(b, n.text), '\n')
	default:
		b = append(n.appendJSON(b, false), '\n')
	}
	return b
}
