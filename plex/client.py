"""The connection to Plex: all requests go through `PlexClient`, with limits and quick retries."""

from __future__ import annotations

import os
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote_plus, urlsplit
from xml.etree.ElementTree import Element, ParseError

import requests
from plexapi.server import PlexServer
from plexapi.utils import joinArgs
from requests.utils import get_environ_proxies

from common.limited import LimitedSession
from plex.exceptions import (
    PlexNotFound,
    PlexPermanentError,
    PlexRejected,
    PlexTemporaryError,
    translate_plex_exception,
    translated,
)
from plex.items import (
    Collection,
    Library,
    PlexItem,
    int_attribute,
    parse_collection,
    parse_item,
)  # fmt: skip

#: Attempts at a request when the network fails, and the pause before the second, in seconds; it
#: doubles.
ATTEMPTS = 3
FIRST_PAUSE = 0.1
#: Items per page of a listing.
PAGE = 1000
#: Items, and pages, that a listing may have; a large library has 100,000 items.
MAX_ITEMS = 5_000_000
MAX_PAGES = 10_000
#: Field of a picture → what Plex calls one in a path; several have an "s".
_PICTURES = {"thumb": "poster", "art": "art"}
#: Version since which an item can be left without a picture.
_REMOVES_SINCE = (1, 43)
#: Plex's numbers for the types "movie" and "collection".
MOVIE = 1
COLLECTION = 18
_FORBIDDEN = 403
_NETWORK_ERRORS = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)

T = TypeVar("T", bound=Any)  # has a `title`


