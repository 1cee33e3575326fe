package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keeptrusts/kt/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func info() *pipeline.Info {
	return &pipeline.Info{
		Pack: "quick-launch", Version: "0.1.0", Digest: "d1gest", Mode: "interp",
		Policies: []pipeline.PolicyInfo{
			{Kind: "prompt-injection", Phases: []pipeline.Phase{pipeline.Input}},
			{Kind: "pii-detector", Phases: []pipeline.Phase{pipeline.Input, pipeline.Output}},
			{Kind: "audit-logger"},
		},
		Entities: append(pipeline.FixedEntities(),
			pipeline.EntityInfo{Name: "EMAIL", Reason: "pii.detected", Policy: 1},
			pipeline.EntityInfo{Name: "OWN", Reason: "pii.detected", Policy: 1, Hidden: true}),
	}
}

func record(t Type, id string) *Record {
	return &Record{
		Type: t, Time: time.Date(2026, 11, 24, 10, 0, 0, 123456789, time.UTC), RequestID: id, Model: "gpt-5.4-mini",
		Verdict: pipeline.VerdictRedact, Reason: "pii.detected", Phase: "output", Policy: "pii-detector",
		Chain: info(), Mask: 7, Ran: []Phases{{true, false, true}, {true, false, true}, {true, false, true}}, Counts: []pipeline.Count{
			{Entity: pipeline.FirstEntity, Phase: pipeline.Output, Action: pipeline.Redact, N: 2},
			{Entity: pipeline.FirstEntity + 1, Phase: pipeline.Output, Action: pipeline.Redact, N: 1},
			{Entity: pipeline.SplitEntity, Phase: pipeline.Output, Action: pipeline.Block, N: 1},
		},
		Attempts: []Attempt{{Target: "a", Result: "timeout_connect", Took: 3 * time.Second}, {Target: "b", Result: "ok", Status: 200}},
		Channels: [pipeline.NumClasses]int{1, 0, 2, 0}, Scanned: [pipeline.NumClasses]int64{10, 0, 20, 0},
		InputTokens: 3, OutputTokens: 4, Estimated: true, Latency: 1500 * time.Microsecond,
	}
}

