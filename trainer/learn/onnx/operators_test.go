package onnx

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An operatorCase is a graph of operators.json.gz with what onnxruntime makes of it.
type operatorCase struct {
	Name    string
	Model   []byte
	Feeds   []map[string][]any
	Outputs []map[string][]any // nil: onnxruntime refuses the row
}

func readOperators(t testing.TB) []operatorCase {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "operators.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []operatorCase }
	if err := json.NewDecoder(z).Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// A bench is a graph that tests run as a whole, whatever its outputs.
type bench struct {
	*program
	outputs map[string]*value
}

func assembled(t testing.TB, file []byte) bench {
	t.Helper()
	m, err := (&decoder{left: maxElements}).model(file)
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := readInputs(m.graph)
	if err != nil {
		t.Fatal(err)
	}
	c, in, err := assemble(m, inputs)
	if err != nil {
		t.Fatal(err)
	}
	b := bench{&program{inputs: in, slots: c.slots}, make(map[string]*value)}
	for _, made := range c.steps {
		b.steps = append(b.steps, made.steps...)
	}
	for i := range inputs {
		b.outputs[inputs[i].Name] = in[i]
	}
	for _, out := range m.graph.outputs {
		b.outputs[out.name] = c.values[out.name]
	}
	return b
}

// set writes the elements of a value.
func set(t *tensor, typ dtype, values []any) {
	for i, v := range values {
		switch typ {
		case float32Type:
			t.f[i] = float32(toFloat(v))
		case float64Type:
			t.d[i] = toFloat(v)
		case int64Type, int32Type:
			t.i[i] = int64(v.(float64))
		case boolType:
			t.b[i] = v.(bool)
		case stringType:
			t.s[i] = v.(string)
		}
	}
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case string:
		return map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[v]
	}
	return math.MaxFloat64
}

// precision returns how far an operator's floats and doubles may be off.
func precision(name string) (float, double float64) {
	switch {
	case strings.Contains(name, "PROBIT"): // it magnifies what the last bit of a logarithm is
		return 5e-5, 5e-5
	case strings.HasPrefix(name, "trees"): // their post_transform is one of floats
		return 2e-6, 1e-7
	}
	return 2e-6, 1e-12
}

// differs returns where elements are not those wanted, or -1.
func differs(t *tensor, typ dtype, want []any, float, double float64) int {
	near := func(a, b, bits float64) bool {
		return a == b || a != a && b != b || math.Abs(a-b) <= bits*max(1, math.Abs(b))
	}
	for i, w := range want {
		ok := false
		switch typ {
		case float32Type:
			ok = near(float64(t.f[i]), toFloat(w), float)
		case float64Type:
			ok = near(t.d[i], toFloat(w), double)
		case int64Type, int32Type:
			ok = float64(t.i[i]) == w.(float64)
		case boolType:
			ok = t.b[i] == w.(bool)
		case stringType:
			ok = t.s[i] == w.(string)
		}
		if !ok {
			return i
		}
	}
	return -1
}

// TestOperators compares each operator and its parameters with onnxruntime.
func TestOperators(t *testing.T) {
	cases := readOperators(t)
	if len(cases) < 500 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			b := assembled(t, c.Model)
			st := b.newState()
			float, double := precision(c.Name)
			for row, feed := range c.Feeds {
				for name, values := range feed {
					in := b.outputs[name]
					set(&st.slots[in.slot], in.typ, values)
				}
				b.run(st)
				if want := c.Outputs[row] == nil; want != st.failed {
					t.Errorf("row %d: refused is %v, onnxruntime says %v", row, st.failed, want)
					continue
				}
				for name, want := range c.Outputs[row] {
					out := b.outputs[name]
					if out.size() != len(want) {
						t.Errorf("row %d: output %s is %v, onnxruntime gives %v", row, name, out, want)
					} else if i := differs(&st.slots[out.slot], out.typ, want, float, double); i >= 0 {
						t.Errorf("row %d: output %s differs at %d: %+v, onnxruntime gives %v", row, name, i, st.slots[out.slot], want)
					}
				}
			}
		})
	}
}

// TestEveryOperatorIsTested looks for each name in the graphs of the tests.
func TestEveryOperatorIsTested(t *testing.T) {
	tested := []string{"ZipMap"} // of the exports
	for _, c := range readOperators(t) {
		m, err := (&decoder{left: maxElements}).model(c.Model)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range m.graph.nodes {
			tested = append(tested, n.op)
		}
	}
	for name := range operators {
		if !slices.Contains(tested, name) {
			t.Errorf("%s is not in operators.json.gz", name)
		}
	}
}
