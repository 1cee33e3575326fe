// Package stream moves an answer from upstream to the client through the
// policies: events in, text of each channel scanned, events out. It also scans
// whole requests and answers (ScanRequest, ScanResponse) on the same path.
//
// Cost per chunk of a stream that nothing is found in: one strict parse, one
// Feed for each piece of text, one copy of the payload (two when the event has
// to wait). Events that come together and are alike share the Feed and the copy
// (run). No allocation once buffers have grown, no lock, no clock, no
// logging, no map, no goroutine; Relay adds one lock and one read of the clock
// for each upstream read.
package stream

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
	"github.com/keeptrusts/kt/stream/sse"
)

const (
	// DefaultMaxHeld is how many bytes of text may wait for a decision, eight
	// times the longest match (scan.MaxCap). DefaultMaxMemory is how many bytes of
	// memory the events may take that wait: 8,000 events of one byte of text with
	// envelopes of 250 bytes that are all different fit. The oldest event counts in
	// neither (its size is bounded by the event limit). More of either is a block
	// with reason window_overflow.
	DefaultMaxHeld   = 64 << 10
	DefaultMaxMemory = 4 << 20
	// frameCost is what a held frame takes besides its payload, in bytes.
	frameCost = 256
	// maxRing is how many slots for frames a window keeps for its next stream.
	maxRing = 64
	// maxChannels bounds the channels of one stream that go on over frames; the
	// rest of an answer that opens more is a block with reason window_overflow.
	maxChannels = 2048
	// maxClean is for how many texts that repeat (id, model) it is remembered that nothing was found.
	maxClean = 32
)

// Options of a Window.
type Options struct {
	Dialect  dialect.Dialect    // of the upstream's events and the client's: they are the same here
	Exchange *pipeline.Exchange // begun; the window records its findings there
	FailOpen bool               // a policy that fails lets text pass (--fail-mode allow)

	RequestID   string // of the events that the window itself writes
	PromptBytes int64  // size of the request's text, for the estimate of its tokens
	MaxHeld     int    // bytes of text; 0 means DefaultMaxHeld
	MaxMemory   int    // bytes; 0 means DefaultMaxMemory
	MaxEvent    int    // bytes; 0 means sse.DefaultMaxEvent

	Scratch *dialect.Scratch // used until Close; nil: the window has its own
}

// End says how a stream ended.
type End uint8

// The ends.
const (
	EndNone          End = iota // it goes on
	EndDone                     // by the API's end marker, or all choices finished and upstream closed
	EndBlocked                  // by a terminal finding
	EndUpstreamError            // upstream sent an error, or reading from it failed in another way than below
	EndCut                      // the connection ended before the answer
	EndBadEvent                 // an event that is not valid for the API, or too large; framing that is not HTTP's
	EndClientGone               // the client went away
	EndTimeout                  // upstream was silent for too long, or took too long
)

var endNames = [...]string{"none", "done", "blocked", "upstream_error", "cut", "bad_event", "client_gone", "timeout"}

func (e End) String() string { return endNames[e] }

// Report is what a stream was, for records and metrics. It holds no text.
type Report struct {
	End       End
	Committed bool  // bytes for the client came into being
	Frames    int   // events read that carry a payload
	Edited    int   // of them, those that left with other bytes than they came with
	Dropped   int   // of them, those that did not leave
	BytesIn   int64 // read from upstream
	BytesOut  int64 // written for the client
	HeldMax   int   // the most bytes of payload, as kept, that waited at once; of events that came together, what waits behind the last (run)
	HeldMaxN  int   // the most events that waited at once, likewise
	Delay     int64 // sum over all frames: frames that came before this one left; those that left with the same read count too (run)
	Channels  [pipeline.NumClasses]int
	Scanned   [pipeline.NumClasses]int64 // bytes of text
	Opaque    int                        // payloads that are no text: recorded, not scanned
	Findings  int
	Usage     dialect.Usage
	Finishes  []Finish

	// Times, of a stream that a Relay moved; zero otherwise.
	Waited time.Duration // for upstream
	Worked time.Duration // reading, scanning and rendering what came
	Wrote  time.Duration // in writes to the client, all but the last
	Delays Spread        // of each event that left: from the read that brought it to the write that took it
	Holds  Spread        // of those of them that waited for a later read
}

// Finish is how a choice ended, as upstream said.
type Finish struct {
	Choice int32
	Reason string // one of the API's own words, else "other"
}

var reasons = [...]string{"stop", "length", "tool_calls", "content_filter", "function_call"}

func reasonOf(raw []byte) string {
	for _, r := range reasons {
		if string(raw) == r {
			return r
		}
	}
	return "other"
}

// Errors of a stream that ended early. They hold no text of the stream.
var (
	ErrUpstream = errors.New("upstream sent an error")
	ErrCut      = errors.New("upstream closed the stream before its end")
	errHalf     = errors.New("half of a surrogate pair")
)

