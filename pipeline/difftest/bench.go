package difftest

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/interp"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

// prose is what the benchmarks feed: plain text with one e-mail address in about 1,000 bytes.
const prose = "The gateway reads every answer while it flows and lets clean text pass without delay. Most of what a model writes is " +
	"ordinary prose: words, numbers such as 42 or 3.14, some punctuation, now and then a list. Only here and there stands " +
	"something that a policy cares about, and the cost of looking should not depend on that. A sentence may be short. " +
	"Another one may go on for quite a while, with clauses that follow each other, before it comes to its end at last. " +
	"Code appears as well: for i := 0; i < 10; i++ { fmt.Println(i) } and so do tables, headings and quotations. " +
	"Whoever needs more can write to jo.doe@example.org and will get an answer on the same day, or on the next one. " +
	"The rest of this text is here so that the rate of findings stays low, as it is in practice, and so that caches see " +
	"more than a few lines. It says nothing of importance, and it says it in the plainest words that could be found today. "

// Bench measures compiled and interpreted chains of each pack side by side.
func Bench(b *testing.B, packs []Pack) {
	for _, p := range packs {
		open := map[string]func() (pipeline.Chain, error){
			"compiled": p.Open,
			"interp":   func() (pipeline.Chain, error) { return interp.New(kindtest.Plan(b, p.Config)) },
		}
		for _, mode := range []string{"interp", "compiled"} {
			ch, err := open[mode]()
			if err != nil {
				b.Fatal(err)
			}
			b.Run(p.Name+"/chunk20/"+mode, func(b *testing.B) { benchChunks(b, ch) })
			b.Run(p.Name+"/request/"+mode, func(b *testing.B) { benchRequest(b, ch) })
			b.Run(p.Name+"/ready/"+mode, func(b *testing.B) {
				for b.Loop() {
					if _, err := open[mode](); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// benchChunks feeds an answer in chunks of 20 bytes; one operation is a chunk.
func benchChunks(b *testing.B, ch pipeline.Chain) {
	text := []byte(prose)
	var f pipeline.Findings
	var s pipeline.Session
	at, released, found := len(text), 0, 0
	b.ReportAllocs()
	for b.Loop() {
		if at+20 > len(text) {
			if s != nil {
				found = len(f.List)
				s.Close()
			}
			s = ch.Session(pipeline.OutputText, kindtest.Everything)
			f.Reset()
			at, released = 0, 0
		}
		released += s.Feed(text[released:at+20], at-released, false, &f)
		at += 20
	}
	if b.N > len(text) && ch.Scans(pipeline.OutputText, kindtest.Everything) && found != 1 {
		b.Fatalf("%d findings, want the one e-mail address", found)
	}
	b.ReportMetric(float64(ch.Info().StateBytes[pipeline.OutputText]), "session-bytes")
}

// benchRequest feeds a whole message of a request, ten times the prose; one operation is a request.
func benchRequest(b *testing.B, ch pipeline.Chain) {
	var text []byte
	for range 10 {
		text = append(text, prose...)
	}
	var f pipeline.Findings
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s := ch.Session(pipeline.InputText, kindtest.Everything)
		f.Reset()
		s.Feed(text, 0, true, &f)
		s.Close()
	}
	if len(f.List) != 10 {
		b.Fatalf("%d findings, want the e-mail address ten times", len(f.List))
	}
	b.ReportMetric(float64(ch.Info().StateBytes[pipeline.InputText]), "session-bytes")
}
