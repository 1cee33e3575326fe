package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"github.com/keeptrusts/kt/cmd"
	"github.com/keeptrusts/kt/pipeline/compiled/quickstart"
)

// profiled runs kt with a CPU profile: the program itself has no way to make one.
func profiled(file string, args []string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	env := cmd.OSEnv()
	env.Args = args
	code := cmd.Run(context.Background(), env, quickstart.Chain)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		return err
	}
	if code != cmd.ExitOK {
		return fmt.Errorf("kt ended with status %d", code)
	}
	return nil
}

// pgo records what the gateway does under the workloads, without and with PII
// redaction, for the compiler: go build takes default.pgo of the main package.
func (b *bencher) pgo(rounds int, out string) error {
	var files []string
	for _, name := range []string{"kt", "kt+pii"} {
		b.profile = ""
		c, _, err := b.launch(name) // builds the tables and keeps them: building is not to be profiled
		if err != nil {
			return err
		}
		c.stop()
		b.profile = filepath.Join(b.dir, strings.ReplaceAll(name, "+", "-")+".prof")
		files = append(files, b.profile)
		if c, _, err = b.launch(name); err != nil {
			return err
		}
		for range rounds {
			for _, w := range workloads {
				if _, err := b.load(c, w, request(w.shape), w.requests); err != nil {
					return err
				}
			}
		}
		c.stop()
	}
	merged, err := exec.Command("go", append([]string{"tool", "pprof", "-proto"}, files...)...).Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			err = fmt.Errorf("%w\n%s", err, e.Stderr)
		}
		return fmt.Errorf("merge profiles: %w", err)
	}
	if err := os.WriteFile(out, merged, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d KiB; build again to use it\n", out, len(merged)>>10)
	return nil
}