// frame is one event in the window, with those behind it that are like it (packed.go).
type frame struct {
	data     dialect.Span // in held, or in front
	name     dialect.Span
	next     int32 // in held: where the events begin that are like it
	like     int32 // of them
	number   int64
	came     time.Duration // when the read that brought it returned, since the relay began
	text     bool          // has text of a choice
	keep     bool          // carries something that an ended choice still needs (usage)
	roles    dialect.ChoiceSet
	pieces   []piece
	fins     []dialect.Finish
	logprobs []logprob
	raws     []rawEdit
}

type logprob struct {
	choice int32
	value  dialect.Span
	null   bool // a copy of text that was not scanned
}

// rawEdit is an edit of a text that is complete in its frame; repl is in the arena.
type rawEdit struct {
	raw, repl dialect.Span
	key       bool // of an object's key
}

//go:noinline
func (f *frame) reset() {
	*f = frame{pieces: f.pieces[:0], fins: f.fins[:0], logprobs: f.logprobs[:0], raws: f.raws[:0]}
}

type cleanText struct {
	key   dialect.ChannelKey
	clean bool
}

// Window is a FIFO of frames between upstream and client: a frame leaves, byte
// for byte, when every byte of its channels is clear. It does no I/O, has no
// clock and starts no goroutine: bytes go in by Write and End, and come out of
// Out. It belongs to one goroutine at a time. The zero value is ready for Reset.
//
// Memory: one event (MaxEvent) and MaxMemory bytes at the most, typically under 4 KiB.
type Window struct {
	core
	o       Options
	framer  sse.Framer
	scratch *dialect.Scratch
	own     *dialect.Scratch // nil until it is needed
	st      dialect.Stream   // as read
	sent    dialect.Stream   // what the content-filter ends speak of
	chunk   dialect.Chunk
	run     *run // nil until events come together: most streams that wait have none

	channels  []channel
	once      channel // of texts that are complete in their frame
	marked    []dialect.ChannelKey
	loose     []loose // places that may hold anything
	looseNext int     // where the next one is looked for first
	clean     []cleanText
	opened    int // channels that are open

	cur      frame
	ring     []frame // of a size that is a power of two
	first    int     // position of the oldest in ring
	n        int     // frames that wait
	held     *buf.Buffer
	heldAt   int // bytes of held that are gone
	waits    int // events that wait
	waitText int // bytes of text in them
	packed

	out   *buf.Buffer
	sp    splices
	frame int64 // frames read

	gate     bool // a frame with text or an end came, or the head is long: it may leave
	dropFrom int64
	done     bool
	err      error
	texts    int64 // bytes of text, for the estimate of tokens
	readOn   int   // bytes of events that came after the terminal finding
	readText int   // bytes of text in them
	left     bool  // a frame left since edits were last forgotten

	now   time.Duration // when the current read returned, since the relay began: set by a Relay
	fresh int           // events that leave with the read that brought them
}

// Reset makes w ready for a stream.
func (w *Window) Reset(o Options) {
	w.Close()
	w.o = o
	if w.o.MaxHeld <= 0 {
		w.o.MaxHeld = DefaultMaxHeld
	}
	if w.o.MaxMemory <= 0 {
		w.o.MaxMemory = DefaultMaxMemory
	}
	if w.scratch = o.Scratch; w.scratch == nil {
		if w.own == nil {
			w.own = new(dialect.Scratch)
		}
		w.scratch = w.own
	}
	w.framer.Max = o.MaxEvent
	w.st.Reset()
	w.sent.Reset()
	w.start(o.Exchange, o.FailOpen)
	w.clean, w.loose, w.opened = w.clean[:0], w.loose[:0], 0
	w.frame, w.gate, w.dropFrom, w.done, w.err, w.texts = 0, false, noCut, false, nil, 0
	w.readOn, w.readText, w.left = 0, 0, false
	w.now, w.fresh = 0, 0
	if w.run != nil {
		w.run.on = false
	}
}

// Close gives sessions and buffers back. What Out gave is dead afterwards.
func (w *Window) Close() {
	w.framer.Close()
	for i := range w.channels {
		w.channels[i].close()
	}
	w.channels = w.channels[:0]
	w.once.close()
	buf.Put(w.out)
	buf.Put(w.held)
	w.out, w.held, w.heldAt, w.first, w.n = nil, nil, 0, 0, 0
	w.waits, w.waitText = 0, 0
	w.packed.close()
	if len(w.ring) > maxRing {
		w.ring = nil
	}
}

// Out is what the client must get now; nil when there is nothing. It stays
// valid until Sent.
func (w *Window) Out() []byte {
	if w.out == nil || len(w.out.B) == 0 {
		return nil
	}
	return w.out.B
}

