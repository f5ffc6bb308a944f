"""Tests of the rules' grammar: conditions, tags, collections, values, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from validation.config import wrong_rules
from validation.metadata import SyncMetadata
from validation.rules import (
    Rules,
    parse_collections,
    parse_conditions,
    parse_outcome,
    parse_outcomes,
    parse_tag_rules,
)

SCENE = {
    "scene_id": 1, "path": "/data/films/a/clip.mp4", "title": "T", "rating100": 80,
    "studio": "Acme Blue", "parent_studio": "Acme", "performers": ["Ann", "Bob and Co"],
    "tags": ["Beach", "Mood: calm"], "performer_tags": ["Blond"], "organized": True,
    "has_stash_id": True,
    "tag_ancestors": {"Beach": ["Nature", "Place"], "Nature": ["Place"], "Blond": ["Hair"]},
}  # fmt: skip


def scene(**changes: Any) -> SyncMetadata:
    return SyncMetadata.model_validate({**SCENE, **changes})


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ("organized", True),
        ("not organized", False),
        ("ORGANIZED", True),
        ("stash_id", True),
        ("tag Beach", True),
        ("tag beach", True),
        ("tag Bea", False),
        ("tag Bea*", True),
        ('tag "Bea*"', False),
        ("tag Blond", False),
        ("not tag Beach", False),
        ("below Place", True),
        ("below nature", True),
        ("below Beach", False),
        ("below Hair", False),
        ("studio Acme", True),
        ("studio Acme Blue", True),
        ("studio Other", False),
        ("performer Ann", True),
        ('performer "Bob and Co"', True),
        ("performer Ann and organized", True),
        ("performer Ann and not organized", False),
        ("path /data/films", True),
        ("path /data/films/", True),
        ("path /data/film", False),
        ("path \\data\\films", True),
        ('path "/data/films"', True),
        ('performer "A, B => C"', True),
        ('performer Ann "Slim, Jr" Doe', True),
        ("performer A or B", True),
        ("rating >= 80", True),
        ("rating>80", False),
        ("rating = 80", True),
        ("rating <= 79", False),
        ("rating < 81 and rating > 79", True),
        ("not rating >= 80", False),
    ],
)
def test_conditions(condition: str, fits: bool) -> None:
    (parsed,) = parse_conditions(condition)
    others = ['Ann "Slim, Jr" Doe', "A, B => C", "A or B"]
    named = scene(performers=["Ann", "Bob and Co", *others])
    assert parsed.fits(named, performer_tags=False) is fits


def test_a_scene_without_a_rating_or_a_file_meets_no_such_condition() -> None:
    bare = scene(rating100=None, path=None)
    assert not parse_conditions("rating < 50")[0].fits(bare, performer_tags=False)
    assert not parse_conditions("path /")[0].fits(bare, performer_tags=False)


@pytest.mark.parametrize("condition", ["tag Blond", "below Hair"])
def test_performers_tags_count_where_they_are_switched_on(condition: str) -> None:
    (parsed,) = parse_conditions(condition)
    assert parsed.fits(scene(), performer_tags=True)


@pytest.mark.parametrize(
    "wrong",
    ["tag", "tags A", "rating 80", "rating >= 101", "organized now", "performer Bob and Co", "and",
     "not", "path", 'tag "A'],
)  # fmt: skip
def test_a_wrong_condition_is_said(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_conditions(wrong)


@pytest.mark.parametrize(
    "condition",
    ["tag A, B", "not tag A, B", "below A, below B", "studio X, studio Y", "performer A,B",
     "path /a, /b", "tag A => X", "tag A or tag B", "path /a or not organized", 'tag "A", "B"',
     'path "/a", "/b"', 'organized and tag "A", B'],
)  # fmt: skip
def test_a_condition_has_one_name(condition: str) -> None:
    """Else it fits nothing, and scenes that were to be left out are written."""
    with pytest.raises(ValueError, match="must be one name or folder: separate conditions by semi"):
        parse_conditions(condition)


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [("tag Private and", "missing before or after and"),
     ("and organized", "missing before or after and"),
     ("path /data/private*", "must be a whole folder"),
     ("path data/private", "must be a whole path"), ("path *", "must be a whole folder")],
)  # fmt: skip
def test_a_condition_that_nothing_could_meet_is_a_mistake(condition: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_conditions(condition)


@pytest.mark.parametrize(
    ("folder", "path"),
    [("/data/private/*", "/data/private/a.mp4"), ("/data/private/", "/data/private/a.mp4"),
     ("/*", "/data/a.mp4"), (r"D:\Private\*", r"D:\Private\a.mp4"),
     ('"/data/odd*"', "/data/odd*/a.mp4"), (r"\\nas\\x", r"\\nas\\x\\a.mp4")],
)  # fmt: skip
def test_all_in_a_folder_meets_its_condition(folder: str, path: str) -> None:
    (condition,) = parse_conditions(f"path {folder}")
    assert condition.fits(scene(path=path), performer_tags=False)


def test_the_condition_of_a_label_has_one_name() -> None:
    with pytest.raises(ValueError, match="must be one name or folder"):
        parse_outcomes("tag Private, Secret => Hidden")


@pytest.mark.parametrize(
    "condition", ['tag "A" "B"', 'tag "A" or "B"', 'tag "A"*', 'path "/a" "/b"', 'path "/a"/b']
)
def test_double_quotes_stand_around_a_whole_name(condition: str) -> None:
    with pytest.raises(ValueError, match="double quotes stand around one whole name"):
        parse_conditions(condition)
    for parse in (parse_outcomes, parse_tag_rules):
        with pytest.raises(ValueError, match="double quotes stand around one whole name"):
            parse('"A" "B" => genres' if parse is parse_tag_rules else 'organized => "A" "B"')


def test_entries_are_separated_by_semicolons_or_lines_outside_of_quotes() -> None:
    assert len(parse_conditions('organized; tag "A; B"\nstash_id;;')) == 3
    assert parse_conditions(" ; ") == ()


def test_the_first_tag_rule_that_fits_decides() -> None:
    rules = Rules(
        tags=parse_tag_rules(
            'Mood* => labels; below Place => collections, labels; above Beach => none; "X, Y",'
            " Blond => none"
        )
    )
    ancestors = scene().tag_ancestors
    targets = {
        tag: set(rules.targets_of(tag, ancestors))
        for tag in ("mood: calm", "Beach", "Nature", "Place", "Blond", "x, y", "Other")
    }
    assert targets == {
        "mood: calm": {"labels"},
        "Beach": {"collections", "labels"},
        "Nature": {"collections", "labels"},
        "Place": set(),
        "Blond": set(),
        "x, y": set(),
        "Other": {"genres"},
    }


def test_only_these_tags() -> None:
    rules = Rules(tags=parse_tag_rules("A, B* => genres; * => none"))
    kept = [tag for tag in ("a", "Bc", "C") if rules.targets_of(tag, {})]
    assert kept == ["a", "Bc"]


@pytest.mark.parametrize("wrong", ["A", "A =>", "=> genres", "A => genre", "A => none, genres"])
def test_a_wrong_tag_rule_is_said(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_tag_rules(wrong)


def test_collections_and_their_prefixes() -> None:
    assert parse_collections('studio => Studio:; groups, Performers; rating => "5; or"') == {
        "studio": "Studio:",
        "groups": "",
        "performers": "",
        "rating": "5; or",
    }
    with pytest.raises(ValueError, match="'studios' is unknown; there are studio, parent_studio"):
        parse_collections("studios")


def test_the_content_rating_is_the_first_that_fits_and_labels_are_all_that_fit() -> None:
    rules = Rules(
        content_rating=parse_outcome("tag Other => G; studio Acme* => NC-17; XXX"),
        labels=parse_outcomes("Stash; tag Beach => Sunny; tag Other => No"),
    )
    assert rules.content_rating_of(scene()) == "NC-17"
    assert rules.content_rating_of(scene(studio="", parent_studio="")) == "XXX"
    assert rules.labels_of(scene()) == ("Stash", "Sunny")
    assert Rules().content_rating_of(scene()) == ""


def test_several_labels_may_follow_a_condition_but_only_one_content_rating() -> None:
    """As one label, "Hidden, Kids" would hide nothing."""
    rules = Rules(labels=parse_outcomes('Stash, Home; tag Beach => Hidden, "A, B"'))
    assert rules.labels_of(scene()) == ("Stash", "Home", "Hidden", "A, B")
    assert parse_outcome('tag Beach => "R, 18"; XXX')[0].value == "R, 18"
    with pytest.raises(ValueError, match="only one value may follow a condition"):
        parse_outcome("tag Beach => R, 18; XXX")
    for parse in (parse_outcome, parse_outcomes):
        with pytest.raises(ValueError, match="a name is missing"):
            parse("tag Beach => ,")


def test_why_a_scene_is_left_out() -> None:
    rules = Rules(
        include=parse_conditions("tag Beach; rating >= 90"),
        exclude=parse_conditions("tag  Private and not organized"),
    )
    assert rules.why_left_out(scene()) is None
    assert rules.why_left_out(scene(tags=["Private", "Beach"])) is None
    assert rules.why_left_out(scene(tags=["Private", "Beach"], organized=False)) == (
        "left out by your rule: tag Private and not organized"
    )
    assert rules.why_left_out(scene(tags=["A"])) == (
        "left out: none of your rules includes it (tag Beach; rating >= 90)"
    )


HOSTILE = {
    "labels": ('""' * 4_000, '"a" ' * 4_000, '"\n' * 9_000, '"a", ' * 3_000 + "=> b"),
    "include_scenes": ("not " * 4_000 + "organized", "tag a" + " " * 19_000 + "b",
                       'tag "a" and ' * 1_500, 'tag "a\nb"'),
    "tag_rules": ('"a",' * 4_000 + "b", "a" + " " * 19_000 + "b => genres", "below " * 3_000),
    "collections_from": ('"studio",' * 2_000, "studio," * 2_000),
    "title_template": ("(" * 19_000 + "{title}", "(" * 9_000 + "{title}" + ")" * 9_000,
                       "([" * 9_000 + "{title}" + ")" * 900, "{" * 19_000),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long_or_raises_anything_but_a_sentence(name: str) -> None:
    # A pattern that tries all ways through these texts would not end in a lifetime.
    for text in HOSTILE[name]:
        sentences = wrong_rules({name: text})
        assert all(len(one) < 500 for one in sentences.values())


def test_what_is_in_quotes_does_not_count() -> None:
    assert [one.value for one in parse_outcomes('"a => b"; "c; d"')] == ["a => b", "c; d"]
    with pytest.raises(ValueError, match="no partner"):
        parse_conditions('tag "a\nb"')
