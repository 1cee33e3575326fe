package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/plan"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// row is one labelled text. Spans are in bytes here, in code points in the files.
type row struct {
	ID    string
	Text  string
	Label int
	Spans []span
	Tags  []string
}

type span struct {
	start, end int
	kind       string
}

// hit is one finding.
type hit struct {
	start, end int
	entity     string
	acts       bool // redacts, blocks or escalates
}

// detector finds in a whole text. It belongs to one goroutine.
type detector interface {
	find(text []byte) []hit
}

type evaluation struct {
	dir    string
	only   string
	out    io.Writer
	misses bool
}

// header makes policies alone a whole configuration.
const header = `pack:
  name: eval
  version: 0.1.0
providers:
  targets:
    - id: t
      provider: openai
      model: m
      secret_key_ref:
        env: EVAL_KEY
policies:
  chain: [%s]
`

// chainDetector runs one policy through the real chain, as an input text.
type chainDetector struct {
	chain pipeline.Chain
	f     pipeline.Findings
}

// policy gives the detector of one kind with a policy block ("" = defaults).
func policy(kind, block string) (*chainDetector, error) {
	yaml := fmt.Sprintf(header, kind)
	if block != "" {
		yaml += "policy:\n  " + kind + ":\n" + block
	}
	return fromYAML(yaml)
}

func fromYAML(yaml string) (*chainDetector, error) {
	built := config.AllBuilt()
	cfg, diags := config.Load([]config.Source{{Name: "eval.yaml", Data: []byte(yaml)}}, config.Options{Built: &built})
	if cfg == nil {
		return nil, fmt.Errorf("load configuration: %s", diags.Text())
	}
	p, diags := plan.Build(cfg)
	if p == nil {
		return nil, fmt.Errorf("build plan: %s", diags.Text())
	}
	c, err := interp.New(p)
	if err != nil {
		return nil, err
	}
	return &chainDetector{chain: c}, nil
}

func (d *chainDetector) find(text []byte) []hit {
	d.f.Reset()
	s := d.chain.Session(pipeline.InputText, ^pipeline.Mask(0))
	s.Feed(text, 0, true, &d.f)
	s.Close()
	ents := d.chain.Info().Entities
	var out []hit
	for _, g := range d.f.List {
		out = append(out, hit{int(g.Start), int(g.End), ents[g.Entity].Name, g.Action >= pipeline.Redact})
	}
	return out
}

// rulesDetector runs entries of the rulebook that no kind at its defaults uses yet.
type rulesDetector struct {
	tables *scan.Tables
	entity []string
	state  scan.State
}

func entries(es []rulebook.Entry) (*rulesDetector, error) {
	d := &rulesDetector{}
	var rules []scan.Rule
	for i := range es {
		for _, r := range es[i].Rules(0, true) {
			rules = append(rules, r)
			d.entity = append(d.entity, es[i].Entity)
		}
	}
	var err error
	d.tables, _, err = scan.Build(rules, scan.Options{})
	return d, err
}

func (d *rulesDetector) find(text []byte) []hit {
	d.state.Reset(1)
	var m scan.Matches
	var out []hit
	for n := 0; ; {
		fed, _ := d.tables.Feed(&d.state, text, n, true, &m)
		for i := range m.Len() {
			x := m.At(i)
			out = append(out, hit{int(x.Start), int(x.End), d.entity[x.Rule], true})
		}
		full := m.Full()
		m.Clear()
		if n += fed; n >= len(text) && !full {
			return out
		}
	}
}

// sets lists the files of a family ("injection") by name.
func (e *evaluation) sets(family string) []string {
	files, _ := filepath.Glob(filepath.Join(e.dir, family+".*.jsonl"))
	slices.Sort(files)
	var out []string
	for _, f := range files {
		n := strings.TrimSuffix(filepath.Base(f), ".jsonl")
		if strings.Contains(n, e.only) {
			out = append(out, n)
		}
	}
	return out
}

func (e *evaluation) read(set string) ([]row, error) {
	f, err := os.Open(filepath.Join(e.dir, set+".jsonl"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []row
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var in struct {
			ID, Text string
			Label    int
			Spans    [][3]any
			Tags     []string
		}
		if err := json.Unmarshal(sc.Bytes(), &in); err != nil {
			return nil, fmt.Errorf("read %s: line %d: %w", set, len(out)+1, err)
		}
		r := row{ID: in.ID, Text: in.Text, Label: in.Label, Tags: in.Tags}
		for _, s := range in.Spans {
			a, aok := s[0].(float64)
			b, bok := s[1].(float64)
			k, kok := s[2].(string)
			if aok && bok && kok {
				r.Spans = append(r.Spans, span{byteOffset(in.Text, int(a)), byteOffset(in.Text, int(b)), k})
			}
		}
		out = append(out, r)
	}
	return out, sc.Err()
}

// byteOffset turns a count of code points into a count of bytes.
func byteOffset(s string, runes int) int {
	at := 0
	for ; runes > 0 && at < len(s); runes-- {
		_, n := utf8.DecodeRuneInString(s[at:])
		at += n
	}
	return at
}

// tally counts decisions on whole rows.
type tally struct {
	tp, fn, fp, tn int
	bytes          int
	took           time.Duration
}

func (t *tally) add(o tally) {
	t.tp, t.fn, t.fp, t.tn = t.tp+o.tp, t.fn+o.fn, t.fp+o.fp, t.tn+o.tn
	t.bytes, t.took = t.bytes+o.bytes, t.took+o.took
}

func ratio(a, b int) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", float64(a)/float64(b))
}

