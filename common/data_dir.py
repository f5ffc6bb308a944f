"""Find the data directory of a Stash. Loaded by the hook.

Each Stash has a data directory of its own. It is known by the folder of its `config.yml`, which the
input of each hook and task names (`Dir`). Where the data directory can't be written, that is an
error: nothing is kept elsewhere.
"""

from __future__ import annotations

import errno
import json
import os
import zlib

from common.files import make_private_dir, read_json, replace_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: The plugin's folder.
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: In the data directory: the Stash that it belongs to.
OWNER_FILE = "stash.json"
#: The latest connection to Stash, which names it too.
CONNECTION_FILE = "connection.json"
#: In the plugin's folder: the data directories of the last hooks, the latest first.
NOTE_FILE = "data_dirs.json"
#: Of the folders inside a shared data directory, one for each further Stash.
SHARED_PREFIX = "stash-"
_SHARED = "STASH_PLUGIN_DATA"
#: Data directories that the note keeps.
_MOST_NOTED = 4
#: Parent folders of the plugin's in which Stash's `config.yml` may be.
_MOST_PARENTS = 4


def plugin_data_dir(here: str = HERE, server: Mapping[str, Any] | None = None) -> str:
    """Return the data directory (README, "Where things are kept"); create it if it is missing.

    Args:
        here: the plugin's folder as Stash knows it; may be a symbolic link.
        server: `server_connection` of the input, which names the Stash; None: that of the last
            hook.

    Raises:
        ForeignOwner: the directory belongs to another user; no other one is used instead.
        OSError: it can't be created or written.
    """
    place, stash_dir = _find(here, server, claims=True), stash_dir_of(server)
    make_private_dir(place)
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "The folder can't be written", place)
    if stash_dir:
        _own(place, stash_dir)
        if server is not None and _is_same(str(server.get("PluginDir") or ""), here):
            _note(here, place)
    return place


def find_data_dir(here: str = HERE, server: Mapping[str, Any] | None = None) -> str:
    """Return the data directory as `plugin_data_dir` does, and write nothing; it need not be there.

    Raises:
        ForeignOwner: the directory belongs to another user.
    """
    place = _find(here, server, claims=False)
    if os.path.isdir(place):
        make_private_dir(place)  # checks the owner
    return place


def _find(here: str, server: Mapping[str, Any] | None, *, claims: bool) -> str:
    """Return the place of the data directory.

    Args:
        claims: whether a shared folder without an owner becomes this Stash's.
    """
    stash_dir = stash_dir_of(server)
    shared = os.environ.get(_SHARED, "").strip()
    if not stash_dir:
        return _noted_place(here, shared and os.path.abspath(shared))
    if shared:
        return _place_among(os.path.abspath(shared), stash_dir, claims=claims)
    return default_place(stash_dir)


def stash_dir_of(server: Mapping[str, Any] | None) -> str:
    """Return the folder of Stash's `config.yml`; "" if the input does not name it."""
    found = (server or {}).get("Dir")
    return os.path.abspath(found) if isinstance(found, str) and found.strip() else ""


def default_place(stash_dir: str) -> str:
    """Return the data directory of a Stash whose folder of `config.yml` is this."""
    return os.path.join(stash_dir, "plugins", "PlexSync", "data")


def owner_of(place: str) -> str:
    """Return the `Dir` of the Stash that a data directory belongs to; "" if it names none."""
    found = _read(os.path.join(place, OWNER_FILE), "dir")
    if not isinstance(found, str):
        found = _read(os.path.join(place, CONNECTION_FILE), "server_connection", "Dir")
    return found if isinstance(found, str) else ""


