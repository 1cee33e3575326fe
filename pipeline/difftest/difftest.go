// Package difftest holds the proof that the two assemblies do the same:
// compiled pack = interpreted plan = unfused reference, in findings, decisions
// and bytes out, on random packs, texts and cuts.
package difftest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/kindtest"
	"github.com/keeptrusts/kt/pipeline/plan"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
	"github.com/keeptrusts/kt/schemas"
)

// Pack is one compiled pack with the configuration it was generated from.
type Pack struct {
	Name   string
	Config string
	Open   func() (pipeline.Chain, error)
}

// Options of Run.
type Options struct {
	Pairs    int    // random (text, cuts) pairs for each pack
	Seed     uint64 // of the pairs
	Failures string // folder for the failing cases; empty = none are stored
	Tables   string // folder of plan.CachedEngine
}

// Run compares the packs on random pairs.
func Run(t *testing.T, packs []Pack, opt Options) {
	hits, all := 0, 0
	defer func() {
		t.Logf("%d packs, %d pairs, %d with findings", len(packs), all, hits)
		if hits*10 < all {
			t.Errorf("only %d of %d pairs have findings: the comparison says little", hits, all)
		}
	}()
	alone := map[string]*scan.Tables{}
	for i, p := range packs {
		t.Run(p.Name, func(t *testing.T) {
			c := newComparison(t, p, opt.Tables, alone)
			rng := rand.New(rand.NewPCG(opt.Seed, uint64(i)))
			for range opt.Pairs {
				k := c.random(rng)
				all++
				if why := c.check(t, k); why != "" {
					if opt.Failures != "" {
						c.store(t, opt.Failures, k)
					}
					t.Fatalf("class %s, mask %b, cuts %v, text %q:\n%s", k.class, k.mask, k.cuts, k.text, why)
				}
				hits += c.hit
			}
		})
	}
}

// Replay runs the stored case in a txtar archive against a pack whose
// configuration is the case's own.
func Replay(t *testing.T, p Pack, tables string, archive []byte) {
	c := newComparison(t, p, tables, map[string]*scan.Tables{})
	k, err := readCase(archive)
	if err != nil {
		t.Fatal(err)
	}
	if why := c.check(t, k); why != "" {
		t.Fatal(why)
	}
}

// pair is one text with the place where it stands and how it is cut.
type pair struct {
	class pipeline.Class
	mask  pipeline.Mask
	text  []byte
	cuts  []int
}

type comparison struct {
	pack     Pack
	plan     *plan.Plan
	compiled pipeline.Chain
	interp   pipeline.Chain
	alone    map[string]*scan.Tables // of each rule by itself, shared by all packs
	material []string                // texts in which rules of the pack find something
	classes  []pipeline.Class        // that some policy looks at
	hit      int                     // 1 when the last check had findings
}

func newComparison(t *testing.T, p Pack, tables string, alone map[string]*scan.Tables) *comparison {
	t.Helper()
	c := &comparison{pack: p, plan: kindtest.Plan(t, p.Config), alone: alone}
	var err error
	if c.compiled, err = p.Open(); err != nil {
		t.Fatal(err)
	}
	e, _, diags, err := c.plan.CachedEngine(tables)
	if e == nil || err != nil {
		t.Fatalf("build tables: %v\n%s", err, diags.Text())
	}
	c.interp = interp.NewWith(c.plan, e)
	c.gather()
	a, b := *c.compiled.Info(), *c.interp.Info()
	if a.Mode != "compiled" || b.Mode != "interp" {
		t.Errorf("modes %q and %q", a.Mode, b.Mode)
	}
	a.Mode, a.StateBytes = b.Mode, b.StateBytes // the two that may differ
	if !reflect.DeepEqual(a, b) {
		t.Errorf("compiled and interpreted chain describe themselves differently:\n%+v\n%+v", a, b)
	}
	return c
}

