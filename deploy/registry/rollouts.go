package registry

import (
	"context"
	"encoding/json"
	"fmt"
)

const rolloutColumns = `SELECT id, model, version, previous, phase, marks, began, switched, ended, why, report FROM rollouts `

func scanRollout(scan func(...any) error) (Rollout, error) {
	var ro Rollout
	var began, switched, ended int64
	err := scan(&ro.ID, &ro.Model, &ro.Version, &ro.Previous, &ro.Phase, (*[]byte)(&ro.Marks), &began, &switched, &ended, &ro.Why, (*[]byte)(&ro.Report))
	ro.Began, ro.Switched, ro.Ended = timeOf(began), timeOf(switched), timeOf(ended)
	return ro, err
}

// Due reports whether there is anything for the deployer to do about a model: a
// rollout that has not ended or that a person has asked to undo, a version that
// is approved, or, where nobody reviews, one in review. It is one query, to be
// called often.
func (r *Registry) Due(ctx context.Context, model string, unreviewed bool) (due bool, err error) {
	err = r.due.QueryRowContext(ctx, model, unreviewed).Scan(&due)
	return due, r.wrap(ctx, "what is due for "+model, err)
}

// Approved returns the version of a model that has been approved for longest and
// whose rollout has not begun, if there is one.
func (r *Registry) Approved(ctx context.Context, model string) (Version, bool, error) {
	v, ok, err := one(ctx, r.reads, scanVersion, versionColumns+`WHERE model = ? AND state = ? ORDER BY reviewed, number LIMIT 1`, model, Approved)
	return v, ok, r.wrap(ctx, "approved versions of "+model, err)
}

// Rollout returns the rollout of a model that has not ended, if there is one.
func (r *Registry) Rollout(ctx context.Context, model string) (Rollout, bool, error) {
	ro, ok, err := one(ctx, r.reads, scanRollout, rolloutColumns+`WHERE model = ? AND phase IN (?, ?)`, model, InShadow, Watching)
	return ro, ok, r.wrap(ctx, "rollout of "+model, err)
}

// Rollouts returns the rollouts of a model, or of all with "", newest first: the
// newest MaxList.
func (r *Registry) Rollouts(ctx context.Context, model string) ([]Rollout, error) {
	found, err := all(ctx, r.reads, scanRollout, rolloutColumns+`WHERE ?1 = '' OR model = ?1 ORDER BY id DESC LIMIT ?2`, model, MaxList)
	return found, r.wrap(ctx, "rollouts", err)
}

// RollbackRequested returns the rollout that a person has asked to undo, with
// that person's name and reason; ok is false where nobody has. It may be in
// phase shadow, watch or done; the deployer calls Undo.
func (r *Registry) RollbackRequested(ctx context.Context, model string) (ro Rollout, who, why string, ok bool, err error) {
	ro, who, why, ok, err = asked(ctx, r.reads, model)
	return ro, who, why, ok, r.wrap(ctx, "rollback of "+model, err)
}

func asked(ctx context.Context, db querier, model string) (ro Rollout, who, why string, ok bool, err error) {
	ro, ok, err = one(ctx, db, func(scan func(...any) error) (Rollout, error) {
		return scanRollout(func(to ...any) error { return scan(append(to, &who, &why)...) })
	}, `SELECT id, model, version, previous, phase, marks, began, switched, ended, r.why, report, asked_by, ask FROM rollouts r JOIN serving s USING (model)
		WHERE model = ? AND asked != 0 AND (phase = 'shadow' OR phase IN ('watch', 'done') AND version = champion) ORDER BY id DESC LIMIT 1`, model)
	return ro, who, why, ok, err
}

// RequestRollback is a person's word that the newest rollout of a model shall be
// undone, which the deployer then does. In phase shadow it ends, and the champion
// stays. Else, whether it is watched or done, the version that it brought in is
// the champion, and makes way for the one before. ErrRefused where the base rate
// serves and nothing is in shadow; ErrConflict where somebody has asked already.
func (r *Registry) RequestRollback(ctx context.Context, model, who, why string) error {
	call := "roll back " + model
	if err := checkName("the name of who asks", who); err != nil {
		return &refusal{ErrRefused, fmt.Sprintf("registry: %s: %v", call, err)}
	}
	if err := checkText("the reason", why); err != nil {
		return fmt.Errorf("registry: %s: %w", call, err)
	}
	return r.write(ctx, call, func(t *tx) error {
		ro, first, reason, ok, err := asked(ctx, t, model)
		if err != nil {
			return err
		}
		if ok {
			return t.refuse(ErrConflict, "%s has asked for it already (%s); the deployer has yet to take version %d back", first, reason, ro.Version)
		}
		ro, ok, err = one(ctx, t, scanRollout, rolloutColumns+`WHERE model = ?1 AND (phase = 'shadow' OR phase IN ('watch', 'done') AND version = (SELECT champion FROM serving WHERE model = ?1))
			ORDER BY phase = 'shadow' DESC, id DESC LIMIT 1`, model)
		if err != nil {
			return err
		}
		if !ok {
			return t.refuse(ErrRefused, "the base rate serves, and no version is on its way into service")
		}
		if _, err := t.exec(`UPDATE rollouts SET asked = ?, asked_by = ?, ask = ? WHERE id = ?`, t.now, who, why, ro.ID); err != nil {
			return err
		}
		return t.log(who, model, ro.Version, "rollback_requested", why)
	})
}

