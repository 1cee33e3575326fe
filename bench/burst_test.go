package bench

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
	"time"
)

// BenchmarkPathBurst: recorded streams whose events arrive together, in upstream
// reads of 4 and of 16 KiB, as they do from a provider that is ahead of us.
// ns/chunk is the least CPU time of all rounds for one event, what a round does before and
// after its events included.
func BenchmarkPathBurst(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10} {
		for _, r := range Recordings(4) {
			if r.Name != "clean" && r.Name != "many-hits" {
				continue
			}
			for _, name := range chainNames {
				b.Run(runName(&r, 4, name)+"/"+map[int]string{4 << 10: "4KiB", 16 << 10: "16KiB"}[size], func(b *testing.B) {
					p := newPath(chain(b, name))
					o, err := p.outcome(&r)
					if err != nil {
						b.Fatal(err)
					}
					check(b, runName(&r, 4, name), o)
					reads := slices.Collect(slices.Chunk(r.Bytes(), size))
					at := 0
					take := func(_ int, out []byte) {
						if len(o.out)-at < len(out) || !bytes.Equal(out, o.out[at:at+len(out)]) {
							b.Fatalf("other bytes out, after %d", at)
						}
						at += len(out)
					}
					round := func() {
						at = 0
						if err := p.stream(reads, take); err != nil || at != len(o.out) || p.w.Report().Findings != o.findings {
							b.Fatalf("%d of %d bytes out, %d findings of %d: %v", at, len(o.out), p.w.Report().Findings, o.findings, err)
						}
					}
					round()
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					least := time.Duration(1 << 62)
					b.ReportAllocs()
					for b.Loop() {
						begin := threadTime()
						round()
						least = min(least, threadTime()-begin)
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(float64(least)/float64(len(r.Events)), "ns/chunk")
				})
			}
		}
	}
}
