"""Task *Check setup*: check Python, packages, Stash, settings, Plex, libraries and matching."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import random
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import hooks.session
from hooks.plugin import unfit_packages
from plex.exceptions import PlexNotFound, PlexTemporaryError
from plex.fit import Fit, best_fit
from plex.index import IndexDamaged
from plex.matcher import AmbiguousMatch
from plex.paths import name_of, normalize
from stash.records import Scene
from tasks.context import Context, Result
from tasks.copies import other_copies
from tasks.origin import advice
from validation.errors import PermanentError, SettingsError, TransientError
from worker.bootstrap import open_readonly
from worker.job_runner import JobRunner
from worker.process import probe_lock
from worker.target import desired

PACKAGES = ("persist-queue", "plexapi", "requests", "pydantic")
#: Stash's version (major, minor) since which a plugin can have tabs and pages as ours.
_PAGE_SINCE = (0, 28)
#: Scenes that are matched, and examples shown of each outcome.
SAMPLE = 50
_EXAMPLES = 3


@dataclass
class Findings:
    """Collect the results of the steps."""

    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    #: suggestions to the user although the setup works
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, text: str, value: Any) -> None:
        """Add the result of a step that succeeded."""
        self.lines.append(f"{name}: {text}")
        self.data[name.casefold().replace(" ", "_")] = value

    def fail(self, name: str, text: str) -> None:
        """Record the step that failed; the remaining steps depend on it."""
        self.problem = f"{name}: {text}"
        self.lines.append(self.problem)


def check(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Check the setup step by step, up to the first failure. Writes nothing to Plex."""
    findings = Findings()
    step = "Python"
    try:
        for step in _steps(context, findings):  # noqa: B007 - its last value names the failed step
            pass
    except IndexDamaged:  # it was begun anew
        return check(context, arguments)
    except PlexTemporaryError as error:
        hint = "check that Plex is running and that plex_url is right as seen from Stash"
        findings.fail(step, f"{error}: {hint}")
    except (TransientError, PermanentError, SettingsError, OSError, sqlite3.Error) as error:
        findings.fail(step, str(error))
    findings.data["problem"] = findings.problem
    text = f"Check setup: {findings.problem or ', but '.join(('all is well', *findings.notes))}"
    return Result(text, findings.data, findings.lines, ok=findings.problem is None)


def _steps(context: Context, findings: Findings) -> Iterator[str]:
    """Run the steps; yield the name of each before it runs."""
    findings.add(
        "Python", f"{platform.python_version()} ({sys.executable})", platform.python_version()
    )
    if not os.path.exists(importlib.util.cache_from_source(hooks.session.__file__)):
        cure = (
            "unset PYTHONDONTWRITEBYTECODE for Stash"
            if sys.dont_write_bytecode
            else f"let Stash's user write to {os.path.dirname(context.entry)}"
        )
        findings.notes.append(
            f"each save takes longer, as Python can't keep its compiled modules: {cure}"
        )
    yield "Packages"
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    findings.add(
        "Packages", ", ".join(f"{name} {version}" for name, version in versions.items()), versions
    )
    unfit = unfit_packages(os.path.dirname(context.entry), versions)
    if unfit:
        findings.notes.append(
            f"PlexSync needs other versions of packages: {', '.join(unfit)}. Run the task Install"
            " dependencies, or update them where this Python has them"
        )
    yield "Data directory"
    probe_lock(context.data_dir)
    findings.add("Data directory", context.data_dir, context.data_dir)
    yield "Stash"
    version = context.stash.check()
    findings.add("Stash", f"{version}, {context.stash.scene_count()} scenes", version)
    if lacks_page(version):
        findings.notes.append(
            "PlexSync's page needs Stash 0.28 or newer; tasks, settings and syncing work"
        )
    own_dir = os.path.dirname(context.entry)
    others = other_copies(context.data_dir, own_dir, context.stash.plugins_dir())
    if others:
        findings.add("Other PlexSync", ", ".join(others), others)
        findings.notes.append(
            f"another plugin with the id PlexSync is in {', '.join(others)}, and Stash loads only"
            " one of the two: uninstall that one"
        )
    yield "Settings"
    config = context.config()
    findings.add(
        "Settings",
        "valid" if config.enabled else "valid, but PlexSync is switched off",
        config.enabled,
    )
    if not config.enabled:
        findings.notes.append("PlexSync is switched off")
    if config.rule_problems:
        findings.add("Wrong rules", "; ".join(config.rule_problems), list(config.rule_problems))
        findings.notes += [
            f"{one}. The last valid one stays in effect" for one in config.rule_problems
        ]
    yield "Plex"
    with open_readonly(context.data_dir, config, context.stash) as runner:
        plex = runner.plex
        name, version = plex.client().name_and_version()
        plex.client().probe()
        findings.add("Plex", f"{name} {version} at {config.plex_url}", version)
        yield "Libraries"
        names = [library.name for library in plex.libraries()]
        findings.add(
            "Libraries", f"{', '.join(names) or 'none'} with {plex.index.count()} files", names
        )
        if not names:
            findings.fail(
                "Libraries",
                "Plex has no video library of type movie: create one, or set plex_libraries",
            )
            return
        yield "Agents"
        _look_at_agents(context, findings, runner)
        yield "Matching"
        _try_scenes(context, findings, runner)


