"""A receiver of webhooks: takes every message, and keeps it."""

from __future__ import annotations

import json
import threading
from typing import Any

from tests.simulators.httpd import Request, Response, SimulatedServer

#: The secret part of its address.
PATH = "/api/webhooks/421337/pLq-secret_8XzTop"


class WebhookReceiver:
    """Answers 204, as Discord does; `server.faults` has it answer otherwise."""

    def __init__(self) -> None:
        self.server = SimulatedServer(self._answer)
        self._lock = threading.Lock()
        self._messages: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """The address that a user enters."""
        return self.server.url + PATH

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that it has taken, the oldest first."""
        with self._lock:
            return list(self._messages)

    def events(self) -> list[str]:
        return [str(message["event"]) for message in self.messages]

    def __enter__(self) -> WebhookReceiver:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        assert self.server.errors == []

    def _answer(self, request: Request) -> Response:
        if (request.method, request.path) != ("POST", PATH):
            return Response(404)
        if request.headers.get("content-type") != "application/json":
            return Response(415)
        with self._lock:
            self._messages.append(json.loads(request.body))
        return Response(204)