// Sent says that Out was written and flushed: its memory may be used again.
func (w *Window) Sent() {
	buf.Put(w.out)
	w.out = nil
}

// Done tells that nothing more comes out, whatever is written.
func (w *Window) Done() bool { return w.done }

// Committed tells that bytes for the client came into being: no fallback after it.
func (w *Window) Committed() bool { return w.report.Committed }

// Report is what is known of the stream so far.
func (w *Window) Report() *Report { return &w.report }

// Write takes bytes from upstream, a whole read at a time: all that leaves
// because of them is in Out together. An error means that the stream is over;
// once committed, Out then holds the event that tells the client.
// Allocates: never, once buffers have grown. p: valid during the call only.
func (w *Window) Write(p []byte) error {
	if w.done {
		return w.err
	}
	w.report.BytesIn += int64(len(p))
	for at := 0; at < len(p) && !w.done; {
		ev, n, ok, err := w.framer.Next(p[at:])
		if ok && w.join(ev, p, at, n) {
			at += n
			continue
		}
		at += n
		w.endRun()
		switch {
		case w.done:
		case err != nil:
			w.fail(EndBadEvent, "", err)
		case ok:
			w.event(ev)
		}
	}
	w.endRun()
	return w.err
}

// Finish says that upstream closed the stream (err is nil or io.EOF's meaning)
// or that reading failed. What is left is decided as at an end of text.
func (w *Window) Finish(end End, err error) error {
	switch {
	case w.done:
	case end == EndNone && w.st.AllFinished():
		w.finish()
	case end == EndNone:
		w.fail(EndCut, "", ErrCut)
	default:
		w.fail(end, "", err)
	}
	return w.err
}

// event takes one event through.
func (w *Window) event(ev sse.Event) {
	err := w.o.Dialect.ParseEvent(w.scratch, &w.st, ev.Name, ev.Data, &w.chunk)
	if err != nil {
		w.fail(EndBadEvent, "", fmt.Errorf("read event %d: %w", w.frame+1, err))
		return
	}
	c := &w.chunk
	name := ev.Name
	if !c.Named {
		name = nil
	}
	if c.HasUsage {
		w.report.Usage = c.Usage
	}
	switch {
	case c.Terminal:
		w.finish()
		return
	case c.HasError:
		w.fail(EndUpstreamError, "", ErrUpstream)
		return
	}
	w.frame++
	w.report.Frames++
	if w.x.Terminal() {
		w.more(ev.Data)
		return
	}
	f := &w.cur
	f.reset()
	f.number, f.came, f.text, f.keep, f.roles = w.frame, w.now, c.HasText, c.HasUsage, c.Roles
	w.switches(len(ev.Data))
	for i := range c.Pieces {
		if !w.piece(f, &c.Pieces[i], ev.Data) {
			w.fail(EndBadEvent, "", fmt.Errorf("read event %d: %w", w.frame, errHalf))
			return
		}
	}
	for _, fin := range c.Finishes {
		f.fins = append(f.fins, fin)
		w.report.Finishes = append(w.report.Finishes, Finish{Choice: fin.Choice, Reason: reasonOf(fin.Reason.Of(ev.Data))})
		for k := range w.channels {
			if ch := &w.channels[k]; ch.key.Choice == fin.Choice && !w.endChannel(ch, true) {
				w.fail(EndBadEvent, "", fmt.Errorf("read event %d: %w", w.frame, errHalf))
				return
			}
		}
	}
	for _, lp := range c.Logprobs {
		f.logprobs = append(f.logprobs, logprob{choice: lp.Choice, value: lp.Value, null: !lp.Same && w.scans[pipeline.OutputText]})
	}
	w.gate = w.gate || w.opens(f)
	if w.n > 0 && !w.x.Terminal() {
		w.release()
	}
	if w.n == 0 && w.gate && !w.x.Terminal() && w.clearFrame(f) {
		w.render(f, name, ev.Data)
		w.forget()
		return
	}
	w.push(f, name, ev.Data)
	w.forget()
	if w.x.Terminal() {
		w.decide()
		return
	}
	if !w.gate && w.waitText == 0 && w.heldBytes() > w.o.MaxHeld {
		// A long head without text: nothing in it waits for a decision, so it leaves.
		w.gate = true
		w.release()
	}
	if w.heldText() > w.o.MaxHeld || w.heldBytes() > w.o.MaxMemory {
		w.overflow()
	}
}

