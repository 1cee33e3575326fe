// Package policytest runs the tests of a pack: cases with a request, what the
// model answers, and what must come of it. It takes the same path as the
// gateway: the strict parse, the scans of stream, the decision.
package policytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

// Case is one test.
type Case struct {
	Name       string
	Suite      string // of inline tests
	File       string // where it stands
	Line       int    // where it begins there
	Input      Input
	Expected   Expected
	Assertions []Assertion
}

// Input is the request of a case.
type Input struct {
	Messages json.RawMessage   `json:"messages"` // required unless Request holds them
	Headers  map[string]string `json:"headers"`
	// Request is a whole request body; messages above take the place of its own.
	Request json.RawMessage `json:"request"`
	// UpstreamResponse is what the model answers: a text, an answer object with
	// choices, or a list of chunks of a stream (texts or chunk objects).
	UpstreamResponse json.RawMessage `json:"upstream_response"`
	ProxyName        string          `json:"proxy_name"`
	GatewayName      string          `json:"gateway_name"`
	TeamSlugs        []string        `json:"team_slugs"`
}

// Expected is what a case must give; absent parts are not compared.
type Expected struct {
	Verdict    string `json:"verdict"`
	ReasonCode string `json:"reason_code"`
	// Output is the text that goes on: the answer's first choice as the client
	// gets it (of a blocked stream, what came before the block; empty for a
	// blocked answer); without an answer, the last message as the model gets it.
	Output   *string        `json:"output"`
	Metadata map[string]any `json:"metadata"`
}

// Assertion is a check of the output text.
type Assertion struct {
	Type          string         `json:"type"`
	Name          string         `json:"name"`
	Threshold     *float64       `json:"threshold"`
	Weight        *float64       `json:"weight"`
	Enabled       *bool          `json:"enabled"`
	Mode          string         `json:"mode"` // enforce (default), audit, shadow
	Severity      string         `json:"severity"`
	Negate        bool           `json:"negate"`
	CaseSensitive *bool          `json:"case_sensitive"`
	Provider      string         `json:"provider"`
	Pack          string         `json:"pack"`
	Value         any            `json:"value"`
	Rubric        string         `json:"rubric"`
	Reference     string         `json:"reference_statement"`
	Config        map[string]any `json:"config"`
}

// caseFile is the form of a case in a file.
type caseFile struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Input       *Input      `json:"input"`
	Expected    *Expected   `json:"expected"`
	Assertions  []Assertion `json:"assertions"`
}

// caseForm is the hint of most faults of a test file.
const caseForm = `a case is {"name", "input": {"messages": [...]}, "expected": {"verdict": ...}}`

