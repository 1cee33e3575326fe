package cmd

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
)

const (
	// gcHeadroom is how many bytes the heap may grow between two collections,
	// however small it is: what lives is a few MiB when few streams run, and
	// collecting each time it doubles was a tenth of the CPU of a request.
	gcHeadroom = 32 << 20
	// gcFloor is the least growth in percent: with many streams memory counts
	// for more than the rare collection.
	gcFloor = 50
)

// tuneMemory sets the runtime's soft limit to nine tenths of the cgroup's, and
// how far the heap may grow between two collections. What the user set
// (GOMEMLIMIT, GOGC) stays. The function that it gives ends the tuning.
func tuneMemory(getenv func(string) string) (stop func()) {
	if limit := cgroupLimit(); limit > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
	if getenv("GOGC") != "" {
		return func() {}
	}
	headroom := min(gcHeadroom, debug.SetMemoryLimit(-1)/16) // no limit: the largest number
	t := &gcTuner{headroom: headroom, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	before := debug.SetGCPercent(t.percent())
	arm(t)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.ended = true
		debug.SetGCPercent(before)
	}
}

// gcTuner sets the collector's percentage anew after each collection.
type gcTuner struct {
	headroom int64

	mu    sync.Mutex
	live  []metrics.Sample
	set   int
	ended bool
}

// gcMark dies with each collection.
type gcMark struct{ t *gcTuner }

// arm has the tuner called after the next collection, on the runtime's own goroutine.
func arm(t *gcTuner) {
	runtime.SetFinalizer(&gcMark{t}, func(m *gcMark) {
		m.t.mu.Lock()
		defer m.t.mu.Unlock()
		if m.t.ended {
			return
		}
		if was := m.t.set; was != m.t.percent() {
			debug.SetGCPercent(m.t.set)
		}
		arm(m.t)
	})
}

// percent works out the percentage from what the last collection left alive.
func (t *gcTuner) percent() int {
	metrics.Read(t.live)
	t.set = gcPercent(int64(t.live[0].Value.Uint64()), t.headroom)
	return t.set
}

// gcPercent lets the heap grow by headroom bytes, or by gcFloor percent if that is
// more. Steps of an eighth keep it from being set anew for nothing.
func gcPercent(live, headroom int64) int {
	p := headroom * 100 / max(live, 4<<20) // the runtime's own least heap is 4 MiB times the percentage
	if step := p / 8; step > 0 {
		p -= p % step
	}
	return int(max(p, gcFloor))
}

// cgroupLimit is the memory limit of the control group in bytes; 0: none.
func cgroupLimit() int64 {
	for _, f := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && n > 0 && n < 1<<50 {
			return n
		}
		return 0
	}
	return 0
}
