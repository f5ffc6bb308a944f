"""Pauses at random places: only where they were asked for, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.isolation import FOLDER
from tests.isolation.pauses import VARIABLE

CODE = """
import os, time
slept = []
time.sleep = slept.append
for name in ("a.json", "b.txt"):
    open(name, "w").close()
    open(name).close()
os.rename("a.json", "c.json")
print(len(slept), all(0 < seconds < 3 for seconds in slept))
"""


@pytest.mark.parametrize(("share", "pauses"), [("1", 4), ("", 0), ("0", 0)])
def test_a_process_pauses_before_it_uses_its_data(tmp_path: Path, share: str, pauses: int) -> None:
    environment = {**os.environ, VARIABLE: share, "PYTHONPATH": FOLDER}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    assert done.stdout == f"{pauses} True\n"
