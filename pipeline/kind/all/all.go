// Package all is the one list of policy kinds.
package all

import (
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kind/auditlogger"
	"github.com/keeptrusts/kt/pipeline/kind/piidetector"
	"github.com/keeptrusts/kt/pipeline/kind/promptinjection"
)

// Kinds lists the kinds that are built, by name.
func Kinds() []pipeline.Kind {
	return []pipeline.Kind{
		auditlogger.Kind{},
		piidetector.Kind{},
		promptinjection.Kind{},
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
