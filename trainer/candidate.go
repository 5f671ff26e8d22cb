package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features/profile"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/dataset"
)

// train makes a candidate of what the book holds: it validates the data set,
// fits, writes the bundle and notes the run.
func (l *Loop) train(ctx context.Context, b *book) error {
	began := time.Now()
	rows, ranges := b.training()
	s, err := specOf(b.model, feedback.ExamplesTopic(l.cfg.Project), l.cfg.Code, ranges, b.known)
	if err != nil {
		return err
	}
	run := registry.Run{Model: b.model.Name, Began: began}
	if run.Spec, err = json.Marshal(s); err != nil {
		return err
	}
	summary := summarise(b.model, rows)
	anomalies, err := l.validate(ctx, b.model, summary)
	if err != nil {
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
	} else if version, err = l.build(&run, b.model, s, rows, summary); err != nil {
		return err
	}
	run.Ended = time.Now()
	return l.note(ctx, run, version, len(rows))
}

// build fits and writes the bundle. What the data make impossible is a failed
// run and no error: the next examples may make it possible.
func (l *Loop) build(run *registry.Run, m *Model, s *spec, rows []row, summary *dataset.Summary) (*registry.Version, error) {
	contents, report, err := fit(l.cfg.Project, m, s, rows, summary)
	if err != nil {
		run.Status, run.Error = registry.Failed, err.Error()
		return nil, nil
	}
	if run.Report, err = json.Marshal(report); err != nil {
		return nil, err
	}
	if run.Bundle, err = bundle.Write(l.cfg.Bundles, contents, l.cfg.Sign); err != nil {
		return nil, err
	}
	run.Status = registry.Trained
	return &registry.Version{
		Model: m.Name, Bundle: run.Bundle, Author: Author, Cutoff: contents.Manifest.Data.Cutoff, Baseline: -1,
	}, nil
}

func (l *Loop) note(ctx context.Context, run registry.Run, version *registry.Version, rows int) error {
	run, err := l.cfg.Registry.AddRun(ctx, run, version)
	if errors.Is(err, registry.ErrConflict) {
		return nil // another trainer was first, with the same bytes
	}
	if err != nil {
		return err
	}
	log := l.cfg.Log.With("model", run.Model, "run", run.ID, "examples", rows)
	switch run.Status {
	case registry.Trained:
		log.Info("a candidate is trained and waits for rows to be judged on", "version", run.Version)
	case registry.Stopped:
		log.Warn("the data set stopped a candidate; millrace runs show says what is wrong", "why", run.Error)
	default:
		log.Warn("a training failed", "error", run.Error)
	}
	return nil
}

// summarise is the statistics of a training set.
func summarise(m *Model, rows []row) *dataset.Summary {
	columns := make([]profile.Column, len(m.Inputs))
	for i, in := range m.Inputs {
		columns[i] = profile.Column{Name: in.Name, Kind: in.Kind}
	}
	return dataset.Summarise(columns, labelled(rows))
}

// validate compares the training set with the schema, which is inferred from the
// first one, and with that of the champion.
func (l *Loop) validate(ctx context.Context, m *Model, now *dataset.Summary) ([]dataset.Anomaly, error) {
	file := l.cfg.SchemaFile(m.Name)
	schema, err := dataset.LoadSchema(file)
	if errors.Is(err, fs.ErrNotExist) {
		schema = dataset.Infer(now)
		if err = schema.Save(file); err == nil {
			l.cfg.Log.Info("the schema of a model's data set is inferred; edit it where it should say otherwise", "model", m.Name, "file", file)
		}
	}
	if err != nil {
		return nil, err
	}
	accepted, err := l.accepted(ctx, m)
	if err != nil {
		return nil, err
	}
	return dataset.Validate(schema, now, accepted), nil
}

// accepted is the profile of the last training set that passed: that of the
// newest version.
func (l *Loop) accepted(ctx context.Context, m *Model) (*profile.Profile, error) {
	versions, err := l.cfg.Registry.Versions(ctx, m.Name)
	if err != nil || len(versions) == 0 {
		return nil, err
	}
	b, err := l.open(versions[0].Bundle)
	if err != nil {
		l.cfg.Log.Warn("the last accepted data set is unknown; the new one is compared with the schema alone", "model", m.Name, "error", err)
		return nil, nil
	}
	if b.Manifest().Set != bundle.SetID(m.Inputs) {
		return nil, nil
	}
	var p profile.Profile
	if err := json.Unmarshal(b.File(profileFile), &p); err != nil {
		return nil, fmt.Errorf("bundle %s: %s: %w", b.ID(), profileFile, err)
	}
	return &p, nil
}

// open returns a verified bundle.
func (l *Loop) open(id string) (*bundle.Bundle, error) {
	if b := l.loaded[id]; b != nil {
		return b, nil
	}
	b, err := bundle.Open(l.cfg.Bundles, id, l.cfg.Trusted)
	if err != nil {
		return nil, err
	}
	if len(l.loaded) >= maxLoaded {
		clear(l.loaded)
	}
	l.loaded[id] = b
	return b, nil
}

// maxLoaded bounds the bundles in memory: a champion and a candidate a model are
// in use at a time.
const maxLoaded = 16

// firstError is the first anomaly that stops, as one line.
func firstError(anomalies []dataset.Anomaly) string {
	for _, a := range anomalies {
		if a.Level == dataset.Error {
			return a.String()
		}
	}
	return ""
}
