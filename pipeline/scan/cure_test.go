package scan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A rule that is refused for its size builds when what the refusal says is done at the part that it names.
func TestCuresWork(t *testing.T) {
	there := regexp.MustCompile(`^it fits with (\{[0-9,]+\}) there(?:, and with ([+*]))?$`)
	all := regexp.MustCompile(`^it fits if no repeat counts to more than ([0-9]+)(, and with \* and \+ in their places)?$`)
	build := func(x Rule) error {
		_, _, err := Build([]Rule{x}, Options{})
		return err
	}
	for _, c := range []struct {
		rule Rule
		part string
	}{
		{Rule{Pattern: `a{0,400}[ab]{0,400}c`}, `a{0,400}`},
		{Rule{Pattern: `[\w.-]{1,500}@[\w.-]{1,500}\.\w{2,500}`}, `[\w.-]{1,500}`},
		{Rule{Pattern: `x.{0,1000}y.{0,1000}z`}, `.{0,1000}`},
		{Rule{Pattern: `(?:a|b)*a(?:a|b){30}`}, `(?:a|b){30}`},
		{Rule{Pattern: `[a-z]{1,1000}[0-9]{1,1000}[a-z0-9]{1,1000}`}, `[0-9]{1,1000}`},
		{Rule{Pattern: `\p{L}{1,1000}\d`}, `\p{L}{1,1000}`},
		{Rule{Pattern: `(\w+\W+){0,10}(password|secret)(\W+\w+){0,10}`, Fold: true}, `(\w+\W+){0,10}`},
		{Rule{Pattern: `(?s).*foo.*bar.{100,}.{1,500}`}, `.{1,500}`},
	} {
		c.rule.ID, c.rule.Span, c.rule.Cap = "a", true, MaxCap
		err := build(c.rule)
		var re *RuleError
		if !errors.As(err, &re) {
			t.Errorf("%s: %v", c.rule.Pattern, err)
			continue
		}
		if re.Part != c.part || !strings.Contains(c.rule.Pattern, re.Part) || !strings.Contains(re.Reason, "budget") {
			t.Errorf("%s: part %q, want %q; %s", c.rule.Pattern, re.Part, c.part, re.Reason)
		}
		free := func(s repeatSpan) string {
			if s.min == 0 {
				return "*"
			}
			return "+"
		}
		var cures []string
		if m := there.FindStringSubmatch(re.Hint); m != nil {
			bare := re.Part[:strings.LastIndexByte(re.Part, '{')]
			before, after := c.rule.Pattern[:re.At-1], c.rule.Pattern[re.At-1+len(re.Part):]
			cures = append(cures, before+bare+m[1]+after)
			if m[2] != "" {
				cures = append(cures, before+bare+m[2]+after)
			}
		} else if m := all.FindStringSubmatch(re.Hint); m != nil {
			n, _ := strconv.Atoi(m[1])
			cures = append(cures, rewritten(c.rule.Pattern, func(s repeatSpan) string {
				return bounds(cut(&syntax.Regexp{Op: syntax.OpRepeat, Min: s.min, Max: s.max}, n))
			}))
			if m[2] != "" {
				cures = append(cures, rewritten(c.rule.Pattern, free))
			}
		} else {
			t.Errorf("%s: no cure: %s", c.rule.Pattern, re.Hint)
		}
		for _, p := range cures {
			c.rule.Pattern = p
			if err := build(c.rule); err != nil {
				t.Errorf("the cure %s of %q: %v", p, re.Part, err)
			}
		}
	}
}

// rewritten gives p with other counts.
func rewritten(p string, with func(s repeatSpan) string) string {
	spans := repeatsIn(p)
	slices.SortFunc(spans, func(a, b repeatSpan) int { return b.to - a.to })
	for _, s := range spans {
		p = p[:strings.LastIndexByte(p[:s.to], '{')] + with(s) + p[s.to:]
	}
	return p
}

// The repeats that are found in the text of a pattern are those that the parser finds.
func TestRepeatsAreFoundInTheText(t *testing.T) {
	for p, want := range map[string][]string{
		`a{2}b{3,}[\]{2}]{4,5}`:        {"a{2}", "b{3,}", `[\]{2}]{4,5}`},
		`(?:x{2}y){3}`:                 {"x{2}", "(?:x{2}y){3}"},
		`\Qa{2}\E{3}`:                  {`}\E{3}`},
		`\p{L}{2}\pN{3}\x{41}{4}`:      {`\p{L}{2}`, `\pN{3}`, `\x{41}{4}`},
		`[[:alpha:]]{2}[]a]{3}[^]]{4}`: {`[[:alpha:]]{2}`, `[]a]{3}`, `[^]]{4}`},
		`(?i)é{2}(?P<n>日{3}){4}a{,5}`:  {"é{2}", "日{3}", "(?P<n>日{3}){4}"},
		`\{2}{3}`:                      {"}{3}"},
	} {
		var got []string
		for _, s := range repeatsIn(p) {
			got = append(got, p[s.from:s.to])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	m := &patternMaker{r: r}
	for range 2000 {
		p := m.pattern()
		re, err := syntax.Parse(p, syntax.Perl)
		if err != nil {
			continue
		}
		var want, got []string
		var walk func(*syntax.Regexp)
		walk = func(re *syntax.Regexp) {
			for _, s := range re.Sub {
				walk(s)
			}
			if re.Op == syntax.OpRepeat {
				want = append(want, fmt.Sprint(re.Min, re.Max))
			}
		}
		walk(re)
		for _, s := range repeatsIn(p) {
			got = append(got, fmt.Sprint(s.min, s.max))
		}
		// The parser drops what is repeated no times, and takes common beginnings of alternatives together.
		if !strings.Contains(p, "|") && !strings.Contains(p, "{0}") && !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
}

// Rules that are too much together are refused in one error, which names those that take most; the rest is not tried.
func TestSpentBudgetNamesTheDearest(t *testing.T) {
	var rules []Rule
	for i := range 40 {
		rules = append(rules, Rule{ID: fmt.Sprint("r", i), Pattern: fmt.Sprintf(`[a-f]{1,20}%d`, i), Span: true})
	}
	rules[7].Pattern = `[a-z]{1,900}7`
	_, _, err := Build(rules, Options{MaxSteps: 50000})
	var be *BudgetError
	if !errors.As(err, &be) || len(be.Rules) == 0 || be.Rules[0] != "r7" {
		t.Fatalf("%v", err)
	}
	if n := len(strings.Split(err.Error(), "\n")); n > 2 {
		t.Errorf("%d errors: %v", n, err)
	}
}
