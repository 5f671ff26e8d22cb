package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/streams"
)

// DefaultSpool is the most bytes that wait in a spool: some 100,000 predictions
// with a hundred features each, which is minutes of a broker's absence at full
// load and hours at an ordinary one.
const DefaultSpool = 64 << 20

const (
	// segmentBytes is when a segment is full. Disk space is freed and, after a
	// crash, records are written a second time by the segment.
	segmentBytes = 4 << 20

	// drainRecords is how many records are written to the log in one call.
	drainRecords = 500

	// drainPause is the pause after a call that the log refused at once.
	drainPause = time.Second
)

// ErrSpoolFull is the error of a record that a full spool does not take.
var ErrSpoolFull = errors.New("the spool is full")

// A Spool keeps records on disk while the log does not take them, and brings
// them there in order. A record that was added is never lost, by kill -9 or a
// power failure either; one may reach the log twice, when the process dies
// before it has noted that the log has it.
//
// It is a directory of segments, as many files, which spoolfile.go describes.
// Records are added to the last segment, and the oldest is removed when the log
// has all of it. So there is no place in a file to remember. What the log refuses
// for good is kept apart: see spoolapart.go.
type Spool struct {
	dir  string
	lock *os.File
	most int64
	log  *slog.Logger
	wake chan struct{} // holds one: something was added

	mu       sync.Mutex
	segments []segment // oldest first
	tail     *tail     // of the last segment; nil: the next record starts one
	next     uint64    // the number of the next segment
	bytes    int64     // of all segments, and of what is kept apart
	records  int       // that the log does not have yet, without those that are kept apart
	stuck    error     // why not
	apart    int       // records that are kept apart
	refusal  error     // why the last of them is

	// Of the goroutine that drains.
	draining uint64       // the segment that it is at
	refused  map[int]bool // the records of that which are kept apart, by their place in it
}

// A segment is one file.
type segment struct {
	number  uint64
	bytes   int64
	records int
}

// A tail is a segment that is being written. Callers that add at once share
// syncs: one that finds another's under way waits, and often has no more to do.
type tail struct {
	file    *os.File
	written atomic.Int64

	mu     sync.Mutex // held to sync; not taken while Spool.mu is held
	synced int64
	closed bool
	err    error // of a sync: what was not synced then may never be
}

// sync returns when the bytes up to end are on the disk.
func (t *tail) sync(end int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.synced >= end || t.err != nil || t.closed {
		return t.err
	}
	written := t.written.Load()
	if t.err = t.file.Sync(); t.err == nil {
		t.synced = written
	}
	return t.err
}

// seal syncs all of the segment and closes it.
func (t *tail) seal() error {
	err := t.sync(t.written.Load())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return err
	}
	t.closed = true
	return errors.Join(err, t.file.Close())
}

// OpenSpool opens a spool below dir, which it makes, of at most so many bytes
// (0: DefaultSpool). Several processes may use one dir: each has a directory of
// its own there, and takes over what those that are no more have left.
func OpenSpool(dir string, most int64, log *slog.Logger) (*Spool, error) {
	own, lock, left, err := claim(dir)
	if err != nil {
		return nil, fmt.Errorf("serve: spool: %w", err)
	}
	s := &Spool{dir: own, lock: lock, most: cmp.Or(most, DefaultSpool), log: log, wake: make(chan struct{}, 1), next: 1}
	err = s.load()
	for len(left) > 0 && err == nil {
		err = s.adopt(left[0])
		left = left[1:]
	}
	if err != nil { // and no more is moved: it could take the name of what was not counted in
		closeOrphans(left)
		lock.Close()
		return nil, fmt.Errorf("serve: spool: %w", err)
	}
	if s.records > 0 {
		log.Info("the spool has predictions that the log does not have yet", "predictions", s.records, "directory", own)
		s.wake <- struct{}{}
	}
	return s, nil
}

// load finds the segments that an earlier process has left.
func (s *Spool) load() error {
	numbers, err := listSegments(s.dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if err := s.take(n); err != nil {
			return err
		}
	}
	return s.retry(s.dir)
}

// take counts a segment in, after what is there, and cuts off what was being
// written when its process died.
func (s *Spool) take(number uint64) error {
	name := segmentPath(s.dir, number)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	records, good := parseSegment(data)
	if good < len(data) {
		s.log.Warn("the end of a spool file was not written whole and is cut off; nobody was told that it was kept", "file", name, "bytes", len(data)-good)
		if err := os.Truncate(name, int64(good)); err != nil {
			return err
		}
	}
	s.next = max(s.next, number+1)
	if len(records) == 0 {
		return os.Remove(name)
	}
	s.segments = append(s.segments, segment{number, int64(good), len(records)})
	s.bytes += int64(good)
	s.records += len(records)
	return nil
}