// ParseFile reads the golden cases of one file: a case, a list of cases, or a
// map with the list under "cases". Names that end in .yaml or .yml are read as
// YAML, others as JSON.
func ParseFile(name string, data []byte) ([]Case, diag.List) {
	var where places
	if ext := path.Ext(name); ext == ".yaml" || ext == ".yml" {
		text, shift, indent := wrapList(data)
		v, list := config.Read(config.Source{Name: name, Data: text})
		for i := range list {
			list[i].Line, list[i].Column = max(1, list[i].Line-shift), max(1, list[i].Column-indent)
			list[i].EndColumn, list[i].Excerpt = max(0, list[i].EndColumn-indent), strings.TrimPrefix(list[i].Excerpt, strings.Repeat(" ", indent))
		}
		if !v.Exists() {
			return nil, list
		}
		data, where = v.JSON(), places{file: name, yaml: v, shift: shift, indent: indent}
	} else {
		where = places{file: name, json: data}
		if fault := notJSON(data); fault != nil {
			return nil, diag.List{where.offset(*fault, fault.Column)}
		}
	}
	walk := walkKeys(data, where.json != nil)
	where.values = walk.values
	items, ptr := []json.RawMessage{data}, ""
	switch trimmed := bytes.TrimSpace(data); trimmed[0] {
	case '[':
		ptr, items = "/", nil // else the first item is written over data
		if err := json.Unmarshal(data, &items); err != nil {
			return nil, diag.List{where.fault("", "the file is no list of cases: %v", err)}
		}
	case '{':
		var m map[string]json.RawMessage
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, diag.List{where.fault("", "the file is no case: %v", err)}
		}
		if list, ok := m["cases"]; ok {
			if len(m) > 1 {
				return nil, diag.List{where.fault("", `a file with "cases" has no other keys`)}
			}
			ptr, items = "/cases/", nil
			if err := json.Unmarshal(list, &items); err != nil {
				return nil, diag.List{where.fault("/cases", `"cases" must be a list`)}
			}
		}
	default:
		return nil, diag.List{where.fault("", `the file must be a case, a list of cases, or {"cases": [...]}; got %s`, scalarName(trimmed[0]))}
	}
	if len(items) == 0 {
		d := where.fault("", "the file holds no case")
		d.Code, d.Severity = diag.TestNoCases, diag.Warning
		return nil, diag.List{d}
	}
	var faults diag.List
	for _, f := range walk.faults {
		d := where.fault(f.ptr, "%s", f.text)
		if where.json != nil {
			d = where.offset(d, f.offset)
		}
		faults = append(faults, d)
	}
	faulty := func(at string) bool { // its keys are: the rest would say so again
		return slices.ContainsFunc(walk.faults, func(f keyFault) bool { return strings.HasPrefix(f.ptr, at+"/") })
	}
	var out []Case
	seen := map[string]string{}
	for i, item := range items {
		at := ""
		if ptr != "" {
			at = ptr + strconv.Itoa(i)
		}
		if faulty(at) {
			continue
		}
		say := func(below, format string, args ...any) {
			faults = append(faults, where.fault(at+below, format, args...))
		}
		var f caseFile
		dec := json.NewDecoder(bytes.NewReader(item))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			below, format, args := typeFault(i+1, f.Name, err)
			say(below, format, args...)
			continue
		}
		switch {
		case bytes.Equal(bytes.TrimSpace(item), []byte("null")):
			say("", "case %d is null", i+1)
		case f.Name == "":
			say("", "case %d has no name", i+1)
		case f.Input == nil || f.Input.Messages == nil && f.Input.Request == nil:
			say("/input", "case %q: input needs messages or request", f.Name)
		case f.Expected == nil && len(f.Assertions) == 0:
			say("", "case %q expects nothing: it needs expected or assertions", f.Name)
		case f.Expected != nil && reflect.DeepEqual(*f.Expected, Expected{}):
			say("/expected", "case %q: expected is empty; it needs verdict, reason_code, output or metadata", f.Name)
		case seen[f.Name] != "":
			d := where.fault(at+"/name", "two cases have the name %q", f.Name)
			first := where.fault(seen[f.Name], "")
			d.Code, d.Hint = diag.TestNameTwice, fmt.Sprintf("the first one is at line %d; --run and reports tell cases by their names", first.Line)
			faults = append(faults, d)
		default:
			seen[f.Name] = at + "/name"
			c := Case{Name: f.Name, File: name, Line: where.fault(at, "").Line, Input: *f.Input, Assertions: f.Assertions}
			if f.Expected != nil {
				c.Expected = *f.Expected
			}
			for _, d := range c.check(name) {
				p := where.fault(at+d.Pointer, "")
				d.Line, d.Column, d.Pointer = p.Line, p.Column, p.Pointer
				faults = append(faults, d)
			}
			out = append(out, c)
		}
	}
	if faults.HasErrors() {
		return nil, faults
	}
	return out, faults
}

// scalarName names a JSON value by its first byte.
func scalarName(c byte) string {
	switch c {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a text"
	}
	return "a number"
}