// gather collects what the pack's rules look for.
func (c *comparison) gather() {
	byID := map[string]*rulebook.Entry{}
	for i := range entries {
		byID[entries[i].ID] = &entries[i]
	}
	for cl := range pipeline.NumClasses {
		if c.plan.Classes[cl] == nil {
			continue
		}
		c.classes = append(c.classes, cl)
		for _, r := range c.plan.Classes[cl].Spec.Rules {
			_, id, _ := strings.Cut(r.ID, "/")
			id, _, _ = strings.Cut(id, "#")
			e := byID[id]
			switch {
			case r.Phrase != "":
				c.material = append(c.material, r.Phrase)
			case e != nil:
				for _, x := range e.Positives {
					c.material = append(c.material, x.Text)
				}
			default:
				c.material = append(c.material, samples...)
			}
		}
	}
}

// check tells how the three differ on k, empty when they do not.
func (c *comparison) check(t *testing.T, k pair) string {
	t.Helper()
	for cl := range pipeline.NumClasses {
		if a, b := c.compiled.Scans(cl, k.mask), c.interp.Scans(cl, k.mask); a != b {
			return fmt.Sprintf("%s: compiled scans %t, interpreted %t", cl, a, b)
		}
	}
	a := kindtest.Piece(t, c.compiled, k.class, k.mask, k.text, k.cuts)
	b := kindtest.Piece(t, c.interp, k.class, k.mask, k.text, k.cuts)
	if !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("compiled:\n%s\ninterpreted:\n%s", a, b)
	}
	c.hit = min(1, len(a.Findings))
	r := kindtest.Judge(t, c.interp, k.class, k.text, c.reference(t, k))
	if a.Decision != r.Decision || a.Text != r.Text || !slices.Equal(starts(a.Findings), starts(r.Findings)) {
		return fmt.Sprintf("compiled and interpreted:\n%s\nreference:\n%s", a, r)
	}
	return ""
}

// mild is a finding that neither edits nor ends: where it starts is a lower bound, which tables of one rule know less of.
var mild = regexp.MustCompile(` (allow|log|warn) [0-9]+-`)

// starts leaves out the starts that are lower bounds.
func starts(findings []string) []string {
	out := slices.Clone(findings)
	for i := range out {
		out[i] = mild.ReplaceAllString(out[i], " $1 ?-")
	}
	return out
}

// reference finds what the rules find one by one, on the whole text, and
// judges it in the plainest way.
func (c *comparison) reference(t *testing.T, k pair) *pipeline.Findings {
	t.Helper()
	f := &pipeline.Findings{}
	cl := c.plan.Classes[k.class]
	if cl == nil {
		return f
	}
	var found []scan.Match
	found = append(found, c.reading(t, cl, k.text, k.mask)...)
	decode := cl.Spec.Decode.Masked(k.mask)
	dec := scan.Decoder{Tags: true, Rot13: true}
	dec.Reset(k.text)
	for decode.Any() {
		tok, ok := dec.Next()
		if !ok {
			break
		}
		last := map[uint32]int64{} // matches of a rule in a piece count if they end that far apart
		for _, m := range c.reading(t, cl, tok.Text, k.mask&decode.Of(tok.Form)) {
			if end, ok := last[m.Rule]; !ok || m.End-end >= 256 {
				last[m.Rule] = m.End
				found = append(found, scan.Match{Start: int64(tok.Start), End: min(int64(tok.Start)+m.End, int64(tok.End)), Rule: m.Rule})
			}
		}
	}
	inOrder(found)
	type group struct{ scorer, group uint8 }
	type evidence struct {
		weight int32
		at     int64
	}
	best := map[group]evidence{}
	fired := map[uint8]bool{}
	for _, m := range found {
		e := cl.Spec.Effects[m.Rule]
		g := pipeline.Finding{Start: m.Start, End: m.End, Rule: m.Rule, Entity: e.Entity, Policy: e.Policy, Action: e.Action}
		switch {
		case e.Scorer > 0:
			s := &cl.Spec.Scorers[e.Scorer-1]
			near := func(x evidence) bool { return s.Within == 0 || m.End-x.at <= int64(s.Within) }
			own := group{e.Scorer, e.Group}
			if b := best[own]; e.Weight >= b.weight || !near(b) {
				best[own] = evidence{e.Weight, m.End}
			}
			sum := int32(0)
			for k, b := range best {
				if k.scorer == e.Scorer && near(b) {
					sum += b.weight
				}
			}
			if sum >= s.Threshold && !fired[e.Scorer] {
				fired[e.Scorer] = true
				g.Entity, g.Action, g.Score = s.Entity, s.Action, sum
				f.Add(g, cl.Spec.Strictest)
			}
		case e.Action == pipeline.Redact:
			f.AddRedaction(g, cl.Spec.Strictest, &cl.Spec.Markers[e.Marker], k.text[m.Start:m.End])
		case e.Action != pipeline.Allow:
			f.Add(g, cl.Spec.Strictest)
		}
	}
	return f
}

