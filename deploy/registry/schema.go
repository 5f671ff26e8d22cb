package registry

import (
	"context"
	"database/sql"

	"github.com/millrace/millrace/deploy/sqlfile"
)

var kind = sqlfile.Kind{Name: "registry", ApplicationID: 0x6d696c6c /* mill */, Migrations: migrations}

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

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
