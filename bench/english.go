package bench

import (
	"math"
	"strconv"
	"strings"
)

// English gives about n bytes of made-up English prose and notes: sentences from a small grammar, words by
// falling frequency, with names, figures, dates, quotes and about 0.3 % of bytes beyond ASCII. The same seed
// gives the same text. It holds no personal data and no secret.
func English(n int, seed uint64) string {
	w := &writer{r: random(seed*2 + 1)}
	text := make([]byte, 0, n+4096)
	for len(text) < n {
		for k := 3 + w.r.below(5); k > 0; k-- {
			text = append(text, w.sentence()...)
			text = append(text, ' ')
		}
		text = append(text[:len(text)-1], "\n\n"...)
	}
	return string(text[:runeStart(text, n)])
}

// runeStart is the last rune border of s at or before n.
func runeStart(s []byte, n int) int {
	for n < len(s) && n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return min(n, len(s))
}

// random is a 64-bit linear congruential generator (Knuth's MMIX constants); its high bits are used.
type random uint64

func (r *random) next() uint64 {
	*r = *r*6364136223846793005 + 1442695040888963407
	return uint64(*r) >> 20
}

func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

func (r *random) chance(percent int) bool { return r.below(100) < percent }

// pick takes a word by Zipf's law: the k-th word about k times as seldom as the first.
func (r *random) pick(words []string) string {
	u := float64(r.next()%(1<<30)) / (1 << 30)
	return words[min(len(words)-1, int(math.Pow(float64(len(words)+1), u))-1)]
}

type writer struct {
	b []byte // the sentence
	r random
}

var (
	determiners  = strings.Fields("the a the the this its each their that our every one his another her some no")
	adjectives   = strings.Fields("new small long old good large early open local clear whole next short main high common simple heavy quiet public late cold useful narrow second careful steady bright modern northern distant empty rough plain formal weekly shared broken gentle remote annual minor dense central wooden curious patient silent hidden hollow brittle")
	nouns        = strings.Fields("time water report team road server house table river letter price engine winter office garden village market record window bridge signal morning request station field paper harvest committee valve account library boat project kitchen budget lock keeper train forest meeting student lamp schedule tunnel editor map battery orchard teacher harbour sensor contract museum ladder compiler wheel archive printer canal notebook chapel thread pump ferry courtyard telescope glacier windlass barley")
	plurals      = strings.Fields("people years days results parts hours tests gates words pages cars lines costs farmers letters engines boats numbers trees samples tools neighbours visitors figures measurements children towns errors tickets seeds rails cables ships clouds apprentices lanterns turbines sparrows")
	verbs        = strings.Fields("was is had made took found gave kept left moved opened closed needed showed held reached carried read changed built paid started turned ran passed called wrote stopped lifted repaired measured followed watched returned answered sold checked filled crossed borrowed delayed painted counted replaced inspected announced gathered weighed drained")
	plainVerbs   = strings.Fields("be have make take find keep leave move open close need show hold reach carry read change build pay start turn run pass call write stop lift repair measure follow watch return answer sell check fill cross wait borrow")
	adverbs      = strings.Fields("slowly again often early soon almost together twice quietly later carefully rarely mostly once usually nearly suddenly")
	prepositions = strings.Fields("of in to on for with at from by over near after under between before through without across behind during along")
	joins        = strings.Fields("and but because so while when although which if until since")
	openers      = []string{"However,", "In the end", "Later that year", "For example,", "At first", "By contrast,", "As before,", "Meanwhile", "In practice", "On most days", "Since then", "To be fair,"}
	people       = strings.Fields("Anna Thomas Maria James Ines Robert Clara Samuel Olga Henry Priya Walter Noor Felix Judith Karim Zoë René Søren Björn")
	surnames     = strings.Fields("Miller Hughes Weaver Novak Fischer Carter Lindqvist Moreau Okafor Tanaka Brandt Silva Doyle Petrov Müller Gómez Brontë Çelik")
	places       = strings.Fields("London Utrecht Bristol Leeds Lisbon Kraków Vienna Oslo Ghent Porto Aarhus Zürich Malmö Tallinn Verona")
	months       = strings.Fields("January February March April May June July August September October November December")
	units        = strings.Fields("km kg litres tonnes metres hours days pages boxes seats euros percent degrees")
	odd          = []string{"café", "naïve", "façade", "déjà vu", "20 °C", "3 × 4", "½ cup", "the £5 note", "a €20 fare"}
)

