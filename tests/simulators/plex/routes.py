"""Plex's HTTP endpoints."""

from __future__ import annotations

import re
import struct
import uuid
import zlib
from collections.abc import Callable
from urllib.parse import quote

from tests.simulators.httpd import Request, Response
from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.editing import Editor
from tests.simulators.plex.edits import BadValueError, UnknownFieldError, is_edit, parse_edit
from tests.simulators.plex.listings import Listings, page_of
from tests.simulators.plex.markup import (
    DECLARATION,
    Options,
    container,
    element,
    full_item,
    library_element,
    listed_item,
)
from tests.simulators.plex.meta import VOCABULARIES, meta_element
from tests.simulators.plex.records import PlexItem, PlexLibrary
from tests.simulators.plex.scans import Scanner
from tests.simulators.plex.state import PlexState

_COLLECTION_TYPE = "18"
_IDENTIFIER = "com.plexapp.plugins.library"
_XML = {"Content-Type": "text/xml;charset=utf-8", "X-Plex-Protocol": "1.0"}
_HTML = {"Content-Type": "text/html", "X-Plex-Protocol": "1.0"}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
}


class Routes:
    """The endpoints that a client needs to sync metadata."""

    def __init__(self, state: PlexState, scanner: Scanner, behaviour: Behaviour) -> None:
        self._state = state
        self._scanner = scanner
        self._behaviour = behaviour
        self._listings = Listings(state)
        self._editor = Editor(state, behaviour)
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = [
            (method, re.compile(path), handle)
            for method, path, handle in (
                ("GET", r"/", self._root),
                ("GET", r"/identity", self._identity),
                ("GET", r"/activities/?", self._activities),
                ("GET", r"/library/?", self._library),
                ("GET", r"/library/sections/?", self._sections),
                ("GET", r"/library/sections/(\d+)/all", self._all),
                ("PUT", r"/library/sections/(\d+)/all", self._edit_section),
                ("GET", r"/library/sections/(\d+)/collections", self._collections),
                ("GET", r"/library/sections/(\d+)/refresh", self._scan),
                ("GET", rf"/library/sections/(\d+)/({'|'.join(VOCABULARIES)})", self._vocabulary),
                ("GET", r"/library/metadata/([\d,]+)", self._metadata),
                ("PUT", r"/library/metadata/([\d,]+)", self._edit_items),
                ("PUT", r"/library/metadata/(\d+)/refresh", self._refresh),
                ("GET", r"/library/metadata/(\d+)/posters", self._posters),
                ("POST", r"/library/metadata/(\d+)/posters", self._upload_poster),
                ("PUT", r"/library/metadata/(\d+)/poster", self._select_poster),
                ("GET", r"/library/metadata/(\d+)/thumb(?:/\d+)?", self._thumb),
                ("GET", r"/library/metadata/(\d+)/file", self._poster_file),
                ("PUT", r"/:/rate", self._rate),
            )
        ]

    def handle(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        with self._state.lock:
            self._state.catch_up()
            for method, pattern, handle in self._routes:
                match = pattern.fullmatch(request.path)
                if match is not None and method == request.method:
                    return handle(request, *match.groups())
        return _error(404)

    def _refusal(self, request: Request) -> Response | None:
        behaviour = self._behaviour
        if len(f"{request.method} {request.target} HTTP/1.1") > behaviour.max_request_line:
            return _error(400)
        if behaviour.starting_up:
            return _maintenance()
        if request.path == "/identity":
            return None
        token = request.headers.get("X-Plex-Token") or request.first("X-Plex-Token")
        if token in behaviour.valid_tokens:
            return None
        if token not in behaviour.shared_tokens:
            return _error(401)
        forbidden = request.method != "GET" or request.path.rstrip("/") == "/library"
        return _error(403) if forbidden else None

    # -- the server --

    def _root(self, _request: Request) -> Response:
        now = self._state.now()
        directories = [
            element("Directory", {"count": 1, "key": key, "title": key})
            for key in ("activities", "library")
        ]
        attributes: dict[str, object] = {
            "size": len(directories),
            "allowSync": 1,
            "friendlyName": self._behaviour.friendly_name,
            "machineIdentifier": self._behaviour.machine_identifier,
            "multiuser": 1,
            "myPlex": 1,
            "myPlexMappingState": "mapped",
            "myPlexSigninState": "ok",
            "platform": "Linux",
            "pluginHost": 1,
            "transcoderActiveVideoSessions": 0,
            "updatedAt": now,
            "version": self._behaviour.version,
        }
        return _xml(container(attributes, directories))

    def _identity(self, _request: Request) -> Response:
        behaviour = self._behaviour
        return _xml(
            container(
                {
                    "size": 0,
                    "apiVersion": "1.1.1",
                    "claimed": 1,
                    "machineIdentifier": behaviour.machine_identifier,
                    "version": behaviour.version,
                }
            )
        )

    def _activities(self, _request: Request) -> Response:
        activities = [
            element(
                "Activity",
                {
                    "uuid": uuid.UUID(int=library.key),
                    "type": "library.update.section",
                    "cancellable": 1,
                    "userID": 1,
                    "title": f"Scanning {library.title}",
                    "subtitle": library.locations[0] if library.locations else "",
                    "progress": 50,
                },
                element("Context", {"librarySectionID": library.key}),
            )
            for library in self._state.libraries.values()
            if library.scans
        ]
        return _xml(container({"size": len(activities)}, activities))

    # -- sections --

    def _library(self, _request: Request) -> Response:
        attributes = {
            "size": 1,
            "allowSync": 0,
            "identifier": _IDENTIFIER,
            "title1": "Plex Library",
        }
        return _xml(
            container(
                attributes, [element("Directory", {"key": "sections", "title": "Library Sections"})]
            )
        )

    def _sections(self, _request: Request) -> Response:
        libraries = [library_element(library) for library in self._state.libraries.values()]
        attributes = {
            "size": len(libraries),
            "allowSync": 0,
            "identifier": _IDENTIFIER,
            "title1": "Plex Library",
        }
        return _xml(container(attributes, libraries))

    def _all(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return _error(404)
        if request.first("type") == _COLLECTION_TYPE:
            return self._list_collections(request, library)
        page = page_of(
            self._listings.select(library, request.query), request, self._behaviour.max_page
        )
        options = _options(request)
        children = [listed_item(item, options) for item in page.items]
        if request.first("includeMeta") == "1":
            children.insert(0, meta_element(library, library.type))
        attributes = page.attributes | _section_attributes(library) | {"viewGroup": library.type}
        return _xml(container(attributes, children))

    def _collections(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return _error(404)
        return self._list_collections(request, library)

    def _list_collections(self, request: Request, library: PlexLibrary) -> Response:
        names = [name for _, name in self._state.vocabulary(library, "collection")]
        page = page_of(names, request, self._behaviour.max_page)
        children = [self._collection(library, name) for name in page.items]
        if request.first("includeMeta") == "1":
            children.insert(0, meta_element(library, "collection"))
        return _xml(container(page.attributes | _section_attributes(library), children))

    def _collection(self, library: PlexLibrary, name: str) -> str:
        key = self._state.collection_key(library, name)
        return element(
            "Directory",
            {
                "ratingKey": key,
                "key": f"/library/collections/{key}/children",
                "type": "collection",
                "subtype": library.type,
                "title": name,
                "summary": "",
                "childCount": self._state.uses(library, "collection", name),
            },
        )

    def _vocabulary(self, _request: Request, section: str, kind: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return _error(404)
        tags = [
            element(
                "Directory",
                {
                    "fastKey": f"/library/sections/{section}/all?{kind}={key}",
                    "key": key,
                    "title": name,
                },
            )
            for key, name in self._state.vocabulary(library, kind)
        ]
        return _xml(container({"size": len(tags)} | _section_attributes(library), tags))

    def _scan(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return _error(404)
        self._scanner.request_scan(
            library, request.first("path"), force=request.first("force") == "1"
        )
        return Response(200, headers=dict(_HTML))

    # -- items --

    def _metadata(self, request: Request, keys: str) -> Response:
        items = self._items(keys)
        if not items:
            return _error(404)
        page = page_of(items, request, self._behaviour.max_page)
        options = _options(request)
        children = [full_item(self._state, item, options) for item in page.items]
        return _xml(container(page.attributes | _section_attributes(items[0].library), children))

    def _refresh(self, _request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        if item is None:
            return _error(404)
        self._scanner.request_refresh(item)
        return _empty()

    def _items(self, keys: str) -> list[PlexItem]:
        wanted = [int(key) for key in keys.split(",") if key]
        return [self._state.items[key] for key in wanted if key in self._state.items]

    # -- edits --

    def _edit_section(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return _error(404)
        where = [(name, value) for name, value in request.query if not is_edit(name)]
        items = self._listings.select(library, where)
        # Without `id` every item of the type is edited, as on the real server.
        asked = request.first("id")
        if asked and not self._may_edit(asked, {item.rating_key for item in items}):
            return _error(404)
        return self._carry_out(request, items)

    def _edit_items(self, request: Request, keys: str) -> Response:
        items = self._items(keys)
        if not self._may_edit(keys, {item.rating_key for item in items}):
            return _error(404)
        return self._carry_out(request, items)

    def _may_edit(self, asked: str, known: set[int]) -> bool:
        wanted = {int(key) for key in asked.split(",") if key.isdecimal()}
        return bool(known) and (wanted <= known or self._behaviour.skip_unknown_ids)

    def _carry_out(self, request: Request, items: list[PlexItem]) -> Response:
        try:
            edit = parse_edit(request.query)
        except UnknownFieldError:
            return _error(400)
        except BadValueError:
            return _error(500)
        for item in items:
            self._editor.edit(item, edit)
        return _empty()

    def _rate(self, request: Request) -> Response:
        key, rating = request.first("key", ""), request.first("rating", "")
        if not key or not rating or request.first("identifier") != _IDENTIFIER:
            return _error(400)
        item = self._state.items.get(int(key)) if key.isdecimal() else None
        if item is None:
            return _error(404)
        try:
            stars = float(rating)
        except ValueError:
            return _error(400)
        if stars > 10 or (stars < 0 and stars != -1):
            return _error(400)
        self._editor.rate(item, rating)
        return _empty()

    # -- posters --

    def _posters(self, _request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        if item is None:
            return _error(404)
        photos = [self._photo(key, poster.key, poster is item.poster) for poster in item.posters]
        if self._behaviour.own_poster:
            photos.insert(0, self._photo(key, own_poster_key(item), item.poster is None))
        return _xml(container({"size": len(photos), "identifier": _IDENTIFIER}, photos))

    def _photo(self, item_key: str, poster_key: str, selected: bool) -> str:
        picture = f"/library/metadata/{item_key}/file?url={quote(poster_key, safe='')}"
        return element(
            "Photo",
            {
                "key": picture,
                "ratingKey": poster_key,
                "selected": int(selected),
                "thumb": picture,
            },
        )

    def _upload_poster(self, request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        if item is None:
            return _error(404)
        url = request.first("url")
        data = b"" if url is not None else request.body
        if url is None and not data:
            return _error(400)
        # A URL without a picture gives a blank poster and 200, as on the real server.
        self._editor.upload_poster(item, data, url)
        return _empty()

    def _select_poster(self, request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        wanted = request.first("url")
        if item is None:
            return _error(404)
        poster = next((each for each in item.posters if each.key == wanted), None)
        if poster is None and not (self._behaviour.own_poster and wanted == own_poster_key(item)):
            return _error(404)
        self._editor.select_poster(item, poster)
        # Not XML, as on the real server; clients must tolerate it.
        return Response(
            200, f"/library/metadata/{key}/thumb/{item.updated_at}".encode(), dict(_HTML)
        )

    def _thumb(self, _request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        if item is None:
            return _error(404)
        return _picture(
            item.poster.data if item.poster is not None and item.poster.data else _FRAME
        )

    def _poster_file(self, request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        wanted = request.first("url")
        if item is None:
            return _error(404)
        if wanted == own_poster_key(item):
            return _picture(_FRAME)
        poster = next((each for each in item.posters if each.key == wanted), None)
        return _picture(poster.data) if poster is not None else _error(404)


def own_poster_key(item: PlexItem) -> str:
    """Return the key of the video frame that Plex shows without another poster."""
    return f"media://{item.rating_key:040x}.bundle/Contents/Thumbnails/thumb1.jpg"


def _options(request: Request) -> Options:
    return Options(
        frozenset((request.first("excludeElements") or "").split(",")) - {""},
        frozenset((request.first("excludeFields") or "").split(",")) - {""},
        request.first("includeGuids") == "1",
    )


def _section_attributes(library: PlexLibrary) -> dict[str, object]:
    return {
        "allowSync": 1,
        "identifier": _IDENTIFIER,
        "librarySectionID": library.key,
        "librarySectionTitle": library.title,
        "librarySectionUUID": library.uuid,
        "mediaTagPrefix": "/system/bundle/media/flags/",
        "mediaTagVersion": 1700000000,
    }


def _xml(body: bytes) -> Response:
    return Response(200, body, dict(_XML))


def _empty() -> Response:
    return Response(200, headers=dict(_XML))


def _error(status: int) -> Response:
    title = _TITLES[status]
    page = f"<html><head><title>{title}</title></head><body><h1>{status} {title}</h1></body></html>"
    return Response(status, page.encode(), dict(_HTML))


def _maintenance() -> Response:
    status = "Plex Media Server is currently running startup maintenance tasks."
    body = DECLARATION + element(
        "Response", {"code": 503, "title": "Maintenance", "status": status}
    )
    return Response(503, body.encode(), dict(_XML))


def _picture(data: bytes) -> Response:
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Response(200, data, {"Content-Type": kind})


def _png() -> bytes:
    """Return one grey pixel, for the video frame that Plex shows without a poster."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\x80")),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


_FRAME = _png()
