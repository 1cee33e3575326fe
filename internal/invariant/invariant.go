// Package invariant holds checks that are compiled in only under the build
// tag "invariants". Callers guard every check with Enabled, a constant, so
// that a normal build carries no cost.
package invariant

import "fmt"

// Check panics with a formatted message when ok is false and the build has the
// tag "invariants"; otherwise it does nothing. Messages must never hold text
// of a request, an answer or a key.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
