//go:build !linux

package bench

import "time"

var begun = time.Now()

// threadTime is the time that passed: the CPU time of a thread is read on Linux only.
func threadTime() time.Duration { return time.Since(begun) }
