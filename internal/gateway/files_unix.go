//go:build unix

package gateway

import "syscall"

// openFiles is how many files the process may have open, 0 when not known. Go
// has raised the soft limit to the hard one already.
func openFiles() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return uint64(l.Cur)
}
