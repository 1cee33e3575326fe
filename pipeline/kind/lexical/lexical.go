// Package lexical is every kind that is rules and an action only: dlp-filter, safety-filter,
// entity-list-filter, itar-ear-filter, dual-use-filter, mnpi-filter, legal-privilege, case-privacy and
// student-privacy. Their built-in lists stand in the rulebook; own terms and patterns are added to them.
//
// Terms are whole words or phrases, without regard to case, look-alike letters, invisible characters and the
// white space between words: the term "Iran" is not found in "Tirana". With fuzzy_matching each word of a term
// may differ by up to max_distance edits, but never by half of its letters or more; of the built-in lists only
// phrases of long words are read so. Own patterns are read as written, on the text as it came.
//
// It costs nothing per chunk beyond the engine's tables: no allocation, no locks, no clocks.
package lexical

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
)

var (
	requests   = []pipeline.Class{pipeline.InputText, pipeline.InputTool}
	everywhere = []pipeline.Class{pipeline.InputText, pipeline.InputTool, pipeline.OutputText, pipeline.OutputTool}
)

// Kind is one of the kinds. It has no state.
type Kind struct {
	name    string
	reason  string
	classes []pipeline.Class
	params  func() any
	declare func(params any, w *words)
}

// Name implements pipeline.Kind.
func (k Kind) Name() string { return k.name }

// Params implements pipeline.Kind.
func (k Kind) Params() any { return k.params() }

// Declare implements pipeline.Kind.
func (k Kind) Declare(params any, d *pipeline.Declaration) {
	w := &words{d: d, reason: k.reason, classes: k.classes}
	k.declare(params, w)
	if w.distance > 0 && w.builtIn > 0 {
		say := fmt.Sprintf("%d of the %d built-in phrases and patterns are found as written only", w.builtIn-w.near.n, w.builtIn)
		if w.near.n > 0 {
			say += "; long enough to be found misspelt are " + w.near.String()
		}
		d.Fault(pipeline.FaultPartly, "fuzzy_matching", say, "")
	}
}

// Kinds lists the kinds of this package.
func Kinds() []pipeline.Kind {
	return []pipeline.Kind{
		CasePrivacy(), DLPFilter(), DualUseFilter(), EntityListFilter(), ITAREARFilter(), LegalPrivilege(),
		MNPIFilter(), SafetyFilter(), StudentPrivacy(),
	}
}

// DLPParams are the fields of schemas/policy/dlp-filter.schema.json.
type DLPParams struct {
	DetectPatterns   []string `json:"detect_patterns"`
	BlockedTerms     []string `json:"blocked_terms"`
	Action           string   `json:"action"`
	FuzzyMatching    bool     `json:"fuzzy_matching"`
	MaxDistance      int      `json:"max_distance"`
	SensitivityLevel string   `json:"sensitivity_level"`
	StreamingMode    string   `json:"streaming_mode"`
}

// DLPFilter finds own terms and patterns; from sensitivity_level high on classification markings too, and with
// restricted the secret formats of the rulebook (keys, tokens, passwords in assignments).
func DLPFilter() Kind {
	return Kind{
		name: "dlp-filter", reason: "dlp.detected", classes: everywhere,
		params: func() any {
			return &DLPParams{DetectPatterns: []string{}, BlockedTerms: []string{}, Action: "redact", MaxDistance: defaultDistance, SensitivityLevel: "standard", StreamingMode: "realtime"}
		},
		declare: func(params any, w *words) {
			p := params.(*DLPParams)
			w.action(p.Action, pipeline.Redact, pipeline.Block)
			w.fuzzy(p.FuzzyMatching, p.MaxDistance)
			w.terms("DLP_TERM", "blocked_terms", p.BlockedTerms)
			w.patterns("DLP_PATTERN", "detect_patterns", p.DetectPatterns)
			if p.SensitivityLevel != "standard" {
				w.list("classification")
			} else if len(p.BlockedTerms)+len(p.DetectPatterns) == 0 {
				w.d.Fault(pipeline.FaultNoEffect, "sensitivity_level", "dlp-filter has no built-in list at sensitivity_level: standard: without blocked_terms and detect_patterns it finds nothing", "")
			}
			if p.SensitivityLevel == "restricted" {
				w.entries(rulebook.Secrets())
			}
		},
	}
}

