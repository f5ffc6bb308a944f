"""Tables of the write rules: (Stash value, Plex value, last written value) → request sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plex.edits import Edits, Switches, plan_edits, split_requests
from plex.items import PlexItem
from tests.plex.support import PROPERTY
from validation.metadata import SyncMetadata


def item(**fields: Any) -> PlexItem:
    empty: dict[str, Any] = dict.fromkeys(
        ("title", "summary", "studio", "date", "year", "rating"), ""
    )
    lists: dict[str, Any] = dict.fromkeys(("genres", "actors", "directors", "collections"), ())
    return PlexItem(
        library_key=1,
        **{"rating_key": 7, "library": "Scenes", **empty, "title": "T", **lists, **fields},
    )


def plan(
    stash: Mapping[str, Any],
    plex: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    switches: Switches | None = None,
    stem: str = "stem",
) -> Edits:
    metadata = SyncMetadata.model_validate({"title": "T", **stash})
    return plan_edits(item(**plex), metadata, stem, as_stored(before or {}), switches or Switches())


def as_stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the history as it is read back from JSON: with lists instead of tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()
    }


def sent(edits: Edits) -> dict[str, str | int]:
    """Return the request parameters without the locks."""
    return {name: value for name, value in edits.parameters.items() if not name.endswith(".locked")}


# --- texts

# (Stash value, Plex value, last written value, preserve, value sent or None)
TEXTS = [
    ("new", "", None, False, "new"),
    ("new", "old", None, False, "new"),
    ("same", "same", None, False, None),
    ("same", "same", "same", False, None),
    ("new", "ours", "ours", False, "new"),
    ("new", "theirs", "ours", False, "new"),
    ("", "theirs", None, False, None),
    ("", "ours", "ours", False, ""),
    ("", "theirs", "ours", False, None),
    ("", "", "ours", False, None),
    ("ours", "", "ours", False, "ours"),
    ("new", "", None, True, "new"),
    ("new", "theirs", None, True, None),
    ("new", "ours", "ours", True, "new"),
    ("new", "theirs", "ours", True, None),
    ("ours", "theirs", "ours", True, None),
    ("new", "", "ours", True, "new"),
    ("", "ours", "ours", True, ""),
    ("", "theirs", "ours", True, None),
]


@pytest.mark.parametrize(
    ("stash_name", "plex_name", "field"), [("details", "summary", "summary"), ("studio",) * 3]
)
@pytest.mark.parametrize(("stash", "plex", "before", "preserve", "expected"), TEXTS)
def test_texts(
    stash_name: str,
    plex_name: str,
    field: str,
    stash: str,
    plex: str,
    before: str | None,
    preserve: bool,
    expected: str,
) -> None:
    history = {} if before is None else {field: before}
    switches = Switches(preserve=preserve, collections=False)  # a studio would also be a collection
    edits = plan({stash_name: stash}, {plex_name: plex}, history, switches=switches)
    assert sent(edits) == ({} if expected is None else {f"{field}.value": expected})
    assert (field in edits.changes) == (expected is not None)
    # The history holds the values that Plex has from us after this edit.
    after = plex if expected is None else expected
    remembered = edits.fields.get(field)
    assert remembered in (None, after)
    if expected:
        assert remembered == expected


@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("title", ["", None, "  ", "\u200b", "\x00\n"])
@pytest.mark.parametrize("before", [{}, {"title": "Mine"}])
def test_an_empty_title_is_never_sent(
    title: str | None, preserve: bool, before: dict[str, Any]
) -> None:
    edits = plan(
        {"title": title},
        {"title": "Mine"},
        before,
        stem="One.Two",
        switches=Switches(preserve=preserve),
    )
    expected = {} if preserve and not before else {"title.value": "One.Two"}
    assert sent(edits) == expected


@pytest.mark.parametrize("stem", ["", "\u200b", "\x01", " "])
def test_a_title_stays_when_the_file_name_is_empty_too(stem: str) -> None:
    for before in ({}, {"title": "Mine"}):
        assert sent(plan({"title": ""}, {"title": "Mine"}, before, stem=stem)) == {}


# --- dates and ratings

DATES = [
    ("2024-05-06", "", "", {}, {"originallyAvailableAt.value": "2024-05-06", "year.value": "2024"}),
    ("2024-05-06", "2024-05-06", "2024", {}, {}),
    ("2024-05", "", "", {}, {"year.value": "2024"}),
    ("2024", "", "", {}, {"year.value": "2024"}),
    ("2024", "2020-01-02", "2020", {}, {"year.value": "2024"}),
    (
        "2024",
        "2020-01-02",
        "2020",
        {"originallyAvailableAt": "2020-01-02", "year": "2020"},
        {"originallyAvailableAt.value": "", "year.value": "2024"},
    ),
    (None, "2020-01-02", "2020", {}, {}),
    (
        None,
        "2020-01-02",
        "2020",
        {"originallyAvailableAt": "2020-01-02", "year": "2020"},
        {"originallyAvailableAt.value": "", "year.value": ""},
    ),
    (None, "2021-01-02", "2021", {"originallyAvailableAt": "2020-01-02", "year": "2020"}, {}),
]


@pytest.mark.parametrize(("stash", "date", "year", "before", "expected"), DATES)
def test_dates(
    stash: str | None, date: str, year: str, before: dict[str, Any], expected: dict[str, str]
) -> None:
    assert sent(plan({"date": stash}, {"date": date, "year": year}, before)) == expected


@pytest.mark.parametrize(
    ("stash", "plex", "expected"),
    [
        (85, "", "8.5"),
        (85, "8.5", None),
        (100, "8.5", "10.0"),
        (33, "3.3", None),
        (7, "", "0.7"),
        (None, "8.5", None),
    ],
)
def test_ratings_are_sent_only_when_asked_for(
    stash: int | None, plex: str, expected: str | None
) -> None:
    assert sent(plan({"rating100": stash}, {"rating": plex})) == {}
    wanted = {} if expected is None else {"userRating.value": expected}
    assert (
        sent(plan({"rating100": stash}, {"rating": plex}, switches=Switches(rating=True))) == wanted
    )


# --- lists

# (Stash list, Plex list, last written list, preserve, resulting list or None if nothing is sent)
LISTS = [
    (["A"], [], None, False, ["A"]),
    (["A", "B"], ["A"], None, False, ["A", "B"]),
    (["A"], ["A", "User"], None, False, ["A"]),
    (["A"], ["A"], None, False, None),
    (["a"], ["A"], None, False, None),
    (["B", "A"], ["A", "B"], None, False, None),
    ([], ["User"], None, False, None),
    ([], [], None, False, None),
    # with a history, the user's own names stay
    (["A", "B"], ["A", "User"], ["A"], False, ["A", "B", "User"]),
    (["A"], ["A", "User"], ["A"], False, None),
    (["A"], ["A", "B", "User"], ["A", "B"], False, ["A", "User"]),
    ([], ["A", "User"], ["A"], False, ["User"]),
    ([], ["A"], ["A"], False, []),
    ([], ["User"], ["A"], False, None),
    (["A"], ["User"], ["A"], False, ["A", "User"]),
    (["a"], ["A", "User"], ["A"], False, None),
    (["B"], ["a", "User"], ["A"], False, ["B", "User"]),
    # preserve keeps existing names that we did not write
    (["A"], [], None, True, ["A"]),
    (["A"], ["User"], None, True, None),
    (["A", "B"], ["A", "User"], ["A"], True, ["A", "B", "User"]),
    (["A", "B"], ["B", "User"], ["A", "B"], True, None),
    ([], ["A", "User"], ["A"], True, ["User"]),
]


@pytest.mark.parametrize(
    ("stash_name", "plex_name", "kind"),
    [("tags", "genres", "genre"), ("performers", "actors", "actor")],
)
@pytest.mark.parametrize(("stash", "plex", "before", "preserve", "expected"), LISTS)
def test_lists(
    stash_name: str,
    plex_name: str,
    kind: str,
    stash: list[str],
    plex: list[str],
    before: list[str] | None,
    preserve: bool,
    expected: list[str] | None,
) -> None:
    history = {} if before is None else {kind: before}
    edits = plan(
        {stash_name: stash}, {plex_name: tuple(plex)}, history, switches=Switches(preserve=preserve)
    )
    assert (sent(edits) == {}) == (expected is None)
    if expected is not None:
        for add in (False, True):
            assert sorted(_applied(edits, kind, plex, add=add)) == sorted(expected)


def _applied(edits: Edits, kind: str, present: list[str], *, add: bool) -> list[str]:
    """Return the list after the request.

    Args:
        add: whether Plex appends an indexed list to the old one instead of replacing it.
    """
    gone = {
        unquote(name).casefold()
        for name in str(edits.parameters.get(f"{kind}[].tag.tag-", "")).split(",")
    }
    indexed = [
        str(value)
        for name, value in edits.parameters.items()
        if name.startswith(f"{kind}[") and "[]" not in name
    ]
    kept = [name for name in present if name.casefold() not in gone] if add or not indexed else []
    return list({name.casefold(): name for name in [*kept, *indexed]}.values())


AWKWARD = [
    "A, B",
    "'q'",
    '"dq"',
    "a&b=c",
    "100%",
    "#1",
    "+",
    "a;b",
    "é",
    "日本",
    "👩‍👩‍👧",
    "[x]",
    "%2C",
    "\\",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_with_special_characters_is_added_and_removed_whole(name: str) -> None:
    assert sent(plan({"tags": [name]}, {"genres": ()})) == {"genre[0].tag.tag": name}
    gone = sent(plan({"tags": []}, {"genres": (name, "User")}, {"genre": [name]}))
    assert unquote(str(gone["genre[].tag.tag-"])) == name
    assert "," not in str(gone["genre[].tag.tag-"])


def test_directors_and_groups_are_lists_too() -> None:
    edits = sent(plan({"director": "Dee", "groups": ["G1", "G2"]}, {"collections": ("G1", "Old")}))
    assert edits["director[0].tag.tag"] == "Dee"
    assert edits["collection[].tag.tag-"] == "Old"


def test_the_studio_is_a_collection_too_and_never_twice() -> None:
    assert sent(plan({"studio": "St", "groups": ["G"]}, {"studio": "St"})) == {
        "collection[0].tag.tag": "G",
        "collection[1].tag.tag": "St",
    }
    assert plan({"studio": "St", "groups": ["st"]}, {"studio": "St"}).changes == {
        "collection": ((), ("st",))
    }


def test_a_removed_studio_is_removed_from_the_collections() -> None:
    gone = sent(
        plan({"groups": ["G"]}, {"collections": ("G", "St", "Mine")}, {"collection": ["G", "St"]})
    )
    assert gone["collection[].tag.tag-"] == "St"


def test_an_actor_keeps_the_name_of_the_character() -> None:
    edits = sent(
        plan({"performers": ["Ann", "Bob"]}, {"actors": ("Ann",), "characters": {"Ann": "Queen"}})
    )
    assert {name: value for name, value in edits.items() if "text" in name} == {
        "actor[0].tagging.text": "Queen"
    }


# --- switches and locks

FULL = {
    "title": "New",
    "details": "Text",
    "date": "2024-05-06",
    "studio": "St",
    "performers": ["Ann"],
    "tags": ["T1"],
    "groups": ["G"],
    "rating100": 50,
    "director": "Dee",
}
FIELDS_OF = {
    "title": {"title"},
    "details": {"summary"},
    "date": {"originallyAvailableAt", "year"},
    "studio": {"studio"},
    "performers": {"actor", "director"},
    "tags": {"genre"},
    "collections": {"collection"},
    "rating": {"userRating"},
}


@pytest.mark.parametrize("switch", FIELDS_OF)
def test_a_switch_that_is_off_sends_nothing_of_its_field(switch: str) -> None:
    on = dict.fromkeys(FIELDS_OF, True)
    assert set(plan(FULL, {}, switches=Switches(**on)).changes) == set().union(*FIELDS_OF.values())
    off = plan(FULL, {}, switches=Switches(**{**on, switch: False}))
    if switch == "performers":  # the director has no switch of its own
        assert "actor" not in off.changes
    else:
        assert set(off.changes) == set().union(*FIELDS_OF.values()) - FIELDS_OF[switch]
    assert not [
        name
        for name in off.parameters
        if name.partition(".")[0].partition("[")[0] not in off.changes
    ]


@pytest.mark.parametrize("switch", FIELDS_OF)
def test_a_field_whose_switch_is_off_keeps_its_history(switch: str) -> None:
    before = {
        "title": "a",
        "summary": "b",
        "studio": "c",
        "year": "1",
        "originallyAvailableAt": "d",
    }
    before |= {"userRating": "1.0"}
    lists = {"genre": ["x"], "actor": ["y"], "director": ["w"], "collection": ["z"]}
    edits = plan(FULL, {}, {**before, **lists}, switches=Switches(**{switch: False}))
    for field in FIELDS_OF[switch] - {"director"}:
        assert edits.fields[field] == {**before, **lists}[field]


def test_only_written_fields_are_locked() -> None:
    edits = plan({"title": "New", "tags": ["A"]}, {"studio": "St", "genres": ("A", "B")})
    locks = {name: value for name, value in edits.parameters.items() if name.endswith(".locked")}
    assert locks == {"title.locked": 1, "genre.locked": 1}
    assert not [
        name
        for name in plan(FULL, {}, switches=Switches(lock=False)).parameters
        if name.endswith(".locked")
    ]


def test_without_differences_nothing_is_sent() -> None:
    assert dict(plan({}, {}).parameters) == {}


# --- the length of a request


def _length(edits: Edits) -> int:
    """Return the longest request's length in bytes."""
    requests = split_requests(edits.parameters)
    assert {name: value for one in requests for name, value in one.items()} == dict(
        edits.parameters
    )
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
    edits = plan({"details": (letter * count)[:count]}, {})
    assert _length(edits) < 30_000
    text = str(edits.parameters["summary.value"])
    assert len(text) <= 10_000
    again = plan({"details": (letter * count)[:count]}, {"summary": text}, edits.fields)
    assert dict(again.parameters) == {}


