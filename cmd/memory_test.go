package cmd

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGCPercentFollowsWhatLives(t *testing.T) {
	for _, c := range []struct{ live, headroom, least, most int64 }{
		{0, 32 << 20, 28 << 20, 32 << 20},
		{4 << 20, 32 << 20, 28 << 20, 32 << 20},
		{16 << 20, 32 << 20, 28 << 20, 32 << 20},
		{300 << 20, 32 << 20, 150 << 20, 150 << 20},
		{10 << 20, 4 << 20, 5 << 20, 5 << 20},
	} {
		p := gcPercent(c.live, c.headroom)
		if grow := max(c.live, 4<<20) * int64(p) / 100; grow < c.least || grow > c.most {
			t.Errorf("live %d, headroom %d: %d percent lets it grow by %d, want %d to %d", c.live, c.headroom, p, grow, c.least, c.most)
		}
	}
}

func TestTuneMemoryFollowsAndEnds(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	now := func() int { // read, not set and set back: what is followed may change it in between
		p := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(p)
		return int(p[0].Value.Uint64())
	}
	none := func(string) string { return "" }
	stop := tuneMemory(none)
	small := now()
	if small <= 100 {
		t.Errorf("with little alive the percentage is %d", small)
	}
	alive := make([]byte, 256<<20)
	for i := 0; i < len(alive); i += 4096 {
		alive[i] = 1
	}
	for end := time.Now().Add(10 * time.Second); now() != gcFloor; time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(end) {
			t.Fatalf("with %d MiB alive the percentage is %d", len(alive)>>20, now())
		}
	}
	runtime.KeepAlive(alive)
	stop()
	if p := now(); p != 100 {
		t.Errorf("afterwards the percentage is %d", p)
	}
	for range 3 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if p := now(); p != 100 {
		t.Errorf("a collection later the percentage is %d", p)
	}
	stop = tuneMemory(func(name string) string { return map[string]string{"GOGC": "77"}[name] })
	defer stop()
	if p := now(); p != 100 { // the runtime read GOGC itself, at its start
		t.Errorf("a set GOGC was overwritten with %d", p)
	}
}
