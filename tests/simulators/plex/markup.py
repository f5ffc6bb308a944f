"""Write Plex's XML: numeric references for apostrophes, line breaks and non-ASCII characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.simulators.plex.records import Media, Part, PlexCollection, PlexItem, PlexLibrary
from tests.simulators.plex.state import PlexState

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

_PLEX_VERSIONS = re.compile(r"[\\/]Plex Versions[\\/]([^\\/]+)[\\/]")
_SPECIAL = re.compile("[&<>\"'\n\r\t]|[^\x00-\x7f]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}

_ELEMENTS = {
    "genre": "Genre",
    "country": "Country",
    "collection": "Collection",
    "director": "Director",
    "writer": "Writer",
    "actor": "Role",
    "producer": "Producer",
    "similar": "Similar",
    "label": "Label",
}
_SHOWN_IN_LISTINGS = {
    "genre": 2,
    "country": 2,
    "collection": 2,
    "director": 2,
    "writer": 2,
    "actor": 3,
}
"""Listings truncate tags silently, and omit the other kinds."""

_BEFORE_TYPE = ("editionTitle", "studio")
_AFTER_TYPE = (
    "title",
    "titleSort",
    "originalTitle",
    "contentRating",
    "summary",
    "rating",
    "audienceRating",
    "userRating",
    "year",
    "tagline",
)


@dataclass(frozen=True)
class Options:
    """The parts of each item that a client excludes or includes."""

    without_elements: frozenset[str] = frozenset()
    without_fields: frozenset[str] = frozenset()
    with_guids: bool = False


def escape(text: str) -> str:
    return _SPECIAL.sub(lambda match: _NAMED.get(match[0]) or f"&#{ord(match[0])};", text)


def attributes_text(attributes: Mapping[str, object]) -> str:
    """Format attributes for a tag; omit those that are None."""
    return "".join(
        [
            f' {name}="{value}"' if isinstance(value, int) else f' {name}="{escape(str(value))}"'
            for name, value in attributes.items()
            if value is not None
        ]
    )


def element(name: str, attributes: Mapping[str, object], *children: str, more: str = "") -> str:
    """Format an element; `more` is the text of further attributes."""
    written = attributes_text(attributes) + more
    if not children:
        return f"<{name}{written}/>\n"
    return f"<{name}{written}>\n{''.join(children)}</{name}>\n"


def container(attributes: dict[str, object], children: Iterable[str] = ()) -> bytes:
    return (DECLARATION + element("MediaContainer", attributes, *children)).encode("ascii")


_PICTURE = attributes_text(
    {
        "bitrate": 6000,
        "width": 1920,
        "height": 1080,
        "aspectRatio": "1.78",
        "audioChannels": 2,
        "audioCodec": "aac",
        "videoCodec": "h264",
        "videoResolution": "1080",
        "videoFrameRate": "24p",
    }
)


def library_element(library: PlexLibrary) -> str:
    kind = library.type
    return element(
        "Directory",
        {
            "allowSync": 1,
            "art": f"/:/resources/{kind}-fanart.jpg",
            "composite": f"/library/sections/{library.key}/composite/{library.scanned_at}",
            "filters": 1,
            "refreshing": int(library.scans > 0),
            "thumb": f"/:/resources/{kind}.png",
            "key": library.key,
            "type": kind,
            "title": library.title,
            "agent": library.agent,
            "scanner": "Plex Movie" if kind == "movie" else f"Plex {kind.title()} Scanner",
            "language": "en-US",
            "uuid": library.uuid,
            "updatedAt": library.updated_at,
            "createdAt": library.created_at,
            "scannedAt": library.scanned_at,
            "content": 1,
            "directory": 1,
            "contentChangedAt": library.content_changed_at,
            "hidden": 0,
        },
        *(
            element("Location", {"id": library.key * 100 + index, "path": path})
            for index, path in enumerate(library.locations)
        ),
    )


def listed_item(item: PlexItem, options: Options) -> str:
    """Return the partial item of listings, cached until the item changes."""
    if item.rendered is None or item.rendered[0] != options:
        text = element("Video", _attributes(item, options), *_listed_children(item, options))
        item.rendered = (options, text)
    return item.rendered[1]


def full_item(state: PlexState, item: PlexItem, options: Options) -> str:
    """Return the full item of `/library/metadata/N`."""
    attributes = _attributes(item, options) | _library_attributes(item.library)
    return element("Video", attributes, *_full_children(state, item, options))


def listed_collection(state: PlexState, collection: PlexCollection) -> str:
    """Return the collection of listings, which lacks the locks."""
    return element("Directory", _collection_attributes(state, collection))


def full_collection(state: PlexState, collection: PlexCollection, options: Options) -> str:
    """Return the collection of `/library/metadata/N`."""
    attributes = _collection_attributes(state, collection) | _library_attributes(collection.library)
    return element("Directory", attributes, *_locks(collection.locked, options))


def _library_attributes(library: PlexLibrary) -> dict[str, object]:
    return {
        "librarySectionTitle": library.title,
        "librarySectionID": library.key,
        "librarySectionKey": f"/library/sections/{library.key}",
    }


def _collection_attributes(state: PlexState, collection: PlexCollection) -> dict[str, object]:
    values, key = collection.values, collection.rating_key
    thumb = f"/library/metadata/{key}/thumb/{collection.updated_at}"
    return {
        "ratingKey": key,
        "key": f"/library/collections/{key}/children",
        "guid": f"collection://{key:024x}",
        "type": "collection",
        "title": collection.title,
        "titleSort": values.get("titleSort"),
        "contentRating": values.get("contentRating"),
        "subtype": collection.library.type,
        "summary": collection.summary,
        "thumb": None if collection.poster is None else thumb,
        "addedAt": collection.added_at,
        "updatedAt": collection.updated_at,
        "childCount": state.uses(collection.library, "collection", collection.title),
    }


def _attributes(item: PlexItem, options: Options) -> dict[str, object]:
    values, key = item.values, item.rating_key
    art = f"/library/metadata/{key}/art/{item.updated_at}"
    attributes: dict[str, object] = {
        "ratingKey": key,
        "key": f"/library/metadata/{key}",
        "guid": f"local://{key}",
        **{name: values.get(name) for name in _BEFORE_TYPE},
        "type": "movie",
        **{name: values.get(name) for name in _AFTER_TYPE},
        "thumb": f"/library/metadata/{key}/thumb/{item.updated_at}",
        "art": art if item.art is not None or item.own_art else None,
        "duration": sum(part.duration for part in item.media[0].parts),
        "originallyAvailableAt": values.get("originallyAvailableAt"),
        "addedAt": item.added_at,
        "updatedAt": item.updated_at,
    }
    if attributes["titleSort"] == attributes["title"]:
        attributes["titleSort"] = None
    for name in options.without_fields:
        attributes.pop(name, None)
    return attributes


def _listed_children(item: PlexItem, options: Options) -> Iterator[str]:
    if "Media" not in options.without_elements:
        yield from _media(item, streams=False, without_parts="Part" in options.without_elements)
    for kind, limit in _SHOWN_IN_LISTINGS.items():
        name = _ELEMENTS[kind]
        if name not in options.without_elements:
            yield from (element(name, {"tag": tag}) for tag in item.tags.get(kind, ())[:limit])
    if options.with_guids and "Guid" not in options.without_elements:
        yield from (element("Guid", {"id": guid}) for guid in item.guids)


def _full_children(state: PlexState, item: PlexItem, options: Options) -> Iterator[str]:
    left_out = options.without_elements
    if "Media" not in left_out:
        yield from _media(item, streams="Stream" not in left_out, without_parts="Part" in left_out)
    for kind, name in _ELEMENTS.items():
        if name not in left_out:
            yield from _full_tags(state, item, kind, name)
    if "Guid" not in left_out:
        yield from (element("Guid", {"id": guid}) for guid in item.guids)
    yield from _locks(item.locked, options)


def _locks(names: Iterable[str], options: Options) -> Iterator[str]:
    if "Field" not in options.without_elements:
        yield from (element("Field", {"locked": 1, "name": name}) for name in sorted(names))


def _full_tags(state: PlexState, item: PlexItem, kind: str, name: str) -> Iterator[str]:
    for tag in item.tags.get(kind, ()):
        number = state.tag_id(kind, tag)
        role = item.roles.get(tag) if kind == "actor" else None
        yield element(name, {"id": number, "filter": f"{kind}={number}", "tag": tag, "role": role})


def _media(item: PlexItem, *, streams: bool, without_parts: bool) -> Iterator[str]:
    for media in item.media:
        attributes = {
            "id": media.id,
            "duration": sum([part.duration for part in media.parts]),
            "container": _suffix(media.parts[0].file),
            **_optimized(media),
        }
        parts = [] if without_parts else [_part(part, streams) for part in media.parts]
        yield element("Media", attributes, *parts, more=_PICTURE)


def _optimized(media: Media) -> dict[str, object]:
    """Return the marks of a version that Plex made itself; its folder is named after the target."""
    match = _PLEX_VERSIONS.search(media.parts[0].file)
    return {"proxyType": 42, "target": match[1]} if match is not None else {}


def _part(part: Part, streams: bool) -> str:
    suffix = _suffix(part.file)
    attributes: dict[str, object] = {
        "id": part.id,
        "key": f"/library/parts/{part.id}/{part.modified_at}/file.{suffix}",
        "duration": part.duration,
        "file": part.file,
        "size": part.size,
        "container": suffix,
    }
    children = (
        [_stream(part, 1, "h264", "1080p"), _stream(part, 2, "aac", "Stereo")] if streams else []
    )
    return element("Part", attributes, *children)


def _stream(part: Part, kind: int, codec: str, title: str) -> str:
    return element(
        "Stream",
        {
            "id": part.id * 10 + kind,
            "streamType": kind,
            "default": 1,
            "codec": codec,
            "index": kind - 1,
            "displayTitle": f"{title} ({codec.upper()})",
        },
    )


def _suffix(path: str) -> str:
    return path.rpartition(".")[2].lower()
