"""Check the arguments of a view. They come from a browser, as text or as numbers."""

from __future__ import annotations

from common.texts import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Rows of a page, at most and by default.
MOST_ROWS, ROWS = 100, 50
#: The largest number that SQLite stores.
_LARGEST = 2**63 - 1
#: Digits of the largest number, and characters of a wrong value that a message repeats.
_DIGITS, _SHOWN = 19, 60


class WrongArgument(ValueError):
    """Signal a missing or wrong argument. The text is one line for the user."""


def number(
    arguments: Mapping[str, object],
    name: str,
    *,
    lowest: int = 1,
    highest: int = _LARGEST,
    default: int | None = None,
) -> int:
    """Return a whole number.

    Raises:
        WrongArgument: it is not one, out of its range, or missing without a default.
    """
    value = arguments.get(name)
    if value is None or value == "":
        if default is None:
            raise WrongArgument(f"{name} is missing")
        return default
    found = _number(value)
    if found is None or not lowest <= found <= highest:
        raise WrongArgument(
            f"{name} is {_shown(value)}: it must be a number from {lowest} to {highest}"
        )
    return found


def numbers(arguments: Mapping[str, object], name: str, most: int) -> list[int]:
    """Return a list of ids; a text has them separated by commas.

    Raises:
        WrongArgument: it is not a list, it is too long, or one of them is not an id.
    """
    value = arguments.get(name)
    parts = value.split(",") if isinstance(value, str) and value.strip() else value
    if not isinstance(parts, list):
        raise WrongArgument(f"{name} is {_shown(value)}: it must be a list of ids")
    if len(parts) > most:
        raise WrongArgument(f"{name} has {len(parts)} ids: {most} at most")
    return [number({name: one}, name) for one in parts]


def text(arguments: Mapping[str, object], name: str, *, most: int = 200) -> str:
    """Return a text, "" if it is missing.

    Raises:
        WrongArgument: it is not a text, or too long.
    """
    value = arguments.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise WrongArgument(
            f"{name} is {_shown(value)}: it must be a text of {most} characters at most"
        )
    return value


def one_of(arguments: Mapping[str, object], name: str, allowed: Sequence[str]) -> str:
    """Return a text that is one of these.

    Raises:
        WrongArgument: it is another one.
    """
    value = arguments.get(name)
    if value is None and "" in allowed:
        return ""
    if not isinstance(value, str) or value not in allowed:
        known = ", ".join(filter(None, allowed))
        raise WrongArgument(f"{name} is {_shown(value)}: it must be one of {known}")
    return value


def limit(arguments: Mapping[str, object]) -> int:
    """Return the argument `limit`: rows of a page.

    Raises:
        WrongArgument
    """
    return number(arguments, "limit", highest=MOST_ROWS, default=ROWS)


def cursor(arguments: Mapping[str, object], parts: int) -> list[int] | None:
    """Return the numbers in the cursor `after`; None for the first page.

    Raises:
        WrongArgument: no view has handed out this cursor.
    """
    value = arguments.get("after")
    if value is None or value == "":
        return None
    found = [_number(one) for one in str(value).split(":")] if _is_short(value) else []
    if len(found) != parts or any(one is None for one in found):
        raise WrongArgument(f"after is {_shown(value)}: it must be a view's next")
    return [one for one in found if one is not None]


def _is_short(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= _SHOWN)


def _number(value: object) -> int | None:
    """Return a whole number that SQLite can store, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value <= _LARGEST else None
    if not isinstance(value, str):
        return None
    digits = value.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS):
        return None
    return int(digits) if int(digits) <= _LARGEST else None


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, (str, int, float)) and len(str(value)[: _SHOWN + 1]) <= _SHOWN:
        return one_line(repr(value))
    return f"a {type(value).__name__} that does not fit"
