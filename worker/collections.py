"""Keep collections in Plex: rename ours with what they stand for, and end none of a person's.

Plex creates a collection with its first item and deletes it with its last, with its poster and
texts. So it is remembered which collections PlexSync created, and for which studio, group, … The
last item leaves one of ours only after two full passes, a day apart, in which it was not wanted.
"""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from common.env import Env
from history.fields import FieldState
from history.records import OwnCollection
from history.store import History
from plex.desired import collections_of, stars_of
from plex.exceptions import REFUSALS_OF_A_VALUE, PlexNotFound, PlexPermanentError
from plex.items import Collection, PlexItem
from plex.names import fold, folds, without
from plex.plan import Edits, names_of
from plex.session import PlexSession
from stash.records import Scene
from validation.sanitizers import sanitize_for_plex
from worker.reporter import Reporter
from worker.target import SyncTarget

#: The field of an item that names its collections.
FIELD = "collection"
#: A collection of up to this many items is read whole before one is taken out. The limit is above
#: the number of writes at once, as items that are just being added may not arrive.
_FEW = 5
#: State in the history: collections of ours whose last item is to leave, by server, section and
#: rating key → {"since": epoch seconds, "passes": the ends of full passes, a day apart}.
ENDING = "ending_collections"
#: State in the history: collections that we are about to create, by server and section, and by
#: folded name → rating keys of the items that get into them.
CREATING = "creating_collections"
#: Items on record of each of these. More than the number of writes at once, as of those some may
#: not arrive.
_MOST_ITEMS = 20
#: Items that are read in one request.
_READ_AT_ONCE = 50
#: Full passes until a collection may end.
_PASSES = 2
#: Kinds of rules → kinds on record, where they differ.
_RECORDED = {"groups": "group"}
_KINDS = {recorded: kind for kind, recorded in _RECORDED.items()}
_SORT_TITLE = "titleSort"


class End(enum.Enum):
    """The outcome for a collection when an item leaves it."""

    #: it has other items
    NONE = "none"
    NOW = "now"
    #: it is ours, and not wanted since a short time only
    LATER = "later"
    #: a person changed it, or created it
    NEVER = "never"


@dataclass(frozen=True)
class Kept:
    """Collections that an item stays in though it is not wanted there."""

    #: they are a person's from now on
    pinned: tuple[str, ...] = ()
    #: for now
    staying: tuple[str, ...] = ()


NOTHING_KEPT = Kept()


@dataclass
class _Catalog:
    """The collections of one library, as last listed, and as changed by us since."""

    listed_at: float
    by_name: dict[str, Collection]
    #: rating key → whether a person edited it, of those that were read whole since
    edited: dict[int, bool] = field(default_factory=dict)
    #: rating key → when its items were counted, of those that were read whole since
    counted_at: dict[int, float] = field(default_factory=dict)

    def is_counted(self, collection: Collection, since: float) -> bool:
        """Return whether a collection's items were counted at that moment or later."""
        return self.counted_at.get(collection.rating_key, self.listed_at) >= since


