// Command gate is the benchmark regression gate.
//
// It looks at two things. Allocations are compared with the committed table
// bench/gate/allocs.json: the count exactly, the bytes within 5 %. Time is
// compared with the base commit: both test binaries are built, run in turns,
// and judged by benchstat's test; a benchmark fails when its median is more
// than 10 % slower at p < 0.05, twice in a row (a second, longer series runs
// for those that failed the first), so that a slow phase of a shared machine
// does not fail the gate on its own.
//
// Exit status: 0 passed; 1 a regression; 2 the gate could not run.
package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

const (
	maxRatio    = 1.10 // new median over old median
	maxP        = 0.05
	bytesMargin = 0.05 // of the committed bytes per operation
	bytesSlack  = 16   // bytes per operation below which a difference is the pools' noise
)

type options struct {
	base, bench, pkg, table, overlay, benchtime string
	rounds                                      int
	write, allocsOnly                           bool
}

func main() {
	var o options
	flag.StringVar(&o.base, "base", os.Getenv("KT_GATE_BASE"), "commit to compare time with (default: merge base with origin/main, or the parent commit)")
	flag.StringVar(&o.bench, "bench", "^BenchmarkGate", "benchmarks of the gate")
	flag.StringVar(&o.pkg, "pkg", "./bench", "package of the benchmarks")
	flag.StringVar(&o.table, "table", "bench/gate/allocs.json", "table of allocations")
	flag.StringVar(&o.overlay, "overlay", "", "overlay file for the build of the tree (used to plant a regression)")
	flag.StringVar(&o.benchtime, "benchtime", "60ms", "time per benchmark and round")
	flag.IntVar(&o.rounds, "rounds", 10, "rounds of the first series")
	flag.BoolVar(&o.write, "write", false, "write the table of allocations from this tree and exit")
	flag.BoolVar(&o.allocsOnly, "allocs", false, "check allocations only")
	flag.Parse()
	failed, err := run(&o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gate:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(o *options) (failed bool, err error) {
	dir, err := os.MkdirTemp("", "ktgate")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	tree := filepath.Join(dir, "new.test")
	if err := build(".", o.pkg, tree, o.overlay); err != nil {
		return false, err
	}
	failed, err = allocations(o, tree)
	if err != nil || o.write || o.allocsOnly {
		return failed, err
	}
	slower, err := times(o, dir, tree)
	return failed || slower, err
}

// build compiles the test binary of pkg as it stands in the folder at.
func build(at, pkg, out, overlay string) error {
	args := []string{"test", "-c", "-trimpath", "-o", out} // trimpath: the same source gives the same binary, wherever it lies
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir = at
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", pkg, at, err, b)
	}
	return nil
}

// bench runs a test binary once and gives its output. It runs in the package's
// folder, as go test does, so that testdata is found.
func bench(binary, folder, pattern, benchtime string) ([]byte, error) {
	cmd := exec.Command(binary, "-test.run", "^$", "-test.bench", pattern, "-test.benchmem", "-test.benchtime", benchtime)
	cmd.Env = append(os.Environ(), "KT_BENCH_CACHE="+binary+".cache", "GOMAXPROCS=1") // pools are kept for each P: with one, a run always finds what it put back
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", binary, err, out)
	}
	return out, nil
}

type usage struct {
	Allocs int64 `json:"allocs"`
	Bytes  int64 `json:"bytes"`
}

var line = regexp.MustCompile(`(?m)^(Benchmark\S+?)(?:-\d+)?\s+\d+\s.*?(\d+) B/op\s+(\d+) allocs/op`)

