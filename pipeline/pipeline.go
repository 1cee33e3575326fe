// Package pipeline is the contract between policies and everything that runs
// them: phases, classes of text, findings, the decision, edits, and the two
// interfaces (Chain, Session) behind which a pack runs interpreted or compiled.
//
// A Chain is immutable and shared by all requests. A Session holds the state
// of one channel (one logical text) and belongs to one goroutine. An Exchange
// is one request. Whole text and stream take the same path: a channel is fed
// in pieces, and where it was cut never changes what is found (invariant I2).
package pipeline

import "fmt"

// Phase is the moment at which a policy looks.
type Phase uint8

// The phases, in the order of an exchange.
const (
	Input  Phase = iota // the request's text
	Tool                // tool definitions, results and calls
	Output              // the answer's text
)

func (p Phase) String() string { return [...]string{"input", "tool", "output"}[p] }

// Class is a kind of channel. Each class has one fused table set; a tool class
// runs the kinds of its direction plus the tool kinds.
type Class uint8

// The four classes of channel.
const (
	InputText  Class = iota // messages and every other string of a request
	InputTool               // tool definitions and tool results in a request
	OutputText              // content, refusal, reasoning of an answer
	OutputTool              // an answer's tool-call names and arguments
	NumClasses
)

func (c Class) String() string {
	return [...]string{"input_text", "input_tool", "output_text", "output_tool"}[c]
}

// Phase gives the phase that a finding in a channel of this class belongs to.
func (c Class) Phase() Phase {
	switch c {
	case InputText:
		return Input
	case OutputText:
		return Output
	}
	return Tool
}

// Action is what configuration asks for. The order is that of strictness.
type Action uint8

// Actions, from the mildest to the strictest.
const (
	Allow Action = iota
	Log
	Warn
	Redact
	Escalate
	Block
)

var actionNames = [...]string{"allow", "log", "warn", "redact", "escalate", "block"}

func (a Action) String() string { return actionNames[a] }

// Terminal tells that the action ends the exchange.
func (a Action) Terminal() bool { return a >= Escalate }

// ParseAction reads an action by its configuration name.
func ParseAction(s string) (Action, error) {
	for i, n := range actionNames {
		if n == s {
			return Action(i), nil
		}
	}
	return 0, fmt.Errorf("parse action %q: want one of allow, log, warn, redact, escalate, block", s)
}

// Mask is the set of active policies of one request, bit i for policy i of the
// chain. A chain has at most MaxPolicies policies.
type Mask uint64

// MaxPolicies is the length limit of a chain: a Mask has one bit for each.
const MaxPolicies = 64

// Has tells whether policy i is active.
func (m Mask) Has(i int) bool { return m>>uint(i)&1 == 1 }

// MaxFindings bounds the findings of one channel. Past it the chain's
// strictest action is taken and the channel is counted as over.
const MaxFindings = 1024

// Finding is one thing that a policy found in a channel.
type Finding struct {
	Start, End int64  // half-open byte span of the channel's decoded text; for rules without Span, Start is a lower bound
	Rule       uint32 // the class's rule number; NoRule for gates and limits
	Score      int32  // the score reached, in 1/1000; 0 for plain rules
	Entity     uint16 // index into Info.Entities
	Policy     uint8  // position in the chain
	Action     Action
	replStart  int32 // span of the replacement in Findings.repl, when Action is Redact
	replEnd    int32
}

// NoRule is the rule number of a finding that no scan rule made.
const NoRule = ^uint32(0)

// Less is the order of findings in one channel: by end, then stricter action,
// then start, then chain position.
func (f *Finding) Less(g *Finding) bool {
	if f.End != g.End {
		return f.End < g.End
	}
	if f.Action != g.Action {
		return f.Action > g.Action
	}
	if f.Start != g.Start {
		return f.Start < g.Start
	}
	return f.Policy < g.Policy
}

// Findings collects what the sessions of one channel found, in order, with the
// replacement texts of redactions. Reset makes it ready for another channel;
// its memory is kept.
type Findings struct {
	List []Finding
	Over bool // MaxFindings was reached; a finding with Entity OverEntity was appended in its place
	repl []byte
}

// Reset empties f. Allocates: never.
func (f *Findings) Reset() {
	f.List = f.List[:0]
	f.repl = f.repl[:0]
	f.Over = false
}

// Replacement is the text that takes the place of finding i's span. Valid
// until Reset.
func (f *Findings) Replacement(i int) []byte {
	g := &f.List[i]
	return f.repl[g.replStart:g.replEnd]
}

// Add appends a finding that edits nothing. over is what to do when the
// channel has MaxFindings already.
func (f *Findings) Add(g Finding, over Action) { f.add(g, over) }

// AddRedaction appends a finding whose span is replaced by what render appends.
func (f *Findings) AddRedaction(g Finding, over Action, m *Marker, value []byte) {
	if f.Over {
		return
	}
	g.replStart = int32(len(f.repl))
	f.repl = m.Append(f.repl, value)
	g.replEnd = int32(len(f.repl))
	f.add(g, over)
}

func (f *Findings) add(g Finding, over Action) {
	if f.Over {
		return
	}
	if len(f.List) >= MaxFindings {
		f.Over = true
		g.Action, g.Entity, g.Rule = over, OverEntity, NoRule
		g.replStart, g.replEnd = 0, 0
		if over == Redact { // a redaction that cannot be listed is a block
			g.Action = Block
		}
	}
	// Matches come in the order (end, start, rule); Less also looks at the
	// action, so a newcomer may belong before findings of the same end.
	i := len(f.List)
	f.List = append(f.List, g)
	for i > 0 && g.Less(&f.List[i-1]) {
		f.List[i] = f.List[i-1]
		i--
	}
	f.List[i] = g
}

