package alarms

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// lease is for how long a process that tells has the word. It takes it anew all
// the time, and is silent for no longer than an attempt takes.
const lease = 45 * time.Second

// claim takes the word for owner and returns the oldest alarms that are due, at
// most n. It returns none where there are none, or where another has the word: of
// several processes on one file one tells, so that the order holds, and another
// goes on when its lease has run out.
func (b *Book) claim(ctx context.Context, owner string, n int) (batch []Entry, err error) {
	var waiting bool
	err = b.file.Reads.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM alarms WHERE delivery = 'due')`).Scan(&waiting)
	if err != nil || !waiting {
		return nil, b.wrap(ctx, "deliver", err)
	}
	err = b.write(ctx, "deliver", func(tx *sql.Tx) error {
		if mine, err := b.takeWord(ctx, tx, owner); err != nil || !mine {
			return err
		}
		batch, err = query(ctx, tx, selectEntries+`WHERE delivery = 'due' ORDER BY seq LIMIT ?`, n)
		return err
	})
	return batch, err
}

// takeWord reports whether owner has the word from now on.
func (b *Book) takeWord(ctx context.Context, tx *sql.Tx, owner string) (bool, error) {
	now := b.now()
	var other string
	var until int64
	err := tx.QueryRowContext(ctx, `SELECT owner, until FROM courier`).Scan(&other, &until)
	switch left := timeOf(until).Sub(now); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return false, err
	case other != owner && left > 0 && left <= lease: // beyond it the clock was set back
		return false, nil
	}
	_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO courier (only, owner, until) VALUES (1, ?, ?)`, owner, micros(now.Add(lease)))
	return err == nil, err
}

// keepWord takes the word for longer, where owner has it.
func (b *Book) keepWord(ctx context.Context, owner string) error {
	return b.write(ctx, "deliver", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE courier SET until = ? WHERE owner = ?`, micros(b.now().Add(lease)), owner)
		return err
	})
}

// leaveWord lets another have the word at once.
func (b *Book) leaveWord(ctx context.Context, owner string) error {
	return b.write(ctx, "deliver", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM courier WHERE owner = ?`, owner)
		return err
	})
}

// sent keeps that a batch has been told.
func (b *Book) sent(ctx context.Context, batch []Entry) error {
	return b.keep(ctx, batch, `delivery = 'sent', delivered = ?, error = ''`, b.now().UnixMicro())
}

// failed keeps why a batch could not be told.
func (b *Book) failed(ctx context.Context, batch []Entry, why error) error {
	return b.keep(ctx, batch, `error = ?`, cut(why.Error()))
}

func (b *Book) keep(ctx context.Context, batch []Entry, what string, value any) error {
	args := []any{value}
	for i := range batch {
		args = append(args, batch[i].ID)
	}
	return b.write(ctx, "deliver", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE alarms SET attempts = attempts + 1, `+what+
			` WHERE delivery = 'due' AND id IN (?`+strings.Repeat(`, ?`, len(batch)-1)+`)`, args...)
		return err
	})
}
