"""Stash's hook events: what was changed, and which of its fields the client sent.

The shapes are Stash's own (internal/api/resolver_mutation_scene.go): one scene's input with nulls, a bulk
input with `ids`, the list of all inputs of a mass save, or null for a scan.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCENE_UPDATE = "Scene.Update.Post"
#: By a scan, with nothing but a file, or by a person, with metadata: the input does not say.
SCENE_CREATE = "Scene.Create.Post"
#: The scene is gone: the worker will find that out, and forget it.
SCENE_DESTROY = "Scene.Destroy.Post"
#: Changes of what scenes have: none of those scenes counts as changed in Stash. (A group's come twice, as a movie's.)
RELATED = {
    "Performer.Update.Post": "performer",
    "Studio.Update.Post": "studio",
    "Tag.Update.Post": "tag",
    "Tag.Merge.Post": "tag",
    "Group.Update.Post": "group",
}
TAG_MERGE = "Tag.Merge.Post"
_HANDLED = (SCENE_UPDATE, SCENE_CREATE, SCENE_DESTROY, *RELATED)

#: Input names, of all the shapes, of what Plex can show.
PLEX_FIELDS = frozenset(
    (
        *(
            "title",
            "details",
            "date",
            "rating",
            "rating100",
            "organized",
            "director",
            "code",
            "url",
            "urls",
        ),
        *("studio", "studio_id", "performers", "performer_ids", "tags", "tag_ids"),
        *("groups", "group_ids", "movies", "movie_ids", "cover", "cover_image"),
    )
)
_NOT_ABOUT_THE_SCENE = frozenset(("id", "ids", "clientMutationId", "inputFields"))
_LARGEST_ID = 2**63 - 1  # of SQLite, in Stash as here
_END_OF_NUMBERS = float("inf")
_COVERS = frozenset(("cover", "cover_image"))
#: Characters up to which a value is kept in the job; the worker reads the scene anyway.
_SMALL = 2_000


class EventError(Exception):
    """The hook context is not one that Stash sends. The text is one line for the user."""


def read_event(hook_context: object) -> tuple[str, int, dict[str, Any]]:
    """Return the kind of event, the id of what it is about, and the input, with `inputFields` where Stash sent them.

    Raises:
        EventError: it is none of the events that PlexSync handles, or has no id.
    """
    if not isinstance(hook_context, dict):
        raise EventError(f"hookContext is no object: {type(hook_context).__name__}")
    kind = hook_context.get("type")
    if not isinstance(kind, str) or kind not in _HANDLED:
        raise EventError(f"unknown hook {str(kind)[:80]!r}: PlexSync handles {', '.join(_HANDLED)}")
    object_id = hook_context.get("id")
    if (
        isinstance(object_id, bool)
        or not isinstance(object_id, int)
        or not 0 < object_id <= _LARGEST_ID
    ):
        what = "scene id" if kind not in RELATED else f"{RELATED[kind]} id"
        raise EventError(f"hookContext has no {what}: {str(object_id)[:80]!r}")
    update = dict(_own_input(object_id, hook_context.get("input")))
    fields = hook_context.get("inputFields")
    if isinstance(fields, list):
        update["inputFields"] = fields
    return kind, object_id, update


def changed_fields(update_data: Mapping[str, Any]) -> set[str]:
    """Return the fields that the client sent: those in `inputFields`, or without these all that are not null."""
    listed = update_data.get("inputFields")
    if isinstance(listed, list):
        return {field for field in listed if isinstance(field, str)} - _NOT_ABOUT_THE_SCENE
    return {
        field for field, value in update_data.items() if value is not None
    } - _NOT_ABOUT_THE_SCENE


def job_data(update_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job keeps of an event: the fields sent, with small values; of others only that they were."""
    return {
        field: _small(field, update_data.get(field))
        for field in sorted(changed_fields(update_data))
    }


def _own_input(object_id: int, sent: object) -> Mapping[str, Any]:
    if isinstance(
        sent, list
    ):  # a mass save: everybody's input, and the context says whose turn it is
        return next(
            (one for one in sent if isinstance(one, dict) and str(one.get("id")) == str(object_id)),
            {},
        )
    return sent if isinstance(sent, dict) else {}


def _small(field: str, value: Any) -> Any:
    if (
        isinstance(value, float) and not abs(value) < _END_OF_NUMBERS
    ):  # Infinity and NaN are no JSON for SQLite
        return True
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if field in _COVERS:  # megabytes of base64
        return True
    size = len(value) if isinstance(value, str) else len(json.dumps(value))
    return value if size <= _SMALL else True
