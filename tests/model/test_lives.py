"""Random lives keep README's rules."""

from __future__ import annotations

import os

import pytest

from tests.model.life import Options, find

#: Lives; `PLEXSYNC_LIVES=2000` for a long run.
LIVES = int(os.environ.get("PLEXSYNC_LIVES", "100"))
CHUNKS = 20


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_lives(chunk: int) -> None:
    for seed in range(chunk * LIVES // CHUNKS, (chunk + 1) * LIVES // CHUNKS):
        failure = find(seed, Options())
        assert failure is None, f"python -m tests.model --seed {seed}\n{failure}"
