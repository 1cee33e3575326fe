package audit

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// TestNumbersAreWrittenAsTheLibraryDoes: times and milliseconds, by hand for speed.
func TestNumbersAreWrittenAsTheLibraryDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		at := time.Unix(rng.Int64N(1<<36)-1<<35, rng.Int64N(1e9)).In(time.FixedZone("x", 3600))
		if got, want := string(appendTime(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000000Z"); got != want {
			t.Fatalf("%v: %s, want %s", at, got, want)
		}
		d := time.Duration(rng.Int64N(1<<(1+i%45)) - 1<<(i%40))
		want := `,"x":` + strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', -1, 64)
		if got := string(millis(nil, "x", d)); got != want {
			t.Fatalf("%v: %s, want %s", d, got, want)
		}
	}
	for _, d := range []time.Duration{0, time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, time.Hour} {
		want := `,"x":` + strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', -1, 64)
		if got := string(millis(nil, "x", d)); got != want {
			t.Fatalf("%v: %s, want %s", d, got, want)
		}
	}
}
