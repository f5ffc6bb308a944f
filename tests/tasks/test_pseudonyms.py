"""Pseudonyms for paths, titles and names: no private text stays, equal texts stay equal."""

from __future__ import annotations

import pytest

from tasks.report import Pseudonyms

HIDDEN = {
    "a title in quotes": "Scene 7 'Secret' may be any",
    "a title with an apostrophe": 'Scene 7 "It\'s Secret" may be any',
    "a title with both kinds of quotes": "Scene 7 'It\\'s \"Secret\"' may be any",
    "a path": "no Plex item has the file /data/Secret/x.mp4",
    "a path with spaces": "no Plex item has the file /data/very Secret/a film.mp4",
    "a drive": "no Plex item has the file C:\\Secret\\x.mp4",
    "a network share": "no Plex item has the file \\\\nas\\Secret\\x.mp4",
    "after an apostrophe in a sentence": "Plex's item 'Secret' has it",
    "after an apostrophe in another line": (
        "The index of Plex's files holds 3\nScene 7 'Secret' may be any"
    ),
    "after an odd number of quotes": "don't\ncan't\nwon't\nScene 7 'Secret' may be any",
}


@pytest.mark.parametrize("what", HIDDEN)
def test_quoted_texts_and_paths_are_replaced(what: str) -> None:
    assert "Secret" not in Pseudonyms().apply(HIDDEN[what])


@pytest.mark.parametrize(
    "path",
    [
        "/data/it's one Secret.mp4",
        "/data/one; Secret.mp4",
        "/data/one: Secret.mp4",
        '/data/"Secret" one.mp4',
    ],
)
def test_a_known_path_is_replaced_with_any_characters_in_it(path: str) -> None:
    assert "Secret" not in Pseudonyms([path]).apply(
        f"no Plex item has the file {path}; next attempt in 5 s"
    )


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21 06:36:31,515 INFO    Worker started",
        "Scene 1: wrote title, summary",
        "max_retries = 5",
        "Plex is down at http://192.168.1.10:32400: Plex can't be reached (ConnectTimeout)",
        "3 waiting; dead letters: 7 PlexNotFound",
    ],
)
def test_text_that_is_not_private_stays(line: str) -> None:
    assert Pseudonyms(["Some title", "/data/x.mp4"]).apply(line) == line


def test_equal_texts_have_equal_pseudonyms_and_others_differ() -> None:
    pseudonyms = Pseudonyms()
    one, again, other = (pseudonyms.apply(f"'{text}'") for text in ("Secret", "Secret", "Other"))
    assert one == again != other


def test_a_known_text_has_the_same_pseudonym_with_and_without_quotes() -> None:
    applied = Pseudonyms(["Secret Film"]).apply("Secret Film\n'Secret Film'\n/data/Secret Film")
    assert "Secret" not in applied
    assert applied.split("\n")[0] == applied.split("\n")[1].strip("'")


@pytest.mark.parametrize("text", ["", "\n", "'", "''", "'unfinished", '"', "\\", "/", "a/b", "'\\"])
def test_any_text_can_be_replaced(text: str) -> None:
    assert isinstance(Pseudonyms([text]).apply(text), str)
