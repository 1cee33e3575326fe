// Package openai is the wire form of OpenAI's chat completions API, as OpenAI
// and the many servers that follow it speak it: request, answer and stream
// chunk. The places of all texts come from schemas/wire/openai-chat-*.json.
//
// Cost per chunk: one walk over its bytes and two passes over the few leaves; no allocation
// once the scratch has grown.
package openai

import (
	"bytes"
	"errors"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// Tags are the names that x-kt-tag may have in this dialect's schemas; the
// constants below are their positions plus one.
var Tags = []string{
	"message", "role", "content", "refusal", "reasoning", "name", "url", "data",
	"tool_name", "tool_args", "tool_input", "old_tool_name", "old_tool_args", "tool_choice",
	"model", "stream", "include_usage", "n", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs",
	"id", "id_model", "object", "created", "choice", "choice_index", "delta", "finish_reason", "token",
	"tool_index", "tool_id", "transcript", "whole", "text",
	"usage", "prompt_tokens", "completion_tokens", "total_tokens",
	"error", "error_message", "error_type", "error_code", "routing",
}

const (
	tagMessage uint8 = iota + 1
	tagRole
	tagContent
	tagRefusal
	tagReasoning
	tagName
	tagUrl
	tagData
	tagToolName
	tagToolArgs
	tagToolInput
	tagOldToolName
	tagOldToolArgs
	tagToolChoice
	tagModel
	tagStream
	tagIncludeUsage
	tagN
	tagMaxTokens
	tagMaxCompletionTokens
	tagLogprobs
	tagTopLogprobs
	tagId
	tagIdModel
	tagObject
	tagCreated
	tagChoice
	tagChoiceIndex
	tagDelta
	tagFinishReason
	tagToken
	tagToolIndex
	tagToolId
	tagTranscript
	tagWhole
	tagText
	tagUsage
	tagPromptTokens
	tagCompletionTokens
	tagTotalTokens
	tagError
	tagErrorMessage
	tagErrorType
	tagErrorCode
	tagRouting
)

// Chat is the dialect. Its zero value is not usable; see New.
type Chat struct {
	request, response, chunk *jsonwalk.Table
}

var _ dialect.Dialect = (*Chat)(nil)

// New gives the chat completions dialect. It may be shared; it holds no state.
func New() *Chat {
	return &Chat{
		request:  table(requestNodes(), requestFields(), requestRoot),
		response: table(responseNodes(), responseFields(), responseRoot),
		chunk:    table(chunkNodes(), chunkFields(), chunkRoot),
	}
}

func table(nodes []jsonwalk.Node, fields []jsonwalk.Field, root jsonwalk.NodeID) *jsonwalk.Table {
	t, err := jsonwalk.NewTable(nodes, fields, root)
	if err != nil {
		panic(err) // a generated table is wrong: no program without it
	}
	return t
}

// Array positions that leaves carry, by the schemas' x-kt-slot.
const (
	slotMessage = 0 // request: messages
	slotCall    = 2 // request: tool_calls of a message
	slotTool    = 3 // request: tools, functions

	slotChoice     = 0 // answer: choices
	slotAnswerCall = 1 // answer: tool_calls of a choice
)

// oldCall is the tool index of function_call, the older form of tool_calls: one past the others.
const oldCall = dialect.MaxTools

// ParseRequest reads a request body; see dialect.Parser.
func (c *Chat) ParseRequest(s *dialect.Scratch, body []byte, out *dialect.Request) error {
	out.Reset()
	leaves, err := s.Walker.Walk(c.request, body, jsonwalk.Options{MaxItems: dialect.MaxItems})
	if err != nil {
		return asValidation(err)
	}
	// A role may stand behind the content it belongs to: roles first.
	s.Aux = s.Aux[:0]
	for i := range leaves {
		l := &leaves[i]
		switch c.request.Nodes[l.Node].Tag {
		case tagMessage:
			out.Messages++
			s.Aux = append(s.Aux, int32(dialect.RoleUnknown))
		case tagRouting:
			return &dialect.ValidationError{Path: routingField(body, l), Want: "absent: targets come from the gateway's configuration"}
		case tagRole:
			s.Aux[l.Index[slotMessage]] = int32(roleOf(l.Of(body)))
		}
		if l.Index[slotTool] >= int32(out.Tools) {
			out.Tools = int(l.Index[slotTool]) + 1
		}
	}
	if out.Messages == 0 {
		return &dialect.ValidationError{Path: "messages", Want: "an array with at least one message"}
	}
	if out.Tools > dialect.MaxToolItems {
		return &dialect.ValidationError{Path: "tools", Want: "at most 4096 definitions"}
	}
	maxOld := int64(-1)
	for i := range leaves {
		l := &leaves[i]
		n := &c.request.Nodes[l.Node]
		raw := l.Of(body)
		if l.Kind&(jsonwalk.String|jsonwalk.Key) == 0 {
			switch n.Tag {
			case tagStream:
				out.Stream = raw[0] == 't'
			case tagIncludeUsage:
				out.IncludeUsage = raw[0] == 't'
			case tagLogprobs:
				out.Logprobs = raw[0] == 't'
			case tagN, tagTopLogprobs, tagMaxTokens, tagMaxCompletionTokens:
				if raw[0] == 'n' {
					continue // null: not given
				}
				v, ok := jsonwalk.Int(raw)
				if !ok && (n.Tag == tagN || n.Tag == tagTopLogprobs) {
					return &dialect.ValidationError{Path: n.Name, Want: "an integer"}
				}
				switch {
				case n.Tag == tagN && (v < 1 || v > dialect.MaxChoices):
					return &dialect.ValidationError{Path: n.Name, Want: "between 1 and 128"}
				case n.Tag == tagN:
					out.N = int(v)
				case n.Tag == tagTopLogprobs && (v < 0 || v > 1<<20):
					return &dialect.ValidationError{Path: n.Name, Want: "a number of tokens"}
				case n.Tag == tagTopLogprobs:
					out.TopLogprobs = int(v)
				case ok && n.Tag == tagMaxCompletionTokens:
					out.MaxTokens = v
				case ok:
					maxOld = v
				}
			}
			continue
		}
		if n.Tag == tagModel {
			out.Model = dialect.Span{Start: l.Start, End: l.End}
			out.ModelEscaped = l.Flags&jsonwalk.Escaped != 0
			continue
		}
		p := dialect.Piece{Start: l.Start, End: l.End, Class: dialect.InputText, Flags: pieceFlags(l)}
		p.Key = dialect.ChannelKey{Choice: l.Index[slotMessage], Field: dialect.Param}
		if l.Kind == jsonwalk.Key {
			out.Unknown++
			p.Key.Field = dialect.Other
			p.Flags |= dialect.Key
		} else if n.Text == jsonwalk.Enum && c.request.Known(l.Node, raw) {
			continue
		}
		if m := l.Index[slotMessage]; m >= 0 {
			p.Role = dialect.Role(s.Aux[m])
			if p.Role == dialect.RoleTool || p.Role == dialect.RoleFunction {
				p.Class = dialect.InputTool
			}
		}
		if call := l.Index[slotCall]; call >= 0 {
			p.Class, p.Key.Index = dialect.InputTool, call
		}
		if t := l.Index[slotTool]; t >= 0 {
			p.Class, p.Key.Field, p.Key.Index = dialect.InputTool, dialect.ToolDef, t
		}
		if l.Kind != jsonwalk.Key {
			switch n.Tag {
			case tagContent:
				p.Key.Field = dialect.Content
			case tagRefusal:
				p.Key.Field = dialect.Refusal
			case tagReasoning:
				p.Key.Field = dialect.Reasoning
			case tagName:
				p.Key.Field = dialect.Name
			case tagToolChoice:
				p.Class = dialect.InputTool
			case tagToolName, tagToolArgs, tagToolInput:
				p.Key.Field = callField(n.Tag)
			case tagOldToolName, tagOldToolArgs:
				p.Class, p.Key.Field, p.Key.Index = dialect.InputTool, callField(n.Tag), oldCall
			default:
				if l.Node == jsonwalk.Unknown && p.Key.Field != dialect.ToolDef {
					p.Key.Field = dialect.Other
				}
			}
			if n.Text == jsonwalk.ID {
				p.Flags |= dialect.ID
			}
		}
		if !joins(p.Key.Field) {
			p.Flags |= dialect.Whole
			p.Key.Path = place(l)
		}
		out.Pieces = appendPiece(out.Pieces, p, n, raw)
	}
	if out.MaxTokens < 0 {
		out.MaxTokens = maxOld
	}
	return nil
}

// routingField gives the name of the known field whose value is l: the last
// quoted word before it. Its places share one node.
func routingField(body []byte, l *jsonwalk.Leaf) string {
	head := body[:l.Start]
	if l.Kind == jsonwalk.String {
		head = head[:len(head)-1] // the value's own quote
	}
	head = head[:bytes.LastIndexByte(head, '"')]
	return string(head[bytes.LastIndexByte(head, '"')+1:])
}

// asValidation turns a wrong type into the error of status 422.
func asValidation(err error) error {
	var e *jsonwalk.Error
	if errors.As(err, &e) && e.Validation() {
		path := e.Path
		if path == "" {
			path = "the request"
		}
		return &dialect.ValidationError{Path: path, Want: e.Want.String()}
	}
	return err
}

// joins tells whether the pieces of a field make one text.
func joins(f dialect.Field) bool {
	switch f {
	case dialect.Content, dialect.Refusal, dialect.Reasoning, dialect.ToolArgs, dialect.ToolInput, dialect.Transcript:
		return true
	}
	return false
}

func callField(tag uint8) dialect.Field {
	switch tag {
	case tagToolName, tagOldToolName:
		return dialect.ToolName
	case tagToolInput:
		return dialect.ToolInput
	}
	return dialect.ToolArgs
}

// place tells apart the places that share a message and a field, and a key from its value.
func place(l *jsonwalk.Leaf) uint32 {
	switch {
	case l.Kind == jsonwalk.Key:
		return l.Path ^ 2
	case l.Path != 0:
		return l.Path
	}
	return uint32(l.Node) << 1
}

func pieceFlags(l *jsonwalk.Leaf) (f dialect.Flags) {
	if l.Flags&jsonwalk.Escaped != 0 {
		f |= dialect.Escaped
	}
	if l.Flags&jsonwalk.TrailingHigh != 0 {
		f |= dialect.TrailingHigh
	}
	if l.Flags&jsonwalk.LeadingLow != 0 {
		f |= dialect.LeadingLow
	}
	return f
}

// appendPiece appends p, cut in two when it is a data URI: the part up to the
// comma is text, a base64 payload is not.
func appendPiece(to []dialect.Piece, p dialect.Piece, n *jsonwalk.Node, raw []byte) []dialect.Piece {
	payload := 0
	switch {
	case p.Flags&dialect.Key != 0:
		return append(to, p)
	case n.Tag == tagUrl:
		if payload = dataPayload(raw); payload < 0 {
			if n.Text != jsonwalk.Opaque {
				return append(to, p)
			}
			payload = 0
		}
	case n.Text != jsonwalk.Opaque:
		return append(to, p)
	}
	if !dialect.Base64Only(raw[payload:]) {
		return append(to, p)
	}
	if payload > 0 {
		head := p
		head.End = p.Start + int32(payload)
		if bytes.IndexByte(raw[:payload], '\\') < 0 {
			head.Flags &^= dialect.Escaped
		}
		to = append(to, head)
		p.Start = head.End
	}
	p.Flags |= dialect.Opaque | dialect.Whole
	p.Flags &^= dialect.Escaped | dialect.Loose
	return append(to, p)
}

// dataPayload gives where the payload of a base64 data URI begins (RFC 2397), -1
// when raw is none. Any character of it may be escaped: the provider does not see that.
func dataPayload(raw []byte) int {
	const scheme, mark = "data:", ";base64"
	var tail [len(mark)]byte
	for at, n := 0, 0; at < len(raw); n++ {
		c, k := dialect.ASCIIAt(raw[at:])
		at += k
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		switch {
		case n < len(scheme):
			if c != scheme[n] {
				return -1
			}
			continue
		case c == ',':
			if string(tail[:]) != mark {
				return -1
			}
			return at
		}
		copy(tail[:], tail[1:])
		tail[len(tail)-1] = c
	}
	return -1
}

func roleOf(raw []byte) dialect.Role {
	switch string(raw) {
	case "system":
		return dialect.RoleSystem
	case "developer":
		return dialect.RoleDeveloper
	case "user":
		return dialect.RoleUser
	case "assistant":
		return dialect.RoleAssistant
	case "tool":
		return dialect.RoleTool
	case "function":
		return dialect.RoleFunction
	}
	return dialect.RoleUnknown
}
