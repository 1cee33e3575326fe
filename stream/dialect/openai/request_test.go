package openai_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

var chat = openai.New()

// class gives the kind of refusal: the status it leads to and the code or path.
func class(err error) string {
	var syntax *jsonwalk.Error
	var invalid *dialect.ValidationError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &invalid):
		return "422 " + invalid.Path
	case errors.As(err, &syntax):
		return "400 " + syntax.Code.String()
	}
	return err.Error()
}

var classNames = [...]string{"in", "in-tool", "out", "out-tool"}

// describe writes a piece in short: class field[choice,index] flags: text.
func describe(p *dialect.Piece, src []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s[%d,%d]", classNames[p.Class], p.Key.Field, p.Key.Choice, p.Key.Index)
	for _, f := range []struct {
		flag dialect.Flags
		name string
	}{
		{dialect.Key, "key"}, {dialect.ID, "id"}, {dialect.Opaque, "opaque"}, {dialect.Escaped, "escaped"},
		{dialect.TrailingHigh, "high"}, {dialect.LeadingLow, "low"}, {dialect.Repeat, "repeat"},
	} {
		if p.Has(f.flag) {
			b.WriteString(" " + f.name)
		}
	}
	fmt.Fprintf(&b, ": %s", src[p.Start:p.End])
	return b.String()
}

func pieces(list []dialect.Piece, src []byte) (out []string) {
	for i := range list {
		out = append(out, describe(&list[i], src))
	}
	return out
}

func request(t *testing.T, body string) (*dialect.Request, error) {
	t.Helper()
	var s dialect.Scratch
	var r dialect.Request
	err := chat.ParseRequest(&s, []byte(body), &r)
	return &r, err
}

// with gives a valid request whose only message has the member, or with members beside messages.
func message(member string) string {
	return `{"model":"m","messages":[{"role":"user",` + member + `}]}`
}

func beside(member string) string {
	return `{"model":"m","messages":[{"role":"user","content":"c"}],` + member + `}`
}