class Collections:
    """The collections of the Plex in use."""

    def __init__(self, plex: PlexSession, history: History, reporter: Reporter, env: Env) -> None:
        #: held from `look_up` until Plex has answered, by a write that takes an item out: of two
        #: at once, neither would be seen as the last one
        self.leaving = threading.RLock()
        self._plex = plex
        self._history = history
        self._reporter = reporter
        self._env = env
        self._catalogs: dict[tuple[str, int], _Catalog] = {}

    def follow_renames(self, target: SyncTarget, item: PlexItem) -> None:
        """Rename our collections where what they stand for has another name in Stash by now.

        After that, items that were read before count as stale.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        if target.scene is None or not target.switches.collections:
            return
        for name, kind, source_id in _sources(target):
            own = self._history.collection_of(self._plex.server, item.library_key, kind, source_id)
            if own is not None and (own.renaming or fold(own.name) != fold(name)):
                self._catalogs.pop((own.server, own.section), None)
                self._listed(own.section)  # that may show that it is not ours
                own = self._history.collection_of(own.server, own.section, kind, source_id)
                if own is not None:
                    self._rename(own, name)

    def look_up(self, item: PlexItem, edits: Edits) -> Kept:
        """Look up the collections that these edits change, as they are now.

        Returns:
            Those that would end with these edits, and must not, or not yet.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        since = self._env.monotonic() - self._env.timing.item_fresh
        for name in added(edits):
            self._listed_with(item.library_key, name, since)
        ends = {name: self._end_of(item, name, since) for name in removed(edits)}
        return Kept(
            tuple(name for name, end in ends.items() if end is End.NEVER),
            tuple(name for name, end in ends.items() if end is End.LATER),
        )

    def edited(self, item: PlexItem, edits: Edits, known: FieldState) -> tuple[str, ...]:
        """Return collections that an item would leave although a person edited them.

        Those that PlexSync added the item to do not count.

        Args:
            known: the field's state before these edits.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        ours = (*names_of(known.ours), *names_of(known.claim))
        theirs = without(removed(edits), ours)
        return tuple(name for name in theirs if self._is_edited(item.library_key, name))

    def _is_edited(self, section: int, name: str) -> bool:
        """Return whether a person gave a collection a text, a picture or an order of its own."""
        listed = self._find(section, name)
        if listed is None or listed.summary:
            return listed is not None
        known = self._listed(section).edited
        if listed.rating_key not in known:  # a listing does not name locks
            there = self._plex.client().collection(listed.rating_key)
            known[listed.rating_key] = there is not None and there.is_edited
        return known[listed.rating_key]

    def note(self, target: SyncTarget, item: PlexItem, edits: Edits) -> None:
        """Note the collections that these edits create; after `look_up`, before they are sent."""
        server, section = self._plex.server, item.library_key
        sources = {fold(name): (kind, source_id) for name, kind, source_id in _sources(target)}
        by_name = self._listed(section, -math.inf).by_name
        for name in added(edits):
            known = by_name.get(fold(name))
            if known is None:  # one of that name has ended since
                self._history.forget_collection(server, section, name)
            rows = self._history.collections(server, section, name)
            if known is None or rows:
                kind, source_id = sources.get(fold(name), ("", 0))
                key = known.rating_key if known else 0
                sorted_by = next((row.sort_title for row in rows if row.sort_title), "")
                own = OwnCollection(
                    server, section, name, kind, source_id, key, sort_title=sorted_by
                )
                with self._history.transaction():
                    self._history.save_collection(own)
                    if not key:
                        _note_creating(self._history, own, item.rating_key)
            if known is not None:
                self._want(known)
            known = known or Collection(0, section, name, 0)
            by_name[fold(name)] = replace(known, size=known.size + 1)
        for name in removed(edits):
            known = by_name.get(fold(name))
            if known is not None:
                by_name[fold(name)] = replace(known, size=known.size - 1)

    def note_wanted(self, item: PlexItem, names: Iterable[str]) -> None:
        """Note that collections which an item was to leave are wanted again.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        for name in names:
            known = self._find(item.library_key, name)
            if known is not None:
                self._want(known)

    def note_failed(self, item: PlexItem, edits: Edits, *, is_refused: bool) -> None:
        """Note that edits did not arrive, or may not have.

        Args:
            is_refused: they did not: what is created later under such a name may be a person's.
        """
        if FIELD not in edits.changes:
            return
        server, section = self._plex.server, item.library_key
        catalog = self._catalogs.pop((server, section), None)
        by_name = catalog.by_name if catalog else {}
        for name in added(edits) if is_refused else ():
            known = by_name.get(fold(name))
            if known is not None and not known.rating_key and known.size <= 1:
                self._history.forget_collection(server, section, name)

    def _rename(self, own: OwnCollection, name: str) -> None:
        """Rename a collection of ours, where Plex lets it be; after they were listed anew."""
        if own.renaming:
            found = self._find(own.section, own.renaming)
            if found is not None and found.rating_key == own.rating_key:
                # A kill came between the request and the record.
                own = self._note_renamed(own, own.renaming)
            else:
                own = replace(own, renaming="")
                self._history.save_collection(own)
        if fold(own.name) != fold(name) and self._ask_plex_to_rename(own, name):
            self._note_renamed(own, name)

    def _note_renamed(self, own: OwnCollection, name: str) -> OwnCollection:
        self._history.rename_collection(own, name)
        self._catalogs.pop((own.server, own.section), None)
        self._plex.forget_reads()
        self._reporter.log("info", f"The collection {own.name!r} in Plex is now {name!r}")
        return replace(own, name=name, renaming="")

    def _ask_plex_to_rename(self, own: OwnCollection, name: str) -> bool:
        """Send the request; return whether Plex has renamed the collection."""
        there, taken = self._find(own.section, own.name), self._find(own.section, name)
        is_shared = len(self._history.collections(own.server, own.section, own.name)) > 1
        if there is None or taken is not None or is_shared or not self._is_same(own, there):
            return False
        whole = self._plex.client().collection(there.rating_key)  # a listing does not name locks
        if whole is None:
            return False
        self._history.save_collection(replace(own, rating_key=there.rating_key, renaming=name))
        try:
            self._plex.client().rename_collection(whole, name)
        except PlexNotFound:
            return False
        except PlexPermanentError as error:
            if error.status not in REFUSALS_OF_A_VALUE:
                raise
            return False
        return True

    def _end_of(self, item: PlexItem, name: str, since: float) -> End:
        """Return whether a collection ends if an item leaves it, and whether it may."""
        section = item.library_key
        there = self._counted(section, name, since)
        if there is None or there.size > 1:
            return End.NONE
        ours = [
            own
            for own in self._history.collections(self._plex.server, section, name)
            if self._is_same(own, there)
        ]
        if ours and not _is_edited(there, ours[0]):
            return End.NOW if self._may_end(there) else End.LATER
        self._reporter.log(
            "info",
            f"{item.title!r} stays in the collection {name!r} in Plex: it is the last one there,"
            " and the collection would end",
        )
        return End.NEVER

    def _counted(self, section: int, name: str, since: float) -> Collection | None:
        """Return a collection with the items that it has since then; one of few is read whole."""
        catalog = self._listed_with(section, name, since)
        listed = catalog.by_name.get(fold(name))
        if listed is None or (listed.size > _FEW and catalog.is_counted(listed, since)):
            return listed
        there = self._read(catalog, listed) if listed.rating_key else None
        if there is None:  # created by us and not listed since, or made anew
            catalog = self._listed(section, math.inf)
            listed = catalog.by_name.get(fold(name))
            there = self._read(catalog, listed) if listed else None
        return there

    def _read(self, catalog: _Catalog, listed: Collection) -> Collection | None:
        now = self._env.monotonic()
        there = self._plex.client().collection(listed.rating_key)
        if there is not None:
            catalog.by_name[fold(listed.title)] = there
            catalog.counted_at[there.rating_key] = now
        return there

    def _may_end(self, there: Collection) -> bool:
        """Return whether one of ours was not wanted for long enough; note that it is not."""
        key, ending = self._key(there), _read_ending(self._history)
        if key not in ending:
            ending[key] = {"since": self._env.time(), "passes": []}
            self._history.set(ENDING, ending)
        return len(ending[key]["passes"]) >= _PASSES

    def _want(self, there: Collection) -> None:
        """Note that a collection is wanted again."""
        ending = _read_ending(self._history)
        if ending.pop(self._key(there), None) is not None:
            self._history.set(ENDING, ending or None)

    def _key(self, there: Collection) -> str:
        return f"{self._plex.server}/{there.library_key}/{there.rating_key}"

    def _is_same(self, own: OwnCollection, there: Collection) -> bool:
        """Return whether a collection is the one that we created, not another of that name."""
        return own.rating_key in (0, there.rating_key)

    def _find(self, section: int, name: str) -> Collection | None:
        """Return a collection by its name, as listed not long ago."""
        return self._listed(section).by_name.get(fold(name))

    def _listed_with(self, section: int, name: str, since: float) -> _Catalog:
        """Return the collections; what is not among them was not there at that moment."""
        catalog = self._listed(section)
        return catalog if fold(name) in catalog.by_name else self._listed(section, since)

    def _listed(self, section: int, since: float | None = None) -> _Catalog:
        """Return the collections of a library, listed at that moment or later.

        Args:
            since: infinite: now; None: not long ago.
        """
        server, now = self._plex.server, self._env.monotonic()
        if since is None:
            since = now - self._env.timing.index_fresh
        catalog = self._catalogs.get((server, section))
        if catalog is None or catalog.listed_at < since:
            listed = list_collections(self._plex, self._history, section)
            catalog = _Catalog(now, {fold(one.title): one for one in listed})
            self._catalogs[server, section] = catalog
        return catalog


