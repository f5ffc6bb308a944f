"""Notice that PlexSync was disabled, uninstalled or updated: then the worker leaves."""

from __future__ import annotations

import os

from common.env import Env
from common.version import VERSION
from stash.client import StashClient, StashQueryError, StashRefused, StashUnavailable

MANIFEST = "PlexSync.yml"
#: Looks in a row at which Stash must not know the plugin: it may just be loading its plugins.
_ABSENT = 2

UPDATED = "PlexSync was updated"
UNINSTALLED = "PlexSync was uninstalled"
DISABLED = "PlexSync is disabled in Stash (Settings > Plugins)"


class Presence:
    """Looks at the plugin's own files before each step, and asks Stash every now and then.

    The question also keeps the session alive: Stash renews it with each answer.
    """

    def __init__(self, folder: str | None, stash: StashClient | None, env: Env) -> None:
        """Look at nothing yet.

        Args:
            folder: the plugin's; None: its files are not looked at.
        """
        #: why the worker has to leave, or None
        self.reason: str | None = None
        #: the plugin's files say so, not Stash: others may be about to take their place
        self.is_replaced = False
        self._manifest = None if folder is None else os.path.join(folder, MANIFEST)
        self._stash = stash
        self._env = env
        self._seen: object = None
        self._absent = 0
        self._ask_at = env.monotonic()

    def check(self) -> bool:
        """Return whether the worker may go on."""
        if self.reason is None and self._manifest is not None:
            self.reason = self._look_at_files(self._manifest)
            self.is_replaced = self.reason is not None
        if self.reason is None and self._env.monotonic() >= self._ask_at:
            self.reason = self._ask_stash()
            self._ask_at = self._env.monotonic() + self._env.timing.presence
        return self.reason is None

    def due_in(self) -> float:
        """Return seconds until Stash is asked again."""
        return max(0.0, self._ask_at - self._env.monotonic())

    def _look_at_files(self, manifest: str) -> str | None:
        try:
            status = os.stat(manifest)
        except FileNotFoundError:
            return UNINSTALLED
        except OSError:  # the disk fails; the work itself shows that
            return None
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return None
        version = version_in(manifest)
        if version == VERSION:
            self._seen = seen
        return UPDATED if version not in (VERSION, None) else None

    def _ask_stash(self) -> str | None:
        if self._stash is None or self._manifest is None:
            return None
        try:
            enabled = self._stash.is_plugin_enabled()
        except (StashUnavailable, StashRefused, StashQueryError):
            return None  # an outage says nothing about the plugin
        self._absent = self._absent + 1 if enabled is None else 0
        if enabled is False:
            return DISABLED
        return UNINSTALLED if self._absent >= _ABSENT else None


def version_in(manifest: str) -> str | None:
    """Return the version that a manifest names; None if it can't be read, or not completely."""
    try:
        with open(manifest, encoding="utf-8") as file:
            for line in file:
                if line.startswith("version:") and line.endswith("\n"):
                    return line.partition(":")[2].strip().strip("'\"") or None
    except (OSError, ValueError):
        return None
    return None
