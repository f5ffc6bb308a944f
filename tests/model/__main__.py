"""Run lives by hand: `python -m tests.model --lives 2000`, `--seed 17`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.model.life import Failure, Options, find, life_of
from tests.model.steps import DEFAULT_FAMILIES, FAMILIES


def main() -> int:
    arguments = _arguments()
    options = Options(
        arguments.length,
        tuple(arguments.families.split(",")),
        frozenset(filter(None, arguments.off.split(";"))),
    )
    if arguments.seed is not None:
        return _one(arguments.seed, options)
    return _many(arguments, options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this life only, and print its steps")
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--length", type=int, default=40, help="steps of a life")
    parser.add_argument(
        "--families",
        default=",".join(DEFAULT_FAMILIES),
        help=f"kinds of steps: {', '.join(FAMILIES)}",
    )
    parser.add_argument("--off", default="", help="rules to leave out: a;b")
    parser.add_argument("--until-failure", action="store_true", help="end at the first one")
    parser.add_argument("--shrink", type=int, default=1, help="failures to shrink for each rule")
    return parser.parse_args()


def _one(seed: int, options: Options) -> int:
    for step in life_of(seed, options):
        print(step)
    failure = find(seed, options)
    print(f"\nseed {seed}: {failure or 'all rules kept'}")
    return 1 if failure else 0


def _run(seed: int, options: Options) -> tuple[Failure | None, Counter[str]]:
    options.seen = Counter()
    return find(seed, options, shrinks=False), options.seen


def _many(arguments: argparse.Namespace, options: Options) -> int:
    started = time.monotonic()
    seeds = range(arguments.first, arguments.first + arguments.lives)
    failures: dict[str, list[int]] = {}
    seen: Counter[str] = Counter()
    if arguments.until_failure:
        return _until_failure(seeds, options, arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = pool.map(_run, seeds, [options] * len(seeds), chunksize=4)
        for seed, (failure, counted) in zip(seeds, results, strict=True):
            seen += counted
            if failure is not None:
                failures.setdefault(failure.rule, []).append(seed)
    print(f"{len(seeds)} lives in {time.monotonic() - started:.0f} s")
    for ruling, count in sorted(seen.items()):
        print(f"  {count:6} {ruling}")
    for rule, broken in failures.items():
        print(f"\n{rule}: {len(broken)} lives: {broken[:20]}")
        for seed in broken[: arguments.shrink]:
            print(f"seed {seed}: {find(seed, options)}")
    return 1 if failures else 0


def _until_failure(seeds: range, options: Options, jobs: int) -> int:
    with ProcessPoolExecutor(jobs) as pool:
        for start in range(0, len(seeds), 2 * jobs):
            portion = seeds[start : start + 2 * jobs]
            for seed, (failure, _) in zip(
                portion, pool.map(_run, portion, [options] * len(portion)), strict=True
            ):
                if failure is not None:
                    print(f"caught by life {seed - seeds[0] + 1}: {failure.rule}")
                    return 1
    print(f"not caught in {len(seeds)} lives")
    return 0


if __name__ == "__main__":
    sys.exit(main())
