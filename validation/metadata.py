"""Validate and sanitize a scene's metadata for Plex."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from validation.sanitizers import sanitize_for_plex, sanitize_names, sanitize_summary

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


def _names(value: Any) -> Any:
    if not value and (value is None or isinstance(value, (list, tuple))):
        return ()
    if not isinstance(value, (list, tuple)):
        return value
    return sanitize_names([one.get("name") if isinstance(one, dict) else one for one in value])


def _ancestors(value: Any) -> Any:
    """Sanitize a mapping of a name to its ancestors' names."""
    if not isinstance(value, Mapping):
        return value
    found = {sanitize_for_plex(name): _names(names) for name, names in value.items()}
    return {name: names for name, names in found.items() if name and names}


def _name(value: Any) -> Any:
    value = value.get("name") if isinstance(value, dict) else value
    if value is None or value == "":
        return ""
    return sanitize_for_plex(value) if isinstance(value, str) else value


def _summary(value: Any) -> Any:
    return sanitize_summary(value) if value is None or isinstance(value, str) else value


def _date(value: Any) -> Any:
    """Normalize a date; accept a year, a month or a day as Stash does (pkg/models/date.go)."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()[:10]
    found = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"not a date: {value!r}")
    year, month, day = int(found[1]), *(int(part) if part else None for part in found.groups()[1:])
    datetime.date(year, month or 1, day or 1)  # raises ValueError for an impossible day
    return "-".join([f"{year:04d}", *(f"{part:02d}" for part in (month, day) if part is not None)])


def _none_as_false(value: Any) -> Any:
    return False if value is None else value


Name = Annotated[str, BeforeValidator(_name)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class SyncMetadata(BaseModel):
    """Hold the metadata of one scene. Empty strings and tuples mean unset in Stash."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    scene_id: Annotated[int, Field(gt=0)] | None = None
    path: str | None = None
    title: Name = ""
    details: Annotated[str, BeforeValidator(_summary)] = ""
    #: YYYY, YYYY-MM or YYYY-MM-DD
    date: Annotated[str | None, BeforeValidator(_date)] = None
    #: 0 to 100
    rating100: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, validation_alias=AliasChoices("rating100", "rating")
    )
    studio: Name = ""
    director: Name = ""
    performers: Names = ()
    tags: Names = ()
    groups: Names = Field(
        default=(), validation_alias=AliasChoices("groups", "collections", "movies")
    )
    organized: Annotated[bool, BeforeValidator(_none_as_false)] = False
    code: Name = ""
    parent_studio: Name = ""
    performer_tags: Names = ()
    has_stash_id: Annotated[bool, BeforeValidator(_none_as_false)] = False
    #: tag of the scene or of a performer, or above one → its ancestors, the nearest first
    tag_ancestors: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_ancestors)] = Field(
        default_factory=dict
    )

    @property
    def is_blank(self) -> bool:
        """Tell whether Stash has no metadata for the scene, only its file."""
        values = (self.title, self.details, self.date, self.rating100, self.studio, self.director)
        return not any(values) and not (
            self.performers or self.tags or self.groups or self.organized
        )

    @property
    def year(self) -> int | None:
        """Return the year of the date, or None."""
        return int(self.date[:4]) if self.date else None

    @property
    def day(self) -> str | None:
        """Return the date if it has a day, else None; PlexSync never invents one."""
        return self.date if self.date and len(self.date) == len("YYYY-MM-DD") else None


def validate_metadata(data: dict[str, Any]) -> tuple[SyncMetadata | None, str | None]:
    """Validate a scene's metadata.

    Returns:
        (metadata, None), or (None, one line that names each wrong field and the reason).
    """
    try:
        return SyncMetadata.model_validate(data), None
    except ValidationError as error:
        return None, "; ".join(_message(problem) for problem in error.errors(include_url=False))


def _message(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "metadata"
    return f"{field}: {problem['msg']} (got {str(problem.get('input'))[:80]!r})"
