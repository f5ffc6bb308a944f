"""What every operation works with, whoever started it, and what it hands back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.redaction import Redactor
from stash.client import StashClient
from tasks.foreground import Progress
from validation.config import PlexSyncConfig
from worker.config_provider import StashConfigProvider


@dataclass(frozen=True)
class Result:
    """What an operation has to say."""

    #: one line
    summary: str
    #: the same for programs, in JSON's types
    data: dict[str, Any] = field(default_factory=dict)
    #: details for people, a line each
    lines: Sequence[str] = ()
    #: whether all is as it should be; else a person has something to do
    ok: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the lines, for programs."""
        return {"summary": self.summary, "ok": self.ok, **self.data}


@dataclass(frozen=True)
class Context:
    """Where an operation works."""

    data_dir: str
    #: path of `PlexSync.py`
    entry: str
    stash: StashClient
    redactor: Redactor
    #: is called with jobs done and jobs left
    progress: Progress
    #: is called with (level, text) of what a person must know while the operation runs
    tell: Callable[[str, str], object]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def config(self) -> PlexSyncConfig:
        """Return the settings in effect.

        Raises:
            SettingsError: one is missing or wrong; the text names it.
            StashUnavailable, StashRefused, StashQueryError
        """
        return StashConfigProvider(
            self.stash, self.data_dir, self.redactor, environ=self.environ
        ).load()


class UsageError(ValueError):
    """An argument is missing or makes no sense. The text is one line for the user."""


def scene_id_of(arguments: Mapping[str, Any]) -> int:
    """Return the argument `scene_id`.

    Raises:
        UsageError: it is missing, or no id.
    """
    return _number(
        arguments, "scene_id", "which scene? Its number stands in the address of its page in Stash"
    )


def rating_key_of(arguments: Mapping[str, Any]) -> int | None:
    """Return the argument `rating_key`, or None.

    Raises:
        UsageError: it is no number.
    """
    if str(arguments.get("rating_key") or "").strip() == "":
        return None
    return _number(arguments, "rating_key", "the number of an item in Plex")


def is_set(arguments: Mapping[str, Any], name: str) -> bool:
    """Whether a switch is on; Stash passes texts."""
    return str(arguments.get(name) or "").strip().casefold() in ("1", "true", "yes", "on")


def _number(arguments: Mapping[str, Any], name: str, hint: str) -> int:
    text = str(arguments.get(name) or "").strip()
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**63):
        raise UsageError(f"{name} is {text!r}: {hint}" if text else f"{name} is missing: {hint}")
    return int(text)
