// Package plan turns a checked configuration into the chain that will run:
// ordered, with defaults filled in, every policy's declarations flattened into
// one set of rules per class of channel, and a digest that names the result.
// Both assemblies (interp, gen) start from a Plan.
package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/all"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// Plan is a checked chain. It does not change after Build.
type Plan struct {
	Info     pipeline.Info // Mode, StateBytes and LongestHold are filled by the assembly
	Policies []Policy
	// Classes has nil where no policy looks. Classes with equal rules are the
	// same pointer.
	Classes [pipeline.NumClasses]*Class
}

// Policy is one policy of the chain, as it is configured.
type Policy struct {
	Kind   string
	Params any // pointer to the kind's parameter struct, defaults filled in
	Pos    config.Pos
	block  config.Value
}

// Class is what one class of channels runs.
type Class struct {
	Spec  pipeline.ClassSpec
	paths []string // of each rule: the parameter that it comes from, empty = built in
}

// Build makes the plan of a configuration. The Plan is nil when the list holds
// an error.
func Build(cfg *config.Config) (*Plan, diag.List) {
	b := &builder{cfg: cfg, plan: &Plan{}}
	if len(cfg.Chain) > pipeline.MaxPolicies {
		e := cfg.Chain[pipeline.MaxPolicies]
		b.diags = append(b.diags, e.Pos.Diag(diag.ChainTooLong, diag.Error, e.Value.Pointer(), fmt.Sprintf("the chain has %d policies; at most %d", len(cfg.Chain), pipeline.MaxPolicies), ""))
		return nil, b.diags
	}
	info := &b.plan.Info
	info.Pack, info.Version = cfg.Pack.Name, cfg.Pack.Version
	info.Entities = pipeline.FixedEntities()
	for i := range cfg.Chain {
		b.policy(i, &cfg.Chain[i])
	}
	b.diags.Sort()
	if b.diags.HasErrors() {
		return nil, b.diags
	}
	b.flatten()
	info.Digest = b.plan.digest()
	return b.plan, b.diags
}

type builder struct {
	cfg   *config.Config
	plan  *Plan
	decls []*pipeline.Declaration
	first []uint16 // of each policy: its first entity
	sides []side
	diags diag.List
}

// side says which classes a chain entry's stage leaves.
type side uint8

const (
	bothSides side = iota
	requestSide
	answerSide
)

func sideOf(stage string) side {
	switch stage {
	case "pre-request", "post-request":
		return requestSide
	case "pre-response", "post-response":
		return answerSide
	}
	return bothSides
}

func (s side) has(c pipeline.Class) bool {
	in := c == pipeline.InputText || c == pipeline.InputTool
	return s == bothSides || (s == requestSide) == in
}

