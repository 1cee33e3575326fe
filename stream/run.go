package stream

import (
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/sse"
)

// maxRun is how much text in bytes is scanned at once in a run: from there on a
// byte costs the same, and a lane's buffer stays small.
const maxRun = 256

// run is events of one Write that came together and differ from the one before
// them in nothing but the next piece of one text. Their text is scanned as one
// piece, and those that may leave do so in one copy. What comes out is the same
// as when each is taken alone: how a text is cut shows nowhere, and nothing else
// happens in these events.
//
// A text in which a finding could block is not taken so: what is found behind
// the blocking one must not depend on how events arrived.
type run struct {
	on     bool
	ch     int32 // position of the channel; -1: the text is not scanned
	counts bool  // the text is that of a choice
	opaque int   // opaque pieces of each event that are counted

	src    []byte // of the Write
	at, to int    // the events in src
	n      int    // of them
	first  int64  // number of the first

	events []runEvent // only when scanned
	fed    int        // text in bytes that was scanned before and is not clear
	text   int        // text in bytes
	waits  int        // text in bytes that waits before them
	held   int        // the memory that the events and those that wait before them would take, if none could leave and no two were alike
}

// runEvent is one event of a run.
type runEvent struct {
	to         int32        // its end in src
	data       dialect.Span // in src
	raw        dialect.Span // of its text in data
	start, end int64        // of its text in the channel
}

// join takes the event in front of src[at:], n bytes, into the run, or begins one.
// false: it is to be taken alone, after the run was ended.
// Allocates: never, once buffers have grown. src: not after the run's end.
func (w *Window) join(ev sse.Event, src []byte, at, n int) bool {
	on := w.run != nil && w.run.on
	if !on && at+n == len(src) || !sse.IsPlain(ev, src[at:at+n]) {
		return false // one event alone gains nothing
	}
	if on && w.run.text >= maxRun {
		w.endRun()
		on = false
	}
	if !on && !w.beginRun(src, at) {
		return false
	}
	r := w.run
	if r.ch >= 0 && (r.held+len(ev.Data)+frameCost > w.o.MaxMemory || r.waits+r.text+len(ev.Data) > w.o.MaxHeld) {
		return false // that the window overflows is seen where events are taken alone
	}
	raw, escaped, ok := w.st.Follows(&w.scratch.Walker, ev.Data)
	if !ok {
		return false
	}
	w.frame++
	w.report.Frames++
	w.report.Opaque += r.opaque
	if r.counts {
		w.texts += int64(raw.End - raw.Start)
	}
	r.n++
	r.to = at + n
	if r.ch < 0 {
		return true
	}
	text := w.decoded(raw.Of(ev.Data), escaped)
	l := &w.channels[r.ch].text
	e := runEvent{to: int32(at + n), raw: raw, start: l.end()}
	e.data.End = e.to - int32(sse.PlainEnd)
	e.data.Start = e.data.End - int32(len(ev.Data))
	l.put(text)
	e.end = l.end()
	r.events = append(r.events, e)
	r.text += len(text)
	r.held += len(ev.Data) + frameCost
	return true
}

// beginRun tells whether events of the last one's shape may form a run from here on, and begins it.
func (w *Window) beginRun(src []byte, at int) bool {
	pieces, text, ok := w.st.Shape()
	if !ok || !w.gate || w.x.Terminal() {
		return false
	}
	if w.run == nil {
		w.run = new(run)
	}
	r := w.run
	*r = run{ch: -1, src: src, at: at, to: at, first: w.frame + 1, events: r.events[:0]}
	for i := range pieces {
		p := &pieces[i]
		switch scans := w.scans[p.Class]; {
		case i == text:
		case !p.Has(dialect.Whole):
			return false
		case !scans:
		case p.Has(dialect.Opaque):
			r.opaque++
		case !p.Has(dialect.Repeat) || !w.known(p):
			return false
		}
	}
	p := &pieces[text]
	r.counts = p.Key.Choice >= 0
	class := pipeline.Class(p.Class)
	if !w.scans[class] {
		r.on = w.n == 0 && w.opened == 0
		return r.on
	}
	if w.x.Info().Strictest[class].Terminal() {
		return false
	}
	for i := range w.channels {
		ch := &w.channels[i]
		if !ch.open {
			continue
		}
		// It is the only one that is open: no other one ends with these events.
		if ch.key != p.Key || ch.hasHigh || ch.args != nil || ch.text.bridge != nil {
			return false
		}
		r.ch, r.fed = int32(i), int(ch.text.end()-ch.text.keep)
	}
	if w.n > 0 {
		r.held, r.waits = len(w.held.B)-w.heldAt+frameCost*w.n, w.waitText
	}
	r.on = r.ch >= 0
	return r.on
}

// known tells that nothing was found in a text that repeats.
func (w *Window) known(p *dialect.Piece) bool {
	if p.Has(dialect.Loose) {
		i := w.looseAt(p.Key, pipeline.Class(p.Class))
		return i >= 0 && w.loose[i].steady && w.loose[i].clean
	}
	for i := range w.clean {
		if w.clean[i].key == p.Key {
			return w.clean[i].clean
		}
	}
	return false
}

// endRun scans the text of the run and lets its events go, or puts them into the window.
func (w *Window) endRun() {
	r := w.run
	if r == nil || !r.on {
		return
	}
	r.on = false
	if r.n > 0 {
		w.takeRun(r)
	}
	r.src = nil
}

// takeRun takes all events of the run through.
func (w *Window) takeRun(r *run) {
	if r.ch < 0 {
		w.pass(r.src[r.at:r.to], r.n)
		return
	}
	ch := &w.channels[r.ch]
	ch.seen = w.frame
	w.scanPut(ch, r.fed, r.text)
	k := 0
	if !w.x.Terminal() {
		w.release()
		for w.n == 0 && k < len(r.events) && r.events[k].end <= ch.clear {
			k++
		}
	}
	if k > 0 && len(ch.edits) == 0 {
		w.pass(r.src[r.at:r.events[k-1].to], k)
		for i := range k {
			w.report.Delay += w.frame - r.first - int64(i)
		}
	} else {
		for i := range k {
			w.render(w.runFrame(i), nil, r.events[i].data.Of(r.src))
		}
	}
	for i := k; i < len(r.events); i++ {
		w.push(w.runFrame(i), nil, r.events[i].data.Of(r.src))
	}
	w.forget()
	if w.x.Terminal() {
		w.decide()
	}
}

// runFrame makes the frame of an event of the run.
func (w *Window) runFrame(i int) *frame {
	e, f := &w.run.events[i], &w.cur
	f.reset()
	f.number, f.came, f.text = w.run.first+int64(i), w.now, true
	f.pieces = append(f.pieces, piece{ch: w.run.ch, start: e.start, end: e.end, raw: e.raw})
	return f
}

// pass writes n events as they came.
func (w *Window) pass(p []byte, n int) {
	w.fresh += n
	before := w.room(len(p))
	w.out.B = append(w.out.B, p...)
	w.wrote(before)
}
