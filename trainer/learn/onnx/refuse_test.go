package onnx

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

var (
	in3  = inputInfo("X", float32Type, -1, 3)
	outY = outputInfo("Y")
)

func names(s ...string) []string { return s }

// relu is a graph of one node and a tail.
func oneNode(fields ...[]byte) []byte {
	return file(append(fields, in3, outY)...)
}

// stump is a tree of one split, with parts of it replaced.
func stump(replace map[string][]byte) []byte {
	attrs := map[string][]byte{
		"n_targets":      intAttr("n_targets", 1),
		"nodes_treeids":  intsAttr("nodes_treeids", 0, 0, 0),
		"nodes_nodeids":  intsAttr("nodes_nodeids", 0, 1, 2),
		"nodes_columns":  intsAttr("nodes_featureids", 1, 0, 0),
		"nodes_modes":    textsAttr("nodes_modes", "BRANCH_LEQ", "LEAF", "LEAF"),
		"nodes_values":   floatsAttr("nodes_values", .5, 0, 0),
		"nodes_yes":      intsAttr("nodes_truenodeids", 1, 0, 0),
		"nodes_no":       intsAttr("nodes_falsenodeids", 2, 0, 0),
		"target_treeids": intsAttr("target_treeids", 0, 0),
		"target_nodeids": intsAttr("target_nodeids", 1, 2),
		"target_ids":     intsAttr("target_ids", 0, 0),
		"target_weights": floatsAttr("target_weights", 1, 2),
	}
	var fields [][]byte
	for name, a := range attrs {
		if other, ok := replace[name]; ok {
			a = other
		}
		fields = append(fields, a)
	}
	return oneNode(op(domainML, "TreeEnsembleRegressor", names("X"), names("Y"), fields...))
}

func sliceEnd(b []byte, n int) []byte { return b[:len(b)-n] }

