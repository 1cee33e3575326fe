// Package jsonwalk reads a complete JSON document once, strictly, along a field
// table, and says where its texts are. It is the only reader of JSON on the way
// of a request or an answer: what it lets pass has one meaning for every parser.
//
// Refused are: duplicate keys however spelled, case variants of keys known at
// that place, invalid UTF-8, raw control characters, lone surrogates, a byte
// order mark, trailing data, numbers and literals outside of the grammar
// (RFC 8259), and documents past the limits. Numbers are never converted.
//
// Cost: one pass, 8 bytes at a time inside strings; no allocation once the
// walker has grown.
package jsonwalk

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Flags of a leaf.
const (
	Escaped      uint8 = 1 << iota // the content holds backslash escapes
	TrailingHigh                   // ends in the escape of a lone high surrogate (Options.SplitSurrogates)
	LeadingLow                     // begins with the escape of a lone low surrogate (Options.SplitSurrogates)
)

// Leaf is one value or unknown key, in document order; a container comes before what it holds.
type Leaf struct {
	Start, End int32  // string or key: its content without quotes; else the value's own bytes
	Path       uint32 // hash of the last known node and the place below it; 0 at known places. Stable in one process
	Node       NodeID
	Kind       Kinds // one type, or Key
	Flags      uint8
	Index      [Slots]int32 // positions in the arrays that have slots, -1 where none
}

// Of gives the leaf's bytes in src.
func (l *Leaf) Of(src []byte) []byte { return src[l.Start:l.End] }

// Options are the limits of a walk. The zero value has the defaults.
type Options struct {
	SplitSurrogates bool // stream deltas: a string may end in half a surrogate pair or begin with the other half
	MaxDepth        int  // containers inside each other; 0 means and at most 64
	MaxItems        int  // elements of counted arrays; 0 means 10,000
	MaxKeys         int  // unknown keys; 0 means 65,536
	MaxLeaves       int  // leaves, strings mostly; 0 means 131,072
}

const (
	maxDepth  = 64
	maxItems  = 10_000
	maxKeys   = 65_536
	maxLeaves = 131_072
)

// seed makes the hashes of keys unpredictable to whoever sends documents.
var seed = maphash.MakeSeed()

// Walker is the reusable memory of a walk. The zero value is ready. It belongs
// to one goroutine at a time.
type Walker struct {
	t      *Table
	src    []byte
	opt    Options
	leaves []Leaf
	index  [Slots]int32
	items  int
	depth  int
	steps  [maxDepth + 1]step
	fault  Error // first refusal
	typ    Error // first wrong type
	typed  bool

	// Which field came after a field, or first in a node's object, last time: documents
	// of one kind keep their order, and a guess that holds saves reading the key.
	guessed *Table
	after   []uint16 // by field, then by node: index in Table.Fields plus one

	text    []byte // decoded keys
	set     []keySlot
	entries int    // keys in the set that belong to this document
	object  uint32 // number of the last object with unknown keys
	first   uint32 // number of this document's first such object
}

// step is where the walk is at one depth: a field of the table, an unknown key or a position.
type step struct {
	field int32 // index in Table.Fields; -1 unknown key; -2 array
	pos   int32
}

// keySlot is one unknown key: the object it belongs to and its bytes.
type keySlot struct {
	object, hash uint32
	start, end   int32 // in src; in text when start < 0, at ^start
}

// Walk reads src along t. The leaves are valid until the next walk. The error
// is an *Error; a wrong type is told only when the document is well-formed.
// Allocates: never, once the walker has grown, but for an error. src: valid during the call only.
func (w *Walker) Walk(t *Table, src []byte, opt Options) ([]Leaf, error) {
	w.t, w.src, w.opt, w.leaves = t, src, opt, w.leaves[:0]
	w.opt.MaxDepth = min(orDefault(opt.MaxDepth, maxDepth), maxDepth)
	w.opt.MaxItems = orDefault(opt.MaxItems, maxItems)
	w.opt.MaxKeys = orDefault(opt.MaxKeys, maxKeys)
	w.opt.MaxLeaves = orDefault(opt.MaxLeaves, maxLeaves)
	w.index = [Slots]int32{-1, -1, -1, -1}
	w.items, w.depth, w.typed, w.text, w.entries = 0, 0, false, w.text[:0], 0
	if w.object > 1<<31 {
		clear(w.set)
		w.object = 0
	}
	w.first = w.object + 1
	if w.guessed != t {
		w.guessed = t
		w.after = append(w.after[:0], make([]uint16, len(t.Fields)+len(t.Nodes))...)
	}
	ok := w.document()
	w.src = nil
	switch {
	case !ok:
		e := w.fault
		e.Path = w.path()
		return nil, &e
	case w.typed:
		e := w.typ
		return nil, &e
	}
	return w.leaves, nil
}

