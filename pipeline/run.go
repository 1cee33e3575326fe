package pipeline

import (
	"cmp"
	"slices"

	"github.com/keeptrusts/kt/pipeline/scan"
)

// Runner feeds one channel through a class's tables. It is the part of a
// session that interpreted and compiled packs share; the sink is the part that
// differs: what the matches mean. The zero Runner is ready for Start.
type Runner struct {
	state   scan.State
	fed     int64
	over    bool
	decode  Decode
	dec     *decoded // only of classes that read decoded pieces
	negated negations
	matches scan.Matches
}

// Sink gets the matches of a channel, in order. text is what was matched, nil
// where the rule does not hold its text; valid during the call only.
type Sink interface {
	Match(m scan.Match, text []byte, out *Findings)
}

// Start makes r ready for a channel. decode are the policies that read decoded
// pieces as well (ClassSpec.Decode). Allocates: only at the first call.
func (r *Runner) Start(mask Mask, decode Decode) {
	r.state.Reset(uint64(mask))
	r.fed, r.over, r.negated = 0, false, r.negated[:0]
	r.matches.Clear()
	r.decode = decode.Masked(mask)
	if r.decode.Any() && r.dec == nil {
		r.dec = new(decoded)
	}
}

// Feed implements Session.Feed. strictest is what to do when the engine ran
// out of a bounded resource. Where decoded pieces are read, nothing is released
// and nothing found before end: the matches of all views are then judged in the
// order of the text.
//
// Allocates: never, but for growth of out and of the decoded pieces. win: valid during the call only.
func (r *Runner) Feed(t *scan.Tables, win []byte, n int, end bool, strictest Action, s Sink, out *Findings) (keep int) {
	decoded := r.decode.Any()
	if decoded {
		if !end {
			return 0
		}
		n = 0 // nothing was scanned or released before
		r.dec.read(t, win, r.decode)
	}
	base := r.fed - int64(n)
	for {
		fed, k := t.Feed(&r.state, win, n, end, &r.matches)
		n += fed
		r.fed += int64(fed)
		for i := range r.matches.Len() {
			m := r.matches.At(i)
			if r.negated.drop(t, m) {
				continue
			}
			if decoded {
				r.dec.before(&m, win, s, out)
			}
			s.Match(m, span(win, base, m), out)
		}
		full, over := r.matches.Full(), r.matches.Overflow
		r.matches.Clear()
		if over {
			r.overflow(base, int64(len(win)), strictest, out)
		}
		if !full {
			keep = k
			break
		}
	}
	if decoded {
		r.dec.before(nil, win, s, out)
		if r.dec.over {
			r.overflow(base, int64(len(win)), strictest, out)
		}
	}
	return keep
}

func span(win []byte, base int64, m scan.Match) []byte {
	if m.Start < base || m.End > base+int64(len(win)) {
		return nil
	}
	return win[m.Start-base : m.End-base]
}

// negations are the last matches of rules that negate, one for each policy that has any: "do not ignore" in front of
// "the rules" says the contrary of what "ignore the rules" does.
type negations []negation

type negation struct {
	policy     uint8
	start, end int64
}

// drop tells whether m is not to be judged: it negates, or is negated. Matches come in order, those of one reading of a
// text. Allocates: only for the first matches of a policy.
func (l *negations) drop(t *scan.Tables, m scan.Match) bool {
	policy, n := t.Negation(m.Rule)
	if n == scan.Unnegated {
		return false
	}
	i := slices.IndexFunc(*l, func(x negation) bool { return x.policy == policy })
	if n == scan.Negatable {
		return i >= 0 && (*l)[i].start < m.Start && m.Start < (*l)[i].end
	}
	if i < 0 {
		*l = append(*l, negation{policy, m.Start, m.End})
	} else {
		(*l)[i] = negation{policy, m.Start, m.End}
	}
	return true
}

// overflow takes the strictest action once, over all text at hand.
func (r *Runner) overflow(base, n int64, strictest Action, out *Findings) {
	if r.over {
		return
	}
	r.over = true
	if strictest == Redact { // there is no span to redact
		strictest = Block
	}
	out.Add(Finding{Start: base, End: base + n, Rule: NoRule, Entity: ErrorEntity, Action: strictest}, strictest)
}

// maxDecodedMatches bounds the matches in the decoded pieces of one channel;
// past it the chain's strictest action is taken.
const maxDecodedMatches = 1 << 14

// decodedApart is how many bytes of a decoded piece are between two matches of a rule that count.
const decodedApart = 256

