"""Canned answers of PlexSync's operations, so that a test can show any state of the page.

Only the page is tested with these: `test_real.py` drives the real operations.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from tests.simulators.stash.plugins import Caller, PluginError

VERSION = "0.2.0"
NOW = 1_790_000_000

COUNTS = {
    "in_sync": 2934, "kept": 34, "written": 0, "not_in_plex": 12, "ambiguous": 0, "failed": 0,
    "refused": 0, "ignored": 3, "skipped": 0, "held": 0, "baseline": 0,
}  # fmt: skip
STATE: dict[str, Any] = {
    "problem": None, "counts": COUNTS, "needs": 0, "waiting": 0, "in_progress": 0,
    "last_change_at": NOW - 3600, "checked_at": NOW - 600, "full_at": NOW - 9000,
    "plex": {"name": "NAS", "libraries": ["Scenes"]}, "paused": False, "approval": None,
    "worker": {"alive": True, "since": None}, "is_set_up": True, "must_wake": False,
    "running": None, "folders": {"/data/new": 12},
}  # fmt: skip


def candidate(key: int, library: str = "Scenes") -> dict[str, Any]:
    path = f"/media/{library.lower()}/a film {key}.mp4"
    return {
        "rating_key": key, "section": 1, "library": library, "path": path, "size": 1_400_000_000,
        "duration": 1830,
    }  # fmt: skip


def need(scene_id: int, status: str = "failed", **more: Any) -> dict[str, Any]:
    """Return a row of *Needs you*."""
    actions = {"ambiguous": ["choose", "ignore"], "refused": ["scale_cover", "retry", "ignore"]}
    return {
        "scene_id": scene_id, "status": status, "error": "", "reason": f"why {scene_id}",
        "at": NOW - 60, "candidates": [], "more_candidates": 0, "fields": [],
        "actions": actions.get(status, ["retry", "ignore"]), **more,
    }  # fmt: skip


def field(name: str, wanted: Any, observed: Any, state: str = "in_sync", **more: Any) -> Any:
    """Return a field of *scene*."""
    return {
        "name": name, "wanted": wanted, "observed": observed, "before": "", "ours": wanted,
        "last": {"by": "plexsync", "at": NOW - 600}, "state": state, "why": "", "actions": [],
        **more,
    }  # fmt: skip


class Operations:
    """Stands in for PlexSync.py: answers operations, and notes what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.state = copy.deepcopy(STATE)
        self.needs: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        """Mode, or "page view" → answer; an exception is raised, a function is called."""

    def __call__(self, plugin_id: str, args: Mapping[str, Any] | None, caller: Caller) -> Any:
        """Answer as `PluginHost.run_operation`."""
        given = dict(args or {})
        self.asked.append(given)
        name = f"page {given['view']}" if given["mode"] == "page" else str(given["mode"])
        answer = self.answers.get(name)
        if callable(answer):
            answer = answer(given)
        if isinstance(answer, str):
            raise PluginError(answer)
        if answer is None:
            answer = self._usual(name, given)
        return {"version": VERSION, "now": time.time(), **answer}

    def modes(self) -> list[str]:
        """Return what was asked besides looks."""
        return [one["mode"] for one in self.asked if one["mode"] not in ("page", "pictures")]

    def last(self, mode: str) -> dict[str, Any]:
        """Return the arguments of the last operation of a mode."""
        return next(one for one in reversed(self.asked) if one["mode"] == mode)

    def last_look(self, view: str) -> dict[str, Any]:
        """Return the arguments of the last look at a view: the page looks at some by itself."""
        return next(one for one in reversed(self.asked) if one.get("view") == view)

    def _usual(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if name == "page state":
            return {**self.state, "needs": self.state["needs"] or len(self.needs)}
        if name == "page count":
            return {
                "needs": len(self.needs),
                "problem": bool(self.state["problem"]),
                "must_wake": self.state["must_wake"],
            }
        if name == "page needs":
            return self._needs(args)
        if name == "page changes":
            return {"runs": [], "next": None}
        if name == "pictures":
            return {"pictures": {}}
        return {"summary": f"{name}: done", "ok": True}

    def _needs(self, args: Mapping[str, Any]) -> dict[str, Any]:
        rows = [row for row in self.needs if args["status"] in ("", row["status"])]
        start, limit = int(args["after"] or 0), int(args["limit"])
        more = start + limit < len(rows)
        return {
            "total": len(rows),
            "rows": rows[start : start + limit],
            "next": str(start + limit) if more else None,
        }
