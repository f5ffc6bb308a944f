"""The next time of day, in every zone: neither twice nor never."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import pytest

from common.daily import in_words, last_time, next_time

#: With summer time, without, of half hours, of two hours, and one that left out a day (2011-12-30).
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kolkata"),
    *("Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia", "Africa/Casablanca"),
)
DAY = 86_400.0

pytestmark = pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone can't be changed")


@contextmanager
def zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def shown(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))


def date(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def offset(moment: float) -> int:
    return time.localtime(moment).tm_gmtoff


@pytest.mark.parametrize("name", ZONES)
def test_the_next_time_is_in_the_future_at_that_time_and_within_a_day(name: str) -> None:
    numbers = random.Random(name)
    with zone(name):
        for _ in range(150):
            now = numbers.uniform(at("2001-01-01"), at("2036-01-01"))
            clock = f"{numbers.randrange(24):02}:{numbers.randrange(60):02}"
            found = next_time(clock, now)
            shift = abs(offset(found + DAY) - offset(now - DAY))
            assert now < found <= now + DAY + min(shift, 7_200)
            if not shift:
                assert shown(found) == clock
            assert last_time(clock, found) == found
            assert last_time(clock, found - 1) <= now
            assert next_time(clock, last_time(clock, now)) == found


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("clock", ["00:00", "00:30", "01:30", "02:15", "02:30", "03:30", "23:59"])
def test_it_comes_once_on_each_day_of_the_clock(name: str, clock: str) -> None:
    with zone(name):
        moment, days = next_time(clock, at("2011-01-01")), []
        while moment < at("2012-01-02"):
            days.append(date(moment))
            moment = next_time(clock, moment)
        assert len(set(days)) == len(days)
        assert {date(at("2011-01-03") + part * DAY / 2) for part in range(2 * 360)} <= set(days)


def test_what_the_clock_skips_is_as_much_later_and_what_it_repeats_comes_first() -> None:
    with zone("Europe/Berlin"):
        assert next_time("02:30", at("2026-03-29 00:00")) == at("2026-03-29 01:30")  # 03:30 CEST
        assert next_time("02:30", at("2026-10-25 00:00")) == at("2026-10-25 00:30")  # 02:30 CEST
        assert next_time("02:30", at("2026-10-25 00:30")) == at("2026-10-26 01:30")  # 02:30 CET
        assert last_time("02:30", at("2026-10-25 02:00")) == at("2026-10-25 00:30")


def test_the_words_say_day_and_zone() -> None:
    with zone("Europe/Berlin"):
        now = at("2026-03-28 12:00")
        assert in_words(next_time("15:00", now), now) == "today 15:00 CET"
        assert in_words(next_time("03:30", now), now) == "tomorrow 03:30 CEST"
        assert in_words(last_time("15:00", now), now) == "yesterday 15:00 CET"
        assert in_words(now - 3 * DAY, now) == "2026-03-25 13:00 CET"


@pytest.mark.parametrize("clock", ["", "noon", "3"])
def test_what_is_no_time_of_day_is_refused(clock: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        next_time(clock, 0.0)
