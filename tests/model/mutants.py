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


MUTANTS: tuple[Mutant, ...] = ()


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
        env = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="a part of the names")
    arguments = parser.parse_args()
    for mutant in MUTANTS:
        if arguments.only in mutant.name:
            print(f"{mutant.name}: {lives_until_caught(mutant, arguments.lives, arguments.jobs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
