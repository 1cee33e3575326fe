package cmd

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline/plan"
	"github.com/keeptrusts/kt/pipeline/policytest"
)

// loaded is a configuration with everything that was said about it. config,
// plan and engine are nil from the stage that failed on.
type loaded struct {
	config *config.Config
	plan   *plan.Plan
	engine *plan.Engine
	list   diag.List
}

// loadOptions say how far load goes.
type loadOptions struct {
	engine  bool // build the tables too, which finds rules over budget
	targets bool // a target that could never be asked is a fault; else whoever starts it leaves it out
}

// load reads, checks and plans a configuration.
func (a *app) load(names []string, o loadOptions) (*loaded, error) {
	src, err := a.sources(names)
	if err != nil {
		return nil, err
	}
	l := &loaded{}
	opt := config.Options{Providers: providerIDs()}
	if o.targets {
		opt.CheckTarget = func(t config.Target) diag.List { return targetFaults(t, false) }
	}
	cfg, whole, list := config.Examine(src, opt)
	l.list = list
	if cfg == nil {
		return l, nil
	}
	p, more := plan.Build(cfg)
	if !whole {
		l.list = append(l.list, others(more, list)...)
		return l, nil
	}
	l.config, l.plan = cfg, p
	l.list = append(l.list, more...)
	if l.plan == nil || !o.engine {
		return l, nil
	}
	l.engine, more = l.plan.Engine()
	l.list = append(l.list, more...)
	return l, nil
}

// others are the errors of more, which is about what is left of a faulty
// configuration, at places of which known says nothing. What else the rest
// looks like is no sure sign for the whole.
func others(more, known diag.List) diag.List {
	return slices.DeleteFunc(more.Filter(diag.Error), func(d diag.Diagnostic) bool {
		return slices.ContainsFunc(known, func(k diag.Diagnostic) bool {
			return k.Severity == diag.Error && (k.File == d.File && k.Line == d.Line && k.Column == d.Column || k.Code == diag.ChainTooLong && d.Code == k.Code)
		})
	})
}

// finding is one diagnostic as kt policy lint --json prints it: the documented
// keys first, then ours.
type finding struct {
	Code       string   `json:"code"`
	Path       string   `json:"path"`
	Message    string   `json:"message"`
	Suggestion string   `json:"suggestion,omitempty"`
	Severity   string   `json:"severity"`
	File       string   `json:"file,omitempty"`
	Line       int      `json:"line,omitempty"`
	Column     int      `json:"column,omitempty"`
	Pointer    string   `json:"pointer,omitempty"`
	Hint       string   `json:"hint,omitempty"`
	Aliases    []string `json:"aliases,omitempty"`
}

func findings(list diag.List) []finding {
	out := []finding{}
	for _, d := range list {
		out = append(out, finding{
			Code: string(d.Code), Path: strings.ReplaceAll(strings.TrimPrefix(d.Pointer, "/"), "/", "."), Message: d.Message, Suggestion: d.Hint,
			Severity: d.Severity.String(), File: d.File, Line: d.Line, Column: d.Column, Pointer: d.Pointer, Hint: d.Hint, Aliases: d.Aliases,
		})
	}
	return out
}

