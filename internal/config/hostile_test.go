package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

func TestHostileYAMLIsRefused(t *testing.T) {
	many := 10_000
	if testing.Short() {
		many = 500 // the race detector is slow
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	var manyAnchors strings.Builder
	for i := range many {
		fmt.Fprintf(&manyAnchors, "k%d: &n%d x\n", i, i)
	}
	var manyKeys, manySecrets strings.Builder
	for i := range many {
		fmt.Fprintf(&manyKeys, "key_%d: 1\n", i)
		fmt.Fprintf(&manySecrets, "s%d: {api_key: secret-number-%d}\n", i, i)
	}
	for name, c := range map[string]struct {
		text string
		code diag.Code
	}{
		"alias bomb":        {bomb.String(), diag.AnchorOrAlias},
		"many anchors":      {manyAnchors.String(), diag.AnchorOrAlias},
		"many keys":         {manyKeys.String(), diag.UnknownKey},
		"many secrets":      {manySecrets.String(), diag.SecretInline},
		"deep flow":         {"a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), diag.TooDeep},
		"deeper flow":       {"a: " + strings.Repeat("[", 50_000), diag.TooDeep},
		"deep maps":         {deepMaps(200), diag.TooDeep},
		"a long line":       {"a: [" + strings.Repeat("1, ", 150_000) + "1]", diag.UnknownKey},
		"too many values":   {"a: [" + strings.Repeat("1,", config.MaxNodes+1) + "1]", diag.TooManyNodes},
		"too many bytes":    {"a: " + strings.Repeat("x", config.MaxFileBytes), diag.TooLarge},
		"a long text":       {"pack: {name: \"" + strings.Repeat("x", 3<<19) + "\", version: 0.1.0}", diag.WrongLength},
		"a huge number":     {"pack: {name: x, version: 0.1.0}\npolicies: {chain: [audit-logger]}\npolicy: {audit-logger: {retention_days: 1e999999999}}", diag.NumberForm},
		"a large number":    {"pack: {name: x, version: 0.1.0}\npolicies: {chain: [audit-logger]}\npolicy: {audit-logger: {retention_days: 1e300}}", diag.ParamRange},
		"recursion":         {"a: &a [*a]", diag.AnchorOrAlias},
		"a merge of itself": {"a: &a\n  <<: *a\n", diag.AnchorOrAlias},
		"a NUL":             {"pack:\x00 {name: x}\n", diag.ControlChar},
		"a byte order mark": {"\ufeffpack: {name: x}\n", diag.ByteOrderMark},
		"UTF-16":            {"\xff\xfep\x00a\x00", diag.NotUTF8},
		"bad UTF-8":         {"pack: {name: \xc3\x28}\n", diag.NotUTF8},
		"a lone carriage":   {"pack: {name: x}\rpolicies: {}\r", diag.ControlChar},
		"a bidi override":   {"pack: {name: \"x\u202ey\"}\n", diag.ControlChar},
		"a line separator":  {"pack: {name: \"x\u2028y\"}\n", diag.ControlChar},
		"python object":     {"a: !!python/object/apply:os.system [ls]", diag.ExplicitTag},
		"binary":            {"a: !!binary aGVsbG8=", diag.ExplicitTag},
		"nothing":           {"", diag.EmptyFile},
		"a null document":   {"---\n", diag.NotAMap},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && len(c.text) > 200_000 && c.code != diag.TooLarge {
				t.Skip("large")
			}
			cfg, diags := config.Load([]config.Source{{Name: "f.yaml", Data: []byte(c.text)}}, config.Options{})
			if cfg != nil {
				t.Fatal("accepted")
			}
			found := false
			for _, d := range diags {
				found = found || d.Code == c.code
			}
			if !found {
				t.Errorf("no %s in:\n%.2000s", c.code, diags.Text())
			}
			if n := len(diags.Text()); n > 100_000 {
				t.Errorf("%d bytes are printed", n)
			}
		})
	}
}

