"""Writes exports/: models of scikit-learn, XGBoost and LightGBM, rows, and what the library and onnxruntime say of them.

pip install numpy pandas scikit-learn skl2onnx onnxruntime onnxmltools xgboost lightgbm ; python exports.py
No test needs Python: the files count."""
import json, os, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd, onnxruntime as ort, onnx, sklearn, skl2onnx, onnxmltools, xgboost as xgb, lightgbm as lgb
from sklearn.pipeline import make_pipeline
from sklearn.compose import ColumnTransformer
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import *
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import *
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import *
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
import skl2onnx.common.tree_ensemble as te

# skl2onnx 1.20 hands numpy's uint32 and bool of HistGradientBoosting to onnx, which refuses them.
plain_node = te.add_node
plain = lambda x: int(x) if isinstance(x, (np.integer, np.bool_, bool)) else x
te.add_node = lambda *a, **k: plain_node(*map(plain, a), **{n: plain(x) for n, x in k.items()})

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exports"); os.makedirs(HERE, exist_ok=True)
for old in os.listdir(HERE): os.remove(os.path.join(HERE, old))
r = np.random.default_rng(11)
N, SHOW = 400, 24
X = np.round(r.normal(size=(N, 5)), 3).astype(np.float32); X[:, 4] = r.integers(0, 6, N)
G = X.copy(); G[r.random(X.shape) < .2] = np.nan
F = np.nan_to_num(G)
Y = (X[:, 0] + X[:, 1] * X[:, 2] + .3 * r.normal(size=N) > 0).astype(int)
Z = np.round(2 * X[:, 0] + X[:, 1] - .5 * X[:, 2] * X[:, 3] + .1 * r.normal(size=N), 3)
P = np.abs(Z) + .1
cases = []

def score(session, feed):
    outputs = session.get_outputs(); values = session.run(None, feed)
    v = values[1] if len(values) > 1 else values[0]
    if isinstance(v, list): return np.array([row[1] if 1 in row else row["1"] for row in v], float)
    return np.asarray(v, float)[:, 1] if len(values) > 1 and np.asarray(v).ndim == 2 and np.asarray(v).shape[1] == 2 else np.asarray(v, float).ravel()

def keep(name, model, rows, feed, library):
    data = model.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    said = score(session, feed); library = np.asarray(library, float).ravel()
    worst = np.abs(said - library).max()
    if not worst < 1e-5: print("LEFT OUT", name, worst); return
    open(os.path.join(HERE, name + ".onnx"), "wb").write(data)
    cases.append({"name": name, "rows": rows, "onnxruntime": [float(np.float32(v)) if not isinstance(v, str) else v for v in said], "library": [round(float(v), 9) for v in library]})
    print(f"{name:28} {len(data):6} {worst:.1e}", ",".join(sorted({n.op_type for n in model.graph.node})))

OPSET = {"": 18, "ai.onnx.ml": 3}
def export(name, model, a, t, rows, zipmap=False, dtype=np.float32, opset=OPSET):
    classifier = hasattr(model, "predict_proba")
    model.fit(a.astype(dtype), t); shown = a[:SHOW].astype(dtype)
    o = to_onnx(model, a[:1].astype(dtype), options={"zipmap": zipmap} if classifier else None, target_opset=opset)
    keep(name, o, rows, {"X": shown}, model.predict_proba(shown)[:, 1] if classifier else model.predict(shown))

