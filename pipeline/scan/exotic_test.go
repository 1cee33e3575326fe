package scan

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var (
	exoticRun  = flag.Duration("exotic", 0, "how long random patterns are compared with regexp (0: a fixed number of cases)")
	exoticSeed = flag.Uint64("exoticseed", 0, "the first case of that comparison")
)

// patternMaker writes patterns as a person might, and as nobody would.
type patternMaker struct {
	r     *rand.Rand
	names int
}

func (p *patternMaker) one(of ...string) string { return of[p.r.IntN(len(of))] }

var (
	fewWords = []string{
		"tok", "key", "secret", "api", "user", "pass", "word", "ab", "abc", "abcd", "a", "K", "s", "ss", "I", "straße", "Ærø", "Москва", "москва", "ΣΑΣ", "σας",
		"日本", "🙂", "e\u0301", "ſ", "\u212a", "İ", "ı", "ǆ", "ﬀ", "x", "0", "12", "2026", "_", "-", " ", "ⅷ", "µ", "Å", "ẞ",
	}
	fewClasses = []string{
		`\d`, `\w`, `\s`, `\D`, `\W`, `\S`, `.`, `[a-z]`, `[A-Z0-9]`, `[^a]`, `[^\d]`, `[^\s"']`, `[a-zA-Z0-9_-]`, `[\w.-]`, `[^\w]`, `[[:alpha:]]`, `[[:^digit:]]`,
		`[[:punct:]]`, `\pL`, `\p{Lu}`, `\p{Greek}`, `\P{L}`, `\p{^Nd}`, `[\p{Cyrillic}\d]`, `[^\p{Latin}]`, `\pM`, `[k-s]`, `[K]`, `[é-ü]`, `[\x00-\x1f]`, `[^\x00-\x7f]`,
		`[\x{1F600}-\x{1F64F}]`, `[α-ω]`, `[ß]`, `\p{Any}`, `[\s\S]`, `[\d\D]`, `[a\-z]`, `[]a]`, `[^]a]`, `[\\a]`, `[ſ-ƀ]`, `\x61`, `\x{4e2d}`, `\t`, `\n`, `[ı-ĸ]`, `[^\n]`,
	}
	fewEdges = []string{`\b`, `\B`, `^`, `$`, `\A`, `\z`, `(?m:^)`, `(?m:$)`, `\b`, `\b`}
)

func (p *patternMaker) repeat(of string) string {
	r := p.r
	var q string
	switch r.IntN(12) {
	case 0, 1:
		q = "+"
	case 2, 3:
		q = "*"
	case 4, 5:
		q = "?"
	case 6:
		q = fmt.Sprintf("{%d}", 1+r.IntN(5))
	case 7:
		q = fmt.Sprintf("{%d,}", r.IntN(4))
	case 8:
		n := r.IntN(4)
		q = fmt.Sprintf("{%d,%d}", n, max(1, n+r.IntN(6)))
	case 9:
		q = fmt.Sprintf("{%d,%d}", r.IntN(3), 10+r.IntN(60))
	case 10:
		q = p.one("{1,1000}", "{0,300}", "{100}", "{2,}", "{1,400}", "{0}", "{0,1}", "{1}", "{20,40}")
	case 11:
		q = "+"
	}
	if r.IntN(5) == 0 {
		q += "?"
	}
	return of + q
}

func (p *patternMaker) group(in string) string {
	switch p.r.IntN(9) {
	case 0:
		return "(" + in + ")"
	case 1:
		p.names++
		return fmt.Sprintf("(?P<n%d>%s)", p.names, in)
	case 2:
		p.names++
		return fmt.Sprintf("(?<n%d>%s)", p.names, in)
	case 3:
		return "(?i:" + in + ")"
	case 4:
		return "(?s:" + in + ")"
	case 5:
		return "(?U:" + in + ")"
	case 6:
		return p.one("(?m:", "(?-i:", "(?is:", "(?im-s:") + in + ")"
	}
	return "(?:" + in + ")"
}

