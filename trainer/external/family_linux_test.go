package external

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestNoProcessIsLeft has programs that end, or are ended, before processes that
// they have started, in the session of the program or in one of their own.
func TestNoProcessIsLeft(t *testing.T) {
	for _, name := range []string{"orphan", "escape", "orphaned"} {
		started := 0
		c := fake(name)
		c.Log = lines(func(line string) { _, _ = fmt.Sscanf(line, "child %d", &started) })
		if name == "orphaned" {
			c.Timeout = 300 * time.Millisecond
		}
		got, err := c.Train(t.Context(), t.TempDir(), small())
		if name == "orphaned" {
			var fault *ProgramError
			if !errors.As(err, &fault) || !strings.Contains(fault.What, "timeout") {
				t.Errorf("%s: the error is %v", name, err)
			}
		} else if err != nil || got.Format != XGBoost {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if started == 0 && name != "orphaned" { // that may have been ended before
			t.Fatalf("%s has started no process", name)
		}
		if m, _, alive := readStat(started); alive {
			environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", started))
			if strings.Contains(string(environ), "MILLRACE_OUT="+os.TempDir()) {
				t.Errorf("%s: process %v still runs", name, m)
			}
		}
	}
}

// TestProgramEndsWithItsHost kills the process that trains.
func TestProgramEndsWithItsHost(t *testing.T) {
	cmd := exec.Command(os.Args[0], "fake", "host", t.TempDir())
	printed, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for s := bufio.NewScanner(printed); pid == 0 && s.Scan(); {
		_, _ = fmt.Sscanf(s.Text(), "pid %d", &pid)
	}
	before, _, alive := readStat(pid)
	if pid == 0 || !alive {
		t.Fatalf("the program %d does not run", pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		now, _, alive := readStat(pid)
		if !alive || now.process != before.process {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the program runs on, and nobody waits for it")
		}
	}
}

// TestMemory has one program that takes too much, and one whose processes do
// together.
func TestMemory(t *testing.T) {
	for _, name := range []string{"hungry", "hungry2"} {
		c := fake(name)
		c.Memory = MinMemory
		if name == "hungry2" {
			c.Memory = 100 << 20 // one of the two takes 60 MiB and what a runtime needs
		}
		_, err := c.Train(t.Context(), t.TempDir(), small())
		var fault *ProgramError
		if !errors.As(err, &fault) || !strings.Contains(fault.What, "MiB of memory, where") {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

// TestMappedFilesAreNoMemory reads a mapped file larger than the memory allowed:
// the system can take that memory back when it likes.
func TestMappedFilesAreNoMemory(t *testing.T) {
	c := fake("map")
	c.Memory = 2 * MinMemory
	if _, err := c.Train(t.Context(), t.TempDir(), small()); err != nil {
		t.Error(err)
	}
}

// TestMembers finds this process by its environment, and by its session.
func TestMembers(t *testing.T) {
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		t.Fatal(err)
	}
	_, session, ok := readStat(os.Getpid())
	if !ok {
		t.Fatal("this process is not there")
	}
	first, _, _ := strings.Cut(string(environ), "\x00")
	for _, f := range []*family{{session: -1, mark: []byte(first + "\x00")}, {session: session, mark: []byte("no such variable")}, {session: -1, mark: []byte("no such variable")}} {
		for range 2 { // the second time from what is known
			found := false
			for _, m := range f.members() {
				found = found || m.pid == os.Getpid() && m.resident > 0
			}
			if want := f.session != -1 || string(f.mark) == first+"\x00"; found != want {
				t.Errorf("session %d, mark %q: found %v, want %v", f.session, f.mark, found, want)
			}
		}
	}
}
