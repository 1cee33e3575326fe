package jsonwalk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bytedance/sonic"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// loose is the table of a document that nothing is known about.
var loose = must(jsonwalk.NewTable([]jsonwalk.Node{{Name: "*", Kinds: jsonwalk.Any}}, nil, 0))

// chat is a small table: {model, messages: [{role, content}], stream, seen}.
var chat = must(jsonwalk.NewTable([]jsonwalk.Node{
	{Name: "*", Kinds: jsonwalk.Any},
	{Name: ".", Kinds: jsonwalk.Object, First: 0, Num: 5},
	{Name: "messages", Kinds: jsonwalk.Array, Elem: 3, Slot: 1, Count: true},
	{Name: "messages[]", Kinds: jsonwalk.Object, First: 5, Num: 3, Emit: true},
	{Name: "model", Kinds: jsonwalk.String, Text: jsonwalk.ID},
	{Name: "role", Kinds: jsonwalk.String, Text: jsonwalk.Enum, Enum: []string{"user"}},
	{Name: "content", Kinds: jsonwalk.String | jsonwalk.Array | jsonwalk.Null, Elem: 7, Slot: 2, Count: true},
	{Name: "content[]", Kinds: jsonwalk.String},
	{Name: "stream", Kinds: jsonwalk.Bool | jsonwalk.Null, Emit: true},
	{Name: "quiet", Kinds: jsonwalk.String, Text: jsonwalk.Opaque, Reason: "test", Quiet: true},
	{Name: "meta", Kinds: jsonwalk.Object, Extra: 7},
}, []jsonwalk.Field{
	{Key: "messages", Node: 2}, {Key: "meta", Node: 10}, {Key: "model", Node: 4}, {Key: "quiet", Node: 9}, {Key: "stream", Node: 8},
	{Key: "content", Node: 6}, {Key: "role", Node: 5}, {Key: "tools", Node: 0},
}, 1))

func must(t *jsonwalk.Table, err error) *jsonwalk.Table {
	if err != nil {
		panic(err)
	}
	return t
}

func code(err error) string {
	var e *jsonwalk.Error
	if err == nil {
		return ""
	} else if errors.As(err, &e) {
		return e.Code.String()
	}
	return err.Error()
}

// show writes the leaves in one line: kind@node[indexes]flags:text.
func show(t *jsonwalk.Table, src []byte, leaves []jsonwalk.Leaf) string {
	var b strings.Builder
	for i := range leaves {
		l := &leaves[i]
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%s@%s", l.Kind, t.Nodes[l.Node].Name)
		for _, x := range l.Index {
			if x >= 0 {
				fmt.Fprintf(&b, "[%d]", x)
			}
		}
		fmt.Fprintf(&b, ":%s", l.Of(src))
	}
	return b.String()
}

