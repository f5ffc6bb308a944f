"""Provide the settings in effect, or an error that says what is wrong.

Stash's settings page goes before what the last input carried, and that before the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from common.env import Env
from common.redaction import Redactor
from stash.client import StashClient
from stash.connection import load_connection
from stash.settings import add_environment, merge_settings
from validation.config import (
    PlexSyncConfig,
    validate_config,
    webhook_address,
    webhook_secrets,
)
from validation.errors import SettingsError
from worker.last_rules import LastRules
from worker.page_defaults import PageDefaults

#: State: what is wrong with the rules, one line each; none: they are all valid.
RULE_PROBLEMS = "rule_problems"


class ConfigProvider:
    """Holds settings that were handed in; a subclass asks for them again."""

    def __init__(self, config: PlexSyncConfig | None, env: Env) -> None:
        """Use `config`; None: no settings yet."""
        self.config = config
        #: "": the user has none; None: not known yet. It is known while another setting is wrong.
        self.webhook_url = None if config is None else config.webhook_url
        self._given = config
        self._env = env
        self._read_at = float("-inf")
        self._rejected: PlexSyncConfig | None = None
        self._rejected_at = float("-inf")
        self._rejected_because = ""

    @property
    def disabled(self) -> bool:
        """Return whether the user switched the plugin off."""
        return self.config is not None and not self.config.enabled

    def refresh(self, *, at_once: bool = False) -> PlexSyncConfig:
        """Return the settings in effect, asked for again where they are not fresh.

        Args:
            at_once: ask in any case.

        Raises:
            SettingsError: one is missing or wrong, or Plex has just rejected them.
            StashUnavailable, StashRefused, StashQueryError: Stash can't be asked.
        """
        now, timing = self._env.monotonic(), self._env.timing
        fresh = now - self._read_at < timing.settings_fresh and not at_once
        if fresh and self.config is not None:
            return self.config
        try:
            config = self.load()
        except SettingsError:
            self.config = self._rejected = None  # the rejected settings were replaced
            raise
        self._read_at = now
        if config == self._rejected and now - self._rejected_at < timing.rejected_retry:
            raise SettingsError(self._rejected_because)
        self._rejected = None
        if config != self.config:
            config.log_config()
            self.config = config
        assert self.config is not None
        return self.config

    def expire(self) -> None:
        """Ask for the settings again before they are next used."""
        self._read_at = float("-inf")

    def reject(self, reason: str) -> None:
        """Remember that Plex rejects these settings; while they stay, they are tried seldom."""
        if self.config is not None and self._rejected != self.config:
            self._rejected, self._rejected_at = self.config, self._env.monotonic()
        self._rejected_because = reason

    def load(self) -> PlexSyncConfig:
        """Return the settings as they are now.

        Raises:
            SettingsError: a setting is missing or wrong; the text names it.
            StashUnavailable, StashRefused, StashQueryError: Stash can't be asked.
        """
        if self._given is None:
            raise SettingsError("PlexSync has no settings yet")
        return self._given


class StashConfigProvider(ConfigProvider):
    """Reads the settings from Stash, and again when they are stale."""

    def __init__(
        self,
        stash: StashClient,
        data_dir: str,
        redactor: Redactor,
        *,
        environ: Mapping[str, str] = os.environ,
        env: Env | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            data_dir: where the last input's settings are.
            redactor: learns the token.
            environ: PLEX_URL and PLEX_TOKEN stand in where Stash says nothing.
        """
        super().__init__(None, env or Env())
        self._stash = stash
        self._data_dir = data_dir
        self._redactor = redactor
        self._environ = environ
        self._defaults = PageDefaults(stash, data_dir, self._env)
        self._last_rules = LastRules(data_dir)

    def load(self) -> PlexSyncConfig:
        """Ask Stash for the settings and check them; see `ConfigProvider.load`."""
        settings, page = self._ask()
        config, problem = validate_config(settings, self._last_rules.load())
        self.webhook_url = webhook_address(settings)
        self._defaults.look(page)
        if config is None:
            raise SettingsError(problem)
        self._last_rules.keep(config)
        return config

    def given(self) -> dict[str, Any]:
        """Return the settings as they were entered, and the folders of Stash's library.

        Raises:
            StashUnavailable, StashRefused, StashQueryError: Stash can't be asked.
        """
        return self._ask()[0]

    def _ask(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings as they were entered, and those of Stash's page alone."""
        latest = load_connection(self._data_dir)
        carried: Mapping[str, Any] = latest.settings if latest else {}
        page, folders = self._stash.configuration()
        settings = add_environment(merge_settings(carried, page), self._environ)
        for key in ("plex_token", "plexToken"):
            self._redactor.add(str(settings.get(key) or "").strip())
        self._redactor.add(*webhook_secrets(str(settings.get("webhook_url") or "").strip()))
        return {**settings, "stash_folders": folders}, page
