package stream_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
)

var redactedID = regexp.MustCompile(`^kt_redacted_[0-9a-f]{16}$`)

// A call and its result keep one identifier when it is redacted, two calls keep two, and nothing of the value stays.
func TestRedactedIdentifiersStillPair(t *testing.T) {
	c := newChain(word{text: "secret", action: pipeline.Redact, repl: "[X]"})
	in := `{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"call-secret-1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"call-secret-2","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"fine","type":"function","function":{"name":"f","arguments":"{}"}}]},` +
		`{"role":"tool","tool_call_id":"call-secret-2","content":"b"},{"role":"tool","tool_call_id":"call-\u0073ecret-1","content":"a"},{"role":"tool","tool_call_id":"fine","content":"secret"}]}`
	got, blocked, _, _ := scanRequest(t, c, in, "")
	var r struct {
		Messages []struct {
			ToolCalls []struct{ ID string } `json:"tool_calls"`
			CallID    string                `json:"tool_call_id"`
			Content   string
		}
	}
	if err := json.Unmarshal([]byte(got), &r); err != nil || blocked {
		t.Fatalf("%v %v: %s", blocked, err, got)
	}
	m := r.Messages
	one, two := m[0].ToolCalls[0].ID, m[0].ToolCalls[1].ID
	if !redactedID.MatchString(one) || !redactedID.MatchString(two) || one == two || m[1].CallID != two || m[2].CallID != one {
		t.Errorf("the pairs are lost: %s", got)
	}
	if m[0].ToolCalls[2].ID != "fine" || m[3].CallID != "fine" || m[3].Content != "[X]" || strings.Contains(got, "secret") {
		t.Errorf("%s", got)
	}
	in = `{"id":"secret","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a secret","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b secret","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`
	got, blocked, d, _ := scanResponse(t, c, in)
	if ids := regexp.MustCompile(`kt_redacted_[0-9a-f]{16}`).FindAllString(got, -1); blocked || len(ids) != 3 || ids[1] == ids[2] || strings.Contains(got, "secret") || d.Verdict != pipeline.VerdictRedact {
		t.Errorf("%v %v: %s", blocked, d, got)
	}
	block := newChain(word{text: "secret", action: pipeline.Block})
	if _, blocked, _, _ := scanResponse(t, block, in); !blocked {
		t.Error("a value that blocks passes as an identifier")
	}
}

// In a stream too, and in the chunks that the window writes itself.
func TestRedactedIdentifiersOfAStream(t *testing.T) {
	chunk := func(delta string) string {
		return `data: {"id":"id-secret","object":"chat.completion.chunk","model":"m-secret","choices":[{"index":0,"delta":` + delta + `,"finish_reason":null}]}` + "\n\n"
	}
	call := func(i, id string) string {
		return chunk(`{"tool_calls":[{"index":` + i + `,"id":"` + id + `","type":"function","function":{"name":"f","arguments":"{}"}}]}`)
	}
	in := chunk(`{"role":"assistant","content":"hi"}`) + call("0", "a secret") + call("1", "b secret") + chunk(`{"content":" forbidden"}`)
	redact, block := word{text: "secret", action: pipeline.Redact, repl: "[X]"}, word{text: "forbidden", action: pipeline.Block}
	out := string(relay(newChain(redact, block), stream.Options{}, []byte(in)).out)
	ids := regexp.MustCompile(`"(?:id|model)":"([^"]*)"`).FindAllStringSubmatch(out, -1)
	seen := map[string]int{}
	for _, m := range ids {
		if !redactedID.MatchString(m[1]) {
			t.Errorf("%s", m[0])
		}
		seen[m[1]]++
	}
	if len(seen) != 4 || !strings.Contains(out, "content_filter") || strings.Contains(out, "secret") {
		t.Errorf("%v\n%s", seen, out)
	}
	out = string(relay(newChain(word{text: "secret", action: pipeline.Block}), stream.Options{}, []byte(in)).out)
	if !strings.Contains(out, "content_filter") || strings.Contains(out, "secret") {
		t.Errorf("%s", out)
	}
}
