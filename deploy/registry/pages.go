package registry

import (
	"context"
	"fmt"
	"strings"
)

// What is here is for pages that are looked at often, and returns no more than a
// page shows, however long the history is.

// An EventFilter says which events of the history are asked for. The zero value
// of a field leaves nothing out.
type EventFilter struct {
	Model   string
	Version int      // 0: of all versions, and of none
	What    []string // any of these
	Below   int64    // older than this Seq
	Limit   int      // at most so many; 0, and more: MaxList
}

// Events returns what has happened, newest first.
func (r *Registry) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	// Only the conditions that there are, so that SQLite sees which index serves.
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if f.Model != "" {
		add("model = ?", f.Model)
	}
	if f.Version != 0 {
		add("version = ?", f.Version)
	}
	if f.Below != 0 {
		add("seq < ?", f.Below)
	}
	if len(f.What) > 0 {
		what := make([]any, len(f.What))
		for i := range f.What {
			what[i] = f.What[i]
		}
		add("what IN (?"+strings.Repeat(", ?", len(f.What)-1)+")", what...)
	}
	query := `SELECT seq, time, who, model, version, what, why FROM history`
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	events, err := all(ctx, r.reads, scanEvent, query+` ORDER BY seq DESC LIMIT ?`, append(args, listLimit(f.Limit))...)
	return events, r.wrap(ctx, "events", err)
}

// Newest returns the Seq of the newest event; 0: nothing has happened. While it
// stays, so do all versions and rollouts, but for what rollouts have seen.
func (r *Registry) Newest(ctx context.Context) (seq int64, err error) {
	err = r.reads.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM history`).Scan(&seq)
	return seq, r.wrap(ctx, "newest event", err)
}

// States counts the versions of each model by their state.
func (r *Registry) States(ctx context.Context) (map[string]map[State]int, error) {
	type row struct {
		model string
		state State
		n     int
	}
	rows, err := all(ctx, r.reads, func(scan func(...any) error) (x row, err error) { return x, scan(&x.model, &x.state, &x.n) },
		`SELECT model, state, count(*) FROM versions GROUP BY model, state`)
	counts := make(map[string]map[State]int)
	for _, x := range rows {
		if counts[x.model] == nil {
			counts[x.model] = make(map[State]int)
		}
		counts[x.model][x.state] = x.n
	}
	return counts, r.wrap(ctx, "states", err)
}

// VersionsBelow returns the versions of a model whose numbers are below one, or
// all for 0, newest first and at most limit.
func (r *Registry) VersionsBelow(ctx context.Context, model string, below, limit int) ([]Version, error) {
	found, err := all(ctx, r.reads, scanVersion, versionColumns+`WHERE model = ?1 AND (?2 = 0 OR number < ?2) ORDER BY number DESC LIMIT ?3`, model, below, listLimit(limit))
	return found, r.wrap(ctx, "versions", err)
}

// RolloutOf returns the rollout of a version, if it has had one.
func (r *Registry) RolloutOf(ctx context.Context, model string, version int) (Rollout, bool, error) {
	ro, ok, err := one(ctx, r.reads, scanRollout, rolloutColumns+`WHERE model = ? AND version = ?`, model, version)
	return ro, ok, r.wrap(ctx, fmt.Sprintf("rollout of version %d of %s", version, model), err)
}

func listLimit(n int) int {
	if n < 1 || n > MaxList {
		return MaxList
	}
	return n
}
