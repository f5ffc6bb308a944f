"""Validate PlexSync's settings: types, defaults, ranges and error messages."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from common.redaction import mask
from validation.metadata import SyncMetadata
from validation.rules import (
    COLLECTION_PARTS,
    STUDIO_FROM,
    TITLE,
    TITLE_PARTS,
    Rules,
    parse_collections,
    parse_conditions,
    parse_outcome,
    parse_outcomes,
    parse_tag_rules,
)
from validation.templates import parse_template

_TRUE = frozenset(("true", "1", "yes", "on", "y", "t"))
_FALSE = frozenset(("false", "0", "no", "off", "n", "f"))
_DEFAULT_PORT = 32400
#: Shorter parts of a webhook's address, such as "/notify", are words that stand elsewhere too.
_SECRET_LENGTH = 12
#: Stands in for the required settings where Plex is not asked.
NO_SERVER = {"plex_url": "http://127.0.0.1", "plex_token": "none"}
_WANTED_URL = "must be an address such as http://192.168.1.10:32400"
_NO_HOST = "between the dots of a host name are 1 to 63 characters"

#: Settings that change what is written, and where.
_OUTCOME = (
    "plex_libraries", "path_mappings", "strict_matching", "preserve_plex_edits", "only_organized",
    "lock_fields", "sync_title", "sync_details", "sync_date", "sync_studio", "sync_performers",
    "sync_tags", "sync_collections", "sync_poster", "sync_rating", "repair_drift", "replace_lists",
    "write_all_copies",
    "title_template", "sort_title_template", "title_without_performers", "tag_rules",
    "performer_tags", "tag_parents", "max_tags", "studio_from", "collections_from",
    "collection_sort_title", "content_rating", "labels", "sync_tagline", "sync_original_title",
    "sync_art", "keep_emoji", "include_scenes", "exclude_scenes",
)  # fmt: skip
#: Rules that a person writes → their parser, which raises ValueError with one sentence.
RULES: dict[str, Callable[[str], Any]] = {
    "title_template": lambda text: parse_template(text, TITLE_PARTS),
    "sort_title_template": lambda text: parse_template(text, TITLE_PARTS),
    "tag_rules": parse_tag_rules,
    "studio_from": lambda text: _one_of(text, STUDIO_FROM),
    "collections_from": parse_collections,
    "collection_sort_title": lambda text: parse_template(text, COLLECTION_PARTS),
    "content_rating": parse_outcome,
    "labels": parse_outcomes,
    "include_scenes": parse_conditions,
    "exclude_scenes": parse_conditions,
}
#: Settings of which a wrong value stops nothing: the last valid one stays in effect.
FORGIVING = (*RULES, "max_tags")
#: All settings that are rules.
RULE_SETTINGS = (
    *FORGIVING, "title_without_performers", "performer_tags", "tag_parents", "sync_tagline",
    "sync_original_title", "sync_art", "keep_emoji",
)  # fmt: skip
#: Characters of a rule.
_LONGEST_RULE = 20_000
#: Characters of the sentence about a wrong value, which may quote it.
_LONGEST_REASON = 400

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
    except (TypeError, ValueError, OverflowError):
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

    #: the worker waits for the next edit instead of leaving
    stay: Switch = True
    #: follow Plex's event stream
    plex_events: Switch = True
    #: local time of day of the daily comparison, as "HH:MM"
    compare_at: str = "03:30"
    #: where outages and scenes that need the user are reported; "": nowhere
    webhook_url: str = Field(default="", repr=False)

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

    #: rules, as the user wrote them; "": none (`rules` has them parsed)
    title_template: str = TITLE.text
    sort_title_template: str = ""
    title_without_performers: Switch = False
    tag_rules: str = ""
    performer_tags: Switch = False
    tag_parents: Switch = False
    max_tags: Annotated[int | None, BeforeValidator(_number), Field(ge=1, le=500)] = None
    studio_from: str = "studio"
    collections_from: str = "studio; groups"
    collection_sort_title: str = ""
    content_rating: str = ""
    labels: str = ""
    sync_tagline: Switch = False
    sync_original_title: Switch = False
    sync_art: Switch = False
    keep_emoji: Switch = True
    include_scenes: str = ""
    exclude_scenes: str = ""
    #: rules that are wrong, a sentence each; `validate_config` uses the last valid ones instead
    rule_problems: tuple[str, ...] = ()

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
        if not _is_host(parts.hostname):
            raise ValueError(f"{_WANTED_URL}; {_NO_HOST}")
        return url.rstrip("/")

    @field_validator("compare_at", mode="before")
    @classmethod
    def _check_time(cls, value: Any) -> str:
        found = re.fullmatch(r"([01]?\d|2[0-3])(?:[:.]([0-5]\d))?", str(value).strip())
        if found is None:
            raise ValueError("must be a time of day such as 03:30")
        return f"{int(found[1]):02d}:{found[2] or '00'}"

    @field_validator("webhook_url", mode="before")
    @classmethod
    def _check_webhook(cls, value: Any) -> str:
        return _webhook(value)

    @field_validator(*RULES, mode="before")
    @classmethod
    def _check_rule(cls, value: Any, info: ValidationInfo) -> str:
        text = str(value).strip()
        if len(text) > _LONGEST_RULE:
            raise ValueError(f"must have at most {_LONGEST_RULE} characters")
        RULES[str(info.field_name)](text)
        return text

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

    @cached_property
    def rules(self) -> Rules:
        """The rules, parsed."""
        texts = {name: getattr(self, name) for name in RULES}
        parsed = {name: RULES[name](text) for name, text in texts.items() if text}
        return Rules(
            title=parsed["title_template"],
            sort_title=parsed.get("sort_title_template"),
            title_without_performers=self.title_without_performers,
            tags=parsed.get("tag_rules", ()),
            performer_tags=self.performer_tags,
            tag_parents=self.tag_parents,
            max_tags=self.max_tags,
            studio_from=parsed["studio_from"],
            collections=parsed["collections_from"],
            collection_sort_title=parsed.get("collection_sort_title"),
            content_rating=parsed.get("content_rating", ()),
            labels=parsed.get("labels", ()),
            tagline=self.sync_tagline,
            original_title=self.sync_original_title,
            keep_emoji=self.keep_emoji,
            include=parsed.get("include_scenes", ()),
            exclude=parsed.get("exclude_scenes", ()),
        )

    @property
    def outcome_hash(self) -> str:
        """A short hash of the settings that change what is written, and where."""
        content = self.model_dump(mode="json", include=set(_OUTCOME))
        text = json.dumps(content, sort_keys=True).encode("ascii")
        return hashlib.blake2b(text, digest_size=6).hexdigest()

    def why_left_out(self, metadata: SyncMetadata) -> str | None:
        """Return which setting or rule leaves a scene out, in words for the user, or None."""
        if self.only_organized and not metadata.organized:
            return "not organized"
        return self.rules.why_left_out(metadata)

    def log_config(self) -> None:
        """Log the current settings, the token masked."""
        log.info(
            "Settings: %s", ", ".join(f"{key}={value!r}" for key, value in self.shown().items())
        )

    def shown(self) -> dict[str, Any]:
        """Return the settings for display, the token masked."""
        settings = self.model_dump(exclude={"stash_folders", "rule_problems"})
        # Whoever knows a webhook's address can post there.
        webhook = _host_of(self.webhook_url) if self.webhook_url else ""
        return settings | {"plex_token": mask(self.plex_token), "webhook_url": webhook}


def validate_config(
    settings: Mapping[str, Any], last_valid: Mapping[str, Any] | None = None
) -> tuple[PlexSyncConfig | None, str | None]:
    """Validate the settings.

    An unset, empty or blank value means the default; so does 0 for a number, as no range allows 0.
    If `plex_url` or `plex_token` is unset, `plexHost`, `plexPort` and `plexToken` of the older
    community plugin are used. A rule that is wrong stops nothing: it is in `rule_problems`.

    Args:
        last_valid: rules that stand in for those that are wrong; else these have their defaults.

    Returns:
        (config, None), or (None, one line that names each wrong setting, its value and its range).
    """
    given = _with_legacy({key: value for key, value in settings.items() if _is_set(key, value)})
    given.pop("rule_problems", None)  # not a setting
    try:
        return PlexSyncConfig.model_validate(given), None
    except ValidationError as error:
        problems = error.errors(include_url=False)
    wrong = [problem for problem in problems if problem["loc"][0] in FORGIVING]
    if len(wrong) < len(problems):
        return None, "; ".join(map(_message, problems))
    for problem in wrong:
        name = str(problem["loc"][0])
        given.pop(name)
        if name in (last_valid or {}):
            given[name] = (last_valid or {})[name]
    config, reason = validate_config(given)
    if config is None:
        return None, reason
    said = (*map(_message, wrong), *config.rule_problems)
    return config.model_copy(update={"rule_problems": said}), None


def wrong_rules(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return setting → one sentence that says what is wrong, of the rules that are not valid."""
    given = {name: settings.get(name) for name in FORGIVING}
    try:
        PlexSyncConfig.model_validate(
            {**NO_SERVER, **{key: value for key, value in given.items() if _is_set(key, value)}}
        )
    except ValidationError as error:
        return {str(one["loc"][0]): _reason(one) for one in error.errors(include_url=False)}
    return {}


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


