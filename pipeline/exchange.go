package pipeline

import (
	"cmp"
	"slices"
)

// Verdict is the outcome of an exchange as events and clients see it.
type Verdict string

// The documented verdicts.
const (
	VerdictAllow    Verdict = "allow"
	VerdictRedact   Verdict = "redact"
	VerdictEscalate Verdict = "escalate"
	VerdictBlock    Verdict = "block"
)

// Found is a finding with the channel it stands in.
type Found struct {
	Finding
	Class   Class
	Channel int32 // number of the channel in the exchange, in order of first appearance
}

// Decision is what was decided for an exchange, so far or at its end.
type Decision struct {
	Verdict Verdict
	Action  Action
	Phase   Phase  // of the finding that decided
	Policy  int    // position in the chain; -1 when nothing was found
	Kind    string // its kind; empty when nothing was found
	Reason  string // reason code; all_policies_passed when nothing was found
	Entity  string
	Message string // the policy's own text for the client, may be empty
	At      Found  // the finding that decided; zero when nothing was found
}

// Count is how often an entity was found in one phase.
type Count struct {
	Entity uint16
	Phase  Phase
	Action Action
	N      int
}

// Exchange is one request through a chain: its facts, the mask of active
// policies, and what was found. It belongs to one goroutine at a time.
type Exchange struct {
	Chain Chain
	Mask  Mask
	// Instructions is the mask of channels that hold the application's own
	// instructions: Mask without the policies that do not judge those.
	Instructions Mask

	info     *Info
	terminal bool
	first    Found // the deciding finding; valid when have
	have     bool
	counts   []Count
	spans    []counted
	heads    []int32 // of each channel: its counted span with the largest end, as an index into spans plus 1; 0 for none
	channels int32
}

// counted is a span of a channel that counts once: findings of one policy with
// one action that overlap. It counts under the entity of the one that starts
// first, then the longest, then by rule: the one whose replacement an edit shows.
type counted struct {
	start, end int64
	first      int64 // end of the finding whose entity counts
	next       int32 // the span of the channel with the next smaller end, as in heads
	rule       uint32
	entity     uint16
	policy     uint8
	action     Action
}

// keptSpans is how many counted spans an exchange keeps room for.
const keptSpans = 4096

// Begin starts an exchange: it evaluates the conditions and runs the gates.
// e may be reused; its memory is kept.
func (e *Exchange) Begin(c Chain, f *Facts, scratch *Findings) {
	if cap(e.spans) > keptSpans {
		e.spans = nil
	}
	if cap(e.heads) > keptSpans {
		e.heads = nil
	}
	*e = Exchange{Chain: c, info: c.Info(), counts: e.counts[:0], spans: e.spans[:0], heads: e.heads[:0]}
	e.Mask = MaskOf(e.info, f)
	e.Instructions = InstructionsMask(e.info, e.Mask)
	if g, ok := c.(Gater); ok {
		scratch.Reset()
		g.Gate(f, e.Mask, scratch)
		for i := range scratch.List {
			e.Record(-1, InputText, &scratch.List[i])
		}
	}
}

// Info is the chain's description.
func (e *Exchange) Info() *Info { return e.info }

// Channel numbers a new channel of the exchange.
func (e *Exchange) Channel() int32 {
	e.channels++
	return e.channels - 1
}

// Record takes one finding of a channel into account. Findings of one channel
// come in order; between channels the order of the calls is the order of the
// text (of frames, in a stream). It tells whether the finding is the terminal
// one that decides the exchange.
func (e *Exchange) Record(channel int32, c Class, f *Finding) (decides bool) {
	e.count(channel, f, c.Phase())
	if e.terminal {
		return false
	}
	switch {
	case f.Action.Terminal():
		e.terminal = true
	case e.have && f.Action <= e.first.Action:
		return false
	}
	e.first, e.have = Found{Finding: *f, Class: c, Channel: channel}, true
	return e.terminal
}

