"""Stash's mutations: each commits, then runs the hooks of its events before it returns."""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from tests.simulators.stash import events
from tests.simulators.stash.events import HookContext
from tests.simulators.stash.library import Entity, Library, NotFound, Scene, Shelf
from tests.simulators.stash.plugins import Caller, PluginHost

Input = Mapping[str, Any]

TEXTS = ("title", "code", "details", "director")
PLAIN = ("rating100", "organized", "resume_time", "play_duration")
DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


class InvalidInput(ValueError):
    """Stash refuses these values."""


class Mutations:
    def __init__(self, library: Library, host: PluginHost, rng: random.Random) -> None:
        self._library = library
        self._host = host
        self._rng = rng

    # --- scenes

    def scene_create(self, input_: Input, caller: Caller) -> Scene:
        with self._library.lock:
            changes = self._scene_changes(None, input_)
            scene = self._library.add_scene(
                **{key: changes[key] for key in changes if key == "urls"}
            )
            changes.pop("urls", None)
            scene = self._library.change_scene(scene.id, **changes)
        self._fire([events.scene_create(scene.id)], caller)
        return self._library.scene(scene.id)

    def scene_update(self, input_: Input, caller: Caller) -> Scene | None:
        scene = self.change_scene(input_)
        self._fire([events.scene_update(input_, self._rng)], caller)
        return self._again(scene.id, caller)

    def scenes_update(self, inputs: Sequence[Input], caller: Caller) -> list[Scene | None]:
        with self._library.lock:
            for input_ in inputs:
                self._library.scene(int(input_["id"]))  # one transaction: all or none
            scenes = [self.change_scene(input_) for input_ in inputs]
        saved: list[Scene | None] = []
        for scene in scenes:
            self._fire([events.scenes_update(inputs, scene.id, self._rng)], caller)
            saved.append(self._again(scene.id, caller))
        return saved

    def bulk_scene_update(self, input_: Input, caller: Caller) -> list[Scene]:
        ids = [int(scene_id) for scene_id in input_.get("ids") or ()]
        with self._library.lock:
            changes = [(id_, self._bulk_changes(self._library.scene(id_), input_)) for id_ in ids]
            for scene_id, fields_ in changes:
                self._library.change_scene(scene_id, **fields_)
        saved = []
        for scene_id in ids:
            self._fire([events.bulk_scene_update(input_, scene_id, self._rng)], caller)
            if (scene := self._again(scene_id, caller)) is not None:
                saved.append(scene)
        return saved

    def scene_destroy(self, input_: Input, caller: Caller) -> bool:
        ids = [int(scene_id) for scene_id in input_.get("ids", [input_.get("id")])]
        with self._library.lock:
            for scene_id in ids:
                self._library.scene(scene_id)
            gone = [self._library.remove_scene(scene_id) for scene_id in ids]
        for scene in gone:
            hashes = scene.files[0].hashes if scene.files else {}
            known = {"checksum": hashes.get("md5", ""), "oshash": hashes.get("oshash", "")}
            self._fire([events.scene_destroy(input_, scene.id, **known, path=scene.path)], caller)
        return True

    def scene_merge(self, input_: Input, _: Caller) -> Scene:
        """Move the sources' files, tags and performers to the destination, without any hook."""
        with self._library.lock:
            target = self._library.scene(int(input_["destination"]))
            sources = [self._library.scene(int(source)) for source in input_["source"]]
            if target in sources:
                raise InvalidInput("source and destination scenes must be different")
            files = [*target.files, *(file for source in sources for file in source.files)]
            values = input_.get("values") or {}
            for source in sources:
                self._library.remove_scene(source.id)
            return self._library.change_scene(
                target.id, **{"files": tuple(files), **self._scene_changes(target, values)}
            )

    def change_scene(self, input_: Input) -> Scene:
        with self._library.lock:
            scene = self._library.scene(int(input_["id"]))
            return self._library.change_scene(scene.id, **self._scene_changes(scene, input_))

    def _scene_changes(self, scene: Scene | None, input_: Input) -> dict[str, Any]:
        changes: dict[str, Any] = {key: input_[key] or "" for key in TEXTS if key in input_}
        changes |= {key: input_[key] for key in PLAIN if input_.get(key) is not None}
        if "rating100" in input_:
            changes["rating100"] = input_["rating100"]
        if "date" in input_:
            changes["date"] = _date(input_["date"])
        if "urls" in input_ or "url" in input_:
            changes["urls"] = tuple(input_.get("urls") or filter(None, [input_.get("url")]))
        if "studio_id" in input_:
            changes["studio_id"] = self._id(self._library.studios, input_["studio_id"])
        changes |= self._relations(input_)
        if "stash_ids" in input_:
            now = self._library.now()
            changes["stash_ids"] = tuple(
                {"updated_at": now, **id_} for id_ in input_["stash_ids"] or ()
            )
        if input_.get("cover_image") is not None:
            changes["cover"] = _decode_image(input_["cover_image"])
        if input_.get("primary_file_id") is not None and scene is not None:
            primary = int(input_["primary_file_id"])
            if all(file.id != primary for file in scene.files):
                raise InvalidInput(
                    f"file with id {primary} is not associated with scene {scene.id}"
                )
            changes["files"] = tuple(sorted(scene.files, key=lambda file: file.id != primary))
        return changes

    def _relations(self, input_: Input) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if "performer_ids" in input_:
            changes["performer_ids"] = tuple(
                sorted(self._ids(self._library.performers, input_["performer_ids"]))
            )
        if "tag_ids" in input_:
            changes["tag_ids"] = self._ids(self._library.tags, input_["tag_ids"])
        entries = [
            (entry["group_id"], entry.get("scene_index")) for entry in input_.get("groups") or ()
        ]
        entries += [
            (entry["movie_id"], entry.get("scene_index")) for entry in input_.get("movies") or ()
        ]
        if "groups" in input_ or "movies" in input_:
            ids = self._ids(self._library.groups, [group_id for group_id, _ in entries])
            changes["group_ids"] = tuple(zip(ids, (index for _, index in entries), strict=False))
        return changes

    def _bulk_changes(self, scene: Scene, input_: Input) -> dict[str, Any]:
        plain = {key: value for key, value in input_.items() if not isinstance(value, Mapping)}
        changes = self._scene_changes(
            scene, {key: plain[key] for key in plain if not key.endswith("_ids")}
        )
        if (urls := input_.get("urls")) is not None:
            changes["urls"] = _bulk(scene.urls, urls.get("values") or (), urls["mode"])
        for key, shelf in (
            ("performer_ids", self._library.performers),
            ("tag_ids", self._library.tags),
        ):
            if (edit := input_.get(key)) is not None:
                ids = _bulk(getattr(scene, key), self._ids(shelf, edit.get("ids")), edit["mode"])
                changes[key] = tuple(sorted(ids)) if key == "performer_ids" else ids
        edit = input_.get("group_ids") or input_.get("movie_ids")
        if edit is not None:
            indexes = dict(scene.group_ids)
            ids = _bulk(
                tuple(indexes), self._ids(self._library.groups, edit.get("ids")), edit["mode"]
            )
            changes["group_ids"] = tuple((id_, indexes.get(id_)) for id_ in ids)
        return changes

    # --- performers, studios, tags, groups

    def shelf(self, kind: str) -> Shelf[Any]:
        return self._library.shelf(kind.lower())

    def entity_create(self, kind: str, input_: Input, caller: Caller) -> Entity:
        with self._library.lock:
            self._check_parents(kind, 0, input_)
            entity: Entity = self.shelf(kind).add(**self._entity_changes(kind, input_))
            self._set_children(entity.id, input_)
        if kind == "Group":
            self._fire(events.group_events("Create", entity.id, events.only_set(input_)), caller)
        else:
            self._fire([events.created(kind, entity.id, input_)], caller)
        return entity

    def entity_update(self, kind: str, input_: Input, caller: Caller) -> Entity:
        with self._library.lock:
            self._check_parents(kind, int(input_["id"]), input_)
            entity: Entity = self.shelf(kind).change(
                int(input_["id"]), **self._entity_changes(kind, input_)
            )
            self._set_children(entity.id, input_)
        self._fire(self._update_events(kind, input_), caller)
        return entity

    def performers_bulk_update(self, input_: Input, caller: Caller) -> list[Entity]:
        ids = [int(id_) for id_ in input_.get("ids") or ()]
        shelf = self._library.performers
        with self._library.lock:
            for id_ in ids:
                shelf.change(id_, **self._bulk_performer_changes(shelf.get(id_), input_))
        for id_ in ids:
            self._fire([events.bulk_update("Performer", input_, id_, self._rng)], caller)
            caller.check()
        return [shelf.get(id_) for id_ in ids]

    def _bulk_performer_changes(self, before: Entity, input_: Input) -> dict[str, Any]:
        edits = {key: value for key, value in input_.items() if isinstance(value, Mapping)}
        plain = {key: value for key, value in input_.items() if key not in edits}
        changes = self._entity_changes("Performer", plain)
        for key, edit in edits.items():
            values = (
                map(int, edit.get("ids") or ()) if key == "tag_ids" else edit.get("values") or ()
            )
            changes[key] = _bulk(getattr(before, key), values, edit["mode"])
        return changes

    def entity_destroy(self, kind: str, ids: Sequence[str], input_: Any, caller: Caller) -> bool:
        """Delete entities; `input_` is the hooks' input: `{"id": …}`, or the list of ids."""
        with self._library.lock:
            for id_ in ids:
                self._library.destroy(kind.lower(), int(id_))
        for id_ in ids:
            if kind == "Group":
                fields_ = tuple(input_) if isinstance(input_, Mapping) else ()
                self._fire(events.group_events("Destroy", int(id_), input_, fields_), caller)
            else:
                self._fire([events.destroyed(kind, int(id_), input_)], caller)
        return True

    def tags_merge(self, input_: Input, caller: Caller) -> Entity:
        destination = int(input_["destination"])
        self._library.merge("tag", map(int, input_["source"]), destination)
        merged = self._library.tags.get(destination)
        self._fire([events.tags_merge(input_["source"], input_["destination"])], caller)
        return merged

    def _set_children(self, tag_id: int, input_: Input) -> None:
        """Set the tags below a tag; only its own updated_at moves, as in Stash."""
        if "child_ids" in input_:
            self._library.set_children(tag_id, map(int, input_["child_ids"] or ()))

    def _check_parents(self, kind: str, entity_id: int, input_: Input) -> None:
        """Refuse parents and children that do not exist, or that make a circle."""
        if kind not in ("Tag", "Studio"):
            return
        given = input_.get("parent_ids") or list(filter(None, [input_.get("parent_id")]))
        parents = self._ids(self.shelf(kind), given)
        children = self._ids(self.shelf(kind), input_.get("child_ids"))
        below = self._library.below(kind.lower(), entity_id) if entity_id else set()
        for child in children:
            below |= self._library.below(kind.lower(), child)
        circle = below.intersection(parents) or any(
            entity_id in self._library.below(kind.lower(), child) for child in children
        )
        if circle:
            raise InvalidInput(f"cannot apply hierarchy of {kind.lower()} {entity_id}: a circle")

    def _entity_changes(self, kind: str, input_: Input) -> dict[str, Any]:
        record: type[Entity] = self.shelf(kind).make
        changes: dict[str, Any] = {}
        defaults = {field.name: field.default for field in fields(record)}
        for key in set(input_) & set(defaults) - {"id", "custom_fields"}:
            value = input_[key]
            if isinstance(value, list | tuple):
                changes[key] = tuple(map(int, value)) if key.endswith("_ids") else tuple(value)
            elif key in ("parent_id", "studio_id"):
                changes[key] = self._id(self._library.studios, value)
            else:
                changes[key] = defaults[key] if value is None else value
        if "url" in input_ and "urls" not in input_:
            changes["urls"] = tuple(filter(None, [input_["url"]]))
        return changes

    def _update_events(self, kind: str, input_: Input) -> list[HookContext]:
        if kind == "Group":
            fields_ = events.sent(input_, self._rng)
            return events.group_events(
                "Update", int(input_["id"]), events.only_set(input_), fields_
            )
        builders = {
            "Performer": events.performer_update, "Studio": events.studio_update,
            "Tag": events.tag_update,
        }  # fmt: skip
        return [builders[kind](input_, self._rng)]

    # --- common

    def _fire(self, contexts: Iterable[HookContext], caller: Caller) -> None:
        for context in contexts:
            self._host.execute_hooks(context, caller)

    def _again(self, scene_id: int, caller: Caller) -> Scene | None:
        """Read the scene again after its hooks; stop here if the client has disconnected."""
        caller.check()
        return self._library.find_scene(scene_id)

    def _id(self, shelf: Shelf[Any], value: Any) -> int | None:
        return None if value in (None, "") else self._ids(shelf, [value])[0]

    def _ids(self, shelf: Shelf[Any], values: Iterable[Any] | None) -> tuple[int, ...]:
        try:
            return tuple(dict.fromkeys(int(shelf.get(int(value)).id) for value in values or ()))
        except NotFound:
            raise InvalidInput("FOREIGN KEY constraint failed") from None


def _bulk(before: Sequence[Any], values: Iterable[Any], mode: str) -> tuple[Any, ...]:
    if mode == "SET":
        return tuple(values)
    if mode == "ADD":
        return tuple(dict.fromkeys([*before, *values]))
    gone = set(values)
    return tuple(value for value in before if value not in gone)


def _date(value: str | None) -> str | None:
    if value and not DATE.fullmatch(value):
        raise InvalidInput(f"converting date: could not parse {value!r}")
    return value or None


def _decode_image(value: str) -> bytes | None:
    """Return a data URL's bytes; "" removes the cover."""
    if not value:
        return None
    if not value.startswith("data:"):
        raise InvalidInput("the simulator takes data URLs only")
    try:
        return base64.b64decode(value.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"invalid image: {error}") from error
