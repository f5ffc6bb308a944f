"""Choose how much of a test runs: a part of its variants, or all with PLEXSYNC_LONG=1."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

import pytest

T = TypeVar("T")

IS_LONG = bool(os.environ.get("PLEXSYNC_LONG"))
#: A test of processes that has a quicker one inside a process.
long = pytest.mark.skipif(not IS_LONG, reason="a long one; PLEXSYNC_LONG=1 runs it")


def examples(count: int) -> int:
    """Return how many examples a property test takes: `count` in a long run, else a third of it."""
    return count if IS_LONG else count // 3


def some(values: Iterable[T], count: int) -> list[T]:
    """Return `count` of the values, evenly spread, the first among them; all in a long run."""
    every = list(values)
    if IS_LONG or len(every) <= count:
        return every
    return [every[number * len(every) // count] for number in range(count)]
