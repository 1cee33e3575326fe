package scan

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"sync"
	"unicode/utf8"
	"unsafe"
)

const (
	maxSlots   = 21 // halves
	tailLen    = 11
	blockBytes = 256 // new bytes between two settlements
	blockMixed = 160 // the same where the text is not pure ASCII
	lastPiece  = 16  // new bytes that are left for the end of the text
	plainRun   = 24  // bytes of ASCII that are worth a piece of their own
	maxThreads = 48
	maxGuards  = 64
	maxDone    = 640
	maxDist    = 1<<14 - 3 // bytes back from the end of what was fed
	offsetBits = 1<<14 - 1 // of a packed offset

	stateBytes = int(unsafe.Sizeof(State{}))
)

// State is what a channel carries between the calls of Feed. The zero State has every policy masked; Reset
// starts a channel. It holds no pointers.
type State struct {
	mask   uint64
	at     int64             // bytes fed
	st     [maxGroups]uint32 // state of each table group
	tail   [2][tailLen]byte  // of each view: the bytes in front of the held text, at the end of the array
	ntail  [2]uint8
	held   uint16   // bytes that the last call kept
	rescan uint16   // if not 0: what is under way in the last so many bytes must be found again
	n      [3]uint8 // slots in use: of 2, of 3 and of 4 halves, in this order
	flags  uint8
	live   [2]mark // of each view
	slots  [maxSlots]uint16
	// With fuzzy terms: low bits of the channel offset up to which words were compared with them. Without: how far in
	// front of the end the first start stands that stateFront tells of, noteUnseen and noteList.
	note uint16
}

const (
	// noteUnseen says that not all starts that stateFront tells of were run to the end of what was fed.
	noteUnseen = 1 << 15
	// noteList says that they stand in the slots behind those in use: how many, and then two halves for each.
	noteList = 1 << 14

	maxNote = noteList - 1
)

// A mark says what is known of the starts in the held text for the bundle of a view: none in front of it can
// become a match any more, but those of rules that have a thread.
type mark struct {
	back uint16 // so many bytes in front of the end of what was fed
	q    uint16 // if not dead: the state of the joint automaton from there, which is live
}

var noMark = mark{back: 0xFFFF} // nothing is known

const (
	stateEnded = 1 << iota
	stateOver
	stateASCII // the character in front of the held text is ASCII, in the normalised view
	stateCarry // two bits: bytes of a cut rune at the end
	_
	stateAll   // the rescan finds look-behinds again too
	stateFront // a start whose first bytes were read is live in the held text
	stateBusy  // the next piece is not for the quick path most likely
)

// A slot is a thread, a match that waits for its turn, or a guard: rule, state, start and end, in offsets from
// the end of what was fed. The top two bits of an offset say which byte of a rune's expansion is meant. A thread
// in a look-behind has only its rule and its state; one in which no word has ended has no end; a guard, a mark
// and a match of a rule that is not held for have an end only.
type slot struct{ rule, q, s, e uint16 }

// Values of slot.q that are not states of a thread.
const (
	slotDone  = 0xFFFF
	slotGuard = 0xFFFE
	slotMark  = 0xFFFD // matches that end up to e were given out
	slotText  = 0xFFFC // a phrase that is compared with the text from s on
)

// Reset starts a channel in which the matches of the policies in mask count. Allocates: never.
func (s *State) Reset(policies uint64) { *s = State{mask: policies} }

// stream is one view of the held and the new text. Indices count its bytes; negative ones reach into the tail.
type stream struct {
	b      []byte
	at, to []uint32 // raw offsets of the rune of each byte, from the base; nil = the same as the index
	tail   []byte
	bot    bool // the tail begins where the text begins
}

// byteAt is the byte at index i, -1 in front of the text.
func (v *stream) byteAt(i int) int {
	if i >= 0 {
		return int(v.b[i])
	}
	if i += len(v.tail); i >= 0 {
		return int(v.tail[i])
	}
	return -1
}

func (v *stream) rawAt(i int) int {
	if v.at == nil || i < 0 {
		return i
	}
	if i == len(v.at) {
		if i == 0 {
			return 0
		}
		return int(v.to[i-1])
	}
	return int(v.at[i])
}

func (v *stream) rawTo(i int) int { // raw end of the byte in front of i
	if v.to == nil || i <= 0 {
		return i
	}
	return int(v.to[i-1])
}

type thread struct {
	rule uint16
	q    uint16
	pos  int    // next index to read
	s    int    // where the word starts, -1 in the look-behind
	best int    // where the longest word so far ends, -1 = none
	last int    // starts up to here are to be tried when this one fails
	x    int    // where the literal of its look-behind begins; unknown if far below 0
	seen bool   // a word ended on the way, be it a match or not
	cut  uint16 // if the cap or the text's end ended it: the state that it was in at pos, else dead
}

type guard struct {
	rule uint16
	e    int
	live bool
	back int // the index of a match of the rule that found no room, plus one; 0: none. The guard ends there for the next call
}

