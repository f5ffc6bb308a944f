"""Find other plugins with PlexSync's id: Stash loads only one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stash.connection import load_connection
from stash.settings import PLUGIN_ID

#: Stash compares ids without case.
_MANIFEST = f"{PLUGIN_ID}.yml".casefold()
#: Folders between Stash's plugins folder and a plugin: one for each package source.
_DEPTH = 3


def other_copies(data_dir: str, plugin_dir: str, stash_plugins_dir: str) -> list[str]:
    """Return the folders of other plugins of the same id, such as the older community plugin.

    Args:
        data_dir: names the Stash.
        plugin_dir: our own folder.
        stash_plugins_dir: Stash's folder of plugins, which a user may choose; empty: not known.
    """
    connection = load_connection(data_dir)
    server = connection.server if connection else {}
    own = str(server.get("PluginDir") or plugin_dir)
    roots = [os.path.dirname(own), *filter(None, [stash_plugins_dir])]
    found = {
        os.path.realpath(folder): folder for root in roots for folder in _plugins(root, _DEPTH)
    }
    for ours in (own, plugin_dir):
        found.pop(os.path.realpath(ours), None)
    return sorted(found.values())


def _plugins(folder: str, depth: int) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    if any(entry.name.casefold() == _MANIFEST for entry in entries):
        yield folder
        return
    for entry in entries:
        if depth and entry.is_dir() and not entry.name.startswith("."):
            yield from _plugins(entry.path, depth - 1)
