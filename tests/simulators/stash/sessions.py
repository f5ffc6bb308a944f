"""Session cookies: signed and dated values with the user and the running hooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "session"


@dataclass(frozen=True)
class Session:
    user: str
    """"" for a session from when Stash needed no login."""
    visited: tuple[str, ...] = ()
    """(plugin, event) of each hook around this session, for the protection against cycles."""


class Sessions:
    """Creates and reads session cookies."""

    def __init__(self, clock: Callable[[], float], max_age: float = 3600) -> None:
        self.max_age = max_age
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def make(self, session: Session) -> str:
        content = json.dumps(
            [self._clock(), session.user, list(session.visited), secrets.token_hex(4)]
        )
        payload = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
        return f"{payload}.{self._sign(payload)}"

    def read(self, cookie: str) -> Session | None:
        """Return the session; None when the value is forged, expired or of another key."""
        payload, _, signature = cookie.partition(".")
        if not hmac.compare_digest(
            self._sign(payload).encode(), signature.encode("utf-8", "replace")
        ):
            return None
        made, user, visited, _ = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
        if self._clock() - made > self.max_age:
            return None
        return Session(user, tuple(visited))

    def invalidate(self) -> None:
        """Change the key, so that all earlier cookies are invalid."""
        self._key = secrets.token_bytes(32)

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
