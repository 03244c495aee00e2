"""Puts the weights into the volume and makes sure that they are good, then ends: `python init.py`.

A new volume is empty: somebody has to fill it before the model server can start. This is what the one-shot service
`model-init` runs. It ends with 0 only when the weights in the volume are the ones that were trained, can be loaded, and
read a digit correctly; otherwise it says what is wrong and ends with 1, and what waits for it does not start.

Environment: MODEL_SOURCE, the folder with model.pt and model.json (default: where the image has them);
MODEL_PATH, where the weights go.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path


class NotGood(Exception):
    """The weights must not be served; the text says why."""


def copy(source: Path, target: Path) -> None:
    """Puts the file in place as a whole: a reader sees the old weights or the new, never half of them."""
    half_done = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with half_done.open("wb") as file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        half_done.replace(target)
    finally:
        half_done.unlink(missing_ok=True)


def verify(weights: Path, card: dict[str, object]) -> None:
    """Raises NotGood unless the file holds the weights that the card describes, and they work."""
    from model import load, sha256_of  # torch takes a second to import: not for nothing

    found = sha256_of(weights.read_bytes())
    if found != card["sha256"]:
        raise NotGood(f"{weights} is damaged: its sha256 is {found}, and it should be {card['sha256']}.")
    try:
        classifier = load(weights)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise NotGood(f"{weights} cannot be loaded: {error}") from error
    reference: dict[str, object] = card["reference"]  # type: ignore[assignment]
    [answer] = classifier.probabilities([reference["pixels"]])  # type: ignore[list-item]
    digit = answer.index(max(answer))
    if digit != reference["digit"]:
        raise NotGood(f"{weights} reads a {reference['digit']} as a {digit}.")


def main() -> None:
    source = Path(os.environ.get("MODEL_SOURCE", "/opt/model"))
    target = Path(os.environ.get("MODEL_PATH", "/models/model.pt"))
    try:
        card = json.loads((source / "model.json").read_text())
        copy(source / "model.pt", target)
        verify(target, card)
    except OSError as error:
        sys.exit(
            f"model-init: {error.strerror}: {error.filename}\n"
            f"It copies {source}/model.pt to {target}. Is the volume mounted at {target.parent}, not read-only,"
            f" and owned by user {os.getuid()}?"
        )
    except NotGood as error:
        sys.exit(f"model-init: {error}")
    print(f"model-init: {target} is in place and verified, version {card['version']}, accuracy {card['accuracy']}")


if __name__ == "__main__":
    main()
