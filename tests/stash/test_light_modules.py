"""Tests of the modules that a hook loads: connection, logs, plugin input, settings."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stash.connection import StashConnection, load_connection, save_connection
from stash.deferred_log import defer_log_line, take_deferred_lines
from stash.log import log, progress
from stash.plugin_input import InputError, read_input, write_response
from stash.settings import add_environment, carried_settings, merge_settings
from tests.simulators.stash.events import server_connection
from tests.simulators.stash.pluginlog import decode_line

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")

# --- connection


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:9999"),
        ("", "http://127.0.0.1:9999"),
        ("::", "http://[::1]:9999"),
        ("[::]", "http://[::1]:9999"),
        ("::1", "http://[::1]:9999"),
        ("[::1]", "http://[::1]:9999"),
        ("localhost", "http://localhost:9999"),
        ("192.168.1.5", "http://192.168.1.5:9999"),
        ("fd00::5", "http://[fd00::5]:9999"),
        ("stash.lan", "http://stash.lan:9999"),
    ],
)
def test_the_address_to_connect_to_follows_from_the_one_stash_listens_on(
    host: str, url: str
) -> None:
    assert StashConnection(server_connection(host=host, port=9999)).url == url


def test_missing_parts_have_stashs_defaults() -> None:
    assert StashConnection({}).url == "http://127.0.0.1:9999"
    assert (
        StashConnection({"Scheme": "https", "Port": 443, "Host": None}).url
        == "https://127.0.0.1:443"
    )


@pytest.mark.parametrize(
    "cookie", [None, {}, {"Name": "session"}, {"Name": "session", "Value": ""}, "text", 5]
)
def test_a_connection_without_a_usable_cookie_has_none(cookie: object) -> None:
    assert StashConnection({"SessionCookie": cookie}).cookie is None


def test_the_connection_is_kept_whole_and_private(tmp_path: Path) -> None:
    server = server_connection(port=1234, cookie="the-cookie")
    previous = os.umask(0)
    try:
        save_connection(str(tmp_path), StashConnection(server, {"plex_url": "http://x"}))
    finally:
        os.umask(previous)

    loaded = load_connection(str(tmp_path))
    assert loaded is not None
    assert loaded.cookie == ("session", "the-cookie")
    assert (loaded.url, loaded.settings) == ("http://127.0.0.1:1234", {"plex_url": "http://x"})
    assert os.listdir(tmp_path) == ["connection.json"]
    if os.name == "posix":
        assert (tmp_path / "connection.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"server_connection": 5}', '{"settings": {}}', "\x00" * 50]
)
def test_a_broken_connection_file_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "connection.json").write_text(content)

    assert load_connection(str(tmp_path)) is None


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_a_link_in_place_of_the_connection_file_is_not_followed(tmp_path: Path) -> None:
    """Whoever placed it could lead the token to an address of his."""
    elsewhere, data_dir = tmp_path / "elsewhere", tmp_path / "data"
    for folder in (elsewhere, data_dir):
        folder.mkdir()
    save_connection(str(elsewhere), StashConnection(server_connection(host="stranger.lan")))
    (data_dir / "connection.json").symlink_to(elsewhere / "connection.json")

    assert load_connection(str(data_dir)) is None
    assert load_connection(str(elsewhere)) is not None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_connection_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    save_connection(str(tmp_path), StashConnection(server_connection(host="stranger.lan")))
    assert load_connection(str(tmp_path)) is not None
    os.chown(tmp_path / "connection.json", 12345, 12345)

    assert load_connection(str(tmp_path)) is None


def test_readers_see_one_connection_or_the_other_never_half_of_one(tmp_path: Path) -> None:
    folder = str(tmp_path)
    save_connection(folder, StashConnection(server_connection(cookie="first")))
    stop = threading.Event()
    seen: set[object] = set()

    def read() -> None:
        while not stop.is_set():
            found = load_connection(folder)
            seen.add(found.cookie[1][:1] if found is not None and found.cookie else None)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        save_connection(folder, StashConnection(server_connection(cookie="ab"[number % 2] * 3000)))
    stop.set()
    reader.join()

    assert None not in seen
    assert seen <= {"f", "a", "b"}


# --- deferred log lines


def test_deferred_lines_are_taken_once_and_in_order(tmp_path: Path) -> None:
    for number in range(3):
        defer_log_line(str(tmp_path), "warning", f"line {number}\nwith a break")

    assert list(take_deferred_lines(str(tmp_path))) == [
        ("warning", f"line {number}\nwith a break") for number in range(3)
    ]
    assert list(take_deferred_lines(str(tmp_path))) == []
    assert os.listdir(tmp_path) == []


def test_each_line_goes_to_only_one_of_many_processes(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from stash.deferred_log import take_deferred_lines;"
        "print(len(list(take_deferred_lines(sys.argv[2]))))"
    )
    for number in range(50):
        defer_log_line(str(tmp_path), "info", str(number))

    def take(_: int) -> int:
        command = [sys.executable, "-c", script, str(ROOT), str(tmp_path)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(6))) == 50


def test_lines_that_are_never_taken_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(2_000):
        defer_log_line(str(tmp_path), "error", f"{number} " + "x" * 200)

    assert (tmp_path / "notices.jsonl").stat().st_size < 40_000
    assert next(iter(take_deferred_lines(str(tmp_path))))[1].startswith("0 ")


def test_broken_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "notices.jsonl").write_text(
        '["info", "one"]\n{broken\n5\n["too", "many", "words"]\n["info", "two"]\n'
    )

    assert list(take_deferred_lines(str(tmp_path))) == [("info", "one"), ("info", "two")]


def test_invalid_bytes_do_not_break_the_hook(tmp_path: Path) -> None:
    (tmp_path / "notices.jsonl").write_bytes(b'["info", "one"]\n\xff\xfe\n["info", "two"]\n')

    assert list(take_deferred_lines(str(tmp_path)))[:1] == [("info", "one")]


@posix
def test_an_unwritable_folder_loses_only_the_line(tmp_path: Path) -> None:
    defer_log_line(str(tmp_path / "missing"), "info", "lost")
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "notices.jsonl").symlink_to(target)

    defer_log_line(str(tmp_path), "info", "lost too")

    assert target.read_text() == "keep"


# --- the log protocol


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warning", "error"])
def test_stash_decodes_a_line_with_its_level(level: str) -> None:
    stream = io.StringIO()

    log(level, "Hello\nworld  \x01e\x02 and so on", stream=stream)

    (line,) = stream.getvalue().splitlines()
    decoded_level, text = decode_line(line.encode(), "error")
    assert decoded_level == level
    assert text.startswith("Hello world")


@pytest.mark.parametrize("text", ["", "   ", "\n", "x"])
def test_short_texts_are_still_lines_of_their_level(text: str) -> None:
    stream = io.StringIO()
    log("info", text, stream=stream)

    assert decode_line(stream.getvalue().rstrip("\n").encode(), "error")[0] == "info"


@pytest.mark.parametrize("text", ["x" * 200_000, "ä" * 200_000, "😀" * 100_000])
def test_no_line_is_so_long_that_stash_stops_reading(text: str) -> None:
    stream = io.StringIO()
    log("error", text, stream=stream)

    assert stream.getvalue().count("\n") == 1
    assert len(stream.getvalue().encode()) < 65_000


@pytest.mark.parametrize(
    ("fraction", "said"), [(0, 0.0), (0.5, 0.5), (1, 1.0), (-3, 0.0), (7, 1.0), (1 / 3, 0.3333)]
)
def test_progress_is_a_number_from_0_to_1(fraction: float, said: float) -> None:
    stream = io.StringIO()
    progress(fraction, stream=stream)

    level, text = decode_line(stream.getvalue().rstrip("\n").encode(), "error")
    assert (level, float(text)) == ("progress", said)


def test_a_closed_stderr_raises_nothing() -> None:
    stream = io.StringIO()
    stream.close()

    log("info", "stderr is closed", stream=stream)
    progress(0.5, stream=stream)


def test_characters_missing_in_the_terminals_encoding_raise_nothing() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    log("info", "Ünïcödé 😀", stream=stream)


def test_a_lone_surrogate_raises_nothing() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")

    log("info", "from a file name: \udcff", stream=stream)


# --- input and response


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \n ",
        b"hello",
        b"[1]",
        b"3",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"args": 5}',
        b'{"args": [1]}',
        b"{" * 9,
    ],
)
def test_input_that_stash_does_not_send_is_refused_in_one_line(raw: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_input(io.BytesIO(raw))

    assert "\n" not in str(caught.value)


def test_input_nested_without_end_is_refused() -> None:
    with pytest.raises(InputError):
        read_input(io.BytesIO(b'{"args": {"a": ' + b"[" * 200_000))


@pytest.mark.parametrize(
    "raw", [b"{}", b'{"args": null}', b'{"args": {}}', b'\n {"server_connection": {}}\n']
)
def test_small_input_is_accepted(raw: bytes) -> None:
    assert isinstance(read_input(io.BytesIO(raw)), dict)


def test_the_response_is_one_ascii_line_of_json() -> None:
    stream = io.StringIO()
    write_response(output={"ä": [1, None]}, stream=stream)
    write_response(error="two\nlines ü", stream=stream)

    assert stream.getvalue().isascii()
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first, second) == ({"output": {"ä": [1, None]}}, {"error": "two lines ü"})


def test_an_error_can_neither_recolour_the_log_nor_turn_its_direction() -> None:
    """Stash logs it as it is; a file name in it may come from anyone."""
    stream = io.StringIO()
    write_response(error="no file \x1b[31ma\u202egpj.\x07", stream=stream)

    said = json.loads(stream.getvalue())["error"]
    assert said == "no file \\x1b[31ma\\u202egpj.\\x07"


# --- settings


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        ({"args": {"config": {"plex_url": "a"}}}, {"plex_url": "a"}),
        ({"pluginSettings": {"PlexSync": {"plex_url": "b"}}}, {"plex_url": "b"}),
        ({"pluginSettings": {"plex_url": "c"}}, {"plex_url": "c"}),
        ({"server_connection": {"plex_url": "d", "Scheme": "http", "Port": 9}}, {"plex_url": "d"}),
        (
            {
                "server_connection": {"plex_url": "d", "plex_token": "t"},
                "pluginSettings": {"PlexSync": {"plex_url": "b", "enabled": False}},
                "args": {"config": {"plex_url": "a", "plex_token": "  "}},
            },
            {"plex_url": "a", "plex_token": "t", "enabled": False},
        ),
        ({"server_connection": None, "pluginSettings": [], "args": {"config": "text"}}, {}),
    ],
)
def test_settings_are_found_anywhere_in_an_input(
    given: dict[str, Any], found: dict[str, Any]
) -> None:
    assert carried_settings(given) == found


def test_blank_values_override_nothing() -> None:
    assert merge_settings({"a": 1, "b": "x"}, {"a": None, "b": "  "}, {"a": ""}) == {
        "a": 1,
        "b": "x",
    }
    assert merge_settings({"a": True}, {"a": False}) == {"a": False}


@pytest.mark.parametrize(
    ("settings", "environment", "result"),
    [
        ({}, {"PLEX_URL": "u", "PLEX_TOKEN": "t"}, {"plex_url": "u", "plex_token": "t"}),
        ({"plex_url": "mine"}, {"PLEX_URL": "u"}, {"plex_url": "mine"}),
        ({"plexHost": "old"}, {"PLEX_URL": "u"}, {"plexHost": "old"}),
        ({}, {"PLEX_URL": "  "}, {}),
    ],
)
def test_the_environment_is_used_where_stash_has_no_value(
    settings: dict[str, Any], environment: dict[str, str], result: dict[str, Any]
) -> None:
    assert add_environment(settings, environment) == result


def test_these_modules_do_not_load_the_workers_libraries() -> None:
    script = (
        "import sys; import PlexSync; PlexSync.host_queue_package();"
        "import stash.connection, stash.log, stash.deferred_log, stash.plugin_input;"
        "import stash.settings;"
        "heavy = {'requests', 'pydantic', 'plexapi', 'ssl', 'asyncio', 'urllib3', 'typing'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "[]"
