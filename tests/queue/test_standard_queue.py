"""Tests that our `queue` provides the standard `queue` unchanged, whichever is imported first."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.queue.support import ROOT, run_python

#: First lines of a program, after which `queue` is both the standard module and our package.
OURS_FIRST = "import queue\nassert queue.__file__.startswith({root!r}), queue.__file__\n"
STANDARD_FIRST = (
    "import sys\n"
    "here, sys.path[0] = sys.path[0], ''\n"
    "sys.path.remove('')\n"
    "import queue\n"
    "assert not queue.__file__.startswith({root!r}), queue.__file__\n"
    "sys.path.insert(0, {root!r})\n"
    "import PlexSync\n"
    "PlexSync.host_queue_package()\n"
)
CALLED_FIRST = "import PlexSync\nPlexSync.host_queue_package()\nimport queue\n"
USED_AS_STANDARD_FIRST = (
    "import logging.handlers, concurrent.futures.thread, urllib3\nimport queue\n"
)
BEGINNINGS = {
    "ours first": OURS_FIRST,
    "standard first": STANDARD_FIRST,
    "entry first": CALLED_FIRST,
    "users of the standard one first": USED_AS_STANDARD_FIRST,
}
every_beginning = pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())

SAME_OBJECTS = """
import _queue, importlib.util, os, sys
import queue
path = os.path.join(os.path.dirname(os.__file__), "queue.py")
spec = importlib.util.spec_from_file_location("pristine", path)
pristine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pristine)
assert queue.Empty is _queue.Empty is pristine.Empty
assert queue.SimpleQueue is _queue.SimpleQueue is pristine.SimpleQueue
assert set(queue.__all__) == set(pristine.__all__)
for name in pristine.__all__:
    theirs = getattr(queue, name)
    assert name in dir(queue), name
    assert theirs.__name__ == name
    assert theirs.__module__ in ("queue", "_queue"), theirs.__module__
    assert getattr(queue, name) is theirs
    code = getattr(theirs, "__init__", None)
    if hasattr(code, "__code__"):
        assert os.path.samefile(code.__code__.co_filename, path), code.__code__.co_filename
everything = {}
exec("from queue import *", everything)
for name in pristine.__all__:
    assert everything[name] is getattr(queue, name)
"""

OURS_WORK = """
from queue.operations import enqueue, get_pending
from queue.manager import QueueManager
import tempfile
with tempfile.TemporaryDirectory() as folder:
    manager = QueueManager(folder)
    enqueue(manager.get_queue(), 7, "metadata", {"title": "x"})
    assert get_pending(manager.get_queue())["scene_id"] == 7
    manager.shutdown()
"""

HELD_BY_OTHERS = """
import concurrent.futures.thread, logging.handlers, multiprocessing.queues
import queue, urllib3.connectionpool
held = {
    "concurrent.futures": concurrent.futures.thread.queue,
    "logging.handlers": logging.handlers.queue,
    "urllib3": urllib3.connectionpool.queue,
}
for library, module in held.items():
    for name in queue.__all__:
        assert getattr(module, name) is getattr(queue, name), (library, name)
assert multiprocessing.queues.Empty is queue.Empty
assert multiprocessing.queues.Full is queue.Full
assert issubclass(urllib3.connectionpool.HTTPConnectionPool.QueueCls, queue.LifoQueue)
for there in (queue, logging.handlers.queue):
    try:
        there.Queue().get_nowait()
    except queue.Empty:
        pass
    full = there.Queue(1)
    full.put(1)
    try:
        full.put_nowait(2)
    except queue.Full:
        pass
assert isinstance(urllib3.connectionpool.queue.LifoQueue(), queue.Queue)
"""

OTHERS_WORK = """
import concurrent.futures, logging, logging.handlers, queue, tempfile, threading
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-1, -2])) == [1, 2]
records = queue.Queue()
logger = logging.getLogger("beside")
logger.propagate = False
logger.addHandler(logging.handlers.QueueHandler(records))
seen = []
class Seen(logging.Handler):
    def emit(self, record):
        seen.append(record.getMessage())
listener = logging.handlers.QueueListener(records, Seen())
listener.start()
logger.error("hello %s", "you")
listener.stop()
assert seen == ["hello you"]

import http.server, urllib3, requests, plexapi.server, persistqueue, persistqueue.serializers.json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b'<MediaContainer friendlyName="P" machineIdentifier="m" version="1"/>'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with urllib3.PoolManager() as manager:
        for _ in range(3):
            assert manager.request("GET", url).status == 200
    with requests.Session() as session:
        assert session.get(url, timeout=240).ok
        assert plexapi.server.PlexServer(url, "token", session=session).friendlyName == "P"
    server.shutdown()
    serving.join()
