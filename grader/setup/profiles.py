"""Which optional services `docker compose up` starts here: those whose images this machine has."""

from __future__ import annotations

import re
from pathlib import Path

GRAFANA = "COMPOSE_PROFILES=grafana"


def choose_profiles(root: Path, has_grafana: bool) -> bool:
    """Turn the root stack's profile `grafana` on in root/.env where its image is, and off again where it is not.

    A COMPOSE_PROFILES line that says anything else is the user's own and stays.

    Returns:
        True if the file was changed.
    """
    file = root / ".env"
    text = file.read_text() if file.exists() else ""
    lines = text.splitlines()
    if has_grafana and not re.search(r"^\s*(export\s+)?COMPOSE_PROFILES\s*=", text, re.MULTILINE):
        lines.append(GRAFANA)
    elif not has_grafana and GRAFANA in lines:
        lines.remove(GRAFANA)
    else:
        return False
    if lines:
        file.write_text("\n".join(lines) + "\n")
    else:
        file.unlink()
    return True
