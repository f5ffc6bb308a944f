"""Write defaults that are absent from Stash's settings page there: it shows such switches as off.

The page in a browser keeps its own copy of all settings. What was written meanwhile is wiped when
the user then types into a field. So defaults are written again, but only to a page at rest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from common.env import Env
from common.files import read_json, replace_private
from stash.client import StashClient
from validation.config import default_settings
from validation.errors import PermanentError, TransientError

FILE = "settings_page.json"
#: Writes in one day.
_MOST = 3
_DAY = 86_400.0


class PageDefaults:
    """Fills in the settings page; never over a value."""

    def __init__(self, stash: StashClient, data_dir: str, env: Env) -> None:
        """Look at nothing yet.

        Args:
            data_dir: where it is kept what the page was like, and when it was written.
        """
        self._stash = stash
        self._file = os.path.join(data_dir, FILE)
        self._env = env

    def look(self, page: Mapping[str, Any]) -> None:
        """Write the defaults that the page lacks, at once the first time, then if it is at rest.

        At rest: two reads a minute apart agree. The defaults hold all the same, so an error of
        Stash or of the disk is none here.

        Args:
            page: the settings as they were just read.
        """
        if not _absent(page):
            return
        state, now = self._load(), self._env.time()
        written = [moment for moment in state["written"] if 0 <= now - moment < _DAY]
        if len(written) >= _MOST:
            return
        seen, seen_at = state["seen"]
        digest = _digest(page)
        if state["written"]:
            if seen != digest or not 0 <= now - seen_at < _DAY:
                self._save(state["written"], digest, now)
                return
            if now - seen_at < self._env.timing.page_rest:
                return
        if self._save([*written, now], digest, now):
            self._write(digest, [*written, now])

    def _write(self, digest: str, written: list[float]) -> None:
        try:
            page = self._stash.plugin_settings()  # once more, right before
            if _digest(page) != digest:
                return
            self._stash.configure_plugin({**page, **_absent(page)})
            page = self._stash.plugin_settings()
        except (TransientError, PermanentError):
            return
        if _absent(page):  # wiped at once: somebody is typing, so the page must rest anew
            self._save(written, _digest(page), self._env.time())

    def _load(self) -> dict[str, Any]:
        state = read_json(self._file)
        try:
            written = [float(moment) for moment in state["written"]]
            return {"written": written, "seen": (str(state["seen"]), float(state["seen_at"]))}
        except (ValueError, TypeError, KeyError):
            return {"written": [], "seen": ("", 0.0)}

    def _save(self, written: list[float], seen: str, now: float) -> bool:
        content = {"schema": 1, "written": written[-_MOST:], "seen": seen, "seen_at": now}
        try:
            replace_private(self._file, json.dumps(content))
        except OSError:
            return False
        return True


def _absent(page: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in default_settings().items() if key not in page}


def _digest(page: Mapping[str, Any]) -> str:
    """Return a short hash: the page has the token, which is in no file of ours."""
    text = json.dumps(page, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
