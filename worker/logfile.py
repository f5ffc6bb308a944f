"""The worker's log file: rotating, private, without secrets."""

from __future__ import annotations

import logging
import logging.handlers
import os

from common.files import ensure_private, open_private
from common.redaction import RedactingFormatter, Redactor

FILE = "worker.log"
_BYTES = 1_000_000
_BACKUPS = 2
_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _PrivateRotatingHandler(logging.handlers.RotatingFileHandler):
    """Create each new file with mode 0600, never through a link."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Return whether the file is full; the base class would format each record twice."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes

    def _open(self):  # type: ignore[no-untyped-def]
        return os.fdopen(
            open_private(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            "a",
            encoding="utf-8",
        )


def open_log(data_dir: str, redactor: Redactor) -> logging.Handler:
    """Send everything that is logged to `worker.log` in the data directory.

    Returns:
        The handler, for `close_log`.

    Raises:
        OSError: it can't be written.
    """
    path = os.path.join(data_dir, FILE)
    ensure_private(path)
    handler = _PrivateRotatingHandler(path, maxBytes=_BYTES, backupCount=_BACKUPS, encoding="utf-8")
    handler.setFormatter(RedactingFormatter(redactor, _FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("plexsync").setLevel(logging.DEBUG)
    return handler


def tail(path: str, lines: int) -> list[str]:
    """Return the last lines of a log, also from before its last rotation."""
    found: list[str] = []
    for name in (f"{path}.1", path):
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                found += file.readlines()
        except OSError:
            continue
    return found[-lines:]


def close_log(handler: logging.Handler) -> None:
    """Undo `open_log`."""
    logging.getLogger().removeHandler(handler)
    handler.close()
