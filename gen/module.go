package gen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// toolLine keeps what ktgen needs in go.mod when go mod tidy has run.
const toolLine = "tool " + module + "/gen/ktgen\n"

// moduleLine is the first statement of a go.mod file.
var moduleLine = regexp.MustCompile(`(?m)^module .*$`)

// WriteModule writes go.mod and go.sum of a module in dir that uses the kt
// checkout at replace: the versions are those of kt, so that nothing is
// downloaded that kt does not have.
func WriteModule(dir, name, replace string) error {
	mod, err := os.ReadFile(filepath.Join(replace, "go.mod"))
	if err != nil {
		return fmt.Errorf("read go.mod of the kt checkout: %w", err)
	}
	if !strings.HasPrefix(string(mod), "module "+module+"\n") {
		return fmt.Errorf("read go.mod of the kt checkout: %s is not the module %s", replace, module)
	}
	mod = moduleLine.ReplaceAllLiteral(mod, []byte("module "+name))
	mod = fmt.Appendf(mod, "\n%s\nrequire %s v0.0.0\n\nreplace %s => %s\n", toolLine, module, module, modPath(replace))
	sum, err := os.ReadFile(filepath.Join(replace, "go.sum"))
	if err != nil {
		return fmt.Errorf("read go.sum of the kt checkout: %w", err)
	}
	return errors.Join(writeNew(filepath.Join(dir, "go.mod"), mod), writeNew(filepath.Join(dir, "go.sum"), sum))
}

// modPath quotes a path for go.mod where it needs to be.
func modPath(p string) string {
	p = filepath.ToSlash(p)
	if strings.ContainsAny(p, " \t\"'`()[]{},;") {
		return fmt.Sprintf("%q", p)
	}
	return p
}

// writeNew writes a file that must not be there with other content.
func writeNew(name string, data []byte) error {
	if old, err := os.ReadFile(name); err == nil && !bytes.Equal(old, data) {
		return fmt.Errorf("write %s: the file is there already; move it away first", name)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ModuleOptions of InitModule.
type ModuleOptions struct {
	Dir     string // of the new module; made when it is not there
	Name    string // module path; empty = the folder's name
	Replace string // a checkout of kt; empty uses Version
	Version string // kt's version for go.mod, when Replace is empty
	Config  []byte // policy-config.yaml
	Test    []byte // tests/first.json; empty = none
}

// InitModule writes a module that compiles its own kt: go.mod, a main.go that
// hands the pack to kt, the configuration and a test case. What to run next:
// go generate && go build -o kt .
func InitModule(opt ModuleOptions) error {
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return fmt.Errorf("init module: %w", err)
	}
	name := opt.Name
	if name == "" {
		name = PackageName(filepath.Base(dir))
	}
	if opt.Replace == "" && opt.Version == "" {
		return errors.New("init module: this kt was built from a checkout and has no version: name the checkout with --replace DIR")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("init module: %w", err)
	}
	var errs []error
	if opt.Replace != "" {
		checkout, err := filepath.Abs(opt.Replace)
		if err != nil {
			return fmt.Errorf("init module: %w", err)
		}
		errs = append(errs, WriteModule(dir, name, checkout))
	} else {
		errs = append(errs, writeNew(filepath.Join(dir, "go.mod"), fmt.Appendf(nil, "module %s\n\ngo 1.26.0\n\n%s\nrequire %s %s\n", name, toolLine, module, opt.Version)))
	}
	errs = append(errs,
		writeNew(filepath.Join(dir, "main.go"), []byte(moduleMain(name))),
		writeNew(filepath.Join(dir, "policy-config.yaml"), opt.Config),
	)
	if len(opt.Test) > 0 {
		errs = append(errs, writeNew(filepath.Join(dir, "tests", "first.json"), opt.Test))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("init module: %w", err)
	}
	return nil
}

// directive is split, since go generate would read it in this file too.
const directive = "//go:" + "generate"

// moduleMain is the program of a user's module. It needs the pack that its
// first directive generates.
func moduleMain(name string) string {
	return `// Command kt is the gateway with this folder's policies compiled in.
package main

import (
	"github.com/keeptrusts/kt/cmd"

	"` + name + `/pack"
)

` + directive + ` go run -mod=mod github.com/keeptrusts/kt/gen/ktgen pack -config policy-config.yaml -out pack
` + directive + ` go mod tidy

func main() { cmd.Main(pack.Chain) }
`
}

// BuildOptions of Build.
type BuildOptions struct {
	Config  []string // configuration files
	Out     string   // the binary
	Replace string   // a checkout of kt; empty uses Version
	Version string
}

// Build compiles a kt with the pack of a configuration in one step, in a
// folder that is removed afterwards. It needs the go command. The Result holds
// what there is to say about the configuration.
func Build(opt BuildOptions) (Result, error) {
	dir, err := os.MkdirTemp("", "kt-build-")
	if err != nil {
		return Result{}, fmt.Errorf("build pack: %w", err)
	}
	res, err := build(dir, opt)
	return res, errors.Join(err, os.RemoveAll(dir))
}

func build(dir string, opt BuildOptions) (Result, error) {
	out, err := filepath.Abs(opt.Out)
	if err != nil {
		return Result{}, fmt.Errorf("build pack: %w", err)
	}
	if len(opt.Config) == 0 {
		return Result{}, errors.New("build pack: no configuration is given")
	}
	res, err := PackDir(opt.Config, filepath.Join(dir, "pack"), "pack", false)
	if err != nil || res.Diags.HasErrors() {
		return res, err
	}
	first, err := os.ReadFile(opt.Config[0])
	if err != nil {
		return res, fmt.Errorf("build pack: %w", err)
	}
	if err := InitModule(ModuleOptions{Dir: dir, Name: "ktpack", Replace: opt.Replace, Version: opt.Version, Config: first}); err != nil {
		return res, err
	}
	cmd := exec.Command("go", "build", "-mod=mod", "-trimpath", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return res, fmt.Errorf("build pack: go build: %w\n%s", err, bytes.TrimSpace(text))
	}
	return res, nil
}
