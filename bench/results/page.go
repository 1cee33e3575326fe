package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// figures looks values up; a value that was not measured is not there.
type figures map[string]*Part

func (f figures) bench(part, name, unit string) (float64, bool) {
	p := f[part]
	if p == nil {
		return 0, false
	}
	v, ok := p.Bench[name][unit]
	return v, ok
}

func (f figures) ratio(workload, contender, to string) (float64, bool) {
	p := f["lean"]
	if p == nil {
		return 0, false
	}
	var a, b float64
	for _, g := range p.Run {
		if g.Workload != workload {
			continue
		}
		if g.Contender == contender {
			a = g.MicrosPerRequest
			if to == "hertz" {
				return g.RatioToHertz, g.RatioToHertz > 0
			}
		}
		if g.Contender == to {
			b = g.MicrosPerRequest
		}
	}
	return a / b, a > 0 && b > 0
}

func (f figures) start(contender string) (Start, bool) {
	if p := f["lean"]; p != nil {
		for _, s := range p.Start {
			if s.Contender == contender {
				return s, true
			}
		}
	}
	return Start{}, false
}

// aim is one of the aims that were set before measuring.
type aim struct {
	what    string
	limit   float64
	atLeast bool
	unit    string
	value   func(figures) (float64, bool)
	from    string // command
}

const (
	scanCommand = "`go test -run '^$' -bench Scan ./bench`"
	pathCommand = "`go test -run '^$' -bench Path ./bench`"
)

func leanCommand(what string) string { return "`go run ./bench/lean " + what + "`" }

var aims = []aim{
	{what: "Chat 1 KB in, 1 KB out, quick start: gateway CPU beside the smallest Hertz relay", limit: 1.5, unit: "x", from: leanCommand("run"),
		value: func(f figures) (float64, bool) { return f.ratio("chat 1 KB/1 KB", "kt", "hertz") }},
	{what: "The same beside net/http's ReverseProxy", limit: 1, unit: "x", from: leanCommand("run"),
		value: func(f figures) (float64, bool) { return f.ratio("chat 1 KB/1 KB", "kt", "reverseproxy") }},
	{what: "200-event stream, PII redaction on, all events at once: CPU beside the Hertz relay without policies", limit: 1.3, unit: "x", from: leanCommand("run"),
		value: func(f figures) (float64, bool) { return f.ratio("stream 200 events, gap 0", "kt+pii", "hertz") }},
	{what: "The same, one event every 10 ms", limit: 1.3, unit: "x", from: leanCommand("run"),
		value: func(f figures) (float64, bool) { return f.ratio("stream 200 events, gap 10 ms", "kt+pii", "hertz") }},
	{what: "Added time to first token, p99, quick start, at half of the full load", limit: 1, unit: "ms", from: leanCommand("ttft"),
		value: func(f figures) (float64, bool) {
			if p := f["lean"]; p != nil {
				for _, t := range p.TTFT {
					if t.Contender == "kt" {
						return t.AddedP99, true
					}
				}
			}
			return 0, false
		}},
	{what: "Allocations per chunk after warm-up, PII redaction on, 4-byte deltas (the aim is 0; one for each whole stream counts as such)", limit: 0.01, unit: "", from: pathCommand,
		value: func(f figures) (float64, bool) {
			return f.bench("path", "BenchmarkPath/clean/4B/quick+pii", "allocs/chunk")
		}},
	{what: "Memory under 5,000 slow streams", limit: 320, unit: "MiB", from: leanCommand("memory"),
		value: func(f figures) (float64, bool) {
			if p := f["lean"]; p != nil && p.Memory != nil {
				return p.Memory.LoadedMiB, true
			}
			return 0, false
		}},
	{what: "Start to ready, quick start", limit: 100, unit: "ms", from: leanCommand("start"),
		value: func(f figures) (float64, bool) { s, ok := f.start("kt"); return s.Millis, ok }},
	{what: "Start to ready, interpreted, large pack, warm table cache", limit: 1000, unit: "ms", from: leanCommand("start"),
		value: func(f figures) (float64, bool) { s, ok := f.start("kt-large"); return s.Millis, ok }},
	{what: "The tables alone stepped over 20-byte chunks, beside one table pass [x-table]", limit: 2, unit: "x", from: scanCommand, value: scanned("English", "x-table")},
	{what: "The same, in rounds in which the core did nothing else [alone-x-table]", limit: 2, unit: "x", from: scanCommand, value: scanned("English", "alone-x-table")},
	{what: "The whole scan of 20-byte chunks with exact hold-back [x-table-hold]", limit: 3.5, unit: "x", from: scanCommand, value: scanned("English", "x-table-hold")},
	{what: "The same, in rounds in which the core did nothing else [alone-x-table-hold]", limit: 3.5, unit: "x", from: scanCommand, value: scanned("English", "alone-x-table-hold")},
	{what: "100 KB prompt in one call, per byte [x-table-100k]", limit: 2, unit: "x", from: scanCommand, value: scanned("Prompt", "x-table-100k")},
	{what: "The same, in rounds in which the core did nothing else [alone-x-table-100k]", limit: 2, unit: "x", from: scanCommand, value: scanned("Prompt", "alone-x-table-100k")},
	{what: "Faster than regexp, one rule after the other [x-regexp]", limit: 100, atLeast: true, unit: "x", from: scanCommand, value: scanned("Regexp", "x-regexp")},
	{what: "Near-matches again and again, per byte, beside English [x-hostile]", limit: 2, unit: "x", from: scanCommand, value: scanned("Hostile", "x-hostile")},
	{what: "The same, in rounds in which the core did nothing else [alone-x-hostile]", limit: 2, unit: "x", from: scanCommand, value: scanned("Hostile", "alone-x-hostile")},
	{what: "State of a channel, without held text [state-bytes]", limit: 128, unit: "B", from: scanCommand, value: scanned("Build", "state-bytes")},
	{what: "Held back on English, median [held-p50]", limit: 4, unit: "B", from: scanCommand, value: scanned("English", "held-p50")},
	{what: "Held back on English, p99 [held-p99]", limit: 16, unit: "B", from: scanCommand, value: scanned("English", "held-p99")},
	{what: "Allocations per scanned chunk [allocs]", limit: 0, unit: "", from: scanCommand, value: scanned("English", "allocs")},
	{what: "Tables of 40 + 150 + 2,000 entries [table-bytes]", limit: 6.5e6, unit: "B", from: scanCommand, value: scanned("Build", "table-bytes")},
	{what: "Building them [build-s]", limit: 30, unit: "s", from: scanCommand, value: scanned("Build", "build-s")},
}

