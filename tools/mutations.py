"""Show that the tests notice code that breaks a promise.

`python -m tools.mutations` breaks the code in a copy of the tree, one place at a time, and runs
the tests that should notice; `--only TEXT` takes some, `--list` names all. Run it by hand after a
change to the parts that it names: all of it takes about half an hour.
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

ROOT = Path(__file__).resolve().parents[1]
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", "dist", ".*_cache")


@dataclass(frozen=True)
class Mutation:
    """One place of the code, broken, and the tests that should notice."""

    #: what the code promises there
    promise: str
    file: str
    old: str
    new: str
    #: paths for pytest
    tests: tuple[str, ...]


MUTATIONS = (
    # --- no edit is lost
    Mutation(
        "tidying deletes no job in progress",
        "queue/table.py",
        '"DELETE FROM ack_queue_default WHERE status >= 2 AND status > 2 AND _id <= ?"',
        '"DELETE FROM ack_queue_default WHERE status >= 2 AND _id <= ?"',
        ("tests/queue/test_job_queue.py",),
    ),
    Mutation(
        "a job in progress is salvaged from a damaged queue",
        "queue/recovery.py",
        "if status in (table.DONE, table.FAILED):",
        "if status in (table.CLAIMED, table.DONE, table.FAILED):",
        ("tests/queue/test_job_queue.py",),
    ),
    Mutation(
        "a file counts as salvaged after its jobs are in the queue",
        "queue/recovery.py",
        "        for data, status in readable_rows(path,",
        "        path = (os.replace(path, path + _SALVAGED), path + _SALVAGED)[1]\n"
        "        for data, status in readable_rows(path,",
        ("tests/queue/test_job_queue.py",),
    ),
    Mutation(
        "a damaged database leaves its write-ahead log to no new one",
        "queue/recovery.py",
        "    _rename_side_files(database, stamp)  # first: a new database must not use the old WAL"
        " file\n    target = quarantine(database, stamp)\n",
        "    target = quarantine(database, stamp)\n",
        ("tests/queue/test_job_queue.py",),
    ),
    Mutation(
        "a guard that a killed process left does not stop the hooks",
        "queue/recovery.py",
        "    return age < _STALE_GUARD\n",
        "    return True\n",
        ("tests/robust/test_hook.py",),
    ),
    Mutation(
        "the content of a durable file is on disk before its name",
        "common/files.py",
        "                os.fsync(descriptor)\n        os.replace",
        "        os.replace",
        ("tests/common/test_files.py",),
    ),
    Mutation(
        "the name of a durable file is on disk",
        "common/files.py",
        "        sync(os.path.dirname(path))",
        "        pass",
        ("tests/common/test_files.py",),
    ),
    Mutation(
        "a spooled job is on disk before the hook answers",
        "queue/spool.py",
        "durable=True)",
        "durable=False)",
        ("tests/queue/test_spool.py",),
    ),
    Mutation(
        "a queued job is on disk before the hook answers",
        "common/sqlite.py",
        'connection.execute("PRAGMA synchronous=FULL")',
        'connection.execute("PRAGMA synchronous=NORMAL")',
        ("tests/common/test_sqlite.py",),
    ),
    Mutation(
        "bulk work that is merged into a save keeps the save's place and values",
        "queue/table.py",
        "            _put(connection, job, older=True)",
        "            _put(connection, job, older=False)",
        ("tests/queue/test_job_queue.py", "tests/queue/test_table.py"),
    ),
    Mutation(
        "Clear queue leaves the job in progress alone",
        "queue/table.py",
        'connection.execute("DELETE FROM ack_queue_default WHERE status < 2").rowcount',
        'connection.execute("DELETE FROM ack_queue_default WHERE status < 5").rowcount',
        ("tests/queue", "tests/worker/test_commands.py"),
    ),
    Mutation(
        "an edit that is made while its scene is read counts as newer",
        "worker/batch.py",
        "        read_at = parts.env.time()  # an edit that is made from here on counts as newer\n"
        "        scenes = self._read_ahead(jobs)\n",
        "        scenes = self._read_ahead(jobs)\n        read_at = parts.env.time()\n",
        ("tests/worker/test_jobs.py", "tests/worker/test_session.py"),
    ),
    Mutation(
        "a job that comes during the look at the queue ends the wait",
        "worker/processor.py",
        "                self._wait_for_work(seen)",
        "                self._wait_for_work(self.queue.version())",
        ("tests/worker/test_jobs.py", "tests/worker/test_loop_order.py"),
    ),
    Mutation(
        "the worker that a hook starts knows the connection to Stash",
        "hooks/plugin.py",
        "        save_connection(data_dir, StashConnection(server, settings))\n"
        "    if ensure_worker(data_dir, entry.SCRIPT) == SILENT:",
        "        pass\n"
        "    found = ensure_worker(data_dir, entry.SCRIPT)\n"
        "    if server is not None:\n"
        "        save_connection(data_dir, StashConnection(server, settings))\n"
        "    if found == SILENT:",
        ("tests/entry/test_hook_process.py", "tests/hooks"),
    ),
    Mutation(
        "a worker does not leave while something is left to do",
        "worker/processor.py",
        "        return not self.has_work()  # the last step may have found some",
        "        return True",
        ("tests/worker/test_loop_order.py",),
    ),
    # --- no server is bothered, and no edit blamed, for another's failure
    Mutation(
        "five failures count only in a row",
        "worker/circuit_breaker.py",
        "            self._failures = 0\n            if self._current()",
        "            if self._current()",
        ("tests/worker/test_circuit_breaker.py",),
    ),
    Mutation(
        "an outage of Stash is not counted as Plex's",
        "worker/health.py",
        "return self.stash if isinstance(error, StashUnavailable) else self.plex",
        "return self.plex",
        ("tests/worker/test_outages.py", "tests/worker/test_stash_faults.py"),
    ),
    Mutation(
        "a request that timed out is not sent again at once",
        "plex/client.py",
        "            except _NETWORK_ERRORS:\n",
        "            except (*_NETWORK_ERRORS, requests.Timeout):\n",
        ("tests/plex/test_client.py", "tests/worker/test_limits.py"),
    ),
    # --- what Plex has is known as of the right moment
    Mutation(
        "an item that changed in the second of the last look is read again",
        "plex/index.py",
        "if len(changed) >= _CHANGED_PAGE and _updated_at(element) < newest:",
        "if len(changed) >= _CHANGED_PAGE and _updated_at(element) <= newest:",
        ("tests/plex/test_index.py",),
    ),
    Mutation(
        "a listing during which items came or went is repeated",
        "plex/index.py",
        "if len(totals) > 1:",
        "if False:",
        ("tests/plex/test_index.py",),
    ),
    Mutation(
        "the age of the index counts from the question, not from the answer",
        "plex/index.py",
        "        self._refreshed_at = asked_at",
        "        self._refreshed_at = self._now()",
        ("tests/plex/test_index.py",),
    ),
    # --- no wrong item is touched
    Mutation(
        "a file of another size at the same path is another file",
        "plex/fit.py",
        "return Fit.PATH_ONLY if differs else Fit.PATH",
        "return Fit.PATH",
        ("tests/plex", "tests/worker/test_ownership.py"),
    ),
    Mutation(
        "a file of the same name whose size is not known is only a guess",
        "plex/fit.py",
        "    if not sizes_known:\n        return Fit.NAME\n",
        "",
        ("tests/plex", "tests/worker/test_ownership.py"),
    ),
    Mutation(
        "several scenes that fit an item equally well: nothing is written",
        "worker/ownership.py",
        "if equal and not self._is_owner(item, scene, equal):",
        "if equal and False:",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "a choice whose item is gone: nothing is written instead",
        "worker/scene_matcher.py",
        "if choices:  # what the user rejected",
        "if False:  # what the user rejected",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "several items of the same name: nothing is written",
        "plex/matcher.py",
        "return len(self.keys) == 1 and self.fit is not Fit.NAME",
        "return self.fit is not Fit.NAME",
        ("tests/plex/test_matcher.py", "tests/model/test_items.py"),
    ),
    # --- nothing of the user's is destroyed
    Mutation(
        "a text that Plex had already is not ours",
        "plex/plan.py",
        "self._note(name, state, wanted, current, ours=current if is_ours else None)",
        "self._note(name, state, wanted, current, ours=current)",
        ("tests/plex/test_plan.py", "tests/model/test_lives.py"),
    ),
    Mutation(
        "a field is emptied only where Plex has what PlexSync wrote",
        "plex/plan.py",
        "            # With `preserve`, too: the value is ours, and not an edit of the user.\n"
        "            if is_ours:",
        "            # With `preserve`, too: the value is ours, and not an edit of the user.\n"
        "            if True:",
        ("tests/plex/test_plan.py", "tests/model/test_lives.py"),
    ),
    Mutation(
        "a list that was never written is added to",
        "plex/plan.py",
        "if state.wanted is None and self._is_known:",
        "if False:",
        ("tests/plex/test_plan.py", "tests/model/test_lives.py"),
    ),
    Mutation(
        "a tag that a person added stays",
        "plex/plan.py",
        "theirs = without(present, ours)",
        "theirs: tuple[str, ...] = ()",
        ("tests/plex/test_plan.py", "tests/model/test_lives.py"),
    ),
    Mutation(
        "a text that a person changed in Plex stays",
        "plex/plan.py",
        "        elif is_locked:\n            self._keep(name, state, wanted, current)",
        "        elif False:\n            self._keep(name, state, wanted, current)",
        ("tests/plex/test_plan.py", "tests/model/test_lives.py"),
    ),
    Mutation(
        "without a title in Stash, a title that is not ours stays",
        "plex/plan.py",
        "if current and current not in (state.ours, state.form):",
        "if False:",
        ("tests/plex/test_plan.py", "tests/model/test_lives.py"),
    ),
    Mutation(
        "a list that is too long for one request keeps what is not ours",
        "plex/edits.py",
        "    return [(*part, *theirs) for part in reversed(parts)]",
        "    return [tuple(part) for part in reversed(parts)]",
        ("tests/plex", "tests/worker/test_independent_fields.py"),
    ),
    Mutation(
        "names that are not ASCII count with their length in a URL",
        "plex/edits.py",
        "    return len(urlencode(parameters, quote_via=quote)) + 1",
        "    return sum(len(key) + len(str(value)) + 2 for key, value in parameters.items())",
        ("tests/plex", "tests/worker/test_independent_fields.py"),
    ),
    Mutation(
        "a collection that a person changed keeps its last item",
        "worker/collections.py",
        "return tuple(name for name in removed if self._is_last_of_a_persons(item, name))",
        "return ()",
        ("tests/worker/test_collections.py",),
    ),
    # --- strangers and secrets
    Mutation(
        "a Stash on another machine must prove who it is",
        "stash/client.py",
        "verify=not self._is_loopback,",
        "verify=False,",
        ("tests/stash/test_client.py", "tests/end_to_end/test_secrets.py"),
    ),
    Mutation(
        "an anonymous report hides the text of a problem",
        "tasks/anonymous.py",
        'return known_names(value) if kind == "names" else allowed(value)',
        "return value",
        ("tests/tasks/test_anonymous.py",),
    ),
    # --- what was written can be taken back, and nothing else is
    Mutation(
        "an undo leaves what was changed since",
        "plex/undo.py",
        "    if not (is_form or same(current, written.after)):\n",
        "    if False:\n",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "a field that the user holds is not written",
        "plex/plan.py",
        "        if state is None or not (state.held or state.take):\n",
        "        if True:\n",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "collections that were added stay",
        "plex/undo.py",
        '_STAY = ("collection",)',
        "_STAY = ()",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "a person's value that is given back is not ours",
        "worker/undo.py",
        "    return Written(first.before, last.after, earlier[-1].after if earlier else None)",
        "    return Written(first.before, last.after, first.before)",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "a run that is taken back writes nothing more",
        "worker/commands.py",
        "                self._passes.end_reading(pass_id)\n",
        "                pass\n",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "a long undo lets edits through",
        "worker/processor.py",
        "        step = None if not self._was_undo else self._usual_step()\n",
        "        step = None\n",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "an item at which Plex fails each time stops no undo",
        "worker/undo.py",
        "                if failures >= MOST_FAILURES:\n",
        "                if False:\n",
        ("tests/worker/test_undo.py",),
    ),
    Mutation(
        "a write that is sent once more is recorded once",
        "worker/item_writer.py",
        "            if was.sent is not None and same(was.sent, target):\n",
        "            if False:\n",
        ("tests/worker/test_changes.py",),
    ),
    Mutation(
        "a poster whose answer got lost is not taken for the former one",
        "worker/covers.py",
        '        if shown.endswith(f"/{sha1}"):',
        "        if False:",
        ("tests/worker/test_changes.py",),
    ),
    Mutation(
        "nothing is written while PlexSync is paused",
        "worker/processor.py",
        "        return paused(self._parts.history) is not None\n",
        "        return False\n",
        ("tests/worker/test_decisions.py",),
    ),
    Mutation(
        "the read-back leaves a scene alone that was taken back",
        "worker/reconcile/read_back.py",
        "            if row.status in UNTOUCHABLE\n",
        "            if False\n",
        ("tests/worker/test_decisions.py",),
    ),
    Mutation(
        "a try writes no more scenes than were asked for",
        "worker/reconcile/comparer.py",
        "            if result.queued >= room or ",
        "            if ",
        ("tests/worker/test_decisions.py",),
    ),
)


def plant(mutation: Mutation, folder: Path) -> Path:
    """Return a copy of the tree with a mutation.

    Raises:
        ValueError: the code to replace is not there, or several times.
    """
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    file = tree / mutation.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.file} has this {text.count(mutation.old)} times: {mutation.old}"
        )
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return tree


def noticed_by(mutation: Mutation, jobs: int) -> str | None:
    """Return the first test that fails with a mutation, or None."""
    with tempfile.TemporaryDirectory() as folder:
        tree = plant(mutation, Path(folder))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["-n", str(jobs), *mutation.tests]
        env = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else f"exit code {done.returncode}: {done.stdout[-300:]}"


def main() -> int:
    """Run the mutations; return 1 if the tests missed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the promises")
    parser.add_argument("--jobs", type=int, default=2, help="test processes")
    parser.add_argument("--list", action="store_true", help="only name them")
    arguments = parser.parse_args()
    missed = 0
    for mutation in MUTATIONS:
        if arguments.only not in mutation.promise:
            continue
        if arguments.list:
            print(f"{mutation.file}: {mutation.promise}")
            continue
        test = noticed_by(mutation, arguments.jobs)
        missed += test is None
        print(f"{mutation.promise}: {test or 'NOT NOTICED'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
