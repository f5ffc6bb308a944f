"""Data directories of version 0.1.0, with the Stash and the Plex that they belong to.

`restore` and `populate` bring back one that the real 0.1.0 left behind when it was killed. `grow`
makes one of any size in the same format. Nothing here needs the code of 0.1.0: the schemas and the
content come from the files beside this module.

- `data_v0_1/`: the data directory; each database as an SQL dump, `<name>.sql`
- `catalogue_v0_1.json`: the scenes in Stash and the items in Plex at that time
- `expected_v0_1.json`: what the data directory says, for assertions; see `expected`
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from queue.models import SyncJob, create_sync_job
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.plex.records import Poster
from tests.simulators.stash import Scene, StashSimulator
from tests.simulators.stash.library import unix

_HERE = Path(__file__).resolve().parent
FROZEN = _HERE / "data_v0_1"
_CATALOGUE = _HERE / "catalogue_v0_1.json"
_EXPECTED = _HERE / "expected_v0_1.json"
_DUMP = ".sql"
#: Epoch seconds in the frozen texts, all of 2017 to 2033, and Stash's times.
_EPOCH = re.compile(r"(?<![\w.])1[5-9]\d{8}(?!\w)")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DAY = 86_400
#: Plex's kinds of tags → the keywords of `PlexSimulator.add_item`.
_TAG_KEYWORDS = {
    "genre": "genres",
    "actor": "actors",
    "director": "directors",
    "collection": "collections",
}


# --- the frozen data directory


def expected(later: int = 0) -> dict[str, Any]:
    """Return what the restored data directory says, and how Stash and Plex differ from it.

    Keys (scene ids, unless said otherwise):
        left_at: when 0.1.0 was killed, in epoch seconds
        settings: the settings that matter, for `Harness.configure`
        synced, timestamps: with a sync timestamp; the timestamps by scene id
        timestamp_only: of these, without a row in memory.db
        items: scene id → rating key, the rows of memory.db
        covers: with an uploaded cover
        in_sync: equal in Stash and Plex; nothing is to be written
        pending, pending_in_plex: with an unconfirmed write; of these, which Plex carried out
        choices: scene id → the chosen rating key
        dead_letters: scene id, error type, candidates (rating keys) or files
        waiting, in_progress, retries, bulk, related, spooled: job keys
        edited: with an edit in a job of their own. Plex has none of them but that of 27, whose
            write was carried out late. (The edit of 25 is in its dead letter.)
        renamed: the tag of the related job, and the scenes that have it
        never_synced, forgotten: without any record; the last ones are gone from Stash
        edited_in_plex: a person changed (and locked) the title in Plex after the sync
        replaced_in_plex: scene id → rating key `before` and `now`: removed and added again
        own_names_in_plex: scene id → genres that a person added in Plex; in sync nevertheless

    Args:
        later: see `restore`.
    """
    content: dict[str, Any] = json.loads(_text(_EXPECTED, later))
    return content


def catalogue(later: int = 0) -> dict[str, Any]:
    """Return the scenes and related objects in Stash, and the libraries and items in Plex."""
    content: dict[str, Any] = json.loads(_text(_CATALOGUE, later))
    return content


def since_left() -> int:
    """Return the seconds since 0.1.0 was killed; as `later`, it was killed just now."""
    left_at: int = expected()["left_at"]
    return int(time.time()) - left_at


def restore(folder: Path, later: int = 0) -> None:
    """Write the frozen data directory: folders 0700, files 0600, databases in WAL mode.

    Its connection.json names a Stash at port 9999. A hook, a task or `WorkerHarness.log_in`
    replaces that.

    Args:
        folder: the data directory; made if it is missing.
        later: seconds by which all times move. Without it, dead letters of that day are past their
            retention one day; see `since_left`.
    """
    _make_folder(folder)
    for source in sorted(FROZEN.rglob("*")):
        target = folder / source.relative_to(FROZEN)
        if source.is_dir():
            _make_folder(target)
        elif source.suffix == _DUMP:
            with closing(_new_database(target.with_suffix(""))) as database:
                database.executescript(_text(source, later))
        else:
            _write(target, _text(source, later))


def populate(stash: StashSimulator, plex: PlexSimulator, later: int = 0) -> None:
    """Add the frozen scenes and items: the same ids, rating keys, times, values and locks.

    Both must be empty, but for the library of `Harness`.

    Args:
        later: as for `restore`.
    """
    frozen = catalogue(later)
    for kind in ("studios", "performers", "tags", "groups"):
        shelf = getattr(stash.library, kind)
        for entity in frozen["stash"][kind]:
            wanted = entity.pop("id")
            assert shelf.add(**entity).id == wanted, "Stash was not empty"
    for scene in frozen["stash"]["scenes"]:
        files = [(path, size) for path, size in scene.pop("files")]
        cover = base64.b64decode(scene.pop("cover")) if "cover" in scene else None
        stash.add_scene(**scene, files=files, cover=cover)
    libraries = {}
    for section in frozen["plex"]["libraries"]:
        library = _library(plex, section["title"], section["locations"])
        assert library.key == section["key"], "Plex was not empty"
        libraries[library.key] = library
    # The highest key first: the keys of files and collections follow it.
    for item in reversed(frozen["plex"]["items"]):
        _add_item(plex, libraries[item["library"]], item)


def _add_item(plex: PlexSimulator, library: PlexLibrary, frozen: Mapping[str, Any]) -> None:
    tags = {_TAG_KEYWORDS[kind]: names for kind, names in frozen.get("tags", {}).items()}
    item = plex.add_item(
        library,
        frozen["path"],
        size=frozen["size"],
        versions=frozen.get("versions", ()),
        values=frozen["values"],
        locked=frozen.get("locked", ()),
        added_at=frozen["added_at"],
        rating_key=frozen["rating_key"],
        **tags,
    )
    item.roles = frozen.get("roles", {})
    if "poster" in frozen:
        _select_poster(item, base64.b64decode(frozen["poster"]))
    item.updated_at = frozen["updated_at"]


# --- a data directory of any size


@dataclass
class Grown:
    """What `grow` made."""

    #: scene id → rating key of its item; the waiting and the chosen ones too
    synced: dict[int, int] = field(default_factory=dict)
    #: scene id → its new title in Stash, which a job in the queue waits to bring to Plex
    waiting: dict[int, str] = field(default_factory=dict)
    #: scene id → the chosen rating key
    choices: dict[int, int] = field(default_factory=dict)
    #: scene id → the error type of its dead letter
    letters: dict[int, str] = field(default_factory=dict)


def grow(
    folder: Path,
    stash: StashSimulator,
    plex: PlexSimulator,
    scenes: int,
    waiting: int = 0,
    choices: int = 0,
    letters: int = 0,
    *,
    now: float | None = None,
) -> Grown:
    """Make a data directory of 0.1.0 with `scenes` synced scenes, and add these to both servers.

    Everything that is synced is equal in Stash and Plex, and locked where it was written. Only the
    waiting edits are to be written. The files are those of `Harness`: /data is Plex's /media.

    Args:
        folder: the data directory; made if it is missing.
        scenes: of these the first `waiting` have an edit in the queue, and the last `choices` are
            ambiguous and were chosen.
        letters: further scenes with a dead letter, by turns not found and ambiguous.
        now: epoch seconds; default: the current time.
    """
    assert waiting + choices <= scenes
    growth = _Growth(stash, plex, int(time.time() if now is None else now), scenes)
    for number in range(scenes):
        growth.add_synced(number, chosen=number >= scenes - choices)
    for number in range(waiting):
        growth.edit(number)
    for number in range(letters):
        growth.add_failed(scenes + number, ambiguous=number % 2 == 1)
    growth.write(folder)
    return growth.grown


class _Growth:
    """The rows of the data directory while scenes and items are added."""

    def __init__(self, stash: StashSimulator, plex: PlexSimulator, now: int, scenes: int) -> None:
        self.grown = Grown()
        self._stash = stash
        self._plex = plex
        self._now = now
        self._library = _library(plex, "Scenes", ["/media"])
        self._begin = now - 700 * _DAY
        self._step = 300 * _DAY / max(1, scenes)
        self._ids: list[int] = []
        self._written: list[tuple[object, ...]] = []
        self._jobs: list[SyncJob] = []
        self._letters: list[tuple[object, ...]] = []
        self._timestamps: dict[int, float] = {}
        self._files: list[PlexItem] = []
        for kind, word, count in _VOCABULARY:
            for number in range(count):
                times = dict.fromkeys(("created_at", "updated_at"), self._time(self._begin))
                getattr(stash.library, kind).add(f"{word} {number + 1:02}", **times)

    def add_synced(self, number: int, chosen: bool) -> None:
        """Add a scene and its item as a sync leaves them; a chosen one has a rival item."""
        scene, size = self._add_scene(number, f"pick-{number:05}" if chosen else f"f-{number:05}")
        name = Path(scene.path).name
        wanted = _wanted(self._stash, scene)
        if chosen:
            self._add_item(f"/media/one/{name}", size)
        place = f"/media/two/{name}" if chosen else scene.path.replace("/data", "/media", 1)
        synced_at = unix(scene.updated_at) + 5.5
        item = self._add_item(
            place,
            size,
            values={key: value for key, value in wanted.items() if isinstance(value, str)},
            locked=(*wanted, *(["thumb"] if scene.cover else [])),
            **{_TAG_KEYWORDS[key]: one for key, one in wanted.items() if isinstance(one, list)},
        )
        cover = None
        if scene.cover:
            cover = _select_poster(item, scene.cover)
        item.updated_at = int(synced_at)
        source = f"/scene/{scene.id}/screenshot?t={unix(scene.updated_at)}"
        row = (scene.id, item.rating_key, json.dumps(wanted), None, cover, source)
        self._written.append(row)
        self._timestamps[scene.id] = synced_at
        self.grown.synced[scene.id] = item.rating_key
        if chosen:
            self.grown.choices[scene.id] = item.rating_key

    def edit(self, number: int) -> None:
        """Save a new title for a synced scene; its job waits."""
        scene_id, saved_at = self._ids[number], self._now - 300 + number % 300
        title = f"Film {number:05}, edited"
        self._stash.change_silently(scene_id, title=title, updated_at=saved_at)
        self._jobs.append(create_sync_job(scene_id, "metadata", {"title": title}, now=saved_at))
        self.grown.waiting[scene_id] = title

    def add_failed(self, number: int, ambiguous: bool) -> None:
        """Add a scene that was never synced, and its dead letter."""
        scene, size = self._add_scene(
            number, f"twin-{number:05}" if ambiguous else f"m-{number:05}"
        )
        failed_at = self._now - 5 * _DAY + number % _DAY
        job = create_sync_job(scene.id, "metadata", {"title": scene.title}, now=failed_at - 60.0)
        details: dict[str, Any] = {"files": [[scene.path, size]]}
        error, message = "PlexNotFound", f"no Plex item has the file {scene.path}"
        if ambiguous:
            name = Path(scene.path).name
            items = [self._add_item(f"/media/{place}/{name}", size) for place in ("one", "two")]
            details = {"candidates": [_candidate(item) for item in items]}
            paths = "; ".join(item.path for item in items)
            error = "AmbiguousMatch"
            message = f"Scene {scene.id} {scene.title!r} {scene.path} may be any of {paths}"
        trace = f"Traceback (most recent call last):\n{error}: {message}\n"
        row = (scene.id, json.dumps(job), error, message, trace, json.dumps(details), 0, failed_at)
        self._letters.append((*row, job["job_key"], job["enqueued_at"]))
        self.grown.letters[scene.id] = error

    def write(self, folder: Path) -> None:
        """Write the data directory."""
        restored = ("connection.json", "worker_state.json")
        for place in (folder, folder / "queue"):
            _make_folder(place)
        for name in restored:
            _write(folder / name, _text(FROZEN / name, 0))
        moments = {"seen_until": self._now - 600.0, "compared_at": self._now - 3600.0}
        _write(folder / "queue" / "catch_up.json", json.dumps(moments))
        self._write_timestamps(folder)
        rows = [(_compact(job), job["enqueued_at"], 0) for job in self._jobs]
        with closing(_empty_database(folder, "queue/data.db")) as database, database:
            _insert(database, "ack_queue_default(data, timestamp, status)", rows)
        with closing(_empty_database(folder, "dlq.db")) as database, database:
            columns = "scene_id, job, error_type, error_message, stack_trace, details, retry_count"
            where = f"dead_letters({columns}, failed_at, job_key, enqueued_at)"
            _insert(database, where, self._letters)
        with closing(_empty_database(folder, "memory.db")) as database, database:
            _insert(database, "written", self._written)
            _insert(database, "choices", list(self.grown.choices.items()))
        with closing(_empty_database(folder, "index.db")) as database, database:
            _insert(database, "files", [_index_row(item) for item in self._files])
            newest = max((item.updated_at for item in self._files), default=0)
            section = (self._library.key, "", newest, 1, self._now - 600.0)
            _insert(database, "sections", [section])

    def _write_timestamps(self, folder: Path) -> None:
        """Write the newest ten to the journal, the others to the file."""
        moments = list(self._timestamps.items())
        stored = {str(scene_id): moment for scene_id, moment in moments[:-10]}
        _write(folder / "sync_timestamps.json", json.dumps(stored))
        lines = [f"\n{json.dumps(one)}\n" for one in moments[-10:]]
        _write(folder / "sync_timestamps.journal", "".join(lines))

    def _add_scene(self, number: int, name: str) -> tuple[Scene, int]:
        created_at = int(self._begin + number * self._step)
        size = 1_000_000 + 17 * number
        place = "elsewhere/in" if name.startswith(("pick", "twin")) else f"data/films/{number % 97}"
        scene = self._stash.add_scene(
            f"Film {number:05}",
            **_metadata(number),
            files=[(f"/{place}/{name}.mp4", size)],
            created_at=created_at,
            updated_at=created_at + 30 * _DAY,
        )
        self._ids.append(scene.id)
        return scene, size

    def _add_item(self, path: str, size: int, **fields: Any) -> PlexItem:
        item = self._plex.add_item(
            self._library, path, size=size, added_at=self._begin - _DAY, **fields
        )
        item.updated_at = item.added_at
        self._files.append(item)
        return item

    def _time(self, moment: float) -> str:
        return self._stash.library.timestamp(moment)


_VOCABULARY = (
    ("studios", "Studio", 7),
    ("performers", "Performer", 40),
    ("tags", "Tag", 30),
    ("groups", "Group", 5),
)


def _metadata(number: int) -> dict[str, Any]:
    """Return a scene's metadata; which fields are empty depends on its number."""
    date = f"{1950 + number % 70}-0{number % 9 + 1}-1{number % 10}"
    return {
        "details": f"Reel {number}.\nA story in parts." if number % 3 else "",
        "date": (date, date[:4], date[:7], None)[number % 4],
        "director": "Director 01" if number % 5 == 0 else "",
        "organized": number % 2 == 0,
        "studio": f"Studio {number % 7 + 1:02}" if number % 6 else None,
        "performers": [f"Performer {(number + k * 7) % 40 + 1:02}" for k in range(number % 4)],
        "tags": [f"Tag {(number * 3 + k * 7) % 30 + 1:02}" for k in range(number % 5)],
        "groups": [f"Group {number % 5 + 1:02}"] if number % 10 == 0 else [],
        "cover": b"\xff\xd8\xff\xe0 cover %d" % number if number % 50 == 0 else None,
    }


