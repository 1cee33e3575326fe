package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/gen"
	"github.com/keeptrusts/kt/internal/diag"
)

const modulePath = "github.com/keeptrusts/kt"

func (a *app) genCmd() *cobra.Command {
	var files []string
	var out, pkg string
	var check bool
	c := &cobra.Command{
		Use:   "gen",
		Short: "generate the Go package of a configuration's policies",
		Long: "gen writes what go generate in a module of kt init --module writes: a Go package and its table file.\n" +
			"With --check nothing is written. Exit status: 0 done or up to date, 1 stale (--check), 2 could not generate.",
		Example: "  kt gen --policy-config policy-config.yaml --out pack\n  kt gen --check",
		Args:    usageArgs(0, "no arguments (name files with --policy-config)"),
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return fail(ExitUsage, errors.New("--out must name a folder, such as pack (. is this one); it is empty"))
			}
			if err := a.checkForPack(files); err != nil {
				return err
			}
			res, err := gen.PackDir(a.paths(files), a.path(out), pkg, check)
			mend := "kt gen"
			if len(files) > 0 {
				mend += " --policy-config " + strings.Join(files, " --policy-config ")
			}
			if code := res.Report(err, check, mend+" --out "+out, a.env.Stdout, a.env.Stderr); code != ExitOK {
				return fail(code, nil)
			}
			if len(res.Stale) == 0 {
				fmt.Fprintf(a.env.Stdout, "%s is up to date\n", out)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&files, "policy-config", nil, "configuration file; repeat to layer files (default "+defaultConfig+")")
	f.StringVar(&out, "out", "pack", "folder of the package")
	f.StringVar(&pkg, "package", "", "name of the package (default: the folder's)")
	f.BoolVar(&check, "check", false, "write nothing; exit status 1 when a file is not up to date")
	return c
}

func (a *app) buildCmd() *cobra.Command {
	var files []string
	var out, replace string
	c := &cobra.Command{
		Use:   "build",
		Short: "compile a kt with a configuration's policies in it (needs the go command)",
		Long: "build generates a Go package of the configuration's policies, as kt gen does, and compiles a kt that has it\n" +
			"linked. It is this kt with every command and the configuration's tables beside it: it starts without building\n" +
			"them. The configuration itself is not in it: name it to gateway run as before. When its policies change, the\n" +
			"binary runs them interpreted, as this kt does; with --require-compiled it refuses to start instead.\n" +
			"It needs the go command, and the source of kt: its release from the module proxy, or a checkout (--replace).\n" +
			"Exit status: 0 done, 2 the configuration is not valid or nothing could be built.",
		Example: "  kt build --policy-config policy-config.yaml -o kt-mine\n  ./kt-mine gateway run --policy-config policy-config.yaml --require-compiled",
		Args:    usageArgs(0, "no arguments (name files with --policy-config)"),
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return fail(ExitUsage, errors.New("--output must name a file, such as kt; it is empty"))
			}
			version, from, err := a.source(replace)
			if err != nil {
				return err
			}
			if err := a.checkForPack(files); err != nil {
				return err
			}
			res, err := gen.Build(gen.BuildOptions{Config: a.paths(files), Out: a.path(out), Replace: from, Version: version})
			if errs := res.Diags.Filter(diag.Error); len(errs) > 0 {
				a.print(errs)
				return fail(ExitUsage, nil)
			}
			if err != nil {
				return fail(ExitUsage, err)
			}
			fmt.Fprintf(a.env.Stdout, "wrote %s; next: %s gateway run --policy-config %s --require-compiled\n", out, runnable(out), strings.Join(a.names(files), " --policy-config "))
			return nil
		},
	}
	f := c.Flags()
	f.StringArrayVar(&files, "policy-config", nil, "configuration file; repeat to layer files (default "+defaultConfig+")")
	f.StringVarP(&out, "output", "o", "kt", "the binary")
	f.StringVar(&replace, "replace", "", "checkout of kt to build from (default: where this kt was built, else its release)")
	return c
}

// checkForPack judges a configuration as kt gateway run would, before a pack is
// made of it: what that refuses is refused, and a target that it would leave out
// is a warning. Package gen cannot know the targets: it has to build while
// generated code does not.
func (a *app) checkForPack(files []string) error {
	l, err := a.load(files, loadOptions{})
	if err != nil {
		return err
	}
	list := l.list.Filter(diag.Error)
	if len(list) == 0 && l.config != nil {
		for _, t := range l.config.Providers.InOrder() {
			list = append(list, leftOut(t, false)...)
		}
	}
	a.print(list)
	if list.HasErrors() {
		return fail(ExitUsage, nil)
	}
	return nil
}

// runnable is how a shell starts a file.
func runnable(name string) string {
	if strings.ContainsRune(name, filepath.Separator) {
		return name
	}
	return "." + string(filepath.Separator) + name
}

func (a *app) names(files []string) []string {
	if len(files) == 0 {
		return []string{defaultConfig}
	}
	return files
}

func (a *app) paths(files []string) []string {
	var out []string
	for _, f := range a.names(files) {
		out = append(out, a.path(f))
	}
	return out
}

// source says what a user's module is built from: the release that this kt is,
// or a checkout of kt.
func (a *app) source(replace string) (version, checkout string, err error) {
	if replace != "" {
		dir, err := filepath.Abs(a.path(replace))
		if err != nil || !isCheckout(dir) {
			return "", "", fail(ExitUsage, fmt.Errorf("--replace: there is no checkout of %s in %s", modulePath, replace))
		}
		return "", dir, nil
	}
	if v := versionOfModule(); strings.HasPrefix(v, "v") && !strings.Contains(v, "+dirty") && !strings.Contains(v, "-0.") {
		return v, "", nil
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err == nil {
		for dir := filepath.Dir(self); ; dir = filepath.Dir(dir) {
			if isCheckout(dir) {
				return "", dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", "", fail(ExitUsage, fmt.Errorf("this kt is no release, so a checkout of %s is needed: --replace DIR", modulePath))
}

func isCheckout(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && bytes.HasPrefix(b, []byte("module "+modulePath+"\n"))
}

// initModule writes a module that compiles its own kt.
func (a *app) initModule(dir, name, replace string, config []byte) error {
	version, checkout, err := a.source(replace)
	if err != nil {
		return err
	}
	if err := gen.InitModule(gen.ModuleOptions{Dir: a.path(dir), Name: name, Replace: checkout, Version: version, Config: config, Test: []byte(starterTests)}); err != nil {
		return fail(ExitUsage, err)
	}
	for _, f := range []string{"go.mod", "main.go", defaultConfig, filepath.Join("tests", "first.json")} {
		fmt.Fprintf(a.env.Stdout, "wrote %s\n", filepath.Join(dir, f))
	}
	cd := ""
	if dir != "." {
		cd = "cd " + dir + " && "
	}
	fmt.Fprintf(a.env.Stdout, "next: %sgo generate && go build -o kt . && ./kt gateway run --policy-config %s\n", cd, defaultConfig)
	return nil
}
