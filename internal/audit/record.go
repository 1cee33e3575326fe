package audit

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/keeptrusts/kt/pipeline"
)

// Type tells which of a request's two records one is.
type Type uint8

// The types.
const (
	Decision Type = iota // written before the upstream call, or with the answer where there is none
	Terminal             // written before the last byte for the client, on every way out
)

func (t Type) String() string { return [...]string{"decision", "terminal"}[t] }

// Record is what is kept of a request: who asked what model, what was decided
// and why, and how it went. It has no field for prompt text, a matched value or
// a key. Record may be reused after the call that took it.
type Record struct {
	Type      Type
	Time      time.Time
	RequestID string

	Endpoint     string // path of the route
	Stream       bool
	Model        string // that the client asked for: a configured name, or a constant for any other
	User, Team   string
	Agent        string
	Conversation string

	Verdict pipeline.Verdict
	Reason  string // reason code
	Phase   string // of the finding that decided; empty when nothing was found
	Policy  string // kind of the policy that decided

	Outcome string // terminal: completed, blocked, escalated, client_abort, shutdown, upstream_error, refused, ...
	Status  int    // terminal: HTTP status that the client got

	Chain         *pipeline.Info
	Mask          pipeline.Mask
	Ran           []Phases // by policy: where it has looked so far
	Counts        []pipeline.Count
	ConfigVersion string
	GatewayID     string
	Overrides     []string // relaxations and debug overrides in force

	Target, Provider, TargetModel string // of the target that answered, else of the last one that was asked
	Attempts                      []Attempt
	Rejected                      []Rejected

	InputTokens, OutputTokens int64
	Estimated                 bool  // the tokens are an estimate
	CostMicros                int64 // micro units of the account's currency; 0 when no price is known

	Channels [pipeline.NumClasses]int   // channels scanned
	Scanned  [pipeline.NumClasses]int64 // bytes of text scanned
	Opaque   int                        // payloads that are no text: not scanned
	Unknown  int                        // keys of the request that its schema does not know; scanned

	Latency   time.Duration // since the request was read
	FirstByte time.Duration // until the first byte for the client; 0 when there was none
	BytesIn   int64         // request body
	BytesOut  int64         // answer body
}

// Phases says of each phase whether it is meant.
type Phases [pipeline.Output + 1]bool

// Attempt is one call to a target.
type Attempt struct {
	Target, Model, Result string
	Status                int
	Took                  time.Duration
	Probe                 bool
}

// Rejected is a target that was not called.
type Rejected struct{ Target, Reason string }

// maxField bounds texts that a client chooses, in bytes.
const maxField = 256

