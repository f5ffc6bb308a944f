"""Mutants: each breaks one rule of PlexSync, and the model must catch it.

`python -m tests.model.mutants` shows for each after how many lives the model caught it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", "dist", ".*_cache")


@dataclass(frozen=True)
class Mutant:
    """A text of PlexSync's code that is replaced in a copy of the tree."""

    name: str
    """The rule that it breaks."""
    file: str
    old: str
    new: str
    by: str = "lives"
    """What must catch it: random lives, or the random worlds of `test_items`."""


MUTANTS = (
    Mutant(
        "several scenes that fit an item equally well: nothing is written",
        "worker/ownership.py",
        "if equal and not self._is_owner(item, scene, equal):",
        "if equal and False:",
        "worlds",
    ),
    Mutant(
        "a choice whose item is gone: nothing is written instead",
        "worker/scene_matcher.py",
        "if choices:  # what the user rejected",
        "if False:  # what the user rejected",
        "worlds",
    ),
    Mutant(
        "several items by name: nothing is written",
        "plex/matcher.py",
        "return len(self.keys) == 1 and self.fit is not Fit.NAME",
        "return self.fit is not Fit.NAME",
        "worlds",
    ),
    Mutant(
        "another size is another file",
        "plex/fit.py",
        "if differs or is_converted(path)",
        "if is_converted(path)",
        "worlds",
    ),
    Mutant(
        "a list that was never written is added to",
        "plex/plan.py",
        "if state.wanted is None and self._is_known:",
        "if False:",
    ),
    Mutant(
        "a tag that a person added stays",
        "plex/plan.py",
        "theirs = without(present, ours)",
        "theirs: tuple[str, ...] = ()",
    ),
    Mutant(
        "a text that a person changed in Plex stays",
        "plex/plan.py",
        "        elif is_locked:\n            self._keep(name, state, wanted, current)",
        "        elif False:\n            self._keep(name, state, wanted, current)",
    ),
    Mutant(
        "a field is emptied only where Plex has what PlexSync wrote",
        "plex/plan.py",
        "            # With `preserve`, too: the value is ours, and not an edit of the user.\n"
        "            if is_ours:",
        "            # With `preserve`, too: the value is ours, and not an edit of the user.\n"
        "            if True:",
    ),
    Mutant(
        "without a title in Stash, a title that is not ours stays",
        "plex/plan.py",
        "if current and current not in (state.ours, state.form):",
        "if False:",
    ),
    Mutant(
        "the same cover goes up once",
        "worker/covers.py",
        "return sha1 != row.cover.sha1 or self._may_repair(target, item, row)",
        "return True",
    ),
    Mutant(
        "a collection that a person changed keeps its last item",
        "worker/collections.py",
        "return tuple(name for name in removed if self._is_last_of_a_persons(item, name))",
        "return ()",
    ),
    Mutant(
        "what is in Plex already is not written again",
        "plex/plan.py",
        "        if same(target, present):\n            self._note(name, state, wanted, present,"
        " ours=claim)\n        elif self._switches.preserve and present and theirs",
        "        if False:\n            self._note(name, state, wanted, present,"
        " ours=claim)\n        elif self._switches.preserve and present and theirs",
    ),
)


def plant(mutant: Mutant, folder: Path) -> Path:
    """Return a copy of the tree with the mutant."""
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    file = tree / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: the text is {text.count(mutant.old)} times in the file")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return tree


def lives_until_caught(mutant: Mutant, lives: int, jobs: int) -> str:
    """Return what the model says of a mutant."""
    with tempfile.TemporaryDirectory() as folder:
        tree = plant(mutant, Path(folder))
        command = [sys.executable, "-m", "tests.model", "--until-failure", "--off", "known"]
        command += ["--lives", str(lives), "--jobs", str(jobs)]
        if mutant.by == "worlds":
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
            command.append("tests/model/test_items.py")
        env = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    caught = "caught" if done.returncode else "NOT CAUGHT"
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr[-300:]]
    return f"{caught}: {last[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="a part of the names")
    arguments = parser.parse_args()
    for mutant in MUTANTS:
        if arguments.only in mutant.name:
            told = lives_until_caught(mutant, arguments.lives, arguments.jobs)
            print(f"{mutant.name}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
