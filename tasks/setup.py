"""Operations of the guided setup: try an address, libraries and path mappings; show posters.

They write nothing to Plex, and no setting. The token comes from the arguments or from the settings,
and leaves in no answer.
"""

from __future__ import annotations

import base64
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from plex.client import PlexClient
from plex.exceptions import PLEX_ERRORS, PlexNotFound
from plex.fit import Fit, best_fit
from plex.items import Library, PlexItem
from plex.matcher import AmbiguousMatch
from plex.paths import map_path
from stash.records import Scene
from tasks.check import SAMPLE, differing_prefixes
from tasks.context import Context, Result, UsageError
from validation.config import PlexSyncConfig, validate_config
from validation.errors import PermanentError, SettingsError
from worker.bootstrap import open_trial
from worker.job_runner import JobRunner
from worker.target import desired

#: Seconds to connect, and to read: a person waits.
_PATIENCE = (5.0, 15.0)
#: Scenes that are matched, at most; path mappings that are suggested.
_MOST_SCENES = 200
_MOST_SUGGESTIONS = 3
#: Pictures in one answer; pixels of the longer side; bytes of one; seconds for all.
_MOST_PICTURES = 24
_PIXELS = 320
_MOST_BYTES = 400_000
_SECONDS = 20.0
_ITEM = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
#: Longest text of an argument.
_LONGEST = 4_000
_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


