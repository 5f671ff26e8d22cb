package project

import (
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/learn/ftrl"
	"github.com/millrace/millrace/trainer/learn/gbdt"
)

// learners reads how a model learns: a mapping with one or more learners, each
// of which makes candidates.
func (c cursor) learners(m *Model) {
	c.mapping(keys{
		"ftrl": func(c cursor) { m.Learners = append(m.Learners, trainer.Learner{FTRL: c.ftrl()}) },
		"gbdt": func(c cursor) { m.Learners = append(m.Learners, trainer.Learner{GBDT: c.gbdt()}) },
	}, absent{
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

func (c cursor) gbdt() *gbdt.Params {
	p := new(gbdt.Params)
	c.mapping(keys{
		"trees":           func(c cursor) { p.Trees = c.positive() },
		"depth":           func(c cursor) { p.Depth = c.positive() },
		"bins":            func(c cursor) { p.Bins = c.positive() },
		"rate":            func(c cursor) { p.Rate = c.above() },
		"lambda":          func(c cursor) { p.Lambda = c.above() },
		"min_child":       func(c cursor) { p.MinChild = c.above() },
		"min_gain":        func(c cursor) { p.MinGain = c.amount() },
		"category_lambda": func(c cursor) { p.CategoryLambda = c.above() },
		"stop":            func(c cursor) { p.Stop = c.positive() },
		"sample_rows":     func(c cursor) { p.SampleRows = c.above() },
		"sample_columns":  func(c cursor) { p.SampleColumns = c.above() },
		"seed":            func(c cursor) { p.Seed = uint64(c.positive()) },
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
