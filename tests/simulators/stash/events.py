"""The events that run hooks, and the exact JSON that Stash writes to a plugin's stdin for each.

Pure functions, so that a test can build any event.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.isolation import closed_port

Input = Mapping[str, Any]

SCENE_FIELDS = """
    clientMutationId id title code details director url urls date rating100 o_counter organized
    studio_id gallery_ids performer_ids movies groups tag_ids cover_image stash_ids resume_time
    play_duration play_count primary_file_id
"""
PERFORMER_FIELDS = """
    id name disambiguation url urls gender birthdate ethnicity country eye_color height height_cm
    measurements fake_tits penis_length circumcised career_length tattoos piercings aliases
    alias_list twitter instagram favorite tag_ids image stash_ids rating100 details death_date
    hair_color weight ignore_auto_tag custom_fields
"""
STUDIO_FIELDS = """
    id name url urls parent_id image stash_ids rating100 favorite details aliases tag_ids
    ignore_auto_tag
"""


@dataclass(frozen=True)
class HookContext:
    """One event: `type` is the trigger's name in the manifest."""

    id: int
    type: str
    input: Any = None
    input_fields: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        context: dict[str, Any] = {"id": self.id} if self.id else {}
        context |= {"type": self.type, "input": self.input}
        return context | ({"inputFields": list(self.input_fields)} if self.input_fields else {})


def scene_update(input_: Input, rng: random.Random | None = None) -> HookContext:
    """Build the event of a save: all fields, unsent ones null; random `inputFields` order."""
    return HookContext(
        int(input_["id"]), "Scene.Update.Post", filled(input_, SCENE_FIELDS), sent(input_, rng)
    )


def scenes_update(
    inputs: Sequence[Input], scene_id: int, rng: random.Random | None = None
) -> HookContext:
    """Build the event of a mass save: each scene's hook gets the list of all inputs."""
    mine = next(input_ for input_ in inputs if int(input_["id"]) == int(scene_id))
    everything = [filled(input_, SCENE_FIELDS) for input_ in inputs]
    return HookContext(int(scene_id), "Scene.Update.Post", everything, sent(mine, rng))


def bulk_scene_update(
    input_: Input, scene_id: int, rng: random.Random | None = None
) -> HookContext:
    """Build the event of a bulk edit: the bulk input with only the fields that were set."""
    return HookContext(int(scene_id), "Scene.Update.Post", only_set(input_), sent(input_, rng))


def scan_update(scene_id: int) -> HookContext:
    return HookContext(int(scene_id), "Scene.Update.Post")


def scene_create(scene_id: int) -> HookContext:
    """Build the event of a new scene, scanned or created by hand: without input."""
    return HookContext(int(scene_id), "Scene.Create.Post")


def scene_destroy(
    input_: Input, scene_id: int, *, checksum: str = "", oshash: str = "", path: str = ""
) -> HookContext:
    """Build the event of a deletion; `input_` has `id`, or `ids` for several scenes."""
    ids = {"ids": list(input_["ids"])} if "ids" in input_ else {"id": str(input_["id"])}
    flags = {key: input_.get(key) for key in ("delete_file", "delete_generated")}
    known = {"checksum": checksum, "oshash": oshash, "path": path}
    return HookContext(
        int(scene_id), "Scene.Destroy.Post", {**ids, **flags, **known}, sent(input_, None)
    )


def scene_clean(
    scene_id: int, *, checksum: str = "", oshash: str = "", path: str = ""
) -> HookContext:
    """Build the event of a deletion by the clean job."""
    input_ = {"id": "", "delete_file": None, "delete_generated": None}
    known = {"checksum": checksum, "oshash": oshash, "path": path}
    return HookContext(int(scene_id), "Scene.Destroy.Post", {**input_, **known})


def identify(input_: Input) -> HookContext:
    """Build the event of Identify: full input, groups as `movies`, `inputFields` without `id`."""
    translated = {("movies" if key == "groups" else key): value for key, value in input_.items()}
    fields = tuple(
        key for key in SCENE_FIELDS.split() if key != "id" and translated.get(key) is not None
    )
    return HookContext(
        int(input_["id"]), "Scene.Update.Post", filled(translated, SCENE_FIELDS), fields
    )


def performer_update(input_: Input, rng: random.Random | None = None) -> HookContext:
    full = filled(input_, PERFORMER_FIELDS)
    custom = full["custom_fields"] or {}
    full["custom_fields"] = {key: custom.get(key) for key in ("full", "partial", "remove")}
    return HookContext(int(input_["id"]), "Performer.Update.Post", full, sent(input_, rng))


