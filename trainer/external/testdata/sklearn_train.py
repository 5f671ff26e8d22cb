"""Trains a logistic regression of scikit-learn and leaves it as ONNX.

Parameter: C, the inverse strength of the regularisation (1).
Needs: pip install pandas pyarrow scikit-learn skl2onnx
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

parser = argparse.ArgumentParser()
for name in ("data", "params", "out"):
    parser.add_argument("--" + name, type=Path, required=True)
args = parser.parse_args()
params = json.loads(args.params.read_text())
frame = pd.read_parquet(args.data)

# The inputs of the model come before the label. A model of ONNX computes in
# float32, so that it should learn from that.
features = list(frame.columns[: frame.columns.get_loc("label")])
numbers = [f for f in features if is_numeric_dtype(frame[f])]
texts = [f for f in features if f not in numbers]
frame[numbers] = frame[numbers].astype("float32")

columns = ColumnTransformer([
    ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
    ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
])
model = make_pipeline(columns, LogisticRegression(C=params.get("C", 1.0), max_iter=1000))


def fit(rows):
    model.fit(rows[features], rows["label"].astype(int), logisticregression__sample_weight=rows["weight"])


held = frame[frame["split"] == "validation"]
fit(frame[frame["split"] == "train"])
auc = roc_auc_score(held["label"], model.predict_proba(held[features])[:, 1])
print(f"AUC {auc:.4f} on the newest {len(held)} rows")
fit(frame)

# One input of one column for each feature, by its name.
inputs = [(f, FloatTensorType([None, 1]) if f in numbers else StringTensorType([None, 1])) for f in features]
exported = to_onnx(model, initial_types=inputs, options={"zipmap": False})
(args.out / "model.onnx").write_bytes(exported.SerializeToString())
(args.out / "metrics.json").write_text(json.dumps({"validation_auc": auc}))
first = model.predict_proba(frame[features].head(100))[:, 1]
(args.out / "predictions.json").write_text(json.dumps(first.tolist()))
