"""The second package source of an older Debian, and what apt prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from grader.setup import apt

BOOKWORM = """\
http://mirror.example/debian/|bookworm|main|Debian
http://mirror.example/debian/|bookworm|contrib|Debian
http://mirror.example/debian/|bookworm-updates|main|Debian
http://mirror.example/debian/|bookworm-backports|main|Debian Backports
http://mirror.example/debian-security/|bookworm-security|main|Debian
https://else.example/linux/debian/|bookworm|stable|Docker
https://else.example/node/|nodistro|main|. nodistro
"""


def test_each_debian_archive_is_repeated_with_the_next_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(apt, "ARCHIVE_KEYS", tmp_path)
    found = apt.next_release_sources(BOOKWORM)
    assert found is not None
    successor, text = found
    stanzas = [stanza.splitlines() for stanza in text.split("\n\n")]
    assert successor == "trixie"
    assert stanzas[0][0].startswith("#")
    assert [line for stanza in stanzas for line in stanza if not line.startswith(("#", "Types", "Signed"))] == [
        "URIs: http://mirror.example/debian-security/",
        "Suites: trixie-security",
        "Components: main",
        "URIs: http://mirror.example/debian/",
        "Suites: trixie",
        "Components: contrib main",
        "URIs: http://mirror.example/debian/",
        "Suites: trixie-updates",
        "Components: main",
    ]
    assert text.count(f"Signed-By: {tmp_path}") == 3


@pytest.mark.parametrize(
    "targets",
    [
        "",
        "http://mirror.example/debian/|trixie|main|Debian\n",
        "http://mirror.example/ubuntu/|noble|main|Ubuntu\n",
        "https://else.example/linux/debian/|bookworm|stable|Docker\n",
        "http://mirror.example/debian/|||\n",  # lists that were never fetched
    ],
)
def test_nothing_is_repeated_without_a_debian_that_has_a_successor(targets: str) -> None:
    assert apt.next_release_sources(targets) is None


def test_the_pin_lets_nothing_else_in() -> None:
    everything, docker = apt.preferences("trixie", ["docker.io", "docker-compose"]).split("\n\n")
    assert everything.splitlines()[1:] == ["Package: *", "Pin: release n=trixie*", "Pin-Priority: -1"]
    assert docker.splitlines() == [
        "Package: docker.io docker-compose",
        "Pin: release n=trixie*",
        "Pin-Priority: 990",
    ]


def test_candidates_are_read_from_what_apt_cache_policy_prints() -> None:
    text = """\
docker.io:
  Installed: 20.10.24+dfsg1-1+deb12u1+b6
  Candidate: 26.1.5+dfsg1-9+deb13u1
  Version table:
     26.1.5+dfsg1-9+deb13u1 990
         -1 http://mirror.example/debian trixie/main amd64 Packages
docker-compose-v2:
  Installed: (none)
  Candidate: (none)
  Version table:
docker-buildx:
  Installed: (none)
  Candidate: 0.13.1+ds1-3
"""
    assert apt.parse_policy(text) == {"docker.io": "26.1.5+dfsg1-9+deb13u1", "docker-buildx": "0.13.1+ds1-3"}


def test_the_last_lines_are_those_that_say_something() -> None:
    assert apt.last_lines("one\n\ntwo\nthree\n\n", 2) == "    two\n    three"
