package buf_test

import (
	"testing"

	"github.com/keeptrusts/kt/internal/buf"
	"github.com/keeptrusts/kt/internal/invariant"
)

func TestGetHoldsWhatWasAskedFor(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 4097, 1 << 22, 1<<22 + 1} {
		b := buf.Get(n)
		if len(b.B) != 0 || cap(b.B) < n {
			t.Fatalf("Get(%d): len %d cap %d", n, len(b.B), cap(b.B))
		}
		buf.Put(b)
	}
}

func TestGrowKeepsContent(t *testing.T) {
	b := buf.Get(4)
	for i := range 10_000 {
		buf.Grow(b, 1)
		b.B = append(b.B, byte(i))
	}
	for i, c := range b.B {
		if c != byte(i) {
			t.Fatalf("byte %d is %d", i, c)
		}
	}
	buf.Put(b)
}

func TestPutPoisonsUnderInvariants(t *testing.T) {
	if !invariant.Enabled {
		t.Skip("needs -tags invariants; make check runs it so")
	}
	b := buf.Get(16)
	b.B = append(b.B, "text"...)
	kept := b.B
	buf.Put(b)
	if string(kept) == "text" {
		t.Fatal("a buffer kept its text after Put")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("second Put went unnoticed")
		}
	}()
	buf.Put(b)
}

func TestGetPutAllocatesNothingAfterWarmUp(t *testing.T) {
	if invariant.Enabled {
		t.Skip("poisoning builds may allocate")
	}
	buf.Put(buf.Get(600))
	if n := testing.AllocsPerRun(1000, func() { buf.Put(buf.Get(600)) }); n > 0.1 {
		t.Fatalf("%v allocations per Get and Put", n)
	}
}
