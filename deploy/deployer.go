package deploy

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// pollEvery is how often Run looks for approvals and answers.
const pollEvery = 500 * time.Millisecond

// NoReview is who approves where a model's review is none.
const NoReview = "review: none"

// A Model is what the deployer needs to know of one.
type Model struct {
	Name    string
	Task    learn.Task
	Set     string        // bundle.SetID of its inputs: what the server's vectors hold
	Horizon time.Duration // of its label
	Review  bool          // a person approves
	Steps   Steps         // with defaults
}

// A Config is what a Deployer needs. All fields are required.
type Config struct {
	Project  string
	Models   []Model
	Cluster  *streams.Cluster
	Registry *registry.Registry
	Bundles  string // the directory that holds them
	Trusted  []ed25519.PublicKey
	Log      *slog.Logger
}

// A Deployer brings approved versions into service. It keeps nothing but memory:
// the registry says in which phase a rollout is and where in the topics it began,
// so that one that was killed goes on where it was. Two deployers do no harm:
// each step is taken once.
type Deployer struct {
	cfg     Config
	follows map[string]*follow // by model, of the rollout that has not ended

	mu      sync.Mutex
	trouble error // why it is not at work; nil: it is
}

// New returns a deployer.
func New(cfg Config) *Deployer { return &Deployer{cfg: cfg, follows: map[string]*follow{}} }

