"""The world of a life: scenes in Stash, items in Plex, and PlexSync between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.clock import HOUR, FakeClock
from tests.harness.in_process import WorkerHarness
from tests.simulators.httpd import Fault, ResetAfter
from tests.simulators.plex import PlexItem, PlexLibrary, PlexSimulator
from tests.simulators.stash import Scene, StashSimulator

DAY = 24 * HOUR
WEEK = 7 * DAY
#: Plex's names of what PlexSync writes.
TEXTS = ("title", "summary", "studio", "originallyAvailableAt", "year", "userRating")
LISTS = ("genre", "actor", "director", "collection")
SWITCHES = {
    "title": "sync_title",
    "summary": "sync_details",
    "studio": "sync_studio",
    "originallyAvailableAt": "sync_date",
    "year": "sync_date",
    "userRating": "sync_rating",
    "genre": "sync_tags",
    "actor": "sync_performers",
    "director": "sync_performers",
    "collection": "sync_collections",
    "thumb": "sync_poster",
}
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(SWITCHES.values(), True),
    "sync_rating": False,
    "preserve_plex_edits": False,
    "lock_fields": True,
    "repair_drift": True,
    "replace_lists": False,
    "strict_matching": True,
    "only_organized": False,
    "write_all_copies": False,
}
MAPPINGS = (("/data", "/media"), ("/alias", "/media"), ("/data2", "/more"))


def fold(name: str) -> str:
    """Fold a name as Plex does: only the letters A to Z ignore case."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)


def stem(path: str) -> str:
    """Return the name of a file without its ending."""
    return path.rpartition("/")[2].partition(".")[0]


def picture(number: int) -> bytes:
    """Return a small picture of its own for each number."""
    return b"\x89PNG\r\n\x1a\n" + hashlib.sha256(str(number).encode()).digest() * 4


@dataclass(frozen=True)
class Snapshot:
    """What an item shows at one moment."""

    texts: dict[str, str]
    lists: dict[str, tuple[str, ...]]
    locked: frozenset[str]
    poster: bytes | None

    @staticmethod
    def of(item: PlexItem) -> Snapshot:
        return Snapshot(
            {name: item.values.get(name, "") for name in TEXTS},
            {kind: tuple(item.tags.get(kind, ())) for kind in LISTS},
            frozenset(item.locked),
            None if item.poster is None else item.poster.data,
        )

    def renamed(self, old: str, title: str) -> Snapshot:
        """Return the same after a collection was renamed."""
        names = [title if fold(name) == old else name for name in self.lists["collection"]]
        lists = {**self.lists, "collection": tuple(dict.fromkeys(names))}
        return Snapshot(self.texts, lists, self.locked, self.poster)


@dataclass(frozen=True)
class Written:
    """One request of PlexSync that changed, or could have changed, an item."""

    rating_key: int
    names: frozenset[str]
    """The fields, tag kinds and "thumb" that the request names."""
    before: Snapshot
    after: Snapshot
    at: float


@dataclass(frozen=True)
class Touched:
    """A change of an item in Plex that PlexSync did not make."""

    rating_key: int
    by: str
    """`person`, `refresh`, `merge`; `new`, `split`: the item was added."""
    before: Snapshot
    after: Snapshot


@dataclass
class CollectionBook:
    """A collection in Plex, and who made it what it is."""

    library: int
    title: str
    ours: bool
    """PlexSync created it."""
    touched: bool = False
    """A person changed its poster, summary, title or sort order."""

    @property
    def is_protected(self) -> bool:
        """Return whether it never ends through PlexSync."""
        return self.touched or not self.ours


@dataclass(frozen=True)
class CollectionRename:
    """A collection that PlexSync renamed; both names are folded."""

    book: CollectionBook
    old: str
    new: str


@dataclass
class Round:
    """What concerns the scenes since the last check."""

    told: set[int] = field(default_factory=set)
    """Scenes of which a hook told."""
    changed: set[int] = field(default_factory=set)
    """Scenes that were saved, or changed without a hook."""
    waiting: set[int] = field(default_factory=set)
    """Scenes of which a hook told since the last run, and whose every change it told."""
    pending: set[int] = field(default_factory=set)
    """Scenes of which a hook told since the last run."""
    swept: bool = False
    """Whether *Sync all scenes* ran."""
    resynced: set[int] = field(default_factory=set)
    faults: bool = False
    turned: set[str] = field(default_factory=set)
    """Settings that changed."""
    renames: dict[str, str] = field(default_factory=dict)
    """Folded names of studios and groups with their new names."""