func (p *patternMaker) atom(depth int) string {
	r := p.r
	switch k := r.IntN(20); {
	case k < 7:
		return regexp.QuoteMeta(fewWords[r.IntN(len(fewWords))])
	case k < 13:
		return fewClasses[r.IntN(len(fewClasses))]
	case k < 14:
		return `\Q` + p.one("a.b", "(x)", "a|b", "[k]+", `\d`, "1*2") + `\E`
	case k < 15:
		return fewEdges[r.IntN(len(fewEdges))]
	}
	if depth == 0 {
		return string("abck01"[r.IntN(6)])
	}
	return p.group(p.any(depth - 1))
}

func (p *patternMaker) concat(depth int) string {
	var b strings.Builder
	for range 1 + p.r.IntN(4) {
		a := p.atom(depth)
		if p.r.IntN(3) == 0 {
			if !strings.HasPrefix(a, `\b`) && !strings.HasPrefix(a, "^") && (len(a) > 1 || p.r.IntN(2) == 0) && !strings.HasPrefix(a, `\Q`) && !slices.Contains(fewClasses, a) {
				a = "(?:" + a + ")"
			}
			a = p.repeat(a)
		}
		b.WriteString(a)
	}
	return b.String()
}

func (p *patternMaker) any(depth int) string {
	switch p.r.IntN(6) {
	case 0, 1:
		return p.concat(depth)
	case 2:
		var alts []string
		for range 2 + p.r.IntN(4) {
			alts = append(alts, p.concat(max(depth-1, 0)))
		}
		if p.r.IntN(4) == 0 {
			alts = append(alts, "")
		}
		return strings.Join(alts, "|")
	case 3: // a common beginning
		x := p.one("foo", "token_", "ab", "Ключ")
		var alts []string
		for range 2 + p.r.IntN(5) {
			alts = append(alts, x[:len(x)-len(x)%2]+p.concat(0))
		}
		return strings.Join(alts, "|")
	}
	return p.concat(depth)
}

// pattern is a whole pattern: often one that people write, else anything.
func (p *patternMaker) pattern() string {
	r := p.r
	s := p.any(2)
	switch r.IntN(14) {
	case 0:
		s = `\b(?:` + s + `)\b`
	case 1:
		s = `^` + s + `$`
	case 2:
		s = `(?i)` + s
	case 3:
		s = `(?im)^` + s
	case 4:
		s = `(?s)` + s
	case 5:
		s = p.one("tok_", "api[_-]?key", "sk-", "AKIA", "(?i)bearer ", "password=", "id: ") + p.repeat(fewClasses[r.IntN(len(fewClasses))]) + s
	case 6:
		s = fewClasses[r.IntN(len(fewClasses))] + s + p.one(`\b`, "$", "", `\B`, `[^a]`)
	case 7: // a list of words
		var alts []string
		for range 20 + r.IntN(60) {
			w := ""
			for range 1 + r.IntN(3) {
				w += fewWords[r.IntN(len(fewWords))]
			}
			alts = append(alts, regexp.QuoteMeta(w))
		}
		s = p.one(`\b(?:`, `(?i)(?:`, `(?:`) + strings.Join(alts, "|") + ")" + p.one(`\b`, "", `\d*`)
	case 8:
		s = p.one(`(?U)`, `(?i)^|`, `(?m)$|`, `\b|`) + s
	}
	return s
}

// behind makes the word of x a group, behind and in front of something.
func (p *patternMaker) behind(x *Rule) {
	x.Group = 1
	in := p.concat(1)
	x.Pattern = p.one("", `\b`, `^`, `[^a]`, `(?:^|[ =])`, `ab`, `(?:foo|ab)\s*`, `key\s?=`, `(?i)tok.{0,3}`) + "(" + in + ")" + p.one("", `\b`, `$`, `[^a]`, `(?:$|[ ;"])`, `\B`)
}

