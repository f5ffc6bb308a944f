"""Pictures as the server tells them apart: by their first bytes."""

from __future__ import annotations

import struct
import zlib

_KINDS = (
    (b"\xff\xd8", "jpeg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"<svg", "svg"),
    (b"<?xml", "svg"),
)


def picture_kind(data: bytes) -> str:
    """Return the kind of a picture, such as "jpeg"; "" if it is none that is known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return data[8:12].decode("ascii", "replace").strip()  # avif, heic
    return next((kind for start, kind in _KINDS if data.startswith(start)), "")


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


FRAME = _png()
