from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from grader.engine.sweep import Owner


def test_a_label_is_read_back_as_it_was_written() -> None:
    owner = Owner.new()
    assert Owner.parse(str(owner)) == owner
    assert not owner.gone()


def test_no_two_gradings_share_a_project() -> None:
    assert Owner.new().project != Owner.new().project


@pytest.mark.parametrize("label", ["", "x", "a/b/c/d", "a/1/2", "a/1/2/p/q"])
def test_a_label_that_is_not_ours_has_no_owner(label: str) -> None:
    assert Owner.parse(label) is None


def test_an_owner_is_gone_when_its_process_is() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = replace(Owner.new(), pid=process.pid, started=int(psutil.Process(process.pid).create_time()))
        assert not owner.gone()
        process.kill()
        process.wait()
    assert owner.gone()


def test_a_pid_that_was_given_to_another_process_is_not_the_owner() -> None:
    assert replace(Owner.new(), started=1).gone()


def test_an_owner_on_another_machine_is_never_said_to_be_gone() -> None:
    assert not replace(Owner.new(), machine="other", pid=2**22 - 1).gone()
