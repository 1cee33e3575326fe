// Package rulebook is the library of what the detectors look for: identifiers of people, secret formats,
// prompt-injection phrases and the term lists of the lexical kinds, as data. Each entry stands in data/*.rules
// with what it must find, what it must not, and the public document that defines it; the tests run all of them
// through the scan engine.
//
// # Use by kinds
//
// A kind takes Entries and turns each into scan rules with Entry.Rules (policy number and Span set by the
// caller), keeping the entry index beside each rule to name the entity of a match:
//
//   - pii-detector: PII(); with healthcare_mode Care() too; pci_mode: false drops the entries with Group "payment".
//   - hipaa-phi-detector: HIPAA().
//   - dlp-filter: its own patterns and terms; Secrets() with sensitivity_level high or restricted.
//   - prompt-injection: Injection(). Entry.Group is the group of evidence and Entry.Weight its weight in 1/1000.
//     Within 1,024 bytes each group counts once, with the largest weight that matched; the score is the sum over
//     the groups, judged against the threshold (750 by default) at each match. The rules read the normalised
//     view and need Span when the action blocks.
//   - the lexical kinds: Terms(list), with the names of the Lists.
//
// # Format of a data file
//
// Blocks separated by empty lines; lines that begin with # are comments.
//
//	[id] ENTITY group country     the entry; country is an ISO 3166 code or -
//	pattern RE                    a pattern, or
//	phrase TEXT                   a phrase, in all its forms if the head says so; both may be repeated
//	exact TEXT                    a phrase without other forms
//	fold | normalised | wide      options: ignore case; read the normalised view; on only where asked for
//	check NAME [A [B]]            the validator of scan
//	cap N                         bytes of the longest match
//	weight N                      evidence in 1/1000
//	allow WORD                    a word that is no match; may be repeated
//	+ TEXT                        text in which each «marked» span is found, and nothing else
//	- TEXT                        text in which nothing is found
//	source TEXT                   the document that defines it (default: the line `source` of the head)
//	note TEXT
//
// In the head, `default fold normalised spaced forms` sets options for all entries of the file. `spaced` lets every
// space of a pattern stand for white space of any length. With `negatable` what an entry finds is nothing where it begins
// within what an entry with the line `negates` finds (scan.Negation). With `forms` a phrase is found as people write it: its last
// word in the plural too, with a hyphen for a space and a space for a hyphen. In a phrase {a,b} is either.
//
// A line `define NAME RE` makes {NAME} stand for RE in the patterns below, and `verbs NAME cut, hack into` for these
// verbs, in the infinitive and with -ing. In examples <20w> is replaced by 20 made-up characters of a class (d digits, h
// and H hex, a and A letters, n and N letters and digits, w mixed letters and digits, b base64url), \n by a line end and
// ¦ by nothing, so that no example in the repository looks like a real key.
package rulebook

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keeptrusts/kt/pipeline/scan"
)

//go:embed data/*.rules
var files embed.FS

// Entry is one thing to find.
type Entry struct {
	ID        string // unique in the rulebook
	Entity    string // what a finding is called: EMAIL, US_SSN, ...
	Group     string // category; for prompt-injection the group of evidence
	Country   string // ISO 3166 code, empty = anywhere
	Patterns  []string
	Phrases   []string
	Forms     []string // of each phrase a pattern of the forms in which people write it, "" for as it is
	Fold      bool
	View      scan.View
	Wide      bool // ambiguous on its own; only where a kind asks for it
	Check     scan.Validator
	Allow     []string
	Cap       int // raw bytes; 0 = scan.DefaultCap
	Weight    int // 1/1000
	Negation  scan.Negation
	Positives []Example
	Negatives []string
	Source    string
	Note      string
}

// Example is a text with the spans to be found in it.
type Example struct {
	Text  string
	Spans [][2]int // byte offsets, half open, in order
}

// Rules gives the scan rules of e for a policy: one for each pattern, then one for each phrase. span asks for exact
// spans and hold-back (scan.Rule.Span).
func (e *Entry) Rules(policy uint8, span bool) []scan.Rule {
	var out []scan.Rule
	for i, p := range e.Patterns {
		r := e.rule(policy, span, i)
		r.Pattern = p
		r.Group = groupOf(p)
		out = append(out, r)
	}
	for i, p := range e.Phrases {
		r := e.rule(policy, span, len(e.Patterns)+i)
		if i < len(e.Forms) && e.Forms[i] != "" {
			r.Pattern = e.Forms[i]
		} else {
			r.Phrase = p
		}
		out = append(out, r)
	}
	return out
}

