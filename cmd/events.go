package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/audit"
	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

func (a *app) eventsCmd() *cobra.Command {
	c := &cobra.Command{Use: "events", Short: "read the local audit log", RunE: group}
	c.AddCommand(a.eventsTailCmd())
	return c
}

func (a *app) eventsTailCmd() *cobra.Command {
	var since, verdict, policy, dir string
	var limit int
	var asJSON, follow bool
	c := &cobra.Command{
		Use:     "tail",
		Short:   "print the newest decisions",
		Example: "  kt events tail --since 1h --verdict block\n  kt events tail -n 10 -f\n  kt events tail --json --limit 10",
		Args:    usageArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			defer func() {
				if e := (*exit)(nil); asJSON && !follow && errors.As(err, &e) && e.err != nil { // nothing was printed yet
					err = errors.Join(err, a.printJSON(map[string]any{"error": e.Error()}))
				}
			}()
			f := audit.Filter{Verdict: verdict, Policy: policy, Limit: limit}
			if !slices.Contains([]string{"", "allow", "block", "redact", "escalate"}, verdict) {
				return fail(ExitUsage, fmt.Errorf("--verdict must be allow, block, redact or escalate; got %q%s", verdict, didYouMean(diag.Nearest(verdict, []string{"allow", "block", "redact", "escalate"}))))
			}
			if kinds := config.DocumentedKinds(); policy != "" && !slices.Contains(kinds, policy) {
				return fail(ExitUsage, fmt.Errorf("--policy: there is no policy kind %q; want one of %s%s", policy, strings.Join(kinds, ", "), didYouMean(diag.Nearest(policy, kinds))))
			}
			if limit < 0 {
				return fail(ExitUsage, fmt.Errorf("--limit must be at least 0 (0: all); got %d", limit))
			}
			if f.Since, err = parseSince(since, a.env.Now()); err != nil {
				return fail(ExitUsage, err)
			}
			if dir == "" {
				dir = filepath.Join(a.dataDir(), "audit")
			}
			events, damaged, fl, err := audit.Tail(a.path(dir), f)
			if errors.Is(err, fs.ErrNotExist) {
				return fail(ExitUsage, fmt.Errorf("there is no audit log in %s (--dir or KEEPTRUSTS_DATA_DIR names another folder)", dir))
			}
			if err != nil {
				return fail(ExitUsage, err)
			}
			defer fl.Close()
			if damaged > 0 {
				fmt.Fprintf(a.env.Stderr, "%d lines are no whole records (a crash can cut the last one)\n", damaged)
			}
			if asJSON && !follow {
				raw := make([]json.RawMessage, len(events))
				for i := range events {
					raw[i] = events[i].Raw
				}
				return a.printJSON(raw)
			}
			a.printEvents(events, asJSON, true)
			if len(events) == 0 { // an empty table is easily taken for a quiet day
				fmt.Fprintf(a.env.Stderr, "no record in %s matches\n", dir)
			}
			if !follow {
				return nil
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			f.Limit = 0
			tick := time.NewTicker(250 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
				more, err := fl.Next(f)
				if err != nil {
					return fail(ExitUsage, err)
				}
				a.printEvents(more, asJSON, false)
			}
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "only newer ones: 5m, 1h, 24h, 7d, or an RFC 3339 time")
	f.StringVar(&verdict, "verdict", "", "allow, block, redact or escalate")
	f.StringVar(&policy, "policy", "", "decided by this kind of policy, such as pii-detector")
	f.IntVarP(&limit, "limit", "n", 50, "the newest so many; 0: all")
	f.BoolVar(&asJSON, "json", false, "print the records as JSON")
	f.BoolVarP(&follow, "follow", "f", false, "go on printing new ones until Ctrl-C")
	f.StringVar(&dir, "dir", "", "folder of the audit files (default: KEEPTRUSTS_DATA_DIR/audit)")
	return c
}

func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--since must be a span such as 5m, 1h or 7d, or an RFC 3339 time; got %q", s)
}

// maxWord is how many characters of a record's word a line of the table has.
const maxWord = 64

func (a *app) printEvents(events []audit.Event, asJSON, head bool) {
	if asJSON {
		for _, e := range events {
			fmt.Fprintf(a.env.Stdout, "%s\n", bytes.TrimSpace(e.Raw))
		}
		return
	}
	w := tabwriter.NewWriter(a.env.Stdout, 0, 4, 2, ' ', 0)
	if head {
		fmt.Fprintln(w, "TIME\tID\tVERDICT\tREASON\tSTATUS\tMODEL\tTARGET")
	}
	// The model's name is the client's, and the files may be anybody's.
	word := func(s string) string { return diag.Word(s, maxWord) }
	for _, e := range events {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", e.Time.Format("2006-01-02 15:04:05"), word(e.ID), word(e.Verdict), word(e.Reason), e.Status, word(e.Model), word(e.Target))
	}
	_ = w.Flush() // the terminal went away; nothing else can be said there
}
