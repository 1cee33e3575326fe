package mock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is what goes wrong with an answer.
type Fault string

// The faults. Those of a connection have effect on a Server only.
const (
	None Fault = ""

	RSTAccept   Fault = "rst_accept"   // connection: reset when accepted
	StallAccept Fault = "stall_accept" // connection: accepted, never read

	CloseEarly    Fault = "close"          // closed before the status line
	RST           Fault = "rst"            // reset before the status line
	GarbageStatus Fault = "garbage_status" // a status line that is none
	HTTP09        Fault = "http09"         // a body without a head
	StallStatus   Fault = "stall_status"   // silence before the status line
	StallHeaders  Fault = "stall_headers"  // silence inside the header
	HugeHeader    Fault = "huge_header"    // one header of 10 MiB
	ManyHeaders   Fault = "many_headers"   // 100,000 headers
	Flood1xx      Fault = "flood_1xx"      // informational answers without end
	DripStatus    Fault = "drip_status"    // one byte of the head per delay

	Status     Fault = "status"      // Options.Status with a JSON error
	StatusHTML Fault = "status_html" // Options.Status with an HTML page
	JSONError  Fault = "json_error"  // 200 with an error object
	Redirect   Fault = "redirect"    // 307 to Options.Location
	Gzip       Fault = "gzip"        // a compressed answer
	HTML       Fault = "html"        // 200 with a page
	NoType     Fault = "no_type"     // no content type
	OtherForm  Fault = "other_form"  // JSON when a stream was asked for, a stream when JSON was
	EvilHeader Fault = "evil_header" // cookies, server names and the like beside the answer

	TwoLengths  Fault = "two_lengths"   // two different Content-Length
	LengthAndTE Fault = "length_and_te" // Content-Length and Transfer-Encoding
	ShortLength Fault = "short_length"  // closed before Content-Length bytes
	ExtraBytes  Fault = "extra_bytes"   // a second answer behind the first one, unasked

	StallFirst   Fault = "stall_first"    // header, then silence
	FirstError   Fault = "first_error"    // the first event is an error
	RoleThenCut  Fault = "role_cut"       // a role chunk, then closed
	MidError     Fault = "mid_error"      // an error event after Options.After pieces
	NamedError   Fault = "named_error"    // the same as "event: error"
	StallMid     Fault = "stall_mid"      // silence in the middle of an event
	Cut          Fault = "cut"            // connection closed in mid-stream
	CutEvent     Fault = "cut_event"      // the same in the middle of an event
	NoDone       Fault = "no_done"        // a proper end of the body, no end marker
	StallDone    Fault = "stall_done"     // silence after the end marker, connection open
	AfterDone    Fault = "after_done"     // events after the end marker
	BadJSON      Fault = "bad_json"       // an event that is not JSON
	FirstBadJSON Fault = "first_bad_json" // the first one
	DupKey       Fault = "dup_key"        // an event with a key twice
	BadUTF8      Fault = "bad_utf8"       // an event with invalid UTF-8
	HugeEvent    Fault = "huge_event"     // one line without an end
	Drip         Fault = "drip"           // one byte per delay
	OneByte      Fault = "one_byte"       // one byte per write, no delay
)

// Faults lists all of them, sorted by name.
func Faults() []Fault { return slices.Clone(allFaults) }

// About says in a few words what a fault is, "" for an unknown one. Options are
// called as the flags of kt mock.
func (f Fault) About() string {
	for _, m := range about {
		if m.fault == f {
			return m.text
		}
	}
	return ""
}

var about = []struct {
	fault Fault
	text  string
}{
	{AfterDone, "events after the end marker"},
	{BadJSON, "an event that is not JSON"},
	{BadUTF8, "an event with invalid UTF-8"},
	{CloseEarly, "connection closed before the status line"},
	{Cut, "connection closed in mid-stream, after --after pieces"},
	{CutEvent, "connection closed in the middle of an event"},
	{Drip, "one byte per --delay"},
	{DripStatus, "one byte of the head per --delay"},
	{DupKey, "an event with a key twice"},
	{EvilHeader, "cookies, server names and the like beside the answer"},
	{ExtraBytes, "a second answer behind the first one, unasked"},
	{FirstBadJSON, "the first event is not JSON"},
	{FirstError, "the first event is an error"},
	{Flood1xx, "informational answers without end"},
	{GarbageStatus, "a status line that is none"},
	{Gzip, "a compressed answer"},
	{HTML, "200 with a page"},
	{HTTP09, "a body without a head"},
	{HugeEvent, "one line without an end"},
	{HugeHeader, "one header of 10 MiB"},
	{JSONError, "200 with an error object"},
	{LengthAndTE, "Content-Length and Transfer-Encoding"},
	{ManyHeaders, "100,000 headers"},
	{MidError, "an error event after --after pieces"},
	{NamedError, `an error event after --after pieces, named "event: error"`},
	{NoDone, "a proper end of the body, no end marker"},
	{NoType, "no content type"},
	{OneByte, "one byte per write, no delay"},
	{OtherForm, "JSON when a stream was asked for, a stream when JSON was"},
	{Redirect, "a redirect (307)"},
	{RoleThenCut, "a role chunk, then closed"},
	{RST, "connection reset before the status line"},
	{RSTAccept, "connection reset when it is accepted"},
	{ShortLength, "closed before Content-Length bytes"},
	{StallAccept, "connection accepted, never read"},
	{StallDone, "silence after the end marker, connection open"},
	{StallFirst, "header, then silence"},
	{StallHeaders, "silence inside the header"},
	{StallMid, "silence in the middle of an event"},
	{StallStatus, "silence before the status line"},
	{Status, "--status (500) with a JSON error"},
	{StatusHTML, "--status (500) with an HTML page"},
	{TwoLengths, "two different Content-Length"},
}

