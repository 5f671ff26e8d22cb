package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/deploy/sqlfile"
)

// openLimit is how long the first statements may wait for other processes.
const openLimit = 20 * time.Second

// A Registry is an open file. Its methods may be called by several goroutines,
// and several Registries, in one process or in several, may have the same file.
// What a method has returned without error is on disk, and lasts.
type Registry struct {
	file    *sqlfile.File
	writes  *sql.DB // of file
	reads   *sql.DB
	serving *sql.Stmt
	due     *sql.Stmt
	now     func() time.Time // the wall clock; tests set it
}

// Open opens the registry at path. What is not there, its folder included, is
// made; the file is for this user alone.
func Open(path string) (*Registry, error) {
	f, err := sqlfile.Open(path, kind)
	if err != nil {
		return nil, fmt.Errorf("registry: open: %w", err)
	}
	r := &Registry{file: f, writes: f.Writes, reads: f.Reads, now: time.Now}
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	if err := r.prepare(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("registry: open: %w", err)
	}
	return r, nil
}

func (r *Registry) prepare(ctx context.Context) error {
	var err error
	r.serving, err = r.reads.PrepareContext(ctx, `SELECT revision, champion, shadow, base_value, base_count, base_as_of FROM serving WHERE model = ?`)
	if err != nil {
		return r.file.Explain(err)
	}
	r.due, err = r.reads.PrepareContext(ctx, `SELECT EXISTS (SELECT 1 FROM rollouts WHERE model = ?1 AND (phase IN ('shadow', 'watch') OR phase = 'done' AND asked != 0))
		OR EXISTS (SELECT 1 FROM versions WHERE model = ?1 AND (state = 'approved' OR ?2 AND state = 'review'))`)
	return r.file.Explain(err)
}

// Close lets go of the file. Calls must have returned.
func (r *Registry) Close() error {
	var errs []error
	for _, s := range []*sql.Stmt{r.serving, r.due} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, r.file.Close())...)
}