// switches ends the channels of a choice that other channels' text follows.
// Channels of one frame run side by side, and so do calls whose arguments come in
// turns: those that are no whole JSON yet go on, and what follows waits, unless much
// would wait. size: of the event.
func (w *Window) switches(size int) {
	w.marked = w.marked[:0]
	if w.opened == 0 {
		return
	}
	for i := range w.chunk.Pieces {
		p := &w.chunk.Pieces[i]
		if p.Start < p.End && p.Key.Choice >= 0 && (p.Flags&dialect.Whole == 0 || p.Key.Field == dialect.ToolName) {
			w.marked = append(w.marked, p.Key)
		}
	}
	for i := range w.channels {
		ch := &w.channels[i]
		if !ch.open {
			continue
		}
		other, own, calls := false, false, true
		if ch.loose > 0 {
			own = w.goesOn(&w.loose[ch.loose-1])
		}
		for _, m := range w.marked {
			if m.Choice != ch.key.Choice && (ch.loose == 0 || ch.key.Choice >= 0) {
				continue
			}
			if m == ch.key || m.Field == dialect.ToolName && m.Index == ch.key.Index && (ch.key.Field == dialect.ToolArgs || ch.key.Field == dialect.ToolInput) {
				own = true
			} else {
				other = true
				calls = calls && (m.Field == dialect.ToolName || m.Field == dialect.ToolArgs || m.Field == dialect.ToolInput)
			}
		}
		if other && !own && !(calls && w.inTurns(ch, size)) {
			w.endChannel(ch, false)
		}
	}
}

// inTurns tells whether the arguments of a call are expected to go on behind those of other calls: in mid-value they
// can, and then what is found over the place is an edit as any other. The other calls' events wait as long; past half
// of what may wait the text ends, which costs only that a match over the place is a block.
func (w *Window) inTurns(ch *channel, size int) bool {
	return ch.key.Field == dialect.ToolArgs && !ch.args.keys.whole() && 2*(w.heldText()+size) <= w.o.MaxHeld && 2*(w.heldBytes()+size) <= w.o.MaxMemory
}

// endChannel feeds the end. It gives false when half of a character is left over at the real end.
func (w *Window) endChannel(ch *channel, final bool) bool {
	if ch.open {
		w.opened--
		w.end(ch, final)
	}
	return !final || !ch.hasHigh
}

// piece scans one piece of the current chunk. It gives false for half a character.
func (w *Window) piece(f *frame, p *dialect.Piece, data []byte) bool {
	raw := data[p.Start:p.End]
	if p.Key.Choice >= 0 && p.Flags&dialect.Whole == 0 {
		w.texts += int64(len(raw))
	}
	class := pipeline.Class(p.Class)
	if !w.scans[class] {
		return true
	}
	if p.Has(dialect.Opaque) {
		w.report.Opaque++
		return true
	}
	if p.Has(dialect.Anew) {
		w.anew(&p.Key)
	}
	if p.Has(dialect.Loose) {
		w.value(f, p, raw)
		return true
	}
	if p.Has(dialect.Whole) {
		w.complete(f, p, raw)
		return true
	}
	i := w.channel(p.Key, class)
	if i < 0 {
		return true
	}
	ch := &w.channels[i]
	at := ch.fed()
	q := piece{ch: int32(i), start: at, raw: dialect.Span{Start: p.Start, End: p.End}}
	text := raw
	if len(raw) > 0 && (ch.hasHigh || p.Flags&(dialect.LeadingLow|dialect.TrailingHigh) != 0) {
		if ch.hasHigh != p.Has(dialect.LeadingLow) {
			return false
		}
		if ch.hasHigh {
			r, ok := jsonwalk.JoinSurrogates(ch.high[:], raw[:6])
			if !ok {
				return false
			}
			q.lead, ch.hasHigh, text = r, false, raw[6:]
		}
		if p.Has(dialect.TrailingHigh) {
			q.trail, ch.hasHigh = true, true
			copy(ch.high[:], raw[len(raw)-6:])
			text = text[:len(text)-6]
		}
		var lead [4]byte
		w.feedPart(ch, lead[:encode(lead[:], q.lead)])
		text = w.decoded(text, true)
	} else {
		text = w.decoded(raw, p.Has(dialect.Escaped))
	}
	w.feedPart(ch, text)
	ch.seen = w.frame
	q.end = ch.fed()
	f.pieces = append(f.pieces, q)
	return true
}

// anew ends the arguments of the call that another one at its index follows: they are scanned each alone, and what
// reaches over the place, where clients that go by the index join them, is found too.
func (w *Window) anew(name *dialect.ChannelKey) {
	for i := range w.channels {
		ch := &w.channels[i]
		if ch.key.Choice == name.Choice && ch.key.Index == name.Index && (ch.key.Field == dialect.ToolArgs || ch.key.Field == dialect.ToolInput) {
			w.endChannel(ch, false)
		}
	}
}

// fed is the offset up to which the channel's text came.
func (ch *channel) fed() int64 { return ch.text.end() }

func (w *Window) feedPart(ch *channel, text []byte) {
	if len(text) == 0 {
		return
	}
	if !ch.open {
		w.opened++
	}
	w.feed(ch, text)
}

func (w *Window) decoded(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw
	}
	w.scratch.Text = jsonwalk.AppendUnescaped(w.scratch.Text[:0], raw)
	return w.scratch.Text
}

