package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keeptrusts/kt/internal/diag"
)

// Limits of one file. They bound what a hostile file can cost; the error names
// the limit.
const (
	MaxFileBytes = 2 << 20
	MaxDepth     = 32
	MaxNodes     = 200_000
	maxExcerpt   = 4096 // bytes; a longer source line is not quoted
	maxText      = 1 << 20
	maxFaults    = 20_000 // faults kept of one pass
)

// file is one source while and after it is read.
type file struct {
	name    string
	lines   []string // without ends of line
	widths  []int    // of lines, in characters
	marks   []mark   // every value and key, in the order they were read
	regions []region // secrets
	values  []string // texts of secrets
	hide    *strings.Replacer
	broken  bool // not well-formed: quoted lines are masked by guess
	altered bool // cleanBytes replaced some bytes; the file is refused for them
	diags   diag.List
	nodes   int
	below   int // how many keys on the way to here say that what they hold is secret
}

// mark is a value with the keys that lead to it; a key has no node.
type mark struct {
	n           *node
	key, parent string
	ptr         string
	pos         Pos
	below       bool // it stands somewhere below a key whose name says that it holds a secret
}

// region is a stretch of the file that is never shown, from start up to end.
type region struct{ line, col, endLine, endCol int }

func (f *file) add(line, col, endCol int, code diag.Code, pointer, message, hint string) {
	if len(f.diags) >= maxFaults {
		return
	}
	f.diags = append(f.diags, diag.Diagnostic{
		Code: code, File: f.name, Line: line, Column: col, EndColumn: endCol,
		Pointer: pointer, Message: message, Hint: hint,
	})
}

// parseFile reads one source with the strict rules. The node is nil when the
// file cannot be used at all.
func parseFile(src Source) (*file, *node) {
	f := &file{name: src.Name}
	data := src.Data
	if len(data) > MaxFileBytes {
		f.add(1, 1, 0, diag.TooLarge, "", fmt.Sprintf("the file has more than %d bytes", MaxFileBytes), "split the file into layers")
		return f, nil
	}
	data = f.cleanBytes(data)
	f.lines = strings.Split(string(data), "\n")
	for i, l := range f.lines {
		f.lines[i] = strings.TrimSuffix(l, "\r")
	}
	f.widths = make([]int, len(f.lines))
	for i, l := range f.lines {
		f.widths[i] = utf8.RuneCountInString(l)
	}
	doc := f.parseYAML(data)
	if doc == nil {
		return f, nil
	}
	root := f.convert(doc, "", "", "", 1)
	f.markRegions()
	if root.kind != Map && root.kind != Invalid {
		p := root.pos
		f.add(p.Line, p.Column, p.EndColumn, diag.NotAMap, "", fmt.Sprintf("the top level must be a map; got %s", root.kind), "a configuration starts with pack:")
		return f, nil
	}
	if root.kind == Invalid {
		return f, nil
	}
	return f, root
}

// cleanBytes reports bytes that no configuration may hold and replaces each of
// them by U+FFFD, which means nothing to YAML, so that the rest of the file is
// still checked.
func (f *file) cleanBytes(data []byte) []byte {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		f.add(1, 1, 0, diag.NotUTF8, "", "the file is UTF-16; only UTF-8 is accepted", "save the file as UTF-8 without a byte order mark")
		f.broken = true
		return nil
	}
	if rest, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok {
		f.add(1, 1, 0, diag.ByteOrderMark, "", "the file starts with a byte order mark", "save the file as UTF-8 without a byte order mark")
		data = rest
	}
	out := make([]byte, 0, len(data))
	line, col := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			f.add(line, col, 0, diag.NotUTF8, "", fmt.Sprintf("byte 0x%02X is not valid UTF-8", data[i]), "save the file as UTF-8")
			out = utf8.AppendRune(out, utf8.RuneError)
			f.altered = true
		case r == '\n':
			out = append(out, '\n')
			line, col = line+1, 0
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n', r == '\t':
			out = append(out, byte(r))
		case refusedRune(r):
			f.add(line, col, 0, diag.ControlChar, "", fmt.Sprintf("control character U+%04X", r), "in a double-quoted string write it as an escape")
			out = utf8.AppendRune(out, utf8.RuneError)
			f.altered = true
		default:
			out = append(out, data[i:i+n]...)
		}
		i += n
		col++
	}
	return out
}