func f1(tp, fp, fn int) string { return ratio(2*tp, 2*tp+fp+fn) }

const rowHead = "%-34s %6s %6s %8s %8s %9s %7s %8s\n"

func (e *evaluation) head(what string) {
	fmt.Fprintf(e.out, "\n%s\n", what)
	fmt.Fprintf(e.out, rowHead, "set", "rows", "pos", "recall", "false", "precision", "F1", "ns/byte")
}

func (e *evaluation) line(name string, t tally) {
	ns := "-"
	if t.bytes > 0 {
		ns = fmt.Sprintf("%.1f", float64(t.took.Nanoseconds())/float64(t.bytes))
	}
	fmt.Fprintf(e.out, rowHead, name, fmt.Sprint(t.tp+t.fn+t.fp+t.tn), fmt.Sprint(t.tp+t.fn), ratio(t.tp, t.tp+t.fn),
		ratio(t.fp, t.fp+t.tn), ratio(t.tp, t.tp+t.fp), f1(t.tp, t.fp, t.fn), ns)
}

// rows decides whole rows: a row is found when some finding acts.
func (e *evaluation) rows(set string, d detector, rs []row) tally {
	var t tally
	for _, r := range rs {
		text := []byte(r.Text)
		begin := time.Now()
		hits := d.find(text)
		t.took += time.Since(begin)
		t.bytes += len(text)
		found := slices.ContainsFunc(hits, func(h hit) bool { return h.acts })
		switch {
		case r.Label == 1 && found:
			t.tp++
		case r.Label == 1:
			t.fn++
		case found:
			t.fp++
		default:
			t.tn++
		}
		if e.misses && found != (r.Label == 1) {
			fmt.Fprintf(e.out, "  wrong %s label %d: %s\n", r.ID, r.Label, names(hits))
		}
	}
	return t
}

