"""findScenes: filters, sorting and paging as Stash does them in SQL."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from tests.simulators.stash.library import Library, Scene, Tag

T = TypeVar("T")
Predicate = Callable[[Scene], bool]
Criterion = Mapping[str, Any]

DEFAULT_PER_PAGE = 25


class QueryError(ValueError):
    """Stash refuses this query."""


@dataclass(frozen=True)
class FoundScenes:
    """The result of findScenes; the sums are computed only when selected, as in Stash."""

    found: list[Scene]
    scenes: list[Scene]

    @property
    def count(self) -> int:
        return len(self.found)

    @property
    def duration(self) -> float:
        return sum(file.duration for scene in self.found for file in scene.files[:1])

    @property
    def filesize(self) -> float:
        return float(sum(file.size for scene in self.found for file in scene.files[:1]))


def find(
    library: Library, filter_: Criterion, scene_filter: Criterion | None, rng: random.Random
) -> list[Scene]:
    """Return all matching scenes in the requested order; `page` does the paging."""
    scenes = _candidates(library, scene_filter or {})
    if words := (filter_.get("q") or "").lower().split():
        scenes = [scene for scene in scenes if _mentions(scene, words)]
    return _sorted(library, scenes, filter_.get("sort"), filter_.get("direction") == "DESC", rng)


def _candidates(library: Library, criteria: Criterion) -> list[Scene]:
    """Return the matching scenes; a page by `id > last` skips the scenes before it."""
    above, given = 0, criteria.get("id")
    if given and given["modifier"] == "GREATER_THAN" and criteria.get("OR") is None:
        above = given["value"]
        criteria = {name: value for name, value in criteria.items() if name != "id"}
    scenes = library.scenes(above)
    if not criteria:
        return scenes
    predicate = _matching(criteria, library)
    return [scene for scene in scenes if predicate(scene)]


def page(found: list[T], filter_: Criterion) -> list[T]:
    """Return one page: 25 by default, none for 0, all for a negative number."""
    per_page = filter_.get("per_page")
    per_page = DEFAULT_PER_PAGE if per_page is None else per_page
    if per_page < 0:
        return found
    number = max(filter_.get("page") or 1, 1)
    return found[(number - 1) * per_page : number * per_page]


# --- sorting


@lru_cache(maxsize=200_000)
def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key for natural order: numbers by value, case ignored."""
    parts = re.findall(r"\d+|\D+", text.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


SORTS: dict[str, Callable[[Library, Scene], Any]] = {
    "bitrate": lambda _, scene: max((file.bit_rate for file in scene.files), default=0),
    "code": lambda _, scene: scene.code.lower(),
    "created_at": lambda _, scene: scene.created_at,
    "date": lambda _, scene: scene.date or "",
    "duration": lambda _, scene: max((file.duration for file in scene.files), default=0.0),
    "file_count": lambda _, scene: len(scene.files),
    "file_mod_time": lambda _, scene: max((file.mod_time for file in scene.files), default=""),
    "filesize": lambda _, scene: max((file.size for file in scene.files), default=0),
    "last_played_at": lambda _, scene: scene.last_played_at or "",
    "o_counter": lambda _, scene: scene.o_counter,
    "organized": lambda _, scene: scene.organized,
    "path": lambda _, scene: scene.path.lower(),
    "performer_count": lambda _, scene: len(scene.performer_ids),
    "play_count": lambda _, scene: scene.play_count,
    "play_duration": lambda _, scene: scene.play_duration,
    "rating": lambda _, scene: scene.rating100 or 0,
    "resume_time": lambda _, scene: scene.resume_time,
    "studio": lambda library, scene: (
        library.studios.get(scene.studio_id).name.lower() if scene.studio_id is not None else ""
    ),
    "tag_count": lambda _, scene: len(scene.tag_ids),
    "title": lambda _, scene: natural(
        scene.title or (scene.files[0].basename if scene.files else "")
    ),
    "updated_at": lambda _, scene: scene.updated_at,
}
UNSIMULATED_SORTS = {
    "framerate", "group_scene_number", "interactive", "interactive_speed", "last_o_at",
    "movie_scene_number",
    "perceptual_similarity",
}  # fmt: skip


def _sorted(
    library: Library, scenes: list[Scene], sort: str | None, descending: bool, rng: random.Random
) -> list[Scene]:
    if sort == "id":  # the library keeps this order
        return scenes[::-1] if descending else scenes
    # No other sort is a total order, and without a sort the order may differ in every query.
    rng.shuffle(scenes)
    if not sort or sort.startswith("random"):
        return scenes
    if sort in UNSIMULATED_SORTS:
        raise NotImplementedError(f"the simulator does not sort by {sort}")
    if sort not in SORTS:
        raise QueryError(f"invalid sort: {sort}")
    key = SORTS[sort]
    scenes.sort(key=lambda scene: natural(scene.title))
    return sorted(scenes, key=lambda scene: key(library, scene), reverse=descending)


# --- filters


def _matching(scene_filter: Criterion, library: Library) -> Predicate:
    """Build a test: all criteria of a filter hold, or those under its OR."""
    for sub_filter in map(scene_filter.get, ("AND", "OR", "NOT")):
        # Stash loses the WITH clause of a filter within a filter.
        if sub_filter and (sub_filter.get("performer_tags") or {}).get("value"):
            raise QueryError("error executing `SELECT …`: no such table: performer_tags")
    found = [
        _PREDICATES[name](criterion, library)
        for name, criterion in scene_filter.items()
        if criterion is not None and name != "OR"
    ]
    holds = _all_of([predicate for predicate in found if predicate is not None])
    if scene_filter.get("OR") is None:
        return holds
    otherwise = _matching(scene_filter["OR"], library)
    return lambda scene: holds(scene) or otherwise(scene)


def _all_of(predicates: list[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]
    return lambda scene: all(predicate(scene) for predicate in predicates)


def _not(criterion: Criterion, library: Library) -> Predicate:
    inner = _matching(criterion, library)
    return lambda scene: not inner(scene)


def matching_tags(library: Library, criteria: Criterion, tags: list[Tag]) -> list[Tag]:
    """Return the tags for which all criteria of a filter hold."""
    counts: dict[str, Callable[[Tag], int]] = {
        "parent_count": lambda tag: len(tag.parent_ids),
        "child_count": lambda tag: len(library.children(tag)),
    }
    for name, criterion in criteria.items():
        if name not in counts:
            raise NotImplementedError(f"the simulator does not filter tags by {name}")
        if criterion is not None:
            holds = _comparison(criterion["modifier"], criterion["value"], criterion.get("value2"))
            tags = [tag for tag in tags if holds(counts[name](tag))]
    return tags


def _text(
    values: Callable[[Scene], Iterable[str]], *, words: bool = True
) -> Callable[..., Predicate]:
    """Build a string criterion; it holds when one of the values matches."""

    def build(criterion: Criterion, _: Library) -> Predicate:
        value, modifier = criterion["value"], criterion["modifier"]
        if modifier in ("IS_NULL", "NOT_NULL"):
            return lambda scene: any(values(scene)) == (modifier == "NOT_NULL")
        wanted = modifier.replace("NOT_EQUALS", "EQUALS").replace("NOT_MATCHES", "MATCHES")
        wanted = wanted.replace("EXCLUDES", "INCLUDES")
        matches = _text_matcher(value, wanted, words)
        negated = wanted != modifier
        return lambda scene: any(map(matches, values(scene))) != negated

    return build


def _text_matcher(value: str, modifier: str, words: bool) -> Callable[[str], bool]:
    if modifier == "EQUALS":  # SQL's LIKE: `%` and `_` in a value are wildcards
        return _like(value)
    if modifier == "INCLUDES":
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        parts = [value.strip('"')] if quoted or not words else value.split()
        likes = [_like(f"%{part}%") for part in parts]
        return lambda text: any(like(text) for like in likes)
    if modifier == "MATCHES_REGEX":
        pattern = re.compile(value)
        return lambda text: pattern.search(text) is not None
    raise QueryError(f"unsupported string modifier {modifier}")


def _like(value: str) -> Callable[[str], bool]:
    wildcards = {"%": ".*", "_": "."}
    pattern = "".join(wildcards.get(character) or re.escape(character) for character in value)
    compiled = re.compile(pattern, re.IGNORECASE | re.ASCII | re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def _ordered(value_of: Callable[[Scene], Any]) -> Callable[..., Predicate]:
    """Build a number, date or timestamp criterion; the last two compare as text, as in SQLite."""

    def build(criterion: Criterion, _: Library) -> Predicate:
        holds = _comparison(criterion["modifier"], criterion["value"], criterion.get("value2"))
        if criterion["modifier"] in ("IS_NULL", "NOT_NULL"):
            return lambda scene: holds(value_of(scene))
        return lambda scene: (value := value_of(scene)) is not None and holds(value)

    return build


def _comparison(modifier: str, first: Any, second: Any) -> Callable[[Any], bool]:
    upper = first if second is None else second
    comparisons: dict[str, Callable[[Any], bool]] = {
        "EQUALS": lambda value: value == first,
        "NOT_EQUALS": lambda value: value != first,
        "GREATER_THAN": lambda value: value > first,
        "LESS_THAN": lambda value: value < first,
        "BETWEEN": lambda value: first <= value <= upper,
        "NOT_BETWEEN": lambda value: not first <= value <= upper,
        "IS_NULL": lambda value: value is None,
        "NOT_NULL": lambda value: value is not None,
    }
    if modifier not in comparisons:
        raise QueryError(f"unsupported modifier {modifier}")
    return comparisons[modifier]


Expand = Callable[[Library, int, int], set[int]]


def _multi(
    ids_of: Callable[[Scene], Iterable[int]], expand: Expand = lambda _, id_, __: {id_}
) -> Callable[..., Predicate | None]:
    """Build a criterion over related objects; `expand` adds the children of an id."""

    def build(criterion: Criterion, library: Library) -> Predicate | None:
        modifier, depth = criterion["modifier"], criterion.get("depth") or 0
        if modifier in ("IS_NULL", "NOT_NULL"):
            return lambda scene: any(True for _ in ids_of(scene)) == (modifier == "NOT_NULL")
        wanted = [expand(library, int(id_), depth) for id_ in criterion.get("value") or ()]
        unwanted = {int(id_) for id_ in criterion.get("excludes") or ()}
        if modifier == "EXCLUDES":
            unwanted, wanted = unwanted.union(*wanted), []
        if not wanted and not unwanted:
            return None
        enough = all if modifier in ("INCLUDES_ALL", "EQUALS") else any

        def holds(scene: Scene) -> bool:
            ids = set(ids_of(scene))
            if modifier == "EQUALS" and len(ids) != len(wanted):
                return False
            return not ids & unwanted and (
                not wanted or enough(bool(ids & group) for group in wanted)
            )

        return holds

    return build


def _hierarchical(
    kind: str, ids_of: Callable[[Scene, Library], Iterable[int]]
) -> Callable[..., Predicate | None]:
    """Build a criterion over tags or studios: `depth` levels below a wanted one count too."""

    def build(criterion: Criterion, library: Library) -> Predicate | None:
        if criterion["modifier"] in ("EQUALS", "NOT_EQUALS"):
            raise QueryError(
                f"modifier {criterion['modifier']} is not supported for hierarchical multi"
                " criterion"
            )
        depth = criterion.get("depth") or 0
        excluded = [library.below(kind, int(id_), depth) for id_ in criterion.get("excludes") or ()]
        whole = {**criterion, "excludes": set().union(*excluded)}
        below = _multi(
            lambda scene: ids_of(scene, library), lambda _, id_, __: library.below(kind, id_, depth)
        )
        return below(whole, library)

    return build


def _performers_tags(scene: Scene, library: Library) -> Iterable[int]:
    performers = map(library.performers.find, scene.performer_ids)
    return (id_ for performer in performers if performer for id_ in performer.tag_ids)


def _boolean(value_of: Callable[[Scene], bool]) -> Callable[..., Predicate]:
    return lambda wanted, _: lambda scene: value_of(scene) == wanted


def _missing(name: str, _: Library) -> Predicate:
    checks: dict[str, Predicate] = {
        "title": lambda scene: not scene.title,
        "code": lambda scene: not scene.code,
        "details": lambda scene: not scene.details,
        "director": lambda scene: not scene.director,
        "date": lambda scene: scene.date is None,
        "rating": lambda scene: scene.rating100 is None,
        "url": lambda scene: not scene.urls,
        "cover": lambda scene: scene.cover is None,
        "studio": lambda scene: scene.studio_id is None,
        "performers": lambda scene: not scene.performer_ids,
        "tags": lambda scene: not scene.tag_ids,
        "group": lambda scene: not scene.group_ids,
        "movie": lambda scene: not scene.group_ids,
    }
    if name not in checks:
        raise QueryError(f"unsupported is_missing {name!r}")
    return checks[name]


def _mentions(scene: Scene, words: list[str]) -> bool:
    text = "\n".join([scene.title, scene.details, *(file.path for file in scene.files)]).lower()
    return all(word in text for word in words)


_PREDICATES: dict[str, Callable[..., Predicate | None]] = {
    "AND": _matching,
    "NOT": _not,
    "id": _ordered(lambda scene: scene.id),
    "title": _text(lambda scene: (scene.title,)),
    "code": _text(lambda scene: (scene.code,)),
    "details": _text(lambda scene: (scene.details,)),
    "director": _text(lambda scene: (scene.director,)),
    "url": _text(lambda scene: scene.urls),
    "path": _text(lambda scene: [file.path for file in scene.files], words=False),
    "file_count": _ordered(lambda scene: len(scene.files)),
    "rating100": _ordered(lambda scene: scene.rating100),
    "organized": _boolean(lambda scene: scene.organized),
    "play_count": _ordered(lambda scene: scene.play_count),
    "o_counter": _ordered(lambda scene: scene.o_counter),
    "tag_count": _ordered(lambda scene: len(scene.tag_ids)),
    "performer_count": _ordered(lambda scene: len(scene.performer_ids)),
    "studios": _hierarchical(
        "studio", lambda scene, _: () if scene.studio_id is None else (scene.studio_id,)
    ),
    "performers": _multi(lambda scene: scene.performer_ids),
    "tags": _hierarchical("tag", lambda scene, _: scene.tag_ids),
    "performer_tags": _hierarchical("tag", _performers_tags),
    "groups": _multi(lambda scene: [group_id for group_id, _ in scene.group_ids]),
    "date": _ordered(lambda scene: scene.date),
    "created_at": _ordered(lambda scene: scene.created_at),
    "updated_at": _ordered(lambda scene: scene.updated_at),
    "is_missing": _missing,
}