// channel finds or opens the channel of a key; -1 when there are too many.
func (w *Window) channel(key dialect.ChannelKey, class pipeline.Class) int {
	for i := range w.channels {
		if w.channels[i].key == key {
			return i
		}
	}
	n := len(w.channels)
	if n >= maxChannels {
		w.x.Record(-1, class, &pipeline.Finding{Rule: pipeline.NoRule, Entity: pipeline.HoldEntity, Policy: noPolicy, Action: pipeline.Block})
		w.dropFrom = min(w.dropFrom, w.frame)
		return -1
	}
	if n < cap(w.channels) {
		w.channels = w.channels[:n+1]
	} else {
		w.channels = append(w.channels, channel{})
	}
	w.openChannel(&w.channels[n], key, class)
	return n
}

// noPolicy is the chain position of findings that no policy made.
const noPolicy = 255

// complete scans a text that begins and ends in this frame.
func (w *Window) complete(f *frame, p *dialect.Piece, raw []byte) {
	known := -1
	for i := range w.clean {
		if w.clean[i].key == p.Key {
			known = i
		}
	}
	if known >= 0 && w.clean[known].clean && p.Has(dialect.Repeat) {
		return
	}
	clean := true
	if len(raw) > 0 {
		clean = w.single(f, p, raw)
	}
	if known >= 0 {
		w.clean[known].clean = clean
	} else if len(w.clean) < maxClean {
		w.clean = append(w.clean, cleanText{p.Key, clean})
	}
}

// single scans a text of one frame and tells whether nothing was found.
func (w *Window) single(f *frame, p *dialect.Piece, raw []byte) (clean bool) {
	ch := &w.once
	before := w.report.Findings
	w.openChannel(ch, p.Key, pipeline.Class(p.Class))
	text := w.decoded(raw, p.Has(dialect.Escaped))
	w.whole(ch, text)
	if p.Has(dialect.ID) {
		w.identifier(ch, text)
		w.head(ch, raw)
	}
	if ch.cut != noCut {
		// Nothing of a frame with such a text can go out.
		w.dropFrom = min(w.dropFrom, w.frame)
	} else {
		w.rawEdits(f, ch, p, raw)
	}
	ch.close()
	return before == w.report.Findings
}

// head changes what the window's own chunks say of the answer's id and model, as it is changed where they stand.
func (w *Window) head(ch *channel, raw []byte) {
	for _, own := range [...]*[]byte{&w.st.ID, &w.st.Model} {
		switch {
		case !bytes.Equal(*own, raw):
		case ch.cut != noCut:
			*own = (*own)[:0]
		case len(ch.edits) > 0:
			*own = append((*own)[:0], ch.edits[0].repl.Of(w.arena)...)
		}
	}
}

// rawEdits turns the edits of a complete text into edits of its frame.
func (w *Window) rawEdits(f *frame, ch *channel, p *dialect.Piece, raw []byte) {
	for i := range ch.edits {
		e := &ch.edits[i]
		a, b := jsonwalk.RawSpan(raw, int(e.start), int(e.end))
		f.raws = append(f.raws, rawEdit{raw: dialect.Span{Start: p.Start + int32(a), End: p.Start + int32(b)}, repl: e.repl, key: p.Has(dialect.Key)})
	}
}

func (w *Window) clearFrame(f *frame) bool {
	for i := range f.pieces {
		if p := &f.pieces[i]; p.end > w.channels[p.ch].clear {
			return false
		}
	}
	return true
}

// push puts the frame into the window and copies its payload, or what of it differs from the frame before.
func (w *Window) push(f *frame, name, data []byte) {
	w.waits++
	w.waitText += f.textLen()
	if !w.pack(f, name, data) {
		w.pushWhole(f, name, data)
	}
	w.report.HeldMax = max(w.report.HeldMax, len(w.held.B)-w.heldAt)
	w.report.HeldMaxN = max(w.report.HeldMaxN, w.waits)
}

func (w *Window) pushWhole(f *frame, name, data []byte) {
	if w.n == len(w.ring) {
		ring := make([]frame, max(4, 2*len(w.ring)))
		for i := range w.n {
			ring[i] = w.ring[(w.first+i)&(len(w.ring)-1)]
		}
		w.ring, w.first = ring, 0
	}
	w.heldRoom(len(name) + len(data))
	at := int32(len(w.held.B))
	w.held.B = append(w.held.B, name...)
	mid := int32(len(w.held.B))
	w.held.B = append(w.held.B, data...)
	f.name, f.data = dialect.Span{Start: at, End: mid}, dialect.Span{Start: mid, End: int32(len(w.held.B))}
	f.next, f.like = f.data.End, 0
	slot := &w.ring[(w.first+w.n)&(len(w.ring)-1)]
	*slot, *f = *f, *slot // each keeps the other's memory
	w.n++
}

