package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// Engine is the tables of a plan's classes, with the engine's report of each.
// Classes that the plan shares are shared here.
type Engine struct {
	Tables  [pipeline.NumClasses]*scan.Tables
	Reports [pipeline.NumClasses]*scan.Report
}

// Engine compiles the rules of p. What the engine refuses is said at the
// parameter that the rule comes from.
func (p *Plan) Engine() (*Engine, diag.List) {
	var diags diag.List
	e := &Engine{}
	opt := scan.Options{Memo: &scan.Memo{}} // the classes have most of their rules in common
	for c, cl := range p.Classes {
		if cl == nil {
			continue
		}
		if before := p.sharedWith(c); before >= 0 {
			e.Tables[c], e.Reports[c] = e.Tables[before], e.Reports[before]
			continue
		}
		t, rep, err := scan.Build(cl.Spec.Rules, opt)
		if err != nil {
			diags = append(diags, p.refusals(cl, err)...)
			continue
		}
		rep.SharedBytes = t.Share(e.loaded()...)
		e.Tables[c], e.Reports[c] = t, &rep
	}
	diags.Sort()
	if diags.HasErrors() {
		return nil, diags
	}
	return e, diags
}

// loaded are the tables that are there.
func (e *Engine) loaded() []*scan.Tables {
	return slices.DeleteFunc(slices.Clone(e.Tables[:]), func(t *scan.Tables) bool { return t == nil })
}

// sharedWith is the class before c that has the same rules, -1 for none.
func (p *Plan) sharedWith(c int) int {
	for before := range c {
		if p.Classes[before] == p.Classes[c] {
			return before
		}
	}
	return -1
}

func (p *Plan) refusals(cl *Class, err error) diag.List {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var out diag.List
	for _, e := range all {
		var be *scan.BudgetError
		if errors.As(e, &be) {
			out = append(out, p.budget(cl, be))
			continue
		}
		var re *scan.RuleError
		if !errors.As(e, &re) {
			out = append(out, diag.Diagnostic{Code: diag.PatternBudget, Message: e.Error()})
			continue
		}
		r, at := p.ruleAt(cl, re.RuleID)
		switch {
		case r == nil:
			out = append(out, diag.Diagnostic{Code: diag.BadPattern, Message: re.Error()})
		case !at.value.Exists():
			out = append(out, p.Policies[r.Policy].Pos.Diag(refusalCode(re), diag.Error, "", fmt.Sprintf("built-in rule %s: it %s", r.ID, re.Reason), re.Hint))
		default:
			out = append(out, at.refused(re, r))
		}
	}
	return out
}

func refusalCode(e *scan.RuleError) diag.Code {
	if strings.Contains(e.Reason, "budget") {
		return diag.PatternBudget
	}
	return diag.BadPattern
}

// refused is what is said of a rule of the configuration that the engine refuses.
func (p place) refused(e *scan.RuleError, r *scan.Rule) diag.Diagnostic {
	what, from := "pattern", e.At-1
	if r.Phrase != "" {
		what = "term"
	}
	msg := fmt.Sprintf("the %s cannot be used: it %s", what, e.Reason)
	if e.Part != "" {
		msg += ": " + diag.Word(fmt.Sprintf("%q", e.Part), 90)
	}
	text := cmp.Or(r.Pattern, r.Phrase)
	if from < 0 {
		from = strings.Index(text, e.Part)
	}
	return marked(p.diag(refusalCode(e), diag.Error, msg, e.Hint), text, e.Part, from)
}

// ruleAt finds a rule by its ID and the parameter that it comes from, which does not exist for a built-in one.
func (p *Plan) ruleAt(cl *Class, id string) (*scan.Rule, place) {
	for i := range cl.Spec.Rules {
		if r := &cl.Spec.Rules[i]; r.ID == id {
			at := place{}
			if cl.paths[i] != "" {
				at.value = p.Policies[r.Policy].block.At("/" + cl.paths[i])
			}
			return r, at
		}
	}
	return nil, place{}
}

// budget says at the dearest rule of the configuration that the rules are too much together.
func (p *Plan) budget(cl *Class, e *scan.BudgetError) diag.Diagnostic {
	const hint = "give fewer patterns or lower their bounds; a pattern that begins with three or more literal characters takes least"
	msg := e.Reason + "; most take " + strings.Join(e.Rules, ", ")
	for _, id := range e.Rules {
		if r, at := p.ruleAt(cl, id); r != nil && at.value.Exists() {
			return at.diag(diag.PatternBudget, diag.Error, msg, hint)
		}
	}
	return diag.Diagnostic{Code: diag.PatternBudget, Message: msg, Hint: hint}
}