// reading finds what the rules of some policies find in one text, one by one, in order, but for what is negated there.
func (c *comparison) reading(t *testing.T, cl *plan.Class, text []byte, mask pipeline.Mask) []scan.Match {
	t.Helper()
	var all, out []scan.Match
	for i, r := range cl.Spec.Rules {
		if mask.Has(int(r.Policy)) {
			for _, m := range matches(c.ruleAlone(t, r), text) {
				all = append(all, scan.Match{Start: m.Start, End: m.End, Rule: uint32(i)})
			}
		}
	}
	inOrder(all)
	last := map[uint8]scan.Match{}
	for _, m := range all {
		r := &cl.Spec.Rules[m.Rule]
		not, ok := last[r.Policy]
		switch {
		case r.Negation == scan.Negates:
			last[r.Policy] = m
		case r.Negation == scan.Negatable && ok && m.Start > not.Start && m.Start < not.End:
		default:
			out = append(out, m)
		}
	}
	return out
}

func inOrder(l []scan.Match) {
	slices.SortFunc(l, func(a, b scan.Match) int {
		return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rule, b.Rule))
	})
}

func (c *comparison) ruleAlone(t *testing.T, r scan.Rule) *scan.Tables {
	t.Helper()
	r.Policy, r.ID = 0, "alone"
	key := fmt.Sprintf("%#v", r)
	if tables := c.alone[key]; tables != nil {
		return tables
	}
	tables, _, err := scan.Build([]scan.Rule{r}, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.alone[key] = tables
	return tables
}

func matches(tables *scan.Tables, text []byte) []scan.Match {
	var s scan.State
	var out scan.Matches
	var all []scan.Match
	s.Reset(1)
	for n, more := 0, true; more; {
		fed, _ := tables.Feed(&s, text, n, true, &out)
		n += fed
		for i := range out.Len() {
			all = append(all, out.At(i))
		}
		more = out.Full()
		out.Clear()
	}
	return all
}

// random draws a pair: pieces of text that rules look for among words, cut anywhere.
func (c *comparison) random(rng *rand.Rand) pair {
	k := pair{class: pipeline.Class(rng.IntN(int(pipeline.NumClasses))), mask: ^pipeline.Mask(0)}
	if len(c.classes) > 0 && rng.IntN(10) > 0 {
		k.class = c.classes[rng.IntN(len(c.classes))]
	}
	if rng.IntN(4) == 0 {
		k.mask = pipeline.Mask(rng.Uint64())
	}
	if rng.IntN(6) == 0 { // as a system message is judged
		k.mask = pipeline.InstructionsMask(&c.plan.Info, k.mask)
	}
	k.text = text(rng, c.material)
	switch rng.IntN(4) {
	case 0: // whole
	case 1: // single bytes
		for i := 1; i < len(k.text); i++ {
			k.cuts = append(k.cuts, i)
		}
	default:
		for i := rng.IntN(9); i < len(k.text); i += rng.IntN(25) {
			k.cuts = append(k.cuts, i)
			i++
		}
	}
	return k
}

var words = strings.Fields("the of and report about system please write quick number card mail call account rules previous instructions ignore you are now act secret order 42 2024-10-11 hello, world. (maybe) new\nline tab\there é ü 日本 \u200b \ufeffx")

var entries = rulebook.All()

// text draws words with pieces of material and of the rulebook among them,
// some of it encoded or disguised.
func text(rng *rand.Rand, material []string) []byte {
	var b strings.Builder
	for range 1 + rng.IntN(6) {
		switch rng.IntN(7) {
		case 0, 1:
			n := 6
			if rng.IntN(12) == 0 { // so that evidence is far apart
				n = 400
			}
			for range rng.IntN(n) {
				b.WriteString(words[rng.IntN(len(words))] + " ")
			}
		case 2, 3, 4, 5:
			piece := ""
			if e := &entries[rng.IntN(len(entries))]; len(material) == 0 || rng.IntN(4) == 0 {
				if len(e.Negatives) > 0 {
					piece = e.Negatives[rng.IntN(len(e.Negatives))]
				}
			} else {
				piece = material[rng.IntN(len(material))]
			}
			if len(piece) > 200 {
				piece = piece[:200]
			}
			switch rng.IntN(8) {
			case 0:
				piece = base64.StdEncoding.EncodeToString([]byte(piece))
			case 1:
				piece = strings.ToUpper(piece)
			case 2:
				piece = strings.ReplaceAll(piece, "e", "e\u200b")
			}
			b.WriteString(piece)
			if rng.IntN(3) > 0 {
				b.WriteString(" ")
			}
		case 6:
			p := make([]byte, rng.IntN(12))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			b.Write(p)
		}
	}
	return []byte(b.String())
}

// refused are values that this version refuses by name.
var refused = map[string]string{
	"backend": "external", "hipaa_audit_controls": "true", "streaming_mode": "buffered", "analysis_mode": "external",
}

var patterns = []string{`EMP-\d{4,6}`, `(?i)tok_[a-z0-9]{8,24}`, `\bcase \d+`, `(?i)bluefin|red fox`, `order \d{2}`, `[A-Z]{3}-\d{2}`}

// samples are words of patterns.
var samples = []string{"EMP-12345", "tok_abcdefgh1234", "case 42", "red fox", "order 42", "ABC-12"}

var terms = []string{"bluefin", "gas centrifuge", "counsel memo", "Acme Shell Ltd", "seeker head", "vape shop", "hello", "report about"}

// Config draws a configuration (policies and policy) from the schemas of the
// kinds that are built: kinds, fields, values and conditions at random.
func Config(rng *rand.Rand) string {
	kinds := plan.Kinds()
	rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:1+rng.IntN(min(5, len(kinds)))]
	chain, blocks := []any{}, map[string]any{}
	for _, k := range kinds {
		var item any = k
		switch rng.IntN(5) {
		case 0:
			item = map[string]any{k: map[string]any{"when": map[string]any{"model": []string{"m"}, "path": "/v1"}}}
		case 1:
			item = map[string]any{k: map[string]any{"when": map[string]any{"header": map[string]string{"X-Team": "legal \"a\"\nb"}}}}
		}
		chain = append(chain, item)
		raw, _ := schemas.Kind(k)
		var s schema
		if err := json.Unmarshal(raw, &s); err != nil {
			panic(err) // an embedded schema, tested where it stands
		}
		if block := s.draw(rng, 0); len(block) > 0 {
			blocks[k] = block
		}
	}
	c, err := json.Marshal(map[string]any{"chain": chain})
	if err != nil {
		panic(err) // plain data
	}
	b, err := json.Marshal(blocks)
	if err != nil {
		panic(err)
	}
	return "policies: " + string(c) + "\npolicy: " + string(b) + "\n" // JSON is YAML
}

