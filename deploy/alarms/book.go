package alarms

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/millrace/millrace/deploy/sqlfile"
	"github.com/millrace/millrace/feedback/monitor"
)

const (
	// maxName bounds names, of alarms, people and what they did: an alarm's ID has
	// the names of a model and a feature.
	maxName = 1 << 10

	// maxText bounds a comment, an alarm's text and the text of an error.
	maxText = 4 << 10
)

var kind = sqlfile.Kind{
	Name:          "book of alarms",
	ApplicationID: 0x6d696c61, // "mila"
	Migrations: []string{`
CREATE TABLE alarms (
	seq          INTEGER PRIMARY KEY, -- in the order in which they are told; never deleted
	id           TEXT    NOT NULL UNIQUE,
	model        TEXT    NOT NULL,
	kind         TEXT    NOT NULL,
	col          TEXT    NOT NULL,
	version      INTEGER NOT NULL,
	onset        INTEGER NOT NULL, -- event times are microseconds since the Unix epoch
	over         INTEGER NOT NULL, -- 0: not yet
	value        REAL,             -- NULL is NaN
	worst        REAL,
	threshold    REAL,
	text         TEXT    NOT NULL,
	look         INTEGER NOT NULL, -- event time of the newest look that told of it
	seen         INTEGER NOT NULL, -- times of the wall clock are microseconds, 0 where there is none
	acknowledged INTEGER NOT NULL DEFAULT 0,
	who          TEXT    NOT NULL DEFAULT '',
	comment      TEXT    NOT NULL DEFAULT '',
	delivery     TEXT    NOT NULL CHECK (delivery IN ('held', 'due', 'sent', 'past', 'unsent')),
	delivered    INTEGER NOT NULL DEFAULT 0,
	attempts     INTEGER NOT NULL DEFAULT 0,
	error        TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX alarms_by_onset ON alarms (onset, seq);
CREATE INDEX alarms_by_model ON alarms (model, onset, seq);
CREATE INDEX alarms_open ON alarms (onset, seq) WHERE over = 0 AND delivery != 'held';
CREATE INDEX alarms_unacknowledged ON alarms (onset, seq) WHERE acknowledged = 0 AND delivery NOT IN ('held', 'past');
CREATE INDEX alarms_due ON alarms (seq) WHERE delivery = 'due';
CREATE INDEX alarms_held ON alarms (seq) WHERE delivery = 'held';

-- Of the processes that could tell, the one that does.
CREATE TABLE courier (
	only  INTEGER PRIMARY KEY CHECK (only = 1),
	owner TEXT    NOT NULL,
	until INTEGER NOT NULL
) STRICT;

CREATE TABLE actions (
	seq    INTEGER PRIMARY KEY AUTOINCREMENT,
	time   INTEGER NOT NULL,
	who    TEXT    NOT NULL,
	what   TEXT    NOT NULL,
	object TEXT    NOT NULL,
	detail TEXT    NOT NULL
) STRICT;
CREATE TRIGGER actions_no_update BEFORE UPDATE ON actions BEGIN SELECT RAISE(ABORT, 'the actions are only added to'); END;
CREATE TRIGGER actions_no_delete BEFORE DELETE ON actions BEGIN SELECT RAISE(ABORT, 'the actions are only added to'); END;
-- INSERT OR REPLACE deletes without that trigger.
CREATE TRIGGER actions_no_replace BEFORE INSERT ON actions WHEN EXISTS (SELECT 1 FROM actions WHERE seq = NEW.seq)
	BEGIN SELECT RAISE(ABORT, 'the actions are only added to'); END;
`},
}

// A Book is an open file. Its methods may be called by several goroutines, and
// several Books, in one process or in several, may have the same file. What a
// method has returned without error is on disk.
type Book struct {
	file *sqlfile.File
	now  func() time.Time // the wall clock; tests set it
	news chan struct{}    // has something when something has become due here
}

