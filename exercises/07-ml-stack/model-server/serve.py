"""The model server: digits in, probabilities out. `python serve.py` listens on port 8000.

    POST /predict  {"pixels": [64 numbers]} -> {"digit": 3, "probabilities": [10 numbers], "model_version": "d9fe..."}
    GET  /version  {"model_version": "d9fe..."}
    GET  /health   200

Only the api talks to it, and the api has looked at the input before.
"""

from __future__ import annotations

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

MODEL_PATH = Path(os.environ.get("MODEL_PATH", "/models/model.pt"))


class Digit(BaseModel):
    pixels: list[float]


app = FastAPI(title="Model server")

# TODO: load the model, once, when the server starts. model.py, beside this file, has `load(path)`. It returns a
# classifier with `version` (of the weights) and `probabilities(digits)`: a list of digits in, a list of answers out.
# Mind that loading takes a second or two, and that the container is healthy only when this server can really predict.


@app.post("/predict")
def predict(digit: Digit) -> dict[str, object]:
    # TODO: read this one digit. The digit is the place of the highest of the ten probabilities.
    raise HTTPException(501, "The model server cannot predict yet: see model-server/serve.py")


@app.get("/version")
def version() -> dict[str, object]:
    # TODO: the classifier knows its version. Other weights, another version: the api's cache relies on it.
    return {"model_version": None}


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


if __name__ == "__main__":
    # Idle connections stay open for longer than the api keeps them, so that no request runs into a closing one.
    uvicorn.run(app, host="0.0.0.0", port=8000, access_log=False, timeout_keep_alive=65)
