"""What the source lesson teaches is done in a cell of some lesson: each command, each key of a Compose file."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

# Each is a regular expression, looked for in the code cells of the lesson named. `docker compose` may have options
# before its command.
COMPOSE = r"docker compose\b[^\n|;&]*?\s"

COMMANDS = {
    r"docker compose version": "00",
    r"docker network create": "01",
    r"docker run .*-d\b|docker run -d": "01",
    COMPOSE + r"up[\"']": "01",
    COMPOSE + r"up -d": "01",
    COMPOSE + r"down(?! -)": "01",
    COMPOSE + r"down -v": "01",
    COMPOSE + r"logs(?! -f)": "01",
    COMPOSE + r"logs -f(?! \w)": "01",
    COMPOSE + r"logs -f \w+": "01",
    COMPOSE + r"ps": "01",
    COMPOSE + r"exec": "01",
    COMPOSE + r"restart \w+": "01",
    COMPOSE + r"build": "02",
    COMPOSE + r"up .*--build": "02",
    COMPOSE + r"pull": "02",
    COMPOSE + r"push": "02",
    COMPOSE + r"config": "03",
    r"docker network inspect": "05",
    r"docker volume inspect": "06",
    COMPOSE + r"exec -u root .*chown": "06",
    r"psql": "07",
    r"/health": "07",
    r"-f compose\.yml -f compose\.monitoring\.yml": "08",
    r"-f compose\.yml -f compose\.dev\.yml": "09",
    r"-f compose\.dev\.yml": "09",
    r"-f compose\.test\.yml": "09",
    r"--abort-on-container-exit": "09",
    r"--exit-code-from": "09",
    COMPOSE + r"stats": "10",
    COMPOSE + r"up .*--scale \S+=3": "11",
    r"--scale \S+=5": "11",
    r"--scale \S+=2": "11",
    COMPOSE + r"config --resolve-image-digests": "12",
    COMPOSE + r"pause": "13",
    COMPOSE + r"unpause": "13",
    COMPOSE + r"top": "13",
    r"getent hosts|gethostbyname|getaddrinfo|urlopen|create_connection": "13",
}

KEYS = {
    r"version: \"3": "01",
    r"\bservices:": "01",
    r"\bimage:": "01",
    r"\bcommand:": "01",
    r"\bports:": "01",
    r"\bdepends_on:": "01",
    r"\benvironment:": "01",
    r"^volumes:": "01",
    r"\bbuild:": "02",
    r"\bcontext:": "02",
    r"\bdockerfile:": "02",
    r"\bargs:": "02",
    r"PYTHON_VERSION": "02",
    r"BUILD_DATE": "02",
    r"\btarget: \w+": "02",
    r"\benv_file:": "03",
    r"MODEL_NAME": "03",
    r"DEBUG": "03",
    r"\$\{\w+\}": "03",
    r"\$\{\w+:-": "03",
    r"\bsecrets:": "03",
    r"_FILE": "03",
    r"\bhealthcheck:": "04",
    r"\btest:": "04",
    r"\binterval:": "04",
    r"\btimeout:": "04",
    r"\bretries:": "04",
    r"\bstart_period:": "04",
    r"condition: service_healthy": "04",
    r"condition: service_completed_successfully": "04",
    r"\brestart: unless-stopped": "04",
    r"127\.0\.0\.1:": "05",
    r"\bexpose:": "05",
    r"^networks:": "05",
    r"\bfrontend\b": "05",
    r"\bbackend\b": "05",
    r"\bdriver: bridge": "05",
    r"\btmpfs:": "06",
    r":ro\b": "06",
    r"\bdriver: local": "06",
    r"MODEL_SERVER_URL": "07",
    r"REDIS_URL": "07",
    r"DATABASE_URL": "07",
    r"MODEL_PATH": "07",
    r"model-weights": "07",
    r"docker-entrypoint-initdb\.d": "07",
    r"scrape_configs": "08",
    r"--config\.file": "08",
    r"--storage\.tsdb\.path": "08",
    r"prometheus-data": "08",
    r"GF_SECURITY_ADMIN_PASSWORD": "08",
    r"/etc/grafana/provisioning": "08",
    r"--reload": "09",
    r"5678": "09",
    r"/app/src": "09",
    r"\bprofiles:": "09",
    r"\bwatch:": "09",
    r"\bdeploy:": "10",
    r"\blimits:": "10",
    r"\breservations:": "10",
    r"\bcpus:": "10",
    r"\bmemory:": "10",
    r"\bdevices:": "10",
    r"driver: nvidia": "10",
    r"count:": "10",
    r"capabilities: \[gpu\]": "10",
    r"GPU_ENABLED": "10",
    r"BATCH_SIZE": "10",
    r"\breplicas:": "11",
    r"upstream": "11",
    r"proxy_pass": "11",
    r"nginx\.conf": "11",
    r"\buser:": "12",
    r"\bread_only: true": "12",
    r"no-new-privileges": "12",
    r"\bcap_drop:": "12",
    r"\bcap_add:": "12",
    r"NET_BIND_SERVICE": "12",
    r"/run/secrets": "12",
    r"\blogging:": "12",
    r"max-size": "12",
    r"max-file": "12",
}


def code(number: str) -> str:
    (path,) = NOTEBOOKS.glob(f"{number}-*.ipynb")
    cells = nbformat.read(path, nbformat.NO_CONVERT).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


@pytest.mark.parametrize(("pattern", "lesson"), [*COMMANDS.items(), *KEYS.items()])
def test_is_done_in_a_cell(pattern: str, lesson: str) -> None:
    assert re.search(pattern, code(lesson), re.MULTILINE)