// Text reads the content of a string from p, which is behind its opening quote,
// as a walk with SplitSurrogates does: it gives the offset of the closing quote
// and the leaf's flags, or -1 where the walk would fail.
// Allocates: never. src: valid during the call only.
func (w *Walker) Text(src []byte, p int) (end int, flags uint8) {
	w.src, w.opt.SplitSurrogates = src, true
	end, flags = w.str(p)
	w.src = nil
	return end, flags
}

// Shrink lets go of memory that only an unusually large document needed. Call it
// before the walker waits in a pool.
func (w *Walker) Shrink() {
	if cap(w.leaves) > 4096 {
		w.leaves = nil
	}
	if len(w.set) > 4096 {
		w.set = nil
	}
	if cap(w.text) > 64<<10 {
		w.text = nil
	}
}

func orDefault(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}

func (w *Walker) document() bool {
	src := w.src
	if len(src) > math.MaxInt32 {
		return w.refuse(TooLarge, 0) >= 0
	}
	if len(src) > 0 && (src[0] == 0xEF || src[0] == 0xFE || src[0] == 0xFF || src[0] == 0 || len(src) > 1 && src[1] == 0) {
		return w.refuse(ByteOrderMark, 0) >= 0
	}
	p := w.value(space(src, 0), w.t.Root, 0)
	if p < 0 {
		return false
	}
	if p = space(src, p); p < len(src) {
		return w.refuse(TrailingData, p) >= 0
	}
	return true
}

// refuse notes the first fault; it gives -1, which every caller hands on.
func (w *Walker) refuse(c Code, at int) int {
	w.fault = Error{Code: c, Offset: at}
	return -1
}

// unexpected tells an early end from a wrong character.
func (w *Walker) unexpected(at int) int {
	if at >= len(w.src) {
		return w.refuse(UnexpectedEnd, len(w.src))
	}
	return w.refuse(UnexpectedCharacter, at)
}

func (w *Walker) leaf(start, end int, id NodeID, k Kinds, flags uint8, path uint32) bool {
	if len(w.leaves) >= w.opt.MaxLeaves {
		w.refuse(TooManyStrings, start)
		return false
	}
	if len(w.leaves) == cap(w.leaves) {
		// Doubling keeps what a hostile document allocates below four times its size.
		w.leaves = slices.Grow(w.leaves, max(16, len(w.leaves)))
	}
	w.leaves = append(w.leaves, Leaf{
		Start: int32(start), End: int32(end), Path: path, Node: id, Kind: k, Flags: flags, Index: w.index,
	})
	return true
}

// value reads the value at p and gives the offset behind it, or -1.
func (w *Walker) value(p int, id NodeID, path uint32) int {
	if p >= len(w.src) {
		return w.refuse(UnexpectedEnd, p)
	}
	node := &w.t.Nodes[id]
	switch c := w.src[p]; c {
	case '"':
		end, flags := w.str(p + 1)
		if end < 0 {
			return -1
		}
		if node.Kinds&String == 0 {
			id, path = w.wrong(node, p), 0
			node = &w.t.Nodes[id]
		}
		if !node.Quiet && !w.leaf(p+1, end, id, String, flags, path) {
			return -1
		}
		return end + 1
	case '{', '[':
		kind := Object
		if c == '[' {
			kind = Array
		}
		if w.depth >= w.opt.MaxDepth {
			return w.refuse(Depth, p)
		}
		if node.Kinds&kind == 0 {
			id, path = w.wrong(node, p), 0
			node = &w.t.Nodes[id]
		}
		at := len(w.leaves)
		if node.Emit && !w.leaf(p, p, id, kind, 0, path) {
			return -1
		}
		w.depth++
		var end int
		if kind == Object {
			end = w.readObject(p+1, id, node, path)
		} else {
			end = w.readArray(p+1, id, node, path)
		}
		if end < 0 {
			return -1
		}
		w.depth--
		if node.Emit {
			w.leaves[at].End = int32(end)
		}
		return end
	}
	end, kind := w.scalar(p)
	if end < 0 {
		return -1
	}
	if node.Kinds&kind == 0 {
		w.wrong(node, p)
	} else if node.Emit && !w.leaf(p, end, id, kind, 0, path) {
		return -1
	}
	return end
}

