//go:build unix

package upstream

import "syscall"

// quiet tells that an idle connection is open and that nothing was sent on it:
// what comes unasked belongs to no request.
func (l *link) quiet() bool {
	if l.raw == nil {
		return true
	}
	l.still = false
	return l.raw.Read(l.look) == nil && l.still
}

// peek looks at the socket and never waits.
func (l *link) peek(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	l.still = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK //nolint:errorlint // a bare errno
	return true
}
