package plan

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// Costs are what a plan takes when it runs.
type Costs struct {
	Classes     []ClassCost `json:"classes"`
	Rules       int         `json:"rules"`        // of all classes; what classes share counts once
	MemoryBytes int         `json:"memory_bytes"` // the same of the tables
}

// ClassCost is what one class of channels takes.
type ClassCost struct {
	Class        string     `json:"class"`
	As           string     `json:"as,omitempty"`       // the class that it shares its tables with; then there are no rules here
	Tables       int        `json:"tables"`             // stepped side by side for each byte
	MemoryBytes  int        `json:"memory_bytes"`       // of the tables; what is not of one rule is shared by all
	SharedBytes  int        `json:"shared_bytes"`       // of them: parts that a class before this one has too
	ChannelBytes int        `json:"channel_bytes"`      // state of one channel
	LongestHold  int        `json:"longest_hold_bytes"` // of text, of one channel
	ReadsWhole   bool       `json:"reads_whole"`        // text is judged at its end: a request is there before it is sent
	Rules        []RuleCost `json:"rules,omitempty"`
	rules        int
}

// RuleCost is what one rule takes.
type RuleCost struct {
	Rule        string `json:"rule"`
	Text        string `json:"text,omitempty"` // the pattern or term of the configuration that it stands for
	Runs        string `json:"runs"`
	States      int    `json:"states"`
	Bytes       int    `json:"bytes"` // of its own automata
	Cap         int    `json:"cap_bytes"`
	LongestHold int    `json:"longest_hold_bytes"` // 0: text is not held for it
}

// Costs gives the figures of a plan and its tables. They are the same for the same plan.
func (p *Plan) Costs(e *Engine) Costs {
	var out Costs
	for c := range pipeline.NumClasses {
		rep, cl := e.Reports[c], p.Classes[c]
		cc := ClassCost{Class: c.String(), ReadsWhole: c == pipeline.InputText || c == pipeline.InputTool}
		if rep != nil {
			cc.Tables, cc.MemoryBytes, cc.SharedBytes, cc.ChannelBytes, cc.LongestHold = rep.Groups, rep.MemoryBytes, rep.SharedBytes, cl.Spec.SessionBytes(), rep.LongHold
			cc.rules = len(rep.Rules)
			if before := p.sharedWith(int(c)); before >= 0 {
				cc.As = pipeline.Class(before).String()
			} else {
				out.Rules += len(rep.Rules)
				out.MemoryBytes += rep.MemoryBytes - rep.SharedBytes
				for i, r := range rep.Rules {
					rc := RuleCost{Rule: r.ID, Runs: string(r.Class), States: r.States, Bytes: r.Bytes, Cap: r.Cap, LongestHold: r.LongHold}
					if cl.paths[i] != "" {
						rc.Text = cmp.Or(cl.Spec.Rules[i].Pattern, cl.Spec.Rules[i].Phrase)
					}
					cc.Rules = append(cc.Rules, rc)
				}
			}
		}
		out.Classes = append(out.Classes, cc)
	}
	return out
}

// Explain is what kt policy lint --explain prints: for each class what its tables and one of its channels take, and every
// rule with what it takes and holds back.
func (p *Plan) Explain(e *Engine) string {
	var b strings.Builder
	costs := p.Costs(e)
	for _, c := range costs.Classes {
		switch {
		case c.rules == 0:
			fmt.Fprintf(&b, "%s: no policy looks; text passes unread\n", c.Class)
			continue
		case c.As != "":
			fmt.Fprintf(&b, "%s: the tables of %s\n", c.Class, c.As)
			continue
		}
		fmt.Fprintf(&b, "%s: %d rules in %s, %s bytes in memory", c.Class, c.rules, countOf(c.Tables, "table"), grouped(c.MemoryBytes))
		if c.SharedBytes > 0 {
			fmt.Fprintf(&b, ", %s of them shared with the classes above", grouped(c.SharedBytes))
		}
		fmt.Fprintf(&b, "; per channel %s bytes of state", grouped(c.ChannelBytes))
		if c.ReadsWhole {
			b.WriteString("; read whole, before the request goes on\n")
		} else {
			fmt.Fprintf(&b, ", at most %s bytes of text held back\n", grouped(c.LongestHold))
		}
		wide := len("rule")
		for _, r := range c.Rules {
			wide = max(wide, len(r.Rule))
		}
		fmt.Fprintf(&b, "  %-*s  %-9s  %6s  %9s  %5s  %5s\n", wide, "rule", "runs as", "states", "bytes", "cap", "holds")
		own := 0
		for _, r := range c.Rules {
			own += r.Bytes
			line := fmt.Sprintf("  %-*s  %-9s  %6s  %9s  %5s  %5s", wide, r.Rule, r.Runs, number(r.States), number(r.Bytes), number(r.Cap), number(r.LongestHold))
			if r.Text != "" {
				line += "  " + diag.Word(r.Text, maxQuoted)
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		fmt.Fprintf(&b, "  %-*s  %-9s  %6s  %9s\n", wide, "in common", "", "", number(c.MemoryBytes-own))
	}
	fmt.Fprintf(&b, "in all: %s, %s bytes of tables in memory, whatever the number of streams\n", countOf(costs.Rules, "rule"), grouped(costs.MemoryBytes))
	fmt.Fprintf(&b, "runs as: literal = in the table of terms and beginnings; triggered = its beginning is in that table; table = in one of the others;\n"+
		"fuzzy = compared word by word. cap: bytes of a match; holds: bytes of text that may wait for one. Invisible characters that a rule\n"+
		"passes over do not count and wait with the rest: with more than %s bytes the channel is given up, which counts as the strictest action.\n"+
		"A channel is one text of a stream: the content of a choice, its reasoning, the arguments of a call.\n", grouped(scan.MaxHeld))
	return b.String()
}

const maxQuoted = 60 // characters of a pattern or term

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

// number is n, and a dash for 0.
func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// grouped writes thousands apart.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