func (b *builder) policy(i int, e *config.ChainEntry) {
	say := func(code diag.Code, sev diag.Severity, msg, hint string) {
		b.diags = append(b.diags, e.Pos.Diag(code, sev, e.Value.Pointer(), msg, hint))
	}
	k, ok := all.Kind(e.Kind)
	if !ok {
		say(diag.KindNotBuilt, diag.Error, fmt.Sprintf("policy kind %s is not built yet in this version", e.Kind), "built are "+strings.Join(Kinds(), ", "))
		return
	}
	block := b.cfg.Policy[e.Kind]
	params := k.Params()
	if faults := block.Decode(params); len(faults) > 0 {
		b.diags = append(b.diags, faults...)
		return
	}
	d := &pipeline.Declaration{Has: func(path string) bool { return block.Path(strings.Split(path, "/")...).Exists() }}
	k.Declare(params, d)
	info := pipeline.PolicyInfo{Kind: e.Kind, File: e.Pos.File, Line: e.Pos.Line, Message: d.Message, LogLevel: d.LogLevel, When: when(e.When), SkipsInstructions: d.SkipsInstructions}
	for _, f := range d.Faults {
		code, sev := faultCode(f.Code)
		b.diags = append(b.diags, b.at(e, block, f.Path).diag(code, sev, f.Message, f.Hint))
		if f.Code == pipeline.FaultPartly {
			info.Notes = append(info.Notes, f.Message)
		}
	}
	said := map[string]bool{} // a pattern may be read in two views
	for _, r := range d.Rules {
		if r.Path != "" && !said[r.Path] {
			said[r.Path] = true
			b.own(b.at(e, block, r.Path), &r.Rule)
		}
	}
	s := sideOf(e.Stage)
	info.Phases, info.Action = reach(d, s)
	if len(d.Rules) > 0 && len(info.Phases) == 0 {
		reads, stages := "requests", "pre-request or post-request"
		if s == requestSide {
			reads, stages = "answers", "pre-response or post-response"
		}
		say(diag.Unenforceable, diag.Error, fmt.Sprintf("%s reads %s only: stage %s leaves nothing of it", e.Kind, reads, e.Stage), "leave stage out, or write "+stages)
	}
	if e.Parallel {
		say(diag.NoEffect, diag.Note, "parallel has no effect: all policies read the text in one pass", "")
	}
	b.first = append(b.first, uint16(len(b.plan.Info.Entities)))
	for _, ent := range d.Entities {
		ent.Policy = uint8(i)
		b.plan.Info.Entities = append(b.plan.Info.Entities, ent)
	}
	b.plan.Info.Require = join(b.plan.Info.Require, d.Require)
	b.plan.Info.Policies = append(b.plan.Info.Policies, info)
	b.plan.Policies = append(b.plan.Policies, Policy{Kind: e.Kind, Params: params, Pos: e.Pos, block: block})
	b.decls, b.sides = append(b.decls, d), append(b.sides, s)
}

// own looks at a pattern or a term of the configuration.
func (b *builder) own(at place, r *scan.Rule) {
	say := func(code diag.Code, sev diag.Severity, part, msg, hint string) {
		text := cmp.Or(r.Pattern, r.Phrase)
		b.diags = append(b.diags, marked(at.diag(code, sev, msg, hint), text, part, strings.Index(text, part)))
	}
	if r.Pattern == "" {
		if d := termDoubt(r.Phrase); d != nil {
			say(diag.Doubtful, diag.Note, d.part, d.message, d.hint)
		}
		if re := (*scan.RuleError)(nil); !strings.ContainsAny(strings.ToLower(r.Phrase), "abcdefghijklmnopqrstuvwxyz0123456789") && errors.As(r.Check(), &re) {
			b.diags = append(b.diags, at.refused(re, r)) // of signs and invisible characters no word may be left
		}
		return
	}
	re, err := syntax.Parse(r.Pattern, syntax.Perl)
	if err != nil {
		part := ""
		if e, ok := err.(*syntax.Error); ok {
			part = e.Expr
		}
		say(diag.BadPattern, diag.Error, part, patternFault(err), patternHint(err))
		return
	}
	if re := (*scan.RuleError)(nil); errors.As(r.Check(), &re) {
		b.diags = append(b.diags, at.refused(re, r))
		return
	}
	if lazy(re) {
		say(diag.LazyRepeat, diag.Note, "", "a lazy repeat finds the longest match all the same", "say what must not be in it: <b>[^<]*</b> instead of <b>.*?</b>")
	}
	if msg := longFault(r); msg != "" {
		say(diag.PatternLong, diag.Note, "", msg, "bound its repeats, as in {1,400}: less text is held back too")
	}
	for _, d := range patternDoubts(r.Pattern, re) {
		say(diag.Doubtful, diag.Note, d.part, d.message, d.hint)
	}
}

// place is where a diagnostic about a parameter goes: the parameter, or the
// chain entry of a policy without block.
type place struct {
	entry *config.ChainEntry
	value config.Value
}

func (b *builder) at(e *config.ChainEntry, block config.Value, path string) place {
	if !block.Exists() {
		return place{entry: e}
	}
	return place{entry: e, value: block.At("/" + path)}
}

