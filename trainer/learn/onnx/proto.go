package onnx

import (
	"fmt"
)

// What follows are the messages of onnx.proto, as far as scoring needs them. The
// numbers of fields are those of that file.

type modelProto struct {
	opsets   map[string]int64 // version by domain; "" is ai.onnx
	metadata map[string]string
	graph    *graphProto
}

type graphProto struct {
	nodes        []*node
	initializers map[string]*constant
	inputs       []valueInfo
	outputs      []valueInfo
}

// A valueInfo is what a graph says of an input or output.
type valueInfo struct {
	name   string
	typ    dtype
	other  string // what it is, if no tensor
	shaped bool
	dims   []int64 // -1: any
}

func (d *decoder) model(b []byte) (*modelProto, error) {
	m := &modelProto{opsets: make(map[string]int64), metadata: make(map[string]string)}
	err := d.message(b, func(f field) error {
		switch f.num {
		case 7: // graph
			m.graph = &graphProto{initializers: make(map[string]*constant)}
			return d.graph(f.data, m.graph)
		case 8: // opset_import
			return d.opset(f.data, m.opsets)
		case 14: // metadata_props
			return d.property(f.data, m.metadata)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the file is damaged or no ONNX model: %w", err)
	}
	if m.graph == nil || len(m.graph.outputs) == 0 {
		return nil, errNoModel
	}
	return m, nil
}

func (d *decoder) opset(b []byte, to map[string]int64) error {
	var domain string
	var version int64
	err := d.message(b, func(f field) error {
		switch f.num {
		case 1:
			return f.text(&domain)
		case 2:
			return f.int(&version)
		}
		return nil
	})
	to[plainDomain(domain)] = version
	return errFirst(err, d.spend(1))
}

// plainDomain returns "" for ai.onnx, which are two names of one domain.
func plainDomain(domain string) string {
	if domain == "ai.onnx" {
		return ""
	}
	return domain
}

func (d *decoder) property(b []byte, to map[string]string) error {
	var key, value string
	err := d.message(b, func(f field) error {
		switch f.num {
		case 1:
			return f.text(&key)
		case 2:
			return f.text(&value)
		}
		return nil
	})
	to[key] = value
	return errFirst(err, d.spend(1))
}

func (d *decoder) graph(b []byte, g *graphProto) error {
	return d.message(b, func(f field) error {
		switch f.num {
		case 1: // node
			n, err := d.node(f.data)
			g.nodes = append(g.nodes, n)
			return err
		case 5: // initializer
			t, err := d.tensor(f.data)
			if err != nil {
				return err
			}
			if _, twice := g.initializers[t.name]; twice {
				return fmt.Errorf("two initializers are called %q", t.name)
			}
			g.initializers[t.name] = t
			return nil
		case 11: // input
			v, err := d.valueInfo(f.data)
			g.inputs = append(g.inputs, v)
			return err
		case 12: // output
			v, err := d.valueInfo(f.data)
			g.outputs = append(g.outputs, v)
			return err
		case 15:
			return fmt.Errorf("sparse initializers are not supported: export with dense ones")
		}
		return nil
	})
}

func (d *decoder) node(b []byte) (*node, error) {
	n := &node{attrs: make(map[string]*attribute)}
	err := d.message(b, func(f field) error {
		switch f.num {
		case 1:
			return d.strings(f, &n.inputs)
		case 2:
			return d.strings(f, &n.outputs)
		case 3:
			return f.text(&n.name)
		case 4:
			return f.text(&n.op)
		case 5:
			a, err := d.attribute(f.data)
			if err != nil {
				return fmt.Errorf("node %q: %w", n.name, err)
			}
			n.attrs[a.name] = a
		case 7:
			err := f.text(&n.domain)
			n.domain = plainDomain(n.domain)
			return err
		}
		return nil
	})
	return n, errFirst(err, d.spend(1))
}

func (d *decoder) attribute(b []byte) (*attribute, error) {
	a := &attribute{}
	err := d.message(b, func(f field) (err error) {
		switch f.num {
		case 1:
			return f.text(&a.name)
		case 2:
			a.holds = attrFloat
			return f.float(&a.f)
		case 3:
			a.holds = attrInt
			return f.int(&a.i)
		case 4:
			a.holds = attrString
			return f.text(&a.s)
		case 5:
			a.holds = attrTensor
			a.t, err = d.tensor(f.data)
			return err
		case 6:
			a.holds = attrGraph
		case 11:
			a.holds = attrGraphs
		case 7:
			a.holds = attrFloats
			return d.floats(f, &a.floats)
		case 8:
			a.holds = attrInts
			return d.ints(f, &a.ints)
		case 9:
			a.holds = attrStrings
			return d.strings(f, &a.strings)
		case 20:
			return f.int(&a.typ)
		case 21:
			return fmt.Errorf("an attribute that refers to a function's is not supported")
		}
		return nil
	})
	if err == nil && a.holds == 0 {
		a.holds = a.typ // an empty list, or a zero that was left out
	}
	if err == nil && a.typ != 0 && a.typ != a.holds {
		err = fmt.Errorf("attribute %q holds something else than it says", a.name)
	}
	return a, errFirst(err, d.spend(1))
}

func (d *decoder) valueInfo(b []byte) (valueInfo, error) {
	v := valueInfo{}
	err := d.message(b, func(f field) error {
		switch f.num {
		case 1:
			return f.text(&v.name)
		case 2:
			return d.valueType(f.data, &v)
		}
		return nil
	})
	return v, errFirst(err, d.spend(1))
}

func (d *decoder) valueType(b []byte, v *valueInfo) error {
	return d.message(b, func(f field) error {
		switch f.num {
		case 1:
			return d.tensorType(f.data, v)
		case 4:
			v.other = "a sequence"
		case 5:
			v.other = "a map"
		case 7, 8, 9:
			v.other = "an optional, sparse or opaque value"
		}
		return nil
	})
}

func (d *decoder) tensorType(b []byte, v *valueInfo) error {
	return d.message(b, func(f field) error {
		switch f.num {
		case 1:
			var typ int64
			err := f.int(&typ)
			v.typ = toDtype(typ)
			return err
		case 2:
			v.shaped = true
			return d.message(f.data, func(f field) error {
				if f.num != 1 {
					return nil
				}
				size := int64(-1)
				err := d.message(f.data, func(f field) error {
					if f.num == 1 {
						return f.int(&size)
					}
					return nil
				})
				v.dims = append(v.dims, size)
				return errFirst(err, d.spend(1))
			})
		}
		return nil
	})
}

func errFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
