package openai

import (
	"testing"

	"github.com/keeptrusts/kt/stream/dialect"
)

func TestSmoke(t *testing.T) {
	c := New()
	var s dialect.Scratch
	var st dialect.Stream
	var ch dialect.Chunk
	d := []byte(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"hi","tool_calls":[{"index":1,"id":"c1","function":{"name":"f","arguments":"{"}}],"zz":"u"},"logprobs":null,"finish_reason":null}]}`)
	if err := c.ParseEvent(&s, &st, nil, d, &ch); err != nil {
		t.Fatal(err)
	}
	for _, p := range ch.Pieces {
		t.Logf("%+v %q", p, d[p.Start:p.End])
	}
	var r dialect.Request
	b := []byte(`{"model":"gpt","messages":[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}],"role":"tool"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"ssn":{"type":"string"}}}}}],"logit_bias":{"5":1},"x":{"y":"z"}}`)
	if err := c.ParseRequest(&s, b, &r); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Pieces {
		t.Logf("%v %+v %q", p.Key.Field, p, b[p.Start:p.End])
	}
	t.Logf("%s", c.AppendFilterEnd(nil, &st, &dialect.Error{Code: "output_blocked", RequestID: "r"}))
}
