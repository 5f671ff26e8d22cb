package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features/profile"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/dataset"
)

// candidates takes in the rows that are ready, and makes the candidates that are
// due on the way. After an error it goes on where it was.
func (l *Loop) candidates(ctx context.Context, b *book) error {
	for {
		if len(b.due()) > 0 {
			// Another trainer may have been here.
			if err := l.past(ctx, b); err != nil {
				return err
			}
		}
		if due := b.due(); len(due) > 0 {
			if err := l.train(ctx, b, due); err != nil {
				return err
			}
			b.hold = min(b.hold, b.known)
			if err := l.past(ctx, b); err != nil {
				return err
			}
		}
		if !b.take() {
			return nil
		}
	}
}

// asked reads from when a candidate is asked for.
func (l *Loop) asked(ctx context.Context, b *book) error {
	at, ok, err := l.cfg.Registry.Asked(ctx, b.model.Name)
	if ok {
		b.asked = at
	}
	return err
}

// past reads what was run before.
func (l *Loop) past(ctx context.Context, b *book) error {
	all, err := l.cfg.Registry.Runs(ctx, b.model.Name)
	if err != nil {
		return err
	}
	runs, err := pastRuns(all)
	if err != nil {
		return err
	}
	b.after(runs)
	return nil
}

// train makes candidates of what the book holds: it validates the data set, and
// for each learner fits, writes the bundle and notes the run.
func (l *Loop) train(ctx context.Context, b *book, learners []*Learner) error {
	rows := b.newest()
	summary := summarise(b.model, rows)
	anomalies, err := l.validate(b, summary)
	if err != nil {
		return err
	}
	var errs []error // what keeps one learner from its work keeps no other
	for _, learner := range learners {
		errs = append(errs, l.trainOne(ctx, b, learner, rows, summary, anomalies))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (l *Loop) trainOne(ctx context.Context, b *book, learner *Learner, rows []*row, summary *dataset.Summary, anomalies []dataset.Anomaly) error {
	s, err := specOf(&l.cfg, b.model, learner, rangesOf(rows, len(b.passed)), b.known)
	if err != nil {
		return err
	}
	run := registry.Run{Model: b.model.Name, Began: time.Now()}
	if run.Spec, err = json.Marshal(s); err != nil {
		return err
	}
	if len(anomalies) > 0 {
		if run.Anomalies, err = json.Marshal(anomalies); err != nil {
			return err
		}
	}
	var version *registry.Version
	if dataset.Stops(anomalies) {
		run.Status, run.Error = registry.Stopped, firstError(anomalies)
	} else if version, err = l.build(ctx, &run, b.model, learner, s, rows, summary); err != nil {
		return err
	}
	run.Ended = time.Now()
	return l.note(ctx, run, version, learner.Name(), len(rows))
}

// build fits and writes the bundle. What the data make impossible is a failed
// run and no error: the next examples may make it possible.
func (l *Loop) build(ctx context.Context, run *registry.Run, m *Model, learner *Learner, s *spec, rows []*row, summary *dataset.Summary) (*registry.Version, error) {
	contents, report, err := fit(ctx, &l.cfg, m, learner, s, rows, summary)
	if err == nil {
		run.Report, err = json.Marshal(report)
	}
	if err == nil {
		run.Bundle, err = bundle.Write(l.cfg.Bundles, contents, l.cfg.Sign)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case aboutFiles(err):
		return nil, err
	case err != nil:
		run.Status, run.Error = registry.Failed, err.Error()
		return nil, nil
	}
	run.Status = registry.Trained
	return &registry.Version{Author: Author, Cutoff: contents.Manifest.Data.Cutoff}, nil
}

// aboutFiles reports whether an error is about the disk or the system, and not
// about what was to be written there or was read from it.
func aboutFiles(err error) bool {
	return errors.Is(err, bundle.ErrInTheWay) || errors.As(err, new(*fs.PathError)) && !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*os.LinkError)) || errors.As(err, new(*os.SyscallError))
}

