// Package scan finds the matches of many rules in channels of text that arrive in pieces.
//
// Cost per chunk: no allocation, no locks, no clocks, no logging, no maps. Every table is built before the
// first byte. The package knows rules, not policies: a rule carries a policy number (0 to 63) only so that a
// State can be told which matches to drop.
//
// # Semantics
//
// The language of a rule is the set of words of at most Cap bytes of its view that its regular expression matches in
// their context, that its validator accepts and that are not on its allow-list. The matches of a rule in a
// channel are the leftmost-longest words of that language that do not overlap. They depend on the text of the
// channel only, never on how it was cut: the pieces may end anywhere, inside a rune too.
//
// A pattern is Go's regexp on valid UTF-8. Only \b, \w, \d and \s are ASCII. Leftmost-longest: greediness has
// no meaning. With Group = k the pattern is read as L(G)R, k being a capture group that stands at the top of
// the concatenation: the word is what G matches, L is a look-behind and R a
// look-ahead (zero-width, or a choice of single characters and $).
package scan

import (
	"fmt"
	"strings"
)

// Limits. They show up in the errors of Build.
const (
	DefaultCap  = 512     // bytes of one match in its view, unless the rule says otherwise
	MaxCap      = 8000    // the most that a rule may ask for
	MaxRules    = 32000   // rules of one table set
	MaxDistance = 8       // edits of a fuzzy term, per word
	MatchCap    = 64      // matches that Matches holds
	MaxHeld     = maxDist // bytes of text, invisible characters among them, that are held back for matches; with more the channel is given up
)

// View says which form of the text a rule reads.
type View uint8

const (
	Raw        View = iota // the bytes as they came
	Normalised             // invisible characters dropped, look-alikes and wide forms folded; spans are raw
)

// Negation says what a rule has to do with words such as "do not" in front of those of another. The engine reports all
// matches; pipeline.Runner drops those that are negated.
type Negation uint8

const (
	Unnegated Negation = iota // its matches stand for themselves
	Negatable                 // a match is none if it begins within the last match of its policy that Negates, behind its first byte
	Negates                   // its matches say only that
)

// Rule declares what to find. Exactly one of Pattern and Phrase is set.
type Rule struct {
	ID      string // unique, stable; names the rule in errors
	Policy  uint8  // 0 to 63: the bit of the mask that makes its matches count
	Pattern string // RE2 subset (package doc)
	// Phrase is literal text. Its words, separated by single spaces, may be separated by any run of 1 to 256
	// spaces, tabs and line ends in the text. Where it begins or ends with an ASCII word character, a word
	// boundary is required.
	Phrase string
	// Distance, for a Phrase: each word may differ by up to this many edits (Levenshtein, in runes; 0 to
	// MaxDistance, but less than the word is long) from the word of the text in its place. 0 is an exact phrase.
	// A word of the text is then a run of letters, digits, underscores and characters beyond ASCII; between two
	// words stand 1 to 16 other characters.
	Distance int
	Half     bool `json:",omitempty"` // Distance: fewer edits than half of the letters of the word, in each word
	// Fold: ignore case (Unicode simple folding, as (?i)). In the Normalised view a letter stands for what that view has
	// for each letter that differs from it by case only.
	Fold      bool
	View      View
	Group     int       // capture group that is the word; 0 = the whole match
	Validator Validator // zero: none
	Allow     []string  // words that are no matches (compared as bytes, in the rule's view; without case if Fold)
	Cap       int       // bytes of its view; 0 = DefaultCap
	// Span rules feed edits, blocks or blocking scores: they report exact spans and are held for. Other rules
	// report the first position of each run of ends and a lower bound of the start (End - Cap), since their text
	// may be gone: for the same reason their words may be longer than Cap. A rule
	// with a validator, an allow-list, a distance, a negation or the Normalised view is always a Span rule: its text must be at hand.
	Span     bool
	Negation Negation `json:",omitempty"`
}

