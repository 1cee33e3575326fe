package scan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/keeptrusts/kt/internal/invariant"
)

// reference is a set like the one of the figures: identifiers, secret formats and phrases.
func reference() []Rule {
	pii := []string{
		`\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}\b`, `\b\d{3}-\d{2}-\d{4}\b`, `\b\d(?:[ -]?\d){12,18}\b`,
		`\b(?:\d{1,3}\.){3}\d{1,3}\b`, `\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b`, `\+\d{1,3}[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){2,4}\b`,
		`\(?\b[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}\b`, `\b[A-Z]{5}\d{4}[A-Z]\b`, `\b[A-Z]\d{7}[A-Z]\b`, `\b\d{4} \d{4} \d{4}\b`, `\b\d{2}/\d{2}/\d{4}\b`,
		`\b(?:19|20)\d{2}-\d{2}-\d{2}\b`, `\b[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]\b`, `\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b`, `\b[A-Z]{2}\d{6}[A-D]\b`,
		`\b\d{3} \d{3} \d{4}\b`, `\b\d{8}[A-Z]\b`, `\b[XYZ]\d{7}[A-Z]\b`, `\b\d{11}\b`, `\b\d{3}\.\d{3}\.\d{3}-\d{2}\b`, `\b\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}\b`,
		`\b[A-HJ-NPR-Z0-9]{17}\b`, `\b[A-Z]{1,2}\d{6}\([0-9A]\)`, `\b\d{6}-\d{7}\b`, `\b\d{6}[-+A]\d{3}[0-9A-Z]\b`, `\b[13][a-km-zA-HJ-NP-Z1-9]{25,34}\b`,
		`\b0x[0-9a-fA-F]{40}\b`, `\bMRN[: ]{1,2}\d{6,10}\b`, `\b[A-Z]\d{8}\b`, `\b\d{9}\b`, `\b\d{2}-\d{7}\b`, `\b[A-Z]{3}\d{9}\b`, `\b\d{5}-\d{4}\b`,
		`\b[A-Z]\d[A-Z] ?\d[A-Z]\d\b`, `\b[A-Z]{1,2}\d[A-Z0-9]? \d[A-Z]{2}\b`, `\b756\.\d{4}\.\d{4}\.\d{2}\b`, `\b[12]\d{2}(?:0[1-9]|1[0-2])\d{10}\b`,
		`\b[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d\b`, `\b(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}\b`, `\bDOB[: ]{1,2}\d{2}/\d{2}/\d{2,4}\b`,
	}
	var rules []Rule
	for i, p := range pii {
		rules = append(rules, Rule{ID: fmt.Sprint("pii", i), Pattern: p, Span: true})
	}
	for i := range 150 {
		name := word(uint64(i) + 9000)
		p := fmt.Sprintf(`\b%s_[A-Za-z0-9]{%d}\b`, name, 20+i%21)
		switch i % 3 {
		case 1:
			p = fmt.Sprintf(`\b%s-[0-9a-f]{8}-[A-Za-z0-9_-]{%d,%d}`, name, 16+i%7, 40+i%30)
		case 2:
			p = fmt.Sprintf(`(?i)%s[\w.-]{0,20}["' ]{0,3}(?:=|:|=>)["' ]{0,3}([0-9a-z]{%d})(?:[^0-9a-z]|$)`, name, 24+i%17)
		}
		r := Rule{ID: fmt.Sprint("secret", i), Pattern: p, Span: true}
		if i%3 == 2 {
			r.Group = 1
		}
		rules = append(rules, r)
	}
	for i := range 2000 {
		p := word(uint64(3*i)) + " " + word(uint64(3*i+1))
		if i%3 == 0 {
			p += " " + word(uint64(3*i+2))
		}
		rules = append(rules, Rule{ID: fmt.Sprint("phrase", i), Phrase: p, Fold: true, View: Normalised})
	}
	return rules
}