// wrong notes the first wrong type; what stands there is read as unknown.
func (w *Walker) wrong(node *Node, at int) NodeID {
	if !w.typed {
		w.typed = true
		w.typ = Error{Code: WrongType, Offset: at, Path: w.path(), Want: node.Kinds}
	}
	return Unknown
}

func (w *Walker) readObject(p int, id NodeID, node *Node, path uint32) int {
	src := w.src
	if p = space(src, p); p < len(src) && src[p] == '}' {
		return p + 1
	}
	st := &w.steps[w.depth]
	*st = step{field: -1}
	var seen uint64
	var object uint32 // this object's number, once it has unknown keys
	first, fields := int(node.First), w.t.Fields[node.First:node.First+node.Num]
	last := len(w.t.Fields) + int(id) // where in w.after the guess for the next key is
	for {
		if p >= len(src) || src[p] != '"' {
			return w.unexpected(p)
		}
		start := p + 1
		end, i := start, int(w.after[last])-1-first
		child, below := node.Extra, uint32(0)
		if i >= 0 && i < len(fields) && isKey(src[start:], fields[i].Key) {
			end += len(fields[i].Key)
		} else {
			var flags uint8
			if end, flags = w.str(start); end < 0 {
				return -1
			}
			if flags&(TrailingHigh|LeadingLow) != 0 {
				return w.refuse(LoneSurrogate, start)
			}
			key, decoded := src[start:end], -1
			if flags != 0 {
				decoded = len(w.text)
				w.text = AppendUnescaped(w.text, key)
				key = w.text[decoded:]
			}
			if i = find(fields, key); i >= 0 {
				w.after[last] = uint16(first + i + 1)
				if decoded >= 0 {
					w.text = w.text[:decoded]
				}
			} else {
				st.field = -1
				for k := range fields {
					if foldEqual(fields[k].Key, key) {
						return w.refuse(CaseVariantKey, start)
					}
				}
				if object == 0 {
					w.object++
					object = w.object
				}
				h := maphash.Bytes(seed, key)
				slot := keySlot{object: object, hash: uint32(h), start: int32(start), end: int32(end)}
				if decoded >= 0 {
					slot.start, slot.end = ^int32(decoded), int32(len(w.text))
				}
				if c := w.insert(slot); c != 0 {
					return w.refuse(c, start)
				}
				below = mix(path^uint32(id), uint32(h>>32)) // the lower half is the set's
				if !node.Quiet && !w.leaf(start, end, child, Key, flags, below) {
					return -1
				}
			}
		}
		if i >= 0 {
			st.field = int32(first + i)
			if seen&(1<<i) != 0 {
				return w.refuse(DuplicateKey, start)
			}
			seen |= 1 << i
			child, below, last = fields[i].Node, path, first+i
		}
		if p = space(src, end+1); p >= len(src) || src[p] != ':' {
			return w.unexpected(p)
		}
		if p = w.value(space(src, p+1), child, below); p < 0 {
			return -1
		}
		if p = space(src, p); p >= len(src) {
			return w.unexpected(p)
		}
		switch src[p] {
		case ',':
			p = space(src, p+1)
		case '}':
			return p + 1
		default:
			return w.unexpected(p)
		}
	}
}

func (w *Walker) readArray(p int, id NodeID, node *Node, path uint32) int {
	src := w.src
	if p = space(src, p); p < len(src) && src[p] == ']' {
		return p + 1
	}
	st := &w.steps[w.depth]
	*st = step{field: -2}
	below := path
	for {
		if node.Count {
			if w.items++; w.items > w.opt.MaxItems {
				return w.refuse(TooManyItems, p)
			}
		}
		if node.Slot > 0 {
			w.index[node.Slot-1] = st.pos
		}
		if node.Elem == Unknown {
			below = mix(path^uint32(id), uint32(st.pos))
		}
		if p = w.value(p, node.Elem, below); p < 0 {
			return -1
		}
		if p = space(src, p); p >= len(src) {
			return w.unexpected(p)
		}
		switch src[p] {
		case ',':
			p = space(src, p+1)
		case ']':
			if node.Slot > 0 {
				w.index[node.Slot-1] = -1
			}
			return p + 1
		default:
			return w.unexpected(p)
		}
		st.pos++
	}
}

// isKey tells whether p begins with the key and a quote. Keys of tables need no escapes.
func isKey(p []byte, key string) bool {
	return len(p) > len(key) && p[len(key)] == '"' && string(p[:len(key)]) == key
}

func find(fields []Field, key []byte) int {
	for i := range fields {
		if fields[i].Key == string(key) {
			return i
		}
	}
	return -1
}

// mix is one step of a path hash; never 0, so that unknown places differ from known ones.
func mix(h, v uint32) uint32 {
	h = (h ^ v) * 0x9E3779B1
	return (h ^ h>>15) | 1
}

// insert adds an unknown key to the set of the document's keys.
func (w *Walker) insert(k keySlot) Code {
	if w.entries >= w.opt.MaxKeys {
		return TooManyKeys
	}
	if 2*(w.entries+1) > len(w.set) {
		w.grow()
	}
	mask := uint32(len(w.set) - 1)
	for i := (k.hash ^ k.object*0x9E3779B1) & mask; ; i = (i + 1) & mask {
		s := &w.set[i]
		if s.object < w.first { // empty, or of an earlier document
			*s = k
			w.entries++
			return 0
		}
		if s.object == k.object && s.hash == k.hash && string(w.keyOf(s)) == string(w.keyOf(&k)) {
			return DuplicateKey
		}
	}
}

func (w *Walker) keyOf(s *keySlot) []byte {
	if s.start < 0 {
		return w.text[^s.start:s.end]
	}
	return w.src[s.start:s.end]
}

func (w *Walker) grow() {
	old := w.set
	w.set = make([]keySlot, max(64, 2*len(old)))
	mask := uint32(len(w.set) - 1)
	for _, k := range old {
		if k.object < w.first {
			continue
		}
		i := (k.hash ^ k.object*0x9E3779B1) & mask
		for w.set[i].object != 0 {
			i = (i + 1) & mask
		}
		w.set[i] = k
	}
}

// scalar reads a number or a literal.
func (w *Walker) scalar(p int) (end int, kind Kinds) {
	src := w.src
	switch c := src[p]; {
	case c == '-' || c-'0' < 10:
		return w.number(p), Number
	case c == 't':
		return w.literal(p, "true"), Bool
	case c == 'f':
		return w.literal(p, "false"), Bool
	case c == 'n':
		return w.literal(p, "null"), Null
	case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		return w.refuse(BadLiteral, p), 0
	case c == '+' || c == '.':
		return w.refuse(BadNumber, p), 0
	}
	return w.unexpected(p), 0
}

func (w *Walker) literal(p int, word string) int {
	rest := w.src[p:]
	if len(rest) < len(word) {
		if string(rest) == word[:len(rest)] {
			return w.refuse(UnexpectedEnd, len(w.src))
		}
		return w.refuse(BadLiteral, p)
	}
	if string(rest[:len(word)]) != word || len(rest) > len(word) && wordByte(rest[len(word)]) {
		return w.refuse(BadLiteral, p)
	}
	return p + len(word)
}

func wordByte(c byte) bool {
	return c-'0' < 10 || lower(c)-'a' < 26 || c == '_' || c == '+' || c == '-' || c == '.'
}

// number reads a number of RFC 8259, section 6, of any length.
func (w *Walker) number(p int) int {
	src, start := w.src, p
	if src[p] == '-' {
		p++
	}
	if p >= len(src) {
		return w.refuse(UnexpectedEnd, p)
	}
	if src[p] == '0' {
		p++
	} else if q := digits(src, p); q > p {
		p = q
	} else {
		return w.refuse(BadNumber, start)
	}
	if p < len(src) && src[p] == '.' {
		q := digits(src, p+1)
		if q == p+1 {
			return w.badNumber(start, q)
		}
		p = q
	}
	if p < len(src) && (src[p] == 'e' || src[p] == 'E') {
		p++
		if p < len(src) && (src[p] == '+' || src[p] == '-') {
			p++
		}
		q := digits(src, p)
		if q == p {
			return w.badNumber(start, q)
		}
		p = q
	}
	if p < len(src) && wordByte(src[p]) {
		return w.refuse(BadNumber, start)
	}
	return p
}

