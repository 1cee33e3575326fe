package stream

import (
	"strconv"

	"github.com/keeptrusts/kt/stream/jsonwalk"
)

// maxNesting is how deep keys follows containers. Text that is nested deeper is
// no JSON that anybody reads: all its literals then count as keys of one object.
const maxNesting = 512

// keys follows JSON text that comes in pieces and knows which of its string
// literals are keys of which object, so that two keys which a policy gives one
// text stay two: the second marker of an object has the number 2, and so on.
// Offsets are bytes since the beginning. The zero value is ready. Text that is
// no JSON gives no error: some of its literals are taken for keys or not.
type keys struct {
	at      int64
	state   uint8 // outOfLiteral, inKey, inValue
	escaped bool  // the byte before was a backslash inside a literal
	expect  bool  // the next literal is a key
	lost    bool
	stack   []int32 // numbers of the objects around, 0 for an array
	objects int32
	list    []keySpan
	issued  []issued

	firstStack [4]int32 // room for what most texts have
	firstList  [2]keySpan
}

// keySpan is the content of a key; end is -1 until its quote came.
type keySpan struct {
	start, end int64
	object     int32
}

// issued is a text that was put into keys of an object, and how often.
type issued struct {
	object int32
	text   string
	n      int
}

const (
	outOfLiteral uint8 = iota
	inKey
	inValue
)

// feed takes the next piece of the text.
// Allocates: where the text is nested deep or much waits. text: valid during the call only.
func (k *keys) feed(text []byte) {
	if k.stack == nil {
		k.stack, k.list = k.firstStack[:0], k.firstList[:0]
	}
	for i, c := range text {
		if k.state != outOfLiteral {
			switch {
			case k.escaped:
				k.escaped = false
			case c == '\\':
				k.escaped = true
			case c == '"':
				if k.state == inKey {
					k.list[len(k.list)-1].end = k.at + int64(i)
				}
				k.state = outOfLiteral
			}
			continue
		}
		switch c {
		case '"':
			k.state = inValue
			if k.expect || k.lost {
				k.state = inKey
				k.list = append(k.list, keySpan{start: k.at + int64(i) + 1, end: -1, object: k.object()})
			}
		case '{', '[':
			k.lost = k.lost || len(k.stack) == maxNesting
			if k.lost {
				continue
			}
			n := int32(0)
			if c == '{' {
				k.objects++
				n = k.objects
			}
			k.stack, k.expect = append(k.stack, n), c == '{'
		case '}', ']':
			if len(k.stack) > 0 {
				k.stack = k.stack[:len(k.stack)-1]
			}
			k.expect = false
		case ',':
			k.expect = k.object() > 0
		case ':':
			k.expect = false
		}
	}
	k.at += int64(len(text))
}

// whole tells that the text so far may be a JSON value, or is none.
func (k *keys) whole() bool { return k.lost || k.state == outOfLiteral && len(k.stack) == 0 }

// object is the number of the innermost object, 0 outside of one.
func (k *keys) object() int32 {
	if len(k.stack) == 0 || k.lost {
		return 0
	}
	return k.stack[len(k.stack)-1]
}

// of gives the object whose key holds the offset.
func (k *keys) of(at int64) (object int32, ok bool) {
	for i := len(k.list) - 1; i >= 0; i-- {
		if s := &k.list[i]; s.start <= at {
			return s.object, s.end < 0 || at <= s.end
		}
	}
	return 0, false
}

// forget drops keys that end before the offset.
func (k *keys) forget(at int64) {
	n := 0
	for n < len(k.list) && k.list[n].end >= 0 && k.list[n].end < at {
		n++
	}
	if n > 0 {
		k.list = append(k.list[:0], k.list[n:]...)
	}
}

// count notes that text is put into a key of the object and gives how often it was.
func (k *keys) count(object int32, text []byte) int {
	for i := range k.issued {
		if u := &k.issued[i]; u.object == object && u.text == string(text) {
			u.n++
			return u.n
		}
	}
	k.issued = append(k.issued, issued{object: object, text: string(text), n: 1})
	return 1
}

// appendNumbered appends a marker with its number: [REDACTED:EMAIL_2]. The first has none.
func appendNumbered(dst, marker []byte, n int) []byte {
	if n < 2 {
		return append(dst, marker...)
	}
	end := len(marker)
	if end > 0 {
		switch marker[end-1] {
		case ']', ')', '}', '>':
			end--
		}
	}
	dst = append(append(dst, marker[:end]...), '_')
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, marker[end:]...)
}

// number numbers the markers in keys of a payload, and takes further numbers where
// a key would be one that the object has. The edits are in order.
func (s *splices) number(src []byte) {
	var k keys
	k.feed(src)
	type name struct {
		object int32
		text   string
	}
	edited := map[int32]bool{}
	at := 0
	within := func(key keySpan) (from, to int) {
		for at < len(s.edits) && int64(s.edits[at].Start) < key.start {
			at++
		}
		for from, to = at, at; to < len(s.edits) && int64(s.edits[to].End) <= key.end; to++ {
		}
		return from, to
	}
	for _, key := range k.list {
		if from, to := within(key); from < to {
			edited[key.object] = true
		}
	}
	taken, issued := map[name]bool{}, map[name]int{}
	count := func(object int32, marker []byte) int {
		n := name{object, string(marker)}
		issued[n]++
		return issued[n]
	}
	at = 0
	for _, key := range k.list {
		if from, to := within(key); edited[key.object] && from == to {
			taken[name{key.object, string(jsonwalk.AppendUnescaped(nil, src[key.start:key.end]))}] = true
		}
	}
	at = 0
	for _, key := range k.list {
		from, to := within(key)
		if from == to {
			continue
		}
		n := 0
		for i := from; i < to; i++ {
			n = count(key.object, s.edits[i].New)
			if i < to-1 {
				s.edits[i].New = appendNumbered(nil, s.edits[i].New, n)
			}
		}
		last := &s.edits[to-1]
		for marker := last.New; ; n = count(key.object, marker) {
			last.New = appendNumbered(nil, marker, n)
			if text := (name{key.object, s.keyText(src, key, from, to)}); !taken[text] {
				taken[text] = true
				break
			}
		}
	}
}

// keyText is a key as it is with the edits from and up to to.
func (s *splices) keyText(src []byte, key keySpan, from, to int) string {
	var raw []byte
	at := int(key.start)
	for _, e := range s.edits[from:to] {
		raw = append(append(raw, src[at:e.Start]...), e.New...)
		at = e.End
	}
	return string(jsonwalk.AppendUnescaped(nil, append(raw, src[at:key.end]...)))
}
