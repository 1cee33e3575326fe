// Package cmd holds the commands of kt. It is the only place that joins
// configuration, policy chain and gateway. Users who compile their own packs
// call Main from a main.go of their own.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline"
)

// Exit statuses (docs/cli.md).
const (
	ExitOK          = 0
	ExitFound       = 1   // the thing that was checked has faults
	ExitUsage       = 2   // the command could not run: usage, unreadable or invalid configuration
	ExitStart       = 3   // the gateway could not start
	ExitCut         = 4   // shut down, and streams were cut
	ExitInterrupted = 130 // ended by a signal before it was done
)

// Pack opens a compiled pack; generated packages export one as Chain.
type Pack func() (pipeline.Chain, error)

// Env is everything that a command takes from the outside, so that a test can
// run kt in its own process.
type Env struct {
	Args    []string // without the program's name
	Environ []string // KEY=value
	Dir     string   // working folder; empty is the process's own
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Now     func() time.Time
}

// OSEnv is the process's own environment.
func OSEnv() *Env {
	return &Env{Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now}
}

// Getenv gives a variable's value, empty when it is not set.
func (e *Env) Getenv(name string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(e.Environ[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

// Main runs kt with the given compiled packs and ends the process.
func Main(packs ...Pack) {
	os.Exit(Run(context.Background(), OSEnv(), packs...))
}

// exit is an error with an exit status. A nil err says that everything was printed already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func fail(code int, err error) error { return &exit{code, err} }

// app is one run of kt.
type app struct {
	env   *Env
	packs []Pack
}

// Run runs one command line and gives its exit status.
func Run(ctx context.Context, env *Env, packs ...Pack) int {
	out := &output{w: env.Stdout}
	mine := *env
	mine.Stdout = out
	env = &mine
	a := &app{env: env, packs: packs}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	ownCommands(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		if lost := out.lost(); lost != nil { // half a result is none
			fmt.Fprintf(env.Stderr, "kt: write output: %v\n", lost)
			return ExitUsage
		}
		return ExitOK
	}
	var e *exit
	if !errors.As(err, &e) { // cobra's own: unknown command, flag or argument
		if rest, ok := strings.CutPrefix(err.Error(), "unknown command \""); ok {
			name, _, _ := strings.Cut(rest, "\"")
			err = unknownCommand(root, name)
		}
		fmt.Fprintf(env.Stderr, "kt: %v\n", err)
		return ExitUsage
	}
	if e.err != nil {
		fmt.Fprintf(env.Stderr, "kt: %v\n", e.err)
	}
	return e.code
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "kt",
		Short: "LLM policy gateway",
		Long: "kt puts a reviewed policy-config.yaml in front of your model providers: every request and every\n" +
			"streamed answer passes its policy chain; clients change only their base URL.",
		Example: "  kt init\n  kt policy lint\n  kt policy test --json\n  kt gateway run --listen 127.0.0.1:41002 --policy-config policy-config.yaml",
		Version: version(), SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	c.SetFlagErrorFunc(flagFault)
	c.SetVersionTemplate("kt {{.Version}}\n")
	c.AddCommand(a.initCmd(), a.versionCmd(), a.policyCmd(), a.gatewayCmd(), a.providersCmd(), a.eventsCmd(), a.doctorCmd(), a.genCmd(), a.buildCmd(), a.mockCmd(), a.demoCmd())
	return c
}

// group is what a command does that only holds others: help without an
// argument, and a fault for one that names none of them. Without it cobra
// prints the help and reports success.
func group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	return unknownCommand(c, args[0])
}

func unknownCommand(c *cobra.Command, name string) error {
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	want := "want one of " + strings.Join(known, ", ")
	if slices.Contains(unbuiltCommands[c.CommandPath()], name) {
		return fail(ExitUsage, fmt.Errorf("%s %s is documented but not built yet in this version; %s", c.CommandPath(), name, want))
	}
	hint := ""
	if near := diag.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	if at := elsewhere(c.Root(), name); at != "" {
		hint = fmt.Sprintf("; did you mean %s?", at)
	}
	return fail(ExitUsage, fmt.Errorf("%s has no command %q; %s%s", c.CommandPath(), name, want, hint))
}

// unbuiltCommands are documented ones, by the command that they belong to.
var unbuiltCommands = map[string][]string{
	"kt": {"auth", "chat", "config", "config-var", "control", "escalation", "escalations", "export-jobs", "kb", "knowledge-base",
		"loads", "secret", "spend", "team", "user", "webhook"},
	"kt gateway": {"config", "create", "diff", "inspect", "install", "list", "reconcile", "reload", "revert", "start", "stop", "uninstall"},
	"kt events":  {"export"},
}

// elsewhere is the path of the one command that has the name, below another one.
func elsewhere(root *cobra.Command, name string) (path string) {
	for _, c := range root.Commands() {
		for _, sub := range c.Commands() {
			if sub.Name() == name && sub.IsAvailableCommand() && c.Name() != "completion" {
				if path != "" {
					return ""
				}
				path = sub.CommandPath()
			}
		}
	}
	return path
}

// output is the standard output. It keeps the first fault, so that commands need
// not look at each line they write.
type output struct {
	w   io.Writer
	mu  sync.Mutex
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

func (o *output) lost() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// terminal tells whether it is one.
func (o *output) terminal() bool {
	f, ok := o.w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ownCommands completes cobra's own commands, completion and help: they too
// refuse what they do not know. After SetOut, which the first one reads once.
func ownCommands(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args, c.RunE = nil, group
		case "help":
			c.Run, c.RunE = nil, help
		}
	}
}

func help(c *cobra.Command, args []string) error {
	at, rest, err := c.Root().Find(args)
	if at == nil || err != nil {
		return unknownCommand(c.Root(), args[0])
	}
	if len(rest) > 0 && at.HasSubCommands() {
		return unknownCommand(at, rest[0])
	}
	at.InitDefaultHelpFlag()
	at.InitDefaultVersionFlag()
	return at.Help()
}

// usageArgs makes a wrong number of arguments say what is expected.
func usageArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return fail(ExitUsage, fmt.Errorf("%s takes %s; got %d arguments (see %s --help)", c.CommandPath(), what, len(args), c.CommandPath()))
	}
}
