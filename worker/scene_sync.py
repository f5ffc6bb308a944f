"""One scene and its item: find it, be certain of it, bring it to what Stash says, remember what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from plex.edits import Edits, Switches
from plex.exceptions import PlexNotFound
from plex.history import WriteHistory, Written
from plex.matcher import AmbiguousMatch, MatchConfidence, describe_candidates
from plex.records import read_item
from plex.writer import is_new_poster, plan, upload_poster, wants_poster, write_item
from queue.timestamps import parse_time
from stash.client import StashClient, address_of_cover
from stash.records import Cover, Scene
from validation.config import PlexSyncConfig
from validation.errors import PermanentError
from validation.metadata import SyncMetadata
from worker.matching import check_claim, describe, found_by_path
from worker.plex_side import PlexSide
from worker.reporter import Reporter

Files = list[tuple[str, "int | None"]]


class SceneSync:
    """Syncs scenes one after the other; knows nothing of jobs."""

    def __init__(
        self,
        config: Callable[[], PlexSyncConfig],
        plex: PlexSide,
        memory: WriteHistory,
        stash: StashClient | None,
        *,
        find: Callable[..., tuple[MatchConfidence, Any, list[Any]]],
        reporter: Reporter,
        name_fresh: float,
    ) -> None:
        """Args:
        config: returns the settings in effect.
        stash: None: scenes have no cover, and nobody else a claim to an item.
        find: `plex.matcher.find_plex_items_with_confidence`.
        name_fresh: seconds for which the index counts as fresh when a file name decides.
        """
        self._config = config
        self._plex = plex
        self._memory = memory
        self._stash = stash
        self._find = find
        self._reporter = reporter
        self._name_fresh = name_fresh

    def read_ahead(self, scenes: Iterable[Scene]) -> None:
        """Read the items of scenes that are to be synced next, together.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        every = not self._config().only_organized
        wanted = [scene for scene in scenes if every or scene.organized]
        self._plex.read_ahead([(file.path, file.size) for file in scene.files] for scene in wanted)

    def find(self, metadata: SyncMetadata, scene: Scene | None) -> Any:
        """Return the one plexapi item for the scene, whole and fresh.

        Raises:
            PlexNotFound, AmbiguousMatch
            PermanentError: the scene has no file.
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        files = _files(metadata, scene)
        mappings = self._config().path_mappings
        try:
            confidence, item, candidates = self._find(
                self._plex.libraries(),
                files[0][0],
                mappings,
                files[0][1],
                other_files=files[1:],
                index=self._plex.index,
                fresh_for=self._name_fresh,
                read_ahead=self._plex.take_ahead,
            )
        except PlexNotFound as error:
            error.details = {"files": files}
            self._plex.request_scan(files[0][0])
            raise
        chosen = self._chosen(metadata.scene_id, candidates)
        if chosen is not None:
            return chosen
        if confidence is MatchConfidence.LOW:
            described = describe_candidates(candidates)
            text = f"Scene {metadata.scene_id} {metadata.title!r} {files[0][0]} may be any of {describe(described)}"
            return self._unsure(AmbiguousMatch(text, described), candidates[0])
        if scene is not None and not self.is_found_by_path(item, scene):
            self._check_claim(item, scene.id, files)
        return item

    def is_found_by_path(self, item: Any, scene: Scene) -> bool:
        """Whether the item has a file of the scene under the very path that the mappings say."""
        files = [(file.path, file.size) for file in scene.files]
        return found_by_path(item, files, self._config().path_mappings)

    def forget_choice(self, scene_id: int) -> None:
        """Drop what the user chose for a scene that several items may be."""
        self._memory.choose(scene_id, None)

    def update(self, item: Any, metadata: SyncMetadata) -> Edits:
        """Write what differs to an item, in one request, and remember what was written; return what was sent.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        remember = (
            partial(self._memory.remember, metadata.scene_id) if metadata.scene_id else _forgetful
        )
        return write_item(
            item, metadata, self._recall(item, metadata.scene_id), self._switches, remember
        )

    def update_poster(self, item: Any, scene: Scene) -> None:
        """Upload the scene's cover if it is another than the last one. Events don't tell: it has to be looked at.

        Its address in Stash holds the time of the scene's last change, in whole seconds: once that second is over,
        by Stash's own clock, another cover has another address, and the same one need not be asked for.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        written = self._recall(item, scene.id)
        source = address_of_cover(scene)
        cover = self._cover(item, scene, written)
        if cover is None:
            return
        now = upload_poster(item, cover.picture, written) if cover.picture else written
        changed_at = parse_time(scene.updated_at)
        is_final = cover.at is not None and changed_at is not None and cover.at >= changed_at
        now = replace(now, cover_source=source if is_final else None)
        if now != written:
            self._memory.remember(scene.id, now)

    def preview(self, metadata: SyncMetadata, scene: Scene) -> tuple[Any, Edits]:
        """Return the item, and what a sync would write to it; writes nothing.

        Raises:
            what `find` and `update_poster` raise
        """
        item = self.find(metadata, scene)
        written = self._recall(item, scene.id)
        edits = plan(read_item(item), metadata, written, self._switches)
        cover = self._cover(item, scene, written)
        if cover is not None and cover.picture and is_new_poster(cover.picture, written):
            edits = replace(edits, changes={**edits.changes, "poster": ("", "the scene's cover")})
        return item, edits

    def forget(self, scene_id: int) -> None:
        """Drop what is remembered of a scene that is gone from Stash."""
        self._memory.forget(scene_id)

    @property
    def _switches(self) -> Switches:
        return switches_of(self._config())

    def _recall(self, item: Any, scene_id: int | None) -> Written:
        """Who hands in metadata without a scene has no memory."""
        return self._memory.recall(scene_id, int(item.ratingKey)) if scene_id else Written(0)

    def _cover(self, item: Any, scene: Scene, written: Written) -> Cover | None:
        """Return the scene's cover if it may have to be uploaded."""
        if self._stash is None or not wants_poster(item, written, self._switches):
            return None
        return (
            None
            if address_of_cover(scene) == written.cover_source
            else self._stash.fetch_cover(scene)
        )

    def _chosen(self, scene_id: int | None, candidates: list[Any]) -> Any:
        """Return the candidate that the user chose; a choice that is none any more is dropped."""
        choice = self._memory.choice(scene_id) if scene_id else None
        if scene_id is None or choice is None:
            return None
        for item in candidates:
            if int(item.ratingKey) == choice:
                return item
        self._memory.choose(scene_id, None)
        self._reporter.notify_user(
            "warning",
            f"Scene {scene_id}: item {choice}, chosen for it, is gone or has another file",
        )
        return None

    def _check_claim(self, item: Any, scene_id: int, files: Files) -> None:
        """An item that was found by file name: ask Stash who else has such a file, unless we did before."""
        if self._stash is None or self._memory.is_sole_owner(scene_id, int(item.ratingKey)):
            return
        rivals = self._stash.scenes_with_name([path for path, _ in files])
        try:
            check_claim(item, scene_id, files, rivals, self._config().path_mappings)
        except PlexNotFound as error:
            error.details = {"files": files, "not": [int(item.ratingKey)]}
            self._memory.forget(scene_id)
            raise
        except AmbiguousMatch as error:
            self._unsure(error, item)

    def _unsure(self, error: AmbiguousMatch, first: Any) -> Any:
        """Return the first candidate where the user said so.

        Raises:
            AmbiguousMatch: with strict matching.
        """
        if self._config().strict_matching:
            raise error
        self._reporter.notify_user(
            "warning", f"{error}. Synced to the first, as strict_matching is off"
        )
        return first


def switches_of(config: PlexSyncConfig) -> Switches:
    """Return what the settings say about writing."""
    return Switches(
        title=config.sync_title,
        details=config.sync_details,
        date=config.sync_date,
        studio=config.sync_studio,
        performers=config.sync_performers,
        tags=config.sync_tags,
        collections=config.sync_collections,
        poster=config.sync_poster,
        rating=config.sync_rating,
        lock=config.lock_fields,
        preserve=config.preserve_plex_edits,
    )


def _files(metadata: SyncMetadata, scene: Scene | None) -> Files:
    """Return path and size of the scene's files, the primary one first.

    Raises:
        PermanentError: it has none.
    """
    files: Files = [(metadata.path or "", None)]
    if scene is not None:
        files = [(file.path, file.size) for file in scene.files]
    if not files or not files[0][0]:
        raise PermanentError("the scene has no file")
    return files


def _forgetful(written: Written) -> None:
    """Remember nothing."""
