package project

import (
	"encoding/json"

	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/external"
	"github.com/millrace/millrace/trainer/learn/ftrl"
	"github.com/millrace/millrace/trainer/learn/gbdt"
)

// learners reads how a model learns: a mapping with one or more learners, each
// of which makes candidates.
func (c cursor) learners(m *Model) {
	c.mapping(keys{
		"ftrl": func(c cursor) { m.Learners = append(m.Learners, trainer.Learner{FTRL: c.ftrl()}) },
		"gbdt": func(c cursor) { m.Learners = append(m.Learners, trainer.Learner{GBDT: c.gbdt()}) },
		"exec": func(c cursor) { m.Learners = append(m.Learners, trainer.Learner{Exec: c.exec()}) },
	}, nil)
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

// exec reads a program, as a list of itself and its arguments, or with more said
// of it.
func (c cursor) exec() *external.Command {
	e := new(external.Command)
	if c.node.kind == list {
		e.Args = c.names("the program and its arguments")
		return e
	}
	c.mapping(keys{
		"command": func(c cursor) { e.Args = c.names("the program and its arguments") },
		"params":  func(c cursor) { e.Parameters = c.json() },
		"timeout": func(c cursor) { e.Timeout = c.duration() },
		"memory":  func(c cursor) { e.Memory = c.size() },
		"env":     func(c cursor) { e.Env = c.names("names of environment variables") },
	}, nil)
	return e
}

// json reads a part of the file as it is into JSON.
func (c cursor) json() json.RawMessage {
	data, err := json.Marshal(c.value())
	if err != nil {
		c.fail("%v", err)
	}
	return data
}

// value returns what JSON makes the same of: texts, numbers, true and false, null,
// lists and objects.
func (c cursor) value() any {
	switch c.node.kind {
	case number:
		var n json.Number
		if json.Unmarshal([]byte(c.node.text), &n) != nil {
			c.fail("%s is no number in JSON; write one as 12.5 or 1e-3, or a text in quotes", quote(c.node.text))
		}
		return n
	case boolean:
		return c.node.text == "true"
	case text:
		return c.node.text
	case list:
		all := make([]any, len(c.node.items))
		for i, item := range c.node.items {
			all[i] = c.at(index(i), item).value()
		}
		return all
	case mapping:
		all := map[string]any{}
		for e, v := range c.each() {
			all[e.key] = v.value()
		}
		return all
	}
	return nil
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