def _wanted(stash: StashSimulator, scene: Scene) -> dict[str, str | list[str]]:
    """Return Plex field → value for a scene, as 0.1.0 wrote and remembered it.

    Stash lists tags by name.
    """
    library = stash.library
    studio = library.studios.get(scene.studio_id).name if scene.studio_id else ""
    date = scene.date or ""
    wanted: dict[str, str | list[str]] = {
        "title": scene.title,
        "summary": scene.details,
        "originallyAvailableAt": date if len(date) == len("YYYY-MM-DD") else "",
        "year": date[:4],
        "studio": studio,
        "actor": [library.performers.get(one).name for one in scene.performer_ids],
        "director": [scene.director] if scene.director else [],
        "genre": sorted(library.tags.get(one).name for one in scene.tag_ids),
        "collection": [
            *(library.groups.get(one).name for one, _ in scene.group_ids),
            *([studio] if studio else []),
        ],
    }
    return {name: value for name, value in wanted.items() if value}


def _candidate(item: PlexItem) -> dict[str, Any]:
    files = [{"path": part.file, "size": part.size} for part in item.parts]
    return {
        "rating_key": item.rating_key,
        "library": item.library.title,
        "title": item.title,
        "files": files,
    }


def _index_row(item: PlexItem) -> tuple[object, ...]:
    part = item.parts[0]
    name = part.file.rpartition("/")[2].casefold()
    return item.rating_key, item.library.key, part.file, part.file, name, part.size, 1


