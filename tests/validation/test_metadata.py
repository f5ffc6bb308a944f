"""Tests of metadata validation: sanitized for Plex, or refused with a one-line message."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.size import examples
from validation.metadata import SyncMetadata, validate_metadata

PROPERTY = settings(max_examples=examples(100))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def valid(**data: Any) -> SyncMetadata:
    metadata, problem = validate_metadata(data)
    assert problem is None
    assert metadata is not None
    return metadata


def problem_of(**data: Any) -> str:
    metadata, problem = validate_metadata(data)
    assert metadata is None
    assert problem is not None
    assert "\n" not in problem
    return problem


def test_nothing_is_valid_and_empty() -> None:
    metadata = valid()
    assert (metadata.title, metadata.details, metadata.studio, metadata.director) == (
        "",
        "",
        "",
        "",
    )
    assert (metadata.performers, metadata.tags, metadata.groups) == ((), (), ())
    assert (metadata.date, metadata.day, metadata.year, metadata.rating100, metadata.organized) == (
        None,
    ) * 4 + (False,)


def test_nulls_mean_nothing() -> None:
    """Stash sends a full input with nulls."""
    names = (
        "title",
        "details",
        "date",
        "rating100",
        "studio",
        "director",
        "performers",
        "tags",
        "groups",
        "path",
    )
    assert valid(**dict.fromkeys(names)) == valid()
    assert valid(organized=None) == valid()


def test_texts_are_sanitized() -> None:
    metadata = valid(title="“A”\nB\x00", details="one\r\ntwo…", studio=" S ", director="D\u200bE")
    assert (metadata.title, metadata.details) == ('"A" B', "one\ntwo...")
    assert (metadata.studio, metadata.director) == ("S", "DE")
    assert len(valid(title="x" * 999).title) == 255
    assert len(valid(details="x" * 99_999).details) == 10_000


def test_names_that_differ_beyond_ascii_are_different_names() -> None:
    """Plex compares ASCII letters without case, all else exactly."""
    names = ("Masse", "Maße", "émile", "Émile", "ſ", "s")
    assert valid(tags=[*names, "masse", "S"]).tags == names


@pytest.mark.parametrize("field", ["performers", "tags", "groups"])
def test_lists_of_names_are_clean_and_unique(field: str) -> None:
    names = [
        "Ann",
        " Ann ",
        "ANN",
        "",
        None,
        {"name": "Bob"},
        {"name": None},
        {},
        "\u200b",
        "A, B",
        "x" * 300,
    ]
    assert getattr(valid(**{field: names}), field) == ("Ann", "Bob", "A, B", "x" * 255)


def test_the_other_names_of_fields_are_taken() -> None:
    assert valid(rating=40).rating100 == 40
    assert valid(collections=["G"]).groups == valid(movies=["G"]).groups == ("G",)
    assert valid(studio={"name": "S"}).studio == "S"


@pytest.mark.parametrize(
    ("date", "kept", "day", "year"),
    [
        ("2024-05-06", "2024-05-06", "2024-05-06", 2024),
        ("2024-5-6", "2024-05-06", "2024-05-06", 2024),
        ("2024-05", "2024-05", None, 2024),
        ("2024", "2024", None, 2024),
        (" 2024 ", "2024", None, 2024),
        ("0999-01-02", "0999-01-02", "0999-01-02", 999),
        ("0001", "0001", None, 1),
        ("", None, None, None),
        ("  ", None, None, None),
        (None, None, None, None),
        (datetime.date(2024, 5, 6), "2024-05-06", "2024-05-06", 2024),
        (datetime.datetime(2024, 5, 6, 7), "2024-05-06", "2024-05-06", 2024),
    ],
)
def test_dates(date: Any, kept: str | None, day: str | None, year: int | None) -> None:
    metadata = valid(date=date)
    assert (metadata.date, metadata.day, metadata.year) == (kept, day, year)


@PROPERTY
@given(st.dates())
def test_every_day_is_kept(day: datetime.date) -> None:
    metadata = valid(date=day.isoformat())
    assert (metadata.day, metadata.year) == (day.isoformat(), day.year)


@pytest.mark.parametrize(
    "date", ["2024-13-01", "2023-02-29", "24-01-01", "01/02/2024", "2024-05-06T00:00", "soon", 2024]
)
def test_an_invalid_date_is_refused(date: Any) -> None:
    assert "date" in problem_of(date=date)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rating100", 101), ("rating100", -1), ("rating100", "x"), ("rating100", 5.5),
        ("scene_id", 0), ("scene_id", -3), ("title", ["x"]), ("title", 5), ("tags", "abc"),
        ("performers", 5), ("organized", "maybe"), ("path", 5), ("details", {}),
    ],
)  # fmt: skip
def test_the_message_names_the_invalid_field(field: str, value: Any) -> None:
    assert field in problem_of(**{field: value})


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (100, 100), ("85", 85), (85.0, 85)])
def test_ratings(given: Any, kept: int) -> None:
    assert valid(rating100=given).rating100 == kept


def test_a_problem_is_short_even_when_the_value_is_not() -> None:
    assert len(problem_of(rating100="x" * 100_000)) < 500


def test_metadata_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        valid(title="T").title = "other"


@PROPERTY
@given(st.dictionaries(st.sampled_from(sorted(SyncMetadata.model_fields)), JSON))
def test_any_data_are_taken_or_refused_in_one_line(data: dict[str, Any]) -> None:
    metadata, problem = validate_metadata(data)
    assert (metadata is None) != (problem is None)
    assert problem is None or "\n" not in problem
    if metadata is not None:
        _ = (metadata.year, metadata.day)