// adopt moves the segments of an orphan here and lets go of it.
func (s *Spool) adopt(o orphan) error {
	defer o.lock.Close()
	numbers, err := listSegments(o.dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if err := os.Rename(segmentPath(o.dir, n), segmentPath(s.dir, s.next)); err != nil {
			return err
		}
		if err := s.take(s.next); err != nil {
			return err
		}
	}
	return errors.Join(s.retry(o.dir), syncDir(s.dir))
}

// Close lets go of the directory. What waits is there when it is opened again.
func (s *Spool) Close() error {
	s.mu.Lock()
	t := s.tail
	s.tail = nil
	s.mu.Unlock()
	var err error
	if t != nil {
		err = t.seal()
	}
	return errors.Join(err, s.lock.Close())
}

// Waiting returns how many records the log does not have yet, the bytes that
// are kept, and why the oldest is not written, or nil.
func (s *Spool) Waiting() (records int, bytes int64, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records, s.bytes, s.stuck
}

// Add keeps a record, behind those that wait. It is on the disk when Add
// returns. ErrSpoolFull, and errors of the disk, mean that it may not be; with
// the latter it can come to the log all the same.
func (s *Spool) Add(r *streams.Record) error {
	frame := appendFrame(nil, r)
	s.mu.Lock()
	if s.bytes+int64(len(frame)) > s.most {
		s.mu.Unlock()
		return ErrSpoolFull
	}
	t, err := s.open()
	if err != nil {
		s.mu.Unlock()
		return err
	}
	end, err := s.write(t, frame)
	s.mu.Unlock()
	if err != nil {
		return errors.Join(err, t.seal())
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	if end >= segmentBytes {
		return t.seal()
	}
	if err := t.sync(end); err != nil {
		s.detach(t) // nothing is added behind what may not last
		return errors.Join(err, t.seal())
	}
	return nil
}

// open returns the tail, which it starts where there is none.
func (s *Spool) open() (*tail, error) {
	if s.tail != nil {
		return s.tail, nil
	}
	f, err := os.OpenFile(segmentPath(s.dir, s.next), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s.segments = append(s.segments, segment{number: s.next})
	s.next++
	if err := syncDir(s.dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.tail = &tail{file: f}
	return s.tail, nil
}

// write appends a frame to the tail and returns where it ends.
func (s *Spool) write(t *tail, frame []byte) (end int64, err error) {
	last := &s.segments[len(s.segments)-1]
	if _, err := t.file.WriteAt(frame, last.bytes); err != nil {
		s.tail = nil
		return 0, errors.Join(err, t.file.Truncate(last.bytes)) // if it fails, readers stop at the frame
	}
	last.bytes += int64(len(frame))
	last.records++
	t.written.Store(last.bytes)
	s.bytes += int64(len(frame))
	s.records++
	if last.bytes >= segmentBytes {
		s.tail = nil
	}
	return last.bytes, nil
}

func (s *Spool) detach(t *tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail == t {
		s.tail = nil
	}
}

// Drain brings what waits to the log, oldest first, until ctx ends: write
// returns when the log has all records of a call. Where its error is a
// *streams.Refusal it has written none of them. It is called by one goroutine.
func (s *Spool) Drain(ctx context.Context, write func(context.Context, []streams.Record) error) {
	for ctx.Err() == nil {
		number, ok := s.oldest()
		if !ok {
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
			continue
		}
		if err := s.drain(ctx, number, write); err != nil && ctx.Err() == nil {
			s.setStuck(err)
			timer := time.NewTimer(drainPause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}
}

// oldest returns the number of the oldest segment, to which nothing more is
// added.
func (s *Spool) oldest() (number uint64, ok bool) {
	s.mu.Lock()
	if len(s.segments) == 0 {
		s.mu.Unlock()
		return 0, false
	}
	number = s.segments[0].number
	var t *tail
	if len(s.segments) == 1 {
		t, s.tail = s.tail, nil
	}
	s.mu.Unlock()
	if t != nil {
		if err := t.seal(); err != nil { // those that wait for it are told
			s.log.Error("a spool file could not be synced", "error", err)
		}
	}
	return number, true
}

// drain writes one segment to the log and removes it. What a failed call leaves
// is written again from the segment's start.
func (s *Spool) drain(ctx context.Context, number uint64, write func(context.Context, []streams.Record) error) error {
	name := segmentPath(s.dir, number)
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		s.log.Error("a spool file is gone: its predictions are lost; leave the directory to the server", "file", name)
	} else if err != nil {
		return err
	}
	records, _ := parseSegment(data)
	if number != s.draining {
		s.draining, s.refused = number, map[int]bool{}
	}
	for first := 0; first < len(records); first += drainRecords {
		if err := s.bring(ctx, records[first:min(first+drainRecords, len(records))], first, write); err != nil {
			return err
		}
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= s.segments[0].bytes
	s.records -= s.segments[0].records
	s.segments = slices.Delete(s.segments, 0, 1)
	s.stuck = nil
	return nil
}

func (s *Spool) setStuck(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck == nil || s.stuck.Error() != err.Error() {
		s.log.Warn("predictions wait in the spool", "predictions", s.records, "error", err)
	}
	s.stuck = err
}
