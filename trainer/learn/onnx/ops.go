package onnx

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A builder checks a node and its inputs and compiles it. An input that is left
// out is nil.
type builder func(c *compiler, n *node, in []*value) ([]*value, error)

// The newest operator sets whose operators were read when this was written.
const (
	minOpset   = 7 // before, broadcasting was told by attributes
	maxOpset   = 26
	maxMLOpset = 5
)

const domainML = "ai.onnx.ml"

// operators are what is supported, of the domains ai.onnx and ai.onnx.ml. No name
// is in both.
var operators = map[string]builder{
	"Abs": unary, "Neg": unary, "Exp": unary, "Log": unary, "Sqrt": unary, "Floor": unary, "Ceil": unary, "Sign": unary,
	"Reciprocal": unary, "Relu": unary, "LeakyRelu": unary, "Elu": unary, "Sigmoid": unary, "Tanh": unary, "Softplus": unary,
	"IsNaN": isNaN, "Not": not, "Clip": clip, "Cast": cast,
	"Add": arithmetic, "Sub": arithmetic, "Mul": arithmetic, "Div": arithmetic, "Pow": arithmetic,
	"Max": variadic, "Min": variadic, "Sum": variadic,
	"Equal": compare, "Less": compare, "LessOrEqual": compare, "Greater": compare, "GreaterOrEqual": compare,
	"And": logic, "Or": logic, "Xor": logic, "Where": where,
	"ReduceSum": reduce, "ReduceMean": reduce, "ReduceMax": reduce, "ReduceMin": reduce, "ReduceProd": reduce,
	"ReduceSumSquare": reduce, "ReduceL2": reduce, "ReduceLogSumExp": reduce,
	"ArgMax": argExtreme, "ArgMin": argExtreme, "Softmax": softmax, "LogSoftmax": softmax,
	"Gemm": gemm, "MatMul": matMul, "BatchNormalization": batchNormalization,
	"Constant": constantNode, "ConstantOfShape": constantOfShape, "Shape": shapeOf,
	"Identity": identity, "Dropout": identity, "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze,
	"Concat": concat, "Split": split, "Gather": gather, "Slice": sliceOp, "Transpose": transpose, "Expand": expand,

	"Scaler": scaler, "Imputer": imputer, "Normalizer": normalizer, "Binarizer": binarizer,
	"OneHotEncoder": oneHotEncoder, "LabelEncoder": labelEncoder, "FeatureVectorizer": featureVectorizer,
	"ArrayFeatureExtractor": arrayFeatureExtractor, "ZipMap": zipMap,
	"LinearClassifier": linearClassifier, "LinearRegressor": linearRegressor,
	"TreeEnsembleClassifier": treeEnsembleClassifier, "TreeEnsembleRegressor": treeEnsembleRegressor, "TreeEnsemble": treeEnsemble,
	"SVMRegressor": svmRegressor, "SVMClassifier": svmClassifier,
}

var mlOperators = []string{
	"Scaler", "Imputer", "Normalizer", "Binarizer", "OneHotEncoder", "LabelEncoder", "FeatureVectorizer", "ArrayFeatureExtractor",
	"ZipMap", "LinearClassifier", "LinearRegressor", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "SVMRegressor",
	"SVMClassifier",
}

// operator returns the builder of a node and notes the version of its operator.
func (c *compiler) operator(n *node) (builder, error) {
	build := operators[n.op]
	ml := slices.Contains(mlOperators, n.op)
	if build == nil || n.domain != "" && n.domain != domainML || ml != (n.domain == domainML) {
		return nil, fmt.Errorf("%v is not supported; supported are %s", n, supported())
	}
	for _, a := range n.attrs {
		if a.holds == attrGraph || a.holds == attrGraphs {
			return nil, fmt.Errorf("%v: graphs within graphs are not supported", n)
		}
	}
	version, ok := c.opsets[n.domain]
	if !ok {
		return nil, fmt.Errorf("%v: the file does not say which opset of its domain it uses", n)
	}
	low, high := int64(minOpset), int64(maxOpset)
	if ml {
		low, high = 1, maxMLOpset
	}
	if version < low || version > high {
		return nil, fmt.Errorf("%v: opset %d is not supported; export with a target_opset of %d to %d", n, version, low, high)
	}
	n.opset = version
	return build, nil
}

// supported returns the names of all operators.
func supported() string {
	return strings.Join(slices.Sorted(maps.Keys(operators)), ", ")
}

// arity checks that a node has from min to max inputs, and that the first min are
// there.
func arity(in []*value, min, max int) error {
	if len(in) < min || len(in) > max {
		return fmt.Errorf("it has %d inputs instead of %d to %d", len(in), min, max)
	}
	for i, v := range in[:min] {
		if v == nil {
			return fmt.Errorf("its input %d is left out", i)
		}
	}
	for i, v := range in {
		if v != nil && v.typ == mapType {
			return fmt.Errorf("its input %d is a map", i)
		}
	}
	return nil
}

// input returns the input of that number, or nil if it is left out.
func input(in []*value, i int) *value {
	if i < len(in) {
		return in[i]
	}
	return nil
}

// constantInts returns the numbers of an input that must be known without a row.
func constantInts(v *value, what string) ([]int64, error) {
	if v.data == nil {
		return nil, fmt.Errorf("its %s depend on the row, so that shapes are not known: export with fixed ones", what)
	}
	if !v.typ.isInt() {
		return nil, fmt.Errorf("its %s are of type %v", what, v.typ)
	}
	return v.data.i, nil
}

func errType(v *value) error { return fmt.Errorf("an input of type %v is not supported", v.typ) }
