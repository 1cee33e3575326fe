package openai

import (
	"strconv"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
	"github.com/keeptrusts/kt/stream/sse"
)

// AppendError appends the documented error envelope; see dialect.Writer.
func (c *Chat) AppendError(dst []byte, e *dialect.Error) []byte {
	dst = append(dst, `{"error":{"type":`...)
	dst = jsonwalk.AppendString(dst, e.Type)
	dst = append(dst, `,"message":`...)
	dst = jsonwalk.AppendString(dst, e.Message)
	if e.Policy != "" {
		dst = append(dst, `,"policy":`...)
		dst = jsonwalk.AppendString(dst, e.Policy)
	}
	dst = append(dst, `,"code":`...)
	dst = appendOrNull(dst, e.Code)
	if e.ReasonCode != "" {
		dst = append(dst, `,"reason_code":`...)
		dst = jsonwalk.AppendString(dst, e.ReasonCode)
	}
	dst = append(dst, `,"request_id":`...)
	dst = appendOrNull(dst, e.RequestID)
	dst = append(dst, `,"param":`...)
	dst = appendOrNull(dst, e.Param)
	return append(dst, "}}"...)
}

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return jsonwalk.AppendString(dst, s)
}

// AppendErrorEvent appends the error as an event's data; clients stop there,
// so no end marker follows. See dialect.Writer.
func (c *Chat) AppendErrorEvent(dst []byte, e *dialect.Error) []byte {
	return sse.AppendEvent(dst, nil, c.AppendError(nil, e))
}

// AppendFilterEnd appends the content-filter ends and the end marker; see dialect.Writer.
func (c *Chat) AppendFilterEnd(dst []byte, st *dialect.Stream, e *dialect.Error) []byte {
	open := st.Open(nil)
	if len(open) == 0 && st.Choices() == 0 {
		open = append(open, 0)
	}
	var data []byte
	for _, choice := range open {
		data = appendFilterChunk(data[:0], st, choice, e)
		dst = sse.AppendEvent(dst, nil, data)
	}
	return c.AppendDone(dst)
}

// AppendDone appends the end marker.
func (c *Chat) AppendDone(dst []byte) []byte {
	return append(dst, "data: [DONE]\n\n"...)
}

func appendFilterChunk(dst []byte, st *dialect.Stream, choice int32, e *dialect.Error) []byte {
	dst = append(dst, `{"id":"`...)
	if len(st.ID) > 0 {
		dst = append(dst, st.ID...)
	} else {
		dst = append(dst, "chatcmpl-"...)
		dst = jsonwalk.AppendEscaped(dst, []byte(e.RequestID))
	}
	dst = append(dst, `","object":"chat.completion.chunk","created":`...)
	if len(st.Created) > 0 {
		dst = append(dst, st.Created...)
	} else {
		dst = append(dst, '0')
	}
	dst = append(dst, `,"model":"`...)
	dst = append(dst, st.Model...)
	dst = append(dst, `","choices":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(choice), 10)
	dst = append(dst, `,"delta":{`...)
	if !st.Roles.Has(choice) { // clients refuse a message without a role
		dst = append(dst, `"role":"assistant"`...)
	}
	dst = append(dst, `},"logprobs":null,"finish_reason":"content_filter"}],"keeptrusts":{"code":`...)
	dst = appendOrNull(dst, e.Code)
	dst = append(dst, `,"reason_code":`...)
	dst = appendOrNull(dst, e.ReasonCode)
	dst = append(dst, `,"policy":`...)
	dst = appendOrNull(dst, e.Policy)
	dst = append(dst, `,"request_id":`...)
	dst = appendOrNull(dst, e.RequestID)
	return append(dst, "}}"...)
}
