package trainer

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millrace/millrace/trainer/external"
	"github.com/millrace/millrace/trainer/learn/ftrl"
	"github.com/millrace/millrace/trainer/learn/gbdt"
)

// A Learner is one way in which a model learns: exactly one field is set. Each
// of a model's learners makes a candidate of the same examples, and the gate
// decides between them.
type Learner struct {
	FTRL *ftrl.Params
	GBDT *gbdt.Params
	Exec *external.Command // a program of the user's; Task and Log are set by the trainer
}

// Name is what the learner is called in project files, runs and bundles.
func (l *Learner) Name() string {
	switch {
	case l.GBDT != nil:
		return "gbdt"
	case l.Exec != nil:
		return "exec"
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
	case l.Exec != nil:
		return l.Exec.WithDefaults().Check()
	}
	return errors.New("no learner: give ftrl: {}, gbdt: {} or exec: [program, argument]")
}

// params are the learner's parameters as they go into a run's spec.
func (l *Learner) params() (json.RawMessage, error) {
	var p any
	var err error
	switch {
	case l.GBDT != nil:
		p = l.GBDT
	case l.Exec != nil:
		p, err = execSpecOf(l.Exec)
	default:
		p = l.FTRL
	}
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("trainer: parameters of learner %s: %w", l.Name(), err)
	}
	return data, nil
}

// learnerOf returns the learner of a run's spec. A program runs as the model's
// learners of now say, but for its arguments and parameters.
func (m *Model) learnerOf(s *spec) (l Learner, err error) {
	switch s.Learner {
	case "ftrl":
		l.FTRL = new(ftrl.Params)
		err = json.Unmarshal(s.Params, l.FTRL)
	case "gbdt":
		l.GBDT = new(gbdt.Params)
		err = json.Unmarshal(s.Params, l.GBDT)
	case "exec":
		var e execSpec
		if err = json.Unmarshal(s.Params, &e); err == nil {
			l.Exec, err = e.asOf(m.exec())
		}
	default:
		err = errors.New("this version of millrace has no such learner")
	}
	if err != nil {
		return l, fmt.Errorf("its learner %s with %s: %w", s.Learner, s.Params, err)
	}
	return l, nil
}

// exec returns the program among the model's learners; nil: there is none.
func (m *Model) exec() *external.Command {
	for i := range m.Learners {
		if c := m.Learners[i].Exec; c != nil {
			return c
		}
	}
	return nil
}
