package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/stream/sse"
)

// event is an Event with its own memory.
type event struct{ Name, Data, ID string }

// feed gives the pieces to a framer, each in its own array that is overwritten
// afterwards, and collects the events.
func feed(f *sse.Framer, pieces ...[]byte) (events []event, err error) {
	for _, p := range pieces {
		own := bytes.Clone(p)
		for rest := own; len(rest) > 0; {
			ev, n, ok, err := f.Next(rest)
			if err != nil {
				return events, err
			}
			if ok && sse.IsPlain(ev, rest[:n]) && !bytes.Equal(sse.AppendEvent(nil, nil, ev.Data), rest[:n]) {
				return events, fmt.Errorf("%q is plain, yet not what is written for %q", rest[:n], ev.Data)
			}
			rest = rest[n:]
			if ok {
				events = append(events, event{string(ev.Name), string(ev.Data), string(ev.ID)})
			} else if len(rest) > 0 {
				return events, fmt.Errorf("no event, yet %d bytes left", len(rest))
			}
		}
		for i := range own {
			own[i] = 0xDB
		}
	}
	return events, nil
}

// reference reads a whole stream the plain way, line by line, by the standard's own steps.
func reference(s string) (events []event, incomplete bool) {
	s = strings.TrimPrefix(s, "\xEF\xBB\xBF")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	lines := strings.Split(s, "\n")
	last := lines[len(lines)-1]
	var data, name, id string
	has := false
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if has {
				events = append(events, event{name, strings.TrimSuffix(data, "\n"), id})
			}
			data, name, has = "", "", false
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data, has = data+value+"\n", true
		case "event":
			name = value
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		}
	}
	return events, has || name != "" || last != "" && last[0] != ':'
}

var long = strings.Repeat("x", 2*1024)

// formats are the format cases of the Web Platform Tests for EventSource, and more of the kind (T41).
var formats = []struct {
	name, in string
	want     []event
}{
	{"mark once", "\xEF\xBB\xBFdata:1\n\n\xEF\xBB\xBFdata:2\n\ndata:3\n\n", []event{{"", "1", ""}, {"", "3", ""}}},
	{"mark twice", "\xEF\xBB\xBF\xEF\xBB\xBFdata:1\n\ndata:2\n\ndata:3\n\n", []event{{"", "2", ""}, {"", "3", ""}}},
	{"half a mark", "\xEF\xBBdata:1\n\ndata:2\n\n", []event{{"", "2", ""}}},
	{"only a mark", "\xEF\xBB\xBF", nil},
	{"comments", "data:1\r:\x00\n:\r\ndata:2\n:" + long + "\rdata:3\n:data:fail\r:" + long + "\ndata:4\n\n", []event{{"", "1\n2\n3\n4", ""}}},
	{"no final blank line", "retry:1000\ndata:test1\n\nid:test\ndata:test2", []event{{"", "test1", ""}}},
	{"final line not ended", "data:test1\n\nid:test\ndata:test2\n", []event{{"", "test1", ""}}},
	{"data forms", "data:\n\ndata\ndata\n\ndata:test\n\n", []event{{"", "", ""}, {"", "\n", ""}, {"", "test", ""}}},
	{"event", "event:test\ndata:x\n\ndata:x\n\n", []event{{"test", "x", ""}, {"", "x", ""}}},
	{"event empty", "event:\ndata\n\n", []event{{"", "", ""}}},
	{"event twice", "event:a\nevent:b\ndata:x\n\n", []event{{"b", "x", ""}}},
	{"event taken back", "event:a\nevent:\ndata:x\n\n", []event{{"", "x", ""}}},
	{"event without data", "event:a\n\ndata:x\n\n", []event{{"", "x", ""}}},
	{"id", "id:1\ndata:a\n\ndata:b\n\nid\ndata:c\n\n", []event{{"", "a", "1"}, {"", "b", "1"}, {"", "c", ""}}},
	{"id without data", "id:1\n\ndata:b\n\n", []event{{"", "b", "1"}}},
	{"id with NUL", "id:1\x00x\ndata:hello\n\n", []event{{"", "hello", ""}}},
	{"fields", "data:\x00\ndata:  2\rData:1\ndata\x00:2\ndata:1\r\x00data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n", []event{{"", "\x00\n 2\n1\n3\n\n4", ""}}},
	{"retry", "retry:03000\ndata:x\n\nretry:x\ndata:y\n\n", []event{{"", "x", ""}, {"", "y", ""}}},
	{"unknown fields", "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n", []event{{"", "test\n\ntest", ""}}},
	{"leading space", "data:\ttest\rdata: \ndata:test\n\n", []event{{"", "\ttest\n\ntest", ""}}},
	{"line ends", "data:test\r\ndata\ndata:test\r\n\r", []event{{"", "test\n\ntest", ""}}},
	{"CR only", "data:a\r\rdata:b\r\r", []event{{"", "a", ""}, {"", "b", ""}}},
	{"CRLF only", "data:a\r\n\r\ndata:b\r\n\r\n", []event{{"", "a", ""}, {"", "b", ""}}},
	{"LF CR", "data:a\n\rdata:b\n\r", []event{{"", "a", ""}, {"", "b", ""}}},
	{"NUL", "data:\x00\n\n\n\n", []event{{"", "\x00", ""}}},
	{"UTF-8", "data:ok\xe2\x80\xa6\n\n", []event{{"", "ok\xe2\x80\xa6", ""}}},
	{"other separators are text", "data:a\xe2\x80\xa8b\xc2\x85c\x0bd\n\n", []event{{"", "a\xe2\x80\xa8b\xc2\x85c\x0bd", ""}}},
	{"blank lines only", "\n\r\n\r\n\n\n", nil},
	{"empty", "", nil},
	{"done", "data: {}\n\ndata: [DONE]\n\n", []event{{"", "{}", ""}, {"", "[DONE]", ""}}},
}