def webhook_address(settings: Mapping[str, Any]) -> str:
    """Return the webhook's address, whatever else is wrong with the settings; "" if it is."""
    try:
        return _webhook(settings.get("webhook_url") or "")
    except ValueError:
        return ""


def webhook_secrets(address: str) -> list[str]:
    """Return the address of a webhook and the parts of it that give it away."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return [address]
    secrets = (parts.path, parts.query, parts.password or "")
    return [address, *(secret for secret in secrets if len(secret) >= _SECRET_LENGTH)]


def _webhook(value: Any) -> str:
    url = str(value).strip()
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
        is_address = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if url and (not is_address or any(c.isspace() or not c.isprintable() for c in url)):
        raise ValueError("must be an address such as https://example.org/hook")
    if url and not _is_host(parts.hostname or ""):
        raise ValueError(f"must be an address such as https://example.org/hook; {_NO_HOST}")
    return url


def _is_host(name: str) -> bool:
    """Return whether a host may have this name: no connection can be made to another."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _one_of(text: str, words: tuple[str, ...]) -> str:
    if text.lower() not in words:
        raise ValueError(f"must be one of {', '.join(words)}")
    return text.lower()


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
    return f"{setting} is {shown}: {_reason(problem)}"


def _reason(problem: Any) -> str:
    """Say what is wrong, without the setting and its value."""
    setting = str(problem["loc"][0])
    bounds = _RANGES.get(setting)
    if bounds:
        is_int = PlexSyncConfig.model_fields[setting].annotation in (int, int | None)
        kind = "a whole number" if is_int else "a number"
        return f"must be {kind} from {bounds[0]} to {bounds[1]}"
    reason = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    reason = " ".join(reason.split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"


def _without_secrets(setting: str, value: str) -> str:
    """Strip user, password and query from an address: it may contain a token or a password."""
    if setting == "webhook_url":
        return f"{value.partition('://')[0][:5]}…"
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
