"""Compare Plex with Stash. It asks the simulators, not PlexSync."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from tests.simulators.plex import PlexItem
from tests.simulators.stash import StashSimulator

Shown = dict[str, object]


def in_stash(stash: StashSimulator, scene_id: int, own_tags: Iterable[str] = ()) -> Shown:
    """Return the values that Plex must show; the user added `own_tags` in Plex."""
    scene, library = stash.scene(scene_id), stash.library
    date = scene.date or ""
    studio = library.studios.get(scene.studio_id).name if scene.studio_id else ""
    groups = {library.groups.get(group_id).name for group_id, _ in scene.group_ids}
    return {
        "title": scene.title or PurePosixPath(scene.path).stem,
        "summary": scene.details,
        "studio": studio,
        "date": date if len(date) == len("YYYY-MM-DD") else "",
        "year": date[:4],
        "genres": {*(library.tags.get(tag_id).name for tag_id in scene.tag_ids), *own_tags},
        "actors": {
            library.performers.get(performer_id).name for performer_id in scene.performer_ids
        },
        "collections": {*groups, *filter(None, [studio])},
    }


def in_plex(item: PlexItem) -> Shown:
    return {
        "title": item.title,
        "summary": item.summary,
        "studio": item.studio or "",
        "date": item.originally_available_at or "",
        "year": str(item.year or ""),
        "genres": set(item.genres),
        "actors": set(item.actors),
        "collections": set(item.collections),
    }


def differences(wanted: Shown, item: PlexItem | None) -> list[str]:
    """Return a line for each field whose value in Plex is wrong."""
    if item is None:
        return ["Plex has no item for its file"]
    shown = in_plex(item)
    wanted = {**wanted, "collections": {*_names(wanted), *(_names(shown) & _ending(item))}}
    return [
        f"{name}: Stash has {readable(wanted[name])}, Plex {readable(shown[name])}"
        for name in wanted
        if wanted[name] != shown[name]
    ]


def _names(shown: Shown) -> set[str]:
    names = shown["collections"]
    assert isinstance(names, set)
    return names


def _ending(item: PlexItem) -> set[str]:
    """Return the collections that have no other item: the last one leaves only days later."""
    others = [one for one in item.library.items.values() if one is not item]
    return {
        name for name in item.collections if all(name not in other.collections for other in others)
    }


def readable(value: object) -> str:
    """Format a value on one line."""
    text = ", ".join(sorted(value)) if isinstance(value, set) else " ".join(str(value).split())
    return f'"{text}"' if text else "nothing"
