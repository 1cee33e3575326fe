package scan

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// compiled is a rule taken apart and checked.
type compiled struct {
	Rule
	cap    int
	tree   *syntax.Regexp // the pattern
	parts  parts
	exact  *syntax.Regexp // the word as it was written; parts.word may become wider
	min    int            // bytes of its shortest word
	max    int            // bytes of its longest word, -1 = unbounded
	near   int            // of a fuzzy term: bytes of its view that may be held for it
	behind int            // of a triggered rule: a match waits until what its end has of a trigger is over, this many bytes
	phrase []string
	self   bool // in a literal group its matches may overlap
}

func (r *Rule) fail(part, reason, hint string) error {
	return &RuleError{RuleID: r.ID, Part: part, Reason: reason, Hint: hint}
}

// hold tells whether text must be kept for the rule.
func (r *Rule) hold() bool {
	return r.Span || r.Negation != Unnegated || r.Validator.Name != "" || len(r.Allow) > 0 || r.Distance > 0 || r.View == Normalised
}

// phraseGap is what may stand between two words of a phrase.
const (
	phraseGap    = `[ \t\r\n]{1,256}`
	phraseGapAny = `[ \t\r\n]+`
)

func phraseWords(s string) []string { return strings.Fields(s) }

// phrasePattern is the regular expression of a phrase.
func phrasePattern(words []string, view View, fold, hold bool) string {
	var b strings.Builder
	if fold {
		b.WriteString("(?i)")
	}
	first, last := words[0], words[len(words)-1]
	if isWord(int(first[0])) {
		b.WriteString(`\b`)
	}
	for i, w := range words {
		if i > 0 {
			if hold {
				b.WriteString(phraseGap)
			} else {
				b.WriteString(phraseGapAny) // its text may be gone, so that a run cannot be measured
			}
		}
		for len(w) > 0 {
			r, n := utf8.DecodeRuneInString(w)
			ascii, other, mixed := mixedForms(r)
			if !mixed || view == Raw || !fold {
				b.WriteString(regexp.QuoteMeta(w[:n]))
				w = w[n:]
				continue
			}
			marks := leadingMarks(w[n:])
			b.WriteString(mixedPattern(ascii, other, marks, i == 0 && len(w) == len(first), i == len(words)-1 && len(w) == n+len(marks)))
			w = w[n+len(marks):]
		}
	}
	if isWord(int(last[len(last)-1])) {
		b.WriteString(`\b`)
	}
	return b.String()
}

// whole is the rule's pattern or term for a message.
func (c *compiled) whole() string {
	if c.Phrase != "" {
		return clip(c.Phrase)
	}
	return clip(c.Pattern)
}

// Check says what is wrong with a rule that Build would refuse whatever the budgets; nil if nothing is.
func (r Rule) Check() error {
	_, err := compileRule(r)
	return err
}

// Longest is how many bytes a match of the rule could have if there were no cap; -1 without a bound. It is 0 for a
// rule that cannot be used.
func (r Rule) Longest() int {
	r.ID = "-"
	c, err := compileRule(r)
	if err != nil {
		return 0
	}
	return c.max
}

