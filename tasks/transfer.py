"""Export and import settings, choices and ignored scenes as one JSON file, without secrets.

A file may come from another Stash: an entry counts only if its scene is the same one here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.texts import cut, first_of, one_line
from common.version import VERSION
from history.records import Agreement, Choice, Status
from plex.session import PLEX
from queue.timestamps import parse_time
from stash.records import Scene
from tasks.context import Context, Result, UsageError, is_set
from validation.config import (
    FORGIVING,
    NO_SERVER,
    PlexSyncConfig,
    default_settings,
    validate_config,
    wrong_rules,
)
from worker.agreements import is_same
from worker.bootstrap import open_history_readonly
from worker.last_rules import LastRules

FORMAT, FORMAT_VERSION = "plexsync-export", 1
#: Characters of a file; entries of a list in it; characters of a text in it.
MOST = 20_000_000
_MOST_ENTRIES = 200_000
_LONGEST = 25_000
#: Entries in one command for the worker, and scenes read from Stash between two reports.
_CHUNK = 500
#: Settings that are never written to a file, and never taken from one.
_SECRETS = ("plex_token", "plexToken", "webhook_url")
#: Settings that a file may have.
SETTINGS = tuple(
    name
    for name in PlexSyncConfig.model_fields
    if name not in (*_SECRETS, "stash_folders", "rule_problems")
)
_DEFAULTS = default_settings()
#: Types of settings that may be written in several ways, such as 1.5 and "1,5".
_NOT_TEXT = (bool, int, float, int | None)
#: Names of unknown settings that are shown.
_SHOWN = 10

Settings = dict[str, Any]


def export_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Return the settings, choices and ignored scenes as a document, without secrets.

    Returns:
        `document`; `name`: of a file for it.

    Raises:
        StashUnavailable, StashRefused, StashQueryError
        OSError, sqlite3.Error: The history can't be read.
    """
    with open_history_readonly(context.data_dir) as history:
        choices = history.all_choices()
        rows = list(history.with_status(Status.IGNORED))
    scenes = _scenes(context, {*_ids(choices), *_ids(rows)})
    choices = [choice for choice in choices if _is_about(choice, scenes)]
    ignored = sorted(_ids(row for row in rows if _is_about(row, scenes)))
    named = {
        scene_id: {
            "scene_id": scene_id,
            "created_at": scene.created_at,
            "path": scene.files[0].path if scene.files else "",
        }
        for scene_id, scene in scenes.items()
    }
    settings = _exported(context)
    ignores = [named[scene_id] for scene_id in ignored]
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": VERSION,
        "exported_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": settings,
        "choices": [
            {
                **named[choice.scene_id],
                "server": choice.server,
                "rating_key": choice.rating_key,
                "item_path": choice.path,
            }
            for choice in choices
        ],
        "ignores": ignores,
    }
    chosen = len(_ids(choices))
    text = f"Export: {_counted(len(settings), chosen, len(ignores))}"
    name = f"plexsync-{time.strftime('%Y%m%d')}.json"
    return Result(text, {"document": document, "name": name})


