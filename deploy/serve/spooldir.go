package serve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// claim takes the first directory below dir that no process has, and returns
// those of processes that are no more, locked. A process that ends lets go of
// its locks, however it ends.
func claim(dir string) (own string, lock *os.File, left []orphan, err error) {
	for n := 0; ; n++ {
		sub := filepath.Join(dir, fmt.Sprint(n))
		_, statErr := os.Stat(sub)
		isNew := errors.Is(statErr, os.ErrNotExist)
		if isNew && lock != nil {
			return own, lock, left, nil
		}
		f, err := lockDir(sub)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK):
		case err != nil:
			closeOrphans(left)
			if lock != nil {
				lock.Close()
			}
			return "", nil, nil, err
		case lock == nil:
			own, lock = sub, f
		default:
			left = append(left, orphan{sub, f})
		}
	}
}

// An orphan is the directory of a process that is no more.
type orphan struct {
	dir  string
	lock *os.File
}

func closeOrphans(all []orphan) {
	for _, o := range all {
		o.lock.Close()
	}
}

// lockDir makes a directory and takes its lock.
func lockDir(dir string) (*os.File, error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(syncDir(parent), syncDir(filepath.Dir(parent))); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", number, segmentSuffix))
}

// listSegments returns the numbers of the segments in a directory, in order.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), segmentSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ours && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
