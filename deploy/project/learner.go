package project

import (
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// learners reads how a model learns: a mapping with one or more learners, each
// of which makes candidates.
func (c cursor) learners(m *Model) {
	c.mapping(keys{
		"ftrl": func(c cursor) { m.Learners = append(m.Learners, trainer.Learner{FTRL: c.ftrl()}) },
	}, absent{
		"gbdt": "this version has no trees yet; write ftrl: {}",
		"exec": "this version has no learners of other programs yet; write ftrl: {}",
	})
}

func (c cursor) ftrl() *ftrl.Params {
	p := new(ftrl.Params)
	c.mapping(keys{
		"alpha":     func(c cursor) { p.Alpha = c.above() },
		"beta":      func(c cursor) { p.Beta = c.above() },
		"l1":        func(c cursor) { p.L1 = c.amount() },
		"l2":        func(c cursor) { p.L2 = c.amount() },
		"hash_bits": func(c cursor) { p.HashBits = c.positive() },
		"epochs":    func(c cursor) { p.Epochs = c.positive() },
	}, nil)
	return p
}

// learners fills in defaults and checks them. A model that names no learner has
// FTRL.
func (c *checker) learners(m *Model, path []string) {
	if len(m.Learners) == 0 && !c.spoilt(path...) {
		m.Learners = []trainer.Learner{{FTRL: new(ftrl.Params)}}
	}
	for i := range m.Learners {
		m.Learners[i] = m.Learners[i].WithDefaults()
		if err := m.Learners[i].Check(); err != nil {
			c.fault(path, "%v", err)
		}
	}
}
