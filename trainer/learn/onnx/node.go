package onnx

import (
	"fmt"
	"slices"
)

// A node is one operation of the graph.
type node struct {
	name, op, domain string
	inputs, outputs  []string // "" is one left out
	attrs            map[string]*attribute
	opset            int64 // the version of its domain
	read             []string
	err              error // of the first attribute that is not as it should be
}

// An attribute is a parameter of a node.
type attribute struct {
	name    string
	typ     int64 // what it says it holds; 0: nothing
	holds   int64
	f       float32
	i       int64
	s       string
	t       *constant
	floats  []float32
	ints    []int64
	strings []string
}

// What an attribute holds, numbered as in onnx.proto.
const (
	attrFloat   = 1
	attrInt     = 2
	attrString  = 3
	attrTensor  = 4
	attrGraph   = 5
	attrFloats  = 6
	attrInts    = 7
	attrStrings = 8
	attrGraphs  = 10
)

// String names a node in errors.
func (n *node) String() string {
	domain := n.domain
	if domain == "" {
		domain = "ai.onnx"
	}
	if n.name == "" && len(n.outputs) > 0 {
		return fmt.Sprintf("operator %s (output %q, domain %s)", n.op, n.outputs[0], domain)
	}
	return fmt.Sprintf("operator %s (node %q, domain %s)", n.op, n.name, domain)
}

// attr returns the attribute of that name, or nil. What no builder asks for is
// refused afterwards: a parameter that is ignored would give wrong scores.
func (n *node) attr(name string, holds int64) *attribute {
	n.read = append(n.read, name)
	a := n.attrs[name]
	if a != nil && a.holds != holds {
		n.fail("attribute %q has type %d instead of %d", name, a.holds, holds)
		return nil
	}
	return a
}

func (n *node) fail(format string, args ...any) {
	if n.err == nil {
		n.err = fmt.Errorf(format, args...)
	}
}

func (n *node) has(name string) bool { return n.attrs[name] != nil }

func (n *node) int(name string, otherwise int64) int64 {
	if a := n.attr(name, attrInt); a != nil {
		return a.i
	}
	return otherwise
}

func (n *node) flag(name string, otherwise bool) bool {
	var v int64
	if otherwise {
		v = 1
	}
	return n.int(name, v) != 0
}

func (n *node) float(name string, otherwise float32) float32 {
	if a := n.attr(name, attrFloat); a != nil {
		return a.f
	}
	return otherwise
}

func (n *node) text(name, otherwise string) string {
	if a := n.attr(name, attrString); a != nil {
		return a.s
	}
	return otherwise
}

func (n *node) ints(name string) []int64 {
	if a := n.attr(name, attrInts); a != nil {
		return a.ints
	}
	return nil
}

func (n *node) floats(name string) []float32 {
	if a := n.attr(name, attrFloats); a != nil {
		return a.floats
	}
	return nil
}

func (n *node) strings(name string) []string {
	if a := n.attr(name, attrStrings); a != nil {
		return a.strings
	}
	return nil
}

func (n *node) tensor(name string) *constant {
	if a := n.attr(name, attrTensor); a != nil {
		return a.t
	}
	return nil
}

// ignore marks attributes that say nothing about the outputs.
func (n *node) ignore(names ...string) { n.read = append(n.read, names...) }

// attributeError returns what is wrong with the attributes, once the node is built.
func (n *node) attributeError() error {
	if n.err != nil {
		return n.err
	}
	var unread []string
	for name := range n.attrs {
		if !slices.Contains(n.read, name) {
			unread = append(unread, name)
		}
	}
	if len(unread) > 0 {
		slices.Sort(unread)
		return fmt.Errorf("attribute %q is not supported in opset %d", unread, n.opset)
	}
	return nil
}

// axis returns an axis of a shape of that rank; a negative one counts from the end.
func (n *node) axis(axis int64, rank int) int {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		n.fail("axis %d is outside a shape of %d dimensions", axis, rank)
		return 0
	}
	return int(axis)
}
