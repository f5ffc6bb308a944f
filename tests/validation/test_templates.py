"""Tests of titles' templates: empty parts, separators, brackets, errors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.size import examples
from validation.rules import TITLE_PARTS
from validation.templates import parse_template

FULL = {
    "title": "Title", "date": "2020-01-02", "year": "2020", "studio": "Acme", "performers": "A, B",
    "first_performer": "A", "code": "AC-1",
}  # fmt: skip
PROPERTY = settings(max_examples=examples(300))


@pytest.mark.parametrize(
    ("template", "missing", "expected"),
    [
        ("{title}", "", "Title"),
        ("{performers} - {title}", "", "A, B - Title"),
        ("{performers} - {title}", "performers", "Title"),
        ("{performers} - {title}", "title", "A, B"),
        ("{performers} - {title}", "performers title", ""),
        ("{title} ({year})", "year", "Title"),
        ("{title} ({year})", "title", "(2020)"),
        ("{title} ({studio}, {year})", "studio", "Title (2020)"),
        ("{title} ({studio}, {year})", "year", "Title (Acme)"),
        ("{title} ({studio}, {year})", "studio year", "Title"),
        ("{title} [{studio} ({year})]", "year", "Title [Acme]"),
        ("{title} [{studio} ({year})]", "studio year", "Title"),
        ("{studio}: {title} by {performers}", "title", "Acme by A, B"),
        ("{studio}: {title} by {performers}", "studio title", "A, B"),
        ("{studio} - {date} - {code} - {title}", "date code", "Acme - Title"),
        ("{title}{code}", "code", "Title"),
        ("Scene {title}!", "", "Scene Title!"),
        ("Scene {title}!", "title", ""),
        ("{title} (HD)", "", "Title (HD)"),
        ("{title} :)", "", "Title :)"),
        ("{title} ({studio}", "studio", "Title"),
    ],
)
def test_empty_parts_take_their_separators_with_them(
    template: str, missing: str, expected: str
) -> None:
    values = {key: "" if key in missing.split() else value for key, value in FULL.items()}
    assert parse_template(template, TITLE_PARTS).render(values) == expected


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{titel}", "{titel} is unknown; there are {title}, {date}"),
        ("{}", "{} is unknown"),
        ("{title", "a brace has no partner"),
        ("title}", "a brace has no partner"),
        ("{{title}}", "a brace has no partner"),
        ("Title", "must have a part such as {title}"),
    ],
)
def test_what_is_wrong_is_said(template: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"(unknown|partner|part such as)") as caught:
        parse_template(template, TITLE_PARTS)
    assert sentence in str(caught.value)


@PROPERTY
@given(st.text(alphabet="()[]- a", max_size=6), st.sets(st.sampled_from(list(FULL))), st.data())
def test_any_template_renders_and_says_nothing_without_its_parts(
    text: str, missing: set[str], data: st.DataObject
) -> None:
    pieces = st.one_of(st.sampled_from([f"{{{name}}}" for name in FULL]), st.just(text))
    template = "".join(data.draw(st.lists(pieces, min_size=1, max_size=6)))
    if "{" not in template:
        return
    parsed = parse_template(template, TITLE_PARTS)
    values = {key: "" if key in missing else value for key, value in FULL.items()}
    rendered = parsed.render(values)
    assert all(values[name] in rendered for name in parsed.parts)
    assert bool(rendered) == any(values[name] for name in parsed.parts)
    assert parsed.render({}) == ""