func scanned(name, unit string) func(figures) (float64, bool) {
	return func(f figures) (float64, bool) { return f.bench("scan", "BenchmarkScan/"+name, unit) }
}

// number writes v with about three digits.
func number(v float64) string {
	switch {
	case v != v: // not a number
		return "?"
	case v == 0:
		return "0"
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 0.005 || v <= -0.005:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func withUnit(v float64, unit string) string {
	s := number(v)
	switch {
	case unit == "x":
		return s + "x"
	case unit == "":
		return s
	case strings.HasSuffix(s, " M"):
		return s + unit
	}
	return s + " " + unit
}

func (a *aim) row(f figures) (value, verdict string) {
	v, ok := a.value(f)
	if !ok {
		return "not measured", "-"
	}
	met := v <= a.limit
	if a.atLeast {
		met = v >= a.limit
	}
	verdict = "met"
	if !met {
		verdict = "**missed**"
	}
	return withUnit(v, a.unit), verdict
}

func (a *aim) bound() string {
	if a.atLeast {
		return "at least " + withUnit(a.limit, a.unit)
	}
	return "at most " + withUnit(a.limit, a.unit)
}

// page is RESULTS.md.
func page(parts map[string]*Part) string {
	f := figures(parts)
	var b strings.Builder
	w := func(format string, a ...any) { fmt.Fprintf(&b, format, a...) }
	w("# Results\n\nWritten by `go run ./bench/results`; do not edit. Renew one part with `-only` and its name.\n")
	w("Read the ratios: they come from runs that took turns in one process or on one machine at one time. Absolute times belong to\nthis machine, whose clock speed changes by up to 1.8x between phases, and other work ran beside.\n")
	w("\n## Where and when\n\n| part | date | commit | machine | Go |\n|---|---|---|---|---|\n")
	for _, name := range []string{"scan", "path", "lean", "eval"} {
		if p := parts[name]; p != nil {
			m := p.Machine
			w("| %s | %s | %s | %d cores, %s, %s, %s | %s |\n", name, p.Date, p.Commit, m.Cores, m.CPU, m.Memory, m.Kernel, m.Go)
		}
	}
	w("\n## Aims\n\nThe aims are those of issues 9 and 11. \"x\" is a ratio of medians of interleaved rounds.\n\n| what | aim | measured | | command |\n|---|---|---|---|---|\n")
	for i := range aims {
		v, verdict := aims[i].row(f)
		w("| %s | %s | %s | %s | %s |\n", aims[i].what, aims[i].bound(), v, verdict, aims[i].from)
	}
	f.paths(w)
	f.processes(w)
	f.engine(w)
	if p := f["eval"]; p != nil {
		w("\n## Detectors over labelled sets\n\n`make eval`; all sets that there are, none left out. Rules were tuned on some of these sets, so expect less on text that nobody here has seen.\nns per byte is the whole request path for one row, short rows included.\n\n```\n%s\n```\n", strings.TrimSpace(p.Text))
	}
	method(w)
	return b.String()
}

type writef func(format string, a ...any)

func (f figures) paths(w writef) {
	p := f["path"]
	if p == nil {
		return
	}
	w("\n## The whole path, in process\n\nBytes of the provider's stream in, bytes for the client out: framing, strict parse, policies, window. Every event arrives alone.\n")
	w("`none` has no policy that scans; `quick` is the documented quick start (its policies read requests only); `quick+pii` adds PII redaction of answers.\n")
	w("Held is decoded text that waits after an event, in bytes; delay is how many events later an event leaves, on average.\n\n")
	w("| stream | delta | policies | ns/chunk | allocations/chunk | held p50 | held p99 | held max | delay |\n|---|---|---|---|---|---|---|---|---|\n")
	names := sorted(p.Bench, "BenchmarkPath/")
	slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(group(a), group(b)) })
	for _, n := range names {
		parts := strings.Split(n, "/")
		if len(parts) != 4 {
			continue
		}
		u := p.Bench[n]
		w("| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", parts[1], strings.Replace(parts[2], "B", " B", 1), parts[3],
			number(u["ns/chunk"]), number(u["allocs/chunk"]), number(u["held-p50"]), number(u["held-p99"]), number(u["held-max"]), number(u["delay-chunks"]))
	}
	w("\nThe same path with policies beside without, in turns (`quick+pii` on clean English):\n\n| delta | ratio | added per chunk |\n|---|---|---|\n")
	for _, n := range sorted(p.Bench, "BenchmarkPathRatio/") {
		w("| %s | %sx | %s ns |\n", strings.TrimPrefix(n, "BenchmarkPathRatio/clean/"), number(p.Bench[n]["x-none"]), number(p.Bench[n]["added-ns/chunk"]))
	}
	w("\nRequests of clean text, parsed and scanned. `1KB` and `100KB` are one made-up paragraph again and again; `manuals` and `programs` are 100 KB of this\nrepository's own, with their marks, numbers and strings:\n\n| text | policies | ns per byte | allocations |\n|---|---|---|---|\n")
	for _, n := range sorted(p.Bench, "BenchmarkPathRequest/") {
		parts := strings.Split(n, "/")
		w("| %s | %s | %s | %s |\n", parts[1], parts[2], number(p.Bench[n]["ns/B"]), number(p.Bench[n]["allocs/op"]))
	}
}