// Begin takes up an approved version: it is in shadow from now on. Called again
// for a version that is in shadow, it returns its rollout. ErrConflict where
// another rollout of the model has not ended, or a person has asked to roll the
// champion back; ErrRefused where the champion has changed since the version was
// judged, which also sets it superseded.
func (r *Registry) Begin(ctx context.Context, model string, version int, marks json.RawMessage) (ro Rollout, err error) {
	call := fmt.Sprintf("begin the rollout of version %d of %s", version, model)
	if err := checkJSON("marks", marks); err != nil {
		return ro, fmt.Errorf("registry: %s: %w", call, err)
	}
	err = r.write(ctx, call, func(t *tx) error {
		open, ok, err := one(ctx, t, scanRollout, rolloutColumns+`WHERE model = ? AND phase IN (?, ?)`, model, InShadow, Watching)
		switch {
		case err != nil:
			return err
		case ok && open.Version == version && open.Phase == InShadow:
			ro = open
			return nil
		case ok && open.Version != version:
			return t.refuse(ErrConflict, "version %d is in phase %s of its rollout, which has to end first", open.Version, open.Phase)
		}
		return t.begin(&ro, model, version, marks)
	})
	return ro, err
}

func (t *tx) begin(ro *Rollout, model string, version int, marks json.RawMessage) error {
	v, err := t.version(model, version)
	if err != nil {
		return err
	}
	if v.State != Approved {
		return t.conflict(model, version)
	}
	if err := t.asked(model); err != nil {
		return err
	}
	if stale, err := t.stale(&v); stale || err != nil {
		return err
	}
	if err := t.move(model, version, Shadow, deployer, "", Approved); err != nil {
		return err
	}
	*ro, _, err = one(t.ctx, t, scanRollout, `INSERT INTO rollouts (model, version, previous, phase, marks, began) VALUES (?, ?, ?, ?, ?, ?)
		RETURNING id, model, version, previous, phase, marks, began, switched, ended, why, report`, model, version, v.Baseline, InShadow, blob(marks), t.now)
	if err != nil {
		return err
	}
	return t.shadow(model, version)
}

// asked refuses to go on where a person wants to go back.
func (t *tx) asked(model string) error {
	ro, who, why, ok, err := asked(t.ctx, t, model)
	if err == nil && ok {
		err = t.refuse(ErrConflict, "%s has asked to take version %d back (%s), which comes first", who, ro.Version, why)
	}
	return err
}

// Observe keeps what an open rollout has seen so far, for people to look at.
func (r *Registry) Observe(ctx context.Context, id int64, report json.RawMessage) error {
	return r.roll(ctx, "observe", id, report, func(t *tx, ro *Rollout) error {
		if ro.Phase != InShadow && ro.Phase != Watching {
			return t.ended(ro)
		}
		_, err := t.exec(`UPDATE rollouts SET report = ? WHERE id = ?`, blob(report), id)
		return err
	})
}

// Switch makes the version in shadow the champion, and has the one before it in
// shadow, to be watched. Called again in phase watch, it returns nil. Versions
// that were judged against the one before, and older ones that are still being
// judged, are superseded. ErrConflict where the champion is no longer the one
// that the rollout began beside, which also ends it, or where a person has asked
// to roll back, and where it has ended.
func (r *Registry) Switch(ctx context.Context, id int64, marks json.RawMessage) error {
	return r.roll(ctx, "switch", id, marks, func(t *tx, ro *Rollout) error {
		switch ro.Phase {
		case Watching:
			return nil
		case Done, Undone:
			return t.ended(ro)
		}
		if err := t.asked(ro.Model); err != nil {
			return err
		}
		ok, err := t.swap(ro.Model, ro.Previous, ro.Version, ro.Previous)
		if err != nil {
			return err
		}
		if !ok {
			return t.lost(ro)
		}
		_, err = t.exec(`UPDATE rollouts SET phase = ?, marks = ?, switched = ? WHERE id = ?`, Watching, blob(marks), t.now, id)
		if err != nil {
			return err
		}
		if ro.Previous != BaseRateVersion {
			if err := t.move(ro.Model, ro.Previous, Retired, deployer, named(ro.Version)+" is the champion", Champion); err != nil {
				return err
			}
		}
		if err := t.move(ro.Model, ro.Version, Champion, deployer, "in place of "+named(ro.Previous), Shadow); err != nil {
			return err
		}
		return t.supersede(ro.Model, ro.Version)
	})
}

// lost ends a rollout under which the champion has changed, and has the call
// return ErrConflict once that is committed.
func (t *tx) lost(ro *Rollout) error {
	champion, err := t.champion(ro.Model)
	if err != nil {
		return err
	}
	why := fmt.Sprintf("it began beside %s, and now %s serves", named(ro.Previous), named(champion))
	t.after = t.refuse(ErrConflict, "%s; the version is superseded, and the rollout has ended", why)
	return t.giveUp(ro, why)
}

