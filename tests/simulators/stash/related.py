"""findPerformers, findStudios, findTags and findGroups: search, sorting and paging as in Stash."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.simulators.stash.library import Entity, Library, Scene
from tests.simulators.stash.query import QueryError, natural

_COMMON_SORTS = {"created_at", "id", "name", "random", "scenes_count", "updated_at"}
#: Valid sorts of each kind that the simulator does not carry out.
_UNSIMULATED_SORTS = {
    "performer": {
        "birthdate", "career_length", "galleries_count", "height", "images_count", "last_o_at",
        "last_played_at", "measurements", "o_counter", "penis_length", "play_count", "rating",
        "scenes_duration", "tag_count", "weight",
    },
    "studio": {
        "child_count", "galleries_count", "images_count", "rating", "scenes_duration", "tag_count",
    },
    "tag": {
        "galleries_count", "groups_count", "images_count", "movies_count", "performers_count",
        "scene_markers_count", "scenes_duration", "studios_count",
    },
    "group": {"date", "duration", "o_counter", "rating", "sub_group_order", "tag_count"},
}  # fmt: skip


def find_related(
    library: Library, kind: str, filter_: Mapping[str, Any], rng: random.Random
) -> list[Any]:
    """Return the objects of a kind that match `q`, in the requested order; by name by default."""
    word = (filter_.get("q") or "").lower()
    found = [entity for entity in library.shelf(kind).all() if word in entity.name.lower()]
    given = filter_.get("sort")
    sort = "name" if given is None else given
    _check(kind, sort)
    rng.shuffle(found)  # names may be equal, and no sort but `id` is a total order
    if sort.startswith("random"):
        return found
    found.sort(key=_name)
    return sorted(found, key=_key(library, kind, sort), reverse=filter_.get("direction") == "DESC")


def scene_count(library: Library, kind: str, entity_id: int) -> int:
    """Return the number of an object's scenes."""
    return sum(entity_id in related_ids(scene, kind) for scene in library.scenes())


def related_ids(scene: Scene, kind: str) -> Iterable[int]:
    """Return the ids of a scene's related objects of a kind."""
    if kind == "studio":
        return () if scene.studio_id is None else (scene.studio_id,)
    if kind == "group":
        return tuple(group_id for group_id, _ in scene.group_ids)
    return scene.performer_ids if kind == "performer" else scene.tag_ids


def _check(kind: str, sort: str) -> None:
    if sort in _UNSIMULATED_SORTS[kind]:
        raise NotImplementedError(f"the simulator does not sort {kind}s by {sort}")
    if sort not in _COMMON_SORTS and not sort.startswith("random_"):
        raise QueryError(f"invalid sort: {sort}")


def _name(entity: Entity) -> Any:
    return natural(getattr(entity, "sort_name", "") or entity.name)


def _key(library: Library, kind: str, sort: str) -> Callable[[Entity], Any]:
    if sort == "name":
        return _name
    if sort == "scenes_count":
        counts = Counter(id_ for scene in library.scenes() for id_ in related_ids(scene, kind))
        return lambda entity: counts[entity.id]
    return lambda entity: getattr(entity, sort)
