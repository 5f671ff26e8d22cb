"""Trains a logistic regression of scikit-learn and leaves it as ONNX. Parameter: C (1).
Needs: pip install pandas pyarrow scikit-learn skl2onnx
"""

import argparse
import json
from pathlib import Path

import onnx.helper
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
inputs, label = frame[numbers + texts], frame["label"].astype(int)
places = list(range(len(features)))  # and not names: the export takes two tensors

columns = ColumnTransformer([
    ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), places[: len(numbers)]),
    ("texts", OneHotEncoder(handle_unknown="ignore"), places[len(numbers) :]),
])
model = make_pipeline(columns, LogisticRegression(C=params.get("C", 1.0), max_iter=1000))


def fit(rows):
    model.fit(inputs[rows], label[rows], logisticregression__sample_weight=frame["weight"][rows])


held = frame["split"] == "validation"
fit(frame["split"] == "train")
auc = roc_auc_score(label[held], model.predict_proba(inputs[held])[:, 1])
print(f"AUC {auc:.4f} on the newest {held.sum()} rows")
fit(slice(None))  # all rows

tensors = [("numbers", FloatTensorType([None, len(numbers)])), ("texts", StringTensorType([None, len(texts)]))]
exported = to_onnx(model, initial_types=[t for t in tensors if t[1].shape[1]], options={"zipmap": False})
onnx.helper.set_model_props(exported, {"features": json.dumps(numbers + texts)})
(args.out / "model.onnx").write_bytes(exported.SerializeToString())
(args.out / "metrics.json").write_text(json.dumps({"validation_auc": auc}))
(args.out / "predictions.json").write_text(json.dumps(model.predict_proba(inputs.head(100))[:, 1].tolist()))