func open(t *testing.T, o Options) *Log {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Failed == nil {
		o.Failed = func(err error) { t.Errorf("failed: %v", err) }
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestARecordIsInTheFileWhenWriteReturns(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	l := open(t, Options{Now: func() time.Time { return now }})
	if err := l.Write(record(Terminal, "req_1")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(l.Dir(), "audit-2026-11-24.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	want := `"event_type":"terminal","timestamp":"2026-11-24T10:00:00.123456Z","request_id":"req_1","verdict":"redact","reason_code":"pii.detected","phase":"output","policy":"pii-detector","stream":false,"model":"gpt-5.4-mini","pack":"quick-launch","pack_version":"0.1.0","policy_digest":"d1gest","mode":"interp","policies_evaluated":[{"name":"prompt-injection","phase":"input","result":"allow"},{"name":"pii-detector","phase":"input","result":"allow"},{"name":"pii-detector","phase":"output","result":"redact","entities_found":[{"type":"EMAIL","action":"redact","count":2}]}],"limits_reached":[{"type":"split_match","phase":"output","count":1}],"attempts":[{"target":"a","result":"timeout_connect","ms":3000},{"target":"b","result":"ok","status":200,"ms":0}],"input_tokens":3,"output_tokens":4,"tokens_estimated":true,"scanned":{"input_text":{"channels":1,"bytes":10},"output_text":{"channels":2,"bytes":20}},"request_bytes":0,"response_bytes":0,"latency_ms":1.5}` + "\n"
	if _, got, _ := strings.Cut(string(raw), `",`); got != want {
		t.Errorf("line\n%s\nwant\n%s", got, want)
	}
	if !json.Valid(raw) {
		t.Error("not JSON")
	}
}

func TestRecordsThatComeTogetherAreAllThere(t *testing.T) {
	l := open(t, Options{})
	const writers, each = 16, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Write(record(Terminal, fmt.Sprintf("req_%d_%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	events, damaged, err := Read(l.Dir(), Filter{})
	if err != nil || damaged != 0 {
		t.Fatal(err, damaged)
	}
	seen := map[string]int{}
	for _, e := range events {
		seen[e.RequestID]++
	}
	if len(seen) != writers*each || len(events) != writers*each {
		t.Errorf("%d records of %d requests, want %d", len(events), len(seen), writers*each)
	}
	if s := l.Stats(); s.Records != writers*each || s.Failed != 0 || s.Writes > s.Records {
		t.Errorf("stats %+v", s)
	}
	if err := l.Write(record(Terminal, "late")); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestFilesAreDailyAndDeletedAfterTheirRetention(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"audit-2026-10-24.jsonl", "audit-2026-10-25.jsonl", "other.jsonl", "audit-x.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	now := time.Date(2026, 11, 24, 23, 59, 59, 0, time.UTC)
	l := open(t, Options{Dir: dir, RetentionDays: 30, Immutable: true, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if err := l.Write(record(Terminal, "a")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	if err := l.Write(record(Terminal, "b")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, n := range names {
		got += filepath.Base(n) + " "
	}
	if want := "audit-2026-11-24.jsonl audit-2026-11-25.jsonl audit-x.jsonl other.jsonl "; got != want {
		t.Errorf("files %s; want %s", got, want)
	}
	if fi, err := os.Stat(filepath.Join(dir, "audit-2026-11-24.jsonl")); err != nil || fi.Mode().Perm() != 0o400 {
		t.Errorf("yesterday's file: %v %v", fi.Mode(), err)
	}
	if s := l.Stats(); s.Deleted != 2 {
		t.Errorf("deleted %d", s.Deleted)
	}
}

// clock is a time that only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestAFileThatIsMovedOrDeletedIsBegunAnew(t *testing.T) {
	for what, lose := range map[string]func(name string) error{
		"deleted": os.Remove,
		"moved":   func(name string) error { return os.Rename(name, name+".1") },
		"replaced": func(name string) error {
			return errors.Join(os.Rename(name, name+".1"), os.WriteFile(name, []byte(`{"id":"evt_x","request_id":"other"}`+"\n"), 0o600))
		},
		"deleted with its folder": func(name string) error { return os.RemoveAll(filepath.Dir(name)) },
	} {
		t.Run(what, func(t *testing.T) {
			c := &clock{now: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)}
			var mu sync.Mutex
			var said []string
			l := open(t, Options{Dir: filepath.Join(t.TempDir(), "audit"), Now: c.Now, Immutable: true, Failed: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, err.Error())
			}})
			name := filepath.Join(l.Dir(), "audit-2026-11-24.jsonl")
			if err := l.Write(record(Terminal, "before")); err != nil {
				t.Fatal(err)
			}
			if err := lose(name); err != nil {
				t.Fatal(err)
			}
			c.add(lookEvery)
			for _, id := range []string{"one", "two"} {
				if err := l.Write(record(Terminal, id)); err != nil {
					t.Fatal(err)
				}
				c.add(lookEvery)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for id, n := range map[string]int{"before": 0, "one": 1, "two": 1} {
				if got := strings.Count(string(raw), `"request_id":"`+id+`"`); got != n {
					t.Errorf("%d records of %s; want %d", got, id, n)
				}
			}
			if s := l.Stats(); s.Reopened != 1 || s.Records != 3 || s.Failed != 0 {
				t.Errorf("stats %+v", s)
			}
			if len(said) != 1 || !strings.Contains(said[0], "moved or deleted") {
				t.Errorf("said %q", said)
			}
			if info, err := os.Stat(name + ".1"); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("the file that was moved away has mode %v", info.Mode())
			}
		})
	}
}

func TestFilesOfEarlierProcessesAreMadeReadOnly(t *testing.T) {
	for _, immutable := range []bool{true, false} {
		dir := t.TempDir()
		for name, mode := range map[string]os.FileMode{"audit-2026-11-22.jsonl": 0o600, "audit-2026-11-23.jsonl": 0o640, "audit-2026-11-24.jsonl": 0o600, "audit-2026-11-25.jsonl": 0o600, "other.jsonl": 0o600} {
			if err := errors.Join(os.WriteFile(filepath.Join(dir, name), nil, 0o600), os.Chmod(filepath.Join(dir, name), mode)); err != nil {
				t.Fatal(err)
			}
		}
		l := open(t, Options{Dir: dir, Immutable: immutable, Now: func() time.Time { return time.Date(2026, 11, 24, 0, 0, 1, 0, time.UTC) }})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		want := map[string]os.FileMode{"audit-2026-11-22.jsonl": 0o400, "audit-2026-11-23.jsonl": 0o440, "audit-2026-11-24.jsonl": 0o600, "audit-2026-11-25.jsonl": 0o600, "other.jsonl": 0o600}
		if !immutable {
			want["audit-2026-11-22.jsonl"], want["audit-2026-11-23.jsonl"] = 0o600, 0o640
		}
		for name, mode := range want {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("immutable %v: %s has mode %v %v; want %v", immutable, name, info.Mode(), err, mode)
			}
		}
	}
}

// Root may write to every file: run as somebody else, this fails where a
// read-only file is not opened.
func TestAClockThatGoesBackOverMidnightLosesNothing(t *testing.T) {
	c := &clock{now: time.Date(2026, 11, 24, 23, 59, 59, 0, time.UTC)}
	l := open(t, Options{Immutable: true, Now: c.Now})
	for i, step := range []time.Duration{2 * time.Second, -2 * time.Second, 2 * time.Second} {
		if err := l.Write(record(Terminal, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		c.add(step)
		if err := l.Write(record(Terminal, fmt.Sprint(i, " later"))); err != nil {
			t.Fatal(err)
		}
		l.sync() // its owner does this 50 ms later
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(l.Dir(), "audit-2026-11-24.jsonl")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("yesterday's file: %v %v", info.Mode(), err)
	}
	if events, _, err := Read(l.Dir(), Filter{}); err != nil || len(events) != 6 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestALineThatACrashCutIsNotJoinedToTheNext(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC)
	name := filepath.Join(dir, "audit-2026-11-24.jsonl")
	if err := os.WriteFile(name, []byte(`{"id":"evt_1","request_id":"x"}`+"\n"+`{"id":"evt_2","req`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, Options{Dir: dir, Now: func() time.Time { return now }})
	if err := l.Write(record(Terminal, "y")); err != nil {
		t.Fatal(err)
	}
	events, damaged, err := Read(dir, Filter{})
	if err != nil || damaged != 1 || len(events) != 2 || events[1].RequestID != "y" {
		t.Errorf("%d events, %d damaged, %v", len(events), damaged, err)
	}
}

func TestAWriteThatFailsIsAnErrorAndCounted(t *testing.T) {
	var failures int
	l := open(t, Options{Failed: func(error) { failures++ }})
	_ = l.f.Close()
	if err := l.Write(record(Decision, "a")); err == nil {
		t.Error("no error")
	}
	if s := l.Stats(); s.Failed != 1 || s.Records != 0 || failures != 1 {
		t.Errorf("stats %+v, %d failures", s, failures)
	}
}

func TestReadShowsOneLinePerRequest(t *testing.T) {
	l := open(t, Options{Now: func() time.Time { return time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC) }})
	for _, r := range []*Record{record(Decision, "a"), record(Terminal, "a"), record(Decision, "open")} {
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	blocked := record(Terminal, "b")
	blocked.Verdict, blocked.Reason, blocked.Policy = pipeline.VerdictBlock, "prompt_injection.detected", "prompt-injection"
	if err := l.Write(blocked); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "a/terminal open/decision b/terminal "},
		{Filter{Decisions: true}, "a/decision a/terminal open/decision b/terminal "},
		{Filter{Verdict: "block"}, "b/terminal "},
		{Filter{Reason: "prompt.injection_detected"}, "b/terminal "},
		{Filter{Policy: "pii-detector", Limit: 1}, "open/decision "},
		{Filter{RequestID: "a"}, "a/terminal "},
		{Filter{Since: time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)}, ""},
	} {
		events, _, err := Read(l.Dir(), c.f)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range events {
			got += e.RequestID + "/" + e.Type + " "
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
	if events, _, err := Read(filepath.Join(l.Dir(), "none"), Filter{}); !errors.Is(err, fs.ErrNotExist) || events != nil {
		t.Errorf("no folder: %v %v", events, err)
	}
}

// line is a short record for tests of reading.
func line(id string, at time.Time) string {
	return fmt.Sprintf(`{"id":"evt_%s","event_type":"terminal","timestamp":%q,"request_id":%q,"verdict":"allow"}`+"\n", id, at.Format(time.RFC3339Nano), id)
}

func ids(events []Event) string {
	got := ""
	for _, e := range events {
		got += e.RequestID + " "
	}
	return got
}

// TestReadingBeginsAtTheEnd: what is not asked for is not read. Damaged lines
// stand where nobody has to look.
func TestReadingBeginsAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	day := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("audit-2026-11-22.jsonl", strings.Repeat("damaged\n", 1000))
	write("audit-2026-11-23.jsonl", "damaged\n"+line("a", day.Add(-24*time.Hour)))
	write("audit-2026-11-24.jsonl", strings.Repeat("damaged\n", 50_000)+line("old", day.Add(-2*clockSlack))+strings.Repeat(line("b", day), 300)+line("c", day.Add(time.Second)))
	write("audit-2026-11-25.jsonl", line("d", day.Add(24*time.Hour)))
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{Limit: 1}, "d "},
		{Filter{Limit: 3}, "b c d "},
		{Filter{Since: day}, strings.Repeat("b ", 300) + "c d "},
		{Filter{Since: day.Add(time.Hour)}, "d "},
		{Filter{RequestID: "c", Limit: 1}, "c "},
	} {
		events, damaged, err := Read(dir, c.f)
		if err != nil || damaged != 0 || ids(events) != c.want {
			t.Errorf("%+v: %q, %d damaged lines read, %v; want %q", c.f, ids(events), damaged, err, c.want)
		}
	}
}

// TestReadingBackIsReadingForward compares it with the plain way, over lines of
// all lengths around those of a chunk and of the longest line.
func TestReadingBackIsReadingForward(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 9))
	name := filepath.Join(t.TempDir(), "audit-2026-11-24.jsonl")
	for range 60 {
		var text []byte
		for range rng.IntN(8) {
			n := []int{rng.IntN(3), rng.IntN(300), 64<<10 - 2 + rng.IntN(4), rng.IntN(200 << 10), maxLine - 1 + rng.IntN(3)}[rng.IntN(5)]
			text = append(append(text, bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, n)...), '\n')
		}
		if rng.IntN(2) == 0 {
			text = append(text, bytes.Repeat([]byte{'z'}, rng.IntN(100<<10))...)
		}
		var want []string
		whole := bytes.LastIndexByte(text, '\n') + 1
		for l := range bytes.Lines(text[:whole]) {
			switch l = bytes.TrimSuffix(l, []byte{'\n'}); {
			case len(l) > maxLine:
				want = append(want, "too long")
			case len(l) > 0:
				want = append(want, string(l))
			}
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		at, more, err := readBack(file, func(l []byte) bool {
			if l == nil {
				got = append(got, "too long")
			} else {
				got = append(got, string(l))
			}
			return true
		})
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) || at != int64(whole) || !more {
			t.Fatalf("%d lines to %d, %v; want %d to %d", len(got), at, more, len(want), whole)
		}
	}
}

func TestTailGoesOnWhereItsEventsEnd(t *testing.T) {
	c := &clock{now: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)}
	l := open(t, Options{Now: c.Now, Failed: func(error) {}})
	name := filepath.Join(l.Dir(), "audit-2026-11-24.jsonl")
	write := func(id string) {
		t.Helper()
		if err := l.Write(record(Terminal, id)); err != nil {
			t.Fatal(err)
		}
		c.add(lookEvery)
	}
	write("before")
	// A record that another process is half done with.
	half := line("half", c.Now())
	raw, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	add := func(s string) {
		if _, err := raw.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	add(half[:20])
	events, _, f, err := Tail(l.Dir(), Filter{})
	if err != nil || ids(events) != "before " {
		t.Fatal(ids(events), err)
	}
	defer f.Close()
	next := func(want string) {
		t.Helper()
		events, err := f.Next(Filter{})
		if err != nil || ids(events) != want {
			t.Errorf("%q %v; want %q", ids(events), err, want)
		}
	}
	next("")
	add(half[20:])
	next("half ")
	write("one")
	write("two")
	next("one two ")
	next("")
	write("moved")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	write("behind")
	next("moved behind ")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	next("")
	write("again")
	next("again ")
	c.add(24 * time.Hour)
	write("tomorrow")
	next("tomorrow ")
}

func TestNoTextBreaksALine(t *testing.T) {
	for _, s := range []string{"a\r\nb", "\x1b[31mred", "\u2028\u2029\u0085", `{"x":"y"}`, "bad\xff\xfe", strings.Repeat("é", 300), "\x00\x7f", `back\slash`} {
		r := record(Terminal, s)
		r.Model, r.User = s, s
		line := string(appendRecord(nil, "evt_1", r))
		var back struct {
			Model string `json:"model"`
		}
		if err := json.Unmarshal([]byte(line), &back); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if strings.ContainsAny(line[:len(line)-1], "\n\r\x1b\u2028\u2029\u0085\x00\x7f") {
			t.Errorf("%q: the line holds a character that a terminal or a log acts on", s)
		}
		if short := strings.ToValidUTF8(s, "\ufffd"); len(s) <= maxField && strings.Count(back.Model, "\ufffd") <= 2 && !strings.Contains(s, "\xff") && back.Model != short {
			t.Errorf("%q came back as %q", s, back.Model)
		}
		if len(back.Model) > maxField+3 {
			t.Errorf("%d bytes", len(back.Model))
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := record(Terminal, "req_1")
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = appendRecord(line[:0], "evt_1", r)
	}
	if !json.Valid(line) {
		b.Fatal("not JSON")
	}
}

// T103: two gateways do not write to one folder.
func TestAFolderHasOneWriter(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if held, err := lock(t.TempDir()); held == nil && err == nil {
		t.Skip("no locks here")
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("the second is opened: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatalf("when the first is closed: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