// work is the scratch of a call that found something.
type work struct {
	th   [maxThreads]thread
	nth  int
	gd   [maxGuards]guard
	ngd  int
	done [maxDone]doneMatch
	nd   int
}

// doneMatch is a match that is complete, with the indices of its view, and thread.x if its rule has a look-behind.
type doneMatch struct {
	Match
	s, e, x int
}

const unknown = -1 << 30

// norm is the scratch of the normalised view. Pooled.
type norm struct {
	b      []byte
	at, to []uint32
}

var (
	feedPool = sync.Pool{New: func() any { return new(feed) }}
	normPool = sync.Pool{New: func() any { return new(norm) }}
)

// feed is one block of one call. Pooled: block sets what it needs.
type feed struct {
	t       *Tables
	s       *State
	v       [2]stream
	base    int64 // channel offset of index 0
	end     bool
	floor   int   // starts in front of it are no longer looked for
	again   bool  // what was fed before is run again
	given   int64 // matches that end up to here were given out
	w       *work // &own once something was found
	own     work
	hit     [maxGroups]lastHit
	iv      [2][maxIntervals]interval // of each view: starts that are to be run
	niv     [2]uint8
	told    [maxGroups]int32 // of an end filter: starts of words in front of it that end up to it are noted
	old     int              // bytes fed before, where both views are the same
	bound   [2]int32         // of each view: starts in front of it need no look
	openQ   [2]uint16        // if not dead: the bound is a live start, and this its state at the end of what was fed
	trace   [2]trace
	traced  int     // the one of the two that is valid,
	traceOf *bundle // for this bundle; nil: none
	lost    int     // raw index; what began here or later found no room and is found again by the next call
	late    int64   // matches that end here or later find no room:
	forgot  int     // raw index; they begin here or later and are found again, too
	began   int     // raw index from which on what was fed before is found again, 0 if it is not

	had struct{ nd, nth int } // matches and threads in front of the new bytes

	frontAt int // raw index of the first start that stateFront tells of

	lostBehind bool  // a rule with a look-behind is among it
	lostBundle bool  // a rule of a bundle is
	tally      tally // of the text from tallyAt on, for this rule; nil: none
	tallyAt    int
	tallyOf    *rule
	stay       [4]stay // what follow found out
	ended      int     // where the last word of the last run of a joint automaton ended, 0 = none
	busy       bool    // a match of a bundle ended, if it is the longest or not
}

type lastHit struct {
	e  int
	st uint32
}

// Feed scans one more piece of one channel. win is the channel's text from its first unreleased byte: win[:n]
// was fed before, win[n:] is new; end says that the channel ends with it. Between calls the caller may drop up
// to keep bytes from the front of the text.
//
// fed is how many of the new bytes were taken. It stops when out is full: if out.Full() after a call, drain it
// and call again with n grown by fed, even when no byte is left to feed.
//
// Matches come in the order (end, start, rule), each only when no earlier one can still come; offsets are
// channel offsets. win[:keep] can no longer become part of a match of a Span rule that was not reported yet;
// win[keep:] may. Hold-back includes rules that are masked.
//
// It panics if s is the State of a channel of other tables and does not fit these.
//
// Allocates: never. win: valid during the call only.
func (t *Tables) Feed(s *State, win []byte, n int, end bool, out *Matches) (fed, keep int) {
	t.mine(s)
	held, tried := int(s.held), -1
	front := n - held
	if w := win[front:]; len(w)-held < twinBytes && !end && out.n <= MatchCap/2 && t.calm(s) { // the way of most pieces of a stream
		at, s0, s1 := held, s.st[0], s.st[1]
		if t.glide.two.ok && s.flags&stateFront == 0 && s.n == [3]uint8{} {
			var free int
			var ok bool
			if free, at, s0, s1, ok = t.briefTwo(s, w, held, at, s0, s1); ok {
				return len(w) - held, front + free
			}
		}
		if free, ok := t.brief(s, w, held, at, s0, s1); ok {
			return len(w) - held, front + free
		}
		tried = len(w) - held
	}
	fed, keep = t.pieces(s, win[front:], end, out, tried)
	return fed, front + keep
}

// pieces is Feed for win from the first byte on that the last call kept; of a piece of tried bytes brief made nothing. It stands by itself
// so that Feed needs little room on the stack.
//
//go:noinline
func (t *Tables) pieces(s *State, win []byte, end bool, out *Matches, tried int) (fed, keep int) {
	for {
		n := int(s.held)
		rest := len(win) - n - keep
		k := min(rest, blockBytes)
		if end && k == rest && k > 2*lastPiece {
			k -= lastPiece // the end takes bookkeeping
		}
		if t.norms {
			k = pieceOf(win[keep+n : keep+n+k])
		}
		if out.n > MatchCap/2 && rest > 0 {
			out.full = true // leave room for what the next block finds
			break
		}
		took, free, quick, piece := k, 0, false, win[keep:keep+n+k]
		switch {
		case end && k == rest:
			took, free = t.block(s, piece, n, true, out, nil)
		case k < twinBytes:
			if k != tried {
				free, quick = t.quick(s, piece, n, nil)
			}
			if tried = -1; !quick {
				took, free = t.block(s, piece, n, false, out, nil)
			}
		default:
			var tw twin
			if free, quick = t.quick(s, piece, n, &tw); !quick {
				took, free = t.block(s, piece, n, false, out, &tw)
			}
		}
		fed += took
		keep += free
		if took == rest || out.Full() {
			break
		}
	}
	if s.flags&stateOver != 0 {
		out.Overflow = true
	}
	return fed, keep
}

