package scan

import (
	"slices"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/invariant"
)

func (f *feed) find(r uint16) *thread {
	for i := range f.w.th[:f.w.nth] {
		if f.w.th[i].rule == r {
			return &f.w.th[i]
		}
	}
	return nil
}

func (f *feed) guardOf(r uint16) *guard {
	for i := range f.w.gd[:f.w.ngd] {
		if f.w.gd[i].rule == r {
			return &f.w.gd[i]
		}
	}
	return nil
}

// lose makes sure that what began at s, its look-behind at x, is found again by the next call: there is no
// room for it in this one. If its text is gone already, the channel is given up.
func (f *feed) lose(r uint16, s, x int) {
	ru := &f.t.rules[r]
	if ru.flags&flagBehind != 0 {
		s, f.lostBehind = x, true
	}
	if s < 0 || ru.flags&flagHold == 0 {
		f.s.flags |= stateOver
		return
	}
	f.lost = min(f.lost, f.v[ru.view].rawAt(s))
	f.lostBundle = f.lostBundle || ru.flags&flagBundle != 0
}

func (f *feed) newThread(th thread) *thread {
	w := f.w
	if w.nth == maxThreads {
		f.lose(th.rule, th.s, th.x)
		return nil
	}
	w.th[w.nth] = th
	w.nth++
	return &w.th[w.nth-1]
}

func (f *feed) drop(th *thread) {
	w := f.w
	w.nth--
	*th = w.th[w.nth]
}

// trigger starts a rule at x.
func (f *feed) trigger(r uint16, x, now int) {
	ru := &f.t.rules[r]
	if ru.flags&flagBehind != 0 {
		if f.again && f.s.flags&stateAll == 0 {
			return // it is in the slots
		}
		th := thread{rule: r, q: f.front(ru.behind, &f.v[ru.view], x), pos: x, s: -1, best: -1, x: x}
		f.advance(&th, now)
		f.resolve(r, now)
		if th.q != anchorDead && !f.known(&th, f.w.nth) {
			f.newThread(th)
		}
		return
	}
	if th := f.find(r); th != nil {
		f.run(th, x) // it may be dead already: then nothing between it and x can begin a word
		if th = f.find(r); th != nil {
			th.last = x
			f.run(th, now)
			return
		}
	}
	if g := f.guardOf(r); g != nil && x < g.e {
		return
	}
	if x < 0 {
		return
	}
	f.makeRoom()
	if th := f.newThread(f.begin(ru, r, x, x)); th != nil {
		f.run(th, now)
	}
}

// makeRoom runs the threads to the end of the text, if that is known and there is room for no more.
func (f *feed) makeRoom() {
	if !f.end || f.w.nth < maxThreads {
		return
	}
	f.runAll()
}

// runAll runs the threads, but for those of rules with a look-behind, as far as the text goes.
func (f *feed) runAll() {
	w := f.w
	for i := w.nth - 1; i >= 0; i-- {
		if ru := &f.t.rules[w.th[i].rule]; ru.flags&flagBehind == 0 {
			f.run(&w.th[i], len(f.v[ru.view].b))
		}
	}
}

// known tells whether one of the first n threads goes on as a look-behind does.
func (f *feed) known(th *thread, n int) bool {
	for i := range f.w.th[:n] {
		if o := &f.w.th[i]; o.rule == th.rule && o.s < 0 && o.q == th.q && o.pos == th.pos {
			o.x = min(o.x, th.x)
			return true
		}
	}
	return false
}

// front is the state of an anchored automaton at index x, which knows the byte in front of it.
func (f *feed) front(anchor int32, v *stream, x int) uint16 {
	a := &f.t.anch[anchor]
	if c := v.byteAt(x - 1); c >= 0 {
		return a.next[anchorFront*a.ncls+uint32(a.cls[c])]
	}
	if invariant.Enabled {
		invariant.Check(v.bot, "scan: a run begins behind text that is not known any more")
	}
	return anchorBegin
}

func (f *feed) begin(ru *rule, r uint16, x, last int) thread {
	return thread{rule: r, q: f.front(ru.anchor, &f.v[ru.view], x), pos: x, s: x, best: -1, last: last, x: unknown}
}

