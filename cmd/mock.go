package cmd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/upstream/mock"
)

func (a *app) mockCmd() *cobra.Command {
	var listen, scriptFile, fault string
	var o mock.Options
	var first, delay time.Duration
	s := &mock.Script{}
	c := &cobra.Command{
		Use:   "mock",
		Short: "run an OpenAI-compatible provider for tries and tests",
		Long: "mock answers chat completions without a model: it echoes the last user message, or says a given text,\n" +
			"in pieces of any size, with delays and faults. A request can override the options in its model name:\n" +
			"gpt-5!piece=1,delay=5ms,fault=cut,after=3",
		Example: "  kt mock --listen 127.0.0.1:41003\n" +
			"  kt mock --text 'Write to ada@example.org' --piece 1 --delay 20ms\n" +
			"  kt gateway run --upstream http://127.0.0.1:41003",
		Args: usageArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if scriptFile != "" {
				raw, err := os.ReadFile(a.path(scriptFile))
				if err != nil {
					return fail(ExitUsage, fmt.Errorf("read script: %w", err))
				}
				if s, err = mock.ParseScript(raw); err != nil {
					return fail(ExitUsage, fmt.Errorf("read script %s: %w", scriptFile, err))
				}
			} else {
				if fault == "list" {
					return a.listFaults()
				}
				if fault != "" && !slices.Contains(mock.Faults(), mock.Fault(fault)) {
					var names []string
					for _, f := range mock.Faults() {
						names = append(names, string(f))
					}
					return fail(ExitUsage, fmt.Errorf("there is no fault %q; want one of %s%s (--fault list says what each is)", fault, strings.Join(names, ", "), didYouMean(diag.Nearest(fault, names))))
				}
				for _, n := range []struct {
					flag string
					ok   bool
					want string
				}{
					{"piece", o.Piece > 0, "at least 1"}, {"words", o.Words >= 0, "at least 0"}, {"after", o.After >= 0, "at least 0"},
					{"rate", o.Rate >= 0 && o.Rate <= 1, "between 0 and 1"}, {"status", o.Status == 0 || o.Status >= 200 && o.Status <= 599, "an HTTP status from 200 to 599"},
					{"first", first >= 0, "at least 0"}, {"delay", delay >= 0, "at least 0"},
				} {
					if !n.ok {
						return fail(ExitUsage, fmt.Errorf("--%s must be %s; got %s", n.flag, n.want, c.Flag(n.flag).Value))
					}
				}
				o.First, o.Delay, o.Fault = mock.Duration(first), mock.Duration(delay), mock.Fault(fault)
				s.Default = o
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return a.runMock(ctx, listen, s)
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:41003", "address; port 0 takes a free one")
	f.StringVar(&scriptFile, "script", "", "JSON file that says how to answer which request; no other option counts then")
	f.StringVar(&o.Text, "text", "", "the answer (default: echo the last user message)")
	f.IntVar(&o.Words, "words", 0, "answer with this many words instead")
	f.IntVar(&o.Piece, "piece", 4, "characters per event")
	f.DurationVar(&first, "first", 0, "wait before the first event")
	f.DurationVar(&delay, "delay", 0, "wait between events")
	f.StringVar(&fault, "fault", "", "what goes wrong; list prints all and what they are")
	f.IntVar(&o.After, "after", 0, "events with text before a fault in mid-stream")
	f.Float64Var(&o.Rate, "rate", 0, "share of requests with the fault (0: all)")
	f.IntVar(&o.Status, "status", 0, "HTTP status of the fault status")
	f.Uint64Var(&o.Seed, "seed", 1, "of words and rate")
	f.StringVar(&s.Key, "key", "", "bearer key that is asked for (default: none)")
	f.StringSliceVar(&s.Models, "models", nil, "names that GET /v1/models lists")
	return c
}

// listFaults prints the faults, one a line.
func (a *app) listFaults() error {
	w := tabwriter.NewWriter(a.env.Stdout, 0, 4, 2, ' ', 0)
	for _, f := range mock.Faults() {
		fmt.Fprintf(w, "%s\t%s\n", f, f.About())
	}
	return w.Flush()
}

// runMock serves until ctx ends.
func (a *app) runMock(ctx context.Context, listen string, s *mock.Script) error {
	srv, err := mock.Listen(listen, s)
	if err != nil {
		return fail(ExitStart, fmt.Errorf("listen on %s: %w", listen, err))
	}
	defer srv.Close()
	if f := s.Default.Fault; f == mock.RSTAccept || f == mock.StallAccept {
		srv.SetAccept(f) // no request comes that could play it
	}
	fmt.Fprintf(a.env.Stdout, "mock provider on %s (stop with Ctrl-C)\n", srv.URL)
	<-ctx.Done()
	return nil
}

func didYouMean(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}
