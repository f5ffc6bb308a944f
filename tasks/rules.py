"""Try rules that are not saved: what is wrong with them, and what they make of one scene.

Nothing is written, and Plex is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plex.desired import switches_of, values
from plex.paths import stem_of
from stash.records import Scene
from tasks.context import Context, Result, UsageError
from tasks.sync import scene_of
from validation.config import (
    NO_SERVER,
    RULE_SETTINGS,
    PlexSyncConfig,
    validate_config,
    wrong_rules,
)
from validation.errors import PermanentError, SettingsError
from worker.last_rules import LastRules
from worker.target import desired

#: Settings that can be tried without being saved: the rules, and a switch per field.
TRIED = (*RULE_SETTINGS, *(name for name in PlexSyncConfig.model_fields if name[:5] == "sync_"))
#: Characters of all that is tried.
_LONGEST = 250_000


def rules_test(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Check rules, and show what they make of a scene.

    Args:
        arguments: `rules`: see `rules_of`; default: the settings; `scene_id`: default: the scene
            saved last.

    Returns:
        `problems`: setting → one sentence, of the wrong rules, for which the last valid ones stand
        in; `scene`, or None; `left_out`: why it is not synced, or None; `fields`: Plex's name
        → text or list.

    Raises:
        UsageError: `rules` is not what it should be.
        SettingsError: A switch is neither on nor off.
        StashUnavailable, StashRefused, StashQueryError
    """
    rules = rules_of(arguments)
    settings = {**context.given_settings(), **rules}
    names = (*TRIED, "only_organized")
    some = {name: settings[name] for name in names if name in settings}
    problems = wrong_rules(some)
    config, reason = validate_config({**some, **NO_SERVER}, LastRules(context.data_dir).load())
    if config is None:
        raise SettingsError(reason)
    scene, why = _scene(context, arguments)
    data: dict[str, Any] = {"problems": problems, "scene": None, "left_out": why, "fields": {}}
    if scene is not None:
        data.update(_made_of(scene, config))
    first = next((f"{name}: {one}" for name, one in problems.items()), None)
    lines = [f"{name}: {_shown(value)}" for name, value in data["fields"].items()]
    text = first or data["left_out"] or f"{len(data['fields'])} fields"
    return Result(f"Rules: {text}", data, lines, ok=not problems)


def rules_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument `rules`: setting → value of the rules that are tried, maybe none.

    Args:
        arguments: `rules`: an object, or its JSON; only settings in `TRIED`.

    Raises:
        UsageError: it is something else.
    """
    value = arguments.get("rules")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value[: _LONGEST + 1])
        except (ValueError, RecursionError):
            raise UsageError("rules: it must be a JSON object of settings") from None
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise UsageError("rules: it must be a JSON object of settings")
    unknown = next((name for name in value if name not in TRIED), None)
    if unknown is not None:
        raise UsageError(f"rules: {str(unknown)[:80]!r} is not a rule")
    if any(not isinstance(one, (str, int, float, type(None))) for one in value.values()):
        raise UsageError("rules: each must be a text, a number, or on or off")
    if sum(len(str(one)) for one in value.values()) > _LONGEST:
        raise UsageError(f"rules: they have more than {_LONGEST} characters")
    return value


def config_with(context: Context, arguments: Mapping[str, Any]) -> PlexSyncConfig:
    """Return the settings in effect, with the argument `rules` in place of those that are saved.

    Raises:
        UsageError: A rule is wrong; the text says which, and why.
        SettingsError: Another setting is missing or wrong.
        StashUnavailable, StashRefused, StashQueryError
    """
    rules = rules_of(arguments)
    if not rules:
        return context.config()
    for name, problem in wrong_rules(rules).items():
        raise UsageError(f"{name}: {problem}")
    config, reason = validate_config(
        {**context.given_settings(), **rules}, LastRules(context.data_dir).load()
    )
    if config is None:
        raise SettingsError(reason)
    return config


def _scene(context: Context, arguments: Mapping[str, Any]) -> tuple[Scene | None, str | None]:
    """Return the scene that is shown, or why there is none: rules can be checked without one."""
    try:
        return scene_of(context, arguments), None
    except UsageError as error:
        return None, str(error)


def _made_of(scene: Scene, config: PlexSyncConfig) -> dict[str, Any]:
    """Return what a scene becomes in Plex."""
    path = scene.files[0].path if scene.files else ""
    found: dict[str, Any] = {"scene": {"id": scene.id, "title": scene.title, "path": path}}
    try:
        metadata = desired(scene)
    except PermanentError as error:
        return {**found, "left_out": str(error)}
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values(metadata, stem_of(path), switches_of(config)).items()
    }
    return {**found, "left_out": config.why_left_out(metadata), "fields": fields}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
