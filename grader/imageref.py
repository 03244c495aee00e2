"""References to images: different spellings of the same one."""

from __future__ import annotations


def normalised(reference: str) -> str:
    """An image reference in full, so that two spellings of one image are the same text.

    ``python`` is ``docker.io/library/python:latest``. As ParseNormalizedNamed and TagNameOnly of
    github.com/distribution/reference do it; what they do not take for a reference comes out as anything.
    """
    name, at, digest = reference.partition("@")
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost" or host != host.lower()):
        host, path = "docker.io", name
    if host == "index.docker.io":
        host = "docker.io"
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    if ":" not in path.rpartition("/")[2] and not at:
        path += ":latest"
    return f"{host}/{path}{at}{digest}"


def repository(reference: str) -> str:
    """An image's name in full, without tag and digest: ``docker.io/library/python``."""
    return normalised(reference.partition("@")[0]).rpartition(":")[0]