def added(edits: Edits) -> tuple[str, ...]:
    """Return the collections that an item gets into."""
    present, wanted = edits.changes.get(FIELD, ((), ()))
    return without(names_of(wanted), names_of(present))


def removed(edits: Edits) -> tuple[str, ...]:
    """Return the collections that an item leaves."""
    present, wanted = edits.changes.get(FIELD, ((), ()))
    return without(names_of(present), names_of(wanted))


def list_collections(plex: PlexSession, history: History, section: int) -> list[Collection]:
    """Return the collections of a library; note the rating keys of ours, and a person's renames.

    Raises:
        PlexTemporaryError, PlexPermanentError
    """
    before = history.own_collections(plex.server)
    listed = plex.client().collections(section)
    _release_renamed(plex, history, section, before, listed)
    _forget_others(plex, history, section, listed)
    keys = {one.title: one.rating_key for one in listed}
    history.note_collection_keys(plex.server, section, keys)
    return listed


def _release_renamed(
    plex: PlexSession,
    history: History,
    section: int,
    before: Iterable[OwnCollection],
    listed: Iterable[Collection],
) -> None:
    """Leave collections of ours that a person has renamed to that person.

    Args:
        before: those on record before the request. We may have renamed one since.
    """
    titles = {one.rating_key: one.title for one in listed}
    now = history.own_collections(plex.server)
    for own in before:
        title = titles.get(own.rating_key) if own.section == section and own in now else None
        if title and fold(title) not in folds((own.name, own.renaming)):
            history.release_collection(own, title)
            plex.forget_reads()


