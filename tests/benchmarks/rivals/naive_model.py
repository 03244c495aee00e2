"""The model server's skeleton filled in the straightforward way: one digit at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from model import load

app = FastAPI()
classifier = load(Path(os.environ["MODEL_PATH"]), "cpu")


@app.post("/predict")
def predict(data: dict[str, Any]) -> dict[str, Any]:
    [probabilities] = classifier.probabilities([data["pixels"]])
    return {"digit": probabilities.index(max(probabilities)), "probabilities": probabilities}
