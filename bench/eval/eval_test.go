package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A made-up set gives the figures that can be counted by hand, and no text of it is printed.
func TestFiguresOfASmallSet(t *testing.T) {
	dir := t.TempDir()
	set := `{"id":"a","text":"write to jo.doe@example.org please","label":1,"spans":[[9,27,"EMAIL_ADDRESS"]]}
{"id":"b","text":"é at 203.0.113.7 and nothing else","label":1,"spans":[[5,16,"IP_ADDRESS"],[20,27,"PERSON"]]}
{"id":"c","text":"the quick brown fox","label":0}
{"id":"d","text":"a name that no pattern finds","label":1,"spans":[[0,6,"EMAIL_ADDRESS"]]}
`
	if err := os.WriteFile(filepath.Join(dir, "pii.small.jsonl"), []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := &evaluation{dir: dir, out: &out, misses: true}
	if err := e.run(); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{"0.667", "EMAIL_ADDRESS", "PERSON 1;", "missed d EMAIL_ADDRESS 0-6", "wrong d label 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	for _, text := range []string{"jo.doe", "quick brown", "203.0.113"} {
		if strings.Contains(got, text) {
			t.Errorf("the report holds text of a row: %q", text)
		}
	}
}

func TestByteOffsetCountsCodePoints(t *testing.T) {
	for _, c := range []struct{ runes, want int }{{0, 0}, {1, 2}, {2, 3}, {9, 3}} {
		if got := byteOffset("éa", c.runes); got != c.want {
			t.Errorf("byteOffset(%d) = %d, want %d", c.runes, got, c.want)
		}
	}
}

// Names are found as they are, and with a letter wrong under fuzzy_matching only.
func TestFiguresOfASmallList(t *testing.T) {
	dir := t.TempDir()
	for name, set := range map[string]string{
		"entities.small": `{"id":"a","text":"Zorblax-Trading, Ltd","label":1}
{"id":"b","text":"Qwertz","label":1}
{"id":"c","text":"Wond","label":1}
`,
		"injection.small": `{"id":"d","text":"the old road and the new bond","label":0}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".jsonl"), []byte(set), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	e := &evaluation{dir: dir, out: &out}
	if err := e.entities(); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"small exact 4 3 1.000 0.000", "small typo 3 3 0.000", "small exact, fuzzy 1 3 3 1.000",
		"small typo, fuzzy 1 4 3 1.000 1.000", "small typo, fuzzy, >5 4 3 0.667 0.000",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}