// TestARefusedCharacterIsTheOnlyFault wants no fault that is there only because
// a refused character was replaced: "?" would be a key that is there already,
// or YAML's mark of a key.
func TestARefusedCharacterIsTheOnlyFault(t *testing.T) {
	built := config.AllBuilt()
	for name, c := range map[string]struct {
		text string
		want []diag.Code
	}{
		"beside a key ?":   {"{\"?\": a, \"\u202e\": b}", []diag.Code{diag.ControlChar}},
		"two in two keys":  {"{\"\u202d\": a, \"\u202e\": b}", []diag.Code{diag.ControlChar, diag.ControlChar}},
		"bad UTF-8":        {"{\"?\": a, \"\xc3\": b}", []diag.Code{diag.NotUTF8}},
		"first of a value": {"\n        x: \x01 y", []diag.Code{diag.ControlChar}},
		"a true duplicate": {"{\"a\": \"\u202e\", \"b\": x, \"b\": y}", []diag.Code{diag.ControlChar, diag.DuplicateKey}},
	} {
		text := "pack: {name: x, version: 0.1.0}\npolicies: {chain: [pii-detector]}\npolicy:\n  pii-detector:\n    redaction:\n      custom_markers: " + c.text + "\n"
		cfg, diags := config.Load([]config.Source{{Name: "f.yaml", Data: []byte(text)}}, config.Options{Built: &built})
		var got []diag.Code
		for _, d := range diags {
			if d.Severity == diag.Error {
				got = append(got, d.Code)
			}
		}
		slices.Sort(got)
		if cfg != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v\n%s", name, got, c.want, diags.Text())
		}
	}
}

func deepMaps(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	b.WriteString(strings.Repeat(" ", n) + "a: 1\n")
	return b.String()
}

func TestNoFileIsAFault(t *testing.T) {
	cfg, diags := config.Load(nil, config.Options{})
	if cfg != nil || !diags.HasErrors() {
		t.Errorf("config %v, %v", cfg, diags)
	}
}

// FuzzLoad: whatever the bytes, Load returns, every place lies in its file,
// and a Config comes exactly without errors and survives a second reading.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		ar, err := txtar.ParseFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ar.Files[0].Data, []byte("policy: {}\n"))
	}
	quick, err := os.ReadFile("testdata/quick-launch.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(quick, []byte("pack: {enabled: false}\n"))
	f.Add([]byte("? [a]\n: b\n"), []byte("\"a\\u2028\": |\n  x\n"))
	built := config.AllBuilt()
	f.Fuzz(func(t *testing.T, a, b []byte) {
		files := []config.Source{{Name: "a.yaml", Data: a}, {Name: "b.yaml", Data: b}}
		for _, set := range [][]config.Source{files[:1], files} {
			cfg, diags := config.Load(set, config.Options{Built: &built})
			if (cfg == nil) != diags.HasErrors() {
				t.Fatalf("config %v, errors %v", cfg != nil, diags.HasErrors())
			}
			for _, d := range diags {
				checkPlace(t, d, set)
			}
			if !utf8.ValidString(diags.Text()) {
				t.Fatal("the text is not UTF-8")
			}
			if cfg == nil {
				continue
			}
			for _, form := range [][]byte{cfg.Root().JSON(), cfg.Root().YAML()} {
				again, more := config.Load([]config.Source{{Name: "again", Data: form}}, config.Options{Built: &built})
				if again == nil {
					t.Fatalf("its own form is refused:\n%s\n%s", form, more.Text())
				}
				if again.Digest != cfg.Digest {
					t.Fatalf("digest %s after %s of\n%s", again.Digest, cfg.Digest, form)
				}
			}
		}
	})
}

func checkPlace(t *testing.T, d diag.Diagnostic, files []config.Source) {
	t.Helper()
	for _, f := range files {
		if f.Name != d.File {
			continue
		}
		lines := strings.Split(string(f.Data), "\n")
		if d.Line < 1 || d.Line > len(lines) {
			t.Fatalf("%s: line %d of %d", d.Error(), d.Line, len(lines))
		}
		// bytes that are no UTF-8 count as one character each
		if width := utf8.RuneCountInString(lines[d.Line-1]); d.Column < 1 || d.Column > width+1 || d.EndColumn > max(width+2, utf8.RuneCountInString(d.Excerpt)+2) {
			t.Fatalf("%s: columns %d to %d of %d", d.Error(), d.Column, d.EndColumn, width)
		}
		return
	}
	t.Fatalf("%s: no such file", d.Error())
}
