"""Where Stash is and how to log in there: the `server_connection` of the last hook or task, kept on disk.

The worker outlives the hook that started it and the session cookie it came with, so each hook leaves the
latest one in `connection.json` (0600), together with settings that its input carried.
"""

from __future__ import annotations

import json
import os

from common.files import replace_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "connection.json"
# Stash reports the address it listens on; these mean "all", and one connects to this machine instead.
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}


class StashConnection:
    """An address of Stash and a session there."""

    def __init__(self, server: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
        """Take what Stash sends as `server_connection` (pkg/plugin/common/msg.go).

        Args:
            server: Scheme, Host, Port, SessionCookie {Name, Value}, …; missing ones have Stash's defaults.
            settings: settings that the same input carried.
        """
        self.server = server
        self.settings = settings or {}

    @property
    def url(self) -> str:
        """Stash's address without a slash at its end."""
        host = str(self.server.get("Host") or "")
        host = _ANY_ADDRESS.get(
            host, f"[{host}]" if ":" in host and not host.startswith("[") else host
        )
        return f"{self.server.get('Scheme') or 'http'}://{host}:{self.server.get('Port') or 9999}"

    @property
    def cookie(self) -> tuple[str, str] | None:
        """Name and value of the session cookie, or None when Stash sent none."""
        cookie = self.server.get("SessionCookie")
        if not isinstance(cookie, dict) or not cookie.get("Value"):
            return None
        return str(cookie.get("Name") or "session"), str(cookie["Value"])


def save_connection(data_dir: str, connection: StashConnection) -> None:
    """Leave the connection for the worker.

    Raises:
        OSError: it can't be written.
    """
    content = {"server_connection": connection.server, "settings": connection.settings}
    replace_private(os.path.join(data_dir, FILE), json.dumps(content))


def load_connection(data_dir: str) -> StashConnection | None:
    """Return the connection that the last hook or task left, or None."""
    try:
        with open(os.path.join(data_dir, FILE), encoding="utf-8") as file:
            content = json.load(file)
        return StashConnection(
            dict(content["server_connection"]), dict(content.get("settings") or {})
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
