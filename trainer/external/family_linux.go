package external

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"
)

// memoryLimited says whether Command.Memory has an effect here.
const memoryLimited = true

// attributes makes the program the leader of a session, and so of a process group,
// that has no terminal, and lets it end with this process.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// A family is the processes of a program: those of its session, whatever groups
// they make, and those that have left it, which the environment that they were
// started with tells. Only who leaves the session with another environment gets
// away.
type family struct {
	session int
	mark    []byte
	known   map[process]bool // whether the environment has the mark; of those that were looked at
}

// A process is one for as long as it lives: its number is used again later.
type process struct {
	pid   int
	birth uint64 // in ticks since the system started
}

// A member is a process of a family.
type member struct {
	process
	resident int64 // bytes in memory
}

func newFamily(leader int, w *workspace) *family {
	return &family{session: leader, mark: []byte("MILLRACE_OUT=" + w.out() + "\x00")}
}

// signal signals the program's process group.
func (f *family) signal(s syscall.Signal) {
	_ = syscall.Kill(-f.session, s) // it has ended already
}

// kill kills all members and returns how many are still there after a while: a
// process that waits for a disk cannot be killed.
func (f *family) kill(wait time.Duration) (left int) {
	for deadline := time.Now().Add(wait); ; time.Sleep(2 * time.Millisecond) {
		all := f.members()
		if len(all) == 0 || time.Now().After(deadline) {
			return len(all)
		}
		for _, m := range all {
			_ = syscall.Kill(m.pid, syscall.SIGKILL) // it has just ended
		}
	}
}

// members returns the processes that live.
func (f *family) members() []member {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []member
	known := map[process]bool{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		m, session, ok := readStat(pid)
		if !ok {
			continue
		}
		ours, looked := f.known[m.process]
		if !looked {
			environ, _ := os.ReadFile("/proc/" + name + "/environ") // not ours if it cannot be read
			ours = bytes.Contains(environ, f.mark)
		}
		known[m.process] = ours
		if ours || session == f.session {
			all = append(all, m)
		}
	}
	f.known = known
	return all
}

// readStat reads what the system says of a process that lives.
func readStat(pid int) (m member, session int, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return m, 0, false
	}
	// The name of the program may have spaces and brackets itself.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const state, sessionAt, birthAt, residentAt = 0, 3, 19, 21
	if len(fields) <= residentAt || fields[state][0] == 'Z' || fields[state][0] == 'X' {
		return m, 0, false
	}
	session, err = strconv.Atoi(string(fields[sessionAt]))
	birth, err2 := strconv.ParseUint(string(fields[birthAt]), 10, 64)
	pages, err3 := strconv.ParseInt(string(fields[residentAt]), 10, 64)
	return member{process{pid, birth}, pages * int64(os.Getpagesize())}, session, err == nil && err2 == nil && err3 == nil
}

// watchMemory kills nothing: it reports when the program has too much memory.
func (r *run) watchMemory(ctx context.Context, beyond chan<- string) {
	if r.c.Memory == 0 {
		return
	}
	f := newFamily(r.family.session, r.w) // one of its own: families are not shared
	for pause := r.c.limits.look; sleep(ctx, pause); {
		begun := time.Now()
		if held := f.memory(r.c.Memory); held > r.c.Memory {
			report(beyond, fmt.Sprintf("it held %s of memory, where %s are allowed (memory), and was killed: give it more, or fewer columns or rows", inMiB(held), inMiB(r.c.Memory)))
			return
		}
		pause = max(r.c.limits.look, 20*time.Since(begun)) // at most a twentieth of a processor
	}
}

// memory returns how much the members hold together. What is quickly had counts
// shared memory as often as it is shared, and mapped files, so that what is exact
// is only asked for where that is above limit.
func (f *family) memory(limit int64) int64 {
	all := f.members()
	var resident, held int64
	for _, m := range all {
		resident += m.resident
	}
	if resident <= limit {
		return resident
	}
	for _, m := range all {
		held += heldBy(m)
	}
	return held
}

// heldBy returns the memory of a process that is not of files, and its part of what
// it shares. Where the system does not tell, it is all that is in memory.
func heldBy(m member) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", m.pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0 // it has just ended
	}
	var kib int64
	told := false
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch string(fields[0]) {
		case "Pss_Anon:", "Pss_Shmem:", "SwapPss:":
			n, err := strconv.ParseInt(string(fields[1]), 10, 64)
			kib, told = kib+n, told || err == nil && fields[0][4] == 'A'
		}
	}
	if !told {
		return m.resident
	}
	return kib << 10
}