func TestEventsAreThoseOfTheStandardAtEveryCut(t *testing.T) {
	for _, c := range formats {
		ref, refIncomplete := reference(c.in)
		if !slices.Equal(ref, c.want) {
			t.Fatalf("%s: the reference gives %q, want %q", c.name, ref, c.want)
		}
		check := func(cut string, pieces ...[]byte) {
			t.Helper()
			var f sse.Framer
			defer f.Close()
			got, err := feed(&f, pieces...)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: got %q, %v; want %q", c.name, cut, got, err, c.want)
			}
			if f.Incomplete() != refIncomplete {
				t.Errorf("%s, %s: incomplete %v, want %v", c.name, cut, f.Incomplete(), refIncomplete)
			}
		}
		in := []byte(c.in)
		check("whole", in)
		var single [][]byte
		for i := range in {
			single = append(single, in[i:i+1])
			check(fmt.Sprintf("cut at %d", i), in[:i], in[i:])
		}
		check("bytes", single...)
	}
}

func TestEventInsideTheBufferIsNotCopied(t *testing.T) {
	src := []byte("event: e\ndata: payload\n\n")
	var f sse.Framer
	defer f.Close()
	ev, n, ok, err := f.Next(src)
	if !ok || err != nil || n != len(src) {
		t.Fatalf("got n %d ok %v err %v", n, ok, err)
	}
	if &ev.Data[0] != &src[15] || &ev.Name[0] != &src[7] {
		t.Error("the event does not point into the bytes given")
	}
}

// TestPlainEventsAreToldFromOthers: those that can go on as they came.
func TestPlainEventsAreToldFromOthers(t *testing.T) {
	for _, k := range []struct {
		before, src string
		want        bool
	}{
		{"", "data: x\n\n", true}, {"", "data: \n\n", true}, {":c\n", "data: x\n\n", true},
		{"", "data:x\n\n", false}, {"", "\ndata:x\n\n", false}, {"", "data: x\r\r", false}, {"", "data: x\r\n\r\n", false},
		{"", "data: x\ndata: y\n\n", false}, {"", "data: x\n:c\n\n", false}, {"event: e\n", "data: x\n\n", false},
		{"data: a\n", "data: x\n\n", false}, {"data: a", "data: x\n\n", false}, {"da", "ta: x\n\n", false},
	} {
		var f sse.Framer
		for _, first := range []string{"", "data: first\n\n"} { // at a stream's beginning, and later
			if first != "" {
				if _, n, ok, err := f.Next([]byte(first)); n != len(first) || !ok || err != nil {
					t.Fatal(n, ok, err)
				}
			}
			if k.before != "" {
				if _, _, ok, err := f.Next([]byte(k.before)); ok || err != nil {
					t.Fatal(ok, err)
				}
			}
			ev, n, ok, err := f.Next([]byte(k.src))
			if !ok || err != nil || sse.IsPlain(ev, []byte(k.src[:n])) != k.want {
				t.Errorf("%q behind %q: %q, %v %v, want %v", k.src, first+k.before, ev.Data, ok, err, k.want)
			}
			if n < len(k.src) { // the LF of a CR LF
				_, _, _, _ = f.Next([]byte(k.src[n:]))
			}
		}
		f.Close()
	}
}

