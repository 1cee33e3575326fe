package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/keeptrusts/kt/pipeline/kind/all"
	"github.com/keeptrusts/kt/pipeline/rulebook"
)

// kinds maps the types of the labelled sets to the entities that count as the same thing. A type that is not
// here cannot be found by patterns (names, organisations, free text places) and is reported as such.
var kinds = map[string][]string{
	"CREDIT_CARD":               {"CREDIT_CARD"},
	"EMAIL_ADDRESS":             {"EMAIL"},
	"PHONE_NUMBER":              {"PHONE"},
	"PHONE":                     {"PHONE"},
	"PH_MOBILE_NUMBER":          {"PHONE"},
	"US_SSN":                    {"SSN", "US_SSN"},
	"SOCIAL_SECURITY_NUMBER":    {"SSN", "US_SSN"},
	"IBAN_CODE":                 {"IBAN"},
	"IP_ADDRESS":                {"IP_ADDRESS"},
	"IP":                        {"IP_ADDRESS"},
	"MAC":                       {"MAC_ADDRESS"},
	"US_DRIVER_LICENSE":         {"DRIVER_LICENSE"},
	"FI_PERSONAL_IDENTITY_CODE": {"FI_HETU"},
	"KR_PASSPORT":               {"KR_PASSPORT", "PASSPORT"},
	"KR_FRN":                    {"KR_RRN"},
	"UK_VEHICLE_REGISTRATION":   {"UK_VEHICLE_REGISTRATION"},
	"UK_DRIVING_LICENCE":        {"UK_DRIVING_LICENCE"},
	"IN_AADHAAR":                {"IN_AADHAAR"},
	"IN_PAN":                    {"IN_PAN"},
	"IN_GSTIN":                  {"IN_GSTIN"},
	"IN_PASSPORT":               {"IN_PASSPORT", "PASSPORT"},
	"DE_ID_CARD":                {"DE_ID_CARD"},
	"DE_PASSPORT":               {"DE_ID_CARD", "PASSPORT"},
	"DE_HEALTH_INSURANCE":       {"DE_HEALTH_INSURANCE"},
	"SG_FIN":                    {"SG_NRIC"},
	"SG_UEN":                    {"SG_UEN"},
	"ES_NIE":                    {"ES_NIE", "ES_DNI"},
	"ES_NIF":                    {"ES_DNI"},
	"US_NPI":                    {"US_NPI"},
	"US_MBI":                    {"US_MBI"},
	"SE_ORGANISATIONSNUMMER":    {"SE_ORGANISATION", "SE_PERSONNUMMER"},
	"IT_DRIVER_LICENSE":         {"IT_DRIVER_LICENSE"},
	"IT_FISCAL_CODE":            {"IT_FISCAL_CODE"},
	"IT_IDENTITY_CARD":          {"IT_ID_CARD"},
	"US_PASSPORT":               {"US_PASSPORT", "PASSPORT"},
	"ABA_ROUTING":               {"US_ABA_ROUTING"},
	"AU_ACN":                    {"AU_ACN"},
	"AU_ABN":                    {"AU_ABN"},
	"AU_MEDICARE":               {"AU_MEDICARE"},
	"IT_PASSPORT":               {"PASSPORT"},
	"DATE_TIME":                 {"DATE_OF_BIRTH", "DATE"},
	// phi only
	"DATE":                           {"DATE", "DATE_OF_BIRTH"},
	"MEDICAL_RECORD_NUMBER":          {"MRN", "UNIQUE_ID"},
	"HEALTH_PLAN_BENEFICIARY_NUMBER": {"HEALTH_PLAN", "US_MBI", "US_HICN"},
	"UNIQUE_IDENTIFIER":              {"UNIQUE_ID", "MRN"},
	"CERTIFICATE_LICENSE_NUMBER":     {"LICENSE", "DRIVER_LICENSE"},
	"ACCOUNT_NUMBER":                 {"ACCOUNT", "BANK_ACCOUNT"},
	"NAME":                           {"NAME"},
	"GEOGRAPHIC_LOCATION":            {"PLACE", "ADDRESS", "ZIP_CODE"},
}

// piiOnly: these types are mapped for phi, but pii-detector does not look for them.
var piiOnly = []string{"NAME", "GEOGRAPHIC_LOCATION", "DATE"}

