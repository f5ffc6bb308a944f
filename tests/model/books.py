"""What the oracle remembers of each item: who set which value, and what Stash said at the time."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.world import LISTS, TEXTS, Snapshot, Touched, Written, fold

Names = frozenset[str]
#: Who put a name into a list: it was there before, PlexSync, a person, or a refresh.
#: MIXED: PlexSync had added it, and a person took it out and added it again.
BEFORE, OURS, PERSON, AGENT, MIXED = "before", "ours", "person", "agent", "mixed"


@dataclass
class TextBook:
    """One text of an item."""

    synced: str | None = None
    """Stash's value at the last check; None: never synced."""
    wrote: str | None = None
    """What PlexSync wrote last, as Plex stored it."""
    replaced: str | None = None
    """The value before PlexSync's last write, if that came after the last check."""
    by_person: bool = False
    """A person changed it after PlexSync's last write."""
    stash_then: str | None = None
    """Stash's value when the person changed it."""
    kept: bool = False
    """It was locked or preserved, and stayed; a save or a setting may replace it later."""
    disturbed: bool = False
    """A refresh, or removing and adding the item, changed it since the last check."""
    renewed: bool = False
    """The item was removed and added, and has not had Stash's value since."""
    unsure: bool = False
    """A run that was not checked may have synced it."""


@dataclass
class ListBook:
    """One list of an item; all names are folded."""

    synced: Names | None = None
    origin: dict[str, str] = field(default_factory=dict)
    taken_out: dict[str, Names | None] = field(default_factory=dict)
    """Names that a person removed, each with Stash's list at the time."""
    touched: set[str] = field(default_factory=set)
    """Names that a person removed or added at any time."""
    lost: dict[str, str] = field(default_factory=dict)
    """Names that a refresh, or removing and adding the item, took out, with their origin."""
    dropped: set[str] = field(default_factory=set)
    """Names that PlexSync removed since the last check."""
    disturbed: bool = False
    renewed: bool = False
    changed_first: bool = False
    """A person changed it after the item was added again, before PlexSync did."""
    unsure: bool = False


@dataclass
class PosterBook:
    """The poster of an item."""

    synced: bytes | None = None
    met: bool = False
    wrote: bytes | None = None
    by_person: bool = False
    stash_then: bytes | None = None
    kept: bool = False
    disturbed: bool = False
    renewed: bool = False
    unsure: bool = False


