"""Console output: results on stdout, progress and remarks on stderr, one line each."""

from __future__ import annotations

import io
import json

import pytest

from tasks.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_results_go_to_stdout_and_remarks_to_stderr() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    console = Console(stdout, stderr)
    console.print_lines("one", "two")
    console.notify("warning", "three")
    assert stdout.getvalue() == "one\ntwo\n"
    assert stderr.getvalue() == "warning: three\n"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b"])
def test_a_line_stays_one_line(text: str) -> None:
    stdout = io.StringIO()
    Console(stdout, io.StringIO()).print_lines(text)
    assert len(stdout.getvalue().splitlines()) == 1


def test_no_text_controls_the_terminal() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    console = Console(stdout, stderr)
    console.print_lines("  a\x1b[31m\u202egpj.mp4")
    console.notify("warning", "a\x1b[31m\nb")
    assert stdout.getvalue() == "  a\\x1b[31m\\u202egpj.mp4\n"
    assert stderr.getvalue() == "warning: a\\x1b[31m b\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_character_can_be_shown_on_a_terminal(encoding: str) -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding=encoding)
    Console(stdout, io.StringIO()).print_lines("日本語 é \udc80 ☃")
    stdout.flush()
    assert raw.getvalue().endswith(b"\n")


def test_a_document_is_ascii_whatever_it_holds() -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding="ascii")
    Console(stdout, io.StringIO()).print({"title": "日本語 \udc80"})
    stdout.flush()
    assert json.loads(raw.getvalue()) == {"title": "日本語 \udc80"}


def test_progress_is_one_line_that_changes_on_a_terminal() -> None:
    stdout, stderr = io.StringIO(), Terminal()
    console = Console(stdout, stderr)
    for done in range(4):
        console.progress(done, 3 - done)
    assert stdout.getvalue() == ""
    assert stderr.getvalue().count("\n") == 1
    assert stderr.getvalue().endswith("3 of 3 \n")


def test_progress_is_not_shown_without_a_terminal() -> None:
    stderr = io.StringIO()
    Console(io.StringIO(), stderr).progress(1, 2)
    assert stderr.getvalue() == ""
