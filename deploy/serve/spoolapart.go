package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/streams"
)

// A record that the log refuses whatever one waits for, as one that is over the
// topic's max.message.bytes, which somebody has lowered, would keep back all that
// wait behind it. It is kept apart, in a file of frames beside the segments, and
// counts as part of the spool's bytes. When the spool is opened again, that file
// becomes its last segment: the log may take the records now, and they are kept
// apart again if not.

const apartName = "apart" + segmentSuffix // no number, so that it is no segment

// bring writes records of a segment to the log; first is the place of the first
// of them. Where the log refuses one they are written one by one.
func (s *Spool) bring(ctx context.Context, records []streams.Record, first int, write func(context.Context, []streams.Record) error) error {
	err := write(ctx, records)
	if !isRefusal(err) {
		return err
	}
	for i := range records {
		if s.refused[first+i] {
			continue
		}
		err := write(ctx, records[i:i+1])
		if isRefusal(err) {
			if err = s.keepApart(&records[i], err); err == nil {
				s.refused[first+i] = true
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isRefusal(err error) bool { return errors.As(err, new(*streams.Refusal)) }

// keepApart adds a record to the file of those that are kept apart. It is on the
// disk when keepApart returns nil.
func (s *Spool) keepApart(r *streams.Record, why error) error {
	name := filepath.Join(s.dir, apartName)
	frame := appendFrame(nil, r)
	if err := appendSynced(name, frame); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	s.log.Error("the log refuses a prediction of the spool, which is kept apart while the others go on; mend what the error says, and start again: it is tried once more then",
		"key", string(r.Key), "bytes", len(r.Value), "file", name, "error", why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += int64(len(frame))
	s.apart++
	s.refusal = why
	return nil
}

// appendSynced appends a frame to a file, all of it or nothing.
func appendSynced(name string, frame []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if _, err = f.WriteAt(frame, info.Size()); err == nil {
		err = f.Sync()
	}
	if err != nil { // whole frames alone are read
		err = errors.Join(err, f.Truncate(info.Size()))
	}
	return errors.Join(err, f.Close())
}

// retry makes the records that were kept apart in a directory the last segment.
func (s *Spool) retry(dir string) error {
	err := os.Rename(filepath.Join(dir, apartName), segmentPath(s.dir, s.next))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.take(s.next)
}

// Apart returns how many records are kept apart because the log refuses them, and
// why it refuses the last of them; nil where there are none.
func (s *Spool) Apart() (records int, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apart, s.refusal
}