func (w *writer) word(s string) {
	if n := len(w.b); n > 0 && w.b[n-1] != '(' {
		w.b = append(w.b, ' ')
	}
	w.b = append(w.b, s...)
}

func (w *writer) sentence() []byte {
	w.b = w.b[:0]
	if w.r.chance(14) {
		w.word(w.r.pick(openers))
	}
	w.clause()
	if w.r.chance(38) {
		if w.r.chance(40) {
			w.b = append(w.b, ',')
		}
		w.word(w.r.pick(joins))
		w.clause()
	}
	if w.r.chance(7) {
		w.word("(")
		w.figure()
		w.b = append(w.b, ')')
	}
	if c := w.b[0]; c >= 'a' && c <= 'z' {
		w.b[0] = c - 'a' + 'A'
	}
	end := []string{".", ".", ".", ".", ".", ".", ".", "?", "!", ";", ":", " -"}[w.r.below(12)]
	switch {
	case w.r.chance(1):
		return []byte("“" + string(w.b) + ".”")
	case w.r.chance(3):
		return []byte("\"" + string(w.b) + ".\"")
	}
	return append(w.b, end...)
}

func (w *writer) clause() {
	w.subject()
	if w.r.chance(16) {
		w.word([]string{"can", "will", "could", "did not", "should", "must", "would", "may"}[w.r.below(8)])
		w.word(w.r.pick(plainVerbs))
	} else {
		w.word(w.r.pick(verbs))
	}
	if w.r.chance(24) {
		w.word(w.r.pick(adverbs))
	}
	if w.r.chance(70) {
		w.object()
	}
	for w.r.chance(45) {
		w.word(w.r.pick(prepositions))
		w.object()
	}
}

func (w *writer) subject() {
	switch k := w.r.below(20); {
	case k < 5:
		w.word(strings.Fields("it we they he she you I there")[w.r.below(8)])
	case k < 8:
		w.word(w.r.pick(people))
		if w.r.chance(40) {
			w.word(w.r.pick(surnames))
		}
	default:
		w.phrase()
	}
}

func (w *writer) object() {
	switch k := w.r.below(20); {
	case k < 2:
		w.word(w.r.pick(places))
	case k < 4:
		w.figure()
	case k == 4 && w.r.chance(8):
		w.word(w.r.pick(odd))
	case k < 7:
		w.word(w.r.pick(plurals))
	default:
		w.phrase()
	}
}

func (w *writer) phrase() {
	if w.r.chance(20) {
		w.word(w.r.pick([]string{"the", "these", "most", "many", "few", "those"}))
		if w.r.chance(30) {
			w.word(w.r.pick(adjectives))
		}
		w.word(w.r.pick(plurals))
		return
	}
	w.word(w.r.pick(determiners))
	for w.r.chance(32) {
		w.word(w.r.pick(adjectives))
	}
	w.word(w.r.pick(nouns))
}

func (w *writer) figure() {
	n := strconv.Itoa
	switch w.r.below(6) {
	case 0:
		w.word(n(1 + w.r.below(28)))
		w.word(w.r.pick(months))
		if w.r.chance(60) {
			w.word(n(1890 + w.r.below(135)))
		}
	case 1:
		w.word(n(6+w.r.below(16)) + ":" + n(10+w.r.below(50)))
	case 2:
		w.word(n(1+w.r.below(99)) + "," + n(100+w.r.below(900)))
		w.word(w.r.pick(units))
	case 3:
		w.word(n(w.r.below(90)) + "." + n(w.r.below(10)) + "%")
	case 4:
		w.word("section " + n(1+w.r.below(12)) + "." + n(1+w.r.below(9)))
	default:
		w.word(n(2 + w.r.below(400)))
		w.word(w.r.pick(units))
	}
}

// Phrases gives n different made-up phrases of two to four words: code names, projects and sayings.
func Phrases(n int, seed uint64) []string {
	r := random(seed*2 + 1)
	first := strings.Fields("operation project plan file unit task protocol order team programme")
	var out []string
	seen := map[string]bool{}
	for len(out) < n {
		a, b := adjectives[r.below(len(adjectives))], nouns[r.below(len(nouns))]
		var p string
		switch r.below(4) {
		case 0:
			p = first[r.below(len(first))] + " " + a + " " + b
		case 1:
			p = a + " " + b + " " + first[r.below(len(first))]
		case 2:
			p = people[r.below(16)] + " " + surnames[r.below(14)] + surnames[r.below(14)][:2]
		default:
			p = plainVerbs[r.below(len(plainVerbs))] + " every " + a + " " + b
		}
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}
