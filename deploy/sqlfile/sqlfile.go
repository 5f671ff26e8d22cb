// Package sqlfile opens SQLite files that several processes share: made once and
// for this user alone, with transactions that wait for each other, commits that
// are on disk, a schema that is known, and errors that say what to do.
package sqlfile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// busyTimeout is for how long one waits for another's transaction. Each takes
	// milliseconds, so that ten seconds are a process that has stopped in one.
	busyTimeout = 10 * time.Second

	// maxReaders bounds the connections that read at once. A read takes some ten
	// microseconds; more would wait for the processor.
	maxReaders = 4
)

// A Kind is what a file holds.
type Kind struct {
	Name          string   // for errors: "registry"
	ApplicationID int32    // in the header of each such file, so that a database of another program is not taken for one
	Migrations    []string // from one schema to the next, in SQL; user_version counts those that a file has had. They are only added to
}

// A File is an open file. It may be used by several goroutines, and several
// processes may have the same file open.
type File struct {
	Writes *sql.DB // one connection, whose transactions are immediate: within a process one waits here, and not in SQLite
	Reads  *sql.DB // cannot write

	path string
	kind Kind
}

// Open opens the file at path. What is not there, its folder included, is made.
// It brings the file to the newest schema; it refuses a file of another kind, or
// of a schema that it does not know, and changes nothing in it.
func Open(path string, kind Kind) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, kind: kind}
	if err := f.create(); err != nil {
		return nil, err
	}
	if f.Writes, err = openDB(path, 1, false); err != nil {
		return nil, err
	}
	if f.Reads, err = openDB(path, maxReaders, true); err != nil {
		f.Writes.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*busyTimeout)
	defer cancel()
	if err := f.begin(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) begin(ctx context.Context) error {
	// First, so that nothing is changed in a file that is not ours.
	if _, err := f.schema(ctx, f.Writes); err != nil {
		return err
	}
	if err := f.useWAL(ctx); err != nil {
		return err
	}
	return f.migrate(ctx)
}

// useWAL has readers and a writer not wait for each other. The file keeps the
// mode. SQLite does not wait for the lock that the change takes, so that of two
// processes that open a new file at once one would fail.
func (f *File) useWAL(ctx context.Context) error {
	for {
		var mode string
		err := f.Writes.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		var e *sqlite.Error
		switch {
		case errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY && ctx.Err() == nil:
			time.Sleep(10 * time.Millisecond)
		case err != nil:
			return f.Explain(err)
		case mode != "wal":
			return fmt.Errorf("file %s: its file system has no shared memory, which SQLite's journal mode %q means; put data_dir on a local disk", f.path, mode)
		default:
			return nil
		}
	}
}

func openDB(path string, connections int, readOnly bool) (*sql.DB, error) {
	q := url.Values{
		"mode":          {"rw"}, // create makes it, with the right permissions
		"_txlock":       {"immediate"},
		"_busy_timeout": {strconv.FormatInt(busyTimeout.Milliseconds(), 10)},
		"_foreign_keys": {"1"},
		"_synchronous":  {"FULL"}, // NORMAL would lose the last commits when power fails
		"_dqs":          {"0"},
		"_defensive":    {"1"},
		"_error_rc":     {"1"},
	}
	if readOnly {
		q.Set("_query_only", "1")
	}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// create makes an empty file, which is an empty database, unless there is one.
// It comes to its name by a link and not by an open: closing a file drops all
// locks that the process has on it, and so those of another File.
func (f *File) create() error {
	if _, err := os.Stat(f.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	empty, err := os.CreateTemp(dir, "."+f.kind.Name+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(empty.Name())
	if err := empty.Close(); err != nil {
		return err
	}
	if err := os.Link(empty.Name(), f.path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Close lets go of the file. Calls must have returned. The last connection to
// close writes the log into the file.
func (f *File) Close() error { return errors.Join(f.Reads.Close(), f.Writes.Close()) }
