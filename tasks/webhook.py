"""Operation `webhook_test`: send a message that is marked as a test to the user's webhook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.context import Context, Result, UsageError
from validation.config import webhook_address, webhook_secrets
from worker.alerts import TEST, message
from worker.webhook import deliver

#: Seconds for the exchange: a person waits.
_SECONDS = 10.0
#: Longest address.
_LONGEST = 4_000


def webhook_test(context: Context, arguments: Mapping[str, Any]) -> Result:
    """Send a test, and say what became of it.

    Args:
        arguments: `webhook_url`: default: the settings.

    Raises:
        UsageError: The address is missing, or wrong.
        StashUnavailable, StashRefused, StashQueryError
    """
    text = "This is a test. PlexSync can reach you here."
    delivery = deliver(_address(context, arguments), message(TEST, text), _SECONDS)
    if delivery.problem is not None:
        return Result(f"The webhook can't be reached: {delivery.problem}", ok=False)
    return Result("The test message has arrived at the webhook")


def _address(context: Context, arguments: Mapping[str, Any]) -> str:
    typed = arguments.get("webhook_url")
    if not typed:
        stored = context.given_settings().get("webhook_url")
        if not str(stored or "").strip():
            raise UsageError("webhook_url is not set: enter it in PlexSync's settings")
        typed = str(stored)
    if not isinstance(typed, str) or len(typed) > _LONGEST:
        raise UsageError(f"webhook_url must be a text of {_LONGEST} characters at most")
    context.redactor.add(*webhook_secrets(typed.strip()))
    address = webhook_address({"webhook_url": typed})
    if not address:
        raise UsageError("webhook_url must be an address such as https://example.org/hook")
    return address