// decoded holds the matches in the decoded pieces of a channel. Their spans
// begin where the encoded pieces do and are as long as what was decoded up to
// the end of the match: evidence is as far apart as it is read.
type decoded struct {
	decoder scan.Decoder
	state   scan.State
	matches scan.Matches
	list    []scan.Match
	last    []int64 // of each rule: where its last match in this piece ends, 0 if it has none
	touched []uint32
	negated negations // in this piece
	next    int
	over    bool
}

// read collects the matches of the policies in decode in all decoded pieces of text, in the order of the text.
func (d *decoded) read(t *scan.Tables, text []byte, decode Decode) {
	d.list, d.next, d.over = d.list[:0], 0, false
	if n := t.NumRules(); len(d.last) < n {
		d.last = make([]int64, n)
	}
	d.decoder.Tags, d.decoder.Rot13 = decode.Tags != 0, decode.Rot13 != 0
	d.decoder.Reset(text)
	for {
		tok, ok := d.decoder.Next()
		if !ok {
			break
		}
		mask := decode.Of(tok.Form)
		if mask == 0 {
			continue
		}
		d.state.Reset(uint64(mask))
		d.negated = d.negated[:0]
		d.matches.Clear()
		for n, more := 0, true; more; {
			fed, _ := t.Feed(&d.state, tok.Text, n, true, &d.matches)
			n += fed
			for i := range d.matches.Len() {
				if m := d.matches.At(i); !d.negated.drop(t, m) {
					d.add(&tok, m)
				}
			}
			more = d.matches.Full()
			d.over = d.over || d.matches.Overflow
			d.matches.Clear()
		}
		for _, r := range d.touched {
			d.last[r] = 0
		}
		d.touched = d.touched[:0]
	}
	d.over = d.over || d.decoder.Cut() && decode.Encoded != 0
	slices.SortFunc(d.list, compareMatches) // tokens of different forms may overlap
}

// add adds a match in a piece, if its rule has none that ends close in front of it.
func (d *decoded) add(tok *scan.Token, m scan.Match) {
	if before := d.last[m.Rule]; before > 0 && m.End-before < decodedApart {
		return
	} else if before == 0 {
		d.touched = append(d.touched, m.Rule)
	}
	d.last[m.Rule] = m.End
	if len(d.list) >= maxDecodedMatches {
		d.over = true
		return
	}
	d.list = append(d.list, scan.Match{Start: int64(tok.Start), End: min(int64(tok.Start)+m.End, int64(tok.End)), Rule: m.Rule})
}

// before gives the sink all collected matches that come before m; nil = all.
func (d *decoded) before(m *scan.Match, win []byte, s Sink, out *Findings) {
	for d.next < len(d.list) && (m == nil || matchLess(&d.list[d.next], m)) {
		x := d.list[d.next]
		d.next++
		s.Match(x, win[x.Start:x.End], out)
	}
}

func matchLess(a, b *scan.Match) bool { return compareMatches(*a, *b) < 0 }

func compareMatches(a, b scan.Match) int {
	return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rule, b.Rule))
}

// Find adds a plain finding. Allocates: never, but for out's growth.
func (e *Effect) Find(m scan.Match, strictest Action, out *Findings) {
	out.Add(Finding{Start: m.Start, End: m.End, Rule: m.Rule, Entity: e.Entity, Policy: e.Policy, Action: e.Action}, strictest)
}

// Redact adds a finding that replaces the match. Allocates: never, but for
// out's growth. text: valid during the call only.
func (e *Effect) Redact(m scan.Match, text []byte, mk *Marker, strictest Action, out *Findings) {
	out.AddRedaction(Finding{Start: m.Start, End: m.End, Rule: m.Rule, Entity: e.Entity, Policy: e.Policy, Action: Redact}, strictest, mk, text)
}

// Weigh counts the match for a scorer and adds the scorer's finding where the
// score reaches the threshold. Allocates: never, but for out's growth.
func (e *Effect) Weigh(m scan.Match, s *Scorer, scores []int32, strictest Action, out *Findings) {
	if s.Count(scores, e.Group, e.Weight, m.End) {
		out.Add(Finding{Start: m.Start, End: m.End, Rule: m.Rule, Score: scores[s.First], Entity: s.Entity, Policy: s.Policy, Action: s.Action}, strictest)
	}
}

// NoSession is the session of a channel that no policy looks at.
type NoSession struct{}

// Feed implements Session: everything is clear. Allocates: never. win: valid during the call only.
func (NoSession) Feed(win []byte, _ int, _ bool, _ *Findings) (keep int) { return len(win) }

// Close implements Session.
func (NoSession) Close() {}
