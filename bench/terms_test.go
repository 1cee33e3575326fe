package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keeptrusts/kt/pipeline/scan"
)

// The figures of long lists of terms, exact and fuzzy: go test -run '^$' -bench Terms ./bench
//
// The rules are what the kinds with fuzzy_matching declare. Rounds, ratios and "a pass" are those of the scan
// figures: x-table is at 20-byte pieces, x-table-whole with all of the text in one call, x-hostile the worst of
// the hostile texts per byte against English.

const termsText = 256 << 10

// names gives n different made-up names of people and companies of one to four words. As in real lists, many
// share a word, and some of the words are short or common.
func names(n int, seed uint64) []string {
	r := random(seed*2 + 1)
	onset := strings.Fields("b d f g h j k l m n p r s t v z sh kh gr tr br al st ch w y")
	vowel := strings.Fields("a e i o u a e i ai ou")
	coda := strings.Fields("- - - n r l s m d k t rd nt")
	word := func() string {
		var b strings.Builder
		for k := 1 + r.below(2) + r.below(3); k > 0; k-- {
			b.WriteString(onset[r.below(len(onset))] + vowel[r.below(len(vowel))] + strings.Trim(coda[r.below(len(coda))], "-"))
		}
		return b.String()
	}
	var words []string
	for range n/2 + 30 {
		words = append(words, word())
	}
	first := strings.Fields("al abu the bank general national new united")
	last := strings.Fields("trading company ltd bank shipping group limited industries")
	seen := map[string]bool{}
	var out []string
	for len(out) < n {
		var w []string
		if r.chance(25) {
			w = append(w, first[r.below(len(first))])
		}
		for k := 1 + r.below(3); k > 0; k-- {
			if r.chance(40) {
				w = append(w, word())
			} else {
				w = append(w, r.pick(words))
			}
		}
		if r.chance(25) {
			w = append(w, last[r.below(len(last))])
		}
		name := strings.Join(w, " ")
		if len(name) >= 5 && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// misspelt gives name with so many letters of its longest word changed to ones that no name has.
func misspelt(name string, edits int) string {
	words := strings.Fields(name)
	long := slices.MaxFunc(words, func(a, b string) int { return len(a) - len(b) })
	b := []byte(name)
	for at, step := strings.Index(name, long), max(1, len(long)/(edits+1)); edits > 0; edits-- {
		b[at+min(edits*step, len(long)-1)] = 'q'
	}
	return string(b)
}

// termRules are the rules of a list.
func termRules(list []string, dist int) []scan.Rule {
	var rules []scan.Rule
	for i, n := range list {
		d := 0
		for w := range strings.FieldsSeq(n) {
			d = max(d, min(dist, (len(w)-1)/2))
		}
		rules = append(rules, scan.Rule{ID: fmt.Sprint(i), Phrase: n, Distance: d, Half: d > 0, Fold: true, View: scan.Normalised, Span: true})
	}
	return rules
}

// hostileTerms are texts that make work for a list.
func hostileTerms(list []string, dist int) map[string]string {
	var far, firsts, beyond []string
	for i := range 2000 {
		n := list[i*7%len(list)]
		far = append(far, misspelt(n, dist+1))
		firsts = append(firsts, strings.Fields(n)[0])
		beyond = append(beyond, strings.NewReplacer("a", "ä", "o", "ø", "e", "é").Replace(misspelt(n, 1)))
	}
	join := func(w []string) string { return strings.Join(w, " ") + " " }
	return map[string]string{
		"giant word":       "abcdefghijklmnopqrstuvwxyz",
		"one-letter words": "a b c d e f g h i j k l m n o p q r s t u v w x y z ",
		"two-letter words": "al ab an ar as at ba be da de ",
		"just too far":     join(far),
		"first words":      join(firsts),
		"long words":       "bankgeneralnationalunitedtradingcompanyshipping alindustriesgrouplimitedbanktradingnewunited ",
		"beyond ASCII":     join(beyond),
		"Cyrillic":         "быстрая коричневая лиса прыгает через ленивую собаку ",
		"signs":            "-.-,-;-a-.-,-;-",
	}
}

func BenchmarkTerms(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		for _, dist := range []int{0, 1, 2, 3, 8} {
			if dist > 2 && n < 10000 {
				continue
			}
			b.Run(fmt.Sprintf("%d/d%d", n, dist), func(b *testing.B) { terms(b, n, dist) })
		}
	}
}

func terms(b *testing.B, n, dist int) {
	list := names(n, 3)
	begin := time.Now()
	t, rep, err := scan.Build(termRules(list, dist), scan.Options{})
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)

	size := termsText
	if testing.Short() {
		size /= 16
	}
	base := English(size, 4)
	var text []byte
	planted := map[int64]bool{}
	for i, at := 0, 0; at < len(base); i++ {
		end := runeStart([]byte(base), at+perHit)
		text = append(append(text, base[at:end]...), "\nthey met "...)
		name := list[(i*37)%len(list)]
		edits := 0
		for w := range strings.FieldsSeq(name) {
			edits = max(edits, min(dist, 2, (len(w)-1)/2))
		}
		text = append(text, misspelt(name, edits)...)
		planted[int64(len(text))] = true
		text = append(text, ", again\n"...)
		at = end
	}
	x := &scanner{t: t, seen: func(m scan.Match) { delete(planted, m.End) }}
	x.run(text, len(text))
	if len(planted) > 0 || x.over {
		b.Fatalf("%d planted names were not found (overflow %t)", len(planted), x.over)
	}
	matches := x.count
	x.seen = nil

	p := newPass()
	want := p.slow(text)
	english := []byte(base[:min(hostileSize, len(base))])
	type bad struct {
		name  string
		text  []byte
		count int
		over  bool
		r     ratios
	}
	var all []*bad
	for name, unit := range hostileTerms(list, dist) {
		h := &bad{name: name, text: []byte(strings.Repeat(unit, len(english)/len(unit)+1)[:len(english)])}
		x.run(h.text, len(h.text))
		h.count, h.over = x.count, x.over
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *bad) int { return strings.Compare(a.name, b.name) })
	var pieces, whole ratios
	round := func() {
		ref := timed(func() {
			if p.run(text, chunkSize) != want {
				b.Fatal("the pass counts wrong")
			}
		})
		pieces = append(pieces, timed(func() { x.run(text, chunkSize) })/ref)
		if x.count != matches {
			b.Fatalf("%d matches at %d bytes, %d in one piece", x.count, chunkSize, matches)
		}
		whole = append(whole, timed(func() { x.run(text, len(text)) })/ref)
		if x.count != matches {
			b.Fatalf("%d matches, want %d", x.count, matches)
		}
		eng := timed(func() { x.run(english, chunkSize) }) / float64(len(english))
		for _, h := range all {
			h.r = append(h.r, timed(func() { x.run(h.text, chunkSize) })/float64(len(h.text))/eng)
			if x.count != h.count && !x.over && !h.over {
				b.Fatalf("%s: %d matches at %d bytes, %d in one piece", h.name, x.count, chunkSize, h.count)
			}
		}
	}
	for b.Loop() {
		round()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(pieces.median(), "x-table")
	b.ReportMetric(whole.median(), "x-table-whole")
	worst := slices.MaxFunc(all, func(a, b *bad) int {
		if a.r.median() < b.r.median() {
			return -1
		}
		return 1
	})
	b.ReportMetric(worst.r.median(), "x-hostile")
	b.ReportMetric(testing.AllocsPerRun(1, func() { x.run(text[:len(text)/4], chunkSize) })/float64(len(text)/4/chunkSize), "allocs")
	b.ReportMetric(took.Seconds(), "build-s")
	b.ReportMetric(float64(rep.TableBytes), "table-bytes")
	b.ReportMetric(float64(matches), "matches")
	for _, h := range all {
		b.Logf("%-16s x%.2f of English per byte, %d matches (overflow %t)", h.name, h.r.median(), h.count, h.over)
	}
}
