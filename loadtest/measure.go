// Package loadtest holds what measurements share. The workloads are in the
// folders below it.
package loadtest

import (
	"syscall"
	"time"
)

// CPUTime is the CPU time that this process has taken, user and system.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for an argument that is not valid
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Quantile returns the wait that a share q of the waits does not exceed. They
// are sorted, and there is one at least.
func Quantile(waits []time.Duration, q float64) time.Duration {
	return waits[min(int(q*float64(len(waits))), len(waits)-1)]
}

// Millis is d in milliseconds, to the microsecond.
func Millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
