"""Writes operators.json.gz: small graphs of one or a few operators, rows, and what onnxruntime makes of them (null: it refuses the row).

pip install numpy onnx onnxruntime ; python operators.py
No test needs Python: the file counts."""
import base64, gzip, json, os
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as TP, helper as h, numpy_helper as nh
ort.set_default_logger_severity(4)
nan, inf = float("nan"), float("inf")
r = np.random.default_rng(5)
TYPES = {"f": (TP.FLOAT, np.float32), "d": (TP.DOUBLE, np.float64), "i": (TP.INT64, np.int64), "j": (TP.INT32, np.int32), "s": (TP.STRING, object), "b": (TP.BOOL, bool)}
cases, names = [], set()

def plain(v):
    v = np.asarray(v).ravel()
    if v.dtype == bool: return [bool(x) for x in v]
    if v.dtype.kind in "iu": return [int(x) for x in v]
    if v.dtype.kind == "f": return ["NaN" if np.isnan(x) else "Infinity" if x == inf else "-Infinity" if x == -inf else float(f"{x:.9g}" if v.dtype == np.float32 else x) for x in v]
    return [str(x) for x in v]

def case(name, nodes, inputs, rows, consts=(), opset=18, ml=3):
    """inputs: name -> (type letter, width); rows: list of lists of rows' values, one an input; nodes: (op, inputs, outputs, attributes)"""
    assert name not in names, name; names.add(name)
    flags = [n for n, (t, w) in inputs.items() if t == "b"]  # no input of a model is bool: make them of numbers
    nodes = [("Cast", [n + "0"], [n], {"to": TP.BOOL}) for n in flags] + list(nodes)
    inputs = {n + "0" if t == "b" else n: ("i" if t == "b" else t, w) for n, (t, w) in inputs.items()}
    made = [h.make_node(op, i, o, domain="ai.onnx.ml" if op in ML else "", **{k: v for k, v in a.items() if v is not None}) for op, i, o, a in nodes]
    used = {i for n in made for i in n.input}; outs = [o for n in made for o in n.output if o and o not in used or o.startswith("out")]
    g = h.make_graph(made, "g", [h.make_tensor_value_info(n, TYPES[t][0], [None, w]) for n, (t, w) in inputs.items()],
                     [h.make_empty_tensor_value_info(o) for o in outs], [nh.from_array(np.asarray(v), k) if np.asarray(v).dtype != object else h.make_tensor(k, TP.STRING, np.asarray(v).shape, [s.encode() for s in np.asarray(v).ravel()]) for k, v in dict(consts).items()])
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", ml)], ir_version=9)
    try: s = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as e: print("LEFT OUT", name, str(e)[:150]); return
    feeds, outputs = [], []
    for row in rows:
        feed = {n: np.array([v], dtype=TYPES[t][1]) for (n, (t, w)), v in zip(inputs.items(), row)}
        feeds.append({n: plain(v) for n, v in feed.items()})
        try: outputs.append({o: plain(v) for o, v in zip(outs, s.run(outs, feed))})
        except Exception as e: outputs.append(None)
    cases.append({"name": name, "model": base64.b64encode(m.SerializeToString()).decode(), "feeds": feeds, "outputs": outputs})

ML = {"Scaler", "Imputer", "Normalizer", "Binarizer", "OneHotEncoder", "LabelEncoder", "FeatureVectorizer", "ArrayFeatureExtractor", "LinearClassifier", "LinearRegressor", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "SVMRegressor", "SVMClassifier"}
V = [[-2.5, -0.0, 0.0, 0.3], [1.0, 7.25, nan, -1e-8], [inf, -inf, 88.0, -100.0], [0.5, -0.5, 3.0, 2.0]]
I = [[-3, 0, 5, 7], [2, -9, 1, 4]]
def one(name, op, t="f", rows=V, opset=18, w=None, ins=("x",), consts=(), outs=("y",), ml=3, **a):
    case(name, [(op, list(ins), list(outs), a)], {"x": (t, w or len(rows[0]))}, [[v] for v in rows], consts, opset, ml)