// SafetyParams are the fields of schemas/policy/safety-filter.schema.json.
type SafetyParams struct {
	Mode          string   `json:"mode"`
	BlockIf       []string `json:"block_if"`
	Action        string   `json:"action"`
	FuzzyMatching bool     `json:"fuzzy_matching"`
	MaxDistance   int      `json:"max_distance"`
	MaxAge        int      `json:"max_age"`
	StreamingMode string   `json:"streaming_mode"`
}

// SafetyFilter finds unsafe content of one industry.
func SafetyFilter() Kind {
	return Kind{
		name: "safety-filter", reason: "safety.detected", classes: everywhere,
		params: func() any {
			return &SafetyParams{Mode: "critical_infrastructure", BlockIf: []string{}, Action: "block", MaxDistance: defaultDistance, StreamingMode: "realtime"}
		},
		declare: func(params any, w *words) {
			p := params.(*SafetyParams)
			w.action(p.Action, pipeline.Block, pipeline.Escalate)
			w.fuzzy(p.FuzzyMatching, p.MaxDistance)
			w.list("safety." + p.Mode)
			w.patterns("SAFETY_PATTERN", "block_if", p.BlockIf)
			w.categories("block_if", p.BlockIf)
			w.plain("SAFETY_PATTERN", "block_if", p.BlockIf)
			if p.MaxAge != 0 {
				w.d.Fault(pipeline.FaultNotBuilt, "max_age", fmt.Sprintf("max_age: %d is documented but not built yet in this version", p.MaxAge), "leave max_age at 0; the list of mode education is applied at every age")
			}
		},
	}
}

// EntityListParams are the fields of schemas/policy/entity-list-filter.schema.json.
type EntityListParams struct {
	BlockedEntities []string `json:"blocked_entities"`
	Action          string   `json:"action"`
	FuzzyMatching   bool     `json:"fuzzy_matching"`
	MaxDistance     int      `json:"max_distance"`
	StreamingMode   string   `json:"streaming_mode"`
}

// EntityListFilter blocks the mention of listed organisations and people. It has no built-in list.
func EntityListFilter() Kind {
	return Kind{
		name: "entity-list-filter", reason: "entity_list.detected", classes: everywhere,
		params: func() any {
			return &EntityListParams{BlockedEntities: []string{}, Action: "block", MaxDistance: defaultDistance, StreamingMode: "realtime"}
		},
		declare: func(params any, w *words) {
			p := params.(*EntityListParams)
			w.action(p.Action, pipeline.Block)
			w.fuzzy(p.FuzzyMatching, p.MaxDistance)
			w.names("LISTED_ENTITY", "blocked_entities", p.BlockedEntities)
			if len(p.BlockedEntities) == 0 {
				w.d.Fault(pipeline.FaultNoEffect, "blocked_entities", "entity-list-filter has no built-in list: without blocked_entities it finds nothing", "")
			}
		},
	}
}

// TermsParams are the fields of the schemas of itar-ear-filter and dual-use-filter.
type TermsParams struct {
	BlockedTerms  []string `json:"blocked_terms"`
	Action        string   `json:"action"`
	FuzzyMatching bool     `json:"fuzzy_matching"`
	MaxDistance   int      `json:"max_distance"`
	StreamingMode string   `json:"streaming_mode"`
}

func termsDefaults() any {
	return &TermsParams{BlockedTerms: []string{}, Action: "block", MaxDistance: defaultDistance, StreamingMode: "realtime"}
}

