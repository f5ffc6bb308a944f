"""Define the context, arguments and result of an operation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.redaction import Redactor
from stash.client import StashClient
from tasks.foreground import Progress, run_command
from validation.config import PlexSyncConfig
from worker.config_provider import StashConfigProvider

#: The argument `rating_key` that chooses all candidates.
BOTH = "both"


@dataclass(frozen=True)
class Result:
    """Hold the outcome of an operation."""

    #: one line
    summary: str
    #: the same for programs, as JSON types
    data: dict[str, Any] = field(default_factory=dict)
    #: details for users, a line each
    lines: Sequence[str] = ()
    #: False if something failed or is left for the user to do
    ok: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the lines, for programs."""
        return {"summary": self.summary, "ok": self.ok, **self.data}


@dataclass(frozen=True)
class Context:
    """Hold the surroundings of an operation."""

    data_dir: str
    #: path of `PlexSync.py`
    entry: str
    stash: StashClient
    redactor: Redactor
    #: called with jobs done and jobs left
    progress: Progress
    #: called with (level, text) of a message to the user while the operation runs
    tell: Callable[[str, str], object]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def run(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Have a command carried out; see `tasks.foreground.run_command`."""
        return run_command(self.data_dir, self.entry, command, arguments, self.progress, self.tell)

    def config(self) -> PlexSyncConfig:
        """Return the settings in effect.

        Raises:
            SettingsError: A setting is missing or wrong; the text names it.
            StashUnavailable, StashRefused, StashQueryError
        """
        return self._provider().load()

    def given_settings(self) -> dict[str, Any]:
        """Return the settings as they were entered; see `StashConfigProvider.given`."""
        return self._provider().given()

    def _provider(self) -> StashConfigProvider:
        return StashConfigProvider(self.stash, self.data_dir, self.redactor, environ=self.environ)


class UsageError(ValueError):
    """Report a missing or wrong argument. The text is one line for the user."""


def scene_id_of(arguments: Mapping[str, Any]) -> int:
    """Return the argument `scene_id`.

    Raises:
        UsageError: It is missing or not a scene id.
    """
    return number_of(arguments, "scene_id", "a scene id", "the number in the scene page's URL")


def rating_keys_of(arguments: Mapping[str, Any]) -> list[int] | str | None:
    """Return the argument `rating_key`: one or several, `BOTH` for all candidates, or None.

    Raises:
        UsageError: It is not a rating key.
    """
    text = str(arguments.get("rating_key") or "").strip()
    if not text:
        return None
    if text.casefold() == BOTH:
        return BOTH
    kind, hint = "a rating key", "the number of an item in Plex, several numbers, or both"
    return [number_of({"rating_key": part}, "rating_key", kind, hint) for part in text.split(",")]


def is_set(arguments: Mapping[str, Any], name: str) -> bool:
    """Return whether a switch is on. Stash passes arguments as text."""
    return str(arguments.get(name) or "").strip().casefold() in ("1", "true", "yes", "on")


def number_of(arguments: Mapping[str, Any], name: str, kind: str, hint: str) -> int:
    """Return an argument that is a positive whole number.

    Raises:
        UsageError: It is missing, or not such a number.
    """
    text = str(arguments.get(name) or "").strip()
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**63):
        problem = f"{text!r} is not {kind}" if text else "it is missing"
        raise UsageError(f"{name}: {problem}; it is {hint}")
    return int(text)