def setup_test(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Try an address and a token of Plex, and list the libraries.

    Args:
        arguments: `plex_url`, `plex_token`: default: the settings. The token of the settings is
            sent to the address of the settings alone.

    Raises:
        UsageError, SettingsError
        StashUnavailable, StashRefused, StashQueryError
    """
    config = _config(context, arguments, plex_libraries="", path_mappings="")
    try:
        with closing(PlexClient(config.plex_url, config.plex_token, *_PATIENCE)) as plex:
            name, version = plex.name_and_version()
            plex.probe()
            libraries = [_described(plex, one) for one in plex.all_libraries()]
    except PLEX_ERRORS as error:
        message = context.redactor.redact(str(error))
        return Result(f"Plex: {message}", {"message": message, "libraries": []}, ok=False)
    movies = sum(one["type"] == "movie" for one in libraries)
    message = f"{name} {version}, {movies} libraries of type movie"
    data = {"name": name, "version": version, "message": message, "libraries": libraries}
    lines = [f"{one['name']} ({one['type']}): {one['items']} items" for one in libraries]
    return Result(f"Plex: {message}", data, lines)


def setup_match(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Try libraries and path mappings on some scenes of Stash.

    Args:
        arguments: `plex_url`, `plex_token`: as `setup_test`; `plex_libraries`, `path_mappings`:
            default: the settings; `sample`: number of scenes.

    Raises:
        UsageError, SettingsError, TransientError, PermanentError
        OSError, sqlite3.Error: The index of Plex's files can't be used.
    """
    config = _config(context, arguments)
    sample = context.stash.sample(_sample_size(arguments), random.randrange(10**8))
    scenes = [scene for scene in sample if scene.files]
    with open_trial(context.data_dir, config, context.stash) as runner:
        libraries = runner.plex.libraries()
        found = _Found()
        for scene in scenes:
            _match(runner, scene, found)
    mappings = [_hits(mapping, scenes, found) for mapping in config.path_mappings]
    suggestions = [
        {"text": f"{ours} => {theirs}", "hits": hits}
        for (ours, theirs), hits in found.prefixes.most_common(_MOST_SUGGESTIONS)
        if (ours, theirs) not in config.path_mappings
    ]
    data = {
        "libraries": [
            {"key": one.key, "name": one.name, "matched": found.libraries[one.key]}
            for one in libraries
        ],
        "mappings": mappings,
        "suggestions": suggestions,
        "scenes": len(scenes),
        "matched": len(found.matched),
        "ambiguous": found.ambiguous,
    }
    text = f"{len(found.matched)} of {len(scenes)} scenes matched, {found.ambiguous} ambiguous"
    lines = [f"{one['name']}: {one['matched']} scenes" for one in data["libraries"]]  # type: ignore[attr-defined]
    lines += [f"{one['text']}: {one['hits']} of {one['sample']} scenes" for one in mappings]
    lines += [f"Suggested: {one['text']} ({one['hits']} scenes)" for one in suggestions]
    return Result(f"Setup: {text}", data, lines, ok=bool(found.matched) or not scenes)


def pictures(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Return posters of items as data URLs, scaled down by Plex; those without one are left out.

    Args:
        arguments: `items`: "section:rating_key" of each, as a list or separated by commas.

    Raises:
        UsageError, SettingsError, TransientError, PermanentError
    """
    wanted = _items(arguments.get("items"))
    config = context.config()
    found: dict[str, str] = {}
    end = time.monotonic() + _SECONDS
    with closing(PlexClient(config.plex_url, config.plex_token, *_PATIENCE)) as plex:
        for key, path in _posters(plex, wanted).items():
            if time.monotonic() > end:
                break
            try:
                picture = plex.picture(path, _PIXELS)
            except PLEX_ERRORS:
                continue
            address = _data_url(picture)
            if address:
                found[key] = address
    return Result(f"Pictures: {len(found)} of {len(wanted)}", {"pictures": found})


@dataclass
class _Found:
    """What matching the scenes has found."""

    matched: set[int] = field(default_factory=set)
    #: scenes that were matched by their path
    by_path: set[int] = field(default_factory=set)
    ambiguous: int = 0
    libraries: Counter[int] = field(default_factory=Counter)
    prefixes: Counter[tuple[str, str]] = field(default_factory=Counter)


def _match(runner: JobRunner, scene: Scene, found: _Found) -> None:
    try:
        items = runner.matcher.match(desired(scene), scene).items
    except PlexNotFound:
        return
    except AmbiguousMatch:
        found.ambiguous += 1
        return
    except PermanentError:  # its own data are not valid
        return
    found.matched.add(scene.id)
    found.libraries.update({item.library_key for item in items})
    if best_fit(scene.files, items[0].files, runner.plex.places) >= Fit.PATH_ONLY:
        found.by_path.add(scene.id)
    else:
        found.prefixes.update(_prefixes(scene, items[0]))


def _prefixes(scene: Scene, item: PlexItem) -> Iterable[tuple[str, str]]:
    pairs = (differing_prefixes(scene.files[0].path, file.path) for file in item.files)
    return [pair for pair in pairs if pair is not None]


def _hits(mapping: tuple[str, str], scenes: Iterable[Scene], found: _Found) -> dict[str, Any]:
    """Return how many scenes a path mapping is about, and how many of them it leads to Plex."""
    about = [one.id for one in scenes if map_path(one.files[0].path, [mapping])[1]]
    hits = sum(scene_id in found.by_path for scene_id in about)
    return {"text": " => ".join(mapping), "hits": hits, "sample": len(about)}


def _described(plex: PlexClient, library: Library) -> dict[str, Any]:
    return {
        "key": library.key,
        "name": library.name,
        "title": library.title,
        "type": library.type,
        "agent": library.agent,
        "items": plex.count_items(library) if library.type == "movie" else None,
        "folders": list(library.locations),
    }


def _config(context: Context, arguments: Mapping[str, Any], **always: str) -> PlexSyncConfig:
    """Return the settings with those that are tried.

    Raises:
        UsageError: An argument is not a text.
        SettingsError: A setting is missing or wrong; the text names it.
    """
    tried = {**_texts(arguments), **always}
    context.redactor.add(tried.get("plex_token"))
    stored = context.given_settings()
    config, problem = validate_config({**stored, **tried})
    if config is None:
        raise SettingsError(problem)
    if "plex_token" not in tried and _address(stored) not in (None, config.plex_url):
        raise UsageError("plex_token is missing: the one in the settings is for another address")
    return config


def _address(stored: Mapping[str, Any]) -> str | None:
    known, _ = validate_config({**stored, "plex_libraries": "", "path_mappings": ""})
    return known.plex_url if known else None


def _texts(arguments: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name in ("plex_url", "plex_token", "plex_libraries", "path_mappings"):
        value = arguments.get(name)
        if value is None or (not value and name in ("plex_url", "plex_token")):
            continue
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise UsageError(f"{name} must be a text of {_LONGEST} characters at most")
        texts[name] = value.strip()
    return texts


def _sample_size(arguments: Mapping[str, Any]) -> int:
    text = str(arguments.get("sample") or SAMPLE).strip()
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= _MOST_SCENES):
        raise UsageError(f"sample must be a number from 1 to {_MOST_SCENES}")
    return int(text)


def _items(value: object) -> dict[tuple[int, int], str]:
    """Return (library, rating key) → its text, of the items that are asked for."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or len(parts) > _MOST_PICTURES:
        raise UsageError(f"items must be a list of 1 to {_MOST_PICTURES} section:rating_key")
    found = {}
    for part in parts:
        match = _ITEM.fullmatch(part.strip()) if isinstance(part, str) else None
        if match is None:
            raise UsageError("items: each must be section:rating_key, two numbers")
        found[int(match[1]), int(match[2])] = part.strip()
    return found


def _posters(plex: PlexClient, wanted: Mapping[tuple[int, int], str]) -> dict[str, str]:
    """Return the asked text of each item → path of its poster; items that are gone have none."""
    try:
        there = plex.posters([key for _, key in wanted])
    except PlexNotFound:  # Plex may answer 404 for all because one is gone
        there = {}
        for _, key in wanted:
            try:
                there.update(plex.posters([key]))
            except PlexNotFound:
                continue
    return {text: there[key] for key, text in wanted.items() if key in there}


def _data_url(picture: bytes) -> str | None:
    """Return a picture as a data URL; None if it is too large, or is none."""
    kind = next((kind for start, kind in _TYPES if picture.startswith(start)), None)
    if kind is None or len(picture) > _MOST_BYTES:
        return None
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"
