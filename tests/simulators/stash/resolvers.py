"""Resolvers of the schema's fields."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
)

from tests.simulators.stash import query
from tests.simulators.stash.jobs import Job, JobQueue
from tests.simulators.stash.library import Entity, Library, NotFound, Scene, VideoFile, unix
from tests.simulators.stash.manifest import Hook, Manifest, Operation, Setting
from tests.simulators.stash.mutations import InvalidInput, Mutations
from tests.simulators.stash.plugins import PluginHost
from tests.simulators.stash.related import find_related, scene_count
from tests.simulators.stash.schema import sdl
from tests.simulators.stash.sessions import Sessions
from tests.simulators.stash.values import to_map

Info = GraphQLResolveInfo
Resolvers = dict[str, Callable[..., Any]]
ResolversByType = dict[str, Resolvers]
KINDS = ("Performer", "Studio", "Tag", "Group")
METADATA_JOBS = {
    "metadataScan": "Scanning...", "metadataGenerate": "Generating...",
    "metadataAutoTag": "Auto-tagging...",
    "metadataClean": "Cleaning...", "metadataIdentify": "Identifying...",
}  # fmt: skip


@dataclass
class Account:
    """The login and its API key."""

    username: str = ""
    password: str = ""
    api_key: str = ""

    @property
    def required(self) -> bool:
        return bool(self.username and self.password)


@dataclass
class Services:
    """The services that resolvers use."""

    library: Library
    mutations: Mutations
    host: PluginHost
    jobs: JobQueue
    sessions: Sessions
    account: Account
    rng: random.Random
    config_file: Path
    plugins_dir: Path
    version: str
    new_api_key: Callable[[], str]


def resolve_field(source: Any, info: Info, **_: Any) -> Any:
    """Resolve a field by default: a mapping's key or an attribute; null if absent."""
    if isinstance(source, dict):
        return source.get(info.field_name)
    return getattr(source, info.field_name, None)


def make_resolvers(services: Services) -> ResolversByType:
    """Return the resolvers of one simulator."""
    return {
        "Query": _queries(services),
        "Mutation": _mutations(services),
        **_types(services),
    }


def make_schema(resolvers: ResolversByType) -> GraphQLSchema:
    """Return the schema, which all simulators of a process share: it takes long to build.

    Its fields are resolved by the resolvers of the request (`Caller.resolvers`).
    """
    return _make_schema(frozenset((name, field) for name in resolvers for field in resolvers[name]))


@functools.cache
def _make_schema(resolved: frozenset[tuple[str, str]]) -> GraphQLSchema:
    schema = build_schema(sdl())
    for name in ("Map", "PluginConfigMap", "BoolMap"):
        scalar = schema.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)
        scalar.coerce_input_value = scalar.parse_value = to_map  # type: ignore[method-assign]
    for type_name, field_name in resolved:
        type_ = schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType)
        type_.fields[field_name].resolve = _resolver_of_request(type_name, field_name)
    return schema


def _resolver_of_request(type_name: str, field_name: str) -> Callable[..., Any]:
    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        return info.context.resolvers[type_name][field_name](source, info, **arguments)

    return resolve


def _queries(services: Services) -> Resolvers:
    library, jobs = services.library, services.jobs
    resolvers: Resolvers = {
        "findScene": lambda _, __, id=None, checksum=None: library.find_scene(number(id or "0")),
        "findScenes": lambda _, __, **args: _find_scenes(services, **args),
        "plugins": lambda *_: list(services.host.manifests.values()),
        "pluginTasks": lambda *_: [
            _PluginTask(task, manifest)
            for manifest in services.host.enabled()
            for task in manifest.tasks
        ],
        "configuration": lambda *_: {"general": _general(services), "ui": {}},
        "systemStatus": lambda *_: {
            "databaseSchema": 75, "appSchema": 75, "status": "OK", "os": os.name,
            "databasePath": str(services.config_file.with_name("stash-go.sqlite")),
            "configPath": str(services.config_file), "workingDir": str(services.config_file.parent),
            "homeDir": str(services.config_file.parent),
        },
        "jobQueue": lambda *_: jobs.queued() or None,
        "findJob": lambda _, __, input: jobs.find(number(input["id"])),
        "version": lambda *_: {
            "version": services.version, "hash": "00000000", "build_time": "2026-01-01 00:00:00",
        },
    }  # fmt: skip
    for kind in KINDS:
        resolvers[f"find{kind}"] = _find_one(services, kind.lower())
        resolvers[f"find{kind}s"] = _find_entities(services, kind.lower())
    return resolvers


def _find_one(services: Services, kind: str) -> Callable[..., Entity | None]:
    return lambda _, __, id: services.library.shelf(kind).find(number(id))