for op in "Abs Neg Exp Log Sqrt Floor Ceil Sign Reciprocal Relu LeakyRelu Elu Sigmoid Tanh Softplus".split():
    one(op, op)
    one(op + " double", op, "d")
for op in "Abs Neg Sign Relu".split(): one(op + " int64", op, "i", I)
one("LeakyRelu alpha", "LeakyRelu", alpha=.3); one("Elu alpha", "Elu", alpha=.3)
one("IsNaN", "IsNaN"); one("IsNaN double", "IsNaN", "d")
c4 = np.float32([1.5, -2, nan, .25]); c4i = np.int64([2, -2, 3, 1])
for op in "Add Sub Mul Div Pow Max Min Sum Less LessOrEqual Greater GreaterOrEqual Equal".split():
    one(op + " of a row and constants", op, ins=("x", "c"), consts={"c": c4})
    one(op + " of constants and a row", op, ins=("c", "x"), consts={"c": c4.reshape(1, 4)})
    one(op + " with a scalar", op, ins=("x", "c"), consts={"c": np.float32(2)})
    one(op + " with a column", op, ins=("x", "c"), consts={"c": np.float32([[1], [2]])})
    one(op + " double", op, "d", ins=("x", "c"), consts={"c": c4.astype(np.float64)})
    if op != "Sum": one(op + " int64", op, "i", [[-3, 0, 3, 7], [2, -9, 1, 4]], ins=("x", "c"), consts={"c": c4i if op != "Pow" else np.int64([2, 2, 3, 1])})
one("Pow of float and int64", "Pow", ins=("x", "c"), consts={"c": np.int64([2])})
for op in ("Max", "Min", "Sum"):
    one(op + " of one", op); one(op + " of three", op, ins=("x", "c", "d"), consts={"c": c4, "d": np.float32([[0.1]])})
one("Equal of texts", "Equal", "s", opset=19, rows=[["a", "b"], ["", "B"]], ins=("x", "c"), consts={"c": np.array(["a", "B"], object)})
B = [[True, False, True, False]]
for op in ("And", "Or", "Xor"): one(op, op, "b", B, ins=("x", "c"), consts={"c": np.array([True, True, False, False])})
one("Equal of bools", "Equal", "b", B, ins=("x", "c"), consts={"c": np.array([True, True, False, False])})
one("Not", "Not", "b", B)
case("Where of floats", [("IsNaN", ["x"], ["m"], {}), ("Where", ["m", "c", "x"], ["y"], {})], {"x": ("f", 4)}, [[v] for v in V], {"c": np.float32([9])})
case("Where of int64", [("Where", ["x", "c", "d"], ["y"], {})], {"x": ("b", 4)}, [B], {"c": np.int64([[1], [2]]), "d": np.int64([7, 8, 9, 10])})
case("Where of texts", [("Where", ["x", "c", "d"], ["y"], {})], {"x": ("b", 4)}, [B], {"c": np.array(["a"], object), "d": np.array(["p", "q", "r", "s"], object)})
one("Clip of attributes", "Clip", opset=9, min=-1.0, max=2.0); one("Clip of one attribute", "Clip", opset=9, max=2.0)
one("Clip", "Clip", ins=("x", "lo", "hi"), consts={"lo": np.float32(-1), "hi": np.float32(2)})
one("Clip above", "Clip", ins=("x", "", "hi"), consts={"hi": np.float32(2)})
one("Clip int64", "Clip", "i", I, ins=("x", "lo", "hi"), consts={"lo": np.int64(-1), "hi": np.int64(4)})
one("Clip double", "Clip", "d", ins=("x", "lo"), consts={"lo": np.float64(.1)})

W = [[-2.7, 2.7, 0.0, 1.0], [1e10, 0.1, 123456.789, 1e-7], [-1.5e-10, 3.0, 100000000.0, 16777216.0]]
for t in ("f", "d"):
    for to in "fdisjb": one(f"Cast {t} to {to}", "Cast", t, W if to != "j" else [W[0]], to=TYPES[to][0])