func (l *Loop) note(ctx context.Context, run registry.Run, version *registry.Version, learner string, rows int) error {
	run, err := l.cfg.Registry.AddRun(ctx, run, version)
	if errors.Is(err, registry.ErrConflict) {
		return nil // another trainer was first, with the same bytes
	}
	if err != nil {
		return err
	}
	log := l.cfg.Log.With("model", run.Model, "learner", learner, "run", run.ID, "examples", rows)
	switch run.Status {
	case registry.Trained:
		log.Info("a candidate is trained and waits for rows to be judged on", "version", run.Version)
	case registry.Stopped:
		log.Warn("the data set stopped a candidate; see millrace runs show, and edit the schema where it should allow this", "why", run.Error, "schema", l.cfg.SchemaFile(run.Model))
	default:
		log.Warn("a training failed", "error", run.Error)
	}
	return nil
}

// summarise is the statistics of a training set.
func summarise(m *Model, rows []*row) *dataset.Summary {
	columns := make([]profile.Column, len(m.Inputs))
	for i, in := range m.Inputs {
		columns[i] = profile.Column{Name: in.Name, Kind: in.Kind}
	}
	return dataset.Summarise(columns, labelled(rows))
}

// validate compares a training set with the schema and with the last one that
// made a candidate.
func (l *Loop) validate(b *book, now *dataset.Summary) ([]dataset.Anomaly, error) {
	schema, err := l.schema(b.model.Name, now)
	if err != nil {
		return nil, err
	}
	accepted, err := l.accepted(b)
	if err != nil {
		return nil, err
	}
	return dataset.Validate(schema, now, accepted), nil
}

// schema is what people expect of a model's training sets. It is inferred from
// the first one, whatever that is like: people can only allow in it what stops a
// candidate once it is there.
func (l *Loop) schema(model string, first *dataset.Summary) (*dataset.Schema, error) {
	file := l.cfg.SchemaFile(model)
	schema, err := dataset.LoadSchema(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return schema, err
	}
	err = dataset.Infer(first).Save(file)
	if err == nil {
		l.cfg.Log.Info("the schema of a model's training sets is inferred; edit it where it should say otherwise", "model", model, "schema", file)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // else another trainer was first
		return nil, err
	}
	return dataset.LoadSchema(file)
}

// accepted is the profile of the last training set that made a candidate; nil:
// there is none of these features.
func (l *Loop) accepted(b *book) (*profile.Profile, error) {
	for _, run := range b.runs {
		if run.bundle == "" || run.known == b.known { // another learner's of this same set is no last one
			continue
		}
		last, err := l.open(run.bundle)
		if errors.Is(err, bundle.ErrUntrusted) {
			return nil, err // else a trainer that trusts the key would decide otherwise
		}
		if err != nil {
			l.cfg.Log.Warn("the last training set is unknown; the new one is compared with the schema alone", "model", b.model.Name, "error", err)
			return nil, nil
		}
		if last.Manifest().Set != b.set {
			return nil, nil
		}
		p, err := profile.Parse(last.File(profileFile))
		if err != nil {
			return nil, fmt.Errorf("bundle %s: %s: %w", last.ID(), profileFile, err)
		}
		return p, nil
	}
	return nil, nil
}

// maxLoaded bounds the bundles in memory: a champion a model, and the one that was
// trained last, are in use at a time.
const maxLoaded = 16

// open returns a verified bundle, which it keeps.
func (l *Loop) open(id string) (*bundle.Bundle, error) {
	if b := l.loaded[id]; b != nil {
		return b, nil
	}
	keys, err := l.cfg.Trusted()
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(l.cfg.Bundles, id, keys)
	if err != nil {
		return nil, err
	}
	if len(l.loaded) >= maxLoaded {
		clear(l.loaded)
	}
	l.loaded[id] = b
	return b, nil
}

// firstError is the first anomaly that stops, as one line.
func firstError(anomalies []dataset.Anomaly) string {
	for _, a := range anomalies {
		if a.Level == dataset.Error {
			return a.String()
		}
	}
	return ""
}
