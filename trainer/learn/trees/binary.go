package trees

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/millrace/millrace/trainer/learn"
)

// The bytes of a model, version 1. Numbers are little-endian, floats are IEEE
// 754 doubles, and a count is a varint of encoding/binary in its shortest form.
// Two models score alike where their bytes are equal.
//
//	version   byte, 1
//	task      byte, 0 binary, 1 regression, 2 multiclass
//	link      byte, 0 identity, 1 logistic, 2 softmax, 3 exp
//	features  count
//	names     byte, 1 where there are; for each feature a count of bytes, and they
//	bases     count, and as many floats
//	trees     count; for each its class as a count, the count of its nodes, and they
//	node      byte of flags: 1 leaf, 2 missing left, 4 zero missing, 8 set
//	  a leaf    value, cover
//	  a split   feature, left and right as counts, cover; its threshold, or as a
//	            count how many words its set has, and they
//	sum       CRC-32 (Castagnoli) of all before it
//
// The sum finds what has been damaged, and not what somebody has made up: that
// passes Check or is refused.
const version = 1

const (
	flagLeaf = 1 << iota
	flagMissingLeft
	flagZeroMissing
	flagSet
)

// The least bytes of things that are counted, so that a count that the bytes
// cannot hold allocates nothing.
const (
	leastName = 1
	leastTree = 2 + leastNode
	leastNode = 1 + 3 + 8 + 1 // a split by an empty set; a leaf has more
)

var (
	order      = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	tasks      = []learn.Task{learn.Binary, learn.Regression, learn.Multiclass}
	links      = []Link{Identity, Logistic, Softmax, Exp}
)

// AppendBinary appends the model's bytes. It has no error but for a model that
// was not made with New.
func (m *Model) AppendBinary(dst []byte) ([]byte, error) {
	e := m.ensemble
	if e == nil {
		return dst, errors.New("trees: this model was not made with New")
	}
	start := len(dst)
	dst = append(dst, version, index(tasks, m.task), index(links, e.Link))
	dst = appendCount(dst, e.Features)
	if e.Names == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		for _, name := range e.Names {
			dst = append(appendCount(dst, len(name)), name...)
		}
	}
	dst = appendCount(dst, len(e.Base))
	for _, b := range e.Base {
		dst = appendFloat(dst, b)
	}
	dst = appendCount(dst, len(e.Trees))
	for i := range e.Trees {
		dst = appendCount(appendCount(dst, e.Trees[i].Class), len(e.Trees[i].Nodes))
		for j := range e.Trees[i].Nodes {
			dst = appendNode(dst, &e.Trees[i].Nodes[j])
		}
	}
	return order.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli)), nil
}

func appendNode(dst []byte, n *Node) []byte {
	if n.Feature == -1 {
		return appendFloat(appendFloat(append(dst, flagLeaf), n.Value), n.Cover)
	}
	flags := byte(0)
	if n.MissingLeft {
		flags |= flagMissingLeft
	}
	if n.ZeroMissing {
		flags |= flagZeroMissing
	}
	if n.Set != nil {
		flags |= flagSet
	}
	dst = appendCount(append(dst, flags), int(n.Feature))
	dst = appendCount(appendCount(dst, int(n.Left)), int(n.Right))
	dst = appendFloat(dst, n.Cover)
	if n.Set == nil {
		return appendFloat(dst, n.Threshold)
	}
	dst = appendCount(dst, len(n.Set))
	for _, word := range n.Set {
		dst = order.AppendUint64(dst, word)
	}
	return dst
}

func appendCount(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }

func appendFloat(dst []byte, f float64) []byte { return order.AppendUint64(dst, math.Float64bits(f)) }

// index returns the place of x, which is one of all.
func index[T comparable](all []T, x T) byte {
	for i := range all {
		if all[i] == x {
			return byte(i)
		}
	}
	panic(fmt.Sprintf("trees: %v is none of %v", x, all))
}

