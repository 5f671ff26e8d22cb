package onnx

import (
	"fmt"
	"slices"
	"strings"
)

// sorted returns the nodes of a graph so that each comes after those that make
// its inputs. known are the values that no node makes.
func sorted(g *graphProto, known map[string]*value) ([]*node, error) {
	makers := make(map[string]int)
	for i, n := range g.nodes {
		for _, name := range n.outputs {
			if _, twice := makers[name]; name != "" && (twice || known[name] != nil) {
				return nil, fmt.Errorf("%v: %q is made twice", n, name)
			}
			makers[name] = i
		}
	}
	waiting := make([]int, len(g.nodes)) // for how many inputs a node waits
	readers := make([][]int, len(g.nodes))
	var ready []int
	for i, n := range g.nodes {
		for _, name := range n.inputs {
			if name == "" || known[name] != nil {
				continue
			}
			maker, ok := makers[name]
			if !ok {
				return nil, fmt.Errorf("%v: nothing makes its input %q", n, name)
			}
			waiting[i]++
			readers[maker] = append(readers[maker], i)
		}
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	var order []*node
	for ; len(ready) > 0; ready = ready[1:] {
		order = append(order, g.nodes[ready[0]])
		for _, reader := range readers[ready[0]] {
			if waiting[reader]--; waiting[reader] == 0 {
				ready = append(ready, reader)
			}
		}
	}
	if len(order) < len(g.nodes) {
		i := slices.IndexFunc(waiting, func(n int) bool { return n > 0 })
		return nil, fmt.Errorf("%v: the graph has a cycle through its inputs", g.nodes[i])
	}
	return order, nil
}

// scoreNames are what exporters call the output that counts, where there are
// several of floats.
var scoreNames = []string{"probabilities", "output_probability", "probability", "variable"}

// findScore picks the output that is the score.
func findScore(g *graphProto, values map[string]*value) (scoreAt, error) {
	var candidates []string
	labels := false
	for _, out := range g.outputs {
		v := values[out.name]
		switch {
		case v == nil:
			return scoreAt{}, fmt.Errorf("nothing makes the output %q", out.name)
		case v.typ == mapType || v.typ.isFloat():
			candidates = append(candidates, out.name)
		default:
			labels = true
		}
	}
	if len(candidates) == 0 {
		return scoreAt{}, fmt.Errorf("no output is a float: export the probabilities of a classifier, not only its label")
	}
	name := candidates[0]
	if len(candidates) > 1 {
		i := slices.IndexFunc(candidates, func(name string) bool { return slices.Contains(scoreNames, name) })
		if i < 0 {
			return scoreAt{}, fmt.Errorf("the outputs %s are all floats: export one of them, or call it probabilities", strings.Join(candidates, ", "))
		}
		name = candidates[i]
	}
	v := values[name]
	switch n := v.size(); {
	case n == 1 && v.typ != mapType:
		at := scoreAt{value: v, classes: 1}
		if labels {
			at.classes = 2
		}
		return at, nil
	case n == 2:
		return scoreAt{value: v, element: classOne(v.keys), classes: 2}, nil
	default:
		return scoreAt{}, fmt.Errorf("the output %q has %d numbers a row: a model has one, or the probabilities of two classes", name, n)
	}
}

// classOne returns the place of the probability of label 1: where a map says so,
// otherwise the second.
func classOne(keys []string) int {
	if i := slices.Index(keys, "1"); i >= 0 {
		return i
	}
	return 1
}