@dataclass
class ItemBook:
    """All that is remembered of an item."""

    rating_key: int
    paths: tuple[str, ...] = ()
    owner: int | None = None
    """The scene that it was synced with at the last check."""
    former: set[int] = field(default_factory=set)
    """Scenes that it was synced with before."""
    perhaps_met: bool = False
    """A run that was not checked may have synced it with another scene than `owner`."""
    merged: bool = False
    """Others were merged with it, or it was split off."""
    again: bool = False
    """The item was removed and added since the last check."""
    texts: dict[str, TextBook] = field(default_factory=lambda: {name: TextBook() for name in TEXTS})
    lists: dict[str, ListBook] = field(default_factory=lambda: {kind: ListBook() for kind in LISTS})
    poster: PosterBook = field(default_factory=PosterBook)
    wanted_at: dict[str, float] = field(default_factory=dict)
    """When each collection was wanted last by the scene of some item."""
    repairs: dict[str, list[float]] = field(default_factory=dict)
    """When PlexSync wrote a field again without a reason in Stash."""
    repairs_since: dict[str, list[float]] = field(default_factory=dict)
    """The same since the last save or change of a setting."""

    @property
    def met(self) -> bool:
        """Return whether PlexSync has synced the item."""
        return self.owner is not None

    @property
    def is_disturbed(self) -> bool:
        """Return whether a refresh changed something that is not as Stash says yet."""
        return (
            self.poster.disturbed
            or any(text.disturbed for text in self.texts.values())
            or any(book.disturbed for book in self.lists.values())
        )

    def repaired_by(self, write: Written) -> set[str]:
        """Return the fields that a request wrote again without a reason in Stash."""
        again = {
            name
            for name, text in self.texts.items()
            if text.disturbed and write.before.texts[name] != write.after.texts[name]
            if text.synced == write.after.texts[name]
        }
        for kind, book in self.lists.items():
            added = _folded(write.after.lists[kind]) - _folded(write.before.lists[kind])
            if added and added <= set(book.lost) and added <= (book.synced or set()):
                again.add(kind)
        changed = write.before.poster != write.after.poster
        if changed and self.poster.disturbed and self.poster.synced == write.after.poster:
            again.add("thumb")
        return again

    def repaired(self, name: str, at: float) -> None:
        self.repairs.setdefault(name, []).append(at)
        self.repairs_since.setdefault(name, []).append(at)

    def first_shown(self, shown: Snapshot) -> None:
        """Note what a new item shows."""
        for kind, book in self.lists.items():
            book.origin = {fold(name): BEFORE for name in shown.lists[kind]}

    def follow(self, old: ItemBook, shown: Snapshot) -> None:
        """Take over what is known of the item that had the same file."""
        self.owner, self.former, self.again = old.owner, set(old.former), True
        self.merged = self.merged or old.merged
        self.perhaps_met = old.perhaps_met
        for name, book in self.texts.items():
            before = old.texts[name]
            book.synced, book.wrote = before.synced, before.wrote
            book.disturbed = book.renewed = True
            book.unsure = before.unsure or before.by_person
        for kind, names in self.lists.items():
            was = old.lists[kind]
            names.synced, names.unsure = was.synced, was.unsure
            names.disturbed = names.renewed = True
            names.origin = {fold(name): AGENT for name in shown.lists[kind]}
            names.taken_out, names.touched = dict(was.taken_out), set(was.touched)
            names.lost = {
                name: origin for name, origin in was.origin.items() if name not in names.origin
            }
        poster, last = self.poster, old.poster
        poster.synced, poster.met, poster.wrote = last.synced, last.met, last.wrote
        poster.disturbed = poster.renewed = True
        poster.unsure = last.unsure or last.by_person

    def touched(
        self, change: Touched, texts: dict[str, str], lists: dict[str, Names], cover: bytes | None
    ) -> None:
        """Note a change by a person or a refresh; the others are Stash's values."""
        person = change.by == "person"
        for name, text in self.texts.items():
            if change.before.texts[name] != change.after.texts[name]:
                text.disturbed = text.disturbed or not person
                if person:
                    text.by_person, text.stash_then = True, texts.get(name)
                else:
                    text.by_person = False
        for kind, book in self.lists.items():
            before, after = _folded(change.before.lists[kind]), _folded(change.after.lists[kind])
            book.disturbed = book.disturbed or (before != after and not person)
            for name in after - before:
                mixed = name in book.taken_out or name in book.lost
                book.origin[name] = (MIXED if mixed else PERSON) if person else AGENT
                book.taken_out.pop(name, None)
                book.lost.pop(name, None)
            for name in before - after:
                origin = book.origin.pop(name, BEFORE)
                if person:
                    book.taken_out[name] = lists.get(kind)
                else:
                    book.lost[name] = origin
            if person and before != after:
                book.touched |= before ^ after
                book.changed_first = book.changed_first or book.renewed
                # PlexSync can't see any more whether the refresh or the person took them out.
                book.lost = dict.fromkeys(book.lost, MIXED) if not book.renewed else book.lost
        if change.before.poster != change.after.poster:
            self.poster.by_person, self.poster.stash_then = person, cover
            self.poster.disturbed = self.poster.disturbed or not person

    def written(self, write: Written) -> None:
        """Note what PlexSync wrote."""
        for name, text in self.texts.items():
            if write.before.texts[name] != write.after.texts[name]:
                text.wrote, text.by_person = write.after.texts[name], False
                text.replaced = write.before.texts[name]
                text.kept = text.renewed = False
        for kind, book in self.lists.items():
            before, after = _folded(write.before.lists[kind]), _folded(write.after.lists[kind])
            if before != after:
                book.changed_first = False
            for name in after - before:
                book.origin[name] = OURS
                book.taken_out.pop(name, None)
                book.lost.pop(name, None)
                book.dropped.discard(name)
            for name in before - after:
                book.origin.pop(name, None)
                book.dropped.add(name)
        if "thumb" in write.names:
            self.poster.wrote, self.poster.by_person = write.after.poster, False
            self.poster.kept = self.poster.renewed = False

    def collection_renamed(self, old: str, new: str) -> None:
        """Note that a collection has another title."""
        book = self.lists["collection"]
        for names in (book.origin, book.lost):
            if old in names:
                names[new] = names.pop(old)
        if old in book.taken_out:
            book.taken_out[new] = book.taken_out.pop(old)

    def checked(self) -> None:
        """Forget what mattered only until a check."""
        self.again = False
        for text in self.texts.values():
            text.unsure, text.replaced = False, None
        for book in self.lists.values():
            book.unsure = False
            book.dropped.clear()
        self.poster.unsure = False


def _folded(names: tuple[str, ...]) -> Names:
    return frozenset(fold(name) for name in names)
