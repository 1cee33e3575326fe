// Package piidetector is the kind pii-detector: it finds personal data in
// requests and answers, tool calls included, and redacts it or blocks.
//
// A redacted value is replaced by [REDACTED:TYPE] (marker_format label), where
// TYPE is the entity: EMAIL, PHONE, SSN, CREDIT_CARD, IP_ADDRESS and so on;
// CUSTOM for the patterns of detect_patterns.
package piidetector

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/rulebook"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// Params are the fields of schemas/policy/pii-detector.schema.json.
type Params struct {
	Action         string    `json:"action"`
	HealthcareMode bool      `json:"healthcare_mode"`
	PCIMode        bool      `json:"pci_mode"`
	DetectPatterns []string  `json:"detect_patterns"`
	Redaction      Redaction `json:"redaction"`
	StreamingMode  string    `json:"streaming_mode"`
}

// Redaction says how a redacted value is shown.
type Redaction struct {
	MarkerFormat    string            `json:"marker_format"`
	IncludeMetadata bool              `json:"include_metadata"`
	PreserveLength  bool              `json:"preserve_length"`
	CustomMarkers   map[string]string `json:"custom_markers"`
}

const (
	reason   = "pii.detected"
	own      = "CUSTOM" // the one type of all detect_patterns
	anything = "PII"    // the one type of all findings without metadata
)

var classes = []pipeline.Class{pipeline.InputText, pipeline.InputTool, pipeline.OutputText, pipeline.OutputTool}

// Kind is the kind. It has no state.
type Kind struct{}

// Name implements pipeline.Kind.
func (Kind) Name() string { return "pii-detector" }

// Params implements pipeline.Kind.
func (Kind) Params() any {
	return &Params{
		Action: "redact", PCIMode: true, DetectPatterns: []string{}, StreamingMode: "realtime",
		Redaction: Redaction{MarkerFormat: "label", IncludeMetadata: true, CustomMarkers: map[string]string{}},
	}
}

// Declare implements pipeline.Kind.
func (Kind) Declare(params any, d *pipeline.Declaration) {
	p := params.(*Params)
	action, err := pipeline.ParseAction(p.Action)
	if err != nil || action != pipeline.Redact && action != pipeline.Block {
		d.Fault(pipeline.FaultRange, "action", fmt.Sprintf("action must be redact or block; got %q", p.Action), "")
	}
	builtIn := rulebook.PII()
	if p.HealthcareMode {
		builtIn = append(builtIn, rulebook.Care()...)
		d.Fault(pipeline.FaultPartly, "healthcare_mode", "healthcare_mode finds record and insurance numbers beside a word for them, provider numbers by word and check digit, Medicare numbers by their form; names, diagnoses and dates of treatment are not found", "")
	}
	if p.PCIMode {
		d.Fault(pipeline.FaultPartly, "pci_mode", "pci_mode finds card numbers, and security codes and holders' names beside a word for them; a name beside the number alone is not found", "")
	}
	types := map[string]*pipeline.Marker{}
	find := func(r scan.Rule, entity, path string) {
		m := types[entity]
		if m == nil {
			m = p.marker(entity)
			types[entity] = m
		}
		shown := entity
		if !p.Redaction.IncludeMetadata {
			shown = anything
		}
		n := d.Entity(shown, reason)
		d.Entities[n].Hidden = !p.Redaction.IncludeMetadata
		if action != pipeline.Redact {
			m = nil
		}
		d.Find(r, n, action, m, path, classes...)
	}
	for _, e := range builtIn {
		if e.Group == "payment" && !p.PCIMode {
			continue
		}
		for _, r := range e.Rules(0, true) {
			find(r, typeName(e.Entity), "")
		}
	}
	for i, pattern := range p.DetectPatterns {
		path := fmt.Sprintf("detect_patterns/%d", i)
		if slices.Contains(categories, strings.ToLower(pattern)) {
			d.Fault(pipeline.FaultCategory, path, fmt.Sprintf("%q looks like the name of a category; here it is a pattern that finds the word itself", pattern),
				"built-in types are always looked for: remove the entry, or write a regular expression")
		}
		find(pipeline.OwnPattern(path, pattern), own, path)
	}
	spelled := map[string]string{} // of each type: the first spelling
	for _, k := range slices.Sorted(maps.Keys(p.Redaction.CustomMarkers)) {
		name := typeName(strings.ToUpper(k))
		if first, twice := spelled[name]; !twice {
			spelled[name] = k
		} else if p.Redaction.CustomMarkers[first] != p.Redaction.CustomMarkers[k] {
			d.Fault(pipeline.FaultConflict, "redaction/custom_markers/"+k, fmt.Sprintf("custom_markers has two markers for %s: as %s and as %s", name, first, k), "keep one of them")
		}
		if types[name] == nil {
			d.Fault(pipeline.FaultNoEffect, "redaction/custom_markers/"+k, fmt.Sprintf("custom_markers has a type that is not looked for: %q", k),
				"types are EMAIL, PHONE, SSN, CREDIT_CARD, CVV, IP_ADDRESS, IBAN, CUSTOM and the national identifiers that docs/policies/pii-detector.md lists")
		}
	}
	if action == pipeline.Block {
		for _, field := range []string{"marker_format", "preserve_length", "custom_markers"} {
			if path := "redaction/" + field; d.Has(path) {
				d.Fault(pipeline.FaultNoEffect, path, "redaction."+field+" has no effect with action: block", "")
			}
		}
	}
}

// typeName is the documented name of a type of the rulebook.
func typeName(entity string) string {
	if entity == "US_SSN" {
		return "SSN"
	}
	return entity
}

// marker is what takes the place of a value of the type.
func (p *Params) marker(entity string) *pipeline.Marker {
	m := &pipeline.Marker{Text: "[REDACTED:" + entity + "]", PreserveLength: p.Redaction.PreserveLength}
	switch p.Redaction.MarkerFormat {
	case "asterisks":
		m.Format = pipeline.Asterisks
	case "partial":
		m.Format = pipeline.Partial
	}
	for _, k := range slices.Sorted(maps.Keys(p.Redaction.CustomMarkers)) {
		if typeName(strings.ToUpper(k)) == entity {
			m.Text, m.Custom = p.Redaction.CustomMarkers[k], true
		}
	}
	if m.Format != pipeline.Label && !m.Custom {
		m.Text = ""
	}
	return m
}

// categories are names that some published examples put where a pattern belongs.
var categories = []string{
	"email", "ssn", "phone", "phone_number", "credit_card", "card", "ip_address", "iban", "address", "name", "full_name",
	"date_of_birth", "dob", "passport", "drivers_license", "driver_license", "victim_name", "mrn", "medical_record_number",
	"bank_account", "account_number",
}
