"""Compare names of tags, people and collections as Plex does."""

from __future__ import annotations

from collections.abc import Iterable

from validation.sanitizers import fold as fold


def folds(names: Iterable[str]) -> frozenset[str]:
    """Return names as Plex compares them."""
    return frozenset(map(fold, names))


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without repetitions; the first spelling stays."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(fold(name), name)
    return tuple(found.values())


def without(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are not among the others."""
    there = folds(others)
    return tuple(name for name in names if fold(name) not in there)


def within(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are among the others."""
    there = folds(others)
    return tuple(name for name in names if fold(name) in there)