func allocations(o *options, binary string) (failed bool, err error) {
	// Many operations, so that what the first one allocates (pools, growth) does
	// not count; the smaller of two runs, so that a collection that empties a pool
	// in one of them does not either.
	got := map[string]usage{}
	for range 2 {
		out, err := bench(binary, o.pkg, o.bench, "500x")
		if err != nil {
			return false, err
		}
		for _, m := range line.FindAllSubmatch(out, -1) {
			n, _ := strconv.ParseInt(string(m[2]), 10, 64)
			a, _ := strconv.ParseInt(string(m[3]), 10, 64)
			u, name := usage{Allocs: a, Bytes: n}, string(m[1])
			if before, ok := got[name]; ok {
				u = usage{min(u.Allocs, before.Allocs), min(u.Bytes, before.Bytes)}
			}
			got[name] = u
		}
	}
	if len(got) == 0 {
		return false, fmt.Errorf("no benchmark matches %q in %s", o.bench, o.pkg)
	}
	if o.write {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			return false, err
		}
		fmt.Printf("gate: wrote %d rows to %s\n", len(got), o.table)
		return false, os.WriteFile(o.table, append(b, '\n'), 0o644)
	}
	raw, err := os.ReadFile(o.table)
	if err != nil {
		return false, fmt.Errorf("read table (write it with: go run ./bench/gate -write): %w", err)
	}
	var want map[string]usage
	if err := json.Unmarshal(raw, &want); err != nil {
		return false, fmt.Errorf("read %s: %w", o.table, err)
	}
	names := make([]string, 0, len(want))
	for n := range want {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		w, g := want[n], got[n]
		if _, ok := got[n]; !ok {
			failed = true
			fmt.Printf("FAIL %s: in the table, but no such benchmark ran\n", n)
			continue
		}
		delta := float64(g.Bytes - w.Bytes)
		switch {
		case g.Allocs != w.Allocs:
			failed = true
			fmt.Printf("FAIL %s: %d allocations per operation, table says %d\n", n, g.Allocs, w.Allocs)
		case (delta > bytesMargin*float64(w.Bytes) || -delta > bytesMargin*float64(w.Bytes)) && (delta > bytesSlack || -delta > bytesSlack):
			failed = true
			fmt.Printf("FAIL %s: %d bytes per operation, table says %d (room: 5 %%)\n", n, g.Bytes, w.Bytes)
		}
	}
	for n := range got {
		if _, ok := want[n]; !ok {
			failed = true
			fmt.Printf("FAIL %s: not in the table; add it with: go run ./bench/gate -write\n", n)
		}
	}
	if !failed {
		fmt.Printf("gate: allocations of %d benchmarks as in %s\n", len(names), o.table)
	} else {
		fmt.Println("gate: if the change is wanted, rewrite the table with: go run ./bench/gate -write, and say why in the commit")
	}
	return failed, nil
}

func times(o *options, dir, tree string) (failed bool, err error) {
	base, why := o.base, "given"
	if base == "" {
		base, why = findBase()
	}
	if base == "" {
		fmt.Println("gate: time not compared:", why)
		return false, nil
	}
	work := filepath.Join(dir, "base")
	if b, err := exec.Command("git", "worktree", "add", "--detach", work, base).CombinedOutput(); err != nil {
		return false, fmt.Errorf("check out base %s: %w\n%s", base, err, b)
	}
	defer func() { _ = exec.Command("git", "worktree", "remove", "--force", work).Run() }()
	old := filepath.Join(dir, "old.test")
	if err := build(work, o.pkg, old, ""); err != nil {
		fmt.Printf("gate: time not compared: base %.10s has no such benchmarks that build\n", base)
		return false, nil
	}
	if same, err := sameFile(old, tree); err != nil || same {
		if same {
			fmt.Printf("gate: time not compared: base %.10s (%s) gives the same binary\n", base, why)
		}
		return false, err
	}
	fmt.Printf("gate: time against %.10s (%s), %d rounds in turns\n", base, why, o.rounds)
	slow, err := series(dir, old, filepath.Join(work, o.pkg), tree, o.pkg, o.bench, o.benchtime, o.rounds)
	if err != nil || len(slow) == 0 {
		return false, err
	}
	fmt.Printf("gate: slower in the first series: %s; running these again\n", strings.Join(slow, ", "))
	for _, name := range slow {
		again, err := series(dir, old, filepath.Join(work, o.pkg), tree, o.pkg, pattern(name), o.benchtime, 2*o.rounds)
		if err != nil {
			return false, err
		}
		if len(again) > 0 {
			failed = true
			fmt.Printf("FAIL %s: slower than the base by more than 10 %% at p < 0.05, in both series\n", name)
		}
	}
	return failed, nil
}

