"""Where things are kept. Loaded by the hook."""

from __future__ import annotations

import os

from common.files import make_private_dir

#: The plugin's folder.
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def plugin_data_dir(here: str = HERE) -> str:
    """Return the data directory (README, "Where things are kept"), made if it is missing.

    Args:
        here: the plugin's folder as Stash knows it, which may be a link.

    Raises:
        OSError: none of the places can be written.
    """
    home = os.path.join(os.path.expanduser("~"), ".stash", "plugins", "PlexSync", "data")
    problem: OSError | None = None
    for place in (
        os.environ.get("STASH_PLUGIN_DATA", "").strip(),
        home,
        os.path.join(here, "data"),
    ):
        try:
            if place:
                make_private_dir(os.path.abspath(place))
                if os.access(place, os.W_OK | os.X_OK):
                    return os.path.abspath(place)
        except OSError as error:
            problem = error
    raise problem or PermissionError(
        f"none of the data directories can be written, the last was {here}/data"
    )
