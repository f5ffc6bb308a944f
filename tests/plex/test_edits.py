"""Planned edits become requests: encoded for both ways Plex may take a list, locked, split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plex.desired import Switches
from plex.edits import Parameters, encode_edits
from plex.names import fold, folds, unique
from plex.plan import Edits
from tests.plex.support import PROPERTY, item, plan, synced


def encoded(
    stash: Mapping[str, Any],
    plex: Mapping[str, Any],
    known: Mapping[str, Any] | None = None,
    switches: Switches | None = None,
) -> list[Parameters]:
    """Return the requests of a plan."""
    return encode_edits(item(**plex), plan(stash, plex, known, switches))


def sent(*arguments: Any) -> Parameters:
    """Return the parameters of the only request, without locks; empty without a request."""
    requests = encoded(*arguments)
    assert len(requests) <= 1
    return {
        name: value
        for request in requests
        for name, value in request.items()
        if not name.endswith(".locked")
    }


def applied(
    requests: list[Parameters], kind: str, present: tuple[str, ...], *, add: bool
) -> list[str]:
    """Return a list after the requests.

    Args:
        add: whether Plex appends an indexed list to the old one instead of replacing it.
    """
    parameters = {name: value for one in requests for name, value in one.items()}
    gone = folds(unquote(name) for name in str(parameters.get(f"{kind}[].tag.tag-", "")).split(","))
    indexed = [
        str(value)
        for name, value in parameters.items()
        if name.startswith(f"{kind}[") and "[]" not in name
    ]
    kept = [name for name in present if fold(name) not in gone] if add or not indexed else []
    return list(unique([*kept, *indexed]))


NAMES = st.lists(st.sampled_from(["A", "a", "B", "C, D", "é", "É", "User", "x" * 50]), max_size=5)


@PROPERTY
@given(NAMES, NAMES)
def test_a_list_comes_out_right_whether_plex_replaces_or_adds(
    target: list[str], present: list[str]
) -> None:
    wanted, there = unique(target), unique(present)
    if folds(wanted) == folds(there):
        return
    requests = encode_edits(item(genres=there), Edits({"genre": (there, wanted)}))
    for add in (False, True):
        assert folds(applied(requests, "genre", there, add=add)) == folds(wanted)


AWKWARD = [
    "A, B", "'q'", '"dq"', "a&b=c", "100%", "#1", "+", "a;b",
    "é", "日本", "👩‍👩‍👧", "[x]", "%2C", "\\",
]  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_with_special_characters_is_added_and_removed_whole(name: str) -> None:
    assert sent({"tags": [name]}, {"genres": ()}) == {"genre[0].tag.tag": name}
    gone = sent({"tags": []}, {"genres": (name, "User")}, synced(genre=(name,)))
    assert unquote(str(gone["genre[].tag.tag-"])) == name
    assert "," not in str(gone["genre[].tag.tag-"])


def test_names_that_differ_beyond_ascii_are_both_removed_and_added() -> None:
    """Plex folds ASCII letters only: Straße and Strasse are two tags."""
    edits = sent({"tags": ["Straße"]}, {"genres": ("Strasse",)}, synced(genre=("Strasse",)))
    assert edits == {"genre[0].tag.tag": "Straße", "genre[].tag.tag-": "Strasse"}


def test_an_actor_keeps_the_name_of_the_character() -> None:
    plex = {"actors": ("Ann",), "characters": {"Ann": "Queen"}}
    edits = sent({"performers": ["Ann", "Bob"]}, plex)
    assert {name: value for name, value in edits.items() if "text" in name} == {
        "actor[0].tagging.text": "Queen"
    }


def test_characters_are_of_actors_only() -> None:
    plex = {"genres": ("Old",), "characters": {"Ann": "Queen"}}
    assert not [name for name in sent({"tags": ["Ann"]}, plex) if "text" in name]


def test_only_written_fields_are_locked() -> None:
    stash, plex = {"title": "New", "tags": ["A"]}, {"studio": "St", "genres": ("A", "B")}
    (request,) = encoded(stash, plex)
    locks = {name: value for name, value in request.items() if name.endswith(".locked")}
    assert locks == {"title.locked": 1, "genre.locked": 1}
    (request,) = encoded(stash, plex, None, Switches(lock=False))
    assert not [name for name in request if name.endswith(".locked")]


def test_without_differences_there_is_no_request() -> None:
    assert encoded({}, {}) == []


# --- the length of a request


def longest(requests: list[Parameters]) -> int:
    """Return the longest request's length in bytes."""
    return max(
        sum(
            len(quote(name, safe="")) + len(quote(str(value), safe="")) + 2
            for name, value in one.items()
        )
        for one in requests
    )


@pytest.mark.parametrize("letter", ["x", "é", "あ", "👩", "👩‍👩‍👧", " word", "%"])
@pytest.mark.parametrize("count", [9_999, 10_000, 30_000])
def test_a_long_summary_fits_and_is_stable(letter: str, count: int) -> None:
    stash = {"details": (letter * count)[:count]}
    first = plan(stash, {})
    assert longest(encode_edits(item(), first)) < 30_000
    text = first.changes["summary"][1]
    assert isinstance(text, str)
    assert 0 < len(text) <= 10_000
    assert not plan(stash, {"summary": text}, first.fields).changes


def test_many_long_names_and_a_long_summary_fit_together() -> None:
    """Plex refuses a request of 33 kB, and the whole scene would stay unsynced."""
    fields = {"details": "あ" * 9000, "tags": [f"タグの名前{number:03d}" for number in range(250)]}
    requests = encoded(fields, {"genres": tuple(f"古い名前{number:03d}" for number in range(60))})
    assert longest(requests) < 32_000
    assert [one for one in requests if one.get("summary.value")]


def test_a_split_keeps_fields_whole_and_sends_each_parameter_once() -> None:
    fields = {
        "details": "あ" * 9000,
        "tags": [f"タグの名前{number:03d}" for number in range(200)],
        "performers": [f"出演者の名前{number:03d}" for number in range(200)],
    }
    requests = encoded(fields, {})
    assert len(requests) > 1
    names = [name for one in requests for name in one]
    assert len(names) == len(set(names))
    for kind in ("genre", "actor", "summary"):
        assert len([one for one in requests if any(name.startswith(kind) for name in one)]) == 1
    assert [
        one[f"genre[{number}].tag.tag"] for one in requests for number in range(200)
        if f"genre[{number}].tag.tag" in one
    ] == fields["tags"]  # fmt: skip
