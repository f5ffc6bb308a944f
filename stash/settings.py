"""Collect PlexSync's settings before validation. Loaded by the hook.

Stash's settings page overrides the settings in a plugin input, and these override the environment.
An unset, empty or blank value never overrides another.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PLUGIN_ID = "PlexSync"
# Our setting, its environment variable, the older community plugin's setting.
_FALLBACKS = (("plex_url", "PLEX_URL", "plexHost"), ("plex_token", "PLEX_TOKEN", "plexToken"))


def carried_settings(input_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a plugin input.

    `args.config` overrides `pluginSettings`, which overrides `server_connection`.
    """
    server = _dict(input_data.get("server_connection"))
    plugin_settings = _dict(input_data.get("pluginSettings"))
    arguments = _dict(input_data.get("args"))
    return merge_settings(
        # Keys of Stash itself start with a capital letter: Scheme, Host, …
        {key: value for key, value in server.items() if key[:1].islower()},
        _dict(plugin_settings.get(PLUGIN_ID)) or plugin_settings,
        _dict(arguments.get("config")),
    )


def merge_settings(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings; a later source overrides an earlier one, blank values are dropped."""
    return {
        key: value
        for source in sources
        for key, value in source.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def add_environment(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Add PLEX_URL and PLEX_TOKEN of the environment where Stash has no value."""
    added = dict(settings)
    for key, variable, legacy in _FALLBACKS:
        if key not in settings and legacy not in settings and environ.get(variable, "").strip():
            added[key] = environ[variable]
    return added


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
