"""Shared helpers: Hypothesis settings, a fake sleep, an in-memory index, plans of edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from common.sqlite import IN_MEMORY, connect
from history.fields import Fields, FieldState, Value
from plex.desired import Switches
from plex.index import FileIndex
from plex.items import PlexItem
from plex.plan import Edits, Intent, plan_edits
from tests.harness.size import examples
from tests.simulators.plex import PlexSimulator
from validation.metadata import SyncMetadata

TOKEN = "tok-1234567890abcdef"
MAPPINGS = (("/data", "/media"),)
PROPERTY = settings(
    max_examples=examples(150),
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


def item(**fields: Any) -> PlexItem:
    """Return an item without values, but for its title, with these."""
    texts: dict[str, Any] = dict.fromkeys(
        ("title", "summary", "studio", "date", "year", "rating"), ""
    )
    lists: dict[str, Any] = dict.fromkeys(("genres", "actors", "directors", "collections"), ())
    values = {"rating_key": 7, "library": "Scenes", **texts, "title": "T", **lists, **fields}
    return PlexItem(library_key=1, **{**values, "locked": frozenset(values.get("locked", ()))})


def synced(**values: Value) -> dict[str, FieldState]:
    """Return the history of fields that we filled with these values, and Plex showed them."""
    return {
        name: FieldState(before=type(value)(), ours=value, wanted=value, observed=value)
        for name, value in values.items()
    }


def plan(
    stash: Mapping[str, Any],
    plex: Mapping[str, Any] | PlexItem,
    known: Fields | None = None,
    switches: Switches | None = None,
    *,
    stem: str = "stem",
    intent: Intent | None = None,
    now: float = 1_700_000_000.0,
) -> Edits:
    """Plan edits: Stash says, Plex has, the history knows. By default both have the title T."""
    return plan_edits(
        plex if isinstance(plex, PlexItem) else item(**plex),
        SyncMetadata.model_validate({"title": "T", **stash}),
        stem,
        known or {},
        switches or Switches(),
        intent or Intent(),
        now,
    )


def targets(edits: Edits) -> dict[str, Value]:
    """Return Plex field → what it gets; lists without regard to order."""
    return {
        name: tuple(sorted(target)) if isinstance(target, tuple) else target
        for name, (_, target) in edits.changes.items()
    }
