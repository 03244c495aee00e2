"""What only looks suspicious is accepted: a policy that refuses honest work would be switched off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grader import rewrite, vetting
from grader.rewrite import Limits, Polling, Terms
from grader.submission import private_copy
from tests.hostile.harmless import HARMLESS, Harmless
from tests.hostile.on_target import TARGET
from tests.hostile.target import start

TERMS = Terms("test", Polling(0.2, 10.0, 600.0), Limits(), TARGET.reach)


@pytest.mark.parametrize("submission", HARMLESS, ids=lambda submission: submission.name)
def test_is_accepted(submission: Harmless, tmp_path: Path) -> None:
    with private_copy(submission.make(tmp_path), TARGET, tmp_path / "copy") as copy:
        model, found = vetting.vetted(copy, "grading-test", TARGET)
        assert [(violation.at, violation.what) for violation in found] == []
        assert model is not None
        rewrite.graded(model, copy.folder, TERMS)


def test_every_one_has_a_name_of_its_own() -> None:
    assert len({submission.name for submission in HARMLESS}) == len(HARMLESS)


@pytest.mark.live
@pytest.mark.parametrize("submission", [s for s in HARMLESS if s.live], ids=lambda submission: submission.name)
def test_gets_full_marks(submission: Harmless, tmp_path: Path) -> None:
    process = start("-s", str(submission.make(tmp_path)), "-f", "json")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stdout + stderr
    report = json.loads(stdout)
    assert (report["points"], report["maximum"]) == (3, 3)
