// Package examples holds packs that run as they stand:
//
//	kt policy test --pack-dir examples/quickstart
//	kt gateway run --policy-config examples/quickstart/policy-config.yaml
package examples

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/keeptrusts/kt/cmd"
)

func TestEveryExampleIsValidAndItsTestsPassAtEverySplit(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		n++
		t.Run(e.Name(), func(t *testing.T) {
			for _, args := range [][]string{
				{"policy", "lint", "--strict", "--file", e.Name() + "/policy-config.yaml"},
				{"policy", "test", "--all-splits", "--pack-dir", e.Name()},
			} {
				var out bytes.Buffer
				env := &cmd.Env{Args: args, Environ: []string{"OPENAI_API_KEY=x"}, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &out, Now: time.Now}
				if code := cmd.Run(context.Background(), env); code != cmd.ExitOK {
					t.Errorf("kt %v: exit status %d\n%s", args, code, out.Bytes())
				}
			}
		})
	}
	if n == 0 {
		t.Error("there are no examples")
	}
}
