"""What the simulators' own tests share."""

from __future__ import annotations

from datetime import timedelta, timezone

TOKEN = "secret-token"
FOLDER = "/media/scenes"
HOUR = timezone(timedelta(hours=1))
#: 2026-01-05T10:00:00+01:00
START = 1_767_603_600


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now
