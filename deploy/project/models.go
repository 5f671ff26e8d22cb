package project

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// Limits of a project's models. A server holds two versions of each in memory.
const (
	maxModels   = 64
	maxFeatures = 1024 // of a model: feedback takes no longer vectors
)

// A Model is a model of the project, from its features to its rollout.
type Model struct {
	trainer.Model
	Features   []string // view.feature, in the order of vectors
	Unreviewed bool     // what the gate promotes goes into service without a person's approval
	Reviewers  []string // who may approve; empty: anybody but the author
	Rollout    deploy.Steps
	Monitor    Monitoring

	// Labeler is the compiled label. Check sets it, with Inputs and Entity.
	Labeler *feedback.Labeler
}

// Model returns the model of that name, or nil.
func (p *Project) Model(name string) *Model {
	i := slices.IndexFunc(p.Models, func(m Model) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Models[i]
}

// RegistryFile is where versions of models and decisions about them are kept.
func (p *Project) RegistryFile() string { return filepath.Join(p.DataDir, "registry.db") }

// ModelsDir is where the bundles are.
func (p *Project) ModelsDir() string { return filepath.Join(p.DataDir, "models") }

// KeysDir is where the keys are that sign bundles, and those that are trusted.
func (p *Project) KeysDir() string { return filepath.Join(p.DataDir, "keys") }

// SpoolDir is where predictions wait while the broker is away.
func (p *Project) SpoolDir() string { return filepath.Join(p.DataDir, "spool") }

// SchemaFile is where it is written what a model's data set must look like.
func (p *Project) SchemaFile(model string) string {
	return filepath.Join(p.DataDir, "schemas", model+".yaml")
}

func (c cursor) model(name string) Model {
	m := Model{Model: trainer.Model{Name: name}}
	c.mapping(keys{
		"task": func(c cursor) {
			m.Task = one(c, map[string]learn.Task{"binary": learn.Binary, "regression": learn.Regression})
		},
		"features": func(c cursor) { m.Features = c.names("view.feature") },
		"label":    func(c cursor) { c.label(&m.Label) },
		"learner":  func(c cursor) { c.learners(&m) },
		"train":    func(c cursor) { c.train(&m.Train) },
		"gate":     func(c cursor) { c.gate(&m) },
		"review": func(c cursor) {
			m.Unreviewed = one(c, map[string]bool{"required": false, "none": true})
		},
		"reviewers": func(c cursor) { m.Reviewers = c.names("names of people") },
		"rollout":   func(c cursor) { c.rollout(&m.Rollout) },
		"monitor":   func(c cursor) { c.monitoring(&m.Monitor) },
	}, nil)
	return m
}

func (c cursor) label(l *feedback.Label) {
	c.mapping(keys{
		"source": func(c cursor) { l.Source = c.name("a source") },
		"join": func(c cursor) {
			l.Join = one(c, map[string]feedback.JoinKind{
				string(feedback.ByPrediction): feedback.ByPrediction, string(feedback.NextEvent): feedback.NextEvent, string(feedback.At): feedback.At,
			})
		},
		"prediction": func(c cursor) { l.Prediction = c.name("a field") },
		"value":      func(c cursor) { l.Value = c.expression() },
		"horizon":    func(c cursor) { l.Horizon = c.duration() },
		"grace":      func(c cursor) { l.Grace = c.duration() },
	}, nil)
}

func (c cursor) train(s *trainer.Schedule) {
	c.mapping(keys{
		"every":   func(c cursor) { s.Every = c.count("examples") },
		"at_most": func(c cursor) { s.AtMost, s.Per = c.rate() },
		"window":  func(c cursor) { s.Window = c.count("examples") },
	}, nil)
}

func (c cursor) gate(m *Model) {
	g := &m.Gate
	c.mapping(keys{
		"rows":           func(c cursor) { g.Rows = c.count("rows") },
		"confidence":     func(c cursor) { g.Confidence = c.share() },
		"margin":         func(c cursor) { g.Margin = c.amount() },
		"tolerance":      func(c cursor) { g.Tolerance = c.above() },
		"slices":         func(c cursor) { g.Slices = c.names("entity fields or features") },
		"min_slice":      func(c cursor) { g.MinSlice = c.count("rows") },
		"block":          func(c cursor) { g.Block = c.duration() },
		"periods":        func(c cursor) { g.Periods = c.positive() },
		"replicates":     func(c cursor) { g.Replicates = c.positive() },
		"seed":           func(c cursor) { g.Seed = uint64(c.positive()) },
		"false_per_year": func(c cursor) { g.PerYear = c.above() },
	}, nil)
}

func (c cursor) rollout(s *deploy.Steps) {
	c.mapping(keys{
		"shadow": func(c cursor) { s.Shadow = c.count("predictions") },
		"watch":  func(c cursor) { s.Watch = c.count("answers") },
		"rollback_on": func(c cursor) {
			c.mapping(keys{
				"worse_by":   func(c cursor) { s.WorseBy = c.amount() },
				"confidence": func(c cursor) { s.Confidence = c.share() },
			}, nil)
		},
	}, absent{"canary": "this version has no canary yet: it goes from shadow to full, and back by itself; remove the key"})
}

// count reads a number of things, as 500 or "500 examples".
func (c cursor) count(unit string) int {
	s, ok := c.scalar("a number, as 500 " + unit)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(s, unit)), 10, 32)
	if err != nil || n < 1 {
		c.fail("%s is not a number from 1; write one, as 500 %s", quote(s), unit)
		return 0
	}
	return int(n)
}

