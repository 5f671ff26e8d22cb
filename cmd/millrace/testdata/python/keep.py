"""Runs a program that trains, and keeps its variable `model` as Python has it.

    keep.py PROGRAM ARGUMENTS...

The pickle is in the folder $MODELS_KEPT, named by the SHA-256 of the file that
the program leaves, which is the bundle's weights.bin.
"""

import hashlib
import os
import pickle
import runpy
import sys
from pathlib import Path

del sys.argv[0]
model = runpy.run_path(sys.argv[0], run_name="__main__")["model"]
for left in Path(os.environ["MILLRACE_OUT"]).glob("model.*"):
    name = hashlib.sha256(left.read_bytes()).hexdigest()
    (Path(os.environ["MODELS_KEPT"]) / name).write_bytes(pickle.dumps(model))
