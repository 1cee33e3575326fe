package plan

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/diag"
)

// A doubt is said of a pattern or a term that is valid and most likely not what its author meant. Only what is nearly
// always right is said.
type doubt struct{ part, message, hint string }

// patternDoubts are the doubts about a pattern; re is its parsed form.
func patternDoubts(p string, re *syntax.Regexp) (out []doubt) {
	say := func(part, message, hint string) { out = append(out, doubt{part, message, hint}) }
	if strings.Contains(p, "\b") {
		say("", "the pattern has a backspace character, which no text has", `between double quotes "\b" is one for YAML: write the pattern between single quotes`)
	}
	if m := slashes.FindStringSubmatch(p); m != nil {
		say("", "the slashes around the pattern are part of it", fmt.Sprintf("leave them out, and write flags in front: (?%s)%s", flagsOf(m[2]), m[1]))
	}
	for _, part := range doubled.FindAllString(p, 1) {
		say(part, fmt.Sprintf(`%s finds a backslash and the letter %c`, part, part[2]), `between single quotes and without quotes one backslash is enough: \`+part[2:])
	}
	outside, classes := parts(p)
	for _, part := range noLower.FindAllString(outside, 1) {
		say(part, fmt.Sprintf("%s is no repeat: it finds these characters", part), "a repeat begins with a number: {0"+part[1:])
	}
	for _, c := range classes {
		if strings.Contains(c, "A-z") {
			say(c, `A-z has the characters [ \ ] ^ _ and `+"` too", "write A-Za-z")
		}
		if words.MatchString(c) {
			say(c, "within brackets | is a character like others, and letters stand for one character each", "words to choose from stand in parentheses: (?:one|two)")
		}
	}
	out = append(out, edgeDoubts(re)...)
	if part := wildDot(re); part != "" {
		say(part, fmt.Sprintf("the dot in %s stands for any character", part), `a dot that stands for itself is written \.`)
	}
	if r, before := apart(re); r != 0 {
		side, holds := "in front of", "behind"
		if before {
			side, holds = "behind", "in front of"
		}
		say(`\b`, fmt.Sprintf(`\b %s %c holds only %s an ASCII letter, digit or _: for \b other letters are no part of words`, side, r, holds),
			fmt.Sprintf(`leave \b out there, or name what may stand beside it, as in (?:^|[^\p{L}])%c`, r))
	}
	if s := everywhere(p); s != "" {
		say("", fmt.Sprintf("the pattern finds something in nearly every text: %q in %q", s, ordinary[0]), "name what is special about the value: letters or digits that always stand in it or beside it, and how long it is")
	}
	return out
}

var (
	slashes = regexp.MustCompile(`^/(.*[^/\\])/([gimsuy]{1,4})$`)
	doubled = regexp.MustCompile(`\\\\(?:[dws][+*{]|b)`)
	noLower = regexp.MustCompile(`\{,[0-9]+\}`)
	words   = regexp.MustCompile(`[A-Za-z]{2}\|[A-Za-z]{2}`)
	domains = []string{"com", "org", "net", "edu", "gov", "mil", "int", "io", "co", "ai", "dev", "app", "info", "biz", "eu", "de", "fr", "uk", "us", "ch", "nl", "internal", "local", "corp", "lan"}
	// What stands in texts of every kind.
	ordinary = []string{"Could you tell me what this means?", "We had a good time there, thanks.", "I will look at it on Monday."}
)

func flagsOf(js string) string {
	out := ""
	for _, f := range "ims" {
		if strings.ContainsRune(js, f) {
			out += string(f)
		}
	}
	if out == "" {
		return "i"
	}
	return out
}

// parts gives the text of a pattern outside of classes and without escapes, and its classes.
func parts(p string) (outside string, classes []string) {
	var b strings.Builder
	for i := 0; i < len(p); {
		switch p[i] {
		case '\\':
			if strings.HasPrefix(p[i:], `\Q`) {
				text, _, _ := strings.Cut(p[i:], `\E`)
				i += len(text)
			}
			i += 2
			b.WriteByte(' ')
		case '[':
			end := i + 1
			if end < len(p) && p[end] == '^' {
				end++
			}
			if end < len(p) && p[end] == ']' {
				end++
			}
			for end < len(p) && p[end] != ']' {
				switch {
				case p[end] == '\\':
					end++
				case strings.HasPrefix(p[end:], "[:"):
					if k := strings.Index(p[end:], ":]"); k > 0 {
						end += k + 1
					}
				}
				end++
			}
			end = min(len(p), end+1)
			classes = append(classes, p[i:end])
			b.WriteByte(' ')
			i = end
		default:
			b.WriteByte(p[i])
			i++
		}
	}
	return b.String(), classes
}

