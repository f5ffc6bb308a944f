"""Read `history.db` although values in it may be damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def ask(db: sqlite3.Connection, question: Callable[[sqlite3.Connection], T]) -> T:
    """Return the answer to a question in SQL; a text in it that is not UTF-8 becomes bytes."""
    try:
        return question(db)
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        db.text_factory = _text  # not from the start: it makes each text slower
        return question(db)


def is_damaged(row: tuple[Any, ...]) -> bool:
    """Tell whether a row has a text that can't be read."""
    return any(isinstance(value, bytes) for value in row)


def fits(row: tuple[Any, ...], *kinds: type | tuple[type, ...]) -> bool:
    """Tell whether each value of a row is of its type."""
    return all(map(isinstance, row, kinds))


def _text(stored: bytes) -> str | bytes:
    """Return a text, or bytes if it is not UTF-8, so that the other columns can be read."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored
