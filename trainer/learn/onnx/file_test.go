package onnx

import (
	"math"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// These write .onnx files: a message is the fields that it is made of.

func message(num protowire.Number, fields ...[]byte) []byte {
	b := protowire.AppendTag(nil, num, protowire.BytesType)
	return protowire.AppendBytes(b, slices.Concat(fields...))
}

func text(num protowire.Number, s string) []byte { return message(num, []byte(s)) }

func whole(num protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), uint64(v))
}

func packed(values []int64) []byte {
	var b []byte
	for _, v := range values {
		b = protowire.AppendVarint(b, uint64(v))
	}
	return b
}

func packedFloats(values []float32) []byte {
	var b []byte
	for _, v := range values {
		b = protowire.AppendFixed32(b, math.Float32bits(v))
	}
	return b
}

func intsAttr(name string, v ...int64) []byte {
	return message(5, text(1, name), message(8, packed(v)), whole(20, attrInts))
}

func floatsAttr(name string, v ...float32) []byte {
	return message(5, text(1, name), message(7, packedFloats(v)), whole(20, attrFloats))
}

func intAttr(name string, v int64) []byte {
	return message(5, text(1, name), whole(3, v), whole(20, attrInt))
}

func textAttr(name, v string) []byte {
	return message(5, text(1, name), text(4, v), whole(20, attrString))
}

func textsAttr(name string, v ...string) []byte {
	parts := [][]byte{text(1, name), whole(20, attrStrings)}
	for _, s := range v {
		parts = append(parts, text(9, s))
	}
	return message(5, parts...)
}

// op writes a node; fields are its attributes.
func op(domain, name string, in, out []string, fields ...[]byte) []byte {
	var parts [][]byte
	for _, s := range in {
		parts = append(parts, text(1, s))
	}
	for _, s := range out {
		parts = append(parts, text(2, s))
	}
	parts = append(parts, text(3, "the "+name), text(4, name), text(7, domain))
	return message(1, append(parts, fields...)...)
}

func info(num protowire.Number, name string, typ dtype, dims ...int64) []byte {
	var shape [][]byte
	for _, d := range dims {
		if d < 0 {
			shape = append(shape, message(1, text(2, "N")))
		} else {
			shape = append(shape, message(1, whole(1, d)))
		}
	}
	return message(num, text(1, name), message(2, message(1, whole(1, int64(typ)), message(2, shape...))))
}

func inputInfo(name string, typ dtype, dims ...int64) []byte { return info(11, name, typ, dims...) }
func outputInfo(name string) []byte                          { return info(12, name, float32Type, -1, 1) }

// floatsInit writes an initializer.
func floatsInit(name string, dims []int64, v ...float32) []byte {
	return message(5, message(1, packed(dims)), whole(2, int64(float32Type)), message(4, packedFloats(v)), text(8, name))
}

func intsInit(name string, v ...int64) []byte {
	return message(5, whole(1, int64(len(v))), whole(2, int64(int64Type)), message(7, packed(v)), text(8, name))
}

func opset(domain string, version int64) []byte {
	return message(8, text(1, domain), whole(2, version))
}

// file writes a model of these fields of its graph.
func file(graph ...[]byte) []byte {
	return slices.Concat(whole(1, 9), message(7, graph...), opset("", 18), opset(domainML, 3))
}

// forestFile writes an ensemble of complete trees.
func forestFile(trees, depth, features int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var treeIDs, ids, columns, yes, no, missing, voteTrees, voteNodes, targets []int64
	var values, weights []float32
	var modes []string
	inner := int64(1)<<depth - 1
	for tree := range int64(trees) {
		for i := range 2*inner + 1 {
			treeIDs, ids, missing = append(treeIDs, tree), append(ids, i), append(missing, int64(r.IntN(2)))
			if i >= inner {
				modes, columns, values, yes, no = append(modes, "LEAF"), append(columns, 0), append(values, 0), append(yes, 0), append(no, 0)
				voteTrees, voteNodes, targets = append(voteTrees, tree), append(voteNodes, i), append(targets, 0)
				weights = append(weights, float32(r.NormFloat64()))
				continue
			}
			modes, columns = append(modes, "BRANCH_LEQ"), append(columns, int64(r.IntN(features)))
			values, yes, no = append(values, float32(r.NormFloat64())), append(yes, 2*i+1), append(no, 2*i+2)
		}
	}
	return file(inputInfo("X", float32Type, -1, int64(features)), outputInfo("Y"),
		op(domainML, "TreeEnsembleRegressor", []string{"X"}, []string{"Y"}, intAttr("n_targets", 1),
			intsAttr("nodes_treeids", treeIDs...), intsAttr("nodes_nodeids", ids...), intsAttr("nodes_featureids", columns...),
			textsAttr("nodes_modes", modes...), floatsAttr("nodes_values", values...),
			intsAttr("nodes_truenodeids", yes...), intsAttr("nodes_falsenodeids", no...), intsAttr("nodes_missing_value_tracks_true", missing...),
			intsAttr("target_treeids", voteTrees...), intsAttr("target_nodeids", voteNodes...), intsAttr("target_ids", targets...),
			floatsAttr("target_weights", weights...)))
}
