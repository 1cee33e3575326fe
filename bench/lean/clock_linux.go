package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cpuTime is the CPU time (user and system) that a process has used so far, threads that have ended included, in
// nanoseconds: the kernel's own sum for the process (clock_getcpuclockid(3)). Where that clock cannot be read it is what
// /proc/PID/stat says, which is the same sum in ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, linux/posix-timers_types.h
	var ts syscall.Timespec
	if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(^pid<<3|sched), uintptr(unsafe.Pointer(&ts)), 0); e == 0 {
		return time.Duration(ts.Nano()), nil
	}
	return tickTime(pid)
}

// tickTime is the CPU time of a process by /proc/PID/stat, in ticks of 10 ms (USER_HZ is 100 on every Linux that Go runs on).
func tickTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // the name may hold blanks
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("read CPU time of process %d: %d fields in stat", pid, len(f))
	}
	var ticks int64
	for _, field := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
