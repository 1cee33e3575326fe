package gateway

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestLevelsOfMemoryBeginAndEndApart(t *testing.T) {
	const limit = 1000 << 20
	for _, c := range []struct {
		hundredths, was, want int64
	}{
		{0, memoryAmple, memoryAmple}, {84, memoryAmple, memoryAmple}, {85, memoryAmple, memoryShort}, {94, memoryShort, memoryShort},
		{95, memoryAmple, memoryOut}, {120, memoryShort, memoryOut}, {90, memoryOut, memoryOut}, {89, memoryOut, memoryShort},
		{80, memoryOut, memoryShort}, {80, memoryShort, memoryShort}, {79, memoryShort, memoryAmple}, {79, memoryOut, memoryAmple},
	} {
		if got := levelOf(Memory{Used: limit / 100 * c.hundredths, Limit: limit}, int32(c.was)); int64(got) != c.want {
			t.Errorf("%d hundredths behind level %d: level %d, want %d", c.hundredths, c.was, got, c.want)
		}
	}
	if got := levelOf(Memory{Used: math.MaxInt64}, memoryOut); got != memoryAmple {
		t.Errorf("without a limit: level %d", got)
	}
}

func TestReadMemoryLeavesGarbageOut(t *testing.T) {
	const size = 64 << 20
	before := debug.SetMemoryLimit(1 << 40)
	defer debug.SetMemoryLimit(before)
	runtime.GC()
	base := ReadMemory()
	if base.Limit != 1<<40 || base.Used < 1<<20 {
		t.Fatalf("%+v", base)
	}
	alive := make([]byte, size)
	runtime.GC()
	if m := ReadMemory(); m.Used < base.Used+size*9/10 {
		t.Errorf("%d bytes used with %d more than %d alive", m.Used, size, base.Used)
	}
	runtime.KeepAlive(alive)
	alive = nil
	runtime.GC()
	runtime.GC()
	if m := ReadMemory(); m.Used > base.Used+size/2 {
		t.Errorf("%d bytes used afterwards, %d before", m.Used, base.Used)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if m := ReadMemory(); m != (Memory{}) {
		t.Errorf("without a limit: %+v", m)
	}
}
