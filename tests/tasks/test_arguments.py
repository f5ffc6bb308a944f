"""Arguments of operations: texts from Stash, numbers from a program, or nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.context import BOTH, UsageError, is_set, rating_keys_of, scene_id_of
from tasks.operations import OPERATIONS
from tests.harness.plugin import install_plugin
from tests.simulators.stash.manifest import load_plugins


@pytest.mark.parametrize("value", ["7", " 7 ", 7, "007"])
def test_a_scene_id_may_be_text_or_number(value: object) -> None:
    assert scene_id_of({"scene_id": value}) == 7


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "x",
        "0",
        0,
        -1,
        "-1",
        "+7",
        "7.0",
        7.5,
        True,
        "1e3",
        "７",
        "٣",
        2**63,
        [7],
        {"id": 7},
    ],
)
def test_an_invalid_scene_id_is_reported_in_one_line_with_the_argument(value: object) -> None:
    with pytest.raises(UsageError, match="scene_id") as caught:
        scene_id_of({"scene_id": value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_rating_key_is_none(value: object) -> None:
    assert rating_keys_of({"rating_key": value}) is None
    assert rating_keys_of({}) is None


@pytest.mark.parametrize("value", ["x", "-1", "0", "1.5"])
def test_an_invalid_rating_key_is_an_error_and_not_none(value: object) -> None:
    with pytest.raises(UsageError, match="rating_key"):
        rating_keys_of({"rating_key": value})


def test_several_rating_keys_or_both_may_be_chosen() -> None:
    assert rating_keys_of({"rating_key": " 7"}) == [7]
    assert rating_keys_of({"rating_key": "7, 12"}) == [7, 12]
    assert rating_keys_of({"rating_key": " Both "}) == BOTH
    with pytest.raises(UsageError, match="rating_key"):
        rating_keys_of({"rating_key": "7,"})


ON: list[Any] = [True, "true", "True", "1", 1, "yes", "on", " ON "]
OFF: list[Any] = [None, False, "", "false", "False", "0", 0, "no", "off", "perhaps", [], {}]


@pytest.mark.parametrize("value", ON)
def test_a_switch_is_on(value: object) -> None:
    assert is_set({"confirm": value}, "confirm")


@pytest.mark.parametrize("value", OFF)
def test_a_switch_is_off(value: object) -> None:
    assert not is_set({"confirm": value}, "confirm")
    assert not is_set({}, "confirm")


def test_every_task_button_has_its_operation_and_every_operation_its_button(tmp_path: Any) -> None:
    install_plugin(tmp_path / "PlexSync")
    problems: list[str] = []
    tasks = load_plugins(tmp_path, problems.append)["PlexSync"].tasks
    assert problems == []
    # A button could not say which scene, or which run; the page can.
    without = {"ignore", "undo", "take", "pause", "try", "remove", "put_cover", "candidates"}
    without |= {"library_origin"}
    without |= {"wake", "setup_test", "setup_match", "pictures", "webhook_test", "rules_test"}
    without |= {"export", "import"}
    modes = {task.default_args["mode"] for task in tasks}
    assert modes - without == {*OPERATIONS, "install"} - without
