//go:build race

package stream_test

// raceEnabled: the race detector makes pools drop buffers at random, so that allocations cannot be counted.
const raceEnabled = true