// word writes a text that re matches, apart from its conditions, or nearly matches.
func (p *patternMaker) word(b *strings.Builder, re *syntax.Regexp) {
	r := p.r
	if b.Len() > 3000 {
		return
	}
	rune1 := func(c rune, fold bool) {
		if fold {
			cl := foldClass(c, true)
			c = cl[r.IntN(len(cl))]
		}
		b.WriteRune(c)
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, c := range re.Rune {
			rune1(c, re.Flags&syntax.FoldCase != 0)
		}
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return
		}
		i := r.IntN(len(re.Rune)/2) * 2
		if r.IntN(2) == 0 {
			i = 0
		}
		lo, hi := re.Rune[i], re.Rune[i+1]
		c := lo
		switch r.IntN(3) {
		case 0:
			c = hi
		case 1:
			c = lo + rune(r.IntN(int(hi-lo)+1))
		}
		if x := "a1k_ -K\nsA."[r.IntN(11)]; r.IntN(2) == 0 && inClass(re.Rune, rune(x)) {
			c = rune(x)
		}
		b.WriteRune(c)
	case syntax.OpAnyChar:
		b.WriteString(p.one("a", "\n", "é", " ", "1", "🙂", "."))
	case syntax.OpAnyCharNotNL:
		b.WriteString(p.one("a", "k", "é", " ", "1", "🙂", "."))
	case syntax.OpCapture:
		p.word(b, re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		lo, hi := re.Min, re.Max
		switch re.Op {
		case syntax.OpStar:
			lo, hi = 0, -1
		case syntax.OpPlus:
			lo, hi = 1, -1
		case syntax.OpQuest:
			lo, hi = 0, 1
		}
		if hi < 0 {
			hi = lo + 4
		}
		n := lo
		switch r.IntN(4) {
		case 0:
			n = min(hi, lo+40)
		case 1:
			n = min(lo+r.IntN(hi-lo+1), lo+40)
		case 2:
			n = min(lo+r.IntN(4), hi)
		}
		for range n {
			p.word(b, re.Sub[0])
		}
	case syntax.OpConcat:
		for _, s := range re.Sub {
			p.word(b, s)
		}
	case syntax.OpAlternate:
		p.word(b, re.Sub[r.IntN(len(re.Sub))])
	}
}

// text is glued from words of the patterns, whole and broken, and from what stands between words.
func (p *patternMaker) text(res []*syntax.Regexp, n int) string {
	r := p.r
	var b strings.Builder
	for b.Len() < n {
		var w strings.Builder
		p.word(&w, res[r.IntN(len(res))])
		s := w.String()
		switch rs := []rune(s); {
		case len(rs) == 0:
		case r.IntN(6) == 0:
			s = string(rs[:r.IntN(len(rs))])
		case r.IntN(6) == 0:
			s = string(rs[r.IntN(len(rs)):])
		case r.IntN(8) == 0:
			rs[r.IntN(len(rs))] = []rune("aK \n1_é日-\u017f")[r.IntN(10)]
			s = string(rs)
		}
		b.WriteString(s)
		b.WriteString(p.one("", "", "", " ", "\n", "_", "a", "é", ".", "0", "日", "k", "\t", "\r\n"))
	}
	return strings.ToValidUTF8(b.String(), "")
}

// matcher is a third reading of patterns, on sets of positions in a text: slow, and plain enough to be right. It
// knows what regexp does not say: where words begin that stand behind a look-behind, and words under a cap.
type matcher struct {
	text string
	ops  []syntax.EmptyOp // by position
}

func newMatcher(text string) *matcher {
	m := &matcher{text: text}
	for i := range len(text) + 1 {
		before, after := -1, -1
		if i > 0 {
			before = int(text[i-1])
		}
		if i < len(text) {
			after = int(text[i])
		}
		m.ops = append(m.ops, syntaxOps(before, after))
	}
	return m
}

// syntaxOps asks the standard library.
func syntaxOps(before, after int) syntax.EmptyOp {
	of := func(c int) rune {
		if c >= utf8.RuneSelf {
			return 'é'
		}
		return rune(c)
	}
	return syntax.EmptyOpContext(of(before), of(after))
}

