package scan

import (
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// A byte NFA in Thompson's form. Runes are compiled to their UTF-8 byte ranges, so that the automaton may stop
// anywhere, inside a rune too.
type opcode uint8

const (
	opByte   opcode = iota // a byte in [lo, hi], then out
	opSplit                // out or arg
	opEmpty                // the zero-width condition arg (syntax.EmptyOp), then out
	opMatch                // the end; look set arg must hold for what follows
	opBehind               // look set arg must hold for the byte in front, then out
)

type inst struct {
	op     opcode
	lo, hi byte
	out    uint32
	arg    uint32
}

// lookSet is a condition on the next byte or the end of the text.
type lookSet struct {
	set [4]uint64
	eof bool
}

func (l *lookSet) has(b byte) bool { return l.set[b>>6]>>(b&63)&1 == 1 }
func (l *lookSet) add(lo, hi int) {
	for c := lo; c <= hi; c++ {
		l.set[c>>6] |= 1 << (c & 63)
	}
}

var anyLook = lookSet{set: [4]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}, eof: true}

type nfa struct {
	inst  []inst
	start uint32
	looks []lookSet
}

type compiler struct {
	nfa
	rev bool // compile the reversed language
	max int
	err string
}

func (c *compiler) emit(i inst) uint32 {
	if len(c.inst) >= c.max {
		if c.err == "" {
			c.err = "too large"
		}
		return 0
	}
	c.inst = append(c.inst, i)
	return uint32(len(c.inst) - 1)
}

// comp compiles re so that it continues at next; the result is the entry.
func (c *compiler) comp(re *syntax.Regexp, next uint32) uint32 {
	if c.err != "" {
		return next
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return c.emit(inst{op: opByte, lo: 1, hi: 0, out: next}) // an empty range: dead
	case syntax.OpEmptyMatch:
		return next
	case syntax.OpLiteral:
		n := next
		rs := re.Rune
		for k := range rs {
			r := rs[len(rs)-1-k]
			if c.rev {
				r = rs[k]
			}
			n = c.runes(foldClass(r, re.Flags&syntax.FoldCase != 0), n)
		}
		return n
	case syntax.OpCharClass:
		return c.runes(re.Rune, next)
	case syntax.OpAnyCharNotNL:
		return c.runes([]rune{0, 9, 11, unicode.MaxRune}, next)
	case syntax.OpAnyChar:
		return c.runes([]rune{0, unicode.MaxRune}, next)
	case syntax.OpBeginLine:
		return c.emit(inst{op: opEmpty, arg: uint32(syntax.EmptyBeginLine), out: next})
	case syntax.OpEndLine:
		return c.emit(inst{op: opEmpty, arg: uint32(syntax.EmptyEndLine), out: next})
	case syntax.OpBeginText:
		return c.emit(inst{op: opEmpty, arg: uint32(syntax.EmptyBeginText), out: next})
	case syntax.OpEndText:
		return c.emit(inst{op: opEmpty, arg: uint32(syntax.EmptyEndText), out: next})
	case syntax.OpWordBoundary:
		return c.emit(inst{op: opEmpty, arg: uint32(syntax.EmptyWordBoundary), out: next})
	case syntax.OpNoWordBoundary:
		return c.emit(inst{op: opEmpty, arg: uint32(syntax.EmptyNoWordBoundary), out: next})
	case syntax.OpCapture:
		return c.comp(re.Sub[0], next)
	case syntax.OpStar:
		return c.star(re.Sub[0], next)
	case syntax.OpPlus:
		s := c.emit(inst{op: opSplit, arg: next})
		if c.err != "" {
			return next
		}
		e := c.comp(re.Sub[0], s)
		c.inst[s].out = e
		return e
	case syntax.OpQuest:
		return c.emit(inst{op: opSplit, out: c.comp(re.Sub[0], next), arg: next})
	case syntax.OpRepeat:
		n := next
		if re.Max < 0 {
			n = c.star(re.Sub[0], n)
		} else {
			for i := re.Min; i < re.Max && c.err == ""; i++ {
				n = c.emit(inst{op: opSplit, out: c.comp(re.Sub[0], n), arg: next})
			}
		}
		for i := 0; i < re.Min && c.err == ""; i++ {
			n = c.comp(re.Sub[0], n)
		}
		return n
	case syntax.OpConcat:
		n := next
		for k := range re.Sub {
			s := re.Sub[len(re.Sub)-1-k]
			if c.rev {
				s = re.Sub[k]
			}
			n = c.comp(s, n)
		}
		return n
	case syntax.OpAlternate:
		e := c.comp(re.Sub[len(re.Sub)-1], next)
		for k := len(re.Sub) - 2; k >= 0; k-- {
			e = c.emit(inst{op: opSplit, out: c.comp(re.Sub[k], next), arg: e})
		}
		return e
	}
	c.err = "is not supported"
	return next
}

func (c *compiler) star(re *syntax.Regexp, next uint32) uint32 {
	s := c.emit(inst{op: opSplit, arg: next})
	if c.err != "" {
		return next
	}
	e := c.comp(re, s)
	c.inst[s].out = e
	return s
}

// foldClass is the class of r, with its case folds if fold is set.
func foldClass(r rune, fold bool) []rune {
	cl := []rune{r, r}
	if fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			cl = append(cl, f, f)
		}
	}
	return cl
}

