package gen

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

// Exit statuses of Main: those of kt.
const (
	exitOK    = 0
	exitFound = 1
	exitUsage = 2
)

// Main is the program ktgen. It gives its exit status: 0 done or up to date,
// 1 stale (with -check), 2 could not generate.
func Main(args []string, stdout, stderr io.Writer) int {
	const usage = "usage: ktgen all [-root DIR] [-check]\n       ktgen pack -config FILE -out DIR [-package NAME] [-check]"
	if len(args) == 0 {
		fmt.Fprintln(stderr, usage)
		return exitUsage
	}
	fs := flag.NewFlagSet("ktgen "+args[0], flag.ContinueOnError)
	fs.SetOutput(stderr)
	root := fs.String("root", ".", "the kt repository")
	check := fs.Bool("check", false, "write nothing; exit status 1 when a file is not up to date")
	file := fs.String("config", "policy-config.yaml", "the configuration")
	out := fs.String("out", "pack", "the folder of the generated package")
	pkg := fs.String("package", "", "the package's name (default: the folder's)")
	if err := fs.Parse(args[1:]); err != nil {
		return exitUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintln(stderr, usage)
		return exitUsage
	}
	var res Result
	var err error
	mend := "go generate ./..."
	switch args[0] {
	case "all":
		res, err = Repository(*root, *check)
	case "pack":
		res, err = PackDir([]string{*file}, *out, *pkg, *check)
	default:
		fmt.Fprintln(stderr, usage)
		return exitUsage
	}
	return res.Report(err, *check, mend, stdout, stderr)
}

// Result is what a generation did.
type Result struct {
	Diags diag.List // about the configuration
	Stale []string  // files that were written, or with check would be
}

// Report prints a result and gives the exit status. mend is the command that
// brings the files up to date.
func (r Result) Report(err error, check bool, mend string, stdout, stderr io.Writer) int {
	if errs := r.Diags.Filter(diag.Error); len(errs) > 0 {
		fmt.Fprint(stderr, errs.Text())
		return exitUsage
	}
	if err != nil {
		fmt.Fprintf(stderr, "kt gen: %v\n", err)
		return exitUsage
	}
	for _, f := range r.Stale {
		if check {
			fmt.Fprintf(stderr, "%s: error %s: not up to date; run: %s\n", f, diag.GenStale, mend)
		} else {
			fmt.Fprintf(stdout, "wrote %s\n", f)
		}
	}
	if check && len(r.Stale) > 0 {
		return exitFound
	}
	return exitOK
}

// Repository generates everything that the kt repository at root commits, or
// with check only compares.
func Repository(root string, check bool) (Result, error) {
	out, diags, err := All(root)
	return finish(root, out, diags, check, err)
}

// PackDir generates the pack of configuration files into a folder, or with
// check only compares. pkg is the package's name; empty takes the folder's.
func PackDir(files []string, dir, pkg string, check bool) (Result, error) {
	var sources []config.Source
	for _, f := range files {
		data, err := config.ReadFile(f)
		if err != nil {
			return Result{}, fmt.Errorf("read configuration: %w", err)
		}
		sources = append(sources, config.Source{Name: filepath.Base(f), Data: data})
	}
	if pkg == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return Result{}, fmt.Errorf("find output folder: %w", err)
		}
		pkg = PackageName(filepath.Base(abs))
	}
	out, diags, err := FromConfig(sources, pkg)
	return finish(dir, out, diags, check, err)
}

func finish(root string, out []Output, diags diag.List, check bool, err error) (Result, error) {
	res := Result{Diags: diags}
	if err != nil || diags.HasErrors() {
		return res, err
	}
	if len(out) == 0 {
		return res, errors.New("nothing was generated")
	}
	if check {
		res.Stale = Stale(root, out)
		return res, nil
	}
	res.Stale, err = Write(root, out)
	return res, err
}
