"""The operation `webhook_test`: one message, marked as a test, and a sentence on what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from common.version import VERSION
from tasks.context import Context, UsageError
from tasks.report import report
from tasks.status import status
from tasks.webhook import webhook_test
from tests.harness.clock import HOUR
from tests.harness.in_process import WorkerHarness
from tests.harness.plugin import ENTRY
from tests.simulators.httpd import Answer
from tests.simulators.webhook import PATH, WebhookReceiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def context(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("tasks.webhook._SECONDS", 240.0)  # a busy machine may answer late
    return Context(
        *(str(harness.data_dir), str(ENTRY), harness.client, harness.redactor),
        *(lambda *_: None, lambda *_: None),
        environ={},
    )


def ask(context: Context, **arguments: Any) -> dict[str, Any]:
    answer = webhook_test(context, arguments).to_dict()
    assert PATH not in json.dumps(answer)
    return answer


def test_a_typed_address_goes_before_the_stored_one(
    harness: WorkerHarness, context: Context, receiver: WebhookReceiver
) -> None:
    harness.configure(webhook_url="http://127.0.0.1:1/stored")
    assert ask(context, webhook_url=f" {receiver.url} ") == {
        "summary": "The test message has arrived at the webhook", "ok": True,
    }  # fmt: skip
    harness.configure(webhook_url=receiver.url)
    assert ask(context, webhook_url="")["ok"] is True
    assert receiver.messages == [
        {
            "event": "test", "cause": "test", "since": None, "waiting": None, "needs": None,
            "text": "PlexSync: This is a test. PlexSync can reach you here.",
            "content": "PlexSync: This is a test. PlexSync can reach you here.",
            "version": VERSION,
        }
    ] * 2  # fmt: skip
    assert context.redactor.redact(f"posted to {receiver.url}").count("421337") == 0


def test_what_went_wrong_is_said_without_the_address(
    context: Context, receiver: WebhookReceiver
) -> None:
    receiver.server.faults.add(Answer(404))
    found = ask(context, webhook_url=receiver.url)
    assert found == {"summary": "The webhook can't be reached: it answers 404", "ok": False}
    receiver.server.stop()
    assert "there is no connection" in ask(context, webhook_url=receiver.url)["summary"]


@pytest.mark.parametrize(
    "typed", ["example.org/hook", "ftp://example.org", "http://[", 7, "x" * 5000]
)
def test_what_is_no_address_is_refused(context: Context, typed: object) -> None:
    with pytest.raises(UsageError, match="webhook_url must be"):
        webhook_test(context, {"webhook_url": typed})


def test_without_an_address_it_says_where_to_enter_one(context: Context) -> None:
    with pytest.raises(UsageError, match="webhook_url is not set"):
        webhook_test(context, {})


@pytest.mark.parametrize("is_anonymous", [False, True])
def test_status_and_report_say_what_is_wrong_without_the_address(
    harness: WorkerHarness, context: Context, receiver: WebhookReceiver, is_anonymous: bool
) -> None:
    receiver.server.faults.add(Answer(404))
    harness.configure(webhook_url=receiver.url)
    harness.new_worker(compares=True)
    harness.worker.alerts.webhook.seconds = harness.worker.alerts.webhook.patience = 240.0
    harness.plex.stop()
    harness.edit(harness.pair("one")[0], "New")
    harness.run_for(2 * HOUR)
    from common.sqlite import connect

    file = str(harness.data_dir / "history.db")
    with connect(file) as there:
        harness.worker.history._db.backup(there)
    there.close()
    shown = status(context, {})
    assert "The webhook can't be reached: it answers 404" in shown.lines
    assert any(line.startswith("Plex was not reachable since ") for line in shown.lines)
    assert shown.data["outages"][0]["cause"] == "plex_down"
    path = report(context, {"anonymous": "true"} if is_anonymous else {}).data["path"]
    with open(path, encoding="utf-8") as file_:
        text = file_.read()
    assert "it answers 404" in text
    assert "plex_down" in text
    for secret in (PATH, "421337"):
        assert secret not in text
        assert secret not in json.dumps(shown.to_dict()) + "".join(shown.lines)
