"""The simulators of Stash and Plex with the same scenes, in a separate process (see `remote`)."""

from __future__ import annotations

import os
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import PlexSync

PlexSync.host_queue_package()

from tests.benchmarks.remote import serve  # noqa: E402 - after the standard queue hosts ours
from tests.harness.installation import ProcessHarness  # noqa: E402
from tests.harness.processes import wait_until  # noqa: E402
from tests.simulators.httpd import Delay, Exchange, FaultRule  # noqa: E402

_DETAILS = "A summary of ordinary length, as people write them. " * 5
_PATIENCE = 300.0
#: Seconds without a request after which a worker has come to rest: longer than events rest, and
#: than a look at the latest changes waits.
_QUIET = 15.0


class Servers:
    """Scene n of Stash (from 1) has the same file as the n-th item of Plex."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._delay: FaultRule | None = None
        self._edits = 0

    def start(self, data_dir: str = "") -> dict[str, Any]:
        """Start both; return Stash's `server_connection`.

        Args:
            data_dir: the plugin's, when its hooks run.
        """
        harness = ProcessHarness(
            Path(self._folder),
            data_dir=Path(data_dir) if data_dir else None,
            env={"PLEXSYNC_IDLE_TIMEOUT": "", "PLEXSYNC_TIME_SCALE": "1"},
            settings={"poll_interval": None, "plex_events": None},
        )
        self.harness = self._open.enter_context(harness)
        self.plex, self.stash = harness.plex, harness.stash
        cookie = {"Name": "session", "Value": self.stash.cookie()}
        return {
            "Scheme": "http",
            "Host": "127.0.0.1",
            "Port": self.stash.server.port,
            "SessionCookie": cookie,
        }

    def set(self, **settings: Any) -> None:
        """Replace the plugin's settings; address, token and mapping are always there."""
        self.harness.configure(**settings)

    def close(self) -> None:
        self._open.close()

    def fill(self, scenes: int, in_sync: bool = False) -> None:
        """Add typical scenes, changed an hour ago, and their items as after a scan of Plex.

        Args:
            in_sync: Plex shows all that the scenes have already.
        """
        changed_at = time.time() - 3600
        for number in range(scenes):
            path = f"{number // 200:05}/scene {number:06}.mp4"
            scene: dict[str, Any] = {
                "title": f"Scene {number}",
                "details": _DETAILS.strip(),
                "date": "2024-05-06",
                "studio": f"Studio {number % 50}",
                "performers": [f"Performer {number % 100}", f"Performer {number % 77 + 100}"],
                "tags": [
                    f"Tag {number % 30}",
                    f"Tag {number % 31 + 30}",
                    f"Tag {number % 37 + 61}",
                ],
            }
            self._add_item(path, number, _as_item(scene) if in_sync else {})
            files = [(f"/data/{path}", 1_000_000)]
            self.stash.add_scene(**scene, files=files, updated_at=changed_at)

    def fill_plex(self, items: int, first: int = 0) -> None:
        """Add items to Plex alone."""
        for number in range(first, first + items):
            self._add_item(f"{number // 200:05}/scene {number:06}.mp4", number)

    def _add_item(self, path: str, number: int, values: dict[str, Any] | None = None) -> None:
        """Add an unchanged item. Plex added ten a second; the newest is a day old or older."""
        added_at = time.time() - 200_000 + number // 10
        item = self.plex.add_item(
            self.harness.library, f"/media/{path}", added_at=added_at, **(values or {})
        )
        item.updated_at = item.added_at

    def plex_address(self) -> dict[str, Any]:
        """Return the arguments that open the index."""
        return {"url": self.plex.url, "token": self.plex.token, "section": self.harness.library.key}

    def touch(self, items: int) -> None:
        """Change some items in Plex, spread over the library."""
        everything = self.plex.items(self.harness.library)
        for item in everything[:: max(1, len(everything) // items)][:items]:
            self.plex.refresh_item(item.rating_key)

    def edit(self, first: int, count: int) -> None:
        """Change title, tags and details of scenes without a hook, dated an hour ago."""
        self._edits += 1
        for scene_id in range(first, first + count):
            self.stash.change_silently(
                scene_id,
                title=f"Scene {scene_id}, edit {self._edits}",
                details=f"{_DETAILS} {self._edits}",
                tags=[f"Tag {scene_id % 30}", f"Edit {self._edits}"],
                updated_at=time.time() - 3600 + self._edits,
            )

    def delay(self, seconds: float) -> None:
        """Delay each response of Plex by this time."""
        if self._delay:
            self._delay.remove()
        self._delay = self.plex.faults.add(Delay(seconds)) if seconds else None

    def requests(self) -> dict[str, int]:
        """Count the requests since the last call: to Plex, to Stash, and for covers."""
        counts = {"Plex": 0, "Stash": 0, "covers": 0}
        for where, log in (("Plex", self.plex.log), ("Stash", self.stash.log)):
            for exchange in log.all():
                is_cover = _is_cover(exchange.request.path)
                counts["covers" if is_cover else where] += 1
            log.clear()
        return counts

    def cpu(self) -> float:
        """Return the CPU seconds that both simulators have used."""
        return time.process_time()

    def record(self) -> list[dict[str, Any]]:
        """Return the requests since the last `requests` in order, for a replay."""
        both = [(self.plex.url, one) for one in self.plex.log.all()]
        both += [(self.stash.url, one) for one in self.stash.log.all()]
        return [_recorded(url, one) for url, one in sorted(both, key=lambda pair: pair[1].at)]

    def windows(self) -> list[float]:
        """Return the seconds from each item's read to its write, of the requests so far.

        What a person changes in Plex in between may get lost.
        """
        read_at: dict[str, float] = {}
        found = []
        for one in self.plex.log.all():
            request = one.request
            if request.method == "GET" and request.path.startswith("/library/metadata/"):
                done = one.at + one.seconds
                read_at.update(dict.fromkeys(request.path.split("/")[3].split(","), done))
            elif request.method == "PUT" and (key := request.first("id")) in read_at:
                found.append(one.at - read_at[key])
        return found

    def differing(self, first: int, count: int) -> int:
        """Count the scenes whose title in Plex differs."""
        return sum(not self._shown(scene_id) for scene_id in range(first, first + count))

    def save(self) -> dict[str, float]:
        """Save a scene with its hook and wait for the edit in Plex; return the seconds."""
        self._edits += 1
        scene_id, before, start = 1 + self._edits % 10, len(self.plex.writes), time.time()
        blocked = self.stash.save_scene(scene_id, title=f"Saved {self._edits}").blocked_seconds
        wait_until(
            lambda: len(self.plex.writes) > before and self._shown(scene_id), "the title", _PATIENCE
        )
        return {"blocked": blocked, "latency": self.plex.writes[-1].at - start}

    def save_all(self, scenes: int) -> None:
        """Save the first scenes with their hooks, and wait for all edits in Plex."""
        for scene_id in range(1, scenes + 1):
            self.stash.save_scene(scene_id, title=f"Saved {scene_id}")
        wanted = range(1, scenes + 1)
        wait_until(lambda: all(map(self._shown, wanted)), "all titles", _PATIENCE)
        self.wait_for_stream()

    def wait_for_stream(self) -> None:
        """Wait until the worker has connected to Plex's events and looked at all changes."""
        wait_until(lambda: self.plex.events.streams, "the event stream", _PATIENCE)
        self._wait_until_quiet()

    def refresh(self, scene_id: int) -> float:
        """Have Plex overwrite an item; return the seconds from its event to the edit in Plex."""
        item = self.harness.item_of(self.stash.scene(scene_id))
        item.locked.clear()
        before, start = len(self.plex.writes), time.time()
        self.plex.refresh_item(item.rating_key)
        wait_until(
            lambda: len(self.plex.writes) > before and self._shown(scene_id), "the title", _PATIENCE
        )
        return self.plex.writes[-1].at - start

    def storm(self, changes: bool) -> float:
        """Have Plex read all items again; return the seconds until the worker is quiet.

        Args:
            changes: the items' fields are overwritten; else only their `updatedAt` moves.
        """
        start = time.time()
        for item in self.plex.items(self.harness.library):
            if changes:
                self.plex.refresh_item(item.rating_key)
            else:
                self.plex.touch_item(item.rating_key)
        return self._wait_until_quiet() - start

    def _wait_until_quiet(self) -> float:
        """Wait until no request came for a while; return when the last one came."""
        start = time.time()

        def last() -> float:
            both = (*self.plex.log.all()[-1:], *self.stash.log.all()[-1:])
            return max((start, *(one.at + one.seconds for one in both)))

        wait_until(lambda: time.time() - last() > _QUIET, "no more requests", 4 * _PATIENCE)
        return last()

    def burst(self, edits: int, scenes: int, at_once: int) -> dict[str, Any]:
        """Save scenes as fast as possible; return the seconds of the hooks and of the sync."""
        order = random.Random(6).choices(range(1, scenes + 1), k=edits)
        start = time.time()
        with ThreadPoolExecutor(at_once) as pool:
            saves = list(
                pool.map(
                    lambda one: self.stash.save_scene(one[1], title=f"Burst {one[0]}"),
                    enumerate(order),
                )
            )
        saved = time.time() - start
        hooks = [run for save in saves for run in save.hooks]
        failed = sum(1 for run in hooks if run.exit_code)
        distinct = set(order)
        wait_until(lambda: all(map(self._shown, distinct)), "all titles", _PATIENCE)
        shown = self.plex.writes[-1].at - start
        seconds = [run.seconds for run in hooks]
        return {
            "hooks": seconds,
            "failed": failed,
            "saved": saved,
            "shown": shown,
            "scenes": len(distinct),
        }

    def _shown(self, scene_id: int) -> bool:
        scene = self.stash.scene(scene_id)
        item = self.harness.find_item(scene)
        return item is not None and item.title == scene.title


def _recorded(url: str, exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    wanted = ("accept", "content-type", "cookie", "apikey", "x-plex-token", "accept-encoding")
    return {
        "method": request.method,
        "url": url + request.target,
        "headers": {name: value for name, value in request.headers.items() if name in wanted},
        "body": request.body.decode("latin-1"),
        "cover": _is_cover(request.path),
    }


def _is_cover(path: str) -> bool:
    return path.endswith("/screenshot")


def _as_item(scene: dict[str, Any]) -> dict[str, Any]:
    """Return what Plex shows of a scene."""
    return {
        "title": scene["title"],
        "summary": scene["details"],
        "studio": scene["studio"],
        "year": int(scene["date"][:4]),
        "originally_available_at": scene["date"],
        "genres": scene["tags"],
        "actors": scene["performers"],
        "collections": [scene["studio"]],
    }


def main() -> None:
    os.environ.pop("STASH_PLUGIN_DATA", None)
    with tempfile.TemporaryDirectory(prefix="plexsync-bench-") as folder:
        servers = Servers(folder)
        try:
            serve(servers)
        finally:
            servers.close()


if __name__ == "__main__":
    main()
