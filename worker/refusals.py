"""Record and report, field by field, what Plex does not take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from history.fields import Fields, FieldState, Value
from history.records import PICTURES, Agreement, Status
from plex.items import PlexItem
from worker.reporter import Reporter

#: Names of a list, and characters of a text, that a message shows.
_NAMES, _CHARACTERS = 3, 60
_MEGABYTE = 1_000_000


def refuse_fields(fields: Fields, errors: Mapping[str, Exception]) -> dict[str, FieldState]:
    """Return the states after Plex has refused some of the fields that were sent."""
    found = dict(fields)
    for name, error in errors.items():
        state = found[name]
        found[name] = replace(
            state, refused=True, why=f"{_shown(state.sent)}: {error}", sent=None, replaced=None,
            claim=None, take=False,
        )  # fmt: skip
    return found


def refuse_poster(state: FieldState, sha1: str, size: int, error: Exception) -> FieldState:
    """Return a poster's or background's state after Plex has refused a picture.

    Args:
        size: bytes.
    """
    why = f"{size / _MEGABYTE:.1f} MB: {error}"
    return replace(state, wanted=sha1, refused=True, why=why, kept=False, take=False)


def reason_of(fields: Fields) -> str:
    """Return what Plex does not take, with each value, cut, and the reason; "" if all is taken."""
    refused = [
        f"{PICTURES.get(name, name)}{f' ({state.why})' if state.why else ''}"
        for name, state in fields.items()
        if state.refused
    ]
    return f"Plex does not take {', '.join(refused)}" if refused else ""


def status_of(fields: Fields, *, is_written: bool) -> Status:
    """Return the status of a record with these fields.

    Args:
        is_written: a write is still to be read back.
    """
    if is_written:
        return Status.WRITTEN
    refused = any(state.refused for state in fields.values())
    return Status.REFUSED if refused else Status.IN_SYNC


def report_refusal(reporter: Reporter, row: Agreement, item: PlexItem) -> None:
    """Tell the user what Plex does not take."""
    reporter.notify_user(
        "warning",
        f"Scene {row.scene_id}, {item.title!r} in {item.library!r}: {reason_of(row.fields)}. It is"
        " tried again when the value changes in Stash, or with Retry failed",
    )


def _shown(value: Value | None) -> str:
    if isinstance(value, tuple):
        more = f" and {len(value) - _NAMES} more" if len(value) > _NAMES else ""
        return f"{', '.join(value[:_NAMES])!r}{more}"
    text = value or ""
    return repr(text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…")