// elements are the parts of a concatenation, groups opened.
func elements(re *syntax.Regexp) []*syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture:
		return elements(re.Sub[0])
	case syntax.OpConcat:
		var out []*syntax.Regexp
		for _, s := range re.Sub {
			out = append(out, elements(s)...)
		}
		return out
	}
	return []*syntax.Regexp{re}
}

func begins(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginText || re.Op == syntax.OpBeginLine
}
func ends(re *syntax.Regexp) bool { return re.Op == syntax.OpEndText || re.Op == syntax.OpEndLine }

// edgeDoubts are those about what stands first and last.
func edgeDoubts(re *syntax.Regexp) (out []doubt) {
	if re.Op == syntax.OpAlternate {
		// ^a|b$ is (^a)|(b$).
		first, last := elements(re.Sub[0]), elements(re.Sub[len(re.Sub)-1])
		if begins(first[0]) && !ends(first[len(first)-1]) && ends(last[len(last)-1]) && !begins(last[0]) {
			return []doubt{{"", "^ belongs to the first alternative only, and $ to the last", "put parentheses around all of them: ^(?:one|two)$"}}
		}
		if first[0].Op == syntax.OpWordBoundary && first[len(first)-1].Op != syntax.OpWordBoundary && last[len(last)-1].Op == syntax.OpWordBoundary && last[0].Op != syntax.OpWordBoundary {
			return []doubt{{"", `the first \b belongs to the first alternative only, and the last to the last`, `put parentheses around all of them: \b(?:one|two)\b`}}
		}
		return nil
	}
	es := elements(re)
	first, last := es[0], es[len(es)-1]
	if len(es) > 2 && first.Op == syntax.OpBeginText && last.Op == syntax.OpEndText {
		return []doubt{{"", "the pattern finds only a text that is nothing else: ^ and $ stand for the beginning and the end of the whole text",
			`leave them out, or write \b in their places; (?m) makes them stand for those of a line`}}
	}
	if what := rest(first); what != "" {
		out = append(out, doubt{".", "the pattern begins with any number of any characters: each match takes " + what + " in front of it, and text is held back as if all of it were one",
			"leave the beginning out: a pattern is looked for everywhere in a text"})
	}
	if what := rest(last); what != "" && len(es) > 1 {
		out = append(out, doubt{"", "the pattern ends with any number of any characters: each match takes " + what + " behind it",
			`end it where the value ends, as in \S+ or [A-Za-z0-9_-]+, or leave the end out`})
	}
	return out
}

// rest says what an unbounded repeat of any character takes; empty for all else.
func rest(re *syntax.Regexp) string {
	if re.Op != syntax.OpStar && re.Op != syntax.OpPlus && (re.Op != syntax.OpRepeat || re.Max >= 0) {
		return ""
	}
	switch s := re.Sub[0]; s.Op {
	case syntax.OpAnyCharNotNL:
		return "all of the line"
	case syntax.OpAnyChar:
		return "all of the text"
	}
	return ""
}

