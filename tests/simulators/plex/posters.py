"""The endpoints of posters, alike for items and collections."""

from __future__ import annotations

import re
from urllib.parse import quote

from tests.simulators.httpd import Request, Response
from tests.simulators.plex.behaviour import Behaviour
from tests.simulators.plex.editing import Editor
from tests.simulators.plex.markup import container, element
from tests.simulators.plex.pictures import FRAME, picture_kind
from tests.simulators.plex.records import PlexItem, Record
from tests.simulators.plex.responses import empty, error, html, picture, xml
from tests.simulators.plex.state import PlexState

_IDENTIFIER = "com.plexapp.plugins.library"
_THUMB = re.compile(r"/library/metadata/(\d+)/thumb(?:/\d+)?")


class PosterRoutes:
    """Lists, uploads and selects posters."""

    def __init__(self, state: PlexState, editor: Editor, behaviour: Behaviour) -> None:
        self._state = state
        self._editor = editor
        self._behaviour = behaviour

    def listing(self, _request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        if record is None:
            return error(404)
        posters = record.posters
        photos = [_photo(key, poster.key, poster is record.poster) for poster in posters]
        if self._behaviour.own_poster:
            photos.insert(0, _photo(key, own_poster_key(record), record.poster is None))
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
        self._editor.upload_poster(record, data, url)
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
        poster = next((each for each in record.posters if each.key == wanted), None)
        if poster is None and not (self._behaviour.own_poster and wanted == own_poster_key(record)):
            return error(404)
        self._editor.select_poster(record, poster)
        # Not XML, as on the real server; clients must tolerate it.
        return html(f"/library/metadata/{key}/thumb/{record.updated_at}".encode())

    def thumb(self, _request: Request, key: str) -> Response:
        record = self._state.record(int(key))
        if record is None or (record.poster is None and not isinstance(record, PlexItem)):
            return error(404)
        return picture(record.poster.data if record.poster and record.poster.data else FRAME)

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
        poster = next((each for each in record.posters if each.key == wanted), None)
        return picture(poster.data) if poster is not None else error(404)


def own_poster_key(record: Record) -> str:
    """Return the key of the picture that Plex shows without another poster."""
    return f"media://{record.rating_key:040x}.bundle/Contents/Thumbnails/thumb1.jpg"


def _photo(record_key: str, poster_key: str, selected: bool) -> str:
    address = f"/library/metadata/{record_key}/file?url={quote(poster_key, safe='')}"
    return element(
        "Photo",
        {"key": address, "ratingKey": poster_key, "selected": int(selected), "thumb": address},
    )
