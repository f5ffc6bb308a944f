"""Answers of the user: whether the values in a library of Plex came from Stash, or partly not.

A library on another metadata agent is full of that agent's values when PlexSync first meets it.
Plex does not say whether they came from Stash, so the user is asked once for each library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from history.store import History
from plex.desired import FROM_STASH, PARTLY_MINE, Switches
from plex.items import Library
from plex.session import PlexSession
from validation.config import PlexSyncConfig

#: The possible answers.
ANSWERS = (FROM_STASH, PARTLY_MINE)
#: State in the history: server → library's key → answer.
STATE = "origins"
#: State: `replace_lists` was off, so lists were added to that it would have replaced.
LISTS_ADDED_TO = "lists_added_to"


class Origins:
    """The user's answers, applied to what is written."""

    def __init__(self, plex: PlexSession, history: History) -> None:
        self._plex = plex
        self._history = history
        self._assumed: dict[int, str] = {}

    def assume(self, section: int, answer: str) -> None:
        """Go by an answer that was not given, as a preview does."""
        self._assumed[section] = answer

    def switches_for(self, section: int, switches: Switches) -> Switches:
        """Return how the lists of a library's items are written.

        Args:
            section: the library's key.
        """
        answer = self._assumed.get(section) or answers(self._history, self._plex.server).get(
            section, ""
        )
        replaces = switches.replace_lists and bool(self._history.get(LISTS_ADDED_TO))
        if not (answer or replaces):
            return switches
        return replace(switches, origin=answer, replace_met=replaces)

    @property
    def stamp(self) -> str:
        """A short hash of all answers; "" while there are none.

        Of all servers: which one is asked is not always known yet.
        """
        known = self._history.get(STATE)
        if not known:
            return ""
        text = json.dumps(known, sort_keys=True).encode("ascii")
        return hashlib.blake2b(text, digest_size=4).hexdigest()


def answers(history: History, server: str) -> dict[int, str]:
    """Return library's key → answer, for the libraries of a Plex."""
    known = history.get(STATE)
    found = known.get(server) if isinstance(known, dict) else None
    if not isinstance(found, dict):
        return {}
    return {
        int(key): answer for key, answer in found.items() if key.isdecimal() and answer in ANSWERS
    }


def set_answer(history: History, server: str, section: int, answer: str | None) -> None:
    """Store the user's answer for a library.

    Args:
        answer: None: delete the stored one.
    """
    every = dict(history.get(STATE, {}))
    here = {**every.get(server, {}), str(section): answer}
    every[server] = {key: one for key, one in here.items() if one}
    history.set(STATE, {key: one for key, one in every.items() if one} or None)


def note_settings(history: History, config: PlexSyncConfig) -> None:
    """Note that lists are added to, for the day on which `replace_lists` is switched on."""
    if not config.replace_lists and not history.get(LISTS_ADDED_TO):
        history.set(LISTS_ADDED_TO, True)


def unanswered(history: History, server: str, libraries: Sequence[Library]) -> list[Library]:
    """Return the libraries on another agent than Plex's own for which the user was not heard."""
    known = answers(history, server)
    return [one for one in libraries if one.has_foreign_agent and one.key not in known]
