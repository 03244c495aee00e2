"""The root stack's passwords: random, made once on each machine, never shared. Standard library only."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("stack", "secrets")


def ensure_secrets(root: Path = ROOT) -> list[Path]:
    """Write each secret file that root/compose.yml names below stack/secrets/ and that is not there yet.

    A file that exists is never touched: the database in the stack's volume knows the old password.

    Returns:
        The files that were made.
    """
    # Compose mounts secret files as they are, owner and mode included (uid, gid and mode are ignored), and the
    # services read them as users of their own: so the files are readable and the folder keeps others out.
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    missing = [
        folder / name for name in secret_files((root / "compose.yml").read_text()) if not (folder / name).exists()
    ]
    for path in missing:
        partial = path.with_suffix(".partial")
        partial.write_text(secrets.token_urlsafe(24))  # no newline: some services would take it for a character
        partial.chmod(0o644)
        partial.replace(path)
    _give_to_owner_of(root, [folder, *missing])
    return missing


def secret_files(compose: str) -> list[str]:
    """The names of the files below stack/secrets/ that the text of a compose file mentions, each once."""
    return sorted(set(re.findall(r"stack/secrets/([\w.-]+)", compose)))


def _give_to_owner_of(root: Path, paths: list[Path]) -> None:
    """After `sudo make setup` too, the folder is the student's own."""
    if os.geteuid() == 0:
        owner = root.stat()
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid)