// heldRoom makes room for n more bytes in held.
func (w *Window) heldRoom(n int) {
	if w.held == nil {
		w.held, w.heldAt = buf.Get(n), 0
		return
	}
	if w.heldAt > 0 && len(w.held.B)+n > cap(w.held.B) {
		gone := int32(w.heldAt)
		w.held.B = w.held.B[:copy(w.held.B, w.held.B[gone:])]
		for i := range w.n {
			g := w.at(i)
			g.next -= gone
			if i > 0 || !w.inFront {
				g.data.Start, g.data.End = g.data.Start-gone, g.data.End-gone
				g.name.Start, g.name.End = g.name.Start-gone, g.name.End-gone
			}
		}
		w.heldAt = 0
	}
	buf.Grow(w.held, n)
}

// textLen is how much text the frame has, of texts that go on over frames.
func (f *frame) textLen() (n int) {
	for i := range f.pieces {
		n += int(f.pieces[i].end - f.pieces[i].start)
	}
	return n
}

func (w *Window) at(i int) *frame { return &w.ring[(w.first+i)&(len(w.ring)-1)] }

// heldBytes is the memory of what waits behind the oldest event.
func (w *Window) heldBytes() int {
	if w.waits < 2 {
		return 0
	}
	return len(w.held.B) - int(w.at(0).next) + frameCost*(w.n-1)
}

// heldText is the text that waits behind the oldest event with text.
func (w *Window) heldText() int {
	if w.waits < 2 {
		return 0
	}
	for i := range w.n {
		if n := w.at(i).textLen(); n > 0 {
			return w.waitText - n
		}
	}
	return 0
}

// opens tells whether the first frame with text or an end is clear. f stands
// behind those that wait.
func (w *Window) opens(f *frame) bool {
	for i := range w.n {
		if g := w.at(i); g.text || len(g.fins) > 0 || !w.clearFrame(g) {
			return w.clearFrame(g)
		}
	}
	return (f.text || len(f.fins) > 0) && w.clearFrame(f)
}

// release lets the frames go that are clear, in order.
func (w *Window) release() {
	if !w.gate || w.x.Terminal() {
		return
	}
	for w.n > 0 {
		f := w.at(0)
		if !w.clearFrame(f) {
			break
		}
		b := w.bytesOf(0)
		w.render(f, f.name.Of(b), f.data.Of(b))
		w.pop()
	}
}

// pop drops the oldest event.
func (w *Window) pop() {
	f := w.at(0)
	w.waits--
	w.waitText -= f.textLen()
	if f.like > 0 {
		w.unpack(f)
		w.heldAt = int(f.next)
		return
	}
	w.heldAt, w.inFront = int(f.next), false
	w.first, w.n = (w.first+1)&(len(w.ring)-1), w.n-1
	if w.n == 0 {
		buf.Put(w.held)
		w.held, w.heldAt = nil, 0
	}
}

// forget drops edits whose text has left, and the arena when none is left.
func (w *Window) forget() {
	if len(w.arena) == 0 || !w.left {
		return
	}
	w.left = false
	live := false
	for i := range w.channels {
		ch := &w.channels[i]
		if len(ch.edits) == 0 {
			continue
		}
		at := ch.fed()
		for k := range w.n {
			g := w.at(k)
			for q := range g.pieces {
				if g.pieces[q].ch == int32(i) {
					at = min(at, g.pieces[q].start)
				}
			}
		}
		ch.forget(min(at, ch.clear, ch.stay))
		live = live || len(ch.edits) > 0
	}
	for k := range w.n {
		live = live || len(w.at(k).raws) > 0
	}
	if !live {
		w.arena = w.arena[:0]
	}
}

// render writes one frame to out, as it came when nothing is to be changed.
func (w *Window) render(f *frame, name, data []byte) {
	w.left = true
	left := w.changes(f, data)
	if w.x.Terminal() && w.drop(f, left) {
		w.report.Dropped++
		for i := range f.fins {
			_ = w.sent.See(f.fins[i].Choice) // seen before: within the limit
		}
		return
	}
	w.sent.Roles.AddAll(&f.roles)
	w.report.Delay += w.frame - f.number
	if held := w.now - f.came; held > 0 {
		w.report.Holds.Add(held, 1)
		w.report.Delays.Add(held, 1)
	} else {
		w.fresh++
	}
	before := w.room(len(name) + len(data) + len(w.sp.text) + 32)
	if len(w.sp.list) == 0 {
		w.out.B = sse.AppendJSON(w.out.B, name, data)
	} else {
		w.report.Edited++
		b := buf.Get(len(data) + len(w.sp.text))
		b.B = w.sp.apply(b.B, data)
		w.out.B = sse.AppendJSON(w.out.B, name, b.B)
		buf.Put(b)
	}
	w.wrote(before)
}

