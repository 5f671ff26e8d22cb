package external

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A run is one start of a program.
type run struct {
	c     *Command
	w     *workspace
	args  []string
	given int64 // bytes of the data set, which the program has not written

	cmd     *exec.Cmd
	printed *printed
	family  *family
	ended   chan struct{} // closed when all its processes have ended
	status  error         // then: that of its first process
}

var errTimeout = errors.New("the timeout is over")

// fault returns what the program did wrong.
func (r *run) fault(format string, args ...any) *ProgramError {
	log := r.printed.text()
	if log == "" {
		log = "(nothing)"
	}
	return &ProgramError{Program: r.name(), What: fmt.Sprintf(format, args...), Log: log}
}

// name is the program for errors.
func (r *run) name() string { return strings.Join(r.c.Args, " ") }

// do starts the program and waits for its end, or brings it about. When it returns
// the program has no processes any more, and nothing reads what it prints.
func (r *run) do(ctx context.Context) error {
	r.printed = &printed{log: r.c.Log}
	ctx, cancel := context.WithTimeoutCause(ctx, r.c.Timeout, errTimeout)
	defer cancel()
	if err := r.start(); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	beyond := make(chan string, 1)
	var watchers sync.WaitGroup
	watchers.Go(func() { r.watchMemory(watching, beyond) })
	watchers.Go(func() { r.watchFolder(watching, beyond) })

	var broken string // a limit
	var over error    // the reason why ctx ended
	select {
	case <-r.ended:
	case broken = <-beyond:
		r.family.signal(syscall.SIGKILL)
	case <-ctx.Done():
		if over = ctx.Err(); context.Cause(ctx) == errTimeout { //nolint:errorlint // it is never wrapped
			over = errTimeout
		}
		r.askToEnd()
	}
	<-r.ended
	stop()
	watchers.Wait()
	if broken == "" {
		select {
		case broken = <-beyond: // it may have failed for that reason
		default:
			broken = r.folder() // that was too quick for the watch
		}
	}
	return r.judge(over, broken)
}

// judge says what an end means.
func (r *run) judge(over error, broken string) error {
	var exit *exec.ExitError
	switch {
	case over == errTimeout: //nolint:errorlint // it is never wrapped
		return r.fault("it ran for longer than its timeout of %v and was ended: give it more time (timeout) or less to do", r.c.Timeout)
	case over != nil:
		return fmt.Errorf("external: %s was ended: %w", r.name(), over)
	case broken != "":
		return r.fault("%s", broken)
	case errors.As(r.status, &exit):
		status, ok := exit.Sys().(syscall.WaitStatus)
		if ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return r.fault("somebody killed it: the system does where it has no more memory")
		}
		return r.fault("it failed with %v", exit)
	case r.status != nil:
		return fmt.Errorf("external: waiting for %s: %w", r.name(), r.status)
	}
	return nil
}

// start starts the program.
func (r *run) start() error {
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("external: %w", err)
	}
	r.cmd = exec.Command(r.args[0], r.args[1:]...)
	r.cmd.Dir, r.cmd.Env = r.w.dir, r.c.environ(r.w)
	r.cmd.Stdout, r.cmd.Stderr = out, out // Stdin is empty
	r.cmd.SysProcAttr = attributes()
	started, done := make(chan error), make(chan error, 1)
	go func() {
		// Where this process is killed the system kills the program, too, and it takes
		// the end of the thread that started it for that.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.cmd.Start()
		started <- err
		if err == nil {
			done <- r.cmd.Wait()
		}
	}()
	err = <-started
	out.Close()
	if err != nil {
		in.Close()
		if passes(err) {
			return fmt.Errorf("external: starting %s: %w", r.name(), err)
		}
		return &ProgramError{Program: r.name(), What: fmt.Sprintf("it cannot be started (%v): install it, or correct exec", err)}
	}
	r.family = newFamily(r.cmd.Process.Pid, r.w)
	r.ended = make(chan struct{})
	go r.follow(in, done)
	return nil
}

// passes reports whether an error is that the system has no more of something, for
// now.
func passes(err error) bool {
	for _, e := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// follow reads what the program prints until the last of its processes has ended.
// Those that its first process leaves behind are killed.
func (r *run) follow(in *os.File, done <-chan error) {
	defer close(r.ended)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(r.printed, in) // ends with the pipe, or below
	}()
	r.status = <-done
	if left := r.family.kill(r.c.limits.tidy); left > 0 {
		r.c.Log.Warn("processes of a learner do not end", "processes", left)
	}
	// One that has got away may hold the pipe.
	_ = in.SetReadDeadline(time.Now().Add(r.c.limits.tidy))
	<-read
	in.Close()
}

// askToEnd lets the program end by itself for a while, and then kills it.
func (r *run) askToEnd() {
	r.family.signal(syscall.SIGTERM)
	t := time.NewTimer(r.c.limits.grace)
	defer t.Stop()
	select {
	case <-r.ended:
	case <-t.C:
		r.family.signal(syscall.SIGKILL)
	}
}

// watchFolder looks at what the program writes in its folder.
func (r *run) watchFolder(ctx context.Context, beyond chan<- string) {
	for pause := 10 * r.c.limits.look; sleep(ctx, pause); {
		begun := time.Now()
		if broken := r.folder(); broken != "" {
			report(beyond, broken)
			return
		}
		pause = max(10*r.c.limits.look, 20*time.Since(begun))
	}
}

// folder says which limit the folder is beyond, or nothing.
func (r *run) folder() string {
	var size int64
	files := 0
	_ = filepath.WalkDir(r.w.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil // it has just been removed
		}
		if files++; files > r.c.limits.files {
			return filepath.SkipAll
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	switch {
	case files > r.c.limits.files:
		return fmt.Sprintf("it wrote more than %d files in its folder", r.c.limits.files)
	case size-r.given > r.c.limits.scratch:
		return fmt.Sprintf("it wrote %s in its folder, where %s are allowed", inMiB(size-r.given), inMiB(r.c.limits.scratch))
	}
	return ""
}

// report sends the first limit that was broken.
func report(beyond chan<- string, broken string) {
	select {
	case beyond <- broken:
	default:
	}
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func inMiB(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
