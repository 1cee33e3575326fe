package cmd

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker (-X) for released binaries.
var release string

// versionOfModule is the version of kt that the module cache knows, empty when
// this kt was built from a checkout.
func versionOfModule() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if info.Main.Path == modulePath {
		return info.Main.Version
	}
	for _, d := range info.Deps { // a user's own module
		if d.Path == modulePath && d.Replace == nil {
			return d.Version
		}
	}
	return ""
}

// version is the released version, else the module's, else the commit.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

type packInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

func (a *app) versionCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "print the version, the Go release and the compiled packs in this binary",
		Args: usageArgs(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			packs := []packInfo{}
			for _, open := range a.packs {
				chain, err := open()
				if err != nil {
					return fail(ExitUsage, fmt.Errorf("open compiled pack: %w", err))
				}
				i := chain.Info()
				packs = append(packs, packInfo{i.Pack, i.Version, i.Digest})
			}
			if asJSON {
				return a.printJSON(map[string]any{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "packs": packs})
			}
			fmt.Fprintf(a.env.Stdout, "kt %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			for _, p := range packs {
				fmt.Fprintf(a.env.Stdout, "compiled pack: %s %s, digest %s\n", p.Name, p.Version, p.Digest)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.env.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fail(ExitUsage, fmt.Errorf("print result: %w", err))
	}
	return nil
}
