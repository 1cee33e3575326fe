package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/schemas"
)

// Testing holds the tests inside the configuration.
type Testing struct {
	DefaultThreshold *float64
	Suites           []Suite
	Value            Value
}

// Suite is a named list of cases.
type Suite struct {
	Name        string
	Description string
	Target      string
	Assertions  []Assertion
	Cases       []Case
	Value       Value
}

// Case is one test.
type Case struct {
	Name       string
	Input      CaseInput
	Expected   Expected
	Assertions []Assertion
	Value      Value
}

// CaseInput is the request of a case. The raw parts are JSON, keys in the
// order of the file; nil when absent.
type CaseInput struct {
	Messages         json.RawMessage
	Headers          map[string]string
	Request          json.RawMessage
	UpstreamResponse json.RawMessage
	ProxyName        string
	TeamSlugs        []string
}

// Expected is what a case must give; absent parts are not compared.
type Expected struct {
	Verdict    string
	ReasonCode string
	Output     *string
	Metadata   map[string]any
}

// Assertion is one check of an answer.
type Assertion struct {
	Type      string
	Name      string
	Threshold *float64
	Weight    float64
	Enabled   bool
	Mode      string
	Negate    bool
	Value     Value // all fields; value and rubric stand here or under config
}

func (c *checker) build(cfg *Config) {
	root := c.root
	pack := root.Get("pack")
	cfg.Pack = Pack{
		Name: c.text(pack.Get("name")), Version: c.text(pack.Get("version")),
		Enabled: c.flag(pack.Get("enabled"), true), Description: c.text(pack.Get("description")), Value: pack,
	}
	if !cfg.Pack.Enabled {
		c.add(pack.Get("enabled").Diag(diag.PackOff, diag.Warning, "the pack is switched off; kt gateway run will refuse to start", "remove enabled: false"))
	}
	cfg.Providers = c.providers(root)
	cfg.Chain = c.chain(root.Path("policies", "chain"))
	c.modelsServed(cfg)
	cfg.Policy = c.policies(root.Get("policy"), cfg.Chain)
	cfg.Testing = c.testing(root.Get("testing"))
}

func (c *checker) chain(v Value) []ChainEntry {
	var out []ChainEntry
	for i := range v.Len() {
		item := v.Index(i)
		e := ChainEntry{Value: item, Pos: item.Pos()}
		switch item.Kind() {
		case String:
			e.Kind = item.n.text
			c.kindKnown(item, e.Kind)
		case Map:
			if item.Len() != 1 || c.seen[item.ptr] {
				continue // it is said
			}
			e.Kind = item.Keys()[0]
			body := item.Get(e.Kind)
			e.Pos = body.KeyPos()
			c.kindKnown(body, e.Kind)
			e.Stage = c.text(body.Get("stage"))
			e.Parallel = c.flag(body.Get("parallel"), false)
			e.When = c.when(e.Kind, body.Get("when"))
			if t := body.Get("targeting"); t.Exists() {
				c.add(t.KeyDiag(diag.NotBuiltYet, diag.Error, "targeting is documented but not built yet in this version", "use when with a header instead"))
			}
		default:
			continue
		}
		for _, before := range out {
			if before.Kind != e.Kind {
				continue
			}
			why := ""
			switch {
			case before.When.Always() || e.When.Always():
				why = fmt.Sprintf("%s is in the chain twice", shorten(e.Kind))
			case before.When.same(e.When) && (before.Stage == "" || e.Stage == "" || before.Stage == e.Stage):
				why = fmt.Sprintf("%s is in the chain twice under the same conditions", shorten(e.Kind))
			default:
				continue
			}
			c.add(e.Pos.Diag(diag.DuplicateKind, diag.Error, item.ptr, why, fmt.Sprintf("the first one is at %s; a kind has one block of settings and may come twice only under different conditions", before.Pos)))
			break
		}
		out = append(out, e)
	}
	return out
}