type posSet []bool

// step gives where words of re end that begin in from.
func (m *matcher) step(re *syntax.Regexp, from posSet) posSet {
	to := make(posSet, len(from))
	read := func(ok func(c rune) bool, from posSet) posSet {
		to := make(posSet, len(from))
		for i, in := range from {
			if in && i < len(m.text) {
				if c, size := utf8.DecodeRuneInString(m.text[i:]); ok(c) {
					to[i+size] = true
				}
			}
		}
		return to
	}
	hold := func(op syntax.EmptyOp) posSet {
		for i, in := range from {
			to[i] = in && m.ops[i]&op != 0
		}
		return to
	}
	union := func(a, b posSet) (more bool) {
		for i := range b {
			if b[i] && !a[i] {
				a[i], more = true, true
			}
		}
		return more
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return to
	case syntax.OpEmptyMatch:
		return from
	case syntax.OpLiteral:
		for _, want := range re.Rune {
			from = read(func(c rune) bool {
				return c == want || re.Flags&syntax.FoldCase != 0 && strings.EqualFold(string(c), string(want))
			}, from)
		}
		return from
	case syntax.OpCharClass:
		return read(func(c rune) bool { return inClass(re.Rune, c) }, from)
	case syntax.OpAnyChar:
		return read(func(rune) bool { return true }, from)
	case syntax.OpAnyCharNotNL:
		return read(func(c rune) bool { return c != '\n' }, from)
	case syntax.OpBeginLine:
		return hold(syntax.EmptyBeginLine)
	case syntax.OpEndLine:
		return hold(syntax.EmptyEndLine)
	case syntax.OpBeginText:
		return hold(syntax.EmptyBeginText)
	case syntax.OpEndText:
		return hold(syntax.EmptyEndText)
	case syntax.OpWordBoundary:
		return hold(syntax.EmptyWordBoundary)
	case syntax.OpNoWordBoundary:
		return hold(syntax.EmptyNoWordBoundary)
	case syntax.OpCapture:
		return m.step(re.Sub[0], from)
	case syntax.OpConcat:
		for _, s := range re.Sub {
			from = m.step(s, from)
		}
		return from
	case syntax.OpAlternate:
		for _, s := range re.Sub {
			union(to, m.step(s, from))
		}
		return to
	case syntax.OpQuest:
		union(to, from)
		union(to, m.step(re.Sub[0], from))
		return to
	case syntax.OpStar, syntax.OpPlus:
		if re.Op == syntax.OpStar {
			union(to, from)
		}
		for cur := from; ; {
			cur = m.step(re.Sub[0], cur)
			if !union(to, cur) {
				return to
			}
		}
	case syntax.OpRepeat:
		cur := from
		for range re.Min {
			cur = m.step(re.Sub[0], cur)
		}
		union(to, cur)
		for i := re.Min; re.Max < 0 || i < re.Max; i++ {
			cur = m.step(re.Sub[0], cur)
			if !union(to, cur) && (re.Max < 0 || !slices.Contains(cur, true)) {
				break
			}
		}
		return to
	}
	panic(re.Op)
}

// find gives the matches of a rule that is held for, and its ends if it is not.
func (m *matcher) find(c *compiled, span bool) (out [][2]int) {
	n := len(m.text)
	starts := make(posSet, n+1)
	for i := range starts {
		starts[i] = i == n || utf8.RuneStart(m.text[i])
	}
	if c.parts.left != nil {
		starts = m.step(c.parts.left, starts)
	}
	right := func(e int) bool {
		for _, alt := range c.parts.right {
			ok := true
			for _, op := range alt.empty {
				ok = ok && m.ops[e]&op != 0
			}
			if ok && (e == n && alt.look.eof || e < n && alt.look.has(m.text[e])) {
				return true
			}
		}
		return false
	}
	ends := make(posSet, n+1)
	for s := 0; s < n; s++ {
		if !starts[s] {
			continue
		}
		from := make(posSet, n+1)
		from[s] = true
		to := m.step(c.exact, from)
		most := n
		if span {
			most = min(n, s+c.cap) // the length of others is not measured
		}
		for e := most; e > s; e-- {
			if !to[e] || !right(e) {
				continue
			}
			if span {
				out = append(out, [2]int{s, e})
				s = e - 1
				break
			}
			ends[e] = true
		}
	}
	for e := 1; e <= n; e++ {
		if ends[e] && !ends[e-1] {
			out = append(out, [2]int{0, e})
		}
	}
	return out
}

