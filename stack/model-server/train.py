"""Trains the model on scikit-learn's handwritten digits and saves it: `python train.py FOLDER`.

Runs once, when the image is built. Seeds are fixed and one thread does the sums, so two builds on one machine give the
same weights, byte for byte. Writes FOLDER/model.pt, the weights, and FOLDER/model.json, what to check them against.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from model import Classifier, DigitNet, sha256_of, version_of
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 5
EPOCHS = 40
BATCH = 64
LOWEST_ACCURACY = 0.97


def train(images: torch.Tensor, labels: torch.Tensor) -> DigitNet:
    """Fits a new network to (n, 64) images and their (n,) labels."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    net = DigitNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss()
    net.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss_of(net(images[batch]), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def accuracy(net: DigitNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.inference_mode():
        right = (net(images).argmax(dim=1) == labels).sum().item()
    return float(right) / len(labels)


def main(folder: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    # A quarter of the digits is kept aside: accuracy on digits the network has seen would say nothing.
    seen, unseen, seen_labels, unseen_labels = (
        torch.tensor(part)
        for part in train_test_split(
            images.astype("float32"), labels, test_size=0.25, random_state=SEED, stratify=labels
        )
    )
    net = train(seen, seen_labels)
    reached = accuracy(net, unseen, unseen_labels)
    print(f"right on {reached:.2%} of {len(unseen)} digits it has not seen")
    if reached < LOWEST_ACCURACY:
        sys.exit(f"The model is not good enough: {reached:.2%}, and {LOWEST_ACCURACY:.0%} is the least.")

    folder.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), folder / "model.pt")
    weights = (folder / "model.pt").read_bytes()
    reference = unseen[0].tolist()
    [answer] = Classifier(net, version_of(weights), torch.device("cpu")).probabilities([reference])
    card = {
        "sha256": sha256_of(weights),
        "version": version_of(weights),
        "accuracy": round(reached, 4),
        "tested_on": len(unseen),
        "reference": {"pixels": reference, "digit": int(unseen_labels[0]), "probabilities": answer},
    }
    (folder / "model.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