func (e *Entry) rule(policy uint8, span bool, i int) scan.Rule {
	id := e.ID
	if i > 0 {
		id += "#" + strconv.Itoa(i+1)
	}
	return scan.Rule{
		ID: id, Policy: policy, Fold: e.Fold, View: e.View, Validator: e.Check,
		Allow: e.Allow, Cap: e.Cap, Span: span, Negation: e.Negation,
	}
}

// groupOf is 1 when a pattern has a capture group, the span that is found, else 0.
func groupOf(p string) int {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '[':
			for i++; i < len(p) && p[i] != ']'; i++ {
				if p[i] == '\\' {
					i++
				}
			}
		case '(':
			if i+1 < len(p) && p[i+1] != '?' {
				return 1
			}
		}
	}
	return 0
}

// PII lists the identifiers of people, without the wide ones and the clinical ones.
func PII() []Entry { return strict(load("pii")) }

// PHI lists the clinical identifiers: record and plan numbers, provider numbers.
func PHI() []Entry { return strict(load("phi")) }

// Care lists the clinical identifiers that are told from other numbers in any text: those of patients, insured people and
// providers that have a label or a check digit.
func Care() []Entry {
	var out []Entry
	for _, e := range PHI() {
		if e.Group == "care" {
			out = append(out, e)
		}
	}
	return out
}

// HIPAA lists what covers the Safe Harbor classes that patterns can find (45 CFR 164.514(b)(2)): the
// identifiers of the United States and those without a country, the clinical ones, dates, ZIP codes, URLs and
// names beside a title or a label.
func HIPAA() []Entry {
	var out []Entry
	for _, e := range append(load("pii"), load("phi")...) {
		if (e.Country == "" || e.Country == "US") && (!e.Wide || e.Group == "safe_harbor") {
			out = append(out, e)
		}
	}
	return out
}

// WidePII lists PII with the entries that are ambiguous on their own (bare national numbers without a check
// digit, for instance): more recall, more false alarms.
func WidePII() []Entry {
	var out []Entry
	for _, e := range append(load("pii"), load("phi")...) {
		if e.Group != "safe_harbor" {
			out = append(out, e)
		}
	}
	return out
}

// Secrets lists the secret formats.
func Secrets() []Entry { return strict(load("secrets")) }

// Injection lists the evidence of prompt injection, with groups and weights.
func Injection() []Entry { return strict(load("injection")) }

// Lists names the built-in term lists.
func Lists() []string {
	var out []string
	seen := map[string]bool{}
	for _, e := range load("terms") {
		if !seen[e.Group] {
			seen[e.Group] = true
			out = append(out, e.Group)
		}
	}
	return out
}

// Terms gives the entries of one built-in list, none for an unknown name.
func Terms(list string) []Entry {
	var out []Entry
	for _, e := range load("terms") {
		if e.Group == list {
			out = append(out, e)
		}
	}
	return out
}

// All lists every entry of the rulebook.
func All() []Entry {
	var out []Entry
	for _, f := range []string{"pii", "phi", "secrets", "injection", "terms"} {
		out = append(out, load(f)...)
	}
	return out
}

func strict(es []Entry) []Entry {
	var out []Entry
	for _, e := range es {
		if !e.Wide {
			out = append(out, e)
		}
	}
	return out
}

// load reads an embedded file. The tests read every file, so a fault in one cannot reach a user.
func load(name string) []Entry {
	b, err := files.ReadFile("data/" + name + ".rules")
	if err != nil {
		panic(err)
	}
	es, err := Parse(name+".rules", string(b))
	if err != nil {
		panic(err)
	}
	return es
}

