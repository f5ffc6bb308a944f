"""A hook starts the worker when all that it needs is on disk."""

from __future__ import annotations

import pytest

import PlexSync
from hooks import plugin
from stash.connection import load_connection
from tests.simulators.stash.events import server_connection
from worker.process import STARTED


def test_the_connection_is_on_disk_before_the_worker_starts(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def start(folder: str, _script: object) -> object:
        found.append(load_connection(folder))
        return STARTED

    monkeypatch.setattr(plugin, "ensure_worker", start)
    server = server_connection()
    plugin.wake_worker(data_dir, PlexSync, {"server_connection": server}, {})
    assert [one is not None and one.server for one in found] == [server]
