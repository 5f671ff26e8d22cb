"""Trains trees of LightGBM and leaves them as text.

Parameters: those of lightgbm.train, and rounds, the most trees (300).
Needs: pip install pandas pyarrow lightgbm
"""

import argparse
import json
import os
from pathlib import Path

import lightgbm
import pandas as pd

parser = argparse.ArgumentParser()
for name in ("data", "params", "out"):
    parser.add_argument("--" + name, type=Path, required=True)
args = parser.parse_args()
params = json.loads(args.params.read_text())
rounds = params.pop("rounds", 300)
frame = pd.read_parquet(args.data)

# The inputs of the model come before the label. Here they must be numbers.
features = list(frame.columns[: frame.columns.get_loc("label")])


def dataset(split):
    rows = frame[frame["split"] == split]
    return lightgbm.Dataset(rows[features], rows["label"], weight=rows["weight"])


binary = os.environ["MILLRACE_TASK"] == "binary"
params = {
    "objective": "binary" if binary else "regression",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "deterministic": True,
    "seed": 1,
    "verbosity": -1,
} | params

# As many trees as are best for the newest rows.
stop = [lightgbm.early_stopping(20), lightgbm.log_evaluation(50)]
model = lightgbm.train(params, dataset("train"), rounds, valid_sets=[dataset("validation")], callbacks=stop)
loss = next(iter(model.best_score["valid_0"].values()))

model.save_model(args.out / "model.txt", num_iteration=model.best_iteration)
(args.out / "metrics.json").write_text(json.dumps({"validation_loss": loss, "trees": model.best_iteration}))
first = model.predict(frame[features].head(100), num_iteration=model.best_iteration)
(args.out / "predictions.json").write_text(json.dumps(first.tolist()))
