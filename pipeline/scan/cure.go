package scan

import (
	"cmp"
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What is said of a rule that is too large: the repeat that makes it so, as it is written, and bounds with which it fits.

const (
	maxCures  = 6   // rules of a build for which a cure is looked for: each try takes as long as a build of the rule
	cureTries = 6   // repeats of one that are looked at, those with the largest bounds first
	cureBound = 8   // with which a repeat counts for little
	cureSteps = 2e8 // of work in one try
	maxPart   = 80  // runes of a part that is quoted
)

// tooLarge is the error of a rule whose word, or whose look-behind if left is set, cannot be compiled.
func (b *builder) tooLarge(c *compiled, re *syntax.Regexp, left bool, why string) error {
	if c.phrase != nil {
		return c.fail(clip(c.Phrase), why, "a shorter term, or several")
	}
	if why == "too large" {
		why = "needs more states than its budget"
	}
	reps := counted(re)
	if len(reps) == 0 {
		part := clip(re.String())
		if c.Group == 0 {
			part = c.whole()
		}
		return c.fail(part, why, "write it as several patterns; words to choose from are terms rather than a pattern")
	}
	if b.cures++; b.cures > maxCures {
		return c.failAt(reps[0], why, "lower the bounds of its repeats, or begin what follows a repeat with a character that is not repeated")
	}
	for _, r := range reps[:min(len(reps), cureTries)] {
		if !b.fits(c, bound(re, r, cureBound), left) {
			continue
		}
		for n := max(r.Min, r.Max) / 2; n >= cureBound; n /= 2 {
			if n == cureBound || b.fits(c, bound(re, r, n), left) {
				hint := fmt.Sprintf("it fits with %s there", bounds(cut(r, n)))
				if free := unbound(re, r); b.fits(c, free, left) {
					hint += ", and with " + bounds(unbound(r, r))
				}
				return c.failAt(r, why, hint)
			}
		}
	}
	for n := 256; n > 0; n /= 2 {
		if n < max(reps[0].Min, reps[0].Max) && b.fits(c, bound(re, nil, n), left) {
			hint := fmt.Sprintf("it fits if no repeat counts to more than %d", n)
			if b.fits(c, unbound(re, nil), left) {
				hint += ", and with * and + in their places"
			}
			return c.failAt(reps[0], why, hint)
		}
	}
	return c.failAt(reps[0], why, "write it as several patterns, each of which begins with literal text")
}

// counted lists the repeats with bounds, the largest first.
func counted(re *syntax.Regexp) (reps []*syntax.Regexp) {
	var walk func(*syntax.Regexp)
	walk = func(r *syntax.Regexp) {
		for _, s := range r.Sub {
			walk(s)
		}
		if r.Op == syntax.OpRepeat && max(r.Min, r.Max) > 1 {
			reps = append(reps, r)
		}
	}
	walk(re)
	slices.SortStableFunc(reps, func(a, b *syntax.Regexp) int { return cmp.Compare(max(b.Min, b.Max), max(a.Min, a.Max)) })
	return reps
}

// cut is a repeat that counts to n at most.
func cut(r *syntax.Regexp, n int) *syntax.Regexp {
	c := *r
	c.Min, c.Max = min(r.Min, n), min(r.Max, n)
	return &c
}

// bound gives re with the repeat r, all if it is nil, counting to n at most.
func bound(re, r *syntax.Regexp, n int) *syntax.Regexp {
	c := *re
	c.Sub = nil
	for _, s := range re.Sub {
		c.Sub = append(c.Sub, bound(s, r, n))
	}
	if re.Op == syntax.OpRepeat && (r == nil || re == r) {
		c.Min, c.Max = min(re.Min, n), min(re.Max, n)
	}
	return &c
}

// unbound gives re with the repeat r, all if it is nil, without an upper bound.
func unbound(re, r *syntax.Regexp) *syntax.Regexp {
	c := *re
	c.Sub = nil
	for _, s := range re.Sub {
		c.Sub = append(c.Sub, unbound(s, r))
	}
	if re.Op == syntax.OpRepeat && (r == nil || re == r) {
		if c.Op = syntax.OpPlus; re.Min == 0 {
			c.Op = syntax.OpStar
		}
	}
	return &c
}

// fits tells whether the exact automaton of a rule with word re, or its look-behind, can be made.
func (b *builder) fits(c *compiled, re *syntax.Regexp, left bool) bool {
	t := &builder{opt: b.opt}
	t.opt.MaxSteps, t.opt.Memo = cureSteps, &Memo{}
	behind, _ := c.leftAlts()
	if left {
		c = &compiled{Rule: c.Rule, parts: parts{right: []rightAlt{{look: anyLook}}}}
		behind = nil
	}
	n, why := t.wordNFA(c, re, behind)
	if why != "" {
		return false
	}
	a := &auto{}
	a.add(n, 0, true)
	_, _, err := t.determinise(a, detMode{anchored: true, limit: min(b.opt.MaxRuleStates, maxAnchStates)})
	return err == nil
}

// bounds is how a repeat's counts are written.
func bounds(r *syntax.Regexp) string {
	switch {
	case r.Op == syntax.OpStar:
		return "*"
	case r.Op == syntax.OpPlus:
		return "+"
	case r.Max == r.Min:
		return fmt.Sprintf("{%d}", r.Min)
	case r.Max < 0:
		return fmt.Sprintf("{%d,}", r.Min)
	}
	return fmt.Sprintf("{%d,%d}", r.Min, r.Max)
}

// written is a repeat of the rule's pattern as it is written there, and the byte it begins at plus one, or, if that cannot
// be told, as the parser has it.
func (c *compiled) written(r *syntax.Regexp) (part string, at int) {
	var mine []*syntax.Regexp
	var walk func(*syntax.Regexp)
	walk = func(x *syntax.Regexp) {
		for _, s := range x.Sub {
			walk(s)
		}
		if x.Op == syntax.OpRepeat && x.Min == r.Min && x.Max == r.Max {
			mine = append(mine, x)
		}
	}
	walk(c.tree)
	var spans []repeatSpan
	for _, s := range repeatsIn(c.Pattern) {
		if s.min == r.Min && s.max == r.Max {
			spans = append(spans, s)
		}
	}
	if i := slices.Index(mine, r); i >= 0 && len(mine) == len(spans) {
		return c.Pattern[spans[i].from:spans[i].to], spans[i].from + 1
	}
	return clip(r.String()), 0
}

// failAt is the error of a part of the rule's pattern.
func (c *compiled) failAt(r *syntax.Regexp, reason, hint string) error {
	e := &RuleError{RuleID: c.ID, Reason: reason, Hint: hint}
	e.Part, e.At = c.written(r)
	return e
}

// clip shortens what is quoted.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= maxPart {
		return s
	}
	return string([]rune(s)[:maxPart-3]) + "..."
}

