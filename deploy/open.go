package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/millrace/millrace/trainer/bundle"
)

// A brokenError is about a bundle, and not about what is around it: it is for
// good.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// open loads a bundle with all its checks, and sees that it is of this model and
// for the vectors that the server makes now. The error is a *brokenError unless
// it is about the disk or the keys, and may pass.
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
	case errors.As(err, &disk) && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, &brokenError{err}
	}
	switch has := b.Manifest(); {
	case has.Model != m.Name || has.Task != m.Task:
		return nil, &brokenError{fmt.Errorf("bundle %.12s is of the %s model %s, and this is the %s model %s", id, has.Task, has.Model, m.Task, m.Name)}
	case has.Set != m.Set:
		return nil, &brokenError{fmt.Errorf("bundle %.12s is for the features %s, and the project now defines %s; train again", id, has.Set, m.Set)}
	}
	return b, nil
}
