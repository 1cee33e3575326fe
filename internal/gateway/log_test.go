package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keeptrusts/kt/internal/audit"
)

// TestAccessLineIsSlogs: the line written by hand is the one that slog writes,
// or it is left to slog.
func TestAccessLineIsSlogs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	byHand := 0
	for range 20_000 {
		r := &audit.Record{
			RequestID: pick("req_1", "", "a.b-c"), Model: pick("gpt-5.4-mini", "a\"b", "m\u00fc", "\x1b[31m", "a<b>&c", "back\\slash", strings.Repeat("m", 127+rng.IntN(3))),
			Provider: pick("openai", ""), Target: pick("a", "b c"), Status: pickInt(rng, 200, 0, 409), Outcome: pick("completed", "blocked"),
			Stream: rng.IntN(2) == 0, Latency: time.Duration(rng.Int64N(1 << (1 + rng.IntN(52)))), InputTokens: rng.Int64N(100) - 5, OutputTokens: rng.Int64N(1 << 40),
			Verdict: "allow", Policy: pick("", "pii-detector"), Reason: pick("x", "y"), Phase: pick("input", ""),
		}
		at := time.Unix(rng.Int64N(1<<32), rng.Int64N(1e9)*int64(rng.IntN(2)))
		level := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, 2}[rng.IntN(5)]
		var want bytes.Buffer
		rec := slog.NewRecord(at, level, "request", 0)
		rec.AddAttrs(requestAttrs(r)...)
		if err := slog.NewJSONHandler(&want, &slog.HandlerOptions{Level: slog.LevelDebug}).Handle(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
		got, ok := appendAccess(nil, at, level, r)
		if !ok {
			continue
		}
		if byHand++; string(got) != want.String() {
			t.Fatalf("%s, slog writes %s", got, want.Bytes())
		}
	}
	if byHand < 2000 {
		t.Fatalf("only %d lines were written by hand", byHand)
	}
}

func pickInt(rng *rand.Rand, n ...int) int { return n[rng.IntN(len(n))] }