// Run works until ctx ends. What fails is tried again.
func (d *Deployer) Run(ctx context.Context) error {
	defer d.Close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := d.Step(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("deployment waits; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Step does all that is due with what is in the registry and the topics now.
func (d *Deployer) Step(ctx context.Context) error {
	var errs []error
	for i := range d.cfg.Models {
		m := &d.cfg.Models[i]
		if err := d.model(ctx, m); err != nil && !errors.Is(err, registry.ErrConflict) { // somebody else was first: see again next time
			errs = append(errs, fmt.Errorf("model %s: %w", m.Name, err))
		}
	}
	err := errors.Join(errs...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble = err
	return err
}

// Problems says why the deployer is not at work, one line, and nothing when it
// is.
func (d *Deployer) Problems() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trouble == nil {
		return nil
	}
	return []string{fmt.Sprintf("deployment waits: %v", d.trouble)}
}

// Close ends what is being read. Run does so by itself.
func (d *Deployer) Close() {
	for name := range d.follows {
		d.drop(name)
	}
}

// drop forgets what was followed for a rollout.
func (d *Deployer) drop(model string) {
	if f := d.follows[model]; f != nil {
		f.close()
		delete(d.follows, model)
	}
}

// model takes the steps that are due for one model.
func (d *Deployer) model(ctx context.Context, m *Model) error {
	ro, who, why, asked, err := d.cfg.Registry.RollbackRequested(ctx, m.Name)
	if err != nil {
		return err
	}
	if asked {
		d.drop(m.Name)
		d.cfg.Log.Warn("a version is taken back because somebody asked for it", "model", m.Name, "version", ro.Version, "who", who, "why", why)
		return d.cfg.Registry.Undo(ctx, ro.ID, who+": "+why, ro.Report)
	}
	for {
		ro, open, err := d.cfg.Registry.Rollout(ctx, m.Name)
		if err != nil {
			return err
		}
		if !open {
			d.drop(m.Name)
			begun, err := d.begin(ctx, m)
			if err != nil || !begun {
				return err
			}
			continue
		}
		on, err := d.advance(ctx, m, &ro)
		if err != nil || !on {
			return err
		}
	}
}

// begin takes up the next approved version: it verifies the bundle and has the
// server load it beside the champion.
func (d *Deployer) begin(ctx context.Context, m *Model) (bool, error) {
	if !m.Review {
		if err := d.approve(ctx, m); err != nil {
			return false, err
		}
	}
	v, ok, err := d.cfg.Registry.Approved(ctx, m.Name)
	if err != nil || !ok {
		return false, err
	}
	if _, err := d.open(m, v.Bundle); err != nil {
		d.cfg.Log.Error("an approved version cannot be loaded; the champion stays", "model", m.Name, "version", v.Number, "error", err)
		return true, d.cfg.Registry.Break(ctx, m.Name, v.Number, err.Error())
	}
	marks, err := d.marks(ctx, feedback.Topic(d.cfg.Project))
	if err != nil {
		return false, err
	}
	if _, err := d.cfg.Registry.Begin(ctx, m.Name, v.Number, marks); errors.Is(err, registry.ErrRefused) {
		d.cfg.Log.Warn("an approved version is superseded", "model", m.Name, "version", v.Number, "why", err)
		return true, nil
	} else if err != nil {
		return false, err
	}
	d.cfg.Log.Info("a version is in shadow beside the champion", "model", m.Name, "version", v.Number, "predictions", m.Steps.Shadow)
	return true, nil
}

// approve approves what the gate promotes, where nobody reviews.
func (d *Deployer) approve(ctx context.Context, m *Model) error {
	waiting, err := d.cfg.Registry.VersionsIn(ctx, m.Name, registry.Review)
	if err != nil {
		return err
	}
	for _, v := range waiting {
		err := d.cfg.Registry.Approve(ctx, m.Name, v.Number, NoReview, "the project asks for no review")
		if err != nil && !errors.Is(err, registry.ErrRefused) && !errors.Is(err, registry.ErrConflict) {
			return err
		}
	}
	return nil
}

// open loads a bundle with all its checks, and sees that it is for the vectors
// that the server makes now.
func (d *Deployer) open(m *Model, id string) (*bundle.Bundle, error) {
	b, err := bundle.Open(d.cfg.Bundles, id, d.cfg.Trusted)
	if err == nil && b.Manifest().Set != m.Set {
		err = fmt.Errorf("bundle %s is for the features %s, and the project now defines %s; train again", id, b.Manifest().Set, m.Set)
	}
	if err != nil {
		return nil, &brokenError{err}
	}
	return b, nil
}

// A brokenError is about a bundle, and not about what is around it.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// marks are the ends of a topic's partitions now.
func (d *Deployer) marks(ctx context.Context, topic string) (json.RawMessage, error) {
	n, err := d.cfg.Cluster.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends := make([]int64, n)
	for i := range ends {
		if _, ends[i], err = d.cfg.Cluster.Bounds(ctx, topic, i); err != nil {
			return nil, err
		}
	}
	return json.Marshal(ends)
}

// advance reads what has come for an open rollout and takes its next step. It
// returns true when a step was taken.
func (d *Deployer) advance(ctx context.Context, m *Model, ro *registry.Rollout) (bool, error) {
	f := d.follows[m.Name]
	if f == nil || f.rollout != ro.ID || f.phase != ro.Phase {
		d.drop(m.Name)
		var err error
		var broken *brokenError
		if f, err = d.follow(ctx, m, ro); errors.As(err, &broken) {
			d.cfg.Log.Error("a version in shadow cannot be loaded any more; the champion stays", "model", m.Name, "version", ro.Version, "error", err)
			return true, d.cfg.Registry.Break(ctx, m.Name, ro.Version, err.Error())
		} else if err != nil {
			return false, err
		}
		d.follows[m.Name] = f
	}
	if ro.Phase == registry.InShadow {
		return d.shadow(ctx, m, ro, f)
	}
	return d.watch(ctx, m, ro, f)
}

// shadow counts what the version has scored beside the champion, and switches
// when it is enough.
func (d *Deployer) shadow(ctx context.Context, m *Model, ro *registry.Rollout, f *follow) (bool, error) {
	fault, err := f.readShadow(ctx)
	if err != nil {
		return false, err
	}
	if fault != "" {
		d.cfg.Log.Error("a version does not score in the server as it must; the champion stays", "model", m.Name, "version", ro.Version, "why", fault)
		return true, d.cfg.Registry.Break(ctx, m.Name, ro.Version, fault)
	}
	if f.seen < m.Steps.Shadow {
		return false, nil
	}
	marks, err := d.marks(ctx, feedback.ExamplesTopic(d.cfg.Project))
	if err != nil {
		return false, err
	}
	if err := d.cfg.Registry.Switch(ctx, ro.ID, marks); err != nil {
		return false, err
	}
	d.cfg.Log.Info("a version is the champion, and is watched", "model", m.Name, "version", ro.Version, "before", ro.Previous, "answers", m.Steps.Watch)
	return true, nil
}

// watch compares the new champion with the one before on delayed labels.
func (d *Deployer) watch(ctx context.Context, m *Model, ro *registry.Rollout, f *follow) (bool, error) {
	if err := f.readWatch(ctx); err != nil {
		return false, err
	}
	worse, lo, blocks, rows := f.watch.Verdict()
	report, err := json.Marshal(watched{Answers: rows, Blocks: blocks, Lower: numberOf(lo)})
	if err != nil {
		return false, err
	}
	switch {
	case worse:
		why := fmt.Sprintf("its loss is worse than that of version %d by at least %.4g, and %.4g is put up with, after %d answers", ro.Previous, lo, m.Steps.WorseBy, rows)
		d.cfg.Log.Warn("a version is rolled back", "model", m.Name, "version", ro.Version, "why", why)
		return true, d.cfg.Registry.Undo(ctx, ro.ID, why, report)
	case rows >= m.Steps.Watch:
		d.cfg.Log.Info("a rollout is done", "model", m.Name, "version", ro.Version, "answers", rows)
		return true, d.cfg.Registry.Finish(ctx, ro.ID, report)
	}
	return false, nil
}

// A watched report is what a rollout has seen.
type watched struct {
	Answers int      `json:"answers"`
	Blocks  int      `json:"blocks"`
	Lower   *float64 `json:"worse_by_at_least"` // null: not known yet
}
