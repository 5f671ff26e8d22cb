package registry

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

// A Registry is an open file. Its methods may be called by several goroutines,
// and several Registries, in one process or in several, may have the same file.
// What a method has returned without error is on disk, and lasts.
type Registry struct {
	path    string
	writes  *sql.DB // one connection: within a process one waits here, and not in SQLite
	reads   *sql.DB
	serving *sql.Stmt
	due     *sql.Stmt
	now     func() time.Time // the wall clock; tests set it
}

// Open opens the registry at path. What is not there, its folder included, is
// made; the file is for this user alone.
func Open(path string) (*Registry, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("registry: open: %w", err)
	}
	r := &Registry{path: path, now: time.Now}
	if err = create(path); err == nil {
		err = r.open()
	}
	if err != nil {
		return nil, fmt.Errorf("registry: open: %w", err)
	}
	return r, nil
}

func (r *Registry) open() error {
	var err error
	if r.writes, err = openDB(r.path, 1, false); err != nil {
		return err
	}
	if r.reads, err = openDB(r.path, maxReaders, true); err != nil {
		r.writes.Close()
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*busyTimeout)
	defer cancel()
	if err = r.begin(ctx); err != nil {
		r.Close()
	}
	return err
}

func (r *Registry) begin(ctx context.Context) error {
	// First, so that nothing is changed in a file that is not ours.
	if _, err := r.schema(ctx, r.writes); err != nil {
		return err
	}
	if err := r.useWAL(ctx); err != nil {
		return err
	}
	if err := r.migrate(ctx); err != nil {
		return err
	}
	var err error
	r.serving, err = r.reads.PrepareContext(ctx, `SELECT revision, champion, shadow, base_value, base_count, base_as_of FROM serving WHERE model = ?`)
	if err != nil {
		return r.explain(err)
	}
	r.due, err = r.reads.PrepareContext(ctx, `SELECT EXISTS (SELECT 1 FROM rollouts WHERE model = ?1 AND (phase IN ('shadow', 'watch') OR phase = 'done' AND asked != 0))
		OR EXISTS (SELECT 1 FROM versions WHERE model = ?1 AND (state = 'approved' OR ?2 AND state = 'review'))`)
	return r.explain(err)
}

// useWAL has readers and a writer not wait for each other. The file keeps the
// mode. SQLite does not wait for the lock that the change takes, so that of two
// processes that open a new file at once one would fail.
func (r *Registry) useWAL(ctx context.Context) error {
	for {
		var mode string
		err := r.writes.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		var e *sqlite.Error
		switch {
		case errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY && ctx.Err() == nil:
			time.Sleep(10 * time.Millisecond)
		case err != nil:
			return r.explain(err)
		case mode != "wal":
			return fmt.Errorf("file %s: its file system has no shared memory, which SQLite's journal mode %q means; put data_dir on a local disk", r.path, mode)
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
// locks that the process has on it, and so those of another Registry.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".registry-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Close lets go of the file. Calls must have returned.
func (r *Registry) Close() error {
	var errs []error
	for _, s := range []*sql.Stmt{r.serving, r.due} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	// The last connection to close writes the log into the file.
	return errors.Join(append(errs, r.reads.Close(), r.writes.Close())...)
}
