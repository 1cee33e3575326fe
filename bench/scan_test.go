package bench

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/keeptrusts/kt/internal/invariant"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// The figures of the scan engine: go test -run '^$' -bench Scan ./bench/...
//
// All ratios come from rounds inside one process in which the two sides take
// turns; what is reported is the median of the rounds' ratios. "A pass" is one
// plain table pass: the dense automaton of pass.go over the same bytes, called
// in the same pieces.

const (
	corpusSize  = 1 << 20
	chunkSize   = 20
	promptSize  = 100 << 10
	regexpSize  = 16 << 10
	perHit      = 4000 // bytes of text for one planted hit: about 1,000 tokens
	pii         = 40
	secrets     = 150
	phrases     = 2000
	hostileSize = 64 << 10
)

// reference is the reference set: 40 identifiers and 150 secret formats of the
// rulebook and 2,000 made-up phrases.
type reference struct {
	rules   []scan.Rule // as a policy that redacts uses them
	plain   []scan.Rule // the same without spans and checks but for the secret formats (as tables they would not fit)
	plants  []plant
	entries int
}

// plant is an example of the rulebook: its text, and where the value ends in it.
type plant struct {
	id   string
	text string
	end  int
}

// later are entries of the rulebook that are not in the set: with them, others would be chosen, and figures could not be
// compared with those before.
var later = []string{
	"generic-element", "generic-key-prose", "password-label-world", "password-quoted", "password-short", "secret-flag", "secret-default",
	"netrc", "config-key-value", "credential-call", "token-assignment", "sshpass", "cisco-community", "cisco-secret",
	"adafruit-io-key", "akamai-edgegrid", "langfuse-key", "llamacloud-key", "e2b-key", "apify-token", "firecrawl-key",
	"jina-key", "cerebras-key", "segment-token", "mongodb-atlas-secret", "paddle-key", "zuplo-key",
}

// newReference chooses by name, so that the set changes only with the rulebook.
func newReference() *reference {
	r := &reference{}
	take := func(es []rulebook.Entry, n int, prefix string) {
		es = slices.DeleteFunc(es, func(e rulebook.Entry) bool { return slices.Contains(later, e.ID) })
		slices.SortFunc(es, func(a, b rulebook.Entry) int {
			if (a.Country == "") != (b.Country == "") { // worldwide ones first: e-mail, cards, phone, addresses
				return cmp.Compare(len(a.Country), len(b.Country))
			}
			return cmp.Compare(a.ID, b.ID)
		})
		for i := range min(n, len(es)) {
			e := &es[i]
			if prefix == "secret/" { // evenly over the list: issuers, not one issuer's twelve formats
				e = &es[i*len(es)/min(n, len(es))]
			}
			for _, rule := range e.Rules(0, true) {
				rule.ID = prefix + rule.ID
				r.rules = append(r.rules, rule)
			}
			for _, x := range e.Positives {
				if len(x.Spans) == 1 && !strings.ContainsAny(x.Text, "\n") && x.Spans[0][1] > 0 {
					r.plants = append(r.plants, plant{prefix + e.ID, x.Text, x.Spans[0][1]})
					break
				}
			}
			r.entries++
		}
		for i := len(es); i < n; i++ { // the rulebook has fewer: made-up formats of the same shape
			r.rules = append(r.rules, scan.Rule{ID: fmt.Sprintf("%smade-up-%d", prefix, i), Pattern: fmt.Sprintf(`\bqz%03d_[A-Za-z0-9]{24}\b`, i), Span: true})
			r.entries++
		}
	}
	take(rulebook.PII(), pii, "pii/")
	take(rulebook.Secrets(), secrets, "secret/")
	for i, p := range Phrases(phrases, 7) {
		id := fmt.Sprintf("phrase/%d", i)
		r.rules = append(r.rules, scan.Rule{ID: id, Phrase: p, Fold: true, Span: true})
		if i%(phrases/40) == 0 {
			r.plants = append(r.plants, plant{id, "they said " + p + " again", len("they said " + p)})
		}
		r.entries++
	}
	r.plain = slices.Clone(r.rules)
	for i := range r.plain {
		p := &r.plain[i]
		if strings.HasPrefix(p.ID, "secret/") {
			continue
		}
		p.Span, p.Validator, p.Allow, p.View = false, scan.Validator{}, nil, scan.Raw
	}
	return r
}

