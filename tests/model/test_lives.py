"""Random lives keep README's rules."""

from __future__ import annotations

import pytest

from tests.model.life import KNOWN, Options, find

CHUNKS, SEEDS = 5, 4


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_lives(chunk: int) -> None:
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        failure = find(seed, Options(off=KNOWN))
        assert failure is None, f"python -m tests.model --seed {seed}\n{failure}"