L = LogisticRegression
export("imputer_scaler_logistic", make_pipeline(SimpleImputer(), StandardScaler(), L()), G, Y, "gaps")
export("imputer_logistic_zipmap", make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), L()), G, Y, "gaps", zipmap=True)
export("minmax_ridge", make_pipeline(MinMaxScaler(), Ridge()), X, Z, "numbers")
export("minmax_clip_lasso", make_pipeline(MinMaxScaler(clip=True), Lasso(alpha=.01)), X, Z, "numbers")
export("robust_elasticnet", make_pipeline(RobustScaler(), ElasticNet(alpha=.01)), X, Z, "numbers")
export("maxabs_huber", make_pipeline(MaxAbsScaler(), HuberRegressor()), X, Z, "numbers")
export("power_logistic", make_pipeline(PowerTransformer(), L()), X, Y, "numbers")
export("quantile_logistic", make_pipeline(QuantileTransformer(n_quantiles=7), L()), X, Y, "numbers")
export("polynomial_ridge", make_pipeline(PolynomialFeatures(2), Ridge()), X, Z, "numbers")
export("normalizer_logistic", make_pipeline(Normalizer(), L()), X, Y, "numbers")
export("normalizer_l1_logistic", make_pipeline(Normalizer("l1"), L()), X, Y, "numbers")
export("binarizer_logistic", make_pipeline(Binarizer(), L()), X, Y, "numbers")
export("bins_ordinal_logistic", make_pipeline(KBinsDiscretizer(4, encode="ordinal", quantile_method="linear"), L()), X, Y, "numbers")
export("pca_logistic", make_pipeline(PCA(2), L()), X, Y, "numbers")
export("kbest_logistic", make_pipeline(SelectKBest(k=2), L()), X, Y, "numbers")
export("gaussian_bayes", GaussianNB(), X, Y, "numbers")
export("sgd_logistic", make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=1)), X, Y, "numbers")
export("poisson", PoissonRegressor(), X, P, "numbers")
export("svc", SVC(C=.5, probability=True, random_state=1), X, Y, "numbers")
export("svr_rbf", SVR(C=.5, epsilon=1.5), X, Z, "numbers")
export("svr_poly", SVR(kernel="poly", C=.1, epsilon=1.5), X, Z, "numbers")
export("decision_tree", DecisionTreeClassifier(max_depth=4), X, Y, "numbers")
export("random_forest", RandomForestClassifier(8, max_depth=4, random_state=1), X, Y, "numbers")
export("random_forest_opset1", RandomForestClassifier(4, max_depth=3, random_state=1), X, Y, "numbers", opset={"": 9, "ai.onnx.ml": 1})
export("random_forest_regressor", RandomForestRegressor(8, max_depth=4, random_state=1), X, Z, "numbers")
export("extra_trees", ExtraTreesClassifier(8, max_depth=4, random_state=1), X, Y, "numbers")
export("gradient_boosting", GradientBoostingClassifier(n_estimators=12, max_depth=3, random_state=1), X, Y, "numbers")
export("gradient_boosting_regressor", GradientBoostingRegressor(n_estimators=12, max_depth=3, random_state=1), X, Z, "numbers")
export("hist_gradient_boosting", HistGradientBoostingClassifier(max_iter=10, max_depth=4, random_state=1), G, Y, "gaps")
export("hist_gradient_boosting_regressor", HistGradientBoostingRegressor(max_iter=10, max_depth=4, random_state=1), G, Z, "gaps")
export("ada_boost", AdaBoostClassifier(n_estimators=5, random_state=1), X, Y, "numbers")
export("bagging", BaggingClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=3, random_state=1), X, Y, "numbers")
export("voting", VotingClassifier([("a", L()), ("b", DecisionTreeClassifier(max_depth=3))], voting="soft", flatten_transform=False), X, Y, "numbers")
export("calibrated", CalibratedClassifierCV(L(), cv=2), X, Y, "numbers")
for activation in ("relu", "tanh", "logistic"):
    export("mlp_" + activation, make_pipeline(StandardScaler(), MLPClassifier((8, 4), activation=activation, max_iter=200, random_state=1)), X, Y, "numbers")
export("mlp_regressor", make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8, 4), max_iter=200, random_state=1)), X, Z, "numbers")
export("double_logistic", make_pipeline(StandardScaler(), L()), X, Y, "numbers", dtype=np.float64)

# XGBoost and LightGBM
tools = [("X", ToolsFloat([None, 5]))]
def gbdt(name, model, t, convert, a=G, rows="gaps", **options):
    model.fit(a, t); shown = a[:SHOW]
    keep(name, convert(model, initial_types=tools, target_opset=15, **options), rows, {"X": shown}, model.predict_proba(shown)[:, 1] if hasattr(model, "predict_proba") else model.predict(shown))