func TestRetryIsRead(t *testing.T) {
	var f sse.Framer
	if _, ok := f.Retry(); ok {
		t.Error("a retry before any")
	}
	if _, err := feed(&f, []byte("retry:03000\ndata:x\n\nretry:1000x\nretry:\n\n")); err != nil {
		t.Fatal(err)
	}
	if ms, ok := f.Retry(); ms != 3000 || !ok {
		t.Errorf("retry %d %v, want 3000", ms, ok)
	}
}

func TestTooLargeEventsAreRefused(t *testing.T) {
	const limit = 64
	for _, c := range []struct {
		name, unit string
	}{
		{"one line", "data: aaaaaaaa"}, {"data lines", "data: a\n"}, {"comments", ": a\n"}, {"comment line", ": aaaaaaa"},
		{"blank lines", "\n"}, {"ids", "id: 1\n"}, {"retries", "retry: 1\n"}, {"events without data", "event: x\n\n"},
	} {
		for _, piece := range []int{1, 7, 64, 4096} {
			f := sse.Framer{Max: limit}
			in := []byte(strings.Repeat(c.unit, 1000/len(c.unit)))
			var pieces [][]byte
			for p := range slices.Chunk(in, piece) {
				pieces = append(pieces, p)
			}
			if got, err := feed(&f, pieces...); !errors.Is(err, sse.ErrEventTooLarge) || len(got) > 0 {
				t.Errorf("%s in pieces of %d: %d events, error %v; want ErrEventTooLarge", c.name, piece, len(got), err)
			}
			if _, _, _, err := f.Next([]byte("\n\n")); !errors.Is(err, sse.ErrEventTooLarge) {
				t.Errorf("%s: the error does not stay: %v", c.name, err)
			}
			f.Close()
		}
	}
	f := sse.Framer{Max: limit}
	exact := []byte("data: " + strings.Repeat("a", limit-8) + "\n\n")
	if got, err := feed(&f, exact, exact, exact); err != nil || len(got) != 3 {
		t.Errorf("events of exactly the limit: %d, %v", len(got), err)
	}
}

func TestLargeEventsCostLinearTimeAndTwiceTheirSize(t *testing.T) {
	var f sse.Framer
	defer f.Close()
	want := strings.Repeat("a", 3<<20)
	in := []byte("data: " + want + "\n\n")
	var pieces [][]byte
	for p := range slices.Chunk(in, 1000) {
		pieces = append(pieces, p)
	}
	got, err := feed(&f, pieces...)
	if err != nil || len(got) != 1 || got[0].Data != want {
		t.Fatalf("%d events, %v", len(got), err)
	}
}

