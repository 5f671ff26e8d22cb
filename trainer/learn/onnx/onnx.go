// Package onnx reads models of the ONNX format, which scikit-learn, XGBoost,
// LightGBM and PyTorch export to, and scores them, one row at a time.
//
// It covers the operators of models for tables: linear models, ensembles of trees,
// small nets, and what prepares their columns. Any other operator is named and
// refused when the file is read, not when a row comes.
//
// Why not a runtime library: onnxruntime and its bindings (yalue/onnxruntime_go, or
// mackross/gonnx without cgo) load a shared library of C++ of 20 MB. In pure Go
// there are AdvancedClimateSystems/gonnx (Scaler and LinearRegressor, no trees;
// issue 156), oramasearch/onnx-go (neither, issue 174), gomlx/onnx-gomlx (neither,
// on a backend of its own) and Kazuhito00/onnx-purego-interpreter (nets only): none
// has the operators of the domain ai.onnx.ml that tables need. The file itself is
// read with google.golang.org/protobuf/encoding/protowire.
//
// Numbers are those of onnxruntime: float32 where the file says float, and its
// choices where the standard leaves one, as what post_transform does to a single
// score (nothing, but PROBIT). Sums are taken in the order of the columns, so that
// every machine gets the same bits; onnxruntime's differ in the last ones.
//
// A graph is compiled when it is read: each value gets its shape for one row and a
// place in a buffer, and what does not depend on the row is computed then. A model
// keeps such buffers for as many rows as are scored at once.
package onnx

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/trainer/learn"
)

// The limits of a file. What is above is refused when it is read.
const (
	maxFile      = 64 << 20 // bytes
	maxElements  = 16 << 20 // of all lists and tensors
	maxTensor    = 1 << 24  // elements of a tensor of the file
	maxCells     = 1 << 21  // elements of all values that a row makes, together
	maxTreeNodes = 1 << 21  // of an ensemble
	maxWork      = 1 << 26  // operations for a row, about: a tenth of a second
	maxNodes     = 10_000   // of the graph
	maxInputs    = 10_000   // of the graph, or of a node
	maxRank      = 8        // dimensions of a shape
)

// A Kind is what an input takes.
type Kind string

// The kinds. Doubles are Float, too, and int32 is Int64.
const (
	Float  Kind = "float"
	Int64  Kind = "int64"
	String Kind = "string"
)

// An Input is a tensor that a model takes: one row of Width columns.
type Input struct {
	Name  string
	Kind  Kind
	Width int // columns; -1: as many as it is given

	typ    dtype
	vector bool // it is [N] and not [N, 1]
}

// A Model is an ONNX model, ready to score. It is safe for concurrent use, but for
// Bind and UnmarshalBinary.
type Model struct {
	file     []byte
	metadata map[string]string
	inputs   []Input
	open     *modelProto // what Bind compiles, if only it knows a width; otherwise nil
	program  *program    // nil: Bind has not told a width yet
	feeds    []feed
}

var _ learn.Model = (*Model)(nil)

// Read reads the bytes of an .onnx file and checks all of it: operators, types,
// shapes and constants. The model keeps a copy of the bytes.
//
// A model that takes one row of floats can score at once, with the row's dense
// values in their order. Any other must be bound to features first.
func Read(data []byte) (*Model, error) {
	m, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return m, nil
}

func read(data []byte) (*Model, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("the file has %d bytes; the limit is %d: train a smaller model", len(data), maxFile)
	}
	m := &Model{file: slices.Clone(data)}
	proto, err := (&decoder{left: maxElements}).model(m.file)
	if err != nil {
		return nil, err
	}
	if len(proto.graph.nodes) > maxNodes {
		return nil, fmt.Errorf("the graph has %d nodes; the limit is %d", len(proto.graph.nodes), maxNodes)
	}
	if m.inputs, err = readInputs(proto.graph); err != nil {
		return nil, err
	}
	m.metadata = proto.metadata
	if slices.ContainsFunc(m.inputs, func(in Input) bool { return in.Width < 0 }) {
		c := &compiler{opsets: proto.opsets}
		for _, n := range proto.graph.nodes { // the rest is checked by Bind
			if _, err := c.operator(n); err != nil {
				return nil, err
			}
		}
		m.open = proto
		return m, nil
	}
	if m.program, err = compile(proto, m.inputs); err != nil {
		return nil, err
	}
	if len(m.inputs) == 1 && m.inputs[0].Kind == Float {
		m.feeds = []feed{{columns: counting(m.inputs[0].Width)}}
	}
	return m, nil
}

// readInputs returns the inputs of a graph that are no constants.
func readInputs(g *graphProto) ([]Input, error) {
	if len(g.inputs) > maxInputs {
		return nil, fmt.Errorf("the graph has %d inputs; the limit is %d", len(g.inputs), maxInputs)
	}
	var inputs []Input
	for _, v := range g.inputs {
		if g.initializers[v.name] != nil {
			continue
		}
		if slices.ContainsFunc(inputs, func(in Input) bool { return in.Name == v.name }) {
			return nil, fmt.Errorf("two inputs are called %q", v.name)
		}
		in, err := readInput(v)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", v.name, err)
		}
		inputs = append(inputs, in)
	}
	if len(inputs) == 0 {
		return nil, fmt.Errorf("the graph has no inputs")
	}
	return inputs, nil
}

func readInput(v valueInfo) (Input, error) {
	in := Input{Name: v.name, Width: -1, typ: v.typ}
	switch {
	case v.other != "":
		return in, fmt.Errorf("it is %s: export with tensors", v.other)
	case v.typ.isFloat():
		in.Kind = Float
	case v.typ.isInt():
		in.Kind = Int64
	case v.typ == stringType:
		in.Kind = String
	default:
		return in, fmt.Errorf("%v is not supported: export it as float, double, int64, int32 or string", v.typ)
	}
	if !v.shaped {
		return in, nil
	}
	var rows int64
	switch len(v.dims) {
	case 1:
		in.Width, in.vector, rows = 1, true, v.dims[0]
	case 2:
		in.Width, rows = int(v.dims[1]), v.dims[0]
	default:
		return in, fmt.Errorf("it has %d dimensions instead of [rows, columns]", len(v.dims))
	}
	if rows > 1 {
		return in, fmt.Errorf("it takes %d rows at once: export with a free first dimension", rows)
	}
	if in.Width < -1 || in.Width == 0 || in.Width > maxCells {
		return in, fmt.Errorf("it has %d columns", in.Width)
	}
	return in, nil
}

// Inputs returns the tensors that the model takes, in the order of the file.
func (m *Model) Inputs() []Input { return slices.Clone(m.inputs) }

// Task returns what the outputs look like: Binary where there are two classes or a
// label beside the score, otherwise Regression. A net with one output may be either.
// Before Bind has told a width that the file leaves open, it returns "".
func (m *Model) Task() learn.Task {
	switch {
	case m.program == nil:
		return ""
	case m.program.output.classes == 2:
		return learn.Binary
	}
	return learn.Regression
}

// AppendBinary appends the bytes of the file.
func (m *Model) AppendBinary(b []byte) ([]byte, error) { return append(b, m.file...), nil }

// UnmarshalBinary reads a file as Read does. What was bound must be bound again.
func (m *Model) UnmarshalBinary(data []byte) error {
	read, err := Read(data)
	if err == nil {
		*m = *read
	}
	return err
}
