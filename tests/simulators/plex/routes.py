"""Plex's HTTP endpoints."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence

from tests.simulators.httpd import Request, Response
from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.editing import Editor
from tests.simulators.plex.edits import (
    BadValueError,
    TakenNameError,
    UnknownFieldError,
    is_edit,
    parse_edit,
)
from tests.simulators.plex.listings import Listings, page_of, sorted_items
from tests.simulators.plex.markup import (
    Options,
    container,
    element,
    full_collection,
    full_item,
    library_element,
    listed_collection,
    listed_item,
)
from tests.simulators.plex.meta import VOCABULARIES, meta_element
from tests.simulators.plex.posters import PosterRoutes
from tests.simulators.plex.records import (
    COLLECTION,
    COLLECTION_TYPE,
    MOVIE,
    PlexCollection,
    PlexItem,
    PlexLibrary,
    Record,
)
from tests.simulators.plex.responses import empty, error, html, maintenance, xml
from tests.simulators.plex.scans import Scanner
from tests.simulators.plex.state import PlexState
from tests.simulators.plex.versions import merge, split

_IDENTIFIER = "com.plexapp.plugins.library"


class Routes:
    """The endpoints that a client needs to sync metadata."""

    def __init__(self, state: PlexState, scanner: Scanner, behaviour: Behaviour) -> None:
        self._state = state
        self._scanner = scanner
        self._behaviour = behaviour
        self._listings = Listings(state)
        self._editor = Editor(state, behaviour)
        posters = PosterRoutes(state, self._editor, behaviour)
        arts = PosterRoutes(state, self._editor, behaviour, "art")
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
                ("GET", r"/library/collections/(\d+)", self._collection),
                ("GET", r"/library/collections/(\d+)/children", self._members),
                ("GET", r"/library/metadata/([\d,]+)", self._metadata),
                ("PUT", r"/library/metadata/([\d,]+)", self._edit_records),
                ("PUT", r"/library/metadata/(\d+)/refresh", self._refresh),
                ("PUT", r"/library/metadata/(\d+)/merge", self._merge),
                ("PUT", r"/library/metadata/(\d+)/split", self._split),
                ("GET", r"/library/metadata/(\d+)/posters", posters.listing),
                ("POST", r"/library/metadata/(\d+)/posters", posters.upload),
                ("PUT", r"/library/metadata/(\d+)/poster", posters.select),
                ("GET", r"/library/metadata/(\d+)/arts", arts.listing),
                ("POST", r"/library/metadata/(\d+)/arts", arts.upload),
                ("PUT", r"/library/metadata/(\d+)/art", arts.select),
                ("DELETE", r"/library/metadata/(\d+)/art", arts.remove),
                ("GET", r"/library/metadata/(\d+)/art(?:/\d+)?", arts.background),
                ("GET", r"/library/metadata/(\d+)/thumb(?:/\d+)?", posters.thumb),
                ("GET", r"/library/metadata/(\d+)/file", posters.file),
                ("GET", r"/photo/:/transcode", posters.transcode),
                ("PUT", r"/:/rate", self._rate),
                ("GET", r"/:/eventsource/notifications", self._events),
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
        return error(404)

    def _refusal(self, request: Request) -> Response | None:
        behaviour = self._behaviour
        if len(f"{request.method} {request.target} HTTP/1.1") > behaviour.max_request_line:
            return error(behaviour.long_request_status)
        if behaviour.starting_up:
            return maintenance()
        if request.path == "/identity":
            return None
        token = request.headers.get("X-Plex-Token") or request.first("X-Plex-Token")
        if token in behaviour.valid_tokens:
            return None
        if token not in behaviour.shared_tokens:
            return error(401)
        forbidden = request.method != "GET" or request.path.rstrip("/") == "/library"
        return error(403) if forbidden else None

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
        return xml(container(attributes, directories))

    def _identity(self, _request: Request) -> Response:
        behaviour = self._behaviour
        return xml(
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
        return xml(container({"size": len(activities)}, activities))

    # -- sections --

    def _library(self, _request: Request) -> Response:
        attributes = {
            "size": 1,
            "allowSync": 0,
            "identifier": _IDENTIFIER,
            "title1": "Plex Library",
        }
        return xml(
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
        return xml(container(attributes, libraries))

    def _all(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return error(404)
        if request.first("type") == str(COLLECTION_TYPE):
            return self._list_collections(request, library)
        page = page_of(
            self._listings.select(library, request.query), request, self._behaviour.max_page
        )
        options = _options(request)
        children = [listed_item(item, options) for item in page.items]
        if request.first("includeMeta") == "1":
            children.insert(0, meta_element(library, library.type))
        attributes = page.attributes | _section_attributes(library) | {"viewGroup": library.type}
        return xml(container(attributes, children))

    def _collections(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return error(404)
        return self._list_collections(request, library)

    def _list_collections(self, request: Request, library: PlexLibrary) -> Response:
        collections = self._listings.select_collections(library, request.query)
        page = page_of(collections, request, self._behaviour.max_page)
        children = [listed_collection(self._state, collection) for collection in page.items]
        if request.first("includeMeta") == "1":
            children.insert(0, meta_element(library, "collection"))
        return xml(container(page.attributes | _section_attributes(library), children))

    def _collection(self, request: Request, key: str) -> Response:
        if int(key) not in self._state.collections:
            return error(404)
        return self._metadata(request, key)

    def _members(self, request: Request, key: str) -> Response:
        collection = self._state.collections.get(int(key))
        if collection is None:
            return error(404)
        items = sorted_items(self._state.members(collection), request.first("sort") or "")
        page = page_of(items, request, self._behaviour.max_page)
        options = _options(request)
        children = [listed_item(item, options) for item in page.items]
        return xml(container(page.attributes | _section_attributes(collection.library), children))

    def _vocabulary(self, _request: Request, section: str, kind: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return error(404)
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
        return xml(container({"size": len(tags)} | _section_attributes(library), tags))

    def _scan(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return error(404)
        self._scanner.request_scan(
            library, request.first("path"), force=request.first("force") == "1"
        )
        return html()

    # -- items and collections --

    def _metadata(self, request: Request, keys: str) -> Response:
        records = self._records(keys)
        if not records:
            return error(404)
        page = page_of(records, request, self._behaviour.max_page)
        options = _options(request)
        children = [self._full(record, options) for record in page.items]
        return xml(container(page.attributes | _section_attributes(records[0].library), children))

    def _full(self, record: Record, options: Options) -> str:
        if isinstance(record, PlexCollection):
            return full_collection(self._state, record, options)
        return full_item(self._state, record, options)

    def _refresh(self, _request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        if item is None:
            return error(404)
        self._scanner.request_refresh(item)
        return empty()

    def _merge(self, request: Request, key: str) -> Response:
        asked = [int(each) for each in (request.first("ids") or "").split(",") if each.isdecimal()]
        item = self._state.items.get(int(key))
        others = [self._state.items[each] for each in asked if each in self._state.items]
        if item is None or not others or len(others) < len(asked):
            return error(404)
        try:
            merge(self._state, item, others)
        except ValueError:
            return error(400)
        return empty()

    def _split(self, _request: Request, key: str) -> Response:
        item = self._state.items.get(int(key))
        if item is None:
            return error(404)
        split(self._state, item)
        return empty()

    def _records(self, keys: str) -> list[Record]:
        found = [self._state.record(int(key)) for key in keys.split(",") if key]
        return [record for record in found if record is not None]

    def _events(self, request: Request) -> Response:
        return self._state.notifications.subscribe(request)

    # -- edits --

    def _edit_section(self, request: Request, section: str) -> Response:
        library = self._state.libraries.get(int(section))
        if library is None:
            return error(404)
        where = [(name, value) for name, value in request.query if not is_edit(name)]
        collections = request.first("type") == str(COLLECTION_TYPE)
        select = self._listings.select_collections if collections else self._listings.select
        records: Sequence[Record] = select(library, where)
        # Without `id` every item of the type is edited, as on the real server.
        asked = request.first("id")
        if asked and not self._may_edit(asked, records):
            return error(404)
        return self._carry_out(request, records)

    def _edit_records(self, request: Request, keys: str) -> Response:
        records = list(dict.fromkeys(self._records(keys)))
        if not self._may_edit(keys, records):
            return error(404)
        return self._carry_out(request, records)

    def _may_edit(self, asked: str, records: Sequence[Record]) -> bool:
        wanted = {int(key) for key in asked.split(",") if key.isdecimal()}
        known = {record.rating_key for record in records}
        return bool(known) and (wanted <= known or self._behaviour.skip_unknown_ids)

    def _carry_out(self, request: Request, records: Sequence[Record]) -> Response:
        items = [record for record in records if isinstance(record, PlexItem)]
        collections = [record for record in records if isinstance(record, PlexCollection)]
        # Everything is checked before anything is written.
        try:
            edit = parse_edit(request.query, COLLECTION if collections else MOVIE)
            if items:
                edit = parse_edit(request.query, MOVIE)
            self._editor.check_collections(collections, edit)
        except UnknownFieldError:
            return error(400)
        except TakenNameError:
            return error(409)
        except BadValueError:
            return error(500)
        for item in items:
            self._editor.edit(item, edit)
        for collection in collections:
            self._editor.edit_collection(collection, edit)
        return empty()

    def _rate(self, request: Request) -> Response:
        key, rating = request.first("key", ""), request.first("rating", "")
        if not key or not rating or request.first("identifier") != _IDENTIFIER:
            return error(400)
        item = self._state.items.get(int(key)) if key.isdecimal() else None
        if item is None:
            return error(404)
        try:
            stars = float(rating)
        except ValueError:
            return error(400)
        if stars > 10 or (stars < 0 and stars != -1):
            return error(400)
        self._editor.rate(item, rating)
        return empty()


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
