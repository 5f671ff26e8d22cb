package onnx

import (
	"errors"
	"fmt"
	"sync"
)

// A value is an edge of the graph: its type, its shape for one row, and the slot
// of a state that holds it.
type value struct {
	typ  dtype
	dims []int
	slot int
	data *constant // not nil: known without a row
	// Of a mapType: what the map is made of.
	keys  []string
	probs *value
}

func (v *value) size() int {
	n, _ := size(v.dims)
	return n
}

func (v *value) rank() int { return len(v.dims) }

func (v *value) String() string { return fmt.Sprintf("%v%v", v.typ, v.dims) }

// A state is what scoring one row works on.
type state struct {
	slots  []tensor
	text   []string // of all slots of strings
	failed bool     // onnxruntime gives no score for this row
}

// A step computes one node.
type step func(st *state)

// A program is a graph compiled for rows of known widths.
type program struct {
	steps  []step
	slots  []slot
	inputs []*value // in the order of the model's inputs
	output scoreAt
	states sync.Pool
}

// A slot says what a state keeps for a value.
type slot struct {
	typ  dtype
	size int
	data *tensor // not nil: shared by all states
}

// scoreAt is where the score of a row is found.
type scoreAt struct {
	value   *value
	element int
	classes int // 1: a number and not classes
}

func (p *program) newState() *state {
	st := &state{slots: make([]tensor, len(p.slots))}
	strings := 0
	for i, s := range p.slots {
		switch {
		case s.data != nil:
			st.slots[i] = *s.data
		case s.typ == stringType:
			strings += s.size
		default:
			st.slots[i] = newTensor(s.typ, s.size)
		}
	}
	st.text = make([]string, strings)
	left := st.text
	for i, s := range p.slots {
		if s.data == nil && s.typ == stringType {
			st.slots[i].s, left = left[:s.size:s.size], left[s.size:]
		}
	}
	return st
}

// run computes all steps.
func (p *program) run(st *state) {
	st.failed = false
	for _, step := range p.steps {
		step(st)
	}
}

// A compiler turns nodes into steps.
type compiler struct {
	opsets  map[string]int64
	values  map[string]*value
	slots   []slot
	scratch state // what constant values are computed in
	pending []step
	steps   []madeStep
	cells   int   // elements of all slots
	work    int64 // operations that one row takes, about
}

// A madeStep knows what its node makes and needs, to leave out what no score needs.
type madeStep struct {
	steps    []step
	in, out  []*value
	from, to int // the slots made for it, outputs and what it works in
}

// new returns a value that the node being built computes.
func (c *compiler) new(n *node, typ dtype, dims []int) *value {
	elements, ok := size(dims)
	if c.cells += elements; !ok || c.cells > maxCells {
		n.fail("its output %v%v takes the graph over %d elements", typ, dims, maxCells)
		elements, dims = 0, []int{0}
	}
	v := &value{typ: typ, dims: dims, slot: len(c.slots)}
	c.slots = append(c.slots, slot{typ: typ, size: elements})
	c.scratch.slots = append(c.scratch.slots, newTensor(typ, elements))
	return v
}

// alias returns v under another shape.
func alias(v *value, dims []int) *value {
	w := *v
	w.dims = dims
	if v.data != nil {
		data := *v.data
		data.dims = dims
		w.data = &data
	}
	return &w
}

// constant returns a value of the file.
func (c *compiler) constant(data *constant) *value {
	c.slots = append(c.slots, slot{typ: data.typ, data: &data.tensor})
	c.scratch.slots = append(c.scratch.slots, data.tensor)
	return &value{typ: data.typ, dims: data.dims, slot: len(c.slots) - 1, data: data}
}

// do adds a step that takes that many operations.
func (c *compiler) do(n *node, operations int, s step) {
	if c.work += int64(operations) + 1; c.work > maxWork {
		n.fail("scoring a row takes more than %d operations", maxWork)
	}
	c.pending = append(c.pending, s)
}