class RetryingSession(LimitedSession):
    """Carries plexapi's requests: limits, quick retries, no redirects to strangers."""

    def __init__(
        self,
        url: str,
        timeout: tuple[float, float],
        headers: dict[str, str],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Prepare requests to `url`.

        Args:
            timeout: seconds to connect, and between two bytes of an answer.
            headers: override plexapi's own, which name the machine's MAC address.
        """
        super().__init__(timeout[1])
        # The environment is not trusted otherwise; proxies are looked up once.
        self.proxies.update(get_environ_proxies(url))
        self._verify = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        self._timeout = timeout
        self._own_headers = headers
        self._sleep = sleep
        self.attempts = ATTEMPTS

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: object = None,
        **content: Any,
    ) -> requests.Response:
        """Send a request; edits may be sent again, as sending one twice does the same as once.

        plexapi's own time limits do not count.
        """
        headers = {**(headers or {}), **self._own_headers}
        for attempt in range(1, self.attempts + 1):
            try:
                return super().request(
                    method,
                    url,
                    headers=headers,
                    timeout=self._timeout,
                    verify=self._verify,
                    **content,
                )
            except _NETWORK_ERRORS:
                if attempt >= self.attempts:
                    raise
                self._sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(1, 1.5))
        raise AssertionError("unreachable")


class PlexClient:
    """A connection to one Plex server. Threads may write items side by side, nothing else.

    Every request may raise PlexTemporaryError, PlexPermanentError or PlexNotFound; a method names
    its errors only where they differ.
    """

    def __init__(
        self,
        url: str,
        token: str,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        *,
        sleep: Callable[[float], object] = time.sleep,
        server: Any = None,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            connect_timeout: seconds.
            read_timeout: seconds between two bytes of an answer.
            sleep: waits between quick retries.
            server: a `plexapi.server.PlexServer` that is connected already.
        """
        self.url = url.rstrip("/")
        self._token = token
        limits = (connect_timeout, read_timeout)
        self._session = RetryingSession(self.url, limits, identity(self.url), sleep)
        self._server = server
        #: key of each library → what a person calls it
        self._names: dict[int, str] = {}

    @property
    def server(self) -> Any:
        """The `plexapi.server.PlexServer`; connects when it is first read.

        Raises:
            PlexTemporaryError: Plex is down or starting up.
            PlexRejected: it rejects the token, or is not a Plex server.
        """
        if self._server is None:
            with _server_errors():
                self._server = self._connect()
        return self._server

    def get_library(self, name: str) -> Any:
        """Return plexapi's section of a library; case counts only between two of one name.

        Raises:
            PlexNotFound: Plex has no library of that name.
            PlexRejected, PlexTemporaryError
        """
        with _server_errors():
            library = self.server.library
            library.reload()  # plexapi never forgets the sections it has seen
            sections = library.sections()
        return _named(sections, name)

    def libraries(self, names: Sequence[str] = ()) -> list[Library]:
        """Return the named libraries, or without names every one of type movie.

        Where Plex has several libraries of one name, the name means all of them.

        Raises:
            PlexNotFound: one of the names is not there.
            PlexRejected, PlexTemporaryError
        """
        found = self.all_libraries()
        if not names:
            return [library for library in found if library.type == "movie"]
        return list(dict.fromkeys(one for name in names for one in _all_named(found, name)))

    def all_libraries(self) -> list[Library]:
        """Return the libraries of every type.

        Raises:
            PlexRejected, PlexTemporaryError
        """
        with _server_errors():
            found = with_names([_library(section) for section in self.get("/library/sections")])
        self._names = {library.key: library.name for library in found}
        return found

    def count_items(self, library: Library) -> int:
        """Return the number of items of a library."""
        root = self.get(f"/library/sections/{library.key}/all", start=0, size=0)
        return int_attribute(root, "totalSize", "size")

    def posters(self, rating_keys: Sequence[int]) -> dict[tuple[int, int], str]:
        """Return (library, rating key) → path of the poster, of those items that have one."""
        root = self.get(f"/library/metadata/{','.join(map(str, rating_keys))}")
        library = int_attribute(root, "librarySectionID")
        found = {}
        for item in root:
            key = int_attribute(item, "librarySectionID") or library
            path = item.get("thumb") or ""
            if path.startswith("/library/"):
                found[key, int_attribute(item, "ratingKey")] = path
        return found

    def picture(self, path: str, size: int) -> bytes:
        """Return a picture of Plex, scaled down by Plex.

        Args:
            path: on the server, such as an item's `thumb`.
            size: pixels of its longer side.
        """
        server = self.server
        query = f"url={quote_plus(path)}&width={size}&height={size}&minSize=0&upscale=0&format=jpeg"
        with translated():
            response = self._session.get(
                server.url(f"/photo/:/transcode?{query}"), headers=server._headers()
            )
            response.raise_for_status()
        return bytes(response.content)

    def get(self, path: str, *, start: int | None = None, size: int = PAGE) -> Element:
        """GET a path and return its `MediaContainer`.

        Args:
            start, size: the page of a listing; without `start` the answer comes whole.

        Raises:
            PlexTemporaryError: also when the answer is not a MediaContainer (a proxy's page, say).
            PlexPermanentError, PlexNotFound
        """
        headers = {}
        if start is not None:
            headers = {"X-Plex-Container-Start": str(start), "X-Plex-Container-Size": str(size)}
        root = self._query(path, headers=headers)
        if root is None or root.tag != "MediaContainer":
            raise PlexTemporaryError("the answer does not come from Plex")
        return root

    def list_items(self, path: str, *, size: int = PAGE) -> Iterator[tuple[Element, int]]:
        """Yield each element of a listing with the listing's total, one page in memory at a time.

        plexapi's objects, not HTTP, are the cost of a large listing, so these are plain elements.

        Raises:
            PlexTemporaryError: Plex fails, the listing ends before its announced end, or it has
                more items or pages than any library.
            PlexPermanentError, PlexNotFound
        """
        start, total = 0, None
        for _ in range(MAX_PAGES):
            root = self.get(path, start=start, size=size)
            received = len(root)
            total = int_attribute(root, "totalSize", "size") or received
            if total > MAX_ITEMS:
                raise PlexTemporaryError(f"Plex's listing claims to have {total} items")
            for element in root:
                yield element, total
            if not received and start < total:
                raise PlexTemporaryError(f"Plex's listing ended at {start} of {total}")
            start += received  # an answer may hold fewer than asked for
            if start >= total:
                return
        raise PlexTemporaryError(f"Plex's listing has no end: {start} of {total} items so far")

    def fetch_items(self, rating_keys: Sequence[int]) -> list[PlexItem]:
        """Read items whole, in one request; those that are gone are left out.

        Raises:
            PlexTemporaryError, PlexPermanentError
        """
        if not rating_keys:
            return []
        try:
            root = self.get(f"/library/metadata/{','.join(map(str, rating_keys))}")
        except PlexNotFound:  # Plex may answer 404 for all because one is gone
            if len(rating_keys) == 1:
                return []
            return [item for key in rating_keys for item in self.fetch_items([key])]
        items = [parse_item(element, root) for element in root]
        return [
            replace(item, library=self._names.get(item.library_key, item.library)) for item in items
        ]

    def fetch_plexapi_items(self, rating_keys: Sequence[int]) -> list[Any]:
        """Read items as plexapi's own objects, for callers that want these."""
        server = self.server
        with translated():
            return list(server.fetchItems(f"/library/metadata/{','.join(map(str, rating_keys))}"))

    def edit(self, item: PlexItem, parameters: Mapping[str, str | int]) -> None:
        """Edit fields of one item with one request.

        Args:
            parameters: as plexapi's `edit` takes them, such as `title.value`.
        """
        # Without an id, Plex would edit every item of the library.
        arguments = {**parameters, "id": item.rating_key, "type": MOVIE}
        query: str = joinArgs(arguments)  # type: ignore[no-untyped-call]
        self._query(f"/library/sections/{item.library_key}/all{query}", "put")

    def collections(self, library_key: int) -> list[Collection]:
        """Return the collections of a library, without their locks."""
        path = f"/library/sections/{library_key}/collections"
        return [parse_collection(element, library_key) for element, _ in self.list_items(path)]

    def collection(self, rating_key: int) -> Collection | None:
        """Read a collection whole; None: it is gone."""
        try:
            root = self.get(f"/library/metadata/{rating_key}")
        except PlexNotFound:
            return None
        found = [parse_collection(one, int_attribute(root, "librarySectionID")) for one in root]
        return found[0] if found else None

    def rename_collection(self, collection: Collection, title: str) -> None:
        """Rename a collection: its items show the new name, its poster and rating key stay.

        Its lock stays as it is, even where Plex locks what is edited: a lock shows that a person
        edited the title.

        Args:
            collection: read whole.
        """
        is_locked = int("title" in collection.locked)
        self._edit_collection(collection, {"title.value": title, "title.locked": is_locked})

    def sort_collection(self, collection: Collection, title_sort: str) -> None:
        """Set a collection's sort title, and lock it; "": unlocked, Plex sorts by the title."""
        is_locked = int(bool(title_sort))
        self._edit_collection(
            collection, {"titleSort.value": title_sort, "titleSort.locked": is_locked}
        )

    def _edit_collection(self, collection: Collection, values: Mapping[str, str | int]) -> None:
        arguments = {"type": COLLECTION, "id": collection.rating_key, **values}
        query: str = joinArgs(arguments)  # type: ignore[no-untyped-call]
        self._query(f"/library/sections/{collection.library_key}/all{query}", "put")

    def selected_picture(self, item: PlexItem, name: str) -> str:
        """Return the key of the item's selected poster or background; "" when none is.

        Args:
            name: the field, "thumb" or "art".
        """
        root = self.get(f"/library/metadata/{item.rating_key}/{_PICTURES[name]}s")
        selected = (one for one in root if one.get("selected") == "1")
        return next((one.get("ratingKey") or one.get("key") or "" for one in selected), "")

    def picture_keys(self, item: PlexItem, name: str) -> list[str]:
        """Return the keys of the posters or backgrounds that an item can have."""
        root = self.get(f"/library/metadata/{item.rating_key}/{_PICTURES[name]}s")
        return [one.get("ratingKey") or one.get("key") or "" for one in root]

    def select_picture(self, item: PlexItem, name: str, key: str) -> None:
        """Select one of an item's posters or backgrounds; Plex locks the field."""
        path = f"/library/metadata/{item.rating_key}/{_PICTURES[name]}"
        query: str = joinArgs({"url": key})  # type: ignore[no-untyped-call]
        self._query(f"{path}{query}", "put", is_xml=False)

    def upload_picture(self, item: PlexItem, name: str, picture: bytes) -> None:
        """Upload a picture as the item's poster or background; Plex selects and locks it."""
        path = f"/library/metadata/{item.rating_key}/{_PICTURES[name]}s"
        self._query(path, "post", data=picture)

    def remove_art(self, item: PlexItem) -> bool:
        """Leave an item without a background; Plex locks the field.

        Returns:
            False if this Plex can't: before 1.43, nothing says what it makes of the request.
        """
        version = re.match(r"(\d+)\.(\d+)", self.name_and_version()[1])
        if version is None or (int(version[1]), int(version[2])) < _REMOVES_SINCE:
            return False
        self._query(f"/library/metadata/{item.rating_key}/{_PICTURES['art']}", "delete")
        return True

    def scan(self, library: Library, folder: str) -> None:
        """Ask Plex to scan one folder, a path as Plex sees it; it scans later."""
        self._query(f"/library/sections/{library.key}/refresh?path={quote_plus(folder)}")

    def server_id(self) -> str:
        """Return the server's machineIdentifier; connects if needed.

        Raises:
            PlexRejected, PlexTemporaryError
        """
        return str(self.server.machineIdentifier)

    def name_and_version(self) -> tuple[str, str]:
        """Return the server's name and version; connects if needed.

        Raises:
            PlexRejected, PlexTemporaryError
        """
        return str(self.server.friendlyName), str(self.server.version)

    def probe(self) -> None:
        """Prove address, token and health with one cheap request.

        Raises:
            PlexTemporaryError: Plex is down, starting up or unwell.
            PlexRejected: it rejects the token, or is not a Plex server.
        """
        attempts, self._session.attempts = self._session.attempts, 1
        try:
            if self._server is None:
                self.server  # noqa: B018 - connecting is the question
            else:
                with _server_errors():
                    self.get("/library")  # 403 when the token is not the owner's
        finally:
            self._session.attempts = attempts

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._server = None

    def _query(
        self, path: str, method: str = "get", *, is_xml: bool = True, **content: Any
    ) -> Element | None:
        server = self.server
        with translated():
            try:
                root: Element | None = server.query(
                    path, method=getattr(server._session, method), **content
                )
            except ParseError:
                if is_xml:
                    raise
                return None
        return root

    def _connect(self) -> Any:
        try:
            server: Any = PlexServer(  # type: ignore[no-untyped-call]
                self.url, self._token, session=self._session
            )
        except ParseError:
            raise PlexRejected(
                f"{self.url} answers, but not as Plex does: check plex_url"
            ) from None
        if not server.machineIdentifier:
            raise PlexRejected(f"{self.url} answers, but is not a Plex server: check plex_url")
        return server


@contextmanager
def _server_errors() -> Iterator[None]:
    """Translate errors of requests about the whole server: a refusal there concerns every job."""
    try:
        yield
    except (PlexRejected, PlexTemporaryError):
        raise
    except Exception as exc:  # noqa: BLE001 - every exception is translated
        error = translate_plex_exception(exc)
        if isinstance(error, PlexNotFound):
            error = PlexRejected(
                "this address is not a Plex server's (404): check plex_url", status=404
            )
        elif isinstance(error, PlexPermanentError) and not isinstance(error, PlexRejected):
            forbidden = error.status == _FORBIDDEN
            hint = "the token is not the server owner's" if forbidden else "check plex_url"
            error = PlexRejected(f"{error}: {hint}", status=error.status)
        # plexapi's own exception is not kept, see `translated`
        raise error.with_traceback(exc.__traceback__) from None


def _library(section: Element) -> Library:
    if section.tag != "Directory":
        raise PlexTemporaryError("Plex's list of libraries can't be understood")
    return Library(
        int_attribute(section, "key"),
        section.get("title", ""),
        section.get("type", ""),
        tuple(location.get("path", "") for location in section.findall("Location")),
        agent=section.get("agent", ""),
    )


def with_names(libraries: Sequence[Library]) -> list[Library]:
    """Return libraries with names that tell them apart: by folders where titles are the same."""
    titles = Counter(library.title for library in libraries)
    named = [
        replace(one, name=f"{one.title} ({' + '.join(one.locations) or 'no folder'})")
        if titles[one.title] > 1
        else one
        for one in libraries
    ]
    names = Counter(library.name for library in named)
    return [
        replace(one, name=f"{one.name}, library {one.key}") if names[one.name] > 1 else one
        for one in named
    ]


def _all_named(libraries: Sequence[Library], name: str) -> list[Library]:
    """Return the libraries of a name or title; those in the exact spelling before others."""
    wanted = name.strip()
    alike = [
        one
        for one in libraries
        if wanted.casefold() in (one.title.strip().casefold(), one.name.casefold())
    ]
    if not alike:
        there = ", ".join(repr(one.name) for one in libraries) or "none"
        raise PlexNotFound(f"Plex has no library named {name!r}, but: {there}")
    exact = [one for one in alike if wanted in (one.title.strip(), one.name)]
    found = exact or alike
    return [one for one in found if one.type == "movie"] or found


def _named(libraries: Sequence[T], name: str) -> T:
    wanted = name.strip()
    alike = [one for one in libraries if one.title.strip().casefold() == wanted.casefold()]
    if alike:
        return min(alike, key=lambda one: one.title.strip() != wanted)  # exact spelling first
    there = ", ".join(repr(one.title) for one in libraries) or "none"
    raise PlexNotFound(f"Plex has no library named {name!r}, but: {there}")


def identity(url: str) -> dict[str, str]:
    """Return a stable client identifier: Plex announces a new device for each new one."""
    return {
        "X-Plex-Product": "PlexSync",
        "X-Plex-Device-Name": "PlexSync",
        "X-Plex-Client-Identifier": str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"plexsync:{urlsplit(url).netloc}")
        ),
    }
