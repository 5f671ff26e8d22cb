package ftrl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/trainer/learn"
)

// The bytes of a model, version 1. Numbers are little-endian, floats are IEEE
// 754 doubles, and a count is a varint of encoding/binary. Two models are equal
// where their bytes are.
//
//	version     byte, 1
//	task        byte, 0 binary, 1 regression
//	hash bits   byte
//	raw labels  byte, 0 or 1
//	dense       count of dense values
//	parameters  alpha, beta, l1, l2
//	labels      sum of weights, mean, sum of squares about it
//	bias        place: z, then the root of n
//	dense       places
//	hashed      count of the places that have learned; for each in order how many
//	            were passed over since the one before, as a count, and the place
const version = 1

var order = binary.LittleEndian

// AppendBinary appends the model's bytes. It has no error.
func (m *Model) AppendBinary(dst []byte) ([]byte, error) {
	dst = m.appendHeader(dst)
	for _, f := range [...]float64{m.labels.weight, m.labels.mean, m.labels.squares} {
		dst = appendFloat(dst, f)
	}
	dst = appendPlace(dst, m.bias)
	learned := uint64(0)
	for _, s := range m.dense {
		dst = appendPlace(dst, s)
	}
	for _, s := range m.hashed {
		if s != (place{}) {
			learned++
		}
	}
	dst = binary.AppendUvarint(dst, learned)
	next := 0
	for i, s := range m.hashed {
		if s != (place{}) {
			dst = appendPlace(binary.AppendUvarint(dst, uint64(i-next)), s)
			next = i + 1
		}
	}
	return dst, nil
}

// appendHeader appends all that a model is made with.
func (m *Model) appendHeader(dst []byte) []byte {
	dst = append(dst, version, 0, byte(m.params.HashBits), 0)
	if m.task == learn.Regression {
		dst[len(dst)-3] = 1
	}
	if m.params.RawLabels {
		dst[len(dst)-1] = 1
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.dense)))
	for _, f := range [...]float64{m.params.Alpha, m.params.Beta, m.params.L1, m.params.L2} {
		dst = appendFloat(dst, f)
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte { return order.AppendUint64(dst, math.Float64bits(f)) }

func appendPlace(dst []byte, s place) []byte { return appendFloat(appendFloat(dst, s.z), s.root) }

// UnmarshalBinary takes the state of the model that AppendBinary wrote. That one
// must have been made as this one was: with the same task, number of dense values
// and parameters, epochs apart. On an error this model is left as it was.
func (m *Model) UnmarshalBinary(src []byte) error {
	if m.hashed == nil {
		return errors.New("ftrl: this model was not made with New")
	}
	if err := m.checkHeader(src); err != nil {
		return err
	}
	d := decoder{src: src[len(m.appendHeader(nil)):]}
	read := Model{task: m.task, params: m.params, buffer: m.buffer}
	read.labels = d.scale()
	read.bias = d.place()
	// The header agrees, so this allocates no more than New did.
	read.dense = make([]place, len(m.dense))
	for i := range read.dense {
		read.dense[i] = d.place()
	}
	read.hashed = make([]place, len(m.hashed))
	d.hashed(read.hashed)
	if d.err == nil && len(d.src) > 0 {
		d.fail("%d bytes follow its end", len(d.src))
	}
	if d.err != nil {
		return d.err
	}
	*m = read
	return nil
}

// checkHeader says in what src differs from the model.
func (m *Model) checkHeader(src []byte) error {
	want := m.appendHeader(nil)
	switch {
	case len(src) == 0 || src[0] != version:
		return fmt.Errorf("ftrl: %d bytes that are no model of version %d", len(src), version)
	case len(src) < len(want):
		return fmt.Errorf("ftrl: a model of %d bytes is cut off", len(src))
	}
	if string(src[:len(want)]) != string(want) {
		return fmt.Errorf("ftrl: the bytes are those of a model of another task, number of dense values or parameters (%x) than this one (%x): make it with those of the bundle's manifest", src[:len(want)], want)
	}
	return nil
}

// A decoder reads from src until its first error.
type decoder struct {
	src []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("ftrl: a model cannot be read: "+format, args...)
	}
}

func (d *decoder) float() float64 {
	if len(d.src) < 8 {
		d.fail("it is cut off")
		d.src = nil
		return 0
	}
	f := math.Float64frombits(order.Uint64(d.src))
	d.src = d.src[8:]
	if math.IsNaN(f) || math.IsInf(f, 0) {
		d.fail("it holds %v", f)
	}
	return f
}

// count reads a count of at most limit, in its shortest form.
func (d *decoder) count(limit int) int {
	n, size := binary.Uvarint(d.src)
	if size <= 0 || n > uint64(limit) || size > 1 && d.src[size-1] == 0 {
		d.fail("a count is cut off or not within 0 to %d", limit)
		return 0
	}
	d.src = d.src[size:]
	return int(n)
}

// Bounds of what learning leaves: see limit. They hold for 1e20 steps.
const (
	maxRoot  = limit * 1e10
	maxSteps = 1e20
)

// place reads one that learning can have left. No other may get in: one with a z
// and no root, say, has an infinite weight where Beta and L2 are 0.
func (d *decoder) place() place {
	s := place{z: d.float(), root: d.float()}
	none := s.root == 0 && math.Float64bits(s.z)|math.Float64bits(s.root) == 0
	if !none && !(s.root >= least/2 && s.root <= maxRoot && math.Abs(s.z) <= s.root*maxSteps) {
		d.fail("no learning leaves z %v with a root of %v", s.z, s.root)
	}
	return s
}

func (d *decoder) scale() scale {
	s := scale{weight: d.float(), mean: d.float(), squares: d.float()}
	none := s.weight == 0 && s.mean == 0 && s.squares == 0
	if !none && !(s.weight > 0 && math.Abs(s.mean) <= 2*limit && s.squares >= 0) {
		d.fail("no labels have mean %v and squares %v with weight %v", s.mean, s.squares, s.weight)
	}
	return s
}

func (d *decoder) hashed(places []place) {
	next := 0
	for n := d.count(len(places)); n > 0 && d.err == nil; n-- {
		next += d.count(len(places) - next)
		if next == len(places) {
			d.fail("a hashed place is beyond %d", len(places))
			return
		}
		if places[next] = d.place(); places[next] == (place{}) {
			d.fail("hashed place %d has learned nothing", next)
		}
		next++
	}
}
