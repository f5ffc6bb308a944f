"""The fast way through queries answers what graphql-core answers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.stash import StashSimulator, execution
from tests.simulators.stash.execution import Executor, compiled
from tests.simulators.stash.plugins import Caller

FULL_SCENE = """
    id title code details director date rating100 organized o_counter urls url created_at updated_at
    play_count play_duration resume_time last_played_at interactive interactive_speed
    studio { id name parent_studio { name url } child_studios { id } rating100 favorite }
    performers { id name gender alias_list custom_fields tags { name } stash_ids { endpoint } }
    tags { id name sort_name aliases updated_at image_path }
    groups { scene_index group { id name studio { name } } }
    files { id path basename size mod_time duration width frame_rate fingerprints { type value } }
    paths { screenshot stream preview vtt } stash_ids { endpoint stash_id } galleries { id }
"""
PAGE = f"""
query Page($filter: SceneFilterType, $size: Int!) {{
  findScenes(scene_filter: $filter, filter: {{per_page: $size, sort: "id"}}) {{
    count duration filesize scenes {{ {FULL_SCENE} }}
  }}
}}
"""


@pytest.fixture
def stash(tmp_path: Path) -> Iterator[StashSimulator]:
    with StashSimulator(tmp_path / "plugins", api_key="key") as simulator:
        simulator.add_studio("Big", rating100=80, urls=("https://big",))
        simulator.add_studio("Small", parent="Big")
        simulator.add_performer("Ann", gender="FEMALE", custom_fields={"a": 1})
        for number in range(20):
            simulator.add_scene(
                f"T{number} <é\ud800>" if number % 3 else "",
                files=[(f"/d/{number}.mp4", 5_000_000_000 + number)] if number % 4 else [],
                tags=["b", "a"][: number % 3],
                performers=["Ann", "Bob"][: number % 3],
                studio="Small" if number % 2 else None,
                groups=["G"] if number % 5 == 0 else [],
                rating100=number if number % 2 else None,
                date="2024-05" if number % 2 else None,
                urls=["u", "v"][: number % 3],
            )
        yield simulator


def executor(stash: StashSimulator) -> Executor:
    return stash._web._executor


def run(stash: StashSimulator, query: str, variables: dict[str, Any] | None, fast: bool) -> str:
    executor(stash).plans = fast
    stash.rng.setstate(random.Random(0).getstate())
    caller = Caller("", base_url="http://stash")
    body = executor(stash).run(query, variables, None, caller).body
    return json.dumps(body)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (PAGE, {"size": 7}),
        (PAGE, {"size": -1, "filter": {"id": {"value": 5, "modifier": "GREATER_THAN"}}}),
        (PAGE, {"size": -1, "filter": {"organized": True}}),
        (f"query($ids: [ID!]) {{ findScenes(ids: $ids) {{ scenes {{ {FULL_SCENE} }} }} }}",
         {"ids": [3, "1"]}),
        (f"{{ a: findScene(id: 4) {{ {FULL_SCENE} }} b: findScene(id: 99) {{ id }} }}", None),
        ("{ findScene(id: 2) { key: id ...F ... on Scene { date } } }"
         " fragment F on Scene { title }", None),
        ('{ findTags(filter: {sort: "name"}) { count tags { id name created_at } } }', None),
        ("{ version { version } jobQueue { id } plugins { id } }", None),
    ],
)  # fmt: skip
def test_both_ways_give_the_same(
    stash: StashSimulator, query: str, variables: dict[str, Any] | None
) -> None:
    slow = run(stash, query, variables, fast=False)
    assert '"errors"' not in slow
    assert run(stash, query, variables, fast=True) == slow
    assert all(compiled(stash._schema, query).plans.values()), "no plan"


@pytest.mark.parametrize(
    "query",
    [
        "{ findScenes(ids: [1, 99]) { scenes { id } } }",
        '{ findScenes(filter: {sort: "colour"}) { count } version { version } }',
        '{ findScene(id: "x") { id } version { version } }',
        "{ findScene(id: 1) { id @skip(if: true) title } }",
        '{ findScene(id: 2) { files { fingerprint(type: "oshash") } } }',
        "{ findScene(id: 2) { studio { id } studio { name } } }",
        "{ __typename findScene(id: 1) { __typename } }",
        "{ findScene(id: 1) { colour } }",
    ],
)  # fmt: skip
def test_what_a_plan_does_not_cover_goes_the_slow_way(stash: StashSimulator, query: str) -> None:
    assert run(stash, query, None, fast=True) == run(stash, query, None, fast=False)


def test_a_plan_sees_every_change(stash: StashSimulator) -> None:
    query = "{ findScene(id: 6) { title studio { name } tags { name } } }"
    stash.save_scene(6, title="one", tags=["x"])
    assert '"one"' in run(stash, query, None, fast=True)
    stash.rename_silently("tag", "x", "y")
    stash.rename_silently("studio", "Small", "Tiny")
    stash.save_scene(6, title="two")
    assert json.loads(run(stash, query, None, fast=True))["data"]["findScene"] == {
        "title": "two", "studio": {"name": "Tiny"}, "tags": [{"name": "y"}],
    }  # fmt: skip


def test_plain_pages_do_not_use_graphql_core(
    stash: StashSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "execute", None)
    variables = {"size": 5, "filter": {"id": {"value": 3, "modifier": "GREATER_THAN"}}}
    found = stash.graphql(PAGE, variables)["findScenes"]
    assert [scene["id"] for scene in found["scenes"]] == list("45678")
    assert found["count"] == 17
