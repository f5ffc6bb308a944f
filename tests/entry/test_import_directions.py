"""Arrows between the rooms run one way: which room imports which, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.entry.processes import ROOT

ROOMS = ("common", "queue", "stash", "validation", "plex", "hooks", "worker", "tasks")
#: What each room may import of ours, besides itself: rooms, or single modules of them.
ALLOWED: dict[str, set[str]] = {
    "common": set(),
    "queue": {"common"},
    "stash": {"common", "validation.errors"},
    "validation": {"common"},
    "plex": {"common", "validation"},
    "hooks": {"queue", "stash", "worker.process", "common"},
    "worker": {"common", "queue", "stash", "validation", "plex", "hooks"},
    "tasks": {*ROOMS},
}
#: Loaded by a save in Stash: of the standard library only what is cheap.
LIGHT = (
    *(
        "hooks/events.py",
        "hooks/handlers.py",
        "hooks/plugin.py",
        "hooks/session.py",
        "worker/process.py",
    ),
    *(
        "stash/connection.py",
        "stash/log.py",
        "stash/deferred_log.py",
        "stash/plugin_input.py",
        "stash/settings.py",
    ),
    *(
        "queue/inbox.py",
        "queue/models.py",
        "queue/operations.py",
        "queue/table.py",
        "queue/timestamps.py",
    ),
    *("common/files.py", "common/data_dir.py", "common/sqlite.py", "PlexSync.py"),
)
HEAVY = {
    "typing",
    "logging",
    "threading",
    "dataclasses",
    "subprocess",
    "pathlib",
    "asyncio",
    "enum",
    "datetime",
}

MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(path: Path, *, later: bool = True) -> set[str]:
    """The modules that a file imports when it runs; `later`: those inside functions as well."""
    return set(_imports(ast.parse(path.read_text(encoding="utf-8")).body, later))


def _imports(body: list[ast.stmt], later: bool) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            # `from worker import process` is an import of worker.process
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (names if node.module in ROOMS else [node.module])
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _imports(node.orelse, later)
        elif later or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in ast.iter_fields(node):
                if (
                    isinstance(inner[1], list)
                    and inner[1]
                    and isinstance(inner[1][0], ast.stmt | ast.ExceptHandler)
                ):
                    yield from _imports(inner[1], later)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_the_rooms_below(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    ours = {module for module in imports(path) if module.split(".")[0] in ROOMS}
    upward = {module for module in ours if not is_within(module, {room, *ALLOWED[room]})}
    assert upward == set()


def test_nothing_but_the_entry_imports_tasks() -> None:
    who = [name_of(path) for path in MODULES if is_within_any(imports(path), "tasks")]
    assert [name for name in who if not name.startswith("tasks/")] == []
    assert is_within_any(imports(ROOT / "PlexSync.py"), "tasks")


def is_within_any(modules: set[str], room: str) -> bool:
    return any(is_within(module, {room}) for module in modules)


def test_nobody_imports_the_entry() -> None:
    assert [name_of(path) for path in MODULES if "PlexSync" in imports(path)] == []


@pytest.mark.parametrize("name", LIGHT)
def test_what_a_hook_loads_imports_nothing_dear_at_once(name: str) -> None:
    tops = {module.split(".")[0] for module in imports(ROOT / name, later=False)}
    assert tops & HEAVY == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_may_touch(room: str) -> None:
    docstring = ast.get_docstring(
        ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    )
    assert docstring
    assert "import" in docstring.lower()
