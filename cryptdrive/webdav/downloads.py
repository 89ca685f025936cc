"""GET and HEAD of files."""

import os
import re
from collections.abc import Iterator
from typing import Any

from wsgidav import util
from wsgidav.dav_error import HTTP_RANGE_NOT_SATISFIABLE, DAVError

from cryptdrive.types import HandleId
from cryptdrive.vfs.filesystem import FileSystem
from cryptdrive.webdav.conditions import etags
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.properties import content_type, http_date
from cryptdrive.webdav.resources import FileResource

BLOCK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE)
_DIGITS_MAX = 20
# What a browser would run in the drive's origin: it is handed out to be saved instead.
_ACTIVE_TYPES = ("html", "xml", "svg", "javascript", "ecmascript", "pdf", "flash", "css")
PROTECTIVE_HEADERS = [
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
]


def send(file: FileResource, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answer with a file's content, or the part of it that was asked for.

    The handle is opened first, so that headers and content are of the same file, whatever takes
    its name meanwhile. A file that gets shorter on the way ends early: the connection is cut then.
    """
    fs = file.fs
    with translated():
        handle = fs.open(file.attr.inode, os.O_RDONLY, file.provider.caller)
    try:
        with translated():
            file.attr = fs.getattr(file.attr.inode)
        start, length = 0, file.attr.size
        part = _part(environ, file)
        status, headers = "200 OK", _headers(file)
        if part is not None:
            start, length = part
            status = "206 Partial Content"
            headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{file.attr.size}"))
        headers.append(("Content-Length", str(length)))
        start_response(status, headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return
        yield from _content(fs, handle, start, length)
    finally:
        fs.close(handle)


def _headers(file: FileResource) -> list[tuple[str, str]]:
    kind = content_type(file.path)
    headers = [
        ("Content-Type", kind),
        ("Last-Modified", http_date(file.attr.mtime_ns)),
        ("ETag", f'"{file.get_etag()}"'),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "no-cache, private"),
        *PROTECTIVE_HEADERS,
    ]
    if any(each in kind for each in _ACTIVE_TYPES):
        headers.append(("Content-Disposition", "attachment"))
    return headers


def _content(fs: FileSystem, handle: HandleId, start: int, length: int) -> Iterator[bytes]:
    end = start + length
    while start < end:
        with translated():
            data = fs.read(handle, start, min(BLOCK_BYTES, end - start))
        if not data:
            return
        start += len(data)
        yield data


def _part(environ: dict[str, Any], file: FileResource) -> tuple[int, int] | None:
    """(start, length) of the range that was asked for, None for the whole. Raises DAVError: 416.

    Several ranges, and what is malformed, are answered with the whole (RFC 9110 §14.2).
    """
    header = environ.get("HTTP_RANGE")
    if header is None or not _range_is_of(file, environ):
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "" or max(len(found[1]), len(found[2])) > _DIGITS_MAX:
        return None
    size = file.attr.size
    if not found[1]:
        start, last = max(size - int(found[2]), 0), size - 1
    else:
        start, last = int(found[1]), min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < start:
            return None
    if start >= size:
        unsatisfied = [("Content-Range", f"bytes */{size}")]
        raise DAVError(HTTP_RANGE_NOT_SATISFIABLE, add_headers=unsatisfied)
    return start, last - start + 1


def _range_is_of(file: FileResource, environ: dict[str, Any]) -> bool:
    """Whether the file is still the one of which the client has another part (RFC 9110 §13.1.5)."""
    wanted = environ.get("HTTP_IF_RANGE")
    if wanted is None:
        return True
    seconds = util.parse_time_string(wanted)
    if seconds is not None:
        return bool(int(file.get_last_modified()) == seconds)
    if wanted.strip().startswith("W/"):
        return False
    return file.get_etag() in etags(wanted)