// runes compiles a class of rune ranges (pairs).
func (c *compiler) runes(cl []rune, next uint32) uint32 {
	var seqs [][][2]byte
	for i := 0; i+1 < len(cl); i += 2 {
		seqs = utf8Ranges(seqs, cl[i], cl[i+1])
	}
	if len(seqs) == 0 {
		return c.emit(inst{op: opByte, lo: 1, hi: 0, out: next})
	}
	// Sequences that share what comes after their first byte share the code, so that a class is a small tree.
	memo := map[string]uint32{}
	chain := func(s [][2]byte) uint32 {
		n := next
		for k := range s {
			b := s[len(s)-1-k]
			if c.rev {
				b = s[k]
			}
			key := string(append([]byte{b[0], b[1]}, u32key(n)...))
			e, ok := memo[key]
			if !ok {
				e = c.emit(inst{op: opByte, lo: b[0], hi: b[1], out: n})
				memo[key] = e
			}
			n = e
		}
		return n
	}
	e := chain(seqs[len(seqs)-1])
	for k := len(seqs) - 2; k >= 0; k-- {
		e = c.emit(inst{op: opSplit, out: chain(seqs[k]), arg: e})
	}
	return e
}

func u32key(n uint32) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }

// utf8Ranges appends the byte-range sequences that encode the runes lo..hi, surrogates left out.
func utf8Ranges(out [][][2]byte, lo, hi rune) [][][2]byte {
	if lo > hi {
		return out
	}
	if lo < 0xD800 && hi > 0xDFFF {
		return utf8Ranges(utf8Ranges(out, lo, 0xD7FF), 0xE000, hi)
	}
	if lo >= 0xD800 && lo <= 0xDFFF {
		return utf8Ranges(out, 0xE000, hi)
	}
	if hi >= 0xD800 && hi <= 0xDFFF {
		return utf8Ranges(out, lo, 0xD7FF)
	}
	for _, m := range [...]rune{0x7F, 0x7FF, 0xFFFF} {
		if lo <= m && hi > m {
			return utf8Ranges(utf8Ranges(out, lo, m), m+1, hi)
		}
	}
	if hi < utf8.RuneSelf {
		return append(out, [][2]byte{{byte(lo), byte(hi)}})
	}
	n := utf8.RuneLen(lo)
	for i := 1; i < n; i++ {
		m := rune(1)<<(6*i) - 1
		if lo&^m != hi&^m {
			if lo&m != 0 {
				return utf8Ranges(utf8Ranges(out, lo, lo|m), (lo|m)+1, hi)
			}
			if hi&m != m {
				return utf8Ranges(utf8Ranges(out, lo, hi&^m-1), hi&^m, hi)
			}
		}
	}
	var a, b [4]byte
	utf8.EncodeRune(a[:], lo)
	utf8.EncodeRune(b[:], hi)
	s := make([][2]byte, n)
	for i := range s {
		s[i] = [2]byte{a[i], b[i]}
	}
	return append(out, s)
}

// Byte kinds for zero-width conditions.
func isWord(b int) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_'
}

// emptyOps is the set of conditions that hold between the bytes prev and next; -1 stands for the text's edge.
func emptyOps(prev, next int) syntax.EmptyOp {
	var op syntax.EmptyOp
	if prev < 0 {
		op |= syntax.EmptyBeginText | syntax.EmptyBeginLine
	} else if prev == '\n' {
		op |= syntax.EmptyBeginLine
	}
	if next < 0 {
		op |= syntax.EmptyEndText | syntax.EmptyEndLine
	} else if next == '\n' {
		op |= syntax.EmptyEndLine
	}
	if isWord(prev) != isWord(next) {
		op |= syntax.EmptyWordBoundary
	} else {
		op |= syntax.EmptyNoWordBoundary
	}
	return op
}

// parts is a rule's pattern taken apart: what stands left of the word, the word, what stands right of it.
type parts struct {
	left, word *syntax.Regexp // left is nil without look-behind
	right      []rightAlt
}

// rightAlt is one alternative of the look-ahead: zero-width conditions, then a condition on the next byte.
type rightAlt struct {
	empty []syntax.EmptyOp
	look  lookSet
}

// compileNFA compiles re with a match at its end for each alternative of right.
func compileNFA(re *syntax.Regexp, right []rightAlt, rev bool, max int) (*nfa, string) {
	c := &compiler{rev: rev, max: max}
	next := ^uint32(0)
	for i := len(right) - 1; i >= 0; i-- {
		c.looks = append(c.looks, right[i].look)
		e := c.emit(inst{op: opMatch, arg: uint32(len(c.looks) - 1)})
		for _, op := range right[i].empty {
			e = c.emit(inst{op: opEmpty, arg: uint32(op), out: e})
		}
		if next == ^uint32(0) {
			next = e
		} else {
			next = c.emit(inst{op: opSplit, out: e, arg: next})
		}
	}
	c.start = c.comp(re, next)
	if c.err != "" {
		return nil, c.err
	}
	n := c.nfa
	return &n, ""
}

// closure follows the zero-width steps from pc between the bytes prev and next, and appends the byte
// instructions and matches that it reaches to list. mark is a scratch set of the size of n.inst.
func (n *nfa) closure(list []uint32, pc uint32, ops syntax.EmptyOp, mark []uint32, gen uint32) []uint32 {
	for {
		if mark[pc] == gen {
			return list
		}
		mark[pc] = gen
		in := &n.inst[pc]
		switch in.op {
		case opByte, opMatch:
			return append(list, pc)
		case opSplit:
			list = n.closure(list, in.out, ops, mark, gen)
			pc = in.arg
		case opEmpty:
			if syntax.EmptyOp(in.arg)&^ops != 0 {
				return list
			}
			pc = in.out
		}
	}
}
