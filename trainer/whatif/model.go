package whatif

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/lake"
	"github.com/millrace/millrace/trainer/bundle"
)

// A model is a Model with the views that it sees.
type model struct {
	Model
	set      string
	views    []*view
	inputs   []place // by input
	examples lake.Examples
}

// A place is where the value of an input is.
type place struct{ view, output int }

// A view is a plan with what it is to a model.
type view struct {
	*features.Plan
	written  features.View // before Compile filled in what it leaves out
	windows  int           // outputs over windows; those on demand follow
	onDemand []demand
	entity   []int  // fields of the entity, by their place in Model.Entity
	columns  []int  // by output: the model's input, -1: it is none
	matters  []bool // by output: it is an input, or one is computed of it
}

// A demand is a feature on demand.
type demand struct {
	*expr.Program
	request bool // it uses request.*
}

// newModel resolves what a model sees.
func newModel(c *Config, m Model) (*model, error) {
	x := &model{Model: m, set: bundle.SetID(m.Inputs)}
	for i, in := range m.Inputs {
		name, feature, _ := strings.Cut(in.Name, ".")
		v := slices.IndexFunc(x.views, func(v *view) bool { return v.View.Name == name })
		if v < 0 {
			one, err := newView(c, &m, name)
			if err != nil {
				return nil, err
			}
			v, x.views = len(x.views), append(x.views, one)
		}
		o := slices.IndexFunc(x.views[v].Outputs(), func(o features.Output) bool { return o.Name == feature })
		if o < 0 {
			return nil, fmt.Errorf("whatif: model %q sees %s, and view %q has no such feature", m.Name, in.Name, name)
		}
		x.views[v].columns[o] = i
		x.inputs = append(x.inputs, place{v, o})
	}
	for _, v := range x.views {
		v.mark()
	}
	x.examples = lake.Examples{Project: c.Project, Model: m.Name, Set: x.set}
	for _, f := range m.Entity {
		x.examples.Entity = append(x.examples.Entity, f.Name)
	}
	for _, in := range m.Inputs {
		x.examples.Inputs = append(x.examples.Inputs, features.Field{Name: in.Name, Kind: in.Kind})
	}
	return x, nil
}

func newView(c *Config, m *Model, name string) (*view, error) {
	p := slices.IndexFunc(c.Plans, func(p *features.Plan) bool { return p.View.Name == name })
	w := slices.IndexFunc(c.Views, func(v features.View) bool { return v.Name == name })
	if p < 0 || w < 0 {
		return nil, fmt.Errorf("whatif: model %q sees view %q, which the project does not have", m.Name, name)
	}
	v := &view{Plan: c.Plans[p], written: c.Views[w]}
	outputs := v.Outputs()
	v.windows = len(v.View.Features)
	v.columns = slices.Repeat([]int{-1}, len(outputs))
	var vars []expr.Variable
	for _, o := range outputs[:v.windows] {
		vars = append(vars, expr.Variable{Name: o.Name, Kind: o.Kind})
	}
	for _, r := range v.Request() {
		vars = append(vars, expr.Variable{Name: "request." + r, Kind: expr.Float})
	}
	for _, d := range v.View.OnDemand {
		program, err := expr.Compile(d.Expr, vars)
		if err != nil {
			return nil, fmt.Errorf("whatif: view %q, feature %q: %w", name, d.Name, err)
		}
		request := slices.ContainsFunc(program.Uses(), func(i int) bool { return i >= v.windows })
		v.onDemand = append(v.onDemand, demand{program, request})
	}
	for _, field := range v.View.Entity {
		at := slices.IndexFunc(m.Entity, func(f features.Field) bool { return f.Name == field })
		if at < 0 {
			return nil, fmt.Errorf("whatif: model %q sees view %q, and %q, which the view is about, is not in its entity", m.Name, name, field)
		}
		v.entity = append(v.entity, at)
	}
	return v, nil
}

// mark says which outputs matter to the model.
func (v *view) mark() {
	v.matters = make([]bool, len(v.columns))
	for o, input := range v.columns {
		if input < 0 {
			continue
		}
		v.matters[o] = true
		if o < v.windows {
			continue
		}
		for _, i := range v.onDemand[o-v.windows].Uses() {
			if i < v.windows {
				v.matters[i] = true
			}
		}
	}
}