// spansOf scores spans by type: a labelled span is found when a finding of a matching entity shares at least
// half of the shorter of the two; a finding that shares text with no labelled span at all is a false alarm of
// its entity; one that lies on a labelled span of another type is counted as confused, and as a false alarm.
func (e *evaluation) spansOf(set string, d detector, rs []row, skip []string) {
	type count struct{ tp, fn, fp, other int }
	by := map[string]*count{}
	get := func(k string) *count {
		if by[k] == nil {
			by[k] = &count{}
		}
		return by[k]
	}
	var all count
	bytes := 0
	var took time.Duration
	unmapped := map[string]int{}
	entityType := map[string]string{}
	here := map[string]bool{}
	for _, r := range rs {
		for _, s := range r.Spans {
			here[s.kind] = true
		}
	}
	for _, t := range sortedKeys(kinds) {
		for _, en := range kinds[t] {
			if entityType[en] == "" && here[t] && !slices.Contains(skip, t) {
				entityType[en] = t
			}
		}
	}
	for _, r := range rs {
		text := []byte(r.Text)
		begin := time.Now()
		hits := d.find(text)
		took += time.Since(begin)
		bytes += len(text)
		for _, s := range r.Spans {
			want := kinds[s.kind]
			if want == nil || slices.Contains(skip, s.kind) {
				unmapped[s.kind]++
				continue
			}
			if slices.ContainsFunc(hits, func(h hit) bool {
				return slices.Contains(want, h.entity) && overlap(s.start, s.end, h.start, h.end)
			}) {
				get(s.kind).tp++
				all.tp++
			} else {
				get(s.kind).fn++
				all.fn++
				if e.misses {
					fmt.Fprintf(e.out, "  missed %s %s %d-%d\n", r.ID, s.kind, s.start, s.end)
				}
			}
		}
		if r.Label == 1 && len(r.Spans) == 0 {
			continue // it ought to be found, but nobody says where
		}
		var seen []hit
		for _, h := range hits {
			right, on := false, false
			for _, s := range r.Spans {
				if min(s.end, h.end) > max(s.start, h.start) {
					on = true
					right = right || slices.Contains(kinds[s.kind], h.entity)
				}
			}
			dup := slices.ContainsFunc(seen, func(o hit) bool { return o.entity == h.entity && o.start < h.end && h.start < o.end })
			seen = append(seen, h)
			if right || dup {
				continue
			}
			k := entityType[h.entity]
			if k == "" {
				k = h.entity
			}
			get(k).fp++
			all.fp++
			if e.misses {
				fmt.Fprintf(e.out, "  false %s %s %d-%d\n", r.ID, h.entity, h.start, h.end)
			}
			if on {
				get(k).other++
				all.other++
			}
		}
	}
	fmt.Fprintf(e.out, "\n%s: spans by type (found; half of the shorter must be shared)\n", set)
	fmt.Fprintf(e.out, "%-34s %6s %8s %9s %7s %7s %9s\n", "type", "spans", "recall", "precision", "F1", "false", "confused")
	put := func(name string, c count) {
		fmt.Fprintf(e.out, "%-34s %6d %8s %9s %7s %7d %9d\n", name, c.tp+c.fn, ratio(c.tp, c.tp+c.fn), ratio(c.tp, c.tp+c.fp), f1(c.tp, c.fp, c.fn), c.fp, c.other)
	}
	for _, k := range sortedKeys(by) {
		put(k, *by[k])
	}
	put("all", all)
	if bytes > 0 {
		fmt.Fprintf(e.out, "ns per byte %.1f\n", float64(took.Nanoseconds())/float64(bytes))
	}
	fmt.Fprint(e.out, "not looked for by patterns:")
	for _, k := range sortedKeys(unmapped) {
		fmt.Fprintf(e.out, " %s %d;", k, unmapped[k])
	}
	fmt.Fprintln(e.out)
}

func (e *evaluation) pii() error {
	sets := e.sets("pii")
	if len(sets) == 0 {
		return nil
	}
	d, err := policy("pii-detector", "")
	if err != nil {
		return err
	}
	wide, err := entries(rulebook.WidePII())
	if err != nil {
		return err
	}
	for _, x := range []struct {
		what string
		d    detector
	}{{"pii-detector, defaults", d}, {"the rulebook with its wide and clinical entries", wide}} {
		if err := e.family(x.what+" (whole rows)", sets, x.d); err != nil {
			return err
		}
		for _, set := range sets {
			rs, err := e.read(set)
			if err != nil {
				return err
			}
			e.spansOf(set+", "+x.what, x.d, rs, piiOnly)
		}
	}
	return nil
}

func (e *evaluation) phi() error {
	sets := e.sets("phi")
	if len(sets) == 0 {
		return nil
	}
	var d detector
	var err error
	what := "hipaa-phi-detector, defaults"
	if _, ok := all.Kind("hipaa-phi-detector"); ok {
		d, err = policy("hipaa-phi-detector", "")
	} else {
		what = "rules of the HIPAA list (the kind is not built yet)"
		d, err = entries(rulebook.HIPAA())
	}
	if err != nil {
		return err
	}
	if err := e.family(what+" (whole rows)", sets, d); err != nil {
		return err
	}
	for _, set := range sets {
		rs, err := e.read(set)
		if err != nil {
			return err
		}
		e.spansOf(set+", "+what, d, rs, nil)
	}
	return nil
}
