package cmd

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

const variablePrefix = "KEEPTRUSTS_"

// foreign are variables that are not for the gateway: those of the SDKs, and
// those that Kubernetes sets for a service called keeptrusts-...
var foreign = regexp.MustCompile(`^(GATEWAY_URL|AGENT_ID|.*_SERVICE_(HOST|PORT(_.+)?)|.*_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// flagsOnly are settings that have no variable.
var flagsOnly = []string{"fail-mode", "require-compiled", "policy-config", "dry-run"}

// strayVariables says of each KEEPTRUSTS_ variable that nothing reads what was
// probably meant; never its value. cfg may name some for its secrets; nil: it is
// not known.
func (a *app) strayVariables(cfg *config.Config) []string {
	known := []string{"SECRETS_DIR"}
	for t, i := reflect.TypeOf(settings{}), 0; i < t.NumField(); i++ {
		if name := t.Field(i).Tag.Get("env"); name != "" {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	var out []string
	for _, kv := range a.env.Environ {
		full, _, _ := strings.Cut(kv, "=")
		name, ok := strings.CutPrefix(full, variablePrefix)
		if !ok || slices.Contains(known, name) || foreign.MatchString(name) {
			continue
		}
		if cfg != nil && slices.ContainsFunc(cfg.Providers.Targets, func(t config.Target) bool { return t.SecretRef.Env == full }) {
			continue
		}
		flag := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		hint := "kt gateway run --help names those that are read"
		if slices.Contains(flagsOnly, flag) {
			hint = "it is a flag only: --" + flag
		} else if near := diag.Nearest(name, known); near != "" {
			hint = "did you mean " + variablePrefix + near + "?"
		}
		out = append(out, fmt.Sprintf("nothing reads the variable %s; %s", diag.Word(full, maxWord), hint))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
