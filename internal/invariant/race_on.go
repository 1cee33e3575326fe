//go:build race

package invariant

// Race tells that this build runs under the race detector, which counts its own allocations and drops pooled buffers at random.
const Race = true
