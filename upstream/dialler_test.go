package upstream_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var dials = regexp.MustCompile(`\bnet\.(Dial|DialTimeout|DialTCP|Dialer)\b|\btls\.(Dial|DialWithDialer|Dialer)\b|\bhttp\.((Get|Post|Head|PostForm)\(|DefaultClient|DefaultTransport|Client\{|Transport\{)`)

// TestNoOtherDialler is T72: requests leave through one checked dialler. Code
// that may open connections of its own is listed with its reason.
func TestNoOtherDialler(t *testing.T) {
	allowed := map[string]string{
		"upstream/dial.go": "the checked dialler",
		"cmd/doctor.go":    "checks whether a target can be reached: sends nothing",
		"cmd/demo.go":      "asks the demo's own gateway on loopback",
	}
	root := ".."
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			switch rel {
			case "bench", "loadtest", "examples", "docs", ".git", "internal/tools":
				return fs.SkipDir // measure and show; not in the binary
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		seen++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if m := dials.Find(b); m != nil && allowed[rel] == "" {
			t.Errorf("%s opens connections itself (%s): only upstream's dialler checks addresses", rel, m)
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Fatalf("%d files, %v", seen, err)
	}
}
