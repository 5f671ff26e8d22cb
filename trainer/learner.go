package trainer

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millrace/millrace/trainer/learn/ftrl"
	"github.com/millrace/millrace/trainer/learn/gbdt"
)

// A Learner is one way in which a model learns: exactly one field is set. Each
// of a model's learners makes a candidate of the same examples, and the gate
// decides between them.
type Learner struct {
	FTRL *ftrl.Params
	GBDT *gbdt.Params
}

// Name is what the learner is called in project files, runs and bundles.
func (l *Learner) Name() string {
	if l.GBDT != nil {
		return "gbdt"
	}
	return "ftrl"
}

// WithDefaults returns l with what its parameters leave out filled in.
func (l Learner) WithDefaults() Learner {
	if l.FTRL != nil {
		p := l.FTRL.WithDefaults()
		l.FTRL = &p
	}
	if l.GBDT != nil {
		p := l.GBDT.WithDefaults()
		l.GBDT = &p
	}
	return l
}

// Check says what is wrong with a learner that has its defaults.
func (l *Learner) Check() error {
	switch {
	case l.FTRL != nil:
		return l.FTRL.Check()
	case l.GBDT != nil:
		return l.GBDT.Check()
	}
	return errors.New("no learner: give ftrl: {} or gbdt: {}")
}

// params are the learner's parameters as they go into a run's spec.
func (l *Learner) params() (json.RawMessage, error) {
	var p any = l.FTRL
	if l.GBDT != nil {
		p = l.GBDT
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("trainer: parameters of learner %s: %w", l.Name(), err)
	}
	return data, nil
}

// learnerOf returns the learner of a run's spec.
func learnerOf(name string, params json.RawMessage) (Learner, error) {
	var l Learner
	var err error
	switch name {
	case "ftrl":
		l.FTRL = new(ftrl.Params)
		err = json.Unmarshal(params, l.FTRL)
	case "gbdt":
		l.GBDT = new(gbdt.Params)
		err = json.Unmarshal(params, l.GBDT)
	default:
		return l, fmt.Errorf("its learner is %q, which this version of millrace has not", name)
	}
	if err != nil {
		return l, fmt.Errorf("its parameters %s: %w", params, err)
	}
	return l, nil
}
