package gateway

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Memory is what the process has taken, garbage left out, and the most that it may take, in bytes. Limit 0: any amount.
type Memory struct{ Used, Limit int64 }

// ReadMemory gives that of this process: what the last collection left alive, stacks, and what the runtime itself needs,
// against the runtime's memory limit (GOMEMLIMIT, runtime/debug.SetMemoryLimit).
func ReadMemory() Memory {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return Memory{}
	}
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(s)
	used := s[0].Value.Uint64() + s[1].Value.Uint64()
	for _, not := range s[2:] {
		used -= not.Value.Uint64()
	}
	return Memory{Used: int64(used), Limit: limit}
}

// What the gateway does when little of the limit is left.
const (
	memoryAmple = iota
	memoryShort // idle connections are closed, the others behind their next answer
	memoryOut   // and requests to models are refused while others run
)

// memoryAt is the hundredths of the limit in use at which each level begins. It ends memoryBack below.
var memoryAt = [...]int64{memoryShort: 85, memoryOut: 95}

const (
	memoryBack  = 5
	memoryEvery = 10 * time.Millisecond // between two looks, each of which takes about a microsecond
	memoryRest  = 5 * time.Second       // for which a connection has been idle that is closed
)

// pressure is how near the process is to its memory limit, looked at when requests come.
type pressure struct {
	read  func() Memory
	next  atomic.Int64 // when to look again, in nanoseconds since 1970
	level atomic.Int32
}

// levelOf gives the level that m asks for behind level was.
func levelOf(m Memory, was int32) int32 {
	if m.Limit <= 0 {
		return memoryAmple
	}
	level := int32(memoryOut)
	for ; level > memoryAmple; level-- {
		at := memoryAt[level]
		if was >= level {
			at -= memoryBack
		}
		if m.Used >= m.Limit/100*at {
			break
		}
	}
	return level
}

// memory gives the level that is in force.
func (g *Gateway) memory() int32 {
	p := &g.pressure
	now := g.o.Now().UnixNano()
	if next := p.next.Load(); now >= next && p.next.CompareAndSwap(next, now+int64(memoryEvery)) {
		g.lookAtMemory()
	}
	return p.level.Load()
}

//go:noinline
func (g *Gateway) lookAtMemory() {
	m, was := g.pressure.read(), g.pressure.level.Load()
	level := levelOf(m, was)
	if g.pressure.level.Store(level); level != was {
		how := [...]string{memoryAmple: "memory suffices again", memoryShort: "memory is short: connections are closed behind their answers",
			memoryOut: "memory is short: requests are refused while others run"}
		g.log.Warn(how[level], "used_bytes", m.Used, "limit_bytes", m.Limit)
	}
	if level > memoryAmple {
		g.ln.closeRested(memoryRest)
	}
}
