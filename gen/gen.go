package gen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline/plan"
)

// packs are the compiled packs that this repository commits.
var packs = []struct{ dir, config string }{
	{"pipeline/compiled/quickstart", "pipeline/compiled/quickstart/policy-config.yaml"},
}

// All generates everything that this repository commits, into memory: wire
// tables, then reference pages, then packs. root is the repository; only
// sources are read from it. Paths of the outputs are relative to root.
func All(root string) ([]Output, diag.List, error) {
	out, err := Wire()
	if err != nil {
		return nil, nil, err
	}
	pages, err := Pages(os.DirFS(root))
	if err != nil {
		return nil, nil, err
	}
	out = append(out, pages...)
	for _, p := range packs {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p.config)))
		if err != nil {
			return nil, nil, fmt.Errorf("generate pack %s: %w", p.dir, err)
		}
		files, diags, err := FromConfig([]config.Source{{Name: path.Base(p.config), Data: data}}, path.Base(p.dir))
		if err != nil || diags.HasErrors() {
			return nil, diags, err
		}
		for _, f := range files {
			out = append(out, Output{Path: p.dir + "/" + f.Path, Data: f.Data})
		}
	}
	return out, nil, nil
}

// FromConfig generates the pack of a configuration. pkg is the package's name;
// empty makes one of the pack's name. The list holds everything that is to be
// said about the configuration; there are no files when it has an error.
func FromConfig(sources []config.Source, pkg string) ([]Output, diag.List, error) {
	cfg, diags := config.Load(sources, config.Options{})
	if cfg == nil {
		return nil, diags, nil
	}
	p, more := plan.Build(cfg)
	diags = append(diags, more...)
	if p != nil {
		var e *plan.Engine
		e, more = p.Engine()
		diags = append(diags, more...)
		if e != nil {
			if pkg == "" {
				pkg = PackageName(p.Info.Pack)
			}
			diags.Sort()
			files, err := Pack(p, e, pkg)
			return files, diags, err
		}
	}
	diags.Sort()
	return nil, diags, nil
}

// Write writes the outputs that differ from what stands under root, and gives
// their paths.
func Write(root string, out []Output) ([]string, error) {
	stale := Stale(root, out)
	for _, o := range out {
		name := filepath.Join(root, filepath.FromSlash(o.Path))
		if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, o.Data) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, fmt.Errorf("write generated file: %w", err)
		}
		if err := replace(name, o.Data); err != nil {
			return nil, fmt.Errorf("write generated file: %w", err)
		}
	}
	return stale, nil
}

// replace writes a file so that a reader sees the old or the new one, never a part.
func replace(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".kt-gen-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// Stale gives the paths of the outputs that differ from what stands under root.
func Stale(root string, out []Output) []string {
	var stale []string
	for _, o := range out {
		old, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(o.Path)))
		if err != nil || !bytes.Equal(old, o.Data) {
			stale = append(stale, o.Path)
		}
	}
	return stale
}
