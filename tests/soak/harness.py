"""The campaign's harness: films in both servers, decoys in Plex, edits and kills."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from history.store import FILE
from tests.harness.installation import ProcessHarness
from tests.harness.processes import kill_workers
from tests.harness.results import jobs_left
from tests.simulators.httpd import Answer, FaultRule, Request
from tests.simulators.plex import PlexItem
from tests.simulators.plex.notifications import PROCESSED
from tests.simulators.stash.plugins import Caller
from tests.soak.plan import SCENES
from tests.soak.points import Trap

TIME_SCALE = 0.01
#: Much longer than the pause between two quick passes: a worker that is alive finds missed edits.
IDLE = 20.0
#: Studios of no scene. When there are fewer, PlexSync runs a full pass.
UNUSED = 2_400
_FEWER = 4
_NOTHING = json.dumps({"data": {"findScenes": {"scenes": []}, "hierarchy": {"tags": []}}}).encode()
USER, PASSWORD = "soak-user", "soak-password-9876543210"


class SoakHarness(ProcessHarness):
    """Run both servers and change them. Each film has a slot number."""

    def __init__(self, folder: Path, *, blind: bool, locks: bool = True) -> None:
        """Start the servers.

        Args:
            blind: Stash lists no recent changes, so that no pass can hide a job that the queue
                loses. (The first full pass is over by then, the next is a day away.)
            locks: written fields are locked in Plex, so that a refresh leaves them.
        """
        self.trap = Trap(folder)
        self.disk = SmallDisk(folder / "data")
        #: a database was damaged, so that files of it stay
        self.is_damaged = False
        self.blind = blind
        self.locks = locks
        super().__init__(
            folder,
            env={
                **self.trap.environment,
                "PLEXSYNC_TIME_SCALE": str(TIME_SCALE),
                "PLEXSYNC_IDLE_TIMEOUT": str(IDLE),
            },
            stash_options={
                "username": USER,
                "password": PASSWORD,
            },
            settings={
                "poll_interval": "0.2",
                "plex_read_timeout": 5,
                "lock_fields": locks,
                "plex_events": True,
            },
        )
        self.attic = self.plex.add_library("Attic", locations=["/attic"])
        self.scene_ids: dict[int, int] = {}
        #: rating key → slot of every item so far; decoys have None
        self.keys: dict[int, int | None] = {}
        #: slot → changes of its item in Plex without a change in Stash
        self.disturbed: Counter[int] = Counter()
        #: slots that were changed without a hook that finished
        self.missed_slots: set[int] = set()
        self.rules: dict[str, FaultRule] = {}
        #: workers that were killed by their process id
        self.killed_workers = 0
        self.edits = 0
        self._unused = 0
        #: what workers wrote to stderr (the next worker's start truncates the file)
        self.stderr: set[str] = set()
        self._lock = threading.Lock()

    # -- scenes --

    def add_film(
        self, slot: int, fields: dict[str, Any] | None = None, *, late: bool = False
    ) -> None:
        if not late:
            self.add_film_item(slot)
        decoy = self.plex.add_item(self.attic, f"/attic/{_name(slot)}", size=_size(slot) + 1)
        self.keys[decoy.rating_key] = None
        values = {"title": "", **self._values(slot, fields or {})}
        cover = values.pop("cover_image", None)
        scene = self.stash.add_scene(
            **values, files=[(f"/data/{slot % 3}/{_name(slot)}", _size(slot))], cover=_decode(cover)
        )
        self.scene_ids[slot] = scene.id
        self.missed_slots.add(slot)

    def add_film_item(self, slot: int) -> None:
        item = self.plex.add_item(self.library, _plex_path(slot), size=_size(slot))
        self.keys[item.rating_key] = slot

    def file_appears(self, slot: int) -> None:
        """Let a scan of Plex find the file."""
        if self.plex.find(_plex_path(slot)) is None:
            self.plex.add_file(_plex_path(slot), _size(slot))
            self.plex.scan(self.library)

    def learn_keys(self) -> None:
        """Record the rating keys of items that a scan added."""
        for item in self.plex.items(self.library):
            self.keys.setdefault(item.rating_key, slot_of(item.path))

    def replace_item(self, slot: int) -> None:
        if self.item_at(slot) is not None:
            self.learn_keys()  # it may have been written already
            self.keys[self.plex.replace_item(_plex_path(slot)).rating_key] = slot
            self.disturbed[slot] += 1

    def remove_item(self, slot: int) -> None:
        item = self.item_at(slot)
        if item is not None:
            self.learn_keys()
            self.plex.remove_item(item.rating_key)
            self.disturbed[slot] += 1

    def refresh_item(self, slot: int) -> None:
        item = self.item_at(slot)
        if item is not None:
            self.plex.refresh_item(item.rating_key)
            self.disturbed[slot] += 1

    def storm(self, items: int) -> None:
        """Have Plex tell of many items at once: of all that it has, and of many that it has not."""
        for item in self.plex.items(self.library):
            self.plex.events.tell(item, PROCESSED)
        events, unknown = self.plex.events, range(1_000_000, 1_000_000 + items)
        for start in range(0, items, 50):
            keys = unknown[start : start + 50]
            entries = [events.entry(self.library.key, key, PROCESSED, 5) for key in keys]
            events.send_entries(entries)

    def item_at(self, slot: int) -> PlexItem | None:
        return self.plex.find(_plex_path(slot))

    # -- edits --

    def save_film(
        self, slot: int, fields: dict[str, Any], killed_after: float | None = None
    ) -> None:
        def edit(caller: Caller) -> None:
            self.stash.save_scene(self.scene_ids[slot], caller=caller, **self._values(slot, fields))

        self._edited([slot], edit, killed_after)

    def bulk(self, slots: list[int], fields: dict[str, Any]) -> None:
        ids = [self.scene_ids[slot] for slot in slots]
        self._edited(slots, lambda caller: self.stash.bulk_save(ids, caller=caller, **fields))

    def tagger(self, saves: list[tuple[int, dict[str, Any]]]) -> None:
        inputs = [
            {"id": str(self.scene_ids[slot]), **self._values(slot, fields)}
            for slot, fields in saves
        ]
        self._edited(
            [slot for slot, _ in saves],
            lambda caller: self.stash.tagger_save(inputs, caller=caller),
        )

    def silent(self, slot: int, fields: dict[str, Any]) -> None:
        values = self._values(slot, fields)
        if "cover_image" in values:
            values["cover"] = _decode(values.pop("cover_image"))
        self.stash.change_silently(self.scene_ids[slot], **values)
        self.missed_slots.add(slot)
        self._count()

    def rename(self, kind: str, which: str, name: str) -> None:
        if not self.blind:
            self.stash.rename_silently(kind, which, name)
            self._count()

    def merge(self, kind: str, source: str, destination: str) -> None:
        if not self.blind:
            self.stash.merge_silently(kind, [source], destination)
            self._count()

    def destroy(self, slot: int) -> None:
        self.stash.destroy_scene(self.scene_ids.pop(slot))
        self._count()

    def _edited(
        self, slots: list[int], edit: Callable[[Caller], object], killed_after: float | None = None
    ) -> None:
        """Save and wait for the hooks as a browser does; leaving early kills the running hook."""
        caller = Caller(USER, base_url=self.stash.url)
        timer = threading.Timer(killed_after or 0.0, caller.cancel)
        if killed_after is not None:
            timer.start()
        self._count()
        try:
            edit(caller)
        except Exception as error:
            if type(error).__name__ != "RequestCancelled":
                raise
        finally:
            timer.cancel()
            if len(caller.runs) < len(slots) or any(run.exit_code != 0 for run in caller.runs):
                self.missed_slots.update(slots)

    def _values(self, slot: int, fields: dict[str, Any]) -> dict[str, Any]:
        values = dict(fields)
        for name in ("title", "details"):
            if name in values:
                values[name] = values[name].format(slot=mark(slot))
        if "cover" in values:
            values["cover_image"] = _cover(slot, values.pop("cover"))
        return values

    def _count(self) -> None:
        with self._lock:
            self.edits += 1

    # -- passes --

    def hide_changes(self) -> None:
        """Let Stash list no recent changes from here on."""
        self.stash.faults.add(
            Answer(200, _NOTHING, {"Content-Type": "application/json"}), when=_asks_for_latest
        )

    def add_unused(self) -> None:
        for number in range(1, UNUSED + 1):
            self.stash.add_studio(f"Unused {number}")

    def ask_for_full_pass(self) -> None:
        """Delete some studios of no scene: whatever passes did not see is found."""
        for _ in range(_FEWER):
            self._unused += 1
            self.stash.destroy_silently("studio", f"Unused {self._unused}")

    def state(self, name: str) -> Any:
        """Return a value of the history's table of states."""
        with contextlib.suppress(sqlite3.Error), closing(self._history()) as connection:
            row = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
            return json.loads(row[0]) if row else None
        return None

    def statuses(self) -> dict[int, set[str]]:
        """Return scene id → the statuses of its records."""
        found: dict[int, set[str]] = {}
        with closing(self._history()) as connection:
            for scene_id, status in connection.execute(
                "SELECT scene_id, status FROM agreements WHERE retired_at IS NULL"
            ):
                found.setdefault(scene_id, set()).add(status)
        return found

    def _history(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.data_dir / FILE}?mode=ro", uri=True, timeout=60.0)

    # -- workers --

    def kill_workers(self) -> None:
        self.read_stderr()
        self.killed_workers += len(kill_workers(self.data_dir))

    def read_stderr(self) -> None:
        with contextlib.suppress(OSError):
            text = (self.data_dir / "worker.stderr").read_text(errors="replace")
            if text:
                self.stderr.add(text)

    # -- files --

    def damage_row(self, pick: float) -> None:
        """Make a waiting row one that is no job."""
        file = self.data_dir / "queue" / "data.db"
        if self.blind or not file.exists():  # only a pass can find what is lost
            return
        with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(file)) as database:
            rows = database.execute("SELECT _id FROM ack_queue_default WHERE status < 2").fetchall()
            if rows:
                chosen = rows[int(pick * len(rows))]
                database.execute("UPDATE ack_queue_default SET data = '[]' WHERE _id = ?", chosen)
                database.commit()

    def damage_bytes(self, name: str, place: float) -> None:
        """Kill the worker and overwrite some bytes of a database."""
        file = self.data_dir / name
        self.kill_workers()
        if self.blind or not file.exists():
            return
        with file.open("r+b") as content:
            content.seek(int(place * file.stat().st_size))
            content.write(b"\xa5" * 64)
        self.is_damaged = True

    def shift_clock(self, seconds: float) -> None:
        """Have the processes that start from here on live with a wrong clock."""
        self.trap.clock.write_text(str(seconds), encoding="ascii")

    def died(self) -> set[int]:
        """Return the slots of scenes that were given up, as the worker was killed with them."""
        with closing(self._history()) as connection:
            found = connection.execute(
                "SELECT scene_id FROM agreements"
                " WHERE status = 'failed' AND reason LIKE '%worker died%' AND retired_at IS NULL"
            ).fetchall()
        scenes = {scene_id for (scene_id,) in found}
        return {slot for slot, scene_id in self.scene_ids.items() if scene_id in scenes}

    def close(self) -> None:
        self.disk.free()
        try:
            super().close()
        finally:
            self.disk.close()

    # -- checks --

    def unfinished(self) -> list[str]:
        """Return the differences between Plex and Stash, and the jobs still queued."""
        found = [
            f"scene {self.scene_ids[slot]} (slot {slot}): {line}"
            for slot in sorted(self.scene_ids)
            for line in self._differences(slot)
        ]
        left = jobs_left(self.data_dir)
        return found + ([f"{left} jobs are left"] if left else [])

    def _differences(self, slot: int) -> list[str]:
        scene = self.stash.scene(self.scene_ids[slot])
        item = self.item_at(slot)
        lines = self.differences(scene)
        if (
            item is not None
            and scene.cover is not None
            and (item.poster is None or item.poster.data != scene.cover)
        ):
            lines.append("the poster is not the scene's cover")
        if self.synced_at(scene) is None:
            lines.append("it has no timestamp")
        return lines