// mine panics if a row of s is none of the tables'.
func (t *Tables) mine(s *State) {
	if s.st[0] > t.last[0] || s.st[1] > t.last[1] || s.st[2] > t.last[2] || len(t.groups) > 3 && t.others(s) {
		panic("scan: a State of other Tables")
	}
}

// others is mine for the groups behind the third.
func (t *Tables) others(s *State) bool {
	for g := 3; g < len(t.groups); g++ {
		if s.st[g] > t.last[g] {
			return true
		}
	}
	return false
}

// pieceOf gives how much of p is scanned at once: what is pure ASCII, or what is not with the few bytes of ASCII
// in between, since the normalised view of it takes work.
func pieceOf(p []byte) int {
	n := asciiPrefix(p)
	if n == len(p) || n >= plainRun {
		return n
	}
	for n < len(p) && n < blockMixed {
		for n < len(p) && p[n] >= utf8.RuneSelf {
			n++
		}
		run := asciiPrefix(p[n:min(len(p), n+plainRun)])
		if run == plainRun {
			break
		}
		n += run
	}
	return min(n, blockMixed)
}

// asciiPrefix is the number of bytes in front of the first that is above 127.
func asciiPrefix(p []byte) int {
	n, rest := 0, p
	for len(rest) >= 32 && fourWords(rest)&highBits == 0 {
		n, rest = n+32, rest[32:]
	}
	for len(rest) >= 8 {
		if high := binary.LittleEndian.Uint64(rest) & highBits; high != 0 {
			return n + bits.TrailingZeros64(high)/8
		}
		n, rest = n+8, rest[8:]
	}
	for n < len(p) && p[n] < utf8.RuneSelf {
		n++
	}
	return n
}

// block scans b, of which b[:n] was fed before, and gives how many of the others it took and how many bytes at
// the front of b are free. tw is what stepping b told already.
func (t *Tables) block(s *State, b []byte, n int, end bool, out *Matches, tw *twin) (took, free int) {
	f := feedPool.Get().(*feed)
	f.t, f.s, f.base, f.end, f.given, f.lost, f.floor = t, s, s.at-int64(n), end, -1, len(b), 0
	f.old, f.traceOf, f.tallyOf, f.stay, f.busy = n, nil, nil, [4]stay{}, false
	f.had.nd, f.had.nth, f.lostBundle, f.late, f.forgot, f.began = 0, 0, false, math.MaxInt64, len(b), 0
	f.again, f.lostBehind, f.w, f.niv, f.told, f.bound, f.openQ = false, false, nil, [2]uint8{}, [maxGroups]int32{}, [2]int32{}, [2]uint16{}
	if s.flags&stateEnded != 0 && len(b) > n {
		s.goOn(n)
	}
	ascii := !t.norms || isASCII(b)
	for k := range f.v {
		v := &f.v[k]
		v.b, v.tail, v.bot = b, s.tail[k][tailLen-s.ntail[k]:], s.ntail[k] < tailLen || f.base <= tailLen
	}
	nn := n // bytes of the normalised view fed before
	carry := 0
	var nb *norm
	if !ascii {
		nb = normPool.Get().(*norm)
		nn, carry = f.normalise(nb, n-int(s.flags/stateCarry&3), end)
	}
	if s.n != [3]uint8{} || s.rescan > 0 {
		f.load(n)
	}
	if s.rescan > 0 {
		f.began = n - int(s.rescan)
		f.replay(int(s.rescan), n, nn)
	}
	for k := range s.live {
		if m := s.live[k]; m.back != noMark.back && ascii && int(m.back) <= n {
			f.bound[k], f.openQ[k] = int32(n)-int32(m.back), m.q
		}
		s.live[k] = noMark
	}
	if f.w != nil {
		f.had.nd, f.had.nth = f.w.nd, f.w.nth
	}
	if s.flags&stateFront != 0 {
		lo := t.frontFrom(s, n)
		f.try(Raw, lo, n-1)
		if !ascii {
			lo = 0
		}
		f.try(Normalised, lo, nn-1)
	}
	f.frontAt = len(b)
	f.again = false
	ended := s.flags&stateEnded != 0
	stop := len(b)
	if tw != nil && ascii && !tw.done {
		st := s.st // mark needs what it is now
		t.twin(&st, b, t.before(s), n, tw)
	}
	switch {
	case tw != nil && tw.ok && !t.much(tw): // b was stepped already
		f.mark(0, len(t.groups), n)
		for _, x := range tw.told[:tw.n] {
			f.events(int(x.group), x.st, int(x.i)-1, int(x.i))
		}
		s.st = tw.st
	case ascii:
		f.mark(0, len(t.groups), n)
		stop = f.steps(0, len(t.groups), n, len(b), s.st[:], true)
	default:
		f.mark(0, t.nraw, n)
		f.mark(t.nraw, len(t.groups), nn)
		f.steps(0, t.nraw, n, len(b), s.st[:t.nraw], false)
		f.steps(t.nraw, len(t.groups), nn, len(f.v[1].b), s.st[t.nraw:len(t.groups)], false)
	}
	if stop < len(b) {
		f.end, end = false, false
		f.v[0].b, f.v[1].b = b[:stop], b[:stop]
		b = b[:stop]
	}
	if end && !ended {
		f.finish(s.st[:len(t.groups)])
		s.flags |= stateEnded
	}
	s.at += int64(len(b) - n)
	s.flags = s.flags&^(3*stateCarry) | uint8(carry)*stateCarry
	free = f.settle(out, len(b)-carry)
	if nb != nil {
		f.advanceTail(free, nb)
		normPool.Put(nb)
	} else {
		f.advanceTail(free, nil)
	}
	if len(b)-free > maxDist { // more is held than offsets reach: the channel is given up
		s.flags = s.flags&^(3*stateCarry) | stateOver
		s.n, s.rescan, s.live = [3]uint8{}, 0, [2]mark{noMark, noMark}
		free = len(b)
	}
	s.held = uint16(len(b) - free)
	s.flags &^= stateBusy
	h := s.slots[2*s.n[0]+3*s.n[1]:]
	for range s.n[2] {
		f.busy, h = f.busy || !t.spare(h), h[4:]
	}
	if f.busy {
		s.flags |= stateBusy
	}
	f.v = [2]stream{}
	feedPool.Put(f)
	return len(b) - n, free
}

