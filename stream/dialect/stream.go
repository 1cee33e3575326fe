package dialect

import "bytes"

// Stream is what one answer's stream has shown so far: what a content-filter
// end needs, which choices are open, and what every chunk repeats. It belongs
// to one goroutine at a time. The zero value is ready; Reset makes it so again.
type Stream struct {
	ID, Model, Created []byte    // raw JSON: ID and Model without quotes, Created a number
	Done               bool      // the terminal event or an error was seen: nothing may follow
	Roles              ChoiceSet // of a stream that is written: choices whose role went out

	choices []choiceState
	calls   []callState
	repeats []repeat
	shape   shape
}

type choiceState struct {
	index    int32
	finished bool
}

type callState struct {
	choice, index int32
	name, id      []byte
}

type repeat struct {
	key  ChannelKey
	text []byte
}

// Reset makes st ready for another stream and keeps its memory.
func (st *Stream) Reset() {
	*st = Stream{
		ID: st.ID[:0], Model: st.Model[:0], Created: st.Created[:0],
		choices: st.choices[:0], calls: st.calls[:0], repeats: st.repeats[:0],
		shape: shape{data: st.shape.data[:0], pieces: st.shape.pieces[:0]},
	}
}

// See notes that a chunk for the choice arrived. It fails past MaxChoices or
// for an index outside of 0 and MaxChoices-1.
func (st *Stream) See(choice int32) error {
	if choice < 0 || choice >= MaxChoices {
		return ErrTooMany
	}
	for i := range st.choices {
		if st.choices[i].index == choice {
			return nil
		}
	}
	st.choices = append(st.choices, choiceState{index: choice})
	return nil
}

// Finish notes that the choice gave its finish reason.
func (st *Stream) Finish(choice int32) {
	for i := range st.choices {
		if st.choices[i].index == choice {
			st.choices[i].finished = true
		}
	}
}

// Open appends the indexes of the choices that were seen and not finished, in
// order of first appearance.
func (st *Stream) Open(dst []int32) []int32 {
	for i := range st.choices {
		if !st.choices[i].finished {
			dst = append(dst, st.choices[i].index)
		}
	}
	return dst
}

// Choices is the number of choices seen so far.
func (st *Stream) Choices() int { return len(st.choices) }

// AllFinished tells that at least one choice was seen and all gave their finish reason.
func (st *Stream) AllFinished() bool {
	for i := range st.choices {
		if !st.choices[i].finished {
			return false
		}
	}
	return len(st.choices) > 0
}

// maxCallID is the longest id of a call that is remembered, in raw bytes.
const maxCallID = 256

// Call notes the name and the id (raw, empty when the delta has none) of a tool
// call. A name with another id than the call had begins another call at the same
// index (anew): some servers give every call of an answer index 0. It fails when
// the name alone differs, when the index is outside of 0 and MaxTools-1, or when
// the stream has MaxCalls calls already.
func (st *Stream) Call(choice, index int32, name, id []byte) (anew bool, err error) {
	if index < 0 || index >= MaxTools {
		return false, ErrTooMany
	}
	if len(id) > maxCallID {
		id = nil
	}
	for i := range st.calls {
		c := &st.calls[i]
		if c.choice != choice || c.index != index {
			continue
		}
		switch {
		case len(name) == 0:
		case len(c.name) == 0:
			c.name = append(c.name, name...)
		case len(id) > 0 && len(c.id) > 0 && !bytes.Equal(c.id, id):
			c.name, anew = append(c.name[:0], name...), true
		case !bytes.Equal(c.name, name):
			return false, ErrCallRenamed
		}
		if len(id) > 0 {
			c.id = append(c.id[:0], id...)
		}
		return anew, nil
	}
	n := len(st.calls)
	if n >= MaxCalls {
		return false, ErrTooMany
	}
	if n < cap(st.calls) {
		st.calls = st.calls[:n+1] // keeps the element's memory
	} else {
		st.calls = append(st.calls, callState{})
	}
	c := &st.calls[n]
	c.choice, c.index = choice, index
	c.name, c.id = append(c.name[:0], name...), append(c.id[:0], id...)
	return false, nil
}

// maxRepeats and maxRepeatText bound what Repeated remembers; past them texts count as new.
const (
	maxRepeats    = 16
	maxRepeatText = 256
)

// Repeated tells whether text is the same as in the last call for this key.
func (st *Stream) Repeated(key ChannelKey, text []byte) bool {
	for i := range st.repeats {
		r := &st.repeats[i]
		if r.key != key {
			continue
		}
		if bytes.Equal(r.text, text) {
			return true
		}
		if len(text) > maxRepeatText {
			text = nil
		}
		r.text = append(r.text[:0], text...)
		return false
	}
	if n := len(st.repeats); n < maxRepeats && len(text) <= maxRepeatText {
		if n < cap(st.repeats) {
			st.repeats = st.repeats[:n+1]
		} else {
			st.repeats = append(st.repeats, repeat{})
		}
		r := &st.repeats[n]
		r.key, r.text = key, append(r.text[:0], text...)
	}
	return false
}
