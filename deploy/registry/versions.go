package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const versionColumns = `SELECT model, number, bundle, run, state, author, created, cutoff, baseline, verdict, reasons, report, judged, reviewer, comment, reviewed FROM versions `

func scanVersion(scan func(...any) error) (Version, error) {
	var v Version
	var created, reviewed int64
	var reasons []byte
	err := scan(&v.Model, &v.Number, &v.Bundle, &v.Run, &v.State, &v.Author, &created, &v.Cutoff, &v.Baseline, &v.Verdict,
		&reasons, (*[]byte)(&v.Report), &v.Judged, &v.Reviewer, &v.Comment, &reviewed)
	if err != nil {
		return v, err
	}
	v.Created, v.Reviewed = timeOf(created), timeOf(reviewed)
	if err := json.Unmarshal(reasons, &v.Reasons); err != nil {
		return v, fmt.Errorf("the reasons of version %d of %s: %w", v.Number, v.Model, err)
	}
	return v, nil
}

func (t *tx) version(model string, number int) (Version, error) {
	v, ok, err := one(t.ctx, t, scanVersion, versionColumns+`WHERE model = ? AND number = ?`, model, number)
	if err == nil && !ok {
		err = t.refuse(ErrNotFound, "there is no such version")
	}
	return v, err
}

// Versions returns the versions of a model, or of all with "", newest first: the
// newest MaxList.
func (r *Registry) Versions(ctx context.Context, model string) ([]Version, error) {
	found, err := all(ctx, r.reads, scanVersion, versionColumns+`WHERE ?1 = '' OR model = ?1 ORDER BY created DESC, number DESC LIMIT ?2`, model, MaxList)
	return found, r.wrap(ctx, "versions", err)
}

// VersionsIn returns the versions of a model that are in one of the states,
// oldest first, and at most MaxList.
func (r *Registry) VersionsIn(ctx context.Context, model string, states ...State) ([]Version, error) {
	args := []any{model}
	for _, s := range states {
		args = append(args, s)
	}
	in := strings.TrimPrefix(strings.Repeat(", ?", len(states)), ", ")
	found, err := all(ctx, r.reads, scanVersion, versionColumns+`WHERE model = ? AND state IN (`+in+`) ORDER BY number LIMIT ?`, append(args, MaxList)...)
	return found, r.wrap(ctx, "versions", err)
}

// JudgedAt returns the event times, in microseconds, at which versions of a model
// were judged, oldest first: of all of them, however many, for what is spent by
// judging must not be forgotten. One whose judgement has no time is left out.
func (r *Registry) JudgedAt(ctx context.Context, model string) ([]int64, error) {
	times, err := all(ctx, r.reads, func(scan func(...any) error) (at int64, err error) { return at, scan(&at) },
		`SELECT judged FROM versions WHERE model = ? AND judged != 0 ORDER BY judged`, model)
	return times, r.wrap(ctx, "judgements of "+model, err)
}

// Version returns a version, or ErrNotFound.
func (r *Registry) Version(ctx context.Context, model string, number int) (Version, error) {
	v, ok, err := one(ctx, r.reads, scanVersion, versionColumns+`WHERE model = ? AND number = ?`, model, number)
	if err == nil && !ok {
		err = &refusal{ErrNotFound, fmt.Sprintf("registry: model %s has no version %d", model, number)}
	}
	return v, r.wrap(ctx, "version", err)
}

// Judge keeps the verdict on a version that is in state judging: one to promote
// is then in review, any other closed. Where the champion has changed since it
// was judged, one to promote is superseded at once, and that is no error: the
// judgement was made, and is the only one.
func (r *Registry) Judge(ctx context.Context, model string, number int, j Judgement) error {
	call := fmt.Sprintf("judge version %d of %s", number, model)
	reasons, err := checkJudgement(&j)
	if err != nil {
		return fmt.Errorf("registry: %s: %w", call, err)
	}
	return r.write(ctx, call, func(t *tx) error {
		n, err := t.exec(`UPDATE versions SET state = ?, baseline = ?, verdict = ?, reasons = ?, report = ?, judged = ? WHERE model = ? AND number = ? AND state = ?`,
			Closed, j.Baseline, j.Verdict, reasons, blob(j.Report), j.At, model, number, Judging)
		if err != nil {
			return err
		}
		if n == 0 {
			return t.conflict(model, number)
		}
		why := strings.Join(append([]string{j.Verdict + " against " + named(j.Baseline)}, j.Reasons...), "; ")
		if err := t.log(trainer, model, number, "judged", cut(why)); err != nil {
			return err
		}
		return t.judged(model, number, &j)
	})
}

