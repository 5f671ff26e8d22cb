package deploy

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/trainer/learn"
)

const (
	// pollEvery is how often Run looks for approvals and answers.
	pollEvery = 500 * time.Millisecond

	// tellEvery is how often at most the registry is told what an open rollout has
	// seen so far: each time is a write that waits for the disk.
	tellEvery = time.Second
)

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
	Bundles  string                              // the directory that holds them
	Trusted  func() ([]ed25519.PublicKey, error) // asked before each bundle is opened, for keys come and go
	Log      *slog.Logger
}

// A Deployer brings approved versions into service. It keeps nothing but memory:
// the registry says in which phase a rollout is and where in the topics it began,
// so that one that was killed goes on where it was, and comes to the same end.
// Two deployers do no harm: each step is taken once. Step and Close belong to one
// goroutine.
type Deployer struct {
	cfg      Config
	readings map[string]*reading // by model, of the rollout that has not ended
	now      func() time.Time    // the wall clock; tests set it

	mu      sync.Mutex
	trouble error // why it is not at work; nil: it is
}

// New returns a deployer.
func New(cfg Config) *Deployer {
	return &Deployer{cfg: cfg, readings: map[string]*reading{}, now: time.Now}
}

// Run works until ctx ends. What fails is tried again.
func (d *Deployer) Run(ctx context.Context) error {
	defer d.Close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := ""
	for {
		text := ""
		if err := d.Step(ctx); err != nil {
			text = err.Error()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case text != "" && text != last: // and not twice a second for as long as it lasts
			d.cfg.Log.Warn("deployment waits; trying again", "error", text)
		case text == "" && last != "":
			d.cfg.Log.Info("deployment goes on")
		}
		last = text
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Step does what is due with what is in the registry and the topics now. Where
// very much has come since the last one, it leaves some to the next.
func (d *Deployer) Step(ctx context.Context) error {
	var errs []error
	note := func(m *Model, err error) {
		if err != nil && !errors.Is(err, registry.ErrConflict) { // somebody else was first: see again next time
			errs = append(errs, fmt.Errorf("model %s: %w", m.Name, err))
		}
	}
	var due []*Model // most of the time none
	for i := range d.cfg.Models {
		m := &d.cfg.Models[i]
		some, err := d.cfg.Registry.Due(ctx, m.Name, !m.Review)
		note(m, err)
		if some {
			due = append(due, m)
		} else if err == nil {
			d.drop(m.Name)
		}
	}
	for _, m := range due { // first: it needs no Kafka, which may be away
		note(m, d.takeBack(ctx, m))
	}
	for _, m := range due {
		note(m, d.work(ctx, m))
	}
	err := errors.Join(errs...)
	if ctx.Err() != nil {
		return err // that it was cut short says nothing of the work
	}
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
	for name := range d.readings {
		d.drop(name)
	}
}

// drop forgets what was read for a model's rollout.
func (d *Deployer) drop(model string) {
	if r := d.readings[model]; r != nil {
		r.close()
		delete(d.readings, model)
	}
}

// takeBack undoes the rollout that a person has asked to undo, in whatever phase
// it is.
func (d *Deployer) takeBack(ctx context.Context, m *Model) error {
	ro, who, why, asked, err := d.cfg.Registry.RollbackRequested(ctx, m.Name)
	if err != nil || !asked {
		return err
	}
	if err := d.cfg.Registry.Undo(ctx, ro.ID, who+": "+why, ro.Report); err != nil {
		return err
	}
	d.cfg.Log.Warn("a version was taken back because somebody asked for it", "model", m.Name, "version", ro.Version, "who", who, "why", why)
	return nil
}

// work takes the steps that are due for one model.
func (d *Deployer) work(ctx context.Context, m *Model) error {
	for {
		ro, open, err := d.cfg.Registry.Rollout(ctx, m.Name)
		if err != nil {
			return err
		}
		taken := false
		if open {
			taken, err = d.advance(ctx, m, &ro)
		} else {
			d.drop(m.Name)
			taken, err = d.begin(ctx, m)
		}
		if err != nil || !taken {
			return err
		}
	}
}

// begin takes up the next approved version: it verifies the bundle and has the
// server load it beside the champion. It returns true when a step was taken.
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
	var broken *brokenError
	if _, err := d.open(m, v.Bundle); errors.As(err, &broken) {
		return d.breakUp(ctx, m, v.Number, err.Error())
	} else if err != nil {
		return false, err
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

// breakUp gives up a version whose bundle is no good. It returns true, a step
// was taken, unless that fails.
func (d *Deployer) breakUp(ctx context.Context, m *Model, version int, why string) (bool, error) {
	if err := d.cfg.Registry.Break(ctx, m.Name, version, why); err != nil {
		return false, err
	}
	d.cfg.Log.Error("a version is broken, and does not serve", "model", m.Name, "version", version, "why", why)
	return true, nil
}

// advance reads what has come for an open rollout and takes its next step. It
// returns true when a step was taken.
func (d *Deployer) advance(ctx context.Context, m *Model, ro *registry.Rollout) (bool, error) {
	r := d.readings[m.Name]
	if r == nil || r.rollout != ro.ID || r.phase != ro.Phase {
		d.drop(m.Name)
		var err error
		if r, err = d.read(ctx, m, ro); err != nil {
			return d.unlessBroken(ctx, m, ro, err)
		}
		d.readings[m.Name] = r
	}
	err := r.take(ctx)
	var lost *streams.OutOfRange
	if errors.As(err, &lost) {
		d.cfg.Log.Warn("the log has lost records of a rollout, or what they were counted by; all that is there is counted anew", "model", m.Name, "version", ro.Version, "phase", ro.Phase, "error", err)
		r.begin(nil)
		err = nil
	}
	if err != nil {
		return false, err
	}
	if err := d.tell(ctx, r); err != nil {
		return false, err
	}
	if ro.Phase == registry.InShadow {
		return d.shadowed(ctx, m, ro, r.trial)
	}
	return d.watched(ctx, m, ro, r)
}

// unlessBroken gives up a version in shadow where the error is about its bundle.
// Any other is returned.
func (d *Deployer) unlessBroken(ctx context.Context, m *Model, ro *registry.Rollout, err error) (bool, error) {
	var broken *brokenError
	if errors.As(err, &broken) {
		return d.breakUp(ctx, m, ro.Version, err.Error())
	}
	return false, err
}

// tell keeps what a rollout has seen so far, for people to look at.
func (d *Deployer) tell(ctx context.Context, r *reading) error {
	now := d.now()
	if now.Sub(r.told) < tellEvery {
		return nil
	}
	report := r.report()
	if string(report) == r.last {
		return nil
	}
	if err := d.cfg.Registry.Observe(ctx, r.rollout, report); err != nil {
		return err
	}
	r.told, r.last = now, string(report)
	return nil
}

// shadowed ends the phase shadow when the version has scored enough beside the
// champion: it becomes the champion. Its bundle is opened once more: a server
// that starts later has to find it.
func (d *Deployer) shadowed(ctx context.Context, m *Model, ro *registry.Rollout, t *trial) (bool, error) {
	if t.fault != "" {
		return d.breakUp(ctx, m, ro.Version, t.fault)
	}
	if !t.enough() {
		return false, nil
	}
	if _, err := d.open(m, t.bundle.ID()); err != nil {
		return d.unlessBroken(ctx, m, ro, err)
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

// watched ends the phase watch: the version stays, or it is rolled back. It stays
// as well where nothing can be compared any more: while a rollout is open, no
// other begins.
func (d *Deployer) watched(ctx context.Context, m *Model, ro *registry.Rollout, r *reading) (bool, error) {
	w := r.watch
	worse, over := w.verdict()
	if worse == "" && !over && !r.compared {
		why, err := d.incomparable(ctx, m, ro)
		if err != nil {
			return false, err // the watch goes on all the same
		}
		r.compared, w.ended = why == "", why
		_, over = w.verdict()
	}
	log := d.cfg.Log.With("model", m.Name, "version", ro.Version)
	switch {
	case worse != "":
		if err := d.cfg.Registry.Undo(ctx, ro.ID, worse, w.report()); err != nil {
			return false, err
		}
		log.Warn("a version was rolled back", "why", worse)
	case over:
		if err := d.cfg.Registry.Finish(ctx, ro.ID, w.report()); err != nil {
			return false, err
		}
		if w.ended != "" {
			log.Warn("a rollout ends before its time; the version stays", "why", w.ended)
		} else {
			log.Info("a rollout is done")
		}
	}
	return worse != "" || over, nil
}
