"""Save and load the connection to Stash: the `server_connection` of the last hook or task.

The worker outlives the hook that started it and that hook's session cookie. So each hook saves its
connection in `connection.json` (mode 0600), together with the settings in its input.
"""

from __future__ import annotations

import json
import os

from common.files import read_private, replace_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "connection.json"
# Stash reports the address it listens on. These mean "all interfaces"; connect to loopback instead.
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}


class StashConnection:
    """Hold Stash's address and a session cookie."""

    def __init__(self, server: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
        """Wrap the `server_connection` of a plugin input (pkg/plugin/common/msg.go).

        Args:
            server: Scheme, Host, Port, SessionCookie {Name, Value}, …; Stash's defaults if missing.
            settings: the settings in the same input.
        """
        self.server = server
        self.settings = settings or {}

    @property
    def url(self) -> str:
        """Return Stash's address without a trailing slash."""
        host = str(self.server.get("Host") or "")
        host = _ANY_ADDRESS.get(
            host, f"[{host}]" if ":" in host and not host.startswith("[") else host
        )
        return f"{self.server.get('Scheme') or 'http'}://{host}:{self.server.get('Port') or 9999}"

    @property
    def cookie(self) -> tuple[str, str] | None:
        """Return the session cookie's name and value, or None."""
        cookie = self.server.get("SessionCookie")
        if not isinstance(cookie, dict) or not cookie.get("Value"):
            return None
        return str(cookie.get("Name") or "session"), str(cookie["Value"])


def save_connection(data_dir: str, connection: StashConnection) -> None:
    """Save the connection for the worker.

    Raises:
        OSError: the file can't be written.
    """
    content = {"server_connection": connection.server, "settings": connection.settings}
    replace_private(os.path.join(data_dir, FILE), json.dumps(content))


def load_connection(data_dir: str) -> StashConnection | None:
    """Return the connection that the last hook or task saved, or None.

    A file of another user is not used: it could lead the token to an address of his.
    """
    try:
        content = json.loads(read_private(os.path.join(data_dir, FILE)))
        return StashConnection(
            dict(content["server_connection"]), dict(content.get("settings") or {})
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
