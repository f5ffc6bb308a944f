"""Make texts from outside fit for a log and a terminal. Loaded by the hook."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Characters of one message or stored text. Paths have up to 4,096.
MAX_LENGTH = 8_000

# Control characters could recolour a terminal, or forge a line of the log. Characters that turn the
# direction of writing could make one file name look like another.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_ESCAPES = {code: _escaped(code) for code in (*_CONTROLS, *_DIRECTIONS)}


def cut(text: str, length: int = MAX_LENGTH) -> str:
    """Return `text`, cut if it is longer than `length`; it then says how long it was."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"


def printable(text: str) -> str:
    """Return `text` with control characters, and lone surrogates, as visible escapes."""
    if text.isascii() and text.isprintable():
        return text
    # A file name that is not UTF-8 has lone surrogates.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.translate(_ESCAPES)


def one_line(text: str) -> str:
    """Return `text` as one printable line; its line breaks become spaces."""
    return printable(" ".join(text.splitlines()).strip())


def first_of(names: Sequence[str], count: int) -> str:
    """Return the first of some names, and how many more there are: "a, b and 3 more"."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def duration_in_words(seconds: float) -> str:
    """Return a length of time: "61 minutes", "3 hours", "2 days"."""
    for unit, name in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"
