package diag_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/internal/golden"
)

// families has one diagnostic of each family, in the form later layers make.
var families = []struct {
	name string
	list diag.List
}{
	{"kt1-yaml-schema", diag.List{
		{Code: diag.DuplicateKey, File: "policy-config.yaml", Line: 3, Column: 3, EndColumn: 7, Pointer: "/pack", Message: `key "name" appears twice in this map`, Hint: "the first one is in line 2", Excerpt: "  name: two"},
		{Code: diag.UnknownKey, File: "policy-config.yaml", Line: 17, Column: 5, EndColumn: 13, Pointer: "/policy/prompt-injection/treshold", Message: `unknown key "treshold" in policy.prompt-injection`, Hint: "did you mean threshold?", Aliases: []string{"E002"}, Excerpt: "    treshold: 0.8"},
	}},
	{"kt2-policy", diag.List{
		{Code: diag.ParamRange, File: "policy-config.yaml", Line: 18, Column: 16, EndColumn: 19, Pointer: "/policy/prompt-injection/threshold", Message: "threshold must be between 0 and 1; got 1.8", Hint: "Score from which a text counts as an attack.", Excerpt: "    threshold: 1.8"},
	}},
	{"kt3-providers", diag.List{
		{Code: diag.PlainHTTP, File: "policy-config.yaml", Line: 9, Column: 17, EndColumn: 39, Pointer: "/providers/targets/0/base_url", Message: "plain http to localhost is not allowed for this target", Hint: "add allow_private: true", Excerpt: "\t\tbase_url:   \thttp://localhost:11434"},
	}},
	{"kt4-secrets", diag.List{
		{Code: diag.SecretMissing, Severity: diag.Warning, File: "policy-config.yaml", Line: 12, Column: 9, EndColumn: 12, Pointer: "/providers/targets/0/secret_key_ref", Message: "target a is unavailable: the environment variable OPENAI_API_KEY is not set", Excerpt: "        env: OPENAI_API_KEY"},
	}},
	{"kt5-generator", diag.List{
		{Code: diag.GenStale, File: "pack/zz_generated.go", Message: "generated files are not up to date", Hint: "go generate ./..."},
	}},
	{"kt6-run-time", diag.List{
		{Code: diag.RunOpenListen, Severity: diag.Warning, Message: "listening on 0.0.0.0:41002 without client authentication", Hint: "listen on 127.0.0.1, or configure client keys"},
	}},
	{"kt7-policy-tests", diag.List{
		{Code: diag.TestVerdict, Severity: diag.Note, File: "tests/a.json", Line: 1, Column: 200, EndColumn: 207, Pointer: "/expected/verdict", Message: `verdict must be one of allow, block, redact, escalate; got "blocked"`, Excerpt: `{"name":"a",` + strings.Repeat(" ", 180) + `       "blocked"` + strings.Repeat(" ", 100) + `}`},
	}},
}

func TestEachFamilyPrintsAsPromised(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			golden.Compare(t, "testdata/"+f.name+".txt", []byte(f.list.Text()))
			b, err := f.list.JSON()
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, "testdata/"+f.name+".json", append(b, '\n'))
		})
	}
}

func TestEveryCodeHasAMeaningAndIsUnique(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		vs, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := vs.Type.(*ast.Ident); ok && id.Name == "Code" {
			for _, v := range vs.Values {
				declared = append(declared, strings.Trim(v.(*ast.BasicLit).Value, `"`))
			}
		}
		return true
	})
	var listed []string
	for _, c := range diag.Codes() {
		listed = append(listed, string(c.Code))
		if c.Meaning == "" || c.Code.Meaning() != c.Meaning {
			t.Errorf("%s: meaning %q, Meaning() %q", c.Code, c.Meaning, c.Code.Meaning())
		}
		if len(c.Code) != 6 || c.Code[2] < '1' || c.Code[2] > '7' {
			t.Errorf("%s is in no family", c.Code)
		}
	}
	if !slices.Equal(declared, listed) {
		t.Errorf("constants and meanings differ:\n%v\n%v", declared, listed)
	}
	if !slices.IsSorted(listed) || len(slices.Compact(slices.Clone(listed))) != len(listed) {
		t.Error("codes are not sorted or one is used twice")
	}
	if len(listed) < 80 {
		t.Errorf("only %d codes were read", len(listed))
	}
}

func TestDocsPageIsUpToDate(t *testing.T) {
	golden.Compare(t, "../../docs/diagnostics.md", diag.Page())
	for _, c := range diag.Codes() {
		anchor := strings.TrimPrefix(c.Code.Docs(), "docs/diagnostics.md#")
		if !strings.Contains(string(diag.Page()), "## "+strings.ToUpper(anchor)+"\n") {
			t.Errorf("the page has no heading for %s", c.Code)
		}
	}
}