func names(hits []hit) string {
	var s []string
	for _, h := range hits {
		if !slices.Contains(s, h.entity) {
			s = append(s, h.entity)
		}
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

// family prints one line for each set of a family and a total.
func (e *evaluation) family(what string, sets []string, d detector) error {
	if len(sets) == 0 {
		return nil
	}
	e.head(what)
	var total tally
	for _, set := range sets {
		rs, err := e.read(set)
		if err != nil {
			return err
		}
		t := e.rows(set, d, rs)
		e.line(set, t)
		total.add(t)
	}
	if len(sets) > 1 {
		e.line("all", total)
	}
	return nil
}

func (e *evaluation) run() error {
	steps := []func() error{e.injection, e.pii, e.phi, e.secrets, e.unsafe, e.entities, e.lexicalNoise}
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) injection() error {
	sets := e.sets("injection")
	if len(sets) == 0 {
		return nil
	}
	for _, th := range []string{"0.75", "0.8"} {
		d, err := policy("prompt-injection", "    threshold: "+th+"\n")
		if err != nil {
			return err
		}
		if err := e.family("prompt-injection, threshold "+th+" (whole rows)", sets, d); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) secrets() error {
	sets := e.sets("secrets")
	if len(sets) == 0 {
		return nil
	}
	d, err := policy("dlp-filter", "    sensitivity_level: restricted\n")
	if err != nil {
		return err
	}
	if err := e.family("secrets: dlp-filter, sensitivity_level restricted (whole rows)", sets, d); err != nil {
		return err
	}
	// The same by the tag that names the issuer or the test.
	for _, set := range sets {
		rs, err := e.read(set)
		if err != nil {
			return err
		}
		by := map[string][]row{}
		for _, r := range rs {
			tag := "-"
			if len(r.Tags) > 0 {
				tag = r.Tags[0]
			}
			by[tag] = append(by[tag], r)
		}
		fmt.Fprintf(e.out, "%s by tag (found/positives, false/negatives):", set)
		quiet := &evaluation{out: io.Discard}
		for _, tag := range sortedKeys(by) {
			t := quiet.rows(set, d, by[tag])
			fmt.Fprintf(e.out, " %s %d/%d %d/%d;", tag, t.tp, t.tp+t.fn, t.fp, t.fp+t.tn)
		}
		fmt.Fprintln(e.out)
	}
	return nil
}

func (e *evaluation) unsafe() error {
	sets := e.sets("unsafe")
	if len(sets) == 0 {
		return nil
	}
	for _, mode := range []string{"critical_infrastructure", "automotive", "education", "law_enforcement"} {
		d, err := policy("safety-filter", "    mode: "+mode+"\n")
		if err != nil {
			return err
		}
		if err := e.family("safety-filter, mode "+mode+" (whole rows; a keyword list, no classifier of harm)", sets, d); err != nil {
			return err
		}
	}
	return nil
}

// maxEntities is how many terms the schema lets blocked_entities hold.
const maxEntities = 5000

// entities checks entity-list-filter with the first listed names: each as it is in a sentence, and with one
// letter changed, also under fuzzy_matching; the benign rows of the injection sets are the false alarms.
func (e *evaluation) entities() error {
	sets := e.sets("entities")
	if len(sets) == 0 {
		return nil
	}
	var benign []row
	for _, set := range (&evaluation{dir: e.dir}).sets("injection") {
		rs, err := e.read(set)
		if err != nil {
			return err
		}
		for i, r := range rs {
			if r.Label == 0 && i%8 == 0 && len(r.Text) < 2000 {
				benign = append(benign, r)
			}
		}
	}
	e.head("entity-list-filter: 200 names in a sentence against every 8th benign text of the injection sets\n" +
		"typo: one letter wrong; fuzzy 1: fuzzy_matching, max_distance 1; >5: a list without names of one word of up to 5 letters")
	for _, set := range sets {
		rs, err := e.read(set)
		if err != nil {
			return err
		}
		rs = rs[:min(len(rs), maxEntities)]
		var list []string
		for _, r := range rs {
			if len(r.Text) >= 4 {
				list = append(list, r.Text)
			}
		}
		var exact, typo []row
		for i := 0; i < len(list); i += max(1, len(list)/200) {
			exact = append(exact, row{ID: fmt.Sprint(i), Label: 1, Text: "Please wire the amount to " + list[i] + " before noon."})
			typo = append(typo, row{ID: fmt.Sprint(i), Label: 1, Text: "Please wire the amount to " + misspell(list[i]) + " before noon."})
		}
		build := func(list []string, fuzzy bool) (*chainDetector, error) {
			var b strings.Builder
			fmt.Fprintf(&b, header+"policy:\n  entity-list-filter:\n    fuzzy_matching: %t\n    blocked_entities:\n", "entity-list-filter", fuzzy)
			for _, n := range list {
				q, err := json.Marshal(n)
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(&b, "      - %s\n", q)
			}
			return fromYAML(b.String())
		}
		d, err := build(list, false)
		if err != nil {
			return err
		}
		e.line(set+" exact", e.rows(set, d, append(exact, benign...)))
		e.line(set+" typo", e.rows(set, d, typo))
		if d, err = build(list, true); err != nil {
			return err
		}
		e.line(set+" exact, fuzzy 1", e.rows(set, d, exact))
		e.line(set+" typo, fuzzy 1", e.rows(set, d, append(typo, benign...)))
		// What a single short word costs: near one of four letters are many words of the language.
		var long []string
		for _, n := range list {
			if len(n) > shortName || strings.ContainsAny(n, " -") {
				long = append(long, n)
			}
		}
		if d, err = build(long, true); err != nil {
			return err
		}
		e.line(set+" typo, fuzzy, >5", e.rows(set, d, append(typo, benign...)))
	}
	return nil
}

// shortName is how many letters a name of one word has that is left out of the last line of the entities.
const shortName = 5

// misspell changes one letter in the middle of the longest word.
func misspell(s string) string {
	best, at := "", 0
	for _, w := range strings.Fields(s) {
		if len(w) > len(best) {
			best, at = w, strings.Index(s, w)
		}
	}
	b := []byte(s)
	for i := at + len(best)/2; i < at+len(best); i++ {
		if c := b[i] | 0x20; c >= 'a' && c <= 'z' {
			b[i] = 'x'
			if c == 'x' {
				b[i] = 'k'
			}
			break
		}
	}
	return string(b)
}

// lexicalNoise prints how often the kinds with built-in lists act on benign texts.
func (e *evaluation) lexicalNoise() error {
	var sets []string
	for _, s := range e.sets("injection") {
		for _, b := range []string{"act_as_prompts", "self_instruct", "bench_questions", "mitre_frr"} {
			if strings.HasSuffix(s, b) {
				sets = append(sets, s)
			}
		}
	}
	for _, k := range []struct{ kind, block string }{
		{"safety-filter", ""}, {"safety-filter", "    mode: automotive\n"}, {"safety-filter", "    mode: education\n"}, {"safety-filter", "    mode: law_enforcement\n"},
		{"itar-ear-filter", ""}, {"mnpi-filter", ""}, {"legal-privilege", ""}, {"case-privacy", ""}, {"student-privacy", ""},
		{"dlp-filter", "    sensitivity_level: high\n"}, {"dlp-filter", "    sensitivity_level: restricted\n"}, {"pii-detector", ""},
	} {
		d, err := policy(k.kind, k.block)
		if err != nil {
			return err
		}
		if err := e.family("false alarms of "+strings.TrimSpace(k.kind+" "+strings.TrimSpace(k.block))+" on benign texts", sets, d); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// overlap tells whether two spans share at least half of the shorter.
func overlap(a, b, c, d int) bool {
	o := min(b, d) - max(a, c)
	return o > 0 && 2*o >= min(b-a, d-c)
}