// judged brings a version on from its verdict. It is in state closed.
func (t *tx) judged(model string, number int, j *Judgement) error {
	if j.Verdict != promote {
		return t.log(trainer, model, number, string(Closed), j.Verdict)
	}
	champion, err := t.champion(model)
	switch {
	case err != nil:
		return err
	case champion != j.Baseline:
		return t.move(model, number, Superseded, trainer, moved(j.Baseline, champion), Closed)
	}
	return t.move(model, number, Review, trainer, "better than "+named(j.Baseline), Closed)
}

func checkJudgement(j *Judgement) (reasons string, err error) {
	var errs []error
	if j.Verdict != promote && j.Verdict != reject && j.Verdict != inconclusive {
		errs = append(errs, fmt.Errorf("verdict %q is none of promote, reject and inconclusive", j.Verdict))
	}
	if j.Baseline < 0 {
		errs = append(errs, fmt.Errorf("baseline %d is no version, and 0 is the base rate", j.Baseline))
	}
	if len(j.Reasons) > maxReasons {
		errs = append(errs, fmt.Errorf("%d reasons; the most are %d", len(j.Reasons), maxReasons))
	}
	for _, reason := range j.Reasons {
		errs = append(errs, checkText("a reason", reason))
	}
	errs = append(errs, checkJSON("report", j.Report))
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	b, err := json.Marshal(append([]string{}, j.Reasons...)) // [] and not null
	return string(b), err
}

// Supersede gives up a version that is in state judging or review.
func (r *Registry) Supersede(ctx context.Context, model string, number int, why string) error {
	return r.write(ctx, fmt.Sprintf("supersede version %d of %s", number, model), func(t *tx) error {
		return t.move(model, number, Superseded, trainer, cut(why), Judging, Review)
	})
}

// Approve is a person's word that a version in review shall be put into service.
// It returns ErrRefused where that person made the version, or the champion is
// no longer the one that it was judged against, which also sets it superseded.
// Where two approve at once, one gets ErrConflict.
func (r *Registry) Approve(ctx context.Context, model string, number int, who, comment string) error {
	return r.review(ctx, "approve", model, number, who, comment, func(t *tx, v *Version) error {
		if strings.EqualFold(who, v.Author) {
			return t.refuse(ErrRefused, "%s made it; another person has to approve it", v.Author)
		}
		if v.State != Review {
			return t.conflict(model, number)
		}
		if stale, err := t.stale(v); stale || err != nil {
			return err
		}
		return t.reviewed(v, Approved, who, comment, Review)
	})
}

// Reject is a person's word that a version in review, or one that is approved and
// not yet begun, shall not be put into service.
func (r *Registry) Reject(ctx context.Context, model string, number int, who, comment string) error {
	return r.review(ctx, "reject", model, number, who, comment, func(t *tx, v *Version) error {
		return t.reviewed(v, Rejected, who, comment, Review, Approved)
	})
}

func (r *Registry) review(ctx context.Context, verb, model string, number int, who, comment string, do func(*tx, *Version) error) error {
	call := fmt.Sprintf("%s version %d of %s", verb, number, model)
	if err := checkName("the reviewer's name", who); err != nil {
		return &refusal{ErrRefused, fmt.Sprintf("registry: %s: %v", call, err)}
	}
	if err := checkText("comment", comment); err != nil {
		return fmt.Errorf("registry: %s: %w", call, err)
	}
	return r.write(ctx, call, func(t *tx) error {
		v, err := t.version(model, number)
		if err != nil {
			return err
		}
		return do(t, &v)
	})
}

func (t *tx) reviewed(v *Version, to State, who, comment string, from ...State) error {
	if err := t.move(v.Model, v.Number, to, who, comment, from...); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE versions SET reviewer = ?, comment = ?, reviewed = ? WHERE model = ? AND number = ?`, who, comment, t.now, v.Model, v.Number)
	return err
}

// stale supersedes a version whose champion has changed since it was judged, and
// has the call return ErrRefused once that is committed.
func (t *tx) stale(v *Version) (bool, error) {
	champion, err := t.champion(v.Model)
	if err != nil || champion == v.Baseline {
		return false, err
	}
	why := moved(v.Baseline, champion)
	t.after = t.refuse(ErrRefused, "%s; it is superseded, and the next candidate is judged against the new champion", why)
	return true, t.move(v.Model, v.Number, Superseded, deployer, why, v.State)
}

// named is a version in a sentence.
func named(version int) string {
	if version == BaseRateVersion {
		return "the base rate"
	}
	return fmt.Sprintf("version %d", version)
}

func moved(baseline, champion int) string {
	return fmt.Sprintf("it was judged against %s, and now %s serves", named(baseline), named(champion))
}