// notJSON says why data is no JSON text; Column is the offset of the fault.
func notJSON(data []byte) *diag.Diagnostic {
	d := &diag.Diagnostic{Code: diag.TestFileForm, Hint: caseForm}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		d.Code, d.Message, d.Hint = diag.ByteOrderMark, "the file starts with a byte order mark", "save it as UTF-8 without one"
		return d
	}
	for i, rest := 0, data; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			d.Code, d.Column, d.Message, d.Hint = diag.NotUTF8, i, "the file is not valid UTF-8", "save it as UTF-8"
			return d
		}
		i, rest = i+n, rest[n:]
	}
	if len(bytes.TrimSpace(data)) == 0 {
		d.Message = "the file is empty"
		return d
	}
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	if err == nil {
		return nil
	}
	d.Message = fmt.Sprintf("the file is no JSON: %v", err)
	var e *json.SyntaxError
	if !errors.As(err, &e) {
		return d
	}
	d.Column = max(0, min(int(e.Offset), len(data))-1)
	switch c := data[d.Column]; {
	case strings.Contains(err.Error(), "after top-level value"):
		d.Hint = "several cases are a list: [{...}, {...}]"
	case c == '/' || c == '#':
		d.Hint = "JSON has no comments; YAML files (.yaml) have"
	case (c == ']' || c == '}') && strings.Contains(err.Error(), "looking for beginning"):
		d.Hint = "there is a comma too many in front of it"
	case c == '\'':
		d.Hint = `JSON has texts in double quotes only`
	}
	return d
}

// places finds the values of a test file.
type places struct {
	file          string
	json          []byte           // the file, if it is JSON
	values        map[string]int64 // of JSON: where the value at a pointer begins
	yaml          config.Value     // else
	shift, indent int              // of YAML: lines and columns that wrapList added
}

// fault is a fault of the value at a pointer; of what it is in where there is none.
func (p *places) fault(ptr, format string, args ...any) diag.Diagnostic {
	d := diag.Diagnostic{Code: diag.TestFileForm, File: p.file, Pointer: ptr, Message: fmt.Sprintf(format, args...), Hint: caseForm}
	if p.json == nil {
		pos := p.yaml.At(ptr).KeyPos()
		d.Line, d.Column = max(1, pos.Line-p.shift), max(1, pos.Column-p.indent)
		return d
	}
	for {
		if at, ok := p.values[ptr]; ok {
			return p.offset(d, int(at))
		}
		i := strings.LastIndexByte(ptr, '/')
		if i < 0 {
			return p.offset(d, 0)
		}
		ptr = ptr[:i]
	}
}

// offset puts a diagnostic at an offset of a JSON file.
func (p *places) offset(d diag.Diagnostic, offset int) diag.Diagnostic {
	before := p.json[:min(offset, len(p.json))]
	line := bytes.LastIndexByte(before, '\n') + 1
	d.File, d.Line, d.Column = p.file, 1+bytes.Count(before, []byte("\n")), 1+utf8.RuneCount(before[line:])
	return d
}

// typeFault says, as the arguments of a fault, that a value has the wrong type.
func typeFault(number int, name string, err error) (below, format string, args []any) {
	label := fmt.Sprintf("case %d", number)
	if name != "" {
		label = fmt.Sprintf("case %q", name)
	}
	var e *json.UnmarshalTypeError
	if !errors.As(err, &e) {
		return "", "%s: %s", []any{label, strings.TrimPrefix(err.Error(), "json: ")}
	}
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Bool: "true or false", reflect.Float64: "a number", reflect.Slice: "a list"}[e.Type.Kind()]
	if want == "" {
		want = "a map"
	}
	got := map[string]string{"string": "a text", "bool": "true or false", "object": "a map", "array": "a list", "number": "a number"}[e.Value]
	if got == "" {
		got = e.Value
	}
	if e.Field == "" {
		return "", "%s must be %s; got %s", []any{label, want, got}
	}
	return "/" + strings.ReplaceAll(e.Field, ".", "/"), "%s: %s must be %s; got %s", []any{label, e.Field, want, got}
}

// keySet says which keys an object has, in their one spelling, and what stands
// under them; nil for any. A list has the set of its entries.
type keySet map[string]keySet

// keysOf are the keys of a struct.
func keysOf(v any, below keySet) keySet {
	out := keySet{}
	for t, i := reflect.TypeOf(v), 0; i < t.NumField(); i++ {
		name := t.Field(i).Tag.Get("json")
		out[name] = below[name]
	}
	return out
}

// keyFault is a key that is not accepted, and where it begins.
type keyFault struct {
	text   string
	ptr    string
	offset int
}