// wildDot finds a dot in the name of a host or in an address that stands for any character.
func wildDot(re *syntax.Regexp) string {
	es := elements(re)
	for i := 1; i+1 < len(es); i++ {
		if es[i].Op != syntax.OpAnyCharNotNL || es[i-1].Op != syntax.OpLiteral || es[i+1].Op != syntax.OpLiteral {
			continue
		}
		before, after := strings.ToLower(string(es[i-1].Rune)), strings.ToLower(string(es[i+1].Rune))
		label, end := tail(before, isName), strings.IndexFunc(after, func(r rune) bool { return !isName(r) })
		if end < 0 {
			end = len(after)
		}
		if len(label) >= 2 && !isNumber(label) && slices.Contains(domains, after[:end]) {
			return label + "." + after[:end]
		}
		// 10.0.0.1
		if i+5 < len(es) && es[i+2].Op == syntax.OpAnyCharNotNL && es[i+4].Op == syntax.OpAnyCharNotNL {
			a, b, c, d := tail(before, unicode.IsDigit), after, text(es[i+3]), text(es[i+5])
			n := strings.IndexFunc(d+" ", func(r rune) bool { return !unicode.IsDigit(r) })
			if a != "" && isNumber(b) && isNumber(c) && n > 0 {
				return a + "." + b + "." + c + "." + d[:n]
			}
		}
	}
	for _, s := range re.Sub {
		if part := wildDot(s); part != "" && re.Op != syntax.OpConcat {
			return part
		}
	}
	return ""
}

func isName(r rune) bool {
	return r == '-' || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func text(re *syntax.Regexp) string {
	if re.Op != syntax.OpLiteral {
		return ""
	}
	return string(re.Rune)
}

// tail is the end of s of which every rune is of a kind.
func tail(s string, is func(rune) bool) string {
	return s[strings.LastIndexFunc(s, func(r rune) bool { return !is(r) })+1:]
}

// apart finds a letter beyond ASCII beside a word boundary; before says that it stands in front of it.
func apart(re *syntax.Regexp) (r rune, before bool) {
	es := elements(re)
	beyond := func(r rune) bool { return r >= utf8.RuneSelf && unicode.IsLetter(r) }
	for i, e := range es {
		if e.Op != syntax.OpWordBoundary {
			for _, s := range e.Sub {
				if r, before := apart(s); r != 0 {
					return r, before
				}
			}
			continue
		}
		if i+1 < len(es) && es[i+1].Op == syntax.OpLiteral && beyond(es[i+1].Rune[0]) {
			return es[i+1].Rune[0], false
		}
		if i > 0 && es[i-1].Op == syntax.OpLiteral {
			if rs := es[i-1].Rune; beyond(rs[len(rs)-1]) {
				return rs[len(rs)-1], true
			}
		}
	}
	return 0, false
}

// everywhere gives what a pattern finds in an ordinary sentence, if it finds something in each of them.
func everywhere(p string) string {
	re, err := regexp.Compile(p)
	if err != nil {
		return ""
	}
	re.Longest()
	for _, s := range ordinary[1:] {
		if !re.MatchString(s) {
			return ""
		}
	}
	return re.FindString(ordinary[0])
}

// termDoubt is the doubt about a term that looks like a pattern.
func termDoubt(t string) *doubt {
	switch {
	case strings.Contains(t, "\b"):
		return &doubt{"", "the term has a backspace character, which no text has", "leave it out: terms are whole words without it"}
	case patternLike.MatchString(t):
		return &doubt{patternLike.FindString(t), "the term looks like a pattern, but terms are literal text: its signs are looked for as they stand", "name the words themselves; where a policy has detect_patterns, these are patterns"}
	case len(t) > 1 && (strings.HasPrefix(t, "*") || strings.HasSuffix(t, "*")):
		return &doubt{"*", "* stands for itself in a term", "a term is found as a whole word: name each form as a term of its own"}
	}
	return nil
}

var patternLike = regexp.MustCompile(`\\[bBdDsSwW.]|\.[*+](?:$|[^.])|\(\?[a-zA-Z:]|\[(?:a-z|A-Z|0-9)|\(\w+(?:\|\w+)+\)`)

// marked moves the caret of a diagnostic about a text of the configuration to the part of that text that begins at byte
// from, if the text stands in the quoted line as it is.
func marked(d diag.Diagnostic, text, part string, from int) diag.Diagnostic {
	line := []rune(d.Excerpt)
	if part == "" || from < 0 || d.Column < 1 || d.EndColumn <= d.Column || d.EndColumn-1 > len(line) {
		return d
	}
	src := string(line[d.Column-1 : d.EndColumn-1])
	at := strings.Index(src, text)
	if at < 0 {
		return d
	}
	d.Column += utf8.RuneCountInString(src[:at+from])
	d.EndColumn = d.Column + utf8.RuneCountInString(part)
	return d
}