// all gives the matches of rules in the order of Feed; tb is nil if all are held for.
func (m *matcher) all(tb *Tables, comp []*compiled) (want []Match) {
	for i, c := range comp {
		span := tb == nil || tb.Rule(i).Span
		for _, f := range m.find(c, span) {
			start := f[0]
			if !span {
				start = max(0, f[1]-c.cap)
			}
			want = append(want, Match{Start: int64(start), End: int64(f[1]), Rule: uint32(i)})
		}
	}
	slices.SortFunc(want, func(a, b Match) int {
		return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rule, b.Rule))
	})
	return want
}

// differs says what the engine finds and the matcher does not, or the other way round; empty if all is well or the
// rules cannot be built.
func differs(t *testing.T, rules []Rule, text string, cuts []int) string {
	var comp []*compiled
	for _, x := range rules {
		c, err := compileRule(x)
		if err != nil {
			return ""
		}
		comp = append(comp, c)
	}
	tb, _, err := Build(rules, Options{MaxRuleStates: 5000, MaxSteps: 2e8})
	if err != nil {
		return ""
	}
	want := newMatcher(text).all(tb, comp)
	got, _, ok := FeedCut(t, tb, text, cuts)
	if !ok || slices.Equal(got, want) {
		return ""
	}
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "  %q cap %d group %d span %t fold %t\n", r.Pattern, r.Cap, r.Group, r.Span, r.Fold)
	}
	fmt.Fprintf(&b, "  text %q\n  cuts %v\n got  %v\n want %v", text, cuts, got, want)
	return b.String()
}

// shrinkPatterns makes a failing case smaller, patterns and text alike.
func shrinkPatterns(t *testing.T, rules []Rule, text string, cuts []int) (problem string) {
	until := time.Now().Add(60 * time.Second)
	try := func(rules []Rule, text string, cuts []int) bool {
		if time.Now().After(until) || len(rules) == 0 {
			return false
		}
		p := differs(t, rules, text, cuts)
		if p != "" {
			problem = p
		}
		return p != ""
	}
	if !try(rules, text, cuts) {
		return fmt.Sprintf("%+v\n  text %q\n  cuts %v", rules, text, cuts)
	}
	without := func(s string, from, n int) string { return string([]rune(s)[:from]) + string([]rune(s)[from+n:]) }
	for again := true; again; {
		again = false
		for i := 0; i < len(rules); {
			if less := slices.Delete(slices.Clone(rules), i, i+1); try(less, text, cuts) {
				rules, again = less, true
			} else {
				i++
			}
		}
		for i := 0; i < len(cuts); {
			if less := slices.Delete(slices.Clone(cuts), i, i+1); try(rules, text, less) {
				cuts, again = less, true
			} else {
				i++
			}
		}
		for k := 16; k > 0; k /= 2 {
			for i := 0; i+k <= utf8.RuneCountInString(text); {
				less := without(text, i, k)
				at, gone := len(string([]rune(text)[:i])), len(text)-len(less)
				var c []int
				for _, x := range cuts {
					if x = max(min(x, at), x-gone); x < len(less) && (len(c) == 0 || c[len(c)-1] < x) {
						c = append(c, x)
					}
				}
				if try(rules, less, c) {
					text, cuts, again = less, c, true
				} else {
					i++
				}
			}
			for j := range rules {
				for i := 0; i+k <= utf8.RuneCountInString(rules[j].Pattern); {
					less := slices.Clone(rules)
					less[j].Pattern = without(rules[j].Pattern, i, k)
					if try(less, text, cuts) {
						rules, again = less, true
					} else {
						i++
					}
				}
			}
		}
	}
	return problem
}

