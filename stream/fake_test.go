package stream_test

import (
	"bytes"
	"slices"

	"github.com/keeptrusts/kt/pipeline"
)

// word is a literal that a fake chain looks for.
type word struct {
	text   string
	action pipeline.Action
	border bool // only where no letter follows: known one byte late
	repl   string
}

// fakeChain finds literals, in the plainest way that keeps the contract.
type fakeChain struct {
	info    pipeline.Info
	words   []word
	classes [pipeline.NumClasses]bool
	panics  bool
	feeds   int // calls of Feed so far
}

func newChain(words ...word) *fakeChain {
	c := &fakeChain{words: words, classes: [pipeline.NumClasses]bool{true, true, true, true}}
	c.info.Entities = pipeline.FixedEntities()
	for i, w := range words {
		c.info.Policies = append(c.info.Policies, pipeline.PolicyInfo{Kind: "fake"})
		c.info.Entities = append(c.info.Entities, pipeline.EntityInfo{Name: w.text, Reason: "fake.found", Policy: uint8(i)})
		for k := range c.info.Strictest {
			c.info.Strictest[k] = max(c.info.Strictest[k], w.action)
		}
	}
	return c
}

func (c *fakeChain) Info() *pipeline.Info { return &c.info }
func (c *fakeChain) Scans(k pipeline.Class, _ pipeline.Mask) bool {
	return c.classes[k] && len(c.words) > 0
}
func (c *fakeChain) Session(pipeline.Class, pipeline.Mask) pipeline.Session {
	return &fakeSession{c: c}
}

type fakeSession struct {
	c    *fakeChain
	text []byte // all of it
	done int64  // ends up to here were told
}

func letter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

func (s *fakeSession) Close() {}

func (s *fakeSession) Feed(win []byte, n int, end bool, out *pipeline.Findings) int {
	s.c.feeds++
	base := len(s.text) - n
	if base < 0 || !bytes.Equal(s.text[base:], win[:n]) {
		panic("the window does not continue the text")
	}
	s.text = append(s.text, win[n:]...)
	if s.c.panics && bytes.Contains(s.text, []byte("panic")) {
		panic("a policy failed")
	}
	sure := int64(len(s.text))
	if !end {
		sure--
	}
	for at := s.done + 1; at <= sure; at++ {
		for _, f := range s.c.endsAt(s.text, int(at)) {
			w := s.c.words[f.Policy]
			if f.Action == pipeline.Redact {
				out.AddRedaction(f, pipeline.Block, &pipeline.Marker{Text: w.repl}, nil)
			} else {
				out.Add(f, pipeline.Block)
			}
		}
	}
	s.done = max(s.done, sure)
	keep := len(s.text)
	if !end {
		for i := base; i < len(s.text); i++ {
			if s.c.live(s.text, i) {
				keep = i
				break
			}
		}
	}
	return keep - base
}

// endsAt gives the findings that end at an offset, in the contract's order.
func (c *fakeChain) endsAt(text []byte, at int) []pipeline.Finding {
	var out []pipeline.Finding
	for i, w := range c.words {
		if bytes.HasSuffix(text[:at], []byte(w.text)) && !(w.border && at < len(text) && letter(text[at])) {
			out = append(out, pipeline.Finding{
				Start: int64(at - len(w.text)), End: int64(at), Rule: uint32(i),
				Entity: uint16(pipeline.FirstEntity + i), Policy: uint8(i), Action: w.action,
			})
		}
	}
	slices.SortFunc(out, func(a, b pipeline.Finding) int {
		switch {
		case a.Less(&b):
			return -1
		case b.Less(&a):
			return 1
		}
		return 0
	})
	return out
}

// live tells that the text from i on may become a finding that was not told.
func (c *fakeChain) live(text []byte, i int) bool {
	for _, w := range c.words {
		rest := text[i:]
		if len(rest) < len(w.text) && bytes.HasPrefix([]byte(w.text), rest) {
			return true
		}
		if len(rest) == len(w.text) && string(rest) == w.text {
			return true // told with the next byte
		}
	}
	return false
}

// outcome is what the chain makes of a whole text, from the rules of the
// contract alone.
type outcome struct {
	text     string
	terminal bool
	redacted bool
}

func (c *fakeChain) outcome(text string) outcome {
	var all []pipeline.Finding
	for at := 1; at <= len(text); at++ {
		all = append(all, c.endsAt([]byte(text), at)...)
	}
	o := outcome{}
	cut := int64(len(text))
	for _, f := range all {
		if f.Action.Terminal() {
			o.terminal, cut = true, f.Start
			break
		}
	}
	// Unite edits that start before the cut: mark bytes, then walk.
	type span struct {
		start, end, first int64
		policy            uint8
	}
	var edits []span
	for _, f := range all {
		if f.Action == pipeline.Redact && f.Start < cut {
			edits = append(edits, span{f.Start, f.End, f.End, f.Policy})
		}
	}
	slices.SortFunc(edits, func(a, b span) int {
		if a.start != b.start {
			return int(a.start - b.start)
		}
		if a.end != b.end {
			return int(b.end - a.end)
		}
		return int(a.policy) - int(b.policy)
	})
	var out []byte
	pos := int64(0)
	for i := 0; i < len(edits); {
		e := edits[i]
		j := i + 1
		for j < len(edits) && edits[j].start < e.end {
			e.end = max(e.end, edits[j].end)
			j++
		}
		out = append(out, text[pos:e.start]...)
		out = append(out, c.words[e.policy].repl...)
		pos, i = e.end, j
		o.redacted = true
	}
	if pos < cut {
		out = append(out, text[pos:cut]...)
	}
	o.text = string(out)
	return o
}