// walkKeys finds what encoding/json lets pass: a key twice in one object, and
// one in another case than the documented; and where the values of cases begin.
// data is well-formed.
func walkKeys(data []byte, places bool) *keyWalk {
	aCase := keysOf(caseFile{}, keySet{"input": keysOf(Input{}, nil), "expected": keysOf(Expected{}, nil), "assertions": keysOf(Assertion{}, nil)})
	top := keySet{"cases": aCase}
	for k, v := range aCase {
		top[k] = v
	}
	w := &keyWalk{dec: json.NewDecoder(bytes.NewReader(data)), data: data, values: map[string]int64{}}
	w.depth = 6 // of what cases have themselves
	if !places {
		w.depth = 0
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '[' {
		top = aCase
	}
	w.value(top, "", 0)
	return w
}

type keyWalk struct {
	dec    *json.Decoder
	data   []byte
	depth  int              // down to which values has places
	values map[string]int64 // pointer: offset
	faults []keyFault
}

// next is where the next token begins.
func (w *keyWalk) next() int64 {
	i := w.dec.InputOffset()
	for i < int64(len(w.data)) && strings.IndexByte(" \t\r\n:,", w.data[i]) >= 0 {
		i++
	}
	return i
}

// value reads one value; false: the end, or not well-formed.
func (w *keyWalk) value(set keySet, ptr string, depth int) bool {
	if depth < w.depth {
		w.values[ptr] = w.next()
	}
	t, err := w.dec.Token()
	if err != nil {
		return false
	}
	switch t {
	case json.Delim('['):
		for i := 0; w.dec.More(); i++ {
			if !w.value(set, ptr+"/"+strconv.Itoa(i), depth+1) {
				return false
			}
		}
	case json.Delim('{'):
		seen := map[string]bool{}
		for w.dec.More() {
			at := w.next()
			k, err := w.dec.Token()
			if err != nil {
				return false
			}
			key, _ := k.(string)
			below, known := set[key]
			here := ptr + "/" + pointerKey.Replace(key)
			switch {
			case seen[key]:
				w.fault(here, at, "key %q appears twice in one object", key)
			case set != nil && !known:
				hint := "; known keys: " + strings.Join(slices.Sorted(maps.Keys(set)), ", ")
				if near := diag.Nearest(key, slices.Sorted(maps.Keys(set))); near != "" {
					hint = fmt.Sprintf("; did you mean %q?", near)
				}
				w.fault(here, at, "unknown key %q%s", key, hint)
			case set != nil && !nullable[key] && bytes.HasPrefix(w.data[w.next():], []byte("null")):
				w.fault(here, at, "%s has no value: give it one, or remove the key", key)
			}
			seen[key] = true
			if !w.value(below, here, depth+1) {
				return false
			}
		}
	default:
		return true
	}
	_, err = w.dec.Token() // the closing one
	return err == nil
}

// nullable are the keys of a case whose value may be null, which is none: what
// is expected must not be void without a word.
var nullable = map[string]bool{"description": true, "upstream_response": true, "value": true}

var pointerKey = strings.NewReplacer("~", "~0", "/", "~1")

func (w *keyWalk) fault(ptr string, at int64, format string, args ...any) {
	if len(w.faults) < 50 {
		w.faults = append(w.faults, keyFault{fmt.Sprintf(format, args...), ptr, int(at)})
	}
}

// check finds faults of a case that the file's form does not show; their
// pointers begin at the case.
func (c *Case) check(file string) (out diag.List) {
	switch c.Expected.Verdict {
	case "", "allow", "redact", "escalate", "block":
	default:
		hint := "want allow, redact, escalate or block"
		if near := diag.Nearest(c.Expected.Verdict, []string{"allow", "redact", "escalate", "block"}); near != "" {
			hint = fmt.Sprintf("did you mean %s? %s", near, hint)
		}
		out = append(out, diag.Diagnostic{
			Code: diag.TestVerdict, File: file, Pointer: "/expected/verdict", Hint: hint,
			Message: fmt.Sprintf("case %q expects the verdict %q, which does not exist", c.Name, c.Expected.Verdict),
		})
	}
	for i := range c.Assertions {
		a := &c.Assertions[i]
		at := fmt.Sprintf("/assertions/%d", i)
		for _, w := range []struct {
			key, got string
			accepted []string
		}{{"mode", a.Mode, []string{"enforce", "audit", "shadow"}}, {"severity", a.Severity, []string{"critical", "warning", "info"}}} {
			if w.got == "" || slices.Contains(w.accepted, w.got) {
				continue
			}
			hint := ""
			if near := diag.Nearest(w.got, w.accepted); near != "" {
				hint = "did you mean " + near + "?"
			}
			out = append(out, diag.Diagnostic{
				Code: diag.NotInSet, File: file, Pointer: at + "/" + w.key, Hint: hint,
				Message: fmt.Sprintf("case %q: %s must be one of %s; got %q", c.Name, w.key, strings.Join(w.accepted, ", "), w.got),
			})
		}
		if a.Threshold != nil && checks[a.Type] != nil && (*a.Threshold < 0 || *a.Threshold > 1) {
			out = append(out, diag.Diagnostic{
				Code: diag.NotInRange, File: file, Pointer: at + "/threshold", Hint: "a score is 1 where the assertion holds and 0 where not; levenshtein has all between them",
				Message: fmt.Sprintf("case %q: threshold must be between 0 and 1; got %v", c.Name, *a.Threshold),
			})
		}
		if a.on() && checks[a.Type] == nil {
			out = append(out, diag.Diagnostic{
				Code: diag.TestAssertion, File: file, Pointer: fmt.Sprintf("/assertions/%d/type", i), Hint: "want one of " + strings.Join(AssertionTypes(), ", "),
				Message: fmt.Sprintf("case %q: assertion type %q does not exist or is not built yet", c.Name, a.Type),
			})
		}
	}
	return out
}

// wrapList puts a YAML file that is a list under the key "cases", and says by
// how many lines and columns its content moved.
func wrapList(data []byte) (text []byte, shift, indent int) {
	shift = 1
	list, mark := false, -1
	for n, line := range slices.Collect(bytes.Lines(data)) {
		t := bytes.TrimSpace(line)
		switch {
		case len(t) == 0 || t[0] == '#':
			continue
		case bytes.Equal(t, []byte("---")) && mark < 0:
			mark, shift = n, 0 // the key takes its place
			continue
		}
		list = t[0] == '-'
		break
	}
	if !list {
		return data, 0, 0
	}
	var out []byte
	if shift == 1 {
		out = append(out, "cases:\n"...)
	}
	n := 0
	for line := range bytes.Lines(data) {
		if n == mark {
			out = append(out, "cases:\n"...)
		} else {
			out = append(append(out, "  "...), line...)
		}
		n++
	}
	return out, shift, 2
}

// Inline gives the cases of the configuration's own suites; a suite's
// assertions come before the case's.
func Inline(t *config.Testing) ([]Case, diag.List) {
	if t == nil {
		return nil, nil
	}
	var out []Case
	var faults diag.List
	for i := range t.Suites {
		s := &t.Suites[i]
		shared := assertions(s.Assertions, t.DefaultThreshold)
		for k := range s.Cases {
			in := &s.Cases[k]
			c := Case{
				Name: in.Name, Suite: s.Name, File: in.Value.Pos().File, Line: in.Value.Pos().Line,
				Input: Input{
					Messages: in.Input.Messages, Headers: in.Input.Headers, Request: in.Input.Request,
					UpstreamResponse: in.Input.UpstreamResponse, ProxyName: in.Input.ProxyName, TeamSlugs: in.Input.TeamSlugs,
				},
				Expected: Expected{
					Verdict: in.Expected.Verdict, ReasonCode: in.Expected.ReasonCode, Output: in.Expected.Output, Metadata: in.Expected.Metadata,
				},
			}
			c.Assertions = append(append(c.Assertions, shared...), assertions(in.Assertions, t.DefaultThreshold)...)
			for _, d := range c.check(c.File) {
				pos := in.Value.Pos()
				d.Line, d.Column, d.Pointer = pos.Line, pos.Column, in.Value.Pointer()
				faults = append(faults, d)
			}
			out = append(out, c)
		}
	}
	return out, faults
}

func assertions(list []config.Assertion, threshold *float64) []Assertion {
	var out []Assertion
	for i := range list {
		var a Assertion
		if err := json.Unmarshal(list[i].Value.JSON(), &a); err != nil {
			continue // the schema refused it before
		}
		if a.Threshold == nil {
			a.Threshold = threshold
		}
		out = append(out, a)
	}
	return out
}