one("Cast NaN to int64", "Cast", rows=[[nan, inf, -inf, 1]], to=TP.INT64); one("Cast NaN to text", "Cast", rows=[[nan, inf, -inf, 1]], to=TP.STRING); one("Cast NaN to bool", "Cast", rows=[[nan, inf, 0, 1]], to=TP.BOOL)
for to in "fdisjb": one(f"Cast i to {to}", "Cast", "i", [[-3, 0, 5, 2**40]] if to != "s" else I, to=TYPES[to][0])
for to in "fdij": one(f"Cast b to {to}", "Cast", "b", B, to=TYPES[to][0])
for to in "fd": one(f"Cast s to {to}", "Cast", "s", [["1.5", "-2", "1e3", "0"], ["NaN", "INF", "-INF", "7"], ["x", "1", "1", "1"]], to=TYPES[to][0])
for to in "ij": one(f"Cast s to {to}", "Cast", "s", [["15", "-2", "0"], ["x", "1", "1"]], to=TYPES[to][0])

def cube(name, op, ins=("t",), consts=(), opset=18, outs=("y",), t="f", rows=None, **a):
    case(name, [("Reshape", ["x", "shape"], ["t"], {}), (op, list(ins), list(outs), a)], {"x": (t, 12)}, [[v] for v in (rows or C if t != "i" else CI)], {"shape": np.int64([2, 3, 2]), **dict(consts)}, opset)
C = [[.5, -1, 2, 2, 3.5, .25, -4, 1, 0, .125, 2, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.5], [nan, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]]
CI = [[1, -2, 3, 4, 5, 6, -7, 8, 9, 10, 11, 12]]
for op in "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceSumSquare ReduceL2 ReduceLogSumExp".split():
    finite = C[:2] if op in ("ReduceMax", "ReduceMin") else C
    cube(op + " of all", op, rows=finite); cube(op + " of an axis", op, ("t", "axes"), {"axes": np.int64([1])}, rows=finite)
    cube(op + " of two axes dropped", op, ("t", "axes"), {"axes": np.int64([0, -1])}, keepdims=0, rows=finite)
    if op != "ReduceSum": cube(op + " of attributes", op, opset=13, axes=[1, 2], keepdims=0, rows=finite)
    if op not in ("ReduceLogSumExp", "ReduceL2"): cube(op + " int64", op, ("t", "axes"), {"axes": np.int64([1])}, t="i")
cube("ReduceSum of an attribute", "ReduceSum", opset=11, axes=[2]); cube("ReduceSum of nothing", "ReduceSum", noop_with_empty_axes=1)
for op in ("ArgMax", "ArgMin"):
    cube(op, op, rows=C[:2]); cube(op + " of an axis", op, axis=1, keepdims=0, rows=C[:2]); cube(op + " of the last", op, axis=-1, select_last_index=1, rows=C[:2]); cube(op + " int64", op, t="i", axis=1)
for op in ("Softmax", "LogSoftmax"):
    cube(op, op); cube(op + " of an axis", op, axis=0); cube(op + " before 13", op, opset=11); cube(op + " before 13 from 0", op, opset=11, axis=0)
w43, w34, b3 = r.normal(size=(4, 3)).astype(np.float32), r.normal(size=(3, 4)).astype(np.float32), r.normal(size=3).astype(np.float32)
fin = [V[0], V[3]]
one("Gemm", "Gemm", rows=fin, ins=("x", "w", "b"), consts={"w": w43, "b": b3}); one("Gemm without bias", "Gemm", rows=fin, ins=("x", "w"), consts={"w": w43})
one("Gemm of transB", "Gemm", rows=fin, ins=("x", "w", "b"), consts={"w": w34, "b": b3.reshape(1, 3)}, transB=1, alpha=.5, beta=2.0)
one("Gemm of transA", "Gemm", rows=fin, ins=("w", "x", "b"), consts={"w": np.float32([[1, 2, 3]]), "b": np.float32(1)}, transA=1)
one("Gemm double", "Gemm", "d", rows=fin, ins=("x", "w", "b"), consts={"w": w43.astype(float), "b": b3.astype(float)})
one("MatMul", "MatMul", rows=fin, ins=("x", "w"), consts={"w": w43}); one("MatMul by a vector", "MatMul", rows=fin, ins=("x", "w"), consts={"w": w43[:, 0]}); one("MatMul double", "MatMul", "d", rows=fin, ins=("x", "w"), consts={"w": w43.astype(float)})
case("MatMul of a vector", [("Squeeze", ["x"], ["v"], {}), ("MatMul", ["v", "w"], ["y"], {})], {"x": ("f", 4)}, [[v] for v in fin], {"w": w43})
one("BatchNormalization", "BatchNormalization", rows=fin, ins=("x", "s", "b", "m", "v"), consts={"s": c4 * 0 + np.float32([1, 2, 3, 4]), "b": np.float32([0, 1, -1, 2]), "m": np.float32([.5, 0, 0, 1]), "v": np.float32([1, 4, 2, .1])} | {"s": np.float32([1, 2, 3, 4])}, epsilon=.001)
one("Dropout", "Dropout", rows=fin); one("Dropout of a ratio", "Dropout", opset=9, rows=fin, ratio=.3); one("Identity of texts", "Identity", "s", [["a", "b"]])

