"""Compute each Plex field's value from a scene of Stash, for the fields that are synced."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from history.fields import Value
from plex.items import format_rating
from plex.names import unique
from validation.config import PlexSyncConfig
from validation.metadata import SyncMetadata
from validation.rules import TARGETS, Rules
from validation.sanitizers import sanitize_for_plex
from validation.templates import Template

#: Bytes of one edit, which is all URL: Plex refuses one of 33 kB (400).
LONGEST_REQUEST = 28_000
#: Bytes that a character takes in a URL at most.
LONGEST_CHARACTER = 12

#: What the user says of the values that were in a library of Plex: Stash's, or partly not.
FROM_STASH, PARTLY_MINE = "stash", "mine"

_SWITCH_OF = {
    "title": "title", "summary": "details", "originallyAvailableAt": "date", "year": "date",
    "studio": "studio", "userRating": "rating", "actor": "performers", "genre": "tags",
    "director": "performers", "collection": "collections",
}  # fmt: skip
_TITLE_FROM = ("title", "date", "studio", "parent_studio", "performers", "code")
#: Texts → what of a scene they are made from, or may be by a rule.
_MADE_FROM = {
    "title": _TITLE_FROM, "titleSort": _TITLE_FROM, "originalTitle": ("title",),
    "summary": ("details",), "studio": ("studio", "parent_studio"), "tagline": ("code",),
    "originallyAvailableAt": ("date",), "year": ("date",), "userRating": ("rating100",),
}  # fmt: skip
#: Fields that only rules fill. Without one, what we wrote there is taken back.
OPTIONAL = ("contentRating", "label", "titleSort", "originalTitle", "tagline")
#: Of `studio_from`: what stands between a studio's parent and the studio.
_BETWEEN = " / "
#: What stands between the performers in a title.
_COMMA = ", "


@dataclass(frozen=True)
class Switches:
    """Which fields to write, and how."""

    title: bool = True
    details: bool = True
    date: bool = True
    studio: bool = True
    performers: bool = True
    tags: bool = True
    collections: bool = True
    poster: bool = True
    art: bool = False
    rating: bool = False
    lock: bool = True
    preserve: bool = False
    repair: bool = True
    replace_lists: bool = False
    #: lists of items that were met before it was on become Stash's too
    replace_met: bool = False
    #: where the lists of the item's library came from: `FROM_STASH`, `PARTLY_MINE`, "": unknown
    origin: str = ""
    rules: Rules = field(default_factory=Rules)


def switches_of(config: PlexSyncConfig) -> Switches:
    """Return what the settings say about writing."""
    return Switches(
        title=config.sync_title,
        details=config.sync_details,
        date=config.sync_date,
        studio=config.sync_studio,
        performers=config.sync_performers,
        tags=config.sync_tags,
        collections=config.sync_collections,
        poster=config.sync_poster,
        art=config.sync_art,
        rating=config.sync_rating,
        lock=config.lock_fields,
        preserve=config.preserve_plex_edits,
        repair=config.repair_drift,
        replace_lists=config.replace_lists,
        rules=config.rules,
    )


def values(metadata: SyncMetadata, stem: str, switches: Switches) -> dict[str, Value]:
    """Return Plex field → what Stash says, by the rules, for the fields that are synced.

    What may hide an item from restricted accounts comes first. A field of `OPTIONAL` is there only
    if it gets a value.

    Args:
        stem: the file name's stem, the title of a scene without one.
    """
    rules = switches.rules
    tags = _tags_by_target(metadata, switches)
    found: dict[str, Value] = {
        "contentRating": rules.content_rating_of(metadata),
        "label": (*rules.labels_of(metadata), *tags["labels"]),
        "title": title_of(metadata, stem, rules.title, rules)
        or rules.shown(metadata.title)
        or sanitize_for_plex(stem),
        "titleSort": title_of(metadata, stem, rules.sort_title, rules),
        "originalTitle": metadata.title if rules.original_title else "",
        "tagline": metadata.code if rules.tagline else "",
        "summary": _fitting_summary(metadata.details),
        "originallyAvailableAt": metadata.day or "",
        "year": str(metadata.year or ""),
        "studio": _studio(metadata, rules),
        "userRating": format_rating(
            None if metadata.rating100 is None else metadata.rating100 / 10
        ),
        "actor": metadata.performers,
        "director": (metadata.director,) if metadata.director else (),
        "genre": _names_shown(tags["genres"], rules)[: rules.max_tags],
        "collection": tuple(
            one.name for one in _collections(metadata, switches, tags["collections"])
        ),
    }
    found = {name: _shown(value, rules) for name, value in found.items()}
    return {name: value for name, value in found.items() if _is_on(switches, name, value)}


@dataclass(frozen=True)
class Sources:
    """A scene's values from which texts in Plex are made."""

    metadata: SyncMetadata
    #: of the file's name
    stem: str

    def of(self, name: str) -> str:
        """Return a short hash of what a text may be made from; "" for other fields."""
        parts = _MADE_FROM.get(name, ())
        if not parts:
            return ""
        content = [getattr(self.metadata, part) for part in parts]
        if parts is _TITLE_FROM:
            content.append(self.stem)
        return hashlib.blake2b(json.dumps(content).encode("ascii"), digest_size=6).hexdigest()


