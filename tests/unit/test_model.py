"""These run the real `docker compose config`; it needs no engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from grader import catalog, compose, model, raw, yamlfile
from grader.errors import SubmissionError
from grader.submission import Submission, private_copy

EXERCISE = catalog.find("04")


def load(tmp_path: Path, text: str | bytes, **files: str) -> model.Model:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "compose.yml").write_bytes(text.encode() if isinstance(text, str) else text)
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(content)
    return resolved(Submission(folder, folder, (folder / "compose.yml",)))


def resolved(submission: Submission, required: Sequence[str] = ()) -> model.Model:
    return model.load(submission, raw.read(submission), "grading-test", required)


def test_the_solution_is_read_with_its_lines(tmp_path: Path) -> None:
    source = catalog.SOLUTIONS / EXERCISE.key
    with private_copy(source, EXERCISE, tmp_path / "copy") as copy:
        loaded = resolved(copy, EXERCISE.services)
    assert set(loaded.services) == set(EXERCISE.services)
    assert loaded.services["api"].depends_on["redis"].condition == "service_healthy"
    where = loaded.at("services", "redis", "healthcheck")
    line = (source / "compose.yml").read_text().splitlines()[int(where.split(":")[1]) - 1]
    assert line.strip() == "healthcheck:"


def test_what_is_not_written_is_said_to_be_at_the_nearest_thing(tmp_path: Path) -> None:
    loaded = load(tmp_path, "services:\n  a:\n    image: x\n")
    assert loaded.at("services", "a", "healthcheck", "test") == "compose.yml:2"
    assert loaded.at("volumes", "v").startswith("compose.yml")


def test_merge_keys_are_found_where_they_are_written(tmp_path: Path) -> None:
    loaded = load(tmp_path, "x-a: &a\n  restart: always\nservices:\n  s:\n    <<: *a\n    image: x\n")
    assert loaded.services["s"].config["restart"] == "always"
    assert loaded.at("services", "s", "restart") == "compose.yml:2"


def test_composes_own_tags_are_no_obstacle(tmp_path: Path) -> None:
    assert load(tmp_path, "services:\n  s:\n    image: x\n    ports: !reset []\n").services["s"]


def test_nothing_of_the_machine_is_interpolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "leaked")
    text = (
        "services:\n  s:\n    image: x\n    environment:\n      A: ${SECRET_OF_THE_HOST:-}\n      SECRET_OF_THE_HOST:\n"
    )
    assert "leaked" not in str(load(tmp_path, text).config)


@pytest.mark.parametrize("name", ["HOME", "PATH", "PWD", "USER", "DOCKER_CONFIG", "DOCKER_HOST", "_"])
def test_not_even_what_every_machine_has_is_interpolated(tmp_path: Path, name: str) -> None:
    loaded = load(tmp_path, f"services:\n  s:\n    image: x\n    environment:\n      A: <${{{name}:-nothing}}>\n")
    assert loaded.services["s"].config["environment"]["A"] == "<nothing>"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services:\n  a:\n   image: x\n  b\n", r"compose\.yml:\d"),
        ("services:\n  a:\n    build: .\n    build: .\n", "already defined"),
        ("services:\n  a:\n    depends_on:\n      - b\n      c:\n        condition: x\n", r"compose\.yml"),
        ("services:\n  a:\n    image: ${X:?give X}\n", "X"),
        ("services: {}\n", "no services"),
        ("- a list\n", r"compose\.yml"),
        ("", r"compose\.yml"),
        (b"services: \xff\xfe", "UTF-8"),
        ("services:\n  a: {image: x}\n" + "#" * yamlfile.MAX_BYTES, "larger"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_where_and_why(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(SubmissionError, match=says) as error:
        load(tmp_path, text)
    assert str(tmp_path) not in error.value.what


def test_a_compose_that_would_never_end_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The docker command runs Compose as a process of its own, which killing the command alone would leave."""
    marker = tmp_path / "child"
    script = tmp_path / "docker"
    script.write_text(f"#!/bin/sh\nsh -c 'sleep 60; :' & echo $! > {marker}\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(compose, "docker_command", lambda: str(script))
    done = compose.read(["config"], tmp_path, timeout=1)
    assert done.status is None
    wait_for_end(int(marker.read_text()))


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end, f"{pid} still runs"
        time.sleep(0.05)


def test_what_compose_prints_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "docker"
    script.write_text("#!/bin/sh\nexec head -c 50000000 /dev/zero\n")
    script.chmod(0o755)
    monkeypatch.setattr(compose, "docker_command", lambda: str(script))
    done = compose.read(["config"], tmp_path, timeout=20)
    assert done.status != 0
    assert len(done.stdout) <= compose.READ_OUTPUT


def test_a_missing_service_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "compose.yml").write_text("services: {a: {image: x}}")
    with pytest.raises(SubmissionError, match="no service called redis"):
        resolved(Submission(folder, folder, (folder / "compose.yml",)), ("redis",))
