"""What lasts is told to the user's webhook: once, bounded, and over when it is over."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.size import some
from tests.simulators.httpd import Answer, Endless, Fault, Hang, Reset, ResetAfter
from tests.simulators.stash import Scene
from tests.simulators.webhook import PATH, WebhookReceiver
from worker.alerts import ALERTS, PROBLEM

NUMBERS = itertools.count()
MINUTE = 60.0
DAY = 24 * HOUR


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def told(harness: WorkerHarness, receiver: WebhookReceiver) -> WorkerHarness:
    """Return a harness whose worker stays, is in sync, and has a webhook."""
    harness.clock.timing = replace(
        harness.clock.timing,
        idle_timeout=1000 * DAY,
        quick_pass=HOUR,
        heartbeat=HOUR,
        presence=HOUR,
        recovery=5 * MINUTE,
        settings_check=2 * MINUTE,
    )  # days go by in a few steps
    configure(harness, receiver.url)
    harness.new_worker(compares=True)
    harness.pair("known")
    harness.run_for(5 * MINUTE)
    assert receiver.messages == []
    be_patient(harness)
    return harness


def be_patient(harness: WorkerHarness) -> None:
    """Have the webhook wait for the answer of a machine that is busy."""
    harness.worker.alerts.webhook.seconds = harness.worker.alerts.webhook.patience = 240.0


def again(harness: WorkerHarness) -> None:
    """Restart the worker."""
    harness.restart()
    be_patient(harness)


def need(harness: WorkerHarness, count: int) -> None:
    """Have that many scenes in all need the user: as several items may be theirs."""
    needing = harness.worker.history.needing()["ambiguous"]
    for scene_id in needing[count:]:
        harness.command("ignore", scene_id=scene_id)
    for _ in range(len(needing), count):
        name = f"need{next(NUMBERS)}"
        for folder in ("a", "b"):
            harness.add_item(f"{folder}/{name}")
        harness.edit(harness.add_scene(f"c/{name}"), "New")
    harness.run_for(MINUTE)
    assert len(harness.worker.history.needing()["ambiguous"]) == count


def configure(harness: WorkerHarness, url: str | None, **settings: Any) -> None:
    """Fill in the settings page: a webhook, and few looks for edits, as days go by."""
    harness.configure(webhook_url=url, poll_interval=60, **settings)


# --- when


@pytest.mark.parametrize(("minutes", "events"), [(54, []), (61, ["plex_down", "plex_down_over"])])
@pytest.mark.parametrize("edits", [0, 2])
def test_an_outage_is_told_after_an_hour(
    told: WorkerHarness, receiver: WebhookReceiver, minutes: int, events: list[str], edits: int
) -> None:
    """Also where nothing is to be synced: then the worker asks Plex whether it is back."""
    told.plex.stop()
    for scene in told.pairs(edits):
        told.edit(scene[0], "Later")
    if not edits:
        told.run_for(61 * MINUTE)  # the next look at Plex
        (outage,) = told.worker.history.get("outages")
        told.run_for(outage["since"] + minutes * MINUTE - told.clock.now)
    else:
        told.run_for(minutes * MINUTE)
    told.plex.start()
    told.run_for(10 * MINUTE)
    assert receiver.events() == events
    if events:
        first, last = receiver.messages
        assert (first["cause"], first["waiting"]) == ("plex_down", edits)
        assert first["text"] == first["content"]
        assert "Plex has been down for 60 minutes" in first["text"]
        assert ("2 edits wait" in first["text"]) is bool(edits)
        assert "Plex is back after 6" in last["text"]
        assert first["since"] == last["since"]


def test_an_outage_of_stash_is_told_too(told: WorkerHarness, receiver: WebhookReceiver) -> None:
    told.stash.stop()
    told.run_for(3 * HOUR)
    told.stash.start()
    told.run_for(10 * MINUTE)
    assert receiver.events() == ["stash_down", "stash_down_over"]


def test_a_rejected_token_is_told(told: WorkerHarness, receiver: WebhookReceiver) -> None:
    scene, _ = told.pair("one")
    told.edit(scene, "New")
    configure(told, receiver.url, plex_token="wrong-token-0123456789")
    told.run_for(9 * MINUTE)
    assert receiver.events() == []
    told.run_for(3 * HOUR)
    assert receiver.events() == ["setup"]
    configure(told, receiver.url)
    told.run_for(2 * MINUTE)
    assert receiver.events() == ["setup", "setup_over"]
    assert told.title(scene) == "New"


def test_a_setting_that_is_wrong_is_told_at_the_address_beside_it(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    told.edit(told.pair("one")[0], "New")
    configure(told, receiver.url, max_retries="many")
    told.run_for(HOUR)
    assert receiver.events() == ["setup"]


def test_a_setup_that_was_never_right_is_not_told(
    harness: WorkerHarness, receiver: WebhookReceiver
) -> None:
    harness.clock.timing = replace(harness.clock.timing, settings_check=2 * MINUTE)
    configure(harness, receiver.url, plex_token=None)
    harness.edit(harness.add_scene("one"), "New")
    harness.new_worker(compares=True)
    harness.run_for(3 * HOUR)
    assert receiver.events() == []
    assert harness.worker.history.get("outages") is None


def test_scenes_that_need_the_user_are_told_from_zero_up_and_daily_while_they_grow(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    counts = []
    for count in (0, 3, 3, 5, 4, 5, 0, 2):
        need(told, count)
        told.run_for(23.5 * HOUR)
        counts.append([message["needs"] for message in receiver.messages])
    assert counts[1] == [3]
    assert counts[2] == [3]
    assert counts[3] == [3, 5]
    assert counts[4] == [3, 5]
    assert counts[5] == [3, 5, 5]
    assert counts[6] == [3, 5, 5, 0]
    assert counts[7] == [3, 5, 5, 0, 2]
    assert receiver.messages[0]["text"] == "PlexSync: 3 scenes need you."
    assert receiver.messages[3]["event"] == "needs_user_over"


def test_it_is_told_once_a_day_for_each_cause(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    for _ in range(4):
        told.plex.stop()
        told.edit(told.pair(f"s{told.clock.now}")[0], "New")
        told.run_for(2 * HOUR)
        told.plex.start()
        told.run_for(2 * HOUR)
    assert receiver.events() == ["plex_down", "plex_down_over"]
    told.run_for(6 * HOUR)
    told.plex.stop()
    told.run_for(2 * HOUR)
    assert receiver.events() == ["plex_down", "plex_down_over"], "not a day yet"
    told.run_for(3 * HOUR)
    assert receiver.events() == ["plex_down", "plex_down_over", "plex_down"]


@pytest.mark.parametrize("edits", [True, False])
def test_a_disk_that_can_not_be_written_is_told(
    told: WorkerHarness, receiver: WebhookReceiver, edits: bool
) -> None:
    """SQLite is told to refuse. Where nothing is to be done, the worker tries to write."""
    told.worker.history._db.execute("PRAGMA query_only = ON")
    if edits:
        told.edit(told.pair("one")[0], "New")
    else:
        told.worker.alerts.note_disk_failure()
    told.run_for(HOUR)
    assert receiver.events() == ["disk"]
    told.worker.history._db.execute("PRAGMA query_only = OFF")
    told.run_for(HOUR)
    assert receiver.events() == ["disk", "disk_over"]


# --- across restarts


def test_a_worker_that_is_started_again_repeats_nothing(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    need(told, 2)
    told.run_for(HOUR)
    told.plex.stop()
    told.edit(told.pair("one")[0], "New")
    told.run_for(50 * MINUTE)
    for _ in range(5):
        again(told)
        told.run_for(20 * MINUTE)
    assert receiver.events() == ["needs_user", "plex_down"]
    told.plex.start()
    again(told)
    told.run_for(20 * MINUTE)
    assert receiver.events() == ["needs_user", "plex_down", "plex_down_over"]


def test_an_outage_that_ended_while_no_worker_was_there_is_not_told(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    """The next worker asks first."""
    told.plex.stop()
    told.run_for(65 * MINUTE)
    told.plex.start()
    assert told.worker.health.outages.is_open("plex_down")
    told.clock.advance(9 * HOUR)
    again(told)
    told.run_for(HOUR)
    assert receiver.events() == []
    assert told.worker.history.get("outages")[0]["seconds"] > 9 * HOUR


def test_a_message_is_remembered_before_it_is_sent(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    """A worker that is killed while it sends: its successor is silent for a day, then tells."""
    remembered: list[Any] = []

    def when(_request: object) -> bool:
        remembered.append(told.worker.history.get(ALERTS))
        return True

    rule = receiver.server.faults.add(ResetAfter(), when=when)
    need(told, 2)
    told.run_for(HOUR)
    rule.remove()
    assert remembered[0]["needs_user"]["open"] is False
    assert len(receiver.messages) == 1, "it may have arrived: it is not sent again"
    again(told)
    told.run_for(20 * HOUR)
    assert len(receiver.messages) == 1
    told.run_for(DAY)
    assert receiver.events() == ["needs_user"] * 2


# --- a receiver in trouble

FAULTS: dict[str, tuple[Fault, int, str]] = {
    "404": (Answer(404), 1, "it answers 404"),
    "redirect": (Answer(307, b"", {"Location": "http://127.0.0.1:1/"}), 1, "a redirect"),
    "500": (Answer(500, b"oops"), 4, "it answers 500"),
    "too many": (Answer(429, b"x" * 100_000), 4, "it answers 429"),
    "hangs": (Hang(), 1, "it does not answer in time"),
    "resets": (Reset(), 1, "the connection broke"),
}


@pytest.mark.parametrize(
    ("fault", "attempts", "problem"), some(FAULTS.values(), 3), ids=some(FAULTS, 3)
)
def test_a_message_that_does_not_arrive_is_retried_and_dropped(
    told: WorkerHarness, receiver: WebhookReceiver, fault: Fault, attempts: int, problem: str
) -> None:
    rule = receiver.server.faults.add(fault)
    if isinstance(fault, Hang):
        told.worker.alerts.webhook.seconds = 2.0
    need(told, 1)
    told.run_for(3 * HOUR)
    be_patient(told)
    assert len(receiver.server.log) == attempts
    assert problem in told.worker.history.get(PROBLEM)["text"]
    (notice,) = [text for _, text in told.notices() if "webhook" in text]
    assert PATH not in notice
    assert receiver.server.host not in notice
    rule.remove()
    told.run_for(DAY)
    assert receiver.events() == ["needs_user"]
    assert told.worker.history.get(PROBLEM) is None


def test_one_that_is_down_for_a_moment_gets_its_message(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    receiver.server.stop()
    need(told, 1)
    told.run_for(11 * MINUTE)
    assert told.worker.history.get(PROBLEM)["text"] == "there is no connection"
    receiver.server.start()
    told.run_for(20 * MINUTE)
    assert receiver.events() == ["needs_user"]
    assert told.worker.history.get(PROBLEM) is None


ANSWERED = {"long": Answer(200, b"x" * 10_000), "endless": Endless(b"x" * 1000)}


@pytest.mark.parametrize("fault", ANSWERED.values(), ids=ANSWERED)
def test_an_answer_without_an_end_is_not_read_and_counts(
    told: WorkerHarness, receiver: WebhookReceiver, fault: Fault
) -> None:
    receiver.server.faults.add(fault)
    need(told, 1)
    told.run_for(DAY)
    assert len(receiver.server.log) == 1
    assert told.worker.history.get(PROBLEM) is None


def test_a_webhook_that_hangs_is_no_outage_and_edits_go_on(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    receiver.server.faults.add(Hang())
    told.worker.alerts.webhook.seconds = 2.0
    need(told, 1)
    scenes: list[Scene] = [told.pair(f"later{number}")[0] for number in range(3)]
    told.edit_all(scenes)
    told.run_for(HOUR)
    assert told.in_sync(scenes)
    assert told.worker.health.to_dict()["problem"] is None
    assert told.worker.history.get("outages") is None


def test_what_is_over_before_it_arrived_is_not_told(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    receiver.server.stop()
    told.plex.stop()
    told.edit(told.pair("one")[0], "New")
    told.run_for(61 * MINUTE)
    told.plex.start()
    told.run_for(2 * MINUTE)
    receiver.server.start()
    told.run_for(3 * HOUR)
    assert receiver.events() == []


def test_another_webhook_begins_anew(told: WorkerHarness, receiver: WebhookReceiver) -> None:
    need(told, 1)
    told.run_for(HOUR)
    configure(told, None)
    told.edit(told.pair("one")[0], "New")
    told.run_for(HOUR)
    assert told.worker.history.get(ALERTS) is None
    configure(told, receiver.url)
    told.edit(told.pair("two")[0], "New")
    told.run_for(HOUR)
    assert receiver.events() == ["needs_user"] * 2


# --- what it costs, and what it says


def test_nothing_is_written_or_sent_while_nothing_changes(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    need(told, 2)
    told.plex.stop()
    told.edit(told.pair("one")[0], "New")
    told.run_for(3 * HOUR)
    sent = len(receiver.server.log)
    statements: list[str] = []
    told.worker.history._db.set_trace_callback(statements.append)
    told.run_for(HOUR)
    told.worker.history._db.set_trace_callback(None)
    assert len(receiver.server.log) == sent
    assert [one for one in statements if ALERTS in one and not one.startswith("SELECT")] == []
    assert [one for one in statements if "outages" in one and not one.startswith("SELECT")] == []


def test_a_message_has_counts_and_times_only(
    told: WorkerHarness, receiver: WebhookReceiver
) -> None:
    scene, _ = told.pair("a secret title")
    told.plex.stop()
    told.edit(scene, "A secret title")
    told.run_for(2 * HOUR)
    (message,) = receiver.messages
    assert set(message) == {
        *("event", "cause", "since", "waiting", "needs", "text", "content", "version"),
    }
    text = json.dumps(message)
    for secret in ("secret", "/data", "/media", told.plex.url, "127.0.0.1", "plex-token", PATH):
        assert secret not in text


def test_the_address_is_in_no_log_and_no_notice(
    told: WorkerHarness, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="plexsync")
    faults: tuple[Fault, ...] = (Answer(404), Answer(500), Reset())
    for count, fault in enumerate(faults, start=1):
        rule = receiver.server.faults.add(fault)
        need(told, count)
        told.run_for(1.1 * DAY)
        rule.remove()
    assert len(receiver.server.log) >= 3
    said = caplog.text + str(told.notices()) + str(told.worker.history.get(PROBLEM))
    assert PATH not in said
    assert "421337" not in said
    assert told.redactor.redact(f"see {receiver.url}").count("421337") == 0
    assert told.redactor.redact(f"see {PATH}").count("421337") == 0


def test_a_slow_answer_is_waited_for_aside(told: WorkerHarness, receiver: WebhookReceiver) -> None:
    """The worker goes on after a moment; the message's end is noted later."""
    told.worker.alerts.webhook.patience = 0.05
    rule = receiver.server.faults.add(Hang())
    need(told, 1)
    told.run_for(11 * MINUTE)
    assert told.worker.history.get(ALERTS)["needs_user"]["open"] is False
    rule.remove()
    while told.worker.alerts.webhook.is_busy:
        time.sleep(0.05)
        told.worker.alerts.look()
    assert told.worker.history.get(ALERTS)["needs_user"]["open"] is True
