"""Keep parts of libraries that nothing here uses out of the memory of a resident process."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import PackageNotFoundError, version

#: From this version on, requests works without a package that guesses the encoding of texts.
_GUESSES_OPTIONALLY = (2, 34)


def skip_unused() -> None:
    """Let libraries find that optional packages are missing, before they are imported.

    persist-queue's asynchronous queues load asyncio. requests loads tables for guessing how a text
    is encoded: Plex and Stash say it. Both go on without; together they take 4 MB.
    """
    sys.modules.setdefault("persistqueue.async_queue", None)  # type: ignore[arg-type]
    if _version_of("requests") >= _GUESSES_OPTIONALLY:
        for guesser in ("chardet", "charset_normalizer"):
            sys.modules.setdefault(guesser, None)  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")


def _version_of(package: str) -> tuple[int, ...]:
    try:
        parts = version(package).split(".")[:2]
        return tuple(int(part) for part in parts)
    except (PackageNotFoundError, ValueError):
        return ()
