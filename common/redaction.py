"""Keep secrets out of logs and stored errors.

Every secret is registered with a `Redactor` as soon as it is known. All text that is logged or
stored passes through it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

from common.texts import cut, printable

#: Shorter values are not masked: masking "1" or "abc" would only garble the text.
_MIN_LENGTH = 6
#: Short-lived secrets to remember: a late log line may still contain one that was replaced.
_MAX_SHORT_LIVED = 10
# A value that follows the name of a secret. "session" counts only before "=": "The session: Live"
# is a title, "session=MTc2…" is a cookie.
_NAMED_SECRET = re.compile(
    r"(?i)(x-plex-token|plex_?token|api_?key|sessioncookie|session(?==)|cookie(?==))"
    r"(['\"]?\s*[=:]\s*['\"]?)([\w\-+/=.|%]{8,})"
)


def mask(secret: str) -> str:
    """Return at most the first and last four characters of `secret`, for display."""
    return f"{secret[:4]}…{secret[-4:]}" if len(secret) >= 16 else "…"


class Redactor:
    """Mask the secrets of this process in texts."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._short_lived: deque[list[str]] = deque(maxlen=_MAX_SHORT_LIVED)
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, *secrets: str | None) -> None:
        """Register secrets; their URL-encoded forms are masked too."""
        with self._lock:
            new = [secret for secret in secrets if secret and secret not in self._known]
            if new:
                self._known.update(*map(_forms, new))
                # Longest first: a long secret may contain a short one.
                forms = sorted(self._known, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def add_passing(self, secret: str | None) -> None:
        """Register a short-lived secret such as a session cookie; only the last few are kept."""
        if secret and not any(secret in forms for forms in self._short_lived):
            self._short_lived.append(sorted(_forms(secret), key=len, reverse=True))

    def redact(self, text: str) -> str:
        """Return `text` with registered secrets and values named like a secret masked."""
        for forms in tuple(self._short_lived):
            for form in forms:
                if form in text:
                    text = text.replace(form, mask(unquote_plus(form)))
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(lambda found: mask(unquote_plus(found[0])), text)
        return _NAMED_SECRET.sub(_mask_named, text)

    def clean(self, value: Any) -> Any:
        """Return the JSON value `value` with all strings redacted."""
        return cleaned(value, self.redact)


def _forms(secret: str) -> set[str]:
    """Return `secret` plain and URL-encoded."""
    if len(secret) < _MIN_LENGTH:
        return set()
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}


def _mask_named(found: re.Match[str]) -> str:
    name, separator, value = found.groups()
    return f"{name}{separator}{value if '…' in value else mask(value)}"


def cleaned(value: Any, redact: Callable[[str], str]) -> Any:
    """Return the JSON value `value` with all strings redacted.

    Redacting the serialized text instead could produce invalid JSON.

    Args:
        redact: masks the secrets in one string.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(str(key)): cleaned(item, redact) for key, item in value.items()}
    return [cleaned(item, redact) for item in value] if isinstance(value, (list, tuple)) else value


class RedactingFormatter(logging.Formatter):
    """Mask secrets, and characters that a terminal obeys, in log records and their tracebacks."""

    def __init__(self, redactor: Redactor, fmt: str) -> None:
        """Format with `fmt`, then redact."""
        super().__init__(fmt)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted record; only a traceback has several lines."""
        text = self._redactor.redact(super().format(record))
        # Cut after redacting: half a secret would not be recognized.
        return "\n".join(cut(printable(line)) for line in text.split("\n"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the record's own line: a line break in it must not look like another record."""
        return printable(super().formatMessage(record))
