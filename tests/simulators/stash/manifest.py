"""Plugin manifests by Stash's rules: strict, from every `.yml` below the plugins folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

INTERFACES = ("raw", "rpc", "js")
SETTING_TYPES = ("STRING", "NUMBER", "BOOLEAN")
NULL_TAG = "tag:yaml.org,2002:null"


class ManifestError(Exception):
    """Stash would not load this plugin; the message has the reason."""


@dataclass(frozen=True)
class Operation:
    """The operation of a task or a hook."""

    name: str = ""
    description: str = ""
    exec_args: tuple[str, ...] = ()
    default_args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hook(Operation):
    triggered_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    key: str
    type: str = "STRING"
    display_name: str = ""
    description: str = ""


@dataclass(frozen=True)
class Manifest:
    id: str
    path: Path
    name: str
    description: str | None = None
    url: str | None = None
    version: str | None = None
    interface: str = "raw"
    exec: tuple[str, ...] = ()
    err_log: str = ""
    tasks: tuple[Operation, ...] = ()
    hooks: tuple[Hook, ...] = ()
    settings: tuple[Setting, ...] = ()
    ui: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.path.parent

    def task(self, name: str) -> Operation | None:
        return next((task for task in self.tasks if task.name == name), None)

    def hooks_for(self, event: str) -> list[Hook]:
        return [hook for hook in self.hooks for trigger in hook.triggered_by if trigger == event]

    def command(self, operation: Operation | None = None) -> list[str]:
        """Return the command, with `{pluginDir}` replaced in all words except the first."""
        words = [*self.exec, *(operation.exec_args if operation else ())]
        return [*words[:1], *(word.replace("{pluginDir}", str(self.folder)) for word in words[1:])]


def load_manifest(path: str | Path) -> Manifest:
    """Read one manifest as Stash does; raise ManifestError when Stash would reject it."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            root = next(iter(yaml.compose_all(file, Loader=yaml.SafeLoader)), None)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path.name} is not valid YAML: {error}") from error
    if root is None:
        raise ManifestError(f"{path.name} is empty")
    try:
        found = _struct(root, "the manifest", _TOP_LEVEL)
    except ManifestError as error:
        raise ManifestError(f"{path.name}: {error}") from None
    return Manifest(
        id=path.stem, path=path.absolute(), name=found.pop("name", "") or path.stem, **found
    )


def load_plugins(
    directory: str | Path, log: Callable[[str], None] = lambda _: None
) -> dict[str, Manifest]:
    """Return the plugins below a folder in Stash's order; log rejected ones."""
    plugins: dict[str, Manifest] = {}
    for path in _manifests(Path(directory)):
        try:
            manifest = load_manifest(path)
        except (ManifestError, OSError) as error:
            log(f"Error loading plugin {path}: {error}")
            continue
        if manifest.id.lower() in (known.lower() for known in plugins):
            log(f"Error loading plugin {path}: plugin ID {manifest.id} already exists")
            continue
        plugins[manifest.id] = manifest
    return plugins


def _manifests(folder: Path) -> Iterator[Path]:
    """Yield every `*.yml` in the lexical order of a directory walk."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if path.is_dir():
            yield from _manifests(path)
        elif path.suffix == ".yml":
            yield path


def _kind(node: yaml.Node) -> str:
    return node.tag.rpartition(":")[2]


Decoder = Callable[[yaml.Node, str], Any]


def _text(node: yaml.Node, where: str) -> str:
    # Any scalar becomes text, as in Stash: `true` becomes "true", 5 becomes "5".
    if not isinstance(node, yaml.ScalarNode):
        raise ManifestError(f"{where} must be a text, not a {_kind(node)}")
    return "" if node.tag == NULL_TAG else str(node.value)


def _one_of(*allowed: str) -> Decoder:
    def decode(node: yaml.Node, where: str) -> str:
        value = _text(node, where) or allowed[0]
        if value not in allowed:
            raise ManifestError(f"{where} must be one of {', '.join(allowed)}, not {value!r}")
        return value

    return decode


def _list(decoder: Decoder) -> Decoder:
    def decode(node: yaml.Node, where: str) -> tuple[Any, ...]:
        if node.tag == NULL_TAG:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            raise ManifestError(f"{where} must be a list, not a {_kind(node)}")
        return tuple(decoder(item, f"{where}[{index}]") for index, item in enumerate(node.value))

    return decode


def _entries(node: yaml.Node, where: str) -> list[tuple[str, yaml.Node]]:
    if node.tag == NULL_TAG:
        return []
    if not isinstance(node, yaml.MappingNode):
        raise ManifestError(f"{where} must be a mapping, not a {_kind(node)}")
    entries = [(_text(key, f"a key of {where}"), value) for key, value in node.value]
    keys = [key for key, _ in entries]
    for key in keys:
        if keys.count(key) > 1:
            raise ManifestError(f"duplicate key {key!r} in {where}")
    return entries


def _map(decoder: Decoder) -> Decoder:
    def decode(node: yaml.Node, where: str) -> dict[str, Any]:
        return {key: decoder(value, f"{where}.{key}") for key, value in _entries(node, where)}

    return decode


Fields = Mapping[str, tuple[str, Decoder]]


def _struct(node: yaml.Node, where: str, fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _entries(node, where):
        if key not in fields:
            raise ManifestError(f"unknown key {key!r} in {where}")
        attribute, decoder = fields[key]
        found[attribute] = decoder(value, key if where == "the manifest" else f"{where}.{key}")
    return found


def _operation(node: yaml.Node, where: str) -> Operation:
    return Operation(**_struct(node, where, _OPERATION))


def _hook(node: yaml.Node, where: str) -> Hook:
    return Hook(**_struct(node, where, _HOOK))


def _settings(node: yaml.Node, where: str) -> tuple[Setting, ...]:
    return tuple(
        Setting(key, **_struct(value, f"{where}.{key}", _SETTING))
        for key, value in _entries(node, where)
    )


def _ui(node: yaml.Node, where: str) -> dict[str, Any]:
    return _struct(node, where, _UI)


_OPERATION: Fields = {
    "name": ("name", _text),
    "description": ("description", _text),
    "execArgs": ("exec_args", _list(_text)),
    "defaultArgs": ("default_args", _map(_text)),
}
_HOOK: Fields = {**_OPERATION, "triggeredBy": ("triggered_by", _list(_text))}
_SETTING: Fields = {
    "type": ("type", _one_of(*SETTING_TYPES)),
    "displayName": ("display_name", _text),
    "description": ("description", _text),
}
_UI: Fields = {
    "requires": ("requires", _list(_text)),
    "css": ("css", _list(_text)),
    "javascript": ("javascript", _list(_text)),
    "assets": ("assets", _map(_text)),
    "csp": (
        "csp",
        lambda node, where: _struct(
            node,
            where,
            {key: (key, _list(_text)) for key in ("script-src", "style-src", "connect-src")},
        ),
    ),
}
_TOP_LEVEL: Fields = {
    "name": ("name", _text),
    "description": ("description", _text),
    "url": ("url", _text),
    "version": ("version", _text),
    "interface": ("interface", _one_of(*INTERFACES)),
    "exec": ("exec", _list(_text)),
    "errLog": ("err_log", _text),
    "tasks": ("tasks", _list(_operation)),
    "hooks": ("hooks", _list(_hook)),
    "ui": ("ui", _ui),
    "settings": ("settings", _settings),
}