func TestLeavesAreSpansOfTheDocument(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{}`, ""},
		{` { "model" : "m" , "stream" : true } `, "string@model:m boolean@stream:true"},
		{`{"stream":null,"quiet":"q","meta":{"a":"b"}}`, "null@stream:null key@content[]:a string@content[]:b"},
		{`{"messages":[{"role":"user","content":"a\n"},{"content":["b","c"],"zz":[1,{"k":"d"}]}]}`,
			`object@messages[][0]:{"role":"user","content":"a\n"} string@role[0]:user string@content[0]:a\n ` +
				`object@messages[][1]:{"content":["b","c"],"zz":[1,{"k":"d"}]} string@content[][1][0]:b string@content[][1][1]:c key@*[1]:zz key@*[1]:k string@*[1]:d`},
		{`{"m\u006fdel":"x"}`, "string@model:x"},
		{`{"messages":[{"tools":["Messages"]}],"unknown":{"Messages":1,"messages":"y"}}`,
			`object@messages[][0]:{"tools":["Messages"]} string@*[0]:Messages key@*:unknown key@*:Messages key@*:messages string@*:y`},
	} {
		var w jsonwalk.Walker
		leaves, err := w.Walk(chat, []byte(c.in), jsonwalk.Options{})
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := show(chat, []byte(c.in), leaves); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

// refusals are documents that must not pass (T20-T24, T45).
var refusals = []struct{ code, in string }{
	{"duplicate_key", `{"model":"a","model":"b"}`},
	{"duplicate_key", `{"model":"a","mod\u0065l":"b"}`},
	{"duplicate_key", `{"\u006dodel":"a","model":"b"}`},
	{"duplicate_key", `{"x":1,"y":2,"x":3}`},
	{"duplicate_key", `{"x":1,"\u0078":3}`},
	{"duplicate_key", `{"\u0078":1,"\u0078":3}`},
	{"duplicate_key", `{"":1,"":3}`},
	{"duplicate_key", `{"a/b":1,"a\/b":3}`},
	{"duplicate_key", `{"😀":1,"\ud83d\ude00":3}`},
	{"duplicate_key", `{"messages":[{"content":"a"},{"content":"a","content":null}]}`},
	{"duplicate_key", `{"z":{"y":[{"x":{"w":1,"v":2,"w":3}}]}}`},
	{"case_variant_key", `{"Model":"a"}`},
	{"case_variant_key", `{"model":"a","MODEL":"b"}`},
	{"case_variant_key", `{"me` + "\u017f\u017f" + `ages":[]}`},
	{"case_variant_key", `{"me\u017fsages":[]}`},
	{"case_variant_key", `{"messages":[{"Content":"a"}]}`},
	{"case_variant_key", `{"messages":[{"too` + "l\u017f" + `":"a"}]}`},
	{"invalid_utf8", "{\"model\":\"a\x80\"}"},
	{"invalid_utf8", "{\"model\":\"\xc0\xaf\"}"},         // overlong
	{"invalid_utf8", "{\"model\":\"\xe0\x80\xaf\"}"},     // overlong
	{"invalid_utf8", "{\"model\":\"\xed\xa0\x80\"}"},     // surrogate
	{"invalid_utf8", "{\"model\":\"\xf4\x90\x80\x80\"}"}, // past U+10FFFF
	{"invalid_utf8", "{\"model\":\"aaaaaaaaaaaa\xff\"}"},
	{"invalid_utf8", "{\"a\xff\":1}"},
	{"invalid_utf8", "{\"a\":\"\xe2\x80\""},
	{"control_character", "{\"model\":\"a\nb\"}"},
	{"control_character", "{\"model\":\"a\x00b\"}"},
	{"control_character", "{\"mo\tdel\":\"ab\"}"},
	{"lone_surrogate", `{"model":"\ud83d"}`},
	{"lone_surrogate", `{"model":"\ude00"}`},
	{"lone_surrogate", `{"model":"\ude00\ud83d"}`},
	{"lone_surrogate", `{"model":"\ud83dx"}`},
	{"lone_surrogate", `{"model":"\ud83d\n"}`},
	{"lone_surrogate", `{"model":"\ud83d\ud83d\ude00"}`},
	{"lone_surrogate", `{"\ud83d":1}`},
	{"bad_escape", `{"model":"\x41"}`},
	{"bad_escape", `{"model":"\u00g1"}`},
	{"bad_escape", `{"model":"\u+041"}`},
	{"bad_escape", `{"model":"\ud83d\u00zz"}`},
	{"byte_order_mark", "\xef\xbb\xbf{}"},
	{"byte_order_mark", "\xff\xfe{\x00}\x00"},
	{"byte_order_mark", "\xfe\xff\x00{\x00}"},
	{"byte_order_mark", "{\x00}\x00"},
	{"byte_order_mark", "\x00{\x00}"},
	{"byte_order_mark", "\x00\x00\x00{"},
	{"trailing_data", `{} {}`},
	{"trailing_data", `{}x`},
	{"trailing_data", "{}\x00"},
	{"trailing_data", `{}//`},
	{"unexpected_character", `{/* */}`},
	{"unexpected_character", `{"model":'a'}`},
	{"unexpected_character", `{"model":"a",}`},
	{"unexpected_character", `{model:"a"}`},
	{"unexpected_character", `{"x":[1,]}`},
	{"unexpected_character", `{"x":[,1]}`},
	{"unexpected_character", `{"x" 1}`},
	{"unexpected_character", `{"x":1 "y":2}`},
	{"unexpected_character", "{\"x\":\u00a01}"},
	{"unexpected_character", `]`},
	{"bad_literal", `{"x":NaN}`},
	{"bad_literal", `{"x":Infinity}`},
	{"bad_literal", `{"x":True}`},
	{"bad_literal", `{"x":nul}`},
	{"bad_literal", `{"x":nulll}`},
	{"bad_number", `{"x":01}`},
	{"bad_number", `{"x":-}`},
	{"bad_number", `{"x":+1}`},
	{"bad_number", `{"x":.5}`},
	{"bad_number", `{"x":1.}`},
	{"bad_number", `{"x":1.e5}`},
	{"bad_number", `{"x":1e}`},
	{"bad_number", `{"x":1e+}`},
	{"bad_number", `{"x":0x10}`},
	{"bad_number", `{"x":1_000}`},
	{"bad_number", `{"x":-Infinity}`},
	{"bad_number", `{"x":1.5.5}`},
	{"unexpected_end", ``},
	{"unexpected_end", ` `},
	{"unexpected_end", `{`},
	{"unexpected_end", `{"choices":[`},
	{"unexpected_end", `{"x":"a`},
	{"unexpected_end", `{"x":"a\`},
	{"unexpected_end", `{"x":"a\u00`},
	{"unexpected_end", `{"x":tr`},
	{"unexpected_end", `{"x":-`},
	{"unexpected_end", `{"x":1`},
	{"unexpected_end", `{"x":1e`},
	{"depth", strings.Repeat("[", 65)},
	{"depth", strings.Repeat("[", 10_000_000)},
	{"depth", `{"messages":` + strings.Repeat(`{"a":`, 64)},
	{"wrong_type", `{"messages":{"a":1}}`},
	{"wrong_type", `{"messages":"a"}`},
	{"wrong_type", `{"messages":null}`},
	{"wrong_type", `{"messages":["a"]}`},
	{"wrong_type", `{"messages":[{"content":5}]}`},
	{"wrong_type", `{"messages":[{"content":{"a":"b"}}]}`},
	{"wrong_type", `{"messages":[{"content":[null]}]}`},
	{"wrong_type", `{"stream":"true"}`},
	{"wrong_type", `{"stream":1}`},
	{"wrong_type", `[]`},
	{"wrong_type", `"x"`},
	{"wrong_type", `5`},
	{"bad_literal", `{"stream":1,"x":nope}`}, // malformed goes before a wrong type
	{"duplicate_key", `{"stream":{"a":1,"a":2}}`},
}

func TestRefusedDocuments(t *testing.T) {
	var w jsonwalk.Walker
	for _, c := range refusals {
		leaves, err := w.Walk(chat, []byte(c.in), jsonwalk.Options{})
		if got := code(err); got != c.code || leaves != nil {
			t.Errorf("%.80q: %s (%v), want %s", c.in, got, err, c.code)
		}
	}
}

func TestAcceptedDocuments(t *testing.T) {
	var w jsonwalk.Walker
	for _, in := range []string{
		`{"x":1e400,"y":18446744073709551616,"z":-0,"a":-0.0E-0,"b":` + strings.Repeat("9", 10_000) + `}`,
		`{"x":"\u0000\ud83d\ude00 \u2028 ` + "\u2028\x7f" + `"}`,
		strings.Repeat("[", 64)[:0] + `{"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
		"\t\r\n {\"x\" \n:\t[ ] , \"y\" : { } }\r\n",
		`{"x":{"a":1},"y":{"a":1},"z":[{"a":1},{"a":1}]}`,
		`{"x":{"A":1,"a":1}}`, // case variants of unknown keys have one meaning for every parser that compares exactly
	} {
		if _, err := w.Walk(chat, []byte(in), jsonwalk.Options{}); err != nil {
			t.Errorf("%.60q: %v", in, err)
		}
	}
}

func TestErrorsNameThePlaceAndNeverTheText(t *testing.T) {
	var w jsonwalk.Walker
	for _, c := range []struct{ in, want string }{
		{`{"messages":[{},{"content":["a",5]}]}`, "read JSON: wrong_type at messages[1].content[1] (byte 32): need string"},
		{`{"messages":[{},{"content":5}]}`, "read JSON: wrong_type at messages[1].content (byte 27): need string, array or null"},
		{`{"secret":{"hidden":[0,{"a":1,"a":2}]}}`, "read JSON: duplicate_key at *.*[1].* (byte 31)"},
		{`{"messages":[{"content":"secret` + "\x01" + `"}]}`, "read JSON: control_character at messages[0].content (byte 31)"},
		{`x`, "read JSON: bad_literal at the top level (byte 0)"},
	} {
		_, err := w.Walk(chat, []byte(c.in), jsonwalk.Options{})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.in, err, c.want)
		}
	}
}

func TestLimitsHoldWhateverTheShape(t *testing.T) {
	many := func(unit string, n int) string { return strings.TrimSuffix(strings.Repeat(unit+",", n), ",") }
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":1`, i)
		}
		return b.String()[1:]
	}
	for _, c := range []struct {
		code, in string
		opt      jsonwalk.Options
	}{
		{"too_many_items", `{"messages":[` + many(`{}`, 10_001) + `]}`, jsonwalk.Options{}},
		{"too_many_items", `{"messages":[{"content":[` + many(`"a"`, 10_000) + `]}]}`, jsonwalk.Options{}},
		{"", `{"messages":[{"content":[` + many(`"a"`, 9_999) + `]}]}`, jsonwalk.Options{}},
		{"too_many_items", `{"messages":[{},{},{}]}`, jsonwalk.Options{MaxItems: 2}},
		{"too_many_keys", `{` + keys(1_000_000) + `}`, jsonwalk.Options{}},
		{"", `{` + keys(60_000) + `}`, jsonwalk.Options{}},
		{"too_many_strings", `{"x":[` + many(`""`, 1_000_000) + `]}`, jsonwalk.Options{}},
		{"depth", `{"x":[[]]}`, jsonwalk.Options{MaxDepth: 2}},
		{"", `{"x":[]}`, jsonwalk.Options{MaxDepth: 2}},
	} {
		var w jsonwalk.Walker
		if _, err := w.Walk(chat, []byte(c.in), c.opt); code(err) != c.code {
			t.Errorf("%.40s (%d bytes): %v, want %q", c.in, len(c.in), err, c.code)
		}
		w.Shrink()
		if _, err := w.Walk(chat, []byte(`{"a":1,"b":2}`), jsonwalk.Options{}); err != nil {
			t.Errorf("after %.40s: %v", c.in, err)
		}
	}
}