class World:
    """Both simulators, PlexSync's worker, and the numbers by which steps name scenes and items."""

    def __init__(
        self, folder: Path, stash: StashSimulator, plex: PlexSimulator, clock: FakeClock
    ) -> None:
        self.stash, self.plex, self.clock = stash, plex, clock
        self.harness = WorkerHarness(folder, plex, stash, clock)
        self.harness.take_long_steps()
        self.movies: PlexLibrary = self.harness.library
        self.copies = plex.add_library("Copies", ["/more", "/media"])
        self.settings = dict(DEFAULTS)
        self.mappings = MAPPINGS
        stash.library.folders = ["/data", "/data2", "/elsewhere"]
        self.scenes: dict[int, int] = {}
        self.items: dict[int, int] = {}
        self.installed = False
        self.old: set[int] = set()
        """Scenes from before the installation that were not saved since."""
        self.late_items: set[int] = set()
        """Items that came after the installation."""
        self.ignored: set[int] = set()
        self.late_resyncs: set[int] = set()
        """Scenes whose *Re-sync scene* may wait still, for Plex or for an item of their own."""
        self.renamed: dict[str, str] = {}
        """Folded names of tags, people, studios and groups, each with its name after a rename."""
        self.collections: dict[int, CollectionBook] = {}
        self.collection_renames: list[CollectionRename] = []
        self.ended: list[CollectionBook] = []
        """Protected collections that PlexSync ended."""
        self.choices: dict[int, dict[int, tuple[str, ...]]] = {}
        """Per scene the chosen items, each with the files that it had then."""
        self.vanished: dict[int, tuple[PlexLibrary, str, int, dict[str, Any]]] = {}
        self.round = Round()
        self.writes: list[Written] = []
        self.note: Callable[[Touched], None] = lambda touched: None
        self.shown: dict[int, Snapshot] = {}
        plex.settings.after_edit = self._edited
        self.configure()
        self.round = Round()

    # --- what exists

    def all_scenes(self) -> list[Scene]:
        return self.stash.library.scenes()

    def all_items(self) -> list[PlexItem]:
        return [item for library in self.plex.libraries for item in self.plex.items(library)]

    def scene(self, slot: int) -> Scene | None:
        return self.stash.library.find_scene(self.scenes.get(slot, 0))

    def item(self, slot: int) -> PlexItem | None:
        key = self.items.get(slot)
        return next((item for item in self.all_items() if item.rating_key == key), None)

    def snapshots(self) -> dict[int, Snapshot]:
        return {item.rating_key: Snapshot.of(item) for item in self.all_items()}

    def came_later(self, rating_key: int) -> set[int]:
        """Return the old scenes that may be synced with an item, as it came later than they."""
        return self.old if rating_key in self.late_items else set()

    def switch(self, name: str) -> bool:
        """Return whether PlexSync writes a field."""
        return bool(self.settings[SWITCHES[name]])

    def left_out(self, scene: Scene) -> bool:
        """Return whether the user or a setting leaves a scene out."""
        return scene.id in self.ignored or bool(
            self.settings["only_organized"] and not scene.organized
        )

    def new_round(self) -> None:
        self.round = Round()

    # --- settings

    def configure(self, **changes: Any) -> None:
        self.round.turned |= {
            name for name, value in changes.items() if self.settings.get(name) != value
        }
        self.settings |= changes
        self.round.waiting.clear()
        self.round.resynced.clear()
        mappings = "; ".join(f"{ours} => {theirs}" for ours, theirs in self.mappings)
        self.harness.configure(**{**self.settings, "path_mappings": mappings})

    # --- Stash

    def save(self, scene: Scene, told: bool, **fields: Any) -> None:
        """Change a scene in Stash, with or without a hook that tells PlexSync."""
        self.old.discard(scene.id)
        self.round.changed.add(scene.id)
        if told:
            self.round.told.add(scene.id)
            self.round.waiting.add(scene.id)
            self.round.pending.add(scene.id)
            self.harness.edit(scene, **fields)
        else:
            self.round.waiting.discard(scene.id)
            self.stash.change_silently(scene.id, **fields)

    def rename(self, kind: str, entity_id: int, name: str) -> None:
        """Rename a tag, performer, studio or group; no hook tells of it."""
        before = self.stash.library.shelf(kind).get(entity_id).name
        self.stash.rename_silently(kind, entity_id, name)
        self.renamed[fold(before)] = fold(name)
        if kind in ("studio", "group"):
            renames = self.round.renames
            first = next((old for old, new in renames.items() if new == fold(before)), fold(before))
            renames[first] = fold(name)
        self.round.waiting.clear()

    def former_names(self, name: str) -> set[str]:
        """Return the folded names that a name had before renames."""
        return {old for old, new in self.renamed.items() if new == name}

    # --- Plex

    def _edited(self, item: PlexItem, names: frozenset[str]) -> None:
        self.look(ours=True)
        before, after = self.shown[item.rating_key], Snapshot.of(item)
        self.shown[item.rating_key] = after
        self.writes.append(Written(item.rating_key, names, before, after, self.clock.now))

    def look(self, *, ours: bool) -> None:
        """Note which collections came, went or have another title; by PlexSync or by others."""
        shown = {
            collection.rating_key: collection
            for library in self.plex.libraries
            for collection in library.collections.values()
        }
        for key in [key for key in self.collections if key not in shown]:
            book = self.collections.pop(key)
            if ours and book.is_protected:
                self.ended.append(book)
        for key, collection in shown.items():
            title, library = collection.title, collection.library.key
            known = self.collections.setdefault(key, CollectionBook(library, title, ours))
            if known.title != title:
                self._renamed(known, title, ours)

    def _renamed(self, book: CollectionBook, title: str, ours: bool) -> None:
        rename = CollectionRename(book, fold(book.title), fold(title))
        book.title = title
        if not ours:
            book.touched = True
            return
        self.collection_renames.append(rename)
        library = next(one for one in self.plex.libraries if one.key == book.library)
        for item in self.plex.items(library):
            if item.rating_key in self.shown:
                shown = self.shown[item.rating_key]
                self.shown[item.rating_key] = shown.renamed(rename.old, title)

    def by(self, who: str, item: PlexItem, change: Callable[[], object]) -> None:
        """Let somebody other than PlexSync change an item, and note what came of it."""
        before = Snapshot.of(item)
        self.round.waiting.clear()
        self.round.resynced.clear()
        change()
        self.look(ours=False)
        if item.rating_key in self.shown:
            self.shown[item.rating_key] = Snapshot.of(item)
        self.note(Touched(item.rating_key, who, before, Snapshot.of(item)))

    def person_sets(self, item: PlexItem, name: str, value: str) -> None:
        self.by("person", item, lambda: self.plex.person_sets(item.rating_key, name, value))

    def person_adds(self, item: PlexItem, kind: str, name: str) -> None:
        self.by("person", item, lambda: self.plex.person_adds(item.rating_key, kind, name))

    def person_removes(self, item: PlexItem, kind: str, name: str) -> None:
        self.by("person", item, lambda: self.plex.person_removes(item.rating_key, kind, name))

    def person_selects_poster(self, item: PlexItem, data: bytes) -> None:
        self.by("person", item, lambda: self.plex.person_selects_poster(item.rating_key, data))

    def refresh(self, item: PlexItem) -> None:
        self.by("refresh", item, lambda: self.plex.refresh_item(item.rating_key))

    def added(self, slot: int, item: PlexItem, by: str = "new") -> None:
        """Note a new item."""
        self.items[slot] = item.rating_key
        self.round.resynced.clear()
        self.look(ours=False)
        if self.installed:
            self.late_items.add(item.rating_key)
        shown = Snapshot.of(item)
        self.note(Touched(item.rating_key, by, shown, shown))

    def merge(self, item: PlexItem, other: PlexItem) -> None:
        """Make one item of two, and note it."""
        self.round.resynced.clear()
        self.by("merge", item, lambda: self.plex.merge_items(item.rating_key, [other.rating_key]))

    def split(self, item: PlexItem) -> None:
        """Make an item of each version of one, and note them."""
        made: list[PlexItem] = []
        self.by("merge", item, lambda: made.extend(self.plex.split_item(item.rating_key)))
        for new in made[1:]:
            self.added(int(stem(new.path)), new, "split")

    # --- time and faults

    def lose(self, fault: Fault, method: str, times: int, path: str | None = None) -> None:
        """Let the next requests to Plex fail."""
        self.round.faults = True
        self.plex.faults.add(fault, method=method, times=times, path=path)

    def lose_answer(self, times: int) -> None:
        self.lose(ResetAfter(), "PUT", times)

    def install(self) -> None:
        """Run the first worker, which only records what is there."""
        if not self.installed:
            self.installed = True
            self.old = {scene.id for scene in self.all_scenes()} - self.round.told
            self.harness.new_worker(compares=True)
            self.run(30)

    def run(self, seconds: float) -> None:
        self.install()
        self.shown = self.snapshots()
        self.harness.run_for(seconds)
        self.look(ours=True)

    def restart(self) -> None:
        self.install()
        self.harness.restart()

    def next_day(self) -> None:
        """Let a day pass, and a worker compare all; new settings must have rested until then."""
        self.clock.advance(DAY)
        self.restart()
        self.run(700 if self.round.turned else 100)

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.install()
        self.shown = self.snapshots()
        result = self.harness.command(name, **arguments)
        self.look(ours=True)
        return result

    def heal(self) -> None:
        """End all faults."""
        self.plex.faults.clear()
        self.stash.faults.clear()

    def close(self) -> None:
        self.harness.close()
