"""Tests of sanitizing text for Plex, with generated and hand-picked inputs."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.harness.size import examples
from tests.validation.graphemes import first_cluster, is_boundary, splits_conjunct
from validation.sanitizers import sanitize_for_plex, sanitize_summary

PROPERTY = settings(
    max_examples=examples(200),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
FAMILY = "👩‍👩‍👧‍👦"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
CLUSTERS = [
    "a", "b ", " ", "  ", "\n", ".", "word", "é", "e\u0301", "a\u0308\u0323", "ḍ̇", "👍🏽",
    FAMILY, "❤️‍🔥", "🏳️‍🌈", "🇩🇪", "🇯🇵", "🇺", SCOTLAND, "1\ufe0f\u20e3", "한",
    "\u1112\u1161\u11ab", "\u1100", "\u1161", "\u11ab", "각\u11a8", "कि", "नी",
    "\u0930\u094d\u0915", "क्ष", "ক্ষ", "நி", "ກຳ", "น้ำ", "ที่", "ｶ\uff9e", "\u200d", "\u200c",
    "می‌خواهم", "שָׁ", "ع\u064e", "日本", "葛\U000e0100", "—", "…", "“", "’", "\u200b", "\ufeff",
    "\x00", "\x1f", "\u202e", "\u00ad", "\t", "\r\n", "\u2028", "\u3000", "\u00a0", "\ud800", "𝒳",
    "ß", "ﬁ", "Å", "\u212b", "\u0d4e\u0d15", "🧑🏿‍🤝‍🧑🏻",
]  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(CLUSTERS), max_size=60).map("".join),
    st.text(st.characters(exclude_categories=()), max_size=80),
    st.text(max_size=80),
)
LENGTHS = st.integers(min_value=1, max_value=70)


def is_visible(text: str) -> bool:
    return any(unicodedata.category(char)[0] in "LNPS" for char in text)


@PROPERTY
@given(TEXTS, LENGTHS, st.booleans())
@example("a" * 10 + "e\u200b\u0301", 11, False)
@example("\u200d", 5, False)
def test_a_second_time_changes_nothing(text: str, length: int, lines: bool) -> None:
    once = sanitize_for_plex(text, length, keep_newlines=lines)
    assert sanitize_for_plex(once, length, keep_newlines=lines) == once


@PROPERTY
@given(TEXTS, LENGTHS, st.booleans())
def test_it_is_never_longer_than_allowed(text: str, length: int, lines: bool) -> None:
    assert len(sanitize_for_plex(text, length, keep_newlines=lines)) <= length


@PROPERTY
@given(TEXTS, LENGTHS, st.booleans())
@example("🇩🇪" * 10, 7, False)
@example(FAMILY * 4, 10, False)
@example("한" + "\u1100\u1161\u11ab" * 9, 8, False)
@example("กำ" * 20, 5, False)
@example("ｶ\uff9e" * 20, 5, False)
def test_a_cut_is_never_inside_a_grapheme_cluster(text: str, length: int, lines: bool) -> None:
    whole = sanitize_for_plex(text, 10**6, keep_newlines=lines)
    cut = sanitize_for_plex(text, length, keep_newlines=lines)
    assert whole.startswith(cut)
    assume(len(first_cluster(whole)) <= length)
    assert is_boundary(whole, len(cut)), f"{whole[: len(cut)]!r} | {whole[len(cut) :]!r}"


ROWS = {
    "flags": "🇩🇪", "skin tones": "👍🏽", "families": FAMILY, "flags of tags": SCOTLAND,
    "keycaps": "1\ufe0f\u20e3", "couples": "🧑🏿\u200d🤝\u200d🧑🏻",
    "Hangul jamo": "\u1100\u1161\u11ab", "old Hangul": "\u1112\u119e\u11ab", "Devanagari": "कि",
    "Tamil": "நி", "Hebrew points": "שָׁ", "Arabic marks": "ب\u064e\u0651",
    "marks": "x\u0323\u0308", "variants": "葛\U000e0100", "Thai": "กำ", "Lao": "ກຳ",
    "half-width Katakana": "ｶ\uff9e",
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_repeated_clusters_are_cut_between_two_of_them(kind: str) -> None:
    cluster = unicodedata.normalize("NFC", ROWS[kind])
    for length in range(len(cluster), len(cluster) * 6):
        cut = sanitize_for_plex(cluster * 10, length)
        assert cut == cluster * (length // len(cluster))


@PROPERTY
@given(
    st.lists(st.sampled_from(["क्ष", "ক্ষ", "त्र", "र्क", "a", " ", "क", "ज्ञ"]), max_size=30).map(
        "".join
    ),
    LENGTHS,
)
@example("क्ष" * 10, 5)
def test_a_cut_is_never_inside_a_conjunct(text: str, length: int) -> None:
    whole, cut = sanitize_for_plex(text, 10**6), sanitize_for_plex(text, length)
    assume(length >= 4)
    assert not splits_conjunct(whole, len(cut)), f"{whole[: len(cut)]!r} | {whole[len(cut) :]!r}"


@PROPERTY
@given(TEXTS, LENGTHS)
def test_a_visible_text_never_becomes_empty(text: str, length: int) -> None:
    assume(is_visible(unicodedata.normalize("NFC", text)))
    assert sanitize_for_plex(text, length)


@PROPERTY
@given(TEXTS, LENGTHS, st.booleans())
def test_forbidden_characters_are_removed(text: str, length: int, lines: bool) -> None:
    clean = sanitize_for_plex(text, length, keep_newlines=lines)
    assert clean == unicodedata.normalize("NFC", clean)
    assert clean == clean.strip()
    allowed = {"\u200c", "\u200d", *(chr(code) for code in range(0xE0020, 0xE0080))} | (
        {"\n"} if lines else set()
    )
    assert not [
        char
        for char in clean
        if unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in allowed
    ]
    assert not set(clean) & set("‘’“”–—…\u2028\u2029\u00a0\u3000")
    assert "  " not in clean
    clean.encode()


@PROPERTY
@given(TEXTS)
def test_newlines_stay_in_summaries_only(text: str) -> None:
    assert "\n" not in sanitize_for_plex(f"a\n{text}\nb")
    assert "\n" in sanitize_summary(f"a\n{text}\nb")
    assert "\n\n\n" not in sanitize_summary(text)


UNTOUCHED = [
    "Anna-Lena O'Neill", "Ängström Æsir Øre", "Łukasz Żółć", "Đorđe", "Пётр Ильи́ч", "Ελένη",
    "Հայկ", "שָׁלוֹם", "مُحَمَّد", "می‌خواهم", "हिन्दी", "क्‍ष", "বাংলা", "தமிழ்", "తెలుగు",
    "ಕನ್ನಡ", "മലയാളം", "ไทย น้ำ", "ລາວ ກຳ", "မြန်မာ", "ខ្មែរ", "ქართული", "አማርኛ",
    "日本語 ひらがな カタカナ", "中文 (繁體)", "한국어", "🇩🇪 🏳️‍🌈 👍🏽", FAMILY, SCOTLAND, "1️⃣",
    "❤️‍🔥", "100% [x] {y} #1 & <b>", "C++ / C#", "«guillemets» ¿qué? ¡sí!", "½ ² ™ © €",
    "葛\U000e0100飾区", "𝒳 𐍈", "ẞß ﬁ", "Aʻo Hawaiʻi",
]  # fmt: skip


@pytest.mark.parametrize("name", UNTOUCHED)
def test_names_in_any_script_are_unchanged(name: str) -> None:
    assert sanitize_for_plex(name) == unicodedata.normalize("NFC", name)
    assert sanitize_summary(name) == unicodedata.normalize("NFC", name)


@PROPERTY
@given(
    st.text(
        st.characters(categories=("L", "N", "S", "Po"), exclude_characters="‘’“”…′″−‚„‛‟"),
        max_size=60,
    )
)
def test_letters_digits_and_symbols_are_only_composed(text: str) -> None:
    assert sanitize_for_plex(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("char", ["\uf8ff", "\ue000", "\U000f0000"])
def test_private_characters_are_neither_control_nor_format_and_stay(char: str) -> None:
    assert sanitize_for_plex(f"a{char}b") == f"a{char}b"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("“double” ‘single’ „low‟ ‚low‛", "\"double\" 'single' \"low\" 'low'"),
        ("en–dash em—dash bar―", "en-dash em-dash bar-"),
        ("wait…", "wait..."),
        ("a\t b\u00a0\u3000c \n d", "a b c d"),
        ("  around  ", "around"),
        ("nul\x00 bell\x07 del\x7f c1\x9f", "nul bell del c1"),
        ("zero\u200bwidth \ufeffbom so\u00adft \u202ebidi\u202c", "zerowidth bom soft bidi"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),
        ("lone \ud83d surrogate", "lone surrogate"),
        ("", ""),
        (None, ""),
        (" \n\t ", ""),
        ("\u200b\u2060", ""),
    ],
)
def test_the_contracts_examples(text: str | None, clean: str) -> None:
    assert sanitize_for_plex(text) == clean


@pytest.mark.parametrize(
    "text", ["\u200d", "\u200c", "\u200d \u200c", "\u200b\u200d", "\U000e0067"]
)
def test_joiners_alone_are_removed(text: str) -> None:
    assert sanitize_for_plex(text) == ""


def test_summaries_keep_their_lines() -> None:
    assert (
        sanitize_summary("one \r\n two\rthree\n\n\n\n\nfour  five")
        == "one\ntwo\nthree\n\nfour five"
    )


@pytest.mark.parametrize("length", [255, 10_000])
def test_the_limits_are_reached_and_not_passed(length: int) -> None:
    sanitize = sanitize_summary if length == 10_000 else sanitize_for_plex
    assert len(sanitize("x" * length)) == length
    assert len(sanitize("x" * (length + 1))) == length


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a" * 85 + " " + "b" * 40, "a" * 85),
        ("a" * 75 + " " + "b" * 40, "a" * 75 + " " + "b" * 24),
        ("a" * 100 + " b", "a" * 100),
        ("a" * 99 + " b", "a" * 99),
        ("a" * 90 + " bb ccccccccc", "a" * 90 + " bb"),
    ],
)
def test_the_cut_is_at_a_words_end_past_four_fifths(text: str, cut: str) -> None:
    assert sanitize_for_plex(text, 100) == cut


def test_a_single_overlong_cluster_is_cut_rather_than_lost() -> None:
    assert sanitize_for_plex("a" + "\u0301" * 500, 255)


def test_long_hostile_texts_do_not_hang() -> None:
    for text in (
        "🇩" * 200_000,
        "\u200d" * 200_000,
        "a\u0301" * 200_000,
        "\n " * 200_000,
        "\u200b\u0301" * 100_000,
    ):
        sanitize_summary(text)
        sanitize_for_plex(text)
