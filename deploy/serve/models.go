package serve

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

const (
	// pollEvery is how often the registry is asked what is to be served. It is
	// one read of one row, and a switch is seen within it.
	pollEvery = 200 * time.Millisecond

	// reloadPause is how long after a failure a bundle is tried again while
	// nothing has changed: loading reads and checks all of it.
	reloadPause = 5 * time.Second
)

// A ModelConfig says what a model is to a server.
type ModelConfig struct {
	Name    string
	Task    learn.Task
	Inputs  []bundle.Input   // what it sees, as view.feature, in the order of vectors
	Entity  []features.Field // whom it is about: the entity fields of its views
	Labeler *feedback.Labeler
}

// A Registry says which versions of a model serve, and which bundles they are.
type Registry interface {
	Serving(ctx context.Context, model string) (registry.Serving, error)
	Version(ctx context.Context, model string, number int) (registry.Version, error)
}

// Models are the models of a server, with what is loaded of each. Loading goes
// on beside the requests: each takes what is loaded as it begins and keeps it
// to its end.
type Models struct {
	registry Registry
	dir      string
	trusted  func() ([]ed25519.PublicKey, error)
	log      *slog.Logger
	models   []*model // by name

	refresh sync.Mutex // held to load
}

// A model is one of Models.
type model struct {
	ModelConfig
	set    string
	loaded atomic.Pointer[loaded]

	// By Models.refresh:
	want  registry.Serving // when it was tried last
	tried time.Time        // when that was; zero: never

	problem        atomic.Pointer[string] // why what is wanted is not loaded; nil: it is
	swaps          atomic.Int64           // of the champion
	shadowFailures atomic.Int64           // vectors that it had no score for
}

// loaded is what answers requests, and is never changed.
type loaded struct {
	revision int64 // of the registry
	champion side
	shadow   *side // nil: none
	base     registry.BaseRate
	since    time.Time // zero: nothing was ever loaded
	degraded string    // why the base rate answers where it should not; empty: it should
}

// A side is one version.
type side struct {
	version int
	bundle  *bundle.Bundle // nil: the base rate
}

// NewModels returns the models, of which nothing is loaded before the first
// Refresh. Bundles are read from dir and must be signed by a trusted key; which
// these are is asked before each is opened, for keys come and go.
func NewModels(r Registry, dir string, trusted func() ([]ed25519.PublicKey, error), configs []ModelConfig, log *slog.Logger) (*Models, error) {
	m := &Models{registry: r, dir: dir, trusted: trusted, log: log}
	for _, c := range configs {
		if c.Labeler == nil || c.Task != learn.Binary && c.Task != learn.Regression {
			return nil, fmt.Errorf("serve: model %q has no Labeler, or its task %q is neither binary nor regression", c.Name, c.Task)
		}
		if err := bundle.CheckInputs(c.Inputs); err != nil {
			return nil, fmt.Errorf("serve: model %q: %w", c.Name, err)
		}
		x := &model{ModelConfig: c, set: bundle.SetID(c.Inputs)}
		x.loaded.Store(&loaded{base: x.baseRate(registry.BaseRate{}), degraded: "nothing is loaded yet"})
		m.models = append(m.models, x)
	}
	slices.SortFunc(m.models, func(a, b *model) int { return strings.Compare(a.Name, b.Name) })
	return m, nil
}

func (m *Models) names() []string {
	names := make([]string, len(m.models))
	for i, x := range m.models {
		names[i] = x.Name
	}
	return names
}

// baseRate fills in what stands for a rate of no labels.
func (x *model) baseRate(b registry.BaseRate) registry.BaseRate {
	if b.Count == 0 {
		b.Value = 0
		if x.Task == learn.Binary {
			b.Value = 0.5
		}
	}
	return b
}

// run keeps what is loaded as the registry wants it until ctx ends.
func (m *Models) run(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		_ = m.load(ctx, reloadPause) // it is in Problems, and logged
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Refresh loads what the registry wants now. What cannot be loaded leaves what
// was loaded before at work, and is in Problems until it can be.
func (m *Models) Refresh(ctx context.Context) error { return m.load(ctx, 0) }

// load brings each model up to date. What has failed is tried again after the
// pause, or once something else is wanted.
func (m *Models) load(ctx context.Context, pause time.Duration) error {
	m.refresh.Lock()
	defer m.refresh.Unlock()
	var errs []error
	for _, x := range m.models {
		want, err := m.registry.Serving(ctx, x.Name)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			same := !x.tried.IsZero() && want == x.want
			if same && (x.problem.Load() == nil || time.Since(x.tried) < pause) {
				continue
			}
			x.want, x.tried = want, time.Now()
			err = m.bring(ctx, x, want)
		} else {
			x.tried = time.Time{}
			err = fmt.Errorf("the registry cannot be read; see that its file is there and belongs to this user: %w", err)
		}
		if err != nil {
			err = fmt.Errorf("model %s: %w", x.Name, err)
			errs = append(errs, err)
		}
		m.note(x, err)
	}
	return errors.Join(errs...)
}