func sameFile(a, b string) (bool, error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	return bytes.Equal(x, y), err
}

// pattern matches exactly one benchmark, sub-benchmarks included.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	return strings.Join(parts, "/")
}

func findBase() (commit, why string) {
	head := git("rev-parse", "HEAD")
	if b := git("merge-base", "HEAD", "origin/main"); b != "" && b != head {
		return b, "merge base with origin/main"
	}
	if dirty := git("status", "--porcelain", "--untracked-files=no"); dirty != "" {
		return head, "the last commit; the tree has changes"
	}
	if b := git("rev-parse", "--verify", "-q", "HEAD~1"); b != "" {
		return b, "the parent commit"
	}
	return "", "there is no earlier commit"
}

func git(args ...string) string {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// series runs both binaries in turns and names the benchmarks that got slower.
func series(dir, old, oldDir, tree, treeDir, pattern, benchtime string, rounds int) (slow []string, err error) {
	var a, b bytes.Buffer
	for i := range rounds {
		first, second := &a, &b
		fb, fd, sb, sd := old, oldDir, tree, treeDir
		if i%2 == 1 { // take turns in going first
			first, second = &b, &a
			fb, fd, sb, sd = tree, treeDir, old, oldDir
		}
		for _, r := range []struct {
			to       *bytes.Buffer
			bin, dir string
		}{{first, fb, fd}, {second, sb, sd}} {
			out, err := bench(r.bin, r.dir, pattern, benchtime)
			if err != nil {
				return nil, err
			}
			r.to.Write(out)
		}
	}
	oldFile, newFile := filepath.Join(dir, "old.txt"), filepath.Join(dir, "new.txt")
	if err := errors.Join(os.WriteFile(oldFile, a.Bytes(), 0o644), os.WriteFile(newFile, b.Bytes(), 0o644)); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "tool", "-modfile=internal/tools/go.mod", "benchstat", "-format", "csv", oldFile, newFile)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("benchstat: %w\n%s", err, stderr.Bytes())
	}
	return judge(out)
}

// judge reads benchstat's CSV: in the section for sec/op a row is
// name, old, old CI, new, new CI, change, "p=0.000 n=10".
func judge(out []byte) (slow []string, err error) {
	rd := csv.NewReader(bytes.NewReader(out))
	rd.FieldsPerRecord = -1
	rows, err := rd.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read benchstat's table: %w", err)
	}
	inTime := false
	cpus := regexp.MustCompile(`-\d+$`)
	for _, r := range rows {
		if len(r) > 2 && r[0] == "" {
			if r[2] == "CI" { // the row that names the unit
				inTime = r[1] == "sec/op"
			}
			continue
		}
		if !inTime || len(r) < 7 || r[0] == "geomean" {
			continue
		}
		before, e1 := strconv.ParseFloat(r[1], 64)
		after, e2 := strconv.ParseFloat(r[3], 64)
		ps, _, _ := strings.Cut(strings.TrimPrefix(r[6], "p="), " ")
		p, e3 := strconv.ParseFloat(ps, 64)
		if e1 != nil || e2 != nil || e3 != nil || before == 0 {
			continue
		}
		name := cpus.ReplaceAllString(r[0], "")
		mark := ""
		if after/before > maxRatio && p < maxP {
			slow = append(slow, "Benchmark"+name)
			mark = "  <- slower"
		}
		fmt.Printf("  %-48s x%.2f  p=%.3f%s\n", name, after/before, p, mark)
	}
	return slow, nil
}
