package stream

import (
	"hash/maphash"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream/dialect"
)

// A place of an answer that the API does not name (choices[].thinking, citations,
// a vendor's message) may hold a constant of the stream, a value of each event,
// the pieces of one text, or the text so far. Nobody says which, so what its
// reader may put together is scanned: the values joined, and each alone, from the
// beginning of the first that it continues. An event waits until both are clear.
//
// A value that is equal to the one before is taken for a constant: at once where
// the place had no other value yet, else when it came maxEqual times. A constant
// ends what was joined and is scanned once.

const (
	// maxEqual is how often a text in pieces may bring the same piece in a row.
	maxEqual = 8
	// minGrows is the size in bytes from which on a value that begins with the one
	// before it is the text so far, and no piece.
	minGrows = 8
	// maxAgain is the longest constant in bytes that counts as the pieces of a text
	// which came before, when another value follows it.
	maxAgain = 64
)

var seed = maphash.MakeSeed()

// loose is one such place.
type loose struct {
	key           dialect.ChannelKey
	joined, alone int32  // its channels
	size          int    // of the last value, decoded; 0: there was none
	sum           uint64 // its hash
	start         int64  // where it begins in the text of alone
	equal         int    // values equal to it that followed, up to maxEqual
	changed       bool   // there was another one before
	grows         bool   // it begins with the one before
	steady        bool   // taken for a constant
	clean         bool   // steady: nothing is found in it
	last          [maxAgain]byte
}

// looseAt finds or opens the place of a key; -1 when there are too many.
func (w *Window) looseAt(key dialect.ChannelKey, class pipeline.Class) int {
	for range w.loose { // events of one kind keep their order
		if w.looseNext >= len(w.loose) {
			w.looseNext = 0
		}
		if w.looseNext++; w.loose[w.looseNext-1].key == key {
			return w.looseNext - 1
		}
	}
	l := loose{key: key, joined: int32(w.channel(key, class))}
	key.Index = ^key.Index
	if l.alone = int32(w.channel(key, class)); l.joined < 0 || l.alone < 0 {
		return -1
	}
	w.loose = append(w.loose, l)
	n := len(w.loose)
	w.channels[l.joined].loose, w.channels[l.alone].loose = int32(n), int32(n)
	return n - 1
}

// value scans the value of a loose place.
func (w *Window) value(f *frame, p *dialect.Piece, raw []byte) {
	if len(raw) == 0 {
		return
	}
	i := w.looseAt(p.Key, pipeline.Class(p.Class))
	if i < 0 {
		return
	}
	l := &w.loose[i]
	if l.steady && l.clean && p.Has(dialect.Repeat) {
		return
	}
	text := w.decoded(raw, p.Has(dialect.Escaped))
	sum := maphash.Bytes(seed, text)
	same := len(text) == l.size && sum == l.sum
	if same {
		if l.equal = min(l.equal+1, maxEqual); !l.steady && (!l.changed || l.equal == maxEqual) {
			w.rest(l)
		}
		if l.steady {
			if !l.clean {
				l.clean = w.single(f, p, raw)
			}
			return
		}
	}
	grows := l.size > 0 && len(text) >= l.size && !(same && !l.grows) && maphash.Bytes(seed, text[:l.size]) == l.sum
	span := dialect.Span{Start: p.Start, End: p.End}
	j, a := &w.channels[l.joined], &w.channels[l.alone]
	if grows && l.size >= minGrows {
		w.endChannel(j, false)
	} else {
		if l.steady && l.size <= maxAgain {
			w.again(j, l)
		}
		w.wake(j)
		at := j.fed()
		w.feedPart(j, text)
		f.pieces = append(f.pieces, piece{ch: l.joined, start: at, end: j.fed(), raw: span})
	}
	if grows && a.text.s != nil {
		w.feedPart(a, text[l.size:])
	} else {
		w.endChannel(a, false)
		a.sleep()
		w.wake(a)
		l.start = a.fed()
		a.stay = l.start
		w.feedPart(a, text)
	}
	f.pieces = append(f.pieces, piece{ch: l.alone, start: l.start, end: a.fed(), raw: span})
	j.seen, a.seen = w.frame, w.frame
	l.changed = l.changed || l.size > 0 && !same
	if !same {
		l.equal = 0
	}
	l.size, l.sum, l.grows, l.steady, l.clean = len(text), sum, grows, false, false
	copy(l.last[:], text)
}

// rest takes the place's value for a constant: what waits for its next one goes.
func (w *Window) rest(l *loose) {
	for _, i := range [...]int32{l.joined, l.alone} {
		ch := &w.channels[i]
		w.endChannel(ch, false)
		ch.sleep()
		ch.stay = noCut
	}
	l.steady, l.clean = true, false
}

// again puts a constant in front of the value that follows it: they may have been
// pieces of one text. What lies in the constant alone is no finding.
func (w *Window) again(j *channel, l *loose) {
	w.wake(j)
	for n := 0; n < maxEqual; n++ {
		j.mute = j.fed() + int64(l.size)
		w.feedPart(j, l.last[:l.size])
	}
}

// goesOn tells whether the current chunk has a value for the place.
func (w *Window) goesOn(l *loose) bool {
	for i := range w.chunk.Pieces {
		if p := &w.chunk.Pieces[i]; p.Has(dialect.Loose) && p.Start < p.End && p.Key == l.key {
			return true
		}
	}
	return false
}

// sleep gives the session and the text of a channel back that was ended. What comes
// next is a new text behind it.
func (ch *channel) sleep() {
	at := ch.text.end()
	ch.text.close()
	ch.text = lane{base: at, keep: at, began: at, tail: at, gap: at}
	ch.open = false
}

// wake gives a channel that slept a session.
func (w *Window) wake(ch *channel) {
	if ch.text.s == nil {
		ch.text.s = w.x.Chain.Session(ch.class, ch.mask)
	}
}
