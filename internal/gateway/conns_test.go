package gateway

import "testing"

// T90: connections to targets find a file descriptor whatever the clients do.
func TestConnectionsLeaveFilesForTargets(t *testing.T) {
	for files, want := range map[uint64]int{0: 10_000, 64: 8, 256: 96, 1024: 480, 1 << 20: 10_000} {
		if got := connsFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
