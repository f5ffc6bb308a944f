"""States of fields are stored without defaults, and read back as they were."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.fields import FieldState, decode, encode, rename_by_person
from tests.plex.support import PROPERTY

VALUES = st.none() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3).map(tuple)
STATES = st.builds(
    FieldState,
    *[VALUES] * 8,
    misses=st.integers(0, 9),
    refused=st.booleans(),
    kept=st.booleans(),
    repairs=st.integers(0, 9),
    repaired_at=st.floats(0, 1e10),
)


@PROPERTY
@given(st.dictionaries(st.text(max_size=5), STATES, max_size=4))
def test_what_was_stored_is_read_back(fields: dict[str, FieldState]) -> None:
    assert decode(json.loads(json.dumps(encode(fields)))) == fields


def test_an_empty_text_and_an_empty_list_are_known_values() -> None:
    fields = {
        "a": FieldState(before="", ours=(), wanted="", observed=()),
        "b": FieldState(before=(), ours="", wanted=(), claim=""),
    }
    assert decode(encode(fields)) == fields


def test_defaults_and_repetitions_take_no_space() -> None:
    text = "a long summary " * 100
    same = {"summary": FieldState("", ours=text, wanted=text, observed=text, sent=text)}
    assert json.dumps(encode(same)).count("a long summary") == 100
    assert encode({"genre": FieldState()}) == {"genre": {}}


@pytest.mark.parametrize("name", [one.name for one in dataclasses.fields(FieldState)])
def test_every_part_of_a_state_is_stored(name: str) -> None:
    default = getattr(FieldState(), name)
    value = "x" if default is None else type(default)(7)
    changed: dict[str, Any] = {name: value}
    fields = {"title": dataclasses.replace(FieldState(wanted="w"), **changed)}
    assert decode(json.loads(json.dumps(encode(fields)))) == fields


def test_unknown_parts_are_skipped() -> None:
    """A newer version may have stored more."""
    content: dict[str, Any] = {"title": {"wanted": "T", "new_part": 7, "same": ["ours"]}}
    assert decode(content) == {"title": FieldState(ours="T", wanted="T")}


@pytest.mark.parametrize(
    "content",
    [None, 1, "title", ["title"], {"title": 1}, {"title": None}, {"title": {"wanted": 7}},
     {"title": {"same": 7}}],
)  # fmt: skip
def test_what_is_no_history_of_fields_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="not a history"):
        decode(content)


def test_a_persons_rename_is_known_where_the_name_was_seen() -> None:
    seen = FieldState(ours=("Acme", "B"), wanted=("Acme", "B"), observed=("ACME", "B"))
    other = FieldState(ours=(), wanted=("Acme",), observed=("C",))
    after = rename_by_person({"collection": seen}, "collection", "Acme", "Mine")["collection"]
    assert (after.ours, after.wanted, after.observed) == (("B",), ("Acme", "B"), ("Mine", "B"))
    assert after.form is not None
    for fields in ({"collection": other}, {"title": FieldState(observed="Acme")}, {}):
        assert rename_by_person(fields, "collection", "Acme", "Mine") == fields
