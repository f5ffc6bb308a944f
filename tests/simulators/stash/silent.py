"""Changes of Stash's data that run no hook, with what the real ones do to `updated_at`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.simulators.stash.library import Entity, FileSpec, Library, Names, Scene, Shelf, Snapshot

Moment = float | str | datetime

RELATED = {"studio": "studios", "performers": "performers", "tags": "tags", "groups": "groups"}


class SilentChanges:
    """The part of `StashSimulator` that changes data without hooks."""

    library: Library
    _hidden: Snapshot | None = None
    """The data behind an empty database."""

    # --- new objects

    def add_scene(
        self,
        title: str = "",
        *,
        details: str = "",
        date: str | None = None,
        code: str = "",
        stash_ids: Iterable[Mapping[str, Any]] = (),
        director: str = "",
        rating100: int | None = None,
        organized: bool = False,
        urls: Iterable[str] = (),
        studio: str | int | None = None,
        performers: Names = (),
        tags: Names = (),
        groups: Names = (),
        files: Iterable[FileSpec] = (),
        cover: bytes | None = None,
        created_at: Moment | None = None,
        updated_at: Moment | None = None,
        scene_id: int | None = None,
    ) -> Scene:
        """Add a scene; `scene_id` takes the id of a deleted scene, default: the next id."""
        return self.library.add_scene(
            title=title, details=details, date=date, code=code, stash_ids=tuple(stash_ids),
            director=director,
            rating100=rating100, organized=organized, urls=urls, studio=studio,
            performers=performers, tags=tags, groups=groups, files=files, cover=cover,
            created_at=created_at, updated_at=updated_at, scene_id=scene_id,
        )  # fmt: skip

    def import_scene(
        self, *, created_at: Moment, updated_at: Moment, replaces: int | None = None, **fields: Any
    ) -> Scene:
        """Bring in a scene as Metadata > Import does: it keeps the dates of its export.

        `replaces` overwrites an existing scene, which may move its updated_at back.
        """
        if replaces is None:
            return self.add_scene(created_at=created_at, updated_at=updated_at, **fields)
        dates = {"created_at": created_at, "updated_at": updated_at}
        return self._change(replaces, {**fields, **dates})

    def add_performer(self, name: str, tags: Names = (), **fields: Any) -> int:
        fields.setdefault("tag_ids", tuple(map(self.library.tags.id_of, tags)))
        return self.library.performers.add(name, **fields).id

    def add_studio(self, name: str, parent: str | int | None = None, **fields: Any) -> int:
        if parent is not None:
            fields["parent_id"] = self.library.studios.id_of(parent)
        return self.library.studios.add(name, **fields).id

    def add_tag(self, name: str, parents: Names = (), **fields: Any) -> int:
        fields.setdefault("parent_ids", tuple(map(self.library.tags.id_of, parents)))
        return self.library.tags.add(name, **fields).id

    def add_group(self, name: str, **fields: Any) -> int:
        return self.library.groups.add(name, **fields).id

    # --- scenes

    def change_silently(self, scene_id: int | str, **fields: Any) -> Scene:
        """Change a scene and its updated_at without any hook, as Auto Tag does."""
        fields.setdefault("updated_at", self.library.now())
        return self._change(scene_id, fields)

    def move_file(self, scene_id: int | str, path: str) -> Scene:
        """Move a scene's files: other paths, no hook, the same updated_at."""
        first, *others = self.library.scene(int(scene_id)).files
        return self._change(scene_id, {"files": (replace(first, path=path), *others)})

    def set_cover(self, scene_id: int | str, cover: bytes | None) -> Scene:
        """Set a cover as a generate job does: no hook, but updated_at is now."""
        return self.change_silently(scene_id, cover=cover)

    def delete_silently(self, scene_id: int | str) -> Scene:
        """Delete a scene without its hook, as when the hook's process is killed."""
        return self.library.remove_scene(int(scene_id))

    # --- related objects; the updated_at of their scenes never changes

    def change_related_silently(self, kind: str, which: str | int, **fields: Any) -> Entity:
        """Change a performer, studio, tag or group; its own updated_at is now."""
        shelf = self.library.shelf(kind)
        with self.library.lock:
            changed: Entity = shelf.change(shelf.known(which).id, **fields)
            return changed

    def rename_silently(self, kind: str, which: str | int, name: str) -> Entity:
        return self.change_related_silently(kind, which, name=name)

    def destroy_silently(self, kind: str, which: str | int) -> None:
        """Delete a performer, studio, tag or group and take it from all scenes."""
        self.library.destroy(kind, self.library.shelf(kind).known(which).id)

    def merge_silently(self, kind: str, sources: Names, destination: str | int) -> None:
        """Merge tags or performers; the merging of performers has no hook in Stash either."""
        shelf = self.library.shelf(kind)
        with self.library.lock:
            ids = [shelf.known(source).id for source in sources]
            self.library.merge(kind, ids, shelf.known(destination).id)

    # --- the database as a whole

    def snapshot(self) -> Snapshot:
        """Take a backup of the database: scenes and related objects; settings are elsewhere."""
        return self.library.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Put a backup back. Ids that were used since will be used again."""
        self.library.restore(snapshot)

    @property
    def looks_empty(self) -> bool:
        """Whether Stash runs on an empty database, as when the volume is not mounted."""
        return self._hidden is not None

    @looks_empty.setter
    def looks_empty(self, value: bool) -> None:
        with self.library.lock:
            if value and self._hidden is None:
                self._hidden = self.library.snapshot()
                self.library.restore(Snapshot())
            elif not value and self._hidden is not None:
                self.library.restore(self._hidden)
                self._hidden = None

    # --- common

    def _change(self, scene_id: int | str, fields: Mapping[str, Any]) -> Scene:
        changes = {key: value for key, value in fields.items() if key not in RELATED}
        for key in set(fields) & set(RELATED):
            changes |= self._related(key, fields[key])
        if "files" in changes:
            changes["files"] = tuple(map(self.library.make_file, changes["files"]))
        for key in {"created_at", "updated_at"} & set(changes):
            changes[key] = self.library.timestamp(changes[key])
        return self.library.change_scene(int(scene_id), touch=False, **changes)

    def _related(self, key: str, value: Any) -> dict[str, Any]:
        """Convert names or ids of related objects to fields of a scene."""
        shelf: Shelf[Any] = getattr(self.library, RELATED[key])
        with self.library.lock:
            if key == "studio":
                return {"studio_id": None if value is None else shelf.id_of(value)}
            ids = tuple(dict.fromkeys(shelf.id_of(one) for one in value))
        if key == "groups":
            return {"group_ids": tuple((id_, None) for id_ in ids)}
        return {f"{key[:-1]}_ids": tuple(sorted(ids)) if key == "performers" else ids}
