// Package dialect says what an API's requests, answers and stream events hold:
// which bytes are text of which channel, where an answer ends, and how errors
// and content-filter ends are written. One package below it implements each
// API; nothing here does I/O.
//
// Cost on the stream path: one pass over the event's bytes, no allocation once
// the scratch has grown, no lock, no clock, no map.
package dialect

import (
	"errors"
	"fmt"

	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// Limits that an answer or a request may not pass, whatever its size.
const (
	MaxChoices   = 128    // choices of one answer; their indexes are below it
	MaxTools     = 128    // tool calls of one choice; also the largest index
	MaxCalls     = 1_024  // tool calls of one answer
	MaxItems     = 10_000 // messages plus content parts of one request
	MaxToolItems = 4_096  // tool definitions of one request
)

// Class mirrors pipeline's class of channel, in the same order, so that this
// package need not import the pipeline.
type Class uint8

// The four classes of channel.
const (
	InputText Class = iota
	InputTool
	OutputText
	OutputTool
)

// Field tells which text of a message or a choice a channel is.
type Field uint8

// The fields. Content, Refusal, Reasoning, ToolArgs, ToolInput and Transcript of
// an answer arrive in pieces, and so does what a delta holds that the schema
// does not know; all others are whole where they stand (flag Whole), or nobody
// says what they are (flag Loose).
const (
	Content    Field = iota // message or delta content; all text parts of one message are one channel
	Refusal                 // the model's refusal text
	Reasoning               // reasoning text of vendors: reasoning, reasoning_content
	ToolName                // name of a called function
	ToolArgs                // arguments of a called function: JSON inside a string
	ToolInput               // input of a called custom tool: plain text
	ToolDef                 // strings of tool definitions in a request
	Transcript              // transcript of an audio answer
	Name                    // name of a message's author
	Param                   // other known text of a request: user, stop, metadata, prediction, response_format ...
	ErrorText               // message of an error object
	Other                   // a string or a key that the wire schema does not know; ChannelKey.Path tells them apart
	NumFields
)

var fieldNames = [NumFields]string{"content", "refusal", "reasoning", "tool_name", "tool_args", "tool_input", "tool_def", "transcript", "name", "param", "error", "other"}

func (f Field) String() string {
	if f < NumFields {
		return fieldNames[f]
	}
	return "field?"
}

// ChannelKey names one channel of a request or an answer. It is comparable.
type ChannelKey struct {
	Choice int32  // answer: the choice's index; request: the message's position; -1 outside of both
	Index  int32  // tool call index; position of a tool definition; 0 elsewhere
	Path   uint32 // tells places of the same field apart; stable in one process; 0 for fields that arrive in pieces, but Other
	Field  Field
}

// Role is who a request's message speaks for.
type Role uint8

// The roles. A role that the API does not know is RoleUnknown and scanned like
// any other. Instructions that an API takes beside the messages (system,
// instructions, systemInstruction) are of RoleSystem.
const (
	RoleNone Role = iota // not inside a message
	RoleSystem
	RoleDeveloper
	RoleUser
	RoleAssistant
	RoleTool
	RoleFunction
	RoleUnknown
)

// Flags of a Piece.
type Flags uint16

// The flags.
const (
	// Escaped: the raw bytes hold a backslash escape; decode before scanning.
	Escaped Flags = 1 << iota
	// Whole: the piece is its channel's complete text in this frame or body: it
	// begins and ends here, and a later piece with the same key is a new text.
	// Without it the channel goes on over the frames of its choice.
	Whole
	// Repeat (with Whole, streams only): the same bytes as the last piece with
	// this key; who found nothing in that one may skip this one.
	Repeat
	// Key: the piece is an object's key, not a value; an edit there renames it.
	Key
	// TrailingHigh: the text ends in a high surrogate escape whose other half
	// may begin the channel's next piece. The last 6 raw bytes are that escape.
	TrailingHigh
	// LeadingLow: the text begins with a low surrogate escape (6 raw bytes).
	LeadingLow
	// Opaque: the payload of a data URI or of base64 data: recorded, not scanned; in a request it is, decoded, if it is text.
	Opaque
	// ID: an identifier (call id, completion id): others refer to it, so that an edit replaces all of it, everywhere alike.
	ID
	// Loose (with Whole, streams only): the API does not say whether the values at
	// this place are whole, pieces of one text, or each the text so far.
	Loose
	// Anew (streams only): the name of another call at the index of an earlier one.
	// Who puts calls together by index joins their arguments, others do not.
	Anew
)

// Piece is one piece of a channel's text: raw[Start:End] of the payload, between
// the quotes of a JSON string, still escaped.
type Piece struct {
	Key        ChannelKey
	Start, End int32
	Flags      Flags
	Class      Class
	Role       Role // of the message, requests only
}

// Has tells whether all flags of f are set.
func (p *Piece) Has(f Flags) bool { return p.Flags&f == f }

// Instructions tells that the piece is text of the application's own
// instructions: a system or developer message. Tool calls in one are not.
func (p *Piece) Instructions() bool {
	return p.Class == InputText && (p.Role == RoleSystem || p.Role == RoleDeveloper)
}

// Span is a half-open byte range of the payload. The zero Span is absent.
type Span struct{ Start, End int32 }

// Of gives the span's bytes in raw.
func (s Span) Of(raw []byte) []byte { return raw[s.Start:s.End] }

// Present tells whether the span was in the payload (an empty string is present).
func (s Span) Present() bool { return s.Start > 0 }

// Request is what the gateway needs to know of a request. All spans point into
// the body that was parsed; it may be reused for the next request.
type Request struct {
	Model        Span // content of the model string, without quotes
	ModelEscaped bool // Model holds escapes: read it through jsonwalk.AppendUnescaped
	Stream       bool
	IncludeUsage bool // stream_options.include_usage
	N            int  // number of choices asked for, 1 when absent
	Messages     int
	Tools        int   // tool definitions
	MaxTokens    int64 // max_completion_tokens, else max_tokens; -1 when absent or larger than an int64
	Logprobs     bool
	TopLogprobs  int
	Unknown      int // keys that the wire schema does not know; they go on, scanned
	Pieces       []Piece
}

// keepPieces is how many pieces a Request or a Chunk keeps room for.
const keepPieces = 4096

// Reset empties r and keeps its memory, unless it is unusually large.
func (r *Request) Reset() {
	if cap(r.Pieces) > keepPieces {
		r.Pieces = nil
	}
	*r = Request{N: 1, MaxTokens: -1, Pieces: r.Pieces[:0]}
}

// Usage is the number of tokens of an exchange.
type Usage struct {
	Prompt, Completion, Total int64
	Estimated                 bool // counted by us; the answer brought no figures
}

// Finish is the end of one choice, with the reason given.
type Finish struct {
	Choice int32
	Reason Span // content of the finish_reason string
}

// Logprobs is a choice's logprobs value: a second copy of its text. A frame
// whose text is edited gets the literal null there, and so does one whose
// tokens are not the text of the same frame (Same is false) when an output
// policy is active, since that copy was not scanned.
type Logprobs struct {
	Choice int32
	Value  Span // the object, braces included
	Same   bool // the tokens joined are exactly the choice's content or refusal in this payload
}

// Failure is an error object of an upstream. Its texts come from the upstream:
// they are Pieces as well, and never go to a log.
type Failure struct {
	Type, Code, Message Span // contents; Code may be a number
}

// ChoiceSet is a set of indexes of choices, each under MaxChoices.
type ChoiceSet [MaxChoices / 64]uint64

// Add puts the choice into the set; what is no index of a choice is left out.
func (s *ChoiceSet) Add(choice int32) {
	if choice >= 0 && choice < MaxChoices {
		s[choice/64] |= 1 << (choice % 64)
	}
}

// AddAll puts the choices of other into the set.
func (s *ChoiceSet) AddAll(other *ChoiceSet) {
	for i, bits := range other {
		s[i] |= bits
	}
}

// Has tells whether the choice is in the set.
func (s *ChoiceSet) Has(choice int32) bool {
	return choice >= 0 && choice < MaxChoices && s[choice/64]&(1<<(choice%64)) != 0
}

// Chunk is one event of a stream or one whole answer. All spans point into the
// payload that was parsed.
type Chunk struct {
	Pieces   []Piece
	Finishes []Finish
	Logprobs []Logprobs
	Choices  int       // elements of choices; 0 on a usage chunk
	Roles    ChoiceSet // choices whose delta names its role
	Usage    Usage     // valid when HasUsage
	HasUsage bool
	HasError bool    // an error object or an error event: nothing after it counts
	Failure  Failure // valid when HasError
	Terminal bool    // the API's end marker ([DONE]): it has no payload to forward
	HasText  bool    // a delta or message brings something: text, audio, a call's name; the first such event is the first valid one
	Named    bool    // the event's name is a word of the API, checked: it goes on; other names do not, for nobody scans them
}

// Reset empties c and keeps its memory, unless it is unusually large.
//
//go:noinline
func (c *Chunk) Reset() {
	if cap(c.Pieces) > keepPieces {
		c.Pieces = nil
	}
	*c = Chunk{Pieces: c.Pieces[:0], Finishes: c.Finishes[:0], Logprobs: c.Logprobs[:0]}
}

// Refusal of a payload that is well-formed but not what the API allows.
var (
	// ErrTooMany: more choices or tool calls than MaxChoices or MaxTools, or an index outside of 0 and that limit.
	ErrTooMany = errors.New("choice or tool index outside of the allowed range")
	// ErrAfterEnd: an event after the stream's terminal event.
	ErrAfterEnd = errors.New("event after the end of the stream")
	// ErrCallRenamed: a tool call changed its name in mid-stream, without another id.
	ErrCallRenamed = errors.New("tool call changes its name")
)

// ValidationError tells that a request is well-formed JSON but not valid for
// the API (status 422). It holds no text of the request but the field's path.
type ValidationError struct {
	Path string // e.g. messages[3].content
	Want string // what is accepted, e.g. "string, array or null"
}

func (e *ValidationError) Error() string {
	return fmt.Sprintf("validate request: %s must be %s", e.Path, e.Want)
}

// Error is the documented error envelope's content. Empty strings but Message
// and Type are written as null where the envelope needs the key, else left out.
type Error struct {
	Type       string // policy_violation, rate_limit, upstream_error, validation_error ...
	Message    string
	Policy     string // policy_violation only
	Code       string // input_blocked, output_blocked, duplicate_key ...
	ReasonCode string
	RequestID  string
	Param      string
}

// Scratch is the reusable memory of one parser. It belongs to one goroutine at
// a time. The zero value is ready.
type Scratch struct {
	Walker jsonwalk.Walker
	Text   []byte  // decoded text for comparisons
	Aux    []int32 // by message its role, or by choice its index
	Calls  []int32 // tool calls of an answer, three numbers each
}

// Shrink lets go of memory that only an unusually large payload needed. Call it
// before the scratch waits in a pool.
func (s *Scratch) Shrink() {
	s.Walker.Shrink()
	if cap(s.Text) > 64<<10 {
		s.Text = nil
	}
	if cap(s.Aux) > 16<<10 {
		s.Aux = nil
	} // Calls is bounded by MaxCalls
}

// Parser reads payloads. The output's spans point into the payload, which the
// parser neither keeps nor changes.
type Parser interface {
	// ParseRequest reads a whole request body. The error is a *jsonwalk.Error
	// (malformed, 400) or a *ValidationError (422).
	ParseRequest(s *Scratch, body []byte, out *Request) error
	// ParseResponse reads a whole answer of a call without stream. An error
	// object is no error here: see Chunk.HasError.
	ParseResponse(s *Scratch, body []byte, out *Chunk) error
	// ParseEvent reads one event of a stream. Every error ends the stream.
	// Allocates: never, once s, st and out have grown. data: valid during the call only.
	ParseEvent(s *Scratch, st *Stream, name, data []byte, out *Chunk) error
}

// Writer writes what the gateway itself says to a client, in the API's form.
type Writer interface {
	// AppendError appends the error body of an HTTP answer.
	AppendError(dst []byte, e *Error) []byte
	// AppendErrorEvent appends the event that ends a stream which failed.
	AppendErrorEvent(dst []byte, e *Error) []byte
	// AppendFilterEnd appends the events that end a blocked stream: one
	// content-filter end for every choice that is open in st, with the reason,
	// then the end marker. A stream without open choices gets one for choice 0.
	AppendFilterEnd(dst []byte, st *Stream, e *Error) []byte
	// AppendDone appends the end marker.
	AppendDone(dst []byte) []byte
}

// Dialect is one API's wire form. Implementations hold no state.
type Dialect interface {
	Parser
	Writer
}
