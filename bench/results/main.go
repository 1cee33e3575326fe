// Command results measures and publishes: it runs the benchmarks and bench/lean,
// keeps the figures in bench/results/figures.json, and writes bench/RESULTS.md
// and the table between <!-- figures --> and <!-- /figures --> in README.md.
//
//	go run ./bench/results [-only scan,path,lean,eval] [-kt bin/kt] [-render]
//
// -only renews a part and leaves the others as they were measured before, each
// with its own date and commit. -render measures nothing.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	figuresFile = "bench/results/figures.json"
	resultsFile = "bench/RESULTS.md"
	readmeFile  = "README.md"
	beginMark   = "<!-- figures -->"
	endMark     = "<!-- /figures -->"
)

// Part is what one part measured, and when.
type Part struct {
	Date    string
	Commit  string
	Machine Machine
	Seconds float64                       // how long it took
	Bench   map[string]map[string]float64 `json:",omitempty"` // benchmark -> unit -> value
	Run     []Figure                      `json:",omitempty"` // CPU of whole processes
	Memory  *Memory                       `json:",omitempty"`
	Start   []Start                       `json:",omitempty"`
	TTFT    []TTFT                        `json:",omitempty"`
	Text    string                        `json:",omitempty"` // eval: its output as it is
	Failed  []string                      `json:",omitempty"` // measurements that could not be made, and why
}

// Machine describes where a part was measured.
type Machine struct {
	CPU    string
	Cores  int
	Memory string
	Kernel string
	Go     string
}

// Figures, as bench/lean writes them.
type (
	Figure struct {
		Workload, Contender string
		MicrosPerRequest    float64
		RatioToHertz        float64
	}
	Memory struct {
		Streams                     int
		IdleMiB, LoadedMiB, KiBEach float64
	}
	Start struct {
		Contender          string
		Millis, ColdMillis float64
		Mode               string
	}
	TTFT struct {
		Contender                            string
		Rate, Full                           int // streams a second: measured at, and the full load
		P50Millis, P99Ms, AddedP50, AddedP99 float64
	}
)

func main() {
	only := flag.String("only", "scan,path,lean,eval", "parts to measure, separated by commas")
	kt := flag.String("kt", "", "gateway binary (default: built from this tree)")
	benchtime := flag.String("benchtime", "1s", "time for each benchmark")
	rounds := flag.Int("rounds", 5, "rounds of the process measurements")
	streams := flag.Int("streams", 5000, "slow streams at once")
	data := flag.String("data", defaultData(), "labelled sets of the eval part")
	render := flag.Bool("render", false, "measure nothing, write the pages again")
	flag.Parse()
	if err := run(*only, *kt, *benchtime, *data, *rounds, *streams, *render); err != nil {
		fmt.Fprintln(os.Stderr, "results:", err)
		os.Exit(1)
	}
}

func run(only, kt, benchtime, data string, rounds, streams int, render bool) error {
	if _, err := os.Stat("go.mod"); err != nil {
		return fmt.Errorf("find the module's root (run this at the top of the repository): %w", err)
	}
	parts := map[string]*Part{}
	raw, err := os.ReadFile(figuresFile)
	if err == nil {
		err = json.Unmarshal(raw, &parts)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", figuresFile, err)
	}
	if !render {
		for name := range strings.SplitSeq(only, ",") {
			begin := time.Now()
			p := &Part{Date: begin.UTC().Format("2006-01-02"), Commit: commit(), Machine: machine()}
			var err error
			switch name {
			case "scan":
				p.Bench, err = benchmarks("^BenchmarkScan$", benchtime)
			case "path":
				p.Bench, err = benchmarks("^BenchmarkPath", benchtime)
			case "lean":
				err = p.lean(kt, rounds, streams)
			case "eval":
				if _, missing := os.Stat(data); missing != nil {
					fmt.Printf("no labelled sets in %q: eval is left as it was\n", data)
					continue
				}
				p.Text, err = eval(data)
			default:
				err = errors.New("want one of scan, path, lean, eval")
			}
			if err != nil {
				return fmt.Errorf("measure %q: %w", name, err)
			}
			p.Seconds = time.Since(begin).Round(time.Second).Seconds()
			parts[name] = p
			raw, err := json.MarshalIndent(parts, "", "  ")
			if err != nil {
				return err
			}
			if err := os.WriteFile(figuresFile, append(raw, '\n'), 0o644); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(resultsFile, []byte(page(parts)), 0o644); err != nil {
		return err
	}
	fmt.Println("wrote", resultsFile)
	return readme(parts)
}

// benchmarks runs the benchmarks of ./bench and gives their figures.
func benchmarks(pattern, benchtime string) (map[string]map[string]float64, error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", pattern, "-benchtime", benchtime, "-timeout", "30m", "./bench")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	os.Stdout.Write(out)
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s: %w", pattern, err)
	}
	return parse(string(out)), nil
}

func defaultData() string {
	if d := os.Getenv("KT_EVAL_DATA"); d != "" {
		return d
	}
	return "../shared/data/detection"
}

// eval runs the detectors over the labelled sets.
func eval(data string) (string, error) {
	cmd := exec.Command("go", "run", "./bench/eval", "-data", data)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	os.Stdout.Write(out)
	return string(out), err
}

var cpus = regexp.MustCompile(`-\d+$`)

// parse reads lines of go test -bench: a name, a count, then pairs of value and unit.
func parse(out string) map[string]map[string]float64 {
	all := map[string]map[string]float64{}
	for l := range strings.Lines(out) {
		f := strings.Fields(l)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		units := map[string]float64{}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				units[f[i+1]] = v
			}
		}
		all[cpus.ReplaceAllString(f[0], "")] = units
	}
	return all
}

