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
	"strings"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

// Case is one test.
type Case struct {
	Name       string
	Suite      string // of inline tests
	File       string // where it stands
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

// ParseFile reads the golden cases of one file: a case, a list of cases, or a
// map with the list under "cases". Names that end in .yaml or .yml are read as
// YAML, others as JSON.
func ParseFile(name string, data []byte) ([]Case, diag.List) {
	fail := func(line int, format string, args ...any) diag.List {
		return diag.List{{Code: diag.TestFileForm, File: name, Line: line, Message: fmt.Sprintf(format, args...), Hint: `a case is {"name", "input": {"messages": [...]}, "expected": {"verdict": ...}}`}}
	}
	switch path.Ext(name) {
	case ".yaml", ".yml":
		v, list := config.Read(config.Source{Name: name, Data: wrapList(data)})
		if !v.Exists() {
			return nil, list
		}
		data = v.JSON()
	}
	written := path.Ext(name) == ".json" // else lines are not those of the file
	items := []json.RawMessage{data}
	switch trimmed := bytes.TrimSpace(data); {
	case len(trimmed) == 0:
		return nil, fail(1, "the file is empty")
	case trimmed[0] == '[':
		items = nil // else the first item is written over data
		if err := json.Unmarshal(data, &items); err != nil {
			return nil, fail(lineOf(data, err), "the file is no JSON: %v", err)
		}
	default:
		var m map[string]json.RawMessage
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, fail(lineOf(data, err), "the file is no JSON object or list: %v", err)
		}
		if list, ok := m["cases"]; ok {
			if len(m) > 1 {
				return nil, fail(1, `a file with "cases" has no other keys`)
			}
			items = nil
			if err := json.Unmarshal(list, &items); err != nil {
				return nil, fail(1, `"cases" must be a list`)
			}
		}
	}
	var faults diag.List
	for _, f := range strictKeys(data) {
		line := 0
		if written {
			line = 1 + bytes.Count(data[:min(int(f.offset), len(data))], []byte("\n"))
		}
		faults = append(faults, fail(line, "%s", f.text)...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	var out []Case
	seen := map[string]bool{}
	for i, item := range items {
		var f caseFile
		dec := json.NewDecoder(bytes.NewReader(item))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			faults = append(faults, fail(0, "case %d: %s", i+1, strings.TrimPrefix(err.Error(), "json: "))...)
			continue
		}
		switch {
		case f.Name == "":
			faults = append(faults, fail(0, "case %d has no name", i+1)...)
		case f.Input == nil || f.Input.Messages == nil && f.Input.Request == nil:
			faults = append(faults, fail(0, "case %q: input needs messages or request", f.Name)...)
		case f.Expected == nil && len(f.Assertions) == 0:
			faults = append(faults, fail(0, "case %q expects nothing", f.Name)...)
		case f.Expected != nil && reflect.DeepEqual(*f.Expected, Expected{}):
			faults = append(faults, fail(0, "case %q: expected is empty; it needs verdict, reason_code, output or metadata", f.Name)...)
		case seen[f.Name]:
			faults = append(faults, diag.Diagnostic{Code: diag.TestNameTwice, File: name, Message: fmt.Sprintf("two cases have the name %q", f.Name)})
		default:
			seen[f.Name] = true
			c := Case{Name: f.Name, File: name, Input: *f.Input, Assertions: f.Assertions}
			if f.Expected != nil {
				c.Expected = *f.Expected
			}
			faults = append(faults, c.check(name)...)
			out = append(out, c)
		}
	}
	if faults.HasErrors() {
		return nil, faults
	}
	return out, faults
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

// keyFault is a key that is not accepted, and where it ends.
type keyFault struct {
	text   string
	offset int64
}

// strictKeys finds what encoding/json lets pass: a key twice in one object, and
// one in another case than the documented. data is well-formed.
func strictKeys(data []byte) []keyFault {
	aCase := keysOf(caseFile{}, keySet{"input": keysOf(Input{}, nil), "expected": keysOf(Expected{}, nil), "assertions": keysOf(Assertion{}, nil)})
	top := keySet{"cases": aCase}
	for k, v := range aCase {
		top[k] = v
	}
	w := &keyWalk{dec: json.NewDecoder(bytes.NewReader(data))}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '[' {
		top = aCase
	}
	w.value(top)
	return w.faults
}

type keyWalk struct {
	dec    *json.Decoder
	faults []keyFault
}

// value reads one value; false: the end, or not well-formed.
func (w *keyWalk) value(set keySet) bool {
	t, err := w.dec.Token()
	if err != nil {
		return false
	}
	switch t {
	case json.Delim('['):
		for w.dec.More() {
			if !w.value(set) {
				return false
			}
		}
	case json.Delim('{'):
		seen := map[string]bool{}
		for w.dec.More() {
			k, err := w.dec.Token()
			if err != nil {
				return false
			}
			key, _ := k.(string)
			below, known := set[key]
			switch {
			case seen[key]:
				w.fault("key %q appears twice in one object", key)
			case set != nil && !known:
				hint := ""
				if near := diag.Nearest(key, slices.Sorted(maps.Keys(set))); near != "" {
					hint = fmt.Sprintf("; did you mean %q?", near)
				}
				w.fault("unknown key %q%s", key, hint)
			}
			seen[key] = true
			if !w.value(below) {
				return false
			}
		}
	default:
		return true
	}
	_, err = w.dec.Token() // the closing one
	return err == nil
}

func (w *keyWalk) fault(format string, args ...any) {
	if len(w.faults) < 50 {
		w.faults = append(w.faults, keyFault{fmt.Sprintf(format, args...), w.dec.InputOffset()})
	}
}

// check finds faults of a case that the file's form does not show.
func (c *Case) check(file string) (out diag.List) {
	switch c.Expected.Verdict {
	case "", "allow", "redact", "escalate", "block":
	default:
		out = append(out, diag.Diagnostic{
			Code: diag.TestVerdict, File: file, Hint: "want allow, redact, escalate or block",
			Message: fmt.Sprintf("case %q expects the verdict %q, which does not exist", c.Name, c.Expected.Verdict),
		})
	}
	for i := range c.Assertions {
		if a := &c.Assertions[i]; a.on() && checks[a.Type] == nil {
			out = append(out, diag.Diagnostic{
				Code: diag.TestAssertion, File: file, Hint: "want one of " + strings.Join(AssertionTypes(), ", "),
				Message: fmt.Sprintf("case %q: assertion type %q does not exist or is not built yet", c.Name, a.Type),
			})
		}
	}
	return out
}

// wrapList puts a YAML file that is a list under the key "cases".
func wrapList(data []byte) []byte {
	for line := range bytes.Lines(data) {
		t := bytes.TrimSpace(line)
		if len(t) == 0 || t[0] == '#' || bytes.Equal(t, []byte("---")) {
			continue
		}
		if t[0] != '-' {
			return data
		}
		break
	}
	out := []byte("cases:\n")
	for line := range bytes.Lines(data) {
		if !bytes.Equal(bytes.TrimSpace(line), []byte("---")) {
			out = append(append(out, "  "...), line...)
		}
	}
	return out
}

func lineOf(data []byte, err error) int {
	var e *json.SyntaxError
	if !errors.As(err, &e) {
		return 0
	}
	return 1 + bytes.Count(data[:min(int(e.Offset), len(data))], []byte("\n"))
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
				Name: in.Name, Suite: s.Name, File: in.Value.Pos().File,
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
				d.Line, d.Column = pos.Line, pos.Column
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