def _find_entities(services: Services, kind: str) -> Callable[..., dict[str, Any]]:
    def resolve(
        _: Any, __: Info, filter: Any = None, ids: Any = None, **more: Any
    ) -> dict[str, Any]:
        wanted = ids or more.get("performer_ids")
        if wanted:
            shelf = services.library.shelf(kind)
            found = page = [shelf.get(number(id_)) for id_ in wanted]
        else:
            found = find_related(services.library, kind, filter or {}, services.rng)
            if more.get("tag_filter"):
                found = query.matching_tags(services.library, more["tag_filter"], found)
            page = query.page(found, filter or {})
        return {"count": len(found), f"{kind}s": page}

    return resolve


def _find_scenes(
    services: Services,
    scene_filter: Mapping[str, Any] | None = None,
    scene_ids: Sequence[int] | None = None,
    ids: Sequence[str] | None = None,
    filter: Mapping[str, Any] | None = None,
) -> query.FoundScenes:
    library, filter = services.library, filter or {}
    wanted = [number(scene_id) for scene_id in ids] if ids else scene_ids
    if wanted:  # then Stash ignores the filters
        found = page = [library.scene(scene_id) for scene_id in wanted]
    else:
        found = query.find(library, filter, scene_filter, services.rng)
        page = query.page(found, filter)
    return query.FoundScenes(found, page)


def _general(services: Services) -> dict[str, Any]:
    account = services.account
    return {
        "stashes": [
            {"path": path, "excludeVideo": False, "excludeImage": False}
            for path in services.library.folders
        ],
        "databasePath": str(services.config_file.with_name("stash-go.sqlite")),
        "configFilePath": str(services.config_file),
        "pluginsPath": str(services.plugins_dir),
        "apiKey": account.api_key,
        "username": account.username,
        "password": "*" * 8 if account.password else "",
        "maxSessionAge": int(services.sessions.max_age),
        "parallelTasks": 1,
        "pythonPath": "",
    }


def _mutations(services: Services) -> Resolvers:
    mutations, jobs, host = services.mutations, services.jobs, services.host
    resolvers: Resolvers = {
        "sceneCreate": lambda _, info, input: mutations.scene_create(input, info.context),
        "sceneUpdate": lambda _, info, input: mutations.scene_update(input, info.context),
        "scenesUpdate": lambda _, info, input: mutations.scenes_update(input, info.context),
        "bulkSceneUpdate": lambda _, info, input: mutations.bulk_scene_update(input, info.context),
        "sceneDestroy": lambda _, info, input: mutations.scene_destroy(input, info.context),
        "scenesDestroy": lambda _, info, input: mutations.scene_destroy(input, info.context),
        "sceneMerge": lambda _, info, input: mutations.scene_merge(input, info.context),
        "sceneSaveActivity": lambda _, __, **args: _save_activity(services.library, **args),
        "sceneAddPlay": lambda _, __, id, times=None: _count(
            services.library, id, "play_count", times
        ),
        "sceneAddO": lambda _, __, id, times=None: _count(services.library, id, "o_counter", times),
        "bulkPerformerUpdate": lambda _, info, input: mutations.performers_bulk_update(
            input, info.context
        ),
        "tagsMerge": lambda _, info, input: mutations.tags_merge(input, info.context),
        "configurePlugin": lambda _, __, plugin_id, input: _configure(host, plugin_id, input),
        "generateAPIKey": lambda _, __, input: _generate_key(services, input),
        "setPluginsEnabled": lambda _, __, **args: _set_enabled(host, args["enabledMap"]),
        "reloadPlugins": lambda *_: _done(host.reload),
        "runPluginTask": lambda _, info, **args: _run_task(host, info, **args),
        "runPluginOperation": lambda _, info, plugin_id, args=None: host.run_operation(
            plugin_id, args, info.context
        ),
        "stopJob": lambda _, __, job_id: jobs.stop(number(job_id)) or True,
        "stopAllJobs": lambda *_: _done(jobs.stop_all),
    }
    for name, description in METADATA_JOBS.items():
        resolvers[name] = _metadata_job(jobs, description)
    for kind in KINDS:
        resolvers |= _entity_mutations(mutations, kind)
    return resolvers


def _metadata_job(jobs: JobQueue, description: str) -> Callable[..., int]:
    return lambda *_, **__: jobs.submit(description, lambda job: None).id


