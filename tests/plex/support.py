"""Shared helpers: Hypothesis settings, a fake sleep, an in-memory index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

from common.sqlite import IN_MEMORY, connect
from plex.index import FileIndex
from tests.simulators.plex import PlexSimulator

TOKEN = "tok-1234567890abcdef"
MAPPINGS = (("/data", "/media"),)
PROPERTY = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class FakeSleep:
    """Record the seconds of each sleep and return at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@contextmanager
def open_index(path: Path | None = None) -> Iterator[FileIndex]:
    connection = connect(IN_MEMORY if path is None else str(path))
    try:
        yield FileIndex(connection)
    finally:
        connection.close()


def requests_of(plex: PlexSimulator) -> list[tuple[str, str]]:
    return [(exchange.request.method, exchange.request.path) for exchange in plex.log.all()]
