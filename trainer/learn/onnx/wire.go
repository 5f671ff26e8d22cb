package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A decoder reads protobuf messages and counts what it makes of them, so that a
// small file cannot become a large amount of memory.
type decoder struct {
	left int // elements that may still be made
}

var errTooMany = fmt.Errorf("the file has more than %d elements in its lists: prune the model or train a smaller one", maxElements)

// spend takes n elements from what may still be made.
func (d *decoder) spend(n int) error {
	if n > d.left {
		return errTooMany
	}
	d.left -= n
	return nil
}

// A field is one field of a message, as it lies in the file.
type field struct {
	num  protowire.Number
	typ  protowire.Type
	bits uint64 // of a number
	data []byte // of anything else; part of the file
}

// message calls each for every field of a message, known or not.
func (d *decoder) message(b []byte, each func(field) error) error {
	for len(b) > 0 {
		f, n, err := readField(b)
		if err != nil {
			return err
		}
		b = b[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

func readField(b []byte) (f field, size int, err error) {
	num, typ, size := protowire.ConsumeTag(b)
	if size < 0 {
		return f, 0, fmt.Errorf("a field's tag: %w", protowire.ParseError(size))
	}
	f = field{num: num, typ: typ}
	rest, n := b[size:], 0
	switch typ {
	case protowire.VarintType:
		f.bits, n = protowire.ConsumeVarint(rest)
	case protowire.Fixed64Type:
		f.bits, n = protowire.ConsumeFixed64(rest)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(rest)
		f.bits = uint64(v)
	case protowire.BytesType:
		f.data, n = protowire.ConsumeBytes(rest)
	default:
		return f, 0, fmt.Errorf("field %d has wire type %d, which ONNX does not use", num, typ)
	}
	if n < 0 {
		return f, 0, fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
	}
	return f, size + n, nil
}

func (f field) want(typ protowire.Type) error {
	if f.typ != typ {
		return fmt.Errorf("field %d has wire type %d instead of %d", f.num, f.typ, typ)
	}
	return nil
}

func (f field) text(to *string) error {
	*to = string(f.data)
	return f.want(protowire.BytesType)
}

func (f field) bytes(to *[]byte) error {
	*to = f.data
	return f.want(protowire.BytesType)
}

func (f field) int(to *int64) error {
	*to = int64(f.bits)
	return f.want(protowire.VarintType)
}

func (f field) float(to *float32) error {
	*to = math.Float32frombits(uint32(f.bits))
	return f.want(protowire.Fixed32Type)
}

// floats appends a repeated float, packed or one of its elements.
func (d *decoder) floats(f field, to *[]float32) error {
	if f.typ != protowire.BytesType {
		if err := d.spend(1); err != nil {
			return err
		}
		*to = append(*to, 0)
		return f.float(&(*to)[len(*to)-1])
	}
	if len(f.data)%4 != 0 {
		return fmt.Errorf("field %d: %d bytes are no list of floats", f.num, len(f.data))
	}
	if err := d.spend(len(f.data) / 4); err != nil {
		return err
	}
	*to = append(*to, float32s(f.data)...)
	return nil
}

// doubles appends a repeated double, packed or one of its elements.
func (d *decoder) doubles(f field, to *[]float64) error {
	if f.typ == protowire.Fixed64Type {
		*to = append(*to, math.Float64frombits(f.bits))
		return d.spend(1)
	}
	if err := f.want(protowire.BytesType); err != nil {
		return err
	}
	if len(f.data)%8 != 0 {
		return fmt.Errorf("field %d: %d bytes are no list of doubles", f.num, len(f.data))
	}
	if err := d.spend(len(f.data) / 8); err != nil {
		return err
	}
	*to = append(*to, float64s(f.data)...)
	return nil
}

// ints appends a repeated whole number, packed or one of its elements.
func (d *decoder) ints(f field, to *[]int64) error {
	if f.typ == protowire.VarintType {
		*to = append(*to, int64(f.bits))
		return d.spend(1)
	}
	if err := f.want(protowire.BytesType); err != nil {
		return err
	}
	count := varints(f.data)
	if err := d.spend(count); err != nil {
		return err
	}
	*to = slices.Grow(*to, count)
	for b := f.data; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return fmt.Errorf("field %d: %w", f.num, protowire.ParseError(n))
		}
		*to = append(*to, int64(v))
		b = b[n:]
	}
	return nil
}

// varints returns how many numbers end in b.
func varints(b []byte) int {
	n := 0
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	return n
}

func (d *decoder) strings(f field, to *[]string) error {
	if err := d.spend(1); err != nil {
		return err
	}
	s := ""
	if last := len(*to) - 1; last >= 0 && (*to)[last] == string(f.data) {
		s = (*to)[last] // as the modes of a tree's nodes are, often
	} else {
		s = string(f.data)
	}
	*to = append(*to, s)
	return f.want(protowire.BytesType)
}

func float32s(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		bits, _ := protowire.ConsumeFixed32(b[4*i:])
		v[i] = math.Float32frombits(bits)
	}
	return v
}

func float64s(b []byte) []float64 {
	v := make([]float64, len(b)/8)
	for i := range v {
		bits, _ := protowire.ConsumeFixed64(b[8*i:])
		v[i] = math.Float64frombits(bits)
	}
	return v
}

var errNoModel = errors.New("this is not an ONNX model: it has no graph")
