package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
)

// Serving returns what a server must have loaded for a model. It is one query of
// one row, to be called often. A model that nothing is known of is served by a
// base rate of no labels.
func (r *Registry) Serving(ctx context.Context, model string) (Serving, error) {
	var s Serving
	err := r.serving.QueryRowContext(ctx, model).Scan(&s.Revision, &s.Champion, &s.Shadow, &s.BaseRate.Value, &s.BaseRate.Count, &s.BaseRate.AsOf)
	if errors.Is(err, sql.ErrNoRows) {
		return Serving{Shadow: NoVersion}, nil
	}
	return s, r.wrap(ctx, "serving of "+model, err)
}

// SetBaseRate keeps what a model's labels are like. One that is older than what
// is there changes nothing. It is a figure and no decision, and has no line in the
// history.
func (r *Registry) SetBaseRate(ctx context.Context, model string, b BaseRate) error {
	call := "set the base rate of " + model
	if err := checkName("model", model); err != nil {
		return fmt.Errorf("registry: %s: %w", call, err)
	}
	if math.IsNaN(b.Value) || math.IsInf(b.Value, 0) || b.Count < 0 {
		return fmt.Errorf("registry: %s: %v of %d labels is not a base rate", call, b.Value, b.Count)
	}
	// Most calls change nothing, and need not wait for the disk.
	if old, err := r.Serving(ctx, model); err != nil || old.Revision > 0 && (old.BaseRate == b || b.AsOf < old.BaseRate.AsOf) {
		return err
	}
	return r.write(ctx, call, func(t *tx) error {
		if err := t.ensure(model); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE serving SET base_value = ?1, base_count = ?2, base_as_of = ?3, revision = revision + 1 WHERE model = ?4 AND (base_as_of <= ?3 OR base_count = 0)`,
			b.Value, b.Count, b.AsOf, model)
		return err
	})
}

// ensure makes the model's row in serving, if there is none.
func (t *tx) ensure(model string) error {
	_, err := t.exec(`INSERT INTO serving (model) VALUES (?) ON CONFLICT DO NOTHING`, model)
	return err
}

// champion returns the model's champion: 0 for the base rate.
func (t *tx) champion(model string) (int, error) {
	champion := BaseRateVersion
	err := t.QueryRowContext(t.ctx, `SELECT champion FROM serving WHERE model = ?`, model).Scan(&champion)
	if errors.Is(err, sql.ErrNoRows) {
		return BaseRateVersion, nil
	}
	return champion, err
}

// shadow sets what is beside the champion.
func (t *tx) shadow(model string, version int) error {
	if err := t.ensure(model); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE serving SET shadow = ?, revision = revision + 1 WHERE model = ?`, version, model)
	return err
}

// swap makes a version the champion, if the champion is the one that is expected.
func (t *tx) swap(model string, from, to, shadow int) (bool, error) {
	if err := t.ensure(model); err != nil {
		return false, err
	}
	n, err := t.exec(`UPDATE serving SET champion = ?, shadow = ?, revision = revision + 1 WHERE model = ? AND champion = ?`, to, shadow, model, from)
	return n == 1, err
}

// supersede gives up what another champion was or would be the measure of: the
// versions in review or approved that were judged against another, older ones
// that are still being judged, and a rollout in phase shadow.
func (t *tx) supersede(model string, champion int) error {
	why := fmt.Sprintf("%s is the champion", named(champion))
	stale, err := all(t.ctx, t, scanVersion, versionColumns+`WHERE model = ?1 AND (state IN ('review', 'approved') AND baseline != ?2 OR state = 'judging' AND number < ?2) ORDER BY number`, model, champion)
	if err != nil {
		return err
	}
	for i := range stale {
		v := &stale[i]
		if err := t.move(model, v.Number, Superseded, deployer, why, v.State); err != nil {
			return err
		}
	}
	ro, ok, err := one(t.ctx, t, scanRollout, rolloutColumns+`WHERE model = ? AND phase = 'shadow' AND previous != ?`, model, champion)
	if err != nil || !ok {
		return err
	}
	return t.giveUp(&ro, why)
}