// goOn begins a text behind one that ended: it has an end of its own, and what stood in front of the pause is no part
// of its first word. Matches that were found and wait for room stay.
func (s *State) goOn(n int) {
	s.flags &^= stateEnded
	if n == 0 && s.n == [3]uint8{} && s.rescan == 0 {
		*s = State{mask: s.mask, at: s.at, flags: s.flags & stateOver, note: uint16(s.at)}
	}
}

// frontFrom is the first start that stateFront tells of; n bytes are held.
func (t *Tables) frontFrom(s *State, n int) int {
	if len(t.fuzzy) > 0 {
		return 0
	}
	return max(0, n-int(s.note&maxNote))
}

const highBits = 0x8080808080808080 // of eight bytes

// isASCII tells whether p has no byte above 127.
func isASCII(p []byte) bool {
	if len(p) < 8 {
		var any byte
		for _, c := range p {
			any |= c
		}
		return any < utf8.RuneSelf
	}
	any := binary.LittleEndian.Uint64(p[len(p)-8:])
	for ; len(p) >= 32; p = p[32:] {
		any |= fourWords(p)
	}
	for ; len(p) >= 8; p = p[8:] {
		any |= binary.LittleEndian.Uint64(p)
	}
	return any&highBits == 0
}

// fourWords has the bits of the first 32 bytes of p, eight by eight.
func fourWords(p []byte) uint64 {
	return binary.LittleEndian.Uint64(p) | binary.LittleEndian.Uint64(p[8:]) | binary.LittleEndian.Uint64(p[16:]) | binary.LittleEndian.Uint64(p[24:])
}

// normalise makes the normalised view of the block. nn is the index of its first byte that was not fed before,
// m being the raw offset up to which runes were; carry is the length of a cut rune at the end.
func (f *feed) normalise(nb *norm, m int, end bool) (nn, carry int) {
	b := f.v[0].b
	most := 2*len(b) + utf8.UTFMax // a character of two bytes or more becomes four at the most
	out, at, to := slices.Grow(nb.b[:0], most)[:most], slices.Grow(nb.at[:0], most)[:most], slices.Grow(nb.to[:0], most)[:most]
	ascii := f.s.flags&stateASCII != 0
	pages := foldPages()
	var buf [utf8.UTFMax]byte
	nn = -1
	i, k := 0, 0
	for i < len(b) {
		if i >= m && nn < 0 {
			nn = k
		}
		if c := b[i]; c < utf8.RuneSelf {
			out[k], at[k], to[k] = c, uint32(i), uint32(i+1)
			i, k, ascii = i+1, k+1, true
			continue
		}
		n := 1
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			if !end && !utf8.FullRune(b[i:]) {
				break
			}
			buf[0], ascii = b[i], false
		} else {
			n, ascii = normRune(pages, r, ascii, &buf)
		}
		for j := range n {
			out[k+j], at[k+j], to[k+j] = buf[j], uint32(i), uint32(i+size)
		}
		i, k = i+size, k+n
	}
	if nn < 0 {
		nn = k
	}
	nb.b, nb.at, nb.to = out[:k], at[:k], to[:k]
	f.v[1].b, f.v[1].at, f.v[1].to = nb.b, nb.at, nb.to
	return nn, len(b) - i
}

