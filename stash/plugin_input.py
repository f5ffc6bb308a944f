"""What Stash writes to a plugin's stdin, and the one JSON document that it reads from its stdout."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, TextIO


class InputError(Exception):
    """What came on stdin is not what Stash sends. The text is one line for the user."""


def read_input(stream: BinaryIO) -> dict[str, Any]:
    """Read the plugin's input to its end.

    Raises:
        InputError: it is empty, not JSON, or no object.
    """
    raw = stream.read()
    if not raw.strip():
        raise InputError(
            "stdin is empty: Stash writes one JSON document there when it runs the plugin"
        )
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"stdin is not JSON ({str(error)[:120]})") from None
    if not isinstance(content, dict):
        raise InputError(f"stdin is JSON but no object: {type(content).__name__}")
    arguments = content.get("args")
    if arguments is not None and not isinstance(arguments, dict):
        raise InputError(f"args is no object: {type(arguments).__name__}")
    return content


def write_response(
    *, output: object = None, error: str | None = None, stream: TextIO | None = None
) -> None:
    """Write the answer: `{"error": …}` if there is one, else `{"output": …}`."""
    answer = {"output": output} if error is None else {"error": " ".join(error.split())}
    target = stream or sys.stdout
    try:
        target.write(json.dumps(answer) + "\n")  # ASCII: whatever encoding stdout has
        target.flush()
    except OSError:  # nobody reads it: the user has stopped the task, say; what was done is done
        return
