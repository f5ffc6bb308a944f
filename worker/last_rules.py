"""Keep the last valid rules: they stay in effect while one on the settings page is wrong."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from common.files import read_private, replace_private
from validation.config import FORGIVING, PlexSyncConfig

FILE = "rules.json"


class LastRules:
    """The rules that were valid when they were last read from Stash."""

    def __init__(self, data_dir: str) -> None:
        """Read nothing yet."""
        self._file = os.path.join(data_dir, FILE)
        #: as noted here; the disk may be full, or the file damaged since
        self._noted: dict[str, Any] | None = None

    def load(self) -> dict[str, Any]:
        """Return setting → value; nothing where the file is missing or can't be used."""
        return self._read() if self._noted is None else dict(self._noted)

    def _read(self) -> dict[str, Any]:
        try:
            rules = json.loads(read_private(self._file))["rules"]
            return {name: rules[name] for name in FORGIVING if name in rules}
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return {}

    def keep(self, config: PlexSyncConfig) -> None:
        """Note the rules in effect if they changed; those with their default are left out.

        A rule that is wrong has its last valid value in `config`. Without this file, its default
        would stand in: so an error of the disk is none here.
        """
        rules = {
            name: getattr(config, name)
            for name in FORGIVING
            if getattr(config, name) != PlexSyncConfig.model_fields[name].get_default()
        }
        self._noted = rules
        if rules != self._read():
            with suppress(OSError):
                replace_private(self._file, json.dumps({"schema": 1, "rules": rules}))