// Entity numbers that every Info has.
const (
	OverEntity  = 0 // too many findings in one channel
	ErrorEntity = 1 // a policy failed (panic, limit): reason policy_error
	SplitEntity = 2 // a match that reaches back over a channel switch: reason split_match
	HoldEntity  = 3 // more held than the window may hold: reason window_overflow
	FirstEntity = 4 // the first entity of a policy
)

// EntityInfo names one thing that a chain can find.
type EntityInfo struct {
	Name   string // EMAIL, US_SSN, instruction_override, ...
	Reason string // stable reason code: <kind>.<what>
	Policy uint8  // position in the chain
	Hidden bool   // events and records say nothing of type and count (redaction.include_metadata: false)
}

// FixedEntities are the entities below FirstEntity, for whoever builds an Info.
func FixedEntities() []EntityInfo {
	return []EntityInfo{
		{Name: "finding_limit", Reason: "finding_limit"},
		{Name: "policy_error", Reason: "policy_error"},
		{Name: "split_match", Reason: "split_match"},
		{Name: "window_overflow", Reason: "window_overflow"},
	}
}

// PolicyInfo describes one policy of a chain.
type PolicyInfo struct {
	Kind     string
	Phases   []Phase // where it looks
	File     string  // where it is configured; Line is 1-based, 0 when it stands on defaults alone
	Line     int
	Action   Action // the strictest action that it can take
	Message  string // what a blocked client is told; empty = the default text
	LogLevel string // of the line that a finding gives: debug, info, warn, error; empty = info
	When     *When  // nil = always
	Notes    []string

	// SkipsInstructions tells that it does not judge the application's own
	// instructions: system and developer messages. See Exchange.Instructions.
	SkipsInstructions bool
}

// Requirements is what the runtime must honour for the chain (the require facet).
type Requirements struct {
	AuditRetentionDays int  // whole days; 0 = no audit-logger in the chain
	AuditAll           bool // record every request, not only those acted on
	AuditImmutable     bool // files of past days are made read-only
	AuditHIPAA         bool // time, user and data categories in each record
}

// Info describes a chain. It never changes.
type Info struct {
	Pack, Version string
	Digest        string // plan digest: hex SHA-256 over chain, parameters, expanded rules and engine format
	Mode          string // "compiled" or "interp"
	Policies      []PolicyInfo
	Entities      []EntityInfo
	Require       Requirements
	Strictest     [NumClasses]Action // the strictest action any policy of the class can take
	Escapes       [NumClasses]Mask   // policies of the class that read escapes themselves, wherever they stand in the text
	StateBytes    [NumClasses]int    // session size per channel, without held text
	LongestHold   [NumClasses]int    // bytes that a session may hold back at the most
}

// Chain is a pack ready to run. It is immutable and safe for concurrent use.
type Chain interface {
	// Info describes the chain; callers must not change it.
	Info() *Info
	// Scans tells whether any active policy looks at channels of class c.
	// Where none does, text passes without a session.
	Scans(c Class, m Mask) bool
	// Session gives a session for one channel, ready to be fed.
	Session(c Class, m Mask) Session
}

// Gater is implemented by chains that have policies with a gate facet.
type Gater interface {
	// Gate appends the findings of all active gate policies on f; their span is empty, at 0.
	Gate(f *Facts, m Mask, out *Findings)
}

// Session is the state of one channel.
type Session interface {
	// Feed scans one more piece. win is the channel's text from its first
	// unreleased byte; win[:n] was fed before, win[n:] is new; end tells that
	// no more text comes. Findings are appended to out, in order. win[:keep]
	// can no longer become part of an edit or a block; win[keep:] may. keep
	// never shrinks the released part: it counts from the start of win.
	// Allocates: never, but for out's growth. win: valid during the call only.
	Feed(win []byte, n int, end bool, out *Findings) (keep int)
	// Close gives the session back; it must not be used afterwards.
	Close()
}

// Facts are what conditions and gates may ask about a request.
type Facts struct {
	Model        string
	Path         string
	Stream       bool
	BodyBytes    int
	Messages     int
	Tools        []string
	User, Team   string
	Agent, Role  string
	Conversation string
	Header       func(name string) string // case-insensitive; nil = no headers
}

// When is the condition of a chain entry; all fields that are set must hold.
type When struct {
	PathPrefix string
	Headers    []HeaderIs // all must be equal
	Models     []string   // any may match
}

// HeaderIs asks for a header with exactly this value.
type HeaderIs struct{ Name, Value string }

// Holds evaluates w for a request. A nil When always holds.
func (w *When) Holds(f *Facts) bool {
	if w == nil {
		return true
	}
	if w.PathPrefix != "" && (len(f.Path) < len(w.PathPrefix) || f.Path[:len(w.PathPrefix)] != w.PathPrefix) {
		return false
	}
	for _, h := range w.Headers {
		if f.Header == nil || f.Header(h.Name) != h.Value {
			return false
		}
	}
	if len(w.Models) == 0 {
		return true
	}
	for _, m := range w.Models {
		if m == f.Model {
			return true
		}
	}
	return false
}

// InstructionsMask gives the policies of m that judge the application's own
// instructions (system and developer messages) as they judge other text.
func InstructionsMask(i *Info, m Mask) Mask {
	for p := range i.Policies {
		if i.Policies[p].SkipsInstructions {
			m &^= 1 << uint(p)
		}
	}
	return m
}

// MaskOf evaluates the conditions of every policy, once per request.
func MaskOf(i *Info, f *Facts) Mask {
	var m Mask
	for p := range i.Policies {
		if i.Policies[p].When.Holds(f) {
			m |= 1 << uint(p)
		}
	}
	return m
}