def import_all(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Take over settings, choices and ignored scenes from a file that `export_all` made.

    All of it is checked before anything changes. Settings that the file lacks stay as they are.

    Args:
        arguments: `data`: the file's text; `preview`: only show what would change;
            `with_plex_url`: take an address of Plex, too, where a token is known that would be
            sent there.

    Returns:
        `settings`: those that change → [before, after]; `choices`, `ignores`: numbers of scenes;
        `plex_url`: an address that is not taken, or None; `notes`: what is left out.

    Raises:
        UsageError: The file is not one of PlexSync's, or something in it is wrong.
        StashUnavailable, StashRefused, StashQueryError
        ValueError, OSError, sqlite3.Error: See `tasks.foreground.run_command`.
    """
    file = _parse(arguments.get("data"))
    found = _Import(notes=list(file.notes))
    _compare_settings(context, file.settings, is_set(arguments, "with_plex_url"), found)
    _compare_scenes(context, file, found)
    data = {
        "settings": {name: list(change) for name, change in found.settings.items()},
        "choices": len(found.choices),
        "ignores": len(found.ignores),
        "plex_url": found.plex_url,
        "notes": found.notes,
    }
    counted = _counted(len(found.settings), len(found.choices), len(found.ignores))
    lines = [f"{name}: {one!r} -> {other!r}" for name, (one, other) in found.settings.items()]
    lines += found.notes
    if is_set(arguments, "preview"):
        return Result(f"Import: would take over {counted}", data, lines)
    reason = _hand_over(context, found)
    if reason:
        text = f"Import: stopped, and no setting was changed: {reason}"
        return Result(text, {**data, "reason": reason}, lines, ok=False)
    if found.settings:
        page = context.stash.plugin_settings()  # once more, right before
        changes = {name: after for name, (_, after) in found.settings.items()}
        context.stash.configure_plugin({**page, **changes})
    return Result(f"Import: took over {counted}", data, lines)


@dataclass
class _File:
    """A file, checked."""

    settings: Settings
    #: scene → how it is known; and of choices: its items, as the command `import` takes them
    choices: dict[int, tuple[Mapping[str, Any], list[dict[str, Any]]]]
    ignores: dict[int, Mapping[str, Any]]
    notes: list[str]


@dataclass
class _Import:
    """The differences between a file and what is in effect here."""

    #: setting → value now, value in the file
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    choices: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    ignores: list[int] = field(default_factory=list)
    #: scene → when Stash created it
    created_at: dict[int, str] = field(default_factory=dict)
    plex_url: str | None = None
    notes: list[str] = field(default_factory=list)


def _exported(context: Context) -> Settings:
    """Return all settings but secrets, those that are not set with their defaults."""
    given = context.given_settings()
    # In place of a wrong rule, the file gets the one that is in effect.
    rules = {name: given[name] for name in FORGIVING if name in given}
    config, _ = validate_config({**rules, **NO_SERVER}, LastRules(context.data_dir).load())
    for name in wrong_rules(given):
        given[name] = getattr(config, name)
    settings = {name: _value(given, name) for name in SETTINGS}
    if not settings["plex_url"] or set("@?#") & set(str(settings["plex_url"])):
        del settings["plex_url"]  # it may hold a password
    return settings


def _value(settings: Mapping[str, Any], name: str) -> Any:
    """Return a setting, or its default as Stash's page has it; "": none."""
    if settings.get(name) not in (None, ""):
        return settings[name]
    default = _DEFAULTS.get(name, PlexSyncConfig.model_fields[name].get_default())
    return default if isinstance(default, (str, bool, int, float)) else ""


def _parse(data: object) -> _File:
    """Return the content of a file.

    Raises:
        UsageError: one sentence that says what is wrong with it.
    """
    if not isinstance(data, str) or not data.strip():
        raise UsageError("data: the content of a file is missing")
    if len(data) > MOST:
        raise UsageError(f"The file has more than {MOST // 1_000_000} MB")
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UsageError("The file is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError("The file was not made by PlexSync's export")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        made_by = one_line(str(document.get("version")))[:20]
        raise UsageError(
            f"The file has format {version!r:.20}, and this PlexSync knows {FORMAT_VERSION}: it was"
            f" made by version {made_by}. Import it there"
        )
    settings, notes = _parse_settings(document.get("settings", {}))
    choices: dict[int, tuple[Mapping[str, Any], list[dict[str, Any]]]] = {}
    for number, entry in _entries(document, "choices"):
        scene = _parse_scene(entry, "choices", number)
        item = {
            "server": _text(entry, "server", "choices", number),
            "rating_key": _number(entry, "rating_key", "choices", number),
            "path": _text(entry, "item_path", "choices", number),
        }
        choices.setdefault(scene["scene_id"], (scene, []))[1].append(item)
    ignores: dict[int, Mapping[str, Any]] = {}
    for number, entry in _entries(document, "ignores"):
        scene = _parse_scene(entry, "ignores", number)
        ignores[scene["scene_id"]] = scene
    return _File(settings, choices, ignores, notes)


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no number {constant}")


def _parse_settings(given: object) -> tuple[Settings, list[str]]:
    if not isinstance(given, dict):
        raise UsageError("The file's settings are not an object")
    settings = {name: value for name, value in given.items() if name in SETTINGS}
    notes = []
    secret = [name for name in given if name in _SECRETS]
    if secret:
        notes.append(f"Left out, as secrets are never imported: {', '.join(secret)}")
    unknown = [name for name in given if name not in SETTINGS and name not in _SECRETS]
    if unknown:
        shown = first_of([cut(one_line(str(name)), 40) for name in unknown], _SHOWN)
        notes.append(f"Left out, as this PlexSync has no such settings: {shown}")
    for name, value in settings.items():
        if not isinstance(value, (str, int, float, type(None))) or len(str(value)) > _LONGEST:
            raise UsageError(f"The file's setting {name} must be a text, a number, or on or off")
    valid = {name: value for name, value in settings.items() if value is not None}
    config, problem = validate_config({**NO_SERVER, **valid})
    if config is None or config.rule_problems:
        problem = problem or "; ".join(config.rule_problems if config else ())
        raise UsageError(f"The file has a wrong setting, so nothing is imported: {problem}")
    return settings, notes


def _entries(document: Mapping[str, Any], name: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    entries = document.get(name, [])
    if not isinstance(entries, list) or len(entries) > _MOST_ENTRIES:
        raise UsageError(f"The file's {name} must be a list of {_MOST_ENTRIES} at most")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise UsageError(f"The file's {name}, entry {number}: it is not an object")
        yield number, entry


def _parse_scene(entry: Mapping[str, Any], name: str, number: int) -> dict[str, Any]:
    scene_id = _number(entry, "scene_id", name, number)
    texts = {key: _text(entry, key, name, number) for key in ("created_at", "path")}
    return {"scene_id": scene_id, **texts}


def _number(entry: Mapping[str, Any], key: str, name: str, number: int) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise UsageError(f"The file's {name}, entry {number}: {key} is not a number")
    return value


def _text(entry: Mapping[str, Any], key: str, name: str, number: int) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise UsageError(f"The file's {name}, entry {number}: {key} is not a text")
    return value


def _compare_settings(
    context: Context, settings: Settings, with_plex_url: bool, found: _Import
) -> None:
    """Note the settings that differ from those in effect."""
    given = context.given_settings()
    for name, after in settings.items():
        before = _value(given, name)
        if _same(name, before) != _same(name, _value(settings, name)):
            found.settings[name] = (before, "" if after is None else after)
    knows_token = any(given.get(name) for name in ("plex_token", "plexToken"))
    if "plex_url" in found.settings and knows_token and not with_plex_url:
        found.plex_url = str(found.settings.pop("plex_url")[1])
        found.notes.append(
            f"Left out: the Plex address {found.plex_url}, as the token known here would be sent"
            " there"
        )


def _same(name: str, value: Any) -> object:
    """Return a form in which equal values of a setting are equal: Stash may have them as text."""
    text = str(value).strip()
    if PlexSyncConfig.model_fields[name].annotation not in _NOT_TEXT:
        return text
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


def _compare_scenes(context: Context, file: _File, found: _Import) -> None:
    """Note the choices and ignored scenes that are new here."""
    scenes = _scenes(context, {*file.choices, *file.ignores})
    found.created_at = {scene_id: scene.created_at for scene_id, scene in scenes.items()}
    with open_history_readonly(context.data_dir) as history:
        plex = history.get(PLEX)
        rows = history.with_status(Status.IGNORED)
        ignored = _ids(row for row in rows if _is_about(row, scenes))
        chosen: dict[int, set[tuple[str, int, str]]] = {}
        for one in (one for one in history.all_choices() if _is_about(one, scenes)):
            known = (one.server, one.rating_key, one.path)
            chosen.setdefault(one.scene_id, set()).add(known)
    others = 0
    for scene_id, (scene, items) in file.choices.items():
        if not _is_same(scene, scenes.get(scene_id)):
            others += 1
        elif chosen.get(scene_id) != {tuple(item.values()) for item in items}:
            found.choices[scene_id] = items
    for scene_id, scene in file.ignores.items():
        if not _is_same(scene, scenes.get(scene_id)):
            others += 1
        elif scene_id not in ignored:
            found.ignores.append(scene_id)
    if others:
        total = len(file.choices) + len(file.ignores)
        where = ". The file may come from another Stash" if others * 2 > total else ""
        found.notes.append(
            f"Left out, as their scenes are not here, or others: {others} of {total}{where}"
        )
    server = plex.get("server") if isinstance(plex, dict) else None
    servers = [{one["server"] for one in items} for items in found.choices.values()]
    elsewhere = sum(server not in some for some in servers)
    if server and elsewhere:
        found.notes.append(f"{elsewhere} choices are for another Plex, and count only there")


def _is_same(entry: Mapping[str, Any], scene: Scene | None) -> bool:
    """Return whether an entry is about a scene, and not about one with its id in another Stash."""
    if scene is None:
        return False
    created = parse_time(entry["created_at"])
    if created is not None and created == parse_time(scene.created_at):
        return True
    return bool(entry["path"]) and entry["path"] in (file.path for file in scene.files)


def _ids(records: Iterable[Agreement] | Iterable[Choice]) -> set[int]:
    return {one.scene_id for one in records}


def _is_about(one: Agreement | Choice, scenes: Mapping[int, Scene]) -> bool:
    """Return whether Stash has the scene of a record, and not another one of its id."""
    scene = scenes.get(one.scene_id)
    return scene is not None and is_same(one, scene)


def _scenes(context: Context, scene_ids: set[int]) -> dict[int, Scene]:
    """Return scenes of Stash by id; those that it does not have are left out."""
    wanted, found = sorted(scene_ids), {}
    for start in range(0, len(wanted), _CHUNK):
        some = context.stash.find_scenes(wanted[start : start + _CHUNK])
        found.update({scene.id: scene for scene in some})
        context.progress(start, len(wanted) - start)
    return found


def _hand_over(context: Context, found: _Import) -> str | None:
    """Have the worker take over choices and ignored scenes; return why it did not, or None."""
    created_at = found.created_at
    chosen = [
        {"scene_id": scene_id, "created_at": created_at[scene_id], "items": items}
        for scene_id, items in found.choices.items()
    ]
    ignores = [
        {"scene_id": scene_id, "created_at": created_at[scene_id]} for scene_id in found.ignores
    ]
    for key, entries in (("choices", chosen), ("ignores", ignores)):
        for some in _chunks(entries):
            reason = context.run("import", {key: some}).get("reason")
            if reason:
                return str(reason)
    return None


def _chunks(entries: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK))


def _counted(settings: int, choices: int, ignores: int) -> str:
    return (
        f"{settings} setting{'' if settings == 1 else 's'},"
        f" {choices} chosen and {ignores} ignored scene{'' if ignores == 1 else 's'}"
    )
