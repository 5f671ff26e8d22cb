package bundle

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// openModel returns the model that a bundle's weights are.
func openModel(m *Manifest, t *Transform, weights []byte) (learn.Model, error) {
	var model learn.Model
	form, err := Scaled, error(nil)
	switch m.Learner {
	case "ftrl":
		model, err = newFTRL(m, t)
	case "gbdt":
		model, form = new(trees.Model), Categories
	case "exec":
		form = Plain
	default:
		err = fmt.Errorf("learner %q; this version of millrace has ftrl, gbdt and exec", m.Learner)
	}
	if err == nil && (m.Weights != "") != (m.Learner == "exec") {
		err = fmt.Errorf("weights %q of learner %s: exec has a format, and no other", m.Weights, m.Learner)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	if t.form != form {
		return nil, fmt.Errorf("%s: its form is %q, and learner %s has %q", TransformName, t.form, m.Learner, form)
	}
	if m.Learner == "exec" {
		if model, err = Import(m.Weights, weights, m.Inputs, m.Task); err != nil {
			return nil, fmt.Errorf("%s: %w", WeightsName, err)
		}
		return model, nil
	}
	if err := model.UnmarshalBinary(weights); err != nil {
		return nil, fmt.Errorf("%s: %w", WeightsName, err)
	}
	if grown, ok := model.(*trees.Model); ok {
		if err := fitsTrees(grown, m.Inputs, m.Task); err != nil {
			return nil, fmt.Errorf("%s: %w", WeightsName, err)
		}
	}
	return model, nil
}

func newFTRL(m *Manifest, t *Transform) (learn.Model, error) {
	var p ftrl.Params
	if err := decodeParams(m.Params, &p); err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	if t.form == Scaled && p.HashBits != t.hashBits {
		return nil, fmt.Errorf("params: hash_bits %d, and %d in %s", p.HashBits, t.hashBits, TransformName)
	}
	return ftrl.New(m.Task, t.Dense(), p), nil
}

// decodeParams reads params as the learner's struct is written, without the line
// end that a file has.
func decodeParams(data json.RawMessage, p *ftrl.Params) error {
	return decodeJSON(append(slices.Clip(data), '\n'), p)
}

// fitsTrees reports whether trees are of a task and of so many inputs.
func fitsTrees(m *trees.Model, inputs []Input, task learn.Task) error {
	if m.Task() != task || m.Features() != len(inputs) {
		return fmt.Errorf("trees of %d features for a %s task; the model has %d inputs and is of a %s task", m.Features(), m.Task(), len(inputs), task)
	}
	return nil
}
