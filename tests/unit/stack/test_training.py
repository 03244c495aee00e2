"""The training, and model-init, which puts its result into place."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import init
import pytest

from tests.unit.stack.conftest import train

Init = Callable[[Path, Path], str | None]


@pytest.fixture
def run_init(monkeypatch: pytest.MonkeyPatch) -> Init:
    """Runs model-init on these two paths; returns what it ends with: None when all is well, else what is wrong."""

    def run(source: Path, target: Path) -> str | None:
        monkeypatch.setenv("MODEL_SOURCE", str(source))
        monkeypatch.setenv("MODEL_PATH", str(target))
        try:
            init.main()
        except SystemExit as end:
            return str(end.code)
        return None

    return run


def copy_of(trained: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("model.pt", "model.json"):
        (folder / name).write_bytes((trained / name).read_bytes())
    return folder


def change_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, **changes}))


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


def test_a_model_that_is_not_good_enough_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import train as training

    monkeypatch.setattr(training, "EPOCHS", 1)
    with pytest.raises(SystemExit, match="not good enough"):
        training.main(tmp_path)
    assert not list(tmp_path.iterdir())


def test_init_puts_the_weights_into_place(trained: Path, tmp_path: Path, run_init: Init) -> None:
    target = tmp_path / "model.pt"
    assert run_init(trained, target) is None
    assert target.read_bytes() == (trained / "model.pt").read_bytes()
    assert list(tmp_path.iterdir()) == [target], "nothing half done is left"
    assert run_init(trained, target) is None, "a second run finds nothing wrong"


def test_init_refuses_damaged_weights(trained: Path, tmp_path: Path, run_init: Init) -> None:
    source = copy_of(trained, tmp_path / "source")
    weights = bytearray((source / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 1
    (source / "model.pt").write_bytes(weights)
    assert "damaged" in (run_init(source, tmp_path / "model.pt") or "")


def test_init_refuses_a_pickle_that_runs_code(trained: Path, tmp_path: Path, run_init: Init) -> None:
    """A card that vouches for it does not help: the weights are loaded with weights_only."""
    source = copy_of(trained, tmp_path / "source")
    harmful = pickle.dumps(subprocess.Popen, protocol=2)
    (source / "model.pt").write_bytes(harmful)
    change_card(source, sha256=hashlib.sha256(harmful).hexdigest())
    assert "cannot be loaded" in (run_init(source, tmp_path / "model.pt") or "")


def test_init_refuses_weights_that_misread_the_reference(trained: Path, tmp_path: Path, run_init: Init) -> None:
    source = copy_of(trained, tmp_path / "source")
    reference = json.loads((source / "model.json").read_text())["reference"]
    right, wrong = reference["digit"], (reference["digit"] + 1) % 10
    change_card(source, reference={**reference, "digit": wrong})
    assert f"reads a {wrong} as a {right}" in (run_init(source, tmp_path / "model.pt") or "")


def test_init_says_where_it_cannot_write(trained: Path, tmp_path: Path, run_init: Init) -> None:
    said = run_init(trained, tmp_path / "missing" / "model.pt") or ""
    assert "No such file or directory" in said
    assert str(tmp_path / "missing") in said
