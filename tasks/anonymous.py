"""Build an anonymous report from what is allowed: PlexSync's own sentences, numbers and names.

Nothing is copied from a text that may hold a title, a name, a path or an address. A text is
compared with the sentences below. Where one fits, the sentence goes into the report, with its
numbers and with names that PlexSync itself knows. Everything else is an ellipsis.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from history.records import PICTURES, Status
from plex.desired import Switches
from plex.items import PlexItem
from validation.config import PlexSyncConfig
from worker.alerts import CAUSES
from worker.circuit_breaker import CircuitState

HIDDEN = "…"
#: Sentences of PlexSync, the more exact ones first. {number} is kept, {names} are kept as far as
#: PlexSync knows them, and {text} is compared with the sentences in its turn.
SENTENCES = (
    "Worker started",
    "Worker ends: idle",
    "Worker ends: asked to",
    "Worker ends: switched off",
    "Unexpected error",
    "Unexpected error: {names}: {text}. PlexSync tries again; its log has the details",
    "PlexSync is switched off; edits are kept",
    "PlexSync is paused; edits are kept until you let it go on",
    "taken back, as you said",
    "PlexSync has no settings yet",
    "Settings: {text}",
    "PlexSync can't write its files: {text}. Edits are kept, and synced once it can",
    "when the worker last ran: {text}",
    "The index of Plex's files holds {number}",
    "{number} waiting; dead letters: {text}",
    "Not read ahead: {names}",
    "Plex is back",
    "Stash is back",
    "Plex fails ({text}); trying again",
    "Stash fails ({text}); trying again",
    "Plex is down at {text}: {text}. Edits are kept, and synced when it is back",
    "Plex is down: {text}. Edits are kept, and synced when it is back",
    "Stash is down: {text}. Edits are kept, and synced when it is back",
    "{text}. Edits are kept, and synced once this is corrected",
    "Plex rejects the token (401): check plex_token",
    "Plex has no such item (404)",
    "Plex can't be reached ({names})",
    "Plex did not answer in time ({names})",
    "Plex's answer is too large",
    "Plex's answer is packed in a way that PlexSync does not read",
    "Plex's answer is not XML",
    "Plex's answer can't be understood ({names})",
    "Plex's address is not valid ({names}): check plex_url",
    "Plex's listing ended at {number} of {number}",
    "Plex's listing claims to have {number} items",
    "Plex's listing has no end: {number} of {number} items so far",
    "Plex's list of libraries can't be understood",
    "its list of files can't be read ({text})",
    "it shows none of the libraries that it had",
    "the answer does not come from Plex",
    "this address is not a Plex server's (404): check plex_url",
    "{text}: the token is not the server owner's",
    "{text} answers, but is not a Plex server: check plex_url",
    "{text} answers, but not as Plex does: check plex_url",
    "{text}: check plex_url",
    "Plex answered {number}",
    "Plex answered {number} {text}",
    "Plex has no library named {text}, but: {text}",
    "Plex has no video library of type movie to look in",
    "Stash could not answer ({number}): {text}",
    "Stash does not answer at {text} ({names})",
    "Stash refuses the session of PlexSync ({number}); save any scene in Stash",
    "Stash's answer can't be understood ({names})",
    "Stash's answer can't be understood (no {names})",
    "Stash's answer can't be understood (the same scenes again)",
    "Incompatible Stash version: Stash rejects {text}",
    "PlexSync does not know where Stash is yet: save any scene in Stash",
    "The answer of {text} is too large",
    "The answer of {text} is packed in a way that PlexSync does not read",
    "{text} answered {number} without GraphQL; is it Stash?",
    "{names} is {text}. The last valid one stays in effect",
    "{names} is not set: enter it in Stash under Settings > Plugins > PlexSync",
    "{number} scenes would change in Plex ({text})",
    "{number} scenes differ from what was synced; queued",
    "{number} scenes are gone from Stash",
    "Stash shows {number} of the {number} scenes that it had: {text}",
    "PlexSync's worker died {number} times while it compared scenes with Plex. Edits and other"
    " comparisons go before this one",
    "Scene {number}: wrote {names}",
    "Scene {number}: wrote {names}; {names} stays as it was changed in Plex",
    "Scene {number}: in sync",
    "Scene {number}: gone from Stash",
    "Scene {number}: Plex has a file of that name now",
    "Scene {number}: {text}; next attempt in {number} s",
    "Scene {number}: {text}; tried again when Plex has it",
    "Scene {number}: {text}, so not synced",
    "Scene {number} could not be synced: {text}",
    "Scene {number}: {text}",
    "Scene {number}, {text}. It is tried again when the value changes in Stash, or {text}",
    "Scene {number} {text} any of {number} items, such as {text}",
    "Scene {number} {text}",
    "no Plex item has the file {text}",
    "the item {text} in Plex has just changed",
    "the item {text} in Plex belongs to scene {number}, {text}",
    "the scene has no file",
    "the scene's metadata are not valid: {text}",
    "not organized",
    "new, and without any metadata yet",
    "ignored, as you said",
    "left out by your rule: {text}",
    "left out: none of your rules includes it ({text})",
    "Plex does not take {names}",
    "Plex does not take {text}",
    "The database {text} was damaged; it is now {text}, and a new one is begun",
    "Plex was asked to scan {text}",
    "Plex's events: connected",
    "Plex's events: {text}",
    "Plex ended the connection",
    "the connection was lost ({names})",
    "The webhook can't be reached: {text}. Check its address",
    "it answers {number}",
    "it answers {number}, a redirect, which is not followed",
    "it does not answer in time",
    "its certificate is not accepted",
    "there is no connection",
    "the connection broke",
    "The collection {text} in Plex is now {text}",
)
_PLACEHOLDERS = {
    "number": r"(\d+(?:\.\d+)?)",
    "names": r"(\w+(?:, \w+)*)",
    "text": r"(.+)",
}
#: Longer texts are hidden: comparing them takes long.
_MAX_LENGTH = 1_000
_LOG_LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)"
)
_FRAME = re.compile(r' *File "(.+)", line (\d+), in .*')
_VERSION = re.compile(r"v?\d+(?:\.\d+)*")
_STATES = {
    *(state.value for state in CircuitState),
    *(status.value for status in Status),
    *CAUSES,
}
#: The keys of `tasks.status.collect`, without those that are reasons, folders or names of errors.
_KEYS = {
    "scenes", "needing_you", "kept", "fields_held", "paused", "folders", "held", "left_out",
    "visible", "quick_pass_at", "full_pass_at", "next_full_at", "next_full", "rule_problems",
    "outages", "webhook_problem", "waiting", "in_progress", "retrying", "next_retry_at", "failed",
    "worker", "plex", "stash", "events", "problem", "last_synced_at", "synced", "index", "hook_ms",
    # of the worker
    "alive", "pid", "silent", "wanted", "possible", "since", "left_at", "left_because",
    # of Plex's events, a pause and the webhook's problem
    "connected", "why", "text",
    # of an outage
    "cause", "until", "seconds", "caught_up_after",
    # of the index and the hooks
    "files", "listed_at", "count", "median", "p95", "worst",
}  # fmt: skip


def allowed(text: str) -> str:
    """Return a text of which only known sentences, numbers and names are left."""
    if len(text) > _MAX_LENGTH:
        return HIDDEN
    for parts, pattern in _patterns():
        found = pattern.fullmatch(text)
        if found:
            values = iter(found.groups())
            return "".join(
                _value(part, next(values)) if part in _PLACEHOLDERS else part for part in parts
            )
    return HIDDEN


def literals(sentence: str) -> list[str]:
    """Return the parts of a sentence between its placeholders."""
    return [part for part in re.split(r"\{\w+\}", sentence) if part]


@cache
def _patterns() -> list[tuple[list[str], re.Pattern[str]]]:
    """Return the parts of each sentence, and the pattern of the texts that it fits."""
    found = []
    for sentence in SENTENCES:
        parts = [part for part in re.split(r"\{(\w+)\}", sentence) if part]
        pattern = "".join(_PLACEHOLDERS.get(part) or re.escape(part) for part in parts)
        found.append((parts, re.compile(pattern)))
    return found


def _value(kind: str, value: str) -> str:
    if kind == "number":
        return value
    return known_names(value) if kind == "names" else allowed(value)


def known_names(text: str) -> str:
    """Return the names in a list with commas, those hidden that PlexSync does not know."""
    known = {*_error_names(), *_field_names(), *PlexSyncConfig.model_fields}
    return ", ".join(name if name in known else HIDDEN for name in text.split(", "))


def _error_names() -> set[str]:
    """Return the names of all classes of exceptions that this program has loaded."""
    names: set[str] = set()
    classes: list[type[BaseException]] = [BaseException]
    while classes:
        one = classes.pop()
        if one.__name__ not in names:
            names.add(one.__name__)
            classes += type.__subclasses__(one)
    return names


@cache
def _field_names() -> set[str]:
    """Return the names of fields in messages: ours, and Plex's."""
    values = PlexItem(0, 0, "", "", "", "", "", "", "", (), (), (), ()).values
    return {*Switches.__dataclass_fields__, *PlexItem.__dataclass_fields__, *values, *PICTURES}