// count counts a finding, one that overlaps others of its policy together with
// them. Findings that only warn or log have no exact start and count one by one.
// The order in which the findings of a channel come makes no difference.
func (e *Exchange) count(channel int32, f *Finding, p Phase) {
	if channel < 0 || f.Rule == NoRule || f.Action < Redact {
		e.add(f.Entity, p, f.Action, 1)
		return
	}
	for int(channel) >= len(e.heads) {
		e.heads = append(e.heads, 0)
	}
	n := counted{start: f.Start, end: f.End, first: f.End, rule: f.Rule, entity: f.Entity, policy: f.Policy, action: f.Action}
	slot := int32(0)
	for link := &e.heads[channel]; *link != 0; {
		s := &e.spans[*link-1]
		if s.end <= f.Start {
			break
		}
		if s.policy != n.policy || s.action != n.action || s.start >= f.End {
			link = &s.next
			continue
		}
		e.add(s.entity, p, s.action, -1)
		n.end = max(n.end, s.end)
		if cmp.Or(cmp.Compare(s.start, n.start), cmp.Compare(n.first, s.first), cmp.Compare(s.rule, n.rule)) <= 0 {
			n.start, n.first, n.rule, n.entity = s.start, s.first, s.rule, s.entity
		}
		slot, *link = *link, s.next
	}
	if slot == 0 {
		e.spans = append(e.spans, counted{})
		slot = int32(len(e.spans))
	}
	link := &e.heads[channel]
	for *link != 0 && e.spans[*link-1].end > n.end {
		link = &e.spans[*link-1].next
	}
	n.next, *link = *link, slot
	e.spans[slot-1] = n
	e.add(n.entity, p, n.action, 1)
}

// add adds n to the count of an entity; one that comes to nothing is dropped.
func (e *Exchange) add(entity uint16, p Phase, a Action, n int) {
	for i := range e.counts {
		c := &e.counts[i]
		if c.Entity == entity && c.Phase == p && c.Action == a {
			if c.N += n; c.N == 0 {
				e.counts = slices.Delete(e.counts, i, i+1)
			}
			return
		}
	}
	e.counts = append(e.counts, Count{Entity: entity, Phase: p, Action: a, N: n})
}

// Terminal tells whether the exchange is decided by a block or an escalation.
func (e *Exchange) Terminal() bool { return e.terminal }

// Counts lists what was found, by entity, phase and action. Findings of one
// policy that overlap count once. Valid until the next finding.
func (e *Exchange) Counts() []Count { return e.counts }

// Decide gives the decision over everything recorded so far: the first
// terminal finding, else the first finding with the strictest action.
func (e *Exchange) Decide() Decision {
	if !e.have {
		return Decision{Verdict: VerdictAllow, Policy: -1, Reason: "all_policies_passed"}
	}
	f := e.first
	ent := e.info.Entities[f.Entity]
	d := Decision{
		Verdict: VerdictAllow, Action: f.Action, Phase: f.Class.Phase(),
		Policy: int(f.Policy), Reason: ent.Reason, Entity: ent.Name, At: f,
	}
	if int(f.Policy) < len(e.info.Policies) {
		d.Kind = e.info.Policies[f.Policy].Kind
		d.Message = e.info.Policies[f.Policy].Message
	}
	switch f.Action {
	case Redact:
		d.Verdict = VerdictRedact
	case Escalate:
		d.Verdict = VerdictEscalate
	case Block:
		d.Verdict = VerdictBlock
	}
	return d
}

// Feed calls s.Feed behind a guard: a panic in a policy becomes a block with
// reason policy_error at the start of the unreleased text, and the text is
// held from there (fail closed). failOpen turns that into a logged finding
// instead (--fail-mode allow). The panic's value is dropped: it could hold text.
func Feed(s Session, win []byte, n int, end bool, base int64, failOpen bool, out *Findings) (keep int) {
	before := len(out.List)
	defer func() {
		if recover() == nil {
			return
		}
		out.List = out.List[:before]
		f := Finding{Start: base, End: base + int64(len(win)), Entity: ErrorEntity, Rule: NoRule, Action: Block}
		keep = 0
		if failOpen {
			f.Action, keep = Warn, len(win)
		}
		out.add(f, f.Action)
	}()
	return s.Feed(win, n, end, out)
}
