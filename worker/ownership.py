"""Decide whose an item is: several scenes may have files of it, or files of its names.

The matcher looks at one scene and at Plex. Another scene may fit the item as well, or better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

#: Other scenes that a message names, and that a record keeps.
_MOST_NAMED = 10
_MOST_KEPT = 100


@dataclass(frozen=True)
class _Claim:
    """How well another scene fits an item."""

    scene: SceneFiles
    fit: Fit


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

    def check(self, match: Match, scene: Scene) -> None:
        """Raise an error unless the only item of a match is the scene's (README, "Which item?").

        Raises:
            PlexNotFound: the item is another scene's.
            AmbiguousMatch: it may be either's.
            StashUnavailable, StashRefused, StashQueryError
        """
        (item,) = match.items
        choosers = self._history.choosers(self._plex.server, item.rating_key, item.paths)
        chosen_for = [one for one in choosers if not self._history.is_untouchable(one)]
        if chosen_for:
            self._reject(item, scene, chosen_for[0], "as you chose")
        if not self._is_doubtful(match, scene):
            return
        claims = self._claims(item, scene)
        ours = match.chosen.fit
        better = [claim for claim in claims if claim.fit > ours]
        if better:
            self._reject(
                item, scene, max(better, key=lambda one: one.fit).scene.id, "which fits it better"
            )
        equal = [claim.scene for claim in claims if claim.fit is ours]
        if equal and not self._is_owner(item, scene, equal):
            raise self._ambiguous(item, scene, equal)

    def _is_doubtful(self, match: Match, scene: Scene) -> bool:
        """Return whether another scene may have the item; only then Stash is asked."""
        (item,) = match.items
        if self._stash is None:
            return False
        if match.chosen.fit is not Fit.PATH:
            return True
        own = [path for path in item.paths if not is_converted(path)]
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
        names = {name_of(path) for path in item.paths if not is_converted(path)}
        names.update(file.path for file in scene.files)
        claims = []
        for other in self._stash.scenes_with_name(sorted(names)):
            if other.id == scene.id or not self._is_in_scope(other):
                continue
            chosen = self._plex.choose(other.files)
            if item.rating_key in chosen.keys and chosen.fit is not Fit.CONVERTED:
                claims.append(_Claim(other, chosen.fit))
        return claims

    def _is_in_scope(self, other: SceneFiles) -> bool:
        """Return whether another scene would be synced, and to no item that the user chose."""
        if self._plex.config.only_organized and not other.organized:
            return False
        has_chosen = bool(self._history.choices_in(self._plex.server, other.id))
        return not has_chosen and not self._history.is_untouchable(other.id)

    def _reject(self, item: PlexItem, scene: Scene, owner: int, why: str) -> None:
        """Leave the item to its owner; what was written to it stays on record for that one."""
        self._history.retire(
            row.id
            for row in self._history.of_scene(scene.id)
            if row.rating_key == item.rating_key and row.server == self._plex.server
        )
        path = item.files[0].path if item.files else item.title
        error = PlexNotFound(f"the item {path} in Plex belongs to scene {owner}, {why}")
        error.details = {
            "files": files_as_json(scene.files),
            "not": [item.rating_key],
            "scenes": [owner],
        }
        raise error

    def _ambiguous(
        self, item: PlexItem, scene: Scene, others: Sequence[SceneFiles]
    ) -> AmbiguousMatch:
        described = describe_candidates([item])
        named = "; ".join(f"scene {one.id} {one.files[0].path}" for one in others[:_MOST_NAMED])
        more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        return AmbiguousMatch(
            f"Scene {scene.id} {scene.files[0].path} is one of several that may be the same item in"
            f" Plex, {describe(described)}. The others: {named}{more}",
            described,
            scenes=[one.id for one in others[:_MOST_KEPT]],
        )
