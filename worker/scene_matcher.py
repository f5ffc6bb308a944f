"""Find a scene's items: what the matcher says, the user's choices, and other scenes' claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from common.media import MediaFile
from history.records import Choice
from history.store import History
from plex.exceptions import PLEX_ERRORS, PlexNotFound
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch, describe, describe_candidates
from plex.ownership import check_ownership
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Scene
from validation.errors import PermanentError
from validation.metadata import SyncMetadata
from worker.reporter import Reporter


class SceneMatcher:
    """Finds the items of scenes in one Plex."""

    def __init__(
        self,
        plex: PlexSession,
        stash: StashClient | None,
        history: History,
        reporter: Reporter,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: other scenes are not asked about.
        """
        self._plex = plex
        self._stash = stash
        self._history = history
        self._reporter = reporter

    def match(self, metadata: SyncMetadata, scene: Scene | None) -> list[PlexItem]:
        """Return the items for the scene, whole and fresh: one, or all that the user chose.

        Raises:
            PlexNotFound, AmbiguousMatch
            PermanentError: the scene has no file.
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        files = scene.files if scene is not None else (MediaFile(metadata.path or "", None),)
        if not files or not files[0].path:
            raise PermanentError("the scene has no file")
        try:
            match = self._plex.find(files)
        except PlexNotFound as error:
            error.details = {"files": files_as_json(files)}
            try:
                self._plex.request_scan(files[0])
            except PLEX_ERRORS as failed:
                self._reporter.log("info", f"Plex could not be asked to scan: {failed}")
            raise
        items = match.items
        chosen = self._chosen(metadata.scene_id, items)
        if chosen:
            return chosen
        if len(items) > 1:
            described = describe_candidates(items)
            name = f"Scene {metadata.scene_id} {metadata.title!r} {files[0].path}"
            text = f"{name} may be any of {describe(described)}"
            return [self._ambiguous(AmbiguousMatch(text, described), items[0])]
        if scene is not None and not match.by_path:
            self._check_ownership(items[0], scene)
        return [items[0]]

    def candidates(self, scene: Scene) -> list[PlexItem]:
        """Return all items that may be the scene, whatever the user chose.

        Raises:
            PlexNotFound, SettingsError, PlexTemporaryError, PlexPermanentError
            PermanentError: the scene has no file.
        """
        if not scene.files:
            raise PermanentError("the scene has no file")
        return self._plex.find(scene.files).items

    def _chosen(self, scene_id: int | None, items: Sequence[PlexItem]) -> list[PlexItem]:
        """Return the candidates that the user chose; none: no choice was made.

        Raises:
            AmbiguousMatch: no chosen item is among them. The others were rejected, so none of them
                is written until the user chooses again, or the item is back.
        """
        here = ("", self._plex.server)
        choices = [
            choice
            for choice in (self._history.choices(scene_id) if scene_id else ())
            if choice.server in here
        ]
        if scene_id is None or not choices:
            return []
        wanted = {choice.rating_key: choice for choice in choices}
        found = [
            item
            for item in items
            if (choice := wanted.get(item.rating_key)) and choice.path in ("", *item.paths)
        ]
        if found:
            self._confirm_choices(scene_id, choices, found)
            return found
        described = describe_candidates(items)
        keys = ", ".join(map(str, wanted))
        raise AmbiguousMatch(
            f"Scene {scene_id}: item {keys}, chosen for it, is gone or has another file. Choose"
            f" again; it may be any of {describe(described)}",
            described,
        )

    def _confirm_choices(
        self, scene_id: int, choices: Sequence[Choice], items: Sequence[PlexItem]
    ) -> None:
        """Note server and file of choices that an older version stored without them."""
        paths = {item.rating_key: item.paths[0] for item in items if item.paths}
        confirmed = [
            replace(one, server=self._plex.server, path=one.path or paths.get(one.rating_key, ""))
            for one in choices
        ]
        if confirmed != list(choices):
            self._history.choose(scene_id, confirmed)

    def _check_ownership(self, item: PlexItem, scene: Scene) -> None:
        """Ask Stash which other scenes have a file of that name.

        Not where the history shows this scene, and no other, as the item's.
        """
        is_owner = self._history.is_sole_owner(scene.id, self._plex.server, item.rating_key)
        if self._stash is None or is_owner:
            return
        others = self._stash.scenes_with_name([file.path for file in scene.files])
        try:
            mappings = self._plex.config.path_mappings
            check_ownership(item, scene.id, scene.files, others, mappings)
        except PlexNotFound as error:
            error.details = {"files": files_as_json(scene.files), "not": [item.rating_key]}
            self._history.retire(row.id for row in self._history.of_scene(scene.id) if row.has_item)
            raise
        except AmbiguousMatch as error:
            self._ambiguous(error, item)

    def _ambiguous(self, error: AmbiguousMatch, first: PlexItem) -> PlexItem:
        """Return the first candidate where the user said so.

        Raises:
            AmbiguousMatch: with strict matching.
        """
        if self._plex.config.strict_matching:
            raise error
        self._reporter.notify_user(
            "warning", f"{error}. Synced to the first, as strict_matching is off"
        )
        return first


def files_as_json(files: Iterable[MediaFile]) -> list[list[Any]]:
    """Return files as an error's details keep them."""
    return [[file.path, file.size] for file in files]
