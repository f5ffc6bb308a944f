"""Find a scene's items: the user's choices, what the matcher finds, and whose the item is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from common.env import Env
from common.media import MediaFile, files_as_json
from history.records import Choice
from history.store import History
from plex.exceptions import PLEX_ERRORS, PlexNotFound
from plex.index import IndexedFile
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch, Match, describe, describe_candidates
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Scene
from validation.errors import PermanentError
from validation.metadata import SyncMetadata
from worker.agreements import is_same
from worker.ownership import Ownership
from worker.reporter import Reporter

#: Candidates that one line names.
_MOST_NAMED = 10


@dataclass(frozen=True)
class Found:
    """The items of a scene."""

    #: one, or several that the user chose, or all copies
    items: tuple[PlexItem, ...]
    #: files of other items that have a further file of the scene; these are left alone
    elsewhere: tuple[IndexedFile, ...] = ()


class SceneMatcher:
    """Finds the items of scenes in one Plex."""

    def __init__(
        self,
        plex: PlexSession,
        stash: StashClient | None,
        history: History,
        reporter: Reporter,
        env: Env,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stash: None: other scenes are not asked about.
        """
        self._plex = plex
        self._stash = stash
        self._history = history
        self._reporter = reporter
        self._env = env
        self._ownership = Ownership(plex, stash, history)

    def match(self, metadata: SyncMetadata, scene: Scene | None) -> Found:
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
        self._plex.libraries()
        choices = self._choices(metadata.scene_id, scene)
        chosen, gone = self._chosen(choices)
        if chosen and not gone:
            return Found(chosen)
        match = self._find(files)
        name = f"Scene {metadata.scene_id} {metadata.title!r} {files[0].path}"
        if choices:  # what the user rejected is never written instead
            keys = ", ".join(str(choice.rating_key) for choice in gone or choices)
            why = "is gone or has another file" if gone else "is in a library that is not synced"
            raise _ambiguous(
                f"{name}: the item chosen for it ({keys}) {why}; choose again. It may be", match
            )
        if match.is_certain or self._is_for_all_copies(match):
            return Found(tuple(self._owned(match, scene)), match.chosen.elsewhere)
        error = _ambiguous(f"{name} may be", match)
        if self._plex.config.strict_matching:
            raise error
        first = next(self._owned(match, scene))
        self._reporter.notify_user(
            "warning", f"{error}. The first one that is not another scene's is taken"
        )
        return Found((first,))

    def candidates(self, scene: Scene) -> Match:
        """Return all items that may be the scene, whatever the user chose.

        Raises:
            PlexNotFound, SettingsError, PlexTemporaryError, PlexPermanentError
            PermanentError: the scene has no file.
        """
        if not scene.files:
            raise PermanentError("the scene has no file")
        return self._plex.find(scene.files)

    def _owned(self, match: Match, scene: Scene | None) -> Iterator[PlexItem]:
        """Yield the items of a match that do not belong to another scene: at least one."""
        return self._ownership.owned(match, scene) if scene is not None else iter(match.items)

    def _is_for_all_copies(self, match: Match) -> bool:
        """Return whether the candidates are copies, and the user wants all of them written."""
        return match.chosen.is_copied and self._plex.config.write_all_copies

    def _find(self, files: Sequence[MediaFile]) -> Match:
        """Return what the matcher finds; a file that Plex lacks may be scanned for."""
        try:
            return self._plex.find(files)
        except PlexNotFound as error:
            error.details = {"files": files_as_json(files)}
            try:
                self._plex.request_scan(files[0])
            except PLEX_ERRORS as failed:
                self._reporter.log("info", f"Plex could not be asked to scan: {failed}")
            raise

    def _choices(self, scene_id: int | None, scene: Scene | None) -> list[Choice]:
        """Return the choices for a scene in this Plex."""
        if not scene_id:
            return []
        if scene is not None:
            self._note_scene(scene)
        choices = self._history.choices_in(self._plex.server, scene_id)
        return [one for one in choices if scene is None or is_same(one, scene)]

    def _note_scene(self, scene: Scene) -> None:
        """Note whose choices these are: this scene's, or those of one that had its id before.

        The latter are forgotten like any choice whose scene is gone.
        """
        choices, now = self._history.choices(scene.id), self._env.time()
        noted = [
            replace(one, created_at=one.created_at or scene.created_at, missing_since=None)
            if is_same(one, scene)
            else replace(one, missing_since=one.missing_since or now)
            for one in choices
        ]
        if noted != choices:
            self._history.choose(scene.id, noted)

    def _chosen(self, choices: Sequence[Choice]) -> tuple[tuple[PlexItem, ...], list[Choice]]:
        """Return the chosen items, and the choices whose item is gone or has another file.

        Choices in libraries that are not synced are in neither.
        """
        if not choices:
            return (), []
        items, gone = [], []
        read = self._plex.read([choice.rating_key for choice in choices])
        there = {item.rating_key: item for item in read}
        for choice in choices:
            item = there.get(choice.rating_key)
            section = self._section(choice) if item is None else item.library_key
            if section and section not in self._plex.keys:
                continue
            if item is not None and choice.path in item.paths:
                items.append(item)
            else:
                gone.append(choice)
        return tuple(items), gone

    def _section(self, choice: Choice) -> int:
        """Return the library that a chosen item was last written in; 0: not known."""
        last = self._history.last_of_item(choice.server, choice.rating_key)
        return last.section if last is not None else 0


def _ambiguous(what: str, match: Match) -> AmbiguousMatch:
    """Return the error that names the candidates."""
    described = describe_candidates(match.items)
    keys = match.chosen.keys
    some = describe(described[:_MOST_NAMED])
    if len(keys) == 1:
        text = f"{what} {some}, which has a file of that name, but this is not certain"
    elif match.chosen.is_copied:
        text = (
            f"{what} {some}: its file is in several libraries. Choose one or both; the setting"
            " Write all copies chooses both, for all such scenes"
        )
    elif len(keys) > _MOST_NAMED:
        text = f"{what} any of {len(keys)} items, such as {some}"
    else:
        text = f"{what} any of {some}"
    return AmbiguousMatch(text, described, keys=keys)
