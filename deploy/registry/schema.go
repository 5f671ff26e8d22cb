package registry

import (
	"context"
	"database/sql"
	"fmt"
)

// applicationID is in the header of every registry, so that a database of
// another program is not taken for one: "mill".
const applicationID = 0x6d696c6c

// migrations lead from one schema to the next; user_version counts those that a
// file has had. They are only added to. Times are microseconds since the Unix
// epoch, 0 where there is none.
var migrations = []string{`
CREATE TABLE runs (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	model     TEXT    NOT NULL,
	status    TEXT    NOT NULL CHECK (status IN ('trained', 'stopped', 'failed')),
	began     INTEGER NOT NULL,
	ended     INTEGER NOT NULL,
	spec      BLOB    NOT NULL,
	spec_sum  BLOB    NOT NULL, -- SHA-256 of spec
	anomalies BLOB,
	report    BLOB,
	bundle    TEXT    NOT NULL,
	version   INTEGER NOT NULL, -- 0: none
	error     TEXT    NOT NULL,
	UNIQUE (model, spec_sum)
) STRICT;

CREATE TABLE versions (
	model    TEXT    NOT NULL,
	number   INTEGER NOT NULL CHECK (number > 0),
	bundle   TEXT    NOT NULL,
	run      INTEGER NOT NULL REFERENCES runs (id),
	state    TEXT    NOT NULL CHECK (state IN ('judging', 'closed', 'review', 'rejected', 'superseded', 'approved',
		'shadow', 'champion', 'retired', 'rolled_back', 'broken')),
	author   TEXT    NOT NULL,
	created  INTEGER NOT NULL,
	cutoff   INTEGER NOT NULL,
	baseline INTEGER NOT NULL DEFAULT -1,
	verdict  TEXT    NOT NULL DEFAULT '',
	reasons  TEXT    NOT NULL DEFAULT '[]', -- a JSON array of strings
	report   BLOB,
	judged   INTEGER NOT NULL DEFAULT 0,
	reviewer TEXT    NOT NULL DEFAULT '',
	comment  TEXT    NOT NULL DEFAULT '',
	reviewed INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (model, number)
) STRICT;
CREATE INDEX versions_by_state ON versions (model, state);
CREATE UNIQUE INDEX one_champion ON versions (model) WHERE state = 'champion';

CREATE TABLE rollouts (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	model    TEXT    NOT NULL,
	version  INTEGER NOT NULL,
	previous INTEGER NOT NULL,
	phase    TEXT    NOT NULL CHECK (phase IN ('shadow', 'watch', 'done', 'undone')),
	marks    BLOB,
	began    INTEGER NOT NULL,
	switched INTEGER NOT NULL DEFAULT 0,
	ended    INTEGER NOT NULL DEFAULT 0,
	why      TEXT    NOT NULL DEFAULT '',
	report   BLOB,
	asked    INTEGER NOT NULL DEFAULT 0, -- when a person asked to have it undone
	asked_by TEXT    NOT NULL DEFAULT '',
	ask      TEXT    NOT NULL DEFAULT '', -- the person's reason
	UNIQUE (model, version),
	FOREIGN KEY (model, version) REFERENCES versions (model, number)
) STRICT;
CREATE UNIQUE INDEX one_rollout ON rollouts (model) WHERE phase IN ('shadow', 'watch');

CREATE TABLE serving (
	model      TEXT    NOT NULL PRIMARY KEY,
	revision   INTEGER NOT NULL DEFAULT 0,
	champion   INTEGER NOT NULL DEFAULT 0,
	shadow     INTEGER NOT NULL DEFAULT -1,
	base_value REAL    NOT NULL DEFAULT 0,
	base_count INTEGER NOT NULL DEFAULT 0,
	base_as_of INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE history (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	time    INTEGER NOT NULL,
	who     TEXT    NOT NULL,
	model   TEXT    NOT NULL,
	version INTEGER NOT NULL,
	what    TEXT    NOT NULL,
	why     TEXT    NOT NULL
) STRICT;
CREATE INDEX history_by_version ON history (model, version, what);
CREATE TRIGGER history_no_update BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'the history is only added to'); END;
CREATE TRIGGER history_no_delete BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'the history is only added to'); END;
-- INSERT OR REPLACE deletes without that trigger.
CREATE TRIGGER history_no_replace BEFORE INSERT ON history WHEN EXISTS (SELECT 1 FROM history WHERE seq = NEW.seq)
	BEGIN SELECT RAISE(ABORT, 'the history is only added to'); END;
`, `
CREATE TABLE asked (
	model TEXT    NOT NULL PRIMARY KEY,
	at    INTEGER NOT NULL -- event time
) STRICT;
`}

// migrate brings the file to the newest schema. Processes that do so at once
// wait for each other.
func (r *Registry) migrate(ctx context.Context) error {
	sqlTx, err := r.writes.BeginTx(ctx, nil)
	if err != nil {
		return r.explain(err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back; before it, the first error counts
	version, err := r.schema(ctx, sqlTx)
	if err != nil || version == len(migrations) {
		return err
	}
	for ; version < len(migrations); version++ {
		if _, err := sqlTx.ExecContext(ctx, migrations[version]); err != nil {
			return fmt.Errorf("migration %d: %w", version+1, r.explain(err))
		}
	}
	header := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)
	if _, err := sqlTx.ExecContext(ctx, header); err != nil {
		return r.explain(err)
	}
	return r.explain(sqlTx.Commit())
}

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// schema returns the version of the file's schema: 0 for an empty file. It
// refuses files that are not a registry's, or of a schema not known here.
func (r *Registry) schema(ctx context.Context, db querier) (int, error) {
	var app, version, tables int
	err := db.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return 0, r.explain(err)
	case app != applicationID && (app != 0 || version != 0 || tables != 0):
		return 0, fmt.Errorf("file %s is a SQLite database of another program; move it away, and a new registry is made", r.path)
	case version > len(migrations):
		return 0, fmt.Errorf("file %s has schema %d, and this millrace knows none after %d; use the millrace that wrote it, or a newer one", r.path, version, len(migrations))
	}
	return version, nil
}
