"""What Compose would read while it resolves a file has to be found before Compose sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from grader import raw
from grader.submission import Submission
from grader.violation import Violation


def found(tmp_path: Path, text: str, **files: str) -> list[Violation]:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "compose.yml").write_text(text)
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    submission = Submission(folder, folder, (folder / "compose.yml",))
    return raw.violations(raw.read(submission), folder)


def service(text: str) -> str:
    return f"services:\n  s:\n    image: x\n    {text}\n"


OUTSIDE = ["/etc/passwd", "../x", "a/../../x", "~/x", "~root/x", "${HOME}/x", "$X", "https://example.test/x", "C:/x",
           "a\\..\\..\\x", "oci://example.test/x", "./../sub2/x"]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize(
    "form",
    [
        "env_file: '{}'",
        "env_file: [ok.env, '{}']",
        "env_file: [{{path: '{}', required: false}}]",
        "label_file: '{}'",
        "label_file: ['{}']",
        "extends: {{file: '{}', service: s}}",
    ],
)
def test_a_path_that_leads_out_is_found_in_every_form(tmp_path: Path, form: str, path: str) -> None:
    [violation] = found(tmp_path, service(form.format(path)))
    assert violation.at == "compose.yml:4"
    assert violation.what.startswith("services.s.")


@pytest.mark.parametrize(
    "text",
    [
        "include: [other.yml]\nservices: {s: {image: x}}",
        "include:\n  - path: /etc/x.yml\nservices: {s: {image: x}}",
        '"incl\\x75de": [other.yml]',
        "<<: {include: [x.yml]}",
        "x-a: &a {include: [x.yml]}\n<<: [*a]",
        "models: {m: {model: x}}",
    ],
)
def test_include_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    assert len(found(tmp_path, text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "x-a: &a {env_file: /etc/passwd}\nservices: {s: {<<: *a, image: x}}",
        "x-s: &s\n  s: {env_file: /etc/passwd}\nservices: {<<: *s}",
        "services: {s: {extends: {<<: {file: ./ok.yml}, file: /etc/x, service: s}}}",
        "services: {s: {extends: {<<: {file: /etc/x}, file: ./ok.yml, service: s}}}",
    ],
)
def test_what_comes_in_through_a_merge_is_found(tmp_path: Path, text: str) -> None:
    assert len(found(tmp_path, text)) == 1


def test_a_file_that_is_extended_is_looked_at_too_with_its_own_lines(tmp_path: Path) -> None:
    extends = service("extends: {file: base/b.yml, service: s}")
    [violation] = found(tmp_path, extends, base__b=("unused"), **{"base__b.yml": service("env_file: ../../x")})
    assert violation.at == "base/b.yml:4"
    assert found_inside(tmp_path / "2", extends, "../ok.env") == []


def found_inside(tmp_path: Path, text: str, env_file: str) -> list[Violation]:
    tmp_path.mkdir()
    return found(tmp_path, text, **{"base__b.yml": service(f"env_file: {env_file}")})


def test_files_that_extend_each_other_end(tmp_path: Path) -> None:
    extends = service("extends: {file: b.yml, service: s}")
    assert found(tmp_path, extends, **{"b.yml": service("extends: {file: compose.yml, service: s}")}) == []


def test_too_long_a_chain_of_files_is_refused(tmp_path: Path) -> None:
    files = {f"f{n}.yml": service(f"extends: {{file: f{n + 1}.yml, service: s}}") for n in range(30)}
    assert found(tmp_path, service("extends: {file: f0.yml, service: s}"), **files)


@pytest.mark.parametrize(
    "text",
    [
        service("env_file: .env"),
        service("env_file: [./a.env, conf/b.env, {path: c.env, required: false}]"),
        service("extends: base"),
        service("extends: {service: base}"),
        service("environment: {include: /etc/passwd, env_file: /etc/passwd}"),
        service("labels: {extends: /etc/x}"),
        "x-include: [/etc/x]\n" + service("init: true"),
        "x-note: {env_file: /etc/passwd}\n" + service("init: true"),
        service("command: [include, /etc/passwd]"),
    ],
)
def test_what_only_looks_like_it_is_not_found(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []
