package pipeline

import (
	"math"
	"unsafe"

	"github.com/keeptrusts/kt/pipeline/scan"
)

// Kind is one policy kind. It declares, as data, what a policy of the kind
// looks for; it owns no loop over text, so that the rules of all policies can
// be fused. Kinds hold no state. Only kind/all lists them.
type Kind interface {
	// Name is how policies.chain calls the kind.
	Name() string
	// Params gives a pointer to a new parameter struct that holds the
	// documented defaults. Its json tags are the names of the kind's schema.
	Params() any
	// Declare says what a policy with these parameters looks for. params is
	// what Params gave, filled from the configuration.
	Declare(params any, d *Declaration)
}

// Declaration collects what one policy declares. Entities, groups and scorers
// are numbered within the policy; the plan moves them to their places in the
// chain.
type Declaration struct {
	// Has tells whether the configuration names a parameter ("response/action"),
	// whatever its value. Set by the plan before Declare.
	Has func(path string) bool

	Entities []EntityInfo
	Rules    []RuleDecl
	Scorers  []ScorerDecl
	Decode   []Class // classes whose encoded pieces (base64) are read decoded as well
	Tags     []Class // classes whose tag characters are read as what they carry as well, and whose text is read without marks
	Rot13    []Class // classes whose pieces in rot13 are read decoded as well
	Require  Requirements
	Phases   []Phase // where it looks, for a policy without rules
	// SkipsInstructions: system and developer messages are not judged; see PolicyInfo.
	SkipsInstructions bool

	Message  string // what a blocked client is told; empty = the default text
	LogLevel string // of the line that a finding gives; empty = info
	Faults   []Fault
}

// RuleDecl is one rule of a policy with what its matches mean.
type RuleDecl struct {
	Rule    scan.Rule // Policy is set by the plan
	Effect  Effect    // Policy, Marker and Scorer are set by the plan
	Marker  *Marker   // for Redact
	Scorer  int       // number of the policy's scorer that counts the match, -1 for none
	Classes []Class
	Path    string // parameter that the rule comes from ("detect_patterns/3"); empty = built in
}

// ScorerDecl is one scorer of a policy.
type ScorerDecl struct {
	Scorer  Scorer // Policy and First are set by the plan
	Classes []Class
}

// FaultCode says what is wrong with a parameter.
type FaultCode uint8

// The faults that kinds find.
const (
	FaultPattern  FaultCode = iota // error: a pattern that cannot be used
	FaultConflict                  // error: two spellings of one setting disagree
	FaultNotBuilt                  // error: documented, but not built yet
	FaultRange                     // error: a parameter outside its range
	FaultCategory                  // warning: a pattern that looks like a category name
	FaultNoEffect                  // warning: a setting without effect
	FaultDistance                  // warning: max_distance without fuzzy_matching
	FaultAlias                     // note: an older spelling was accepted
	FaultPartly                    // note: a documented promise that is covered in part
)

// Fault is something to say about a parameter.
type Fault struct {
	Code          FaultCode
	Path          string // of the parameter, such as response/action
	Message, Hint string
}

// Entity adds an entity with its reason code and gives its number in the policy.
func (d *Declaration) Entity(name, reason string) uint16 {
	for i := range d.Entities {
		if d.Entities[i].Name == name && d.Entities[i].Reason == reason {
			return uint16(i)
		}
	}
	d.Entities = append(d.Entities, EntityInfo{Name: name, Reason: reason})
	return uint16(len(d.Entities) - 1)
}

// Find adds a rule whose every match is a finding. m is nil but for Redact.
// Span is set where the action needs exact spans.
func (d *Declaration) Find(r scan.Rule, entity uint16, a Action, m *Marker, path string, classes ...Class) {
	r.Span = r.Span || a >= Redact
	d.Rules = append(d.Rules, RuleDecl{Rule: r, Effect: Effect{Entity: entity, Action: a}, Marker: m, Scorer: -1, Classes: classes, Path: path})
}

// OwnPattern is the rule of a pattern of the configuration. Its matches may be as long as any rule's: a value that is
// cut in the middle would be redacted in half.
func OwnPattern(id, pattern string) scan.Rule {
	return scan.Rule{ID: id, Pattern: pattern, Cap: scan.MaxCap}
}

// Score adds a scorer and gives its number in the policy.
func (d *Declaration) Score(s Scorer, classes ...Class) int {
	d.Scorers = append(d.Scorers, ScorerDecl{Scorer: s, Classes: classes})
	return len(d.Scorers) - 1
}

// Evidence adds a rule whose matches count for a scorer, in its classes.
func (d *Declaration) Evidence(r scan.Rule, scorer int, group string, weight int32, path string) {
	s := &d.Scorers[scorer]
	r.Span = r.Span || s.Scorer.Action >= Redact
	e := Effect{Entity: s.Scorer.Entity, Action: Allow, Group: s.Scorer.group(group), Weight: weight}
	d.Rules = append(d.Rules, RuleDecl{Rule: r, Effect: e, Scorer: scorer, Classes: s.Classes, Path: path})
}

