"""PlexSync's settings, from wherever they come, before anybody checks them.

Stash's settings page goes before what an input carried, and that before the environment. An unset, empty or
blank value says nothing, wherever it stands. Loaded by the hook: nothing but dicts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PLUGIN_ID = "PlexSync"
# Ours, the environment variable that stands in, and the older community plugin's name for it.
_FALLBACKS = (("plex_url", "PLEX_URL", "plexHost"), ("plex_token", "PLEX_TOKEN", "plexToken"))


def carried_settings(input_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a plugin input: `server_connection`, `pluginSettings`, `args.config`, the last first."""
    server = _dict(input_data.get("server_connection"))
    plugin_settings = _dict(input_data.get("pluginSettings"))
    arguments = _dict(input_data.get("args"))
    return merge_settings(
        # Stash's own keys there are Go's, in capitals: Scheme, Host, …
        {key: value for key, value in server.items() if key[:1].islower()},
        _dict(plugin_settings.get(PLUGIN_ID)) or plugin_settings,
        _dict(arguments.get("config")),
    )


def merge_settings(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings that say something; a later source goes before an earlier one."""
    return {
        key: value
        for source in sources
        for key, value in source.items()
        if value is not None and not (isinstance(value, str) and not value.strip())
    }


def add_environment(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return `settings` with PLEX_URL and PLEX_TOKEN where Stash says nothing."""
    added = dict(settings)
    for key, variable, legacy in _FALLBACKS:
        if key not in settings and legacy not in settings and environ.get(variable, "").strip():
            added[key] = environ[variable]
    return added


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
