// Package kindtest is the conformance suite of policy kinds, and gives tests a
// chain from a few lines of configuration.
package kindtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/plan"
	"github.com/keeptrusts/kt/schemas"
)

// header makes policies alone a whole configuration.
const header = `pack:
  name: test
  version: 0.1.0
providers:
  targets:
    - id: t
      provider: openai
      model: m
      secret_key_ref:
        env: TEST_KEY
`

// Config loads a configuration; a text without pack gets one with a target.
func Config(t testing.TB, yaml string) *config.Config {
	t.Helper()
	if !strings.HasPrefix(yaml, "pack:") && !strings.Contains(yaml, "\npack:") {
		yaml = header + yaml
	}
	built := config.AllBuilt()
	cfg, diags := config.Load([]config.Source{{Name: "policy-config.yaml", Data: []byte(yaml)}}, config.Options{Built: &built})
	if cfg == nil {
		t.Fatalf("load configuration:\n%s", diags.Text())
	}
	return cfg
}

// TryPlan is Plan for a configuration that may be refused: then it gives nil.
func TryPlan(yaml string) *plan.Plan {
	built := config.AllBuilt()
	cfg, _ := config.Load([]config.Source{{Name: "policy-config.yaml", Data: []byte(header + yaml)}}, config.Options{Built: &built})
	if cfg == nil {
		return nil
	}
	p, _ := plan.Build(cfg)
	return p
}

// Plan builds the plan of a configuration; see Config.
func Plan(t testing.TB, yaml string) *plan.Plan {
	t.Helper()
	p, diags := plan.Build(Config(t, yaml))
	if p == nil {
		t.Fatalf("build plan:\n%s", diags.Text())
	}
	return p
}

// Chain gives the interpreted chain of a configuration; see Config.
func Chain(t testing.TB, yaml string) pipeline.Chain {
	t.Helper()
	p := Plan(t, yaml)
	return interp.NewWith(p, Engine(t, p))
}

// engines keeps what Engine built, by plan digest: the tests of one binary use
// the same chains again and again, and tables take long to build. Tests that
// run side by side wait for the first of them.
var engines sync.Map // of func() (*plan.Engine, diag.List)

// TablesDir is the folder in which test binaries share tables, empty for none.
// make names it by the sources of the engine, so that no table in it is older
// than what builds it.
func TablesDir() string { return os.Getenv("KT_TEST_TABLES") }

// Engine gives the tables of a plan, built once in a test binary. Where make
// names a folder for them, they are built once for all test binaries: under the
// race detector building takes eight times as long, in one goroutine.
func Engine(t testing.TB, p *plan.Plan) *plan.Engine {
	t.Helper()
	build, _ := engines.LoadOrStore(p.Info.Digest, sync.OnceValues(func() (*plan.Engine, diag.List) {
		dir := TablesDir()
		if dir == "" {
			return p.Engine()
		}
		e, _, diags, _ := p.CachedEngine(dir) // where the folder cannot be written to, that costs time only
		return e, diags
	}))
	e, diags := build.(func() (*plan.Engine, diag.List))()
	if e == nil {
		t.Fatalf("build tables:\n%s", diags.Text())
	}
	return e
}

// Outcome is all that can be seen of one channel.
type Outcome struct {
	Findings []string // policy, entity, action, span and replacement of each
	Decision string
	Text     string // after edits, up to the terminal finding
}

func (o Outcome) String() string {
	return fmt.Sprintf("findings:\n  %s\ndecision: %s\ntext: %q", strings.Join(o.Findings, "\n  "), o.Decision, o.Text)
}

// Piece feeds text to a session of ch in pieces that end at cuts (ascending,
// the end of the text is added), and drops released text as a window does. It
// fails the test when a session breaks the contract on the way: released text
// that a later finding reaches, findings out of order.
func Piece(t testing.TB, ch pipeline.Chain, c pipeline.Class, mask pipeline.Mask, text []byte, cuts []int) Outcome {
	t.Helper()
	s := ch.Session(c, mask)
	defer s.Close()
	var f pipeline.Findings
	released, fed, seen := 0, 0, 0
	feed := func(to int, end bool) {
		win := slices.Clone(text[released:to])
		n := fed - released
		keep := s.Feed(win, n, end, &f)
		if keep < 0 || keep > len(win) {
			t.Fatalf("keep %d of a window of %d bytes", keep, len(win))
		}
		for i := range win {
			win[i] = 0xA5 // nothing may be retained
		}
		for _, g := range f.List[seen:] {
			if g.Action >= pipeline.Redact && g.Start < int64(released) && g.Rule != pipeline.NoRule {
				t.Fatalf("cuts %v: finding %d-%d reaches into text released up to %d", cuts, g.Start, g.End, released)
			}
		}
		seen = len(f.List)
		fed, released = to, released+keep
	}
	for _, to := range cuts {
		if to >= fed && to <= len(text) {
			feed(to, false)
		}
	}
	feed(len(text), true)
	return Judge(t, ch, c, text, &f)
}