with tempfile.TemporaryDirectory() as folder:
    serializer = persistqueue.serializers.json
    plain = persistqueue.SQLiteAckQueue(folder + "/plain", serializer=serializer)
    plain.put({"a": 1})
    assert plain.get(block=False) == {"a": 1}
    try:
        plain.get(block=False)
    except persistqueue.Empty:
        pass
    plain.close()
    files = persistqueue.Queue(folder + "/files")
    files.put("x")
    assert files.get() == "x"
    files.task_done()
"""

MULTIPROCESSING = """
import sys
{path}
import multiprocessing, queue

def double(number):
    return 2 * number

def answer(questions, answers):
    from queue.models import create_sync_job
    answers.put(create_sync_job(questions.get(timeout=240), "metadata", {{}})["job_key"])

def main():
    context = multiprocessing.get_context("spawn")
    questions, answers = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(questions, answers))
    process.start()
    questions.put(5)
    assert answers.get(timeout=240) == "scene_5"
    process.join()
    assert process.exitcode == 0
    try:
        answers.get_nowait()
    except queue.Empty:
        pass
    with context.Pool(1) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
    with context.Manager() as manager:
        shared = manager.Queue()
        try:
            shared.get_nowait()
        except queue.Empty:
            print("done")

if __name__ == "__main__":
    main()
"""

TINY_TEST = """
import queue, _queue

def test_both_are_there(tmp_path):
    from queue.operations import enqueue, get_stats
    from queue.manager import QueueManager
    import urllib3, concurrent.futures.thread
    assert queue.Empty is _queue.Empty
    assert issubclass(urllib3.connectionpool.HTTPConnectionPool.QueueCls, queue.LifoQueue)
    manager = QueueManager(tmp_path)
    enqueue(manager.get_queue(), 1, "metadata", {})
    manager.shutdown()
    assert get_stats(tmp_path)["pending"] == 1
