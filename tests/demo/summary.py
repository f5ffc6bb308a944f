"""The demo's summary, from both simulators, the dead letters and every hook run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.demo.catalogue import ALL, TWIN, Sample
from tests.demo.harness import DemoHarness, blocked
from tests.demo.stage import Stage
from tests.demo.story import EXPECTED


@dataclass(frozen=True)
class Result:
    """The figures of the summary."""

    in_sync: int
    differing: dict[Sample, list[str]]
    letters: list[dict[str, Any]]
    problems: list[str]
    saves: int
    median: float
    worst: float
    requests: int
    writes: int

    @property
    def good(self) -> bool:
        return not self.differing and not self.problems


def judge(harness: DemoHarness) -> Result:
    differing = {
        sample: harness.differences_of(sample)
        if sample in harness.saved
        else ["it was never saved"]
        for sample in EXPECTED
        if not harness.in_sync(sample)
    }
    # The header separates PlexSync's requests from those of the user's Plex app.
    requests = [
        one.request
        for one in harness.plex.log.all()
        if one.request.headers.get("X-Plex-Product") == "PlexSync"
    ]
    median, worst = blocked(harness.hooks)
    return Result(
        in_sync=len(EXPECTED) - len(differing),
        differing=differing,
        letters=harness.letters(),
        problems=_problems(harness),
        saves=len(harness.hooks),
        median=median,
        worst=worst,
        requests=len(requests),
        writes=sum(request.method == "PUT" for request in requests),
    )


def _problems(harness: DemoHarness) -> list[str]:
    """Return everything that must not happen, even when all scenes are in sync."""
    found = [f"a hook failed: {run.error}" for run in harness.hooks if run.error is not None]
    meant = {
        item.rating_key for sample in EXPECTED if (item := harness.item_at(sample)) is not None
    }
    touched = {write.rating_key for write in harness.plex.writes} - meant
    found += [
        f'"{harness.plex.item(key).title}" in Plex was edited by mistake' for key in sorted(touched)
    ]
    for_review = {letter["scene_id"] for letter in harness.letters()}
    if harness.ids[TWIN] not in for_review:
        found.append(f'"{TWIN.title}" is in Plex twice and was not reported for review')
    given_up = for_review - {harness.ids[TWIN]}
    found += [f"scene {scene_id} was given up" for scene_id in sorted(map(str, given_up))]
    return found


def show(stage: Stage, result: Result, harness: DemoHarness) -> None:
    stage.heading("Summary")
    stage.say(
        f"In sync      {result.in_sync} of {len(EXPECTED)} expected scenes",
        "bold green" if not result.differing else "bold red",
    )
    each = result.requests / max(1, result.in_sync)
    stage.say(f"For review   {len(result.letters)} of {len(ALL)} scenes", "magenta")
    stage.say(
        f"Saves        {result.saves}; each waited {result.median:.0f} ms (median),"
        f" {result.worst:.0f} ms (worst)"
    )
    stage.say(
        f"Requests     {result.requests} to Plex, {each:.1f} per synced scene;"
        f" {result.writes} of them edits"
    )
    titles = {scene_id: sample.name for sample, scene_id in harness.ids.items()}
    for letter in result.letters:
        _show_letter(stage, letter, titles[letter["scene_id"]])
    for sample, lines in result.differing.items():
        _show_block(
            stage, f'Not in sync: scene {harness.ids[sample]} "{sample.name}"', lines, "red"
        )
    if result.problems:
        _show_block(stage, "Went wrong:", result.problems, "red")
    stage.console.print()
    stage.say(f"Next: {_next_step(result)}", "bold", "")


def _show_letter(stage: Stage, letter: dict[str, Any], title: str) -> None:
    candidates = (letter["details"] or {}).get("candidates", [])
    reason = f"{len(candidates)} items in Plex may be it" if candidates else letter["error_message"]
    lines = [
        f"candidate {one['files'][0]['path']} in library {one['library']}"
        f" (item {one['rating_key']})"
        for one in candidates
    ]
    heading = f'For review: scene {letter["scene_id"]} "{title}": {reason} ({letter["error_type"]})'
    _show_block(stage, heading, lines, "magenta")


def _show_block(stage: Stage, heading: str, lines: list[str], style: str) -> None:
    stage.console.print()
    stage.say(heading, style)
    for line in lines:
        stage.say(line, first="      ")


def _next_step(result: Result) -> str:
    if not result.good:
        return "something is wrong here; 'make test' may show what."
    return (
        "link this folder into Stash's plugins folder; then Settings > Plugins: Plex address,"
        " token, path mappings."
    )
