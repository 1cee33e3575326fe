package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keeptrusts/kt/internal/diag"
)

// flagForms are what flags accept, by the type of their value.
var flagForms = map[string]string{
	"int": "a whole number", "uint64": "a whole number of at least 0", "float64": "a number, such as 0.5",
	"duration": "a duration, such as 500ms, 30s or 2m", "bool": "true or false",
}

// flagFault says what is wrong with a flag, and what was meant.
func flagFault(c *cobra.Command, err error) error {
	see := fmt.Sprintf(" (see %s --help)", c.CommandPath())
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &value):
		f := value.GetFlag()
		if form := flagForms[f.Value.Type()]; form != "" {
			return fail(ExitUsage, fmt.Errorf("--%s must be %s; got %q%s", f.Name, form, diag.Word(value.GetValue(), maxWord), see))
		}
	case errors.As(err, &missing):
		return fail(ExitUsage, fmt.Errorf("--%s needs a value%s", missing.GetFlag().Name, see))
	case errors.As(err, &unknown):
		given := unknown.GetSpecifiedName()
		long := "--" + given
		if short := unknown.GetSpecifiedShortnames(); short != "" { // -file for --file
			given, long = short, "-"+short
		}
		given, _, _ = strings.Cut(given, "=")
		long, _, _ = strings.Cut(long, "=")
		hint := ""
		if near := diag.Nearest(given, names); near != "" {
			hint = "; did you mean --" + near + "?"
		}
		return fail(ExitUsage, fmt.Errorf("%s has no flag %s%s%s", c.CommandPath(), diag.Word(long, maxWord), hint, see))
	}
	return fail(ExitUsage, fmt.Errorf("%w%s", err, see))
}

// atMostOne makes a second argument say what the first one is.
func atMostOne(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return fail(ExitUsage, fmt.Errorf("%s takes at most one argument, %s; got %d (see %s --help)", c.CommandPath(), what, len(args), c.CommandPath()))
	}
}