def test_many_long_names_and_a_long_summary_fit_together() -> None:
    """Plex refuses a request of 33 kB, and the whole scene would stay unsynced."""
    fields = {"details": "あ" * 9000, "tags": [f"タグの名前{number:03d}" for number in range(250)]}
    edits = plan(fields, {"genres": tuple(f"古い名前{number:03d}" for number in range(60))})
    assert _length(edits) < 32_000
    assert edits.parameters["summary.value"]


# --- properties

NAMES = st.lists(st.sampled_from(["A", "a", "B", "C, D", "é", "É", "User", "x" * 50]), max_size=5)
TEXT = st.sampled_from(["", "one", "two", "three"])


@PROPERTY
@given(NAMES, NAMES, st.none() | NAMES, TEXT, TEXT, st.none() | TEXT, st.booleans())
def test_a_second_run_sends_nothing(
    tags: list[str],
    present: list[str],
    wrote: list[str] | None,
    text: str,
    has: str,
    had: str | None,
    preserve: bool,
) -> None:
    unique = tuple({name.casefold(): name for name in present}.values())
    before: dict[str, Any] = {} if wrote is None else {"genre": wrote}
    before |= {} if had is None else {"summary": had}
    first = plan(
        {"tags": tags, "details": text},
        {"genres": unique, "summary": has},
        before,
        switches=Switches(preserve=preserve),
    )
    genres, summary = unique, str(first.parameters.get("summary.value", has))
    if "genre" in first.changes:
        genres = tuple(_applied(first, "genre", list(unique), add=False))
    second = plan(
        {"tags": tags, "details": text},
        {"genres": genres, "summary": summary},
        first.fields,
        Switches(preserve=preserve),
    )
    assert dict(second.parameters) == {}


@PROPERTY
@given(NAMES, NAMES, NAMES, st.booleans())
def test_with_a_history_the_users_own_names_always_stay(
    tags: list[str], wrote: list[str], own: list[str], preserve: bool
) -> None:
    own = [name for name in own if name.casefold() not in {one.casefold() for one in wrote}]
    present = tuple({name.casefold(): name for name in [*wrote, *own]}.values())
    edits = plan(
        {"tags": tags}, {"genres": present}, {"genre": wrote}, switches=Switches(preserve=preserve)
    )
    for add in (False, True):
        after = (
            _applied(edits, "genre", list(present), add=add)
            if "genre" in edits.changes
            else list(present)
        )
        assert {name.casefold() for name in own} <= {name.casefold() for name in after}
        assert {name.casefold() for name in after} == {name.casefold() for name in [*tags, *own]}