// follow computes the features on demand of a vector from those over windows that
// are in it. Values of a request that are not there are missing.
func (v *view) follow(vector, request []features.Value) {
	row := slices.Clone(vector[:v.windows])
	row = append(row, request...)
	row = append(row, make([]features.Value, v.windows+len(v.Request())-len(row))...)
	for i, d := range v.onDemand {
		vector[v.windows+i], _ = d.Eval(row)
	}
}

// key returns whom a view is about, of the values of the model's entity.
func (v *view) key(entity []features.Value) (string, error) {
	values := make([]features.Value, len(v.Fields()))
	for i, name := range v.View.Entity {
		at := slices.IndexFunc(v.Fields(), func(f features.Field) bool { return f.Name == name })
		values[at] = entity[v.entity[i]]
	}
	key, err := v.AppendEntity(nil, values)
	return string(key), err
}

// name is what an output is called in a question.
func (v *view) name(output int) string { return v.View.Name + "." + v.Outputs()[output].Name }

// relevant lists what a question can change, the model's inputs first.
func (m *model) relevant() (places []place) {
	places = slices.Clone(m.inputs)
	for i, v := range m.views {
		for o, matters := range v.matters {
			if matters && v.columns[o] < 0 {
				places = append(places, place{i, o})
			}
		}
	}
	return places
}

// find returns the place of a feature that matters to the model.
func (m *model) find(name string) (place, error) {
	viewName, feature, _ := strings.Cut(name, ".")
	for i, v := range m.views {
		if v.View.Name != viewName {
			continue
		}
		for o, out := range v.Outputs() {
			if out.Name == feature && v.matters[o] {
				return place{i, o}, nil
			}
			if out.Name == feature {
				return place{}, fmt.Errorf("nothing that model %s sees is computed of it; there are %s", m.Name, m.names())
			}
		}
	}
	return place{}, fmt.Errorf("model %s does not know it; it has %s", m.Name, m.names())
}

const maxNames = 40

func (m *model) names() string {
	var names []string
	for _, p := range m.relevant() {
		names = append(names, m.views[p.view].name(p.output))
	}
	return few(names)
}

// few joins names, not too many of them.
func few(names []string) string {
	if n := len(names); n > maxNames {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), n-maxNames)
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

// knobs lists the model's knobs: windows, then values.
func (m *model) knobs() (knobs []Knob) {
	relevant := m.relevant()
	for _, p := range relevant {
		v := m.views[p.view]
		if p.output >= v.windows || v.View.Features[p.output].Window.Kind == features.Lifetime {
			continue
		}
		k := Knob{Feature: v.name(p.output), Kind: WindowKnob, Input: v.columns[p.output] >= 0, Type: v.Outputs()[p.output].Kind}
		k.lengths(&v.View.Features[p.output].Window, v.hop(p.output))
		knobs = append(knobs, k)
	}
	for _, p := range relevant {
		v := m.views[p.view]
		knobs = append(knobs, Knob{Feature: v.name(p.output), Kind: ValueKnob, Input: v.columns[p.output] >= 0, Type: v.Outputs()[p.output].Kind})
	}
	return knobs
}

// hop is the hop that the project file gives an output's window, 0: none.
func (v *view) hop(output int) time.Duration {
	for _, f := range v.written.Features {
		if f.Name == v.Outputs()[output].Name {
			return f.Window.Hop
		}
	}
	return 0
}

// lengths suggests from a quarter of a window to twice as long.
func (k *Knob) lengths(w *features.Window, hop time.Duration) {
	k.Window, k.Step = w.Size, max(hop, w.Hop)
	if k.Step == 0 {
		k.Step, _ = features.DefaultHop(w.Size)
	}
	if k.Step == 0 {
		k.Step = max((w.Size / 8).Truncate(time.Microsecond), time.Microsecond)
	}
	k.MinWindow = max(k.Step, (w.Size / 4).Truncate(k.Step))
	if w.Kind == features.Sliding && !w.Exact && hop == 0 {
		k.MinWindow = max(k.MinWindow, shortest)
	}
	for k.MinWindow <= w.Offset {
		k.MinWindow += k.Step
	}
	k.MaxWindow = min(2*w.Size, longest.Truncate(k.Step))
}

const (
	shortest = 12 * time.Second // of a window whose hop is chosen: the shortest hop is a second
	longest  = 10 * 366 * 24 * time.Hour
)