// repeatSpan is a counted repeat in the text of a pattern, what is repeated included.
type repeatSpan struct{ from, to, min, max int }

// repeatsIn finds the counted repeats of a valid pattern, in the order in which they end.
func repeatsIn(p string) (out []repeatSpan) {
	var open []int // where groups begin
	last := -1     // where what may be repeated begins
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '\\':
			last = i
			if strings.HasPrefix(p[i:], `\Q`) {
				text, _, _ := strings.Cut(p[i+2:], `\E`)
				_, n := utf8.DecodeLastRuneInString(text)
				last = i + 2 + len(text) - n
				i = min(len(p), i+2+len(text)+2)
				continue
			}
			i = escapeEnd(p, i)
		case '[':
			last = i
			i = classEnd(p, i)
		case '(':
			open = append(open, i)
			last = -1
			if i++; i < len(p) && p[i] == '?' {
				for i < len(p) && p[i] != ':' && p[i] != ')' && p[i] != '>' {
					i++
				}
				if i < len(p) && p[i] != ')' {
					i++
				}
			}
		case ')':
			if n := len(open); n > 0 {
				last, open = open[n-1], open[:n-1]
			}
			i++
		case '|':
			last = -1
			i++
		case '*', '+', '?':
			i++
		case '{':
			if min, max, n, ok := countAt(p[i:]); ok && last >= 0 {
				out = append(out, repeatSpan{last, i + n, min, max})
				i += n
				continue
			}
			last = i
			i++
		default:
			last = i
			_, n := utf8.DecodeRuneInString(p[i:])
			i += n
		}
	}
	return out
}

// escapeEnd is where the escape at i ends.
func escapeEnd(p string, i int) int {
	if i+1 >= len(p) {
		return len(p)
	}
	_, n := utf8.DecodeRuneInString(p[i+1:])
	end := i + 1 + n
	if c := p[i+1]; c == 'p' || c == 'P' || c == 'x' {
		switch {
		case end < len(p) && p[end] == '{':
			if k := strings.IndexByte(p[end:], '}'); k >= 0 {
				return end + k + 1
			}
		case c == 'x':
			return min(len(p), end+2)
		case end < len(p):
			_, n := utf8.DecodeRuneInString(p[end:])
			return end + n
		}
	}
	return end
}

// classEnd is where the class at i ends.
func classEnd(p string, i int) int {
	i++
	if i < len(p) && p[i] == '^' {
		i++
	}
	if i < len(p) && p[i] == ']' {
		i++
	}
	for i < len(p) && p[i] != ']' {
		switch {
		case p[i] == '\\':
			i = escapeEnd(p, i)
		case strings.HasPrefix(p[i:], "[:"):
			if k := strings.Index(p[i:], ":]"); k >= 0 {
				i += k + 2
				continue
			}
			i++
		default:
			i++
		}
	}
	return min(len(p), i+1)
}

// countAt reads {n}, {n,} or {n,m}.
func countAt(p string) (lo, hi, n int, ok bool) {
	end := strings.IndexByte(p, '}')
	if end < 0 {
		return 0, 0, 0, false
	}
	a, b, two := strings.Cut(p[1:end], ",")
	lo, err := strconv.Atoi(a)
	if err != nil || a[0] == '+' || a[0] == '-' {
		return 0, 0, 0, false
	}
	hi = lo
	if two {
		hi = -1
		if b != "" {
			if hi, err = strconv.Atoi(b); err != nil || b[0] == '+' || b[0] == '-' {
				return 0, 0, 0, false
			}
		}
	}
	return lo, hi, end + 1, true
}