def old_places(place: str, here: str, server: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield other data directories of the same Stash: of older versions, or before a move.

    Args:
        place: its data directory now.
        here: the plugin's folder.
    """
    stash_dir = stash_dir_of(server)
    if not stash_dir:
        return
    plugin_dir = str((server or {}).get("PluginDir") or here)
    candidates = (
        *_noted(here),
        default_place(os.path.join(os.path.expanduser("~"), ".stash")),
        os.path.join(here, "data"),
        os.path.join(plugin_dir, "data"),
        default_place(stash_dir),
    )
    seen = [place]
    for candidate in candidates:
        if os.path.isdir(candidate) and not any(_is_same(candidate, one) for one in seen):
            seen.append(candidate)
            if _is_same(owner_of(candidate), stash_dir):
                yield candidate


def is_anothers(place: str, stash_dir: str) -> bool:
    """Return whether a data directory is the usual one of another Stash that is there."""
    owner = os.path.dirname(os.path.dirname(os.path.dirname(place)))
    return (
        place == default_place(owner)
        and not _is_same(owner, stash_dir)
        and os.path.exists(os.path.join(owner, "config.yml"))
    )


def _place_among(shared: str, stash_dir: str, *, claims: bool) -> str:
    """Return the data directory of a Stash below a folder that several may share.

    The first Stash has the folder itself, each other one a folder inside. One whose Stash is gone
    was that of this Stash before it moved.
    """
    own = os.path.join(shared, f"{SHARED_PREFIX}{zlib.crc32(stash_dir.encode()):08x}")
    places = [shared, own]
    if os.path.isdir(shared):
        inside = sorted(name for name in os.listdir(shared) if name.startswith(SHARED_PREFIX))
        places += [os.path.join(shared, name) for name in inside]
    owners = {place: owner_of(place) for place in places}
    for place, owner in owners.items():
        if _is_same(owner, stash_dir):
            return place
    if not owners[shared]:
        if not claims or _claim(shared, stash_dir) or not owner_of(shared):
            return shared
        owners[shared] = owner_of(shared)
        if _is_same(owners[shared], stash_dir):  # another hook of this Stash was faster
            return shared
    left = [place for place, owner in owners.items() if owner and not os.path.isdir(owner)]
    return left[0] if len(left) == 1 else own


def _claim(place: str, stash_dir: str) -> bool:
    """Record the owner of a new data directory; return False if another process just did.

    Raises:
        OSError: the folder can't be written.
    """
    make_private_dir(place)
    file = os.path.join(place, OWNER_FILE)
    temporary = f"{file}.claim.{os.getpid()}.tmp"
    replace_private(temporary, _owner_text(stash_dir))
    try:
        os.link(temporary, file)
    except FileExistsError:
        return False
    except OSError:  # the file system has no links
        replace_private(file, _owner_text(stash_dir))
    finally:
        os.unlink(temporary)
    return True


def _own(place: str, stash_dir: str) -> None:
    """Record that a data directory belongs to a Stash."""
    file = os.path.join(place, OWNER_FILE)
    if _read(file, "dir") != stash_dir:
        replace_private(file, _owner_text(stash_dir))


def _owner_text(stash_dir: str) -> str:
    return json.dumps({"schema": 1, "dir": stash_dir})


def _noted_place(here: str, shared: str) -> str:
    """Return the data directory of the last hook, else the one that its Stash would have."""
    for place in _noted(here):
        if os.path.isdir(place) and (not shared or f"{place}{os.sep}".startswith(shared + os.sep)):
            return place
    if shared:
        return shared
    folder = here
    for _ in range(_MOST_PARENTS):
        folder = os.path.dirname(folder)
        if os.path.exists(os.path.join(folder, "config.yml")):
            return default_place(folder)
    return default_place(os.path.join(os.path.expanduser("~"), ".stash"))


def _noted(here: str) -> list[str]:
    found = _read(os.path.join(here, NOTE_FILE), "data_dirs")
    return [str(place) for place in found] if isinstance(found, list) else []


def _note(here: str, place: str) -> None:
    """Leave the data directory for the command line; a folder that can't be written has none."""
    noted = _noted(here)
    if noted[:1] != [place]:
        kept = [place, *(one for one in noted if one != place)][:_MOST_NOTED]
        try:
            replace_private(os.path.join(here, NOTE_FILE), json.dumps({"data_dirs": kept}))
        except OSError:
            return


def _read(file: str, *keys: str) -> Any:
    """Return a value of a JSON file, or None."""
    found: Any = read_json(file)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _is_same(one: str, other: str) -> bool:
    if not one or not other:
        return False
    if os.path.abspath(one) == os.path.abspath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