func TestHostileDocumentsCostAtMostFourTimesTheirSize(t *testing.T) {
	if invariant.Race {
		t.Skip("the race detector's own allocations count")
	}
	var keys strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&keys, `"%d":1,`, i)
	}
	for name, in := range map[string]string{ // T24
		"brackets": strings.Repeat("[", 10_000_000),
		"objects":  strings.Repeat(`{"a":`, 1_000_000),
		"keys":     `{` + keys.String() + `"a":1}`,
		"strings":  `{"a":[` + strings.Repeat(`"",`, 1_000_000) + `""]}`,
		"messages": `{"messages":[` + strings.Repeat(`{},`, 100_000) + `{}]}`,
		"escapes":  `{"a":"` + strings.Repeat(`\u0041`, 1_000_000) + `"}`,
		"numbers":  `{"a":[` + strings.Repeat(`1,`, 1_000_000) + `1]}`,
		"one key":  `{"` + strings.Repeat(`\u0041`, 1_000_000) + `":1}`,
	} {
		doc := []byte(in)
		var before, after runtime.MemStats
		var w jsonwalk.Walker
		runtime.ReadMemStats(&before)
		_, _ = w.Walk(chat, doc, jsonwalk.Options{})
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4*uint64(len(doc)) {
			t.Errorf("%s: %d bytes allocated for a document of %d", name, got, len(doc))
		}
	}
}

