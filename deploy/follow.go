package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

// A follow is what the deployer has read for one phase of a rollout. It begins
// at the phase's marks, so that it can be made again at any time.
type follow struct {
	model   *Model
	rollout int64
	phase   registry.Phase
	version int
	before  int

	// In shadow.
	predictions *pipeline.FeedbackReader
	bundle      *bundle.Bundle
	seen        int

	// While watched.
	examples *pipeline.ExampleReader
	watch    *eval.Watch
	passed   []int64  // by partition: all that is decided up to this time has been read
	waiting  []answer // decided later than that
	last     int64    // the time of the newest answer that the watch has
}

// An answer is one row that both versions have scored.
type answer struct {
	known int64
	time  int64
	id    string
	diff  float64 // the new version's loss less the one before's
}

func (d *Deployer) follow(ctx context.Context, m *Model, ro *registry.Rollout) (*follow, error) {
	var marks []int64
	if err := json.Unmarshal(ro.Marks, &marks); err != nil {
		return nil, fmt.Errorf("rollout %d: marks %s: %w", ro.ID, ro.Marks, err)
	}
	f := &follow{model: m, rollout: ro.ID, phase: ro.Phase, version: ro.Version, before: ro.Previous}
	if ro.Phase == registry.InShadow {
		v, err := d.cfg.Registry.Version(ctx, m.Name, ro.Version)
		if err != nil {
			return nil, err
		}
		if f.bundle, err = d.open(m, v.Bundle); err != nil {
			return nil, err
		}
		f.predictions = pipeline.NewFeedbackReader(d.cfg.Cluster, d.cfg.Project, marks)
		return f, nil
	}
	f.examples = pipeline.NewExampleReader(d.cfg.Cluster, d.cfg.Project, marks)
	f.watch = eval.NewWatch(eval.WatchConfig{Confidence: m.Steps.Confidence, WorseBy: m.Steps.WorseBy, Horizon: m.Horizon})
	f.passed, f.last = make([]int64, len(marks)), math.MinInt64
	for i := range f.passed {
		f.passed[i] = math.MinInt64
	}
	return f, nil
}

func (f *follow) close() {
	if f.predictions != nil {
		f.predictions.Close()
	}
	if f.examples != nil {
		f.examples.Close()
	}
}

// readShadow counts the predictions that the version has scored in the server.
// It returns what is wrong when the server's score is not the bundle's.
func (f *follow) readShadow(ctx context.Context) (fault string, err error) {
	for f.seen < f.model.Steps.Shadow {
		batch, err := f.predictions.Poll(ctx)
		if err != nil || len(batch) == 0 {
			return "", err
		}
		for i := range batch {
			p := batch[i].Record.Prediction
			if p == nil || p.Model != f.model.Name || p.Shadow == nil || p.Shadow.Version != f.version {
				continue
			}
			want, err := f.bundle.Score(p.Vector)
			if err != nil || p.Shadow.Bundle != f.bundle.ID() || want != p.Shadow.Value {
				return fmt.Sprintf("prediction %s: the server scored %v with bundle %.12s, and the bundle scores %v (error %v)", p.ID, p.Shadow.Value, p.Shadow.Bundle, want, err), nil
			}
			f.seen++
		}
	}
	return "", nil
}

// readWatch gives the watch what has been answered, in the order in which the
// labels became known. Partitions are read one after another, so what is known
// later than what all of them have passed has to wait.
func (f *follow) readWatch(ctx context.Context) error {
	for {
		batch, err := f.examples.Poll(ctx)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return f.feed()
		}
		for i := range batch {
			f.take(&batch[i].Example, batch[i].Partition)
		}
	}
}

func (f *follow) take(e *feedback.Example, partition int) {
	p := &e.Prediction
	switch {
	case e.Kind == feedback.Passed:
		f.passed[partition] = max(f.passed[partition], e.Known)
	case e.Kind == feedback.Labelled && !e.Correction && p.Model == f.model.Name && p.Score.Version == f.version && p.Shadow != nil && p.Shadow.Version == f.before:
		task := string(f.model.Task)
		diff := eval.RowLoss(task, e.Label, p.Score.Value) - eval.RowLoss(task, e.Label, p.Shadow.Value)
		f.waiting = append(f.waiting, answer{e.Known, p.Time, p.ID, diff})
	}
}

func (f *follow) feed() error {
	until := slices.Min(f.passed)
	slices.SortFunc(f.waiting, func(a, b answer) int {
		return cmp.Or(cmp.Compare(a.known, b.known), cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id))
	})
	n := 0
	for ; n < len(f.waiting) && f.waiting[n].known <= until; n++ {
		f.last = max(f.last, f.waiting[n].known)
		if err := f.watch.Add(f.last, f.waiting[n].diff); err != nil {
			return err
		}
	}
	f.waiting = slices.Delete(f.waiting, 0, n)
	return nil
}

// numberOf is x for JSON, which has no infinity.
func numberOf(x float64) *float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return nil
	}
	return &x
}
