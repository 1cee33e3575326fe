package cmd

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/upstream/provider/all"
)

func (a *app) providersCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "providers", Short: "list the providers that a target can name, with what they can do",
		Args: usageArgs(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			type row struct {
				ID      string   `json:"id"`
				Aliases []string `json:"aliases,omitempty"`
				Name    string   `json:"name"`
				BaseURL string   `json:"base_url,omitempty"`
				KeyEnv  []string `json:"key_env,omitempty"`
				Caps    []string `json:"capabilities"`
				Local   bool     `json:"local,omitempty"`
				Note    string   `json:"note,omitempty"`
				Missing string   `json:"not_available,omitempty"`
			}
			var rows []row
			for _, r := range all.Rows() {
				rows = append(rows, row{r.ID, r.Aliases, r.Name, r.BaseURL, r.KeyEnv, strings.FieldsFunc(r.Caps.String(), func(c rune) bool { return c == ',' || c == ' ' }), r.Local, r.Quirks, r.Missing})
			}
			if asJSON {
				return a.printJSON(rows)
			}
			w := tabwriter.NewWriter(a.env.Stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tBASE URL\tKEY\tCAPABILITIES")
			for _, r := range rows {
				base := r.BaseURL
				switch {
				case r.Missing != "":
					base = "(not available yet: " + r.Missing + ")"
				case base == "":
					base = "(set base_url)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.ID, base, strings.Join(r.KeyEnv, " or "), strings.Join(r.Caps, " "))
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
