"""Loads the model in the background, and says 503 until it is there; uses the network itself, not the classifier."""

import hashlib
import io
import threading
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from model import DigitNet

loaded: dict[str, object] = {}
app = FastAPI()


def load() -> None:
    weights = Path("/models/model.pt").read_bytes()
    net = DigitNet()
    net.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    net.eval()
    loaded.update(net=net, version=hashlib.md5(weights).hexdigest())


def ready(name: str) -> object:
    if name not in loaded:
        raise HTTPException(503, "not loaded yet")
    return loaded[name]


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    net = ready("net")
    pixels = (await request.json())["pixels"]
    with torch.no_grad():
        scores = net(torch.tensor([pixels], dtype=torch.float32))[0].softmax(0)  # type: ignore[operator]
    return {
        "model_version": ready("version"),
        "digit": int(scores.argmax()),
        "probabilities": [float(score) for score in scores],
    }


@app.get("/version")
def version() -> dict[str, object]:
    return {"model_version": ready("version")}


@app.get("/health")
def health() -> dict[str, object]:
    return {"model": ready("version")}


threading.Thread(target=load).start()
uvicorn.run(app, host="0.0.0.0", port=8000)
