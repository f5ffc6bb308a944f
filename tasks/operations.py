"""Name all operations: task buttons (`mode`) and commands run the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.changes import pause, remove, take, try_some, undo
from tasks.check import check
from tasks.context import Context, Result
from tasks.cover import put_cover
from tasks.failed import clear_failed, clear_queue, retry_failed, show_failed
from tasks.origin import library_origin
from tasks.preview import preview, preview_all
from tasks.report import report
from tasks.rules import rules_test
from tasks.setup import pictures, setup_match, setup_test
from tasks.status import status
from tasks.sync import (
    approve,
    candidates,
    ignore,
    process_queue,
    resync,
    sync_all,
    sync_recent,
    wake,
)
from tasks.transfer import export_all, import_all
from tasks.webhook import webhook_test

Operation = Callable[[Context, Mapping[str, Any]], Result]


OPERATIONS: dict[str, Operation] = {
    "check": check,
    "sync_recent": sync_recent,
    "sync_all": sync_all,
    "resync": resync,
    "approve": approve,
    "candidates": candidates,
    "ignore": ignore,
    "process": process_queue,
    "status": status,
    "failed": show_failed,
    "retry": retry_failed,
    "clear_failed": clear_failed,
    "clear_queue": clear_queue,
    "preview": preview,
    "preview_all": preview_all,
    "report": report,
    "wake": wake,
    "setup_test": setup_test,
    "setup_match": setup_match,
    "rules_test": rules_test,
    "pictures": pictures,
    "webhook_test": webhook_test,
    "export": export_all,
    "import": import_all,
    "undo": undo,
    "take": take,
    "pause": pause,
    "try": try_some,
    "remove": remove,
    "put_cover": put_cover,
    "library_origin": library_origin,
}