func (c *checker) kindKnown(at Value, name string) {
	if slices.Contains(schemas.Kinds(), name) && c.built.Kind(name) {
		return
	}
	if name == "" {
		return // said as a length
	}
	if at.n.secret {
		c.err(at, diag.UnknownKind, "unknown policy kind", "")
		return
	}
	c.unknownKind(at, name)
}

// fieldName is a header name by RFC 9110 section 5.6.2.
var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~A-Za-z0-9-]{1,128}$")

// same tells whether two entries hold for the same requests.
func (w When) same(o When) bool {
	models := func(w When) []string { return slices.Compact(slices.Sorted(slices.Values(w.Model))) }
	return w.Path == o.Path && maps.Equal(w.Header, o.Header) && slices.Equal(models(w), models(o))
}

func (c *checker) when(kind string, v Value) When {
	w := When{Path: c.text(v.Get("path")), Value: v}
	c.pathServed(kind, v.Get("path"), w.Path)
	h := v.Get("header")
	if h.Len() > 0 {
		w.Header = make(map[string]string, h.Len())
	}
	for _, k := range h.Keys() {
		name := strings.ToLower(k)
		if !fieldName.MatchString(k) {
			c.add(h.Get(k).KeyDiag(diag.BadCondition, diag.Error, fmt.Sprintf("%q is not a header name", shorten(k)), ""))
			continue
		}
		if _, twice := w.Header[name]; twice {
			c.add(h.Get(k).KeyDiag(diag.BadCondition, diag.Error, fmt.Sprintf("header %s stands twice, in different case", shorten(name)), "header names have no case"))
			continue
		}
		w.Header[name] = c.text(h.Get(k))
		if at, text := h.Get(k), w.Header[name]; strings.Contains(text, "*") && text != "*/*" && !at.n.secret {
			c.add(at.Diag(diag.BadCondition, diag.Warning, fmt.Sprintf("the value of the header %s is compared as written: * stands for itself, not for any text", name), // not shown: it may be a credential
				"a condition names one whole value; an entry for each value (with the same kind) says several"))
		}
	}
	m := v.Get("model")
	for i := range m.Len() {
		w.Model = append(w.Model, c.text(m.Index(i)))
	}
	return w
}

// isGlob tells whether a text looks like a pattern for names or paths.
func isGlob(s string) bool { return strings.ContainsAny(s, "*?") }

// pathServed reports a path under which no request runs through the chain.
func (c *checker) pathServed(kind string, at Value, prefix string) {
	under := func(p string) bool { return strings.HasPrefix(p, prefix) }
	if !strings.HasPrefix(prefix, "/") || slices.ContainsFunc(c.built.Paths, under) { // the schema says the first
		return
	}
	served := "served: " + strings.Join(c.built.Paths, ", ")
	switch {
	case isGlob(prefix) && !at.n.secret:
		i := strings.IndexAny(prefix, "*?")
		c.err(at, diag.BadCondition, fmt.Sprintf("path is a prefix, compared as written: %s is no pattern, and no request has %q in its path", at.show(), prefix[i:i+1]),
			fmt.Sprintf("write %s for all paths that begin so; %s", shorten(prefix[:i]), served))
	case slices.ContainsFunc(OtherPaths(), func(p string) bool { return under(p) || strings.HasPrefix(prefix, strings.TrimSuffix(p, "/")) }):
		c.add(at.Diag(diag.Unenforceable, diag.Warning, fmt.Sprintf("%s never runs: no API under %s is served by this version, requests there get 501", shorten(kind), at.show()), served))
	default:
		hint := served
		if near := diag.Nearest(prefix, c.built.Paths); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		} else if slices.ContainsFunc(c.built.Paths, func(p string) bool { return strings.HasSuffix(p, strings.TrimSuffix(prefix, "/")) }) {
			hint = "write the whole path from its beginning; " + served
		}
		c.err(at, diag.Unenforceable, fmt.Sprintf("%s would never run: no request has a path that begins with %s", shorten(kind), at.show()), hint)
	}
}