// Parse reads a data file (see the package comment).
func Parse(name, text string) ([]Entry, error) {
	var out []Entry
	var cur *Entry
	source := ""
	defs := []string{}
	var expand *strings.Replacer // of defs
	var fold, normalised, spaced, forms, negatable bool
	for n, line := range strings.Split(text, "\n") {
		fail := func(format string, a ...any) ([]Entry, error) {
			return nil, fmt.Errorf("parse %s:%d: %s", name, n+1, fmt.Sprintf(format, a...))
		}
		line = strings.TrimRight(line, " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		key, val, _ := strings.Cut(line, " ")
		if line[0] == '[' {
			f := strings.Fields(line)
			if len(f) != 4 || !strings.HasSuffix(f[0], "]") {
				return fail("want [id] ENTITY group country")
			}
			out = append(out, Entry{ID: f[0][1 : len(f[0])-1], Entity: f[1], Group: f[2], Source: source})
			cur = &out[len(out)-1]
			cur.Fold = fold
			if normalised {
				cur.View = scan.Normalised
			}
			if negatable {
				cur.Negation = scan.Negatable
			}
			if f[3] != "-" {
				cur.Country = f[3]
			}
			continue
		}
		if cur == nil && key != "define" && key != "verbs" && key != "source" && key != "default" {
			return fail("%q before the first entry", key)
		}
		switch key {
		case "define":
			k, v, _ := strings.Cut(val, " ")
			defs = append(defs, "{"+k+"}", strings.NewReplacer(defs...).Replace(v))
			expand = nil
		case "verbs":
			k, v, _ := strings.Cut(val, " ")
			defs = append(defs, "{"+k+"}", verbs(v))
			expand = nil
		case "default":
			o := strings.Fields(val)
			fold, normalised, spaced, forms = slices.Contains(o, "fold"), slices.Contains(o, "normalised"), slices.Contains(o, "spaced"), slices.Contains(o, "forms")
			negatable = slices.Contains(o, "negatable")
		case "source":
			if cur == nil {
				source = val
			} else {
				cur.Source = val
			}
		case "sources": // a new default for the entries below
			source = val
		case "pattern":
			if expand == nil {
				expand = strings.NewReplacer(defs...)
			}
			val = expand.Replace(val)
			if spaced {
				val = spaces(val)
			}
			if normalised {
				val = scan.NormalisePattern(val)
			}
			cur.Patterns = append(cur.Patterns, val)
		case "phrase", "exact":
			for _, p := range choices(val) {
				pattern := ""
				if forms && key == "phrase" {
					pattern = formsOf(p)
				}
				cur.Phrases, cur.Forms = append(cur.Phrases, p), append(cur.Forms, pattern)
			}
		case "fold":
			cur.Fold = true
		case "normalised":
			cur.View = scan.Normalised
		case "wide":
			cur.Wide = true
		case "negates":
			cur.Negation = scan.Negates
		case "check":
			f := strings.Fields(val)
			cur.Check.Name = f[0]
			for i, p := range []*int{&cur.Check.A, &cur.Check.B} {
				if len(f) > i+1 {
					v, err := strconv.Atoi(f[i+1])
					if err != nil {
						return fail("check: %v", err)
					}
					*p = v
				}
			}
		case "cap", "weight":
			v, err := strconv.Atoi(val)
			if err != nil {
				return fail("%s: %v", key, err)
			}
			if key == "cap" {
				cur.Cap = v
			} else {
				cur.Weight = v
			}
		case "allow":
			cur.Allow = append(cur.Allow, val)
		case "note":
			cur.Note = val
		case "+":
			cur.Positives = append(cur.Positives, example(val))
		case "-":
			cur.Negatives = append(cur.Negatives, example(val).Text)
		default:
			return fail("unknown key %q", key)
		}
	}
	return out, nil
}

// choices gives the phrases that a phrase with {a,b} stands for.
func choices(p string) []string {
	to := strings.IndexByte(p, '}')
	if to < 0 {
		return []string{p}
	}
	from := strings.LastIndexByte(p[:to], '{')
	var out []string
	for _, c := range strings.Split(p[from+1:to], ",") {
		out = append(out, choices(p[:from]+c+p[to+1:])...)
	}
	return out
}

// formsOf is a pattern of a phrase as people write it: its last word in the plural too, a hyphen where it has a space, a
// space where it has a hyphen.
func formsOf(p string) string {
	var b strings.Builder
	b.WriteString(`\b`)
	for i := 0; i < len(p); i++ {
		if p[i] == ' ' || p[i] == '-' && i > 0 && i+1 < len(p) && letter(p[i-1]) && letter(p[i+1]) {
			b.WriteString(`(?:\s+|-)`)
			continue
		}
		b.WriteString(regexp.QuoteMeta(p[i : i+1]))
	}
	return plural(b.String()) + `\b`
}

// plural is a pattern with the plural of its last word beside the singular.
func plural(p string) string {
	n := len(p)
	if n < 3 || !letter(p[n-1]) || !letter(p[n-2]) || p[n-3] == '\\' || p[n-1] == 's' {
		return p
	}
	switch {
	case p[n-1] == 'y' && !strings.ContainsRune("aeiou", rune(p[n-2])):
		return p[:n-1] + "(?:y|ies)"
	case p[n-1] == 'x' || p[n-1] == 'z' || strings.HasSuffix(p, "ch") || strings.HasSuffix(p, "sh"):
		return p + "(?:es)?"
	}
	return p + "s?"
}

// verbs is a choice of the verbs of a list, in the infinitive and with -ing.
func verbs(list string) string {
	var out []string
	for _, v := range strings.Split(list, ", ") {
		word, rest, more := strings.Cut(v, " ")
		if more {
			rest = " " + rest
		}
		out = append(out, v, ing(word)+rest)
	}
	return "(?:" + strings.Join(out, "|") + ")"
}

// ing is a verb with -ing: taking, cutting, tying.
func ing(v string) string {
	n := len(v)
	vowel := func(i int) bool { return strings.IndexByte("aeiou", v[i]) >= 0 }
	switch {
	case strings.HasSuffix(v, "ie"):
		return v[:n-2] + "ying"
	case strings.HasSuffix(v, "e") && !strings.HasSuffix(v, "ee"):
		return v[:n-1] + "ing"
	case n >= 3 && !vowel(n-1) && vowel(n-2) && !vowel(n-3) && !strings.ContainsAny(v[:n-2], "aeiou") && !strings.ContainsAny(v[n-1:], "wxy"):
		return v + v[n-1:] + "ing"
	}
	return v + "ing"
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// spaces lets each space of a pattern stand for white space, an optional one for none too.
func spaces(p string) string {
	must, may := `\s+`, `\s*`
	if groupOf(p) != 0 { // a look-behind has a length limit
		must, may = `\s{1,4}`, `\s{0,4}`
	}
	var b strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			b.WriteString(p[i : i+2])
			i++
		case c == '[' && !class:
			class = true
			b.WriteByte(c)
			if i+1 < len(p) && p[i+1] == ']' {
				b.WriteByte(']')
				i++
			}
		case c == ']':
			class = false
			b.WriteByte(c)
		case c != ' ':
			b.WriteByte(c)
		case class:
			b.WriteString(`\s`)
		case i+1 < len(p) && p[i+1] == '?':
			b.WriteString(may)
			i++
		default:
			b.WriteString(must)
		}
	}
	return b.String()
}