add = lambda extra: [("Constant", [], ["k"], extra), ("Add", ["x", "k"], ["y"], {})]
case("Constant", add({"value": nh.from_array(np.float32([1, 2, 3, 4]))}), {"x": ("f", 4)}, [[v] for v in fin]); case("Constant float", add({"value_float": 2.5}), {"x": ("f", 4)}, [[v] for v in fin])
case("Constant floats", add({"value_floats": [1., 2., 3., 4.]}), {"x": ("f", 4)}, [[v] for v in fin]); case("Constant ints", add({"value_ints": [1, 2, 3, 4]}), {"x": ("i", 4)}, [[v] for v in I]); case("Constant int", add({"value_int": 3}), {"x": ("i", 4)}, [[v] for v in I])
case("Shape and Reshape", [("Shape", ["x"], ["s"], {}), ("Gather", ["s", "zero"], ["n"], {}), ("Concat", ["n", "rest"], ["t"], {"axis": 0}), ("Reshape", ["x", "t"], ["y"], {}), ("Shape", ["y"], ["out"], {})], {"x": ("f", 4)}, [[v] for v in fin], {"zero": np.int64([0]), "rest": np.int64([2, -1])})
case("Shape of a part", [("Shape", ["x"], ["y"], {"start": -1})], {"x": ("f", 4)}, [[fin[0]]])
case("ConstantOfShape", [("Shape", ["x"], ["s"], {}), ("ConstantOfShape", ["s"], ["y"], {"value": nh.from_array(np.float32([1.5]))}), ("Add", ["x", "y"], ["z"], {})], {"x": ("f", 4)}, [[v] for v in fin]); case("ConstantOfShape of zeros", [("Shape", ["x"], ["s"], {}), ("ConstantOfShape", ["s"], ["y"], {})], {"x": ("f", 4)}, [[fin[0]]])
def shaped(name, op, ins=("t",), consts=(), outs=("y",), opset=18, **a):
    case(name, [("Reshape", ["x", "shape"], ["t"], {}), (op, list(ins), list(outs), a)] + [("Shape", [o], ["out" + o], {}) for o in outs], {"x": ("f", 12)}, [[C[1]]], {"shape": np.int64([1, 3, 4]), **dict(consts)}, opset)
