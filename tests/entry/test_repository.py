"""Files around the code: the CI workflow, the bug report template, changelog and README."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.plugin import ROOT
from tests.simulators.stash import Manifest, load_manifest

GITHUB = ROOT / ".github"
WORKFLOW = GITHUB / "workflows" / "checks.yaml"
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest(ROOT / "PlexSync.yml")


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """Return the only job of the workflow."""
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert isinstance(job, dict)
    return job


def tracked() -> list[str]:
    """Return the names of all files in git; skip the test in an unpacked archive."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a clone")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    return [name for name in listed.stdout.decode("utf-8").split("\0") if name]


def test_the_only_yml_in_git_is_the_manifest() -> None:
    names = [name for name in tracked() if name.lower().endswith(".yml")]
    assert names == ["PlexSync.yml"], "Stash loads every other one as a plugin"


def test_the_workflow_names_every_system_and_every_python(job: dict[str, Any]) -> None:
    matrix = job["strategy"]["matrix"]
    assert job["strategy"]["fail-fast"] is False
    assert job["runs-on"] == "${{ matrix.os }}"
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    # Versions must be strings: the number 3.10 would be 3.1.
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]


def test_the_workflow_runs_lint_and_tests_on_them(job: dict[str, Any]) -> None:
    (setup,) = (step for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"]["python-version"] == "${{ matrix.python }}"
    assert (ROOT / setup["with"]["cache-dependency-path"]).is_file()
    commands = [step["run"].split()[:2] for step in job["steps"] if "run" in step]
    assert commands == [["make", "lint"], ["make", "test"]]


def test_the_workflow_tests_the_oldest_python_that_the_entry_accepts(job: dict[str, Any]) -> None:
    import PlexSync

    oldest = ".".join(map(str, PlexSync.OLDEST_PYTHON))
    assert job["strategy"]["matrix"]["python"][0] == oldest


def test_the_bug_template_asks_for_report_versions_and_description() -> None:
    text = (GITHUB / "ISSUE_TEMPLATE" / "bug_report.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert {"name", "about"} <= set(yaml.safe_load(front))
    assert "*Report*" in body
    assert "report --anonymous" in body
    for heading in ("Versions", "What you did", "What you expected", "What you saw"):
        assert f"\n## {heading}\n" in body


def test_the_changelog_has_the_version_of_the_manifest(manifest: Manifest) -> None:
    versions = re.findall(r"^## (.+)$", changelog(), re.MULTILINE)
    assert versions[0] in ("Unreleased", manifest.version)
    assert manifest.version in versions


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_lists_exactly_the_tasks(manifest: Manifest) -> None:
    named = [cell for cell in first_cells("| task | command |") if cell != "–"]  # a command alone
    assert named == [task.name for task in manifest.tasks]


def test_the_readme_lists_exactly_the_settings(manifest: Manifest) -> None:
    keys = [key for cell in first_cells("| setting |") for key in re.findall(r"`(\w+)`", cell)]
    assert sorted(keys) == sorted(setting.key for setting in manifest.settings)


def first_cells(head: str) -> list[str]:
    """Return the first cells of the README tables whose header begins with `head`."""
    rows = []
    is_inside = False
    for line in README.read_text(encoding="utf-8").splitlines():
        is_head = line.startswith(head)
        if is_inside and line.startswith("|") and not line.startswith("|---"):
            rows.append(line.split("|")[1].strip())
        is_inside = is_head or (is_inside and line.startswith("|"))
    assert rows, head
    return rows


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/decisions/*.md")), ids=lambda p: p.stem)
def test_a_decision_record_has_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# \d+\. \S", text)
    assert int(page.stem[:4]) == int(text[2:].partition(".")[0])
    assert re.search(r"^(Accepted|Planned|Replaced), \d{4}-\d\d-\d\d", text, re.MULTILINE)
    for heading in ("Context", "Decision", "What it buys", "What it costs"):
        assert f"\n## {heading}\n" in text
