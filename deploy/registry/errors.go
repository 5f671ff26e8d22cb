package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Errors that callers tell apart. What comes with them says what to do.
var (
	ErrNotFound = errors.New("registry: not found")
	ErrConflict = errors.New("registry: somebody else was first") // the state is no longer what the call expected
	ErrRefused  = errors.New("registry: refused")                 // not allowed, as approving one's own candidate
)

// A refusal is one of the errors above, told in full.
type refusal struct {
	kind error
	text string
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.kind }

// refuse tells why the call cannot be, as one of the errors that callers know.
func (t *tx) refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf("registry: %s: %s", t.call, fmt.Sprintf(format, args...))}
}

// conflict says what state the version is in, and who brought it there.
func (t *tx) conflict(model string, number int) error {
	v, err := t.version(model, number)
	if err != nil {
		return err
	}
	var who, why string
	var at int64
	err = t.QueryRowContext(t.ctx, `SELECT who, why, time FROM history WHERE model = ? AND version = ? AND what = ? ORDER BY seq DESC LIMIT 1`,
		model, number, v.State).Scan(&who, &why, &at)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return t.refuse(ErrConflict, "it is in state %s", v.State)
	case err != nil:
		return err
	case why != "":
		why = ": " + why
	}
	return t.refuse(ErrConflict, "it is in state %s, by %s at %s%s", v.State, who, stamp(timeOf(at)), why)
}

// ended says how a rollout ended, to a call that is too late.
func (t *tx) ended(ro *Rollout) error {
	return t.refuse(ErrConflict, "the rollout of version %d of %s is %s since %s: %s", ro.Version, ro.Model, ro.Phase, stamp(ro.Ended), ro.Why)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// wrap names the call in an error that is not a refusal.
func (r *Registry) wrap(ctx context.Context, call string, err error) error {
	var told *refusal
	switch {
	case err == nil || errors.As(err, &told):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("registry: %s: %w", call, context.Cause(ctx))
	}
	return fmt.Errorf("registry: %s: %w", call, r.file.Explain(err))
}