// ITAREARFilter blocks terms of the munitions and commerce control lists, with own terms added.
func ITAREARFilter() Kind {
	return Kind{
		name: "itar-ear-filter", reason: "itar_ear.detected", classes: everywhere, params: termsDefaults,
		declare: func(params any, w *words) {
			p := params.(*TermsParams)
			w.action(p.Action, pipeline.Block)
			w.fuzzy(p.FuzzyMatching, p.MaxDistance)
			w.list("itar")
			w.terms("EXPORT_TERM", "blocked_terms", p.BlockedTerms)
		},
	}
}

// DualUseFilter finds own terms in requests. It has no built-in list.
func DualUseFilter() Kind {
	return Kind{
		name: "dual-use-filter", reason: "dual_use.detected", classes: requests, params: termsDefaults,
		declare: func(params any, w *words) {
			p := params.(*TermsParams)
			w.action(p.Action, pipeline.Block, pipeline.Redact)
			w.fuzzy(p.FuzzyMatching, p.MaxDistance)
			w.terms("DUAL_USE_TERM", "blocked_terms", p.BlockedTerms)
			if len(p.BlockedTerms) == 0 {
				w.d.Fault(pipeline.FaultNoEffect, "blocked_terms", "dual-use-filter has no built-in list: without blocked_terms it finds nothing", "")
			}
		},
	}
}

// MNPIParams are the fields of schemas/policy/mnpi-filter.schema.json.
type MNPIParams struct {
	DetectPatterns []string `json:"detect_patterns"`
	Action         string   `json:"action"`
	StreamingMode  string   `json:"streaming_mode"`
}

// MNPIFilter blocks talk of material non-public information.
func MNPIFilter() Kind {
	return Kind{
		name: "mnpi-filter", reason: "mnpi.detected", classes: everywhere,
		params: func() any {
			return &MNPIParams{DetectPatterns: []string{}, Action: "block", StreamingMode: "realtime"}
		},
		declare: func(params any, w *words) {
			p := params.(*MNPIParams)
			w.action(p.Action, pipeline.Block)
			w.list("mnpi")
			w.patterns("MNPI_PATTERN", "detect_patterns", p.DetectPatterns)
			w.categories("detect_patterns", p.DetectPatterns)
		},
	}
}

// PrivilegeParams are the fields of schemas/policy/legal-privilege.schema.json.
type PrivilegeParams struct {
	PrivilegeMarkers []string `json:"privilege_markers"`
	Action           string   `json:"action"`
	StreamingMode    string   `json:"streaming_mode"`
}

// LegalPrivilege stops privileged legal text in requests.
func LegalPrivilege() Kind {
	return Kind{
		name: "legal-privilege", reason: "legal_privilege.detected", classes: requests,
		params: func() any {
			return &PrivilegeParams{PrivilegeMarkers: []string{}, Action: "block", StreamingMode: "realtime"}
		},
		declare: func(params any, w *words) {
			p := params.(*PrivilegeParams)
			w.action(p.Action, pipeline.Block)
			w.list("privilege")
			w.terms("PRIVILEGE_MARKER", "privilege_markers", p.PrivilegeMarkers)
			own := func(term string) bool {
				return slices.ContainsFunc(p.PrivilegeMarkers, func(m string) bool { return strings.EqualFold(strings.TrimSpace(m), term) })
			}
			if !own("legal advice") || !own("attorney-client") {
				w.d.Fault(pipeline.FaultPartly, "privilege_markers", "the built-in phrase legal advice is not found in a disclaimer (this is not legal advice), nor attorney-client in front of relationship; as privilege_markers they are found everywhere", "")
			}
		},
	}
}

// CaseParams are the fields of schemas/policy/case-privacy.schema.json. DetectPatterns are categories.
type CaseParams struct {
	DetectPatterns []string `json:"detect_patterns"`
	Action         string   `json:"action"`
	StreamingMode  string   `json:"streaming_mode"`
}

