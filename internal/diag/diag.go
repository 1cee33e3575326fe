// Package diag holds what kt says about somebody's files: a fault with its
// place, a numbered code, one sentence and a hint, printed in one form
// everywhere.
//
// Lines and columns are 1-based; columns count characters, not bytes. A
// Diagnostic owns the source line it quotes, so that a List can be printed
// without the files. Whoever fills Excerpt masks secrets in it first; see
// Excerpt.
package diag

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxPrinted is how many diagnostics Render prints; the rest is counted in the
// last line. JSON holds all of them.
const MaxPrinted = 50

// maxExcerpt is the longest source line quoted, in characters; a longer one is
// cut to a piece around the column.
const maxExcerpt = 160

// Severity tells how bad a diagnostic is.
type Severity uint8

// The severities. Only Error makes a check fail.
const (
	Error Severity = iota
	Warning
	Note
)

var severityNames = [...]string{"error", "warning", "note"}

func (s Severity) String() string { return severityNames[s] }

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Diagnostic is one thing said about a file. The zero value of every field but
// Code and Message means "not known".
type Diagnostic struct {
	Code      Code
	Severity  Severity
	File      string
	Line      int
	Column    int
	EndColumn int      // first column after the marked range; 0 marks one character
	Pointer   string   // JSON pointer into the merged configuration
	Message   string   // one sentence, lower case, no full stop
	Hint      string   // what to do about it
	Aliases   []string // documented codes of the same fault (E001)
	Excerpt   string   // the source line, secrets already masked, without its end of line
}

// jsonDiagnostic fixes names and order of the JSON form.
type jsonDiagnostic struct {
	Code      Code     `json:"code"`
	Severity  Severity `json:"severity"`
	File      string   `json:"file"`
	Line      int      `json:"line"`
	Column    int      `json:"column"`
	EndColumn int      `json:"end_column,omitempty"`
	Pointer   string   `json:"pointer"`
	Message   string   `json:"message"`
	Hint      string   `json:"hint,omitempty"`
	Aliases   []string `json:"aliases,omitempty"`
	Docs      string   `json:"docs"`
}

// MarshalJSON writes code, severity, file, line, column, pointer, message and
// hint; never the source line.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonDiagnostic{d.Code, d.Severity, d.File, d.Line, d.Column, d.EndColumn, d.Pointer, d.Message, d.Hint, d.Aliases, d.Code.Docs()})
}

// Error is the first line of the printed form.
func (d Diagnostic) Error() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(printable(d.File))
		if d.Line > 0 {
			fmt.Fprintf(&b, ":%d", d.Line)
			if d.Column > 0 {
				fmt.Fprintf(&b, ":%d", d.Column)
			}
		}
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s %s: %s", d.Severity, d.Code, printable(d.Message))
	return b.String()
}

// append writes the whole printed form.
func (d Diagnostic) append(b []byte) []byte {
	b = append(b, d.Error()...)
	b = append(b, '\n')
	if d.Line > 0 && d.Excerpt != "" {
		b = d.appendExcerpt(b)
	}
	if d.Hint != "" {
		b = append(b, "  hint: "...)
		b = append(b, printable(d.Hint)...)
		b = append(b, '\n')
	}
	b = append(b, "  docs: "...)
	b = append(b, d.Code.Docs()...)
	return append(b, '\n')
}

func (d Diagnostic) appendExcerpt(b []byte) []byte {
	line := []rune(d.Excerpt)
	col := min(max(d.Column, 1)-1, len(line)) // 0-based from here
	end := min(max(d.EndColumn-1, col+1), max(len(line), col+1))
	from := 0
	if len(line) > maxExcerpt {
		from = max(0, min(col-maxExcerpt/4, len(line)-maxExcerpt))
		line = line[from:min(len(line), from+maxExcerpt)]
		end = max(min(end, from+maxExcerpt), col+1)
	}
	num := strconv.Itoa(d.Line)
	b = append(b, "  "...)
	b = append(b, num...)
	b = append(b, " | "...)
	pad := make([]byte, 0, len(line))
	for i, r := range line {
		if from+i < col {
			if r == '\t' {
				pad = append(pad, '\t')
			} else {
				pad = append(pad, ' ')
			}
		}
		b = utf8.AppendRune(b, printRune(r))
	}
	b = append(b, "\n  "...)
	for range num {
		b = append(b, ' ')
	}
	b = append(b, " | "...)
	b = append(b, pad...)
	for range end - col {
		b = append(b, '^')
	}
	return append(b, '\n')
}

// printRune replaces what could move a terminal's cursor or reorder a line.
func printRune(r rune) rune {
	if r == '\t' || r == ' ' || unicode.IsPrint(r) {
		return r
	}
	return '\ufffd'
}

// printable does the same for a whole string, and keeps it on one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return printRune(r)
	}, s)
}

// Word makes a text of another's making fit for a line on a terminal: nothing
// that moves the cursor or reorders the line, at most limit runes.
func Word(s string, limit int) string {
	s = printable(s)
	n := 0
	for i := range s {
		if n == limit {
			return s[:i] + "..."
		}
		n++
	}
	return s
}

// List is a set of diagnostics. Sort before printing.
type List []Diagnostic

// Sort orders by file, line, column, severity, code and text, and drops exact
// repetitions.
func (l *List) Sort() {
	slices.SortStableFunc(*l, compare)
	*l = slices.CompactFunc(*l, func(a, b Diagnostic) bool { return compare(a, b) == 0 })
}

func compare(a, b Diagnostic) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if c := a.Line - b.Line; c != 0 {
		return c
	}
	if c := a.Column - b.Column; c != 0 {
		return c
	}
	if c := int(a.Severity) - int(b.Severity); c != 0 {
		return c
	}
	if c := strings.Compare(string(a.Code), string(b.Code)); c != 0 {
		return c
	}
	if c := strings.Compare(a.Pointer, b.Pointer); c != 0 {
		return c
	}
	return strings.Compare(a.Message, b.Message)
}

// HasErrors tells whether any diagnostic is an Error.
func (l List) HasErrors() bool { return l.Count(Error) > 0 }

// Count is the number of diagnostics of one severity.
func (l List) Count(s Severity) int {
	n := 0
	for i := range l {
		if l[i].Severity == s {
			n++
		}
	}
	return n
}

// Filter gives the diagnostics of one severity.
func (l List) Filter(s Severity) List {
	var out List
	for _, d := range l {
		if d.Severity == s {
			out = append(out, d)
		}
	}
	return out
}

// Render writes the printed form of at most MaxPrinted diagnostics, a blank
// line between two, and says how many were left out.
func (l List) Render(w io.Writer) error {
	_, err := io.WriteString(w, l.Text())
	return err
}

// Text is what Render writes.
func (l List) Text() string {
	var b []byte
	for i, d := range l {
		if i == MaxPrinted {
			b = fmt.Appendf(b, "\nand %d more\n", len(l)-MaxPrinted)
			break
		}
		if i > 0 {
			b = append(b, '\n')
		}
		b = d.append(b)
	}
	return string(b)
}

// JSON is the list as an indented JSON array; an empty list is [].
func (l List) JSON() ([]byte, error) {
	if len(l) == 0 {
		return []byte("[]"), nil
	}
	return json.MarshalIndent([]Diagnostic(l), "", "  ")
}

// Err is nil without errors, otherwise an error whose text is that of the
// first one and the number of the others.
func (l List) Err() error {
	errs := l.Filter(Error)
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%w (and %d more)", errs[0], len(errs)-1)
}