def title_of(metadata: SyncMetadata, stem: str, template: Template | None, rules: Rules) -> str:
    """Return the title that a template makes; "" without one, or if all its parts are empty."""
    if template is None:
        return ""
    title = rules.shown(metadata.title) or stem
    performers = [
        name
        for name in metadata.performers
        if not (rules.title_without_performers and _names(title, name))
    ]
    parts = {
        "title": title,
        "date": metadata.date or "",
        "year": str(metadata.year or ""),
        "studio": metadata.studio,
        "parent_studio": metadata.parent_studio,
        "performers": _COMMA.join(performers),
        "first_performer": performers[0] if performers else "",
        "code": metadata.code,
        "filename": stem,
    }
    return rules.shown(sanitize_for_plex(template.render(parts)))


def genres_of(metadata: SyncMetadata, switches: Switches) -> tuple[str, ...]:
    """Return the tags that become genres, also those over the limit."""
    return _names_shown(_tags_by_target(metadata, switches)["genres"], switches.rules)


def _tags_by_target(metadata: SyncMetadata, switches: Switches) -> dict[str, tuple[str, ...]]:
    """Return target (of `validation.rules.TARGETS`) → tags that the rules send there.

    The scene's own come first, then its performers', then the parents of all these.
    """
    rules = switches.rules
    tags = unique((*metadata.tags, *(metadata.performer_tags if rules.performer_tags else ())))
    above = metadata.tag_ancestors
    if rules.tag_parents:
        tags = unique((*tags, *(one for tag in tags for one in above.get(tag, ()))))
    found: dict[str, list[str]] = {target: [] for target in TARGETS}
    for tag in tags:
        for target in rules.targets_of(tag, above):
            if switches.tags or target == "collections":
                found[target].append(tag)
    return {target: tuple(names) for target, names in found.items()}


@dataclass(frozen=True)
class CollectionName:
    """A collection that a scene is in, and what it comes from."""

    name: str
    #: of `validation.rules.COLLECTION_KINDS`
    kind: str
    prefix: str
    #: what it is called in Stash
    source: str


def collections_of(metadata: SyncMetadata, switches: Switches) -> list[CollectionName]:
    """Return the collections that a scene is in, by the rules."""
    return _collections(metadata, switches, _tags_by_target(metadata, switches)["collections"])


def _collections(
    metadata: SyncMetadata, switches: Switches, tags: tuple[str, ...]
) -> list[CollectionName]:
    rules, kinds = switches.rules, switches.rules.collections
    count = stars_of(metadata.rating100)
    stars = f"{count} star{'s' if count > 1 else ''}" if count else ""
    sources: dict[str, tuple[str, ...]] = {
        "groups": metadata.groups,
        "studio": (metadata.studio,),
        "parent_studio": (metadata.parent_studio,),
        "tags": tags,
        "performers": metadata.performers,
        "rating": (stars,),
        "organized": ("Organized",) if metadata.organized else (),
    }
    found = []
    for kind, names in sources.items():
        prefix = rules.shown(kinds.get(kind, ""))
        for source in names if kind in kinds or kind == "tags" else ():
            if name := rules.shown(source):
                full = sanitize_for_plex(f"{prefix} {name}")
                found.append(CollectionName(full, kind, prefix, source))
    return found


def _is_on(switches: Switches, name: str, value: Value) -> bool:
    if name in OPTIONAL:
        return bool(value)
    # Without a title and a visible file name, the title in Plex is better than none.
    return bool(getattr(switches, _SWITCH_OF[name])) and (bool(value) or name != "title")


def _studio(metadata: SyncMetadata, rules: Rules) -> str:
    if not metadata.parent_studio or rules.studio_from == "studio":
        return metadata.studio
    if rules.studio_from == "parent":
        return metadata.parent_studio
    return sanitize_for_plex(f"{metadata.parent_studio}{_BETWEEN}{metadata.studio}")


def stars_of(rating100: int | None) -> int:
    """Return a rating in whole stars; 0: none."""
    return int((rating100 or 0) / 20 + 0.5)


def _names(title: str, name: str) -> bool:
    """Return whether a title has a name in it, as words of its own."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", title, re.IGNORECASE) is not None


def _shown(value: Value, rules: Rules) -> Value:
    return _names_shown(value, rules) if isinstance(value, tuple) else rules.shown(value)


def _names_shown(names: tuple[str, ...], rules: Rules) -> tuple[str, ...]:
    """Return names as Plex is to have them, each once."""
    return unique(shown for name in names if (shown := rules.shown(name)))


def _fitting_summary(summary: str) -> str:
    """Cut a summary that is too long for a request of its own."""
    longest = LONGEST_REQUEST - 1_000
    if len(summary) * LONGEST_CHARACTER <= longest:
        return summary
    while (length := len(quote(summary, safe=""))) > longest:
        shorter = int(len(summary) * min(longest / length, 0.99))
        summary = sanitize_for_plex(summary, shorter, keep_newlines=True)
    return summary
