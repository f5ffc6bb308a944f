"""Find out which Plex the records of version 0.1 are about: they do not name their server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from history.records import Choice
from history.store import OTHER_SERVER
from plex.paths import folded, name_of, normalize
from stash.client import StashRefused
from worker.parts import Parts
from worker.reconcile.forgetting import ScenesMissing, check_scenes_there

#: State in the history: records without a server wait for a decision.
UNDECIDED = "server_undecided"
#: Records that are looked at, and the share that must have their file there.
_SAMPLE = 20
_ENOUGH = 0.9
#: Records that are tried for the sample, as the scenes of some are gone.
_MOST_TRIED = 200

Pair = tuple[int, int]


class Adoption:
    """Assigns records without a server to the one in which most of them hold their files."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def is_due(self) -> bool:
        """Return whether records wait for a decision. Until it is made, nothing may be written."""
        return self._parts.stash is not None and bool(self._parts.history.get(UNDECIDED))

    def run(self) -> None:
        """Decide about the records: they are this server's, or they are set aside.

        Raises:
            SettingsError, PlexTemporaryError, PlexPermanentError
            StashUnavailable, StashRefused, StashQueryError
        """
        parts, history = self._parts, self._parts.history
        parts.plex.libraries()
        pairs = [(row.scene_id, row.rating_key) for row in history.without_server() if row.has_item]
        choices = [choice for choice in history.all_choices() if not choice.server]
        chosen = [(choice.scene_id, choice.rating_key) for choice in choices]
        is_here = self._is_here(pairs or chosen)
        paths = self._paths(chosen) if is_here else {}
        with history.transaction():
            history.set_server("", parts.plex.server if is_here else OTHER_SERVER)
            if is_here:
                self._confirm(choices, paths)
            history.set(UNDECIDED, None)
        if not is_here:
            parts.reporter.notify_user(
                "warning",
                f"The records of {len(pairs or chosen)} scenes are about another Plex server; they"
                " are kept aside, and the scenes are compared anew",
            )

    def _is_here(self, pairs: Sequence[Pair]) -> bool:
        """Return whether most of a sample of items hold their scene's file."""
        step = max(1, len(pairs) // _SAMPLE)
        spread = sorted(range(len(pairs)), key=lambda place: (place % step, place))
        sample: dict[Pair, str] = {}
        for start in range(0, min(len(pairs), _MOST_TRIED), _SAMPLE):
            some = [pairs[place] for place in spread[start : start + _SAMPLE]]
            sample.update(self._paths(some))
            if len(sample) >= _SAMPLE:
                break
        if pairs and not sample:
            self._check_stash()
        return sum(map(bool, sample.values())) >= _ENOUGH * len(sample)

    def _check_stash(self) -> None:
        """Check that Stash has scenes at all: none of the sample is there.

        Raises:
            StashRefused: most are gone. Its database may be missing, so the decision waits.
            StashUnavailable, StashQueryError
        """
        assert self._parts.stash is not None
        try:
            check_scenes_there(self._parts, self._parts.stash.scene_count())
        except ScenesMissing as error:
            raise StashRefused(str(error)) from error

    def _paths(self, pairs: Sequence[Pair]) -> dict[Pair, str]:
        """Return (scene, item) → the item's file of the scene's name; "" if it has none.

        Scenes that are gone are left out: they say nothing about the server.
        """
        plex, stash = self._parts.plex, self._parts.stash
        assert stash is not None
        found: dict[Pair, str] = {}
        for start in range(0, len(pairs), _SAMPLE):
            some = pairs[start : start + _SAMPLE]
            items = {item.rating_key: item for item in plex.read([key for _, key in some])}
            for scene_id, key in some:
                scene = stash.find_scene(scene_id)
                if scene is None:
                    continue
                names = {folded(name_of(normalize(file.path))) for file in scene.files}
                paths = items[key].paths if key in items else ()
                there = (path for path in paths if folded(name_of(path)) in names)
                found[scene_id, key] = next(there, "")
        return found

    def _confirm(self, choices: Sequence[Choice], paths: dict[Pair, str]) -> None:
        """Note the file of each chosen item; set aside the choice of one that has another file.

        Where version 0.1 knew the file, the choice holds while the item has it.
        """
        history, here = self._parts.history, self._parts.plex.server
        for choice in choices:
            path = choice.path or paths.get((choice.scene_id, choice.rating_key))
            server = OTHER_SERVER if path == "" else here
            history.choose(choice.scene_id, [replace(choice, server=server, path=path or "")])
