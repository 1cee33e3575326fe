// Package sse cuts a byte stream into server-sent events by the rules of the
// WHATWG HTML standard, section 9.2 (server-sent events), and writes events in
// one canonical form. It does no I/O: bytes in, events out.
//
// Cost per event: one search for the line end, no copy when the event lies
// wholly in the bytes given, no allocation once the scratch has grown.
package sse

import (
	"bytes"
	"errors"

	"github.com/keeptrusts/kt/internal/buf"
)

// DefaultMaxEvent is the largest event in bytes, lines and comments before it
// included. Answers of some APIs repeat the whole text in their last event.
const DefaultMaxEvent = 4 << 20

// ErrEventTooLarge tells that more than the limit of bytes came without an event being complete.
var ErrEventTooLarge = errors.New("read event stream: event is larger than the limit")

// Event is one dispatched event. Its slices point into the bytes given to Next
// or into the framer: valid until the next call of Next or Close.
type Event struct {
	Name []byte // value of the last "event" field, empty for the default type "message"
	Data []byte // data lines joined by LF
	ID   []byte // the stream's last event id so far
}

// Framer cuts a stream into events. The zero value is ready. It belongs to one
// goroutine at a time. How the bytes were cut does not show in the events.
type Framer struct {
	// Max is the largest event in bytes; 0 means DefaultMaxEvent.
	Max int

	line *buf.Buffer // the beginning of a line whose end has not come yet
	data *buf.Buffer // data lines so far that do not lie in the current bytes
	name *buf.Buffer // event field, when the event was cut or has two of them
	id   []byte      // last event id

	hasData bool // a data field came since the last dispatch
	hasName bool // a non-empty event field came since the last dispatch
	skipLF  bool // the last byte was CR: an LF right after it belongs to it
	started bool // the byte order mark is behind us
	spent   bool // data and name belong to the event returned last
	used    int  // bytes since the last dispatch
	retry   int  // last retry field in milliseconds plus one; 0 when none came
}

// Next reads the next event. It consumes n bytes of src; ok tells that ev is an
// event, else all of src is consumed and the framer waits for more:
//
//	for len(src) > 0 {
//		ev, n, ok, err := f.Next(src)
//		src = src[n:]
//		...
//	}
//
// After an error the framer stays in it.
// Allocates: never, once the scratch has grown. src: the event points into it.
func (f *Framer) Next(src []byte) (ev Event, n int, ok bool, err error) {
	limit := f.Max
	if limit <= 0 {
		limit = DefaultMaxEvent
	}
	if f.used > limit {
		return Event{}, 0, false, ErrEventTooLarge
	}
	if f.spent {
		f.spent = false
		f.data, f.name = recycle(f.data), recycle(f.name)
		f.line = recycle(f.line)
	}
	if f.used == 0 && f.started && !f.skipLF {
		if k := plain(src); k > 0 && k <= limit {
			return Event{Data: src[len(dataPrefix) : k-len(emptyLine)], ID: f.id}, k, true, nil
		}
	}
	pos := 0
	if !f.started {
		if pos = f.skipMark(src); !f.started {
			return Event{}, pos, false, nil
		}
	}
	var data, name []byte // fields of this event that lie in src
	inSrc := false        // data holds the whole data so far
	lf, cr := -1, -1      // next LF and CR at or after pos; len(src) when there is none
	for pos < len(src) {
		if f.skipLF {
			f.skipLF = false
			if src[pos] == '\n' {
				pos++
				continue
			}
		}
		if lf < pos {
			lf = indexFrom(src, pos, '\n')
		}
		if cr < pos {
			// A CR behind the next LF is of no interest yet.
			if i := bytes.IndexByte(src[pos:lf], '\r'); i >= 0 {
				cr = pos + i
			} else {
				cr = lf
			}
		}
		end := min(lf, cr)
		// The bytes up to and with the line end count for the limit.
		took := min(end+1, len(src)) - pos
		if f.used += took; f.used > limit {
			return Event{}, pos, false, ErrEventTooLarge
		}
		if end == len(src) {
			f.carry(src[pos:])
			pos = end
			break
		}
		line := src[pos:end]
		fromSrc := true
		if f.line != nil && len(f.line.B) > 0 {
			put(&f.line, line)
			line, fromSrc = f.line.B, false
		}
		f.skipLF = src[end] == '\r'
		pos = end + 1
		if f.skipLF && pos < len(src) {
			f.skipLF = false
			if src[pos] == '\n' {
				pos++
			}
		}
		if len(line) == 0 {
			if ev, ok = f.dispatch(data, name, inSrc); ok {
				return ev, pos, true, nil
			}
			data, name, inSrc = nil, nil, false
			continue
		}
		switch field, value := split(line); field {
		case fieldData:
			switch {
			case !f.hasData && fromSrc:
				data, inSrc = value, true
			case !f.hasData:
				// The line's own buffer becomes the data: no second copy of a large event.
				f.line, f.data = f.data, f.line
				k := copy(f.data.B, value)
				f.data.B = f.data.B[:k]
			default:
				if inSrc {
					put(&f.data, data)
					data, inSrc = nil, false
				}
				if f.hasData {
					put(&f.data, lineFeed)
				}
				put(&f.data, value)
			}
			f.hasData = true
		case fieldEvent:
			f.hasName = len(value) > 0
			reset(f.name)
			if name = nil; fromSrc {
				name = value
			} else {
				put(&f.name, value)
			}
		case fieldID:
			if bytes.IndexByte(value, 0) < 0 {
				f.id = append(f.id[:0], value...)
			}
		case fieldRetry:
			if ms, isNumber := digits(value); isNumber {
				f.retry = ms + 1
			}
		}
		reset(f.line)
	}
	// No event yet: what points into src moves into the framer.
	if inSrc {
		put(&f.data, data)
	}
	if len(name) > 0 {
		put(&f.name, name)
	}
	return Event{}, pos, false, nil
}

