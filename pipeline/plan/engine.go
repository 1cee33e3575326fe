package plan

import (
	"errors"
	"fmt"
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
		e.Tables[c], e.Reports[c] = t, &rep
	}
	diags.Sort()
	if diags.HasErrors() {
		return nil, diags
	}
	return e, diags
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
		var re *scan.RuleError
		if !errors.As(e, &re) {
			out = append(out, diag.Diagnostic{Code: diag.PatternBudget, Message: e.Error()})
			continue
		}
		code, msg := diag.BadPattern, fmt.Sprintf("the pattern cannot be used: %s", re.Reason)
		if strings.Contains(re.Reason, "states") || strings.Contains(re.Reason, "budget") {
			code = diag.PatternBudget
		}
		if re.Part != "" {
			msg += fmt.Sprintf(": %q", re.Part)
		}
		for i := range cl.Spec.Rules {
			if r := &cl.Spec.Rules[i]; r.ID == re.RuleID {
				pol := &p.Policies[r.Policy]
				at := place{value: pol.block.At("/" + cl.paths[i])}
				if cl.paths[i] == "" || !at.value.Exists() {
					out = append(out, pol.Pos.Diag(code, diag.Error, "", fmt.Sprintf("built-in rule %s: %s", r.ID, re.Reason), re.Hint))
				} else {
					out = append(out, at.diag(code, diag.Error, msg, re.Hint))
				}
				break
			}
		}
	}
	return out
}
