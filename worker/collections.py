"""Keep collections in Plex: rename ours with their studio or group, and end none of a person's.

Plex creates a collection with its first item and deletes it with its last, with its poster and
texts. So it is remembered which collections PlexSync created, and for which studio or group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from common.env import Env
from history.records import OwnCollection
from history.store import History
from plex.exceptions import REFUSALS_OF_A_VALUE, PlexNotFound, PlexPermanentError
from plex.items import Collection, PlexItem
from plex.names import fold, without
from plex.plan import Edits, names_of
from plex.session import PlexSession
from stash.records import Scene
from validation.sanitizers import sanitize_for_plex
from worker.reporter import Reporter
from worker.target import SyncTarget

#: The field of an item that names its collections.
FIELD = "collection"
#: Items of a collection, as last listed, below which it is read again before one is taken out.
_FEW = 5


@dataclass
class _Catalog:
    """The collections of one library, as last listed, and as changed by us since."""

    listed_at: float
    by_name: dict[str, Collection]


class Collections:
    """The collections of the Plex in use."""

    def __init__(self, plex: PlexSession, history: History, reporter: Reporter, env: Env) -> None:
        self._plex = plex
        self._history = history
        self._reporter = reporter
        self._env = env
        self._catalogs: dict[tuple[str, int], _Catalog] = {}

    def follow_renames(self, target: SyncTarget, item: PlexItem) -> None:
        """Rename our collections whose studio or group has another name in Stash by now.

        After that, items that were read before count as stale.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        if target.scene is None or not target.switches.collections:
            return
        for name, kind, source_id in _sources(target.scene):
            own = self._history.collection_of(self._plex.server, item.library_key, kind, source_id)
            if own is not None and fold(own.name) != fold(name):
                self._rename(own, name)

    def pinned(self, item: PlexItem, edits: Edits) -> tuple[str, ...]:
        """Return collections that would end with these edits, and must not.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        present, target = edits.changes.get(FIELD, ((), ()))
        removed = without(names_of(present), names_of(target))
        return tuple(name for name in removed if self._is_last_of_a_persons(item, name))

    def note(self, target: SyncTarget, item: PlexItem, edits: Edits) -> None:
        """Note the collections that these edits create; before they are sent.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        present, wanted = edits.changes.get(FIELD, ((), ()))
        server, section = self._plex.server, item.library_key
        sources = {
            fold(name): (kind, source_id)
            for name, kind, source_id in (_sources(target.scene) if target.scene else ())
        }
        for name in without(names_of(wanted), names_of(present)):
            known = self._find(section, name)
            if known is None:  # one of that name has ended since
                self._history.forget_collection(server, section, name)
            if known is None or self._history.collections(server, section, name):
                kind, source_id = sources.get(fold(name), ("", 0))
                key = known.rating_key if known else 0
                own = OwnCollection(server, section, name, kind, source_id, key)
                self._history.save_collection(own)
            known = known or Collection(0, section, name, 0)
            self._keep(section, replace(known, size=known.size + 1))
        for name in without(names_of(present), names_of(wanted)):
            known = self._find(section, name)
            if known is not None:
                self._keep(section, replace(known, size=known.size - 1))

    def _rename(self, own: OwnCollection, name: str) -> None:
        """Rename a collection of ours, where Plex lets it be."""
        self._catalogs.pop((own.server, own.section), None)
        if own.renaming and self._find(own.section, own.renaming) is not None:
            # A kill came between the request and the record.
            own = self._note_renamed(own, own.renaming)
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
        self._history.save_collection(replace(own, rating_key=there.rating_key, renaming=name))
        try:
            self._plex.client().rename_collection(there, name)
        except PlexNotFound:
            return False
        except PlexPermanentError as error:
            if error.status not in REFUSALS_OF_A_VALUE:
                raise
            return False
        return True

    def _is_last_of_a_persons(self, item: PlexItem, name: str) -> bool:
        """Return whether an item is the last of a collection that is not ours alone."""
        section = item.library_key
        listed = self._find(section, name)
        if listed is None or listed.size > _FEW:
            return False
        there = self._plex.client().collection(listed.rating_key) if listed.rating_key else None
        if there is None:  # created by us, and not listed since
            self._catalogs.pop((self._plex.server, section), None)
            listed = self._find(section, name)
            there = self._plex.client().collection(listed.rating_key) if listed else None
        if there is None or there.size > 1:
            return False
        owns = self._history.collections(self._plex.server, section, name)
        is_ours = any(self._is_same(own, there) for own in owns)
        if is_ours and not there.is_edited:
            return False
        self._reporter.log(
            "info",
            f"{item.title!r} stays in the collection {name!r} in Plex: it is the last one there,"
            " and the collection would end",
        )
        return True

    def _is_same(self, own: OwnCollection, there: Collection) -> bool:
        """Return whether a collection is the one that we created, not another of that name."""
        return own.rating_key in (0, there.rating_key)

    def _find(self, section: int, name: str) -> Collection | None:
        """Return a collection by its name, as listed not long ago."""
        server, now = self._plex.server, self._env.monotonic()
        catalog = self._catalogs.get((server, section))
        if catalog is None or now - catalog.listed_at >= self._env.timing.index_fresh:
            listed = list_collections(self._plex, self._history, section)
            catalog = _Catalog(now, {fold(one.title): one for one in listed})
            self._catalogs[server, section] = catalog
        return catalog.by_name.get(fold(name))

    def _keep(self, section: int, collection: Collection) -> None:
        catalog = self._catalogs.get((self._plex.server, section))
        if catalog is not None:
            catalog.by_name[fold(collection.title)] = collection


def list_collections(plex: PlexSession, history: History, section: int) -> list[Collection]:
    """Return the collections of a library, and note the rating keys of ours.

    Raises:
        PlexTemporaryError, PlexPermanentError
    """
    listed = plex.client().collections(section)
    keys = {one.title: one.rating_key for one in listed}
    history.note_collection_keys(plex.server, section, keys)
    return listed


def _sources(scene: Scene) -> Iterable[tuple[str, str, int]]:
    """Yield (name in Plex, kind, id in Stash) of what a scene's collections come from."""
    if scene.studio and scene.studio_id:
        yield sanitize_for_plex(scene.studio), "studio", scene.studio_id
    for name, group_id in zip(scene.groups, scene.group_ids, strict=False):
        yield sanitize_for_plex(name), "group", group_id
