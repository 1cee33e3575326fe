package pipeline_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

// counts feeds text to a channel of the chain in pieces that end at cuts and names what was counted.
func counts(c pipeline.Chain, text string, cuts ...int) string {
	var x pipeline.Exchange
	var f pipeline.Findings
	x.Begin(c, &pipeline.Facts{}, &f)
	s := c.Session(pipeline.InputText, x.Mask)
	defer s.Close()
	id := x.Channel()
	released, fed := 0, 0
	for _, to := range append(cuts, len(text)) {
		f.Reset()
		released += s.Feed([]byte(text[released:to]), fed-released, to == len(text), &f)
		fed = to
		for i := range f.List {
			x.Record(id, pipeline.InputText, &f.List[i])
		}
	}
	return named(c.Info(), x.Counts())
}

func named(info *pipeline.Info, list []pipeline.Count) string {
	var out []string
	for _, n := range list {
		out = append(out, fmt.Sprintf("%s %s %d", info.Entities[n.Entity].Name, n.Action, n.N))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// What an edit replaces counts once, under the entity that its marker names.
func TestOverlappingFindingsCountOnce(t *testing.T) {
	for config, texts := range map[string]map[string]string{
		"pii-detector": {
			"call +1 (415) 555-2671 now":                             "PHONE redact 1",
			"call +1 (415) 555-2671 or +1 (415) 555-2672":            "PHONE redact 2",
			"IBAN DE89 3704 0044 0532 0130 00 please":                "IBAN redact 1",
			"IBAN DE89 3704 0044 0532 0130 00, +1 415 555 2671.":     "IBAN redact 1, PHONE redact 1",
			"jo@example.org, jo@example.org and 4111 1111 1111 1111": "CREDIT_CARD redact 1, EMAIL redact 2",
			"nothing": "",
		},
		"pii-detector, block": {
			"call +1 (415) 555-2671 now":              "PHONE block 1",
			"IBAN DE89 3704 0044 0532 0130 00 please": "IBAN block 1",
		},
		"dlp-filter, pii-detector": { // each policy counts for itself
			"mail jo@example.org": "DLP_TERM redact 1, EMAIL redact 1",
		},
	} {
		chain, block := strings.CutSuffix(config, ", block")
		file := "policies: {chain: [" + chain + "]}\npolicy:\n  dlp-filter: {blocked_terms: [jo, jo@example]}\n"
		if block {
			file = "policies: {chain: [" + chain + "]}\npolicy:\n  pii-detector: {action: block}\n"
		}
		c := kindtest.Chain(t, file)
		for text, want := range texts {
			if got := counts(c, text); got != want {
				t.Errorf("%s: %q counts %s, want %s", config, text, got, want)
			}
			for cut := range len(text) {
				if got := counts(c, text, cut, min(cut+3, len(text)-1)); got != want {
					t.Errorf("%s: %q cut at %d counts %s, want %s", config, text, cut, got, want)
				}
			}
		}
	}
}

type entities struct{ info pipeline.Info }

func (c *entities) Info() *pipeline.Info                     { return &c.info }
func (c *entities) Scans(pipeline.Class, pipeline.Mask) bool { return true }
func (c *entities) Session(pipeline.Class, pipeline.Mask) pipeline.Session {
	return pipeline.NoSession{}
}

// The counts are those of the united edits of each policy, in whatever order the findings come and however the
// channels take turns.
func TestCountsAreThoseOfTheEdits(t *testing.T) {
	c := &entities{}
	c.info.Entities = pipeline.FixedEntities()
	for i := range 5 {
		c.info.Entities = append(c.info.Entities, pipeline.EntityInfo{Name: fmt.Sprint("E", i)})
	}
	type found struct {
		channel int32
		f       pipeline.Finding
	}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var list []found
		for range r.IntN(20) {
			start := r.Int64N(40)
			rule := uint32(r.IntN(5))
			list = append(list, found{int32(r.IntN(3)), pipeline.Finding{
				Start: start, End: start + 1 + r.Int64N(8), Rule: rule, Entity: pipeline.FirstEntity + uint16(rule),
				Policy: uint8(r.IntN(2)), Action: []pipeline.Action{pipeline.Redact, pipeline.Block, pipeline.Log}[r.IntN(3)],
			}})
		}
		count := func() string {
			var x pipeline.Exchange
			var scratch pipeline.Findings
			x.Begin(c, &pipeline.Facts{}, &scratch)
			for i := range list {
				x.Record(list[i].channel, pipeline.OutputText, &list[i].f)
			}
			return named(&c.info, x.Counts())
		}
		got := count()
		var n [3][5]int
		for channel := range int32(3) {
			for policy := range uint8(2) {
				for a, action := range []pipeline.Action{pipeline.Redact, pipeline.Block, pipeline.Log} {
					var of []pipeline.Finding
					for _, x := range list {
						if x.channel == channel && x.f.Policy == policy && x.f.Action == action {
							of = append(of, x.f)
						}
					}
					slices.SortFunc(of, func(a, b pipeline.Finding) int {
						return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End), cmp.Compare(a.Rule, b.Rule))
					})
					end := int64(-1)
					for _, f := range of {
						if action == pipeline.Log || f.Start >= end {
							n[a][f.Rule]++
						}
						end = max(end, f.End)
					}
				}
			}
		}
		var want []string
		for a, action := range []pipeline.Action{pipeline.Redact, pipeline.Block, pipeline.Log} {
			for e, k := range n[a] {
				if k > 0 {
					want = append(want, fmt.Sprintf("E%d %s %d", e, action, k))
				}
			}
		}
		slices.Sort(want)
		if w := strings.Join(want, ", "); got != w {
			t.Fatalf("seed %d: counted %s, want %s: %+v", seed, got, w, list)
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if again := count(); again != got {
			t.Fatalf("seed %d: counted %s, in another order %s: %+v", seed, got, again, list)
		}
	}
}
