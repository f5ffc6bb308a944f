"""What the rules say of one value: write it, keep it, or README leaves it open."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tests.model.books import ItemBook, ListBook, Names, TextBook
from tests.model.which import stems
from tests.model.world import DAY, LISTS, WEEK, Snapshot, World, fold
from tests.simulators.stash import Scene


class Verdict(Enum):
    """What PlexSync must do with a value."""

    WRITE = "must be written"
    KEEP = "must stay"
    OPEN = "README leaves it open"


class Ruling(NamedTuple):
    """A verdict and the rule that gives it."""

    verdict: Verdict
    rule: str


WRITE, KEEP, OPEN = Verdict.WRITE, Verdict.KEEP, Verdict.OPEN


@dataclass(frozen=True)
class Want:
    """What Stash says of a scene, in Plex's terms."""

    texts: dict[str, str]
    lists: dict[str, dict[str, str]]
    """Names by their folded form."""
    cover: bytes | None
    stems: frozenset[str]
    open_names: Names = frozenset()
    """Collections of which README leaves open whether they are wanted."""

    def names(self, kind: str) -> Names:
        return frozenset(self.lists[kind])

    @property
    def all_names(self) -> dict[str, Names]:
        return {kind: self.names(kind) for kind in LISTS}


@dataclass(frozen=True)
class Meeting:
    """A scene and its item before a run."""

    world: World
    scene: Scene
    want: Want
    now: Snapshot
    book: ItemBook
    last_in: dict[str, Verdict] = field(default_factory=dict)
    """Folded names of protected collections whose last item this is or may be."""

    def after_a_refresh(self, name: str) -> Ruling:
        """Return the verdict for a field that a refresh, or adding the item again, changed.

        At once, then not before a day, then not before a week has passed, then no more; and
        whenever the scene is saved. With `repair_drift` off: only then.
        """
        rule = "a refresh changed it"
        if self.scene.id in self.world.round.pending:
            return Ruling(WRITE, f"{rule}, and the scene was saved")
        if self.changed or self.world.round.swept or self.world.round.turned:
            return Ruling(OPEN, rule)
        if not self.repair:
            return Ruling(KEEP, f"{rule}: repair_drift is off")
        now = self.world.clock.now
        verdicts = {
            repair(times.get(name, []), now)
            for times in (self.book.repairs, self.book.repairs_since)
        }
        return Ruling(verdicts.pop() if len(verdicts) == 1 else OPEN, rule)

    def perhaps_lost(self, book: TextBook | ListBook) -> bool:
        """Return whether a value may have arrived, and Plex have changed it then.

        With `repair_drift` off it stays away then, until the scene is saved.
        """
        if self.repair or self.scene.id in self.world.round.pending:
            return False
        return book.unsure and book.disturbed

    @property
    def known(self) -> bool:
        """Return whether PlexSync has synced this scene with this item."""
        return self.book.owner == self.scene.id

    def of_another_scene(self, *_: str) -> Ruling | None:
        """Say that README leaves open what an item has of the scene that it was before."""
        if self.book.merged:
            return Ruling(OPEN, "the item was merged, or split off")
        if self.book.owner in (None, self.scene.id):
            return None
        return Ruling(OPEN, "the item was another scene's")

    @property
    def saved(self) -> bool:
        return self.scene.id in self.world.round.told

    @property
    def changed(self) -> bool:
        return self.scene.id in self.world.round.changed

    @property
    def turned(self) -> bool:
        """Return whether a setting changed that may let PlexSync write more."""
        return "preserve_plex_edits" in self.world.round.turned

    @property
    def resynced(self) -> bool:
        return self.scene.id in self.world.round.resynced

    @property
    def resyncs_late(self) -> bool:
        """Return whether a *Re-sync scene* may come before or after what was changed since."""
        return self.scene.id in self.world.late_resyncs

    @property
    def preserve(self) -> bool:
        return bool(self.world.settings["preserve_plex_edits"])

    @property
    def repair(self) -> bool:
        return bool(self.world.settings["repair_drift"])


def next_repair(times: list[float]) -> float | None:
    """Return when a field may be written again after these repairs; None: no more."""
    if not times:
        return 0.0
    if len(times) > 2:
        return None
    return times[-1] + (DAY, WEEK)[len(times) - 1]


def repair(times: list[float], now: float) -> Verdict:
    """Return whether a field must be written again in a run that begins now."""
    due = next_repair(times)
    if due is None:
        return KEEP
    return WRITE if due <= now else OPEN


def want_of(world: World, scene: Scene) -> Want:
    """Return what Stash says, as Plex will store it."""
    library = world.stash.library
    date = scene.date or ""
    studio = library.studios.get(scene.studio_id).name if scene.studio_id else ""
    groups = [library.groups.get(group_id).name for group_id, _ in scene.group_ids]
    rating = "" if scene.rating100 is None else str(scene.rating100 / 10)
    texts = {
        "title": scene.title,
        "summary": scene.details,
        "studio": studio,
        "originallyAvailableAt": date if len(date) == len("YYYY-MM-DD") else "",
        "year": date[:4],
        "userRating": rating,
    }
    text = world.plex.settings.normalize.text
    lists = {
        "genre": [library.tags.get(tag_id).name for tag_id in scene.tag_ids],
        "actor": [library.performers.get(one).name for one in scene.performer_ids],
        "director": [scene.director] if scene.director else [],
        "collection": [*groups, *filter(None, [studio])],
    }
    open_names = set()
    if studio and studio not in groups and not world.settings["sync_studio"]:
        open_names.add(fold(studio))
    return Want(
        {name: text(name, value) if value else "" for name, value in texts.items()},
        {kind: {fold(name): name for name in names} for kind, names in lists.items()},
        scene.cover,
        frozenset(text("title", stem) for stem in stems(scene)),
        frozenset(open_names),
    )