func compileRule(r Rule) (*compiled, error) {
	c := &compiled{Rule: r, cap: r.Cap}
	if r.ID == "" {
		return nil, r.fail("", "has no ID", "")
	}
	if r.Policy > 63 {
		return nil, r.fail("", "has a policy number above 63", "a State's mask has 64 bits")
	}
	if (r.Pattern == "") == (r.Phrase == "") {
		return nil, r.fail("", "needs exactly one of a pattern and a phrase", "")
	}
	if c.cap == 0 {
		c.cap = DefaultCap
	}
	if c.cap < 1 || c.cap > MaxCap {
		return nil, r.fail("", "has a cap outside 1 to 8000 bytes", "0 means 512")
	}
	if err := r.Validator.check(); err != "" {
		return nil, r.fail("", err, "")
	}
	if r.Validator.A < 0 || r.Validator.B < 0 {
		return nil, r.fail("", "has a validator with a negative parameter", "")
	}
	if r.Distance < 0 || r.Distance > MaxDistance {
		return nil, r.fail("", "has a distance outside 0 to 8", "")
	}
	pat := r.Pattern
	if r.Phrase != "" {
		if !utf8.ValidString(r.Phrase) {
			return nil, r.fail("", "is not valid UTF-8", "")
		}
		p := r.Phrase
		if r.View == Normalised {
			p = normaliseTerm(p, r.Fold, r.Distance > 0)
		}
		c.phrase = phraseWords(p)
		if len(c.phrase) == 0 {
			return nil, r.fail(r.Phrase, "has no words", "it is white space and characters that nobody sees")
		}
		if r.Group != 0 {
			return nil, r.fail("", "is a phrase and has a group", "")
		}
		pat = phrasePattern(c.phrase, r.View, r.Fold, r.hold())
	} else {
		if r.Distance > 0 {
			return nil, r.fail("", "is a pattern and has a distance", "fuzzy terms are phrases")
		}
		if r.Fold {
			pat = "(?i)" + pat
		}
	}
	re, err := syntax.Parse(pat, syntax.Perl)
	if err != nil {
		e := err.(*syntax.Error)
		return nil, r.fail(e.Expr, e.Code.String(), "patterns are Go regular expressions")
	}
	if r.View == Normalised && r.Pattern != "" {
		re = seenForms(re)
	}
	if r.Group < 0 || r.Group > re.MaxCap() {
		return nil, r.fail(clip(pat), "has no such group", "")
	}
	c.tree = re
	if err := c.split(re); err != nil {
		return nil, err
	}
	c.exact = c.parts.word
	c.min, c.max = lengths(c.parts.word)
	if c.min == 0 {
		return nil, r.fail(c.whole(), "matches the empty word", "require at least one character: + instead of *, no empty alternative")
	}
	if r.Phrase != "" && r.Distance == 0 && r.Cap == 0 {
		c.cap = min(max(c.cap, c.max), MaxCap) // white space between its words does not use it up
	}
	if c.min > c.cap {
		if c.cap == MaxCap { // there is none to raise
			reason, hint := fmt.Sprintf("matches nothing shorter than %d bytes; a match has at most %d", c.min, MaxCap), "write a pattern for a part of it"
			if reps := counted(c.parts.word); len(reps) > 0 {
				return nil, c.failAt(reps[0], reason, hint)
			}
			return nil, r.fail(c.whole(), reason, hint)
		}
		return nil, r.fail(c.whole(), "has no word that fits its cap", "raise the cap")
	}
	if r.View == Normalised {
		for i, a := range r.Allow {
			if i == 0 {
				c.Allow = append([]string(nil), r.Allow...)
			}
			c.Allow[i] = normaliseTerm(a, r.Fold, false)
		}
	}
	return c, nil
}

func (c *compiled) split(re *syntax.Regexp) error {
	if c.Group == 0 {
		c.parts = parts{word: re, right: []rightAlt{{look: anyLook}}}
		return nil
	}
	subs := []*syntax.Regexp{re}
	for len(subs) == 1 && subs[0].Op == syntax.OpConcat {
		subs = subs[0].Sub
	}
	for i, s := range subs {
		if s.Op != syntax.OpCapture || s.Cap != c.Group {
			continue
		}
		c.parts.word = s.Sub[0]
		if i > 0 {
			c.parts.left = &syntax.Regexp{Op: syntax.OpConcat, Sub: subs[:i]}
		}
		alts := []rightAlt{{look: anyLook}}
		for _, r := range subs[i+1:] {
			next, ok := contextAlts(r, false)
			if !ok {
				return c.fail(r.String(), "is not a look-ahead that can be used",
					"right of the group: zero-width conditions, or a choice of single characters (all or none of those beyond ASCII) and $")
			}
			var both []rightAlt
			for _, a := range alts {
				for _, b := range next {
					if a.look != anyLook {
						return c.fail(r.String(), "follows a look-ahead", "only one character may be looked at")
					}
					both = append(both, rightAlt{empty: append(append([]syntax.EmptyOp(nil), a.empty...), b.empty...), look: b.look})
				}
			}
			alts = both
		}
		c.parts.right = alts
		return nil
	}
	return c.fail(re.String(), "does not have the group at the top of its concatenation", "write it as left(group)right")
}

