"""Where the worker's settings come from: Stash's settings page, then the last input, then the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stash.client import StashClient
from stash.connection import StashConnection
from stash.settings import add_environment, merge_settings
from validation.config import PlexSyncConfig, validate_config
from validation.errors import SettingsError


def load_config(
    stash: StashClient,
    connection: Callable[[], StashConnection | None],
    environ: Mapping[str, str],
    learn_secret: Callable[[str | None], object],
) -> PlexSyncConfig:
    """Ask Stash for the settings and check them.

    Raises:
        SettingsError: one is missing or wrong; the text names it.
        StashUnavailable, StashRefused: Stash can't be asked.
    """
    latest = connection()
    carried: Mapping[str, Any] = latest.settings if latest else {}
    settings = add_environment(merge_settings(carried, stash.plugin_settings()), environ)
    for key in ("plex_token", "plexToken"):
        learn_secret(str(settings.get(key) or "").strip())
    config, problem = validate_config(settings)
    if config is None:
        raise SettingsError(problem)
    return config
