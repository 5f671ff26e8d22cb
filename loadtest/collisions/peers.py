#!/usr/bin/env python3
"""Measures one learner of trees: peers.py NAME DIR PREFIX THREADS CALLS

NAME is xgboost, lightgbm, scikit-learn or onnxruntime; the last one only scores
what lightgbm has left in DIR. PREFIX_train.f32 and PREFIX_test.f32 are rows of 29
float32: a label and 28 numbers. Prints one JSON object, and writes DIR/NAME.f64,
the predictions of the test rows. peers.py check only imports what is needed.

All have the same task: 100 trees of depth 6, at most 63 leaves, 256 bins, rate 0.1.
"""

import importlib
import json
import os
import resource
import sys
import time

# What is imported, and what pip calls it.
PACKAGES = {
    "numpy": "numpy",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
    "onnxruntime": "onnxruntime",
    "onnxmltools": "onnxmltools",
    "skl2onnx": "skl2onnx",
}
MISSING = 3  # the exit status where one of them is missing
WARM = 200  # calls with one row before those that count
PASSES = 3  # over the test rows, the cheapest of which counts

TREES, DEPTH, LEAVES, BINS, RATE = 100, 6, 63, 256, 0.1


class Meter:
    """Seconds and CPU seconds, user and system, of all threads of the process."""

    def __enter__(self):
        self.cpu, self.seconds = self.used(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.cpu, self.seconds = self.used() - self.cpu, time.perf_counter() - self.seconds

    @staticmethod
    def used():
        u = resource.getrusage(resource.RUSAGE_SELF)
        return u.ru_utime + u.ru_stime

    def json(self):
        return {"seconds": self.seconds, "cpu_s": self.cpu}


def check():
    """Imports all, and says which packages are missing."""
    missing = []
    for module, package in PACKAGES.items():
        try:
            importlib.import_module(module)
        except Exception as e:  # a package that is broken fails in its own ways
            missing.append(package)
            print(f"import {module}: {e}", file=sys.stderr)
    if missing:
        print(" ".join(missing))
        sys.exit(MISSING)


def rows(name):
    """The numbers and the labels of a file."""
    import numpy as np

    table = np.fromfile(name, np.float32).reshape(-1, 29)
    return np.ascontiguousarray(table[:, 1:]), np.ascontiguousarray(table[:, 0])


# Each peer returns its version, what its training took, a function that predicts
# rows with all threads, and one that predicts them with one.


def xgboost(load, threads, path):
    import xgboost as xgb

    x, y = load()
    with Meter() as meter:
        table = xgb.QuantileDMatrix(x, y, max_bin=BINS, nthread=threads)
        model = xgb.train(
            {
                "objective": "binary:logistic",
                "tree_method": "hist",
                "max_depth": DEPTH,
                "eta": RATE,
                "max_bin": BINS,
                "nthread": threads,
            },
            table,
            TREES,
        )
    single = model.copy()
    single.set_param({"nthread": 1})
    return xgb.__version__, meter, model.inplace_predict, single.inplace_predict


def lightgbm(load, threads, path):
    import lightgbm as lgb

    x, y = load()
    with Meter() as meter:
        model = lgb.train(
            {
                "objective": "binary",
                "num_leaves": LEAVES,
                "max_depth": DEPTH,
                "learning_rate": RATE,
                "max_bin": BINS - 1,
                "num_threads": threads,
                "verbose": -1,
            },
            lgb.Dataset(x, y),
            TREES,
        )
    model.save_model(os.path.join(path, "lightgbm.txt"))
    return (
        lgb.__version__,
        meter,
        lambda x: model.predict(x, num_threads=threads),
        lambda x: model.predict(x, num_threads=1),
    )


def scikit_learn(load, threads, path):
    import sklearn
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = load()
    with Meter() as meter:
        model = HistGradientBoostingClassifier(
            max_iter=TREES, max_leaf_nodes=LEAVES, max_depth=DEPTH, learning_rate=RATE, early_stopping=False, random_state=1
        ).fit(x, y)

    def predict(x):
        return model.predict_proba(x)[:, 1]

    return sklearn.__version__, meter, predict, predict


def onnxruntime(load, threads, path):
    import lightgbm as lgb
    import onnxmltools
    import onnxruntime as ort
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lgb.Booster(model_file=os.path.join(path, "lightgbm.txt"))
    model = onnxmltools.convert_lightgbm(
        booster, initial_types=[("x", FloatTensorType([None, 28]))], zipmap=False, target_opset=15
    ).SerializeToString()

    def session(threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        s = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        scores, name = s.get_outputs()[1].name, s.get_inputs()[0].name
        return lambda x: s.run([scores], {name: x})[0][:, 1]

    return ort.__version__, None, session(threads), session(1)


PEERS = {"xgboost": xgboost, "lightgbm": lightgbm, "scikit-learn": scikit_learn, "onnxruntime": onnxruntime}


def one_row(predict, x, calls):
    """How long calls with one row took, each."""
    took = []
    for i in range(-WARM, calls):
        k = i % len(x)
        row = x[k : k + 1]
        start = time.perf_counter()
        predict(row)
        if i >= 0:
            took.append(time.perf_counter() - start)
    took.sort()
    return {"calls": calls, "p50_us": 1e6 * took[calls // 2], "p99_us": 1e6 * took[int(calls * 0.99)]}


def main():
    if sys.argv[1:] == ["check"]:
        return check()
    from threadpoolctl import threadpool_limits

    name, path, prefix, threads, calls = sys.argv[1:]
    threads, calls = int(threads), int(calls)
    version, trained, predict, single = PEERS[name](lambda: rows(prefix + "_train.f32"), threads, path)
    x, _ = rows(prefix + "_test.f32")
    passes = []
    for _ in range(PASSES):
        with Meter() as meter:
            scores = predict(x)
        passes.append(meter)
    scores.astype("float64").tofile(os.path.join(path, name + ".f64"))
    with threadpool_limits(1):
        one = one_row(single, x, calls)
    result = {"version": version, "bulk": min(passes, key=lambda m: m.cpu).json(), "one": one}
    if trained:
        result["train"] = trained.json()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
