"""Behaviour that differs between real servers or that a test sets, also while the server runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulators.plex.edits import IndexedTags
from tests.simulators.plex.habits import AfterEdit, Ignored, UpdatedAt
from tests.simulators.plex.normalize import Normalize


@dataclass
class Behaviour:
    """The settings of a server."""

    friendly_name: str
    machine_identifier: str
    version: str
    valid_tokens: set[str]
    shared_tokens: set[str] = field(default_factory=set)
    """Tokens of users who are not the owner: they can read, but not open `/library` or write."""
    starting_up: bool = False
    indexed_tags: IndexedTags = "replace"
    lock_on_edit: bool = False
    skip_unknown_ids: bool = False
    max_page: int | None = None
    max_request_line: int = 32_768
    long_request_status: int = 400
    """The status for a longer request line; a proxy in front of the server responds with 414."""
    max_poster: int | None = None
    """Bytes; a larger upload is refused with 413."""
    poster_kinds: frozenset[str] | None = None
    """Kinds of pictures as `picture_kind` names them; an upload of others is refused with 415."""
    normalize: Normalize = field(default_factory=Normalize)
    ignored: Ignored = field(default_factory=Ignored)
    updated_at: UpdatedAt = field(default_factory=UpdatedAt)
    after_edit: AfterEdit | None = None
    """Called after each edit, rating and poster of a client with the item and the names changed."""
    own_poster: bool = False
    """Whether the list of posters starts with the picture that Plex made itself."""
