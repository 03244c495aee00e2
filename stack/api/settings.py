"""What the environment says: every setting of the api, read and checked once, at the start.

    MODEL_SERVER_URL   where digits are read, e.g. http://nginx:8080            required
    REDIS_URL          the cache, e.g. redis://redis:6379/0                     required
    DATABASE_URL       the log, e.g. postgresql://predictions@postgres:5432/predictions   required
    DATABASE_PASSWORD  its password, unless it stands in DATABASE_URL
    CACHE_TTL_S        seconds an answer stays in the cache                     3600
    LOG_BUFFER_ROWS    the most rows that wait while PostgreSQL is down         10000

Those without a default, and the password, can also be given as files: DATABASE_PASSWORD_FILE=/run/secrets/… is read
in place of DATABASE_PASSWORD, so that the secret never stands in the environment, where `docker inspect` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class BadSetting(Exception):
    """A setting is missing or makes no sense; the text says which and what to do."""


@dataclass(frozen=True)
class Settings:
    model_server_url: str
    redis_url: str
    database_url: str
    database_password: str | None
    cache_ttl_s: int
    log_buffer_rows: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises BadSetting."""
        return cls(
            model_server_url=_required(environment, "MODEL_SERVER_URL"),
            redis_url=_required(environment, "REDIS_URL"),
            database_url=_required(environment, "DATABASE_URL"),
            database_password=_text(environment, "DATABASE_PASSWORD"),
            cache_ttl_s=_positive(environment, "CACHE_TTL_S", 3600),
            log_buffer_rows=_positive(environment, "LOG_BUFFER_ROWS", 10_000),
        )


def _text(environment: Mapping[str, str], name: str) -> str | None:
    """The variable, or the content of the file that NAME_FILE names."""
    file = environment.get(f"{name}_FILE")
    if not file:
        return environment.get(name) or None
    if environment.get(name):
        raise BadSetting(f"Both {name} and {name}_FILE are set; keep one of them.")
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise BadSetting(
            f"{name}_FILE is {file}, and it cannot be read: {error.strerror}.\n"
            "Does the service list the secret under `secrets:`, and may the container's user read the file?"
        ) from error


def _required(environment: Mapping[str, str], name: str) -> str:
    text = _text(environment, name)
    if text is None:
        raise BadSetting(f"{name} is not set. Give it to the api under `environment:` in the Compose file.")
    return text


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) == 0:
        raise BadSetting(f"{name} has to be a whole number above 0, not {text!r}.")
    return int(text)
