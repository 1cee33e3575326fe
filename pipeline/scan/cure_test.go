package scan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"runtime"
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
	for i, c := range []struct {
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
		{Rule{Pattern: `foo.{0,300}bar.{0,300}=(\d+)`, Group: 1}, `.{0,300}`},
	} {
		if i%Rounds(1, 1, 4) > 0 {
			continue
		}
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
	_, _, err := Build(rules, Options{MaxSteps: 200000})
	var be *BudgetError
	if !errors.As(err, &be) || len(be.Rules) == 0 || be.Rules[0] != "r7" {
		t.Fatalf("%v", err)
	}
	if n := len(strings.Split(err.Error(), "\n")); n > 2 {
		t.Errorf("%d errors: %v", n, err)
	}
}

// What a report says of the hold-back is what a stream meets: never less, and not much more.
func TestReportedHoldBackIsMet(t *testing.T) {
	gap := strings.Repeat(" ", 256)
	for _, c := range []struct {
		rule Rule
		text string
		want int // of the report
		met  int // by the stream
	}{
		{Rule{Pattern: `tok_[a-z0-9]{8}`, Cap: MaxCap}, "a tok_abcd1234 b", 15, 12},
		{Rule{Pattern: `\bab{5}\b`}, "a abbbbb b", 11, 6},
		{Rule{Pattern: `[a-z]+@x`, Cap: 30}, strings.Repeat("a", 200), 30, 28},
		{Rule{Pattern: `x{900}`, Cap: MaxCap}, strings.Repeat("x", 2000), 905, 900},
		{Rule{Pattern: `\d{2}é{3}`, Fold: true}, "a 12ééé", 8, 7},
		{Rule{Phrase: "project night owl", Fold: true, View: Normalised}, "a project" + gap + "night" + gap + "owl b", 527, 527},
		{Rule{Phrase: "bluefin", Fold: true, View: Normalised}, "a bluefin b", 7, 7},
		{Rule{Phrase: "ab cdefg", Distance: 1}, "ab" + gap[:16] + "\U00010428\U00010428\U00010428\U00010428\U00010428\U00010428", 12 + 16 + 24 + 3, 0},
	} {
		c.rule.ID, c.rule.Span = "a", true
		tb, rep, err := Build([]Rule{c.rule}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		var every []int
		for i := 1; i < len(c.text); i++ {
			every = append(every, i)
		}
		_, hold, _ := FeedCut(t, tb, c.text, every)
		for i, h := range hold[:len(hold)-1] {
			most = max(most, every[i]-int(h))
		}
		if got := rep.Rules[0].LongHold; got != c.want || most > got || c.met > 0 && most != c.met {
			t.Errorf("%s%s: the report says %d, want %d; the stream met %d, want %d", c.rule.Pattern, c.rule.Phrase, got, c.want, most, c.met)
		}
	}
}

// No text near a fuzzy term is held for longer than its report says.
func TestFuzzyTermsAreHeldAsReported(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 13))
	for _, x := range []Rule{
		{Phrase: "Acme Corporation", Distance: 1, Fold: true, View: Normalised},
		{Phrase: "éa-KS böse", Distance: 2, Half: true, Fold: true},
		{Phrase: "one two three four", Distance: 8, Half: true, View: Normalised, Fold: true},
	} {
		x.ID = "a"
		tb, rep, err := Build([]Rule{x}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			var b strings.Builder
			for range 3 {
				for i, w := range strings.Fields(x.Phrase) {
					if i > 0 {
						b.WriteString(strings.Repeat([]string{" ", "-", "."}[r.IntN(3)], 1+r.IntN(17)))
					}
					for _, c := range w {
						switch r.IntN(8) {
						case 0:
							c = '𐐨'
						case 1:
							b.WriteRune('𐐨')
						}
						b.WriteRune(c)
					}
				}
				b.WriteString([]string{" ", "𐐨", "x"}[r.IntN(3)])
			}
			text := b.String()
			var every []int
			for i := 1; i < len(text); i++ {
				every = append(every, i)
			}
			_, hold, _ := FeedCut(t, tb, text, every)
			for i, h := range hold[:len(hold)-1] {
				if n := every[i] - int(h); n > rep.Rules[0].LongHold {
					t.Fatalf("%s: %d bytes of %q are held at %d, the report says %d", x.Phrase, n, text, every[i], rep.Rules[0].LongHold)
				}
			}
		}
	}
}

// The memory that a report tells is what the heap grows by.
func TestReportedMemoryIsTaken(t *testing.T) {
	for name, rule := range map[string]func(i int) Rule{
		"terms": func(i int) Rule {
			return Rule{Phrase: fmt.Sprintf("word%d token%d", i*7919%1500, i), Fold: true, View: Normalised}
		},
		"fuzzy": func(i int) Rule {
			return Rule{Phrase: fmt.Sprintf("word%d token%d", i*7919%1500, i), Fold: true, Distance: 2}
		},
		"patterns": func(i int) Rule { return Rule{Pattern: fmt.Sprintf(`x%dy[0-9]{1,30}`, i), Span: true} },
	} {
		var rules []Rule
		for i := range 1500 {
			x := rule(i)
			x.ID = fmt.Sprint(name, i)
			rules = append(rules, x)
		}
		tb, rep, err := Build(rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := tb.AppendBinary(nil)
		heap := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		tb = nil
		before := heap()
		if tb, err = Load(b); err != nil {
			t.Fatal(err)
		}
		grown := heap() - before
		runtime.KeepAlive(tb)
		runtime.KeepAlive(b)
		runtime.KeepAlive(rules)
		if rep.MemoryBytes < grown*8/10 || rep.MemoryBytes > grown*12/10 {
			t.Errorf("%s: the report says %d bytes, the heap grew by %d", name, rep.MemoryBytes, grown)
		}
	}
}

// A pack of many refused rules is told of some, not tried to its end, and tables over budget name their largest rules.
func TestLargePacksAreRefusedEarly(t *testing.T) {
	var rules []Rule
	for i := range 300 {
		rules = append(rules, Rule{ID: fmt.Sprint("r", i), Pattern: fmt.Sprintf(`a{0,40}[ab]{0,40}%d`, i), Span: true})
	}
	_, _, err := Build(rules, Options{MaxRuleStates: 100})
	if n := strings.Count(err.Error(), "build rule"); n != maxFaults {
		t.Errorf("%d errors, want %d", n, maxFaults)
	}
	for i := range rules {
		rules[i].Pattern = fmt.Sprintf(`key%d[a-z]{1,30}x`, i)
	}
	rules[9].Pattern = `key9.{0,300}x`
	_, _, err = Build(rules, Options{MaxBytes: 30000})
	var be *BudgetError
	if !errors.As(err, &be) || len(be.Rules) != maxNamed || be.Rules[0] != "r9" {
		t.Errorf("%v", err)
	}
}
