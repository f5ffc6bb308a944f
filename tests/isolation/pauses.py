"""Pause each process of the tests at random places, as a busy machine does.

`PLEXSYNC_PAUSES=0.03 make test` finds what fails by chance, in tests and in PlexSync: of a hundred
times that a process is about to use a file, a folder, a database, a connection, a thread or another
process, it first sleeps three times, mostly for less than half a second, now and then for seconds.
"""

import os
import random
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Environment variable: the share of those events before which a process sleeps.
VARIABLE = "PLEXSYNC_PAUSES"
#: Audit events, see docs.python.org/3/library/audit_events.html
_EVENTS = frozenset((
    "fcntl.flock", "http.client.connect", "http.client.send", "os.kill", "os.listdir", "os.mkdir",
    "os.remove", "os.rename", "os.scandir", "os.truncate", "os.utime", "socket.bind",
    "socket.connect", "sqlite3.connect", "subprocess.Popen", "_thread.start_new_thread",
))  # fmt: skip
#: Files that matter also when they are only read; a process reads hundreds of modules.
_DATA = (".db", ".json", ".jsonl", ".lock", ".log")
#: Shares, and limits in seconds, of the two kinds of pauses.
_USUAL, _RARE, _SHARE_OF_RARE = (0.02, 0.5), (0.5, 2.5), 0.1


def begin() -> None:
    """Sleep now and then from here on, if the variable says so."""
    share = float(os.environ.get(VARIABLE) or 0)
    if share > 0:
        # Of the system: a test that sets a seed does not choose the pauses.
        sys.addaudithook(_Pauses(share, random.SystemRandom()))


class _Pauses:
    """An audit hook that sleeps."""

    def __init__(self, share: float, numbers: random.Random) -> None:
        self._share = share
        self._numbers = numbers

    def __call__(self, event: str, arguments: "tuple[Any, ...]") -> None:
        if event not in _EVENTS and not (event == "open" and _matters(*arguments[:2])):
            return
        if self._numbers.random() < self._share:
            is_rare = self._numbers.random() < _SHARE_OF_RARE
            time.sleep(self._numbers.uniform(*(_RARE if is_rare else _USUAL)))


def _matters(path: object, mode: object) -> bool:
    """Return whether a file is written, or is one of data."""
    is_written = isinstance(mode, str) and not {"w", "a", "x", "+"}.isdisjoint(mode)
    return is_written or (isinstance(path, str) and path.endswith(_DATA))
