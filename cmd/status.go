package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/upstream"
)

func (a *app) gatewayStatusCmd() *cobra.Command {
	var base, token string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "show a running gateway: policies in use, warnings, and every target's health",
		Long: "status asks the gateway's inspection endpoints. Exit status: 0 it runs and a target can be asked,\n" +
			"1 it does not run or no target can be asked.",
		Example: "  kt gateway status\n  kt gateway status --url http://10.0.0.5:41002 --api-token $TOKEN --json",
		Args:    usageArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if token == "" {
				if token = a.env.Getenv("KEEPTRUSTS_GATEWAY_TOKEN"); token == "" {
					token = a.env.Getenv("KEEPTRUSTS_API_TOKEN")
				}
			}
			base = strings.TrimSuffix(base, "/")
			failed := func(err error) error {
				if asJSON {
					return errors.Join(fail(ExitFound, err), a.printJSON(map[string]any{"error": err.Error()}))
				}
				return fail(ExitFound, err)
			}
			var h health
			if err := a.ask(c.Context(), base+"/healthz", "", &h); err != nil {
				return failed(err)
			}
			var raw json.RawMessage
			if err := a.ask(c.Context(), base+"/keeptrusts/providers/metrics", token, &raw); err != nil {
				return failed(err)
			}
			var s upstream.Snapshot
			if err := json.Unmarshal(raw, &s); err != nil {
				return failed(fmt.Errorf("read gateway's figures: %w", err))
			}
			if asJSON {
				if err := a.printJSON(map[string]any{"gateway": h, "providers": raw}); err != nil {
					return err
				}
			} else {
				a.printStatus(base, &h, &s)
			}
			for i := range s.Targets {
				if s.Targets[i].Status != "unhealthy" {
					return nil
				}
			}
			return fail(ExitFound, fmt.Errorf("no target of %s can be asked", shownURL(base)))
		},
	}
	f := c.Flags()
	f.StringVar(&base, "url", defaultURL, "the gateway")
	f.StringVar(&token, "api-token", "", "its token (KEEPTRUSTS_GATEWAY_TOKEN)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printStatus(base string, h *health, s *upstream.Snapshot) {
	out := a.env.Stdout
	fmt.Fprintf(out, "%s: %s, kt %s, up %s\n", shownURL(base), h.Status, h.Version, span(h.Uptime))
	fmt.Fprintf(out, "pack %s %s, mode=%s, digest %.12s, config %.19s\n", h.Pack, h.PackVer, h.Mode, h.Digest, h.Config)
	for _, o := range h.Overrides {
		fmt.Fprintf(out, "override in force: %s\n", o)
	}
	for _, w := range h.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	fmt.Fprintf(out, "routing %s: %d requests, %d fallbacks, %d probes\n\n", s.Strategy, s.Requests, s.Fallbacks, s.Probes)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "TARGET\tSTATUS\tBREAKER\tIN FLIGHT\tCALLS\tFAILED\tFIRST ms\tp95 ms\tTOKENS/s\tLAST FAILURE")
	for i := range s.Targets {
		t := &s.Targets[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%.0f%%\t%.0f\t%.0f\t%.0f\t%s\n", t.ID, t.Status, t.Breaker, t.InFlight, t.CallsTotal, 100*t.FailureRate,
			t.FirstContentMs, t.FirstContentP95, t.TokensPerSecond, orDash(t.LastFailure))
	}
	_ = w.Flush() // the terminal went away; nothing else can be said there
	for i := range s.Targets {
		t := &s.Targets[i]
		var parts []string
		for class, n := range t.Classes {
			if class != "ok" {
				parts = append(parts, fmt.Sprintf("%s %d", class, n))
			}
		}
		if len(parts) > 0 {
			sort.Strings(parts)
			fmt.Fprintf(out, "%s failed: %s\n", t.ID, strings.Join(parts, ", "))
		}
	}
}

// span is a time in seconds for people.
func span(s int64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 7200:
		return fmt.Sprintf("%d min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h", s/3600)
	}
	return fmt.Sprintf("%d days", s/86400)
}