shaped("Reshape 0", "Reshape", ("t", "c"), {"c": np.int64([0, -1, 2])}); shaped("Reshape to a vector", "Reshape", ("t", "c"), {"c": np.int64([-1])})
for a in (0, 1, 2, -1, 3): shaped(f"Flatten {a}", "Flatten", axis=a)
shaped("Squeeze", "Squeeze"); shaped("Squeeze of axes", "Squeeze", ("t", "c"), {"c": np.int64([0])}); shaped("Squeeze of attributes", "Squeeze", opset=11, axes=[0])
shaped("Unsqueeze", "Unsqueeze", ("t", "c"), {"c": np.int64([0, -1])}); shaped("Unsqueeze of attributes", "Unsqueeze", opset=11, axes=[0, 2])
for a in (0, 1, -1): shaped(f"Concat {a}", "Concat", ("t", "t", "t"), axis=a)
shaped("Split", "Split", outs=("y", "z"), axis=2, num_outputs=2); shaped("Split uneven", "Split", outs=("y", "z"), axis=1, num_outputs=2); shaped("Split of sizes", "Split", ("t", "c"), {"c": np.int64([1, 3])}, ("y", "z"), axis=-1); shaped("Split of attributes", "Split", outs=("y", "z"), opset=11, axis=1, split=[2, 1]); shaped("Split before 18", "Split", outs=("y", "z"), opset=13, axis=2)
shaped("Gather 1", "Gather", ("t", "c"), {"c": np.int64([2, 0, -1])}, axis=1); shaped("Gather of a scalar", "Gather", ("t", "c"), {"c": np.int64(1)}, axis=2); shaped("Gather of a matrix", "Gather", ("t", "c"), {"c": np.int64([[0, 1], [2, 2]])}, axis=1)
case("Gather of the row", [("Gather", ["c", "x"], ["y"], {"axis": 1})], {"x": ("i", 2)}, [[[0, 2]], [[-1, 1]], [[3, 0]], [[-4, 0]]], {"c": np.float32([[1, 2, 3], [4, 5, 6]])})
case("ArrayFeatureExtractor of the row", [("ArgMax", ["x"], ["i"], {"axis": 1}), ("ArrayFeatureExtractor", ["c", "i"], ["y"], {})], {"x": ("f", 3)}, [[[1, 3, 2]], [[5, 3, 2]]], {"c": np.array(["a", "b", "c"], object)})
shaped("Slice", "Slice", ("t", "s", "e", "a", "p"), {"s": np.int64([-1, 1]), "e": np.int64([-9, 100]), "a": np.int64([2, 1]), "p": np.int64([-2, 1])}); shaped("Slice of attributes", "Slice", opset=9, starts=[0, 1], ends=[1, -1], axes=[0, 1]); shaped("Slice without axes", "Slice", ("t", "s", "e"), {"s": np.int64([0, 1]), "e": np.int64([1, 3])})
shaped("Transpose", "Transpose"); shaped("Transpose of an order", "Transpose", perm=[1, 0, 2]); shaped("Expand", "Expand", ("t", "c"), {"c": np.int64([2, 3, 1])})

one("Scaler", "Scaler", scale=[1.5, 2, -1, .1], offset=[.3, 0, 1, -2.]); one("Scaler of one", "Scaler", scale=[1.5], offset=[.3]); one("Scaler int64", "Scaler", "i", I, scale=[1.5], offset=[.3]); one("Scaler double", "Scaler", "d", scale=[1.5, 2, -1, .1], offset=[.3, 0, 1, -2.])
one("Imputer of NaN", "Imputer", imputed_value_floats=[1., 2, 3, 4], replaced_value_float=nan); one("Imputer of a number", "Imputer", imputed_value_floats=[9.], replaced_value_float=.3); one("Imputer int64", "Imputer", "i", I, imputed_value_int64s=[1, 2, 3, 4], replaced_value_int64=0)
for k in ("MAX", "L1", "L2"): one("Normalizer " + k, "Normalizer", rows=[V[0], V[3], [0, 0, 0, 0], [-1, -2, -3, -4]], norm=k); one(f"Normalizer {k} int64", "Normalizer", "i", I, norm=k)
one("Binarizer", "Binarizer", threshold=.3)
for z in (0, 1):
    one(f"OneHotEncoder int64 {z}", "OneHotEncoder", "i", I, cats_int64s=[7, 5, 0, -3], zeros=z); one(f"OneHotEncoder float {z}", "OneHotEncoder", rows=[[7.9, 5, -.5, -3], [nan, 1, 2, 3]], cats_int64s=[7, 5, 0, -3], zeros=z); one(f"OneHotEncoder text {z}", "OneHotEncoder", "s", [["a", "c"], ["b", "x"]], cats_strings=["c", "a", "b"], zeros=z)
