"""Parse Stash's hook events: the object changed, and the fields that the client sent.

The input has one of Stash's shapes (internal/api/resolver_mutation_scene.go): one scene's input
with nulls, a bulk input with `ids`, the list of all inputs of a mass save, or null for a scan.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCENE_UPDATE = "Scene.Update.Post"
#: Sent for a new file found by a scan and for a scene created by hand; the input does not tell.
SCENE_CREATE = "Scene.Create.Post"
#: The scene was deleted. The worker notices that Stash no longer has it and drops its state.
SCENE_DESTROY = "Scene.Destroy.Post"
#: Events on related objects. Stash does not bump `updated_at` of their scenes. (For a group, Stash
#: also sends a movie event, which is not needed.)
RELATED = {
    "Performer.Update.Post": "performer",
    "Studio.Update.Post": "studio",
    "Tag.Update.Post": "tag",
    "Tag.Merge.Post": "tag",
    "Group.Update.Post": "group",
}
TAG_MERGE = "Tag.Merge.Post"
#: Input fields of a performer, studio, tag or group that affect Plex.
RELATED_FIELDS = frozenset(("name", "tag_ids", "parent_id", "parent_ids", "child_ids"))
#: Such an object was deleted. Stash does not tell which scenes had it.
RELATED_DESTROYED = {
    "Performer.Destroy.Post": "performer",
    "Studio.Destroy.Post": "studio",
    "Tag.Destroy.Post": "tag",
    "Group.Destroy.Post": "group",
}
_HANDLED = (SCENE_UPDATE, SCENE_CREATE, SCENE_DESTROY, *RELATED, *RELATED_DESTROYED)

#: Input fields (all event shapes) that affect Plex.
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
        *("groups", "group_ids", "movies", "movie_ids", "cover", "cover_image", "stash_ids"),
    )
)
_REQUEST_FIELDS = frozenset(("id", "ids", "clientMutationId", "inputFields"))
#: The largest integer of SQLite, which Stash uses too.
_MAX_ID = 2**63 - 1
_INFINITY = float("inf")
_COVER_FIELDS = frozenset(("cover", "cover_image"))
#: Maximum length of a value in a job; the worker reads the scene anyway.
_MAX_VALUE_LENGTH = 2_000


class EventError(Exception):
    """Signal an invalid hook context. The message is one line for the user."""


def read_event(hook_context: object) -> tuple[str, int, dict[str, Any]]:
    """Parse a hook context.

    Returns:
        (event type, id of the object, input); the input includes `inputFields` if Stash sent them.

    Raises:
        EventError: PlexSync does not handle this event, or it has no valid id.
    """
    if not isinstance(hook_context, dict):
        raise EventError(f"hookContext is not an object: {type(hook_context).__name__}")
    kind = hook_context.get("type")
    if not isinstance(kind, str) or kind not in _HANDLED:
        raise EventError(
            f"unknown hook {str(kind)[:80]!r}: PlexSync handles only those in PlexSync.yml"
        )
    object_id = hook_context.get("id")
    if (
        isinstance(object_id, bool)
        or not isinstance(object_id, int)
        or not 0 < object_id <= _MAX_ID
    ):
        name = RELATED.get(kind) or RELATED_DESTROYED.get(kind, "scene")
        raise EventError(f"hookContext has no {name} id: {str(object_id)[:80]!r}")
    update = dict(_input_of(object_id, hook_context.get("input")))
    fields = hook_context.get("inputFields")
    if isinstance(fields, list):
        update["inputFields"] = fields
    return kind, object_id, update


def changed_fields(update_data: Mapping[str, Any]) -> set[str]:
    """Return the fields that the client sent: `inputFields`, or else all that are not null."""
    listed = update_data.get("inputFields")
    if isinstance(listed, list):
        return {field for field in listed if isinstance(field, str)} - _REQUEST_FIELDS
    return {field for field, value in update_data.items() if value is not None} - _REQUEST_FIELDS


def job_data(update_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's data: the fields sent. Keep small values; replace large ones by True."""
    fields = sorted(changed_fields(update_data))
    return {field: _small_value(field, update_data.get(field)) for field in fields}


def _input_of(object_id: int, sent: object) -> Mapping[str, Any]:
    """Return the input for one object; a mass save sends the inputs of all its scenes."""
    if isinstance(sent, list):
        own = (
            item
            for item in sent
            if isinstance(item, dict) and str(item.get("id")) == str(object_id)
        )
        return next(own, {})
    return sent if isinstance(sent, dict) else {}


def _small_value(field: str, value: Any) -> Any:
    # SQLite's JSON functions reject Infinity and NaN.
    if isinstance(value, float) and not abs(value) < _INFINITY:
        return True
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if field in _COVER_FIELDS:  # megabytes of base64
        return True
    size = len(value) if isinstance(value, str) else len(json.dumps(value))
    return value if size <= _MAX_VALUE_LENGTH else True