class SmallDisk:
    """A file system of its own for the data directory, where that is allowed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=0700", "tmpfs", str(folder)]
        self._folder = folder
        self.is_mounted = False
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(command, capture_output=True, check=False)
            self.is_mounted = done.returncode == 0

    def fill(self) -> None:
        """Leave no space."""
        if self.is_mounted:
            with (
                contextlib.suppress(OSError),
                (self._folder / "filler").open("wb", buffering=0) as filler,
            ):
                while filler.write(b"\0" * 4_096):
                    pass

    def free(self) -> None:
        (self._folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self._folder)], check=True)


@contextmanager
def open_harness(*, blind: bool = False, locks: bool = True) -> Iterator[SoakHarness]:
    """Set everything up; at the end stop every process and remove the temp folder."""
    with (
        tempfile.TemporaryDirectory(prefix="plexsync-soak-") as name,
        SoakHarness(Path(name), blind=blind, locks=locks) as harness,
    ):
        harness.add_unused()
        for slot in range(SCENES):
            harness.add_film(slot)
        yield harness


def _asks_for_latest(request: Request) -> bool:
    return b"PlexSyncLatest" in request.body


def mark(slot: int) -> str:
    """Return the mark in every text of a scene, which reveals writes to a wrong item."""
    return f"film-{slot:04d}"


def slot_of(path: str) -> int:
    return int(Path(path).stem.rpartition("-")[2])


def _name(slot: int) -> str:
    return f"{mark(slot)}.mp4"


def _plex_path(slot: int) -> str:
    return f"/media/{slot % 3}/{_name(slot)}"


def _size(slot: int) -> int:
    return 1_000_000 + 10 * slot


def _cover(slot: int, version: int) -> str:
    content = b"\x89PNG\r\n\x1a\n" + f"{mark(slot)} {version} ".encode() * 20
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _decode(data_url: str | None) -> bytes | None:
    return None if data_url is None else base64.b64decode(data_url.partition(",")[2])