func (a *app) lintCmd() *cobra.Command {
	var files []string
	var asJSON, strict, explain, merged bool
	c := &cobra.Command{
		Use:   "lint",
		Short: "check a configuration and say what each policy costs",
		Long: "lint reads the configuration as the gateway would, builds its policy chain, checks that every secret is\n" +
			"named and none is inlined, and reports all faults at once. Exit status: 0 valid, 1 invalid, 2 could not run.",
		Example: "  kt policy lint\n  kt policy lint --file policy-config.yaml --json\n  kt policy lint --explain",
		Args:    usageArgs(0, "no arguments (name files with --file)"),
		RunE: func(*cobra.Command, []string) error {
			l, err := a.load(files, loadOptions{engine: true, targets: true})
			if err != nil {
				if asJSON {
					err = errors.Join(err, a.printJSON(map[string]any{"valid": false, "file": fileName(files), "error": err.Error(), "errors": []any{}, "warnings": []any{}}))
				}
				return err
			}
			if l.config != nil { // a missing key is no fault of the file, but worth a word before the start
				for _, t := range l.config.Providers.InOrder() { // not those that are switched off
					_, more := config.Resolve(t, usualKey(t.Provider), a.env.Getenv, a.secrets())
					l.list = append(l.list, more...)
				}
				_, more := policytest.Inline(l.config.Testing)
				l.list = append(l.list, more...)
			}
			l.list.Sort()
			bad := l.list.HasErrors() || strict && l.list.Count(diag.Warning) > 0
			if asJSON {
				more := map[string]any{}
				if merged && !bad {
					more["merged"] = string(l.config.Root().YAML())
				}
				if explain && !bad {
					more["explain"], more["costs"] = l.plan.Explain(l.engine), l.plan.Costs(l.engine)
				}
				err = a.lintJSON(files, l, bad, more)
			} else {
				a.lintText(files, l, bad)
			}
			if err != nil {
				return err
			}
			if bad {
				return fail(ExitFound, nil)
			}
			if merged && !asJSON {
				fmt.Fprint(a.env.Stdout, string(l.config.Root().YAML()))
			}
			if explain && !asJSON {
				fmt.Fprint(a.env.Stdout, l.plan.Explain(l.engine))
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&files, "file", nil, "configuration file; repeat to layer files, later ones win (default "+defaultConfig+")")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON; --explain and --merged become texts in it, --explain numbers (costs) too")
	f.BoolVar(&strict, "strict", false, "warnings fail too")
	f.BoolVar(&explain, "explain", false, "print for every rule how it runs, its tables, memory and longest hold-back")
	f.BoolVar(&merged, "merged", false, "print the merged configuration of several files")
	return c
}

// fileName is how a result names what was checked.
func fileName(files []string) string {
	if len(files) == 0 {
		return defaultConfig
	}
	return strings.Join(files, " + ")
}

// lintJSON prints the result as one object; more is what --merged and --explain add.
func (a *app) lintJSON(files []string, l *loaded, bad bool, more map[string]any) error {
	if bad {
		failed := l.list.Filter(diag.Error)
		if len(failed) == 0 {
			failed = l.list.Filter(diag.Warning) // --strict
		}
		return a.printJSON(map[string]any{"valid": false, "file": fileName(files), "errors": findings(failed), "warnings": findings(l.list.Filter(diag.Warning))})
	}
	chain := []string{}
	for _, p := range l.plan.Policies {
		chain = append(chain, p.Kind)
	}
	out := map[string]any{
		"valid": true, "file": fileName(files),
		"pack":  map[string]any{"name": l.config.Pack.Name, "version": l.config.Pack.Version},
		"chain": chain, "policy_count": len(chain),
		"warnings": findings(l.list.Filter(diag.Warning)), "notes": findings(l.list.Filter(diag.Note)),
		"digest": l.plan.Info.Digest, "config_version": l.config.Digest,
	}
	maps.Copy(out, more)
	return a.printJSON(out)
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (a *app) lintText(files []string, l *loaded, bad bool) {
	a.print(l.list)
	if bad {
		fmt.Fprintf(a.env.Stdout, "%s is not valid: %s, %s\n", fileName(files), counted(l.list.Count(diag.Error), "error"), counted(l.list.Count(diag.Warning), "warning"))
		return
	}
	var chain []string
	for _, p := range l.plan.Policies {
		chain = append(chain, p.Kind)
	}
	fmt.Fprintf(a.env.Stdout, "OK %s\n  pack %s (%s)\n  chain %s\n  %d policies, digest %.12s\n",
		fileName(files), l.config.Pack.Name, l.config.Pack.Version, strings.Join(chain, " -> "), len(chain), l.plan.Info.Digest)
}