def version_of(text: str) -> str:
    """Return the version number at the beginning of a text."""
    found = _VERSION.match(text)
    return found[0] if found else HIDDEN


def settings(shown: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings: switches and numbers as they are, of texts whether they are set."""
    for name, value in shown.items():
        if isinstance(value, (bool, int, float)):
            yield f"{name} = {value!r}"
        else:
            count = f", {len(value)} of them" if isinstance(value, (tuple, list)) else ""
            yield f"{name}: {f'set{count}' if value else 'not set'}"


def settings_named(problem: str) -> list[str]:
    """Return the names of settings in a message about settings."""
    return sorted(set(PlexSyncConfig.model_fields).intersection(re.findall(r"\w+", problem)))


def log_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a log: times, levels, sentences, and the places of exceptions."""
    for line in lines:
        found = _LOG_LINE.fullmatch(line.rstrip("\n"))
        if found:
            yield f"{found[1]} {found[2]:<7} {allowed(found[3])}"
        else:
            yield from stack_trace(line)


def stack_trace(text: str) -> Iterator[str]:
    """Yield module and line of each frame in a stack trace; nothing of its texts."""
    for line in text.splitlines():
        found = _FRAME.fullmatch(line)
        if found and found[1] in _modules():
            yield f"  {_modules()[found[1]]}, line {found[2]}"


@cache
def _modules() -> dict[str, str]:
    """Return file → name of the modules that this program has loaded."""
    return {
        file: name
        for name, module in tuple(sys.modules.items())
        if isinstance(file := getattr(module, "__file__", None), str)
    }


def state(value: Any) -> Any:
    """Return a JSON value in which only numbers, states and known sentences are left.

    This holds for keys too. Those that are hidden, and so look alike, get a number.
    """
    if isinstance(value, dict):
        shown: dict[str, Any] = {}
        for key, one in value.items():
            name = _key(key)
            shown[f"{name} ({len(shown) + 1})" if name in shown else name] = state(one)
        return shown
    if isinstance(value, list):
        return [state(one) for one in value]
    if isinstance(value, str):
        return value if value in _STATES else allowed(value)
    return value


def _key(key: str) -> str:
    is_known = key in _KEYS or key in _STATES or known_names(key) == key
    return key if is_known else allowed(key)
