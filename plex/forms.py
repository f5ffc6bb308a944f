"""Recognize a value in a form of Plex's own: cut, trimmed, or spelled in another way."""

from __future__ import annotations

import re
import unicodedata

#: Fewest characters of a beginning that counts as the whole text, cut by Plex.
_SHORTEST_CUT = 20
_RATING = re.compile(r"\d{1,2}\.\d")
#: Points of a rating (0.0 to 10.0) that make a star: Plex may round to whole stars.
_STAR = 2


def is_form_of(shown: str, sent: str) -> bool:
    """Return whether Plex shows the sent text or name in a form of its own.

    Any other text is not ours: a person, a tool or a refresh wrote it.
    """
    letters = _letters(sent)
    if letters and _letters(shown) == letters:
        return True
    if len(shown) >= _SHORTEST_CUT and sent.startswith(shown.rstrip(" .…")):
        return True
    return _is_rounded(shown, sent)


def _letters(text: str) -> str:
    """Return letters and digits alone, without case and accents."""
    spelled = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in spelled if character.isalnum())


def _is_rounded(shown: str, sent: str) -> bool:
    if not (_RATING.fullmatch(shown) and _RATING.fullmatch(sent)):
        return False
    there, ours = float(shown), float(sent)
    # Plex has no reason to change whole stars: a person did.
    return there % _STAR == 0 and ours % _STAR != 0 and abs(there - ours) <= _STAR / 2