var madeUp = regexp.MustCompile(`<(\d+)([dhHaAnNwb])>`)

var classes = map[byte]string{
	'd': "7305914826", 'h': "7c0fa51e93bd4286", 'H': "7C0FA51E93BD4286",
	'a': "kqvxzjwpfygbmhdu", 'A': "KQVXZJWPFYGBMHDU",
	'n': "k7q3v0x5z9j1w4p8f2y6g", 'N': "K7Q3V0X5Z9J1W4P8F2Y6G",
	'w': "k7Qv3Xz0Jw5Pf9Yg1Bm4Hd8u2Z6R", 'b': "k7Qv3Xz0Jw5P-f9Yg1Bm4_Hd8u2Z6R",
}

func example(s string) Example {
	if strings.Contains(s, "<") {
		s = madeUp.ReplaceAllStringFunc(s, characters)
	}
	s = lineEnds.Replace(s)
	var e Example
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch r {
		case '«':
			e.Spans = append(e.Spans, [2]int{b.Len(), -1})
		case '»':
			e.Spans[len(e.Spans)-1][1] = b.Len()
		default:
			b.WriteRune(r)
		}
	}
	e.Text = b.String()
	return e
}

var lineEnds = strings.NewReplacer(`\n`, "\n", `\t`, "\t", "¦", "")

// characters gives those that <20w> stands for.
func characters(m string) string {
	g := madeUp.FindStringSubmatch(m)
	n, _ := strconv.Atoi(g[1])
	abc := classes[g[2][0]]
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223 // Numerical Recipes' generator: the same text every time
		b[i] = abc[int(x>>16)%len(abc)]
	}
	return string(b)
}
