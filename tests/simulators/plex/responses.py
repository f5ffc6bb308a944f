"""Responses in the forms of the real server."""

from __future__ import annotations

from tests.simulators.httpd import Response
from tests.simulators.plex.markup import DECLARATION, element

_XML = {"Content-Type": "text/xml;charset=utf-8", "X-Plex-Protocol": "1.0"}
_HTML = {"Content-Type": "text/html", "X-Plex-Protocol": "1.0"}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Payload Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
}


def xml(body: bytes) -> Response:
    return Response(200, body, dict(_XML))


def html(body: bytes = b"") -> Response:
    return Response(200, body, dict(_HTML))


def empty() -> Response:
    return Response(200, headers=dict(_XML))


def error(status: int) -> Response:
    title = _TITLES[status]
    page = f"<html><head><title>{title}</title></head><body><h1>{status} {title}</h1></body></html>"
    return Response(status, page.encode(), dict(_HTML))


def maintenance() -> Response:
    status = "Plex Media Server is currently running startup maintenance tasks."
    body = DECLARATION + element(
        "Response", {"code": 503, "title": "Maintenance", "status": status}
    )
    return Response(503, body.encode(), dict(_XML))


def picture(data: bytes) -> Response:
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Response(200, data, {"Content-Type": kind})