def _note_creating(history: History, own: OwnCollection, rating_key: int) -> None:
    """Note that an item is about to get into a collection that Plex has not listed yet."""
    creating, place, name = history.get(CREATING, {}), f"{own.server}/{own.section}", own.name
    here = creating.setdefault(place, {})
    others = [key for key in here.get(fold(name), ()) if key != rating_key]
    here[fold(name)] = [*others, rating_key][-_MOST_ITEMS:]
    history.set(CREATING, creating)


def _forget_others(
    plex: PlexSession, history: History, section: int, listed: Iterable[Collection]
) -> None:
    """Forget collections on record that somebody else has created.

    What we were about to create is ours if one of our items is in it. If none is, no write of ours
    arrived, and a person has made one of that name.
    """
    new = folds(one.title for one in listed) & folds(_names_without_key(plex, history, section))
    if not new:
        return
    place = f"{plex.server}/{section}"
    here = history.get(CREATING, {}).get(place, {})
    others = _without_items(plex, {name: here.get(name, ()) for name in new})
    with history.transaction():
        for name in others:
            history.forget_collection(plex.server, section, name)
        creating = history.get(CREATING, {})
        waiting = folds(_names_without_key(plex, history, section)) - new
        here = {name: keys for name, keys in creating.pop(place, {}).items() if name in waiting}
        history.set(CREATING, creating | ({place: here} if here else {}) or None)


def _names_without_key(plex: PlexSession, history: History, section: int) -> Iterable[str]:
    """Yield the collections on record that Plex has not listed yet."""
    for own in history.own_collections(plex.server):
        if own.section == section and not own.rating_key:
            yield own.name


def _without_items(plex: PlexSession, expected: Mapping[str, Iterable[int]]) -> set[str]:
    """Return the collections in which Plex shows none of the items that we put there.

    Args:
        expected: folded name → rating keys of the items.
    """
    missing = set(expected)
    keys = list(dict.fromkeys(key for keys in expected.values() for key in keys))
    for start in range(0, len(keys), _READ_AT_ONCE):
        for item in plex.client().fetch_items(keys[start : start + _READ_AT_ONCE]):
            there = folds(names_of(item.values[FIELD]))
            missing -= {name for name in there & missing if item.rating_key in expected[name]}
        if not missing:
            break
    return missing