// group sorts by stream, then by size of delta as a number.
func group(name string) string {
	p := strings.Split(name, "/")
	if len(p) != 4 {
		return name
	}
	return fmt.Sprintf("%s %4s", p[1], p[2])
}

func (f figures) processes(w writef) {
	p := f["lean"]
	if p == nil {
		return
	}
	if len(p.Run) > 0 {
		w("\n## Whole processes\n\nCPU time of the gateway's process per request (user and system), over loopback sockets. `hertz` and `reverseproxy` are relays that parse\nand scan nothing; `nginx` is Debian's, unbuffered. `kt-none` scans nothing, `kt` is the quick start, `kt+pii` adds PII redaction.\n\n")
		w("| traffic | process | CPU per request | beside hertz |\n|---|---|---|---|\n")
		for _, g := range p.Run {
			w("| %s | %s | %s us | %sx |\n", g.Workload, g.Contender, number(g.MicrosPerRequest), number(g.RatioToHertz))
		}
	}
	if m := p.Memory; m != nil {
		w("\n%d slow streams at once through `kt+pii`: %s MiB resident (%s idle), %s KiB for each stream.\n", m.Streams, number(m.LoadedMiB), number(m.IdleMiB), number(m.KiBEach))
	}
	if len(p.Start) > 0 {
		w("\n| start to ready | mode | first start | median of later ones |\n|---|---|---|---|\n")
		for _, s := range p.Start {
			w("| %s | %s | %s ms | %s ms |\n", s.Contender, s.Mode, number(s.ColdMillis), number(s.Millis))
		}
	}
	if len(p.TTFT) > 0 {
		w("\n| time to first token, %d streams a second (full load: %d) | p50 | p99 | added p50 | added p99 |\n|---|---|---|---|---|\n", p.TTFT[0].Rate, p.TTFT[0].Full)
		for _, t := range p.TTFT {
			w("| %s | %s ms | %s ms | %s ms | %s ms |\n", t.Contender, number(t.P50Millis), number(t.P99Ms), number(t.AddedP50), number(t.AddedP99))
		}
		w("\nWith PII redaction on, the first event waits until no rule can touch its word any more: that is until the next event, here 10 ms later.\n")
	}
	for _, why := range p.Failed {
		w("\nNot measured: %s\n", why)
	}
}