// advanceTail moves the base to free.
func (f *feed) advanceTail(free int, nb *norm) {
	s := f.s
	if free == 0 {
		return
	}
	if nb == nil || !f.t.norms {
		f.t.moveTails(s, f.v[0].b[:free])
		return
	}
	moveTail(&s.tail[0], &s.ntail[0], f.v[0].b[:free])
	k := len(nb.b)
	for k > 0 && int(nb.at[k-1]) >= free {
		k--
	}
	moveTail(&s.tail[1], &s.ntail[1], nb.b[:k])
	ascii := keptASCII(f.v[0].b[:free], s.flags&stateASCII != 0)
	s.flags &^= stateASCII
	if ascii {
		s.flags |= stateASCII
	}
}

func moveTail(tail *[tailLen]byte, n *uint8, p []byte) {
	if len(p) >= tailLen {
		*tail, *n = [tailLen]byte(p[len(p)-tailLen:]), tailLen
		return
	}
	if k := len(p); k > 0 && k < 6 { // a token: as two numbers that overlap, without a call
		low, high := binary.LittleEndian.Uint64(tail[:]), binary.LittleEndian.Uint64(tail[tailLen-8:])
		binary.LittleEndian.PutUint64(tail[:], low>>(8*k))
		binary.LittleEndian.PutUint64(tail[tailLen-8:], high>>(8*k)|few8(p)<<(64-8*k))
		*n = min(tailLen, *n+uint8(k))
		return
	}
	copy(tail[:], tail[len(p):])
	copy(tail[tailLen-len(p):], p)
	*n = min(tailLen, *n+uint8(len(p)))
}

// mark notes which groups stand on a list already, so that a run of ends is seen across calls.
func (f *feed) mark(lo, hi, i int) {
	for k := lo; k < hi; k++ {
		f.hit[k] = lastHit{i - 1, f.s.st[k]}
	}
}

// muchTold is how many matches in one block are seen to find room in the output and the slots.
const muchTold = MatchCap / 4

// much tells whether what is noted in tw may be more than that: such a piece is cut where it becomes too much.
func (t *Tables) much(tw *twin) bool {
	n := 0
	for _, x := range tw.told[:tw.n] {
		if g := &t.groups[x.group]; g.filter == noFilter {
			n += len(t.listAt(g.listOf(x.st)))
		}
	}
	return n > muchTold
}

// steps runs the groups lo to hi over the bytes from i to n of their view. With mayStop it ends early when
// much is under way.
func (f *feed) steps(lo, hi, i, n int, st []uint32, mayStop bool) int {
	if lo == hi {
		return n
	}
	v := 0
	if hi > f.t.nraw {
		v = 1 // lo >= nraw, or both views are the same
	}
	b := f.v[v].b[:n]
	for i < n {
		k, hit := f.t.step(lo, hi, st, b[i:])
		i += k
		if !hit {
			break
		}
		for g := range st {
			if s := st[g]; s&accept != 0 {
				st[g] = f.t.groups[lo+g].land(s)
				f.events(lo+g, s, i-1, i)
			}
		}
		if mayStop && f.w != nil && (f.w.nd > f.had.nd+muchTold || f.w.nth > max(f.had.nth, maxThreads/2)) && i < n {
			return i
		}
	}
	return n
}

// Skim steps the tables over p and does nothing with what they tell but count it: the first part of the work of
// Feed, by itself, for measurements. s serves for nothing else afterwards.
//
// Allocates: never. p: valid during the call only.
func (t *Tables) Skim(s *State, p []byte) (told int) {
	t.mine(s)
	st := s.st[:len(t.groups)]
	for {
		n, hit := t.step(0, len(t.groups), st, p)
		if !hit {
			return told
		}
		told++
		for g := range st {
			st[g] = t.groups[g].land(st[g])
		}
		p = p[n:]
	}
}

// stepTwo advances the first two groups, with entries of two bytes, over b from index i on until one of them tells something,
// or to the end of b.
//
//go:noinline
func (t *Tables) stepTwo(s0, s1 uint32, b []byte, i int) (uint32, uint32, int) { // by itself: it needs all registers
	t0, t1, c0, c1 := t.next[0], t.next[1], &t.column[0], &t.column[1]
	r0, r1 := uint(s0), uint(s1)
	for ; uint(i) < uint(len(b)); i++ {
		c := b[i]
		if r0, r1 = entryAt(t0, r0, c0[c]), entryAt(t1, r1, c1[c]); (r0|r1)&accept != 0 {
			return uint32(r0), uint32(r1), i + 1
		}
	}
	return uint32(r0), uint32(r1), i
}