var allFaults = func() (out []Fault) {
	for _, m := range about {
		out = append(out, m.fault)
	}
	return out
}()

// Options say how one answer looks. The zero value echoes the last user message.
type Options struct {
	Text      string      `json:"text"`      // the answer; empty: see Words and Echo
	Words     int         `json:"words"`     // that many words by Seed, instead of the echo
	Reasoning string      `json:"reasoning"` // sent before the text
	Refusal   string      `json:"refusal"`   // instead of the text
	Tools     []Tool      `json:"tools"`     // tool calls after the text
	Finish    string      `json:"finish"`    // finish reason; empty: stop, or tool_calls
	Piece     int         `json:"piece"`     // characters per event; 0: 4
	First     Duration    `json:"first"`     // before the first event, or before an answer without stream
	Delay     Duration    `json:"delay"`     // between events
	NoUsage   bool        `json:"no_usage"`  // leave usage out even if asked for
	Usage     bool        `json:"usage"`     // send usage even if not asked for
	Fault     Fault       `json:"fault"`     //
	After     int         `json:"after"`     // events with text before a fault in mid-stream
	Rate      float64     `json:"rate"`      // share of requests with the fault; 0: all
	Status    int         `json:"status"`    // with a fault "status"; 0: 500
	Code      string      `json:"code"`      // error code and type
	Message   string      `json:"message"`   // error message
	Retry     int         `json:"retry"`     // Retry-After in seconds; 0: none
	Location  string      `json:"location"`  // of a redirect
	Headers   [][2]string `json:"headers"`   // of the answer
	Seed      uint64      `json:"seed"`      // of Words and Rate
}

// Tool is a call that the answer makes.
type Tool struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// Duration is a time.Duration that JSON writes as "5ms".
type Duration time.Duration

// UnmarshalJSON reads "5ms", or a number of milliseconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if n, err := strconv.ParseFloat(string(b), 64); err == nil {
		*d = Duration(n * float64(time.Millisecond))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// MarshalJSON writes what UnmarshalJSON reads.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// Rule chooses the options of a request. All of its conditions must hold; the
// first rule that matches counts.
type Rule struct {
	Model    string    `json:"model"`    // exact name; empty: any
	Contains string    `json:"contains"` // text of the last user message; empty: any
	Header   [2]string `json:"header"`   // name and exact value; empty name: any
	Path     string    `json:"path"`     // exact path; empty: any
	Times    int       `json:"times"`    // matches only that often; 0: always
	Options  Options   `json:"answer"`
}

// Script is what a mock plays.
type Script struct {
	Models  []string `json:"models"` // of GET /v1/models; empty: "mock"
	Key     string   `json:"key"`    // bearer key that is asked for; empty: none
	Rules   []Rule   `json:"rules"`
	Default Options  `json:"default"` // when no rule matches
}

// ParseScript reads a script file. Unknown keys are errors.
func ParseScript(b []byte) (*Script, error) {
	s := new(Script)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("parse script: %w", err)
	}
	for i := range s.Rules {
		if err := s.Rules[i].Options.check(); err != nil {
			return nil, fmt.Errorf("parse script: rule %d: %w", i, err)
		}
	}
	if err := s.Default.check(); err != nil {
		return nil, fmt.Errorf("parse script: default: %w", err)
	}
	return s, nil
}

func (o *Options) check() error {
	if o.Fault != None && !slices.Contains(allFaults, o.Fault) {
		return fmt.Errorf("fault must be one of %v; got %q", allFaults, o.Fault)
	}
	return nil
}

// ParseModel takes options out of a model name: "gpt-5!piece=1,delay=5ms,fault=cut,after=3".
// It gives the name without them. They override base.
func ParseModel(model string, base Options) (string, Options, error) {
	name, list, ok := strings.Cut(model, "!")
	if !ok {
		return model, base, nil
	}
	o := base
	for item := range strings.SplitSeq(list, ",") {
		k, v, _ := strings.Cut(item, "=")
		var err error
		num := func(to *int) { *to, err = strconv.Atoi(v) }
		dur := func(to *Duration) {
			var d time.Duration
			d, err = time.ParseDuration(v)
			*to = Duration(d)
		}
		switch k {
		case "text":
			o.Text = v
		case "words":
			num(&o.Words)
		case "piece":
			num(&o.Piece)
		case "first":
			dur(&o.First)
		case "delay":
			dur(&o.Delay)
		case "fault":
			o.Fault = Fault(v)
			err = o.check()
		case "after":
			num(&o.After)
		case "status":
			num(&o.Status)
			if o.Fault == None {
				o.Fault = Status
			}
		case "code":
			o.Code = v
		case "retry":
			num(&o.Retry)
		case "rate":
			o.Rate, err = strconv.ParseFloat(v, 64)
		case "seed":
			o.Seed, err = strconv.ParseUint(v, 10, 64)
		case "usage":
			o.Usage = true
		case "no_usage":
			o.NoUsage = true
		default:
			err = fmt.Errorf("unknown option %q", k)
		}
		if err != nil {
			return name, base, fmt.Errorf("parse model options: %w", err)
		}
	}
	return name, o, nil
}

var lexicon = strings.Fields(`time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend`)

// WordsText gives n words chosen by seed: the same each time.
func WordsText(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 0x6b74))
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(lexicon[r.IntN(len(lexicon))])
	}
	return b.String()
}
