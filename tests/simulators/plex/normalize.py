"""Values that the server stores in another form than a client wrote them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

NormalizeText = Callable[[str, str], str]
"""Return the text that is stored for a field, given the field's name and the text written."""
NormalizeTags = Callable[[str, list[str]], list[str]]
"""Return an item's tags as they are stored, given their kind and the names written."""


@dataclass(frozen=True)
class Normalize:
    """How the server changes the values that clients write."""

    texts: Sequence[NormalizeText] = ()
    """Applied to each field in this order; numbers come as text too."""
    tags: Sequence[NormalizeTags] = ()
    """Applied to all tags of a kind that an edit changes, in this order."""

    def text(self, name: str, text: str) -> str:
        for step in self.texts:
            text = step(name, text)
        return text

    def names(self, kind: str, names: list[str]) -> list[str]:
        for step in self.tags:
            names = step(kind, names)
        return names


def trimmed(_name: str, text: str) -> str:
    """Drop spaces at both ends, and periods at the end."""
    return text.strip().rstrip(".").rstrip()


def cut(name: str, length: int) -> NormalizeText:
    """Keep only the first characters of a field."""
    return lambda given, text: text[:length] if given == name else text


def whole_stars(name: str, text: str) -> str:
    """Round a user rating to whole stars; a star is two points."""
    if name != "userRating" or not text:
        return text
    return str(float(int(float(text) / 2 + 0.5) * 2))


def in_order(key: Callable[[str], object] = str.casefold) -> NormalizeTags:
    """Store tags in another order than written."""
    return lambda _kind, names: sorted(names, key=key)  # type: ignore[arg-type]


def spelled(forms: Mapping[str, str]) -> NormalizeTags:
    """Store some names in the server's own form."""
    return lambda _kind, names: [forms.get(name, name) for name in names]
