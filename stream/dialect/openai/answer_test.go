package openai_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

const chunkText = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1752345678,"model":"gpt-5.4-mini","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"obfuscation":"aB3"}`

// stream parses the events of one stream in order; the last one's chunk and error count.
func stream(events ...string) (st dialect.Stream, c dialect.Chunk, err error) {
	var s dialect.Scratch
	for _, e := range events {
		name, data, named := strings.Cut(e, "|")
		if !named {
			name, data = "", e
		}
		if err = chat.ParseEvent(&s, &st, []byte(name), []byte(data), &c); err != nil {
			break
		}
	}
	return st, c, err
}

func choice(member string) string { return `{"choices":[{"index":0,` + member + `}]}` }

func delta(member string) string { return choice(`"delta":{` + member + `}`) }

func TestTextsOfAChunk(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       []string
	}{
		{"content", chunkText, []string{"out other[-1,0] id: chatcmpl-1", "out other[-1,0] id: gpt-5.4-mini", "out other[-1,0] id: fp_1",
			"out content[0,0]:  hello", "out other[-1,0] opaque: aB3"}},
		{"role only", delta(`"role":"assistant","content":"","refusal":null`), []string{"out content[0,0]: "}},
		{"other role", delta(`"role":"my ssn"`), []string{"out other[0,0]: my ssn"}},
		{"refusal", delta(`"refusal":"no"`), []string{"out refusal[0,0]: no"}},
		{"reasoning", delta(`"reasoning":"a","reasoning_content":"b"`), []string{"out reasoning[0,0]: a", "out reasoning[0,0]: b"}},
		{"index last", `{"choices":[{"delta":{"content":"a","tool_calls":[{"function":{"arguments":"x"},"index":5}]},"index":3}]}`,
			[]string{"out content[3,0]: a", "out-tool tool_args[3,5]: x"}},
		{"two choices", `{"choices":[{"index":1,"delta":{"content":"a"}},{"index":0,"delta":{"content":"b"}}]}`, []string{"out content[1,0]: a", "out content[0,0]: b"}},
		{"no index", `{"choices":[{"delta":{"content":"a","tool_calls":[{"function":{"name":"f"}},{"index":null,"function":{"name":"g"}}]}}]}`,
			[]string{"out content[0,0]: a", "out-tool tool_name[0,0]: f", "out-tool tool_name[0,1]: g"}},
		{"tool call", delta(`"tool_calls":[{"index":2,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a"}}]`),
			[]string{"out-tool other[0,2] id: call_1", "out-tool tool_name[0,2]: f", `out-tool tool_args[0,2] escaped: {\"a`}},
		{"custom tool", delta(`"tool_calls":[{"index":0,"type":"custom","custom":{"name":"f","input":"i"}}]`), []string{"out-tool tool_name[0,0]: f", "out-tool tool_input[0,0]: i"}},
		{"function call", delta(`"function_call":{"name":"f","arguments":"{}"}`), []string{"out-tool tool_name[0,128]: f", "out-tool tool_args[0,128]: {}"}},
		{"audio", delta(`"audio":{"id":"a","data":"AAAA","transcript":"t"}`), []string{"out other[0,0] id: a", "out other[0,0] opaque: AAAA", "out transcript[0,0]: t"}},
		{"content parts", delta(`"content":[{"type":"text","text":"a"},{"type":"odd","thinking":[{"text":"b"}]}]`),
			[]string{"out content[0,0]: a", "out other[0,0]: odd", "out other[0,0] key: thinking", "out other[0,0] key: text", "out other[0,0]: b"}},
		{"unknown in the delta", delta(`"vendor":{"deep":["x"]}`), []string{"out other[0,0] key: vendor", "out other[0,0] key: deep", "out other[0,0]: x"}},
		{"text of the choice", choice(`"text":"t"`), []string{"out other[0,0]: t"}},
		{"padding", `{"choices":[],"p":"abc"}`, []string{"out other[-1,0] opaque: abc"}},
		{"unknown in the choice", choice(`"stop_reason":"s"`), []string{"out other[0,0] key: stop_reason", "out other[0,0]: s"}},
		{"unknown at the top", `{"provider":"p","choices":[]}`, []string{"out other[-1,0] key: provider", "out other[-1,0]: p"}},
		{"text in the padding", `{"obfuscation":"my ssn","choices":[]}`, []string{"out other[-1,0]: my ssn"}},
		{"unknown finish", choice(`"finish_reason":"eos"`), []string{"out other[0,0]: eos"}},
		{"annotations", delta(`"annotations":[{"type":"url_citation","url_citation":{"url":"u"}}]`),
			[]string{"out other[0,0] key: type", "out other[0,0]: url_citation", "out other[0,0] key: url_citation", "out other[0,0] key: url", "out other[0,0]: u"}},
		{"images", delta(`"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]`),
			[]string{"out other[0,0]: data:image/png;base64,", "out other[0,0] opaque: AAAA"}},
		{"half pairs", delta(`"content":"\ude00a\ud83d"`), []string{`out content[0,0] escaped high low: \ude00a\ud83d`}},
	} {
		_, ch, err := stream(c.data)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := pieces(ch.Pieces, []byte(c.data)); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestPiecesOfADeltaGoOnAndOthersAreWhole(t *testing.T) {
	data := `{"id":"i","choices":[{"index":0,"delta":{"content":"a","reasoning":"b","refusal":"c","tool_calls":[{"index":0,"id":"d","function":{"name":"e","arguments":"f"}}],"vendor":"g","annotations":[{"x":"h"}]},"vendor":"j","text":"k"}]}`
	_, c, err := stream(data)
	if err != nil {
		t.Fatal(err)
	}
	whole := map[string]bool{"i": true, "a": false, "b": false, "c": false, "d": true, "e": true, "f": false, "g": false, "h": true, "j": true, "k": false}
	for i := range c.Pieces {
		p := &c.Pieces[i]
		text := data[p.Start:p.End]
		if p.Has(dialect.Key) {
			if !p.Has(dialect.Whole) {
				t.Errorf("the key %s goes on", text)
			}
			continue
		}
		want, known := whole[text]
		if !known || p.Has(dialect.Whole) != want {
			t.Errorf("%s: whole is %v", text, p.Has(dialect.Whole))
		}
		// What is whole and no reference may be something else in a stream.
		if loose := text == "h" || text == "j"; p.Has(dialect.Loose) != loose {
			t.Errorf("%s: loose is %v", text, p.Has(dialect.Loose))
		}
		delete(whole, text)
	}
	if len(whole) > 0 {
		t.Errorf("not seen: %v", whole)
	}
}

func TestOddTypesBesideTheTextDoNotEndAStream(t *testing.T) {
	for _, data := range []string{
		`{"id":5,"created":"now","error":false,"choices":[{"index":0,"delta":{"content":"a"},"logprobs":[]}]}`,
		`{"id":null,"created":null,"model":null,"object":"","usage":{},"choices":[{"index":null,"delta":null,"logprobs":null,"finish_reason":null}]}`,
	} {
		if _, c, err := stream(data); err != nil || c.HasError {
			t.Errorf("%s: %v %v", data, c.HasError, err)
		}
	}
}

func TestRepeatedHeadsAreMarked(t *testing.T) {
	var s dialect.Scratch
	var st dialect.Stream
	var c dialect.Chunk
	for i, id := range []string{"chatcmpl-1", "chatcmpl-1", "chatcmpl-2", "chatcmpl-2"} {
		data := strings.Replace(chunkText, "chatcmpl-1", id, 1)
		if err := chat.ParseEvent(&s, &st, nil, []byte(data), &c); err != nil {
			t.Fatal(err)
		}
		if got, want := c.Pieces[0].Has(dialect.Repeat), i == 1 || i == 3; got != want {
			t.Errorf("event %d: repeat %v, want %v", i, got, want)
		}
		for j := range c.Pieces {
			if c.Pieces[j].Key.Field == dialect.Content && c.Pieces[j].Has(dialect.Repeat) {
				t.Errorf("event %d: a delta is taken for a repeat", i)
			}
		}
	}
	if string(st.ID) != "chatcmpl-1" || string(st.Model) != "gpt-5.4-mini" || string(st.Created) != "1752345678" {
		t.Errorf("head %s %s %s", st.ID, st.Model, st.Created)
	}
}

func TestChunkFacts(t *testing.T) {
	_, c, err := stream(chunkText)
	if err != nil || !c.HasText || c.Choices != 1 || c.HasUsage || c.HasError || c.Terminal || len(c.Finishes) != 0 || len(c.Logprobs) != 0 {
		t.Errorf("content chunk: %+v, %v", c, err)
	}
	for _, data := range []string{delta(`"role":"assistant","content":""`), `{"choices":[]}`, choice(`"delta":{},"finish_reason":"stop"`), choice(`"delta":{},"vendor":"x"`), `{"vendor":"x"}`,
		delta(`"tool_calls":[{"index":0,"id":"call_1","type":"function"}]`), delta(`"vendor":{}`)} {
		if _, c, err := stream(data); err != nil || c.HasText {
			t.Errorf("%s: text %v, %v", data, c.HasText, err)
		}
	}
	for _, data := range []string{delta(`"refusal":"x"`), delta(`"audio":{"transcript":"x"}`), delta(`"audio":{"data":"AAAA"}`), delta(`"vendor":{"thinking":"x"}`), choice(`"text":"x"`), delta(`"reasoning":"x"`), delta(`"tool_calls":[{"index":0,"function":{"name":"f","arguments":""}}]`)} {
		if _, c, err := stream(data); err != nil || !c.HasText {
			t.Errorf("%s: text %v, %v", data, c.HasText, err)
		}
	}
	data := `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":2,"delta":{},"finish_reason":"length"},{"index":1,"delta":{"content":"x"}}]}`
	st, c, err := stream(data)
	if err != nil || len(c.Finishes) != 2 || c.Finishes[1].Choice != 2 || string(c.Finishes[1].Reason.Of([]byte(data))) != "length" {
		t.Errorf("finishes: %+v, %v", c.Finishes, err)
	}
	if open := st.Open(nil); !slices.Equal(open, []int32{1}) {
		t.Errorf("open choices %v, want 1", open)
	}
	if st, c, err = stream(choice(`"delta":{"content":"x"},"finish_reason":""`)); err != nil || len(c.Finishes) != 0 || len(st.Open(nil)) != 1 {
		t.Errorf("an empty finish reason: %+v, %v", c.Finishes, err)
	}
	if _, c, err = stream("[DONE]"); err != nil || !c.Terminal {
		t.Errorf("end marker: %+v, %v", c, err)
	}
}

func TestUsageIsReadExactly(t *testing.T) {
	for _, c := range []struct {
		usage string
		has   bool
		want  dialect.Usage
	}{
		{`{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}`, true, dialect.Usage{Prompt: 1, Completion: 2, Total: 3}},
		{`{"completion_tokens":2,"prompt_tokens":1}`, true, dialect.Usage{Prompt: 1, Completion: 2, Total: 3}},
		{`{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}`, true, dialect.Usage{Prompt: 1, Completion: 2, Total: 3}},
		{`null`, false, dialect.Usage{}},
		{`{}`, false, dialect.Usage{}},
		{`{"prompt_tokens":null,"completion_tokens":2}`, false, dialect.Usage{}},
		{`{"prompt_tokens":-1,"completion_tokens":2}`, false, dialect.Usage{}},
		{`{"prompt_tokens":1.5,"completion_tokens":2}`, false, dialect.Usage{}},
		{`{"prompt_tokens":1e3,"completion_tokens":2}`, false, dialect.Usage{}},
		{`{"prompt_tokens":99999999999999999999,"completion_tokens":2}`, false, dialect.Usage{}},
	} {
		for _, choices := range []string{`"choices":[],`, `"choices":null,`, ``} { // T46
			_, ch, err := stream(`{` + choices + `"usage":` + c.usage + `}`)
			if err != nil || ch.HasUsage != c.has || ch.Usage != c.want {
				t.Errorf("%s: %v %+v, %v", c.usage, ch.HasUsage, ch.Usage, err)
			}
		}
	}
}

func TestStreamsThatMustEnd(t *testing.T) {
	a, done := delta(`"content":"a"`), "[DONE]"
	call := func(index, name string) string {
		return delta(`"tool_calls":[{"index":` + index + `,"function":{"name":` + name + `}}]`)
	}
	named := func(id, name string) string {
		return delta(fmt.Sprintf(`"tool_calls":[{"index":0,"function":{"name":%q},"id":%q}]`, name, id))
	}
	for _, c := range []struct {
		want   string
		events []string
	}{
		{"400 unexpected_end", []string{`{"choices":[`}}, // T44
		{"", []string{a, done}},
		{"", []string{a, done + " "}},
		{"", []string{a, done + "xyz"}},
		{"after", []string{a, done, done}},
		{"after", []string{a, done, a}},
		{"after", []string{a, done + "x", a}},
		{"400 bad_literal", []string{"hello"}}, // T45
		{"400 unexpected_end", []string{""}},
		{"400 duplicate_key", []string{delta(`"content":"a","content":"b"`)}},
		{"400 duplicate_key", []string{`{"choices":[],"choices":[]}`}},
		{"400 case_variant_key", []string{delta(`"Content":"a"`)}},
		{"400 case_variant_key", []string{`{"Choices":[]}`}},
		{"400 invalid_utf8", []string{delta("\"content\":\"\xff\"")}},
		{"400 lone_surrogate", []string{delta(`"content":"\ud83dx"`)}},
		{"400 lone_surrogate", []string{delta(`"content":"x\ude00"`)}},
		{"400 lone_surrogate", []string{choice(`"stop_reason":"\ud83d"`)}},
		{"400 lone_surrogate", []string{`{"id":"\ud83d","choices":[]}`}},
		{"", []string{delta(`"content":"x\ud83d"`), delta(`"content":"\ude00"`)}},
		{"400 trailing_data", []string{a + a}},
		{"400 trailing_data", []string{a + "\n" + a}},
		{"400 trailing_data", []string{a + "\x00"}},
		{"400 byte_order_mark", []string{"\xef\xbb\xbf" + a}},
		{"", []string{`{"choices":null}`, `{}`, `{"choices":[]}`}}, // T46
		{"400 wrong_type", []string{`{"choices":["a"]}`}},
		{"400 wrong_type", []string{`{"choices":"a"}`}},
		{"400 wrong_type", []string{`{"choices":{"a":1}}`}},
		{"400 wrong_type", []string{`{"choices":[{"index":"0"}]}`}},
		{"400 wrong_type", []string{`5`}},
		{"many", []string{`{"choices":[{"index":-1}]}`}},
		{"many", []string{`{"choices":[{"index":128}]}`}},
		{"many", []string{`{"choices":[{"index":1000000000}]}`}},
		{"many", []string{`{"choices":[{"index":99999999999999999999}]}`}},
		{"many", []string{`{"choices":[{"index":1.5}]}`}},
		{"", []string{`{"choices":[{"index":127}]}`, `{"choices":[{"index":5}]}`}},
		{"many", []string{`{"choices":[` + strings.Repeat(`{},`, 128) + `{}]}`}},
		{"many", []string{call("1000000000", `"f"`)}},
		{"many", []string{call("-1", `"f"`)}},
		{"many", []string{delta(`"tool_calls":[` + strings.Repeat(`{},`, 128) + `{"id":"x"}]`)}},
		{"many", []string{`{"choices":[` + strings.TrimSuffix(strings.Repeat(`{"delta":{"tool_calls":[`+strings.TrimSuffix(strings.Repeat(`{"index":0},`, 100), ",")+`]}},`, 11), ",") + `]}`}},
		{"renamed", []string{call("0", `"f"`), call("0", `"g"`)}},
		{"renamed", []string{named("a", "f"), named("a", "g")}},
		{"renamed", []string{named("a", "f"), named("", "g")}},
		{"renamed", []string{named("", "f"), named("b", "g")}},
		{"renamed", []string{named("a", "f"), named("b", "g"), named("b", "f")}},
		{"", []string{named("a", "f"), named("b", "g"), named("c", "f"), named("c", ""), named("c", "f")}},
		{"", []string{call("0", `"f"`), call("0", `"f"`), call("0", `""`), call("0", `null`), call("1", `"g"`)}},
		{"", []string{call("127", `"f"`)}},
		{"", []string{delta(`"tool_calls":[{"function":{"name":"f"}}]`), delta(`"tool_calls":[{"function":{"name":"g"}}]`)}},
	} {
		_, _, err := stream(c.events...)
		got := class(err)
		switch {
		case errors.Is(err, dialect.ErrAfterEnd):
			got = "after"
		case errors.Is(err, dialect.ErrTooMany):
			got = "many"
		case errors.Is(err, dialect.ErrCallRenamed):
			got = "renamed"
		}
		if got != c.want {
			t.Errorf("%.100q: %v, want %q", c.events, err, c.want)
		}
	}
}

func TestUpstreamErrorsEndTheStream(t *testing.T) {
	a := delta(`"content":"a"`)
	for _, c := range []struct{ event, typ, code, message string }{ // T47
		{`{"error":{"message":"m","type":"server_error","code":"c","param":null}}`, "server_error", "c", "m"},
		{`{"error":{"message":"m","type":"t","code":503}}`, "t", "503", "m"},
		{`{"error":"m"}`, "", "", "m"},
		{`{"error":{}}`, "", "", ""},
		{`error|{"error":{"message":"m"}}`, "", "", "m"},
		{`error|{"message":"m","type":"overloaded_error"}`, "overloaded_error", "", "m"},
		{`error|no JSON`, "", "", ""},
		{`error|{"a":1,"a":2}`, "", "", ""},
		{`{"object":"error","message":"m","type":"t","code":400}`, "t", "400", "m"},
		{`{"id":"x","choices":[],"error":{"message":"m","code":"c"}}`, "", "c", "m"},
	} {
		st, ch, err := stream(a, c.event)
		_, data, ok := strings.Cut(c.event, "|")
		if !ok {
			data = c.event
		}
		if err != nil || !ch.HasError || !st.Done {
			t.Errorf("%s: error %v done %v, %v", c.event, ch.HasError, st.Done, err)
			continue
		}
		of := func(s dialect.Span) string { return string(s.Of([]byte(data))) }
		if of(ch.Failure.Type) != c.typ || of(ch.Failure.Code) != c.code || of(ch.Failure.Message) != c.message {
			t.Errorf("%s: %q %q %q", c.event, of(ch.Failure.Type), of(ch.Failure.Code), of(ch.Failure.Message))
		}
		if c.message != "" && !slices.ContainsFunc(ch.Pieces, func(p dialect.Piece) bool {
			return p.Key.Field == dialect.ErrorText && data[p.Start:p.End] == c.message
		}) {
			t.Errorf("%s: its message is no piece", c.event)
		}
		if _, _, err := stream(a, c.event, a); !errors.Is(err, dialect.ErrAfterEnd) {
			t.Errorf("%s: an event after it: %v", c.event, err)
		}
	}
	if _, c, err := stream(`{"error":null,"choices":[]}`); err != nil || c.HasError {
		t.Errorf("error null: %v %v", c.HasError, err)
	}
	if _, c, err := stream(`{"message":"m","choices":[]}`); err != nil || c.HasError || c.Failure != (dialect.Failure{}) {
		t.Errorf("message without error: %+v %v", c, err)
	}
}

func TestLogprobsAreFoundAndCompared(t *testing.T) {
	for _, c := range []struct {
		member string
		same   bool
	}{
		{`"delta":{"content":"ab"},"logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[97],"top_logprobs":[{"token":"z","bytes":[122]}]},{"token":"\u0062"}],"refusal":null}`, true},
		{`"logprobs":{"content":[{"token":"a"}]},"delta":{"content":"a"}`, true},
		{`"delta":{"refusal":"a"},"logprobs":{"refusal":[{"token":"a"}]}`, true},
		{`"delta":{"content":"a"},"logprobs":{"content":[{"token":"b"}]}`, false},
		{`"delta":{"content":""},"logprobs":{"content":[{"token":"b"}]}`, false},
		{`"delta":{},"logprobs":{"content":[{"token":"b"}]}`, false},
	} {
		data := `{"choices":[{"index":1,"delta":{"content":"b"}},{"index":7,` + c.member + `}]}`
		_, ch, err := stream(data)
		if err != nil || len(ch.Logprobs) != 1 || ch.Logprobs[0].Choice != 7 || ch.Logprobs[0].Same != c.same {
			t.Errorf("%s: %+v, %v", c.member, ch.Logprobs, err)
			continue
		}
		v := ch.Logprobs[0].Value
		nulled := jsonwalk.Splice(nil, []byte(data), []jsonwalk.Edit{{Start: int(v.Start), End: int(v.End), New: []byte("null")}})
		if !json.Valid(nulled) || !strings.Contains(string(nulled), `"logprobs":null`) || strings.Contains(string(nulled), "token") {
			t.Errorf("nulled: %s", nulled)
		}
	}
	if _, ch, err := stream(choice(`"delta":{"content":""},"logprobs":{"content":[],"text":"planted"}`)); err != nil || len(ch.Logprobs) != 1 || len(ch.Pieces) != 3 {
		t.Errorf("unknown text in logprobs: %+v, %v", ch, err)
	}
}

func TestWholeAnswersAreReadLikeStreams(t *testing.T) {
	body := `{"id":"i","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"c","refusal":null,"annotations":[],"reasoning_content":"r","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"y","type":"function","function":{"name":"g","arguments":"[]"}}]},"logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}`
	var s dialect.Scratch
	var c dialect.Chunk
	if err := chat.ParseResponse(&s, []byte(body), &c); err != nil {
		t.Fatal(err)
	}
	want := []string{"out other[-1,0] id: i", "out other[-1,0] id: m", "out content[0,0]: c", "out reasoning[0,0]: r",
		"out-tool other[0,0] id: x", "out-tool tool_name[0,0]: f", "out-tool tool_args[0,0]: {}", "out-tool other[0,1] id: y", "out-tool tool_name[0,1]: g", "out-tool tool_args[0,1]: []"}
	if got := pieces(c.Pieces, []byte(body)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if !c.HasUsage || c.Usage.Total != 21 || len(c.Finishes) != 1 || !c.HasText || c.HasError {
		t.Errorf("got %+v", c)
	}
	for _, body := range []string{`{"error":{"message":"m"}}`, `{"object":"error","message":"m","type":"t","code":404}`, `{"error":"m"}`} {
		if err := chat.ParseResponse(&s, []byte(body), &c); err != nil || !c.HasError || string(c.Failure.Message.Of([]byte(body))) != "m" {
			t.Errorf("%s: %+v, %v", body, c, err)
		}
	}
	for _, body := range []string{`<html>`, ``, `[]`, `{"choices":[{"message":{"content":"\ud83d"}}]}`, `{"choices":[{"index":128}]}`} {
		if err := chat.ParseResponse(&s, []byte(body), &c); err == nil {
			t.Errorf("%s: accepted", body)
		}
	}
}

var blocked = &dialect.Error{Type: "policy_violation", Message: `blocked "here"`, Policy: "pii-detector", Code: "output_blocked", ReasonCode: "pii.email", RequestID: "req_1"}

func TestErrorEnvelopeIsTheDocumentedOne(t *testing.T) {
	const want = `{"error":{"type":"policy_violation","message":"blocked \"here\"","policy":"pii-detector","code":"output_blocked","reason_code":"pii.email","request_id":"req_1","param":null}}`
	if got := string(chat.AppendError(nil, blocked)); got != want {
		t.Errorf("got %s", got)
	}
	if got := string(chat.AppendErrorEvent(nil, blocked)); got != "data: "+want+"\n\n" {
		t.Errorf("got %s", got)
	}
	const plain = `{"error":{"type":"upstream_error","message":"m","code":null,"request_id":null,"param":"model"}}`
	if got := string(chat.AppendError(nil, &dialect.Error{Type: "upstream_error", Message: "m", Param: "model"})); got != plain {
		t.Errorf("got %s", got)
	}
}

func TestFilterEndClosesEveryOpenChoice(t *testing.T) {
	end := func(head string, index int, delta string) string {
		return fmt.Sprintf(`data: {%s,"choices":[{"index":%d,"delta":{%s},"logprobs":null,"finish_reason":"content_filter"}],"keeptrusts":{"code":"output_blocked","reason_code":"pii.email","policy":"pii-detector","request_id":"req_1"}}`+"\n\n", head, index, delta)
	}
	const done = "data: [DONE]\n\n"
	const head = `"id":"chatcmpl-1","object":"chat.completion.chunk","created":1752345678,"model":"gpt-5.4-mini"`
	const assistant = `"role":"assistant"` // of a choice whose role did not go out: clients refuse a message without one
	st, _, err := stream(chunkText, `{"choices":[{"index":2,"delta":{}},{"index":1,"delta":{},"finish_reason":"stop"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	st.Roles.Add(2)
	if got := string(chat.AppendFilterEnd(nil, &st, blocked)); got != end(head, 0, assistant)+end(head, 2, "")+done {
		t.Errorf("got %s", got)
	}
	st, _, _ = stream()
	if got := string(chat.AppendFilterEnd(nil, &st, blocked)); got != end(`"id":"chatcmpl-req_1","object":"chat.completion.chunk","created":0,"model":""`, 0, assistant)+done {
		t.Errorf("before any chunk: %s", got)
	}
	st, _, _ = stream(choice(`"delta":{},"finish_reason":"stop"`))
	if got := string(chat.AppendFilterEnd(nil, &st, blocked)); got != done {
		t.Errorf("all choices finished: %s", got)
	}
	if got := string(chat.AppendDone(nil)); got != done {
		t.Errorf("end marker %q", got)
	}
	// Our own end is a chunk of the dialect.
	st, c, err := stream(chunkText, strings.TrimSpace(strings.TrimPrefix(end(head, 0, assistant), "data: ")))
	if err != nil || len(c.Finishes) != 1 || !st.AllFinished() {
		t.Errorf("our end reads %+v, %v", c, err)
	}
}

func TestParseEventAllocatesNothing(t *testing.T) {
	events := [][]byte{
		[]byte(chunkText),
		[]byte(delta(`"tool_calls":[{"index":2,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a"}}],"vendor":{"a":"b"}`)),
		[]byte(choice(`"delta":{"content":"ab"},"logprobs":{"content":[{"token":"a"},{"token":"b"}]}`)),
		[]byte(choice(`"delta":{},"finish_reason":"stop"`)),
		[]byte(`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`),
		[]byte("[DONE]"),
	}
	var s dialect.Scratch
	var st dialect.Stream
	var c dialect.Chunk
	run := func() {
		st.Reset()
		for _, e := range events {
			if err := chat.ParseEvent(&s, &st, nil, e, &c); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseEvent(b *testing.B) {
	data := []byte(chunkText)
	var s dialect.Scratch
	var st dialect.Stream
	var c dialect.Chunk
	b.ReportAllocs()
	for b.Loop() {
		if err := chat.ParseEvent(&s, &st, nil, data, &c); err != nil || !c.HasText || len(c.Pieces) != 5 {
			b.Fatal(err)
		}
	}
}