def _read_ending(history: History) -> dict[str, dict[str, Any]]:
    """Return what is noted under `ENDING`; leave out what is damaged."""
    return {
        key: one
        for key, one in history.get(ENDING, {}).items()
        if isinstance(one, dict) and {"since", "passes"} <= one.keys()
    }


def note_full_pass(history: History, now: float, day: float) -> None:
    """Note the end of a full pass in which all libraries were there; see `ENDING`.

    Args:
        now: epoch seconds.
        day: seconds between two passes that count.
    """
    ending = _read_ending(history)
    if not ending:
        return
    for one in ending.values():
        if now - (one["passes"][-1] if one["passes"] else -math.inf) >= day and now >= one["since"]:
            one["passes"] = [*one["passes"], now][-_PASSES:]
    # Of one that was wanted again meanwhile, or has ended, nothing needs to be known.
    history.set(ENDING, {key: one for key, one in ending.items() if now - one["since"] < 30 * day})


def sort_collections(plex: PlexSession, history: History, reporter: Reporter) -> None:
    """Give the collections that we created their sort titles, or take these back.

    Raises:
        PlexTemporaryError, PlexPermanentError
    """
    rules = plex.config.rules
    for own in history.own_collections(plex.server):
        wanted = ""
        if rules.collection_sort_title is not None:
            prefix = rules.collections.get(_KINDS.get(own.kind, own.kind), "")
            name = own.name.removeprefix(f"{prefix} ") if prefix else own.name
            parts = {"name": name, "prefix": prefix}
            wanted = sanitize_for_plex(rules.collection_sort_title.render(parts))
        if wanted == own.sort_title or not own.rating_key:
            continue
        there = plex.client().collection(own.rating_key)
        if there is None:
            continue
        is_persons = _SORT_TITLE in there.locked and there.title_sort != own.sort_title
        if not is_persons:
            try:
                plex.client().sort_collection(there, wanted)
            except PlexPermanentError as error:
                if error.status not in REFUSALS_OF_A_VALUE:
                    raise
                reporter.log("warning", f"Plex does not sort {own.name!r} by {wanted!r}: {error}")
        history.save_collection(replace(own, sort_title=wanted))


def _is_edited(there: Collection, own: OwnCollection) -> bool:
    """Return whether a person gave a collection of ours a text, a picture or an order."""
    is_ours = bool(own.sort_title) and there.title_sort == own.sort_title
    locked = there.locked - ({_SORT_TITLE} if is_ours else set())
    return replace(there, locked=locked).is_edited


def _sources(target: SyncTarget) -> Iterable[tuple[str, str, int]]:
    """Yield (name in Plex, kind on record, id in Stash) of the scene's collections."""
    if target.scene is None:
        return
    ids = _ids(target.scene)
    fixed = {"rating": stars_of(target.metadata.rating100), "organized": 1}
    for one in collections_of(target.metadata, target.switches):
        source_id = fixed[one.kind] if one.kind in fixed else ids[one.kind].get(fold(one.source), 0)
        if source_id:
            yield one.name, _RECORDED.get(one.kind, one.kind), source_id


def _ids(scene: Scene) -> dict[str, Mapping[str, int]]:
    """Return kind → name → id in Stash, of what collections come from."""

    def by_name(names: Iterable[str], ids: Iterable[int]) -> dict[str, int]:
        pairs = zip(map(sanitize_for_plex, names), ids, strict=False)
        return {fold(name): source_id for name, source_id in pairs}

    return {
        "studio": by_name([scene.studio], [scene.studio_id]),
        "parent_studio": by_name([scene.parent_studio], [scene.parent_studio_id]),
        "groups": by_name(scene.groups, scene.group_ids),
        "performers": by_name(scene.performers, scene.performer_ids),
        "tags": by_name(scene.tags, scene.tag_ids),
    }