small = {"n_estimators": 10, "max_depth": 3, "random_state": 1}
gbdt("xgboost", xgb.XGBClassifier(**small), Y, onnxmltools.convert_xgboost)
gbdt("xgboost_regressor", xgb.XGBRegressor(**small), Z, onnxmltools.convert_xgboost)
gbdt("xgboost_poisson", xgb.XGBRegressor(objective="count:poisson", **small), P, onnxmltools.convert_xgboost)
gbdt("lightgbm_zipmap", lgb.LGBMClassifier(verbose=-1, **small), Y, onnxmltools.convert_lightgbm)
gbdt("lightgbm", lgb.LGBMClassifier(verbose=-1, **small), Y, onnxmltools.convert_lightgbm, a=F, rows="filled", zipmap=False)
gbdt("lightgbm_regressor", lgb.LGBMRegressor(verbose=-1, **small), Z, onnxmltools.convert_lightgbm, a=F, rows="filled")

# Columns by name: numbers with gaps, whole numbers, texts.
D = pd.DataFrame({"amount": G[:, 0], "age": G[:, 1], "visits": r.integers(0, 4, N).astype(np.int64), "city": r.choice(["Oslo", "Rome", "Lima", "Bonn"], N), "plan": r.choice(["free", "paid"], N)})
T = (np.nan_to_num(D.amount) + (D.city == "Rome") - (D.plan == "free") + .2 * D.visits > .3).astype(int)
S = D[:SHOW].copy(); S.loc[3, "city"] = "Pisa"; S.loc[5, "plan"] = ""
TYPES = [("amount", FloatTensorType([None, 1])), ("age", FloatTensorType([None, 1])), ("visits", Int64TensorType([None, 1])), ("city", StringTensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
def mixed(name, encoder, model, shown=S, **kw):
    m = make_pipeline(ColumnTransformer([("num", make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "age"]), ("cat", encoder, ["city", "plan"]), ("rest", "passthrough", ["visits"])]), model).fit(D, T)
    o = to_onnx(m, initial_types=TYPES, target_opset=OPSET, **kw)
    feed = {c: shown[[c]].to_numpy() if shown[c].dtype != float else shown[[c]].to_numpy().astype(np.float32) for c in D.columns}
    feed["amount"] = feed["amount"].astype(np.float32); feed["age"] = feed["age"].astype(np.float32)
    for c in ("city", "plan"): feed[c] = feed[c].astype(object)
    keep(name, o, "mixed" if shown is S else "known", feed, m.predict_proba(shown)[:, 1])
known = D[:SHOW]
mixed("columns_onehot_logistic", OneHotEncoder(handle_unknown="ignore"), L())
mixed("columns_ordinal_forest", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), RandomForestClassifier(6, max_depth=4, random_state=1))
mixed("columns_drop_first_logistic", OneHotEncoder(drop="first"), L(), known)
mixed("columns_infrequent_logistic", OneHotEncoder(min_frequency=100, handle_unknown="infrequent_if_exist"), L(), known)
mixed("columns_target_boosting", TargetEncoder(random_state=1), GradientBoostingClassifier(n_estimators=6, random_state=1), known)

rows = {"numbers": X, "gaps": G, "filled": F}
table = lambda d: {c: [None if isinstance(v, float) and np.isnan(v) else v if isinstance(v, str) else float(f"{v:.6g}") for v in d[c].tolist()] for c in d.columns}
out = {"source": f"scikit-learn {sklearn.__version__}, skl2onnx {skl2onnx.__version__}, onnxmltools {onnxmltools.__version__}, xgboost {xgb.__version__}, lightgbm {lgb.__version__}, onnxruntime {ort.__version__}, by exports.py",
       "rows": {k: [[None if np.isnan(v) else float(f"{v:.6g}") for v in row] for row in a[:SHOW]] for k, a in rows.items()},
       "tables": {"mixed": table(S), "known": table(known)}, "cases": cases}
text = json.dumps(out)
for k in ('{"name"', '"rows": {', '"tables"', '"cases"', '"gaps": [', '"filled"', '"known"', '"library"'): text = text.replace(k, "\n" + k)
open(os.path.join(HERE, "exports.json"), "w").write(text + "\n")
print(len(cases), "models,", sum(os.path.getsize(os.path.join(HERE, f)) for f in os.listdir(HERE)), "bytes")