// modelsServed reports conditions on models that no client can ask for.
func (c *checker) modelsServed(cfg *Config) {
	var served []string
	for _, t := range cfg.Providers.Targets {
		switch {
		case !t.Enabled:
		case t.Model == "": // whatever the client asks for
			return
		default:
			served = append(served, t.Model)
		}
	}
	for _, g := range cfg.Providers.ModelGroups {
		served = append(append(served, g.Name), g.Aliases...)
	}
	slices.Sort(served)
	served = slices.Compact(served)
	if slices.ContainsFunc(c.diags, func(d diag.Diagnostic) bool {
		return d.Severity == diag.Error && strings.HasPrefix(d.Pointer, "/providers")
	}) {
		served = nil // they are not known
	}
	for _, e := range cfg.Chain {
		m := e.When.Value.Get("model")
		for i := range m.Len() {
			at := m.Index(i)
			name, _ := at.Text()
			if name == "" || at.n.secret || slices.Contains(served, name) {
				continue
			}
			hint := ""
			switch near := diag.Nearest(name, served); {
			case isGlob(name):
				hint = "name each model: model: [one, two]"
				if len(served) > 0 {
					hint += "; served: " + listed(served)
				}
				c.err(at, diag.BadCondition, fmt.Sprintf("a model is compared as written, whole: %s is no pattern, and no request has this model", at.show()), hint)
				continue
			case len(served) == 0: // there is no target, or a fault of one: both are said
				continue
			case near != "":
				hint = fmt.Sprintf("did you mean %s? The model is the one that clients ask for", near)
			default:
				hint = "the model is the one that clients ask for; served: " + listed(served)
			}
			c.add(at.Diag(diag.Unenforceable, diag.Warning, fmt.Sprintf("%s never runs for %s: no target and no model group serves it", shorten(e.Kind), at.show()), hint))
		}
	}
}

// listed joins names, the first ten.
func listed(names []string) string {
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + fmt.Sprintf(" and %d more", len(names)-10)
	}
	return strings.Join(names, ", ")
}

func (c *checker) policies(v Value, chain []ChainEntry) map[string]Value {
	out := make(map[string]Value, v.Len())
	inChain := map[string]bool{}
	for _, e := range chain {
		inChain[e.Kind] = true
	}
	for _, kind := range v.Keys() {
		block := v.Get(kind)
		known := slices.Contains(schemas.Kinds(), kind)
		switch {
		case !known:
			continue // an unknown key, said by the schema
		case !c.built.Kind(kind):
			if !inChain[kind] { // else said at the chain entry
				c.unknownKind(block, kind)
			}
			continue
		case !inChain[kind]:
			c.add(block.KeyDiag(diag.UnusedBlock, diag.Warning, fmt.Sprintf("policy.%s has no effect: %s is not in policies.chain", kind, kind), "add it to the chain, or remove the block"))
		}
		out[kind] = block
		c.refused(block)
	}
	for _, e := range chain {
		if !c.built.Kind(e.Kind) || v.Get(e.Kind).Kind() == Map {
			continue
		}
		req, _ := c.set.at([]string{"policy", e.Kind})["required"].([]any)
		if len(req) > 0 {
			d := e.Pos.Diag(diag.NeedsBlock, diag.Error, e.Value.ptr, fmt.Sprintf("%s needs a block policy.%s with %s", e.Kind, e.Kind, strings.Join(stringsOf(req), ", ")), "")
			d.Aliases = []string{"E003"}
			c.add(d)
		}
	}
	return out
}

// refused reports values that ask for something not built yet.
func (c *checker) refused(v Value) {
	switch v.Kind() {
	case Map:
		for _, k := range v.Keys() {
			c.refused(v.Get(k))
		}
	case Bool, String:
		for _, r := range refusals {
			if v.n.text == r.value && matchPointer(r.pattern, v.ptr) {
				path := strings.Split(strings.TrimPrefix(v.ptr, "/"), "/")
				c.err(v, diag.FieldNotBuilt, fmt.Sprintf("%s: %s is documented but not built yet in this version", dotted(path), r.value), r.instead)
			}
		}
	}
}

