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
    # --- rules
    Mutation(
        "while a rule is wrong, the last valid one stays in effect",
        "worker/config_provider.py",
        "validate_config(settings, self._last_rules.load())",
        "validate_config(settings)",
        ("tests/worker/test_wrong_rules.py",),
    ),
    Mutation(
        "an import sends no token to another Plex unasked",
        "tasks/transfer.py",
        "knows_token and not with_plex_url",
        "False",
        ("tests/worker/test_transfer.py",),
    ),
    Mutation(
        "an import leaves other scenes of the same number alone",
        "tasks/transfer.py",
        'bool(entry["path"]) and entry["path"] in (file.path for file in scene.files)',
        "True",
        ("tests/worker/test_transfer.py",),
    ),
    Mutation(
        "a setting that Plex refuses is shown until Plex takes it",
        "worker/health.py",
        " and not self.outages.is_open(SETUP):",
        ":",
        ("tests/worker/test_outage_records.py",),
    ),
    Mutation(
        "settings are right again when Plex takes them, not when it answers",
        "worker/health.py",
        "            self._plex.libraries()\n            self.outages.end(SETUP)",
        "            self.outages.end(SETUP)",
        ("tests/worker/test_outage_records.py",),
    ),
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
        ("tests/queue/test_job_queue.py",),
    ),
    Mutation(
        "a guard that a killed process left is removed",
        "queue/recovery.py",
        "    _remove_guard(database)  # its process was killed\n",
        "",
        ("tests/queue/test_job_queue.py",),
    ),
    Mutation(
        "an edit whose database is renamed meanwhile is spooled",
        "queue/inbox.py",
        "if identity(self._file) == opened_as:  # else",
        "if True:  # else",
        ("tests/queue/test_processes.py",),
    ),
    Mutation(
        "a moved file is on disk before the old one goes",
        "worker/migration.py",
        "        sync(temporary)\n",
        "",
        ("tests/upgrade/test_move.py",),
    ),
    Mutation(
        "a step of the layout is on disk when it counts as taken",
        "common/layout.py",
        "durable=True)",
        "durable=False)",
        ("tests/common/test_files.py",),
    ),
    Mutation(
        "a Stash that is loading its plugins has not lost this one",
        "worker/presence.py",
        "_ABSENT = 2",
        "_ABSENT = 1",
        ("tests/worker/test_resident.py",),
    ),
    Mutation(
        "a settings page rests for a minute before it is written to",
        "worker/page_defaults.py",
        "if now - seen_at < self._env.timing.page_rest:",
        "if False:",
        ("tests/worker/test_page_defaults.py",),
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
        "        if not self._maintenance.correct_due_times():\n"
        "            self._wait_for_work(seen)",
        "        if not self._maintenance.correct_due_times():\n"
        "            self._wait_for_work(self.queue.version())",
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
    # --- a save in Stash does not wait
    Mutation(
        "a hook waits no longer than a twentieth of a second for the database",
        "queue/inbox.py",
        "_PATIENCE = 0.05",
        "_PATIENCE = 15.0",
        ("tests/queue/test_spool.py",),
    ),
    Mutation(
        "a hook leaves a long write-ahead log to the worker",
        "queue/inbox.py",
        "_LARGEST_LOG = 4_194_304",
        "_LARGEST_LOG = 4_194_304_000",
        ("tests/robust/test_hook.py",),
    ),
    Mutation(
        "a hook does not check the database",
        "queue/inbox.py",
        "        before = identity(self._file)\n",
        "        from queue.recovery import _is_damaged\n\n"
        "        _is_damaged(self._file, False)\n"
        "        before = identity(self._file)\n",
        ("tests/queue/test_spool.py",),
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
        "if count >= _CHANGED_PAGE and _updated_at(element) < newest:",
        "if count >= _CHANGED_PAGE and _updated_at(element) <= newest:",
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
        "items that were merged a moment ago are left alone",
        "worker/ownership.py",
        "            self._plex.index.learn([item])",
        "            pass",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "a worker that is asked to leave counts no death",
        "worker/processor.py",
        "        self._parts.in_hand.close()\n        self.ask_to_stop()",
        "        self.ask_to_stop()",
        ("tests/robust/test_deaths.py",),
    ),
    Mutation(
        "an undo that kills the worker keeps no edit waiting",
        "worker/reconcile/passes.py",
        "        one.failures += 1\n        self._save(pass_id, one)\n        if one.kind != UNDO",
        "        if one.kind != UNDO",
        ("tests/robust/test_deaths.py",),
    ),
    Mutation(
        "a long look at the lock keeps no worker away",
        "worker/process.py",
        "        if not worker_alive(data_dir):  # only processes that look",
        "        if False:  # only processes that look",
        ("tests/robust/test_locks.py",),
    ),
    Mutation(
        "several scenes that fit an item equally well: nothing is written",
        "worker/ownership.py",
        "if equal and not self._is_owner(item, scene, equal):",
        "if equal and False:",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "each copy, and the first item where matching is not strict, may be another scene's",
        "worker/scene_matcher.py",
        "return self._ownership.owned(match, scene) if scene is not None else iter(match.items)",
        "return iter(match.items)",
        ("tests/worker/test_ownership.py", "tests/worker/test_other_scenes.py"),
    ),
    Mutation(
        "a path that needs no mapping may be another scene's, too",
        "plex/fit.py",
        "sources.add(path)",
        "pass",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "how well a scene fits one item says nothing about another one",
        "plex/matcher.py",
        "fits = [how for file, how in self.fits.items() if file.rating_key == rating_key]",
        "fits = [how for file, how in self.fits.items()]",
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
        "return len(self.keys) == 1 and Fit.NAME not in self.fits.values()",
        "return Fit.NAME not in self.fits.values()",
        ("tests/plex/test_matcher.py", "tests/model/test_items.py"),
    ),
    Mutation(
        "what a person changes between a write and its read-back is not ours",
        "worker/reconcile/read_back.py",
        "if _is_form(state, current):",
        "if True:",
        ("tests/worker/test_edits_meanwhile.py",),
    ),
    Mutation(
        "a read-back notices what happened to other fields",
        "worker/reconcile/read_back.py",
        "name in present and not same(present[name], state.observed)",
        "False",
        ("tests/worker/test_edits_meanwhile.py",),
    ),
    Mutation(
        "a field with which Plex fails each time holds up no other",
        "worker/job_runner.py",
        'is_last = job.get("retry_count", 0) >= self.plex.config.max_retries',
        "is_last = False",
        ("tests/worker/test_independent_fields.py",),
    ),
    # --- nothing of the user's is destroyed
    Mutation(
        "a text that Plex had already is not ours",
        "plex/plan.py",
        "self._note(name, state, wanted, current, ours=current if is_ours else None)",
        "self._note(name, state, wanted, current, ours=current)",
        ("tests/plex/test_plan.py",),
    ),
    Mutation(
        "a field is emptied only where Plex has what PlexSync wrote",
        "plex/plan.py",
        "            # With `preserve`, too: the value is ours, and not an edit of the user.\n"
        "            if is_ours:",
        "            # With `preserve`, too: the value is ours, and not an edit of the user.\n"
        "            if True:",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "a list that was never written is added to",
        "plex/plan.py",
        "if state.wanted is None and self._is_known:",
        "if False:",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "a tag that a person added stays",
        "plex/plan.py",
        "theirs = without(present, ours)",
        "theirs: tuple[str, ...] = ()",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "a text that a person changed in Plex stays",
        "plex/plan.py",
        "        elif is_locked:\n            self._keep(name, state, wanted, current)",
        "        elif False:\n            self._keep(name, state, wanted, current)",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "without a title in Stash, a title that is not ours stays",
        "plex/plan.py",
        "if current and current not in (state.ours, state.form):",
        "if False:",
        ("tests/model/test_lives.py",),
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
        "if ours and not _is_edited(there, ours[0]):",
        "if ours:",
        ("tests/worker/test_collections.py",),
    ),
    Mutation(
        "of items that leave a collection at once, one is seen as the last",
        "worker/item_writer.py",
        "            if removed(draft.edits):\n",
        "            if False:\n",
        ("tests/worker/test_collections.py",),
    ),
    Mutation(
        "a collection of ours ends only after two full passes",
        "worker/collections.py",
        'return len(ending[key]["passes"]) >= _PASSES',
        "return True",
        ("tests/worker/test_collections.py",),
    ),
    Mutation(
        "what hides an item from restricted accounts goes only after a yes",
        "plex/plan.py",
        "if is_weaker and not is_granted:",
        "if False:",
        ("tests/worker/test_rules.py",),
    ),
    Mutation(
        "a rule that is taken back is undone in Plex",
        "plex/plan.py",
        "            plan.take_back(name)",
        "            pass",
        ("tests/worker/test_rules.py",),
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
        "the same cover goes up once",
        "worker/covers.py",
        "return sha1 != last or state.take or",
        "return True or",
        ("tests/worker/test_independent_fields.py",),
    ),
    Mutation(
        "only a background of ours is taken back",
        "worker/covers.py",
        "        if not is_ours(row, ART, selected):",
        "        if False:",
        ("tests/worker/test_background.py",),
    ),
    Mutation(
        "no Plex gets a request to remove that says nothing of it",
        "plex/client.py",
        "(int(version[1]), int(version[2])) < _REMOVES_SINCE",
        "False",
        ("tests/worker/test_background.py",),
    ),
    Mutation(
        "what is below a tag or a studio shows it too",
        "worker/reconcile/quick.py",
        '        criterion["depth"] = -1',
        '        criterion["depth"] = 0',
        ("tests/worker/test_related_values.py",),
    ),
    Mutation(
        "a digest of an earlier version is the scene's",
        "worker/reconcile/comparer.py",
        "        if not scene.has_digest(row.digest):",
        "        if row.digest != scene.digest:",
        ("tests/worker/test_related_values.py",),
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
    # --- a worker that stays
    Mutation(
        "a worker that waits writes nothing",
        "worker/processor.py",
        "            if self._is_resting:\n                self._parts.heartbeat.rest()",
        "            if False:\n                self._parts.heartbeat.rest()",
        ("tests/worker/test_resident.py",),
    ),
    Mutation(
        "a worker that waits and does not take up work is noticed",
        "worker/process.py",
        "            if os.stat(self.path).st_mtime == _RESTING:\n"
        "                os.utime(self.path)",
        "            pass",
        ("tests/worker/test_resident.py",),
    ),
    Mutation(
        "a worker leaves when Stash is gone",
        "worker/presence.py",
        "return now - self._silent_since >= patience",
        "return False",
        ("tests/worker/test_resident.py",),
    ),
    Mutation(
        "looks are seldom while nothing is used",
        "worker/reconcile/quick.py",
        "self._ended_at = self._parts.env.time()\n        self._is_in_use = False",
        "self._ended_at = self._parts.env.time()",
        ("tests/worker/test_resident.py",),
    ),
    # --- Plex's events
    Mutation(
        "events about our own writes are echoes",
        "worker/reconcile/events.py",
        "        return True  # of a write of ours; the read-back sees to it",
        "        pass",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "the events of another server are left to the quick pass",
        "worker/reconcile/events.py",
        "if self._listener.server != plex.server:",
        "if False:",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "an event that could not be used is followed by a quick pass",
        "worker/reconcile/events.py",
        "            self.quick_pass_failed()  # what",
        "            pass  # what",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "a storm is not read item by item",
        "worker/reconcile/events.py",
        " or not self._may_read(len(news))",
        "",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "what a storm changed is proposed when it is over",
        "worker/reconcile/events.py",
        "        if is_quiet:  # before",
        "        if True:  # before",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "each connection is followed by a quick pass",
        "worker/listener.py",
        "self._server, self._must_look = server, True",
        "self._server, self._must_look = server, False",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "a storm of events needs no more memory",
        "worker/listener.py",
        "if len(heard.items) + len(heard.hints) > MOST_KEPT:",
        "if False:",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "most items of a library are not forgotten at once",
        "plex/index.py",
        "is_most = 2 * count > self._count_items(section_id)",
        "is_most = False",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "one wrong answer about an item gives its scene no other item",
        "plex/index.py",
        '        self._refreshed_at = float("-inf")  # one wrong',
        "        pass  # one wrong",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "a file that came while its folder was scanned is scanned for",
        "plex/session.py",
        '        return min(map(self._scan_in, self._scans_left), default=float("inf"))',
        '        return float("inf")',
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "a message of events without an end needs no more memory",
        "plex/events.py",
        "if self._skips_line or len(self._line) + len(piece) > MAX_MESSAGE:",
        "if False:",
        ("tests/plex/test_events.py",),
    ),
    Mutation(
        "what is no event stream is not read as one",
        "plex/events.py",
        ' or stream.kind != "text/event-stream"',
        "",
        ("tests/plex/test_events.py",),
    ),
    # --- the user is told of what lasts, once
    Mutation(
        "the daily comparison is due at its time of day",
        "worker/reconcile/passes.py",
        "if ended > now or ended < last_time(clock, now):",
        "if ended > now or now - ended >= DAY:",
        ("tests/worker/test_full_pass.py",),
    ),
    Mutation(
        "a time of day that comes twice counts once",
        "common/daily.py",
        "if _offset(wall - offset) == offset]",
        "]",
        ("tests/common/test_daily.py",),
    ),
    Mutation(
        "an outage of the worker before is told only if it goes on",
        "worker/alerts.py",
        "            return False  # what a worker before",
        "            pass  # what a worker before",
        ("tests/worker/test_alerts.py",),
    ),
    Mutation(
        "a cause is told once a day",
        "worker/alerts.py",
        "return not 0 <= passed < self._parts.env.timing.alert_again",
        "return True",
        ("tests/worker/test_alerts.py",),
    ),
    Mutation(
        "a message that may have arrived is not repeated",
        "worker/webhook.py",
        "may_retry=_is_unsent(error)",
        "may_retry=True",
        ("tests/worker/test_alerts.py",),
    ),
    Mutation(
        "the webhook's address is a secret",
        "worker/config_provider.py",
        "        self._redactor.add(*webhook_secrets",
        "        list(webhook_secrets",
        ("tests/worker/test_alerts.py",),
    ),
    Mutation(
        "a server that failed is asked again while nothing is to be synced",
        "worker/health.py",
        "is_doubtful = self._suspect is not None or self.outages.is_open()",
        "is_doubtful = False",
        ("tests/worker/test_alerts.py",),
    ),
    Mutation(
        "a choice is for the scene for which it was made, not for another one of its id",
        "worker/scene_matcher.py",
        "return [one for one in choices if scene is None or is_same(one, scene)]",
        "return choices",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "where one of several chosen items is gone, nothing is written",
        "worker/scene_matcher.py",
        "if chosen and not gone:",
        "if chosen:",
        ("tests/worker/test_ownership.py",),
    ),
    Mutation(
        "a no is about what a comparison finds again",
        "worker/reconcile/passes.py",
        "            self.approval.lower_declined()\n",
        "",
        ("tests/worker/test_full_pass.py",),
    ),
    Mutation(
        "a yes to fewer scenes does not open the guard for ever",
        "worker/reconcile/forgetting.py",
        "parts.history.set(ACCEPTED, None)",
        "pass",
        ("tests/worker/test_full_pass.py",),
    ),
    Mutation(
        "what may hide an item is repaired again within minutes",
        "plex/plan.py",
        "return min(waiting) + _PROTECT_AFTER + 1.0 if waiting else None",
        "return None",
        ("tests/worker/test_events.py",),
    ),
    Mutation(
        "a field that a person changed follows Stash's next edit, whatever stood in between",
        "plex/plan.py",
        "is_rule = state.source == self._sources.of(name)",
        "is_rule = is_rule or state.source == self._sources.of(name)",
        ("tests/worker/test_kept_values.py",),
    ),
    # --- what the random lives and worlds of the model notice
    Mutation(
        "the last item leaves a collection only after two full passes",
        "worker/collections.py",
        "_PASSES = 2",
        "_PASSES = 0",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "a collection of a person's never ends",
        "worker/collections.py",
        "        return End.NEVER\n",
        "        return End.NOW\n",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "at the first meeting, collections are only added to",
        "plex/plan.py",
        "is_added_to = name in _ONLY_ADDED_TO or self",
        "is_added_to = self",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "at the first meeting, a locked list is added to",
        "plex/plan.py",
        "is_locked = name in self._locked and not self._switches.replace_lists",
        "is_locked = False",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "with repair_drift off, what a refresh changed stays",
        "plex/plan.py",
        "elif not switches.repair or state",
        "elif state",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "with preserve_plex_edits, a text that is not ours stays",
        "plex/plan.py",
        "elif self._switches.preserve and current and not is_ours:",
        "elif False:",
        ("tests/model/test_lives.py",),
    ),
    Mutation(
        "another size is another file",
        "plex/fit.py",
        "if differs or is_converted(path)",
        "if is_converted(path)",
        ("tests/model/test_items.py",),
    ),
    Mutation(
        "what is in Plex already is not written again",
        "plex/plan.py",
        "        if same(target, present):\n            self._note(name, state, wanted, present,"
        " ours=claim)\n        elif self._switches.preserve and present and is_all_theirs",
        "        if False:\n            self._note(name, state, wanted, present,"
        " ours=claim)\n        elif self._switches.preserve and present and is_all_theirs",
        ("tests/model/test_lives.py",),
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