// CasePrivacy redacts the identifiers of court cases.
func CasePrivacy() Kind {
	return Kind{
		name: "case-privacy", reason: "case_privacy.detected", classes: everywhere,
		params: func() any {
			return &CaseParams{DetectPatterns: []string{"case_number"}, Action: "redact", StreamingMode: "realtime"}
		},
		declare: func(params any, w *words) {
			p := params.(*CaseParams)
			w.action(p.Action, pipeline.Redact)
			for _, c := range p.DetectPatterns {
				w.list("case." + c)
			}
			if len(p.DetectPatterns) == 0 {
				w.d.Fault(pipeline.FaultNoEffect, "detect_patterns", "case-privacy finds nothing with an empty detect_patterns", "leave detect_patterns out: then it finds case numbers")
			}
			if slices.Contains(p.DetectPatterns, "party_name") {
				w.d.Fault(pipeline.FaultPartly, "detect_patterns", "party_name finds names beside v. or a party's role; a name alone is not found", "")
			}
		},
	}
}

// StudentParams are the fields of schemas/policy/student-privacy.schema.json.
type StudentParams struct {
	Action        string `json:"action"`
	AgeGate       bool   `json:"age_gate"`
	StreamingMode string `json:"streaming_mode"`
}

// StudentPrivacy finds education records in requests; with age_gate also statements that someone is a minor.
func StudentPrivacy() Kind {
	return Kind{
		name: "student-privacy", reason: "student_privacy.detected", classes: requests,
		params: func() any { return &StudentParams{Action: "redact", StreamingMode: "realtime"} },
		declare: func(params any, w *words) {
			p := params.(*StudentParams)
			w.action(p.Action, pipeline.Redact, pipeline.Block)
			w.list("student")
			if p.AgeGate {
				w.list("student.minor")
				w.d.Fault(pipeline.FaultPartly, "age_gate", "age_gate finds ages and school grades below 18 that the text states; it does not know the user's age", "")
			}
		},
	}
}

// words declares the terms and patterns of one policy.
type words struct {
	d        *pipeline.Declaration
	reason   string
	classes  []pipeline.Class
	act      pipeline.Action
	distance int   // 0: not fuzzy
	builtIn  int   // phrases and patterns of the built-in lists
	near     named // those that are fuzzy
}

// action sets what a match does; it must be one of the given actions.
func (w *words) action(name string, allowed ...pipeline.Action) {
	a, err := pipeline.ParseAction(name)
	if err != nil || !slices.Contains(allowed, a) {
		var names []string
		for _, x := range allowed {
			names = append(names, x.String())
		}
		w.d.Fault(pipeline.FaultRange, "action", fmt.Sprintf("action must be %s; got %q", strings.Join(names, " or "), name), "")
		a = allowed[0]
	}
	w.act = a
}

// defaultDistance is max_distance where the configuration does not name it.
const defaultDistance = 1

func (w *words) fuzzy(on bool, distance int) {
	switch {
	case distance < 0 || distance > scan.MaxDistance:
		w.d.Fault(pipeline.FaultRange, "max_distance", fmt.Sprintf("max_distance must be 0 to %d; got %d", scan.MaxDistance, distance), "")
	case on:
		w.distance = distance
	case distance != defaultDistance && w.d.Has("max_distance"): // with its default it says nothing that is not so
		w.d.Fault(pipeline.FaultDistance, "max_distance", "max_distance has no effect without fuzzy_matching: true", "")
	}
}

func (w *words) find(r scan.Rule, entity, path string) {
	var m *pipeline.Marker
	if w.act == pipeline.Redact {
		m = &pipeline.Marker{Text: "[REDACTED:" + entity + "]"}
	}
	w.d.Find(r, w.d.Entity(entity, w.reason), w.act, m, path, w.classes...)
}