// contextAlts reads re as conditions on one byte beside the word: the byte after it, or, with left, in front.
func contextAlts(re *syntax.Regexp, left bool) ([]rightAlt, bool) {
	zero := func(op syntax.EmptyOp) ([]rightAlt, bool) {
		return []rightAlt{{empty: []syntax.EmptyOp{op}, look: anyLook}}, true
	}
	class := func(cl []rune) ([]rightAlt, bool) {
		var l lookSet
		var above rune
		for i := 0; i < len(cl); i += 2 {
			if cl[i] < utf8.RuneSelf {
				l.add(int(cl[i]), int(min(cl[i+1], utf8.RuneSelf-1)))
			}
			if cl[i+1] >= utf8.RuneSelf {
				above += cl[i+1] - max(cl[i], utf8.RuneSelf) + 1
			}
		}
		// The long s and the Kelvin sign come and go with the case folds of s and k; here they are treated like the
		// other characters beyond ASCII.
		switch {
		case above <= 2:
		case above >= utf8.MaxRune-utf8.RuneSelf-1:
			l.add(utf8.RuneSelf, 255)
		default:
			return nil, false
		}
		return []rightAlt{{look: l}}, true
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []rightAlt{{look: anyLook}}, true
	case syntax.OpCapture:
		return contextAlts(re.Sub[0], left)
	case syntax.OpQuest:
		a, ok := contextAlts(re.Sub[0], left)
		return append(a, rightAlt{look: anyLook}), ok
	case syntax.OpAlternate:
		var all []rightAlt
		for _, s := range re.Sub {
			a, ok := contextAlts(s, left)
			if !ok {
				return nil, false
			}
			all = append(all, a...)
		}
		return all, true
	case syntax.OpLiteral:
		if len(re.Rune) != 1 {
			return nil, false
		}
		return class(foldClass(re.Rune[0], re.Flags&syntax.FoldCase != 0))
	case syntax.OpCharClass:
		return class(re.Rune)
	case syntax.OpAnyChar:
		return class([]rune{0, utf8.MaxRune})
	case syntax.OpAnyCharNotNL:
		return class([]rune{0, 9, 11, utf8.MaxRune})
	case syntax.OpBeginLine:
		return zero(syntax.EmptyBeginLine)
	case syntax.OpEndLine:
		return zero(syntax.EmptyEndLine)
	case syntax.OpBeginText:
		return zero(syntax.EmptyBeginText)
	case syntax.OpEndText:
		return zero(syntax.EmptyEndText)
	case syntax.OpWordBoundary:
		return zero(syntax.EmptyWordBoundary)
	case syntax.OpNoWordBoundary:
		return zero(syntax.EmptyNoWordBoundary)
	case syntax.OpConcat:
		alts := []rightAlt{{look: anyLook}}
		for i := range re.Sub {
			s := re.Sub[i]
			if left {
				s = re.Sub[len(re.Sub)-1-i]
			}
			next, ok := contextAlts(s, left)
			if !ok {
				return nil, false
			}
			var both []rightAlt
			for _, a := range alts {
				if a.look != anyLook {
					return nil, false
				}
				for _, b := range next {
					both = append(both, rightAlt{empty: append(append([]syntax.EmptyOp(nil), a.empty...), b.empty...), look: b.look})
				}
			}
			alts = both
		}
		return alts, true
	}
	return nil, false
}

// lengths gives the shortest and the longest word of re in bytes; max is -1 without a bound.
func lengths(re *syntax.Regexp) (min, max int) {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			lo, hi := classLengths(foldClass(r, re.Flags&syntax.FoldCase != 0))
			min, max = min+lo, max+hi
		}
	case syntax.OpCharClass:
		return classLengths(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1, 4
	case syntax.OpCapture:
		return lengths(re.Sub[0])
	case syntax.OpQuest:
		_, max = lengths(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus:
		lo, hi := lengths(re.Sub[0])
		if re.Op == syntax.OpPlus {
			min = lo
		}
		if hi != 0 {
			max = -1
		}
	case syntax.OpRepeat:
		lo, hi := lengths(re.Sub[0])
		min = lo * re.Min
		if hi < 0 || re.Max < 0 && hi > 0 {
			max = -1
		} else if hi > 0 {
			max = hi * re.Max
		}
	case syntax.OpConcat:
		for _, s := range re.Sub {
			lo, hi := lengths(s)
			min += lo
			if max >= 0 {
				max += hi
				if hi < 0 {
					max = -1
				}
			}
		}
	case syntax.OpAlternate:
		for i, s := range re.Sub {
			lo, hi := lengths(s)
			if i == 0 || lo < min {
				min = lo
			}
			if max >= 0 && (hi < 0 || hi > max) {
				max = hi
			}
		}
	}
	return min, max
}

func classLengths(cl []rune) (lo, hi int) {
	lo = 4
	for i := 0; i < len(cl); i += 2 {
		lo, hi = min(lo, utf8.RuneLen(cl[i])), max(hi, runeLen(cl[i+1]))
	}
	return min(lo, max(hi, 1)), hi
}

func runeLen(r rune) int {
	if n := utf8.RuneLen(r); n > 0 {
		return n
	}
	return 3
}
