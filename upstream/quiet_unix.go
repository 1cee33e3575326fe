//go:build unix && !aix

package upstream

import "syscall"

// quiet tells that the socket is open and that nothing waits in it, and whether
// that could be seen.
func (l *link) quiet() (still, seen bool) {
	if l.raw == nil {
		return false, false
	}
	l.still = false
	return l.raw.Read(l.look) == nil && l.still, true
}

// peek looks at the socket and never waits.
func (l *link) peek(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	l.still = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK //nolint:errorlint // a bare errno
	return true
}