func (p place) diag(code diag.Code, sev diag.Severity, msg, hint string) diag.Diagnostic {
	if p.value.Exists() {
		return p.value.Diag(code, sev, msg, hint)
	}
	return p.entry.Pos.Diag(code, sev, p.entry.Value.Pointer(), msg, hint)
}

func faultCode(c pipeline.FaultCode) (diag.Code, diag.Severity) {
	switch c {
	case pipeline.FaultPattern:
		return diag.BadPattern, diag.Error
	case pipeline.FaultConflict:
		return diag.FormConflict, diag.Error
	case pipeline.FaultNotBuilt:
		return diag.FieldNotBuilt, diag.Error
	case pipeline.FaultCategory:
		return diag.BareCategory, diag.Warning
	case pipeline.FaultNoEffect:
		return diag.NoEffect, diag.Warning
	case pipeline.FaultDistance:
		return diag.UnusedDistance, diag.Warning
	case pipeline.FaultAlias:
		return diag.AliasField, diag.Note
	case pipeline.FaultPartly:
		return diag.PartlyCovered, diag.Note
	}
	return diag.ParamRange, diag.Error
}

func patternFault(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return fmt.Sprintf("the pattern does not compile: %s: %q", e.Code, e.Expr)
	}
	return "the pattern does not compile: " + err.Error()
}

// patternHint says what to write instead of what other regular expressions have.
func patternHint(err error) string {
	const form = "patterns are Go regular expressions (RE2)"
	e, ok := err.(*syntax.Error)
	if !ok {
		return form
	}
	x := e.Expr
	switch e.Code {
	case syntax.ErrInvalidRepeatSize:
		return form + ": a repeat counts to at most 1000, times those that it stands in; one after the other count further, as in x{1,1000}x{0,1000}"
	case syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrMissingBracket:
		if !strings.HasPrefix(x, "(?") {
			return form + `: a bracket that stands for itself is written \( or \[`
		}
	case syntax.ErrMissingRepeatArgument:
		return form + `: a sign that stands for itself is written \* \+ \? or \{`
	case syntax.ErrInvalidRepeatOp:
		if strings.HasSuffix(x, "+") {
			return form + ", which have no possessive repeats: one sign is enough, for no text takes them long"
		}
		return form + ": a repeat of a repeat needs parentheses, as in (?:a*)*"
	case syntax.ErrTrailingBackslash:
		return form + `: a backslash that stands for itself is written \\`
	case syntax.ErrInvalidCharRange:
		switch {
		case strings.HasPrefix(x, "[:"):
			return form + ": classes are [:alpha:], [:digit:], [:alnum:], [:space:], [:punct:] and the like"
		case strings.HasPrefix(x, `\p`) || strings.HasPrefix(x, `\P`):
			return form + `: classes of Unicode are categories and scripts, as in \p{L}, \p{Lu}, \p{Nd}, \p{Greek}`
		}
		return form + ": a range goes from the lower to the higher character; a - that stands for itself is the first or the last in the brackets"
	case syntax.ErrInvalidEscape:
		if len(x) == 2 {
			if x[1] >= '1' && x[1] <= '9' {
				return form + ", which have no back-references: write the group out"
			}
			if instead := escapes[x[1]]; instead != "" {
				return form + ": write " + instead + " instead of " + x
			}
		}
		return form + `: letters behind a backslash are \d \w \s \b, their capitals, \p, \x, \A, \z, \Q and \n \r \t \f \v \a; signs may have one in front`
	}
	switch {
	case strings.HasPrefix(x, "(?=") || strings.HasPrefix(x, "(?!") || strings.HasPrefix(x, "(?<"):
		return form + ", which have no look-ahead and no look-behind: match what stands around it, too, or name the words apart"
	case strings.HasPrefix(x, "(?>"):
		return form + ", which have no atomic groups: write (?:...), for no text takes them long"
	case strings.HasPrefix(x, "(?#"):
		return form + ", which have no comments: write one in YAML, behind #"
	case strings.HasPrefix(x, "(?"):
		return form + ": behind (? stand the flags i, m, s and U, a colon, or a name as in P<name>"
	}
	return form
}

