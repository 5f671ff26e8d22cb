//go:build !linux

package external

import (
	"context"
	"syscall"
	"time"
)

// memoryLimited says whether Command.Memory has an effect here.
const memoryLimited = false

// attributes makes the program the leader of a session, and so of a process group,
// that has no terminal.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// A family is the process group of a program. Who leaves it gets away.
type family struct{ group int }

func newFamily(leader int, _ *workspace) *family { return &family{leader} }

// signal signals the group.
func (f *family) signal(s syscall.Signal) {
	_ = syscall.Kill(-f.group, s) // it has ended already
}

// kill kills the group and returns 1 where some of it is still there after a while.
func (f *family) kill(wait time.Duration) (left int) {
	for deadline := time.Now().Add(wait); syscall.Kill(-f.group, syscall.SIGKILL) == nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return 1
		}
	}
	return 0
}

// watchMemory does nothing: Check has refused a limit.
func (r *run) watchMemory(context.Context, chan<- string) {}