def _entity_mutations(mutations: Mutations, kind: str) -> Resolvers:
    name = kind.lower()
    return {
        f"{name}Create": lambda _, info, input: mutations.entity_create(kind, input, info.context),
        f"{name}Update": lambda _, info, input: mutations.entity_update(kind, input, info.context),
        f"{name}Destroy": lambda _, info, input: mutations.entity_destroy(
            kind, [input["id"]], input, info.context
        ),
        f"{name}sDestroy": lambda _, info, ids: mutations.entity_destroy(
            kind, ids, ids, info.context
        ),
    }


def _run_task(
    host: PluginHost,
    info: Info,
    plugin_id: str,
    task_name: str | None = None,
    description: str | None = None,
    args: Sequence[Mapping[str, Any]] | None = None,
    args_map: Mapping[str, Any] | None = None,
) -> int:
    given = _arguments(args) if args_map is None else args_map
    return host.start_task(plugin_id, task_name, given, info.context, description).id


def _done(act: Callable[[], None]) -> bool:
    act()
    return True


def _save_activity(
    library: Library, id: str, resume_time: float | None = None, **more: float | None
) -> bool:
    scene = library.scene(number(id))
    changes: dict[str, Any] = {} if resume_time is None else {"resume_time": resume_time}
    changes["play_duration"] = scene.play_duration + (more.get("playDuration") or 0.0)
    library.change_scene(scene.id, touch=False, **changes)
    return True


def _count(library: Library, id: str, field: str, times: Sequence[str] | None) -> dict[str, Any]:
    with library.lock:
        scene = library.scene(number(id))
        history = list(times or [library.now()])
        changes: dict[str, Any] = {field: getattr(scene, field) + len(history)}
        if field == "play_count":
            changes["last_played_at"] = history[-1]
        library.change_scene(scene.id, touch=False, **changes)
    return {"count": changes[field], "history": history}


def _configure(host: PluginHost, plugin_id: str, input: dict[str, Any]) -> dict[str, Any]:
    host.settings[plugin_id] = dict(input)
    return host.settings[plugin_id]


def _set_enabled(host: PluginHost, enabled: Mapping[str, bool]) -> bool:
    host.disabled |= {plugin for plugin, on in enabled.items() if not on}
    host.disabled -= {plugin for plugin, on in enabled.items() if on}
    return True


def _generate_key(services: Services, input: Mapping[str, Any]) -> str:
    if input.get("clear"):
        services.account.api_key = ""
    elif not services.account.username:
        raise InvalidInput("cannot generate API key without a username")
    else:
        services.account.api_key = services.new_api_key()
    return services.account.api_key


