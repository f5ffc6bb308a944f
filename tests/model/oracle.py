"""The oracle: keeps books of its own, and compares what PlexSync did with README's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.model.books import OURS, ItemBook, ListBook, Names, PosterBook, TextBook
from tests.model.lists import ListRules
from tests.model.posters import PosterRules
from tests.model.rulings import (
    KEEP,
    OPEN,
    WRITE,
    Meeting,
    Ruling,
    Verdict,
    Want,
    next_repair,
    want_of,
)
from tests.model.texts import TextRules
from tests.model.which import Finder
from tests.model.world import (
    DAY,
    LISTS,
    TEXTS,
    CollectionRename,
    Snapshot,
    Touched,
    World,
    Written,
    fold,
)

SLACK = 60.0
"""Seconds between a decision and a write."""
_KIND = "collection"


class BrokenRule(Exception):
    """PlexSync did not do what README says."""

    def __init__(self, check: str, what: str, ruling: str = "") -> None:
        super().__init__(f"{check}: {what}: {ruling}")
        self.check, self.what, self.ruling = check, what, ruling

    @property
    def rule(self) -> str:
        """Return the check and README's rule."""
        return f"{self.check} ({self.ruling})" if self.ruling else self.check


@dataclass
class Verdicts:
    """All rulings for one scene and one item, made before a run."""

    meeting: Meeting
    texts: dict[str, Ruling]
    lists: dict[str, dict[str, Ruling]]
    poster: Ruling

    @staticmethod
    def of(meeting: Meeting) -> Verdicts:
        return Verdicts(
            meeting,
            {name: TextRules(meeting, name).ruling() for name in TEXTS},
            {kind: ListRules(meeting, kind).rulings() for kind in LISTS},
            PosterRules(meeting).ruling(),
        )


@dataclass
class Before:
    """The state before a run, and what the rules say of it."""

    shown: dict[int, Snapshot]
    must: dict[int, int]
    """The scene that must write each item."""
    verdicts: dict[int, list[Verdicts]]
    """Per item, those of each scene that may write it."""
    renames: dict[int, str] = field(default_factory=dict)
    """Collections that must be renamed."""
    renamed: set[str] = field(default_factory=set)
    """Folded names of the collections that were renamed in the run."""
    ends: dict[int, frozenset[str]] = field(default_factory=dict)
    """Per item, the collections of PlexSync's of which it is the last one, and unwanted there."""
    written: set[int] = field(default_factory=set)
    """Items that were written in the run."""
    late: dict[int, frozenset[str]] = field(default_factory=dict)
    """Per item, the collections that it may leave only after another day."""


