package upstream

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

var strategyNames = [...]string{
	"ordered", "single", "lowest_latency", "highest_throughput", "round_robin", "lowest_cost",
	"random", "weighted", "least_busy", "usage_based", "sticky",
}

func (s Strategy) String() string { return strategyNames[min(int(s), len(strategyNames)-1)] }

// ParseStrategy reads a strategy's documented name or alias; "-" is "_".
func ParseStrategy(name string) (Strategy, error) {
	n := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "-", "_")
	switch n {
	case "latency":
		n = "lowest_latency"
	case "cost":
		n = "lowest_cost"
	}
	if i := slices.Index(strategyNames[:], n); i >= 0 {
		return Strategy(i), nil
	}
	return Ordered, fmt.Errorf("parse strategy: must be one of %s; got %q", strings.Join(strategyNames[:], ", "), name)
}

// candidate is a target of one call, in the order to ask.
type candidate struct {
	s      *state
	weight float64 // 0: last
	tried  bool
}

// share is a weight as the strategies count with it.
func share(weight int) float64 {
	switch {
	case weight < 0:
		return 0
	case weight == 0:
		return 1
	}
	return float64(weight)
}

// weighs tells whether a strategy looks at weights.
func (s Strategy) weighs() bool {
	return s == Weighted || s == Sticky || s == LeastBusy || s == UsageBased
}

// group is a Group with its targets resolved.
type group struct {
	Group
	members []candidate
	turn    *turn
}

// plan gives the call's candidates in order, and what was left out. found is
// false when no target serves the model.
func (p *Pool) plan(c *Call, now time.Time) (order []candidate, rejected []Rejected, how Strategy, found bool) {
	how = p.opt.Routing.Strategy
	if g := p.groups[c.Model]; g != nil {
		for i, seen := 0, map[*group]bool{}; g != nil && !seen[g]; i++ {
			seen[g] = true
			s := p.opt.Routing.Strategy
			if g.Strategy != nil {
				s = *g.Strategy
			}
			if i == 0 {
				how = s
			}
			part := slices.Clone(g.members)
			part, rejected = p.rank(part, s, c, g.turn, now, rejected)
			for _, m := range part {
				if !slices.ContainsFunc(order, func(x candidate) bool { return x.s == m.s }) {
					order = append(order, m)
				}
			}
			g = p.groups[g.Fallback]
		}
		return order, rejected, how, true
	}
	var others []candidate
	for _, s := range p.targets {
		m := candidate{s: s, weight: share(s.Weight)}
		if s.Serves(c.Model) {
			order = append(order, m)
		} else {
			others = append(others, m)
		}
	}
	if len(order) == 0 {
		return nil, nil, how, false
	}
	order, rejected = p.rank(order, how, c, &p.turn, now, rejected)
	if how == Single {
		return order, rejected, how, true
	}
	if p.opt.Fallback.SameModel || p.opt.Fallback.Disabled {
		for _, m := range others {
			rejected = append(rejected, Rejected{Target: m.s.Target, Reason: otherModel.String()})
		}
		return order, rejected, how, true
	}
	return append(order, others...), rejected, how, true
}

// rank orders part by the strategy, slow targets last. Equal ones keep their order.
func (p *Pool) rank(part []candidate, how Strategy, c *Call, t *turn, now time.Time, rejected []Rejected) ([]candidate, []Rejected) {
	part, rejected = p.sort(part, how, c, t, now, rejected)
	if p.opt.Probe.Enabled && len(part) > 1 {
		by(part, func(m *candidate) float64 {
			switch {
			case how.weighs() && m.weight == 0:
				return 2 // a slow target before one that shall not be asked
			case m.s.slow(now):
				return 1
			}
			return 0
		})
	}
	return part, rejected
}