// lean runs the process measurements. One that fails is named in the results
// and does not stop the others.
func (p *Part) lean(kt string, rounds, streams int) error {
	dir, err := os.MkdirTemp("", "ktresults")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	build := func(out, pkg string) error {
		if b, err := exec.Command("go", "build", "-trimpath", "-o", out, pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, b)
		}
		return nil
	}
	tool := filepath.Join(dir, "lean")
	if err := build(tool, "./bench/lean"); err != nil {
		return err
	}
	if kt == "" {
		kt = filepath.Join(dir, "kt")
		if err := build(kt, "./cmd/kt"); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		to   any
		args []string
	}{
		{&p.Start, []string{"start", "-rounds", strconv.Itoa(rounds)}},
		{&p.Run, []string{"run", "-rounds", strconv.Itoa(rounds)}},
		{&p.TTFT, []string{"ttft", "-rounds", strconv.Itoa(rounds)}},
		{&p.Memory, []string{"memory", "-streams", strconv.Itoa(streams)}},
	} {
		out := filepath.Join(dir, m.args[0]+".json")
		cmd := exec.Command(tool, append(m.args, "-kt", kt, "-json", out)...)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = os.Stdout, &said
		err := cmd.Run()
		if err == nil {
			var raw []byte
			if raw, err = os.ReadFile(out); err == nil {
				err = json.Unmarshal(raw, m.to)
			}
		}
		if err != nil {
			first, _, _ := strings.Cut(said.String(), "\n")
			p.Failed = append(p.Failed, fmt.Sprintf("lean %s: %s", m.args[0], first))
			fmt.Fprintln(os.Stderr, said.String())
		}
	}
	return nil
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=10", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	at := strings.TrimSpace(string(out))
	if dirty, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", "*.go", "*.rules", "*.bin").Output(); err != nil || len(dirty) > 0 {
		at += " with uncommitted changes"
	}
	return at
}

func machine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, CPU: "unknown"}
	field := func(file, key string) string {
		raw, err := os.ReadFile(file)
		if err != nil {
			return ""
		}
		for l := range strings.Lines(string(raw)) {
			if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	if s := field("/proc/cpuinfo", "model name"); s != "" {
		m.CPU = s
		if fam, mod := field("/proc/cpuinfo", "cpu family"), field("/proc/cpuinfo", "model"); fam != "" {
			m.CPU += " (family " + fam + ", model " + mod + ")"
		}
	}
	if kb, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.Memory = fmt.Sprintf("%.1f GiB", float64(kb)/(1<<20))
	}
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(raw))
	}
	return m
}

// readme renews the table of README.md.
func readme(parts map[string]*Part) error {
	raw, err := os.ReadFile(readmeFile)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("no", readmeFile, "yet: its table was not written")
		return nil
	}
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(raw), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		fmt.Printf("%s has no %s ... %s: its table was not written\n", readmeFile, beginMark, endMark)
		return nil
	}
	fmt.Println("wrote the table of", readmeFile)
	return os.WriteFile(readmeFile, []byte(head+beginMark+"\n"+summary(parts)+endMark+tail), 0o644)
}

// sorted are the keys of m that begin with prefix, in order.
func sorted(m map[string]map[string]float64, prefix string) []string {
	var out []string
	for k := range m {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
