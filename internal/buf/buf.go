// Package buf hands out pooled byte buffers by size class.
//
// A buffer belongs to whoever got it until Put; after Put nobody may read or
// write it. Under the build tag "invariants" a buffer is overwritten with
// 0xDB when it is put back and a second Put panics, so that a use after Put
// shows in tests as wrong bytes instead of as a leak between two clients.
package buf

import (
	"math/bits"
	"sync"

	"github.com/keeptrusts/kt/internal/invariant"
)

const (
	minBits = 9  // 512 B: smaller requests are rounded up
	maxBits = 22 // 4 MiB: one event at the most (stream/sse); larger buffers are left to the collector
	poison  = 0xDB
)

// Buffer is one pooled buffer. B may be appended to freely; if it outgrows its
// class the larger array goes to the larger class on Put.
type Buffer struct {
	B    []byte
	free bool
}

var pools [maxBits + 1]sync.Pool

// Get returns a buffer with len(B) = 0 and cap(B) >= n. Safe for concurrent use.
func Get(n int) *Buffer {
	c := class(n)
	if c > maxBits {
		return &Buffer{B: make([]byte, 0, n)}
	}
	if b, ok := pools[c].Get().(*Buffer); ok {
		b.free = false
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<c)}
}

// Put gives b back. b and every slice of b.B are dead afterwards. A nil b is ignored.
func Put(b *Buffer) {
	if b == nil {
		return
	}
	if invariant.Enabled {
		invariant.Check(!b.free, "buffer put back twice")
		full := b.B[:cap(b.B)]
		for i := range full {
			full[i] = poison
		}
	}
	b.free = true
	c := bits.Len(uint(cap(b.B))) - 1 // floor: every buffer in class c holds at least 1<<c bytes
	if c < minBits || c > maxBits {
		return
	}
	b.B = b.B[:0]
	pools[c].Put(b)
}

// Grow returns b.B with room for n more bytes, moving to a larger pooled array
// when needed. The old array is poisoned under "invariants".
func Grow(b *Buffer, n int) {
	need := len(b.B) + n
	if need <= cap(b.B) {
		return
	}
	bigger := Get(max(need, 2*cap(b.B)))
	bigger.B = append(bigger.B, b.B...)
	b.B, bigger.B = bigger.B, b.B
	Put(bigger)
}

// class is the smallest c with 1<<c >= n, at least minBits.
func class(n int) int {
	if n <= 1<<minBits {
		return minBits
	}
	return bits.Len(uint(n - 1))
}
