"""Asks the model server, and knows which version of the model it serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import httpx
from cache import Answer
from pydantic import BaseModel, ConfigDict


class Unavailable(Exception):
    """The model server gave no answer; the text says why."""


class Version(BaseModel):
    """The answer of GET /version."""

    model_config = ConfigDict(protected_namespaces=())
    model_version: str


class ModelClient:
    """Args:
    http: reaches the model server, by a relative URL.
    refresh_s: how often the version is asked for. When the model changes, its predecessor's cached answers are served
        that much longer at most, and say which version gave them.
    """

    def __init__(self, http: httpx.AsyncClient, refresh_s: float = 2.0) -> None:
        self._http = http
        self._refresh_s = refresh_s
        self._refreshing: asyncio.Task[None] | None = None
        self.version: str | None = None

    @classmethod
    def connect(cls, url: str) -> ModelClient:
        return cls(
            httpx.AsyncClient(
                base_url=url,
                timeout=httpx.Timeout(5, connect=2),
                # Connections are given up before the other side closes them, or a request could run into the close.
                limits=httpx.Limits(max_connections=100, keepalive_expiry=2),
                trust_env=False,  # a proxy in the environment is not meant for our own network
            )
        )

    def start(self) -> None:
        """Learns the version, and keeps it up to date from now on."""
        self._refreshing = asyncio.create_task(self._keep_refreshing())

    async def close(self) -> None:
        if self._refreshing:
            self._refreshing.cancel()
        await self._http.aclose()

    async def predict(self, pixels: Sequence[float]) -> Answer:
        """Raises Unavailable."""
        try:
            response = await self._post(pixels)
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"HTTP status {response.status_code}")
            answer = Answer.model_validate_json(response.content)
        except httpx.HTTPError as error:
            raise Unavailable(f"{type(error).__name__} {error}".strip()) from error
        except ValueError as error:
            raise Unavailable("what answered is no model server") from error
        self.version = answer.model_version
        return answer

    async def ok(self) -> bool:
        """Does the model server have its model loaded, now?"""
        try:
            async with asyncio.timeout(1):
                return (await self._http.get("/health")).is_success
        except (httpx.HTTPError, TimeoutError):
            return False

    async def _post(self, pixels: Sequence[float]) -> httpx.Response:
        body = {"pixels": list(pixels)}
        try:
            return await self._http.post("/predict", json=body)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            # The connection broke, as it does when a replica is replaced. A prediction changes nothing: ask again.
            return await self._http.post("/predict", json=body)

    async def _keep_refreshing(self) -> None:
        while True:
            # While nobody answers, the last version known stays: what is cached is still right.
            with contextlib.suppress(httpx.HTTPError, ValueError):
                response = await self._http.get("/version")
                if response.is_success:
                    self.version = Version.model_validate_json(response.content).model_version
            await asyncio.sleep(self._refresh_s)