// UnmarshalBinary makes the model the one that AppendBinary wrote, whatever it
// was before; the zero Model will do. On an error it is left as it was.
func (m *Model) UnmarshalBinary(src []byte) error {
	if len(src) == 0 || src[0] != version {
		return fmt.Errorf("trees: %d bytes that are no model of version %d", len(src), version)
	}
	end := len(src) - 4
	if end < 1 || crc32.Checksum(src[:end], castagnoli) != order.Uint32(src[end:]) {
		return fmt.Errorf("trees: a model of %d bytes is cut off or damaged: its sum is another", len(src))
	}
	d := decoder{src: src[1:end]}
	task := pick(&d, tasks)
	e := d.ensemble()
	if d.err == nil && len(d.src) > 0 {
		d.fail("%d bytes follow its end", len(d.src))
	}
	if d.err != nil {
		return d.err
	}
	read, err := New(e, task)
	if err != nil {
		return err
	}
	*m = *read
	return nil
}

// A decoder reads from src until its first error.
type decoder struct {
	src []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("trees: a model cannot be read: "+format, args...)
		d.src = nil
	}
}

func (d *decoder) byte() byte {
	if len(d.src) == 0 {
		d.fail("it is cut off")
		return 0
	}
	b := d.src[0]
	d.src = d.src[1:]
	return b
}

func (d *decoder) word() uint64 {
	if len(d.src) < 8 {
		d.fail("it is cut off")
		return 0
	}
	w := order.Uint64(d.src)
	d.src = d.src[8:]
	return w
}

func (d *decoder) float() float64 { return math.Float64frombits(d.word()) }

// count reads a count of at most limit.
func (d *decoder) count(limit int) int {
	n, size := binary.Uvarint(d.src)
	if size <= 0 || n > uint64(limit) || size > 1 && d.src[size-1] == 0 {
		d.fail("a count is cut off or not within 0 to %d", limit)
		return 0
	}
	d.src = d.src[size:]
	return int(n)
}

// things reads a count of things of so many bytes at least.
func (d *decoder) things(limit, least int) int { return d.count(min(limit, len(d.src)/least)) }

func (d *decoder) text() string {
	n := d.count(maxName)
	if n > len(d.src) {
		d.fail("it is cut off")
		return ""
	}
	s := string(d.src[:n])
	d.src = d.src[n:]
	return s
}

// pick reads a byte that stands for one of all.
func pick[T any](d *decoder, all []T) (one T) {
	b := d.byte()
	if int(b) >= len(all) {
		d.fail("%d stands for none of %v", b, all)
		return one
	}
	return all[b]
}

func (d *decoder) ensemble() *Ensemble {
	e := &Ensemble{Link: pick(d, links), Features: d.count(maxFeatures)}
	switch d.byte() {
	case 0:
	case 1:
		if e.Features > len(d.src)/leastName {
			d.fail("it is cut off")
			return e
		}
		e.Names = make([]string, e.Features)
		for i := range e.Names {
			e.Names[i] = d.text()
		}
	default:
		d.fail("it has names or has none")
	}
	e.Base = make([]float64, d.things(maxClasses, 8))
	for i := range e.Base {
		e.Base[i] = d.float()
	}
	if n := d.things(maxTrees, leastTree); n > 0 {
		e.Trees = make([]Tree, n)
	}
	for i := range e.Trees {
		e.Trees[i].Class = d.count(maxClasses - 1)
		e.Trees[i].Nodes = make([]Node, d.things(maxNodes, leastNode))
		for j := range e.Trees[i].Nodes {
			d.node(&e.Trees[i].Nodes[j])
		}
	}
	return e
}

func (d *decoder) node(n *Node) {
	flags := d.byte()
	if flags == flagLeaf {
		n.Feature, n.Value, n.Cover = -1, d.float(), d.float()
		return
	}
	if flags&^(flagMissingLeft|flagZeroMissing|flagSet) != 0 {
		d.fail("a node has flags %#x", flags)
		return
	}
	n.MissingLeft, n.ZeroMissing = flags&flagMissingLeft != 0, flags&flagZeroMissing != 0
	n.Feature = int32(d.count(maxFeatures - 1))
	n.Left, n.Right = int32(d.count(maxNodes)), int32(d.count(maxNodes))
	n.Cover = d.float()
	if flags&flagSet == 0 {
		n.Threshold = d.float()
		return
	}
	n.Set = make([]uint64, d.things(maxWords, 8))
	for i := range n.Set {
		n.Set[i] = d.word()
	}
}
