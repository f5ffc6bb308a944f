"""Sanitize text for Plex. Pure functions on strings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

#: Maximum length in characters of a title, a studio or a name, and of a summary.
NAME_LENGTH = 255
SUMMARY_LENGTH = 10_000

_ZWNJ, _ZWJ = "\u200c", "\u200d"
# The tag characters inside a flag emoji such as Scotland's.
_TAG_SPACE, _TAG_END = 0xE0020, 0xE007F
_JOINERS = _ZWNJ + _ZWJ + "".join(map(chr, range(_TAG_SPACE, _TAG_END + 1)))
# Letters that extend the one before: Thai and Lao sara am, half-width voicing marks. Their category
# does not say so.
_EXTENDING_LETTERS = "\u0e33\u0eb3\uff9e\uff9f"
# Marks that belong to the letter after them (Grapheme_Cluster_Break=Prepend).
_PREPENDED = "\u0d4e\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011d46\U00011f02"
#: Canonical combining class of viramas.
_VIRAMA = 9
_TYPOGRAPHY = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'",
        "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u201f": '"', "\u2033": '"',
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2015": "-",
        "\u2212": "-",
        "\u2026": "...",
    }
)  # fmt: skip
_BLANKS = re.compile(r"[^\S\n]+")
_BLANKS_AND_LINES = re.compile(r"\s+")
_LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85|\x0b|\x0c")
_AROUND_LINES = re.compile(r" ?\n ?")
_EMPTY_LINES = re.compile(r"\n{3,}")
# Characters that are shown as emoji: most of planes 1's symbols, those of plane 0 that are emoji by
# themselves (Unicode's emoji-data.txt, Emoji_Presentation), and others with U+FE0F after them.
_EMOJI = re.compile(
    "(?:[0-9#*]\ufe0f?\u20e3"
    "|[\U0001f000-\U0001faff\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615"
    "\u2648-\u2653\u267f\u2693\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3"
    "\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf"
    "\u2b1b\u2b1c\u2b50\u2b55]|[^\\x00-\\x7f]\ufe0f)"
    "(?:[\ufe0f\u200d\U000e0020-\U000e007f]|\u200d[^\\x00-\\x7f]\ufe0f?)*"
)
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
#: Cut at the last blank if it lies beyond this fraction of the maximum length.
_MIN_KEPT_FRACTION = 0.8


def sanitize_for_plex(
    text: str | None, max_length: int = NAME_LENGTH, *, keep_newlines: bool = False
) -> str:
    """Sanitize a text for Plex and shorten it to `max_length` characters.

    The result is in NFC and without control and format characters, except for the joiners that
    scripts and emoji need. Typographic quotes, dashes and the ellipsis become ASCII; white space is
    collapsed. A long text is cut at the end of a word if one lies beyond 80 % of `max_length`, and
    never inside a letter with its marks or an emoji sequence.

    Args:
        keep_newlines: keep line breaks (for a summary), at most one empty line in a row.
    """
    if not text or max_length <= 0:
        return ""
    text = str(text)
    is_clean = text.isascii() and text.isprintable() and text == " ".join(text.split())
    if not is_clean:
        text = _clean(text, keep_newlines)
    return _cut(text, max_length) if len(text) > max_length else text


@lru_cache(maxsize=50_000)  # rules compare each name of a scene with each of theirs
def fold(name: str) -> str:
    """Return a name as Plex compares it: ASCII letters without case, all else exactly.

    Plex stores tags with SQLite's NOCASE (facts of its schema: `COLLATE NOCASE`).
    """
    return name.translate(_ASCII_LOWER)


def without_emoji(text: str) -> str:
    """Return a sanitized text without emoji."""
    shorter = _EMOJI.sub("", text)
    return text if shorter == text else sanitize_summary(shorter)


def sanitize_names(names: Sequence[str | None]) -> tuple[str, ...]:
    """Sanitize names; drop empty ones, and those that are one name to Plex."""
    kept: dict[str, str] = {}
    for text in names:
        name = sanitize_for_plex(text)
        kept.setdefault(fold(name), name)
    kept.pop("", None)
    return tuple(kept.values())


def sanitize_summary(text: str | None) -> str:
    """Sanitize a summary for Plex: keep line breaks, at most 10,000 characters."""
    return sanitize_for_plex(text, SUMMARY_LENGTH, keep_newlines=True)


def _clean(text: str, keep_newlines: bool) -> str:
    """Repeat the clean-up until nothing changes.

    One pass can create work for the next: removing a character can bring a mark next to a letter.
    """
    while True:
        cleaned = _LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text)).translate(_TYPOGRAPHY)
        # All characters to be removed are unprintable, so most texts skip the slow loop.
        if not cleaned.replace("\n", "").isprintable():
            cleaned = "".join(char for char in cleaned if _is_kept(char))
        if keep_newlines:
            cleaned = _EMPTY_LINES.sub("\n\n", _AROUND_LINES.sub("\n", _BLANKS.sub(" ", cleaned)))
        else:
            cleaned = _BLANKS_AND_LINES.sub(" ", cleaned)
        # Joiners at the start have nothing to join.
        cleaned = unicodedata.normalize("NFC", cleaned.strip().lstrip(_JOINERS))
        if cleaned == text:
            return cleaned
        text = cleaned


def _is_kept(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Cn":  # unassigned: may be a newer emoji; XML excludes U+FFFE and U+FFFF
        return ord(char) & 0xFFFE != 0xFFFE
    if category == "Cc":
        return char in "\n\t"
    if category == "Cf":
        return char in _JOINERS
    return category != "Cs"  # lone surrogates


def _cut(text: str, max_length: int) -> str:
    end = max_length
    while end > 0 and _belongs_together(text, end):
        end -= 1
    if end == 0:  # a single long sequence: cut it rather than lose everything
        end = max_length
    if not text[end].isspace():
        blank = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
        if blank > max_length * _MIN_KEPT_FRACTION:
            end = blank
    return text[:end].rstrip()


def _belongs_together(text: str, index: int) -> bool:
    """Tell whether a cut before `text[index]` would split a grapheme cluster (part of UAX #29)."""
    here, before = text[index], text[index - 1]
    if _extends(here) or before == _ZWJ or before in _PREPENDED:
        return True
    if _is_flag_letter(here):  # a flag is a pair of letters: split only between pairs
        run = index
        while run > 0 and _is_flag_letter(text[run - 1]):
            run -= 1
        return (index - run) % 2 == 1
    if _is_hangul_vowel_or_end(here):
        return (
            _is_hangul_start(before)
            or _is_hangul_vowel_or_end(before)
            or _is_hangul_syllable(before)
        )
    if _is_hangul_start(here) or _is_hangul_syllable(here):
        return _is_hangul_start(before)
    return unicodedata.category(here) == "Lo" and _is_conjoined(text, index)


def _is_conjoined(text: str, index: int) -> bool:
    """Tell whether a virama joins `text[index]` to the consonant before (rule GB9c)."""
    while index > 0 and _extends(text[index - 1]):
        index -= 1
        if unicodedata.combining(text[index]) == _VIRAMA:
            return True
    return False


def _extends(char: str) -> bool:
    return (
        char in _JOINERS
        or char in _EXTENDING_LETTERS
        or unicodedata.category(char) in ("Mn", "Me", "Mc")
        or 0x1F3FB <= ord(char) <= 0x1F3FF  # skin tones
    )


def _is_flag_letter(char: str) -> bool:
    return 0x1F1E6 <= ord(char) <= 0x1F1FF


def _is_hangul_start(char: str) -> bool:
    return 0x1100 <= ord(char) <= 0x115F or 0xA960 <= ord(char) <= 0xA97F


def _is_hangul_vowel_or_end(char: str) -> bool:
    return 0x1160 <= ord(char) <= 0x11FF or 0xD7B0 <= ord(char) <= 0xD7FF


def _is_hangul_syllable(char: str) -> bool:
    return 0xAC00 <= ord(char) <= 0xD7A3
