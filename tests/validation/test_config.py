"""Tests of the settings: defaults, ranges, odd types, one-line error messages."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.harness.size import examples
from validation.config import PlexSyncConfig, validate_config
from validation.rules import Rules

PROPERTY = settings(max_examples=examples(300))
TOKEN = "abcdEFGHijklMNOPqrst"
GIVEN = {"plex_url": "http://plex:32400", "plex_token": TOKEN}
SWITCHES = {
    "enabled": True, "strict_matching": True, "preserve_plex_edits": False,
    "only_organized": False, "lock_fields": True, "trigger_plex_scan": False, "sync_title": True,
    "sync_details": True, "sync_date": True, "sync_studio": True, "sync_performers": True,
    "sync_tags": True, "sync_collections": True, "sync_poster": True, "sync_rating": False,
    "repair_drift": True, "replace_lists": False, "write_all_copies": False, "stay": True,
    "plex_events": True, "title_without_performers": False, "performer_tags": False,
    "tag_parents": False, "sync_tagline": False, "sync_original_title": False, "sync_art": False,
    "keep_emoji": True,
}  # fmt: skip
NUMBERS: dict[str, tuple[float, float, float, bool]] = {  # default, lowest, highest, whole
    "max_retries": (5, 1, 20, True),
    "poll_interval": (1.0, 0.1, 60, False),
    "plex_connect_timeout": (5, 1, 30, False),
    "plex_read_timeout": (30, 5, 120, False),
    "dlq_retention_days": (30, 1, 365, True),
}
#: Rules, each with one that differs from its default.
RULES = {
    "title_template": "{date} {title}", "sort_title_template": "{studio}",
    "tag_rules": "A => labels", "studio_from": "parent", "collections_from": "groups",
    "collection_sort_title": "{name}", "content_rating": "XXX", "labels": "Stash",
    "include_scenes": "organized", "exclude_scenes": "not stash_id",
}  # fmt: skip
BLANKS = [None, "", " ", "\t\n "]


def valid(**given: Any) -> PlexSyncConfig:
    config, problem = validate_config({**GIVEN, **given})
    assert problem is None
    assert config is not None
    return config


def problem_of(given: dict[str, Any]) -> str:
    config, problem = validate_config(given)
    assert config is None
    assert problem
    assert "\n" not in problem
    return problem


# --- defaults and blanks --------------------------------------------------------------------------


def test_the_defaults_are_the_contracts() -> None:
    config = valid()
    for name, default in {**SWITCHES, **{key: row[0] for key, row in NUMBERS.items()}}.items():
        assert getattr(config, name) == default, name
    assert config.plex_libraries == ()
    assert config.path_mappings == ()


def test_no_setting_is_left_out_of_this_table() -> None:
    assert set(PlexSyncConfig.model_fields) == {
        *SWITCHES,
        *NUMBERS,
        *GIVEN,
        "plex_libraries",
        "path_mappings",
        "compare_at",
        "webhook_url",
        "stash_folders",
        *RULES,
        "max_tags",
        "rule_problems",
    }


@pytest.mark.parametrize("blank", BLANKS, ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        *(*SWITCHES, *NUMBERS, *RULES, "max_tags"),
        *("plex_libraries", "path_mappings", "compare_at", "webhook_url"),
    ],
)
def test_blank_means_the_default(name: str, blank: str | None) -> None:
    assert valid(**{name: blank}) == valid()


@pytest.mark.parametrize("nothing", [0, 0.0, "0", " 0 ", "0.0", math.nan, "NaN", "nan"], ids=repr)
@pytest.mark.parametrize("name", [*NUMBERS, "max_tags"])
def test_zero_and_no_number_at_all_mean_the_default(name: str, nothing: Any) -> None:
    assert valid(**{name: nothing}) == valid()


@pytest.mark.parametrize("blank", BLANKS, ids=repr)
@pytest.mark.parametrize("name", GIVEN)
def test_a_missing_required_setting_is_named(name: str, blank: str | None) -> None:
    problem = problem_of({**GIVEN, name: blank})
    assert name in problem
    assert "not set" in problem


def test_both_missing_are_both_named() -> None:
    problem = problem_of({})
    assert "plex_url" in problem
    assert "plex_token" in problem


# --- what changes the outcome ---------------------------------------------------------------------

#: Settings that change how PlexSync works, not what it writes. The address is not among those that
#: do either: the server is known by its own identifier.
WITHOUT_OUTCOME = {
    "plex_url": "http://other:32400", "plex_token": "other-token-0123456789", "enabled": False,
    "trigger_plex_scan": True, "max_retries": 7, "poll_interval": 2, "plex_connect_timeout": 6,
    "plex_read_timeout": 31, "dlq_retention_days": 31, "stay": False, "plex_events": False,
    "compare_at": "4:00", "webhook_url": "https://example.org/hook",
    "stash_folders": ("/data",), "rule_problems": (),
}  # fmt: skip
WITH_OUTCOME = {
    "plex_libraries": "Films", "path_mappings": "/a => /b", "max_tags": 7, **RULES,
    **{name: not on for name, on in SWITCHES.items() if name not in WITHOUT_OUTCOME},
}  # fmt: skip


def test_every_setting_changes_the_outcome_or_does_not() -> None:
    assert {*WITH_OUTCOME, *WITHOUT_OUTCOME} == set(PlexSyncConfig.model_fields)


@pytest.mark.parametrize("name", WITH_OUTCOME)
def test_a_setting_that_changes_what_is_written_changes_the_hash(name: str) -> None:
    assert valid(**{name: WITH_OUTCOME[name]}).outcome_hash != valid().outcome_hash


@pytest.mark.parametrize("name", WITHOUT_OUTCOME)
def test_other_settings_leave_the_hash(name: str) -> None:
    assert valid(**{name: WITHOUT_OUTCOME[name]}).outcome_hash == valid().outcome_hash


def test_each_outcome_has_its_own_hash_in_every_process() -> None:
    hashes = {valid(**{name: value}).outcome_hash for name, value in WITH_OUTCOME.items()}
    assert len(hashes) == len(WITH_OUTCOME)
    assert valid(plex_libraries="ä, b").outcome_hash == valid(plex_libraries=" ä,b ").outcome_hash


# --- switches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("on", [True, "true", "True", " TRUE ", 1, "1", "yes", "on"], ids=repr)
def test_on(name: str, on: Any) -> None:
    assert getattr(valid(**{name: on}), name) is True


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("off", [False, "false", "False", " FALSE ", 0, "0", "no", "off"], ids=repr)
def test_off(name: str, off: Any) -> None:
    assert getattr(valid(**{name: off}), name) is False


@pytest.mark.parametrize("value", ["maybe", 2, -1, [], "truee"], ids=repr)
@pytest.mark.parametrize("name", SWITCHES)
def test_neither_on_nor_off(name: str, value: Any) -> None:
    problem = problem_of({**GIVEN, name: value})
    assert name in problem
    assert str(value) in problem
    assert "true" in problem


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_a_range_are_inside(name: str) -> None:
    _, low, high, _ = NUMBERS[name]
    for value in (low, high, str(low), f" {high} ", float(low), str(float(high))):
        number = getattr(valid(**{name: value}), name)
        assert number == float(value)
        assert isinstance(number, int if NUMBERS[name][3] else float)


@pytest.mark.parametrize("name", NUMBERS)
def test_just_outside_is_refused_with_setting_value_and_range(name: str) -> None:
    _, low, high, whole = NUMBERS[name]
    step = 1 if whole else 0.001
    values: tuple[Any, ...] = (
        high + step,
        str(high + step),
        -1,
        "-5",
        1e9,
        math.inf,
        "inf",
        -math.inf,
        "ten",
        "5 s",
        True,
        [],
        {},
    )
    for value in values:
        problem = problem_of({**GIVEN, name: value})
        assert name in problem
        assert str(value)[:20] in problem
        assert f"{low:g}" in problem
        assert f"{high:g}" in problem
    if not whole:
        assert name in problem_of({**GIVEN, name: low - step})


@pytest.mark.parametrize("name", [name for name in NUMBERS if NUMBERS[name][3]])
@pytest.mark.parametrize("value", [1.5, "2.5"])
def test_a_fraction_is_refused_where_a_whole_number_is_required(name: str, value: Any) -> None:
    assert "whole" in problem_of({**GIVEN, name: value})


def test_a_decimal_comma_is_understood() -> None:
    assert valid(poll_interval="0,5").poll_interval == 0.5


def test_several_mistakes_are_one_line_that_names_each() -> None:
    problem = problem_of({**GIVEN, "max_retries": 99, "poll_interval": "x", "enabled": "perhaps"})
    assert all(name in problem for name in ("max_retries", "poll_interval", "enabled"))


# --- address and token ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://plex:32400", "http://plex:32400"),
        ("  http://plex:32400/  ", "http://plex:32400"),
        ("https://plex.example.com", "https://plex.example.com"),
        ("plex:32400", "http://plex:32400"),
        ("192.168.1.10:32400", "http://192.168.1.10:32400"),
        ("192.168.1.10", "http://192.168.1.10:32400"),
        ("plex.local/", "http://plex.local:32400"),
        ("localhost", "http://localhost:32400"),
        ("http://192.168.1.10", "http://192.168.1.10"),  # a scheme has a port of its own
        ("http://[::1]:32400", "http://[::1]:32400"),
        ("https://example.com/plex/", "https://example.com/plex"),
    ],
)
def test_addresses(url: str, kept: str) -> None:
    assert valid(plex_url=url).plex_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "not-a-url",
        "ftp://plex",
        "http://",
        "http:///x",
        "http://plex:port",
        "http://plex:99999",
        "http://a b",
        "http://[::1",
        "http://plex..local:32400",
        "http://.local:32400",
        "plex..local",
        f"http://{'a' * 64}:32400",
        f"https://plex.{'ä' * 60}.org",
    ],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    problem = problem_of({**GIVEN, "plex_url": url})
    assert "plex_url" in problem
    assert url in problem


@pytest.mark.parametrize(
    "url",
    [
        f"http://plex:32400/?X-Plex-Token={TOKEN}",
        f"http://plex:32400/web/index.html#!/x?X-Plex-Token={TOKEN}",
        f"http://me:{TOKEN}@plex:32400",
        f"http://:{TOKEN}@plex:32400",
    ],
)
def test_an_address_with_a_secret_in_it_is_refused_without_showing_the_secret(url: str) -> None:
    assert TOKEN not in problem_of({**GIVEN, "plex_url": url})


@pytest.mark.parametrize(
    "token", ["with space in it 1234", "Zeilen\numbruch12345", "tökentökentökentöken", "\x00" * 20]
)
def test_a_bad_token_is_never_shown_whole(token: str) -> None:
    problem = problem_of({**GIVEN, "plex_token": token})
    assert "plex_token" in problem
    assert token not in problem
    assert token[4:-4] not in problem


def test_a_token_loses_the_blanks_around_it() -> None:
    assert valid(plex_token=f" {TOKEN}\n").plex_token == TOKEN


def test_no_text_form_of_the_settings_holds_the_token() -> None:
    config = valid()
    assert TOKEN not in repr(config)
    assert TOKEN not in str(config)


@pytest.mark.parametrize("token", [TOKEN, "short", "x" * 9, "x1y2z3w4v5u6t7s8", "12345678"])
def test_the_log_shows_at_most_four_and_four_characters(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = valid(plex_token=token)
    with caplog.at_level(logging.DEBUG):
        config.log_config()
    assert len(caplog.records) == 1
    text = caplog.text
    assert "\n" not in caplog.records[0].getMessage()
    assert token not in text
    pieces = [token[start : start + 5] for start in range(max(1, len(token) - 4))]
    assert not [piece for piece in pieces if piece in text]
    assert "strict_matching" in text


# --- the older plugin's settings ------------------------------------------------------------------

LEGACY = {"plexHost": "192.168.1.5", "plexPort": 32400, "plexToken": TOKEN}


@pytest.mark.parametrize(
    ("legacy", "url"),
    [
        ({}, "http://192.168.1.5:32400"),
        ({"plexPort": "32401"}, "http://192.168.1.5:32401"),
        ({"plexPort": " 32401 "}, "http://192.168.1.5:32401"),
        ({"plexPort": None}, "http://192.168.1.5:32400"),
        ({"plexPort": ""}, "http://192.168.1.5:32400"),
        ({"plexPort": 0}, "http://192.168.1.5:32400"),
        ({"plexHost": "http://192.168.1.5"}, "http://192.168.1.5:32400"),
        ({"plexHost": "http://192.168.1.5/"}, "http://192.168.1.5:32400"),
        ({"plexHost": "https://plex.local", "plexPort": 443}, "https://plex.local:443"),
        ({"plexHost": "http://192.168.1.5:1234"}, "http://192.168.1.5:1234"),
        ({"plexHost": "plex.local:1234"}, "http://plex.local:1234"),
    ],
)
def test_the_older_plugins_settings_are_used(legacy: dict[str, Any], url: str) -> None:
    config, problem = validate_config({**LEGACY, **legacy})
    assert problem is None
    assert config is not None
    assert (config.plex_url, config.plex_token) == (url, TOKEN)


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_blank_settings_of_ours_do_not_hide_the_older_ones(blank: str | None) -> None:
    config, _ = validate_config({**LEGACY, "plex_url": blank, "plex_token": blank})
    assert config is not None
    assert config.plex_token == TOKEN


def test_our_settings_override_the_older_plugins() -> None:
    config, _ = validate_config(
        {**LEGACY, "plex_url": "http://ours:1", "plex_token": "ours-1234567890"}
    )
    assert config is not None
    assert (config.plex_url, config.plex_token) == ("http://ours:1", "ours-1234567890")


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Scenes", ("Scenes",)),
        ("Scenes, More ,,  Even more ", ("Scenes", "More", "Even more")),
        (" , ", ()),
        (["A", " B "], ("A", "B")),
    ],
)
def test_library_names(text: Any, names: tuple[str, ...]) -> None:
    assert valid(plex_libraries=text).plex_libraries == names


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("/a => /b", (("/a", "/b"),)),
        ("/a=>/b", (("/a", "/b"),)),
        (" /a => /b ; /c d => D:\\e f ;", (("/a", "/b"), ("/c d", "D:\\e f"))),
        ("/a => /b\n/c => /d", (("/a", "/b"), ("/c", "/d"))),
        ("\\\\nas\\x => /b", (("\\\\nas\\x", "/b"),)),
        ("/ => /plex", (("/", "/plex"),)),
    ],
)
def test_path_mappings(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    assert valid(path_mappings=text).path_mappings == pairs


@pytest.mark.parametrize("text", ["/a", "/a -> /b", "/a =>", "=> /b", "/a => /b; nonsense"])
def test_a_bad_mapping_is_shown_with_the_right_form(text: str) -> None:
    problem = problem_of({**GIVEN, "path_mappings": text})
    assert "path_mappings" in problem
    assert "=>" in problem


def test_unknown_settings_are_ignored() -> None:
    assert valid(somethingElse=5, plexMovies=True) == valid()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = sorted({*PlexSyncConfig.model_fields, "plexHost", "plexPort", "plexToken"})


@PROPERTY
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
@example({"plex_libraries": 5})
@example({"plex_libraries": [5]})
@example({"path_mappings": [["/a"]]})
@example({"plex_url": "http://[", "plex_token": "\ud800"})
def test_any_settings_are_taken_or_refused_in_one_line(given: dict[str, Any]) -> None:
    config, problem = validate_config(given)
    assert (config is None) != (problem is None)
    assert problem is None or "\n" not in problem


# --- texts with a form of their own --------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "time"), [("4:05", "04:05"), (" 23:59 ", "23:59"), ("3", "03:00"), ("7.30", "07:30")]
)
def test_the_time_of_the_daily_comparison(given: str, time: str) -> None:
    assert valid(compare_at=given).compare_at == time


@pytest.mark.parametrize("wrong", ["24:00", "3:60", "noon", "-1", "12:5", "3:30 pm"])
def test_a_wrong_time_is_named(wrong: str) -> None:
    problem = problem_of({**GIVEN, "compare_at": wrong})
    assert f"compare_at is {wrong!r}: must be a time of day such as 03:30" in problem


def test_an_address_of_a_webhook_is_never_shown() -> None:
    config = valid(webhook_url="https://example.org/secret-word?key=secret-word")
    assert "secret-word" not in f"{config!r} {config.shown()}"
    assert "secret-word" not in problem_of({**GIVEN, "webhook_url": "ftp://e.org/secret-word"})
    assert "secret-word" not in problem_of({**GIVEN, "webhook_url": "secret-word"})


@pytest.mark.parametrize("host", ["example..org", "a" * 64])
def test_a_host_name_that_cannot_be_is_said(host: str) -> None:
    said = "between the dots of a host name are 1 to 63 characters"
    assert said in problem_of({**GIVEN, "plex_url": f"http://{host}:32400"})
    assert said in problem_of({**GIVEN, "webhook_url": f"https://{host}/hook"})


# --- rules ----------------------------------------------------------------------------------------

WRONG_RULES = {
    "title_template": ("{titel}", "{titel} is unknown; there are {title}"),
    "sort_title_template": ("{title", "a brace has no partner"),
    "tag_rules": ("A => genre", "'genre' is unknown; tags go to genres, labels, collections and"),
    "studio_from": ("network", "must be one of studio, parent, both"),
    "collections_from": ("studios", "'studios' is unknown; there are studio, parent_studio"),
    "collection_sort_title": ("{title}", "{title} is unknown; there are {name}, {prefix}"),
    "content_rating": ("tags A => R", "'tags A' is unknown; conditions are organized"),
    "labels": ("Stash =>", "something is missing before or after =>"),
    "include_scenes": ("rating >= 101", "a rating is 0 to 100"),
    "exclude_scenes": ('tag "A', "a double quote has no partner"),
    "max_tags": ("501", "must be a whole number from 1 to 500"),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_wrong_rule_stops_nothing_and_is_said(name: str) -> None:
    wrong, sentence = WRONG_RULES[name]
    config = valid(**{name: wrong})
    (problem,) = config.rule_problems
    assert problem.startswith(f"{name} is {wrong!r}: ")
    assert sentence in problem
    assert config.model_copy(update={"rule_problems": ()}) == valid()
    assert config.rules == valid().rules


@pytest.mark.parametrize("name", RULES)
def test_the_last_valid_rule_stays_in_effect(name: str) -> None:
    given = {**GIVEN, name: WRONG_RULES[name][0], "tag_rules": "A => =>"}
    config, problem = validate_config(given, {"labels": "not used", name: RULES[name]})
    assert problem is None
    assert config is not None
    assert getattr(config, name) == RULES[name] or name == "tag_rules"
    assert config.outcome_hash == valid(**{name: RULES[name]}).outcome_hash
    assert {text.split(" ")[0] for text in config.rule_problems} == {name, "tag_rules"}


def test_a_wrong_rule_beside_another_wrong_setting_is_said_too() -> None:
    problem = problem_of({**GIVEN, "max_retries": "many", "labels": "=>"})
    assert "max_retries" in problem
    assert "labels" in problem


def test_a_last_valid_rule_that_is_no_longer_valid_is_not_used() -> None:
    config, _ = validate_config({**GIVEN, "labels": "=>"}, {"labels": "A =>"})
    assert config is not None
    assert config.labels == ""
    assert len(config.rule_problems) == 2


def test_rules_from_nothing_are_the_defaults() -> None:
    assert valid().rules == Rules()
    assert valid(rule_problems=["x"]).rule_problems == ()


@PROPERTY
@given(st.sampled_from([*RULES, "max_tags"]), st.text(alphabet='AB{}title;=>,"* \n#', max_size=40))
def test_no_rule_raises(name: str, text: str) -> None:
    config = valid(**{name: text})
    assert config.rules
    assert all("\n" not in problem for problem in config.rule_problems)
