"""Locate the data directory. Loaded by the hook."""

from __future__ import annotations

import os

from common.files import ForeignOwner, make_private_dir

#: The plugin's folder.
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def plugin_data_dir(here: str = HERE) -> str:
    """Return the data directory (README, "Where things are kept"); create it if it is missing.

    Args:
        here: the plugin's folder as Stash knows it; may be a symbolic link.

    Raises:
        ForeignOwner: the directory belongs to another user; no other one is used instead.
        OSError: none of the candidate directories is writable.
    """
    home = os.path.join(os.path.expanduser("~"), ".stash", "plugins", "PlexSync", "data")
    problem: OSError | None = None
    for candidate in (
        os.environ.get("STASH_PLUGIN_DATA", "").strip(),
        home,
        os.path.join(here, "data"),
    ):
        try:
            if candidate:
                make_private_dir(os.path.abspath(candidate))
                if os.access(candidate, os.W_OK | os.X_OK):
                    return os.path.abspath(candidate)
        except ForeignOwner:
            raise
        except OSError as error:
            problem = error
    raise problem or PermissionError(
        f"none of the data directories can be written, the last was {here}/data"
    )
