package stream

import (
	"bytes"
	"math"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

const (
	// behind is how much clear text in bytes a lane keeps: the left context that
	// a rule may ask for (scan.MaxBehind), for a session that begins in mid-text.
	behind = 256
	// slack is how much clear text in bytes gathers before a lane drops it.
	slack = 1024

	noCut = math.MaxInt64
)

// core is what a Window and a scan of a whole body share: the exchange, the
// findings of the last Feed, and the texts that take the place of values.
type core struct {
	x        *pipeline.Exchange
	failOpen bool
	scans    [pipeline.NumClasses]bool
	reads    bool // some policy looks at the application's own instructions
	found    pipeline.Findings
	arena    []byte // replacement texts of edits that are still needed
	mapper   jsonwalk.Mapper
	tmp      []byte
	decided  int32 // number of the channel with the terminal finding; -1 without one
	report   Report
}

func (c *core) start(x *pipeline.Exchange, failOpen bool) {
	c.x, c.failOpen, c.decided, c.arena, c.report = x, failOpen, -1, c.arena[:0], Report{}
	for k := range c.scans {
		c.scans[k] = x.Chain != nil && x.Chain.Scans(pipeline.Class(k), x.Mask)
	}
	c.reads = x.Chain != nil && x.Chain.Scans(pipeline.InputText, x.Instructions)
}

// record takes a finding of the channel into account.
func (c *core) record(ch *channel, f *pipeline.Finding) {
	c.report.Findings++
	if f.Action.Terminal() && f.Start < ch.cut {
		ch.cut = f.Start
	}
	if c.x.Record(ch.number, ch.class, f) {
		c.decided = ch.number
	}
}

// lane is one running text with its session: a channel's text, or the second
// view of tool-call arguments.
type lane struct {
	s      pipeline.Session
	b      *buf.Buffer // the text from base; what lies before keep is context only
	base   int64
	keep   int64 // text before it can no longer become part of a finding that acts
	began  int64 // where the session began
	closed bool  // end was fed and no text came since

	// A channel that was ended and goes on: text from tail to gap, already
	// released, could have become part of a match. bridge reads from there.
	tail, gap  int64
	bridge     pipeline.Session
	bridgeFrom int64
	bridgeKeep int64
}

func (l *lane) len() int {
	if l.b == nil {
		return 0
	}
	return len(l.b.B)
}

func (l *lane) end() int64 { return l.base + int64(l.len()) }

func (l *lane) put(text []byte) {
	if l.b == nil {
		l.b = buf.Get(len(text))
	} else {
		buf.Grow(l.b, len(text))
	}
	l.b.B = append(l.b.B, text...)
}

// from is the text from an offset on.
func (l *lane) from(at int64) []byte {
	if l.b == nil {
		return nil
	}
	return l.b.B[at-l.base:]
}

// trim drops text before an offset, but for the left context.
func (l *lane) trim(at int64) {
	at = min(at, l.keep)
	if l.bridge != nil {
		at = min(at, l.bridgeFrom)
	}
	if l.tail < l.gap {
		at = min(at, l.tail)
	}
	if k := at - behind - l.base; k > slack {
		l.b.B = l.b.B[:copy(l.b.B, l.b.B[k:])]
		l.base += k
	}
}

func (l *lane) close() {
	if l.s != nil {
		l.s.Close()
	}
	l.dropBridge()
	buf.Put(l.b)
	*l = lane{}
}

func (l *lane) dropBridge() {
	if l.bridge != nil {
		l.bridge.Close()
		l.bridge = nil
	}
}

// clear is how far the lane's text may go out.
func (l *lane) clear() int64 {
	if l.bridge == nil {
		return l.keep
	}
	return min(l.keep, max(l.bridgeKeep, l.gap))
}

// edit is what takes the place of a span of a channel's text: the union of
// edits that overlap, under the text of the one that starts first, then the
// longest, then the first in the chain.
type edit struct {
	start, end int64
	first      int64 // end of the edit whose text counts
	policy     uint8
	settled    bool // tool arguments: the text has its quotes and escapes
	repl       dialect.Span
}

// channel is one logical text on its way through the chain. Offsets are bytes
// of its decoded text since its beginning.
type channel struct {
	key    dialect.ChannelKey
	class  pipeline.Class
	mask   pipeline.Mask // of the policies that judge it
	number int32
	seen   int64 // number of the last frame with text of it
	count  int   // findings so far
	open   bool  // text came since the last end

	text  lane
	args  *args // tool-call arguments: text.s then reads what the second view does not show
	edits []edit
	cut   int64 // start of the first terminal finding: nothing goes out from there on
	clear int64 // text before it is decided

	loose int32 // number of the loose place that it belongs to; 0: none
	mute  int64 // what is found before it does not count
	stay  int64 // edits from there on are needed again
	prose bool  // literals of JSON may stand in it, but it is none

	high    [6]byte // high surrogate escape at the end of the last piece
	hasHigh bool
}

// args is the second view of tool-call arguments, in which the escapes of their
// own string literals are decoded.
type args struct {
	view dialect.ArgsView
	lane lane
	from int64 // where the session of the first view began

	alone pipeline.Mask // policies that read the first view only, and all of it

	keys keys
	prev byte // the last byte that is no white space in front of what is kept of the text

	undecided []undecided
}

func (c *core) openChannel(ch *channel, key dialect.ChannelKey, class pipeline.Class) {
	c.openMasked(ch, key, class, c.x.Mask)
}

// openMasked begins a channel that the policies of a mask judge.
func (c *core) openMasked(ch *channel, key dialect.ChannelKey, class pipeline.Class, mask pipeline.Mask) {
	*ch = channel{key: key, class: class, mask: mask, number: c.x.Channel(), cut: noCut, stay: noCut, edits: ch.edits[:0]}
	c.report.Channels[class]++
	s := c.x.Chain.Session(class, mask)
	if ch.text.s = s; key.Field == dialect.ToolArgs {
		ch.reads()
	}
}

// reads makes the text of a channel that has none yet be read as JSON, in whose literals escapes are decoded, as
// arguments are.
func (ch *channel) reads() {
	ch.args = &args{lane: lane{s: ch.text.s}}
	ch.text.s = nil
}

func (ch *channel) close() {
	ch.text.close()
	if ch.args != nil {
		ch.args.lane.close()
		ch.args = nil
	}
}

// feed scans the next piece of a channel.
// Allocates: never, once buffers have grown. text: valid during the call only.
func (c *core) feed(ch *channel, text []byte) {
	if len(text) == 0 {
		return
	}
	c.report.Scanned[ch.class] += int64(len(text))
	ch.open = true
	if text[0] == '{' && ch.args == nil && ch.loose == 0 && ch.text.end() == 0 { // a structured answer: its first byte tells, however it is cut
		ch.reads()
	}
	if ch.args == nil {
		c.advance(ch, &ch.text, laneText, text, false)
		ch.clear = ch.text.clear()
		ch.text.trim(ch.clear)
		return
	}
	a := ch.args
	a.keys.feed(text)
	c.tmp = a.view.Feed(c.tmp[:0], text)
	c.feedArgs(ch, text, false)
}

// scanPut scans what was put behind the text of a channel without a second view:
// n bytes of it, behind fed bytes that are not clear.
func (c *core) scanPut(ch *channel, fed, n int) {
	c.report.Scanned[ch.class] += int64(n)
	c.scan(ch, &ch.text, laneText, ch.text.from(ch.text.keep), fed, false)
	ch.clear = ch.text.clear()
	ch.text.trim(ch.clear)
}

// feedArgs goes on in both views; the view's new text is in tmp.
func (c *core) feedArgs(ch *channel, text []byte, end bool) {
	a := ch.args
	c.advance(ch, &a.lane, laneView, c.tmp, end)
	if ch.text.s == nil {
		ch.text.put(text)
		in, out := a.view.Len()
		if in != out || in != ch.text.end() {
			// The first escape: from here on the text as it stands is a view of its own.
			ch.text.s, a.from = c.x.Chain.Session(ch.class, ch.mask), ch.text.base
			ch.text.keep = ch.text.base
			held := ch.text.b.B
			c.scan(ch, &ch.text, laneFirst, held, 0, end)
		} else {
			ch.text.keep = ch.text.end()
		}
	} else {
		c.advance(ch, &ch.text, laneFirst, text, end)
	}
	c.settle(ch, end)
}

// end says that no more text comes for now. What is left becomes clear. The
// session stays: if the text goes on, a match over the gap is terminal.
func (c *core) end(ch *channel, final bool) {
	if !ch.open {
		return
	}
	ch.open = false
	if a := ch.args; a != nil {
		c.tmp = c.tmp[:0]
		if final {
			c.tmp = a.view.End(c.tmp)
		}
		c.feedArgs(ch, nil, true)
		ch.clear = ch.text.end()
		return
	}
	c.advance(ch, &ch.text, laneText, nil, true)
	ch.clear = ch.text.end()
}

// wholePiece is how many bytes of a complete text that has a second view are fed at once: what its views and literals
// take is then that of a piece, not nine times the text.
const wholePiece = 64 << 10

// whole scans a text that is complete: one Feed, no copy of the text. With a second view it is fed in pieces.
func (c *core) whole(ch *channel, text []byte) {
	if ch.args != nil {
		for len(text) > wholePiece {
			n := wholePiece
			for n > wholePiece-utf8.UTFMax && !utf8.RuneStart(text[n]) {
				n--
			}
			c.feed(ch, text[:n])
			text = text[n:]
		}
		c.feed(ch, text)
		c.end(ch, true)
		return
	}
	c.report.Scanned[ch.class] += int64(len(text))
	c.found.Reset()
	pipeline.Feed(ch.text.s, text, 0, true, 0, c.failOpen, &c.found)
	c.drain(ch, laneText, 0)
	ch.clear = int64(len(text))
}

// laneKind says how the findings of a session map to the channel.
type laneKind uint8

const (
	laneText   laneKind = iota // offsets are the channel's
	laneView                   // offsets of the second view of arguments
	laneFirst                  // the first view of arguments: only what the second does not show
	laneBridge                 // only what reaches over a gap
)

// advance appends text to the lane and scans it.
func (c *core) advance(ch *channel, l *lane, kind laneKind, text []byte, end bool) {
	if l.closed && len(text) > 0 {
		l.closed = false
		if l.tail < l.gap && kind != laneFirst {
			c.resume(ch, l)
		}
	}
	if l.closed {
		return
	}
	n := int(l.end() - l.keep)
	bridged := int(l.end() - l.bridgeFrom)
	l.put(text)
	before := l.keep
	if l.bridge != nil {
		before = min(before, l.bridgeKeep)
		c.found.Reset()
		k := pipeline.Feed(l.bridge, l.from(l.bridgeFrom), bridged, end, l.bridgeFrom, c.failOpen, &c.found)
		l.bridgeKeep = l.bridgeFrom + int64(k)
		c.drainBridge(ch, l)
	}
	c.scan(ch, l, kind, l.from(l.keep), n, end)
	if end {
		l.closed = true
		// What no session had decided before this call is the tail.
		l.tail, l.gap = before, l.end()
		l.keep = l.gap
		l.dropBridge()
	} else if l.bridge != nil && l.bridgeKeep >= l.gap {
		l.dropBridge()
	}
}

// scan feeds the session and takes its findings; win begins at keep.
func (c *core) scan(ch *channel, l *lane, kind laneKind, win []byte, n int, end bool) {
	c.found.Reset()
	k := pipeline.Feed(l.s, win, n, end, l.keep, c.failOpen, &c.found)
	l.keep += int64(k)
	from := l.began
	if kind == laneFirst {
		from = ch.args.from
	}
	c.drain(ch, kind, from)
}

// resume opens a second session over the text before the gap.
func (c *core) resume(ch *channel, l *lane) {
	l.bridgeFrom = max(l.base, l.tail-behind)
	l.bridge = c.x.Chain.Session(ch.class, ch.mask)
	c.found.Reset()
	k := pipeline.Feed(l.bridge, l.from(l.bridgeFrom), 0, false, l.bridgeFrom, c.failOpen, &c.found)
	l.bridgeKeep = l.bridgeFrom + int64(k) // its findings lie before the gap: known
}

// drainBridge makes a block of a match that reaches over the gap.
func (c *core) drainBridge(ch *channel, l *lane) {
	for i := range c.found.List {
		f := &c.found.List[i]
		start, end := f.Start+l.bridgeFrom, f.End+l.bridgeFrom
		if f.Rule == pipeline.NoRule && f.Entity == pipeline.ErrorEntity {
			start, end = f.Start, f.End // the guard counts from the channel's beginning
		}
		if f.Action < pipeline.Redact || start < l.tail || start >= l.gap || end <= l.gap || end <= ch.mute {
			continue
		}
		if ch.loose > 0 && f.Action == pipeline.Redact {
			// No text that must be told apart from what is left of it: the rest goes.
			g := *f
			g.Start, g.End = start, end
			c.record(ch, &g)
			c.addEdit(ch, start, end, f.Policy, c.found.Replacement(i))
			continue
		}
		at, to := l.gap, end
		if ch.args != nil {
			at, to = ch.args.view.TextSpan(at, to)
		}
		c.record(ch, &pipeline.Finding{
			Start: at, End: to, Rule: pipeline.NoRule, Entity: pipeline.SplitEntity, Policy: f.Policy, Action: pipeline.Block,
		})
	}
}

// drain takes the findings of one Feed into account. from is where the session began.
func (c *core) drain(ch *channel, kind laneKind, from int64) {
	for i := range c.found.List {
		f := c.found.List[i]
		if f.Entity != pipeline.ErrorEntity || f.Rule != pipeline.NoRule {
			f.Start, f.End = f.Start+from, f.End+from
		}
		if f.End <= ch.mute && ch.mute > 0 {
			continue
		}
		switch kind {
		case laneView:
			f.Start, f.End = ch.args.view.TextSpan(f.Start, f.End)
		case laneFirst:
			if f.Entity != pipeline.ErrorEntity && !ch.args.alone.Has(int(f.Policy)) && ch.args.same(f.Start, f.End) {
				continue
			}
			if f.Action == pipeline.Redact && ch.args.inEscape(f.Start) {
				ch.args.undecided = append(ch.args.undecided, undecided{f, bytes.Clone(c.found.Replacement(i))})
				continue
			}
		}
		if !c.take(ch, &f, c.found.Replacement(i)) {
			return
		}
	}
}

// take takes a finding into account; false says that there are too many.
func (c *core) take(ch *channel, f *pipeline.Finding, repl []byte) bool {
	if ch.count > pipeline.MaxFindings {
		return false
	}
	if ch.count++; ch.count > pipeline.MaxFindings {
		f.Action, f.Entity, f.Rule = c.x.Info().Strictest[ch.class], pipeline.OverEntity, pipeline.NoRule
		if f.Action == pipeline.Redact { // a redaction that cannot be listed is a block
			f.Action = pipeline.Block
		}
	}
	c.record(ch, f)
	if f.Action == pipeline.Redact {
		c.addEdit(ch, f.Start, f.End, f.Policy, repl)
	}
	return true
}

// undecided is a finding of the first view that begins inside of an escape, until it is known what the second view shows
// of it.
type undecided struct {
	f    pipeline.Finding
	repl []byte
}

// inEscape tells whether an offset of the text lies behind the beginning of an escape and in front of its end.
func (a *args) inEscape(at int64) bool {
	v := a.view.ViewOffset(at)
	s, _ := a.view.TextSpan(v, v+1)
	return s < at
}

// decide takes the undecided findings, but those of which the second view shows the rest: in \nada@example.org the
// letter n is no part of the address. seen is how far that view is decided; clear is where text must wait for them.
func (c *core) decide(ch *channel, seen, clear int64, end bool) int64 {
	a := ch.args
	left := a.undecided[:0]
	for i := range a.undecided {
		w := &a.undecided[i]
		switch {
		case ch.shown(&w.f):
		case !end && w.f.End > seen:
			clear = min(clear, w.f.Start)
			left = append(left, *w)
		default:
			c.take(ch, &w.f, w.repl)
		}
	}
	a.undecided = left
	return clear
}

// same tells that the two views do not differ in the span and next to it: what
// is found there the second view shows too.
func (a *args) same(start, end int64) bool {
	start = max(start-1, 0)
	text, _ := a.view.Len()
	if end > text {
		return false // an escape that is not complete
	}
	end = min(end+1, text)
	return a.view.ViewOffset(end)-a.view.ViewOffset(start) == end-start
}

// shown tells whether the second view shows a finding of the first one but for what it has of an escape in front.
func (ch *channel) shown(f *pipeline.Finding) bool {
	for i := range ch.edits {
		if e := &ch.edits[i]; e.policy == f.Policy && e.start > f.Start && e.start-f.Start < longestEscape && e.end >= f.End {
			return true
		}
	}
	return false
}

const longestEscape = 12 // two halves of a character

// wholeEscapes widens a span of the first view to whole escapes.
func (a *args) wholeEscapes(start, end int64) (int64, int64) {
	from := a.view.ViewOffset(start)
	to := max(a.view.ViewOffset(end), from+1)
	s, e := a.view.TextSpan(from, to)
	if e < end {
		_, e = a.view.TextSpan(from, to+1)
	}
	return min(s, start), max(e, end)
}

// addEdit puts an edit among the channel's and unites it with those that it overlaps.
func (c *core) addEdit(ch *channel, start, end int64, policy uint8, repl []byte) {
	n := edit{start: start, end: end, first: end, policy: policy}
	n.repl.Start = int32(len(c.arena))
	c.arena = append(c.arena, repl...)
	n.repl.End = int32(len(c.arena))
	ch.edits = unite(ch.edits, n)
}

func unite(edits []edit, n edit) []edit {
	i := len(edits) // the first edit that ends behind n's start
	for i > 0 && edits[i-1].end > n.start {
		i--
	}
	j := i
	for j < len(edits) && edits[j].start < n.end {
		e := edits[j]
		if e.start < n.start || e.start == n.start && (e.first > n.first || e.first == n.first && e.policy <= n.policy) {
			n.start, n.first, n.policy, n.repl, n.settled = e.start, e.first, e.policy, e.repl, e.settled
		}
		n.end = max(n.end, e.end)
		j++
	}
	if i == j {
		edits = append(edits, edit{})
		copy(edits[i+1:], edits[i:])
		edits[i] = n
		return edits
	}
	edits[i] = n
	return append(edits[:i+1], edits[j:]...)
}

// settle finds how far the text of arguments is decided, and gives the edits
// there the quotes and escapes that keep the arguments valid JSON.
func (c *core) settle(ch *channel, end bool) {
	a := ch.args
	clear := ch.text.end()
	if ch.text.s != nil {
		clear = ch.text.clear()
	}
	seen, view := a.view.Len() // an escape is not complete
	if k := a.lane.clear(); k < view {
		seen, _ = a.view.TextSpan(k, k)
		clear = min(clear, seen)
	} else if !end {
		clear = min(clear, seen)
	}
	if len(a.undecided) > 0 {
		clear = c.decide(ch, seen, clear, end)
	}
	for was := int64(-1); !end && clear != was; {
		was = clear
		for i := range ch.edits {
			if e := &ch.edits[i]; !e.settled && e.end > clear {
				clear = min(clear, e.start)
			}
		}
		at := a.view.ViewOffset(clear)
		at, _ = a.view.TextSpan(at, at) // not inside an escape
		clear = max(a.scalarStart(&ch.text, min(clear, at)), ch.clear)
	}
	for i := 0; i < len(ch.edits); {
		if e := ch.edits[i]; !e.settled && e.end <= clear {
			ch.edits = append(ch.edits[:i], ch.edits[i+1:]...)
			e.start, e.end = a.wholeEscapes(e.start, e.end)
			c.place(ch, e)
			i = 0
			continue
		}
		i++
	}
	ch.clear = clear
	a.lane.trim(a.lane.keep)
	a.prev = a.before(&ch.text, clear)
	ch.text.trim(clear)
	a.view.Forget(min(clear, ch.text.keep))
	a.keys.forget(clear)
}

// scalarStart moves at to the beginning of the number or keyword outside of
// string literals that it would cut.
func (a *args) scalarStart(l *lane, at int64) int64 {
	if at <= l.base || at > l.end() || a.view.Place(at-1, at) != dialect.Outside {
		return at
	}
	if !scalar(l.b.B[at-1-l.base]) {
		return at
	}
	s, e := dialect.ScalarSpan(l.b.B, int(at-1-l.base), int(at-l.base))
	if int64(e)+l.base == at && at < l.end() {
		return at
	}
	return l.base + int64(s)
}

func scalar(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 26 || c == '-' || c == '+' || c == '.'
}

// place gives an edit of arguments the form that keeps them JSON, and puts it
// among the channel's edits.
func (c *core) place(ch *channel, e edit) {
	a, l := ch.args, &ch.text
	where := a.view.Place(e.start, e.end)
	if ch.prose && where != dialect.InLiteral { // it need not be JSON afterwards
		e.first, e.settled = e.end, true
		ch.edits = unite(ch.edits, e)
		return
	}
	switch where {
	case dialect.InLiteral:
		c.placeText(ch, e, e.start, e.end, false)
		return
	case dialect.Outside:
		s, t := a.scalarSpan(l, e.start, e.end, ch.clear)
		if ch.value(s) {
			c.placeText(ch, e, s, t, true)
		} else {
			c.placeText(ch, e, e.start, e.end, false)
		}
		return
	}
	// The span holds quotes of literals: structure stays, the first part becomes
	// the marker, what else is text in it goes.
	for at := e.start; at < e.end; {
		to := at + 1
		switch place := a.view.Place(at, to); {
		case place == dialect.InLiteral:
			for to < e.end && a.view.Place(at, to+1) == dialect.InLiteral {
				to++
			}
			c.placeText(ch, e, at, to, false)
			e.repl.End = e.repl.Start
		case place == dialect.Outside && scalar(l.b.B[at-l.base]):
			var s int64
			s, to = a.scalarSpan(l, at, to, ch.clear)
			c.placeText(ch, e, max(s, e.start), to, ch.value(s))
			e.repl.End = e.repl.Start
		}
		at = to
	}
}

// value tells whether a value may begin at an offset outside of literals: always in arguments, behind a colon, a comma
// or a bracket in a text that may only look like JSON.
func (ch *channel) value(at int64) bool {
	if ch.key.Field == dialect.ToolArgs {
		return true
	}
	c := ch.args.before(&ch.text, at)
	return c == ':' || c == ',' || c == '['
}

// before is the last byte in front of an offset that is no white space, 0 without one.
func (a *args) before(l *lane, at int64) byte {
	for at--; at >= l.base; at-- {
		if c := l.b.B[at-l.base]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return a.prev
}

// placeText adds an edit whose text goes into a literal or, quoted, stands for one.
func (c *core) placeText(ch *channel, e edit, start, end int64, quoted bool) {
	n := edit{start: start, end: end, first: end, policy: e.policy, settled: true}
	count := 0
	if object, ok := ch.args.keys.of(start); ok && !quoted {
		count = ch.args.keys.count(object, e.repl.Of(c.arena))
	}
	c.tmp = appendNumbered(c.tmp[:0], e.repl.Of(c.arena), count) // the arena may move
	n.repl.Start = int32(len(c.arena))
	if quoted {
		c.arena = append(c.arena, '"')
	}
	c.arena = jsonwalk.AppendEscaped(c.arena, c.tmp)
	if quoted {
		c.arena = append(c.arena, '"')
	}
	n.repl.End = int32(len(c.arena))
	ch.edits = unite(ch.edits, n)
}

// scalarSpan widens a span outside of literals to whole scalars, not before floor.
func (a *args) scalarSpan(l *lane, start, end, floor int64) (int64, int64) {
	s, e := dialect.ScalarSpan(l.b.B, int(start-l.base), int(end-l.base))
	return min(max(int64(s)+l.base, floor), start), int64(e) + l.base
}

// forget drops edits that end before the offset, which was released.
func (ch *channel) forget(at int64) {
	k := 0
	for k < len(ch.edits) && ch.edits[k].end <= at {
		k++
	}
	if k > 0 {
		ch.edits = append(ch.edits[:0], ch.edits[k:]...)
	}
}

// piece is where a piece of a channel's text stands in a payload.
type piece struct {
	ch         int32
	start, end int64        // in the channel's text
	raw        dialect.Span // in the payload
	lead       rune         // character of two halves; raw begins with the second one
	trail      bool         // raw ends with the first half of a character, which goes to the next piece
}

// splice is an edit of a payload whose new text is a span of splices.text.
type splice struct {
	raw  dialect.Span
	text dialect.Span
}

// splices gathers the edits of one payload.
type splices struct {
	list  []splice
	text  []byte
	edits []jsonwalk.Edit
	keyed bool // an edit renames a key
}

func (s *splices) reset() { s.list, s.text, s.keyed = s.list[:0], s.text[:0], false }

// add replaces the raw span by JSON string content that escapes text.
func (s *splices) add(start, end int32, text []byte) {
	at := int32(len(s.text))
	s.text = jsonwalk.AppendEscaped(s.text, text)
	s.list = append(s.list, splice{raw: dialect.Span{Start: start, End: end}, text: dialect.Span{Start: at, End: int32(len(s.text))}})
}

// literal replaces the span by bytes as they are.
func (s *splices) literal(start, end int32, text string) {
	at := int32(len(s.text))
	s.text = append(s.text, text...)
	s.list = append(s.list, splice{raw: dialect.Span{Start: start, End: end}, text: dialect.Span{Start: at, End: int32(len(s.text))}})
}

// apply appends the payload with all edits made.
func (s *splices) apply(dst, src []byte) []byte {
	for i := 1; i < len(s.list); i++ { // nearly sorted, and few
		for j := i; j > 0 && s.list[j].raw.Start < s.list[j-1].raw.Start; j-- {
			s.list[j], s.list[j-1] = s.list[j-1], s.list[j]
		}
	}
	s.edits = s.edits[:0]
	for i := range s.list {
		p := &s.list[i]
		n := len(s.edits)
		if n > 0 && int(p.raw.Start) < s.edits[n-1].End {
			// A value that goes as a whole, or a text that was scanned in two ways.
			s.edits[n-1].End = max(s.edits[n-1].End, int(p.raw.End))
			continue
		}
		s.edits = append(s.edits, jsonwalk.Edit{Start: int(p.raw.Start), End: int(p.raw.End), New: p.text.Of(s.text)})
	}
	if s.keyed {
		s.number(src)
	}
	return jsonwalk.Splice(dst, src, s.edits)
}

// moved gives where a span of the payload is after apply. Edits lie outside of it
// or replace all of it.
func (s *splices) moved(at dialect.Span) dialect.Span {
	before, within := 0, 0
	for i := range s.edits {
		switch e := &s.edits[i]; {
		case e.End <= int(at.Start) && e.Start < int(at.Start):
			before += len(e.New) - (e.End - e.Start)
		case e.Start < int(at.End):
			within += len(e.New) - (e.End - e.Start)
		}
	}
	return dialect.Span{Start: at.Start + int32(before), End: at.End + int32(before+within)}
}

// edited adds what the channel's edits and its cut change in a piece, and tells
// whether any text of the piece is left and whether anything changed.
func (c *core) edited(s *splices, ch *channel, p *piece, data []byte) (left, changed bool) {
	stop := min(p.end, ch.cut)
	if p.lead != 0 || p.trail {
		return c.recoded(s, ch, p, data, stop), true
	}
	raw := p.raw.Of(data)
	c.mapper.Reset(raw)
	rest := p.end - p.start // text that stays
	span := func(from, to int64) (int32, int32) {
		a, b := c.mapper.Span(int(from-p.start), int(to-p.start))
		return p.raw.Start + int32(a), p.raw.Start + int32(b)
	}
	for i := range ch.edits {
		e := &ch.edits[i]
		if e.start >= min(p.end, ch.cut) {
			break
		}
		if e.end <= p.start {
			continue
		}
		from, to := max(e.start, p.start), min(e.end, p.end)
		if to > ch.cut {
			to = p.end
		}
		a, b := span(from, to)
		var text []byte
		if e.start >= p.start {
			text = e.repl.Of(c.arena)
			left = left || len(text) > 0
		}
		s.add(a, b, text)
		rest -= to - from
		stop = max(stop, to)
		changed = true
	}
	if stop < p.end {
		a := p.raw.Start
		if stop > p.start {
			a, _ = span(stop, p.end)
		}
		s.add(a, p.raw.End, nil)
		rest -= p.end - max(stop, p.start)
		changed = true
	}
	return left || rest > 0, changed
}

// recoded writes a piece anew: it has a half of a character that was cut in two.
func (c *core) recoded(s *splices, ch *channel, p *piece, data []byte, stop int64) (left bool) {
	raw := p.raw.Of(data)
	c.tmp = c.tmp[:0]
	if p.lead != 0 {
		c.tmp = utf8.AppendRune(c.tmp, p.lead)
		raw = raw[6:]
	}
	if p.trail {
		raw = raw[:len(raw)-6]
	}
	c.tmp = jsonwalk.AppendUnescaped(c.tmp, raw)
	at := int32(len(s.text))
	pos := p.start
	for i := range ch.edits {
		e := &ch.edits[i]
		if e.start >= stop {
			break
		}
		if e.end <= pos {
			continue
		}
		if e.start >= pos {
			s.text = jsonwalk.AppendEscaped(s.text, c.tmp[pos-p.start:e.start-p.start])
			s.text = jsonwalk.AppendEscaped(s.text, e.repl.Of(c.arena))
		}
		pos = min(e.end, p.end)
	}
	if pos < stop {
		s.text = jsonwalk.AppendEscaped(s.text, c.tmp[pos-p.start:stop-p.start])
	}
	s.list = append(s.list, splice{raw: p.raw, text: dialect.Span{Start: at, End: int32(len(s.text))}})
	return int32(len(s.text)) > at
}

// encode writes r as UTF-8, nothing for 0.
func encode(p []byte, r rune) int {
	if r == 0 {
		return 0
	}
	return utf8.EncodeRune(p, r)
}
