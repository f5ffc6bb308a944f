"""Hold the state of one hook process: data directory, inbox, sync timestamps."""

from __future__ import annotations

import os

from common.data_dir import HERE, old_places
from common.layout import is_outdated, is_ready
from hooks.events import RELATED, RELATED_DESTROYED, SCENE_CREATE, SCENE_UPDATE, read_event
from hooks.handlers import on_related_destroyed, on_related_update, on_scene_update
from queue.inbox import QUEUE_DIR, Inbox
from queue.models import CREATED
from queue.operations import enqueue, load_sync_timestamps
from queue.spool import spool
from queue.timestamps import LazyTimestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from queue.models import SyncJob
    from queue.timestamps import Loader


class HookSession:
    """Handle the events of one hook process.

    Files are opened on first use: most events of a scan need none.
    """

    def __init__(
        self,
        data_dir: str,
        settings: dict[str, Any],
        load_timestamps: Loader = load_sync_timestamps,
        plugin_dir: str = HERE,
        server: dict[str, Any] | None = None,
    ) -> None:
        """Create a session without opening files.

        Args:
            settings: the settings in the input, for the worker.
            load_timestamps: reads all sync timestamps where one can't be looked up alone.
            plugin_dir: the plugin's folder.
            server: `server_connection` of the input.
        """
        self.data_dir = data_dir
        self.settings = settings
        self.sync_timestamps = LazyTimestamps(data_dir, load_timestamps)
        self._plugin_dir = plugin_dir
        self._server = server
        self._inbox: Inbox | None = None

    def handle(self, hook_context: object) -> dict[str, Any]:
        """Queue a job for a hook event and return the response for Stash.

        Raises:
            EventError: PlexSync does not handle this event.
            OSError, sqlite3.Error: the queue can't be written.
        """
        kind, object_id, update = read_event(hook_context)
        if kind in RELATED:
            return {
                f"{RELATED[kind]}_id": object_id,
                "queued": on_related_update(kind, object_id, update, self),
            }
        if kind in RELATED_DESTROYED:
            queued = on_related_destroyed(kind, self)
            return {f"{RELATED_DESTROYED[kind]}_id": object_id, "queued": queued}
        if kind == SCENE_UPDATE:
            queued = on_scene_update(object_id, update, self, self.data_dir, self.sync_timestamps)
            return {"scene_id": object_id, "queued": queued}
        enqueue(self, object_id, "metadata", {CREATED: True} if kind == SCENE_CREATE else {})
        return {"scene_id": object_id, "queued": True}

    def put(self, job: SyncJob, /) -> int | None:
        """Add a job to the queue's inbox; spool it while the data directory is not up to date.

        Raises:
            OSError, sqlite3.Error: the queue can't be written.
        """
        if self._inbox is None:
            if not is_ready(self.data_dir, self._old_places()):
                spool(os.path.join(self.data_dir, QUEUE_DIR), job)
                return None
            self._inbox = Inbox(self.data_dir)
        return self._inbox.put(job)

    def is_outdated(self) -> bool:
        """Return whether a worker is to bring the data directory up to date; edits may wait."""
        return is_outdated(self.data_dir, self._old_places())

    def _old_places(self) -> Iterator[str]:
        return old_places(self.data_dir, self._plugin_dir, self._server)

    def close(self) -> None:
        """Close the inbox."""
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