func TestHalvesOfSurrogatePairsAreToldInStreams(t *testing.T) {
	var w jsonwalk.Walker
	split := jsonwalk.Options{SplitSurrogates: true}
	for _, c := range []struct {
		in    string
		flags uint8
	}{
		{`"a\ud83d"`, jsonwalk.Escaped | jsonwalk.TrailingHigh},
		{`"\ude00a"`, jsonwalk.Escaped | jsonwalk.LeadingLow},
		{`"\ude00\ud83d"`, jsonwalk.Escaped | jsonwalk.LeadingLow | jsonwalk.TrailingHigh},
		{`"\ud83d\ude00"`, jsonwalk.Escaped},
		{`"\ud83d\ude00\ud83d"`, jsonwalk.Escaped | jsonwalk.TrailingHigh},
	} {
		leaves, err := w.Walk(loose, []byte(c.in), split)
		if err != nil || len(leaves) != 1 || leaves[0].Flags != c.flags {
			t.Errorf("%s: %+v, %v; want flags %d", c.in, leaves, err, c.flags)
		}
	}
	for _, in := range []string{`"a\ude00"`, `"\ud83da"`, `"\ude00\ude00"`, `"\ud83d\ud83d"`, `{"\ud83d":1}`, `{"\ude00":1}`} {
		if _, err := w.Walk(loose, []byte(in), split); code(err) != "lone_surrogate" {
			t.Errorf("%s: %v", in, err)
		}
	}
	if r, ok := jsonwalk.JoinSurrogates([]byte(`\uD83d`), []byte(`\uDe00`)); r != '😀' || !ok {
		t.Errorf("joined %q %v", r, ok)
	}
	if _, ok := jsonwalk.JoinSurrogates([]byte(`\ude00`), []byte(`\ud83d`)); ok {
		t.Error("joined halves in the wrong order")
	}
}

