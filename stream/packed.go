package stream

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/keeptrusts/kt/stream/dialect"
)

// packed keeps events that differ from the one before them in nothing but the
// next piece of one text and what stands behind it in the payload: of such an
// event only that is held. A value that comes in tokens of one byte takes about
// 13 bytes an event so, not the 300 of each envelope and frame.
//
// A record in held is: the time at which the event came (8 bytes), the lengths
// (uvarint) of its text as it stands in the payload, of that text decoded, of
// what the payload before has behind the part that both begin with after the
// text, and of what this one has there; then text and that end. What a record
// takes depends on the event and the one before it only, not on what left when.
type packed struct {
	after []byte // what stands behind the text in the payload of the event that was pushed last
	upto  int64  // offset at which its text ends

	front, spare []byte // name and payload of the oldest event, when it was unpacked
	inFront      bool   // it was
}

// maxFront is how large in bytes the buffers of packed may stay for the next stream.
const maxFront = 4 << 10

func (p *packed) close() {
	if max(cap(p.after), cap(p.front), cap(p.spare)) > maxFront {
		*p = packed{}
	}
	p.inFront = false
}

// bytesOf is what the spans of the frame in place i are of.
func (w *Window) bytesOf(i int) []byte {
	if i == 0 && w.inFront {
		return w.front
	}
	return w.held.B
}

// plain tells that a frame has nothing but one piece of text, at the borders of characters.
func (f *frame) plain() bool {
	return f.text && !f.keep && len(f.pieces) == 1 && f.pieces[0].lead == 0 && !f.pieces[0].trail &&
		len(f.fins) == 0 && len(f.logprobs) == 0 && len(f.raws) == 0
}

// pack puts an event behind the last frame, if it is like it. It keeps the end
// of the payload for the next one.
func (w *Window) pack(f *frame, name, data []byte) bool {
	if !f.plain() {
		return false
	}
	p := &f.pieces[0]
	end := data[p.raw.End:]
	ok := false
	if w.n > 0 {
		g := w.at(w.n - 1)
		b := w.bytesOf(w.n - 1)
		ok = g.plain() && g.pieces[0].ch == p.ch && g.roles == f.roles && w.upto == p.start && g.number+int64(g.like)+1 == f.number &&
			bytes.Equal(g.name.Of(b), name) && bytes.Equal(g.data.Of(b)[:g.pieces[0].raw.Start], data[:p.raw.Start])
		if ok {
			g.like++
			w.put(f, p, data[p.raw.Start:p.raw.End], end)
		}
	}
	w.after = append(w.after[:0], end...)
	w.upto = p.end
	return ok
}

// put appends the record of an event.
func (w *Window) put(f *frame, p *piece, raw, end []byte) {
	k := samePrefix(w.after, end)
	w.heldRoom(8 + 4*binary.MaxVarintLen32 + len(raw) + len(end) - k)
	b := binary.LittleEndian.AppendUint64(w.held.B, uint64(f.came))
	b = binary.AppendUvarint(b, uint64(len(raw)))
	b = binary.AppendUvarint(b, uint64(p.end-p.start))
	b = binary.AppendUvarint(b, uint64(len(w.after)-k))
	b = binary.AppendUvarint(b, uint64(len(end)-k))
	b = append(b, raw...)
	w.held.B = append(b, end[k:]...)
}

func samePrefix(a, b []byte) int {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// unpack makes the frame the next one of those that are like it.
func (w *Window) unpack(f *frame) {
	r := w.held.B[f.next:]
	size := len(r)
	f.came = time.Duration(binary.LittleEndian.Uint64(r))
	r = r[8:]
	length := func() int32 {
		v, n := binary.Uvarint(r)
		r = r[n:]
		return int32(v)
	}
	raw, text, drop, add := length(), length(), length(), length()
	p := &f.pieces[0]
	was := w.bytesOf(0)
	name, data := f.name.Of(was), f.data.Of(was)
	b := append(w.spare[:0], name...)
	b = append(b, data[:p.raw.Start]...)
	b = append(b, r[:raw]...)
	b = append(b, data[p.raw.End:len(data)-int(drop)]...)
	b = append(b, r[raw:raw+add]...)
	w.front, w.spare, w.inFront = b, w.front, true
	f.next += int32(size - len(r[raw+add:]))
	f.like--
	f.number++
	f.name = dialect.Span{End: int32(len(name))}
	f.data = dialect.Span{Start: f.name.End, End: int32(len(b))}
	p.raw.End = p.raw.Start + raw
	p.start, p.end = p.end, p.end+int64(text)
}
