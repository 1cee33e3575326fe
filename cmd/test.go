package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline/policytest"
)

func (a *app) testCmd() *cobra.Command {
	var dir, run, junit string
	var asJSON, allSplits bool
	c := &cobra.Command{
		Use:   "test",
		Short: "run the pack's tests: tests/*.json beside the configuration, and its own testing.suites",
		Long: "test sends every case through the policy chain as the gateway would, answers included, and compares the\n" +
			"outcome. With --all-splits each case is also replayed cut at every position: the outcome must stay the same.\n" +
			"Exit status: 0 all passed, 1 a case failed or the configuration is invalid, 2 could not run.",
		Example: "  kt policy test\n  kt policy test --json --pack-dir examples/quickstart\n  kt policy test --all-splits --run 'override'",
		Args:    usageArgs(0, "no arguments (name the folder with --pack-dir)"),
		RunE: func(*cobra.Command, []string) (err error) {
			var faults diag.List
			defer func() {
				if e := (*exit)(nil); asJSON && errors.As(err, &e) && e.err != nil { // nothing was printed yet
					err = errors.Join(err, a.printJSON(map[string]any{"ok": false, "error": e.Error(), "errors": findings(faults.Filter(diag.Error)), "results": []any{}}))
				}
			}()
			if at, err := os.Stat(a.path(dir)); err == nil && !at.IsDir() {
				return fail(ExitUsage, fmt.Errorf("--pack-dir must be a folder with %s and tests/; %s is a file (its folder is %s)", defaultConfig, dir, filepath.Dir(dir)))
			}
			o := policytest.Options{AllSplits: allSplits}
			if run != "" {
				re, err := regexp.Compile(run)
				if err != nil {
					return fail(ExitUsage, fmt.Errorf("--run is no regular expression: %w", err))
				}
				o.Run = re
			}
			l, err := a.load([]string{filepath.Join(dir, defaultConfig)}, loadOptions{})
			if err != nil {
				return err
			}
			if l.plan == nil {
				faults = l.list
				a.print(l.list)
				return fail(ExitFound, fmt.Errorf("%s is not valid", filepath.Join(dir, defaultConfig)))
			}
			cases, list, err := a.cases(l, dir)
			if err != nil {
				return err
			}
			a.print(list)
			if list.HasErrors() {
				faults = list
				return fail(ExitUsage, errors.New("not every test can be read"))
			}
			chain, _, err := a.chain(l, a.openPacks()(), false, "")
			if err != nil {
				return err
			}
			rep := policytest.Run(chain, cases, o)
			if len(rep.Results) == 0 { // passing would hide a mistyped name
				return fail(ExitUsage, fmt.Errorf("%s: --run %q matches none of %d cases; a name is that of the case, with its suite and / before it", diag.TestNoCases, run, len(cases)))
			}
			if junit != "" {
				if err := a.junit(junit, rep); err != nil {
					return err
				}
			}
			if asJSON {
				err = a.printJSON(rep)
			} else {
				err = rep.WriteTable(a.env.Stdout)
			}
			if err != nil {
				return err
			}
			if !rep.OK {
				return fail(ExitFound, nil)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "pack-dir", ".", "folder with "+defaultConfig+" and tests/")
	f.StringVar(&run, "run", "", "only the cases whose name matches this regular expression")
	f.StringVar(&junit, "junit", "", "also write a JUnit report to this file")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	f.BoolVar(&allSplits, "all-splits", false, "replay each case cut at every position; the outcome must not change")
	return c
}

// cases are those of tests/ and of the configuration itself.
func (a *app) cases(l *loaded, dir string) ([]policytest.Case, diag.List, error) {
	cases, list := policytest.Inline(l.config.Testing)
	var files []string
	for _, pattern := range []string{"*.json", "*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(a.path(dir), "tests", pattern))
		if err != nil {
			return nil, nil, fail(ExitUsage, fmt.Errorf("list tests: %w", err))
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, nil, fail(ExitUsage, fmt.Errorf("read test: %w", err))
		}
		more, diags := policytest.ParseFile(filepath.Join(dir, "tests", filepath.Base(f)), data)
		cases, list = append(cases, more...), append(list, diags...)
	}
	if len(cases) == 0 && !list.HasErrors() {
		if len(files) > 0 {
			a.print(list)
			return nil, nil, fail(ExitUsage, fmt.Errorf("%s: there are no tests: no file in %s holds a case, nor does testing.suites in the configuration", diag.TestNoCases, filepath.Join(dir, "tests")))
		}
		return nil, nil, fail(ExitUsage, fmt.Errorf("%s: there are no tests: neither %s nor testing.suites in the configuration (kt init writes examples)", diag.TestNoCases, filepath.Join(dir, "tests", "*.json")))
	}
	return cases, list, nil
}

func (a *app) junit(name string, rep *policytest.Report) error {
	f, err := os.Create(a.path(name))
	if err == nil {
		err = errors.Join(rep.WriteJUnit(f), f.Close())
	}
	if err != nil {
		return fail(ExitUsage, fmt.Errorf("write JUnit report: %w", err))
	}
	return nil
}