"""


def program(beginning: str, *parts: str) -> str:
    return beginning.format(root=str(ROOT)) + "".join(parts)


@every_beginning
def test_every_public_name_is_the_standard_librarys_own_object(beginning: str) -> None:
    run_python("-c", program(beginning, SAME_OBJECTS, OURS_WORK))


@every_beginning
def test_our_modules_can_be_imported_before_any_standard_name_is_used(beginning: str) -> None:
    run_python("-c", program(beginning, OURS_WORK, SAME_OBJECTS))


@every_beginning
def test_other_libraries_hold_the_same_classes(beginning: str) -> None:
    run_python("-c", program(beginning, HELD_BY_OTHERS))


@every_beginning
def test_other_libraries_work_beside_our_package(beginning: str) -> None:
    run_python("-W", "error", "-c", program(beginning, OTHERS_WORK, OURS_WORK))


@pytest.mark.parametrize("where", [ROOT, None], ids=["from the root", "from elsewhere"])
def test_multiprocessing_spawns_beside_our_package(where: Path | None, tmp_path: Path) -> None:
    script = tmp_path / "spawning.py"
    script.write_text(
        MULTIPROCESSING.format(path=f"sys.path.insert(0, {str(ROOT)!r})"), encoding="utf-8"
    )
    assert run_python(str(script), cwd=where or tmp_path) == "done\n"


@every_beginning
def test_classes_are_pickled_by_name_and_come_back_as_themselves(beginning: str) -> None:
    code = (
        "import pickle\n"
        "for name in queue.__all__:\n"
        "    thing = getattr(queue, name)\n"
        "    assert pickle.loads(pickle.dumps(thing)) is thing\n"
        "things = [queue.Queue, queue.Full, queue.Empty]\n"
        "print(pickle.dumps(things, protocol=0).hex())\n"
    )
    pickled = run_python("-c", program(beginning, code)).strip()
    load = (
        "import pickle, queue\n"
        f"things = pickle.loads(bytes.fromhex({pickled!r}))\n"
        "print([thing.__name__ for thing in things])\n"
    )
    # -I: a process that can't find our package
    assert run_python("-I", "-c", load) == "['Queue', 'Full', 'Empty']\n"


@pytest.mark.parametrize("threads", [2, 16])
def test_threads_that_first_use_a_name_at_the_same_time_get_the_same_class(threads: int) -> None:
    run_python(
        "-c",
        "import queue, threading\n"
        "assert not any(name == '_standard' for name in vars(queue))\n"
        f"start, seen = threading.Barrier({threads}), []\n"
        "def ask():\n"
        "    start.wait()\n"
        "    seen.append((queue.Queue, queue.Full, queue.LifoQueue))\n"
        f"asking = [threading.Thread(target=ask) for _ in range({threads})]\n"
        "for thread in asking: thread.start()\n"
        "for thread in asking: thread.join()\n"
        f"assert len(seen) == {threads} and len(set(seen)) == 1\n",
    )


@pytest.mark.parametrize("name", ["Nothing", "__nothing__", "shutdown_now"])
@pytest.mark.parametrize(
    "beginning", [OURS_FIRST, STANDARD_FIRST], ids=["ours first", "standard first"]
)
def test_a_name_that_neither_has_is_an_attribute_error(beginning: str, name: str) -> None:
    code = (
        f"assert not hasattr(queue, {name!r})\n"
        "try:\n"
        f"    from queue import {name}\n"
        "except ImportError as error:\n"
        f"    assert {name!r} in str(error) and 'queue' in str(error)\n"
        "else:\n"
        "    raise SystemExit('imported')\n"
    )
    run_python("-c", program(beginning, code))


def test_hosting_our_modules_twice_changes_nothing() -> None:
    again = (
        "before = list(queue.__path__)\n"
        "PlexSync.host_queue_package()\n"
        "assert list(queue.__path__) == before\n"
    )
    run_python("-c", program(STANDARD_FIRST, again, OURS_WORK))
    run_python("-c", program(CALLED_FIRST, again, OURS_WORK))


@pytest.mark.parametrize("inside", [True, False], ids=["from the root", "from elsewhere"])
def test_running_the_entry_as_a_script_finds_both(inside: bool, tmp_path: Path) -> None:
    script = "PlexSync.py" if inside else str(ROOT / "PlexSync.py")
    arguments = (script, "worker", "--data-dir", str(tmp_path), "--idle-timeout", "0")
    folder = ROOT if inside else tmp_path
    # A worker loads all modules. The time scale makes it exit sooner.
    run_python(*arguments, cwd=folder, HOME=str(tmp_path), PLEXSYNC_TIME_SCALE="0.001")
    assert (tmp_path / "queue" / "data.db").is_file()


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """Copy the entry, the packages that the queue needs and one small test to a folder."""
    root = tmp_path / "PlexSync"
    root.mkdir()
    for name in ("PlexSync.py", "conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in ("queue", "common"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    guard = shutil.ignore_patterns("__pycache__", "test_*", "conftest.py")
    shutil.copytree(ROOT / "tests" / "isolation", root / "tests" / "isolation", ignore=guard)
    (root / "tests" / "test_tiny.py").write_text(TINY_TEST, encoding="utf-8")
    return root


@pytest.mark.parametrize("module", [True, False], ids=["python -m pytest", "pytest"])
@pytest.mark.parametrize("inside", [True, False], ids=["from the root", "from elsewhere"])
def test_pytest_finds_both(small_project: Path, module: bool, inside: bool, tmp_path: Path) -> None:
    # Unlike `python -m pytest`, `pytest` does not put the current folder on the path.
    command = (
        ("-m", "pytest")
        if module
        else ("-c", "import sys; sys.path.pop(0); import pytest; sys.exit(pytest.main())")
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = "tests" if inside else str(small_project / "tests")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path / 'inner'}")
    out = run_python(*command, *options, target, cwd=small_project if inside else elsewhere)
    assert "1 passed" in out


@pytest.mark.skipif(
    not Path(sys.executable).with_name("pytest").exists(), reason="no pytest script is installed"
)
def test_the_installed_pytest_script_finds_both(small_project: Path, tmp_path: Path) -> None:
    script = str(Path(sys.executable).with_name("pytest"))
    out = run_python(
        script,
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'inner'}",
        cwd=small_project,
    )
    assert "1 passed" in out


@pytest.mark.parametrize(
    "module",
    ["queue", "queue.table", "queue.inbox", "queue.models", "queue.operations", "queue.timestamps"],
)
def test_the_modules_of_the_hook_load_nothing_heavy(module: str) -> None:
    code = (
        "import sys\n"
        f"import {module}\n"
        "heavy = {'threading', 'typing', 'dataclasses', 'logging', 'asyncio', 'ssl', 'inspect',\n"
        "         'subprocess', 'socket', 'tempfile', 'pickle', 'urllib', 'http',\n"
        "         'persistqueue', 'pydantic', 'requests'}\n"
        "standard = '_standard' in vars(sys.modules['queue'])\n"
        "print(sorted(heavy & sys.modules.keys()), standard, '_queue' in sys.modules)\n"
    )
    # -S: a virtual environment's .pth files may import anything.
    assert run_python("-S", "-c", code) == "[] False False\n"


def test_our_own_names_do_not_load_the_standard_module() -> None:
    code = (
        "import queue.table, queue\n"
        "queue.table, queue.__name__, queue.__path__, hasattr(queue, '__wrapped__')\n"
    )
    assert run_python("-S", "-c", code + "print('_standard' in vars(queue))") == "False\n"
