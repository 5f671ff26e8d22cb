package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/bundle"
)

// A brokenError is about a bundle, and not about what is around it: it is for
// good.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// A misfitError is of a bundle that is whole, and not for the model as the
// project has it now.
type misfitError struct{ error }

// open loads a bundle with all its checks, and sees that it is of this model and
// for the vectors that the server makes now. The error is a *brokenError unless
// it is about the disk or the keys, and may pass: a trainer of its own signs with a key
// that somebody has to trust first.
func (d *Deployer) open(m *Model, id string) (*bundle.Bundle, error) {
	if _, err := os.Stat(d.cfg.Bundles); err != nil {
		return nil, fmt.Errorf("the folder of bundles cannot be read; see that its disk is there: %w", err)
	}
	keys, err := d.cfg.Trusted()
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(d.cfg.Bundles, id, keys)
	var disk *fs.PathError
	switch {
	case errors.Is(err, bundle.ErrUntrusted), errors.As(err, &disk) && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, &brokenError{err}
	}
	switch has := b.Manifest(); {
	case has.Model != m.Name || has.Task != m.Task:
		return nil, &brokenError{&misfitError{fmt.Errorf("bundle %.12s is of the %s model %s, and this is the %s model %s", id, has.Task, has.Model, m.Task, m.Name)}}
	case has.Set != m.Set:
		return nil, &brokenError{&misfitError{fmt.Errorf("bundle %.12s is for the features %s, and the project now defines %s; train again", id, has.Set, m.Set)}}
	}
	return b, nil
}

// incomparable says why nothing can come of a rollout's watch any more: one of
// its two versions does not fit the model as the project has it now, so that no
// server scores with it. Empty: both fit, or what is wrong with them is another
// thing, of which the server knows whether it matters.
func (d *Deployer) incomparable(ctx context.Context, m *Model, ro *registry.Rollout) (why string, err error) {
	for _, number := range []int{ro.Version, ro.Previous} {
		if number == registry.BaseRateVersion {
			continue
		}
		v, err := d.cfg.Registry.Version(ctx, m.Name, number)
		if err != nil {
			return "", err
		}
		_, err = d.open(m, v.Bundle)
		var misfit *misfitError
		switch {
		case errors.As(err, &misfit):
			return fmt.Sprintf("version %d cannot be compared with %s any more: %v", ro.Version, named(ro.Previous), misfit), nil
		case err != nil && !errors.As(err, new(*brokenError)):
			return "", err
		}
	}
	return "", nil
}