// terms declares own terms. The same term twice counts once.
func (w *words) terms(entity, field string, list []string) {
	seen := map[string]bool{}
	var lowered, exact named
	for i, t := range list {
		path := fmt.Sprintf("%s/%d", field, i)
		key := strings.ToLower(strings.Join(strings.Fields(t), " "))
		if key == "" {
			w.d.Fault(pipeline.FaultPattern, path, "the term is empty", "")
			continue
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		r := ownTerm(path, t)
		w.blur(&r, t, &lowered, &exact)
		w.find(r, entity, path)
	}
	w.partly(field, &lowered, &exact)
}

// names declares own terms that are names: of two words or with hyphens, they are found with a space for the hyphen too
// and with a hyphen for the space. A fuzzy term takes both as it is.
func (w *words) names(entity, field string, list []string) {
	w.terms(entity, field, list)
	for i, t := range list {
		if other := spelled(t); other != "" && w.distance == 0 {
			path := fmt.Sprintf("%s/%d", field, i)
			w.find(ownTerm(path+"-", other), entity, path)
		}
	}
}

// spelled is a name with hyphens with spaces instead, and a name of two words with a hyphen; empty for other names.
func spelled(name string) string {
	words := strings.Fields(name)
	bare := strings.Join(words, " ")
	between := func(i int) bool { // letters or digits on both sides
		before, _ := utf8.DecodeLastRuneInString(bare[:i])
		after, _ := utf8.DecodeRuneInString(bare[i+1:])
		return (unicode.IsLetter(before) || unicode.IsDigit(before)) && (unicode.IsLetter(after) || unicode.IsDigit(after))
	}
	b := []byte(bare)
	for i := range b {
		if b[i] == '-' && between(i) {
			b[i] = ' '
		}
	}
	if i := strings.IndexByte(bare, ' '); string(b) == bare && len(words) == 2 && between(i) {
		b[i] = '-'
	}
	if string(b) == bare {
		return ""
	}
	return string(b)
}

// plain declares the own patterns that are plain text as terms too, fuzzy ones if that is wanted: who writes a plain
// word into a list of what is unsafe means the word, at the beginning of a sentence as well.
func (w *words) plain(entity, field string, list []string) {
	var lowered, exact, patterns named
	for i, p := range list {
		re, err := syntax.Parse(p, syntax.Perl)
		if err != nil { // the plan says so
			continue
		}
		if re.Op != syntax.OpLiteral {
			patterns.add(p, "")
			continue
		}
		path := fmt.Sprintf("%s/%d", field, i)
		r := ownTerm(path+"+", string(re.Rune))
		if strings.TrimSpace(r.Phrase) == "" {
			continue
		}
		w.blur(&r, p, &lowered, &exact)
		w.find(r, entity, path)
	}
	w.partly(field, &lowered, &exact)
	if patterns.n > 0 && w.distance > 0 {
		w.d.Fault(pipeline.FaultPartly, field, "only plain text is found misspelt too; these patterns are matched as they are written: "+patterns.String(), "")
	}
}

func ownTerm(id, term string) scan.Rule {
	r := scan.Rule{ID: id, Phrase: term, Fold: true, View: scan.Normalised}
	if len(term) > scan.DefaultCap/2 { // its spaces, and letters that look alike, may take more bytes in a text
		r.Cap = scan.MaxCap
	}
	return r
}

// blur makes the phrase of a rule a fuzzy term if that is wanted: each word may differ by the distance, but by
// less than half of its letters, or short words would match nearly every other. The term goes to lowered if that
// is less than the distance for one of its words, and to exact if its phrase stays as it is.
func (w *words) blur(r *scan.Rule, term string, lowered, exact *named) {
	if w.distance == 0 {
		return
	}
	r.Distance, r.Half = w.distance, true
	least, most, fault := r.Reach()
	r.Distance, r.Half = most, most > 0
	switch {
	case fault != "":
		exact.add(term, "")
	case most == 0:
		lowered.add(term, " as written")
	case least < most:
		lowered.add(term, fmt.Sprintf(" within %d to %d", least, most))
	case least < w.distance:
		lowered.add(term, fmt.Sprintf(" within %d", least))
	}
}

// partly says which terms are not matched within the whole distance.
func (w *words) partly(field string, lowered, exact *named) {
	if lowered.n > 0 {
		w.d.Fault(pipeline.FaultPartly, field, fmt.Sprintf("a word may differ by less than half of its letters only, which is less than max_distance %d here: %s", w.distance, lowered), "")
	}
	if exact.n > 0 {
		w.d.Fault(pipeline.FaultPartly, field, "terms without letters or digits, with more than 24 words or with a word of more than 48 characters are matched as they are written: "+exact.String(), "")
	}
}

// named is a list of terms for a message, which names the first of them.
type named struct {
	n    int
	text []string
}

const (
	maxNamed     = 8
	maxNamedText = 40 // characters of one
)

func (n *named) add(term, what string) {
	if n.n++; n.n > maxNamed {
		return
	}
	if utf8.RuneCountInString(term) > maxNamedText {
		term = string([]rune(term)[:maxNamedText-3]) + "..."
	}
	n.text = append(n.text, fmt.Sprintf("%q%s", term, what))
}

func (n *named) String() string {
	s := strings.Join(n.text, ", ")
	if n.n > maxNamed {
		s += fmt.Sprintf(" and %d more", n.n-maxNamed)
	}
	return s
}

// patterns declares own patterns.
func (w *words) patterns(entity, field string, list []string) {
	for i, p := range list {
		path := fmt.Sprintf("%s/%d", field, i)
		w.find(pipeline.OwnPattern(path, p), entity, path)
	}
}

var category = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)