def _look_at_agents(context: Context, findings: Findings, runner: JobRunner) -> None:
    """Say which libraries are on an agent that Plex removes, and what to do first."""
    plex = runner.plex
    found = advice(context, plex.config, plex.server, plex.libraries())
    if found:
        names = ", ".join(f"{one['name']} ({one['agent']})" for one, _ in found)
        findings.add("Agents", names, [one for one, _ in found])
    for _, sentences in found:
        findings.notes.extend(sentences)
        findings.lines.extend(f"  {sentence}" for sentence in sentences)


def lacks_page(version: str) -> bool:
    """Return whether a version of Stash is known to be too old for the page."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < _PAGE_SINCE


def _try_scenes(context: Context, findings: Findings, runner: JobRunner) -> None:
    sample = context.stash.sample(SAMPLE, random.randrange(10**8))
    found: dict[str, list[str]] = {"high": [], "low": [], "none": []}
    prefixes: Counter[tuple[str, str]] = Counter()
    for scene in sample:
        if scene.files:
            kind, text = _try(runner, scene, prefixes)
            found[kind].append(f"scene {scene.id} {scene.files[0].path}{text}")
    counts = {kind: len(texts) for kind, texts in found.items()}
    tried = sum(counts.values())
    text = (
        f"{tried} scenes checked: {counts['high']} matched, {counts['low']} ambiguous,"
        f" {counts['none']} not in Plex"
    )
    findings.add(
        "Matching",
        text,
        {**counts, "examples": {kind: texts[:_EXAMPLES] for kind, texts in found.items()}},
    )
    for kind, label in (("high", "matched"), ("low", "ambiguous"), ("none", "not in Plex")):
        findings.lines.extend(f"  {label}: {text}" for text in found[kind][:_EXAMPLES])
    suggested = _suggestion(prefixes)
    if suggested and suggested not in runner.plex.config.path_mappings:
        mapping = f"{suggested[0]} => {suggested[1]}"
        findings.add("Suggested path mappings", mapping, mapping)
        findings.notes.append(
            f"set path_mappings to {mapping}, so that files are matched by path, not only by name"
        )
    if tried and not counts["high"]:
        hint = "check path_mappings, and that these libraries contain the scenes' files"
        findings.fail("Matching", f"none of {tried} scenes could be matched: {hint}")


def _try(runner: JobRunner, scene: Scene, prefixes: Counter[tuple[str, str]]) -> tuple[str, str]:
    try:
        item = runner.matcher.match(desired(scene), scene).items[0]
    except PlexNotFound:
        return "none", ""
    except AmbiguousMatch as error:
        return "low", f" has {len((error.details or {}).get('candidates', ()))} candidates in Plex"
    # A scene that matches by path needs no suggestion.
    by_path = best_fit(scene.files, item.files, runner.plex.places) >= Fit.PATH_ONLY
    for file in () if by_path else item.files:
        pair = differing_prefixes(scene.files[0].path, file.path)
        if pair is not None:
            prefixes[pair] += 1
    return "high", f" = {item.title!r} in {item.library!r}"


def differing_prefixes(stash_path: str, plex_path: str) -> tuple[str, str] | None:
    """Return the prefixes in which two paths of one file differ.

    Returns:
        (prefix in Stash, prefix in Plex); None if the file names differ or the paths are equal.
    """
    ours, theirs = normalize(stash_path).split("/"), normalize(plex_path).split("/")
    if name_of(normalize(stash_path)) != name_of(normalize(plex_path)) or ours == theirs:
        return None
    while len(ours) > 1 and len(theirs) > 1 and ours[-1] == theirs[-1]:
        ours.pop()
        theirs.pop()
    return "/".join(ours) or "/", "/".join(theirs) or "/"


def _suggestion(prefixes: Counter[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the prefixes shared by most scenes that were matched by name only, or None."""
    for pair, count in prefixes.most_common(1):
        if count >= 2 and count * 2 > sum(prefixes.values()):
            return pair
    return None