def _arguments(args: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    return {argument["key"]: _argument(argument.get("value")) for argument in args or ()}


def _argument(value: Mapping[str, Any] | None) -> Any:
    for key in ("str", "i", "b", "f"):
        if value and value.get(key) is not None:
            return value[key]
    if value and value.get("o") is not None:
        return _arguments(value["o"])
    if value and value.get("a") is not None:
        return [_argument(item) for item in value["a"]]
    return None


def _types(services: Services) -> dict[str, Resolvers]:
    library = services.library
    entity: Resolvers = {
        "tags": lambda entity, _: _tags(library, entity.tag_ids),
        "url": lambda entity, _: _first(entity.urls),
    }
    return {
        "ConfigResult": {
            "plugins": lambda _, __, include=None: _plugin_settings(services.host, include)
        },
        "Scene": _scene_type(library),
        "ScenePathsType": _paths_type(services),
        "VideoFile": {"fingerprint": _fingerprint},
        "Performer": {
            **entity,
            "stash_ids": _nothing,
            "scene_count": lambda one, _: scene_count(library, "performer", one.id),
            "image_path": _image_path,
        },
        "Studio": {
            **entity,
            "parent_studio": lambda studio, _: library.studios.find(studio.parent_id or 0),
            "child_studios": lambda one, _: [
                s for s in library.studios.all() if s.parent_id == one.id
            ],
            "stash_ids": _nothing,
            "scene_count": lambda one, _, depth=None: scene_count(library, "studio", one.id),
            "image_path": _image_path,
        },
        "Tag": {
            "scene_count": lambda one, _, depth=None: scene_count(library, "tag", one.id),
            "parents": lambda tag, _: _tags(library, tag.parent_ids),
            "children": lambda tag, _: _tags(library, library.children(tag)),
            "parent_count": lambda tag, _: len(tag.parent_ids),
            "child_count": lambda tag, _: len(library.children(tag)),
            "image_path": _image_path,
        },
        "Group": {
            "tags": entity["tags"],
            "studio": lambda group, _: library.studios.find(group.studio_id or 0),
            "scene_count": lambda one, _, depth=None: scene_count(library, "group", one.id),
        },
        "Plugin": {
            "enabled": lambda manifest, _: manifest.id not in services.host.disabled,
            "tasks": lambda manifest, _: [_PluginTask(task, manifest) for task in manifest.tasks],
            "hooks": lambda manifest, _: [_PluginHook(hook, manifest) for hook in manifest.hooks],
            "settings": lambda manifest, _: [
                _setting(s) for s in sorted(manifest.settings, key=_key)
            ],
            "requires": lambda manifest, _: list(manifest.ui.get("requires", ())),
            "paths": _plugin_paths,
        },
        "Job": {
            "progress": lambda job, _: job.progress[-1] if job.progress else None,
            "addTime": lambda job, _: library.timestamp(job.added),
            "startTime": lambda job, _: _time(library, job.started),
            "endTime": lambda job, _: _time(library, job.finished),
        },
    }


def _scene_type(library: Library) -> Resolvers:
    return {
        "url": lambda scene, _: _first(scene.urls),
        "studio": lambda scene, _: library.studios.find(scene.studio_id or 0),
        "performers": lambda scene, _: _existing(map(library.performers.find, scene.performer_ids)),
        "tags": lambda scene, _: _tags(library, scene.tag_ids),
        "groups": lambda scene, _: [
            {"group": group, "scene_index": index}
            for group_id, index in scene.group_ids
            if (group := library.groups.find(group_id)) is not None
        ],
        "paths": lambda scene, _: scene,
        "interactive": lambda *_: False,
        "galleries": _nothing,
        "scene_markers": _nothing,
    }


def _paths_type(services: Services) -> Resolvers:
    """Build absolute URLs from the request's host."""

    def url(scene: Scene, info: Info, ending: str) -> str:
        return f"{info.context.base_url}/scene/{scene.id}/{ending}"

    def stream(scene: Scene, info: Info) -> str:
        key = services.account.api_key
        return url(scene, info, "stream" + (f"?apikey={key}" if key else ""))

    return {
        "screenshot": lambda scene, info: url(
            scene, info, f"screenshot?t={unix(scene.updated_at)}"
        ),
        "preview": lambda scene, info: url(scene, info, "preview"),
        "stream": stream,
        "webp": lambda scene, info: url(scene, info, "webp"),
        "caption": lambda scene, info: url(scene, info, "caption"),
    }


@dataclass(frozen=True)
class _PluginTask:
    operation: Operation
    plugin: Manifest

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def description(self) -> str:
        return self.operation.description


@dataclass(frozen=True)
class _PluginHook(_PluginTask):
    operation: Hook

    @property
    def hooks(self) -> tuple[str, ...]:
        return self.operation.triggered_by


def _setting(setting: Setting) -> dict[str, str]:
    return {
        "name": setting.key, "display_name": setting.display_name,
        "description": setting.description,
        "type": setting.type,
    }  # fmt: skip


def _plugin_paths(manifest: Manifest, info: Info) -> dict[str, list[str] | None]:
    folder = f"{info.context.base_url}/plugin/{manifest.id}"
    return {
        kind: [f"{folder}/{kind}"] if manifest.ui.get(kind) else None
        for kind in ("javascript", "css")
    }


def _key(setting: Setting) -> str:
    return setting.key


def _plugin_settings(host: PluginHost, include: Sequence[str] | None) -> dict[str, Any]:
    return {
        plugin: dict(settings)
        for plugin, settings in host.settings.items()
        if include is None or plugin in include
    }


def _tags(library: Library, ids: Iterable[int]) -> list[Any]:
    tags = _existing(map(library.tags.find, ids))
    return sorted(tags, key=lambda tag: ((tag.sort_name or tag.name).lower(), tag.id))


def _existing(found: Iterable[Any]) -> list[Any]:
    return [entity for entity in found if entity is not None]


def _first(values: Sequence[str]) -> str | None:
    return values[0] if values else None


def _nothing(*_: Any) -> list[Any]:
    return []


def _image_path(entity: Entity, info: Info) -> str:
    kind = type(entity).__name__.lower()
    return (
        f"{info.context.base_url}/{kind}/{entity.id}/image?t={unix(entity.updated_at)}&default=true"
    )


def _fingerprint(file: VideoFile, _: Info, type: str) -> str | None:
    return file.hashes.get(type)


def _time(library: Library, moment: float | None) -> str | None:
    return None if moment is None else library.timestamp(moment)


def number(value: Any) -> int:
    """Parse an id as Stash does."""
    try:
        return int(value)
    except ValueError:
        raise NotFound(f'strconv.Atoi: parsing "{value}": invalid syntax') from None


__all__ = [
    "Account", "Job", "ResolversByType", "Services", "make_resolvers", "make_schema", "number",
    "resolve_field",
]  # fmt: skip