func (f figures) engine(w writef) {
	p := f["scan"]
	if p == nil {
		return
	}
	w("\n## The scan engine\n\n| benchmark | figure | value |\n|---|---|---|\n")
	for _, n := range sorted(p.Bench, "BenchmarkScan/") {
		var units []string
		for u := range p.Bench[n] {
			units = append(units, u)
		}
		slices.Sort(units)
		for _, u := range units {
			w("| %s | %s | %s |\n", strings.TrimPrefix(n, "BenchmarkScan/"), u, number(p.Bench[n][u]))
		}
	}
}

func method(w writef) {
	w(`
## Method

- **Whole path**: ` + "`bench/path_test.go`" + `. Recorded streams (` + "`bench/streams.go`" + `) are sent through the window event by event. In every round the bytes
  out are compared with an outcome whose digest and findings are committed (` + "`bench/testdata/digests.txt`" + `); clean streams must leave byte for byte.
- **Scan engine**: ` + "`bench/scan_test.go`" + `. The reference set is 40 identifiers (those without a country first, then by name) and 150 secret formats
  (evenly over the list by name) of ` + "`pipeline/rulebook`" + `, and 2,000 made-up phrases without case. The corpus is 1 MiB of generated English
  (` + "`bench/english.go`" + `) with an example of the rulebook about every 4,000 bytes; all of them must be found, in pieces as in one call.
  "One table pass" is a dense automaton (at most 256 states, 64 classes, premultiplied entries) over the same bytes in the same pieces.
  Times are the thread's CPU time. x-table is the tables alone, stepped over the text without anything made of what they tell (tier 1 of the design);
  x-table-hold is all of Feed, with the set as a redacting policy uses it; x-nospan is all of Feed with identifiers and phrases that only warn, so
  that nothing is held for them (their tables are others, and larger).
  Figures with alone- are medians of the rounds in which the core did nothing else, share-alone of all (in percent): around each measurement instructions are timed
  that do not wait for each other, and none of these times is over 1.1 of the least. Another guest on the other half of the core doubles it. A table
  pass, in which each step waits for the one before it, then takes 1.1 of its time and a scan 1.5 to 1.7, so that ratios between them grow by half.
  Fewer than five such rounds are not shown.
  x-regexp lets regexp read the whole text at once, which is its best case, and checks that both find the same number of matches.
  x-hostile is the worst of 18 texts that come near a match of every class of rules again and again and have none; x-matches is the worst of three that
  are matches throughout (names with m-). They stand below under their names. Until 27 November x-hostile was the worst of both (10.0, an assignment that
  matches); the texts ibans-whole, national and keys are new, and harder than those they stand beside.
  Why it is above its aim: English takes the shortest way in 97 of 100 pieces (5 ns a byte), at less than one step of an automaton a byte beside the tables.
  A near-match needs that step, and one more where a second start is alive: digits and groups of letters may begin a card, a phone, an account and a
  national number at once. Triggers: what the cap ends has an heir, which is found by running both until they meet.
  x-hostile-whole is the worst of the same texts as prompts of 64 KB in one call, beside English in one call.
  x-matches: up to one match for 8 bytes, each with its thread, span and output: 300 to 400 ns.
- **Processes**: ` + "`bench/lean`" + `. In every round each process gets the same requests once, in rotating order, on the same two cores as the load generator;
  CPU time is that of the process's clock, in nanoseconds (where there is none, the kernel's 10 ms ticks); the ratio is the median of the rounds' own ratios. Full load is the most streams a second that the machine carries with the load
  generator, the provider and the gateway on its cores. Every answer is read to its
  end and checked to be whole.
- **Not shown**: numbers of other gateways. None publishes them with policies on, and we did not run any.
`)
}