one("LabelEncoder 1 of texts", "LabelEncoder", "s", [["a", "c", "x"]], ml=1, classes_strings=["c", "a"], default_int64=-7, default_string="?"); one("LabelEncoder 1 of numbers", "LabelEncoder", "i", [[1, 0, 5]], ml=1, classes_strings=["c", "a"], default_int64=-7, default_string="?")
KEYS = {"strings": ("s", ["a", "b", "a"], [["a", "b", "c"]]), "int64s": ("i", [3, 5, 3], [[3, 5, 7]]), "floats": ("f", [.5, 1.5, .5], [[.5, 1.5, nan]])}
VALUES = {"strings": ["p", "q", "r"], "int64s": [10, 20, 30], "floats": [1.5, 2.5, 3.5]}
for k, (t, keys, rows) in KEYS.items():
    for v, values in VALUES.items():
        if k != v or k == "int64s" or True: one(f"LabelEncoder {k} to {v}", "LabelEncoder", t, rows, ml=2 if k != v else 4, **{"keys_" + k: keys, "values_" + v: values})
one("LabelEncoder defaults", "LabelEncoder", "s", [["a", "z"]], keys_strings=["a"], values_floats=[1.5], default_float=9.5); one("LabelEncoder of NaN", "LabelEncoder", "f", [[nan, 1, 2]], ml=4, keys_floats=[nan, 1.], values_floats=[7., 8.])
one("LabelEncoder of tensors", "LabelEncoder", "d", [[1.5, nan, 3]], ml=4, keys_tensor=nh.from_array(np.array([1.5, nan])), values_tensor=nh.from_array(np.array([7., 8.])), default_tensor=nh.from_array(np.array([-3.])))
case("FeatureVectorizer", [("FeatureVectorizer", ["x", "z"], ["y"], {"inputdimensions": [2, 3]})], {"x": ("i", 2), "z": ("i", 3)}, [[[1, 2], [3, 4, 5]]])
one("ArrayFeatureExtractor", "ArrayFeatureExtractor", ins=("x", "c"), consts={"c": np.int64([3, 0])}); one("ArrayFeatureExtractor of texts", "ArrayFeatureExtractor", "s", [["a", "b", "c"]], ins=("x", "c"), consts={"c": np.int64([[2, 0]])})
POST = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
for p in POST:
    small = 4 if p == "PROBIT" else 1
    for k in (1, 2, 3):
        co = [float(x) for x in r.normal(size=4 * k) / 10 / small]; ic = [.4 + .1 * j for j in range(k)]
        rows = [V[0], V[3], [0, 0, 0, 0]]
        one(f"LinearClassifier {p} {k}", "LinearClassifier", rows=rows, outs=("outlabel", "outy"), coefficients=co, intercepts=ic, classlabels_ints=list(range(max(2, k))), post_transform=p) if (p, k) != ("PROBIT", 1) else None
        one(f"LinearRegressor {p} {k}", "LinearRegressor", rows=rows, coefficients=co, intercepts=ic, targets=k, post_transform=p)
one("LinearClassifier of texts", "LinearClassifier", "i", I, outs=("outlabel", "outy"), coefficients=[.1] * 12, intercepts=[0., 1., -1], classlabels_strings=["a", "b", "c"]); one("LinearRegressor without intercepts", "LinearRegressor", rows=fin, coefficients=[.1, .2, .3, .4], targets=1)
sv = [float(x) for x in r.normal(size=12)]
for k in ("LINEAR", "POLY", "RBF", "SIGMOID"):
    one("SVMRegressor " + k, "SVMRegressor", rows=fin, kernel_type=k, kernel_params=[.5, .1, 3.], support_vectors=sv, coefficients=[.5, -1., .25], n_supports=3, rho=[.2], post_transform="NONE")
    for p in (False, True): one(f"SVMClassifier {k} {p}", "SVMClassifier", rows=fin + [[0, 0, 0, 0]], outs=("outlabel", "outy"), kernel_type=k, kernel_params=[.5, .1, 3.], support_vectors=sv, coefficients=[.5, -1., .25], vectors_per_class=[2, 1], rho=[.2], classlabels_ints=[0, 1], prob_a=[-1.5] if p else None, prob_b=[.1] if p else None, post_transform="NONE")
