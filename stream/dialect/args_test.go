package dialect_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keeptrusts/kt/stream/dialect"
)

func view(v *dialect.ArgsView, pieces ...string) string {
	var dst []byte
	for _, p := range pieces {
		own := []byte(p)
		dst = v.Feed(dst, own)
		for i := range own {
			own[i] = 0xDB
		}
	}
	return string(v.End(dst))
}

func TestArgsViewDecodesLiteralsOnly(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, ``},
		{`{"q":"plain","n":41,"b":true}`, `{"q":"plain","n":41,"b":true}`},
		{`{"q":"\u0061\u0062c"}`, `{"q":"abc"}`},
		{`{"q":"a\"b\\c\/d\n\t\b\f\r"}`, "{\"q\":\"a\"b\\c/d\n\t\b\f\r\"}"},
		{`{"q":"\ud83d\ude00!"}`, `{"q":"😀!"}`},
		{`{"q":"\uD83D\uDE00"}`, `{"q":"😀"}`},
		{`{"q":"\ud83dx"}`, `{"q":"` + "\uFFFD" + `x"}`},
		{`{"q":"\ud83d\n"}`, `{"q":"` + "\uFFFD\n" + `"}`},
		{`{"q":"\ud83d\u0041"}`, `{"q":"` + "\uFFFD" + `A"}`},
		{`{"q":"\ud83d\ud83d\ude00"}`, `{"q":"` + "\uFFFD" + `😀"}`},
		{`{"q":"\ude00"}`, `{"q":"` + "\uFFFD" + `"}`},
		{`{"q":"\x41\u00g1 \u12"}`, `{"q":"\x41\u00g1 \u12"}`},
		{`\u0061 "\u0061`, `\u0061 "a`},
		{`"cut \`, `"cut \`},
		{`"cut \u00`, `"cut \u00`},
		{`"cut \ud83d`, `"cut ` + "\uFFFD"},
		{`"cut \ud83d\ud`, `"cut ` + "\uFFFD" + `\ud`},
	} {
		var v dialect.ArgsView
		if got := view(&v, c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", c.in, got, c.want)
		}
		v.Reset()
		if got := view(&v, strings.Split(c.in, "")...); got != c.want {
			t.Errorf("%s byte by byte: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestArgsViewMapsBackToWholeEscapes(t *testing.T) {
	//         0         1         2         3
	//         0123456789012345678901234567890123456
	const in = `{"q":"a\u0062c\ud83d\ude00d","n":4111}`
	var v dialect.ArgsView
	got := view(&v, in)
	at := func(s string) int64 { return int64(strings.Index(got, s)) }
	for _, c := range []struct {
		start, end int64
		want       string
	}{
		{at("a"), at("b"), "a"}, {at("b"), at("c"), `\u0062`}, {at("a"), at("c"), `a\u0062`}, {at("c"), at("c") + 1, "c"},
		{at("😀"), at("😀") + 4, `\ud83d\ude00`}, {at("😀") + 1, at("😀") + 2, `\ud83d\ude00`}, {at("d"), at("d") + 1, "d"},
		{at("4111"), at("4111") + 4, "4111"}, {0, int64(len(got)), in}, {at("b"), at("b"), ""},
	} {
		s, e := v.TextSpan(c.start, c.end)
		if in[s:e] != c.want {
			t.Errorf("view [%d,%d) is text %q, want %q", c.start, c.end, in[s:e], c.want)
		}
	}
	if text, view := v.Len(); text != int64(len(in)) || view != int64(len(got)) {
		t.Errorf("lengths %d %d", text, view)
	}
}

func TestArgsViewKnowsTheLiterals(t *testing.T) {
	const in = `{"q":"a\"b","n":4111,"m":"x"}`
	var v dialect.ArgsView
	view(&v, in)
	find := func(s string) (int64, int64) { i := strings.Index(in, s); return int64(i), int64(i + len(s)) }
	for _, c := range []struct {
		text string
		want dialect.Place
	}{
		{`q`, dialect.InLiteral}, {`a\"b`, dialect.InLiteral}, {`\"`, dialect.InLiteral}, {`4111`, dialect.Outside}, {`:4111,`, dialect.Outside},
		{`"q"`, dialect.Crossing}, {`b",`, dialect.Crossing}, {`,"m`, dialect.Crossing}, {`x`, dialect.InLiteral},
	} {
		s, e := find(c.text)
		if got := v.Place(s, e); got != c.want {
			t.Errorf("%s: place %d, want %d", c.text, got, c.want)
		}
	}
	s, e := find("11")
	if s, e := dialect.ScalarSpan([]byte(in), int(s), int(e)); in[s:e] != "4111" {
		t.Errorf("the scalar is %q", in[s:e])
	}
	forget, _ := find("b\"")
	v.Forget(forget)
	if got := v.Place(find("4111")); got != dialect.Outside {
		t.Errorf("after Forget: place %d", got)
	}
	if got := v.Place(find("x")); got != dialect.InLiteral {
		t.Errorf("after Forget: place %d", got)
	}
	if got := v.Place(find("q")); got != dialect.Crossing {
		t.Errorf("a forgotten place is %d, want Crossing", got)
	}
}

func TestEditsLeaveTheArgumentsJSON(t *testing.T) {
	for _, c := range []struct{ in, cut, want string }{
		{`{"q":"my ssn here"}`, "ssn", `{"q":"my <\"x\"> here"}`},
		{`{"q":"a\u0062c"}`, `\u0062`, `{"q":"a<\"x\">c"}`},
		{`{"q":[4111,2]}`, "4111", `{"q":["<\"x\">",2]}`},
	} {
		var v dialect.ArgsView
		view(&v, c.in)
		i := strings.Index(c.in, c.cut)
		j := i + len(c.cut)
		got := c.in[:i] + string(dialect.AppendArgsEdit(nil, v.Place(int64(i), int64(j)), []byte(`<"x">`))) + c.in[j:]
		if got != c.want || !json.Valid([]byte(got)) {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
}

func FuzzArgsViewSplitsAlike(f *testing.F) {
	f.Add(`{"q":"\u0061\ud83d\ude00\ud83dx\n\"\\","n":41}`, uint64(1))
	f.Add(`"\ud83d\ud83d\u`, uint64(2))
	f.Add(`\"\x"\x`, uint64(3))
	f.Fuzz(func(t *testing.T, in string, seed uint64) {
		var whole, split dialect.ArgsView
		want := view(&whole, in)
		r := rand.New(rand.NewPCG(seed, 1))
		var pieces []string
		for rest := in; rest != ""; {
			n := 1 + r.IntN(min(len(rest), 1+r.IntN(9)))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		forget := int64(r.IntN(len(in) + 1))
		if got := view(&split, pieces...); got != want {
			t.Fatalf("%q: split %q, whole %q", in, got, want)
		}
		if text, v := whole.Len(); text != int64(len(in)) || v != int64(len(want)) {
			t.Fatalf("%q: lengths %d %d", in, text, v)
		}
		if !strings.Contains(in, `\`) && want != in {
			t.Fatalf("%q became %q", in, want)
		}
		split.Forget(forget)
		last := int64(0)
		for i := range int64(len(want)) {
			s, e := whole.TextSpan(i, i+1)
			if s > last || e <= s || e > int64(len(in)) {
				t.Fatalf("%q: view byte %d is text [%d,%d) after %d", in, i, s, e, last)
			}
			last = e
			if e == s+1 && in[s] != want[i] {
				t.Fatalf("%q: view byte %d is %q, the text there %q", in, i, want[i], in[s])
			}
			if v := whole.ViewOffset(s); v > i {
				t.Fatalf("%q: text %d is at view %d, after %d", in, s, v, i)
			}
			if s >= forget {
				if fs, fe := split.TextSpan(i, i+1); fs != s || fe != e {
					t.Fatalf("%q: after Forget(%d) view byte %d is [%d,%d), before [%d,%d)", in, forget, i, fs, fe, s, e)
				}
				if split.Place(s, e) != whole.Place(s, e) || split.ViewOffset(s) != whole.ViewOffset(s) {
					t.Fatalf("%q: Forget(%d) changes the place of %d", in, forget, s)
				}
			}
		}
		if last != int64(len(in)) {
			t.Fatalf("%q: the view covers %d bytes of %d", in, last, len(in))
		}
		// The view gets text that passed the strict parse: valid UTF-8. On other
		// bytes, which it leaves as they are, encoding/json is no oracle.
		var v any
		if utf8.ValidString(in) && json.Unmarshal([]byte(in), &v) == nil {
			if s, ok := v.(string); ok && strings.TrimSpace(in) == in && `"`+s+`"` != want {
				t.Fatalf("%q: view %q, encoding/json %q", in, want, s)
			}
		}
	})
}

func TestArgsViewAllocatesNothing(t *testing.T) {
	in := []byte(`{"q":"\u0061\ud83d\ude00 plain \"x\"","n":41}`)
	var v dialect.ArgsView
	dst := make([]byte, 0, 256)
	run := func() {
		v.Reset()
		dst = dst[:0]
		for i := range in {
			dst = v.Feed(dst, in[i:i+1])
		}
		dst = v.End(dst)
		v.Forget(int64(len(in)))
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStreamKeepsTheOpenChoices(t *testing.T) {
	var st dialect.Stream
	for _, c := range []int32{2, 0, 2, 127} {
		if err := st.See(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []int32{-1, dialect.MaxChoices, 1 << 30} {
		if st.See(c) == nil {
			t.Errorf("choice %d passes", c)
		}
	}
	st.Finish(0)
	if got := st.Open(nil); !slices.Equal(got, []int32{2, 127}) || st.AllFinished() || st.Choices() != 3 {
		t.Errorf("open %v", got)
	}
	st.Finish(2)
	st.Finish(127)
	if !st.AllFinished() {
		t.Error("not all finished")
	}
	st.Reset()
	if st.Choices() != 0 || st.AllFinished() {
		t.Error("Reset keeps choices")
	}
}

func TestStreamRemembersRepeatedTexts(t *testing.T) {
	var st dialect.Stream
	a, b := dialect.ChannelKey{Path: 1}, dialect.ChannelKey{Path: 2}
	for i, c := range []struct {
		key  dialect.ChannelKey
		text string
		want bool
	}{
		{a, "x", false}, {a, "x", true}, {b, "x", false}, {a, "y", false}, {a, "x", false}, {a, "x", true}, {b, "x", true},
		{a, strings.Repeat("z", 300), false}, {a, strings.Repeat("z", 300), false}, {a, "x", false},
	} {
		if got := st.Repeated(c.key, []byte(c.text)); got != c.want {
			t.Errorf("call %d: %v, want %v", i, got, c.want)
		}
	}
	for i := range 100 {
		st.Repeated(dialect.ChannelKey{Path: uint32(100 + i)}, bytes.Repeat([]byte("k"), i))
	}
	if st.Repeated(dialect.ChannelKey{Path: 199}, bytes.Repeat([]byte("k"), 99)) {
		t.Error("remembers more texts than its limit")
	}
}