// summary is the table of the README: ratios first.
func summary(parts map[string]*Part) string {
	f := figures(parts)
	var b strings.Builder
	w := func(format string, a ...any) { fmt.Fprintf(&b, format, a...) }
	w("| figure | measured | how |\n|---|---|---|\n")
	rows := 0
	row := func(what, how string, value string, ok bool) {
		if ok {
			rows++
			w("| %s | %s | %s |\n", what, value, how)
		}
	}
	x := func(workload, contender, to string) (string, bool) {
		v, ok := f.ratio(workload, contender, to)
		return number(v) + "x", ok
	}
	v, ok := x("chat 1 KB/1 KB", "kt", "hertz")
	row("CPU of a 1 KB chat call with the quick start's policies, beside the smallest relay with the same libraries", leanCommand("run"), v, ok)
	v, ok = x("chat 1 KB/1 KB", "kt", "reverseproxy")
	row("the same, beside net/http's ReverseProxy", leanCommand("run"), v, ok)
	v, ok = x("stream 200 events, gap 10 ms", "kt+pii", "hertz")
	row("CPU of a 200-event stream with PII redaction on (10 ms between events), beside that relay without policies", leanCommand("run"), v, ok)
	v, ok = x("stream 200 events, gap 0", "kt+pii", "hertz")
	row("the same, all events at once", leanCommand("run"), v, ok)
	for _, d := range []string{"4", "20"} {
		name := "BenchmarkPath/clean/" + d + "B/quick+pii"
		if v, ok := f.bench("path", name, "held-p50"); ok {
			p99, _ := f.bench("path", name, "held-p99")
			al, _ := f.bench("path", name, "allocs/chunk")
			delay, _ := f.bench("path", name, "delay-chunks")
			row(fmt.Sprintf("PII redaction on, %s-byte deltas: text held back p50 / p99; mean delay; allocations", d), pathCommand,
				fmt.Sprintf("%s / %s B; %s events; %s a chunk", number(v), number(p99), number(delay), number(al)), true)
		}
	}
	if v, ok := f.bench("path", "BenchmarkPathRatio/clean/4B", "added-ns/chunk"); ok {
		row("added by PII redaction to a 4-byte chunk", pathCommand, number(v)+" ns", true)
	}
	if v, ok := f.bench("scan", "BenchmarkScan/Regexp", "x-regexp"); ok {
		row("scan of 40 identifiers, 150 secret formats and 2,000 phrases at once, beside Go's regexp one by one", scanCommand, number(v)+"x faster", true)
	}
	if p := f["lean"]; p != nil {
		for _, t := range p.TTFT {
			if t.Contender == "kt" {
				row("added time to first token with the quick start, p50 / p99", leanCommand("ttft"), fmt.Sprintf("%s / %s ms", number(t.AddedP50), number(t.AddedP99)), true)
			}
		}
		if m := p.Memory; m != nil {
			row(fmt.Sprintf("memory under %d slow streams", m.Streams), leanCommand("memory"), number(m.LoadedMiB)+" MiB", true)
		}
		if s, ok := f.start("kt"); ok {
			row("start to ready", leanCommand("start"), number(s.Millis)+" ms", true)
		}
	}
	if rows == 0 {
		return ""
	}
	for _, name := range []string{"lean", "path", "scan"} {
		if p := parts[name]; p != nil {
			w("\nMeasured %s on %d cores (%s), %s. All figures, the aims and the method: [bench/RESULTS.md](bench/RESULTS.md).\n", p.Date, p.Machine.Cores, p.Machine.CPU, p.Machine.Go)
			break
		}
	}
	return b.String()
}