// exoticCase compares random patterns with regexp, and with the matcher, in one call and at every cut. It gives how
// many rules were compared and counts what was refused by reason.
func exoticCase(t *testing.T, seed uint64, refused map[string]int) (compared int) {
	r := rand.New(rand.NewPCG(seed, 31))
	p := &patternMaker{r: r}
	var rules []Rule
	var comp []*compiled
	var res []*syntax.Regexp
	var std []*regexp.Regexp
	ascii := r.IntN(5) == 0 // such a text looks the same in the normalised view
	for range 1 + r.IntN(4) {
		x := Rule{ID: fmt.Sprint(len(rules)), Pattern: p.pattern(), Cap: MaxCap, Span: r.IntN(6) > 0, Fold: r.IntN(8) == 0}
		switch r.IntN(6) {
		case 0:
			x.Cap = 1 + r.IntN(30)
		case 1: // the word is a group
			p.behind(&x)
		}
		if ascii && r.IntN(2) == 0 && !strings.ContainsFunc(x.Pattern, func(c rune) bool { return c >= utf8.RuneSelf }) && !strings.Contains(x.Pattern, `\p`) && !strings.Contains(x.Pattern, `\x{`) {
			x.View, x.Span = Normalised, true
		}
		c, err := compileRule(x)
		if err == nil {
			small := Options{MaxRuleStates: 3000, MaxSteps: 4e7}
			_, _, err = Build([]Rule{x}, small)
		}
		if err != nil {
			reason := err.Error()
			if re := (*RuleError)(nil); errors.As(err, &re) {
				reason = re.Reason
			}
			if be := (*BudgetError)(nil); errors.As(err, &be) {
				reason = be.Reason
			}
			refused[reason]++
			continue
		}
		full := x.Pattern
		if x.Fold {
			full = "(?i)" + full
		}
		s := regexp.MustCompile(full)
		s.Longest()
		parsed, _ := syntax.Parse(full, syntax.Perl)
		rules, comp, res, std = append(rules, x), append(comp, c), append(res, parsed), append(std, s)
	}
	if len(rules) == 0 {
		return 0
	}
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatalf("seed %d: %+v one by one, but not together: %v", seed, rules, err)
	}
	if r.IntN(4) == 0 {
		if tb, err = Load(tb.AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		text := p.text(res, 5+r.IntN(60))
		if ascii {
			text = strings.Map(func(c rune) rune {
				if c >= utf8.RuneSelf {
					return -1
				}
				return c
			}, text)
		}
		if len(text) > 600 {
			text = strings.ToValidUTF8(text[:600], "")
		}
		m := newMatcher(text)
		for i, c := range comp {
			if !tb.Rule(i).Span || c.Group != 0 || c.cap < len(text) {
				continue
			}
			compared++
			var by [][2]int
			for _, x := range std[i].FindAllStringIndex(text, -1) {
				by = append(by, [2]int{x[0], x[1]})
			}
			if found := m.find(c, true); !slices.Equal(by, found) {
				t.Fatalf("seed %d: %q in %q: regexp finds %v, the matcher %v", seed, rules[i].Pattern, text, by, found)
			}
		}
		want := m.all(tb, comp)
		check := func(cuts []int) {
			got, _, ok := FeedCut(t, tb, text, cuts)
			if ok && !slices.Equal(got, want) {
				t.Fatalf("seed %d\n%s", seed, shrinkPatterns(t, rules, text, cuts))
			}
		}
		check(nil)
		for i := 1; i < len(text); i++ {
			if len(text) > 200 && r.IntN(len(text)) > 60 {
				continue
			}
			check([]int{i})
		}
		var every []int
		for i := 1; i < len(text); i++ {
			every = append(every, i)
		}
		check(every)
		for range 4 {
			check(cutsOf(r, len(text), 1+r.IntN(20)))
		}
	}
	return compared
}

