package stream

import "time"

// spreadBounds are the upper bounds of a Spread's classes, inclusive: fine around
// what a gateway may add to an event, coarse above.
var spreadBounds = [...]time.Duration{
	25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// SpreadBounds gives the upper bounds of the classes of a Spread; durations
// above the last one fall into one more class.
func SpreadBounds() []time.Duration { return append([]time.Duration(nil), spreadBounds[:]...) }

// Spread counts durations by size, in one stream's own memory: it is added to a
// histogram once, when the stream has ended.
type Spread struct {
	N   [len(spreadBounds) + 1]uint32 // by class
	Sum time.Duration
	Max time.Duration
}

// Add counts n durations of d.
// Allocates: never.
func (s *Spread) Add(d time.Duration, n int) {
	if n <= 0 {
		return
	}
	d = max(d, 0)
	i := 0
	for i < len(spreadBounds) && d > spreadBounds[i] {
		i++
	}
	s.N[i] += uint32(n)
	s.Sum += d * time.Duration(n)
	s.Max = max(s.Max, d)
}

// Count is how many durations were counted.
func (s *Spread) Count() int {
	n := 0
	for _, k := range s.N {
		n += int(k)
	}
	return n
}