def _select_poster(item: PlexItem, picture: bytes) -> str:
    """Give an item an uploaded poster; return the picture's SHA-1."""
    digest = hashlib.sha1(picture, usedforsecurity=False).hexdigest()
    item.poster = Poster(f"upload://posters/{digest}", picture)
    item.posters = [item.poster]
    return digest


def _library(plex: PlexSimulator, title: str, locations: Sequence[str]) -> PlexLibrary:
    known = [library for library in plex.libraries if library.title == title]
    return known[0] if known else plex.add_library(title, locations)


# --- files


def _text(source: Path, later: int) -> str:
    """Read a frozen file; move its times."""
    text = source.read_text(encoding="utf-8")
    if not later:
        return text
    text = _EPOCH.sub(lambda found: str(int(found[0]) + later), text)
    return _RFC3339.sub(lambda found: _moved(found[0], later), text)


def _moved(moment: str, later: int) -> str:
    moved = datetime.fromisoformat(moment.replace("Z", "+00:00")) + timedelta(seconds=later)
    return moved.isoformat().replace("+00:00", "Z")


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))
    path.chmod(0o600)


def _new_database(path: Path) -> sqlite3.Connection:
    _write(path, "")
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    return database


def _empty_database(folder: Path, name: str) -> sqlite3.Connection:
    """Make a database with the schema of the frozen one."""
    database = _new_database(folder / name)
    for statement in _statements(_text(FROZEN / f"{name}{_DUMP}", 0)):
        if statement.startswith(("CREATE ", "PRAGMA user_version")):
            database.execute(statement)
    database.commit()
    return database


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    for row in rows:
        database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _compact(job: SyncJob) -> bytes:
    return json.dumps(job, separators=(",", ":")).encode("ascii")