// refusedRune tells whether a character may stand in a file only as an escape:
// controls, further line breaks, byte order marks and what reorders a line.
func refusedRune(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff ||
		r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffe || r == 0xffff
}

// parseYAML gives the first document's node, or nil with faults added.
func (f *file) parseYAML(data []byte) (doc *yaml.Node) {
	defer func() {
		if r := recover(); r != nil { // the parser is not ours: a panic there is a fault of the file
			f.broken = true
			f.add(1, 1, 0, diag.Syntax, "", "not well-formed YAML: the parser gave up", "")
			doc = nil
		}
	}()
	for i, l := range f.lines {
		t := strings.TrimSpace(l)
		if t == "" || t[0] == '#' {
			continue
		}
		if l[0] == '%' {
			f.add(i+1, 1, f.widths[i]+1, diag.Directive, "", "YAML directives are not accepted", "remove the line")
			data = blankLine(data, i) // so that the rest is checked
			continue
		}
		break
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		f.syntax(err)
		return nil
	}
	var first yaml.Node
	switch err := loader.Load(&first); {
	case errors.Is(err, io.EOF) && f.broken: // said: nothing of it was read
		return nil
	case errors.Is(err, io.EOF):
		f.add(1, 1, 0, diag.EmptyFile, "", "the file is empty or holds comments only", "kt init writes a first configuration")
		return nil
	case err != nil:
		f.syntax(err)
		return nil
	}
	var second yaml.Node
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.syntax(err)
	default:
		l, c := f.clamp(second.Line, second.Column)
		if len(second.Content) > 0 {
			l, c = f.clamp(second.Content[0].Line, second.Content[0].Column)
			said := f.diags
			f.convert(second.Content[0], "", "", "", 1) // to know its secrets
			f.diags = said
		}
		f.add(l, c, 0, diag.ManyDocuments, "", "the file holds a second YAML document", "one file is one document; give further files with further --policy-config")
	}
	if len(first.Content) != 1 {
		f.add(1, 1, 0, diag.EmptyFile, "", "the file is empty", "kt init writes a first configuration")
		return nil
	}
	return first.Content[0]
}

// blankLine gives data with a line turned into a comment.
func blankLine(data []byte, line int) []byte {
	out := bytes.Clone(data)
	for i := 0; i < len(out); i++ {
		if line == 0 {
			out[i] = '#'
			break
		}
		if out[i] == '\n' {
			line--
		}
	}
	return out
}

func (f *file) syntax(err error) {
	f.broken = true
	line, col, msg := 1, 1, err.Error()
	var le *yaml.LoadError
	if errors.As(err, &le) {
		line, col, msg = le.Mark.Line, le.Mark.Column, le.Message
		if strings.Contains(msg, "unexpected end") && le.ContextMark.Line > 0 {
			line, col = le.ContextMark.Line, le.ContextMark.Column
		}
		if le.ContextMsg != "" {
			msg = le.ContextMsg + ": " + msg
		}
	}
	line, col = f.clamp(line, col)
	hint := ""
	text := f.lines[line-1]
	switch {
	case strings.HasPrefix(strings.TrimLeft(text, " "), "\t"):
		hint = "indent with spaces; YAML does not accept tabs there"
	case strings.Contains(msg, "mapping values are not allowed"), strings.Contains(msg, "did not find expected ',' or '}'"), strings.Contains(msg, "did not find expected ',' or ']'"):
		hint = "quote a value that holds a colon and a space, and check the indentation"
	case strings.Contains(msg, "could not find expected ':'"):
		hint = "a key needs a colon and a space behind it"
	case strings.Contains(msg, "escape"):
		hint = "write patterns in single quotes, where a backslash is only a backslash"
	case strings.Contains(msg, "exceeded max depth"):
		f.add(line, col, 0, diag.TooDeep, "", fmt.Sprintf("nested deeper than %d levels", MaxDepth), "")
		return
	}
	f.add(line, col, 0, diag.Syntax, "", "not well-formed YAML: "+msg, hint)
}

// clamp brings a place of the parser into the file.
func (f *file) clamp(line, col int) (int, int) {
	line = min(max(line, 1), len(f.lines))
	return line, min(max(col, 1), f.widths[line-1]+1)
}

// decimal is the one accepted spelling of numbers: that of JSON.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