func TestPathsTellUnknownPlacesApart(t *testing.T) {
	var w jsonwalk.Walker
	in := []byte(`{"a":"1","b":"2","c":["3","4"],"d":{"a":"5","b":"6"},"model":"m"}`)
	leaves, err := w.Walk(chat, in, jsonwalk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]string{}
	for i := range leaves {
		l := &leaves[i]
		if l.Kind != jsonwalk.String {
			continue
		}
		if l.Node != jsonwalk.Unknown {
			if l.Path != 0 {
				t.Errorf("a known place has path %d", l.Path)
			}
			continue
		}
		if other, dup := seen[l.Path]; dup || l.Path == 0 {
			t.Errorf("%s has the path of %q", l.Of(in), other)
		}
		seen[l.Path] = string(l.Of(in))
	}
	again, err := new(jsonwalk.Walker).Walk(chat, []byte(`{"d":{"b":"6"}}`), jsonwalk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if seen[again[2].Path] != "6" {
		t.Error("a path is not the same in another document and walker")
	}
}

func TestWrongTablesAreRefused(t *testing.T) {
	any := jsonwalk.Node{Name: "*", Kinds: jsonwalk.Any}
	for name, c := range map[string]struct {
		nodes  []jsonwalk.Node
		fields []jsonwalk.Field
	}{
		"no nodes":              {},
		"node 0 has a kind":     {nodes: []jsonwalk.Node{{Kinds: jsonwalk.String}}},
		"no kind":               {nodes: []jsonwalk.Node{any, {}}},
		"opaque without reason": {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.String, Text: jsonwalk.Opaque}}},
		"enum without values":   {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.String, Text: jsonwalk.Enum}}},
		"element out of range":  {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Array, Elem: 2}}},
		"slot out of range":     {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Array, Slot: 5}}},
		"fields out of range":   {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Object, Num: 1}}},
		"field's node":          {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Object, Num: 1}}, fields: []jsonwalk.Field{{Key: "a", Node: 9}}},
		"fields unsorted":       {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Object, Num: 2}}, fields: []jsonwalk.Field{{Key: "b"}, {Key: "a"}}},
		"fields twice":          {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Object, Num: 2}}, fields: []jsonwalk.Field{{Key: "a"}, {Key: "a"}}},
		"fields differ by case": {nodes: []jsonwalk.Node{any, {Kinds: jsonwalk.Object, Num: 2}}, fields: []jsonwalk.Field{{Key: "A"}, {Key: "a"}}},
	} {
		if _, err := jsonwalk.NewTable(c.nodes, c.fields, 0); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// chunk is a stream chunk of 278 bytes, the size the cost was measured with.
var chunk = []byte(`{"id":"chatcmpl-BxGQhTzvUvWvJ0n3lXqk2sYkZ7o1d","object":"chat.completion.chunk","created":1752345678,"model":"gpt-5.4-mini-2026-03-17","service_tier":"default","system_fingerprint":"fp_a1b2c3d4e5","choices":[{"index":0,"delta":{"content":" a delta of 20 B"},"finish_reason":null}]}`)

func TestWalkAllocatesNothing(t *testing.T) {
	var w jsonwalk.Walker
	docs := [][]byte{chunk, []byte(`{"a":1,"b":{"c":"\u0041","\u0064":2},"messages":[{"content":["x","y"]}]}`)}
	run := func() {
		for _, d := range docs {
			if _, err := w.Walk(chat, d, jsonwalk.Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// strict tells whether the oracle takes the document: go-json-experiment's
// jsontext refuses duplicate names, invalid UTF-8 and lone surrogates; depth and mark are ours.
func strict(in []byte) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(in))
	depth := 0
	for values := 0; ; {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return values == 1
		}
		if err != nil {
			return false
		}
		switch tok.Kind() {
		case '{', '[':
			if depth++; depth > 64 {
				return false
			}
		case '}', ']':
			depth--
		}
		if depth == 0 {
			if values++; values > 1 {
				return false
			}
		}
	}
}

func FuzzWalkerAgreesWithStrictReaders(f *testing.F) {
	for _, c := range refusals {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in))
		}
	}
	f.Add(chunk)
	f.Add([]byte(`{"a":[1,-2.5e+10,"\u00e9\ud83d\ude00\n",{"b":null,"c":true,"":false}],"é":"日本"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var w jsonwalk.Walker
		// What a walker read before must not show.
		var used jsonwalk.Walker
		_, _ = used.Walk(chat, in, jsonwalk.Options{})
		_, usedErr := used.Walk(chat, chunk, jsonwalk.Options{})
		again, againErr := used.Walk(chat, in, jsonwalk.Options{})
		fresh, freshErr := w.Walk(chat, in, jsonwalk.Options{})
		if usedErr != nil || !slices.Equal(again, fresh) || fmt.Sprint(againErr) != fmt.Sprint(freshErr) {
			t.Fatalf("%q: used walker %v %v, fresh %v %v", in, again, againErr, fresh, freshErr)
		}
		leaves, err := w.Walk(loose, in, jsonwalk.Options{})
		if want := strict(in); (err == nil) != want {
			t.Fatalf("%q: walker %v, jsontext accepts: %v", in, err, want)
		}
		if err != nil {
			if code(err) == "wrong_type" {
				t.Fatalf("%q: wrong type in a table without types", in)
			}
			// With the other table and the other option: no panic, and never accepted but for half pairs.
			_, _ = w.Walk(chat, in, jsonwalk.Options{SplitSurrogates: true})
			return
		}
		if !json.Valid(in) {
			t.Fatalf("%q: accepted, and encoding/json refuses it", in)
		}
		var texts []string
		dec := jsontext.NewDecoder(bytes.NewReader(in))
		for {
			tok, err := dec.ReadToken()
			if err != nil {
				break
			}
			if tok.Kind() == '"' {
				texts = append(texts, tok.String())
			}
		}
		if len(texts) != len(leaves) {
			t.Fatalf("%q: %d leaves, %d strings", in, len(leaves), len(texts))
		}
		for i := range leaves {
			raw := leaves[i].Of(in)
			text := jsonwalk.AppendUnescaped(nil, raw)
			if string(text) != texts[i] {
				t.Fatalf("%q: leaf %d is %q, want %q", in, i, text, texts[i])
			}
			if hasEscape := bytes.IndexByte(raw, '\\') >= 0; hasEscape != (leaves[i].Flags&jsonwalk.Escaped != 0) {
				t.Fatalf("%q: leaf %d: escaped is %v", in, i, hasEscape)
			}
			checkOffsets(t, raw, text)
		}
		if _, err := w.Walk(chat, in, jsonwalk.Options{}); err != nil {
			switch c := code(err); c {
			case "wrong_type", "case_variant_key":
			default:
				t.Fatalf("%q: %v along a table of types", in, err)
			}
		}
	})
}

// checkOffsets compares RawOffset and RawSpan with a decode of every prefix.
func checkOffsets(t *testing.T, raw, text []byte) {
	t.Helper()
	if len(raw) > 200 {
		return
	}
	var m jsonwalk.Mapper
	m.Reset(raw)
	for i := range text {
		start, end := jsonwalk.RawSpan(raw, i, i+1)
		if ms, me := m.Span(i, i+1); ms != start || me != end {
			t.Fatalf("%q: offset %d maps to [%d,%d) alone and [%d,%d) in a row", raw, i, start, end, ms, me)
		}
		if _, last := jsonwalk.RawSpan(raw, i/2, i+1); last != end {
			t.Fatalf("%q: [%d,%d) ends at %d, its last byte at %d", raw, i/2, i+1, last, end)
		}
		if start != jsonwalk.RawOffset(raw, i) || end <= start {
			t.Fatalf("%q: offset %d maps to [%d,%d)", raw, i, start, end)
		}
		if raw[start] != '\\' {
			if end != start+1 || raw[start] != text[i] {
				t.Fatalf("%q: text byte %d (%q) maps to %q", raw, i, text[i], raw[start:end])
			}
			continue
		}
		before, unit := jsonwalk.AppendUnescaped(nil, raw[:start]), jsonwalk.AppendUnescaped(nil, raw[start:end])
		if !bytes.HasPrefix(text[len(before):], unit) || i < len(before) || i >= len(before)+len(unit) {
			t.Fatalf("%q: text byte %d maps to the escape %q", raw, i, raw[start:end])
		}
	}
	if got := jsonwalk.RawOffset(raw, len(text)); got != len(raw) {
		t.Fatalf("%q: the end maps to %d", raw, got)
	}
}

func FuzzEscapedTextReadsBack(f *testing.F) {
	f.Add("plain", "a\"b\\c\n\t\r\x01\u2028é😀")
	f.Add("\xff\xfe", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		raw := jsonwalk.AppendString(nil, a+b)
		var got string
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		want := strings.ToValidUTF8(a+b, "\uFFFD")
		if utf8.ValidString(a+b) && got != want {
			t.Fatalf("%q reads %q", a+b, got)
		}
		if _, err := new(jsonwalk.Walker).Walk(loose, raw, jsonwalk.Options{}); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if back := jsonwalk.AppendUnescaped(nil, raw[1:len(raw)-1]); string(back) != got {
			t.Fatalf("%q unescapes to %q", raw, back)
		}
	})
}

func TestSpliceChangesNothingElse(t *testing.T) {
	src := []byte(`{"a":"one","b":"two"}`)
	got := jsonwalk.Splice(nil, src, []jsonwalk.Edit{{Start: 0, End: 0, New: []byte("<")}, {Start: 6, End: 9, New: nil}, {Start: 16, End: 19, New: []byte("22222")}})
	if string(got) != `<{"a":"","b":"22222"}` {
		t.Errorf("got %s", got)
	}
	if got := jsonwalk.Splice(nil, src, nil); !bytes.Equal(got, src) {
		t.Errorf("no edits: got %s", got)
	}
	for _, edits := range [][]jsonwalk.Edit{{{Start: 5, End: 3}}, {{Start: 5, End: 7}, {Start: 6, End: 8}}, {{Start: 5, End: 99}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", edits)
				}
			}()
			jsonwalk.Splice(nil, src, edits)
		}()
	}
}

func TestIntIsExact(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-0", 0, true}, {"9223372036854775807", 1<<63 - 1, true}, {"9223372036854775808", 0, false},
		{"-5", -5, true}, {"9007199254740993", 9007199254740993, true}, {"1.0", 0, false}, {"1e3", 0, false},
		{"18446744073709551616", 0, false}, {"", 0, false}, {"-", 0, false}, {strings.Repeat("9", 10_000), 0, false},
	} {
		if got, ok := jsonwalk.Int([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("Int(%.30s) = %d, %v; want %d, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func TestHelpersAllocateNothing(t *testing.T) {
	raw := []byte(`caf\u00e9 \ud83d\ude00 \"x\" ` + strings.Repeat("plain ", 10))
	text := jsonwalk.AppendUnescaped(nil, raw)
	dst := make([]byte, 0, 1024)
	edits := []jsonwalk.Edit{{Start: 1, End: 2, New: []byte("zz")}}
	if n := testing.AllocsPerRun(100, func() {
		dst = jsonwalk.AppendUnescaped(dst[:0], raw)
		dst = jsonwalk.AppendEscaped(dst[:0], text)
		dst = jsonwalk.Splice(dst[:0], raw, edits)
		jsonwalk.RawSpan(raw, 3, 9)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWalk(b *testing.B) {
	b.Run("walk", func(b *testing.B) {
		b.ReportAllocs()
		var w jsonwalk.Walker
		for b.Loop() {
			if l, err := w.Walk(chunkTable, chunk, jsonwalk.Options{SplitSurrogates: true}); err != nil || len(l) != 8 {
				b.Fatal(len(l), err)
			}
		}
	})
	b.Run("sonic-get", func(b *testing.B) {
		b.ReportAllocs()
		s := string(chunk)
		for b.Loop() {
			if n, err := sonic.GetFromString(s, "choices", 0, "delta", "content"); err != nil || !n.Exists() {
				b.Fatal(err)
			}
		}
	})
	b.Run("json-valid", func(b *testing.B) {
		for b.Loop() {
			if !json.Valid(chunk) {
				b.Fatal("invalid")
			}
		}
	})
}

var chunkTable = must(jsonwalk.NewTable([]jsonwalk.Node{
	{Name: "*", Kinds: jsonwalk.Any},
	{Name: ".", Kinds: jsonwalk.Object, First: 0, Num: 7},
	{Name: "choices", Kinds: jsonwalk.Array, Elem: 3, Slot: 1},
	{Name: "choices[]", Kinds: jsonwalk.Object, First: 7, Num: 3},
	{Name: "id", Kinds: jsonwalk.String},
	{Name: "n", Kinds: jsonwalk.Number | jsonwalk.Null, Emit: true},
	{Name: "delta", Kinds: jsonwalk.Object, First: 10, Num: 3},
	{Name: "text", Kinds: jsonwalk.String | jsonwalk.Null},
}, []jsonwalk.Field{
	{Key: "choices", Node: 2}, {Key: "created", Node: 5}, {Key: "id", Node: 4}, {Key: "model", Node: 4}, {Key: "object", Node: 4}, {Key: "service_tier", Node: 4}, {Key: "system_fingerprint", Node: 4},
	{Key: "delta", Node: 6}, {Key: "finish_reason", Node: 7}, {Key: "index", Node: 5},
	{Key: "content", Node: 7}, {Key: "refusal", Node: 7}, {Key: "role", Node: 7},
}, 1))