def studio_update(input_: Input, rng: random.Random | None = None) -> HookContext:
    return HookContext(
        int(input_["id"]), "Studio.Update.Post", filled(input_, STUDIO_FIELDS), sent(input_, rng)
    )


def tag_update(input_: Input, rng: random.Random | None = None) -> HookContext:
    return HookContext(int(input_["id"]), "Tag.Update.Post", only_set(input_), sent(input_, rng))


def bulk_update(
    kind: str, input_: Input, id_: int, rng: random.Random | None = None
) -> HookContext:
    """Build the event of a bulk edit; `kind` is "Performer", "Studio" or "Tag"."""
    return HookContext(int(id_), f"{kind}.Update.Post", only_set(input_), sent(input_, rng))


def created(kind: str, id_: int, input_: Input) -> HookContext:
    return HookContext(int(id_), f"{kind}.Create.Post", only_set(input_))


def destroyed(kind: str, id_: int, input_: Input | list[str]) -> HookContext:
    """Build the event of a deletion; `input_` is `{"id": …}`, or the plural form's list of ids."""
    fields = sent(input_, None) if isinstance(input_, Mapping) else ()
    return HookContext(int(id_), f"{kind}.Destroy.Post", input_, fields)


def group_events(verb: str, id_: int, input_: Any, fields: Iterable[str] = ()) -> list[HookContext]:
    """Build both events of a group: its own and that of its old name, movie."""
    return [
        HookContext(int(id_), f"{kind}.{verb}.Post", input_, tuple(fields))
        for kind in ("Group", "Movie")
    ]


def tags_merge(source: Sequence[str], destination: str) -> HookContext:
    input_ = {"source": list(source), "destination": destination}
    return HookContext(int(destination), "Tag.Merge.Post", input_, tuple(input_))


def filled(input_: Input, fields: str) -> dict[str, Any]:
    """Marshal as a Go struct: every field, unset ones null."""
    return {field: input_.get(field) for field in fields.split()}


def only_set(input_: Any) -> Any:
    """Marshal as a Go struct with omitempty: no nulls and no empty lists at any depth."""
    if isinstance(input_, Mapping):
        return {
            key: only_set(value)
            for key, value in input_.items()
            if value is not None and value != []
        }
    if isinstance(input_, list | tuple):
        return [only_set(value) for value in input_]
    return input_


def sent(input_: Input, rng: random.Random | None) -> tuple[str, ...]:
    """Return the keys that the client sent, in random order."""
    keys = list(input_)
    (rng or random.Random(0)).shuffle(keys)
    return tuple(keys)


def server_connection(
    *,
    port: int | None = None,
    cookie: str | None = None,
    host: str = "0.0.0.0",
    scheme: str = "http",
    folder: str = "",
    plugin_folder: str = "",
) -> dict[str, Any]:
    """Build the `server_connection` that plugins get, with the cookie as Go marshals it.

    Args:
        port: default: a port without a server.
    """
    session = None if cookie is None else {
        "Name": "session", "Value": cookie, "Quoted": False, "Path": "", "Domain": "",
        "Expires": "0001-01-01T00:00:00Z", "RawExpires": "", "MaxAge": 0, "Secure": False,
        "HttpOnly": False,
        "SameSite": 0, "Partitioned": False, "Raw": "", "Unparsed": None,
    }  # fmt: skip
    return {
        "Scheme": scheme, "Host": host, "Port": closed_port() if port is None else port,
        "SessionCookie": session, "Dir": folder, "PluginDir": plugin_folder,
    }  # fmt: skip


def hook_input(
    context: HookContext,
    connection: Mapping[str, Any] | None = None,
    default_args: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Build the document for a hook's stdin."""
    args = {**(default_args or {}), "hookContext": context.to_json()}
    return {"server_connection": dict(connection or server_connection()), "args": args}


def task_input(
    args: Mapping[str, Any] | None = None,
    connection: Mapping[str, Any] | None = None,
    default_args: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Build the document for a task's stdin; defaults replace missing arguments."""
    return {
        "server_connection": dict(connection or server_connection()),
        "args": {**(default_args or {}), **(args or {})},
    }


def encode(document: Mapping[str, Any]) -> bytes:
    """Encode as Stash does: one line without a final newline."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
