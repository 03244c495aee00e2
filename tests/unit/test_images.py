"""The table of images, and the small parts that getting them is made of. Needs no engine."""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from grader.engine import inventory
from grader.engine.build import build_folder, build_root
from grader.engine.fingerprint import fingerprint
from grader.engine.process import CommandFailed, Interrupted, run
from grader.engine.pull import PullProgress
from grader.engine.wheelhouse import annotated_index, wheelhouse
from grader.errors import MachineError

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "stack" / "images" / "course" / "requirements.txt"


def pins(requirements: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", requirements.read_text(), re.MULTILINE))


class TestTable:
    def test_has_every_image_that_the_stack_runs_on(self) -> None:
        services = yaml.safe_load((ROOT / "compose.yml").read_text())["services"].values()
        known = {image.tag for image in (*inventory.IMAGES, *inventory.stack_images())}
        assert {service["image"] for service in services} <= known

    def test_has_a_folder_behind_everything_that_is_built(self) -> None:
        table = [*inventory.IMAGES, *inventory.stack_images()]
        tags = [image.tag for image in table]
        assert len(tags) == len(set(tags))
        for image in table:
            assert all(path.is_dir() for path in image.inputs), image
            assert image.parent is None or image.parent in tags, image

    def test_starts_each_dockerfile_from_the_parent_that_it_names(self) -> None:
        for image in [*inventory.IMAGES, *inventory.stack_images()]:
            for dockerfile in (path / "Dockerfile" for path in image.inputs):
                if dockerfile.exists():
                    bases = re.findall(r"^FROM (\S+)(?: AS (\S+))?", dockerfile.read_text(), re.MULTILINE)
                    stages = {name for _, name in bases}
                    assert {base for base, _ in bases} - stages == {image.parent}, dockerfile

    def test_pins_the_wheelhouse_as_the_workbook_pins_itself(self) -> None:
        wheels, workbook = pins(REQUIREMENTS), pins(ROOT / "requirements.txt")
        both = wheels.keys() & workbook.keys()
        assert {"torch", "fastapi", "httpx"} <= both
        assert {name: wheels[name] for name in both} == {name: workbook[name] for name in both}


class TestPullProgress:
    def test_adds_up_the_layers(self) -> None:
        progress = PullProgress()
        events = [
            ({"status": "Pulling from library/redis", "id": "7-alpine"}, (0, 0)),
            ({"status": "Already exists", "progressDetail": {}, "id": "a"}, (0, 0)),
            ({"status": "Pulling fs layer", "progressDetail": {}, "id": "b"}, (0, 0)),
            (
                {"status": "Downloading", "progressDetail": {"current": 10, "total": 100}, "id": "b"},
                (10, 100),
            ),
            ({"status": "Downloading", "progressDetail": {"current": 5, "total": 50}, "id": "c"}, (15, 150)),
            (
                {"status": "Downloading", "progressDetail": {"current": 60, "total": 100}, "id": "b"},
                (65, 150),
            ),
            ({"status": "Verifying Checksum", "progressDetail": {}, "id": "b"}, (105, 150)),
            ({"status": "Extracting", "progressDetail": {"current": 3, "total": 100}, "id": "b"}, (105, 150)),
            ({"status": "Download complete", "progressDetail": {}, "id": "c"}, (150, 150)),
            ({"status": "Pull complete", "progressDetail": {}, "id": "b"}, (150, 150)),
            ({"status": "Digest: sha256:0"}, (150, 150)),
        ]
        for event, expected in events:
            assert progress.update(event) == expected, event

    def test_never_passes_the_end(self) -> None:
        event = {"status": "Downloading", "progressDetail": {"current": 120, "total": 100}, "id": "a"}
        assert PullProgress().update(event) == (100, 100)


class TestFingerprint:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "sub").mkdir()
        (tmp_path / "Dockerfile").write_text("FROM scratch\n")
        (tmp_path / "sub" / "entry.sh").write_text("#!/bin/sh\n")
        return tmp_path

    def test_is_the_same_in_another_checkout(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = tmp_path_factory.mktemp("other")
        (other / "sub").mkdir()
        (other / "sub" / "entry.sh").write_text("#!/bin/sh\n")
        (other / "Dockerfile").write_text("FROM scratch\n")
        assert fingerprint([folder]) == fingerprint([other])

    def test_changes_with_all_that_matters(self, folder: Path) -> None:
        seen = {fingerprint([folder]), fingerprint([folder], "parent"), fingerprint([folder], "par", "ent")}
        (folder / "Dockerfile").write_text("FROM scratch \n")
        seen.add(fingerprint([folder]))
        (folder / "sub" / "entry.sh").chmod(0o755)
        seen.add(fingerprint([folder]))
        (folder / "sub" / "entry.sh").rename(folder / "sub" / "start.sh")
        seen.add(fingerprint([folder]))
        (folder / "sub" / "start.sh").unlink()
        seen.add(fingerprint([folder]))
        assert len(seen) == 7

    def test_ignores_what_running_leaves_behind(self, folder: Path) -> None:
        before = fingerprint([folder])
        for name in ("__pycache__", ".pytest_cache", "sub/__pycache__"):
            (folder / name).mkdir()
            (folder / name / "left.pyc").write_bytes(b"\0")
        assert fingerprint([folder]) == before

    def test_counts_dockerignore(self, folder: Path) -> None:
        before = fingerprint([folder])
        (folder / ".dockerignore").write_text("*\n")
        assert fingerprint([folder]) != before


class TestProcess:
    def test_tells_each_line_and_reads_what_it_is_given(self) -> None:
        said: list[str] = []
        program = "import sys; print(sys.stdin.read()); print('careful', file=sys.stderr)"
        log = run([sys.executable, "-uc", program], threading.Event(), said=said.append, stdin="hello")
        assert said == log == ["hello", "careful"]

    def test_keeps_the_end_of_the_log_of_a_failure(self) -> None:
        program = "for i in range(1000): print(i)\nraise SystemExit(7)"
        with pytest.raises(CommandFailed) as failure:
            run([sys.executable, "-c", program], threading.Event())
        assert failure.value.status == 7
        assert failure.value.log[-1] == "999"

    def test_ends_the_command_when_asked_to(self) -> None:
        stopping = threading.Event()
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            run(
                [sys.executable, "-uc", "print('on'); import time; time.sleep(60)"],
                stopping,
                said=lambda line: stopping.set(),
            )
        assert time.monotonic() - begun < 30


class TestWheelhouse:
    def test_finds_the_index_in_what_uv_prints(self) -> None:
        printed = ["torch==2.13.0+cpu", "    # via -r torch.txt", "    # from https://wheels.example/cpu"]
        assert annotated_index(printed) == "https://wheels.example/cpu"
        assert annotated_index(["torch==2.13.0"]) is None

    def test_says_what_pip_could_not_find(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("grader.engine.wheelhouse.CACHE", tmp_path / "cache")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        wanted = tmp_path / "requirements.txt"
        wanted.write_text("no-such-package-in-any-wheelhouse==1\n")
        with pytest.raises(MachineError) as error:
            wheelhouse(wanted, "x86_64", threading.Event())
        assert "no-such-package-in-any-wheelhouse==1" in error.value.what
        assert "python -m grader images" in error.value.fix
        assert list((tmp_path / "cache" / "wheelhouse").iterdir()) == []

    def test_is_ready_at_once_the_second_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("grader.engine.wheelhouse.CACHE", tmp_path)
        wanted = tmp_path / "requirements.txt"
        wanted.write_text("# nothing\n")
        monkeypatch.setattr("grader.engine.wheelhouse.pip", _makes_a_wheel)
        first = wheelhouse(wanted, "x86_64", threading.Event())
        assert sorted(file.name for file in first.iterdir()) == ["one.whl", "requirements.txt"]
        monkeypatch.delattr("grader.engine.wheelhouse.pip")
        assert wheelhouse(wanted, "x86_64", threading.Event()) == first


def _makes_a_wheel(arguments: list[str], *_: object) -> None:
    folder = next(word.removeprefix("--dest=") for word in arguments if word.startswith("--dest="))
    Path(folder).mkdir()
    Path(folder, "one.whl").touch()


class TestFailedBuild:
    """The `docker` of these tests prints what the real one prints, and fails."""

    @pytest.fixture
    def docker_that_says(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def make(text: str, status: int = 1) -> None:
            program = tmp_path / "docker"
            program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
            program.chmod(0o755)
            monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

        return make

    @pytest.mark.parametrize(
        ("log", "advice"),
        [
            ("write /var/lib/x: no space left on device", "disk is full"),
            ("E: Failed to fetch http://mirror.example/x  Temporary failure resolving", "https_proxy"),
            ("ERROR: Cannot connect to the Docker daemon at unix:///x", "grader doctor"),
            ("something else entirely", "python -m grader images"),
        ],
    )
    def test_says_what_to_do(self, docker_that_says, tmp_path: Path, log: str, advice: str) -> None:
        docker_that_says(log)
        with pytest.raises(MachineError) as error:
            build_folder("some/image:1", tmp_path, {}, threading.Event(), lambda line: None)
        assert "some/image:1" in error.value.what
        assert log in error.value.what
        assert advice in error.value.fix

    def test_without_apt_the_images_can_be_brought(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MachineError) as error:
            build_root("r:1", tmp_path, {}, threading.Event(), lambda line: None, needed_for=["a:1", "b:2"])
        assert "docker save a:1 b:2" in error.value.fix
