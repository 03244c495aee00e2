"""Which model does the model server use at the moment?

    version = ModelVersion("http://model-server:8000")
    version.current      "d9fe282be272", or None as long as nobody knows

A thread asks GET /version of the model server every half second. While the model server is away, the version that was
seen last stays.
"""

from __future__ import annotations

import contextlib
import threading
import time

import httpx

EVERY_S = 0.5


class ModelVersion:
    def __init__(self, model_server_url: str) -> None:
        self.current: str | None = None
        self._url = f"{model_server_url}/version"
        threading.Thread(target=self._keep_asking, name="model-version", daemon=True).start()

    def _keep_asking(self) -> None:
        with httpx.Client(timeout=2, trust_env=False) as http:
            while True:
                # When it is away, or not ready, the last version stays.
                with contextlib.suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
                    self.current = http.get(self._url).raise_for_status().json()["model_version"] or self.current
                time.sleep(EVERY_S)
