"""Notice when the worker has to leave: PlexSync is disabled, gone or updated, or Stash is gone."""

from __future__ import annotations

import os

from common.env import Env
from common.version import VERSION
from stash.client import StashClient, StashQueryError, StashRefused, StashUnavailable
from stash.records import PluginUse
from worker.process import opened_at

MANIFEST = "PlexSync.yml"
#: Looks in a row at which Stash must not know the plugin: it may just be loading its plugins.
_ABSENT = 2

UPDATED = "PlexSync was updated"
UNINSTALLED = "PlexSync was uninstalled"
DISABLED = "PlexSync is disabled in Stash (Settings > Plugins)"
GONE = "Stash has not answered for a while"


class Presence:
    """Looks at the plugin's own files before each step, and asks Stash every now and then.

    The question also keeps the session alive: Stash renews it with each answer.
    """

    def __init__(
        self,
        folder: str | None,
        stash: StashClient | None,
        env: Env,
        *,
        data_dir: str | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: the plugin's; None: its files are not looked at, and Stash is not asked.
            data_dir: where it shows that a page of Stash was opened; None: nowhere.
        """
        #: why the worker has to leave, or None
        self.reason: str | None = None
        #: the plugin's files say so, not Stash: others may be about to take their place
        self.is_replaced = False
        self._manifest = None if folder is None else os.path.join(folder, MANIFEST)
        self._stash = stash
        self._env = env
        self._data_dir = data_dir
        self._opened_at = self._last_opened()
        self._seen: object = None
        self._absent = 0
        self._silent_since: float | None = None
        self._settings: object = None
        self._is_in_use = self._is_changed = False
        self._asked_at = self._ask_at = env.monotonic()

    @property
    def watches(self) -> bool:
        """Whether it would notice that the worker has to leave."""
        return self._manifest is not None and self._stash is not None

    def check(self) -> bool:
        """Return whether the worker may go on."""
        if self.reason is None and self._manifest is not None:
            self.reason = self._look_at_files(self._manifest)
            self.is_replaced = self.reason is not None
        if self.reason is None and self._env.monotonic() >= self._ask_at:
            self.reason = self._ask_stash()
            self._asked_at = self._env.monotonic()
            self._ask_at = self._asked_at + self._env.timing.presence
            last_opened = self._last_opened()
            self._is_in_use |= last_opened != self._opened_at
            self._opened_at = last_opened
        return self.reason is None

    def take_use(self) -> bool:
        """Return whether Stash was used, as far as it shows, since this was last asked.

        It was, if it ran jobs, PlexSync's settings were changed, or a page was opened.
        """
        is_in_use, self._is_in_use = self._is_in_use, False
        return is_in_use

    def take_change(self) -> bool:
        """Return whether PlexSync's settings were changed since this was last asked."""
        is_changed, self._is_changed = self._is_changed, False
        return is_changed

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
            use = self._stash.plugin_use()
        except StashUnavailable:  # an outage says nothing about the plugin
            return GONE if self._is_gone() else None
        except (StashRefused, StashQueryError):
            self._silent_since = None
            return None
        self._silent_since = None
        self._note(use)
        self._absent = self._absent + 1 if use.is_enabled is None else 0
        if use.is_enabled is False:
            return DISABLED
        return UNINSTALLED if self._absent >= _ABSENT else None

    def _is_gone(self) -> bool:
        """Return whether Stash has not answered for so long that it is not running any more."""
        now, patience = self._env.monotonic(), self._env.timing.stash_gone
        if self._silent_since is None or now - self._asked_at >= patience:
            self._silent_since = now  # it was not asked meanwhile: this process was frozen
        return now - self._silent_since >= patience

    def _note(self, use: PluginUse) -> None:
        """Note whether Stash is in use."""
        is_changed = self._settings is not None and use.settings != self._settings
        self._is_changed |= is_changed
        self._is_in_use |= use.has_jobs or is_changed
        self._settings = use.settings

    def _last_opened(self) -> float | None:
        return None if self._data_dir is None else opened_at(self._data_dir)


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