const (
	dataPrefix = "data: "
	emptyLine  = "\n\n" // with the end of the line before it

	// PlainEnd is how many bytes of an event in plain form follow its data.
	PlainEnd = len(emptyLine)
)

// plain gives the length of an event in front of src that is in the form that
// AppendEvent writes, without a name and with one line of data, as nearly all
// are; 0: it is not, or not all there.
func plain(src []byte) int {
	if len(src) < len(dataPrefix) || string(src[:len(dataPrefix)]) != dataPrefix {
		return 0
	}
	lf := bytes.IndexByte(src, '\n')
	if lf < 0 || lf+1 == len(src) || src[lf+1] != '\n' || bytes.IndexByte(src[:lf], '\r') >= 0 {
		return 0
	}
	return lf + len(emptyLine)
}

// IsPlain tells whether an event that Next read from src, all of it, has the
// form that AppendEvent gives to its data alone: src can go on as it is.
// Allocates: never. src: valid during the call only.
func IsPlain(ev Event, src []byte) bool {
	return len(ev.Name) == 0 && len(src) == len(dataPrefix)+len(ev.Data)+len(emptyLine) &&
		string(src[:len(dataPrefix)]) == dataPrefix && string(src[len(src)-len(emptyLine):]) == emptyLine
}

// Incomplete tells whether the stream, if it ended now, would cut off an event
// or a line: what was read of it is dropped, as the standard says.
func (f *Framer) Incomplete() bool {
	return f.hasData || f.hasName || f.line != nil && len(f.line.B) > 0 && f.line.B[0] != ':'
}

// Retry gives the last reconnection time that the stream asked for, in milliseconds.
func (f *Framer) Retry() (ms int, ok bool) { return f.retry - 1, f.retry > 0 }

// Close gives the scratch back and makes the framer ready for another stream.
// Events it returned are dead afterwards.
func (f *Framer) Close() {
	buf.Put(f.line)
	buf.Put(f.data)
	buf.Put(f.name)
	*f = Framer{Max: f.Max, id: f.id[:0]}
}

// keepScratch is the largest scratch in bytes that a framer keeps between two events.
const keepScratch = 4 << 10

// dispatch ends an event. Without data there is none.
func (f *Framer) dispatch(data, name []byte, inSrc bool) (Event, bool) {
	had := f.hasData
	ev := Event{Name: name, Data: data, ID: f.id}
	if !inSrc && f.data != nil {
		ev.Data = f.data.B
	}
	if len(name) == 0 && f.name != nil && f.hasName {
		ev.Name = f.name.B
	}
	f.hasData, f.hasName = false, false
	if !had {
		reset(f.data)
		reset(f.name)
		return Event{}, false
	}
	f.used = 0
	f.spent = true
	return ev, true
}

func (f *Framer) carry(part []byte) {
	if f.line != nil && len(f.line.B) > 0 && f.line.B[0] == ':' {
		return // a comment: its text is not needed
	}
	put(&f.line, part)
}

// skipMark drops one byte order mark at the start of the stream and gives the
// number of bytes read. started stays false while the bytes so far could be a mark.
func (f *Framer) skipMark(src []byte) int {
	have := 0 // bytes of the mark seen in earlier calls
	if f.line != nil {
		have = len(f.line.B)
	}
	for i, c := range src {
		if c != mark[have+i] {
			// No mark: these bytes begin a line. Those of earlier calls wait in
			// f.line, those of this call are read again.
			f.started = true
			f.used += have
			return 0
		}
		if have+i == len(mark)-1 {
			f.started = true
			reset(f.line)
			return i + 1
		}
	}
	put(&f.line, src)
	return len(src)
}

type field uint8

const (
	fieldIgnored field = iota
	fieldData
	fieldEvent
	fieldID
	fieldRetry
)

// split cuts a line into field and value; one space after the colon is not part of the value.
func split(line []byte) (field, []byte) {
	name, value := line, line[len(line):]
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value = line[:i], line[i+1:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
	}
	switch string(name) {
	case "data":
		return fieldData, value
	case "event":
		return fieldEvent, value
	case "id":
		return fieldID, value
	case "retry":
		return fieldRetry, value
	}
	return fieldIgnored, nil // comments have an empty name
}

// digits reads ASCII digits; more than nine of them are no sensible time.
func digits(p []byte) (int, bool) {
	if len(p) == 0 || len(p) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

var (
	mark     = [...]byte{0xEF, 0xBB, 0xBF} // UTF-8 byte order mark
	lineFeed = []byte{'\n'}
)

func indexFrom(p []byte, from int, c byte) int {
	if i := bytes.IndexByte(p[from:], c); i >= 0 {
		return from + i
	}
	return len(p)
}

func put(b **buf.Buffer, p []byte) {
	if *b == nil {
		*b = buf.Get(len(p))
	} else {
		buf.Grow(*b, len(p))
	}
	(*b).B = append((*b).B, p...)
}

func reset(b *buf.Buffer) {
	if b != nil {
		b.B = b.B[:0]
	}
}

// recycle empties b, or gives it back when it is large.
func recycle(b *buf.Buffer) *buf.Buffer {
	if b != nil && cap(b.B) > keepScratch {
		buf.Put(b)
		return nil
	}
	reset(b)
	return b
}
