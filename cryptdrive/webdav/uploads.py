"""PUT: a body is received aside, and appears under its name in one moment."""

from collections.abc import Callable
from typing import Any

from wsgidav.dav_error import HTTP_BAD_REQUEST, HTTP_CONFLICT, HTTP_METHOD_NOT_ALLOWED, DAVError

from cryptdrive.errors import Busy, NotADirectory, NotFound
from cryptdrive.types import HandleId
from cryptdrive.vfs.values import SetAttr
from cryptdrive.webdav.downloads import BLOCK_BYTES
from cryptdrive.webdav.errors import translated
from cryptdrive.webdav.properties import NANOSECONDS
from cryptdrive.webdav.provider import DriveProvider, Place
from cryptdrive.webdav.resources import etag

_SECONDS_MAX = 1 << 33


def receive(provider: DriveProvider, path: str, environ: dict[str, Any], check: Callable[[], None]) -> str:
    """Take the body in; returns the new file's ETag. A body that breaks off changes nothing.

    It is then as durable as after write(2): saved with the next publication.

    ``check`` is called when all has come: somebody may have changed the file meanwhile.
    """
    mtime_ns = announced_mtime(environ)
    fs, caller = provider.fs, provider.caller
    with translated():
        handle = fs.stage(provider.file_mode, caller)
        try:
            _receive_body(provider, handle, environ)
            check()
            place = place_to_write(provider, path)
            attr = fs.publish(handle, place.parent, place.name, True, caller)
        except BaseException:
            fs.close(handle)
            raise
        if mtime_ns is not None:
            attr = fs.setattr(attr.inode, SetAttr(mtime_ns=mtime_ns), caller)
    return etag(attr)


def place_to_write(provider: DriveProvider, path: str) -> Place:
    """Where a body belongs. Raises DAVError: nothing can be written there."""
    with translated():
        try:
            place = provider.place_to_write(path)
        except (NotFound, NotADirectory):
            raise DAVError(HTTP_CONFLICT, "The folder above is missing.") from None
        except Busy:
            raise DAVError(HTTP_METHOD_NOT_ALLOWED, "Not a file.") from None
    if not place.name or place.is_folder:
        raise DAVError(HTTP_METHOD_NOT_ALLOWED, "A folder cannot be PUT.")
    return place


def _receive_body(provider: DriveProvider, handle: HandleId, environ: dict[str, Any]) -> None:
    stream, length = environ["wsgi.input"], 0
    environ["wsgidav.some_input_read"] = 1
    while True:
        try:
            data = stream.read(BLOCK_BYTES)
        except (OSError, ValueError) as error:
            raise DAVError(HTTP_BAD_REQUEST, "The body broke off.", src_exception=error) from None
        if not data:
            break
        length += provider.fs.write(handle, length, data)
    environ["wsgidav.all_input_read"] = 1
    _check_length(environ, length)


def _check_length(environ: dict[str, Any], length: int) -> None:
    """Compare what came with what the client announced. Raises DAVError."""
    # Finder sends chunks, and the second of these instead of a length.
    for header in ("CONTENT_LENGTH", "HTTP_X_EXPECTED_ENTITY_LENGTH"):
        announced = environ.get(header, "").strip()
        if announced and (not announced.isdecimal() or int(announced) != length):
            raise DAVError(HTTP_BAD_REQUEST, f"{length} bytes came, others were announced.")


def announced_mtime(environ: dict[str, Any]) -> int | None:
    """X-OC-Mtime of the ownCloud family, rclone among it: seconds since the epoch. Nanoseconds."""
    text = environ.get("HTTP_X_OC_MTIME", "")
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = float("nan")
    if seconds is None:
        return None
    if not -_SECONDS_MAX < seconds < _SECONDS_MAX:
        raise DAVError(HTTP_BAD_REQUEST, "X-OC-Mtime is not a time.")
    return int(seconds * NANOSECONDS)