@dataclass
class Oracle:
    """Judges a world's runs."""

    world: World
    books: dict[int, ItemBook] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    """Checks that are left out."""
    seen: Counter[str] = field(default_factory=Counter)
    """How often each rule decided something."""
    _gone: list[ItemBook] = field(default_factory=list)
    _running: Before | None = None
    """The rulings for a run in which a person may change items."""
    _read: int = 0
    """The number of requests that were judged."""

    def __post_init__(self) -> None:
        self.finder = Finder(self.world)
        self.world.note = self.note

    # --- what happens outside PlexSync

    def note(self, touched: Touched) -> None:
        """Enter a change by a person or a refresh, or a new item, into the books."""
        if touched.by in ("new", "split"):
            self._meet(touched)
            return
        if touched.by == "merge":
            self._note_paths(touched.rating_key)
            return
        if self._running is not None:
            self._judge(self._running)
            self._note_synced(self._running)
        book = self.books[touched.rating_key]
        want = self._stash_says(touched.rating_key)
        if want is None:
            book.touched(touched, {}, {}, None)
        else:
            book.touched(touched, want.texts, want.all_names, want.cover)
        if self._running is not None:
            self._rule_again(self._running)

    def _note_paths(self, rating_key: int) -> None:
        """Note that an item has other files, and that others may be gone."""
        self._forget_gone()
        item = self.world.plex.item(rating_key)
        book = self.books[rating_key]
        book.paths, book.merged = tuple(item.paths), True

    def _forget_gone(self) -> None:
        known = {one.rating_key for one in self.world.all_items()}
        for key in [key for key in self.books if key not in known]:
            self._gone.append(self.books.pop(key))

    def _note_synced(self, before: Before) -> None:
        """Note what a run has brought, before a person changes some of it."""
        now = self.world.snapshots()
        for key, all_verdicts in before.verdicts.items():
            for one in all_verdicts:
                is_whole = key in before.must and key in before.written and _is_right(one, now[key])
                (self._synced if is_whole else self._perhaps_synced)(self.books[key], one)

    def _rule_again(self, before: Before) -> None:
        """Make the rulings for the rest of a run, as a person changed something meanwhile."""
        new = self.before()
        before.shown, before.verdicts, before.must = new.shown, new.verdicts, new.must
        before.ends, before.late = new.ends, new.late

    def _meet(self, touched: Touched) -> None:
        item = next(one for one in self.world.all_items() if one.rating_key == touched.rating_key)
        book = self.books[item.rating_key] = ItemBook(item.rating_key, tuple(item.paths))
        book.first_shown(touched.after)
        self._forget_gone()
        for old in reversed(self._gone):
            if set(old.paths) & set(book.paths):
                book.merged = touched.by == "split"
                book.follow(old, touched.after)
                break

    def _stash_says(self, rating_key: int) -> Want | None:
        """Return what Stash says of the scene that an item was or will be synced with."""
        must, _ = self._writers()
        scene_id = self.books[rating_key].owner or must.get(rating_key)
        scene = self.world.stash.library.find_scene(scene_id or 0)
        return None if scene is None else want_of(self.world, scene)

    def _writers(self) -> tuple[dict[int, int], dict[int, set[int]]]:
        self.finder.owners = {key: book.owner for key, book in self.books.items()}
        self.finder.unsure = {key for key, book in self.books.items() if book.perhaps_met}
        must, may = self.finder.writers()
        for key, scene_id in list(must.items()):
            if scene_id in self.world.old:
                del must[key]
        for key, scenes in may.items():
            scenes -= self.world.old - self.world.came_later(key)
        return must, may

    def is_steady(self, scene_id: int) -> bool:
        """Return whether a scene's item is the one that it was synced with."""
        must, _ = self._writers()
        keys = [key for key, one in must.items() if one == scene_id]
        return bool(keys) and all(
            self.books[key].owner == scene_id and not self.books[key].again for key in keys
        )

    # --- a run

    def begin(self) -> Before:
        """Make all rulings before a run; a person may change items in it."""
        self._running = self.before()
        return self._running

    def before(self) -> Before:
        """Make all rulings for what is there now."""
        must, may = self._writers()
        shown = self.world.snapshots()
        scenes_of_items = [self.world.stash.scene(scene_id) for scene_id in must.values()]
        wanted = frozenset(
            name for scene in scenes_of_items for name in want_of(self.world, scene).names(_KIND)
        )
        last = {key: self._last_in(key, wanted) for key in shown}
        verdicts = {
            key: [
                Verdicts.of(self._meeting(key, scene_id, shown[key], last[key]))
                for scene_id in scenes
            ]
            for key, scenes in may.items()
        }
        for book in self.books.values():
            book.wanted_at.update(dict.fromkeys(wanted, self.world.clock.now))
        ends = {key: self._ends_of(key) - wanted for key in shown}
        late = {
            key: frozenset(name for name, verdict in names.items() if verdict is OPEN)
            for key, names in last.items()
        }
        return Before(shown, must, verdicts, self._renames_due(must), ends=ends, late=late)

    def _meeting(
        self, key: int, scene_id: int, now: Snapshot, last_in: dict[str, Verdict]
    ) -> Meeting:
        scene = self.world.stash.scene(scene_id)
        want = want_of(self.world, scene)
        return Meeting(self.world, scene, want, now, self.books[key], last_in)

    def _last_in(self, key: int, wanted: Names) -> dict[str, Verdict]:
        """Return the collections whose last item this is, or may be.

        It stays in a protected one (KEEP); it leaves one of PlexSync's after two full passes, a
        day apart (OPEN, as are all in which it is not certain to be the last).

        Args:
            wanted: the collections that scenes want now; another item may join them in this run.
        """
        last: dict[str, Verdict] = {}
        for name, (is_protected, others) in self._collections_of(key).items():
            if not others:
                last[name] = KEEP if is_protected and name not in wanted else OPEN
            elif all(self._may_leave(other, name) for other in others):
                last[name] = OPEN
        return last

    def _ends_of(self, key: int) -> frozenset[str]:
        """Return the collections of PlexSync's whose only item this is."""
        return frozenset(
            name
            for name, (is_protected, others) in self._collections_of(key).items()
            if not (is_protected or others)
        )

    def _collections_of(self, key: int) -> dict[str, tuple[bool, list[int]]]:
        """Return an item's collections: whether each is protected, and its other items."""
        item = self.world.plex.item(key)
        found = {}
        for name in item.collections:
            collection = self.world.plex.collection(item.library, name)
            assert collection is not None
            others = [
                other.rating_key
                for other in self.world.plex.items(item.library)
                if other is not item and fold(name) in {fold(one) for one in other.collections}
            ]
            is_protected = self.world.collections[collection.rating_key].is_protected
            found[fold(name)] = (is_protected, others)
        return found

    def _may_leave(self, key: int, name: str) -> bool:
        return self.books[key].lists["collection"].origin.get(name) == OURS

    def _renames_due(self, must: dict[int, int]) -> dict[int, str]:
        """Return the collections that must be renamed: their rating keys and new folded titles."""
        due: dict[int, str] = {}
        if not self.world.switch("collection"):
            return due
        wants = {
            key: want_of(self.world, self.world.stash.scene(scene_id)).lists["collection"]
            for key, scene_id in must.items()
        }
        for key, book in self.world.collections.items():
            old = fold(book.title)
            new = self.world.round.renames.get(old, old)
            library = next(one for one in self.world.plex.libraries if one.key == book.library)
            members = [
                item.rating_key
                for item in self.world.plex.items(library)
                if old in {fold(name) for name in item.collections}
            ]
            taken = self.world.plex.collection(library, new) is not None
            if new == old or not book.ours or taken or any(old in want for want in wants.values()):
                continue
            if any(new in wants.get(one, {}) and self._may_leave(one, old) for one in members):
                due[key] = new
        return due

    def after(self, before: Before, *, checked: bool, only: frozenset[int] | None = None) -> None:
        """Judge a run.

        Args:
            checked: whether all must have arrived.
            only: the scenes that must have arrived; default: all.
        """
        self._judge(before)
        self._running = None
        if checked:
            self._arrived(before, only)
        self._enter(before, checked, only)

    def _judge(self, before: Before) -> None:
        """Judge what was written since the last time."""
        writes = self.world.writes[self._read :]
        self._read = len(self.world.writes)
        self._collections(before)
        for write in writes:
            self._safe(before, write)
        for write in writes:
            self.books[write.rating_key].written(write)
            before.written.add(write.rating_key)

    # --- nothing wrong is written

    def _safe(self, before: Before, write: Written) -> None:
        verdicts = before.verdicts.get(write.rating_key, [])
        for check in (
            self.no_wrong_item,
            self.no_text_lost,
            self.no_name_lost,
            self.no_poster_lost,
            self.collections_end_late,
            self.locks,
            self.not_twice,
            self.repairs,
        ):
            self._run(check, before, write, verdicts)

    def _run(self, check: Callable[..., None], *arguments: object) -> None:
        try:
            check(*arguments)
        except BrokenRule as broken:
            if not self.off & {broken.check, broken.ruling, broken.rule}:
                raise

    def no_wrong_item(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """An item is written only by a scene that the rules make certain."""
        if verdicts:
            return
        reasons = [
            f"scene {scene.id}: {self.finder.of_scene(scene).why}"
            for scene in self.world.all_scenes()
        ]
        raise BrokenRule(
            "no_wrong_item", f"item {write.rating_key} was written: {changes(write)}; {reasons}"
        )

    def no_text_lost(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """A text is written only where the rules let it, and only with Stash's value."""
        for name in TEXTS:
            was, new = write.before.texts[name], write.after.texts[name]
            if was == new:
                continue
            rulings = [one.texts[name] for one in verdicts]
            self._may_change("no_text_lost", f"{name} {was!r} became {new!r}", write, rulings)
            rights = {value for one in verdicts for value in TextRules(one.meeting, name).right}
            if new not in rights:
                raise BrokenRule(
                    "no_text_lost", f"item {write.rating_key}: {name} is {new!r}, not {rights}"
                )

    def no_name_lost(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """A name is added or removed only where the rules let it."""
        for kind in LISTS:
            was = {fold(name) for name in write.before.lists[kind]}
            new = {fold(name) for name in write.after.lists[kind]}
            for name in sorted(was ^ new):
                wanted = [one for one in verdicts if name in one.meeting.want.lists[kind]]
                what = f"{kind} {name!r} was {'added' if name in new else 'removed'}"
                if name in new and not wanted:
                    raise BrokenRule(
                        "no_name_lost",
                        f"item {write.rating_key}: {what}, not of Stash",
                        "the former name" if name in self.world.renamed else "a name of nobody",
                    )
                rulings = [one.lists[kind][name] for one in verdicts if name in one.lists[kind]]
                had = {fold(each) for each in self._had(before, write, kind)} | before.renamed
                if name in new and name in had:
                    continue  # taken out and put back within the run
                self._may_change("no_name_lost", what, write, rulings)

    def _had(self, before: Before, write: Written, kind: str) -> tuple[str, ...]:
        shown = before.shown.get(write.rating_key)
        return () if shown is None else shown.lists[kind]

    def no_poster_lost(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """A poster is uploaded only where the rules let it, and only the scene's cover."""
        if "thumb" not in write.names or write.before.poster == write.after.poster:
            return
        self._may_change("no_poster_lost", "the poster", write, [one.poster for one in verdicts])
        if write.after.poster not in [one.meeting.want.cover for one in verdicts]:
            raise BrokenRule("no_poster_lost", f"item {write.rating_key}: not the cover")

    def _may_change(self, check: str, what: str, write: Written, rulings: list[Ruling]) -> None:
        if rulings and all(ruling.verdict is KEEP for ruling in rulings):
            rules = " / ".join(sorted({ruling.rule for ruling in rulings}))
            raise BrokenRule(check, f"item {write.rating_key}: {what}", rules)

    def locks(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """`lock_fields` locks written fields; no lock is ever taken away."""
        gone = write.before.locked - write.after.locked
        if gone:
            raise BrokenRule("locks", f"item {write.rating_key}: {sorted(gone)} unlocked")
        new = write.after.locked - write.before.locked - {"thumb"}
        if new and not self.world.settings["lock_fields"]:
            raise BrokenRule("locks", f"item {write.rating_key}: {sorted(new)} locked")
        changed = {
            *(n for n in TEXTS if write.before.texts[n] != write.after.texts[n]),
            *(k for k in LISTS if write.before.lists[k] != write.after.lists[k]),
        } - {"userRating"}
        free = changed - write.after.locked
        if free and self.world.settings["lock_fields"]:
            raise BrokenRule("locks", f"item {write.rating_key}: {sorted(free)} not locked")

    def not_twice(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """A request that changes nothing is not sent."""
        if self.world.round.faults or write.before != write.after:
            return
        if self.world.round.resynced or self.world.late_resyncs:
            return
        raise BrokenRule("not_twice", f"item {write.rating_key}: {sorted(write.names)} again")

    def repairs(self, before: Before, write: Written, verdicts: list[Verdicts]) -> None:
        """What a refresh overwrote is written again at once, after a day, after a week."""
        book = self.books[write.rating_key]
        unclear = any(one.meeting.changed for one in verdicts) or self.world.round.swept
        for name in sorted(book.repaired_by(write)):
            due = 0.0 if unclear else next_repair(book.repairs_since.get(name, []))
            book.repaired(name, write.at)
            if due is None or write.at < due - SLACK:
                raise BrokenRule(
                    "repairs", f"item {write.rating_key}: {name} again at {book.repairs[name]}"
                )

    # --- collections

    def _collections(self, before: Before) -> None:
        self._run(self.collections_stay)
        for rename in self.world.collection_renames:
            self._run(self.collections_renamed_rightly, rename)
            before.renamed.add(rename.old)
            for key, book in self.books.items():
                if self.world.plex.item(key).library.key == rename.book.library:
                    book.collection_renamed(rename.old, rename.new)
            for shown in [before.shown]:
                for key, one in shown.items():
                    if self.world.plex.item(key).library.key == rename.book.library:
                        shown[key] = one.renamed(rename.old, rename.book.title)
        self.world.collection_renames.clear()

    def collections_stay(self) -> None:
        """A collection that PlexSync did not create, or that a person changed, never ends."""
        ended, self.world.ended = self.world.ended, []
        if ended:
            raise BrokenRule("collections_stay", f"{[book.title for book in ended]} ended")

    def collections_end_late(self, before: Before, write: Written, *_: object) -> None:
        """The last item leaves a collection of PlexSync's a day after it was wanted there."""
        was, new = (
            {fold(name) for name in one.lists[_KIND]} for one in (write.before, write.after)
        )
        for name in (was - new) & before.ends.get(write.rating_key, frozenset()):
            if write.at - self.books[write.rating_key].wanted_at.get(name, -DAY) < DAY:
                raise BrokenRule("collections_end_late", f"{name} ended at once")

    def collections_renamed_rightly(self, rename: CollectionRename) -> None:
        """Only a collection that PlexSync created is renamed, as its studio or group was."""
        if self.world.renamed.get(rename.old) != rename.new:
            raise BrokenRule("collections_renamed_rightly", f"{rename.old} became {rename.new}")
        if not rename.book.ours:
            raise BrokenRule("collections_renamed_rightly", f"{rename.old} is a person's")

    def collections_renamed(self, key: int, title: str) -> None:
        """A collection of PlexSync's is renamed with its studio or group."""
        book = self.world.collections.get(key)
        if book is None or fold(book.title) != title:
            raise BrokenRule("collections_renamed", f"the collection did not become {title!r}")

    # --- everything arrives

    def _arrived(self, before: Before, only: frozenset[int] | None) -> None:
        now = self.world.snapshots()
        for key, scene_id in sorted(before.must.items()):
            if only is not None and scene_id not in only:
                continue
            (verdicts,) = before.verdicts[key]
            for check in (self.texts_arrive, self.names_arrive, self.posters_arrive):
                self._run(check, key, verdicts, now[key])
        for key, title in before.renames.items():
            if only is None:
                self._run(self.collections_renamed, key, title)
        for key, shown in now.items():
            if key not in before.verdicts and key in before.shown:
                self._run(self.untouched, key, before.shown[key], shown)

    def texts_arrive(self, key: int, verdicts: Verdicts, now: Snapshot) -> None:
        """A changed text arrives."""
        for name, ruling in verdicts.texts.items():
            self.seen[f"{ruling.verdict.name} text: {ruling.rule}"] += 1
            rules = TextRules(verdicts.meeting, name)
            shown, was = now.texts[name], verdicts.meeting.now.texts[name]
            if ruling.verdict is WRITE and shown not in rules.right:
                raise BrokenRule(
                    "texts_arrive",
                    f"scene {verdicts.meeting.scene.id}, item {key}: {name} is {shown!r}, "
                    f"must be {rules.want!r}",
                    ruling.rule,
                )
            if ruling.verdict is KEEP and shown != was:
                raise BrokenRule(
                    "texts_arrive", f"item {key}: {name} changed from {was!r}", ruling.rule
                )

    def names_arrive(self, key: int, verdicts: Verdicts, now: Snapshot) -> None:
        """An added name arrives, and a removed one leaves."""
        for kind, rulings in verdicts.lists.items():
            shown = {fold(name) for name in now.lists[kind]}
            for name, ruling in rulings.items():
                self.seen[f"{ruling.verdict.name} name: {ruling.rule}"] += 1
                wanted = name in verdicts.meeting.want.lists[kind]
                if ruling.verdict is WRITE and (name in shown) is not wanted:
                    state = "missing" if wanted else "still there"
                    raise BrokenRule(
                        "names_arrive",
                        f"scene {verdicts.meeting.scene.id}, item {key}: "
                        f"{kind} {name!r} is {state}",
                        ruling.rule,
                    )

    def posters_arrive(self, key: int, verdicts: Verdicts, now: Snapshot) -> None:
        """A new cover arrives."""
        ruling = verdicts.poster
        self.seen[f"{ruling.verdict.name} poster: {ruling.rule}"] += 1
        if ruling.verdict is WRITE and now.poster != verdicts.meeting.want.cover:
            raise BrokenRule(
                "posters_arrive",
                f"scene {verdicts.meeting.scene.id}, item {key}: not its cover",
                ruling.rule,
            )

    def untouched(self, key: int, was: Snapshot, now: Snapshot) -> None:
        """An item of no certain scene stays as it is."""
        if was != now:
            raise BrokenRule("untouched", f"item {key} changed from {was} to {now}")

    def quiet(self, before: Sequence[Before], turned: bool) -> None:
        """Check that a second sync without any change wrote nothing.

        Only the last items of collections may leave them as late as this.

        Args:
            before: the states before the first sync and before this one.
            turned: whether a setting changed before, whose effect may come a day later.
        """
        writes = self.world.writes[self._read :]
        self._read = len(self.world.writes)
        limited = {key for key, book in self.books.items() if book.is_disturbed}
        for write in writes:
            self._run(self.collections_end_late, before[-1], write)
            is_late = _is_about(write, *(one.late for one in before))
            is_known = write.rating_key in limited or turned or is_late
            if not is_known and "quiet" not in self.off:
                raise BrokenRule(
                    "quiet", f"item {write.rating_key} again: {changes(write) or write.names}"
                )
            self.books[write.rating_key].written(write)

    # --- the books after a run

    def _enter(self, before: Before, checked: bool, only: frozenset[int] | None) -> None:
        saved = self.world.round.changed
        for book in self.books.values():
            if book.owner in saved or self.world.round.turned or self.world.round.swept:
                book.repairs_since.clear()
        self.world.round.pending.clear()
        for key, all_verdicts in before.verdicts.items():
            scene_id = before.must.get(key)
            sure = checked and scene_id is not None and (only is None or scene_id in only)
            for verdicts in all_verdicts:
                if sure:
                    self._synced(self.books[key], verdicts)
                    self.world.late_resyncs.discard(verdicts.meeting.scene.id)
                else:
                    self._perhaps_synced(self.books[key], verdicts)
        if checked and only is None:
            for book in self.books.values():
                if book.rating_key in before.must:
                    book.checked()

    def _synced(self, book: ItemBook, verdicts: Verdicts) -> None:
        """Note that all which must arrive at an item has arrived."""
        meeting = verdicts.meeting
        new = book.owner != meeting.scene.id
        if new and book.owner is not None:
            book.former.add(book.owner)
        book.owner, book.perhaps_met = meeting.scene.id, False
        now = Snapshot.of(self.world.plex.item(book.rating_key))
        for name in TEXTS:
            self._text_synced(book.texts[name], verdicts, name, now.texts[name], new)
        for kind in LISTS:
            shown = {fold(name) for name in now.lists[kind]}
            self._list_synced(book.lists[kind], meeting, kind, shown, new)
        self._poster_synced(book.poster, verdicts, now.poster, new)

    def _text_synced(
        self, text: TextBook, verdicts: Verdicts, name: str, shown: str, new: bool
    ) -> None:
        meeting, ruling = verdicts.meeting, verdicts.texts[name]
        right = shown in TextRules(meeting, name).right
        if right:
            text.disturbed = text.renewed = False
        else:
            preserved = ruling.rule == "preserve_plex_edits"
            perhaps = text.renewed and text.by_person
            text.kept = text.kept or text.synced is None or perhaps or preserved
            if text.by_person:
                text.stash_then = meeting.want.texts[name]
        if self.world.switch(name):
            text.synced = meeting.want.texts[name]
        elif new:
            text.synced = None

    def _list_synced(
        self, book: ListBook, meeting: Meeting, kind: str, shown: set[str], new: bool
    ) -> None:
        want = meeting.want.names(kind)
        if self.world.switch(kind) and (want or (book.synced is not None and not new)):
            book.synced = want
        elif new:
            book.synced = None
        if want <= shown:
            book.disturbed = book.renewed = False
            book.lost = {name: by for name, by in book.lost.items() if name not in want}

    def _poster_synced(
        self, book: PosterBook, verdicts: Verdicts, shown: bytes | None, new: bool
    ) -> None:
        meeting, rule = verdicts.meeting, verdicts.poster.rule
        cover = meeting.want.cover
        if not self.world.switch("thumb"):
            book.met = book.met and not new
            return
        if shown == cover:
            book.disturbed = book.renewed = False
        else:
            book.kept = book.kept or not book.met or rule.startswith("preserve")
            if book.by_person:
                book.stash_then = cover
        book.synced = cover
        book.met = book.met or cover is not None

    def _perhaps_synced(self, book: ItemBook, verdicts: Verdicts) -> None:
        """Note that a run which was not checked may have synced the item."""
        book.perhaps_met = book.perhaps_met or not verdicts.meeting.known
        for name, ruling in verdicts.texts.items():
            if ruling.verdict is not KEEP:
                book.texts[name].unsure = True
        for kind, rulings in verdicts.lists.items():
            names = book.lists[kind]
            first = names.synced is None and bool(verdicts.meeting.want.lists[kind])
            if first or any(ruling.verdict is not KEEP for ruling in rulings.values()):
                names.unsure = True
        if verdicts.poster.verdict is not KEEP:
            book.poster.unsure = True


def _is_right(verdicts: Verdicts, now: Snapshot) -> bool:
    """Return whether an item has all that must be written there."""
    meeting = verdicts.meeting
    for name, ruling in verdicts.texts.items():
        if ruling.verdict is WRITE and now.texts[name] not in TextRules(meeting, name).right:
            return False
    for kind, rulings in verdicts.lists.items():
        shown, wanted = {fold(name) for name in now.lists[kind]}, meeting.want.names(kind)
        must = {name for name, ruling in rulings.items() if ruling.verdict is WRITE}
        if must & (shown ^ wanted):
            return False
    return verdicts.poster.verdict is not WRITE or now.poster == meeting.want.cover


def _is_about(write: Written, *late: dict[int, frozenset[str]]) -> bool:
    """Return whether a request only takes an item out of collections that it may leave late."""
    names = frozenset().union(*(one.get(write.rating_key, ()) for one in late))
    kept = [name for name in write.before.lists[_KIND] if fold(name) not in names]
    left = [name for name in write.after.lists[_KIND] if fold(name) not in names]
    lists = {**write.before.lists, _KIND: write.after.lists[_KIND]}
    return sorted(left) == sorted(kept) and write.after == replace(write.before, lists=lists)


def changes(write: Written) -> str:
    """Return the changes of a request on one line."""
    lines = [
        f"{name} {write.before.texts[name]!r} -> {write.after.texts[name]!r}"
        for name in TEXTS
        if write.before.texts[name] != write.after.texts[name]
    ]
    lines += [
        f"{kind} {list(write.before.lists[kind])} -> {list(write.after.lists[kind])}"
        for kind in LISTS
        if write.before.lists[kind] != write.after.lists[kind]
    ]
    if write.before.poster != write.after.poster:
        lines.append("poster")
    if write.before.locked != write.after.locked:
        lines.append(f"locked {sorted(write.after.locked - write.before.locked)}")
    return ", ".join(lines)