one("SVMRegressor of one class", "SVMRegressor", rows=fin + [[0, 0, 0, 0]], kernel_type="RBF", kernel_params=[.5, 0., 3.], support_vectors=sv, coefficients=[.5, -1., .25], n_supports=3, rho=[-.01], one_class=1)
one("SVMRegressor without vectors", "SVMRegressor", rows=fin, kernel_type="LINEAR", kernel_params=[.5, 0., 3.], coefficients=[.5, -1., .25, 2], n_supports=0, rho=[.2])

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TX = [[0, 1, 2], [1, nan, 0], [nan, nan, nan], [2, 2, 1], [-1, 0.5, 3], [0.5, 1, 1]]
def tree(votes, modes, missing, targets, trees, positive=False, values=(0., .5, 1., 2.), scale=1.0):
    """Random trees of depth 2 or less: the lists of version 3."""
    a = {k: [] for k in ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values", "nodes_truenodeids", "nodes_falsenodeids", "nodes_missing_value_tracks_true", votes + "_treeids", votes + "_nodeids", votes + "_ids", votes + "_weights")}
    for t in range(trees):
        def node(i, depth):
            nonlocal free
            leaf = depth == 2 or depth and r.random() < .3; left, right = (0, 0) if leaf else (free, free + 1)
            if not leaf: free += 2
            for k, v in zip(("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true"), (t, i, 0 if leaf else int(r.integers(0, 3)), "LEAF" if leaf else modes[r.integers(len(modes))], 0. if leaf else float(r.choice(values)), left, right, 0 if leaf else int(r.integers(0, 2)))): a["nodes_" + k].append(v)
            if leaf:
                for target in (targets if isinstance(targets, list) else [int(r.integers(0, targets))]):
                    w = float(np.float32(r.normal() * scale))
                    for k, v in zip(("treeids", "nodeids", "ids", "weights"), (t, i, target, abs(w) if positive else w)): a[votes + "_" + k].append(v)
            else: node(left, depth + 1); node(right, depth + 1)
        free = 1; node(0, 0)
    if not missing: del a["nodes_missing_value_tracks_true"]
    return a
for m in MODES:
    one("trees " + m, "TreeEnsembleRegressor", rows=TX, n_targets=1, **tree("target", [m], True, [0], 4)); one(f"trees {m} without missing", "TreeEnsembleRegressor", rows=TX, n_targets=1, **tree("target", [m], False, [0], 3))
for g in ("SUM", "AVERAGE", "MIN", "MAX"):
    for k in (1, 2):
        for p in POST: one(f"trees {g} {k} {p}", "TreeEnsembleRegressor", rows=TX, n_targets=k, aggregate_function=g, post_transform=p, base_values=[.5, .25][:k] if p != "SOFTMAX" else None, **tree("target", MODES, True, list(range(k)), 3, p == "PROBIT", scale=.05 if p == "PROBIT" else 1.))
one("trees of unlike targets", "TreeEnsembleRegressor", rows=TX, n_targets=3, base_values=[.5, .25, 1.], **tree("target", MODES, True, 3, 3))
for p in POST:
    for who, targets, k in (("first", [0], 2), ("second", [1], 2), ("both", [0, 1], 2), ("three", [0, 1, 2], 3), ("some of three", 3, 3)):
        for base in (None, 1, 2, 3):
            for positive in ((False, True) if len(targets if isinstance(targets, list) else [1, 2]) == 1 else (p == "PROBIT",)):
                if base and base != k and not (base == 1 and k == 2) or p == "PROBIT" and who in ("first", "second") or base == 1 and who == "both": continue
                one(f"trees {p} {who} base {base} positive {positive}", "TreeEnsembleClassifier", rows=TX, outs=("outlabel", "outy"), classlabels_int64s=list(range(k)), post_transform=p, base_values=[.3, .1, .2][:base] if base else None, **tree("class", MODES[:3], True, targets, 2, positive, scale=.1))
one("trees of texts", "TreeEnsembleClassifier", rows=TX, outs=("outlabel", "outy"), classlabels_strings=["a", "b", "c"], **tree("class", MODES, True, 3, 4))
one("trees of int64", "TreeEnsembleClassifier", "i", [[0, 1, 2], [1, 2, 0]], outs=("outlabel", "outy"), classlabels_int64s=[0, 1], post_transform="LOGISTIC", **tree("class", MODES, False, [0], 4))
def doubles(a, votes, base=None):
    a = dict(a); a["nodes_values_as_tensor"] = nh.from_array(np.array(a.pop("nodes_values"))); a[votes + "_weights_as_tensor"] = nh.from_array(np.array(a.pop(votes + "_weights")))
    if base: a["base_values_as_tensor"] = nh.from_array(np.array(base))
    return a
one("trees of doubles", "TreeEnsembleRegressor", "d", TX, n_targets=1, **doubles(tree("target", MODES, True, [0], 4), "target", [.1])); one("trees of doubles and floats", "TreeEnsembleRegressor", "d", TX, n_targets=1, **tree("target", MODES, True, [0], 4)); one("trees of doubles for classes", "TreeEnsembleClassifier", "d", TX, outs=("outlabel", "outy"), classlabels_int64s=[0, 1], post_transform="LOGISTIC", **doubles(tree("class", MODES, True, [0], 4), "class"))

def tree5(kind, members, targets, trees=3):
    a = {k: [] for k in ("nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs", "nodes_missing_value_tracks_true", "leaf_targetids", "tree_roots")}; modes, splits, weights, sets = [], [], [], []
    def leaf():
        a["leaf_targetids"].append(int(r.integers(0, targets))); weights.append(float(np.float32(r.normal()))); return len(weights) - 1
    for _ in range(trees):
        root = len(modes); a["tree_roots"].append(root)
        for i in range(3):
            m = int(r.integers(0, 7 if members else 6)); modes.append(m); splits.append(float(r.choice([0, .5, 1, 2]))); a["nodes_featureids"].append(int(r.integers(0, 3))); a["nodes_missing_value_tracks_true"].append(int(r.integers(0, 2)))
            if m == 6: sets.extend([float(v) for v in r.choice([0., 1., 2., 3.], 2, replace=False)] + [nan])
            for side, child in (("true", root + 1), ("false", root + 2)):
                to, is_leaf = (child, 0) if i == 0 else (leaf(), 1)
                a[f"nodes_{side}nodeids"].append(to); a[f"nodes_{side}leafs"].append(is_leaf)
    f = np.float32 if kind == "f" else np.float64
    return {**a, "nodes_modes": nh.from_array(np.array(modes, np.uint8)), "nodes_splits": nh.from_array(np.array(splits, f)), "leaf_weights": nh.from_array(np.array(weights, f)), "n_targets": targets, **({"membership_values": nh.from_array(np.array(sets, f))} if sets else {})}
POST5 = {0: "NONE", 3: "SOFTMAX_ZERO", 4: "PROBIT"}  # onnxruntime confuses 1 and 2, SOFTMAX and LOGISTIC
for k in ("f", "d"):
    for members in (False, True):
        for targets in (1, 2):
            for g, p in ((1, 0), (0, 3), (2, 0), (3, 4)): one(f"trees 5 {k} {members} {targets} {g} {POST5[p]}", "TreeEnsemble", k, TX, opset=20, ml=5, aggregate_function=g, post_transform=p, **tree5(k, members, targets))
one("trees 5 of a leaf", "TreeEnsemble", rows=TX, opset=20, ml=5, n_targets=1, tree_roots=[0], nodes_featureids=[0], nodes_truenodeids=[0], nodes_falsenodeids=[0], nodes_trueleafs=[1], nodes_falseleafs=[1], leaf_targetids=[0], nodes_modes=nh.from_array(np.array([0], np.uint8)), nodes_splits=nh.from_array(np.float32([0])), leaf_weights=nh.from_array(np.float32([5.23])))

out = {"source": f"onnx {onnx.__version__}, onnxruntime {ort.__version__}, by operators.py"}
lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "operators.json.gz")
open(path, "wb").write(gzip.compress((json.dumps(out)[:-1] + ', "cases": [\n' + lines + "\n]}\n").encode(), 9, mtime=0))
print(len(cases), "cases", os.path.getsize(path), "bytes")