// changes gathers the edits of a frame and tells whether any of its text is left.
func (w *Window) changes(f *frame, data []byte) (left bool) {
	w.sp.reset()
	terminal := w.x.Terminal()
	for i := range f.raws {
		e := &f.raws[i]
		w.sp.add(e.raw.Start, e.raw.End, e.repl.Of(w.arena))
		w.sp.keyed = w.sp.keyed || e.key
	}
	for i := range f.pieces {
		p := &f.pieces[i]
		ch := &w.channels[p.ch]
		if len(ch.edits) == 0 && ch.cut == noCut && p.lead == 0 && !p.trail {
			left = left || p.start < p.end
			continue
		}
		l, changed := w.edited(&w.sp, ch, p, data)
		left = left || l
		if !changed {
			continue
		}
		for k := range f.logprobs {
			if f.logprobs[k].choice == ch.key.Choice {
				f.logprobs[k].null = true
			}
		}
	}
	for i := range f.logprobs {
		if lp := &f.logprobs[i]; lp.null {
			w.sp.literal(lp.value.Start, lp.value.End, "null")
		}
	}
	for i := range f.fins {
		if fin := &f.fins[i]; terminal && w.isCut(fin.Choice) {
			_ = w.sent.See(fin.Choice) // seen before: within the limit
			w.sp.literal(fin.Reason.Start-1, fin.Reason.End+1, "null")
		}
	}
	return left
}

// isCut tells that text of the choice, or text beside all choices, does not go out to its end.
func (w *Window) isCut(choice int32) bool {
	for i := range w.channels {
		if ch := &w.channels[i]; (ch.key.Choice == choice || ch.key.Choice < 0) && ch.cut != noCut {
			return true
		}
	}
	return false
}

// drop tells that nothing is left of a frame of a blocked stream.
func (w *Window) drop(f *frame, left bool) bool {
	if f.number >= w.dropFrom {
		return true
	}
	if left || f.keep {
		return false
	}
	gone := false // text of it stands behind a cut
	for i := range f.pieces {
		p := &f.pieces[i]
		gone = gone || p.end > w.channels[p.ch].cut
	}
	for i := range f.fins {
		if !w.isCut(f.fins[i].Choice) {
			return false
		}
		gone = true
	}
	return gone
}

// room makes room in out and gives its length.
func (w *Window) room(n int) int {
	if w.out == nil {
		w.out = buf.Get(n)
	} else {
		buf.Grow(w.out, n)
	}
	return len(w.out.B)
}

func (w *Window) wrote(before int) {
	w.report.Committed = true
	w.report.BytesOut += int64(len(w.out.B) - before)
}

// overflow blocks a stream that holds more than it may.
func (w *Window) overflow() {
	var at *channel
	for i := range w.channels {
		ch := &w.channels[i]
		if ch.clear < ch.fed() {
			ch.cut = min(ch.cut, ch.clear)
			if at == nil {
				at = ch
			}
		}
	}
	f := pipeline.Finding{Rule: pipeline.NoRule, Entity: pipeline.HoldEntity, Policy: noPolicy, Action: pipeline.Block}
	number, class := int32(-1), pipeline.OutputText
	if at != nil {
		f.Start, f.End, number, class = at.clear, at.fed(), at.number, at.class
	}
	w.report.Findings++
	w.x.Record(number, class, &f)
	w.block()
}

// decide goes on after a terminal finding: the stream is blocked as soon as all
// that stands before the finding is decided.
func (w *Window) decide() {
	if ch := w.decider(); ch == nil || !ch.open || ch.clear >= ch.cut {
		w.block()
	}
}

// decider is the channel with the terminal finding; nil when it is none that goes on.
func (w *Window) decider() *channel {
	for i := range w.channels {
		if ch := &w.channels[i]; ch.number == w.decided {
			return ch
		}
	}
	return nil
}

// more reads on after a terminal finding, for the edits that may stand before it.
func (w *Window) more(data []byte) {
	ch := w.decider()
	w.readOn += len(data)
	before := ch.fed()
	for i := range w.chunk.Pieces {
		p := &w.chunk.Pieces[i]
		if ch.loose > 0 && p.Has(dialect.Loose) && p.Key == w.loose[ch.loose-1].key {
			w.cur.reset() // it does not go out
			w.value(&w.cur, p, data[p.Start:p.End])
		}
		if p.Key == ch.key && p.Flags&dialect.Whole == 0 && p.Flags&(dialect.LeadingLow|dialect.TrailingHigh) == 0 {
			w.feedPart(ch, w.decoded(data[p.Start:p.End], p.Has(dialect.Escaped)))
		}
	}
	w.readText += int(ch.fed() - before)
	over := w.readText > w.o.MaxHeld || w.readOn > w.o.MaxMemory || ch.loose > 0 && !w.goesOn(&w.loose[ch.loose-1])
	for _, fin := range w.chunk.Finishes {
		over = over || fin.Choice == ch.key.Choice
	}
	if over {
		w.endChannel(ch, true)
	}
	w.decide()
}

