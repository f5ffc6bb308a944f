"""One scene: desired → match → observed → plan → write. Knows nothing of the queue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from common.media import MediaFile
from plex.edits import Edits, Switches, plan_edits, switches_of
from plex.exceptions import PLEX_ERRORS, PlexNotFound
from plex.history import WriteHistory, Written
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch, describe, describe_candidates
from plex.ownership import check_ownership
from plex.paths import stem_of
from plex.session import PlexSession
from queue.models import CREATED, MISSED, SyncJob
from queue.timestamps import parse_time
from stash.client import StashClient, address_of_cover
from stash.records import Cover, Scene
from validation.errors import PermanentError
from validation.metadata import SyncMetadata, validate_metadata
from worker.reporter import Reporter


class SceneGone(Exception):
    """Stash does not have the scene any more."""


@dataclass(frozen=True)
class SyncTarget:
    """A scene and its item, matched and not yet written."""

    item: PlexItem
    metadata: SyncMetadata
    scene: Scene | None
    read_at: float  # epoch seconds: the moment before the scene was read
    switches: Switches

    @cached_property
    def names(self) -> frozenset[str]:
        """The scene's names that become tags and collections; Plex compares them without case."""
        data = self.metadata
        names = (*data.performers, *data.tags, *data.groups, data.studio, data.director)
        return frozenset(name.casefold() for name in names if name)


