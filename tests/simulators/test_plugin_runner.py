"""The simulator runs plugins as Stash does: manifests, stdin, stdout, the log protocol, jobs."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.isolation import search_path
from tests.simulators.stash import (
    Caller,
    ManifestError,
    StashSimulator,
    load_manifest,
    load_plugins,
)
from tests.simulators.stash.events import encode, scan_update, scene_clean, tags_merge

ECHO = "import json, sys\nprint(json.dumps({'output': json.load(sys.stdin)}))\n"
EVENTS = (
    "Scene.Update.Post Scene.Create.Post Scene.Destroy.Post Performer.Update.Post"
    " Studio.Update.Post "
    "Tag.Update.Post Tag.Merge.Post Tag.Destroy.Post Group.Update.Post Movie.Update.Post"
)
Plugin = Callable[..., Path]


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def plugin(plugins: Path) -> Plugin:
    """Return a factory of plugins: a script with hooks for the given events and one task, `Go`."""

    def write(
        script: str = ECHO, name: str = "Echo", events: str = EVENTS, extra: str = ""
    ) -> Path:
        folder = plugins / name
        folder.mkdir()
        (folder / "run.py").write_text(script, encoding="utf-8")
        (folder / f"{name}.yml").write_text(
            f"name: {name}\n"
            'exec: [python3, "{pluginDir}/run.py"]\n'
            f"hooks: [{{name: h, triggeredBy: [{', '.join(events.split())}],"
            " defaultArgs: {mode: hook}}]\n"
            "tasks: [{name: Go, defaultArgs: {mode: go, times: 5, dry: true}}]\n" + extra,
            encoding="utf-8",
        )
        return folder

    return write


@pytest.fixture
def stash(plugins: Path) -> Iterator[StashSimulator]:
    with StashSimulator(plugins) as simulator:
        yield simulator
        assert simulator.server.errors == []


def contexts(result: Any) -> list[dict[str, Any]]:
    return [run.stdin["args"]["hookContext"] for run in result.hooks]


# --- the process

HELD = 240


def until_released(folder: Path) -> str:
    """Return the code of a process that runs until `release`; on a timeout it writes a file."""
    return (
        "import os, time\n"
        f"end, folder = time.monotonic() + {HELD}, {str(folder)!r}\n"
        "while time.monotonic() < end and not os.path.exists(folder + '/release'):"
        " time.sleep(0.01)\n"
        "if time.monotonic() >= end: open(folder + '/gave-up', 'w').close()\n"
    )


def release(folder: Path) -> bool:
    """Let that process end; return whether it was still running."""
    in_time = not (folder / "gave-up").exists()
    (folder / "release").touch()
    return in_time


def test_a_hook_process_gets_the_same_input_as_in_stash(
    plugin: Plugin, plugins: Path, monkeypatch: Any
) -> None:
    before = search_path("from-before")
    monkeypatch.setenv("PYTHONPATH", before)
    folder = plugin(
        "import json, os, sys\n"
        "raw = sys.stdin.read()\n"
        "print(json.dumps({'output': [raw, os.getcwd(), os.environ['PYTHONPATH'],"
        " os.environ['EXTRA']]}))\n"
    )
    with StashSimulator(plugins, env={"EXTRA": "yes"}) as stash:
        stash.add_scene("Ümlaut")
        (run,) = stash.save_scene(1, title="é").hooks
    raw, cwd, python_path, extra = run.output
    assert json.loads(raw) == run.stdin
    assert not raw.endswith("\n")
    assert Path(cwd) == plugins.parent
    assert python_path == os.pathsep.join([before, str(folder.parent)])
    assert extra == "yes"


def test_a_linked_plugin_runs_in_the_plugins_folder_and_not_beside_its_target(
    plugin: Plugin, plugins: Path, tmp_path: Path
) -> None:
    """Otherwise its processes import modules from the folders above a checkout."""
    folder = plugin(
        "import json, os\n"
        "print(json.dumps({'output': os.environ['PYTHONPATH'].split(os.pathsep)[-1]}))\n"
    )
    target = tmp_path / "above" / "checkout"
    target.parent.mkdir()
    folder.rename(target)
    folder.mkdir()
    for file in target.iterdir():
        (folder / file.name).symlink_to(file)
    with StashSimulator(plugins) as stash:
        stash.add_scene()
        (run,) = stash.save_scene(1, title="x").hooks
    assert run.output == str(plugins)


def test_the_connection_names_the_listen_address_and_a_valid_cookie(
    plugin: Plugin, stash: StashSimulator
) -> None:
    folder = plugin()
    stash.plugins.reload()
    stash.add_scene()
    connection = stash.save_scene(1, title="x").hooks[0].stdin["server_connection"]
    assert (connection["Scheme"], connection["Host"], connection["Port"]) == (
        "http",
        "0.0.0.0",
        stash.server.port,
    )
    assert connection["PluginDir"] == str(folder)
    assert connection["SessionCookie"]["Name"] == "session"
    assert stash.sessions.read(connection["SessionCookie"]["Value"]) is not None


@pytest.mark.parametrize(
    ("script", "output", "error"),
    [
        ("print('{\"output\": [1, null]}')", [1, None], None),
        ('print(\'{"output": 1, "error": "no"}\')', 1, "no"),
        ("print('plain')", "plain\n", None),
        ("pass", "", None),
        ("print('{} {}')", "{} {}\n", None),
        ("print('{\"error\": 5}')", '{"error": 5}\n', None),
        ("import sys; sys.exit(3)", "", "exit status 3"),
        ('import sys; print(\'{"error": "mine"}\'); sys.exit(3)', None, "mine"),
    ],
)
def test_stdout_and_exit_code_make_the_result(
    plugin: Plugin, stash: StashSimulator, script: str, output: Any, error: str | None
) -> None:
    plugin(script)
    stash.plugins.reload()
    stash.add_scene()
    (run,) = stash.save_scene(1, title="x").hooks
    expected = output.replace("\n", os.linesep) if isinstance(output, str) else output
    assert (run.output, run.error) == (expected, error)
    assert stash.scene(1).title == "x"


def test_a_detached_child_that_holds_stdout_blocks_the_save(
    plugin: Plugin, stash: StashSimulator
) -> None:
    child = "import time; time.sleep(0.7)"
    plugin(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n", "Holder"
    )
    stash.plugins.reload()
    stash.add_scene()
    result = stash.save_scene(1, title="x")
    assert result.blocked_seconds > 0.65
    assert result.hooks[0].seconds > 0.65


def test_a_detached_child_with_handles_of_its_own_does_not_block(
    plugin: Plugin, stash: StashSimulator, tmp_path: Path
) -> None:
    child = until_released(tmp_path)
    plugin(
        "import subprocess, sys\nnull = subprocess.DEVNULL\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], stdin=null, stdout=null,"
        " stderr=null)\n"
    )
    stash.plugins.reload()
    stash.add_scene()
    stash.save_scene(1, title="x")
    assert release(tmp_path), "the save is over while the child lives"


@pytest.mark.skipif(os.name == "nt", reason="pipes cannot be waited for there")
def test_a_child_that_holds_stderr_does_not_block_and_loses_its_reader(
    plugin: Plugin, stash: StashSimulator, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    child = (
        f"{until_released(tmp_path)}import os, sys\n"
        "try:\n    os.write(2, b'late')\n"
        "except BrokenPipeError:\n    open(sys.argv[1] + '.part', 'w').close()\n"
        "    os.rename(sys.argv[1] + '.part', sys.argv[1])\n"
    )
    plugin(
        "import subprocess, sys\nnull = subprocess.DEVNULL\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, {str(note)!r}], stdin=null,"
        " stdout=null)\n"
    )
    stash.plugins.reload()
    stash.add_scene()
    stash.save_scene(1, title="x")
    assert release(tmp_path), "the save is over while the child lives"
    assert _soon(note.exists)


def test_a_plugin_that_closes_stdout_early_is_still_waited_for(
    plugin: Plugin, stash: StashSimulator
) -> None:
    plugin("import os, time\nos.close(1)\ntime.sleep(0.4)\nos._exit(0)\n")
    stash.plugins.reload()
    stash.add_scene()
    assert stash.save_scene(1, title="x").blocked_seconds > 0.35


def test_a_plugin_may_ignore_a_huge_input(plugin: Plugin, stash: StashSimulator) -> None:
    plugin("print('{\"output\": 1}')")
    stash.plugins.reload()
    stash.add_scene()
    (run,) = stash.save_scene(1, details="x" * 2_000_000).hooks
    assert (run.output, run.error) == (1, None)


# --- the log


def test_the_log_protocol(plugin: Plugin, stash: StashSimulator) -> None:
    lines = (
        b"\x01i\x02 info \n"
        b"\x01t\x02trace\n\x01d\x02debug\n\x01w\x02warn\n\x01e\x02err\n"
        b"\x01p\x020.25\n\x01p\x02half\n"
        b"plain\n\n\x01x\x02odd\n\x01i\x02\nlast"
    )
    plugin(f"import os\nos.write(2, {lines!r})\n")
    stash.plugins.reload()
    stash.add_scene()
    (run,) = stash.save_scene(1, title="x").hooks
    assert run.progress == [0.25]
    assert [(line.level, line.text) for line in run.log[:4]] == [
        ("info", "info"), ("trace", "trace"), ("debug", "debug"), ("warning", "warn"),
    ]  # fmt: skip
    assert run.log[4].text == "err"
    assert run.log[5].text.startswith("Error parsing progress value 'half'")
    assert [(line.level, line.text) for line in run.log[6:]] == [
        ("error", "plain"), ("error", "\x01x\x02odd"), ("error", "\x01i\x02"), ("error", "last"),
    ]  # fmt: skip
    assert stash.plugin_log == run.log


@pytest.mark.parametrize(
    ("err_log", "levels"), [("debug", ["debug"]), ("none", []), ("odd", ["error"])]
)
def test_unmarked_lines_are_logged_at_the_manifests_level(
    plugin: Plugin, stash: StashSimulator, err_log: str, levels: list[str]
) -> None:
    plugin("import sys\nsys.stderr.write('plain\\n')\n", extra=f"errLog: {err_log}\n")
    stash.plugins.reload()
    stash.add_scene()
    assert [line.level for line in stash.save_scene(1, title="x").hooks[0].log] == levels


@pytest.mark.parametrize(("length", "written"), [(65_535, 4), (65_536, 1)])
def test_a_line_of_64_kib_closes_the_pipe(
    plugin: Plugin, stash: StashSimulator, length: int, written: int
) -> None:
    """Later lines of any length are lost; the writer may see an error."""
    plugin(
        "import os\n"
        "os.write(2, b'first\\n')\n"
        f"rest = b'x' * {length} + b'\\n'\n"
        "try:\n"
        "    while rest:\n        rest = rest[os.write(2, rest):]\n"
        "    for _ in range(2):\n        os.write(2, b'later\\n')\n"
        "except OSError:\n    pass\n"
    )
    stash.plugins.reload()
    stash.add_scene()
    (run,) = stash.save_scene(1, title="x").hooks
    assert len(run.log) == written
    assert run.error is None


# --- the events


def test_a_single_save_sends_the_whole_input(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene(tags=["One"])
    (context,) = contexts(stash.save_scene(1, title="New", tags=["One", "Two"]))
    assert context["id"] == 1
    assert context["type"] == "Scene.Update.Post"
    assert set(context["inputFields"]) == {"id", "title", "tag_ids"}
    assert len(context["input"]) == 24
    assert {key: value for key, value in context["input"].items() if value is not None} == {
        "id": "1", "title": "New", "tag_ids": ["1", "2"],
    }  # fmt: skip


def test_the_sent_fields_come_in_random_order(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene()
    orders = {
        tuple(contexts(stash.save_scene(1, title="x", details="y", date="2020"))[0]["inputFields"])
        for _ in range(6)
    }
    assert len(orders) > 1


def test_a_bulk_edit_runs_one_hook_per_scene_with_the_bulk_input(
    plugin: Plugin, stash: StashSimulator
) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene()
    stash.add_scene()
    stash.add_tag("T")
    result = stash.bulk_save([1, 2], rating100=50, tag_ids={"ids": ["1"], "mode": "ADD"})
    assert [context["id"] for context in contexts(result)] == [1, 2]
    for context in contexts(result):
        assert context["input"] == {
            "ids": ["1", "2"], "rating100": 50, "tag_ids": {"ids": ["1"], "mode": "ADD"},
        }  # fmt: skip
        assert set(context["inputFields"]) == {"ids", "rating100", "tag_ids"}
    assert [stash.scene(id_).tag_ids for id_ in (1, 2)] == [(1,), (1,)]


def test_a_mass_save_sends_the_whole_list_to_each_hook(
    plugin: Plugin, stash: StashSimulator
) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene()
    stash.add_scene()
    first, second = contexts(
        stash.tagger_save([{"id": 1, "title": "a"}, {"id": 2, "date": "2020"}])
    )
    assert first["input"] == second["input"]
    assert [input_["id"] for input_ in first["input"]] == ["1", "2"]
    assert (first["id"], set(first["inputFields"])) == (1, {"id", "title"})
    assert (second["id"], set(second["inputFields"])) == (2, {"id", "date"})


def test_scans_send_null(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    scene, result = stash.scan_create(files=["/data/new.mp4"])
    assert contexts(result) == [{"id": scene.id, "type": "Scene.Create.Post", "input": None}]
    before = scene.updated_at
    assert contexts(stash.scan_update(scene.id)) == [
        {"id": scene.id, "type": "Scene.Update.Post", "input": None}
    ]
    assert stash.scene(scene.id).updated_at == before


def test_identify_lists_the_fields_that_are_not_null(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene()
    (context,) = contexts(stash.identify(1, title="Known", groups=["G"]))
    assert set(context["inputFields"]) == {"title", "movies"}
    assert context["input"]["groups"] is None
    assert stash.scene(1).title == "Known"


def test_a_destroyed_scene_leaves_its_path(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene(files=[{"path": "/data/x.mp4", "hashes": {"oshash": "92a1"}}])
    (context,) = contexts(stash.destroy_scene(1))
    assert context["input"] == {
        "id": "1", "delete_file": False, "delete_generated": True, "checksum": "", "oshash": "92a1",
        "path": "/data/x.mp4",
    }  # fmt: skip
    assert scene_clean(1, path="/p").input["id"] == ""


def test_renames_fire_that_objects_hook_only(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    scene = stash.add_scene(performers=["P"], studio="S", tags=["T"], groups=["G"])
    (performer,) = contexts(stash.rename_performer("P", "P2"))
    assert performer["type"] == "Performer.Update.Post"
    assert performer["input"]["custom_fields"] == {"full": None, "partial": None, "remove": None}
    (studio,) = contexts(stash.rename_studio("S", "S2"))
    assert studio["input"]["parent_id"] is None
    (tag,) = contexts(stash.rename_tag("T", "T2"))
    assert tag["input"] == {"id": "1", "name": "T2"}
    assert [context["type"] for context in contexts(stash.rename_group("G", "G2"))] == [
        "Group.Update.Post", "Movie.Update.Post",
    ]  # fmt: skip
    assert stash.scene(scene.id) == scene


def test_events_of_merged_tags_and_changes_without_events(
    plugin: Plugin, stash: StashSimulator
) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene(tags=["A", "B"])
    stash.add_scene(files=["/two"])
    stash.graphql('mutation { tagsMerge(input: {source: ["2"], destination: "1"}) { id } }')
    assert stash.scene(1).tag_ids == (1,)
    assert [run.source for run in stash.plugins.runs()] == ["Tag.Merge.Post"]
    assert tags_merge(["2"], "1").to_json()["input"] == {"source": ["2"], "destination": "1"}
    stash.graphql('mutation { sceneMerge(input: {source: ["2"], destination: "1"}) { id } }')
    stash.graphql(
        "mutation { sceneSaveActivity(id: 1, playDuration: 5.0) sceneAddPlay(id: 1) { count } }"
    )
    stash.change_silently(1, title="Auto")
    assert len(stash.plugins.runs()) == 1
    assert [file.path for file in stash.scene(1).files] == ["/two"]


def test_hook_documents_can_be_built_by_hand(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    stash.add_scene()
    (run,) = stash.scan_update(1).hooks
    built = stash.hook_input(scan_update(1))
    assert built["args"] == run.stdin["args"]
    assert set(built["server_connection"]) == set(run.stdin["server_connection"])
    assert encode(built).startswith(b'{"server_connection":{"Scheme":"http"')


# --- order, failures, cancelling


def test_hooks_run_one_after_another_and_not_after_one_that_cannot_start(
    plugin: Plugin, stash: StashSimulator, plugins: Path
) -> None:
    plugin(name="A")
    plugin(name="C")
    stash.plugins.reload()
    stash.add_scene()
    assert [run.plugin for run in stash.save_scene(1, title="x").hooks] == ["A", "C"]
    (plugins / "B.yml").write_text(
        "exec: [no-such-program]\nhooks: [{triggeredBy: [Scene.Update.Post]}]\n", encoding="utf-8"
    )
    stash.plugins.reload()
    assert list(stash.plugins.manifests) == ["A", "B", "C"]
    assert [run.plugin for run in stash.save_scene(1, title="y").hooks] == ["A"]
    assert "error running plugin" in stash.plugin_log[-1].text
    stash.graphql("mutation { setPluginsEnabled(enabledMap: {B: false}) }")
    assert [run.plugin for run in stash.save_scene(1, title="z").hooks] == ["A", "C"]


def test_several_saves_run_their_hooks_at_the_same_time(
    plugin: Plugin, stash: StashSimulator, tmp_path: Path
) -> None:
    plugin(
        "import json, pathlib, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "id_ = json.load(sys.stdin)['args']['hookContext']['id']\n"
        "(folder / f'here-{id_}').touch()\n"
        "end = time.monotonic() + 240\n"
        "while time.monotonic() < end and not (folder / f'here-{3 - id_}').exists():"
        " time.sleep(0.01)\n"
        "print(json.dumps({'output': (folder / f'here-{3 - id_}').exists()}))\n"
    )
    stash.plugins.reload()
    outputs: dict[int, Any] = {}

    def save(id_: int) -> None:
        outputs[id_] = stash.save_scene(id_, title="x").hooks[0].output

    stash.add_scene()
    stash.add_scene()
    threads = [threading.Thread(target=save, args=(id_,)) for id_ in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {1: True, 2: True}


def test_when_a_client_disconnects_the_hook_is_killed_and_later_ones_never_start(
    plugin: Plugin, stash: StashSimulator
) -> None:
    plugin("import time\ntime.sleep(60)\n")
    stash.plugins.reload()
    stash.add_scene()
    stash.add_scene()
    caller = Caller()

    def leave() -> None:
        _soon(lambda: bool(caller.runs))
        caller.cancel()

    leaver = threading.Thread(target=leave)
    leaver.start()
    result = stash.bulk_save([1, 2], title="kept", caller=caller)
    leaver.join()
    assert result.cancelled
    assert [run.source for run in result.hooks] == ["Scene.Update.Post"]
    assert result.hooks[0].error == ("exit status 1" if os.name == "nt" else "signal: killed")
    assert [stash.scene(id_).title for id_ in (1, 2)] == ["kept", "kept"]


def test_hooks_that_trigger_themselves_stop_at_ten(plugin: Plugin, stash: StashSimulator) -> None:
    plugin(
        "import json, sys, urllib.request\n"
        "server = json.load(sys.stdin)['server_connection']\n"
        "query = 'mutation { sceneUpdate(input: {id: 1, title: \"again\"}) { id } }'\n"
        "request = urllib.request.Request(f'http://127.0.0.1:{server[\"Port\"]}/graphql',\n"
        "    json.dumps({'query': query}).encode(), {'Content-Type': 'application/json',\n"
        "    'Cookie': 'session=' + server['SessionCookie']['Value']})\n"
        "print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).status)\n",
        events="Scene.Update.Post",
    )
    stash.plugins.reload()
    stash.add_scene()
    stash.save_scene(1, title="x")
    assert len(stash.plugins.runs()) == 10


# --- tasks


def test_a_tasks_arguments_and_defaults(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    job = stash.run_task("Echo", "Go", {"times": 7, "more": [1]})
    assert job.wait(240)
    assert job.run is not None
    assert job.run.output["args"] == {"mode": "go", "times": 7, "dry": "true", "more": [1]}
    assert job.status == "FINISHED"
    bare = stash.run_task("Echo", None, {"a": 1})
    assert bare.wait(240)
    assert bare.run is not None
    assert bare.run.output["args"] == {"a": 1}


def test_how_jobs_end(plugin: Plugin, stash: StashSimulator, plugins: Path) -> None:
    plugin("import sys\nsys.exit(4)\n")
    (plugins / "Bad.yml").write_text("exec: [no-such-program]\n", encoding="utf-8")
    stash.plugins.reload()
    failing, unknown, no_task, unstartable = jobs = [
        stash.run_task("Echo", "Go"), stash.run_task("Nobody"), stash.run_task("Echo", "Nothing"),
        stash.run_task("Bad"),
    ]  # fmt: skip
    assert all(job.wait(240) for job in jobs)
    assert (failing.status, failing.error) == ("FINISHED", None)
    assert unknown.status == no_task.status == unstartable.status == "FAILED"
    assert (unknown.error or "").startswith("Error creating plugin task:")
    assert any(line.level == "error" and "exit status 4" in line.text for line in stash.plugin_log)


def test_one_job_at_a_time_with_progress_and_stop(
    plugin: Plugin, stash: StashSimulator, tmp_path: Path
) -> None:
    plugin("import os, time\nos.write(2, b'\\x01p\\x020.5\\n')\ntime.sleep(60)\n")
    stash.plugins.reload()
    query = "{ jobQueue { id status progress } }"
    assert stash.graphql(query) == {"jobQueue": None}
    running, waiting = stash.run_task("Echo", "Go"), stash.run_task("Echo", "Go")
    assert _soon(lambda: running.progress == [0.5])
    assert stash.graphql(query)["jobQueue"] == [
        {"id": "1", "status": "RUNNING", "progress": 0.5},
        {"id": "2", "status": "READY", "progress": None},
    ]  # fmt: skip
    stash.graphql('mutation { stopJob(job_id: "2") }')
    assert (waiting.status, waiting.run) == ("CANCELLED", None)
    running.stop()
    assert running.wait(240)
    assert running.status == "CANCELLED"
    assert running.run is not None
    assert running.run.wait(240)
    assert running.run.error == ("exit status 1" if os.name == "nt" else "signal: killed")
    found = stash.graphql(
        "{ findJob(input: {id: 1}) { status } missing: findJob(input: {id: 9}) { id } }"
    )
    assert found == {"findJob": {"status": "CANCELLED"}, "missing": None}


def test_a_stopped_job_does_not_wait_for_a_child_that_holds_stdout(
    plugin: Plugin, stash: StashSimulator, tmp_path: Path
) -> None:
    child = until_released(tmp_path)
    plugin(
        "import subprocess, sys, time, os\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "os.write(2, b'\\x01p\\x020.1\\n')\ntime.sleep(60)\n"
    )
    stash.plugins.reload()
    job = stash.run_task("Echo", "Go")
    assert _soon(lambda: bool(job.progress))
    job.stop()
    assert job.wait(240)
    assert job.run is not None
    assert not job.run.ended
    assert release(tmp_path), "the job is over while the child lives"
    assert job.run.wait(240)


def test_only_ten_finished_jobs_are_remembered(stash: StashSimulator) -> None:
    jobs = [stash.jobs.submit("nothing", lambda job: None) for _ in range(11)]
    assert stash.jobs.wait_idle(240)
    assert stash.jobs.find(jobs[0].id) is None
    assert stash.jobs.find(jobs[1].id) is jobs[1]


def test_an_operation_returns_at_once(plugin: Plugin, stash: StashSimulator) -> None:
    plugin()
    stash.plugins.reload()
    output = stash.graphql(
        'mutation { runPluginOperation(plugin_id: "Echo", args: {a: [1, null]}) }'
    )
    assert output["runPluginOperation"]["args"] == {"a": [1, None]}
    with pytest.raises(Exception, match="Internal system error"):
        stash.graphql('mutation { runPluginOperation(plugin_id: "Nobody") }')


# --- manifests


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: X\nid: x\n", "unknown key 'id'"),
        ("name: X\nname: Y\n", "duplicate key 'name'"),
        ("name: [X]\n", "name must be a text"),
        ("exec: python3\n", "exec must be a list"),
        ("settings:\n  a: {default: 1}\n", "unknown key 'default'"),
        ("settings:\n  a: {type: FLOAT}\n", "must be one of"),
        ("tasks:\n  - {name: T, defaultArgs: {a: [1]}}\n", "defaultArgs.a must be a text"),
        ("hooks:\n  - {name: H, triggeredBy: Scene.Update.Post}\n", "triggeredBy must be a list"),
        ("interface: grpc\n", "interface must be one of"),
        ("", "is empty"),
        ("a: b: c\n", "not valid YAML"),
    ],
)
def test_an_invalid_manifest_is_rejected(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "X.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=complaint):
        load_manifest(path)


def test_a_manifest_is_read_as_stash_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "My.Plugin.yml"
    path.write_text(
        "version: 1.10\nexec: ['{pluginDir}/first', '{pluginDir}/a']\n"
        "settings: {b: {}, a: {type: BOOLEAN, displayName: A}}\n"
        "tasks: [{name: T, execArgs: ['--at={pluginDir}'], defaultArgs: {on: true, n: 5, none:"
        " null}}]\n",
        encoding="utf-8",
    )
    manifest = load_manifest(path)
    assert (manifest.id, manifest.name, manifest.interface) == ("My.Plugin", "My.Plugin", "raw")
    assert manifest.version == "1.10"
    assert manifest.command(manifest.tasks[0]) == [
        "{pluginDir}/first", f"{manifest.folder}/a", f"--at={manifest.folder}",
    ]  # fmt: skip
    assert manifest.tasks[0].default_args == {"on": "true", "n": "5", "none": ""}
    assert [(setting.key, setting.type) for setting in manifest.settings] == [
        ("b", "STRING"), ("a", "BOOLEAN"),
    ]  # fmt: skip


def test_every_yml_below_the_plugins_folder_is_a_plugin(plugin: Plugin, plugins: Path) -> None:
    folder = plugin()
    (folder / "deep").mkdir()
    (folder / "deep" / "data.yml").write_text("some: data\n", encoding="utf-8")
    (folder / "deep" / "echo.yml").write_text("name: twin\n", encoding="utf-8")
    (folder / "fine.yaml").write_text("some: data\n", encoding="utf-8")
    said: list[str] = []
    assert list(load_plugins(plugins, said.append)) == ["Echo"]
    assert len(said) == 2
    assert "unknown key 'some'" in said[0]
    assert "already exists" in said[1]


def _soon(true: Callable[[], bool], seconds: float = 240.0) -> bool:
    """Return whether the condition becomes true in time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if true():
            return True
        pause.wait(0.01)
    return False
