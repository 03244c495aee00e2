"""The same model in LitServe (lightning.ai/docs/litserve), with batches of the same size."""

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

    # Without a type for `request`: LitServe would make a parameter of the URL of it.
    def decode_request(self, request) -> list[float]:  # type: ignore[no-untyped-def]
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
    api = Digits(max_batch_size=int(os.environ["BATCH_SIZE"]), batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(port=8000, generate_client_file=False, log_level="warning", access_log=False)