// stepThree is stepTwo for any three groups.
//
//go:noinline
func stepThree(next *[3][]uint16, col *[3][256]uint32, st *[3]uint32, b []byte) int {
	t0, t1, t2, c0, c1, c2 := next[0], next[1], next[2], &col[0], &col[1], &col[2]
	r0, r1, r2 := uint(st[0]), uint(st[1]), uint(st[2])
	i := 0
	for ; uint(i) < uint(len(b)); i++ {
		c := b[i]
		r0, r1, r2 = entryAt(t0, r0, c0[c]), entryAt(t1, r1, c1[c]), entryAt(t2, r2, c2[c])
		if (r0|r1|r2)&accept != 0 {
			i++
			break
		}
	}
	st[0], st[1], st[2] = uint32(r0), uint32(r1), uint32(r2)
	return i
}

// stepFive is stepTwo for any five groups.
//
//go:noinline
func stepFive(next *[5][]uint16, col *[5][256]uint32, st *[5]uint32, b []byte) int {
	t0, t1, t2, t3, t4 := next[0], next[1], next[2], next[3], next[4]
	c0 := &col[0] // the others stand behind it
	r0, r1, r2, r3, r4 := uint(st[0]), uint(st[1]), uint(st[2]), uint(st[3]), uint(st[4])
	i := 0
	for ; uint(i) < uint(len(b)); i++ {
		c := b[i]
		r0, r1, r2 = entryAt(t0, r0, c0[c]), entryAt(t1, r1, col[1][c]), entryAt(t2, r2, col[2][c])
		r3, r4 = entryAt(t3, r3, col[3][c]), entryAt(t4, r4, col[4][c])
		if (r0|r1|r2|r3|r4)&accept != 0 {
			i++
			break
		}
	}
	st[0], st[1], st[2], st[3], st[4] = uint32(r0), uint32(r1), uint32(r2), uint32(r3), uint32(r4)
	return i
}

// step advances the groups lo to hi over p until one of them stands on a list.
func (t *Tables) step(lo, hi int, st []uint32, p []byte) (n int, hit bool) {
	switch {
	case t.isWide():
		return step(t.wide[lo:hi], t.column[lo:hi], st, p)
	case hi-lo == 3:
		n = stepThree((*[3][]uint16)(t.next[lo:]), (*[3][256]uint32)(t.column[lo:]), (*[3]uint32)(st), p)
		return n, (st[0]|st[1]|st[2])&accept != 0
	case hi-lo == 5:
		n = stepFive((*[5][]uint16)(t.next[lo:]), (*[5][256]uint32)(t.column[lo:]), (*[5]uint32)(st), p)
		return n, (st[0]|st[1]|st[2]|st[3]|st[4])&accept != 0
	case lo == 0 && hi == 2:
		st[0], st[1], n = t.stepTwo(st[0], st[1], p, 0)
		return n, (st[0]|st[1])&accept != 0
	}
	return step(t.next[lo:hi], t.column[lo:hi], st, p)
}

// step is that of the tables for entries of either width.
func step[E entries](next [][]E, col [][256]uint32, st []uint32, p []byte) (n int, hit bool) {
	switch len(next) {
	case 1:
		t0, s0 := next[0], st[0]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			if s0&accept != 0 {
				st[0] = s0
				return i + 1, true
			}
		}
		st[0] = s0
	case 2:
		t0, t1 := next[0], next[1]
		s0, s1 := st[0], st[1]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			s1 = entry(t1, s1, col[1][c])
			if (s0|s1)&accept != 0 {
				st[0], st[1] = s0, s1
				return i + 1, true
			}
		}
		st[0], st[1] = s0, s1
	case 3:
		t0, t1, t2 := next[0], next[1], next[2]
		s0, s1, s2 := st[0], st[1], st[2]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			s1 = entry(t1, s1, col[1][c])
			s2 = entry(t2, s2, col[2][c])
			if (s0|s1|s2)&accept != 0 {
				st[0], st[1], st[2] = s0, s1, s2
				return i + 1, true
			}
		}
		st[0], st[1], st[2] = s0, s1, s2
	case 4:
		t0, t1, t2, t3 := next[0], next[1], next[2], next[3]
		s0, s1, s2, s3 := st[0], st[1], st[2], st[3]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			s1 = entry(t1, s1, col[1][c])
			s2 = entry(t2, s2, col[2][c])
			s3 = entry(t3, s3, col[3][c])
			if (s0|s1|s2|s3)&accept != 0 {
				st[0], st[1], st[2], st[3] = s0, s1, s2, s3
				return i + 1, true
			}
		}
		st[0], st[1], st[2], st[3] = s0, s1, s2, s3
	case 5:
		t0, t1, t2, t3, t4 := next[0], next[1], next[2], next[3], next[4]
		s0, s1, s2, s3, s4 := st[0], st[1], st[2], st[3], st[4]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			s1 = entry(t1, s1, col[1][c])
			s2 = entry(t2, s2, col[2][c])
			s3 = entry(t3, s3, col[3][c])
			s4 = entry(t4, s4, col[4][c])
			if (s0|s1|s2|s3|s4)&accept != 0 {
				st[0], st[1], st[2], st[3], st[4] = s0, s1, s2, s3, s4
				return i + 1, true
			}
		}
		st[0], st[1], st[2], st[3], st[4] = s0, s1, s2, s3, s4
	case 6:
		t0, t1, t2, t3, t4, t5 := next[0], next[1], next[2], next[3], next[4], next[5]
		s0, s1, s2, s3, s4, s5 := st[0], st[1], st[2], st[3], st[4], st[5]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			s1 = entry(t1, s1, col[1][c])
			s2 = entry(t2, s2, col[2][c])
			s3 = entry(t3, s3, col[3][c])
			s4 = entry(t4, s4, col[4][c])
			s5 = entry(t5, s5, col[5][c])
			if (s0|s1|s2|s3|s4|s5)&accept != 0 {
				st[0], st[1], st[2], st[3], st[4], st[5] = s0, s1, s2, s3, s4, s5
				return i + 1, true
			}
		}
		st[0], st[1], st[2], st[3], st[4], st[5] = s0, s1, s2, s3, s4, s5
	case 7:
		t0, t1, t2, t3, t4, t5, t6 := next[0], next[1], next[2], next[3], next[4], next[5], next[6]
		s0, s1, s2, s3, s4, s5, s6 := st[0], st[1], st[2], st[3], st[4], st[5], st[6]
		for i, c := range p {
			s0 = entry(t0, s0, col[0][c])
			s1 = entry(t1, s1, col[1][c])
			s2 = entry(t2, s2, col[2][c])
			s3 = entry(t3, s3, col[3][c])
			s4 = entry(t4, s4, col[4][c])
			s5 = entry(t5, s5, col[5][c])
			s6 = entry(t6, s6, col[6][c])
			if (s0|s1|s2|s3|s4|s5|s6)&accept != 0 {
				st[0], st[1], st[2], st[3], st[4], st[5], st[6] = s0, s1, s2, s3, s4, s5, s6
				return i + 1, true
			}
		}
		st[0], st[1], st[2], st[3], st[4], st[5], st[6] = s0, s1, s2, s3, s4, s5, s6
	}
	return len(p), false
}

