package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
)

const runColumns = `SELECT id, model, status, began, ended, spec, anomalies, report, bundle, version, error FROM runs `

func scanRun(scan func(...any) error) (Run, error) {
	var run Run
	var began, ended int64
	err := scan(&run.ID, &run.Model, &run.Status, &began, &ended, (*[]byte)(&run.Spec), (*[]byte)(&run.Anomalies), (*[]byte)(&run.Report), &run.Bundle, &run.Version, &run.Error)
	run.Began, run.Ended = timeOf(began), timeOf(ended)
	return run, err
}

// AddRun keeps a run that has ended, and with one that is Trained its version,
// which begins in state judging under the model's next number. It takes the
// version's Author and Cutoff and sets all else of it, and returns the run with
// its ID and Version set.
//
// A run is known by the bytes of its Spec. Where the model has one with the same,
// nothing is added: AddRun returns that one, and ErrConflict. So a trainer that
// was killed after the call finds that it has been made.
func (r *Registry) AddRun(ctx context.Context, run Run, v *Version) (Run, error) {
	call := "add a run of " + run.Model
	if err := checkRun(&run, v); err != nil {
		return run, fmt.Errorf("registry: %s: %w", call, err)
	}
	run.Error = cut(run.Error)
	err := r.write(ctx, call, func(t *tx) error {
		sum := sha256.Sum256(run.Spec)
		old, ok, err := one(ctx, t, scanRun, runColumns+`WHERE model = ? AND spec_sum = ?`, run.Model, sum[:])
		if err != nil {
			return err
		}
		if ok {
			run = old
			return t.refuse(ErrConflict, "run %d has this spec already; it was %s at %s", old.ID, old.Status, stamp(old.Ended))
		}
		return t.addRun(&run, v, sum[:])
	})
	return run, err
}

func checkRun(run *Run, v *Version) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	trained := run.Status == Trained
	check(trained || run.Status == Stopped || run.Status == Failed, "status %q is none of trained, stopped and failed", run.Status)
	check(trained == (v != nil), "a run that is %s comes with a version if it is trained, and only then", run.Status)
	check(trained == (run.Bundle != ""), "bundle %q: a run that is %s has a bundle if it is trained, and only then", run.Bundle, run.Status)
	check(!run.Began.IsZero() && !run.Ended.Before(run.Began), "it began at %v and ended at %v", run.Began, run.Ended)
	check(run.Spec != nil, "it has no spec")
	errs = append(errs, checkName("model", run.Model), checkJSON("spec", run.Spec), checkJSON("anomalies", run.Anomalies), checkJSON("report", run.Report))
	if trained {
		errs = append(errs, checkName("bundle", run.Bundle))
	}
	if v != nil {
		errs = append(errs, checkName("author", v.Author))
		check(v.Model == "" || v.Model == run.Model, "the version is of model %s", v.Model)
		check(v.Bundle == "" || v.Bundle == run.Bundle, "the version has bundle %s, and the run %s", v.Bundle, run.Bundle)
	}
	return errors.Join(errs...)
}

func (t *tx) addRun(run *Run, v *Version, sum []byte) error {
	run.Version = 0
	who, why := trainer, run.Error
	if v != nil {
		who, why = v.Author, "bundle "+run.Bundle
		if err := t.QueryRowContext(t.ctx, `SELECT coalesce(max(number), 0) + 1 FROM versions WHERE model = ?`, run.Model).Scan(&run.Version); err != nil {
			return err
		}
	}
	// What is returned is what a later call reads, to the microsecond.
	run.Began, run.Ended = timeOf(micros(run.Began)), timeOf(micros(run.Ended))
	err := t.QueryRowContext(t.ctx, `INSERT INTO runs (model, status, began, ended, spec, spec_sum, anomalies, report, bundle, version, error)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		run.Model, run.Status, micros(run.Began), micros(run.Ended), blob(run.Spec), sum, blob(run.Anomalies), blob(run.Report), run.Bundle, run.Version, run.Error).Scan(&run.ID)
	if err != nil {
		return err
	}
	if v != nil {
		_, err := t.exec(`INSERT INTO versions (model, number, bundle, run, state, author, created, cutoff) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			run.Model, run.Version, run.Bundle, run.ID, Judging, v.Author, t.now, v.Cutoff)
		if err != nil {
			return err
		}
	}
	return t.log(who, run.Model, run.Version, string(run.Status), cut("run "+strconv.FormatInt(run.ID, 10)+": "+cmp.Or(why, "see runs show")))
}

// Runs returns the runs of a model, or of all with "", newest first: the newest
// MaxList.
func (r *Registry) Runs(ctx context.Context, model string) ([]Run, error) {
	runs, err := all(ctx, r.reads, scanRun, runColumns+`WHERE ?1 = '' OR model = ?1 ORDER BY id DESC LIMIT ?2`, model, MaxList)
	return runs, r.wrap(ctx, "runs", err)
}

// Run returns a run, or ErrNotFound.
func (r *Registry) Run(ctx context.Context, id int64) (Run, error) {
	run, ok, err := one(ctx, r.reads, scanRun, runColumns+`WHERE id = ?`, id)
	if err == nil && !ok {
		err = &refusal{ErrNotFound, fmt.Sprintf("registry: there is no run %d", id)}
	}
	return run, r.wrap(ctx, fmt.Sprintf("run %d", id), err)
}

// Ask asks for a candidate of a model, of examples up to an event time at least:
// the trainer makes one if no run has learned from that time's yet, as soon as its
// schedule leaves room. Asking for no later a time than before changes nothing.
func (r *Registry) Ask(ctx context.Context, model string, at int64, who, why string) error {
	call := "ask for a candidate of " + model
	if err := errors.Join(checkName("model", model), checkName("the name of who asks", who), checkText("the reason", why)); err != nil {
		return fmt.Errorf("registry: %s: %w", call, err)
	}
	return r.write(ctx, call, func(t *tx) error {
		n, err := t.exec(`INSERT INTO asked (model, at) VALUES (?1, ?2) ON CONFLICT (model) DO UPDATE SET at = ?2 WHERE at < ?2`, model, at)
		if err != nil || n == 0 {
			return err
		}
		return t.log(who, model, 0, "candidate_requested", why)
	})
}

// Asked returns up to which event time a candidate of a model was asked for; ok is
// false where nobody has asked.
func (r *Registry) Asked(ctx context.Context, model string) (at int64, ok bool, err error) {
	call := "what is asked of " + model
	at, ok, err = one(ctx, r.reads, func(scan func(...any) error) (at int64, err error) {
		err = scan(&at)
		return at, err
	}, `SELECT at FROM asked WHERE model = ?`, model)
	return at, ok, r.wrap(ctx, call, err)
}
