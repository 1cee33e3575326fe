package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/internal/golden"
)

// TestBadFilesAreExplained renders what is said about every archive in
// testdata/bad; the section "want" holds the exact text.
func TestBadFilesAreExplained(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("archives: %v, %v", paths, err)
	}
	seen := map[diag.Code]bool{}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var files []config.Source
			want := ""
			out := &txtar.Archive{Comment: ar.Comment}
			for _, f := range ar.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				files = append(files, config.Source{Name: f.Name, Data: f.Data})
				out.Files = append(out.Files, f)
			}
			cfg, diags := config.Load(files, config.Options{})
			if (cfg == nil) != diags.HasErrors() {
				t.Errorf("config %v with errors %v", cfg != nil, diags.HasErrors())
			}
			for _, d := range diags {
				seen[d.Code] = true
			}
			got := diags.Text()
			if golden.Updating() {
				out.Files = append(out.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a secret is shown")
			}
		})
	}
}