// Judge gives the outcome of a channel with these findings.
func Judge(t testing.TB, ch pipeline.Chain, c pipeline.Class, text []byte, f *pipeline.Findings) Outcome {
	t.Helper()
	info := ch.Info()
	var o Outcome
	var x pipeline.Exchange
	var scratch pipeline.Findings
	x.Begin(ch, &pipeline.Facts{}, &scratch)
	id := x.Channel()
	cut := int64(-1)
	for i := range f.List {
		g := &f.List[i]
		if i > 0 && g.Less(&f.List[i-1]) {
			t.Fatalf("findings %d and %d are out of order: %+v, %+v", i-1, i, f.List[i-1], *g)
		}
		line := fmt.Sprintf("%d %s %s %d-%d", g.Policy, info.Entities[g.Entity].Name, g.Action, g.Start, g.End)
		if g.Action == pipeline.Redact {
			line += " " + string(f.Replacement(i))
		}
		if g.Score > 0 {
			line += fmt.Sprintf(" score %d", g.Score)
		}
		o.Findings = append(o.Findings, line)
		if x.Record(id, c, g) {
			cut = g.Start
		}
	}
	d := x.Decide()
	o.Decision = string(d.Verdict) + " " + d.Reason
	o.Text = string(pipeline.ApplyEdits(nil, text, pipeline.AppendEdits(nil, f, cut), cut))
	return o
}

// Everything is the mask with every policy on.
const Everything = ^pipeline.Mask(0)

// Case is one section of a kind's cases.txtar.
type Case struct {
	Name  string
	Class pipeline.Class
	Want  string // the text after edits; "block" and the like for a verdict; "" for silence
	Text  string
}

// Run is the conformance suite. The cases file is a txtar archive:
//
//	-- config NAME --      a configuration (policies and policy only); the cases below use it
//	-- CLASS VERDICT NAME -- the text; a line of five dashes, when there is one, divides it from the text after edits
//
// CLASS is input_text, input_tool, output_text or output_tool; VERDICT is
// allow, redact, block or escalate. A last line end of a text does not count.
// NAME may hold the word normalised: the text's hits must survive changes of
// case, zero-width characters and full-width letters.
func Run(t *testing.T, k pipeline.Kind, cases string) {
	t.Run("params match the schema", func(t *testing.T) { Params(t, k) })
	b, err := os.ReadFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	var ch pipeline.Chain
	ran := 0
	for _, f := range txtar.Parse(b).Files {
		words := strings.Fields(f.Name)
		if len(words) >= 1 && words[0] == "config" {
			ch = Chain(t, string(f.Data))
			continue
		}
		if ch == nil || len(words) < 3 {
			t.Fatalf("%s: section %q needs a config before it, a class, a verdict and a name", filepath.Base(cases), f.Name)
		}
		c := classOf(t, words[0])
		text, want, edited := strings.Cut(string(f.Data), "\n-----\n")
		text = strings.TrimSuffix(text, "\n")
		want = strings.TrimSuffix(want, "\n")
		if !edited {
			want = text
		}
		chain := ch
		ran++
		t.Run(f.Name, func(t *testing.T) {
			check(t, chain, c, text, words[1], want, edited)
			if slices.Contains(words[2:], "normalised") {
				metamorphic(t, chain, c, text, words[1])
			}
		})
	}
	if ran == 0 {
		t.Fatalf("%s has no cases", cases)
	}
}

func classOf(t testing.TB, name string) pipeline.Class {
	t.Helper()
	for c := range pipeline.NumClasses {
		if c.String() == name {
			return c
		}
	}
	t.Fatalf("no class is called %q", name)
	return 0
}

func check(t *testing.T, ch pipeline.Chain, c pipeline.Class, text, verdict, want string, edited bool) {
	whole := Piece(t, ch, c, Everything, []byte(text), nil)
	if got, _, _ := strings.Cut(whole.Decision, " "); got != verdict {
		t.Fatalf("verdict %s, want %s\n%s", got, verdict, whole)
	}
	if (edited || verdict == "allow") && whole.Text != want {
		t.Fatalf("text after edits:\n%q\nwant:\n%q\n%s", whole.Text, want, whole)
	}
	Splits(t, ch, c, []byte(text), whole, 20)
	if off := Piece(t, ch, c, 0, []byte(text), nil); len(off.Findings) != 0 {
		t.Errorf("policies that are masked found %v", off.Findings)
	}
	NoAllocs(t, ch, c, []byte(text))
}

