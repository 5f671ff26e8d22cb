package pebble

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

// memoryPlace is a disk in memory that forgets in a crash what was not synced,
// but for a random part of it.
type memoryPlace struct {
	disk   *vfs.MemFS
	random *rand.Rand
	store  *Store
}

func (p *memoryPlace) Open(t *testing.T) online.Store {
	t.Helper()
	s, err := open("store", p.disk)
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	return s
}

func (p *memoryPlace) Save(t *testing.T) {
	t.Helper()
	if err := p.store.db.LogData(nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

func (p *memoryPlace) Crash(t *testing.T) {
	t.Helper()
	after := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.random.IntN(101), RNG: p.random})
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	p.disk = after
}

func TestCrashes(t *testing.T) {
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		return &memoryPlace{disk: vfs.NewCrashableMem(), random: rand.New(rand.NewPCG(1, 2))}
	})
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "ask that one over HTTP") {
		t.Errorf("a second Open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestOtherProcess opens the directory in a child process and kills that while
// it commits: what is left is whole, and the directory free.
func TestOtherProcess(t *testing.T) {
	dir := os.Getenv("MILLRACE_TEST_PEBBLE_DIR")
	shard := online.Shard{Space: "s"}
	if dir != "" { // the child
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for c := stampedCommit(shard, online.Token{}, 1); ; c = stampedCommit(shard, c.Next, c.Progress.Next+1) {
			if err := s.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			fmt.Println("committed")
		}
	}
	dir = t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
	child.Env = append(os.Environ(), "MILLRACE_TEST_PEBBLE_DIR="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 50 {
		if !lines.Scan() {
			t.Fatalf("the child ended: %v", child.Wait())
		}
	}
	_, err = Open(dir)
	if err == nil || !strings.Contains(err.Error(), "ask that one over HTTP") {
		t.Errorf("Open beside another process: %v", err)
	}
	child.Process.Kill()
	child.Wait() // says that it was killed
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	state, err := s.State(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	want := stampedCommit(shard, online.Token{}, state.Progress.Next).Writes
	n := 0
	for e, err := range s.Rows(t.Context(), "s") {
		if err != nil || !bytes.Equal(e.Row.Head, want[0].Head) || !bytes.Equal(e.Row.Base, want[0].Base) {
			t.Fatalf("progress %d: row %v (%v)", state.Progress.Next, e, err)
		}
		n++
	}
	if n != 0 && n != len(want) || (n == 0) != (state.Progress.Next == 0) {
		t.Errorf("progress %d with %d rows", state.Progress.Next, n)
	}
	t.Logf("killed after at least 50 commits, %d are left", state.Progress.Next)
}

func stampedCommit(shard online.Shard, expect online.Token, number int64) *online.Commit {
	part := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(number)), 25)
	c := &online.Commit{Shard: shard, Expect: expect, Next: online.NewToken(), Progress: online.Progress{Next: number}}
	for i := range 100 {
		c.Writes = append(c.Writes, online.Write{Entity: fmt.Sprint(i), Head: part, Base: part})
	}
	return c
}

// fullDisk is a disk that tells how many bytes are left. When it is full
// nothing can be written, and it tells so from the first write that failed.
type fullDisk struct {
	vfs.FS
	avail atomic.Int64
	full  atomic.Bool
}

func (d *fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(d.avail.Load())}, nil
}

func (d *fullDisk) MaybeError(op errorfs.Op) error {
	if d.full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		d.avail.Store(0)
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}
	return nil
}

func (d *fullDisk) String() string { return "full disk" }

func TestNearlyFullDisk(t *testing.T) {
	disk := &fullDisk{FS: vfs.NewMem()}
	disk.avail.Store(reserve)
	s, err := open("store", disk)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := stampedCommit(online.Shard{Space: "s"}, online.Token{}, 1)
	disk.avail.Store(reserve - 1)
	if err := s.Commit(t.Context(), c); err == nil || !strings.Contains(err.Error(), "the disk is full: 255 MiB are free") {
		t.Errorf("a commit on a nearly full disk: %v", err)
	}
	if state, err := s.State(t.Context(), c.Shard); err != nil || state.Token != (online.Token{}) {
		t.Errorf("after the refused commit: %v, %v", state, err)
	}
	disk.avail.Store(reserve)
	if err := s.Commit(t.Context(), c); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestFullDisk fills the disk while shards commit: commits become errors that
// say why, reads go on, and when there is space again the store goes on.
func TestFullDisk(t *testing.T) {
	disk := &fullDisk{FS: vfs.NewMem()}
	disk.avail.Store(reserve)
	s, err := open("store", errorfs.Wrap(disk, disk))
	if err != nil {
		t.Fatal(err)
	}
	const shards = 4
	last := make([]*online.Commit, shards) // the commit that failed
	disk.full.Store(true)
	var wg sync.WaitGroup
	for index := range shards {
		wg.Go(func() {
			shard := online.Shard{Space: "s", Index: index}
			c := stampedCommit(shard, online.Token{}, 1)
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); c = stampedCommit(shard, c.Next, c.Progress.Next+1) {
				if err := s.Commit(t.Context(), c); err != nil {
					if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") {
						t.Errorf("shard %d: %v", index, err)
					}
					last[index] = c
					return
				}
			}
			t.Errorf("shard %d: commits to a full disk went on for 20s", index)
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, c := range last {
		if state, err := s.State(t.Context(), c.Shard); err != nil || state.Token != c.Expect && state.Token != c.Next {
			t.Errorf("on a full disk: state %v, %v", state, err)
		}
		if err := s.Commit(t.Context(), c); err == nil {
			t.Error("a commit to a full disk gave no error")
		}
	}
	disk.full.Store(false)
	disk.avail.Store(reserve)
	for _, c := range last {
		var conflict *online.Conflict
		err := s.Commit(t.Context(), c)
		for deadline := time.Now().Add(20 * time.Second); errors.Is(err, syscall.ENOSPC) && time.Now().Before(deadline); err = s.Commit(t.Context(), c) {
		}
		if err != nil && !(errors.As(err, &conflict) && conflict.Found == c.Next) {
			t.Errorf("%v with space again: %v", c.Shard, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseOnFullDisk does not wait for space.
func TestCloseOnFullDisk(t *testing.T) {
	disk := &fullDisk{FS: vfs.NewMem()}
	disk.avail.Store(reserve)
	s, err := open("store", errorfs.Wrap(disk, disk))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), stampedCommit(online.Shard{Space: "s"}, online.Token{}, 1)); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close on a full disk: %v", err)
	}
	disk.full.Store(false)
	disk.avail.Store(reserve)
}
