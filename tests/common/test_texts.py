"""Texts from outside: no control character reaches a log or a terminal, nothing is too long."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from common.texts import cut, one_line, printable

#: By category: controls, and the characters that turn the direction of writing.
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = {"\u200e", "\u200f", "\u061c"}


def test_no_control_or_direction_character_stays() -> None:
    dangerous = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDI
        or character in MARKS
    ]
    assert len(dangerous) > 2_000
    for character in dangerous:
        shown = printable(f"a{character}b")
        assert character not in shown
        assert shown.isascii()


def test_escapes_can_be_read() -> None:
    assert printable("a\x1b[31mb\u202egpj.mp4\udc80") == "a\\x1b[31mb\\u202egpj.mp4\\udc80"


@pytest.mark.parametrize("text", ["", "a b", "Zoë's 日本語 – 🎬", "שלום", "C:\\x1b"])
def test_other_texts_stay(text: str) -> None:
    assert printable(text) == text
    assert one_line(text) == text


def test_a_line_break_is_escaped_or_becomes_a_space() -> None:
    assert printable("a\nb") == "a\\x0ab"
    assert one_line(" a\r\nb\u2028c\n") == "a b c"


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert cut("x" * 8_000) == "x" * 8_000
    assert cut("x" * 8_001) == "x" * 8_000 + "… (8001 characters)"
    assert cut("abc", 2) == "ab… (3 characters)"