// finish reads the text's end in every group.
func (f *feed) finish(st []uint32) {
	for g := range st {
		grp := &f.t.groups[g]
		to := grp.end(st[g])
		if to&accept != 0 {
			n := len(f.v[grp.view].b)
			f.events(g, to, n, n)
		}
	}
}

func (f *feed) work() *work {
	if f.w == nil {
		f.w = &f.own
		f.w.nth, f.w.ngd, f.w.nd = 0, 0, 0
	}
	return f.w
}

// events handles the list of a group's state: words end at index e; the view is read up to now.
func (f *feed) events(g int, st uint32, e, now int) {
	grp := &f.t.groups[g]
	if grp.filter != noFilter {
		f.candidate(g, grp, st, e)
		return
	}
	f.work()
	l := f.t.listAt(grp.listOf(st))
	st = grp.land(st)
	prev := f.hit[g]
	f.hit[g] = lastHit{e, st}
	for _, local := range l {
		if grp.literal {
			f.literal(grp.view, &f.t.lits[local], e, now)
			continue
		}
		r := grp.rules[local]
		if f.again || prev.e == e-1 && f.t.inList(grp.acc[grp.number(prev.st)], local) {
			continue
		}
		f.openEnd(r, grp.view, e)
	}
}

// listOf gives the offset of the list that the way v of next tells of, not in a filter.
func (g *group) listOf(v uint32) uint32 {
	if g.literal {
		return g.ways[v/rowEntries].list
	}
	return g.acc[g.number(v)]
}

func (t *Tables) inList(off uint32, x uint16) bool {
	l := t.lists[off:]
	return slices.Contains(l[1:1+l[0]], x)
}

// openEnd notes an end of a rule that is not held for.
func (f *feed) openEnd(r uint16, view View, e int) {
	end := f.base + int64(f.v[view].rawTo(e))
	f.add(doneMatch{Match{Start: max(0, end-int64(f.t.rules[r].cap)), End: end, Rule: uint32(r)}, 0, e, unknown})
}

// add notes a match. false says that it found no room.
func (f *feed) add(m doneMatch) bool {
	w := f.work()
	if m.End <= f.given {
		return true // found again
	}
	if f.again {
		for i := range w.done[:w.nd] {
			if w.done[i].Match == m.Match {
				return true // it waits in the slots
			}
		}
	}
	if w.nd == maxDone {
		f.thin()
	}
	if m.End >= f.late || w.nd == maxDone {
		f.forget(m)
		return false
	}
	w.done[w.nd] = m
	w.nd++
	return true
}

// matched notes a match of rule r from index s to e.
func (f *feed) matched(r uint16, s, e, x int) bool {
	v := &f.v[f.t.rules[r].view]
	return f.add(doneMatch{Match{Start: f.base + int64(v.rawAt(s)), End: f.base + int64(v.rawTo(e)), Rule: uint32(r)}, s, e, x})
}

