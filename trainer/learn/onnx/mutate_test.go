package onnx

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A mutator changes graphs that are decoded already, which reaches further than
// changed bytes do: they make messages that end too soon.
type mutator struct {
	*rand.Rand
	operators []string
}

func (r mutator) number() int64 {
	return []int64{0, 1, -1, 2, 3, -2, 5, 12, 1000, 1 << 40, math.MaxInt64, math.MinInt64}[r.IntN(12)]
}

func (r mutator) float() float32 {
	return []float32{0, 1, -1, .5, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32}[r.IntN(8)]
}

// one returns an element of a list, or false.
func one[T any](r mutator, list []T) (*T, bool) {
	if len(list) == 0 {
		return nil, false
	}
	return &list[r.IntN(len(list))], true
}

func (r mutator) constant(c *constant) {
	switch r.IntN(4) {
	case 0: // another shape of as many elements
		n, _ := size(c.dims)
		c.dims = [][]int{{n}, {1, n}, {n, 1}, {1, 1, n}}[r.IntN(4)]
	case 1:
		if v, ok := one(r, c.i); ok {
			*v = r.number()
		}
	case 2:
		if v, ok := one(r, c.f); ok {
			*v = r.float()
		}
	default: // fewer elements
		n := r.IntN(3)
		if have, _ := size(c.dims); n < have {
			c.dims = []int{n}
			c.f, c.i, c.s = c.f[:min(n, len(c.f))], c.i[:min(n, len(c.i))], c.s[:min(n, len(c.s))]
			c.d, c.b = c.d[:min(n, len(c.d))], c.b[:min(n, len(c.b))]
		}
	}
}

func (r mutator) attribute(a *attribute) {
	a.i, a.f = r.number(), r.float()
	switch r.IntN(3) {
	case 0:
		a.ints, a.floats, a.strings = a.ints[:len(a.ints)/2], a.floats[:len(a.floats)/2], a.strings[:len(a.strings)/2]
	case 1:
		a.ints, a.floats = append(a.ints, r.number()), append(a.floats, r.float())
	default:
		if v, ok := one(r, a.ints); ok {
			*v = r.number()
		}
		if v, ok := one(r, a.floats); ok {
			*v = r.float()
		}
		if v, ok := one(r, a.strings); ok {
			*v = []string{"", "LEAF", "BRANCH_EQ", "BRANCH_GT", "a"}[r.IntN(5)]
		}
	}
	if a.t != nil {
		r.constant(a.t)
	}
}

// values are the names of all values of a graph.
func values(g *graphProto) []string {
	names := slices.Sorted(maps.Keys(g.initializers))
	for _, v := range g.inputs {
		names = append(names, v.name)
	}
	for _, n := range g.nodes {
		names = append(names, n.outputs...)
	}
	return names
}

func (r mutator) node(n *node, names []string) {
	switch r.IntN(6) {
	case 0:
		n.op = r.operators[r.IntN(len(r.operators))]
		n.domain = ""
		if slices.Contains(mlOperators, n.op) {
			n.domain = domainML
		}
	case 1:
		if v, ok := one(r, n.inputs); ok {
			*v = names[r.IntN(len(names))]
		}
	case 2:
		n.inputs = append(n.inputs, names[r.IntN(len(names))])
	case 3:
		if len(n.attrs) > 0 {
			delete(n.attrs, slices.Sorted(maps.Keys(n.attrs))[r.IntN(len(n.attrs))])
		}
	default:
		if len(n.attrs) > 0 {
			r.attribute(n.attrs[slices.Sorted(maps.Keys(n.attrs))[r.IntN(len(n.attrs))]])
		}
	}
}

func (r mutator) model(m *modelProto) {
	g := m.graph
	switch r.IntN(6) {
	case 0:
		m.opsets[""] = 7 + r.Int64N(20)
		m.opsets[domainML] = 1 + r.Int64N(5)
	case 1:
		if v, ok := one(r, g.inputs); ok {
			v.dims = [][]int64{{-1, 1}, {-1, 2}, {-1, 5}, {-1, 12}, {-1}, nil}[r.IntN(6)]
			v.typ = []dtype{float32Type, float64Type, int64Type, int32Type, stringType}[r.IntN(5)]
		}
	case 2:
		if len(g.initializers) > 0 {
			r.constant(g.initializers[slices.Sorted(maps.Keys(g.initializers))[r.IntN(len(g.initializers))]])
		}
	default:
		if n, ok := one(r, g.nodes); ok {
			r.node(*n, values(g))
		}
	}
}

// mutable returns the files that mutations start from.
func mutable(t testing.TB) [][]byte {
	var files [][]byte
	for _, c := range readOperators(t) {
		files = append(files, c.Model)
	}
	all := modelFiles(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(all[name]) < 6000 {
			files = append(files, all[name], all[name], all[name])
		}
	}
	return files
}

// mutate changes a file's graph and reports whether the result can be computed.
func mutate(t *testing.T, data []byte, seed uint64) bool {
	r := mutator{rand.New(rand.NewPCG(7, seed)), slices.Sorted(maps.Keys(operators))}
	m, err := (&decoder{left: maxElements}).model(data)
	if err != nil {
		t.Fatal(err)
	}
	for range 1 + r.IntN(3) {
		r.model(m)
	}
	return compute(m, r)
}

// TestMutatedGraphs changes graphs at random: they are refused, or every step of
// them can be computed.
func TestMutatedGraphs(t *testing.T) {
	const rounds = 6
	files, computed := mutable(t), 0
	for i, data := range files {
		for round := range rounds {
			if mutate(t, data, uint64(i*rounds+round)) {
				computed++
			}
		}
	}
	if share := float64(computed) / float64(rounds*len(files)); share < .15 || share > .9 {
		t.Errorf("%.2f of the graphs can be computed: the test looks at the wrong ones", share)
	}
}

// FuzzMutatedGraphs goes on where the test ends.
func FuzzMutatedGraphs(f *testing.F) {
	files := mutable(f)
	f.Add(uint16(1), uint64(1))
	f.Fuzz(func(t *testing.T, file uint16, seed uint64) {
		mutate(t, files[int(file)%len(files)], seed)
	})
}

// compute compiles a graph and runs all of its steps on rows of anything.
func compute(m *modelProto, r mutator) bool {
	inputs, err := readInputs(m.graph)
	if err != nil {
		return false
	}
	for i := range inputs {
		if inputs[i].Width < 0 {
			inputs[i].Width = 1 + r.IntN(5)
		}
	}
	c, in, err := assemble(m, inputs)
	if err != nil {
		return false
	}
	p := &program{slots: c.slots}
	for _, made := range c.steps {
		p.steps = append(p.steps, made.steps...)
	}
	st := p.newState()
	for range 3 {
		for _, v := range in {
			for i := range v.size() {
				if v.typ == stringType {
					st.slots[v.slot].s[i] = []string{"", "a", "1", "c"}[r.IntN(4)]
				} else {
					st.slots[v.slot].setNumber(v.typ, i, float64(r.float()))
				}
			}
		}
		p.run(st)
	}
	return true
}