// Validator names one of the registered checks (Validators) with its parameters. The zero value accepts all.
type Validator struct {
	Name string
	A, B int // meaning by name, see the constants
}

// Options are the budgets of Build. A zero field means the default in brackets.
type Options struct {
	MaxStates     int   // of one table, after which a rule is put elsewhere [8192]
	MaxRuleStates int   // of one rule alone [20000]
	MaxBytes      int   // of all tables [64 MiB]
	MaxSteps      int   // of work in all, a deterministic stand-in for time [2000 million]
	Memo          *Memo // of automata that are made once for several builds; nil: for this one only
	joint         int   // states of a joint automaton, after which its rules are divided
	wide          bool  // entries of four bytes, even if two have room
}

// RuleError says which rule cannot be built, which part of it is responsible, and what would help. At is the byte of the
// pattern at which the part begins, plus one; 0 if it does not stand there as it is.
type RuleError struct {
	RuleID, Part, Reason, Hint string
	At                         int
}

func (e *RuleError) Error() string {
	s := fmt.Sprintf("build rule %s: ", e.RuleID)
	if e.Part != "" {
		s += fmt.Sprintf("%q: ", clip(e.Part))
	}
	s += e.Reason
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// BudgetError says that rules which can be built one by one are too much together. Rules are some of them, those that
// take most first.
type BudgetError struct {
	Rules  []string
	Reason string
}

func (e *BudgetError) Error() string {
	return "build tables: " + e.Reason + "; most take " + strings.Join(e.Rules, ", ")
}

// Class is how the engine runs a rule.
type Class string

const (
	ClassLiteral   Class = "literal"   // one of the phrases of the Aho-Corasick table
	ClassTable     Class = "table"     // part of a group that is stepped for every byte
	ClassTriggered Class = "triggered" // a literal starts an anchored automaton
	ClassFuzzy     Class = "fuzzy"     // compared with the words of the text
)

// RuleReport is what Build says of one rule.
type RuleReport struct {
	ID       string
	Class    Class
	Group    int // table group, -1 without one
	States   int // of its own automaton
	Bytes    int // of its own tables
	Span     bool
	Cap      int // bytes of its view
	LongHold int // longest hold-back in bytes of its view (what the normalised one drops is held too); 0 if the rule is not held for
}

// Report is what Build says of all.
type Report struct {
	Rules       []RuleReport
	Groups      int // automata stepped side by side
	TableBytes  int
	MemoryBytes int // of the tables with all that goes with them
	SharedBytes int // of these: parts of other tables, for whoever calls Share
	StateBytes  int // per channel, without the held text
	LongHold    int // longest hold-back of all rules, bytes of their views
}

// Match is one match. Start and End are channel offsets in raw bytes; Start is only a lower bound for a rule
// that is not a Span rule.
type Match struct {
	Start, End int64
	Rule       uint32 // index into the rules given to Build
}

// Matches is a fixed store of matches in the order (end, start, rule).
type Matches struct {
	n    int
	full bool // more are waiting
	// Overflow is set by Feed when a bounded resource of the channel ran out, so that a match may have been
	// missed. The caller takes its strictest action. It stays set until the State is reset.
	Overflow bool
	m        [MatchCap]Match
}

// Len is the number of matches. Allocates: never.
func (m *Matches) Len() int { return m.n }

// At is the i-th match, 0 <= i < Len(). Allocates: never.
func (m *Matches) At(i int) Match { return m.m[:m.n][i] }

// Full says that more matches may be waiting. Allocates: never.
func (m *Matches) Full() bool { return m.full || m.n == MatchCap }

// Clear removes the matches and Overflow. Allocates: never.
func (m *Matches) Clear() { m.n, m.full, m.Overflow = 0, false, false }

func (m *Matches) add(x Match) { m.m[m.n] = x; m.n++ }

// RuleInfo is what Tables know of a rule.
type RuleInfo struct {
	ID     string
	Policy uint8
	Span   bool
	Cap    int
	View   View
}
