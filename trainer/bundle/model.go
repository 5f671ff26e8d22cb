package bundle

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// newModel returns the model of a manifest, which has learned nothing yet.
func newModel(m *Manifest, t *Transform) (learn.Model, error) {
	if m.Learner != "ftrl" {
		return nil, fmt.Errorf("learner %q; this version of millrace has ftrl", m.Learner)
	}
	return newFTRL(m, t)
}

func newFTRL(m *Manifest, t *Transform) (learn.Model, error) {
	var p ftrl.Params
	if err := decodeParams(m.Params, &p); err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	if p.HashBits != t.hashBits {
		return nil, fmt.Errorf("params: hash_bits %d, and %d in %s", p.HashBits, t.hashBits, TransformName)
	}
	return ftrl.New(m.Task, t.Dense(), p), nil
}

// decodeParams reads params as the learner's struct is written, without the line
// end that a file has.
func decodeParams(data json.RawMessage, p *ftrl.Params) error {
	return decodeJSON(append(slices.Clip(data), '\n'), p)
}