// advance runs a thread over the bytes before upto, and over the text's end if it is there.
func (f *feed) advance(th *thread, upto int) {
	if th.q == anchorDead {
		return
	}
	ru := &f.t.rules[th.rule]
	if th.q == slotText {
		f.compare(th, ru)
		return
	}
	if th.s < 0 {
		f.advanceBehind(th, ru, upto)
		return
	}
	a := &f.t.anch[ru.anchor]
	v := &f.v[ru.view]
	q := th.q
	i := th.pos
	if v.at == nil { // one byte is one index
		next, info, cls, ncls := a.next, a.info, a.cls, a.ncls
		last := min(upto, th.s+int(ru.cap))
		i = max(i, 0)
		b := v.b[:max(i, last)]
		for ; i < len(b); i++ {
			if q = next[uint32(q)*ncls+uint32(cls[b[i]])]; q == anchorDead {
				break
			}
			if n := info[q]; n >= infoDist {
				if n&infoAccept != 0 && i > th.s {
					th.seen = true
					f.word(th, ru, v, i)
				}
				if n&infoDist == infoDist {
					q = anchorDead
					break
				}
			}
		}
		if i == last && i < upto && q != anchorDead { // the cap: its word ends here at the latest
			th.cut = q
			q = next[uint32(q)*ncls+uint32(cls[v.b[i]])]
			if q != anchorDead && info[q]&infoAccept != 0 {
				th.seen = true
				f.word(th, ru, v, i)
			}
			q = anchorDead
		}
	}
	for ; i < upto && q != anchorDead; i++ {
		q = a.next[uint32(q)*a.ncls+uint32(a.cls[v.byteAt(i)])]
		if q == anchorDead {
			break
		}
		info := a.info[q]
		if info&infoAccept != 0 && i > th.s {
			th.seen = true
			f.word(th, ru, v, i)
		}
		if info&infoDist == infoDist || i+1-th.s > int(ru.cap) {
			q = anchorDead
			break
		}
	}
	if f.end && upto == len(v.b) && q != anchorDead && i == upto {
		th.cut = q
		q = a.next[uint32(q)*a.ncls+a.ncls-1]
		if q != anchorDead && a.info[q]&infoAccept != 0 && i > th.s {
			th.cut = anchorDead
			f.word(th, ru, v, i)
		}
		q = anchorDead
	}
	th.q, th.pos = q, i
	if i == len(v.b) && q != anchorDead && ru.near < ru.cap && !f.alive(th, ru, v) {
		th.q, th.cut = anchorDead, q // nothing that still fits the cap can come
	}
}

// advanceBehind runs a look-behind; where it ends, a thread of the word starts.
func (f *feed) advanceBehind(th *thread, ru *rule, upto int) {
	a, b := &f.t.anch[ru.behind], &f.t.anch[ru.anchor]
	v := &f.v[ru.view]
	next, info, cls, ncls := a.next, a.info, a.cls, a.ncls
	q, i := th.q, th.pos
	for ; i < upto && q != anchorDead; i++ {
		c := v.byteAt(i)
		q = next[uint32(q)*ncls+uint32(cls[c])]
		n := info[q]
		if n < infoDist {
			continue
		}
		if n&infoAccept != 0 && q != anchorDead {
			first := b.next[uint32(f.front(ru.anchor, v, i))*b.ncls+uint32(b.cls[c])]
			if first != anchorDead && !f.startsAt(th.rule, i) && !f.covered(th.rule, v, i) {
				word := f.begin(ru, th.rule, i, i)
				word.x = th.x
				f.newThread(word)
			}
		}
		if n&infoDist == infoDist {
			q = anchorDead
		}
	}
	th.q, th.pos = q, i
	if f.end && upto == len(v.b) {
		th.q = anchorDead
	}
}

// covered tells whether a match of rule r that waits covers index i: what is found again may begin inside it.
func (f *feed) covered(r uint16, v *stream, i int) bool {
	if g := f.guardOf(r); g != nil && i < g.e {
		return true
	}
	at := f.base + int64(v.rawAt(i))
	for k := range f.w.done[:f.w.nd] {
		if m := &f.w.done[k]; m.Rule == uint32(r) && m.Start <= at && at < m.End {
			return true
		}
	}
	return false
}