// settleAll feeds the end to every channel that is open.
func (w *Window) settleAll() {
	for i := range w.channels {
		w.endChannel(&w.channels[i], true)
	}
}

// flush lets all frames go.
func (w *Window) flush() {
	for w.n > 0 {
		f, b := w.at(0), w.bytesOf(0)
		w.render(f, f.name.Of(b), f.data.Of(b))
		w.pop()
	}
}

// block ends the stream with the dialect's content-filter end.
func (w *Window) block() {
	w.settleAll()
	w.flush()
	w.sent.ID = append(w.sent.ID[:0], w.st.ID...)
	w.sent.Model = append(w.sent.Model[:0], w.st.Model...)
	w.sent.Created = append(w.sent.Created[:0], w.st.Created...)
	for _, choice := range w.st.Open(nil) {
		_ = w.sent.See(choice) // seen before: within the limit
	}
	d := w.x.Decide()
	e := BlockError(&d, true, w.o.RequestID)
	before := w.room(512)
	if w.sent.Choices() == 0 && w.st.Choices() > 0 {
		// Every choice had ended before the finding, in texts outside of them.
		w.out.B = w.o.Dialect.AppendFilterEnd(w.out.B, &dialect.Stream{ID: w.sent.ID, Model: w.sent.Model, Created: w.sent.Created, Roles: w.sent.Roles}, &e)
	} else {
		w.out.B = w.o.Dialect.AppendFilterEnd(w.out.B, &w.sent, &e)
	}
	w.wrote(before)
	w.over(EndBlocked, nil)
}

// finish ends the stream in the normal way.
func (w *Window) finish() {
	w.settleAll()
	half := false
	for i := range w.channels {
		half = half || w.channels[i].hasHigh
	}
	switch {
	case half:
		w.fail(EndBadEvent, "", fmt.Errorf("read event %d: %w", w.frame, errHalf))
		return
	case w.x.Terminal():
		w.block()
		return
	}
	w.gate = true
	w.release()
	before := w.room(16)
	w.out.B = w.o.Dialect.AppendDone(w.out.B)
	w.wrote(before)
	w.over(EndDone, nil)
}

// fail ends the stream early. Before the commit point nothing goes out, not even
// what would be clear at an end of text: the caller may try elsewhere. After it,
// what came is scanned to its end and leaves.
func (w *Window) fail(end End, message string, err error) {
	if !w.report.Committed && !w.x.Terminal() {
		w.over(end, err)
		return
	}
	w.settleAll()
	if w.x.Terminal() {
		w.block()
		return
	}
	w.release()
	e := dialect.Error{Type: "upstream_error", Code: end.String(), Message: failText[end], RequestID: w.o.RequestID}
	before := w.room(256)
	w.out.B = w.o.Dialect.AppendErrorEvent(w.out.B, &e)
	w.wrote(before)
	w.over(end, err)
}

var failText = [...]string{
	EndUpstreamError: "The model provider reported an error in the middle of the answer.",
	EndCut:           "The model provider closed the connection before the end of the answer.",
	EndBadEvent:      "The model provider sent an event that could not be read.",
	EndTimeout:       "The model provider took too long.",
	EndClientGone:    "",
}

func (w *Window) over(end End, err error) {
	w.done, w.err, w.report.End = true, err, end
	u := &w.report.Usage
	if u.Total == 0 && u.Prompt == 0 && u.Completion == 0 {
		*u = EstimateUsage(w.o.PromptBytes, w.texts)
	}
}

// EstimateUsage counts tokens where an answer brings no figures: four bytes of
// text for one token, the usual ratio of English text.
func EstimateUsage(promptBytes, completionBytes int64) dialect.Usage {
	u := dialect.Usage{Prompt: (promptBytes + 3) / 4, Completion: (completionBytes + 3) / 4, Estimated: true}
	u.Total = u.Prompt + u.Completion
	return u
}

// BlockError is what the client is told about a decision to block or to escalate.
func BlockError(d *pipeline.Decision, output bool, requestID string) dialect.Error {
	e := dialect.Error{Type: "policy_violation", Policy: d.Kind, Code: "input_blocked", ReasonCode: d.Reason, RequestID: requestID, Message: d.Message}
	switch {
	case d.Verdict == pipeline.VerdictEscalate:
		e.Code = "escalation_required"
	case output:
		e.Code = "output_blocked"
	}
	if e.Message == "" {
		switch e.Code {
		case "escalation_required":
			e.Message = "A policy asks for a review before this goes on."
		case "output_blocked":
			e.Message = "The answer was blocked by a policy."
		default:
			e.Message = "The request was blocked by a policy."
		}
	}
	return e
}