type schema struct {
	Type       string            `json:"type"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Enum       []string          `json:"enum"`
	Minimum    float64           `json:"minimum"`
	Maximum    *float64          `json:"maximum"`
	Form       string            `json:"x-kt-form"`
	Required   []string          `json:"required"`
}

func (s *schema) draw(rng *rand.Rand, depth int) map[string]any {
	out := map[string]any{}
	names := make([]string, 0, len(s.Properties))
	for n := range s.Properties {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		p := s.Properties[n]
		if rng.IntN(3) > 0 && !slices.Contains(s.Required, n) {
			continue
		}
		if v := p.value(rng, depth); v != nil && fmt.Sprint(v) != refused[n] {
			out[n] = v
		}
	}
	return out
}

func (s *schema) value(rng *rand.Rand, depth int) any {
	switch s.Type {
	case "string":
		if len(s.Enum) > 0 {
			return s.Enum[rng.IntN(len(s.Enum))]
		}
		return "a \"quoted\" `text`\n*/ //"
	case "boolean":
		return rng.IntN(2) == 0
	case "integer":
		hi := 8.0
		if s.Maximum != nil {
			hi = *s.Maximum
		}
		return int(s.Minimum) + rng.IntN(int(hi-s.Minimum)+1)
	case "number":
		return float64(1+rng.IntN(99)) / 100
	case "array":
		if s.Items == nil || s.Items.Type != "string" {
			return nil
		}
		pool := terms
		if s.Items.Form == "regex" {
			pool = patterns
		} else if len(s.Items.Enum) > 0 {
			pool = s.Items.Enum
		}
		i := rng.IntN(len(pool))
		return slices.Clone(pool[i:min(len(pool), i+1+rng.IntN(3))])
	case "object":
		if len(s.Properties) == 0 {
			return map[string]any{"email": "<\"mail\">"}
		}
		return s.draw(rng, depth+1)
	}
	return nil
}

// Drawn is a random configuration with its plan and tables.
type Drawn struct {
	Config string
	Plan   *plan.Plan
	Engine *plan.Engine
}

// slow are kinds whose tables take seconds to build; fewSlow packs have one.
var slow = []string{"prompt-injection", "pii-detector"}

const fewSlow = 8

// Draw draws n configurations that plan and engine accept, and keeps their
// tables in a folder for plan.CachedEngine.
func Draw(t testing.TB, n int, seed uint64, tables string) []Drawn {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []Drawn
	slows := 0
	for tries := 0; len(out) < n; tries++ {
		if tries > 100*n {
			t.Fatalf("only %d of %d random configurations can be used", len(out), n)
		}
		yaml := Config(rng)
		p := kindtest.TryPlan(yaml)
		if p == nil {
			continue
		}
		isSlow := 0
		for _, q := range p.Policies {
			if slices.Contains(slow, q.Kind) {
				isSlow = 1
			}
		}
		if slows+isSlow > fewSlow {
			continue
		}
		e, _, _, err := p.CachedEngine(tables)
		if err != nil {
			t.Fatal(err)
		}
		if e != nil {
			slows += isSlow
			out = append(out, Drawn{yaml, p, e})
		}
	}
	return out
}

// store writes a failing case.
func (c *comparison) store(t *testing.T, dir string, k pair) {
	t.Helper()
	cuts := strings.Trim(fmt.Sprint(k.cuts), "[]")
	a := txtar.Archive{
		Comment: []byte("A case on which compiled, interpreted and reference differed.\n"),
		Files: []txtar.File{
			{Name: "config", Data: []byte(c.pack.Config)},
			{Name: "case", Data: fmt.Appendf(nil, "%d %d %s\n%s\n", k.class, uint64(k.mask), base64.StdEncoding.EncodeToString(k.text), cuts)},
		},
	}
	name := filepath.Join(dir, c.pack.Name+".txtar")
	if err := os.WriteFile(name, txtar.Format(&a), 0o644); err != nil {
		t.Logf("store failing case: %v", err)
		return
	}
	t.Logf("stored as %s", name)
}

// ConfigOf is the configuration of a stored case.
func ConfigOf(archive []byte) string {
	for _, f := range txtar.Parse(archive).Files {
		if f.Name == "config" {
			return string(f.Data)
		}
	}
	return ""
}

func readCase(archive []byte) (pair, error) {
	for _, f := range txtar.Parse(archive).Files {
		if f.Name != "case" {
			continue
		}
		head, rest, _ := strings.Cut(string(f.Data), "\n")
		var k pair
		var text string
		var mask uint64
		if _, err := fmt.Sscanf(head, "%d %d %s", &k.class, &mask, &text); err != nil {
			return k, fmt.Errorf("read case: %w", err)
		}
		k.mask = pipeline.Mask(mask)
		var err error
		if k.text, err = base64.StdEncoding.DecodeString(text); err != nil {
			return k, fmt.Errorf("read case: %w", err)
		}
		for _, w := range strings.Fields(rest) {
			var n int
			if _, err := fmt.Sscan(w, &n); err != nil {
				return k, fmt.Errorf("read case: cut %q: %w", w, err)
			}
			k.cuts = append(k.cuts, n)
		}
		return k, nil
	}
	return pair{}, fmt.Errorf("read case: the archive has no case")
}