// Negation adds a rule whose matches only say that what begins within them is no evidence for a scorer (scan.Negates), in its
// classes.
func (d *Declaration) Negation(r scan.Rule, scorer int) {
	r.Span, r.Negation = true, scan.Negates
	d.Rules = append(d.Rules, RuleDecl{Rule: r, Effect: Effect{Entity: d.Scorers[scorer].Scorer.Entity, Action: Allow}, Scorer: -1, Classes: d.Scorers[scorer].Classes})
}

// Fault adds something to say about a parameter.
func (d *Declaration) Fault(c FaultCode, path, message, hint string) {
	d.Faults = append(d.Faults, Fault{Code: c, Path: path, Message: message, Hint: hint})
}

// Effect is what a match of one rule means.
type Effect struct {
	Entity uint16
	Marker uint16 // index into ClassSpec.Markers, for Redact
	Policy uint8
	Action Action // of the finding; Allow: the match makes none, it only counts for a score
	Scorer uint8  // index into ClassSpec.Scorers plus 1; 0 = none
	Group  uint8  // group of the scorer
	Weight int32  // 1/1000
}

// Scorer adds up evidence that stands close together: each group counts once,
// with the largest weight of its matches whose ends are at most Within bytes in
// front of that of the match that is judged. Where the sum reaches the threshold
// there is one finding, whose span is that of the match that reached it.
type Scorer struct {
	Policy    uint8
	Action    Action
	Entity    uint16
	First     uint16 // where the scorer's numbers begin in the session's scores
	Threshold int32  // 1/1000, at least 1
	Within    int32  // bytes of text; 0: a whole channel adds up
	Groups    []string
}

func (s *Scorer) group(name string) uint8 {
	for i, g := range s.Groups {
		if g == name {
			return uint8(i)
		}
	}
	s.Groups = append(s.Groups, name)
	return uint8(len(s.Groups) - 1)
}

// numbers is how many numbers of the session's scores the scorer needs: the sum, whether it reached the threshold, and of each
// group the weight and where it was found.
func (s *Scorer) numbers() int { return 2 + 2*len(s.Groups) }

// Count takes a match that ends at offset at of the channel into account and
// tells whether the score reached the threshold with it, which happens once in a
// channel. Of a group, a weaker match counts where the strongest one is too far
// away; ends come in ascending order. scores is the session's. Allocates: never.
func (s *Scorer) Count(scores []int32, group uint8, weight int32, at int64) bool {
	n := len(s.Groups)
	own := scores[s.First:][:s.numbers()]
	sum, fired, best, where := &own[0], &own[1], own[2:2+n], own[2+n:]
	now := int32(min(at, math.MaxInt32))
	near := func(g int) bool { return s.Within == 0 || now-where[g] <= s.Within }
	if weight >= best[group] || !near(int(group)) {
		best[group], where[group] = weight, now
	}
	*sum = 0
	for g, w := range best {
		if near(g) {
			*sum += w
		}
	}
	if *fired != 0 || *sum < s.Threshold {
		return false
	}
	*fired = 1
	return true
}

// Decode says which policies of a class read which decoded pieces.
type Decode struct {
	Encoded Mask // base64, hexadecimal digits, escapes, entities
	Tags    Mask // tag characters, and what stands there otherwise than it is read: without marks, spelled
	Rot13   Mask
}

// Of gives the policies that read a token of a form.
func (d Decode) Of(form string) Mask {
	switch form {
	case "tags", "plain", "spelled":
		return d.Tags
	case "rot13":
		return d.Rot13
	}
	return d.Encoded
}

// Masked leaves the policies of m.
func (d Decode) Masked(m Mask) Decode { return Decode{d.Encoded & m, d.Tags & m, d.Rot13 & m} }

// Any tells that a policy reads decoded pieces.
func (d Decode) Any() bool { return d.Encoded|d.Tags|d.Rot13 != 0 }

// ClassSpec is all that one class of channels needs: the fused rules of all
// policies, ordered by policy, with their effects.
type ClassSpec struct {
	Rules     []scan.Rule
	Effects   []Effect // of each rule
	Scorers   []Scorer
	Markers   []Marker
	Policies  Mask   // policies with rules in this class
	Decode    Decode // policies whose rules also read decoded pieces
	Strictest Action // the strictest action that any policy can take in this class
}

// SessionBytes is what the state of one channel of the class takes in memory, the held text and what is found not counted.
func (c *ClassSpec) SessionBytes() int {
	return int(unsafe.Sizeof(struct {
		class  *ClassSpec
		scores []int32
		runner Runner
	}{})) + 4*c.Scores()
}

// Scores is how many numbers the scorers of a session need.
func (c *ClassSpec) Scores() int {
	n := 0
	for i := range c.Scorers {
		n += c.Scorers[i].numbers()
	}
	return n
}
