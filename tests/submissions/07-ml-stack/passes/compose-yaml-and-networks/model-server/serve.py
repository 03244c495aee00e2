"""The model server: digits in, probabilities out. This one listens on port 9000.

    POST /predict  {"pixels": [64 numbers]} -> {"digit": 3, "probabilities": [10 numbers], "model_version": "d9fe..."}
    GET  /version  {"model_version": "d9fe..."}
    GET  /health   200

Only the api talks to it, and the api has looked at the input before.
"""

from __future__ import annotations

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from model import load
from pydantic import BaseModel

MODEL_PATH = Path(os.environ.get("MODEL_PATH", "/models/model.pt"))


class Digit(BaseModel):
    pixels: list[float]


# Once, before the server listens: until then the health check fails, and nobody is sent here.
# A missing file ends the process; `docker compose logs model-server` says which one.
classifier = load(MODEL_PATH)
app = FastAPI(title="Model server")


@app.post("/predict")
def predict(digit: Digit) -> dict[str, object]:
    # The classifier takes many digits at once; this is a list of one.
    [probabilities] = classifier.probabilities([digit.pixels])
    return {
        "digit": probabilities.index(max(probabilities)),
        "probabilities": probabilities,
        # With the answer, so that the api caches it under the version that gave it.
        "model_version": classifier.version,
    }


@app.get("/version")
def version() -> dict[str, object]:
    # Made from the weights: other weights have another version, with nobody having to count.
    return {"model_version": classifier.version}


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


if __name__ == "__main__":
    # Idle connections stay open for longer than the api keeps them, so that no request runs into a closing one.
    uvicorn.run(app, host="0.0.0.0", port=9000, access_log=False, timeout_keep_alive=65)
