package openai

import (
	"bytes"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// ParseResponse reads a whole answer; see dialect.Parser.
func (c *Chat) ParseResponse(s *dialect.Scratch, body []byte, out *dialect.Chunk) error {
	return c.answer(s, nil, c.response, body, false, out)
}

var doneMark = []byte("[DONE]")

// ParseEvent reads one event; see dialect.Parser. Data that begins with the end
// marker is the end, as clients take it.
func (c *Chat) ParseEvent(s *dialect.Scratch, st *dialect.Stream, name, data []byte, out *dialect.Chunk) error {
	out.Reset()
	if st.Done {
		return dialect.ErrAfterEnd
	}
	if bytes.HasPrefix(data, doneMark) {
		st.Done, out.Terminal = true, true
		return nil
	}
	failed := string(name) == "error"
	if !failed && st.Same(&s.Walker, data, out) {
		return nil
	}
	err := c.answer(s, st, c.chunk, data, failed, out)
	if failed {
		// Whatever an error event holds, it ends the stream; what could not be
		// read of it is not told to anybody.
		if err != nil {
			out.Reset()
		}
		out.HasError, err = true, nil
	}
	if out.HasError || err != nil {
		st.Done = true
		return err
	}
	st.Learn(data, out)
	return nil
}

// answer reads a chunk or a whole answer along t. st is nil for the latter;
// failed tells that it is known to be an error.
func (c *Chat) answer(s *dialect.Scratch, st *dialect.Stream, t *jsonwalk.Table, src []byte, failed bool, out *dialect.Chunk) error {
	out.Reset()
	leaves, err := s.Walker.Walk(t, src, jsonwalk.Options{SplitSurrogates: st != nil})
	if err != nil {
		return err
	}
	choices, calls, err := indexes(s, st, t, src, leaves)
	if err != nil {
		return err
	}
	out.Choices = len(choices)
	deltaEnd, wholeEnd := int32(0), int32(0) // the delta and the whole object that the walk is in
	tokens := false
	var errorObject bool
	var usage [3]int64
	var usageOK [3]bool
	for i := range leaves {
		l := &leaves[i]
		n := &t.Nodes[l.Node]
		raw := l.Of(src)
		choice := int32(-1)
		if pos := l.Index[slotChoice]; pos >= 0 {
			choice = choices[pos]
		}
		if l.Kind&(jsonwalk.String|jsonwalk.Key) == 0 {
			switch n.Tag {
			case tagDelta:
				deltaEnd = l.End
			case tagWhole:
				wholeEnd = l.End
			case tagLogprobs:
				if l.Kind == jsonwalk.Object {
					out.Logprobs = append(out.Logprobs, dialect.Logprobs{Choice: choice, Value: dialect.Span{Start: l.Start, End: l.End}})
				}
			case tagCreated:
				if st != nil && len(st.Created) == 0 && l.Kind == jsonwalk.Number && len(raw) <= 20 {
					st.Created = append(st.Created, raw...)
				}
			case tagError:
				out.HasError = l.Kind == jsonwalk.Object
			case tagErrorCode:
				if l.Kind == jsonwalk.Number {
					out.Failure.Code = dialect.Span{Start: l.Start, End: l.End}
				}
			case tagPromptTokens:
				usage[0], usageOK[0] = count(raw)
			case tagCompletionTokens:
				usage[1], usageOK[1] = count(raw)
			case tagTotalTokens:
				usage[2], usageOK[2] = count(raw)
			}
			continue
		}
		p := dialect.Piece{Start: l.Start, End: l.End, Class: dialect.OutputText, Flags: pieceFlags(l)}
		p.Key = dialect.ChannelKey{Choice: choice, Field: dialect.Other}
		piecemeal := false // text outside of the delta that arrives in pieces
		numbered := false  // by the payload; servers that give no index may send every call at position 0
		if call := l.Index[slotAnswerCall]; call >= 0 {
			if call >= dialect.MaxTools {
				return dialect.ErrTooMany
			}
			p.Class = dialect.OutputTool
			p.Key.Index, numbered = callIndex(&calls, l)
		}
		if l.Kind == jsonwalk.Key {
			p.Flags |= dialect.Key
		} else {
			switch n.Tag {
			case tagContent:
				p.Key.Field = dialect.Content
			case tagRefusal:
				p.Key.Field = dialect.Refusal
			case tagReasoning:
				p.Key.Field = dialect.Reasoning
			case tagTranscript:
				p.Key.Field = dialect.Transcript
			case tagText:
				piecemeal = true
			case tagToolName, tagToolArgs, tagToolInput:
				p.Key.Field = callField(n.Tag)
				if n.Tag == tagToolName && numbered && st != nil {
					anew, err := st.Call(choice, p.Key.Index, raw, callID(t, src, leaves, l))
					if err != nil {
						return err
					}
					if anew {
						p.Flags |= dialect.Anew
					}
				}
			case tagOldToolName, tagOldToolArgs:
				p.Class, p.Key.Field, p.Key.Index = dialect.OutputTool, callField(n.Tag), oldCall
			case tagToken:
				tokens = true
				continue
			case tagRole:
				if len(raw) > 0 {
					out.Roles.Add(choice)
				}
			case tagFinishReason:
				if len(raw) == 0 {
					continue // some servers' way to say null
				}
				out.Finishes = append(out.Finishes, dialect.Finish{Choice: choice, Reason: dialect.Span{Start: l.Start, End: l.End}})
				if st != nil {
					st.Finish(choice)
				}
			case tagId:
				if st != nil && len(st.ID) == 0 && len(raw) <= maxHead {
					st.ID = append(st.ID, raw...)
				}
			case tagIdModel:
				if st != nil && len(st.Model) == 0 && len(raw) <= maxHead {
					st.Model = append(st.Model, raw...)
				}
			case tagObject:
				errorObject = string(raw) == "error"
			case tagError:
				out.HasError, out.Failure.Message = true, dialect.Span{Start: l.Start, End: l.End}
				p.Key.Field = dialect.ErrorText
			case tagErrorMessage:
				out.Failure.Message = dialect.Span{Start: l.Start, End: l.End}
				p.Key.Field = dialect.ErrorText
			case tagErrorType:
				out.Failure.Type = dialect.Span{Start: l.Start, End: l.End}
			case tagErrorCode:
				out.Failure.Code = dialect.Span{Start: l.Start, End: l.End}
			}
			if n.Text == jsonwalk.Enum && t.Known(l.Node, raw) {
				continue
			}
			if n.Text == jsonwalk.ID {
				p.Flags |= dialect.ID
			}
		}
		if l.End > wholeEnd && l.End <= deltaEnd && (joins(p.Key.Field) || l.Node == jsonwalk.Unknown && l.Kind != jsonwalk.Key) {
			if p.Key.Path = l.Path; n.Tag == tagReasoning {
				p.Key.Path = place(l) // reasoning and reasoning_content: some servers send both, and clients read them apart
			}
		} else if piecemeal {
			p.Key.Path = place(l)
		} else {
			if l.Flags&(jsonwalk.TrailingHigh|jsonwalk.LeadingLow) != 0 {
				return &jsonwalk.Error{Code: jsonwalk.LoneSurrogate, Offset: int(l.Start), Path: n.Name}
			}
			p.Key.Path = place(l)
			p.Flags |= dialect.Whole
			if st != nil && st.Repeated(p.Key, raw) {
				p.Flags |= dialect.Repeat
			}
			if st != nil && p.Flags&(dialect.Key|dialect.ID) == 0 && !(p.Key.Field == dialect.ToolName && numbered) {
				p.Flags |= dialect.Loose
			}
		}
		if (l.End <= deltaEnd || piecemeal) && len(raw) > 0 && p.Flags&(dialect.Key|dialect.ID) == 0 {
			out.HasText = true
		}
		out.Pieces = appendPiece(out.Pieces, p, n, raw)
	}
	out.HasError = out.HasError || errorObject || failed
	if !out.HasError {
		out.Failure = dialect.Failure{}
	}
	if usageOK[0] && usageOK[1] {
		out.HasUsage = true
		out.Usage = dialect.Usage{Prompt: usage[0], Completion: usage[1], Total: usage[2]}
		if !usageOK[2] {
			out.Usage.Total = usage[0] + usage[1]
		}
	}
	if tokens {
		compareTokens(s, t, src, leaves, out)
	}
	return nil
}

// maxHead is the longest id and model in raw bytes that a stream keeps for its own chunks.
const maxHead = 256

// maxTokens is the largest count of tokens that is believed: more is no figure.
const maxTokens = 1 << 40

func count(raw []byte) (int64, bool) {
	n, ok := jsonwalk.Int(raw)
	return n, ok && n >= 0 && n <= maxTokens
}

// indexes gives the index of every choice by its position in the payload, and
// three numbers for each tool call that has an index: position of the choice,
// position of the call, index. An index that is missing is the position.
func indexes(s *dialect.Scratch, st *dialect.Stream, t *jsonwalk.Table, src []byte, leaves []jsonwalk.Leaf) (choices, calls []int32, err error) {
	choices, calls = s.Aux[:0], s.Calls[:0]
	for i := range leaves {
		l := &leaves[i]
		tag := t.Nodes[l.Node].Tag
		switch tag {
		case tagChoice:
			if len(choices) == dialect.MaxChoices {
				return nil, nil, dialect.ErrTooMany
			}
			choices = append(choices, l.Index[slotChoice])
		case tagChoiceIndex, tagToolIndex:
			if l.Kind != jsonwalk.Number {
				continue
			}
			v, ok := jsonwalk.Int(l.Of(src))
			if !ok || v < 0 || v >= dialect.MaxChoices || v >= dialect.MaxTools {
				return nil, nil, dialect.ErrTooMany
			}
			if tag == tagChoiceIndex {
				choices[l.Index[slotChoice]] = int32(v)
				continue
			}
			if len(calls) == 3*dialect.MaxCalls {
				return nil, nil, dialect.ErrTooMany
			}
			calls = append(calls, l.Index[slotChoice], l.Index[slotAnswerCall], int32(v))
		}
	}
	s.Aux, s.Calls = choices, calls
	if st != nil {
		for _, c := range choices {
			if err := st.See(c); err != nil {
				return nil, nil, err
			}
		}
	}
	return choices, calls, nil
}

// callIndex gives the index of the tool call that holds l, and whether the
// payload gave it. Leaves come in the order of their positions, so what lies
// before l in calls is dropped.
func callIndex(calls *[]int32, l *jsonwalk.Leaf) (index int32, given bool) {
	choice, call := l.Index[slotChoice], l.Index[slotAnswerCall]
	for len(*calls) >= 3 {
		c := *calls
		switch {
		case c[0] == choice && c[1] == call:
			return c[2], true
		case c[0] > choice || c[0] == choice && c[1] > call:
			return call, false
		}
		*calls = c[3:]
	}
	return call, false
}

// callID gives the id of the call that holds l, empty without one.
func callID(t *jsonwalk.Table, src []byte, leaves []jsonwalk.Leaf, l *jsonwalk.Leaf) []byte {
	for i := range leaves {
		m := &leaves[i]
		if t.Nodes[m.Node].Tag == tagToolId && m.Kind == jsonwalk.String && m.Index[slotChoice] == l.Index[slotChoice] && m.Index[slotAnswerCall] == l.Index[slotAnswerCall] {
			return m.Of(src)
		}
	}
	return nil
}

// compareTokens sets Same where the tokens of a choice's logprobs, joined, are
// the choice's content and refusal in this payload.
func compareTokens(s *dialect.Scratch, t *jsonwalk.Table, src []byte, leaves []jsonwalk.Leaf, out *dialect.Chunk) {
	for k := range out.Logprobs {
		lp := &out.Logprobs[k]
		s.Text = s.Text[:0]
		for i := range leaves {
			l := &leaves[i]
			if t.Nodes[l.Node].Tag == tagToken && l.Start > lp.Value.Start && l.End < lp.Value.End {
				s.Text = jsonwalk.AppendUnescaped(s.Text, l.Of(src))
			}
		}
		cut := len(s.Text)
		for i := range out.Pieces {
			p := &out.Pieces[i]
			if p.Key.Choice == lp.Choice && (p.Key.Field == dialect.Content || p.Key.Field == dialect.Refusal) {
				s.Text = jsonwalk.AppendUnescaped(s.Text, src[p.Start:p.End])
			}
		}
		lp.Same = bytes.Equal(s.Text[:cut], s.Text[cut:])
	}
}
