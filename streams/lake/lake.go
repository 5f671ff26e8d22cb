// Package lake keeps the events of topics as Parquet files, for everything that
// looks back further than a topic does.
//
// Under the root there is a folder events_SOURCE for each source, and one
// examples_MODEL for each model, which Examples describes. A file in it is PARTITION-OFFSET.parquet, both padded with zeros so that names sort in log
// order, and stands for a range of offsets of one partition: from the offset in
// its name up to that in its metadata, where the next file begins. Records of
// the range that are not events are left out, and so is what the log had
// already dropped when the first file, which always begins at 0, was written.
//
// A file is written beside its place, synced, and then linked to its name, which
// fails if the name is taken. So a name is either absent or a whole file; and as
// a writer only ever begins where the last file ends, two writers compete for
// one name, one of them loses and goes on behind the other's file. A crash
// leaves at most a file that is not part of the lake and is swept up later.
//
// The columns are the source's fields, then _partition, _offset, _event_time,
// _arrival and _event_day (all UTC). None is nullable, which arrow/go writes
// three times faster: a missing float is NaN, and a field X of another kind has
// a column X_valid. A float has one, too, where the source allows NaN itself.
package lake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Range is the offsets of one partition that a file stands for.
type Range struct {
	Partition int
	First     int64 // the offset in the file's name
	Next      int64 // the offset after its last; where the next file begins
}

// A Header is what a file says of itself, in the metadata of its footer.
type Header struct {
	Range
	Cluster     string // the id of the Kafka cluster; offsets mean nothing without it
	Topic       string
	EventTime   string // the field that was the event time
	LogStart    int64  // the first offset that the log still had when the file was begun
	Undecodable int64  // records of the range that were no events
	Seq         int64  // the greatest number of a record up to Next; 0: the topic's records have none
}

// Folder returns the folder of a source's events.
func Folder(root, source string) string { return eventsOf(root, source).folder }

// A place is where a table of the lake lies.
type place struct {
	folder string
	name   string // as messages show it
}

// eventsOf is the place of a source's events.
func eventsOf(root, source string) place {
	return place{filepath.Join(root, "events_"+source), fmt.Sprintf("source %q", source)}
}

const suffix = ".parquet"

func fileName(partition int, first int64) string {
	return fmt.Sprintf("%05d-%020d%s", partition, first, suffix)
}

// parseName is the inverse of fileName; other names are not the lake's.
func parseName(name string) (partition int, first int64, ok bool) {
	base, ok := strings.CutSuffix(name, suffix)
	p, o, found := strings.Cut(base, "-")
	if !ok || !found {
		return 0, 0, false
	}
	partition, err1 := strconv.Atoi(p)
	first, err2 := strconv.ParseInt(o, 10, 64)
	return partition, first, err1 == nil && err2 == nil && fileName(partition, first) == name
}

// An entry is a file of the lake by its name.
type entry struct {
	path      string
	partition int
	first     int64
}

// list returns the files of a place by (partition, offset).
func list(at place) ([]entry, error) {
	names, err := os.ReadDir(at.folder) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	var entries []entry
	for _, n := range names {
		if partition, first, ok := parseName(n.Name()); ok {
			entries = append(entries, entry{filepath.Join(at.folder, n.Name()), partition, first})
		}
	}
	return entries, nil
}

// Tail returns the offset after the last that the lake has of a partition, 0 if
// it has nothing.
func Tail(root, source string, partition int) (next int64, err error) {
	h, err := last(eventsOf(root, source), partition)
	return h.Next, err
}

// last returns the header of a partition's last file, the zero Header if there is none.
func last(at place, partition int) (h Header, err error) {
	entries, err := list(at)
	if err != nil {
		return h, err
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].partition == partition {
			return readHeader(entries[i])
		}
	}
	return h, nil
}

func readHeader(e entry) (Header, error) {
	f, err := open(e)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	return f.header, nil
}
