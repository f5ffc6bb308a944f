"""Packages depend on each other in one direction, according to the imports in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.plugin import ROOT

PACKAGES = (
    *("common", "history", "queue", "stash", "validation", "plex", "hooks", "worker", "tasks"),
    "page",
)
#: Our packages or modules that each package may import, besides itself.
ALLOWED: dict[str, set[str]] = {
    "common": set(),
    "history": {"common"},
    "queue": {"common"},
    "stash": {"common", "validation.errors"},
    "validation": {"common"},
    "plex": {"common", "history", "validation"},
    "page": {"common", "history.counts", "history.outages", "queue", "worker.process"},
    "hooks": {"queue", "stash", "worker.process", "common"},
    "worker": {"common", "history", "queue", "stash", "validation", "plex"},
    "tasks": {*PACKAGES},
}
#: Modules that a hook loads: they may import only cheap modules of the standard library.
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
    *("common/files.py", "common/data_dir.py", "common/layout.py", "common/locks.py"),
    *("common/hook_times.py", "queue/recovery.py"),
    *("history/counts.py", "history/outages.py"),
    *(f"page/{name}.py" for name in ("arguments", "changes", "details", "look", "needs")),
    *(f"page/{name}.py" for name in ("readonly", "records", "scene", "state", "views")),
    *("common/daily.py", "common/sqlite.py", "common/texts.py", "common/times.py"),
    *("queue/spool.py", "PlexSync.py"),
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

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path, *, later: bool = True) -> set[str]:
    """Return the modules that a file imports.

    Args:
        later: include imports inside functions.
    """
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
            yield from (names if node.module in PACKAGES else [node.module])
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
def test_a_module_imports_only_from_the_packages_below(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {module for module in imports(path) if module.split(".")[0] in PACKAGES}
    upward = {module for module in ours if not is_within(module, {package, *ALLOWED[package]})}
    assert upward == set()


def test_nothing_but_the_entry_imports_tasks() -> None:
    who = [name_of(path) for path in MODULES if is_within_any(imports(path), "tasks")]
    assert [name for name in who if not name.startswith("tasks/")] == []
    assert is_within_any(imports(ROOT / "PlexSync.py"), "tasks")


def is_within_any(modules: set[str], package: str) -> bool:
    return any(is_within(module, {package}) for module in modules)


def test_no_module_imports_the_entry() -> None:
    assert [name_of(path) for path in MODULES if "PlexSync" in imports(path)] == []


@pytest.mark.parametrize("name", LIGHT)
def test_modules_of_the_hook_import_only_cheap_modules(name: str) -> None:
    tops = {module.split(".")[0] for module in imports(ROOT / name, later=False)}
    assert tops & HEAVY == set()


def test_a_worker_imports_all_of_our_modules_at_its_start() -> None:
    """An update may exchange the files while it runs."""
    later = {
        name_of(path): imports(path) - imports(path, later=False)
        for path in MODULES
        if path.relative_to(ROOT).parts[0] not in ("tasks", "hooks")
    }
    ours = {
        name: {module for module in found if module.split(".")[0] in PACKAGES}
        for name, found in later.items()
    }
    assert {name: found for name, found in ours.items() if found} == {}


def packages_imported_by(package: str) -> set[str]:
    """Return our other packages that the modules of a package import."""
    modules = (module for path in (ROOT / package).rglob("*.py") for module in imports(path))
    return {module.split(".")[0] for module in modules} & set(PACKAGES) - {package}


def test_no_package_imports_one_that_imports_it() -> None:
    left = {package: packages_imported_by(package) for package in PACKAGES}
    while free := [package for package, needed in left.items() if not needed & left.keys()]:
        for package in free:
            del left[package]
    assert left == {}, "a cycle"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_docstring_of_a_package_names_what_it_imports(package: str) -> None:
    source = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    sentence = docstring[docstring.index("Imports ") :].replace("\n", " ").split(". ")[0]
    if "every other package" in sentence:
        named = {*PACKAGES} - {package}
    else:
        named = {name.split(".")[0] for name in re.findall(r"`([a-z_.]+)`", sentence)}
    assert named & {*PACKAGES} == packages_imported_by(package)
