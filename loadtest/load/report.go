package main

import (
	"fmt"
	"html"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

func cpuOf(s sample) float64 { return s.gateway }
func genOf(s sample) float64 { return s.generator }
func rssOf(s sample) float64 { return s.rss }

// verdict says how a scenario went.
func (r *result) verdict() string {
	switch {
	case !r.valid():
		return "invalid: the generator's core was over 90 % busy in most seconds"
	case len(r.broken) > 0:
		return "BROKEN: " + strings.Join(r.broken, "; ")
	}
	return "ok"
}

func (r *result) line() string {
	num := func(v float64) string {
		if math.IsNaN(v) {
			return "-"
		}
		return fmt.Sprintf("%.1f", v)
	}
	slow := "-"
	if v := r.slowShare(); !math.IsNaN(v) {
		slow = fmt.Sprintf("%.2f", 100*v)
	}
	ends, events := 0, 0
	for i := range r.seconds {
		ends, events = ends+r.seconds[i].ends, events+r.seconds[i].events
	}
	n := max(1, len(r.seconds))
	return fmt.Sprintf("%7.1f %8.0f %7s %7s %7s %7s %7s %7.2f %7.2f %7.0f %5d/%-3d %s",
		float64(ends)/float64(n), float64(events)/float64(n), num(quantile(r.ttft, .5)), num(quantile(r.ttft, .99)), num(quantile(r.gap, .5)), num(quantile(r.gap, .99)),
		slow, r.mean(cpuOf), r.mean(genOf), r.most(rssOf), r.invalid(), len(r.seconds), r.verdict())
}

const columns = "scenario      streams  events/s  TTFT ms          gap ms            slow %   CPU: gw     gen     RSS  invalid\n" +
	"                 /s                p50     p99     p50     p99   >5 ms   cores   cores     MiB  seconds  verdict\n"

// machine describes what it ran on.
func machine(b *bed) string {
	pin := "not pinned"
	if b.cores[0] != "" {
		pin = "gateway on core " + b.cores[0] + ", generator and provider on core " + b.cores[1]
	}
	return fmt.Sprintf("%d cores, %s, %s/%s, %s", runtime.NumCPU(), pin, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func summary(b *bed, profile string, results []*result) string {
	var s strings.Builder
	fmt.Fprintf(&s, "kt load test, profile %s, %s\n%s\n", profile, time.Now().UTC().Format("2006-01-02 15:04 UTC"), machine(b))
	s.WriteString("Policies: prompt-injection, pii-detector (redact), audit-logger. Provider: 20 ms to the first event, then one each 4 ms.\n")
	s.WriteString("TTFT and gap are the client's, provider included; the row floor is the provider without a gateway. slow %: by the gateway's own histogram.\n\n")
	s.WriteString(columns)
	var floor *result
	for _, r := range results {
		fmt.Fprintf(&s, "%-13s %s\n", r.name, r.line())
		if r.name == "floor" {
			floor = r
		}
	}
	for _, r := range results {
		if floor != nil && r.name == "steady" && len(floor.ttft) > 0 && len(r.ttft) > 0 {
			fmt.Fprintf(&s, "\nsteady over floor: time to first token p50 %+.2f ms, p99 %+.2f ms; gap p50 %+.2f ms, p99 %+.2f ms\n",
				quantile(r.ttft, .5)-quantile(floor.ttft, .5), quantile(r.ttft, .99)-quantile(floor.ttft, .99),
				quantile(r.gap, .5)-quantile(floor.gap, .5), quantile(r.gap, .99)-quantile(floor.gap, .99))
		}
	}
	return s.String()
}

// report is one HTML page without anything from elsewhere.
func report(b *bed, profile string, results []*result) string {
	var s strings.Builder
	s.WriteString(`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kt load test</title><style>
body{font:14px system-ui,sans-serif;margin:2em auto;max-width:1100px;color:#222}h2{margin:1.6em 0 .3em}pre{background:#f6f6f6;padding:1em;overflow-x:auto;font-size:12px}
.plots{display:grid;grid-template-columns:1fr 1fr;gap:12px}figure{margin:0}figcaption{font-weight:600;font-size:12px}svg{width:100%;background:#fff;border:1px solid #ddd}
.bad{color:#b00020}.ok{color:#1b7f3b}text{font:10px system-ui,sans-serif;fill:#555}</style></head><body>
`)
	fmt.Fprintf(&s, "<h1>kt load test</h1>\n<pre>%s</pre>\n<p>Grey seconds: the generator's core was more than %.0f %% busy; they are left out.</p>\n", html.EscapeString(summary(b, profile, results)), 100*saturated)
	for _, r := range results {
		class := "ok"
		if r.verdict() != "ok" {
			class = "bad"
		}
		fmt.Fprintf(&s, "<h2>%s</h2>\n<p class=%q>%s</p>\n<div class=\"plots\">\n", html.EscapeString(r.name), class, html.EscapeString(r.verdict()))
		per := func(f func(*second) float64) []float64 {
			var out []float64
			for i := range r.seconds {
				out = append(out, f(&r.seconds[i]))
			}
			return out
		}
		q := func(pick func(*second) []float64, p float64) []float64 {
			return per(func(x *second) float64 {
				v := append([]float64(nil), pick(x)...)
				slices.Sort(v)
				return quantile(v, p)
			})
		}
		ttft, gap := func(x *second) []float64 { return x.ttft }, func(x *second) []float64 { return x.gap }
		s.WriteString(r.plot("Time to first token, ms", []curve{{"p50", q(ttft, .5)}, {"p99", q(ttft, .99)}}))
		s.WriteString(r.plot("Gap between tokens, ms", []curve{{"p50", q(gap, .5)}, {"p99", q(gap, .99)}}))
		s.WriteString(r.plot("Events per second", []curve{{"events", per(func(x *second) float64 { return float64(x.events) })}}))
		byTime := func(f func(sample) float64) []float64 {
			out := make([]float64, len(r.seconds))
			for i := range out {
				out[i] = math.NaN()
			}
			for _, x := range r.samples {
				if i := x.at.Unix() - r.first; i >= 0 && i < int64(len(out)) {
					out[i] = f(x)
				}
			}
			return out
		}
		if r.target != "floor" {
			s.WriteString(r.plot("Resident memory of the gateway, MiB", []curve{{"RSS", byTime(rssOf)}}))
		}
		s.WriteString(r.plot("CPU, cores", []curve{{"gateway", byTime(cpuOf)}, {"generator and provider", byTime(genOf)}}))
		s.WriteString("</div>\n")
	}
	s.WriteString("</body></html>\n")
	return s.String()
}

// curve has one value for each second; NaN leaves a hole.
type curve struct {
	name   string
	values []float64
}

var colours = []string{"#1f77b4", "#d62728", "#2ca02c"}

// plot draws curves over the seconds of a scenario.
func (r *result) plot(title string, curves []curve) string {
	const w, h, left, bottom, top = 520.0, 170.0, 46.0, 18.0, 18.0
	n, most := float64(max(2, len(r.seconds))), 0.0
	for _, c := range curves {
		for _, v := range c.values {
			if !math.IsNaN(v) {
				most = max(most, v)
			}
		}
	}
	most = nice(most)
	x := func(i int) float64 { return left + (w-left-6)*float64(i)/(n-1) }
	y := func(v float64) float64 { return top + (h-top-bottom)*(1-v/most) }
	var s strings.Builder
	fmt.Fprintf(&s, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %g %g\">\n", html.EscapeString(title), w, h)
	for i := range r.seconds {
		if r.seconds[i].invalid {
			fmt.Fprintf(&s, "<rect x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"%.1f\" fill=\"#ddd\"/>", x(i), top, (w-left-6)/(n-1), h-top-bottom)
		}
	}
	for i := range 5 {
		v := most * float64(i) / 4
		fmt.Fprintf(&s, "<line x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#eee\"/><text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", left, w-6, y(v), y(v), left-4, y(v)+3, v)
	}
	fmt.Fprintf(&s, "<text x=\"%g\" y=\"%g\">0 s</text><text x=\"%g\" y=\"%g\" text-anchor=\"end\">%d s</text>\n", left, h-4, w-6, h-4, len(r.seconds)-1)
	for k, c := range curves {
		pen, d := "M", strings.Builder{}
		for i, v := range c.values {
			if math.IsNaN(v) {
				pen = "M"
				continue
			}
			fmt.Fprintf(&d, "%s%.1f %.1f", pen, x(i), y(v))
			pen = "L"
		}
		fmt.Fprintf(&s, "<path d=%q fill=\"none\" stroke=%q stroke-width=\"1.5\"/><text x=\"%g\" y=\"12\" style=\"fill:%s\">%s</text>\n", d.String(), colours[k%len(colours)], left+float64(k)*110, colours[k%len(colours)], html.EscapeString(c.name))
	}
	s.WriteString("</svg></figure>\n")
	return s.String()
}

// nice rounds an axis' end up.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 5, 8, 10} {
		if v <= m*p {
			return m * p
		}
	}
	return 10 * p
}
