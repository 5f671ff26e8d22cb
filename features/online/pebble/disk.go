package pebble

import (
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// reserve is the free space, in bytes, below which commits are refused, so that
// flushes and compactions still have room.
const reserve = 256 << 20

// diskPoll is how often a full disk is looked at.
const diskPoll = 100 * time.Millisecond

// A disk watches the space left for a store. Pebble cannot go on after a write
// to its log that failed, and ends the process with it. So no such failure may
// reach it: commits stop early, and where the disk is full all the same, writes
// wait until there is space.
type disk struct {
	dir string
	fs  vfs.FS

	mu     sync.Mutex
	filled chan struct{} // closed while a write waits
}

func newDisk(dir string, fs vfs.FS) *disk {
	return &disk{dir: dir, fs: fs, filled: make(chan struct{})}
}

// free returns the bytes left, and whether the file system tells.
func (d *disk) free() (uint64, bool) {
	u, err := d.fs.GetDiskUsage(d.dir)
	return u.AvailBytes, err == nil
}

// check returns an error when the disk is nearly full.
func (d *disk) check() error {
	if n, ok := d.free(); ok && n < reserve {
		return fmt.Errorf("online store %s: the disk is full: %d MiB are free and commits stop below %d MiB; free space on it: %w", d.dir, n>>20, reserve>>20, syscall.ENOSPC)
	}
	return nil
}

// full returns a channel that is closed when a write begins to wait.
func (d *disk) full() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.filled
}

// error is what calls return while a write waits.
func (d *disk) error() error {
	return fmt.Errorf("online store %s: the disk is full; free space on it: %w", d.dir, syscall.ENOSPC)
}

// wait is called by the file system when a write met a full disk. The write is
// tried once more when it returns.
func (d *disk) wait() {
	d.mu.Lock()
	close(d.filled)
	d.mu.Unlock()
	slog.Error("online store: the disk is full, writing waits until there is space", "dir", d.dir)
	for n, ok := d.free(); ok && n < reserve; n, ok = d.free() {
		time.Sleep(diskPoll)
	}
	d.mu.Lock()
	d.filled = make(chan struct{})
	d.mu.Unlock()
}