// giveUp ends a rollout in phase shadow, for another's sake.
func (t *tx) giveUp(ro *Rollout, why string) error {
	if err := t.end(ro, Undone, why, ro.Report); err != nil {
		return err
	}
	if err := t.shadow(ro.Model, NoVersion); err != nil {
		return err
	}
	return t.move(ro.Model, ro.Version, Superseded, deployer, why, Shadow)
}

// Finish ends the watch well: nothing is in shadow any more. Called again when it
// is done, it returns nil; ErrConflict in any other phase.
func (r *Registry) Finish(ctx context.Context, id int64, report json.RawMessage) error {
	return r.roll(ctx, "finish", id, report, func(t *tx, ro *Rollout) error {
		switch ro.Phase {
		case Done:
			return nil
		case Undone:
			return t.ended(ro)
		case InShadow:
			return t.refuse(ErrConflict, "version %d is still in shadow; it has to be switched to first", ro.Version)
		}
		const why = "watched to the end"
		if err := t.end(ro, Done, why, report); err != nil {
			return err
		}
		if err := t.shadow(ro.Model, NoVersion); err != nil {
			return err
		}
		return t.log(deployer, ro.Model, ro.Version, string(Done), why)
	})
}

// Undo ends a rollout badly, and its version is rolled_back. In phase shadow the
// champion stays. In phase watch, and later for as long as its version is the
// champion, the one before is the champion again; ErrConflict where it is no
// longer. Called again, or for a rollout that has ended badly otherwise, it
// returns nil.
func (r *Registry) Undo(ctx context.Context, id int64, why string, report json.RawMessage) error {
	return r.roll(ctx, "undo", id, report, func(t *tx, ro *Rollout) error {
		if ro.Phase == Undone {
			return nil
		}
		return t.takeBack(ro, RolledBack, cut(why), report)
	})
}

// Break says that the bundle of a version cannot be loaded. It may be in any state
// before retired in which it counts for something: judging, review, approved,
// shadow or champion. A rollout of it is undone, and a champion makes way for the
// one before. Called again, it returns nil; ErrConflict in any other state.
func (r *Registry) Break(ctx context.Context, model string, version int, why string) error {
	return r.write(ctx, fmt.Sprintf("break version %d of %s", version, model), func(t *tx) error {
		v, err := t.version(model, version)
		if err != nil || v.State == Broken {
			return err
		}
		if v.State != Shadow && v.State != Champion {
			return t.move(model, version, Broken, deployer, cut(why), Judging, Review, Approved)
		}
		ro, ok, err := one(ctx, t, scanRollout, rolloutColumns+`WHERE model = ? AND version = ?`, model, version)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("it is in state %s and has no rollout", v.State)
		}
		return t.takeBack(&ro, Broken, cut(why), ro.Report)
	})
}

// takeBack undoes a rollout that is not undone, and brings its version to a
// state.
func (t *tx) takeBack(ro *Rollout, to State, why string, report json.RawMessage) error {
	if err := t.end(ro, Undone, why, report); err != nil {
		return err
	}
	if ro.Phase == InShadow {
		if err := t.shadow(ro.Model, NoVersion); err != nil {
			return err
		}
		return t.move(ro.Model, ro.Version, to, deployer, why, Shadow)
	}
	ok, err := t.swap(ro.Model, ro.Version, ro.Previous, NoVersion)
	if err != nil {
		return err
	}
	if !ok {
		return t.conflict(ro.Model, ro.Version)
	}
	if err := t.move(ro.Model, ro.Version, to, deployer, why, Champion); err != nil {
		return err
	}
	if ro.Previous != BaseRateVersion {
		if err := t.move(ro.Model, ro.Previous, Champion, deployer, "in place of "+named(ro.Version), Retired); err != nil {
			return err
		}
	}
	return t.supersede(ro.Model, ro.Previous)
}

// end ends a rollout.
func (t *tx) end(ro *Rollout, phase Phase, why string, report json.RawMessage) error {
	_, err := t.exec(`UPDATE rollouts SET phase = ?, ended = ?, why = ?, report = ? WHERE id = ?`, phase, t.now, why, blob(report), ro.ID)
	return err
}

// roll runs do for a rollout; doc is what the call brings with it.
func (r *Registry) roll(ctx context.Context, verb string, id int64, doc json.RawMessage, do func(*tx, *Rollout) error) error {
	call := fmt.Sprintf("%s rollout %d", verb, id)
	if err := checkJSON("what comes with it", doc); err != nil {
		return fmt.Errorf("registry: %s: %w", call, err)
	}
	return r.write(ctx, call, func(t *tx) error {
		ro, ok, err := one(ctx, t, scanRollout, rolloutColumns+`WHERE id = ?`, id)
		if err == nil && !ok {
			err = t.refuse(ErrNotFound, "there is no such rollout")
		}
		if err != nil {
			return err
		}
		return do(t, &ro)
	})
}
