"""Trains trees of XGBoost and leaves them as JSON.

Parameters: those of xgboost.train, and rounds, the most trees (300).
Needs: pip install pandas pyarrow xgboost
"""

import argparse
import json
import os
from pathlib import Path

import pandas as pd
import xgboost

parser = argparse.ArgumentParser()
for name in ("data", "params", "out"):
    parser.add_argument("--" + name, type=Path, required=True)
args = parser.parse_args()
params = json.loads(args.params.read_text())
rounds = params.pop("rounds", 300)
frame = pd.read_parquet(args.data)

# The inputs of the model come before the label. Here they must be numbers.
features = list(frame.columns[: frame.columns.get_loc("label")])


def matrix(rows):
    return xgboost.DMatrix(rows[features], rows["label"], weight=rows["weight"])


binary = os.environ["MILLRACE_TASK"] == "binary"
params = {
    "objective": "binary:logistic" if binary else "reg:squarederror",
    "eval_metric": "logloss" if binary else "rmse",
    "max_depth": 4,
    "learning_rate": 0.1,
    "seed": 1,
} | params

# As many trees as are best for the newest rows.
parts = [(matrix(frame[frame["split"] == s]), s) for s in ("train", "validation")]
model = xgboost.train(params, parts[0][0], rounds, evals=parts, early_stopping_rounds=20, verbose_eval=50)
best = {"validation_loss": model.best_score, "trees": model.best_iteration + 1}
print(best)
model = model[: model.best_iteration + 1]

model.save_model(args.out / "model.json")
(args.out / "metrics.json").write_text(json.dumps(best))
first = model.predict(matrix(frame.head(100)))
(args.out / "predictions.json").write_text(json.dumps(first.tolist()))
