package pipeline

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
	channels int32
}

// Begin starts an exchange: it evaluates the conditions and runs the gates.
// e may be reused; its memory is kept.
func (e *Exchange) Begin(c Chain, f *Facts, scratch *Findings) {
	*e = Exchange{Chain: c, info: c.Info(), counts: e.counts[:0]}
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
	e.count(f, c.Phase())
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

func (e *Exchange) count(f *Finding, p Phase) {
	for i := range e.counts {
		c := &e.counts[i]
		if c.Entity == f.Entity && c.Phase == p && c.Action == f.Action {
			c.N++
			return
		}
	}
	e.counts = append(e.counts, Count{Entity: f.Entity, Phase: p, Action: f.Action, N: 1})
}

// Terminal tells whether the exchange is decided by a block or an escalation.
func (e *Exchange) Terminal() bool { return e.terminal }

// Counts lists what was found, by entity, phase and action. Valid until Begin.
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