// Splits checks that the outcome does not depend on how the text is cut: every
// single cut, single bytes, and some random cuts.
func Splits(t testing.TB, ch pipeline.Chain, c pipeline.Class, text []byte, want Outcome, random int) {
	t.Helper()
	try := func(cuts []int) {
		t.Helper()
		if got := Piece(t, ch, c, Everything, text, cuts); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %v:\n%s\nwhole:\n%s", cuts, got, want)
		}
	}
	step := max(1, len(text)/200)
	for i := 1; i < len(text); i += step {
		try([]int{i})
	}
	all := make([]int, 0, len(text))
	for i := 1; i < len(text); i++ {
		all = append(all, i)
	}
	if len(text) <= 2000 {
		try(all)
	}
	rng := rand.New(rand.NewPCG(uint64(len(text)), 7))
	for range random {
		var cuts []int
		for i := 0; i < len(text); i += rng.IntN(12) {
			cuts = append(cuts, i)
			if rng.IntN(8) == 0 {
				cuts = append(cuts, i) // an empty piece
			}
			i++
		}
		try(cuts)
	}
}

// NoAllocs checks that feeding a warm session allocates nothing. Under the race detector, which makes pools drop
// what is put into them, it checks nothing.
func NoAllocs(t testing.TB, ch pipeline.Chain, c pipeline.Class, text []byte) {
	t.Helper()
	if invariant.Race {
		return
	}
	var f pipeline.Findings
	s := ch.Session(c, Everything)
	defer s.Close()
	r, ok := s.(interface{ Restart(pipeline.Mask) })
	if !ok {
		return
	}
	run := func() {
		r.Restart(Everything)
		f.Reset()
		s.Feed(text, 0, true, &f)
	}
	run()
	if n := testing.AllocsPerRun(5, run); n > 0 {
		t.Errorf("Feed allocates %v times", n)
	}
}

// metamorphic changes text in ways that the normalised view undoes.
func metamorphic(t *testing.T, ch pipeline.Chain, c pipeline.Class, text, verdict string) {
	for name, change := range map[string]func(rune) string{
		"upper case": func(r rune) string { return strings.ToUpper(string(r)) },
		"zero width": func(r rune) string {
			if r >= 'a' && r <= 'z' {
				return string(r) + "\u200b"
			}
			return string(r)
		},
		"full width": func(r rune) string {
			if r > ' ' && r < 0x7f {
				return string(r - 0x21 + 0xff01)
			}
			return string(r)
		},
	} {
		var b strings.Builder
		for _, r := range text {
			b.WriteString(change(r))
		}
		got := Piece(t, ch, c, Everything, []byte(b.String()), nil)
		if v, _, _ := strings.Cut(got.Decision, " "); v != verdict {
			t.Errorf("%s: verdict %s, want %s", name, v, verdict)
		}
		Splits(t, ch, c, []byte(b.String()), got, 3)
	}
}

// Params checks a kind's parameter struct against its schema: the same names,
// types that hold the schema's, and the documented defaults.
func Params(t testing.TB, k pipeline.Kind) {
	t.Helper()
	raw, ok := schemas.Kind(k.Name())
	if !ok {
		t.Fatalf("%s has no schema", k.Name())
	}
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	p := reflect.ValueOf(k.Params())
	if p.Kind() != reflect.Pointer || p.Elem().Kind() != reflect.Struct {
		t.Fatalf("Params gives %T, want a pointer to a struct", k.Params())
	}
	s.compare(t, k.Name(), p.Elem())
}

type schema struct {
	Type       string            `json:"type"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Default    json.RawMessage   `json:"default"`
}

func (s *schema) compare(t testing.TB, path string, v reflect.Value) {
	t.Helper()
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if tag == "" {
			t.Errorf("%s: field %s has no json name", path, v.Type().Field(i).Name)
		}
		fields[tag] = v.Field(i)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		prop := s.Properties[name]
		at := path + "." + name
		f, ok := fields[name]
		if !ok {
			t.Errorf("%s is in the schema, not in the struct", at)
			continue
		}
		delete(fields, name)
		want := map[string][]reflect.Kind{
			"string": {reflect.String}, "boolean": {reflect.Bool}, "number": {reflect.Float64}, "integer": {reflect.Int},
			"array": {reflect.Slice}, "object": {reflect.Struct, reflect.Map},
		}[prop.Type]
		if !slices.Contains(want, f.Kind()) {
			t.Errorf("%s is %s in the struct, %s in the schema", at, f.Kind(), prop.Type)
			continue
		}
		if f.Kind() == reflect.Struct {
			prop.compare(t, at, f)
			continue
		}
		got, err := json.Marshal(f.Interface())
		if err != nil {
			t.Fatal(err)
		}
		if prop.Default == nil {
			if !f.IsZero() {
				t.Errorf("%s defaults to %s in the struct, to nothing in the schema", at, got)
			}
			continue
		}
		var def bytes.Buffer
		if err := json.Compact(&def, prop.Default); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, def.Bytes()) {
			t.Errorf("%s defaults to %s in the struct, to %s in the schema", at, got, def.Bytes())
		}
	}
	for name := range fields {
		t.Errorf("%s.%s is in the struct, not in the schema", path, name)
	}
}
