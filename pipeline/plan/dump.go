package plan

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// Dump is the plan as text for people: the chain with its parameters, and the
// rules of each class with what they do.
func (p *Plan) Dump() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pack %s %s\nplan %s\n", p.Info.Pack, p.Info.Version, p.Info.Digest)
	for i, q := range p.Policies {
		params, err := json.Marshal(q.Params)
		if err != nil {
			panic("plan: " + err.Error()) // plain data: cannot fail
		}
		info := &p.Info.Policies[i]
		skips := ""
		if info.SkipsInstructions {
			skips = ", skips system and developer messages"
		}
		fmt.Fprintf(&b, "policy %d %s (%s:%d) action %s%s%s\n  %s\n", i, q.Kind, q.Pos.File, q.Pos.Line, info.Action, skips, whenText(info.When), params)
	}
	if r := p.Info.Require; r != (pipeline.Requirements{}) {
		fmt.Fprintf(&b, "require audit: %d days, all %t, append-only %t, hipaa %t\n", r.AuditRetentionDays, r.AuditAll, r.AuditImmutable, r.AuditHIPAA)
	}
	for c := range pipeline.NumClasses {
		cl := p.Classes[c]
		switch {
		case cl == nil:
			fmt.Fprintf(&b, "%s: no policy looks\n", c)
			continue
		case p.sharedWith(int(c)) >= 0:
			fmt.Fprintf(&b, "%s: as %s\n", c, pipeline.Class(p.sharedWith(int(c))))
			continue
		}
		fmt.Fprintf(&b, "%s: %d rules, strictest action %s\n", c, len(cl.Spec.Rules), cl.Spec.Strictest)
		for i := range cl.Spec.Scorers {
			s := &cl.Spec.Scorers[i]
			fmt.Fprintf(&b, "  score of policy %d: %d/1000 within %d bytes -> %s over %s\n", s.Policy, s.Threshold, s.Within, s.Action, strings.Join(s.Groups, ", "))
		}
		for i := range cl.Spec.Rules {
			r, e := &cl.Spec.Rules[i], &cl.Spec.Effects[i]
			what := e.Action.String() + " " + p.Info.Entities[e.Entity].Name
			if e.Scorer != 0 {
				what = fmt.Sprintf("+%d %s", e.Weight, cl.Spec.Scorers[e.Scorer-1].Groups[e.Group])
			}
			if r.Negation == scan.Negates {
				what = "negates"
			}
			fmt.Fprintf(&b, "  %s: %s\n", r.ID, what)
		}
	}
	return b.String()
}

func whenText(w *pipeline.When) string {
	if w == nil {
		return ""
	}
	var parts []string
	if w.PathPrefix != "" {
		parts = append(parts, "path "+w.PathPrefix)
	}
	for _, h := range w.Headers {
		parts = append(parts, fmt.Sprintf("%s: %s", h.Name, h.Value))
	}
	if len(w.Models) > 0 {
		parts = append(parts, "model "+strings.Join(w.Models, " or "))
	}
	return " when " + strings.Join(parts, " and ")
}
