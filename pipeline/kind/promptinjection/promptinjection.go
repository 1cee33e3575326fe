// Package promptinjection is the kind prompt-injection: evidence of jailbreaks
// and injected instructions is weighed in groups, and a channel whose score
// reaches the threshold is acted on. It reads requests only: messages, tool
// definitions and tool results, but not system and developer messages: they are
// the application's own, and a good one names the attacks that it forbids.
package promptinjection

import (
	"fmt"
	"math"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// Params are the fields of schemas/policy/prompt-injection.schema.json.
// threshold and action are the short form; embedding_threshold and
// response.action the long one. Fields without default are older places.
type Params struct {
	Threshold          float64    `json:"threshold"`
	Action             string     `json:"action"`
	EmbeddingThreshold float64    `json:"embedding_threshold"`
	Backend            string     `json:"backend"`
	AttackPatterns     []string   `json:"attack_patterns"`
	Detection          Detection  `json:"detection"`
	Encoding           Encoding   `json:"encoding"`
	Boundaries         Boundaries `json:"boundaries"`
	Response           Response   `json:"response"`
	StreamingMode      string     `json:"streaming_mode"`
}

// Detection says what is looked for.
type Detection struct {
	AttackPatterns     []string `json:"attack_patterns"`
	EmbeddingThreshold float64  `json:"embedding_threshold"`
}

// Encoding says which other views of the text are scanned.
type Encoding struct {
	DecodeBase64     bool `json:"decode_base64"`
	DecodeRot13      bool `json:"decode_rot13"`
	NormalizeUnicode bool `json:"normalize_unicode"`
	DetectHomoglyphs bool `json:"detect_homoglyphs"`
}

// Boundaries are the switches for fake message boundaries.
type Boundaries struct {
	EnforceDelimiters    bool `json:"enforce_delimiters"`
	RejectFakeBoundaries bool `json:"reject_fake_boundaries"`
}

// Response is what the client gets.
type Response struct {
	Action   string `json:"action"`
	Message  string `json:"message"`
	LogLevel string `json:"log_level"`
}

const (
	reason   = "prompt_injection.detected"
	within   = 1024 // bytes in which evidence adds up: attacks are short or dense, and manuals of 100 KB have some of everything
	ownGroup = "attack_pattern"
	decisive = 1000 // weight of an own pattern: it reaches every threshold alone
)

// groups of evidence that the boundaries switches turn off.
var (
	boundaryGroups  = map[string]bool{"fake_boundary": true}
	delimiterGroups = map[string]bool{"role_lines": true, "delimiter_confusion": true, "document_context": true}
)

// Kind is the kind. It has no state.
type Kind struct{}

// Name implements pipeline.Kind.
func (Kind) Name() string { return "prompt-injection" }

// Params implements pipeline.Kind.
func (Kind) Params() any {
	return &Params{
		Threshold: 0.75, Action: "block", EmbeddingThreshold: 0.75, Backend: "local", StreamingMode: "realtime",
		Detection:  Detection{AttackPatterns: []string{}},
		Encoding:   Encoding{DecodeBase64: true, DecodeRot13: true, NormalizeUnicode: true, DetectHomoglyphs: true},
		Boundaries: Boundaries{EnforceDelimiters: true, RejectFakeBoundaries: true},
		Response:   Response{Action: "block", LogLevel: "warn"},
	}
}

// Declare implements pipeline.Kind.
func (Kind) Declare(params any, d *pipeline.Declaration) {
	p := params.(*Params)
	threshold, action := p.threshold(d), p.action(d)
	if p.Backend != "local" {
		d.Fault(pipeline.FaultNotBuilt, "backend", "backend: external is documented but not built yet in this version", "use backend: local, or leave it out")
	}
	if p.Encoding.NormalizeUnicode != p.Encoding.DetectHomoglyphs {
		d.Fault(pipeline.FaultPartly, "encoding", "normalize_unicode and detect_homoglyphs read one view of the text together; it is read when either is on", "")
	}
	in := []pipeline.Class{pipeline.InputText, pipeline.InputTool}
	if p.Encoding.DecodeBase64 {
		d.Decode = in
	}
	if p.Encoding.DecodeRot13 {
		d.Rot13 = in
	}
	d.SkipsInstructions = true
	d.Message, d.LogLevel = p.Response.Message, p.Response.LogLevel
	score := d.Score(pipeline.Scorer{Threshold: threshold, Within: within, Action: action, Entity: d.Entity("PROMPT_INJECTION", reason)}, in...)

	normalises := p.Encoding.NormalizeUnicode || p.Encoding.DetectHomoglyphs
	if normalises {
		d.Tags = in // the normalised view drops them
	}
	for _, e := range rulebook.Injection() {
		if boundaryGroups[e.Group] && !p.Boundaries.RejectFakeBoundaries || delimiterGroups[e.Group] && !p.Boundaries.EnforceDelimiters {
			continue
		}
		for _, r := range e.Rules(0, false) {
			if !normalises {
				r.View = scan.Raw
			}
			if e.Negation == scan.Negates {
				d.Negation(r, score)
				continue
			}
			d.Evidence(r, score, e.Group, int32(e.Weight), "")
		}
	}
	add := func(place string, patterns []string) {
		for i, pattern := range patterns {
			path := fmt.Sprintf("%s/%d", place, i)
			d.Evidence(pipeline.OwnPattern(path, pattern), score, ownGroup, decisive, path)
			if normalises {
				r := pipeline.OwnPattern(path+"+", pattern)
				r.View = scan.Normalised
				d.Evidence(r, score, ownGroup, decisive, path)
			}
		}
	}
	add("detection/attack_patterns", p.Detection.AttackPatterns)
	add("attack_patterns", p.AttackPatterns)
	if d.Has("attack_patterns") {
		d.Fault(pipeline.FaultAlias, "attack_patterns", "attack_patterns is an older place of detection.attack_patterns", "both are read")
	}
}

// threshold joins the spellings of the threshold, which must agree. A
// threshold of 0 still needs some evidence.
func (p *Params) threshold(d *pipeline.Declaration) int32 {
	v, from := p.Threshold, ""
	for _, f := range []struct {
		path  string
		value float64
	}{{"threshold", p.Threshold}, {"embedding_threshold", p.EmbeddingThreshold}, {"detection/embedding_threshold", p.Detection.EmbeddingThreshold}} {
		if !d.Has(f.path) {
			continue
		}
		if from != "" && f.value != v {
			d.Fault(pipeline.FaultConflict, f.path, fmt.Sprintf("the threshold is given twice: %v here, %v as %s", f.value, v, from), "keep one of them")
			continue
		}
		v, from = f.value, f.path
		if f.path != "threshold" {
			d.Fault(pipeline.FaultAlias, f.path, "embedding_threshold is read as threshold while no embedding backend is built", "write threshold")
		}
	}
	return int32(max(1, math.Round(v*1000)))
}

// action joins the two spellings of the action, which must agree.
func (p *Params) action(d *pipeline.Declaration) pipeline.Action {
	name, path := p.Response.Action, "response/action"
	if d.Has("action") {
		if d.Has(path) && p.Action != name {
			d.Fault(pipeline.FaultConflict, path, fmt.Sprintf("the action is given twice: %s here, %s as action", name, p.Action), "keep one of them")
		}
		name, path = p.Action, "action"
		d.Fault(pipeline.FaultAlias, path, "action is the short form of response.action", "")
	}
	a, err := pipeline.ParseAction(name)
	if err != nil || a != pipeline.Block && a != pipeline.Escalate && a != pipeline.Log {
		d.Fault(pipeline.FaultRange, path, fmt.Sprintf("action must be block, log or escalate; got %q", name), "")
	}
	return a
}