// appendRecord writes one line.
func appendRecord(b []byte, id string, r *Record) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, id...)
	b = append(b, `","event_type":"`...)
	b = append(b, r.Type.String()...)
	b = append(b, `","timestamp":"`...)
	b = appendTime(b, r.Time)
	b = append(b, '"')
	b = text(b, "request_id", r.RequestID)
	b = text(b, "gateway_id", r.GatewayID)
	b = text(b, "verdict", string(r.Verdict))
	b = text(b, "reason_code", r.Reason)
	b = text(b, "phase", r.Phase)
	b = text(b, "policy", r.Policy)
	b = text(b, "outcome", r.Outcome)
	if r.Status != 0 {
		b = number(b, "status", int64(r.Status))
	}
	b = text(b, "endpoint", r.Endpoint)
	b = append(b, `,"stream":`...)
	b = strconv.AppendBool(b, r.Stream)
	b = text(b, "model", r.Model)
	b = text(b, "user_id", r.User)
	b = text(b, "team_id", r.Team)
	b = text(b, "agent_id", r.Agent)
	b = text(b, "conversation_id", r.Conversation)
	b = text(b, "target", r.Target)
	b = text(b, "provider", r.Provider)
	b = text(b, "target_model", r.TargetModel)
	if c := r.Chain; c != nil {
		b = text(b, "pack", c.Pack)
		b = text(b, "pack_version", c.Version)
		b = text(b, "policy_digest", c.Digest)
		b = text(b, "mode", c.Mode)
		b = policies(b, r)
	}
	b = text(b, "config_version", r.ConfigVersion)
	if len(r.Overrides) > 0 {
		b = append(b, `,"overrides":[`...)
		for i, o := range r.Overrides {
			b = comma(b, i)
			b = quote(b, o)
		}
		b = append(b, ']')
	}
	if len(r.Attempts) > 0 {
		b = append(b, `,"attempts":[`...)
		for i := range r.Attempts {
			a := &r.Attempts[i]
			b = comma(b, i)
			b = append(b, `{"target":`...)
			b = quote(b, a.Target)
			b = text(b, "model", a.Model)
			b = text(b, "result", a.Result)
			if a.Status != 0 {
				b = number(b, "status", int64(a.Status))
			}
			b = millis(b, "ms", a.Took)
			if a.Probe {
				b = append(b, `,"probe":true`...)
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if len(r.Rejected) > 0 {
		b = append(b, `,"not_asked":[`...)
		for i, x := range r.Rejected {
			b = comma(b, i)
			b = append(b, `{"target":`...)
			b = quote(b, x.Target)
			b = text(b, "reason", x.Reason)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if r.InputTokens != 0 || r.OutputTokens != 0 {
		b = number(b, "input_tokens", r.InputTokens)
		b = number(b, "output_tokens", r.OutputTokens)
		b = append(b, `,"tokens_estimated":`...)
		b = strconv.AppendBool(b, r.Estimated)
	}
	if r.CostMicros != 0 {
		b = append(b, `,"cost_usd":`...)
		b = strconv.AppendFloat(b, float64(r.CostMicros)/1e6, 'f', -1, 64)
	}
	first := true
	for c := range r.Channels {
		if r.Channels[c] == 0 {
			continue
		}
		if first {
			b = append(b, `,"scanned":{`...)
		} else {
			b = append(b, ',')
		}
		first = false
		b = append(b, '"')
		b = append(b, pipeline.Class(c).String()...)
		b = append(b, `":{"channels":`...)
		b = strconv.AppendInt(b, int64(r.Channels[c]), 10)
		b = number(b, "bytes", r.Scanned[c])
		b = append(b, '}')
	}
	if !first {
		b = append(b, '}')
	}
	if r.Opaque > 0 {
		b = number(b, "not_scanned_payloads", int64(r.Opaque))
	}
	if r.Unknown > 0 {
		b = number(b, "unknown_keys", int64(r.Unknown))
	}
	b = number(b, "request_bytes", r.BytesIn)
	if r.Type == Terminal {
		b = number(b, "response_bytes", r.BytesOut)
		if r.FirstByte > 0 {
			b = millis(b, "first_byte_ms", r.FirstByte)
		}
	}
	b = millis(b, "latency_ms", r.Latency)
	return append(b, '}', '\n')
}

// policies writes one entry for each active policy and phase it has looked in.
func policies(b []byte, r *Record) []byte {
	b = append(b, `,"policies_evaluated":[`...)
	n := 0
	for i := range r.Chain.Policies {
		if !r.Mask.Has(i) || i >= len(r.Ran) {
			continue
		}
		p := &r.Chain.Policies[i]
		for _, phase := range p.Phases {
			if !r.Ran[i][phase] {
				continue
			}
			b = comma(b, n)
			n++
			b = append(b, `{"name":`...)
			b = quote(b, p.Kind)
			b = text(b, "phase", phase.String())
			strictest, entities := pipeline.Allow, 0
			for k := range r.Counts {
				if c := &r.Counts[k]; c.Phase == phase && policyOf(r.Chain, c) == i {
					strictest = max(strictest, c.Action)
					if !r.Chain.Entities[c.Entity].Hidden {
						entities++
					}
				}
			}
			b = text(b, "result", strictest.String())
			if entities > 0 {
				b = append(b, `,"entities_found":[`...)
				m := 0
				for k := range r.Counts {
					c := &r.Counts[k]
					e := &r.Chain.Entities[c.Entity]
					if c.Phase != phase || policyOf(r.Chain, c) != i || e.Hidden {
						continue
					}
					b = comma(b, m)
					m++
					b = append(b, `{"type":`...)
					b = quote(b, e.Name)
					b = text(b, "action", c.Action.String())
					b = number(b, "count", int64(c.N))
					b = append(b, '}')
				}
				b = append(b, ']')
			}
			b = append(b, '}')
		}
	}
	b = append(b, ']')
	m := 0
	for k := range r.Counts { // limits and failures belong to no policy
		c := &r.Counts[k]
		if c.Entity >= pipeline.FirstEntity {
			continue
		}
		if m == 0 {
			b = append(b, `,"limits_reached":[`...)
		}
		b = comma(b, m)
		m++
		b = append(b, `{"type":`...)
		b = quote(b, r.Chain.Entities[c.Entity].Name)
		b = text(b, "phase", c.Phase.String())
		b = number(b, "count", int64(c.N))
		b = append(b, '}')
	}
	if m > 0 {
		b = append(b, ']')
	}
	return b
}

// policyOf gives the chain position of a count's policy, -1 for the fixed entities.
func policyOf(i *pipeline.Info, c *pipeline.Count) int {
	if c.Entity < pipeline.FirstEntity {
		return -1
	}
	return int(i.Entities[c.Entity].Policy)
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func key(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// text writes a field whose name needs no escape; an empty value is left out.
func text(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return quote(key(b, name), v)
}

func number(b []byte, name string, v int64) []byte {
	return strconv.AppendInt(key(b, name), v, 10)
}

// millis writes milliseconds to the microsecond, without zeros at the end.
func millis(b []byte, name string, d time.Duration) []byte {
	b = key(b, name)
	us := d.Microseconds()
	if us < 0 {
		b, us = append(b, '-'), -us
	}
	b = strconv.AppendInt(b, us/1000, 10)
	if us %= 1000; us != 0 {
		b = append(b, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return b
}

// appendTime writes t as 2006-01-02T15:04:05.000000Z, in a third of the time
// that time.Time.AppendFormat takes.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	}
	hour, minute, second := t.Clock()
	us := t.Nanosecond() / 1000
	return append(b,
		byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-',
		byte('0'+month/10), byte('0'+month%10), '-', byte('0'+day/10), byte('0'+day%10), 'T',
		byte('0'+hour/10), byte('0'+hour%10), ':', byte('0'+minute/10), byte('0'+minute%10), ':', byte('0'+second/10), byte('0'+second%10), '.',
		byte('0'+us/100000), byte('0'+us/10000%10), byte('0'+us/1000%10), byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10), 'Z')
}

// quote writes a JSON string in one line whatever s holds: control characters,
// the line separators of Unicode and what is not UTF-8 are escaped. Texts
// longer than maxField are cut.
func quote(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	cut := false
	if len(s) > maxField {
		s, cut = s[:maxField], true
		for len(s) > 0 && s[len(s)-1]&0xc0 == 0x80 {
			s = s[:len(s)-1]
		}
		if len(s) > 0 && s[len(s)-1] >= 0xc0 {
			s = s[:len(s)-1]
		}
	}
	b = append(b, '"')
	plain := 0
	for plain < len(s) && s[plain] >= 0x20 && s[plain] < 0x7f && s[plain] != '"' && s[plain] != '\\' {
		plain++
	}
	b = append(b, s[:plain]...)
	for i := plain; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, `\ufffd`...)
		case r < 0xa0 || r == 0x2028 || r == 0x2029:
			b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	if cut {
		b = append(b, "..."...)
	}
	return append(b, '"')
}