func TestRequestFacts(t *testing.T) {
	r, err := request(t, `{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}],"model":"gp\u0074","stream":true,
		"stream_options":{"include_usage":true},"n":3,"max_tokens":5,"max_completion_tokens":7,"logprobs":true,"top_logprobs":20,
		"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],"vendor":1,"extra":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Stream || !r.IncludeUsage || r.N != 3 || r.Messages != 2 || r.Tools != 2 || r.MaxTokens != 7 || !r.Logprobs || r.TopLogprobs != 20 || r.Unknown != 2 || !r.ModelEscaped {
		t.Errorf("got %+v", r)
	}
	r, err = request(t, beside(`"stream":null,"n":null,"max_tokens":5`))
	if err != nil || r.Stream || r.IncludeUsage || r.N != 1 || r.MaxTokens != 5 || r.Messages != 1 || r.Tools != 0 || r.ModelEscaped {
		t.Errorf("got %+v, %v", r, err)
	}
	body := beside(`"max_tokens":1e400`)
	if r, err = request(t, body); err != nil || r.MaxTokens != -1 || string(r.Model.Of([]byte(body))) != "m" || !r.Model.Present() {
		t.Errorf("got %+v, %v", r, err)
	}
	if r, err = request(t, `{"messages":[{"role":"user","content":"a"}]}`); err != nil || r.Model.Present() {
		t.Errorf("a request without a model: %+v, %v", r, err)
	}
}

func TestEveryTextOfARequestIsAPiece(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"string", message(`"content":"a\nb"`), []string{`in content[0,0] escaped: a\nb`}},
		{"parts are one channel", message(`"content":[{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"refusal","refusal":"r"}]`),
			[]string{"in content[0,0]: a", "in content[0,0]: b", "in refusal[0,0]: r"}},
		{"null content", message(`"content":null`), nil},
		{"name", message(`"name":"bob"`), []string{"in name[0,0]: bob"}},
		{"unknown role", `{"model":"m","messages":[{"role":"king","content":"c"}]}`, []string{"in param[0,0]: king", "in content[0,0]: c"}},
		{"unknown part", message(`"content":[{"type":"video","video":{"title":"t","x":["u"]}}]`),
			[]string{"in param[0,0]: video", "in other[0,0] key: video", "in other[0,0] key: title", "in other[0,0]: t", "in other[0,0] key: x", "in other[0,0]: u"}},
		{"tool result, role last", `{"model":"m","messages":[{"tool_call_id":"call_1","content":"result","role":"tool"}]}`,
			[]string{"in-tool param[0,0] id: call_1", "in-tool content[0,0]: result"}},
		{"tool calls", `{"model":"m","messages":[{"role":"assistant","content":"c","reasoning_content":"why","tool_calls":[{"id":"i","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"j","type":"custom","custom":{"name":"g","input":"text"},"zz":"y"}],"function_call":{"name":"h","arguments":"[]"}}]}`,
			[]string{"in content[0,0]: c", "in reasoning[0,0]: why",
				"in-tool param[0,0] id: i", "in-tool tool_name[0,0]: f", "in-tool tool_args[0,0]: {}",
				"in-tool param[0,1] id: j", "in-tool tool_name[0,1]: g", "in-tool tool_input[0,1]: text", "in-tool other[0,1] key: zz", "in-tool other[0,1]: y",
				"in-tool tool_name[0,128]: h", "in-tool tool_args[0,128]: []"}},
		{"tools", beside(`"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"ssn":{"enum":["e"],"default":"x"}}}}}]`),
			[]string{"in content[0,0]: c", "in-tool tool_def[-1,0]: f", "in-tool tool_def[-1,0]: d", "in-tool tool_def[-1,0] key: type", "in-tool tool_def[-1,0]: object",
				"in-tool tool_def[-1,0] key: properties", "in-tool tool_def[-1,0] key: ssn", "in-tool tool_def[-1,0] key: enum", "in-tool tool_def[-1,0]: e",
				"in-tool tool_def[-1,0] key: default", "in-tool tool_def[-1,0]: x"}},
		{"functions", beside(`"functions":[{"name":"f","description":"d"}]`), []string{"in content[0,0]: c", "in-tool tool_def[-1,0]: f", "in-tool tool_def[-1,0]: d"}},
		{"custom tool", beside(`"tools":[{"type":"custom","custom":{"name":"f","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}}}]`),
			[]string{"in content[0,0]: c", "in-tool tool_def[-1,0]: f", "in-tool tool_def[-1,0]: start: x"}},
		{"tool choice", beside(`"tool_choice":"auto","function_call":"weird"`), []string{"in content[0,0]: c", "in-tool param[-1,0]: weird"}},
		{"response format", beside(`"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"const":"v"}}}`),
			[]string{"in content[0,0]: c", "in param[-1,0]: n", "in other[-1,0] key: const", "in other[-1,0]: v"}},
		{"metadata", beside(`"metadata":{"k":"v"}`), []string{"in content[0,0]: c", "in other[-1,0] key: k", "in param[-1,0]: v"}},
		{"user and cache keys", beside(`"user":"u","safety_identifier":"s","prompt_cache_key":"p"`),
			[]string{"in content[0,0]: c", "in param[-1,0]: u", "in param[-1,0]: s", "in param[-1,0]: p"}},
		{"stop", beside(`"stop":["a","b"]`), []string{"in content[0,0]: c", "in param[-1,0]: a", "in param[-1,0]: b"}},
		{"stop string", beside(`"stop":"a"`), []string{"in content[0,0]: c", "in param[-1,0]: a"}},
		{"logit bias keys", beside(`"logit_bias":{"50256":-100}`), []string{"in content[0,0]: c", "in other[-1,0] key: 50256"}},
		{"prediction", beside(`"prediction":{"type":"content","content":[{"type":"text","text":"p"}]}`), []string{"in content[0,0]: c", "in content[-1,0]: p"}},
		{"known enums", beside(`"service_tier":"auto","reasoning_effort":"low","modalities":["text","audio"],"verbosity":"low"`), []string{"in content[0,0]: c"}},
		{"unknown enum value", beside(`"service_tier":"my ssn"`), []string{"in content[0,0]: c", "in param[-1,0]: my ssn"}},
		{"vendor fields", beside(`"vendor":{"a":{"b":["x",5,null]}}`),
			[]string{"in content[0,0]: c", "in other[-1,0] key: vendor", "in other[-1,0] key: a", "in other[-1,0] key: b", "in other[-1,0]: x"}},
		{"image URL", message(`"content":[{"type":"image_url","image_url":{"url":"https://h/p?q=ssn","detail":"low"}}]`), []string{"in param[0,0]: https://h/p?q=ssn"}},
		{"data URI", message(`"content":[{"type":"image_url","image_url":{"url":"data:image/png;name=ssn;base64,iVBO\/Rw0="}}]`),
			[]string{"in param[0,0]: data:image/png;name=ssn;base64,", `in param[0,0] opaque: iVBO\/Rw0=`}},
		{"data URI, other case", message(`"content":[{"type":"image_url","image_url":{"url":"DATA:;BASE64,AAAA"}}]`),
			[]string{"in param[0,0]: DATA:;BASE64,", "in param[0,0] opaque: AAAA"}},
		{"data URI of text", message(`"content":[{"type":"image_url","image_url":{"url":"data:text/plain,my%20ssn"}}]`), []string{"in param[0,0]: data:text/plain,my%20ssn"}},
		{"data URI that is no base64", message(`"content":[{"type":"image_url","image_url":{"url":"data:;base64,my ssn is"}}]`), []string{"in param[0,0]: data:;base64,my ssn is"}},
		{"data URI behind escapes", message(`"content":[{"type":"image_url","image_url":{"url":"d\u0061ta:;base64,AAAA"}}]`), []string{`in param[0,0] escaped: d\u0061ta:;base64,`, "in param[0,0] opaque: AAAA"}},
		{"audio and file", message(`"content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}},{"type":"file","file":{"file_data":"data:application/pdf;base64,BBBB","filename":"ssn.pdf","file_id":"file-1"}}]`),
			[]string{"in param[0,0] opaque: AAAA", "in param[0,0]: data:application/pdf;base64,", "in param[0,0] opaque: BBBB", "in param[0,0]: ssn.pdf", "in param[0,0] id: file-1"}},
		{"bare base64 file", message(`"content":[{"type":"file","file":{"file_data":"BBBB"}}]`), []string{"in param[0,0] opaque: BBBB"}},
		{"text as audio", message(`"content":[{"type":"input_audio","input_audio":{"data":"my ssn is"}}]`), []string{"in param[0,0]: my ssn is"}},
		{"web search", beside(`"web_search_options":{"user_location":{"type":"approximate","approximate":{"city":"ssn"}}}`), []string{"in content[0,0]: c", "in param[-1,0]: ssn"}},
	} {
		r, err := request(t, c.body)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := pieces(r.Pieces, []byte(c.body)); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestPiecesKnowTheirRole(t *testing.T) {
	roles := []string{"system", "developer", "user", "assistant", "tool", "function", "king"}
	var b strings.Builder
	for _, r := range roles {
		fmt.Fprintf(&b, `,{"content":"x","role":%q}`, r)
	}
	r, err := request(t, `{"model":"m","user":"u","messages":[`+b.String()[1:]+`]}`)
	if err != nil {
		t.Fatal(err)
	}
	var got []dialect.Role
	for _, p := range r.Pieces {
		got = append(got, p.Role)
	}
	want := []dialect.Role{dialect.RoleNone, dialect.RoleSystem, dialect.RoleDeveloper, dialect.RoleUser, dialect.RoleAssistant, dialect.RoleTool,
		dialect.RoleFunction, dialect.RoleUnknown, dialect.RoleUnknown}
	if !slices.Equal(got, want) {
		t.Errorf("roles %v, want %v", got, want)
	}
}

func TestRefusedRequests(t *testing.T) {
	for _, c := range []struct{ want, body string }{
		{"400 duplicate_key", beside(`"model":"x"`)}, // T20
		{"400 duplicate_key", beside(`"mod\u0065l":"x"`)},
		{"400 duplicate_key", beside(`"messages":[]`)},
		{"400 duplicate_key", beside(`"v":{"a":1,"\u0061":2}`)},
		{"400 case_variant_key", beside(`"Model":"x"`)}, // T21
		{"400 case_variant_key", beside("\"me\u017f\u017fages\":[]")},
		{"400 case_variant_key", beside("\"tool\u017f\":[]")},
		{"400 case_variant_key", beside(`"\u0053tream":true`)},
		{"400 case_variant_key", beside("\"\u017ftream\":true")},
		{"400 case_variant_key", message(`"CONTENT":"x"`)},
		{"400 case_variant_key", message(`"rol\u0045":"x"`)},
		{"400 case_variant_key", beside("\"log\u0131t_bias\":{}")},
		{"400 case_variant_key", message(`"content":[{"type":"text","Text":"x"}]`)},
		{"400 case_variant_key", beside("\"too\u217f\":1,\"mod\u212al\":1,\"lo\u0067it_b\u0130as\":1")},
		{"400 case_variant_key", beside("\"prompt_cache_\u212aey\":\"x\"")},
		{"400 invalid_utf8", message("\"content\":\"\xff\"")}, // T22
		{"400 invalid_utf8", message("\"content\":\"\xc0\x80\"")},
		{"400 lone_surrogate", message(`"content":"\ud83d"`)},
		{"400 lone_surrogate", message(`"content":"\ude00"`)},
		{"400 control_character", message("\"content\":\"a\nb\"")},
		{"400 control_character", message("\"content\":\"a\x00b\"")},
		{"400 byte_order_mark", "\xef\xbb\xbf" + message(`"content":"a"`)},
		{"400 byte_order_mark", "{\x00\"\x00"},
		{"400 trailing_data", message(`"content":"a"`) + "{}"}, // T23
		{"400 unexpected_character", "/**/" + message(`"content":"a"`)},
		{"400 bad_literal", beside(`"temperature":NaN`)},
		{"400 bad_number", beside(`"temperature":01`)},
		{"400 depth", beside(`"v":` + strings.Repeat("[", 10_000_000))}, // T24
		{"400 too_many_items", `{"model":"m","messages":[` + strings.TrimSuffix(strings.Repeat(`{"role":"user"},`, 100_000), ",") + `]}`},
		{"422 messages[0].content", message(`"content":5`)}, // T26
		{"422 messages[0].content", message(`"content":{"a":"b"}`)},
		{"422 messages[0].content[0]", message(`"content":["a"]`)},
		{"422 messages[0].role", `{"model":"m","messages":[{"role":5}]}`},
		{"422 messages", `{"model":"m","messages":{"role":"user"}}`},
		{"422 messages", `{"model":"m","messages":null}`},
		{"422 messages", `{"model":"m","messages":[]}`},
		{"422 messages", `{"model":"m"}`},
		{"422 messages[0]", `{"model":"m","messages":["hi"]}`},
		{"422 model", `{"model":5,"messages":[{"role":"user"}]}`},
		{"422 the request", `[]`},
		{"422 the request", `"x"`},
		{"422 stream", beside(`"stream":"true"`)}, // T28
		{"422 stream", beside(`"stream":1`)},
		{"422 stream_options.include_usage", beside(`"stream_options":{"include_usage":1}`)},
		{"422 n", beside(`"n":0`)}, // T29
		{"422 n", beside(`"n":129`)},
		{"422 n", beside(`"n":-1`)},
		{"422 n", beside(`"n":1.5`)},
		{"422 n", beside(`"n":1e1`)},
		{"422 n", beside(`"n":"2"`)},
		{"422 n", beside(`"n":18446744073709551616`)},
		{"422 top_logprobs", beside(`"top_logprobs":-1`)},
		{"422 api_base", beside(`"api_base":"http://169.254.169.254"`)}, // T70
		{"422 base_url", beside(`"base_url" : [1]`)},
		{"422 extra_headers", beside(`"extra_headers":{"a":"b"}`)},
		{"422 organization", beside(`"organization":null`)},
		{"422 tools", beside(`"tools":{}`)},
		{"422 tools[0].function.name", beside(`"tools":[{"function":{"name":{"a":"b"}}}]`)},
		{"422 metadata.*", beside(`"metadata":{"a":{"b":"c"}}`)},
	} {
		if _, err := request(t, c.body); class(err) != c.want {
			t.Errorf("%.100q: %v, want %s", c.body, err, c.want)
		}
	}
}

func TestRequestNumbersKeepTheirBytes(t *testing.T) {
	for _, n := range []string{"1e400", "18446744073709551616", "-0", strings.Repeat("9", 10_000), "1.0000000000000000001"} {
		for _, field := range []string{"temperature", "seed", "max_tokens", "vendor"} {
			if _, err := request(t, beside(`"`+field+`":`+n)); err != nil {
				t.Errorf("%s %.30s: %v", field, n, err)
			}
		}
	}
}

// TestNoStringOfARequestIsOverlooked plants a mark in every string and key of a
// request that uses the whole API, and wants each in a piece that is scanned.
func TestNoStringOfARequestIsOverlooked(t *testing.T) {
	body := []byte(`{"model":"m","messages":[
		{"role":"system","content":"MARK","name":"MARK","vendor":{"MARK":"MARK"}},
		{"role":"user","content":[{"type":"text","text":"MARK"},{"type":"MARK","MARK":["MARK"]},{"type":"image_url","image_url":{"url":"MARK","detail":"MARK"}},
			{"type":"image_url","image_url":"MARK"},{"type":"input_audio","input_audio":{"data":"MARK !","format":"MARK"}},{"type":"file","file":{"file_data":"MARK !","file_id":"MARK","filename":"MARK"}}]},
		{"role":"assistant","content":null,"refusal":"MARK","reasoning":"MARK","audio":{"id":"MARK"},"tool_calls":[{"id":"MARK","type":"MARK","function":{"name":"MARK","arguments":"MARK"}}],"function_call":{"name":"MARK","arguments":"MARK"}},
		{"role":"tool","tool_call_id":"MARK","content":"MARK"},{"role":"MARK","content":"MARK"}],
		"user":"MARK","safety_identifier":"MARK","prompt_cache_key":"MARK","stop":["MARK"],"metadata":{"MARK":"MARK"},"logit_bias":{"MARK":1},
		"service_tier":"MARK","reasoning_effort":"MARK","verbosity":"MARK","modalities":["MARK"],"audio":{"voice":"MARK","format":"MARK"},
		"prediction":{"type":"MARK","content":"MARK"},"response_format":{"type":"MARK","json_schema":{"name":"MARK","description":"MARK","schema":{"MARK":{"enum":["MARK"],"default":"MARK"}}}},
		"tools":[{"type":"MARK","function":{"name":"MARK","description":"MARK","parameters":{"properties":{"MARK":{"description":"MARK"}}}}},{"custom":{"name":"MARK","format":{"grammar":{"definition":"MARK"}}}}],
		"functions":[{"name":"MARK"}],"tool_choice":{"type":"MARK","function":{"name":"MARK"}},"function_call":{"name":"MARK"},
		"web_search_options":{"user_location":{"approximate":{"city":"MARK"}}},"MARK":"MARK","stream_options":{"MARK":"MARK"}}`)
	r, err := request(t, string(body))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; {
		i := bytes.Index(body[at:], []byte("MARK"))
		if i < 0 {
			break
		}
		at += i
		if !slices.ContainsFunc(r.Pieces, func(p dialect.Piece) bool { return int(p.Start) <= at && at+4 <= int(p.End) && !p.Has(dialect.Opaque) }) {
			t.Errorf("not scanned: ...%s", body[max(0, at-40):at+6])
		}
		at += 4
	}
}

func TestPieceKeysTellPlacesApart(t *testing.T) {
	body := beside(`"user":"a","safety_identifier":"b","vendor":"c","other":"d","metadata":{"x":"e","y":"f"}`)
	r, err := request(t, body)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[dialect.ChannelKey]string{}
	for i := range r.Pieces {
		p := &r.Pieces[i]
		d := describe(p, []byte(body))
		if other, ok := seen[p.Key]; ok {
			t.Errorf("%s and %s have the same key", d, other)
		}
		seen[p.Key] = d
		if p.Has(dialect.Whole) != (p.Key.Field != dialect.Content) {
			t.Errorf("%s: whole is %v", d, p.Has(dialect.Whole))
		}
	}
}

func TestParseRequestAllocatesNothing(t *testing.T) {
	body := []byte(message(`"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]`))
	var s dialect.Scratch
	var r dialect.Request
	run := func() {
		if err := chat.ParseRequest(&s, body, &r); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParsersNeverPanic(f *testing.F) {
	f.Add([]byte(message(`"content":[{"type":"image_url","image_url":{"url":"data:;base64,AA"}}]`)), "")
	f.Add([]byte(chunkText), "")
	f.Add([]byte(`{"error":{"message":"m","type":"t","code":5}}`), "error")
	f.Add([]byte(`{"choices":[{"index":1,"message":{"content":"c","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"logprobs":{"content":[{"token":"c"}]}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`), "")
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		var s dialect.Scratch
		var r dialect.Request
		if err := chat.ParseRequest(&s, body, &r); err == nil {
			checkPieces(t, body, r.Pieces)
			if !json.Valid(body) {
				t.Fatalf("%q: accepted", body)
			}
		}
		var c dialect.Chunk
		if err := chat.ParseResponse(&s, body, &c); err == nil {
			checkChunk(t, body, &c)
		}
		var st dialect.Stream
		for range 2 {
			if err := chat.ParseEvent(&s, &st, []byte(name), body, &c); err == nil {
				checkChunk(t, body, &c)
			}
		}
		end := chat.AppendFilterEnd(nil, &st, &dialect.Error{Code: "output_blocked", RequestID: "r\n\""})
		for _, line := range bytes.Split(end, []byte("\n\n")) {
			if data, ok := bytes.CutPrefix(line, []byte("data: {")); ok && !json.Valid(append([]byte("{"), data...)) {
				t.Fatalf("%q leads to %q", body, line)
			}
		}
	})
}

func checkPieces(t *testing.T, body []byte, list []dialect.Piece) {
	t.Helper()
	last := int32(0)
	for i := range list {
		p := &list[i]
		if p.Start < last || p.End < p.Start || int(p.End) > len(body) {
			t.Fatalf("%q: piece [%d,%d) after %d", body, p.Start, p.End, last)
		}
		last = p.End
		if p.Has(dialect.Opaque) == false && bytes.IndexByte(body[p.Start:p.End], '\\') >= 0 != p.Has(dialect.Escaped) {
			t.Fatalf("%q: piece %d: escaped is %v", body, i, p.Has(dialect.Escaped))
		}
	}
}

func checkChunk(t *testing.T, body []byte, c *dialect.Chunk) {
	t.Helper()
	checkPieces(t, body, c.Pieces)
	for _, f := range c.Finishes {
		if int(f.Reason.End) > len(body) || f.Reason.Start > f.Reason.End {
			t.Fatalf("%q: finish %+v", body, f)
		}
	}
	for _, l := range c.Logprobs {
		if v := l.Value.Of(body); v[0] != '{' || v[len(v)-1] != '}' {
			t.Fatalf("%q: logprobs %q", body, v)
		}
	}
	if c.Choices > dialect.MaxChoices {
		t.Fatalf("%d choices", c.Choices)
	}
}
