package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/schemas"
)

// defaultConfig is the file that is read when none is named.
const defaultConfig = "policy-config.yaml"

func (a *app) policyCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "policy", Short: "check, test and describe a policy configuration",
		RunE: group,
	}
	c.AddCommand(a.lintCmd(), a.testCmd(), a.schemaCmd())
	return c
}

// path makes a file name relative to the command's folder.
func (a *app) path(name string) string {
	if a.env.Dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(a.env.Dir, name)
}

// sources reads configuration files; names stay as the user wrote them.
func (a *app) sources(names []string) ([]config.Source, error) {
	if len(names) == 0 {
		names = []string{defaultConfig}
	}
	var out []config.Source
	for _, n := range names {
		data, err := config.ReadFile(a.path(n))
		if errors.Is(err, fs.ErrNotExist) {
			hint := ""
			if n == defaultConfig {
				hint = " (kt init writes one, --policy-config and --file name another)"
			}
			if strings.Contains(n, ",") {
				hint = " (one file a flag: repeat it for several)"
			}
			return nil, fail(ExitUsage, fmt.Errorf("read configuration: there is no file %s%s", n, hint))
		}
		if err != nil {
			return nil, fail(ExitUsage, fmt.Errorf("read configuration: %w", err))
		}
		out = append(out, config.Source{Name: n, Data: data})
	}
	return out, nil
}

// print writes diagnostics for a person.
func (a *app) print(list diag.List) {
	if len(list) == 0 {
		return
	}
	list.Sort()
	_ = list.Render(a.env.Stderr) // the terminal went away; nothing else can be said there
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [KIND]",
		Short: "print the JSON Schema of the configuration, or of one policy kind, for editors",
		Example: "  kt policy schema > policy-config.schema.json\n" +
			"  kt policy schema pii-detector",
		Args: atMostOne("a policy kind"),
		RunE: func(_ *cobra.Command, args []string) error {
			text := schemas.PolicyConfig()
			if len(args) == 1 {
				k, ok := schemas.Kind(args[0])
				if !ok {
					hint := ""
					if near := diag.Nearest(args[0], schemas.Kinds()); near != "" {
						hint = fmt.Sprintf("; did you mean %s?", near)
					}
					return fail(ExitUsage, fmt.Errorf("there is no policy kind %q; want one of %s%s", args[0], strings.Join(schemas.Kinds(), ", "), hint))
				}
				text = k
			}
			_, err := a.env.Stdout.Write(text)
			return err
		},
	}
}