class JobRunner:
    """Brings scenes to Plex, one after the other."""

    def __init__(
        self,
        plex: PlexSession,
        stash: StashClient | None,
        history: WriteHistory,
        reporter: Reporter,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: jobs carry all that is known of a scene, and covers are left alone.
        """
        self.plex = plex
        self.history = history
        self._stash = stash
        self._reporter = reporter

    def prepare(self, job: SyncJob, scene: Scene | None, read_at: float) -> SyncTarget | str:
        """Match a job's scene to its item; return the target, or why nothing is to be written.

        Args:
            scene: as it was read already; None: it is read now.
            read_at: the moment before the scene is read, in epoch seconds.

        Raises:
            SceneGone
            PlexNotFound, AmbiguousMatch
            PermanentError: the scene has no file, or its metadata are not valid.
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        if scene is None and self._stash is not None:
            scene = self._stash.find_scene(job["scene_id"])
            if scene is None:
                raise SceneGone
        metadata, config = desired(scene, job), self.plex.config
        if config.only_organized and not metadata.organized:
            return "not organized"
        reasons = set(job.get("data") or ())
        is_news = bool(reasons) and reasons <= {CREATED, MISSED}
        if is_news and metadata.is_blank and not self.history.has(job["scene_id"]):
            return "new, and without any metadata yet"
        item = self.match(metadata, scene)
        return SyncTarget(item, metadata, scene, read_at, switches_of(config))

    def read_ahead(self, scenes: Iterable[Scene]) -> None:
        """Read the items of scenes that are synced next, together.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
        """
        every = not self.plex.config.only_organized
        self.plex.read_ahead(scene.files for scene in scenes if every or scene.organized)

    def match(self, metadata: SyncMetadata, scene: Scene | None) -> PlexItem:
        """Return the one item for the scene, whole and fresh.

        Raises:
            what `prepare` raises, but SceneGone
        """
        files = scene.files if scene is not None else (MediaFile(metadata.path or "", None),)
        if not files or not files[0].path:
            raise PermanentError("the scene has no file")
        try:
            match = self.plex.find(files)
        except PlexNotFound as error:
            error.details = {"files": _as_json(files)}
            try:
                self.plex.request_scan(files[0])
            except PLEX_ERRORS as failed:
                self._reporter.log("info", f"Plex could not be asked to scan: {failed}")
            raise
        items = match.items
        chosen = self._chosen(metadata.scene_id, items)
        if chosen is not None:
            return chosen
        if len(items) > 1:
            described = describe_candidates(items)
            name = f"Scene {metadata.scene_id} {metadata.title!r} {files[0].path}"
            text = f"{name} may be any of {describe(described)}"
            return self._ambiguous(AmbiguousMatch(text, described), items[0])
        if scene is not None and not match.by_path:
            self._check_ownership(items[0], scene)
        return items[0]

    def preview(self, scene: Scene) -> tuple[PlexItem, Edits]:
        """Return the item, and what a sync would write to it; writes nothing.

        Raises:
            what `match` and `write` raise
        """
        metadata, switches = desired(scene), switches_of(self.plex.config)
        item = self.match(metadata, scene)
        written = self._written(item, scene.id).reconcile_pending(item.values)
        edits = _plan(item, metadata, written, switches)
        cover = self._fetch_cover(item, scene, written, switches)
        if cover is not None and cover.picture and _sha1(cover.picture) != written.cover:
            edits = replace(edits, changes={**edits.changes, "poster": ("", "the scene's cover")})
        return item, edits

    def write(self, target: SyncTarget) -> Edits:
        """Bring the item to what Stash says; may run in several threads, each with its own item.

        Raises:
            StashUnavailable, StashRefused
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        try:
            edits, written = self._write_fields(target.item, target.metadata, target.switches)
            if target.scene is not None:
                self._write_poster(target.item, target.scene, written, target.switches)
        except PlexNotFound as error:  # the item is gone; its file may come back
            error.details = {"files": _as_json(target.scene.files if target.scene else ())}
            raise
        return edits

    def write_fields(self, item: PlexItem, metadata: SyncMetadata) -> Edits:
        """Write the texts and lists that differ; return the edits.

        Raises:
            PlexTemporaryError, PlexPermanentError, PlexNotFound
        """
        return self._write_fields(item, metadata, switches_of(self.plex.config))[0]

    def _write_fields(
        self, item: PlexItem, metadata: SyncMetadata, switches: Switches
    ) -> tuple[Edits, Written]:
        """Write what differs, and keep what was written.

        The history is on disk before the write, as its answer may get lost, and after it.
        """
        stored = self._written(item, metadata.scene_id)
        written = stored if stored.pending is None else stored.reconcile_pending(item.values)
        edits = _plan(item, metadata, written, switches)
        if edits.parameters:
            self._save(metadata.scene_id, replace(written, pending=edits.fields))
            self.plex.write(item, edits)
        after = replace(written, fields=edits.fields)
        if edits.parameters or after != stored:
            self._save(metadata.scene_id, after)
        return edits, after

    def _write_poster(
        self, item: PlexItem, scene: Scene, written: Written, switches: Switches
    ) -> None:
        """Upload the scene's cover if it is another than the last one.

        The cover URL carries updated_at (1 s resolution); after that second, by Stash's own clock,
        the same URL means the same cover.
        """
        cover = self._fetch_cover(item, scene, written, switches)
        if cover is None:
            return
        after = written
        if cover.picture and _sha1(cover.picture) != written.cover:
            self.plex.client().upload_poster(item, cover.picture)
            after = replace(after, cover=_sha1(cover.picture))
        changed_at = parse_time(scene.updated_at)
        is_final = cover.at is not None and changed_at is not None and cover.at >= changed_at
        after = replace(after, cover_source=address_of_cover(scene) if is_final else None)
        if after != written:
            self.history.save(scene.id, after)

    def _fetch_cover(
        self, item: PlexItem, scene: Scene, written: Written, switches: Switches
    ) -> Cover | None:
        """Return the scene's cover if it may have to be uploaded."""
        if self._stash is None or not switches.poster:
            return None
        if switches.preserve and written.cover is None and item.has_poster:
            return None
        is_same = address_of_cover(scene) == written.cover_source
        return None if is_same else self._stash.fetch_cover(scene)

    def _written(self, item: PlexItem, scene_id: int | None) -> Written:
        """Return the values written before; none without a scene id."""
        return self.history.get(scene_id, item.rating_key) if scene_id else Written(0)

    def _save(self, scene_id: int | None, written: Written) -> None:
        if scene_id:
            self.history.save(scene_id, written)

    def _chosen(self, scene_id: int | None, items: Sequence[PlexItem]) -> PlexItem | None:
        """Return the candidate that the user chose; None: no choice was made.

        Raises:
            AmbiguousMatch: the chosen item is not among them. The others were rejected, so none of
                them is written until the user chooses again, or the item is back.
        """
        choice = self.history.choice(scene_id) if scene_id else None
        if scene_id is None or choice is None:
            return None
        for item in items:
            if item.rating_key == choice:
                return item
        described = describe_candidates(items)
        raise AmbiguousMatch(
            f"Scene {scene_id}: item {choice}, chosen for it, is gone or has another file. Choose"
            f" again; it may be any of {describe(described)}",
            described,
        )

    def _check_ownership(self, item: PlexItem, scene: Scene) -> None:
        """Ask Stash which other scenes have a file of that name.

        Not where the write history shows this scene, and no other, as the item's.
        """
        if self._stash is None or self.history.is_sole_owner(scene.id, item.rating_key):
            return
        others = self._stash.scenes_with_name([file.path for file in scene.files])
        try:
            mappings = self.plex.config.path_mappings
            check_ownership(item, scene.id, scene.files, others, mappings)
        except PlexNotFound as error:
            error.details = {"files": _as_json(scene.files), "not": [item.rating_key]}
            self.history.delete(scene.id)
            raise
        except AmbiguousMatch as error:
            self._ambiguous(error, item)

    def _ambiguous(self, error: AmbiguousMatch, first: PlexItem) -> PlexItem:
        """Return the first candidate where the user said so.

        Raises:
            AmbiguousMatch: with strict matching.
        """
        if self.plex.config.strict_matching:
            raise error
        self._reporter.notify_user(
            "warning", f"{error}. Synced to the first, as strict_matching is off"
        )
        return first


def desired(scene: Scene | None, job: SyncJob | None = None) -> SyncMetadata:
    """Return a scene's validated metadata; Stash's values override the job's.

    Raises:
        PermanentError: they are not valid.
    """
    carried = {**(job.get("data") or {}), "scene_id": job["scene_id"]} if job else {}
    return validated({**carried, **(scene.as_metadata() if scene else {})})


def validated(data: dict[str, Any]) -> SyncMetadata:
    """Return metadata, checked.

    Raises:
        PermanentError: they are not valid.
    """
    metadata, problem = validate_metadata(data)
    if metadata is None:
        raise PermanentError(f"the scene's metadata are not valid: {problem}")
    return metadata


def _plan(item: PlexItem, metadata: SyncMetadata, written: Written, switches: Switches) -> Edits:
    path = metadata.path or (item.files[0].path if item.files else "")
    return plan_edits(item, metadata, stem_of(path), written.fields, switches)


def _as_json(files: Iterable[MediaFile]) -> list[list[Any]]:
    return [[file.path, file.size] for file in files]


def _sha1(cover: bytes) -> str:
    return hashlib.sha1(cover, usedforsecurity=False).hexdigest()
