"""Decide whose an item is: several scenes may have files of it, or files of its names.

The matcher looks at one scene and at Plex. Another scene may fit the item as well, or better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.media import files_as_json
from history.store import History
from plex.exceptions import PlexNotFound
from plex.fit import Fit, is_converted
from plex.items import PlexItem
from plex.matcher import AmbiguousMatch, Match, describe, describe_candidates
from plex.paths import name_of
from plex.session import PlexSession
from stash.client import StashClient
from stash.records import Scene, SceneFiles
from validation.errors import PermanentError
from worker.agreements import is_same, is_untouchable
from worker.target import desired

#: Other scenes that a message names, and that a record keeps.
_MOST_NAMED = 10
_MOST_KEPT = 100


@dataclass(frozen=True)
class _Claim:
    """How well another scene fits an item."""

    scene: SceneFiles
    fit: Fit


@dataclass(frozen=True)
class _Owner:
    """Another scene whose item it is."""

    scene_id: int
    why: str


class Ownership:
    """Compares a scene with the others that may have the same item."""

    def __init__(self, plex: PlexSession, stash: StashClient | None, history: History) -> None:
        """Prepare; nothing is asked yet.

        Args:
            stash: None: other scenes are not asked about.
        """
        self._plex = plex
        self._stash = stash
        self._history = history

    def owned(self, match: Match, scene: Scene) -> Iterator[PlexItem]:
        """Yield the items of a match that are the scene's (README, "Which item?").

        Another scene's are left to it; what was written there stays on record for that one.

        Raises:
            PlexNotFound: all are other scenes'.
            AmbiguousMatch: the next one may be either's.
            StashUnavailable, StashRefused, StashQueryError
        """
        others: list[_Owner] = []
        for item in match.items:
            owner = self._owner(item, match, scene)
            if owner is None:
                yield item
            else:
                others.append(owner)
                self._release(item, scene)
        if len(others) == len(match.items):
            raise _not_found(match, scene, others)

    def _owner(self, item: PlexItem, match: Match, scene: Scene) -> _Owner | None:
        """Return the other scene whose item it is; None: it is this scene's.

        Raises:
            AmbiguousMatch: it may be either's.
        """
        choosers = self._history.choosers(self._plex.server, item.rating_key, item.paths)
        chosen_for = [
            choice.scene_id
            for choice in choosers
            if not is_untouchable(self._history, choice.scene_id, choice)
        ]
        if chosen_for:
            return _Owner(chosen_for[0], "as you chose")
        ours = match.chosen.fit_of(item.rating_key)
        if not self._is_doubtful(item, ours, scene):
            return None
        claims = self._claims(item, scene)
        better = [claim for claim in claims if claim.fit > ours]
        if better:
            best = max(better, key=lambda one: one.fit)
            return _Owner(best.scene.id, "which fits it better")
        equal = [claim.scene for claim in claims if claim.fit is ours]
        if equal and not self._is_owner(item, scene, equal):
            raise _ambiguous(item, match, scene, equal)
        return None

    def _is_doubtful(self, item: PlexItem, ours: Fit, scene: Scene) -> bool:
        """Return whether another scene may have an item; only then Stash is asked.

        Args:
            ours: how well this scene fits it.
        """
        if self._stash is None:
            return False
        if ours is not Fit.PATH:
            return True
        own = _own_paths(item)
        is_shared = len(own) > 1 or any(map(self._plex.places.is_shared, own))
        return is_shared and not self._is_owner(item, scene)

    def _is_owner(self, item: PlexItem, scene: Scene, others: Iterable[SceneFiles] = ()) -> bool:
        """Return whether this scene, and none of the others, is synced with the item.

        Without others: no other scene at all.
        """
        owners = self._history.owners(self._plex.server, item.rating_key, item.paths)
        rivals = {one.id for one in others} or owners - {scene.id}
        return scene.id in owners and not owners & rivals

    def _claims(self, item: PlexItem, scene: Scene) -> list[_Claim]:
        """Return the other scenes for which the rules choose this item, too."""
        assert self._stash is not None
        own = _own_paths(item)
        if len(own) > 1:  # it may have been merged since the last look at Plex
            self._plex.index.learn([item])
        names = set(map(name_of, own))
        names.update(file.path for file in scene.files)
        claims = []
        for other in self._stash.scenes_with_name(sorted(names)):
            if other.id == scene.id or not self._is_in_scope(other):
                continue
            fit = self._plex.choose(other.files).fit_of(item.rating_key)
            if fit > Fit.CONVERTED:
                claims.append(_Claim(other, fit))
        return claims

    def _is_in_scope(self, other: SceneFiles) -> bool:
        """Return whether another scene would be synced, and to no item that the user chose."""
        if self._plex.config.only_organized and not other.organized:
            return False
        if self._is_left_out(other):
            return False
        choices = self._history.choices_in(self._plex.server, other.id)
        has_chosen = any(is_same(choice, other) for choice in choices)
        return not has_chosen and not is_untouchable(self._history, other.id, other)

    def _is_left_out(self, other: SceneFiles) -> bool:
        """Return whether a rule leaves another scene out."""
        rules = self._plex.config.rules
        if self._stash is None or not rules.filters_scenes:
            return False
        scene = self._stash.find_scene(other.id)
        try:
            return scene is not None and rules.why_left_out(desired(scene)) is not None
        except PermanentError:  # its metadata are not valid
            return False

    def _release(self, item: PlexItem, scene: Scene) -> None:
        """Forget the scene's agreement with an item that is another scene's."""
        self._history.retire(
            row.id
            for row in self._history.of_scene(scene.id)
            if row.rating_key == item.rating_key and row.server == self._plex.server
        )


def _own_paths(item: PlexItem) -> list[str]:
    """Return the paths of an item's files, without those that Plex has converted."""
    return [path for path in item.paths if not is_converted(path)]


def _not_found(match: Match, scene: Scene, owners: Sequence[_Owner]) -> PlexNotFound:
    """Return the error that names the owner of the first item."""
    item = match.items[0]
    path = item.files[0].path if item.files else item.title
    error = PlexNotFound(
        f"the item {path} in Plex belongs to scene {owners[0].scene_id}, {owners[0].why}"
    )
    error.details = {
        "files": files_as_json(scene.files),
        "not": list(match.chosen.keys),
        "scenes": [one.scene_id for one in owners],
    }
    return error


def _ambiguous(
    item: PlexItem, match: Match, scene: Scene, others: Sequence[SceneFiles]
) -> AmbiguousMatch:
    """Return the error that names the item and the other scenes, for all candidates."""
    described = describe(describe_candidates([item]))
    named = "; ".join(f"scene {one.id} {one.files[0].path}" for one in others[:_MOST_NAMED])
    more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return AmbiguousMatch(
        f"Scene {scene.id} {scene.files[0].path} is one of several that may be the same item in"
        f" Plex, {described}. The others: {named}{more}",
        describe_candidates(match.items),
        keys=match.chosen.keys,
        scenes=[one.id for one in others[:_MOST_KEPT]],
    )