// TestRefused gives files that cannot be scored, and looks for what the error must
// say.
func TestRefused(t *testing.T) {
	relu := op("", "Relu", names("X"), names("Y"))
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "has no graph"},
		{"text", []byte("model: pickle\n"), "no ONNX model"},
		{"cut", sliceEnd(oneNode(relu), 30), "damaged"},
		{"an operator", oneNode(op("", "Conv", names("X"), names("Y"))), `operator Conv (node "the Conv", domain ai.onnx) is not supported; supported are Abs, Add, And, ArgMax`},
		{"an operator of another domain", oneNode(op("com.microsoft", "Gelu", names("X"), names("Y"))), `operator Gelu (node "the Gelu", domain com.microsoft) is not supported`},
		{"a known name of another domain", oneNode(op("my.ops", "Relu", names("X"), names("Y"))), `domain my.ops) is not supported`},
		{"a known name of the other domain", oneNode(op(domainML, "Relu", names("X"), names("Y"))), `domain ai.onnx.ml) is not supported`},
		{"If", oneNode(op("", "If", names("X"), names("Y"), message(5, text(1, "then_branch"), message(6, relu)))), `operator If (node "the If"`},
		{"Loop", oneNode(op("", "Loop", names("X"), names("Y"))), `operator Loop (`},
		{"Scan", oneNode(op("", "Scan", names("X"), names("Y"))), `operator Scan (`},
		{"a graph in an attribute", oneNode(op("", "Relu", names("X"), names("Y"), message(5, text(1, "body"), message(6, relu)))), "graphs within graphs"},
		{"an unknown attribute", oneNode(op("", "Relu", names("X"), names("Y"), intAttr("leak", 1))), `attribute ["leak"] is not supported`},
		{"an attribute of another type", oneNode(op("", "LeakyRelu", names("X"), names("Y"), intAttr("alpha", 1))), `attribute "alpha"`},
		{"a new opset", slices.Concat(message(7, relu, in3, outY), opset("", 99)), "opset 99 is not supported; export with a target_opset of 7 to"},
		{"an old opset", slices.Concat(message(7, relu, in3, outY), opset("", 6)), "opset 6 is not supported"},
		{"no opset", message(7, relu, in3, outY), "does not say which opset"},
		{"no maker of the output", oneNode(op("", "Relu", names("X"), names("Z"))), `nothing makes the output "Y"`},
		{"no maker of an input", oneNode(op("", "Add", names("X", "bias"), names("Y"))), `nothing makes its input "bias"`},
		{"a cycle", oneNode(op("", "Add", names("X", "B"), names("A")), op("", "Relu", names("A"), names("B")), op("", "Relu", names("A"), names("Y"))), "a cycle"},
		{"a value made twice", oneNode(relu, relu), `"Y" is made twice`},
		{"a node that makes the input", oneNode(relu, op("", "Relu", names("X"), names("X"))), `"X" is made twice`},
		{"no inputs of a node", oneNode(op("", "Relu", nil, names("Y"))), "0 inputs instead of 1"},
		{"an input left out", oneNode(op("", "Add", names("X", ""), names("Y"))), "input 1 is left out"},
		{"too many outputs", oneNode(op("", "Relu", names("X"), names("Y", "Z"))), "2 outputs"},
		{"types that differ", oneNode(intsInit("one", 1), op("", "Add", names("X", "one"), names("Y"))), "types float and int64"},
		{"shapes that differ", oneNode(floatsInit("w", []int64{2, 1}, 1, 2), op("", "MatMul", names("X", "w"), names("Y"))), "shapes [1 3] and [2 1]"},
		{"shapes that cannot be spread", oneNode(floatsInit("w", []int64{2}, 1, 2), op("", "Add", names("X", "w"), names("Y"))), "shapes [1 3] and [2]"},
		{"a shape that depends on the row", oneNode(op("", "Cast", names("X"), names("i"), intAttr("to", 7)), op("", "Reshape", names("X", "i"), names("Y"))), "depend on the row"},
		{"a shape that does not fit", oneNode(intsInit("s", 2, 2), op("", "Reshape", names("X", "s"), names("Y"))), "does not fit the shape [2 2]"},
		{"an axis that is not there", oneNode(op("", "ArgMax", names("X"), names("Y"), intAttr("axis", 2))), "axis 2 is outside"},
		{"an order of axes of a scalar", oneNode(floatsInit("c", nil, 1), op("", "Transpose", names("c"), names("Y"), intsAttr("perm", 0))), "no order of 0 axes"},
		{"an index that is not there", oneNode(intsInit("i", 3), op(domainML, "ArrayFeatureExtractor", names("X", "i"), names("Y"))), "index 3 is outside"},
		{"external data", oneNode(relu, message(5, whole(1, 1), whole(2, 1), text(8, "w"), message(13, text(1, "location"), text(2, "w.bin")), whole(14, 1))), "in another file: save the model as one file"},
		{"a sparse initializer", oneNode(relu, message(15)), "sparse"},
		{"half floats", oneNode(relu, message(5, whole(1, 1), whole(2, 10), text(8, "w"), text(9, "ab"))), "element type 10 is not supported"},
		{"too few numbers", oneNode(relu, floatsInit("w", []int64{3}, 1, 2)), `tensor "w": 2 elements where its shape [3] has 3`},
		{"too few bytes", oneNode(relu, message(5, whole(1, 1), whole(2, 1), text(8, "w"), text(9, "ab"))), "2 bytes for 1 elements"},
		{"a huge shape", oneNode(relu, floatsInit("w", []int64{1 << 20, 1 << 20})), "its shape is"},
		{"a negative shape", oneNode(relu, floatsInit("w", []int64{-1})), "its shape is [-1]"},
		{"two initializers of one name", oneNode(relu, floatsInit("w", []int64{1}, 1), floatsInit("w", []int64{1}, 1)), `two initializers are called "w"`},
		{"a huge constant", oneNode(intsInit("s", 1<<20, 4), op("", "ConstantOfShape", names("s"), names("c")), op("", "Add", names("X", "c"), names("Y"))), "is not supported"},
		{"a fixed batch", file(inputInfo("X", float32Type, 32, 3), outY, relu), "32 rows at once: export with a free first dimension"},
		{"an image", file(inputInfo("X", float32Type, -1, 3, 4, 4), outY, relu), "4 dimensions instead of [rows, columns]"},
		{"an input of bools", file(inputInfo("X", boolType, -1, 3), outY, relu), `input "X": bool is not supported`},
		{"an input of sequences", file(message(11, text(1, "X"), message(2, message(4))), outY, relu), "a sequence"},
		{"two inputs of one name", file(in3, in3, outY, relu), `two inputs are called "X"`},
		{"no inputs", file(outY, relu), "no inputs"},
		{"three classes", oneNode(relu), `the output "Y" has 3 numbers a row`},
		{"only a label", oneNode(op("", "ArgMax", names("X"), names("Y"), intAttr("axis", 1))), "no output is a float"},
		{"several outputs", file(in3, outY, outputInfo("Z"), op("", "ReduceSum", names("X"), names("Y")), op("", "ReduceMax", names("X"), names("Z"))), "Y, Z are all floats"},
		{"a map of a map", oneNode(op("", "Softmax", names("X"), names("p")), op(domainML, "ZipMap", names("p"), names("m"), intsAttr("classlabels_int64s", 0, 1, 2)), op(domainML, "ZipMap", names("m"), names("Y"), intsAttr("classlabels_int64s", 0, 1, 2))), "is a map"},
		{"coefficients that do not fit", oneNode(op(domainML, "LinearRegressor", names("X"), names("Y"), floatsAttr("coefficients", 1, 2), intAttr("targets", 1))), "2 coefficients do not make 1 outputs of 3 columns"},
		{"an unknown post_transform", oneNode(op(domainML, "LinearRegressor", names("X"), names("Y"), floatsAttr("coefficients", 1, 2, 3), textAttr("post_transform", "CUBE"))), `post_transform "CUBE"`},
		{"too much work", oneNode(intsInit("s", 1000, 1000), op("", "ConstantOfShape", names("s"), names("a")), op("", "MatMul", names("a", "a"), names("b")), op("", "ReduceSum", names("b"), names("Y"))), "operations"},

		{"a tree with a cycle", stump(map[string][]byte{"nodes_modes": textsAttr("nodes_modes", "BRANCH_LEQ", "BRANCH_LEQ", "LEAF"), "target_nodeids": intsAttr("target_nodeids", 2, 2)}), "a cycle"},
		{"a node that is there twice", stump(map[string][]byte{"nodes_nodeids": intsAttr("nodes_nodeids", 0, 1, 1)}), "node 1 of tree 0 is there twice"},
		{"a child that is not there", stump(map[string][]byte{"nodes_yes": intsAttr("nodes_truenodeids", 9, 0, 0)}), "children 9 and 2"},
		{"a column that is not there", stump(map[string][]byte{"nodes_columns": intsAttr("nodes_featureids", 3, 0, 0)}), "column 3 of 3"},
		{"a threshold of NaN", stump(map[string][]byte{"nodes_values": floatsAttr("nodes_values", nanOf[float32](), 0, 0)}), "threshold of a node is NaN"},
		{"a mode that is not there", stump(map[string][]byte{"nodes_modes": textsAttr("nodes_modes", "BRANCH", "LEAF", "LEAF")}), `mode "BRANCH"`},
		{"lists of different lengths", stump(map[string][]byte{"nodes_values": floatsAttr("nodes_values", .5)}), "lists of nodes have 3 and 1 entries"},
		{"votes of different lengths", stump(map[string][]byte{"target_ids": intsAttr("target_ids", 0)}), "lists of votes"},
		{"a vote at no node", stump(map[string][]byte{"target_nodeids": intsAttr("target_nodeids", 1, 7)}), "node 7 of tree 0, which is not there"},
		{"a vote for no target", stump(map[string][]byte{"target_ids": intsAttr("target_ids", 0, 1)}), "target 1 of 1"},
		{"an attribute of trees that is unknown", stump(map[string][]byte{"n_targets": intAttr("n_objectives", 1)}), `"n_objectives"`},
	}
	if _, err := Read(stump(nil)); err != nil {
		t.Fatalf("the tree itself: %v", err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}

// TestRowWithoutScore scores rows that onnxruntime refuses.
func TestRowWithoutScore(t *testing.T) {
	m, err := Read(file(inputInfo("city", stringType, -1, 1), outY,
		op("", "Cast", names("city"), names("f"), intAttr("to", 1)), op("", "Identity", names("f"), names("Y"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Bind(names("city"), []FeatureKind{Text}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]float64{"1.5": 1.5, "-2": -2} {
		if got := m.Predict(learn.Row{Texts: names(text)}); got != want {
			t.Errorf("%q scores %v", text, got)
		}
	}
	for _, text := range names("", "Oslo") {
		if got := m.Predict(learn.Row{Texts: names(text)}); got == got {
			t.Errorf("%q scores %v", text, got)
		}
	}
	if got := m.Predict(learn.Row{Texts: names("3")}); got != 3 {
		t.Errorf("after a row without a score, another scores %v", got)
	}
}