// escapes are what Go has in place of escapes of others.
var escapes = map[byte]string{
	'Z': `\z`, 'u': `\x{...}`, 'U': `\x{...}`, 'h': `[ \t]`, 'H': `[^ \t]`, 'R': `\r?\n`, 'e': `\x1b`, 'c': `\x01`, 'N': `[^\n]`, '<': `\b`, '>': `\b`,
	'X': `(?s:.)`,
}

// lazy tells whether a pattern has a lazy repeat whose longest match may be another one.
func lazy(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		if re.Flags&syntax.NonGreedy != 0 {
			return true
		}
	}
	return slices.ContainsFunc(re.Sub, lazy)
}

// longFault says what becomes of the matches of a pattern that could be longer than any match may be.
func longFault(r *scan.Rule) string {
	n, text := r.Longest(), "has no upper bound"
	if n >= 0 && n <= scan.MaxCap {
		return ""
	}
	if n > 0 {
		text = fmt.Sprintf("may match up to %d bytes", n)
	}
	return fmt.Sprintf("the pattern %s: a match is cut at %d bytes, what follows is not part of it, and a value that needs more is not found", text, scan.MaxCap)
}

// reach is where a policy looks, and the strictest action that it can take.
func reach(d *pipeline.Declaration, s side) (phases []pipeline.Phase, strictest pipeline.Action) {
	if len(d.Rules) == 0 {
		return d.Phases, pipeline.Allow
	}
	var seen [3]bool
	for _, r := range d.Rules {
		a := r.Effect.Action
		if r.Scorer >= 0 {
			a = d.Scorers[r.Scorer].Scorer.Action
		}
		for _, c := range r.Classes {
			if s.has(c) {
				seen[c.Phase()] = true
				strictest = max(strictest, a)
			}
		}
	}
	for p, ok := range seen {
		if ok {
			phases = append(phases, pipeline.Phase(p))
		}
	}
	return phases, strictest
}

// join adds the requirements of one more policy: the longer retention, and
// every switch that is on.
func join(a, b pipeline.Requirements) pipeline.Requirements {
	return pipeline.Requirements{
		AuditRetentionDays: max(a.AuditRetentionDays, b.AuditRetentionDays),
		AuditAll:           a.AuditAll || b.AuditAll,
		AuditImmutable:     a.AuditImmutable || b.AuditImmutable,
		AuditHIPAA:         a.AuditHIPAA || b.AuditHIPAA,
	}
}

func when(w config.When) *pipeline.When {
	if w.Always() {
		return nil
	}
	out := &pipeline.When{PathPrefix: w.Path, Models: slices.Clone(w.Model)}
	for _, name := range slices.Sorted(maps.Keys(w.Header)) {
		out.Headers = append(out.Headers, pipeline.HeaderIs{Name: name, Value: w.Header[name]})
	}
	return out
}

// flatten makes the classes: the rules of all policies, in chain order.
func (b *builder) flatten() {
	seen := map[string]int{}
	names := make([]string, len(b.decls)) // of each policy: what its rule IDs begin with
	for i := range b.plan.Policies {
		k := b.plan.Policies[i].Kind
		seen[k]++
		names[i] = k
		if seen[k] > 1 {
			names[i] = fmt.Sprintf("%s#%d", k, seen[k])
		}
	}
	for c := range pipeline.NumClasses {
		cl := &Class{}
		for i, d := range b.decls {
			if b.sides[i].has(c) {
				cl.add(c, uint8(i), names[i], b.first[i], d)
			}
		}
		if len(cl.Spec.Rules) == 0 {
			continue
		}
		b.plan.Classes[c] = cl
		for _, other := range b.plan.Classes[:c] {
			if other != nil && reflect.DeepEqual(other, cl) {
				b.plan.Classes[c] = other
				break
			}
		}
		b.plan.Info.Strictest[c], b.plan.Info.Escapes[c] = cl.Spec.Strictest, cl.Spec.Decode.Encoded
	}
}

