"""Find the extended grapheme clusters of UAX #29, simplified; comments name its rules.

This test oracle is written from the standard, not from the product. Where it simplifies, it finds
fewer boundaries than the standard, never more. Conjuncts (GB9c) have a function of their own.
"""

from __future__ import annotations

import unicodedata
from enum import Enum, auto


class Kind(Enum):
    """The values of Grapheme_Cluster_Break that these tests need."""

    CONTROL = auto()
    EXTEND = auto()
    ZWJ = auto()
    SPACING = auto()
    PREPEND = auto()
    FLAG = auto()
    L = auto()
    V = auto()
    T = auto()
    LV = auto()
    LVT = auto()
    PICTURE = auto()
    OTHER = auto()


_PREPEND = frozenset("\u0d4e\U000111c2\U000111c3\U00011a3a\U0001193f\U00011941\U00011d46")
_OTHER_EXTEND = frozenset("\u200c\uff9e\uff9f")
_OTHER_SPACING = frozenset("\u0e33\u0eb3")
_PICTURES = (
    (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122),
    (0x2139, 0x2139), (0x2194, 0x21AA), (0x231A, 0x23FF), (0x25AA, 0x27BF), (0x2934, 0x2935),
    (0x2B05, 0x2B55), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3299), (0x1F000, 0x1F1E5),
    (0x1F200, 0x1F3FA), (0x1F400, 0x1FAFF),
)  # fmt: skip
#: Consonants and viramas of the scripts in GB9c (InCB=Consonant, InCB=Linker).
_CONSONANTS = (
    (0x0915, 0x0939), (0x0958, 0x095F), (0x0978, 0x097F), (0x0995, 0x09B9), (0x09DC, 0x09DF),
    (0x0A95, 0x0AB9), (0x0B15, 0x0B39), (0x0C15, 0x0C39), (0x0D15, 0x0D3A),
)  # fmt: skip
_LINKERS = frozenset("\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")


def kind_of(char: str) -> Kind:
    code, category = ord(char), unicodedata.category(char)
    named = _named_kind(char, code)
    if named is not None:
        return named
    if category in ("Mn", "Me"):
        return Kind.EXTEND
    if category == "Mc":
        return Kind.SPACING
    if category in ("Cc", "Cf", "Zl", "Zp", "Cs"):
        return Kind.CONTROL
    if any(low <= code <= high for low, high in _PICTURES):
        return Kind.PICTURE
    return _hangul_kind(code)


def _named_kind(char: str, code: int) -> Kind | None:
    if char == "\u200d":
        return Kind.ZWJ
    if char in _OTHER_EXTEND or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:
        return Kind.EXTEND
    if char in _OTHER_SPACING:
        return Kind.SPACING
    if char in _PREPEND:
        return Kind.PREPEND
    return Kind.FLAG if 0x1F1E6 <= code <= 0x1F1FF else None


def _hangul_kind(code: int) -> Kind:
    if 0xAC00 <= code <= 0xD7A3:
        return Kind.LV if (code - 0xAC00) % 28 == 0 else Kind.LVT
    for kind, ranges in (
        (Kind.L, ((0x1100, 0x115F), (0xA960, 0xA97C))),
        (Kind.V, ((0x1160, 0x11A7), (0xD7B0, 0xD7C6))),
        (Kind.T, ((0x11A8, 0x11FF), (0xD7CB, 0xD7FB))),
    ):
        if any(low <= code <= high for low, high in ranges):
            return kind
    return Kind.OTHER


_NEVER_BETWEEN = {  # GB6, GB7, GB8
    **dict.fromkeys([(Kind.L, after) for after in (Kind.L, Kind.V, Kind.LV, Kind.LVT)]),
    **dict.fromkeys(
        [(before, after) for before in (Kind.LV, Kind.V) for after in (Kind.V, Kind.T)]
    ),
    **dict.fromkeys([(before, Kind.T) for before in (Kind.LVT, Kind.T)]),
}


def is_boundary(text: str, index: int) -> bool:
    """Tell whether a cluster may end before `text[index]`, ignoring GB9c."""
    if index <= 0 or index >= len(text):
        return True  # GB1, GB2
    before, after = kind_of(text[index - 1]), kind_of(text[index])
    if Kind.CONTROL in (before, after):
        return True  # GB4, GB5
    if (before, after) in _NEVER_BETWEEN:
        return False
    if after in (Kind.EXTEND, Kind.ZWJ, Kind.SPACING) or before is Kind.PREPEND:
        return False  # GB9, GB9a, GB9b
    if before is Kind.ZWJ and after is Kind.PICTURE:
        return not _picture_before(text, index - 1)  # GB11
    if before is after is Kind.FLAG:
        return _flags_before(text, index) % 2 == 0  # GB12, GB13
    return True  # GB999


def _picture_before(text: str, index: int) -> bool:
    index -= 1
    while index >= 0 and kind_of(text[index]) is Kind.EXTEND:
        index -= 1
    return index >= 0 and kind_of(text[index]) is Kind.PICTURE


def _flags_before(text: str, index: int) -> int:
    count = 0
    while count < index and kind_of(text[index - 1 - count]) is Kind.FLAG:
        count += 1
    return count


def splits_conjunct(text: str, index: int) -> bool:
    """Tell whether a cut before `text[index]` splits consonants joined by a virama (GB9c)."""
    if not 0 < index < len(text) or not _is_consonant(text[index]):
        return False
    linked, before = False, index - 1
    while before >= 0 and kind_of(text[before]) in (Kind.EXTEND, Kind.ZWJ):
        linked = linked or text[before] in _LINKERS
        before -= 1
    return linked and before >= 0 and _is_consonant(text[before])


def _is_consonant(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in _CONSONANTS)


def first_cluster(text: str) -> str:
    """Return the first cluster of a text."""
    end = next((index for index in range(1, len(text)) if is_boundary(text, index)), len(text))
    return text[:end]
