package policytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
)

// checks are the built types of assertion: each gives a score from 0 to 1.
var checks = map[string]func(a *Assertion, output string) (float64, error){
	"equals":       text(func(out, want string) bool { return out == want }),
	"contains":     text(strings.Contains),
	"icontains":    text(func(out, want string) bool { return strings.Contains(strings.ToLower(out), strings.ToLower(want)) }),
	"starts-with":  text(strings.HasPrefix),
	"ends-with":    text(strings.HasSuffix),
	"contains-any": list(func(hits, all int) bool { return hits > 0 }),
	"contains-all": list(func(hits, all int) bool { return hits == all }),
	"regex": func(a *Assertion, out string) (float64, error) {
		want, err := a.text()
		if err != nil {
			return 0, err
		}
		if a.CaseSensitive != nil && !*a.CaseSensitive {
			want = "(?i)" + want
		}
		re, err := regexp.Compile(want)
		if err != nil {
			return 0, fmt.Errorf("compile regex: %w", err)
		}
		return score(re.MatchString(out)), nil
	},
	"is-json": func(_ *Assertion, out string) (float64, error) { return score(json.Valid([]byte(out))), nil },
	"levenshtein": func(a *Assertion, out string) (float64, error) {
		want, err := a.text()
		if err != nil {
			return 0, err
		}
		x, y := []rune(a.fold(out)), []rune(a.fold(want))
		if len(x) > maxDistance || len(y) > maxDistance {
			return 0, fmt.Errorf("compare texts: longer than %d characters", maxDistance)
		}
		return 1 - float64(distance(x, y))/float64(max(len(x), len(y), 1)), nil
	},
}

// maxDistance bounds the texts of levenshtein, whose cost is the product of their lengths.
const maxDistance = 20_000

// AssertionTypes lists the types that are built.
func AssertionTypes() []string { return slices.Sorted(maps.Keys(checks)) }

func score(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}

func text(holds func(out, want string) bool) func(*Assertion, string) (float64, error) {
	return func(a *Assertion, out string) (float64, error) {
		want, err := a.text()
		return score(err == nil && holds(a.fold(out), a.fold(want))), err
	}
}

func list(holds func(hits, all int) bool) func(*Assertion, string) (float64, error) {
	return func(a *Assertion, out string) (float64, error) {
		values, ok := a.value().([]any)
		if !ok {
			return 0, fmt.Errorf("read assertion %s: value must be a list of texts", a.Type)
		}
		hits := 0
		for _, v := range values {
			s, ok := v.(string)
			if !ok {
				return 0, fmt.Errorf("read assertion %s: value must be a list of texts", a.Type)
			}
			if strings.Contains(a.fold(out), a.fold(s)) {
				hits++
			}
		}
		return score(holds(hits, len(values))), nil
	}
}

func (a *Assertion) on() bool { return a.Enabled == nil || *a.Enabled }

func (a *Assertion) label() string {
	if a.Name != "" {
		return a.Name
	}
	return a.Type
}

func (a *Assertion) fold(s string) string {
	if a.CaseSensitive != nil && !*a.CaseSensitive {
		return strings.ToLower(s)
	}
	return s
}

// value stands at the top level or under config.
func (a *Assertion) value() any {
	if a.Value == nil {
		return a.Config["value"]
	}
	return a.Value
}

func (a *Assertion) text() (string, error) {
	s, ok := a.value().(string)
	if !ok {
		return "", fmt.Errorf("read assertion %s: value must be a text", a.Type)
	}
	return s, nil
}

// judge gives the score of an assertion and whether it passes. Types that
// hold or do not hold pass at 1, levenshtein at its threshold (default 1).
func (a *Assertion) judge(output string) (float64, bool, error) {
	check := checks[a.Type]
	if check == nil {
		return 0, false, fmt.Errorf("assertion type %q does not exist or is not built yet", a.Type)
	}
	got, err := check(a, output)
	if err != nil {
		return 0, false, err
	}
	if a.Negate {
		got = 1 - got
	}
	need := 1.0
	if a.Threshold != nil {
		need = *a.Threshold
	}
	return got, got >= need, nil
}

// maxShown is how many characters of an output or a value a failure shows.
const maxShown = 120

// failure says that an assertion does not hold: its score, what was asked for
// and the output that was judged.
func (a *Assertion) failure(points float64, output string) string {
	need := 1.0
	if a.Threshold != nil {
		need = *a.Threshold
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', 3, 64) }
	want := a.Type
	if v := a.value(); v != nil {
		text, _ := json.Marshal(v) // it came from JSON
		want += " " + diag.Word(string(text), maxShown)
	}
	if a.Negate {
		want = "not " + want
	}
	return fmt.Sprintf("assertion %s: score %s, needs %s: want %s; output is %s", a.label(), number(points), number(need), want, shown(output))
}

func shown(s string) string { return strconv.Quote(diag.Word(s, maxShown)) }

// distance is the Levenshtein distance.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diag := row[0]
		row[0] = i + 1
		for j, y := range b {
			cost := diag
			if x != y {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
