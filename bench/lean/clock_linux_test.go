package main

import (
	"os"
	"testing"
	"time"
)

// TestClocksAgree: the fine clock and the ticks of /proc/PID/stat tell the same, to a tick for each of user and system.
func TestClocksAgree(t *testing.T) {
	pid := os.Getpid()
	for range 3 {
		before, err := tickTime(pid)
		if err != nil {
			t.Fatal(err)
		}
		fine, err := cpuTime(pid)
		if err != nil {
			t.Fatal(err)
		}
		after, err := tickTime(pid)
		if err != nil {
			t.Fatal(err)
		}
		const tick = 10 * time.Millisecond
		if fine < before-2*tick || fine > after+2*tick {
			t.Errorf("%v by the process clock, between %v and %v by ticks", fine, before, after)
		}
		for begin, n := time.Now(), 0; time.Since(begin) < 30*time.Millisecond; n++ {
		}
	}
}