func (p *Pool) sort(part []candidate, how Strategy, c *Call, t *turn, now time.Time, rejected []Rejected) ([]candidate, []Rejected) {
	if how == LowestCost && p.opt.Routing.MaxCost > 0 {
		part = slices.DeleteFunc(part, func(m candidate) bool {
			dear := m.s.Pricing.InputPer1K+m.s.Pricing.OutputPer1K > p.opt.Routing.MaxCost
			if dear {
				rejected = append(rejected, Rejected{Target: m.s.Target, Reason: tooDear.String()})
			}
			return dear
		})
	}
	if len(part) < 2 {
		return part, rejected
	}
	switch how {
	case Single:
		part = part[:1]
	case RoundRobin:
		// Only those that may be asked take turns: else the one behind a target that is
		// out would get its share, too.
		n := 0
		by(part, func(m *candidate) float64 {
			if m.s.out(now) {
				return 1
			}
			n++
			return 0
		})
		if n > 1 {
			k := int((t.next.Add(1) - 1) % uint64(n))
			part = slices.Concat(part[k:n], part[:k], part[n:])
		}
	case Random:
		p.shuffle(part, func(*candidate) float64 { return 1 })
	case Weighted:
		p.shuffle(part, func(m *candidate) float64 { return m.weight })
	case Sticky:
		if c.Sticky != "" {
			p.stick(part, c.Sticky)
		}
	case LowestCost:
		by(part, func(m *candidate) float64 {
			sum := m.s.Pricing.InputPer1K + m.s.Pricing.OutputPer1K
			if sum == 0 && !m.s.Pricing.Free {
				return math.Inf(1) // no price is known
			}
			return float64(sum)
		})
	case LeastBusy, UsageBased, LowestLatency, HighestThroughput:
		by(part, func(m *candidate) float64 { return m.s.score(how, &p.opt.Routing, now, m.weight, kindOf(c.Stream)) })
	}
	return part, rejected
}

// by sorts part by what score gives, lowest first; score is called once for each.
func by(part []candidate, score func(*candidate) float64) {
	type scored struct {
		c     candidate
		score float64
	}
	all := make([]scored, len(part))
	for i := range part {
		all[i] = scored{part[i], score(&part[i])}
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	for i := range all {
		part[i] = all[i].c
	}
}

// unsampled makes targets without enough samples come before all others, those
// with the fewest first, until they have them.
const unsampled = -1e12

// score is the figure that a strategy ranks by, lower is better.
func (s *state) score(how Strategy, r *Routing, now time.Time, weight float64, kind int) float64 {
	if how.weighs() && weight == 0 {
		return math.Inf(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if how == LeastBusy {
		return float64(s.inflight) / weight
	}
	f := s.win.sum(now)
	switch how {
	case UsageBased:
		used := float64(f.prompt + f.complete)
		if s.Limits.TokensPerMinute > 0 {
			return used / float64(s.Limits.TokensPerMinute)
		}
		return used / weight / 1e6
	case LowestLatency:
		if n := f.firsts[kind] + int64(s.inflight); f.firsts[kind] < int64(r.MinSamples) {
			if n >= int64(r.MinSamples) {
				return math.MaxFloat64 / 2 // enough are on their way
			}
			return unsampled + float64(n)
		}
		mean := f.firstSum[kind] / time.Duration(f.firsts[kind])
		if r.MaxLatency > 0 && mean > r.MaxLatency {
			return 1e9 + mean.Seconds()
		}
		return mean.Seconds()
	case HighestThroughput:
		got := f.firsts[wholeKind] + f.firsts[streamKind]
		if f.writing <= 0 || got < int64(r.MinSamples) {
			if n := got + int64(s.inflight); n < int64(r.MinSamples) {
				return unsampled + float64(n)
			}
			return 0
		}
		return -float64(f.tokens) / f.writing.Seconds()
	}
	return 0
}

// shuffle orders part at random; a target comes first with a chance in
// proportion to its weight (Efraimidis and Spirakis, 2006).
func (p *Pool) shuffle(part []candidate, weight func(*candidate) float64) {
	by(part, func(m *candidate) float64 {
		return ahead(1-p.random(), weight(m))
	})
}

// stick orders part by rendezvous hashing: a key keeps its target while that is
// there, and only its own keys move when a target leaves.
func (p *Pool) stick(part []candidate, key string) {
	by(part, func(m *candidate) float64 {
		h := fnv(m.s.ID + "\x00" + key)
		u := (float64(h>>11) + 0.5) / (1 << 53)
		return ahead(u, m.weight)
	})
}

// ahead is the place of a target with a weight and u, evenly from (0, 1]: lower
// is earlier, nothing is after a target without weight.
func ahead(u, weight float64) float64 {
	if weight == 0 {
		return math.Inf(1)
	}
	return -math.Log(u) / weight
}

// fnv is FNV-1a with a final mix (MurmurHash3's), so that similar keys spread.
// It is the same in each process: gateways side by side agree.
func fnv(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// random gives a number in [0, 1).
func (p *Pool) random() float64 {
	if p.rng == nil {
		return rand.Float64()
	}
	p.rngMu.Lock()
	defer p.rngMu.Unlock()
	return p.rng.Float64()
}

func newRand(seed uint64) *rand.Rand {
	if seed == 0 {
		return nil
	}
	return rand.New(rand.NewPCG(seed, seed))
}
