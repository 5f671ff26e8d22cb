package registry

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName bounds names: of models, people and bundles. Kafka's longest topic
	// has 249 bytes, and a model's name is part of one.
	maxName = 249

	// maxText bounds a comment, a reason or the text of an error: more than
	// anybody reads in a table, and less than what a file can be filled with.
	maxText = 4 << 10

	// maxReasons bounds the reasons of a verdict: one for each of a gate's slices
	// and then some.
	maxReasons = 100

	// maxReport bounds each JSON document. A judgement with a thousand slices has
	// some 300 KiB.
	maxReport = 4 << 20

	// MaxList is how many runs, versions or rollouts a list has at most, the
	// newest: with a candidate an hour, six weeks of them.
	MaxList = 1000
)

// A tx is a transaction that no other write runs beside.
type tx struct {
	*sql.Tx
	ctx   context.Context
	call  string // for errors: approve version 7 of big_move
	now   int64
	after error // to be returned once the transaction is committed
}

// write runs do in a transaction and commits it, unless do fails. The call is
// named in errors.
func (r *Registry) write(ctx context.Context, call string, do func(*tx) error) error {
	sqlTx, err := r.writes.BeginTx(ctx, nil)
	if err != nil {
		return r.wrap(ctx, call, err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back; before it, the first error counts
	t := &tx{Tx: sqlTx, ctx: ctx, call: call, now: r.now().UnixMicro()}
	if err := do(t); err != nil {
		return r.wrap(ctx, call, err)
	}
	if err := sqlTx.Commit(); err != nil {
		return r.wrap(ctx, call, err)
	}
	return t.after
}

// exec runs a statement and returns how many rows it has changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	res, err := t.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// log adds a line to the history.
func (t *tx) log(who, model string, version int, what, why string) error {
	_, err := t.exec(`INSERT INTO history (time, who, model, version, what, why) VALUES (?, ?, ?, ?, ?, ?)`, t.now, who, model, version, what, why)
	return err
}

// move brings a version to a state, if it is in one of the states from, and logs
// it. Otherwise it fails with ErrConflict, or ErrNotFound.
func (t *tx) move(model string, number int, to State, who, why string, from ...State) error {
	args := []any{to, model, number}
	for _, s := range from {
		args = append(args, s)
	}
	n, err := t.exec(`UPDATE versions SET state = ? WHERE model = ? AND number = ? AND state IN (?`+strings.Repeat(", ?", len(from)-1)+`)`, args...)
	switch {
	case err != nil:
		return err
	case n == 0:
		return t.conflict(model, number)
	}
	return t.log(who, model, number, string(to), why)
}

// all reads the rows of a query.
func all[T any](ctx context.Context, db querier, scan func(func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := []T{}
	for rows.Next() {
		x, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		found = append(found, x)
	}
	return found, rows.Err()
}

// one reads the row of a query; ok is false where there is none.
func one[T any](ctx context.Context, db querier, scan func(func(...any) error) (T, error), query string, args ...any) (x T, ok bool, err error) {
	x, err = scan(db.QueryRowContext(ctx, query, args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return x, false, nil
	}
	return x, err == nil, err
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

// checkName checks a name that must be there.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > maxName:
		return fmt.Errorf("%s has %d bytes; the most are %d", what, len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name:
		return fmt.Errorf("%s %q has spaces around it, control characters or bytes that are not UTF-8", what, name)
	}
	return nil
}

// checkText checks what a person has written.
func checkText(what, text string) error {
	switch {
	case len(text) > maxText:
		return fmt.Errorf("%s has %d bytes; the most are %d", what, len(text), maxText)
	case !utf8.ValidString(text):
		return fmt.Errorf("%s is not UTF-8", what)
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

// checkJSON checks a document, which may be absent.
func checkJSON(what string, doc json.RawMessage) error {
	switch {
	case len(doc) > maxReport:
		return fmt.Errorf("%s has %d bytes; the most are %d", what, len(doc), maxReport)
	case doc != nil && !json.Valid(doc):
		return fmt.Errorf("%s is not JSON: %.40q", what, bytes.TrimSpace(doc))
	}
	return nil
}

// blob is a document as SQLite takes it: nil is NULL and not empty.
func blob(doc json.RawMessage) any {
	if doc == nil {
		return nil
	}
	return []byte(doc)
}
