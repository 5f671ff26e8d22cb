package asking

import (
	"runtime"
	"syscall"
	"time"
)

// setTimerSlack is Linux's PR_SET_TIMERSLACK.
const setTimerSlack = 29

// punctual lets pause be exact: the runtime's own sleep is up to a millisecond
// long, and the kernel's 50 us. It ties the goroutine to its thread for good.
func punctual() {
	runtime.LockOSThread()
	// An error leaves the slack as it is, which the lateness shows.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1000, 0)
}

// pause sleeps, at least for d unless a signal comes.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil) // interrupted: the caller looks at the clock
}
