package alarms

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const selectEntries = `SELECT id, model, kind, col, version, onset, over, value, worst, threshold, text,
	seen, acknowledged, who, comment, delivery, delivered, attempts, error FROM alarms `

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// query reads entries.
func query(ctx context.Context, db querier, query string, args ...any) ([]Entry, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := []Entry{}
	for rows.Next() {
		var e Entry
		var value, worst, threshold sql.NullFloat64
		var seen, acknowledged, delivered int64
		err := rows.Scan(&e.ID, &e.Model, &e.Kind, &e.Column, &e.Version, &e.Onset, &e.Over, &value, &worst, &threshold, &e.Text,
			&seen, &acknowledged, &e.Who, &e.Comment, &e.Delivery, &delivered, &e.Attempts, &e.DeliveryError)
		if err != nil {
			return nil, err
		}
		e.Value, e.Worst, e.Threshold = numberOf(value), numberOf(worst), numberOf(threshold)
		e.Seen, e.Acknowledged, e.Delivered = timeOf(seen), timeOf(acknowledged), timeOf(delivered)
		found = append(found, e)
	}
	return found, rows.Err()
}

// limit is how many a list that is asked for n has.
func limit(n int) int {
	if n <= 0 || n > MaxList {
		return MaxList
	}
	return n
}

// List returns the entries that f asks for, the newest onset first.
func (b *Book) List(ctx context.Context, f Filter) ([]Entry, error) {
	// As the indexes say it, for SQLite to use them.
	var where []string
	var args []any
	if f.Open {
		where = append(where, `over = 0 AND delivery != 'held'`)
	}
	if f.Unacknowledged {
		where = append(where, `acknowledged = 0 AND delivery NOT IN ('held', 'past')`)
	}
	if f.Model != "" {
		where, args = append(where, `model = ?`), append(args, f.Model)
	}
	q := selectEntries
	if len(where) > 0 {
		q += `WHERE ` + strings.Join(where, ` AND `)
	}
	found, err := query(ctx, b.file.Reads, q+` ORDER BY onset DESC, seq DESC LIMIT ?`, append(args, limit(f.Limit))...)
	return found, b.wrap(ctx, "list", err)
}

// Get returns an entry, or ErrNotFound.
func (b *Book) Get(ctx context.Context, id string) (Entry, error) {
	found, err := query(ctx, b.file.Reads, selectEntries+`WHERE id = ?`, id)
	switch {
	case err != nil:
		return Entry{}, b.wrap(ctx, "get", err)
	case len(found) == 0:
		return Entry{}, notFound(id)
	}
	return found[0], nil
}

func notFound(id string) error {
	if len(id) > maxName {
		id = id[:maxName] + "..."
	}
	return &refusal{ErrNotFound, fmt.Sprintf("alarms: there is no alarm %q; list those that there are", id)}
}

// Count counts the book.
func (b *Book) Count(ctx context.Context) (Counts, error) {
	var c Counts
	err := b.file.Reads.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM alarms WHERE over = 0 AND delivery != 'held'),
		(SELECT count(*) FROM alarms WHERE acknowledged = 0 AND delivery NOT IN ('held', 'past')),
		(SELECT count(*) FROM alarms WHERE delivery = 'held'),
		(SELECT count(*) FROM alarms WHERE delivery = 'due'),
		coalesce((SELECT error FROM alarms WHERE delivery = 'due' ORDER BY seq LIMIT 1), '')`).
		Scan(&c.Open, &c.Unacknowledged, &c.Held, &c.Undelivered, &c.DeliveryError)
	return c, b.wrap(ctx, "count", err)
}

// Acknowledge keeps that a person has taken note of an alarm, and notes it as an
// action, in one transaction. Errors: ErrNotFound; ErrConflict where somebody has
// already.
func (b *Book) Acknowledge(ctx context.Context, id, who, comment string) error {
	err := checkName("who", who)
	if err == nil {
		err = checkText("comment", comment)
	}
	if err != nil {
		return fmt.Errorf("alarms: acknowledge: %w", err)
	}
	return b.write(ctx, "acknowledge", func(tx *sql.Tx) error {
		now := b.now().UnixMicro()
		done, err := tx.ExecContext(ctx, `UPDATE alarms SET acknowledged = ?, who = ?, comment = ? WHERE id = ? AND acknowledged = 0`, now, who, comment, id)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, conflict(ctx, tx, id))
		}
		return note(ctx, tx, Action{timeOf(now), who, "acknowledge", id, comment})
	})
}

// conflict says who was first.
func conflict(ctx context.Context, tx *sql.Tx, id string) error {
	found, err := query(ctx, tx, selectEntries+`WHERE id = ?`, id)
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return notFound(id)
	}
	e := &found[0]
	return &refusal{ErrConflict, fmt.Sprintf("alarms: alarm %s is acknowledged already, by %s at %s", id, e.Who, e.Acknowledged.Format(time.RFC3339))}
}

// Note keeps what a person did. What is kept is never changed.
func (b *Book) Note(ctx context.Context, a Action) error {
	for what, name := range map[string]string{"who": a.Who, "what": a.What, "object": a.Object} {
		if err := checkName(what, name); err != nil {
			return fmt.Errorf("alarms: note: %w", err)
		}
	}
	a.Detail = cut(a.Detail)
	return b.write(ctx, "note", func(tx *sql.Tx) error {
		if a.Time.IsZero() {
			a.Time = b.now()
		}
		return note(ctx, tx, a)
	})
}

func note(ctx context.Context, tx *sql.Tx, a Action) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO actions (time, who, what, object, detail) VALUES (?, ?, ?, ?, ?)`, micros(a.Time), a.Who, a.What, a.Object, a.Detail)
	return err
}

// Actions returns what people did, the newest first, at most limit of them, or
// MaxList with 0.
func (b *Book) Actions(ctx context.Context, most int) ([]Action, error) {
	rows, err := b.file.Reads.QueryContext(ctx, `SELECT time, who, what, object, detail FROM actions ORDER BY seq DESC LIMIT ?`, limit(most))
	if err != nil {
		return nil, b.wrap(ctx, "actions", err)
	}
	defer rows.Close()
	found := []Action{}
	for rows.Next() {
		var a Action
		var at int64
		if err := rows.Scan(&at, &a.Who, &a.What, &a.Object, &a.Detail); err != nil {
			return nil, b.wrap(ctx, "actions", err)
		}
		a.Time = timeOf(at)
		found = append(found, a)
	}
	return found, b.wrap(ctx, "actions", rows.Err())
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
