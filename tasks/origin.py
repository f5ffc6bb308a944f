"""Ask and say where the values in a library of Plex came from: from Stash, or partly not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plex.desired import FROM_STASH, PARTLY_MINE
from plex.items import Library
from tasks.context import Context, Result, UsageError, is_set
from tasks.preview import preview_origin
from validation.config import PlexSyncConfig
from worker.bootstrap import open_history_readonly, open_readonly
from worker.origins import ANSWERS, answers

#: Takes an answer back.
ASK = "ask"
_WORDS = {
    FROM_STASH: "what is in it came from Stash: its lists become Stash's",
    PARTLY_MINE: "what is in it is partly yours: its lists are added to",
}
_NAME = "Where a library's values came from"


def library_origin(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Say where the values in a library came from; without an answer, list the libraries.

    Args:
        arguments: `section`: the library, by its number in Plex or its name; `answer`: "stash",
            "mine", or "ask" to take it back; `preview`: only show which names would go.

    Raises:
        UsageError
        SettingsError, TransientError, PermanentError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    answer = str(arguments.get("answer") or "").strip().casefold()
    if answer not in ("", ASK, *ANSWERS):
        raise UsageError(f"answer is {answer[:80]!r}: it is one of {', '.join((*ANSWERS, ASK))}")
    config = context.config()
    with open_readonly(context.data_dir, config, context.stash) as runner:
        libraries = runner.plex.libraries()
        server = runner.plex.server
        known = answers(runner.history, server)
    named = str(arguments.get("section") or "").strip()
    if not named and not answer:
        text = f"{_NAME}: {len(libraries)} libraries"
        data = {"libraries": [described(one, known, config) for one in libraries]}
        return Result(text, data, [_line(one, known) for one in libraries])
    library = _library(libraries, named)
    if not answer:
        raise UsageError(f"answer is missing: it is one of {', '.join((*ANSWERS, ASK))}")
    if is_set(arguments, "preview"):
        if answer == ASK:
            raise UsageError(f"preview shows an answer: {' or '.join(ANSWERS)}")
        return preview_origin(context, library, answer)
    chosen = None if answer == ASK else answer
    what = {"server": server, "section": library.key, "answer": chosen}
    result = context.run("library_origin", what)
    data = described(library, {library.key: answer} if chosen else {}, config)
    if result.get("reason"):
        text = f"{_NAME}: {result['reason']}"
        return Result(text, {**data, "reason": result["reason"]}, ok=False)
    if chosen is None:
        return Result(f"{library.name}: no answer from now on", data)
    hint = "Plex follows in a few minutes, or by Sync all scenes at once"
    return Result(f"{library.name}: {_WORDS[chosen]}. {hint}", data)


def described(library: Library, known: Mapping[int, str], config: PlexSyncConfig) -> dict[str, Any]:
    """Return a library's agent and answer in JSON's types."""
    return {
        "section": library.key,
        "name": library.name,
        "agent": library.agent,
        "is_legacy": library.has_legacy_agent,
        "answer": known.get(library.key),
        "asks": library.has_foreign_agent and library.key not in known,
        "locks": config.lock_fields,
    }


def advice(
    context: Context, config: PlexSyncConfig, server: str, libraries: Sequence[Library]
) -> list[tuple[dict[str, Any], list[str]]]:
    """Return what to say of each library on another agent than Plex's own, a sentence each.

    Args:
        server: Plex's machineIdentifier.
    """
    foreign = [one for one in libraries if one.has_foreign_agent]
    if not foreign:
        return []
    with open_history_readonly(context.data_dir) as history:
        known = answers(history, server)
    return [(described(one, known, config), list(_advice(one, known, config))) for one in foreign]


def _advice(library: Library, known: Mapping[int, str], config: PlexSyncConfig) -> Iterator[str]:
    name = repr(library.name)
    if library.key not in known:
        yield (
            f"say where the values in the library {name} came from: library-origin {library.key}"
            f" {FROM_STASH} (from Stash) or {PARTLY_MINE} (partly from you), or on PlexSync's page;"
            " --preview shows first what would go"
        )
    if not library.has_legacy_agent:
        return
    yield (
        f"the library {name} is on the legacy agent {library.agent}, and Plex removes legacy agents"
        " during 2026. First sync all scenes with Lock fields on, until nothing is left to do. Then"
        " choose the agent Personal Media and the scanner Plex Video Files for it in Plex: see"
        " README, Coming from the legacy agent"
    )
    if not config.lock_fields:
        yield (
            f"Lock fields is off: switch it on and sync all scenes before you change the agent of"
            f" {name}, or a refresh in Plex replaces what PlexSync wrote"
        )


def _line(library: Library, known: Mapping[int, str]) -> str:
    answer = _WORDS.get(known.get(library.key, ""), "not answered")
    return f"{library.key} {library.name}: agent {library.agent or 'none'}; {answer}"


def _library(libraries: Sequence[Library], named: str) -> Library:
    """Return the library of a number or a name.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = [one for one in libraries if str(one.key) == named] or [
        one for one in libraries if named.casefold() in (one.name.casefold(), one.title.casefold())
    ]
    if len(found) != 1:
        there = ", ".join(f"{one.key} = {one.name}" for one in libraries) or "none"
        problem = f"{named[:80]!r} is not a library" if named else "it is missing"
        raise UsageError(f"section: {problem} that is synced; those are: {there}")
    return found[0]
