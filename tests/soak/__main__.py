"""Run a fault campaign by hand: `python -m tests.soak --rounds 10 --seed 1`."""

from __future__ import annotations

import argparse
import random
import sys

import PlexSync

PlexSync.host_queue_package()

from tests.isolation import private_home  # noqa: E402 - needs the line above
from tests.soak.campaign import CampaignError, run_campaign  # noqa: E402 - needs the line above


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="default: any"
    )
    parser.add_argument(
        "--kills", type=int, default=24, help="planned kills of hooks and workers per round"
    )
    chosen = parser.parse_args()
    print(f"Seed {chosen.seed}: {chosen.rounds} rounds", flush=True)
    try:
        with private_home():
            tally = run_campaign(
                chosen.seed, chosen.rounds, chosen.kills, lambda text: print(text, flush=True)
            )
    except CampaignError as error:
        print(f"FAILED {error}", flush=True)
        return 1
    print(f"Nothing was lost. {tally}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
