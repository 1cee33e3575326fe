package scan

type fuzzySet struct{}

func (f *fuzzySet) bytes() int { return 0 }

func (b *builder) addFuzzy(i int, c *compiled, r *rule, rr *RuleReport) error {
	return c.fail(c.Phrase, "is a fuzzy term", "not built yet")
}

func (w *writer) fuzzy(t *Tables) { w.num(len(t.fuzzy)) }

func (r *reader) fuzzy(t *Tables) { r.num(0) }
