"""The training, and model-init, which puts its result into place."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import STACK, train


def run_init(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "init.py"],
        cwd=STACK / "model-server",
        env={**os.environ, "MODEL_SOURCE": str(source), "MODEL_PATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_of(trained: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("model.pt", "model.json"):
        (folder / name).write_bytes((trained / name).read_bytes())
    return folder


def test_two_trainings_give_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    again = train(tmp_path)
    assert (again / "model.pt").read_bytes() == (trained / "model.pt").read_bytes()
    assert (again / "model.json").read_text() == (trained / "model.json").read_text()


def test_the_model_reads_digits_it_has_not_seen(trained: Path) -> None:
    """Measured here anew, on the digits that the training kept aside."""
    from model import load
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    _, unseen, _, expected = train_test_split(images, labels, test_size=0.25, random_state=5, stratify=labels)
    answers = load(trained / "model.pt").probabilities(unseen.tolist())
    right = sum(answer.index(max(answer)) == label for answer, label in zip(answers, expected, strict=True))
    accuracy = right / len(expected)
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(json.loads((trained / "model.json").read_text())["accuracy"], abs=1e-4)


def test_the_card_describes_the_weights(trained: Path) -> None:
    card = json.loads((trained / "model.json").read_text())
    found = hashlib.sha256((trained / "model.pt").read_bytes()).hexdigest()
    assert card["sha256"] == found
    assert card["version"] == found[:12]


def test_a_model_that_is_not_good_enough_fails_the_build(tmp_path: Path) -> None:
    code = f"import train; train.EPOCHS = 1; train.main(train.Path({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=STACK / "model-server", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not good enough" in done.stderr
    assert not list(tmp_path.iterdir())


def test_init_puts_the_weights_into_place(trained: Path, tmp_path: Path) -> None:
    done = run_init(trained, tmp_path / "model.pt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.pt").read_bytes() == (trained / "model.pt").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"], "nothing half done is left"
    assert run_init(trained, tmp_path / "model.pt").returncode == 0, "a second run finds nothing wrong"


def test_init_refuses_damaged_weights(trained: Path, tmp_path: Path) -> None:
    source = copy_of(trained, tmp_path / "source")
    weights = bytearray((source / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 1
    (source / "model.pt").write_bytes(weights)
    done = run_init(source, tmp_path / "model.pt")
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_init_refuses_a_pickle_that_runs_code(trained: Path, tmp_path: Path) -> None:
    """A card that vouches for it does not help: the weights are loaded with weights_only."""
    import pickle

    source = copy_of(trained, tmp_path / "source")
    harmful = pickle.dumps(subprocess.Popen)
    (source / "model.pt").write_bytes(harmful)
    card = json.loads((source / "model.json").read_text())
    card["sha256"] = hashlib.sha256(harmful).hexdigest()
    (source / "model.json").write_text(json.dumps(card))
    done = run_init(source, tmp_path / "model.pt")
    assert done.returncode == 1
    assert "cannot be loaded" in done.stderr


def test_init_refuses_weights_that_misread_the_reference(trained: Path, tmp_path: Path) -> None:
    source = copy_of(trained, tmp_path / "source")
    card = json.loads((source / "model.json").read_text())
    right = card["reference"]["digit"]
    card["reference"]["digit"] = (right + 1) % 10
    (source / "model.json").write_text(json.dumps(card))
    done = run_init(source, tmp_path / "model.pt")
    assert done.returncode == 1
    assert f"reads a {(right + 1) % 10} as a {right}" in done.stderr


def test_init_says_where_it_cannot_write(trained: Path, tmp_path: Path) -> None:
    done = run_init(trained, tmp_path / "missing" / "model.pt")
    assert done.returncode == 1
    assert str(tmp_path / "missing") in done.stderr
    assert "Traceback" not in done.stderr