func (cl *Class) add(c pipeline.Class, policy uint8, name string, first uint16, d *pipeline.Declaration) {
	s := &cl.Spec
	scorers := make([]uint8, len(d.Scorers)) // number in the class plus 1
	for i, sd := range d.Scorers {
		if !slices.Contains(sd.Classes, c) {
			continue
		}
		sc := sd.Scorer
		sc.Policy, sc.Entity, sc.First, sc.Threshold = policy, first+sc.Entity, uint16(s.Scores()), max(1, sc.Threshold)
		s.Scorers = append(s.Scorers, sc)
		s.Strictest = max(s.Strictest, sc.Action)
		scorers[i] = uint8(len(s.Scorers))
	}
	for _, r := range d.Rules {
		if !slices.Contains(r.Classes, c) {
			continue
		}
		r.Rule.Policy, r.Rule.ID = policy, name+"/"+r.Rule.ID
		e := r.Effect
		e.Policy, e.Entity = policy, first+e.Entity
		if r.Scorer >= 0 {
			e.Scorer = scorers[r.Scorer]
		}
		if e.Action == pipeline.Redact {
			e.Marker = marker(s, *r.Marker)
		}
		s.Strictest = max(s.Strictest, e.Action)
		s.Policies |= 1 << policy
		s.Rules, s.Effects, cl.paths = append(s.Rules, r.Rule), append(s.Effects, e), append(cl.paths, r.Path)
	}
	for _, of := range []struct {
		classes []pipeline.Class
		mask    *pipeline.Mask
	}{{d.Decode, &s.Decode.Encoded}, {d.Tags, &s.Decode.Tags}, {d.Rot13, &s.Decode.Rot13}} {
		if slices.Contains(of.classes, c) {
			*of.mask |= 1 << policy
		}
	}
}

func marker(s *pipeline.ClassSpec, m pipeline.Marker) uint16 {
	i := slices.Index(s.Markers, m)
	if i < 0 {
		i = len(s.Markers)
		s.Markers = append(s.Markers, m)
	}
	return uint16(i)
}

// digest names what the plan enforces: chain, parameters after defaults,
// expanded rules, engine format.
func (p *Plan) digest() string {
	type policy struct {
		Kind   string
		Params any
		When   *pipeline.When

		SkipsInstructions bool `json:",omitempty"`
	}
	doc := struct {
		Engine   string
		Policies []policy
		Classes  [pipeline.NumClasses]*pipeline.ClassSpec
		Entities []pipeline.EntityInfo
		Require  pipeline.Requirements
	}{Engine: engineFormat(), Entities: p.Info.Entities, Require: p.Info.Require}
	for i, q := range p.Policies {
		doc.Policies = append(doc.Policies, policy{q.Kind, q.Params, p.Info.Policies[i].When, p.Info.Policies[i].SkipsInstructions})
	}
	for c, cl := range p.Classes {
		if cl != nil {
			doc.Classes[c] = &cl.Spec
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic("plan: " + err.Error()) // plain data: cannot fail
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// engineFormat is what the tables of this engine begin with.
func engineFormat() string {
	t, _, err := scan.Build(nil, scan.Options{})
	if err != nil {
		panic("plan: " + err.Error()) // no rules: cannot fail
	}
	b := t.AppendBinary(nil)
	return string(b[:min(8, len(b))])
}

// Kinds are the names of the kinds that are built, sorted.
func Kinds() []string {
	var out []string
	for _, k := range all.Kinds() {
		out = append(out, k.Name())
	}
	slices.Sort(out)
	return out
}
