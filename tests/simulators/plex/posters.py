"""The endpoints of posters and backgrounds, alike for items and collections."""

from __future__ import annotations

import re
from urllib.parse import quote

from tests.simulators.httpd import Request, Response
from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.editing import Editor
from tests.simulators.plex.markup import container, element
from tests.simulators.plex.pictures import FRAME, picture_kind
from tests.simulators.plex.records import POSTERS, PlexItem, Poster, Record
from tests.simulators.plex.responses import empty, error, html, picture, xml
from tests.simulators.plex.state import PlexState

#: Since this version, a client can leave an item without a picture.
_REMOVES_SINCE = (1, 43)
_IDENTIFIER = "com.plexapp.plugins.library"
_THUMB = re.compile(r"/library/metadata/(\d+)/thumb(?:/\d+)?")


class PosterRoutes:
    """Lists, uploads and selects posters, or backgrounds."""

    def __init__(
        self, state: PlexState, editor: Editor, behaviour: Behaviour, name: str = "thumb"
    ) -> None:
        """Serve the pictures of a field: "thumb" or "art"."""
        self._state = state
        self._editor = editor
        self._behaviour = behaviour
        self._name = name

    def _selected(self, record: Record) -> Poster | None:
        selected: Poster | None = getattr(record, POSTERS[self._name][0])
        return selected

    def _uploaded(self, record: Record) -> list[Poster]:
        uploaded: list[Poster] = getattr(record, POSTERS[self._name][1])
        return uploaded

    def _has_own(self, record: Record) -> bool:
        """Return whether Plex lists a picture that it made itself."""
        if self._name == "thumb":
            return self._behaviour.own_poster
        return isinstance(record, PlexItem) and record.own_art

    def listing(self, _request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        if record is None:
            return error(404)
        posters, selected = self._uploaded(record), self._selected(record)
        photos = [_photo(key, poster.key, poster is selected) for poster in posters]
        if self._has_own(record):
            photos.insert(0, _photo(key, own_poster_key(record, self._name), selected is None))
        return xml(container({"size": len(photos), "identifier": _IDENTIFIER}, photos))

    def upload(self, request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        if record is None:
            return error(404)
        url = request.first("url")
        data = b"" if url is not None else request.body
        refusal = self._refusal(data) if url is None else None
        if refusal is not None:
            return error(refusal)
        # A URL without a picture gives a blank poster and 200, as on the real server.
        self._editor.upload_poster(record, data, url, self._name)
        return empty()

    def _refusal(self, data: bytes) -> int | None:
        behaviour = self._behaviour
        if not data:
            return 400
        if behaviour.max_poster is not None and len(data) > behaviour.max_poster:
            return 413
        if behaviour.poster_kinds is not None and picture_kind(data) not in behaviour.poster_kinds:
            return 415
        return None

    def select(self, request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        wanted = request.first("url")
        if record is None:
            return error(404)
        poster = next((each for each in self._uploaded(record) if each.key == wanted), None)
        own = own_poster_key(record, self._name)
        if poster is None and not (self._has_own(record) and wanted == own):
            return error(404)
        self._editor.select_poster(record, poster, self._name)
        # Not XML, as on the real server; clients must tolerate it.
        return html(f"/library/metadata/{key}/{self._name}/{record.updated_at}".encode())

    def remove(self, _request: Request, key: str) -> Response:
        """Deselect the picture, and lock its field; only since version 1.43."""
        record = self._state.record(int(key))
        version = tuple(int(part) for part in self._behaviour.version.split(".")[:2])
        if record is None or version < _REMOVES_SINCE:
            return error(404)
        self._editor.select_poster(record, None, self._name)
        return empty()

    def thumb(self, _request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        if record is None or (record.poster is None and not isinstance(record, PlexItem)):
            return error(404)
        return picture(record.poster.data if record.poster and record.poster.data else FRAME)

    def background(self, _request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        if record is None or (record.art is None and not self._has_own(record)):
            return error(404)
        return picture(record.art.data if record.art and record.art.data else FRAME)

    def transcode(self, request: Request) -> Response:
        """Return a picture as the photo transcoder does, but for its size: nothing scales here."""
        sizes = [request.first(name) or "" for name in ("width", "height")]
        if not all(size.isdecimal() and int(size) for size in sizes):
            return error(400)
        found = _THUMB.fullmatch(request.first("url") or "")
        return self.thumb(request, found[1]) if found else error(404)

    def file(self, request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        wanted = request.first("url")
        if record is None:
            return error(404)
        if wanted == own_poster_key(record):
            return picture(FRAME)
        uploaded = [*record.posters, *record.arts]
        poster = next((each for each in uploaded if each.key == wanted), None)
        return picture(poster.data) if poster is not None else error(404)


def own_poster_key(record: Record, name: str = "thumb") -> str:
    """Return the key of the picture that Plex shows without another poster or background."""
    folder = "Thumbnails" if name == "thumb" else "Art"
    return f"media://{record.rating_key:040x}.bundle/Contents/{folder}/{name}1.jpg"


def _photo(record_key: str, poster_key: str, selected: bool) -> str:
    address = f"/library/metadata/{record_key}/file?url={quote(poster_key, safe='')}"
    return element(
        "Photo",
        {"key": address, "ratingKey": poster_key, "selected": int(selected), "thumb": address},
    )