func TestSortOrdersByPlaceAndDropsRepetitions(t *testing.T) {
	l := diag.List{
		{Code: "KT1002", File: "b", Line: 1, Column: 1, Message: "x"},
		{Code: "KT1001", File: "a", Line: 2, Column: 1, Message: "x"},
		{Code: "KT1001", File: "a", Line: 1, Column: 9, Severity: diag.Warning, Message: "x"},
		{Code: "KT1001", File: "a", Line: 1, Column: 9, Message: "x"},
		{Code: "KT1001", File: "a", Line: 1, Column: 2, Message: "y"},
		{Code: "KT1001", File: "a", Line: 1, Column: 2, Message: "x"},
		{Code: "KT1001", File: "a", Line: 1, Column: 2, Message: "x"},
	}
	l.Sort()
	var got []string
	for _, d := range l {
		got = append(got, fmt.Sprintf("%s%d:%d%s%s", d.File, d.Line, d.Column, d.Severity, d.Message))
	}
	want := []string{"a1:2errorx", "a1:2errory", "a1:9errorx", "a1:9warningx", "a2:1errorx", "b1:1errorx"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestAtMostFiftyArePrintedAndTheRestCounted(t *testing.T) {
	var l diag.List
	for i := range 63 {
		l = append(l, diag.Diagnostic{Code: diag.UnknownKey, File: "f", Line: i + 1, Column: 1, Message: "m"})
	}
	text := l.Text()
	if n := strings.Count(text, "error KT1101"); n != diag.MaxPrinted {
		t.Errorf("%d printed", n)
	}
	if !strings.HasSuffix(text, "\nand 13 more\n") {
		t.Errorf("the end is %q", text[len(text)-40:])
	}
	b, err := l.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back []map[string]any
	if err := json.Unmarshal(b, &back); err != nil || len(back) != 63 {
		t.Errorf("JSON holds %d, %v", len(back), err)
	}
}

func TestTerminalControlNeverReachesTheTerminal(t *testing.T) {
	l := diag.List{{Code: diag.UnknownKey, File: "a\x1b[31m", Line: 1, Column: 2, EndColumn: 90, Message: "m\x1b]0;x\a\n\u202e", Hint: "\r\x00h", Excerpt: "a\x1b[2Jb\u2066c"}}
	for _, r := range l.Text() {
		if r != '\n' && (r < 0x20 || r == 0x202e || r == 0x2066) {
			t.Errorf("control character %U in %q", r, l.Text())
		}
	}
}

func TestCaretStaysOnTheLine(t *testing.T) {
	for _, d := range []diag.Diagnostic{
		{Line: 1, Column: 0, Excerpt: "abc"},
		{Line: 1, Column: 99, EndColumn: 200, Excerpt: "abc"},
		{Line: 1, Column: 3, EndColumn: 1, Excerpt: "abc"},
		{Line: 1, Column: 500, EndColumn: 4000, Excerpt: strings.Repeat("é", 1000)},
		{Line: 1, Column: 1, EndColumn: 4000, Excerpt: strings.Repeat("é", 1000)},
	} {
		d.Code = diag.Syntax
		lines := strings.Split(diag.List{d}.Text(), "\n")
		src, caret := []rune(lines[1]), []rune(lines[2])
		if len(caret) > len(src)+1 || !strings.HasSuffix(lines[2], "^") {
			t.Errorf("%+v:\n%s\n%s", d, lines[1], lines[2])
		}
	}
}

func TestErrNamesTheFirstErrorAndCountsTheRest(t *testing.T) {
	warn := diag.Diagnostic{Code: diag.UnusedBlock, Severity: diag.Warning, Message: "w"}
	e := diag.Diagnostic{Code: diag.UnknownKey, File: "f", Line: 2, Column: 3, Message: "m"}
	if err := (diag.List{warn}).Err(); err != nil {
		t.Errorf("warnings give %v", err)
	}
	if err := (diag.List{warn, e}).Err(); err == nil || err.Error() != "f:2:3: error KT1101: m" {
		t.Errorf("one error gives %v", err)
	}
	if err := (diag.List{e, warn, e}).Err(); err == nil || err.Error() != "f:2:3: error KT1101: m (and 1 more)" {
		t.Errorf("two errors give %v", err)
	}
}

func TestNearestFindsWhatWasMeant(t *testing.T) {
	known := []string{"threshold", "action", "prompt-injection", "pii-detector", "retention_days", "id"}
	for word, want := range map[string]string{
		"treshold": "threshold", "thresholds": "threshold", "acton": "action", "ACTION": "action", "prompt_injection": "prompt-injection",
		"pii-detectr": "pii-detector", "retention": "retention_days", "di": "id", "zebra": "", "": "", "x": "",
		strings.Repeat("a", 5000): "",
	} {
		if got := diag.Nearest(word, known); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}
