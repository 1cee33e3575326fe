// Package auditlogger is the kind audit-logger: it looks at no text; it states
// what the audit log must do (the require facet).
package auditlogger

import "github.com/keeptrusts/kt/pipeline"

// Params are the fields of schemas/policy/audit-logger.schema.json.
type Params struct {
	Immutable          bool `json:"immutable"`
	RetentionDays      int  `json:"retention_days"`
	HIPAAAuditControls bool `json:"hipaa_audit_controls"`
	LogAllAccess       bool `json:"log_all_access"`
}

// Kind is the kind. It has no state.
type Kind struct{}

// Name implements pipeline.Kind.
func (Kind) Name() string { return "audit-logger" }

// Params implements pipeline.Kind.
func (Kind) Params() any {
	return &Params{Immutable: true, RetentionDays: 365, LogAllAccess: true}
}

// Declare implements pipeline.Kind.
func (Kind) Declare(params any, d *pipeline.Declaration) {
	p := params.(*Params)
	d.Phases = []pipeline.Phase{pipeline.Input, pipeline.Tool, pipeline.Output}
	d.Require = pipeline.Requirements{
		AuditRetentionDays: p.RetentionDays, AuditAll: p.LogAllAccess,
		AuditImmutable: p.Immutable, AuditHIPAA: p.HIPAAAuditControls,
	}
	if p.HIPAAAuditControls {
		d.Fault(pipeline.FaultNotBuilt, "hipaa_audit_controls", "hipaa_audit_controls: true is documented but not built yet in this version", "leave it out until then")
	}
	if p.Immutable {
		d.Fault(pipeline.FaultPartly, "immutable", "immutable means append-only files, read-only once their day (UTC) is over; records are not chained by hashes yet", "")
	}
}
