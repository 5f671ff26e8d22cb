package onnx

import (
	"encoding/binary"
	"fmt"
)

// A dtype is the type of a tensor's elements, numbered as in onnx.proto.
type dtype uint8

const (
	noType      dtype = 0
	float32Type dtype = 1
	uint8Type   dtype = 2 // only in attributes
	int32Type   dtype = 6
	int64Type   dtype = 7
	stringType  dtype = 8
	boolType    dtype = 9
	float64Type dtype = 11
	mapType     dtype = 100 // what ZipMap makes: a probability by label
	otherType   dtype = 255
)

var dtypeNames = map[dtype]string{
	float32Type: "float", uint8Type: "uint8", int32Type: "int32", int64Type: "int64", stringType: "string",
	boolType: "bool", float64Type: "double", mapType: "seq(map)",
}

func (t dtype) String() string {
	if name, ok := dtypeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("element type %d", uint8(t))
}

// toDtype returns otherType for numbers that no dtype has.
func toDtype(v int64) dtype {
	if v < 0 || v >= int64(mapType) {
		return otherType
	}
	return dtype(v)
}

func (t dtype) isFloat() bool { return t == float32Type || t == float64Type }
func (t dtype) isInt() bool   { return t == int64Type || t == int32Type }

// A tensor is the elements of a value, in the one slice that its type uses. An
// int32 and a uint8 are kept as int64.
type tensor struct {
	f []float32
	d []float64
	i []int64
	b []bool
	s []string
}

// element is what tensors are made of.
type element interface {
	float32 | float64 | int64 | bool | string
}

// of returns the elements of t. T must be the type that t uses.
func of[T element](t *tensor) []T {
	var zero T
	var p any
	switch any(zero).(type) {
	case float32:
		p = &t.f
	case float64:
		p = &t.d
	case int64:
		p = &t.i
	case bool:
		p = &t.b
	default:
		p = &t.s
	}
	return *p.(*[]T)
}

func newTensor(typ dtype, n int) tensor {
	switch {
	case typ == float32Type:
		return tensor{f: make([]float32, n)}
	case typ == float64Type:
		return tensor{d: make([]float64, n)}
	case typ == boolType:
		return tensor{b: make([]bool, n)}
	case typ == stringType:
		return tensor{s: make([]string, n)}
	}
	return tensor{i: make([]int64, n)}
}

// size returns how many elements a shape has, or false if more than maxTensor or
// if a dimension is negative.
func size(dims []int) (int, bool) {
	n := 1
	for _, d := range dims {
		if d < 0 || d > maxTensor {
			return 0, false
		}
		if n *= d; n > maxTensor {
			return 0, false
		}
	}
	return n, true
}

// A constant is a tensor of the file, or one that is known once it is read.
type constant struct {
	name string
	typ  dtype
	dims []int
	tensor
}

// A tensorProto is a TensorProto before its data are checked.
type tensorProto struct {
	name     string
	typ      int64
	dims     []int64
	raw      []byte
	hasRaw   bool
	external bool
	ints     []int64 // int32_data, int64_data or uint64_data
	tensor
}

func (d *decoder) tensor(b []byte) (*constant, error) {
	p := &tensorProto{}
	err := d.message(b, func(f field) error {
		switch f.num {
		case 1:
			return d.ints(f, &p.dims)
		case 2:
			return f.int(&p.typ)
		case 3:
			return fmt.Errorf("a segmented tensor is not supported")
		case 4:
			return d.floats(f, &p.f)
		case 5, 7, 11:
			return d.ints(f, &p.ints)
		case 6:
			return d.strings(f, &p.s)
		case 8:
			return f.text(&p.name)
		case 9:
			p.hasRaw = true
			return f.bytes(&p.raw)
		case 10:
			return d.doubles(f, &p.d)
		case 13:
			p.external = true
		case 14:
			p.external = p.external || f.bits != 0
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", p.name, err)
	}
	c, err := p.check(d)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", p.name, err)
	}
	return c, nil
}

// check turns what is in the file into a constant.
func (p *tensorProto) check(d *decoder) (*constant, error) {
	if p.external {
		return nil, fmt.Errorf("its data are in another file: save the model as one file")
	}
	c := &constant{name: p.name, typ: toDtype(p.typ)}
	if len(p.dims) > maxRank {
		return nil, fmt.Errorf("it has %d dimensions, more than %d", len(p.dims), maxRank)
	}
	for _, dim := range p.dims {
		if dim < 0 || dim > maxTensor {
			return nil, fmt.Errorf("its shape is %v: a tensor has 0 to %d elements", p.dims, maxTensor)
		}
		c.dims = append(c.dims, int(dim))
	}
	n, ok := size(c.dims)
	if !ok {
		return nil, fmt.Errorf("its shape is %v: a tensor has 0 to %d elements", p.dims, maxTensor)
	}
	if p.hasRaw {
		if err := d.spend(n); err != nil {
			return nil, err
		}
		return c, c.setRaw(p.raw, n)
	}
	return c, c.setLists(p, n)
}

func (c *constant) setRaw(raw []byte, n int) error {
	width := map[dtype]int{float32Type: 4, float64Type: 8, int32Type: 4, int64Type: 8, boolType: 1, uint8Type: 1}[c.typ]
	if width == 0 {
		return fmt.Errorf("%v is not supported", c.typ)
	}
	if len(raw) != n*width {
		return fmt.Errorf("%d bytes for %d elements of type %v", len(raw), n, c.typ)
	}
	switch c.typ {
	case float32Type:
		c.f = float32s(raw)
		return nil
	case float64Type:
		c.d = float64s(raw)
		return nil
	}
	c.tensor = newTensor(c.typ, n)
	for i := range n {
		switch c.typ {
		case boolType:
			c.b[i] = raw[i] != 0
		case uint8Type:
			c.i[i] = int64(raw[i])
		case int32Type:
			c.i[i] = int64(int32(binary.LittleEndian.Uint32(raw[4*i:])))
		case int64Type:
			c.i[i] = int64(binary.LittleEndian.Uint64(raw[8*i:]))
		}
	}
	return nil
}

func (c *constant) setLists(p *tensorProto, n int) error {
	have := 0
	switch c.typ {
	case float32Type:
		c.f, have = p.f, len(p.f)
	case float64Type:
		c.d, have = p.d, len(p.d)
	case stringType:
		c.s, have = p.s, len(p.s)
	case int32Type, int64Type, uint8Type:
		c.i, have = p.ints, len(p.ints)
	case boolType:
		c.b, have = make([]bool, len(p.ints)), len(p.ints)
		for i, v := range p.ints {
			c.b[i] = v != 0
		}
	default:
		return fmt.Errorf("%v is not supported", c.typ)
	}
	if have != n {
		return fmt.Errorf("%d elements where its shape %v has %d", have, c.dims, n)
	}
	return nil
}
