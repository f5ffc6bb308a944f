"""Run a small fault campaign; `make soak` runs larger ones."""

from __future__ import annotations

import os

import pytest

from tests.soak.campaign import run_campaign
from tests.soak.plan import make_plan


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL and SIGSTOP, which only POSIX has")
@pytest.mark.timeout(900)
def test_no_edit_is_lost_under_kills_and_faults() -> None:
    tally = run_campaign(seed=6, rounds=2, kills=12)
    assert tally.kills >= 5, tally


def test_the_same_seed_makes_the_same_plan() -> None:
    assert make_plan(11, 5, 10) == make_plan(11, 5, 10)
    assert make_plan(11, 5, 10) != make_plan(12, 5, 10)
