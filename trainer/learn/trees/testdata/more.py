"""Writes more.json and the models in more/: what XGBoost and LightGBM say of rows by models that the first set of
answers lacks: categories, counts, several classes, forests, missing zeros.  python more.py (numpy, xgboost-cpu 3.2.0, lightgbm 4.7.0)"""
import json, math
import numpy as np, xgboost as xgb, lightgbm as lgb

r = np.random.default_rng(7)
N, F = 800, 5
X = r.normal(size=(N, F)).round(3).astype(np.float32)
X[r.random((N, F)) < 0.1] = np.nan
X[r.random((N, F)) < 0.2] = 0
X[:, 3] = r.integers(0, 40, N)  # a category
X[:, 4] = np.where(r.random(N) < 0.1, np.nan, r.integers(0, 3, N))  # one with few values, and missing ones
z = np.nan_to_num(X[:, 0]) - np.nan_to_num(X[:, 1]) * np.isnan(X[:, 2]) + (X[:, 3] % 7 == 2) * 1.5 + (X[:, 4] == 1)
y, counts, classes = (z + r.normal(size=N) > 0.5).astype(int), r.poisson(np.exp(z / 2)), np.digitize(z, [0, 1])
T = np.vstack([X[:40], [[np.nan] * 5, [0] * 5, [1e30, -1e30, 1e-36, 99, 7], [-1e-36, 1e-30, 5, -1, -2]]]).astype(np.float32)
cases = []

def add(id, file, margin, prediction, contribs):
    cases.append({"id": id, "model": "more/" + file, "margin": np.asarray(margin, float).tolist(), "prediction": np.asarray(prediction, float).tolist(),
                  "contribs_last_is_bias": None if contribs is None else np.asarray(contribs, float).tolist()})

def xgboost(id, label, rounds=6, types=("q", "q", "q", "c", "c"), **params):
    d = xgb.DMatrix(X, label=label, feature_types=list(types), enable_categorical=True)
    b = xgb.train({"max_depth": 3, "eta": 0.4, "seed": 1, "nthread": 1, **params}, d, rounds)
    b.save_model("more/" + id + ".json")
    t = xgb.DMatrix(T, feature_types=list(types), enable_categorical=True)
    c = b.predict(t, pred_contribs=True)
    add(id, id + ".json", b.predict(t, output_margin=True), b.predict(t), c if c.ndim == 2 else None)

xgboost("xgb_categories", y, objective="binary:logistic", max_cat_to_onehot=5)
xgboost("xgb_poisson", counts, objective="count:poisson")
xgboost("xgb_tweedie_dart", counts, objective="reg:tweedie", booster="dart", rate_drop=0.3)
xgboost("xgb_classes_forest", classes, rounds=2, objective="multi:softprob", num_class=3, num_parallel_tree=2, subsample=0.7)
xgboost("xgb_lossguide", y, objective="reg:logistic", grow_policy="lossguide", max_leaves=9, max_depth=0, gamma=0.5, types="qqqqq")
xgboost("xgb_exact_pruned", y, objective="binary:logistic", tree_method="exact", gamma=2, max_depth=5, types="qqqqq")
xgboost("xgb_absolute", z, objective="reg:absoluteerror")

def lightgbm(id, label, rounds=6, category=(3, 4), **params):
    d = lgb.Dataset(X, label=label, categorical_feature=list(category), params={"verbose": -1})
    p = {"num_leaves": 7, "learning_rate": 0.3, "verbose": -1, "min_data_in_leaf": 10, "num_threads": 1, "deterministic": True, "seed": 1, "min_data_per_group": 5, **params}
    b = lgb.train(p, d, rounds)
    b.save_model("more/" + id + ".txt")
    k = params.get("num_class", 1)
    rf = params.get("boosting") == "rf"
    c = b.predict(T, pred_contrib=True) if k == 1 and not rf else None
    m = b.predict(T, raw_score=True) / (rounds if rf else 1)
    add(id, id + ".txt", m, b.predict(T), c)

lightgbm("lgb_zero_missing", y, objective="binary", zero_as_missing=True)
lightgbm("lgb_no_missing", y, objective="binary", use_missing=False)
lightgbm("lgb_sigmoid", y, objective="cross_entropy")
lightgbm("lgb_poisson", counts, objective="poisson")
lightgbm("lgb_classes_dart", classes, objective="multiclass", num_class=3, boosting="dart", drop_rate=0.5)
lightgbm("lgb_forest", y, objective="binary", boosting="rf", bagging_freq=1, bagging_fraction=0.6, category=())
lightgbm("lgb_stumps", z, rounds=3, objective="huber", min_data_in_leaf=390)

json.dump({"source": f"xgboost {xgb.__version__} and lightgbm {lgb.__version__}, trained and asked by more.py", "tolerance": {"margin": 1e-5, "prediction": 1e-5, "contribs": 1e-4},
           "inputs": [[None if math.isnan(v) else float(v) for v in row] for row in T], "cases": cases}, open("more.json", "w"))
