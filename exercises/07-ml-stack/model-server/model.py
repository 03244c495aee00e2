"""The model: a small convolutional network that reads handwritten digits of 8 x 8 pixels.

`train.py`, `init.py` and `serve.py` share this file: the network that was trained is the one that loads the weights.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SIDE = 8
PIXELS = SIDE * SIDE
BRIGHTEST = 16


class DigitNet(nn.Module):
    """(n, 64) pixels from 0 to 16 -> (n, 10) scores, one for each digit."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(64, 10),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(pixels / BRIGHTEST)
        return scores


@dataclass(frozen=True)
class Classifier:
    """A loaded network, ready to answer, and the version of its weights."""

    net: DigitNet
    version: str
    device: torch.device

    def probabilities(self, digits: list[list[float]]) -> list[list[float]]:
        """n lists of 64 pixels (0..16) -> n lists of 10 probabilities that sum to 1."""
        with torch.inference_mode():
            pixels = torch.tensor(digits, dtype=torch.float32, device=self.device)
            rows: list[list[float]] = torch.softmax(self.net(pixels), dim=1).tolist()
        return rows


def sha256_of(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()


def version_of(weights: bytes) -> str:
    """The weights are their own version number: other weights, another version, with nobody having to count."""
    return sha256_of(weights)[:12]


def load(path: Path, device: str = "cpu") -> Classifier:
    """The classifier whose weights are in this file.

    Raises:
        FileNotFoundError: there is no such file.
        pickle.UnpicklingError, RuntimeError: it holds something else than the weights of a DigitNet.
    """
    weights = path.read_bytes()
    # A pickled file can run any code when it is loaded; weights_only refuses all but tensors and plain containers.
    state = torch.load(io.BytesIO(weights), weights_only=True, map_location=device)
    net = DigitNet()
    net.load_state_dict(state)
    return Classifier(net.to(device).eval(), version_of(weights), torch.device(device))
