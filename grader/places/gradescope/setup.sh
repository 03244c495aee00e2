#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the autograder's image. Choose Ubuntu 24.04 as the base image:
# the grader needs Python 3.11 or newer.
set -euo pipefail

source=${SOURCE:-/autograder/source}

export DEBIAN_FRONTEND=noninteractive
apt-get update
# docker.io brings the docker command, which Compose is a part of. Its engine is not started here, and could not be.
apt-get install --yes --no-install-recommends python3 python3-venv docker.io docker-compose-v2
docker compose version

# What a grading without an engine runs on, in the versions of the workbook.
packages='click|rich|pydantic|PyYAML|tenacity|Jinja2|pytest|testcontainers|docker|httpx|psutil'
python3 -m venv "$source/venv"
grep --extended-regexp "^($packages)==" "$source/workbook/requirements.txt" > "$source/requirements.txt"
"$source/venv/bin/python" -m pip install --quiet --requirement "$source/requirements.txt"

# Fails here, where the instructor sees it, rather than at each submission.
cd "$source/workbook"
"$source/venv/bin/python" -m grader list