// categories warns of entries such as earnings_preview, which some published examples put where a pattern belongs.
func (w *words) categories(field string, list []string) {
	for i, p := range list {
		if category.MatchString(p) {
			w.d.Fault(pipeline.FaultCategory, fmt.Sprintf("%s/%d", field, i), fmt.Sprintf("%q looks like the name of a category; here it is a pattern that finds the word itself", p),
				"the built-in list is always looked for: remove the entry, or write a regular expression of its text")
		}
	}
}

// list declares a built-in list of the rulebook.
func (w *words) list(name string) { w.entries(rulebook.Terms(name)) }

func (w *words) entries(es []rulebook.Entry) {
	for i := range es {
		for k, r := range es[i].Rules(0, false) {
			w.builtIn++
			if k -= len(es[i].Patterns); k >= 0 {
				w.misspelt(r, es[i].Phrases[k], es[i].Entity)
			}
			w.find(r, es[i].Entity, "")
		}
	}
}

// misspelt declares a built-in phrase as a fuzzy term beside its rule, if that is wanted and it is long enough.
func (w *words) misspelt(r scan.Rule, phrase, entity string) {
	if d := min(w.distance, nearOf(phrase)); d > 0 {
		r.ID, r.Pattern, r.Phrase, r.Group, r.Distance, r.Half = r.ID+"+", "", phrase, 0, d, true
		w.near.add(phrase, fmt.Sprintf(" within %d", d))
		w.find(r, entity, "")
	}
}

// nearOf is the distance at which a built-in phrase is still told from ordinary words, 0 for a pattern. The user
// did not choose these phrases, and short words have many neighbours: soman is one letter from woman, each word of
// end my life from one of and my wife. So each edit takes 8 letters of a word that stands alone; beside others it
// takes 6 of each word, and 16 of the phrase.
func nearOf(phrase string) int {
	words := strings.FieldsFunc(phrase, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	shortest, total := 0, 0
	for i, word := range words {
		n := utf8.RuneCountInString(word)
		total += n
		if i == 0 || n < shortest {
			shortest = n
		}
	}
	if len(words) == 1 {
		return total / 8
	}
	return min(shortest/6, total/16)
}
