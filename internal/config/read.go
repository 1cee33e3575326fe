package config

import "github.com/keeptrusts/kt/internal/diag"

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
