"""The same model in LitServe (lightning.ai/docs/litserve), with batches of the same size and the same wait for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import litserve
import torch
from model import load


class Digits(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.classifier = load(Path(os.environ["MODEL_PATH"]), "cpu")

    def decode_request(self, request: dict[str, Any]) -> list[float]:
        pixels: list[float] = request["pixels"]
        return pixels

    def batch(self, inputs: list[list[float]]) -> list[list[float]]:
        return inputs

    def predict(self, inputs: list[list[float]]) -> list[list[float]]:
        answers: list[list[float]] = self.classifier.probabilities(inputs)
        return answers

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"digit": output.index(max(output)), "probabilities": output}


if __name__ == "__main__":
    api = Digits(max_batch_size=int(os.environ["BATCH_SIZE"]), batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu").run(port=8000, generate_client_file=False)
