package scan

import (
	"math/rand/v2"
	"testing"
	"unicode"
	"unicode/utf8"
)

// found tells whether the rules have a match in text, fed in pieces of n bytes.
func found(t *testing.T, tb *Tables, text string, n int) bool {
	t.Helper()
	var s State
	s.Reset(^uint64(0))
	var cuts []int
	for i := n; i < len(text); i += n {
		cuts = append(cuts, i)
	}
	for _, e := range drive(t, func(w []byte, n int, end bool, out *Matches) (int, int) { return tb.Feed(&s, w, n, end, out) }, text, cuts, 0) {
		if len(e.m) > 0 {
			return true
		}
	}
	return false
}

func TestMarksOnASCIIAreDropped(t *testing.T) {
	rules := []Rule{
		{ID: "phrase", Phrase: "ignore all previous instructions", Fold: true, View: Normalised},
		{ID: "pattern", Pattern: `(?i)\bpin: ?\d{4}-\d{4}\b`, View: Normalised},
		{ID: "near", Phrase: "grenade launcher", Distance: 1, Fold: true, View: Normalised},
	}
	tb, pt := builtTwice(t, rules)
	for _, text := range []string{
		"Ignore \u0301all \u0301previous instructions", "ignore\t\u0301\u0302all previous instructions", "i\u0301gnore all\u200b\u0301 previous instructions",
		"pin:\u0301 12\u030134-\u030156\u200b\u030178\u0301 ", "grenade \u0301launcher", "gren\u0301ade-\u0301launchar",
	} {
		foundInPieces(t, tb, pt, text)
	}
	for in, want := range map[string]string{"1\u0301 \u0301.\u200b\u0301a\u0301\n\u0301": "1 .a\n", "\u0301a": "\u0301a", "и\u0306": "и\u0306", "\xff\u0301": "\xff\u0301", "é\u0301ﬁ\u0301": "efi"} {
		if got := string(Normalise(nil, []byte(in))); got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
}

// A tag character shows nothing: one inside a word does not hide it, however the text is cut.
func TestTagCharactersAreDropped(t *testing.T) {
	tb, pt := builtTwice(t, []Rule{
		{ID: "phrase", Phrase: "ignore all previous", Fold: true, View: Normalised},
		{ID: "pattern", Pattern: `(?i)\bpin: ?\d{4}\b`, View: Normalised},
		{ID: "near", Phrase: "grenade launcher", Distance: 1, Fold: true, View: Normalised},
	})
	for _, text := range []string{"ig\U000E0061nore all\U000E0020 previous", "p\U000E007Ein: 1\U000E00312\U000E003134 ", "gren\U000E0061\U000E0062\U000E0063ade launchar"} {
		foundInPieces(t, tb, pt, text)
	}
	if got := string(Normalise(nil, []byte("a\U000E0001\U000E0041\U000E007F\U000E0301b"))); got != "ab" {
		t.Errorf("%q", got)
	}
}

// TestLettersThatLookAlike: each writes the same words with other letters, or with characters that show nothing among them.
func TestLettersThatLookAlike(t *testing.T) {
	for in, want := range map[string]string{
		"\u24a4\u24a2\u24a9\u24aa\u24ad\u24a0":                                              "ignore", // in parentheses
		"\U0001F118\U0001F116\U0001F11D\U0001F11E\U0001F121\U0001F114":                      "IGNORE",
		"\U0001D45D\U0001D45C\U0001D455\u210e \U0001D4BA\u212f":                             "pohh ee", // a mathematical alphabet, and its free places
		"ɨǥɳøɍɇ đƗ\u0301 ɑɛɩʊ ʉɄ ɓƙ":                                                        "ignore dI aeiu uU bk",
		"\u2c93\u2c9f\u2ca3\u2ca4 \ua4e7\ua4f3 \uab75\uaba9 \u13a2\u13a1":                   "iopC HO iv TR", // Coptic, Lisu, Cherokee
		"\u0585\u057d\u057c \u03c3\u03f9 \u050d\u0501":                                      "oun oC gd",
		"i\ufff9g\ufffan\ufffbo\ufffcr\uffffe\u0080\u009f \U00013430rules\u0085all\u2800or": "ignore rules all or",
		"\ufffd\u0d3e": "\ufffd\u0d3e",
	} {
		if got := string(Normalise(nil, []byte(in))); got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
}

// foundInPieces wants a match in text, cut into pieces of each size, and what the oracle says of it.
func foundInPieces(t *testing.T, tb *Tables, pt *plainTables, text string) {
	t.Helper()
	for n := 1; n <= len(text); n++ {
		if !found(t, tb, text, n) {
			t.Errorf("%q in pieces of %d bytes: not found", text, n)
		}
		var cuts []int
		for i := n; i < len(text); i += n {
			cuts = append(cuts, i)
		}
		if gaveUp, problem := compare(t, tb, pt, text, cuts, 1, 0); gaveUp || problem != "" {
			t.Errorf("gave up: %v\n%s", gaveUp, problem)
		}
	}
}

// TestMarksAreNotFolded: normRune looks at the folded forms first, and isMark knows ranges without marks.
func TestMarksAreNotFolded(t *testing.T) {
	pages := foldPages()
	for r := rune(utf8.RuneSelf); r <= utf8.MaxRune; r++ {
		mark := unicode.In(r, unicode.Mn, unicode.Me)
		if isMark(r) != mark {
			t.Fatalf("isMark(%U) is %t", r, !mark)
		}
		if p := pages[r>>8]; p != nil && p[r&255] != 0 && (mark || ignorable(r)) {
			t.Errorf("%U is folded, and a mark or ignorable", r)
		}
	}
}

func TestASCII(t *testing.T) {
	for n := range 100 {
		p := make([]byte, n)
		for at := -1; at < n; at++ {
			want := n
			if at >= 0 {
				p[at], want = 0x80, at
			}
			if got := asciiPrefix(p); got != want || isASCII(p) != (want == n) {
				t.Fatalf("%d bytes, one above 127 at %d: prefix %d, ASCII %t", n, at, got, isASCII(p))
			}
			if at >= 0 {
				p[at] = 'a'
			}
		}
	}
}

// Which character was kept last is the same looked at from behind.
func TestKeptASCIILooksFromBehind(t *testing.T) {
	pages := foldPages()
	r := rand.New(rand.NewPCG(7, 1))
	parts := []string{"a", " ", "é", "ａ", "\u0301", "\u200b", "\U000e0061", "中", "а", "\xff", "\xe2\x82", "\u05b0", "\ufffd", "😀"}
	for range 20000 {
		text, ascii := "", r.IntN(2) == 0
		for range r.IntN(7) {
			text += parts[r.IntN(len(parts))]
		}
		want := ascii
		var buf [4]byte
		for p := []byte(text); len(p) > 0; {
			c, size := utf8.DecodeRune(p)
			if c == utf8.RuneError && size == 1 {
				want = false
			} else {
				_, want = normRune(pages, c, want, &buf)
			}
			p = p[size:]
		}
		if got := keptASCII([]byte(text), ascii); got != want {
			t.Fatalf("%+q behind %t: %t, want %t", text, ascii, got, want)
		}
	}
}
