"""Read a plugin's input from stdin and write its response to stdout."""

from __future__ import annotations

import json
import sys

from common.texts import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, TextIO


class InputError(Exception):
    """Signal invalid input on stdin. The message is one line for the user."""


def read_input(stream: BinaryIO) -> dict[str, Any]:
    """Read the plugin's input.

    Raises:
        InputError: the input is empty, not JSON, or not an object.
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
        raise InputError(f"stdin is JSON but not an object: {type(content).__name__}")
    arguments = content.get("args")
    if arguments is not None and not isinstance(arguments, dict):
        raise InputError(f"args is not an object: {type(arguments).__name__}")
    return content


def write_response(
    *, output: object = None, error: str | None = None, stream: TextIO | None = None
) -> None:
    """Write the response: `{"error": …}` if there is an error, else `{"output": …}`.

    Stash logs an error as it is.
    """
    response = {"output": output} if error is None else {"error": one_line(error)}
    target = stream or sys.stdout
    try:
        target.write(
            json.dumps(response) + "\n"
        )  # ASCII, so the encoding of stdout does not matter
        target.flush()
    except OSError:  # stdout is closed, for example because the user stopped the task
        return
