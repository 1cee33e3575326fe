package stream

import (
	"bytes"
	"slices"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// Scanner scans whole requests and answers. It is reusable memory and belongs
// to one goroutine at a time; the zero value is ready.
type Scanner struct {
	core
	once   channel
	sp     splices
	parts  []dialect.Piece // of the present text
	joined []byte
	scored []uint16 // entities whose score a part of the current group reached
}

// Result is what a scan of a whole body gave.
type Result struct {
	Body    []byte // what goes on: the very slice that was scanned when nothing is changed; nil when blocked
	Blocked bool
	Edits   int          // places changed, the model among them
	Model   dialect.Span // of a request: where the content of "model" is in Body
	Report  Report
	own     *buf.Buffer
}

// Close gives the body's memory back; Body is dead afterwards.
func (r *Result) Close() {
	buf.Put(r.own)
	*r = Result{}
}

// ScanRequest scans every text of a request. model, when not empty, replaces
// the value of "model". Each text part of a message is a channel, and the parts
// of one message together are one more, so that a value cut over parts is found.
// Findings go to x, which is begun; a terminal one among the gates' findings
// ends the scan before it begins.
//
// res is filled, not given, as it is large and would stand on the stack of each
// caller while the text is scanned.
func (s *Scanner) ScanRequest(res *Result, body []byte, r *dialect.Request, x *pipeline.Exchange, failOpen bool, model string) {
	s.start(x, failOpen)
	s.sp.reset()
	if model != "" && r.Model.Present() {
		if string(s.text(r.Model.Of(body), r.ModelEscaped)) != model {
			s.sp.add(r.Model.Start, r.Model.End, []byte(model))
		}
	}
	if !x.Terminal() {
		s.pieces(body, r.Pieces)
	}
	s.result(res, body)
	if res.Model = r.Model; res.Body != nil && res.Edits > 0 {
		res.Model = s.sp.moved(r.Model)
	}
}

// ScanResponse scans every text of an answer that is no stream. Usage is
// estimated when the answer brings none. A blocked answer is for the caller to
// refuse (status 409).
func (s *Scanner) ScanResponse(res *Result, body []byte, c *dialect.Chunk, x *pipeline.Exchange, failOpen bool, promptBytes int64) {
	s.start(x, failOpen)
	s.sp.reset()
	s.pieces(body, c.Pieces)
	for i := range c.Logprobs {
		lp := &c.Logprobs[i]
		if !lp.Same && s.scans[pipeline.OutputText] || s.touched(c.Pieces, lp.Choice) {
			s.sp.literal(lp.Value.Start, lp.Value.End, "null")
		}
	}
	if s.report.Usage = c.Usage; !c.HasUsage {
		texts := int64(0)
		for i := range c.Pieces {
			if p := &c.Pieces[i]; p.Key.Choice >= 0 && p.Key.Field <= dialect.ToolInput {
				texts += int64(p.End - p.Start)
			}
		}
		s.report.Usage = EstimateUsage(promptBytes, texts)
	}
	for _, f := range c.Finishes {
		s.report.Finishes = append(s.report.Finishes, Finish{Choice: f.Choice, Reason: reasonOf(f.Reason.Of(body))})
	}
	s.result(res, body)
}

// touched tells that a text of the choice gets an edit.
func (s *Scanner) touched(pieces []dialect.Piece, choice int32) bool {
	for i := range pieces {
		p := &pieces[i]
		if p.Key.Choice != choice || p.Key.Field > dialect.Reasoning {
			continue
		}
		for k := range s.sp.list {
			if at := s.sp.list[k].raw; at.Start >= p.Start && at.End <= p.End {
				return true
			}
		}
	}
	return false
}

func (s *Scanner) result(r *Result, body []byte) {
	s.once.close()
	defer func() { s.x = nil }() // a scanner that is kept for later keeps no exchange
	*r = Result{Body: body, Blocked: s.x.Terminal(), Edits: len(s.sp.list)}
	r.Report = s.report
	r.Report.Frames, r.Report.BytesIn = 1, int64(len(body))
	switch {
	case r.Blocked:
		r.Body, r.Report.End = nil, EndBlocked
		return
	case r.Edits > 0:
		r.own = buf.Get(len(body) + len(s.sp.text))
		r.own.B = s.sp.apply(r.own.B, body)
		r.Body = r.own.B
		r.Report.Edited = 1
	}
	r.Report.End, r.Report.BytesOut = EndDone, int64(len(r.Body))
}

// pieces scans all pieces, in the order in which their channels begin.
func (s *Scanner) pieces(body []byte, pieces []dialect.Piece) {
	s.parts = s.parts[:0]
	for i := range pieces {
		p := &pieces[i]
		switch {
		case !s.scans[p.Class], !s.reads && p.Instructions():
		case p.Has(dialect.Opaque):
			if !inRequest(p) || !s.attached(body, p) {
				s.report.Opaque++
			}
		case p.Has(dialect.Whole):
			s.one(body, p)
		case i > 0 && grouped(pieces[:i], p):
		default:
			s.group(body, pieces[i:])
		}
	}
}

// part tells that p is a part of the text that q is a part of. The application's
// own instructions are never joined with other text: not all policies judge them.
func part(p, q *dialect.Piece) bool {
	return p.Key == q.Key && p.Flags&(dialect.Whole|dialect.Opaque) == 0 && p.Instructions() == q.Instructions()
}

// grouped tells that an earlier piece is a part of the same text. Parts of one text
// lie near each other: the search goes backwards and stops where apart says so.
func grouped(before []dialect.Piece, q *dialect.Piece) bool {
	for i := len(before) - 1; i >= 0; i-- {
		p := &before[i]
		if part(p, q) {
			return true
		}
		if apart(p, q) {
			return false
		}
	}
	return false
}

// apart tells that no part of the text that q is a part of lies on the other side of p, which is none: p belongs to
// another message, or, where q is of a call of a request, not to that call. A message may have a hundred thousand calls.
func apart(p, q *dialect.Piece) bool {
	if p.Key.Choice != q.Key.Choice {
		return p.Key.Choice >= 0
	}
	return inRequest(q) && (q.Key.Field == dialect.ToolArgs || q.Key.Field == dialect.ToolInput) && p.Key.Index != q.Key.Index
}

// open begins the channel of a text; p is a part of it.
func (s *Scanner) open(ch *channel, p *dialect.Piece) {
	mask := s.x.Mask
	if p.Instructions() {
		mask = s.x.Instructions
	}
	s.openMasked(ch, p.Key, pipeline.Class(p.Class), mask)
}

// one scans a text that is one piece.
func (s *Scanner) one(body []byte, p *dialect.Piece) {
	if p.Start == p.End {
		return
	}
	ch := &s.once
	raw := body[p.Start:p.End]
	s.open(ch, p)
	text := s.text(raw, p.Has(dialect.Escaped))
	if inRequest(p) {
		s.readsJSON(ch, text)
	} else if ch.args == nil && text[0] == '{' {
		ch.reads()
	}
	s.whole(ch, text)
	if p.Has(dialect.ID) {
		s.identifier(ch, text)
	}
	s.splice(body, ch, p, 0)
	ch.close()
	s.arena = s.arena[:0]
}

// group scans the parts of the text that pieces begins with: each alone, then all as one.
func (s *Scanner) group(body []byte, pieces []dialect.Piece) {
	first := len(s.parts)
	for i := range pieces {
		p := &pieces[i]
		if apart(p, &pieces[0]) {
			break
		}
		if part(p, &pieces[0]) && p.Start < p.End {
			s.parts = append(s.parts, *p)
		}
	}
	parts := s.parts[first:]
	if len(parts) < 2 {
		for i := range parts {
			s.one(body, &parts[i])
		}
		return
	}
	// Edits of the parts and of the joined text are united in the joined text.
	all := &s.once
	var edits []edit
	at := int64(0)
	var begins []int64
	s.joined, s.scored = s.joined[:0], s.scored[:0]
	for i := range parts {
		p := &parts[i]
		begins = append(begins, at)
		ch := channel{}
		s.open(&ch, p)
		before := len(s.joined)
		s.joined = jsonwalk.AppendUnescaped(s.joined, body[p.Start:p.End])
		s.found.Reset() // s.whole may feed nothing
		text := s.joined[before:]
		if inRequest(p) {
			s.readsJSON(&ch, text)
		}
		s.whole(&ch, text)
		for i := range s.found.List {
			if f := &s.found.List[i]; f.Score > 0 {
				s.scored = append(s.scored, f.Entity)
			}
		}
		for _, e := range ch.edits {
			e.start, e.end, e.first = e.start+at, e.end+at, e.first+at
			edits = unite(edits, e)
		}
		at += int64(len(s.joined) - before)
		ch.close()
	}
	s.open(all, &parts[0])
	s.joinedWhole(all, begins)
	for _, e := range all.edits {
		edits = unite(edits, e)
	}
	room := all.edits[:0]
	for i := range parts {
		for len(edits) > 0 && edits[0].end <= begins[i] {
			edits = edits[1:]
		}
		all.edits = edits // those that may lie in this part come first
		s.splice(body, all, &parts[i], begins[i])
	}
	all.edits = room
	all.close()
	s.arena = s.arena[:0]
}

// joinedWhole scans the joined text; only what lies over a border between parts
// is new, and a score that no part reached alone: its evidence may lie in
// several parts, its span is that of the last piece of evidence.
func (s *Scanner) joinedWhole(ch *channel, begins []int64) {
	if ch.args != nil {
		s.whole(ch, s.joined)
		return
	}
	s.report.Scanned[ch.class] += int64(len(s.joined))
	s.found.Reset()
	pipeline.Feed(ch.text.s, s.joined, 0, true, 0, s.failOpen, &s.found)
	for i := range s.found.List {
		f := s.found.List[i]
		over := f.Entity == pipeline.OverEntity || f.Entity == pipeline.ErrorEntity || f.Score > 0 && !slices.Contains(s.scored, f.Entity)
		for _, b := range begins[1:] {
			over = over || f.Start < b && f.End > b
		}
		if !over {
			continue
		}
		s.record(ch, &f)
		if f.Action == pipeline.Redact {
			s.addEdit(ch, f.Start, f.End, f.Policy, s.found.Replacement(i))
		}
	}
}

// splice turns the channel's edits into edits of one piece, whose text begins at the offset.
func (s *Scanner) splice(body []byte, ch *channel, p *dialect.Piece, at int64) {
	if len(ch.edits) == 0 {
		return
	}
	raw := body[p.Start:p.End]
	s.tmp = jsonwalk.AppendUnescaped(s.tmp[:0], raw)
	end := at + int64(len(s.tmp))
	q := piece{start: at, end: end, raw: dialect.Span{Start: p.Start, End: p.End}}
	cut := ch.cut
	ch.cut = noCut
	s.edited(&s.sp, ch, &q, body)
	s.sp.keyed = s.sp.keyed || p.Has(dialect.Key)
	ch.cut = cut
}

// readsJSON makes a text of a request be read with the escapes of its literals decoded, too, if it looks like JSON or has
// such literals in it: a tool's result, a log or a program that somebody put into a message. Policies that read escapes
// themselves read the text as it stands only: that costs half, and what they decode may be in an escaped text.
func (c *core) readsJSON(ch *channel, text []byte) {
	alone := ch.mask & c.x.Info().Escapes[ch.class]
	others := ch.mask &^ alone
	if ch.args != nil || alone != 0 && !c.x.Chain.Scans(ch.class, others) {
		return
	}
	json := jsonText(text)
	switch {
	case !json && !escapes(text):
		return
	case alone == 0:
		ch.reads()
	default:
		ch.args = &args{lane: lane{s: c.x.Chain.Session(ch.class, others)}, alone: alone}
	}
	ch.prose = !json
}

// escapes tells whether text has a quotation mark and, behind it, an escape of JSON that may hide the beginning of a word.
func escapes(text []byte) bool {
	i := bytes.IndexByte(text, '"')
	if i < 0 {
		return false
	}
	for text = text[i:]; ; {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 == len(text) {
			return false
		}
		switch text[i+1] {
		case 'n', 'r', 't', 'b', 'f', 'u', '/':
			return true
		}
		text = text[i+2:]
	}
}

// jsonText tells whether text looks like a JSON object or array: that of a tool's result mostly, whose escapes the model
// reads as what they stand for.
func jsonText(text []byte) bool {
	text = bytes.TrimSpace(text)
	if len(text) < 2 {
		return false
	}
	switch first, last := text[0], text[len(text)-1]; {
	case first == '{':
		return true
	case first == '[' && last == ']':
		next := bytes.TrimLeft(text[1:], " \t\r\n")[0]
		return next == '{' || next == '[' || next == '"'
	}
	return false
}

func (s *Scanner) text(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw
	}
	s.joined = jsonwalk.AppendUnescaped(slices.Grow(s.joined[:0], len(raw)), raw)
	return s.joined
}
