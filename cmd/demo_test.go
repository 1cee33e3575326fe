package cmd

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A child that ends is not waited for.
func TestADemoChildThatEndsIsSaidAtOnce(t *testing.T) {
	self, err := exec.LookPath("false")
	if err != nil {
		t.Skip("no program that fails")
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyWait/2)
	defer cancel()
	d := &demo{a: &app{env: &Env{}}, ctx: ctx, self: self, dir: t.TempDir()}
	_, err = d.start("mock", "http://127.0.0.1:1/", "mock")
	if err == nil || !strings.Contains(err.Error(), "mock ended (exit status 1)") {
		t.Errorf("start gives %v", err)
	}
	select {
	case <-d.procs[0].done:
	case <-time.After(readyWait):
		t.Error("the child is not waited for")
	}
}