// add compiles one node, whose inputs are known.
func (c *compiler) add(n *node) error {
	build, err := c.operator(n)
	if err != nil {
		return err
	}
	in := make([]*value, len(n.inputs))
	for i, name := range n.inputs {
		in[i] = c.values[name]
	}
	c.pending = nil
	n.read, n.err = nil, nil // of a compilation for other widths
	from := len(c.slots)
	out, err := build(c, n, in)
	if err = errFirst(err, n.attributeError()); err != nil {
		return fmt.Errorf("%v: %w", n, err)
	}
	if len(n.outputs) > len(out) {
		return fmt.Errorf("%v: it has %d outputs; %d are supported", n, len(n.outputs), len(out))
	}
	if constants(in) {
		c.fold(out)
	} else {
		c.steps = append(c.steps, madeStep{c.pending, in, out, from, len(c.slots)})
	}
	for i, name := range n.outputs {
		if name == "" {
			continue
		}
		if c.values[name] != nil {
			return fmt.Errorf("%v: %q is made twice", n, name)
		}
		c.values[name] = out[i]
	}
	return nil
}

// constants reports whether all that are there are known without a row.
func constants(in []*value) bool {
	for _, v := range in {
		if v != nil && v.data == nil {
			return false
		}
	}
	return true
}

// fold computes the pending steps now.
func (c *compiler) fold(out []*value) {
	for _, s := range c.pending {
		s(&c.scratch)
	}
	for _, v := range out {
		if v.data == nil && v.typ != mapType {
			v.data = &constant{typ: v.typ, dims: v.dims, tensor: c.scratch.slots[v.slot]}
			c.slots[v.slot].data = &v.data.tensor
		}
	}
}

// compile makes a program of a graph for inputs of these widths.
func compile(m *modelProto, inputs []Input) (*program, error) {
	c, in, err := assemble(m, inputs)
	if err != nil {
		return nil, err
	}
	p := &program{inputs: in}
	if p.output, err = findScore(m.graph, c.values); err != nil {
		return nil, err
	}
	p.steps = c.needed(p.output.value, in)
	p.slots = c.slots
	p.states.New = func() any { return p.newState() }
	return p, nil
}

// assemble compiles all nodes of a graph.
func assemble(m *modelProto, inputs []Input) (*compiler, []*value, error) {
	c := &compiler{opsets: m.opsets, values: make(map[string]*value)}
	setting := &node{op: "input"}
	var in []*value
	for _, i := range inputs {
		dims := []int{1, i.Width}
		if i.vector {
			dims = []int{1}
		}
		v := c.new(setting, i.typ, dims)
		c.values[i.Name] = v
		in = append(in, v)
	}
	if setting.err != nil {
		return nil, nil, setting.err
	}
	for name, data := range m.graph.initializers {
		c.values[name] = c.constant(data)
	}
	order, err := sorted(m.graph, c.values)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range order {
		if err := c.add(n); err != nil {
			return nil, nil, err
		}
	}
	if c.scratch.failed {
		return nil, nil, errors.New("the graph's constants cannot be computed: one is no number or no index where it must be")
	}
	return c, in, nil
}

// needed returns the steps that a value is made by.
func (c *compiler) needed(score *value, inputs []*value) []step {
	live := map[int]bool{score.slot: true}
	keep := make([]bool, len(c.steps))
	for i := len(c.steps) - 1; i >= 0; i-- {
		for _, v := range c.steps[i].out {
			keep[i] = keep[i] || live[v.slot]
		}
		if !keep[i] {
			continue
		}
		for own := c.steps[i].from; own < c.steps[i].to; own++ {
			live[own] = true
		}
		for _, v := range c.steps[i].in {
			if v != nil {
				live[v.slot] = true
			}
		}
	}
	var steps []step
	for i, made := range c.steps {
		if keep[i] {
			steps = append(steps, made.steps...)
		}
	}
	for i := range c.slots {
		if !live[i] && c.slots[i].data == nil && i >= len(inputs) {
			c.slots[i].size = 0
		}
	}
	return steps
}
