"""Arguments come from a browser: whatever they are, a view answers or says one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from page.arguments import WrongArgument
from page.views import VIEWS, answer
from tests.harness.size import examples
from tests.page.support import ask, contents

NAMES = ("scene_id", "scene_ids", "after", "limit", "status", "run", "id", "other")
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from(["1:2", "0:5", "4:9", "failed", "7", "1,2", "9" * 30, "-1", "1e3", "٣"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    view=st.sampled_from([*VIEWS]) | ANYTHING,
    arguments=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=5),
)
def test_nonsense_gets_an_answer_or_one_sentence(
    filled: Path, view: Any, arguments: dict[str, Any]
) -> None:
    try:
        found = answer(str(filled), {"mode": "page", "view": view, **arguments})
    except WrongArgument as error:
        text = str(error)
        assert text
        assert text.isprintable()
        assert len(text) < 300
    else:
        json.dumps(found)


def test_nonsense_changes_nothing(filled: Path) -> None:
    before = contents(filled)
    nonsense: list[Any] = [
        "'; DROP TABLE agreements; --", "../../etc/passwd", -1, 2**80, [[]], {},
    ]  # fmt: skip
    for view in VIEWS:
        for value in nonsense:
            for name in NAMES:
                try:
                    ask(filled, view, **{name: value})
                except WrongArgument:
                    continue
    assert contents(filled) == before


@pytest.mark.parametrize(
    ("view", "arguments", "text"),
    [
        ("other", {}, "view must be one of state, count"),
        (None, {}, "view must be one of"),
        ("scene", {}, "scene_id is missing"),
        ("scene", {"scene_id": "x"}, "scene_id is 'x': it must be a number from 1"),
        ("scene", {"scene_id": 0}, "scene_id is 0"),
        ("scene", {"scene_id": True}, "scene_id is True"),
        ("scene", {"scene_id": 7.5}, "scene_id is 7.5"),
        ("scene", {"scene_id": "x\ny" * 1000}, "scene_id is a str that does not fit"),
        ("scene", {"scene_id": "9" * 5000}, "scene_id is a str that does not fit"),
        ("needs", {"limit": 101}, "limit is 101: it must be a number from 1 to 100"),
        ("needs", {"after": "1"}, "after is '1': it must be a view's next"),
        ("needs", {"after": "1:2:3"}, "after is"),
        ("needs", {"status": "in_sync"}, "status is 'in_sync': it must be one of ambiguous"),
        ("needs", {"status": ["failed"]}, "status is a list"),
        ("badges", {}, "scene_ids is missing"),
        ("badges", {"scene_ids": list(range(1, 202))}, "scene_ids has 201 ids: 200 at most"),
        ("badges", {"scene_ids": [1, "x"]}, "scene_ids is 'x'"),
        ("run", {}, "run is missing"),
        ("run", {"run": 7}, "run is 7: it must be a text"),
        ("command", {"id": ""}, "id is missing"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_range(
    tmp_path: Path, view: str, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(WrongArgument) as caught:
        ask(tmp_path, view, **arguments)
    assert text in str(caught.value)


@pytest.mark.parametrize("value", [7, "7", " 7 ", "007"])
def test_numbers_may_be_texts(tmp_path: Path, value: object) -> None:
    assert ask(tmp_path, "scene", scene_id=value)["scene_id"] == 7
