// Package all is the one list of policy kinds.
package all

import (
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/auditlogger"
	"github.com/keeptrusts/kt/pipeline/kind/lexical"
	"github.com/keeptrusts/kt/pipeline/kind/piidetector"
	"github.com/keeptrusts/kt/pipeline/kind/promptinjection"
)

// Kinds lists the kinds that are built, by name.
func Kinds() []pipeline.Kind {
	return []pipeline.Kind{
		auditlogger.Kind{},
		lexical.CasePrivacy(),
		lexical.DLPFilter(),
		lexical.DualUseFilter(),
		lexical.EntityListFilter(),
		lexical.ITAREARFilter(),
		lexical.LegalPrivilege(),
		lexical.MNPIFilter(),
		piidetector.Kind{},
		promptinjection.Kind{},
		lexical.SafetyFilter(),
		lexical.StudentPrivacy(),
	}
}

// Kind gives a kind by its name.
func Kind(name string) (pipeline.Kind, bool) {
	for _, k := range Kinds() {
		if k.Name() == name {
			return k, true
		}
	}
	return nil, false
}
