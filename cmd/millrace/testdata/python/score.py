"""Predicts with a model that keep.py has kept.

    score.py PICKLE

Standard input has {"columns": [...], "texts": [...], "rows": [[...]]}, raw values
and null where one is missing; texts are those columns that are texts. Standard
output has {"scores": [...]}, and of XGBoost "contributions", a list for each row,
of which the last is the base.
"""

import json
import pickle
import sys
from pathlib import Path

import pandas as pd
import xgboost

asked = json.load(sys.stdin)
frame = pd.DataFrame()
for i, column in enumerate(asked["columns"]):
    values = [row[i] for row in asked["rows"]]
    if column in asked["texts"]:
        frame[column] = ["" if v is None else v for v in values]
    else:
        frame[column] = [float("nan" if v is None else v) for v in values]

model = pickle.loads(Path(sys.argv[1]).read_bytes())
if isinstance(model, xgboost.Booster):
    rows = xgboost.DMatrix(frame)
    answer = {
        "scores": model.predict(rows).tolist(),
        "contributions": model.predict(rows, pred_contribs=True).tolist(),
    }
else:
    numbers = [c for c in frame if c not in asked["texts"]]
    frame[numbers] = frame[numbers].astype("float32")
    answer = {"scores": model.predict_proba(frame)[:, 1].tolist()}
json.dump(answer, sys.stdout)