// word is a made-up word, the same for the same number.
func word(n uint64) string {
	r := rand.New(rand.NewPCG(n, 1))
	var b strings.Builder
	for range 2 + r.IntN(2) {
		b.WriteByte("bcdfghklmnprstvw"[r.IntN(16)])
		b.WriteByte("aeiou"[r.IntN(5)])
	}
	b.WriteByte("nrst"[r.IntN(4)])
	return b.String()
}

// english is text with the word lengths and the punctuation of English, and some hits.
func english(n int) []byte {
	common := strings.Fields("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were her all she there would their we him been has when who will more no if out so said what up its about into than them can only other new some could time these two may then do first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because each just those people mister how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three")
	r := rand.New(rand.NewPCG(5, 6))
	var b []byte
	for len(b) < n {
		w := common[r.IntN(len(common))]
		if r.IntN(9) == 0 {
			w = word(uint64(20000 + r.IntN(4000)))
		}
		switch r.IntN(400) {
		case 0:
			w = fmt.Sprint(r.IntN(3000))
		case 1:
			w = strings.ToUpper(w)
		case 2:
			w = "mail " + word(uint64(r.IntN(99))) + "@example.com"
		}
		b = append(b, w...)
		switch r.IntN(12) {
		case 0:
			b = append(b, ", "...)
		case 1:
			b = append(b, ". "...)
		default:
			b = append(b, ' ')
		}
	}
	return b[:n]
}

func TestStateIsAtMost128Bytes(t *testing.T) {
	if n := unsafe.Sizeof(State{}); n > 128 {
		t.Errorf("State has %d bytes", n)
	}
}

func TestReferenceSetFitsItsBudgetAndBuildsTheSameTwice(t *testing.T) {
	rules := reference()
	tb, rep, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.TableBytes > 6_500_000 {
		t.Errorf("%d bytes of tables\n%s", rep.TableBytes, Explain(tb))
	}
	b := tb.AppendBinary(nil)
	if len(b) > rep.TableBytes*11/10+1<<20 {
		t.Errorf("the binary form has %d bytes, the report says %d", len(b), rep.TableBytes)
	}
	again, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.AppendBinary(nil), b) {
		t.Error("two builds differ")
	}
	loaded, err := Load(b)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(loaded.AppendBinary(nil), b) {
		t.Error("a round trip changes the binary form")
	}
	text := string(english(20000))
	one, two := feedAll(t, tb, text, 20), feedAll(t, loaded, text, 4096)
	if !slices.Equal(one, two) || len(one) == 0 {
		t.Errorf("%d matches in pieces of 20 bytes, %d whole from loaded tables", len(one), len(two))
	}
	t.Logf("%d bytes, %d matches\n%s", rep.TableBytes, len(one), Explain(tb))
}

func feedAll(t *testing.T, tb *Tables, text string, piece int) []Match {
	t.Helper()
	var s State
	s.Reset(^uint64(0))
	var cuts []int
	for i := piece; i < len(text); i += piece {
		cuts = append(cuts, i)
	}
	var all []Match
	for _, e := range drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(&s, w, n, end, out) }, text, cuts, 0) {
		all = append(all, e.m...)
	}
	return all
}

func TestDamagedTablesAreRefusedOrHarmless(t *testing.T) {
	rules := append(slices.Clone(pool[:32:32]), Rule{Phrase: "fuzzy term", Distance: 2, Fold: true})
	for i := range rules {
		rules[i].ID = fmt.Sprint(i)
	}
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := tb.AppendBinary(nil)
	for n := range 200 {
		if _, err := Load(b[:len(b)*n/200]); err == nil {
			t.Fatalf("tables cut to %d of %d bytes were accepted", len(b)*n/200, len(b))
		}
	}
	r := rand.New(rand.NewPCG(8, 9))
	text := randomText(r, 400, false)
	for range 400 {
		c := slices.Clone(b)
		for range 1 + r.IntN(3) {
			c[len(tableMagic)+r.IntN(len(c)-len(tableMagic))] = byte(r.IntN(256))
		}
		if bad, err := Load(c); err == nil { // the change is not seen, but nothing may go out of bounds
			var s State
			s.Reset(^uint64(0))
			var out Matches
			for i := 0; i < len(text); {
				fed, _ := bad.Feed(&s, []byte(text), i, true, &out)
				i += max(fed, 1)
				out.Clear()
				break
			}
		}
	}
}