// numberLike is what some YAML reader would take for a number, though ours
// calls it a string.
var numberLike = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?$`)

const maxNumber = 40 // characters

// convert turns a yaml node into ours and reports what is not accepted. key
// and parent are the last two keys on the way to it.
func (f *file) convert(y *yaml.Node, ptr, key, parent string, depth int) *node {
	n := &node{pos: f.pos(y)}
	bad := func(code diag.Code, msg, hint string) {
		f.add(n.pos.Line, n.pos.Column, n.pos.EndColumn, code, ptr, msg, hint)
		n.kind = Invalid
	}
	if y.Kind == yaml.ScalarNode || y.Kind == yaml.AliasNode {
		n.text = y.Value
	}
	f.marks = append(f.marks, mark{n, key, parent, ptr, n.pos, f.below > 0})
	f.nodes++
	if f.nodes > MaxNodes {
		if f.nodes == MaxNodes+1 {
			bad(diag.TooManyNodes, fmt.Sprintf("more than %d values", MaxNodes), "split the file, or move long lists out of it")
		}
		n.kind = Invalid
		return n
	}
	if depth > MaxDepth {
		bad(diag.TooDeep, fmt.Sprintf("nested deeper than %d levels", MaxDepth), "")
		return n
	}
	if y.Anchor != "" {
		bad(diag.AnchorOrAlias, "anchors are not accepted", "write the value out where it is needed")
	}
	switch y.Kind {
	case yaml.AliasNode:
		bad(diag.AnchorOrAlias, "aliases are not accepted", "write the value out where it is needed")
		return n
	case yaml.ScalarNode:
		f.scalar(y, n, bad)
	case yaml.SequenceNode:
		if y.Style&yaml.TaggedStyle != 0 {
			bad(diag.ExplicitTag, "explicit tags are not accepted", "remove the tag")
		}
		if n.kind != Invalid {
			n.kind = List
		}
		for i, c := range y.Content {
			n.items = append(n.items, f.convert(c, fmt.Sprintf("%s/%d", ptr, i), key, parent, depth+1))
		}
	case yaml.MappingNode:
		if y.Style&yaml.TaggedStyle != 0 {
			bad(diag.ExplicitTag, "explicit tags are not accepted", "remove the tag")
		}
		if n.kind != Invalid {
			n.kind = Map
		}
		f.mapping(y, n, ptr, key, depth)
	default:
		bad(diag.Syntax, "not well-formed YAML: unknown node", "")
	}
	return n
}

func (f *file) mapping(y *yaml.Node, n *node, ptr, parent string, depth int) {
	seen := make(map[string]Pos, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		pos := f.pos(k)
		at := func(code diag.Code, msg, hint string) {
			f.add(pos.Line, pos.Column, pos.EndColumn, code, ptr, msg, hint)
		}
		if k.Kind == yaml.ScalarNode {
			f.marks = append(f.marks, mark{nil, k.Value, "", ptr, pos, f.below > 0})
		} else {
			f.convert(k, ptr, "", parent, depth+1) // for its places only
		}
		// References are named by their own keys, env and store; what stands
		// deeper is not one.
		secret := (v.Kind == yaml.MappingNode || v.Kind == yaml.SequenceNode) && (secretKey(k.Value) && k.Value != "secret_key_ref" || parent == "secret_key_ref")
		if secret {
			f.below++
		}
		value := f.convert(v, ptr+"/"+escapePointer(k.Value), k.Value, parent, depth+1)
		if secret {
			f.below--
		}
		quoted := k.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
		switch {
		case k.Kind == yaml.AliasNode || k.Anchor != "":
			at(diag.AnchorOrAlias, "anchors and aliases are not accepted", "write the key out")
			continue
		case k.Kind == yaml.ScalarNode && (k.Tag == "!!merge" || k.Value == "<<" && !quoted):
			at(diag.AnchorOrAlias, "merge keys are not accepted", "write the values out; several files are layered with several --policy-config")
			continue
		case k.Kind != yaml.ScalarNode:
			at(diag.KeyNotString, "a key must be a string; got a list or map", "")
			continue
		case k.Style&yaml.TaggedStyle != 0:
			at(diag.ExplicitTag, "explicit tags are not accepted", "remove the tag")
			continue
		case k.Tag != "!!str":
			at(diag.KeyNotString, "a key must be a string", "put the key in quotes")
			continue
		}
		if value.kind == Null && v.Value == "" {
			value.pos = pos
		}
		if first, dup := seen[k.Value]; dup {
			if f.altered && strings.ContainsRune(k.Value, utf8.RuneError) {
				continue // the two may differ in what was replaced
			}
			at(diag.DuplicateKey, fmt.Sprintf("key %q appears twice in this map", shorten(k.Value)), fmt.Sprintf("the first one is in line %d", first.Line))
			continue
		}
		seen[k.Value] = pos
		n.fields = append(n.fields, field{key: k.Value, pos: pos, value: value})
	}
	n.reindex()
}

func (f *file) scalar(y *yaml.Node, n *node, bad func(diag.Code, string, string)) {
	if y.Style&yaml.TaggedStyle != 0 {
		bad(diag.ExplicitTag, "explicit tags are not accepted", "remove the tag; quotes make a string")
		return
	}
	if n.kind == Invalid {
		return
	}
	plain := y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch y.Tag {
	case "!!null":
		n.kind = Null
	case "!!bool":
		n.kind, n.text = Bool, strings.ToLower(y.Value)
	case "!!int", "!!float":
		if !decimal.MatchString(y.Value) || len(y.Value) > maxNumber {
			bad(diag.NumberForm, fmt.Sprintf("number %s is not in plain decimal form", shorten(y.Value)), "write digits without underscores, leading zeros, signs or prefixes, or put a string in quotes")
			return
		}
		n.kind, n.text = Number, y.Value
	case "!!timestamp":
		bad(diag.Timestamp, fmt.Sprintf("%s would be read as a date", shorten(y.Value)), "put it in quotes")
	case "!!str":
		if plain && numberLike.MatchString(y.Value) {
			bad(diag.NumberForm, fmt.Sprintf("%s looks like a number, but is not in plain decimal form", shorten(y.Value)), "put a string in quotes")
			return
		}
		if len(y.Value) > maxText {
			bad(diag.WrongLength, fmt.Sprintf("a text of %d bytes; the limit is %d", len(y.Value), maxText), "")
			return
		}
		n.kind, n.text = String, y.Value
	default:
		bad(diag.ExplicitTag, fmt.Sprintf("values of type %s are not accepted", y.Tag), "put a string in quotes")
	}
}

// pos finds the characters that a node covers on its first line.
func (f *file) pos(y *yaml.Node) Pos {
	line, col := f.clamp(y.Line, y.Column)
	p := Pos{File: f.name, Line: line, Column: col, file: f}
	text := []byte(f.lines[line-1])
	if len(text) > maxExcerpt {
		return p
	}
	start := byteOffset(f.lines[line-1], col)
	rest := text[start:]
	length := 0
	switch {
	case y.Kind == yaml.MappingNode && y.Style&yaml.FlowStyle == 0 && len(y.Content) > 0 && y.Content[0].Kind == yaml.ScalarNode:
		length = scalarLength(y.Content[0], rest)
	case y.Kind == yaml.ScalarNode:
		length = scalarLength(y, rest)
	case y.Kind == yaml.AliasNode:
		length = 1 + len(y.Value)
	default:
		length = 1
	}
	length = min(max(length, 1), len(rest))
	p.EndColumn = col + max(1, utf8.RuneCount(rest[:length]))
	return p
}

// scalarLength is how many bytes of rest a scalar takes on its first line.
func scalarLength(y *yaml.Node, rest []byte) int {
	if len(rest) == 0 {
		return 0
	}
	switch rest[0] {
	case '\'':
		for i := 1; i < len(rest); i++ {
			if rest[i] == '\'' {
				if i+1 < len(rest) && rest[i+1] == '\'' {
					i++
					continue
				}
				return i + 1
			}
		}
		return len(rest)
	case '"':
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(rest)
	case '|', '>':
		if y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			return 1
		}
	}
	if bytes.HasPrefix(rest, []byte(y.Value)) && y.Value != "" {
		return len(y.Value)
	}
	return len(bytes.TrimRight(rest, " \t"))
}

func byteOffset(s string, col int) int {
	for i := range s {
		if col--; col == 0 {
			return i
		}
	}
	return len(s)
}

// shorten quotes at most 40 characters of a user's text.
func shorten(s string) string {
	if utf8.RuneCountInString(s) <= 40 {
		return s
	}
	return string(slices.Clone([]rune(s)[:37])) + "..."
}