// Patterns of all kinds give what regexp gives, at every cut.
func TestExoticPatternsEqualRegexp(t *testing.T) {
	refused := map[string]int{}
	cases, compared := 0, 0
	if *exoticRun > 0 {
		seed := *exoticSeed
		for until := time.Now().Add(*exoticRun); time.Now().Before(until); seed++ {
			compared += exoticCase(t, seed, refused)
			cases++
		}
		t.Logf("%d cases from seed %d on; refused %v", cases, *exoticSeed, refused)
		return
	}
	n := Rounds(40, 20, 8)
	for seed := range uint64(n) {
		compared += exoticCase(t, *exoticSeed+seed, refused)
	}
	if compared < n {
		t.Errorf("only %d comparisons; refused %v", compared, refused)
	}
}

// What random patterns showed, each with the least that shows it.
func TestFoundByExoticPatterns(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		text     string
		cuts     []int
		group    int
	}{
		{"a word ends where it ended, not where an older run that it meets had ended before", []string{`\p{Any}{1,}\*2`, `.`}, "1*2ⷴ", nil, 0},
		{"the longer of two beginnings goes first though the other is over before", []string{`Kword|wor`}, "Kword", nil, 0},
		{"in a stream as well", []string{`mytoken_[a-z]{8}|tok`}, "a mytoken_abcdefgh b", []int{5, 6}, 0},
		{"a short word behind a live start is found when that is over", []string{`\pL{2}x|a|sera-b`}, "sera-c b", []int{1, 2, 3, 4, 5, 6, 7}, 0},
		{"and where it begins like any word", []string{`\bxabcd[a-z]+|abc\d`}, "xabcde xabc1 abc1", []int{3, 9}, 0},
		{"a run that is over waits behind one that is not", []string{`(?i)tok.{0,3}((a+?)a\.b)\B`}, "tO\u212aaa.Bkto\u212aa\u00e9.AAaAaa.BaTokAAAa.B_ToKAa.b0ToK\u00e9kkAaAaaA.B", []int{9}, 1},
	} {
		var rules []Rule
		for i, p := range c.patterns {
			rules = append(rules, Rule{ID: fmt.Sprint(i), Pattern: p, Group: c.group, Cap: MaxCap, Span: true})
		}
		if problem := differs(t, rules, c.text, c.cuts); problem != "" {
			t.Errorf("%s:\n%s", c.name, problem)
		}
	}
}

// Hundreds of patterns that begin like any word are built, in one filter or, where that would be too large, in several,
// and found as others are.
func TestManyPatternsThatBeginLikeAnyWord(t *testing.T) {
	var rules []Rule
	for i := range 300 {
		p := fmt.Sprintf(`[\w.+-]+@w%d\.com`, i)
		if i%3 == 0 {
			p = fmt.Sprintf(`\w+\s+\w+\s+w%d`, i)
		}
		rules = append(rules, Rule{ID: fmt.Sprint(i), Pattern: p, Cap: MaxCap, Span: true})
	}
	var comp []*compiled
	for _, x := range rules {
		c, err := compileRule(x)
		if err != nil {
			t.Fatal(err)
		}
		comp = append(comp, c)
	}
	text := "mail a.b@w1.com or one two w3, x@w299.com and a b w297 c@w2.co @w4.com tell me w7"
	want := newMatcher(text).all(nil, comp)
	if len(want) != 4 {
		t.Fatalf("want %v", want)
	}
	for _, states := range []int{filterStates, 200, 20} {
		WithFilterStates(states, func() {
			tb, rep, err := Build(rules, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if states == filterStates && rep.Groups != 1 {
				t.Errorf("%d tables side by side, want one", rep.Groups)
			}
			for _, piece := range []int{1, 7, len(text)} {
				if got := feedAll(t, tb, text, piece); !slices.Equal(got, want) {
					t.Errorf("%d states, pieces of %d: %v, want %v", states, piece, got, want)
				}
			}
		})
	}
}
