"""Compare scenes with the history: which are queued, which are only proposed, which are left."""

from __future__ import annotations

import enum
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from history.changes import RENAMED
from history.records import UNTOUCHABLE, Agreement, Status
from history.store import LOST_AT, Row
from plex.exceptions import PlexPermanentError, PlexTemporaryError
from plex.plan import PROTECTIVE, Intent, protects_at
from queue.models import CREATED, FORCE, MISSED, PASS, RUN, SyncJob, create_bulk_job
from queue.timestamps import parse_time
from stash.client import StashUnavailable, address_of_cover
from stash.records import Scene
from validation.errors import PermanentError
from worker.agreements import is_same
from worker.job_runner import JobRunner
from worker.parts import Parts

log = logging.getLogger("plexsync")

#: Scenes whose items are read in one request.
_CHUNK = 20


class Reason(str, enum.Enum):
    """Why a scene is compared or synced, in words for the user."""

    EDITED = "changed in Stash"
    #: something that the scene has was renamed, merged or deleted: its own time did not move
    RENAMED = "renamed in Stash"
    NEW = "new in Stash"
    #: the user asks for it
    ASKED = "asked for"
    #: Plex has its file by now, or other candidates
    RETURNED = "found in Plex"
    SETTINGS = "other settings or another version of PlexSync"
    #: the user said where the values of a library in Plex came from
    ORIGIN = "your answer about a library in Plex"
    DRIFT = "changed in Plex"
    LOST = "PlexSync's history was lost"
    SERVER = "another Plex server"
    RESTORED = "Stash was restored from a backup"
    UNKNOWN = "not compared since the upgrade"


#: What was changed in Stash always goes; other reasons are proposed first.
_ALWAYS = (Reason.EDITED, Reason.RENAMED, Reason.NEW, Reason.ASKED, Reason.RETURNED)


@dataclass(frozen=True)
class Scope:
    """What a comparison is for."""

    #: the pass that queues the jobs
    pass_id: int | None = None
    #: what the changes of its jobs are recorded under; "": as their reasons say
    run: str = ""
    #: the user wants these scenes synced, those seen at installation too
    adopt: bool = False
    #: also scenes in sync, over a person's edits in Plex
    force: bool = False
    #: scenes that were last changed by then (epoch seconds), and are not known, are only noted
    baseline: float | None = None
    #: the settings have rested since they changed
    settled: bool = True
    #: not what differs for another reason than a change in Stash: others see to all of that
    only_stash: bool = False
    #: scenes whose item is read whole in any case
    read: frozenset[int] = frozenset()


@dataclass
class Result:
    """The outcome of one comparison."""

    #: scenes that were dealt with, from the first on
    done: int = 0
    queued: int = 0
    #: status → scenes that nothing is to be done for
    left: Counter[str] = field(default_factory=Counter)


