package sqlfile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// migrate brings the file to the newest schema. Processes that do so at once
// wait for each other.
func (f *File) migrate(ctx context.Context) error {
	tx, err := f.Writes.BeginTx(ctx, nil)
	if err != nil {
		return f.Explain(err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back; before it, the first error counts
	version, err := f.schema(ctx, tx)
	if err != nil || version == len(f.kind.Migrations) {
		return err
	}
	for ; version < len(f.kind.Migrations); version++ {
		if _, err := tx.ExecContext(ctx, f.kind.Migrations[version]); err != nil {
			return fmt.Errorf("migration %d: %w", version+1, f.Explain(err))
		}
	}
	header := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", f.kind.ApplicationID, version)
	if _, err := tx.ExecContext(ctx, header); err != nil {
		return f.Explain(err)
	}
	return f.Explain(tx.Commit())
}

// schema returns the version of the file's schema: 0 for an empty file. It
// refuses files of another kind, or of a schema not known here.
func (f *File) schema(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (int, error) {
	var app int32
	var version, tables int
	err := db.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return 0, f.Explain(err)
	case app != f.kind.ApplicationID && (app != 0 || version != 0 || tables != 0):
		return 0, fmt.Errorf("file %s is a SQLite database of another program; move it away, and a new %s is made", f.path, f.kind.Name)
	case version > len(f.kind.Migrations):
		return 0, fmt.Errorf("file %s has schema %d, and this millrace knows none after %d; use the millrace that wrote it, or a newer one", f.path, version, len(f.kind.Migrations))
	}
	return version, nil
}

// Explain says what to do about an error of SQLite's, and names the file. Other
// errors, and nil, it returns as they are.
func (f *File) Explain(err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	advice := ""
	switch e.Code() & 0xff { // the extended codes say more in the bytes above
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		advice = fmt.Sprintf("another process has had it locked for %v; see what has it open, then try again", busyTimeout)
	case sqlite3.SQLITE_NOTADB:
		advice = fmt.Sprintf("it is no SQLite database; move it away, and a new %s is made", f.kind.Name)
	case sqlite3.SQLITE_CORRUPT:
		advice = "it is damaged; stop what has it open and put a copy in its place, with the -wal file that belongs to it"
	case sqlite3.SQLITE_FULL:
		advice = "the disk is full; nothing was changed; make room, then try again"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		advice = "this user must be able to read and write it and its folder"
	default:
		return fmt.Errorf("file %s: %w", f.path, err)
	}
	return fmt.Errorf("file %s: %s: %w", f.path, advice, err)
}