// set is the reference set, built, with its corpus. It is made once.
type set struct {
	*reference
	hold, plain *scan.Tables
	report      scan.Report
	took        time.Duration
	text        []byte
	planted     map[int64]bool // ends of planted values
}

var theSet = sync.OnceValues(func() (*set, error) {
	s := &set{reference: newReference(), planted: map[int64]bool{}}
	begin := time.Now()
	var err error
	if s.hold, s.report, err = scan.Build(s.rules, scan.Options{}); err != nil {
		return nil, err
	}
	s.took = time.Since(begin)
	if s.plain, _, err = scan.Build(s.reference.plain, scan.Options{}); err != nil {
		return nil, err
	}
	size := corpusSize
	if testing.Short() {
		size /= 32
	}
	base := English(size, 1)
	for i, at := 0, 0; at < len(base); i++ {
		end := runeStart([]byte(base), at+perHit)
		s.text = append(s.text, base[at:end]...)
		p := s.plants[i%len(s.plants)]
		s.text = append(s.text, '\n')
		s.planted[int64(len(s.text)+p.end)] = true
		s.text = append(append(s.text, p.text...), '\n')
		at = end
	}
	return s, nil
})

func get(b testing.TB) *set {
	b.Helper()
	s, err := theSet()
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// scanner feeds a text in pieces. The window is the text itself: nothing is copied.
type scanner struct {
	t     *scan.Tables
	state scan.State
	out   scan.Matches
	count int
	over  bool
	seen  func(scan.Match)
	held  func(int)
}

// run scans text as one channel in pieces of size bytes.
func (s *scanner) run(text []byte, size int) {
	s.state.Reset(^uint64(0))
	s.out.Clear()
	s.count, s.over = 0, false
	from, fed := 0, 0
	for fed < len(text) {
		to := min(fed+size, len(text))
		end := to == len(text)
		for {
			n, keep := s.t.Feed(&s.state, text[from:to], fed-from, end, &s.out)
			fed += n
			full := s.out.Full()
			if s.out.Len() > 0 || s.out.Overflow {
				s.drain()
			}
			if !full && fed == to {
				from += keep
				break
			}
		}
		if s.held != nil && !end {
			s.held(fed - from)
		}
	}
}

// skim steps the tables over text in pieces of size bytes, without what Feed makes of it.
func (s *scanner) skim(text []byte, size int) {
	s.state.Reset(^uint64(0))
	s.count = 0
	for i := 0; i < len(text); i += size {
		s.count += s.t.Skim(&s.state, text[i:min(i+size, len(text))])
	}
}

func (s *scanner) drain() {
	s.count += s.out.Len()
	s.over = s.over || s.out.Overflow
	if s.seen != nil {
		for i := range s.out.Len() {
			s.seen(s.out.At(i))
		}
	}
	s.out.Clear()
}

// ratios collects one value for each round.
type ratios []float64

func (r ratios) median() float64 { return quantile(r, .5) }

// rounds are the ratios of a benchmark's rounds, and what a probe took around each.
type rounds struct {
	ratios
	probe ratios
}

func (r *rounds) add(ratio float64, probes ...float64) {
	r.ratios, r.probe = append(r.ratios, ratio), append(r.probe, slices.Max(probes))
}

// alone gives the ratios of the rounds in which the core did nothing else, as far as the probes tell.
func (r *rounds) alone() (some ratios) {
	for i, p := range r.probe {
		if p <= 1.1*leastProbe {
			some = append(some, r.ratios[i])
		}
	}
	return some
}

// report reports the median of all rounds, and that of the rounds alone, if they are some: a median of few says nothing.
func (r *rounds) report(b *testing.B, name string) {
	b.ReportMetric(r.median(), name)
	if some := r.alone(); len(some) >= aloneRounds {
		b.ReportMetric(some.median(), "alone-"+name)
	}
}

const aloneRounds = 5

// leastProbe is the least time that probe took in this process.
var leastProbe = math.Inf(1)

// probe gives the CPU time in ns of instructions that do not wait for each other. Where another guest of the machine uses the
// other half of the core, they take twice as long; a table pass, in which each step waits for the one before it, a tenth.
func probe() float64 {
	t := timed(func() {
		a, b, c, d := uint64(1), uint64(2), uint64(3), uint64(4)
		for i := range uint64(20_000) {
			a, b, c, d = a+i, b^i, c-i, d+i^3
			a, b, c = a^3, b+5, c^7
		}
		probed += a + b + c + d
	})
	leastProbe = min(leastProbe, t)
	return t
}

var probed uint64

func quantile[T cmp.Ordered](v []T, q float64) T {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

// timed gives the CPU time of f in ns.
func timed(f func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime()
	f()
	return float64(threadTime() - begin)
}

func BenchmarkScan(b *testing.B) {
	b.Run("Build", scanBuild)
	b.Run("English", scanEnglish)
	b.Run("NoSpan", scanNoSpan)
	b.Run("Prompt", scanPrompt)
	b.Run("Regexp", scanRegexp)
	b.Run("Hostile", scanHostile)
}

// scanBuild: time to build the tables of the reference set, their size, and the state of one channel.
func scanBuild(b *testing.B) {
	s := get(b)
	for b.Loop() {
		if s.hold.NumRules() != len(s.rules) {
			b.Fatalf("%d rules in the tables, want %d", s.hold.NumRules(), len(s.rules))
		}
	}
	if want := pii + secrets + phrases; s.entries != want {
		b.Fatalf("reference set of %d entries, want %d", s.entries, want)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.took.Seconds(), "build-s")
	b.ReportMetric(float64(s.report.TableBytes), "table-bytes")
	b.ReportMetric(float64(max(s.report.StateBytes, int(unsafe.Sizeof(scan.State{})))), "state-bytes")
	b.ReportMetric(float64(len(s.rules)), "rules")
}

// scanEnglish: English at 20-byte chunks, once without and once with exact hold-back, against a pass.
func scanEnglish(b *testing.B) {
	s := get(b)
	p := newPass()
	want := p.slow(s.text)

	// What must be found, and what is held: not timed.
	whole, pieces := &scanner{t: s.hold}, &scanner{t: s.hold}
	var held []int
	pieces.held = func(n int) { held = append(held, n) }
	missing := s.missing()
	whole.run(s.text, len(s.text))
	pieces.run(s.text, chunkSize)
	if len(missing) > 0 {
		b.Fatalf("%d of %d planted values were not found, among them %v", len(missing), len(s.planted), missing[:min(5, len(missing))])
	}
	if whole.count != pieces.count || whole.over || pieces.over {
		b.Fatalf("%d matches in one piece, %d at %d bytes (overflow %t, %t)", whole.count, pieces.count, chunkSize, whole.over, pieces.over)
	}
	hold := &scanner{t: s.hold}
	small := &scanner{t: s.hold}
	tables := &scanner{t: s.hold}
	tables.skim(s.text, len(s.text))
	told := tables.count
	var xTable, xHold rounds
	var xSmall ratios
	round := func() {
		p0 := probe()
		ref := timed(func() {
			if got := p.run(s.text, chunkSize); got != want {
				b.Fatalf("the pass counts %d, want %d", got, want)
			}
		})
		p1 := probe()
		k := timed(func() { tables.skim(s.text, chunkSize) })
		p2 := probe()
		h := timed(func() { hold.run(s.text, chunkSize) })
		p3 := probe()
		q := timed(func() { small.run(s.text, 4) })
		o := timed(func() { whole.run(s.text, len(s.text)) })
		if hold.count != pieces.count || small.count != pieces.count {
			b.Fatalf("matches %d and %d, want %d", hold.count, small.count, pieces.count)
		}
		if tables.count != told || told == 0 {
			b.Fatalf("the tables tell %d things, want %d", tables.count, told)
		}
		xTable.add(k/ref, p0, p1, p2)
		xHold.add(h/ref, p0, p1, p2, p3)
		xSmall = append(xSmall, q/o)
	}
	round()
	xTable, xHold, xSmall = rounds{}, rounds{}, nil
	for b.Loop() {
		round()
	}
	allocs := testing.AllocsPerRun(3, func() { hold.run(s.text, chunkSize) })
	b.ReportMetric(0, "ns/op")
	xTable.report(b, "x-table")
	xHold.report(b, "x-table-hold")
	b.ReportMetric(100*float64(len(xHold.alone()))/float64(len(xHold.ratios)), "share-alone")
	b.ReportMetric(xSmall.median(), "x-4B-whole")
	b.ReportMetric(float64(quantile(held, .5)), "held-p50")
	b.ReportMetric(float64(quantile(held, .99)), "held-p99")
	b.ReportMetric(float64(slices.Max(held)), "held-max")
	b.ReportMetric(allocs/float64(len(s.text)/chunkSize), "allocs")
	b.ReportMetric(float64(pieces.count), "matches")
}

// scanNoSpan: all of Feed where identifiers and phrases only warn. Other tables than those of scanEnglish: in its rounds they would take
// the caches from the tables that it measures, which a gateway with one policy chain has for itself.
func scanNoSpan(b *testing.B) {
	s := get(b)
	p := newPass()
	x := &scanner{t: s.plain}
	x.run(s.text, len(s.text))
	want := x.count
	var xPlain ratios
	round := func() {
		ref := timed(func() { p.run(s.text, chunkSize) })
		a := timed(func() { x.run(s.text, chunkSize) })
		if x.count != want || want == 0 {
			b.Fatalf("%d matches, want %d", x.count, want)
		}
		xPlain = append(xPlain, a/ref)
	}
	round()
	xPlain = xPlain[:0]
	for b.Loop() {
		round()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(xPlain.median(), "x-nospan")
}

// missing lists planted values that the tables do not find.
func (s *set) missing() []int64 {
	left := map[int64]bool{}
	for at := range s.planted {
		left[at] = true
	}
	x := &scanner{t: s.hold, seen: func(m scan.Match) { delete(left, m.End) }}
	x.run(s.text, len(s.text))
	out := make([]int64, 0, len(left))
	for at := range left {
		out = append(out, at)
	}
	slices.Sort(out)
	return out
}

// scanPrompt: a 100 KB prompt in one call, per byte, against a pass over the same bytes in one call.
func scanPrompt(b *testing.B) {
	s := get(b)
	text := s.text[:min(promptSize, len(s.text))]
	p := newPass()
	want := p.slow(text)
	x := &scanner{t: s.hold}
	x.run(text, len(text))
	matches := x.count
	if matches == 0 {
		b.Fatal("nothing found")
	}
	var r rounds
	for b.Loop() {
		p0 := probe()
		ref := timed(func() {
			if p.run(text, len(text)) != want {
				b.Fatal("the pass counts wrong")
			}
		})
		p1 := probe()
		a := timed(func() { x.run(text, len(text)) })
		p2 := probe()
		if x.count != matches {
			b.Fatalf("%d matches, want %d", x.count, matches)
		}
		r.add(a/ref, p0, p1, p2)
	}
	b.ReportMetric(0, "ns/op")
	r.report(b, "x-table-100k")
	b.ReportMetric(float64(matches), "matches")
}

// scanRegexp: the standard library's regexp, one rule after the other over the whole text, which is its best
// case (no pieces), against the engine over the same text at 20-byte chunks.
func scanRegexp(b *testing.B) {
	s := get(b)
	text := s.text[:min(regexpSize, len(s.text))]
	type rule struct {
		*regexp.Regexp
		group int
		check scan.Validator
		allow []string
	}
	var res []rule
	for i := range s.rules {
		r := &s.rules[i]
		pat := r.Pattern
		if r.Phrase != "" {
			pat = `\b` + strings.ReplaceAll(regexp.QuoteMeta(r.Phrase), " ", `[ \t\r\n]{1,16}`) + `\b`
		}
		if r.Fold {
			pat = "(?i)" + pat
		}
		re := regexp.MustCompile(pat)
		re.Longest()
		res = append(res, rule{re, r.Group, r.Validator, r.Allow})
	}
	count := func() int {
		n := 0
		for i := range res {
			for _, m := range res[i].FindAllSubmatchIndex(text, -1) {
				w := text[m[2*res[i].group]:m[2*res[i].group+1]]
				if res[i].check.OK(w) && !slices.Contains(res[i].allow, string(w)) {
					n++
				}
			}
		}
		return n
	}
	x := &scanner{t: s.hold}
	x.run(text, chunkSize)
	if got := count(); got != x.count || got == 0 {
		b.Fatalf("regexp finds %d matches, the engine %d", got, x.count)
	}
	var r ratios
	var ns float64
	for b.Loop() {
		slow := timed(func() { count() })
		fast := timed(func() { x.run(text, chunkSize) })
		r, ns = append(r, slow/fast), ns+slow/float64(len(text))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(r.median(), "x-regexp")
	b.ReportMetric(ns/float64(len(r)), "regexp-ns/B")
}

// hostile texts come near a match of every class of rules again and again, and have none.
var hostile = []sample{
	{"digits", "1 2 3 4 5 6 7 8 9 0 "},
	{"cards", "4111 1111 1111 1112 "},
	{"phones", "+1 (555) 0-9 "},
	{"ibans", "AB12 CD34 EF56 "},
	{"ibans-whole", "GB82 WEST 1234 5698 7654 31 "},
	{"national", "000-12-3456 666-12-3456 "},
	{"mail", "a@b.c-"},
	{"mail-long", "first.last.first.last@sub_domain "},
	{"addresses", ".1.2.3.4.5.6.7.8"},
	{"dates", "12/12/12-12/12/12 "},
	{"triggers", "ghp_AKIAsk-xoxb-glpat-eyJ"},
	{"triggers-spaced", "ghp_ AKIA sk-live_ xoxb- glpat- eyJ npm_ "},
	{"keys", "AKIAIOSFODNN7EXAMPL ghp_0123456789abcdef "},
	{"assignments", `api_key = "short": `},
	{"token", "aB3xK9mQ7zT5vW1yR4nL8pC6"},
	{"phrases", "operation new small keep every operation old good "},
	{"dots", ". . . - - _ _ : : "},
	{"wide", "４１１１ аbс "},
}

// matching texts are matches throughout.
var matching = []sample{
	{"m-phones", "+1 (555) 010-99 "},
	{"m-mail", "first.last.first.last@sub-domain."},
	{"m-assignments", `api_key = "secret_token": `},
}

type sample struct{ name, unit string }

func (s sample) text() []byte { return []byte(strings.Repeat(s.unit, hostileSize/len(s.unit))) }

// stubborn texts once cost thousands of table passes: pieces of examples of the rulebook, repeated. The last ones
// have more matches under way than a State has room for, which are found again at each piece: they are for long
// pieces.
var stubborn = []struct {
	unit string
	size int
}{
	{"sk-T3BlbkFJaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-", chunkSize},
	{"046-4", chunkSize},
	{"6-454-286-", chunkSize},
	{"bf5968cc-acc7-acc7-acc7-6a3751f5f486-", chunkSize},
	{"046-454-286-", hostileSize},
	{"eyJrIjoiQZfBBdZ782u7zf4kvvHzv9J6vYQm2H9RQkJQQ9R7dJBBHR44z3JZ0XP0vddY4Zu1uJg13491Pd1w8P9-", hostileSize},
}

// scanHostile: near-matches of every rule class, and texts of nothing but matches, per byte, against English.
func scanHostile(b *testing.B) {
	s := get(b)
	english := []byte(English(hostileSize, 2))
	x := &scanner{t: s.hold}
	type text struct {
		sample
		bytes []byte
		count int
		r     rounds // in pieces
		whole ratios // in one
	}
	var texts []*text
	for _, h := range slices.Concat(hostile, matching) {
		t := &text{sample: h, bytes: h.text()}
		x.run(t.bytes, len(t.bytes))
		if t.count = x.count; (t.count > 0) != slices.Contains(matching, h) {
			b.Fatalf("%s has %d matches", h.name, t.count)
		}
		texts = append(texts, t)
	}
	beside := func(t *text, size int) (ratio, probes float64) {
		p0 := probe()
		ref := timed(func() { x.run(english, size) }) / float64(len(english))
		p1 := probe()
		a := timed(func() { x.run(t.bytes, size) }) / float64(len(t.bytes))
		p2 := probe()
		if x.count != t.count {
			b.Fatalf("%s: %d matches in pieces of %d bytes, %d in one", t.name, x.count, size, t.count)
		}
		return a / ref, max(p0, p1, p2)
	}
	for b.Loop() {
		for _, t := range texts {
			t.r.add(beside(t, chunkSize))
			r, _ := beside(t, hostileSize)
			t.whole = append(t.whole, r)
		}
	}
	b.ReportMetric(0, "ns/op")
	near, whole, full, alone, some := 0.0, 0.0, 0.0, 0.0, true
	for _, t := range texts {
		m, w := t.r.median(), t.whole.median()
		if t.count > 0 {
			full = max(full, m)
		} else {
			near, whole = max(near, m), max(whole, w)
			if a := t.r.alone(); len(a) >= aloneRounds {
				alone = max(alone, a.median())
			} else {
				some = false
			}
		}
		b.ReportMetric(m, "x-"+t.name)
		b.Logf("%-16s x%.2f of English per byte in pieces, x%.2f in one, %d matches", t.name, m, w, t.count)
	}
	b.ReportMetric(near, "x-hostile")
	if some {
		b.ReportMetric(alone, "alone-x-hostile")
	}
	b.ReportMetric(whole, "x-hostile-whole")
	b.ReportMetric(full, "x-matches")
}

// TestScanFiguresStayInBounds catches a change of the order of cost, not of a few percent: the least of several
// rounds of CPU time, in ratios to a pass that ran beside it, with room for a noisy machine.
func TestScanFiguresStayInBounds(t *testing.T) {
	if testing.Short() || invariant.Race || invariant.Enabled {
		t.Skip("figures are taken from plain, whole runs")
	}
	s := get(t)
	if s.report.TableBytes > 6_500_000 || s.report.StateBytes > 128 {
		t.Errorf("%d bytes of tables, %d of state; at most 6.5 MB and 128", s.report.TableBytes, s.report.StateBytes)
	}
	x, p := &scanner{t: s.hold}, newPass()
	least := func(text []byte, size int) float64 {
		best := math.Inf(1)
		for range 5 {
			ref := timed(func() { p.run(text, size) })
			best = min(best, timed(func() { x.run(text, size) })/ref)
		}
		return best
	}
	english := []byte(English(hostileSize, 2))
	pieces, whole := least(english, chunkSize), least(english, len(english))
	if pieces > 12 || whole > 7 {
		t.Errorf("English costs %.1f table passes in pieces, %.1f whole; at most 12 and 7", pieces, whole)
	}
	for _, h := range slices.Concat(hostile, matching) {
		for _, size := range []int{chunkSize, hostileSize} {
			if r := least(h.text(), size); r > 120 {
				t.Errorf("%s in pieces of %d costs %.0f table passes; at most 120", h.name, size, r)
			}
		}
	}
	for _, h := range stubborn {
		text := []byte(strings.Repeat(h.unit, hostileSize/len(h.unit)))
		if r := least(text, h.size); r > 400 {
			t.Errorf("%q in pieces of %d costs %.0f table passes; at most 400", h.unit, h.size, r)
		}
	}
}
