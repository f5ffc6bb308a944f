"""Secrets are told to a `Redactor` on arrival, and everything that is logged or stored passes through it."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

#: Shorter values are left alone: masking "1" or "abc" would only garble the text.
_SHORTEST = 6
#: Passing secrets that are kept: what is logged late may still hold one that was replaced.
_PASSING = 10
# What follows such a name and looks like a secret. "The session: Live" is a title, "session=MTc2…" is none.
_NAMED = re.compile(
    r"(?i)(x-plex-token|plex_?token|api_?key|sessioncookie|session(?==)|cookie(?==))(['\"]?\s*[=:]\s*['\"]?)([\w\-+/=.|%]{8,})"
)


def mask(secret: str) -> str:
    """Return `secret` as it may be shown: its first and last four characters at most."""
    return f"{secret[:4]}…{secret[-4:]}" if len(secret) >= 16 else "…"


class Redactor:
    """Knows the secrets of this process and takes them out of texts."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._passing: deque[list[str]] = deque(maxlen=_PASSING)
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, *secrets: str | None) -> None:
        """Learn secrets; they are masked as they are and as they look inside a URL."""
        with self._lock:
            new = [secret for secret in secrets if secret and secret not in self._known]
            if new:
                self._known.update(*map(_forms, new))
                forms = sorted(
                    self._known, key=len, reverse=True
                )  # a long one may hold a short one
                self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def add_passing(self, secret: str | None) -> None:
        """Learn a secret that will be replaced by another soon, as a session cookie is; the last few are kept."""
        if secret and not any(secret in forms for forms in self._passing):
            self._passing.append(sorted(_forms(secret), key=len, reverse=True))

    def redact(self, text: str) -> str:
        """Return `text` without the known secrets, nor values that are named like one."""
        for passing in tuple(self._passing):
            for form in passing:
                if form in text:
                    text = text.replace(form, mask(unquote_plus(form)))
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(lambda found: mask(unquote_plus(found[0])), text)
        return _NAMED.sub(_mask_named, text)

    def clean(self, value: Any) -> Any:
        """Return a value of JSON's types with every string inside redacted."""
        return cleaned(value, self.redact)


def _forms(secret: str) -> set[str]:
    if len(secret) < _SHORTEST:
        return set()
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}


def _mask_named(found: re.Match[str]) -> str:
    name, sign, value = found.groups()
    return f"{name}{sign}{value if '…' in value else mask(value)}"


def cleaned(value: Any, redact: Callable[[str], str]) -> Any:
    """Return a value of JSON's types with every string inside redacted: JSON's own text would break under it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(str(key)): cleaned(one, redact) for key, one in value.items()}
    return [cleaned(one, redact) for one in value] if isinstance(value, (list, tuple)) else value


class RedactingFormatter(logging.Formatter):
    """Formats a record, its traceback included, on one line each and without secrets."""

    def __init__(self, redactor: Redactor, fmt: str) -> None:
        super().__init__(fmt)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.redact(super().format(record))
