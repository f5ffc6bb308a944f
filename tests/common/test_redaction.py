"""Tests of redaction: a registered secret never appears in redacted text."""

from __future__ import annotations

import io
import logging
import string
import sys
import threading
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from common.redaction import RedactingFormatter, Redactor, mask
from tests.harness.size import examples

EXAMPLES = settings(max_examples=examples(120), suppress_health_check=list(HealthCheck))
TOKEN = "tok-1234567890abcdef"

#: Characters of tokens, API keys and cookies.
token_like = st.text(string.ascii_letters + string.digits + "-_=.|+/", min_size=6, max_size=60)
#: Anything a user can type.
typed = st.text(
    string.ascii_letters + string.digits + string.punctuation + " äß日", min_size=6, max_size=40
).filter(lambda secret: len(secret.strip()) >= 6)
around = st.text(max_size=30)


def redactor(*secrets: str | None) -> Redactor:
    made = Redactor()
    made.add(*secrets)
    return made


@EXAMPLES
@given(token_like | typed, around, around)
def test_a_secret_of_six_characters_or_more_never_survives(
    secret: str, before: str, after: str
) -> None:
    assert secret not in redactor(secret).redact(before + secret + after)
    assert secret not in redactor(secret).redact(f"{secret}{secret} {secret}\n{secret}")


@EXAMPLES
@given(token_like | typed, around, around)
def test_a_secret_inside_a_url_never_survives(secret: str, before: str, after: str) -> None:
    for form in (
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        urlencode({"k": secret})[2:],
    ):
        text = redactor(secret).redact(f"{before}http://h/p?x={form}&y=1 {after}")
        assert f"x={form}&" not in text
        assert form not in text


@EXAMPLES
@given(st.lists(token_like, min_size=2, max_size=4, unique=True), st.permutations(range(4)))
def test_several_secrets_are_all_masked_in_any_order_of_registration(
    secrets: list[str], order: list[int]
) -> None:
    known = redactor(*(secrets[n] for n in order if n < len(secrets)))
    text = known.redact(" ".join(secrets) + " " + ", ".join(reversed(secrets)))
    assert not [secret for secret in secrets if secret in text]


@EXAMPLES
@given(token_like)
def test_a_secret_that_is_the_beginning_of_another_hides_both(secret: str) -> None:
    longer = secret + "-and-more"
    text = redactor(secret, longer).redact(f"{longer} {secret}")
    assert secret not in text
    assert "and-more" not in text or len(longer) >= 16


@EXAMPLES
@given(token_like)
def test_at_most_four_characters_of_each_end_are_shown(secret: str) -> None:
    shown = mask(secret)
    assert len(shown) <= 9
    left, _, right = shown.partition("…")
    assert secret.startswith(left)
    assert secret.endswith(right)
    assert len(left) <= 4 >= len(right)
    assert len(left) + len(right) <= len(secret) / 2


@EXAMPLES
@given(around, token_like)
def test_redacting_twice_changes_nothing_more(text: str, secret: str) -> None:
    known = redactor(secret)
    once = known.redact(f"{text} plex_token={secret} {text}")
    assert known.redact(once) == once


@EXAMPLES
@given(st.text(string.ascii_letters + " .,\n", max_size=80))
def test_a_text_without_secrets_is_left_alone(text: str) -> None:
    assume(TOKEN not in text)
    assert redactor(TOKEN).redact(text) == text


@pytest.mark.parametrize("nothing", [None, "", "1", "abc", "12345"])
def test_a_value_too_short_for_a_secret_is_not_masked(nothing: str | None) -> None:
    assert redactor(nothing).redact("scene 12345, abc 1") == "scene 12345, abc 1"


@pytest.mark.parametrize(
    "text",
    [
        f"http://plex:32400/library?X-Plex-Token={TOKEN}&x=1",
        f"http://plex:32400/library?x=1&x-plex-token={TOKEN}",
        f"{{'X-Plex-Token': '{TOKEN}', 'Accept': '*/*'}}",
        f'{{"plex_token": "{TOKEN}"}}',
        f'{{"plexToken":"{TOKEN}"}}',
        f"plex_token = {TOKEN}",
        f"ApiKey: {TOKEN}",
        f"api_key={TOKEN}",
        f"http://stash/scene/1/screenshot?apikey={TOKEN}",
        f"Cookie: session={TOKEN}; other=1",
        f"session={TOKEN}",
    ],
)
def test_a_value_named_like_a_secret_is_hidden_without_being_registered(text: str) -> None:
    redacted = Redactor().redact(text)
    assert TOKEN not in redacted
    assert redacted.startswith(text.split(TOKEN)[0])
    assert redacted.endswith(text.split(TOKEN)[1])


@pytest.mark.parametrize(
    "title", ['The session: "Live"', "Cookie: the Movie", "session: 日本語", "An api", "plex token"]
)
def test_an_innocent_title_is_left_alone(title: str) -> None:
    assert Redactor().redact(title) == title


def log_to_text(known: Redactor, emit: str, *arguments: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter(known, "%(levelname)s %(message)s"))
    logger = logging.Logger("redaction")
    logger.addHandler(handler)
    try:
        raise ValueError(f"wrong {TOKEN}")
    except ValueError:
        logger.exception(emit, *arguments)
    return stream.getvalue()


def test_a_log_record_with_arguments_and_traceback_holds_no_secret() -> None:
    text = log_to_text(redactor(TOKEN), "GET %s as %r", f"http://plex/?a={TOKEN}", {"token": TOKEN})
    assert TOKEN not in text
    assert "ValueError: wrong tok-…cdef" in text
    assert "GET http://plex/?a=tok-…cdef" in text


def test_adding_a_secret_while_other_threads_redact_raises_nothing() -> None:
    known = redactor(TOKEN)
    failures: list[Exception] = []
    done = threading.Event()

    def redact() -> None:
        while not done.is_set():
            try:
                known.redact(TOKEN)
            except RuntimeError as error:
                failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=redact) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(40):
        known.add(f"another secret {n:06}")
    done.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert failures == []