func FuzzAnySplitGivesTheSameEvents(f *testing.F) {
	for _, c := range formats {
		f.Add([]byte(c.in), uint64(1), 0)
		f.Add([]byte(c.in), uint64(2), 40)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, limit int) {
		if limit < 0 || limit > 1<<20 {
			limit = 0
		}
		whole := sse.Framer{Max: limit}
		want, wantErr := feed(&whole, in)
		r := rand.New(rand.NewPCG(seed, 7))
		var pieces [][]byte
		for rest := in; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 1+r.IntN(40)))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		split := sse.Framer{Max: limit}
		got, gotErr := feed(&split, pieces...)
		if !slices.Equal(got, want) || !errors.Is(gotErr, wantErr) {
			t.Fatalf("split: %q %v\nwhole: %q %v", got, gotErr, want, wantErr)
		}
		if wantErr == nil {
			if split.Incomplete() != whole.Incomplete() {
				t.Fatal("Incomplete depends on the cut")
			}
			if ref, incomplete := reference(string(in)); limit == 0 && (!slices.Equal(ref, want) || incomplete != whole.Incomplete()) {
				t.Fatalf("got %q %v\nreference %q %v", want, whole.Incomplete(), ref, incomplete)
			}
		}
		for _, ev := range want {
			wire := sse.AppendEvent(nil, []byte(ev.Name), []byte(ev.Data))
			var f sse.Framer
			back, err := feed(&f, wire)
			if err != nil || len(back) != 1 || back[0].Name != ev.Name || back[0].Data != ev.Data {
				t.Fatalf("%q written as %q reads %q, %v", ev, wire, back, err)
			}
			f.Close()
		}
		whole.Close()
		split.Close()
	})
}

func TestWriterIsCanonical(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"", "x", "data: x\n\n"},
		{"", "", "data: \n\n"},
		{"error", `{"a":1}`, "event: error\ndata: {\"a\":1}\n\n"},
		{"", "a\nb\r\nc\rd\n", "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"},
		{"a\ndata: evil", "x", "event: a\ndata: x\n\n"},
		{"\rx", "x", "data: x\n\n"},
	} {
		if got := string(sse.AppendEvent(nil, []byte(c.name), []byte(c.data))); got != c.want {
			t.Errorf("AppendEvent(%q, %q) = %q, want %q", c.name, c.data, got, c.want)
		}
	}
	for _, c := range []struct{ name, data, want string }{
		{"", "{}", "data: {}\n\n"},
		{"e\nx", "{}", "event: e\ndata: {}\n\n"},
		{"e", "{\n\r\n\"a\":\r1}\n", "event: e\ndata: {   \"a\": 1} \n\n"},
	} {
		if got := string(sse.AppendJSON([]byte("x\n"), []byte(c.name), []byte(c.data))); got != "x\n"+c.want {
			t.Errorf("AppendJSON(%q, %q) = %q, want %q", c.name, c.data, got, c.want)
		}
	}
	if got := string(sse.AppendComment(nil, []byte("keep-alive\ndata: no"))); got != ": keep-alive\n: data: no\n\n" {
		t.Errorf("comment: %q", got)
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	in := []byte(strings.Repeat("event: e\nid: 7\ndata: {\"choices\":[{\"index\":0}]}\n\n: c\n\ndata: a\ndata: b\n\n", 20))
	var f sse.Framer
	defer f.Close()
	for _, piece := range []int{3, 64, len(in)} {
		run := func() {
			n := 0
			for p := 0; p < len(in); p += piece {
				for rest := in[p:min(p+piece, len(in))]; len(rest) > 0; {
					_, k, ok, err := f.Next(rest)
					if err != nil {
						t.Fatal(err)
					}
					rest = rest[k:]
					if ok {
						n++
					}
				}
			}
			if n != 40 {
				t.Fatalf("%d events, want 40", n)
			}
		}
		run()
		if got := testing.AllocsPerRun(50, run); got != 0 {
			t.Errorf("pieces of %d: %v allocations", piece, got)
		}
	}
	dst := make([]byte, 0, 256)
	if got := testing.AllocsPerRun(50, func() { dst = sse.AppendEvent(dst[:0], []byte("e"), in[:40]) }); got != 0 {
		t.Errorf("AppendEvent: %v allocations", got)
	}
	if got := testing.AllocsPerRun(50, func() { dst = sse.AppendJSON(dst[:0], []byte("e"), in[:40]) }); got != 0 {
		t.Errorf("AppendJSON: %v allocations", got)
	}
}

func BenchmarkNext(b *testing.B) {
	one := `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"hello world, 20 byte"},"finish_reason":null}]}` + "\n\n"
	in := []byte(strings.Repeat(one, 16))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	var f sse.Framer
	for b.Loop() {
		n := 0
		for rest := in; len(rest) > 0; {
			_, k, ok, _ := f.Next(rest)
			rest = rest[k:]
			if ok {
				n++
			}
		}
		if n != 16 {
			b.Fatal(n)
		}
	}
}
