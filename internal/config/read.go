package config

import (
	"io"
	"os"

	"github.com/keeptrusts/kt/internal/diag"
)

// ReadFile reads a configuration file, but no more of it than tells that it is
// larger than MaxFileBytes: whoever names a disk image by mistake gets a
// diagnostic, not a full memory. Errors are those of the os package, which name the
// file.
func ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Read reads one file by the strict rules of configurations, but checks it
// against no schema: for files that stand beside a configuration, such as
// tests. The value is absent when the list holds an error.
func Read(src Source) (Value, diag.List) {
	f, root := parseFile(src)
	shareSecrets([]*file{f})
	for i := range f.diags {
		f.finish(&f.diags[i])
	}
	f.diags.Sort()
	if root == nil || f.diags.HasErrors() {
		return Value{}, f.diags
	}
	return Value{n: root}, f.diags
}