func TestAUsedAndResetStateEqualsAFreshOne(t *testing.T) {
	rules := pick(rand.New(rand.NewPCG(1, 1)), 8)
	tb, _, err := Build(rules, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var s State
	s.Reset(3)
	var out Matches
	tb.Feed(&s, []byte("abc ab  cab é"), 0, false, &out)
	s.Reset(^uint64(0))
	var fresh State
	fresh.Reset(^uint64(0))
	if s != fresh {
		t.Errorf("%+v", s)
	}
}

// A channel that goes on after an end has another end, at which words end too.
func TestAChannelMayEndTwice(t *testing.T) {
	tb, _, err := Build([]Rule{
		{ID: "term", Phrase: "bluefin", Fold: true, View: Normalised, Span: true},
		{ID: "mail", Pattern: `\b[a-z]+@[a-z]+\.[a-z]{2,}\b`, Span: true},
		{ID: "open", Pattern: `\bpin\b`},
		{ID: "key", Pattern: `\bkey-[a-z]{4,}\b`, Span: true},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, last := range []string{"a bluefin", "to a@b.org", "the pin", "a key-abcd", "é bluefin", "bluefin", "bluefin ends", "a@b.org", "pin", "key-abcd"} {
		for size := 1; size <= len(last); size++ {
			var s State
			s.Reset(^uint64(0))
			var out Matches
			tb.Feed(&s, []byte("ends in pi"), 0, true, &out)
			if out.Len() != 0 {
				t.Fatalf("%d matches in front", out.Len())
			}
			for n, free := 0, 0; n < len(last); { // nothing is dropped but what is free
				to := min(len(last), n+size)
				fed, keep := tb.Feed(&s, []byte(last[free:to]), n-free, to == len(last), &out)
				n, free = n+fed, free+keep
			}
			if out.Len() != 1 {
				t.Errorf("%q in pieces of %d: %d matches", last, size, out.Len())
			}
		}
	}
}

func TestMaskedMatchesAreDropped(t *testing.T) {
	tb, _, err := Build([]Rule{{ID: "a", Phrase: "red", Span: true, Policy: 4}, {ID: "b", Phrase: "red", Policy: 5}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for mask, want := range map[uint64]int{0: 0, 1 << 4: 1, 1 << 5: 1, 3 << 4: 2} {
		var s State
		s.Reset(mask)
		var out Matches
		if tb.Feed(&s, []byte("a red car"), 0, true, &out); out.Len() != want {
			t.Errorf("mask %b: %d matches", mask, out.Len())
		}
	}
}

func TestMoreMatchesThanFitComeInSeveralCalls(t *testing.T) {
	tb, _, err := Build([]Rule{{ID: "d", Pattern: `\d`, Span: true}, {ID: "w", Pattern: `\d`}, {ID: "p", Phrase: "7", Span: true}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("7 ", 3000)
	got := feedAll(t, tb, text, len(text))
	if len(got) != 9000 {
		t.Fatalf("%d matches", len(got))
	}
	if !slices.IsSortedFunc(got, func(a, b Match) int {
		if a.End != b.End {
			return int(a.End - b.End)
		}
		return int(a.Start - b.Start)
	}) {
		t.Error("out of order")
	}
}

func TestFeedAllocatesNothing(t *testing.T) {
	if testing.Short() || invariant.Race {
		t.Skip("builds the reference set; under the race detector pools drop what is put into them")
	}
	tb, _, err := Build(reference(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"english": english(4000),
		"hits":    []byte(strings.Repeat("mail a.b@example.com, 123-45-6789 or 4111 1111 1111 1111 ", 40)),
		"mixed":   []byte(strings.Repeat("naïve ｔｅｘｔ with 日本 and bob@ex.org ", 60)),
	} {
		var s State
		var out Matches
		if n := testing.AllocsPerRun(20, func() {
			s.Reset(^uint64(0))
			pass(tb, &s, text, 20, &out)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// pass feeds text in pieces and gives the number of matches and of bytes held after the pieces.
func pass(tb *Tables, s *State, text []byte, piece int, out *Matches) (matches, held int) {
	rel := 0
	for at := 0; at < len(text); {
		to := min(at+piece, len(text))
		fed, keep := tb.Feed(s, text[rel:to], at-rel, to == len(text), out)
		matches += out.Len()
		out.Clear()
		at += fed
		rel += keep
		held += at - rel
	}
	return matches, held
}

func BenchmarkScan(b *testing.B) {
	tb, _, err := Build(reference(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	lit := &tb.groups[0]
	for i := range tb.groups {
		if tb.groups[i].literal && len(tb.groups[i].next) > len(lit.next) {
			lit = &tb.groups[i]
		}
	}
	text := english(100_000)
	hostile := map[string]string{"digits": "1 2 3 4 ", "codes": "AB12 CD34 ", "mail": "a@b.c-"}
	b.Run("table-20", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		var q, sum uint32
		for range b.N {
			for i := 0; i < len(text); i += 20 {
				for _, c := range text[i:min(i+20, len(text))] {
					q = lit.land(lit.entry(q, byte(c)))
				}
				sum += q
			}
		}
		if sum == 1 {
			b.Fatal(sum)
		}
	})
	for _, piece := range []int{4, 20, 64, 100_000} {
		b.Run(fmt.Sprint("english-", piece), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var s State
			var out Matches
			held := 0
			for range b.N {
				s.Reset(^uint64(0))
				_, held = pass(tb, &s, text, piece, &out)
			}
			b.ReportMetric(float64(held)/float64(len(text)/piece), "held")
		})
	}
	for name, unit := range hostile {
		b.Run("hostile-"+name, func(b *testing.B) {
			text := []byte(strings.Repeat(unit, 20000/len(unit)))
			b.SetBytes(int64(len(text)))
			var s State
			var out Matches
			for range b.N {
				s.Reset(^uint64(0))
				pass(tb, &s, text, 20, &out)
			}
		})
	}
}

// Many matches in one piece are no reason to give a channel up, however many tables there are.
func TestManyMatchesInOnePieceAreAllGivenOut(t *testing.T) {
	more := []Rule{
		{ID: "mail", Pattern: `\b[a-z]+@[a-z]{2,}\b`, Span: true},
		{ID: "zebra", Phrase: "zebra", View: Normalised, Span: true},
		{ID: "hash", Pattern: `\b[a-z]+#[a-z]{2,}\b`, View: Normalised, Span: true},
		{ID: "open", Pattern: `q+u`},
	}
	for _, n := range []int{0, 1, 3, 4} {
		rules := slices.Clone(more[:n])
		for i := range 3 {
			rules = append(rules, Rule{ID: fmt.Sprint("foo", i), Phrase: "foo"})
		}
		tb, _, err := Build(rules, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			strings.Repeat("foo xxxxxx ", 300),
			strings.Repeat("foo xxxxxxxxxxx ", 16) + strings.Repeat("foo xxxxxxx ", 21) + "the end of it and a lot more",
		} {
			for _, size := range []int{256, len(text)} {
				if got := len(feedAll(t, tb, text, size)); got != 3*strings.Count(text, "foo") {
					t.Errorf("%d tables, pieces of %d bytes: %d matches, want %d", len(tb.groups), size, got, 3*strings.Count(text, "foo"))
				}
			}
		}
	}
}
