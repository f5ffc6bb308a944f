"""Validate PlexSync's settings: types, defaults, ranges and error messages."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from common.redaction import mask

_TRUE = frozenset(("true", "1", "yes", "on", "y", "t"))
_FALSE = frozenset(("false", "0", "no", "off", "n", "f"))
_DEFAULT_PORT = 32400
_WANTED_URL = "must be an address such as http://192.168.1.10:32400"

#: Settings that change what is written, and where.
_OUTCOME = (
    "plex_libraries", "path_mappings", "strict_matching", "preserve_plex_edits", "only_organized",
    "lock_fields", "sync_title", "sync_details", "sync_date", "sync_studio", "sync_performers",
    "sync_tags", "sync_collections", "sync_poster", "sync_rating", "repair_drift", "replace_lists",
    "write_all_copies",
)  # fmt: skip

log = logging.getLogger("plexsync.config")


def _switch(value: Any) -> Any:
    """Parse a boolean as Stash sends it: true, "true", 1 …"""
    word = str(value).strip().casefold()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("must be on or off (true or false)")


def _number(value: Any) -> Any:
    """Parse a number; accept a decimal comma."""
    if isinstance(value, str):
        value = value.strip().replace(",", ".")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("must be a number") from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError("must be a number")
    return int(number) if number.is_integer() else number


Switch = Annotated[bool, BeforeValidator(_switch)]


class PlexSyncConfig(BaseModel):
    """Hold the validated settings. Create it with `validate_config`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plex_url: str
    plex_token: str = Field(repr=False)
    plex_libraries: tuple[str, ...] = ()
    #: (path in Stash, path in Plex), as the user entered them
    path_mappings: tuple[tuple[str, str], ...] = ()

    enabled: Switch = True
    strict_matching: Switch = True
    preserve_plex_edits: Switch = False
    only_organized: Switch = False
    lock_fields: Switch = True
    trigger_plex_scan: Switch = False

    max_retries: Annotated[int, BeforeValidator(_number), Field(ge=1, le=20)] = 5
    #: seconds
    poll_interval: Annotated[float, BeforeValidator(_number), Field(ge=0.1, le=60)] = 1.0
    #: seconds
    plex_connect_timeout: Annotated[float, BeforeValidator(_number), Field(ge=1, le=30)] = 5.0
    #: seconds
    plex_read_timeout: Annotated[float, BeforeValidator(_number), Field(ge=5, le=120)] = 30.0
    dlq_retention_days: Annotated[int, BeforeValidator(_number), Field(ge=1, le=365)] = 30

    sync_title: Switch = True
    sync_details: Switch = True
    sync_date: Switch = True
    sync_studio: Switch = True
    sync_performers: Switch = True
    sync_tags: Switch = True
    sync_collections: Switch = True
    sync_poster: Switch = True
    sync_rating: Switch = False
    repair_drift: Switch = True
    replace_lists: Switch = False
    write_all_copies: Switch = False

    #: the folders of Stash's library; no setting of PlexSync's, but the way of the settings
    stash_folders: tuple[str, ...] = ()

    @field_validator("plex_url", mode="before")
    @classmethod
    def _check_url(cls, value: Any) -> str:
        url = str(value).strip()
        if any(char in url for char in "@?#"):
            raise ValueError("must be an address only, without user, query or fragment")
        try:
            if "://" not in url:
                url = _with_scheme(url)
            parts = urlsplit(url)
            _ = parts.port  # raises ValueError if it is not a number
        except ValueError:
            raise ValueError(_WANTED_URL) from None
        if (
            parts.scheme.lower() not in ("http", "https")
            or not parts.hostname
            or any(c.isspace() for c in url)
        ):
            raise ValueError(_WANTED_URL)
        return url.rstrip("/")

    @field_validator("plex_token", mode="before")
    @classmethod
    def _check_token(cls, value: Any) -> str:
        token = str(value).strip()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("must be a Plex token: letters, digits, - and _")
        return token

    @field_validator("plex_libraries", mode="before")
    @classmethod
    def _split_libraries(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise ValueError("must be names of libraries, separated by commas")
        return tuple(name.strip() for name in names if name.strip())

    @field_validator("path_mappings", mode="before")
    @classmethod
    def _split_mappings(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(_mapping(part) for part in value.replace("\n", ";").split(";") if part.strip())

    @property
    def outcome_hash(self) -> str:
        """A short hash of the settings that change what is written, and where."""
        content = self.model_dump(mode="json", include=set(_OUTCOME))
        text = json.dumps(content, sort_keys=True).encode("ascii")
        return hashlib.blake2b(text, digest_size=6).hexdigest()

    def log_config(self) -> None:
        """Log the current settings, the token masked."""
        log.info(
            "Settings: %s", ", ".join(f"{key}={value!r}" for key, value in self.shown().items())
        )

    def shown(self) -> dict[str, Any]:
        """Return the settings for display, the token masked."""
        settings = self.model_dump(exclude={"stash_folders"})
        return settings | {"plex_token": mask(self.plex_token)}


def validate_config(settings: Mapping[str, Any]) -> tuple[PlexSyncConfig | None, str | None]:
    """Validate the settings.

    An unset, empty or blank value means the default; so does 0 for a number, as no range allows 0.
    If `plex_url` or `plex_token` is unset, `plexHost`, `plexPort` and `plexToken` of the older
    community plugin are used.

    Returns:
        (config, None), or (None, one line that names each wrong setting, its value and its range).
    """
    given = _with_legacy({key: value for key, value in settings.items() if _is_set(key, value)})
    try:
        return PlexSyncConfig.model_validate(given), None
    except ValidationError as error:
        return None, "; ".join(_message(problem) for problem in error.errors(include_url=False))


def default_settings() -> dict[str, Any]:
    """Return the defaults in the types of Stash's settings page (no fractional numbers)."""
    defaults = {key: field.get_default() for key, field in PlexSyncConfig.model_fields.items()}
    return {
        key: f"{value:g}"
        if key == "poll_interval"
        else int(value)
        if isinstance(value, float)
        else value
        for key, value in defaults.items()
        if isinstance(value, (bool, int, float))
    }


def _is_set(key: str, value: Any) -> bool:
    if value is None or (isinstance(value, str) and not value.strip()):
        return False
    return (
        key not in _RANGES
        or isinstance(value, bool)
        or str(value).strip() not in ("0", "0.0", "nan", "NaN")
    )


def _with_legacy(given: dict[str, Any]) -> dict[str, Any]:
    """Fill in address and token from the settings of the older community plugin."""
    if "plex_url" not in given and "plexHost" in given:
        host = str(given["plexHost"]).strip().rstrip("/")
        host = host if "://" in host else f"http://{host}"
        port = str(given.get("plexPort") or _DEFAULT_PORT).strip()
        has_no_port = host.count(":") == 1 or host.endswith("]")
        given["plex_url"] = f"{host}:{port}" if has_no_port else host
    if "plex_token" not in given and "plexToken" in given:
        given["plex_token"] = given["plexToken"]
    return given


def _with_scheme(address: str) -> str:
    """Complete an address without scheme; one without a port gets Plex's.

    Raises:
        ValueError: it is a bare word, so it may be anything.
    """
    host = urlsplit(f"http://{address}")
    if host.port is not None or host.path not in ("", "/"):
        return f"http://{address}"
    name = host.hostname or ""
    if "." not in name and ":" not in name and name != "localhost":
        raise ValueError(_WANTED_URL)
    return f"http://{host.netloc}:{_DEFAULT_PORT}"


def _mapping(text: str) -> tuple[str, str]:
    stash, separator, plex = (part.strip() for part in text.partition("=>"))
    if not (stash and separator and plex):
        raise ValueError(f"{text.strip()!r} must look like /path/in/stash => /path/in/plex")
    return stash, plex


def _message(problem: Any) -> str:
    """Describe one of pydantic's errors: the setting, its value, its range."""
    setting = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"{setting} is not set: enter it in Stash under Settings > Plugins > PlexSync"
    value = problem.get("input")
    shown = (
        mask(str(value))
        if "token" in setting
        else f"{_without_secrets(setting, str(value))[:120]!r}"
    )
    reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    bounds = _RANGES.get(setting)
    if bounds:
        is_int = PlexSyncConfig.model_fields[setting].annotation is int
        kind = "a whole number" if is_int else "a number"
        reason = f"must be {kind} from {bounds[0]} to {bounds[1]}"
    return f"{setting} is {shown}: {reason}"


def _without_secrets(setting: str, value: str) -> str:
    """Strip user, password and query from an address: it may contain a token or a password."""
    if setting != "plex_url":
        return value
    _, at, rest = value.rpartition("@")
    return f"{'…@' if at else ''}{re.split('[?#]', rest, maxsplit=1)[0]}"


def _ranges() -> dict[str, tuple[float, float]]:
    """Return setting → (minimum, maximum) of all numeric settings."""
    ranges = {}
    for name, field in PlexSyncConfig.model_fields.items():
        bounds = {
            key: getattr(constraint, key)
            for constraint in field.metadata
            for key in ("ge", "le")
            if getattr(constraint, key, None)
        }
        if bounds:
            ranges[name] = (bounds["ge"], bounds["le"])
    return ranges


_RANGES = _ranges()