// note keeps a model's problem, which is logged when it is another one.
func (m *Models) note(x *model, err error) {
	last := x.problem.Load()
	if err == nil {
		x.problem.Store(nil)
		return
	}
	line := err.Error()
	if last == nil || *last != line {
		m.log.Warn("a model is not loaded as it should be", "problem", line)
	}
	x.problem.Store(&line)
	wanted := !x.tried.IsZero() && x.want.Champion != registry.BaseRateVersion
	if old := x.loaded.Load(); old.since.IsZero() || old.champion.bundle == nil && wanted {
		now := *old
		now.degraded = line
		x.loaded.Store(&now)
	}
}

// bring loads what is wanted of a model and puts it in the place of what is
// there. A shadow that cannot be loaded does not keep the champion out.
func (m *Models) bring(ctx context.Context, x *model, want registry.Serving) error {
	old := x.loaded.Load()
	now := &loaded{revision: want.Revision, base: x.baseRate(want.BaseRate), since: time.Now()}
	champion, err := m.side(ctx, x, old, want.Champion)
	if err != nil {
		if old.champion.bundle == nil {
			x.loaded.Store(&loaded{revision: now.revision, base: now.base, since: old.since})
			err = fmt.Errorf("version %d cannot be loaded, so the base rate answers: %w", want.Champion, err)
			if !errors.As(err, new(*misfit)) { // the one before is a misfit, too
				err = fmt.Errorf("%w; where that cannot be, \"millrace models rollback %s --why TEXT\" goes back to the version before it", err, x.Name)
			}
			return err
		}
		return fmt.Errorf("version %d cannot be loaded, so version %d goes on: %w", want.Champion, old.champion.version, err)
	}
	now.champion = *champion
	if want.Shadow != registry.NoVersion {
		if now.shadow, err = m.side(ctx, x, old, want.Shadow); err != nil {
			err = fmt.Errorf("version %d cannot be loaded and is not in the shadow of version %d: %w", want.Shadow, want.Champion, err)
		}
	}
	if same := !old.since.IsZero() && *champion == old.champion; same {
		now.since = old.since
		x.loaded.Store(now)
	} else {
		x.loaded.Store(now)
		x.swaps.Add(1)
		m.told(x, champion)
	}
	return err
}

// told logs who answers from now on.
func (m *Models) told(x *model, champion *side) {
	if champion.bundle == nil {
		m.log.Info("the base rate answers from now on", "model", x.Name)
		return
	}
	m.log.Info("a model's version answers from now on", "model", x.Name, "version", champion.version, "bundle", champion.id())
}

// side loads a version, or finds it among what is loaded: versions change sides
// without a file being read.
func (m *Models) side(ctx context.Context, x *model, old *loaded, number int) (*side, error) {
	if number == registry.BaseRateVersion {
		return &side{}, nil
	}
	for _, s := range []*side{&old.champion, old.shadow} {
		if s != nil && s.version == number {
			return s, nil
		}
	}
	v, err := m.registry.Version(ctx, x.Name, number)
	if err != nil {
		return nil, err
	}
	keys, err := m.trusted()
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(m.dir, v.Bundle, keys)
	if err != nil {
		return nil, err
	}
	if err := x.fits(b.Manifest()); err != nil {
		return nil, &misfit{err}
	}
	return &side{number, b}, nil
}

// A misfit is the error of a bundle that is whole, and not for this model as the
// project has it.
type misfit struct{ error }

// fits reports why a bundle is none of this model as the project has it.
func (x *model) fits(b *bundle.Manifest) error {
	switch {
	case b.Model != x.Name || b.Task != x.Task:
		return fmt.Errorf("its bundle is of a %s model %q, and this one is a %s model; import it under its own name", b.Task, b.Model, x.Task)
	case b.Set == x.set:
		return nil
	}
	const advice = "train a new version, or restore the features in the project file"
	for i, in := range x.Inputs {
		if i >= len(b.Inputs) || b.Inputs[i].Name != in.Name {
			break
		}
		if theirs := b.Inputs[i]; theirs.Fingerprint != in.Fingerprint || theirs.Kind != in.Kind {
			return fmt.Errorf("its bundle is of feature set %s, and the project has %s: feature %s was defined otherwise; %s", b.Set, x.set, in.Name, advice)
		}
	}
	return fmt.Errorf("its bundle is of feature set %s, and the project has %s: it sees %s, and the project lists %s; %s", b.Set, x.set, few(inputNames(b.Inputs)), few(inputNames(x.Inputs)), advice)
}

func inputNames(inputs []bundle.Input) []string {
	names := make([]string, len(inputs))
	for i, in := range inputs {
		names[i] = in.Name
	}
	return names
}

// Problems says of which models something else is to be served, one line each.
func (m *Models) Problems() (lines []string) {
	for _, x := range m.models {
		if p := x.problem.Load(); p != nil {
			lines = append(lines, *p)
		}
	}
	return lines
}

func (s *side) id() string {
	if s.bundle == nil {
		return ""
	}
	return s.bundle.ID()
}

// score is what the version answers to a vector.
func (s *side) score(base registry.BaseRate, x []features.Value) (feedback.Score, error) {
	out := feedback.Score{Version: s.version, Bundle: s.id(), Value: base.Value}
	if s.bundle == nil {
		return out, nil
	}
	var err error
	out.Value, err = s.bundle.Score(x)
	return out, err
}