class Comparer:
    """Compares scenes as Stash has them with the history, the index and their items."""

    def __init__(self, parts: Parts, runner: JobRunner) -> None:
        self._parts = parts
        self._runner = runner

    def compare(
        self, scenes: Sequence[Scene], read_at: float, scope: Scope, *, room: int, seconds: float
    ) -> Result:
        """Queue what differs, or propose it.

        Args:
            read_at: the moment before the scenes were read, in epoch seconds.
            room: jobs that may be queued.
            seconds: after which no further item is read.

        Raises:
            SettingsError, StashUnavailable, StashRefused, StashQueryError
            PlexTemporaryError, PlexPermanentError
        """
        rows = self._parts.history.rows_of([scene.id for scene in scenes])
        keys = [row.rating_key for found in rows.values() for row in found if row.rating_key]
        times = self._parts.plex.index.updated_at(keys)
        end = self._parts.env.monotonic() + seconds
        jobs: list[SyncJob] = []
        noted: list[Agreement] = []
        doubtful: list[tuple[Scene, Reason]] = []
        result = Result()
        for scene in scenes:
            known = rows.get(scene.id, [])
            reason = self._why(scene, known, times, scope)
            if reason in _ALWAYS:
                if len(jobs) >= room:
                    break
                jobs.append(self._job(scene, reason, scope))
            elif reason is not None:
                doubtful.append((scene, reason))
                if len(doubtful) >= _CHUNK:
                    self._compare_items(doubtful, read_at)
                    doubtful = []
                    if self._parts.env.monotonic() >= end:
                        result.done += 1
                        break
            else:
                noted += self._seen(scene, known)
                result.left.update({row.status.value for row in known} or [Status.BASELINE.value])
            result.done += 1
        if doubtful:
            self._compare_items(doubtful, read_at)
        self._parts.history.save_all(noted)
        self._parts.queue.put_many(jobs)
        result.queued = len(jobs)
        return result

    def try_some(
        self, scenes: Sequence[Scene], read_at: float, scope: Scope, *, room: int, seconds: float
    ) -> Result:
        """Queue the first scenes whose items show that something would be written.

        Args and exceptions: see `compare`.
        """
        rows = self._parts.history.rows_of([scene.id for scene in scenes])
        keys = [row.rating_key for found in rows.values() for row in found if row.rating_key]
        times = self._parts.plex.index.updated_at(keys)
        end = self._parts.env.monotonic() + seconds
        result = Result()
        for scene in scenes:
            if result.queued >= room or self._parts.env.monotonic() >= end:
                break
            self._parts.heartbeat.beat()
            known = rows.get(scene.id, [])
            reason = self._why(scene, known, times, scope)
            fields: frozenset[str] = frozenset()
            found: Sequence[Row | Agreement] = known
            if reason is not None:
                fields, found = self._compare_item(scene, read_at)
            if reason is not None and fields:
                self._parts.queue.put_many([self._job(scene, reason, scope)])
                result.queued += 1
            else:
                result.left.update({row.status.value for row in found} or [Status.BASELINE.value])
            result.done += 1
        return result

    def _why(
        self, scene: Scene, rows: Sequence[Row], times: dict[int, int], scope: Scope
    ) -> Reason | None:
        """Return why a scene must be compared or synced; None: nothing has changed."""
        server = self._parts.plex.server
        rows = [row for row in rows if is_same(row, scene)]
        if any(row.status in UNTOUCHABLE for row in rows):
            return None
        if scope.force:
            return Reason.ASKED
        here = [row for row in rows if row.server in ("", server)]
        if not here:
            return self._why_unknown(scene, bool(rows), scope)
        reasons = [self._why_row(scene, row, times, scope) for row in here]
        # A reason that needs no approval outweighs one that does.
        found = [reason for reason in reasons if reason is not None]
        if scope.only_stash:
            found = [reason for reason in found if reason in (*_ALWAYS, Reason.RESTORED)]
        if found and scope.adopt:
            return Reason.ASKED
        return next((reason for reason in found if reason in _ALWAYS), next(iter(found), None))

    def _why_unknown(self, scene: Scene, is_elsewhere: bool, scope: Scope) -> Reason | None:
        if scope.adopt:
            return Reason.ASKED
        if is_elsewhere:
            return Reason.SERVER
        changed = parse_time(scene.updated_at) or float("inf")
        if scope.baseline is not None and changed <= scope.baseline:
            return None
        lost_at = self._parts.history.get(LOST_AT, 0.0)
        if lost_at and changed <= lost_at:
            return Reason.LOST
        return Reason.NEW

    def _why_row(
        self, scene: Scene, row: Row, times: dict[int, int], scope: Scope
    ) -> Reason | None:
        if row.status is Status.BASELINE:
            is_edited = scope.adopt or _is_later(scene.updated_at, row.updated_at)
            return Reason.EDITED if is_edited else None
        if row.digest is None:
            # Unknown since the upgrade; a change after the last sync was made in Stash.
            synced = row.synced_at is not None
            edited = synced and (parse_time(scene.updated_at) or 0.0) > (row.synced_at or 0.0)
            return Reason.EDITED if edited else Reason.UNKNOWN
        if not scene.has_digest(row.digest):
            if _is_later(row.updated_at, scene.updated_at):
                return Reason.RESTORED
            is_edited = _is_later(scene.updated_at, row.updated_at) or not row.updated_at
            return Reason.EDITED if is_edited else Reason.RENAMED
        return self._why_same(scene, row, times, scope)

    def _why_same(
        self, scene: Scene, row: Row, times: dict[int, int], scope: Scope
    ) -> Reason | None:
        """Return why a scene must be compared though it is the same in Stash."""
        if row.status in (Status.NOT_IN_PLEX, Status.AMBIGUOUS):
            if self._has_other_candidates(row, scene):
                return Reason.RETURNED
            is_other = row.generation != self._runner.generation
            waits = row.status is Status.AMBIGUOUS and is_other and scope.settled
            return self._why_other(row) if waits else None
        if row.generation != self._runner.generation:
            return self._why_other(row) if scope.settled else None
        if row.status in (Status.FAILED, Status.SKIPPED):
            return Reason.ASKED if scope.adopt and row.status is Status.FAILED else None
        if self._has_other_cover(row, scene):
            return Reason.EDITED
        if row.rating_key not in times:
            plex = self._parts.plex
            return Reason.DRIFT if plex.index.is_complete(plex.keys) else None
        if times[row.rating_key] != row.item_updated_at and row.status is not Status.WRITTEN:
            return Reason.DRIFT
        return Reason.DRIFT if scene.id in scope.read else None

    def _why_other(self, row: Row) -> Reason:
        """Return why a record of another generation is compared again."""
        is_same_settings = _settings_of(row.generation) == _settings_of(self._runner.generation)
        return Reason.ORIGIN if is_same_settings else Reason.SETTINGS

    def _has_other_cover(self, row: Row, scene: Scene) -> bool:
        """Return whether the scene was changed since, though its metadata are the same."""
        config = self._parts.plex.config
        if not (config.sync_poster or config.sync_art) or not row.cover_source:
            return False
        return address_of_cover(scene) != row.cover_source

    def _has_other_candidates(self, row: Row, scene: Scene) -> bool:
        """Return whether the index has other candidates than when the scene was last matched.

        So it is when a scene that stood in the way has left.
        """
        found = set(self._parts.plex.choose(scene.files).keys)
        known = self._parts.history.of_scene(scene.id)
        details = next((one.details for one in known if one.id == row.id), None) or {}
        if any(map(self._has_left, details.get("scenes", ()))):
            return bool(found)
        if row.status is Status.NOT_IN_PLEX:  # "not": items that are known to be another scene's
            return bool(found.difference(details.get("not", ())))
        candidates = [one.get("rating_key") for one in details.get("candidates", ())]
        return found != set(details.get("keys", candidates))

    def _has_left(self, scene_id: int) -> bool:
        """Return whether another scene is out of the way by now: ignored, left out, or gone."""
        rows = self._parts.history.rows_of([scene_id]).get(scene_id, [])
        gone = (*UNTOUCHABLE, Status.SKIPPED)
        return any(row.status in gone or row.missing_since is not None for row in rows)

    def _job(self, scene: Scene, reason: Reason, scope: Scope) -> SyncJob:
        marks: dict[str, Any] = {} if scope.pass_id is None else {PASS: scope.pass_id}
        if reason is Reason.NEW:
            marks[CREATED] = True
        elif reason is Reason.EDITED:
            marks[MISSED] = True
        if scope.force:
            marks[FORCE] = True
        run = scope.run or (RENAMED if reason is Reason.RENAMED else "")
        if run:
            marks[RUN] = run
        return create_bulk_job(scene.id, now=self._parts.env.time(), **marks)

    def _seen(self, scene: Scene, rows: Sequence[Row]) -> list[Agreement]:
        """Return what to note of a scene that nothing is to be done for."""
        if not rows:
            return [
                Agreement(
                    scene.id, Status.BASELINE, created_at=scene.created_at,
                    updated_at=scene.updated_at, files=scene.files, digest=scene.digest,
                )
            ]  # fmt: skip
        unknown = [row.id for row in rows if not row.created_at]
        if unknown:  # as ignored before it was met
            self._parts.history.update(unknown, created_at=scene.created_at)
        # A scene that was only seen has another name, or the digest is in its former form.
        stale = [
            row.id
            for row in rows
            if row.digest != scene.digest
            and (row.status is Status.BASELINE or scene.has_digest(row.digest))
        ]
        if stale:
            self._parts.history.update(stale, digest=scene.digest)
        return []

    def _compare_items(self, doubtful: Sequence[tuple[Scene, Reason]], read_at: float) -> None:
        """Compare scenes with their items; propose those that would be written."""
        with_items = [scene for scene, _ in doubtful]
        try:
            self._runner.read_ahead(with_items)
        except (sqlite3.Error, OSError):
            raise
        except PlexPermanentError as error:
            log.debug("Not read ahead: %s", error)
        proposed, exposed = [], []
        now = self._parts.env.time()
        for scene, reason in doubtful:
            self._parts.heartbeat.beat()
            fields, records = self._compare_item(scene, read_at)
            if reason is Reason.DRIFT and fields.intersection(PROTECTIVE):
                exposed.append(create_bulk_job(scene.id, now=now))  # at any number, unasked
            elif fields:
                proposed.append((scene.id, reason.value))
            elif (at := _protects_at(records)) is not None:
                exposed.append(create_bulk_job(scene.id, now=now, delay=max(0.0, at - now)))
        self._parts.queue.put_many(exposed)
        self._parts.history.propose(proposed)

    def _compare_item(self, scene: Scene, read_at: float) -> tuple[frozenset[str], list[Agreement]]:
        """Return the fields that would be written for a scene; if none, its records."""
        history = self._parts.history
        try:
            fields = self._runner.compare(scene, read_at, Intent())
        except (PlexTemporaryError, PlexPermanentError, StashUnavailable):
            raise
        except PermanentError as error:
            self._runner.record(scene.id, scene, Status.FAILED, str(error))
            return frozenset(), history.of_scene(scene.id)
        if fields:
            return fields, []
        records = history.of_scene(scene.id)
        if all(one.status in (Status.IN_SYNC, Status.WRITTEN) for one in records):
            self._parts.dlq.delete_scene(scene.id)
        return frozenset(), records


def _protects_at(records: Iterable[Agreement]) -> float | None:
    """Return when to repair again what may hide an item, in epoch seconds; None: no need."""
    return min(filter(None, (protects_at(one.fields) for one in records)), default=None)


def _settings_of(generation: str) -> list[str]:
    """Return the parts of a generation that are about settings and version; see `ItemWriter`."""
    return generation.split("-")[:2]


def _is_later(one: str, other: str) -> bool:
    """Return whether one time of Stash is later than another; unknown ones are not."""
    if one == other:
        return False
    first, second = parse_time(one), parse_time(other)
    return first is not None and second is not None and first > second
