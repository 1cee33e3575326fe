// Package interp runs a plan without generated code: the tables are built when
// the gateway starts or reloads, and what matches mean is looked up by rule.
//
// Cost per chunk: the engine's and one call per match; no allocation, no
// locks, no clocks, no logging, no maps.
package interp

import (
	"sync"
	"unsafe"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/plan"
	"github.com/keeptrusts/kt/pipeline/scan"
)

type chain struct {
	info    pipeline.Info
	classes [pipeline.NumClasses]*class
}

type class struct {
	tables *scan.Tables
	spec   *pipeline.ClassSpec
	scores int
	pool   sync.Pool
}

// New compiles the rules of p and gives the chain.
func New(p *plan.Plan) (pipeline.Chain, error) {
	e, diags := p.Engine()
	if err := diags.Err(); err != nil {
		return nil, err
	}
	return NewWith(p, e), nil
}

// NewWith gives the chain of p with tables that are there already.
func NewWith(p *plan.Plan, e *plan.Engine) pipeline.Chain {
	ch := &chain{info: p.Info}
	ch.info.Mode = "interp"
	made := map[*plan.Class]*class{}
	for c, cl := range p.Classes {
		if cl == nil {
			continue
		}
		k := made[cl]
		if k == nil {
			k = &class{tables: e.Tables[c], spec: &cl.Spec, scores: cl.Spec.Scores()}
			k.pool.New = func() any { return &session{class: k, scores: make([]int32, k.scores)} }
			made[cl] = k
		}
		ch.classes[c] = k
		ch.info.StateBytes[c] = int(unsafe.Sizeof(session{})) + 4*k.scores
		ch.info.LongestHold[c] = e.Reports[c].LongHold
	}
	return ch
}

// Info implements pipeline.Chain.
func (ch *chain) Info() *pipeline.Info { return &ch.info }

// Scans implements pipeline.Chain. Allocates: never.
func (ch *chain) Scans(c pipeline.Class, m pipeline.Mask) bool {
	k := ch.classes[c]
	return k != nil && k.spec.Policies&m != 0
}

// Session implements pipeline.Chain. A class that no policy looks at gives a
// session that finds nothing.
func (ch *chain) Session(c pipeline.Class, m pipeline.Mask) pipeline.Session {
	k := ch.classes[c]
	if k == nil {
		return pipeline.NoSession{}
	}
	s := k.pool.Get().(*session)
	s.Restart(m)
	return s
}

// session is the state of one channel.
type session struct {
	class  *class
	scores []int32
	runner pipeline.Runner
}

// Restart makes s ready for another channel. Allocates: never.
func (s *session) Restart(m pipeline.Mask) {
	s.runner.Start(m, s.class.spec.Decode)
	clear(s.scores)
}

// Feed implements pipeline.Session. Allocates: never, but for out's growth.
// win: valid during the call only.
func (s *session) Feed(win []byte, n int, end bool, out *pipeline.Findings) (keep int) {
	return s.runner.Feed(s.class.tables, win, n, end, s.class.spec.Strictest, s, out)
}

// Close implements pipeline.Session.
func (s *session) Close() { s.class.pool.Put(s) }

// Match implements pipeline.Sink. text: valid during the call only.
func (s *session) Match(m scan.Match, text []byte, out *pipeline.Findings) {
	spec := s.class.spec
	e := &spec.Effects[m.Rule]
	switch {
	case e.Scorer != 0:
		e.Weigh(m, &spec.Scorers[e.Scorer-1], s.scores, spec.Strictest, out)
	case e.Action == pipeline.Redact:
		e.Redact(m, text, &spec.Markers[e.Marker], spec.Strictest, out)
	case e.Action != pipeline.Allow:
		e.Find(m, spec.Strictest, out)
	}
}