// rate reads how often something may be, as "1 an hour" or "3 in 2d".
func (c cursor) rate() (n int, per time.Duration) {
	s, ok := c.scalar("a rate, as 1 an hour")
	if !ok {
		return 0, 0
	}
	words := strings.Fields(s)
	if len(words) == 3 {
		per = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}[words[2]]
		if words[1] == "in" {
			per, _ = ParseDuration(words[2])
		} else if words[1] != "a" && words[1] != "an" {
			per = 0
		}
		n, _ = strconv.Atoi(words[0])
	}
	if n < 1 || per <= 0 {
		c.fail("%s is not a rate; write one, as 1 an hour, 2 a day or 3 in 2d", quote(s))
		return 0, 0
	}
	return n, per
}

// share reads a share between 0 and 1, as 95% or 0.95.
func (c cursor) share() float64 {
	s, ok := c.scalar("a share, as 95%")
	if !ok {
		return 0
	}
	digits, percent := strings.CutSuffix(s, "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x > 0 && x < 1) {
		c.fail("%s is not a share between 0 and 1; write one, as 95%% or 0.95", quote(s))
		return 0
	}
	return x
}

// amount reads a number from 0.
func (c cursor) amount() float64 {
	s, ok := c.scalar("a number")
	if !ok {
		return 0
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || c.node.kind != number || !(x >= 0) || math.IsInf(x, 0) {
		c.fail("%s is not a number from 0; write one without quotes", quote(s))
		return 0
	}
	return x
}

// above reads a number above 0: where 0 would read as the default, it is not
// what was written.
func (c cursor) above() float64 {
	x := c.amount()
	if c.node.kind == number && x == 0 {
		c.fail("%s: give a number above 0", c.node.text)
	}
	return x
}

// models checks the models and resolves what they name. It needs every view's
// plan, so it does nothing where one is missing.
func (c *checker) models(p *Project) {
	if len(p.Models) > maxModels {
		c.fault([]string{"models"}, "%d models; at most %d in a project", len(p.Models), maxModels)
		return
	}
	for i := range p.Models {
		m := &p.Models[i]
		path := []string{"models", m.Name}
		c.name(path, m.Name)
		if slices.ContainsFunc(p.Models[:i], func(x Model) bool { return x.Name == m.Name }) {
			c.fault(path, "another model has that name; rename one")
		}
		c.model(p, m, path)
	}
}

func (c *checker) model(p *Project, m *Model, path []string) {
	at := func(keys ...string) []string { return append(slices.Clip(path), keys...) }
	if m.Task == "" {
		c.fault(at("task"), "missing; write binary or regression")
	}
	c.learners(m, at("learner"))
	m.Train, m.Gate, m.Rollout = m.Train.WithDefaults(), m.Gate.WithDefaults(), m.Rollout.WithDefaults()
	for _, part := range []struct {
		key string
		err error
	}{{"train", m.Train.Check()}, {"gate", m.CheckGate()}, {"rollout", m.Rollout.Check()}} {
		if part.err != nil {
			c.fault(at(part.key), "%v", part.err)
		}
	}
	if m.Unreviewed && len(m.Reviewers) > 0 {
		c.fault(at("reviewers"), "nobody reviews where review is none; remove one of the two")
	}
	if c.spoilt("views") || c.spoilt("sources") || slices.ContainsFunc(p.Views, func(v features.View) bool { return p.Plan(v.Name) == nil }) {
		return // what is wrong there would be said again here
	}
	c.inputs(p, m, at("features"))
	c.truth(p, m, at)
	c.slices(m, at("gate", "slices"))
	c.monitoring(m, at("monitor"))
}

// inputs finds the features that a model sees, and whom it is about.
func (c *checker) inputs(p *Project, m *Model, path []string) {
	m.Inputs, m.Entity = nil, nil
	if len(m.Features) == 0 {
		c.fault(path, "missing; list what the model sees, as [view.feature]")
	}
	if len(m.Features) > maxFeatures {
		c.fault(path, "%d features; at most %d in a model", len(m.Features), maxFeatures)
		return
	}
	for i, name := range m.Features {
		at := append(slices.Clip(path), index(i))
		view, feature, _ := strings.Cut(name, ".")
		plan := p.Plan(view)
		if plan == nil {
			c.fault(at, "there is no view %s; write view.feature, with one of %s", quote(view), strings.Join(p.viewNames(), ", "))
			continue
		}
		k := slices.IndexFunc(plan.Outputs(), func(o features.Output) bool { return o.Name == feature })
		if k < 0 {
			c.fault(at, "view %s has no feature %s; it has %s", view, quote(feature), outputNames(plan))
			continue
		}
		o := plan.Outputs()[k]
		if slices.Contains(m.Features[:i], name) {
			c.fault(at, "%s is listed twice; remove one", name)
		}
		if o.Kind == expr.Time {
			c.fault(at, "%s is a time, which a model cannot use; derive an age from it on demand", name)
		}
		m.Inputs = append(m.Inputs, bundle.Input{Name: name, Kind: o.Kind, KindName: o.Kind.String(), Fingerprint: o.Fingerprint})
		c.entity(plan, m, at)
	}
}

// entity adds a view's entity fields to those of the model.
func (c *checker) entity(plan *features.Plan, m *Model, at []string) {
	for _, name := range plan.View.Entity {
		f := plan.Fields()[slices.IndexFunc(plan.Fields(), func(f features.Field) bool { return f.Name == name })]
		k := slices.IndexFunc(m.Entity, func(x features.Field) bool { return x.Name == name })
		switch {
		case k < 0:
			m.Entity = append(m.Entity, f)
		case m.Entity[k].Kind != f.Kind:
			c.fault(at, "view %s has %s as a %v, and another view of the model as a %v", plan.View.Name, name, f.Kind, m.Entity[k].Kind)
		}
	}
}

// truth checks the label and compiles it.
func (c *checker) truth(p *Project, m *Model, at func(...string) []string) {
	m.Label.Binary = m.Task == learn.Binary
	m.Label, m.Labeler = m.Label.WithDefaults(), nil
	if m.Label.Join == "" && m.Label.Source == "" {
		c.fault(at("label"), "missing; say what comes true, as {source: %s, join: next_event, value: ..., horizon: 7d}", p.Sources[0].Name)
		return
	}
	src := p.Source(m.Label.Source)
	if src == nil && m.Label.Source != "" {
		c.fault(at("label", "source"), "there is no source %s%s", quote(m.Label.Source), hint(m.Label.Source, p.Sources))
		return
	}
	if src == nil && p.Clock == features.EventClock {
		c.fault(at("label", "source"), "missing; with clock: event the events of a source say what time it is")
		return
	}
	if len(m.Inputs) == 0 {
		return
	}
	var entity []string
	for _, f := range m.Entity {
		entity = append(entity, f.Name)
	}
	var err error
	if m.Labeler, err = feedback.Compile(m.Name, m.Label, src, entity); err != nil {
		c.labelFaults(err, at("label"))
	}
}

func (c *checker) labelFaults(err error, path []string) {
	var faults features.Faults
	if !errors.As(err, &faults) {
		c.fault(path, "%v", err)
	}
	for _, f := range faults {
		c.add(features.Fault{Path: append(slices.Clip(path), f.Path...), Problem: f.Problem})
	}
}

// slices checks the columns that a gate looks into.
func (c *checker) slices(m *Model, path []string) {
	for i, name := range m.Gate.Slices {
		ok := slices.ContainsFunc(m.Entity, func(f features.Field) bool { return f.Name == name }) ||
			slices.ContainsFunc(m.Inputs, func(in bundle.Input) bool { return in.Name == name && (in.Kind == expr.String || in.Kind == expr.Bool) })
		if !ok {
			c.fault(append(slices.Clip(path), index(i)), "%s is no entity field of the model, and no feature of it that is a text or a bool", quote(name))
		}
	}
}

func (p *Project) viewNames() []string {
	var names []string
	for _, v := range p.Views {
		names = append(names, v.Name)
	}
	return names
}

func outputNames(plan *features.Plan) string {
	var names []string
	for _, o := range plan.Outputs() {
		names = append(names, o.Name)
	}
	if n := len(names); n > 20 {
		names = append(names[:20], fmt.Sprintf("and %d more", n-20))
	}
	return strings.Join(names, ", ")
}
