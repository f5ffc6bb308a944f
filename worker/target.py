"""A scene and its items, matched and not yet written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from history.changes import COMPARED, SAVED
from history.records import Agreement
from plex.desired import Switches, values
from plex.index import IndexedFile
from plex.items import PlexItem
from plex.names import folds
from plex.plan import Intent, names_of
from queue.models import CREATED, RUN, SyncJob, is_saved
from stash.records import Scene
from validation.errors import PermanentError
from validation.metadata import SyncMetadata, validate_metadata


@dataclass(frozen=True)
class SyncTarget:
    """A scene and its items, matched and not yet written."""

    #: one, or several that the user chose for the scene
    items: tuple[PlexItem, ...]
    metadata: SyncMetadata
    scene: Scene | None
    read_at: float  # epoch seconds: the moment before the scene was read
    switches: Switches
    intent: Intent
    #: the scene's record
    rows: tuple[Agreement, ...]
    #: files of other items that have a further file of the scene
    elsewhere: tuple[IndexedFile, ...] = ()
    #: what its changes are recorded under; see `history.changes`
    run: str = SAVED

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that become tags and collections by the rules, as Plex compares them."""
        lists = map(names_of, values(self.metadata, "", self.switches).values())
        return folds(name for names in lists for name in names)

    @cached_property
    def keys(self) -> frozenset[int]:
        """The rating keys of the items."""
        return frozenset(item.rating_key for item in self.items)


@dataclass(frozen=True)
class Written:
    """What was written for a scene."""

    fields: tuple[str, ...] = ()
    #: fields in which a person's edit in Plex stays
    kept: tuple[str, ...] = ()
    #: the cover may still change within the second that its address names
    cover_is_final: bool = True


def run_of_job(job: SyncJob) -> str:
    """Return what the changes of a job are recorded under."""
    data = job.get("data") or {}
    return str(data.get(RUN) or (SAVED if is_saved(job) or CREATED in data else COMPARED))


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
