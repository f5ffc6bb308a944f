"""The worker's log file, its reporter, and its durations."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.env import Timing, timing_from
from common.redaction import Redactor
from stash.deferred_log import take_deferred_lines
from worker.logfile import close_log, open_log
from worker.reporter import Reporter

SECRET = "secret-token-0123456789"


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.add(SECRET)
    return redactor


@pytest.fixture
def log_file(tmp_path: Path, redactor: Redactor) -> Iterator[Path]:
    handler = open_log(str(tmp_path), redactor)
    yield tmp_path / "worker.log"
    close_log(handler)


def test_exceptions_are_logged_without_secrets(log_file: Path) -> None:
    try:
        raise ValueError(
            f"GET /?X-Plex-Token={SECRET}&a=1 failed; cookie session=abcdef0123456789abcdef"
        )
    except ValueError:
        logging.getLogger("plexsync").exception("A job failed with %s", SECRET)

    text = log_file.read_text()
    assert "Traceback" in text
    assert SECRET not in text
    assert "abcdef0123456789abcdef" not in text


def test_other_libraries_are_logged_from_level_warning(log_file: Path) -> None:
    logging.getLogger("urllib3").warning("about %s", SECRET)
    logging.getLogger("urllib3").info("chatter")

    text = log_file.read_text()
    assert "about secr" in text
    assert SECRET not in text
    assert "chatter" not in text


NASTY = "a\x1b[2Jb\u202egpj.mp4\n2026-01-01 00:00:00,000 INFO    Worker started"


def test_a_file_name_can_neither_control_a_terminal_nor_forge_a_line(log_file: Path) -> None:
    logger = logging.getLogger("plexsync")
    logger.info("no Plex item has the file %s", NASTY)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("A job failed")
    lines = log_file.read_text(encoding="utf-8").splitlines()
    assert "Worker started" in lines[0]
    assert lines[0].isprintable()
    assert all(line.isprintable() for line in lines)


def test_a_text_of_megabytes_is_cut_before_it_is_logged(log_file: Path) -> None:
    logger = logging.getLogger("plexsync")
    logger.info("%s", "x" * 5_000_000)
    try:
        raise ValueError("y" * 5_000_000)
    except ValueError:
        logger.exception("A job failed")
    assert len(log_file.read_bytes()) < 40_000


def test_a_message_of_megabytes_is_cut_before_it_is_kept_for_stash(
    tmp_path: Path, redactor: Redactor
) -> None:
    Reporter(str(tmp_path), redactor=redactor).notify_user("error", "x" * 5_000_000)
    ((_, text),) = take_deferred_lines(str(tmp_path))
    assert len(text) < 9_000


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes of POSIX")
def test_it_rotates_and_every_file_is_private(log_file: Path) -> None:
    previous = os.umask(0)
    try:
        logger = logging.getLogger("plexsync")
        for number in range(4_200):
            logger.info("%06d %s", number, "x" * 1_000)
    finally:
        os.umask(previous)

    files = sorted(log_file.parent.glob("worker.log*"))
    assert 2 <= len(files) <= 4
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert sum(file.stat().st_size for file in files) < 4_000_000
    assert "004199" in log_file.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="links need special rights on Windows")
def test_a_planted_link_is_not_followed(tmp_path: Path, redactor: Redactor) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "worker.log").symlink_to(target)

    with pytest.raises(OSError):
        open_log(str(tmp_path), redactor)

    assert target.read_text() == "keep"


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_same_message_is_reported_once_in_ten_minutes(
    tmp_path: Path, redactor: Redactor
) -> None:
    clock = Seconds()
    reporter = Reporter(str(tmp_path), redactor=redactor, clock=clock)
    for _ in range(20):
        reporter.notify_user("error", f"Plex rejects {SECRET}")
        clock.now += 29
    reporter.notify_user("warning", "Something else")

    deferred = list(take_deferred_lines(str(tmp_path)))
    assert [level for level, _ in deferred] == ["error", "warning"]
    assert SECRET not in deferred[0][1]
    clock.now += 600
    reporter.notify_user("error", f"Plex rejects {SECRET}")
    assert len(list(take_deferred_lines(str(tmp_path)))) == 1


def test_durations_come_from_the_environment() -> None:
    assert timing_from({}) == Timing()
    assert Timing().idle_timeout == 900
    assert timing_from({"PLEXSYNC_IDLE_TIMEOUT": "5"}).idle_timeout == 5
    assert timing_from({"PLEXSYNC_IDLE_TIMEOUT": "5"}, idle_timeout=7).idle_timeout == 7
    assert timing_from({"PLEXSYNC_TIME_SCALE": "0.1"}).recovery == pytest.approx(6)
    assert timing_from({"PLEXSYNC_TIME_SCALE": "0.1"}).idle_timeout == 900


@pytest.mark.parametrize("variable", ["PLEXSYNC_IDLE_TIMEOUT", "PLEXSYNC_TIME_SCALE"])
@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_invalid_durations_are_reported_by_name(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        timing_from({variable: value})