// thin makes room for matches that end early: those that end last are found again by the next call. If all end together the
// channel is given up.
func (f *feed) thin() {
	w := f.w
	slices.SortFunc(w.done[:w.nd], func(a, b doneMatch) int { return cmp.Compare(a.End, b.End) })
	late := w.done[w.nd/2].End
	k := w.nd / 2
	for k > 0 && w.done[k-1].End == late {
		k--
	}
	if k == 0 {
		f.s.flags |= stateOver
		return
	}
	for _, m := range w.done[k:w.nd] {
		f.forget(m)
	}
	w.nd = k
}

// forget makes sure that a match for which there is no room is found again by the next call. If its text may be gone, the
// channel is given up.
func (f *feed) forget(m doneMatch) {
	ru, raw := &f.t.rules[m.Rule], m.Start-f.base
	if m.x >= 0 || raw < 0 || ru.flags&(flagHold|flagBehind) != flagHold {
		f.s.flags |= stateOver
		return
	}
	f.late, f.forgot = min(f.late, m.End), min(f.forgot, int(raw))
	f.lostBundle = f.lostBundle || ru.flags&flagBundle != 0
	if g := f.guardOf(uint16(m.Rule)); g != nil {
		g.goBack(m.s)
	}
}

// goBack notes that a match of the rule which begins at index i is found again.
func (g *guard) goBack(i int) {
	if g.back == 0 || i+1 < g.back {
		g.back = i + 1
	}
}

// back walks n symbols back from index e of a view. If it meets too long a gap, ok is false and x is the index
// after that gap.
func (v *stream) back(e, n int) (x int, ok bool) {
	i := e
	for ; n > 0; n-- {
		c := v.byteAt(i - 1)
		switch {
		case c < 0:
			return i, true
		case c < utf8.RuneSelf && isGap(byte(c)):
			j := i
			for c >= 0 && isGap(byte(c)) {
				j--
				if i-j > maxGap {
					return i, false
				}
				c = v.byteAt(j - 1)
			}
			i = j
		case c >= utf8.RuneSelf:
			i--
			for k := 0; k < 3 && c >= 0x80 && c < 0xC0; k++ {
				if c = v.byteAt(i - 1); c < 0 {
					break
				}
				i--
			}
		default:
			i--
		}
	}
	return i, true
}

// literal handles a phrase or a trigger that ends at e.
func (f *feed) literal(view View, l *lit, e, now int) {
	r := &f.t.rules[l.rule]
	if l.now {
		e = now
	}
	v := &f.v[view]
	if !l.trigger && r.flags&flagHold == 0 {
		if !f.again {
			f.openEnd(l.rule, view, e)
		}
		return
	}
	if l.trigger && !l.follows(v.b[max(e, 0):]) {
		return
	}
	x, ok := v.back(e, int(l.syms))
	if !ok || x < f.floor && (f.again || r.flags&flagBehind == 0) {
		return
	}
	switch {
	case l.trigger:
		f.trigger(l.rule, x, now)
		return
	case l.head:
		if x >= 0 {
			th := thread{rule: l.rule, q: slotText, pos: x, s: x, best: -1, last: x, x: unknown}
			if f.compare(&th, r); th.q != anchorDead {
				f.makeRoom()
				f.newThread(th)
			}
		}
		return
	}
	if e-x <= int(r.cap) {
		f.matched(l.rule, x, e, unknown)
	}
}

// replay finds again what was under way in the last n bytes that were fed.
func (f *feed) replay(back, n, nn int) {
	f.work()
	f.again = true
	t := f.t
	ended := f.s.flags&stateEnded != 0
	f.floor = n - back
	var st [maxGroups]uint32
	for g := range t.groups {
		grp := &t.groups[g]
		v := &f.v[grp.view]
		i, stop := n-back, n
		if v.at != nil {
			stop = nn
			i = 0
			for i < nn && int(v.at[i]) < n-back {
				i++
			}
		}
		f.floor = i
		st[g] = 0
		if c := v.byteAt(i - 1); c >= 0 {
			st[g] = grp.land(grp.entry(0, byte(c)))
		}
		f.hit[g] = lastHit{i - 1, 0}
		if grp.filter != noFilter {
			continue // the starts of the held text are run anyway
		}
		f.stepOne(g, i, stop, st[:])
	}
	if ended {
		for g := range t.groups {
			f.floor = n - back
			if v := &f.v[t.groups[g].view]; v.at != nil {
				for f.floor = 0; f.floor < nn && int(v.at[f.floor]) < n-back; f.floor++ {
				}
			}
			grp := &t.groups[g]
			if to := grp.end(st[g]); to&accept != 0 && grp.filter == noFilter {
				k := len(f.v[grp.view].b)
				f.events(g, to, k, k)
			}
		}
	}
	f.floor = 0
}

func (f *feed) stepOne(g, i, n int, st []uint32) {
	grp := &f.t.groups[g]
	b := f.v[grp.view].b
	s := st[g]
	for ; i < n; i++ {
		s = grp.entry(s, b[i])
		if s&accept != 0 {
			f.events(g, s, i, i+1)
			s = grp.land(s)
		}
	}
	st[g] = s
}
