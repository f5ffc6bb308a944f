"""Where the worker's settings come from: Stash's settings page, then the last input, then the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stash.client import StashClient
from stash.connection import StashConnection
from stash.settings import add_environment, merge_settings
from validation.config import PlexSyncConfig, default_settings, validate_config
from validation.errors import PermanentError, SettingsError, TransientError


def load_config(
    stash: StashClient,
    connection: Callable[[], StashConnection | None],
    environ: Mapping[str, str],
    learn_secret: Callable[[str | None], object],
    on_page: Callable[[Mapping[str, Any]], object] = lambda page: None,
) -> PlexSyncConfig:
    """Ask Stash for the settings and check them.

    Args:
        on_page: is shown what stands on Stash's settings page.

    Raises:
        SettingsError: one is missing or wrong; the text names it.
        StashUnavailable, StashRefused, StashQueryError: Stash can't be asked.
    """
    latest = connection()
    carried: Mapping[str, Any] = latest.settings if latest else {}
    page = stash.plugin_settings()
    settings = add_environment(merge_settings(carried, page), environ)
    for key in ("plex_token", "plexToken"):
        learn_secret(str(settings.get(key) or "").strip())
    config, problem = validate_config(settings)
    on_page(page)
    if config is None:
        raise SettingsError(problem)
    return config


class ShownDefaults:
    """Makes Stash's page show the defaults in effect: it shows a switch that was never touched as off."""

    def __init__(self, stash: StashClient) -> None:
        self._stash = stash
        self._done = False

    def show(self, page: Mapping[str, Any]) -> None:
        """Write the defaults of what is absent from the page to Stash, once; what is there stays as it is."""
        absent = {key: value for key, value in default_settings().items() if key not in page}
        if self._done or not absent:
            return
        self._done = True
        try:
            self._stash.configure_plugin({**page, **absent})
        except (TransientError, PermanentError):  # it is only shown; the defaults hold all the same
            return
