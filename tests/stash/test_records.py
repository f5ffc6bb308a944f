"""Tests of a scene's digest: what changes it, and what does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from common.media import MediaFile
from stash.records import Scene
from tests.queue.support import run_python

SCENE = Scene(
    id=7,
    title="Title",
    details="Details",
    date="2024-05-06",
    director="Director",
    rating100=80,
    organized=False,
    created_at="2024-05-06T10:00:00Z",
    updated_at="2024-05-06T11:00:00Z",
    studio="Studio",
    performers=("Ann", "Bob"),
    tags=("x", "y"),
    groups=("G",),
    files=(MediaFile("/data/a.mp4", 100), MediaFile("/data/b.mp4", None)),
    cover="http://stash/scene/7/screenshot?t=1",
)
#: Another value of each field that Plex shows, or by which an item is found.
CHANGED: dict[str, Any] = {
    "title": "title",
    "details": "",
    "date": None,
    "director": "",
    "rating100": None,
    "organized": True,
    "studio": "",
    "performers": ("Ann",),
    "tags": ("y", "x", "z"),
    "groups": (),
    "files": (MediaFile("/data/a.mp4", 101), MediaFile("/data/b.mp4", None)),
    "code": "ABC-1",
    "parent_studio": "Network",
    "performer_tags": ("z",),
    "has_stash_id": True,
    "tag_ancestors": {"x": ("above",)},
}
#: Times and ids say nothing about content, and the cover has a state of its own.
UNCHANGED: dict[str, Any] = {
    "id": 8,
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2030-01-01T00:00:00Z",
    "cover": "http://stash/scene/7/screenshot?t=2",
    "studio_id": 70,
    "group_ids": (71, 72),
    "parent_studio_id": 73,
    "performer_ids": (74, 75),
    "tag_ids": (76,),
}
#: The digest of `SCENE` in the former form, and what that form does not hold.
FORMER = "e82ec8f9e751f1cf1269026a"
NEW = ("code", "parent_studio", "performer_tags", "has_stash_id", "tag_ancestors")


def test_every_field_is_in_the_digest_or_not() -> None:
    assert {*CHANGED, *UNCHANGED} == {field.name for field in dataclasses.fields(Scene)}


@pytest.mark.parametrize("name", CHANGED)
def test_another_value_has_another_digest(name: str) -> None:
    assert dataclasses.replace(SCENE, **{name: CHANGED[name]}).digest != SCENE.digest


@pytest.mark.parametrize("name", CHANGED)
def test_a_digest_of_the_former_form_is_the_scenes_but_for_new_values(name: str) -> None:
    former = SCENE.digest.partition("-")[0]
    changed = dataclasses.replace(SCENE, **{name: CHANGED[name]})
    assert SCENE.has_digest(former) and SCENE.has_digest(SCENE.digest)
    assert changed.has_digest(former) is (name in NEW)
    assert not changed.has_digest(SCENE.digest)
    assert not SCENE.has_digest(None)


def test_the_former_form_is_what_former_versions_wrote() -> None:
    assert SCENE.digest.startswith(FORMER + "-")


@pytest.mark.parametrize("name", UNCHANGED)
def test_times_and_cover_leave_the_digest(name: str) -> None:
    assert dataclasses.replace(SCENE, **{name: UNCHANGED[name]}).digest == SCENE.digest


@pytest.mark.parametrize(
    "files",
    [
        (MediaFile("/data/b.mp4", None), MediaFile("/data/a.mp4", 100)),
        (MediaFile("/data/c.mp4", 100), MediaFile("/data/b.mp4", None)),
        (MediaFile("/data/a.mp4", 100),),
        (),
    ],
    ids=["another primary file", "moved", "one less", "none"],
)
def test_files_are_in_the_digest_with_their_order(files: tuple[MediaFile, ...]) -> None:
    assert dataclasses.replace(SCENE, files=files).digest != SCENE.digest


def test_a_name_never_counts_in_another_place() -> None:
    one = dataclasses.replace(SCENE, performers=("x",), tags=(), studio="", director="")
    others = [
        dataclasses.replace(one, performers=(), tags=("x",)),
        dataclasses.replace(one, performers=(), groups=("x",)),
        dataclasses.replace(one, performers=(), studio="x"),
        dataclasses.replace(one, performers=(), director="x"),
    ]
    assert len({scene.digest for scene in (one, *others)}) == 5


def test_any_text_has_a_digest() -> None:
    assert dataclasses.replace(SCENE, title="\ud800\0é😀").digest != SCENE.digest


def test_the_digest_is_the_same_in_every_process() -> None:
    code = "from tests.stash.test_records import SCENE; print(SCENE.digest)"
    assert run_python("-c", code, PYTHONHASHSEED="1").strip() == SCENE.digest