func (c *checker) testing(v Value) *Testing {
	if v.Kind() != Map {
		return nil
	}
	t := &Testing{DefaultThreshold: c.floatPtr(v.Get("default_threshold")), Value: v}
	suites := v.Get("suites")
	names := map[string]bool{}
	for i := range suites.Len() {
		sv := suites.Index(i)
		s := Suite{
			Name: c.text(sv.Get("name")), Description: c.text(sv.Get("description")), Target: c.text(sv.Get("target")),
			Assertions: c.assertions(sv.Get("assertions")), Value: sv,
		}
		c.unique(names, sv.Get("name"), "suites")
		caseNames := map[string]bool{}
		cases := sv.Get("cases")
		for j := range cases.Len() {
			cv := cases.Index(j)
			c.unique(caseNames, cv.Get("name"), "cases of one suite")
			s.Cases = append(s.Cases, c.testCase(cv))
		}
		t.Suites = append(t.Suites, s)
	}
	for _, k := range []string{"plugins", "strategies"} {
		if l := v.Get(k); l.Len() > 0 {
			c.add(l.KeyDiag(diag.TestNoEffect, diag.Warning, fmt.Sprintf("testing.%s has no effect", k), "its documentation names no effect either"))
		}
	}
	return t
}

func (c *checker) unique(seen map[string]bool, v Value, what string) {
	s := c.text(v)
	if s == "" {
		return
	}
	if seen[s] {
		c.err(v, diag.TestNameTwice, fmt.Sprintf("two %s have the name %s", what, v.show()), "")
	}
	seen[s] = true
}

func (c *checker) testCase(v Value) Case {
	in, ex := v.Get("input"), v.Get("expected")
	proxy, gw := in.Get("proxy_name"), in.Get("gateway_name")
	c.both(proxy, gw, "proxy_name", "gateway_name")
	tc := Case{
		Name: c.text(v.Get("name")), Value: v, Assertions: c.assertions(v.Get("assertions")),
		Input: CaseInput{
			Messages: raw(in.Get("messages")), Request: raw(in.Get("request")), UpstreamResponse: raw(in.Get("upstream_response")),
			ProxyName: c.text(first(proxy, gw)),
		},
		Expected: Expected{Verdict: c.text(ex.Get("verdict")), ReasonCode: c.text(ex.Get("reason_code"))},
	}
	if in.Kind() == Map && !in.Get("messages").Exists() && !in.Get("request").Exists() {
		c.add(in.KeyDiag(diag.MissingKey, diag.Error, "input needs messages or request", ""))
	}
	if h := in.Get("headers"); h.Len() > 0 {
		tc.Input.Headers = make(map[string]string, h.Len())
		for _, k := range h.Keys() {
			tc.Input.Headers[k] = c.text(h.Get(k))
		}
	}
	for i := range in.Get("team_slugs").Len() {
		tc.Input.TeamSlugs = append(tc.Input.TeamSlugs, c.text(in.Get("team_slugs").Index(i)))
	}
	if s, ok := ex.Get("output").Text(); ok {
		tc.Expected.Output = &s
	}
	if m, ok := ex.Get("metadata").Any().(map[string]any); ok {
		tc.Expected.Metadata = m
	}
	return tc
}

func raw(v Value) json.RawMessage {
	if !v.Exists() {
		return nil
	}
	return v.JSON()
}

func (c *checker) floatPtr(v Value) *float64 {
	if f, ok := v.Float(); ok {
		return &f
	}
	return nil
}

func (c *checker) assertions(v Value) []Assertion {
	var out []Assertion
	for i := range v.Len() {
		a := v.Index(i)
		as := Assertion{
			Type: c.text(a.Get("type")), Name: c.text(a.Get("name")), Threshold: c.floatPtr(a.Get("threshold")),
			Weight: c.float(a.Get("weight"), 1), Enabled: c.flag(a.Get("enabled"), true), Mode: c.text(a.Get("mode")),
			Negate: c.flag(a.Get("negate"), false), Value: a,
		}
		if as.Mode == "" {
			as.Mode = "enforce"
		}
		out = append(out, as)
	}
	return out
}
