"""The simulated Stash: data, GraphQL over HTTP, and plugins."""

from __future__ import annotations

import json
import random
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

from graphql import GraphQLError, GraphQLInputObjectType
from graphql.utilities import coerce_input_value, validate_input_value

from tests.simulators.httpd import Faults, RequestLog, SimulatedServer
from tests.simulators.stash import events
from tests.simulators.stash.events import HookContext
from tests.simulators.stash.execution import Executor
from tests.simulators.stash.host import HostPage
from tests.simulators.stash.jobs import Job, JobQueue
from tests.simulators.stash.library import Entity, Library, Scene
from tests.simulators.stash.mutations import Mutations
from tests.simulators.stash.pluginlog import LogLine
from tests.simulators.stash.plugins import Caller, PluginHost, RequestCancelled
from tests.simulators.stash.resolvers import (
    Account,
    Services,
    make_resolvers,
    make_schema,
)
from tests.simulators.stash.runner import HookRun, Runner
from tests.simulators.stash.sessions import COOKIE, Session, Sessions
from tests.simulators.stash.silent import RELATED, SilentChanges
from tests.simulators.stash.web import ClientLeft, Web


class GraphQLFailure(Exception):
    """The response had errors."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class SaveResult:
    """The hook runs and the duration of a save."""

    hooks: list[HookRun] = field(default_factory=list)
    blocked_seconds: float = 0.0
    """Seconds that the client waited for the save."""
    cancelled: bool = False


class StashSimulator(SilentChanges):
    """A simulated Stash; the package's docstring shows its use."""

    def __init__(
        self,
        plugins_dir: str | Path,
        *,
        username: str | None = None,
        password: str | None = None,
        api_key: str = "",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
        max_session_age: float = 3600,
        python_path: str = sys.executable,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        connection: Mapping[str, Any] | None = None,
        external_host: str = "",
        version: str = "v0.30.0",
        seed: int = 0,
        host_modules: Path | None = None,
    ) -> None:
        """Set up.

        Args:
            connection: overrides `host`, `scheme`, `port` or `cookie` for plugins.
            host_modules: libraries of the host page (see `tests.simulators.stash.host`).
        """
        directory = Path(plugins_dir).resolve()
        config_file = directory.parent / "config.yml"
        self.rng = random.Random(seed)
        self.account = Account(username or "", password or "", api_key)
        self.library = Library(clock, zone)
        self.sessions = Sessions(clock, max_session_age)
        self.jobs = JobQueue(clock)
        self.server = SimulatedServer(
            lambda request: self._web.handle(request), port=port, name="stash"
        )
        self.plugins = PluginHost(
            directory,
            Runner(
                Path(cwd) if cwd is not None else directory.parent, python_path, dict(env or {})
            ),
            self.sessions,
            self.jobs,
            {"folder": str(directory.parent), **(connection or {})},
            lambda: self.server.port,
        )
        self.mutations = Mutations(self.library, self.plugins, self.rng)
        resolvers = make_resolvers(
            Services(
                self.library,
                self.mutations,
                self.plugins,
                self.jobs,
                self.sessions,
                self.account,
                self.rng,
                config_file,
                directory,
                version,
                new_api_key=lambda: f"sim.{secrets.token_urlsafe(24)}",
            )
        )
        self._schema = make_schema(resolvers)
        self._web = Web(
            self.library,
            Executor(self._schema, resolvers),
            self.sessions,
            self.account,
            HostPage(
                lambda: {manifest.id: manifest for manifest in self.plugins.enabled()}, host_modules
            ),
            client_left=self._client_left,
            external_host=external_host,
        )

    # --- the server

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def log(self) -> RequestLog:
        return self.server.log

    @property
    def faults(self) -> Faults:
        return self.server.faults

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        """Refuse connections, stop all jobs, kill running plugins; keep the data."""
        self.jobs.stop_all()
        self.plugins.kill_all()
        self.server.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> StashSimulator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- authentication

    def set_credentials(self, username: str, password: str) -> None:
        self.account.username, self.account.password = username, password

    def set_api_key(self, api_key: str) -> None:
        self.account.api_key = api_key

    def invalidate_sessions(self) -> None:
        self.sessions.invalidate()

    def cookie(self) -> str:
        """Return the value of a new session cookie, as after a login."""
        return self.sessions.make(Session(self.account.username))

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Query over HTTP as a logged-in browser; raise GraphQLFailure on errors."""
        body = json.dumps({"query": query, "variables": dict(variables or {})}).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Cookie": f"{COOKIE}={self.cookie()}",
        }
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                status, answer = response.status, json.load(response)
        except urllib.error.HTTPError as error:
            raise GraphQLFailure(error.code, error.read().decode("utf-8", "replace")) from error
        if answer.get("errors"):
            raise GraphQLFailure(status, answer)
        data: dict[str, Any] = answer["data"]
        return data

    # --- data

    def scene(self, scene_id: int | str) -> Scene:
        """Return the current scene; raise NotFound when it does not exist."""
        return self.library.scene(int(scene_id))

    # --- plugins

    @property
    def plugin_log(self) -> list[LogLine]:
        return self.plugins.log

    def set_plugin_settings(self, plugin_id: str, settings: Mapping[str, Any]) -> None:
        """Replace all settings of a plugin."""
        self.plugins.settings[plugin_id] = dict(settings)

    def plugin_settings(self, plugin_id: str) -> dict[str, Any] | None:
        """Return a plugin's settings; None when there are none stored."""
        return self.plugins.settings.get(plugin_id)

    def hook_input(self, context: HookContext, plugin_id: str | None = None) -> dict[str, Any]:
        """Return a hook's stdin document with a new session cookie; default: the first plugin."""
        manifest = self.plugins.manifests[plugin_id or next(iter(self.plugins.manifests))]
        hooks = manifest.hooks_for(context.type)
        connection = self.plugins.connection(manifest, self._caller())
        return events.hook_input(context, connection, hooks[0].default_args if hooks else {})

    def run_task(
        self, plugin_id: str, task_name: str | None = None, args: Mapping[str, Any] | None = None
    ) -> Job:
        return self.plugins.start_task(plugin_id, task_name, args, self._caller())

    def run_operation(self, plugin_id: str, args: Mapping[str, Any] | None = None) -> Any:
        return self.plugins.run_operation(plugin_id, args, self._caller())

    # --- saves, with their hooks

    def save_scene(
        self, scene_id: int | str, *, caller: Caller | None = None, **fields: Any
    ) -> SaveResult:
        """Save the given fields as the edit page does; tags as `tag_ids=` or `tags=` names."""
        input_ = self._input("SceneUpdateInput", {"id": str(scene_id), **self._named(fields)})
        return self._timed(self.mutations.scene_update, input_, caller)

    def bulk_save(
        self, scene_ids: Iterable[int | str], *, caller: Caller | None = None, **fields: Any
    ) -> SaveResult:
        """Save as the bulk edit dialog; lists are `{"ids": …, "mode": "ADD"}`, or items to SET."""
        named = {
            key: {"ids": value, "mode": "SET"}
            if isinstance(value, list) and key.endswith("_ids")
            else value
            for key, value in self._named(fields, groups="group_ids").items()
        }
        input_ = self._input(
            "BulkSceneUpdateInput", {"ids": [str(id_) for id_ in scene_ids], **named}
        )
        return self._timed(self.mutations.bulk_scene_update, input_, caller)

    def tagger_save(
        self, inputs: Sequence[Mapping[str, Any]], *, caller: Caller | None = None
    ) -> SaveResult:
        """Save several scenes at once, each with its own input."""
        checked = [
            self._input("SceneUpdateInput", {**self._named(input_), "id": str(input_["id"])})
            for input_ in inputs
        ]
        return self._timed(self.mutations.scenes_update, checked, caller)

    def scan_update(self, scene_id: int | str) -> SaveResult:
        """Simulate a scan that finds a changed file: a hook without input."""
        self.scene(scene_id)
        return self._fired(events.scan_update(int(scene_id)))

    def scan_create(self, **fields: Any) -> tuple[Scene, SaveResult]:
        """Simulate a scan that finds a new file: a scene without a cover, and its hook."""
        scene = self.add_scene(**fields)
        return scene, self._fired(events.scene_create(scene.id))

    def identify(self, scene_id: int | str, **fields: Any) -> SaveResult:
        """Simulate the identify job: save, then run a hook with an input built from the changes."""
        input_ = self._input("SceneUpdateInput", {"id": str(scene_id), **self._named(fields)})
        with_hooks = self.plugins.execute_hooks
        return self._timed(
            lambda _, caller: (
                self.mutations.change_scene(input_), with_hooks(events.identify(input_), caller)
            ), input_, None,
        )  # fmt: skip

    def destroy_scene(self, scene_id: int | str, *, delete_file: bool = False) -> SaveResult:
        input_ = {"id": str(scene_id), "delete_file": delete_file, "delete_generated": True}
        return self._timed(self.mutations.scene_destroy, input_, None)

    def rename_performer(self, performer: str | int, name: str) -> SaveResult:
        return self._rename("Performer", performer, name)

    def rename_studio(self, studio: str | int, name: str) -> SaveResult:
        return self._rename("Studio", studio, name)

    def rename_tag(self, tag: str | int, name: str) -> SaveResult:
        return self._rename("Tag", tag, name)

    def rename_group(self, group: str | int, name: str) -> SaveResult:
        return self._rename("Group", group, name)

    def set_parents(self, tag: str | int, *parents: str | int) -> SaveResult:
        """Put a tag below others, and below no other."""
        ids = [str(self.library.tags.id_of(parent)) for parent in parents]
        return self._save_related("Tag", tag, parent_ids=ids)

    def set_children(self, tag: str | int, *children: str | int) -> SaveResult:
        """Put tags below a tag; only that tag's updated_at moves."""
        ids = [str(self.library.tags.id_of(child)) for child in children]
        return self._save_related("Tag", tag, child_ids=ids)

    def set_parent_studio(self, studio: str | int, parent: str | int | None) -> SaveResult:
        known = None if parent is None else str(self.library.studios.id_of(parent))
        return self._save_related("Studio", studio, parent_id=known)

    def set_performer_tags(self, performer: str | int, *tags: str | int) -> SaveResult:
        ids = [str(self.library.tags.id_of(tag)) for tag in tags]
        return self._save_related("Performer", performer, tag_ids=ids)

    def _rename(self, kind: str, entity: str | int, name: str) -> SaveResult:
        return self._save_related(kind, entity, name=name)

    def _save_related(self, kind: str, entity: str | int, **fields: Any) -> SaveResult:
        entity_id = self.mutations.shelf(kind).id_of(entity)
        input_ = self._input(f"{kind}UpdateInput", {"id": str(entity_id), **fields})

        def update(input_: Mapping[str, Any], caller: Caller) -> Entity:
            return self.mutations.entity_update(kind, input_, caller)

        return self._timed(update, input_, None)

    def _fired(self, context: HookContext) -> SaveResult:
        return self._timed(
            lambda _, caller: self.plugins.execute_hooks(context, caller), None, None
        )

    def _timed(
        self, mutation: Callable[[Any, Caller], Any], input_: Any, caller: Caller | None
    ) -> SaveResult:
        caller = caller or self._caller()
        started = time.perf_counter()
        cancelled = False
        try:
            mutation(input_, caller)
        except RequestCancelled:
            cancelled = True
        return SaveResult(list(caller.runs), time.perf_counter() - started, cancelled)

    def _caller(self) -> Caller:
        return Caller(self.account.username, base_url=self.url)

    def _named(self, fields: Mapping[str, Any], groups: str = "groups") -> dict[str, Any]:
        """Convert related objects given by name to the ids of Stash's input."""
        named = {key: value for key, value in fields.items() if key not in RELATED}
        for key in set(fields) & set(RELATED):
            value = fields[key]
            if key == "groups" and value and isinstance(next(iter(value)), Mapping):
                named[key] = value
                continue
            ((attribute, ids),) = self._related(key, value).items()
            if key == "groups":
                entries = [str(id_) for id_, _ in ids]
                named[groups] = (
                    entries if groups != "groups" else [{"group_id": id_} for id_ in entries]
                )
            elif key == "studio":
                named[attribute] = None if ids is None else str(ids)
            else:
                named[attribute] = [str(id_) for id_ in ids]
        return named

    def _input(self, type_name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Validate against the schema, like a request's input."""
        type_ = self._schema.type_map[type_name]
        assert isinstance(type_, GraphQLInputObjectType)
        given = {
            key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()
        }
        validate_input_value(given, type_, _refuse_input)
        checked: dict[str, Any] = coerce_input_value(given, type_)
        return checked

    def _client_left(self) -> ClientLeft:
        """Return a check whether the client of this thread's request has disconnected."""
        serving = [
            connection
            for connection, thread in list(self.server._connections.items())
            if thread is threading.current_thread()
        ]

        def left() -> bool:
            try:
                return any(connection.abandoned() for connection in serving)
            except OSError:
                return True

        return left


def _refuse_input(error: GraphQLError, path: Sequence[str | int]) -> None:
    raise TypeError(f"{'.'.join(map(str, path))}: {error.message}")