func (w *Walker) badNumber(start, at int) int {
	if at >= len(w.src) {
		return w.refuse(UnexpectedEnd, at)
	}
	return w.refuse(BadNumber, start)
}

func digits(src []byte, p int) int {
	for p < len(src) && src[p]-'0' < 10 {
		p++
	}
	return p
}

func space(src []byte, p int) int {
	for p < len(src) && (src[p] == ' ' || src[p] == '\n' || src[p] == '\r' || src[p] == '\t') {
		p++
	}
	return p
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str reads a string's content from p and gives the offset of the closing
// quote and the flags, or -1.
func (w *Walker) str(p int) (end int, flags uint8) {
	src, start := w.src, p
	for {
		// Eight bytes at a time while none is a quote, a backslash, below 0x20 or
		// above 0x7F. The lowest byte marked is exact: borrows only go upwards.
		for p+8 <= len(src) {
			x := binary.LittleEndian.Uint64(src[p:])
			quote, slash := x^0x22*ones, x^0x5C*ones
			m := ((quote-ones)&^quote | (slash-ones)&^slash | (x-0x20*ones)&^x | x) & highs
			if m == 0 {
				p += 8
				continue
			}
			p += bits.TrailingZeros64(m) >> 3
			break
		}
		if p >= len(src) {
			return w.refuse(UnexpectedEnd, len(src)), 0
		}
		switch c := src[p]; {
		case c == '"':
			return p, flags
		case c == '\\':
			q, f := w.escape(p, start)
			if q < 0 {
				return -1, 0
			}
			p, flags = q, flags|f
		case c < 0x20:
			return w.refuse(ControlCharacter, p), 0
		case c >= 0x80:
			for {
				_, n := utf8.DecodeRune(src[p:])
				if n == 1 {
					return w.refuse(InvalidUTF8, p), 0
				}
				if p += n; p >= len(src) || src[p] < 0x80 {
					break
				}
			}
		default:
			p++
		}
	}
}

// escape reads the escape at p, in a string that begins at start.
func (w *Walker) escape(p, start int) (next int, flags uint8) {
	src := w.src
	if p+1 >= len(src) {
		return w.refuse(UnexpectedEnd, len(src)), 0
	}
	switch src[p+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return p + 2, Escaped
	case 'u':
	default:
		return w.refuse(BadEscape, p), 0
	}
	u := hex4(src, p+2)
	if u < 0 {
		return w.badEscape(p), 0
	}
	p += 6
	switch {
	case u&^0x3FF == 0xDC00:
		if w.opt.SplitSurrogates && p-6 == start {
			return p, Escaped | LeadingLow
		}
		return w.refuse(LoneSurrogate, p-6), 0
	case u&^0x3FF == 0xD800:
		if p < len(src) && src[p] == '\\' {
			if p+1 < len(src) && src[p+1] == 'u' {
				v := hex4(src, p+2)
				if v < 0 {
					return w.badEscape(p), 0
				}
				if v&^0x3FF == 0xDC00 {
					return p + 6, Escaped
				}
			}
		} else if w.opt.SplitSurrogates && p < len(src) && src[p] == '"' {
			return p, Escaped | TrailingHigh
		}
		return w.refuse(LoneSurrogate, p-6), 0
	}
	return p, Escaped
}

func (w *Walker) badEscape(p int) int {
	if p+6 > len(w.src) {
		return w.refuse(UnexpectedEnd, len(w.src))
	}
	return w.refuse(BadEscape, p)
}

// hex4 reads four hexadecimal digits, -1 if they are not there.
func hex4(src []byte, p int) int {
	if p+4 > len(src) {
		return -1
	}
	n := 0
	for _, c := range src[p : p+4] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case lower(c)-'a' < 6:
			c = lower(c) - 'a' + 10
		default:
			return -1
		}
		n = n<<4 | int(c)
	}
	return n
}

// path names where the walk is.
func (w *Walker) path() string {
	var b []byte
	for d := 1; d <= w.depth; d++ {
		switch s := w.steps[d]; {
		case s.field == -2:
			b = append(b, '[')
			b = strconv.AppendInt(b, int64(s.pos), 10)
			b = append(b, ']')
		default:
			if len(b) > 0 {
				b = append(b, '.')
			}
			if s.field < 0 {
				b = append(b, '*')
			} else {
				b = append(b, w.t.Fields[s.field].Key...)
			}
		}
	}
	return string(b)
}