// Open opens the book at path. What is not there, its folder included, is made;
// the file is for this user alone.
func Open(path string) (*Book, error) {
	f, err := sqlfile.Open(path, kind)
	if err != nil {
		return nil, fmt.Errorf("alarms: open: %w", err)
	}
	return &Book{file: f, now: time.Now, news: make(chan struct{}, 1)}, nil
}

// Close lets go of the file. Calls must have returned.
func (b *Book) Close() error { return b.file.Close() }

// A refusal is one of the errors that callers tell apart, told in full.
type refusal struct {
	kind error
	text string
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.kind }

// wrap names the call in an error that is not a refusal.
func (b *Book) wrap(ctx context.Context, call string, err error) error {
	var told *refusal
	switch {
	case err == nil || errors.As(err, &told):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("alarms: %s: %w", call, context.Cause(ctx))
	}
	return fmt.Errorf("alarms: %s: %w", call, b.file.Explain(err))
}

// write runs do in a transaction, which no other write runs beside, and commits
// it, unless do fails.
func (b *Book) write(ctx context.Context, call string, do func(*sql.Tx) error) error {
	tx, err := b.file.Writes.BeginTx(ctx, nil)
	if err != nil {
		return b.wrap(ctx, call, err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back; before it, the first error counts
	if err := do(tx); err != nil {
		return b.wrap(ctx, call, err)
	}
	return b.wrap(ctx, call, tx.Commit())
}

// Put takes in what the monitors say, in one transaction, and returns the alarms
// that have become news by it: those that were not there, or were held and are so
// no longer, without what is past. The order is that in which they are told: by
// report, and by onset in each. The same report again changes nothing and brings no news.
func (b *Book) Put(ctx context.Context, r Report) (news []monitor.Alarm, err error) {
	alarms := slices.Clone(r.Alarms)
	if err := check(alarms); err != nil {
		return nil, fmt.Errorf("alarms: put: %w", err)
	}
	if idle, err := b.nothingToDo(ctx, &r); err != nil || idle {
		return nil, b.wrap(ctx, "put", err)
	}
	// Stable: an alarm that ended comes after itself.
	slices.SortStableFunc(alarms, func(x, y monitor.Alarm) int {
		return cmp.Or(cmp.Compare(x.Onset, y.Onset), strings.Compare(x.ID, y.ID))
	})
	err = b.write(ctx, "put", func(tx *sql.Tx) error {
		p, err := newPutting(ctx, tx, r.Look, b.now().UnixMicro())
		if err != nil {
			return err
		}
		defer p.close()
		if !r.Behind {
			// Before the report's own alarms are there: what monitors find that had caught
			// up is news, even where it is over already because they had fallen back a little.
			if err := pastHeld(ctx, tx, r.Look); err != nil {
				return err
			}
		}
		for i := range alarms {
			if err := p.put(&alarms[i]); err != nil {
				return err
			}
		}
		if !r.Behind {
			news, err = settle(ctx, tx, r.Quiet)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(news) > 0 && !r.Quiet {
		select {
		case b.news <- struct{}{}:
		default: // it is told already that there is something
		}
	}
	return news, nil
}

// nothingToDo saves a write where monitors say that they have caught up, and had.
func (b *Book) nothingToDo(ctx context.Context, r *Report) (bool, error) {
	if len(r.Alarms) > 0 || r.Behind {
		return len(r.Alarms) == 0, nil
	}
	var held bool
	err := b.file.Reads.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM alarms WHERE delivery = 'held')`).Scan(&held)
	return !held, err
}

func check(alarms []monitor.Alarm) error {
	if len(alarms) > MaxPut {
		return fmt.Errorf("%d alarms; put at most %d at once", len(alarms), MaxPut)
	}
	for i := range alarms {
		a := &alarms[i]
		if err := cmp.Or(checkName("id", a.ID), checkName("model", a.Model), checkName("kind", string(a.Kind)), checkName("column", a.Column)); err != nil {
			return fmt.Errorf("alarm %d of %d: %w", i+1, len(alarms), err)
		}
		a.Text = oneLine(a.Text)
	}
	return nil
}

// A putting is the statements of a Put.
type putting struct {
	ctx                    context.Context
	find, insert, update   *sql.Stmt
	look, now, next, limit int64
}

func newPutting(ctx context.Context, tx *sql.Tx, look, now int64) (*putting, error) {
	p := &putting{ctx: ctx, look: look, now: now, limit: MaxAlarms}
	err := tx.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) + 1 FROM alarms`).Scan(&p.next)
	prepare := func(query string) *sql.Stmt {
		if err != nil {
			return nil
		}
		var s *sql.Stmt
		s, err = tx.PrepareContext(ctx, query)
		return s
	}
	p.find = prepare(`SELECT look FROM alarms WHERE id = ?`)
	p.insert = prepare(`INSERT INTO alarms (seq, id, model, kind, col, version, onset, over, value, worst, threshold, text, look, seen, delivery)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'held')`)
	p.update = prepare(`UPDATE alarms SET over = ?, value = ?, worst = ?, text = ?, look = ? WHERE id = ?`)
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *putting) close() {
	for _, s := range []*sql.Stmt{p.find, p.insert, p.update} {
		if s != nil {
			s.Close()
		}
	}
}

// put adds an alarm, held, or brings the one that is there up to date. What
// people and the webhook did about it stays.
func (p *putting) put(a *monitor.Alarm) error {
	var look int64
	err := p.find.QueryRowContext(p.ctx, a.ID).Scan(&look)
	switch {
	case errors.Is(err, sql.ErrNoRows) && p.next > p.limit:
		return fmt.Errorf("the book has %d alarms, which is all that it takes; move the file away, and a new one is begun, and look at the monitors of model %s", p.limit, a.Model)
	case errors.Is(err, sql.ErrNoRows):
		_, err = p.insert.ExecContext(p.ctx, p.next, a.ID, a.Model, a.Kind, a.Column, a.Version, a.Onset, a.Over,
			number(a.Value), number(a.Worst), number(a.Threshold), a.Text, p.look, p.now)
		p.next++
	case err == nil && look <= p.look:
		_, err = p.update.ExecContext(p.ctx, a.Over, number(a.Value), number(a.Worst), a.Text, p.look, a.ID)
	}
	return err
}

// pastHeld takes from what is held that which was over long before.
func pastHeld(ctx context.Context, tx *sql.Tx, look int64) error {
	// A report without alarms may come from monitors that have seen no time pass.
	_, err := tx.ExecContext(ctx, `UPDATE alarms SET delivery = 'past' WHERE delivery = 'held' AND over != 0
		AND over < max(?1, (SELECT max(look) FROM alarms WHERE delivery = 'held')) - ?2`, look, HistoryAge.Microseconds())
	return err
}

// settle makes all that is held news, and returns it.
func settle(ctx context.Context, tx *sql.Tx, quiet bool) ([]monitor.Alarm, error) {
	to := Due
	if quiet {
		to = Unsent
	}
	entries, err := query(ctx, tx, selectEntries+`WHERE delivery = 'held' ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	news := make([]monitor.Alarm, len(entries))
	for i := range entries {
		news[i] = entries[i].Alarm
	}
	_, err = tx.ExecContext(ctx, `UPDATE alarms SET delivery = ? WHERE delivery = 'held'`, to)
	return news, err
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// number is a float as SQLite takes it, which has no NaN.
func number(x float64) sql.NullFloat64 {
	return sql.NullFloat64{Float64: x, Valid: !math.IsNaN(x)}
}

func numberOf(x sql.NullFloat64) float64 {
	if !x.Valid {
		return math.NaN()
	}
	return x.Float64
}

// checkName checks a name that must be there.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > maxName:
		return fmt.Errorf("%s has %d bytes; the most are %d", what, len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%s %q has control characters or bytes that are not UTF-8", what, name)
	}
	return nil
}

// cut shortens what a program has written, which must not fail for its length.
func cut(text string) string {
	if len(text) > maxText {
		text = text[:maxText-3] + "..."
	}
	return strings.ToValidUTF8(text, "")
}

// oneLine makes a line of a text.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, cut(text))
}
