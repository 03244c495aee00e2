"""Passwords and profiles of the root stack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grader.setup.profiles import choose_profiles
from grader.setup.secrets import ensure_secrets, secret_files

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = """\
secrets:
  postgres_password:
    file: ./stack/secrets/postgres_password.txt
  grafana_admin_password:
    file: stack/secrets/grafana_admin_password.txt
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "compose.yml").write_text(COMPOSE)
    return tmp_path


def test_every_secret_is_made_once_and_is_different(project: Path) -> None:
    made = ensure_secrets(project)
    texts = [path.read_text() for path in made]
    assert [path.name for path in made] == ["grafana_admin_password.txt", "postgres_password.txt"]
    assert len(set(texts)) == 2
    assert all(len(text) >= 24 and text == text.strip() for text in texts)
    assert ensure_secrets(project) == []
    assert [path.read_text() for path in made] == texts
    assert sorted(path.name for path in (project / "stack" / "secrets").iterdir()) == [path.name for path in made]


def test_services_can_read_the_files_and_others_on_the_machine_cannot(project: Path) -> None:
    mask = os.umask(0o077)
    try:
        made = ensure_secrets(project)
    finally:
        os.umask(mask)
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o644"}
    assert oct(made[0].parent.stat().st_mode & 0o777) == "0o700"


def test_a_password_of_the_users_own_is_kept(project: Path) -> None:
    own = project / "stack" / "secrets" / "postgres_password.txt"
    own.parent.mkdir(parents=True)
    own.write_text("my own")
    assert [path.name for path in ensure_secrets(project)] == ["grafana_admin_password.txt"]
    assert own.read_text() == "my own"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_after_sudo_the_files_belong_to_the_folders_owner(project: Path) -> None:
    os.chown(project, 1234, 1234)
    made = ensure_secrets(project)
    assert {path.stat().st_uid for path in [*made, made[0].parent]} == {1234}


def test_the_root_stack_has_a_password_for_its_database() -> None:
    assert "postgres_password.txt" in secret_files((ROOT / "compose.yml").read_text())


@pytest.mark.parametrize(
    ("before", "has_grafana", "after"),
    [
        (None, True, "COMPOSE_PROFILES=grafana\n"),
        (None, False, None),
        ("API_PORT=8001\n", True, "API_PORT=8001\nCOMPOSE_PROFILES=grafana\n"),
        ("API_PORT=8001", True, "API_PORT=8001\nCOMPOSE_PROFILES=grafana\n"),
        ("API_PORT=8001\nCOMPOSE_PROFILES=grafana\n", False, "API_PORT=8001\n"),
        ("COMPOSE_PROFILES=grafana\n", False, None),
        ("COMPOSE_PROFILES=mine\n", True, "COMPOSE_PROFILES=mine\n"),
        ("COMPOSE_PROFILES=mine,grafana\n", False, "COMPOSE_PROFILES=mine,grafana\n"),
        ("# COMPOSE_PROFILES=none\n", True, "# COMPOSE_PROFILES=none\nCOMPOSE_PROFILES=grafana\n"),
    ],
)
def test_grafana_is_part_of_the_stack_where_its_image_is(
    tmp_path: Path, before: str | None, has_grafana: bool, after: str | None
) -> None:
    file = tmp_path / ".env"
    if before is not None:
        file.write_text(before)
    assert choose_profiles(tmp_path, has_grafana) == (before != after)
    assert (file.read_text() if file.exists() else None) == after
    assert not choose_profiles(tmp_path, has_grafana)