func (f *feed) startsAt(r uint16, s int) bool {
	for i := range f.w.th[:f.w.nth] {
		if th := &f.w.th[i]; th.rule == r && th.s == s {
			return true
		}
	}
	return false
}

// word notes that a word of the thread ends at i, if it is in the rule's language.
func (f *feed) word(th *thread, ru *rule, v *stream, i int) {
	if i-th.s > int(ru.cap) {
		return
	}
	if ru.flags&flagCheck != 0 {
		w := v.b[th.s:i]
		if ru.tallied && !(f.varied(ru, th.s, i) && ru.allows(w)) || !ru.tallied && !ru.accepts(w) {
			return
		}
	}
	th.best = i
	f.busy = f.busy || ru.flags&flagBundle != 0
}

// varied tells whether the text from s to e has the entropy that a rule wants. Longer words from the same start
// come one after the other mostly: each goes on where the last one ended.
func (f *feed) varied(ru *rule, s, e int) bool {
	y, b := &f.tally, f.v[ru.view].b
	if f.tallyOf != ru || f.tallyAt != s || y.n > e-s {
		*y, f.tallyOf, f.tallyAt = tally{}, ru, s
	}
	y.add(b[s+y.n : e])
	return y.entropy() >= ru.validator.A
}

func (r *rule) accepts(w []byte) bool {
	return (r.check == nil || r.check(w, r.validator.A, r.validator.B)) && r.allows(w)
}

// allows tells whether w is not on the rule's allow-list.
func (r *rule) allows(w []byte) bool {
	for _, a := range r.allow {
		if r.flags&flagFold != 0 && r.equalFold(w, a) || string(w) == a {
			return false
		}
	}
	return true
}

// equalFold compares w with a, which is in lower case, by what a's letters stand for.
func (r *rule) equalFold(w []byte, a string) bool {
	for len(w) > 0 && a != "" {
		q, n := utf8.DecodeRune(w)
		c, k := utf8.DecodeRuneInString(a)
		if !r.stands(c, q) {
			return false
		}
		w, a = w[n:], a[k:]
	}
	return len(w) == 0 && a == ""
}

// run advances a thread to upto. When it fails or is complete, the starts up to its last are tried in turn.
func (f *feed) run(th *thread, upto int) {
	ru := &f.t.rules[th.rule]
	switch {
	case ru.flags&flagBehind != 0:
		f.advance(th, upto)
		f.resolve(th.rule, upto)
		return
	case th.q == slotText:
		if f.compare(th, ru); th.q == anchorDead {
			f.drop(th)
		}
		return
	}
	for {
		f.advance(th, upto)
		if th.q != anchorDead {
			return
		}
		from := th.s + 1
		if th.best >= 0 {
			f.match(th, ru)
			from = th.best
		}
		for a, v := &f.t.anch[ru.anchor], &f.v[ru.view]; from <= th.last && from < upto && (!a.mayBegin(v.b[from]) || a.next[uint32(f.front(ru.anchor, v, from))*a.ncls+uint32(a.cls[v.b[from]])] == anchorDead); {
			from++ // no word begins here
		}
		if from > th.last || from >= upto {
			f.drop(th)
			return
		}
		next := f.begin(ru, th.rule, from, th.last)
		if th.cut != anchorDead && !th.seen && from < th.pos && f.v[ru.view].at == nil {
			f.follow(&next, th, ru)
		}
		*th = next
	}
}

// follow spares a thread the way to where the cap or the text's end ended an older one, if both come to the same state:
// what the older one met from there on, the thread would meet.
func (f *feed) follow(th, old *thread, ru *rule) {
	a, b := &f.t.anch[ru.anchor], f.v[ru.view].b
	// Most come to the state in which the older one stayed for long.
	y := &f.stay[th.rule%uint16(len(f.stay))]
	if y.of != ru || y.q != old.cut || y.pos > old.pos {
		*y = stay{ru, old.cut, old.s, old.s}
	}
	if n := a.stayed(y.q, b[y.pos:old.pos]); n < old.pos-y.pos {
		y.from = old.pos - n
	}
	y.pos = old.pos
	p, i := th.q, th.s
	for end := min(old.pos, i+longMeet); i < end && (p != old.cut || i < y.from); i++ {
		if a.loop == old.cut && i >= y.from && a.leadsOn(p, old.pos-i) {
			th.q, th.pos = old.cut, old.pos
			return
		}
		if p = a.next[uint32(p)*a.ncls+uint32(a.cls[b[i]])]; p == anchorDead || i > th.s && a.info[p]&infoAccept != 0 {
			return
		}
	}
	if p == old.cut && i >= y.from {
		th.q, th.pos = p, old.pos
		return
	}
	q := f.begin(ru, th.rule, old.s, old.s).q
	for _, c := range b[old.s:i] {
		q = a.next[uint32(q)*a.ncls+uint32(a.cls[c])]
	}
	for _, c := range b[i:old.pos] {
		if p == q {
			th.q, th.pos = old.cut, old.pos
			return
		}
		q, p = a.next[uint32(q)*a.ncls+uint32(a.cls[c])], a.next[uint32(p)*a.ncls+uint32(a.cls[c])]
		if p == anchorDead || a.info[p]&infoAccept != 0 {
			return
		}
	}
}

// stay says that runs of a rule that are in state q at index from or later still are at pos.
type stay struct {
	of        *rule
	q         uint16
	from, pos int
}

// match adds the word of a thread that is complete, and guards against words that overlap it.
func (f *feed) match(th *thread, ru *rule) {
	kept := f.matched(th.rule, th.s, th.best, th.x)
	if ru.flags&flagBehind != 0 {
		return
	}
	g := f.guard(th.rule)
	if g == nil {
		f.lose(th.rule, th.s, th.x)
		return
	}
	if g.e = th.best; !kept {
		g.goBack(th.s)
	}
}

// guard is guardOf, made if there is none; nil if there is no room.
func (f *feed) guard(r uint16) *guard {
	if g := f.guardOf(r); g != nil || f.w.ngd == maxGuards {
		return g
	}
	g := &f.w.gd[f.w.ngd]
	f.w.ngd++
	*g = guard{rule: r}
	return g
}

// resolve decides between the threads of a rule with a look-behind: the leftmost goes first.
func (f *feed) resolve(r uint16, upto int) {
	w := f.w
	for i := 0; i < w.nth; i++ { // a look-behind adds threads at the end
		if th := &w.th[i]; th.rule == r {
			if f.advance(th, upto); th.s < 0 && th.q != anchorDead && f.known(th, i) {
				f.drop(th)
				i--
			}
		}
	}
	for {
		var first *thread
		for i := 0; i < w.nth; i++ {
			th := &w.th[i]
			if th.rule != r {
				continue
			}
			if th.s < 0 && th.q == anchorDead {
				f.drop(th)
				i--
				continue
			}
			if th.s >= 0 && (first == nil || th.s < first.s) {
				first = th
			}
		}
		if first == nil || first.q != anchorDead {
			return
		}
		s, best := first.s, first.best
		if best >= 0 {
			f.match(first, &f.t.rules[r])
		}
		for i := 0; i < w.nth; i++ {
			if th := &w.th[i]; th.rule == r && th.s >= 0 && (th.s == s || th.s < best) {
				f.drop(th)
				i--
			}
		}
	}
}

func (f *feed) resolveAll() {
	w := f.w
	var done [maxThreads]uint16 // rules
	n := 0
	for i := 0; i < w.nth; i++ {
		r := w.th[i].rule
		if f.t.rules[r].flags&flagBehind == 0 || slices.Contains(done[:n], r) {
			continue
		}
		f.resolve(r, len(f.v[f.t.rules[r].view].b))
		done[n], n, i = r, n+1, -1 // the threads may stand in another order
	}
}

// alive tells whether a thread can still come to an end within its cap.
func (f *feed) alive(th *thread, ru *rule, v *stream) bool {
	return th.q != anchorDead && f.t.anch[ru.anchor].fits(ru, th.q, len(v.b)-th.s)
}
